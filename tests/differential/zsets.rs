//! What the generator makes for sorted sets and places: their shapes and arguments.
//!
//! Scores are sums of powers of two, which both servers print alike although theirs prints
//! seventeen digits; longer ones, which come by damage, are compared as numbers ([`scores`]).
//! Ranges of members are only asked of keys whose members have one score. Distances are stored
//! where nobody looks at scores.

use super::support::client::Value;
use super::support::random::Random;
use super::{Args, Family, Rule, name};

/// Sorted sets and places.
pub const FAMILY: Family = Family { name: "zsets", shapes: SHAPES, waits: WAITING, argument, rule };

/// As the other shapes.
const SHAPES: &[(usize, &str)] = &[
    (60, "ZADD zkey [NX|XX|GT|LT|CH|INCR]* {score_zmember}*"),
    (30, "ZADD zkey [CH] zpairs"),
    (20, "ZINCRBY zkey score zmember"),
    (20, "ZREM zkey {zmember}*"),
    (8, "ZCARD zkey"),
    (10, "ZSCORE zkey zmember"),
    (8, "ZMSCORE zkey {zmember}*"),
    (10, "ZRANK zkey zmember"),
    (10, "ZREVRANK zkey zmember"),
    (25, "ZRANGE zkey near near [REV|WITHSCORES]*"),
    (25, "ZRANGE zkey end end BYSCORE [REV|WITHSCORES|LIMIT_near_near]*"),
    (5, "ZRANGE zkey near near [REV|WITHSCORES|BYSCORE|LIMIT_near_near]*"),
    (8, "ZREVRANGE zkey near near [WITHSCORES]"),
    (12, "ZRANGEBYSCORE zkey end end [WITHSCORES|LIMIT_near_near]*"),
    (12, "ZREVRANGEBYSCORE zkey end end [WITHSCORES|LIMIT_near_near]*"),
    (12, "ZRANGESTORE zkey zkey near near [REV]"),
    (12, "ZRANGESTORE zkey zkey end end BYSCORE [REV|LIMIT_near_near]*"),
    (12, "ZCOUNT zkey end end"),
    (6, "ZREMRANGEBYRANK zkey near near"),
    (6, "ZREMRANGEBYSCORE zkey end end"),
    (12, "ZPOPMIN zkey [near]"),
    (12, "ZPOPMAX zkey [near]"),
    (12, "ZMPOP 2 zkey zkey MIN|MAX [COUNT_near]"),
    (4, "ZMPOP near zkey [zkey] MIN|MAX [COUNT_near]*"),
    (5, "BZPOPMIN {zkey}* wait"),
    (5, "BZPOPMAX {zkey}* wait"),
    (5, "BZMPOP wait 2 zkey zkey MIN|MAX [COUNT_near]"),
    (4, "ZRANDMEMBER zkey [near] [WITHSCORES]"),
    (4, "ZRANDMEMBER zkey 100000 [WITHSCORES]"),
    (12, "ZSCAN zkey cursor [MATCH_pattern|COUNT_many]*"),
    (12, "ZUNION 2 zkey either [WEIGHTS_weight_weight|AGGREGATE_how|WITHSCORES]*"),
    (12, "ZINTER 2 zkey either [WEIGHTS_weight_weight|AGGREGATE_how|WITHSCORES]*"),
    (12, "ZDIFF 2 zkey either [WITHSCORES]"),
    (10, "ZINTERCARD 2 zkey either [LIMIT_near]"),
    (12, "ZUNIONSTORE zkey 3 zkey either zkey [WEIGHTS_weight_weight_weight|AGGREGATE_how]*"),
    (12, "ZINTERSTORE zkey 2 zkey either [WEIGHTS_weight_weight|AGGREGATE_how]*"),
    (12, "ZDIFFSTORE zkey 2 zkey either"),
    (3, "ZUNION near {zkey}* [WEIGHTS_weight|AGGREGATE_how|WITHSCORES]*"),
    (30, "ZADD lexkey 0 zmember 0 zmember 0 zmember"),
    (5, "ZADD lexkey zeros"),
    (12, "ZRANGE lexkey lexend lexend BYLEX [REV|LIMIT_near_near]*"),
    (12, "ZRANGEBYLEX lexkey lexend lexend [LIMIT_near_near]"),
    (12, "ZREVRANGEBYLEX lexkey lexend lexend [LIMIT_near_near]"),
    (12, "ZLEXCOUNT lexkey lexend lexend"),
    (5, "ZREMRANGEBYLEX lexkey lexend lexend"),
    (5, "ZRANGESTORE lexkey lexkey lexend lexend BYLEX [REV|LIMIT_near_near]*"),
    (3, "ZPOPMAX lexkey near"),
    (40, "GEOADD geokey [NX|XX|CH]* {longitude_latitude_zmember}*"),
    (10, "GEOPOS geokey {zmember}*"),
    (10, "GEOHASH geokey {zmember}*"),
    (12, "GEODIST geokey zmember zmember [unit]"),
    (20, "GEOSEARCH geokey from shape [order|WITHDIST|WITHCOORD|WITHHASH]*"),
    (10, "GEOSEARCH geokey shape from [order|WITHDIST|COUNT_near|COUNT_3_ANY]*"),
    (10, "GEOSEARCHSTORE geokey geokey from shape [order|COUNT_near]*"),
    (5, "GEOSEARCHSTORE away geokey from shape STOREDIST"),
    (10, "GEORADIUS geokey longitude latitude radius unit [order|WITHDIST|COUNT_near]*"),
    (5, "GEORADIUS geokey longitude latitude radius unit STORE geokey [order]"),
    (8, "GEORADIUSBYMEMBER geokey zmember radius unit [order|WITHDIST|COUNT_near]*"),
    (3, "GEORADIUSBYMEMBER geokey zmember radius unit STOREDIST away"),
    (5, "GEORADIUS_RO geokey longitude latitude radius unit [order|WITHHASH]*"),
    (5, "GEORADIUSBYMEMBER_RO geokey zmember radius unit [order|WITHCOORD]*"),
    (3, "ZCARD away"),
    (8, "OBJECT ENCODING zkey"),
    (10, "DUMP zkey"),
    (5, "DUMP lexkey"),
    (5, "DUMP geokey"),
    (8, "DEBUG DIGEST-VALUE {zkey}*"),
    (8, "COPY zkey zkey [REPLACE]"),
    (6, "DEL zkey"),
    (1, "DEL lexkey"),
    (1, "DEL geokey"),
];

/// Commands that wait until they are served (see those for lists).
const WAITING: &[&str] = &[
    "BZPOPMIN zkey 0",
    "BZPOPMAX zkey 0",
    "BZPOPMIN NEVER zkey 0",
    "BZMPOP 0 1 zkey MIN|MAX",
    "BZMPOP 0 2 zkey NEVER MIN|MAX COUNT 2",
];

/// Few keys, and some that hold anything.
const KEYS: &str = "z:1 z:2 z:3 z:4 z:5 a b";

const MEMBERS: &str = "a b c d e f g h 1 -1 10 007 1.5 \
    a-member-of-just-a-few-more-than-thirty-two-bytes \
    a-member-that-is-longer-than-the-sixty-four-bytes-that-a-listpack-may-hold";

const SCORES: &str = "0 1 -1 2 1.5 -2.25 0.125 100 1e3 -1000 4503599627370496 inf -inf +inf \
    Infinity 0x10 0x1p-3 007 .5 5.";

const ODD_SCORES: &str = "nan x -nan 1e400 1,5 1e 0x -- inf1 1_0";

const LEX_ENDS: &str = "- + - + [ ( [a (a [c (c [e (e [1 (1 [z (z [-1 [007 a -a +a x";

/// Adds the arguments of a kind that is known here; whether it is.
fn argument(kind: &str, random: &mut Random, args: &mut Args) -> bool {
    let argument = match kind {
        "zkey" => random.word(KEYS),
        "wait" => random.word("0.001 0.01 -1 x nan"),
        "either" => random.word("z:1 z:2 z:3 s:1 s:2 a"),
        "lexkey" => random.word("lex:1 lex:2"),
        "geokey" => random.word("geo:1 geo:2"),
        "zmember" => member(random),
        "score" if random.one_in(40) => random.word(ODD_SCORES),
        "score" => score(random),
        "end" => {
            let open = if random.one_in(3) { "(" } else { "" };
            [open.as_bytes(), &score(random)].concat()
        }
        "lexend" => random.word(LEX_ENDS),
        "near" if random.one_in(20) => {
            random.word("x 9223372036854775807 -9223372036854775808 1.5 9223372036854775808")
        }
        "near" => (random.below(24) as i64 - 8).to_string().into_bytes(),
        "weight" => random.word("1 1 -1 0 0.5 inf -inf x"),
        "how" => random.word("SUM MIN MAX sum x"),
        "unit" => random.word("m km ft mi KM x"),
        "order" => random.word("ASC DESC asc"),
        "away" => b"distances".to_vec(),
        "longitude" => degrees(random, 170),
        "latitude" => degrees(random, 45),
        "radius" => radius(random),
        _ => return several(kind, random, args),
    };
    args.push(argument);
    true
}

/// Kinds that stand for several arguments.
fn several(kind: &str, random: &mut Random, args: &mut Args) -> bool {
    let words: &[&str] = match kind {
        "from" if random.one_in(2) => &["FROMMEMBER", "zmember"],
        "from" => &["FROMLONLAT", "longitude", "latitude"],
        "shape" if random.one_in(2) => &["BYRADIUS", "radius", "unit"],
        "shape" => &["BYBOX", "radius", "radius", "unit"],
        "zpairs" => {
            let first = random.below(100);
            for number in first..first + [10, 40, 100][random.below(3)] {
                args.extend([score(random), format!("m{number}").into_bytes()]);
            }
            return true;
        }
        "zeros" => {
            let first = random.below(100);
            for number in first..first + 60 {
                args.extend([b"0".to_vec(), format!("c{number}").into_bytes()]);
            }
            return true;
        }
        _ => return false,
    };
    for word in words {
        if !argument(word, random, args) {
            args.push(word.as_bytes().to_vec());
        }
    }
    true
}

fn member(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0..4 => format!("m{}", random.below(40)).into_bytes(),
        4 => random.bytes(6),
        _ => random.word(MEMBERS),
    }
}

fn score(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => random.word(SCORES),
        1 => ((random.below(41) as f64 - 20.0) / 4.0).to_string().into_bytes(),
        _ => random.below(20).to_string().into_bytes(),
    }
}

/// Never so near to the edges of the map that the real server misses places; no two places are
/// equally far from a third, whose order would be each server's own.
fn degrees(random: &mut Random, max: i32) -> Vec<u8> {
    if random.one_in(40) {
        return random.word("181 -181 86 -86 x nan inf 1e400");
    }
    let part = (random.bits() >> 11) as f64 / (1u64 << 53) as f64;
    format!("{:.6}", (part * 2.0 - 1.0) * f64::from(max)).into_bytes()
}

fn radius(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => random.word("-1 x nan 0"),
        1..4 => random.word("1 50 1e2"),
        _ => format!("{}.5", random.below(2_000)).into_bytes(),
    }
}

/// Whether a command that is damaged would do what chance says, would give a key that has to be of
/// some kind another one, or would have an option that is new in 7.2.
pub fn is_chancy(args: &Args) -> bool {
    let special = |arg: &Vec<u8>| {
        [&b"lex:"[..], b"geo:", b"distances"].iter().any(|prefix| arg.starts_with(prefix))
    };
    let named = [&b"ZRANDMEMBER"[..], b"ZRANK", b"ZREVRANK"];
    named.iter().any(|name| args[0].eq_ignore_ascii_case(name)) || args.iter().any(special)
}

fn rule(args: &Args) -> Option<Rule> {
    match name(args, 0).as_slice() {
        // All members come in one order, some in any.
        b"ZRANDMEMBER" if args.get(2).is_none_or(|count| count != b"100000") => Some(Rule::Chance),
        b"ZSCAN" => Some(Rule::PairScan),
        _ => None,
    }
}

/// Digits with which 7.0 prints a score where the shortest form, which 7.2 prints, has others.
const DIGITS: usize = 17;

/// Whether scores stand in the reply to a command.
pub fn prints_scores(args: &Args) -> bool {
    [&b"Z"[..], b"BZ"].iter().any(|start| name(args, 0).starts_with(start))
}

/// A reply with all long numbers in it in one form.
pub fn scores(reply: &Value) -> Value {
    let number = |text: &[u8]| {
        let number: Option<f64> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        number.filter(|_| text.len() >= DIGITS)
    };
    match reply {
        Value::Bulk(text) => match number(text) {
            Some(number) => Value::Bulk(number.to_string().into_bytes()),
            None => reply.clone(),
        },
        Value::Double(text) => match number(text.as_bytes()) {
            Some(number) => Value::Double(number.to_string()),
            None => reply.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(scores).collect()),
        Value::Map(pairs) => {
            Value::Map(pairs.iter().map(|(k, v)| (scores(k), scores(v))).collect())
        }
        other => other.clone(),
    }
}

/// Whether a payload is a sorted set in one block that has a score in the longer form in it.
pub fn has_long_score(payload: &[u8]) -> bool {
    payload.first() == Some(&17) && payload.windows(2).any(|pair| pair == b"e+")
}
