//! A histogram of durations in nanoseconds, exact to an eighth, which threads fill without a lock.
//!
//! Durations below eight have a class each; above, each doubling is cut into eight classes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Classes of one doubling, and the bits that tell them apart.
const STEPS: usize = 1 << STEP_BITS;
const STEP_BITS: usize = 3;

/// Durations from 2 to the power of this on, some minutes, count as the longest that is told apart.
const LONGEST_BITS: usize = 38;

const CLASSES: usize = (LONGEST_BITS - STEP_BITS + 1) * STEPS;

/// The class of a duration.
fn class_of(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let shift = nanos.ilog2() as usize - STEP_BITS;
    (shift * STEPS + (nanos >> shift) as usize).min(CLASSES - 1)
}

/// The first duration beyond a class.
fn end_of(class: usize) -> u64 {
    let shift = (class / STEPS).saturating_sub(1);
    ((class - shift * STEPS + 1) as u64) << shift
}

/// A histogram being filled.
pub struct Counting([AtomicU64; CLASSES]);

impl Default for Counting {
    fn default() -> Self {
        Counting([const { AtomicU64::new(0) }; CLASSES])
    }
}

impl Counting {
    /// Counts a duration.
    pub fn count(&self, nanos: u64) {
        self.0[class_of(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what was counted to a sum.
    pub fn add_to(&self, sum: &mut Histogram) {
        sum.0.resize(CLASSES, 0);
        for (total, class) in sum.0.iter_mut().zip(&self.0) {
            *total += class.load(Ordering::Relaxed);
        }
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.0.iter().for_each(|class| class.store(0, Ordering::Relaxed));
    }
}

/// What was counted.
#[derive(Debug, Default, Clone)]
pub struct Histogram(Vec<u64>);

impl Histogram {
    /// Number of durations.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration in nanoseconds that `percent` of all do not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((self.count() as f64 * percent / 100.0).ceil() as u64).max(1);
        self.cumulative().find(|&(_, count)| count >= wanted).map_or(0, |(end, _)| end)
    }

    /// (2 to the power of n, number of durations below that), for n from `first` on, without those
    /// that add nothing to the one before.
    pub fn doublings(&self, first: u32) -> Vec<(u64, u64)> {
        let mut list: Vec<(u64, u64)> = Vec::new();
        for (end, count) in self.cumulative() {
            let bound = end.next_power_of_two().max(1 << first);
            match list.last_mut() {
                Some(last) if last.0 == bound => last.1 = count,
                Some(last) if last.1 == count => {}
                None if count == 0 => {}
                _ => list.push((bound, count)),
            }
        }
        list
    }

    /// (first duration beyond it, number of durations below that) of all classes.
    fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let sum = |total: &mut u64, (class, count): (usize, &u64)| {
            *total += count;
            Some((end_of(class), *total))
        };
        self.0.iter().enumerate().scan(0, sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_narrow_and_without_gaps() {
        for class in 1..CLASSES {
            let (start, end) = (end_of(class - 1), end_of(class));
            assert_eq!((class_of(start), class_of(end - 1)), (class, class));
            assert!((end - start) as f64 <= (start as f64 / 8.0).max(1.0));
        }
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn percentiles_and_doublings() {
        let counting = Counting::default();
        let mut sum = Histogram::default();
        assert_eq!((sum.percentile(50.0), sum.doublings(10)), (0, Vec::new()));
        for nanos in 1..=10_000 {
            counting.count(nanos);
        }
        counting.count(u64::MAX);
        counting.add_to(&mut sum);
        counting.add_to(&mut sum);
        let near = |percent: f64, wanted: u64| {
            let got = sum.percentile(percent);
            assert!(got >= wanted && got <= wanted + wanted / 8 + 1, "{percent}: {got}");
        };
        near(0.0, 1);
        near(50.0, 5_000);
        near(99.0, 9_900);
        near(100.0, 1 << 38);
        let doublings = sum.doublings(10);
        assert_eq!(doublings[0], (1024, 2 * 1023));
        assert_eq!(doublings[3], (8192, 2 * 8191));
        assert_eq!(doublings[4], (16_384, 2 * 10_000));
        assert_eq!(doublings[5], (1 << 38, 2 * 10_001));
        assert_eq!(doublings.len(), 6);
        counting.reset();
        let mut empty = Histogram::default();
        counting.add_to(&mut empty);
        assert_eq!((empty.count(), empty.doublings(10)), (0, Vec::new()));
    }
}
