//! The stages of the course "Build your own Redis" that this server was made for: base,
//! replication and RDB persistence, one test each, asserting what the course's tester asserts.
//! Behind them the traps: what a normal server does that fails a stage.
//!
//! Ports are free ones instead of 6379 and 6380, so that the tests can run side by side.

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, PATIENCE, Value, encode, quoted};
use support::fake::{
    FakeMaster, FakeReplica, MASTER_REPLID, MasterLink, RdbWriter, crc64, empty_rdb, read_rdb,
};
use support::server::{Server, free_port};
use support::tmp::TempDir;

/// The three writes of the propagation stages.
const WRITES: [[&str; 3]; 3] =
    [["SET", "foo", "123"], ["SET", "bar", "456"], ["SET", "baz", "789"]];

/// The time that a stop may take before the tester kills.
const STOP_TIME: Duration = Duration::from_secs(2);

fn sleep_ms(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}

/// `INFO replication` as text; the reply must be a bulk string.
fn info_replication(client: &mut Client) -> String {
    match client.cmd(&["INFO", "replication"]) {
        Value::Bulk(text) => String::from_utf8(text).expect("INFO is text"),
        other => panic!("a bulk string expected, got {other}"),
    }
}

/// The value of a field of an INFO reply.
fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let value = info.lines().find_map(|l| l.strip_prefix(name));
    value.unwrap_or_else(|| panic!("no {name} in {info}"))
}

/// A replica of `master`, and the master's side of its link.
fn replica_of(master: &FakeMaster) -> (Server, MasterLink) {
    // The server answers clients only when its start is over; by then it has connected.
    let server = Server::start(&["--replicaof", &master.replicaof()]);
    let link = master.accept();
    (server, link)
}

/// A replica whose handshake is done.
fn synced_replica(master: &FakeMaster) -> (Server, MasterLink) {
    let (server, mut link) = replica_of(master);
    link.handshake(server.port());
    (server, link)
}

/// A GET that may be ahead of the replication stream: nil is asked again, as by the tester.
#[track_caller]
fn expect_replicated(client: &mut Client, key: &str, value: &str) {
    for _ in 0..5 {
        match client.cmd(&["GET", key]) {
            Value::Null => sleep_ms(500),
            got => {
                assert_eq!(got, Value::bulk(value), "GET {key}");
                return client.expect_no_more();
            }
        }
    }
    panic!("{key} never arrived");
}

// ---- base -------------------------------------------------------------------------------------

#[test]
fn base_jm1_bind_to_a_port() {
    let mut server = Server::start_unready(&[]);
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(server.addr()).is_err() {
        let alive = server.exited().is_none() && Instant::now() < deadline;
        assert!(alive, "nobody listens; the log:\n{}", server.log());
        sleep_ms(10);
    }
}

#[test]
fn base_rg2_respond_to_ping() {
    let server = Server::start(&[]);
    server.client().expect(&["PING"], "+PONG\r\n");
}

#[test]
fn base_wy1_respond_to_multiple_pings() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for _ in 0..3 {
        client.expect(&["PING"], "+PONG\r\n");
    }
}

#[test]
fn base_zu2_handle_concurrent_clients() {
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
fn base_qq0_echo() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["ECHO", "strawberry"], "$10\r\nstrawberry\r\n");
}

#[test]
fn base_la7_set_and_get() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "apple", "pear"], "+OK\r\n");
    client.expect(&["GET", "apple"], "$4\r\npear\r\n");
}

#[test]
fn base_yz1_expiry() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "grape", "mango", "PX", "100"], "+OK\r\n");
    client.expect(&["GET", "grape"], "$5\r\nmango\r\n");
    sleep_ms(101);
    client.expect(&["GET", "grape"], "$-1\r\n");
}

// ---- replication ------------------------------------------------------------------------------

#[test]
fn replication_bw1_configure_listening_port() {
    let port = free_port();
    let server = Server::start_on(port, &[]);
    server.client().expect(&["PING"], "+PONG\r\n");
}

#[test]
fn replication_ye5_info_command() {
    let server = Server::start(&[]);
    let info = info_replication(&mut server.client());
    assert!(info.contains("role:master"), "{info}");
}

#[test]
fn replication_hc6_info_on_a_replica() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    let port = server.port();
    let handshake = thread::spawn(move || link.handshake(port));
    let mut client = server.client();
    let info = info_replication(&mut client);
    assert!(info.contains("role:slave"), "{info}");
    handshake.join().expect("the handshake went well");
    // The master has gone; a reconnection that hangs in its backlog must not block INFO.
    let info = info_replication(&mut client);
    assert!(info.contains("role:slave"), "{info}");
}

#[test]
fn replication_xc1_initial_replication_id_and_offset() {
    let server = Server::start(&[]);
    let info = info_replication(&mut server.client());
    let replid = field(&info, "master_replid:");
    assert_eq!(replid.len(), 40, "{replid}");
    assert!(replid.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_eq!(field(&info, "master_repl_offset:"), "0");
}

#[test]
fn replication_gl7_send_handshake_1_of_3() {
    let master = FakeMaster::listen();
    let (_server, mut link) = replica_of(&master);
    link.ping(1);
}

#[test]
fn replication_eh4_send_handshake_2_of_3() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    link.ping(1);
    link.listening_port(server.port());
    link.capa(1);
}

#[test]
fn replication_ju6_send_handshake_3_of_3() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    link.handshake_without_rdb(server.port());
}

#[test]
fn replication_fj0_receive_handshake_1_of_2() {
    let server = Server::start(&[]);
    FakeReplica::greet(&mut server.client());
}

#[test]
fn replication_vm3_receive_handshake_2_of_2() {
    let server = Server::start(&[]);
    let mut client = server.client();
    FakeReplica::greet(&mut client);
    let (_, offset) = FakeReplica::psync(&mut client);
    assert_eq!(offset, 0);
}

#[test]
fn replication_cf8_empty_rdb_transfer() {
    let server = Server::start(&[]);
    let asked = Instant::now();
    let mut replica = FakeReplica::attach(server.addr());
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(replica.start_offset, 0);
    let keys = read_rdb(&replica.rdb).expect("a readable RDB");
    assert_eq!(keys, [], "the server is empty");
    replica.client.expect_no_more();
}

/// The three SETs of one client, each answered, and the same three at every replica.
fn propagate(server: &Server, client: &mut Client, replicas: &mut [FakeReplica]) {
    for write in &WRITES {
        client.expect(write, "+OK\r\n");
    }
    for replica in replicas {
        assert_eq!(replica.start_offset, 0);
        for write in &WRITES {
            assert_eq!(replica.next(), write.join(" "), "log: {}", server.log());
        }
        replica.client.expect_no_more();
    }
}

#[test]
fn replication_zn8_single_replica_propagation() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let replica = FakeReplica::attach(server.addr());
    propagate(&server, &mut client, &mut [replica]);
}

#[test]
fn replication_hd5_multi_replica_propagation() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut replicas: Vec<_> = (0..3).map(|_| FakeReplica::attach(server.addr())).collect();
    propagate(&server, &mut client, &mut replicas);
}

#[test]
fn replication_yg4_command_processing() {
    let master = FakeMaster::listen();
    let (server, mut link) = synced_replica(&master);
    let mut client = server.client();
    let writes: Vec<u8> = WRITES.iter().flat_map(|w| encode(w)).collect();
    link.client.send_raw(&writes);
    sleep_ms(1);
    for [_, key, value] in WRITES {
        expect_replicated(&mut client, key, value);
    }
}

#[test]
fn replication_xv6_acks_with_no_commands() {
    let master = FakeMaster::listen();
    let (_server, mut link) = synced_replica(&master);
    link.expect_ack(0);
}

#[test]
fn replication_yd3_acks_with_commands() {
    let master = FakeMaster::listen();
    let (_server, mut link) = synced_replica(&master);
    link.expect_ack(0);
    link.client.send(&["PING"]);
    link.expect_ack(37 + 14);
    let set = ["SET", "pineapple", "raspberry"];
    link.client.send(&set);
    link.client.send(&set);
    let sets = 2 * encode(&set).len() as u64;
    link.expect_ack(37 + 14 + 37 + sets);
}

#[test]
fn replication_my8_wait_with_no_replicas() {
    let server = Server::start(&[]);
    let asked = Instant::now();
    server.client().expect(&["WAIT", "0", "60000"], ":0\r\n");
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[test]
fn replication_tu8_wait_with_no_commands() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let replicas: Vec<_> = (0..7).map(|_| FakeReplica::attach(server.addr())).collect();
    for wanted in [3, 5, 7, 9] {
        let reply = format!(":{}\r\n", replicas.len());
        client.expect(&["WAIT", &wanted.to_string(), "500"], &reply);
    }
}

/// One round of na2: a write, WAIT, and answers from the first `acking` of the replicas. Gives
/// the time from WAIT to its reply.
fn wait_round(
    client: &mut Client,
    replicas: &mut [FakeReplica],
    write: [&str; 3],
    wait: [&str; 3],
    acking: usize,
) -> Duration {
    client.expect(&write, "+OK\r\n");
    let asked = Instant::now();
    client.send(&wait);
    for (i, replica) in replicas.iter_mut().enumerate() {
        assert_eq!(replica.next(), write.join(" "));
        let offset = replica.received;
        assert_eq!(replica.next(), "REPLCONF GETACK *");
        replica.client.expect_no_more();
        if i < acking {
            replica.ack(offset);
        }
    }
    let reply = client.recv_raw();
    let elapsed = asked.elapsed();
    assert_eq!(quoted(&reply), quoted(format!(":{acking}\r\n").as_bytes()));
    client.expect_no_more();
    // There is no reply to an ACK.
    for replica in replicas {
        replica.client.expect_no_more();
    }
    elapsed
}

#[test]
fn replication_na2_wait_with_multiple_commands() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut replicas: Vec<_> = (0..4).map(|_| FakeReplica::attach(server.addr())).collect();
    let (first, last) = (["SET", "foo", "123"], ["SET", "baz", "789"]);
    let took = wait_round(&mut client, &mut replicas, first, ["WAIT", "1", "500"], 1);
    assert!(took < Duration::from_millis(500), "enough had answered");
    let took = wait_round(&mut client, &mut replicas, last, ["WAIT", "3", "2000"], 2);
    let range = Duration::from_millis(1500)..=Duration::from_millis(2500);
    assert!(range.contains(&took), "WAIT took {took:?}");
}

// ---- RDB persistence --------------------------------------------------------------------------

/// 2022-01-01 and 2032-01-01, UTC, in unix milliseconds.
const PAST_MS: u64 = 1_640_995_200_000;
const FUTURE_MS: u64 = 1_956_528_000_000;

/// A server that loads a file with these keys, as the tester writes it.
fn server_with_rdb(keys: &[(&str, &str, Option<u64>)]) -> (Server, TempDir) {
    let dir = TempDir::new("ferrodis-rdb");
    let with_ttl = keys.iter().filter(|(_, _, ttl)| ttl.is_some()).count();
    let mut rdb = RdbWriter::new()
        .aux("redis-ver", "7.2.0")
        .aux_int8("redis-bits", 64)
        .database(keys.len() as u8, with_ttl as u8);
    for (key, value, ttl) in keys {
        rdb = rdb.key(key, value, *ttl);
    }
    fs::write(dir.path().join("banana.rdb"), rdb.finish()).expect("the RDB can be written");
    let server = Server::start(&["--dir", dir.text(), "--dbfilename", "banana.rdb"]);
    (server, dir)
}

/// `KEYS *`, sorted.
fn all_keys(client: &mut Client) -> Vec<String> {
    let Value::Array(items) = client.cmd(&["KEYS", "*"]) else {
        panic!("KEYS gives an array");
    };
    client.expect_no_more();
    let name = |item: &Value| match item {
        Value::Bulk(name) => String::from_utf8_lossy(name).into_owned(),
        other => panic!("a bulk string expected, got {other}"),
    };
    let mut names: Vec<String> = items.iter().map(name).collect();
    names.sort();
    names
}

#[test]
fn rdb_zg5_config() {
    let dir = TempDir::new("ferrodis-rdb");
    let server = Server::start(&["--dir", dir.text(), "--dbfilename", "apple.rdb"]);
    let mut client = server.client();
    let path = dir.text();
    let reply = format!("*2\r\n$3\r\ndir\r\n${}\r\n{path}\r\n", path.len());
    client.expect(&["CONFIG", "GET", "dir"], &reply);
    let reply = "*2\r\n$10\r\ndbfilename\r\n$9\r\napple.rdb\r\n";
    client.expect(&["CONFIG", "GET", "dbfilename"], reply);
}

#[test]
fn rdb_jz6_read_a_key() {
    let (server, _dir) = server_with_rdb(&[("mango", "orange", None)]);
    let mut client = server.client();
    client.expect(&["KEYS", "*"], "*1\r\n$5\r\nmango\r\n");
}

#[test]
fn rdb_gc6_read_a_string_value() {
    let (server, _dir) = server_with_rdb(&[("mango", "orange", None)]);
    let mut client = server.client();
    client.expect(&["GET", "mango"], "$6\r\norange\r\n");
}

const SEVERAL: [(&str, &str, Option<u64>); 5] = [
    ("pear", "apple", None),
    ("grape", "strawberry", None),
    ("apple", "pear", None),
    ("blueberry", "banana", None),
    ("orange", "grape", None),
];

#[test]
fn rdb_jw4_read_multiple_keys() {
    let (server, _dir) = server_with_rdb(&SEVERAL);
    let names = all_keys(&mut server.client());
    assert_eq!(names, ["apple", "blueberry", "grape", "orange", "pear"]);
}

#[test]
fn rdb_dq3_read_multiple_string_values() {
    let (server, _dir) = server_with_rdb(&SEVERAL);
    let mut client = server.client();
    for (key, value, _) in SEVERAL {
        let reply = format!("${}\r\n{value}\r\n", value.len());
        client.expect(&["GET", key], &reply);
    }
}

#[test]
fn rdb_sm4_read_value_with_expiry() {
    let (server, _dir) = server_with_rdb(&[
        ("pear", "apple", Some(FUTURE_MS)),
        ("grape", "mango", Some(PAST_MS)),
        ("apple", "pear", Some(FUTURE_MS)),
    ]);
    let mut client = server.client();
    client.expect(&["GET", "pear"], "$5\r\napple\r\n");
    client.expect(&["GET", "grape"], "$-1\r\n");
    client.expect(&["GET", "apple"], "$4\r\npear\r\n");
    assert_eq!(all_keys(&mut client), ["apple", "pear"]);
    let expires = client.cmd(&["PEXPIRETIME", "pear"]);
    assert_eq!(expires, Value::Int(FUTURE_MS as i64));
}

// ---- traps ------------------------------------------------------------------------------------

/// Asserts that the process ends in the time that the tester gives it.
#[track_caller]
fn expect_exit(server: &mut Server) {
    let asked = Instant::now();
    let status = server.wait_exit(STOP_TIME);
    let log = server.log();
    assert!(status.is_some(), "still runs after SIGTERM; log:\n{log}");
    assert!(asked.elapsed() < STOP_TIME);
}

#[test]
fn trap_t01_memory_doctor_does_not_greet_sam() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send(&["MEMORY", "DOCTOR"]);
    let reply = client.recv_raw().to_ascii_lowercase();
    let reply = String::from_utf8_lossy(&reply);
    assert!(!reply.contains("sam"), "{reply}");
}

#[test]
fn trap_t02_a_stopped_server_leaves_no_data() {
    let mut server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "apple", "1"], "+OK\r\n");
    server.sigterm();
    expect_exit(&mut server);
    assert_eq!(server.cwd_names(), Vec::<String>::new());
    server.relaunch();
    let mut client = server.client();
    client.expect(&["INCR", "apple"], ":1\r\n");
}

#[test]
fn trap_t02_a_replica_leaves_no_received_rdb() {
    let master = FakeMaster::listen();
    let (mut server, mut link) = synced_replica(&master);
    link.expect_ack(0);
    server.sigterm();
    expect_exit(&mut server);
    assert_eq!(server.cwd_names(), Vec::<String>::new());
}

#[test]
fn trap_t03_sigterm_with_open_clients_ends_in_time() {
    let mut server = Server::start(&[]);
    let mut idle = server.client();
    idle.expect(&["PING"], "+PONG\r\n");
    let mut half_sent = server.client();
    half_sent.send_raw(b"*2\r\n$4\r\nECHO\r\n$100\r\nabc");
    let mut waiting = server.client();
    waiting.send(&["WAIT", "1", "0"]);
    let mut popping = server.client();
    popping.send(&["BLPOP", "list", "0"]);
    sleep_ms(20);
    server.sigterm();
    server.sigterm();
    expect_exit(&mut server);
}

#[test]
fn trap_t03_sigterm_with_lagging_replicas_ends_in_time() {
    let mut server = Server::start(&[]);
    let _replicas: Vec<_> = (0..3).map(|_| FakeReplica::attach(server.addr())).collect();
    let mut client = server.client();
    for write in &WRITES {
        client.expect(write, "+OK\r\n");
    }
    server.sigterm();
    expect_exit(&mut server);
}

#[test]
fn trap_t03_sigterm_during_start_ends_in_time() {
    for wait_ms in [0, 3, 20] {
        let mut server = Server::start_unready(&[]);
        sleep_ms(wait_ms);
        server.sigterm();
        expect_exit(&mut server);
    }
}

#[test]
fn trap_t03_sigterm_of_a_replica_ends_in_time() {
    let master = FakeMaster::listen();
    let (mut server, _link) = replica_of(&master);
    server.sigterm();
    expect_exit(&mut server);
    // Without a master it is trying to connect all the time.
    let nobody = format!("localhost {}", free_port());
    let mut server = Server::start(&["--replicaof", &nobody]);
    server.sigterm();
    expect_exit(&mut server);
}

#[test]
fn trap_t04_the_port_is_free_again_at_once() {
    let mut server = Server::start(&[]);
    for round in 0..4 {
        let mut clients: Vec<_> = (0..5).map(|_| server.client()).collect();
        for client in &mut clients {
            client.expect(&["PING"], "+PONG\r\n");
        }
        let replica = FakeReplica::attach(server.addr());
        // The program closes its sockets first, which leaves the port in TIME_WAIT.
        if round % 2 == 0 {
            server.sigterm();
            expect_exit(&mut server);
        } else {
            server.kill();
        }
        drop((clients, replica));
        server.relaunch();
    }
}

#[test]
fn trap_t04_nothing_survives_the_process() {
    let mut server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["PING"], "+PONG\r\n");
    server.kill();
    client.expect_closed();
    let refused = std::net::TcpStream::connect(server.addr());
    assert!(refused.is_err(), "somebody still listens");
}

#[test]
fn trap_t05_default_dir_is_where_the_program_was_started() {
    let server = Server::start(&[]);
    let cwd = fs::canonicalize(server.cwd()).expect("the directory exists");
    let cwd = cwd.to_str().expect("a UTF-8 path");
    let mut client = server.client();
    let reply = format!("*2\r\n$3\r\ndir\r\n${}\r\n{cwd}\r\n", cwd.len());
    client.expect(&["CONFIG", "GET", "dir"], &reply);
}

#[test]
fn trap_t06_little_is_logged() {
    let server = Server::start(&[]);
    for _ in 0..300 {
        let mut client = server.client();
        let reply = client.cmd(&["NOSUCHCOMMAND"]);
        assert!(matches!(reply, Value::Error(_)), "{reply}");
    }
    let _replicas: Vec<_> = (0..3).map(|_| FakeReplica::attach(server.addr())).collect();
    let log = server.log();
    assert!(log.len() < 30_000, "{} bytes of log", log.len());
}

#[test]
fn trap_t07_listens_on_ipv4_and_on_localhost() {
    let server = Server::start(&[]);
    for host in ["127.0.0.1", "localhost"] {
        let mut client = Client::connect((host, server.port()));
        client.expect(&["PING"], "+PONG\r\n");
    }
}

#[test]
fn trap_t08_resp2_types_without_hello() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["GET", "missing_key_7"], "$-1\r\n");
    client.expect(&["MGET", "missing_key_7"], "*1\r\n$-1\r\n");
    client.expect(&["CONFIG", "GET", "nothing-like-it"], "*0\r\n");
    client.expect(&["KEYS", "*"], "*0\r\n");
    assert!(client.cmd_raw(&["INFO"]).starts_with(b"$"));
    assert!(client.cmd_raw(&["COMMAND", "COUNT"]).starts_with(b":"));
}

#[test]
fn trap_t10_simple_strings_and_integers_stay_so() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "k", "7"], "+OK\r\n");
    client.expect(&["TYPE", "k"], "+string\r\n");
    client.expect(&["TYPE", "missing_key_7"], "+none\r\n");
    client.expect(&["WAIT", "1", "1"], ":0\r\n");
    client.expect(&["INCR", "k"], ":8\r\n");
    client.expect(&["GET", "k"], "$1\r\n8\r\n");
    client.expect(&["PING", "k"], "$1\r\nk\r\n");
}

#[test]
fn trap_t11_px_is_true_to_the_millisecond() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for px in [1, 5, 20, 33, 50] {
        let asked = Instant::now();
        client.expect(&["SET", "k", "v", "PX", &px.to_string()], "+OK\r\n");
        let set = Instant::now();
        let value = client.cmd(&["GET", "k"]);
        // On a busy machine the time may be over already; only then is nil right.
        if asked.elapsed() < Duration::from_millis(px) {
            assert_eq!(value, Value::bulk("v"), "PX {px}");
        }
        thread::sleep(Duration::from_millis(px + 1).saturating_sub(set.elapsed()));
        client.expect(&["GET", "k"], "$-1\r\n");
    }
}

#[test]
fn trap_t12_a_replica_link_is_silent_without_writes() {
    let server = Server::start(&[]);
    let mut replica = FakeReplica::attach(server.addr());
    replica.client.expect_silence(1_500);
}

#[test]
fn trap_t14_streaming_does_not_wait_for_an_ack() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut replica = FakeReplica::attach(server.addr());
    let info = info_replication(&mut client);
    assert!(info.contains("connected_slaves:1"), "{info}");
    assert!(info.contains("state=online"), "{info}");
    client.expect(&WRITES[0], "+OK\r\n");
    let soon = Duration::from_millis(500);
    let first = replica.next_within(soon).expect("SELECT or SET");
    assert!(first[0] == b"SELECT" || first[0] == b"SET");
}

#[test]
fn trap_t15_the_offset_stays_0_until_the_first_write() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut replicas = Vec::new();
    for _ in 0..8 {
        let replica = FakeReplica::attach(server.addr());
        assert_eq!(replica.start_offset, 0);
        replicas.push(replica);
    }
    // Nor does a read move it.
    client.expect(&["GET", "k"], "$-1\r\n");
    let info = info_replication(&mut client);
    assert_eq!(field(&info, "master_repl_offset:"), "0");
    assert_eq!(field(&info, "master_replid:"), replicas[0].replid);
    assert!(replicas.iter().all(|r| r.replid == replicas[0].replid));
}

#[test]
fn trap_t16_the_rdb_of_a_full_resync_is_readable() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "k", "orange"], "+OK\r\n");
    client.expect(&["SET", "n", "12345"], "+OK\r\n");
    client.expect(&["SET", "t", "v", "PXAT", "1956528000000"], "+OK\r\n");
    let replica = FakeReplica::attach(server.addr());
    let mut keys = read_rdb(&replica.rdb).expect("a readable RDB");
    keys.sort_by(|a, b| a.key.cmp(&b.key));
    let names: Vec<&[u8]> = keys.iter().map(|k| &k.key[..]).collect();
    assert_eq!(names, [b"k", b"n", b"t"]);
    assert_eq!(keys[0].value, b"orange");
    assert_eq!(keys[1].value, b"12345");
    assert_eq!(keys[2].expires_ms, Some(FUTURE_MS));
}

#[test]
fn trap_t17_only_writes_are_propagated_and_as_sent() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut replica = FakeReplica::attach(server.addr());
    client.expect(&["PING"], "+PONG\r\n");
    client.expect(&["SET", "foo", "123"], "+OK\r\n");
    client.expect(&["GET", "foo"], "$3\r\n123\r\n");
    client.expect(&["ECHO", "x"], "$1\r\nx\r\n");
    client.expect(&["WAIT", "0", "0"], ":0\r\n");
    client.expect(&["DEL", "nothing"], ":0\r\n");
    client.expect(&["SET", "foo", "1", "NX"], "$-1\r\n");
    client.expect(&["INCR", "foo"], ":124\r\n");
    assert_eq!(replica.next(), "SET foo 123");
    assert_eq!(replica.next(), "INCR foo");
    replica.client.expect_no_more();
}

#[test]
fn trap_t18_select_comes_once() {
    let server = Server::start(&[]);
    let mut replica = FakeReplica::attach(server.addr());
    // SELECT is skipped by `next` at the head of the stream only.
    for write in WRITES.iter().cycle().take(9) {
        server.client().expect(write, "+OK\r\n");
        assert_eq!(replica.next(), write.join(" "));
    }
    replica.client.expect_no_more();
}

#[test]
fn trap_t19_wait_counts_from_the_last_write_of_its_client() {
    let server = Server::start(&[]);
    let mut writer = server.client();
    let mut other = server.client();
    let mut replica = FakeReplica::attach(server.addr());
    writer.expect(&["SET", "k", "1"], "+OK\r\n");
    assert_eq!(replica.next(), "SET k 1");
    // An ACK without a question, for exactly the write; then nothing has to be asked.
    replica.ack_all();
    writer.expect(&["WAIT", "1", "3000"], ":1\r\n");
    other.expect(&["SET", "k", "2"], "+OK\r\n");
    // The other client's write has no ACK: that is no matter for the first client.
    writer.expect(&["WAIT", "1", "3000"], ":1\r\n");
    other.expect(&["WAIT", "1", "60"], ":0\r\n");
}

#[test]
fn trap_t19_wait_asks_each_replica_once_and_keeps_its_time() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut replicas: Vec<_> = (0..3).map(|_| FakeReplica::attach(server.addr())).collect();
    client.expect(&["SET", "k", "1"], "+OK\r\n");
    let asked = Instant::now();
    client.expect(&["WAIT", "3", "700"], ":0\r\n");
    let took = asked.elapsed().as_millis();
    assert!((700..1_200).contains(&took), "WAIT took {took} ms");
    for replica in &mut replicas {
        assert_eq!(replica.next(), "SET k 1");
        assert_eq!(replica.next(), "REPLCONF GETACK *");
        replica.client.expect_no_more();
    }
}

#[test]
fn trap_t20_no_step_of_the_handshake_runs_ahead() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    link.ping(120);
    link.listening_port(server.port());
    link.capa(120);
    link.psync(120);
}

#[test]
fn trap_t21_replicaof_as_two_arguments() {
    let master = FakeMaster::listen();
    let port = master.port().to_string();
    let server = Server::start(&["--replicaof", "127.0.0.1", &port]);
    let mut link = master.accept();
    link.handshake(server.port());
    link.expect_ack(0);
}

#[test]
fn trap_t22_no_ack_without_a_question_after_the_sync() {
    let master = FakeMaster::listen();
    let (_server, mut link) = synced_replica(&master);
    link.client.expect_silence(200);
    link.expect_ack(0);
}

#[test]
fn trap_t23_offsets_count_bytes_however_they_arrive() {
    let master = FakeMaster::listen();
    let (server, mut link) = synced_replica(&master);
    link.client.fragment(true);
    let set = ["SET", "foo", "12\r\n3"];
    link.client.send(&set);
    let mut offset = encode(&set).len() as u64;
    link.expect_ack(offset);
    offset += 37;
    link.client.fragment(false);
    let burst = [encode(&set), encode(&["PING"]), encode(&["INCR", "n"])].concat();
    link.client.send_raw(&burst);
    offset += burst.len() as u64;
    link.expect_ack(offset);
    let mut client = server.client();
    client.expect(&["GET", "foo"], "$5\r\n12\r\n3\r\n");
    let info = info_replication(&mut client);
    assert_eq!(field(&info, "slave_repl_offset:"), (offset + 37).to_string());
    assert_eq!(field(&info, "master_replid:"), MASTER_REPLID);
    assert_eq!(field(&info, "master_link_status:"), "up");
}

#[test]
fn trap_t24_bytes_behind_the_rdb_in_one_segment() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    link.handshake_without_rdb(server.port());
    let rdb = empty_rdb();
    let getack = encode(&["REPLCONF", "GETACK", "*"]);
    let set = encode(&["SET", "foo", "123"]);
    let head = format!("${}\r\n", rdb.len()).into_bytes();
    link.client.send_raw(&[head, rdb, set.clone(), getack].concat());
    let wanted = encode(&["REPLCONF", "ACK", &set.len().to_string()]);
    assert_eq!(quoted(&link.client.recv_raw()), quoted(&wanted));
    link.client.expect_no_more();
    expect_replicated(&mut server.client(), "foo", "123");
}

#[test]
fn trap_t24_an_rdb_in_small_pieces() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    link.handshake_without_rdb(server.port());
    link.client.fragment(true);
    link.send_rdb();
    link.expect_ack(0);
}

#[test]
fn trap_t25_one_connection_to_the_master() {
    let master = FakeMaster::listen();
    let (_server, mut link) = synced_replica(&master);
    link.expect_ack(0);
    let second = master.accept_within(Duration::from_millis(300));
    assert!(second.is_none(), "a second connection");
}

#[test]
fn trap_t26_a_replica_answers_while_it_syncs() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    let mut client = server.client();
    client.expect(&["GET", "foo"], "$-1\r\n");
    link.handshake_without_rdb(server.port());
    client.expect(&["GET", "foo"], "$-1\r\n");
    let rdb = empty_rdb();
    link.client.send_raw(b"$88\r\n");
    link.client.send_raw(&rdb[..40]);
    sleep_ms(20);
    client.expect(&["GET", "foo"], "$-1\r\n");
    link.client.send_raw(&rdb[40..]);
    link.client.send(&["SET", "foo", "123"]);
    expect_replicated(&mut client, "foo", "123");
}

// ---- the tests' own tools ---------------------------------------------------------------------

#[test]
fn tools_make_a_valid_rdb() {
    assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    assert_eq!(read_rdb(&empty_rdb()), Ok(Vec::new()));
    let long = "x".repeat(100);
    let rdb = RdbWriter::new().database(1, 1).key("k", &long, Some(7));
    let mut rdb = rdb.finish();
    let keys = read_rdb(&rdb).expect("a readable RDB");
    assert_eq!(keys[0].value, long.as_bytes());
    assert_eq!(keys[0].expires_ms, Some(7));
    *rdb.last_mut().expect("not empty") ^= 1;
    assert!(read_rdb(&rdb).is_err());
}
