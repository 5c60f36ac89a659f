//! Byte strings that need no heap block while they are short: keys, mostly.

/// Longest content that is stored in place.
pub const INLINE_MAX: usize = 22;

/// An immutable byte string of 24 bytes, in place up to [`INLINE_MAX`] bytes of content.
#[derive(Clone)]
pub struct SmallBytes(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_MAX] },
    Heap(Box<[u8]>),
}

impl Default for SmallBytes {
    fn default() -> Self {
        SmallBytes::new(b"")
    }
}

impl SmallBytes {
    /// Copies the content.
    pub fn new(content: &[u8]) -> Self {
        if content.len() <= INLINE_MAX {
            let mut bytes = [0; INLINE_MAX];
            bytes[..content.len()].copy_from_slice(content);
            SmallBytes(Repr::Inline { len: content.len() as u8, bytes })
        } else {
            SmallBytes(Repr::Heap(content.into()))
        }
    }

    /// The content.
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(content) => content,
        }
    }

    /// Bytes on the heap besides the 24 of the value itself.
    pub fn heap_size(&self) -> usize {
        SmallBytes::heap_size_of(self.as_slice())
    }

    /// Bytes that such content takes on the heap, besides the 24 of the value itself.
    pub fn heap_size_of(content: &[u8]) -> usize {
        if content.len() <= INLINE_MAX { 0 } else { content.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long() {
        assert_eq!(size_of::<SmallBytes>(), 24);
        for len in [0, 1, 22, 23, 1000] {
            let content = vec![b'x'; len];
            assert_eq!(SmallBytes::new(&content).as_slice(), content);
        }
        assert_eq!([22, 23].map(|len| SmallBytes::heap_size_of(&[0; 23][..len])), [0, 23]);
    }
}
