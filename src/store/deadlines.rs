//! Deadlines in order: a sorted list in blocks, for little more memory than the pairs themselves.
//!
//! A block that is full gives its last pair to the next one, or is cut in half. Deadlines mostly come
//! in nearly ascending order, which leaves nearly all blocks full.
//!
//! Must not know what the deadlines are of. Invariants: no block is empty or longer than [`MAX`],
//! all pairs are different and in ascending order.

/// (Deadline in Unix ms, hash of its key.)
type Pair = (i64, u64);

/// Pairs in a block: 2 KiB of them.
const MAX: usize = 128;

/// The deadlines of a part's keys, or of what is inside of their values.
#[derive(Default)]
pub struct Deadlines {
    blocks: Vec<Vec<Pair>>,
    len: usize,
}

impl Deadlines {
    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap, as an estimate.
    pub fn heap_size(&self) -> usize {
        self.len * size_of::<Pair>() * 5 / 4
    }

    /// The earliest.
    pub fn first(&self) -> Option<Pair> {
        self.blocks.first()?.first().copied()
    }

    /// The latest.
    pub fn last(&self) -> Option<Pair> {
        self.blocks.last()?.last().copied()
    }

    /// The first one from a pair on.
    pub fn from(&self, pair: Pair) -> Option<Pair> {
        let index = self.block_of(pair);
        let behind = || self.blocks.get(index + 1)?.first().copied();
        let block = self.blocks.get(index)?;
        block.get(block.partition_point(|&other| other < pair)).copied().or_else(behind)
    }

    /// The index of the block to which a pair belongs; 0 if there is no block.
    fn block_of(&self, pair: Pair) -> usize {
        self.blocks.partition_point(|block| block[0] <= pair).saturating_sub(1)
    }

    /// Adds a pair; whether it is new.
    pub fn insert(&mut self, pair: Pair) -> bool {
        let index = self.block_of(pair);
        let Some(block) = self.blocks.get_mut(index) else {
            self.blocks.push(vec![pair]);
            self.len = 1;
            return true;
        };
        let Err(at) = block.binary_search(&pair) else { return false };
        self.len += 1;
        if block.len() < MAX {
            block.insert(at, pair);
        } else {
            self.insert_full(index, at, pair);
        }
        true
    }

    /// Adds a pair to a block that is full.
    fn insert_full(&mut self, index: usize, at: usize, pair: Pair) {
        let last = index + 1 == self.blocks.len();
        if at == MAX && last {
            self.blocks.push(vec![pair]);
        } else if !last && self.blocks[index + 1].len() < MAX {
            let block = &mut self.blocks[index];
            block.insert(at, pair);
            let moved = block.split_off(MAX);
            self.blocks[index + 1].splice(..0, moved);
        } else {
            let block = &mut self.blocks[index];
            let mut half = block.split_off(MAX / 2);
            match at.checked_sub(MAX / 2) {
                Some(at) => half.insert(at, pair),
                None => block.insert(at, pair),
            }
            self.blocks.insert(index + 1, half);
        }
    }

    /// Takes a pair out; whether it was there.
    pub fn remove(&mut self, pair: Pair) -> bool {
        let index = self.block_of(pair);
        let Some(block) = self.blocks.get_mut(index) else { return false };
        let Ok(at) = block.binary_search(&pair) else { return false };
        block.remove(at);
        self.len -= 1;
        if block.is_empty() {
            self.blocks.remove(index);
        } else if block.len() < MAX / 4 {
            self.join(index);
            self.join(index.saturating_sub(1));
        }
        if self.blocks.len() < self.blocks.capacity() / 4 {
            self.blocks.shrink_to(2 * self.blocks.len());
        }
        true
    }

    /// Joins a block and the next one if together they are not long.
    fn join(&mut self, index: usize) {
        if let Some([one, next]) = self.blocks.get_mut(index..(index + 2))
            && one.len() + next.len() <= MAX / 2
        {
            one.append(next);
            self.blocks.remove(index + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::BTreeSet;

    fn check(deadlines: &Deadlines, model: &BTreeSet<Pair>) {
        assert!(deadlines.blocks.iter().all(|block| (1..=MAX).contains(&block.len())));
        assert!(deadlines.blocks.iter().flatten().eq(model));
        assert_eq!(deadlines.len(), model.len());
        assert_eq!(deadlines.first(), model.first().copied());
        assert_eq!(deadlines.last(), model.last().copied());
    }

    #[test]
    fn behaves_like_a_sorted_set() {
        let mut rng = Rng::seeded(1);
        let (mut deadlines, mut model) = (Deadlines::default(), BTreeSet::new());
        for step in 0..60_000 {
            let pair = ((rng.next_u64() % 3_000) as i64 - 5, rng.next_u64() % 4);
            // The balance tips now and then.
            if rng.next_u64() % 10 < if step / 10_000 % 2 == 0 { 8 } else { 2 } {
                assert_eq!(deadlines.insert(pair), model.insert(pair));
            } else {
                assert_eq!(deadlines.remove(pair), model.remove(&pair));
            }
            assert_eq!(deadlines.from(pair), model.range(pair..).next().copied());
            if step % 5_000 == 0 {
                check(&deadlines, &model);
            }
        }
        while let Some(pair) = model.pop_first() {
            assert_eq!(deadlines.first(), Some(pair));
            assert!(deadlines.remove(pair));
        }
        check(&deadlines, &model);
        assert_eq!((deadlines.blocks.len(), deadlines.from((0, 0))), (0, None));
    }

    #[test]
    fn blocks_are_full_after_ascending_inserts_and_joined_after_removals() {
        let mut rng = Rng::seeded(2);
        let (mut deadlines, mut model) = (Deadlines::default(), BTreeSet::new());
        for step in 0..50_000i64 {
            let pair = (step / 20, rng.next_u64());
            assert!(deadlines.insert(pair) && model.insert(pair));
        }
        check(&deadlines, &model);
        assert!(deadlines.blocks.len() * MAX < 50_000 * 5 / 4, "{}", deadlines.blocks.len());
        let gone: Vec<Pair> = model.iter().copied().filter(|pair| pair.1 % 100 != 0).collect();
        for pair in gone {
            assert!(deadlines.remove(pair) && model.remove(&pair));
        }
        check(&deadlines, &model);
        assert!(deadlines.blocks.len() < 30, "{}", deadlines.blocks.len());
    }
}
