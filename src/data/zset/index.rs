//! Finds handles by the hashes of what they stand for: linear hashing, as in the keyspace's table,
//! but for slots of five bytes.
//!
//! With `n` buckets and `p` the smallest power of two that is at least `n`, a hash belongs to
//! bucket `hash mod p`, or, where that bucket does not exist yet, to `hash mod p/2`. Bucket `n` is
//! made by splitting the bucket whose number is `n` without its highest bit, and merged back into
//! it. So no operation moves more than one bucket.
//!
//! A bucket is one block of exactly its slots: a tag of one byte, which spares nearly all looks at
//! what another handle stands for, and the handle. With [`LOAD`] slots per bucket the index takes
//! 6 to 7 bytes per handle, the allocator's overhead included.
//!
//! Must not know what a handle stands for: whoever calls can say it, and its hash.

use crate::data::zset::blocks::Blocks;

/// Bytes of a slot: the tag, and the handle, little endian.
const SLOT: usize = 5;

/// Average number of slots in a bucket above which another bucket is made. More saves memory,
/// less makes the way through a bucket shorter.
const LOAD: usize = 24;

/// A bucket is merged when the load falls below `LOAD / SHRINK`, so that an index does not resize
/// to and fro.
const SHRINK: usize = 3;

/// The slots of a bucket.
#[derive(Clone, Default)]
struct Bucket(Box<[u8]>);

/// The index. An empty one has no buckets, which reads like one empty bucket.
#[derive(Clone, Default)]
pub struct Index {
    buckets: Blocks<Bucket>,
    len: usize,
}

fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// The bucket from which bucket `index`, not 0, was split and into which it will be merged.
fn parent_of(index: usize) -> usize {
    index & !(1 << index.ilog2())
}

fn handle_of(slot: &[u8]) -> u32 {
    u32::from_le_bytes([slot[1], slot[2], slot[3], slot[4]])
}

impl Bucket {
    fn handles(&self) -> impl Iterator<Item = u32> {
        self.0.chunks_exact(SLOT).map(handle_of)
    }

    fn push(&mut self, tag: u8, handle: u32) {
        let [a, b, c, d] = handle.to_le_bytes();
        self.append(&[tag, a, b, c, d]);
    }

    fn append(&mut self, slots: &[u8]) {
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        bytes.reserve_exact(slots.len());
        bytes.extend_from_slice(slots);
        self.0 = bytes.into_boxed_slice();
    }

    /// The slot, as the number of its first byte, that has the tag and for whose handle `is` holds.
    fn find(&self, tag: u8, mut is: impl FnMut(u32) -> bool) -> Option<usize> {
        let mut slots = self.0.chunks_exact(SLOT);
        Some(slots.position(|slot| slot[0] == tag && is(handle_of(slot)))? * SLOT)
    }
}

impl Index {
    fn mask(&self) -> u64 {
        (self.buckets.len().next_power_of_two() - 1) as u64
    }

    fn bucket_of(&self, hash: u64) -> usize {
        let mask = self.mask();
        let index = (hash & mask) as usize;
        if index < self.buckets.len() { index } else { (hash & (mask >> 1)) as usize }
    }

    /// The handle with this hash for which `is` holds.
    pub fn find(&self, hash: u64, is: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let bucket = self.buckets.get(self.bucket_of(hash));
        Some(handle_of(&bucket.0[bucket.find(tag_of(hash), is)?..]))
    }

    /// Adds a handle, whose hash it is, and which is not there yet.
    pub fn insert(&mut self, hash: u64, handle: u32, hash_of: impl Fn(u32) -> u64) {
        if self.buckets.len() == 0 {
            self.buckets.push(Bucket::default());
        }
        let bucket = self.bucket_of(hash);
        self.buckets.get_mut(bucket).push(tag_of(hash), handle);
        self.len += 1;
        if self.len > self.buckets.len() * LOAD {
            self.split(hash_of);
        }
    }

    /// Takes a handle, which is there, out.
    pub fn remove(&mut self, hash: u64, handle: u32) {
        let bucket = self.bucket_of(hash);
        let bucket = self.buckets.get_mut(bucket);
        if let Some(at) = bucket.find(tag_of(hash), |other| other == handle) {
            let mut bytes = std::mem::take(&mut bucket.0).into_vec();
            let last = bytes.len() - SLOT;
            bytes.copy_within(last.., at);
            // A block of just the size, because giving back a crumb of one helps nobody.
            bucket.0 = bytes[..last].into();
            self.len -= 1;
        }
        while self.len * SHRINK < self.buckets.len() * LOAD && self.buckets.len() > 1 {
            self.merge();
        }
    }

    /// Puts one handle in the place of another, which is there; both have this hash.
    pub fn replace(&mut self, hash: u64, from: u32, to: u32) {
        let bucket = self.bucket_of(hash);
        let bucket = self.buckets.get_mut(bucket);
        if let Some(at) = bucket.find(tag_of(hash), |other| other == from) {
            bucket.0[at + 1..at + SLOT].copy_from_slice(&to.to_le_bytes());
        }
    }

    fn split(&mut self, hash_of: impl Fn(u32) -> u64) {
        let new = self.buckets.len();
        let bit = 1 << new.ilog2();
        let parent = self.buckets.get_mut(parent_of(new));
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for slot in parent.0.chunks_exact(SLOT) {
            let leaves = hash_of(handle_of(slot)) & bit != 0;
            if leaves { &mut gone } else { &mut kept }.extend_from_slice(slot);
        }
        parent.0 = kept.as_slice().into();
        self.buckets.push(Bucket(gone.as_slice().into()));
    }

    fn merge(&mut self) {
        if let Some(last) = self.buckets.pop() {
            let parent = parent_of(self.buckets.len());
            self.buckets.get_mut(parent).append(&last.0);
        }
    }

    /// One step of a stateless scan: visits the handles of one bucket and returns the cursor of the
    /// next step, 0 at the end, and the number visited. What is there from the start of a scan to
    /// its end is visited at least once, however often the index grew or shrank meanwhile, because
    /// a cursor is a place in the order of all hashes read backwards, lowest bit first: buckets
    /// are ranges of that order, whatever their number.
    pub fn scan(&self, cursor: u64, visit: impl FnMut(u32)) -> (u64, usize) {
        if self.len == 0 {
            return (0, 0);
        }
        let index = self.bucket_of(cursor);
        let bucket = self.buckets.get(index);
        bucket.handles().for_each(visit);
        let high = self.buckets.len().next_power_of_two();
        let half = high / 2;
        // Buckets below `half` whose image does not exist yet hold both halves of their range.
        let whole = index < half && index + half >= self.buckets.len();
        let mask = (if whole { half } else { high } - 1) as u64;
        let next = (cursor | !mask).reverse_bits().wrapping_add(1).reverse_bits();
        (next, bucket.0.len() / SLOT)
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        self.buckets.heap_size() + self.len * SLOT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A hash for a handle; one in eight shares all but its lowest byte with others.
    fn hash_of(handle: u32) -> u64 {
        let mixed = u64::from(handle).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = mixed ^ (mixed >> 29);
        if handle.is_multiple_of(8) { mixed & 0xff } else { mixed }
    }

    fn check(index: &Index, model: &BTreeSet<u32>) {
        assert_eq!(index.len, model.len());
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        loop {
            let (next, visited) = index.scan(cursor, |handle| assert!(seen.insert(handle)));
            assert!(visited <= index.len);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, *model);
    }

    #[test]
    fn handles_are_found_while_it_grows_and_shrinks() {
        let (mut index, mut model) = (Index::default(), BTreeSet::new());
        assert_eq!(index.find(7, |_| true), None);
        for handle in 0..4_000 {
            index.insert(hash_of(handle), handle, hash_of);
            model.insert(handle);
            if handle % 97 == 0 {
                check(&index, &model);
            }
        }
        let clone = index.clone();
        for handle in 0..4_000 {
            assert_eq!(index.find(hash_of(handle), |other| other == handle), Some(handle));
            assert_eq!(index.find(hash_of(handle) ^ 1 << 60, |other| other == handle), None);
        }
        for handle in 0..4_000 {
            index.remove(hash_of(handle), handle);
            model.remove(&handle);
            assert_eq!(index.find(hash_of(handle), |other| other == handle), None);
            if handle % 97 == 0 {
                check(&index, &model);
            }
        }
        assert_eq!(index.buckets.len(), 1);
        check(&clone, &(0..4_000).collect());
    }

    #[test]
    fn a_handle_takes_the_place_of_another() {
        let mut index = Index::default();
        (0..100).for_each(|handle| index.insert(hash_of(handle), handle, hash_of));
        index.replace(hash_of(50), 50, 1_000);
        assert_eq!(index.find(hash_of(50), |_| true), Some(1_000));
    }

    #[test]
    fn a_scan_survives_any_resizing() {
        for (from, to) in [(50u32, 3_000u32), (3_000, 50), (1_000, 1_100), (600, 590)] {
            let stays = from.min(to);
            let mut index = Index::default();
            (0..from).for_each(|handle| index.insert(hash_of(handle), handle, hash_of));
            let (mut cursor, mut seen, mut now) = (0, BTreeSet::new(), from);
            loop {
                cursor = index.scan(cursor, |handle| _ = seen.insert(handle)).0;
                if cursor == 0 {
                    break;
                }
                for _ in 0..60 {
                    if now < to {
                        index.insert(hash_of(now), now, hash_of);
                        now += 1;
                    } else if now > to {
                        now -= 1;
                        index.remove(hash_of(now), now);
                    }
                }
            }
            assert!((0..stays).all(|handle| seen.contains(&handle)), "{from} to {to}");
        }
    }

    #[test]
    fn slots_take_little() {
        let mut index = Index::default();
        (0..50_000).for_each(|handle| index.insert(hash_of(handle), handle, hash_of));
        assert!(index.heap_size() < 50_000 * 6, "{}", index.heap_size());
    }
}
