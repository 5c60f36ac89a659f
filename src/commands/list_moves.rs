//! Commands that take elements out of lists, some of which wait until there are any and some of
//! which put them into another list.

use std::time::Duration;

use crate::base::num;
use crate::data::list::End;
use crate::data::quicklist::Fill;
use crate::data::{Kind, List};
use crate::engine::ctx::push_item;
use crate::engine::spec::access::{ACCESS, DELETE, INSERT, RW};
use crate::engine::spec::flag::{BLOCKING, MOVABLEKEYS};
use crate::engine::{Args, Block, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{Error, wrong_args};
use crate::store::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("lpop", lpop)
        .group(Group::List)
        .write()
        .fast()
        .arity(-2)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE)])
        .syntax("key [count@6.2.0]")
        .complexity("O(N) where N is the number of elements returned")
        .history(&[("6.2.0", "The argument `count`.")])
        .summary("Returns and removes elements at the left end of a list."),
    Command::new("rpop", rpop)
        .group(Group::List)
        .write()
        .fast()
        .arity(-2)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE)])
        .syntax("key [count@6.2.0]")
        .complexity("O(N) where N is the number of elements returned")
        .history(&[("6.2.0", "The argument `count`.")])
        .summary("Returns and removes elements at the right end of a list."),
    Command::new("lmpop", lmpop)
        .group(Group::List)
        .since("7.0.0")
        .write()
        .flags(MOVABLEKEYS)
        .arity(-4)
        .keys(&[KeySpec::counted(1, RW | ACCESS | DELETE)])
        .syntax("numkeys key [key ...] <where: LEFT | RIGHT> [COUNT count]")
        .complexity("O(N+M) where N is the number of keys and M the number of elements returned")
        .summary("Returns and removes elements at an end of the first list that has any."),
    Command::new("lmove", lmove)
        .group(Group::List)
        .since("6.2.0")
        .write()
        .deny_oom()
        .arity(5)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE), KeySpec::at(2, RW | INSERT)])
        .syntax("source destination <wherefrom: LEFT | RIGHT> <whereto: LEFT | RIGHT>")
        .complexity("O(1)")
        .summary("Moves an element from an end of a list to an end of another, and returns it."),
    Command::new("rpoplpush", rpoplpush)
        .group(Group::List)
        .since("1.2.0")
        .write()
        .deny_oom()
        .arity(3)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE), KeySpec::at(2, RW | INSERT)])
        .syntax("source destination")
        .complexity("O(1)")
        .summary("Moves the last element of a list to the start of another, and returns it.")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    Command::new("blpop", blpop)
        .group(Group::List)
        .since("2.0.0")
        .write()
        .flags(BLOCKING)
        .arity(-3)
        .keys(&[KeySpec::from_to(1, 1, RW | ACCESS | DELETE)])
        .syntax("key [key ...] timeout:double")
        .complexity("O(N) where N is the number of keys")
        .history(&[("6.0.0", "Fractions of seconds.")])
        .summary("Returns and removes the first element of a list, or waits for one."),
    Command::new("brpop", brpop)
        .group(Group::List)
        .since("2.0.0")
        .write()
        .flags(BLOCKING)
        .arity(-3)
        .keys(&[KeySpec::from_to(1, 1, RW | ACCESS | DELETE)])
        .syntax("key [key ...] timeout:double")
        .complexity("O(N) where N is the number of keys")
        .history(&[("6.0.0", "Fractions of seconds.")])
        .summary("Returns and removes the last element of a list, or waits for one."),
    Command::new("blmpop", blmpop)
        .group(Group::List)
        .since("7.0.0")
        .write()
        .flags(BLOCKING | MOVABLEKEYS)
        .arity(-5)
        .keys(&[KeySpec::counted(2, RW | ACCESS | DELETE)])
        .syntax("timeout:double numkeys key [key ...] <where: LEFT | RIGHT> [COUNT count]")
        .complexity("O(N+M) where N is the number of keys and M the number of elements returned")
        .summary("Returns and removes elements at an end of a list, or waits for some."),
    Command::new("blmove", blmove)
        .group(Group::List)
        .since("6.2.0")
        .write()
        .deny_oom()
        .flags(BLOCKING)
        .arity(6)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE), KeySpec::at(2, RW | INSERT)])
        .syntax(
            "source destination <wherefrom: LEFT | RIGHT> <whereto: LEFT | RIGHT> timeout:double",
        )
        .complexity("O(1)")
        .summary("Moves an element from one list to another, or waits for one."),
    Command::new("brpoplpush", brpoplpush)
        .group(Group::List)
        .since("2.2.0")
        .write()
        .deny_oom()
        .flags(BLOCKING)
        .arity(4)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE), KeySpec::at(2, RW | INSERT)])
        .syntax("source destination timeout:double")
        .complexity("O(1)")
        .history(&[("6.0.0", "Fractions of seconds.")])
        .summary("Moves the last element of a list to the start of another, or waits for one.")
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
];

/// LPOP key [count]
fn lpop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    pop(ctx, args, End::Left)
}

/// RPOP key [count]
fn rpop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    pop(ctx, args, End::Right)
}

fn pop(ctx: &mut Ctx, args: &mut Args, end: End) -> Reply {
    let key = args.key();
    let count = match args.left() {
        0 => None,
        1 => match usize::try_from(args.int_or(Error::NOT_POSITIVE)?) {
            Ok(count) => Some(count),
            Err(_) => return Err(Error::NOT_POSITIVE),
        },
        _ => return Err(wrong_args(end.pick("lpop", "rpop"))),
    };
    let Some(len) = ctx.db.peek_as::<List>(key)?.map(List::len) else {
        return if count.is_some() { ctx.reply.null_array() } else { ctx.reply.null() };
    };
    if let Some(count) = count {
        ctx.reply.parts().array(count.min(len));
    }
    if count != Some(0) {
        take(ctx, key, end, count.unwrap_or(1))?;
    }
    ctx.reply.done()
}

/// Writes up to `count` elements at an end of a list and removes them.
fn take(ctx: &mut Ctx, key: &[u8], end: End, count: usize) -> Result<(), Error> {
    let fill = fill(ctx);
    ctx.edit_apart(
        key,
        |list: &List| count.min(list.len()),
        |list, out| {
            let before = list.len();
            list.pop(end, count, fill, |item| push_item(out, item));
            before - list.len()
        },
        |&removed, note| {
            note.dirty(removed as u64);
            note.event(EventClasses::LIST, end.pick("lpop", "rpop"));
        },
    )?;
    Ok(())
}

/// LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]
fn lmpop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let pop = ManyPop::parse(args)?;
    if pop.take_any(ctx)? { ctx.reply.done() } else { ctx.reply.null_array() }
}

/// BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]
fn blmpop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let mut timeout = Args::new(args.argv(), 1);
    args.bytes()?;
    let pop = ManyPop::parse(args)?;
    // A wrong time-out is the last thing that is complained about.
    let timeout = timeout.timeout()?;
    if pop.take_any(ctx)? { ctx.reply.done() } else { wait(ctx, pop.keys, timeout) }
}

/// What LMPOP and BLMPOP are to do.
struct ManyPop<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> ManyPop<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, Error> {
        let numkeys = positive(args, Error::NUMKEYS_POSITIVE)?;
        let keys = args.take(numkeys)?;
        let end = parse_end(args)?;
        let count = match args.left() {
            0 => 1,
            2 if args.word("COUNT") => positive(args, Error::COUNT_POSITIVE)?,
            more if more > 2 && args.word("COUNT") => {
                positive(args, Error::COUNT_POSITIVE)?;
                return Err(Error::SYNTAX);
            }
            _ => return Err(Error::SYNTAX),
        };
        Ok(ManyPop { keys, end, count })
    }

    /// Takes elements from the first list that has any; whether one has.
    fn take_any(&self, ctx: &mut Ctx) -> Result<bool, Error> {
        for key in self.keys {
            let Some(len) = ctx.db.peek_as::<List>(key)?.map(List::len) else { continue };
            let count = self.count.min(len);
            let out = ctx.reply.parts();
            out.array(2);
            out.bulk(key);
            out.array(count);
            take(ctx, key, self.end, count)?;
            let name: &[u8] = self.end.pick(b"LPOP", b"RPOP");
            ctx.effects.replace(&[name, key, num::i64_bytes(count as i64, &mut [0; 20])]);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Takes a number above 0.
fn positive(args: &mut Args, error: Error) -> Result<usize, Error> {
    match usize::try_from(args.int_or(error.clone())?) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(error),
    }
}

fn parse_end(args: &mut Args) -> Result<End, Error> {
    if args.word("LEFT") {
        Ok(End::Left)
    } else if args.word("RIGHT") {
        Ok(End::Right)
    } else {
        Err(Error::SYNTAX)
    }
}

/// BLPOP key [key ...] timeout
fn blpop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    blocking_pop(ctx, args, End::Left)
}

/// BRPOP key [key ...] timeout
fn brpop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    blocking_pop(ctx, args, End::Right)
}

fn blocking_pop(ctx: &mut Ctx, args: &mut Args, end: End) -> Reply {
    let keys = args.take(args.left().saturating_sub(1))?;
    let timeout = args.timeout()?;
    for key in keys {
        if ctx.db.peek_as::<List>(key)?.is_some() {
            let out = ctx.reply.parts();
            out.array(2);
            out.bulk(key);
            take(ctx, key, end, 1)?;
            ctx.effects.replace(&[end.pick(b"LPOP", b"RPOP"), key]);
            return ctx.reply.done();
        }
    }
    wait(ctx, keys, timeout)
}

fn wait(ctx: &mut Ctx, keys: &[&[u8]], timeout: Option<Duration>) -> Reply {
    ctx.block(Block::on(keys, List::NAME, timeout))
}

/// From where to where an element is moved.
struct Move<'a> {
    source: &'a [u8],
    destination: &'a [u8],
    from: End,
    to: End,
}

/// LMOVE source destination LEFT|RIGHT LEFT|RIGHT
fn lmove(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let step = Move::parse(args)?;
    if step.run(ctx)? { ctx.reply.done() } else { ctx.reply.null() }
}

/// RPOPLPUSH source destination
fn rpoplpush(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let step = Move::right_to_left(args);
    if step.run(ctx)? { ctx.reply.done() } else { ctx.reply.null() }
}

/// BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout
fn blmove(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let step = Move::parse(args)?;
    let timeout = args.timeout()?;
    if !step.run(ctx)? {
        return step.wait(ctx, timeout);
    }
    let argv = args.argv();
    ctx.effects.replace(&[b"LMOVE", argv[1], argv[2], argv[3], argv[4]]);
    ctx.reply.done()
}

/// BRPOPLPUSH source destination timeout
fn brpoplpush(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let step = Move::right_to_left(args);
    let timeout = args.timeout()?;
    if !step.run(ctx)? {
        return step.wait(ctx, timeout);
    }
    ctx.effects.replace(&[b"RPOPLPUSH", step.source, step.destination]);
    ctx.reply.done()
}

impl<'a> Move<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, Error> {
        let (source, destination) = (args.key(), args.key());
        Ok(Move { source, destination, from: parse_end(args)?, to: parse_end(args)? })
    }

    fn right_to_left(args: &mut Args<'a>) -> Self {
        let (source, destination) = (args.key(), args.key());
        Move { source, destination, from: End::Right, to: End::Left }
    }

    /// Moves an element and writes it; whether there was one.
    fn run(&self, ctx: &mut Ctx) -> Result<bool, Error> {
        let fill = fill(ctx);
        let Some(list) = ctx.db.peek_as::<List>(self.source)? else { return Ok(false) };
        let Some(item) = list.peek(self.from) else { return Ok(false) };
        let value = item.to_vec();
        ctx.db.peek_as::<List>(self.destination)?;
        let popped = self.from.pick("lpop", "rpop");
        let pushed = self.to.pick("lpush", "rpush");
        // The element goes out first, so that a list that is moved within itself does not grow. Its
        // event comes second, as in Redis.
        let same = self.source == self.destination;
        ctx.db.edit_or_create(self.destination, |list: &mut List, note| {
            if same {
                list.remove_at(self.from, 1);
            }
            list.push(self.to, &value, fill);
            note.event(EventClasses::LIST, pushed);
            if same {
                list.shrink(fill);
                note.event(EventClasses::LIST, popped);
            }
        })?;
        if !same {
            ctx.db.edit(self.source, |list: &mut List, note| {
                list.pop(self.from, 1, fill, |_| ());
                note.event(EventClasses::LIST, popped);
            })?;
        }
        ctx.db.mark_dirty(1);
        ctx.reply.parts().bulk(&value);
        Ok(true)
    }

    fn wait(&self, ctx: &mut Ctx, timeout: Option<Duration>) -> Reply {
        // Where nothing may wait this is no array, unlike after a time-out.
        if ctx.in_exec {
            return ctx.reply.null();
        }
        wait(ctx, &[self.source], timeout)
    }
}

/// How large the nodes of lists may be.
fn fill(ctx: &Ctx) -> Fill {
    Fill::new(ctx.settings.limits.list_max_listpack_size)
}
