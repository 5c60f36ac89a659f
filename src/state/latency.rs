//! The latency monitor: events that took longer than `latency-monitor-threshold`.

use std::collections::{BTreeMap, VecDeque};

use crate::base::clock;
use crate::base::lock::{Lock, rank};

/// Samples kept of each event.
const SAMPLES_MAX: usize = 160;

/// What is known of one kind of event.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Series {
    /// (Unix seconds, milliseconds), oldest first; one a second, the longest of that second.
    pub samples: VecDeque<(i64, u64)>,
    /// The longest ever, in milliseconds.
    pub max: u64,
}

/// The events of one server, by name.
pub struct Latency(Lock<BTreeMap<&'static str, Series>>);

impl Default for Latency {
    fn default() -> Self {
        Latency(Lock::new(rank::LEAF + 50, BTreeMap::new()))
    }
}

impl Latency {
    /// Notes an event of `millis` if that reaches the threshold; a threshold of 0 turns monitoring
    /// off.
    #[inline]
    pub fn note(&self, event: &'static str, millis: u64, threshold: u64) {
        if threshold > 0 && millis >= threshold {
            self.add(event, millis, clock::unix_ms() / 1000);
        }
    }

    #[cold]
    fn add(&self, event: &'static str, millis: u64, now: i64) {
        let mut events = self.0.lock();
        let series = events.entry(event).or_default();
        series.max = series.max.max(millis);
        match series.samples.back_mut() {
            Some((time, longest)) if *time == now => *longest = millis.max(*longest),
            _ => series.samples.push_back((now, millis)),
        }
        if series.samples.len() > SAMPLES_MAX {
            series.samples.pop_front();
        }
    }

    /// All events, by name.
    pub fn all(&self) -> Vec<(&'static str, Series)> {
        self.0.lock().iter().map(|(name, series)| (*name, series.clone())).collect()
    }

    /// One event.
    pub fn get(&self, event: &str) -> Option<Series> {
        self.0.lock().get(event).cloned()
    }

    /// Forgets the events named, or all when none is named; how many there were.
    pub fn reset(&self, events: &[&str]) -> usize {
        let mut all = self.0.lock();
        let before = all.len();
        all.retain(|name, _| !events.is_empty() && !events.contains(name));
        before - all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_a_second() {
        let latency = Latency::default();
        latency.note("command", 5, 10);
        latency.note("command", 5, 0);
        assert!(latency.all().is_empty());
        for (millis, now) in [(20, 1), (30, 1), (25, 1), (12, 2)] {
            latency.add("command", millis, now);
        }
        let series = latency.get("command").unwrap();
        assert_eq!((series.max, series.samples), (30, VecDeque::from([(1, 30), (2, 12)])));
        assert_eq!((latency.reset(&["other"]), latency.reset(&[])), (0, 1));
    }
}
