//! Prints doubles in the ways that Redis knows: with few digits that read back as the same number,
//! with seventeen digits as older versions did, and with digits behind the point for people.
//!
//! Knows nothing of replies or scores.

use crate::base::grisu;
use crate::base::num::push_u64;

/// Whole numbers up to here are printed in full, as in Redis.
const WHOLE_MAX: f64 = (1_u64 << 62) as f64;

/// How many digits of a number `%.17g` shows.
const DIGITS: usize = 17;

/// The number as an integer, if Redis takes it for one: whole, and far from where an `i64` ends.
pub fn as_i64(value: f64) -> Option<i64> {
    (value.abs() <= WHOLE_MAX && value.fract() == 0.0).then_some(value as i64)
}

/// Writes what has no digits, and the sign; the magnitude if there is more to do.
fn begin(out: &mut Vec<u8>, value: f64) -> Option<f64> {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
        return None;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        out.extend_from_slice(b"inf");
        return None;
    }
    Some(value.abs())
}

/// The digits of a text `d.ddde-N`, and the exponent of the first one.
fn digits_of(text: &str) -> (Vec<u8>, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    (digits, exponent.parse().unwrap_or(0))
}

/// Appends digits that read back as `value`, nearly always the fewest, laid out as Redis 7.2 does:
/// plain where that stays short, `d.ddde-NN` otherwise.
pub fn push_shortest(out: &mut Vec<u8>, value: f64) {
    let Some(value) = begin(out, value) else { return };
    if let Some(whole) = as_i64(value) {
        return push_u64(out, whole.unsigned_abs());
    }
    let (digits, last) = grisu::digits(value);
    let exponent = last + digits.len() as i32 - 1;
    lay_out_shortest(out, &digits, exponent);
}

/// Appends the number whose first digit stands for `digits[0] * 10^exponent`.
fn lay_out_shortest(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let count = digits.len() as i32;
    // How many places the last digit is from the point; negative ones are behind it.
    let last = exponent - (count - 1);
    if last >= 0 && exponent < count + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + last as usize, b'0');
    } else if last < 0 && (last > -7 || exponent.abs() < 4) {
        push_plain(out, digits, exponent);
    } else {
        push_mantissa(out, digits);
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        push_u64(out, u64::from(exponent.unsigned_abs()));
    }
}

/// Appends digits with a point among or before them.
fn push_plain(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-exponent - 1) as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let (whole, fraction) = digits.split_at(exponent as usize + 1);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// Appends digits with a point behind the first.
fn push_mantissa(out: &mut Vec<u8>, digits: &[u8]) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
}

/// Appends what C's `%.17g` prints: at most 17 digits, without trailing zeros.
pub fn push_17_digits(out: &mut Vec<u8>, value: f64) {
    let Some(value) = begin(out, value) else { return };
    let (mut digits, exponent) = digits_of(&format!("{value:.*e}", DIGITS - 1));
    while digits.len() > 1 && digits.last() == Some(&b'0') {
        digits.pop();
    }
    if exponent < -4 || exponent >= DIGITS as i32 {
        push_mantissa(out, &digits);
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        // At least two digits of the exponent.
        if exponent.unsigned_abs() < 10 {
            out.push(b'0');
        }
        push_u64(out, u64::from(exponent.unsigned_abs()));
    } else if exponent + 1 >= digits.len() as i32 {
        out.extend_from_slice(&digits);
        out.resize(out.len() + exponent as usize + 1 - digits.len(), b'0');
    } else {
        push_plain(out, &digits, exponent);
    }
}

/// Appends the number rounded to 17 digits behind the point, without trailing zeros, and `0` for
/// `-0`.
pub fn push_human(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        begin(out, value);
        return;
    }
    let text = format!("{value:.17}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    out.extend_from_slice(if text == "-0" { b"0" } else { text.as_bytes() });
}

/// Appends the number rounded to four digits behind the point, all of them shown.
pub fn push_4_decimals(out: &mut Vec<u8>, value: f64) {
    let scaled = (value * 10_000.0).round_ties_even() as i64;
    if scaled < 0 {
        out.push(b'-');
    }
    let scaled = scaled.unsigned_abs();
    push_u64(out, scaled / 10_000);
    out.extend_from_slice(format!(".{:04}", scaled % 10_000).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: fn(&mut Vec<u8>, f64), value: f64) -> String {
        let mut out = Vec::new();
        push(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn shortest() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.3333333333333333"),
            (3.0e-5, "0.00003"),
            (0.000001, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-7, "1.25e-7"),
            (0.0001234567890123, "1.234567890123e-4"),
            (0.001234567890123, "0.001234567890123"),
            (1_234.567_890_123, "1234.567890123"),
            (123_456_789.012_345_67, "1.2345678901234567e+8"),
            (1e15, "1000000000000000"),
            (4_611_686_018_427_387_904.0, "4611686018427387904"),
            (-4_611_686_018_427_387_904.0, "-4611686018427387904"),
            (9_223_372_036_854_775_808.0, "9223372036854776000"),
            (12e20, "1.2e+21"),
            (1e20, "1e+20"),
            (1e100, "1e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "nan"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(push_shortest, value), expected);
        }
    }

    #[test]
    fn seventeen_digits() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (100.0, "100"),
            (0.1, "0.10000000000000001"),
            (3.1, "3.1000000000000001"),
            (-2.5, "-2.5"),
            (1e16, "10000000000000000"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e17, "1e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (1e100, "1e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(push_17_digits, value), expected);
        }
    }

    #[test]
    fn for_people() {
        let cases = [
            (13.361_389_338_970_184, "13.36138933897018433"),
            (38.115_556_395_496_3, "38.11555639549629859"),
            (0.0, "0"),
            (-0.0, "0"),
            (-1e-20, "0"),
            (180.0, "180"),
            (f64::INFINITY, "inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(push_human, value), expected);
        }
        let cases = [
            (166_274.151_561, "166274.1516"),
            (0.0, "0.0000"),
            (0.775, "0.7750"),
            (1e-9, "0.0000"),
            (-2.5, "-2.5000"),
            (0.000_05, "0.0000"),
            (0.000_150_000_001, "0.0002"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(push_4_decimals, value), expected);
        }
    }
}
