//! Transactions: INCR, MULTI, EXEC and DISCARD.

use super::support::server::Server;
use super::tester::{array, bulk};

const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
const EXEC_WITHOUT_MULTI: &str = "-ERR EXEC without MULTI\r\n";
const DISCARD_WITHOUT_MULTI: &str = "-ERR DISCARD without MULTI\r\n";

#[test]
fn si4_the_incr_command_1_of_3() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "apple", "41"], "+OK\r\n");
    client.expect(&["INCR", "apple"], ":42\r\n");
}

#[test]
fn lz8_the_incr_command_2_of_3() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["INCR", "apple"], ":1\r\n");
    client.expect(&["INCR", "apple"], ":2\r\n");
    client.expect(&["GET", "apple"], "$1\r\n2\r\n");
}

#[test]
fn mk1_the_incr_command_3_of_3() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "apple", "pear"], "+OK\r\n");
    client.expect(&["INCR", "apple"], NOT_AN_INTEGER);
}

#[test]
fn pn0_the_multi_command() {
    let server = Server::start(&[]);
    server.client().expect(&["MULTI"], "+OK\r\n");
}

#[test]
fn lo4_the_exec_command() {
    let server = Server::start(&[]);
    server.client().expect(&["EXEC"], EXEC_WITHOUT_MULTI);
}

#[test]
fn we1_empty_transaction() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["MULTI"], "+OK\r\n");
    client.expect(&["EXEC"], "*0\r\n");
    client.expect(&["EXEC"], EXEC_WITHOUT_MULTI);
}

#[test]
fn rs9_queueing_commands() {
    let server = Server::start(&[]);
    let (mut client, mut other) = (server.client(), server.client());
    client.expect(&["MULTI"], "+OK\r\n");
    client.expect(&["SET", "apple", "41"], "+QUEUED\r\n");
    client.expect(&["INCR", "apple"], "+QUEUED\r\n");
    other.expect(&["GET", "apple"], "$-1\r\n");
}

#[test]
fn fy6_executing_a_transaction() {
    let server = Server::start(&[]);
    let (mut client, mut other) = (server.client(), server.client());
    client.expect(&["MULTI"], "+OK\r\n");
    client.expect(&["SET", "apple", "41"], "+QUEUED\r\n");
    client.expect(&["INCR", "apple"], "+QUEUED\r\n");
    client.expect(&["INCR", "pear"], "+QUEUED\r\n");
    client.expect(&["GET", "pear"], "+QUEUED\r\n");
    client.expect(&["EXEC"], "*4\r\n+OK\r\n:42\r\n:1\r\n$1\r\n1\r\n");
    other.expect(&["GET", "apple"], "$2\r\n42\r\n");
}

#[test]
fn rl9_the_discard_command() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "pear", "7"], "+OK\r\n");
    client.expect(&["MULTI"], "+OK\r\n");
    client.expect(&["SET", "apple", "41"], "+QUEUED\r\n");
    client.expect(&["INCR", "apple"], "+QUEUED\r\n");
    client.expect(&["DISCARD"], "+OK\r\n");
    client.expect(&["GET", "apple"], "$-1\r\n");
    client.expect(&["GET", "pear"], "$1\r\n7\r\n");
    client.expect(&["DISCARD"], DISCARD_WITHOUT_MULTI);
}

#[test]
fn sg9_failures_within_transactions() {
    let server = Server::start(&[]);
    let (mut client, mut other) = (server.client(), server.client());
    client.expect(&["SET", "apple", "mango"], "+OK\r\n");
    client.expect(&["SET", "pear", "41"], "+OK\r\n");
    client.expect(&["MULTI"], "+OK\r\n");
    client.expect(&["INCR", "apple"], "+QUEUED\r\n");
    client.expect(&["INCR", "pear"], "+QUEUED\r\n");
    client.expect(&["EXEC"], &array(&[NOT_AN_INTEGER, ":42\r\n"]));
    other.expect(&["GET", "pear"], &bulk("42"));
    other.expect(&["GET", "apple"], &bulk("mango"));
}

#[test]
fn jf8_multiple_transactions() {
    let server = Server::start(&[]);
    let mut clients = [server.client(), server.client(), server.client()];
    for (i, client) in clients.iter_mut().enumerate() {
        client.expect(&["SET", "pear", "41"], "+OK\r\n");
        client.expect(&["INCR", "apple"], &format!(":{}\r\n", i + 1));
    }
    for client in &mut clients {
        client.expect(&["MULTI"], "+OK\r\n");
        client.expect(&["INCR", "apple"], "+QUEUED\r\n");
        client.expect(&["INCR", "pear"], "+QUEUED\r\n");
    }
    for (i, client) in clients.iter_mut().enumerate() {
        let counts = [4 + i, 42 + i].map(|n| format!(":{n}\r\n"));
        client.expect(&["EXEC"], &array(&counts));
    }
}
