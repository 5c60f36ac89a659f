//! Lists: pushing, ranges, popping, and waiting for an element.

use super::support::client::{Client, quoted};
use super::support::server::Server;
use super::tester::{READ_TIME, WORDS, bulk, bulks, expect_arrives, sleep_ms};
use std::time::{Duration, Instant};

/// Pushes the first `count` words to the end of a list of its own, which is named by them.
fn push_words(client: &mut Client, count: usize) -> (String, Vec<&'static str>) {
    let key = format!("list_of_{count}");
    let words = WORDS[..count].to_vec();
    let command = [&["RPUSH", &key][..], &words].concat();
    client.expect(&command, &format!(":{count}\r\n"));
    (key, words)
}

fn expect_range(client: &mut Client, key: &str, from: i64, to: i64, elements: &[&str]) {
    client.expect(&["LRANGE", key, &from.to_string(), &to.to_string()], &bulks(elements));
}

#[test]
fn mh6_create_a_list() {
    let server = Server::start(&[]);
    server.client().expect(&["RPUSH", "apple", "pear"], ":1\r\n");
}

#[test]
fn tn7_append_an_element() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (i, element) in ["pear", "grape", "pear"].into_iter().enumerate() {
        client.expect(&["RPUSH", "apple", element], &format!(":{}\r\n", i + 1));
    }
}

#[test]
fn lx4_append_multiple_elements() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["RPUSH", "apple", "pear", "grape"], ":2\r\n");
    client.expect(&["RPUSH", "apple", "mango", "orange", "banana"], ":5\r\n");
}

#[test]
fn sf6_list_elements_positive_indexes() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for n in 4..=7 {
        let (key, words) = push_words(&mut client, n);
        let last = n as i64 - 1;
        for m in 1..n {
            expect_range(&mut client, &key, 0, m as i64, &words[..=m]);
            expect_range(&mut client, &key, m as i64, last, &words[m..]);
        }
        expect_range(&mut client, &key, 0, last, &words);
        client.expect(&["LRANGE", &key, "1", "0"], "*0\r\n");
        expect_range(&mut client, &key, 0, 2 * n as i64, &words);
    }
    client.expect(&["LRANGE", "missing_key_7", "0", "1"], "*0\r\n");
}

#[test]
fn ri1_list_elements_negative_indexes() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for n in 4..=7 {
        let (key, words) = push_words(&mut client, n);
        for m in 1..n {
            expect_range(&mut client, &key, 0, -(m as i64), &words[..=n - m]);
            expect_range(&mut client, &key, -(m as i64), -1, &words[n - m..]);
        }
        expect_range(&mut client, &key, 0, -1, &words);
        client.expect(&["LRANGE", &key, "-1", "-2"], "*0\r\n");
        expect_range(&mut client, &key, -(n as i64 + 1), -1, &words);
    }
}

#[test]
fn gu5_prepend_elements() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["LPUSH", "apple", "c"], ":1\r\n");
    client.expect(&["LPUSH", "apple", "b", "a"], ":3\r\n");
    client.expect(&["LRANGE", "apple", "0", "-1"], &bulks(&["a", "b", "c"]));
}

#[test]
fn fv6_query_list_length() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for n in 4..=7 {
        let (key, _) = push_words(&mut client, n);
        client.expect(&["LLEN", &key], &format!(":{n}\r\n"));
    }
    client.expect(&["LLEN", "missing_key_7"], ":0\r\n");
}

#[test]
fn ef1_remove_an_element() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let (key, words) = push_words(&mut client, 5);
    client.expect(&["LPOP", &key], &bulk(words[0]));
    client.expect(&["LRANGE", &key, "0", "-1"], &bulks(&words[1..]));
}

#[test]
fn jp1_remove_multiple_elements() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for n in 5..=8 {
        for count in 2..=4 {
            let (key, words) = push_words(&mut client, n);
            client.expect(&["LPOP", &key, &count.to_string()], &bulks(&words[..count]));
            client.expect(&["LRANGE", &key, "0", "-1"], &bulks(&words[count..]));
            client.expect(&["DEL", &key], ":1\r\n");
        }
    }
}

#[test]
fn ec3_blocking_retrieval() {
    let server = Server::start(&[]);
    let mut waiting = [server.client(), server.client()];
    for client in &mut waiting {
        client.send(&["BLPOP", "apple", "0"]);
    }
    sleep_ms(1);
    server.client().expect(&["RPUSH", "apple", "pear"], ":1\r\n");
    // Which of the two is served is not judged.
    let pushed = Instant::now();
    let mut served = Vec::new();
    while served.is_empty() && pushed.elapsed() < READ_TIME {
        for (i, client) in waiting.iter_mut().enumerate() {
            if let Ok((_, reply)) = client.recv_with_bytes(Duration::from_millis(1)) {
                assert_eq!(quoted(&reply), quoted(bulks(&["apple", "pear"]).as_bytes()));
                served.push(i);
            }
        }
    }
    assert_eq!(served.len(), 1, "clients served: {served:?}");
    waiting.iter_mut().for_each(Client::expect_no_more);
}

#[test]
fn xj7_blocking_retrieval_with_timeout() {
    let server = Server::start(&[]);
    let mut waiting = Vec::new();
    for (key, timeout) in [("pear", "0.1"), ("mango", "0.2"), ("grape", "0.3"), ("apple", "0.4")] {
        let mut client = server.client();
        let asked = Instant::now();
        client.send(&["BLPOP", key, timeout]);
        waiting.push((client, asked, timeout));
    }
    for (client, asked, timeout) in &mut waiting {
        expect_arrives(client, "*-1\r\n");
        let least = Duration::from_secs_f64(timeout.parse().expect("a float"));
        let took = asked.elapsed();
        assert!(took >= least, "BLPOP {timeout} was over after {took:?}");
        assert!(took < READ_TIME, "BLPOP {timeout} took {took:?}");
    }
    let (client, ..) = &mut waiting[0];
    client.send(&["BLPOP", "banana", "0.4"]);
    server.client().expect(&["RPUSH", "banana", "orange"], ":1\r\n");
    expect_arrives(client, &bulks(&["banana", "orange"]));
}
