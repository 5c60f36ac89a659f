//! Connections under stress: killed, paused, silent, greedy, half-sent, too many.
//!
//! Each test has a server of its own, because most of them look at all of its connections.

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, PATIENCE, Value, encode};
use support::random::Random;
use support::server::Server;

const MB: usize = 1024 * 1024;

/// What every server here is started with.
const FLAGS: [&str; 2] = ["--save", ""];

fn start(flags: &[&str]) -> Server {
    Server::start(&[&FLAGS[..], flags].concat())
}

fn sleep_ms(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}

/// Waits until something is the case, or panics.
#[track_caller]
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep_ms(5);
    }
}

fn id(client: &mut Client) -> String {
    client.cmd(&["CLIENT", "ID"]).int().to_string()
}

fn counter(client: &mut Client, key: &str) -> i64 {
    match client.cmd(&["GET", key]) {
        Value::Null => 0,
        value => value.text().parse().expect("a counter"),
    }
}

/// The lines of CLIENT LIST.
fn list(client: &mut Client) -> Vec<String> {
    client.cmd(&["CLIENT", "LIST"]).text().lines().map(str::to_owned).collect()
}

/// A field of a line of CLIENT LIST.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {line}"))
}

/// A line of INFO.
fn info(client: &mut Client, name: &str) -> i64 {
    let info = client.cmd(&["INFO"]).text();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {info}"))
}

/// Waits until a connection has a flag in CLIENT LIST.
#[track_caller]
fn wait_for_flag(watcher: &mut Client, id: &str, flag: char) {
    eventually("a flag in CLIENT LIST", || {
        list(watcher).iter().any(|l| field(l, "id") == id && field(l, "flags").contains(flag))
    });
}

/// Writes until the other end has had enough; how much it took. Panics when it takes everything.
fn flood(stream: &TcpStream, bytes: &[u8], most: usize) -> usize {
    let mut taken = 0;
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out can be set");
    while taken < most {
        match (&*stream).write(bytes) {
            Ok(n) => taken += n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("neither read nor cut after {taken} bytes")
            }
            Err(_) => return taken,
        }
    }
    panic!("still there after {taken} bytes");
}

/// Tells threads to end, also when the one that waits for them fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a process holds in memory, in bytes.
fn resident(server: &Server) -> usize {
    let statm = fs::read_to_string(format!("/proc/{}/statm", server.pid())).expect("it runs");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

fn open_files(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("it runs").count()
}

fn threads(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs").count()
}

#[test]
fn killing_an_idle_client_takes_it_off_the_list_at_once() {
    let server = start(&[]);
    let mut killer = server.client();
    for _ in 0..50 {
        let mut victim = server.client();
        let victim_id = id(&mut victim);
        killer.expect(&["CLIENT", "KILL", "ID", &victim_id], ":1\r\n");
        assert_eq!(list(&mut killer).len(), 1);
        killer.expect(&["CLIENT", "KILL", "ID", &victim_id], ":0\r\n");
        victim.expect_closed();
    }
}

#[test]
fn killing_a_busy_client_stops_it() {
    let server = start(&[]);
    let mut killer = server.client();
    let mut victim = server.client();
    let victim_id = id(&mut victim);
    victim.send_raw(&encode(&["INCR", "n"]).repeat(200_000));
    eventually("the victim works", || counter(&mut killer, "n") > 0);
    killer.expect(&["CLIENT", "KILL", "ID", &victim_id], ":1\r\n");
    // The command that was under way may still end.
    sleep_ms(20);
    let stopped_at = counter(&mut killer, "n");
    sleep_ms(100);
    assert_eq!(counter(&mut killer, "n"), stopped_at);
    assert!(stopped_at < 200_000);
}

#[test]
fn killing_a_blocked_client_ends_its_wait() {
    let server = start(&[]);
    let mut killer = server.client();
    let mut victim = server.client();
    let victim_id = id(&mut victim);
    victim.send(&["WAIT", "1", "0"]);
    wait_for_flag(&mut killer, &victim_id, 'b');
    killer.expect(&["CLIENT", "KILL", "ID", &victim_id], ":1\r\n");
    victim.expect_closed();
    eventually("nobody is blocked", || info(&mut killer, "blocked_clients") == 0);
}

#[test]
fn killing_a_paused_client_drops_its_command() {
    let server = start(&[]);
    let mut killer = server.client();
    let mut victim = server.client();
    let victim_id = id(&mut victim);
    killer.expect(&["CLIENT", "PAUSE", "60000", "WRITE"], "+OK\r\n");
    victim.send(&["SET", "k", "v"]);
    wait_for_flag(&mut killer, &victim_id, 'b');
    killer.expect(&["CLIENT", "KILL", "ID", &victim_id], ":1\r\n");
    victim.expect_closed();
    killer.expect(&["CLIENT", "UNPAUSE"], "+OK\r\n");
    sleep_ms(150);
    killer.expect(&["GET", "k"], "$-1\r\n");
}

#[test]
fn who_kills_itself_gets_the_reply_and_nothing_behind_it() {
    let server = start(&[]);
    for old_form in [true, false] {
        let mut client = server.client();
        let own_id = id(&mut client);
        let addr = format!("127.0.0.1:{}", client.local_port());
        let (kill, reply) = match old_form {
            true => (encode(&["CLIENT", "KILL", &addr]), "OK"),
            false => (encode(&["CLIENT", "KILL", "ID", &own_id, "SKIPME", "no"]), "(integer) 1"),
        };
        client.send_raw(&[kill, encode(&["INCR", "n"])].concat());
        assert_eq!(client.recv().to_string(), reply);
        client.expect_closed();
    }
    let mut other = server.client();
    other.expect(&["GET", "n"], "$-1\r\n");
    other.expect(&["CLIENT", "KILL", "TYPE", "normal"], ":0\r\n");
    other.expect(&["PING"], "+PONG\r\n");
}

#[test]
fn killers_and_victims_in_a_crowd() {
    let server = start(&[]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..6 {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut client = server.client();
                    for _ in 0..50 {
                        let command: &[&str] = match n % 3 {
                            0 => &["SET", "k", "v"],
                            1 => &["WAIT", "1", "5"],
                            _ => &["CLIENT", "LIST"],
                        };
                        if client.try_send_raw(&encode(command)).is_err()
                            || client.recv_timeout(PATIENCE).is_err()
                        {
                            break;
                        }
                    }
                }
            });
        }
        let _end = SetOnDrop(&over);
        let mut killer = server.client();
        let deadline = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < deadline {
            killer.cmd(&["CLIENT", "KILL", "SKIPME", "yes"]).int();
        }
    });
    let mut client = server.client();
    eventually("all are gone", || list(&mut client).len() == 1);
    assert_eq!(info(&mut client, "blocked_clients"), 0);
}

#[test]
fn client_reply_within_a_pipeline() {
    let server = start(&[]);
    let mut client = server.client();
    let pipeline: [&[&str]; 12] = [
        &["PING", "1"],
        &["CLIENT", "REPLY", "SKIP"],
        &["PING", "2"],
        &["PING", "3"],
        &["CLIENT", "REPLY", "OFF"],
        &["SET", "k", "v"],
        &["NOSUCH"],
        // Its wait sends what was answered so far; its own reply must stay away all the same.
        &["WAIT", "1", "20"],
        &["CLIENT", "REPLY", "SKIP"],
        &["GET", "k"],
        &["CLIENT", "REPLY", "ON"],
        &["GET", "k"],
    ];
    for _ in 0..3 {
        client.send_raw(&pipeline.map(encode).concat());
        let expected = b"$1\r\n1\r\n$1\r\n3\r\n+OK\r\n$1\r\nv\r\n";
        assert_eq!(client.read_exactly(expected.len()), expected);
        client.expect_silence(30);
    }
}

#[test]
fn a_pause_holds_all_writers_until_it_ends() {
    let server = start(&[]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..6 {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                let mut client = server.client();
                while !over.load(Ordering::Relaxed) {
                    if n % 2 == 0 {
                        client.cmd(&["INCR", "n"]);
                    } else {
                        client.send_raw(
                            &["MULTI", "INCR n", "INCR n", "EXEC"]
                                .map(|c| encode(&c.split(' ').collect::<Vec<_>>()))
                                .concat(),
                        );
                        (0..4).for_each(|_| drop(client.recv()));
                    }
                }
            });
        }
        let _end = SetOnDrop(&over);
        let mut boss = server.client();
        for _ in 0..20 {
            boss.expect(&["CLIENT", "PAUSE", "60000", "WRITE"], "+OK\r\n");
            let held_at = counter(&mut boss, "n");
            sleep_ms(20);
            assert_eq!(counter(&mut boss, "n"), held_at);
            boss.expect(&["CLIENT", "UNPAUSE"], "+OK\r\n");
            eventually("the writers go on", || counter(&mut boss, "n") > held_at);
        }
    });
}

#[test]
fn a_pause_lets_earlier_replies_out_and_forgets_who_leaves() {
    let server = start(&[]);
    let mut boss = server.client();
    boss.expect(&["CLIENT", "PAUSE", "60000", "WRITE"], "+OK\r\n");
    let mut patient = server.client();
    patient.send_raw(&[encode(&["PING"]), encode(&["SET", "a", "1"]), encode(&["PING"])].concat());
    assert_eq!(patient.recv(), Value::simple("PONG"));
    let mut gone = server.client();
    gone.send(&["SET", "b", "1"]);
    patient.expect_silence(50);
    eventually("both wait", || info(&mut boss, "blocked_clients") == 2);
    drop(gone);
    eventually("one is gone", || info(&mut boss, "blocked_clients") == 1);
    boss.expect(&["CLIENT", "UNPAUSE"], "+OK\r\n");
    assert_eq!([patient.recv(), patient.recv()].map(|v| v.text()), ["OK", "PONG"]);
    boss.expect(&["GET", "b"], "$-1\r\n");
}

#[test]
fn a_pause_of_everything_ends_by_itself() {
    let server = start(&[]);
    let (mut a, mut b) = (server.client(), server.client());
    a.expect(&["CLIENT", "PAUSE", "300"], "+OK\r\n");
    let began = Instant::now();
    // The weaker mode neither weakens nor shortens it.
    a.send(&["CLIENT", "PAUSE", "1", "WRITE"]);
    b.expect(&["PING"], "+PONG\r\n");
    assert!(began.elapsed() >= Duration::from_millis(290));
    assert_eq!(a.recv(), Value::simple("OK"));
}

#[test]
fn exactly_one_unblock_ends_a_wait() {
    let server = start(&[]);
    let mut waiter = server.client();
    let waiter_id = id(&mut waiter);
    let mut others: Vec<Client> = (0..4).map(|_| server.client()).collect();
    others[0].expect(&["CLIENT", "UNBLOCK", &waiter_id], ":0\r\n");
    for round in 0..100 {
        let how = if round % 2 == 0 { "TIMEOUT" } else { "ERROR" };
        waiter.send(&["WAIT", "1", "0"]);
        wait_for_flag(&mut others[0], &waiter_id, 'b');
        others.iter_mut().for_each(|other| other.send(&["CLIENT", "UNBLOCK", &waiter_id, how]));
        let told: i64 = others.iter_mut().map(|other| other.recv().int()).sum();
        assert_eq!(told, 1);
        match waiter.recv() {
            Value::Int(0) if round % 2 == 0 => {}
            Value::Error(text) if round % 2 == 1 => assert!(text.starts_with(b"UNBLOCKED ")),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn connections_beyond_maxclients_are_told_so() {
    let server = start(&["--maxclients", "4"]);
    let mut first = server.client();
    first.expect(&["PING"], "+PONG\r\n");
    let mut rest: Vec<Client> = (0..3).map(|_| server.client()).collect();
    rest.iter_mut().for_each(|client| client.expect(&["PING"], "+PONG\r\n"));
    for _ in 0..20 {
        let mut refused = server.client();
        assert_eq!(refused.read_line(), b"-ERR max number of clients reached");
        refused.expect_closed();
    }
    assert_eq!(info(&mut first, "rejected_connections"), 20);
    drop(rest.pop());
    eventually("there is room", || list(&mut first).len() == 3);
    server.client().expect(&["PING"], "+PONG\r\n");
}

#[test]
fn only_idle_clients_are_closed_by_the_timeout() {
    let server = start(&["--timeout", "1"]);
    let mut idle = server.client();
    let mut busy = server.client();
    let mut blocked = server.client();
    let mut reader = server.client();
    blocked.send(&["WAIT", "1", "0"]);
    // More than the sockets take, read slowly: it says nothing but is not idle.
    reader.cmd(&["SET", "k", &"x".repeat(MB)]);
    reader.send_raw(&encode(&["GET", "k"]).repeat(16));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(3500) {
        busy.expect(&["PING"], "+PONG\r\n");
        reader.read_exactly(300_000);
        sleep_ms(100);
    }
    idle.expect_closed();
    let flags: Vec<String> = list(&mut busy).iter().map(|l| field(l, "flags").to_owned()).collect();
    assert_eq!(flags, ["N", "b", "N"]);
}

#[test]
fn a_hundred_megabytes_of_replies_wait_for_a_late_reader() {
    const COUNT: usize = 10_000;
    let server = start(&[]);
    let mut client = server.client();
    let value = "v".repeat(10_000);
    client.cmd(&["SET", "k", &value]);
    let stream = TcpStream::connect(server.addr()).expect("it listens");
    let get = encode(&["GET", "k"]);
    let mut commands = Vec::new();
    for n in 0..COUNT {
        commands.extend_from_slice(&get);
        commands.extend_from_slice(&encode(&["ECHO", &n.to_string()]));
    }
    (&stream).write_all(&commands).expect("it reads while nobody reads from it");
    client.expect(&["PING"], "+PONG\r\n");
    let mut late = Client::over(stream);
    for n in 0..COUNT {
        let reply = format!("$10000\r\n{value}\r\n${}\r\n{n}\r\n", n.to_string().len());
        assert_eq!(late.read_exactly(reply.len()), reply.as_bytes(), "reply {n}");
    }
    late.expect_no_more();
}

#[test]
fn a_hundred_megabytes_of_commands_before_the_first_read() {
    let server = start(&[]);
    let stream = TcpStream::connect(server.addr()).expect("it listens");
    let argument = "a".repeat(4 * MB);
    for n in 0..25 {
        (&stream).write_all(&encode(&["ECHO", &argument])).expect("it reads");
        (&stream).write_all(&encode(&["ECHO", &n.to_string()])).expect("it reads");
    }
    let mut client = Client::over(stream);
    for n in 0..25 {
        assert_eq!(client.read_line(), b"$4194304");
        assert!(client.read_exactly(4 * MB + 2).starts_with(b"aaaa"));
        assert_eq!(client.recv().text(), n.to_string());
    }
}

#[test]
fn who_never_reads_is_cut_at_the_limit_and_memory_comes_back() {
    let server = start(&["--client-output-buffer-limit", "normal 8mb 0 0"]);
    let mut client = server.client();
    client.cmd(&["SET", "k", &"v".repeat(10_000)]);
    let before = info(&mut client, "used_memory");
    let mut slowest = Duration::ZERO;
    for round in 0..3 {
        let greedy = TcpStream::connect(server.addr()).expect("it listens");
        let commands = encode(&["GET", "k"]).repeat(1000);
        thread::scope(|scope| {
            let flooded = scope.spawn(|| flood(&greedy, &commands, 100 * MB));
            while !flooded.is_finished() {
                let asked = Instant::now();
                client.expect(&["PING"], "+PONG\r\n");
                slowest = slowest.max(asked.elapsed());
            }
        });
        eventually("it is cut", || list(&mut client).len() == 1);
        let cut = info(&mut client, "client_output_buffer_limit_disconnections");
        assert_eq!(cut, round + 1);
    }
    assert!(slowest < Duration::from_secs(1), "a PING took {slowest:?}");
    eventually("memory comes back", || info(&mut client, "used_memory") < before + MB as i64);
    assert!(server.log().contains("overcoming of output buffer limits"));
}

/// Each command that repeats elements as often as it is asked to, of a small value or a large one.
const REPEATING: [&[&str]; 8] = [
    &["SRANDMEMBER", "small-set"],
    &["SRANDMEMBER", "set"],
    &["HRANDFIELD", "small-hash"],
    &["HRANDFIELD", "hash"],
    &["HRANDFIELD", "hash", "WITHVALUES"],
    &["ZRANDMEMBER", "small-zset"],
    &["ZRANDMEMBER", "zset"],
    &["ZRANDMEMBER", "zset", "WITHSCORES"],
];

/// One of them with a count, and what its reply to so many begins with.
fn repeat<'a>(command: &[&'a str], count: &'a str) -> (Vec<&'a str>, String) {
    let pairs = command.len() - 1;
    let elements = pairs * count.trim_start_matches('-').parse::<usize>().expect("a number");
    ([&command[..2], &[count], &command[2..]].concat(), format!("*{elements}"))
}

/// Fills their keys.
fn fill(client: &mut Client) {
    for (size, count) in [("small-", 3), ("", 3000)] {
        for number in 0..count {
            let member = format!("member-{number}");
            client.send(&["SADD", &format!("{size}set"), &member]);
            client.send(&["HSET", &format!("{size}hash"), &member, "v"]);
            client.send(&["ZADD", &format!("{size}zset"), "1.5", &member]);
        }
        (0..3 * count).for_each(|_| assert_eq!(client.recv(), Value::Int(1)));
    }
}

#[test]
fn replies_without_end_leave_as_they_are_made() {
    const READ: usize = 8 * MB;
    let server = start(&[]);
    let mut other = server.client();
    fill(&mut other);
    let (before, threads_before) = (info(&mut other, "used_memory"), threads(&server));
    let mut readers = Vec::new();
    for command in REPEATING {
        let mut reader = server.client();
        let id = id(&mut reader);
        let (words, header) = repeat(command, "-1000000000");
        reader.send(&words);
        assert_eq!(reader.read_line(), header.as_bytes(), "{words:?}");
        let read = reader.read_exactly(READ);
        let members = read.windows(7).filter(|bytes| bytes == b"member-").count();
        assert!(members > READ / 60, "{members} of {words:?}");
        // Nobody waits for who does not read on.
        other.expect(&["COPY", command[1], "copy", "REPLACE"], ":1\r\n");
        readers.push((reader, id));
    }
    let taken = info(&mut other, "used_memory") - before;
    assert!(taken < 8 * MB as i64, "{taken} bytes are taken");
    // One is killed, the others hang up.
    other.expect(&["CLIENT", "KILL", "ID", &readers[0].1], ":1\r\n");
    drop(readers);
    eventually("nobody is left", || list(&mut other).len() == 1);
    eventually("their threads end", || threads(&server) <= threads_before);
}

#[test]
fn long_replies_are_whole_unless_a_limit_cuts_them() {
    let server = start(&[]);
    let mut other = server.client();
    fill(&mut other);
    for command in REPEATING {
        let (words, header) = repeat(command, "-100000");
        let mut client = server.client();
        client.send_raw(&[encode(&words), encode(&["PING"])].concat());
        let items = client.recv();
        assert_eq!(header, format!("*{}", items.items().len()), "{words:?}");
        assert!(items.items().iter().all(|item| matches!(item, Value::Bulk(_))), "{words:?}");
        assert_eq!(client.recv(), Value::simple("PONG"));
        // Without a reply nothing is drawn; in a transaction nothing waits for the client.
        let (words, _) = repeat(command, "-1000000000");
        client.send_raw(&[encode(&["CLIENT", "REPLY", "SKIP"]), encode(&words)].concat());
        client.expect(&["PING"], "+PONG\r\n");
        client.expect(&["MULTI"], "+OK\r\n");
        client.expect(&words, "+QUEUED\r\n");
        client.expect(&["EXEC"], "*1\r\n-ERR value is out of range\r\n");
        // Who gets messages gets none in the middle.
        client.cmd(&["HELLO", "3"]);
        client.cmd(&["SUBSCRIBE", "news"]);
        let (words, _) = repeat(command, "-100000");
        client.send_raw(&encode(&words));
        other.expect(&["PUBLISH", "news", "flash"], ":1\r\n");
        let (first, second) = (client.recv(), client.recv());
        let is_news = |value: &Value| matches!(value, Value::Push(items) if items.len() == 3);
        let reply = if is_news(&first) { &second } else { &first };
        assert!(is_news(&first) != is_news(&second), "{words:?}");
        assert_eq!(reply.items().len() % 100_000, 0, "{words:?}");
    }
    other.expect(&["CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0"], "+OK\r\n");
    for (round, command) in REPEATING.iter().enumerate() {
        let mut client = server.client();
        client.send(&repeat(command, "-1000000000").0);
        client.expect_closed();
        let cut = info(&mut other, "client_output_buffer_limit_disconnections");
        assert_eq!(cut, round as i64 + 1, "{command:?}");
    }
}

#[test]
fn the_soft_limit_cuts_after_its_time() {
    let server = start(&["--client-output-buffer-limit", "normal 0 1mb 1"]);
    let mut client = server.client();
    client.cmd(&["SET", "k", &"v".repeat(MB)]);
    let mut slow = server.client();
    slow.expect(&["PING"], "+PONG\r\n");
    slow.send_raw(&encode(&["GET", "k"]).repeat(20));
    let began = Instant::now();
    eventually("it is cut", || list(&mut client).len() == 1);
    let after = began.elapsed();
    assert!((900..5000).contains(&after.as_millis()), "{after:?}");
}

#[test]
fn strangers_who_do_not_read_are_cut() {
    let server = start(&["--requirepass", "secret"]);
    let mut client = server.client();
    client.expect(&["AUTH", "secret"], "+OK\r\n");
    let floods = [
        encode(&["PING"]),
        encode(&["AUTH", "wrong"]),
        encode(&["HELLO", "3", "AUTH", "default", "wrong"]),
        b"NOSUCH\r\n".to_vec(),
    ];
    for command in floods {
        let stranger = TcpStream::connect(server.addr()).expect("it listens");
        // Far less than what their replies would be.
        flood(&stranger, &command.repeat(500), 200 * MB);
        client.expect(&["PING"], "+PONG\r\n");
    }
    eventually("all are gone", || list(&mut client).len() == 1);
    assert!(info(&mut client, "used_memory") < 32 * MB as i64);
    // Who reads may guess as long as it likes.
    let mut guesser = server.client();
    for _ in 0..2000 {
        assert!(guesser.cmd(&["AUTH", "wrong"]).text().starts_with("WRONGPASS"));
    }
    guesser.expect(&["AUTH", "secret"], "+OK\r\n");
}

#[test]
fn half_sent_commands_disturb_nobody_and_can_be_completed() {
    let server = start(&[]);
    let mut client = server.client();
    client.expect(&["PING"], "+PONG\r\n");
    let before = resident(&server);
    let whole = encode(&["ECHO", "0123456789"]);
    let mut half: Vec<Client> = (0..whole.len() * 4).map(|_| server.client()).collect();
    for (n, sender) in half.iter_mut().enumerate() {
        sender.send_raw(&whole[..n % whole.len()]);
    }
    // Announcements reserve nothing.
    let mut liars: Vec<Client> = (0..50).map(|_| server.client()).collect();
    for liar in &mut liars {
        liar.send_raw(b"*2\r\n$4\r\nECHO\r\n$536870912\r\nabc");
    }
    for n in 0..100 {
        client.expect(&["INCR", "n"], &format!(":{}\r\n", n + 1));
    }
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 60 * MB, "{grown} bytes");
    drop(liars);
    for (n, sender) in half.iter_mut().enumerate() {
        sender.send_raw(&whole[n % whole.len()..]);
        assert_eq!(sender.recv(), Value::bulk("0123456789"));
    }
}

#[test]
fn connections_come_and_go_by_the_thousands() {
    let server = start(&[]);
    let mut client = server.client();
    client.expect(&["PING"], "+PONG\r\n");
    let before = (open_files(&server), threads(&server));
    thread::scope(|scope| {
        for n in 0..4 {
            let addr = server.addr();
            scope.spawn(move || {
                for round in 0..1000 {
                    let stream = TcpStream::connect(addr).expect("it listens");
                    match (round + n) % 4 {
                        // Closed at once, or with a reply that nobody takes.
                        0 => {}
                        1 => (&stream).write_all(b"PING\r\n*1\r\n$4\r\nPI").expect("it reads"),
                        2 => Client::over(stream).expect(&["PING"], "+PONG\r\n"),
                        _ => {
                            (&stream).write_all(b"ECHO x\r\nQUIT\r\n").expect("it reads");
                            stream.shutdown(Shutdown::Write).ok();
                            let mut text = String::new();
                            (&stream).read_to_string(&mut text).expect("it answers");
                            assert_eq!(text, "$1\r\nx\r\n+OK\r\n");
                        }
                    }
                }
            });
        }
    });
    eventually("all are gone", || list(&mut client).len() == 1);
    eventually("nothing is left", || (open_files(&server), threads(&server)) == before);
    eventually("all are counted", || info(&mut client, "total_connections_received") >= 4001);
}

#[test]
fn byte_by_byte_from_many_sides() {
    let server = start(&[]);
    thread::scope(|scope| {
        for n in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                client.fragment(true);
                for round in 0..20 {
                    let (key, value) = (format!("k{n}"), format!("v\r\n{round}"));
                    client.expect(&["SET", &key, &value], "+OK\r\n");
                    assert_eq!(client.cmd(&["GET", &key]), Value::bulk(&value));
                }
                client.send_raw(b"INCR n\r\nECHO 'a b'\r\n");
                assert!(client.recv().int() <= 8);
                assert_eq!(client.recv(), Value::bulk("a b"));
            });
        }
    });
}

#[test]
fn large_commands_arrive_quickly() {
    let server = start(&[]);
    let mut client = server.client();
    let words: Vec<String> = (0..300_000).map(|n| format!("k{n}")).collect();
    let mut command = vec!["EXISTS"];
    command.extend(words.iter().map(String::as_str));
    let began = Instant::now();
    client.expect(&command, ":0\r\n");
    let value = "x".repeat(64 * MB);
    client.expect(&["SET", "k", &value], "+OK\r\n");
    client.expect(&["APPEND", "k", "y"], &format!(":{}\r\n", 64 * MB + 1));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    client.expect(&["DEL", "k"], ":1\r\n");
    eventually("buffers are given back", || info(&mut client, "used_memory") < 16 * MB as i64);
}

#[test]
fn large_arguments_are_what_was_sent_wherever_they_stand_and_are_cut() {
    let server = start(&[]);
    let mut client = server.client();
    let mut random = Random::new(7);
    for size in [16_384, 32_767, 32_768, 65_000, 65_534, 65_536, 300_000, 3 * MB] {
        let value: Vec<u8> = (0..size).map(|_| b"*$1\r\n:x\0"[random.below(8)]).collect();
        let other = value.iter().rev().copied().collect::<Vec<u8>>();
        let whole =
            |bytes: &[u8]| [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        let longer = [&value[..], b"!"].concat();
        let appended = format!(":{}\r\n", longer.len()).into_bytes();
        let executed = format!("*2\r\n+OK\r\n:{size}\r\n").into_bytes();
        // Two large ones in a command, one with others behind it, one as a key, one that is queued,
        // one that is refused; and a change of one value, which another one was copied from.
        let script: [(&[&[u8]], &[u8]); 15] = [
            (&[b"SET", b"a", &value], b"+OK\r\n"),
            (&[b"COPY", b"a", b"b"], b":1\r\n"),
            (&[b"APPEND", b"a", b"!"], &appended),
            (&[b"GET", b"b"], &whole(&value)),
            (&[b"GETSET", b"a", &other], &whole(&longer)),
            (&[b"MSET", b"b", &value, b"c", &other], b"+OK\r\n"),
            (&[b"GET", b"a"], &whole(&other)),
            (&[b"GET", b"c"], &whole(&other)),
            (&[b"SET", b"c", &value, b"NX", b"GET"], &whole(&other)),
            (&[b"SET", &value, b"1", b"PX", b"100000"], b"+OK\r\n"),
            (&[b"INCR", &value], b":2\r\n"),
            (&[b"MULTI"], b"+OK\r\n"),
            (&[b"SETEX", b"b", b"100", &other], b"+QUEUED\r\n"),
            (&[b"STRLEN", b"b"], b"+QUEUED\r\n"),
            (&[b"EXEC"], &executed),
        ];
        let sent: Vec<u8> = script.iter().flat_map(|(args, _)| encode(args)).collect();
        let expected: Vec<u8> = script.iter().flat_map(|(_, reply)| reply.to_vec()).collect();
        for cuts in [0, 3, 30] {
            client.expect(&["FLUSHALL"], "+OK\r\n");
            let mut rest = &sent[..];
            for _ in 0..cuts {
                let (part, behind) = rest.split_at(random.below(rest.len().min(2 * size)));
                client.send_raw(part);
                thread::sleep(Duration::from_millis(1));
                rest = behind;
            }
            client.send_raw(rest);
            assert!(client.read_exactly(expected.len()) == expected, "{size} in {cuts} cuts");
        }
        client.expect_no_more();
    }
    // One that never becomes whole is let go with its connection.
    let mut gone = server.client();
    gone.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n");
    gone.send_raw(&vec![b'x'; MB]);
    eventually("it arrives", || info(&mut client, "used_memory") > 2 * MB as i64);
    gone.close();
    client.expect(&["FLUSHALL"], "+OK\r\n");
    eventually("it is let go", || info(&mut client, "used_memory") < 2 * MB as i64);
}

#[test]
fn what_was_sent_stays_whole_while_its_value_is_overwritten() {
    let server = start(&[]);
    let (mut client, mut slow) = (server.client(), server.client());
    let value = |byte: u8| vec![byte; 900_000];
    client.send_raw(&encode(&[&b"SET"[..], b"k", &value(b'0')]));
    assert_eq!(client.read_line(), b"+OK");
    // More than the sockets hold, of a value that the replies share.
    for _ in 0..20 {
        slow.send(&["GET", "k"]);
    }
    eventually("it is read", || info(&mut client, "keyspace_hits") == 20);
    for byte in b'1'..=b'9' {
        for key in [b"k", b"l"] {
            client.send_raw(&encode(&[&b"SET"[..], key, &value(byte)]));
            assert_eq!(client.read_line(), b"+OK");
        }
    }
    let whole = [&b"$900000\r\n"[..], &value(b'0'), b"\r\n"].concat();
    for _ in 0..20 {
        assert!(slow.read_exactly(whole.len()) == whole);
    }
}

#[test]
fn a_large_argument_that_arrives_slowly_is_no_silence() {
    let server = start(&["--timeout", "1"]);
    let mut client = server.client();
    client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$50000\r\n");
    for _ in 0..25 {
        client.send_raw(&[b'x'; 2000]);
        thread::sleep(Duration::from_millis(100));
    }
    client.send_raw(b"\r\n");
    assert_eq!(client.recv(), Value::simple("OK"));
    client.expect(&["STRLEN", "k"], ":50000\r\n");
}

#[test]
fn a_silent_connection_gives_its_buffers_back() {
    let server = start(&[]);
    let mut watcher = server.client();
    let mut busy = server.client();
    busy.cmd(&["SET", "k", &"v".repeat(1000)]);
    busy.send_raw(
        &[encode(&["GET", "k"]).repeat(3000), b"*2\r\n$4\r\nECHO\r\n$2\r\n".to_vec()].concat(),
    );
    busy.read_exactly(3000 * 1009);
    let held = |watcher: &mut Client| -> usize {
        let line = list(watcher).pop().expect("two connections");
        ["qbuf", "qbuf-free"]
            .map(|name| field(&line, name).parse::<usize>().expect("a number"))
            .iter()
            .sum()
    };
    assert!(held(&mut watcher) > 10_000);
    eventually("the buffer shrinks", || held(&mut watcher) < 100);
    busy.send_raw(b"ok\r\n");
    assert_eq!(busy.recv(), Value::bulk("ok"));
}

#[test]
fn what_stands_before_a_large_argument_is_read() {
    const SIZE: usize = 100_000;
    let server = start(&[]);
    let (mut client, mut watcher) = (server.client(), server.client());
    let id = id(&mut client);
    let mut query = || -> usize {
        let line = watcher.cmd(&["CLIENT", "LIST", "ID", &id]).text();
        field(&line, "qbuf").parse().expect("a number")
    };
    client.send_raw(format!("*2\r\n${SIZE}\r\n").as_bytes());
    client.send_raw(&vec![b'v'; SIZE / 2]);
    eventually("half of it is there", || query() >= SIZE / 2);
    client.send_raw(&vec![b'v'; SIZE - SIZE / 2]);
    eventually("it is there, and counts alone", || query() == SIZE);
}

#[test]
fn the_query_buffer_limit_counts_what_multi_has_queued() {
    let server = start(&["--client-query-buffer-limit", "1mb"]);
    let mut client = server.client();
    let half = "x".repeat(MB / 2);
    client.expect(&["SET", "k", &half], "+OK\r\n");
    for queued in [false, true] {
        let mut greedy = server.client();
        if queued {
            greedy.expect(&["MULTI"], "+OK\r\n");
            greedy.expect(&["SET", "k", &half], "+QUEUED\r\n");
        }
        let rest = if queued { &half } else { &format!("{half}{half}y") };
        greedy.try_send_raw(&encode(&["SET", "k", rest])).ok();
        assert!(greedy.recv_timeout(PATIENCE).is_err());
    }
    client.expect(&["STRLEN", "k"], &format!(":{}\r\n", MB / 2));
    assert_eq!(info(&mut client, "client_query_buffer_limit_disconnections"), 2);
    // Two large arguments of one command, the first of which is whole.
    let mut greedy = server.client();
    let unfinished = encode(&["MSET", "k", &half, "l", &half, "m", ""]);
    greedy.try_send_raw(&unfinished[..unfinished.len() - 2]).ok();
    assert!(greedy.recv_timeout(PATIENCE).is_err());
    assert_eq!(info(&mut client, "client_query_buffer_limit_disconnections"), 3);
}

#[test]
fn a_transaction_is_one_moment_for_all_others() {
    let server = start(&[]);
    let over = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (mut client, over) = (server.client(), Arc::clone(&over));
        move || {
            let names = ["a", "b", "c", "d"];
            while !over.load(Ordering::Relaxed) {
                let mut pipeline = encode(&["MULTI"]);
                names.iter().for_each(|name| pipeline.extend(encode(&["INCR", name])));
                pipeline.extend(encode(&["EXEC"]));
                client.send_raw(&pipeline);
                (0..6).for_each(|_| drop(client.recv()));
            }
        }
    });
    let mut reader = server.client();
    eventually("it writes", || counter(&mut reader, "d") > 0);
    for _ in 0..2000 {
        let values = reader.cmd(&["MGET", "d", "b", "a", "c"]);
        let first = values.items()[0].clone();
        assert!(values.items().iter().all(|value| *value == first), "{values}");
    }
    over.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends");
}

#[test]
fn what_deleted_keys_took_goes_back_to_the_system_when_the_server_is_calm() {
    let server = start(&[]);
    let mut client = server.client();
    let resident = |client: &mut Client| info(client, "used_memory_rss") / MB as i64;
    let before = resident(&mut client);
    // Each connection's thread allocates from another part of the heap.
    for round in 0..3 {
        client.expect(&["FLUSHALL"], "+OK\r\n");
        let mut other = server.client();
        for key in 0..500 {
            let value = "x".repeat(60_000 + (key * 37 + round * 101) % 9_000);
            other.send(&["SET", &format!("key:{key}"), &value]);
            assert_eq!(other.recv(), Value::simple("OK"));
        }
    }
    let filled = resident(&mut client);
    assert!(filled > before + 25, "{before} MB grow to {filled}");
    client.expect(&["FLUSHALL"], "+OK\r\n");
    // To ask more often would be no calm.
    let goes_back = (0..20).any(|_| {
        sleep_ms(1000);
        resident(&mut client) < before + 12
    });
    assert!(goes_back, "{} MB of {filled} are still there", resident(&mut client));
}
