//! Commands about streams.
//!
//! No id is made from the clock, since both servers' clocks differ by a moment, and no time that
//! decides anything is near.

use super::support::client::Value;
use super::support::fake::Args;
use super::support::random::Random;
use super::{Family, Rule, name};

/// Streams.
pub const FAMILY: Family =
    Family { name: "streams", shapes: SHAPES, waits: WAITING, argument, rule };

/// Their syntaxes, as in the table of the others.
const SHAPES: &[(usize, &str)] = &[
    (80, "XADD key newid name value"),
    (40, "XADD key newid name value name value"),
    (10, "XADD key newid {name_value}*"),
    (25, "XADD key [NOMKSTREAM] [trimming] newid name value"),
    (5, "XADD key [trimming|NOMKSTREAM]* newid {name_value}* [name]"),
    (3, "XADD LASTS newid name value"),
    (1, "XADD LASTS 18446744073709551615-18446744073709551615 name value"),
    (1, "XADD LASTS 9-18446744073709551615 name value"),
    (1, "DEL LASTS"),
    (8, "XLEN key"),
    (15, "XRANGE key bound bound [COUNT_few]"),
    (15, "XREVRANGE key bound bound [COUNT_few]*"),
    (10, "XREAD [COUNT_few] STREAMS key oldid"),
    (10, "XREAD [COUNT_few] STREAMS key key oldid oldid"),
    (3, "XREAD COUNT few BLOCK moment STREAMS key oldid"),
    (15, "XDEL key {entryid}*"),
    (8, "XTRIM key trimming"),
    (2, "XSETID key highid [ENTRIESADDED_few|MAXDELETEDID_entryid]*"),
    (15, "XGROUP CREATE key group groupid MKSTREAM"),
    (8, "XGROUP CREATE key group groupid [MKSTREAM|ENTRIESREAD_few]*"),
    (6, "XGROUP SETID key group groupid [ENTRIESREAD_few]"),
    (1, "XGROUP DESTROY key group"),
    (3, "XGROUP CREATECONSUMER key group consumer"),
    (3, "XGROUP DELCONSUMER key group consumer"),
    (1, "XGROUP word key group"),
    (25, "XREADGROUP GROUP group consumer [COUNT_few] [NOACK] STREAMS key historyid"),
    (8, "XREADGROUP GROUP group consumer [COUNT_few|NOACK]* STREAMS key key historyid historyid"),
    (10, "XACK key group {entryid}*"),
    (6, "XPENDING key group"),
    (8, "XPENDING key group [IDLE_idletime] bound bound few [consumer]"),
    (15, "XCLAIM key group consumer idletime {entryid}* [claimoption]*"),
    (8, "XAUTOCLAIM key group consumer idletime bound [COUNT_few|JUSTID]*"),
    (6, "XINFO STREAM key"),
    (6, "XINFO STREAM key FULL [COUNT_few]"),
    (6, "XINFO GROUPS key"),
    (3, "XINFO CONSUMERS key group"),
    (1, "XINFO word key [word]"),
    (2, "CONFIG SET nodelimit nodesize"),
];

/// Commands that wait until they are served.
const WAITING: &[&str] = &[
    "XREAD BLOCK 0 STREAMS key $",
    "XREAD COUNT 2 BLOCK 0 STREAMS key 20-0",
    "XREADGROUP GROUP group consumer BLOCK 0 STREAMS key >",
    "XREADGROUP GROUP group consumer COUNT 1 BLOCK 0 NOACK STREAMS key >",
];

/// Ids whose order matters come from few.
fn small_id(random: &mut Random) -> Vec<u8> {
    format!("{}-{}", random.below(30), random.below(4)).into_bytes()
}

fn id_or(random: &mut Random, odd: &str) -> Vec<u8> {
    match random.below(8) {
        0 => random.below(30).to_string().into_bytes(),
        1 => random.word(odd),
        _ => small_id(random),
    }
}

const ODD_IDS: &str = "x 0 0-0 1- -1 1-2-3 1-* 18446744073709551615-18446744073709551615 \
    18446744073709551615 18446744073709551616 007-1 -1-1 1--1 1-+1 9-18446744073709551615 ";

fn argument(kind: &str, random: &mut Random, args: &mut Args) -> bool {
    let argument = match kind {
        "newid" => match random.below(20) {
            0..14 => format!("{}-*", random.below(40)).into_bytes(),
            14..18 => small_id(random),
            18 => format!("{}-*", 100 + random.below(2000)).into_bytes(),
            // The highest would stay the highest that was deleted, above what XSETID gets.
            _ => random.word("x 0 0-0 1- -1 1-2-3 1-* 18446744073709551616 007-1 -1-1 1--1 1-+1"),
        },
        "entryid" => id_or(random, ODD_IDS),
        "oldid" => id_or(random, "$ > 0 - (1 * x 18446744073709551615-18446744073709551615"),
        "historyid" if random.one_in(2) => b">".to_vec(),
        "historyid" => id_or(random, "$ 0 0 0 - (1 x 18446744073709551615-18446744073709551615"),
        "groupid" => id_or(random, "$ $ $ 0 0 0 - + x 2000-0"),
        // What XSETID gets lies above all that was deleted, which 7.2 minds and 7.0 does not.
        "highid" => format!("{}-{}", 3000 + random.below(100), random.below(3)).into_bytes(),
        "bound" => match random.below(4) {
            0 => b"-".to_vec(),
            1 => b"+".to_vec(),
            2 => [b"(", &small_id(random)[..]].concat(),
            _ => id_or(random, "( (x (0-0 (- $ x 18446744073709551615 (18446744073709551615"),
        },
        "few" => random.word("0 1 2 3 5 10 100 -1 x 1.5 9223372036854775808"),
        "moment" => random.word("1 2 -1 x 1.5"),
        "idletime" => random.word("0 0 0 0 1000000000 9223372036854775807 -1 x"),
        "group" => random.word("g g h"),
        "consumer" => random.word("alice bob"),
        "name" => random.word("f f f g 10 longer-name"),
        "nodelimit" => random.word("stream-node-max-entries stream-node-max-bytes"),
        "nodesize" => random.word("0 3 5 100 300 4096"),
        "trimming" => {
            args.extend(trimming(random));
            return true;
        }
        "claimoption" => {
            args.extend(claim_option(random));
            return true;
        }
        _ => return false,
    };
    args.push(argument);
    true
}

fn trimming(random: &mut Random) -> Args {
    let by_length = random.one_in(2);
    let mut args = vec![if by_length { b"MAXLEN".to_vec() } else { b"MINID".to_vec() }];
    args.extend(["~", "~", "=", ""].get(random.below(5)).map(|sign| sign.as_bytes().to_vec()));
    args.retain(|arg| !arg.is_empty());
    args.push(match (by_length, random.below(12)) {
        (_, 0) => random.word("-1 x 0 9223372036854775807 9223372036854775808 - 1-*"),
        (true, _) => random.below(25).to_string().into_bytes(),
        (false, _) => small_id(random),
    });
    if random.one_in(4) {
        args.push(b"LIMIT".to_vec());
        args.push(random.word("0 1 5 10 100 -1 x"));
    }
    args
}

fn claim_option(random: &mut Random) -> Args {
    let option = random.word("FORCE FORCE JUSTID IDLE TIME RETRYCOUNT LASTID");
    let value = match option.as_slice() {
        b"IDLE" => random.word("0 1 1000000 -1 x 9223372036854775807"),
        b"TIME" => random.word("0 1 1500000000000 -1 x 9223372036854775807"),
        b"RETRYCOUNT" => random.word("0 1 7 -1 x 9223372036854775807"),
        b"LASTID" => id_or(random, ODD_IDS),
        _ => return vec![option],
    };
    vec![option, value]
}

/// Whether a command that is damaged might take its id from the clock, or wait for ever.
pub fn is_timely(args: &Args) -> bool {
    [&b"XADD"[..], b"XREAD"].iter().any(|name| args[0].eq_ignore_ascii_case(name))
}

/// What has to come before a command: since 7.2 reading and claiming make the consumer, whatever
/// else comes of them.
pub fn before(args: &Args) -> Vec<Args> {
    let create = |key: &[u8], group: &[u8], consumer: &[u8]| {
        let args: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", key, group, consumer];
        args.map(<[u8]>::to_vec).to_vec()
    };
    match name(args, 0).as_slice() {
        b"XCLAIM" | b"XAUTOCLAIM" if args.len() > 3 => vec![create(&args[1], &args[2], &args[3])],
        b"XREADGROUP" => {
            let at = |word: &[u8]| args.iter().position(|arg| arg.eq_ignore_ascii_case(word));
            let (Some(group), Some(streams)) = (at(b"GROUP"), at(b"STREAMS")) else {
                return Vec::new();
            };
            let Some([group, consumer]) = args.get(group + 1..group + 3) else {
                return Vec::new();
            };
            let keys = &args[streams + 1..];
            keys.iter().take(keys.len() / 2).map(|key| create(key, group, consumer)).collect()
        }
        _ => Vec::new(),
    }
}

fn rule(args: &Args) -> Option<Rule> {
    match name(args, 0).as_slice() {
        b"XPENDING" | b"XINFO" => Some(Rule::Timeless),
        _ => None,
    }
}

/// A reply without the times in it, and without what 7.2 has added to it.
pub fn timeless(reply: &Value) -> Value {
    const OWN: [&[u8]; 4] = [b"idle", b"inactive", b"seen-time", b"active-time"];
    let own = |value: &Value| matches!(value, Value::Bulk(text) if OWN.contains(&&text[..]));
    match reply {
        Value::Map(pairs) => {
            let kept = pairs.iter().filter(|(name, _)| !own(name));
            Value::Map(kept.map(|(name, value)| (name.clone(), timeless(value))).collect())
        }
        // In RESP2 a map is an array: what stands behind such a name goes with it.
        Value::Array(items) => {
            let mut kept = Vec::new();
            let mut items = items.iter();
            while let Some(item) = items.next() {
                if own(item) {
                    items.next();
                } else {
                    kept.push(timeless(item));
                }
            }
            Value::Array(pending_without_time(kept))
        }
        other => other.clone(),
    }
}

/// A pending entry is its id, its consumer where that is not known, a time, and a count.
fn pending_without_time(mut items: Vec<Value>) -> Vec<Value> {
    let is_id = matches!(items.first(), Some(Value::Bulk(text)) if text.contains(&b'-'));
    if is_id && let [.., time @ Value::Int(_), Value::Int(_)] = items.as_mut_slice() {
        *time = Value::Int(0);
    }
    items
}
