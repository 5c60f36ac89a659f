//! Random commands to the program under test and to a real redis-server: every reply must be the
//! same, byte for byte, and so must the data in the end.
//!
//! Commands are made from [`SHAPES`], a table of syntaxes, with arguments that sit on limits, and
//! are damaged now and then: an argument left out, doubled or replaced. All follows from a seed.
//! Batches go to one connection or another; in every fourth, commands come one at a time over all
//! of them while others wait in blocking commands (see `differential/waiting.rs`).
//! Environment: `FERRODIS_DIFF_COMMANDS`, `FERRODIS_DIFF_SEED`, and `FERRODIS_DIFF_FAMILY` for the
//! commands of one family alone. After a mismatch both servers are emptied and the run goes on, so
//! that one run shows many.
//!
//! Nothing may depend on how fast a machine is: times to live are years, or over already.

#[path = "differential/events.rs"]
mod events;
#[path = "differential/hashes.rs"]
mod hashes;
#[path = "differential/intended.rs"]
mod intended;
#[path = "differential/lists.rs"]
mod lists;
#[path = "differential/rules.rs"]
mod rules;
#[path = "differential/sets.rs"]
mod sets;
#[path = "differential/streams.rs"]
mod streams;
mod support;
#[path = "differential/waiting.rs"]
mod waiting;
#[path = "differential/zsets.rs"]
mod zsets;

use events::Watchers;
use rules::{Mismatch, Rule, difference, name};
use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::fmt::Write;
use std::slice;
use std::thread;
use std::time::Duration;
use support::client::{Client, PATIENCE, Value, encode, quoted};
use support::fake::{Args, crc64, printed};
use support::random::{Random, setting};
use support::server::{RealRedis, Server};
use waiting::Waiters;

const DEFAULT_COMMANDS: u64 = 100_000;

/// Commands that are sent before their replies are read.
const BATCH: u64 = 100;

/// Commands between two comparisons of the whole data.
const DIGEST_EVERY: u64 = 5_000;

/// Connections that take turns: each has a database and a transaction of its own.
const CONNECTIONS: usize = 3;

/// Mismatches of one command that are shown, and mismatches that end a run.
const SHOWN_PER_COMMAND: usize = 3;
const ENOUGH: usize = 200;

/// Commands that are remembered, and those of them that a report shows because they name the same
/// key.
const HISTORY: usize = 2_000;
const SHOWN_BEFORE: usize = 10;

/// Characters of a key's value that are shown when the data differ.
const SHOWN_OF_VALUE: usize = 500;

const DATABASES: usize = 16;

const FLAGS: [&str; 4] = ["--save", "", "--enable-debug-command", "yes"];

/// What one file adds to the generator and to the comparison.
struct Family {
    /// As it is called in `FERRODIS_DIFF_FAMILY`.
    name: &'static str,
    /// As [`SHAPES`].
    shapes: &'static [(usize, &'static str)],
    /// Commands that wait until others serve them.
    waits: &'static [&'static str],
    /// Adds the arguments of a kind that is known to it; whether it is.
    argument: fn(&str, &mut Random, &mut Args) -> bool,
    /// How the reply to a command is compared.
    rule: fn(&Args) -> Option<Rule>,
}

/// All that is generated.
const FAMILIES: &[Family] =
    &[GENERAL, EVENTS, hashes::FAMILY, lists::FAMILY, sets::FAMILY, streams::FAMILY, zsets::FAMILY];

/// Channels.
const EVENTS: Family = Family {
    name: "events",
    shapes: events::SHAPES,
    waits: &[],
    argument: |_, _, _| false,
    rule: |_| None,
};

/// What belongs to no type.
const GENERAL: Family = Family {
    name: "general",
    shapes: SHAPES,
    waits: &[],
    argument: |_, _, _| false,
    rule: |_| None,
};

/// All shapes of some families, each with its family.
fn shapes(
    families: &'static [Family],
) -> impl Iterator<Item = (&'static Family, &'static (usize, &'static str))> {
    families.iter().flat_map(|family| family.shapes.iter().map(move |shape| (family, shape)))
}

/// The families that a run is about.
fn chosen() -> &'static [Family] {
    let Ok(name) = env::var("FERRODIS_DIFF_FAMILY") else {
        return FAMILIES;
    };
    let at = FAMILIES.iter().position(|family| family.name == name);
    let at = at.unwrap_or_else(|| panic!("there is no family {name}"));
    &FAMILIES[at..=at]
}

/// The syntax of commands, each with its weight. A word in capitals or digits stands for itself, in
/// random case; one in small letters names a kind of argument (see [`Generator::argument`]). `a|b`
/// is one of both and `a_b` both in this order. `[...]` comes or not, `[...]*` up to three times,
/// `{...}*` one to three times.
const SHAPES: &[(usize, &str)] = &[
    (30, "SET key value"),
    (40, "SET key value [NX|XX|GET|KEEPTTL|EX_ttl|PX_ttlms|EXAT_at|PXAT_atms]*"),
    (30, "GET key"),
    (8, "GETSET key value"),
    (8, "SETNX key value"),
    (6, "SETEX key ttl value"),
    (6, "PSETEX key ttlms value"),
    (8, "GETDEL key"),
    (10, "GETEX key [EX_ttl|PX_ttlms|EXAT_at|PXAT_atms|PERSIST]*"),
    (15, "APPEND key value"),
    (8, "STRLEN key"),
    (15, "SETRANGE key offset value"),
    (15, "GETRANGE key int int"),
    (4, "SUBSTR key int int"),
    (15, "INCR key"),
    (10, "DECR key"),
    (20, "INCRBY key int"),
    (15, "DECRBY key int"),
    (30, "INCRBYFLOAT key float"),
    (8, "MGET {key}*"),
    (8, "MSET {key_value}*"),
    (6, "MSETNX {key_value}*"),
    (12, "LCS key key [LEN|IDX|MINMATCHLEN_int|WITHMATCHLEN]*"),
    (8, "DEL {key}*"),
    (4, "UNLINK {key}*"),
    (6, "EXISTS {key}*"),
    (4, "TOUCH {key}*"),
    (6, "TYPE key"),
    (8, "RENAME key key"),
    (8, "RENAMENX key key"),
    (12, "COPY key key [DB_db|REPLACE]*"),
    (8, "MOVE key db"),
    (2, "SWAPDB db db"),
    (2, "DBSIZE"),
    (1, "RANDOMKEY"),
    (6, "KEYS pattern"),
    (10, "SCAN cursor [MATCH_pattern|COUNT_many|TYPE_type]*"),
    (1, "FLUSHDB [ASYNC|SYNC]"),
    (1, "FLUSHALL [ASYNC|SYNC]"),
    (12, "EXPIRE key ttl [NX|XX|GT|LT]*"),
    (12, "PEXPIRE key ttlms [NX|XX|GT|LT]*"),
    (12, "EXPIREAT key at [NX|XX|GT|LT]*"),
    (12, "PEXPIREAT key atms [NX|XX|GT|LT]*"),
    (6, "PERSIST key"),
    (8, "TTL key"),
    (8, "PTTL key"),
    (8, "EXPIRETIME key"),
    (8, "PEXPIRETIME key"),
    (12, "OBJECT ENCODING key"),
    (3, "OBJECT REFCOUNT key"),
    (4, "OBJECT IDLETIME key"),
    (2, "OBJECT FREQ key"),
    (1, "OBJECT word key"),
    (1, "OBJECT"),
    (8, "DUMP key"),
    (15, "RESTORE key ttlms payload [REPLACE|IDLETIME_idle|FREQ_int]*"),
    (5, "RESTORE key atms payload ABSTTL [REPLACE|IDLETIME_idle|FREQ_int]*"),
    (4, "DEBUG DIGEST-VALUE {key}*"),
    (1, "DEBUG word"),
    (15, "MULTI"),
    (20, "EXEC"),
    (4, "DISCARD"),
    (4, "PING [value]"),
    (4, "ECHO value"),
    (6, "SELECT db"),
    (1, "HELLO [2|3] [AUTH_value_value]*"),
    (1, "HELLO int"),
    (1, "RESET"),
    (1, "AUTH value [value]"),
    (2, "CLIENT SETNAME value"),
    (2, "CLIENT GETNAME"),
    (1, "CLIENT NO-EVICT ON|OFF|word"),
    (1, "CLIENT word [value]"),
    (1, "WAIT 0 int"),
    (4, "CONFIG GET {param}*"),
    (2, "CONFIG SET setting int"),
    (1, "CONFIG word [value]"),
    (2, "COMMAND GETKEYS command"),
    (2, "COMMAND GETKEYSANDFLAGS command"),
    (1, "COMMAND word"),
    (1, "unknown [value]*"),
];

/// Few keys, so that commands meet.
const KEYS: &str = "a b c d e key:1 key:2 key:3 KEY:1 h*[ x \
    a-key-that-is-longer-than-what-fits-beside-a-small-value-or-anywhere-inline";

const ODD_KEYS: [&[u8]; 2] = [b"", b"\r\n\0\xff"];

const INTS: &str = "0 1 2 3 5 10 42 100 -1 -2 -5 -100 255 9999 10000 10001 127 128 -128 -129 32767 \
    32768 -32768 -32769 2147483647 2147483648 -2147483648 -2147483649 4294967295 4294967296 \
    536870912 9223372036854775806 9223372036854775807 9223372036854775808 -9223372036854775807 \
    -9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616 +1 01 -0 \
    1.0 1e3 0x10 one";

/// Where SETRANGE writes: near, or beyond what a string may be.
const OFFSETS: &str = "0 1 2 5 10 43 44 45 100 300 -1 536870912 536870913 2147483648 4294967296 \
    9223372036854775807 9223372036854775808 -9223372036854775808 1.5 x";

const FLOATS: &str = "0 -0 0.1 0.2 0.3 -0.1 1 1.5 2.5 -1.5 3.0e3 1e5 1e-5 5.0e3 1e17 1e18 -1e17 \
    1e19 1e20 -1e20 1e100 -1e100 1e400 -1e400 1e-400 1e4931 1e4932 -1e4932 1e4933 1e-4950 inf -inf \
    +inf Infinity nan -nan NaN nan(1) 0x10 0x1p3 0x1p-3 1. .5 . e 1e 1e+ --1 \
    3.14159265358979323846 \
    0.00000000000000001 123456789012345678901234567890 1,5 9223372036854775807.5 1e-17 5e-18 \
    0.000000000000000005 999999999999999999.9 18446744073709551615 1e16 12345678.87654321";

/// Odd times to live in seconds. None that is valid may end within a run, and none may when EX is
/// read as PX.
const TTLS: &str = "0 -1 -100 4294967296 9223372036854775 9223372036854776 9223372036854775807 \
    9223372036854775808 -9223372036854775808 -9223372036854775809 9223370000000000 \
    -9223372036854775 -9223372036854776 1e9 100000000.5 nan 0x186a0000 ten +100000000 0100000000 \
    18446744073709551616";

/// The same in milliseconds.
const TTLS_MS: &str = "0 -1 -100000 9223372036854775807 9223372036854775808 -9223372036854775808 \
    -9223372036854775809 9223370000000000000 9223371000000000000 1e12 nan inf 100000000000.5 \
    0x10000000000 ten 18446744073709551616";

/// Moments in unix seconds: past ones and far ones, neither of which ends within a run when it is
/// read as a time to live.
const MOMENTS: &str = "0 -1 1000000000 1500000000 4000000000 4000000001 5000000000 99999999999 \
    9223372036854775 9223372036854776 9223372036854775807 9223372036854775808 \
    -9223372036854775808 -9223372036854775809 4e9 nan ten 4000000000.5 4500000000";

/// The same in milliseconds.
const MOMENTS_MS: &str = "0 -1 1000000000000 1500000000000 4000000000000 4000000000001 \
    99999999999999 9223372036854775807 9223372036854775808 -9223372036854775808 4e12 nan ten \
    4500000000000";

const WORDS: &str = "NX XX GET EX PX EXAT PXAT KEEPTTL PERSIST GT LT REPLACE DB MATCH COUNT TYPE \
    LEN IDX ABSTTL IDLETIME FREQ * foo set config 0 -1 string 9223372036854775808 nan ASYNC BY \
    STORE LIMIT ON NOPE \"quoted\" \\x 'x' % %s%n";

/// Names that no server has. They come from here because a random word might stop one.
const UNKNOWN: &str = "FOO GETT SE nosuchcommand | config|get get|x *1 $4";

const PATTERNS: &str = "* ? a key:* key:? k*:1 [a-c] [^a] [c-a] \\a \\ [ [a [^ h\\*\\[ KEY:* *:* \
    ** a*a*a*a*b [] [a- ?[ x* h*[[] *\\ nosort [a-ce] [\\a] [^a-c]";

/// Parameters whose values depend neither on the place nor on the version.
const PARAMS: &str = "maxmemory maxmemory-policy databases timeout tcp-keepalive \
    appendonly appendfsync hz save replica-read-only repl-backlog-size min-replicas-to-write \
    slowlog-log-slower-than slowlog-max-len lfu-log-factor lfu-decay-time rdbchecksum \
    rdbcompression stop-writes-on-bgsave-error nosuch proto-max-bulk-len notify-keyspace-events \
    slave-read-only lfu-* [lm]*factor";

/// Parameters that may get any number without consequences for the run.
const SETTINGS: &str = "slowlog-max-len lfu-decay-time lfu-log-factor latency-monitor-threshold \
    tcp-keepalive nosuch";

/// Makes commands.
struct Generator {
    random: Random,
    /// Where commands come from.
    families: &'static [Family],
    /// Whose command is being made.
    family: &'static Family,
    total_weight: usize,
    /// What comes next, whatever chance says, last first.
    pending: Vec<Args>,
    /// Whether somebody may wait for a key.
    some_wait: bool,
}

impl Generator {
    fn new(seed: u64, families: &'static [Family]) -> Generator {
        let total_weight = shapes(families).map(|(_, (weight, _))| weight).sum();
        let (random, family, pending) = (Random::new(seed), &families[0], Vec::new());
        Generator { random, families, family, total_weight, pending, some_wait: false }
    }

    fn command(&mut self) -> Args {
        if let Some(args) = self.pending.pop() {
            return args;
        }
        let args = self.random_command();
        let mut before = streams::before(&args).into_iter();
        if let Some(first) = before.next() {
            self.pending.push(args);
            self.pending.extend(before);
            return first;
        }
        // These see a key whose time is over until it is removed, which happens some time within
        // a tenth of a second, or when somebody looks at it.
        if matches!(name(&args, 0).as_slice(), b"DBSIZE" | b"DEBUG") {
            self.pending.push(args);
            let [first, second] = looks_at_all_keys();
            self.pending.push(second);
            return first;
        }
        // And these, when nothing is stored. The real server, also of 7.2, does not serve those who
        // wait for a key with what comes in the place of something else.
        if let Some(key) = destination(&args) {
            let look = if self.some_wait { b"DEL".to_vec() } else { b"EXISTS".to_vec() };
            let look = vec![look, key.clone()];
            self.pending.push(args);
            return look;
        }
        args
    }

    fn random_command(&mut self) -> Args {
        let mut point = self.random.below(self.total_weight);
        let mut shapes = shapes(self.families);
        let shape = loop {
            let (family, (weight, shape)) = shapes.next().expect("the weights add up");
            match point.checked_sub(*weight) {
                Some(rest) => point = rest,
                None => {
                    self.family = family;
                    break shape;
                }
            }
        };
        let mut args = self.fill(shape);
        // A blocking command with another time-out might wait for ever.
        let fragile = args[0] == b"COMMAND" || args[0].to_ascii_uppercase().starts_with(b"B");
        let chancy = sets::is_chancy(&args) || zsets::is_chancy(&args) || streams::is_timely(&args);
        if self.random.one_in(12) && !fragile && !chancy {
            self.damage(&mut args);
        }
        args
    }

    /// A command that waits until another serves it, if the families have one.
    fn waiting_command(&mut self) -> Option<Args> {
        let waits = |family: &'static Family| family.waits.iter().map(move |wait| (family, wait));
        let waits: Vec<_> = self.families.iter().flat_map(waits).collect();
        if waits.is_empty() {
            return None;
        }
        let (family, shape) = self.random.pick(&waits);
        self.family = family;
        Some(self.fill(shape))
    }

    fn fill(&mut self, shape: &str) -> Args {
        let mut args = Args::new();
        for token in shape.split(' ') {
            self.token(token, &mut args);
        }
        args
    }

    fn token(&mut self, token: &str, args: &mut Args) {
        let body = token.trim_matches(['[', ']', '{', '}', '*']);
        let times = match (token.starts_with('['), token.starts_with('{'), token.ends_with('*')) {
            (true, _, true) => self.random.below(4),
            (true, _, false) => self.random.below(2),
            (_, true, _) => 1 + self.random.below(3),
            _ => 1,
        };
        for _ in 0..times {
            let choice = self.random.below(body.split('|').count());
            let sequence = body.split('|').nth(choice).expect("one of them");
            // A name that stands alone may have this sign in it.
            let separator = if token.starts_with(['[', '{']) { '_' } else { ' ' };
            for item in sequence.split(separator) {
                self.argument(item, args);
            }
        }
    }

    fn argument(&mut self, kind: &str, args: &mut Args) {
        let random = &mut self.random;
        if (self.family.argument)(kind, random, args) {
            return;
        }
        let argument = match kind {
            "key" if random.one_in(20) => ODD_KEYS[random.below(2)].to_vec(),
            "key" => random.word(KEYS),
            "value" => self.value(),
            "int" => self.int(),
            // Redis counts to 194 days and makes less of what is more.
            "idle" => random.word("0 1 10 1000 100000 -1 x 9223372036854775808 1.5"),
            "offset" => random.word(OFFSETS),
            "float" if random.one_in(3) => self.int(),
            "float" if random.one_in(3) => self.decimal(),
            "float" => random.word(FLOATS),
            // The steps are longer than any run, so that GT and LT have one answer.
            "ttl" => match random.below(3) {
                0 => random.word(TTLS),
                _ => number(100_000_000 + random.below(1_000_000) as i64 * 10_000),
            },
            "ttlms" => match random.below(3) {
                0 => random.word(TTLS_MS),
                1 => b"0".to_vec(),
                _ => number(100_000_000_000 + random.below(1_000_000) as i64 * 10_000_000),
            },
            "at" => random.word(MOMENTS),
            "atms" => random.word(MOMENTS_MS),
            "db" => random.word("0 0 0 0 1 1 2 15 16 -1 x 2147483648 99999999999999999999"),
            "cursor" if random.one_in(4) => {
                random.word("1 -1 x 18446744073709551615 18446744073709551616 0x0 +0")
            }
            "cursor" => b"0".to_vec(),
            "many" => random.word("1000 1000 100000 0 -1 x 10 9223372036854775808 1000000"),
            "COMMAND" => b"COMMAND".to_vec(),
            "type" => random.word("string string STRING list hash zset nosuch"),
            "pattern" => random.word(PATTERNS),
            "payload" => self.payload(),
            "param" => random.word(PARAMS),
            "setting" => random.word(SETTINGS),
            "word" => self.odd_word(),
            "unknown" => random.word(UNKNOWN),
            "command" => {
                let outer = self.family;
                let mut inner = self.random_command();
                self.family = outer;
                // 7.0 takes no command without arguments here.
                while inner.len() < 2 {
                    inner = self.random_command();
                }
                return args.extend(inner);
            }
            literal => self.cased(literal),
        };
        args.push(argument);
    }

    /// A name as clients write it: mostly in capitals or small letters.
    fn cased(&mut self, name: &str) -> Vec<u8> {
        match self.random.below(4) {
            0 => name.to_ascii_lowercase().into_bytes(),
            1 => {
                let mut mixed = name.as_bytes().to_vec();
                for byte in &mut mixed {
                    if self.random.one_in(2) {
                        byte.make_ascii_lowercase();
                    }
                }
                mixed
            }
            _ => name.as_bytes().to_vec(),
        }
    }

    fn int(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        match random.below(10) {
            0 => number(random.bits() as i64),
            1 => number(random.below(200) as i64 - 100),
            2 => [&b""[..], b" 1", b"1 ", b"1\0", b"\t1"][random.below(5)].to_vec(),
            _ => random.word(INTS),
        }
    }

    /// A number with a fraction, and sometimes an exponent.
    fn decimal(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let whole = random.bits() as i64 >> random.below(64);
        let fraction = random.bits() >> random.below(64);
        let exponent = match random.below(3) {
            0 => format!("e{}", random.below(60) as i64 - 30),
            _ => String::new(),
        };
        format!("{whole}.{fraction}{exponent}").into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0..3 => self.int(),
            3 => self.random.word(FLOATS),
            4 => self.decimal(),
            5 => Vec::new(),
            6 => self.random.bytes(60),
            // Around the 44 bytes up to which a string is embedded.
            7 => vec![b'v'; 42 + self.random.below(5)],
            8 => vec![b'v'; self.random.below(2000)],
            9 => self.odd_word(),
            _ => {
                let words = 1 + self.random.below(4);
                (0..words).map(|_| self.random.word(WORDS)).collect::<Vec<_>>().concat()
            }
        }
    }

    fn odd_word(&mut self) -> Vec<u8> {
        match self.random.below(10) {
            0 => Vec::new(),
            1 => b"FOO\r\nBAR".to_vec(),
            2 => self.random.bytes(8),
            3 => vec![b'w'; 150],
            _ => self.random.word(WORDS),
        }
    }

    /// What DUMP gives for a string, as a server of version 7.0 writes it.
    fn payload(&mut self) -> Vec<u8> {
        let value = self.value();
        let mut payload = vec![0];
        let small = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<i8>().ok());
        match small {
            Some(small) if self.random.one_in(2) => payload.extend([0xc0, small as u8]),
            _ if value.len() < 64 => payload.push(value.len() as u8),
            _ => payload.extend([0x40 | (value.len() >> 8) as u8, value.len() as u8]),
        }
        if payload.len() < 3 || payload[1] != 0xc0 {
            payload.extend_from_slice(&value);
        }
        payload.extend([10, 0]);
        let crc = crc64(&payload);
        payload.extend(crc.to_le_bytes());
        if self.random.one_in(10) {
            let at = self.random.below(payload.len());
            match self.random.one_in(2) {
                true => payload.truncate(at),
                false => payload[at] ^= 1 << self.random.below(8),
            }
        }
        payload
    }

    fn damage(&mut self, args: &mut Args) {
        let at = 1 + self.random.below(args.len());
        match self.random.below(5) {
            0 if at < args.len() => drop(args.remove(at)),
            1 if at < args.len() => args[at] = self.odd_word(),
            2 if at < args.len() => {
                let doubled = args[at].clone();
                args.insert(at, doubled);
            }
            3 => args.insert(at, self.odd_word()),
            _ => args.push(self.odd_word()),
        }
    }
}

/// Commands that look at every key: SCAN removes what is over in the real server, and a look by
/// name in any.
fn looks_at_all_keys() -> [Args; 2] {
    let mut touch = vec![b"TOUCH".to_vec()];
    touch.extend(KEYS.split_whitespace().map(|key| key.as_bytes().to_vec()));
    touch.extend(ODD_KEYS.map(<[u8]>::to_vec));
    let scan = ["SCAN", "0", "COUNT", "1000000"].map(|word| word.as_bytes().to_vec());
    [touch, scan.to_vec()]
}

/// The key in which a command stores its result.
fn destination(args: &Args) -> Option<&Vec<u8>> {
    if name(args, 0).ends_with(b"STORE") {
        return args.get(1);
    }
    let mut words = args.iter();
    words.find(|word| matches!(word.to_ascii_uppercase().as_slice(), b"STORE" | b"STOREDIST"))?;
    words.next()
}

fn number(n: i64) -> Vec<u8> {
    n.to_string().into_bytes()
}

/// A connection to each server, and the commands that wait for EXEC.
struct Connection {
    ours: Client,
    theirs: Client,
    queued: Vec<Args>,
}

/// What one server answers to a command, or why there is no answer.
fn receive(client: &mut Client) -> Result<Value, String> {
    client.recv_timeout(PATIENCE).map_err(|e| format!("{e:?}"))
}

impl Connection {
    fn open(ours: &Server, theirs: &Server) -> Connection {
        Connection { ours: ours.client(), theirs: theirs.client(), queued: Vec::new() }
    }

    /// Sends commands to both servers and compares the replies, up to the first that differs: its
    /// place, and what is different.
    fn exchange(&mut self, commands: &[Args]) -> Option<(usize, Mismatch)> {
        let bytes: Vec<u8> = commands.iter().flat_map(|args| encode(args)).collect();
        // A server that is gone shows in the first missing reply.
        let _ = self.ours.try_send_raw(&bytes);
        self.theirs.send_raw(&bytes);
        for (i, args) in commands.iter().enumerate() {
            let (ours, theirs) = (receive(&mut self.ours), receive(&mut self.theirs));
            let found = match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) => difference(args, &self.queued, ours, theirs),
                _ => Some((args.clone(), format!("{ours:?}"), format!("{theirs:?}"))),
            };
            if let Some(found) = found {
                return Some((i, found));
            }
            match (name(args, 0).as_slice(), theirs) {
                (_, Ok(Value::Simple(text))) if text == b"QUEUED" => self.queued.push(args.clone()),
                (b"EXEC" | b"DISCARD" | b"RESET", _) => self.queued.clear(),
                _ => {}
            }
        }
        None
    }
}

/// Both servers, and what was found.
struct Run {
    ours: Server,
    theirs: Server,
    connections: Vec<Connection>,
    waiters: Waiters,
    watchers: Watchers,
    seed: u64,
    found: usize,
    /// The last commands since both servers were empty, latest first, and their connections.
    history: VecDeque<(usize, Args)>,
    /// Reports by command.
    reports: BTreeMap<String, Vec<String>>,
}

impl Run {
    fn start(seed: u64) -> Run {
        let (ours, theirs) = (Server::start(&FLAGS), RealRedis::start(&[]));
        let watchers = Watchers::start(&ours, &theirs);
        let waiters = Waiters::open(&ours, &theirs);
        let mut run = Run {
            ours,
            theirs,
            watchers,
            waiters,
            connections: Vec::new(),
            seed,
            found: 0,
            history: VecDeque::new(),
            reports: BTreeMap::new(),
        };
        run.reset();
        run
    }

    /// What a server answers to a command that it cannot refuse, unless it dies.
    fn ask(&self, server: &Server, client: &mut Client, args: &[&[u8]]) -> Value {
        let _ = client.try_send_raw(&encode(args));
        receive(client).unwrap_or_else(|error| {
            // What a dying server has to say takes a moment.
            thread::sleep(Duration::from_millis(300));
            let words: Args = args.iter().map(|arg| arg.to_vec()).collect();
            let (command, log, list) = (printed(&words), server.log(), self.list());
            panic!("{command}: {error}; the log:\n{log}\n{list}");
        })
    }

    /// Empties both servers and opens the connections anew.
    fn reset(&mut self) {
        for server in [&self.ours, &self.theirs] {
            self.ask(server, &mut server.client(), &[b"FLUSHALL"]);
        }
        self.history.clear();
        self.watchers.forget();
        let open = |_| Connection::open(&self.ours, &self.theirs);
        self.connections = (0..CONNECTIONS).map(open).collect();
        self.waiters.close();
        self.waiters = Waiters::open(&self.ours, &self.theirs);
    }

    fn list(&self) -> String {
        let reports: Vec<&str> = self.reports.values().flatten().map(String::as_str).collect();
        reports.join("\n")
    }

    fn record(&mut self, command: &str, report: String) {
        self.found += 1;
        let reports = self.reports.entry(command.to_owned()).or_default();
        if reports.len() < SHOWN_PER_COMMAND {
            reports.push(report);
        }
        self.reset();
    }

    /// One batch on one connection.
    fn batch(&mut self, index: u64, connection: usize, commands: &[Args]) {
        let mismatch = self.connections[connection].exchange(commands);
        let answered = mismatch.as_ref().map_or(commands.len(), |(at, _)| *at);
        for args in &commands[..answered] {
            self.remember(connection, args);
        }
        match mismatch {
            Some((at, mismatch)) => self.report(index + at as u64, connection, mismatch),
            None => self.compare_events(index, commands),
        }
    }

    /// As many commands as a batch has, one at a time over all connections, while others wait.
    fn turns(&mut self, index: u64, generator: &mut Generator) {
        let mut commands = Vec::new();
        let mut connection = 0;
        for at in index..index + BATCH {
            // What must come right before another command comes over the same connection.
            let is_free = generator.pending.is_empty();
            if is_free {
                connection = generator.random.below(CONNECTIONS);
            }
            let waiter = self.waiters.free();
            let wait = match waiter {
                Some(_) if is_free && generator.random.one_in(4) => generator.waiting_command(),
                _ => None,
            };
            let (who, args, mismatch) = match (waiter, wait) {
                (Some(waiter), Some(args)) => {
                    let mismatch = self.waiters.start(waiter, &args);
                    (CONNECTIONS + waiter, args, mismatch)
                }
                _ => {
                    let args = generator.command();
                    let exchanged = self.connections[connection].exchange(slice::from_ref(&args));
                    let mismatch = exchanged.map(|(_, mismatch)| mismatch);
                    (connection, args, mismatch.or_else(|| self.waiters.serve()))
                }
            };
            self.remember(who, &args);
            if let Some(mismatch) = mismatch {
                return self.report(at, who, mismatch);
            }
            commands.push(args);
        }
        match self.waiters.release() {
            Some(mismatch) => self.report(index + BATCH, CONNECTIONS, mismatch),
            None => self.compare_events(index, &commands),
        }
    }

    fn remember(&mut self, connection: usize, args: &Args) {
        self.history.push_front((connection, args.clone()));
        self.history.truncate(HISTORY);
    }

    fn report(&mut self, index: u64, connection: usize, mismatch: Mismatch) {
        let (args, ours, theirs) = mismatch;
        let mut report = format!(
            "seed {} command {} on connection {connection}: {}\n    ours   {}\n    theirs {}\n",
            self.seed,
            index,
            printed(&args),
            ours.replace('\n', "\n           "),
            theirs.replace('\n', "\n           "),
        );
        let since_multi = |(on, other): &&(usize, Args)| {
            *on == connection && name(other, 0) != b"MULTI" && name(&args, 0) == b"EXEC"
        };
        let mut before: Vec<_> = self.history.iter().take_while(since_multi).collect();
        let related = |(_, other): &&(usize, Args)| {
            let share = args.iter().skip(1).any(|arg| other.iter().skip(1).any(|o| o == arg));
            let concerns_all = name(&args, 0).starts_with(b"(");
            share || concerns_all || matches!(name(other, 0).as_slice(), b"SELECT" | b"SWAPDB")
        };
        before.extend(self.history.iter().filter(related).take(SHOWN_BEFORE));
        for (connection, args) in before.iter().rev() {
            let _ = writeln!(report, "    before, on {connection}: {}", printed(args));
        }
        let command = String::from_utf8_lossy(&name(&args, 0)).into_owned();
        self.record(&command, report);
    }

    /// Compares what subscribers have heard of a batch.
    fn compare_events(&mut self, index: u64, commands: &[Args]) {
        let Some(difference) = self.watchers.difference(commands) else {
            return;
        };
        let mut report = format!("seed {} batch {index}: events\n{difference}", self.seed);
        // The lines end in what differs: the key, in one of its channels.
        let concerned = |arg: &Vec<u8>| {
            let shown = quoted(arg);
            difference.contains(&format!(":{}", shown.trim_start_matches('"')))
                || difference.contains(&format!(": {shown}"))
        };
        for args in commands.iter().filter(|args| args.iter().skip(1).any(concerned)) {
            let _ = writeln!(report, "    batch: {}", printed(args));
        }
        self.record("(events)", report);
    }

    /// Compares the whole data.
    fn compare_data(&mut self, index: u64) {
        let digest = |server: &Server| {
            let mut client = server.client();
            for db in 0..DATABASES {
                self.ask(server, &mut client, &[b"SELECT", db.to_string().as_bytes()]);
                for look in looks_at_all_keys() {
                    let look: Vec<&[u8]> = look.iter().map(Vec::as_slice).collect();
                    self.ask(server, &mut client, &look);
                }
            }
            self.ask(server, &mut client, &[b"DEBUG", b"DIGEST"])
        };
        let (ours, theirs) = (digest(&self.ours), digest(&self.theirs));
        if ours == theirs {
            return;
        }
        let seed = self.seed;
        let mut report =
            format!("seed {seed} after command {index}: digest {ours}, theirs {theirs}\n");
        let (ours, theirs) = (contents(&self.ours), contents(&self.theirs));
        let only = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| {
            let differs = |(key, value): &(&String, &String)| b.get(*key) != Some(*value);
            let lines = a.iter().filter(differs).take(5);
            lines.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(report, "    ours   {}", only(&ours, &theirs));
        let _ = writeln!(report, "    theirs {}", only(&theirs, &ours));
        self.record("(data)", report);
    }
}

/// All keys of a server with their types, digests and values, and whether they expire.
fn contents(server: &Server) -> BTreeMap<String, String> {
    let mut client = server.client();
    let mut all = BTreeMap::new();
    for db in 0..DATABASES {
        client.cmd(&["SELECT", &db.to_string()]);
        for key in client.cmd(&["KEYS", "*"]).items() {
            let Value::Bulk(key) = key else {
                panic!("KEYS gave {key}");
            };
            let digest = client.cmd_bytes(&[&b"DEBUG"[..], b"DIGEST-VALUE", key]);
            let kind = client.cmd_bytes(&[b"TYPE", key.as_slice()]).text();
            let look: &[&[u8]] = match kind.as_str() {
                "string" => &[b"GET", key],
                "list" => &[b"LRANGE", key, b"0", b"-1"],
                "hash" => &[b"HLEN", key],
                "set" => &[b"SCARD", key],
                "zset" => &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
                _ => &[b"XINFO", b"STREAM", key, b"FULL"],
            };
            let value = format!("{kind} {digest} {}", client.cmd_bytes(look));
            let value: String = value.chars().take(SHOWN_OF_VALUE).collect();
            let expires = client.cmd_bytes(&[b"TTL", key.as_slice()]) != Value::Int(-1);
            all.insert(format!("{db}:{}", quoted(key)), format!("{value} expires={expires}"));
        }
    }
    all
}

#[test]
#[ignore = "needs redis-server"]
fn replies_and_data_equal_those_of_real_redis() {
    let seed = setting("FERRODIS_DIFF_SEED", 1);
    let commands = setting("FERRODIS_DIFF_COMMANDS", DEFAULT_COMMANDS);
    let mut generator = Generator::new(seed, chosen());
    let mut run = Run::start(seed);
    let mut index = 0;
    while index < commands && run.found < ENOUGH {
        generator.some_wait = generator.random.one_in(4) && generator.pending.is_empty();
        if generator.some_wait {
            run.turns(index, &mut generator);
        } else {
            let batch: Vec<Args> = (0..BATCH).map(|_| generator.command()).collect();
            let connection = generator.random.below(CONNECTIONS);
            run.batch(index, connection, &batch);
        }
        index += BATCH;
        if index.is_multiple_of(DIGEST_EVERY) || index >= commands {
            run.compare_data(index);
        }
    }
    let (found, list) = (run.found, run.list());
    assert!(found == 0, "{found} mismatches within {index} commands:\n{list}");
}

/// The generator itself: the same seed makes the same commands, all shapes come, and whatever may
/// stop a server or silence a connection does not.
#[test]
fn commands_follow_from_the_seed_and_are_harmless() {
    let make = |seed| {
        let mut generator = Generator::new(seed, FAMILIES);
        (0..20_000).map(|_| generator.command()).collect::<Vec<_>>()
    };
    let commands = make(7);
    assert_eq!(commands, make(7));
    assert_ne!(commands, make(8));
    let names: Vec<Vec<u8>> = commands.iter().map(|args| name(args, 0)).collect();
    for (_, (_, shape)) in shapes(FAMILIES) {
        let first = shape.split(' ').next().expect("a name").as_bytes();
        let made = names.iter().any(|name| name == first) || first == b"unknown";
        assert!(made, "{shape} is never made");
    }
    let harmful: [&[u8]; 10] = [
        b"SHUTDOWN",
        b"REPLY",
        b"QUIT",
        b"MONITOR",
        b"SLEEP",
        b"PAUSE",
        b"KILL",
        b"SUBSCRIBE",
        b"REPLICAOF",
        b"HELP",
    ];
    for args in &commands {
        let found = args.iter().find(|arg| harmful.contains(&arg.to_ascii_uppercase().as_slice()));
        assert!(found.is_none(), "{}", printed(args));
    }
}
