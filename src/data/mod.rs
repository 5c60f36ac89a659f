//! L1: what a key can hold. One file per type with its encodings.
//!
//! Must not know keys, clients, replies or clocks. A new type adds its variant here and its file
//! beside `string.rs`; the compiler then names every place that has to learn it.

#[allow(dead_code, reason = "the types that are made of it come one after the other")]
pub mod listpack;
pub mod stream;
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
