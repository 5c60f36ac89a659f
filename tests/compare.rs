//! The parts of the benchmark that reckon: its percentiles and ratios, and its reader of replies.

#[path = "../benches/compare/reply.rs"]
mod reply;
#[path = "../benches/compare/stats.rs"]
mod stats;

use reply::Scanner;
use stats::{Better, Ratio, against_best, median, medians, percentile};

#[test]
fn percentiles_are_values_that_occurred() {
    let values: Vec<u64> = (1..=1000).collect();
    let parts = [(0.0, 1), (0.5, 500), (0.99, 990), (0.999, 999), (1.0, 1000)];
    for (part, value) in parts {
        assert_eq!(percentile(&values, part), value, "{part}");
    }
    assert_eq!(percentile(&[7], 0.999), 7);
    assert_eq!(percentile(&[], 0.5), 0);
}

#[test]
fn the_median_is_in_the_middle() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert!(median(&[]).is_nan());
    assert_eq!(medians(&[vec![1.0, 10.0], vec![3.0, 30.0], vec![2.0, 20.0]]), [2.0, 20.0]);
}

#[test]
fn the_best_of_the_others_counts() {
    let rounds = [vec![10.0, 5.0, 8.0], vec![12.0, 6.0, 16.0], vec![10.0, 20.0, 10.0]];
    let more = Ratio { median: 1.0, min: 0.75, max: 1.25, against: 2 };
    assert_eq!(against_best(&rounds, Better::More), Some(more));
    let less = Ratio { median: 0.5, min: 0.5, max: 2.0, against: 1 };
    assert_eq!(against_best(&rounds, Better::Less), Some(less));
    assert_eq!(against_best(&[vec![1.0]], Better::More), None);
    assert_eq!(against_best(&[], Better::More), None);
}

const REPLIES: &[u8] =
    b"+OK\r\n:-12\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n*0\r\n*2\r\n*2\r\n$1\r\na\r\n:1\r\n+b\r\n+end\r\n";

#[test]
fn replies_are_counted_at_any_split() {
    for first in 0..REPLIES.len() {
        for second in first..REPLIES.len() {
            let mut scanner = Scanner::default();
            let parts = [&REPLIES[..first], &REPLIES[first..second], &REPLIES[second..]];
            let replies: u64 = parts.iter().map(|part| scanner.feed(part).unwrap()).sum();
            assert_eq!((replies, scanner.seen), (7, 11), "split at {first} and {second}");
        }
    }
}

#[test]
fn a_reply_counts_when_its_last_byte_is_there() {
    let mut scanner = Scanner::default();
    assert_eq!(scanner.feed(b"*1\r\n$3\r\nabc\r"), Ok(0));
    assert_eq!(scanner.feed(b"\n"), Ok(1));
}

#[test]
fn errors_and_nulls_fail_even_inside_arrays() {
    let fed = |bytes: &[u8]| Scanner::default().feed(bytes);
    assert_eq!(fed(b"+OK\r\n-ERR no\r\n"), Err("ERR no".to_owned()));
    assert_eq!(fed(b"*1\r\n-ERR no\r\n"), Err("ERR no".to_owned()));
    assert!(fed(b"$-1\r\n").is_err());
    assert!(fed(b"*-1\r\n").is_err());
    for malformed in [&b"\n"[..], b"$x\r\n", b"$-2\r\n", b"?\r\n", b":\r\n"] {
        assert!(fed(malformed).is_err(), "{malformed:?}");
    }
    let mut lenient = Scanner::default();
    lenient.nulls_pass = true;
    assert_eq!(lenient.feed(b"$-1\r\n*-1\r\n"), Ok(2));
}
