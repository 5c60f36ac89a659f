//! Saving, loading and ending, over TCP and with a look at the files.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::client::{Client, RecvError, Value};
use support::fake::{FakeReplica, RdbKey, RdbWriter, read_rdb};
use support::server::{RealRedis, Server};
use support::tmp::TempDir;

/// Within this time after a signal the process must have ended.
const SIGNAL_LIMIT: Duration = Duration::from_secs(1);
/// For what has no limit of its own but must not take for ever.
const LONG: Duration = Duration::from_secs(20);

const PLAIN: [&str; 4] = ["--save", "", "--enable-debug-command", "yes"];

/// A server with its files in `dir`.
fn start_in(dir: &TempDir, flags: &[&str]) -> Server {
    let mut all = PLAIN.to_vec();
    all.extend(["--dir", dir.text()]);
    all.extend_from_slice(flags);
    Server::start(&all)
}

fn ok(client: &mut Client, args: &[&str]) {
    let reply = client.cmd(args);
    assert_eq!(reply, Value::simple("OK"), "{args:?}");
}

fn info(client: &mut Client, field: &str) -> String {
    let text = client.cmd(&["INFO", "everything"]).text();
    let prefix = format!("{field}:");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("INFO has no {field}")).trim().to_owned()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never came");
        thread::sleep(Duration::from_millis(5));
    }
}

/// BGSAVE, and its end.
fn background_save(client: &mut Client) {
    assert_eq!(client.cmd(&["BGSAVE"]), Value::simple("Background saving started"));
    wait_until("the end of a background save", || info(client, "rdb_bgsave_in_progress") == "0");
}

fn dump_in(dir: &TempDir) -> PathBuf {
    dir.path().join("dump.rdb")
}

fn keys_in(path: &Path) -> Vec<RdbKey> {
    read_rdb(&fs::read(path).expect("an RDB file")).expect("a whole RDB file")
}

fn value_in(keys: &[RdbKey], name: &str) -> i64 {
    let key = keys.iter().find(|key| key.key == name.as_bytes());
    let value = &key.unwrap_or_else(|| panic!("no {name} in the file")).value;
    String::from_utf8_lossy(value).parse().expect("a number")
}

/// Ends a server by SHUTDOWN and waits for its end.
#[track_caller]
fn shut_down(server: &mut Server, args: &[&str]) {
    let mut client = server.client();
    let mut all = vec!["SHUTDOWN"];
    all.extend_from_slice(args);
    client.send(&all);
    client.expect_closed();
    let status = server.wait_exit(LONG).expect("an end");
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(server.log().contains("Redis is now ready to exit, bye bye..."), "{}", server.log());
}

/// Keys of all forms in all databases.
fn fill(client: &mut Client) {
    for db in 0..16 {
        ok(client, &["SELECT", &db.to_string()]);
        for i in 0..40 {
            let value = match i % 5 {
                0 => String::new(),
                1 => (i as i64 * i as i64 * db - 300).to_string(),
                2 => i64::MIN.to_string(),
                3 => "abc".repeat(i),
                _ => format!("{db}\u{0}\r\n{i}"),
            };
            let key = format!("key{i}");
            match i % 3 {
                0 => ok(client, &["SET", &key, &value, "PX", &(500_000 + i).to_string()]),
                _ => ok(client, &["SET", &key, &value]),
            }
        }
    }
    ok(client, &["SELECT", "0"]);
}

/// The digest of everything, and every deadline.
fn everything(client: &mut Client) -> (String, Vec<i64>) {
    let digest = client.cmd(&["DEBUG", "DIGEST"]).text();
    let mut deadlines = Vec::new();
    for db in 0..16 {
        ok(client, &["SELECT", &db.to_string()]);
        for i in 0..40 {
            deadlines.push(client.cmd(&["PEXPIRETIME", &format!("key{i}")]).int());
        }
    }
    ok(client, &["SELECT", "0"]);
    (digest, deadlines)
}

#[test]
fn what_is_saved_comes_back() {
    for background in [false, true] {
        let dir = TempDir::new("ferrodis-rdb");
        let mut server = start_in(&dir, &[]);
        let mut client = server.client();
        fill(&mut client);
        let before = everything(&mut client);
        match background {
            false => ok(&mut client, &["SAVE"]),
            true => background_save(&mut client),
        }
        assert_eq!(dir.names(), ["dump.rdb"], "nothing else is left behind");
        assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "0");
        shut_down(&mut server, &[]);
        server.relaunch();
        let mut client = server.client();
        assert_eq!(everything(&mut client), before);
        ok(&mut client, &["DEBUG", "RELOAD"]);
        assert_eq!(everything(&mut client), before);
    }
}

#[test]
fn what_has_expired_meanwhile_does_not_come_back() {
    let dir = TempDir::new("ferrodis-rdb");
    let mut server = start_in(&dir, &[]);
    let mut client = server.client();
    ok(&mut client, &["SET", "short", "v", "PX", "150"]);
    ok(&mut client, &["SET", "long", "v", "PX", "150000"]);
    ok(&mut client, &["SAVE"]);
    server.kill();
    thread::sleep(Duration::from_millis(200));
    server.relaunch();
    let mut client = server.client();
    client.expect(&["DBSIZE"], ":1\r\n");
    client.expect(&["GET", "long"], "$1\r\nv\r\n");
}

#[test]
fn save_points_save() {
    let dir = TempDir::new("ferrodis-rdb");
    let server = start_in(&dir, &["--save", "1 5"]);
    let mut client = server.client();
    for i in 0..4 {
        ok(&mut client, &["SET", &format!("k{i}"), "v"]);
    }
    thread::sleep(Duration::from_millis(2500));
    assert!(dir.names().is_empty(), "four changes are not enough");
    ok(&mut client, &["SET", "k4", "v"]);
    wait_until("the save", || dump_in(&dir).exists());
    assert_eq!(keys_in(&dump_in(&dir)).len(), 5);
    wait_until("the count of changes", || info(&mut client, "rdb_changes_since_last_save") == "0");
    let log = server.log();
    assert!(log.contains("5 changes in 1 seconds. Saving..."), "{log}");
}

#[test]
fn flushall_ends_a_save_that_has_only_just_been_asked_for() {
    let dir = TempDir::new("ferrodis-rdb");
    // Without a delay of a tenth of a second the save of one key is over before the thread that
    // executes FLUSHALL has its turn again, on a machine with other work.
    let server = start_in(&dir, &["--rdb-key-save-delay", "100000"]);
    let mut client = server.client();
    for _ in 0..20 {
        ok(&mut client, &["SET", "k", "v"]);
        // In one packet: there is hardly time for the save to begin in between.
        client.send_raw(b"BGSAVE\r\nFLUSHALL\r\n");
        assert_eq!(client.recv(), Value::simple("Background saving started"));
        assert_eq!(client.recv(), Value::simple("OK"));
        wait_until("the end of the save", || info(&mut client, "rdb_bgsave_in_progress") == "0");
    }
    let unsaved: u64 = info(&mut client, "rdb_changes_since_last_save").parse().expect("a number");
    let saves = server.log().matches("DB saved on disk").count();
    assert_eq!((saves, unsaved), (0, 40), "nothing that FLUSHALL has removed is taken for saved");
}

#[test]
fn a_bgsave_in_a_transaction_comes_after_it() {
    let dir = TempDir::new("ferrodis-rdb");
    let server = start_in(&dir, &[]);
    let mut client = server.client();
    ok(&mut client, &["MULTI"]);
    client.cmd(&["SET", "a", "1"]);
    client.cmd(&["BGSAVE"]);
    client.cmd(&["SET", "b", "2"]);
    let reply = client.cmd(&["EXEC"]);
    assert_eq!(reply.items()[1], Value::simple("Background saving scheduled"));
    wait_until("the save", || dump_in(&dir).exists());
    assert_eq!(keys_in(&dump_in(&dir)).len(), 2);
}

/// Starts a server on a file that it must refuse.
#[track_caller]
fn refuses(dir: &TempDir, bytes: &[u8], says: &str) {
    fs::write(dump_in(dir), bytes).expect("a file can be written");
    let mut flags = PLAIN.to_vec();
    flags.extend(["--dir", dir.text()]);
    let (status, log) = loop {
        let mut server = Server::start_unready(&flags);
        let status = server.wait_exit(LONG).expect("an end");
        // Somebody else may take the port between its choice and its use.
        if !server.log().contains("in use") {
            break (status, server.log());
        }
    };
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("dump.rdb") && log.contains(says), "{says} expected:\n{log}");
    assert_eq!(fs::read(dump_in(dir)).expect("the file"), bytes, "the file is as it was");
    assert_eq!(dir.names(), ["dump.rdb"]);
}

#[test]
fn damaged_files_are_refused_and_left_alone() {
    let dir = TempDir::new("ferrodis-rdb");
    let soon = 9_000_000_000_000;
    let whole = RdbWriter::new()
        .aux("redis-ver", "7.2.0")
        .database(2, 1)
        .key("one", "value", None)
        .key("two", "another value", Some(soon))
        .finish();
    for cut in (0..whole.len()).step_by(5).chain([whole.len() - 1]) {
        refuses(&dir, &whole[..cut], "reading offset ");
    }
    for at in (0..whole.len()).step_by(9) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        // A version that is only another known one is found out by the checksum.
        refuses(&dir, &flipped, "reading offset ");
    }
    let twice = RdbWriter::new().database(2, 0).key("k", "a", None).key("k", "b", None).finish();
    refuses(&dir, &twice, "duplicated key \"k\" in DB 0");
    fs::write(dump_in(&dir), &whole).expect("a file can be written");
    start_in(&dir, &[]).client().expect(&["GET", "two"], "$13\r\nanother value\r\n");
}

/// A small generator of numbers, so that a failure can be repeated.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn a_kill_leaves_the_old_file_or_the_new_one() {
    const KEYS: usize = 3000;
    let dir = TempDir::new("ferrodis-rdb");
    let mut random = 0x9e37_79b9_7f4a_7c15;
    let mut generation = 0;
    let mut server = start_in(&dir, &["--rdbcompression", "no"]);
    server.client().cmd(&["DEBUG", "POPULATE", &KEYS.to_string()]);
    let mut saved = 0;
    for round in 0..20 {
        let mut client = server.client();
        let patience = Duration::from_micros(next_random(&mut random) % 40_000);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            generation += 1;
            ok(&mut client, &["SET", "generation", &generation.to_string()]);
            if round % 2 == 0 {
                client.send(&["SAVE"]);
                let left = deadline.saturating_duration_since(Instant::now());
                match client.recv_timeout(left.max(Duration::from_micros(1))) {
                    Ok(reply) => {
                        assert_eq!(reply, Value::simple("OK"));
                        saved = generation;
                    }
                    Err(_) => break,
                }
            } else {
                client.cmd(&["BGSAVE"]);
            }
        }
        server.kill();
        if dump_in(&dir).exists() {
            let keys = keys_in(&dump_in(&dir));
            assert_eq!(keys.len(), KEYS + 1, "round {round}");
            let found = value_in(&keys, "generation");
            assert!((saved..=generation).contains(&found), "{found} of {saved} to {generation}");
            server.relaunch();
        } else {
            assert_eq!(saved, 0);
            server.relaunch();
            server.client().cmd(&["DEBUG", "POPULATE", &KEYS.to_string()]);
        }
    }
    assert!(saved > 0 && dump_in(&dir).exists(), "no save ever ended");
}

#[test]
fn a_background_save_shows_one_moment() {
    const PAIRS: u64 = 500;
    let dir = TempDir::new("ferrodis-rdb");
    let server = start_in(&dir, &["--rdbcompression", "no"]);
    let mut client = server.client();
    for i in 0..PAIRS {
        ok(&mut client, &["MSET", &format!("a{i}"), "0", &format!("b{i}"), "0"]);
    }
    ok(&mut client, &["CONFIG", "SET", "rdb-key-save-delay", "100"]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 1..4 {
            let (mut client, over) = (server.client(), &over);
            scope.spawn(move || {
                let (mut random, mut count) = (seed, 0u64);
                while !over.load(Ordering::Relaxed) {
                    let i = next_random(&mut random) % PAIRS;
                    count += 1;
                    let value = count.to_string();
                    ok(&mut client, &["MSET", &format!("a{i}"), &value, &format!("b{i}"), &value]);
                }
            });
        }
        for _ in 0..4 {
            background_save(&mut client);
            let keys = keys_in(&dump_in(&dir));
            assert_eq!(keys.len() as u64, 2 * PAIRS);
            for i in 0..PAIRS {
                let pair = [value_in(&keys, &format!("a{i}")), value_in(&keys, &format!("b{i}"))];
                assert_eq!(pair[0], pair[1], "pair {i}");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_ne!(info(&mut client, "rdb_changes_since_last_save"), "0");
}

#[test]
fn shutdown_saves_where_that_is_wanted() {
    // (save points, arguments, whether there is a file afterwards)
    let cases: [(&str, &[&str], bool); 6] = [
        ("", &[], false),
        ("", &["SAVE"], true),
        ("", &["now", "force", "save"], true),
        ("900 1", &[], true),
        ("900 1", &["NOSAVE"], false),
        ("900 1", &["NOSAVE", "NOW"], false),
    ];
    for (points, args, saves) in cases {
        let dir = TempDir::new("ferrodis-rdb");
        let mut server = start_in(&dir, &["--save", points]);
        ok(&mut server.client(), &["SET", "k", "v"]);
        shut_down(&mut server, args);
        assert_eq!(dir.names().len(), usize::from(saves), "{points:?} {args:?}");
        let log = server.log();
        assert!(log.contains("User requested shutdown..."), "{log}");
        assert_eq!(log.contains("Saving the final RDB snapshot before exiting."), saves, "{log}");
    }
}

#[test]
fn shutdown_ends_a_background_save() {
    let dir = TempDir::new("ferrodis-rdb");
    let mut server = start_in(&dir, &[]);
    let mut client = server.client();
    client.cmd(&["DEBUG", "POPULATE", "1000"]);
    ok(&mut client, &["CONFIG", "SET", "rdb-key-save-delay", "100000"]);
    client.cmd(&["BGSAVE"]);
    client.expect(&["SAVE"], "-ERR Background save already in progress\r\n");
    client.expect(&["BGSAVE"], "-ERR Background save already in progress\r\n");
    let began = Instant::now();
    shut_down(&mut server, &[]);
    assert!(began.elapsed() < SIGNAL_LIMIT);
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

#[test]
fn a_shutdown_that_cannot_save_is_called_off() {
    let dir = TempDir::new("ferrodis-rdb");
    let mut server = start_in(&dir, &["--save", "900 1"]);
    let mut client = server.client();
    ok(&mut client, &["SET", "k", "v"]);
    // A directory cannot be replaced by a file.
    fs::create_dir(dump_in(&dir)).expect("a directory can be made");
    client.expect(&["SHUTDOWN"], "-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    client.expect(&["SAVE"], "-ERR\r\n");
    server.sigterm();
    wait_until("the log line", || server.log().matches("can't exit").count() == 2);
    ok(&mut client, &["SET", "k", "w"]);
    assert_eq!(dir.names(), ["dump.rdb"], "no temporary file is left");
    shut_down(&mut server, &["FORCE"]);
}

/// A server with a replica that has confirmed something, but not the last write.
fn with_lagging_replica(flags: &[&str]) -> (TempDir, Server, FakeReplica) {
    let dir = TempDir::new("ferrodis-rdb");
    let server = start_in(&dir, flags);
    let mut replica = FakeReplica::attach(server.addr());
    let mut client = server.client();
    ok(&mut client, &["SET", "a", "1"]);
    assert_eq!(replica.next(), "SET a 1");
    replica.ack_all();
    assert_eq!(client.cmd(&["WAIT", "1", "5000"]).int(), 1);
    ok(&mut client, &["SET", "b", "2"]);
    // WAIT has asked how far the replica is.
    while replica.next() != "SET b 2" {}
    (dir, server, replica)
}

#[test]
fn shutdown_waits_for_a_replica_that_lags() {
    let (_dir, mut server, mut replica) = with_lagging_replica(&[]);
    let behind = replica.start_offset + replica.received;
    let (mut client, mut watcher) = (server.client(), server.client());
    client.send(&["SHUTDOWN"]);
    // It is asked how far it is, and the server ends as soon as it says so.
    assert_eq!(replica.next(), "REPLCONF GETACK *");
    let left_ms: i64 = info(&mut watcher, "shutdown_in_milliseconds").parse().expect("a number");
    assert!((1..=10_000).contains(&left_ms), "{left_ms}");
    client.expect_silence(100);
    assert!(server.exited().is_none());
    replica.ack(behind);
    let status = server.wait_exit(SIGNAL_LIMIT).expect("an end");
    assert_eq!(status.code(), Some(0));
    let log = server.log();
    assert!(log.contains("Waiting for replicas before shutting down."), "{log}");
    assert!(log.contains("1 of 1 replicas are in sync when shutting down."), "{log}");
}

#[test]
fn shutdown_gives_up_on_a_replica_in_the_end() {
    let (_dir, mut server, _replica) = with_lagging_replica(&["--shutdown-timeout", "1"]);
    let began = Instant::now();
    shut_down(&mut server, &[]);
    assert!((900..5000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert!(server.log().contains("0 of 1 replicas are in sync"), "{}", server.log());
    let (_dir, mut server, _replica) = with_lagging_replica(&[]);
    let began = Instant::now();
    shut_down(&mut server, &["NOW"]);
    assert!(began.elapsed() < SIGNAL_LIMIT);
}

#[test]
fn a_first_append_only_file_that_is_not_written_yet_keeps_the_server_alive() {
    let (_dir, server, mut replica) = with_lagging_replica(&["--rdb-key-save-delay", "100000000"]);
    let behind = replica.start_offset + replica.received;
    let (mut client, mut other) = (server.client(), server.client());
    client.send(&["SHUTDOWN"]);
    assert_eq!(replica.next(), "REPLCONF GETACK *");
    // It begins while the replica is waited for.
    ok(&mut other, &["CONFIG", "SET", "appendonly", "yes"]);
    replica.ack(behind);
    assert_eq!(client.recv().to_string(), "(error) ERR Errors trying to SHUTDOWN. Check logs.");
    let log = server.log();
    assert!(log.contains("Writing initial AOF, can't exit."), "{log}");
    assert!(log.contains("Errors trying to shut down the server."), "{log}");
}

#[test]
fn shutdown_can_be_called_off() {
    let (_dir, server, _replica) = with_lagging_replica(&[]);
    let (mut first, mut second, mut writer) = (server.client(), server.client(), server.client());
    let mut other = server.client();
    first.send(&["SHUTDOWN"]);
    wait_until("the wait", || server.log().contains("Waiting for replicas"));
    second.send(&["SHUTDOWN", "NOSAVE"]);
    writer.send(&["SET", "c", "3"]);
    writer.expect_silence(50);
    other.expect(&["GET", "c"], "$-1\r\n");
    other.expect(&["SHUTDOWN", "ABORT"], "+OK\r\n");
    for client in [&mut first, &mut second] {
        let reply = client.recv();
        assert_eq!(reply.to_string(), "(error) ERR Errors trying to SHUTDOWN. Check logs.");
    }
    assert_eq!(writer.recv(), Value::simple("OK"), "writes go on");
    other.expect(&["SHUTDOWN", "ABORT"], "-ERR No shutdown in progress.\r\n");
    assert!(server.log().contains("Shutdown manually aborted."));
}

#[test]
fn signals_end_the_process_in_time() {
    // (save points, what the signal does, whether there is a file afterwards)
    let cases: [(&str, &[&str], bool); 4] = [
        ("", &[], false),
        ("900 1", &[], true),
        ("900 1", &["--shutdown-on-sigterm", "nosave"], false),
        ("", &["--shutdown-on-sigterm", "save now"], true),
    ];
    for (points, how, saves) in cases {
        let dir = TempDir::new("ferrodis-rdb");
        let mut flags = vec!["--save", points];
        flags.extend_from_slice(how);
        let mut server = start_in(&dir, &flags);
        let mut client = server.client();
        ok(&mut client, &["SET", "k", "v"]);
        server.sigterm();
        let status = server.wait_exit(SIGNAL_LIMIT).expect("an end within a second");
        assert_eq!(status.code(), Some(0));
        assert_eq!(dir.names().len(), usize::from(saves), "{points:?} {how:?}");
        let log = server.log();
        assert!(log.contains("Received SIGTERM scheduling shutdown..."), "{log}");
        assert!(log.contains("bye bye..."), "{log}");
    }
    let (_dir, mut server, _replica) = with_lagging_replica(&[]);
    server.sigterm();
    let status = server.wait_exit(SIGNAL_LIMIT).expect("an end within a second");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_second_interrupt_is_insisted_on() {
    let (_dir, mut server, _replica) = with_lagging_replica(&[]);
    server.signal("INT");
    wait_until("the wait", || server.log().contains("Waiting for replicas"));
    server.signal("INT");
    let status = server.wait_exit(Duration::from_millis(500)).expect("an end at once");
    assert_eq!(status.code(), Some(1));
    assert!(server.log().contains("You insist... exiting now."));
}

#[test]
fn a_signal_ends_a_server_that_loads() {
    let dir = TempDir::new("ferrodis-rdb");
    let mut server = start_in(&dir, &[]);
    let mut client = server.client();
    client.cmd(&["DEBUG", "POPULATE", "2000"]);
    ok(&mut client, &["SAVE"]);
    server.kill();
    let before = fs::read(dump_in(&dir)).expect("a file");
    let mut flags = PLAIN.to_vec();
    flags.extend(["--dir", dir.text(), "--key-load-delay", "10000", "--save", "1 1"]);
    let mut server = Server::start_unready(&flags);
    wait_until("the beginning", || server.log().contains("Server initialized"));
    let mut client = server.client();
    client.expect(&["GET", "k"], "-LOADING Redis is loading the dataset in memory\r\n");
    server.sigterm();
    let status = server.wait_exit(SIGNAL_LIMIT).expect("an end within a second");
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert_eq!(fs::read(dump_in(&dir)).expect("the file"), before);
}

#[test]
fn writes_are_refused_while_saving_fails() {
    let dir = TempDir::new("ferrodis-rdb");
    let home = dir.path().join("home");
    fs::create_dir(&home).expect("a directory can be made");
    let path = home.to_str().expect("UTF-8");
    let server = start_in(&dir, &["--save", "900 1", "--dir", path]);
    let mut client = server.client();
    ok(&mut client, &["SET", "k", "v"]);
    fs::remove_dir_all(&home).expect("a directory can be removed");
    background_save(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
    for refused in [&["SET", "k", "w"][..], &["DEL", "k"], &["PING"]] {
        let reply = client.cmd(refused).to_string();
        assert!(reply.starts_with("(error) MISCONF Redis is configured to save RDB"), "{reply}");
    }
    client.expect(&["GET", "k"], "$1\r\nv\r\n");
    // It is enough that nobody asks for it any more, or that it works again.
    ok(&mut client, &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    ok(&mut client, &["SET", "k", "w"]);
    ok(&mut client, &["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"]);
    assert!(client.cmd(&["SET", "k", "x"]).to_string().contains("MISCONF"));
    fs::create_dir(&home).expect("a directory can be made");
    background_save(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    ok(&mut client, &["SET", "k", "x"]);
    assert_eq!(keys_in(&home.join("dump.rdb")).len(), 1);
}

#[test]
fn debug_reload_tells_others_to_wait_and_loses_nothing() {
    let dir = TempDir::new("ferrodis-rdb");
    let server = start_in(&dir, &["--key-load-delay", "200"]);
    let mut client = server.client();
    client.cmd(&["DEBUG", "POPULATE", "1000"]);
    let digest = client.cmd(&["DEBUG", "DIGEST"]);
    let mut other = server.client();
    client.send(&["DEBUG", "RELOAD"]);
    let mut waited = false;
    loop {
        match client.recv_timeout(Duration::from_millis(1)) {
            Ok(reply) => break assert_eq!(reply, Value::simple("OK")),
            Err(RecvError::Timeout) => {
                let reply = other.cmd(&["GET", "key:7"]).to_string();
                waited |= reply.starts_with("(error) LOADING");
                assert!(reply == "\"value:7\"" || reply.starts_with("(error) LOADING"), "{reply}");
            }
            Err(e) => panic!("{e:?}"),
        }
    }
    assert!(waited);
    assert_eq!(client.cmd(&["DEBUG", "DIGEST"]), digest);
    client.cmd(&["SET", "key:7", "other"]);
    let reply = client.cmd(&["DEBUG", "RELOAD", "NOSAVE", "NOFLUSH"]).to_string();
    assert_eq!(reply, "(error) ERR Error trying to load the RDB dump");
}

/// Sets or lifts a limit on the address space of a running process, in bytes.
fn limit_address_space(pid: u32, limit: &str) {
    let limit = format!("--as={limit}:");
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(status.expect("prlimit runs").success());
}

#[test]
#[ignore = "needs prlimit"]
fn a_save_without_a_thread_is_over_and_the_next_one_works() {
    let dir = TempDir::new("threads");
    let server = start_in(&dir, &[]);
    let mut client = server.client();
    ok(&mut client, &["SET", "k", "v"]);
    // A thread that ended leaves its stack for the next one, which would then start and find no
    // memory for anything else, and that ends a process. So the thread of the connection that
    // saw the server start must be gone, and connections that stay must have taken what it left.
    wait_until("a lone client", || info(&mut client, "connected_clients") == "1");
    let mut takers: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for taker in &mut takers {
        assert_eq!(taker.cmd(&["PING"]), Value::simple("PONG"));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a status");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("a size");
    let kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number");
    // Less than a stack, and more than the heap needs meanwhile.
    limit_address_space(server.pid(), &(kib * 1024 + 500_000).to_string());
    background_save(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
    limit_address_space(server.pid(), "unlimited");
    background_save(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    assert_eq!(keys_in(&dump_in(&dir)).len(), 1);
}

#[test]
#[ignore = "needs redis-server"]
fn files_travel_to_redis_and_back() {
    let (ours, theirs) = (TempDir::new("ferrodis-rdb"), TempDir::new("ferrodis-rdb"));
    let server = start_in(&ours, &[]);
    let mut client = server.client();
    fill(&mut client);
    let digest = client.cmd(&["DEBUG", "DIGEST"]);
    ok(&mut client, &["SAVE"]);
    let check = Command::new("redis-check-rdb").arg(dump_in(&ours)).output();
    assert!(check.expect("redis-check-rdb can be run").status.success());
    fs::copy(dump_in(&ours), dump_in(&theirs)).expect("a file can be copied");
    let real = RealRedis::start(&["--dir", theirs.text()]);
    let mut redis = real.client();
    assert_eq!(redis.cmd(&["DEBUG", "DIGEST"]), digest);
    redis.cmd(&["SET", "theirs", "x"]);
    let digest = redis.cmd(&["DEBUG", "DIGEST"]);
    ok(&mut redis, &["SAVE"]);
    fs::copy(dump_in(&theirs), dump_in(&ours)).expect("a file can be copied");
    ok(&mut client, &["DEBUG", "RELOAD", "NOSAVE"]);
    assert_eq!(client.cmd(&["DEBUG", "DIGEST"]), digest);
}
