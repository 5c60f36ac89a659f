//! Optimistic locking: the first client watches, the second one modifies.

use super::support::client::Client;
use super::support::server::Server;
use super::tester::{bulk, expect_error};

const ABORTED: &str = "*-1\r\n";
const ONE_OK: &str = "*1\r\n+OK\r\n";

#[track_caller]
fn set(client: &mut Client, key: &str, value: &str) {
    client.expect(&["SET", key, value], "+OK\r\n");
}

/// A transaction up to and without its EXEC: one SET.
#[track_caller]
fn begin(client: &mut Client, key: &str, value: &str) {
    client.expect(&["MULTI"], "+OK\r\n");
    client.expect(&["SET", key, value], "+QUEUED\r\n");
}

#[track_caller]
fn expect_value(client: &mut Client, key: &str, value: &str) {
    client.expect(&["GET", key], &bulk(value));
}

/// Two clients of one server.
fn two(server: &Server) -> (Client, Client) {
    (server.client(), server.client())
}

#[test]
fn jb7_the_watch_command() {
    let server = Server::start(&[]);
    server.client().expect(&["WATCH", "apple"], "+OK\r\n");
}

#[test]
fn jq9_watch_inside_transaction() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["MULTI"], "+OK\r\n");
    let parts = ["watch", "inside multi", "not allowed"];
    expect_error(&mut client, &["WATCH", "apple"], "ERR ", &parts);
}

#[test]
fn mh8_tracking_key_modifications() {
    let server = Server::start(&[]);
    let (mut first, mut second) = two(&server);
    set(&mut first, "apple", "1");
    set(&mut first, "pear", "2");
    first.expect(&["WATCH", "apple"], "+OK\r\n");
    begin(&mut first, "pear", "3");
    set(&mut second, "apple", "4");
    first.expect(&["EXEC"], ABORTED);
    expect_value(&mut first, "pear", "2");

    let (mut third, mut fourth) = two(&server);
    set(&mut third, "mango", "5");
    set(&mut third, "grape", "6");
    third.expect(&["WATCH", "mango"], "+OK\r\n");
    begin(&mut third, "grape", "7");
    set(&mut fourth, "grape", "8");
    third.expect(&["EXEC"], ONE_OK);
    expect_value(&mut third, "grape", "7");
}

#[test]
fn fp0_watching_multiple_keys() {
    let server = Server::start(&[]);
    let (mut first, mut second) = two(&server);
    for changed in ["apple", "pear"] {
        for written in ["apple", "pear"] {
            set(&mut first, "apple", "1");
            set(&mut first, "pear", "1");
            first.expect(&["WATCH", "apple", "pear"], "+OK\r\n");
            begin(&mut first, written, "3");
            set(&mut second, changed, "2");
            first.expect(&["EXEC"], ABORTED);
            for key in ["apple", "pear"] {
                let value = if key == changed { "2" } else { "1" };
                expect_value(&mut first, key, value);
            }
        }
    }
}

#[test]
fn uo9_watching_missing_keys() {
    let server = Server::start(&[]);
    let (mut first, mut second) = two(&server);
    first.expect(&["WATCH", "apple"], "+OK\r\n");
    begin(&mut first, "apple", "1");
    set(&mut second, "apple", "2");
    first.expect(&["EXEC"], ABORTED);
    expect_value(&mut first, "apple", "2");
    // The description has the write before MULTI.
    first.expect(&["WATCH", "pear"], "+OK\r\n");
    set(&mut second, "pear", "2");
    begin(&mut first, "pear", "1");
    first.expect(&["EXEC"], ABORTED);
    expect_value(&mut first, "pear", "2");
}

#[test]
fn bn1_the_unwatch_command() {
    let server = Server::start(&[]);
    let (mut first, mut second) = two(&server);
    set(&mut first, "apple", "1");
    set(&mut first, "pear", "2");
    first.expect(&["WATCH", "apple", "pear"], "+OK\r\n");
    set(&mut second, "apple", "3");
    first.expect(&["UNWATCH"], "+OK\r\n");
    begin(&mut first, "apple", "4");
    first.expect(&["EXEC"], ONE_OK);
    expect_value(&mut first, "apple", "4");
}

#[test]
fn fn4_unwatch_on_exec() {
    let server = Server::start(&[]);
    let (mut first, mut second) = two(&server);
    set(&mut first, "apple", "1");
    set(&mut first, "pear", "2");
    first.expect(&["WATCH", "apple"], "+OK\r\n");
    begin(&mut first, "pear", "3");
    set(&mut second, "apple", "4");
    first.expect(&["EXEC"], ABORTED);
    begin(&mut first, "pear", "5");
    first.expect(&["EXEC"], ONE_OK);
    expect_value(&mut first, "pear", "5");
}

#[test]
fn hq1_unwatch_on_discard() {
    let server = Server::start(&[]);
    let (mut first, mut second) = two(&server);
    set(&mut first, "apple", "1");
    set(&mut first, "pear", "2");
    first.expect(&["WATCH", "apple", "pear"], "+OK\r\n");
    begin(&mut first, "pear", "3");
    set(&mut second, "apple", "4");
    first.expect(&["DISCARD"], "+OK\r\n");
    begin(&mut first, "pear", "5");
    first.expect(&["EXEC"], ONE_OK);
    expect_value(&mut first, "pear", "5");
}
