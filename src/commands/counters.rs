//! Commands that count: strings as numbers.

use crate::base::longdouble::LongDouble;
use crate::base::num;
use crate::data::{Str, Value};
use crate::engine::spec::access::{ACCESS, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::store::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("decr", decr)
        .group(Group::String)
        .write()
        .deny_oom()
        .fast()
        .arity(2)
        .keys(KEYS)
        .syntax("key")
        .complexity("O(1)")
        .summary("Subtracts one from the integer of a key, 0 if the key is not there."),
    Command::new("decrby", decrby)
        .group(Group::String)
        .write()
        .deny_oom()
        .fast()
        .arity(3)
        .keys(KEYS)
        .syntax("key decrement")
        .complexity("O(1)")
        .summary("Subtracts from the integer of a key, 0 if the key is not there."),
    Command::new("incr", incr)
        .group(Group::String)
        .write()
        .deny_oom()
        .fast()
        .arity(2)
        .keys(KEYS)
        .syntax("key")
        .complexity("O(1)")
        .summary("Adds one to the integer of a key, 0 if the key is not there."),
    Command::new("incrby", incrby)
        .group(Group::String)
        .write()
        .deny_oom()
        .fast()
        .arity(3)
        .keys(KEYS)
        .syntax("key increment")
        .complexity("O(1)")
        .summary("Adds to the integer of a key, 0 if the key is not there."),
    Command::new("incrbyfloat", incrbyfloat)
        .group(Group::String)
        .since("2.6.0")
        .write()
        .deny_oom()
        .fast()
        .arity(3)
        .keys(KEYS)
        .syntax("key increment:double")
        .complexity("O(1)")
        .summary("Adds to the decimal number of a key, 0 if the key is not there."),
];

const KEYS: &[KeySpec] = &[KeySpec::at(1, RW | ACCESS | UPDATE)];

/// DECR key
fn decr(ctx: &mut Ctx, args: &mut Args) -> Reply {
    add(ctx, args.key(), -1)
}

/// DECRBY key decrement
fn decrby(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, by) = (args.key(), args.int()?);
    add(ctx, key, by.checked_neg().ok_or(Error::DECREMENT_OVERFLOW)?)
}

/// INCR key
fn incr(ctx: &mut Ctx, args: &mut Args) -> Reply {
    add(ctx, args.key(), 1)
}

/// INCRBY key increment
fn incrby(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, by) = (args.key(), args.int()?);
    add(ctx, key, by)
}

fn add(ctx: &mut Ctx, key: &[u8], by: i64) -> Reply {
    let added = ctx.db.edit(key, |value: &mut Str, note| {
        let old = integer(value).ok_or(Error::NOT_INTEGER)?;
        let sum = old.checked_add(by).ok_or(Error::OVERFLOW)?;
        *value = Str::from_i64(sum);
        note.touched();
        Ok::<_, Error>(sum)
    });
    let sum = match added? {
        Some(sum) => sum?,
        None => {
            ctx.db.set(key, Value::String(Str::from_i64(by)), None);
            by
        }
    };
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::STRING, "incrby", key);
    ctx.reply.int(sum)
}

fn integer(value: &Str) -> Option<i64> {
    value.as_int().or_else(|| num::parse_i64(value.bytes(&mut [0; 20])))
}

/// INCRBYFLOAT key increment
fn incrbyfloat(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let by = LongDouble::parse(args.bytes()?).ok_or(Error::NOT_FLOAT);
    let added = ctx.db.edit(key, |value: &mut Str, note| {
        let text = sum_text(number(value).ok_or(Error::NOT_FLOAT)?, by.clone()?)?;
        *value = Str::text(&text);
        note.touched();
        Ok::<_, Error>(text)
    });
    let text = match added? {
        Some(text) => text?,
        None => {
            let text = sum_text(LongDouble::from_i64(0), by?)?;
            ctx.db.set(key, Value::String(Str::text(&text)), None);
            text
        }
    };
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::STRING, "incrbyfloat", key);
    // Replicas get the sum, so that the way they add and print cannot make a difference.
    ctx.effects.replace(&[b"SET", key, &text, b"KEEPTTL"]);
    ctx.reply.bulk(&text)
}

fn number(value: &Str) -> Option<LongDouble> {
    match value.as_int() {
        Some(integer) => Some(LongDouble::from_i64(integer)),
        None => LongDouble::parse(value.bytes(&mut [0; 20])),
    }
}

fn sum_text(a: LongDouble, b: LongDouble) -> Result<Vec<u8>, Error> {
    let sum = a + b;
    if sum.is_nan() || sum.is_infinite() {
        return Err(Error::NAN_OR_INF);
    }
    Ok(sum.to_human())
}
