//! One slice of the keyspace: its share of every database, behind one mutex.
//!
//! Must not know other shards. Invariants: `deadlines` holds exactly one pair for each entry with a
//! deadline (two keys with the same hash and deadline, which a keyed hash makes a curiosity, share
//! one), `inner_deadlines` one for each entry with a value that has deadlines inside, and every
//! change calls `before_change` first, so that a running snapshot gets the state it was begun in.

use std::iter;
use std::mem;
use std::ops::{Index, IndexMut};

use crate::base::hash::Seed;
use crate::base::rng::Rng;
use crate::base::table::Spot;
use crate::data::Value;
use crate::store::access::{Access, Aging};
use crate::store::deadlines::Deadlines;
use crate::store::dict::{Dict, Old};
use crate::store::entry::{New, View};
use crate::store::snapshot::SnapshotPart;
use crate::store::waiting::Waiting;

/// What a shard counts; summed over all shards for INFO.
#[derive(Debug, Default, Clone, Copy)]
pub struct ShardStats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys removed because their time had come.
    pub expired: u64,
    /// Fields of hashes, likewise.
    pub expired_fields: u64,
}

/// What became of a value that was changed.
pub(super) struct Edited<R> {
    /// What the change returned.
    pub result: R,
    /// Whether it is a collection that has become empty, whose key is to be removed.
    pub void: bool,
    /// The earliest deadline inside of it, before and after.
    pub deadlines: [Option<i64>; 2],
}

/// A shard's share of one database.
pub struct Part {
    /// The keys.
    pub dict: Dict,
    /// (deadline in Unix ms, hash of the key), earliest first.
    deadlines: Deadlines,
    /// (earliest deadline inside of a value, hash of its key), earliest first.
    inner_deadlines: Deadlines,
    /// Sum of the deadlines, so that INFO's average costs nothing.
    deadline_sum: i128,
    /// Present while a snapshot has not walked this part yet.
    pub(super) snapshot: Option<Box<SnapshotPart>>,
}

/// One part per database. That of the first one, which most use alone, is at hand without a detour.
pub struct Parts {
    first: Part,
    others: Box<[Part]>,
}

/// One slice of the keyspace.
pub struct Shard {
    /// One part per database.
    pub parts: Parts,
    /// Parts that were flushed before a running snapshot had walked them.
    pub(super) orphans: Vec<Part>,
    /// Counters.
    pub stats: ShardStats,
    /// Who waits for keys of this shard.
    pub waiting: Waiting,
    /// For what chance decides about its keys.
    pub rng: Rng,
}

impl Parts {
    /// Number of databases.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        iter::once(&self.first).chain(&self.others)
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        iter::once(&mut self.first).chain(&mut self.others)
    }

    /// All of them, taken apart.
    pub fn into_iter(self) -> impl Iterator<Item = Part> {
        iter::once(self.first).chain(self.others)
    }

    /// Exchanges two databases' parts.
    fn swap(&mut self, a: usize, b: usize) {
        match (a.min(b), a.max(b)) {
            (0, 0) => {}
            (0, other) => mem::swap(&mut self.first, &mut self.others[other - 1]),
            (a, b) => self.others.swap(a - 1, b - 1),
        }
    }
}

impl Index<usize> for Parts {
    type Output = Part;

    #[inline]
    fn index(&self, db: usize) -> &Part {
        if db == 0 { &self.first } else { &self.others[db - 1] }
    }
}

impl IndexMut<usize> for Parts {
    #[inline]
    fn index_mut(&mut self, db: usize) -> &mut Part {
        if db == 0 { &mut self.first } else { &mut self.others[db - 1] }
    }
}

impl Shard {
    pub(super) fn new(databases: usize, seed: &Seed) -> Self {
        let part = || Part::new(seed.clone());
        let others = (1..databases).map(|_| part()).collect();
        Shard {
            parts: Parts { first: part(), others },
            orphans: Vec::new(),
            stats: ShardStats::default(),
            waiting: Waiting::default(),
            rng: Rng::from_os(),
        }
    }

    /// Empties one database's part; what it held is returned, to be freed outside of the guard.
    pub fn flush(&mut self, db: usize, now_ms: i64) -> Part {
        self.replace(db, self.empty_part(db), now_ms)
    }

    /// Puts another part in the place of one database's; likewise.
    pub(super) fn replace(&mut self, db: usize, new: Part, now_ms: i64) -> Part {
        self.touch_all(db, db, now_ms);
        let old = mem::replace(&mut self.parts[db], new);
        self.touch_all(db, db, now_ms);
        if old.snapshot.is_none() {
            return old;
        }
        self.orphans.push(old);
        self.empty_part(db)
    }

    fn empty_part(&self, db: usize) -> Part {
        Part::new(self.parts[db].dict.seed().clone())
    }

    /// Exchanges two databases' parts.
    pub fn swap(&mut self, a: usize, b: usize, now_ms: i64) {
        for (watched, holds) in [(a, a), (a, b), (b, a), (b, b)] {
            self.touch_all(watched, holds, now_ms);
        }
        self.parts.swap(a, b);
    }

    /// Tells those who watch keys of database `watched` that are in database `holds` now, and whose
    /// time is not over.
    fn touch_all(&self, watched: usize, holds: usize, now_ms: i64) {
        let dict = &self.parts[holds].dict;
        let seed = dict.seed();
        self.waiting.touch_all(watched, |key| {
            dict.get(seed.hash(key), key).is_some_and(|entry| !entry.is_expired(now_ms))
        });
    }

    /// Notes an access of a key of a database, if `touch` says when and how.
    pub(super) fn touch(&mut self, db: usize, spot: Spot, touch: Option<(i64, Aging)>) {
        if let Some((now_ms, aging)) = touch {
            let random = || self.rng.next_u64();
            self.parts[db].dict.set_access(spot, |access| access.touched(now_ms, aging, random));
        }
    }

    /// The earliest deadline of all databases.
    pub fn next_deadline(&self) -> Option<i64> {
        self.parts.iter().filter_map(Part::next_deadline).min()
    }
}

impl Part {
    fn new(seed: Seed) -> Self {
        Part {
            dict: Dict::new(seed),
            deadlines: Deadlines::default(),
            inner_deadlines: Deadlines::default(),
            deadline_sum: 0,
            snapshot: None,
        }
    }

    /// Number of keys with a deadline.
    pub fn volatile(&self) -> usize {
        self.deadlines.len()
    }

    /// Number of keys with deadlines inside of their values.
    pub fn inner_volatile(&self) -> usize {
        self.inner_deadlines.len()
    }

    /// The earliest deadline, of a key or inside of a value.
    pub fn next_deadline(&self) -> Option<i64> {
        let firsts = [self.deadlines.first(), self.inner_deadlines.first()];
        firsts.into_iter().flatten().map(|(at, _)| at).min()
    }

    /// Sum of the deadlines, for INFO's average time to live.
    pub fn deadline_sum(&self) -> i128 {
        self.deadline_sum
    }

    /// Bytes of the table without its entries, and of the index of deadlines; the latter is an
    /// estimate.
    pub fn overhead(&self) -> (usize, usize) {
        let table = self.dict.memory_overhead();
        (table, self.deadlines.heap_size() + self.inner_deadlines.heap_size())
    }

    /// Notes that the deadline of a key is another one now.
    fn move_deadline(&mut self, hash: u64, old: Option<i64>, new: Option<i64>) {
        if old != new {
            self.forget_deadline(old, hash);
            self.note_deadline(new, hash);
        }
    }

    fn note_deadline(&mut self, at: Option<i64>, hash: u64) {
        if let Some(at) = at
            && self.deadlines.insert((at, hash))
        {
            self.deadline_sum += i128::from(at);
        }
    }

    fn forget_deadline(&mut self, at: Option<i64>, hash: u64) {
        if let Some(at) = at
            && self.deadlines.remove((at, hash))
        {
            self.deadline_sum -= i128::from(at);
        }
    }

    /// Notes that the earliest deadline inside of a value is another one now.
    pub(super) fn note_inner(&mut self, hash: u64, old: Option<i64>, new: Option<i64>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.inner_deadlines.remove((old, hash));
        }
        if let Some(new) = new {
            self.inner_deadlines.insert((new, hash));
        }
    }

    /// Hands the bucket that is about to change to a running snapshot.
    pub(super) fn before_change(&mut self, hash: u64) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.capture(&self.dict, self.dict.bucket_of(hash));
        }
    }

    /// Puts a key in, replacing one of the same name, which is returned.
    pub(super) fn insert(&mut self, hash: u64, new: New) -> Option<Old> {
        self.before_change(hash);
        let (at, inner) = (new.expire_at, new.next_deadline());
        let old = self.dict.insert(hash, new);
        self.move_deadline(hash, old.as_ref().and_then(|old| old.expire_at), at);
        self.note_inner(hash, old.as_ref().and_then(Old::next_deadline), inner);
        old
    }

    /// Changes what is known of a key's accesses, and its value, which may go to another spot by
    /// that.
    pub(super) fn edit<R>(
        &mut self,
        hash: u64,
        spot: Spot,
        touch: impl FnOnce(Access) -> Access,
        change: impl FnOnce(&mut Value) -> R,
    ) -> Edited<R> {
        self.before_change(hash);
        let edited = self.dict.edit(hash, spot, touch, |value| {
            let before = value.next_deadline();
            let result = change(value);
            let deadlines = [before, value.next_deadline()];
            Edited { result, void: value.is_void(), deadlines }
        });
        let [before, after] = edited.deadlines;
        self.note_inner(hash, before, after);
        edited
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, hash: u64, spot: Spot) -> Old {
        self.before_change(hash);
        let old = self.dict.remove(spot);
        self.move_deadline(hash, old.expire_at, None);
        self.note_inner(hash, old.next_deadline(), None);
        old
    }

    /// Sets or removes the deadline of a key.
    pub(super) fn set_expire(&mut self, hash: u64, spot: Spot, at: Option<i64>) {
        self.before_change(hash);
        let old = self.dict.expire_at(spot);
        self.dict.set_expire_at(spot, at);
        self.move_deadline(hash, old, at);
    }

    /// The key with the earliest deadline.
    pub fn first_volatile(&self) -> Option<View<'_>> {
        self.find_volatile(self.deadlines.first()?)
    }

    /// A random key with a deadline: the first one from a random moment on.
    pub fn random_volatile(&self, random: &mut impl FnMut() -> u64) -> Option<View<'_>> {
        let (first, last) = (self.deadlines.first()?, self.deadlines.last()?);
        let span = last.0.abs_diff(first.0).saturating_add(1);
        let moment = first.0.saturating_add_unsigned(random() % span);
        let found = self.deadlines.from((moment, random()));
        self.find_volatile(found.unwrap_or(first))
    }

    fn find_volatile(&self, (at, hash): (i64, u64)) -> Option<View<'_>> {
        self.dict.find_by_hash(hash, |view| view.expire_at() == Some(at))
    }

    /// A key whose value has something inside whose deadline has passed, if there is one.
    pub fn first_with_expired(&mut self, now_ms: i64) -> Option<Vec<u8>> {
        loop {
            let (at, hash) = self.inner_deadlines.first()?;
            if now_ms <= at {
                return None;
            }
            let is_due = |view: &View| view.next_deadline() == Some(at);
            match self.dict.find_by_hash(hash, is_due) {
                Some(entry) => return Some(entry.key().to_vec()),
                None => self.note_inner(hash, Some(at), None),
            };
        }
    }

    /// A key whose deadline has passed, if there is one.
    pub fn first_expired(&mut self, now_ms: i64) -> Option<Vec<u8>> {
        loop {
            let (at, hash) = self.deadlines.first()?;
            if now_ms <= at {
                return None;
            }
            match self.find_volatile((at, hash)) {
                Some(entry) => return Some(entry.key().to_vec()),
                None => self.forget_deadline(Some(at), hash),
            };
        }
    }
}
