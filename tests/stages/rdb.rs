//! RDB persistence: a file that the tester wrote is loaded at the start.

use super::support::client::{Client, Value};
use super::support::fake::RdbWriter;
use super::support::server::Server;
use super::support::tmp::TempDir;
use super::tester::FUTURE_MS;
use std::fs;

/// 2022-01-01 UTC in unix milliseconds.
const PAST_MS: u64 = 1_640_995_200_000;

/// A server that loads a file with these keys, as the tester writes it.
fn server_with_rdb(keys: &[(&str, &str, Option<u64>)]) -> (Server, TempDir) {
    let dir = TempDir::new("ferrodis-rdb");
    let with_ttl = keys.iter().filter(|(_, _, ttl)| ttl.is_some()).count();
    let mut rdb = RdbWriter::new()
        .aux("redis-ver", "7.2.0")
        .aux_int8("redis-bits", 64)
        .database(keys.len() as u8, with_ttl as u8);
    for (key, value, ttl) in keys {
        rdb = rdb.key(key, value, *ttl);
    }
    fs::write(dir.path().join("banana.rdb"), rdb.finish()).expect("the RDB can be written");
    let server = Server::start(&["--dir", dir.text(), "--dbfilename", "banana.rdb"]);
    (server, dir)
}

/// `KEYS *`, sorted.
fn all_keys(client: &mut Client) -> Vec<String> {
    let Value::Array(items) = client.cmd(&["KEYS", "*"]) else {
        panic!("KEYS gives an array");
    };
    client.expect_no_more();
    let name = |item: &Value| match item {
        Value::Bulk(name) => String::from_utf8_lossy(name).into_owned(),
        other => panic!("a bulk string expected, got {other}"),
    };
    let mut names: Vec<String> = items.iter().map(name).collect();
    names.sort();
    names
}

#[test]
fn zg5_config() {
    let dir = TempDir::new("ferrodis-rdb");
    let server = Server::start(&["--dir", dir.text(), "--dbfilename", "apple.rdb"]);
    let mut client = server.client();
    let path = dir.text();
    let reply = format!("*2\r\n$3\r\ndir\r\n${}\r\n{path}\r\n", path.len());
    client.expect(&["CONFIG", "GET", "dir"], &reply);
    let reply = "*2\r\n$10\r\ndbfilename\r\n$9\r\napple.rdb\r\n";
    client.expect(&["CONFIG", "GET", "dbfilename"], reply);
}

#[test]
fn jz6_read_a_key() {
    let (server, _dir) = server_with_rdb(&[("mango", "orange", None)]);
    let mut client = server.client();
    client.expect(&["KEYS", "*"], "*1\r\n$5\r\nmango\r\n");
}

#[test]
fn gc6_read_a_string_value() {
    let (server, _dir) = server_with_rdb(&[("mango", "orange", None)]);
    let mut client = server.client();
    client.expect(&["GET", "mango"], "$6\r\norange\r\n");
}

const SEVERAL: [(&str, &str, Option<u64>); 5] = [
    ("pear", "apple", None),
    ("grape", "strawberry", None),
    ("apple", "pear", None),
    ("blueberry", "banana", None),
    ("orange", "grape", None),
];

#[test]
fn jw4_read_multiple_keys() {
    let (server, _dir) = server_with_rdb(&SEVERAL);
    let names = all_keys(&mut server.client());
    assert_eq!(names, ["apple", "blueberry", "grape", "orange", "pear"]);
}

#[test]
fn dq3_read_multiple_string_values() {
    let (server, _dir) = server_with_rdb(&SEVERAL);
    let mut client = server.client();
    for (key, value, _) in SEVERAL {
        let reply = format!("${}\r\n{value}\r\n", value.len());
        client.expect(&["GET", key], &reply);
    }
}

#[test]
fn sm4_read_value_with_expiry() {
    let (server, _dir) = server_with_rdb(&[
        ("pear", "apple", Some(FUTURE_MS)),
        ("grape", "mango", Some(PAST_MS)),
        ("apple", "pear", Some(FUTURE_MS)),
    ]);
    let mut client = server.client();
    client.expect(&["GET", "pear"], "$5\r\napple\r\n");
    client.expect(&["GET", "grape"], "$-1\r\n");
    client.expect(&["GET", "apple"], "$4\r\npear\r\n");
    assert_eq!(all_keys(&mut client), ["apple", "pear"]);
    let expires = client.cmd(&["PEXPIRETIME", "pear"]);
    assert_eq!(expires, Value::Int(FUTURE_MS as i64));
}
