//! The buckets of a [`Table`](super::Table): few elements in little memory.
//!
//! The short elements of a bucket share one block of memory:
//!
//! ```text
//! block   count(1) header(4)*count body*count
//! header  tag(1) key-length(1) value-length and stamp bit (2 LE)
//! body    key value [stamp(8 LE)]
//! ```
//!
//! So an element costs, beside its bytes, 4 for the header and its part of the bucket and of the
//! block's overhead in the allocator, about 8 together. Elements longer than [`SHORT_MAX`] stand in
//! a list beside the block; their values are shared, so that a large reply need not copy them.
//!
//! Must not know how many buckets there are or what they are chosen by, but for the bit of a split.
//!
//! Invariants: a block's count and lengths fit its size; the keys of a bucket differ.

use std::sync::Arc;

use crate::base::hash::Seed;

/// Key and value together, up to which an element is kept in its bucket's block.
const SHORT_MAX: usize = 255;

/// Bytes of a header.
const HEADER: usize = 4;

/// Bytes of a stamp in a body.
const STAMP: usize = 8;

/// The bit beside a value's length that says that there is a stamp.
const STAMP_BIT: u16 = 0x8000;

/// What a shared value costs on the heap beside its bytes: two counters and a `Vec`.
const SHARED_OVERHEAD: usize = 16 + size_of::<Vec<u8>>();

/// One element, as the table holds it.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// What it is found by.
    pub key: &'a [u8],
    /// What belongs to it.
    pub value: &'a [u8],
    /// The number that goes with it.
    pub stamp: Option<i64>,
    /// The value once more, to be shared instead of copied, where it is long.
    pub shared: Option<&'a Arc<Vec<u8>>>,
}

impl<'a> Item<'a> {
    /// An element to be put in.
    pub fn new(key: &'a [u8], value: &'a [u8], stamp: Option<i64>) -> Self {
        Item { key, value, stamp, shared: None }
    }

    fn is_short(&self) -> bool {
        self.key.len() + self.value.len() <= SHORT_MAX
    }

    fn body_len(&self) -> usize {
        self.key.len() + self.value.len() + if self.stamp.is_some() { STAMP } else { 0 }
    }

    fn header(&self, tag: u8) -> [u8; HEADER] {
        let bit = if self.stamp.is_some() { STAMP_BIT } else { 0 };
        let [low, high] = (self.value.len() as u16 | bit).to_le_bytes();
        [tag, self.key.len() as u8, low, high]
    }

    fn push_body(&self, block: &mut Vec<u8>) {
        block.extend_from_slice(self.key);
        block.extend_from_slice(self.value);
        if let Some(stamp) = self.stamp {
            block.extend_from_slice(&stamp.to_le_bytes());
        }
    }
}

/// The short elements of a bucket.
#[derive(Clone, Default)]
struct Block(Box<[u8]>);

/// Where an element of a block is.
#[derive(Clone, Copy)]
pub struct Place {
    /// Its number.
    index: usize,
    /// Where its body begins.
    at: usize,
    tag: u8,
    key_len: usize,
    value_len: usize,
    stamped: bool,
}

impl Place {
    fn body_len(&self) -> usize {
        self.key_len + self.value_len + if self.stamped { STAMP } else { 0 }
    }

    fn end(&self) -> usize {
        self.at + self.body_len()
    }
}

impl Block {
    /// How many elements a block holds at most.
    const MAX: usize = 255;

    fn len(&self) -> usize {
        self.0.first().map_or(0, |&count| usize::from(count))
    }

    /// The elements' places, in order.
    fn places(&self) -> impl Iterator<Item = Place> {
        let count = self.len();
        let headers = self.0.get(1..1 + HEADER * count).unwrap_or_default();
        let mut at = 1 + HEADER * count;
        headers.chunks_exact(HEADER).enumerate().map(move |(index, header)| {
            let lengths = u16::from_le_bytes([header[2], header[3]]);
            let value_len = usize::from(lengths & !STAMP_BIT);
            let (tag, key_len) = (header[0], usize::from(header[1]));
            let stamped = lengths & STAMP_BIT != 0;
            let place = Place { index, at, tag, key_len, value_len, stamped };
            at = place.end();
            place
        })
    }

    fn key(&self, place: Place) -> &[u8] {
        &self.0[place.at..place.at + place.key_len]
    }

    fn item(&self, place: Place) -> Item<'_> {
        let (key, rest) = self.0[place.at..place.end()].split_at(place.key_len);
        let (value, stamp) = rest.split_at(place.value_len);
        let stamp = stamp.first_chunk::<STAMP>().map(|&bytes| i64::from_le_bytes(bytes));
        Item::new(key, value, stamp)
    }

    fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.places().map(|place| self.item(place))
    }

    /// The place of a key.
    fn find(&self, tag: u8, key: &[u8]) -> Option<Place> {
        self.places()
            .find(|&place| place.tag == tag && place.key_len == key.len() && self.key(place) == key)
    }

    /// The headers of all elements, and their bodies.
    fn halves(&self) -> (&[u8], &[u8]) {
        match self.0.split_first() {
            Some((&count, rest)) => rest.split_at(HEADER * usize::from(count)),
            None => (&[], &[]),
        }
    }

    /// The block without one element, or with one more, or with one in another's place. Always made
    /// anew and of just the right size: giving back the end of a block leaves the allocator with
    /// crumbs.
    fn changed(&self, gone: Option<Place>, more: Option<(u8, Item)>) -> Block {
        let (headers, bodies) = self.halves();
        let first = 1 + headers.len();
        let (header, body) = match gone {
            Some(place) => {
                let header = HEADER * place.index;
                (header..header + HEADER, place.at - first..place.end() - first)
            }
            None => (headers.len()..headers.len(), bodies.len()..bodies.len()),
        };
        let count = self.len() - usize::from(gone.is_some()) + usize::from(more.is_some());
        let added = more.map_or(0, |(_, item)| item.body_len());
        let size = 1 + HEADER * count + bodies.len() - body.len() + added;
        let mut block = Block::with_capacity(count, size);
        block.extend_from_slice(&headers[..header.start]);
        block.extend_from_slice(&headers[header.end..]);
        if let Some((tag, item)) = more {
            block.extend_from_slice(&item.header(tag));
        }
        block.extend_from_slice(&bodies[..body.start]);
        block.extend_from_slice(&bodies[body.end..]);
        if let Some((_, item)) = more {
            item.push_body(&mut block);
        }
        Block::from_vec(block)
    }

    /// The block of the elements of both, which are not more than fit.
    fn joined(&self, other: &Block) -> Block {
        let ((headers, bodies), (more_headers, more_bodies)) = (self.halves(), other.halves());
        let parts = [headers, more_headers, bodies, more_bodies];
        let size = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut block = Block::with_capacity(self.len() + other.len(), size);
        parts.iter().for_each(|part| block.extend_from_slice(part));
        Block::from_vec(block)
    }

    /// The beginning of a block of that many elements.
    fn with_capacity(count: usize, size: usize) -> Vec<u8> {
        let mut block = Vec::with_capacity(size);
        block.push(count as u8);
        block
    }

    /// A block without elements takes no memory.
    fn from_vec(block: Vec<u8>) -> Block {
        if block.len() == 1 { Block::default() } else { Block(block.into_boxed_slice()) }
    }

    /// The block of these elements of this one.
    fn part(&self, places: &[Place]) -> Block {
        let bodies: usize = places.iter().map(Place::body_len).sum();
        let mut block = Block::with_capacity(places.len(), 1 + HEADER * places.len() + bodies);
        for place in places {
            let header = 1 + HEADER * place.index;
            block.extend_from_slice(&self.0[header..header + HEADER]);
        }
        for place in places {
            block.extend_from_slice(&self.0[place.at..place.end()]);
        }
        Block::from_vec(block)
    }
}

/// An element that is too long for a block.
#[derive(Clone)]
struct Long {
    key: Box<[u8]>,
    value: Arc<Vec<u8>>,
    stamp: Option<i64>,
}

impl Long {
    fn new(item: Item) -> Long {
        Long { key: item.key.into(), value: Arc::new(item.value.to_vec()), stamp: item.stamp }
    }

    fn item(&self) -> Item<'_> {
        let shared = Some(&self.value);
        Item { key: &self.key, value: &self.value, stamp: self.stamp, shared }
    }
}

/// The long elements of a bucket; a type of its own, so that a bucket needs one word for it.
#[derive(Clone, Default)]
struct Longs(Vec<Long>);

/// A bucket. Most have no long elements.
#[derive(Clone, Default)]
pub struct Bucket {
    block: Block,
    longs: Option<Box<Longs>>,
}

/// Where an element of a bucket is.
pub enum Found {
    Short(Place),
    Long(usize),
}

impl Bucket {
    fn longs(&self) -> &[Long] {
        self.longs.as_ref().map_or(&[], |longs| &longs.0)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.block.len() + self.longs().len()
    }

    /// Bytes on the heap, the bucket itself not counted.
    pub fn heap_size(&self) -> usize {
        let Some(longs) = &self.longs else { return self.block.0.len() };
        let list = size_of::<Longs>() + longs.0.capacity() * size_of::<Long>();
        let each = |long: &Long| long.key.len() + SHARED_OVERHEAD + long.value.capacity();
        self.block.0.len() + list + longs.0.iter().map(each).sum::<usize>()
    }

    /// All elements.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.block.items().chain(self.longs().iter().map(Long::item))
    }

    /// The element number `index`.
    pub fn nth(&self, index: usize) -> Option<Item<'_>> {
        self.items().nth(index)
    }

    /// Where a key is; `tag` is that of its hash.
    pub fn find(&self, tag: u8, key: &[u8]) -> Option<Found> {
        if let Some(place) = self.block.find(tag, key) {
            return Some(Found::Short(place));
        }
        let long = self.longs().iter().position(|long| *long.key == *key)?;
        Some(Found::Long(long))
    }

    /// What was found.
    pub fn item(&self, found: &Found) -> Item<'_> {
        match *found {
            Found::Short(place) => self.block.item(place),
            Found::Long(index) => self.longs()[index].item(),
        }
    }

    /// Adds an element whose key is not there.
    pub fn push(&mut self, tag: u8, item: Item) {
        if item.is_short() && self.block.len() < Block::MAX {
            self.block = self.block.changed(None, Some((tag, item)));
        } else {
            self.push_long(Long::new(item));
        }
    }

    fn push_long(&mut self, long: Long) {
        let longs = &mut self.longs.get_or_insert_default().0;
        longs.reserve_exact(1);
        longs.push(long);
    }

    /// Puts an element in the place of one with the same key.
    pub fn replace(&mut self, tag: u8, found: &Found, item: Item) {
        match *found {
            Found::Short(place) if item.is_short() => {
                self.block = self.block.changed(Some(place), Some((tag, item)));
            }
            Found::Long(index) if !item.is_short() => {
                if let Some(longs) = &mut self.longs {
                    longs.0[index] = Long::new(item);
                }
            }
            _ => {
                self.remove(found);
                self.push(tag, item);
            }
        }
    }

    /// Takes an element out.
    pub fn remove(&mut self, found: &Found) {
        match *found {
            Found::Short(place) => self.block = self.block.changed(Some(place), None),
            Found::Long(index) => {
                if let Some(longs) = &mut self.longs {
                    longs.0.swap_remove(index);
                    longs.0.shrink_to_fit();
                }
                if self.longs().is_empty() {
                    self.longs = None;
                }
            }
        }
    }

    /// Moves the elements whose hash has the bit `bit` to a new bucket.
    pub fn split(&mut self, bit: u64, seed: &Seed) -> Bucket {
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
                let bucket = if leaves(&long.key) { &mut image } else { &mut *self };
                bucket.push_long(long);
            }
        }
        image
    }

    /// Takes over all elements of another bucket.
    pub fn append(&mut self, other: Bucket) {
        if self.block.len() + other.block.len() <= Block::MAX {
            self.block = self.block.joined(&other.block);
        } else {
            for place in other.block.places() {
                self.push(place.tag, other.block.item(place));
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

    #[test]
    fn a_bucket_takes_any_number() {
        let mut bucket = Bucket::default();
        for number in 0..600u32 {
            bucket.push(3, Item::new(&number.to_le_bytes(), b"", None));
        }
        assert_eq!((bucket.len(), bucket.longs().len()), (600, 345));
        let mut other = bucket.clone();
        for number in (0..600u32).rev() {
            assert!(other.find(3, &number.to_le_bytes()).is_some());
            let found = other.find(3, &number.to_le_bytes()).unwrap();
            other.remove(&found);
            assert!(other.find(3, &number.to_le_bytes()).is_none());
        }
        assert_eq!(other.heap_size(), 0);
        let mut both = Bucket::default();
        both.append(bucket);
        assert_eq!(both.len(), 600);
    }
}
