//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use crate::engine::spec::access::RO;
use crate::engine::spec::flag::{
    ALLOW_BUSY, FAST, LOADING, NOSCRIPT, NOT_QUEUED, SKIP_SLOWLOG, STALE,
};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply, transaction};
use crate::resp::error::Error;

const COMMON: u32 = NOSCRIPT | LOADING | STALE | NOT_QUEUED;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("multi", multi)
        .group(Group::Transactions)
        .since("1.2.0")
        .arity(1)
        .flags(COMMON | FAST | ALLOW_BUSY)
        .complexity("O(1)")
        .summary("Begins to queue commands for one atomic execution."),
    Command::new("exec", exec)
        .group(Group::Transactions)
        .since("1.2.0")
        .arity(1)
        .flags(COMMON | SKIP_SLOWLOG)
        .locks_queued()
        .complexity("Depends on commands in the transaction")
        .summary("Runs all queued commands as one."),
    Command::new("discard", discard)
        .group(Group::Transactions)
        .since("2.0.0")
        .arity(1)
        .flags(COMMON | FAST | ALLOW_BUSY)
        .complexity("O(N), when N is the number of queued commands")
        .summary("Forgets all queued commands."),
    Command::new("watch", watch)
        .group(Group::Transactions)
        .since("2.2.0")
        .arity(-2)
        .flags(COMMON | FAST | ALLOW_BUSY)
        .keys(&[KeySpec::from(1, RO)])
        .syntax("key [key ...]")
        .complexity("O(1) for every key.")
        .summary("Has the next EXEC fail if one of the keys changes before it."),
    Command::new("unwatch", unwatch)
        .group(Group::Transactions)
        .since("2.2.0")
        .arity(1)
        .flags(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY)
        .complexity("O(1)")
        .summary("Forgets all watched keys."),
];

/// MULTI
fn multi(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    if !transaction::begin(ctx.session) {
        return Err(Error::NESTED_MULTI);
    }
    ctx.reply.ok()
}

/// EXEC
fn exec(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    transaction::execute(ctx)
}

/// DISCARD
fn discard(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    if !transaction::forget(&ctx.server.keyspace, ctx.session) {
        return Err(Error::DISCARD_WITHOUT_MULTI);
    }
    ctx.reply.ok()
}

/// WATCH key [key ...]
fn watch(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if ctx.session.multi.is_some() {
        return Err(Error::WATCH_INSIDE_MULTI);
    }
    args.take_rest().iter().for_each(|key| transaction::watch(ctx, key));
    ctx.reply.ok()
}

/// UNWATCH
fn unwatch(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    // EXEC has ended every WATCH before its commands run.
    if !ctx.in_exec {
        transaction::unwatch(&ctx.server.keyspace, ctx.session);
    }
    ctx.reply.ok()
}
