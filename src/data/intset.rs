//! A sorted set of integers in one block of bytes: the form of small sets of numbers.
//!
//! The bytes are Redis's own intset format, so that RDB bodies are the block itself:
//!
//! ```text
//! width u32 LE (2, 4 or 8) | length u32 LE | so many integers of `width` bytes, LE, ascending
//! ```
//!
//! The width is what the largest integer so far has needed: a removal never makes it smaller. This
//! file must not know what a set is.
//!
//! Invariants: the block is always whole and valid (`from_bytes` checks it to the last byte), and
//! no integer is in it twice.

use std::cmp::Ordering;
use std::mem;

const HEADER: usize = 8;

/// The most members that a caller may put in: far below what the length field can say.
pub const MAX_LEN: usize = 1 << 30;

/// The set. It is a fat pointer and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intset(Box<[u8]>);

/// The bytes that this integer needs.
fn width_for(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// The number that these 2, 4 or 8 bytes hold.
fn read(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => bytes.first_chunk().map_or(0, |eight| i64::from_le_bytes(*eight)),
    }
}

/// An empty block with room for `len` integers.
fn block(width: usize, len: usize) -> Vec<u8> {
    let mut block = Vec::with_capacity(HEADER + width * len);
    block.extend_from_slice(&(width as u32).to_le_bytes());
    block.extend_from_slice(&(len as u32).to_le_bytes());
    block
}

impl Default for Intset {
    fn default() -> Self {
        Intset::new()
    }
}

impl FromIterator<i64> for Intset {
    fn from_iter<I: IntoIterator<Item = i64>>(values: I) -> Self {
        let mut values: Vec<i64> = values.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        let width = values.iter().copied().map(width_for).max().unwrap_or(2);
        Intset::with_width(width, values.len(), values.into_iter())
    }
}

impl Intset {
    /// An empty one.
    pub fn new() -> Intset {
        Intset(block(2, 0).into_boxed_slice())
    }

    fn with_width(width: usize, len: usize, ascending: impl Iterator<Item = i64>) -> Intset {
        let mut block = block(width, len);
        for value in ascending {
            block.extend_from_slice(&value.to_le_bytes()[..width]);
        }
        Intset(block.into_boxed_slice())
    }

    /// Takes over a block from elsewhere, if every byte of it is as it must be and it is not
    /// empty.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Intset> {
        let width = u32::from_le_bytes(*bytes.first_chunk()?);
        let len = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
        if !matches!(width, 2 | 4 | 8) || len == 0 {
            return None;
        }
        let size = HEADER as u64 + u64::from(width) * u64::from(len);
        if u64::try_from(bytes.len()) != Ok(size) {
            return None;
        }
        let set = Intset(bytes.into_boxed_slice());
        set.iter().is_sorted_by(|a, b| a < b).then_some(set)
    }

    /// Takes back the bytes of an intset of this process, which need no look.
    pub(super) fn restored(bytes: &[u8]) -> Intset {
        Intset(bytes.into())
    }

    /// The whole block.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        self.0.len()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        (self.0.len() - HEADER) / self.width()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.len() == HEADER
    }

    fn width(&self) -> usize {
        usize::from(self.0[0])
    }

    /// The member with this rank in ascending order, if there are so many.
    pub fn get(&self, index: usize) -> Option<i64> {
        let start = HEADER + index.checked_mul(self.width())?;
        self.0.get(start..start + self.width()).map(read)
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator {
        self.0[HEADER..].chunks_exact(self.width()).map(read)
    }

    /// Whether a number is a member.
    pub fn contains(&self, value: i64) -> bool {
        width_for(value) <= self.width() && self.search(value).is_ok()
    }

    /// The rank of a member, or the one that it would get.
    fn search(&self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.get(middle).unwrap_or(i64::MAX);
            match found.cmp(&value) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Adds a number; whether it was not there yet. The caller keeps to [`MAX_LEN`].
    pub fn insert(&mut self, value: i64) -> bool {
        let Err(rank) = self.search(value) else { return false };
        let needed = width_for(value);
        if needed > self.width() {
            *self = Intset::with_width(needed, self.len(), self.iter());
        }
        let width = self.width();
        let start = HEADER + rank * width;
        let mut block = mem::take(&mut self.0).into_vec();
        let end = block.len();
        block.reserve_exact(width);
        block.resize(end + width, 0);
        block.copy_within(start..end, start + width);
        block[start..start + width].copy_from_slice(&value.to_le_bytes()[..width]);
        self.replace(block);
        true
    }

    /// Takes a number out; whether it was there.
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(rank) = self.search(value) else { return false };
        let width = self.width();
        let start = HEADER + rank * width;
        let mut block = mem::take(&mut self.0).into_vec();
        block.drain(start..start + width);
        self.replace(block);
        true
    }

    /// Sets the block, whose length field is still that of before.
    fn replace(&mut self, block: Vec<u8>) {
        self.0 = block.into_boxed_slice();
        let len = self.len() as u32;
        self.0[4..HEADER].copy_from_slice(&len.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::BTreeSet;

    fn check(set: &Intset, model: &BTreeSet<i64>) {
        assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
        assert!(set.iter().eq(model.iter().copied()));
        let again = Intset::from_bytes(set.as_bytes().to_vec());
        assert_eq!(again.is_none(), model.is_empty());
        assert!(again.is_none_or(|again| again == *set));
    }

    #[test]
    fn random_changes_agree_with_a_model() {
        let mut rng = Rng::seeded(1);
        for round in 0..40 {
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            for step in 0..120 {
                // Later steps reach further, so that the block is widened twice in each round.
                let shift = 64 - [8, 17, 64][step / 40];
                let value = (rng.next_u64() as i64) >> shift;
                if (rng.next_u64() >> 1).wrapping_add(round).is_multiple_of(3) {
                    assert_eq!(set.remove(value), model.remove(&value));
                } else {
                    assert_eq!(set.insert(value), model.insert(value));
                }
                assert_eq!(set.contains(value), model.contains(&value));
                check(&set, &model);
            }
        }
    }

    #[test]
    fn the_block_is_redis_s() {
        let mut set = Intset::new();
        set.insert(5);
        set.insert(-2);
        assert_eq!(set.as_bytes(), b"\x02\0\0\0\x02\0\0\0\xfe\xff\x05\0");
        set.insert(32_768);
        let wide = b"\x04\0\0\0\x03\0\0\0\xfe\xff\xff\xff\x05\0\0\0\0\x80\0\0";
        assert_eq!(set.as_bytes(), wide);
        set.remove(32_768);
        assert_eq!(set.as_bytes(), b"\x04\0\0\0\x02\0\0\0\xfe\xff\xff\xff\x05\0\0\0");
    }

    #[test]
    fn limits_of_the_widths() {
        for (value, width) in [
            (0, 2),
            (-32_768, 2),
            (32_767, 2),
            (-32_769, 4),
            (32_768, 4),
            (i64::from(i32::MIN), 4),
            (i64::from(i32::MAX), 4),
            (i64::from(i32::MIN) - 1, 8),
            (i64::from(i32::MAX) + 1, 8),
            (i64::MIN, 8),
            (i64::MAX, 8),
        ] {
            let set = Intset::from_iter([value, value]);
            assert_eq!((set.len(), set.width(), set.get(0)), (1, width, Some(value)));
            assert!(set.contains(value) && set.get(1).is_none() && set.get(usize::MAX).is_none());
        }
        assert!(!Intset::from_iter([1]).contains(i64::MIN));
    }

    #[test]
    fn broken_blocks_are_refused() {
        let good = Intset::from_iter([1, 2, 70_000]).as_bytes().to_vec();
        assert!(Intset::from_bytes(good.clone()).is_some());
        for cut in 0..good.len() {
            assert!(Intset::from_bytes(good[..cut].to_vec()).is_none());
        }
        let damaged = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Intset::from_bytes(bytes)
        };
        assert_eq!((damaged(0, 2), damaged(0, 3), damaged(1, 1)), (None, None, None));
        assert_eq!((damaged(4, 2), damaged(7, 0xff)), (None, None));
        // Out of order, and twice the same.
        assert_eq!((damaged(8, 3), damaged(8, 2)), (None, None));
        assert!(damaged(8, 0).is_some());
        assert!(Intset::from_bytes(b"\x02\0\0\0\0\0\0\0".to_vec()).is_none());
    }
}
