//! Strings as rows of bits: counting, searching, combining, and integers of any width at any place.
//!
//! Bit 0 is the highest of the first byte, as in Redis; an integer's highest bit comes first. This
//! file must not know how a string is stored, nor what a command is called.

use std::ops::Range;

/// Whether a bit is set. What lies behind the end reads as 0.
pub fn get(bytes: &[u8], offset: u64) -> bool {
    let byte = usize::try_from(offset / 8).ok().and_then(|at| bytes.get(at));
    byte.is_some_and(|byte| byte & mask(offset) != 0)
}

/// Sets or clears a bit, which must lie within the bytes; what it was before.
pub fn set(bytes: &mut [u8], offset: u64, on: bool) -> bool {
    let Some(byte) = bytes.get_mut((offset / 8) as usize) else { return false };
    let before = *byte & mask(offset) != 0;
    if before != on {
        *byte ^= mask(offset);
    }
    before
}

fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// The bits of a range that lie in its first byte, in the whole bytes, and in its last byte. The
/// outer ones come with the mask of the bits that belong to the range.
struct Parts<'a> {
    head: Option<(u8, u8)>,
    whole: &'a [u8],
    tail: Option<(u8, u8)>,
}

/// Takes a range of bits apart; it is cut off where the bytes end.
fn parts(bytes: &[u8], range: Range<u64>) -> Parts<'_> {
    let end = range.end.min(bytes.len() as u64 * 8);
    let start = range.start.min(end);
    let (first, last) = ((start / 8) as usize, (end / 8) as usize);
    let from_start = 0xff >> (start % 8);
    let before_end = !(0xff >> (end % 8));
    if first == last {
        let within = from_start & before_end;
        let head = (within != 0).then(|| (bytes[first], within));
        return Parts { head, whole: &[], tail: None };
    }
    let cut_head = from_start != 0xff;
    Parts {
        head: cut_head.then(|| (bytes[first], from_start)),
        whole: &bytes[first + usize::from(cut_head)..last],
        tail: (before_end != 0).then(|| (bytes[last], before_end)),
    }
}

/// How many bits of a range are set.
pub fn count(bytes: &[u8], range: Range<u64>) -> u64 {
    let Parts { head, whole, tail } = parts(bytes, range);
    let (words, rest) = whole.as_chunks();
    let in_words: u64 =
        words.iter().map(|word| u64::from(u64::from_le_bytes(*word).count_ones())).sum();
    let in_rest: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    let at_ends = head.into_iter().chain(tail).map(|(byte, mask)| (byte & mask).count_ones());
    in_words + in_rest + u64::from(at_ends.sum::<u32>())
}

/// The first bit of a range that is set, or is not; none if there is none within the bytes.
pub fn find(bytes: &[u8], on: bool, range: Range<u64>) -> Option<u64> {
    let Parts { head, whole, tail } = parts(bytes, range.clone());
    let flip = if on { 0 } else { 0xff };
    let in_byte = |(byte, mask): (u8, u8)| {
        let hits = (byte ^ flip) & mask;
        (hits != 0).then(|| u64::from(hits.leading_zeros()))
    };
    let first = range.start / 8 * 8;
    if let Some(at) = head.and_then(in_byte) {
        return Some(first + at);
    }
    let first = first + 8 * u64::from(head.is_some());
    if let Some((index, byte)) = find_byte(whole, flip) {
        return Some(first + 8 * index as u64 + in_byte((byte, 0xff))?);
    }
    Some(first + 8 * whole.len() as u64 + tail.and_then(in_byte)?)
}

/// The first byte that is not `skipped`, found in steps of whole words.
fn find_byte(bytes: &[u8], skipped: u8) -> Option<(usize, u8)> {
    let words = bytes.as_chunks::<32>().0.iter();
    let start = 32 * words.take_while(|word| **word == [skipped; 32]).count();
    let index = start + bytes[start..].iter().position(|byte| *byte != skipped)?;
    Some((index, bytes[index]))
}

/// An operation on whole strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bits that all have.
    And,
    /// Bits that any has.
    Or,
    /// Bits that an odd number of them has.
    Xor,
    /// The bits that the first does not have.
    Not,
}

/// The result for these strings, as long as the longest of them; the others are followed by zeros.
pub fn combine(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
    let Some((first, others)) = sources.split_first() else { return Vec::new() };
    let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
    let mut result = Vec::with_capacity(len);
    result.extend_from_slice(first);
    result.resize(len, 0);
    if operation == Operation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    for other in others {
        let (common, behind) = result.split_at_mut(other.len());
        let pairs = common.iter_mut().zip(*other);
        match operation {
            Operation::And => {
                pairs.for_each(|(byte, with)| *byte &= with);
                behind.fill(0);
            }
            Operation::Or => pairs.for_each(|(byte, with)| *byte |= with),
            Operation::Xor => pairs.for_each(|(byte, with)| *byte ^= with),
            Operation::Not => {}
        }
    }
    result
}

/// A kind of integer: its bits, and whether the first of them is its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Whether there are negative numbers.
    pub signed: bool,
    /// 1 to 64 if signed, 1 to 63 if not.
    pub bits: u32,
}

/// What happens to a number that a field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Its highest bits are lost.
    Wrap,
    /// It becomes the nearest number that the field can hold.
    Saturate,
    /// Nothing is done.
    Fail,
}

impl Field {
    /// The largest number and the smallest.
    fn limits(self) -> (i64, i64) {
        let max = i64::MAX >> (if self.signed { 64 } else { 63 } - self.bits);
        (max, if self.signed { -max - 1 } else { 0 })
    }

    /// The lowest bits of a number as this field shows them.
    fn wrap(self, value: i64) -> i64 {
        let unused = 64 - self.bits;
        let high = value << unused;
        if self.signed { high >> unused } else { (high as u64 >> unused) as i64 }
    }

    /// What the field holds after `value` is put in; none if nothing is.
    pub fn fit(self, value: i64, overflow: Overflow) -> Option<i64> {
        let (max, min) = self.limits();
        // Redis measures the way from the value to the maximum in 64 bits. That makes the least
        // numbers seem too large for a signed field, and an unsigned one knows none below zero.
        let far_below = self.bits < 64 && max.checked_sub(value).is_none();
        let above = value > max || far_below || (value < 0 && !self.signed);
        self.judge(above, value < min, value, overflow)
    }

    /// What the field holds after `step` is added to `value`, which it holds; none if nothing is
    /// done.
    pub fn add(self, value: i64, step: i64, overflow: Overflow) -> Option<i64> {
        let (max, min) = self.limits();
        let sum = i128::from(value) + i128::from(step);
        let (above, below) = (sum > i128::from(max), sum < i128::from(min));
        self.judge(above, below, value.wrapping_add(step), overflow)
    }

    fn judge(self, above: bool, below: bool, value: i64, overflow: Overflow) -> Option<i64> {
        let (max, min) = self.limits();
        match overflow {
            _ if !above && !below => Some(value),
            Overflow::Wrap => Some(self.wrap(value)),
            Overflow::Saturate => Some(if above { max } else { min }),
            Overflow::Fail => None,
        }
    }

    /// The number at a place. What lies behind the end reads as 0.
    pub fn read(self, bytes: &[u8], offset: u64) -> i64 {
        let start = usize::try_from(offset / 8).unwrap_or(usize::MAX).min(bytes.len());
        let word = window(&bytes[start..]) << (offset % 8);
        let value = (word >> 64) as i64;
        let unused = 64 - self.bits;
        if self.signed { value >> unused } else { (value as u64 >> unused) as i64 }
    }

    /// Writes a number that the field can hold to a place that lies within the bytes.
    pub fn write(self, bytes: &mut [u8], offset: u64, value: i64) {
        let Some(place) = bytes.get_mut((offset / 8) as usize..) else { return };
        let unused = 128 - self.bits;
        let shift = unused - (offset % 8) as u32;
        let mask = (u128::MAX >> unused) << shift;
        let word = (window(place) & !mask) | ((u128::from(value as u64) << shift) & mask);
        place.iter_mut().zip(word.to_be_bytes()).for_each(|(byte, new)| *byte = new);
    }
}

/// Up to 16 bytes as a number, the first one highest; missing ones are 0.
fn window(bytes: &[u8]) -> u128 {
    let mut word = [0; 16];
    let len = bytes.len().min(16);
    word[..len].copy_from_slice(&bytes[..len]);
    u128::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn random_bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
        // Long rows of equal bytes, so that a search has something to skip.
        let fill = [0, 0xff, 0x5a][rng.next_u64() as usize % 3];
        let byte = |rng: &mut Rng| {
            if rng.next_u64().is_multiple_of(8) { rng.next_u64() as u8 } else { fill }
        };
        (0..len).map(|_| byte(rng)).collect()
    }

    #[test]
    fn ranges_agree_with_single_bits() {
        let mut rng = Rng::seeded(5);
        for _ in 0..600 {
            let len = rng.next_u64() as usize % 80;
            let bytes = random_bytes(&mut rng, len);
            let bound = bytes.len() as u64 * 8 + 1;
            let (a, b) = (rng.next_u64() % bound, rng.next_u64() % bound);
            let range = a.min(b)..a.max(b);
            let set = |at: &u64| bytes[*at as usize / 8] >> (7 - at % 8) & 1 == 1;
            assert_eq!(count(&bytes, range.clone()), range.clone().filter(set).count() as u64);
            assert_eq!(find(&bytes, true, range.clone()), range.clone().find(set));
            assert_eq!(find(&bytes, false, range.clone()), range.clone().find(|at| !set(at)));
            assert!(range.clone().all(|at| get(&bytes, at) == set(&at)));
        }
        assert!(!get(b"\xff", 8) && !get(b"\xff", u64::MAX));
        assert_eq!(count(b"\xff\xff", 3..u64::MAX), 13);
    }

    #[test]
    fn one_bit() {
        let mut bytes = vec![0, 0];
        assert!(!set(&mut bytes, 9, true));
        assert!(set(&mut bytes, 9, true));
        assert_eq!(bytes, [0, 0x40]);
        assert!(set(&mut bytes, 9, false));
        assert_eq!(bytes, [0, 0]);
    }

    #[test]
    fn strings_of_different_length_are_combined() {
        let sources: [&[u8]; 3] = [b"\xf0\xff", b"\xcc\xff\x0f", b"\xaa"];
        let all = |operation| combine(operation, &sources);
        assert_eq!(all(Operation::And), b"\x80\0\0");
        assert_eq!(all(Operation::Or), b"\xfe\xff\x0f");
        assert_eq!(all(Operation::Xor), b"\x96\0\x0f");
        assert_eq!(combine(Operation::Not, &sources[..1]), b"\x0f\0");
        assert_eq!(combine(Operation::And, &[b"", b"\xff"]), b"\0");
        assert_eq!(combine(Operation::Or, &[b"", b""]), b"");
    }

    #[test]
    fn fields_lie_anywhere() {
        let mut rng = Rng::seeded(6);
        for _ in 0..2000 {
            let signed = rng.next_u64().is_multiple_of(2);
            let bits = 1 + rng.next_u64() as u32 % if signed { 64 } else { 63 };
            let field = Field { signed, bits };
            let offset = rng.next_u64() % 40;
            let mut bytes = random_bytes(&mut rng, 13);
            let before = bytes.clone();
            let value = field.wrap(rng.next_u64() as i64);
            field.write(&mut bytes, offset, value);
            assert_eq!(field.read(&bytes, offset), value);
            let outside = |at: u64| at < offset || at >= offset + u64::from(bits);
            assert!((0..104).all(|at| !outside(at) || get(&bytes, at) == get(&before, at)));
            assert!((0..u64::from(bits)).all(|i| {
                get(&bytes, offset + i) == (value >> (u64::from(bits) - 1 - i) & 1 == 1)
            }));
        }
        assert_eq!(Field { signed: false, bits: 63 }.read(b"\xff", 7), 1 << 62);
        assert_eq!(Field { signed: true, bits: 1 }.read(b"\xff", 7), -1);
        assert_eq!(Field { signed: true, bits: 64 }.read(b"\xff", u64::MAX), 0);
    }

    /// The verdicts were read off a Redis 7.0 server.
    #[test]
    fn overflows() {
        use Overflow::{Fail, Saturate, Wrap};
        let (i8, u8) = (Field { signed: true, bits: 8 }, Field { signed: false, bits: 8 });
        let (i64, u63) = (Field { signed: true, bits: 64 }, Field { signed: false, bits: 63 });
        let fits = |field: Field, value| [Wrap, Saturate, Fail].map(|how| field.fit(value, how));
        let adds = |field: Field, value, step| {
            [Wrap, Saturate, Fail].map(|how| field.add(value, step, how))
        };
        assert_eq!(fits(i8, 127), [Some(127); 3]);
        assert_eq!(fits(i8, 128), [Some(-128), Some(127), None]);
        assert_eq!(fits(i8, -129), [Some(127), Some(-128), None]);
        assert_eq!(fits(i8, i64::MIN), [Some(0), Some(127), None]);
        assert_eq!(fits(u8, 256), [Some(0), Some(255), None]);
        assert_eq!(fits(u8, -1), [Some(255), Some(255), None]);
        assert_eq!(fits(u63, -1), [Some(i64::MAX), Some(i64::MAX), None]);
        assert_eq!(fits(i64, i64::MIN), [Some(i64::MIN); 3]);
        assert_eq!(adds(i8, 100, 100), [Some(-56), Some(127), None]);
        assert_eq!(adds(i8, -100, -100), [Some(56), Some(-128), None]);
        assert_eq!(adds(u8, 1, -2), [Some(255), Some(0), None]);
        assert_eq!(adds(u8, 255, i64::MAX), [Some(254), Some(255), None]);
        assert_eq!(adds(i64, i64::MAX, 1), [Some(i64::MIN), Some(i64::MAX), None]);
        assert_eq!(adds(i64, -1, i64::MIN), [Some(i64::MAX), Some(i64::MIN), None]);
        assert_eq!(adds(u63, i64::MAX, i64::MAX), [Some(i64::MAX - 1), Some(i64::MAX), None]);
    }
}
