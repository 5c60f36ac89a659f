//! XPENDING, XCLAIM, XAUTOCLAIM: entries that were delivered and not acknowledged.

use super::{Log, has_group, id, no_key_or_group, push_entry, push_id, range_end, range_start};
use crate::data::stream::{Entries, Group as Readers, Id, Pending, Stream};
use crate::engine::spec::access::{ACCESS, DELETE, RO, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::store::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("xpending", xpending)
        .group(Group::Stream)
        .since("5.0.0")
        .readonly()
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax(
            "key group [filters: [IDLE min-idle-time:integer@6.2.0] start:string end:string count \
             [consumer]]",
        )
        .complexity(
            "O(N) with N being the number of elements returned, or looked at where IDLE is used; \
             the summary is O(N) in the number of consumers.",
        )
        .tips(&["nondeterministic_output"])
        .history(&[("6.2.0", "The option `IDLE`, and ranges without their ends.")])
        .summary("Returns which entries a group has not acknowledged, or how many."),
    Command::new("xclaim", xclaim)
        .group(Group::Stream)
        .since("5.0.0")
        .write()
        .fast()
        .arity(-6)
        .keys(&[KeySpec::at(1, RW | UPDATE)])
        .syntax(
            "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] \
             [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        )
        .complexity(
            "O(log N) with N being the number of messages in the PEL of the consumer group.",
        )
        .tips(&["nondeterministic_output"])
        .summary("Gives pending entries to a consumer, as if they were delivered to it."),
    Command::new("xautoclaim", xautoclaim)
        .group(Group::Stream)
        .since("6.2.0")
        .write()
        .fast()
        .arity(-6)
        .keys(&[KeySpec::at(1, RW | DELETE)])
        .syntax("key group consumer min-idle-time start:string [COUNT count] [JUSTID]")
        .complexity("O(1) if COUNT is small.")
        .tips(&["nondeterministic_output"])
        .history(&[(
            "7.0.0",
            "The reply names entries that were deleted and are therefore not pending any more.",
        )])
        .summary("Gives entries that are pending for long to a consumer."),
];

/// The longer form of XPENDING.
struct Query<'a> {
    min_idle_ms: i64,
    start: Id,
    end: Id,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    /// Reads it, if it is the longer form.
    fn parse(args: &mut Args<'a>) -> Result<Option<Query<'a>>, Error> {
        if args.is_empty() {
            return Ok(None);
        }
        if !(3..=6).contains(&args.left()) {
            return Err(Error::SYNTAX);
        }
        let mut min_idle_ms = 0;
        if args.word("IDLE") {
            min_idle_ms = args.int()?;
            if args.left() < 3 {
                return Err(Error::SYNTAX);
            }
        }
        let (start, end) = (args.bytes()?, args.bytes()?);
        let count = usize::try_from(args.int()?).unwrap_or(0);
        let (start, end) = (range_start(start)?, range_end(end)?);
        // Redis takes no offence at what comes behind the consumer.
        let consumer = args.peek();
        Ok(Some(Query { min_idle_ms, start, end, count, consumer }))
    }

    fn fits(&self, pending: &Pending, now_ms: i64) -> bool {
        self.min_idle_ms == 0 || now_ms.wrapping_sub(pending.delivered_ms) >= self.min_idle_ms
    }
}

/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]]
fn xpending(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, now_ms) = (args.key(), args.key(), ctx.now_ms);
    let query = Query::parse(args)?;
    let stream = ctx.db.get::<Stream>(key)?;
    let Some(group) = stream.and_then(|stream| stream.group(name)) else {
        return Err(no_key_or_group(key, name, ""));
    };
    let out = ctx.reply.parts();
    match query {
        None => push_summary(out, group),
        Some(query) => push_list(out, group, &query, now_ms),
    }
    ctx.reply.done()
}

/// How many entries are pending, the first and the last of them, and for whom.
fn push_summary(out: &mut Out, group: &Readers) {
    out.array(4);
    out.int(group.pending_len() as i64);
    let first = group.pending_from(Id::MIN).next();
    let (Some((first, _)), Some(last)) = (first, group.last_pending()) else {
        out.null();
        out.null();
        return out.null_array();
    };
    push_id(out, first);
    push_id(out, last);
    let busy = || group.consumers().filter(|(_, consumer)| consumer.pending_len() > 0);
    out.array(busy().count());
    for (name, consumer) in busy() {
        out.array(2);
        out.bulk(name);
        out.bulk_int(consumer.pending_len() as i64);
    }
}

/// Pending entries one by one.
fn push_list(out: &mut Out, group: &Readers, query: &Query, now_ms: i64) {
    let start = out.defer();
    let mut count = 0;
    let mut push = |(id, pending): (Id, &Pending)| {
        out.array(4);
        push_id(out, id);
        out.bulk(&pending.consumer);
        out.int(now_ms.wrapping_sub(pending.delivered_ms).max(0));
        out.int(pending.deliveries as i64);
        count += 1;
    };
    let fits = |(_, pending): &(Id, &Pending)| query.fits(pending, now_ms);
    match query.consumer {
        None => group
            .pending_from(query.start)
            .take_while(|(id, _)| *id <= query.end)
            .filter(fits)
            .take(query.count)
            .for_each(&mut push),
        Some(name) => group
            .consumer(name)
            .into_iter()
            .flat_map(|consumer| consumer.pending_from(query.start))
            .take_while(|id| *id <= query.end)
            .filter_map(|id| Some((id, group.pending(id)?)))
            .filter(fits)
            .take(query.count)
            .for_each(&mut push),
    }
    out.finish_array(start, count);
}

/// How claimed entries are to be marked, and for whom.
struct Claim<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
    min_idle_ms: i64,
    delivered_ms: i64,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    now_ms: i64,
    /// Whether anybody reads the log.
    logs: bool,
}

/// What claiming one entry came to.
#[derive(PartialEq, Eq)]
enum Claimed {
    /// It is the consumer's now, and the reply has it.
    Yes,
    /// It is not for the consumer.
    No,
    /// It is pending no longer, because the stream has it no longer.
    Deleted,
}

/// What was claimed so far.
#[derive(Default)]
struct Work {
    log: Log,
    dirty: u64,
    created: bool,
}

impl Claim<'_> {
    /// Makes sure of the consumer.
    fn begin(&self, group: &mut Readers, work: &mut Work) {
        work.created = group.add_consumer(self.consumer, self.now_ms);
        work.dirty += u64::from(work.created);
        if let Some(consumer) = group.consumer_mut(self.consumer) {
            consumer.seen_ms = self.now_ms;
        }
    }

    /// Claims one entry.
    fn one(
        &self,
        entries: &Entries,
        group: &mut Readers,
        id: Id,
        out: &mut Out,
        work: &mut Work,
    ) -> Claimed {
        let pending = group.pending(id).cloned();
        let Some(entry) = entries.get(id) else {
            if pending.is_none() {
                return Claimed::No;
            }
            self.note(group, id, work);
            group.acknowledge(id);
            return Claimed::Deleted;
        };
        let deliveries = match &pending {
            // One that is made pending by force counts as delivered before.
            None if self.force => 1,
            None => return Claimed::No,
            Some(pending) if self.is_too_soon(pending) => return Claimed::No,
            Some(pending) => pending.deliveries,
        };
        let again = if self.just_id { deliveries } else { deliveries.wrapping_add(1) };
        let deliveries = self.deliveries.unwrap_or(again);
        group.assign(id, self.consumer, self.delivered_ms, deliveries);
        if let Some(consumer) = group.consumer_mut(self.consumer) {
            consumer.active_ms = self.now_ms;
        }
        if self.just_id {
            push_id(out, id);
        } else {
            push_entry(out, entry);
        }
        self.note(group, id, work);
        Claimed::Yes
    }

    fn is_too_soon(&self, pending: &Pending) -> bool {
        self.min_idle_ms != 0 && self.now_ms.wrapping_sub(pending.delivered_ms) < self.min_idle_ms
    }

    fn note(&self, group: &Readers, id: Id, work: &mut Work) {
        work.dirty += 1;
        if self.logs {
            work.log.push_pending(self.key, self.group, group, id);
        }
    }

    /// Counts and tells what was done.
    fn finish(&self, ctx: &mut Ctx, mut work: Work) {
        if work.created {
            ctx.db.event(EventClasses::STREAM, "xgroup-createconsumer", self.key);
            let is_told = |argv: &Vec<Vec<u8>>| argv.get(3).is_some_and(|arg| arg == self.consumer);
            if self.logs && !work.log.0.iter().any(is_told) {
                work.log.push_consumer(self.key, self.group, self.consumer);
            }
        }
        // As in Redis this is nothing that WATCH notices.
        ctx.db.mark_dirty(work.dirty);
        ctx.effects.replace_all(work.log.0);
    }
}

/// The options of XCLAIM behind the ids.
#[derive(Default)]
struct ClaimOptions {
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: Id,
}

impl ClaimOptions {
    fn parse(args: &mut Args, now_ms: i64) -> Result<ClaimOptions, Error> {
        let mut options = ClaimOptions::default();
        while let Some(option) = args.peek() {
            let more = args.left() > 1;
            if args.word("FORCE") {
                options.force = true;
            } else if args.word("JUSTID") {
                options.just_id = true;
            } else if more && args.word("IDLE") {
                let idle = args.int_or(Error::XCLAIM_IDLE)?;
                options.delivered_ms = Some(now_ms.wrapping_sub(idle));
            } else if more && args.word("TIME") {
                options.delivered_ms = Some(args.int_or(Error::XCLAIM_TIME)?);
            } else if more && args.word("RETRYCOUNT") {
                options.deliveries = u64::try_from(args.int_or(Error::XCLAIM_RETRYCOUNT)?).ok();
            } else if more && args.word("LASTID") {
                options.last_id = id(args.bytes()?, 0)?;
            } else {
                return Err(Error::quoting("ERR Unrecognized XCLAIM option '", option, "'"));
            }
        }
        Ok(options)
    }
}

/// XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds]
/// [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]
fn xclaim(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, consumer, now_ms) = (args.key(), args.key(), args.key(), ctx.now_ms);
    if !has_group(ctx.db.get::<Stream>(key)?, name) {
        return Err(no_key_or_group(key, name, ""));
    }
    let min_idle_ms = args.int_or(Error::XCLAIM_MIN_IDLE)?.max(0);
    let mut ids = Vec::with_capacity(args.left());
    while let Some(id) = args.peek().and_then(|arg| Id::parse(arg, 0)) {
        ids.push(id);
        args.key();
    }
    let options = ClaimOptions::parse(args, now_ms)?;
    let claim = Claim {
        key,
        group: name,
        consumer,
        min_idle_ms,
        // A time that makes no sense is that of a clock that goes wrong: no reason to fail.
        delivered_ms: options.delivered_ms.filter(|ms| (0..=now_ms).contains(ms)).unwrap_or(now_ms),
        deliveries: options.deliveries,
        force: options.force,
        just_id: options.just_id,
        now_ms,
        logs: ctx.server.log.is_active(),
    };
    let mut work = Work::default();
    let out = ctx.reply.parts();
    ctx.db.edit(key, |stream: &mut Stream, _| {
        let Some((entries, group)) = stream.group_mut(name) else { return };
        let reads_on = options.last_id > group.last_id;
        if reads_on {
            group.last_id = options.last_id;
        }
        claim.begin(group, &mut work);
        let start = out.defer();
        let before = work.dirty;
        let claimed =
            ids.iter().filter(|id| claim.one(entries, group, **id, out, &mut work) == Claimed::Yes);
        let claimed = claimed.count();
        out.finish_array(start, claimed);
        // With an entry in the log this comes along.
        if reads_on && work.dirty == before {
            work.dirty += 1;
            if claim.logs {
                work.log.push_group_id(key, name, group.last_id, group.entries_read);
            }
        }
    })?;
    claim.finish(ctx, work);
    ctx.reply.done()
}

/// How many pending entries XAUTOCLAIM looks at for each one that it may return.
const ATTEMPTS_FACTOR: i64 = 10;

/// Its largest COUNT: beyond that Redis's buffer for ids would be too large to count.
const MAX_COUNT: i64 = i64::MAX / 16;

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
fn xautoclaim(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, consumer, now_ms) = (args.key(), args.key(), args.key(), ctx.now_ms);
    // Redis looks for the key before it reads the options, but minds its type behind them.
    let found = ctx.db.get::<Stream>(key).map(|stream| has_group(stream, name));
    let min_idle_ms = args.int_or(Error::XAUTOCLAIM_MIN_IDLE)?.max(0);
    let start = range_start(args.key())?;
    let (mut count, mut just_id) = (100, false);
    while !args.is_empty() {
        if args.left() > 1 && args.word("COUNT") {
            count = args.int_or(Error::XAUTOCLAIM_COUNT)?;
            if !(1..=MAX_COUNT).contains(&count) {
                return Err(Error::XAUTOCLAIM_COUNT);
            }
        } else if args.word("JUSTID") {
            just_id = true;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if !found? {
        return Err(no_key_or_group(key, name, ""));
    }
    let claim = Claim {
        key,
        group: name,
        consumer,
        min_idle_ms,
        delivered_ms: now_ms,
        deliveries: None,
        force: false,
        just_id,
        now_ms,
        logs: ctx.server.log.is_active(),
    };
    let mut work = Work::default();
    let out = ctx.reply.parts();
    ctx.db.edit(key, |stream: &mut Stream, _| {
        if let Some((entries, group)) = stream.group_mut(name) {
            claim.begin(group, &mut work);
            claim_from(&claim, entries, group, (start, count), out, &mut work);
        }
    })?;
    claim.finish(ctx, work);
    ctx.reply.done()
}

/// Claims up to `count` entries from `start` on, and writes where to go on, the entries, and the
/// ids of those that the stream has no longer.
fn claim_from(
    claim: &Claim,
    entries: &Entries,
    group: &mut Readers,
    (start, mut count): (Id, i64),
    out: &mut Out,
    work: &mut Work,
) {
    let mut attempts = count.saturating_mul(ATTEMPTS_FACTOR);
    let mut at = Some(start);
    let mut found = Out::new();
    let (mut claimed, mut deleted) = (0, Vec::new());
    let next = |group: &Readers, at: Option<Id>| group.pending_from(at?).next().map(|(id, _)| id);
    while attempts > 0 && count > 0 {
        let Some(id) = next(group, at) else { break };
        attempts -= 1;
        match claim.one(entries, group, id, &mut found, work) {
            Claimed::Yes => {
                claimed += 1;
                count -= 1;
            }
            Claimed::No => {}
            Claimed::Deleted => {
                deleted.push(id);
                count -= 1;
            }
        }
        at = id.next();
    }
    out.array(3);
    push_id(out, next(group, at).unwrap_or(Id::MIN));
    out.array(claimed);
    found.chunks().for_each(|chunk| out.raw(chunk));
    out.array(deleted.len());
    deleted.into_iter().for_each(|id| push_id(out, id));
}
