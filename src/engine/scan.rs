//! What SCAN, HSCAN, SSCAN and ZSCAN share: cursors, options, and the shape of the answer.
//!
//! Must not know what is scanned.

use std::ops::Range;

use crate::base::glob;
use crate::engine::args::Args;
use crate::engine::ctx::{Replier, Reply};
use crate::resp::error::Error;
use crate::resp::out::Out;

/// Without COUNT, a call visits about so many elements.
const DEFAULT_COUNT: u64 = 10;

/// Buckets per wanted element that a call visits at most, so that a sparse table ends a call, too.
const BUCKETS_PER_ELEMENT: u64 = 10;

/// Reads a cursor as C's `strtoul` does in Redis: up to a NUL, with a sign, nothing being 0.
pub fn parse_cursor(arg: &[u8]) -> Result<u64, Error> {
    let text = arg.split(|&b| b == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::INVALID_CURSOR);
    }
    // ASCII digits are text. A lone sign is refused here, and so is what is too large.
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    let value: u64 = digits.parse().map_err(|_| Error::INVALID_CURSOR)?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// A glob pattern for names.
#[derive(Clone, Copy)]
pub struct Pattern<'a>(Option<&'a [u8]>);

impl<'a> Pattern<'a> {
    /// A lone `*` matches every name, even the empty one, which no other pattern with a star does.
    pub fn new(pattern: &'a [u8]) -> Self {
        Pattern((pattern != b"*").then_some(pattern))
    }

    /// Whether it matches a name.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}

/// What the caller wants to see, and how much of it.
pub struct Options<'a> {
    /// MATCH: which names.
    pub pattern: Pattern<'a>,
    /// TYPE: keys of which type; only SCAN takes it.
    pub type_name: Option<&'a [u8]>,
    /// COUNT: about how many elements to visit; at least 1.
    pub count: u64,
}

impl<'a> Options<'a> {
    /// Takes the rest of the arguments: `[MATCH pattern] [COUNT count]`, and `[TYPE type]` where
    /// keys are scanned.
    pub fn parse(args: &mut Args<'a>, of_keys: bool) -> Result<Self, Error> {
        let (pattern, type_name) = (Pattern(None), None);
        let mut options = Options { pattern, type_name, count: DEFAULT_COUNT };
        while !args.is_empty() {
            if args.word("count") {
                let count = u64::try_from(args.int()?).ok().filter(|&count| count > 0);
                options.count = count.ok_or(Error::SYNTAX)?;
            } else if args.word("match") {
                options.pattern = Pattern::new(args.bytes()?);
            } else if of_keys && args.word("type") {
                options.type_name = Some(args.bytes()?);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(options)
    }

    /// What a call visits at most, of so many elements.
    pub fn part(&self, len: usize) -> Range<usize> {
        0..usize::try_from(self.count).map_or(len, |count| count.min(len))
    }

    /// How much a call may visit.
    pub fn budget(&self) -> Budget {
        let buckets = self.count.saturating_mul(BUCKETS_PER_ELEMENT);
        Budget { elements: self.count, buckets }
    }

    /// Steps through one table from `cursor` on, as far as the budget goes. `step` visits the
    /// bucket of a cursor and answers the next cursor, 0 at the end, and the number of elements
    /// in that bucket.
    pub fn walk(&self, mut cursor: u64, mut step: impl FnMut(u64) -> (u64, usize)) -> u64 {
        let mut budget = self.budget();
        loop {
            let (next, elements) = step(cursor);
            cursor = next;
            budget.spend_bucket(elements);
            if cursor == 0 || budget.is_spent() {
                return cursor;
            }
        }
    }
}

/// What a call may still visit.
pub struct Budget {
    elements: u64,
    buckets: u64,
}

impl Budget {
    /// A bucket with this many elements was visited.
    pub fn spend_bucket(&mut self, elements: usize) {
        self.elements = self.elements.saturating_sub(elements as u64);
        self.buckets = self.buckets.saturating_sub(1);
    }

    /// Whether the call should end.
    pub fn is_spent(&self) -> bool {
        self.elements == 0 || self.buckets == 0
    }
}

/// Names for an answer, one behind the other: millions of them cost no allocation each.
#[derive(Default)]
pub struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    /// Adds one.
    pub fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    /// Writes all as an array.
    pub fn write(&self, out: &mut Out) {
        out.array(self.ends.len());
        let mut start = 0;
        for &end in &self.ends {
            out.bulk(&self.bytes[start..end]);
            start = end;
        }
    }
}

/// Answers the next cursor and what was found.
pub fn reply(reply: &mut Replier, cursor: u64, found: &Names) -> Reply {
    let out = reply.parts();
    out.array(2);
    out.bulk(cursor.to_string().as_bytes());
    found.write(out);
    reply.done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_in_c() {
        let read = |text: &[u8]| parse_cursor(text).ok();
        assert_eq!(
            (read(b""), read(b"0"), read(b"+7"), read(b"007")),
            (Some(0), Some(0), Some(7), Some(7))
        );
        assert_eq!((read(b"-1"), read(b"5\0x")), (Some(u64::MAX), Some(5)));
        assert_eq!(read(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b"x"[..], b"-", b"+", b" 1", b"1 ", b"1.5", b"18446744073709551616"] {
            assert_eq!(read(bad), None, "{}", bad.escape_ascii());
        }
    }

    fn options(words: &[&'static [u8]], of_keys: bool) -> Option<(u64, bool, bool)> {
        let mut args = Args::new(words, 0);
        let options = Options::parse(&mut args, of_keys).ok()?;
        Some((options.count, options.pattern.matches(b"ab"), options.type_name.is_some()))
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(options(&[], false), Some((10, true, false)));
        assert_eq!(options(&[b"MATCH", b"b*", b"count", b"7"], false), Some((7, false, false)));
        assert_eq!(options(&[b"type", b"hash"], true), Some((10, true, true)));
        assert_eq!(options(&[b"type", b"hash"], false), None);
        for bad in [&b"0"[..], b"-1", b"x"] {
            assert_eq!(options(&[b"count", bad], false), None);
        }
        assert_eq!(options(&[b"match"], false), None);
    }

    #[test]
    fn a_walk_ends_with_its_budget() {
        let options = Options { pattern: Pattern::new(b"*"), type_name: None, count: 10 };
        let mut steps = 0;
        let ten_elements = options.walk(5, |cursor| {
            steps += 1;
            (cursor + 1, 4)
        });
        assert_eq!((ten_elements, steps), (8, 3));
        assert_eq!(options.walk(0, |cursor| (cursor + 1, 0)), 100);
        assert_eq!(options.walk(9, |_| (0, 0)), 0);
    }
}
