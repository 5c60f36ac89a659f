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

/// The waiting of one shard's keys. Mostly nobody waits, which takes little room in the shard.
#[derive(Default)]
pub struct Waiting {
    blocked: Option<Box<Blocked>>,
    watched: Option<Box<Watched>>,
}

#[derive(Default)]
struct Blocked {
    /// (database, client) by key, first come first.
    clients: HashMap<Vec<u8>, Vec<(usize, u64)>>,
    /// The shards that have to be held when one of these clients is served.
    shards: ShardSet,
}

/// (database, WATCH) by key.
type Watched = HashMap<Vec<u8>, Vec<(usize, Touched)>>;

impl Waiting {
    /// A client waits for a key. Whoever serves it needs these shards.
    pub fn block(&mut self, db: usize, key: &[u8], client: u64, shards: ShardSet) {
        let blocked = self.blocked.get_or_insert_default();
        blocked.clients.entry(key.to_vec()).or_default().push((db, client));
        blocked.shards = blocked.shards.union(shards);
    }

    /// It does no longer.
    pub fn unblock(&mut self, db: usize, key: &[u8], client: u64) {
        let Some(blocked) = &mut self.blocked else { return };
        if let Some(list) = blocked.clients.get_mut(key) {
            list.retain(|&entry| entry != (db, client));
            if list.is_empty() {
                blocked.clients.remove(key);
            }
        }
        self.blocked.take_if(|blocked| blocked.clients.is_empty());
    }

    /// Whether a client waits for any key.
    pub fn is_awaiting(&self) -> bool {
        self.blocked.is_some()
    }

    /// (database, client) of those who wait for a key, first come first.
    fn waiting_for(&self, key: &[u8]) -> &[(usize, u64)] {
        let list = self.blocked.as_ref().and_then(|blocked| blocked.clients.get(key));
        list.map_or(&[], Vec::as_slice)
    }

    /// The clients that wait for a key, first come first.
    pub fn blocked_on(&self, db: usize, key: &[u8]) -> Vec<u64> {
        let list = self.waiting_for(key).iter();
        list.filter(|(at, _)| *at == db).map(|&(_, client)| client).collect()
    }

    /// Whether anybody waits for a key.
    pub fn is_awaited(&self, db: usize, key: &[u8]) -> bool {
        self.is_awaiting() && self.waiting_for(key).iter().any(|(at, _)| *at == db)
    }

    /// The keys of a database that somebody waits for.
    pub fn awaited(&self, db: usize) -> Vec<Vec<u8>> {
        let awaited = |(key, list): (&Vec<u8>, &Vec<(usize, u64)>)| {
            list.iter().any(|(at, _)| *at == db).then(|| key.clone())
        };
        self.blocked.iter().flat_map(|blocked| &blocked.clients).filter_map(awaited).collect()
    }

    /// The shards that may be needed to serve those who wait here.
    pub fn shards(&self) -> ShardSet {
        self.blocked.as_ref().map_or(ShardSet::default(), |blocked| blocked.shards)
    }

    /// A transaction depends on a key.
    pub fn watch(&mut self, db: usize, key: &[u8], touched: &Touched) {
        let watched = self.watched.get_or_insert_default();
        watched.entry(key.to_vec()).or_default().push((db, Arc::clone(touched)));
    }

    /// It does no longer.
    pub fn unwatch(&mut self, db: usize, key: &[u8], touched: &Touched) {
        let Some(watched) = &mut self.watched else { return };
        if let Some(list) = watched.get_mut(key) {
            list.retain(|(at, other)| *at != db || !Arc::ptr_eq(other, touched));
            if list.is_empty() {
                watched.remove(key);
            }
        }
        self.watched.take_if(|watched| watched.is_empty());
    }

    /// A key has changed.
    pub fn touch(&self, db: usize, key: &[u8]) {
        let Some(watched) = &self.watched else { return };
        for (at, touched) in watched.get(key).into_iter().flatten() {
            if *at == db {
                touched.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Everything in a database has changed, as far as `is_there` says so of its keys.
    pub fn touch_all(&self, db: usize, is_there: impl Fn(&[u8]) -> bool) {
        for (key, list) in self.watched.iter().flat_map(|watched| watched.iter()) {
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
