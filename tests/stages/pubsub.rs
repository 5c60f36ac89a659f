//! Pub/sub: one channel per SUBSCRIBE, messages as arrays of three bulk strings.

use super::support::client::Client;
use super::support::server::Server;
use super::tester::{array, bulk, bulks, expect_arrives, expect_error};

/// What SUBSCRIBE and UNSUBSCRIBE answer: two bulk strings and an integer.
fn confirmation(kind: &str, channel: &str, count: usize) -> String {
    array(&[bulk(kind), bulk(channel), format!(":{count}\r\n")])
}

/// Subscribes to one channel more, which is the `count`th.
#[track_caller]
fn subscribe(client: &mut Client, channel: &str, count: usize) {
    client.expect(&["SUBSCRIBE", channel], &confirmation("subscribe", channel, count));
}

/// A client that is subscribed to these channels.
#[track_caller]
fn subscriber(server: &Server, channels: &[&str]) -> Client {
    let mut client = server.client();
    for (i, channel) in channels.iter().enumerate() {
        subscribe(&mut client, channel, i + 1);
    }
    client
}

#[track_caller]
fn publish(client: &mut Client, channel: &str, text: &str, receivers: usize) {
    client.expect(&["PUBLISH", channel, text], &format!(":{receivers}\r\n"));
}

#[track_caller]
fn expect_message(client: &mut Client, channel: &str, text: &str) {
    expect_arrives(client, &bulks(&["message", channel, text]));
}

#[test]
fn mx3_subscribe_to_a_channel() {
    let server = Server::start(&[]);
    subscriber(&server, &["apple"]);
}

#[test]
fn zc8_subscribe_to_multiple_channels() {
    let server = Server::start(&[]);
    let _first = subscriber(&server, &["apple", "pear", "mango"]);
    let _second = subscriber(&server, &["grape", "pear", "orange", "banana", "apple"]);
    let mut third = subscriber(&server, &["apple"]);
    // The same channel again changes nothing, and the count tells so.
    subscribe(&mut third, "apple", 1);
}

#[test]
fn aw8_enter_subscribed_mode() {
    let server = Server::start(&[]);
    let mut client = subscriber(&server, &["apple"]);
    for command in [&["SET", "pear", "1"][..], &["GET", "pear"], &["ECHO", "pear"]] {
        let part = format!("can't execute '{}'", command[0].to_lowercase());
        expect_error(&mut client, command, "ERR ", &[&part]);
    }
    subscribe(&mut client, "mango", 2);
}

#[test]
fn lf1_ping_in_subscribed_mode() {
    let server = Server::start(&[]);
    let mut client = subscriber(&server, &["apple"]);
    client.expect(&["PING"], "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    server.client().expect(&["PING"], "+PONG\r\n");
}

#[test]
fn hf2_publish_a_message() {
    let server = Server::start(&[]);
    let _subscribers = ["apple", "pear", "pear"].map(|name| subscriber(&server, &[name]));
    let mut publisher = server.client();
    publish(&mut publisher, "apple", "hello", 1);
    publish(&mut publisher, "pear", "hello", 2);
}

#[test]
fn dn4_deliver_messages() {
    let server = Server::start(&[]);
    let [mut first, mut second, mut third] =
        ["apple", "apple", "pear"].map(|name| subscriber(&server, &[name]));
    let mut publisher = server.client();
    publish(&mut publisher, "apple", "hello", 2);
    expect_message(&mut first, "apple", "hello");
    expect_message(&mut second, "apple", "hello");
    third.expect_no_more();
    publish(&mut publisher, "pear", "world", 1);
    expect_message(&mut third, "pear", "world");
    first.expect_no_more();
    second.expect_no_more();
}

#[test]
fn ze9_unsubscribe() {
    let server = Server::start(&[]);
    let mut first = subscriber(&server, &["apple", "pear"]);
    let mut second = subscriber(&server, &["pear", "mango"]);
    let mut publisher = server.client();
    publish(&mut publisher, "pear", "hello", 2);
    for client in [&mut first, &mut second] {
        expect_message(client, "pear", "hello");
    }
    first.expect(&["UNSUBSCRIBE", "pear"], &confirmation("unsubscribe", "pear", 1));
    publish(&mut publisher, "pear", "world", 1);
    expect_message(&mut second, "pear", "world");
    first.expect_no_more();
}
