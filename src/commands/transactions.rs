//! MULTI, EXEC, DISCARD.

use crate::engine::spec::flag::{
    ALLOW_BUSY, FAST, LOADING, NOSCRIPT, NOT_QUEUED, SKIP_SLOWLOG, STALE,
};
use crate::engine::{Args, Command, Ctx, Group, Reply, transaction};
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
    if !transaction::forget(ctx.session) {
        return Err(Error::DISCARD_WITHOUT_MULTI);
    }
    ctx.reply.ok()
}
