//! LCS: the longest common subsequence of two strings.
//!
//! The lengths of all prefixes' subsequences are computed row by row. Of the whole table only one
//! bit per cell is kept, which tells the way back; the limit on the strings is that of Redis, which
//! keeps all of it.

use crate::data::Str;
use crate::engine::apart::work_of_bytes;
use crate::engine::spec::access::{ACCESS, RO};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::resp::out::Out;

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::new("lcs", lcs)
    .group(Group::String)
    .since("7.0.0")
    .readonly()
    .arity(-3)
    .keys(&[KeySpec::between(1, 2, RO | ACCESS)])
    .syntax("key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]")
    .complexity("O(N*M) where N and M are the lengths of the strings")
    .summary("Finds the longest common subsequence of the strings of two keys.")];

/// Bytes that Redis takes per pair of prefixes.
const CELL: u64 = 4;

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: usize,
}

impl Options {
    fn parse(args: &mut Args) -> Result<Self, Error> {
        let mut options = Options::default();
        while !args.is_empty() {
            if args.word("IDX") {
                options.idx = true;
            } else if args.word("LEN") {
                options.len = true;
            } else if args.word("WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.word("MINMATCHLEN") {
                options.min_match_len = usize::try_from(args.int()?).unwrap_or(0);
            } else {
                return Err(Error::SYNTAX);
            }
        }
        if options.idx && options.len { Err(Error::LCS_LEN_AND_IDX) } else { Ok(options) }
    }
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]
fn lcs(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (a, b) = (string(ctx, args.key()), string(ctx, args.key()));
    let (a, b) = (a?, b?);
    let options = Options::parse(args)?;
    check_memory(a.len(), b.len(), ctx.settings.proto_max_bulk_len)?;
    ctx.let_go(work_of_bytes(a.len().saturating_mul(b.len())))?;
    let (mut a_buf, mut b_buf) = ([0; 20], [0; 20]);
    let (a, b) = (a.bytes(&mut a_buf), b.bytes(&mut b_buf));
    if options.len {
        return ctx.reply.int(i64::from(length(a, b, |_| {})));
    }
    let runs = common_runs(a, b);
    if options.idx {
        push_runs(ctx.reply.parts(), &runs, &options);
        return ctx.reply.done();
    }
    let pieces = runs.iter().rev().map(|run| &a[run.a..run.a + run.len]);
    ctx.reply.bulk(&pieces.collect::<Vec<_>>().concat())
}

/// The string of a key, empty if the key is not there.
fn string(ctx: &mut Ctx, key: &[u8]) -> Result<Str, Error> {
    let found = ctx.db.get::<Str>(key).map_err(|_| Error::LCS_NOT_STRINGS)?;
    Ok(found.cloned().unwrap_or_else(|| Str::text(b"")))
}

fn check_memory(a: usize, b: usize, limit: usize) -> Result<(), Error> {
    let longest = u32::MAX as usize - 2;
    if a > longest || b > longest {
        return Err(Error::LCS_TOO_LONG);
    }
    let table = ((a as u64 + 1) * (b as u64 + 1)).saturating_mul(CELL);
    if table > limit as u64 { Err(Error::LCS_MEMORY) } else { Ok(()) }
}

/// The length of the longest common subsequence. For every byte of `a`, and in it for every byte of
/// `b`, `step` learns whether leaving out the byte of `a` is better than leaving out that of `b`.
fn length(a: &[u8], b: &[u8], mut step: impl FnMut(bool)) -> u32 {
    let mut row = vec![0_u32; b.len()];
    let mut left = 0;
    for &x in a {
        let mut diagonal = 0;
        left = 0;
        for (cell, &y) in row.iter_mut().zip(b) {
            let up = *cell;
            step(up > left);
            left = if x == y { diagonal + 1 } else { up.max(left) };
            *cell = left;
            diagonal = up;
        }
    }
    left
}

/// Bytes that follow each other in both strings: where they begin and how many they are.
#[derive(Debug, PartialEq)]
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

/// The longest common subsequence in runs, the last one first.
fn common_runs(a: &[u8], b: &[u8]) -> Vec<Run> {
    let mut ways = Bits::with_capacity(a.len() * b.len());
    length(a, b, |skip_a| ways.push(skip_a));
    let mut runs: Vec<Run> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            match runs.last_mut() {
                Some(run) if (run.a, run.b) == (i, j) => {
                    *run = Run { a: i - 1, b: j - 1, len: run.len + 1 };
                }
                _ => runs.push(Run { a: i - 1, b: j - 1, len: 1 }),
            }
            (i, j) = (i - 1, j - 1);
        } else if ways.get((i - 1) * b.len() + j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    runs
}

fn push_runs(out: &mut Out, runs: &[Run], options: &Options) {
    let shown = || runs.iter().filter(|run| run.len >= options.min_match_len);
    out.map(2);
    out.bulk(b"matches");
    out.array(shown().count());
    for run in shown() {
        out.array(if options.with_match_len { 3 } else { 2 });
        for start in [run.a, run.b] {
            out.array(2);
            out.int(start as i64);
            out.int((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            out.int(run.len as i64);
        }
    }
    out.bulk(b"len");
    out.int(runs.iter().map(|run| run.len as i64).sum());
}

/// A list of bits.
struct Bits {
    words: Vec<u64>,
    /// Bits in use of the last word.
    used: u32,
}

impl Bits {
    fn with_capacity(bits: usize) -> Self {
        Bits { words: Vec::with_capacity(bits.div_ceil(64)), used: 64 }
    }

    fn push(&mut self, bit: bool) {
        if self.used == 64 {
            self.words.push(0);
            self.used = 0;
        }
        if let Some(word) = self.words.last_mut() {
            *word |= u64::from(bit) << self.used;
        }
        self.used += 1;
    }

    fn get(&self, index: usize) -> bool {
        self.words[index / 64] >> (index % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_runs() {
        let runs = common_runs(b"ohmytext", b"mynewtext");
        assert_eq!(runs, [Run { a: 4, b: 5, len: 4 }, Run { a: 2, b: 0, len: 2 }]);
        assert!(common_runs(b"", b"x").is_empty() && common_runs(b"x", b"").is_empty());
        assert_eq!(length(b"", b"x", |_| {}), 0);
    }

    #[test]
    fn runs_add_up_to_the_length() {
        let text = |seed: u32, len: u32| -> Vec<u8> {
            (0..len).map(|i| ((i * i * seed + i) >> 3) as u8 & 3).collect()
        };
        for (a, b) in [(text(7, 300), text(5, 211)), (text(11, 64), text(3, 129))] {
            let sum: usize = common_runs(&a, &b).iter().map(|run| run.len).sum();
            assert_eq!(sum, length(&a, &b, |_| {}) as usize);
            assert!(sum > a.len().min(b.len()) / 4);
        }
    }

    #[test]
    fn memory_is_limited() {
        assert!(check_memory(9, 9, 400).is_ok());
        assert_eq!(check_memory(9, 9, 399), Err(Error::LCS_MEMORY));
        let long = u32::MAX as usize - 2;
        assert_eq!(check_memory(long, long, 1 << 40), Err(Error::LCS_MEMORY));
        assert_eq!(check_memory(long + 1, 0, usize::MAX), Err(Error::LCS_TOO_LONG));
    }
}
