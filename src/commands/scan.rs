//! KEYS, SCAN, RANDOMKEY, DBSIZE: commands over the whole keyspace. They hold one shard at a time
//! and write their reply when they hold none.

use crate::base::rng::Rng;
use crate::engine::scan::{self, Budget, Names, Options, Pattern};
use crate::engine::spec::flag::{DANGEROUS, KEYSPACE};
use crate::engine::{Args, Command, Ctx, Group, Reply};
use crate::store::keyspace::SHARDS;
use crate::store::{Db, Expiry};

/// Elements, or buckets, that SCAN visits per hold of a shard: some hundred microseconds at most.
const VISITS_PER_HOLD: usize = 2_000;

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
        .syntax("cursor [MATCH pattern] [COUNT count] [TYPE type@6.0.0]")
        .complexity("O(1) for a call, O(N) for a whole iteration over N keys")
        .history(&[("6.0.0", "The option `TYPE`.")])
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

/// KEYS pattern
fn keys(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let pattern = Pattern::new(args.key());
    let now_ms = ctx.now_ms;
    let mut names = Names::default();
    for shard in 0..SHARDS {
        let mut place = 0;
        loop {
            place =
                ctx.with_shard(shard, |db| list(db, shard, place, now_ms, &pattern, &mut names));
            if place == 0 {
                break;
            }
            ctx.breathe();
        }
    }
    names.write(ctx.reply.parts());
    ctx.reply.done()
}

/// Lists keys of a shard from a place in its table on; the place to go on at, 0 at the end.
fn list(
    db: &mut Db,
    shard: usize,
    start: u64,
    now_ms: i64,
    pattern: &Pattern,
    names: &mut Names,
) -> u64 {
    let (index, hide) = (db.index(), db.expiry() != Expiry::Ignore);
    let dict = &db.held().shard(shard).parts[index].dict;
    let (mut place, mut left) = (start, VISITS_PER_HOLD);
    loop {
        // Where the table has shrunk since, the first bucket has keys that were listed before.
        let first = place == start;
        place = dict.scan(place, |entry| {
            left = left.saturating_sub(1);
            let known = first && is_before(dict.seed().hash(entry.key()), start);
            if !known && pattern.matches(entry.key()) && !(hide && entry.is_expired(now_ms)) {
                names.push(entry.key());
            }
        });
        left = left.saturating_sub(1);
        if place == 0 || left == 0 {
            return place;
        }
    }
}

/// Whether a scan meets a hash before it comes to a place: see [`Dict::scan`].
///
/// [`Dict::scan`]: crate::store::dict::Dict::scan
fn is_before(hash: u64, place: u64) -> bool {
    hash.reverse_bits() < place.reverse_bits()
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
fn scan(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let mut cursor = scan::parse_cursor(args.key())?;
    let options = Options::parse(args, true)?;
    let (budget, found) = (options.budget(), Names::default());
    let mut scan = Scan { options, now_ms: ctx.now_ms, budget, found };
    loop {
        let (shard, place) = (cursor as usize % SHARDS, cursor / SHARDS as u64);
        let next = ctx.with_shard(shard, |db| scan.visit(db, shard, place));
        if next != 0 && !scan.budget.is_spent() {
            ctx.breathe();
        }
        cursor = match next {
            // This shard is done; behind the last one all is.
            0 if shard + 1 == SHARDS => 0,
            0 => shard as u64 + 1,
            next => next * SHARDS as u64 + shard as u64,
        };
        if cursor == 0 || scan.budget.is_spent() {
            break;
        }
    }
    scan::reply(&mut ctx.reply, cursor, &scan.found)
}

/// One call of SCAN. The cursor is the place in a shard's table times [`SHARDS`], plus the shard's
/// number; shards are visited in order.
struct Scan<'a> {
    options: Options<'a>,
    now_ms: i64,
    budget: Budget,
    found: Names,
}

impl Scan<'_> {
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
            let mut visited = 0;
            place = dict.scan(place, |entry| {
                visited += 1;
                if !self.options.pattern.matches(entry.key()) {
                    return;
                }
                let type_name = entry.type_name().as_bytes();
                let wanted = self.options.type_name;
                if hide && entry.is_expired(self.now_ms) {
                    expired.push(entry.key().to_vec());
                } else if wanted.is_none_or(|t| t.eq_ignore_ascii_case(type_name)) {
                    self.found.push(entry.key());
                }
            });
            self.budget.spend_bucket(visited);
            left = left.saturating_sub(visited + 1);
            if place == 0 || left == 0 || self.budget.is_spent() {
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
    fn keys_are_drawn_from_shards_by_their_number() {
        let counts = [0, 2, 0, 1];
        let chosen: Vec<usize> = (0..3).map(|n| choose(&counts, n)).collect();
        assert_eq!(chosen, [1, 1, 3]);
    }
}
