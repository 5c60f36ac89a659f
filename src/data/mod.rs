//! L1: what a key can hold. One file per type with its encodings.
//!
//! Must not know keys, clients, replies or clocks. A new type adds its variant here and its file
//! beside `string.rs`; the compiler then names every place that has to learn it.

#[allow(dead_code, reason = "the types that are made of it come one after the other")]
pub mod hash;
pub mod listpack;
pub mod string;

pub use string::Str;

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string: bytes or an integer.
    String(Str),
}

impl Value {
    /// The name that TYPE answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::String(_) => "string",
        }
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::String(s) => s.encoding(),
        }
    }

    /// Bytes on the heap, as asked of the allocator.
    pub fn heap_size(&self) -> usize {
        match self {
            Value::String(s) => s.heap_size(),
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

impl Default for Limits {
    /// Redis's defaults.
    fn default() -> Self {
        Limits {
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
        }
    }
}
