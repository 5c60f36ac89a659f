//! The set type: different strings, in one of three forms.
//!
//! - `intset`: few members that are all integers, sorted in one block;
//! - `listpack`: few short members in one block, in the order in which they came;
//! - `hashtable`: any number of any members, in no order.
//!
//! A set changes its form when it outgrows the limits that a caller gives, by Redis 7.2's rules,
//! and never back; only one that is made anew starts small again. Cloning takes constant time or
//! copies one small block.
//!
//! This file must not know keys, replies, or why something is added.

use std::sync::Arc;

use crate::base::num::{i64_len, parse_i64};
use crate::base::table::Table;
use crate::data::Limits;
use crate::data::intset::{self, Intset};
use crate::data::listpack::{Item, Listpack, all_differ};

/// The content of a key that holds a set.
#[derive(Clone)]
pub struct Set(Repr);

#[derive(Clone)]
enum Repr {
    Listpack(Listpack),
    Shared(Arc<Shared>),
}

/// The forms behind a pointer, so that a set takes no more room than a listpack.
#[derive(Clone)]
enum Shared {
    Ints(Intset),
    Table(Table),
}

/// A set as it lies in memory, for those who write it as it is.
pub enum Form<'a> {
    /// Integers.
    Ints(&'a Intset),
    /// One block.
    Listpack(&'a Listpack),
    /// A hash table.
    Table(&'a Table),
}

impl Default for Set {
    fn default() -> Self {
        Set(Repr::Listpack(Listpack::new()))
    }
}

impl From<Intset> for Set {
    fn from(ints: Intset) -> Self {
        Set(Repr::Shared(Arc::new(Shared::Ints(ints))))
    }
}

impl From<Listpack> for Set {
    /// The block must be that of a set.
    fn from(block: Listpack) -> Self {
        Set(Repr::Listpack(block))
    }
}

impl From<Table> for Set {
    fn from(table: Table) -> Self {
        Set(Repr::Shared(Arc::new(Shared::Table(table))))
    }
}

fn max_ints(limits: &Limits) -> usize {
    limits.set_max_intset_entries.min(intset::MAX_LEN)
}

/// Whether one more member may be put in a block with so many.
fn fits_listpack(len: usize, member: &[u8], limits: &Limits) -> bool {
    len < limits.set_max_listpack_entries && member.len() <= limits.set_max_listpack_value
}

/// A draw below `bound`, which is not 0.
fn below(bound: usize, rng: &mut impl FnMut() -> u64) -> usize {
    ((u128::from(rng()) * bound as u128) >> 64) as usize
}

impl Set {
    /// An empty set for about `count` members, the first of which is given.
    pub fn for_members(first: &[u8], count: usize, limits: &Limits) -> Set {
        if count <= limits.set_max_intset_entries && parse_i64(first).is_some() {
            Set::from(Intset::new())
        } else if count <= limits.set_max_listpack_entries {
            Set::default()
        } else {
            Set::from(Table::new())
        }
    }

    /// An empty set that is an intset until a member is not an integer.
    pub fn of_ints() -> Set {
        Set::from(Intset::new())
    }

    /// An empty set of the same form as this one, except that the large form starts small.
    pub fn like(&self) -> Set {
        match self.form() {
            Form::Ints(_) => Set::of_ints(),
            Form::Listpack(_) | Form::Table(_) => Set::default(),
        }
    }

    /// Takes over a block whose entries are the members; none if two of them are the same.
    pub fn from_listpack(block: Listpack, limits: &Limits) -> Option<Set> {
        let len = block.len();
        if len <= limits.set_max_listpack_entries {
            return all_differ(block.iter()).then_some(Set(Repr::Listpack(block)));
        }
        let mut table = Table::new();
        let unique = block.iter().all(|item| table.insert(item.bytes(&mut [0; 20]), b"", None));
        unique.then(|| Set::from(table))
    }

    /// Takes over sorted integers.
    pub fn from_intset(ints: Intset, limits: &Limits) -> Set {
        let mut set = Set::from(ints);
        if set.len() > max_ints(limits) {
            set.make_table();
        }
        set
    }

    /// The members as they lie in memory.
    pub fn form(&self) -> Form<'_> {
        match &self.0 {
            Repr::Listpack(block) => Form::Listpack(block),
            Repr::Shared(shared) => match &**shared {
                Shared::Ints(ints) => Form::Ints(ints),
                Shared::Table(table) => Form::Table(table),
            },
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        match self.form() {
            Form::Ints(ints) => ints.len(),
            Form::Listpack(block) => block.len(),
            Form::Table(table) => table.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match self.form() {
            Form::Ints(ints) => ints.is_empty(),
            Form::Listpack(block) => block.is_empty(),
            Form::Table(table) => table.is_empty(),
        }
    }

    /// See [`crate::data::Value::is_unchanged_since`].
    pub(super) fn is_unchanged_since(&self, clone: &Self) -> bool {
        match (&self.0, &clone.0) {
            (Repr::Shared(now), Repr::Shared(then)) => match (&**now, &**then) {
                (Shared::Ints(now), Shared::Ints(then)) => now.as_bytes() == then.as_bytes(),
                _ => Arc::ptr_eq(now, then),
            },
            (Repr::Listpack(now), Repr::Listpack(then)) => now == then,
            _ => false,
        }
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self.form() {
            Form::Ints(_) => "intset",
            Form::Listpack(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    /// Bytes on the heap, as asked of the allocator.
    pub fn heap_size(&self) -> usize {
        let shared = 16 + size_of::<Shared>();
        match self.form() {
            Form::Ints(ints) => shared + ints.heap_size(),
            Form::Listpack(block) => block.heap_size(),
            Form::Table(table) => shared + table.heap_size(),
        }
    }

    /// Whether a string is a member.
    pub fn contains(&self, member: &[u8]) -> bool {
        match self.form() {
            Form::Ints(ints) => parse_i64(member).is_some_and(|value| ints.contains(value)),
            Form::Listpack(block) => {
                block.first().is_some_and(|first| block.find(member, first, 0).is_some())
            }
            Form::Table(table) => table.contains(member),
        }
    }

    /// Whether a member of another set is one of this.
    pub fn contains_item(&self, member: Item) -> bool {
        match (self.form(), member) {
            (Form::Ints(ints), Item::Int(value)) => ints.contains(value),
            _ => self.contains(member.bytes(&mut [0; 20])),
        }
    }

    /// The members.
    pub fn iter(&self) -> Members<'_> {
        match self.form() {
            Form::Ints(ints) => Box::new(ints.iter().map(Item::Int)),
            Form::Listpack(block) => Box::new(block.iter()),
            Form::Table(table) => Box::new(table.iter().map(|item| Item::Bytes(item.key))),
        }
    }

    /// Makes a small set large if so many members are about to come that it would not stay small.
    pub fn expect(&mut self, count: usize, limits: &Limits) {
        let outgrown = match self.form() {
            Form::Ints(_) => count > limits.set_max_intset_entries,
            Form::Listpack(_) => count > limits.set_max_listpack_entries,
            Form::Table(_) => false,
        };
        if outgrown {
            self.make_table();
        }
    }

    /// Adds a member; whether it was not there yet.
    pub fn insert(&mut self, member: &[u8], limits: &Limits) -> bool {
        if self.contains_in_shared(member) {
            return false;
        }
        match &mut self.0 {
            Repr::Listpack(block) => {
                if block.first().is_some_and(|first| block.find(member, first, 0).is_some()) {
                    return false;
                }
                let fits = fits_listpack(block.len(), member, limits);
                if fits && block.has_room(member.len()) {
                    block.push(member);
                    return true;
                }
            }
            Repr::Shared(shared) => match Arc::make_mut(shared) {
                Shared::Table(table) => return table.insert(member, b"", None),
                Shared::Ints(ints) => {
                    if let Some(value) = parse_i64(member) {
                        let added = ints.insert(value);
                        if ints.len() > max_ints(limits) {
                            self.make_table();
                        }
                        return added;
                    }
                    if let Some(mut block) = ints_as_listpack(ints, member, limits) {
                        block.push(member);
                        self.0 = Repr::Listpack(block);
                        return true;
                    }
                }
            },
        }
        self.make_table();
        self.insert(member, limits)
    }

    /// Adds a member of another set; whether it was not there yet.
    pub fn insert_item(&mut self, member: Item, limits: &Limits) -> bool {
        self.insert(member.bytes(&mut [0; 20]), limits)
    }

    /// Whether a member is in a part that a clone may share, which is not to be copied for nothing.
    fn contains_in_shared(&self, member: &[u8]) -> bool {
        match &self.0 {
            Repr::Shared(shared) if Arc::strong_count(shared) > 1 => self.contains(member),
            _ => false,
        }
    }

    /// Takes a member out; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Listpack(block) => {
                let found = block.first().and_then(|first| block.find(member, first, 0));
                if let Some(at) = found {
                    block.remove(at);
                }
                found.is_some()
            }
            Repr::Shared(shared) => {
                if Arc::strong_count(shared) > 1 && !self.contains(member) {
                    return false;
                }
                let Repr::Shared(shared) = &mut self.0 else { return false };
                match Arc::make_mut(shared) {
                    Shared::Ints(ints) => parse_i64(member).is_some_and(|value| ints.remove(value)),
                    Shared::Table(table) => table.remove(member),
                }
            }
        }
    }

    /// Takes a member of another set out; whether it was there.
    pub fn remove_item(&mut self, member: Item) -> bool {
        self.remove(member.bytes(&mut [0; 20]))
    }

    /// A random member, each as probable as any other; none if there are none. `rng` must return 64
    /// random bits.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<Item<'_>> {
        let len = self.len();
        if len == 0 {
            return None;
        }
        match self.form() {
            Form::Ints(ints) => ints.get(below(len, rng)).map(Item::Int),
            Form::Listpack(block) => {
                let at = block.seek(below(len, rng) as i64)?;
                Some(block.at(at))
            }
            Form::Table(table) => table.random(rng).map(|item| Item::Bytes(item.key)),
        }
    }

    /// Takes a random member out.
    pub fn pop(&mut self, rng: &mut impl FnMut() -> u64) -> Option<Vec<u8>> {
        let member = self.random(rng)?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// One step of a stateless scan, which begins with cursor 0: visits some members, and returns
    /// the cursor of the next step, or 0 at the end. Members that are there all the time are
    /// visited at least once. Small sets are visited in one step.
    pub fn scan<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Item<'a>)) -> u64 {
        match self.form() {
            Form::Table(table) => table.scan(cursor, |item| visit(Item::Bytes(item.key))),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    /// Gives the set its large form.
    fn make_table(&mut self) {
        let mut table = Table::new();
        for member in self.iter() {
            table.insert(member.bytes(&mut [0; 20]), b"", None);
        }
        *self = Set::from(table);
    }

    /// Makes an intset of a set whose members are all integers, if they are not too many.
    pub fn settle_as_ints(&mut self, limits: &Limits) {
        if matches!(self.form(), Form::Ints(_)) || self.len() > max_ints(limits) {
            return;
        }
        let values: Option<Vec<i64>> = self.iter().map(|member| member.int()).collect();
        if let Some(values) = values {
            *self = Set::from(Intset::from_iter(values));
        }
    }
}

/// Sorted integers as a block, if that has room for one more member.
fn ints_as_listpack(ints: &Intset, member: &[u8], limits: &Limits) -> Option<Listpack> {
    let ends = [ints.get(0), ints.iter().next_back()];
    let longest = ends.into_iter().flatten().map(i64_len).max().unwrap_or(0);
    if !fits_listpack(ints.len(), member, limits) || longest > limits.set_max_listpack_value {
        return None;
    }
    let mut block = Listpack::new();
    ints.iter().for_each(|value| block.push_int(value));
    block.has_room(member.len()).then_some(block)
}

/// The members of a set, one by one.
pub type Members<'a> = Box<dyn Iterator<Item = Item<'a>> + 'a>;

impl PartialEq for Set {
    /// Whether both have the same members.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|member| other.contains_item(member))
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |member: Item| member.to_vec().escape_ascii().to_string();
        f.debug_set().entries(self.iter().map(show)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::BTreeSet;

    fn few() -> Limits {
        Limits {
            set_max_intset_entries: 20,
            set_max_listpack_entries: 10,
            set_max_listpack_value: 6,
            ..Limits::default()
        }
    }

    fn check(set: &Set, model: &BTreeSet<Vec<u8>>) {
        assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
        let members: BTreeSet<Vec<u8>> = set.iter().map(|member| member.to_vec()).collect();
        assert_eq!(&members, model);
        assert!(set.iter().all(|member| set.contains_item(member)));
    }

    fn member(rng: &mut Rng, kind: u64) -> Vec<u8> {
        let number = rng.next_u64() % 40;
        match kind {
            0 => number.to_string().into_bytes(),
            1 => format!("m{number}").into_bytes(),
            _ => format!("{number}-a-long-one").into_bytes(),
        }
    }

    #[test]
    fn random_changes_agree_with_a_model() {
        let mut rng = Rng::seeded(11);
        for round in 0..60 {
            let (mut set, mut model) = (Set::of_ints(), BTreeSet::new());
            let mut clones = Vec::new();
            for step in 0..80 {
                let kind = if step < 30 { round % 3 } else { rng.next_u64() % 3 };
                let member = member(&mut rng, kind);
                if rng.next_u64().is_multiple_of(3) {
                    assert_eq!(set.remove(&member), model.remove(&member));
                } else {
                    assert_eq!(set.insert(&member, &few()), model.insert(member.clone()));
                }
                assert_eq!(set.contains(&member), model.contains(&member));
                if step % 16 == 0 {
                    clones.push((set.clone(), model.clone()));
                    check(&set, &model);
                }
            }
            clones.push((set, model));
            for (set, model) in &clones {
                check(set, model);
            }
        }
    }

    fn grown(members: &[&str], limits: &Limits) -> Set {
        let mut set = Set::for_members(members[0].as_bytes(), 1, limits);
        for member in members {
            set.insert(member.as_bytes(), limits);
        }
        set
    }

    #[test]
    fn forms_follow_redis() {
        let numbers: Vec<String> = (0..21).map(|n| n.to_string()).collect();
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        let with = |numbers: &[&str], more: &str| {
            let members: Vec<&str> = numbers.iter().copied().chain([more]).collect();
            grown(&members, &few()).encoding()
        };
        assert_eq!(size_of::<Set>(), 16);
        assert_eq!(with(&numbers[..19], "19"), "intset");
        assert_eq!(with(&numbers[..20], "20"), "hashtable");
        assert_eq!(with(&numbers[..9], "a"), "listpack");
        assert_eq!(with(&numbers[..10], "a"), "hashtable");
        assert_eq!(with(&numbers[..2], "abcdefg"), "hashtable");
        assert_eq!(with(&["1234567"], "a"), "hashtable");
        assert_eq!(with(&["a", "1"], "abcdef"), "listpack");
        assert_eq!(with(&["a", "1"], "abcdefg"), "hashtable");
        let mut set = grown(&["1", "2"], &few());
        set.expect(20, &few());
        assert_eq!(set.encoding(), "intset");
        set.expect(21, &few());
        assert_eq!(set.encoding(), "hashtable");
        set.settle_as_ints(&few());
        assert_eq!(set.encoding(), "intset");
        for (first, count, encoding) in [
            ("1", 20, "intset"),
            ("1", 21, "hashtable"),
            ("x", 10, "listpack"),
            ("x", 11, "hashtable"),
        ] {
            assert_eq!(Set::for_members(first.as_bytes(), count, &few()).encoding(), encoding);
        }
    }

    #[test]
    fn blocks_from_elsewhere() {
        let mut block = Listpack::new();
        (0..10).for_each(|n| block.push_int(n));
        let set = Set::from_listpack(block.clone(), &few()).unwrap();
        assert_eq!((set.encoding(), set.len()), ("listpack", 10));
        block.push(b"x");
        let set = Set::from_listpack(block.clone(), &few()).unwrap();
        assert_eq!((set.encoding(), set.len()), ("hashtable", 11));
        block.push_int(3);
        assert!(Set::from_listpack(block, &few()).is_none());
        let mut twice = Listpack::new();
        twice.push_item(Item::Bytes(b"1"));
        twice.push_int(1);
        assert!(Set::from_listpack(twice, &few()).is_none());
        let set = Set::from_intset(Intset::from_iter(0..21), &few());
        assert_eq!((set.encoding(), set.len()), ("hashtable", 21));
    }

    #[test]
    fn any_member_may_be_drawn() {
        let mut rng = Rng::seeded(2);
        let mut rng = || rng.next_u64();
        for count in [5, 18, 50] {
            let members: Vec<String> = (0..count).map(|n| format!("{n}")).collect();
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            let mut set = grown(&members, &few());
            let drawn: BTreeSet<Vec<u8>> =
                (0..2000).filter_map(|_| Some(set.random(&mut rng)?.to_vec())).collect();
            assert_eq!(drawn.len(), count);
            let mut popped = BTreeSet::new();
            while let Some(member) = set.pop(&mut rng) {
                assert!(popped.insert(member));
            }
            assert_eq!((popped, set.len()), (drawn, 0));
        }
        assert!(Set::default().random(&mut rng).is_none());
    }

    #[test]
    fn equal_sets_may_differ_in_form() {
        let mut large = grown(&["1", "2", "x"], &few());
        large.expect(11, &few());
        large.remove(b"x");
        assert_eq!(large, grown(&["2", "1"], &few()));
        assert_ne!(large, grown(&["1", "3"], &few()));
        assert_eq!(large.scan(0, |_| {}), 0);
    }
}
