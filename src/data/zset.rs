//! The type of sorted sets.

/// The content of a key that holds one of the sorted sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Zset;

impl Zset {
    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The name of its form in memory.
    pub fn encoding(&self) -> &'static str {
        "skiplist"
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        0
    }
}
