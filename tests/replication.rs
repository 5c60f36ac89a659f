//! Replication with all kinds of other ends: ourselves, fakes that behave badly, and (ignored by
//! default) real redis-server, in both roles, with equal `DEBUG DIGEST` as the measure.

mod support;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::client::{Client, encode};
use support::fake::{FakeMaster, FakeReplica, empty_rdb, read_rdb};
use support::server::{RealRedis, Server};

const DEBUG: [&str; 2] = ["--enable-debug-command", "yes"];

/// Enough for what is written while a link is down.
const BACKLOG: [&str; 2] = ["--repl-backlog-size", "64mb"];

fn start(flags: &[&str]) -> Server {
    Server::start(&[&DEBUG, flags].concat())
}

fn start_real(flags: &[&str]) -> Server {
    RealRedis::start(flags)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn info(client: &mut Client, section: &str) -> HashMap<String, String> {
    let text = client.cmd(&["INFO", section]).text();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn field(server: &Server, section: &str, name: &str) -> String {
    info(&mut server.client(), section).remove(name).unwrap_or_default()
}

fn replicate(replica: &Server, primary: &Server) {
    let port = primary.port().to_string();
    assert_eq!(replica.client().cmd(&["REPLICAOF", "127.0.0.1", &port]).text(), "OK");
}

fn wait_for_link(replica: &Server) {
    wait_until("the link is up", || field(replica, "replication", "master_link_status") == "up");
}

/// Waits until both have the same offset, then compares all data.
fn assert_same_data(primary: &Server, replica: &Server) {
    wait_for_link(replica);
    let digest = |server: &Server| server.client().cmd(&["DEBUG", "DIGEST"]).text();
    // Nobody writes any more, but short-lived keys still go, perhaps between two digests.
    let deadline = Instant::now() + Duration::from_secs(20);
    while digest(primary) != digest(replica) {
        let late = Instant::now() >= deadline;
        assert!(!late, "digests differ: {}", differences(primary, replica).join("\n"));
        thread::sleep(Duration::from_millis(50));
    }
    assert_ne!(digest(primary), "0".repeat(40));
    wait_until("equal offsets", || {
        field(primary, "replication", "master_repl_offset")
            == field(replica, "replication", "master_repl_offset")
    });
}

/// The first keys that differ, for the message of a failed comparison.
fn differences(primary: &Server, replica: &Server) -> Vec<String> {
    let (mut a, mut b) = (primary.client(), replica.client());
    let mut found = Vec::new();
    for db in 0..4 {
        let db = db.to_string();
        let keys = |client: &mut Client| -> BTreeSet<String> {
            client.cmd(&["SELECT", &db]);
            client.cmd(&["KEYS", "*"]).items().iter().map(|key| key.text()).collect()
        };
        let all: BTreeSet<String> = keys(&mut a).union(&keys(&mut b)).cloned().collect();
        for key in all {
            let state = |client: &mut Client| {
                let pttl = client.cmd(&["PEXPIRETIME", &key]);
                format!("{} until {pttl}", client.cmd(&["GET", &key]))
            };
            let (left, right) = (state(&mut a), state(&mut b));
            if left != right && found.len() < 10 {
                found.push(format!("db {db} key {key}: {left} against {right}"));
            }
        }
        found.push(format!("db {db}: {} and {} keys", a.cmd(&["DBSIZE"]), b.cmd(&["DBSIZE"])));
    }
    found
}

/// Writes `count` keys, every fifth with a time to live, in a pipeline.
fn fill(server: &Server, prefix: &str, count: usize) {
    let mut client = server.client();
    for first in (0..count).step_by(1000) {
        let last = (first + 1000).min(count);
        let mut batch = Vec::new();
        for i in first..last {
            let (key, value) = (format!("{prefix}:{i}"), format!("value-{i}"));
            let mut set = vec!["SET", &key, &value];
            if i % 5 == 0 {
                set.extend(["EX", "10000"]);
            }
            batch.extend(encode(&set));
        }
        client.send_raw(&batch);
        (first..last).for_each(|_| assert_eq!(client.recv().text(), "OK"));
    }
}

/// Writes of all kinds until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Writer {
    fn start(server: &Server, seed: u64) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, mut client) = (Arc::clone(&stop), server.client());
        let thread = thread::spawn(move || {
            let mut state = seed | 1;
            let mut writes = 0;
            while !flag.load(Ordering::Relaxed) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let (key, other) = (format!("w{}", state % 3000), format!("w{}", state / 7 % 3000));
                let (db, number) = ((state % 3).to_string(), state.to_string());
                let command: Vec<&str> = match state / 3000 % 9 {
                    0 => vec!["SET", &key, &number],
                    1 => vec!["APPEND", &key, &other],
                    2 => vec!["DEL", &key, &other],
                    3 => vec!["SET", &key, "short", "PX", "20"],
                    4 => vec!["MSET", &key, &number, &other, &number],
                    5 => vec!["EXPIRE", &key, "1000"],
                    6 => vec!["SELECT", &db],
                    7 => vec!["SETRANGE", &key, "3", &other],
                    _ => vec!["RENAME", &key, &other],
                };
                client.cmd(&command);
                writes += 1;
            }
            writes
        });
        Writer { stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer ran")
    }
}

/// Fill, attach under load, cut, resume, compare.
fn sync_under_load(primary: &Server, replica: &Server, keys: usize) {
    fill(primary, "before", keys);
    let writers: Vec<Writer> = (1..4).map(|seed| Writer::start(primary, seed * 7919)).collect();
    replicate(replica, primary);
    fill(primary, "during", keys / 10);
    wait_for_link(replica);
    thread::sleep(Duration::from_millis(300));
    writers.into_iter().for_each(|writer| assert!(writer.stop() > 0));
    assert_same_data(primary, replica);

    let before = field(primary, "stats", "sync_full");
    let writer = Writer::start(primary, 31);
    primary.client().cmd(&["CLIENT", "KILL", "TYPE", "replica"]);
    wait_until("the link is resumed", || field(primary, "stats", "sync_partial_ok") != "0");
    writer.stop();
    assert_same_data(primary, replica);
    assert_eq!(field(primary, "stats", "sync_full"), before, "resumed partially");
}

#[test]
fn full_and_partial_sync_under_load() {
    let (primary, replica) = (start(&BACKLOG), start(&[]));
    fill(&replica, "old data that has to go", 50);
    sync_under_load(&primary, &replica, 20_000);
}

#[test]
#[ignore = "needs redis-server"]
fn real_redis_as_our_replica() {
    let (primary, replica) = (start(&BACKLOG), start_real(&[]));
    sync_under_load(&primary, &replica, 100_000);
}

#[test]
#[ignore = "needs redis-server"]
fn real_redis_as_our_primary() {
    let (primary, replica) = (
        start_real(&["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb"]),
        start(&[]),
    );
    sync_under_load(&primary, &replica, 100_000);
}

#[test]
#[ignore = "needs redis-server"]
fn real_redis_as_our_primary_with_a_length_in_front() {
    let (primary, replica) =
        (start_real(&["--repl-diskless-sync", "no", "--repl-backlog-size", "64mb"]), start(&[]));
    sync_under_load(&primary, &replica, 100_000);
}

#[test]
#[ignore = "needs redis-server"]
fn real_redis_as_our_primary_without_a_file_between() {
    for framing in ["yes", "no"] {
        let wait = ["--repl-diskless-sync-delay", "0", "--repl-backlog-size", "64mb"];
        let primary = start_real(&[&wait[..], &["--repl-diskless-sync", framing]].concat());
        let replica = start(&["--repl-diskless-load", "swapdb"]);
        fill(&replica, "old data that has to go", 50);
        sync_under_load(&primary, &replica, 100_000);
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_chain_from_real_over_ours_to_real() {
    let first = start_real(&["--repl-diskless-sync-delay", "0"]);
    let (middle, last) = (start(&[]), start_real(&[]));
    replicate(&middle, &first);
    wait_for_link(&middle);
    replicate(&last, &middle);
    wait_for_link(&last);
    let writer = Writer::start(&first, 5);
    fill(&first, "chain", 100_000);
    writer.stop();
    assert_same_data(&first, &middle);
    assert_same_data(&first, &last);
}

/// A primary whose snapshots take their time, until `hurry` is called.
fn slow_primary() -> Server {
    let primary = start(&["--repl-backlog-size", "16kb", "--rdb-key-save-delay", "10000"]);
    primary.client().cmd(&["DEBUG", "POPULATE", "2000", "key", "1000"]);
    primary
}

/// Cuts a load while `flag` shows it: the old data are there again, until one comes to its end.
#[track_caller]
fn keeps_its_data_until_others_are_whole(
    primary: &Server,
    replica: &Server,
    client: &mut Client,
    flag: &str,
) {
    cut_replicas(primary);
    wait_until("it gives up", || field(replica, "persistence", flag) == "0");
    client.expect(&["GET", "own"], "$1\r\nv\r\n");
    hurry(primary);
    wait_for_link(replica);
    client.expect(&["GET", "own"], "$-1\r\n");
    assert_same_data(primary, replica);
}

fn hurry(primary: &Server) {
    primary.client().cmd(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
}

fn cut_replicas(primary: &Server) {
    primary.client().cmd(&["CLIENT", "KILL", "TYPE", "replica"]);
}

#[test]
fn a_snapshot_is_loaded_beside_older_data_of_the_same_stream() {
    let primary = slow_primary();
    hurry(&primary);
    let replica = start(&["--repl-diskless-load", "swapdb", "--replica-read-only", "no"]);
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let mut client = replica.client();
    client.expect(&["SET", "own", "v"], "+OK\r\n");
    let (mut watching, mut waiting) = (replica.client(), replica.client());
    for key in ["own", "absent"] {
        watching.expect(&["WATCH", key], "+OK\r\n");
    }
    waiting.send(&["XREAD", "BLOCK", "0", "STREAMS", "stream", "0"]);
    // What the replica lacks when it comes back is more than the backlog has.
    let mut writer = primary.client();
    writer.cmd(&["CONFIG", "SET", "rdb-key-save-delay", "10000"]);
    let big = "x".repeat(40_000);
    let transaction =
        [&["MULTI"][..], &["CLIENT", "KILL", "TYPE", "replica"], &["SET", "k", &big], &["EXEC"]];
    transaction.iter().for_each(|command| writer.send(command));
    transaction.iter().for_each(|_| drop(writer.recv()));
    writer.cmd(&["XADD", "stream", "1-1", "f", "v"]);
    wait_until("it loads", || field(&replica, "persistence", "async_loading") == "1");
    assert_eq!(field(&replica, "persistence", "loading"), "0");
    client.expect(&["GET", "own"], "$1\r\nv\r\n");
    client.expect(&["DBSIZE"], ":2001\r\n");
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    client.expect(&["REPLICAOF", "NO", "ONE"], loading);
    client.expect(&["CONFIG", "SET", "appendonly", "no"], loading);
    client.expect(&["MULTI"], "+OK\r\n");
    client.expect(&["BGSAVE"], loading);
    client.expect(&["DISCARD"], "+OK\r\n");
    keeps_its_data_until_others_are_whole(&primary, &replica, &mut client, "async_loading");
    watching.expect(&["MULTI"], "+OK\r\n");
    watching.expect(&["EXEC"], "*-1\r\n");
    assert!(waiting.recv().to_string().contains("1-1"));
}

#[test]
fn data_of_another_stream_are_not_served_and_not_lost() {
    let (primary, replica) = (slow_primary(), start(&["--repl-diskless-load", "swapdb"]));
    let mut client = replica.client();
    client.expect(&["SET", "own", "v"], "+OK\r\n");
    replicate(&replica, &primary);
    wait_until("it loads", || field(&replica, "persistence", "loading") == "1");
    assert_eq!(field(&replica, "persistence", "async_loading"), "0");
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    client.expect(&["GET", "own"], loading);
    keeps_its_data_until_others_are_whole(&primary, &replica, &mut client, "loading");
}

#[test]
fn an_empty_replica_may_load_what_is_still_being_sent() {
    let (primary, replica) = (slow_primary(), start(&["--repl-diskless-load", "on-empty-db"]));
    replicate(&replica, &primary);
    wait_until("it loads", || field(&replica, "persistence", "loading") == "1");
    let line = field(&primary, "replication", "slave0");
    assert!(line.contains("state=wait_bgsave"), "the snapshot is not made yet: {line}");
    // The snapshot is far from whole, and what there is of it is not kept.
    cut_replicas(&primary);
    wait_until("it gives up", || field(&replica, "persistence", "loading") == "0");
    replica.client().expect(&["DBSIZE"], ":0\r\n");
    hurry(&primary);
    assert_same_data(&primary, &replica);
}

#[test]
fn a_broken_end_mark_changes_nothing() {
    let master = FakeMaster::listen();
    let server = start(&["--repl-diskless-load", "swapdb"]);
    server.client().expect(&["SET", "k", "v"], "+OK\r\n");
    let (host, port) = ("127.0.0.1", master.port().to_string());
    server.client().expect(&["REPLICAOF", host, &port], "+OK\r\n");
    let mut link = master.accept();
    link.handshake_without_rdb(server.port());
    let marks = ["0123456789abcdef0123456789abcdef01234567", "no mark".repeat(6).as_str()].concat();
    let packet = [format!("$EOF:{}\r\n", &marks[..40]).as_bytes(), &empty_rdb()].concat();
    link.client.send_raw(&[&packet, &marks.as_bytes()[40..]].concat());
    let again = master.accept_within(Duration::from_secs(10)).expect("it connects again");
    server.client().expect(&["GET", "k"], "$1\r\nv\r\n");
    drop(again);
}

#[test]
fn a_replica_connects_from_the_address_that_it_is_told() {
    let primary = start(&[]);
    // One that this machine does not have is passed over.
    for (source, seen) in [("127.0.0.9", "127.0.0.9"), ("192.0.2.1", "127.0.0.1")] {
        let replica = start(&["--bind-source-addr", source]);
        replicate(&replica, &primary);
        wait_for_link(&replica);
        let about = field(&primary, "replication", "slave0");
        assert!(about.starts_with(&format!("ip={seen},")), "{about}");
        drop(replica);
        wait_until("it is gone", || field(&primary, "replication", "connected_slaves") == "0");
    }
}

#[test]
fn a_pause_holds_up_what_the_primary_sends() {
    let (primary, replica) = (start(&[]), start(&[]));
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let mut client = replica.client();
    client.expect(&["CLIENT", "PAUSE", "100000", "WRITE"], "+OK\r\n");
    let mut writer = primary.client();
    writer.expect(&["SET", "k", "v"], "+OK\r\n");
    let offset = |server: &Server, name: &str| -> u64 {
        field(server, "replication", name).parse().expect("an offset")
    };
    let end = offset(&primary, "master_repl_offset");
    wait_until("it has come", || offset(&replica, "slave_read_repl_offset") >= end);
    assert!(offset(&replica, "slave_repl_offset") < end);
    writer.expect(&["WAIT", "1", "300"], ":0\r\n");
    client.expect(&["GET", "k"], "$-1\r\n");
    client.expect(&["CLIENT", "UNPAUSE"], "+OK\r\n");
    writer.expect(&["WAIT", "1", "0"], ":1\r\n");
    client.expect(&["GET", "k"], "$1\r\nv\r\n");
    // The link has outlived the pause.
    assert_eq!(field(&primary, "stats", "sync_full"), "1");
    assert_eq!(field(&primary, "stats", "total_forks"), "1");
}

#[test]
fn a_resumed_stream_is_still_in_its_database() {
    let (first, second, third) = (start(&[]), start(&[]), start(&[]));
    replicate(&second, &first);
    wait_for_link(&second);
    let mut client = first.client();
    client.cmd(&["SELECT", "3"]);
    client.cmd(&["INCR", "x"]);
    wait_until("the write", || field(&second, "keyspace", "db3").starts_with("keys=1"));
    // A replica of the replica gets a stream that has selected long ago.
    replicate(&third, &second);
    wait_for_link(&third);
    second.client().cmd(&["CLIENT", "KILL", "TYPE", "master"]);
    wait_until("it is resumed", || field(&first, "stats", "sync_partial_ok") == "1");
    wait_for_link(&second);
    client.cmd(&["INCR", "x"]);
    for replica in [&second, &third] {
        let mut client = replica.client();
        client.cmd(&["SELECT", "3"]);
        wait_until("the second write", || client.cmd(&["GET", "x"]).text() == "2");
        assert_eq!(field(replica, "keyspace", "db0"), "");
    }
}

#[test]
fn replicas_resume_after_their_primary_has_restarted() {
    let mut primary = start(&["--dbfilename", "kept.rdb"]);
    let replica = start(&[]);
    replicate(&replica, &primary);
    wait_for_link(&replica);
    fill(&primary, "k", 100);
    primary.client().cmd(&["SET", "gone", "soon", "PX", "300"]);
    assert_same_data(&primary, &replica);
    primary.client().send(&["SHUTDOWN", "SAVE"]);
    assert!(primary.wait_exit(Duration::from_secs(10)).is_some());
    thread::sleep(Duration::from_millis(350));
    primary.relaunch();
    assert_same_data(&primary, &replica);
    assert_eq!(field(&primary, "stats", "sync_full"), "0");
    assert_eq!(field(&primary, "stats", "sync_partial_ok"), "1");
}

#[test]
fn a_writable_replica_removes_its_own_expired_keys() {
    let (primary, replica) = (start(&[]), start(&["--replica-read-only", "no"]));
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let mut client = replica.client();
    client.expect(&["SET", "own", "v", "PX", "30"], "+OK\r\n");
    wait_until("it is gone", || client.cmd(&["DBSIZE"]).int() == 0);
}

#[test]
fn several_replicas_share_a_snapshot_and_a_stream() {
    let primary = start(&[]);
    fill(&primary, "k", 20_000);
    let replicas: Vec<Server> = (0..4).map(|_| start(&[])).collect();
    replicas.iter().for_each(|replica| replicate(replica, &primary));
    let writer = Writer::start(&primary, 3);
    replicas.iter().for_each(wait_for_link);
    writer.stop();
    replicas.iter().for_each(|replica| assert_same_data(&primary, replica));
    assert_eq!(primary.client().cmd(&["WAIT", "4", "5000"]).int(), 4);
}

#[test]
fn promotion_lets_the_others_resume() {
    let (a, b, c) = (start(&[]), start(&[]), start(&[]));
    replicate(&b, &a);
    wait_for_link(&b);
    replicate(&c, &b);
    wait_for_link(&c);
    fill(&a, "k", 1000);
    assert_same_data(&a, &b);
    assert_same_data(&a, &c);
    let old_id = field(&a, "replication", "master_replid");

    assert_eq!(b.client().cmd(&["REPLICAOF", "NO", "ONE"]).text(), "OK");
    let replication = info(&mut b.client(), "replication");
    assert_eq!((&*replication["role"], &*replication["master_replid2"]), ("master", &*old_id));
    assert_ne!(replication["master_replid"], old_id);
    fill(&b, "after", 100);
    assert_same_data(&b, &c);

    replicate(&a, &b);
    assert_same_data(&b, &a);
    assert_eq!(field(&b, "stats", "sync_full"), "1", "only c's first synchronization");
    // c was cut by the promotion, to learn the new id.
    assert_eq!(field(&b, "stats", "sync_partial_ok"), "2");
}

#[test]
fn a_replica_that_does_not_read_stalls_nobody() {
    let limits = ["--client-output-buffer-limit", "replica 4mb 0 0", "--repl-backlog-size", "1mb"];
    let primary = start(&limits);
    let replica = FakeReplica::attach(primary.addr());
    let mut client = primary.client();
    let value = "x".repeat(100_000);
    let mut longest = Duration::ZERO;
    for i in 0..400 {
        let began = Instant::now();
        assert_eq!(client.cmd(&["SET", &format!("k{}", i % 10), &value]).text(), "OK");
        longest = longest.max(began.elapsed());
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    wait_until("the replica is let go", || {
        field(&primary, "replication", "connected_slaves") == "0"
    });
    drop(replica);
}

#[test]
fn to_remove_everything_does_not_wait_for_a_snapshot_of_it() {
    // The whole snapshot would take minutes.
    let primary = start(&["--save", "900 1", "--rdb-key-save-delay", "100000"]);
    let mut client = primary.client();
    client.expect(&["DEBUG", "POPULATE", "2000"], "+OK\r\n");
    let mut replica = primary.client();
    FakeReplica::greet(&mut replica);
    FakeReplica::psync(&mut replica);
    client.expect(&["FLUSHALL"], "+OK\r\n");
    let count = |client: &mut Client| info(client, "replication")["connected_slaves"].clone();
    wait_until("the replica is to ask again", || count(&mut client) == "0");
    let again = FakeReplica::attach(primary.addr());
    assert_eq!(count(&mut client), "1");
    drop(again);
}

#[test]
fn a_replica_that_does_not_take_its_snapshot_is_let_go() {
    let primary = start(&["--rdbcompression", "no"]);
    let mut client = primary.client();
    // More than all buffers between here and there take.
    client.expect(&["DEBUG", "POPULATE", "100", "key", "500000"], "+OK\r\n");
    let mut replica = primary.client();
    FakeReplica::greet(&mut replica);
    FakeReplica::psync(&mut replica);
    wait_until("it is sent", || {
        info(&mut client, "replication")["slave0"].contains("state=send_bulk")
    });
    client.expect(&["CONFIG", "SET", "repl-timeout", "1"], "+OK\r\n");
    wait_until("it is let go", || primary.log().contains("timedout replica (full sync): "));
    wait_until("it is gone", || info(&mut client, "replication")["connected_slaves"] == "0");
}

#[test]
fn a_large_command_takes_no_room_in_the_link_for_long() {
    const SIZE: usize = 32 << 20;
    let (primary, replica) = (start(&[]), start(&[]));
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let used = || field(&replica, "memory", "used_memory").parse::<usize>().expect("a number");
    let before = used();
    let mut client = primary.client();
    client.cmd(&["SET", "key", &"v".repeat(SIZE)]);
    assert_eq!(client.cmd(&["WAIT", "1", "10000"]).int(), 1);
    wait_until("only the value is there", || used() < before + SIZE + (8 << 20));
}

#[test]
fn nothing_is_kept_for_a_replica_that_was_killed() {
    let primary = start(&["--repl-backlog-size", "100kb"]);
    let replica = FakeReplica::attach(primary.addr());
    let (mut client, value) = (primary.client(), "x".repeat(100_000));
    let kept = || field(&primary, "memory", "mem_clients_slaves").parse::<u64>().expect("a number");
    while kept() < 1_000_000 {
        client.cmd(&["SET", "k", &value]);
    }
    assert_eq!(client.cmd(&["CLIENT", "KILL", "TYPE", "replica"]).int(), 1);
    assert_eq!(kept(), 0);
    drop(replica);
}

#[test]
fn a_replica_that_waits_for_a_snapshot_has_its_limit_too() {
    let primary = start(&["--client-output-buffer-limit", "replica 100kb 0 0"]);
    let mut client = primary.client();
    client.expect(&["CONFIG", "SET", "repl-backlog-size", "16kb"], "+OK\r\n");
    client.expect(&["SET", "k", "v"], "+OK\r\n");
    client.expect(&["CONFIG", "SET", "rdb-key-save-delay", "100000000"], "+OK\r\n");
    let kept = |client: &mut Client| -> u64 {
        info(client, "memory")["mem_total_replication_buffers"].parse().expect("a number")
    };
    let waits = |client: &mut Client| {
        wait_until("a replica waits", || info(client, "replication")["connected_slaves"] == "1");
        wait_until("the snapshot is begun", || primary.log().matches("for SYNC").count() > 0);
    };
    let value = "x".repeat(1000);
    // One that leaves takes with it what was kept for it.
    let mut replica = primary.client();
    FakeReplica::greet(&mut replica);
    FakeReplica::psync(&mut replica);
    waits(&mut client);
    (0..80).for_each(|_| client.expect(&["SET", "k", &value], "+OK\r\n"));
    assert!(kept(&mut client) > 80_000);
    replica.close();
    wait_until("it is gone", || info(&mut client, "replication")["connected_slaves"] == "0");
    assert!(kept(&mut client) < 20_000, "{}", kept(&mut client));
    // One that stays is cut.
    let mut replica = primary.client();
    FakeReplica::greet(&mut replica);
    FakeReplica::psync(&mut replica);
    waits(&mut client);
    (0..120).for_each(|_| client.expect(&["SET", "k", &value], "+OK\r\n"));
    wait_until("it is cut", || info(&mut client, "replication")["connected_slaves"] == "0");
    assert!(kept(&mut client) < 20_000, "{}", kept(&mut client));
}

#[test]
fn a_snapshot_can_be_without_keys() {
    let primary = start(&[]);
    primary.client().expect(&["SET", "k", "v"], "+OK\r\n");
    let mut client = primary.client();
    client.expect(
        &["REPLCONF", "rdb-filter-only", "functions keys"],
        "-ERR Unsupported rdb-filter-only option: keys\r\n",
    );
    client
        .expect(&["REPLCONF", "rdb-filter-only", "\""], "-ERR Missing rdb-filter-only values\r\n");
    client.expect(&["REPLCONF", "rdb-only", "1", "rdb-filter-only", "functions"], "+OK\r\n");
    client.send(&["SYNC"]);
    assert_eq!(read_rdb(&FakeReplica::receive_rdb(&mut client)), Ok(Vec::new()));
    client.expect_closed();
    let mut client = primary.client();
    client.expect(&["REPLCONF", "rdb-only", "1"], "+OK\r\n");
    client.send(&["SYNC"]);
    assert_eq!(read_rdb(&FakeReplica::receive_rdb(&mut client)).map(|keys| keys.len()), Ok(1));
}

#[test]
fn a_replica_that_asks_for_a_reply_is_cut() {
    let primary = start(&[]);
    let mut replica = primary.client();
    FakeReplica::greet(&mut replica);
    FakeReplica::psync(&mut replica);
    FakeReplica::receive_rdb(&mut replica);
    // What has no reply does no harm.
    replica.send(&["REPLCONF", "ACK", "0"]);
    replica.expect_silence(50);
    replica.send(&["GET", "k"]);
    replica.expect_closed();
    let log = primary.log();
    assert!(log.contains("This master is sending an error to its replica"), "{log}");
    assert!(log.contains("Replica generated a reply to command 'get', disconnecting it: id="));
    let mut client = primary.client();
    client.expect(&["PSYNC", "?", "here"], "-ERR value is not an integer or out of range\r\n");
    assert!(primary.log().contains("asks for synchronization but with a wrong offset"));
}

#[test]
fn a_sleeping_server_does_nothing_else() {
    let (primary, replica) = (start(&[]), start(&[]));
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let (mut sleeper, mut other) = (replica.client(), replica.client());
    // The link is cut and cannot come back before the end of the sleep.
    let link = format!("127.0.0.1:{}", primary.port());
    sleeper.expect(&["MULTI"], "+OK\r\n");
    sleeper.expect(&["CLIENT", "KILL", &link], "+QUEUED\r\n");
    sleeper.expect(&["DEBUG", "SLEEP", "4"], "+QUEUED\r\n");
    let began = Instant::now();
    sleeper.send(&["EXEC"]);
    wait_until("the link is cut", || field(&primary, "replication", "connected_slaves") == "0");
    // Not even a command without keys is executed.
    other.send(&["PING"]);
    other.expect_silence(300);
    assert_eq!(field(&primary, "replication", "connected_slaves"), "0");
    assert_eq!(other.recv().text(), "PONG");
    assert!(began.elapsed() >= Duration::from_millis(3900), "{:?}", began.elapsed());
    assert_eq!(sleeper.recv().items().len(), 2);
    wait_for_link(&replica);
    assert_eq!(field(&primary, "stats", "sync_partial_ok"), "1");
}

#[test]
fn a_sleeping_server_keeps_no_replica_waiting() {
    let flags = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "1000"];
    let (primary, replica) = (start(&flags), start(&[]));
    replicate(&replica, &primary);
    wait_until("it waits for others", || primary.log().contains("Delay next BGSAVE"));
    replica.client().expect(&["CONFIG", "SET", "repl-timeout", "2"], "+OK\r\n");
    // Signs of life would keep the replica for ever.
    assert_eq!(primary.client().cmd(&["DEBUG", "SLEEP", "4"]).text(), "OK");
    wait_until("it gives up", || replica.log().contains("Timeout connecting to the MASTER..."));
}

#[test]
fn a_signal_ends_a_sleeping_server() {
    let mut server = start(&[]);
    let mut client = server.client();
    client.send(&["DEBUG", "SLEEP", "100"]);
    let mut other = server.client();
    wait_until("it sleeps", || {
        other.send(&["PING"]);
        other.recv_timeout(Duration::from_millis(100)).is_err()
    });
    server.sigterm();
    let status = server.wait_exit(Duration::from_secs(2)).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_error_in_the_primarys_stream_is_told() {
    let (primary, replica) = (start(&[]), start(&[]));
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let mut client = primary.client();
    client.expect(&["DEBUG", "REPLICATE", "nosuchcommand"], "+OK\r\n");
    wait_until("it is logged", || replica.log().contains("== CRITICAL == This replica is sending"));
    assert!(replica.log().contains("unknown command 'nosuchcommand'"), "{}", replica.log());
    assert_eq!(field(&replica, "stats", "unexpected_error_replies"), "1");
    // A command that fails, in a transaction as well.
    replica.client().cmd(&["CONFIG", "SET", "replica-read-only", "no"]);
    replica.client().cmd(&["SET", "n", "text"]);
    client.cmd(&["MULTI"]);
    client.cmd(&["INCR", "n"]);
    client.cmd(&["INCR", "m"]);
    client.cmd(&["EXEC"]);
    wait_until("both are counted", || field(&replica, "stats", "unexpected_error_replies") == "2");
    let log = replica.log();
    assert!(log.contains("out of range' after processing the command 'incr'"), "{log}");
    // Who prefers to have no server rather than one with other data can have it so.
    let strict = ["--propagation-error-behavior", "panic-on-replicas"];
    let mut strict = start(&strict);
    replicate(&strict, &primary);
    wait_for_link(&strict);
    client.expect(&["DEBUG", "REPLICATE", "nosuchcommand"], "+OK\r\n");
    assert!(strict.wait_exit(Duration::from_secs(20)).is_some_and(|status| !status.success()));
    assert!(strict.log().contains("This replica panicked"), "{}", strict.log());
}

#[test]
fn wait_counts_those_that_confirmed_this_write() {
    let primary = start(&[]);
    let mut confirming = FakeReplica::attach(primary.addr());
    let _silent = FakeReplica::attach(primary.addr());
    let mut client = primary.client();
    assert_eq!(client.cmd(&["WAIT", "2", "100"]).int(), 2, "nothing written yet");
    client.cmd(&["SET", "k", "v"]);
    let began = Instant::now();
    let waiting = thread::spawn(move || {
        let reply = client.cmd(&["WAIT", "2", "400"]).int();
        (client, reply)
    });
    loop {
        let command = confirming.next();
        if command.to_uppercase().contains("GETACK") {
            break;
        }
    }
    confirming.ack_all();
    let (mut client, reply) = waiting.join().unwrap();
    assert_eq!(reply, 1);
    assert!(began.elapsed() >= Duration::from_millis(400));
    // It would wait for ever.
    assert_eq!(client.cmd(&["WAIT", "1", "0"]).int(), 1);
}

#[test]
fn a_client_that_hangs_up_in_wait_is_gone_at_once() {
    let primary = start(&[]);
    let _replica = FakeReplica::attach(primary.addr());
    let mut client = primary.client();
    client.cmd(&["SET", "k", "v"]);
    client.send(&["WAIT", "5", "0"]);
    wait_until("it is blocked", || field(&primary, "clients", "blocked_clients") == "1");
    drop(client);
    wait_until("it is not", || field(&primary, "clients", "blocked_clients") == "0");
}

#[test]
fn a_snapshot_with_an_end_mark_and_the_stream_in_one_packet() {
    let master = FakeMaster::listen();
    let server = start(&["--replicaof", &master.replicaof()]);
    let mut link = master.accept();
    link.handshake_without_rdb(server.port());
    let mark = "0123456789abcdef0123456789abcdef01234567";
    let mut packet = format!("$EOF:{mark}\r\n").into_bytes();
    packet.extend(empty_rdb());
    packet.extend(mark.as_bytes());
    packet.extend(encode(&["SET", "behind", "the mark"]));
    link.client.send_raw(&packet);
    // Such a primary goes on only after a first confirmation, which therefore comes at once.
    let ack = link.next();
    assert_eq!(ack[1], b"ACK");
    wait_until("the write", || server.client().cmd(&["GET", "behind"]).text() == "the mark");
}

#[test]
fn a_transaction_from_the_primary_is_one_step() {
    let master = FakeMaster::listen();
    let server = start(&["--replicaof", &master.replicaof()]);
    let mut link = master.accept();
    link.handshake(server.port());
    let mut half = encode(&["MULTI"]);
    half.extend(encode(&["SET", "a", "1"]));
    link.client.send_raw(&half);
    thread::sleep(Duration::from_millis(50));
    let mut client = server.client();
    client.expect(&["GET", "a"], "$-1\r\n");
    link.client.send_raw(&[encode(&["SET", "b", "2"]), encode(&["EXEC"])].concat());
    wait_until("both", || client.cmd(&["GET", "b"]).text() == "2");
    client.expect(&["GET", "a"], "$1\r\n1\r\n");
}

#[test]
fn a_replica_hides_expired_keys_and_leaves_their_removal_to_the_primary() {
    let master = FakeMaster::listen();
    let server = start(&["--replicaof", &master.replicaof()]);
    let mut link = master.accept();
    link.handshake(server.port());
    link.client.send(&["SET", "k", "v", "PX", "50"]);
    let mut client = server.client();
    wait_until("it expires", || client.cmd(&["GET", "k"]).text() != "v");
    thread::sleep(Duration::from_millis(200));
    client.expect(&["GET", "k"], "$-1\r\n");
    client.expect(&["DBSIZE"], ":1\r\n");
    link.client.send(&["DEL", "k"]);
    wait_until("the primary's DEL", || client.cmd(&["DBSIZE"]).int() == 0);
}

#[test]
fn to_follow_the_same_primary_again_changes_nothing() {
    let replica = start(&["--replicaof", "127.0.0.1 1"]);
    let mut client = replica.client();
    let reply = "+OK Already connected to specified master\r\n";
    client.expect(&["REPLICAOF", "127.0.0.1", "1"], reply);
    client.expect(&["REPLICAOF", "127.0.0.1", "2"], "+OK\r\n");
}

#[test]
fn read_only_and_writable_replicas() {
    let (primary, replica) = (start(&[]), start(&[]));
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let mut client = replica.client();
    let refusal = "-READONLY You can't write against a read only replica.\r\n";
    client.expect(&["SET", "k", "v"], refusal);
    client.cmd(&["CONFIG", "SET", "replica-read-only", "no"]);
    let offset = field(&replica, "replication", "master_repl_offset");
    client.expect(&["SET", "k", "v"], "+OK\r\n");
    assert_eq!(field(&replica, "replication", "master_repl_offset"), offset, "not in the stream");
    client.expect(
        &["WAIT", "0", "1"],
        "-ERR WAIT cannot be used with replica instances. Please \
    also \
        note that since Redis 4.0 if a replica is configured to be writable (which is not the \
        default) \
        writes to replicas are just local and are not propagated.\r\n",
    );
}

#[test]
fn a_stale_replica_refuses_or_serves() {
    let primary = start(&[]);
    let replica = start(&["--replica-serve-stale-data", "no"]);
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let mut client = replica.client();
    client.expect(&["GET", "k"], "$-1\r\n");
    drop(primary);
    wait_until("the link is down", || client.cmd(&["GET", "k"]).text().starts_with("MASTERDOWN"));
    assert!(client.cmd(&["INFO", "replication"]).text().contains("master_link_status:down"));
    client.cmd(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]);
    client.expect(&["GET", "k"], "$-1\r\n");
}

#[test]
fn writes_need_the_configured_number_of_replicas() {
    let (primary, replica) = (start(&["--min-replicas-to-write", "1"]), start(&[]));
    let mut client = primary.client();
    client.expect(&["SET", "k", "v"], "-NOREPLICAS Not enough good replicas to write.\r\n");
    client.expect(&["GET", "k"], "$-1\r\n");
    replicate(&replica, &primary);
    wait_until("a good replica", || client.cmd(&["SET", "k", "v"]).text() == "OK");
}

#[test]
fn passwords_on_the_link() {
    let primary = start(&["--requirepass", "secret"]);
    let replica = start(&["--masterauth", "wrong"]);
    let port = primary.port().to_string();
    replica.client().cmd(&["REPLICAOF", "127.0.0.1", &port]);
    wait_until("the refusal is logged", || replica.log().contains("WRONGPASS"));
    assert_eq!(field(&replica, "replication", "master_link_status"), "down");
    replica.client().cmd(&["CONFIG", "SET", "masterauth", "secret"]);
    wait_for_link(&replica);
}

#[test]
fn failover_changes_the_roles_without_losing_a_write() {
    let (primary, replica) = (start(&[]), start(&[]));
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let mut client = primary.client();
    client.cmd(&["SET", "k", "v"]);
    client.expect(&["FAILOVER"], "+OK\r\n");
    wait_until("the roles have changed", || {
        field(&replica, "replication", "role") == "master"
            && field(&primary, "replication", "role") == "slave"
    });
    replica.client().expect(&["SET", "k2", "v2"], "+OK\r\n");
    assert_same_data(&replica, &primary);
    assert_eq!(field(&replica, "stats", "sync_full"), "0");
}

#[test]
fn writes_that_wait_for_a_failover_learn_its_outcome() {
    let (primary, replica) = (start(&[]), start(&[]));
    replicate(&replica, &primary);
    wait_for_link(&replica);
    let (mut client, mut writer) = (primary.client(), primary.client());
    // The replica can neither catch up nor, later, take the role.
    replica.client().expect(&["ACL", "SETUSER", "default", "-psync"], "+OK\r\n");
    replica.signal("STOP");
    client.expect(&["SET", "k", "v"], "+OK\r\n");
    client.expect(&["FAILOVER"], "+OK\r\n");
    writer.send(&["SET", "k", "w"]);
    writer.expect_silence(100);
    replica.signal("CONT");
    assert_eq!(writer.recv().text(), "OK");
    assert_eq!(field(&primary, "replication", "master_failover_state"), "no-failover");
    assert!(primary.log().contains("Failover target rejected psync request"));
    // And where it does take it, they are refused.
    replica.client().expect(&["ACL", "SETUSER", "default", "+psync"], "+OK\r\n");
    wait_for_link(&replica);
    replica.signal("STOP");
    client.expect(&["SET", "k", "v"], "+OK\r\n");
    client.expect(&["FAILOVER"], "+OK\r\n");
    writer.send(&["SET", "k", "x"]);
    writer.expect_silence(100);
    replica.signal("CONT");
    assert!(writer.recv().to_string().contains("READONLY"));
    assert_same_data(&replica, &primary);
}

#[test]
fn garbage_from_the_primary_ends_the_link_and_not_the_server() {
    let master = FakeMaster::listen();
    let server = start(&["--replicaof", &master.replicaof()]);
    let mut link = master.accept();
    link.handshake(server.port());
    link.client.send_raw(b"*1\r\n$-5\r\n\0\xff garbage\r\n");
    let mut again = master.accept_within(Duration::from_secs(10)).expect("it connects again");
    again.ping(0);
    server.client().expect(&["PING"], "+PONG\r\n");
}

#[test]
fn a_torn_snapshot_is_asked_for_again() {
    let master = FakeMaster::listen();
    let server = start(&["--replicaof", &master.replicaof()]);
    let mut link = master.accept();
    link.handshake_without_rdb(server.port());
    let rdb = empty_rdb();
    let mut half = format!("${}\r\n", rdb.len()).into_bytes();
    half.extend(&rdb[..rdb.len() / 2]);
    link.client.send_raw(&half);
    drop(link);
    let mut again = master.accept_within(Duration::from_secs(10)).expect("it connects again");
    again.handshake(server.port());
    again.client.send(&["SET", "k", "v"]);
    wait_until("the write", || server.client().cmd(&["GET", "k"]).text() == "v");
}

#[test]
fn a_snapshot_waits_for_more_replicas_if_it_is_told_to() {
    let server = start(&["--repl-diskless-sync-delay", "1000"]);
    let mut client = server.client();
    client.expect(&["SET", "k", "v"], "+OK\r\n");
    let ask = || {
        let mut replica = server.client();
        FakeReplica::greet(&mut replica);
        replica.expect(&["REPLCONF", "capa", "eof"], "+OK\r\n");
        replica.send(&["PSYNC", "?", "-1"]);
        replica
    };
    // It sends nothing but signs of life to the first.
    let mut first = ask();
    assert_eq!(first.read_exactly(1), b"\n");
    let state = client.cmd(&["INFO", "replication"]).text();
    assert!(state.contains("state=wait_bgsave"), "{state}");
    // What is written meanwhile is in the snapshot.
    client.expect(&["SET", "k", "w"], "+OK\r\n");
    client.expect(&["CONFIG", "SET", "repl-diskless-sync-max-replicas", "2"], "+OK\r\n");
    let mut second = ask();
    let line = |replica: &mut Client| {
        String::from_utf8_lossy(&replica.read_line()).trim_start().to_owned()
    };
    let told = [line(&mut first), line(&mut second)];
    assert!(told[0].starts_with("+FULLRESYNC ") && told[0] == told[1], "{told:?}");
    // One that needs to know the length is not kept waiting.
    let third = FakeReplica::attach(server.addr());
    assert_eq!(read_rdb(&third.rdb).unwrap()[0].value, b"w");
}
