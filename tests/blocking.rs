//! Commands that wait: who is served, in which order, and that nothing is lost when a client's end
//! of the wait (its time, its hanging up, CLIENT UNBLOCK) meets a push.
//!
//! `FERRODIS_BLOCKING_TRIES` makes the races longer; 10000 is the long form.

mod support;

use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, PATIENCE, Value};
use support::fake::FakeReplica;
use support::random::{Random, setting};
use support::server::Server;

/// How often a race is tried.
fn tries() -> usize {
    setting("FERRODIS_BLOCKING_TRIES", 120) as usize
}

fn start() -> Server {
    Server::start(&["--save", "", "--enable-debug-command", "yes", "--maxclients", "2000"])
}

fn id(client: &mut Client) -> String {
    client.cmd(&["CLIENT", "ID"]).int().to_string()
}

/// Waits until a client waits in a blocking command.
#[track_caller]
fn wait_until_blocked(watcher: &mut Client, id: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let line = watcher.cmd(&["CLIENT", "LIST", "ID", id]).text();
        let flags = line.split(' ').find_map(|word| word.strip_prefix("flags="));
        if flags.is_some_and(|flags| flags.contains('b')) {
            return;
        }
        assert!(Instant::now() < deadline, "client {id} does not wait: {line}");
    }
}

/// A new client that waits in a command.
#[track_caller]
fn blocked(server: &Server, watcher: &mut Client, args: &[&str]) -> Client {
    blocked_with_id(server, watcher, args).0
}

#[track_caller]
fn blocked_with_id(server: &Server, watcher: &mut Client, args: &[&str]) -> (Client, String) {
    let mut client = server.client();
    let id = id(&mut client);
    client.send(args);
    wait_until_blocked(watcher, &id);
    (client, id)
}

#[track_caller]
fn info(client: &mut Client, name: &str) -> i64 {
    let text = client.cmd(&["INFO", "clients"]).text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// How often a command was counted.
#[track_caller]
fn calls(client: &mut Client, name: &str) -> usize {
    let text = client.cmd(&["INFO", "commandstats"]).text();
    let prefix = format!("cmdstat_{name}:calls=");
    let count = text.lines().find_map(|line| line.strip_prefix(&prefix)?.split(',').next());
    count.map_or(0, |count| count.parse().expect("a number"))
}

/// The texts of a list, or of a reply that is one.
fn texts(value: &Value) -> Vec<String> {
    value.items().iter().map(Value::text).collect()
}

fn list(client: &mut Client, key: &str) -> Vec<String> {
    texts(&client.cmd(&["LRANGE", key, "0", "-1"]))
}

/// Asserts that a blocked client gets this.
#[track_caller]
fn gets(client: &mut Client, wanted: &[&str]) {
    let reply = client.recv();
    assert!(matches!(reply, Value::Array(_)), "{wanted:?} was expected, got {reply}");
    assert_eq!(texts(&reply), wanted);
}

/// Lets this process have the sockets of a thousand clients, where its limit is lower.
fn raise_open_files() {
    let pid = std::process::id().to_string();
    let _ = Command::new("prlimit").args(["--pid", &pid, "--nofile=4096:"]).status();
}

#[test]
fn a_thousand_clients_are_served_in_the_order_in_which_they_blocked() {
    raise_open_files();
    let server = start();
    let (mut pusher, count) = (server.client(), 1000);
    let mut waiting: Vec<Client> =
        (0..count).map(|_| blocked(&server, &mut pusher, &["BLPOP", "none", "k", "0"])).collect();
    assert_eq!(info(&mut pusher, "blocked_clients"), count as i64);
    // The first half with one push of many, the other with many pushes of one.
    let elements: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    let (first, others) = elements.split_at(count / 2);
    let mut push = vec!["RPUSH", "k"];
    push.extend(first.iter().map(String::as_str));
    assert_eq!(pusher.cmd(&push), Value::Int(count as i64 / 2));
    others.iter().for_each(|element| pusher.send(&["RPUSH", "k", element]));
    others.iter().for_each(|_| assert_eq!(pusher.recv(), Value::Int(1)));
    for (client, element) in waiting.iter_mut().zip(&elements) {
        gets(client, &["k", element]);
    }
    assert_eq!(pusher.cmd(&["EXISTS", "k"]), Value::Int(0));
    waiting.iter_mut().for_each(|client| client.send(&["PING"]));
    waiting.iter_mut().for_each(|client| assert_eq!(client.recv().text(), "PONG"));
    assert_eq!(info(&mut pusher, "blocked_clients"), 0);
}

#[test]
fn who_waits_for_the_same_sorted_set_is_served_in_order_too() {
    let server = start();
    let mut pusher = server.client();
    let mut waiting: Vec<Client> =
        (0..20).map(|_| blocked(&server, &mut pusher, &["BZPOPMIN", "z", "0"])).collect();
    pusher.send(&["MULTI"]);
    (0..20).rev().for_each(|i| pusher.send(&["ZADD", "z", &i.to_string(), &format!("m{i}")]));
    pusher.send(&["EXEC"]);
    (0..22).for_each(|_| drop(pusher.recv()));
    for (i, client) in waiting.iter_mut().enumerate() {
        gets(client, &["z", &format!("m{i}"), &i.to_string()]);
    }
}

#[test]
fn a_client_that_has_closed_before_the_push_swallows_nothing() {
    let server = start();
    let mut pusher = server.client();
    let waits: [&[&str]; 5] = [
        &["BLPOP", "k", "0"],
        &["BRPOP", "none", "k", "0"],
        &["BLMOVE", "k", "other", "LEFT", "LEFT", "0"],
        &["BLMPOP", "0", "1", "k", "LEFT"],
        &["BRPOPLPUSH", "k", "k", "0"],
    ];
    for i in 0..tries() {
        let (gone, gone_id) = blocked_with_id(&server, &mut pusher, waits[i % waits.len()]);
        // Now and then somebody waits behind, and is the one that is served.
        let next = (i % 8 == 0).then(|| blocked(&server, &mut pusher, &["BLPOP", "k", "0"]));
        match i % 3 {
            0 => assert_eq!(pusher.cmd(&["CLIENT", "KILL", "ID", &gone_id]), Value::Int(1)),
            _ => gone.close(),
        }
        let element = i.to_string();
        assert_eq!(pusher.cmd(&["RPUSH", "k", &element]), Value::Int(1), "try {i}");
        match next {
            Some(mut next) => gets(&mut next, &["k", &element]),
            None => assert_eq!(pusher.cmd(&["LPOP", "k"]).text(), element, "try {i}"),
        }
        assert_eq!(pusher.cmd(&["EXISTS", "k", "other"]), Value::Int(0), "try {i}");
    }
}

/// A client that ends its half of the connection can still read, so that it can be told what was
/// sent to it from what was swallowed.
#[test]
fn an_element_is_sent_or_stays_when_a_client_hangs_up_during_the_push() {
    let server = start();
    let mut pusher = server.client();
    let mut random = Random::new(setting("FERRODIS_SEED", 1));
    let mut sent = 0;
    for i in 0..tries() {
        let stream = TcpStream::connect(server.addr()).expect("a connection");
        let mut client = Client::over(stream.try_clone().expect("a second handle"));
        let client_id = id(&mut client);
        client.send(&["BLPOP", "k", "0"]);
        wait_until_blocked(&mut pusher, &client_id);
        let element = i.to_string();
        pusher.send(&["RPUSH", "k", &element]);
        spin(random.below(120));
        stream.shutdown(Shutdown::Write).expect("half of it can be closed");
        assert_eq!(pusher.recv(), Value::Int(1));
        let stays = list(&mut pusher, "k");
        match client.recv_timeout(PATIENCE) {
            Ok(reply) => {
                assert_eq!((texts(&reply), &stays), (vec!["k".to_owned(), element], &vec![]));
                client.expect_closed();
                sent += 1;
            }
            Err(_) => assert_eq!(stays, [element], "try {i}"),
        }
        pusher.cmd(&["DEL", "k"]);
    }
    println!("{sent} of {} were served", tries());
}

/// Passes some microseconds.
fn spin(micros: usize) {
    let end = Instant::now() + Duration::from_micros(micros as u64);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn one_push_runs_through_a_chain_of_waiting_moves() {
    let server = start();
    let mut pusher = server.client();
    let keys: Vec<String> = (0..=12).map(|i| format!("hop{i}")).collect();
    // The last hop waits first, so that every one is entered before what it needs is known.
    let mut waiting: Vec<Client> = (keys.windows(2).rev())
        .map(|hop| {
            blocked(&server, &mut pusher, &["BLMOVE", &hop[0], &hop[1], "LEFT", "RIGHT", "0"])
        })
        .collect();
    let mut replica = FakeReplica::attach(server.addr());
    assert_eq!(pusher.cmd(&["RPUSH", "hop0", "x"]), Value::Int(1));
    waiting.iter_mut().for_each(|client| assert_eq!(client.recv().text(), "x"));
    assert_eq!(list(&mut pusher, "hop12"), ["x"]);
    assert_eq!(pusher.cmd(&["DBSIZE"]), Value::Int(1));
    assert_eq!(replica.next(), "RPUSH hop0 x");
    for hop in keys.windows(2) {
        assert_eq!(replica.next(), format!("LMOVE {} {} LEFT RIGHT", hop[0], hop[1]));
    }
}

/// The elements go round while clients wait for them at all places at once.
#[test]
fn elements_that_are_moved_in_circles_are_neither_lost_nor_doubled() {
    const RINGS: usize = 3;
    const TOKENS: usize = 20;
    let server = start();
    let (stop, moves) = (AtomicBool::new(false), AtomicU64::new(0));
    let time = Duration::from_millis(setting("FERRODIS_BLOCKING_TRIES", 120) * 6);
    let key = |ring: usize, at: usize| format!("{}{ring}", ["a", "b", "c"][at % 3]);
    thread::scope(|scope| {
        for worker in 0..RINGS * 6 {
            let (server, stop, moves) = (&server, &stop, &moves);
            scope.spawn(move || {
                let (ring, at) = (worker % RINGS, worker / RINGS);
                let (from, to) = (key(ring, at), key(ring, at + 1));
                let commands: [&[&str]; 3] = [
                    &["BLMOVE", &from, &to, "LEFT", "RIGHT", "0.02"],
                    &["BRPOPLPUSH", &from, &to, "0.02"],
                    &["BLMOVE", &from, &to, "RIGHT", "LEFT", "0.02"],
                ];
                let mut client = server.client();
                while !stop.load(Ordering::Relaxed) {
                    if !matches!(client.cmd(commands[worker % 3]), Value::Null) {
                        moves.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for ring in 0..RINGS {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                for token in 0..TOKENS {
                    let token = token.to_string();
                    // Across rings, alone and as a unit.
                    client.send(&["MULTI"]);
                    client.send(&["RPUSH", &key(ring, 0), &format!("{ring}:{token}:x")]);
                    client.send(&["LPUSH", &key(ring + 1, 1).replace('3', "0"), "again"]);
                    client.send(&["RPUSH", &key(ring, 2), &format!("{ring}:{token}:y")]);
                    client.send(&["EXEC"]);
                    (0..5).for_each(|_| drop(client.recv()));
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    let mut client = server.client();
    let mut found: Vec<String> =
        (0..RINGS * 3).flat_map(|i| list(&mut client, &key(i % RINGS, i / RINGS))).collect();
    let tokens = (0..RINGS).flat_map(|ring| (0..TOKENS).map(move |token| (ring, token)));
    let mut wanted: Vec<String> = tokens
        .flat_map(|(r, t)| [format!("{r}:{t}:x"), format!("{r}:{t}:y"), "again".to_owned()])
        .collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    let moves = moves.into_inner();
    assert!(moves > 500, "only {moves} moves");
}

/// Producers and consumers over several keys at once: all that is pushed is popped once.
#[test]
fn many_pushers_and_many_waiters_lose_and_double_nothing() {
    const PUSHERS: usize = 4;
    let server = start();
    let each = tries();
    let popped = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..8 {
            let (server, popped) = (&server, &popped);
            scope.spawn(move || {
                let mut client = server.client();
                let wait: &[&str] = match worker % 3 {
                    0 => &["BLPOP", "p0", "p1", "p2", "0"],
                    1 => &["BRPOP", "p2", "p0", "p1", "0"],
                    _ => &["BLMPOP", "0", "3", "p1", "p2", "p0", "RIGHT"],
                };
                loop {
                    let reply = client.cmd(wait);
                    let element = match &reply.items()[1] {
                        Value::Array(items) => items[0].text(),
                        element => element.text(),
                    };
                    if element == "end" {
                        return;
                    }
                    popped.lock().expect("nobody panics").push(element);
                }
            });
        }
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    for i in 0..each {
                        let (key, element) = (format!("p{}", i % 3), format!("{pusher}:{i}"));
                        client.cmd(&[if i % 2 == 0 { "LPUSH" } else { "RPUSH" }, &key, &element]);
                    }
                })
            })
            .collect();
        pushers.into_iter().for_each(|pusher| pusher.join().expect("it pushes"));
        let mut client = server.client();
        let deadline = Instant::now() + PATIENCE;
        while client.cmd(&["EXISTS", "p0", "p1", "p2"]) != Value::Int(0) {
            assert!(Instant::now() < deadline, "somebody waits while there are elements");
        }
        (0..8).for_each(|_| drop(client.cmd(&["RPUSH", "p0", "end"])));
    });
    let mut popped = popped.into_inner().expect("nobody panics");
    popped.sort();
    let mut wanted: Vec<String> =
        (0..PUSHERS).flat_map(|pusher| (0..each).map(move |i| format!("{pusher}:{i}"))).collect();
    wanted.sort();
    assert_eq!(popped, wanted);
}

/// T11: not a moment early, and not much later.
#[test]
fn a_time_out_is_exact() {
    let server = start();
    let commands: [(&[&str], &str); 4] = [
        (&["BLPOP", "k", "l"], "*-1\r\n"),
        (&["BRPOPLPUSH", "k", "l"], "*-1\r\n"),
        (&["BLMOVE", "k", "l", "LEFT", "LEFT"], "*-1\r\n"),
        (&["BZPOPMAX", "k"], "*-1\r\n"),
    ];
    thread::scope(|scope| {
        for (i, (command, reply)) in commands.into_iter().enumerate() {
            let mut client = server.client();
            scope.spawn(move || {
                for ms in [1, 2, 3, 7, 20, 50, 100, 250 + i as u64 * 13] {
                    let seconds = format!("0.{ms:03}");
                    let began = Instant::now();
                    client.expect(&[command, &[seconds.as_str()]].concat(), reply);
                    let took = began.elapsed();
                    assert!(took >= Duration::from_millis(ms), "{command:?} {ms} took {took:?}");
                    let limit = Duration::from_millis(ms + 2_000);
                    assert!(took < limit, "{command:?} {ms} took {took:?}");
                }
            });
        }
    });
    let mut client = server.client();
    let began = Instant::now();
    client.expect(&["BLPOP", "k", "0.0001"], "*-1\r\n");
    assert!(began.elapsed() < Duration::from_millis(2_000));
    assert_eq!(info(&mut client, "blocked_clients"), 0);
}

#[test]
fn a_time_out_that_meets_a_push_gives_the_element_or_leaves_it() {
    let server = start();
    let (mut client, mut pusher) = (server.client(), server.client());
    let mut random = Random::new(setting("FERRODIS_SEED", 2));
    let mut served = 0;
    for i in 0..tries() {
        client.send(&["BLPOP", "k", "0.002"]);
        spin(1700 + random.below(700));
        let element = i.to_string();
        assert_eq!(pusher.cmd(&["RPUSH", "k", &element]), Value::Int(1));
        match client.recv() {
            Value::NullArray => assert_eq!(pusher.cmd(&["LPOP", "k"]).text(), element),
            reply => {
                assert_eq!(texts(&reply), ["k", &element]);
                assert_eq!(pusher.cmd(&["EXISTS", "k"]), Value::Int(0));
                served += 1;
            }
        }
    }
    println!("{served} of {} were served", tries());
}

#[test]
fn client_unblock_that_meets_a_push_loses_neither_the_reply_nor_the_element() {
    let server = start();
    let (mut client, mut pusher) = (server.client(), server.client());
    let client_id = id(&mut client);
    let mut random = Random::new(setting("FERRODIS_SEED", 3));
    let mut unblocker = server.client();
    let mut served = 0;
    for i in 0..tries() {
        client.send(&["BLPOP", "k", "0"]);
        wait_until_blocked(&mut pusher, &client_id);
        let (how, element) = (["TIMEOUT", "ERROR"][i % 2], i.to_string());
        let (unblock, push) = (["CLIENT", "UNBLOCK", &client_id, how], ["RPUSH", "k", &element]);
        if random.one_in(2) {
            unblocker.send(&unblock);
            spin(random.below(60));
            pusher.send(&push);
        } else {
            pusher.send(&push);
            spin(random.below(60));
            unblocker.send(&unblock);
        }
        assert_eq!(pusher.recv(), Value::Int(1));
        let told = unblocker.recv();
        let reply = client.recv();
        let stays = pusher.cmd(&["LPOP", "k"]);
        match told {
            Value::Int(0) => {
                assert_eq!((texts(&reply), stays), (vec!["k".into(), element], Value::Null));
                served += 1;
            }
            Value::Int(1) => {
                match how {
                    "TIMEOUT" => assert_eq!(reply, Value::NullArray),
                    _ => assert_eq!(
                        reply,
                        Value::Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK".to_vec())
                    ),
                }
                assert_eq!(stays, Value::bulk(&element));
            }
            other => panic!("CLIENT UNBLOCK answered {other}"),
        }
        assert_eq!(client.cmd(&["PING"]).text(), "PONG");
    }
    println!("{served} of {} were served", tries());
    assert_eq!(pusher.cmd(&["CLIENT", "UNBLOCK", &client_id]), Value::Int(0));
    assert_eq!(pusher.cmd(&["CLIENT", "UNBLOCK", "999999"]), Value::Int(0));
}

/// An entry that is not of use makes the server look whether a client can be served; meanwhile it
/// waits as before.
#[test]
fn client_unblock_finds_a_client_that_is_just_looked_at() {
    let server = start();
    let (mut client, mut unblocker) = (server.client(), server.client());
    let client_id = id(&mut client);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut pusher = server.client();
                while !stop.load(Ordering::Relaxed) {
                    (0..20)
                        .for_each(|_| pusher.send(&["XADD", "s", "MAXLEN", "5", "1-*", "f", "v"]));
                    (0..20).for_each(|_| drop(pusher.recv()));
                }
            });
        }
        let _stop = SetOnDrop(&stop);
        for _ in 0..tries() {
            client.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "2-0"]);
            wait_until_blocked(&mut unblocker, &client_id);
            assert_eq!(unblocker.cmd(&["CLIENT", "UNBLOCK", &client_id]), Value::Int(1));
            assert_eq!(client.recv(), Value::NullArray);
        }
    });
}

/// Tells threads to end, also when the one that waits for them fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn inside_a_transaction_nothing_waits() {
    let server = start();
    let mut client = server.client();
    client.cmd(&["RPUSH", "full", "1", "2"]);
    client.cmd(&["MULTI"]);
    let commands: [&[&str]; 9] = [
        &["BLPOP", "none", "0"],
        &["BRPOPLPUSH", "none", "l", "0"],
        &["BLMOVE", "none", "l", "LEFT", "LEFT", "0"],
        &["BLMPOP", "0", "1", "none", "LEFT"],
        &["BZPOPMIN", "none", "0"],
        &["BZMPOP", "0", "1", "none", "MIN"],
        &["BLPOP", "none", "full", "0"],
        &["BRPOPLPUSH", "full", "full", "0"],
        &["BLPOP", "none", "-1"],
    ];
    commands.iter().for_each(|command| assert_eq!(client.cmd(command).text(), "QUEUED"));
    client.expect(
        &["EXEC"],
        "*9\r\n*-1\r\n$-1\r\n$-1\r\n*-1\r\n*-1\r\n*-1\r\n*2\r\n$4\r\nfull\r\n$1\r\n1\r\n$1\r\n2\r\n\
         -ERR timeout is negative\r\n",
    );
    assert_eq!(list(&mut client, "full"), ["2"]);
}

#[test]
fn keys_that_are_ready_in_one_exec_are_served_in_the_order_of_their_changes() {
    let server = start();
    let mut pusher = server.client();
    let mut on_a = blocked(&server, &mut pusher, &["BLPOP", "a", "0"]);
    let mut on_b = blocked(&server, &mut pusher, &["BLPOP", "b", "0"]);
    let mut on_c = blocked(&server, &mut pusher, &["BLMOVE", "c", "a", "LEFT", "RIGHT", "0"]);
    let mut on_a_too = blocked(&server, &mut pusher, &["BRPOP", "a", "0"]);
    let mut replica = FakeReplica::attach(server.addr());
    for command in [
        &["MULTI"] as &[&str],
        &["RPUSH", "c", "c1"],
        &["RPUSH", "b", "b1"],
        &["RPUSH", "a", "a1"],
        &["RPUSH", "c", "c2"],
        &["EXEC"],
    ] {
        pusher.send(command);
    }
    (0..5).for_each(|_| drop(pusher.recv()));
    assert_eq!(pusher.recv(), Value::Array([1, 1, 1, 2].map(Value::Int).to_vec()));
    let wanted = [
        "MULTI",
        "SELECT 0",
        "RPUSH c c1",
        "RPUSH b b1",
        "RPUSH a a1",
        "RPUSH c c2",
        "EXEC",
        "LMOVE c a LEFT RIGHT",
        "LPOP b",
        "LPOP a",
        "RPOP a",
    ];
    wanted.iter().for_each(|line| assert_eq!(replica.next(), *line));
    assert_eq!(on_c.recv().text(), "c1");
    gets(&mut on_b, &["b", "b1"]);
    gets(&mut on_a, &["a", "a1"]);
    gets(&mut on_a_too, &["a", "c1"]);
    assert_eq!(list(&mut pusher, "c"), ["c2"]);
}

#[test]
fn who_waits_for_several_keys_is_served_once_and_from_one_of_them() {
    let server = start();
    let mut pusher = server.client();
    let mut first = blocked(&server, &mut pusher, &["BLPOP", "x", "y", "x", "z", "0"]);
    let mut second = blocked(&server, &mut pusher, &["BLPOP", "z", "y", "0"]);
    assert_eq!(pusher.cmd(&["RPUSH", "y", "1"]), Value::Int(1));
    gets(&mut first, &["y", "1"]);
    // It is on no list any more.
    assert_eq!(pusher.cmd(&["RPUSH", "x", "2"]), Value::Int(1));
    assert_eq!(list(&mut pusher, "x"), ["2"]);
    first.expect_no_more();
    assert_eq!(pusher.cmd(&["RPUSH", "z", "3"]), Value::Int(1));
    gets(&mut second, &["z", "3"]);
    assert_eq!(pusher.cmd(&["RPUSH", "y", "4"]), Value::Int(1));
    assert_eq!(list(&mut pusher, "y"), ["4"]);
    first.expect(&["BLPOP", "z", "y", "x", "0"], "*2\r\n$1\r\ny\r\n$1\r\n4\r\n");
}

#[test]
fn a_key_may_come_into_being_by_any_command() {
    let server = start();
    let mut pusher = server.client();
    pusher.cmd(&["RPUSH", "source", "v"]);
    let dump = pusher.cmd(&["DUMP", "source"]);
    let Value::Bulk(dump) = dump else { panic!("DUMP answered {dump}") };
    let ways: [&[&str]; 10] = [
        &["RENAME", "source", "k"],
        &["RENAMENX", "source", "k"],
        &["COPY", "source", "k"],
        &["SORT", "source", "ALPHA", "STORE", "k"],
        &["LMOVE", "source", "k", "LEFT", "LEFT"],
        &["RPOPLPUSH", "source", "k"],
        &["BLMOVE", "source", "k", "LEFT", "LEFT", "0"],
        &["LPUSH", "k", "v"],
        &["RESTORE", "k", "0", ""],
        &["RESTORE", "k", "0", "", "REPLACE"],
    ];
    for way in ways {
        pusher.cmd(&["DEL", "source"]);
        pusher.cmd(&["RPUSH", "source", "v"]);
        let mut client = blocked(&server, &mut pusher, &["BLPOP", "k", "0"]);
        let args: Vec<&[u8]> = way
            .iter()
            .map(|arg| if arg.is_empty() { dump.as_slice() } else { arg.as_bytes() })
            .collect();
        let reply = pusher.cmd_bytes(&args);
        assert!(!matches!(reply, Value::Error(_)), "{way:?} answered {reply}");
        gets(&mut client, &["k", "v"]);
        assert_eq!(pusher.cmd(&["EXISTS", "k"]), Value::Int(0), "{way:?}");
    }
}

/// Redis 7.2 forgets those who wait when the value comes in the place of one of another type; here
/// they get it, whatever was there before.
#[test]
fn a_value_in_the_place_of_another_serves_those_who_wait() {
    let server = start();
    let mut pusher = server.client();
    pusher.cmd(&["RPUSH", "list", "v"]);
    pusher.cmd(&["ZADD", "zset", "1", "v"]);
    let ways: [(&str, &[&str]); 5] = [
        ("BLPOP", &["SORT", "list", "ALPHA", "STORE", "k"]),
        ("BLPOP", &["COPY", "list", "k", "REPLACE"]),
        ("BZPOPMIN", &["ZRANGESTORE", "k", "zset", "0", "-1"]),
        ("BZPOPMIN", &["ZUNIONSTORE", "k", "1", "zset"]),
        ("BZPOPMIN", &["ZDIFFSTORE", "k", "1", "zset"]),
    ];
    for (wait, way) in ways {
        let mut client = blocked(&server, &mut pusher, &[wait, "k", "0"]);
        pusher.cmd(&["SET", "k", "text"]);
        assert_eq!(pusher.cmd(way), Value::Int(1), "{way:?}");
        assert_eq!(client.recv().items()[1], Value::bulk("v"), "{way:?}");
        assert_eq!(pusher.cmd(&["EXISTS", "k"]), Value::Int(0), "{way:?}");
    }
}

#[test]
fn a_key_may_come_from_another_database() {
    let server = start();
    let mut pusher = server.client();
    for way in
        [&["MOVE", "k", "0"] as &[&str], &["SWAPDB", "0", "9"], &["COPY", "k", "k", "DB", "0"]]
    {
        let mut client = blocked(&server, &mut pusher, &["BLPOP", "k", "0"]);
        pusher.cmd(&["SELECT", "9"]);
        pusher.cmd(&["RPUSH", "k", "v"]);
        let reply = pusher.cmd(way);
        assert!(!matches!(reply, Value::Error(_)), "{way:?} answered {reply}");
        gets(&mut client, &["k", "v"]);
        pusher.cmd(&["FLUSHALL"]);
        pusher.cmd(&["SELECT", "0"]);
    }
    // Who waits in one database does not see another's key.
    let mut client = blocked(&server, &mut pusher, &["BLPOP", "k", "0"]);
    pusher.cmd(&["SELECT", "9"]);
    assert_eq!(pusher.cmd(&["RPUSH", "k", "v"]), Value::Int(1));
    client.expect_silence(20);
}

#[test]
fn another_type_a_past_time_and_an_empty_keyspace_let_a_client_wait_on() {
    let server = start();
    let mut pusher = server.client();
    let mut client = blocked(&server, &mut pusher, &["BLPOP", "k", "0"]);
    for commands in [
        &[&["SET", "k", "v"] as &[&str], &["DEL", "k"]] as &[&[&str]],
        &[&["ZADD", "k", "1", "v"], &["FLUSHALL"]],
        &[&["RPUSH", "other", "v"], &["FLUSHDB"]],
        &[&["MULTI"], &["RPUSH", "k", "v"], &["PEXPIRE", "k", "-1"], &["EXEC"]],
        &[&["MULTI"], &["RPUSH", "k", "v"], &["PEXPIRE", "k", "1"], &["DEBUG", "SLEEP", "0.02"]],
        &[&["EXEC"]],
        &[&["MULTI"], &["RPUSH", "k", "v"], &["DEL", "k"], &["SET", "k", "v"], &["EXEC"]],
        &[&["DEL", "k"]],
    ] {
        for command in commands {
            let reply = pusher.cmd(command);
            assert!(!matches!(reply, Value::Error(_)), "{command:?} answered {reply}");
        }
        client.expect_silence(5);
    }
    assert_eq!(pusher.cmd(&["EXISTS", "k"]), Value::Int(0));
    assert_eq!(info(&mut pusher, "blocked_clients"), 1);
    pusher.cmd(&["RPUSH", "k", "v"]);
    gets(&mut client, &["k", "v"]);
}

#[test]
fn a_move_to_a_key_of_another_type_is_an_error_that_takes_nothing() {
    let server = start();
    let mut pusher = server.client();
    pusher.cmd(&["SET", "to", "text"]);
    let mut client = blocked(&server, &mut pusher, &["BLMOVE", "from", "to", "LEFT", "LEFT", "0"]);
    let mut next = blocked(&server, &mut pusher, &["BLPOP", "from", "0"]);
    assert_eq!(pusher.cmd(&["RPUSH", "from", "v"]), Value::Int(1));
    assert!(matches!(client.recv(), Value::Error(text) if text.starts_with(b"WRONGTYPE")));
    gets(&mut next, &["from", "v"]);
}

#[test]
fn a_change_of_role_ends_the_waiting() {
    let server = start();
    let mut pusher = server.client();
    let mut client = blocked(&server, &mut pusher, &["BLPOP", "k", "0"]);
    // Nobody listens there.
    pusher.cmd(&["REPLICAOF", "127.0.0.1", "1"]);
    let Value::Error(text) = client.recv() else { panic!("an error was expected") };
    let text = String::from_utf8_lossy(&text);
    assert!(text.starts_with("UNBLOCKED force unblock from blocking operation"), "{text}");
    client.expect_closed();
    assert_eq!(info(&mut pusher, "blocked_clients"), 0);
    pusher.cmd(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(pusher.cmd(&["RPUSH", "k", "v"]), Value::Int(1));
    assert_eq!(list(&mut pusher, "k"), ["v"]);
}

#[test]
fn shutdown_does_not_wait_for_blocked_clients() {
    let mut server = start();
    let mut pusher = server.client();
    let mut waiting: Vec<Client> = [
        &["BLPOP", "k", "0"] as &[&str],
        &["BLMOVE", "k", "l", "LEFT", "LEFT", "100"],
        &["BZPOPMIN", "z", "0"],
    ]
    .iter()
    .map(|args| blocked(&server, &mut pusher, args))
    .collect();
    pusher.send(&["SHUTDOWN", "NOSAVE"]);
    waiting.iter_mut().for_each(Client::expect_closed);
    let status = server.wait_exit(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}");
}

/// T31: and exactly one of those who wait gets it.
#[test]
fn a_push_answers_the_length_before_anybody_is_served() {
    let server = start();
    let mut pusher = server.client();
    let mut first = blocked(&server, &mut pusher, &["BLPOP", "k", "0"]);
    let mut second = blocked(&server, &mut pusher, &["BLPOP", "k", "0"]);
    pusher.expect(&["RPUSH", "k", "1"], ":1\r\n");
    gets(&mut first, &["k", "1"]);
    second.expect_silence(5);
    pusher.expect(&["LPUSH", "k", "4", "3", "2"], ":3\r\n");
    gets(&mut second, &["k", "2"]);
    pusher.expect(&["LLEN", "k"], ":2\r\n");
    // A pusher that goes on at once does not come before those who wait.
    first.send(&["BRPOP", "l", "0"]);
    let first_id = first_blocked(&mut pusher);
    wait_until_blocked(&mut pusher, &first_id);
    pusher.send(&["RPUSH", "l", "5"]);
    pusher.send(&["LPOP", "l"]);
    assert_eq!((pusher.recv(), pusher.recv()), (Value::Int(1), Value::Null));
    gets(&mut first, &["l", "5"]);
}

/// The id of a client that waits in BRPOP.
fn first_blocked(watcher: &mut Client) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lines = watcher.cmd(&["CLIENT", "LIST"]).text();
        let line = lines.lines().find(|line| line.contains(" cmd=brpop "));
        if let Some(id) = line.and_then(|line| line.strip_prefix("id=")?.split(' ').next()) {
            return id.to_owned();
        }
        assert!(Instant::now() < deadline, "nobody waits: {lines}");
    }
}

#[test]
fn replicas_get_what_was_done_right_behind_what_made_it_possible() {
    let server = start();
    let mut pusher = server.client();
    let waits: [&[&str]; 6] = [
        &["BLPOP", "k", "0"],
        &["BRPOP", "k", "0"],
        &["BLMOVE", "k", "to", "LEFT", "RIGHT", "0"],
        &["BRPOPLPUSH", "k", "to", "0"],
        &["BLMPOP", "0", "2", "none", "k", "LEFT", "COUNT", "2"],
        &["BLMPOP", "0", "1", "k", "RIGHT", "COUNT", "10"],
    ];
    let mut waiting: Vec<Client> =
        waits.iter().map(|args| blocked(&server, &mut pusher, args)).collect();
    let mut on_zset = blocked(&server, &mut pusher, &["BZPOPMAX", "z", "0"]);
    let mut replica = FakeReplica::attach(server.addr());
    pusher.send(&["RPUSH", "k", "1", "2", "3", "4", "5", "6", "7"]);
    pusher.send(&["SET", "s", "v"]);
    pusher.send(&["ZADD", "z", "1", "m"]);
    (0..3).for_each(|_| drop(pusher.recv()));
    let wanted = [
        "RPUSH k 1 2 3 4 5 6 7",
        "LPOP k",
        "RPOP k",
        "LMOVE k to LEFT RIGHT",
        "RPOPLPUSH k to",
        "LPOP k 2",
        "RPOP k 1",
        "SET s v",
        "ZADD z 1 m",
        "ZPOPMAX z",
    ];
    wanted.iter().for_each(|line| assert_eq!(replica.next(), *line));
    gets(&mut waiting[0], &["k", "1"]);
    gets(&mut waiting[1], &["k", "7"]);
    assert_eq!((waiting[2].recv().text(), waiting[3].recv().text()), ("2".into(), "6".into()));
    assert_eq!(waiting[4].recv_raw(), b"*2\r\n$1\r\nk\r\n*2\r\n$1\r\n3\r\n$1\r\n4\r\n");
    assert_eq!(waiting[5].recv_raw(), b"*2\r\n$1\r\nk\r\n*1\r\n$1\r\n5\r\n");
    gets(&mut on_zset, &["z", "m", "1"]);
}

#[test]
fn wait_after_a_served_pop_counts_that_pop() {
    let server = start();
    let mut pusher = server.client();
    let mut replica = FakeReplica::attach(server.addr());
    let mut client = blocked(&server, &mut pusher, &["BLPOP", "k", "0"]);
    pusher.cmd(&["RPUSH", "k", "v"]);
    gets(&mut client, &["k", "v"]);
    assert_eq!(replica.next(), "RPUSH k v");
    // Acknowledged up to the push, which is not the pop.
    replica.ack_all();
    client.expect(&["WAIT", "1", "50"], ":0\r\n");
    assert_eq!(replica.next(), "LPOP k");
    replica.ack_all();
    client.expect(&["WAIT", "1", "5000"], ":1\r\n");
}

#[test]
fn blocked_clients_are_shown() {
    let server = start();
    let mut watcher = server.client();
    let (mut client, client_id) = blocked_with_id(&server, &mut watcher, &["BLPOP", "k", "l", "0"]);
    let others: Vec<Client> =
        (0..3).map(|_| blocked(&server, &mut watcher, &["BZPOPMIN", "z", "0"])).collect();
    assert_eq!(info(&mut watcher, "blocked_clients"), 4);
    let line = watcher.cmd(&["CLIENT", "LIST", "ID", &client_id]).text();
    assert!(line.contains(" flags=b ") && line.contains(" cmd=blpop "), "{line}");
    drop(others);
    let deadline = Instant::now() + PATIENCE;
    while info(&mut watcher, "blocked_clients") != 1 {
        assert!(Instant::now() < deadline, "clients that have gone still count");
    }
    // Who is served waits no longer, even if its thread does not know yet.
    for _ in 0..50 {
        watcher.send_raw(b"RPUSH k v\r\nINFO clients\r\n");
        watcher.recv();
        assert!(watcher.recv().text().contains("blocked_clients:0"));
        let line = watcher.cmd(&["CLIENT", "LIST", "ID", &client_id]).text();
        assert!(line.contains(" flags=N "), "{line}");
        gets(&mut client, &["k", "v"]);
        client.send(&["BLPOP", "k", "0"]);
        while info(&mut watcher, "blocked_clients") != 1 {}
    }
}

/// What a client has sent behind a command that waits is executed after it, in order.
#[test]
fn what_follows_in_the_pipeline_waits_too() {
    let server = start();
    let mut pusher = server.client();
    let mut client = server.client();
    let client_id = id(&mut client);
    client.send(&["SET", "s", "1"]);
    client.send(&["BLPOP", "k", "0"]);
    client.send(&["INCR", "s"]);
    client.send(&["BLPOP", "k", "0.01"]);
    client.send(&["GET", "s"]);
    // What stands before it is answered already.
    assert_eq!(client.recv().text(), "OK");
    wait_until_blocked(&mut pusher, &client_id);
    assert_eq!(pusher.cmd(&["GET", "s"]).text(), "1");
    pusher.cmd(&["RPUSH", "k", "v"]);
    gets(&mut client, &["k", "v"]);
    assert_eq!((client.recv(), client.recv()), (Value::Int(2), Value::NullArray));
    assert_eq!(client.recv().text(), "2");
}

/// SCAN removes what has expired while it goes from shard to shard, and a client may wait for that.
#[test]
fn a_scan_that_removes_a_key_ends_a_wait_for_it() {
    let server = start();
    let mut watcher = server.client();
    watcher.cmd(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    watcher.cmd(&["XADD", "k", "1-1", "f", "v"]);
    watcher.cmd(&["XGROUP", "CREATE", "k", "g", "$"]);
    let read = ["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "k", ">"];
    let mut client = blocked(&server, &mut watcher, &read);
    watcher.cmd(&["PEXPIRE", "k", "10"]);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(watcher.cmd(&["SCAN", "0"]).items()[1].items(), []);
    let reply = client.recv().text();
    assert!(reply.starts_with("NOGROUP"), "{reply}");
}

#[test]
fn a_command_is_counted_before_its_effects_are_seen() {
    let server = start();
    let (mut pusher, mut popper, mut watcher) = (server.client(), server.client(), server.client());
    let mut replica = FakeReplica::attach(server.addr());
    let id = id(&mut popper);
    for i in 1..=tries() {
        popper.send(&["BLPOP", "l", "0"]);
        wait_until_blocked(&mut watcher, &id);
        assert_eq!(calls(&mut watcher, "blpop"), i - 1, "it waits");
        pusher.send(&["RPUSH", "l", "e"]);
        // Behind this comes what BLPOP did.
        while !replica.next().starts_with("LPOP") {}
        assert_eq!((calls(&mut watcher, "rpush"), calls(&mut watcher, "blpop")), (i, i));
        assert_eq!(pusher.recv().int(), 1);
        gets(&mut popper, &["l", "e"]);
    }
}
