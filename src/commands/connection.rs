//! The connection's commands.

use crate::engine::spec::flag::{FAST, HEALTH, LOADING, STALE};
use crate::engine::{Args, Command, Ctx, Group, Reply};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("ping", ping)
        .group(Group::Connection)
        .arity(-1)
        .flags(FAST | HEALTH)
        .syntax("[message]")
        .complexity("O(1)")
        .summary("Answers PONG, or the message."),
    Command::new("echo", echo)
        .group(Group::Connection)
        .arity(2)
        .flags(FAST | LOADING | STALE)
        .syntax("message")
        .complexity("O(1)")
        .summary("Answers the message."),
];

/// PING [message]
fn ping(ctx: &mut Ctx, args: &mut Args) -> Reply {
    match args.left() {
        0 => ctx.reply.simple("PONG"),
        1 => ctx.reply.bulk(args.key()),
        _ => Err(crate::resp::error::wrong_args("ping")),
    }
}

/// ECHO message
fn echo(ctx: &mut Ctx, args: &mut Args) -> Reply {
    ctx.reply.bulk(args.key())
}
