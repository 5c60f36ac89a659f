//! SHA-1 (FIPS 180-4). Used where Redis uses it as a name for content: script ids and the
//! digests of DEBUG. Not for secrets: collisions can be made. This file knows nothing of those
//! uses.

const BLOCK: usize = 64;
/// Where the eight bytes of the length begin in the last block.
const LENGTH_AT: usize = BLOCK - 8;

/// Returns the SHA-1 of `data`.
pub fn sha1(data: &[u8]) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update(data);
    hash.finish()
}

/// A SHA-1 over data that comes in pieces.
#[derive(Clone)]
pub struct Sha1 {
    state: [u32; 5],
    /// Bytes so far, modulo 2^61 as the standard defines the length in bits modulo 2^64.
    length: u64,
    /// The begun block: its first `length % 64` bytes are filled.
    block: [u8; BLOCK],
}

impl Default for Sha1 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha1 {
    /// Starts with no data.
    pub fn new() -> Self {
        Sha1 {
            state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0],
            length: 0,
            block: [0; BLOCK],
        }
    }

    /// Adds `data` to what is hashed.
    pub fn update(&mut self, mut data: &[u8]) {
        let filled = self.filled();
        self.length = self.length.wrapping_add(data.len() as u64);
        if filled > 0 {
            let take = data.len().min(BLOCK - filled);
            let (now, later) = data.split_at(take);
            self.block[filled..filled + take].copy_from_slice(now);
            if filled + take < BLOCK {
                return;
            }
            compress(&mut self.state, &self.block);
            data = later;
        }
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        for block in blocks {
            compress(&mut self.state, block);
        }
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// Ends the data and returns its hash.
    pub fn finish(mut self) -> [u8; 20] {
        let filled = self.filled();
        let bits = self.length.wrapping_mul(8);
        self.block[filled] = 0x80;
        self.block[filled + 1..].fill(0);
        if filled >= LENGTH_AT {
            compress(&mut self.state, &self.block);
            self.block.fill(0);
        }
        self.block[LENGTH_AT..].copy_from_slice(&bits.to_be_bytes());
        compress(&mut self.state, &self.block);
        let mut hash = [0; 20];
        for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        hash
    }

    fn filled(&self) -> usize {
        (self.length % BLOCK as u64) as usize
    }
}

/// Mixes one block into `state`.
fn compress(state: &mut [u32; 5], block: &[u8; BLOCK]) {
    let mut words = [0u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for i in 16..80 {
        words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (round, word) in words.into_iter().enumerate() {
        let (mixed, constant) = match round {
            0..20 => ((b & c) | (!b & d), 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a
            .rotate_left(5)
            .wrapping_add(mixed)
            .wrapping_add(e)
            .wrapping_add(constant)
            .wrapping_add(word);
        e = d;
        d = c;
        c = b.rotate_left(30);
        b = a;
        a = next;
    }
    for (sum, add) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(data: &[u8]) -> String {
        sha1(data).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn examples_of_the_standard() {
        assert_eq!(hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(two_blocks), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        let long = vec![b'a'; 1_000_000];
        assert_eq!(hex(&long), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }

    #[test]
    fn padding_at_every_fill_of_the_last_block() {
        // A hash over the hashes of all lengths up to three blocks catches each of them. The
        // expected value comes from another implementation (Python's hashlib).
        let data: Vec<u8> = (0..192).collect();
        let mut hashes = Vec::new();
        for end in 0..=data.len() {
            hashes.extend(sha1(&data[..end]));
        }
        assert_eq!(hex(&hashes), "0746709c4875ec36914983cf0248e2a7caba03db");
    }

    #[test]
    fn pieces_give_the_same_as_the_whole() {
        let data: Vec<u8> = (0..200).collect();
        let whole = sha1(&data);
        for cut in 0..=data.len() {
            for second in [cut, cut.midpoint(data.len())] {
                let mut hash = Sha1::default();
                hash.update(&data[..cut]);
                hash.update(&data[cut..second]);
                hash.update(&data[second..]);
                assert_eq!(hash.finish(), whole, "cut at {cut} and {second}");
            }
        }
    }
}
