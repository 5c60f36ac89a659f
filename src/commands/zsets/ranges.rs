//! Ranges of sorted sets, by rank, by score and by member: ZRANGE and its like, the counts, and the
//! removals.

use std::ops::Range;

use super::{begin_members, push_member, remove_ranks, store};
use crate::base::num::parse_i64;
use crate::data::Zset;
use crate::data::zset::{LexRange, ScoreRange};
use crate::engine::spec::Handler;
use crate::engine::spec::access::{ACCESS, DELETE, OW, RO, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;

const READ_COST: &str = "O(log(N)+M), N being the size of the sorted set and M that of the reply";
const REMOVAL_COST: &str =
    "O(log(N)+M), N being the size of the sorted set and M the number of members removed";

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    reader("zrange", zrange)
        .since("1.2.0")
        .syntax(
            "key start:string stop:string [sortby@6.2.0: BYSCORE | BYLEX] [REV@6.2.0] \
             [limit@6.2.0: LIMIT offset count] [WITHSCORES]",
        )
        .history(&[("6.2.0", "The options `REV`, `BYSCORE`, `BYLEX`, `LIMIT`.")])
        .summary("Lists the members in a range."),
    reader("zrevrange", zrevrange)
        .since("1.2.0")
        .syntax("key start stop [WITHSCORES]")
        .summary("Lists the members in a range of ranks, the last first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    reader("zrangebyscore", zrangebyscore)
        .since("1.0.5")
        .syntax("key min:double max:double [WITHSCORES@2.0.0] [limit: LIMIT offset count]")
        .history(&[("2.0.0", "The option `WITHSCORES`.")])
        .summary("Lists the members in a range of scores.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    reader("zrevrangebyscore", zrevrangebyscore)
        .since("2.2.0")
        .syntax("key max:double min:double [WITHSCORES] [limit: LIMIT offset count]")
        .history(&[("2.1.6", "Ranges without their ends.")])
        .summary("Lists the members in a range of scores, the last first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    reader("zrangebylex", zrangebylex)
        .since("2.8.9")
        .syntax("key min max [limit: LIMIT offset count]")
        .summary("Lists the members in a range of members.")
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    reader("zrevrangebylex", zrevrangebylex)
        .since("2.8.9")
        .syntax("key max min [limit: LIMIT offset count]")
        .summary("Lists the members in a range of members, the last first.")
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    Command::new("zrangestore", zrangestore)
        .group(Group::SortedSet)
        .since("6.2.0")
        .write()
        .deny_oom()
        .arity(-5)
        .keys(&[KeySpec::at(1, OW | UPDATE), KeySpec::at(2, RO | ACCESS)])
        .syntax("dst src min max [sortby: BYSCORE | BYLEX] [REV] [limit: LIMIT offset count]")
        .complexity(READ_COST)
        .summary("Stores the members in a range in another key."),
    Command::new("zcount", zcount)
        .group(Group::SortedSet)
        .since("2.0.0")
        .readonly()
        .fast()
        .arity(4)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key min:double max:double")
        .complexity("O(log(N)) with N being the size of the sorted set")
        .summary("Counts the members in a range of scores."),
    Command::new("zlexcount", zlexcount)
        .group(Group::SortedSet)
        .since("2.8.9")
        .readonly()
        .fast()
        .arity(4)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key min max")
        .complexity("O(log(N)) with N being the size of the sorted set")
        .summary("Counts the members in a range of members."),
    remover("zremrangebyrank", zremrangebyrank)
        .since("2.0.0")
        .syntax("key start stop")
        .summary("Removes the members in a range of ranks."),
    remover("zremrangebyscore", zremrangebyscore)
        .since("1.2.0")
        .syntax("key min:double max:double")
        .summary("Removes the members in a range of scores."),
    remover("zremrangebylex", zremrangebylex)
        .since("2.8.9")
        .syntax("key min max")
        .summary("Removes the members in a range of members."),
];

const READ_KEYS: &[KeySpec] = &[KeySpec::at(1, RO | ACCESS)];
const REMOVAL_KEYS: &[KeySpec] = &[KeySpec::at(1, RW | DELETE)];

const fn reader(name: &'static str, handler: Handler) -> Command {
    Command::new(name, handler)
        .group(Group::SortedSet)
        .readonly()
        .arity(-4)
        .keys(READ_KEYS)
        .complexity(READ_COST)
}

const fn remover(name: &'static str, handler: Handler) -> Command {
    Command::new(name, handler)
        .group(Group::SortedSet)
        .write()
        .arity(4)
        .keys(REMOVAL_KEYS)
        .complexity(REMOVAL_COST)
}

/// What a range is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The ends of a range, read.
enum Bounds<'a> {
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Bounds<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, Error> {
        let int = |text| parse_i64(text).ok_or(Error::NOT_INTEGER);
        match by {
            By::Rank => Ok(Bounds::Rank(int(min)?, int(max)?)),
            By::Score => {
                ScoreRange::parse(min, max).map(Bounds::Score).ok_or(Error::RANGE_NOT_FLOAT)
            }
            By::Lex => LexRange::parse(min, max).map(Bounds::Lex).ok_or(Error::RANGE_NOT_STRING),
        }
    }

    /// The ranks that it means. `reverse`: ranks are given from the end, and members are visited
    /// from there.
    fn ranks(&self, zset: &Zset, reverse: bool) -> Range<usize> {
        match self {
            Bounds::Rank(start, stop) => ranks_between(*start, *stop, zset.len(), reverse),
            Bounds::Score(range) => zset.ranks_by_score(range),
            Bounds::Lex(range) => zset.ranks_by_lex(range, reverse),
        }
    }
}

/// The ranks from one index to another, both included and from the end where negative.
fn ranks_between(start: i64, stop: i64, len: usize, reverse: bool) -> Range<usize> {
    let signed = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(signed) } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(signed - 1));
    if start > stop {
        return 0..0;
    }
    let (start, end) = (start as usize, stop as usize + 1);
    if reverse { len - end..len - start } else { start..end }
}

/// A range with all that ZRANGE may say about it.
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

impl<'a> Query<'a> {
    /// Reads what is behind the key. What the command's name says already is not an option;
    /// `stored`: WITHSCORES is none either.
    fn parse(
        args: &mut Args<'a>,
        mut by: Option<By>,
        mut reverse: Option<bool>,
        stored: bool,
    ) -> Result<Self, Error> {
        let (first, second) = (args.bytes()?, args.bytes()?);
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        while !args.is_empty() {
            if !stored && args.word("withscores") {
                with_scores = true;
            } else if args.left() > 2 && args.word("limit") {
                (offset, limit) = (args.int()?, args.int()?);
            } else if reverse.is_none() && args.word("rev") {
                reverse = Some(true);
            } else if by.is_none() && args.word("bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && args.word("byscore") {
                by = Some(By::Score);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(Error::LIMIT_BY_RANK);
        }
        if with_scores && by == By::Lex {
            return Err(Error::WITHSCORES_BY_LEX);
        }
        let turned = reverse && by != By::Rank;
        let (min, max) = if turned { (second, first) } else { (first, second) };
        let bounds = Bounds::parse(by, min, max)?;
        Ok(Query { bounds, reverse, with_scores, offset, limit })
    }

    /// The ranks that it means, without what LIMIT leaves out.
    fn ranks(&self, zset: &Zset) -> Range<usize> {
        let ranks = self.bounds.ranks(zset, self.reverse);
        if matches!(self.bounds, Bounds::Rank(..)) {
            return ranks;
        }
        // A negative offset passes everything by, as in Redis.
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).min(ranks.len());
        let left = ranks.len() - offset;
        let count = usize::try_from(self.limit).unwrap_or(usize::MAX).min(left);
        if self.reverse {
            let end = ranks.end - offset;
            end - count..end
        } else {
            let start = ranks.start + offset;
            start..start + count
        }
    }

    fn visit(&self, zset: &Zset, ranks: Range<usize>, visit: impl FnMut(&[u8], f64)) {
        if self.reverse {
            zset.each_back(ranks, visit);
        } else {
            zset.each(ranks, visit);
        }
    }
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
fn zrange(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_range(ctx, args, None, None)
}

/// ZREVRANGE key start stop [WITHSCORES]
fn zrevrange(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_range(ctx, args, Some(By::Rank), Some(true))
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
fn zrangebyscore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_range(ctx, args, Some(By::Score), Some(false))
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
fn zrevrangebyscore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_range(ctx, args, Some(By::Score), Some(true))
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
fn zrangebylex(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_range(ctx, args, Some(By::Lex), Some(false))
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
fn zrevrangebylex(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_range(ctx, args, Some(By::Lex), Some(true))
}

fn reply_range(ctx: &mut Ctx, args: &mut Args, by: Option<By>, reverse: Option<bool>) -> Reply {
    let key = args.key();
    let query = Query::parse(args, by, reverse, false)?;
    ctx.reply_about(
        key,
        |zset| query.ranks(zset),
        |found, reply| {
            let out = reply.parts();
            let Some((zset, ranks)) = found else {
                out.array(0);
                return reply.done();
            };
            let scores = query.with_scores;
            begin_members(out, ranks.len(), scores);
            query.visit(zset, ranks, |member, score| push_member(out, member, score, scores));
            reply.done()
        },
    )
}

/// ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]
fn zrangestore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (destination, source) = (args.key(), args.key());
    let query = Query::parse(args, None, None, true)?;
    let zset = ctx.db.get::<Zset>(source)?.cloned().unwrap_or_default();
    let (ranks, limits) = (query.ranks(&zset), ctx.settings.limits);
    let zset = ctx.work_out(&[source], ranks.len(), |_| {
        // One by one and in their order, as in Redis: while it is small it forgets the sign of a
        // zero.
        let mut stored = Zset::default();
        stored.expect(ranks.len(), &limits);
        query.visit(&zset, ranks.clone(), |member, score| {
            stored.set(member, score, &limits);
        });
        stored
    })?;
    store(ctx, destination, zset, "zrangestore", 1)
}

/// ZCOUNT key min max
fn zcount(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_count(ctx, args, By::Score)
}

/// ZLEXCOUNT key min max
fn zlexcount(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_count(ctx, args, By::Lex)
}

fn reply_count(ctx: &mut Ctx, args: &mut Args, by: By) -> Reply {
    let key = args.key();
    let bounds = Bounds::parse(by, args.bytes()?, args.bytes()?)?;
    let count = ctx.db.get::<Zset>(key)?.map_or(0, |zset| bounds.ranks(zset, false).len());
    ctx.reply.count(count)
}

/// ZREMRANGEBYRANK key start stop
fn zremrangebyrank(ctx: &mut Ctx, args: &mut Args) -> Reply {
    remove_range(ctx, args, By::Rank, "zremrangebyrank")
}

/// ZREMRANGEBYSCORE key min max
fn zremrangebyscore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    remove_range(ctx, args, By::Score, "zremrangebyscore")
}

/// ZREMRANGEBYLEX key min max
fn zremrangebylex(ctx: &mut Ctx, args: &mut Args) -> Reply {
    remove_range(ctx, args, By::Lex, "zremrangebylex")
}

fn remove_range(ctx: &mut Ctx, args: &mut Args, by: By, event: &'static str) -> Reply {
    let key = args.key();
    let bounds = Bounds::parse(by, args.bytes()?, args.bytes()?)?;
    let ranks = ctx.db.peek_as::<Zset>(key)?.map_or(0..0, |zset| bounds.ranks(zset, false));
    remove_ranks(ctx, key, ranks.clone(), event)?;
    ctx.reply.count(ranks.len())
}
