//! Commands about strings.

use crate::data::{Str, Value};
use crate::engine::spec::access::{ACCESS, OW, RO, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("get", get)
        .group(Group::String)
        .readonly()
        .fast()
        .arity(2)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key")
        .complexity("O(1)")
        .summary("Returns the string of a key."),
    Command::new("set", set)
        .group(Group::String)
        .write()
        .deny_oom()
        .arity(-3)
        .keys(&[KeySpec::at(1, OW | UPDATE)])
        .syntax("key value")
        .complexity("O(1)")
        .summary("Sets the string of a key."),
];

/// GET key
fn get(ctx: &mut Ctx, args: &mut Args) -> Reply {
    match ctx.db.string(args.key())? {
        Some(value) => ctx.reply.value(value),
        None => ctx.reply.null(),
    }
}

/// SET key value
fn set(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, value) = (args.key(), args.bytes()?);
    ctx.db.set(key, Value::String(Str::from_bytes(value)), None);
    ctx.db.mark_dirty(1);
    ctx.reply.ok()
}
