//! The table of a shard's keys: buckets of few keys in little memory (see `base/table`), in the two
//! forms of `entry.rs`.
//!
//! It must not know anything of shards, locks or expiry.
//!
//! Memory of a short key beside its name and value: 5 bytes for accesses and the form, 4 in the
//! block's header, 8 if it has a deadline, and its part of the bucket (24 bytes) and of the block's
//! header and rounding in a usual allocator (about 16), which with 5 keys in a bucket are 8: 17
//! bytes, and 8 for a deadline.
//!
//! Invariants: no two keys are equal; while resizing is paused, `bucket_count` does not change, and
//! a key stays in its bucket.

use crate::base::hash::Seed;
use crate::base::table::SHORT_MAX;
use crate::base::table::{Bucket, Buckets, Element, ElementMut, Item, Spot};
use crate::data::Value;
use crate::store::access::Access;
use crate::store::entry::{Entry, New, View, access_in, has_passed, pack, set_access};

/// A hash table of keys. All operations take the hash of the key, which must be that under the
/// table's [`Dict::seed`].
pub struct Dict {
    buckets: Buckets<Box<[Bucket<Entry>]>>,
    pauses: usize,
}

/// What a key was that is replaced or removed.
pub struct Old {
    /// Its deadline.
    pub expire_at: Option<i64>,
    /// All of it, if it was long.
    pub long: Option<Entry>,
}

impl Old {
    /// Whether its time was over.
    pub(super) fn is_expired(&self, now_ms: i64) -> bool {
        has_passed(self.expire_at, now_ms)
    }

    /// The value, if it was not flat.
    pub fn into_value(self) -> Option<Value> {
        self.long.map(|entry| entry.value)
    }

    /// The earliest deadline inside of the value.
    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.long.as_ref().and_then(|entry| entry.value.next_deadline())
    }
}

/// A bucket's keys as they were at some time.
pub(super) struct Copied(Bucket<Entry>);

impl Copied {
    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.0.elements().map(View::from)
    }
}

impl Dict {
    /// An empty table, which allocates nothing.
    pub fn new(seed: Seed) -> Dict {
        Dict { buckets: Buckets::new(seed), pauses: 0 }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The seed under which the hashes given to this table must be computed.
    pub fn seed(&self) -> &Seed {
        self.buckets.seed()
    }

    /// Number of buckets, at least 1.
    pub fn bucket_count(&self) -> usize {
        self.buckets.count()
    }

    /// The bucket, below [`Dict::bucket_count`], to which `hash` belongs.
    pub fn bucket_of(&self, hash: u64) -> usize {
        self.buckets.bucket_of(hash)
    }

    /// Number of keys in a bucket.
    pub fn len_of(&self, bucket: usize) -> usize {
        self.buckets.bucket(bucket).map_or(0, Bucket::len)
    }

    /// A copy of a bucket; none if it has no keys.
    pub(super) fn copy(&self, index: usize) -> Option<Copied> {
        self.buckets.bucket(index).filter(|bucket| bucket.len() > 0).cloned().map(Copied)
    }

    /// Keeps every key in its bucket until as many calls of [`Dict::resume_resize`] as there
    /// were of this one. Meanwhile the buckets get longer or emptier, and nothing else changes.
    pub fn pause_resize(&mut self) {
        self.pauses += 1;
    }

    /// Ends a pause. Later inserts and removals then do what was put off, a little each.
    pub fn resume_resize(&mut self) {
        self.pauses = self.pauses.saturating_sub(1);
    }

    /// Makes room for so many keys, if there are none yet.
    pub fn reserve(&mut self, keys: usize) {
        if self.pauses == 0 {
            self.buckets.reserve(keys);
        }
    }

    fn grow(&mut self) {
        if self.pauses == 0 {
            self.buckets.grow();
        }
    }

    fn shrink(&mut self) {
        if self.pauses == 0 {
            self.buckets.shrink();
        }
    }

    /// All keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = View<'_>> {
        self.buckets.iter().map(View::from)
    }

    /// Bytes that the table has allocated for its directory and buckets, without what belongs to
    /// the single keys and without the allocator's own overhead. Takes constant time.
    pub fn memory_overhead(&self) -> usize {
        self.buckets.overhead()
    }

    /// One step of a stateless scan: visits the keys of one bucket, and returns the cursor of
    /// the next step, or 0 at the end. See [`Buckets::next_cursor`].
    pub fn scan(&self, cursor: u64, visit: impl FnMut(View)) -> u64 {
        let bucket = self.buckets.bucket(self.bucket_of(cursor));
        bucket.into_iter().flat_map(Bucket::elements).map(View::from).for_each(visit);
        self.buckets.next_cursor(cursor)
    }

    /// A random key, each nearly as probable as any other; none if the table is empty. `rng` must
    /// return 64 random bits.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<View<'_>> {
        self.buckets.random(rng).map(View::from)
    }

    /// Where a key is.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Spot> {
        self.buckets.find(hash, key)
    }

    /// The key in a spot.
    #[inline]
    pub(super) fn view(&self, spot: Spot) -> View<'_> {
        self.buckets.element(spot).into()
    }

    /// The deadline of the key in a spot.
    #[inline]
    pub(super) fn expire_at(&self, spot: Spot) -> Option<i64> {
        match self.buckets.element(spot) {
            Element::Short(item) => item.stamp,
            Element::Long(entry) => entry.expire_at(),
        }
    }

    /// Reads where a key with this hash belongs, to have that at hand later.
    pub(super) fn warm_up(&self, hash: u64) -> usize {
        self.buckets.bucket(self.bucket_of(hash)).map_or(0, Bucket::warm_up)
    }

    /// A key by its name.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<View<'_>> {
        self.find(hash, key).map(|spot| self.view(spot))
    }

    /// A key with exactly this hash for which `pred` holds, for a caller that does not know its
    /// name.
    pub fn find_by_hash(&self, hash: u64, pred: impl Fn(&View) -> bool) -> Option<View<'_>> {
        let by_view = |element: &Element<Entry>| pred(&View::from(*element));
        self.buckets.find_by_hash(hash, by_view).map(View::from)
    }

    /// Puts a key in, and returns what it replaces, if there was one of the same name.
    pub(super) fn insert(&mut self, hash: u64, new: New) -> Option<Old> {
        let spot = self.find(hash, new.key);
        let expire_at = spot.and_then(|spot| self.expire_at(spot));
        let mut buffer = [0; SHORT_MAX];
        let long = match new.pack(&mut buffer) {
            Some(packed) => {
                let item = Item::new(new.key, packed, new.expire_at);
                self.buckets.put(hash, spot, item)
            }
            None => self.buckets.put_long(hash, spot, new.into_entry()),
        };
        if spot.is_none() {
            self.grow();
            return None;
        }
        Some(Old { expire_at, long })
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, spot: Spot) -> Old {
        let expire_at = self.expire_at(spot);
        let long = self.buckets.remove(spot);
        self.shrink();
        Old { expire_at, long }
    }

    /// Changes what is known of a key's accesses.
    #[inline]
    pub(super) fn set_access(&mut self, spot: Spot, change: impl FnOnce(Access) -> Access) {
        match self.buckets.element_mut(spot) {
            ElementMut::Short(value) => set_access(value, change(access_in(value))),
            ElementMut::Long(entry) => entry.set_access(change(entry.access())),
        }
    }

    /// Sets the deadline of a key.
    pub(super) fn set_expire_at(&mut self, spot: Spot, at: Option<i64>) {
        match self.buckets.element_mut(spot) {
            ElementMut::Short(_) => self.buckets.set_stamp(spot, at),
            ElementMut::Long(entry) => entry.set_expire_at(at),
        }
    }

    /// Changes what is known of a key's accesses, and its value, which may go to another spot by
    /// that. A collection that is left empty is not stored: the caller removes its key.
    pub(super) fn edit<R>(
        &mut self,
        hash: u64,
        spot: Spot,
        touch: impl FnOnce(Access) -> Access,
        change: impl FnOnce(&mut Value) -> R,
    ) -> R {
        if let ElementMut::Long(entry) = self.buckets.element_mut(spot) {
            entry.set_access(touch(entry.access()));
            return change(&mut entry.value);
        }
        let view = self.view(spot);
        let (mut value, access) = (view.value().into_owned(), touch(view.access()));
        let result = change(&mut value);
        if value.is_void() {
            return result;
        }
        let mut buffer = [0; SHORT_MAX];
        match pack(&mut buffer, view.key().len(), &value, access) {
            Some(packed) => self.buckets.set_value(spot, packed),
            None => {
                let mut entry = view.to_entry_with(value);
                entry.set_access(access);
                self.buckets.put_long(hash, Some(spot), entry);
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::data::{Kind, Str};
    use crate::store::access::Aging;
    use crate::store::entry::Source;
    use std::collections::{HashMap, HashSet};
    use std::convert::identity;

    /// (value, deadline) of each key.
    type Model = HashMap<Vec<u8>, (Value, Option<i64>)>;

    fn below(rng: &mut Rng, bound: u64) -> usize {
        (rng.next_u64() % bound) as usize
    }

    /// Names and values of lengths around the bound between short and long.
    fn name(rng: &mut Rng, keys: u64) -> Vec<u8> {
        match below(rng, keys) {
            0 => Vec::new(),
            number if number % 40 == 1 => vec![number as u8; 230 + number % 30],
            number => number.to_string().into_bytes(),
        }
    }

    fn value(rng: &mut Rng) -> Value {
        let len = match below(rng, 8) {
            0 => return Str::from_i64(rng.next_u64() as i64).into_value(),
            1 => [0, 1, 249, 250, 254, 255, 256][below(rng, 7)],
            2 => 230 + below(rng, 30),
            3 => 3_000,
            _ => below(rng, 40),
        };
        Str::text(&vec![rng.next_u64() as u8; len]).into_value()
    }

    fn new<'a>(key: &'a [u8], value: Value, expire_at: Option<i64>) -> New<'a> {
        let access = Access::new(0, Aging::Lru);
        New { key, source: Source::Whole(value), expire_at, access }
    }

    fn put(dict: &mut Dict, key: &[u8], value: &Value, expire_at: Option<i64>) -> Option<Old> {
        dict.insert(dict.seed().hash(key), new(key, value.clone(), expire_at))
    }

    fn spot(dict: &Dict, key: &[u8]) -> Option<Spot> {
        dict.find(dict.seed().hash(key), key)
    }

    fn cut(dict: &mut Dict, key: &[u8]) -> Option<Old> {
        spot(dict, key).map(|spot| dict.remove(spot))
    }

    fn names(numbers: std::ops::Range<u32>) -> impl Iterator<Item = Vec<u8>> {
        numbers.map(|number| format!("key {number}").into_bytes())
    }

    fn filled(count: u32) -> Dict {
        let mut dict = Dict::new(Seed::random());
        names(0..count).for_each(|key| assert!(put(&mut dict, &key, &one(), None).is_none()));
        dict
    }

    fn one() -> Value {
        Str::from_i64(1).into_value()
    }

    fn check(dict: &Dict, model: &Model) {
        assert_eq!((dict.len(), dict.is_empty()), (model.len(), model.is_empty()));
        let mut seen = HashSet::new();
        for index in 0..dict.bucket_count() {
            for view in dict.copy(index).iter().flat_map(Copied::views) {
                assert_eq!(dict.bucket_of(dict.seed().hash(view.key())), index);
                let (value, expire_at) = &model[view.key()];
                assert_eq!((&*view.value(), view.expire_at()), (value, *expire_at));
                assert!(seen.insert(view.key().to_vec()));
            }
        }
        assert_eq!((seen.len(), dict.iter().count()), (model.len(), model.len()));
    }

    /// One random change of a table and of its model.
    fn step(rng: &mut Rng, dict: &mut Dict, model: &mut Model, keys: u64, growing: bool) {
        let key = name(rng, keys);
        let found = spot(dict, &key);
        assert_eq!(found.is_some(), model.contains_key(&key));
        let hash = dict.seed().hash(&key);
        match (below(rng, 10), found) {
            (0, Some(spot)) => {
                let value = value(rng);
                dict.edit(hash, spot, identity, |old| *old = value.clone());
                model.get_mut(&key).unwrap().0 = value;
            }
            (1, Some(spot)) => {
                let at = (below(rng, 2) == 0).then(|| rng.next_u64() as i64);
                dict.set_expire_at(spot, at);
                model.get_mut(&key).unwrap().1 = at;
            }
            (2, Some(spot)) => {
                let access = Access::of_frequency(rng.next_u64() as u8, 0);
                dict.set_access(spot, |_| access);
                assert_eq!(dict.view(spot).access(), access);
            }
            (chance, _) if chance < if growing { 9 } else { 5 } => {
                let at = (below(rng, 3) == 0).then(|| rng.next_u64() as i64);
                let value = value(rng);
                let old = put(dict, &key, &value, at);
                let known = model.insert(key, (value, at));
                assert_eq!(old.map(|old| old.expire_at), known.map(|(_, at)| at));
            }
            _ => {
                let old = cut(dict, &key);
                assert_eq!(old.map(|old| old.expire_at), model.remove(&key).map(|(_, at)| at));
            }
        }
    }

    #[test]
    fn behaves_like_a_map() {
        for (seed, keys, rounds) in [(1, 30, 6_000), (2, 1_000, 60_000), (3, 9_000, 120_000)] {
            let (mut rng, mut model) = (Rng::seeded(seed), Model::new());
            let mut dict = Dict::new(Seed::random());
            for round in 0..rounds {
                // The balance tips now and then, so that the table grows large and empties again.
                let growing = round / (rounds / 6) % 2 == 0;
                if round % (rounds / 6) == 0 {
                    check(&dict, &model);
                }
                if round % 1_000 == 500 {
                    // Now and then buckets get long, as while a snapshot is made.
                    dict.pauses ^= usize::from(below(&mut rng, 3) == 0);
                }
                step(&mut rng, &mut dict, &mut model, keys, growing);
            }
            check(&dict, &model);
            dict.pauses = 0;
            for key in std::mem::take(&mut model).into_keys() {
                assert!(cut(&mut dict, &key).is_some());
            }
            check(&dict, &model);
            assert_eq!((dict.memory_overhead(), dict.buckets.bytes()), (0, 0));
        }
    }

    #[test]
    fn an_edit_that_empties_leaves_the_removal_to_the_caller() {
        let mut dict = Dict::new(Seed::random());
        let mut list = crate::data::List::new();
        list.push(crate::data::list::End::Left, b"x", crate::data::quicklist::Fill::new(-2));
        put(&mut dict, b"k", &list.into_value(), None);
        let (hash, at) = (dict.seed().hash(b"k"), spot(&dict, b"k").unwrap());
        dict.edit(hash, at, identity, |value| *value = crate::data::List::new().into_value());
        assert_eq!(dict.view(at).type_name(), "list");
        dict.remove(at);
        assert!(dict.is_empty());
    }

    #[test]
    fn scan_visits_what_stays_while_the_table_resizes() {
        for seed in 0..60 {
            let mut rng = Rng::seeded(seed);
            let limit = 1 + rng.next_u64() as u32 % 3_000;
            let mut dict = filled(limit);
            let mut unseen: HashSet<Vec<u8>> = names(0..limit).step_by(2).collect();
            let mut cursor = 0;
            loop {
                cursor = dict.scan(cursor, |view| {
                    unseen.remove(view.key());
                });
                assert!(cursor < 2 * dict.bucket_count() as u64);
                if cursor == 0 {
                    break;
                }
                let add = rng.next_u64().is_multiple_of(2);
                for _ in 0..rng.next_u64() % 400 {
                    // Even numbers stay; odd ones come and go.
                    let number = (rng.next_u64() % 20_000) as u32 | 1;
                    let key = format!("key {number}").into_bytes();
                    if add {
                        put(&mut dict, &key, &one(), None);
                    } else {
                        cut(&mut dict, &key);
                    }
                }
            }
            assert_eq!(unseen.len(), 0, "seed {seed}");
        }
    }

    #[test]
    fn scan_of_a_still_table_visits_everything_once_and_ends_from_any_cursor() {
        let mut rng = Rng::seeded(5);
        for count in [0, 1, 7, 8, 20, 100, 900, 5_000] {
            let dict = filled(count);
            let steps_from = |mut cursor, visits: &mut u32| {
                for steps in 1.. {
                    cursor = dict.scan(cursor, |_| *visits += 1);
                    if cursor == 0 {
                        return steps;
                    }
                }
                unreachable!();
            };
            let mut visits = 0;
            assert_eq!(steps_from(0, &mut visits), dict.bucket_count());
            assert_eq!(visits, count);
            for cursor in [1, u64::MAX, 1 << 63, (1 << 63) - 1, rng.next_u64(), rng.next_u64()] {
                assert!(steps_from(cursor, &mut visits) <= dict.bucket_count());
            }
        }
    }

    #[test]
    fn nothing_moves_between_buckets_while_paused() {
        let mut dict = filled(1_000);
        let buckets = dict.bucket_count();
        dict.pause_resize();
        dict.pause_resize();
        for key in names(1_000..20_000) {
            put(&mut dict, &key, &one(), None);
        }
        assert_eq!(dict.bucket_count(), buckets);
        dict.resume_resize();
        for key in names(0..19_990) {
            assert!(cut(&mut dict, &key).is_some());
        }
        assert_eq!(dict.bucket_count(), buckets);
        dict.resume_resize();
        let mut last = buckets;
        for key in names(0..1_000) {
            put(&mut dict, &key, &one(), None);
            cut(&mut dict, &key);
            // What was put off is caught up in small steps.
            assert!(dict.bucket_count() + 4 >= last);
            last = dict.bucket_count();
        }
        assert_eq!((dict.len(), dict.bucket_count() < 8), (10, true));
    }

    #[test]
    fn room_that_was_made_is_used_and_given_back() {
        for keys in [1, 5, 6, 700, 1_280, 1_281, 9_000] {
            let mut dict = Dict::new(Seed::random());
            dict.reserve(keys as usize);
            let buckets = dict.bucket_count();
            assert_eq!(buckets, (keys as usize).div_ceil(5));
            names(0..keys).for_each(|key| assert!(put(&mut dict, &key, &one(), None).is_none()));
            assert_eq!(dict.bucket_count(), buckets);
            assert!(names(0..keys).all(|key| spot(&dict, &key).is_some()));
            // What has keys has room of its own.
            dict.reserve(100_000);
            assert_eq!(dict.bucket_count(), buckets);
            names(0..keys).for_each(|key| assert!(cut(&mut dict, &key).is_some()));
            // A table for many more than came is caught up with in small steps.
            dict.reserve(20 * keys as usize);
            while dict.bucket_count() > 1 {
                let before = dict.bucket_count();
                put(&mut dict, b"k", &one(), None);
                cut(&mut dict, b"k");
                assert!((before - 2..before).contains(&dict.bucket_count()));
            }
            assert_eq!((dict.memory_overhead(), dict.buckets.bytes()), (0, 0));
        }
    }

    #[test]
    fn a_bucket_that_gets_very_long_keeps_all_its_keys() {
        let mut dict = Dict::new(Seed::random());
        dict.pause_resize();
        names(0..2_000).for_each(|key| assert!(put(&mut dict, &key, &one(), None).is_none()));
        assert_eq!((dict.bucket_count(), dict.len()), (1, 2_000));
        names(0..2_000).for_each(|key| assert!(put(&mut dict, &key, &one(), Some(5)).is_some()));
        dict.resume_resize();
        for key in names(0..1_990) {
            assert_eq!(cut(&mut dict, &key).map(|old| old.expire_at), Some(Some(5)));
        }
        assert!(names(1_990..2_000).all(|key| spot(&dict, &key).is_some()));
    }

    #[test]
    fn finds_by_hash_and_predicate_without_the_name() {
        let mut dict = filled(500);
        put(&mut dict, b"this", &one(), Some(7));
        let hash = dict.seed().hash(b"this");
        let found = dict.find_by_hash(hash, |view| view.expire_at() == Some(7));
        assert_eq!(found.map(|view| view.key()), Some(&b"this"[..]));
        assert!(dict.find_by_hash(hash, |view| view.expire_at() == Some(8)).is_none());
        assert!(dict.find_by_hash(hash ^ 1, |_| true).is_none());
    }

    #[test]
    fn random_reaches_every_key_about_equally() {
        let mut rng = Rng::seeded(9);
        assert!(filled(0).random(&mut || 0).is_none());
        for count in [1, 5, 50, 300] {
            let dict = filled(count);
            let mut hits: HashMap<Vec<u8>, u32> = HashMap::new();
            for _ in 0..count * 400 {
                let view = dict.random(&mut || rng.next_u64()).unwrap();
                *hits.entry(view.key().to_vec()).or_default() += 1;
            }
            // A fair count of 400 has a deviation of 20; six of them never happen by chance.
            assert!(hits.len() == count as usize, "{hits:?}");
            assert!(hits.values().all(|hits| (280..=520).contains(hits)), "{hits:?}");
        }
    }

    #[test]
    fn random_finds_the_last_key_of_a_table_that_may_not_shrink() {
        let mut dict = filled(20_000);
        dict.pause_resize();
        names(1..20_000).for_each(|key| assert!(cut(&mut dict, &key).is_some()));
        for value in [0, u64::MAX, 1 << 63] {
            assert_eq!(dict.random(&mut || value).unwrap().key(), b"key 0");
        }
    }

    #[test]
    fn memory_is_small_for_small_tables_and_tight_for_large_ones() {
        let size = |dict: &Dict| dict.memory_overhead() + dict.buckets.bytes();
        assert_eq!(size(&filled(0)), 0);
        let small = size(&filled(3));
        assert!(small <= 3 * 32 + 64, "{small}");
        let mut emptied = filled(2_000);
        names(3..2_000).for_each(|key| assert!(cut(&mut emptied, &key).is_some()));
        assert!(size(&emptied) <= 3 * 32 + 64);
        // Names of 9 bytes, and integers.
        let large = size(&filled(50_000));
        assert!(large <= 50_000 * (9 + 8 + 9 + 6), "{large}");
    }
}
