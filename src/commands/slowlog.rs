//! SLOWLOG.

use crate::base::num;
use crate::engine::spec::flag::{ADMIN, LOADING, STALE};
use crate::engine::{Args, Command, Ctx, Group, Reply};
use crate::resp::error::{self, Error};
use crate::resp::out::Out;
use crate::state::slowlog::Entry;

/// Entries that GET returns when no number is given.
const DEFAULT_COUNT: usize = 10;

const BAD_COUNT: Error = Error::new("ERR count should be greater than or equal to -1");

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::container("slowlog")
    .group(Group::Server)
    .since("2.2.12")
    .summary("A container for commands about the log of slow commands.")
    .subcommands(&[
        Command::new("get", get)
            .group(Group::Server)
            .since("2.2.12")
            .arity(-2)
            .flags(ADMIN | LOADING | STALE)
            .syntax("[count]")
            .complexity("O(N) where N is the number of entries returned")
            .history(&[("4.0.0", "Address, port and name of the client.")])
            .summary("Returns the newest entries.")
            .tips(&["request_policy:all_nodes", "nondeterministic_output"]),
        Command::new("len", len)
            .group(Group::Server)
            .since("2.2.12")
            .arity(2)
            .flags(ADMIN | LOADING | STALE)
            .complexity("O(1)")
            .summary("Counts the entries.")
            .tips(&[
                "request_policy:all_nodes",
                "response_policy:agg_sum",
                "nondeterministic_output",
            ]),
        Command::new("reset", reset)
            .group(Group::Server)
            .since("2.2.12")
            .arity(2)
            .flags(ADMIN | LOADING | STALE)
            .complexity("O(N) where N is the number of entries in the slowlog")
            .summary("Forgets all entries.")
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        Command::new("help", help)
            .group(Group::Server)
            .since("6.2.0")
            .arity(2)
            .flags(LOADING | STALE)
            .complexity("O(1)")
            .summary("Lists the subcommands."),
    ])];

/// SLOWLOG GET [count]
fn get(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let count = match args.take_rest() {
        [] => DEFAULT_COUNT,
        [count] => match num::parse_i64(count) {
            Some(-1) => usize::MAX,
            Some(count) => usize::try_from(count).map_err(|_| BAD_COUNT)?,
            None => return Err(BAD_COUNT),
        },
        _ => return Err(error::subcommand_syntax(args.argv()[1], "slowlog")),
    };
    let entries = ctx.server.slowlog.newest(count);
    let out = ctx.reply.parts();
    out.array(entries.len());
    entries.iter().for_each(|entry| push_entry(out, entry));
    ctx.reply.done()
}

fn push_entry(out: &mut Out, entry: &Entry) {
    let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    out.array(6);
    out.int(int(entry.id));
    out.int(entry.time);
    out.int(int(entry.micros));
    out.array(entry.args.len());
    entry.args.iter().for_each(|arg| out.bulk(arg));
    out.bulk(entry.addr.as_bytes());
    out.bulk(entry.name.as_bytes());
}

/// SLOWLOG LEN
fn len(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.count(ctx.server.slowlog.len())
}

/// SLOWLOG RESET
fn reset(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.server.slowlog.reset();
    ctx.reply.ok()
}

/// SLOWLOG HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(&[
        "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET [<count>]",
        "    Return the newest <count> entries (10 without it, all for -1). Each one is:",
        "    number, Unix time, duration in microseconds, arguments, client's address,",
        "    client's name",
        "LEN",
        "    Return the number of entries.",
        "RESET",
        "    Forget all entries.",
        "HELP",
        "    Show these lines.",
    ])
}
