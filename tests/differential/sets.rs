//! What the generator makes for sets, bitmaps and HyperLogLogs: their shapes and arguments.
//!
//! Nothing here is left to chance that the servers take: members are only popped all at once.

use super::support::random::Random;
use super::{Args, Family};

/// Sets, bits and HyperLogLogs.
pub const FAMILY: Family =
    Family { name: "sets", shapes: SHAPES, waits: &[], argument, rule: |_| None };

/// As the other shapes.
const SHAPES: &[(usize, &str)] = &[
    (60, "SADD skey {member}*"),
    (30, "SADD skey members"),
    (25, "SREM skey {member}*"),
    (10, "SREM skey members"),
    (8, "SCARD skey"),
    (10, "SISMEMBER skey member"),
    (10, "SMISMEMBER skey {member}*"),
    (12, "SMEMBERS skey"),
    (6, "SPOP skey plenty"),
    (3, "SPOP skey odd"),
    (6, "SRANDMEMBER skey plenty"),
    (3, "SRANDMEMBER skey odd"),
    (20, "SMOVE skey skey member"),
    (20, "SINTER {skey}*"),
    (20, "SINTERSTORE skey {skey}*"),
    (10, "SINTERCARD 2 skey skey [LIMIT_count]*"),
    (4, "SINTERCARD count skey [skey] [LIMIT_count]"),
    (20, "SUNION {skey}*"),
    (20, "SUNIONSTORE skey {skey}*"),
    (20, "SDIFF {skey}*"),
    (20, "SDIFFSTORE skey {skey}*"),
    (20, "SSCAN skey cursor [MATCH_pattern|COUNT_many|TYPE_type]*"),
    (10, "COPY skey skey [DB_db|REPLACE]*"),
    (10, "DUMP skey"),
    (6, "OBJECT ENCODING skey"),
    (6, "DEBUG DIGEST-VALUE {skey}*"),
    (6, "DEL skey"),
    (50, "SETBIT bkey bitoffset bit"),
    (15, "GETBIT bkey bitoffset"),
    (20, "BITCOUNT bkey [int|int_int|near_near|int_int_BIT|near_near_BIT|near_near_BYTE]"),
    (25, "BITPOS bkey bit [near|near_near|near_near_BIT|int_int_BIT|near_near_BYTE|int]"),
    (20, "BITOP AND|OR|XOR|NOT bkey {bkey}*"),
    (5, "BITOP NOT bkey bkey"),
    (40, "BITFIELD bkey [step|step_step|step_step_step]"),
    (10, "BITFIELD_RO bkey [GET_field_bitoffset]*"),
    (3, "BITFIELD_RO bkey [step]"),
    (6, "OBJECT ENCODING bkey"),
    (3, "SET bkey value"),
    (2, "DEL bkey"),
    (40, "PFADD hkey [member]*"),
    (20, "PFADD hkey members"),
    (25, "PFCOUNT {hkey}*"),
    (15, "PFMERGE hkey [hkey]*"),
    (12, "PFDEBUG ENCODING|DECODE|DECODE|TODENSE|GETREG|odd hkey"),
    (3, "OBJECT ENCODING hkey"),
    (3, "DUMP hkey"),
    (6, "DEL hkey"),
];

/// Few keys of each kind, and some that hold anything.
const SET_KEYS: &str = "s:1 s:2 s:3 s:4 s:5 s:6 a b";
const BIT_KEYS: &str = "b:1 b:2 b:3 b:4 b:5 c d";
const HLL_KEYS: &str = "p:1 p:2 p:3 p:4 p:5 e";

const MEMBERS: &str = "a b c d e f g h i j k -1 -32768 -32769 32767 32768 2147483647 2147483648 \
    -2147483648 -2147483649 9223372036854775807 -9223372036854775808 9223372036854775808 01 +1 -0 \
    1.0 4095 4096 -4096 -4097 8388607 8388608";

const COUNTS: &str = "0 1 2 3 5 -1 x 9223372036854775807 9223372036854775808 1.5 100";

const ODD_COUNTS: &str = "0 -9223372036854775808 9223372036854775808 x 1.0 -x";

/// None that makes a long string.
const BIT_OFFSETS: &str = "0 1 2 3 5 7 8 9 15 16 31 32 62 63 64 65 100 127 128 171 175 176 177 \
    350 1000 -1 4294967296 9223372036854775807 9223372036854775808 x 1.5 #0 #1 #2 #7 #20 #-1 #x # \
    ##1";

const FIELDS: &str = "i1 i2 i5 i7 i8 i9 i16 i31 i32 i33 i63 i64 u1 u2 u5 u8 u9 u16 u32 u33 u62 \
    u63 u64 i65 i0 u0 x i u I8 8 u08";

const NUMBERS: &str = "0 1 -1 2 -2 3 7 8 127 128 -128 -129 255 256 -256 32767 32768 4294967295 \
    4294967296 9223372036854775807 -9223372036854775808 -9223372036854775807 9223372036854775808 x";

/// Adds the arguments of a kind that is known here; whether it is.
fn argument(kind: &str, random: &mut Random, args: &mut Args) -> bool {
    let argument = match kind {
        "skey" => random.word(SET_KEYS),
        "bkey" => random.word(BIT_KEYS),
        "hkey" => random.word(HLL_KEYS),
        "member" => member(random),
        "members" => {
            members(random, args);
            return true;
        }
        "count" => random.word(COUNTS),
        "odd" => random.word(ODD_COUNTS),
        "plenty" => random.word("1000000 9223372036854775807"),
        "bit" => random.word("0 1 0 1 0 1 0 1 0 1 2 -1 x 01"),
        "bitoffset" => random.word(BIT_OFFSETS),
        "near" => (random.below(60) as i64 - 30).to_string().into_bytes(),
        "field" => random.word(FIELDS),
        "step" => {
            step(random, args);
            return true;
        }
        _ => return false,
    };
    args.push(argument);
    true
}

/// Whether a command that lacks an argument would do what chance says.
pub fn is_chancy(args: &Args) -> bool {
    [&b"SPOP"[..], b"SRANDMEMBER"].iter().any(|name| args[0].eq_ignore_ascii_case(name))
}

fn member(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0..5 => random.below(30).to_string().into_bytes(),
        5 => vec![b'm'; 62 + random.below(5)],
        6 => random.bytes(6),
        _ => random.word(MEMBERS),
    }
}

/// Many members, with many of them common to all calls.
fn members(random: &mut Random, args: &mut Args) {
    let prefix = ["", "", "", "m", "k"][random.below(5)];
    let number = [5, 30, 130, 515][random.below(4)];
    let first = random.below(100);
    args.extend((first..first + number).map(|n| format!("{prefix}{n}").into_bytes()));
}

/// A subcommand of BITFIELD, with its arguments.
fn step(random: &mut Random, args: &mut Args) {
    let words: &[&str] = match random.below(5) {
        0 => &["GET", "field", "bitoffset"],
        1 => &["SET", "field", "bitoffset", "number"],
        2 | 3 => &["INCRBY", "field", "bitoffset", "number"],
        _ => &["OVERFLOW", "how"],
    };
    for word in words {
        let argument = match *word {
            // Mostly right ones: one that is wrong ends the command.
            "field" if !random.one_in(20) => {
                let first = [b'i', b'u'][random.below(2)];
                let bits = 1 + random.below(63);
                [&[first][..], bits.to_string().as_bytes()].concat()
            }
            "bitoffset" if !random.one_in(20) => random.below(200).to_string().into_bytes(),
            "field" => random.word(FIELDS),
            "bitoffset" => random.word(BIT_OFFSETS),
            "number" if random.one_in(3) => (random.bits() as i64).to_string().into_bytes(),
            "number" => random.word(NUMBERS),
            "how" => random.word("WRAP SAT FAIL sat fail Wrap x"),
            literal => literal.as_bytes().to_vec(),
        };
        args.push(argument);
    }
}
