//! Glob patterns as `KEYS`, `PSUBSCRIBE` and ACL rules use them, over any bytes.
//!
//! `*` is any run of bytes, `?` one byte, `[...]` one byte of a class (`^` negates, `a-z` is a
//! range, `\` takes the next byte literally), `\x` is `x`. Malformed patterns have a meaning too,
//! which follows Redis 7 byte for byte. The cost is at most pattern length times text length, and
//! nothing recurses, so that no pattern from a client can exhaust the stack or take exponential
//! time. The file knows nothing of keys, channels or users.

/// Stars that a match may go through, runs of them counting as one, as in Redis: more are nobody's
/// honest pattern.
const STARS_MAX: usize = 1000;

/// Whether `pattern` matches the whole of `s`; `nocase` ignores the case of ASCII letters.
///
/// An empty `s` is matched by the empty pattern only, not even by `*`: that is how Redis has it,
/// and where it wants `*` to mean everything it does not ask the matcher.
pub fn matches(pattern: &[u8], s: &[u8], nocase: bool) -> bool {
    if s.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut pos) = (0, 0);
    // Where to go on after a mismatch: behind the last star, with that star one byte longer. The
    // stars before it need no second try, for any text they could leave is tried here as well.
    let mut retry = None;
    let mut stars = 0;
    while let Some(c) = s.get(pos) {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            if at == pattern.len() {
                return true;
            }
            stars += usize::from(pattern[at] != b'*');
            if stars > STARS_MAX {
                return false;
            }
            retry = Some((at, pos));
        } else if let Some(len) = match_one(&pattern[at..], *c, nocase) {
            at += len;
            pos += 1;
        } else if let Some((behind_star, tried)) = retry {
            at = behind_star;
            pos = tried + 1;
            retry = Some((at, pos));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|c| *c == b'*')
}

/// Matches one byte against the element that `pattern` begins with, which is not a star. Returns
/// the length of that element if it fits.
fn match_one(pattern: &[u8], c: u8, nocase: bool) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => match_class(class, c, nocase).map(|len| len + 1),
        [b'\\', literal, ..] => same(*literal, c, nocase).then_some(2),
        [literal, ..] => same(*literal, c, nocase).then_some(1),
    }
}

/// Matches one byte against a class, given from behind its `[` on. Returns the length of the class
/// with its `]` if the byte belongs to it. A class that never closes reaches to the end.
fn match_class(class: &[u8], c: u8, nocase: bool) -> Option<usize> {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => break,
            // Redis compares an escaped byte with its case even where case is ignored.
            [b'\\', literal, ..] => {
                found |= *literal == c;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [from, b'-', to, ..] => {
                found |= in_range(*from, *to, c, nocase);
                at += 3;
            }
            [literal, ..] => {
                found |= same(*literal, c, nocase);
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

/// Whether a byte lies in a range, whose ends may stand in either order. Bytes count as signed, as
/// C's `char` does on x86-64, and the ends are ordered before their case is dropped.
fn in_range(from: u8, to: u8, c: u8, nocase: bool) -> bool {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b }.cast_signed();
    let (low, high) = if from.cast_signed() <= to.cast_signed() { (from, to) } else { (to, from) };
    (fold(low)..=fold(high)).contains(&fold(c))
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || (nocase && a.eq_ignore_ascii_case(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, s: &str, expected: bool) {
        assert_eq!(matches(pattern.as_bytes(), s.as_bytes(), false), expected, "{pattern} on {s}");
    }

    #[test]
    fn a_thousand_stars_are_enough() {
        let text = "a".repeat(3000);
        check(&"*a".repeat(1000), &text, true);
        check(&"*a".repeat(1001), &text, false);
        check(&"*".repeat(3000), &text, true);
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, s) in [
            ("*", "a"),
            ("**", "a"),
            ("a*", "a"),
            ("a**", "a"),
            ("*a", "a"),
            ("?*", "a"),
            ("*?", "a"),
            ("h?llo", "hello"),
            ("h*llo", "heeello"),
            ("a*b*c", "aXbYbZc"),
            ("*ab*ab", "aabab"),
            ("*a?", "aab"),
            ("", ""),
        ] {
            check(pattern, s, true);
        }
        for (pattern, s) in [
            ("?", ""),
            ("a", ""),
            ("", "a"),
            ("??", "a"),
            ("a?", "a"),
            ("a*b", "abc"),
            ("*ab*ab", "aab"),
            ("ab", "a"),
            ("a", "ab"),
            ("?*?", "a"),
            ("A", "a"),
        ] {
            check(pattern, s, false);
        }
    }

    /// As on a Redis server, where `KEYS **` does not list an empty key.
    #[test]
    fn an_empty_text_is_matched_by_the_empty_pattern_only() {
        check("", "", true);
        check("*", "", false);
        check("**", "", false);
    }

    #[test]
    fn classes() {
        for (pattern, s) in [
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("[z-a]", "m"),
            ("[a\\]b]", "]"),
            ("[\\^a]", "^"),
            ("[a^]", "^"),
            ("[\\a-z]", "-"),
            ("[-a]", "-"),
            ("*[0-9]x", "a1b2x"),
        ] {
            check(pattern, s, true);
        }
        for (pattern, s) in [
            ("h[ae]llo", "hillo"),
            ("h[^e]llo", "hello"),
            ("h[a-b]llo", "hcllo"),
            ("[]", "]"),
            ("[]", "a"),
            ("[\\a-z]", "b"),
            ("[^]a]", "a"),
            ("[a-\\]]", "_"),
        ] {
            check(pattern, s, false);
        }
        check("[^]", "a", true);
        check("[a-\\]]", "_]", true);
    }

    #[test]
    fn malformed_patterns_mean_what_they_mean_in_redis() {
        for (pattern, s) in [
            ("[^", "a"),
            ("[\\", "\\"),
            ("\\", "\\"),
            ("a\\", "a\\"),
            ("[a", "a"),
            ("[a*", "a"),
            ("[a-", "a"),
            ("[a-", "-"),
            ("[a-]", "a"),
            ("[a-]", "`"),
        ] {
            check(pattern, s, true);
        }
        for (pattern, s) in
            [("[", "a"), ("[", "["), ("a[", "a["), ("[a-]", "b"), ("*[", "["), ("[a-]", "-")]
        {
            check(pattern, s, false);
        }
    }

    #[test]
    fn escapes_make_literals() {
        check("\\*", "*", true);
        check("\\*", "a", false);
        check("a\\?c", "a?c", true);
        check("a\\?c", "abc", false);
        check("\\a", "a", true);
        check("\\\\", "\\", true);
        check("\\[a]", "[a]", true);
    }

    #[test]
    fn bytes_above_127_count_as_negative_in_ranges() {
        assert!(!matches(b"[\x01-\xff]", b"a", false));
        assert!(matches(b"[\x01-\xff]", b"\0", false));
        assert!(matches(b"[\x80-\xff]", b"\xc3", false));
        assert!(matches(b"a\0b?", b"a\0b\xff", false));
    }

    #[test]
    fn case_is_ignored_on_demand() {
        assert!(matches(b"HeL*", b"hEllo", true));
        assert!(matches(b"[X]y", b"xY", true));
        assert!(matches(b"[O-Q]ort", b"port", true));
        assert!(!matches(b"[\\P]ort", b"port", true));
        // `Z` comes before `o`, but folded it comes behind.
        assert!(!matches(b"[Z-o]ort", b"port", true));
        assert!(!matches(b"\xc4", b"\xe4", true));
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = "a*".repeat(2_000) + "b";
        let s = "a".repeat(5_000);
        check(&pattern, &s, false);
        check(&pattern, &(s + "b"), true);
    }
}
