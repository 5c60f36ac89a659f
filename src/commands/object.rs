//! OBJECT: how a value is stored and when it was used.

use crate::data::Value;
use crate::engine::spec::access::RO;
use crate::engine::spec::flag::{KEYSPACE, LOADING, STALE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::state::config::By;
use crate::state::memory;
use crate::store::Aging;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::container("object")
    .group(Group::Generic)
    .since("2.2.3")
    .summary("Tells how values are stored and when they were used.")
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    about_key("encoding", encoding).summary("Names the form in which a value is stored."),
    about_key("freq", freq)
        .since("4.0.0")
        .summary("Tells how often a value is used, under an LFU policy."),
    about_key("idletime", idletime).summary("Tells for how many seconds a value was not used."),
    about_key("refcount", refcount).summary("Tells how many references a value has."),
    Command::new("help", help)
        .group(Group::Generic)
        .since("6.2.0")
        .flags(KEYSPACE | LOADING | STALE)
        .arity(2)
        .complexity("O(1)")
        .summary("Describes the subcommands."),
];

const KEY: &[KeySpec] = &[KeySpec::at(2, RO)];

/// A subcommand that tells something about one key.
const fn about_key(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler)
        .group(Group::Generic)
        .since("2.2.3")
        .readonly()
        .flags(KEYSPACE)
        .arity(3)
        .keys(KEY)
        .syntax("key")
        .complexity("O(1)")
        .tips(&["nondeterministic_output"])
}

/// OBJECT ENCODING key
fn encoding(ctx: &mut Ctx, args: &mut Args) -> Reply {
    match ctx.db.inspect(args.key()) {
        Some(entry) => ctx.reply.bulk(entry.value().encoding().as_bytes()),
        None => ctx.reply.null(),
    }
}

/// OBJECT FREQ key
fn freq(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (now_ms, aging) = (ctx.now_ms, memory::aging(ctx.settings));
    match ctx.db.inspect(args.key()) {
        Some(_) if aging == Aging::Lru => Err(Error::FREQ_WITHOUT_LFU),
        Some(entry) => {
            let frequency = entry.frequency(now_ms, aging);
            ctx.reply.int(frequency.into())
        }
        None => ctx.reply.null(),
    }
}

/// OBJECT IDLETIME key
fn idletime(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (now_ms, aging) = (ctx.now_ms, memory::aging(ctx.settings));
    match ctx.db.inspect(args.key()).map(|entry| entry.idle_seconds(now_ms)) {
        Some(_) if aging != Aging::Lru => Err(Error::IDLETIME_WITH_LFU),
        Some(seconds) => ctx.reply.int(i64::try_from(seconds).unwrap_or(i64::MAX)),
        None => ctx.reply.null(),
    }
}

/// Integers below this are single objects that all keys of a Redis server share.
const SHARED_INTEGERS: i64 = 10_000;

/// The count that Redis shows for a shared object.
const SHARED_COUNT: i64 = i32::MAX as i64;

/// OBJECT REFCOUNT key
fn refcount(ctx: &mut Ctx, args: &mut Args) -> Reply {
    // With an access time of its own for each key, no integer can be shared.
    let ages = matches!(ctx.settings.maxmemory_policy.by, Some(By::Access | By::Frequency));
    let shares = ctx.settings.maxmemory == 0 || !ages;
    let Some(entry) = ctx.db.inspect(args.key()) else { return ctx.reply.null() };
    let count = match &*entry.value() {
        Value::String(text)
            if shares && text.as_int().is_some_and(|n| (0..SHARED_INTEGERS).contains(&n)) =>
        {
            SHARED_COUNT
        }
        _ => 1,
    };
    ctx.reply.int(count)
}

/// OBJECT HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(&[
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    The form in which the value of <key> is stored.",
        "FREQ <key>",
        "    How often <key> is used: a logarithmic counter, kept under LFU policies.",
        "IDLETIME <key>",
        "    The seconds since <key> was last used.",
        "REFCOUNT <key>",
        "    How many references the value of <key> has.",
        "HELP",
        "    This text.",
    ])
}
