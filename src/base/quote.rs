//! Quoted words: taking a line apart into arguments, and showing bytes as a quoted string.
//!
//! The rules are those of inline commands and of the configuration file on the one side, of
//! `MONITOR` and of error texts on the other. Nothing here knows of either; what `repr` shows,
//! `split_args` reads back to the same bytes.

/// Splits a line into its arguments at blanks. `None` if a quote is not closed, or is closed and
/// not followed by a blank or the end.
///
/// Between double quotes `\n \r \t \b \a \xHH` are escapes and any other `\c` is `c`; between
/// single quotes only `\'` is one; outside quotes the backslash is a byte like any other. Quotes
/// may begin within a word, whose first part they continue. A zero byte ends the line, as in a C
/// string.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let end = line.iter().position(|c| *c == 0).unwrap_or(line.len());
    let mut rest = &line[..end];
    let mut args = Vec::new();
    loop {
        let start = rest.iter().position(|c| !is_blank(*c));
        let Some(start) = start else {
            return Some(args);
        };
        let (arg, after) = take_arg(&rest[start..])?;
        args.push(arg);
        rest = after;
    }
}

/// The blanks of C's `isspace`.
fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Takes one argument off the line and returns what comes after it.
fn take_arg(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    // The vertical tab and the form feed separate arguments, but do not end a bare word.
    let ends = |c: &u8| matches!(c, b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'');
    let end = line.iter().position(ends).unwrap_or(line.len());
    let mut arg = line[..end].to_vec();
    let rest = &line[end..];
    let after = match rest.first() {
        Some(b'"') => take_double_quoted(&rest[1..], &mut arg)?,
        Some(b'\'') => take_single_quoted(&rest[1..], &mut arg)?,
        _ => return Some((arg, rest)),
    };
    let closed = after.first().is_none_or(|c| is_blank(*c));
    closed.then_some((arg, after))
}

/// Reads up to the closing quote and returns what comes after it.
fn take_double_quoted<'a>(mut rest: &'a [u8], arg: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (c, after) = match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex_value(*high) << 4 | hex_value(*low), after)
            }
            [b'\\', c, after @ ..] => (unescape(*c), after),
            [c, after @ ..] => (*c, after),
        };
        arg.push(c);
        rest = after;
    }
}

/// Reads up to the closing quote and returns what comes after it.
fn take_single_quoted<'a>(mut rest: &'a [u8], arg: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (c, after) = match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [c, after @ ..] => (*c, after),
        };
        arg.push(c);
        rest = after;
    }
}

/// The value of a hexadecimal digit.
fn hex_value(c: u8) -> u8 {
    match c {
        b'0'..=b'9' => c - b'0',
        _ => (c | 0x20) - b'a' + 10,
    }
}

/// The byte that a backslash and `c` stand for between double quotes.
fn unescape(c: u8) -> u8 {
    match c {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// Appends `s` between double quotes; quotes, backslashes and bytes that are not printable ASCII
/// are escaped.
pub fn repr(out: &mut Vec<u8>, s: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(s.len() + 2);
    out.push(b'"');
    for &c in s {
        match c {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', c]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(c),
            _ => {
                let (high, low) = (HEX[usize::from(c >> 4)], HEX[usize::from(c & 15)]);
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8], expected: Option<&[&[u8]]>) {
        let expected = expected.map(|args| args.iter().map(|a| a.to_vec()).collect::<Vec<_>>());
        assert_eq!(split_args(line), expected, "{}", line.escape_ascii());
    }

    #[test]
    fn words_are_split_at_blanks() {
        check(b"", Some(&[]));
        check(b" \t\r\n\x0b\x0c", Some(&[]));
        check(b"a", Some(&[b"a"]));
        check(b"  set  k\tv \r\n", Some(&[b"set", b"k", b"v"]));
        check(b"a\x0bb \x0bc", Some(&[b"a\x0bb", b"c"]));
        check(b"\\x41 \xff", Some(&[b"\\x41", b"\xff"]));
        check(b"a b\0c d", Some(&[b"a", b"b"]));
    }

    #[test]
    fn double_quotes_have_escapes() {
        check(b"\"\"", Some(&[b""]));
        check(b"\"a b\" c", Some(&[b"a b", b"c"]));
        check(b"\"\\n\\r\\t\\b\\a\\q\\\\\\\"\"", Some(&[b"\n\r\t\x08\x07q\\\""]));
        check(b"\"\\x41\\xfF\\x00\"", Some(&[b"A\xff\0"]));
        check(b"\"\\x4g\\x\"", Some(&[b"x4gx"]));
        check(b"ab\"c d\"", Some(&[b"abc d"]));
        check(b"\"a\"\x0bb", Some(&[b"a", b"b"]));
        check(b"\"it's\"", Some(&[b"it's"]));
    }

    #[test]
    fn single_quotes_escape_only_themselves() {
        check(b"''", Some(&[b""]));
        check(b"'a \\' b' 'c'", Some(&[b"a ' b", b"c"]));
        check(b"'\\n\\x41\"'", Some(&[b"\\n\\x41\""]));
        check(b"x'y z'", Some(&[b"xy z"]));
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        let bad: [&[u8]; 10] = [
            b"\"abc",
            b"'abc",
            b"\"",
            b"'",
            b"\"a\"b",
            b"'a'b",
            b"'a'\"b\"",
            b"\"a\\\"",
            b"\"a\\",
            b"\"a\0\"",
        ];
        for line in bad {
            check(line, None);
        }
    }

    #[test]
    fn repr_escapes_what_cannot_be_shown() {
        let mut out = b">".to_vec();
        repr(&mut out, b"foo\n\0\"\\\r\t\x07\x08 ~\x7f\xc3");
        assert_eq!(out, b">\"foo\\n\\x00\\\"\\\\\\r\\t\\a\\b ~\\x7f\\xc3\"");
    }

    #[test]
    fn repr_reads_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut line = Vec::new();
        repr(&mut line, &all);
        line.push(b' ');
        repr(&mut line, b"");
        assert_eq!(split_args(&line), Some(vec![all, Vec::new()]));
    }
}
