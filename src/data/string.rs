//! The string type: an integer, up to 21 bytes in place, or a shared buffer on the heap.
//!
//! A heap buffer sits behind an `Arc`, so that a snapshot or a large reply holds on to the bytes of
//! the moment without copying them; a change copies the buffer only while somebody else still holds
//! it.

use std::sync::Arc;

use crate::base::num;

/// Longest content that is stored in place.
const INLINE_MAX: usize = 21;

/// Redis's bound between the encodings `embstr` and `raw`.
const EMBSTR_MAX: usize = 44;

/// Longest decimal text of an `i64`: what may be stored as an integer.
const INT_TEXT_MAX: usize = 20;

/// The content of a string key.
#[derive(Clone, Debug)]
pub struct Str(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Int(i64),
    Inline { raw: bool, len: u8, bytes: [u8; INLINE_MAX] },
    Heap { raw: bool, bytes: Arc<Vec<u8>> },
}

/// The content of a string, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// Stands for its decimal text.
    Int(i64),
    /// Bytes to be copied.
    Bytes(&'a [u8]),
    /// Bytes to be shared instead of copied.
    Shared(&'a Arc<Vec<u8>>),
}

impl<'a> Text<'a> {
    /// The content as it is to be stored: as an integer where it is one in canonical form.
    pub fn of(content: &'a [u8]) -> Self {
        if content.len() <= INT_TEXT_MAX
            && let Some(value) = num::parse_i64(content)
        {
            return Text::Int(value);
        }
        Text::Bytes(content)
    }
}

impl Str {
    /// Takes back the content of another one, `raw` if it was changed in place.
    pub(super) fn restored(text: Text, raw: bool) -> Str {
        match text {
            Text::Int(value) => Str::from_i64(value),
            Text::Bytes(content) => Str::with_bytes(content, raw),
            Text::Shared(bytes) => Str(Repr::Heap { raw, bytes: Arc::clone(bytes) }),
        }
    }

    /// Whether it is in the encoding of one that was changed in place.
    pub(super) fn is_raw(&self) -> bool {
        matches!(self.0, Repr::Inline { raw: true, .. } | Repr::Heap { raw: true, .. })
    }

    /// The content, borrowed.
    pub fn view(&self) -> Text<'_> {
        match &self.0 {
            Repr::Int(value) => Text::Int(*value),
            Repr::Inline { len, bytes, .. } => Text::Bytes(&bytes[..usize::from(*len)]),
            Repr::Heap { bytes, .. } => Text::Shared(bytes),
        }
    }

    /// Stores the content, as an integer where it is one in canonical form.
    pub fn from_bytes(content: &[u8]) -> Self {
        Str::restored(Text::of(content), false)
    }

    /// Like [`Str::from_bytes`], without copying long content.
    pub fn from_vec(mut content: Vec<u8>) -> Self {
        if content.len() <= EMBSTR_MAX {
            return Str::from_bytes(&content);
        }
        content.shrink_to_fit();
        Str(Repr::Heap { raw: false, bytes: Arc::new(content) })
    }

    /// Long content, which is held together with others.
    pub fn shared(content: Arc<Vec<u8>>) -> Self {
        Str(Repr::Heap { raw: false, bytes: content })
    }

    /// An integer.
    pub fn from_i64(value: i64) -> Self {
        Str(Repr::Int(value))
    }

    /// Stores the content as text even if it reads as an integer, as INCRBYFLOAT's results are.
    pub fn text(content: &[u8]) -> Self {
        Str::with_bytes(content, false)
    }

    /// A buffer in the encoding of one that was changed in place, however short it is.
    pub fn raw(content: Vec<u8>) -> Self {
        if content.len() <= INLINE_MAX {
            Str::with_bytes(&content, true)
        } else {
            Str(Repr::Heap { raw: true, bytes: Arc::new(content) })
        }
    }

    fn with_bytes(content: &[u8], raw: bool) -> Self {
        if content.len() <= INLINE_MAX {
            let mut bytes = [0; INLINE_MAX];
            bytes[..content.len()].copy_from_slice(content);
            Str(Repr::Inline { raw, len: content.len() as u8, bytes })
        } else {
            Str(Repr::Heap { raw, bytes: Arc::new(content.to_vec()) })
        }
    }

    /// The value, if it is stored as an integer.
    pub fn as_int(&self) -> Option<i64> {
        match self.0 {
            Repr::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The content; an integer is written into `buf`.
    pub fn bytes<'a>(&'a self, buf: &'a mut [u8; 20]) -> &'a [u8] {
        match &self.0 {
            Repr::Int(value) => num::i64_bytes(*value, buf),
            Repr::Inline { len, bytes, .. } => &bytes[..usize::from(*len)],
            Repr::Heap { bytes, .. } => bytes,
        }
    }

    /// Length of the content in bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Int(value) => num::i64_len(*value),
            Repr::Inline { len, .. } => usize::from(*len),
            Repr::Heap { bytes, .. } => bytes.len(),
        }
    }

    /// The buffer on the heap, if nobody else holds it.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        match self.0 {
            Repr::Heap { bytes, .. } => Arc::into_inner(bytes),
            _ => None,
        }
    }

    /// Adds bytes behind the content.
    pub fn append(&mut self, more: &[u8]) {
        self.change(|bytes| bytes.extend_from_slice(more));
    }

    /// Overwrites the content from `offset` on, growing it with zero bytes where it is shorter.
    pub fn set_range(&mut self, offset: usize, patch: &[u8]) {
        let end = offset + patch.len();
        self.change(|bytes| {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[offset..end].copy_from_slice(patch);
        });
    }

    /// Changes the bytes, in place where they are on the heap and nobody else holds them.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if let Repr::Heap { raw, bytes } = &mut self.0 {
            *raw = true;
            return change(Arc::make_mut(bytes));
        }
        let mut bytes = self.bytes(&mut [0; 20]).to_vec();
        let result = change(&mut bytes);
        *self = Str::raw(bytes);
        result
    }

    /// `int`, `embstr` or `raw`, by Redis's rules.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Int(_) => "int",
            _ if self.is_raw() || self.len() > EMBSTR_MAX => "raw",
            _ => "embstr",
        }
    }

    /// Bytes on the heap, with the header of the shared buffer.
    pub fn heap_size(&self) -> usize {
        match &self.0 {
            Repr::Heap { bytes, .. } => bytes.capacity() + size_of::<Vec<u8>>() + 16,
            _ => 0,
        }
    }
}

impl Default for Str {
    fn default() -> Self {
        Str::text(b"")
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        self.bytes(&mut [0; 20]) == other.bytes(&mut [0; 20])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(s: &Str) -> Vec<u8> {
        s.bytes(&mut [0; 20]).to_vec()
    }

    #[test]
    fn encodings_follow_redis() {
        assert_eq!(size_of::<Str>(), 24);
        assert_eq!(size_of::<super::super::Value>(), 24);
        assert_eq!(Str::from_bytes(b"123").encoding(), "int");
        assert_eq!(Str::from_bytes(b"0123").encoding(), "embstr");
        assert_eq!(Str::from_bytes(&[b'a'; 44]).encoding(), "embstr");
        assert_eq!(Str::from_bytes(&[b'a'; 45]).encoding(), "raw");
        assert_eq!(Str::text(b"123").encoding(), "embstr");
        let mut s = Str::from_bytes(b"12");
        s.append(b"3");
        assert_eq!((s.encoding(), content(&s)), ("raw", b"123".to_vec()));
    }

    #[test]
    fn ranges_grow_with_zeros() {
        let mut s = Str::from_bytes(b"");
        s.set_range(3, b"x");
        assert_eq!(content(&s), b"\0\0\0x");
        s.set_range(40, b"yz");
        assert_eq!((s.len(), content(&s)[39..].to_vec()), (42, b"\0yz".to_vec()));
    }

    #[test]
    fn a_holder_keeps_the_old_bytes() {
        let mut s = Str::from_bytes(&[b'a'; 100]);
        let Text::Shared(held) = s.view() else { panic!("long content is shared") };
        let held = Arc::clone(held);
        s.append(b"b");
        assert_eq!((held.len(), s.len()), (100, 101));
    }
}
