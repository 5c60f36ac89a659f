//! Counters that INFO shows. Threads count in lanes of their own, which are summed when somebody
//! looks, so that counting costs no traffic between cores.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::base::clock;
use crate::base::lock::{Lock, rank};
use crate::state::histogram::{Counting, Histogram};

/// Lanes of counters; a client uses the one of its id.
const LANES: usize = 8;

/// Distinct error codes that are counted; more would be somebody's attempt to fill memory.
const ERROR_CODES_MAX: usize = 128;

/// The counters of one command.
#[derive(Debug, Default, Clone)]
pub struct CommandStats {
    /// Calls that were executed.
    pub calls: u64,
    /// Time spent executing, in nanoseconds.
    pub nanos: u64,
    /// Calls refused before execution.
    pub rejected: u64,
    /// Calls that answered an error.
    pub failed: u64,
    /// Calls by duration.
    pub histogram: Histogram,
}

#[derive(Default)]
struct Cell {
    calls: AtomicU64,
    nanos: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    /// Made by the first call: most commands are never called.
    histogram: OnceLock<Box<Counting>>,
}

/// What goes over the connections of one lane's clients, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Traffic {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
}

/// All counters of a server.
pub struct Stats {
    lanes: Vec<Vec<Cell>>,
    traffic: [Traffic; LANES],
    errors: Lock<BTreeMap<String, u64>>,
    /// Errors answered.
    pub total_errors: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because of maxclients.
    pub refused: AtomicU64,
    /// Bytes sent to subscribers.
    pub published: AtomicU64,
    /// Bytes read from the primary.
    pub repl_in: AtomicU64,
    /// Bytes sent to replicas.
    pub repl_out: AtomicU64,
    /// Errors in answer to what a primary or an append-only file has had executed.
    pub unexpected_errors: AtomicU64,
    /// Full resynchronisations served.
    pub sync_full: AtomicU64,
    /// Partial resynchronisations served.
    pub sync_partial_ok: AtomicU64,
    /// Partial resynchronisations refused.
    pub sync_partial_err: AtomicU64,
    /// Clients cut because their request buffer grew too large.
    pub query_buffer_cuts: AtomicU64,
    /// Nanoseconds spent removing keys at their deadline.
    pub expire_nanos: AtomicU64,
    /// Keys freed in the background.
    pub lazy_freed: AtomicU64,
    /// Keys that wait to be freed in the background.
    pub lazy_pending: AtomicU64,
    /// Clients ended because all together took too much memory.
    pub evicted_clients: AtomicU64,
    /// Snapshots begun apart from the clients, for each of which Redis forks.
    pub forks: AtomicU64,
    /// Keys removed because memory was used up.
    pub evicted: AtomicU64,
    /// Milliseconds for which memory in use was above the limit, without the present time.
    excess_ms: AtomicU64,
    /// Unix ms since which it is; 0 when it is not.
    excess_since_ms: AtomicI64,
    /// Most memory ever in use, in bytes.
    pub peak_memory: AtomicU64,
    /// Commands and bytes per second over the last moments.
    pub rates: Lock<Rates>,
}

/// Samples of the last 1.6 seconds, as Redis keeps them.
#[derive(Debug, Default)]
pub struct Rates {
    samples: [[u64; RATE_SAMPLES]; RATES],
    next: usize,
    last: Option<(i64, [u64; RATES])>,
}

const RATE_SAMPLES: usize = 16;
/// Rates that are kept: commands, bytes in, bytes out, of which replication in and replication out.
pub const RATES: usize = 5;

impl Rates {
    /// Takes a sample of [`Stats::totals`] at `now_ms`.
    pub fn sample(&mut self, now_ms: i64, totals: [u64; RATES]) {
        if let Some((then, before)) = self.last {
            let elapsed = u64::try_from(now_ms - then).unwrap_or(0).max(1);
            for (i, total) in totals.iter().enumerate() {
                self.samples[i][self.next] = total.saturating_sub(before[i]) * 1000 / elapsed;
            }
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        self.last = Some((now_ms, totals));
    }

    /// Mean per second of each.
    pub fn per_second(&self) -> [u64; RATES] {
        self.samples.map(|series| series.iter().sum::<u64>() / RATE_SAMPLES as u64)
    }
}

impl Stats {
    /// All zero, for that many commands.
    pub fn new(commands: usize) -> Self {
        let lane = || (0..commands).map(|_| Cell::default()).collect();
        Stats {
            lanes: (0..LANES).map(|_| lane()).collect(),
            traffic: Default::default(),
            errors: Lock::new(rank::LEAF + 20, BTreeMap::new()),
            total_errors: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            published: AtomicU64::new(0),
            repl_in: AtomicU64::new(0),
            repl_out: AtomicU64::new(0),
            unexpected_errors: AtomicU64::new(0),
            sync_full: AtomicU64::new(0),
            sync_partial_ok: AtomicU64::new(0),
            sync_partial_err: AtomicU64::new(0),
            query_buffer_cuts: AtomicU64::new(0),
            expire_nanos: AtomicU64::new(0),
            lazy_freed: AtomicU64::new(0),
            lazy_pending: AtomicU64::new(0),
            forks: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            evicted_clients: AtomicU64::new(0),
            excess_ms: AtomicU64::new(0),
            excess_since_ms: AtomicI64::new(0),
            peak_memory: AtomicU64::new(0),
            rates: Lock::new(rank::LEAF + 30, Rates::default()),
        }
    }

    fn cell(&self, client: u64, command: usize) -> &Cell {
        &self.lanes[client as usize % LANES][command]
    }

    /// Counts an executed call; `timed` whether into the histogram too.
    pub fn executed(&self, client: u64, command: usize, nanos: u64, failed: bool, timed: bool) {
        let cell = self.cell(client, command);
        cell.calls.fetch_add(1, Ordering::Relaxed);
        cell.nanos.fetch_add(nanos, Ordering::Relaxed);
        if failed {
            cell.failed.fetch_add(1, Ordering::Relaxed);
        }
        if timed {
            cell.histogram.get_or_init(Box::default).count(nanos);
        }
    }

    /// Counts what one read from a client's socket brought.
    pub fn received(&self, client: u64, bytes: usize) {
        let traffic = &self.traffic[client as usize % LANES];
        traffic.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        traffic.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts replies that are sent together.
    pub fn replied(&self, client: u64, bytes: usize) {
        let traffic = &self.traffic[client as usize % LANES];
        traffic.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        traffic.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads from clients' sockets that brought something.
    pub fn reads(&self) -> u64 {
        self.sum(|lane| &lane.reads)
    }

    /// Times that replies were sent.
    pub fn writes(&self) -> u64 {
        self.sum(|lane| &lane.writes)
    }

    fn sum(&self, counter: impl Fn(&Traffic) -> &AtomicU64) -> u64 {
        self.traffic.iter().map(|lane| counter(lane).load(Ordering::Relaxed)).sum()
    }

    /// Counts a call that was refused before it was executed.
    pub fn rejected(&self, client: u64, command: usize) {
        self.cell(client, command).rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes whether memory in use is above the limit.
    pub fn note_excess(&self, is_above: bool) {
        let since = self.excess_since_ms.load(Ordering::Relaxed);
        if is_above && since == 0 {
            self.excess_since_ms.store(clock::unix_ms(), Ordering::Relaxed);
        } else if !is_above && since != 0 {
            let passed = (clock::unix_ms() - since).max(0) as u64;
            self.excess_ms.fetch_add(passed, Ordering::Relaxed);
            self.excess_since_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Milliseconds for which memory in use was above the limit: in all, and for how long it is
    /// now.
    pub fn excess_ms(&self) -> (u64, u64) {
        let now = match self.excess_since_ms.load(Ordering::Relaxed) {
            0 => 0,
            since => (clock::unix_ms() - since).max(0) as u64,
        };
        (self.excess_ms.load(Ordering::Relaxed) + now, now)
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
        let mut sum = CommandStats::default();
        for cell in self.lanes.iter().map(|lane| &lane[command]) {
            sum.calls += cell.calls.load(Ordering::Relaxed);
            sum.nanos += cell.nanos.load(Ordering::Relaxed);
            sum.rejected += cell.rejected.load(Ordering::Relaxed);
            sum.failed += cell.failed.load(Ordering::Relaxed);
            if let Some(counting) = cell.histogram.get() {
                counting.add_to(&mut sum.histogram);
            }
        }
        sum
    }

    /// Calls of all commands.
    pub fn total_commands(&self) -> u64 {
        self.lanes.iter().flatten().map(|cell| cell.calls.load(Ordering::Relaxed)).sum()
    }

    /// Totals of what the rates are made from.
    pub fn totals(&self) -> [u64; RATES] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (repl_in, repl_out) = (load(&self.repl_in), load(&self.repl_out));
        // As in Redis, the bytes of clients and those of replication are one sum.
        let net_in = self.sum(|lane| &lane.bytes_in) + repl_in;
        let net_out = self.sum(|lane| &lane.bytes_out) + load(&self.published) + repl_out;
        [self.total_commands(), net_in, net_out, repl_in, repl_out]
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        for cell in self.lanes.iter().flatten() {
            for counter in [&cell.calls, &cell.nanos, &cell.rejected, &cell.failed] {
                counter.store(0, Ordering::Relaxed);
            }
            if let Some(counting) = cell.histogram.get() {
                counting.reset();
            }
        }
        for lane in &self.traffic {
            for counter in [&lane.bytes_in, &lane.bytes_out, &lane.reads, &lane.writes] {
                counter.store(0, Ordering::Relaxed);
            }
        }
        self.errors.lock().clear();
        for counter in [
            &self.total_errors,
            &self.connections,
            &self.refused,
            &self.published,
            &self.repl_in,
            &self.repl_out,
            &self.unexpected_errors,
            &self.sync_full,
            &self.sync_partial_ok,
            &self.sync_partial_err,
            &self.query_buffer_cuts,
            &self.expire_nanos,
            &self.lazy_freed,
            &self.evicted,
            &self.evicted_clients,
            &self.excess_ms,
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
            stats.executed(client, 1, 1000, client == 0, client < 10);
        }
        let sum = stats.command(1);
        assert_eq!((sum.calls, sum.nanos, sum.failed), (20, 20_000, 1));
        assert_eq!(sum.histogram.count(), 10);
        assert_eq!((stats.command(0).calls, stats.total_commands()), (0, 20));
        stats.reset();
        assert_eq!(stats.total_commands(), 0);
    }

    #[test]
    fn rates_are_per_second() {
        let mut rates = Rates::default();
        for i in 0..=16 {
            rates.sample(i * 100, [i as u64 * 50, 0, 0, 0, 7]);
        }
        assert_eq!(rates.per_second(), [500, 0, 0, 0, 0]);
    }
}
