//! Deadlines of keys: EXPIRE, TTL, EXPIRETIME and their variants, PERSIST.

use crate::engine::spec::access::{ACCESS, RO, RW, UPDATE};
use crate::engine::spec::flag::KEYSPACE;
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::store::EventClasses;

const CHANGED: &[KeySpec] = &[KeySpec::at(1, RW | UPDATE)];
const SHOWN: &[KeySpec] = &[KeySpec::at(1, RO | ACCESS)];

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    setter("expire", expire)
        .syntax("key seconds [condition@7.0.0: NX | XX | GT | LT]")
        .history(&[("7.0.0", "The options `NX`, `XX`, `GT`, `LT`.")])
        .summary("Sets a key's deadline so many seconds from now."),
    setter("pexpire", pexpire)
        .since("2.6.0")
        .syntax("key milliseconds [condition@7.0.0: NX | XX | GT | LT]")
        .history(&[("7.0.0", "The options `NX`, `XX`, `GT`, `LT`.")])
        .summary("Sets a key's deadline so many milliseconds from now."),
    setter("expireat", expireat)
        .since("1.2.0")
        .syntax("key unix-time-seconds [condition@7.0.0: NX | XX | GT | LT]")
        .history(&[("7.0.0", "The options `NX`, `XX`, `GT`, `LT`.")])
        .summary("Sets a key's deadline to a Unix time in seconds."),
    setter("pexpireat", pexpireat)
        .since("2.6.0")
        .syntax("key unix-time-milliseconds [condition@7.0.0: NX | XX | GT | LT]")
        .history(&[("7.0.0", "The options `NX`, `XX`, `GT`, `LT`.")])
        .summary("Sets a key's deadline to a Unix time in milliseconds."),
    getter("ttl", ttl)
        .history(&[("2.8.0", "The reply -2.")])
        .summary("Tells how many seconds a key has left.")
        .tips(&["nondeterministic_output"]),
    getter("pttl", pttl)
        .since("2.6.0")
        .history(&[("2.8.0", "The reply -2.")])
        .summary("Tells how many milliseconds a key has left.")
        .tips(&["nondeterministic_output"]),
    getter("expiretime", expiretime)
        .since("7.0.0")
        .summary("Tells a key's deadline as a Unix time in seconds."),
    getter("pexpiretime", pexpiretime)
        .since("7.0.0")
        .summary("Tells a key's deadline as a Unix time in milliseconds."),
    Command::new("persist", persist)
        .group(Group::Generic)
        .since("2.2.0")
        .write()
        .fast()
        .flags(KEYSPACE)
        .arity(2)
        .keys(CHANGED)
        .syntax("key")
        .complexity("O(1)")
        .summary("Removes a key's deadline."),
];

/// A command that sets a deadline.
const fn setter(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler)
        .group(Group::Generic)
        .write()
        .fast()
        .flags(KEYSPACE)
        .arity(-3)
        .keys(CHANGED)
        .complexity("O(1)")
}

/// A command that tells a deadline.
const fn getter(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler)
        .group(Group::Generic)
        .readonly()
        .fast()
        .flags(KEYSPACE)
        .arity(2)
        .keys(SHOWN)
        .syntax("key")
        .complexity("O(1)")
}

/// EXPIRE key seconds [NX | XX | GT | LT]
fn expire(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_deadline(ctx, args, "expire", 1000, ctx.now_ms)
}

/// PEXPIRE key milliseconds [NX | XX | GT | LT]
fn pexpire(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_deadline(ctx, args, "pexpire", 1, ctx.now_ms)
}

/// EXPIREAT key unix-time-seconds [NX | XX | GT | LT]
fn expireat(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_deadline(ctx, args, "expireat", 1000, 0)
}

/// PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]
fn pexpireat(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_deadline(ctx, args, PEXPIREAT, 1, 0)
}

/// As which all of these go to the log.
const PEXPIREAT: &str = "pexpireat";

/// Under which conditions a deadline is set.
#[derive(Default)]
struct Conditions {
    /// NX: there is none yet.
    new: bool,
    /// XX: there is one.
    existing: bool,
    /// GT: the new one is later. No deadline counts as later than any.
    later: bool,
    /// LT: the new one is earlier.
    earlier: bool,
}

impl Conditions {
    fn parse(args: &mut Args) -> Result<Self, Error> {
        let mut conditions = Conditions::default();
        while let Some(option) = args.peek() {
            if args.word("nx") {
                conditions.new = true;
            } else if args.word("xx") {
                conditions.existing = true;
            } else if args.word("gt") {
                conditions.later = true;
            } else if args.word("lt") {
                conditions.earlier = true;
            } else {
                return Err(Error::quoting("ERR Unsupported option ", option, ""));
            }
        }
        if conditions.new && (conditions.existing || conditions.later || conditions.earlier) {
            return Err(Error::EXPIRE_NX_CONFLICT);
        }
        if conditions.later && conditions.earlier {
            return Err(Error::EXPIRE_GT_LT);
        }
        Ok(conditions)
    }

    /// Whether a deadline may be replaced by a new one.
    fn allow(&self, old: Option<i64>, new: i64) -> bool {
        match old {
            Some(old) => !self.new && (!self.later || new > old) && (!self.earlier || new < old),
            None => !self.existing && !self.later,
        }
    }
}

/// Sets the deadline `time * unit_ms + base_ms` (Unix ms), or removes a key whose time is over.
fn set_deadline(
    ctx: &mut Ctx,
    args: &mut Args,
    command: &str,
    unit_ms: i64,
    base_ms: i64,
) -> Reply {
    let (key, time) = (args.key(), args.bytes()?);
    // Redis looks at the options before it looks at the time.
    let conditions = Conditions::parse(args)?;
    let time = crate::base::num::parse_i64(time).ok_or(Error::NOT_INTEGER)?;
    let deadline = time.checked_mul(unit_ms).and_then(|ms| ms.checked_add(base_ms));
    let deadline = deadline.ok_or_else(|| error::invalid_expire(command))?;
    let Some(entry) = ctx.db.look_for_write(key) else { return ctx.reply.int(0) };
    if !conditions.allow(entry.expire_at(), deadline) {
        return ctx.reply.int(0);
    }
    ctx.db.mark_dirty(1);
    if ctx.is_past(deadline) {
        ctx.db.remove(key);
        ctx.db.event(EventClasses::GENERIC, "del", key);
        let lazy = ctx.settings.lazyfree_lazy_expire;
        ctx.effects.replace(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        return ctx.reply.int(1);
    }
    ctx.db.set_expire(key, Some(deadline));
    ctx.db.event(EventClasses::GENERIC, "expire", key);
    if command != PEXPIREAT {
        let deadline = deadline.to_string();
        let mut effect: Vec<&[u8]> = vec![b"PEXPIREAT", key, deadline.as_bytes()];
        effect.extend_from_slice(&args.argv()[3..]);
        ctx.effects.replace(&effect);
    }
    ctx.reply.int(1)
}

/// TTL key
fn ttl(ctx: &mut Ctx, args: &mut Args) -> Reply {
    tell(ctx, args, |deadline, now| in_seconds(remaining(deadline, now)))
}

/// PTTL key
fn pttl(ctx: &mut Ctx, args: &mut Args) -> Reply {
    tell(ctx, args, remaining)
}

/// EXPIRETIME key
fn expiretime(ctx: &mut Ctx, args: &mut Args) -> Reply {
    tell(ctx, args, |deadline, _| in_seconds(deadline))
}

/// PEXPIRETIME key
fn pexpiretime(ctx: &mut Ctx, args: &mut Args) -> Reply {
    tell(ctx, args, |deadline, _| deadline)
}

/// Answers what `form` makes of the deadline and the present time; -1 without a deadline, -2
/// without a key.
fn tell(ctx: &mut Ctx, args: &mut Args, form: fn(i64, i64) -> i64) -> Reply {
    let now_ms = ctx.now_ms;
    let deadline = ctx.db.read_untouched(args.key()).map(|entry| entry.expire_at());
    ctx.reply.int(match deadline {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline)) => form(deadline, now_ms),
    })
}

fn remaining(deadline: i64, now_ms: i64) -> i64 {
    deadline.saturating_sub(now_ms).max(0)
}

/// Rounds to the nearest second. Times shown here are never negative.
fn in_seconds(ms: i64) -> i64 {
    ((ms.unsigned_abs() + 500) / 1000).cast_signed()
}

/// PERSIST key
fn persist(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let volatile = ctx.db.look_for_write(key).is_some_and(|entry| entry.expire_at().is_some());
    if volatile {
        ctx.db.set_expire(key, None);
        ctx.db.mark_dirty(1);
        ctx.db.event(EventClasses::GENERIC, "persist", key);
    }
    ctx.reply.flag(volatile)
}
