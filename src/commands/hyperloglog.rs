//! Approximate counts of different elements.

use crate::data::hyperloglog::{self as hll, Corrupt, Registers};
use crate::data::{Str, Value};
use crate::engine::spec::access::{ACCESS, INSERT, RO, RW};
use crate::engine::spec::flag::{ADMIN, MAY_REPLICATE, SYSTEM};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::store::events::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    about_count("pfadd", pfadd)
        .write()
        .deny_oom()
        .fast()
        .arity(-2)
        .keys(&[KeySpec::at(1, RW | INSERT)])
        .syntax("key [element [element ...]]")
        .complexity("O(1) to add every element.")
        .summary("Adds elements to a HyperLogLog."),
    about_count("pfcount", pfcount)
        .readonly()
        .flags(MAY_REPLICATE)
        .arity(-2)
        .keys(&[KeySpec::from(1, RW | ACCESS).noting(
            "RW because it may change the internal representation of the key, and propagate to \
             replicas",
        )])
        .syntax("key [key ...]")
        .complexity(
            "O(1) with a very small average constant time when called with a single key. O(N) \
             with N being the number of keys, and much bigger constant times, when called with \
             multiple keys.",
        )
        .summary("Estimates how many different elements HyperLogLogs have seen together."),
    about_count("pfdebug", pfdebug)
        .write()
        .deny_oom()
        .flags(ADMIN | SYSTEM)
        .arity(3)
        .keys(&[KeySpec::at(2, RW | ACCESS)])
        .syntax("subcommand key")
        .complexity("N/A")
        .summary("Shows and changes how a HyperLogLog is stored."),
    about_count("pfmerge", pfmerge)
        .write()
        .deny_oom()
        .arity(-2)
        .keys(&[KeySpec::at(1, RW | ACCESS | INSERT), KeySpec::from(2, RO | ACCESS)])
        .syntax("destkey [sourcekey [sourcekey ...]]")
        .complexity("O(N) to merge N HyperLogLogs, but with high constant times.")
        .summary("Merges HyperLogLogs into one."),
    about_count("pfselftest", pfselftest)
        .flags(ADMIN | SYSTEM)
        .arity(1)
        .complexity("N/A")
        .summary("Tries out that HyperLogLogs count as they should."),
];

const fn about_count(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler).group(Group::Hyperloglog).since("2.8.9")
}

impl From<Corrupt> for Error {
    fn from(_: Corrupt) -> Self {
        Error::HLL_CORRUPT
    }
}

/// The bytes of a HyperLogLog in a string; an integer is none.
fn bytes_of<'a>(value: &'a Str, buf: &'a mut [u8; 20]) -> Result<&'a [u8], Error> {
    let bytes = value.bytes(buf);
    if hll::is_one(bytes) { Ok(bytes) } else { Err(Error::NOT_HLL) }
}

/// PFADD key [element [element ...]]
fn pfadd(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, elements) = (args.key(), args.take_rest());
    let sparse_max = ctx.settings.hll_sparse_max_bytes;
    let created = !ctx.db.exists(key);
    if created {
        ctx.db.set(key, Value::String(Str::raw(hll::empty())), None);
    }
    let changed = ctx.db.edit(key, |value: &mut Str, note| {
        bytes_of(value, &mut [0; 20])?;
        let mut updates = u64::from(created);
        let result = value.change(|bytes| {
            for element in elements {
                updates += u64::from(hll::add(bytes, element, sparse_max)?);
            }
            if updates > 0 {
                hll::forget_cached(bytes);
            }
            Ok::<_, Error>(updates > 0)
        });
        if updates > 0 {
            note.event(EventClasses::STRING, "pfadd");
            note.dirty(updates);
        }
        result
    });
    ctx.reply.flag(changed?.unwrap_or(Ok(false))?)
}

/// PFCOUNT key [key ...]
fn pfcount(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let keys = args.take_rest();
    let [key] = keys else { return count_union(ctx, keys) };
    let Some(value) = ctx.db.get::<Str>(key)? else { return ctx.reply.int(0) };
    let mut buf = [0; 20];
    let bytes = bytes_of(value, &mut buf)?;
    if let Some(count) = hll::cached(bytes) {
        return ctx.reply.int(count as i64);
    }
    let count = hll::count(bytes)?;
    // The estimate is kept for the next time, which replicas do as well.
    ctx.db.edit(key, |value: &mut Str, note| {
        value.change(|bytes| hll::set_cached(bytes, count));
        note.dirty(1);
    })?;
    ctx.reply.int(count as i64)
}

/// Answers how many different elements several HyperLogLogs have seen together.
fn count_union(ctx: &mut Ctx, keys: &[&[u8]]) -> Reply {
    let mut registers = Registers::default();
    for key in keys {
        if let Some(value) = ctx.db.get::<Str>(key)? {
            registers.merge(bytes_of(value, &mut [0; 20])?)?;
        }
    }
    ctx.reply.int(registers.estimate() as i64)
}

/// PFMERGE destkey [sourcekey [sourcekey ...]]
fn pfmerge(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let keys = args.take_rest();
    let sparse_max = ctx.settings.hll_sparse_max_bytes;
    let (mut registers, mut dense) = (Registers::default(), false);
    for key in keys {
        if let Some(value) = ctx.db.get::<Str>(key)? {
            let mut buf = [0; 20];
            let bytes = bytes_of(value, &mut buf)?;
            dense |= hll::is_dense(bytes);
            registers.merge(bytes)?;
        }
    }
    let target = keys[0];
    let store = |bytes: &mut Vec<u8>| {
        if dense {
            hll::to_dense(bytes)?;
        }
        registers.store(bytes, sparse_max)
    };
    if !ctx.db.exists(target) {
        ctx.db.set(target, Value::String(Str::raw(hll::empty())), None);
    }
    let stored = ctx.db.edit(target, |value: &mut Str, note| {
        note.event(EventClasses::STRING, "pfadd");
        note.dirty(1);
        value.change(store)
    })?;
    stored.unwrap_or(Ok(()))?;
    ctx.reply.ok()
}

/// PFDEBUG <GETREG | DECODE | ENCODING | TODENSE> key
fn pfdebug(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (name, key) = (args.bytes()?, args.key());
    let Some(value) = ctx.db.peek_as::<Str>(key)? else { return Err(Error::HLL_NO_KEY) };
    let mut buf = [0; 20];
    let bytes = bytes_of(value, &mut buf)?;
    match name.to_ascii_lowercase().as_slice() {
        b"getreg" => {
            let mut registers = Registers::default();
            registers.merge(bytes)?;
            make_dense(ctx, key)?;
            let out = ctx.reply.parts();
            out.array(hll::REGISTERS);
            registers.values().iter().for_each(|value| out.int(i64::from(*value)));
            ctx.reply.done()
        }
        b"decode" if hll::is_dense(bytes) => Err(Error::HLL_NOT_SPARSE),
        b"decode" => ctx.reply.bulk(decoded(bytes).as_bytes()),
        b"encoding" => ctx.reply.simple(if hll::is_dense(bytes) { "dense" } else { "sparse" }),
        b"todense" => {
            let converted = make_dense(ctx, key)?;
            ctx.reply.flag(converted)
        }
        _ => Err(Error::quoting("ERR Unknown PFDEBUG subcommand '", name, "'")),
    }
}

/// Makes a HyperLogLog dense; whether it was sparse.
fn make_dense(ctx: &mut Ctx, key: &[u8]) -> Result<bool, Error> {
    let converted = ctx.db.edit(key, |value: &mut Str, note| {
        let converted = value.change(hll::to_dense)?;
        note.dirty(u64::from(converted));
        Ok::<_, Error>(converted)
    })?;
    converted.unwrap_or(Ok(false))
}

/// The runs of a sparse HyperLogLog in words: `Z:` and `z:` for zeros, `v:` for another value.
fn decoded(bytes: &[u8]) -> String {
    let words: Vec<String> = hll::runs(bytes)
        .map(|run| match run.value {
            0 if run.is_long() => format!("Z:{}", run.len),
            0 => format!("z:{}", run.len),
            value => format!("v:{value},{}", run.len),
        })
        .collect();
    words.join(" ")
}

/// PFSELFTEST
fn pfselftest(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    match hll::self_test(ctx.settings.hll_sparse_max_bytes) {
        Ok(()) => ctx.reply.ok(),
        Err(what) => Err(Error::owned(format!("ERR TESTFAILED {what}").into_bytes())),
    }
}
