//! Commands about keys of any type.

use crate::engine::spec::access::{DELETE, RM};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::new("del", del)
    .group(Group::Generic)
    .write()
    .arity(-2)
    .keys(&[KeySpec::from(1, RM | DELETE)])
    .syntax("key [key ...]")
    .complexity("O(N) where N is the number of keys")
    .summary("Removes keys.")];

/// DEL key [key ...]
fn del(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let mut removed = 0;
    for key in args.take_rest() {
        removed += u64::from(ctx.db.remove(key));
    }
    ctx.db.mark_dirty(removed);
    ctx.reply.int(removed as i64)
}
