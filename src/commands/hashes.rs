//! Hashes: fields that are set, read, counted, removed and scanned.

use std::sync::Arc;

use crate::base::longdouble::LongDouble;
use crate::base::num;
use crate::data::Hash;
use crate::data::hash::{Deadline, Field};
use crate::data::listpack::Item;
use crate::engine::ctx::push_item;
use crate::engine::scan::{self, Names, Options};
use crate::engine::spec::access::{ACCESS, DELETE, INSERT, RO, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::resp::out::Out;
use crate::store::EventClasses;

const SET: &[KeySpec] = &[KeySpec::at(1, RW | UPDATE)];
const ADDED_TO: &[KeySpec] = &[KeySpec::at(1, RW | ACCESS | UPDATE)];
const READ: &[KeySpec] = &[KeySpec::at(1, RO | ACCESS)];
const LOOKED_AT: &[KeySpec] = &[KeySpec::at(1, RO)];

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    writer("hdel", hdel)
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | DELETE)])
        .syntax("key field [field ...]")
        .complexity("O(N) where N is the number of fields to be removed.")
        .history(&[("2.4.0", "Several fields.")])
        .summary("Removes fields of a hash."),
    reader("hexists", hexists)
        .fast()
        .arity(3)
        .keys(LOOKED_AT)
        .syntax("key field")
        .complexity("O(1)")
        .summary("Tells whether a hash has a field."),
    reader("hget", hget)
        .fast()
        .arity(3)
        .keys(READ)
        .syntax("key field")
        .complexity("O(1)")
        .summary("Returns the value of a hash's field."),
    reader("hgetall", hgetall)
        .arity(2)
        .keys(READ)
        .syntax("key")
        .complexity("O(N) where N is the size of the hash.")
        .summary("Returns all fields of a hash with their values.")
        .tips(&["nondeterministic_output_order"]),
    writer("hincrby", hincrby)
        .deny_oom()
        .arity(4)
        .keys(ADDED_TO)
        .syntax("key field increment")
        .complexity("O(1)")
        .summary("Adds to the integer of a hash's field, 0 if the field is not there."),
    writer("hincrbyfloat", hincrbyfloat)
        .since("2.6.0")
        .deny_oom()
        .arity(4)
        .keys(ADDED_TO)
        .syntax("key field increment:double")
        .complexity("O(1)")
        .summary("Adds to the decimal number of a hash's field, 0 if the field is not there."),
    reader("hkeys", hkeys)
        .arity(2)
        .keys(READ)
        .syntax("key")
        .complexity("O(N) where N is the size of the hash.")
        .summary("Returns the names of all fields of a hash.")
        .tips(&["nondeterministic_output_order"]),
    reader("hlen", hlen)
        .fast()
        .arity(2)
        .keys(LOOKED_AT)
        .syntax("key")
        .complexity("O(1)")
        .summary("Counts the fields of a hash."),
    reader("hmget", hmget)
        .fast()
        .arity(-3)
        .keys(READ)
        .syntax("key field [field ...]")
        .complexity("O(N) where N is the number of fields being requested.")
        .summary("Returns the values of several fields of a hash."),
    writer("hmset", hmset)
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs")
        .deny_oom()
        .arity(-4)
        .keys(SET)
        .syntax("key <data: field value ...>")
        .complexity("O(N) where N is the number of fields being set.")
        .summary("Sets fields of a hash."),
    reader("hscan", hscan)
        .since("2.8.0")
        .arity(-3)
        .keys(READ)
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .complexity("O(1) for a call, O(N) for a whole iteration over N fields")
        .summary("Lists the fields of a hash a few at a time, with their values.")
        .tips(&["nondeterministic_output"]),
    writer("hset", hset)
        .deny_oom()
        .arity(-4)
        .keys(SET)
        .syntax("key <data: field value ...>")
        .complexity("O(1) for each field, so O(N) for N of them")
        .history(&[("4.0.0", "Several fields with their values.")])
        .summary("Sets fields of a hash, and creates it if it is not there."),
    writer("hsetnx", hsetnx)
        .deny_oom()
        .arity(4)
        .keys(&[KeySpec::at(1, RW | INSERT)])
        .syntax("key field value")
        .complexity("O(1)")
        .summary("Sets a field of a hash that the hash does not have yet."),
    reader("hstrlen", hstrlen)
        .since("3.2.0")
        .fast()
        .arity(3)
        .keys(LOOKED_AT)
        .syntax("key field")
        .complexity("O(1)")
        .summary("Returns the length of a field's value."),
    reader("hvals", hvals)
        .arity(2)
        .keys(READ)
        .syntax("key")
        .complexity("O(N) where N is the size of the hash.")
        .summary("Returns the values of all fields of a hash.")
        .tips(&["nondeterministic_output_order"]),
];

/// A command that reads a hash.
const fn reader(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler).group(Group::Hash).since("2.0.0").readonly()
}

/// A command that changes a hash.
const fn writer(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler).group(Group::Hash).since("2.0.0").write().fast()
}

/// HSET key field value [field value ...]
fn hset(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let new = set_all(ctx, args, "hset")?;
    ctx.reply.count(new)
}

/// HMSET key field value [field value ...]
fn hmset(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_all(ctx, args, "hmset")?;
    ctx.reply.ok()
}

/// Sets pairs of fields and values; how many fields are new.
fn set_all(ctx: &mut Ctx, args: &mut Args, command: &str) -> Result<usize, Error> {
    let (key, rest) = (args.key(), args.take_rest());
    let (pairs, []) = rest.as_chunks::<2>() else { return Err(error::wrong_args(command)) };
    let limits = ctx.settings.limits;
    let new = ctx.db.edit_or_create(key, |hash: &mut Hash, note| {
        hash.prepare(pairs, &limits);
        let set = |[name, value]: &&[&[u8]; 2]| hash.set(name, value, Deadline::Clear, &limits);
        let new = pairs.iter().filter(set).count();
        note.event(EventClasses::HASH, "hset");
        note.dirty(pairs.len() as u64);
        new
    })?;
    Ok(new)
}

/// HSETNX key field value
fn hsetnx(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, value) = (args.key(), args.bytes()?, args.bytes()?);
    ctx.db.expire_named(key, &[name]);
    let limits = ctx.settings.limits;
    let new = ctx.db.edit_or_create(key, |hash: &mut Hash, note| {
        if hash.get(name).is_some() {
            return false;
        }
        hash.set(name, value, Deadline::Clear, &limits);
        note.event(EventClasses::HASH, "hset");
        note.dirty(1);
        true
    })?;
    ctx.reply.flag(new)
}

/// HINCRBY key field increment
fn hincrby(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name, by) = (args.key(), args.bytes()?, args.int()?);
    ctx.db.expire_named(key, &[name]);
    let limits = ctx.settings.limits;
    let sum = ctx.db.edit_or_create(key, |hash: &mut Hash, note| {
        let old = match hash.get(name) {
            Some(field) => field.value.int().ok_or(Error::HASH_NOT_INTEGER)?,
            None => 0,
        };
        let sum = old.checked_add(by).ok_or(Error::OVERFLOW)?;
        let text = num::i64_bytes(sum, &mut [0; 20]).to_vec();
        hash.set(name, &text, Deadline::Keep, &limits);
        note.event(EventClasses::HASH, "hincrby");
        note.dirty(1);
        Ok::<_, Error>(sum)
    })?;
    ctx.reply.int(sum?)
}

/// HINCRBYFLOAT key field increment
fn hincrbyfloat(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, name) = (args.key(), args.bytes()?);
    let by = LongDouble::parse(args.bytes()?).ok_or(Error::NOT_FLOAT)?;
    if by.is_infinite() {
        return Err(Error::IS_NAN_OR_INF);
    }
    ctx.db.expire_named(key, &[name]);
    let limits = ctx.settings.limits;
    let added = ctx.db.edit_or_create(key, |hash: &mut Hash, note| {
        let field = hash.get(name);
        let deadline = field.and_then(|field| field.deadline);
        let old = field.map_or(Some(LongDouble::from_i64(0)), number);
        let sum = old.ok_or(Error::HASH_NOT_FLOAT)? + by;
        if sum.is_nan() || sum.is_infinite() {
            return Err(Error::NAN_OR_INF);
        }
        let text = sum.to_human();
        hash.set(name, &text, Deadline::Keep, &limits);
        note.event(EventClasses::HASH, "hincrbyfloat");
        note.dirty(1);
        Ok((text, deadline))
    })?;
    let (text, deadline) = added?;
    log_sum(ctx, key, name, &text, deadline);
    ctx.reply.bulk(&text)
}

/// Replicas get the sum, so that the way they add and print cannot make a difference. HSET clears a
/// deadline that here stays.
fn log_sum(ctx: &mut Ctx, key: &[u8], name: &[u8], text: &[u8], deadline: Option<i64>) {
    let Some(deadline) = deadline else { return ctx.effects.replace(&[b"HSET", key, name, text]) };
    let deadline = deadline.to_string();
    let commands: [&[&[u8]]; 2] = [
        &[b"HSET", key, name, text],
        &[b"HPEXPIREAT", key, deadline.as_bytes(), b"FIELDS", b"1", name],
    ];
    let owned = |command: &&[&[u8]]| command.iter().map(|arg| arg.to_vec()).collect();
    ctx.effects.replace_all(commands.iter().map(owned).collect());
}

fn number(field: Field) -> Option<LongDouble> {
    match field.value {
        Item::Int(integer) => Some(LongDouble::from_i64(integer)),
        Item::Bytes(text) => LongDouble::parse(text),
    }
}

/// HDEL key field [field ...]
fn hdel(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, names) = (args.key(), args.take_rest());
    // As in Redis, fields that have expired and are still there count.
    let removed = ctx.db.edit(key, |hash: &mut Hash, note| {
        let removed = names.iter().filter(|name| hash.remove(name)).count();
        if removed > 0 {
            note.event(EventClasses::HASH, "hdel");
            note.dirty(removed as u64);
        }
        removed
    })?;
    ctx.reply.count(removed.unwrap_or(0))
}

/// The field of a hash that may not be there; one that has expired is as good as absent and is
/// noted in `due`.
fn live_field<'a>(
    hash: Option<&'a Hash>,
    name: &[u8],
    horizon: i64,
    due: &mut bool,
) -> Option<Field<'a>> {
    let field = hash?.get(name)?;
    let expired = field.is_due(horizon);
    *due |= expired;
    (!expired).then_some(field)
}

fn push_value(out: &mut Out, field: Field) {
    match field.shared {
        Some(bytes) => out.bulk_shared(Arc::clone(bytes)),
        None => push_item(out, field.value),
    }
}

/// HGET key field
fn hget(ctx: &mut Ctx, args: &mut Args) -> Reply {
    read_field(ctx, args, |out, field| match field {
        Some(field) => push_value(out, field),
        None => out.null(),
    })
}

/// HEXISTS key field
fn hexists(ctx: &mut Ctx, args: &mut Args) -> Reply {
    read_field(ctx, args, |out, field| out.int(i64::from(field.is_some())))
}

/// HSTRLEN key field
fn hstrlen(ctx: &mut Ctx, args: &mut Args) -> Reply {
    read_field(ctx, args, |out, field| {
        let len = field.map_or(0, |field| match field.value {
            Item::Int(number) => num::i64_len(number),
            Item::Bytes(bytes) => bytes.len(),
        });
        out.int(i64::try_from(len).unwrap_or(i64::MAX));
    })
}

/// Answers something of a field; one that has expired is removed.
fn read_field(ctx: &mut Ctx, args: &mut Args, push: fn(&mut Out, Option<Field>)) -> Reply {
    let (key, name, horizon) = (args.key(), args.bytes()?, ctx.db.horizon());
    let mut due = false;
    push(ctx.reply.parts(), live_field(ctx.db.get(key)?, name, horizon, &mut due));
    if due {
        ctx.db.expire_named(key, &[name]);
    }
    ctx.reply.done()
}

/// HMGET key field [field ...]
fn hmget(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, names, horizon) = (args.key(), args.take_rest(), ctx.db.horizon());
    let hash = ctx.db.get(key)?;
    let out = ctx.reply.parts();
    out.array(names.len());
    let mut due = false;
    for name in names {
        match live_field(hash, name, horizon, &mut due) {
            Some(field) => push_value(out, field),
            None => out.null(),
        }
    }
    if due {
        ctx.db.expire_named(key, names);
    }
    ctx.reply.done()
}

/// HLEN key
fn hlen(ctx: &mut Ctx, args: &mut Args) -> Reply {
    // As in Redis, fields that have expired and are still there count.
    let len = ctx.db.get(args.key())?.map_or(0, Hash::len);
    ctx.reply.count(len)
}

/// HGETALL key
fn hgetall(ctx: &mut Ctx, args: &mut Args) -> Reply {
    list(ctx, args, Out::map, |out, field| {
        push_item(out, field.name);
        push_value(out, field);
    })
}

/// HKEYS key
fn hkeys(ctx: &mut Ctx, args: &mut Args) -> Reply {
    list(ctx, args, Out::array, |out, field| push_item(out, field.name))
}

/// HVALS key
fn hvals(ctx: &mut Ctx, args: &mut Args) -> Reply {
    list(ctx, args, Out::array, push_value)
}

/// Answers something of all fields, behind a header with their number.
fn list(
    ctx: &mut Ctx,
    args: &mut Args,
    header: fn(&mut Out, usize),
    push: fn(&mut Out, Field),
) -> Reply {
    let (key, horizon) = (args.key(), ctx.db.horizon());
    let all = |hash: &Hash| 0..hash.len();
    ctx.reply_about(key, all, |found, reply| {
        let out = reply.parts();
        let Some((hash, _)) = found else {
            header(out, 0);
            return reply.done();
        };
        let live = |field: &Field| !field.is_due(horizon);
        let expired = hash.next_deadline().is_some_and(|deadline| deadline < horizon);
        header(out, if expired { hash.fields().filter(live).count() } else { hash.len() });
        hash.fields().filter(live).for_each(|field| push(out, field));
        reply.done()
    })
}

/// HSCAN key cursor [MATCH pattern] [COUNT count]
fn hscan(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let cursor = scan::parse_cursor(args.bytes()?)?;
    let horizon = ctx.db.horizon();
    // Redis looks at the key before it looks at the options.
    let options = Options::parse(args, false);
    let part = |hash: &Hash| options.as_ref().map_or(0..0, |options| options.part(hash.len()));
    ctx.reply_about(key, part, |hash, reply| {
        let mut found = Names::default();
        let Some((hash, _)) = hash else { return scan::reply(reply, 0, &found) };
        let options = options.as_ref().map_err(Error::clone)?;
        let next = options.walk(cursor, |cursor| {
            let mut visited = 0;
            let next = hash.scan(cursor, |field| {
                visited += 1;
                let (mut name, mut value) = ([0; 20], [0; 20]);
                let name = field.name.bytes(&mut name);
                if !field.is_due(horizon) && options.pattern.matches(name) {
                    found.push(name);
                    found.push(field.value.bytes(&mut value));
                }
            });
            (next, visited)
        });
        scan::reply(reply, next, &found)
    })
}
