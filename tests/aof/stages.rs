//! The course's stages about the append-only file, as its tester checks them (each by its slug).

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{commands, ok};
use crate::support::client::{Client, Value, encode};
use crate::support::server::Server;
use crate::support::tmp::TempDir;

/// What the tester waits for files, and for the end behind SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);

/// The tester's flags.
fn flags(dir: &TempDir) -> Vec<&str> {
    let own = ["--appendonly", "yes", "--appenddirname", "mango", "--appendfilename", "pear.aof"];
    [&["--dir", dir.text()], &own[..], &["--appendfsync", "always"]].concat()
}

fn files(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("mango")
}

#[track_caller]
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The commands in the increment, without a SELECT 0 in front.
fn written(path: &Path) -> Vec<String> {
    let mut all = commands(&fs::read(path.join("pear.aof.1.incr.aof")).expect("the increment"));
    if all.first().is_some_and(|first| first == "SELECT 0") {
        all.remove(0);
    }
    all
}

#[test]
fn aof_uj3_default_options() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for (name, value) in [
        ("dir", server.cwd().canonicalize().unwrap().to_str().unwrap()),
        ("appendonly", "no"),
        ("appenddirname", "appendonlydir"),
        ("appendfilename", "appendonly.aof"),
        ("appendfsync", "everysec"),
    ] {
        let reply = client.cmd(&["CONFIG", "GET", name]);
        assert_eq!(reply, Value::Array(vec![Value::bulk(name), Value::bulk(value)]));
    }
}

#[test]
fn aof_vd9_options_from_flags() {
    let dir = TempDir::new("stage-vd9");
    let server = Server::start(&flags(&dir));
    let mut client = server.client();
    for (name, value) in [
        ("dir", dir.path().canonicalize().unwrap().to_str().unwrap()),
        ("appendonly", "yes"),
        ("appenddirname", "mango"),
        ("appendfilename", "pear.aof"),
        ("appendfsync", "always"),
    ] {
        let reply = client.cmd(&["CONFIG", "GET", name]);
        assert_eq!(reply, Value::Array(vec![Value::bulk(name), Value::bulk(value)]));
    }
}

#[test]
fn aof_fm0_create_directory() {
    let dir = TempDir::new("stage-fm0");
    let mut server = Server::start_unready(&flags(&dir));
    soon("the directory", || files(&dir).is_dir());
    server.sigterm();
    assert!(server.wait_exit(PATIENCE).is_some(), "it ends in time");
    let other = TempDir::new("stage-fm0-off");
    let _server = Server::start_unready(&["--dir", other.text()]);
    thread::sleep(Duration::from_millis(100));
    assert!(!other.path().join("appendonlydir").exists());
}

#[test]
fn aof_dw4_create_file() {
    let dir = TempDir::new("stage-dw4");
    let _server = Server::start_unready(&flags(&dir));
    let path = files(&dir).join("pear.aof.1.incr.aof");
    soon("the file", || fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() == 0));
}

#[test]
fn aof_pb9_create_manifest() {
    let dir = TempDir::new("stage-pb9");
    let _server = Server::start_unready(&flags(&dir));
    let line = "file pear.aof.1.incr.aof seq 1 type i";
    let path = files(&dir).join("pear.aof.manifest");
    soon("the manifest", || {
        fs::read_to_string(&path).is_ok_and(|text| text.lines().any(|found| found.contains(line)))
    });
}

/// Sends commands to a fresh server; what the increment has then.
fn after(sent: &[&[&str]]) -> Vec<String> {
    let dir = TempDir::new("stage-write");
    let server = Server::start(&flags(&dir));
    let mut client = server.client();
    for words in sent {
        match words[0] {
            "SET" => ok(&mut client, words),
            _ => drop(client.cmd(words)),
        }
    }
    written(&files(&dir))
}

#[test]
fn aof_dc8_write_a_single_command() {
    assert_eq!(after(&[&["SET", "grape", "17"]]), ["SET grape 17"]);
}

#[test]
fn aof_fi1_write_multiple_commands() {
    let sent: [&[&str]; 2] = [&["SET", "grape", "a"], &["SET", "pear", "b"]];
    assert_eq!(after(&sent), ["SET grape a", "SET pear b"]);
}

#[test]
fn aof_ep6_filter_write_commands() {
    let sent: [&[&str]; 4] =
        [&["SET", "k1", "v1"], &["GET", "k1"], &["ECHO", "word"], &["SET", "k2", "v2"]];
    assert_eq!(after(&sent), ["SET k1 v1", "SET k2 v2"]);
}

/// A server on a directory that somebody else has made: another prefix, no base, no SELECT.
fn replay(commands: &[&[&str]]) -> (TempDir, Server, Client) {
    let dir = TempDir::new("stage-replay");
    fs::create_dir(files(&dir)).unwrap();
    let name = "apple.aof.1.incr.aof";
    let bytes: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
    fs::write(files(&dir).join(name), bytes).unwrap();
    let line = format!("file {name} seq 1 type i\n");
    fs::write(files(&dir).join("pear.aof.manifest"), line).unwrap();
    let server = Server::start(&flags(&dir));
    let client = server.client();
    (dir, server, client)
}

#[test]
fn aof_xz2_replay_a_single_command() {
    let (_dir, _server, mut client) = replay(&[&["SET", "grape", "17"]]);
    client.expect(&["GET", "grape"], "$2\r\n17\r\n");
}

#[test]
fn aof_kn2_replay_multiple_commands() {
    let sent: [&[&str]; 3] = [&["SET", "k1", "a"], &["SET", "k2", "b"], &["SET", "k1", "c"]];
    let (_dir, _server, mut client) = replay(&sent);
    client.expect(&["GET", "k1"], "$1\r\nc\r\n");
    client.expect(&["GET", "k2"], "$1\r\nb\r\n");
}
