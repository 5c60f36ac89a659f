//! Runs every script under `tests/scripts` (see `support/script.rs` for the format).
//!
//! Environment: `FERRODIS_SCRIPT=strings/set` runs only the scripts whose path contains that
//! text; `FERRODIS_RECORD=1` makes the oracle's test write its replies into the scripts, behind
//! commands that have none yet.

mod support;

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, fs, thread};
use support::client::Value;
use support::script::{Mode, Script, Stage};
use support::server::{RealRedis, Server};
use support::tmp::TempDir;

/// Scripts that sleep leave the processor to others, so more of them run than there are cores.
const WORKERS: usize = 4;

/// What the program is started with: nothing to save or load, and DEBUG for the scripts.
const FLAGS: [&str; 4] = ["--save", "", "--enable-debug-command", "yes"];

/// The server that the scripts are held against.
#[derive(Clone, Copy, PartialEq)]
enum Against {
    Program,
    RealRedis,
}

#[test]
fn scripts_with_whole_commands() {
    run_all(Mode::Whole, Against::Program);
}

#[test]
fn scripts_with_one_byte_per_write() {
    run_all(Mode::Fragments, Against::Program);
}

#[test]
#[ignore = "needs redis-server"]
fn scripts_against_real_redis() {
    run_all(Mode::Whole, Against::RealRedis);
}

/// Commands of a replication link, whose tests play its other end.
const ELSEWHERE: [&str; 7] =
    ["failover", "psync", "replconf", "replicaof", "role", "slaveof", "sync"];

#[test]
fn every_command_is_in_a_script() {
    let mut paths = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts"), "", &mut paths);
    let text = |path: &PathBuf| fs::read_to_string(path).expect("a script can be read");
    let scripts: Vec<String> = paths.iter().map(text).collect();
    let commands = scripts.iter().flat_map(|script| script.lines()).filter_map(|line| {
        let (_, command) = line.split_once('>').filter(|(name, _)| name.len() <= 1)?;
        command.split_whitespace().next()
    });
    let used: BTreeSet<String> = commands.map(str::to_lowercase).collect();
    let server = Server::start(&FLAGS);
    let known = server.client().cmd(&["COMMAND", "LIST"]);
    let known = known.items().iter().map(Value::text).filter(|name| !name.contains('|'));
    let missing: Vec<String> =
        known.filter(|name| !used.contains(name) && !ELSEWHERE.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "no script has {missing:?}");
}

/// The runner itself: a script of which every step but the first three is wrong.
#[test]
fn scripts_that_are_wrong_are_found_out() {
    let dir = TempDir::new("ferrodis-script");
    let path = dir.path().join("wrong.txt");
    let right = [
        "# comment",
        "> SET k \"a\\x00b\"",
        "OK",
        "~ SET k \"a\\x00b\"",
        "> MGET k none",
        "1) \"<any>\"",
        "2) (*)",
        "> STRLEN k",
        "(integer) <3..3>",
        "",
    ];
    let wrong = [
        ("> SET k v", "OK", "a missing effect"),
        ("> GET k", "\"v\"\n~ GET k", "an effect too many"),
        ("> SET k v", "OK\n~ SET k w", "another effect"),
        ("> GET k", "v", "a simple string for a bulk"),
        ("> GET none", "(nil array)", "a null of the other type"),
        ("> MGET k", "1) \"v\"\n2) (nil)", "a line too many"),
        ("> MGET k k", "1) \"v\"", "a line too few"),
        ("> STRLEN k", "(integer) <2..9>", "an integer out of range"),
        ("> GET k", "(no reply)", "a reply for silence"),
        ("> NOSUCH", "", "no expectation"),
    ];
    let text =
        |(command, reply, what): &(&str, &str, &str)| format!("# {what}\n{command}\n{reply}");
    let wrong_text: Vec<String> = wrong.iter().map(text).collect();
    let script = right.join("\n") + &wrong_text.join("\n");
    fs::write(&path, script).expect("a script can be written");
    let script = Script::load(&path).expect("a script that can be parsed");
    let found = start(Mode::Whole, Against::Program).run(&script);
    assert_eq!(found.len(), wrong.len(), "{}", found.join("\n"));
    for bad in ["OK", "> GET \"a", "! nosuch", "> SET k \"v\"x"] {
        fs::write(&path, bad).expect("a script can be written");
        assert!(Script::load(&path).is_err(), "{bad}");
    }
}

fn run_all(mode: Mode, against: Against) {
    let mut paths = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    collect(&root, &env::var("FERRODIS_SCRIPT").unwrap_or_default(), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no script found");
    let total = paths.len();
    let queue = Mutex::new(paths);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(total) {
            scope.spawn(|| work(mode, against, &queue, &failures));
        }
    });
    let mut failures = failures.into_inner().expect("no worker died");
    failures.sort();
    let list = failures.join("\n");
    assert!(failures.is_empty(), "{} mismatches:\n{list}", failures.len());
}

/// The scripts below a folder whose path contains a text.
fn collect(dir: &Path, wanted: &str, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the scripts can be listed") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            collect(&path, wanted, paths);
        } else if path.extension().is_some_and(|e| e == "txt")
            && path.to_string_lossy().contains(wanted)
        {
            paths.push(path);
        }
    }
}

/// Takes scripts from the queue until it is empty. After a mismatch the server's state is no
/// longer what the next script expects, so it gets a new one.
fn work(mode: Mode, against: Against, queue: &Mutex<Vec<PathBuf>>, failures: &Mutex<Vec<String>>) {
    let mut stage = None;
    let record = against == Against::RealRedis && env::var_os("FERRODIS_RECORD").is_some();
    loop {
        let next = queue.lock().expect("no worker died").pop();
        let Some(path) = next else {
            return;
        };
        // A panic (a reply that cannot be, a server that died) must name its script too.
        let run = panic::catch_unwind(AssertUnwindSafe(|| {
            let script = Script::load(&path).map_err(|what| vec![what])?;
            let on = stage.get_or_insert_with(|| start(mode, against));
            if record {
                on.record(&script);
                return Ok(());
            }
            match on.run(&script) {
                mismatches if mismatches.is_empty() => Ok(()),
                mismatches => Err(mismatches),
            }
        }));
        let problems = match run {
            Ok(Ok(())) => continue,
            Ok(Err(problems)) => problems,
            Err(_) => vec![format!("{}: panicked, see above", path.display())],
        };
        stage = None;
        failures.lock().expect("no worker died").extend(problems);
    }
}

fn start(mode: Mode, against: Against) -> Stage {
    // With FERRODIS_TEST_SERVER the program itself is a redis-server.
    let real = against == Against::RealRedis || env::var_os("FERRODIS_TEST_SERVER").is_some();
    let server = match against {
        Against::Program => Server::start(&FLAGS),
        Against::RealRedis => RealRedis::start(&[]),
    };
    Stage::new(server, mode, real)
}
