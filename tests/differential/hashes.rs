//! What the generator makes for hashes: their shapes and arguments, and how replies are compared.
//!
//! Nothing here is left to chance that the servers take: random fields are only asked for all at
//! once. Deadlines of fields are missing, as the real server of version 7.0 has none.

use super::support::random::Random;
use super::{Args, Family, Rule, name};

/// Hashes.
pub const FAMILY: Family = Family { name: "hashes", shapes: SHAPES, waits: &[], argument, rule };

const SHAPES: &[(usize, &str)] = &[
    (60, "HSET hash {hfield_hvalue}*"),
    (40, "HSET hash manyfields"),
    (10, "HMSET hash {hfield_hvalue}*"),
    (15, "HSETNX hash hfield hvalue"),
    (20, "HGET hash hfield"),
    (20, "HMGET hash {hfield}*"),
    (20, "HGETALL hash"),
    (40, "HDEL hash {hfield}*"),
    (10, "HDEL hash fewfields"),
    (10, "HLEN hash"),
    (10, "HEXISTS hash hfield"),
    (10, "HKEYS hash"),
    (10, "HVALS hash"),
    (15, "HSTRLEN hash hfield"),
    (50, "HINCRBY hash hfield int"),
    (60, "HINCRBYFLOAT hash hfield float"),
    (15, "HRANDFIELD hash hplenty [WITHVALUES]"),
    (5, "HRANDFIELD hash hodd [WITHVALUES]"),
    (15, "HSCAN hash cursor [MATCH_pattern|COUNT_many|TYPE_type]*"),
    (15, "OBJECT ENCODING hash"),
    (15, "DUMP hash"),
    (10, "COPY hash hash [REPLACE]"),
    (5, "RENAME hash hash"),
    (5, "DEBUG DIGEST-VALUE {hash}*"),
    (10, "DEL hash"),
    (2, "SET hash value"),
    (2, "GET hash"),
    (2, "EXPIRE hash ttl"),
];

/// Few keys, and some that hold anything.
const KEYS: &str = "h:1 h:2 h:3 h:4 h:5 a b";

const FIELDS: &str = "a b c d e f g 0 1 -1 01 +1 1.0 127 128 -32769 2147483648 4294967296 \
    9223372036854775807 -9223372036854775808 9223372036854775808";

/// Adds the arguments of a kind that is known here; whether it is.
fn argument(kind: &str, random: &mut Random, args: &mut Args) -> bool {
    let argument = match kind {
        "hash" => random.word(KEYS),
        "hfield" => field(random),
        "hvalue" => value(random),
        "hplenty" => random.word("0 1000000 1000000 9223372036854775807 +5"),
        "hodd" => {
            random.word("x 1.5 9223372036854775808 -9223372036854775808 -9223372036854775809")
        }
        "manyfields" => {
            fields(random, true, args);
            return true;
        }
        "fewfields" => {
            fields(random, false, args);
            return true;
        }
        _ => return false,
    };
    args.push(argument);
    true
}

fn field(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0..4 => random.below(30).to_string().into_bytes(),
        // Around the 64 bytes up to which a listpack takes them.
        4 if random.one_in(4) => vec![b'f'; 62 + random.below(5)],
        5 => random.bytes(6),
        _ => random.word(FIELDS),
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0..3 => ((random.bits() as i64) >> random.below(64)).to_string().into_bytes(),
        3 if random.one_in(4) => vec![b'v'; 62 + random.below(5)],
        4 if random.one_in(8) => vec![b'v'; random.below(20_000)],
        5 => Vec::new(),
        6 => random.bytes(20),
        7 => random.word("0 -0 0.1 1e5 3.0e3 -1.5 10.50 1e400 nan inf 0x10 1. .5 x 5e-18 1e17"),
        _ => random.word(FIELDS),
    }
}

/// Many fields, each once, with many of them common to all calls.
fn fields(random: &mut Random, values: bool, args: &mut Args) {
    let prefix = ["", "", "m"][random.below(3)];
    let count = [5, 30, 130, 300, 512][random.below(5)];
    let first = random.below(100);
    for number in first..first + count {
        args.push(format!("{prefix}{number}").into_bytes());
        if values {
            args.push(value(random));
        }
    }
}

/// How the reply to a command is compared.
fn rule(args: &Args) -> Option<Rule> {
    match name(args, 0).as_slice() {
        b"HGETALL" => Some(Rule::Pairs),
        b"HRANDFIELD" if args.len() < 3 || args[2].len() < 4 => Some(Rule::Chance),
        b"HRANDFIELD" if args.len() > 3 => Some(Rule::Pairs),
        b"HRANDFIELD" => Some(Rule::Unordered),
        b"HKEYS" | b"HVALS" => Some(Rule::Unordered),
        b"HSCAN" => Some(Rule::PairScan),
        _ => None,
    }
}
