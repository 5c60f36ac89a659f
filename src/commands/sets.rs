//! Sets: one at a time.

use std::collections::HashSet;

use crate::base::num;
use crate::base::rng::Rng;
use crate::data::listpack::Item;
use crate::data::{Limits, Set};
use crate::engine::ctx::push_item;
use crate::engine::pieces::Pieces;
use crate::engine::scan::{self, Names};
use crate::engine::spec::access::{ACCESS, DELETE, INSERT, RO, RW};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::resp::out::Out;
use crate::store::Note;
use crate::store::events::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    about_set("sadd", sadd)
        .write()
        .deny_oom()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | INSERT)])
        .syntax("key member [member ...]")
        .complexity(
            "O(1) for each element added, so O(N) to add N elements when the command is called \
             with multiple arguments.",
        )
        .history(&[("2.4.0", "Several members.")])
        .summary("Adds members to a set, which is made if it is not there."),
    about_set("scard", scard)
        .readonly()
        .fast()
        .arity(2)
        .keys(&[KeySpec::at(1, RO)])
        .syntax("key")
        .complexity("O(1)")
        .summary("Returns how many members a set has."),
    about_set("sismember", sismember)
        .readonly()
        .fast()
        .arity(3)
        .keys(&[KeySpec::at(1, RO)])
        .syntax("key member")
        .complexity("O(1)")
        .summary("Tells whether a set has a member."),
    about_set("smembers", smembers)
        .readonly()
        .arity(2)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key")
        .complexity("O(N) where N is the set cardinality.")
        .summary("Returns all members of a set.")
        .tips(&["nondeterministic_output_order"]),
    about_set("smismember", smismember)
        .since("6.2.0")
        .readonly()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key member [member ...]")
        .complexity("O(N) where N is the number of elements being checked for membership")
        .summary("Tells for each of several members whether a set has it."),
    about_set("smove", smove)
        .write()
        .fast()
        .arity(4)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE), KeySpec::at(2, RW | INSERT)])
        .syntax("source destination member")
        .complexity("O(1)")
        .summary("Moves a member from one set to another."),
    about_set("spop", spop)
        .write()
        .fast()
        .arity(-2)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE)])
        .syntax("key [count@3.2.0]")
        .complexity(
            "Without the count argument O(1), otherwise O(N) where N is the value of the passed \
             count.",
        )
        .history(&[("3.2.0", "The argument `count`.")])
        .summary("Removes and returns random members of a set.")
        .tips(&["nondeterministic_output"]),
    about_set("srandmember", srandmember)
        .readonly()
        .arity(-2)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key [count@2.6.0]")
        .complexity(
            "Without the count argument O(1), otherwise O(N) where N is the absolute value of \
             the passed count.",
        )
        .history(&[("2.6.0", "The argument `count`.")])
        .summary("Returns random members of a set.")
        .tips(&["nondeterministic_output"]),
    about_set("srem", srem)
        .write()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | DELETE)])
        .syntax("key member [member ...]")
        .complexity("O(N) where N is the number of members to be removed.")
        .history(&[("2.4.0", "Several members.")])
        .summary("Removes members of a set, and the set with the last one."),
    about_set("sscan", sscan)
        .since("2.8.0")
        .readonly()
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .complexity(
            "O(1) for every call. O(N) for a complete iteration, including enough command calls \
             for the cursor to return back to 0. N is the number of elements inside the \
             collection.",
        )
        .summary("Returns some members of a set and where to go on.")
        .tips(&["nondeterministic_output"]),
];

const fn about_set(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler).group(Group::Set)
}

/// SADD key member [member ...]
fn sadd(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, members) = (args.key(), args.take_rest());
    let limits = ctx.settings.limits;
    let added = ctx.db.edit_or_create(key, |set: &mut Set, note| {
        if set.is_empty() {
            *set = Set::for_members(members[0], members.len(), &limits);
        } else {
            set.expect(members.len(), &limits);
        }
        let added = members.iter().filter(|member| set.insert(member, &limits)).count();
        if added > 0 {
            note.event(EventClasses::SET, "sadd");
            note.dirty(added as u64);
        }
        added
    })?;
    ctx.reply.count(added)
}

/// SREM key member [member ...]
fn srem(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, members) = (args.key(), args.take_rest());
    let removed = ctx.db.edit(key, |set: &mut Set, note| {
        let removed = members.iter().filter(|member| set.remove(member)).count();
        if removed > 0 {
            note.event(EventClasses::SET, "srem");
            note.dirty(removed as u64);
        }
        removed
    })?;
    ctx.reply.count(removed.unwrap_or(0))
}

/// SCARD key
fn scard(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let len = ctx.db.get::<Set>(args.key())?.map_or(0, Set::len);
    ctx.reply.count(len)
}

/// SISMEMBER key member
fn sismember(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, member) = (args.key(), args.bytes()?);
    let is = ctx.db.get::<Set>(key)?.is_some_and(|set| set.contains(member));
    ctx.reply.flag(is)
}

/// SMISMEMBER key member [member ...]
fn smismember(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, members) = (args.key(), args.take_rest());
    let set = ctx.db.get::<Set>(key)?;
    let out = ctx.reply.parts();
    out.array(members.len());
    for member in members {
        out.int(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    ctx.reply.done()
}

/// SMEMBERS key
fn smembers(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let all = |set: &Set| 0..set.len();
    ctx.reply_about(args.key(), all, |found, reply| {
        match found {
            Some((set, _)) => push_members(reply.parts(), set),
            None => reply.parts().set(0),
        }
        reply.done()
    })
}

fn push_members(out: &mut Out, set: &Set) {
    out.set(set.len());
    set.iter().for_each(|member| push_item(out, member));
}

/// SMOVE source destination member
fn smove(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (source, target, member) = (args.key(), args.key(), args.bytes()?);
    let Some(set) = ctx.db.peek_as::<Set>(source)? else { return ctx.reply.flag(false) };
    let there = set.contains(member);
    ctx.db.peek_as::<Set>(target)?;
    if !there || source == target {
        return ctx.reply.flag(there);
    }
    ctx.db.edit(source, |set: &mut Set, note| {
        set.remove(member);
        note.event(EventClasses::SET, "srem");
        note.dirty(1);
    })?;
    let limits = ctx.settings.limits;
    ctx.db.edit_or_create(target, |set: &mut Set, note| {
        if set.is_empty() {
            *set = Set::for_members(member, 1, &limits);
        }
        if set.insert(member, &limits) {
            note.event(EventClasses::SET, "sadd");
            note.dirty(1);
        }
    })?;
    ctx.reply.flag(true)
}

/// SPOP key [count]
fn spop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    if args.is_empty() {
        return pop_one(ctx, key);
    }
    let count = args.bytes()?;
    args.end()?;
    let count = num::parse_i64(count).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(Error::NOT_POSITIVE)?;
    let len = ctx.db.peek_as::<Set>(key)?.map_or(0, Set::len);
    if count == 0 || len == 0 {
        ctx.reply.parts().set(0);
        return ctx.reply.done();
    }
    if count >= len { pop_all(ctx, key) } else { pop_some(ctx, key, count) }
}

fn pop_one(ctx: &mut Ctx, key: &[u8]) -> Reply {
    let mut rng = Rng::from_os();
    let popped = ctx.db.edit(key, |set: &mut Set, note| {
        note.event(EventClasses::SET, "spop");
        note.dirty(1);
        set.pop(&mut || rng.next_u64())
    })?;
    match popped.flatten() {
        Some(member) => {
            ctx.effects.replace(&[b"SREM", key, &member]);
            ctx.reply.bulk(&member)
        }
        None => ctx.reply.null(),
    }
}

/// Answers the whole set and removes it.
fn pop_all(ctx: &mut Ctx, key: &[u8]) -> Reply {
    let Some(set) = ctx.db.peek_as::<Set>(key)?.cloned() else { return ctx.reply.null() };
    let len = set.len();
    ctx.work_out(&[key], len, |ctx| push_members(ctx.reply.parts(), &set))?;
    ctx.db.event(EventClasses::SET, "spop", key);
    ctx.db.remove(key);
    ctx.db.event(EventClasses::GENERIC, "del", key);
    ctx.db.mark_dirty(len as u64);
    let name: &[u8] = if ctx.settings.lazyfree_lazy_server_del { b"UNLINK" } else { b"DEL" };
    ctx.effects.replace(&[name, key]);
    ctx.reply.done()
}

/// How many times more members must be popped than stay, so that those that stay are drawn.
const KEEP_FACTOR: usize = 5;

/// How many members a command in the log names at most.
const LOGGED_MEMBERS: usize = 1024;

/// Answers and removes fewer members than there are.
fn pop_some(ctx: &mut Ctx, key: &[u8], count: usize) -> Reply {
    let limits = ctx.settings.limits;
    let change = |set: &mut Set, out: &mut Out| {
        let popped = draw_out(set, count, &limits);
        out.set(popped.len());
        popped.iter().for_each(|member| out.bulk(member));
        logged(key, popped)
    };
    let announce = |_: &Vec<_>, note: &mut Note| {
        note.event(EventClasses::SET, "spop");
        note.dirty(count as u64);
    };
    if let Some(commands) = ctx.edit_apart(key, |_| count, change, announce)? {
        ctx.effects.replace_all(commands);
    }
    ctx.reply.done()
}

/// Takes random members out of a set that has more.
fn draw_out(set: &mut Set, count: usize, limits: &Limits) -> Vec<Vec<u8>> {
    let mut rng = Rng::from_os();
    let mut rng = || rng.next_u64();
    let kept = set.len() - count;
    if kept.saturating_mul(KEEP_FACTOR) > count {
        return (0..count).filter_map(|_| set.pop(&mut rng)).collect();
    }
    let mut rest = set.like();
    for _ in 0..kept {
        if let Some(member) = set.pop(&mut rng) {
            rest.insert(&member, limits);
        }
    }
    let popped = set.iter().map(|member| member.to_vec()).collect();
    *set = rest;
    popped
}

/// The commands by which the members' removal goes to the log.
fn logged(key: &[u8], members: Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    let mut members = members.into_iter().peekable();
    let mut commands = Vec::new();
    while members.peek().is_some() {
        let head = [b"SREM".to_vec(), key.to_vec()];
        commands.push(head.into_iter().chain(members.by_ref().take(LOGGED_MEMBERS)).collect());
    }
    commands
}

/// SRANDMEMBER key [count]
fn srandmember(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let mut rng = Rng::from_os();
    let mut rng = || rng.next_u64();
    if args.is_empty() {
        let member = ctx.db.get::<Set>(key)?.and_then(|set| set.random(&mut rng));
        return match member {
            Some(member) => {
                push_item(ctx.reply.parts(), member);
                ctx.reply.done()
            }
            None => ctx.reply.null(),
        };
    }
    let count = args.bytes()?;
    args.end()?;
    let count = num::parse_i64(count).ok_or(Error::NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(error::out_of_bounds(-i64::MAX, i64::MAX));
    }
    let times = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        let write = |set: &Set, pieces: &mut Pieces| {
            pieces.out().array(times);
            for member in (0..times).filter_map(|_| set.random(&mut rng)) {
                push_item(pieces.out(), member);
                if !pieces.go_on() {
                    return;
                }
            }
        };
        return ctx.reply_in_pieces(key, times as u64, |out| out.array(0), write);
    }
    ctx.reply_about(
        key,
        |set: &Set| 0..times.min(set.len()),
        |found, reply| {
            let out = reply.parts();
            match found {
                Some((set, _)) => {
                    let members = sample(set, times, &mut rng);
                    out.array(members.len());
                    members.into_iter().for_each(|member| push_item(out, member));
                }
                None => out.array(0),
            }
            reply.done()
        },
    )
}

/// How many times more members there must be than are wanted, so that they are drawn one by one.
const DRAW_FACTOR: usize = 3;

/// That many different members, or all if there are not more.
fn sample<'s>(set: &'s Set, count: usize, rng: &mut impl FnMut() -> u64) -> Vec<Item<'s>> {
    let len = set.len();
    if count >= len {
        return set.iter().collect();
    }
    if set.encoding() == "hashtable" && count.saturating_mul(DRAW_FACTOR) <= len {
        return draw(set, count, rng);
    }
    // Each member is taken with the chance that makes the number right in the end.
    let (mut left, mut wanted) = (len as u64, count as u64);
    let chosen = set.iter().filter(|_| {
        let take = (u128::from(rng()) * u128::from(left)) >> 64 < u128::from(wanted);
        left -= 1;
        wanted -= u64::from(take);
        take
    });
    chosen.collect()
}

/// Draws members until so many different ones are found.
fn draw<'s>(set: &'s Set, count: usize, rng: &mut impl FnMut() -> u64) -> Vec<Item<'s>> {
    let mut seen = HashSet::with_capacity(count);
    let mut members = Vec::with_capacity(count);
    while members.len() < count {
        match set.random(rng) {
            Some(member) if seen.insert(member.to_vec()) => members.push(member),
            Some(_) => {}
            None => break,
        }
    }
    members
}

/// SSCAN key cursor [MATCH pattern] [COUNT count]
fn sscan(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let cursor = scan::parse_cursor(args.bytes()?)?;
    // What stands behind a key that is not there does not count.
    let options = scan::Options::parse(args, false);
    let part = |set: &Set| options.as_ref().map_or(0..0, |options| options.part(set.len()));
    ctx.reply_about(key, part, |set, reply| {
        let mut found = Names::default();
        let Some((set, _)) = set else { return scan::reply(reply, 0, &found) };
        let options = options.as_ref().map_err(Error::clone)?;
        let next = options.walk(cursor, |cursor| {
            let mut visited = 0;
            let next = set.scan(cursor, |member| {
                visited += 1;
                let mut text = [0; 20];
                let name = member.bytes(&mut text);
                if options.pattern.matches(name) {
                    found.push(name);
                }
            });
            (next, visited)
        });
        scan::reply(reply, next, &found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_no_member_twice() {
        let mut rng = Rng::seeded(4);
        let mut rng = || rng.next_u64();
        for (len, prefix) in [(10, ""), (10, "m"), (300, ""), (300, "m"), (600, "")] {
            let mut set = Set::of_ints();
            for n in 0..len {
                set.insert(format!("{prefix}{n}").as_bytes(), &Limits::default());
            }
            for count in [0, 1, 2, len / 4, len / 2, len - 1, len, len + 1, usize::MAX] {
                let members = sample(&set, count, &mut rng);
                let found = members.len();
                let unique: HashSet<Vec<u8>> = members.into_iter().map(Item::to_vec).collect();
                assert_eq!((found, unique.len()), (count.min(len), count.min(len)));
            }
            let mut drawn = HashSet::new();
            (0..4000).for_each(|_| {
                drawn.extend(sample(&set, 2, &mut rng).into_iter().map(Item::to_vec))
            });
            assert_eq!(drawn.len(), len);
        }
    }
}
