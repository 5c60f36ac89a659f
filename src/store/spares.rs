//! Buffers of long strings that were overwritten, for the next ones that are set.
//!
//! The allocator gives each thread memory of its own, and what is freed goes back to where it came
//! from: without this, values that several threads overwrite would take several times their size,
//! in pages that are touched for the first time.

use crate::base::lock::{Lock, rank};

/// Bytes that are kept at most.
const MAX: usize = 4 * 1024 * 1024;
/// Shorter ones are not worth keeping.
pub(super) const LEAST: usize = 2 * 1024;
/// So many of those that came last are looked at.
const LOOK: usize = 8;
/// No more are kept.
const COUNT: usize = 64;

/// Buffers that nobody uses; the lock guards nothing else.
pub struct Spares(Lock<Buffers>);

#[derive(Default)]
struct Buffers {
    /// The one that came last is behind.
    list: Vec<Vec<u8>>,
    /// Their capacities together.
    size: usize,
    /// One was taken since the last look.
    are_wanted: bool,
}

impl Spares {
    pub(super) fn new() -> Self {
        Spares(Lock::new(rank::LEAF + 90, Buffers::default()))
    }

    /// Keeps a buffer.
    ///
    /// # Errors
    /// The buffer, if it is not worth keeping or there are enough.
    pub(super) fn give(&self, bytes: Vec<u8>) -> Result<(), Vec<u8>> {
        if bytes.capacity() < LEAST {
            return Err(bytes);
        }
        let mut buffers = self.0.lock();
        if buffers.list.len() == COUNT || buffers.size + bytes.capacity() > MAX {
            return Err(bytes);
        }
        buffers.size += bytes.capacity();
        buffers.list.push(bytes);
        Ok(())
    }

    /// A buffer for `len` bytes that is not much larger, if there is one. What it holds means
    /// nothing.
    pub fn take(&self, len: usize) -> Option<Vec<u8>> {
        if len < LEAST {
            return None;
        }
        let mut buffers = self.0.lock();
        let fits = |bytes: &Vec<u8>| (len..=len + len / 16).contains(&bytes.capacity());
        let old = buffers.list.len().saturating_sub(LOOK);
        let place = old + buffers.list[old..].iter().rposition(fits)?;
        let bytes = buffers.list.swap_remove(place);
        buffers.size -= bytes.capacity();
        buffers.are_wanted = true;
        Some(bytes)
    }

    /// Frees all.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        drop(all);
    }

    /// Frees all, unless one was taken since the last time. To be called once in a while.
    pub fn clear_unused(&self) {
        if !std::mem::take(&mut self.0.lock().are_wanted) {
            self.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_for_what_is_about_as_long() {
        let spares = Spares::new();
        let len = 2 * LEAST;
        assert!(spares.take(len).is_none());
        for len in [len, 2 * len] {
            spares.give(vec![1; len]).unwrap();
        }
        assert!(spares.take(len + 1).is_none(), "one is too small, the other too large");
        assert!(spares.take(len - len / 16).is_none(), "much too large");
        assert_eq!(spares.take(len - 10).map(|bytes| bytes.capacity()), Some(len));
        assert!(spares.take(len).is_none(), "it was taken");
        assert_eq!(spares.take(2 * len).map(|bytes| bytes.capacity()), Some(2 * len));
    }

    #[test]
    fn few_are_kept() {
        let spares = Spares::new();
        assert_eq!(spares.give(vec![0; LEAST - 1]).unwrap_err().len(), LEAST - 1);
        assert_eq!(spares.give(vec![0; MAX + 1]).unwrap_err().len(), MAX + 1);
        spares.give(vec![0; MAX - LEAST]).unwrap();
        spares.give(vec![0; LEAST]).unwrap();
        assert!(spares.give(vec![0; LEAST]).is_err(), "there are enough");
        spares.clear();
        assert!(spares.take(LEAST).is_none());
        spares.give(vec![0; MAX]).unwrap();
        assert!(spares.take(MAX).is_some_and(|bytes| spares.give(bytes).is_ok()));
        spares.clear_unused();
        assert!(spares.take(MAX).is_some_and(|bytes| spares.give(bytes).is_ok()), "in use");
        spares.clear_unused();
        spares.clear_unused();
        assert!(spares.take(MAX).is_none(), "not in use");
        (0..COUNT).for_each(|_| spares.give(vec![0; LEAST]).unwrap());
        assert!(spares.give(vec![0; LEAST]).is_err(), "there are enough");
    }
}
