//! The name of a stream's entry: a time in milliseconds and a number within that.

use std::fmt;

use crate::base::num::u64_bytes;

/// How many bytes of text may spell an id.
const TEXT_MAX: usize = 127;

/// The id of an entry. Ids are ordered as their two parts are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Unix milliseconds, where the server has made the id.
    pub ms: u64,
    /// The number among the ids of that time.
    pub seq: u64,
}

impl Id {
    /// 0-0, which no entry has.
    pub const MIN: Id = Id { ms: 0, seq: 0 };
    /// The last possible one.
    pub const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    /// The id of these parts.
    pub const fn new(ms: u64, seq: u64) -> Id {
        Id { ms, seq }
    }

    /// The smallest id above this one.
    pub fn next(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The largest id below this one.
    pub fn prev(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { seq, ..self }),
            None => Some(Id { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Whether it is 0-0, which stands for "none".
    pub fn is_zero(self) -> bool {
        self == Id::MIN
    }

    /// Reads `ms-seq`, or `ms` alone, which gets the number `missing_seq`.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Id> {
        match Id::parse_open(text)? {
            (ms, Seq::Given(seq)) => Some(Id { ms, seq }),
            (ms, Seq::Missing) => Some(Id { ms, seq: missing_seq }),
            (_, Seq::Any) => None,
        }
    }

    /// Reads what XADD takes beside `*`: the time and what is said about the number. As in Redis
    /// the text ends at its first NUL.
    pub fn parse_open(text: &[u8]) -> Option<(u64, Seq)> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let text = text.split(|&byte| byte == 0).next()?;
        let mut parts = text.splitn(2, |&byte| byte == b'-');
        let ms = parse_part(parts.next()?)?;
        let seq = match parts.next() {
            None => Seq::Missing,
            Some(b"*") => Seq::Any,
            Some(seq) => Seq::Given(parse_part(seq)?),
        };
        Some((ms, seq))
    }

    /// The sixteen bytes that sort as the ids do: both parts, most significant byte first.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// The id of sixteen such bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Id {
        let both = u128::from_be_bytes(bytes);
        Id { ms: (both >> 64) as u64, seq: both as u64 }
    }
}

/// Room for the text of any id.
pub type Text = [u8; 41];

impl Id {
    /// Writes `ms-seq` into `buf` and returns the part of it that was used.
    pub fn text(self, buf: &mut Text) -> &[u8] {
        let mut len = 0;
        let mut put = |part: &[u8]| {
            buf[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        };
        put(u64_bytes(self.ms, &mut [0; 20]));
        put(b"-");
        put(u64_bytes(self.seq, &mut [0; 20]));
        &buf[..len]
    }

    /// The same in a buffer of its own.
    pub fn to_vec(self) -> Vec<u8> {
        self.text(&mut [0; 41]).to_vec()
    }
}

/// What an argument says about the number of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seq {
    /// This one.
    Given(u64),
    /// Nothing.
    Missing,
    /// `*`: the next free one.
    Any,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Reads one part as C's `strtoull` does, to which Redis leaves all texts that are not the one
/// spelling of a number: white space and a sign may come first, and zeros. A negative number wraps,
/// unless it has its usual spelling.
fn parse_part(text: &[u8]) -> Option<u64> {
    let spaces = text.iter().take_while(|&&b| b.is_ascii_whitespace() || b == 0x0b).count();
    let (negative, digits) = match &text[spaces..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let plain_negative = spaces == 0 && negative && matches!(digits.first(), Some(b'1'..=b'9'));
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    match negative {
        true if plain_negative && value <= i64::MIN.unsigned_abs() => None,
        true => Some(value.wrapping_neg()),
        false => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours() {
        assert_eq!(Id::new(1, u64::MAX).next(), Some(Id::new(2, 0)));
        assert_eq!(Id::new(2, 0).prev(), Some(Id::new(1, u64::MAX)));
        assert_eq!((Id::MAX.next(), Id::MIN.prev()), (None, None));
        assert_eq!(Id::new(1, 5).next().and_then(Id::prev), Some(Id::new(1, 5)));
        assert!(Id::new(1, 9) < Id::new(2, 0));
    }

    #[test]
    fn spellings() {
        let good: [(&[u8], Id); 10] = [
            (b"1-2", Id::new(1, 2)),
            (b"5", Id::new(5, 77)),
            (b"18446744073709551615-18446744073709551615", Id::MAX),
            (b"007-08", Id::new(7, 8)),
            (b" 7-+8", Id::new(7, 8)),
            (b"1--0", Id::new(1, 0)),
            (b"1--05", Id::new(1, u64::MAX - 4)),
            (b"1--9223372036854775809", Id::new(1, (1 << 63) - 1)),
            (b"3-4\0-5", Id::new(3, 4)),
            (b"0-0", Id::MIN),
        ];
        for (text, id) in good {
            assert_eq!(Id::parse(text, 77), Some(id), "{}", text.escape_ascii());
        }
        let bad = "|-|+|1-|-1|--1|1-2-3|1-*|*|a|1-a|1--5|18446744073709551616|1 |1-2 |\0|$|>";
        for text in bad.split('|') {
            assert_eq!(Id::parse(text.as_bytes(), 0), None, "{text:?}");
        }
        assert_eq!(Id::parse(&[b'0'; 127], 0), Some(Id::MIN));
        assert_eq!(Id::parse(&[b'0'; 128], 0), None);
        assert_eq!(Id::parse_open(b"12-*"), Some((12, Seq::Any)));
        assert_eq!(Id::parse_open(b"12"), Some((12, Seq::Missing)));
        assert_eq!(Id::new(1, 2).to_string(), "1-2");
        assert_eq!(Id::MAX.to_vec(), Id::MAX.to_string().as_bytes());
    }

    #[test]
    fn bytes_sort_like_ids() {
        let ids = [Id::MIN, Id::new(0, 1), Id::new(0, u64::MAX), Id::new(1, 0), Id::new(256, 0)];
        for pair in ids.windows(2) {
            assert!(pair[0].to_bytes() < pair[1].to_bytes());
        }
        assert_eq!(Id::from_bytes(Id::new(3, 9).to_bytes()), Id::new(3, 9));
    }
}
