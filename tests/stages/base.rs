//! The seven stages that every solution starts with.

use super::support::client::PATIENCE;
use super::support::server::Server;
use super::tester::sleep_ms;
use std::net::TcpStream;
use std::time::Instant;

#[test]
fn jm1_bind_to_a_port() {
    let mut server = Server::start_unready(&[]);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(server.addr()).is_err() {
        let alive = server.exited().is_none() && Instant::now() < deadline;
        assert!(alive, "nobody listens; the log:\n{}", server.log());
        sleep_ms(10);
    }
}

#[test]
fn rg2_respond_to_ping() {
    let server = Server::start(&[]);
    server.client().expect(&["PING"], "+PONG\r\n");
}

#[test]
fn wy1_respond_to_multiple_pings() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for _ in 0..3 {
        client.expect(&["PING"], "+PONG\r\n");
    }
}

#[test]
fn zu2_handle_concurrent_clients() {
    let server = Server::start(&[]);
    let mut first = server.client();
    first.expect(&["PING"], "+PONG\r\n");
    let mut second = server.client();
    second.expect(&["PING"], "+PONG\r\n");
    first.expect(&["PING"], "+PONG\r\n");
    first.expect(&["PING"], "+PONG\r\n");
    second.expect(&["PING"], "+PONG\r\n");
    let mut third = server.client();
    third.expect(&["PING"], "+PONG\r\n");
}

#[test]
fn qq0_echo() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["ECHO", "strawberry"], "$10\r\nstrawberry\r\n");
}

#[test]
fn la7_set_and_get() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "apple", "pear"], "+OK\r\n");
    client.expect(&["GET", "apple"], "$4\r\npear\r\n");
}

#[test]
fn yz1_expiry() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "grape", "mango", "PX", "100"], "+OK\r\n");
    client.expect(&["GET", "grape"], "$5\r\nmango\r\n");
    sleep_ms(101);
    client.expect(&["GET", "grape"], "$-1\r\n");
}
