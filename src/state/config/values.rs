//! Readers and writers of single values, with Redis's error texts.
//!
//! Knows forms of values (yes/no, integers, sizes, names, text), not parameters. The texts reach
//! clients behind "CONFIG SET failed (possibly related to argument 'x') - ".

use crate::base::{num, quote};

use super::kinds::Bytes;

/// How a yes/no value is shown.
pub fn yes_no(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

/// Whether `value` is `yes`; case does not matter.
pub fn parse_yes_no(value: &[u8]) -> Result<bool, String> {
    if value.eq_ignore_ascii_case(b"yes") {
        Ok(true)
    } else if value.eq_ignore_ascii_case(b"no") {
        Ok(false)
    } else {
        Err("argument must be 'yes' or 'no'".to_owned())
    }
}

/// A decimal integer in its plain spelling, from `min` to `max`.
pub fn parse_int(value: &[u8], min: i64, max: i64) -> Result<i64, String> {
    let number = num::parse_i64(value)
        .ok_or_else(|| "argument couldn't be parsed into an integer".to_owned())?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("argument must be between {min} and {max} inclusive"))
    }
}

/// A size as [`size_of_text`] reads it, from `min` to `max`.
pub fn parse_size(value: &[u8], min: u64, max: u64) -> Result<u64, String> {
    let size = size_of_text(value).ok_or_else(|| "argument must be a memory value".to_owned())?;
    if (min..=max).contains(&size) {
        Ok(size)
    } else {
        Err(format!("argument must be between {min} and {max} inclusive"))
    }
}

/// An octal number from 0 to `max`.
pub fn parse_octal(value: &[u8], max: u32) -> Result<u32, String> {
    // Redis does not let a number that exceeds 64 bits pass as the largest one here.
    let number = leading_int(value, 8)
        .filter(|&number| number != i64::MAX && number != i64::MIN)
        .ok_or_else(|| "argument couldn't be parsed as an octal number".to_owned())?;
    u32::try_from(number)
        .ok()
        .filter(|&number| number <= max)
        .ok_or_else(|| format!("argument must be between 0 and {max:o} inclusive"))
}

/// The index of `value` among `names`.
pub fn parse_choice(value: &[u8], names: &[&str]) -> Result<usize, String> {
    names
        .iter()
        .position(|name| value.eq_ignore_ascii_case(name.as_bytes()))
        .ok_or_else(|| format!("argument(s) must be one of the following: {}", names.join(", ")))
}

/// Bytes named by a text such as `10`, `10b`, `1k`, `1kb`, `5MB`, `2g`; too large ones saturate.
///
/// The unit alone, and the empty text, are 0: Redis reads them so.
pub fn size_of_text(value: &[u8]) -> Option<u64> {
    // Redis copies the digits into a buffer of this size and refuses what does not fit.
    const MAX_DIGITS: usize = 127;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > MAX_DIGITS {
        return None;
    }
    let (number, unit) = value.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number = number
        .iter()
        .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(number.saturating_mul(factor))
}

/// A size in the largest unit that divides it.
pub fn format_size(size: u64) -> String {
    for (unit, bytes) in [("gb", 1u64 << 30), ("mb", 1 << 20), ("kb", 1 << 10)] {
        if size != 0 && size.is_multiple_of(bytes) {
            return format!("{}{unit}", size / bytes);
        }
    }
    size.to_string()
}

/// An integer as C's `strtoll` reads it, if it takes up all of `value`: white space and a sign may
/// come first, what is too large saturates, and nothing at all is 0. Some parameters of Redis are
/// read so.
pub fn leading_int(value: &[u8], radix: u32) -> Option<i64> {
    if value.is_empty() {
        return Some(0);
    }
    let start = value.iter().take_while(|byte| matches!(byte, b'\t'..=b'\r' | b' ')).count();
    let (negative, digits) = match &value[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0i64;
    for &byte in digits {
        let digit = i64::from(char::from(byte).to_digit(radix)?);
        let signed = if negative { -digit } else { digit };
        number = number.saturating_mul(i64::from(radix)).saturating_add(signed);
    }
    Some(number)
}

/// `value` between quotes, with everything escaped that could end the line or the argument.
pub fn quoted(value: &[u8]) -> Bytes {
    let mut out = Bytes::with_capacity(value.len() + 2);
    quote::repr(&mut out, value);
    out
}

/// `value` as it is if it is one plain word, else between quotes.
pub fn word(value: &str) -> Bytes {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !value.is_empty() && value.bytes().all(is_plain) {
        value.into()
    } else {
        quoted(value.as_bytes())
    }
}

/// Stores text into a field of UTF-8. As in Redis, the text ends at its first NUL.
pub fn store(field: &mut String, value: Bytes) -> Result<(), String> {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    *field = str::from_utf8(&value[..end])
        .map_err(|_| "argument must be valid UTF-8".to_owned())?
        .to_owned();
    Ok(())
}

/// Stores the name of a file that must not name a directory as well. `what` is the parameter,
/// `noun` what the error calls the thing.
pub fn store_base_name(
    field: &mut String,
    value: Bytes,
    what: &str,
    noun: &str,
) -> Result<(), String> {
    store(field, value)?;
    if field.contains(['/', '\\']) {
        return Err(format!("{what} can't be a path, just a {noun}"));
    }
    Ok(())
}

/// As [`store_base_name`], and it must not be empty.
pub fn store_nonempty_base_name(
    field: &mut String,
    value: Bytes,
    what: &str,
    noun: &str,
) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("{what} can't be empty"));
    }
    store_base_name(field, value, what, noun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_redis_reads_them() {
        for (text, size) in [
            ("", Some(0)),
            ("0", Some(0)),
            ("gb", Some(0)),
            ("7", Some(7)),
            ("7b", Some(7)),
            ("7K", Some(7000)),
            ("7kB", Some(7168)),
            ("2m", Some(2_000_000)),
            ("2mb", Some(2 << 20)),
            ("3g", Some(3_000_000_000)),
            ("3GB", Some(3 << 30)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("99999999999999999gb", Some(u64::MAX)),
            ("-1", None),
            ("+1", None),
            (" 1", None),
            ("1 kb", None),
            ("1.5gb", None),
            ("1tb", None),
        ] {
            assert_eq!(size_of_text(text.as_bytes()), size, "{text:?}");
        }
        assert_eq!(size_of_text(&[b'0'; 127]), Some(0));
        assert_eq!(size_of_text(&[b'0'; 128]), None);
    }

    #[test]
    fn sizes_are_written_in_the_largest_exact_unit() {
        for (size, text) in [
            (0, "0"),
            (1000, "1000"),
            (1024, "1kb"),
            (1025, "1025"),
            (3 << 20, "3mb"),
            (5 << 30, "5gb"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(format_size(size), text);
        }
    }

    #[test]
    fn lenient_integers_follow_strtoll() {
        for (text, number) in [
            ("", Some(0)),
            ("12", Some(12)),
            ("-12", Some(-12)),
            ("+3", Some(3)),
            (" \t\n9", Some(9)),
            ("9 ", None),
            ("-", None),
            (" ", None),
            ("0x10", None),
            ("99999999999999999999", Some(i64::MAX)),
            ("-99999999999999999999", Some(i64::MIN)),
        ] {
            assert_eq!(leading_int(text.as_bytes(), 10), number, "{text:?}");
        }
        assert_eq!(leading_int(b"777", 8), Some(0o777));
        assert_eq!(leading_int(b"8", 8), None);
    }

    #[test]
    fn only_plain_words_go_unquoted() {
        assert_eq!(word("-::*"), b"-::*");
        assert_eq!(word("a\nport 1"), b"\"a\\nport 1\"");
        assert_eq!(word(""), b"\"\"");
    }

    #[test]
    fn text_ends_at_nul_and_must_be_utf8() {
        let mut field = String::new();
        store(&mut field, b"a\0b".to_vec()).unwrap();
        assert_eq!(field, "a");
        assert_eq!(store(&mut field, vec![0xff]), Err("argument must be valid UTF-8".to_owned()));
    }
}
