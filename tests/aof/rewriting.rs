//! Rewrites, and turning the file on and off.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::common::{
    Load, aof_dir, commands, digest, file, fill_with_all_types, info, is_long, manifest, ok,
    rewrite, start_in, wait_for_rewrite, wait_until,
};
use crate::support::client::{Client, Value};
use crate::support::server::Server;
use crate::support::tmp::TempDir;

#[test]
fn every_type_survives_a_rewrite() {
    for preamble in ["yes", "no"] {
        let dir = TempDir::new("aof-types");
        let server = start_in(&dir, &["--aof-use-rdb-preamble", preamble]);
        let mut client = server.client();
        fill_with_all_types(&mut client);
        // The digest of a stream has nothing of its groups.
        let state = |client: &mut Client| {
            let groups = client.cmd(&["XINFO", "GROUPS", "stream"]);
            let pending = client.cmd(&["XPENDING", "stream", "group", "-", "+", "1000"]);
            let ids: Vec<Value> =
                pending.items().iter().map(|entry| entry.items()[0].clone()).collect();
            (digest(client), groups, ids)
        };
        let before = state(&mut client);
        ok(&mut client, &["DEBUG", "LOADAOF"]);
        assert_eq!(state(&mut client), before, "as it was written");
        rewrite(&mut client);
        ok(&mut client, &["DEBUG", "LOADAOF"]);
        assert_eq!(state(&mut client), before, "preamble {preamble}");
    }
}

#[test]
fn rewrites_under_load_lose_nothing() {
    for preamble in ["yes", "no"] {
        let dir = TempDir::new("aof-load");
        let mut server = start_in(&dir, &["--aof-use-rdb-preamble", preamble]);
        let mut client = server.client();
        client.cmd(&["DEBUG", "POPULATE", "5000"]);
        rewrite(&mut client);
        let load = Load::start(&server, 6, 20);
        let rounds = if is_long() { 60 } else { 8 };
        for _ in 0..rounds {
            rewrite(&mut client);
        }
        let told = load.finish();
        let before = digest(&mut client);
        assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "ok");
        let text = manifest(&dir);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains(&format!("seq {} type b", rounds + 2)), "{text}");
        ok(&mut client, &["DEBUG", "LOADAOF"]);
        assert_eq!(digest(&mut client), before, "preamble {preamble}");
        server.kill();
        server.relaunch();
        let mut client = server.client();
        assert_eq!(digest(&mut client), before, "preamble {preamble}");
        for (key, value) in told {
            assert_eq!(client.cmd(&["GET", &key]).text(), value.to_string());
        }
    }
}

#[test]
fn growth_starts_a_rewrite() {
    let dir = TempDir::new("aof-growth");
    let more = ["--auto-aof-rewrite-min-size", "16kb", "--auto-aof-rewrite-percentage", "50"];
    let server = start_in(&dir, &more);
    let mut client = server.client();
    let value = "x".repeat(1000);
    for _ in 0..40 {
        ok(&mut client, &["SET", "k", &value]);
    }
    wait_until("a rewrite", || manifest(&dir).contains("appendonly.aof.2.base.rdb"));
    // What was written during the first may call for a second.
    wait_until("a file that is small again", || {
        let size: u64 = info(&mut client, "aof_current_size").parse().unwrap();
        size < 16 * 1024
    });
    assert!(server.log().contains("Starting automatic rewriting of AOF on "));
}

#[test]
fn a_rewrite_that_fails_leaves_everything_as_it_was() {
    let dir = TempDir::new("aof-failed");
    let mut server = start_in(&dir, &[]);
    let mut client = server.client();
    ok(&mut client, &["SET", "a", "1"]);
    // Nothing can be renamed to the name of a directory.
    let obstacle = aof_dir(&dir).join("appendonly.aof.2.base.rdb");
    fs::create_dir(&obstacle).unwrap();
    for failures in 1..=2 {
        rewrite(&mut client);
        assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "err");
        let count = info(&mut client, "aof_rewrites_consecutive_failures");
        assert_eq!(count, failures.to_string());
        ok(&mut client, &["SET", "b", &failures.to_string()]);
    }
    let text = manifest(&dir);
    assert_eq!(text.lines().count(), 4, "{text}");
    let before = digest(&mut client);
    server.kill();
    server.relaunch();
    let mut client = server.client();
    assert_eq!(digest(&mut client), before);
    fs::remove_dir(&obstacle).unwrap();
    rewrite(&mut client);
    assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "ok");
    let after = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                 file appendonly.aof.4.incr.aof seq 4 type i\n";
    assert_eq!(manifest(&dir), after);
    assert!(dir.names().iter().all(|name| !name.starts_with("temp-")), "{:?}", dir.names());
}

#[test]
fn a_rewrite_waits_for_a_save_and_a_save_for_a_rewrite() {
    let dir = TempDir::new("aof-turns");
    let server = start_in(&dir, &[]);
    let mut client = server.client();
    client.cmd(&["DEBUG", "POPULATE", "100"]);
    ok(&mut client, &["CONFIG", "SET", "rdb-key-save-delay", "20000"]);
    client.cmd(&["BGSAVE"]);
    let reply = client.cmd(&["BGREWRITEAOF"]);
    assert_eq!(reply, Value::simple("Background append only file rewriting scheduled"));
    assert_eq!(info(&mut client, "aof_rewrite_scheduled"), "1");
    wait_until("the rewrite", || info(&mut client, "aof_rewrite_in_progress") == "1");
    let reply = client.cmd(&["BGREWRITEAOF"]).text();
    assert_eq!(reply, "ERR Background append only file rewriting already in progress");
    let reply = client.cmd(&["BGSAVE"]).text();
    assert!(reply.starts_with("ERR Another child process is active (AOF?)"), "{reply}");
    let reply = client.cmd(&["BGSAVE", "SCHEDULE"]);
    assert_eq!(reply, Value::simple("Background saving scheduled"));
    ok(&mut client, &["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    wait_for_rewrite(&mut client);
    wait_until("the save", || info(&mut client, "rdb_saves") == "2");
}

#[test]
fn it_can_be_turned_on_and_off() {
    let dir = TempDir::new("aof-switch");
    let mut server =
        Server::start(&["--save", "", "--dir", dir.text(), "--enable-debug-command", "yes"]);
    let mut client = server.client();
    ok(&mut client, &["SET", "before", "1"]);
    ok(&mut client, &["CONFIG", "SET", "appendonly", "yes"]);
    ok(&mut client, &["SET", "meanwhile", "2"]);
    wait_for_rewrite(&mut client);
    ok(&mut client, &["SET", "after", "3"]);
    let text = "file appendonly.aof.1.base.rdb seq 1 type b\n\
                file appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest(&dir), text);
    assert_eq!(info(&mut client, "aof_enabled"), "1");
    let before = digest(&mut client);
    ok(&mut client, &["DEBUG", "LOADAOF"]);
    assert_eq!(digest(&mut client), before);
    ok(&mut client, &["CONFIG", "SET", "appendonly", "no"]);
    ok(&mut client, &["SET", "unseen", "4"]);
    assert_eq!(info(&mut client, "aof_enabled"), "0");
    assert_eq!(manifest(&dir), text);
    ok(&mut client, &["CONFIG", "SET", "appendonly", "yes"]);
    wait_for_rewrite(&mut client);
    let text = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                file appendonly.aof.2.incr.aof seq 2 type i\n";
    assert_eq!(manifest(&dir), text);
    let before = digest(&mut client);
    server.kill();
    let mut server = start_in(&dir, &[]);
    assert_eq!(digest(&mut server.client()), before);
    server.kill();
}

#[test]
fn turning_it_on_in_a_transaction_takes_effect_behind_it() {
    let dir = TempDir::new("aof-exec");
    let server = Server::start(&["--save", "", "--dir", dir.text()]);
    let mut client = server.client();
    for on in ["yes", "no", "yes"] {
        ok(&mut client, &["MULTI"]);
        client.cmd(&["SET", "k", on]);
        client.cmd(&["CONFIG", "SET", "appendonly", on]);
        client.cmd(&["SET", "l", on]);
        client.cmd(&["EXEC"]);
        let enabled = if on == "yes" { "1" } else { "0" };
        assert_eq!(info(&mut client, "aof_enabled"), enabled);
        wait_for_rewrite(&mut client);
    }
    ok(&mut client, &["SET", "m", "1"]);
    let text = manifest(&dir);
    let last = text.lines().last().unwrap().split(' ').nth(1).unwrap();
    assert_eq!(commands(&file(&dir, last)), ["SELECT 0", "SET m 1"]);
}

#[test]
fn turning_it_on_while_writers_write_loses_nothing() {
    let dir = TempDir::new("aof-on-load");
    let mut server =
        Server::start(&["--save", "", "--dir", dir.text(), "--enable-debug-command", "yes"]);
    let mut client = server.client();
    let load = Load::start(&server, 4, 10);
    for _ in 0..3 {
        ok(&mut client, &["CONFIG", "SET", "appendonly", "yes"]);
        wait_for_rewrite(&mut client);
        ok(&mut client, &["CONFIG", "SET", "appendonly", "no"]);
    }
    ok(&mut client, &["CONFIG", "SET", "appendonly", "yes"]);
    wait_for_rewrite(&mut client);
    thread::sleep(Duration::from_millis(50));
    server.kill();
    let told = load.finish();
    let server = start_in(&dir, &[]);
    let mut client = server.client();
    for (key, value) in told {
        let found: u64 = client.cmd(&["GET", &key]).text().parse().unwrap();
        assert!(found >= value, "{key} is {found}, but {value} was acknowledged");
    }
}
