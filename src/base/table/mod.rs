//! A compact hash table from byte strings to byte strings: what large hashes and sets are made of.
//!
//! Elements are found by their keys. Each has a value, which may be empty, and may have a stamp, a
//! number that goes with it and whose meaning is the owner's. This file must not know what the
//! elements are.
//!
//! How the elements are found is in `buckets.rs`, how they lie in memory in `bucket.rs` and
//! `block.rs`: short ones share blocks of memory; the values of long ones are shared, so that a
//! large reply need not copy them. The keyspace is made of the same.
//!
//! A clone shares all memory with its original. Afterwards a change copies the segment that it
//! concerns, some tens of microseconds at most, and nothing else.

mod block;
mod bucket;
mod buckets;

use std::fmt;
use std::sync::Arc;

use crate::base::hash::Seed;

pub use block::{Item, SHORT_MAX};
pub use bucket::{Bucket, Element, ElementMut, Long};
pub use buckets::{Buckets, Spot};

/// What a shared value costs on the heap beside its bytes: two counters and a `Vec`.
const SHARED_OVERHEAD: usize = 16 + size_of::<Vec<u8>>();

/// A long element of a table.
#[derive(Clone)]
struct Shared {
    key: Box<[u8]>,
    value: Arc<Vec<u8>>,
    stamp: Option<i64>,
}

impl Long for Shared {
    fn key(&self) -> &[u8] {
        &self.key
    }

    fn of(item: Item) -> Self {
        Shared { key: item.key.into(), value: Arc::new(item.value.to_vec()), stamp: item.stamp }
    }

    fn heap_size(&self) -> usize {
        self.key.len() + SHARED_OVERHEAD + self.value.capacity()
    }
}

impl<'a> From<Element<'a, Shared>> for Item<'a> {
    fn from(element: Element<'a, Shared>) -> Self {
        match element {
            Element::Short(item) => item,
            Element::Long(long) => {
                let shared = Some(&long.value);
                Item { key: &long.key, value: &long.value, stamp: long.stamp, shared }
            }
        }
    }
}

/// Everything that a clone shares.
type Root = Buckets<Arc<[Bucket<Shared>]>>;

/// A hash table of byte strings. Cloning it takes constant time.
#[derive(Clone)]
pub struct Table {
    root: Arc<Root>,
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl Table {
    /// An empty table, with a seed of its own.
    pub fn new() -> Table {
        Table { root: Arc::new(Buckets::new(Seed::random())) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.root.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this, or what it was cloned from, has not changed since the clone was made.
    pub fn is_unchanged_since(&self, clone: &Table) -> bool {
        Arc::ptr_eq(&self.root, &clone.root)
    }

    /// Bytes on the heap, without the allocator's own overhead. Takes constant time.
    pub fn heap_size(&self) -> usize {
        16 + size_of::<Root>() + self.root.overhead() + self.root.bytes()
    }

    /// The hash of a key, as this table sees it and no other.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.root.seed().hash(key)
    }

    /// The element with this key.
    pub fn get(&self, key: &[u8]) -> Option<Item<'_>> {
        let spot = self.root.find(self.hash(key), key)?;
        Some(self.root.element(spot).into())
    }

    /// Whether there is an element with this key.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.root.find(self.hash(key), key).is_some()
    }

    /// An element with exactly this hash for which `pred` holds, for a caller that does not know
    /// the key.
    pub fn find_by_hash(&self, hash: u64, pred: impl Fn(&Item) -> bool) -> Option<Item<'_>> {
        let by_item = |element: &Element<Shared>| pred(&Item::from(*element));
        self.root.find_by_hash(hash, by_item).map(Item::from)
    }

    /// Puts an element in, or gives the one with this key another value and stamp; whether the key
    /// is new.
    pub fn insert(&mut self, key: &[u8], value: &[u8], stamp: Option<i64>) -> bool {
        let hash = self.hash(key);
        let spot = self.root.find(hash, key);
        let root = Arc::make_mut(&mut self.root);
        root.put(hash, spot, Item::new(key, value, stamp));
        if spot.is_none() {
            root.grow();
        }
        spot.is_none()
    }

    /// Takes the element with this key out; whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        // A table that is shared is not copied when there is nothing to change.
        let Some(spot) = self.root.find(self.hash(key), key) else { return false };
        let root = Arc::make_mut(&mut self.root);
        root.remove(spot);
        root.shrink();
        true
    }

    /// All elements, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.root.iter().map(Item::from)
    }

    /// One step of a stateless scan: visits the elements of one bucket, and returns the cursor of
    /// the next step, or 0 at the end. See [`Buckets::next_cursor`].
    pub fn scan<'a>(&'a self, cursor: u64, visit: impl FnMut(Item<'a>)) -> u64 {
        let bucket = self.root.bucket(self.root.bucket_of(cursor));
        bucket.into_iter().flat_map(Bucket::elements).map(Item::from).for_each(visit);
        self.root.next_cursor(cursor)
    }

    /// A random element, each nearly as probable as any other; none if the table is empty. `rng`
    /// must return 64 random bits.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<Item<'_>> {
        self.root.random(rng).map(Item::from)
    }
}

impl PartialEq for Table {
    /// Whether both have the same elements, values and stamps.
    fn eq(&self, other: &Self) -> bool {
        let same = |item: Item| {
            let twin = other.get(item.key);
            twin.is_some_and(|twin| twin.value == item.value && twin.stamp == item.stamp)
        };
        Arc::ptr_eq(&self.root, &other.root) || self.len() == other.len() && self.iter().all(same)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let items = self.iter().map(|item| (show(item.key), (show(item.value), item.stamp)));
        f.debug_map().entries(items).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::{HashMap, HashSet};

    type Model = HashMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

    fn below_of(rng: &mut Rng, bound: u64) -> usize {
        (rng.next_u64() % bound) as usize
    }

    /// Lengths around the bound between short and long.
    fn value(rng: &mut Rng) -> Vec<u8> {
        let len = match below_of(rng, 10) {
            0 => 0,
            1 => 235 + below_of(rng, 30),
            2 => 1000,
            _ => below_of(rng, 20),
        };
        vec![rng.next_u64() as u8; len]
    }

    fn key(rng: &mut Rng, keys: u64) -> Vec<u8> {
        let number = below_of(rng, keys);
        match number % 50 {
            0 => format!("{number}").repeat(80).into_bytes(),
            _ => number.to_string().into_bytes(),
        }
    }

    fn check(table: &Table, model: &Model) {
        assert_eq!(table.len(), model.len());
        let mut seen = HashSet::new();
        for item in table.iter() {
            let (value, stamp) = &model[item.key];
            assert_eq!((item.value, item.stamp), (&value[..], *stamp));
            assert!(seen.insert(item.key.to_vec()));
        }
        assert_eq!(seen.len(), model.len());
        let root = &*table.root;
        let buckets = (0..root.count()).filter_map(|index| root.bucket(index));
        assert_eq!(root.bytes(), buckets.map(Bucket::heap_size).sum::<usize>());
    }

    /// Random changes of a table and a model, with clones that must not change any more.
    fn exercise(seed: u64, keys: u64, rounds: usize) {
        let mut rng = Rng::seeded(seed);
        let (mut table, mut model) = (Table::new(), Model::new());
        let mut clones: Vec<(Table, Model)> = Vec::new();
        let mut growing = true;
        for round in 0..rounds {
            if round % (rounds / 6) == 0 {
                growing = !growing || round == 0;
                check(&table, &model);
                clones.push((table.clone(), model.clone()));
            }
            let key = key(&mut rng, keys);
            let stamp = (below_of(&mut rng, 3) == 0).then(|| rng.next_u64() as i64);
            if below_of(&mut rng, 10) < if growing { 8 } else { 2 } {
                let value = value(&mut rng);
                let new = table.insert(&key, &value, stamp);
                assert_eq!(new, model.insert(key, (value, stamp)).is_none());
            } else {
                assert_eq!(table.remove(&key), model.remove(&key).is_some());
            }
        }
        check(&table, &model);
        for (clone, model) in &clones {
            check(clone, model);
        }
        for key in model.keys() {
            assert!(table.remove(key));
        }
        assert_eq!((table.len(), table.root.overhead(), table.root.bytes()), (0, 0, 0));
    }

    #[test]
    fn agrees_with_a_model() {
        exercise(1, 30, 3_000);
        exercise(2, 1_000, 20_000);
        exercise(3, 8_000, 60_000);
    }

    #[test]
    fn equality_is_by_content() {
        let (mut a, mut b) = (Table::new(), Table::new());
        for number in 0..1000u32 {
            a.insert(&number.to_le_bytes(), b"v", None);
            b.insert(&(999 - number).to_le_bytes(), b"v", None);
        }
        assert!(a == b && a == a.clone());
        b.insert(&7u32.to_le_bytes(), b"v", Some(1));
        assert!(a != b);
        b.insert(&7u32.to_le_bytes(), b"w", None);
        assert!(a != b);
    }

    #[test]
    fn elements_are_found_by_hash() {
        let mut table = Table::new();
        for number in 0..500i64 {
            table.insert(&number.to_le_bytes(), b"", Some(number));
        }
        let hash = table.hash(&77i64.to_le_bytes());
        let found = table.find_by_hash(hash, |item| item.stamp == Some(77));
        assert_eq!(found.unwrap().key, 77i64.to_le_bytes());
        assert!(table.find_by_hash(hash, |item| item.stamp == Some(78)).is_none());
    }

    #[test]
    fn scan_visits_what_stays_while_the_table_resizes() {
        for (before, after) in [(100, 20_000), (20_000, 100), (5_000, 5_000)] {
            let mut table = Table::new();
            for number in 0..before.min(after) {
                table.insert(format!("stay{number}").as_bytes(), b"", None);
            }
            for number in table.len()..before {
                table.insert(format!("go{number}").as_bytes(), b"", None);
            }
            let (mut seen, mut cursor, mut steps) = (HashSet::new(), 0, 0);
            loop {
                cursor = table.scan(cursor, |item| {
                    seen.insert(item.key.to_vec());
                });
                steps += 1;
                for number in 0..40 {
                    if before > after {
                        table.remove(format!("go{}", steps * 40 + number).as_bytes());
                    } else if table.len() < after {
                        table.insert(format!("come{}", table.len()).as_bytes(), b"", None);
                    }
                }
                if cursor == 0 {
                    break;
                }
            }
            let stayed = (0..before.min(after)).map(|n| format!("stay{n}").into_bytes());
            assert!(stayed.into_iter().all(|key| seen.contains(&key)));
            assert!(steps < 20_000);
        }
        assert_eq!(Table::new().scan(12_345, |_| ()), 0);
    }

    #[test]
    fn random_elements_are_spread_evenly() {
        let mut rng = Rng::seeded(9);
        let mut table = Table::new();
        assert!(table.random(&mut || rng.next_u64()).is_none());
        for number in 0..100u8 {
            table.insert(&[number], b"", None);
        }
        let mut counts = [0; 100];
        for _ in 0..20_000 {
            let item = table.random(&mut || rng.next_u64()).unwrap();
            counts[usize::from(item.key[0])] += 1;
        }
        assert!(counts.iter().all(|count| (120..290).contains(count)), "{counts:?}");
        for number in 1..100u8 {
            table.remove(&[number]);
        }
        assert_eq!(table.random(&mut || rng.next_u64()).unwrap().key, [0]);
    }

    #[test]
    fn long_values_are_shared() {
        let mut table = Table::new();
        table.insert(b"k", &[b'x'; 5_000], Some(4));
        let held = Arc::clone(table.get(b"k").unwrap().shared.unwrap());
        table.insert(b"k", b"short", None);
        let item = table.get(b"k").unwrap();
        assert_eq!((held.len(), item.value, item.stamp), (5_000, &b"short"[..], None));
        assert!(item.shared.is_none());
    }
}
