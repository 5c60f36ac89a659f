//! Sorted sets and places on the earth. Here: adding and removing members, scores and ranks, ZSCAN
//! and ZRANDMEMBER.

pub mod algebra;
pub mod geo;
pub mod pops;
pub mod ranges;

use std::ops::Range;

use crate::base::double;
use crate::base::num::parse_f64;
use crate::base::rng::Rng;
use crate::data::{Limits, Value, Zset};
use crate::engine::pieces::Pieces;
use crate::engine::scan::{self, Names};
use crate::engine::spec::access::{ACCESS, DELETE, RO, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::resp::out::Out;
use crate::store::Note;
use crate::store::events::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("zadd", zadd)
        .group(Group::SortedSet)
        .since("1.2.0")
        .write()
        .deny_oom()
        .fast()
        .arity(-4)
        .keys(&[KeySpec::at(1, RW | UPDATE)])
        .syntax(
            "key [condition@3.0.2: NX | XX] [comparison@6.2.0: GT | LT] [CH=change@3.0.2] \
             [INCR=increment@3.0.2] <data: score member ...>",
        )
        .complexity("O(log(N)) for each member, N being the size of the sorted set")
        .history(&[
            ("2.4.0", "Several members."),
            ("3.0.2", "The options `XX`, `NX`, `CH`, `INCR`."),
            ("6.2.0", "The options `GT`, `LT`."),
        ])
        .summary("Adds members or changes their scores."),
    Command::new("zincrby", zincrby)
        .group(Group::SortedSet)
        .since("1.2.0")
        .write()
        .deny_oom()
        .fast()
        .arity(4)
        .keys(&[KeySpec::at(1, RW | ACCESS | UPDATE)])
        .syntax("key increment member")
        .complexity("O(log(N)) where N is the size of the sorted set")
        .summary("Adds to the score of a member."),
    Command::new("zrem", zrem)
        .group(Group::SortedSet)
        .since("1.2.0")
        .write()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | DELETE)])
        .syntax("key member [member ...]")
        .complexity("O(M*log(N)), M being the number of members given and N that of all")
        .history(&[("2.4.0", "Several members.")])
        .summary("Removes members."),
    Command::new("zcard", zcard)
        .group(Group::SortedSet)
        .since("1.2.0")
        .readonly()
        .fast()
        .arity(2)
        .keys(&[KeySpec::at(1, RO)])
        .syntax("key")
        .complexity("O(1)")
        .summary("Counts the members."),
    Command::new("zscore", zscore)
        .group(Group::SortedSet)
        .since("1.2.0")
        .readonly()
        .fast()
        .arity(3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key member")
        .complexity("O(1)")
        .summary("Tells the score of a member."),
    Command::new("zmscore", zmscore)
        .group(Group::SortedSet)
        .since("6.2.0")
        .readonly()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key member [member ...]")
        .complexity("O(N) where N is the number of members given")
        .summary("Tells the scores of several members."),
    Command::new("zrank", zrank)
        .group(Group::SortedSet)
        .since("2.0.0")
        .readonly()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key member [WITHSCORE]")
        .complexity("O(log(N))")
        .history(&[("7.2.0", "The option `WITHSCORE`.")])
        .summary("Counts the members before one."),
    Command::new("zrevrank", zrevrank)
        .group(Group::SortedSet)
        .since("2.0.0")
        .readonly()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key member [WITHSCORE]")
        .complexity("O(log(N))")
        .history(&[("7.2.0", "The option `WITHSCORE`.")])
        .summary("Counts the members behind one."),
    Command::new("zscan", zscan)
        .group(Group::SortedSet)
        .since("2.8.0")
        .readonly()
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .complexity("O(1) for a call, O(N) for a whole iteration over N members")
        .summary("Lists members and scores a few at a time.")
        .tips(&["nondeterministic_output"]),
    Command::new("zrandmember", zrandmember)
        .group(Group::SortedSet)
        .since("6.2.0")
        .readonly()
        .arity(-2)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key [options: count [WITHSCORES]]")
        .complexity("O(N) where N is the number of members returned")
        .summary("Draws members at random.")
        .tips(&["nondeterministic_output"]),
];

/// Writes the header of a list of members, which may have scores: pairs in RESP3, flat in RESP2.
fn begin_members(out: &mut Out, count: usize, with_scores: bool) {
    let flat = with_scores && out.proto() != 3;
    out.array(if flat { count * 2 } else { count });
}

/// Writes one member of such a list.
fn push_member(out: &mut Out, member: &[u8], score: f64, with_scores: bool) {
    if with_scores && out.proto() == 3 {
        out.array(2);
    }
    out.bulk(member);
    if with_scores {
        out.double(score);
    }
}

/// Stores what a command has made in the place of a key, or removes the key if that is nothing.
fn store(ctx: &mut Ctx, key: &[u8], zset: Zset, event: &'static str, changes: u64) -> Reply {
    let len = zset.len();
    if len > 0 {
        ctx.db.set(key, Value::Zset(zset), None);
        ctx.db.event(EventClasses::ZSET, event, key);
        ctx.db.mark_dirty(changes);
    } else if ctx.db.remove(key) {
        ctx.db.event(EventClasses::GENERIC, "del", key);
        ctx.db.mark_dirty(1);
    }
    ctx.reply.count(len)
}

/// Removes the members with these ranks from a key.
fn remove_ranks(
    ctx: &mut Ctx,
    key: &[u8],
    ranks: Range<usize>,
    event: &'static str,
) -> Result<(), Error> {
    let Some(len) = ctx.db.peek_as::<Zset>(key)?.map(Zset::len) else { return Ok(()) };
    if ranks.is_empty() {
        return Ok(());
    }
    if ranks.len() == len {
        // As a whole, so that what takes long to be freed is freed elsewhere.
        ctx.db.remove(key);
        ctx.db.event(EventClasses::ZSET, event, key);
        ctx.db.event(EventClasses::GENERIC, "del", key);
        ctx.db.mark_dirty(len as u64);
        return Ok(());
    }
    let count = ranks.len();
    ctx.edit_apart(
        key,
        |_: &Zset| count,
        |zset, _| zset.remove_ranks(ranks),
        |_, note| {
            note.dirty(count as u64);
            note.event(EventClasses::ZSET, event);
        },
    )?;
    Ok(())
}

/// What ZADD is to do.
#[derive(Default)]
struct Add<'a> {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
    pairs: Vec<(f64, &'a [u8])>,
}

/// What ZADD has done.
#[derive(Default)]
struct Added {
    added: u64,
    updated: u64,
    /// The score of the member that was added or updated last, or could have been.
    score: Option<f64>,
}

impl<'a> Add<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, Error> {
        let mut add = Add::default();
        loop {
            if args.word("nx") {
                add.nx = true;
            } else if args.word("xx") {
                add.xx = true;
            } else if args.word("ch") {
                add.ch = true;
            } else if args.word("incr") {
                add.incr = true;
            } else if args.word("gt") {
                add.gt = true;
            } else if args.word("lt") {
                add.lt = true;
            } else {
                break;
            }
        }
        let pairs = args.take_rest();
        if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
            return Err(Error::SYNTAX);
        }
        add.check(pairs.len() / 2)?;
        for pair in pairs.chunks_exact(2) {
            add.pairs.push((parse_f64(pair[0]).ok_or(Error::NOT_FLOAT)?, pair[1]));
        }
        Ok(add)
    }

    /// Whether the options go together.
    fn check(&self, pairs: usize) -> Result<(), Error> {
        if self.nx && self.xx {
            return Err(Error::ZADD_NX_XX);
        }
        if ((self.gt || self.lt) && self.nx) || (self.gt && self.lt) {
            return Err(Error::ZADD_GT_LT_NX);
        }
        if self.incr && pairs > 1 {
            return Err(Error::ZADD_INCR);
        }
        Ok(())
    }

    fn run(&self, zset: &mut Zset, limits: &Limits) -> Result<Added, Error> {
        zset.expect(self.pairs.len(), limits);
        let mut done = Added::default();
        for &(score, member) in &self.pairs {
            // An addition needs no look before it.
            let old = if self.is_plain() { None } else { Some(zset.score(member)) };
            let score = match old {
                Some(old) => self.wanted(old, score)?,
                None => Some(score),
            };
            let Some(score) = score else { continue };
            done.score = Some(score);
            match zset.set(member, score, limits) {
                None => done.added += 1,
                Some(old) => done.updated += u64::from(old != score),
            }
        }
        Ok(done)
    }

    fn is_plain(&self) -> bool {
        !(self.nx || self.xx || self.gt || self.lt || self.incr)
    }

    /// The score that a member shall have which has an old one or none; `None`: as it is.
    fn wanted(&self, old: Option<f64>, score: f64) -> Result<Option<f64>, Error> {
        let Some(old) = old else { return Ok((!self.xx).then_some(score)) };
        if self.nx {
            return Ok(None);
        }
        let score = if self.incr { old + score } else { score };
        if score.is_nan() {
            return Err(Error::ZADD_NAN);
        }
        let refused = (self.lt && score >= old) || (self.gt && score <= old);
        Ok((!refused).then_some(score))
    }
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]
fn zadd(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let add = Add::parse(args)?;
    add_members(ctx, key, &add, None)
}

/// ZINCRBY key increment member
fn zincrby(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    // ZADD's options are options here too, which leave too little for a score and a member.
    if ["nx", "xx", "ch", "incr", "gt", "lt"].iter().any(|option| args.word(option)) {
        return Err(Error::SYNTAX);
    }
    let score = parse_f64(args.bytes()?).ok_or(Error::NOT_FLOAT)?;
    let add = Add { incr: true, pairs: vec![(score, args.bytes()?)], ..Add::default() };
    add_members(ctx, key, &add, None)
}

/// Executes a ZADD. `logged`: what the log gets instead of the command as it was sent.
fn add_members(ctx: &mut Ctx, key: &[u8], add: &Add, logged: Option<&[&[u8]]>) -> Reply {
    let limits = ctx.settings.limits;
    let change = |zset: &mut Zset, note: &mut Note| {
        let done = add.run(zset, &limits)?;
        if done.added + done.updated > 0 {
            note.dirty(done.added + done.updated);
            note.event(EventClasses::ZSET, if add.incr { "zincr" } else { "zadd" });
        }
        Ok(done)
    };
    let done: Result<Added, Error> = if add.xx {
        ctx.db.edit(key, change)?.unwrap_or_else(|| Ok(Added::default()))
    } else {
        ctx.db.edit_or_create(key, change)?
    };
    let done = done?;
    if let Some(argv) = logged.filter(|_| done.added + done.updated > 0) {
        ctx.effects.replace(argv);
    }
    match (add.incr, done.score) {
        (true, Some(score)) => {
            ctx.reply.parts().double(score);
            ctx.reply.done()
        }
        (true, None) => ctx.reply.null(),
        (false, _) => ctx.reply.int((done.added + if add.ch { done.updated } else { 0 }) as i64),
    }
}

/// ZREM key member [member ...]
fn zrem(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let members = args.take_rest();
    let removed = ctx.db.edit(key, |zset: &mut Zset, note| {
        let removed = members.iter().filter(|member| zset.remove(member).is_some()).count();
        if removed > 0 {
            note.dirty(removed as u64);
            note.event(EventClasses::ZSET, "zrem");
        }
        removed
    })?;
    ctx.reply.count(removed.unwrap_or(0))
}

/// ZCARD key
fn zcard(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let count = ctx.db.get::<Zset>(args.key())?.map_or(0, Zset::len);
    ctx.reply.count(count)
}

/// ZSCORE key member
fn zscore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, member) = (args.key(), args.bytes()?);
    match ctx.db.get::<Zset>(key)?.and_then(|zset| zset.score(member)) {
        Some(score) => {
            ctx.reply.parts().double(score);
            ctx.reply.done()
        }
        None => ctx.reply.null(),
    }
}

/// ZMSCORE key member [member ...]
fn zmscore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, members) = (args.key(), args.take_rest());
    let zset = ctx.db.get::<Zset>(key)?;
    let out = ctx.reply.parts();
    out.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => out.double(score),
            None => out.null(),
        }
    }
    ctx.reply.done()
}

/// ZRANK key member [WITHSCORE]
fn zrank(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_rank(ctx, args, false)
}

/// ZREVRANK key member [WITHSCORE]
fn zrevrank(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_rank(ctx, args, true)
}

fn reply_rank(ctx: &mut Ctx, args: &mut Args, reverse: bool) -> Reply {
    let (key, member) = (args.key(), args.bytes()?);
    if args.left() > 1 {
        return Err(error::wrong_args(if reverse { "zrevrank" } else { "zrank" }));
    }
    let with_score = args.word("withscore");
    args.end()?;
    let zset = ctx.db.get::<Zset>(key)?;
    let found = zset.and_then(|zset| Some((zset.len(), zset.rank(member)?)));
    let Some((len, (rank, score))) = found else {
        return if with_score { ctx.reply.null_array() } else { ctx.reply.null() };
    };
    let rank = if reverse { len - 1 - rank } else { rank };
    if !with_score {
        return ctx.reply.count(rank);
    }
    let out = ctx.reply.parts();
    out.array(2);
    out.int(rank as i64);
    out.double(score);
    ctx.reply.done()
}

/// ZSCAN key cursor [MATCH pattern] [COUNT count]
fn zscan(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let cursor = scan::parse_cursor(args.bytes()?)?;
    // Of a key that is not there they are not even looked at.
    let options = scan::Options::parse(args, false);
    let part = |zset: &Zset| options.as_ref().map_or(0..0, |options| options.part(zset.len()));
    ctx.reply_about(key, part, |zset, reply| {
        let (mut found, mut text) = (Names::default(), Vec::new());
        let Some((zset, _)) = zset else { return scan::reply(reply, 0, &found) };
        let options = options.as_ref().map_err(Error::clone)?;
        // A listpack shows its texts; numbers are shown in another way.
        let packed = zset.as_listpack().is_some();
        let print = if packed { double::push_shortest } else { double::push_17_digits };
        let next = options.walk(cursor, |cursor| {
            zset.scan(cursor, |member, score| {
                if options.pattern.matches(member) {
                    found.push(member);
                    text.clear();
                    print(&mut text, score);
                    found.push(&text);
                }
            })
        });
        scan::reply(reply, next, &found)
    })
}

/// ZRANDMEMBER key [count [WITHSCORES]]
fn zrandmember(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let mut rng = Rng::from_os();
    if args.is_empty() {
        let Some(zset) = ctx.db.get::<Zset>(key)? else { return ctx.reply.null() };
        let out = ctx.reply.parts();
        zset.sample_different(1, &mut rng, |member, _| out.bulk(member));
        return ctx.reply.done();
    }
    let count = args.int()?;
    if count == i64::MIN {
        return Err(error::out_of_bounds(-i64::MAX, i64::MAX));
    }
    let with_scores = args.word("withscores");
    args.end()?;
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Error::OUT_OF_RANGE);
    }
    let times = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        let write = |zset: &Zset, pieces: &mut Pieces| {
            begin_members(pieces.out(), times, with_scores);
            zset.sample(times as u64, &mut rng, |member, score| {
                push_member(pieces.out(), member, score, with_scores);
                pieces.go_on()
            });
        };
        let none = |out: &mut Out| begin_members(out, 0, with_scores);
        return ctx.reply_in_pieces(key, times as u64, none, write);
    }
    ctx.reply_about(
        key,
        |zset: &Zset| 0..times.min(zset.len()),
        |found, reply| {
            let out = reply.parts();
            let Some((zset, part)) = found else {
                begin_members(out, 0, with_scores);
                return reply.done();
            };
            begin_members(out, part.len(), with_scores);
            zset.sample_different(part.len(), &mut rng, |member, score| {
                push_member(out, member, score, with_scores);
            });
            reply.done()
        },
    )
}
