//! A list: one listpack while it is short, and a chain of them from then on.
//!
//! Must not know keys, clients or replies. When the one becomes the other is as in Redis 7.2: a
//! list is asked to `grow` before elements come, and to `shrink` after elements went. The chain
//! goes back to one listpack at half of the limit, so that a list at the limit does not go to and
//! fro.

use std::sync::Arc;

use crate::data::listpack::{Item, Listpack};
use crate::data::quicklist::{self, Block, BlockRef, Fill, Iter, Quicklist};

/// The list.
#[derive(Clone)]
pub struct List(Repr);

#[derive(Clone)]
enum Repr {
    Packed(Listpack),
    Chain(Arc<Quicklist>),
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where LPUSH puts elements.
    Left,
    /// Where RPUSH puts them.
    Right,
}

impl End {
    /// The one of two things that is for this end.
    pub fn pick<T>(self, left: T, right: T) -> T {
        match self {
            End::Left => left,
            End::Right => right,
        }
    }
}

impl List {
    /// An empty one.
    pub fn new() -> List {
        List(Repr::Packed(Listpack::new()))
    }

    /// A short one.
    pub(super) fn small(block: Listpack) -> List {
        List(Repr::Packed(block))
    }

    /// The block of a short one.
    pub(super) fn as_small(&self) -> Option<&Listpack> {
        if let Repr::Packed(block) = &self.0 { Some(block) } else { None }
    }

    /// Made of nodes as a dump has them; empty ones are left out.
    pub fn from_blocks(blocks: Vec<Block>, fill: Fill) -> List {
        let mut chain = Quicklist::new();
        blocks.into_iter().for_each(|block| chain.push_block(block));
        let mut list = List(Repr::Chain(Arc::new(chain)));
        list.settle(fill);
        list
    }

    /// The nodes as a dump has them: one, or those of the chain.
    pub fn blocks(&self) -> impl Iterator<Item = BlockRef<'_>> {
        let (one, chain) = match &self.0 {
            Repr::Packed(list) => (Some(BlockRef::Packed(list)), None),
            Repr::Chain(chain) => (None, Some(chain)),
        };
        one.into_iter().chain(chain.into_iter().flat_map(|chain| chain.blocks()))
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(list) => list.len(),
            Repr::Chain(chain) => chain.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Repr::Packed(list) => list.is_empty(),
            Repr::Chain(chain) => chain.len() == 0,
        }
    }

    /// See [`crate::data::Value::is_unchanged_since`].
    pub(super) fn is_unchanged_since(&self, clone: &Self) -> bool {
        match (&self.0, &clone.0) {
            (Repr::Chain(now), Repr::Chain(then)) => Arc::ptr_eq(now, then),
            (Repr::Packed(now), Repr::Packed(then)) => now == then,
            _ => false,
        }
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Packed(_) => "listpack",
            Repr::Chain(_) => "quicklist",
        }
    }

    /// Bytes on the heap, as asked of the allocator.
    pub fn heap_size(&self) -> usize {
        match &self.0 {
            Repr::Packed(list) => list.heap_size(),
            Repr::Chain(chain) => {
                size_of::<Quicklist>() + 2 * size_of::<usize>() + chain.heap_size()
            }
        }
    }

    /// Makes ready for elements of `bytes` altogether.
    pub fn grow(&mut self, count: usize, bytes: usize, fill: Fill) {
        let Repr::Packed(list) = &mut self.0 else { return };
        if !fill.allows(list.byte_len().saturating_add(bytes), list.len().saturating_add(count)) {
            let mut chain = Quicklist::new();
            chain.push_block(Block::Packed(std::mem::take(list)));
            self.0 = Repr::Chain(Arc::new(chain));
        }
    }

    /// Goes back to one listpack if what is left fits well into it.
    pub fn shrink(&mut self, fill: Fill) {
        self.pack_if(|list| fill.holds(list.byte_len(), list.len(), 2));
    }

    /// Takes the form that a list of this size has from the start.
    pub fn settle(&mut self, fill: Fill) {
        match &self.0 {
            Repr::Packed(_) => self.grow(0, 0, fill),
            Repr::Chain(_) => self.pack_if(|list| fill.holds(list.byte_len(), list.len(), 1)),
        }
    }

    /// Adds elements at an end, one after the other.
    pub fn extend(&mut self, end: End, values: &[&[u8]], fill: Fill) {
        self.grow(values.len(), values.iter().map(|value| value.len()).sum(), fill);
        values.iter().for_each(|value| self.add(end, value, fill));
    }

    /// Adds an element at an end.
    pub fn push(&mut self, end: End, value: &[u8], fill: Fill) {
        self.grow(1, value.len(), fill);
        self.add(end, value, fill);
    }

    /// The element at an end.
    pub fn peek(&self, end: End) -> Option<Item<'_>> {
        match end {
            End::Left => self.get(0),
            End::Right => self.get(self.len().checked_sub(1)?),
        }
    }

    /// Shows up to `count` elements at an end, the outermost first, and takes them out.
    pub fn pop(&mut self, end: End, count: usize, fill: Fill, show: impl FnMut(Item)) {
        self.iter_at(end).take(count).for_each(show);
        self.remove_at(end, count);
        self.shrink(fill);
    }

    /// Takes out up to `count` elements at an end. Shrinking is left to the caller.
    pub fn remove_at(&mut self, end: End, count: usize) {
        let count = count.min(self.len());
        self.remove_range(end.pick(0, self.len() - count), count);
    }

    /// The element with this index.
    pub fn get(&self, index: usize) -> Option<Item<'_>> {
        match &self.0 {
            Repr::Packed(list) => Some(list.at(list.seek(i64::try_from(index).ok()?)?)),
            Repr::Chain(chain) => chain.get(index),
        }
    }

    /// All elements, from either end.
    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Repr::Packed(list) => Iter::packed(Some(list.iter())),
            Repr::Chain(chain) => chain.iter(),
        }
    }

    /// All elements, from this end on.
    pub fn iter_at(&self, end: End) -> impl Iterator<Item = Item<'_>> {
        let mut items = self.iter();
        std::iter::from_fn(move || match end {
            End::Left => items.next(),
            End::Right => items.next_back(),
        })
    }

    /// The elements from an index on.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        match &self.0 {
            Repr::Packed(list) => {
                let at = i64::try_from(index).ok().and_then(|index| list.seek(index));
                Iter::packed(at.map(|at| list.iter_from(at)))
            }
            Repr::Chain(chain) => chain.iter_from(index),
        }
    }

    /// Puts an element before (or behind) the one with this index, if that exists.
    pub fn insert(&mut self, index: usize, after: bool, value: &[u8], fill: Fill) {
        self.grow(1, value.len(), fill);
        match &mut self.0 {
            Repr::Packed(list) if index < list.len() => {
                quicklist::insert_at(list, index + usize::from(after), value);
            }
            Repr::Packed(_) => {}
            Repr::Chain(chain) => Arc::make_mut(chain).insert(index, after, value, fill),
        }
    }

    /// Changes the element with this index, if that exists.
    pub fn set(&mut self, index: usize, value: &[u8], fill: Fill) {
        self.grow(1, value.len(), fill);
        match &mut self.0 {
            Repr::Packed(list) => {
                if let Some(at) = i64::try_from(index).ok().and_then(|index| list.seek(index)) {
                    list.replace(at, value);
                }
            }
            Repr::Chain(chain) => Arc::make_mut(chain).set(index, value, fill),
        }
        self.shrink(fill);
    }

    /// Takes out up to `count` elements from an index on.
    pub fn remove_range(&mut self, index: usize, count: usize) {
        match &mut self.0 {
            Repr::Packed(list) => list.remove_range(index, count),
            Repr::Chain(chain) => Arc::make_mut(chain).remove_range(index, count),
        }
    }

    /// Takes out up to `limit` elements with this value, those nearest to an end, and returns how
    /// many there were.
    pub fn remove_equal(&mut self, value: &[u8], limit: usize, from: End) -> usize {
        let from_back = from == End::Right;
        match &mut self.0 {
            Repr::Packed(list) => quicklist::remove_equal(list, value, limit, from_back),
            Repr::Chain(chain) => Arc::make_mut(chain).remove_equal(value, limit, from_back),
        }
    }

    fn add(&mut self, end: End, value: &[u8], fill: Fill) {
        match (&mut self.0, end) {
            (Repr::Packed(list), End::Left) => list.push_front(value),
            (Repr::Packed(list), End::Right) => list.push(value),
            (Repr::Chain(chain), End::Left) => Arc::make_mut(chain).push_front(value, fill),
            (Repr::Chain(chain), End::Right) => Arc::make_mut(chain).push_back(value, fill),
        }
    }

    fn pack_if(&mut self, fits: impl FnOnce(&Listpack) -> bool) {
        if let Repr::Chain(chain) = &self.0
            && let Some(list) = chain.only_listpack().filter(|list| fits(list))
        {
            self.0 = Repr::Packed(list.clone());
        }
    }
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl PartialEq for List {
    fn eq(&self, other: &List) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(a, b)| a.same(&b))
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILL: i64 = -2;

    fn list(values: &[&[u8]], fill: i64) -> List {
        let mut list = List::new();
        list.extend(End::Right, values, Fill::new(fill));
        list
    }

    #[test]
    fn the_form_follows_the_size_with_some_slack() {
        assert_eq!(size_of::<List>(), 16);
        let fill = Fill::new(4);
        let mut short = list(&[b"a", b"b", b"c", b"d"], 4);
        assert_eq!(short.encoding(), "listpack");
        short.push(End::Right, b"z", fill);
        assert_eq!(short.encoding(), "quicklist");
        for (left, encoding) in [(4, "quicklist"), (3, "quicklist"), (2, "listpack")] {
            short.pop(End::Right, 1, fill, |_| ());
            assert_eq!((short.len(), short.encoding()), (left, encoding));
        }
        assert_eq!(short, list(&[b"a", b"b"], FILL));
        short.settle(Fill::new(1));
        assert_eq!(short.encoding(), "quicklist");
        short.settle(Fill::new(2));
        assert_eq!(short.encoding(), "listpack");
    }

    #[test]
    fn a_long_element_comes_and_goes() {
        let fill = Fill::new(FILL);
        let mut list = list(&[b"a", b"b", b"c"], FILL);
        list.set(1, &[b'x'; 9000], fill);
        assert_eq!((list.encoding(), list.len()), ("quicklist", 3));
        list.set(1, b"short", fill);
        assert_eq!((list.encoding(), list.len()), ("listpack", 3));
        assert!(list.get(1).is_some_and(|item| item.is(b"short")));
        list.set(3, b"nowhere", fill);
        list.insert(3, true, b"nowhere", fill);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn both_forms_do_the_same() {
        for fill in [FILL, 1, 2] {
            let bounds = Fill::new(fill);
            let mut list = list(&[b"a", b"x", b"b", b"x", b"c", b"x"], fill);
            assert!(list.peek(End::Left).is_some_and(|item| item.is(b"a")));
            assert!(list.peek(End::Right).is_some_and(|item| item.is(b"x")));
            list.insert(2, true, b"after", bounds);
            list.insert(2, false, b"before", bounds);
            assert_eq!(list.remove_equal(b"x", 2, End::Right), 2);
            assert_eq!(list.remove_equal(b"y", 2, End::Left), 0);
            list.push(End::Left, b"12", bounds);
            let expected: [&[u8]; 7] = [b"12", b"a", b"x", b"before", b"b", b"after", b"c"];
            assert!(list.iter().map(|item| item.to_vec()).eq(expected.iter().copied()));
            assert!(list.iter_from(4).map(|item| item.to_vec()).eq(expected[4..].iter().copied()));
            assert_eq!(list.iter_from(7).count(), 0);
            assert_eq!(list.peek(End::Left), Some(Item::Int(12)));
            let copy = list.clone();
            let mut popped = Vec::new();
            list.pop(End::Left, 2, bounds, |item| popped.push(item.to_vec()));
            list.pop(End::Right, 99, bounds, |item| popped.push(item.to_vec()));
            let order = [0, 1, 6, 5, 4, 3, 2].map(|at| expected[at]);
            assert!(popped.iter().eq(order.iter()));
            assert_eq!((list.len(), copy.len()), (0, 7));
            assert_eq!((list.is_empty(), list.peek(End::Right)), (true, None));
            assert_ne!(list, copy);
        }
    }

    #[test]
    fn nodes_make_the_same_list() {
        let values: Vec<Vec<u8>> = (0..3000).map(|n| format!("value {n}").into_bytes()).collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        for values in [&values[..], &values[..3], &[]] {
            let list = list(values, FILL);
            let own = |block: BlockRef| match block {
                BlockRef::Packed(list) => Block::Packed(list.clone()),
                BlockRef::Plain(value) => Block::Plain(value.into()),
            };
            let again = List::from_blocks(list.blocks().map(own).collect(), Fill::new(FILL));
            assert_eq!(again, list);
            assert_eq!((again.is_empty(), again.len()), (values.is_empty(), values.len()));
        }
    }
}
