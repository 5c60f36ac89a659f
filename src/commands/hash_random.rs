//! HRANDFIELD: random fields of a hash.

use std::collections::HashSet;

use crate::base::num;
use crate::base::rng::Rng;
use crate::data::Hash;
use crate::data::hash::Field;
use crate::data::listpack::Item;
use crate::engine::ctx::push_item;
use crate::engine::spec::access::{ACCESS, RO};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::{self, Error};
use crate::resp::out::Out;

/// The most fields that may be asked for with repetitions. Redis sets no limit here and goes on
/// until it runs out of memory.
const MOST_DRAWS: u64 = 1 << 24;

/// Different fields are drawn one by one when there are this many times more; else they are what is
/// left of all when others are taken away.
const SPARSE: usize = 3;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::new("hrandfield", hrandfield)
    .group(Group::Hash)
    .since("6.2.0")
    .readonly()
    .arity(-2)
    .keys(&[KeySpec::at(1, RO | ACCESS)])
    .syntax("key [count [WITHVALUES]]")
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
        if (values && size > i64::MAX as u64 / 2) || (count < 0 && size > MOST_DRAWS) {
            return Err(Error::RANGE);
        }
        Ok(Wanted { count: size, repeated: count < 0, values })
    }
}

/// HRANDFIELD key [count [WITHVALUES]]
fn hrandfield(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    let mut rng = Rng::from_os();
    if args.is_empty() {
        let field = ctx.db.get::<Hash>(key)?.and_then(|hash| hash.random(&mut || rng.next_u64()));
        match field {
            Some(field) => push_item(ctx.reply.parts(), field.name),
            None => ctx.reply.parts().null(),
        }
        return ctx.reply.done();
    }
    let wanted = Wanted::parse(args)?;
    let hash: Option<&Hash> = ctx.db.get(key)?;
    let out = ctx.reply.parts();
    match hash {
        Some(hash) if wanted.repeated => draw(out, hash, &wanted, &mut rng),
        Some(hash) => {
            let fields = choose(hash, wanted.count, &mut rng);
            header(out, fields.len(), wanted.values);
            fields.into_iter().for_each(|field| push(out, field, wanted.values));
        }
        None => out.array(0),
    }
    ctx.reply.done()
}

/// Answers random fields that may repeat.
fn draw(out: &mut Out, hash: &Hash, wanted: &Wanted, rng: &mut Rng) {
    let count = wanted.count as usize;
    header(out, count, wanted.values);
    // The fields of a small hash are found only by walking through it.
    let small: Vec<Field> = if hash.is_packed() { hash.fields().collect() } else { Vec::new() };
    for _ in 0..count {
        let field = match small.len() as u64 {
            0 => hash.random(&mut || rng.next_u64()),
            len => small.get((rng.next_u64() % len) as usize).copied(),
        };
        if let Some(field) = field {
            push(out, field, wanted.values);
        }
    }
}

/// Different random fields, as many as asked for or all.
fn choose<'a>(hash: &'a Hash, count: u64, rng: &mut Rng) -> Vec<Field<'a>> {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(hash.len());
    if count == hash.len() {
        return hash.fields().collect();
    }
    if hash.is_packed() || count.saturating_mul(SPARSE) > hash.len() {
        let mut fields: Vec<Field> = hash.fields().collect();
        while fields.len() > count {
            let index = (rng.next_u64() % fields.len() as u64) as usize;
            fields.swap_remove(index);
        }
        return fields;
    }
    let (mut fields, mut known) = (Vec::with_capacity(count), HashSet::with_capacity(count));
    while fields.len() < count
        && let Some(field) = hash.random(&mut || rng.next_u64())
    {
        if let Item::Bytes(name) = field.name
            && known.insert(name)
        {
            fields.push(field);
        }
    }
    fields
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
