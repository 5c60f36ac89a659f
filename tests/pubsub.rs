//! Channels over TCP: what messages cost and promise under load.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, PATIENCE, RecvError, Value, encode};
use support::server::Server;

/// What every server here is started with.
const FLAGS: [&str; 2] = ["--save", ""];

fn start(flags: &[&str]) -> Server {
    Server::start(&[&FLAGS[..], flags].concat())
}

/// Waits until something is the case, or panics.
#[track_caller]
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A reply or message of bulk strings, with an integer last where there is one.
fn words(value: &Value) -> Vec<String> {
    let word = |item: &Value| match item {
        Value::Int(n) => n.to_string(),
        other => other.text(),
    };
    value.items().iter().map(word).collect()
}

/// A client that is subscribed to a channel.
fn subscriber(server: &Server, channel: &str) -> Client {
    let mut client = server.client();
    assert_eq!(words(&client.cmd(&["SUBSCRIBE", channel])), ["subscribe", channel, "1"]);
    client
}

#[track_caller]
fn expect_message(client: &mut Client, channel: &str, text: &str) {
    let expected = ["message", channel, text].map(Value::bulk);
    assert_eq!(client.recv(), Value::Array(expected.to_vec()));
}

/// A number in INFO.
fn info(client: &mut Client, name: &str) -> i64 {
    let info = client.cmd(&["INFO"]).text();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {info}"))
}

// ---- what messages cost -----------------------------------------------------------------------

#[test]
fn a_hundred_subscribers_share_one_copy() {
    const MB: i64 = 1024 * 1024;
    const MESSAGES: i64 = 12;
    let server = start(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let mut subscribers: Vec<Client> = (0..100).map(|_| subscriber(&server, "ch")).collect();
    let mut publisher = server.client();
    let before = info(&mut publisher, "used_memory");
    let text = "x".repeat(MB as usize);
    for _ in 0..MESSAGES {
        assert_eq!(publisher.cmd(&["PUBLISH", "ch", &text]).int(), 100);
    }
    let grown = info(&mut publisher, "used_memory") - before;
    let waiting = publisher.cmd(&["CLIENT", "LIST", "TYPE", "pubsub"]).text();
    let waiting: i64 = waiting
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("omem=")?.parse::<i64>().ok())
        .sum();
    // Otherwise nothing is measured here but the sockets' own buffers.
    assert!(waiting > 200 * MB, "{waiting} bytes wait");
    assert!(grown < (MESSAGES + 8) * MB, "{grown} bytes for {MESSAGES} messages");
    for client in &mut subscribers {
        for _ in 0..MESSAGES {
            let message = client.recv();
            assert!(message.items()[2] == Value::bulk(&text));
        }
    }
    eventually("the memory is given back", || {
        info(&mut publisher, "used_memory") < before + 8 * MB
    });
}

#[test]
fn who_does_not_read_is_cut_and_the_others_do_not_wait() {
    let server = start(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let (_silent, mut reader) = (subscriber(&server, "ch"), subscriber(&server, "ch"));
    let done = Arc::new(AtomicBool::new(false));
    let reading = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                match reader.recv_timeout(Duration::from_millis(20)) {
                    Ok(message) => {
                        let text = words(&message).pop().unwrap();
                        let number: usize = text.trim_end_matches('.').parse().unwrap();
                        assert_eq!(number, count);
                        count += 1;
                    }
                    Err(RecvError::Timeout) => {}
                    Err(e) => panic!("after {count} messages: {e:?}"),
                }
            }
            count
        }
    });
    let mut publisher = server.client();
    let mut sent = 0;
    let mut slowest = Duration::ZERO;
    loop {
        let text = format!("{sent}{}", ".".repeat(32 * 1024));
        let began = Instant::now();
        let receivers = publisher.cmd(&["PUBLISH", "ch", &text]).int();
        slowest = slowest.max(began.elapsed());
        sent += 1;
        if receivers == 1 {
            break;
        }
        assert!(sent < 5000, "the silent subscriber is still there");
        // The one that reads is to be served, and not raced.
        thread::sleep(Duration::from_millis(2));
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(info(&mut publisher, "client_output_buffer_limit_disconnections"), 1);
    eventually("the reader has all", || {
        let list = publisher.cmd(&["CLIENT", "LIST", "TYPE", "pubsub"]).text();
        list.lines().count() == 1 && list.contains(" omem=0 ")
    });
    thread::sleep(Duration::from_millis(100));
    done.store(true, Ordering::Relaxed);
    assert_eq!(reading.join().expect("the reader"), sent);
    assert!(server.log().contains("closed for overcoming of output buffer limits"));
}

#[test]
fn who_is_cut_is_not_listed_as_one_that_owes_nothing() {
    let server = start(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let _silent = subscriber(&server, "ch");
    let (mut publisher, text) = (server.client(), ".".repeat(64 * 1024));
    let mut waiting = 0_usize;
    loop {
        publisher.cmd(&["PUBLISH", "ch", &text]);
        let list = publisher.cmd(&["CLIENT", "LIST", "TYPE", "pubsub"]).text();
        let Some(field) = list.split(' ').find_map(|word| word.strip_prefix("omem=")) else {
            break;
        };
        waiting = field.parse().expect("a number");
    }
    assert!(waiting > 512 * 1024, "{waiting}");
}

// ---- what messages promise --------------------------------------------------------------------

#[test]
fn all_subscribers_see_the_messages_of_all_publishers_in_one_order() {
    const PUBLISHERS: usize = 4;
    const EACH: usize = 500;
    let server = start(&[]);
    let mut subscribers: Vec<Client> = (0..3).map(|_| subscriber(&server, "ch")).collect();
    let mut matching = server.client();
    matching.cmd(&["PSUBSCRIBE", "c?"]);
    subscribers.push(matching);
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut client = server.client();
            thread::spawn(move || {
                for i in 0..EACH {
                    let text = format!("{publisher}:{i}");
                    assert_eq!(client.cmd(&["PUBLISH", "ch", &text]).int(), 4);
                }
            })
        })
        .collect();
    let mut seen = subscribers.iter_mut().map(|client| {
        let texts = (0..PUBLISHERS * EACH).map(|_| words(&client.recv()).pop().unwrap());
        texts.collect::<Vec<String>>()
    });
    let first = seen.next().expect("a subscriber");
    assert!(seen.all(|other| other == first));
    let mut next = BTreeMap::new();
    for text in &first {
        let (publisher, number) = text.split_once(':').expect("publisher:number");
        let next: &mut usize = next.entry(publisher).or_default();
        assert_eq!(number.parse(), Ok(*next));
        *next += 1;
    }
    publishers.into_iter().for_each(|thread| thread.join().expect("a publisher"));
}

/// Publishes until the end of the test.
struct Flood {
    done: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Flood {
    fn start(server: &Server) -> Flood {
        let done = Arc::new(AtomicBool::new(false));
        let mut client = server.client();
        let thread = thread::spawn({
            let done = Arc::clone(&done);
            move || {
                while !done.load(Ordering::Relaxed) {
                    assert!(client.cmd(&["PUBLISH", "ch", "flood"]).int() >= 0);
                }
            }
        });
        Flood { done, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("a thread").join();
        assert!(ended.is_ok() || thread::panicking(), "the publisher failed");
    }
}

#[test]
fn messages_come_only_between_the_two_confirmations() {
    let server = start(&[]);
    let _floods = [Flood::start(&server), Flood::start(&server)];
    let mut client = server.client();
    for round in 0..200 {
        // With more in the same packet, so that replies wait while messages come.
        client.send(&["ECHO", "before"]);
        client.send(&["SUBSCRIBE", "ch", "other"]);
        assert_eq!(client.recv(), Value::bulk("before"), "round {round}");
        assert_eq!(words(&client.recv()), ["subscribe", "ch", "1"], "round {round}");
        while words(&client.recv())[0] == "message" {}
        expect_message(&mut client, "ch", "flood");
        client.send(&["UNSUBSCRIBE", "ch"]);
        client.send(&["UNSUBSCRIBE"]);
        client.send(&["ECHO", "after"]);
        while words(&client.recv())[0] == "message" {}
        assert_eq!(words(&client.recv()), ["unsubscribe", "other", "0"], "round {round}");
        assert_eq!(client.recv(), Value::bulk("after"), "round {round}");
        // In a transaction the messages wait for the end of its reply.
        client.cmd(&["MULTI"]);
        client.cmd(&["SUBSCRIBE", "ch"]);
        client.cmd(&["PING"]);
        client.cmd(&["PSUBSCRIBE", "nobody"]);
        let reply = client.cmd(&["EXEC"]);
        assert_eq!(reply.items().len(), 3, "round {round}: {reply}");
        assert_eq!(words(&reply.items()[2]), ["psubscribe", "nobody", "2"], "round {round}");
        expect_message(&mut client, "ch", "flood");
        client.send(&["RESET"]);
        while client.recv() != Value::simple("RESET") {}
    }
}

#[test]
fn clients_that_hang_up_leave_nothing_behind() {
    let server = start(&[]);
    let mut watcher = server.client();
    {
        let _floods = [Flood::start(&server), Flood::start(&server)];
        for round in 0..200 {
            let mut client = server.client();
            client.send(&["SUBSCRIBE", "ch", "a", "b"]);
            client.send(&["PSUBSCRIBE", "c*"]);
            if round % 3 > 0 {
                client.recv();
            }
        }
    }
    eventually("nobody is subscribed", || info(&mut watcher, "pubsub_clients") == 0);
    assert_eq!(info(&mut watcher, "pubsub_channels"), 0);
    assert_eq!(info(&mut watcher, "pubsub_patterns"), 0);
    assert_eq!(watcher.cmd(&["PUBLISH", "ch", "x"]).int(), 0);
    eventually("nobody else is connected", || {
        watcher.cmd(&["CLIENT", "LIST"]).text().lines().count() == 1
    });
}

#[test]
fn a_subscriber_sees_its_own_messages_behind_its_replies() {
    let server = start(&[]);
    let mut client = server.client();
    client.cmd(&["HELLO", "3"]);
    client.cmd(&["CONFIG", "SET", "notify-keyspace-events", "KA"]);
    client.cmd(&["PSUBSCRIBE", "*"]);
    let _others = [Flood::start(&server), Flood::start(&server)];
    for round in 0..200 {
        let key = format!("k{round}");
        client.send(&["SET", &key, "v"]);
        client.send(&["PUBLISH", "own", &key]);
        let mut seen = Vec::new();
        while seen.len() < 4 {
            match client.recv() {
                Value::Push(items) if items[2] == Value::bulk("ch") => {}
                Value::Push(items) => seen.push(items[2].text()),
                Value::Int(1) => seen.push("published".to_owned()),
                other => seen.push(other.text()),
            }
        }
        let event = format!("__keyspace@0__:{key}");
        assert_eq!(seen, ["OK", &event, "published", "own"], "round {round}");
    }
}

// ---- keyspace events --------------------------------------------------------------------------

#[test]
fn events_come_in_the_order_of_the_changes() {
    let server = start(&["--notify-keyspace-events", "Kg$"]);
    let mut watcher = server.client();
    watcher.cmd(&["SUBSCRIBE", "__keyspace@0__:k"]);
    let changers: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.client();
            thread::spawn(move || {
                // Many at a time, so that the changes follow each other closely.
                let pair = [encode(&["SETNX", "k", "v"]), encode(&["DEL", "k"])].concat();
                for _ in 0..20 {
                    client.send_raw(&pair.repeat(250));
                    (0..500).for_each(|_| assert!(client.recv().int() >= 0));
                }
            })
        })
        .collect();
    changers.into_iter().for_each(|thread| thread.join().expect("a changer"));
    server.client().cmd(&["PUBLISH", "__keyspace@0__:k", "end"]);
    let mut expected = ["set", "del"].into_iter().cycle();
    let mut count = 0;
    loop {
        let event = words(&watcher.recv()).pop().unwrap();
        if event == "end" {
            break;
        }
        assert_eq!(Some(event.as_str()), expected.next(), "event {count}");
        count += 1;
    }
    assert!(count >= 1000, "{count} events");
}

#[test]
fn keys_expire_at_their_deadline_for_subscribers_too() {
    let server = start(&["--notify-keyspace-events", "Ex"]);
    let mut watcher = server.client();
    watcher.cmd(&["SUBSCRIBE", "__keyevent@0__:expired"]);
    let mut client = server.client();
    for i in 0..2000 {
        let key = format!("later{i}");
        client.cmd(&["SET", &key, "v", "EX", "1000"]);
    }
    for round in 0..5 {
        let key = format!("k{round}");
        client.cmd(&["SET", &key, "v", "PX", "60"]);
        let began = Instant::now();
        expect_message(&mut watcher, "__keyevent@0__:expired", &key);
        let waited = began.elapsed();
        let (least, most) = (Duration::from_millis(55), Duration::from_millis(500));
        assert!(least <= waited && waited < most, "{waited:?}");
    }
}

#[test]
fn a_replica_tells_its_own_subscribers() {
    let primary = start(&[]);
    let replicaof = format!("127.0.0.1 {}", primary.port());
    let flags = ["--replicaof", &replicaof, "--notify-keyspace-events", "Kg$x"];
    let replica = start(&flags);
    let mut watcher = replica.client();
    eventually("the replica is in sync", || {
        replica.client().cmd(&["INFO"]).text().contains("master_link_status:up")
    });
    for (i, channel) in ["ch", "__keyspace@0__:k"].into_iter().enumerate() {
        let count = (i + 1).to_string();
        assert_eq!(words(&watcher.cmd(&["SUBSCRIBE", channel])), ["subscribe", channel, &count]);
    }
    watcher.cmd(&["SSUBSCRIBE", "shard"]);
    let mut client = primary.client();
    assert_eq!(client.cmd(&["PUBLISH", "ch", "1"]).int(), 0);
    expect_message(&mut watcher, "ch", "1");
    client.cmd(&["SET", "k", "v", "PX", "30"]);
    for event in ["set", "expire", "del"] {
        expect_message(&mut watcher, "__keyspace@0__:k", event);
    }
    client.cmd(&["MULTI"]);
    client.cmd(&["SET", "k", "v"]);
    client.cmd(&["PUBLISH", "ch", "2"]);
    client.cmd(&["DEL", "k"]);
    client.cmd(&["SPUBLISH", "shard", "3"]);
    client.cmd(&["EXEC"]);
    expect_message(&mut watcher, "__keyspace@0__:k", "set");
    expect_message(&mut watcher, "ch", "2");
    expect_message(&mut watcher, "__keyspace@0__:k", "del");
    assert_eq!(words(&watcher.recv()), ["smessage", "shard", "3"]);
    // What is published at the replica stays there.
    let mut at_primary = subscriber(&primary, "ch");
    assert_eq!(replica.client().cmd(&["PUBLISH", "ch", "4"]).int(), 1);
    expect_message(&mut watcher, "ch", "4");
    at_primary.expect_silence(50);
}
