//! The keyed hash of byte strings.
//!
//! A client chooses its keys, so a fixed hash would let it pile them all into one bucket. Every
//! [`Seed`] is therefore drawn at random, and nothing derived from a hash may be stored or sent:
//! the same key hashes differently in the next run. This file knows nothing of the tables above.
//!
//! The function is SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF"), as in
//! the standard library, but over a whole slice at once: a key's length and end are known, so
//! nothing need be kept between calls.

use std::hash::{BuildHasher, RandomState};

/// The secret key of a hash function from byte strings to 64 bits.
///
/// A clone hashes like its original; two seeds drawn by [`Seed::random`] are unrelated.
#[derive(Clone, Debug)]
pub struct Seed(u64, u64);

impl Seed {
    /// Draws a new seed.
    pub fn random() -> Seed {
        let random = RandomState::new();
        Seed(random.hash_one(0), random.hash_one(1))
    }

    /// Hashes `bytes`; all 64 bits of the result are equally good.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.sip::<1, 3>(bytes)
    }

    /// SipHash with that many rounds for each word and at the end.
    fn sip<const WORD: usize, const END: usize>(&self, bytes: &[u8]) -> u64 {
        let mut state = State([
            self.0 ^ 0x736f_6d65_7073_6575,
            self.1 ^ 0x646f_7261_6e64_6f6d,
            self.0 ^ 0x6c79_6765_6e65_7261,
            self.1 ^ 0x7465_6462_7974_6573,
        ]);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state.absorb::<WORD>(u64::from_le_bytes(*word));
        }
        // The last word: what is left, and the length in its highest byte.
        let last = match bytes.last_chunk::<8>() {
            // With what was hashed already shifted out.
            Some(end) => {
                u64::from_le_bytes(*end).checked_shr(64 - 8 * rest.len() as u32).unwrap_or(0)
            }
            None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        state.absorb::<WORD>(last | (bytes.len() as u64) << 56);
        state.0[2] ^= 0xff;
        (0..END).for_each(|_| state.round());
        state.0.iter().fold(0, |all, part| all ^ part)
    }
}

/// The four words that a hash is computed in.
struct State([u64; 4]);

impl State {
    #[inline]
    fn absorb<const ROUNDS: usize>(&mut self, word: u64) {
        self.0[3] ^= word;
        (0..ROUNDS).for_each(|_| self.round());
        self.0[0] ^= word;
    }

    #[inline]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        d = d.rotate_left(21) ^ a;
        b = b.rotate_left(17) ^ c;
        self.0 = [a, b, c.rotate_left(32), d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last vector that the authors publish with SipHash-2-4: the key is
    /// 00 01 .. 0f, the input 00 01 .. of that length.
    #[test]
    fn the_published_vectors() {
        let seed = Seed(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let input: Vec<u8> = (0..63).collect();
        assert_eq!(seed.sip::<2, 4>(&[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(seed.sip::<2, 4>(&input[..15]), 0xa129_ca61_49be_45e5);
        assert_eq!(seed.sip::<2, 4>(&input), 0x958a_324c_eb06_4572);
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
