//! The hash table of the keyspace, and of large sets and hashes: linear hashing.
//!
//! It must not know what a slot holds beside its key, nor anything of shards, locks or expiry.
//!
//! Linear hashing grows one bucket at a time. With `n` buckets and `p` the smallest power of two
//! that is at least `n`, a hash belongs to bucket `hash mod p`, or, where that bucket does not
//! exist yet, to `hash mod p/2`. Bucket `n` is made by splitting the bucket whose number is `n`
//! without its highest bit; shrinking merges the last bucket back into that one. So there is never
//! a second table nor a rehash of everything, and no operation moves more than a few buckets.
//!
//! Buckets live in segments of [`SEGMENT`] that never move; only the first one starts smaller, so
//! that a small table is small. A bucket is 32 bytes (two share a cache line): one-byte tags, and
//! a block that holds exactly its slots. A lookup reads the bucket and then, in all but a few per
//! cent of cases, only the slot it is after.
//!
//! Memory per entry beside `T`: with an average of [`LOAD`] slots in a bucket, 32 / 7 = 4.6 bytes
//! for the bucket plus 16 / 7 = 2.3 for the header and rounding of its block in a usual allocator:
//! about 7 bytes. There is no unused slot capacity. The resident size measured with glibc,
//! 64-byte slots and a million entries or more is 9 to 10 bytes per entry above `T`, with all
//! fragmentation.
//!
//! Bits of a hash: the lowest choose the bucket, bits 48 to 55 are the tag. Bits 56 to 63 are
//! unused, so that a caller may choose among several tables by them.
//!
//! Invariants:
//! - every entry is in bucket `bucket_of(its hash)`, and no two entries have equal keys;
//! - the tag of each of the first [`TAGS`] slots of a bucket is that of its hash;
//! - the table has at least one bucket, which is not allocated before the first insert;
//! - while resizing is paused, `bucket_count` does not change, and an entry stays in its bucket.

use crate::base::hash::Seed;
use std::mem;

/// Buckets in a segment: 4 KiB of them. Every segment but the first has this size.
const SEGMENT: usize = 128;

/// Tags in a bucket. Slots beyond are found by looking at each: a bucket that waits for its split
/// holds up to 2 × [`LOAD`] slots on average, so few ever are beyond.
const TAGS: usize = 16;

/// Average number of slots in a bucket above which the table grows. More saves memory, less saves
/// copying when a bucket's block grows.
const LOAD: usize = 7;

/// The table shrinks when the load falls below `LOAD / SHRINK`; the gap to [`LOAD`] keeps a table
/// from resizing to and fro.
const SHRINK: usize = 3;

/// Splits or merges that one insert or removal may do. One would keep pace; two catch up after a
/// pause.
const RESIZE_STEPS: usize = 2;

/// Bucket length up to which [`Dict::random`] is exactly uniform. Longer buckets are rare, and a
/// larger bound would cost more rejected tries.
const SAMPLE_SLOTS: usize = 24;

/// Tries of [`Dict::random`] before it settles for any entry. At the least load of an unpaused
/// table a try succeeds with a probability of about 0.1, so nearly all draws end before.
const SAMPLE_TRIES: usize = 64;

/// What a [`Dict`] stores: anything that knows its key.
pub trait Slot {
    /// The key, which must not change while the slot is in a table.
    fn key(&self) -> &[u8];

    /// The hash of the key under `seed`, asked for when a bucket is split. A slot that keeps its
    /// hash may return that instead of computing it.
    fn hash(&self, seed: &Seed) -> u64 {
        seed.hash(self.key())
    }
}

/// A bucket: its slots, and the tags of the first [`TAGS`] of them. Tags past the last slot are
/// stale and ignored.
struct Bucket<T> {
    tags: [u8; TAGS],
    slots: Box<[T]>,
}

/// A hash table of slots found by their keys. All operations take the hash of the key, which must
/// be [`Slot::hash`] under the table's [`Dict::seed`].
pub struct Dict<T> {
    seed: Seed,
    segments: Vec<Box<[Bucket<T>]>>,
    buckets: usize,
    len: usize,
    pauses: usize,
}

fn tag_of(hash: u64) -> u8 {
    (hash >> 48) as u8
}

/// The bucket from which bucket `index`, not 0, was split and into which it will be merged.
fn parent_of(index: usize) -> usize {
    index & !highest_bit(index)
}

fn highest_bit(index: usize) -> usize {
    1 << index.ilog2()
}

/// A number below `bound`, which is not 0, without the bias and the cost of a remainder.
fn below(bound: usize, random: u64) -> usize {
    ((u128::from(random) * bound as u128) >> 64) as usize
}

/// Makes a segment longer, with empty buckets, or shorter.
fn resize_segment<T>(segment: &mut Box<[Bucket<T>]>, len: usize) {
    let mut buckets = mem::take(segment).into_vec();
    buckets.reserve_exact(len.saturating_sub(buckets.len()));
    buckets.resize_with(len, Bucket::default);
    *segment = buckets.into_boxed_slice();
}

/// Moves slots into a block of just their size. Giving back the end of the old block in place
/// looks cheaper, but leaves the allocator with crumbs the size of one slot: with glibc that cost
/// 6 bytes more per entry, and once in ten million removals a second to sweep the crumbs up.
fn exact<T>(slots: Vec<T>) -> Box<[T]> {
    let mut exact = Vec::with_capacity(slots.len());
    exact.extend(slots);
    exact.into_boxed_slice()
}

impl<T> Default for Bucket<T> {
    fn default() -> Self {
        Bucket { tags: [0; TAGS], slots: Box::default() }
    }
}

impl<T> Bucket<T> {
    /// The index of the first slot that may have the tag and for which `pred` holds.
    fn find(&self, tag: u8, mut pred: impl FnMut(&T) -> bool) -> Option<usize> {
        const ONES: u128 = u128::from_ne_bytes([0x01; TAGS]);
        const HIGHS: u128 = u128::from_ne_bytes([0x80; TAGS]);
        // A byte of `diff` is zero where the tag is the one sought. The subtraction borrows into
        // the high bit of each such byte, and perhaps of one above it, which `pred` then refuses.
        let diff = u128::from_le_bytes(self.tags) ^ (ONES * u128::from(tag));
        let mut hits = diff.wrapping_sub(ONES) & !diff & HIGHS;
        while hits != 0 {
            let index = hits.trailing_zeros() as usize / 8;
            match self.slots.get(index) {
                Some(slot) if pred(slot) => return Some(index),
                Some(_) => hits &= hits - 1,
                None => return None,
            }
        }
        let beyond = self.slots.get(TAGS..)?.iter().position(pred)?;
        Some(TAGS + beyond)
    }

    fn set_tag(&mut self, index: usize, tag: u8) {
        if let Some(place) = self.tags.get_mut(index) {
            *place = tag;
        }
    }

    fn push(&mut self, tag: u8, slot: T) {
        self.set_tag(self.slots.len(), tag);
        let mut slots = mem::take(&mut self.slots).into_vec();
        slots.reserve_exact(1);
        slots.push(slot);
        self.slots = slots.into_boxed_slice();
    }

    /// Appends the slots of `other`. No hash is needed: a slot that lacked a tag there comes to
    /// stand at least as far back here.
    fn append(&mut self, other: Bucket<T>) {
        if other.slots.is_empty() {
            return;
        }
        for (index, &tag) in other.tags.iter().enumerate() {
            self.set_tag(self.slots.len() + index, tag);
        }
        let mut slots = mem::take(&mut self.slots).into_vec();
        slots.reserve_exact(other.slots.len());
        slots.extend(other.slots);
        self.slots = slots.into_boxed_slice();
    }
}

impl<T: Slot> Bucket<T> {
    /// Removes the slot at `index`; the last one takes its place.
    fn swap_remove(&mut self, index: usize, seed: &Seed) -> T {
        let mut slots = mem::take(&mut self.slots).into_vec();
        let removed = slots.swap_remove(index);
        let last = slots.len();
        if let Some(moved) = slots.get(index).filter(|_| index < TAGS) {
            let known = self.tags.get(last).copied();
            self.tags[index] = known.unwrap_or_else(|| tag_of(moved.hash(seed)));
        }
        self.slots = exact(slots);
        removed
    }

    /// Moves the slots whose hash has the bit `bit` to a new bucket.
    fn split(&mut self, bit: u64, seed: &Seed) -> Bucket<T> {
        let mut slots = mem::take(&mut self.slots).into_vec();
        let mut image = Bucket::default();
        let (mut kept, mut gone) = (0, 0);
        let leaves = |slot: &mut T| {
            let hash = slot.hash(seed);
            let leaves = hash & bit != 0;
            let (bucket, count) =
                if leaves { (&mut image, &mut gone) } else { (&mut *self, &mut kept) };
            bucket.set_tag(*count, tag_of(hash));
            *count += 1;
            leaves
        };
        let moved: Vec<T> = slots.extract_if(.., leaves).collect();
        image.slots = exact(moved);
        self.slots = exact(slots);
        image
    }
}

impl<T> Dict<T> {
    /// An empty table, which allocates nothing.
    pub fn new(seed: Seed) -> Dict<T> {
        Dict { seed, segments: Vec::new(), buckets: 1, len: 0, pauses: 0 }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The seed under which the hashes given to this table must be computed.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Number of buckets, at least 1.
    pub fn bucket_count(&self) -> usize {
        self.buckets
    }

    /// The bucket, below [`Dict::bucket_count`], to which `hash` belongs.
    pub fn bucket_of(&self, hash: u64) -> usize {
        let mask = self.buckets.next_power_of_two() - 1;
        let index = hash as usize & mask;
        if index < self.buckets { index } else { index & (mask >> 1) }
    }

    /// The entries of a bucket; none if there is no such bucket.
    pub fn bucket(&self, index: usize) -> &[T] {
        self.bucket_ref(index).map_or(&[], |bucket| &bucket.slots)
    }

    /// Keeps every entry in its bucket until as many calls of [`Dict::resume_resize`] as there
    /// were of this one. Meanwhile the buckets get longer or emptier, and nothing else changes.
    pub fn pause_resize(&mut self) {
        self.pauses += 1;
    }

    /// Ends a pause. Later inserts and removals then do what was put off, a little each.
    pub fn resume_resize(&mut self) {
        self.pauses = self.pauses.saturating_sub(1);
    }

    /// Bytes that the table has allocated: directory, buckets and slots, without what the slots
    /// own, without `Dict` itself, and without the allocator's own overhead. Takes constant time.
    pub fn memory_overhead(&self) -> usize {
        let first = self.segments.first().map_or(0, |segment| segment.len());
        let buckets = first + self.segments.len().saturating_sub(1) * SEGMENT;
        self.segments.capacity() * size_of::<Box<[Bucket<T>]>>()
            + buckets * size_of::<Bucket<T>>()
            + self.len * size_of::<T>()
    }

    /// One step of a stateless scan: visits the entries of one bucket, and returns the cursor of
    /// the next step, or 0 at the end. A scan begins with cursor 0. Any cursor is safe, and leads
    /// to the end in at most [`Dict::bucket_count`] steps if the table does not change. Cursors
    /// are less than twice the number of buckets, so high bits are free for the caller's use.
    ///
    /// An entry that is present from the start of a scan to its end is visited at least once,
    /// however often the table grew or shrank between the steps. The reason: put all hashes in
    /// the order of their bits read backwards, lowest bit first. A bucket holds the hashes that
    /// agree in some number of low bits, which in this order is one unbroken range; whatever the
    /// number of buckets, the ranges cut the whole order into pieces without gap or overlap. A
    /// cursor is a place in the order and says that every hash before it is done. That stays true
    /// when ranges are cut or joined, because hashes do not change. A step visits the bucket
    /// whose range contains the cursor, all of it, and returns the place behind that range: what
    /// a merge put before the cursor is visited twice, and nothing is skipped.
    pub fn scan(&self, cursor: u64, visit: impl FnMut(&T)) -> u64 {
        let index = self.bucket_of(cursor);
        self.bucket(index).iter().for_each(visit);
        let high = self.buckets.next_power_of_two();
        let half = high / 2;
        // Buckets below `half` whose image does not exist yet still hold both of its halves.
        let unsplit = index < half && index + half >= self.buckets;
        let mask = (if unsplit { half } else { high } - 1) as u64;
        // The last hash of the range has ones in all its free bits; the next place is one more,
        // counting from the other end of the word. It wraps to 0 after the last range.
        (cursor | !mask).reverse_bits().wrapping_add(1).reverse_bits()
    }

    /// A random entry, each nearly as probable as any other; none if the table is empty. `rng`
    /// must return 64 random bits.
    ///
    /// Draws a bucket and a place in it, and draws anew if nothing is there, so that a bucket is
    /// chosen in proportion to its length. When a nearly empty table makes that fail too often,
    /// the entry comes from the next bucket that has any.
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        for _ in 0..SAMPLE_TRIES {
            let slots = self.bucket(below(self.buckets, rng()));
            let bound = if self.buckets == 1 { slots.len() } else { SAMPLE_SLOTS };
            if let Some(slot) = slots.get(below(bound.max(slots.len()), rng())) {
                return Some(slot);
            }
        }
        let start = below(self.buckets, rng());
        let mut order = (start..self.buckets).chain(0..start);
        let slots = order.find_map(|index| Some(self.bucket(index)).filter(|s| !s.is_empty()))?;
        slots.get(below(slots.len(), rng()))
    }

    fn bucket_ref(&self, index: usize) -> Option<&Bucket<T>> {
        self.segments.get(index / SEGMENT)?.get(index % SEGMENT)
    }

    fn bucket_mut(&mut self, index: usize) -> Option<&mut Bucket<T>> {
        self.segments.get_mut(index / SEGMENT)?.get_mut(index % SEGMENT)
    }

    /// The bucket and the slot in it that may have `hash` and for which `pred` holds.
    fn position(&self, hash: u64, pred: impl FnMut(&T) -> bool) -> Option<(usize, usize)> {
        let bucket = self.bucket_of(hash);
        let index = self.bucket_ref(bucket)?.find(tag_of(hash), pred)?;
        Some((bucket, index))
    }

    fn slot_mut(&mut self, (bucket, index): (usize, usize)) -> Option<&mut T> {
        self.bucket_mut(bucket)?.slots.get_mut(index)
    }

    /// The bucket at `index`, allocated if it is the first of its segment or half segment.
    fn allocate(&mut self, index: usize) -> &mut Bucket<T> {
        let (number, offset) = (index / SEGMENT, index % SEGMENT);
        if number >= self.segments.len() {
            self.segments.push(Box::default());
        }
        let segment = &mut self.segments[number];
        if offset >= segment.len() {
            let len = if number == 0 { (offset + 1).next_power_of_two() } else { SEGMENT };
            resize_segment(segment, len);
        }
        &mut segment[offset]
    }

    /// Gives back the memory of buckets that are no more.
    fn release(&mut self) {
        self.segments.truncate(self.buckets.div_ceil(SEGMENT));
        if self.segments.len() < self.segments.capacity() / 4 {
            self.segments.shrink_to(2 * self.segments.len());
        }
        let wanted = self.buckets.next_power_of_two();
        if let [only] = &mut self.segments[..]
            && wanted < only.len()
        {
            resize_segment(only, wanted);
        }
    }

    /// Merges the last bucket into the one from which it was split.
    fn merge(&mut self) {
        let last = self.buckets - 1;
        let bucket = self.bucket_mut(last).map(mem::take).unwrap_or_default();
        self.allocate(parent_of(last)).append(bucket);
        self.buckets = last;
        self.release();
    }
}

impl<T: Slot> Dict<T> {
    /// The entry with this key.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&T> {
        let (bucket, index) = self.position(hash, |slot| slot.key() == key)?;
        self.bucket(bucket).get(index)
    }

    /// The entry with this key; its key must not be changed.
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut T> {
        let place = self.position(hash, |slot| slot.key() == key)?;
        self.slot_mut(place)
    }

    /// An entry with exactly this hash for which `pred` holds, for a caller that does not know
    /// the key. `pred` may also be asked about entries with another hash.
    pub fn find_by_hash(&self, hash: u64, pred: impl FnMut(&T) -> bool) -> Option<&T> {
        let (bucket, index) = self.position_by_hash(hash, pred)?;
        self.bucket(bucket).get(index)
    }

    /// Puts a slot in, and returns the one it replaces, if there was one with an equal key.
    pub fn insert(&mut self, hash: u64, slot: T) -> Option<T> {
        debug_assert_eq!(hash, slot.hash(&self.seed), "the hash is not that of the slot's key");
        if let Some(place) = self.position(hash, |old| old.key() == slot.key()) {
            return self.slot_mut(place).map(|old| mem::replace(old, slot));
        }
        let bucket = self.bucket_of(hash);
        self.allocate(bucket).push(tag_of(hash), slot);
        self.len += 1;
        self.resize();
        None
    }

    /// Takes the entry with this key out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let (bucket, index) = self.position(hash, |slot| slot.key() == key)?;
        let segment = self.segments.get_mut(bucket / SEGMENT)?;
        let removed = segment.get_mut(bucket % SEGMENT)?.swap_remove(index, &self.seed);
        self.len -= 1;
        self.resize();
        Some(removed)
    }

    fn position_by_hash(
        &self,
        hash: u64,
        mut pred: impl FnMut(&T) -> bool,
    ) -> Option<(usize, usize)> {
        self.position(hash, |slot| pred(slot) && slot.hash(&self.seed) == hash)
    }

    /// Takes a few steps, unless paused, towards the number of buckets that suits the length.
    fn resize(&mut self) {
        if self.pauses > 0 {
            return;
        }
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
        let bit = highest_bit(new) as u64;
        let parent = parent_of(new);
        let seed = &self.seed;
        let segment = self.segments.get_mut(parent / SEGMENT);
        let bucket = segment.and_then(|segment| segment.get_mut(parent % SEGMENT));
        let image = bucket.map(|bucket| bucket.split(bit, seed)).unwrap_or_default();
        *self.allocate(new) = image;
        self.buckets = new + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    /// A slot whose hash is chosen by the test, so that runs repeat and collisions can be had.
    #[derive(Debug, PartialEq)]
    struct Item {
        key: [u8; 4],
        hash: u64,
        value: u64,
    }

    impl Slot for Item {
        fn key(&self) -> &[u8] {
            &self.key
        }

        fn hash(&self, _: &Seed) -> u64 {
            self.hash
        }
    }

    struct Rng(u64);

    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(self.0)
        }

        fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }
    }

    fn mix(mut x: u64) -> u64 {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn item_hashed(number: u32, hash: u64, value: u64) -> Item {
        let key = number.to_be_bytes();
        Item { key, hash, value }
    }

    fn hash_of(number: u32) -> u64 {
        mix(u64::from(number) + 1)
    }

    fn dict() -> Dict<Item> {
        Dict::new(Seed::random())
    }

    fn put(dict: &mut Dict<Item>, number: u32) -> Option<Item> {
        let hash = hash_of(number);
        dict.insert(hash, item_hashed(number, hash, u64::from(number)))
    }

    fn cut(dict: &mut Dict<Item>, number: u32) -> Option<Item> {
        dict.remove(hash_of(number), &number.to_be_bytes())
    }

    fn put_all(dict: &mut Dict<Item>, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            put(dict, number);
        }
    }

    fn cut_all(dict: &mut Dict<Item>, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            assert!(cut(dict, number).is_some());
        }
    }

    fn filled(count: u32) -> Dict<Item> {
        let mut dict = dict();
        (0..count).for_each(|number| assert_eq!(put(&mut dict, number), None));
        dict
    }

    /// Checks the invariants that the head of the file lists.
    fn check(dict: &Dict<Item>) {
        let mut seen = HashSet::new();
        for index in 0..dict.bucket_count() {
            for (place, item) in dict.bucket(index).iter().enumerate() {
                assert_eq!(dict.bucket_of(item.hash), index);
                assert!(seen.insert(item.key));
                let tags = dict.bucket_ref(index).unwrap().tags;
                assert!(place >= TAGS || tags[place] == tag_of(item.hash));
            }
        }
        assert_eq!(seen.len(), dict.len());
        let buckets = (0..dict.bucket_count()).map(|index| dict.bucket(index).len());
        assert_eq!(buckets.sum::<usize>(), dict.len());
        assert_eq!(dict.is_empty(), seen.is_empty());
    }

    fn assert_load(dict: &Dict<Item>) {
        assert!(dict.len() <= dict.bucket_count() * LOAD);
        assert!(dict.bucket_count() == 1 || dict.len() * SHRINK >= dict.bucket_count() * LOAD);
    }

    #[test]
    fn behaves_like_a_map() {
        let mut rng = Rng(1);
        let mut dict = dict();
        let mut model: HashMap<u32, u64> = HashMap::new();
        for step in 0..200_000u64 {
            // The balance tips now and then, so that the table grows large and empties again.
            let grow = if step / 25_000 % 2 == 0 { 70 } else { 20 };
            let number = rng.below(10_000) as u32;
            let (hash, key) = (hash_of(number), number.to_be_bytes());
            if rng.below(100) < grow {
                let old = dict.insert(hash, item_hashed(number, hash, step));
                assert_eq!(old.map(|item| item.value), model.insert(number, step));
            } else if rng.below(4) == 0 {
                let found = dict.get_mut(hash, &key).map(|item| &mut item.value);
                let wanted = model.get_mut(&number);
                assert_eq!(found, wanted);
                found.into_iter().chain(wanted).for_each(|value| *value += 1);
            } else {
                let old = dict.remove(hash, &key);
                assert_eq!(old.map(|item| item.value), model.remove(&number));
            }
            let found = dict.get(hash, &key).map(|item| item.value);
            assert_eq!(found.as_ref(), model.get(&number));
            assert_load(&dict);
            if step % 20_000 == 0 {
                check(&dict);
            }
        }
        for number in 0..10_000 {
            assert_eq!(cut(&mut dict, number).map(|i| i.value), model.remove(&number));
        }
        assert_eq!((dict.len(), dict.memory_overhead()), (0, 0));
    }

    #[test]
    fn scan_visits_what_stays_while_the_table_resizes() {
        for seed in 0..150 {
            let mut rng = Rng(seed);
            let limit = 1 + rng.below(3_000) as u32;
            // Even numbers stay; odd ones come and go.
            let mut dict = dict();
            put_all(&mut dict, (0..limit).step_by(2));
            let mut unseen: HashSet<u32> = (0..limit).step_by(2).collect();
            let mut cursor = 0;
            loop {
                let visit = |item: &Item| {
                    unseen.remove(&(item.value as u32));
                };
                cursor = dict.scan(cursor, visit);
                assert!(cursor < 2 * dict.bucket_count() as u64);
                if cursor == 0 {
                    break;
                }
                let add = rng.below(2) == 0;
                for _ in 0..rng.below(400) {
                    let number = rng.below(20_000) as u32 | 1;
                    if add {
                        put(&mut dict, number);
                    } else {
                        cut(&mut dict, number);
                    }
                }
            }
            assert_eq!(unseen.len(), 0, "seed {seed}");
        }
    }

    #[test]
    fn scan_of_a_still_table_visits_everything_once() {
        for count in [0, 1, 7, 8, 20, 100, 900, 5_000] {
            let dict = filled(count);
            let (mut cursor, mut steps, mut visits) = (0, 0, 0);
            loop {
                cursor = dict.scan(cursor, |_| visits += 1);
                steps += 1;
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!((steps, visits), (dict.bucket_count(), count));
        }
    }

    #[test]
    fn scan_ends_from_any_cursor() {
        let mut rng = Rng(5);
        let fixed = [1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 1 << 48];
        for count in [0, 1, 30, 1_000] {
            let dict = filled(count);
            for round in 0..200 {
                let random = rng.next();
                let mut cursor = fixed.get(round).copied().unwrap_or(random);
                let mut steps = 0;
                while steps == 0 || cursor != 0 {
                    cursor = dict.scan(cursor, |_| ());
                    steps += 1;
                    assert!(steps <= dict.bucket_count());
                }
            }
        }
    }

    #[test]
    fn nothing_moves_between_buckets_while_paused() {
        let mut dict = filled(1_000);
        let buckets = dict.bucket_count();
        dict.pause_resize();
        dict.pause_resize();
        put_all(&mut dict, 1_000..20_000);
        assert_eq!(dict.bucket_count(), buckets);
        check(&dict);
        dict.resume_resize();
        cut_all(&mut dict, 0..19_990);
        assert_eq!(dict.bucket_count(), buckets);
        check(&dict);
        dict.resume_resize();
        let mut last = buckets;
        for number in 0..1_000 {
            put(&mut dict, number);
            cut(&mut dict, number);
            assert!(dict.bucket_count() + 2 * RESIZE_STEPS >= last);
            last = dict.bucket_count();
        }
        assert_load(&dict);
        check(&dict);
    }

    #[test]
    fn growth_put_off_by_a_pause_is_caught_up_in_small_steps() {
        let mut dict = dict();
        dict.pause_resize();
        put_all(&mut dict, 0..5_000);
        assert_eq!(dict.bucket_count(), 1);
        dict.resume_resize();
        for number in 5_000..6_000 {
            let before = dict.bucket_count();
            put(&mut dict, number);
            assert!(dict.bucket_count() <= before + RESIZE_STEPS);
        }
        assert_load(&dict);
        check(&dict);
    }

    #[test]
    fn a_flood_of_equal_hashes_is_only_slow() {
        let hash = 0x0123_4567_89ab_cdef;
        let mut dict = filled(100);
        for number in 1_000..2_000 {
            assert_eq!(dict.insert(hash, item_hashed(number, hash, 0)), None);
        }
        check(&dict);
        assert!(dict.bucket(dict.bucket_of(hash)).len() >= 1_000);
        // From the front, so that slots without a tag move to places that have one.
        for number in 1_000..2_000u32 {
            assert!(dict.get(hash, &number.to_be_bytes()).is_some());
            assert!(dict.remove(hash, &number.to_be_bytes()).is_some());
            assert!(dict.get(hash, &number.to_be_bytes()).is_none());
        }
        check(&dict);
        cut_all(&mut dict, 0..100);
    }

    #[test]
    fn merging_long_buckets_keeps_their_tags() {
        let mut dict = dict();
        dict.pause_resize();
        // Two buckets' worth of hashes with various tags, more of each than there are tags.
        for number in 0..80 {
            let hash = u64::from(number) << 48 | u64::from(number % 2);
            dict.insert(hash, item_hashed(number, hash, 0));
        }
        dict.split();
        assert_eq!([dict.bucket(0).len(), dict.bucket(1).len()], [40, 40]);
        check(&dict);
        for number in 0..70u32 {
            let hash = u64::from(number) << 48 | u64::from(number % 2);
            assert!(dict.remove(hash, &number.to_be_bytes()).is_some());
            check(&dict);
        }
        dict.merge();
        assert_eq!(dict.bucket(0).len(), 10);
        check(&dict);
    }

    #[test]
    fn finds_by_hash_and_predicate_without_the_key() {
        let mut dict = dict();
        dict.pause_resize();
        // All in one bucket, with equal tags for every two numbers, and tags for a few only.
        for number in 0..60 {
            let hash = u64::from(number / 2) << 48 | u64::from(number % 2) << 40;
            dict.insert(hash, item_hashed(number, hash, 7));
        }
        for number in 0..60u32 {
            let hash = u64::from(number / 2) << 48 | u64::from(number % 2) << 40;
            let found = dict.find_by_hash(hash, |item| item.value == 7);
            assert_eq!(found.map(|item| item.key), Some(number.to_be_bytes()));
            assert!(dict.find_by_hash(hash, |item| item.value == 6).is_none());
            assert!(dict.find_by_hash(hash ^ 1, |_| true).is_none());
        }
    }

    #[test]
    fn random_reaches_every_entry_about_equally() {
        let mut rng = Rng(9);
        for count in [1, 5, 50, 300] {
            let dict = filled(count);
            let mut hits = vec![0; count as usize];
            for _ in 0..count * 400 {
                let item = dict.random(&mut || rng.next()).unwrap();
                hits[item.value as usize] += 1;
            }
            // A fair count of 400 has a deviation of 20; six of them never happen by chance.
            assert!(hits.iter().all(|hits| (280..=520).contains(hits)), "{hits:?}");
        }
    }

    #[test]
    fn random_finds_the_last_entry_of_a_table_that_may_not_shrink() {
        let mut dict = filled(20_000);
        assert!(Dict::<Item>::new(Seed::random()).random(&mut || 0).is_none());
        dict.pause_resize();
        cut_all(&mut dict, 1..20_000);
        for value in [0, u64::MAX, 1 << 63] {
            assert_eq!(dict.random(&mut || value).unwrap().value, 0);
        }
        cut(&mut dict, 0);
        assert!(dict.random(&mut || 0).is_none());
    }

    #[test]
    fn memory_is_small_for_small_tables_and_tight_for_large_ones() {
        assert_eq!(dict().memory_overhead(), 0);
        let item = size_of::<Item>();
        let small = filled(3).memory_overhead();
        assert!(small <= 3 * item + 128, "{small}");
        let mut emptied = filled(2_000);
        cut_all(&mut emptied, 3..2_000);
        assert!(emptied.memory_overhead() <= 3 * item + 128);
        let large = filled(50_000).memory_overhead();
        assert!(large <= 50_000 * (item + 5), "{large}");
        assert_eq!(size_of::<Bucket<Item>>(), 32);
    }

    #[test]
    fn slots_are_hashed_with_the_seed_by_default() {
        struct Name(String);
        impl Slot for Name {
            fn key(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }
        let seed = Seed::random();
        let mut dict = Dict::new(seed.clone());
        for number in 0..1_000 {
            let name = format!("name {number}");
            assert!(dict.insert(seed.hash(name.as_bytes()), Name(name)).is_none());
        }
        for number in 0..1_000 {
            let name = format!("name {number}");
            assert!(dict.get(seed.hash(name.as_bytes()), name.as_bytes()).is_some());
        }
    }
}
