//! What the generator makes for lists and SORT.

use super::support::random::Random;
use super::{Args, Family};

/// Lists.
pub const FAMILY: Family =
    Family { name: "lists", shapes: SHAPES, waits: WAITING, argument, rule: |_| None };

/// SORT has effects only with ALPHA: without it, the real server may fail because of an error that
/// an earlier number has left behind.
const SHAPES: &[(usize, &str)] = &[
    (40, "RPUSH lkey {value}*"),
    (40, "LPUSH lkey {value}*"),
    (30, "RPUSH lkey value {value}* {value}* {value}* {value}*"),
    (10, "RPUSHX lkey {value}*"),
    (10, "LPUSHX lkey {value}*"),
    (15, "LPOP lkey [int]"),
    (15, "RPOP lkey [int]"),
    (8, "LLEN lkey"),
    (15, "LINDEX lkey int"),
    (20, "LSET lkey int value"),
    (15, "LRANGE lkey int int"),
    (20, "LREM lkey rank value"),
    (8, "LTRIM lkey int int"),
    (30, "LINSERT lkey BEFORE|AFTER value value"),
    (20, "LPOS lkey value [RANK_rank|COUNT_int|MAXLEN_int]*"),
    (20, "LMOVE lkey lkey LEFT|RIGHT LEFT|RIGHT"),
    (10, "RPOPLPUSH lkey lkey"),
    (10, "LMPOP 1 lkey LEFT|RIGHT [COUNT_int]"),
    (10, "LMPOP 2 lkey lkey LEFT|RIGHT [COUNT_int]"),
    (5, "LMPOP int {lkey}* LEFT|RIGHT [COUNT_int]*"),
    (5, "BLPOP {lkey}* wait"),
    (5, "BRPOP {lkey}* wait"),
    (5, "BLMOVE lkey lkey LEFT|RIGHT LEFT|RIGHT wait"),
    (5, "BRPOPLPUSH lkey lkey wait"),
    (10, "SORT lkey [ASC|DESC|LIMIT_int_int]*"),
    (15, "SORT lkey ALPHA [ASC|DESC|LIMIT_int_int|STORE_lkey]*"),
    (10, "SORT llist BY sortpattern [ASC|DESC|LIMIT_int_int]*"),
    (15, "SORT llist ALPHA [ASC|DESC|LIMIT_int_int|GET_sortpattern|STORE_lkey]*"),
    (5, "SORT_RO llist ALPHA [ASC|DESC|LIMIT_int_int|GET_sortpattern|STORE_lkey]*"),
    (5, "BLMPOP wait 2 lkey lkey LEFT|RIGHT [COUNT_int]"),
];

/// Commands that wait until they are served. Of several keys one alone is ever there: 7.2 looks at
/// all of them again when one is ready, takes the first, and minds what another has become.
const WAITING: &[&str] = &[
    "BLPOP lkey 0",
    "BRPOP lkey 0",
    "BLPOP NEVER lkey 0",
    "BRPOP lkey NEVER NOR-THIS 0",
    "BLMOVE lkey lkey LEFT|RIGHT LEFT|RIGHT 0",
    "BRPOPLPUSH lkey lkey 0",
    "BLMPOP 0 1 lkey LEFT|RIGHT",
    "BLMPOP 0 2 lkey NEVER LEFT|RIGHT COUNT 2",
];

/// Few keys, and some that hold anything.
const KEYS: &str = "l:1 l:2 l:3 l:1 l:2 l:3 a b c d e";

/// Keys of lists alone. Other keys are not sorted with patterns: a key that is missed is an event,
/// and a set's members are looked up in the order in which each server happens to keep them.
const LISTS: &str = "l:1 l:2 l:3";

/// Patterns of SORT. None is without a star, which leaves a set in its order.
const SORT_PATTERNS: &str = "* key:* *->1 key:*->a k*y:* #* h*[* *-> -*";

/// Numbers that can be negated: 7.2 refuses the one that cannot.
const RANKS: &str = "0 1 2 3 -1 -2 -3 9223372036854775807 -9223372036854775807 \
    9223372036854775808 -9223372036854775809 1.5 x";

/// Time-outs of blocking commands: short, or refused.
const WAITS: &str = "0.001 0.01 0.0001 1e-9 0x1p-9 -1 x nan -inf";

/// Adds the arguments of a kind that is known here; whether it is.
fn argument(kind: &str, random: &mut Random, args: &mut Args) -> bool {
    let words = match kind {
        "lkey" => KEYS,
        "llist" => LISTS,
        "sortpattern" => SORT_PATTERNS,
        "rank" => RANKS,
        "wait" => WAITS,
        _ => return false,
    };
    args.push(random.word(words));
    true
}
