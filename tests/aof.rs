//! The append-only file, over TCP and with a look at the files: what stands in it and when, what
//! is loaded of damaged ones, rewrites, failing disks, and what a kill leaves.
//!
//! `FERRODIS_LONG=1` makes the tests of cuts and kills go through all of them: every byte of the
//! file, and 200 kills for each policy.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use support::client::{Client, Value, encode};
use support::random::Random;
use support::server::{RealRedis, Server};
use support::tmp::TempDir;

/// For what has no limit of its own but must not take for ever.
const LONG: Duration = Duration::from_secs(30);

fn is_long() -> bool {
    std::env::var_os("FERRODIS_LONG").is_some()
}

/// The flags of a server with an append-only file in `dir`.
fn flags<'a>(dir: &'a TempDir, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--save", "", "--enable-debug-command", "yes", "--dir", dir.text()];
    all.extend(["--appendonly", "yes"]);
    all.extend_from_slice(more);
    all
}

fn start_in(dir: &TempDir, more: &[&str]) -> Server {
    Server::start(&flags(dir, more))
}

/// A server that will not start: its exit code and its log.
fn refused(dir: &TempDir, more: &[&str]) -> (Option<i32>, String) {
    let mut server = Server::start_unready(&flags(dir, more));
    let status = server.wait_exit(LONG).expect("an end");
    (status.code(), server.log())
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

fn wait_for_rewrite(client: &mut Client) {
    wait_until("the end of a rewrite", || {
        info(client, "aof_rewrite_in_progress") == "0"
            && info(client, "aof_rewrite_scheduled") == "0"
    });
}

fn rewrite(client: &mut Client) {
    let reply = client.cmd(&["BGREWRITEAOF"]);
    assert_eq!(reply, Value::simple("Background append only file rewriting started"));
    wait_for_rewrite(client);
}

fn digest(client: &mut Client) -> String {
    client.cmd(&["DEBUG", "DIGEST"]).text()
}

fn aof_dir(dir: &TempDir) -> PathBuf {
    dir.path().join("appendonlydir")
}

fn manifest(dir: &TempDir) -> String {
    fs::read_to_string(aof_dir(dir).join("appendonly.aof.manifest")).unwrap_or_default()
}

fn file(dir: &TempDir, name: &str) -> Vec<u8> {
    fs::read(aof_dir(dir).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The commands in a file, each with its words joined by blanks.
fn commands(bytes: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = bytes;
    fn line<'a>(rest: &mut &'a [u8]) -> &'a str {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a line");
        let line = std::str::from_utf8(&rest[..end]).expect("text");
        *rest = &rest[end + 2..];
        line
    }
    while !rest.is_empty() {
        let head = line(&mut rest);
        let Some(count) = head.strip_prefix('*') else {
            all.push(head.to_owned());
            continue;
        };
        let mut words = Vec::new();
        for _ in 0..count.parse::<usize>().expect("a count") {
            let length = line(&mut rest).strip_prefix('$').expect("an argument").parse::<usize>();
            let length = length.expect("a length");
            words.push(String::from_utf8_lossy(&rest[..length]).into_owned());
            rest = &rest[length + 2..];
        }
        all.push(words.join(" "));
    }
    all
}

/// Makes the directory of an append-only file with these files, by name.
fn lay_out(dir: &TempDir, files: &[(&str, &[u8])]) {
    fs::create_dir_all(aof_dir(dir)).expect("a directory");
    for (name, bytes) in files {
        fs::write(aof_dir(dir).join(name), bytes).expect("a file");
    }
}

const ONE_INCR: &[u8] = b"file appendonly.aof.1.incr.aof seq 1 type i\n";

/// The directory with one increment of these bytes.
fn lay_out_one(dir: &TempDir, bytes: &[u8]) {
    let files = [("appendonly.aof.manifest", ONE_INCR), ("appendonly.aof.1.incr.aof", bytes)];
    lay_out(dir, &files);
}

fn set(key: &str, value: &str) -> Vec<u8> {
    encode(&["SET", key, value])
}

// ---- Names, and what is written when.

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

// ---- Loading.

#[test]
fn what_was_written_is_there_after_a_restart() {
    for preamble in ["yes", "no"] {
        let dir = TempDir::new("aof-restart");
        let mut server = start_in(&dir, &["--aof-use-rdb-preamble", preamble]);
        let mut client = server.client();
        ok(&mut client, &["SET", "a", "1"]);
        ok(&mut client, &["SELECT", "5"]);
        ok(&mut client, &["SET", "binary\r\n\0", ""]);
        ok(&mut client, &["SET", "later", "x", "EX", "1000"]);
        rewrite(&mut client);
        ok(&mut client, &["SET", "after", "y"]);
        client.cmd(&["INCR", "n"]);
        let before = digest(&mut client);
        server.sigterm();
        assert!(server.wait_exit(LONG).is_some());
        server.relaunch();
        let mut client = server.client();
        assert_eq!(digest(&mut client), before, "preamble {preamble}");
        let suffix = if preamble == "yes" { "rdb" } else { "aof" };
        assert!(manifest(&dir).starts_with(&format!("file appendonly.aof.2.base.{suffix} seq 2")));
        ok(&mut client, &["DEBUG", "LOADAOF"]);
        assert_eq!(digest(&mut client), before);
        // A later rewrite does not depend on what the server has loaded.
        rewrite(&mut client);
        ok(&mut client, &["DEBUG", "LOADAOF"]);
        assert_eq!(digest(&mut client), before);
    }
}

/// The file of the test of cuts: many kinds of commands, with the offset behind each and the
/// number of keys then.
fn long_file(count: usize) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for i in 0..count {
        bytes.extend(encode(&["APPEND", &format!("k{}", i % 7), &(i % 10).to_string()]));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// What the keys hold when the first `count` commands of [`long_file`] are executed.
fn expected(count: usize) -> Vec<String> {
    let mut values = vec![String::new(); 7];
    (0..count).for_each(|i| values[i % 7].push_str(&(i % 10).to_string()));
    values
}

#[test]
fn a_file_cut_anywhere_holds_the_whole_commands_before_the_cut() {
    let (bytes, ends) = long_file(2000);
    let dir = TempDir::new("aof-cut");
    let keys: Vec<String> = (0..7).map(|i| format!("k{i}")).collect();
    let mut get = vec!["MGET"];
    get.extend(keys.iter().map(String::as_str));
    // By default the cuts around the ends of some commands, and some others.
    let near = |cut: usize| {
        let next = ends.partition_point(|&end| end < cut);
        let end = ends.get(next).copied().unwrap_or(bytes.len());
        next % 97 == 0 && end - cut < 3
    };
    let mut cuts: Vec<usize> = (0..=bytes.len()).collect();
    if !is_long() {
        cuts.retain(|&cut| cut % 997 == 0 || near(cut) || cut + 40 > bytes.len());
    }
    for cut in cuts {
        lay_out_one(&dir, &bytes[..cut]);
        let mut config = ferrodis::Config::new().port(0).set("save", "").set("dir", dir.text());
        config = config.set("appendonly", "yes").set("loglevel", "nothing");
        let server = ferrodis::Server::start(config).unwrap_or_else(|e| panic!("cut {cut}: {e}"));
        let mut client = Client::connect(server.addr());
        let values = client.cmd(&get);
        let values: Vec<String> = values
            .items()
            .iter()
            .map(|value| match value {
                Value::Bulk(_) => value.text(),
                _ => String::new(),
            })
            .collect();
        let whole = ends.partition_point(|&end| end <= cut);
        assert_eq!(values, expected(whole), "cut at {cut}");
        drop(client);
        server.stop();
        let left = file(&dir, "appendonly.aof.1.incr.aof").len();
        assert_eq!(left, if whole == 0 { 0 } else { ends[whole - 1] }, "cut at {cut}");
    }
}

#[test]
fn a_cut_file_goes_on_behind_the_cut() {
    let dir = TempDir::new("aof-goes-on");
    let mut bytes = [set("a", "1"), encode(&["MULTI"]), set("b", "2")].concat();
    let whole = set("a", "1").len();
    lay_out_one(&dir, &bytes);
    let mut server = start_in(&dir, &[]);
    let log = server.log();
    for line in [
        "Revert incomplete MULTI/EXEC transaction in AOF file appendonly.aof.1.incr.aof",
        "!!! Warning: short read while loading the AOF file appendonly.aof.1.incr.aof!!!",
        &format!("!!! Truncating the AOF appendonly.aof.1.incr.aof at offset {whole} !!!"),
        "AOF appendonly.aof.1.incr.aof loaded anyway because aof-load-truncated is enabled",
    ] {
        assert!(log.contains(line), "no {line:?} in\n{log}");
    }
    let mut client = server.client();
    assert_eq!(client.cmd(&["EXISTS", "a", "b"]), Value::Int(1));
    ok(&mut client, &["SET", "c", "3"]);
    server.kill();
    server.relaunch();
    assert_eq!(server.client().cmd(&["EXISTS", "a", "b", "c"]), Value::Int(2));
    drop(server);
    // An annotation that is cut must not swallow what is written behind it.
    bytes = [set("a", "1"), b"#TS:16".to_vec()].concat();
    lay_out_one(&dir, &bytes);
    let mut server = start_in(&dir, &[]);
    ok(&mut server.client(), &["SET", "b", "2"]);
    server.kill();
    server.relaunch();
    assert_eq!(server.client().cmd(&["EXISTS", "a", "b"]), Value::Int(2));
}

#[test]
fn a_cut_file_is_refused_where_that_is_wanted() {
    let whole = set("a", "1");
    for bytes in [&whole[..whole.len() - 1], &[&whole[..], &encode(&["MULTI"])].concat()] {
        let dir = TempDir::new("aof-strict");
        lay_out_one(&dir, bytes);
        let (code, log) = refused(&dir, &["--aof-load-truncated", "no"]);
        let line = "Unexpected end of file reading the append only file appendonly.aof.1.incr.aof";
        assert!(code == Some(1) && log.contains(line), "{code:?}\n{log}");
        assert_eq!(file(&dir, "appendonly.aof.1.incr.aof"), bytes, "it is left as it was");
    }
}

#[test]
fn damage_in_the_middle_names_the_file_and_the_place() {
    let good = [set("a", "1"), set("b", "2")].concat();
    for damage in ["!", "*x\r\n", "*1\r\n+3\r\nabc\r\n", "*1\r\n$1\r\nabc"] {
        let dir = TempDir::new("aof-damage");
        lay_out_one(&dir, &[&good, damage.as_bytes(), &good].concat());
        let (code, log) = refused(&dir, &[]);
        let place = format!("appendonly.aof.1.incr.aof is damaged behind offset {}", good.len());
        let line = "Bad file format reading the append only file appendonly.aof.1.incr.aof: make a \
                    backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>";
        assert!(code == Some(1) && log.contains(&place) && log.contains(line), "{code:?}\n{log}");
    }
    let dir = TempDir::new("aof-unknown");
    lay_out_one(&dir, &[&good[..], &encode(&["NOSUCH", "x"])].concat());
    let (code, log) = refused(&dir, &[]);
    let line = "Unknown command 'NOSUCH' reading the append only file appendonly.aof.1.incr.aof";
    assert!(code == Some(1) && log.contains(line), "{code:?}\n{log}");
}

#[test]
fn only_the_last_file_may_be_cut() {
    let dir = TempDir::new("aof-not-last");
    let text = "file b seq 1 type b\nfile i seq 1 type i\n";
    let whole = set("a", "1");
    lay_out(
        &dir,
        &[("appendonly.aof.manifest", text.as_bytes()), ("b", &whole[..9]), ("i", &whole)],
    );
    let (code, log) = refused(&dir, &[]);
    let line = "Fatal error: the truncated file is not the last file";
    assert!(code == Some(1) && log.contains(line), "{code:?}\n{log}");
}

#[test]
fn bad_manifests_and_missing_files_are_refused() {
    let missing = "Unable to obtain the AOF file appendonly.aof.1.incr.aof length. stat: No such \
                   file or directory";
    let cases = [
        ("", "Found an empty AOF manifest"),
        ("file x seq 1 type q\n", "Unknown AOF file type"),
        ("file x seq 1\n", "Invalid AOF manifest file format"),
        ("file a/x seq 1 type b\n", "File can't be a path, just a filename"),
        ("file appendonly.aof.1.incr.aof seq 1 type i\n", missing),
    ];
    for (text, line) in cases {
        let dir = TempDir::new("aof-manifest");
        lay_out(&dir, &[("appendonly.aof.manifest", text.as_bytes())]);
        let (code, log) = refused(&dir, &[]);
        assert!(code == Some(1) && log.contains(line), "{text:?} {code:?}\n{log}");
    }
}

#[test]
fn hostile_files_never_crash() {
    let mut random = Random::new(11);
    let (bytes, _) = long_file(50);
    let dir = TempDir::new("aof-hostile");
    for round in 0..if is_long() { 2000 } else { 60 } {
        let mut bytes = bytes.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.below(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"*$\r\n#019R"[random.below(9)]),
            }
        }
        if round % 5 == 0 {
            bytes.splice(0..0, *b"REDIS0011");
        }
        lay_out_one(&dir, &bytes);
        let config = ferrodis::Config::new().port(0).set("save", "").set("dir", dir.text());
        let config = config.set("appendonly", "yes").set("loglevel", "nothing");
        // Either is fine; a panic or a hang is not.
        drop(ferrodis::Server::start(config));
    }
}

#[test]
fn a_file_of_old_is_taken_over() {
    let dir = TempDir::new("aof-upgrade");
    fs::write(dir.path().join("appendonly.aof"), [set("a", "1"), set("b", "2")].concat()).unwrap();
    let mut server = start_in(&dir, &[]);
    let mut client = server.client();
    assert_eq!(client.cmd(&["EXISTS", "a", "b"]), Value::Int(2));
    assert!(server.log().contains("Successfully migrated an old-style AOF file (appendonly.aof)"));
    let text = "file appendonly.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest(&dir), text);
    assert!(!dir.path().join("appendonly.aof").exists());
    ok(&mut client, &["SET", "c", "3"]);
    server.kill();
    server.relaunch();
    assert_eq!(server.client().cmd(&["EXISTS", "a", "b", "c"]), Value::Int(3));
}

/// An RDB file, and commands behind it: the form before there were several files.
#[test]
fn a_file_of_old_may_begin_with_an_rdb_file() {
    let dir = TempDir::new("aof-preamble");
    let mut server = start_in(&dir, &[]);
    ok(&mut server.client(), &["SET", "a", "1"]);
    rewrite(&mut server.client());
    server.kill();
    let base = file(&dir, "appendonly.aof.2.base.rdb");
    let old = TempDir::new("aof-preamble-old");
    fs::write(old.path().join("appendonly.aof"), [base, set("b", "2")].concat()).unwrap();
    let server = start_in(&old, &[]);
    assert_eq!(server.client().cmd(&["EXISTS", "a", "b"]), Value::Int(2));
    let log = server.log();
    assert!(log.contains("Reading the remaining AOF tail..."), "{log}");
}

#[test]
fn expired_keys_of_a_base_are_kept_for_what_follows() {
    let dir = TempDir::new("aof-expired");
    let mut server = start_in(&dir, &[]);
    let mut client = server.client();
    ok(&mut client, &["SET", "k", "v", "PX", "300"]);
    rewrite(&mut client);
    client.cmd(&["PERSIST", "k"]);
    let before = digest(&mut client);
    server.kill();
    thread::sleep(Duration::from_millis(350));
    server.relaunch();
    assert_eq!(digest(&mut server.client()), before);
}

// ---- Rewrites.

/// Writers that count up keys of their own until told to stop; what each was told last.
struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<(String, Arc<AtomicU64>, JoinHandle<()>)>,
}

impl Load {
    fn start(server: &Server, count: usize, pipeline: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..count)
            .map(|i| {
                let (key, told) = (format!("load:{i}"), Arc::new(AtomicU64::new(0)));
                let (mut client, stop) = (server.client(), Arc::clone(&stop));
                let (name, said) = (key.clone(), Arc::clone(&told));
                let thread = thread::spawn(move || {
                    let batch = encode(&["INCR", &name]).repeat(pipeline);
                    while !stop.load(Ordering::Relaxed) && client.try_send_raw(&batch).is_ok() {
                        for _ in 0..pipeline {
                            // The server may be killed at any moment.
                            match client.recv_timeout(LONG) {
                                Ok(Value::Int(n)) => said.store(n as u64, Ordering::SeqCst),
                                Ok(other) => panic!("INCR answered {other}"),
                                Err(_) => return,
                            }
                        }
                    }
                });
                (key, told, thread)
            })
            .collect();
        Load { stop, writers }
    }

    /// Ends the writers; (key, value that was acknowledged) of each.
    fn finish(self) -> Vec<(String, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let ends = self.writers.into_iter().map(|(key, told, thread)| {
            thread.join().expect("a writer");
            (key, told.load(Ordering::SeqCst))
        });
        ends.collect()
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
    wait_for_rewrite(&mut client);
    assert!(server.log().contains("Starting automatic rewriting of AOF on "));
    let size: u64 = info(&mut client, "aof_current_size").parse().unwrap();
    assert!(size < 16 * 1024, "{size}");
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

// ---- On and off.

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

// ---- Kills.

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

// ---- Disks that are full.

/// Limits the size of the files that the server writes; `None` lifts that.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let status = Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), &format!("--fsize={limit}:unlimited")])
        .status();
    assert!(status.expect("prlimit can be run").success());
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

// ---- Waiting for the disk.

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
    wait_until("the replica's file", || {
        info(&mut replica.client(), "aof_rewrite_in_progress") == "0"
    });
    ok(&mut client, &["SET", "k", "1"]);
    client.expect(&["WAITAOF", "1", "1", "10000"], "*2\r\n:1\r\n:1\r\n");
}

// ---- Replicas.

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

// ---- The real one.

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
