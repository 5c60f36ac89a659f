//! Kills, and disks that are full.

use std::thread;
use std::time::Duration;

use crate::common::{
    Load, commands, digest, file, info, is_long, limit_files, ok, start_in, wait_until,
};
use crate::support::client::{Client, Value, encode};
use crate::support::random::Random;
use crate::support::tmp::TempDir;

/// Kills the server at random moments of a write load; nothing that was acknowledged is missing.
fn kill_again_and_again(policy: &str) {
    let kills = if is_long() { 200 } else { 3 };
    let mut random = Random::new(policy.len() as u64);
    let dir = TempDir::new("aof-kill");
    let more = ["--appendfsync", policy, "--auto-aof-rewrite-min-size", "64kb"];
    let mut server = start_in(&dir, &more);
    for kill in 0..kills {
        let load = Load::start(&server, 5, 1 + random.below(30));
        thread::sleep(Duration::from_millis(20 + random.below(150) as u64));
        if kill % 3 == 0 {
            server.client().send(&["BGREWRITEAOF"]);
            thread::sleep(Duration::from_micros(random.below(8000) as u64));
        }
        server.kill();
        let told = load.finish();
        server.relaunch();
        let mut client = server.client();
        for (key, value) in told {
            let found = match client.cmd(&["GET", &key]) {
                Value::Bulk(text) => String::from_utf8_lossy(&text).parse().unwrap(),
                _ => 0u64,
            };
            assert!(found >= value, "{policy}: {key} is {found}, but {value} was acknowledged");
        }
    }
}

#[test]
fn a_kill_loses_nothing_acknowledged_always() {
    kill_again_and_again("always");
}

#[test]
fn a_kill_loses_nothing_acknowledged_everysec() {
    kill_again_and_again("everysec");
}

#[test]
fn a_kill_loses_nothing_acknowledged_no() {
    kill_again_and_again("no");
}

const FULL: &str = "MISCONF Errors writing to the AOF file: File too large";

#[test]
fn a_full_disk_turns_writes_into_errors_and_back() {
    for policy in ["always", "everysec", "no"] {
        let dir = TempDir::new("aof-full");
        let mut server = start_in(&dir, &["--appendfsync", policy]);
        let mut client = server.client();
        ok(&mut client, &["SET", "a", "1"]);
        let size = file(&dir, "appendonly.aof.1.incr.aof").len() as u64;
        limit_files(&server, Some(size + 10));
        // It may have been executed, but it is not written, and so it is not acknowledged.
        assert_eq!(client.cmd(&["SET", "b", "2"]).text(), FULL, "{policy}");
        for _ in 0..3 {
            assert_eq!(client.cmd(&["SET", "c", "3"]).text(), FULL);
            assert_eq!(client.cmd(&["PING"]).text(), FULL);
            assert_eq!(client.cmd(&["GET", "a"]), Value::bulk("1"), "reads go on");
        }
        assert_eq!(info(&mut client, "aof_last_write_status"), "err");
        // What was written of a command is cut off again.
        let bytes = file(&dir, "appendonly.aof.1.incr.aof");
        assert_eq!(commands(&bytes), ["SELECT 0", "SET a 1"]);
        limit_files(&server, None);
        wait_until("the end of errors", || client.cmd(&["SET", "d", "4"]) == Value::simple("OK"));
        assert_eq!(info(&mut client, "aof_last_write_status"), "ok");
        assert!(server.log().contains("AOF write error looks solved, Redis can write again."));
        let before = digest(&mut client);
        server.kill();
        server.relaunch();
        assert_eq!(digest(&mut server.client()), before, "{policy}");
    }
}

#[test]
fn in_a_pipeline_only_what_is_not_written_fails() {
    let dir = TempDir::new("aof-pipeline");
    let server = start_in(&dir, &[]);
    let mut client = server.client();
    ok(&mut client, &["SET", "a", "1"]);
    limit_files(&server, Some(file(&dir, "appendonly.aof.1.incr.aof").len() as u64));
    let words: [&[&str]; 6] = [
        &["GET", "a"],
        &["SET", "b", "2"],
        &["GET", "b"],
        &["MULTI"],
        &["SET", "c", "3"],
        &["EXEC"],
    ];
    client.send_raw(&words.iter().flat_map(|words| encode(words)).collect::<Vec<u8>>());
    let replies: Vec<String> = (0..6).map(|_| client.recv().text()).collect();
    assert_eq!(replies, ["1", FULL, "2", "OK", "QUEUED", FULL]);
    client.expect_no_more();
    // A transaction is refused as a whole.
    ok(&mut client, &["MULTI"]);
    assert_eq!(client.cmd(&["SET", "c", "4"]).text(), FULL);
    assert!(client.cmd(&["EXEC"]).text().starts_with("EXECABORT"));
}

#[test]
fn a_kill_while_the_disk_is_full_loses_nothing_acknowledged() {
    let dir = TempDir::new("aof-full-kill");
    let mut server = start_in(&dir, &["--appendfsync", "always"]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    limit_files(&server, Some(3000));
    let mut acknowledged = Vec::new();
    for i in 0..400 {
        let key = format!("key:{i}");
        if clients[i % 4].cmd(&["SET", &key, "value"]) == Value::simple("OK") {
            acknowledged.push(key);
        }
    }
    assert!((30..200).contains(&acknowledged.len()), "{}", acknowledged.len());
    server.kill();
    server.relaunch();
    let mut client = server.client();
    for key in acknowledged {
        assert_eq!(client.cmd(&["GET", &key]), Value::bulk("value"), "{key}");
    }
}
