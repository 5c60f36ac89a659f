//! One key of the keyspace: its name, value, deadline and last access, in the forms in which it comes
//! and lies.
//!
//! A short key with a flat value (see `data/flat.rs`) is an [`Item`] in a bucket's block: its stamp is
//! the deadline, its value
//!
//! ```text
//! access(4) form(1) bytes of the form
//! ```
//!
//! Any other is an [`Entry`]. A [`View`] looks the same at both; a [`New`] becomes either.

use std::borrow::Cow;

use crate::base::small::SmallBytes;
use crate::base::table::{Element, Item, Long, SHORT_MAX};
use crate::data::{Flat, Value};
use crate::store::access::{Access, Aging};

/// Whether a deadline has passed. Redis lets a key live through the millisecond of its deadline.
pub(super) fn has_passed(deadline: Option<i64>, now_ms: i64) -> bool {
    deadline.is_some_and(|at| now_ms > at)
}

/// What stands before the bytes of a flat value.
const HEAD: usize = 5;

/// A key and what belongs to it, as long ones lie in memory.
#[derive(Clone)]
pub struct Entry {
    key: SmallBytes,
    /// The value.
    pub value: Value,
    expire_at: Option<i64>,
    access: Access,
}

impl Entry {
    /// Unix milliseconds of the deadline, if there is one.
    pub fn expire_at(&self) -> Option<i64> {
        self.expire_at
    }

    /// Sets the deadline alone; only a shard may, which keeps the index of deadlines.
    pub(super) fn set_expire_at(&mut self, at: Option<i64>) {
        self.expire_at = at;
    }

    /// What is known of accesses.
    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// Sets what is known of accesses.
    pub(super) fn set_access(&mut self, access: Access) {
        self.access = access;
    }
}

impl Long for Entry {
    fn key(&self) -> &[u8] {
        self.key.as_slice()
    }

    fn of(item: Item) -> Self {
        View::from(Element::Short(item)).to_entry()
    }

    /// What keys own is asked of them one by one.
    fn heap_size(&self) -> usize {
        0
    }
}

/// A look at a key.
#[derive(Clone, Copy)]
pub struct View<'a> {
    key: &'a [u8],
    content: Content<'a>,
    expire_at: Option<i64>,
    access: Access,
}

/// A value as it lies in memory.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Flat { flat: Flat<'a>, size: usize },
    Whole(&'a Value),
}

impl<'a> From<Element<'a, Entry>> for View<'a> {
    #[inline]
    fn from(element: Element<'a, Entry>) -> Self {
        match element {
            Element::Short(item) => {
                let flat = Flat::restored(item.value[HEAD - 1], &item.value[HEAD..]);
                View {
                    key: item.key,
                    content: Content::Flat { flat, size: item.size() },
                    expire_at: item.stamp,
                    access: access_in(item.value),
                }
            }
            Element::Long(entry) => View {
                key: entry.key(),
                content: Content::Whole(&entry.value),
                expire_at: entry.expire_at,
                access: entry.access,
            },
        }
    }
}

impl<'a> View<'a> {
    /// The name.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// The value, made anew where it lies flat.
    pub fn value(&self) -> Cow<'a, Value> {
        match self.content {
            Content::Flat { flat, .. } => Cow::Owned(flat.to_value()),
            Content::Whole(value) => Cow::Borrowed(value),
        }
    }

    /// The value as it lies in memory.
    pub(super) fn content(&self) -> Content<'a> {
        self.content
    }

    /// The name of the value's type.
    pub fn type_name(&self) -> &'static str {
        match self.content {
            Content::Flat { flat, .. } => flat.type_name(),
            Content::Whole(value) => value.type_name(),
        }
    }

    /// The earliest deadline of something inside the value. A flat one has none.
    pub fn next_deadline(&self) -> Option<i64> {
        match self.content {
            Content::Flat { .. } => None,
            Content::Whole(value) => value.next_deadline(),
        }
    }

    /// Unix milliseconds of the deadline, if there is one.
    pub fn expire_at(&self) -> Option<i64> {
        self.expire_at
    }

    /// Whether the deadline has passed.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        has_passed(self.expire_at, now_ms)
    }

    /// What is known of accesses.
    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// The counter of accesses under an LFU policy, as it is after the time that has passed.
    pub fn frequency(&self, now_ms: i64, aging: Aging) -> u8 {
        self.access.frequency(now_ms, aging)
    }

    /// Seconds since the last access.
    pub fn idle_seconds(&self, now_ms: i64) -> u64 {
        self.access.idle_seconds(now_ms)
    }

    /// Bytes that the key takes: the entry, the name and the value.
    pub fn memory(&self) -> usize {
        match self.content {
            Content::Flat { size, .. } => size,
            Content::Whole(value) => {
                size_of::<Entry>() + SmallBytes::heap_size_of(self.key) + value.heap_size()
            }
        }
    }

    /// A copy.
    pub fn to_entry(&self) -> Entry {
        self.to_entry_with(self.value().into_owned())
    }

    /// A copy with another value.
    pub(super) fn to_entry_with(self, value: Value) -> Entry {
        let key = SmallBytes::new(self.key);
        Entry { key, value, expire_at: self.expire_at, access: self.access }
    }
}

/// A key that is to be stored.
pub(super) struct New<'a> {
    pub key: &'a [u8],
    pub source: Source<'a>,
    pub expire_at: Option<i64>,
    pub access: Access,
}

/// A value that is to be stored.
pub(super) enum Source<'a> {
    Flat(Flat<'a>),
    Whole(Value),
}

impl New<'_> {
    /// The earliest deadline of something inside the value.
    pub fn next_deadline(&self) -> Option<i64> {
        match &self.source {
            Source::Flat(_) => None,
            Source::Whole(value) => value.next_deadline(),
        }
    }

    /// What it is in a block, if it is short and flat.
    pub fn pack<'b>(&self, buffer: &'b mut Buffer) -> Option<&'b [u8]> {
        match &self.source {
            Source::Flat(flat) => pack_flat(buffer, self.key.len(), *flat, self.access),
            Source::Whole(value) => pack(buffer, self.key.len(), value, self.access),
        }
    }

    /// What it is otherwise.
    pub fn into_entry(self) -> Entry {
        let value = match self.source {
            Source::Flat(flat) => flat.to_value(),
            Source::Whole(value) => value,
        };
        let key = SmallBytes::new(self.key);
        Entry { key, value, expire_at: self.expire_at, access: self.access }
    }
}

/// Where the value of an item is made.
pub(super) type Buffer = [u8; SHORT_MAX];

/// An item's value for a key of so many bytes; `None` if the two are too long, or the value is not
/// flat.
pub(super) fn pack<'b>(
    buffer: &'b mut Buffer,
    key_len: usize,
    value: &Value,
    access: Access,
) -> Option<&'b [u8]> {
    pack_flat(buffer, key_len, Flat::of(value, &mut [0; 8])?, access)
}

fn pack_flat<'b>(
    buffer: &'b mut Buffer,
    key_len: usize,
    flat: Flat,
    access: Access,
) -> Option<&'b [u8]> {
    let len = HEAD + flat.bytes().len();
    if key_len + len > SHORT_MAX {
        return None;
    }
    set_access(buffer, access);
    buffer[HEAD - 1] = flat.code();
    buffer[HEAD..len].copy_from_slice(flat.bytes());
    Some(&buffer[..len])
}

/// What is known of accesses in an item's value.
pub(super) fn access_in(value: &[u8]) -> Access {
    Access::restored(*value.first_chunk().expect("a value in a block has a head"))
}

/// Sets what is known of accesses in an item's value.
pub(super) fn set_access(value: &mut [u8], access: Access) {
    value[..HEAD - 1].copy_from_slice(&access.to_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Kind, Str};

    #[test]
    fn both_forms_look_the_same() {
        assert_eq!(size_of::<Entry>(), 72);
        for (len, is_short) in [(0, true), (1, true), (249, true), (250, false), (251, false)] {
            let access = Access::of_idle_seconds(4, 9_000);
            let value = Str::raw(vec![b'x'; len]).into_value();
            let source = Source::Whole(value.clone());
            let new = New { key: b"k", source, expire_at: Some(6_000), access };
            let mut buffer = [0; SHORT_MAX];
            let packed = new.pack(&mut buffer);
            assert_eq!(packed.is_some(), is_short);
            let item = packed.map(|packed| Item::new(b"k", packed, Some(6_000)));
            let entry = new.into_entry();
            let elements = [Some(Element::Long(&entry)), item.map(Element::Short)];
            for view in elements.into_iter().flatten().map(View::from) {
                assert_eq!((view.key(), &*view.value()), (&b"k"[..], &value));
                assert_eq!((view.type_name(), view.value().encoding()), ("string", "raw"));
                assert!(!view.is_expired(6_000) && view.is_expired(6_001));
                assert_eq!(view.idle_seconds(9_000), 4);
            }
        }
    }
}
