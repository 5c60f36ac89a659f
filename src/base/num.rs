//! Strict parsing and fast printing of numbers.
//!
//! The rules are those of the Redis wire: an integer has exactly one spelling, and a float is what
//! the C library's `strtod` reads to the last byte. This file knows nothing of commands, replies or
//! error texts; a refused number is `None`.
//!
//! Invariant: `parse_i64` accepts exactly the texts that `push_i64` can produce.
//!
//! The scanner and the binary rounding at the end are shared with `longdouble`.

/// The largest decimal float text that is handed to the standard library as it stands. Its parser
/// stops counting an exponent at 65,536, which is only right while the digits are fewer than that.
const DIRECT_FLOAT_LEN: usize = 4096;

/// So many digits are always a whole number that an `f64` holds exactly.
const SMALL_WHOLE_LEN: usize = 15;

/// How many significant digits of a decimal float are kept. A point halfway between two `f64`s has
/// at most 767, so that what lies beyond matters only by being nonzero; the texts that `longdouble`
/// takes are never longer.
const KEPT_DIGITS: usize = 5120;

/// Parses a signed decimal integer in its only spelling: no blanks, no `+`, no leading zeros, no
/// `-0`. Texts out of range are refused.
pub fn parse_i64(b: &[u8]) -> Option<i64> {
    match b.strip_prefix(b"-") {
        None => i64::try_from(parse_u64(b)?).ok(),
        Some(digits) => match parse_u64(digits)? {
            0 => None,
            magnitude => 0i64.checked_sub_unsigned(magnitude),
        },
    }
}

/// Parses an unsigned decimal integer as strictly as [`parse_i64`]; no sign is allowed.
pub fn parse_u64(b: &[u8]) -> Option<u64> {
    if b.is_empty() || (b[0] == b'0' && b.len() > 1) {
        return None;
    }
    b.iter().try_fold(0u64, |value, c| {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Parses a float as `strtod` does, if it takes the whole text: decimal or hexadecimal with an
/// optional sign and exponent, or `inf` / `infinity` in any case. Refused are leading blanks, NaN,
/// and nonzero numbers too large or too small for an `f64` (a subnormal result is accepted).
pub fn parse_f64(b: &[u8]) -> Option<f64> {
    if let Some(whole) = parse_small_whole(b) {
        return Some(whole);
    }
    if b.len() <= DIRECT_FLOAT_LEN && b.iter().all(|c| is_decimal_float_byte(*c)) {
        let zero = !b.iter().take_while(|c| **c | 0x20 != b'e').any(|c| matches!(c, b'1'..=b'9'));
        return in_range(std::str::from_utf8(b).ok()?.parse().ok()?, zero);
    }
    let (negative, shape) = scan_float(b)?;
    let magnitude = match shape {
        FloatShape::Infinite => f64::INFINITY,
        FloatShape::Decimal(decimal) => decimal_to_f64(decimal)?,
        FloatShape::Hex(hex) => hex_to_f64(&hex)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Parses digits, with a sign before them or not, if they are so few that the number is exact: what
/// most floats are.
fn parse_small_whole(b: &[u8]) -> Option<f64> {
    let (negative, digits) = split_sign(b);
    if digits.is_empty() || digits.len() > SMALL_WHOLE_LEN {
        return None;
    }
    let whole = digits.iter().try_fold(0u64, |value, c| {
        let digit = c.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + u64::from(digit))
    })?;
    Some(if negative { -(whole as f64) } else { whole as f64 })
}

fn is_decimal_float_byte(c: u8) -> bool {
    matches!(c, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

/// Refuses what `strtod` reports as out of range: infinity from a finite text, and zero from a
/// text with a nonzero digit.
fn in_range(value: f64, written_as_zero: bool) -> Option<f64> {
    let fits = value.is_finite() && (value != 0.0 || written_as_zero);
    fits.then_some(value)
}

fn decimal_to_f64(decimal: Decimal) -> Option<f64> {
    let Decimal { mut digits, exponent } = decimal;
    if digits.is_empty() {
        return Some(0.0);
    }
    digits.push(b'e');
    push_i64(&mut digits, exponent);
    in_range(std::str::from_utf8(&digits).ok()?.parse().ok()?, false)
}

fn hex_to_f64(hex: &Hex) -> Option<f64> {
    const F64: BinaryFormat = BinaryFormat { bits: 53, min_exponent: -1074, max_exponent: 971 };
    let (mantissa, exponent) = F64.round(hex.mantissa, hex.exponent, hex.sticky)?;
    if mantissa == 0 {
        return (hex.mantissa == 0).then_some(0.0);
    }
    if mantissa >> 52 == 0 {
        return Some(f64::from_bits(mantissa));
    }
    let biased = u64::try_from(exponent + 1075).ok()?;
    Some(f64::from_bits(biased << 52 | (mantissa & ((1 << 52) - 1))))
}

/// Appends the decimal text of `v`.
pub fn push_i64(out: &mut Vec<u8>, v: i64) {
    out.extend_from_slice(i64_bytes(v, &mut [0; 20]));
}

/// Appends the decimal text of `v`.
pub fn push_u64(out: &mut Vec<u8>, v: u64) {
    out.extend_from_slice(u64_bytes(v, &mut [0; 20]));
}

/// Writes the decimal text of `v` into `buf` and returns the part of it that was used; twenty
/// bytes hold `i64::MIN`.
pub fn i64_bytes(v: i64, buf: &mut [u8; 20]) -> &[u8] {
    let mut start = write_digits(v.unsigned_abs(), buf);
    if v < 0 {
        start -= 1;
        buf[start] = b'-';
    }
    &buf[start..]
}

/// Writes the decimal text of `v` into `buf` and returns the part of it that was used.
pub fn u64_bytes(v: u64, buf: &mut [u8; 20]) -> &[u8] {
    let start = write_digits(v, buf);
    &buf[start..]
}

/// The length in bytes of the decimal text of `v`, its sign included.
pub fn i64_len(v: i64) -> usize {
    let digits = v.unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1);
    digits + usize::from(v < 0)
}

/// Writes the digits of `v` at the end of `buf` and returns where they start.
fn write_digits(mut v: u64, buf: &mut [u8; 20]) -> usize {
    const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
        2021222324252627282930313233343536373839\
        4041424344454647484950515253545556575859\
        6061626364656667686970717273747576777879\
        8081828384858687888990919293949596979899";
    let mut start = buf.len();
    while v >= 100 {
        let pair = (v % 100) as usize * 2;
        v /= 100;
        start -= 2;
        buf[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if v >= 10 {
        let pair = v as usize * 2;
        start -= 2;
        buf[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        start -= 1;
        buf[start] = b'0' + v as u8;
    }
    start
}

/// A float's text taken apart, without its sign.
pub(super) enum FloatShape {
    Infinite,
    Decimal(Decimal),
    Hex(Hex),
}

/// `digits * 10^exponent`. The digits are ASCII, without leading or trailing zeros; none are left
/// when the number is zero.
pub(super) struct Decimal {
    pub(super) digits: Vec<u8>,
    pub(super) exponent: i64,
}

/// `mantissa * 2^exponent`, or slightly more than that when `sticky` is set; the mantissa then has
/// more than 100 significant bits.
pub(super) struct Hex {
    pub(super) mantissa: u128,
    pub(super) exponent: i64,
    pub(super) sticky: bool,
}

/// Takes the text of a float apart by the grammar of C's `strtod`, sign first. `None` if it is not
/// one from the first byte to the last, or is a NaN.
pub(super) fn scan_float(b: &[u8]) -> Option<(bool, FloatShape)> {
    let (negative, rest) = split_sign(b);
    let shape = if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
        FloatShape::Infinite
    } else if rest.len() > 2 && rest[0] == b'0' && rest[1] | 0x20 == b'x' {
        FloatShape::Hex(scan_hex(&rest[2..])?)
    } else {
        FloatShape::Decimal(scan_decimal(rest)?)
    };
    Some((negative, shape))
}

fn split_sign(b: &[u8]) -> (bool, &[u8]) {
    match b.first() {
        Some(b'-') => (true, &b[1..]),
        Some(b'+') => (false, &b[1..]),
        _ => (false, b),
    }
}

/// Splits a number at its exponent letter (`marker`, lower case) and at its point: the digits
/// before and after the point, then the exponent's value. Checks that at least one digit is there.
fn split_number(b: &[u8], marker: u8) -> Option<(&[u8], &[u8], i64)> {
    let (mantissa, exponent) = match b.iter().position(|c| *c | 0x20 == marker) {
        Some(at) => (&b[..at], scan_exponent(&b[at + 1..])?),
        None => (b, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|c| *c == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &mantissa[mantissa.len()..]),
    };
    (!whole.is_empty() || !fraction.is_empty()).then_some((whole, fraction, exponent))
}

/// The value of a signed exponent. Its size stops growing far beyond what any digits in memory
/// could make up for, so that sums with a number of digits cannot overflow.
fn scan_exponent(b: &[u8]) -> Option<i64> {
    const LIMIT: i64 = 1 << 60;
    let (negative, digits) = split_sign(b);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0i64, |value, c| {
        value.saturating_mul(10).saturating_add(i64::from(c - b'0')).min(LIMIT)
    });
    Some(if negative { -size } else { size })
}

fn scan_decimal(b: &[u8]) -> Option<Decimal> {
    let (whole, fraction, exponent) = split_number(b, b'e')?;
    let all = || whole.iter().chain(fraction);
    if !all().all(u8::is_ascii_digit) {
        return None;
    }
    let mut digits: Vec<u8> = Vec::new();
    let mut cut = 0;
    let mut sticky = false;
    for c in all().skip_while(|c| **c == b'0') {
        if digits.len() < KEPT_DIGITS {
            digits.push(*c);
        } else {
            cut += 1;
            sticky |= *c != b'0';
        }
    }
    if sticky {
        // One digit stands for all that were cut: it keeps the number above what was kept.
        digits.push(b'1');
        cut -= 1;
    }
    while digits.last() == Some(&b'0') {
        digits.pop();
        cut += 1;
    }
    Some(Decimal { digits, exponent: exponent - fraction.len() as i64 + cut })
}

fn scan_hex(b: &[u8]) -> Option<Hex> {
    let (whole, fraction, exponent) = split_number(b, b'p')?;
    let mut hex = Hex { mantissa: 0, exponent, sticky: false };
    for (digits, in_fraction) in [(whole, false), (fraction, true)] {
        for c in digits {
            let value = char::from(*c).to_digit(16)?;
            let full = hex.mantissa >> 124 != 0;
            if full {
                hex.sticky |= value != 0;
            } else {
                hex.mantissa = hex.mantissa << 4 | u128::from(value);
            }
            // A digit counts once: kept after the point it scales down, dropped before it, up.
            hex.exponent += 4 * (i64::from(full) - i64::from(in_fraction));
        }
    }
    Some(hex)
}

/// A binary floating point format: numbers `m * 2^e` with `m < 2^bits` and `e` within the limits.
pub(super) struct BinaryFormat {
    pub(super) bits: u32,
    pub(super) min_exponent: i64,
    pub(super) max_exponent: i64,
}

impl BinaryFormat {
    /// Rounds `mantissa * 2^exponent` to the nearest number of this format, ties to even, and
    /// returns its mantissa and exponent: the mantissa has all its bits unless the exponent is
    /// the lowest. `sticky` says that the exact value lies a little above; the mantissa must then
    /// have more than `bits` + 1 bits. `None` is overflow.
    pub(super) fn round(&self, mantissa: u128, exponent: i64, sticky: bool) -> Option<(u64, i32)> {
        if mantissa == 0 {
            return Some((0, self.min_exponent as i32));
        }
        let excess = i64::from(128 - mantissa.leading_zeros()) - i64::from(self.bits);
        let mut target = exponent.saturating_add(excess).max(self.min_exponent);
        let shift = target.saturating_sub(exponent);
        let mut kept = if shift <= 0 {
            debug_assert!(!sticky, "too few bits to round");
            // The target keeps the top bit within the format's bits, so nothing is shifted out.
            mantissa << shift.unsigned_abs()
        } else {
            round_shift(mantissa, shift.unsigned_abs(), sticky)
        };
        if kept >> self.bits != 0 {
            kept >>= 1;
            target += 1;
        }
        (target <= self.max_exponent).then_some((kept as u64, target as i32))
    }
}

/// `value / 2^shift` rounded to nearest, ties to even; `sticky` adds a trifle to the value.
pub(super) fn round_shift(value: u128, shift: u64, sticky: bool) -> u128 {
    match shift {
        0 => value,
        1..=127 => {
            let kept = value >> shift;
            let lost = value & ((1 << shift) - 1);
            let half = 1 << (shift - 1);
            let up = lost > half || (lost == half && (sticky || kept & 1 == 1));
            kept + u128::from(up)
        }
        128 => u128::from(value > 1 << 127 || (value == 1 << 127 && sticky)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        let good: [(&[u8], i64); 8] = [
            (b"0", 0),
            (b"7", 7),
            (b"-1", -1),
            (b"10", 10),
            (b"9223372036854775807", i64::MAX),
            (b"-9223372036854775808", i64::MIN),
            (b"-9223372036854775807", -i64::MAX),
            (b"1000000000000000000", 1_000_000_000_000_000_000),
        ];
        for (text, value) in good {
            assert_eq!(parse_i64(text), Some(value));
        }
        let bad = "|-|+1|-0|00|01|-01| 1|1 |1a|--1|0x1|1.0|1\0|9223372036854775808|\
            -9223372036854775809|99999999999999999999999";
        for text in bad.split('|') {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn unsigned_integers_reach_their_limit() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"0"), Some(0));
        for text in
            [&b"18446744073709551616"[..], b"-1", b"+1", b"", b"00", b"184467440737095516150"]
        {
            assert_eq!(parse_u64(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn printed_integers_parse_back_and_have_the_length_foretold() {
        let mut values = vec![0, 1, -1, 9, 10, 99, 100, 101, 12345, i64::MAX, i64::MIN];
        for power in 1..=18 {
            let ten = 10i64.pow(power);
            values.extend([ten - 1, ten, ten + 1, -ten, 1 - ten]);
        }
        for v in values {
            let mut out = b"x".to_vec();
            push_i64(&mut out, v);
            assert_eq!(out[1..], *v.to_string().as_bytes());
            assert_eq!(parse_i64(&out[1..]), Some(v));
            assert_eq!(i64_len(v), out.len() - 1);
        }
        let mut out = Vec::new();
        push_u64(&mut out, u64::MAX);
        push_u64(&mut out, 0);
        assert_eq!(out, b"184467440737095516150");
    }

    /// The verdicts below were read off `ZADD` and `ZSCORE` of a Redis 7.0 server.
    #[test]
    fn floats_are_read_as_strtod_reads_them() {
        let good: [(&[u8], f64); 31] = [
            (b"0", 0.0),
            (b"1", 1.0),
            (b"+1", 1.0),
            (b"-1.5", -1.5),
            (b"1.", 1.0),
            (b".5", 0.5),
            (b"007", 7.0),
            (b"1E+2", 100.0),
            (b"inf", f64::INFINITY),
            (b"INFINITY", f64::INFINITY),
            (b"+inf", f64::INFINITY),
            (b"-Inf", f64::NEG_INFINITY),
            (b"0x1.8p3", 12.0),
            (b"0X1.8P3", 12.0),
            (b"-0x.8", -0.5),
            (b"0x1.", 1.0),
            (b"0xe", 14.0),
            (b"0e-400", 0.0),
            (b"0e99999999999999999999", 0.0),
            (b"0x0p99999999999999999999", 0.0),
            (b"1e-320", 1e-320),
            (b"2.4703282292062328e-324", 5e-324),
            (b"1.797693134862315807e308", f64::MAX),
            (b"0x1p-1074", 5e-324),
            (b"0x1.0000001p-1075", 5e-324),
            (b"0x1p-1022", f64::MIN_POSITIVE),
            (b"0x0.fffffffffffff8p-1022", f64::MIN_POSITIVE),
            (b"0x1.fffffffffffff7ffp1023", f64::MAX),
            (b"0x1.00000000000008p0", 1.0),
            (b"0x1.00000000000018p0", 1.0000000000000004),
            (b"0x1.000000000000080000000000000000000000000000001p0", 1.0000000000000002),
        ];
        for (text, value) in good {
            assert_eq!(parse_f64(text), Some(value), "{}", text.escape_ascii());
        }
        assert!(parse_f64(b"-0").unwrap().is_sign_negative());
        assert!(parse_f64(b"-0x0").unwrap().is_sign_negative());
    }

    #[test]
    fn floats_out_of_range_or_grammar_are_refused() {
        let bad = "| 1|1 |\x0b1|nan|-nan|nan(1)|infi|in|+-1|-|+|.|e1|.e1|1e|1e+|1e1.5|1_0|1,5|1\0|\
            0x|0x.|0x.p1|0x1p|0x1pa|0xg|1.2.3|1e400|-1e400|1e-400|2e-324|0x1p-1075|\
            0x1.fffffffffffff8p1023|1e-99999999999999999999|0x1p99999999999999999999";
        for text in bad.split('|') {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn long_float_texts_keep_their_meaning() {
        let zeros = "0".repeat(70_000);
        assert_eq!(parse_f64(format!("0.{zeros}1e70001").as_bytes()), Some(1.0));
        assert_eq!(parse_f64(format!("1{zeros}e-70000").as_bytes()), Some(1.0));
        assert_eq!(parse_f64(format!("0x0.{zeros}1p280004").as_bytes()), Some(1.0));
        assert_eq!(parse_f64(format!("0x1{zeros}p-280000").as_bytes()), Some(1.0));
        assert_eq!(parse_f64(format!("{zeros}.{zeros}").as_bytes()), Some(0.0));
        assert_eq!(parse_f64(format!("1{zeros}").as_bytes()), None);
        // A tie that only the last of very many digits breaks.
        let tie = format!("9007199254740993.{zeros}");
        assert_eq!(parse_f64(tie.as_bytes()), Some(9007199254740992.0));
        assert_eq!(parse_f64(format!("{tie}1").as_bytes()), Some(9007199254740994.0));
    }
}
