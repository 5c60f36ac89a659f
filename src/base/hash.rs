//! The keyed hash of byte strings.
//!
//! A client chooses its keys, so a fixed hash would let it pile them all into one bucket. Every
//! [`Seed`] is therefore drawn at random, and nothing derived from a hash may be stored or sent:
//! the same key hashes differently in the next run. This file knows nothing of the tables above.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The secret key of a hash function from byte strings to 64 bits.
///
/// A clone hashes like its original; two seeds drawn by [`Seed::random`] are unrelated.
#[derive(Clone, Debug)]
pub struct Seed(RandomState);

impl Seed {
    /// Draws a new seed.
    pub fn random() -> Seed {
        Seed(RandomState::new())
    }

    /// Hashes `bytes`; all 64 bits of the result are equally good.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_agrees_and_another_seed_does_not() {
        let seed = Seed::random();
        let twin = seed.clone();
        let other = Seed::random();
        for key in [&b""[..], b"\0", b"\0\0", b"key", &[0xff; 300]] {
            assert_eq!(seed.hash(key), twin.hash(key));
            assert_ne!(seed.hash(key), other.hash(key));
        }
        assert_ne!(seed.hash(b"\0"), seed.hash(b"\0\0"));
    }
}
