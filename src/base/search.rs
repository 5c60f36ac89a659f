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
    let runs = a.iter().zip(b).zip(c).enumerate();
    for (run, ((a, b), c)) in runs {
        if may_match([a, b, c], wanted)
            && let Some(at) = first(&text[run * RUN..], needle, RUN)
        {
            return Some(run * RUN + at);
        }
    }
    // The last places are looked at together with some before them, for a second time.
    let rest = text.len().saturating_sub(last + RUN);
    let tail = probes.map(|at| text[rest..].get(at..).and_then(|bytes| bytes.first_chunk::<RUN>()));
    if let [Some(a), Some(b), Some(c)] = tail
        && !may_match([a, b, c], wanted)
    {
        return None;
    }
    Some(rest + first(&text[rest..], needle, RUN)?)
}

/// Whether the wanted bytes are at one of these places.
#[inline(always)]
fn may_match([a, b, c]: [&[u8; RUN]; 3], wanted: [u8; 3]) -> bool {
    let mut found = 0;
    for at in 0..RUN {
        found |= u8::from((a[at] == wanted[0]) & (b[at] == wanted[1]) & (c[at] == wanted[2]));
    }
    found != 0
}

/// The first of so many places where `needle` is.
fn first(text: &[u8], needle: &[u8], places: usize) -> Option<usize> {
    let start = needle.first();
    let mut windows = text.windows(needle.len()).take(places);
    windows.position(|window| window.first() == start && window == needle)
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
