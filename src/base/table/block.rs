//! The short elements of a bucket in one block of memory:
//!
//! ```text
//! block   count(1) header(4)*count body*count
//! header  tag(1) key-length(1) value-length and stamp bit (2 LE)
//! body    key value [stamp(8 LE)]
//! ```
//!
//! So an element costs, beside its bytes, 4 for the header and its part of the bucket and of the
//! block's overhead in the allocator, about 8 together.
//!
//! Must not know what keys and values are. Invariant: a block's count and lengths fit its size.

use std::ops::Range;
use std::sync::Arc;

/// Key and value together, up to which an element is kept in its bucket's block.
pub const SHORT_MAX: usize = 255;

/// Bytes that a processor fetches from memory together.
const CACHE_LINE: usize = 64;

/// Bytes of a header.
const HEADER: usize = 4;

/// Bytes of a stamp in a body.
const STAMP: usize = 8;

/// The bit beside a value's length that says that there is a stamp.
const STAMP_BIT: u16 = 0x8000;

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

    /// Whether it fits a block.
    pub fn is_short(&self) -> bool {
        self.key.len() + self.value.len() <= SHORT_MAX
    }

    /// Bytes in a block, the header not counted.
    fn body_len(&self) -> usize {
        self.key.len() + self.value.len() + if self.stamp.is_some() { STAMP } else { 0 }
    }

    /// Bytes that it takes in a block.
    pub fn size(&self) -> usize {
        HEADER + self.body_len()
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
pub struct Block(Box<[u8]>);

/// Where an element of a block is.
#[derive(Clone, Copy)]
pub struct Place {
    /// Where its body begins.
    at: u32,
    value_len: u16,
    /// Its number.
    index: u8,
    tag: u8,
    key_len: u8,
    stamped: bool,
}

impl Place {
    /// The tag of the element's hash.
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// Where the key is.
    #[inline]
    fn key(&self) -> Range<usize> {
        let start = self.at as usize;
        start..start + usize::from(self.key_len)
    }

    /// Where the value is.
    fn value(&self) -> Range<usize> {
        let start = self.key().end;
        start..start + usize::from(self.value_len)
    }

    /// Where key, value and stamp are.
    fn body(&self) -> Range<usize> {
        let stamp = if self.stamped { STAMP } else { 0 };
        self.at as usize..self.value().end + stamp
    }

    /// Where the header is.
    fn header(&self) -> Range<usize> {
        let start = 1 + HEADER * usize::from(self.index);
        start..start + HEADER
    }
}

impl Block {
    /// How many elements a block holds at most.
    pub const MAX: usize = 255;

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.first().map_or(0, |&count| usize::from(count))
    }

    /// Bytes on the heap.
    #[inline]
    pub fn heap_size(&self) -> usize {
        self.0.len()
    }

    /// Reads a byte of each cache line, and adds them up.
    #[inline]
    pub fn warm_up(&self) -> usize {
        self.0.iter().step_by(CACHE_LINE).map(|&byte| usize::from(byte)).sum()
    }

    /// The elements' places, in order.
    #[inline]
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let count = self.len();
        let headers = self.0.get(1..1 + HEADER * count).unwrap_or_default();
        let mut at = (1 + HEADER * count) as u32;
        headers.as_chunks::<HEADER>().0.iter().zip(0..).map(move |(header, index)| {
            let [tag, key_len, low, high] = *header;
            let lengths = u16::from_le_bytes([low, high]);
            let (value_len, stamped) = (lengths & !STAMP_BIT, lengths & STAMP_BIT != 0);
            let place = Place { at, value_len, index, tag, key_len, stamped };
            let stamp = if stamped { STAMP as u32 } else { 0 };
            at += u32::from(key_len) + u32::from(value_len) + stamp;
            place
        })
    }

    /// The key at a place.
    pub fn key(&self, place: Place) -> &[u8] {
        &self.0[place.key()]
    }

    /// The element at a place.
    #[inline]
    pub fn item(&self, place: Place) -> Item<'_> {
        let (key, rest) = self.0[place.body()].split_at(place.key_len.into());
        let (value, stamp) = rest.split_at(place.value_len.into());
        let stamp = stamp.first_chunk::<STAMP>().map(|&bytes| i64::from_le_bytes(bytes));
        Item::new(key, value, stamp)
    }

    /// All elements, in order.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.places().map(|place| self.item(place))
    }

    /// The place of a key.
    #[inline]
    pub fn find(&self, tag: u8, key: &[u8]) -> Option<Place> {
        self.places().find(|&place| place.tag == tag && self.key(place) == key)
    }

    /// The value at a place, to be changed.
    #[inline]
    pub fn value_mut(&mut self, place: Place) -> &mut [u8] {
        &mut self.0[place.value()]
    }

    /// Gives the element at a place another value and stamp, if these take as many bytes as the
    /// old ones; whether they do.
    #[inline]
    pub fn overwrite(&mut self, place: Place, item: Item) -> bool {
        let [value, body] = [place.value(), place.body()];
        let fits = value.len() == item.value.len() && place.stamped == item.stamp.is_some();
        if fits {
            self.0[value.clone()].copy_from_slice(item.value);
            if let Some(stamp) = item.stamp {
                self.0[value.end..body.end].copy_from_slice(&stamp.to_le_bytes());
            }
        }
        fits
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
    pub fn changed(&self, gone: Option<Place>, more: Option<(u8, Item)>) -> Block {
        let (headers, bodies) = self.halves();
        let first = 1 + headers.len();
        let (header, body) = match gone {
            Some(place) => {
                let (header, body) = (place.header(), place.body());
                (header.start - 1..header.end - 1, body.start - first..body.end - first)
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
    pub fn joined(&self, other: &Block) -> Block {
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
    pub fn part(&self, places: &[Place]) -> Block {
        let bodies: usize = places.iter().map(|place| place.body().len()).sum();
        let mut block = Block::with_capacity(places.len(), 1 + HEADER * places.len() + bodies);
        for place in places {
            block.extend_from_slice(&self.0[place.header()]);
        }
        for place in places {
            block.extend_from_slice(&self.0[place.body()]);
        }
        Block::from_vec(block)
    }
}
