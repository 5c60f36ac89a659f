//! Taking members from the ends of sorted sets: ZPOPMIN, ZPOPMAX, ZMPOP, and those that wait.

use std::time::Duration;

use super::{begin_members, push_member, remove_ranks};
use crate::base::num::{parse_i64, push_i64};
use crate::data::{Kind, Zset};
use crate::engine::spec::access::{ACCESS, DELETE, RW};
use crate::engine::spec::flag::{BLOCKING, MOVABLEKEYS};
use crate::engine::{Args, Block, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;

const ONE_COST: &str = "O(log(N)) with N being the size of the sorted set";
const MANY_COST: &str = "O(log(N)*M), N being the size of the sorted set and M the number popped";
const KEYS_COST: &str =
    "O(K) + O(M*log(N)), K being the number of keys, N the size and M the number popped";

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("zpopmin", zpopmin)
        .group(Group::SortedSet)
        .since("5.0.0")
        .write()
        .fast()
        .arity(-2)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE)])
        .syntax("key [count]")
        .complexity(MANY_COST)
        .summary("Takes the members with the lowest scores."),
    Command::new("zpopmax", zpopmax)
        .group(Group::SortedSet)
        .since("5.0.0")
        .write()
        .fast()
        .arity(-2)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE)])
        .syntax("key [count]")
        .complexity(MANY_COST)
        .summary("Takes the members with the highest scores."),
    Command::new("bzpopmin", bzpopmin)
        .group(Group::SortedSet)
        .since("5.0.0")
        .write()
        .fast()
        .flags(BLOCKING)
        .arity(-3)
        .keys(&[KeySpec::from_to(1, 1, RW | ACCESS | DELETE)])
        .syntax("key [key ...] timeout:double")
        .complexity(ONE_COST)
        .history(&[("6.0.0", "Fractions of seconds.")])
        .summary("Takes the member with the lowest score, or waits for one."),
    Command::new("bzpopmax", bzpopmax)
        .group(Group::SortedSet)
        .since("5.0.0")
        .write()
        .fast()
        .flags(BLOCKING)
        .arity(-3)
        .keys(&[KeySpec::from_to(1, 1, RW | ACCESS | DELETE)])
        .syntax("key [key ...] timeout:double")
        .complexity(ONE_COST)
        .history(&[("6.0.0", "Fractions of seconds.")])
        .summary("Takes the member with the highest score, or waits for one."),
    Command::new("zmpop", zmpop)
        .group(Group::SortedSet)
        .since("7.0.0")
        .write()
        .flags(MOVABLEKEYS)
        .arity(-4)
        .keys(&[KeySpec::counted(1, RW | ACCESS | DELETE)])
        .syntax("numkeys key [key ...] <where: MIN | MAX> [COUNT count]")
        .complexity(KEYS_COST)
        .summary("Takes members from the first sorted set that has any."),
    Command::new("bzmpop", bzmpop)
        .group(Group::SortedSet)
        .since("7.0.0")
        .write()
        .flags(BLOCKING | MOVABLEKEYS)
        .arity(-5)
        .keys(&[KeySpec::counted(2, RW | ACCESS | DELETE)])
        .syntax("timeout:double numkeys key [key ...] <where: MIN | MAX> [COUNT count]")
        .complexity(KEYS_COST)
        .summary("Takes members from the first sorted set that has any, or waits for one."),
];

/// The end from which members are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }

    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

/// Members with their scores.
type Taken = Vec<(Vec<u8>, f64)>;

/// Takes up to `count` members of a key; none if there is no key.
fn take(ctx: &mut Ctx, key: &[u8], end: End, count: usize) -> Result<Option<Taken>, Error> {
    let Some(zset) = ctx.db.peek_as::<Zset>(key)? else { return Ok(None) };
    let len = zset.len();
    let count = count.min(len);
    let ranks = if end == End::Min { 0..count } else { len - count..len };
    let mut taken = Vec::with_capacity(count);
    let keep = |member: &[u8], score| taken.push((member.to_vec(), score));
    match end {
        End::Min => zset.each(ranks.clone(), keep),
        End::Max => zset.each_back(ranks.clone(), keep),
    }
    remove_ranks(ctx, key, ranks, end.event())?;
    Ok(Some(taken))
}

/// ZPOPMIN key [count]
fn zpopmin(ctx: &mut Ctx, args: &mut Args) -> Reply {
    pop(ctx, args, End::Min)
}

/// ZPOPMAX key [count]
fn zpopmax(ctx: &mut Ctx, args: &mut Args) -> Reply {
    pop(ctx, args, End::Max)
}

fn pop(ctx: &mut Ctx, args: &mut Args, end: End) -> Reply {
    let key = args.key();
    if args.left() > 1 {
        return Err(Error::SYNTAX);
    }
    let mut count = None;
    if !args.is_empty() {
        let given = args.int_or(Error::NOT_POSITIVE)?;
        count = Some(usize::try_from(given).map_err(|_| Error::NOT_POSITIVE)?);
    }
    let taken = take(ctx, key, end, count.unwrap_or(1))?.unwrap_or_default();
    let out = ctx.reply.parts();
    if taken.is_empty() {
        out.array(0);
    } else if count.is_some() {
        begin_members(out, taken.len(), true);
        taken.iter().for_each(|(member, score)| push_member(out, member, *score, true));
    } else {
        out.array(2);
        out.bulk(&taken[0].0);
        out.double(taken[0].1);
    }
    ctx.reply.done()
}

/// BZPOPMIN key [key ...] timeout
fn bzpopmin(ctx: &mut Ctx, args: &mut Args) -> Reply {
    pop_or_wait(ctx, args, End::Min)
}

/// BZPOPMAX key [key ...] timeout
fn bzpopmax(ctx: &mut Ctx, args: &mut Args) -> Reply {
    pop_or_wait(ctx, args, End::Max)
}

fn pop_or_wait(ctx: &mut Ctx, args: &mut Args, end: End) -> Reply {
    let keys: Vec<&[u8]> = (1..args.left()).map(|_| args.key()).collect();
    let timeout = args.timeout()?;
    for key in &keys {
        let Some(taken) = take(ctx, key, end, 1)? else { continue };
        ctx.effects.replace(&[end.command(), key]);
        let out = ctx.reply.parts();
        out.array(3);
        out.bulk(key);
        for (member, score) in &taken {
            out.bulk(member);
            out.double(*score);
        }
        return ctx.reply.done();
    }
    ctx.block(Block::on(&keys, Zset::NAME, timeout))
}

/// What ZMPOP is to do.
struct ManyPop<'a> {
    keys: Vec<&'a [u8]>,
    end: End,
    count: usize,
}

impl<'a> ManyPop<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, Error> {
        let numkeys = args.int_or(Error::NUMKEYS_POSITIVE)?;
        if numkeys < 1 {
            return Err(Error::NUMKEYS_POSITIVE);
        }
        // A word must follow the keys.
        let numkeys = usize::try_from(numkeys).ok().filter(|&n| n < args.left());
        let numkeys = numkeys.ok_or(Error::SYNTAX)?;
        let keys = (0..numkeys).map(|_| args.key()).collect();
        let end = if args.word("min") {
            End::Min
        } else if args.word("max") {
            End::Max
        } else {
            return Err(Error::SYNTAX);
        };
        let mut count = None;
        while !args.is_empty() {
            if count.is_some() || args.left() < 2 || !args.word("count") {
                return Err(Error::SYNTAX);
            }
            let given = parse_i64(args.bytes()?).filter(|&count| count > 0);
            count = Some(given.ok_or(Error::COUNT_POSITIVE)?);
        }
        let count = usize::try_from(count.unwrap_or(1)).unwrap_or(usize::MAX);
        Ok(ManyPop { keys, end, count })
    }

    /// Takes members from the first key that has any, and answers them; whether there was one.
    fn run(&self, ctx: &mut Ctx) -> Result<bool, Error> {
        for key in &self.keys {
            let Some(taken) = take(ctx, key, self.end, self.count)? else { continue };
            let mut count = Vec::new();
            push_i64(&mut count, taken.len() as i64);
            ctx.effects.replace(&[self.end.command(), key, &count]);
            let out = ctx.reply.parts();
            out.array(2);
            out.bulk(key);
            out.array(taken.len());
            for (member, score) in &taken {
                out.array(2);
                out.bulk(member);
                out.double(*score);
            }
            return Ok(true);
        }
        Ok(false)
    }
}

/// ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]
fn zmpop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let pop = ManyPop::parse(args)?;
    if pop.run(ctx)? { ctx.reply.done() } else { ctx.reply.null_array() }
}

/// BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]
fn bzmpop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let timeout_at = args.bytes()?;
    let pop = ManyPop::parse(args)?;
    // The time-out is looked at last.
    let argv = [timeout_at];
    let timeout: Option<Duration> = Args::new(&argv, 0).timeout()?;
    if pop.run(ctx)? {
        return ctx.reply.done();
    }
    ctx.block(Block::on(&pop.keys, Zset::NAME, timeout))
}
