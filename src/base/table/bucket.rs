//! The buckets of a table: few elements in little memory.
//!
//! Short elements share one block of memory (see `block.rs`). Those that do not fit there stand in
//! a list beside it, each in the form that the owner of the table gives to long ones.
//!
//! Must not know how many buckets there are or what they are chosen by, but for the bit of a split.
//!
//! Invariant: the keys of a bucket differ.

use crate::base::hash::Seed;

use super::block::{Block, Item, Place};

/// An element that is too long for a block.
pub trait Long: Clone {
    /// What it is found by.
    fn key(&self) -> &[u8];

    /// The long form of an element that is short, for a block that is full.
    fn of(item: Item) -> Self;

    /// Bytes that it has on the heap and that the table is to count.
    fn heap_size(&self) -> usize;
}

/// An element as a bucket holds it.
pub enum Element<'a, L> {
    /// In the block.
    Short(Item<'a>),
    /// Beside it.
    Long(&'a L),
}

impl<L> Clone for Element<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for Element<'_, L> {}

impl<'a, L: Long> Element<'a, L> {
    /// What it is found by.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Element::Short(item) => item.key,
            Element::Long(long) => long.key(),
        }
    }
}

/// The same, to be changed.
pub enum ElementMut<'a, L> {
    /// The value.
    Short(&'a mut [u8]),
    /// All of it but the key.
    Long(&'a mut L),
}

/// The long elements of a bucket; a type of its own, so that a bucket needs one word for it.
#[derive(Clone)]
struct Longs<L>(Vec<L>);

/// A bucket. Most have no long elements.
#[derive(Clone)]
pub struct Bucket<L> {
    block: Block,
    longs: Option<Box<Longs<L>>>,
}

/// Where an element of a bucket is.
#[derive(Clone, Copy)]
pub enum Found {
    /// In the block.
    Short(Place),
    /// The place in the list.
    Long(usize),
}

impl<L> Default for Bucket<L> {
    fn default() -> Self {
        Bucket { block: Block::default(), longs: None }
    }
}

/// Moves elements into a list of just their size. Giving back the end of the old one in place
/// leaves the allocator with crumbs.
fn exact<L>(longs: impl ExactSizeIterator<Item = L>) -> Vec<L> {
    let mut exact = Vec::with_capacity(longs.len());
    exact.extend(longs);
    exact
}

impl<L: Long> Bucket<L> {
    #[inline]
    fn longs(&self) -> &[L] {
        self.longs.as_ref().map_or(&[], |longs| &longs.0)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.block.len() + self.longs().len()
    }

    /// Reads what a search reads, to have it at hand later. The sum is of no meaning.
    #[inline]
    pub fn warm_up(&self) -> usize {
        self.block.warm_up() + self.longs().len()
    }

    /// Bytes on the heap, the bucket itself not counted.
    pub fn heap_size(&self) -> usize {
        let Some(longs) = &self.longs else { return self.block.heap_size() };
        let list = size_of::<Longs<L>>() + longs.0.capacity() * size_of::<L>();
        self.block.heap_size() + list + longs.0.iter().map(L::heap_size).sum::<usize>()
    }

    /// All elements.
    pub fn elements(&self) -> impl Iterator<Item = Element<'_, L>> {
        self.block.items().map(Element::Short).chain(self.longs().iter().map(Element::Long))
    }

    /// Where a key is; `tag` is that of its hash.
    #[inline]
    pub fn find(&self, tag: u8, key: &[u8]) -> Option<Found> {
        if let Some(place) = self.block.find(tag, key) {
            return Some(Found::Short(place));
        }
        let long = self.longs().iter().position(|long| long.key() == key)?;
        Some(Found::Long(long))
    }

    /// What was found.
    #[inline]
    pub fn element(&self, found: Found) -> Element<'_, L> {
        match found {
            Found::Short(place) => Element::Short(self.block.item(place)),
            Found::Long(index) => Element::Long(&self.longs()[index]),
        }
    }

    /// What was found, to be changed.
    #[inline]
    pub fn element_mut(&mut self, found: Found) -> ElementMut<'_, L> {
        match found {
            Found::Short(place) => ElementMut::Short(self.block.value_mut(place)),
            Found::Long(index) => ElementMut::Long(self.long_mut(index)),
        }
    }

    fn long_mut(&mut self, index: usize) -> &mut L {
        let longs = self.longs.as_mut().expect("what was found in a list is there");
        &mut longs.0[index]
    }

    /// Gives a short element another value, which must be short as well.
    pub fn set_value(&mut self, place: Place, value: &[u8]) {
        let item = Item { value, ..self.block.item(place) };
        self.block = self.block.changed(Some(place), Some((place.tag(), item)));
    }

    /// Gives a short element another stamp.
    pub fn set_stamp(&mut self, place: Place, stamp: Option<i64>) {
        let item = Item { stamp, ..self.block.item(place) };
        self.block = self.block.changed(Some(place), Some((place.tag(), item)));
    }

    /// Adds an element whose key is not there.
    pub fn push(&mut self, tag: u8, item: Item) {
        if item.is_short() && self.block.len() < Block::MAX {
            self.block = self.block.changed(None, Some((tag, item)));
        } else {
            self.push_long(L::of(item));
        }
    }

    /// Adds a long element whose key is not there.
    pub fn push_long(&mut self, long: L) {
        let longs = self.longs.get_or_insert_with(|| Box::new(Longs(Vec::new())));
        longs.0.reserve_exact(1);
        longs.0.push(long);
    }

    /// Puts an element in the place of one with the same key, which is returned if it was long.
    #[inline]
    pub fn replace(&mut self, tag: u8, found: Found, item: Item) -> Option<L> {
        match found {
            Found::Short(place) if item.is_short() => {
                if !self.block.overwrite(place, item) {
                    self.block = self.block.changed(Some(place), Some((tag, item)));
                }
                None
            }
            Found::Long(_) if !item.is_short() => self.replace_long(found, L::of(item)),
            _ => {
                let old = self.remove(found);
                self.push(tag, item);
                old
            }
        }
    }

    /// Puts a long element in the place of one with the same key, which is returned if it was long.
    pub fn replace_long(&mut self, found: Found, long: L) -> Option<L> {
        if let Found::Long(index) = found {
            return Some(std::mem::replace(self.long_mut(index), long));
        }
        let old = self.remove(found);
        self.push_long(long);
        old
    }

    /// Takes an element out, and returns it if it was long.
    pub fn remove(&mut self, found: Found) -> Option<L> {
        match found {
            Found::Short(place) => {
                self.block = self.block.changed(Some(place), None);
                None
            }
            Found::Long(index) => {
                let mut longs = self.longs.take()?;
                let old = longs.0.swap_remove(index);
                if !longs.0.is_empty() {
                    longs.0 = exact(longs.0.into_iter());
                    self.longs = Some(longs);
                }
                Some(old)
            }
        }
    }

    /// Moves the elements whose hash has the bit `bit` to a new bucket.
    pub fn split(&mut self, bit: u64, seed: &Seed) -> Bucket<L> {
        let leaves = |key: &[u8]| seed.hash(key) & bit != 0;
        let (gone, kept): (Vec<Place>, Vec<Place>) =
            self.block.places().partition(|&place| leaves(self.block.key(place)));
        let mut image = Bucket::default();
        if !gone.is_empty() {
            image.block = self.block.part(&gone);
            self.block = self.block.part(&kept);
        }
        if let Some(longs) = self.longs.take() {
            for long in longs.0 {
                let bucket = if leaves(long.key()) { &mut image } else { &mut *self };
                bucket.push_long(long);
            }
        }
        image
    }

    /// Takes over all elements of another bucket.
    pub fn append(&mut self, other: Bucket<L>) {
        if self.block.len() + other.block.len() <= Block::MAX {
            self.block = self.block.joined(&other.block);
        } else {
            for place in other.block.places() {
                self.push(place.tag(), other.block.item(place));
            }
        }
        for long in other.longs.into_iter().flat_map(|longs| longs.0) {
            self.push_long(long);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::table::Shared;

    #[test]
    fn a_bucket_takes_any_number() {
        let mut bucket = Bucket::<Shared>::default();
        for number in 0..600u32 {
            bucket.push(3, Item::new(&number.to_le_bytes(), b"", None));
        }
        assert_eq!((bucket.len(), bucket.longs().len()), (600, 345));
        let mut other = bucket.clone();
        for number in (0..600u32).rev() {
            let found = other.find(3, &number.to_le_bytes()).unwrap();
            assert_eq!(other.remove(found).is_some(), matches!(found, Found::Long(_)));
            assert!(other.find(3, &number.to_le_bytes()).is_none());
        }
        assert_eq!(other.heap_size(), 0);
        let mut both = Bucket::default();
        both.append(bucket);
        assert_eq!(both.len(), 600);
    }
}
