//! L1: what a key can hold. One file per type with its encodings.
//!
//! Must not know keys, clients, replies or clocks. A new type adds its variant here and its file
//! beside `string.rs`; the compiler then names every place that has to learn it.
//!
//! A value takes 24 bytes and is cheap to clone, because a snapshot clones values
//! while it holds a shard: small collections are one short block, large ones are shared and copied
//! only where they change.

pub mod bits;
pub mod flat;
pub mod geohash;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod list;
pub mod listpack;
pub mod quicklist;
pub mod set;
pub mod stream;
pub mod string;
pub mod zset;

pub use flat::Flat;
pub use hash::Hash;
pub use list::List;
pub use set::Set;
pub use stream::Stream;
pub use string::{Str, Text};
pub use zset::Zset;

use std::sync::Arc;

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string: bytes or an integer.
    String(Str),
    /// A list of strings.
    List(List),
    /// Fields with values.
    Hash(Hash),
    /// Different strings.
    Set(Set),
    /// Different strings in the order of their scores.
    Zset(Zset),
    /// A log of entries with its consumer groups.
    Stream(Stream),
}

/// A type of value, for code that works on any of them.
pub trait Kind: Sized + Default {
    /// The name that TYPE answers.
    const NAME: &'static str;

    /// The value, if it is of this type.
    fn of(value: &Value) -> Option<&Self>;

    /// The value to be changed, if it is of this type.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;

    /// As a value.
    fn into_value(self) -> Value;

    /// Whether it is to be removed, because a collection without elements does not exist.
    fn is_void(&self) -> bool;
}

impl Kind for Str {
    const NAME: &'static str = "string";

    fn of(value: &Value) -> Option<&Self> {
        if let Value::String(it) = value { Some(it) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::String(it) = value { Some(it) } else { None }
    }

    fn into_value(self) -> Value {
        Value::String(self)
    }

    fn is_void(&self) -> bool {
        false
    }
}

impl Kind for List {
    const NAME: &'static str = "list";

    fn of(value: &Value) -> Option<&Self> {
        if let Value::List(it) = value { Some(it) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::List(it) = value { Some(it) } else { None }
    }

    fn into_value(self) -> Value {
        Value::List(self)
    }

    fn is_void(&self) -> bool {
        self.is_empty()
    }
}

impl Kind for Hash {
    const NAME: &'static str = "hash";

    fn of(value: &Value) -> Option<&Self> {
        if let Value::Hash(it) = value { Some(it) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::Hash(it) = value { Some(it) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Hash(self)
    }

    fn is_void(&self) -> bool {
        self.is_empty()
    }
}

impl Kind for Set {
    const NAME: &'static str = "set";

    fn of(value: &Value) -> Option<&Self> {
        if let Value::Set(it) = value { Some(it) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::Set(it) = value { Some(it) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Set(self)
    }

    fn is_void(&self) -> bool {
        self.is_empty()
    }
}

impl Kind for Zset {
    const NAME: &'static str = "zset";

    fn of(value: &Value) -> Option<&Self> {
        if let Value::Zset(it) = value { Some(it) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::Zset(it) = value { Some(it) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Zset(self)
    }

    fn is_void(&self) -> bool {
        self.is_empty()
    }
}

impl Kind for Stream {
    const NAME: &'static str = "stream";

    fn of(value: &Value) -> Option<&Self> {
        if let Value::Stream(it) = value { Some(it) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::Stream(it) = value { Some(it) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Stream(self)
    }

    fn is_void(&self) -> bool {
        false
    }
}

impl Value {
    /// The name that TYPE answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::String(_) => Str::NAME,
            Value::List(_) => List::NAME,
            Value::Hash(_) => Hash::NAME,
            Value::Set(_) => Set::NAME,
            Value::Zset(_) => Zset::NAME,
            Value::Stream(_) => Stream::NAME,
        }
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::String(it) => it.encoding(),
            Value::List(it) => it.encoding(),
            Value::Hash(it) => it.encoding(),
            Value::Set(it) => it.encoding(),
            Value::Zset(it) => it.encoding(),
            Value::Stream(it) => it.encoding(),
        }
    }

    /// Whether it is a collection without elements, which may not stay.
    #[inline]
    pub fn is_void(&self) -> bool {
        match self {
            Value::String(it) => it.is_void(),
            Value::List(it) => it.is_void(),
            Value::Hash(it) => it.is_void(),
            Value::Set(it) => it.is_void(),
            Value::Zset(it) => it.is_void(),
            Value::Stream(it) => it.is_void(),
        }
    }

    /// Bytes on the heap, as asked of the allocator.
    pub fn heap_size(&self) -> usize {
        match self {
            Value::String(it) => it.heap_size(),
            Value::List(it) => it.heap_size(),
            Value::Hash(it) => it.heap_size(),
            Value::Set(it) => it.heap_size(),
            Value::Zset(it) => it.heap_size(),
            Value::Stream(it) => it.heap_size(),
        }
    }

    /// The earliest deadline of something inside the value (Unix ms): of a hash's field.
    pub fn next_deadline(&self) -> Option<i64> {
        match self {
            Value::Hash(it) => it.next_deadline(),
            _ => None,
        }
    }

    /// Whether this, or what it was cloned from, has not changed since the clone was made. Takes
    /// little time, and may say no although both are equal.
    pub fn is_unchanged_since(&self, clone: &Value) -> bool {
        match (self, clone) {
            (Value::String(it), Value::String(clone)) => match (it.view(), clone.view()) {
                (Text::Shared(now), Text::Shared(then)) => Arc::ptr_eq(now, then),
                (Text::Shared(_), _) | (_, Text::Shared(_)) => false,
                _ => it == clone,
            },
            (Value::List(it), Value::List(clone)) => it.is_unchanged_since(clone),
            (Value::Hash(it), Value::Hash(clone)) => it.is_unchanged_since(clone),
            (Value::Set(it), Value::Set(clone)) => it.is_unchanged_since(clone),
            (Value::Zset(it), Value::Zset(clone)) => it.is_unchanged_since(clone),
            (Value::Stream(it), Value::Stream(clone)) => it.is_unchanged_since(clone),
            _ => false,
        }
    }

    /// Whether freeing takes long enough to be done outside of a shard's guard.
    pub fn is_big(&self) -> bool {
        self.heap_size() > 16 * 1024
    }
}

/// How large a collection may be in its small form: the parameters of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Elements of a list's node, or its bytes where negative (-1 to -5: 4, 8, 16, 32, 64 KiB).
    pub list_max_listpack_size: i64,
    /// Fields.
    pub hash_max_listpack_entries: usize,
    /// Bytes of a field or a value.
    pub hash_max_listpack_value: usize,
    /// Members that are all integers.
    pub set_max_intset_entries: usize,
    /// Members.
    pub set_max_listpack_entries: usize,
    /// Bytes of a member.
    pub set_max_listpack_value: usize,
    /// Members.
    pub zset_max_listpack_entries: usize,
    /// Bytes of a member.
    pub zset_max_listpack_value: usize,
    /// Bytes of a stream's node; 0 for any.
    pub stream_node_max_bytes: usize,
    /// Entries of a stream's node; 0 for any.
    pub stream_node_max_entries: usize,
}

impl Limits {
    /// Redis's defaults.
    pub const REDIS: Limits = Limits {
        list_max_listpack_size: -2,
        hash_max_listpack_entries: 512,
        hash_max_listpack_value: 64,
        set_max_intset_entries: 512,
        set_max_listpack_entries: 128,
        set_max_listpack_value: 64,
        zset_max_listpack_entries: 128,
        zset_max_listpack_value: 64,
        stream_node_max_bytes: 4096,
        stream_node_max_entries: 100,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::REDIS
    }
}
