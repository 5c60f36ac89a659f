//! MIGRATE between two servers, and to a target that the test plays, so that things happen on the
//! way.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use support::client::{Client, PATIENCE, Value};
use support::fake::FakeReplica;
use support::server::Server;

fn start() -> Server {
    Server::start(&["--save", ""])
}

/// MIGRATE to this port and database 3 within so many milliseconds, with these options behind.
fn migrate(port: u16, key: &str, timeout_ms: u64, options: &[&str]) -> Vec<String> {
    let (port, timeout) = (port.to_string(), timeout_ms.to_string());
    let head = ["MIGRATE", "127.0.0.1", &port, key, "3", &timeout];
    head.iter().chain(options).map(|word| (*word).to_owned()).collect()
}

fn run(client: &mut Client, command: &[String]) -> String {
    client.cmd_bytes(command).to_string()
}

fn info(client: &mut Client, name: &str) -> String {
    let info = client.cmd(&["INFO"]).text();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

#[test]
fn keys_move_with_their_deadlines_and_go_here_as_one_del() {
    let (source, target) = (start(), start());
    let (mut from, mut to) = (source.client(), target.client());
    let mut replica = FakeReplica::attach(source.addr());
    to.cmd(&["SELECT", "3"]);
    let port = target.port();
    from.cmd(&["RPUSH", "list", "a", "b"]);
    from.cmd(&["SET", "t", "v", "PX", "100000"]);
    from.cmd(&["HSET", "h", "f", "v"]);
    let keys = ["COPY", "KEYS", "list", "none", "t"];
    assert_eq!(run(&mut from, &migrate(port, "", 1000, &keys)), "OK");
    assert_eq!(to.cmd(&["DBSIZE"]).int(), 2);
    assert_eq!(from.cmd(&["DBSIZE"]).int(), 3);
    let busy = "(error) ERR Target instance replied with error: BUSYKEY Target key name already \
                exists.";
    // What is refused stays, what is not goes.
    assert_eq!(run(&mut from, &migrate(port, "", 1000, &["KEYS", "h", "t"])), busy);
    assert_eq!((from.cmd(&["EXISTS", "h"]).int(), from.cmd(&["EXISTS", "t"]).int()), (0, 1));
    let keys = ["REPLACE", "KEYS", "list", "t"];
    assert_eq!(run(&mut from, &migrate(port, "", 1000, &keys)), "OK");
    assert_eq!(from.cmd(&["DBSIZE"]).int(), 0);
    assert_eq!(to.cmd(&["LRANGE", "list", "0", "-1"]).items().len(), 2);
    assert!((90_000..=100_000).contains(&to.cmd(&["PTTL", "t"]).int()));
    assert_eq!(to.cmd(&["HGET", "h", "f"]).text(), "v");
    assert_eq!(run(&mut from, &migrate(port, "list", 1000, &[])), "NOKEY");
    let effects: Vec<String> = (0..5).map(|_| replica.next()).collect();
    assert_eq!(effects[3..], ["DEL h", "DEL list t"]);
    assert_eq!(info(&mut from, "migrate_cached_sockets"), "1");
}

#[test]
fn a_target_asks_for_a_password_which_nobody_sees() {
    let (source, target) = (start(), start());
    let (mut from, mut to) = (source.client(), target.client());
    to.cmd(&["CONFIG", "SET", "requirepass", "secret"]);
    to.cmd(&["ACL", "SETUSER", "mover", "on", ">other", "~*", "+select", "+restore"]);
    from.cmd(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    from.cmd(&["MSET", "a", "1", "b", "2"]);
    let noauth = "(error) ERR Target instance replied with error: NOAUTH Authentication required.";
    let port = target.port();
    assert_eq!(run(&mut from, &migrate(port, "a", 1000, &[])), noauth);
    let wrong = run(&mut from, &migrate(port, "a", 1000, &["AUTH", "wrong"]));
    assert!(wrong.contains("ERR Target instance replied with error: WRONGPASS"), "{wrong}");
    assert_eq!(run(&mut from, &migrate(port, "a", 1000, &["AUTH", "secret"])), "OK");
    let as_user = ["REPLACE", "AUTH2", "mover", "other", "KEYS", "b"];
    assert_eq!(run(&mut from, &migrate(port, "", 1000, &as_user)), "OK");
    assert_eq!(from.cmd(&["DBSIZE"]).int(), 0);
    let seen = from.cmd(&["SLOWLOG", "GET", "-1"]).to_string();
    assert!(seen.contains("(redacted)"));
    for secret in ["secret", "wrong", "mover", "\"other\""] {
        assert!(!seen.contains(secret), "{seen}");
    }
}

/// A target that the test plays.
struct Target {
    listener: TcpListener,
}

impl Target {
    fn new() -> Target {
        Target { listener: TcpListener::bind("127.0.0.1:0").expect("a port") }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    fn accept(&self) -> BufReader<TcpStream> {
        let (stream, _) = self.listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        BufReader::new(stream)
    }
}

/// Reads one request; its first word and its number of words.
fn request(input: &mut BufReader<TcpStream>) -> (String, usize) {
    let mut number = || {
        let mut line = String::new();
        input.read_line(&mut line).expect("a line");
        line[1..].trim_end().parse::<usize>().expect("a number")
    };
    let count = number();
    let mut first = String::new();
    for at in 0..count {
        let mut length = String::new();
        input.read_line(&mut length).expect("a length");
        let mut word = vec![0; length[1..].trim_end().parse::<usize>().expect("a number") + 2];
        input.read_exact(&mut word).expect("a word");
        if at == 0 {
            first = String::from_utf8_lossy(&word).trim_end().to_owned();
        }
    }
    (first, count)
}

fn answer(target: &mut BufReader<TcpStream>, text: &str) {
    target.get_mut().write_all(text.as_bytes()).expect("the source reads");
}

fn begin(source: &Server, target: &Target, key: &str, options: &[&str]) -> Client {
    let mut mover = source.client();
    let words = migrate(target.port(), key, 5000, options);
    mover.send(&words.iter().map(String::as_str).collect::<Vec<_>>());
    mover
}

#[test]
fn a_key_that_changes_on_the_way_stays() {
    let (source, target) = (start(), Target::new());
    let mut other = source.client();
    other.cmd(&["MSET", "a", "1", "b", "2", "c", "3"]);
    let mut mover = begin(&source, &target, "", &["KEYS", "a", "b", "c"]);
    let mut link = target.accept();
    assert_eq!(request(&mut link), ("SELECT".to_owned(), 2));
    (0..3).for_each(|_| assert_eq!(request(&mut link), ("RESTORE".to_owned(), 4)));
    // No key is held while the target takes its time.
    assert_eq!(other.cmd(&["GET", "a"]).text(), "1");
    assert_eq!(other.cmd(&["INCR", "b"]).int(), 3);
    assert_eq!(other.cmd(&["DEL", "c"]).int(), 1);
    answer(&mut link, "+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
    let reply = mover.recv().to_string();
    assert!(reply.contains("ERR Keys have changed while they were transferred"), "{reply}");
    assert_eq!(other.cmd(&["KEYS", "*"]).items(), [Value::bulk("b")]);
    // The connection is kept, and its database known.
    let mut mover = begin(&source, &target, "b", &[]);
    assert_eq!(request(&mut link), ("RESTORE".to_owned(), 4));
    answer(&mut link, "+OK\r\n");
    assert_eq!(mover.recv().text(), "OK");
    assert_eq!(other.cmd(&["DBSIZE"]).int(), 0);
}

#[test]
fn a_silent_target_costs_no_key_and_a_lost_connection_is_tried_anew() {
    let (source, target) = (start(), Target::new());
    let mut client = source.client();
    client.cmd(&["MSET", "a", "1", "b", "2"]);
    let began = Instant::now();
    let reply = run(&mut client, &migrate(target.port(), "a", 200, &[]));
    assert_eq!(reply, "(error) IOERR error or timeout reading from target instance");
    assert!(began.elapsed() >= Duration::from_millis(200));
    drop(target.accept());
    let mut mover = begin(&source, &target, "", &["KEYS", "a", "b"]);
    drop(target.accept());
    // Of what was sent nothing is known to have arrived, so it is sent again, once.
    let mut link = target.accept();
    (0..3).for_each(|_| drop(request(&mut link)));
    answer(&mut link, "+OK\r\n+OK\r\n");
    drop(link);
    let reply = mover.recv().to_string();
    assert_eq!(reply, "(error) IOERR error or timeout reading from target instance");
    assert_eq!(client.cmd(&["KEYS", "*"]).items(), [Value::bulk("b")]);
}

#[test]
fn who_may_write_no_longer_removes_nothing() {
    let (source, target) = (start(), Target::new());
    let mut other = source.client();
    other.cmd(&["SET", "a", "1"]);
    let mut mover = begin(&source, &target, "a", &[]);
    let mut link = target.accept();
    (0..2).for_each(|_| drop(request(&mut link)));
    other.cmd(&["REPLICAOF", "127.0.0.1", "1"]);
    answer(&mut link, "+OK\r\n+OK\r\n");
    let reply = mover.recv().to_string();
    assert_eq!(reply, "(error) READONLY You can't write against a read only replica.");
    other.cmd(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(other.cmd(&["GET", "a"]).text(), "1");
}
