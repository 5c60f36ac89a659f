//! What is loaded, and what is refused.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::common::{
    LONG, digest, file, is_long, lay_out, lay_out_one, manifest, ok, refused, rewrite, set,
    start_in,
};
use crate::support::client::{Client, Value, encode};
use crate::support::random::Random;
use crate::support::tmp::TempDir;

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
