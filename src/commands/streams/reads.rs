//! XREAD and XREADGROUP: what is new in some streams, waiting for it if need be.

use std::time::Duration;

use super::{Log, has_group, id, limit, no_key_or_group, push_entries, push_entry, push_id};
use crate::data::Kind;
use crate::data::stream::{Entries, Group as Readers, Id, Stream};
use crate::engine::spec::access::{ACCESS, RO};
use crate::engine::spec::flag::{BLOCKING, MOVABLEKEYS};
use crate::engine::{Args, Block, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::store::EventClasses;

/// The options before the keys that take arguments, and how many.
const OPTIONS: &[(&str, usize)] = &[("COUNT", 1), ("BLOCK", 1), ("GROUP", 2), ("NOACK", 0)];

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("xread", xread)
        .group(Group::Stream)
        .since("5.0.0")
        .readonly()
        .flags(BLOCKING | MOVABLEKEYS)
        .arity(-4)
        .keys(&[KeySpec::half_behind("STREAMS", 1, RO | ACCESS).past(1, OPTIONS)])
        .syntax("[COUNT count] [BLOCK milliseconds] <streams: STREAMS key [key ...] id [id ...]>")
        .complexity(
            "For each stream mentioned: O(N) with N being the number of elements being returned; \
             XADD pays for serving the clients that are blocked.",
        )
        .summary(
            "Returns the entries of streams that come behind given ids, and waits until there \
             are some.",
        ),
    Command::new("xreadgroup", xreadgroup)
        .group(Group::Stream)
        .since("5.0.0")
        .write()
        .flags(BLOCKING | MOVABLEKEYS)
        .arity(-7)
        .keys(&[KeySpec::half_behind("STREAMS", 4, RO | ACCESS).past(1, OPTIONS)])
        .syntax(
            "<group-block: GROUP group consumer> [COUNT count] [BLOCK milliseconds] [NOACK] \
             <streams: STREAMS key [key ...] id [id ...]>",
        )
        .complexity(
            "For each stream mentioned: O(M) with M being the number of elements returned; XADD \
             pays for serving the clients that are blocked.",
        )
        .summary(
            "Returns entries of streams for a consumer in a group: new ones, or those pending \
             for it.",
        ),
];

/// The options.
#[derive(Default)]
struct Options<'a> {
    /// 0 for any number.
    count: u64,
    /// Milliseconds, 0 for ever.
    block: Option<u64>,
    no_ack: bool,
    /// Group and consumer.
    reader: Option<(&'a [u8], &'a [u8])>,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

impl<'a> Options<'a> {
    fn parse(args: &mut Args<'a>, for_group: bool) -> Result<Self, Error> {
        let mut options = Options::default();
        loop {
            let more = args.left().saturating_sub(1);
            if more >= 1 && args.word("BLOCK") {
                options.block = Some(args.timeout_ms()?);
            } else if more >= 1 && args.word("COUNT") {
                options.count = u64::try_from(args.int()?).unwrap_or(0);
            } else if more >= 1 && args.word("STREAMS") {
                break;
            } else if more >= 2 && args.word("GROUP") {
                if !for_group {
                    return Err(Error::XREAD_GROUP);
                }
                options.reader = Some((args.bytes()?, args.bytes()?));
            } else if args.word("NOACK") {
                if !for_group {
                    return Err(Error::XREAD_NOACK);
                }
                options.no_ack = true;
            } else {
                return Err(Error::SYNTAX);
            }
        }
        if args.left() % 2 == 1 {
            return Err(unbalanced(for_group));
        }
        (options.keys, options.ids) = args.rest().split_at(args.left() / 2);
        Ok(options)
    }

    /// What to wait for, if waiting was asked for.
    fn block(&self) -> Option<Block> {
        let ms = self.block?;
        let timeout = (ms > 0).then(|| Duration::from_millis(ms));
        Some(Block::on(self.keys, Stream::NAME, timeout))
    }
}

fn unbalanced(for_group: bool) -> Error {
    let (name, sign) = if for_group { ("xreadgroup", '>') } else { ("xread", '$') };
    Error::from(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{sign}' must be \
         specified."
    ))
}

/// The streams that a reply has told of so far.
struct Streams {
    start: crate::resp::out::Deferred,
    count: usize,
}

impl Streams {
    fn begin(out: &mut Out) -> Streams {
        Streams { start: out.defer(), count: 0 }
    }

    /// Another stream; its entries follow.
    fn push(&mut self, out: &mut Out, key: &[u8]) {
        // RESP3 has a map of streams, RESP2 an array of pairs.
        if out.proto() < 3 {
            out.array(2);
        }
        out.bulk(key);
        self.count += 1;
    }

    fn finish(self, out: &mut Out) {
        match out.proto() {
            3.. => out.finish_map(self.start, self.count),
            _ => out.finish_array(self.start, self.count),
        }
    }
}

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]
fn xread(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let options = Options::parse(args, false)?;
    let mut after = Vec::with_capacity(options.keys.len());
    for (key, arg) in options.keys.iter().zip(options.ids) {
        let stream = ctx.db.get::<Stream>(key)?;
        after.push(match *arg {
            b"$" => stream.map_or(Id::MIN, |stream| stream.entries().counters().last_id),
            b"+" => before_last(stream),
            b">" => return Err(Error::XREAD_NEW),
            arg => id(arg, 0)?,
        });
    }
    let (mut found, mut amount) = (Vec::new(), 0);
    for ((key, arg), after) in options.keys.iter().zip(options.ids).zip(&after) {
        let Some(stream) = ctx.db.get::<Stream>(key)? else { continue };
        let entries = stream.entries();
        let Some(start) = after.next().filter(|_| entries.last_live_id() > Some(*after)) else {
            continue;
        };
        let count = limit(if *arg == b"+" { 1 } else { options.count });
        amount += count.min(entries.len() as usize);
        found.push((*key, stream.clone(), start, count));
    }
    if !found.is_empty() {
        ctx.let_go(amount)?;
        let out = ctx.reply.parts();
        let mut streams = Streams::begin(out);
        for (key, stream, start, count) in &found {
            streams.push(out, key);
            push_entries(out, stream.entries().range(*start, Id::MAX).take(*count));
        }
        streams.finish(out);
        return ctx.reply.done();
    }
    let Some(block) = options.block() else { return ctx.reply.null_array() };
    // What is the last entry now will not be so when the command is executed again.
    let mut again: Vec<Vec<u8>> = args.argv().iter().map(|arg| arg.to_vec()).collect();
    let ids_at = again.len() - after.len();
    for (arg, id) in again[ids_at..].iter_mut().zip(after) {
        if arg == b"$" {
            *arg = id.to_vec();
        }
    }
    ctx.block(block.again_as(again))
}

/// The id before the last entry of a stream.
fn before_last(stream: Option<&Stream>) -> Id {
    stream.and_then(|stream| stream.entries().last_live_id()?.prev()).unwrap_or(Id::MIN)
}

/// What XREADGROUP asks of a stream.
#[derive(Clone, Copy)]
enum Wanted {
    /// Entries that nobody in the group was given.
    New,
    /// Entries behind this one that are pending for the consumer.
    PendingAfter(Id),
}

impl Wanted {
    fn parse(arg: &[u8]) -> Result<Wanted, Error> {
        match arg {
            b"$" => Err(Error::XREADGROUP_DOLLAR),
            b"+" => Err(Error::XREADGROUP_PLUS),
            b">" => Ok(Wanted::New),
            arg => match id(arg, 0)? {
                // As in Redis, which has no other sign for it.
                Id::MAX => Ok(Wanted::New),
                after => Ok(Wanted::PendingAfter(after)),
            },
        }
    }
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key
/// [key ...] id [id ...]
fn xreadgroup(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let options = Options::parse(args, true)?;
    let (group, consumer) = options.reader.ok_or(Error::XREADGROUP_NO_GROUP)?;
    let mut wanted = Vec::with_capacity(options.keys.len());
    for (key, arg) in options.keys.iter().zip(options.ids) {
        if !has_group(ctx.db.get::<Stream>(key)?, group) {
            return Err(no_key_or_group(key, group, " in XREADGROUP with GROUP option"));
        }
        wanted.push(Wanted::parse(arg)?);
    }
    let mut streams = Streams::begin(ctx.reply.parts());
    let mut log = Log::default();
    for (key, wanted) in options.keys.iter().zip(wanted) {
        let reading = Reading {
            key,
            group,
            consumer,
            wanted,
            count: limit(options.count),
            no_ack: options.no_ack,
            now_ms: ctx.now_ms,
            logs: ctx.server.log.is_active(),
        };
        read_stream(ctx, &reading, &mut streams, &mut log)?;
    }
    // The reading itself is nothing that could be repeated elsewhere.
    ctx.effects.replace_all(log.0);
    if streams.count > 0 {
        streams.finish(ctx.reply.parts());
        return ctx.reply.done();
    }
    match options.block() {
        Some(block) => ctx.block(block.even_if_gone()),
        None => ctx.reply.null_array(),
    }
}

/// What one stream is read for.
struct Reading<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
    wanted: Wanted,
    count: usize,
    no_ack: bool,
    now_ms: i64,
    /// Whether anybody reads the log.
    logs: bool,
}

/// Reads one stream for XREADGROUP.
fn read_stream(
    ctx: &mut Ctx,
    reading: &Reading,
    streams: &mut Streams,
    log: &mut Log,
) -> Result<(), Error> {
    let out = ctx.reply.parts();
    let done = ctx.db.edit(reading.key, |stream: &mut Stream, _| {
        let (entries, group) = stream.group_mut(reading.group)?;
        let created = group.add_consumer(reading.consumer, reading.now_ms);
        if let Some(consumer) = group.consumer_mut(reading.consumer) {
            consumer.seen_ms = reading.now_ms;
        }
        let logged = log.0.len();
        let serves = match reading.wanted {
            Wanted::PendingAfter(_) => true,
            Wanted::New => entries.last_live_id() > Some(group.last_id),
        };
        if serves {
            streams.push(out, reading.key);
            match reading.wanted {
                Wanted::New => push_new(out, entries, group, reading, log),
                Wanted::PendingAfter(id) => push_pending(out, entries, group, reading, id),
            }
        }
        if created && reading.logs && (reading.no_ack || log.0.len() == logged) {
            log.push_consumer(reading.key, reading.group, reading.consumer);
            log.0[logged..].rotate_right(1);
        }
        Some((created, serves))
    })?;
    let (created, serves) = done.flatten().unwrap_or_default();
    if created {
        ctx.db.event(EventClasses::STREAM, "xgroup-createconsumer", reading.key);
    }
    // As in Redis this is nothing that WATCH notices.
    ctx.db.mark_dirty(u64::from(created) + u64::from(serves));
    Ok(())
}

/// Gives the consumer entries that nobody in the group was given.
fn push_new(
    out: &mut Out,
    entries: &Entries,
    group: &mut Readers,
    reading: &Reading,
    log: &mut Log,
) {
    let start = out.defer();
    let mut count = 0;
    let mut advanced = false;
    let first = group.last_id.next().unwrap_or(Id::MAX);
    for entry in entries.range(first, Id::MAX).take(reading.count) {
        advanced |= entries.advance(group, entry.id);
        push_entry(out, entry);
        count += 1;
        if reading.no_ack {
            continue;
        }
        group.assign(entry.id, reading.consumer, reading.now_ms, 1);
        if let Some(consumer) = group.consumer_mut(reading.consumer) {
            consumer.active_ms = reading.now_ms;
        }
        if reading.logs {
            log.push_pending(reading.key, reading.group, group, entry.id);
        }
    }
    if reading.no_ack && advanced && reading.logs {
        log.push_group_id(reading.key, reading.group, group.last_id, group.entries_read);
    }
    out.finish_array(start, count);
}

/// Gives the consumer again what is pending for it behind an entry.
fn push_pending(
    out: &mut Out,
    entries: &Entries,
    group: &mut Readers,
    reading: &Reading,
    after: Id,
) {
    let from = after.next().unwrap_or(Id::MAX);
    let pending: Vec<Id> = group
        .consumer(reading.consumer)
        .map(|consumer| consumer.pending_from(from).take(reading.count).collect())
        .unwrap_or_default();
    out.array(pending.len());
    for id in pending {
        let Some(entry) = entries.get(id) else {
            // It was deleted from the stream, but nobody has acknowledged it.
            out.array(2);
            push_id(out, id);
            out.null_array();
            continue;
        };
        push_entry(out, entry);
        if let Some(pending) = group.pending_mut(id) {
            pending.delivered_ms = reading.now_ms;
            pending.deliveries = pending.deliveries.wrapping_add(1);
        }
    }
}
