//! KEYS, SCAN, RANDOMKEY, DBSIZE: commands over the whole keyspace. They hold one shard at a time
//! and write their reply when they hold none.

use crate::base::glob;
use crate::base::rng::Rng;
use crate::engine::spec::flag::{DANGEROUS, KEYSPACE};
use crate::engine::{Args, Command, Ctx, Group, Reply};
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::store::dict::Slot;
use crate::store::keyspace::SHARDS;
use crate::store::{Db, Expiry};

/// Elements, or buckets, that SCAN visits per hold of a shard: some hundred microseconds at most.
const VISITS_PER_HOLD: u64 = 2_000;

/// Without COUNT, SCAN visits about so many elements.
const DEFAULT_COUNT: u64 = 10;

/// Buckets per wanted element that SCAN visits at most, so that a sparse table ends a call, too.
const BUCKETS_PER_ELEMENT: u64 = 10;

/// Draws of RANDOMKEY on a replica, which may not remove the expired keys that it meets.
const REPLICA_DRAWS: usize = 100;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("keys", keys)
        .group(Group::Generic)
        .readonly()
        .flags(KEYSPACE | DANGEROUS)
        .locks_one_by_one()
        .arity(2)
        .syntax("pattern")
        .complexity("O(N) where N is the number of keys in the database")
        .summary("Lists the keys whose names match a pattern.")
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"]),
    Command::new("scan", scan)
        .group(Group::Generic)
        .since("2.8.0")
        .readonly()
        .flags(KEYSPACE)
        .locks_one_by_one()
        .arity(-2)
        .syntax("cursor [MATCH pattern] [COUNT count] [TYPE type]")
        .complexity("O(1) for a call, O(N) for a whole iteration over N keys")
        .summary("Lists the keys a few at a time.")
        .tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"]),
    Command::new("randomkey", randomkey)
        .group(Group::Generic)
        .readonly()
        .flags(KEYSPACE)
        .locks_one_by_one()
        .arity(1)
        .complexity("O(1)")
        .summary("Names a random key.")
        .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]),
    Command::new("dbsize", dbsize)
        .group(Group::Server)
        .readonly()
        .fast()
        .flags(KEYSPACE)
        .locks_one_by_one()
        .arity(1)
        .complexity("O(1)")
        .summary("Counts the keys of the database.")
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
];

/// Names of keys, one behind the other: millions of them cost no allocation each.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    fn write(&self, out: &mut Out) {
        out.array(self.ends.len());
        let mut start = 0;
        for &end in &self.ends {
            out.bulk(&self.bytes[start..end]);
            start = end;
        }
    }
}

/// A glob pattern for names of keys.
struct Pattern<'a>(Option<&'a [u8]>);

impl<'a> Pattern<'a> {
    /// A lone `*` matches every name, even the empty one, which no other pattern with a star does.
    fn new(pattern: &'a [u8]) -> Self {
        Pattern((pattern != b"*").then_some(pattern))
    }

    fn matches(&self, name: &[u8]) -> bool {
        self.0.is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}

/// KEYS pattern
fn keys(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let pattern = Pattern::new(args.key());
    let now_ms = ctx.now_ms;
    let mut names = Names::default();
    for shard in 0..SHARDS {
        ctx.with_shard(shard, |db| {
            let (index, hide) = (db.index(), db.expiry() != Expiry::Ignore);
            for entry in db.held().shard(shard).parts[index].dict.iter() {
                if pattern.matches(entry.key()) && !(hide && entry.is_expired(now_ms)) {
                    names.push(entry.key());
                }
            }
        });
    }
    names.write(ctx.reply.parts());
    ctx.reply.done()
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
fn scan(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let mut cursor = parse_cursor(args.key())?;
    let mut scan = Scan::parse(args, ctx.now_ms)?;
    loop {
        let (shard, place) = (cursor as usize % SHARDS, cursor / SHARDS as u64);
        let next = ctx.with_shard(shard, |db| scan.visit(db, shard, place));
        cursor = match next {
            // This shard is done; behind the last one all is.
            0 if shard + 1 == SHARDS => 0,
            0 => shard as u64 + 1,
            next => next * SHARDS as u64 + shard as u64,
        };
        if cursor == 0 || scan.is_enough() {
            break;
        }
    }
    let out = ctx.reply.parts();
    out.array(2);
    out.bulk(cursor.to_string().as_bytes());
    scan.names.write(out);
    ctx.reply.done()
}

/// Reads a cursor as C's `strtoul` does in Redis: up to a NUL, with a sign, nothing being 0.
fn parse_cursor(arg: &[u8]) -> Result<u64, Error> {
    let text = arg.split(|&b| b == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::INVALID_CURSOR);
    }
    // ASCII digits are text. A lone sign is refused here, and so is what is too large.
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    let value: u64 = digits.parse().map_err(|_| Error::INVALID_CURSOR)?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// One call of SCAN. The cursor is the place in a shard's table times [`SHARDS`], plus the shard's
/// number; shards are visited in order.
struct Scan<'a> {
    pattern: Pattern<'a>,
    type_name: Option<&'a [u8]>,
    now_ms: i64,
    /// Elements yet to visit, whether they are answered or not.
    wanted: u64,
    /// Buckets that may yet be visited.
    buckets: u64,
    names: Names,
}

impl<'a> Scan<'a> {
    fn parse(args: &mut Args<'a>, now_ms: i64) -> Result<Self, Error> {
        let (mut pattern, mut type_name, mut count) = (Pattern(None), None, DEFAULT_COUNT);
        while !args.is_empty() {
            if args.word("count") {
                let wanted = u64::try_from(args.int()?).ok().filter(|&count| count > 0);
                count = wanted.ok_or(Error::SYNTAX)?;
            } else if args.word("match") {
                pattern = Pattern::new(args.bytes()?);
            } else if args.word("type") {
                type_name = Some(args.bytes()?);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        let buckets = count.saturating_mul(BUCKETS_PER_ELEMENT);
        let names = Names::default();
        Ok(Scan { pattern, type_name, now_ms, wanted: count, buckets, names })
    }

    fn is_enough(&self) -> bool {
        self.wanted == 0 || self.buckets == 0
    }

    /// Visits buckets of a shard from a place on; the place to go on at, 0 at the end.
    fn visit(&mut self, db: &mut Db, shard: usize, mut place: u64) -> u64 {
        let (index, hide) = (db.index(), db.expiry() != Expiry::Ignore);
        let dict = &db.held().shard(shard).parts[index].dict;
        if dict.is_empty() {
            // Costs nothing, so that few keys in many shards are still scanned in one call.
            return 0;
        }
        let (mut expired, mut left) = (Vec::new(), VISITS_PER_HOLD);
        loop {
            place = dict.scan(place, |entry| {
                self.wanted = self.wanted.saturating_sub(1);
                left = left.saturating_sub(1);
                let type_name = entry.value.type_name().as_bytes();
                let right_type = self.type_name.is_none_or(|t| t.eq_ignore_ascii_case(type_name));
                if !right_type || !self.pattern.matches(entry.key()) {
                    return;
                }
                if hide && entry.is_expired(self.now_ms) {
                    expired.push(entry.key().to_vec());
                } else {
                    self.names.push(entry.key());
                }
            });
            self.buckets -= 1;
            left = left.saturating_sub(1);
            if place == 0 || left == 0 || self.is_enough() {
                break;
            }
        }
        for key in expired {
            // Looking at an expired key removes it, where that is ours to do.
            db.exists(&key);
        }
        place
    }
}

/// RANDOMKEY
fn randomkey(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let mut rng = Rng::from_os();
    let mut draws = 0;
    loop {
        let counts = count_keys(ctx);
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return ctx.reply.null();
        }
        let shard = choose(&counts, rng.next_u64() % total);
        let drawn = ctx.with_shard(shard, |db| {
            let index = db.index();
            let dict = &db.held().shard(shard).parts[index].dict;
            let key = dict.random(&mut || rng.next_u64())?.key().to_vec();
            let live = db.exists(&key);
            Some((key, live))
        });
        draws += 1;
        let last = ctx.db.expiry() == Expiry::Hide && draws >= REPLICA_DRAWS;
        if let Some((key, live)) = drawn
            && (live || last)
        {
            return ctx.reply.bulk(&key);
        }
    }
}

/// The shard that holds the key number `n` when they are counted through all shards.
fn choose(counts: &[u64], mut n: u64) -> usize {
    let holds = |&count: &u64| {
        let here = n < count;
        n = n.saturating_sub(count);
        here
    };
    counts.iter().position(holds).unwrap_or_default()
}

/// DBSIZE
fn dbsize(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let total: u64 = count_keys(ctx).iter().sum();
    ctx.reply.int(total as i64)
}

/// Number of keys of the selected database in each shard.
fn count_keys(ctx: &mut Ctx) -> Vec<u64> {
    let count = |shard| {
        ctx.with_shard(shard, |db| {
            let index = db.index();
            db.held().shard(shard).parts[index].dict.len() as u64
        })
    };
    (0..SHARDS).map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_in_c() {
        let read = |text: &[u8]| parse_cursor(text).ok();
        assert_eq!(
            (read(b""), read(b"0"), read(b"+7"), read(b"007")),
            (Some(0), Some(0), Some(7), Some(7))
        );
        assert_eq!((read(b"-1"), read(b"5\0x")), (Some(u64::MAX), Some(5)));
        assert_eq!(read(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b"x"[..], b"-", b"+", b" 1", b"1 ", b"1.5", b"18446744073709551616"] {
            assert_eq!(read(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn keys_are_drawn_from_shards_by_their_number() {
        let counts = [0, 2, 0, 1];
        let chosen: Vec<usize> = (0..3).map(|n| choose(&counts, n)).collect();
        assert_eq!(chosen, [1, 1, 3]);
    }
}
