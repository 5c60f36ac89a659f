//! Every argument of every command, replaced by numbers at the limits of their types and by what
//! only looks like a number. The server answers each at once, whatever the answer, and lives.
//!
//! The commands come from the server's own COMMAND, so none is forgotten; what they need to get
//! past their first check stands in [`FORMS`].

use crate::FLAGS;
use crate::support::client::{Client, PATIENCE, Value, encode};
use crate::support::fake::{Args, printed};
use crate::support::server::Server;
use crate::watch::Watch;
use std::time::{Duration, Instant};

/// What stands in for each argument in turn.
const LIMITS: [&str; 20] = [
    "-9223372036854775809",
    "-9223372036854775808",
    "-9223372036854775807",
    "-2147483649",
    "-2147483648",
    "-1",
    "0",
    "1",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "nan",
    "",
    "*",
];

/// So many digits make the longest number.
const DIGITS: usize = 10_000;

/// Within this time all variants of one argument are answered.
const ANSWER: Duration = Duration::from_secs(2);

/// Commands that wait, end the server or the connection, or change what it is.
const SKIPPED: &[&str] = &[
    "bgrewriteaof",
    "bgsave",
    "client|kill",
    "client|pause",
    "client|reply",
    "config|set",
    "debug",
    "failover",
    "monitor",
    "psync",
    "quit",
    "replconf",
    "replicaof",
    "save",
    "shutdown",
    "slaveof",
    "sync",
    "wait",
    "waitaof",
];

/// Whole command lines, for what the arity alone does not bring about.
const FORMS: &[&str] = &[
    "set k v EX 100",
    "set k v PX 100000",
    "set k v EXAT 4000000000",
    "set k v PXAT 4000000000000 NX GET",
    "setex k 100 v",
    "psetex k 100000 v",
    "getex k EX 100",
    "getex k PX 100000",
    "getex k EXAT 4000000000",
    "getex k PXAT 4000000000000",
    "setrange k 5 v",
    "getrange k 0 -1",
    "substr k 0 -1",
    "incrby n 1",
    "decrby n 1",
    "incrbyfloat n 1.5",
    "lcs k m IDX MINMATCHLEN 1 WITHMATCHLEN",
    "expire k 100 NX",
    "pexpire k 100000 XX",
    "expireat k 4000000000 GT",
    "pexpireat k 4000000000000 LT",
    "copy k m DB 1 REPLACE",
    "move k 1",
    "swapdb 0 1",
    "select 0",
    "scan 0 MATCH * COUNT 10 TYPE string",
    "sort k BY nosort LIMIT 0 1 GET # ASC ALPHA",
    "restore r 0 payload REPLACE ABSTTL IDLETIME 1",
    "restore r 0 payload REPLACE FREQ 1",
    "object freq k",
    "wait 0 1",
    "client kill ID 999999999",
    "client list ID 1 2",
    "client unblock 999999999 ERROR",
    "client no-evict on",
    "client tracking on REDIRECT 999999999",
    "client pause 100 WRITE",
    "hello 3 SETNAME name",
    "slowlog get 1",
    "latency histogram get",
    "memory usage k SAMPLES 5",
    "config get save",
    "command getkeys set k v",
    "command list FILTERBY PATTERN *",
    "debug object k",
    "debug stringmatch-len 10 *",
    "debug set-active-expire 1",
    "info server",
];

/// Names of commands and of subcommands (as in `config|get`) with their arity, from the server.
fn commands(client: &mut Client) -> Vec<(String, i64)> {
    let mut all = Vec::new();
    for command in client.cmd(&["COMMAND"]).items() {
        let describe = |entry: &Value| (entry.items()[0].text(), entry.items()[1].int());
        all.push(describe(command));
        let subcommands = command.items().get(9).map(|list| list.items().to_vec());
        all.extend(subcommands.unwrap_or_default().iter().map(describe));
    }
    all
}

/// Command lines of the right length for a command of that arity.
fn forms(name: &str, arity: i64) -> Vec<Args> {
    let mut args: Args = name.split('|').map(|word| word.as_bytes().to_vec()).collect();
    while args.len() < arity.unsigned_abs() as usize {
        args.push(b"k".to_vec());
    }
    let mut all = vec![args.clone()];
    if arity < 0 {
        for more in ["1", "k"] {
            args.push(more.as_bytes().to_vec());
            all.push(args.clone());
        }
    }
    all
}

/// Whether a variant of a command line would wait or silence the connection.
fn harmful(args: &Args) -> bool {
    let word = |at: usize| {
        let arg = args.get(at).map(|arg| arg.to_ascii_lowercase()).unwrap_or_default();
        String::from_utf8_lossy(&arg).into_owned()
    };
    match word(0).as_str() {
        // Without replicas any other count waits.
        "wait" => word(1) != "0",
        "client" => ["reply", "pause"].contains(&word(1).as_str()) && word(3) != "write",
        _ => false,
    }
}

/// All variants of one argument of a command line, sent and answered.
fn try_argument(client: &mut Client, form: &Args, at: usize) {
    let longest = "9".repeat(DIGITS);
    let mut batch = Vec::new();
    for limit in LIMITS.iter().copied().chain([longest.as_str()]) {
        let mut args = form.clone();
        args[at] = limit.as_bytes().to_vec();
        if harmful(&args) {
            continue;
        }
        batch.push(encode(&[&b"SET"[..], b"k", b"10"]));
        batch.push(encode(&args));
        if form[0] == b"client" && form[1] == b"pause" {
            batch.push(encode(&["CLIENT", "UNPAUSE"]));
        }
    }
    // Back to what the next form expects.
    for reset in
        [&["DISCARD"][..], &["SELECT", "0"], &["CLIENT", "TRACKING", "OFF"], &["HELLO", "2"]]
    {
        batch.push(encode(reset));
    }
    let asked = Instant::now();
    client.send_raw(&batch.concat());
    for _ in 0..batch.len() {
        let reply = client.recv_timeout(PATIENCE);
        let command = || format!("argument {at} of {}", printed(form));
        reply.unwrap_or_else(|e| panic!("{e:?} with a limit as {}", command()));
    }
    let took = asked.elapsed();
    assert!(took < ANSWER, "{took:?} for limits as argument {at} of {}", printed(form));
}

#[test]
fn limits_as_any_argument_do_no_harm() {
    let mut server = Server::start(&FLAGS);
    let watch = Watch::start(&server, false);
    let mut client = server.client();
    let known = commands(&mut client);
    assert!(known.len() > 5, "COMMAND gave {}", known.len());
    let skipped = |name: &str| {
        let parent = name.split('|').next().unwrap_or(name);
        SKIPPED.contains(&name) || SKIPPED.contains(&parent)
    };
    let derived = known.iter().filter(|(name, _)| !skipped(name));
    let mut all: Vec<Args> = derived.flat_map(|(name, arity)| forms(name, *arity)).collect();
    all.extend(FORMS.iter().map(|f| f.split(' ').map(|word| word.as_bytes().to_vec()).collect()));
    for form in &all {
        for at in 1..form.len() {
            try_argument(&mut client, form, at);
        }
    }
    watch.end(&mut server);
}

/// Parameters that a test must leave alone: they move the server away, or end the test's client.
const FIXED: [&str; 4] = ["port", "tls-port", "unixsocketperm", "maxmemory-clients"];

#[test]
fn limits_as_any_parameter_do_no_harm() {
    let mut server = Server::start(&FLAGS);
    let watch = Watch::start(&server, false);
    let mut client = server.client();
    let parameters = client.cmd(&["CONFIG", "GET", "*"]);
    let pairs: Vec<[String; 2]> = match &parameters {
        Value::Array(items) => items.chunks(2).map(|p| [p[0].text(), p[1].text()]).collect(),
        other => panic!("CONFIG GET gave {other}"),
    };
    let numbers = pairs
        .iter()
        .filter(|[name, old]| old.parse::<i64>().is_ok() && !FIXED.contains(&name.as_str()));
    let mut tried = 0;
    for [name, old] in numbers {
        for limit in LIMITS {
            let reply = client.cmd(&["CONFIG", "SET", name, limit]);
            let sane = matches!(&reply, Value::Simple(_))
                || matches!(&reply, Value::Error(text) if text.starts_with(b"ERR "));
            assert!(sane, "CONFIG SET {name} {limit}: {reply}");
            let restored = client.cmd(&["CONFIG", "SET", name, old]);
            let fixed = restored.to_string().contains("immutable");
            assert!(restored == Value::simple("OK") || fixed, "{name} {old}: {restored}");
            tried += 1;
        }
    }
    assert!(tried > 0, "no parameter is a number");
    watch.end(&mut server);
}
