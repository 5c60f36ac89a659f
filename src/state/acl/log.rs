//! What was refused lately (ACL LOG), newest first. The same refusal over and over is one entry.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::lock::{Lock, rank};

/// How long after the last refusal of its kind another one joins it, in ms.
const MERGE_MS: i64 = 60_000;
/// How many entries are looked through for one of the same kind.
const MERGE_DEPTH: usize = 10;

/// What was missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The right password.
    Auth,
    /// The right to a command.
    Command,
    /// The right to a key.
    Key,
    /// The right to a channel.
    Channel,
}

impl Reason {
    /// All of them, in the order of INFO.
    pub const ALL: [Reason; 4] = [Reason::Auth, Reason::Command, Reason::Key, Reason::Channel];

    /// Its name in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Auth => "auth",
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
        }
    }
}

/// Where it was missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A command by itself.
    Toplevel,
    /// Between MULTI and the end of EXEC.
    Multi,
}

impl Context {
    /// Its name in ACL LOG.
    pub fn name(self) -> &'static str {
        match self {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What was missing.
    pub reason: Reason,
    /// Where.
    pub context: Context,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// The user, or who it tried to become.
    pub username: Vec<u8>,
    /// The connection as CLIENT LIST shows it.
    pub client: String,
}

/// Refusals of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Ascending number.
    pub id: u64,
    /// How many there were.
    pub count: u64,
    /// The last one.
    pub event: Event,
    /// Unix ms of the first one.
    pub created_ms: i64,
    /// Unix ms of the last one.
    pub updated_ms: i64,
}

#[derive(Default)]
struct Inner {
    next_id: u64,
    entries: VecDeque<Entry>,
}

/// The log of one server.
pub struct AclLog {
    inner: Lock<Inner>,
    /// Refusals by the index of their reason in [`Reason::ALL`].
    counts: [AtomicU64; Reason::ALL.len()],
}

impl Default for AclLog {
    fn default() -> Self {
        AclLog {
            inner: Lock::new(rank::LEAF + 81, Inner::default()),
            counts: [const { AtomicU64::new(0) }; Reason::ALL.len()],
        }
    }
}

impl AclLog {
    /// Writes a refusal down and drops the oldest entries beyond `max_len`.
    pub fn add(&self, event: Event, now_ms: i64, max_len: usize) {
        self.counts[event.reason as usize].fetch_add(1, Ordering::Relaxed);
        let mut inner = self.inner.lock();
        let is_same = |entry: &Entry| {
            let old = &entry.event;
            (old.reason, old.context) == (event.reason, event.context)
                && entry.updated_ms.abs_diff(now_ms) <= MERGE_MS.unsigned_abs()
                && old.object == event.object
                && old.username == event.username
        };
        let found = inner.entries.iter().take(MERGE_DEPTH).position(is_same);
        if let Some(mut entry) = found.and_then(|at| inner.entries.remove(at)) {
            entry.count += 1;
            entry.updated_ms = now_ms;
            entry.event.client = event.client;
            inner.entries.push_front(entry);
            return;
        }
        let id = inner.next_id;
        inner.next_id += 1;
        let entry = Entry { id, count: 1, event, created_ms: now_ms, updated_ms: now_ms };
        inner.entries.push_front(entry);
        inner.entries.truncate(max_len);
    }

    /// The newest `count` entries.
    pub fn newest(&self, count: usize) -> Vec<Entry> {
        self.inner.lock().entries.iter().take(count).cloned().collect()
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        self.inner.lock().entries.clear();
    }

    /// Refusals for a reason since the start.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &str, client: &str) -> Event {
        Event {
            reason: Reason::Key,
            context: Context::Toplevel,
            object: object.into(),
            username: b"bob".to_vec(),
            client: client.to_owned(),
        }
    }

    #[test]
    fn the_same_again_within_a_minute_is_one_entry() {
        let log = AclLog::default();
        log.add(event("a", "first"), 1000, 128);
        log.add(event("b", ""), 2000, 128);
        log.add(event("a", "second"), 61_000, 128);
        log.add(Event { context: Context::Multi, ..event("a", "") }, 61_000, 128);
        log.add(event("a", "late"), 121_001, 128);
        let entries = log.newest(10);
        let shown: Vec<_> = entries
            .iter()
            .map(|e| (e.id, e.count, e.created_ms, e.updated_ms, e.event.client.as_str()))
            .collect();
        let expected = [
            (3, 1, 121_001, 121_001, "late"),
            (2, 1, 61_000, 61_000, ""),
            (0, 2, 1000, 61_000, "second"),
            (1, 1, 2000, 2000, ""),
        ];
        assert_eq!(shown, expected);
        assert_eq!(log.count(Reason::Key), 5);
        assert_eq!(log.newest(2).len(), 2);
        log.reset();
        assert_eq!((log.newest(9).len(), log.count(Reason::Key)), (0, 5));
    }

    #[test]
    fn only_the_newest_entries_are_kept_and_looked_through() {
        let log = AclLog::default();
        for object in 0..20 {
            log.add(event(&object.to_string(), ""), 0, 15);
        }
        log.add(event("10", ""), 0, 15);
        log.add(event("7", ""), 0, 15);
        let entries = log.newest(100);
        assert_eq!(entries.len(), 15);
        assert_eq!((entries[0].count, entries[1].count), (1, 2));
        let log = AclLog::default();
        log.add(event("a", ""), 0, 0);
        assert!(log.newest(1).is_empty());
    }
}
