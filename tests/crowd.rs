//! Many busy connections at once, which the server's attendants execute commands for: that they do,
//! that commands of every kind do what they do otherwise, and that one which takes long holds up
//! nobody else.

mod support;

use std::fs;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, Value, encode};
use support::random::Random;
use support::server::Server;

const CROWD: usize = 24;
const PATIENCE: Duration = Duration::from_secs(30);

/// Processor time of the server's attendants so far, in hundredths of a second.
fn work_of_attendants(server: &Server) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("its threads");
    let mut all = 0;
    for thread in threads.map(|thread| thread.expect("a thread").path()) {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(thread.join("stat")).unwrap_or_default();
        let Some((name, fields)) = text.rsplit_once(") ") else { continue };
        if name.ends_with("(attendant") {
            // In user mode and in the system's: the 14th and 15th of all fields.
            let times = fields.split(' ').skip(11).take(2);
            all += times.map(|time| time.parse::<u64>().expect("a number")).sum::<u64>();
        }
    }
    all
}

/// Sends a PING over each connection, and reads what comes back.
fn ping_all(clients: &mut [Client]) {
    let ping = encode(&["PING"]);
    clients.iter_mut().for_each(|client| client.send_raw(&ping));
    clients.iter_mut().for_each(|client| assert_eq!(client.recv(), Value::simple("PONG")));
}

/// Has connections so busy that they are attended to.
fn press(server: &Server, clients: &mut [Client]) {
    let (before, began) = (work_of_attendants(server), Instant::now());
    while work_of_attendants(server) < before + 5 {
        assert!(began.elapsed() < PATIENCE, "no attendant at work");
        (0..100).for_each(|_| ping_all(clients));
    }
}

/// Connections that are attended to.
fn crowd(server: &Server) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..CROWD).map(|_| server.client()).collect();
    press(server, &mut clients);
    clients
}

/// Some busy connections in the background.
struct Noise {
    stop: Arc<AtomicBool>,
    /// The longest time in which all were answered, in microseconds.
    longest_us: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Noise {
    fn start(server: &Server) -> Noise {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = crowd(server);
        let longest_us = Arc::new(AtomicU64::new(0));
        let (stopped, longest) = (Arc::clone(&stop), Arc::clone(&longest_us));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                ping_all(&mut clients);
                longest.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
            }
        });
        Noise { stop, longest_us, thread: Some(thread) }
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it is joined once").join();
        assert!(ended.is_ok() || thread::panicking(), "the noise was answered wrongly");
    }
}

#[test]
fn a_crowd_is_attended_to_and_a_single_client_is_not() {
    let server = Server::start(&[]);
    let mut clients = crowd(&server);
    let mut single = clients.pop().expect("a crowd");
    (0..3000).for_each(|_| ping_all(slice::from_mut(&mut single)));
    // By now all have gone home.
    thread::sleep(Duration::from_millis(300));
    let before = work_of_attendants(&server);
    (0..10_000).for_each(|_| ping_all(slice::from_mut(&mut single)));
    let work = work_of_attendants(&server) - before;
    assert!(work < 5, "{work}");
    // Those that went home are as good as before.
    ping_all(&mut clients);
    press(&server, &mut clients);
}

/// One of the crowd: whatever it sends is answered as it would be without the others.
fn mingle(server: &Server, seed: u64) {
    let mut random = Random::new(seed);
    let (mut client, mut other) = (server.client(), server.client());
    let name = |what: &str| format!("{what}:{seed}");
    let (number, list, hash, channel) = (name("n"), name("l"), name("h"), name("c"));
    other.cmd(&["SUBSCRIBE", &channel]);
    let mut count = 0;
    for turn in 0..400 {
        match random.below(10) {
            0 => {
                client.expect(&["MULTI"], "+OK\r\n");
                client.expect(&["INCR", &number], "+QUEUED\r\n");
                client.expect(&["STRLEN", &number], "+QUEUED\r\n");
                count += 1;
                let length = count.to_string().len();
                client.expect(&["EXEC"], &format!("*2\r\n:{count}\r\n:{length}\r\n"));
            }
            1 => {
                // The second of them waits, for somebody who comes later.
                client.send(&["RPUSH", &list, "a"]);
                client.send(&["BLPOP", &list, "0"]);
                client.send(&["BLPOP", &list, "0"]);
                assert_eq!(client.recv(), Value::Int(1));
                assert_eq!(client.recv().items()[1], Value::bulk("a"));
                server.client().expect(&["LPUSH", &list, "b"], ":1\r\n");
                assert_eq!(client.recv().items()[1], Value::bulk("b"));
            }
            2 => {
                client.expect(&["PUBLISH", &channel, "message"], ":1\r\n");
                assert_eq!(other.recv().items()[2], Value::bulk("message"));
            }
            3 => {
                // What is skipped is the reply to the next command, whoever executes it.
                client.send(&["CLIENT", "REPLY", "SKIP"]);
                client.send(&["DBSIZE"]);
                client.expect(&["ECHO", "x"], "$1\r\nx\r\n");
                client.send(&["CLIENT", "REPLY", "SKIP"]);
                client.send(&["WAIT", "0", "0"]);
                client.expect(&["ECHO", "y"], "$1\r\ny\r\n");
            }
            4 => {
                // One batch of commands for the attendant and for the connection's own thread.
                let mut batch = Vec::new();
                for _ in 0..10 {
                    batch.extend(encode(&["INCR", &number]));
                    batch.extend(encode(&["CLIENT", "GETNAME"]));
                }
                client.send_raw(&batch);
                for _ in 0..10 {
                    count += 1;
                    assert_eq!(client.recv(), Value::Int(count));
                    assert_eq!(client.recv_raw(), b"$-1\r\n");
                }
            }
            5 => {
                // Large arguments take a way of their own, and may come in parts.
                let (key, value) = (name("s"), "v".repeat(random.below(300_000)));
                let bytes = encode(&["SET", &key, &value, "EX", "1000"]);
                let (first, second) = bytes.split_at(random.below(bytes.len()));
                client.send_raw(first);
                thread::sleep(Duration::from_micros(random.below(2) as u64 * 300));
                client.send_raw(second);
                assert_eq!(client.recv(), Value::simple("OK"));
                client.expect(&["APPEND", &key, "w"], &format!(":{}\r\n", value.len() + 1));
                assert_eq!(client.cmd(&["GETDEL", &key]), Value::bulk(&format!("{value}w")));
                assert_eq!(client.cmd(&["ECHO", &value]), Value::bulk(&value));
            }
            6 => {
                let bytes = encode(&["HSET", &hash, "field", &turn.to_string()]);
                let (first, second) = bytes.split_at(random.below(bytes.len()));
                client.send_raw(first);
                thread::sleep(Duration::from_micros(200));
                client.send_raw(second);
                assert!(matches!(client.recv(), Value::Int(0 | 1)));
                assert_eq!(client.cmd(&["HGET", &hash, "field"]), Value::bulk(&turn.to_string()));
            }
            _ => {
                count += 1;
                client.expect(&["INCR", &number], &format!(":{count}\r\n"));
            }
        }
    }
    client.send_raw(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n");
    assert_eq!(client.recv(), Value::simple("PONG"));
    assert_eq!(client.recv(), Value::simple("OK"));
    client.expect_closed();
}

#[test]
fn commands_of_every_kind_do_in_a_crowd_what_they_do_alone() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let noise = Noise::start(&server);
    thread::scope(|scope| {
        for seed in 0..6 {
            let server = &server;
            scope.spawn(move || mingle(server, seed));
        }
    });
    drop(noise);
}

#[test]
fn who_is_killed_or_sends_garbage_in_a_crowd_is_cut() {
    let server = Server::start(&[]);
    let mut clients = crowd(&server);
    let mut killed = clients.pop().expect("a crowd");
    let id = killed.cmd(&["CLIENT", "ID"]).int().to_string();
    press(&server, &mut clients);
    server.client().expect(&["CLIENT", "KILL", "ID", &id], ":1\r\n");
    killed.expect_closed();
    let mut wrong = clients.pop().expect("a crowd");
    wrong.send_raw(b"*1\r\n$4\r\nPING\r\n*1\r\n+x\r\n");
    assert_eq!(wrong.recv(), Value::simple("PONG"));
    assert!(wrong.recv().text().contains("Protocol error: expected '$', got '+'"));
    wrong.expect_closed();
    clients.pop().expect("a crowd").close();
    press(&server, &mut clients);
    let list = server.client().cmd(&["CLIENT", "LIST"]).text();
    assert_eq!(list.lines().count(), CROWD - 3 + 1, "{list}");
}

#[test]
fn an_attendant_that_is_held_up_holds_up_nobody_else() {
    let server = Server::start(&[]);
    let mut long = server.client();
    // Half a gigabyte of zeros, which take no memory until somebody writes them.
    long.expect(&["SETBIT", "k", "4294967295", "1"], ":0\r\n");
    let noise = Noise::start(&server);
    let mut waiting = server.client();
    (0..1000).for_each(|_| ping_all(slice::from_mut(&mut waiting)));
    // A transaction has the key to itself all the time.
    long.cmd(&["MULTI"]);
    (0..20).for_each(|_| drop(long.cmd(&["BITCOUNT", "k"])));
    noise.longest_us.store(0, Ordering::Relaxed);
    let began = Instant::now();
    long.send(&["EXEC"]);
    thread::sleep(Duration::from_millis(5));
    assert_eq!(waiting.cmd(&["STRLEN", "k"]), Value::Int(1 << 29));
    let took = began.elapsed();
    assert_eq!(long.recv().items().len(), 20);
    // Who was held up has been answered by now.
    thread::sleep(Duration::from_millis(50));
    let longest = Duration::from_micros(noise.longest_us.load(Ordering::Relaxed));
    assert!(took > Duration::from_millis(100), "it was to take long: {took:?}");
    assert!(longest < took / 2, "{longest:?} of {took:?}");
}

#[test]
fn the_end_of_the_server_is_the_end_of_a_crowd() {
    let mut server = Server::start(&[]);
    let mut clients = crowd(&server);
    server.sigterm();
    let status = server.wait_exit(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}");
    clients.iter_mut().for_each(Client::expect_closed);
}
