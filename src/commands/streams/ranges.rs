//! XLEN, XRANGE, XREVRANGE.

use super::{limit, push_entries, range_end, range_start};
use crate::data::stream::{Id, Stream};
use crate::engine::spec::access::{ACCESS, RO};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("xlen", xlen)
        .group(Group::Stream)
        .since("5.0.0")
        .readonly()
        .fast()
        .arity(2)
        .keys(&[KeySpec::at(1, RO)])
        .syntax("key")
        .complexity("O(1)")
        .summary("Returns how many entries a stream has."),
    range("xrange", xrange)
        .syntax("key start:string end:string [COUNT count]")
        .history(&[("6.2.0", "Ranges without their ends.")])
        .summary("Returns the entries of a stream between two ids."),
    range("xrevrange", xrevrange)
        .syntax("key end:string start:string [COUNT count]")
        .history(&[("6.2.0", "Ranges without their ends.")])
        .summary("Returns the entries of a stream between two ids, the last one first."),
];

const KEY: &[KeySpec] = &[KeySpec::at(1, RO | ACCESS)];

const fn range(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler)
        .group(Group::Stream)
        .since("5.0.0")
        .readonly()
        .arity(-4)
        .keys(KEY)
        .complexity("O(N) with N being the number of elements being returned")
}

/// XLEN key
fn xlen(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let len = ctx.db.get::<Stream>(args.key())?.map_or(0, |stream| stream.entries().len());
    ctx.reply.int(len as i64)
}

/// XRANGE key start end [COUNT count]
fn xrange(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, start, end) = (args.key(), range_start(args.key())?, range_end(args.key())?);
    range_generic(ctx, args, key, (start, end), false)
}

/// XREVRANGE key end start [COUNT count]
fn xrevrange(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, end, start) = (args.key(), args.key(), args.key());
    let (start, end) = (range_start(start)?, range_end(end)?);
    range_generic(ctx, args, key, (start, end), true)
}

fn range_generic(
    ctx: &mut Ctx,
    args: &mut Args,
    key: &[u8],
    (start, end): (Id, Id),
    reverse: bool,
) -> Reply {
    let mut count = None;
    while !args.is_empty() {
        if !args.word("COUNT") {
            return Err(Error::SYNTAX);
        }
        count = Some(u64::try_from(args.int()?).unwrap_or(0));
    }
    let limit = limit(count.unwrap_or(0));
    let part = |stream: &Stream| 0..limit.min(stream.entries().len() as usize);
    ctx.reply_about(key, part, |found, reply| {
        let Some((stream, _)) = found else {
            reply.parts().array(0);
            return reply.done();
        };
        if count == Some(0) {
            return reply.null_array();
        }
        let (entries, out) = (stream.entries(), reply.parts());
        if reverse {
            push_entries(out, entries.range_back(start, end).take(limit));
        } else {
            push_entries(out, entries.range(start, end).take(limit));
        }
        reply.done()
    })
}
