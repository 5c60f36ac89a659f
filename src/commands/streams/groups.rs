//! XGROUP and XACK: consumer groups, their consumers, and what they are done with.

use super::{id, id_or_end, ids, no_group};
use crate::data::stream::{Group as Readers, Id, Stream};
use crate::engine::spec::access::{DELETE, INSERT, RW, UPDATE};
use crate::engine::spec::flag::{DENYOOM, LOADING, STALE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{Error, subcommand_syntax};
use crate::store::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::container("xgroup")
        .group(Group::Stream)
        .since("5.0.0")
        .summary("A container for the commands about consumer groups.")
        .subcommands(&[
            sub("create", create)
                .arity(-5)
                .flags(DENYOOM)
                .keys(&[KeySpec::at(2, RW | INSERT)])
                .syntax(
                    "key group <id-selector: id | $=new-id> [MKSTREAM] [ENTRIESREAD entries-read]",
                )
                .history(&[("7.0.0", "The option `ENTRIESREAD`.")])
                .summary("Creates a consumer group."),
            sub("setid", setid)
                .arity(-5)
                .keys(&[KeySpec::at(2, RW | UPDATE)])
                .syntax(
                    "key group <id-selector: id | $=new-id> [ENTRIESREAD \
                     entries-read=entriesread]",
                )
                .history(&[("7.0.0", "The option `ENTRIESREAD`.")])
                .summary("Sets how far a consumer group has read."),
            sub("destroy", destroy)
                .arity(4)
                .keys(&[KeySpec::at(2, RW | DELETE)])
                .syntax("key group")
                .complexity(
                    "O(N) where N is the number of entries in the group's pending entries list \
                     (PEL).",
                )
                .summary("Removes a consumer group."),
            sub("createconsumer", createconsumer)
                .since("6.2.0")
                .arity(5)
                .flags(DENYOOM)
                .keys(&[KeySpec::at(2, RW | INSERT)])
                .syntax("key group consumer")
                .summary("Creates a consumer in a group."),
            sub("delconsumer", delconsumer)
                .arity(5)
                .keys(&[KeySpec::at(2, RW | DELETE)])
                .syntax("key group consumer")
                .summary("Removes a consumer and what is pending for it."),
            Command::new("help", help)
                .group(Group::Stream)
                .since("5.0.0")
                .arity(2)
                .flags(LOADING | STALE)
                .complexity("O(1)")
                .summary("Describes the subcommands."),
        ]),
    Command::new("xack", xack)
        .group(Group::Stream)
        .since("5.0.0")
        .write()
        .fast()
        .arity(-4)
        .keys(&[KeySpec::at(1, RW | UPDATE)])
        .syntax("key group id [id ...]")
        .complexity("O(1) for each message ID processed.")
        .summary("Marks entries as done with and returns how many were pending."),
];

const fn sub(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler).group(Group::Stream).since("5.0.0").write().complexity("O(1)")
}

/// The options of CREATE and SETID.
struct Options {
    make_stream: bool,
    entries_read: Option<i64>,
}

impl Options {
    /// Reads them from behind the id.
    fn parse(args: &mut Args, creates: bool) -> Result<Options, Error> {
        let mut options = Options { make_stream: false, entries_read: None };
        while !args.is_empty() {
            if creates && args.word("MKSTREAM") {
                options.make_stream = true;
            } else if args.left() > 1 && args.word("ENTRIESREAD") {
                options.entries_read = match args.int()? {
                    -1 => None,
                    count if count < 0 => return Err(Error::ENTRIES_READ),
                    count => Some(count),
                };
            } else {
                return Err(syntax(args));
            }
        }
        Ok(options)
    }
}

fn syntax(args: &Args) -> Error {
    subcommand_syntax(args.argv()[1], "xgroup")
}

/// XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]
fn create(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, from) = (args.key(), args.key(), args.key());
    let options = Options::parse(args, true)?;
    let found = ctx.db.peek_as::<Stream>(key)?;
    let is_new = found.is_none();
    if is_new && !options.make_stream {
        return Err(Error::XGROUP_NO_KEY);
    }
    // Redis has room for each option once.
    if args.argv().len() > 8 {
        return Err(syntax(args));
    }
    let last_id = match from {
        b"$" => found.map_or(Id::MIN, |stream| stream.entries().counters().last_id),
        from => id(from, 0)?,
    };
    let group = Readers::new(last_id, options.entries_read);
    if !ctx.db.edit_or_create(key, |stream: &mut Stream, _| stream.add_group(name, group))? {
        return Err(Error::BUSYGROUP);
    }
    note(ctx, key, "xgroup-create");
    ctx.reply.ok()
}

/// Counts a change of a group and tells of it. As in Redis it is nothing that WATCH notices.
fn note(ctx: &mut Ctx, key: &[u8], event: &'static str) {
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::STREAM, event, key);
}

/// The stream of a key that must be there.
fn stream<'d>(ctx: &'d mut Ctx, key: &[u8]) -> Result<&'d Stream, Error> {
    ctx.db.peek_as::<Stream>(key)?.ok_or(Error::XGROUP_NO_KEY)
}

/// The stream of a key that must be there and have the group.
fn stream_with<'d>(ctx: &'d mut Ctx, key: &[u8], name: &[u8]) -> Result<&'d Stream, Error> {
    let stream = stream(ctx, key)?;
    if stream.group(name).is_none() {
        return Err(no_group(name, key));
    }
    Ok(stream)
}

/// XGROUP SETID key group id|$ [ENTRIESREAD entries-read]
fn setid(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, to) = (args.key(), args.key(), args.key());
    let options = Options::parse(args, false)?;
    let stream = stream_with(ctx, key, name)?;
    if args.argv().len() > 7 {
        return Err(syntax(args));
    }
    let last_id = match to {
        b"$" => stream.entries().counters().last_id,
        to => id_or_end(to, 0)?,
    };
    ctx.db.edit(key, |stream: &mut Stream, _| {
        if let Some((_, group)) = stream.group_mut(name) {
            group.last_id = last_id;
            group.entries_read = options.entries_read;
        }
    })?;
    note(ctx, key, "xgroup-setid");
    ctx.reply.ok()
}

/// XGROUP DESTROY key group
fn destroy(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name) = (args.key(), args.key());
    if stream(ctx, key)?.group(name).is_none() {
        return ctx.reply.int(0);
    }
    ctx.db.edit(key, |stream: &mut Stream, note| {
        stream.remove_group(name);
        // Who waits for entries of this group must be told that there is none any more.
        note.dirty(1);
        note.event(EventClasses::STREAM, "xgroup-destroy");
    })?;
    ctx.reply.int(1)
}

/// XGROUP CREATECONSUMER key group consumer
fn createconsumer(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, consumer) = (args.key(), args.key(), args.key());
    let now_ms = ctx.now_ms;
    let known = stream_with(ctx, key, name)?.group(name).and_then(|group| group.consumer(consumer));
    if known.is_some() {
        return ctx.reply.int(0);
    }
    ctx.db.edit(key, |stream: &mut Stream, _| {
        stream.group_mut(name).map(|(_, group)| group.add_consumer(consumer, now_ms))
    })?;
    note(ctx, key, "xgroup-createconsumer");
    ctx.reply.int(1)
}

/// XGROUP DELCONSUMER key group consumer
fn delconsumer(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, consumer) = (args.key(), args.key(), args.key());
    let known = stream_with(ctx, key, name)?.group(name).and_then(|group| group.consumer(consumer));
    if known.is_none() {
        return ctx.reply.int(0);
    }
    let pending = ctx.db.edit(key, |stream: &mut Stream, _| {
        stream.group_mut(name).and_then(|(_, group)| group.remove_consumer(consumer))
    })?;
    note(ctx, key, "xgroup-delconsumer");
    ctx.reply.count(pending.flatten().unwrap_or(0))
}

/// XGROUP HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(&[
        "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CREATE <key> <groupname> <id|$> [option]",
        "    A new consumer group that reads on behind <id>. Options are:",
        "    * MKSTREAM",
        "      Makes an empty stream if there is none.",
        "    * ENTRIESREAD entries_read",
        "      How many entries count as read; for internal use.",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    A new consumer in the group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Takes the consumer out of the group.",
        "DESTROY <key> <groupname>",
        "    Removes the group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    How far the group has read.",
        "HELP",
        "    Prints this help.",
    ])
}

/// XACK key group id [id ...]
fn xack(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name) = (args.key(), args.key());
    let stream = ctx.db.get::<Stream>(key)?;
    if stream.is_none_or(|stream| stream.group(name).is_none()) {
        return ctx.reply.int(0);
    }
    let ids = ids(args.take_rest())?;
    let done = ctx.db.edit(key, |stream: &mut Stream, _| {
        let (_, group) = stream.group_mut(name)?;
        Some(ids.iter().filter(|id| group.acknowledge(**id)).count())
    })?;
    let done = done.flatten().unwrap_or(0);
    // As in Redis this is nothing that WATCH notices.
    ctx.db.mark_dirty(done as u64);
    ctx.reply.count(done)
}
