//! Names, and what is written when.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::common::{
    LONG, aof_dir, commands, file, info, lay_out, manifest, ok, rewrite, set, start_in,
    wait_for_rewrite, wait_until,
};
use crate::support::client::Value;
use crate::support::server::Server;
use crate::support::tmp::TempDir;

/// Traps T28 and T30 of the course: file names, and files that are there from the start.
#[test]
fn files_are_made_at_the_start_under_their_names() {
    let dir = TempDir::new("aof-names");
    let more = ["--appenddirname", "d", "--appendfilename", "f.aof", "--appendfsync", "always"];
    let _server = start_in(&dir, &more);
    let path = dir.path().join("d");
    let mut names: Vec<String> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["f.aof.1.base.rdb", "f.aof.1.incr.aof", "f.aof.manifest"]);
    assert_eq!(fs::read(path.join("f.aof.1.incr.aof")).unwrap(), b"");
    let text = fs::read_to_string(path.join("f.aof.manifest")).unwrap();
    assert_eq!(text, "file f.aof.1.base.rdb seq 1 type b\nfile f.aof.1.incr.aof seq 1 type i\n");
}

/// Trap T27: SELECT 0 first, commands as they were sent, no reads.
#[test]
fn commands_stand_there_as_they_were_sent() {
    for policy in ["always", "everysec", "no"] {
        let dir = TempDir::new("aof-sent");
        let server = start_in(&dir, &["--appendfsync", policy]);
        let mut client = server.client();
        let written = || commands(&file(&dir, "appendonly.aof.1.incr.aof"));
        client.cmd(&["GET", "k"]);
        client.cmd(&["ECHO", "word"]);
        assert!(written().is_empty());
        ok(&mut client, &["sEt", "k", "1"]);
        // The reply says that it is written: no waiting here.
        assert_eq!(written(), ["SELECT 0", "sEt k 1"]);
        client.cmd(&["GET", "k"]);
        ok(&mut client, &["SELECT", "3"]);
        client.cmd(&["incr", "n"]);
        client.cmd(&["DEL", "none"]);
        ok(&mut client, &["MULTI"]);
        client.cmd(&["SET", "a", "1"]);
        client.cmd(&["SET", "b", "2"]);
        client.cmd(&["EXEC"]);
        let expected =
            ["SELECT 0", "sEt k 1", "SELECT 3", "incr n", "MULTI", "SET a 1", "SET b 2", "EXEC"];
        assert_eq!(written(), expected, "{policy}");
    }
}

#[test]
fn what_depends_on_the_clock_is_written_as_a_time() {
    let dir = TempDir::new("aof-clock");
    let server = start_in(&dir, &[]);
    let mut client = server.client();
    ok(&mut client, &["SET", "k", "v", "PX", "60"]);
    wait_until("the key's end", || {
        let text = commands(&file(&dir, "appendonly.aof.1.incr.aof")).join("|");
        text.ends_with("|DEL k") || text.ends_with("|UNLINK k")
    });
    let all = commands(&file(&dir, "appendonly.aof.1.incr.aof"));
    assert!(all[1].starts_with("SET k v PXAT "), "{all:?}");
}

#[test]
fn timestamps_are_annotations() {
    let dir = TempDir::new("aof-time");
    let mut server = start_in(&dir, &["--aof-timestamp-enabled", "yes"]);
    let mut client = server.client();
    ok(&mut client, &["SET", "k", "1"]);
    ok(&mut client, &["CONFIG", "SET", "aof-timestamp-enabled", "no"]);
    thread::sleep(Duration::from_millis(1100));
    ok(&mut client, &["SET", "k", "2"]);
    let all = commands(&file(&dir, "appendonly.aof.1.incr.aof"));
    assert!(all[0].starts_with("#TS:1") && all.len() == 4, "{all:?}");
    server.kill();
    server.relaunch();
    assert_eq!(server.client().cmd(&["GET", "k"]), Value::bulk("2"));
}

/// Trap T29: the manifest says which files there are, whatever their prefix.
#[test]
fn the_manifest_names_the_files_and_the_last_one_is_written_on() {
    let dir = TempDir::new("aof-prefix");
    let name = "other.aof.1.incr.aof";
    let line = format!("file {name} seq 1 type i\n");
    lay_out(
        &dir,
        &[
            ("appendonly.aof.manifest", line.as_bytes()),
            (name, &[set("k", "1"), set("k", "2")].concat()),
        ],
    );
    let server = start_in(&dir, &["--appendfsync", "always"]);
    let mut client = server.client();
    assert_eq!(client.cmd(&["GET", "k"]), Value::bulk("2"));
    ok(&mut client, &["SET", "l", "3"]);
    assert_eq!(commands(&file(&dir, name)), ["SET k 1", "SET k 2", "SELECT 0", "SET l 3"]);
    assert_eq!(manifest(&dir), line);
    rewrite(&mut client);
    let after = "file appendonly.aof.1.base.rdb seq 1 type b\n\
                 file appendonly.aof.2.incr.aof seq 2 type i\n";
    assert_eq!(manifest(&dir), after);
    assert!(!aof_dir(&dir).join(name).exists(), "history is removed");
}

#[test]
fn a_server_without_the_file_leaves_no_directory() {
    let dir = TempDir::new("aof-off");
    let mut server = Server::start(&["--dir", dir.text(), "--save", ""]);
    ok(&mut server.client(), &["SET", "k", "1"]);
    server.sigterm();
    assert!(server.wait_exit(LONG).is_some() && dir.names().is_empty());
}

#[test]
fn waitaof_waits_for_the_disk() {
    let dir = TempDir::new("aof-wait");
    let server = start_in(&dir, &["--appendfsync", "everysec"]);
    let mut client = server.client();
    ok(&mut client, &["SET", "k", "1"]);
    client.expect(&["WAITAOF", "1", "0", "0"], "*2\r\n:1\r\n:0\r\n");
    ok(&mut client, &["CONFIG", "SET", "appendfsync", "no"]);
    ok(&mut client, &["SET", "k", "2"]);
    client.expect(&["WAITAOF", "1", "0", "50"], "*2\r\n:0\r\n:0\r\n");
    ok(&mut client, &["CONFIG", "SET", "appendfsync", "always"]);
    ok(&mut client, &["SET", "k", "3"]);
    client.expect(&["WAITAOF", "1", "0", "0"], "*2\r\n:1\r\n:0\r\n");
    client.expect(&["WAITAOF", "0", "1", "20"], "*2\r\n:1\r\n:0\r\n");
    for (args, error) in [
        (["2", "0", "0"], "-ERR value is out of range, value must between 0 and 1\r\n"),
        (["1", "-1", "0"], "-ERR value is out of range, must be positive\r\n"),
        (["1", "0", "-1"], "-ERR timeout is negative\r\n"),
    ] {
        client.expect(&["WAITAOF", args[0], args[1], args[2]], error);
    }
    ok(&mut client, &["CONFIG", "SET", "appendonly", "no"]);
    client.expect(
        &["WAITAOF", "1", "0", "0"],
        "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n",
    );
}

#[test]
fn waitaof_counts_the_disks_of_replicas() {
    let (dir, other) = (TempDir::new("aof-wait-a"), TempDir::new("aof-wait-b"));
    let primary = start_in(&dir, &["--appendfsync", "always"]);
    let of = format!("127.0.0.1 {}", primary.port());
    let replica = start_in(&other, &["--appendfsync", "everysec", "--replicaof", &of]);
    let mut client = primary.client();
    wait_until("the link", || info(&mut replica.client(), "master_link_status") == "up");
    wait_for_rewrite(&mut replica.client());
    ok(&mut client, &["SET", "k", "1"]);
    client.expect(&["WAITAOF", "1", "1", "10000"], "*2\r\n:1\r\n:1\r\n");
}
