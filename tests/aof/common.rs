//! What the tests of the append-only file share: servers, their files, and a load of writes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Value, encode};
use crate::support::server::Server;
use crate::support::tmp::TempDir;

/// For what has no limit of its own but must not take for ever.
pub const LONG: Duration = Duration::from_secs(30);

pub fn is_long() -> bool {
    std::env::var_os("FERRODIS_LONG").is_some()
}

/// The flags of a server with an append-only file in `dir`.
pub fn flags<'a>(dir: &'a TempDir, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--save", "", "--enable-debug-command", "yes", "--dir", dir.text()];
    all.extend(["--appendonly", "yes"]);
    all.extend_from_slice(more);
    all
}

pub fn start_in(dir: &TempDir, more: &[&str]) -> Server {
    Server::start(&flags(dir, more))
}

/// A server that will not start: its exit code and its log.
pub fn refused(dir: &TempDir, more: &[&str]) -> (Option<i32>, String) {
    let mut server = Server::start_unready(&flags(dir, more));
    let status = server.wait_exit(LONG).expect("an end");
    (status.code(), server.log())
}

pub fn ok(client: &mut Client, args: &[&str]) {
    let reply = client.cmd(args);
    assert_eq!(reply, Value::simple("OK"), "{args:?}");
}

pub fn info(client: &mut Client, field: &str) -> String {
    let [text] = infos(client, [field]);
    text
}

/// Several fields of one INFO: what they say is true of one moment.
pub fn infos<const N: usize>(client: &mut Client, fields: [&str; N]) -> [String; N] {
    let text = client.cmd(&["INFO", "everything"]).text();
    fields.map(|field| {
        let prefix = format!("{field}:");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("INFO has no {field}")).trim().to_owned()
    })
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never came");
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn wait_for_rewrite(client: &mut Client) {
    wait_until("the end of a rewrite", || {
        infos(client, ["aof_rewrite_in_progress", "aof_rewrite_scheduled"]) == ["0", "0"]
    });
}

pub fn rewrite(client: &mut Client) {
    let reply = client.cmd(&["BGREWRITEAOF"]);
    assert_eq!(reply, Value::simple("Background append only file rewriting started"));
    wait_for_rewrite(client);
}

pub fn digest(client: &mut Client) -> String {
    client.cmd(&["DEBUG", "DIGEST"]).text()
}

pub fn aof_dir(dir: &TempDir) -> PathBuf {
    dir.path().join("appendonlydir")
}

pub fn manifest(dir: &TempDir) -> String {
    fs::read_to_string(aof_dir(dir).join("appendonly.aof.manifest")).unwrap_or_default()
}

pub fn file(dir: &TempDir, name: &str) -> Vec<u8> {
    fs::read(aof_dir(dir).join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The commands in a file, each with its words joined by blanks.
pub fn commands(bytes: &[u8]) -> Vec<String> {
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
pub fn lay_out(dir: &TempDir, files: &[(&str, &[u8])]) {
    fs::create_dir_all(aof_dir(dir)).expect("a directory");
    for (name, bytes) in files {
        fs::write(aof_dir(dir).join(name), bytes).expect("a file");
    }
}

pub const ONE_INCR: &[u8] = b"file appendonly.aof.1.incr.aof seq 1 type i\n";

/// The directory with one increment of these bytes.
pub fn lay_out_one(dir: &TempDir, bytes: &[u8]) {
    let files = [("appendonly.aof.manifest", ONE_INCR), ("appendonly.aof.1.incr.aof", bytes)];
    lay_out(dir, &files);
}

pub fn set(key: &str, value: &str) -> Vec<u8> {
    encode(&["SET", key, value])
}

/// Writers that count up keys of their own until told to stop; what each was told last.
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<(String, Arc<AtomicU64>, JoinHandle<()>)>,
}

impl Load {
    pub fn start(server: &Server, count: usize, pipeline: usize) -> Load {
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
    pub fn finish(self) -> Vec<(String, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let ends = self.writers.into_iter().map(|(key, told, thread)| {
            thread.join().expect("a writer");
            (key, told.load(Ordering::SeqCst))
        });
        ends.collect()
    }
}

/// Keys of every type, small and past every threshold.
pub fn fill_with_all_types(client: &mut Client) {
    for size in [1, 3, 64, 65, 129, 700] {
        let words: Vec<String> = (0..size).map(|i| format!("word {i}")).collect();
        let numbers: Vec<String> = (0..size).map(|i| (i * i - 7).to_string()).collect();
        for (kind, items) in [("words", &words), ("numbers", &numbers)] {
            let add = |client: &mut Client, command: &str, items: Vec<&str>| {
                let key = format!("{command}:{kind}:{size}");
                let reply = client.cmd(&[&[command, &key], &items[..]].concat());
                assert!(matches!(reply, Value::Int(_)), "{command}: {reply}");
            };
            add(client, "RPUSH", items.iter().map(String::as_str).collect());
            add(client, "SADD", items.iter().map(String::as_str).collect());
            let pairs = items.iter().zip(&numbers);
            add(client, "HSET", pairs.clone().flat_map(|(a, b)| [a.as_str(), b]).collect());
            add(client, "ZADD", pairs.flat_map(|(a, b)| [b.as_str(), a]).collect());
        }
    }
    let scores = ["ZADD", "scores", "-inf", "a", "inf", "b", "0.1", "c", "1e-300", "d"];
    assert_eq!(client.cmd(&scores), Value::Int(4));
    for i in 1..300 {
        client.cmd(&["XADD", "stream", &format!("{i}-{i}"), "field", &i.to_string(), "b", ""]);
    }
    client.cmd(&["XDEL", "stream", "7-7", "299-299"]);
    ok(client, &["XGROUP", "CREATE", "stream", "group", "0"]);
    client.cmd(&["XREADGROUP", "GROUP", "group", "a", "COUNT", "70", "STREAMS", "stream", ">"]);
    client.cmd(&["XACK", "stream", "group", "3-3", "9-9"]);
    client.cmd(&["XGROUP", "CREATECONSUMER", "stream", "group", "idle"]);
    ok(client, &["XGROUP", "CREATE", "empty", "group", "$", "MKSTREAM"]);
    ok(client, &["SET", "string", "text"]);
    ok(client, &["SET", "integer", "-17"]);
    assert_eq!(client.cmd(&["PEXPIREAT", "RPUSH:words:65", "9999999999999"]), Value::Int(1));
}

/// Limits the size of the files that the server writes; `None` lifts that.
pub fn limit_files(server: &Server, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let status = Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), &format!("--fsize={limit}:unlimited")])
        .status();
    assert!(status.expect("prlimit can be run").success());
}
