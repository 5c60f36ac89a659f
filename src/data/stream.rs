//! The type of streams.

/// The content of a key that holds one of the streams.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream;

impl Stream {
    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The name of its form in memory.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        0
    }
}
