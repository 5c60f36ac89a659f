//! The library's face: several servers inside one process, each with its own data, port and
//! threads, and nothing left of one that was dropped.
//!
//! The tests count the threads of this process, so they take turns.

mod support;

use ferrodis::{Config, Server};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, PATIENCE, RecvError, Value};
use support::tmp::TempDir;

/// How many servers live side by side.
const SERVERS: usize = 8;

static TURN: Mutex<()> = Mutex::new(());

/// Waits for this test's turn. A test that failed must not make the others fail.
fn my_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server on any free port that leaves its log lines to the warnings.
fn quiet() -> Config {
    Config::new().port(0).set("loglevel", "warning").set("save", "")
}

fn start(config: Config) -> Server {
    Server::start(config).unwrap_or_else(|e| panic!("the server does not start: {e}"))
}

/// Why a server does not start.
#[track_caller]
fn refusal(config: Config) -> String {
    match Server::start(config) {
        Ok(server) => panic!("a server started on port {}", server.port()),
        Err(e) => e.to_string(),
    }
}

fn client(server: &Server) -> Client {
    Client::connect(server.addr())
}

/// The names of this process's threads, without those of the tests themselves.
fn server_threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("the threads can be listed");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
    // The harness names a test's thread after the test, cut to 15 bytes.
    let own = thread::current().name().unwrap_or("main").to_owned();
    let waiting = |name: &String| own.starts_with(name.as_str()) || name.starts_with("embed");
    names
        .retain(|name| !waiting(name) && !TESTS.iter().any(|test| test.starts_with(name.as_str())));
    names.sort();
    names
}

/// The tests of this file, some of which may be waiting for their turn in threads of their own.
const TESTS: [&str; 7] = [
    "servers_are_independent",
    "a_dropped_server_leaves_nothing_behind",
    "stop_cuts_connections_and_waits",
    "a_port_can_be_used_again_at_once",
    "start_errors_say_what_is_wrong",
    "data_survives_in_a_file_and_nowhere_else",
    "starting_and_stopping_many_times_keeps_nothing",
];

/// Waits until nothing of any server runs in this process.
#[track_caller]
fn expect_no_threads() {
    let deadline = Instant::now() + PATIENCE;
    while !server_threads().is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", server_threads());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn servers_are_independent() {
    let _turn = my_turn();
    let servers: Vec<Server> = (0..SERVERS).map(|_| start(quiet())).collect();
    let mut clients: Vec<Client> = servers.iter().map(client).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.expect(&["SET", "who", &i.to_string()], "+OK\r\n");
        client.expect(&["SET", &format!("only{i}"), "x"], "+OK\r\n");
    }
    for (i, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.cmd(&["GET", "who"]), Value::bulk(&i.to_string()));
        let neighbour = format!("only{}", (i + 1) % SERVERS);
        assert_eq!(client.cmd(&["GET", &neighbour]), Value::Null);
    }
    // A transaction and a dead server leave the neighbours alone.
    clients[0].expect(&["MULTI"], "+OK\r\n");
    clients[1].expect(&["GET", "who"], "$1\r\n1\r\n");
    let mut servers = servers;
    servers.remove(0).stop();
    for client in &mut clients[1..] {
        client.expect(&["PING"], "+PONG\r\n");
    }
    let mut ports: Vec<u16> = servers.iter().map(Server::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), SERVERS - 1, "each has a port of its own");
    drop(servers);
    expect_no_threads();
}

#[test]
fn a_dropped_server_leaves_nothing_behind() {
    let _turn = my_turn();
    expect_no_threads();
    let server = start(quiet());
    let addr = server.addr();
    let mut clients: Vec<Client> = (0..5).map(|_| client(&server)).collect();
    for client in &mut clients {
        client.expect(&["PING"], "+PONG\r\n");
    }
    assert!(server_threads().len() >= clients.len(), "each connection has a thread");
    drop(server);
    expect_no_threads();
    for client in &mut clients {
        assert_eq!(client.recv_timeout(PATIENCE), Err(RecvError::Closed));
    }
    assert!(TcpStream::connect(addr).is_err(), "nobody listens on {addr}");
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("other ports are not harmed");
}

/// Clients that read nothing, and one in the middle of a command, do not hold up the end.
#[test]
fn stop_cuts_connections_and_waits() {
    let _turn = my_turn();
    let server = start(quiet());
    let mut deaf = client(&server);
    deaf.expect(&["SET", "k", &"x".repeat(100_000)], "+OK\r\n");
    let gets = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(200);
    deaf.send_raw(gets.as_bytes());
    let mut half = client(&server);
    half.send_raw(b"*2\r\n$3\r\nGET\r\n$1000\r\nhalf");
    let mut idle = client(&server);
    idle.expect(&["PING"], "+PONG\r\n");
    let asked = Instant::now();
    server.stop();
    assert!(asked.elapsed() < Duration::from_secs(4), "it took {:?}", asked.elapsed());
    expect_no_threads();
}

#[test]
fn a_port_can_be_used_again_at_once() {
    let _turn = my_turn();
    let first = start(quiet());
    let port = first.port();
    assert_eq!(first.addr(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    // The server closes first, which leaves its port in TIME_WAIT.
    let mut last = client(&first);
    last.expect(&["SET", "round", "0"], "+OK\r\n");
    drop(first);
    for round in 1..5 {
        let server = start(quiet().port(port));
        assert_eq!(server.port(), port);
        last = client(&server);
        assert_eq!(last.cmd(&["GET", "round"]), Value::Null, "round {round}");
        last.expect(&["SET", "round", "x"], "+OK\r\n");
    }
    expect_no_threads();
}

#[test]
fn start_errors_say_what_is_wrong() {
    let _turn = my_turn();
    let server = start(quiet());
    let port = server.port();
    let taken = refusal(quiet().port(port));
    assert!(taken.contains(&port.to_string()) && taken.contains("in use"), "{taken}");
    assert_eq!(client(&server).cmd(&["PING"]), Value::simple("PONG"), "the first one is unharmed");

    // The parameter, and what is wrong with its value.
    let wrong = [
        ("no-such-parameter", "1", "no-such-parameter"),
        ("maxclients", "many", "maxclients"),
        ("databases", "0", "databases"),
        ("port", "65536", "port"),
        ("appendonly", "perhaps", "appendonly"),
        ("loglevel", "loud", "loglevel"),
        ("save", "1 2 3", "save"),
        ("dir", "/no/such/directory", "dir"),
        ("include", "/no/such/file.conf", "/no/such/file.conf"),
    ];
    for (name, value, named) in wrong {
        let message = refusal(quiet().set(name, value));
        assert!(message.contains(named), "{name} {value}: {message}");
        assert!(message.len() > named.len() + 10, "{name} {value}: {message}");
    }

    let dir = TempDir::new("ferrodis-embed");
    fs::write(dir.path().join("bad.rdb"), b"REDIS0011\xfa").expect("a file can be written");
    let damaged = refusal(quiet().set("dir", dir.text()).set("dbfilename", "bad.rdb"));
    assert!(damaged.contains("bad.rdb"), "{damaged}");
    assert_eq!(dir.names(), ["bad.rdb"], "the damaged file is kept");
    drop(server);
    expect_no_threads();
}

#[test]
fn data_survives_in_a_file_and_nowhere_else() {
    let _turn = my_turn();
    let dir = TempDir::new("ferrodis-embed");
    let with_file = || quiet().set("dir", dir.text()).set("dbfilename", "kept.rdb");
    let server = start(with_file());
    let mut first = client(&server);
    first.expect(&["SET", "k", "not saved"], "+OK\r\n");
    drop(server);
    assert_eq!(dir.names(), [""; 0], "dropping saves nothing");
    let server = start(with_file());
    let mut second = client(&server);
    assert_eq!(second.cmd(&["GET", "k"]), Value::Null);
    second.expect(&["SET", "k", "v"], "+OK\r\n");
    second.expect(&["SAVE"], "+OK\r\n");
    assert_eq!(dir.names(), ["kept.rdb"]);
    drop(server);
    let server = start(with_file());
    client(&server).expect(&["GET", "k"], "$1\r\nv\r\n");
    drop(server);
    expect_no_threads();
}

#[test]
fn starting_and_stopping_many_times_keeps_nothing() {
    let _turn = my_turn();
    let open = || fs::read_dir("/proc/self/fd").expect("open files can be listed").count();
    drop(start(quiet()));
    expect_no_threads();
    let before = open();
    for _ in 0..20 {
        let server = start(quiet());
        client(&server).expect(&["PING"], "+PONG\r\n");
    }
    expect_no_threads();
    assert_eq!(open(), before, "open files");
}
