//! Deadlines of hash fields, as Redis 7.4 has them: HEXPIRE, HTTL, HEXPIRETIME and their variants,
//! HPERSIST.

use crate::base::num;
use crate::data::Hash;
use crate::data::hash::Field;
use crate::engine::spec::access::{ACCESS, RO, RW, UPDATE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::store::EventClasses;

/// The latest deadline that can be given, in Unix ms: Redis keeps them in 48 bits and two to spare.
const LATEST_MS: i64 = (1 << 46) - 1;

const CHANGED: &[KeySpec] = &[KeySpec::at(1, RW | UPDATE)];
const SHOWN: &[KeySpec] = &[KeySpec::at(1, RO | ACCESS)];

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    setter("hexpire", hexpire)
        .syntax(
            "key seconds [condition: NX | XX | GT | LT] <fields: FIELDS numfields field [field \
             ...]>",
        )
        .summary("Sets the deadlines of a hash's fields so many seconds from now."),
    setter("hpexpire", hpexpire)
        .syntax(
            "key milliseconds [condition: NX | XX | GT | LT] <fields: FIELDS numfields field \
             [field ...]>",
        )
        .summary("Sets the deadlines of a hash's fields so many milliseconds from now."),
    setter("hexpireat", hexpireat)
        .syntax(
            "key unix-time-seconds [condition: NX | XX | GT | LT] <fields: FIELDS numfields field \
             [field ...]>",
        )
        .summary("Sets the deadlines of a hash's fields to a Unix time in seconds."),
    setter("hpexpireat", hpexpireat)
        .syntax(
            "key unix-time-milliseconds [condition: NX | XX | GT | LT] <fields: FIELDS numfields \
             field [field ...]>",
        )
        .summary("Sets the deadlines of a hash's fields to a Unix time in milliseconds."),
    getter("httl", httl)
        .summary("Tells how many seconds a hash's fields have left.")
        .tips(&["nondeterministic_output"]),
    getter("hpttl", hpttl)
        .summary("Tells how many milliseconds a hash's fields have left.")
        .tips(&["nondeterministic_output"]),
    getter("hexpiretime", hexpiretime)
        .summary("Tells the deadlines of a hash's fields as Unix times in seconds."),
    getter("hpexpiretime", hpexpiretime)
        .summary("Tells the deadlines of a hash's fields as Unix times in milliseconds."),
    Command::new("hpersist", hpersist)
        .group(Group::Hash)
        .since("7.4.0")
        .write()
        .fast()
        .arity(-5)
        .keys(CHANGED)
        .syntax("key FIELDS numfields field [field ...]")
        .complexity("O(N) where N is the number of specified fields")
        .summary("Removes the deadlines of a hash's fields."),
];

/// A command that sets deadlines.
const fn setter(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler)
        .group(Group::Hash)
        .since("7.4.0")
        .write()
        .deny_oom()
        .fast()
        .arity(-6)
        .keys(CHANGED)
        .complexity("O(N) where N is the number of specified fields")
}

/// A command that tells deadlines.
const fn getter(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler)
        .group(Group::Hash)
        .since("7.4.0")
        .readonly()
        .fast()
        .arity(-5)
        .keys(SHOWN)
        .syntax("key FIELDS numfields field [field ...]")
        .complexity("O(N) where N is the number of specified fields")
}

/// Answers for one field.
mod answer {
    /// There is no such field, or no such key.
    pub const NO_FIELD: i64 = -2;
    /// The field has no deadline.
    pub const NO_DEADLINE: i64 = -1;
    /// The condition was not met.
    pub const REFUSED: i64 = 0;
    /// It is done.
    pub const DONE: i64 = 1;
    /// The field was removed, because its time is over.
    pub const REMOVED: i64 = 2;
}

/// Under which condition a deadline is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    /// NX: there is none yet.
    New,
    /// XX: there is one.
    Existing,
    /// GT: the new one is later. No deadline counts as later than any.
    Later,
    /// LT: the new one is earlier.
    Earlier,
}

impl Condition {
    fn parse(args: &mut Args) -> Condition {
        let words = [
            ("NX", Condition::New),
            ("XX", Condition::Existing),
            ("GT", Condition::Later),
            ("LT", Condition::Earlier),
        ];
        let given = words.into_iter().find(|(word, _)| args.word(word));
        given.map_or(Condition::Always, |(_, condition)| condition)
    }

    /// Whether a deadline may be replaced by a new one.
    fn allows(self, old: Option<i64>, new: i64) -> bool {
        match (self, old) {
            (Condition::Always, _) => true,
            (Condition::New, old) => old.is_none(),
            (Condition::Existing, old) => old.is_some(),
            (Condition::Later, old) => old.is_some_and(|old| new > old),
            (Condition::Earlier, old) => old.is_none_or(|old| new < old),
        }
    }
}

/// Takes `FIELDS numfields field ...`, the end of all these commands.
fn parse_fields<'a>(args: &mut Args<'a>, not_positive: Error) -> Result<&'a [&'a [u8]], Error> {
    if !args.word("FIELDS") {
        return Err(Error::NO_FIELDS_WORD);
    }
    let count = args.int_or(not_positive.clone())?;
    if count < 1 {
        return Err(not_positive);
    }
    let names = args.take_rest();
    if usize::try_from(count) != Ok(names.len()) {
        return Err(Error::NUMFIELDS_MISMATCH);
    }
    Ok(names)
}

/// Answers one number for each field.
fn reply_each(ctx: &mut Ctx, answers: impl ExactSizeIterator<Item = i64>) -> Reply {
    let out = ctx.reply.parts();
    out.array(answers.len());
    answers.for_each(|answer| out.int(answer));
    ctx.reply.done()
}

/// HEXPIRE key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hexpire(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_deadlines(ctx, args, "hexpire", 1000, ctx.now_ms)
}

/// HPEXPIRE key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hpexpire(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_deadlines(ctx, args, "hpexpire", 1, ctx.now_ms)
}

/// HEXPIREAT key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hexpireat(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_deadlines(ctx, args, "hexpireat", 1000, 0)
}

/// HPEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]
fn hpexpireat(ctx: &mut Ctx, args: &mut Args) -> Reply {
    set_deadlines(ctx, args, "hpexpireat", 1, 0)
}

/// The deadline `time * unit_ms + base_ms` in Unix ms.
fn parse_deadline(
    args: &mut Args,
    command: &str,
    unit_ms: i64,
    base_ms: i64,
) -> Result<i64, Error> {
    let time = args.int()?;
    if time < 0 {
        return Err(Error::EXPIRE_NEGATIVE);
    }
    time.checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms))
        .filter(|&deadline| deadline <= LATEST_MS)
        .ok_or_else(|| error::invalid_expire(command))
}

/// Sets the deadlines of fields, or removes fields whose time is over.
fn set_deadlines(
    ctx: &mut Ctx,
    args: &mut Args,
    command: &str,
    unit_ms: i64,
    base_ms: i64,
) -> Reply {
    let key = args.key();
    // Redis looks at the key before it looks at the rest.
    ctx.db.peek_as::<Hash>(key)?;
    let deadline = parse_deadline(args, command, unit_ms, base_ms)?;
    let condition_at = args.argv().len() - args.left();
    let condition = Condition::parse(args);
    let names = parse_fields(args, Error::NUMFIELDS_NOT_POSITIVE)?;
    ctx.db.expire_named(key, names);
    let past = ctx.is_past(deadline);
    let answers = ctx.db.edit(key, |hash: &mut Hash, note| {
        // Redis does so even if no field gets a deadline, and OBJECT ENCODING shows it.
        hash.make_timed();
        let set = |name: &&[u8]| set_deadline(hash, name, deadline, condition, past);
        let answers: Vec<i64> = names.iter().map(set).collect();
        let changed = answers.iter().filter(|&&answer| answer > answer::REFUSED).count();
        if changed > 0 {
            note.event(EventClasses::HASH, if past { "hdel" } else { "hexpire" });
            note.dirty(changed as u64);
        }
        answers
    })?;
    let Some(answers) = answers else {
        return reply_each(ctx, names.iter().map(|_| answer::NO_FIELD));
    };
    let changed: Vec<&[u8]> = names
        .iter()
        .zip(&answers)
        .filter(|&(_, &answer)| answer > answer::REFUSED)
        .map(|(name, _)| *name)
        .collect();
    if past {
        log_removals(ctx, key, &changed);
    } else {
        let condition: &[&[u8]] = match condition {
            Condition::Always => &[],
            _ => &args.argv()[condition_at..=condition_at],
        };
        log_deadline(ctx, key, deadline, condition, &changed);
    }
    reply_each(ctx, answers.into_iter())
}

fn set_deadline(
    hash: &mut Hash,
    name: &[u8],
    deadline: i64,
    condition: Condition,
    past: bool,
) -> i64 {
    let Some(field) = hash.get(name) else { return answer::NO_FIELD };
    if !condition.allows(field.deadline, deadline) {
        return answer::REFUSED;
    }
    if past {
        hash.remove(name);
        return answer::REMOVED;
    }
    // The time 0 is none in the form of a small hash; both are long past.
    hash.set_deadline(name, Some(deadline.max(1)));
    answer::DONE
}

/// Fields that are removed at once go to the log one by one, as those that expire later.
fn log_removals(ctx: &mut Ctx, key: &[u8], names: &[&[u8]]) {
    if names.is_empty() {
        return;
    }
    let removal = |name: &&[u8]| vec![b"HDEL".to_vec(), key.to_vec(), name.to_vec()];
    ctx.effects.replace_all(names.iter().map(removal).collect());
}

/// Replicas get the moment, and only the fields that it was set for.
fn log_deadline(ctx: &mut Ctx, key: &[u8], deadline: i64, condition: &[&[u8]], names: &[&[u8]]) {
    if names.is_empty() {
        return;
    }
    let (mut at, mut count) = ([0; 20], [0; 20]);
    let mut command: Vec<&[u8]> = vec![b"HPEXPIREAT", key, num::i64_bytes(deadline, &mut at)];
    command.extend_from_slice(condition);
    command.push(b"FIELDS");
    command.push(num::i64_bytes(names.len() as i64, &mut count));
    command.extend_from_slice(names);
    ctx.effects.replace(&command);
}

/// HTTL key FIELDS numfields field [field ...]
fn httl(ctx: &mut Ctx, args: &mut Args) -> Reply {
    tell(ctx, args, |deadline, now| in_seconds(deadline - now))
}

/// HPTTL key FIELDS numfields field [field ...]
fn hpttl(ctx: &mut Ctx, args: &mut Args) -> Reply {
    tell(ctx, args, |deadline, now| deadline - now)
}

/// HEXPIRETIME key FIELDS numfields field [field ...]
fn hexpiretime(ctx: &mut Ctx, args: &mut Args) -> Reply {
    tell(ctx, args, |deadline, _| in_seconds(deadline))
}

/// HPEXPIRETIME key FIELDS numfields field [field ...]
fn hpexpiretime(ctx: &mut Ctx, args: &mut Args) -> Reply {
    tell(ctx, args, |deadline, _| deadline)
}

/// Rounds up, unlike the times of keys.
fn in_seconds(ms: i64) -> i64 {
    (ms + 999) / 1000
}

/// Answers what `form` makes of each field's deadline and the present time.
fn tell(ctx: &mut Ctx, args: &mut Args, form: fn(i64, i64) -> i64) -> Reply {
    let (key, now_ms, horizon) = (args.key(), ctx.now_ms, ctx.db.horizon());
    let hash: Option<&Hash> = ctx.db.get(key)?;
    let names = parse_fields(args, Error::FIELDS_NOT_POSITIVE)?;
    let live = |name: &[u8]| hash?.get(name).filter(|field: &Field| !field.is_due(horizon));
    let answers: Vec<i64> = names
        .iter()
        .map(|name| match live(name).map(|field| field.deadline) {
            None => answer::NO_FIELD,
            Some(None) => answer::NO_DEADLINE,
            Some(Some(deadline)) => form(deadline, now_ms),
        })
        .collect();
    reply_each(ctx, answers.into_iter())
}

/// HPERSIST key FIELDS numfields field [field ...]
fn hpersist(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    ctx.db.peek_as::<Hash>(key)?;
    let names = parse_fields(args, Error::FIELDS_NOT_POSITIVE)?;
    ctx.db.expire_named(key, names);
    let answers = ctx.db.edit(key, |hash: &mut Hash, note| {
        let answers: Vec<i64> = names.iter().map(|name| persist(hash, name)).collect();
        if answers.contains(&answer::DONE) {
            note.event(EventClasses::HASH, "hpersist");
            note.dirty(1);
        }
        answers
    })?;
    match answers {
        Some(answers) => reply_each(ctx, answers.into_iter()),
        None => reply_each(ctx, names.iter().map(|_| answer::NO_FIELD)),
    }
}

fn persist(hash: &mut Hash, name: &[u8]) -> i64 {
    match hash.get(name).map(|field| field.deadline) {
        None => answer::NO_FIELD,
        Some(None) => answer::NO_DEADLINE,
        Some(Some(_)) => {
            hash.set_deadline(name, None);
            answer::DONE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let allowed = |condition: Condition| {
            [None, Some(9), Some(10), Some(11)].map(|old| condition.allows(old, 10))
        };
        assert_eq!(allowed(Condition::Always), [true; 4]);
        assert_eq!(allowed(Condition::New), [true, false, false, false]);
        assert_eq!(allowed(Condition::Existing), [false, true, true, true]);
        assert_eq!(allowed(Condition::Later), [false, true, false, false]);
        assert_eq!(allowed(Condition::Earlier), [true, false, false, true]);
    }

    fn deadline(text: &[u8], unit_ms: i64, base_ms: i64) -> Option<i64> {
        let argv = [text];
        parse_deadline(&mut Args::new(&argv, 0), "hexpire", unit_ms, base_ms).ok()
    }

    #[test]
    fn deadlines_are_bounded() {
        assert_eq!(deadline(b"2", 1000, 5), Some(2005));
        assert_eq!(deadline(b"70368744177663", 1, 0), Some(LATEST_MS));
        assert_eq!(deadline(b"70368744177664", 1, 0), None);
        assert_eq!(deadline(b"70368744177663", 1, 1), None);
        assert_eq!(deadline(b"9223372036854775807", 1000, 0), None);
        assert_eq!(deadline(b"-1", 1, 0), None);
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!([0, 1, 1000, 1001].map(in_seconds), [0, 1, 1, 2]);
    }
}
