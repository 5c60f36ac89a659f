//! The traps T1 to T35: what a normal server does that fails a stage. A trap may have several
//! tests; each begins with its number.

use super::support::client::{Client, Value, encode, quoted};
use super::support::fake::{FakeMaster, FakeReplica, MASTER_REPLID, empty_rdb, read_rdb};
use super::support::server::{Server, free_port};
use super::tester::{
    FUTURE_MS, WRITES, expect_exit, expect_replicated, field, info_replication, replica_of,
    sleep_ms, synced_replica,
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
fn t12_a_replica_link_is_silent_without_writes() {
    let server = Server::start(&[]);
    let mut replica = FakeReplica::attach(server.addr());
    replica.client.expect_silence(1_500);
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
