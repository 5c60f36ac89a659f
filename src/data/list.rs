//! The type of lists.

/// The content of a key that holds one of the lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List;

impl List {
    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The name of its form in memory.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        0
    }
}
