//! The traps T1 to T35: what a normal server does that fails a stage. A trap may have several
//! tests; each begins with its number.

use super::support::client::{Client, Value, encode, quoted};
use super::support::fake::{FakeMaster, FakeReplica, MASTER_REPLID, empty_rdb, read_rdb};
use super::support::random::Random;
use super::support::server::{Server, free_port};
use super::support::tmp::TempDir;
use super::tester::{
    FUTURE_MS, Place, READ_TIME, WORDS, WRITES, aof_flags, aof_log, bulk_float, bulks,
    expect_appears, expect_arrives, expect_error, expect_exit, expect_logged, expect_replicated,
    field, info_replication, replica_of, sleep_ms, synced_replica,
};
use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn t01_memory_doctor_does_not_greet_sam() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send(&["MEMORY", "DOCTOR"]);
    let reply = client.recv_raw().to_ascii_lowercase();
    let reply = String::from_utf8_lossy(&reply);
    assert!(!reply.contains("sam"), "{reply}");
}

#[test]
fn t02_a_stopped_server_leaves_no_data() {
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
fn t02_keys_of_no_type_survive() {
    let mut server = Server::start(&[]);
    // Each again under a key of another type, as the ten words come again in other stages.
    for (list, stream, zset) in [("apple", "pear", "mango"), ("mango", "apple", "pear")] {
        let mut client = server.client();
        client.expect(&["GET", list], "$-1\r\n");
        client.expect(&["TYPE", stream], "+none\r\n");
        client.expect(&["RPUSH", list, "1"], ":1\r\n");
        client.expect(&["XADD", stream, "0-1", "foo", "bar"], "$3\r\n0-1\r\n");
        client.expect(&["ZADD", zset, "1.5", "m"], ":1\r\n");
        server.sigterm();
        expect_exit(&mut server);
        server.relaunch();
    }
}

#[test]
fn t02_a_replica_leaves_no_received_rdb() {
    let master = FakeMaster::listen();
    let (mut server, mut link) = synced_replica(&master);
    link.expect_ack(0);
    server.sigterm();
    expect_exit(&mut server);
    assert_eq!(server.cwd_names(), Vec::<String>::new());
}

#[test]
fn t03_sigterm_with_open_clients_ends_in_time() {
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
fn t03_sigterm_with_lagging_replicas_ends_in_time() {
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
fn t03_sigterm_during_start_ends_in_time() {
    for wait_ms in [0, 3, 20] {
        let mut server = Server::start_unready(&[]);
        sleep_ms(wait_ms);
        server.sigterm();
        expect_exit(&mut server);
    }
}

#[test]
fn t03_sigterm_of_a_replica_ends_in_time() {
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
fn t04_the_port_is_free_again_at_once() {
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
fn t04_nothing_survives_the_process() {
    let mut server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["PING"], "+PONG\r\n");
    server.kill();
    client.expect_closed();
    let refused = TcpStream::connect(server.addr());
    assert!(refused.is_err(), "somebody still listens");
}

#[test]
fn t05_default_dir_is_where_the_program_was_started() {
    let server = Server::start(&[]);
    let cwd = fs::canonicalize(server.cwd()).expect("the directory exists");
    let cwd = cwd.to_str().expect("a UTF-8 path");
    let mut client = server.client();
    let reply = format!("*2\r\n$3\r\ndir\r\n${}\r\n{cwd}\r\n", cwd.len());
    client.expect(&["CONFIG", "GET", "dir"], &reply);
}

#[test]
fn t06_little_is_logged() {
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
fn t07_listens_on_ipv4_and_on_localhost() {
    let server = Server::start(&[]);
    for host in ["127.0.0.1", "localhost"] {
        let mut client = Client::connect((host, server.port()));
        client.expect(&["PING"], "+PONG\r\n");
    }
}

#[test]
fn t08_resp2_types_without_hello() {
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
fn t08_null_arrays_are_not_null_bulks() {
    let server = Server::start(&[]);
    let (mut client, mut other) = (server.client(), server.client());
    client.expect(&["XADD", "pear", "0-1", "foo", "bar"], "$3\r\n0-1\r\n");
    client.expect(&["BLPOP", "apple", "0.05"], "*-1\r\n");
    client.expect(&["XREAD", "block", "50", "streams", "pear", "0-1"], "*-1\r\n");
    client.expect(&["GEOPOS", "apple", "m"], "*1\r\n*-1\r\n");
    client.expect(&["WATCH", "apple"], "+OK\r\n");
    other.expect(&["SET", "apple", "1"], "+OK\r\n");
    client.expect(&["MULTI"], "+OK\r\n");
    client.expect(&["PING"], "+QUEUED\r\n");
    client.expect(&["EXEC"], "*-1\r\n");
    for command in [&["ZRANK", "mango", "m"][..], &["ZSCORE", "mango", "m"], &["LPOP", "mango"]] {
        client.expect(command, "$-1\r\n");
    }
}

#[test]
fn t09_no_byte_follows_a_reply() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for command in [
        &["SET", "apple", "1"][..],
        &["INCR", "apple"],
        &["NOSUCHCOMMAND"],
        &["RPUSH", "pear", "a", "b"],
        &["LRANGE", "pear", "0", "-1"],
        &["BLPOP", "pear", "0"],
        &["XADD", "mango", "0-1", "foo", "bar"],
        &["XREAD", "block", "1000", "streams", "mango", "0-0"],
        &["ZADD", "grape", "1.5", "m"],
        &["GEOADD", "grape", "13.4", "52.5", "n"],
        &["GEOSEARCH", "grape", "FROMLONLAT", "13", "52", "BYRADIUS", "100000", "m"],
        &["CONFIG", "GET", "dir"],
        &["ACL", "GETUSER", "default"],
        &["WATCH", "apple"],
        &["MULTI"],
        &["PUBLISH", "orange", "hello"],
        &["EXEC"],
        &["WAIT", "0", "0"],
        &["INFO"],
        &["SUBSCRIBE", "orange"],
        &["PING"],
    ] {
        let reply = client.cmd(command);
        let refused = matches!(reply, Value::Error(_));
        assert_eq!(refused, command[0] == "NOSUCHCOMMAND", "{command:?}: {reply}");
        client.expect_silence(2);
    }
}

#[test]
fn t10_simple_strings_and_integers_stay_so() {
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
fn t10_integers_bulks_and_queued_of_the_other_sections() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["PUBLISH", "apple", "hello"], ":0\r\n");
    client.expect(&["ZADD", "apple", "12.5", "m"], ":1\r\n");
    client.expect(&["ZSCORE", "apple", "m"], "$4\r\n12.5\r\n");
    client.expect(&["GEOADD", "pear", "13.4", "52.5", "m"], ":1\r\n");
    client.expect(&["GEODIST", "pear", "m", "m"], "$6\r\n0.0000\r\n");
    client.expect(&["MULTI"], "+OK\r\n");
    client.expect(&["SET", "apple", "1"], "+QUEUED\r\n");
}

#[test]
fn t11_px_is_true_to_the_millisecond() {
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
fn t11_blpop_does_not_wake_early() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (timeout, ms) in [("0.001", 1), ("0.01", 10), ("0.05", 50), ("0.123", 123)] {
        let asked = Instant::now();
        client.expect(&["BLPOP", "apple", timeout], "*-1\r\n");
        let took = asked.elapsed();
        assert!(took >= Duration::from_millis(ms), "BLPOP {timeout} took {took:?}");
    }
}

#[test]
fn t12_a_replica_link_is_silent_without_writes() {
    let server = Server::start(&[]);
    let mut replica = FakeReplica::attach(server.addr());
    replica.client.expect_silence(1_500);
}

#[test]
fn t13_the_rdb_comes_at_once_and_bare() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SET", "apple", "pear"], "+OK\r\n");
    let mut replica = server.client();
    FakeReplica::greet(&mut replica);
    let asked = Instant::now();
    FakeReplica::psync(&mut replica);
    // No keep-alive line before the length, no `EOF:` mark in its place.
    let head = replica.read_line();
    let length = head.strip_prefix(b"$").map(String::from_utf8_lossy);
    let length = length.and_then(|digits| digits.parse().ok());
    let length = length.unwrap_or_else(|| panic!("{} before the RDB", quoted(&head)));
    let rdb = replica.read_exactly(length);
    assert!(asked.elapsed() < READ_TIME);
    assert!(rdb.starts_with(b"REDIS"), "{}", quoted(&rdb));
    // No CRLF behind it.
    replica.expect_silence(50);
}

#[test]
fn t14_streaming_does_not_wait_for_an_ack() {
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
fn t15_the_offset_stays_0_until_the_first_write() {
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
fn t16_the_rdb_of_a_full_resync_is_readable() {
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
fn t16_the_rdb_holds_no_type_that_parsers_do_not_know() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let many: Vec<String> = (0..600).map(|n| format!("element-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for write in [
        &["RPUSH", "list", "a", "b"][..],
        &[&["RPUSH", "list:many"][..], &many].concat(),
        &["HSET", "hash", "f", "v"],
        &[&["HSET", "hash:many"][..], &many].concat(),
        &["SADD", "set", "a", "b"],
        &["SADD", "set:ints", "1", "2"],
        &[&["SADD", "set:many"][..], &many].concat(),
        &["ZADD", "zset", "1.5", "a"],
        &["GEOADD", "zset:geo", "13.4", "52.5", "m"],
        &["ZUNIONSTORE", "zset:many", "1", "set:many"],
        &["XADD", "stream", "0-1", "foo", "bar"],
        &["XGROUP", "CREATE", "stream", "group", "0"],
        &["XREADGROUP", "GROUP", "group", "me", "STREAMS", "stream", ">"],
        &["SETBIT", "bits", "100", "1"],
        &["PFADD", "hll", "a", "b"],
    ] {
        let reply = client.cmd(write);
        assert!(!matches!(reply, Value::Error(_)), "{write:?}: {reply}");
    }
    let replica = FakeReplica::attach(server.addr());
    let keys = read_rdb(&replica.rdb).expect("a readable RDB");
    assert_eq!(Value::Int(keys.len() as i64), client.cmd(&["DBSIZE"]));
    assert_eq!(keys.len(), 13);
    assert!(replica.rdb.len() < 100_000);
}

#[test]
fn t17_only_writes_are_propagated_and_as_sent() {
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
fn t18_select_comes_once() {
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
fn t19_wait_counts_from_the_last_write_of_its_client() {
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
fn t19_wait_asks_each_replica_once_and_keeps_its_time() {
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
fn t20_no_step_of_the_handshake_runs_ahead() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    link.ping(120);
    link.listening_port(server.port());
    link.capa(120);
    link.psync(120);
}

#[test]
fn t21_replicaof_as_two_arguments() {
    let master = FakeMaster::listen();
    let port = master.port().to_string();
    let server = Server::start(&["--replicaof", "127.0.0.1", &port]);
    let mut link = master.accept();
    link.handshake(server.port());
    link.expect_ack(0);
}

#[test]
fn t22_no_ack_without_a_question_after_the_sync() {
    let master = FakeMaster::listen();
    let (_server, mut link) = synced_replica(&master);
    link.client.expect_silence(200);
    link.expect_ack(0);
}

#[test]
fn t23_offsets_count_bytes_however_they_arrive() {
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
fn t24_bytes_behind_the_rdb_in_one_segment() {
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
fn t24_an_rdb_in_small_pieces() {
    let master = FakeMaster::listen();
    let (server, mut link) = replica_of(&master);
    link.handshake_without_rdb(server.port());
    link.client.fragment(true);
    link.send_rdb();
    link.expect_ack(0);
}

#[test]
fn t25_one_connection_to_the_master() {
    let master = FakeMaster::listen();
    let (_server, mut link) = synced_replica(&master);
    link.expect_ack(0);
    let second = master.accept_within(Duration::from_millis(300));
    assert!(second.is_none(), "a second connection");
}

#[test]
fn t26_a_replica_answers_while_it_syncs() {
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

#[test]
fn t27_nothing_is_logged_before_the_first_write() {
    let dir = TempDir::new("ferrodis-aof");
    let server = Server::start(&aof_flags(&dir));
    let mut client = server.client();
    for command in [
        &["PING"][..],
        &["GET", "apple"],
        &["CONFIG", "GET", "dir"],
        &["INFO"],
        &["DEL", "apple"],
        &["WATCH", "apple"],
        &["MULTI"],
        &["GET", "apple"],
        &["EXEC"],
    ] {
        client.cmd(command);
    }
    sleep_ms(50);
    let log = aof_log(&dir);
    assert_eq!(quoted(&fs::read(&log).expect("the log exists")), "\"\"");
    // And then as it was sent, letter by letter.
    let write = ["sEt", "Apple", "pEAR"];
    client.expect(&write, "+OK\r\n");
    client.expect(&["GET", "Apple"], "$4\r\npEAR\r\n");
    expect_logged(&log, &[&write]);
}

#[test]
fn t28_names_and_numbers_of_the_files() {
    let dir = TempDir::new("ferrodis-aof");
    let mut server = Server::start(&aof_flags(&dir));
    let folder = dir.path().join("mango");
    for value in ["1", "2"] {
        let manifest = fs::read_to_string(folder.join("pear.aof.manifest")).expect("a manifest");
        let logs: Vec<&str> = manifest.lines().filter(|line| line.contains(" type i")).collect();
        assert_eq!(logs.len(), 1, "{manifest}");
        assert!(logs[0].starts_with("file pear.aof.1.incr.aof seq 1 type i"), "{manifest}");
        for entry in fs::read_dir(&folder).expect("the directory can be listed") {
            let name = entry.expect("an entry").file_name();
            assert!(name.to_string_lossy().starts_with("pear.aof."), "{name:?}");
        }
        // A second start goes on with the same log.
        server.client().expect(&["SET", "apple", value], "+OK\r\n");
        server.kill();
        server.relaunch();
        let wanted = format!("$1\r\n{value}\r\n");
        server.client().expect(&["GET", "apple"], &wanted);
    }
}

#[test]
fn t29_the_log_that_the_manifest_names_goes_on() {
    let dir = TempDir::new("ferrodis-aof");
    let folder = dir.path().join("mango");
    let log = folder.join("grape.aof.1.incr.aof");
    fs::create_dir(&folder).expect("a directory can be made");
    fs::write(&log, "").expect("the log can be written");
    // Its prefix is not the flag's, and there is no base file.
    let manifest = "file grape.aof.1.incr.aof seq 1 type i\n";
    fs::write(folder.join("pear.aof.manifest"), manifest).expect("it can be written");
    let server = Server::start(&aof_flags(&dir));
    server.client().expect(&["SET", "apple", "42"], "+OK\r\n");
    expect_logged(&log, &[&["SET", "apple", "42"]]);
    assert!(!aof_log(&dir).exists(), "a log of the flag's name");
}

#[test]
fn t30_the_files_are_made_at_the_start() {
    for policy in ["always", "everysec", "no"] {
        let server = Server::start_unready(&["--appendonly", "yes", "--appendfsync", policy]);
        let folder = server.cwd().join("appendonlydir");
        expect_appears(&folder.join("appendonly.aof.1.incr.aof"));
        expect_appears(&folder.join("appendonly.aof.manifest"));
    }
}

#[test]
fn t31_rpush_counts_what_a_waiter_takes() {
    let server = Server::start(&[]);
    let mut waiting = [server.client(), server.client(), server.client()];
    for client in &mut waiting {
        client.send(&["BLPOP", "apple", "0"]);
        // Who waits longest is served first, as the description has it.
        sleep_ms(20);
    }
    let mut client = server.client();
    for (i, element) in ["pear", "mango"].into_iter().enumerate() {
        client.expect(&["RPUSH", "apple", element], ":1\r\n");
        expect_arrives(&mut waiting[i], &bulks(&["apple", element]));
        waiting[i + 1..].iter_mut().for_each(Client::expect_no_more);
    }
    client.expect(&["LLEN", "apple"], ":0\r\n");
    client.expect(&["TYPE", "apple"], "+none\r\n");
    client.expect(&["RPUSH", "apple", "a", "b", "c"], ":3\r\n");
    expect_arrives(&mut waiting[2], &bulks(&["apple", "a"]));
    client.expect(&["LRANGE", "apple", "0", "-1"], &bulks(&["b", "c"]));
}

#[test]
fn t32_0_0_is_refused_first_and_never_given() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let zero = "-ERR The ID specified in XADD must be greater than 0-0\r\n";
    client.expect(&["XADD", "apple", "0-0", "foo", "bar"], zero);
    client.expect(&["TYPE", "apple"], "+none\r\n");
    client.expect(&["XADD", "apple", "0-*", "foo", "bar"], "$3\r\n0-1\r\n");
    client.expect(&["XADD", "apple", "0-*", "foo", "bar"], "$3\r\n0-2\r\n");
    client.expect(&["XADD", "apple", "0-0", "foo", "bar"], zero);
}

#[test]
fn t33_authentication_is_decided_at_the_connection() {
    let server = Server::start(&[]);
    let (mut admin, mut idle) = (server.client(), server.client());
    idle.expect(&["PING"], "+PONG\r\n");
    admin.expect(&["ACL", "SETUSER", "default", ">pear-592"], "+OK\r\n");
    let mut later = server.client();
    for command in [&["GET", "apple"][..], &["PING"], &["ACL", "WHOAMI"], &["MULTI"]] {
        expect_error(&mut later, command, "NOAUTH ", &[]);
    }
    expect_error(&mut later, &["AUTH", "default", "pear"], "WRONGPASS ", &[]);
    expect_error(&mut later, &["GET", "apple"], "NOAUTH ", &[]);
    for client in [&mut admin, &mut idle] {
        client.expect(&["ACL", "WHOAMI"], "$7\r\ndefault\r\n");
        client.expect(&["GET", "apple"], "$-1\r\n");
    }
    later.expect(&["AUTH", "default", "pear-592"], "+OK\r\n");
    // Another password later is no matter for who is in.
    admin.expect(&["ACL", "SETUSER", "default", "resetpass", ">mango-999"], "+OK\r\n");
    for client in [&mut admin, &mut idle, &mut later] {
        client.expect(&["GET", "apple"], "$-1\r\n");
    }
    // A failed attempt does not log out.
    expect_error(&mut idle, &["AUTH", "default", "pear-592"], "WRONGPASS ", &[]);
    idle.expect(&["GET", "apple"], "$-1\r\n");
}

#[test]
fn t34_subscribed_mode() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.expect(&["SUBSCRIBE", "a"], "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    client.expect(&["PING"], "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    let error = client.cmd_raw(&["GET", "apple"]);
    assert!(error.is_ascii(), "{}", quoted(&error));
    assert!(error.to_ascii_lowercase().starts_with(b"-err can't execute 'get'"));
    client.expect(&["UNSUBSCRIBE", "a"], "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n");
    client.expect(&["PING"], "+PONG\r\n");
    client.expect(&["GET", "apple"], "$-1\r\n");
}

#[test]
fn t35_geo_codes_are_exact() {
    let server = Server::start(&[]);
    let mut client = server.client();
    // Two places of which the codes are common knowledge.
    let palermo = Place { longitude: 13.361389, latitude: 38.115556 };
    let catania = Place { longitude: 15.087269, latitude: 37.502669 };
    assert_eq!(palermo.code(), 3_479_099_956_230_698);
    assert_eq!(catania.code(), 3_479_447_370_796_909);
    let mut random = Random::new(35);
    let others = (0..300).map(|_| Place::random(&mut random));
    for (i, place) in [palermo, catania].into_iter().chain(others).enumerate() {
        let member = i.to_string();
        let [longitude, latitude] = [place.longitude, place.latitude].map(|n| n.to_string());
        client.cmd(&["GEOADD", "apple", &longitude, &latitude, &member]);
        let score = client.cmd(&["ZSCORE", "apple", &member]);
        assert_eq!(score, Value::bulk(&place.code().to_string()), "{place:?}");
    }
}

#[test]
fn t35_scores_keep_their_17_digits() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut random = Random::new(36);
    for _ in 0..300 {
        let score = 1.0 + random.bits() as f64 / u64::MAX as f64 * 99.0;
        client.cmd(&["ZADD", "apple", &score.to_string(), "m"]);
        assert_eq!(bulk_float(&client.cmd(&["ZSCORE", "apple", "m"])), score);
    }
}

/// Places where a box of degrees around a circle breaks: at the antimeridian, close to the poles
/// and opposite to each other.
const ODD_PLACES: [Place; 8] = [
    Place { longitude: 179.9, latitude: 10.0 },
    Place { longitude: -179.9, latitude: 10.5 },
    Place { longitude: -0.1, latitude: 85.0 },
    Place { longitude: 179.5, latitude: 84.9 },
    Place { longitude: 90.0, latitude: -85.0 },
    Place { longitude: -90.0, latitude: -84.5 },
    Place { longitude: 0.0, latitude: 0.0 },
    Place { longitude: 150.0, latitude: 60.0 },
];

#[test]
fn t35_searches_across_the_antimeridian_and_the_poles() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (place, member) in ODD_PLACES.iter().zip(WORDS) {
        place.add(&mut client, "apple", member);
    }
    for centre in ODD_PLACES {
        let mut near: Vec<(f64, &str)> = ODD_PLACES
            .iter()
            .map(|place| place.cell_centre().distance(centre))
            .zip(WORDS)
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Between two neighbours, and far beyond half of the globe.
        let halves = near.windows(2).map(|two| (two[0].0 + two[1].0) / 2.0);
        for radius in halves.chain([20_500_000.0, 25_000_000.0]) {
            let inside = near.iter().filter(|(distance, _)| *distance <= radius);
            let mut wanted: Vec<&str> = inside.map(|(_, member)| *member).collect();
            wanted.sort();
            let reply = client.cmd_bytes(&centre.search("apple", radius));
            let mut got: Vec<String> = reply.items().iter().map(|item| item.text()).collect();
            got.sort();
            assert_eq!(got, wanted, "{radius} m around {centre:?}");
        }
    }
}
