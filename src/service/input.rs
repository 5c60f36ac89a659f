//! What a connection has read and not executed yet: a buffer, and a large argument apart from it,
//! which can be stored without copying it.

use std::io;
use std::sync::Arc;

use crate::state::clients::Stream;
use crate::store::spares::Spares;

/// The request buffer of a connection that has sent something lately; a silent one has none.
const BUFFER_MIN: usize = 16 * 1024;
/// The request buffer grows to this by itself; beyond it only as a large argument arrives.
pub(super) const BUFFER_MAX: usize = 64 * 1024;
/// How much of a large command is asked for in one go.
const LARGE_STEP: usize = 256 * 1024;
/// What the announcement of a large argument reserves at most, of memory that is not used yet.
const LARGE_RESERVE: usize = 2 * 1024 * 1024;
/// Small reads in a row after which a large buffer shrinks.
const CALM_READS: u32 = 4;

/// Bytes that are read but not executed: `bytes[start..end]`.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Small reads in a row.
    calm: u32,
    /// The last read has filled the buffer.
    was_full: bool,
    large: Option<Arriving>,
}

/// A large argument, of which `bytes[..end]` have come. It ends with two bytes that do not count.
struct Arriving {
    bytes: Vec<u8>,
    end: usize,
    len: usize,
}

impl Input {
    /// What is in the buffer.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// How many bytes wait, those of a large argument included.
    pub(super) fn len(&self) -> usize {
        self.end - self.start + self.large.as_ref().map_or(0, |large| large.end)
    }

    /// What is reserved, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.large.as_ref().map_or(0, |large| large.bytes.capacity())
    }

    /// That many bytes of the buffer are done with.
    pub(super) fn skip(&mut self, len: usize) {
        self.start += len;
    }

    /// Everything is executed: the buffer starts anew, smaller when little has been coming.
    pub(super) fn reset(&mut self) {
        self.start = 0;
        self.end = 0;
        if self.calm > CALM_READS && self.bytes.len() > BUFFER_MIN {
            self.bytes = vec![0; BUFFER_MIN];
            self.calm = 0;
        }
    }

    /// Gives back what is not needed to keep the bytes that are here.
    pub(super) fn shrink(&mut self) {
        self.compact();
        self.bytes.truncate(self.end);
        self.bytes.shrink_to_fit();
        self.calm = 0;
    }

    /// Takes the spare buffer, if it has none.
    pub(super) fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            self.bytes = std::mem::take(spare);
        }
    }

    /// Leaves its buffer as the spare one, if it needs none.
    pub(super) fn give_back(&mut self, spare: &mut Vec<u8>) {
        if self.end == 0 {
            let buffer = std::mem::take(&mut self.bytes);
            if (spare.len()..=BUFFER_MAX).contains(&buffer.len()) {
                *spare = buffer;
            }
        }
    }

    /// From `from` on the buffer holds the beginning of an argument of `len` bytes, all that came
    /// last. The rest is to arrive apart from it, in a spare buffer if there is one.
    pub(super) fn begin_large(&mut self, from: usize, len: usize, spares: &Spares) {
        let from = self.start + from;
        let mut large = Arriving { bytes: Vec::new(), end: self.end - from, len };
        match spares.take(large.whole()) {
            Some(mut bytes) => {
                bytes.resize(large.whole(), 0);
                large.bytes = bytes;
            }
            None => large.make_room(),
        }
        large.bytes[..large.end].copy_from_slice(&self.bytes[from..self.end]);
        self.end = from;
        self.was_full = false;
        self.large = Some(large);
    }

    /// Whether a large argument is arriving.
    pub(super) fn has_large(&self) -> bool {
        self.large.is_some()
    }

    /// The large argument, once it is whole.
    pub(super) fn take_large(&mut self) -> Option<Arc<Vec<u8>>> {
        let mut large = self.large.take_if(|large| large.end == large.whole())?;
        large.bytes.truncate(large.len);
        Some(Arc::new(large.bytes))
    }

    /// Moves the bytes to the front.
    fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Makes room for more of a command that lacks `want` bytes.
    fn make_room(&mut self, want: usize) {
        if self.start > 0 && (self.start == self.end || self.bytes.len() - self.end < want) {
            self.compact();
        }
        let least = want.clamp(BUFFER_MIN / 2, LARGE_STEP);
        let is_too_small = self.was_full && self.bytes.len() < BUFFER_MAX;
        if self.bytes.len() - self.end >= least && !is_too_small {
            return;
        }
        if self.end + least <= BUFFER_MAX {
            // A read that filled the buffer announces more.
            let grown = self.bytes.len() * if is_too_small { 4 } else { 2 };
            let wanted = grown.clamp(BUFFER_MIN, BUFFER_MAX).max(self.end + least);
            if self.bytes.is_empty() {
                // Fresh zeros from the allocator: pages that no request reaches stay unused.
                self.bytes = vec![0; wanted];
            } else {
                self.bytes.resize(wanted, 0);
            }
            return;
        }
        if self.bytes.capacity() - self.end < least {
            // Exactly what is needed in the end, but not more at a time than has come already, so
            // that an announcement alone reserves little. Many small arguments do not announce what
            // they need.
            let more = want.min(self.end.max(LARGE_STEP)).max(least).max(self.end / 8);
            self.bytes.reserve_exact(self.end + more - self.bytes.len());
        }
        self.bytes.resize((self.end + LARGE_STEP).min(self.bytes.capacity()), 0);
    }

    /// Reads more, at least one byte, of a command that lacks `want`.
    pub(super) fn fill(&mut self, stream: &Stream, want: usize) -> io::Result<usize> {
        if let Some(large) = &mut self.large {
            return large.fill(stream);
        }
        self.make_room(want);
        let room = self.bytes.len() - self.end;
        let n = stream.read(&mut self.bytes[self.end..])?;
        self.end += n;
        self.calm = if n * 8 > room { 0 } else { self.calm.saturating_add(1) };
        self.was_full = n == room;
        Ok(n)
    }
}

impl Arriving {
    /// How many bytes are to come altogether.
    fn whole(&self) -> usize {
        self.len + 2
    }

    /// Makes room for more, but not for much more than has come already, so that an announcement
    /// alone reserves little.
    fn make_room(&mut self) {
        if self.bytes.len() == self.bytes.capacity() {
            let size = self.whole().min(LARGE_RESERVE.max(self.end * 4));
            self.bytes.reserve_exact(size - self.bytes.len());
        }
        self.bytes.resize((self.end + LARGE_STEP).min(self.bytes.capacity()).min(self.whole()), 0);
    }

    /// Reads more, at least one byte, and nothing behind it.
    fn fill(&mut self, stream: &Stream) -> io::Result<usize> {
        if self.end == self.bytes.len() {
            self.make_room();
        }
        let n = stream.read(&mut self.bytes[self.end..])?;
        self.end += n;
        Ok(n)
    }
}
