//! Who waits for a key: clients that a blocking command holds up, in the order in which they came,
//! and transactions that must not run once a key has changed (WATCH).
//!
//! Lives in the key's shard, so its guard protects it. Knows clients by number only.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::keyspace::ShardSet;

/// A WATCH: set once one of its keys has changed.
pub type Touched = Arc<AtomicBool>;

/// The waiting of one shard's keys.
#[derive(Default)]
pub struct Waiting {
    /// (database, client) by key, first come first.
    blocked: HashMap<Vec<u8>, Vec<(usize, u64)>>,
    /// The shards that have to be held when one of these clients is served.
    shards: ShardSet,
    watched: HashMap<Vec<u8>, Vec<(usize, Touched)>>,
}

impl Waiting {
    /// A client waits for a key. Whoever serves it needs these shards.
    pub fn block(&mut self, db: usize, key: &[u8], client: u64, shards: ShardSet) {
        self.blocked.entry(key.to_vec()).or_default().push((db, client));
        self.shards = self.shards.union(shards);
    }

    /// It does no longer.
    pub fn unblock(&mut self, db: usize, key: &[u8], client: u64) {
        if let Some(list) = self.blocked.get_mut(key) {
            list.retain(|&entry| entry != (db, client));
            if list.is_empty() {
                self.blocked.remove(key);
            }
        }
        if self.blocked.is_empty() {
            self.shards = ShardSet::default();
        }
    }

    /// Whether a client waits for any key.
    pub fn is_awaiting(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// The clients that wait for a key, first come first.
    pub fn blocked_on(&self, db: usize, key: &[u8]) -> Vec<u64> {
        let list = self.blocked.get(key).map_or(&[][..], Vec::as_slice);
        list.iter().filter(|(at, _)| *at == db).map(|&(_, client)| client).collect()
    }

    /// Whether anybody waits for a key.
    pub fn is_awaited(&self, db: usize, key: &[u8]) -> bool {
        !self.blocked.is_empty()
            && self.blocked.get(key).is_some_and(|list| list.iter().any(|(at, _)| *at == db))
    }

    /// The keys of a database that somebody waits for.
    pub fn awaited(&self, db: usize) -> Vec<Vec<u8>> {
        let awaited = |(key, list): (&Vec<u8>, &Vec<(usize, u64)>)| {
            list.iter().any(|(at, _)| *at == db).then(|| key.clone())
        };
        self.blocked.iter().filter_map(awaited).collect()
    }

    /// The shards that may be needed to serve those who wait here.
    pub fn shards(&self) -> ShardSet {
        self.shards
    }

    /// A transaction depends on a key.
    pub fn watch(&mut self, db: usize, key: &[u8], touched: &Touched) {
        self.watched.entry(key.to_vec()).or_default().push((db, Arc::clone(touched)));
    }

    /// It does no longer.
    pub fn unwatch(&mut self, db: usize, key: &[u8], touched: &Touched) {
        if let Some(list) = self.watched.get_mut(key) {
            list.retain(|(at, other)| *at != db || !Arc::ptr_eq(other, touched));
            if list.is_empty() {
                self.watched.remove(key);
            }
        }
    }

    /// A key has changed.
    pub fn touch(&self, db: usize, key: &[u8]) {
        if self.watched.is_empty() {
            return;
        }
        for (at, touched) in self.watched.get(key).into_iter().flatten() {
            if *at == db {
                touched.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Everything in a database has changed, as far as `is_there` says so of its keys.
    pub fn touch_all(&self, db: usize, is_there: impl Fn(&[u8]) -> bool) {
        for (key, list) in &self.watched {
            if list.iter().any(|(at, _)| *at == db) && is_there(key) {
                self.touch(db, key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first() {
        let mut waiting = Waiting::default();
        let shards = |indexes: &[usize]| indexes.iter().copied().collect();
        waiting.block(0, b"k", 7, shards(&[0, 200]));
        waiting.block(1, b"k", 8, shards(&[0]));
        waiting.block(0, b"k", 3, shards(&[3]));
        assert_eq!(waiting.blocked_on(0, b"k"), [7, 3]);
        assert_eq!(waiting.shards(), shards(&[0, 3, 200]));
        assert_eq!(waiting.awaited(1), [b"k".to_vec()]);
        for (db, client) in [(0, 7), (0, 3), (1, 8)] {
            assert!(waiting.is_awaited(db, b"k"));
            waiting.unblock(db, b"k", client);
        }
        assert!(!waiting.is_awaited(0, b"k") && waiting.shards().is_empty());
    }

    #[test]
    fn watches_see_their_own_database() {
        let mut waiting = Waiting::default();
        let touched = Touched::default();
        waiting.watch(1, b"k", &touched);
        waiting.touch(0, b"k");
        waiting.touch(1, b"l");
        waiting.touch_all(1, |_| false);
        assert!(!touched.load(Ordering::Relaxed));
        waiting.touch_all(1, |_| true);
        assert!(touched.swap(false, Ordering::Relaxed));
        waiting.unwatch(1, b"k", &touched);
        waiting.touch(1, b"k");
        assert!(!touched.load(Ordering::Relaxed));
    }
}
