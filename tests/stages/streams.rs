//! Streams: ids, ranges, and reading with and without waiting.

use super::support::client::{Client, Value};
use super::support::server::Server;
use super::tester::{array, bulk, bulks, expect_arrives, sleep_ms};
use std::time::{SystemTime, UNIX_EPOCH};

const TOO_SMALL: &str = "-ERR The ID specified in XADD is equal or smaller than the target \
                         stream top item\r\n";
const NOT_ABOVE_ZERO: &str = "-ERR The ID specified in XADD must be greater than 0-0\r\n";

/// Adds an entry with one field; the reply must be `id` as a bulk string.
#[track_caller]
fn add(client: &mut Client, key: &str, id: &str, field: &str, value: &str) {
    client.expect(&["XADD", key, id, field, value], &bulk(id));
}

/// An entry as it travels.
fn entry(id: &str, field: &str, value: &str) -> String {
    array(&[bulk(id), bulks(&[field, value])])
}

/// One stream of an XREAD reply, with one entry.
fn stream(key: &str, entry: &str) -> String {
    array(&[bulk(key), array(&[entry])])
}

/// Streams of 3 and of 4 entries `0-1`, `0-2`, ... with their entries as they travel.
fn counted_streams(client: &mut Client) -> [(String, Vec<String>); 2] {
    [3, 4].map(|count| {
        let key = format!("stream_{count}");
        let add_one = |n: usize| {
            let (id, value) = (format!("0-{n}"), n.to_string());
            add(client, &key, &id, "pear", &value);
            entry(&id, "pear", &value)
        };
        let entries = (1..=count).map(add_one).collect();
        (key, entries)
    })
}

#[test]
fn cc3_the_type_command() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "apple", "pear"], "+OK\r\n");
    client.expect(&["TYPE", "apple"], "+string\r\n");
    client.expect(&["TYPE", "missing_key_7"], "+none\r\n");
}

#[test]
fn cf6_create_a_stream() {
    let server = Server::start(&[]);
    let mut client = server.client();
    add(&mut client, "apple", "0-1", "foo", "bar");
    client.expect(&["TYPE", "apple"], "+stream\r\n");
}

#[test]
fn hq8_validating_entry_ids() {
    let server = Server::start(&[]);
    let mut client = server.client();
    add(&mut client, "apple", "1-1", "foo", "bar");
    add(&mut client, "apple", "1-2", "foo", "bar");
    client.expect(&["XADD", "apple", "1-2", "foo", "bar"], TOO_SMALL);
    client.expect(&["XADD", "apple", "0-3", "foo", "bar"], TOO_SMALL);
    client.expect(&["XADD", "apple", "0-0", "foo", "bar"], NOT_ABOVE_ZERO);
}

#[test]
fn yh3_partially_auto_generated_ids() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (asked, given) in [("0-*", "0-1"), ("1-*", "1-0"), ("1-*", "1-1")] {
        client.expect(&["XADD", "apple", asked, "foo", "bar"], &bulk(given));
    }
}

#[test]
fn xu6_fully_auto_generated_ids() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let unix_ms = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let before = unix_ms();
    let reply = client.cmd(&["XADD", "apple", "*", "foo", "bar"]);
    let after = unix_ms();
    let Value::Bulk(id) = &reply else {
        panic!("a bulk string was expected, got {reply}");
    };
    let id = String::from_utf8_lossy(id);
    let (ms, number) = id.split_once('-').expect("two parts");
    assert_eq!((ms.len(), number), (13, "0"), "{id}");
    // The tester allows a second to either side of the second in which it asked.
    let ms: u128 = ms.parse().expect("digits");
    assert!((before..=after).contains(&ms), "{before} <= {ms} <= {after}");
}

#[test]
fn zx1_query_entries_from_stream() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (key, entries) in counted_streams(&mut client) {
        let last = format!("0-{}", entries.len());
        client.expect(&["XRANGE", &key, "0-2", &last], &array(&entries[1..]));
    }
}

#[test]
fn yp1_query_with_minus() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (key, entries) in counted_streams(&mut client) {
        for last in [2, 3] {
            let to = format!("0-{last}");
            client.expect(&["XRANGE", &key, "-", &to], &array(&entries[..last]));
        }
    }
}

#[test]
fn fs1_query_with_plus() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (key, entries) in counted_streams(&mut client) {
        for first in [1, 2] {
            let from = format!("0-{first}");
            client.expect(&["XRANGE", &key, &from, "+"], &array(&entries[first - 1..]));
        }
    }
}

#[test]
fn um0_query_single_stream_using_xread() {
    let server = Server::start(&[]);
    let mut client = server.client();
    add(&mut client, "apple", "0-1", "temperature", "36");
    let reply = array(&[stream("apple", &entry("0-1", "temperature", "36"))]);
    client.expect(&["XREAD", "streams", "apple", "0-0"], &reply);
}

#[test]
fn ru9_query_multiple_streams_using_xread() {
    let server = Server::start(&[]);
    let mut client = server.client();
    add(&mut client, "pear", "0-1", "temperature", "0");
    add(&mut client, "apple", "0-2", "humidity", "1");
    let first = stream("pear", &entry("0-1", "temperature", "0"));
    let second = stream("apple", &entry("0-2", "humidity", "1"));
    let reply = array(&[first, second]);
    client.expect(&["XREAD", "streams", "pear", "apple", "0-0", "0-1"], &reply);
}

/// A stream with the entry 0-1 and a client that waits behind `id`; `pause_ms` later another
/// client adds 0-2, which the first one gets and nothing else.
fn read_blocking(server: &Server, block: &str, id: &str, pause_ms: u64) -> Client {
    let mut waiting = server.client();
    add(&mut waiting, "apple", "0-1", "temperature", "36");
    waiting.send(&["XREAD", "block", block, "streams", "apple", id]);
    sleep_ms(pause_ms);
    let mut other = server.client();
    add(&mut other, "apple", "0-2", "temperature", "95");
    let reply = array(&[stream("apple", &entry("0-2", "temperature", "95"))]);
    expect_arrives(&mut waiting, &reply);
    waiting
}

#[test]
fn bs1_blocking_reads() {
    let server = Server::start(&[]);
    let mut client = read_blocking(&server, "1000", "0-1", 500);
    client.send(&["XREAD", "block", "1000", "streams", "apple", "0-2"]);
    expect_arrives(&mut client, "*-1\r\n");
}

#[test]
fn hw1_blocking_reads_without_timeout() {
    let server = Server::start(&[]);
    read_blocking(&server, "0", "0-1", 0);
}

#[test]
fn xu1_blocking_reads_using_dollar() {
    let server = Server::start(&[]);
    let mut client = read_blocking(&server, "0", "$", 1000);
    client.send(&["XREAD", "block", "1000", "streams", "apple", "$"]);
    expect_arrives(&mut client, "*-1\r\n");
}
