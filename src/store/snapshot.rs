//! A point-in-time view of the whole keyspace, without fork and without stopping writers.
//!
//! To begin, all shards are held for the microseconds that it takes to hang an empty bitmap on each
//! part (a shard's share of a database) and to note the log's offset. Then a walker visits bucket
//! after bucket, a few per hold of a shard, and a writer that is about to change a bucket not yet
//! visited first copies that bucket for the walker (`SnapshotPart::capture`). Copies are
//! cheap: long values are shared. Tables neither grow nor shrink meanwhile, so a bucket stays a
//! bucket. Encoding and writing happen outside of all guards.
//!
//! A part that is flushed is handed to the walker whole; SWAPDB moves parts with their bitmaps,
//! each of which remembers the number that its database had at the beginning.

use std::sync::{Arc, Condvar};
use std::time::Duration;

use crate::base::lock::{Lock, rank};
use crate::store::dict::{Copied, Dict};
use crate::store::entry::View;
use crate::store::keyspace::{self, Keyspace, SHARDS};
use crate::store::shard::{Part, Shard};

/// Buckets that the walker visits per hold of a shard: about 200 entries.
const BUCKETS_PER_HOLD: usize = 32;

/// A running snapshot's state of one part.
pub struct SnapshotPart {
    db: u32,
    seen: Vec<u64>,
    next: usize,
    buckets: usize,
    pending: Vec<Copied>,
}

impl SnapshotPart {
    fn new(db: u32, buckets: usize) -> Self {
        let seen = vec![0; buckets.div_ceil(64)];
        SnapshotPart { db, seen, next: 0, buckets, pending: Vec::new() }
    }

    /// Copies a bucket unless that has been done.
    pub(super) fn capture(&mut self, dict: &Dict, bucket: usize) {
        if bucket >= self.buckets {
            // A table that was empty at the beginning has no bucket to keep.
            return;
        }
        let (word, bit) = (bucket / 64, 1u64 << (bucket % 64));
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.pending.extend(dict.copy(bucket));
        }
    }

    /// Visits the next buckets; whether there are more.
    fn advance(&mut self, dict: &Dict) -> bool {
        let end = (self.next + BUCKETS_PER_HOLD).min(self.buckets);
        for bucket in self.next..end {
            self.capture(dict, bucket);
        }
        self.next = end;
        end < self.buckets
    }
}

/// Lets one snapshot run at a time; the others wait for their turn.
pub struct Gate {
    busy: Lock<bool>,
    freed: Condvar,
}

impl Gate {
    pub(super) fn new() -> Self {
        Gate { busy: Lock::new(rank::ADMIN + 5, false), freed: Condvar::new() }
    }

    fn enter(&self) {
        let mut busy = self.busy.lock();
        while *busy {
            busy = busy.wait_timeout(&self.freed, Duration::from_secs(1));
        }
        *busy = true;
    }

    fn leave(&self) {
        *self.busy.lock() = false;
        self.freed.notify_one();
    }
}

/// Keys of one database, as they were when the snapshot began.
pub struct Batch {
    /// The database's number at the beginning.
    pub db: u32,
    buckets: Vec<Copied>,
}

impl Batch {
    /// The keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = View<'_>> {
        self.buckets.iter().flat_map(Copied::views)
    }
}

/// A running snapshot; dropping it ends it.
pub struct Snapshot {
    keyspace: Arc<Keyspace>,
    /// (keys, keys with a deadline) of each database at the beginning.
    counts: Vec<(u64, u64)>,
    position: usize,
    /// Parts that are not walked to their end.
    left: usize,
    /// Buckets with keys since the last pause.
    walked: usize,
    /// Whether it pauses.
    pausing: bool,
    orphans: Vec<Part>,
}

impl Snapshot {
    /// Begins a snapshot, waiting for one that is running. `at_epoch` is called while all shards
    /// are held: what it notes (the log's offset) belongs to this very state.
    pub fn begin<R>(keyspace: &Arc<Keyspace>, at_epoch: impl FnOnce() -> R) -> (Snapshot, R) {
        keyspace.snapshot_gate.enter();
        let mut counts = vec![(0, 0); keyspace.databases()];
        let mut guards = keyspace.lock_all();
        let mut left = 0;
        for shard in &mut guards {
            for (db, part) in shard.parts.iter_mut().enumerate() {
                if part.dict.is_empty() {
                    continue;
                }
                counts[db].0 += part.dict.len() as u64;
                counts[db].1 += part.volatile() as u64;
                part.dict.pause_resize();
                let buckets = part.dict.bucket_count();
                part.snapshot = Some(Box::new(SnapshotPart::new(db as u32, buckets)));
                left += 1;
            }
        }
        let noted = at_epoch();
        drop(guards);
        let keyspace = Arc::clone(keyspace);
        let snapshot = Snapshot {
            keyspace,
            counts,
            position: 0,
            left,
            walked: 0,
            pausing: true,
            orphans: Vec::new(),
        };
        (snapshot, noted)
    }

    /// Whether it pauses between holds, which it does at first: nobody needs that in a server that
    /// has nothing else to do.
    pub fn set_pausing(&mut self, pausing: bool) {
        self.pausing = pausing;
    }

    /// (keys, keys with a deadline) of each database at the beginning.
    pub fn counts(&self) -> &[(u64, u64)] {
        &self.counts
    }

    /// Entries not yet returned, of one database; `None` at the end.
    ///
    /// Databases come in order, except for parts that were flushed or swapped meanwhile, which come
    /// last.
    pub fn next_batch(&mut self) -> Option<Batch> {
        while self.left > 0 {
            let step = match self.orphans.pop() {
                Some(part) => self.walk_orphan(part),
                None => self.walk_next(),
            };
            let Some((batch, more)) = step else { continue };
            self.left -= usize::from(!more);
            if !batch.buckets.is_empty() {
                self.walked += batch.buckets.len();
                return Some(batch);
            }
        }
        None
    }

    fn walk_orphan(&mut self, mut part: Part) -> Option<(Batch, bool)> {
        let (batch, more) = drain(part.snapshot.as_mut()?, &part.dict);
        if more {
            self.orphans.push(part);
        }
        Some((batch, more))
    }

    /// Walks on in the part at the current position. Parts move, so positions come round until all
    /// parts are found.
    fn walk_next(&mut self) -> Option<(Batch, bool)> {
        let databases = self.keyspace.databases();
        let (db, index) = (self.position / SHARDS, self.position % SHARDS);
        if self.pausing && self.walked >= BUCKETS_PER_HOLD {
            self.walked = 0;
            // A thread that has just slept is not interrupted at once: without this the walker is,
            // on a busy machine, while it holds a shard that writers wait for.
            keyspace::breathe();
        }
        let mut shard = self.keyspace.lock_shard(index);
        let step = walk(&mut shard, db);
        self.orphans.append(&mut shard.orphans);
        drop(shard);
        if !step.as_ref().is_some_and(|(_, more)| *more) {
            self.position = (self.position + 1) % (databases * SHARDS);
        }
        step
    }
}

/// Walks on in one part; `None` when no snapshot state is left there.
fn walk(shard: &mut Shard, db: usize) -> Option<(Batch, bool)> {
    let part = &mut shard.parts[db];
    let state = part.snapshot.as_mut()?;
    let (batch, more) = drain(state, &part.dict);
    if !more {
        part.snapshot = None;
        part.dict.resume_resize();
    }
    Some((batch, more))
}

fn drain(state: &mut SnapshotPart, dict: &Dict) -> (Batch, bool) {
    let more = state.advance(dict);
    (Batch { db: state.db, buckets: std::mem::take(&mut state.pending) }, more)
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        for index in 0..SHARDS {
            let mut shard = self.keyspace.lock_shard(index);
            self.orphans.append(&mut shard.orphans);
            for part in shard.parts.iter_mut() {
                if part.snapshot.take().is_some() {
                    part.dict.resume_resize();
                }
            }
        }
        self.keyspace.snapshot_gate.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::data::{Kind, Str, Value};
    use crate::store::{Changes, Db, Expiry, Plan};
    use std::collections::BTreeMap;

    fn number(value: &Value) -> i64 {
        Str::of(value).and_then(Str::as_int).unwrap()
    }

    fn put(keyspace: &Keyspace, db: usize, key: u64, value: i64) {
        let key = key.to_string().into_bytes();
        let mut held = keyspace.hold(&Plan::One(keyspace.shard_of(&key)));
        let mut changes = Changes::default();
        let mut view = Db::new(&mut held, db, 0, Expiry::Ignore, &mut changes);
        view.set(&key, Value::String(Str::from_i64(value)), None);
    }

    #[test]
    fn writers_do_not_show() {
        let keyspace = Arc::new(Keyspace::new(3));
        let mut rng = Rng::seeded(1);
        for key in 0..20_000 {
            put(&keyspace, (key % 2) as usize, key, 7);
        }
        let (mut snapshot, ()) = Snapshot::begin(&keyspace, || ());
        assert_eq!(snapshot.counts(), [(10_000, 0), (10_000, 0), (0, 0)]);
        let mut seen = BTreeMap::new();
        let mut step = 0;
        while let Some(batch) = snapshot.next_batch() {
            for entry in batch.keys() {
                let key: u64 = std::str::from_utf8(entry.key()).unwrap().parse().unwrap();
                assert_eq!((batch.db, number(&entry.value())), ((key % 2) as u32, 7));
                assert!(seen.insert(key, ()).is_none(), "{key} twice");
            }
            for _ in 0..50 {
                let key = rng.next_u64() % 40_000;
                put(&keyspace, (key % 2) as usize, key, 8);
            }
            step += 1;
            match step {
                20 => keyspace.hold(&Plan::All).swap_databases(0, 2, 0),
                40 => keyspace.hold(&Plan::All).flush(1, 0),
                _ => {}
            }
        }
        assert_eq!(seen.len(), 20_000);
    }
}
