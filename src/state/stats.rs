//! Counters that INFO shows. Threads count in lanes of their own, which are summed when somebody looks, so that
//! counting costs no traffic between cores.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::lock::{Lock, rank};

/// Lanes of counters; a client uses the one of its id.
const LANES: usize = 8;

/// Classes of a latency histogram: bucket n counts calls of less than 2^n nanoseconds.
pub const HISTOGRAM_CLASSES: usize = 40;

/// Distinct error codes that are counted; more would be somebody's attempt to fill memory.
const ERROR_CODES_MAX: usize = 128;

/// The counters of one command.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CommandStats {
    /// Calls that were executed.
    pub calls: u64,
    /// Time spent executing, in nanoseconds.
    pub nanos: u64,
    /// Calls refused before execution.
    pub rejected: u64,
    /// Calls that answered an error.
    pub failed: u64,
    /// Calls by duration; see [`HISTOGRAM_CLASSES`].
    pub histogram: Vec<u64>,
}

struct Cell {
    calls: AtomicU64,
    nanos: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    histogram: [AtomicU64; HISTOGRAM_CLASSES],
}

impl Cell {
    fn new() -> Self {
        Cell {
            calls: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            histogram: [const { AtomicU64::new(0) }; HISTOGRAM_CLASSES],
        }
    }
}

/// All counters of a server.
pub struct Stats {
    lanes: Vec<Vec<Cell>>,
    errors: Lock<BTreeMap<String, u64>>,
    /// Errors answered.
    pub total_errors: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because of maxclients.
    pub refused: AtomicU64,
    /// Bytes read from clients.
    pub net_in: AtomicU64,
    /// Bytes sent to clients.
    pub net_out: AtomicU64,
    /// Bytes read from the primary.
    pub repl_in: AtomicU64,
    /// Bytes sent to replicas.
    pub repl_out: AtomicU64,
    /// Full resynchronisations served.
    pub sync_full: AtomicU64,
    /// Partial resynchronisations served.
    pub sync_partial_ok: AtomicU64,
    /// Partial resynchronisations refused.
    pub sync_partial_err: AtomicU64,
    /// Clients cut because their request buffer grew too large.
    pub query_buffer_cuts: AtomicU64,
    /// Clients cut because they did not read.
    pub output_buffer_cuts: AtomicU64,
    /// Keys freed in the background.
    pub lazy_freed: AtomicU64,
    /// Keys that wait to be freed in the background.
    pub lazy_pending: AtomicU64,
    /// Most memory ever in use, in bytes.
    pub peak_memory: AtomicU64,
    /// Commands and bytes per second over the last moments.
    pub rates: Lock<Rates>,
}

/// Samples of the last 1.6 seconds, as Redis keeps them.
#[derive(Debug, Default)]
pub struct Rates {
    samples: [[u64; RATE_SAMPLES]; 3],
    next: usize,
    last: Option<(i64, [u64; 3])>,
}

const RATE_SAMPLES: usize = 16;

impl Rates {
    /// Takes a sample: totals of (commands, bytes in, bytes out) at `now_ms`.
    pub fn sample(&mut self, now_ms: i64, totals: [u64; 3]) {
        if let Some((then, before)) = self.last {
            let elapsed = u64::try_from(now_ms - then).unwrap_or(0).max(1);
            for (i, total) in totals.iter().enumerate() {
                self.samples[i][self.next] = total.saturating_sub(before[i]) * 1000 / elapsed;
            }
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        self.last = Some((now_ms, totals));
    }

    /// Mean per second of (commands, bytes in, bytes out).
    pub fn per_second(&self) -> [u64; 3] {
        self.samples.map(|series| series.iter().sum::<u64>() / RATE_SAMPLES as u64)
    }
}

impl Stats {
    /// All zero, for that many commands.
    pub fn new(commands: usize) -> Self {
        let lane = || (0..commands).map(|_| Cell::new()).collect();
        Stats {
            lanes: (0..LANES).map(|_| lane()).collect(),
            errors: Lock::new(rank::LEAF + 20, BTreeMap::new()),
            total_errors: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            net_in: AtomicU64::new(0),
            net_out: AtomicU64::new(0),
            repl_in: AtomicU64::new(0),
            repl_out: AtomicU64::new(0),
            sync_full: AtomicU64::new(0),
            sync_partial_ok: AtomicU64::new(0),
            sync_partial_err: AtomicU64::new(0),
            query_buffer_cuts: AtomicU64::new(0),
            output_buffer_cuts: AtomicU64::new(0),
            lazy_freed: AtomicU64::new(0),
            lazy_pending: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
            rates: Lock::new(rank::LEAF + 30, Rates::default()),
        }
    }

    fn cell(&self, client: u64, command: usize) -> &Cell {
        &self.lanes[client as usize % LANES][command]
    }

    /// Counts an executed call.
    pub fn executed(&self, client: u64, command: usize, nanos: u64, failed: bool) {
        let cell = self.cell(client, command);
        cell.calls.fetch_add(1, Ordering::Relaxed);
        cell.nanos.fetch_add(nanos, Ordering::Relaxed);
        if failed {
            cell.failed.fetch_add(1, Ordering::Relaxed);
        }
        let class = (64 - nanos.leading_zeros() as usize).min(HISTOGRAM_CLASSES - 1);
        cell.histogram[class].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that was refused before it was executed.
    pub fn rejected(&self, client: u64, command: usize) {
        self.cell(client, command).rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an error by its code.
    pub fn error(&self, code: &str) {
        self.total_errors.fetch_add(1, Ordering::Relaxed);
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }

    /// (code, count) of all errors.
    pub fn errors(&self) -> Vec<(String, u64)> {
        self.errors.lock().iter().map(|(code, count)| (code.clone(), *count)).collect()
    }

    /// The counters of one command, summed.
    pub fn command(&self, command: usize) -> CommandStats {
        let mut sum = CommandStats { histogram: vec![0; HISTOGRAM_CLASSES], ..Default::default() };
        for cell in self.lanes.iter().map(|lane| &lane[command]) {
            sum.calls += cell.calls.load(Ordering::Relaxed);
            sum.nanos += cell.nanos.load(Ordering::Relaxed);
            sum.rejected += cell.rejected.load(Ordering::Relaxed);
            sum.failed += cell.failed.load(Ordering::Relaxed);
            for (total, part) in sum.histogram.iter_mut().zip(&cell.histogram) {
                *total += part.load(Ordering::Relaxed);
            }
        }
        sum
    }

    /// Calls of all commands.
    pub fn total_commands(&self) -> u64 {
        self.lanes.iter().flatten().map(|cell| cell.calls.load(Ordering::Relaxed)).sum()
    }

    /// Sets the histogram of a command to zero.
    pub fn reset_histogram(&self, command: usize) {
        for cell in self.lanes.iter().map(|lane| &lane[command]) {
            cell.histogram.iter().for_each(|class| class.store(0, Ordering::Relaxed));
        }
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        for cell in self.lanes.iter().flatten() {
            for counter in [&cell.calls, &cell.nanos, &cell.rejected, &cell.failed] {
                counter.store(0, Ordering::Relaxed);
            }
            cell.histogram.iter().for_each(|class| class.store(0, Ordering::Relaxed));
        }
        self.errors.lock().clear();
        for counter in [
            &self.total_errors,
            &self.connections,
            &self.refused,
            &self.net_in,
            &self.net_out,
            &self.repl_in,
            &self.repl_out,
            &self.sync_full,
            &self.sync_partial_ok,
            &self.sync_partial_err,
            &self.query_buffer_cuts,
            &self.output_buffer_cuts,
            &self.lazy_freed,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        *self.rates.lock() = Rates::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_summed() {
        let stats = Stats::new(2);
        for client in 0..20 {
            stats.executed(client, 1, 1000, client == 0);
        }
        let sum = stats.command(1);
        assert_eq!((sum.calls, sum.nanos, sum.failed), (20, 20_000, 1));
        assert_eq!(sum.histogram[10], 20);
        assert_eq!((stats.command(0).calls, stats.total_commands()), (0, 20));
        stats.reset();
        assert_eq!(stats.total_commands(), 0);
    }

    #[test]
    fn rates_are_per_second() {
        let mut rates = Rates::default();
        for i in 0..=16 {
            rates.sample(i * 100, [i as u64 * 50, 0, 0]);
        }
        assert_eq!(rates.per_second(), [500, 0, 0]);
    }
}
