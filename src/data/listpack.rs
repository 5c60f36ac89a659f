//! A sequence of small values in one block of bytes: the compact form of every collection.
//!
//! The bytes are Redis's own listpack format, so that RDB bodies are the block itself:
//!
//! ```text
//! total bytes u32 LE | entries u16 LE (65535: count them) | entry ... | 0xFF
//!
//! entry = head and payload, then the length of both ("backlen"), readable backwards
//!   0vvvvvvv                integer 0..=127
//!   10llllll                bytes, up to 63
//!   110vvvvv v8             integer of 13 bits
//!   1110llll l8             bytes, up to 4095
//!   F0 l32                  bytes
//!   F1 | F2 | F3 | F4       integer of 16, 24, 32, 64 bits, little endian
//! backlen = 1 to 5 bytes of 7 bits each, most significant first; all but the first have bit 7 set
//! ```
//!
//! A value that is the one spelling of an `i64` is kept as an integer. This file must not know
//! which type the entries belong to.
//!
//! Invariants: the block is always whole and valid (`from_bytes` checks it to the last byte), its
//! memory is no longer than what the allocator gives to one of its length, and a position is the
//! offset of an entry until the next change of the listpack.

use std::ops::RangeInclusive;

use crate::base::num::{i64_bytes, parse_i64};
use crate::base::search;
use crate::base::sys::class_of;

const HEADER: usize = 6;
const END: u8 = 0xff;
/// The entry count that says "too many for this field".
const UNCOUNTED: u16 = u16::MAX;
/// How large a block may grow, as in Redis: far below what the length field can say. The last entry
/// may reach beyond, so that blocks from elsewhere may be twice as long.
const MAX_BYTES: usize = 1 << 30;
/// The lengths of texts that are looked for among all bytes. A shorter one is inside of many
/// others, and to pass entries like a longer one takes few steps.
const SEARCHED: RangeInclusive<usize> = 4..=0x3f;

/// The sequence. It is a fat pointer and nothing else: to the block, and perhaps some room behind
/// it, which spares the allocator most of the times that an entry is added.
pub struct Listpack(Box<[u8]>);

/// Where an entry starts; only good for the listpack that gave it, until that is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(usize);

/// The value of an entry, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Stands for its decimal text.
    Int(i64),
    /// Any other text.
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    /// The item for `value`: an integer if that is what the text spells.
    pub fn of(value: &'a [u8]) -> Item<'a> {
        match parse_i64(value) {
            Some(number) => Item::Int(number),
            None => Item::Bytes(value),
        }
    }

    /// The text, which for an integer is written into `buf`.
    pub fn bytes<'b>(&self, buf: &'b mut [u8; 20]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Item::Int(number) => i64_bytes(*number, buf),
            Item::Bytes(bytes) => bytes,
        }
    }

    /// The text in a buffer of its own.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut [0; 20]).to_vec()
    }

    /// Whether the text is `needle`.
    pub fn is(&self, needle: &[u8]) -> bool {
        self.bytes(&mut [0; 20]) == needle
    }

    /// Whether both are the same text, however they are kept.
    pub fn same(&self, other: &Item) -> bool {
        match (self, other) {
            (Item::Int(a), Item::Int(b)) => a == b,
            (Item::Bytes(a), Item::Bytes(b)) => a == b,
            _ => self.is(other.bytes(&mut [0; 20])),
        }
    }

    /// The number that the text spells, if it does.
    pub fn int(&self) -> Option<i64> {
        match self {
            Item::Int(number) => Some(*number),
            Item::Bytes(bytes) => parse_i64(bytes),
        }
    }
}

/// An entry about to be written.
struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    payload: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    fn of(item: Item<'a>) -> Encoded<'a> {
        match item {
            Item::Int(number) => Encoded::int(number),
            Item::Bytes(bytes) => Encoded::bytes(bytes),
        }
    }

    #[inline]
    fn int(number: i64) -> Encoded<'a> {
        let le = number.to_le_bytes();
        match number {
            0..=0x7f => Encoded::head(&le[..1], &[]),
            -0x1000..=0xfff => Encoded::head(&[0xc0 | (le[1] & 0x1f), le[0]], &[]),
            -0x8000..=0x7fff => Encoded::tagged(0xf1, &le[..2], &[]),
            -0x80_0000..=0x7f_ffff => Encoded::tagged(0xf2, &le[..3], &[]),
            -0x8000_0000..=0x7fff_ffff => Encoded::tagged(0xf3, &le[..4], &[]),
            _ => Encoded::tagged(0xf4, &le, &[]),
        }
    }

    #[inline]
    fn bytes(payload: &'a [u8]) -> Encoded<'a> {
        let le = payload.len().to_le_bytes();
        match payload.len() {
            0..=0x3f => Encoded::head(&[0x80 | le[0]], payload),
            0x40..=0xfff => Encoded::head(&[0xe0 | le[1], le[0]], payload),
            _ => Encoded::tagged(0xf0, &le[..4], payload),
        }
    }

    #[inline]
    fn head(bytes: &[u8], payload: &'a [u8]) -> Encoded<'a> {
        let mut head = [0; 9];
        head[..bytes.len()].copy_from_slice(bytes);
        Encoded { head, head_len: bytes.len(), payload }
    }

    #[inline]
    fn tagged(tag: u8, bytes: &[u8], payload: &'a [u8]) -> Encoded<'a> {
        let mut head = [tag; 9];
        head[1..=bytes.len()].copy_from_slice(bytes);
        Encoded { head, head_len: 1 + bytes.len(), payload }
    }

    /// Bytes that the entry takes, its backlen included.
    fn size(&self) -> usize {
        let len = self.head_len + self.payload.len();
        len + backlen_size(len)
    }

    /// Fills `out`, which is as long as `size` says.
    #[inline]
    fn write(&self, out: &mut [u8]) {
        let (head, rest) = out.split_at_mut(self.head_len);
        let (payload, backlen) = rest.split_at_mut(self.payload.len());
        // Most heads and backlens are a byte, which needs no call of a function that copies.
        head[0] = self.head[0];
        if head.len() > 1 {
            head.copy_from_slice(&self.head[..self.head_len]);
        }
        payload.copy_from_slice(self.payload);
        let mut left = self.head_len + self.payload.len();
        if let [backlen] = backlen {
            *backlen = left as u8;
            return;
        }
        for byte in backlen.iter_mut().rev() {
            *byte = 0x80 | (left & 0x7f) as u8;
            left >>= 7;
        }
        backlen[0] &= 0x7f;
    }
}

/// How many bytes the backlen of an entry takes whose head and payload take `len`. Redis goes to
/// the next width one value before it must, from the second width on.
fn backlen_size(len: usize) -> usize {
    match len {
        0..=0x7f => 1,
        0x80..=0x3ffe => 2,
        0x3fff..=0x1f_fffe => 3,
        0x1f_ffff..=0xfff_fffe => 4,
        _ => 5,
    }
}

/// The length of the head and the payload of the entry at the start of `bytes`; `None` if these
/// are cut short or no entry starts so.
#[inline]
fn encoded_len(bytes: &[u8]) -> Option<usize> {
    let len = match *bytes.first()? {
        0..=0x7f => 1,
        head @ 0x80..=0xbf => 1 + usize::from(head & 0x3f),
        _ => wide_len(bytes)?,
    };
    (len <= bytes.len()).then_some(len)
}

/// [`encoded_len`] of what is neither a short text nor a small number.
fn wide_len(bytes: &[u8]) -> Option<usize> {
    Some(match *bytes.first()? {
        0xc0..=0xdf => 2,
        head @ 0xe0..=0xef => 2 + usize::from(u16::from_be_bytes([head & 0x0f, *bytes.get(1)?])),
        0xf0 => {
            let len = u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?);
            usize::try_from(len).ok()?.checked_add(5)?
        }
        0xf1 => 3,
        0xf2 => 4,
        0xf3 => 5,
        0xf4 => 9,
        _ => return None,
    })
}

/// The value of an entry from its head and payload.
#[inline]
fn decode(entry: &[u8]) -> Item<'_> {
    match entry {
        [number @ 0..=0x7f] => Item::Int(i64::from(*number)),
        [0x80..=0xbf, payload @ ..] => Item::Bytes(payload),
        _ => decode_wide(entry),
    }
}

/// [`decode`] for what is neither a short text nor a small number.
fn decode_wide(entry: &[u8]) -> Item<'_> {
    match *entry {
        [high @ 0xc0..=0xdf, low] => {
            let bits = i16::from_be_bytes([high << 3, low]);
            Item::Int(i64::from((bits >> 11 << 8) | i16::from(low)))
        }
        [0xf1, a, b] => Item::Int(i16::from_le_bytes([a, b]).into()),
        [0xf2, a, b, c] => Item::Int((i32::from_le_bytes([0, a, b, c]) >> 8).into()),
        [0xf3, a, b, c, d] => Item::Int(i32::from_le_bytes([a, b, c, d]).into()),
        [0xf4, ref le @ ..] => Item::Int(le.first_chunk().map_or(0, |le| i64::from_le_bytes(*le))),
        [0xf0, _, _, _, _, ref payload @ ..] => Item::Bytes(payload),
        [0xe0..=0xef, _, ref payload @ ..] => Item::Bytes(payload),
        _ => Item::Bytes(&[]),
    }
}

/// The length of the head and payload that end before `end`, and of the backlen that says so.
fn read_backlen(bytes: &[u8], end: usize) -> Option<(usize, usize)> {
    let mut len = 0;
    for size in 1..=5 {
        let byte = *bytes.get(end.checked_sub(size)?)?;
        len |= usize::from(byte & 0x7f) << (7 * (size - 1));
        if byte & 0x80 == 0 {
            return Some((len, size));
        }
    }
    None
}

/// Whether no two items are the same text.
pub fn all_differ<'a>(items: impl Iterator<Item = Item<'a>>) -> bool {
    let mut items: Vec<Item> = items.collect();
    items.sort_unstable_by(|a, b| a.bytes(&mut [0; 20]).cmp(b.bytes(&mut [0; 20])));
    items.windows(2).all(|pair| !pair[0].same(&pair[1]))
}

impl Listpack {
    /// An empty one.
    pub fn new() -> Listpack {
        Builder::new().finish()
    }

    /// Takes over a block from elsewhere, if every byte of it is as it must be.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Listpack> {
        let total = u32::from_le_bytes(*bytes.first_chunk()?);
        let fits = (HEADER + 1..=2 * MAX_BYTES).contains(&bytes.len());
        if usize::try_from(total) != Ok(bytes.len()) || !fits {
            return None;
        }
        let end = bytes.len() - 1;
        let (mut at, mut count) = (HEADER, 0usize);
        while at < end {
            let len = encoded_len(&bytes[at..end])?;
            let next = at + len + backlen_size(len);
            if next > end || read_backlen(&bytes[at..], next - at)? != (len, backlen_size(len)) {
                return None;
            }
            at = next;
            count += 1;
        }
        let counted = u16::from_le_bytes([bytes[4], bytes[5]]);
        let right = counted == UNCOUNTED || usize::from(counted) == count;
        (bytes[end] == END && right).then(|| Listpack(bytes.into_boxed_slice()))
    }

    /// Takes back the bytes of a listpack of this process, which need no look.
    pub(super) fn restored(bytes: &[u8]) -> Listpack {
        Listpack(bytes.into())
    }

    /// The whole block.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0[..self.byte_len()]
    }

    /// The length of the block.
    #[inline]
    pub fn byte_len(&self) -> usize {
        let [total @ .., _, _] = *self.header();
        u32::from_le_bytes(total) as usize
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        self.0.len()
    }

    /// Whether entries of `more` bytes (see [`Listpack::entry_size`]) can be added at all. Who
    /// adds values without an own, lower limit has to ask.
    pub fn has_room(&self, more: usize) -> bool {
        self.byte_len().saturating_add(more) < MAX_BYTES
    }

    /// The bytes that an entry with this value takes.
    pub fn entry_size(value: &[u8]) -> usize {
        Encoded::of(Item::of(value)).size()
    }

    /// How many entries there are. Only beyond 65,534 of them they have to be counted.
    pub fn len(&self) -> usize {
        match self.counted() {
            Some(count) => count,
            None => self.iter().count(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.end() == HEADER
    }

    /// Where the first entry is.
    pub fn first(&self) -> Option<Pos> {
        self.pos(HEADER)
    }

    /// Where the last entry is.
    pub fn last(&self) -> Option<Pos> {
        self.before(self.end())
    }

    /// The entry behind `at`.
    #[inline]
    pub fn next(&self, at: Pos) -> Option<Pos> {
        self.pos(self.behind(at))
    }

    /// The entry before `at`.
    pub fn prev(&self, at: Pos) -> Option<Pos> {
        self.before(at.0)
    }

    /// The value at a position, and the entry behind it.
    #[inline]
    pub fn step(&self, at: Pos) -> (Item<'_>, Option<Pos>) {
        let entry = self.entry(at);
        (decode(entry), self.pos(at.0 + entry.len() + backlen_size(entry.len())))
    }

    /// The entry with this index; -1 is the last one. The way is from the nearer end.
    pub fn seek(&self, index: i64) -> Option<Pos> {
        let steps = usize::try_from(index.unsigned_abs()).ok()?;
        match self.counted() {
            _ if index < 0 => self.walk_back(steps - 1),
            Some(len) if steps >= len => None,
            Some(len) if steps > len / 2 => self.walk_back(len - 1 - steps),
            _ => (0..steps).try_fold(self.first()?, |at, _| self.next(at)),
        }
    }

    /// The value at a position.
    #[inline]
    pub fn at(&self, at: Pos) -> Item<'_> {
        decode(self.entry(at))
    }

    /// The values, from either end.
    pub fn iter(&self) -> Iter<'_> {
        Iter { list: self, front: HEADER, back: self.end() }
    }

    /// The values from an entry on.
    pub fn iter_from(&self, at: Pos) -> Iter<'_> {
        Iter { list: self, front: at.0, back: self.end() }
    }

    /// The first entry with this value among `from`, the one `skip + 1` entries behind it, and so
    /// on. This is most of what a look into a small collection costs.
    pub fn find(&self, needle: &[u8], from: Pos, skip: usize) -> Option<Pos> {
        let wanted = Encoded::of(Item::of(needle));
        if wanted.head_len == 1 && SEARCHED.contains(&wanted.payload.len()) {
            let mut entry = [0; *SEARCHED.end() + 2];
            let size = wanted.size();
            wanted.write(&mut entry[..size]);
            return self.search(&entry[..size - 1], from, skip);
        }
        self.walk_to(&wanted, needle, from, skip)
    }

    /// [`Listpack::find`] for the bytes of an entry: looks for them anywhere, and makes sure that
    /// an entry begins where they are found.
    fn search(&self, entry: &[u8], from: Pos, skip: usize) -> Option<Pos> {
        let (mut at, mut passed) = (from.0, 0);
        loop {
            let start = at + search::find(&self.0[at..self.end()], entry)?;
            while at < start {
                at = self.behind(Pos(at));
                passed += 1;
            }
            if at == start {
                if passed % (skip + 1) == 0 {
                    return Some(Pos(at));
                }
                at = self.behind(Pos(at));
                passed += 1;
            }
        }
    }

    /// [`Listpack::find`] from entry to entry.
    fn walk_to(&self, wanted: &Encoded, needle: &[u8], from: Pos, skip: usize) -> Option<Pos> {
        let wanted_len = wanted.head_len + wanted.payload.len();
        let is_number = wanted.payload.len() != needle.len();
        let end = self.end();
        let mut at = from.0;
        while at < end {
            let (entry, foreign) = (self.entry(Pos(at)), is_number && self.0[at] >= 0x80);
            let found = entry.len() == wanted_len
                && entry[..wanted.head_len] == wanted.head[..wanted.head_len]
                && entry[wanted.head_len..] == *wanted.payload;
            if found || (foreign && decode(entry) == Item::Bytes(needle)) {
                return Some(Pos(at));
            }
            at += entry.len() + backlen_size(entry.len());
            for _ in 0..skip {
                if at < end {
                    at = self.behind(Pos(at));
                }
            }
        }
        None
    }

    /// Adds a value at the end.
    pub fn push(&mut self, value: &[u8]) {
        self.push_item(Item::of(value));
    }

    /// Adds a number at the end.
    pub fn push_int(&mut self, number: i64) {
        self.push_item(Item::Int(number));
    }

    /// Adds a value at the end, as it is given.
    pub fn push_item(&mut self, item: Item) {
        let end = self.end();
        self.put(end, end, Encoded::of(item));
    }

    /// Adds a value at the start.
    pub fn push_front(&mut self, value: &[u8]) {
        self.put(HEADER, HEADER, Encoded::of(Item::of(value)));
    }

    /// Adds values at the end, with one allocation for all.
    pub fn extend<'a, I>(&mut self, values: I)
    where
        I: IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    {
        self.extend_items(values.into_iter().map(Item::of));
    }

    /// The same, as the values are given.
    pub fn extend_items<'a>(&mut self, items: impl Iterator<Item = Item<'a>> + Clone) {
        self.put_all(self.end(), items);
    }

    /// Puts values before an entry, as they are given.
    pub fn insert_items<'a>(&mut self, at: Pos, items: impl Iterator<Item = Item<'a>> + Clone) {
        self.put_all(at.0, items);
    }

    fn put_all<'a>(&mut self, start: usize, items: impl Iterator<Item = Item<'a>> + Clone) {
        let sizes = items.clone().map(|item| Encoded::of(item).size());
        let (added, size) = sizes.fold((0, 0), |(added, sum), size| (added + 1, sum + size));
        let mut room = self.gap(start, start, size);
        for item in items {
            let entry = Encoded::of(item);
            let (place, rest) = room.split_at_mut(entry.size());
            entry.write(place);
            room = rest;
        }
        self.set_count(self.counted().map(|count| count + added));
    }

    /// Puts a value before an entry and returns where it is.
    pub fn insert_before(&mut self, at: Pos, value: &[u8]) -> Pos {
        self.put(at.0, at.0, Encoded::of(Item::of(value)));
        at
    }

    /// Puts a value behind an entry and returns where it is.
    pub fn insert_after(&mut self, at: Pos, value: &[u8]) -> Pos {
        let behind = self.behind(at);
        self.put(behind, behind, Encoded::of(Item::of(value)));
        Pos(behind)
    }

    /// Changes the value of an entry, which keeps its position.
    pub fn replace(&mut self, at: Pos, value: &[u8]) {
        let behind = self.behind(at);
        self.put(at.0, behind, Encoded::of(Item::of(value)));
    }

    /// Makes the value of an entry this number. The entry keeps its position.
    pub fn replace_int(&mut self, at: Pos, number: i64) {
        let behind = self.behind(at);
        self.put(at.0, behind, Encoded::int(number));
    }

    /// Takes an entry out and returns the position of the one behind it.
    pub fn remove(&mut self, at: Pos) -> Option<Pos> {
        let behind = self.behind(at);
        self.cut(at.0, behind, 1);
        self.pos(at.0)
    }

    /// Takes out up to `count` entries from the one with this index on.
    pub fn remove_range(&mut self, index: usize, count: usize) {
        let start = self.offset_of(index);
        let mut end = start;
        let mut removed = 0;
        while removed < count
            && let Some(at) = self.pos(end)
        {
            end = self.behind(at);
            removed += 1;
        }
        self.cut(start, end, removed);
    }

    /// Cuts off and returns the entries from the one with this index on.
    pub fn split_off(&mut self, index: usize) -> Listpack {
        let start = self.offset_of(index);
        let count = Iter { list: self, front: start, back: self.end() }.count();
        let mut tail = Builder::with_capacity(self.end() - start);
        tail.block.extend_from_slice(&self.0[start..self.end()]);
        tail.count = Some(count);
        self.cut(start, self.end(), count);
        tail.finish()
    }

    /// Adds all entries of another one at the end.
    pub fn append(&mut self, other: &Listpack) {
        let added = other.len();
        let entries = &other.0[HEADER..other.end()];
        let end = self.end();
        self.gap(end, end, entries.len()).copy_from_slice(entries);
        self.set_count(self.counted().map(|count| count + added));
    }

    #[inline]
    fn header(&self) -> &[u8; HEADER] {
        self.0.first_chunk().expect("a listpack begins with its header")
    }

    /// The offset of the end mark.
    #[inline]
    fn end(&self) -> usize {
        self.byte_len() - 1
    }

    /// The position for an offset, unless that is the end.
    #[inline]
    fn pos(&self, offset: usize) -> Option<Pos> {
        (offset < self.end()).then_some(Pos(offset))
    }

    /// The last entry that ends at an offset.
    fn before(&self, offset: usize) -> Option<Pos> {
        if offset == HEADER {
            return None;
        }
        let (len, size) = read_backlen(&self.0, offset)?;
        offset.checked_sub(len + size).map(Pos)
    }

    /// The entry that has `steps` others behind it.
    fn walk_back(&self, steps: usize) -> Option<Pos> {
        (0..steps).try_fold(self.last()?, |at, _| self.prev(at))
    }

    /// The offset of the entry with this index, or of the end.
    fn offset_of(&self, index: usize) -> usize {
        i64::try_from(index).ok().and_then(|index| self.seek(index)).map_or(self.end(), |at| at.0)
    }

    /// The head and payload of an entry.
    #[inline]
    fn entry(&self, at: Pos) -> &[u8] {
        let rest = &self.0[at.0..];
        &rest[..encoded_len(rest).unwrap_or(0)]
    }

    /// The offset behind an entry.
    #[inline]
    fn behind(&self, at: Pos) -> usize {
        match self.0[at.0] {
            0..=0x7f => at.0 + 2,
            head @ 0x80..=0xbf => at.0 + 2 + usize::from(head & 0x3f),
            _ => {
                let len = self.entry(at).len();
                at.0 + len + backlen_size(len)
            }
        }
    }

    /// The number of entries, if the header says it.
    fn counted(&self) -> Option<usize> {
        let [.., low, high] = *self.header();
        let count = u16::from_le_bytes([low, high]);
        (count != UNCOUNTED).then_some(usize::from(count))
    }

    /// Writes one entry in the place of the bytes from `start` to `end`, which hold one or none.
    fn put(&mut self, start: usize, end: usize, entry: Encoded) {
        entry.write(self.gap(start, end, entry.size()));
        let added = usize::from(start == end);
        self.set_count(self.counted().map(|count| count + added));
    }

    /// Takes out the bytes from `start` to `end`, which hold so many entries.
    fn cut(&mut self, start: usize, end: usize, entries: usize) {
        if start < end {
            self.gap(start, end, 0);
            self.set_count(self.counted().map(|count| count - entries));
        }
    }

    /// Makes the bytes from `start` to `end` into `len` bytes, to be filled by the caller.
    fn gap(&mut self, start: usize, end: usize, len: usize) -> &mut [u8] {
        if end - start != len {
            let (old, new) = (self.byte_len(), self.byte_len() - (end - start) + len);
            if new > self.0.len() {
                self.resize(new);
            }
            self.0.copy_within(end..old, start + len);
            write_total(&mut self.0, new);
            if new < old && class_of(new) < self.0.len() {
                self.resize(new);
            }
        }
        &mut self.0[start..start + len]
    }

    /// Makes the memory as long as that of a block of so many bytes.
    #[inline(never)]
    fn resize(&mut self, len: usize) {
        let mut block = std::mem::take(&mut self.0).into_vec();
        let room = class_of(len);
        block.reserve_exact(room.saturating_sub(block.len()));
        block.resize(room, 0);
        self.0 = block.into_boxed_slice();
    }

    fn set_count(&mut self, count: Option<usize>) {
        write_count(&mut self.0, count);
    }
}

fn write_total(block: &mut [u8], total: usize) {
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    block[..4].copy_from_slice(&total.to_le_bytes());
}

/// Writes the number of entries if it is known and small enough.
fn write_count(block: &mut [u8], count: Option<usize>) {
    let count = count.and_then(|count| u16::try_from(count).ok()).unwrap_or(UNCOUNTED);
    block[4..HEADER].copy_from_slice(&count.to_le_bytes());
}

impl Clone for Listpack {
    fn clone(&self) -> Listpack {
        Listpack(self.as_bytes().into())
    }
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl PartialEq for Listpack {
    /// Equal are listpacks with equal texts, though a foreign one may hold a number as bytes.
    fn eq(&self, other: &Listpack) -> bool {
        let same = |(a, b): (Item, Item)| a.same(&b);
        self.as_bytes() == other.as_bytes()
            || (self.len() == other.len() && self.iter().zip(other).all(same))
    }
}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = Item<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The values of a listpack, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a Listpack,
    /// The offset of the next entry.
    front: usize,
    /// The offset behind the next entry from the back.
    back: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let entry = self.list.entry(Pos(self.front));
        self.front += entry.len() + backlen_size(entry.len());
        Some(decode(entry))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let at = self.list.before(self.back)?;
        self.back = at.0;
        Some(self.list.at(at))
    }
}

/// Makes a listpack out of many values without an allocation for each.
pub struct Builder {
    /// The block without its end mark.
    block: Vec<u8>,
    count: Option<usize>,
}

impl Builder {
    /// For few values.
    pub fn new() -> Builder {
        Builder::with_capacity(0)
    }

    /// For entries of about so many bytes altogether.
    pub fn with_capacity(bytes: usize) -> Builder {
        let mut block = Vec::with_capacity(HEADER + bytes + 1);
        block.resize(HEADER, 0);
        Builder { block, count: Some(0) }
    }

    /// Adds a value.
    pub fn push(&mut self, value: &[u8]) {
        self.push_item(Item::of(value));
    }

    /// Adds a number.
    pub fn push_int(&mut self, number: i64) {
        self.push_item(Item::Int(number));
    }

    /// Adds a value, as it is given.
    pub fn push_item(&mut self, item: Item) {
        let entry = Encoded::of(item);
        let start = self.block.len();
        self.block.resize(start + entry.size(), 0);
        entry.write(&mut self.block[start..]);
        self.count = self.count.map(|count| count + 1);
    }

    /// The listpack.
    pub fn finish(mut self) -> Listpack {
        self.block.push(END);
        let total = self.block.len();
        write_total(&mut self.block, total);
        write_count(&mut self.block, self.count);
        Listpack(self.block.into_boxed_slice())
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

#[cfg(test)]
mod tests;
