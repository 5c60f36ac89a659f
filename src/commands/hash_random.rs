//! HRANDFIELD: random fields of a hash.

use std::collections::HashSet;
use std::ops::Range;

use crate::base::num;
use crate::base::rng::Rng;
use crate::data::Hash;
use crate::data::hash::Field;
use crate::data::listpack::Item;
use crate::engine::ctx::push_item;
use crate::engine::pieces::Pieces;
use crate::engine::spec::access::{ACCESS, RO};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::resp::out::Out;

/// Different fields are drawn one by one when there are this many times more; else they are what is
/// left of all when others are taken away.
const SPARSE: usize = 3;

/// Draws for one field, as many of them may meet one that has expired or was drawn before.
const MOST_TRIES: usize = 100;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::new("hrandfield", hrandfield)
    .group(Group::Hash)
    .since("6.2.0")
    .readonly()
    .arity(-2)
    .keys(&[KeySpec::at(1, RO | ACCESS)])
    .syntax("key [options: count [WITHVALUES]]")
    .complexity("O(N) where N is the number of fields returned")
    .summary("Returns random fields of a hash.")
    .tips(&["nondeterministic_output"])];

/// What is asked for.
struct Wanted {
    count: u64,
    /// The same field may come again.
    repeated: bool,
    values: bool,
}

impl Wanted {
    fn parse(args: &mut Args) -> Result<Self, Error> {
        let count = num::parse_i64(args.bytes()?).ok_or(Error::NOT_INTEGER)?;
        if count == i64::MIN {
            return Err(error::out_of_bounds(-i64::MAX, i64::MAX));
        }
        let values = args.word("withvalues");
        args.end()?;
        let size = count.unsigned_abs();
        if values && size > i64::MAX as u64 / 2 {
            return Err(Error::RANGE);
        }
        Ok(Wanted { count: size, repeated: count < 0, values })
    }

    /// How many different fields are drawn.
    fn part(&self, hash: &Hash) -> Range<usize> {
        0..usize::try_from(self.count).unwrap_or(usize::MAX).min(hash.len())
    }
}

/// HRANDFIELD key [count [WITHVALUES]]
fn hrandfield(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (key, horizon) = (args.key(), ctx.db.horizon());
    let mut rng = Rng::from_os();
    let wanted = if args.is_empty() { None } else { Some(Wanted::parse(args)?) };
    ctx.db.expire_some(key);
    let Some(wanted) = wanted else {
        let hash: Option<&Hash> = ctx.db.get(key)?;
        match hash.and_then(|hash| random(hash, horizon, &mut rng)) {
            Some(field) => push_item(ctx.reply.parts(), field.name),
            None => ctx.reply.parts().null(),
        }
        return ctx.reply.done();
    };
    if wanted.repeated {
        let write = |hash: &Hash, pieces: &mut Pieces| {
            draw(pieces, hash, &wanted, horizon, &mut rng);
        };
        return ctx.reply_in_pieces(key, wanted.count, |out| out.array(0), write);
    }
    ctx.reply_about(
        key,
        |hash| wanted.part(hash),
        |found, reply| {
            let out = reply.parts();
            match found {
                Some((hash, _)) => {
                    let fields = choose(hash, wanted.count, horizon, &mut rng);
                    header(out, fields.len(), wanted.values);
                    fields.into_iter().for_each(|field| push(out, field, wanted.values));
                }
                None => out.array(0),
            }
            reply.done()
        },
    )
}

/// A random field that has not expired.
fn random<'a>(hash: &'a Hash, horizon: i64, rng: &mut Rng) -> Option<Field<'a>> {
    let mut draws = std::iter::from_fn(|| hash.random(&mut || rng.next_u64())).take(MOST_TRIES);
    draws.find(|field| !field.is_due(horizon)).or_else(|| live_fields(hash, horizon).next())
}

fn live_fields(hash: &Hash, horizon: i64) -> impl Iterator<Item = Field<'_>> {
    hash.fields().filter(move |field| !field.is_due(horizon))
}

/// Answers random fields that may repeat.
fn draw(pieces: &mut Pieces, hash: &Hash, wanted: &Wanted, horizon: i64, rng: &mut Rng) {
    // The fields of a small hash are found only by walking through it.
    let small: Vec<Field> =
        if hash.is_packed() { live_fields(hash, horizon).collect() } else { Vec::new() };
    let mut next = || match small.len() as u64 {
        0 => random(hash, horizon, rng),
        len => small.get((rng.next_u64() % len) as usize).copied(),
    };
    let Some(first) = next() else { return pieces.out().array(0) };
    header(pieces.out(), wanted.count as usize, wanted.values);
    push(pieces.out(), first, wanted.values);
    for _ in 1..wanted.count {
        if !pieces.go_on() {
            return;
        }
        push(pieces.out(), next().unwrap_or(first), wanted.values);
    }
}

/// Different random fields, as many as asked for or all.
fn choose<'a>(hash: &'a Hash, count: u64, horizon: i64, rng: &mut Rng) -> Vec<Field<'a>> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if hash.is_packed() || count.saturating_mul(SPARSE) > hash.len() {
        let mut fields: Vec<Field> = live_fields(hash, horizon).collect();
        while fields.len() > count {
            let index = (rng.next_u64() % fields.len() as u64) as usize;
            fields.swap_remove(index);
        }
        return fields;
    }
    let mut known = HashSet::with_capacity(count);
    std::iter::from_fn(|| hash.random(&mut || rng.next_u64()))
        .take(count.saturating_mul(MOST_TRIES))
        .filter(|field| !field.is_due(horizon))
        .filter(|field| matches!(field.name, Item::Bytes(name) if known.insert(name)))
        .take(count)
        .collect()
}

/// RESP3 has each field and its value in an array of their own.
fn header(out: &mut Out, fields: usize, values: bool) {
    out.array(if values && out.proto() == 2 { 2 * fields } else { fields });
}

fn push(out: &mut Out, field: Field, values: bool) {
    if values && out.proto() == 3 {
        out.array(2);
    }
    push_item(out, field.name);
    if values {
        push_item(out, field.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Limits;
    use crate::data::hash::Deadline;

    /// Fields `0` and up; every third has expired at the time 10.
    fn hash(fields: usize) -> Hash {
        let mut hash = Hash::default();
        for number in 0..fields {
            let name = number.to_string();
            hash.set(name.as_bytes(), b"v", Deadline::Clear, &Limits::default());
            if number % 3 == 0 {
                hash.set_deadline(name.as_bytes(), Some(9));
            }
        }
        hash
    }

    #[test]
    fn chosen_fields_differ_and_live() {
        let mut rng = Rng::seeded(2);
        for fields in [30, 900] {
            let hash = hash(fields);
            let live = fields / 3 * 2;
            for count in [0, 1, 2, fields / 4, fields / 2, live, fields, 10 * fields] {
                let chosen = choose(&hash, count as u64, 10, &mut rng);
                let names: HashSet<_> = chosen.iter().map(|field| field.name.to_vec()).collect();
                assert_eq!((chosen.len(), names.len()), (count.min(live), count.min(live)));
                assert!(chosen.iter().all(|field| field.deadline.is_none()));
            }
            assert_eq!(choose(&hash, u64::MAX, 9, &mut rng).len(), fields);
            assert!((0..50).all(|_| random(&hash, 10, &mut rng).unwrap().deadline.is_none()));
        }
    }
}
