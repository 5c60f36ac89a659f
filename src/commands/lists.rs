//! Commands that look into one list, put elements into it, and change it in place.

use std::ops::Range;

use crate::data::List;
use crate::data::list::End;
use crate::data::listpack::Item;
use crate::data::quicklist::Fill;
use crate::engine::ctx::push_item;
use crate::engine::spec::access::{ACCESS, DELETE, INSERT, RO, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{Error, out_of_bounds};
use crate::store::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("lpush", lpush)
        .group(Group::List)
        .write()
        .deny_oom()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | INSERT)])
        .syntax("key element [element ...]")
        .complexity("O(N) where N is the number of elements to add")
        .history(&[("2.4.0", "Several elements.")])
        .summary("Adds elements at the left end of a list, which is created if need be."),
    Command::new("rpush", rpush)
        .group(Group::List)
        .write()
        .deny_oom()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | INSERT)])
        .syntax("key element [element ...]")
        .complexity("O(N) where N is the number of elements to add")
        .history(&[("2.4.0", "Several elements.")])
        .summary("Adds elements at the right end of a list, which is created if need be."),
    Command::new("lpushx", lpushx)
        .group(Group::List)
        .since("2.2.0")
        .write()
        .deny_oom()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | INSERT)])
        .syntax("key element [element ...]")
        .complexity("O(N) where N is the number of elements to add")
        .history(&[("4.0.0", "Several elements.")])
        .summary("Adds elements at the left end of a list that exists."),
    Command::new("rpushx", rpushx)
        .group(Group::List)
        .since("2.2.0")
        .write()
        .deny_oom()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | INSERT)])
        .syntax("key element [element ...]")
        .complexity("O(N) where N is the number of elements to add")
        .history(&[("4.0.0", "Several elements.")])
        .summary("Adds elements at the right end of a list that exists."),
    Command::new("llen", llen)
        .group(Group::List)
        .readonly()
        .fast()
        .arity(2)
        .keys(&[KeySpec::at(1, RO)])
        .syntax("key")
        .complexity("O(1)")
        .summary("Returns the number of elements of a list."),
    Command::new("lindex", lindex)
        .group(Group::List)
        .readonly()
        .arity(3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key index")
        .complexity("O(N) where N is the number of nodes from the nearer end to the element")
        .summary("Returns the element of a list at an index."),
    Command::new("lset", lset)
        .group(Group::List)
        .write()
        .deny_oom()
        .arity(4)
        .keys(&[KeySpec::at(1, RW | UPDATE)])
        .syntax("key index element")
        .complexity("O(N) where N is the number of nodes from the nearer end to the element")
        .summary("Changes the element of a list at an index."),
    Command::new("lrange", lrange)
        .group(Group::List)
        .readonly()
        .arity(4)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key start stop")
        .complexity("O(S+N) where S is the way from the nearer end and N the number of elements")
        .summary("Returns the elements of a list between two indexes."),
    Command::new("lrem", lrem)
        .group(Group::List)
        .write()
        .arity(4)
        .keys(&[KeySpec::at(1, RW | DELETE)])
        .syntax("key count element")
        .complexity("O(N) where N is the length of the list")
        .summary("Removes the elements of a list that have a value."),
    Command::new("ltrim", ltrim)
        .group(Group::List)
        .write()
        .arity(4)
        .keys(&[KeySpec::at(1, RW | DELETE)])
        .syntax("key start stop")
        .complexity("O(N) where N is the number of nodes to be removed")
        .summary("Removes all elements of a list but those between two indexes."),
    Command::new("linsert", linsert)
        .group(Group::List)
        .since("2.2.0")
        .write()
        .deny_oom()
        .arity(5)
        .keys(&[KeySpec::at(1, RW | INSERT)])
        .syntax("key <where: BEFORE | AFTER> pivot element")
        .complexity("O(N) where N is the number of elements before the pivot")
        .summary("Puts an element next to the first one that has a value."),
    Command::new("lpos", lpos)
        .group(Group::List)
        .since("6.0.6")
        .readonly()
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key element [RANK rank] [COUNT num-matches] [MAXLEN len]")
        .complexity("O(N) where N is the number of elements to be looked at")
        .summary("Returns the indexes of elements that have a value."),
];

/// LPUSH key element [element ...]
fn lpush(ctx: &mut Ctx, args: &mut Args) -> Reply {
    push(ctx, args, End::Left, false)
}

/// RPUSH key element [element ...]
fn rpush(ctx: &mut Ctx, args: &mut Args) -> Reply {
    push(ctx, args, End::Right, false)
}

/// LPUSHX key element [element ...]
fn lpushx(ctx: &mut Ctx, args: &mut Args) -> Reply {
    push(ctx, args, End::Left, true)
}

/// RPUSHX key element [element ...]
fn rpushx(ctx: &mut Ctx, args: &mut Args) -> Reply {
    push(ctx, args, End::Right, true)
}

fn push(ctx: &mut Ctx, args: &mut Args, end: End, only_existing: bool) -> Reply {
    let (key, values, fill) = (args.key(), args.take_rest(), fill(ctx));
    if only_existing && !ctx.db.exists(key) {
        return ctx.reply.int(0);
    }
    let len = ctx.db.edit_or_create(key, |list: &mut List, note| {
        list.extend(end, values, fill);
        note.dirty(values.len() as u64);
        note.event(EventClasses::LIST, end.pick("lpush", "rpush"));
        list.len()
    })?;
    ctx.reply.count(len)
}

/// LLEN key
fn llen(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let len = ctx.db.get::<List>(args.key())?.map_or(0, List::len);
    ctx.reply.count(len)
}

/// LINDEX key index
fn lindex(ctx: &mut Ctx, args: &mut Args) -> Reply {
    // The key comes first: without it, or with another type, the index is not looked at.
    let Some(list) = ctx.db.get::<List>(args.key())? else { return ctx.reply.null() };
    let index = args.int()?;
    match resolve(index, list.len()).and_then(|index| list.get(index)) {
        Some(item) => push_item(ctx.reply.parts(), item),
        None => ctx.reply.parts().null(),
    }
    ctx.reply.done()
}

/// LSET key index element
fn lset(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, fill) = (args.key(), fill(ctx));
    let list = ctx.db.peek_as::<List>(key)?.ok_or(Error::NO_KEY)?;
    let index = resolve(args.int()?, list.len()).ok_or(Error::INDEX_RANGE)?;
    let value = args.bytes()?;
    ctx.db.edit(key, |list: &mut List, note| {
        list.set(index, value, fill);
        note.dirty(1);
        note.event(EventClasses::LIST, "lset");
    })?;
    ctx.reply.ok()
}

/// LRANGE key start stop
fn lrange(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, start, stop) = (args.key(), args.int()?, args.int()?);
    let part = |list: &List| resolve_range(start, stop, list.len());
    ctx.reply_about(key, part, |found, reply| {
        let out = reply.parts();
        match found {
            Some((list, range)) => {
                out.array(range.len());
                list.iter_from(range.start).take(range.len()).for_each(|item| push_item(out, item));
            }
            None => out.array(0),
        }
        reply.done()
    })
}

/// LREM key count element
fn lrem(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, count, value, fill) = (args.key(), args.int()?, args.bytes()?, fill(ctx));
    if count == i64::MIN {
        return Err(out_of_bounds(-i64::MAX, i64::MAX));
    }
    let from = if count < 0 { End::Right } else { End::Left };
    let limit = match usize::try_from(count.unsigned_abs()) {
        Ok(limit) if limit > 0 => limit,
        _ => usize::MAX,
    };
    let removed = ctx.edit_apart(
        key,
        List::len,
        |list, _| {
            let removed = list.remove_equal(value, limit, from);
            if removed > 0 {
                list.shrink(fill);
            }
            removed
        },
        |&removed, note| {
            if removed > 0 {
                note.dirty(removed as u64);
                note.event(EventClasses::LIST, "lrem");
            }
        },
    )?;
    ctx.reply.count(removed.unwrap_or(0))
}

/// LTRIM key start stop
fn ltrim(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, start, stop, fill) = (args.key(), args.int()?, args.int()?, fill(ctx));
    ctx.edit_apart(
        key,
        |list: &List| list.len() - resolve_range(start, stop, list.len()).len(),
        |list, _| {
            let len = list.len();
            let kept = resolve_range(start, stop, len);
            list.remove_range(kept.end, len);
            list.remove_range(0, kept.start);
            list.shrink(fill);
            len - kept.len()
        },
        |&removed, note| {
            note.dirty(removed as u64);
            note.event(EventClasses::LIST, "ltrim");
        },
    )?;
    ctx.reply.ok()
}

/// LINSERT key BEFORE|AFTER pivot element
fn linsert(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, fill) = (args.key(), fill(ctx));
    let after = args.word("AFTER");
    if !after && !args.word("BEFORE") {
        return Err(Error::SYNTAX);
    }
    let (pivot, value) = (Item::of(args.bytes()?), args.bytes()?);
    let len = ctx.edit_apart(
        key,
        List::len,
        |list, _| {
            let index = list.iter().position(|item| item.same(&pivot))?;
            list.insert(index, after, value, fill);
            Some(list.len())
        },
        |len, note| {
            if len.is_some() {
                note.dirty(1);
                note.event(EventClasses::LIST, "linsert");
            }
        },
    )?;
    match len {
        None => ctx.reply.int(0),
        Some(None) => ctx.reply.int(-1),
        Some(Some(len)) => ctx.reply.count(len),
    }
}

/// What LPOS looks for.
struct Search {
    from: End,
    /// How many matches are passed over.
    skip: usize,
    /// How many are wanted; `None` for one that is no list.
    count: Option<usize>,
    /// How many elements are looked at.
    maxlen: usize,
}

impl Search {
    fn parse(args: &mut Args) -> Result<Search, Error> {
        let mut search = Search { from: End::Left, skip: 0, count: None, maxlen: usize::MAX };
        while !args.is_empty() {
            if args.left() < 2 {
                return Err(Error::SYNTAX);
            } else if args.word("RANK") {
                let rank = args.int()?;
                search.from = if rank < 0 { End::Right } else { End::Left };
                search.skip = match rank {
                    0 => return Err(Error::RANK_ZERO),
                    i64::MIN => return Err(out_of_bounds(-i64::MAX, i64::MAX)),
                    _ => usize::try_from(rank.unsigned_abs() - 1).unwrap_or(usize::MAX),
                };
            } else if args.word("COUNT") {
                search.count = Some(limit(args, Error::COUNT_NEGATIVE)?);
            } else if args.word("MAXLEN") {
                search.maxlen = limit(args, Error::MAXLEN_NEGATIVE)?;
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(search)
    }

    /// The indexes that are found, in the order of the search.
    fn find<'a>(&'a self, list: &'a List, element: Item<'a>) -> impl Iterator<Item = usize> + 'a {
        let len = list.len();
        let items = list.iter_at(self.from).take(self.maxlen).enumerate();
        let matches = items.filter(move |(_, item)| item.same(&element));
        let found = matches.skip(self.skip).take(self.count.unwrap_or(1));
        found.map(move |(at, _)| self.from.pick(at, len - 1 - at))
    }
}

/// Takes a number that is not negative, of which 0 stands for no limit.
fn limit(args: &mut Args, negative: Error) -> Result<usize, Error> {
    match usize::try_from(args.int_or(negative.clone())?) {
        Ok(0) => Ok(usize::MAX),
        Ok(limit) => Ok(limit),
        Err(_) => Err(negative),
    }
}

/// LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]
fn lpos(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, element) = (args.key(), Item::of(args.bytes()?));
    let search = Search::parse(args)?;
    let part = |list: &List| 0..list.len().min(search.maxlen);
    ctx.reply_about(key, part, |list, reply| {
        let mut found = list.iter().flat_map(|(list, _)| search.find(list, element));
        if search.count.is_none() {
            return match found.next() {
                Some(index) => reply.count(index),
                None => reply.null(),
            };
        }
        let out = reply.parts();
        let start = out.defer();
        let mut count = 0;
        for index in found {
            out.int(index as i64);
            count += 1;
        }
        out.finish_array(start, count);
        reply.done()
    })
}

/// How large the nodes of lists may be.
fn fill(ctx: &Ctx) -> Fill {
    Fill::new(ctx.settings.limits.list_max_listpack_size)
}

/// The index that may be counted from the end, if there is such an element.
fn resolve(index: i64, len: usize) -> Option<usize> {
    let from_start = usize::try_from(index.unsigned_abs()).ok()?;
    let index = if index < 0 { len.checked_sub(from_start)? } else { from_start };
    (index < len).then_some(index)
}

/// The range between two indexes, both included, that may be counted from the end; an empty one
/// at 0 if there is nothing between them.
fn resolve_range(start: i64, stop: i64, len: usize) -> Range<usize> {
    let signed = i64::try_from(len).unwrap_or(i64::MAX);
    let from_start = |index: i64| if index < 0 { index.saturating_add(signed) } else { index };
    let (start, stop) = (from_start(start).max(0), from_start(stop).min(signed - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}
