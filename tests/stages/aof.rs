//! AOF persistence: the settings, the files that a start makes, what is logged, and replay.

use super::support::client::encode;
use super::support::server::Server;
use super::support::tmp::TempDir;
use super::tester::{
    READ_TIME, STOP_TIME, aof_flags, aof_log, bulk, bulks, expect_appears, expect_logged, sleep_ms,
};
use std::fs;
use std::time::Instant;

/// Asserts what CONFIG GET answers for each of these settings.
fn expect_config(server: &Server, settings: [(&str, &str); 5]) {
    let mut client = server.client();
    for (name, value) in settings {
        client.expect(&["CONFIG", "GET", name], &bulks(&[name, value]));
    }
}

/// A server whose directory was made before: a log under another name than the flags give, named
/// by the manifest, and no base file.
fn server_with_log(dir: &TempDir, log: &[u8]) -> Server {
    let folder = dir.path().join("mango");
    fs::create_dir(&folder).expect("a directory can be made");
    fs::write(folder.join("grape.aof.1.incr.aof"), log).expect("the log can be written");
    let manifest = "file grape.aof.1.incr.aof seq 1 type i\n";
    fs::write(folder.join("pear.aof.manifest"), manifest).expect("it can be written");
    Server::start(&aof_flags(dir))
}

#[test]
fn uj3_default_aof_options() {
    let server = Server::start(&[]);
    let cwd = fs::canonicalize(server.cwd()).expect("the directory exists");
    let settings = [
        ("dir", cwd.to_str().expect("a UTF-8 path")),
        ("appendonly", "no"),
        ("appenddirname", "appendonlydir"),
        ("appendfilename", "appendonly.aof"),
        ("appendfsync", "everysec"),
    ];
    expect_config(&server, settings);
}

#[test]
fn vd9_aof_options_from_flags() {
    let dir = TempDir::new("ferrodis-aof");
    let server = Server::start(&aof_flags(&dir));
    let settings = [
        ("dir", dir.text()),
        ("appendonly", "yes"),
        ("appenddirname", "mango"),
        ("appendfilename", "pear.aof"),
        ("appendfsync", "always"),
    ];
    expect_config(&server, settings);
}

#[test]
fn fm0_create_append_only_directory() {
    let dir = TempDir::new("ferrodis-aof");
    let mut server = Server::start_unready(&aof_flags(&dir));
    expect_appears(&dir.path().join("mango"));
    assert!(dir.path().join("mango").is_dir());
    // This is the one stage that fails when the program takes its time to end.
    server.sigterm();
    assert!(server.wait_exit(STOP_TIME).is_some(), "still runs; log:\n{}", server.log());

    let other = TempDir::new("ferrodis-aof");
    let mut server = Server::start_unready(&["--dir", other.text()]);
    sleep_ms(100);
    assert!(server.exited().is_none(), "ended; log:\n{}", server.log());
    assert!(!other.path().join("appendonlydir").exists());
}

#[test]
fn dw4_create_append_only_file() {
    let dir = TempDir::new("ferrodis-aof");
    let _server = Server::start_unready(&aof_flags(&dir));
    let log = aof_log(&dir);
    expect_appears(&log);
    let meta = fs::metadata(&log).expect("the log exists");
    assert!(meta.is_file());
    assert_eq!(meta.len(), 0);
}

#[test]
fn pb9_create_manifest_file() {
    let dir = TempDir::new("ferrodis-aof");
    let started = Instant::now();
    let _server = Server::start_unready(&aof_flags(&dir));
    let manifest = dir.path().join("mango/pear.aof.manifest");
    let wanted = "file pear.aof.1.incr.aof seq 1 type i";
    let mut text = String::new();
    while !text.lines().any(|line| line.contains(wanted)) {
        assert!(started.elapsed() < READ_TIME, "no {wanted:?} in {text:?}");
        sleep_ms(10);
        text = fs::read_to_string(&manifest).unwrap_or_default();
    }
    expect_appears(&aof_log(&dir));
}

#[test]
fn dc8_write_a_single_command() {
    let dir = TempDir::new("ferrodis-aof");
    let server = Server::start(&aof_flags(&dir));
    server.client().expect(&["SET", "apple", "42"], "+OK\r\n");
    expect_logged(&aof_log(&dir), &[&["SET", "apple", "42"]]);
}

#[test]
fn fi1_write_multiple_commands() {
    let dir = TempDir::new("ferrodis-aof");
    let server = Server::start(&aof_flags(&dir));
    let mut client = server.client();
    let writes = [["SET", "apple", "42"], ["SET", "grape", "43"]];
    for write in &writes {
        client.expect(write, "+OK\r\n");
    }
    let log = aof_log(&dir);
    expect_logged(&log, &[&writes[0], &writes[1]]);
}

#[test]
fn ep6_filter_write_commands() {
    let dir = TempDir::new("ferrodis-aof");
    let server = Server::start(&aof_flags(&dir));
    let mut client = server.client();
    client.expect(&["SET", "apple", "42"], "+OK\r\n");
    client.expect(&["GET", "apple"], &bulk("42"));
    client.expect(&["ECHO", "orange"], &bulk("orange"));
    client.expect(&["SET", "grape", "43"], "+OK\r\n");
    let log = aof_log(&dir);
    expect_logged(&log, &[&["SET", "apple", "42"], &["SET", "grape", "43"]]);
}

#[test]
fn xz2_replay_a_single_command() {
    let dir = TempDir::new("ferrodis-aof");
    let server = server_with_log(&dir, &encode(&["SET", "apple", "42"]));
    server.client().expect(&["GET", "apple"], &bulk("42"));
}

#[test]
fn kn2_replay_multiple_commands() {
    let dir = TempDir::new("ferrodis-aof");
    let writes = [["SET", "apple", "42"], ["SET", "grape", "43"], ["SET", "apple", "44"]];
    let log: Vec<u8> = writes.iter().flat_map(|write| encode(write)).collect();
    let server = server_with_log(&dir, &log);
    let mut client = server.client();
    client.expect(&["GET", "apple"], &bulk("44"));
    client.expect(&["GET", "grape"], &bulk("43"));
}
