//! The keyed hash of byte strings.
//!
//! A client chooses its keys, so a fixed hash would let it pile them all into one bucket. Every
//! [`Seed`] is therefore drawn at random, and nothing derived from a hash may be stored or sent:
//! the same key hashes differently in the next run. This file knows nothing of the tables above.

use std::hash::{BuildHasher, RandomState};

/// The secret key of a hash function from byte strings to 64 bits: SipHash with one round for each
/// word and three at the end. The library's own takes its bytes in pieces, which for keys of a few
/// words costs more than the hash.
///
/// A clone hashes like its original; two seeds drawn by [`Seed::random`] are unrelated.
#[derive(Clone, Debug)]
pub struct Seed(u64, u64);

impl Seed {
    /// Draws a new seed.
    pub fn random() -> Seed {
        let source = RandomState::new();
        Seed(source.hash_one(0), source.hash_one(1))
    }

    /// Hashes `bytes`; all 64 bits of the result are equally good.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut state = State {
            v0: self.0 ^ 0x736f_6d65_7073_6575,
            v1: self.1 ^ 0x646f_7261_6e64_6f6d,
            v2: self.0 ^ 0x6c79_6765_6e65_7261,
            v3: self.1 ^ 0x7465_6462_7974_6573,
        };
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|&word| state.absorb(u64::from_le_bytes(word)));
        let tail = match bytes.last_chunk() {
            Some(&last) if !rest.is_empty() => u64::from_le_bytes(last) >> (64 - 8 * rest.len()),
            _ => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        state.absorb((bytes.len() as u64) << 56 | tail);
        state.v2 ^= 0xff;
        (0..3).for_each(|_| state.round());
        state.v0 ^ state.v1 ^ state.v2 ^ state.v3
    }
}

/// What SipHash is computed in.
struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32).wrapping_add(self.v3);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn it_is_the_hash_of_the_library() {
        // Which is the same SipHash, with a key of zeros.
        for len in 0..70u8 {
            let bytes: Vec<u8> = (0..len).collect();
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes);
            assert_eq!(Seed(0, 0).hash(&bytes), hasher.finish(), "{len}");
        }
    }

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
