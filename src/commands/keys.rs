//! Commands about keys of any type: DEL, UNLINK, EXISTS, TYPE, TOUCH, RENAME, RENAMENX, COPY, MOVE.

use crate::engine::lazyfree::free_in_background;
use crate::engine::spec::access::{ACCESS, DELETE, INSERT, OW, RM, RO, RW, UPDATE};
use crate::engine::spec::flag::KEYSPACE;
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::store::EventClasses;

/// Tips of commands that a proxy may split up, adding the replies.
const SUMMED: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

/// A value of at least so many bytes is freed in the background where that is wanted: returning the
/// memory then takes longer than starting a thread.
const BACKGROUND_MIN: usize = 1024 * 1024;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("del", del)
        .group(Group::Generic)
        .write()
        .flags(KEYSPACE)
        .arity(-2)
        .keys(&[KeySpec::from(1, RM | DELETE)])
        .syntax("key [key ...]")
        .complexity("O(N) where N is the number of keys")
        .summary("Removes keys.")
        .tips(SUMMED),
    Command::new("unlink", unlink)
        .group(Group::Generic)
        .since("4.0.0")
        .write()
        .fast()
        .flags(KEYSPACE)
        .arity(-2)
        .keys(&[KeySpec::from(1, RM | DELETE)])
        .syntax("key [key ...]")
        .complexity("O(N) where N is the number of keys; memory is freed in the background")
        .summary("Removes keys and frees large values in the background.")
        .tips(SUMMED),
    Command::new("exists", exists)
        .group(Group::Generic)
        .readonly()
        .fast()
        .flags(KEYSPACE)
        .arity(-2)
        .keys(&[KeySpec::from(1, RO)])
        .syntax("key [key ...]")
        .complexity("O(N) where N is the number of keys")
        .history(&[("3.0.3", "Several keys.")])
        .summary("Counts how many of the keys are there.")
        .tips(SUMMED),
    Command::new("touch", touch)
        .group(Group::Generic)
        .since("3.2.1")
        .readonly()
        .fast()
        .flags(KEYSPACE)
        .arity(-2)
        .keys(&[KeySpec::from(1, RO)])
        .syntax("key [key ...]")
        .complexity("O(N) where N is the number of keys")
        .summary("Notes an access to keys and counts how many are there.")
        .tips(SUMMED),
    Command::new("type", type_)
        .group(Group::Generic)
        .readonly()
        .fast()
        .flags(KEYSPACE)
        .arity(2)
        .keys(&[KeySpec::at(1, RO)])
        .syntax("key")
        .complexity("O(1)")
        .summary("Names the type of a key's value."),
    Command::new("rename", rename)
        .group(Group::Generic)
        .write()
        .flags(KEYSPACE)
        .arity(3)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE), KeySpec::at(2, OW | UPDATE)])
        .syntax("key newkey")
        .complexity("O(1)")
        .summary("Gives a key another name and overwrites what has it."),
    Command::new("renamenx", renamenx)
        .group(Group::Generic)
        .write()
        .fast()
        .flags(KEYSPACE)
        .arity(3)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE), KeySpec::at(2, OW | INSERT)])
        .syntax("key newkey")
        .complexity("O(1)")
        .history(&[("3.2.0", "The same name twice is no error any more.")])
        .summary("Gives a key another name unless a key has it already."),
    Command::new("copy", copy)
        .group(Group::Generic)
        .since("6.2.0")
        .write()
        .deny_oom()
        .flags(KEYSPACE)
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS), KeySpec::at(2, OW | UPDATE)])
        .syntax("source destination [DB destination-db] [REPLACE]")
        .complexity("O(1) for strings")
        .summary("Copies a key's value and deadline to another key."),
    Command::new("move", move_)
        .group(Group::Generic)
        .write()
        .fast()
        .flags(KEYSPACE)
        .arity(3)
        .keys(&[KeySpec::at(1, RW | ACCESS | UPDATE)])
        .syntax("key db")
        .complexity("O(1)")
        .summary("Moves a key to another database."),
];

/// DEL key [key ...]
fn del(ctx: &mut Ctx, args: &mut Args) -> Reply {
    remove(ctx, args, ctx.settings.lazyfree_lazy_user_del)
}

/// UNLINK key [key ...]
fn unlink(ctx: &mut Ctx, args: &mut Args) -> Reply {
    remove(ctx, args, true)
}

fn remove(ctx: &mut Ctx, args: &mut Args, in_background: bool) -> Reply {
    let (mut removed, mut large) = (0, 0);
    for key in args.take_rest() {
        let Some(entry) = ctx.db.take(key) else { continue };
        removed += 1;
        ctx.db.event(EventClasses::GENERIC, "del", key);
        large += u64::from(entry.value.heap_size() >= BACKGROUND_MIN);
        if entry.value.is_big() {
            ctx.db.held().discard(entry);
        }
    }
    if in_background && large > 0 {
        free_in_background(ctx, large);
    }
    ctx.db.mark_dirty(removed);
    ctx.reply.int(removed as i64)
}

/// EXISTS key [key ...]
fn exists(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let keys = args.take_rest();
    let there = keys.iter().filter(|key| ctx.db.read_untouched(key).is_some()).count();
    ctx.reply.count(there)
}

/// TOUCH key [key ...]
fn touch(ctx: &mut Ctx, args: &mut Args) -> Reply {
    // CLIENT NO-TOUCH does not hold for the command whose purpose this is.
    ctx.db.set_touch(true);
    let keys = args.take_rest();
    let there = keys.iter().filter(|key| ctx.db.read(key).is_some()).count();
    ctx.reply.count(there)
}

/// TYPE key
fn type_(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let entry = ctx.db.read_untouched(args.key());
    let name = entry.map_or("none", |entry| entry.type_name());
    ctx.reply.simple(name)
}

/// RENAME key newkey
fn rename(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (from, to) = (args.key(), args.key());
    if ctx.db.look_for_write(from).is_none() {
        return Err(Error::NO_KEY);
    }
    if from != to {
        give_name(ctx, from, to);
    }
    ctx.reply.ok()
}

/// RENAMENX key newkey
fn renamenx(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (from, to) = (args.key(), args.key());
    if ctx.db.look_for_write(from).is_none() {
        return Err(Error::NO_KEY);
    }
    if from == to || ctx.db.look_for_write(to).is_some() {
        return ctx.reply.int(0);
    }
    give_name(ctx, from, to);
    ctx.reply.int(1)
}

/// Moves value and deadline of a key that is there to another name.
fn give_name(ctx: &mut Ctx, from: &[u8], to: &[u8]) {
    let Some(entry) = ctx.db.take(from) else { return };
    // An expired key of the new name is removed as such first, which replicas are told.
    ctx.db.remove(to);
    let deadline = entry.expire_at();
    ctx.db.set(to, entry.value, deadline);
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::GENERIC, "rename_from", from);
    ctx.db.event(EventClasses::GENERIC, "rename_to", to);
}

/// COPY source destination [DB destination-db] [REPLACE]
fn copy(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (from, to) = (args.key(), args.key());
    let source_db = ctx.db.index();
    let (mut target_db, mut replace) = (source_db, false);
    while !args.is_empty() {
        if args.word("replace") {
            replace = true;
        } else if args.word("db") {
            target_db = database(ctx, args)?;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if source_db == target_db && from == to {
        return Err(Error::SAME_OBJECT);
    }
    let Some(entry) = ctx.db.read(from) else { return ctx.reply.int(0) };
    let (value, deadline) = (entry.value().into_owned(), entry.expire_at());
    ctx.db.select(target_db);
    let occupied = ctx.db.look_for_write(to).is_some();
    if !occupied || replace {
        ctx.db.remove(to);
        ctx.db.set(to, value, deadline);
        ctx.db.mark_dirty(1);
        ctx.db.event(EventClasses::GENERIC, "copy_to", to);
    }
    ctx.db.select(source_db);
    ctx.reply.flag(!occupied || replace)
}

/// MOVE key db
fn move_(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let source_db = ctx.db.index();
    let target_db = database(ctx, args)?;
    if source_db == target_db {
        return Err(Error::SAME_OBJECT);
    }
    if ctx.db.look_for_write(key).is_none() {
        return ctx.reply.int(0);
    }
    ctx.db.select(target_db);
    let occupied = ctx.db.look_for_write(key).is_some();
    ctx.db.select(source_db);
    if !occupied && let Some(entry) = ctx.db.take(key) {
        let deadline = entry.expire_at();
        ctx.db.select(target_db);
        ctx.db.set(key, entry.value, deadline);
        ctx.db.select(source_db);
        ctx.db.event(EventClasses::GENERIC, "move_from", key);
        ctx.db.select(target_db);
        ctx.db.event(EventClasses::GENERIC, "move_to", key);
        ctx.db.select(source_db);
        ctx.db.mark_dirty(1);
    }
    ctx.reply.flag(!occupied)
}

/// Takes the number of a database.
fn database(ctx: &Ctx, args: &mut Args) -> Result<usize, Error> {
    let (min, max) = (i32::MIN.into(), i32::MAX.into());
    let number = args.int()?;
    if !(min..=max).contains(&number) {
        return Err(error::out_of_bounds(min, max));
    }
    let known = usize::try_from(number).ok().filter(|&n| n < ctx.server.keyspace.databases());
    known.ok_or(Error::DB_INDEX)
}
