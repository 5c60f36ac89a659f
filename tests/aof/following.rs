//! Replicas, and the real server.

use std::process::Command;

use crate::common::{
    aof_dir, commands, digest, file, fill_with_all_types, flags, info, limit_files, manifest, ok,
    start_in, wait_for_rewrite, wait_until,
};
use crate::support::client::{Client, Value};
use crate::support::server::RealRedis;
use crate::support::tmp::TempDir;

#[test]
fn a_replica_writes_what_it_applies() {
    let (dir, other) = (TempDir::new("aof-primary"), TempDir::new("aof-replica"));
    let primary = start_in(&dir, &[]);
    let mut client = primary.client();
    ok(&mut client, &["SET", "old", "1"]);
    let mut replica = start_in(&other, &["--repl-ping-replica-period", "1"]);
    ok(&mut replica.client(), &["SET", "gone", "1"]);
    let port = primary.port().to_string();
    ok(&mut replica.client(), &["REPLICAOF", "127.0.0.1", &port]);
    wait_until("the link", || info(&mut replica.client(), "master_link_status") == "up");
    // What it had before is another history: the file begins anew.
    wait_until("the new file", || manifest(&other).contains("appendonly.aof.2.base.rdb"));
    ok(&mut client, &["SELECT", "2"]);
    ok(&mut client, &["SET", "k", "1"]);
    ok(&mut client, &["MULTI"]);
    client.cmd(&["INCR", "k"]);
    client.cmd(&["SET", "l", "x", "EX", "1000"]);
    client.cmd(&["EXEC"]);
    client.cmd(&["WAIT", "1", "5000"]);
    let incr = "appendonly.aof.2.incr.aof";
    wait_until("the transaction", || commands(&file(&other, incr)).len() >= 6);
    let all = commands(&file(&other, incr));
    assert_eq!(all[..4], ["SELECT 2", "SET k 1", "MULTI", "INCR k"], "{all:?}");
    assert!(all[4].starts_with("SET l x PXAT") && all[5] == "EXEC" && all.len() == 6, "{all:?}");
    let before = digest(&mut replica.client());
    ok(&mut replica.client(), &["REPLICAOF", "NO", "ONE"]);
    ok(&mut replica.client(), &["SET", "own", "1"]);
    let promoted = digest(&mut replica.client());
    assert_ne!(before, promoted);
    replica.kill();
    replica.relaunch();
    assert_eq!(digest(&mut replica.client()), promoted);
}

#[test]
fn a_replica_that_cannot_write_waits_and_catches_up() {
    let (dir, other) = (TempDir::new("aof-hold-a"), TempDir::new("aof-hold-b"));
    let primary = start_in(&dir, &[]);
    let of = format!("127.0.0.1 {}", primary.port());
    let replica = start_in(&other, &["--replicaof", &of]);
    let (mut client, mut reader) = (primary.client(), replica.client());
    wait_until("the link", || info(&mut reader, "master_link_status") == "up");
    wait_for_rewrite(&mut reader);
    limit_files(&replica, Some(100));
    for i in 0..200 {
        ok(&mut client, &["SET", &format!("k{i}"), "value"]);
    }
    wait_until("a failure", || info(&mut reader, "aof_last_write_status") == "err");
    limit_files(&replica, None);
    wait_until("the rest", || reader.cmd(&["GET", "k199"]) == Value::bulk("value"));
    assert_eq!(info(&mut reader, "aof_last_write_status"), "ok");
    assert_eq!(digest(&mut reader), digest(&mut client));
    ok(&mut reader, &["DEBUG", "LOADAOF"]);
    assert_eq!(digest(&mut reader), digest(&mut client));
}

#[test]
#[ignore = "needs redis-server 7.0 and redis-check-aof in PATH"]
fn redis_reads_ours_and_we_read_its() {
    for preamble in ["yes", "no"] {
        let (ours, its) = (TempDir::new("aof-ours"), TempDir::new("aof-its"));
        let rest = ["--aof-use-rdb-preamble", preamble];
        let mut server = start_in(&ours, &rest);
        let mut real = RealRedis::start(&flags(&its, &rest));
        let mut digests = Vec::new();
        for server in [&server, &real] {
            let mut client = server.client();
            fill_with_all_types(&mut client);
            for i in 0..300 {
                ok(&mut client, &["SET", &format!("k{i}"), &"v".repeat(i)]);
                client.cmd(&["INCRBYFLOAT", &format!("f{}", i % 9), "1.5"]);
                if i == 200 {
                    client.cmd(&["BGREWRITEAOF"]);
                    wait_for_rewrite(&mut client);
                    ok(&mut client, &["SELECT", "7"]);
                }
            }
            ok(&mut client, &["MULTI"]);
            ok_or_queued(&mut client, &["SET", "a", "1", "EX", "100000"]);
            ok_or_queued(&mut client, &["PEXPIREAT", "a", "99999999999999"]);
            client.cmd(&["EXEC"]);
            digests.push(digest(&mut client));
        }
        assert_eq!(digests[0], digests[1]);
        server.kill();
        real.kill();
        for dir in [&ours, &its] {
            let path = aof_dir(dir).join("appendonly.aof.manifest");
            let check = Command::new("redis-check-aof").arg(&path).output().unwrap();
            assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        }
        let swapped = start_in(&its, &rest);
        assert_eq!(digest(&mut swapped.client()), digests[0], "ours reads its");
        let real = RealRedis::start(&flags(&ours, &rest));
        assert_eq!(digest(&mut real.client()), digests[0], "it reads ours");
    }
}

fn ok_or_queued(client: &mut Client, args: &[&str]) {
    assert_eq!(client.cmd(args), Value::simple("QUEUED"), "{args:?}");
}
