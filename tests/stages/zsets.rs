//! Sorted sets. The tester's scores are random floats from 1 to 100 in full precision.

use super::support::client::Client;
use super::support::random::Random;
use super::support::server::Server;
use super::tester::{WORDS, bulk_float, bulks};

/// A score as the tester makes and prints one.
fn random_score(random: &mut Random) -> f64 {
    1.0 + random.bits() as f64 / u64::MAX as f64 * 99.0
}

#[track_caller]
fn add(client: &mut Client, key: &str, score: f64, member: &str, reply: i64) {
    client.expect(&["ZADD", key, &score.to_string(), member], &format!(":{reply}\r\n"));
}

/// A sorted set of `count` members, two of them with the same score, added in random order.
/// Gives the members in the set's order.
fn tied_set(client: &mut Client, key: &str, count: usize, seed: u64) -> Vec<&'static str> {
    let mut random = Random::new(seed);
    let mut scored: Vec<(f64, &str)> =
        WORDS[..count].iter().map(|word| (random_score(&mut random), *word)).collect();
    scored[1].0 = scored[0].0;
    let mut order = scored.clone();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    while !scored.is_empty() {
        let (score, member) = scored.swap_remove(random.below(scored.len()));
        add(client, key, score, member, 1);
    }
    order.into_iter().map(|(_, member)| member).collect()
}

fn expect_range(client: &mut Client, key: &str, from: i64, to: i64, members: &[&str]) {
    client.expect(&["ZRANGE", key, &from.to_string(), &to.to_string()], &bulks(members));
}

#[test]
fn ct1_create_a_sorted_set() {
    let server = Server::start(&[]);
    let mut client = server.client();
    add(&mut client, "apple", random_score(&mut Random::new(1)), "pear", 1);
}

#[test]
fn hf1_add_members() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut random = Random::new(2);
    for member in ["pear", "mango", "grape"] {
        add(&mut client, "apple", random_score(&mut random), member, 1);
    }
    add(&mut client, "apple", random_score(&mut random), "mango", 0);
}

#[test]
fn lg6_retrieve_member_rank() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for seed in 0..10 {
        let key = format!("set_{seed}");
        let members = tied_set(&mut client, &key, 3 + seed as usize % 2, seed);
        for (rank, member) in members.iter().enumerate() {
            client.expect(&["ZRANK", &key, member], &format!(":{rank}\r\n"));
        }
        client.expect(&["ZRANK", &key, "missing_member_7"], "$-1\r\n");
    }
    client.expect(&["ZRANK", "missing_key_7", "pear"], "$-1\r\n");
}

#[test]
fn ic1_list_sorted_set_members() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for n in 4..=6 {
        let key = format!("set_{n}");
        let members = tied_set(&mut client, &key, n, n as u64);
        let last = n as i64 - 1;
        for m in 1..n {
            expect_range(&mut client, &key, 0, m as i64, &members[..=m]);
            expect_range(&mut client, &key, m as i64, last, &members[m..]);
        }
        expect_range(&mut client, &key, 0, last, &members);
        client.expect(&["ZRANGE", &key, "1", "0"], "*0\r\n");
        expect_range(&mut client, &key, 0, 2 * n as i64, &members);
    }
    client.expect(&["ZRANGE", "missing_key_7", "0", "1"], "*0\r\n");
}

#[test]
fn bj4_zrange_with_negative_indexes() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for n in 4..=6 {
        let key = format!("set_{n}");
        let members = tied_set(&mut client, &key, n, n as u64);
        for m in 1..n {
            expect_range(&mut client, &key, 0, -(m as i64), &members[..=n - m]);
            expect_range(&mut client, &key, -(m as i64), -1, &members[n - m..]);
        }
        expect_range(&mut client, &key, 0, -1, &members);
        client.expect(&["ZRANGE", &key, "-1", "-2"], "*0\r\n");
        expect_range(&mut client, &key, -(n as i64 + 1), -1, &members);
    }
}

#[test]
fn kn4_count_sorted_set_members() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut random = Random::new(6);
    let members = &WORDS[..5];
    for (i, member) in members.iter().enumerate() {
        add(&mut client, "apple", random_score(&mut random), member, 1);
        client.expect(&["ZCARD", "apple"], &format!(":{}\r\n", i + 1));
    }
    add(&mut client, "apple", random_score(&mut random), members[2], 0);
    client.expect(&["ZCARD", "apple"], ":5\r\n");
    client.expect(&["ZCARD", "missing_key_7"], ":0\r\n");
}

#[test]
fn gd7_retrieve_member_score() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut random = Random::new(7);
    for reply in [1, 0, 0, 0, 0, 0, 0, 0] {
        let score = random_score(&mut random);
        add(&mut client, "apple", score, "pear", reply);
        let got = bulk_float(&client.cmd(&["ZSCORE", "apple", "pear"]));
        assert!((got - score).abs() <= 1e-10, "{got} for {score}");
        client.expect_no_more();
    }
}

#[test]
fn sq7_remove_a_member() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let members = tied_set(&mut client, "apple", 5, 8);
    client.expect(&["ZREM", "apple", members[2]], ":1\r\n");
    let rest = [&members[..2], &members[3..]].concat();
    expect_range(&mut client, "apple", 0, -1, &rest);
    client.expect(&["ZREM", "apple", "missing_member_7"], ":0\r\n");
    expect_range(&mut client, "apple", 0, -1, &rest);
}
