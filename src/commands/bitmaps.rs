//! Strings as rows of bits.

use std::ops::Range;

use crate::base::num;
use crate::data::bits::{self, Field, Operation, Overflow};
use crate::data::{Str, Value};
use crate::engine::apart::work_of_bytes;
use crate::engine::spec::access::{ACCESS, OW, RO, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::store::events::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    bitmap("bitcount", bitcount)
        .since("2.6.0")
        .readonly()
        .arity(-2)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key [range: start end [unit@7.0.0: BYTE | BIT]]")
        .complexity("O(N)")
        .history(&[("7.0.0", "The option `BYTE` or `BIT`.")])
        .summary("Counts the set bits of a string, or of a part of it."),
    bitmap("bitfield", bitfield)
        .since("3.2.0")
        .write()
        .deny_oom()
        .arity(-2)
        .keys(&[KeySpec::at(1, RW | ACCESS | UPDATE)
            .varying(access_of_bitfield)
            .noting("This command allows both access and modification of the key")])
        .syntax(
            "key [operation: <get-block: GET encoding offset> | <write: [overflow-block: OVERFLOW \
             <WRAP | SAT | FAIL>] <write-operation: <set-block: SET encoding offset \
             value:integer> | <incrby-block: INCRBY encoding offset increment>>> ...]",
        )
        .complexity("O(1) for each subcommand specified")
        .summary("Reads and changes integers of any width within a string."),
    bitmap("bitfield_ro", bitfield_ro)
        .since("6.0.0")
        .readonly()
        .fast()
        .arity(-2)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key [get-block: GET encoding offset ...]")
        .complexity("O(1) for each subcommand specified")
        .summary("Reads integers of any width within a string."),
    bitmap("bitop", bitop)
        .since("2.6.0")
        .write()
        .deny_oom()
        .arity(-4)
        .keys(&[KeySpec::at(2, OW | UPDATE), KeySpec::from(3, RO | ACCESS)])
        .syntax("<operation: AND | OR | XOR | NOT> destkey key [key ...]")
        .complexity("O(N)")
        .summary("Combines strings bit by bit and stores the result."),
    bitmap("bitpos", bitpos)
        .since("2.8.7")
        .readonly()
        .arity(-3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key bit [range: start [end-unit-block: end [unit@7.0.0: BYTE | BIT]]]")
        .complexity("O(N)")
        .history(&[("7.0.0", "The option `BYTE` or `BIT`.")])
        .summary("Finds the first set or clear bit of a string, or of a part of it."),
    bitmap("getbit", getbit)
        .since("2.2.0")
        .readonly()
        .fast()
        .arity(3)
        .keys(&[KeySpec::at(1, RO | ACCESS)])
        .syntax("key offset")
        .complexity("O(1)")
        .summary("Returns a bit of a string."),
    bitmap("setbit", setbit)
        .since("2.2.0")
        .write()
        .deny_oom()
        .arity(4)
        .keys(&[KeySpec::at(1, RW | ACCESS | UPDATE)])
        .syntax("key offset value:integer")
        .complexity("O(1)")
        .summary("Sets or clears a bit of a string and returns what it was."),
];

const fn bitmap(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler).group(Group::Bitmap)
}

/// What a BITFIELD does with its key: it only reads if all it has is GET. What is no operation
/// could be anything.
fn access_of_bitfield(argv: &[&[u8]]) -> u32 {
    let mut rest = argv.get(2..).unwrap_or_default();
    while let Some((word, behind)) = rest.split_first() {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let taken = match (is("get"), is("overflow")) {
            (true, _) => 2,
            (_, true) => 1,
            _ => return RW | ACCESS | UPDATE,
        };
        let Some(next) = behind.get(taken..) else { return RW | ACCESS | UPDATE };
        rest = next;
    }
    RO | ACCESS
}

/// Reads a bit's offset. One that begins with `#` counts in numbers of `bits` bits, if any.
fn parse_offset(ctx: &Ctx, arg: &[u8], bits: Option<u32>) -> Result<u64, Error> {
    let (text, factor) = match (arg, bits) {
        ([b'#', rest @ ..], Some(bits)) => (rest, i64::from(bits)),
        _ => (arg, 1),
    };
    num::parse_i64(text)
        .and_then(|number| number.checked_mul(factor))
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset / 8 < ctx.longest_string() as u64)
        .ok_or(Error::BIT_OFFSET)
}

/// Lengthens a string with zeros until it has this bit; whether that was needed.
fn make_room(bytes: &mut Vec<u8>, last_bit: u64) -> bool {
    let len = (last_bit / 8) as usize + 1;
    let short = bytes.len() < len;
    if short {
        bytes.resize(len, 0);
    }
    short
}

/// SETBIT key offset value
fn setbit(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, offset) = (args.key(), parse_offset(ctx, args.bytes()?, None)?);
    let on = match args.int_or(Error::NOT_A_BIT)? {
        0 => false,
        1 => true,
        _ => return Err(Error::NOT_A_BIT),
    };
    let before = ctx.db.edit_or_create(key, |value: &mut Str, note| {
        value.change(|bytes| {
            let grown = make_room(bytes, offset);
            let before = bits::set(bytes, offset, on);
            if grown || before != on {
                note.event(EventClasses::STRING, "setbit");
                note.dirty(1);
            }
            before
        })
    })?;
    ctx.reply.flag(before)
}

/// GETBIT key offset
fn getbit(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, offset) = (args.key(), parse_offset(ctx, args.bytes()?, None)?);
    let value = ctx.db.get::<Str>(key)?;
    let on = value.is_some_and(|value| bits::get(value.bytes(&mut [0; 20]), offset));
    ctx.reply.flag(on)
}

/// A part of a string as it was given: from, to, and whether they count bits.
#[derive(Clone, Copy)]
struct Part {
    start: i64,
    end: i64,
    in_bits: bool,
}

/// Whether the next argument, the last one, says that a part counts bits.
fn parse_unit(args: &mut Args) -> Result<bool, Error> {
    let in_bits = args.word("BIT");
    if !in_bits && !args.word("BYTE") {
        return Err(Error::SYNTAX);
    }
    args.end()?;
    Ok(in_bits)
}

impl Part {
    /// The bits of a string of `len` bytes that are meant. Positions before its start mean its
    /// first bit or byte.
    fn resolve(self, len: usize) -> Range<u64> {
        let width = if self.in_bits { 1 } else { 8 };
        let total = len as i64 * 8 / width;
        let from_end = |at: i64| if at < 0 { (total + at).max(0) } else { at };
        let (start, end) = (from_end(self.start), from_end(self.end).min(total - 1));
        if start > end {
            return 0..0;
        }
        (start * width) as u64..((end + 1) * width) as u64
    }
}

/// BITCOUNT key [start end [BYTE | BIT]]
fn bitcount(ctx: &mut Ctx, args: &mut Args) -> Reply {
    // What stands behind a key that is not there is not even read.
    ctx.reply_about(args.key(), amount, |found, reply| {
        let Some((value, _)) = found else { return reply.int(0) };
        let mut buf = [0; 20];
        let bytes = value.bytes(&mut buf);
        let range = match args.left() {
            0 => 0..bytes.len() as u64 * 8,
            2 | 3 => {
                let (start, end) = (args.int()?, args.int()?);
                if start < 0 && end < 0 && start > end {
                    return reply.int(0);
                }
                let in_bits = !args.is_empty() && parse_unit(args)?;
                Part { start, end, in_bits }.resolve(bytes.len())
            }
            _ => return Err(Error::SYNTAX),
        };
        let count = bits::count(bytes, range);
        reply.int(count as i64)
    })
}

/// What it takes to walk through a string.
fn amount(value: &Str) -> Range<usize> {
    0..work_of_bytes(value.len())
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
fn bitpos(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let on = match args.int()? {
        0 => false,
        1 => true,
        _ => return Err(Error::BITPOS_BIT),
    };
    // What stands behind a key that is not there is not even read.
    ctx.reply_about(key, amount, |found, reply| {
        let Some((value, _)) = found else { return reply.int(if on { -1 } else { 0 }) };
        let mut buf = [0; 20];
        let bytes = value.bytes(&mut buf);
        let (part, end_given) = parse_search(args)?;
        let range = part.resolve(bytes.len());
        let found = match bits::find(bytes, on, range.clone()) {
            Some(at) => at as i64,
            // The first clear bit of a string of ones is the one behind it.
            None if !on && !end_given && !range.is_empty() => range.end as i64,
            None => -1,
        };
        reply.int(found)
    })
}

/// The part of the string to be searched, and whether its end was given.
fn parse_search(args: &mut Args) -> Result<(Part, bool), Error> {
    let mut part = Part { start: 0, end: -1, in_bits: false };
    let given = args.left();
    if given > 3 {
        return Err(Error::SYNTAX);
    }
    if given > 0 {
        part.start = args.int()?;
    }
    if given > 1 {
        // The unit is looked at before the end, although it stands behind it.
        let end = args.bytes()?;
        part.in_bits = !args.is_empty() && parse_unit(args)?;
        part.end = num::parse_i64(end).ok_or(Error::NOT_INTEGER)?;
    }
    Ok((part, given > 1))
}

/// BITOP <AND | OR | XOR | NOT> destkey key [key ...]
fn bitop(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let operation = match args.bytes()?.to_ascii_lowercase().as_slice() {
        b"and" => Operation::And,
        b"or" => Operation::Or,
        b"xor" => Operation::Xor,
        b"not" => Operation::Not,
        _ => return Err(Error::SYNTAX),
    };
    let (target, keys) = (args.key(), args.take_rest());
    if operation == Operation::Not && keys.len() != 1 {
        return Err(Error::BITOP_NOT);
    }
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        values.push(ctx.db.get::<Str>(key)?.cloned().unwrap_or_default());
    }
    let amount = work_of_bytes(values.iter().map(Str::len).sum());
    let result = ctx.work_out(keys, amount, |_| {
        let mut texts = vec![[0; 20]; values.len()];
        let sources: Vec<&[u8]> =
            values.iter().zip(&mut texts).map(|(value, text)| value.bytes(text)).collect();
        bits::combine(operation, &sources)
    })?;
    let len = result.len();
    if len > 0 {
        ctx.db.set(target, Value::String(Str::raw(result)), None);
        ctx.db.event(EventClasses::STRING, "set", target);
        ctx.db.mark_dirty(1);
    } else if ctx.db.remove(target) {
        ctx.db.event(EventClasses::GENERIC, "del", target);
        ctx.db.mark_dirty(1);
    }
    ctx.reply.count(len)
}

/// What a subcommand of BITFIELD does.
#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// A subcommand of BITFIELD.
struct FieldStep {
    action: Action,
    field: Field,
    offset: u64,
    overflow: Overflow,
}

impl FieldStep {
    fn last_bit(&self) -> u64 {
        self.offset + u64::from(self.field.bits) - 1
    }
}

/// Reads all subcommands.
fn parse_steps(ctx: &Ctx, args: &mut Args) -> Result<Vec<FieldStep>, Error> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    while !args.is_empty() {
        let behind = args.left() - 1;
        if behind >= 1 && args.word("OVERFLOW") {
            overflow = parse_overflow(args.bytes()?)?;
            continue;
        }
        let action: fn(i64) -> Action = if behind >= 2 && args.word("GET") {
            |_| Action::Get
        } else if behind >= 3 && args.word("SET") {
            Action::Set
        } else if behind >= 3 && args.word("INCRBY") {
            Action::Add
        } else {
            return Err(Error::SYNTAX);
        };
        let field = parse_field(args.bytes()?)?;
        let offset = parse_offset(ctx, args.bytes()?, Some(field.bits))?;
        let number = if matches!(action(0), Action::Get) { 0 } else { args.int()? };
        steps.push(FieldStep { action: action(number), field, offset, overflow });
    }
    Ok(steps)
}

fn parse_overflow(arg: &[u8]) -> Result<Overflow, Error> {
    match arg.to_ascii_lowercase().as_slice() {
        b"wrap" => Ok(Overflow::Wrap),
        b"sat" => Ok(Overflow::Saturate),
        b"fail" => Ok(Overflow::Fail),
        _ => Err(Error::BITFIELD_OVERFLOW),
    }
}

/// Reads the kind of an integer: `i` or `u`, and its bits. Redis reads it up to a NUL.
fn parse_field(arg: &[u8]) -> Result<Field, Error> {
    let text = arg.split(|&byte| byte == 0).next().unwrap_or_default();
    let (signed, digits, max) = match text {
        [b'i', digits @ ..] => (true, digits, 64),
        [b'u', digits @ ..] => (false, digits, 63),
        _ => return Err(Error::BITFIELD_TYPE),
    };
    let bits = num::parse_i64(digits).and_then(|bits| u32::try_from(bits).ok());
    let bits = bits.filter(|bits| (1..=max).contains(bits)).ok_or(Error::BITFIELD_TYPE)?;
    Ok(Field { signed, bits })
}

/// BITFIELD key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>]
/// <SET encoding offset value | INCRBY encoding offset increment> [GET encoding offset |
/// [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>
/// ...]]
fn bitfield(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let steps = parse_steps(ctx, args)?;
    let writes = |step: &&FieldStep| !matches!(step.action, Action::Get);
    let Some(last_bit) = steps.iter().filter(writes).map(FieldStep::last_bit).max() else {
        return read_fields(ctx, key, &steps);
    };
    let results = ctx.db.edit_or_create(key, |value: &mut Str, note| {
        value.change(|bytes| {
            let grown = make_room(bytes, last_bit);
            let (mut results, mut changes) = (Vec::with_capacity(steps.len()), 0);
            for step in &steps {
                let before = step.field.read(bytes, step.offset);
                let (result, after) = run_step(step, before);
                if let Some(after) = after {
                    step.field.write(bytes, step.offset, after);
                    changes += u64::from(grown || before != after);
                }
                results.push(result);
            }
            if changes > 0 {
                note.event(EventClasses::STRING, "setbit");
            }
            // Zeros that nothing was written to in the end are a change, too.
            note.dirty(changes.max(u64::from(grown)));
            results
        })
    })?;
    let out = ctx.reply.parts();
    out.array(results.len());
    for result in results {
        match result {
            Some(number) => out.int(number),
            None => out.null(),
        }
    }
    ctx.reply.done()
}

/// What a subcommand answers, and what it writes, if it does.
fn run_step(step: &FieldStep, before: i64) -> (Option<i64>, Option<i64>) {
    match step.action {
        Action::Get => (Some(before), None),
        Action::Set(number) => {
            let after = step.field.fit(number, step.overflow);
            (after.map(|_| before), after)
        }
        Action::Add(number) => {
            let after = step.field.add(before, number, step.overflow);
            (after, after)
        }
    }
}

/// BITFIELD_RO key [GET encoding offset [GET encoding offset ...]]
fn bitfield_ro(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let steps = parse_steps(ctx, args)?;
    if steps.iter().any(|step| !matches!(step.action, Action::Get)) {
        return Err(Error::BITFIELD_RO);
    }
    read_fields(ctx, key, &steps)
}

/// Answers subcommands that only read.
fn read_fields(ctx: &mut Ctx, key: &[u8], steps: &[FieldStep]) -> Reply {
    let value = ctx.db.get::<Str>(key)?;
    let mut buf = [0; 20];
    let bytes = value.map_or(&[][..], |value| value.bytes(&mut buf));
    let out = ctx.reply.parts();
    out.array(steps.len());
    steps.iter().for_each(|step| out.int(step.field.read(bytes, step.offset)));
    ctx.reply.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_clamped() {
        for ((start, end, in_bits), expected) in [
            ((0, -1, false), 0..24),
            ((1, 1, false), 8..16),
            ((-2, 100, false), 8..24),
            ((2, 1, false), 0..0),
            ((3, 3, false), 0..0),
            ((-9, -8, false), 0..8),
            ((-1, -2, false), 0..0),
            ((i64::MIN, i64::MAX, false), 0..24),
            ((i64::MAX, i64::MIN, true), 0..0),
            ((5, 9, true), 5..10),
            ((-3, -2, true), 21..23),
            ((20, 99, true), 20..24),
        ] {
            assert_eq!(Part { start, end, in_bits }.resolve(3), expected, "{start} {end}");
        }
        assert_eq!(Part { start: 0, end: 0, in_bits: false }.resolve(0), 0..0);
    }

    #[test]
    fn kinds_of_integers() {
        assert_eq!(parse_field(b"i64"), Ok(Field { signed: true, bits: 64 }));
        assert_eq!(parse_field(b"u63"), Ok(Field { signed: false, bits: 63 }));
        assert_eq!(parse_field(b"u1\0x"), Ok(Field { signed: false, bits: 1 }));
        for bad in [&b"u64"[..], b"i65", b"i0", b"u-1", b"i", b"", b"8", b"I8", b"i08", b"i 8"] {
            assert_eq!(parse_field(bad), Err(Error::BITFIELD_TYPE));
        }
    }
}
