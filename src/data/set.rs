//! The type of sets.

/// The content of a key that holds one of the sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set;

impl Set {
    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The name of its form in memory.
    pub fn encoding(&self) -> &'static str {
        "hashtable"
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        0
    }
}
