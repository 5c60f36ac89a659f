//! A growing array in blocks, which clones share.
//!
//! It never moves more than one block, so that no push takes long; and who changes a clone copies
//! only the blocks that he touches, so that a change during a snapshot does not take long either.
//!
//! Must not know what the items are. Invariants: all blocks but the last are full; the last has
//! room for more, filled with defaults.

use std::sync::Arc;

/// Items in a full block. A table of ten millions has twenty thousand blocks, which are cloned
/// (that is, counted) in about a millisecond.
const BLOCK: usize = 512;

/// Items in the first block of a small array.
const SMALLEST: usize = 4;

/// The array.
#[derive(Clone)]
pub struct Blocks<T> {
    blocks: Vec<Arc<[T]>>,
    len: usize,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Blocks { blocks: Vec::new(), len: 0 }
    }
}

impl<T: Clone + Default> Blocks<T> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The item at an index below the length.
    pub fn get(&self, index: usize) -> &T {
        &self.blocks[index / BLOCK][index % BLOCK]
    }

    /// The item at an index below the length, to be changed.
    pub fn get_mut(&mut self, index: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.blocks[index / BLOCK])[index % BLOCK]
    }

    /// Adds an item at the end.
    pub fn push(&mut self, item: T) {
        let used = self.len % BLOCK;
        if used == 0 {
            let room = if self.len == 0 { SMALLEST } else { BLOCK };
            self.blocks.push(fresh(Vec::new(), room));
        } else if let Some(last) = self.blocks.last_mut()
            && used == last.len()
        {
            // Only the first block is ever smaller than a full one.
            resize(last, used * 2);
        }
        self.len += 1;
        *self.get_mut(self.len - 1) = item;
    }

    /// Takes the last item off.
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        let item = std::mem::take(self.get_mut(self.len));
        if self.len.is_multiple_of(BLOCK) {
            self.blocks.pop();
            if self.blocks.len() < self.blocks.capacity() / 4 {
                self.blocks.shrink_to(2 * self.blocks.len());
            }
        } else if let [only] = &mut self.blocks[..]
            && self.len < only.len() / 4
        {
            resize(only, only.len() / 2);
        }
        Some(item)
    }

    /// Bytes of the blocks, without what the items own.
    pub fn heap_size(&self) -> usize {
        let items: usize = match &self.blocks[..] {
            [] => 0,
            [first, rest @ ..] => first.len() + rest.len() * BLOCK,
        };
        items * size_of::<T>() + self.blocks.capacity() * (size_of::<Arc<[T]>>() + 16)
    }
}

/// A block that begins with these items and has `room` for as many altogether.
fn fresh<T: Default>(items: Vec<T>, room: usize) -> Arc<[T]> {
    items.into_iter().chain(std::iter::repeat_with(T::default)).take(room).collect()
}

/// Gives a block another size; what is cut off holds defaults.
fn resize<T: Clone + Default>(block: &mut Arc<[T]>, room: usize) {
    let items = Arc::make_mut(block).iter_mut().take(room).map(std::mem::take).collect();
    *block = fresh(items, room);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_and_pops_like_a_vector() {
        let mut blocks = Blocks::default();
        for number in 0..3 * BLOCK {
            blocks.push(number);
            assert_eq!((blocks.len(), *blocks.get(number / 2)), (number + 1, number / 2));
        }
        *blocks.get_mut(700) = 7;
        let clone = blocks.clone();
        *blocks.get_mut(700) = 8;
        assert_eq!((*clone.get(700), *blocks.get(700)), (7, 8));
        for number in (0..3 * BLOCK).rev() {
            let expected = if number == 700 { 8 } else { number };
            assert_eq!(blocks.pop(), Some(expected));
        }
        assert_eq!((blocks.pop(), blocks.len(), blocks.heap_size() < 100), (None, 0, true));
        assert_eq!((clone.len(), *clone.get(1000)), (3 * BLOCK, 1000));
    }

    #[test]
    fn a_small_array_is_small_again_when_it_shrinks() {
        let mut blocks = Blocks::default();
        (0..BLOCK).for_each(|number| blocks.push(number));
        while blocks.len() > 3 {
            blocks.pop();
        }
        assert!(blocks.heap_size() <= 16 * size_of::<usize>() + 64, "{}", blocks.heap_size());
        assert_eq!(*blocks.get(2), 2);
    }
}
