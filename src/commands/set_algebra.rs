//! Sets: several at a time.

use std::cmp::Reverse;

use crate::base::num;
use crate::base::table::Table;
use crate::data::listpack::Item;
use crate::data::set::Form;
use crate::data::{Kind, Limits, Set};
use crate::engine::ctx::push_item;
use crate::engine::spec::access::{ACCESS, OW, RO, RW, UPDATE};
use crate::engine::spec::flag::MOVABLEKEYS;
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::store::events::EventClasses;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    returning("sdiff", sdiff)
        .complexity(SUM_OF_SIZES)
        .summary("Returns the members of the first set that no other has."),
    storing("sdiffstore", sdiffstore, OVERWRITES)
        .complexity(SUM_OF_SIZES)
        .summary("Stores the members of the first set that no other has."),
    returning("sinter", sinter)
        .complexity(PRODUCT)
        .summary("Returns the members that all sets have."),
    Command::new("sintercard", sintercard)
        .group(Group::Set)
        .since("7.0.0")
        .readonly()
        .flags(MOVABLEKEYS)
        .arity(-3)
        .keys(&[KeySpec::counted(1, RO | ACCESS)])
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .complexity(PRODUCT)
        .summary("Counts the members that all sets have."),
    storing("sinterstore", sinterstore, UPDATES)
        .complexity(PRODUCT)
        .summary("Stores the members that all sets have."),
    returning("sunion", sunion)
        .complexity(SUM_OF_SIZES)
        .summary("Returns the members that any of the sets has."),
    storing("sunionstore", sunionstore, OVERWRITES)
        .complexity(SUM_OF_SIZES)
        .summary("Stores the members that any of the sets has."),
];

const SUM_OF_SIZES: &str = "O(N) where N is the total number of elements in all given sets.";
const PRODUCT: &str = "O(N*M) worst case where N is the cardinality of the smallest set and M is \
                       the number of sets.";
const READS: &[KeySpec] = &[KeySpec::from(1, RO | ACCESS)];
const UPDATES: &[KeySpec] = &[KeySpec::at(1, RW | UPDATE), KeySpec::from(2, RO | ACCESS)];
const OVERWRITES: &[KeySpec] = &[KeySpec::at(1, OW | UPDATE), KeySpec::from(2, RO | ACCESS)];

const fn returning(name: &'static str, handler: fn(&mut Ctx, &mut Args) -> Reply) -> Command {
    Command::new(name, handler)
        .group(Group::Set)
        .readonly()
        .arity(-2)
        .keys(READS)
        .syntax("key [key ...]")
        .tips(&["nondeterministic_output_order"])
}

const fn storing(
    name: &'static str,
    handler: fn(&mut Ctx, &mut Args) -> Reply,
    keys: &'static [KeySpec],
) -> Command {
    Command::new(name, handler)
        .group(Group::Set)
        .write()
        .deny_oom()
        .arity(-3)
        .keys(keys)
        .syntax("destination key [key ...]")
}

/// The sets of these keys, as they are now; none where there is no key. Taking one along costs next
/// to nothing.
fn fetch(ctx: &mut Ctx, keys: &[&[u8]]) -> Result<Vec<Option<Set>>, Error> {
    let mut sets = Vec::with_capacity(keys.len());
    for key in keys {
        sets.push(ctx.db.get::<Set>(key)?.cloned());
    }
    Ok(sets)
}

/// The sets of these keys, the smallest first; none at all if one of them is not there.
fn fetch_all(ctx: &mut Ctx, keys: &[&[u8]]) -> Result<Vec<Set>, Error> {
    let sets: Option<Vec<Set>> = fetch(ctx, keys)?.into_iter().collect();
    let mut sets = sets.unwrap_or_default();
    sets.sort_by_key(Set::len);
    Ok(sets)
}

/// The members that all of these sets have, which begin with the smallest one.
fn common(sets: &[Set]) -> impl Iterator<Item = Item<'_>> {
    let (smallest, others) = match sets.split_first() {
        Some((smallest, others)) => (Some(smallest), others),
        None => (None, &[][..]),
    };
    let members = smallest.into_iter().flat_map(Set::iter);
    members.filter(|member| others.iter().all(|other| other.contains_item(*member)))
}

/// How many members are looked at to find those that all of these sets have.
fn least(sets: &[Set]) -> usize {
    sets.first().map_or(0, Set::len)
}

/// How many members sets have altogether.
fn total(sets: &[Option<Set>]) -> usize {
    sets.iter().flatten().map(Set::len).sum()
}

/// SINTER key [key ...]
fn sinter(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let sets = fetch_all(ctx, args.take_rest())?;
    ctx.let_go(least(&sets))?;
    answer(ctx, common(&sets))
}

/// Answers these members, which differ.
fn answer<'a>(ctx: &mut Ctx, members: impl Iterator<Item = Item<'a>>) -> Reply {
    let out = ctx.reply.parts();
    let (start, mut count) = (out.defer(), 0);
    for member in members {
        push_item(out, member);
        count += 1;
    }
    out.finish_set(start, count);
    ctx.reply.done()
}

/// SINTERCARD numkeys key [key ...] [LIMIT limit]
fn sintercard(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let number = num::parse_i64(args.bytes()?).filter(|number| *number > 0);
    let number = number.ok_or(Error::NUMKEYS_POSITIVE)?;
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    if number > args.left() {
        return Err(Error::NUMKEYS_TOO_LARGE);
    }
    let keys: Vec<&[u8]> = (0..number).map(|_| args.key()).collect();
    let mut limit = 0;
    while !args.is_empty() {
        if !args.word("LIMIT") {
            return Err(Error::SYNTAX);
        }
        let number = num::parse_i64(args.bytes()?).and_then(|number| usize::try_from(number).ok());
        limit = number.ok_or(Error::LIMIT_NEGATIVE)?;
    }
    let sets = fetch_all(ctx, &keys)?;
    let limit = if limit == 0 { usize::MAX } else { limit };
    ctx.let_go(least(&sets))?;
    let count = common(&sets).take(limit).count();
    ctx.reply.count(count)
}

/// SINTERSTORE destination key [key ...]
fn sinterstore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (target, limits) = (args.key(), ctx.settings.limits);
    let keys = args.take_rest();
    let sets = fetch_all(ctx, keys)?;
    let result = ctx.work_out(keys, least(&sets), |_| {
        let mut result = sets.first().map(Set::like).unwrap_or_default();
        for member in common(&sets) {
            result.insert_item(member, &limits);
        }
        result.settle_as_ints(&limits);
        result
    })?;
    store(ctx, target, result, "sinterstore")
}

/// Stores a result and answers its size, or removes the key if it is empty.
fn store(ctx: &mut Ctx, target: &[u8], result: Set, event: &'static str) -> Reply {
    let len = result.len();
    if len > 0 {
        ctx.db.set(target, result.into_value(), None);
        ctx.db.event(EventClasses::SET, event, target);
        ctx.db.mark_dirty(1);
    } else if ctx.db.remove(target) {
        ctx.db.event(EventClasses::GENERIC, "del", target);
        ctx.db.mark_dirty(1);
    }
    ctx.reply.count(len)
}

/// Up to so many sets, a member is looked up in each of those before its own rather than collected.
const LOOKUPS_MAX: usize = 8;

/// The members of all sets, each once: those that no set before has.
fn united(sets: &[Set]) -> impl Iterator<Item = Item<'_>> {
    sets.iter().enumerate().flat_map(|(index, set)| {
        let before = &sets[..index];
        set.iter().filter(|member| !before.iter().any(|other| other.contains_item(*member)))
    })
}

/// Adds the members of all sets to `result`.
fn unite(mut result: Set, sets: &[Option<Set>], limits: &Limits) -> Set {
    for member in sets.iter().flatten().flat_map(Set::iter) {
        result.insert_item(member, limits);
    }
    result
}

/// SUNION key [key ...]
fn sunion(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let limits = ctx.settings.limits;
    let sets = fetch(ctx, args.take_rest())?;
    ctx.let_go(total(&sets))?;
    if sets.iter().flatten().all(|set| matches!(set.form(), Form::Ints(_))) {
        // Few integers come in their order.
        return answer(ctx, unite(Set::of_ints(), &sets, &limits).iter());
    }
    if sets.len() > LOOKUPS_MAX {
        return answer(ctx, unite(Set::from(Table::new()), &sets, &limits).iter());
    }
    let mut sets: Vec<Set> = sets.into_iter().flatten().collect();
    // Most members then come from the first set, or are found in it.
    sets.sort_by_key(|set| Reverse(set.len()));
    answer(ctx, united(&sets))
}

/// SUNIONSTORE destination key [key ...]
fn sunionstore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (target, limits) = (args.key(), ctx.settings.limits);
    let keys = args.take_rest();
    let sets = fetch(ctx, keys)?;
    let result = ctx.work_out(keys, total(&sets), |_| unite(Set::of_ints(), &sets, &limits))?;
    store(ctx, target, result, "sunionstore")
}

/// A set and those whose members are taken away from it, the largest first: a member is sooner
/// found there.
#[derive(Default)]
struct Difference {
    first: Set,
    others: Vec<Set>,
}

impl Difference {
    fn new(sets: Vec<Option<Set>>) -> Self {
        let mut sets = sets.into_iter();
        let Some(Some(first)) = sets.next() else { return Difference::default() };
        let mut others: Vec<Set> = sets.flatten().collect();
        others.sort_by_key(|other| Reverse(other.len()));
        Difference { first, others }
    }

    /// Whether it is cheaper to look each member of the first up in every other set than to take
    /// all members of the others out of a copy. What the sets have in common ends a search early,
    /// which is worth half of its cost.
    fn is_by_lookup(&self) -> bool {
        let total: usize = self.others.iter().map(Set::len).sum();
        self.first.len() * (self.others.len() + 1) / 2 <= self.first.len() + total
    }

    /// How many members are looked at.
    fn amount(&self) -> usize {
        let others = self.others.iter().map(Set::len).sum();
        if self.is_by_lookup() { self.first.len() } else { self.first.len().max(others) }
    }

    /// The members of the first set that no other has.
    fn members(&self) -> impl Iterator<Item = Item<'_>> {
        let gone = |member: Item| self.others.iter().any(|other| other.contains_item(member));
        self.first.iter().filter(move |member| !gone(*member))
    }

    /// The same as a set, which begins as `result`.
    fn collect(&self, mut result: Set, limits: &Limits) -> Set {
        if self.is_by_lookup() {
            for member in self.members() {
                result.insert_item(member, limits);
            }
            return result;
        }
        for member in self.first.iter() {
            result.insert_item(member, limits);
        }
        for member in self.others.iter().flat_map(Set::iter) {
            result.remove_item(member);
        }
        result
    }
}

/// What the command is about; nothing where the first set is also subtracted.
fn fetch_difference(ctx: &mut Ctx, keys: &[&[u8]]) -> Result<Difference, Error> {
    let sets = fetch(ctx, keys)?;
    let nothing = keys[1..].contains(&keys[0]);
    Ok(if nothing { Difference::default() } else { Difference::new(sets) })
}

/// SDIFF key [key ...]
fn sdiff(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let limits = ctx.settings.limits;
    let difference = fetch_difference(ctx, args.take_rest())?;
    ctx.let_go(difference.amount())?;
    if difference.is_by_lookup() {
        return answer(ctx, difference.members());
    }
    answer(ctx, difference.collect(difference.first.like(), &limits).iter())
}

/// SDIFFSTORE destination key [key ...]
fn sdiffstore(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (target, limits) = (args.key(), ctx.settings.limits);
    let keys = args.take_rest();
    let difference = fetch_difference(ctx, keys)?;
    let work = |_: &mut Ctx| difference.collect(Set::of_ints(), &limits);
    let result = ctx.work_out(keys, difference.amount(), work)?;
    store(ctx, target, result, "sdiffstore")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::BTreeSet;

    type Model = BTreeSet<Vec<u8>>;

    fn random_set(rng: &mut Rng, len: u64) -> Set {
        let mut set = Set::of_ints();
        let prefix = ["", "m", "0"][rng.next_u64() as usize % 3];
        for _ in 0..len {
            let text = format!("{prefix}{}", rng.next_u64() % 300);
            set.insert(text.as_bytes(), &Limits::default());
        }
        set
    }

    fn model(set: &Set) -> Model {
        listed(set.iter())
    }

    /// The members, which must differ.
    fn listed<'a>(members: impl Iterator<Item = Item<'a>>) -> Model {
        let mut model = Model::new();
        members.for_each(|member| assert!(model.insert(member.to_vec())));
        model
    }

    #[test]
    fn results_agree_with_a_model() {
        let mut rng = Rng::seeded(8);
        let limits = Limits::default();
        for _ in 0..200 {
            let number = 1 + rng.next_u64() % 5;
            let sets: Vec<Option<Set>> = (0..number)
                .map(|_| {
                    let len = [0, 3, 50, 400][rng.next_u64() as usize % 4];
                    (len > 0).then(|| random_set(&mut rng, len))
                })
                .collect();
            let models: Vec<Model> =
                sets.iter().map(|set| set.as_ref().map(model).unwrap_or_default()).collect();
            let union: Model = models.iter().flatten().cloned().collect();
            assert_eq!(model(&unite(Set::of_ints(), &sets, &limits)), union);
            let first = &models[0];
            let rest: Model = models[1..].iter().flatten().cloned().collect();
            let difference: Model = first.difference(&rest).cloned().collect();
            let found = Difference::new(sets.clone());
            assert_eq!(model(&found.collect(Set::of_ints(), &limits)), difference);
            assert_eq!(listed(found.members()), difference);
            let mut present: Vec<Set> = sets.into_iter().flatten().collect();
            assert_eq!(listed(united(&present)), union);
            present.sort_by_key(Set::len);
            let expected = present.iter().map(model).reduce(|a, b| &a & &b).unwrap_or_default();
            assert_eq!(listed(common(&present)), expected);
        }
    }
}
