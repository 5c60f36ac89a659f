//! The rows of the table as data: name, target and work.

use crate::bully::{Bully, Reading};
use crate::load::{Fill, Load};
use crate::options::Options;

pub struct Row {
    pub name: String,
    pub work: Work,
}

/// What a row does, and what it must reach.
pub enum Work {
    /// Requests per second: at least so many times those of the best of the others.
    Load(Load, f64),
    /// An empty server's first PONG after at most so many milliseconds.
    Start(f64),
    /// Work on an RDB file: at least so many times as fast as the best of the others.
    Rdb(RdbPhase, f64),
    /// At most so many bytes for each `__key__` or `__step__` of a fill.
    Bytes(Fill, f64),
    /// At most so many bytes for a connection.
    Idle(f64),
    Bully(Bully),
    /// So many keys; no batch takes longer than so many milliseconds.
    Insert(u64, f64),
}

#[derive(Clone, Copy)]
pub enum RdbPhase {
    Load,
    Save,
    FullSync,
}

/// Keys of SET, GET and INCR, all of which exist.
const STRINGS: u64 = 100_000;

/// Keys of the collections, which are empty at the start of each run, and as many possible members.
const COLLECTIONS: u64 = 1000;

/// Keys of the collections that are read.
const READ_COLLECTIONS: u64 = 100;

/// All rows in the order of the report.
pub fn all(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    let value = "x".repeat(options.value_bytes);
    let shapes = [(1, 1, 1.10, 2), (50, 1, 1.0, 8), (500, 1, 0.95, 2), (50, 16, 1.5, 8)];
    for (clients, pipeline, target, commands) in shapes.into_iter().chain([(50, 64, 2.0, 8)]) {
        for (name, load) in basic(&value).into_iter().take(commands) {
            let load = Load { clients, pipeline, ..load };
            rows.push(load_row(name, load, target));
        }
    }
    for pipeline in [1, 16] {
        for (name, load) in several(&value) {
            rows.push(load_row(name, Load { pipeline, ..load }, 1.2));
        }
    }
    large_values(&mut rows);
    append_only(&mut rows, &value);
    rdb(&mut rows);
    memory(&mut rows, options.items);
    bullies(&mut rows, options.bully_keys);
    rows
}

fn load_row(name: &str, load: Load, target: f64) -> Row {
    let clients = if load.clients == 1 { "1 client" } else { &format!("{} clients", load.clients) };
    let mut name = format!("{name}, {clients}");
    if load.pipeline > 1 {
        name.push_str(&format!(", pipeline {}", load.pipeline));
    }
    Row { name, work: Work::Load(load, target) }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn fill(keys: u64, steps: u64, request: &str) -> Fill {
    Fill { keys, steps, args: words(request) }
}

fn load(request: &str, range: u64, values: u64, fills: Vec<Fill>) -> Load {
    let (clients, pipeline) = (50, 1);
    Load { clients, pipeline, args: words(request), range, values, fills, settings: Vec::new() }
}

/// Commands of one key. SET and GET come first, because two rows want only them.
fn basic(value: &str) -> Vec<(&'static str, Load)> {
    let strings = vec![fill(STRINGS, 1, &format!("SET key:__key__ {value}"))];
    let counters = vec![fill(STRINGS, 1, "SET counter:__key__ 1")];
    let growing = |request: &str| load(&request.replace("VALUE", value), COLLECTIONS, 1, vec![]);
    vec![
        ("SET", load(&format!("SET key:__rand_int__ {value}"), STRINGS, 1, strings.clone())),
        ("GET", load("GET key:__rand_int__", STRINGS, 1, strings)),
        ("INCR", load("INCR counter:__rand_int__", STRINGS, 1, counters)),
        ("LPUSH", growing("LPUSH list:__rand_int__ VALUE")),
        ("SADD", growing("SADD set:__rand_int__ element:__rand_int__")),
        ("HSET", growing("HSET hash:__rand_int__ field:__rand_int__ VALUE")),
        ("ZADD", growing("ZADD zset:__rand_int__ __rand_int__ element:__rand_int__")),
        ("XADD", growing("XADD stream:__rand_int__ * field VALUE")),
    ]
}

/// Commands that touch many keys or elements.
fn several(value: &str) -> Vec<(&'static str, Load)> {
    let keys = READ_COLLECTIONS;
    let read = |request: &str, values: u64, filled: Vec<(u64, &str)>| {
        let fills = filled.into_iter().map(|(steps, request)| fill(keys, steps, request));
        load(request, keys, values, fills.collect())
    };
    let list = "RPUSH list:__key__ element:__step__";
    let zset = "ZADD zset:__key__ __step__ element:__step__";
    let hash = "HSET hash:__key__ field:__step__ value:__step__";
    let set = |name: &str| format!("SADD {name}:__key__ {name}:element:__step__");
    let mset = format!("MSET{}", format!(" key:__rand_int__ {value}").repeat(10));
    vec![
        ("MSET 10", load(&mset, STRINGS, 1, vec![])),
        ("LRANGE 100", read("LRANGE list:__rand_int__ 0 99", 101, vec![(600, list)])),
        ("LRANGE 600", read("LRANGE list:__rand_int__ 0 599", 601, vec![(600, list)])),
        ("ZRANGE 100", read("ZRANGE zset:__rand_int__ 0 99", 101, vec![(600, zset)])),
        ("HGETALL 50", read("HGETALL hash:__rand_int__", 101, vec![(50, hash)])),
        (
            "SUNION 1000+1000",
            read(
                "SUNION one:__rand_int__ two:__rand_int__",
                2001,
                vec![(1000, &set("one")), (1000, &set("two"))],
            ),
        ),
    ]
}

fn large_values(rows: &mut Vec<Row>) {
    let sizes = [("4 KB", 4096, 10_000, 50), ("64 KB", 65_536, 1000, 50)];
    for (name, bytes, keys, clients) in sizes.into_iter().chain([("1 MB", 1 << 20, 100, 10)]) {
        let value = "x".repeat(bytes);
        let fills = vec![fill(keys, 1, &format!("SET key:__key__ {value}"))];
        let get = load("GET key:__rand_int__", keys, 1, fills.clone());
        let set = load(&format!("SET key:__rand_int__ {value}"), keys, 1, fills);
        for (command, load) in [("GET", get), ("SET", set)] {
            rows.push(load_row(&format!("{command} of {name}"), Load { clients, ..load }, 1.0));
        }
    }
}

fn append_only(rows: &mut Vec<Row>, value: &str) {
    for (policy, target) in [("everysec", 1.0), ("always", 1.5)] {
        let (_, set) = basic(value).swap_remove(0);
        let settings = ["--appendonly", "yes", "--appendfsync", policy];
        let no_rewrites = ["--auto-aof-rewrite-percentage", "0"];
        let load = Load { settings: [&settings[..], &no_rewrites].concat(), ..set };
        rows.push(load_row(&format!("SET with AOF {policy}"), load, target));
    }
}

fn rdb(rows: &mut Vec<Row>) {
    let phases =
        [("load", RdbPhase::Load), ("BGSAVE", RdbPhase::Save), ("full sync", RdbPhase::FullSync)];
    for (name, phase) in phases {
        rows.push(Row { name: format!("RDB {name}"), work: Work::Rdb(phase, 1.0) });
    }
    rows.push(Row { name: "start to first PONG".to_owned(), work: Work::Start(10.0) });
}

/// Bytes per item. A number has 12 digits, so `key:__key__` has 16 bytes.
fn memory(rows: &mut Vec<Row>, items: u64) {
    let mut row = |name: &str, fill: Fill, target: f64| {
        let name = format!("memory of {name}");
        rows.push(Row { name, work: Work::Bytes(fill, target) });
    };
    let long = "val:__key__val:__key__";
    row("a string, 16 B key and value", fill(items, 1, "SET key:__key__ val:__key__"), 64.0);
    row("a string, 32 B value", fill(items, 1, &format!("SET key:__key__ {long}")), 88.0);
    let expiring = format!("SET key:__key__ {long} EX 100000");
    row("a string, 32 B value, with TTL", fill(items, 1, &expiring), 112.0);
    row("a member of a sorted set", fill(1, items, "ZADD zset __step__ mem:__step__"), 64.0);
    row("a field of a hash", fill(1, items, "HSET hash mem:__step__ val:__step__"), 64.0);
    row("a member of a set", fill(1, items, "SADD set mem:__step__"), 40.0);
    row("an element of a list", fill(1, items, "RPUSH list mem:__step__"), 18.5);
    let five = "HSET key:__key__ f1 v1 f2 v2 f3 v3 f4 v4 f5 v5";
    row("a hash of 5 short fields", fill(items, 1, five), 90.0);
    let name = "memory of an idle connection".to_owned();
    rows.push(Row { name, work: Work::Idle(24.0 * 1024.0) });
}

/// One client does something big while others do GET and SET.
fn bullies(rows: &mut Vec<Row>, many: u64) {
    let keys = || fill(many, 1, "SET key:__key__ xxx");
    let set = || fill(1, many, "SADD set element:__step__");
    let list = || fill(1, many / 5, "RPUSH list __rand_int__");
    let all = Reading::Everything;
    let bullies = [
        ("nobody", vec![], "PING", all),
        ("KEYS * of many keys", vec![keys()], "KEYS *", all),
        ("FLUSHALL of many keys", vec![keys()], "FLUSHALL", all),
        ("DEL of a big set", vec![set()], "DEL set", all),
        ("SORT of a long list", vec![list()], "SORT list", all),
        ("LRANGE to a stalled reader", vec![list()], "LRANGE list 0 -1", Reading::Nothing),
        ("SMEMBERS of a big set", vec![set()], "SMEMBERS set", all),
        ("BGSAVE of many keys", vec![keys()], "BGSAVE", Reading::UntilSaved),
    ];
    for (name, fills, command, reading) in bullies {
        let bully = Bully { fills, command: words(command), reading };
        rows.push(Row { name: format!("bully: {name}"), work: Work::Bully(bully) });
    }
    rows.push(Row { name: "insert of many keys".to_owned(), work: Work::Insert(2 * many, 5.0) });
}
