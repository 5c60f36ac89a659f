//! Commands about the length and the parts of strings.

use std::ops::Range;

use crate::data::{Str, Value};
use crate::engine::apart::work_of_bytes;
use crate::engine::spec::access::{ACCESS, INSERT, RO, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::store::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("append", append)
        .group(Group::String)
        .since("2.0.0")
        .write()
        .deny_oom()
        .fast()
        .arity(3)
        .keys(&[KeySpec::at(1, RW | INSERT)])
        .syntax("key value")
        .complexity("O(N) where N is the length of the value, on average")
        .summary("Adds to the end of the string of a key, or sets it if the key is not there."),
    Command::new("getrange", getrange)
        .group(Group::String)
        .since("2.4.0")
        .readonly()
        .arity(4)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key start end")
        .complexity("O(N) where N is the length of the part")
        .summary("Returns a part of the string of a key."),
    Command::new("setrange", setrange)
        .group(Group::String)
        .since("2.2.0")
        .write()
        .deny_oom()
        .arity(4)
        .keys(&[KeySpec::at(1, RW | UPDATE)])
        .syntax("key offset value")
        .complexity("O(N) where N is the length of the value and of the gap before it")
        .summary("Overwrites a part of the string of a key, which grows where it is too short."),
    Command::new("strlen", strlen)
        .group(Group::String)
        .since("2.2.0")
        .readonly()
        .fast()
        .arity(2)
        .keys(&[KeySpec::at(1, RO)])
        .syntax("key")
        .complexity("O(1)")
        .summary("Returns the length of the string of a key."),
    Command::new("substr", getrange)
        .group(Group::String)
        .deprecated("2.0.0", "`GETRANGE`")
        .readonly()
        .arity(4)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key start end")
        .complexity("O(N) where N is the length of the part")
        .summary("Returns a part of the string of a key."),
];

/// APPEND key value
fn append(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, more) = (args.key(), args.bytes()?);
    let limit = ctx.longest_string();
    let appended = ctx.db.edit(key, |value: &mut Str, note| {
        check_len(value.len(), more.len(), limit)?;
        value.append(more);
        note.touched();
        Ok::<_, Error>(value.len())
    });
    let len = match appended? {
        Some(len) => len?,
        None => {
            ctx.db.set(key, Value::String(Str::from_bytes(more)), None);
            more.len()
        }
    };
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::STRING, "append", key);
    ctx.reply.count(len)
}

/// GETRANGE key start end
/// SUBSTR key start end
fn getrange(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, start, end) = (args.key(), args.int()?, args.int()?);
    let range = |value: &Str| resolve(start, end, value.len());
    let amount = |value: &Str| 0..work_of_bytes(range(value).len());
    ctx.reply_about(key, amount, |found, reply| match found {
        Some((value, _)) => reply.bulk(&value.bytes(&mut [0; 20])[range(value)]),
        None => reply.bulk(b""),
    })
}

/// The bytes from `start` to `end`, that one included; negative ones count from the end of `len`
/// bytes.
fn resolve(start: i64, end: i64, len: usize) -> Range<usize> {
    // Both before the beginning would otherwise become the first byte, whatever their order.
    if len == 0 || (start < 0 && end < 0 && start > end) {
        return 0..0;
    }
    let last = len - 1;
    let index = |at: i64| {
        let distance = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
        if at < 0 { len.saturating_sub(distance) } else { distance }
    };
    let (start, end) = (index(start), index(end).min(last));
    if start > end { 0..0 } else { start..end + 1 }
}

/// SETRANGE key offset value
fn setrange(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, offset, patch) = (args.key(), args.int()?, args.bytes()?);
    let offset = usize::try_from(offset).map_err(|_| Error::OFFSET_RANGE)?;
    let limit = ctx.longest_string();
    if patch.is_empty() {
        let len = ctx.db.peek_as::<Str>(key)?.map_or(0, Str::len);
        return ctx.reply.count(len);
    }
    let patched = ctx.db.edit(key, |value: &mut Str, note| {
        check_len(offset, patch.len(), limit)?;
        value.set_range(offset, patch);
        note.touched();
        Ok::<_, Error>(value.len())
    });
    let len = match patched? {
        Some(len) => len?,
        None => {
            check_len(offset, patch.len(), limit)?;
            let mut value = Str::text(b"");
            value.set_range(offset, patch);
            let len = value.len();
            ctx.db.set(key, Value::String(value), None);
            len
        }
    };
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::STRING, "setrange", key);
    ctx.reply.count(len)
}

/// STRLEN key
fn strlen(ctx: &mut Ctx, args: &mut Args) -> Reply {
    match ctx.db.get::<Str>(args.key())? {
        Some(value) => ctx.reply.count(value.len()),
        None => ctx.reply.int(0),
    }
}

fn check_len(len: usize, more: usize, limit: usize) -> Result<(), Error> {
    match len.checked_add(more) {
        Some(total) if total <= limit => Ok(()),
        _ => Err(Error::STRING_TOO_LONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped() {
        let cases = [
            ((0, -1), 0..3),
            ((1, 1), 1..2),
            ((-2, 100), 1..3),
            ((2, 1), 0..0),
            ((3, 3), 0..0),
            ((-9, -8), 0..1),
            ((-8, -9), 0..0),
            ((-1, -2), 0..0),
            ((0, -9), 0..1),
            ((i64::MIN, i64::MAX), 0..3),
            ((i64::MAX, i64::MIN), 0..0),
        ];
        for ((start, end), expected) in cases {
            assert_eq!(resolve(start, end, 3), expected, "{start} {end}");
        }
        assert_eq!(resolve(0, -1, 0), 0..0);
    }

    #[test]
    fn lengths_do_not_overflow() {
        assert!(check_len(2, 3, 5).is_ok());
        assert!(check_len(2, 4, 5).is_err());
        assert!(check_len(usize::MAX, 1, usize::MAX).is_err());
    }
}
