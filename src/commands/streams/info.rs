//! XINFO: streams, groups and consumers described.

use super::{limit, no_group, push_entries, push_entry, push_id};
use crate::data::stream::{Consumer, Entries, Entry, Group as Readers, Id, Stream};
use crate::engine::spec::access::{ACCESS, RO};
use crate::engine::spec::flag::{LOADING, STALE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{Error, subcommand_syntax};
use crate::resp::out::Out;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::container("xinfo")
    .group(Group::Stream)
    .since("5.0.0")
    .summary("A container for the commands that describe streams.")
    .subcommands(&[
        sub("stream", stream)
            .arity(-3)
            .syntax("key [full-block: FULL [COUNT count]]")
            .history(&[
                ("6.0.0", "The option `FULL`."),
                ("7.0.0", "Fields of ids and counters of entries, and `lag`."),
                ("7.2.0", "The field `active-time`; `seen-time` tells of any try to read."),
            ])
            .summary("Describes a stream."),
        sub("groups", groups)
            .arity(3)
            .syntax("key")
            .history(&[("7.0.0", "The fields `entries-read`, `lag`.")])
            .summary("Describes the consumer groups of a stream."),
        sub("consumers", consumers)
            .arity(4)
            .syntax("key group")
            .tips(&["nondeterministic_output"])
            .history(&[("7.2.0", "The field `inactive`.")])
            .summary("Describes the consumers of a group."),
        Command::new("help", help)
            .group(Group::Stream)
            .since("5.0.0")
            .arity(2)
            .flags(LOADING | STALE)
            .complexity("O(1)")
            .summary("Describes the subcommands."),
    ])];

const KEY: &[KeySpec] = &[KeySpec::at(2, RO | ACCESS)];

const fn sub(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler)
        .group(Group::Stream)
        .since("5.0.0")
        .readonly()
        .keys(KEY)
        .complexity("O(1)")
}

/// How many elements of each kind FULL shows unless it is told.
const DEFAULT_COUNT: u64 = 10;

/// XINFO STREAM key [FULL [COUNT count]]
fn stream(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let Some(stream) = ctx.db.get::<Stream>(args.key())? else { return Err(Error::NO_KEY) };
    let full = full(args)?;
    let (entries, out) = (stream.entries(), ctx.reply.parts());
    out.map(if full.is_some() { 9 } else { 10 });
    push_numbers(out, entries);
    match full {
        None => {
            push_field(out, "groups", stream.groups().len() as i64);
            let first = entries.range(Id::MIN, Id::MAX).next();
            let ends = [first, entries.range_back(Id::MIN, Id::MAX).next()];
            for (name, entry) in ["first-entry", "last-entry"].into_iter().zip(ends) {
                out.bulk(name.as_bytes());
                push_entry_or_null(out, entry);
            }
        }
        Some(count) => {
            out.bulk(b"entries");
            push_entries(out, entries.iter().take(count));
            out.bulk(b"groups");
            out.array(stream.groups().len());
            for (name, group) in stream.groups() {
                push_group_fully(out, entries, name, group, count);
            }
        }
    }
    ctx.reply.done()
}

/// The largest number of elements of each kind, where all is to be shown.
fn full(args: &mut Args) -> Result<Option<usize>, Error> {
    if args.is_empty() {
        return Ok(None);
    }
    let syntax = subcommand_syntax(args.argv()[1], "xinfo");
    let left = args.left();
    if !(left == 1 || left == 3) || !args.word("FULL") || !(left == 1 || args.word("COUNT")) {
        return Err(syntax);
    }
    let count = match left {
        1 => DEFAULT_COUNT,
        _ => u64::try_from(args.int()?).unwrap_or(DEFAULT_COUNT),
    };
    Ok(Some(limit(count)))
}

fn push_field(out: &mut Out, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.int(value);
}

fn push_id_field(out: &mut Out, name: &str, id: Id) {
    out.bulk(name.as_bytes());
    push_id(out, id);
}

/// A number that may not be known.
fn push_known(out: &mut Out, name: &str, value: Option<i64>) {
    out.bulk(name.as_bytes());
    match value {
        Some(value) => out.int(value),
        None => out.null(),
    }
}

fn push_entry_or_null(out: &mut Out, entry: Option<Entry>) {
    match entry {
        Some(entry) => push_entry(out, entry),
        None => out.null(),
    }
}

fn push_numbers(out: &mut Out, entries: &Entries) {
    let counters = entries.counters();
    push_field(out, "length", entries.len() as i64);
    push_field(out, "radix-tree-keys", entries.node_count() as i64);
    push_field(out, "radix-tree-nodes", entries.radix_node_count() as i64);
    push_id_field(out, "last-generated-id", counters.last_id);
    push_id_field(out, "max-deleted-entry-id", counters.max_deleted_id);
    push_field(out, "entries-added", counters.entries_added as i64);
    push_id_field(out, "recorded-first-entry-id", counters.first_id);
}

/// A group with its pending entries and its consumers with theirs.
fn push_group_fully(out: &mut Out, entries: &Entries, name: &[u8], group: &Readers, count: usize) {
    out.map(7);
    out.bulk(b"name");
    out.bulk(name);
    push_id_field(out, "last-delivered-id", group.last_id);
    push_known(out, "entries-read", group.entries_read);
    push_known(out, "lag", entries.lag_of(group));
    push_field(out, "pel-count", group.pending_len() as i64);
    out.bulk(b"pending");
    out.array(count.min(group.pending_len()));
    for (id, pending) in group.pending_from(Id::MIN).take(count) {
        out.array(4);
        push_id(out, id);
        out.bulk(&pending.consumer);
        out.int(pending.delivered_ms);
        out.int(pending.deliveries as i64);
    }
    out.bulk(b"consumers");
    out.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        push_consumer_fully(out, group, name, consumer, count);
    }
}

fn push_consumer_fully(
    out: &mut Out,
    group: &Readers,
    name: &[u8],
    consumer: &Consumer,
    count: usize,
) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(name);
    push_field(out, "seen-time", consumer.seen_ms);
    push_field(out, "active-time", consumer.active_ms);
    push_field(out, "pel-count", consumer.pending_len() as i64);
    out.bulk(b"pending");
    out.array(count.min(consumer.pending_len()));
    for id in consumer.pending_from(Id::MIN).take(count) {
        let known = group.pending(id);
        out.array(3);
        push_id(out, id);
        out.int(known.map_or(0, |pending| pending.delivered_ms));
        out.int(known.map_or(0, |pending| pending.deliveries as i64));
    }
}

/// XINFO GROUPS key
fn groups(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let Some(stream) = ctx.db.get::<Stream>(args.key())? else { return Err(Error::NO_KEY) };
    let out = ctx.reply.parts();
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        push_field(out, "consumers", group.consumers().len() as i64);
        push_field(out, "pending", group.pending_len() as i64);
        push_id_field(out, "last-delivered-id", group.last_id);
        push_known(out, "entries-read", group.entries_read);
        push_known(out, "lag", stream.entries().lag_of(group));
    }
    ctx.reply.done()
}

/// XINFO CONSUMERS key group
fn consumers(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, now_ms) = (args.key(), args.key(), ctx.now_ms);
    let Some(stream) = ctx.db.get::<Stream>(key)? else { return Err(Error::NO_KEY) };
    let Some(group) = stream.group(name) else { return Err(no_group(name, key)) };
    let out = ctx.reply.parts();
    out.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        let inactive = match consumer.active_ms {
            -1 => -1,
            active => now_ms.wrapping_sub(active),
        };
        out.map(4);
        out.bulk(b"name");
        out.bulk(name);
        push_field(out, "pending", consumer.pending_len() as i64);
        push_field(out, "idle", now_ms.wrapping_sub(consumer.seen_ms).max(0));
        push_field(out, "inactive", inactive);
    }
    ctx.reply.done()
}

/// XINFO HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(&[
        "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CONSUMERS <key> <groupname>",
        "    The consumers of the group.",
        "GROUPS <key>",
        "    The consumer groups of the stream.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    The stream itself; with FULL all that is in it.",
        "HELP",
        "    Prints this help.",
    ])
}
