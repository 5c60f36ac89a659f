//! A small, fast generator of random numbers (xorshift64*), and random hexadecimal ids.
//!
//! Not for secrets, but for [`secret`]: ids only have to be different from run to run and from
//! server to server.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A stream that the seed decides alone.
    pub fn seeded(seed: u64) -> Self {
        // A splitmix step, so that small seeds start far apart and zero is never the state.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Rng((z ^ (z >> 31)) | 1)
    }

    /// A stream seeded by the operating system's randomness.
    pub fn from_os() -> Self {
        Rng::seeded(RandomState::new().build_hasher().finish())
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// `count` different numbers below `bound`, which is at least as large; any choice is as
    /// probable as any other, their order is not random.
    pub fn distinct_below(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let mut chosen = HashSet::with_capacity(count);
        let mut numbers = Vec::with_capacity(count);
        for limit in bound - count..bound {
            // Floyd's way: what was chosen already stands for the newcomer.
            let number = self.below(limit as u64 + 1) as usize;
            let number = if chosen.insert(number) { number } else { limit };
            chosen.insert(number);
            numbers.push(number);
        }
        numbers
    }
}

/// Forty random lower-case hexadecimal digits: a run id or a replication id.
pub fn random_id() -> String {
    // A fresh `RandomState` per word: unlike one generator's output, words do not follow from each
    // other.
    let mut id = String::with_capacity(48);
    while id.len() < 40 {
        let word = RandomState::new().build_hasher().finish() ^ Rng::from_os().next_u64();
        id.push_str(&format!("{word:016x}"));
    }
    id.truncate(40);
    id
}

/// Fills `bytes` with what nobody can guess: from the operating system's own generator.
///
/// # Errors
/// The system has none, or no file can be opened.
pub fn secret(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_forty_digits() {
        let (a, b) = (random_id(), random_id());
        assert_ne!(a, b);
        assert_eq!(a.len(), 40);
        assert!(a.bytes().all(|c| c.is_ascii_hexdigit()));
    }

    #[test]
    fn secrets_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        secret(&mut a).unwrap();
        secret(&mut b).unwrap();
        assert!(a != b && a != [0; 32]);
    }

    #[test]
    fn distinct_numbers_are_distinct_and_fair() {
        let mut rng = Rng::seeded(4);
        let mut hits = [0; 10];
        for _ in 0..10_000 {
            let numbers = rng.distinct_below(10, 3);
            assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 3);
            numbers.into_iter().for_each(|number| hits[number] += 1);
        }
        // A fair count of 3,000 has a deviation of 46.
        assert!(hits.iter().all(|hits| (2_700..3_300).contains(hits)), "{hits:?}");
        assert_eq!(rng.distinct_below(5, 5).into_iter().collect::<HashSet<_>>().len(), 5);
        assert!(rng.distinct_below(5, 0).is_empty());
    }

    #[test]
    fn seeds_repeat() {
        assert_eq!(Rng::seeded(7).next_u64(), Rng::seeded(7).next_u64());
        assert_ne!(Rng::seeded(0).next_u64(), Rng::seeded(1).next_u64());
    }
}
