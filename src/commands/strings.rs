//! Commands that set and get whole strings.

use std::ptr;
use std::sync::Arc;

use crate::base::num;
use crate::data::Value;
use crate::data::string::Str;
use crate::engine::ctx::push_value;
use crate::engine::spec::access::{ACCESS, DELETE, INSERT, OW, RO, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::store::EventClasses;

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
    Command::new("getdel", getdel)
        .group(Group::String)
        .since("6.2.0")
        .write()
        .fast()
        .arity(2)
        .keys(&[KeySpec::at(1, RW | ACCESS | DELETE)])
        .syntax("key")
        .complexity("O(1)")
        .summary("Returns the string of a key and removes the key."),
    Command::new("getex", getex)
        .group(Group::String)
        .since("6.2.0")
        .write()
        .fast()
        .arity(-2)
        .keys(&[
            KeySpec::at(1, RW | ACCESS | UPDATE).noting("RW and UPDATE because it changes the TTL")
        ])
        .syntax(
            "key [expiration: EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT \
             unix-time-milliseconds | PERSIST]",
        )
        .complexity("O(1)")
        .summary("Returns the string of a key and changes the key's deadline."),
    Command::new("getset", getset)
        .group(Group::String)
        .deprecated("6.2.0", "`SET` with the `!GET` argument")
        .write()
        .deny_oom()
        .fast()
        .arity(3)
        .keys(&[KeySpec::at(1, RW | ACCESS | UPDATE)])
        .syntax("key value")
        .complexity("O(1)")
        .summary("Sets the string of a key and returns the old one."),
    Command::new("mget", mget)
        .group(Group::String)
        .readonly()
        .fast()
        .arity(-2)
        .keys(&[KeySpec::from(1, RO | ACCESS)])
        .syntax("key [key ...]")
        .complexity("O(N) where N is the number of keys")
        .summary("Returns the strings of several keys.")
        .tips(&["request_policy:multi_shard"]),
    Command::new("mset", mset)
        .group(Group::String)
        .since("1.0.1")
        .write()
        .deny_oom()
        .arity(-3)
        .keys(&[KeySpec::every(1, 2, OW | UPDATE)])
        .syntax("<data: key value ...>")
        .complexity("O(N) where N is the number of keys")
        .summary("Sets the strings of several keys at once.")
        .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    Command::new("msetnx", msetnx)
        .group(Group::String)
        .since("1.0.1")
        .write()
        .deny_oom()
        .arity(-3)
        .keys(&[KeySpec::every(1, 2, OW | INSERT)])
        .syntax("<data: key value ...>")
        .complexity("O(N) where N is the number of keys")
        .summary("Sets the strings of several keys at once, if none of them is there."),
    Command::new("psetex", psetex)
        .group(Group::String)
        .since("2.6.0")
        .deprecated("2.6.12", "`SET` with the `PX` argument")
        .write()
        .deny_oom()
        .arity(4)
        .keys(&[KeySpec::at(1, OW | UPDATE)])
        .syntax("key milliseconds value")
        .complexity("O(1)")
        .summary("Sets the string of a key and its time to live in milliseconds."),
    Command::new("set", set)
        .group(Group::String)
        .write()
        .deny_oom()
        .arity(-3)
        .keys(&[KeySpec::at(1, RW | ACCESS | UPDATE)
            .varying(access_of_set)
            .noting("RW and ACCESS due to the optional `GET` argument")])
        .syntax(
            "key value [condition@2.6.12: NX | XX] [GET@6.2.0] [expiration: EX seconds@2.6.12 | \
             PX milliseconds@2.6.12 | EXAT unix-time-seconds@6.2.0 | PXAT \
             unix-time-milliseconds@6.2.0 | KEEPTTL@6.0.0]",
        )
        .complexity("O(1)")
        .history(&[
            ("2.6.12", "The options `EX`, `PX`, `NX`, `XX`."),
            ("6.0.0", "The option `KEEPTTL`."),
            ("6.2.0", "The options `GET`, `EXAT`, `PXAT`."),
            ("7.0.0", "`NX` and `GET` at once."),
        ])
        .summary("Sets the string of a key, whatever the key holds."),
    Command::new("setex", setex)
        .group(Group::String)
        .since("2.0.0")
        .deprecated("2.6.12", "`SET` with the `EX` argument")
        .write()
        .deny_oom()
        .arity(4)
        .keys(&[KeySpec::at(1, OW | UPDATE)])
        .syntax("key seconds value")
        .complexity("O(1)")
        .summary("Sets the string of a key and its time to live in seconds."),
    Command::new("setnx", setnx)
        .group(Group::String)
        .deprecated("2.6.12", "`SET` with the `NX` argument")
        .write()
        .deny_oom()
        .fast()
        .arity(3)
        .keys(&[KeySpec::at(1, OW | INSERT)])
        .syntax("key value")
        .complexity("O(1)")
        .summary("Sets the string of a key that is not there yet."),
];

/// A way to give a deadline.
struct Unit {
    word: &'static str,
    millis: i64,
    /// Counted from now, not from 1970.
    relative: bool,
}

const EX: Unit = Unit { word: "EX", millis: 1000, relative: true };
const PX: Unit = Unit { word: "PX", millis: 1, relative: true };
const EXAT: Unit = Unit { word: "EXAT", millis: 1000, relative: false };
const PXAT: Unit = Unit { word: "PXAT", millis: 1, relative: false };
const UNITS: [&Unit; 4] = [&EX, &PX, &EXAT, &PXAT];

/// A deadline as it was given. GETEX does not look at the number when the key is not there.
struct Time<'a> {
    unit: &'static Unit,
    number: &'a [u8],
}

impl<'a> Time<'a> {
    /// Takes a unit and its number, if they are next. The same unit may come again, where the last
    /// number counts, but no other beside it.
    fn parse(args: &mut Args<'a>, before: Option<&Self>) -> Result<Option<Self>, Error> {
        let Some(unit) = UNITS.into_iter().find(|unit| args.word(unit.word)) else {
            return Ok(None);
        };
        if before.is_some_and(|time| time.unit.word != unit.word) {
            return Err(Error::SYNTAX);
        }
        Ok(Some(Time { unit, number: args.bytes()? }))
    }

    /// The deadline in Unix ms; `command` is named in errors.
    fn deadline(&self, command: &str, now_ms: i64) -> Result<i64, Error> {
        let number = num::parse_i64(self.number).ok_or(Error::NOT_INTEGER)?;
        let start = if self.unit.relative { now_ms } else { 0 };
        Some(number)
            .filter(|&number| number > 0)
            .and_then(|number| number.checked_mul(self.unit.millis))
            .and_then(|millis| millis.checked_add(start))
            .ok_or_else(|| error::invalid_expire(command))
    }
}

/// What a SET does with its key: the old value shows only if the option GET asks for it.
fn access_of_set(argv: &[&[u8]]) -> u32 {
    let gets = argv.iter().skip(3).any(|word| word.eq_ignore_ascii_case(b"get"));
    if gets { RW | ACCESS | UPDATE } else { OW | UPDATE }
}

/// GET key
fn get(ctx: &mut Ctx, args: &mut Args) -> Reply {
    reply_string(ctx, args.key())
}

/// Answers the string of a key.
fn reply_string(ctx: &mut Ctx, key: &[u8]) -> Reply {
    match ctx.db.text(key)? {
        Some(value) => ctx.reply.value(value),
        None => ctx.reply.null(),
    }
}

/// GETDEL key
fn getdel(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let sent = reply_string(ctx, key)?;
    if ctx.db.remove(key) {
        ctx.db.mark_dirty(1);
        ctx.db.event(EventClasses::GENERIC, "del", key);
        log_removal(ctx, key, ctx.settings.lazyfree_lazy_user_del);
    }
    Ok(sent)
}

fn log_removal(ctx: &mut Ctx, key: &[u8], lazy: bool) {
    ctx.effects.replace(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
}

/// What GETEX does to the deadline.
enum NewDeadline<'a> {
    Unchanged,
    None,
    At(Time<'a>),
}

impl<'a> NewDeadline<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, Error> {
        let (mut time, mut persist) = (None, false);
        while !args.is_empty() {
            if args.word("PERSIST") {
                persist = true;
            } else {
                time = Some(Time::parse(args, time.as_ref())?.ok_or(Error::SYNTAX)?);
            }
        }
        match (time, persist) {
            (Some(_), true) => Err(Error::SYNTAX),
            (Some(time), false) => Ok(NewDeadline::At(time)),
            (None, true) => Ok(NewDeadline::None),
            (None, false) => Ok(NewDeadline::Unchanged),
        }
    }
}

/// GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds |
/// PXAT unix-time-milliseconds | PERSIST]
fn getex(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let change = NewDeadline::parse(args)?;
    let Some(value) = ctx.db.text(key)? else { return ctx.reply.null() };
    let sent = ctx.reply.value(value)?;
    match change {
        NewDeadline::Unchanged => {}
        NewDeadline::None => {
            if ctx.db.peek(key).and_then(|entry| entry.expire_at()).is_some() {
                ctx.db.set_expire(key, None);
                ctx.db.mark_dirty(1);
                ctx.db.event(EventClasses::GENERIC, "persist", key);
                ctx.effects.replace(&[b"PERSIST", key]);
            }
        }
        NewDeadline::At(time) => {
            let at = time.deadline("getex", ctx.now_ms)?;
            expire_at(ctx, key, at);
        }
    }
    Ok(sent)
}

/// Sets the deadline of a key that is there. A key whose time is over goes at once, except on a
/// replica, where only the primary removes keys.
fn expire_at(ctx: &mut Ctx, key: &[u8], at: i64) {
    ctx.db.mark_dirty(1);
    if at <= ctx.now_ms && !ctx.server.replication.is_replica() {
        ctx.db.remove(key);
        ctx.db.event(EventClasses::GENERIC, "del", key);
        return log_removal(ctx, key, ctx.settings.lazyfree_lazy_expire);
    }
    ctx.db.set_expire(key, Some(at));
    ctx.db.event(EventClasses::GENERIC, "expire", key);
    ctx.effects.replace(&[b"PEXPIREAT", key, num::i64_bytes(at, &mut [0; 20])]);
}

/// GETSET key value
fn getset(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, value) = (args.key(), args.bytes()?);
    let sent = reply_string(ctx, key)?;
    store(ctx, key, value);
    ctx.effects.replace(&[b"SET", key, value]);
    Ok(sent)
}

/// Stores a string; a large one that stands alone is not copied.
fn put(ctx: &mut Ctx, key: &[u8], value: &[u8], expire_at: Option<i64>) {
    match &ctx.session.large {
        Some(large) if ptr::eq(&large.bytes[..], value) => {
            let value = Value::String(Str::shared(Arc::clone(&large.bytes)));
            ctx.db.set(key, value, expire_at);
        }
        _ => ctx.db.set_text(key, value, expire_at),
    }
}

/// Sets the string of a key without a deadline.
fn store(ctx: &mut Ctx, key: &[u8], value: &[u8]) {
    put(ctx, key, value, None);
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::STRING, "set", key);
}

/// Sets the string of a key with a deadline.
fn put_until(ctx: &mut Ctx, key: &[u8], value: &[u8], at: i64) {
    put(ctx, key, value, Some(at));
    ctx.db.mark_dirty(1);
    ctx.db.event(EventClasses::STRING, "set", key);
    ctx.db.event(EventClasses::GENERIC, "expire", key);
}

/// Likewise; replicas get the deadline as a moment.
fn store_until(ctx: &mut Ctx, key: &[u8], value: &[u8], at: i64) {
    put_until(ctx, key, value, at);
    ctx.effects.replace(&[b"SET", key, value, b"PXAT", num::i64_bytes(at, &mut [0; 20])]);
}

/// MGET key [key ...]
fn mget(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let keys = args.take_rest();
    ctx.reply.parts().array(keys.len());
    for key in keys {
        // A key of another type is none here.
        match ctx.db.text(key) {
            Ok(Some(value)) => push_value(ctx.reply.parts(), value),
            _ => ctx.reply.parts().null(),
        }
    }
    ctx.reply.done()
}

/// MSET key value [key value ...]
fn mset(ctx: &mut Ctx, args: &mut Args) -> Reply {
    for [key, value] in pairs(args, "mset")? {
        store(ctx, key, value);
    }
    ctx.reply.ok()
}

/// MSETNX key value [key value ...]
fn msetnx(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let pairs = pairs(args, "msetnx")?;
    if pairs.iter().any(|[key, _]| ctx.db.look_for_write(key).is_some()) {
        return ctx.reply.flag(false);
    }
    for [key, value] in pairs {
        store(ctx, key, value);
    }
    ctx.reply.flag(true)
}

fn pairs<'a>(args: &mut Args<'a>, command: &str) -> Result<&'a [[&'a [u8]; 2]], Error> {
    match args.take_rest().as_chunks() {
        (pairs, []) => Ok(pairs),
        _ => Err(error::wrong_args(command)),
    }
}

/// What SET may be told.
#[derive(Default)]
struct SetOptions<'a> {
    /// NX or XX: whether the key must be there.
    needs: Option<bool>,
    get: bool,
    keep_ttl: bool,
    time: Option<Time<'a>>,
}

impl<'a> SetOptions<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, Error> {
        let mut options = SetOptions::default();
        let (mut nx, mut xx) = (false, false);
        while !args.is_empty() {
            if args.word("NX") {
                nx = true;
            } else if args.word("XX") {
                xx = true;
            } else if args.word("GET") {
                options.get = true;
            } else if args.word("KEEPTTL") {
                options.keep_ttl = true;
            } else {
                let time = Time::parse(args, options.time.as_ref())?;
                options.time = Some(time.ok_or(Error::SYNTAX)?);
            }
        }
        if (nx && xx) || (options.keep_ttl && options.time.is_some()) {
            return Err(Error::SYNTAX);
        }
        options.needs = (nx || xx).then_some(xx);
        Ok(options)
    }
}

/// SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds |
/// PXAT unix-time-milliseconds | KEEPTTL]
fn set(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, value) = (args.key(), args.bytes()?);
    let options = SetOptions::parse(args)?;
    let at = options.time.as_ref().map(|time| time.deadline("set", ctx.now_ms)).transpose()?;
    let old = if options.get { Some(reply_string(ctx, key)?) } else { None };
    if options.needs.is_some_and(|there| ctx.db.exists(key) != there) {
        return old.map_or_else(|| ctx.reply.null(), Ok);
    }
    match at {
        // What says a moment goes to replicas as it is, in Redis with all its options.
        Some(at) if options.time.as_ref().is_some_and(|time| time.unit.word == PXAT.word) => {
            put_until(ctx, key, value, at);
        }
        Some(at) => store_until(ctx, key, value, at),
        None if options.keep_ttl => {
            let kept = ctx.db.peek(key).and_then(|entry| entry.expire_at());
            put(ctx, key, value, kept);
            ctx.db.mark_dirty(1);
            ctx.db.event(EventClasses::STRING, "set", key);
        }
        None => store(ctx, key, value),
    }
    match old {
        Some(sent) => {
            if at.is_none() {
                log_without_get(ctx, args.argv());
            }
            Ok(sent)
        }
        None => ctx.reply.ok(),
    }
}

/// Replicas need not read what the client wanted to know.
fn log_without_get(ctx: &mut Ctx, argv: &[&[u8]]) {
    let (head, options) = argv.split_at(3);
    let kept = options.iter().filter(|option| !option.eq_ignore_ascii_case(b"GET"));
    ctx.effects.replace(&head.iter().chain(kept).copied().collect::<Vec<_>>());
}

/// SETEX key seconds value
fn setex(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_with_time(ctx, args, "setex", &EX)
}

/// PSETEX key milliseconds value
fn psetex(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_with_time(ctx, args, "psetex", &PX)
}

fn set_with_time(ctx: &mut Ctx, args: &mut Args, command: &str, unit: &'static Unit) -> Reply {
    let (key, number, value) = (args.key(), args.bytes()?, args.bytes()?);
    let at = Time { unit, number }.deadline(command, ctx.now_ms)?;
    store_until(ctx, key, value, at);
    ctx.reply.ok()
}

/// SETNX key value
fn setnx(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, value) = (args.key(), args.bytes()?);
    let absent = !ctx.db.exists(key);
    if absent {
        store(ctx, key, value);
    }
    ctx.reply.flag(absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines() {
        let at = |unit, number| Time { unit, number }.deadline("set", 5_000);
        assert_eq!(at(&EX, b"2").unwrap(), 7_000);
        assert_eq!(at(&PXAT, b"2").unwrap(), 2);
        assert_eq!(at(&PXAT, b"9223372036854775807").unwrap(), i64::MAX);
        for (unit, number) in [
            (&PX, &b"9223372036854775807"[..]),
            (&EXAT, b"9223372036854776"),
            (&EX, b"9223372036854775"),
            (&EX, b"0"),
            (&EX, b"-9223372036854775808"),
        ] {
            assert_eq!(at(unit, number), Err(error::invalid_expire("set")));
        }
        assert_eq!(at(&EX, b"+1"), Err(Error::NOT_INTEGER));
    }
}
