//! Where the bytes in use are: the numbers behind INFO's memory section, MEMORY STATS and MEMORY
//! DOCTOR.

use std::sync::atomic::Ordering;

use crate::base::process;
use crate::state::Server;
use crate::state::clients::{Kind, flag};
use crate::state::config::{By, Settings};
use crate::store::Aging;
use crate::store::totals::Totals;

/// Bytes in use, by what they are used for.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// All, as asked of the allocator.
    pub used: u64,
    /// The most that was ever in use.
    pub peak: u64,
    /// In use before there were keys or clients.
    pub startup: u64,
    /// Pages of the process that are in memory, as the operating system counts them.
    pub resident: u64,
    /// The write log, up to the size of the backlog.
    pub log: u64,
    /// Connections of replicas, and what the log keeps for them beyond the backlog.
    pub replicas: u64,
    /// All other connections.
    pub clients: u64,
    /// Tables and indexes of the keyspace.
    pub tables: u64,
}

impl Usage {
    /// As it is now.
    pub fn new(server: &Server, keys: &Totals) -> Self {
        let used = server.used_memory();
        let log = server.log.memory() as u64;
        let beyond = server.log.memory_beyond(server.config.get().repl_backlog_size);
        let all = server.replication.replicas();
        let here = all.iter().filter(|replica| !replica.client.has(flag::KILLED));
        let buffers: u64 = here.map(|replica| replica.buffer.load(Ordering::Relaxed)).sum();
        let (mut replicas, mut clients) = (0, 0);
        for client in server.clients.all() {
            match client.kind() {
                Kind::Replica => replicas += client.memory(),
                _ => clients += client.memory(),
            }
        }
        Usage {
            used,
            peak: server.stats.peak_memory.load(Ordering::Relaxed).max(used),
            startup: server.startup_memory,
            resident: process::resident_memory(),
            log: log - beyond.min(log),
            replicas: replicas + beyond + buffers,
            clients,
            tables: keys.overhead(),
        }
    }

    /// Everything but the keys and values themselves.
    pub fn overhead(&self) -> u64 {
        let parts = self.startup + self.log + self.replicas + self.clients + self.tables;
        parts.min(self.used)
    }

    /// Keys and values.
    pub fn dataset(&self) -> u64 {
        self.used - self.overhead()
    }

    /// Share of the keys and values in what is in use beyond the beginning, in percent.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset(), self.used.saturating_sub(self.startup))
    }

    /// Resident pages per byte in use.
    pub fn fragmentation(&self) -> f64 {
        if self.used == 0 { 0.0 } else { self.resident as f64 / self.used as f64 }
    }

    /// Resident pages beyond what is in use.
    pub fn fragmentation_bytes(&self) -> i64 {
        self.resident as i64 - self.used as i64
    }
}

/// What is kept for replicas: in the log beyond the backlog, and in the buffers on the way to them.
/// It does not count for `maxmemory`, or the removal of keys would fill the memory that it is to
/// free.
pub fn not_counted(server: &Server, settings: &Settings) -> u64 {
    let buffers = server.replication.buffers.load(Ordering::Relaxed);
    server.log.memory_beyond(settings.repl_backlog_size) + buffers
}

/// What is kept about accesses to keys, as `maxmemory-policy` needs it.
pub fn aging(settings: &Settings) -> Aging {
    match settings.maxmemory_policy.by {
        Some(By::Frequency) => Aging::Lfu {
            log_factor: settings.lfu_log_factor,
            decay_minutes: settings.lfu_decay_time,
        },
        _ => Aging::Lru,
    }
}

/// `part` of `whole` in percent; nothing of nothing is 0.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// Ends the clients that take the most memory until all together take no more than
/// `maxmemory-clients`, if that is set. Replicas, the primary and those that asked to be spared
/// (CLIENT NO-EVICT) stay.
pub fn evict_clients(server: &Server, settings: &Settings) {
    let Some(limit) = settings.maxmemory_clients.limit(settings.maxmemory) else { return };
    let mut clients = server.clients.all();
    clients.retain(|client| matches!(client.kind(), Kind::Normal | Kind::Pubsub));
    let mut sized: Vec<_> = clients.into_iter().map(|client| (client.memory(), client)).collect();
    let mut total: u64 = sized.iter().map(|(bytes, _)| bytes).sum();
    if total <= limit {
        return;
    }
    sized.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    for (bytes, client) in sized {
        if total <= limit {
            return;
        }
        if !client.has(flag::NO_EVICT) {
            let message =
                format!("Evicting client: id={} addr={} tot-mem={bytes}", client.id, client.addr);
            server.logger.notice(&message);
            server.stats.evicted_clients.fetch_add(1, Ordering::Relaxed);
            server.clients.kill_all(|other| other.id == client.id);
            total -= bytes;
        }
    }
}
