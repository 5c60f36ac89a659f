//! LZF, the compression of long strings in RDB files (the format of Marc Lehmann's liblzf).
//!
//! A compressed text is a row of two kinds of items:
//!
//! ```text
//! 000nnnnn  n+1 bytes                    the bytes themselves (1 to 32)
//! llloooooo oooooooo                     lll in 1..=6: copy lll+2 bytes from o+1 bytes back
//! 111ooooo  nnnnnnnn  oooooooo           copy n+9 bytes (9 to 264) from o+1 bytes back
//! ```
//!
//! Offsets have 13 bits, so a copy reaches at most 8192 bytes back. It may reach into its own
//! output, which is how runs are written. This file knows nothing of RDB.

use crate::base::lock::{Lock, rank};

/// The longest run of literal bytes that one control byte announces.
const MAX_LITERALS: usize = 32;
/// The furthest a copy reaches back.
const MAX_DISTANCE: usize = 8192;
/// The shortest copy that has a code.
const MIN_COPY: usize = 3;
/// The longest copy that has a code; it takes three bytes.
const MAX_COPY: usize = 264;
/// Copies of this length and longer need the three-byte form.
const LONG_COPY: usize = 9;
/// No byte of compressed text stands for more than this many bytes of output.
const MAX_RATIO: usize = MAX_COPY / 3;
/// What compression must save to be worth it: the length fields it needs in the file.
const MIN_SAVING: usize = 4;
/// How much room for compressed text a packer keeps that nobody uses.
const KEPT: usize = 64 * 1024;

/// Compresses, and keeps its memory from one text to the next.
#[derive(Default)]
pub struct Packer {
    seen: Seen,
    packed: Vec<u8>,
}

impl Packer {
    /// Returns `input` compressed, or `None` when that would not be at least 4 bytes shorter.
    ///
    /// Of all the ways to write a text this takes the one that liblzf takes in Redis, so that
    /// values have the same bytes: the same memory of what was seen, no match with the very first
    /// byte, nor (but for a quirk) of the last two, and giving up by the same count of bytes.
    pub fn compress(&mut self, input: &[u8]) -> Option<&[u8]> {
        let limit = input.len().checked_sub(MIN_SAVING).filter(|&limit| limit > 0)?;
        let Packer { seen, packed } = self;
        seen.begin(input.len());
        packed.clear();
        let mut at = 0;
        while let Some((start, distance)) = seen.next_match(input, at) {
            let literals = &input[at..start];
            if packed.len() + literals.len() + literals.len().div_ceil(MAX_LITERALS) + 4 >= limit {
                return None;
            }
            push_literals(packed, literals);
            let length = match_length(input, start, distance);
            push_copy(packed, distance, length);
            at = start + length;
            // The last two positions of a match are remembered, as the next often starts there.
            if at + MIN_COPY <= input.len() {
                seen.swap(input, at - 2);
                seen.swap(input, at - 1);
            }
        }
        // The last two bytes are not counted, but room for them and for the run's length is.
        let counted = (input.len() + 1 - MIN_COPY).saturating_sub(at);
        if packed.len() + counted + counted / MAX_LITERALS + 4 > limit {
            return None;
        }
        push_literals(packed, &input[at..]);
        Some(packed)
    }
}

/// A packer for whoever has one text to compress, and not the time to make one.
pub struct Spare(Lock<Option<Packer>>);

impl Spare {
    /// There is none yet.
    pub fn new() -> Self {
        Spare(Lock::new(rank::LEAF + 82, None))
    }

    /// Takes it; a new one, if another thread has it.
    pub fn take(&self) -> Packer {
        self.0.lock().take().unwrap_or_default()
    }

    /// Puts one back, without what a long text has left.
    pub fn put(&self, mut packer: Packer) {
        packer.packed.clear();
        packer.packed.shrink_to(KEPT);
        *self.0.lock() = Some(packer);
    }
}

impl Default for Spare {
    fn default() -> Self {
        Self::new()
    }
}

fn push_literals(packed: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(MAX_LITERALS) {
        packed.push((run.len() - 1) as u8);
        packed.extend_from_slice(run);
    }
}

fn push_copy(packed: &mut Vec<u8>, distance: usize, length: usize) {
    let [low, high, ..] = (distance - 1).to_le_bytes();
    if length < LONG_COPY {
        packed.extend_from_slice(&[((length - 2) as u8) << 5 | high, low]);
    } else {
        packed.extend_from_slice(&[7 << 5 | high, (length - LONG_COPY) as u8, low]);
    }
}

/// Returns the text that `input` stands for, or `None` when it is damaged or does not give
/// exactly `expected_len` bytes. Claims that no input of this size can meet are refused before
/// any memory is taken.
pub fn decompress(input: &[u8], expected_len: usize) -> Option<Vec<u8>> {
    if expected_len > input.len().saturating_mul(MAX_RATIO) {
        return None;
    }
    let mut out = Vec::with_capacity(expected_len);
    let mut rest = input;
    while let Some((&control, after)) = rest.split_first() {
        let code = usize::from(control >> 5);
        if code == 0 {
            let (literals, after) = after.split_at_checked(usize::from(control) + 1)?;
            if literals.len() > expected_len - out.len() {
                return None;
            }
            out.extend_from_slice(literals);
            rest = after;
            continue;
        }
        let (extra, after) = if code == 7 {
            let (&extra, after) = after.split_first()?;
            (usize::from(extra), after)
        } else {
            (0, after)
        };
        let (&low, after) = after.split_first()?;
        let distance = (usize::from(control & 0x1f) << 8) + usize::from(low) + 1;
        let length = code + extra + 2;
        if length > expected_len - out.len() {
            return None;
        }
        copy_back(&mut out, distance, length)?;
        rest = after;
    }
    (out.len() == expected_len).then_some(out)
}

/// Appends `length` bytes that repeat what stands `distance` bytes before the end of `out`.
fn copy_back(out: &mut Vec<u8>, distance: usize, mut length: usize) -> Option<()> {
    let start = out.len().checked_sub(distance)?;
    while length > 0 {
        // Each round doubles what can be copied at once when the copy overlaps its source.
        let step = length.min(out.len() - start);
        out.extend_from_within(start..start + step);
        length -= step;
    }
    Some(())
}

/// Where three-byte sequences were last seen, by a hash of 16 bits. Two sequences may share one:
/// the reader compares the bytes before it trusts a place.
#[derive(Default)]
struct Seen {
    /// For each hash, behind which of all positions there have been it was seen last: the texts
    /// stand one behind the other, and positions are counted modulo 2^32. What is not above `base`
    /// is of an earlier text.
    slots: Option<Box<[u32; 1 << 16]>>,
    /// Where the present text begins.
    base: u32,
    /// Where the next one will begin.
    end: u32,
}

impl Seen {
    /// Forgets everything, for a text of that length. The slots are cleared when positions have run
    /// out; a text too long for 32 bits is seen as one that begins at 0 anyway.
    fn begin(&mut self, input_len: usize) {
        let len = u32::try_from(input_len).ok();
        match len.and_then(|len| self.end.checked_add(len)) {
            Some(end) if self.slots.is_some() => (self.base, self.end) = (self.end, end),
            _ => {
                self.slots = vec![0; 1 << 16].into_boxed_slice().try_into().ok();
                (self.base, self.end) = (0, len.unwrap_or(u32::MAX));
            }
        }
    }

    /// Remembers position `at` and returns how far back the same hash was seen, if in reach.
    #[inline(always)]
    fn swap(&mut self, input: &[u8], at: usize) -> Option<usize> {
        let &[a, b, c] = input[at..].first_chunk()?;
        let hash =
            u16::from_be_bytes([a, b]).wrapping_sub(u16::from_be_bytes([b, c]).wrapping_mul(5));
        let place = self.base.wrapping_add(at as u32).wrapping_add(1);
        let slot = &mut self.slots.as_mut()?[usize::from(hash)];
        let before = std::mem::replace(slot, place);
        let distance = place.wrapping_sub(before) as usize;
        let is_near = before > self.base + 1 && (1..=MAX_DISTANCE.min(at)).contains(&distance);
        is_near.then_some(distance)
    }

    /// Remembers the positions from `at` on up to the first from which three bytes repeat what
    /// stands some way before them; that position, and how far back.
    fn next_match(&mut self, input: &[u8], at: usize) -> Option<(usize, usize)> {
        let three = |at: usize| input[at..].first_chunk::<MIN_COPY>();
        (at..input.len() + 1 - MIN_COPY).find_map(|at| {
            let distance = self.swap(input, at)?;
            (three(at) == three(at - distance)).then_some((at, distance))
        })
    }
}

/// How many bytes from `at` on, the first three of which match, are copied. Two bytes are left over
/// at the end; but near it so many are compared at once that they may be taken along.
fn match_length(input: &[u8], at: usize, distance: usize) -> usize {
    const AT_ONCE: usize = 16;
    let most = (input.len() - at - 2).min(MAX_COPY);
    let least = if most > AT_ONCE { MIN_COPY + AT_ONCE } else { MIN_COPY };
    let most = most.max(least);
    let (here, there) = (&input[at..at + most], &input[at - distance..][..most]);
    let equal = here.iter().zip(there).skip(MIN_COPY).take_while(|(a, b)| a == b).count();
    MIN_COPY + equal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(input: &[u8]) -> Option<Vec<u8>> {
        Packer::default().compress(input).map(<[u8]>::to_vec)
    }

    fn xorshift(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn check_round_trip(input: &[u8]) {
        if let Some(packed) = compress(input) {
            assert!(packed.len() + MIN_SAVING <= input.len());
            assert_eq!(decompress(&packed, input.len()).as_deref(), Some(input));
            assert_eq!(decompress(&packed, input.len() + 1), None);
            assert_eq!(decompress(&packed, input.len() - 1), None);
        }
    }

    #[test]
    fn runs_of_every_length_come_back() {
        for len in 0..700 {
            check_round_trip(&vec![b'x'; len]);
        }
        let packed = compress(&vec![b'x'; 100_000]).unwrap();
        assert!(packed.len() < 100_000 / 80, "{}", packed.len());
    }

    #[test]
    fn texts_of_small_alphabets_come_back() {
        let mut seed = 88_172_645_463_325_252;
        for round in 0..400usize {
            let len = (xorshift(&mut seed) % 3000) as usize;
            let letters = 1 + (round as u64 % 8);
            let text: Vec<u8> =
                (0..len).map(|_| b'a' + (xorshift(&mut seed) % letters) as u8).collect();
            check_round_trip(&text);
        }
    }

    #[test]
    fn the_furthest_copy_is_found_and_one_further_is_not_used() {
        let mut seed = 0x1234_5678_9abc_def1;
        for gap in [MAX_DISTANCE - 1, MAX_DISTANCE, MAX_DISTANCE + 1] {
            let mut text = b"0123456789abcdef0123456789ABCDEF!".repeat(9);
            text.extend((text.len()..gap).map(|_| xorshift(&mut seed) as u8));
            text.extend_from_within(..280);
            check_round_trip(&text);
        }
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        assert_eq!(compress(b""), None);
        assert_eq!(compress(b"aaaa"), None);
        let mut seed = 1;
        let noise: Vec<u8> = (0..1000).map(|_| xorshift(&mut seed) as u8).collect();
        assert_eq!(compress(&noise), None);
    }

    #[test]
    fn text_is_packed_as_by_liblzf() {
        // What Redis stores for a hundred times the letter a.
        let packed = [0x01, 0x61, 0x61, 0xe0, 0x57, 0x00, 0x01, 0x61, 0x61];
        assert_eq!(decompress(&packed, 100), Some(vec![b'a'; 100]));
        assert_eq!(compress(&[b'a'; 100]).as_deref(), Some(&packed[..]));
    }

    /// The sum is that of what liblzf makes of the same texts, as Redis 7.2 has it.
    #[test]
    fn many_texts_are_packed_as_by_liblzf() {
        let (mut seed, mut packer) = (88_172_645_463_325_252, Packer::default());
        // FNV-1a.
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |byte: u8| sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        for round in 0..3000 {
            let len = xorshift(&mut seed) % if round % 50 == 0 { 20_000 } else { 700 };
            let letters = 1 + round % 60;
            let text: Vec<u8> = (0..len).map(|_| (xorshift(&mut seed) % letters) as u8).collect();
            match packer.compress(&text) {
                Some(packed) => packed.iter().for_each(|&byte| add(byte)),
                None => add(0xff),
            }
        }
        assert_eq!(sum, 0x555b_460a_e45a_7af1);
    }

    #[test]
    fn a_packer_that_has_packed_packs_as_a_new_one() {
        let mut seed = 7;
        let mut packer = Packer::default();
        // Soon the positions run out.
        packer.seen.end = u32::MAX - 300_000;
        for round in 0..1_000 {
            let len = (xorshift(&mut seed) % if round % 50 == 0 { 9_000 } else { 700 }) as usize;
            let letters = 1 + xorshift(&mut seed) % 12;
            let text: Vec<u8> = (0..len).map(|_| (xorshift(&mut seed) % letters) as u8).collect();
            assert_eq!(packer.compress(&text).map(<[u8]>::to_vec), compress(&text));
        }
        assert!(packer.seen.end < u32::MAX / 2);
    }

    #[test]
    fn a_spare_packer_is_kept_without_what_a_long_text_has_left() {
        let spare = Spare::new();
        let (mut one, other) = (spare.take(), spare.take());
        let long: Vec<u8> = (0..2_000_000u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        assert!(one.compress(&long).is_some() && one.packed.capacity() > KEPT);
        spare.put(other);
        spare.put(one);
        let again = spare.take();
        assert!(again.seen.slots.is_some() && again.packed.capacity() <= KEPT);
    }

    #[test]
    fn damage_is_refused() {
        assert_eq!(decompress(b"", 0), Some(Vec::new()));
        assert_eq!(decompress(b"", 1), None);
        // A copy from before the start, literals that are missing, copies cut in two.
        assert_eq!(decompress(&[0x20, 0x00], 3), None);
        assert_eq!(decompress(&[0x00, b'a', 0x20, 0x01], 4), None);
        assert_eq!(decompress(&[0x03, b'a'], 4), None);
        assert_eq!(decompress(&[0x00, b'a', 0x20], 4), None);
        assert_eq!(decompress(&[0x00, b'a', 0xe0, 0x00], 10), None);
        // A claim that no input of five bytes can meet.
        assert_eq!(decompress(&[0x00, b'a', 0xe0, 0xff, 0x00], usize::MAX), None);
        assert_eq!(decompress(&[0x00, b'a', 0xe0, 0xff, 0x00], 265), Some(vec![b'a'; 265]));
    }

    #[test]
    fn mutations_never_panic() {
        let text = b"to be or not to be, to be or not to be, that is aaaaaaaaaaaaaaaaaaaaaaaaa";
        let packed = compress(text).unwrap();
        let mut seed = 42;
        for _ in 0..20_000 {
            let mut bad = packed.clone();
            let at = xorshift(&mut seed) as usize % bad.len();
            bad[at] = xorshift(&mut seed) as u8;
            if let Some(out) = decompress(&bad, text.len()) {
                assert_eq!(out.len(), text.len());
            }
        }
    }
}
