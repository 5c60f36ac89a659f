//! Seeded chance for the tests: the same seed gives the same run on every machine.

use std::env;

/// The xorshift* generator: small, quick, and good enough to choose test input.
pub struct Random(u64);

impl Random {
    /// A generator that follows from `seed`.
    pub fn new(seed: u64) -> Random {
        // The generator does not work from zero, and neighbouring seeds must not start alike.
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0 up to and without `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() >> 33) as usize % limit
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// One of the words of a text.
    pub fn word(&mut self, list: &str) -> Vec<u8> {
        let count = list.split_whitespace().count();
        let chosen = list.split_whitespace().nth(self.below(count));
        chosen.expect("a word of the list").as_bytes().to_vec()
    }

    /// Fewer than `limit` bytes of any value.
    pub fn bytes(&mut self, limit: usize) -> Vec<u8> {
        let len = self.below(limit);
        (0..len).map(|_| self.bits() as u8).collect()
    }
}

/// A number from the environment, by which a run is made longer or repeated.
pub fn setting(name: &str, default: u64) -> u64 {
    let text = env::var(name);
    text.map_or(default, |t| t.parse().unwrap_or_else(|_| panic!("{name}={t} is no number")))
}
