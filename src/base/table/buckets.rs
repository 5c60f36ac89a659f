//! Linear hashing of [`Bucket`]s: what both the tables of large hashes and sets and the keyspace
//! are made of.
//!
//! With `n` buckets and `p` the smallest power of two that is at least `n`, a hash belongs to
//! bucket `hash mod p`, or, where that bucket does not exist yet, to `hash mod p/2`. Bucket `n` is
//! made by splitting the bucket whose number is `n` without its highest bit; shrinking merges the
//! last bucket back into that one. So there is never a second table nor a rehash of everything, and
//! no operation moves more than a few buckets. A bucket in bit-reversed order is one unbroken range
//! of hashes, which is what makes a cursor of [`Buckets::next_cursor`] survive any resize.
//!
//! Buckets live in segments of [`SEGMENT`]; only the first one starts smaller, so that a small
//! table is small.
//!
//! Bits of a hash: the lowest choose the bucket, bits 48 to 55 are the tag. Bits 56 to 63 are
//! unused, so that a caller may choose among several tables by them.
//!
//! Must not know what the elements are, nor when the table may be resized.
//!
//! Invariants:
//! - every element is in bucket `bucket_of(its hash)`, and no two have equal keys;
//! - the buckets beyond the last one in the last segment are empty;
//! - `bytes` is the sum of what the buckets have on the heap.

use std::mem;
use std::ops::Deref;
use std::sync::Arc;

use crate::base::hash::Seed;

use super::block::Item;
use super::bucket::{Bucket, Element, ElementMut, Found, Long};

/// Buckets in a segment. Every segment but the first has this size.
const SEGMENT: usize = 256;

/// Average number of elements in a bucket above which the table grows. More saves memory, less
/// saves copying when a bucket's block changes.
const LOAD: usize = 5;

/// The table shrinks when the load falls below `LOAD / SHRINK`; the gap to [`LOAD`] keeps a table
/// from resizing to and fro.
const SHRINK: usize = 3;

/// Splits or merges that one insert or removal may do. One would keep pace; two catch up.
const RESIZE_STEPS: usize = 2;

/// Bucket length up to which [`Buckets::random`] is exactly uniform. Longer buckets are rare, and a
/// larger bound would cost more rejected tries.
const SAMPLE_SLOTS: usize = 20;

/// Tries of [`Buckets::random`] before it settles for any element.
const SAMPLE_TRIES: usize = 64;

/// A run of buckets, which clones of the table share or do not.
pub trait Segment: Deref<Target = [Bucket<Self::Long>]> + From<Vec<Bucket<Self::Long>>> {
    /// The long elements.
    type Long: Long;

    /// The buckets, to be changed; copied if a clone shares them.
    fn to_mut(&mut self) -> &mut [Bucket<Self::Long>];
}

impl<L: Long> Segment for Arc<[Bucket<L>]> {
    type Long = L;

    fn to_mut(&mut self) -> &mut [Bucket<L>] {
        Arc::make_mut(self)
    }
}

impl<L: Long> Segment for Box<[Bucket<L>]> {
    type Long = L;

    fn to_mut(&mut self) -> &mut [Bucket<L>] {
        self
    }
}

/// Where an element is, until the next change of another one.
#[derive(Clone, Copy)]
pub struct Spot {
    bucket: usize,
    found: Found,
}

/// The buckets and what belongs to them. All hashes given must be those of the keys under `seed`.
#[derive(Clone)]
pub struct Buckets<S> {
    seed: Seed,
    segments: Vec<S>,
    /// At least 1; the first bucket is not allocated before the first insert.
    count: usize,
    len: usize,
    bytes: usize,
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

impl<S: Segment> Buckets<S> {
    /// No elements, which take no memory.
    pub fn new(seed: Seed) -> Self {
        Buckets { seed, segments: Vec::new(), count: 1, len: 0, bytes: 0 }
    }

    /// The seed under which all hashes are computed.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Number of buckets, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the directory and the buckets, without what these have on the heap, and without
    /// the allocator's own overhead. Takes constant time.
    pub fn overhead(&self) -> usize {
        let first = self.segments.first().map_or(0, |segment| segment.len());
        let buckets = first + self.segments.len().saturating_sub(1) * SEGMENT;
        self.segments.capacity() * size_of::<S>() + buckets * size_of::<Bucket<S::Long>>()
    }

    /// Bytes that the buckets have on the heap.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bucket, below [`Buckets::count`], to which a hash belongs.
    #[inline]
    pub fn bucket_of(&self, hash: u64) -> usize {
        let mask = self.count.next_power_of_two() - 1;
        let index = hash as usize & mask;
        if index < self.count { index } else { index & (mask >> 1) }
    }

    /// A bucket, if it is allocated.
    #[inline]
    pub fn bucket(&self, index: usize) -> Option<&Bucket<S::Long>> {
        self.segments.get(index / SEGMENT)?.get(index % SEGMENT)
    }

    /// Where a key is.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Spot> {
        let bucket = self.bucket_of(hash);
        let found = self.bucket(bucket)?.find(tag_of(hash), key)?;
        Some(Spot { bucket, found })
    }

    /// An element with exactly this hash for which `pred` holds, for a caller that does not know
    /// the key.
    pub fn find_by_hash(
        &self,
        hash: u64,
        pred: impl Fn(&Element<S::Long>) -> bool,
    ) -> Option<Element<'_, S::Long>> {
        let mut elements = self.bucket(self.bucket_of(hash))?.elements();
        elements.find(|element| pred(element) && self.seed.hash(element.key()) == hash)
    }

    /// What is in a spot.
    #[inline]
    pub fn element(&self, spot: Spot) -> Element<'_, S::Long> {
        self.segments[spot.bucket / SEGMENT][spot.bucket % SEGMENT].element(spot.found)
    }

    /// What is in a spot, to be changed in place.
    #[inline]
    pub fn element_mut(&mut self, spot: Spot) -> ElementMut<'_, S::Long> {
        let segment = self.segments[spot.bucket / SEGMENT].to_mut();
        segment[spot.bucket % SEGMENT].element_mut(spot.found)
    }

    /// Gives a short element another value, which must be short as well.
    pub fn set_value(&mut self, spot: Spot, value: &[u8]) {
        match (self.element_mut(spot), spot.found) {
            (ElementMut::Short(old), _) if old.len() == value.len() => old.copy_from_slice(value),
            (_, Found::Short(place)) => {
                self.change(spot.bucket, |bucket, _| bucket.set_value(place, value));
            }
            (_, Found::Long(_)) => {}
        }
    }

    /// Gives a short element another stamp.
    pub fn set_stamp(&mut self, spot: Spot, stamp: Option<i64>) {
        if let Found::Short(place) = spot.found {
            self.change(spot.bucket, |bucket, _| bucket.set_stamp(place, stamp));
        }
    }

    /// Changes a bucket and counts its bytes.
    #[inline]
    fn change<R>(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut Bucket<S::Long>, &Seed) -> R,
    ) -> R {
        let seed = self.seed.clone();
        let bucket = self.allocate(index);
        let before = bucket.heap_size();
        let result = change(bucket, &seed);
        let after = bucket.heap_size();
        self.bytes = self.bytes - before + after;
        result
    }

    /// Puts an element in the spot of one with the same key, or adds it if there is none. What it
    /// replaces is returned if it was long.
    #[inline]
    pub fn put(&mut self, hash: u64, spot: Option<Spot>, item: Item) -> Option<S::Long> {
        let tag = tag_of(hash);
        if let Some(spot) = spot {
            return self.change(spot.bucket, |bucket, _| bucket.replace(tag, spot.found, item));
        }
        self.len += 1;
        self.change(self.bucket_of(hash), |bucket, _| bucket.push(tag, item));
        None
    }

    /// As [`Buckets::put`], for a long element.
    pub fn put_long(&mut self, hash: u64, spot: Option<Spot>, long: S::Long) -> Option<S::Long> {
        if let Some(spot) = spot {
            return self.change(spot.bucket, |bucket, _| bucket.replace_long(spot.found, long));
        }
        self.len += 1;
        self.change(self.bucket_of(hash), |bucket, _| bucket.push_long(long));
        None
    }

    /// Takes an element out, and returns it if it was long.
    pub fn remove(&mut self, spot: Spot) -> Option<S::Long> {
        self.len -= 1;
        self.change(spot.bucket, |bucket, _| bucket.remove(spot.found))
    }

    /// All elements, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_, S::Long>> {
        self.segments.iter().flat_map(|segment| segment.iter()).flat_map(Bucket::elements)
    }

    /// Where a stateless scan goes on behind the bucket of a cursor; 0 at the end. A scan begins
    /// with cursor 0 and visits all of `bucket_of(cursor)` in a step. Any cursor is safe, and leads
    /// to the end in at most [`Buckets::count`] steps if the table does not change. Cursors are
    /// less than twice the number of buckets, so high bits are free for the caller's use.
    ///
    /// An element that is present from the start of a scan to its end is visited at least once,
    /// however often the table grew or shrank between the steps. The reason: put all hashes in
    /// the order of their bits read backwards, lowest bit first. A bucket holds the hashes that
    /// agree in some number of low bits, which in this order is one unbroken range; whatever the
    /// number of buckets, the ranges cut the whole order into pieces without gap or overlap. A
    /// cursor is a place in the order and says that every hash before it is done. That stays true
    /// when ranges are cut or joined, because hashes do not change. A step visits the bucket
    /// whose range contains the cursor, all of it, and goes to the place behind that range: what
    /// a merge put before the cursor is visited twice, and nothing is skipped.
    pub fn next_cursor(&self, cursor: u64) -> u64 {
        let index = self.bucket_of(cursor);
        let high = self.count.next_power_of_two();
        let half = high / 2;
        // Buckets below `half` whose image does not exist yet still hold both of its halves.
        let unsplit = index < half && index + half >= self.count;
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
    pub fn random(&self, rng: &mut impl FnMut() -> u64) -> Option<Element<'_, S::Long>> {
        if self.len == 0 {
            return None;
        }
        for _ in 0..SAMPLE_TRIES {
            let Some(bucket) = self.bucket(below(self.count, rng())) else { continue };
            let bound = if self.count == 1 { 1 } else { SAMPLE_SLOTS };
            if let Some(element) = bucket.elements().nth(below(bound.max(bucket.len()), rng())) {
                return Some(element);
            }
        }
        let start = below(self.count, rng());
        let mut order = (start..self.count).chain(0..start);
        let bucket = order.find_map(|index| self.bucket(index).filter(|b| b.len() > 0))?;
        bucket.elements().nth(below(bucket.len(), rng()))
    }

    /// The bucket at `index`, to be changed; allocated if it is the first of its segment or half
    /// segment, and copied if a clone shares it.
    #[inline]
    fn allocate(&mut self, index: usize) -> &mut Bucket<S::Long> {
        let (number, offset) = (index / SEGMENT, index % SEGMENT);
        if self.segments.get(number).is_none_or(|segment| offset >= segment.len()) {
            self.extend_segment(number, offset);
        }
        &mut self.segments[number].to_mut()[offset]
    }

    /// Makes a segment long enough for a bucket at `offset`.
    #[cold]
    fn extend_segment(&mut self, number: usize, offset: usize) {
        if number >= self.segments.len() {
            self.segments.push(Vec::new().into());
        }
        let len = if number == 0 { (offset + 1).next_power_of_two() } else { SEGMENT };
        self.resize_segment(number, len);
    }

    /// Makes a segment longer, with empty buckets, or shorter.
    fn resize_segment(&mut self, number: usize, len: usize) {
        let mut buckets = Vec::with_capacity(len);
        let old = self.segments[number].to_mut();
        buckets.extend(old.iter_mut().take(len).map(mem::take));
        buckets.resize_with(len, Bucket::default);
        self.segments[number] = buckets.into();
    }

    /// Makes the buckets that so many elements will need, if there are no elements yet.
    pub fn reserve(&mut self, elements: usize) {
        let count = elements.div_ceil(LOAD);
        if self.len > 0 || count <= self.count {
            return;
        }
        for number in 0..count.div_ceil(SEGMENT) {
            let last = (count - 1).min(number * SEGMENT + SEGMENT - 1);
            self.extend_segment(number, last % SEGMENT);
        }
        self.count = count;
    }

    /// Takes a few steps towards the number of buckets that suits the length, which has grown.
    pub fn grow(&mut self) {
        for _ in 0..RESIZE_STEPS {
            if self.len <= self.count * LOAD {
                break;
            }
            self.split();
        }
    }

    /// Likewise, of a length that has shrunk.
    pub fn shrink(&mut self) {
        for _ in 0..RESIZE_STEPS {
            if self.count == 1 || self.len * SHRINK >= self.count * LOAD {
                break;
            }
            self.merge();
        }
        if self.len == 0 && self.count == 1 {
            self.segments = Vec::new();
        }
    }

    /// Adds a bucket, with what belongs to it from the bucket that it is an image of.
    fn split(&mut self) {
        let new = self.count;
        let bit = highest_bit(new);
        let image = self.change(new & !bit, |parent, seed| parent.split(bit as u64, seed));
        self.bytes += image.heap_size();
        *self.allocate(new) = image;
        self.count = new + 1;
    }

    /// Merges the last bucket into the one from which it was split.
    fn merge(&mut self) {
        let last = self.count - 1;
        let bucket = self.change(last, |bucket, _| mem::take(bucket));
        self.change(last & !highest_bit(last), |parent, _| parent.append(bucket));
        self.count = last;
        self.release();
    }

    /// Gives back the memory of buckets that are no more.
    fn release(&mut self) {
        self.segments.truncate(self.count.div_ceil(SEGMENT));
        if self.segments.len() < self.segments.capacity() / 4 {
            self.segments.shrink_to(2 * self.segments.len());
        }
        let wanted = self.count.next_power_of_two();
        if self.segments.len() == 1 && wanted < self.segments[0].len() {
            self.resize_segment(0, wanted);
        }
    }
}
