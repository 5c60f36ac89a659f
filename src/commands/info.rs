//! INFO and TIME.

use crate::base::clock;
use crate::engine::info::Choice;
use crate::engine::spec::flag::{DANGEROUS, FAST, LOADING, STALE};
use crate::engine::{Args, Command, Ctx, Group, Reply};
use crate::store::totals::Totals;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("info", info)
        .group(Group::Server)
        .since("1.0.0")
        .arity(-1)
        .flags(LOADING | STALE | DANGEROUS)
        .locks_one_by_one()
        .syntax("[section [section ...]]")
        .complexity("O(1)")
        .history(&[("7.0.0", "Several sections.")])
        .summary("Tells about the server, by sections.")
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
    Command::new("time", time)
        .group(Group::Server)
        .since("2.6.0")
        .arity(1)
        .flags(LOADING | STALE | FAST)
        .complexity("O(1)")
        .summary("Returns the server's clock.")
        .tips(&["nondeterministic_output"]),
];

/// INFO [section [section ...]]
fn info(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let choice = Choice::new(args.take_rest());
    let mut keys = Totals::default();
    if choice.needs_keys() {
        ctx.each_shard(|shard| keys.add(shard));
    }
    let text = choice.text(ctx.engine, ctx.settings, &keys);
    ctx.reply.verbatim(text.as_bytes())
}

/// TIME
fn time(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let now_us = clock::unix_us();
    let out = ctx.reply.parts();
    out.array(2);
    out.bulk_int(now_us / 1_000_000);
    out.bulk_int(now_us % 1_000_000);
    ctx.reply.done()
}
