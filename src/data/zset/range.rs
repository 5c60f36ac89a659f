//! Ranges of scores and of members, and how their ends are written: `1.5`, `(1.5`, `-inf`, and
//! `[a`, `(a`, `-`, `+`.
//!
//! Must not know where the members are.

use crate::base::num::parse_f64;

/// A range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The least score, and whether it is itself outside.
    pub min: (f64, bool),
    /// The greatest score, and whether it is itself outside.
    pub max: (f64, bool),
}

impl ScoreRange {
    /// Reads both ends; `None` if one is not a number.
    pub fn parse(min: &[u8], max: &[u8]) -> Option<ScoreRange> {
        Some(ScoreRange { min: parse_end(min)?, max: parse_end(max)? })
    }

    /// Whether a score comes before the range.
    pub fn is_above(&self, score: f64) -> bool {
        let (min, open) = self.min;
        if open { score <= min } else { score < min }
    }

    /// Whether a score comes before the end of the range.
    pub fn reaches(&self, score: f64) -> bool {
        let (max, open) = self.max;
        if open { score < max } else { score <= max }
    }
}

impl From<std::ops::Range<f64>> for ScoreRange {
    fn from(range: std::ops::Range<f64>) -> Self {
        ScoreRange { min: (range.start, false), max: (range.end, true) }
    }
}

/// Reads a score behind an optional `(`, as C's `strtod` does: blanks before it and nothing at all,
/// which is zero, are right, numbers too large are infinite, and a NUL ends the text.
fn parse_end(text: &[u8]) -> Option<(f64, bool)> {
    let text = text.split(|&c| c == 0).next().unwrap_or_default();
    let (text, open) = text.strip_prefix(b"(").map_or((text, false), |rest| (rest, true));
    if text.is_empty() {
        return Some((0.0, open));
    }
    let blank = |c: &u8| matches!(c, b' ' | b'\t'..=b'\r');
    let number = &text[text.iter().take_while(|c| blank(c)).count()..];
    Some((parse_f64(number).or_else(|| out_of_range(number))?, open))
}

/// The value of a number that does not fit: infinite, or zero.
fn out_of_range(text: &[u8]) -> Option<f64> {
    let negative = text.starts_with(b"-");
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let hex = digits.starts_with(b"0x") || digits.starts_with(b"0X");
    // With half as large an exponent it fits, if it is a number: that tells which way it leaves.
    let marker = if hex { b'p' } else { b'e' };
    let at = text.iter().position(|c| c.to_ascii_lowercase() == marker);
    let (mantissa, exponent) = text.split_at(at.unwrap_or(text.len()));
    let small = exponent.get(1) == Some(&b'-');
    let size = exponent.get(1..).unwrap_or_default();
    let size = size.strip_prefix(b"-").or(size.strip_prefix(b"+")).unwrap_or(size);
    let well_formed = at.is_none() || (!size.is_empty() && size.iter().all(u8::is_ascii_digit));
    if !well_formed || !is_mantissa(mantissa, hex) {
        return None;
    }
    let magnitude = if small { 0.0 } else { f64::INFINITY };
    Some(if negative { -magnitude } else { magnitude })
}

/// Whether this is the part of a number before its exponent: digits and at most one point.
fn is_mantissa(text: &[u8], hex: bool) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let digits = if hex { &digits[2..] } else { digits };
    let digit = |c: &u8| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
    let points = digits.iter().filter(|c| **c == b'.').count();
    points <= 1 && digits.len() > points && digits.iter().all(|c| *c == b'.' || digit(c))
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LexEnd<'a> {
    /// Before all.
    Least,
    /// Behind all.
    Greatest,
    /// At this member, and whether it is itself outside.
    At(&'a [u8], bool),
}

/// A range of members that have the same score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    min: LexEnd<'a>,
    max: LexEnd<'a>,
}

impl<'a> LexRange<'a> {
    /// Reads both ends; `None` if one is not written as it must be.
    pub fn parse(min: &'a [u8], max: &'a [u8]) -> Option<LexRange<'a>> {
        Some(LexRange { min: LexEnd::parse(min)?, max: LexEnd::parse(max)? })
    }

    /// Whether a member comes before the range.
    pub fn is_above(&self, member: &[u8]) -> bool {
        match self.min {
            LexEnd::Least => false,
            LexEnd::Greatest => true,
            LexEnd::At(min, open) => member < min || (open && member == min),
        }
    }

    /// Whether a member comes before the end of the range.
    pub fn reaches(&self, member: &[u8]) -> bool {
        match self.max {
            LexEnd::Least => false,
            LexEnd::Greatest => true,
            LexEnd::At(max, open) => member < max || (!open && member == max),
        }
    }

    /// Whether no member can be inside, whatever there is.
    pub fn is_empty(&self) -> bool {
        match (self.min, self.max) {
            (LexEnd::Greatest, _) | (_, LexEnd::Least) => true,
            (LexEnd::Least, _) | (_, LexEnd::Greatest) => false,
            (LexEnd::At(min, open), LexEnd::At(max, also)) => {
                min > max || (min == max && (open || also))
            }
        }
    }
}

impl<'a> LexEnd<'a> {
    fn parse(text: &'a [u8]) -> Option<LexEnd<'a>> {
        match text {
            // Redis looks for the end of a C string here.
            [b'-'] | [b'-', 0, ..] => Some(LexEnd::Least),
            [b'+'] | [b'+', 0, ..] => Some(LexEnd::Greatest),
            [b'[', member @ ..] => Some(LexEnd::At(member, false)),
            [b'(', member @ ..] => Some(LexEnd::At(member, true)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_scores() {
        let good: [(&[u8], f64, bool); 16] = [
            (b"1.5", 1.5, false),
            (b"(1.5", 1.5, true),
            (b"-inf", f64::NEG_INFINITY, false),
            (b"(+inf", f64::INFINITY, true),
            (b"", 0.0, false),
            (b"(", 0.0, true),
            (b" \t1", 1.0, false),
            (b"( 1", 1.0, true),
            (b"1\0x", 1.0, false),
            (b"0x10", 16.0, false),
            (b"1e400", f64::INFINITY, false),
            (b"-1e400", f64::NEG_INFINITY, false),
            (b"(1e-400", 0.0, true),
            (b"-1e-99999999999", 0.0, false),
            (b"0x1p+9999", f64::INFINITY, false),
            (b"1.e+400", f64::INFINITY, false),
        ];
        for (text, value, open) in good {
            assert_eq!(parse_end(text), Some((value, open)), "{}", text.escape_ascii());
        }
        for bad in
            ["x", "((1", "1 ", "nan", "(nan", "1e", "-", "+", ".", " ", "1e400x", "1.2.3e400"]
        {
            assert_eq!(parse_end(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn scores_in_ranges() {
        let range = ScoreRange::parse(b"(1", b"2").unwrap();
        let inside = |score| !range.is_above(score) && range.reaches(score);
        assert_eq!([0.5, 1.0, 1.5, 2.0, 2.5].map(inside), [false, false, true, true, false]);
    }

    #[test]
    fn ends_and_ranges_of_members() {
        for bad in [&b""[..], b"a", b"-a", b"+a", b"1", b"]a"] {
            assert_eq!(LexRange::parse(bad, b"+"), None, "{}", bad.escape_ascii());
            assert_eq!(LexRange::parse(b"-", bad), None, "{}", bad.escape_ascii());
        }
        let inside = |min: &'static str, max: &'static str, member: &str| {
            let range = LexRange::parse(min.as_bytes(), max.as_bytes()).unwrap();
            !range.is_above(member.as_bytes()) && range.reaches(member.as_bytes())
        };
        assert!(inside("-", "+", "") && inside("[", "[", "") && !inside("(", "+", ""));
        assert!(inside("[b", "(d", "b") && inside("[b", "(d", "cx") && !inside("[b", "(d", "d"));
        assert!(!inside("(b", "[d", "b") && inside("(b", "[d", "d") && !inside("+", "-", "a"));
        let empty = |min: &'static str, max: &'static str| {
            LexRange::parse(min.as_bytes(), max.as_bytes()).unwrap().is_empty()
        };
        assert!(empty("+", "-") && empty("[b", "[a") && empty("(a", "[a") && empty("+", "+"));
        assert!(!empty("[a", "[a") && !empty("-", "+") && !empty("-", "[a"));
    }
}
