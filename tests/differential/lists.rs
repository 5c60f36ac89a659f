//! Commands about lists.

use super::Family;

/// Lists.
pub const FAMILY: Family = Family { shapes: SHAPES, argument: |_, _, _| false, rule: |_| None };

/// Their syntaxes, as in the table of the others.
const SHAPES: &[(usize, &str)] = &[
    (40, "RPUSH key {value}*"),
    (40, "LPUSH key {value}*"),
    (30, "RPUSH key value {value}* {value}* {value}* {value}*"),
    (10, "RPUSHX key {value}*"),
    (10, "LPUSHX key {value}*"),
    (15, "LPOP key [int]"),
    (15, "RPOP key [int]"),
    (8, "LLEN key"),
    (15, "LINDEX key int"),
    (20, "LSET key int value"),
    (15, "LRANGE key int int"),
    (20, "LREM key int value"),
    (8, "LTRIM key int int"),
    (30, "LINSERT key BEFORE|AFTER value value"),
    (20, "LPOS key value [RANK_int|COUNT_int|MAXLEN_int]*"),
    (20, "LMOVE key key LEFT|RIGHT LEFT|RIGHT"),
    (10, "RPOPLPUSH key key"),
    (10, "LMPOP 1 key LEFT|RIGHT [COUNT_int]"),
    (10, "LMPOP 2 key key LEFT|RIGHT [COUNT_int]"),
    (5, "LMPOP int {key}* LEFT|RIGHT [COUNT_int]*"),
    (5, "BLPOP {key}* wait"),
    (5, "BRPOP {key}* wait"),
    (5, "BLMOVE key key LEFT|RIGHT LEFT|RIGHT wait"),
    (5, "BRPOPLPUSH key key wait"),
    (5, "BLMPOP wait 2 key key LEFT|RIGHT [COUNT_int]"),
];

/// Time-outs of blocking commands: short, or refused.
pub const WAITS: &str = "0.001 0.01 0.0001 1e-9 0x1p-9 -1 x nan -inf";
