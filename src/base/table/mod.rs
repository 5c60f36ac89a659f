//! A compact hash table from byte strings to byte strings: what large hashes and sets are made of.
//!
//! Elements are found by their keys. Each has a value, which may be empty, and may have a stamp, a
//! number that goes with it and whose meaning is the owner's. This file must not know what the
//! elements are.
//!
//! It is linear hashing: with `n` buckets and `p` the smallest power of two that is at least `n`, a
//! hash belongs to bucket `hash mod p`, or, where that bucket does not exist yet, to
//! `hash mod p/2`. Bucket `n` is made by splitting the bucket whose number is `n` without its
//! highest bit; shrinking merges the last bucket back into that one. No operation ever moves more
//! than a few buckets, and a bucket in bit-reversed order is one unbroken range of hashes, which is
//! what makes the cursor of [`Table::scan`] survive any resize.
//!
//! The elements of a bucket share one block of memory, or stand in a list if they are long: see
//! `bucket.rs`.
//!
//! A clone shares all memory with its original. Afterwards a change copies the segment that it
//! concerns, some tens of microseconds at most, and nothing else.
//!
//! Bits of a hash: the lowest choose the bucket, bits 48 to 55 are the tag.
//!
//! Invariants:
//! - every element is in bucket `bucket_of(its hash)`, and no two have equal keys;
//! - the buckets beyond the last one in the last segment are empty;
//! - `bytes` is the sum of what the buckets have on the heap.

mod bucket;

use std::fmt;
use std::mem;
use std::sync::Arc;

use crate::base::hash::Seed;

use bucket::Bucket;
pub use bucket::Item;

/// Buckets in a segment, the unit of copying. Every segment but the first has this size.
const SEGMENT: usize = 256;

/// Average number of elements in a bucket above which the table grows. More saves memory, less
/// saves copying when a bucket's block changes.
const LOAD: usize = 5;

/// The table shrinks when the load falls below `LOAD / SHRINK`; the gap to [`LOAD`] keeps a table
/// from resizing to and fro.
const SHRINK: usize = 3;

/// Splits or merges that one insert or removal may do. One would keep pace; two catch up.
const RESIZE_STEPS: usize = 2;

/// Bucket length up to which [`Table::random`] is exactly uniform. Longer buckets are rare, and a
/// larger bound would cost more rejected tries.
const SAMPLE_SLOTS: usize = 20;

/// Tries of [`Table::random`] before it settles for any element.
const SAMPLE_TRIES: usize = 64;

/// Everything that a clone shares.
#[derive(Clone)]
struct Root {
    seed: Seed,
    segments: Vec<Arc<[Bucket]>>,
    /// At least 1; the first bucket is not allocated before the first insert.
    buckets: usize,
    len: usize,
    bytes: usize,
}

/// A hash table of byte strings. Cloning it takes constant time.
#[derive(Clone)]
pub struct Table {
    root: Arc<Root>,
}

fn tag_of(hash: u64) -> u8 {
    (hash >> 48) as u8
}

fn highest_bit(index: usize) -> usize {
    1 << index.ilog2()
}

/// A number below `bound`, which is not 0, without the bias and the cost of a remainder.
fn below(bound: usize, random: u64) -> usize {
    ((u128::from(random) * bound as u128) >> 64) as usize
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl Table {
    /// An empty table, with a seed of its own.
    pub fn new() -> Table {
        let seed = Seed::random();
        Table { root: Arc::new(Root { seed, segments: Vec::new(), buckets: 1, len: 0, bytes: 0 }) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.root.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.root.len == 0
    }

    /// Whether this, or what it was cloned from, has not changed since the clone was made.
    pub fn is_unchanged_since(&self, clone: &Table) -> bool {
        Arc::ptr_eq(&self.root, &clone.root)
    }

    /// Bytes on the heap, without the allocator's own overhead. Takes constant time.
    pub fn heap_size(&self) -> usize {
        let root = &*self.root;
        let first = root.segments.first().map_or(0, |segment| segment.len());
        let buckets = first + root.segments.len().saturating_sub(1) * SEGMENT;
        16 + size_of::<Root>()
            + root.segments.capacity() * size_of::<Arc<[Bucket]>>()
            + buckets * size_of::<Bucket>()
            + root.bytes
    }

    /// The hash of a key, as this table sees it and no other.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.root.seed.hash(key)
    }

    /// The element with this key.
    pub fn get(&self, key: &[u8]) -> Option<Item<'_>> {
        let root = &*self.root;
        let hash = root.seed.hash(key);
        let bucket = root.bucket(root.bucket_of(hash))?;
        let found = bucket.find(tag_of(hash), key)?;
        Some(bucket.item(&found))
    }

    /// Whether there is an element with this key.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// An element with exactly this hash for which `pred` holds, for a caller that does not know
    /// the key.
    pub fn find_by_hash(&self, hash: u64, pred: impl Fn(&Item) -> bool) -> Option<Item<'_>> {
        let root = &*self.root;
        let bucket = root.bucket(root.bucket_of(hash))?;
        bucket.items().find(|item| pred(item) && root.seed.hash(item.key) == hash)
    }

    /// Puts an element in, or gives the one with this key another value and stamp; whether the key
    /// is new.
    pub fn insert(&mut self, key: &[u8], value: &[u8], stamp: Option<i64>) -> bool {
        let item = Item::new(key, value, stamp);
        let root = Arc::make_mut(&mut self.root);
        let hash = root.seed.hash(key);
        let (tag, index) = (tag_of(hash), root.bucket_of(hash));
        let bucket = root.allocate(index);
        let before = bucket.heap_size();
        let found = bucket.find(tag, key);
        match &found {
            Some(found) => bucket.replace(tag, found, item),
            None => bucket.push(tag, item),
        }
        let after = bucket.heap_size();
        root.bytes = root.bytes - before + after;
        if found.is_none() {
            root.len += 1;
            root.resize();
        }
        found.is_none()
    }

    /// Takes the element with this key out; whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        let hash = self.root.seed.hash(key);
        let (tag, index) = (tag_of(hash), self.root.bucket_of(hash));
        // A table that is shared is not copied when there is nothing to change.
        if self.root.bucket(index).is_none_or(|bucket| bucket.find(tag, key).is_none()) {
            return false;
        }
        let root = Arc::make_mut(&mut self.root);
        let bucket = root.allocate(index);
        let before = bucket.heap_size();
        let Some(found) = bucket.find(tag, key) else { return false };
        bucket.remove(&found);
        let after = bucket.heap_size();
        root.bytes = root.bytes - before + after;
        root.len -= 1;
        root.resize();
        true
    }

    /// All elements, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.root.segments.iter().flat_map(|segment| segment.iter()).flat_map(Bucket::items)
    }

    /// One step of a stateless scan: visits the elements of one bucket, and returns the cursor of
    /// the next step, or 0 at the end. A scan begins with cursor 0. Any cursor is safe.
    ///
    /// An element that is present from the start of a scan to its end is visited at least once,
    /// however often the table grew or shrank between the steps. The reason: put all hashes in
    /// the order of their bits read backwards, lowest bit first. A bucket holds the hashes that
    /// agree in some number of low bits, which in this order is one unbroken range; whatever the
    /// number of buckets, the ranges cut the whole order into pieces without gap or overlap. A
    /// cursor is a place in the order and says that every hash before it is done. A step visits
    /// the bucket whose range contains the cursor, all of it, and returns the place behind that
    /// range.
    pub fn scan<'a>(&'a self, cursor: u64, visit: impl FnMut(Item<'a>)) -> u64 {
        let root = &*self.root;
        let index = root.bucket_of(cursor);
        root.bucket(index).into_iter().flat_map(Bucket::items).for_each(visit);
        let high = root.buckets.next_power_of_two();
        let half = high / 2;
        // Buckets below `half` whose image does not exist yet still hold both of its halves.
        let unsplit = index < half && index + half >= root.buckets;
        let mask = (if unsplit { half } else { high } - 1) as u64;
        // The last hash of the range has ones in all its free bits; the next place is one more,
        // counting from the other end of the word. It wraps to 0 after the last range.
        (cursor | !mask).reverse_bits().wrapping_add(1).reverse_bits()
    }

    /// A random element, each nearly as probable as any other; none if the table is empty. `rng`
    /// must return 64 random bits.
    ///
    /// Draws a bucket and a place in it, and draws anew if nothing is there, so that a bucket is
    /// chosen in proportion to its length. When a nearly empty table makes that fail too often,
    /// the element comes from the next bucket that has any.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<Item<'_>> {
        let root = &*self.root;
        if root.len == 0 {
            return None;
        }
        for _ in 0..SAMPLE_TRIES {
            let Some(bucket) = root.bucket(below(root.buckets, rng())) else { continue };
            let bound = if root.buckets == 1 { 1 } else { SAMPLE_SLOTS };
            if let Some(item) = bucket.nth(below(bound.max(bucket.len()), rng())) {
                return Some(item);
            }
        }
        let start = below(root.buckets, rng());
        let mut order = (start..root.buckets).chain(0..start);
        let bucket = order.find_map(|index| root.bucket(index).filter(|b| b.len() > 0))?;
        bucket.nth(below(bucket.len(), rng()))
    }
}

impl Root {
    /// The bucket, below `buckets`, to which a hash belongs.
    fn bucket_of(&self, hash: u64) -> usize {
        let mask = self.buckets.next_power_of_two() - 1;
        let index = hash as usize & mask;
        if index < self.buckets { index } else { index & (mask >> 1) }
    }

    fn bucket(&self, index: usize) -> Option<&Bucket> {
        self.segments.get(index / SEGMENT)?.get(index % SEGMENT)
    }

    /// The bucket at `index`, to be changed; allocated if it is the first of its segment or half
    /// segment, and copied if a clone shares it.
    fn allocate(&mut self, index: usize) -> &mut Bucket {
        let (number, offset) = (index / SEGMENT, index % SEGMENT);
        if number >= self.segments.len() {
            self.segments.push(Arc::new([]));
        }
        if offset >= self.segments[number].len() {
            let len = if number == 0 { (offset + 1).next_power_of_two() } else { SEGMENT };
            self.resize_segment(number, len);
        }
        &mut Arc::make_mut(&mut self.segments[number])[offset]
    }

    /// Makes a segment longer, with empty buckets, or shorter.
    fn resize_segment(&mut self, number: usize, len: usize) {
        let mut buckets = Vec::with_capacity(len);
        let old = Arc::make_mut(&mut self.segments[number]);
        buckets.extend(old.iter_mut().take(len).map(mem::take));
        buckets.resize_with(len, Bucket::default);
        self.segments[number] = buckets.into();
    }

    /// Takes a few steps towards the number of buckets that suits the length.
    fn resize(&mut self) {
        for _ in 0..RESIZE_STEPS {
            if self.len > self.buckets * LOAD {
                self.split();
            } else if self.buckets > 1 && self.len * SHRINK < self.buckets * LOAD {
                self.merge();
            } else {
                break;
            }
        }
        if self.len == 0 && self.buckets == 1 {
            self.segments = Vec::new();
        }
    }

    /// Adds a bucket, with what belongs to it from the bucket that it is an image of.
    fn split(&mut self) {
        let new = self.buckets;
        let bit = highest_bit(new);
        let seed = self.seed.clone();
        let parent = self.allocate(new & !bit);
        let before = parent.heap_size();
        let image = parent.split(bit as u64, &seed);
        let after = parent.heap_size() + image.heap_size();
        self.bytes = self.bytes - before + after;
        *self.allocate(new) = image;
        self.buckets = new + 1;
    }

    /// Merges the last bucket into the one from which it was split.
    fn merge(&mut self) {
        let last = self.buckets - 1;
        let bucket = mem::take(self.allocate(last));
        let gone = bucket.heap_size();
        let parent = self.allocate(last & !highest_bit(last));
        let before = parent.heap_size();
        parent.append(bucket);
        let after = parent.heap_size();
        self.bytes = self.bytes - gone - before + after;
        self.buckets = last;
        self.release();
    }

    /// Gives back the memory of buckets that are no more.
    fn release(&mut self) {
        self.segments.truncate(self.buckets.div_ceil(SEGMENT));
        if self.segments.len() < self.segments.capacity() / 4 {
            self.segments.shrink_to(2 * self.segments.len());
        }
        let wanted = self.buckets.next_power_of_two();
        if self.segments.len() == 1 && wanted < self.segments[0].len() {
            self.resize_segment(0, wanted);
        }
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
        let buckets = root.segments.iter().flat_map(|segment| segment.iter());
        assert_eq!(root.bytes, buckets.map(Bucket::heap_size).sum::<usize>());
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
        assert!(table.is_empty() && table.root.segments.is_empty());
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
