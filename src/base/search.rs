//! Looks for a short text in a long one, at many places at a time.
//!
//! The first and the last two bytes of the short text are compared with those at [`RUN`] places at
//! once, in a form that compilers make vector instructions of; only where all three fit somewhere
//! are places looked at one by one. To go from place to place by lengths that stand there takes
//! longer, because each length has to be read before it is known where the next one is.
//!
//! Must not know what the texts are.

/// Places that are looked at together.
const RUN: usize = 64;

/// The first place of `needle`, which is not empty, in `text`. A function of its own even for the
/// compiler, which makes more of its loop where there is nothing around it.
#[inline(never)]
pub fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let last = needle.len().checked_sub(1)?;
    let probes = [0, last.saturating_sub(1), last];
    let wanted = probes.map(|at| needle[at]);
    let [a, b, c] = probes.map(|at| text.get(at..).unwrap_or_default().as_chunks::<RUN>().0);
    for (run, ((a, b), c)) in a.iter().zip(b).zip(c).enumerate() {
        let run_start = run * RUN;
        if may_match([a, b, c], wanted)
            && let Some(at) = first(&text[run_start..], needle, [a, b, c], wanted)
        {
            return Some(run_start + at);
        }
    }
    // The last places are looked at together with some before them, for a second time.
    let rest = text.len().saturating_sub(last + RUN);
    let tail = probes.map(|at| text[rest..].get(at..).and_then(|bytes| bytes.first_chunk::<RUN>()));
    let found = match tail {
        [Some(a), Some(b), Some(c)] if may_match([a, b, c], wanted) => {
            first(&text[rest..], needle, [a, b, c], wanted)
        }
        [Some(_), Some(_), Some(_)] => None,
        _ => text.windows(needle.len()).position(|window| window == needle),
    };
    Some(rest + found?)
}

/// Whether the wanted bytes are at a place; 1 if so.
#[inline(always)]
fn fits([a, b, c]: [&[u8; RUN]; 3], wanted: [u8; 3], at: usize) -> u8 {
    u8::from((a[at] == wanted[0]) & (b[at] == wanted[1]) & (c[at] == wanted[2]))
}

/// Whether the wanted bytes are at one of these places.
#[inline(always)]
fn may_match(bytes: [&[u8; RUN]; 3], wanted: [u8; 3]) -> bool {
    (0..RUN).fold(0, |found, at| found | fits(bytes, wanted, at)) != 0
}

/// The first of the places where the wanted bytes are at which `needle` is.
fn first(text: &[u8], needle: &[u8], bytes: [&[u8; RUN]; 3], wanted: [u8; 3]) -> Option<usize> {
    let fitting: [u8; RUN] = std::array::from_fn(|at| fits(bytes, wanted, at));
    for (word, flags) in fitting.as_chunks::<8>().0.iter().enumerate() {
        let mut flags = u64::from_le_bytes(*flags);
        while flags != 0 {
            let at = 8 * word + flags.trailing_zeros() as usize / 8;
            if text[at..].starts_with(needle) {
                return Some(at);
            }
            flags &= flags - 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn finds_the_first_place() {
        let mut rng = Rng::seeded(5);
        for _ in 0..20_000 {
            let (letters, sizes) = (1 + rng.below(4), [rng.below(330), 1 + rng.below(9)]);
            let [text, needle] = sizes.map(|size| -> Vec<u8> {
                (0..size).map(|_| b'a' + rng.below(letters) as u8).collect()
            });
            let expected = text.windows(needle.len()).position(|window| window == needle);
            assert_eq!(find(&text, &needle), expected);
        }
        assert_eq!((find(b"", b"a"), find(b"ab", b"abc"), find(b"ab", b"")), (None, None, None));
    }
}
