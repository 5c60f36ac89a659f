//! MONITOR.

use crate::engine::spec::flag::{ADMIN, LOADING, NOSCRIPT, STALE};
use crate::engine::{Args, Command, Ctx, Group, Reply};
use crate::resp::error::Error;

const NOT_IN_EXEC: Error = Error::new("ERR MONITOR isn't allowed for DENY BLOCKING client");

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::new("monitor", start)
    .group(Group::Server)
    .since("1.0.0")
    .arity(1)
    .flags(ADMIN | NOSCRIPT | LOADING | STALE)
    .complexity("O(1)")
    .summary("Shows the commands of all clients as they are executed.")];

/// MONITOR
fn start(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    if ctx.in_exec {
        return Err(NOT_IN_EXEC);
    }
    // As in Redis, a client that is a monitor already gets no reply.
    if ctx.server.pubsub.watch(&ctx.session.handle) { ctx.reply.ok() } else { ctx.reply.none() }
}
