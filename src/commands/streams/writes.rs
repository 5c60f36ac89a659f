//! XADD, XTRIM, XDEL, XSETID: what changes the entries of a stream.

use super::{id, ids};
use crate::data::stream::{AddError, Entries, Id, NewId, NodeLimits, Seq, Stream, Trim, TrimTo};
use crate::engine::session::Role;
use crate::engine::spec::access::{DELETE, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::store::{EventClasses, Note};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("xadd", xadd)
        .group(Group::Stream)
        .since("5.0.0")
        .write()
        .deny_oom()
        .fast()
        .arity(-5)
        .keys(&[KeySpec::at(1, RW | UPDATE)
            .noting("UPDATE instead of INSERT because of the optional trimming feature")])
        .syntax(
            "key [NOMKSTREAM@6.2.0] [trim: <strategy: MAXLEN | MINID@6.2.0> [operator: ==equal | \
             ~=approximately] threshold [LIMIT count@6.2.0]] <id-selector: *=auto-id | id> <data: \
             field value ...>",
        )
        .complexity(
            "O(1) when adding a new entry, O(N) when trimming where N being the number of \
             entries evicted.",
        )
        .tips(&["nondeterministic_output"])
        .history(&[
            ("6.2.0", "The options `NOMKSTREAM`, `LIMIT`, and trimming by `MINID`."),
            ("7.0.0", "Ids of the form `<ms>-*`."),
        ])
        .summary("Adds an entry to a stream, which is created if need be."),
    Command::new("xtrim", xtrim)
        .group(Group::Stream)
        .since("5.0.0")
        .write()
        .arity(-4)
        .keys(&[KeySpec::at(1, RW | DELETE)])
        .syntax(
            "key <trim: <strategy: MAXLEN | MINID@6.2.0> [operator: ==equal | ~=approximately] \
             threshold [LIMIT count@6.2.0]>",
        )
        .complexity("O(N), with N being the number of evicted entries.")
        .tips(&["nondeterministic_output"])
        .history(&[("6.2.0", "The option `LIMIT`, and trimming by `MINID`.")])
        .summary("Deletes entries from the old end of a stream."),
    Command::new("xdel", xdel)
        .group(Group::Stream)
        .since("5.0.0")
        .write()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | DELETE)])
        .syntax("key id [id ...]")
        .complexity("O(1) for each single item to delete in the stream.")
        .summary("Deletes entries by id and returns how many there were."),
    Command::new("xsetid", xsetid)
        .group(Group::Stream)
        .since("5.0.0")
        .write()
        .deny_oom()
        .fast()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | UPDATE)])
        .syntax(
            "key last-id [ENTRIESADDED@7.0.0 entries-added] [MAXDELETEDID@7.0.0 max-deleted-id]",
        )
        .complexity("O(1)")
        .history(&[("7.0.0", "The options `ENTRIESADDED`, `MAXDELETEDID`.")])
        .summary("Sets what a stream remembers of its ids, for internal use."),
];

/// Nodes that a trimming without its own limit takes off at most, and the bounds of what that
/// means in entries.
const NODES_PER_TRIM: i64 = 100;
const DEFAULT_TRIM_LIMIT: i64 = 10_000;
const MAX_TRIM_LIMIT: i64 = 1_000_000;

/// The options that XADD and XTRIM share.
#[derive(Default)]
struct Options {
    to: Option<TrimTo>,
    approximate: bool,
    limit: Option<i64>,
    /// Index of the threshold among all arguments.
    threshold_at: usize,
    no_mkstream: bool,
    needs_strategy: bool,
}

impl Options {
    /// Takes one option, if there is one.
    fn take(&mut self, args: &mut Args) -> Result<bool, Error> {
        // A word without anything behind it is no option but what may come in its place.
        let more = args.left() > 1;
        if more && args.word("MAXLEN") {
            self.check_first()?;
            let max = self.threshold(args, |arg| arg.int())?;
            let max = u64::try_from(max).map_err(|_| Error::TRIM_MAXLEN)?;
            self.to = Some(TrimTo::MaxLen(max));
        } else if more && args.word("MINID") {
            self.check_first()?;
            self.to = Some(TrimTo::MinId(self.threshold(args, |args| id(args.bytes()?, 0))?));
        } else if more && args.word("LIMIT") {
            let limit = args.int()?;
            if limit < 0 {
                return Err(Error::TRIM_LIMIT);
            }
            self.limit = Some(limit);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn take_no_mkstream(&mut self, args: &mut Args) -> bool {
        let taken = args.word("NOMKSTREAM");
        self.no_mkstream |= taken;
        taken
    }

    fn check_first(&self) -> Result<(), Error> {
        if self.to.is_some() { Err(Error::TRIM_TWICE) } else { Ok(()) }
    }

    fn threshold<T>(
        &mut self,
        args: &mut Args,
        read: impl FnOnce(&mut Args) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if args.left() > 1 {
            self.approximate = args.word("~");
            let _exact = !self.approximate && args.word("=");
        }
        self.threshold_at = args.argv().len() - args.left();
        read(args)
    }

    /// The trimming that was asked for. What comes from a primary was limited there.
    fn finish(&self, ctx: &Ctx) -> Result<Option<Trim>, Error> {
        let obeys = ctx.session.role != Role::Client;
        let approximate = self.approximate;
        if self.to.is_none() && self.limit.is_some_and(|limit| limit != 0) {
            return Err(Error::TRIM_LIMIT_ALONE);
        }
        if self.to.is_none() && self.needs_strategy {
            return Err(Error::XTRIM_NO_STRATEGY);
        }
        if self.limit.is_some() && !approximate && !obeys {
            return Err(Error::TRIM_LIMIT_EXACT);
        }
        let by_default = match ctx.settings.limits.stream_node_max_entries {
            0 => DEFAULT_TRIM_LIMIT,
            n => (n as i64).saturating_mul(NODES_PER_TRIM).clamp(0, MAX_TRIM_LIMIT),
        };
        let limit = match self.limit {
            _ if obeys || !approximate => 0,
            limit => limit.unwrap_or(by_default) as u64,
        };
        Ok(self.to.map(|to| Trim { to, approximate, limit }))
    }

    /// The threshold that would have trimmed exactly what an approximate one has trimmed.
    fn exact_threshold(&self, entries: &Entries) -> Option<Vec<u8>> {
        let by_id = matches!(self.to?, TrimTo::MinId(_));
        self.approximate.then(|| match by_id {
            true => entries.first_kept_id().unwrap_or(Id::MAX).to_vec(),
            false => entries.len().to_string().into_bytes(),
        })
    }

    /// Puts that threshold into a command for the log.
    fn make_exact(&self, argv: &mut [Vec<u8>], threshold: Vec<u8>) {
        argv[self.threshold_at - 1] = b"=".to_vec();
        argv[self.threshold_at] = threshold;
    }
}

fn to_owned(argv: &[&[u8]]) -> Vec<Vec<u8>> {
    argv.iter().map(|arg| arg.to_vec()).collect()
}

/// The id of XADD.
fn new_id(arg: &[u8], now_ms: i64) -> Result<NewId, Error> {
    if arg == b"*" {
        return Ok(NewId::Auto(u64::try_from(now_ms).unwrap_or(0)));
    }
    Ok(match Id::parse_open(arg).ok_or(Error::STREAM_ID)? {
        (ms, Seq::Any) => NewId::AutoSeq(ms),
        (ms, Seq::Given(seq)) => NewId::Given(Id { ms, seq }),
        (ms, Seq::Missing) => NewId::Given(Id { ms, seq: 0 }),
    })
}

fn add_error(error: AddError) -> Error {
    match error {
        AddError::NotGreater => Error::XADD_SMALL,
        AddError::Exhausted => Error::XADD_EXHAUSTED,
        AddError::TooLarge => Error::XADD_TOO_LARGE,
    }
}

/// XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value ...
fn xadd(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let mut options = Options::default();
    while options.take(args)? || options.take_no_mkstream(args) {}
    let id_at = args.argv().len() - args.left();
    let id = args.peek().map(|arg| new_id(arg, ctx.now_ms)).transpose()?;
    let trim = options.finish(ctx)?;
    let pairs = args.rest().get(1..).unwrap_or_default();
    let (Some(id), false) = (id, pairs.is_empty() || pairs.len() % 2 == 1) else {
        return Err(error::wrong_args("xadd"));
    };
    if id == NewId::Given(Id::MIN) {
        return Err(Error::XADD_ZERO);
    }
    let limits = ctx.settings.limits;
    let max =
        NodeLimits { bytes: limits.stream_node_max_bytes, entries: limits.stream_node_max_entries };
    let add = |stream: &mut Stream, note: &mut Note| {
        let entries = stream.entries_mut();
        let id = entries.add(id, pairs, max)?;
        note.dirty(1);
        note.event(EventClasses::STREAM, "xadd");
        if trim.is_some_and(|trim| entries.trim(trim) > 0) {
            note.event(EventClasses::STREAM, "xtrim");
        }
        Ok((id, options.exact_threshold(entries)))
    };
    let added: Result<(Id, Option<Vec<u8>>), AddError> = if !options.no_mkstream {
        ctx.db.edit_or_create(key, add)?
    } else if let Some(added) = ctx.db.edit(key, add)? {
        added
    } else {
        return ctx.reply.null();
    };
    let (added_id, threshold) = added.map_err(add_error)?;
    let is_given = matches!(id, NewId::Given(_));
    if (threshold.is_some() || !is_given) && ctx.server.log.is_active() {
        let mut argv = to_owned(args.argv());
        if let Some(threshold) = threshold {
            options.make_exact(&mut argv, threshold);
        }
        if !is_given {
            argv[id_at] = added_id.to_vec();
        }
        ctx.effects.replace_all(vec![argv]);
    }
    ctx.reply.bulk(added_id.text(&mut [0; 41]))
}

/// XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]
fn xtrim(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let mut options = Options { needs_strategy: true, ..Options::default() };
    while options.take(args)? {}
    args.end()?;
    let Some(trim) = options.finish(ctx)? else { return Err(Error::XTRIM_NO_STRATEGY) };
    let trimmed = ctx.db.edit(key, |stream: &mut Stream, note| {
        let entries = stream.entries_mut();
        let removed = entries.trim(trim);
        if removed > 0 {
            note.dirty(removed);
            note.event(EventClasses::STREAM, "xtrim");
        }
        (removed, options.exact_threshold(entries))
    })?;
    let Some((removed, threshold)) = trimmed else { return ctx.reply.int(0) };
    if let Some(threshold) = threshold.filter(|_| removed > 0 && ctx.server.log.is_active()) {
        let mut argv = to_owned(args.argv());
        options.make_exact(&mut argv, threshold);
        ctx.effects.replace_all(vec![argv]);
    }
    ctx.reply.int(removed as i64)
}

/// XDEL key id [id ...]
fn xdel(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    if ctx.db.peek_as::<Stream>(key)?.is_none() {
        return ctx.reply.int(0);
    }
    let ids = ids(args.take_rest())?;
    let deleted = ctx.db.edit(key, |stream: &mut Stream, note| {
        // Who deletes nothing copies nothing that a snapshot holds.
        if !ids.iter().any(|id| stream.entries().get(*id).is_some()) {
            return 0;
        }
        let entries = stream.entries_mut();
        let deleted = ids.iter().filter(|id| entries.delete(**id)).count() as u64;
        entries.find_first();
        note.dirty(deleted);
        note.event(EventClasses::STREAM, "xdel");
        deleted
    })?;
    ctx.reply.int(deleted.unwrap_or(0) as i64)
}

/// XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]
fn xsetid(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, last_id) = (args.key(), id(args.key(), 0)?);
    let (mut added, mut max_deleted) = (None, None);
    while !args.is_empty() {
        if args.left() > 1 && args.word("ENTRIESADDED") {
            added = Some(u64::try_from(args.int()?).map_err(|_| Error::XSETID_ADDED)?);
        } else if args.left() > 1 && args.word("MAXDELETEDID") {
            let given = id(args.bytes()?, 0)?;
            if last_id < given {
                return Err(Error::XSETID_BELOW_GIVEN);
            }
            max_deleted = Some(given);
        } else {
            return Err(Error::SYNTAX);
        }
    }
    let Some(stream) = ctx.db.peek_as::<Stream>(key)? else { return Err(Error::NO_KEY) };
    check_set_id(stream.entries(), last_id, added)?;
    ctx.db.edit(key, |stream: &mut Stream, _| {
        let max_deleted = max_deleted.filter(|id| !id.is_zero());
        stream.entries_mut().set_id(last_id, added, max_deleted);
    })?;
    // As in Redis this is nothing that WATCH notices.
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::STREAM, "xsetid", key);
    ctx.reply.ok()
}

/// Whether a stream may have this last id and number of entries ever added.
fn check_set_id(entries: &Entries, last_id: Id, added: Option<u64>) -> Result<(), Error> {
    if last_id < entries.counters().max_deleted_id {
        return Err(Error::XSETID_BELOW_DELETED);
    }
    if entries.last_live_id().is_some_and(|top| last_id < top) {
        return Err(Error::XSETID_BELOW_TOP);
    }
    if added.is_some_and(|added| entries.len() > added) {
        return Err(Error::XSETID_BELOW_LENGTH);
    }
    Ok(())
}
