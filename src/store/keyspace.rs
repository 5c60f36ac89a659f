//! All keys: an array of shards, each behind its own mutex, and the plans by which commands lock
//! them.
//!
//! Invariants: a key's shard is decided by the top bits of its hash alone, in every database;
//! guards are taken in ascending order of the shards' indexes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::base::hash::Seed;
use crate::base::lock::{Guard, Lock, rank};
use crate::store::shard::{Part, Parts, Shard};
use crate::store::snapshot::Gate;
use crate::store::spares::Spares;

/// Number of shards: enough that two of some hundred threads rarely meet, few enough to lock all in
/// microseconds.
pub const SHARDS: usize = 256;
const SHARD_SHIFT: u32 = 64 - SHARDS.trailing_zeros();

/// How many keys [`Keyspace::warm_up`] looks for at once. Twice as many are not faster.
pub const WARMED_UP: usize = 8;

/// How long a walk through a shard sleeps between two holds. Measured with 8 writers on two cores
/// beside a snapshot: their p99.9 is three to five times the idle one without it, and one and a
/// half times with it.
const BREATH: Duration = Duration::from_micros(5);

/// To be called between two holds of one shard: who waits for it comes first, which a lock that is
/// taken again at once does not see to.
pub fn breathe() {
    std::thread::sleep(BREATH);
}

/// How often several shards are tried to be taken together before they are taken in turn.
const TRIES: u32 = 20;

/// Some of the shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardSet([u64; SHARDS / 64]);

impl ShardSet {
    const ALL: ShardSet = ShardSet([u64::MAX; SHARDS / 64]);

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self == ShardSet::default()
    }

    /// Whether a shard is among them.
    pub fn has(self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    /// Those that one of the two has.
    pub fn union(self, other: ShardSet) -> ShardSet {
        ShardSet(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// Those that the other has not.
    pub fn without(self, other: ShardSet) -> ShardSet {
        ShardSet(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }
}

impl FromIterator<usize> for ShardSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> ShardSet {
        let mut set = ShardSet::default();
        indexes.into_iter().for_each(|index| set.0[index / 64] |= 1 << (index % 64));
        set
    }
}

/// Which shards a command needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// None: it names no keys, or takes shards one by one itself.
    None,
    /// One.
    One(usize),
    /// Several, ascending and each once.
    Many(Vec<usize>),
    /// All.
    All,
}

impl Plan {
    /// The plan for a set of shards, in any order and with repetitions.
    pub fn of(mut shards: Vec<usize>) -> Plan {
        shards.sort_unstable();
        shards.dedup();
        match shards.len() {
            0 => Plan::None,
            1 => Plan::One(shards[0]),
            SHARDS => Plan::All,
            _ => Plan::Many(shards),
        }
    }

    /// The plan that covers both.
    pub fn union(self, other: Plan) -> Plan {
        match (self, other) {
            (Plan::None, plan) | (plan, Plan::None) => plan,
            (Plan::All, _) | (_, Plan::All) => Plan::All,
            (a, b) => {
                let mut shards = a.into_shards();
                shards.extend(b.into_shards());
                Plan::of(shards)
            }
        }
    }

    /// The shards as a set.
    pub fn set(&self) -> ShardSet {
        match self {
            Plan::None => ShardSet::default(),
            Plan::One(index) => ShardSet::from_iter([*index]),
            Plan::Many(shards) => shards.iter().copied().collect(),
            Plan::All => ShardSet::ALL,
        }
    }

    /// The plan for a set of shards.
    pub fn of_set(set: ShardSet) -> Plan {
        Plan::of((0..SHARDS).filter(|&index| set.has(index)).collect())
    }

    fn into_shards(self) -> Vec<usize> {
        match self {
            Plan::None => Vec::new(),
            Plan::One(index) => vec![index],
            Plan::Many(shards) => shards,
            Plan::All => (0..SHARDS).collect(),
        }
    }
}

/// A key and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Hashed<'a> {
    pub(super) key: &'a [u8],
    pub(super) hash: u64,
}

impl Hashed<'_> {
    /// The shard that the key is in.
    pub fn shard(&self) -> usize {
        Keyspace::shard_of_hash(self.hash)
    }
}

/// A shard with cache lines of its own, because its neighbours are other threads' work.
#[repr(align(64))]
struct Slot(Lock<Shard>);

/// All keys of one server.
pub struct Keyspace {
    seed: Seed,
    databases: usize,
    shards: Box<[Slot]>,
    /// A lower bound of each shard's earliest deadline (`i64::MAX`: none), readable without its
    /// lock.
    deadlines: Box<[AtomicI64]>,
    pub(super) snapshot_gate: Gate,
    /// Buffers of long strings that were overwritten.
    pub spares: Spares,
}

impl Keyspace {
    /// An empty keyspace of that many databases.
    pub fn new(databases: usize) -> Self {
        Keyspace::seeded(databases, Seed::random())
    }

    /// An empty keyspace whose contents can take the place of this one's.
    pub fn empty_twin(&self) -> Self {
        Keyspace::seeded(self.databases, self.seed.clone())
    }

    fn seeded(databases: usize, seed: Seed) -> Self {
        let slot = |i| Slot(Lock::new(rank::SHARD + i as u32, Shard::new(databases, &seed)));
        let shards = (0..SHARDS).map(slot).collect();
        let deadlines = (0..SHARDS).map(|_| AtomicI64::new(i64::MAX)).collect();
        Keyspace {
            seed,
            databases,
            shards,
            deadlines,
            snapshot_gate: Gate::new(),
            spares: Spares::new(),
        }
    }

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// Whether no database has a key.
    pub fn is_empty(&self) -> bool {
        let has_none = |shard: &Shard| shard.parts.iter().all(|part| part.dict.is_empty());
        self.shards.iter().all(|slot| has_none(&slot.0.lock()))
    }

    /// The keyed hash of a key.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash(key)
    }

    /// A key with its hash.
    pub fn hashed<'a>(&self, key: &'a [u8]) -> Hashed<'a> {
        Hashed { key, hash: self.hash(key) }
    }

    /// The shard of a hash.
    pub fn shard_of_hash(hash: u64) -> usize {
        (hash >> SHARD_SHIFT) as usize
    }

    /// The shard of a key.
    pub fn shard_of(&self, key: &[u8]) -> usize {
        Keyspace::shard_of_hash(self.hash(key))
    }

    /// Makes room for so many keys in a database that is empty.
    pub fn reserve(&self, db: usize, keys: usize) {
        for slot in &self.shards {
            slot.0.lock().parts[db].dict.reserve(keys.div_ceil(SHARDS));
        }
    }

    /// Reads where keys with these hashes are to be found in a database, at most [`WARMED_UP`], so
    /// that the commands behind it have that at hand. Each command waits for memory, and its lock
    /// keeps the processor from going ahead; here all are waited for at the same time, while their
    /// shards are held. Those that somebody else holds are left out.
    pub fn warm_up(&self, db: usize, hashes: &[u64]) {
        let mut guards = [const { None }; WARMED_UP];
        for (guard, &hash) in guards.iter_mut().zip(hashes) {
            *guard = self.shards[Keyspace::shard_of_hash(hash)].0.try_now();
        }
        let held =
            guards.iter().zip(hashes).filter_map(|(guard, &hash)| Some((guard.as_ref()?, hash)));
        let read = held.map(|(shard, hash)| shard.parts[db].dict.warm_up(hash));
        std::hint::black_box(read.sum::<usize>());
    }

    /// Holds one shard.
    #[inline]
    pub fn lock_shard(&self, index: usize) -> Guard<'_, Shard> {
        self.shards[index].0.lock()
    }

    /// Holds all shards.
    pub fn lock_all(&self) -> Vec<Guard<'_, Shard>> {
        self.shards.iter().map(|slot| slot.0.lock()).collect()
    }

    /// Holds the shards of a plan.
    #[inline]
    pub fn hold(&self, plan: &Plan) -> Held<'_> {
        Held { keyspace: self, guards: self.lock(plan), trash: Vec::new(), kept: false }
    }

    #[inline]
    fn lock(&self, plan: &Plan) -> Guards<'_> {
        match plan {
            Plan::None => Guards::Many(Vec::new()),
            Plan::One(index) => Guards::One(*index, self.lock_shard(*index)),
            Plan::Many(shards) => Guards::Many(self.lock_several(shards)),
            Plan::All => Guards::All(self.lock_all()),
        }
    }

    /// Holds several shards, given in ascending order. Who sleeps for one of them holds none of the
    /// others meanwhile: for a thread that is interrupted while it holds ten shards, many others
    /// would soon be waiting that hold ten more each.
    fn lock_several(&self, shards: &[usize]) -> Vec<(usize, Guard<'_, Shard>)> {
        let mut missing = None;
        for _ in 0..TRIES {
            let mut first = missing.take().map(|index: usize| (index, self.lock_shard(index)));
            let mut guards = Vec::with_capacity(shards.len());
            for &index in shards {
                let waited_for = first.take_if(|(held, _)| *held == index);
                let guard = waited_for.map(|(_, guard)| guard);
                match guard.or_else(|| self.shards[index].0.try_lock()) {
                    Some(guard) => guards.push((index, guard)),
                    None => {
                        missing = Some(index);
                        break;
                    }
                }
            }
            if missing.is_none() {
                return guards;
            }
        }
        shards.iter().map(|&index| (index, self.lock_shard(index))).collect()
    }

    /// All keys, taken out of a keyspace that nobody else sees.
    pub fn into_contents(self) -> Contents {
        Contents(self.shards.into_iter().map(|slot| slot.0.into_inner().parts).collect())
    }

    /// Visits the shards one by one, each held only while it is visited.
    pub fn each_shard(&self, mut visit: impl FnMut(&mut Shard)) {
        for slot in &self.shards {
            visit(&mut slot.0.lock());
        }
    }

    /// Notes that a shard has a deadline at `at`.
    pub(super) fn note_deadline(&self, shard: usize, at: i64) {
        self.deadlines[shard].fetch_min(at, Ordering::Relaxed);
    }

    /// Corrects the noted deadline of a shard that is held.
    pub fn renew_deadline(&self, index: usize, shard: &Shard) {
        let next = shard.next_deadline().unwrap_or(i64::MAX);
        self.deadlines[index].store(next, Ordering::Relaxed);
    }

    /// No key of this shard has an earlier deadline than this.
    pub fn noted_deadline(&self, shard: usize) -> i64 {
        self.deadlines[shard].load(Ordering::Relaxed)
    }
}

/// All keys of a keyspace, by shard and database.
pub struct Contents(Vec<Parts>);

enum Guards<'k> {
    One(usize, Guard<'k, Shard>),
    Many(Vec<(usize, Guard<'k, Shard>)>),
    All(Vec<Guard<'k, Shard>>),
}

/// The shard of that index among several.
#[inline(never)]
fn among<'g>(guards: &'g mut [(usize, Guard<Shard>)], index: usize) -> Option<&'g mut Shard> {
    let at = guards.binary_search_by_key(&index, |(i, _)| *i).ok()?;
    Some(&mut guards[at].1)
}

/// The shards that a command holds.
///
/// Fields drop in this order: the guards first, then what was removed, so that freeing happens
/// outside.
pub struct Held<'k> {
    guards: Guards<'k>,
    trash: Vec<Box<dyn Send>>,
    keyspace: &'k Keyspace,
    /// Somebody else relies on them.
    kept: bool,
}

impl Held<'_> {
    /// The keyspace that the shards belong to.
    pub fn keyspace(&self) -> &Keyspace {
        self.keyspace
    }

    /// One of the held shards. Asking for another one is a bug in a command's key specification,
    /// and fatal.
    #[inline]
    pub fn shard(&mut self, index: usize) -> &mut Shard {
        let found: Option<&mut Shard> = match &mut self.guards {
            Guards::One(held, guard) => (*held == index).then_some(&mut **guard),
            Guards::Many(guards) => among(guards, index),
            Guards::All(guards) => guards.get_mut(index).map(|guard| &mut **guard),
        };
        found.expect("a command touches only the keys that its definition names")
    }

    /// From here on the shards stay held, whoever would let them go.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Lets the shards go, unless they are to be kept; whether it did.
    pub fn let_go(&mut self) -> bool {
        if !self.kept {
            self.guards = Guards::Many(Vec::new());
        }
        !self.kept
    }

    /// Holds shards again that were let go.
    pub fn take_back(&mut self, shards: ShardSet) {
        self.guards = self.keyspace.lock(&Plan::of_set(shards));
    }

    /// Keeps something until the guards are gone.
    pub fn discard(&mut self, removed: impl Send + 'static) {
        self.trash.push(Box::new(removed));
    }

    /// What was removed so far, to be freed somewhere else.
    pub fn take_trash(&mut self) -> Vec<Box<dyn Send>> {
        std::mem::take(&mut self.trash)
    }

    /// The held shards.
    pub fn set(&self) -> ShardSet {
        match &self.guards {
            Guards::One(index, _) => ShardSet::from_iter([*index]),
            Guards::Many(guards) => guards.iter().map(|(index, _)| *index).collect(),
            Guards::All(_) => ShardSet::ALL,
        }
    }

    /// Whether anybody waits for a key of the held shards, as far as others may be needed for that.
    pub fn somebody_waits(&self) -> bool {
        match &self.guards {
            Guards::One(_, guard) => guard.waiting.is_awaiting(),
            Guards::Many(guards) => guards.iter().any(|(_, guard)| guard.waiting.is_awaiting()),
            Guards::All(_) => false,
        }
    }

    /// The shards that may be needed to serve those who wait for keys of the held ones.
    pub fn shards_of_waiting(&self) -> ShardSet {
        match &self.guards {
            Guards::One(_, guard) => guard.waiting.shards(),
            Guards::Many(guards) => guards
                .iter()
                .fold(ShardSet::default(), |all, (_, guard)| all.union(guard.waiting.shards())),
            // Nothing can be missing.
            Guards::All(_) => ShardSet::default(),
        }
    }

    /// Empties a database. All shards must be held.
    pub fn flush(&mut self, db: usize, now_ms: i64) {
        for index in 0..SHARDS {
            let part: Part = self.shard(index).flush(db, now_ms);
            if !part.dict.is_empty() {
                self.discard(part);
            }
        }
    }

    /// Puts what a twin of this keyspace holds in the place of everything. All shards must be held.
    pub fn replace_all(&mut self, contents: Contents, now_ms: i64) {
        for (index, parts) in contents.0.into_iter().enumerate() {
            for (db, part) in parts.into_iter().enumerate() {
                if let Some(at) = part.next_deadline() {
                    self.keyspace.note_deadline(index, at);
                }
                let old = self.shard(index).replace(db, part, now_ms);
                if !old.dict.is_empty() {
                    self.discard(old);
                }
            }
        }
    }

    /// Exchanges two databases. All shards must be held.
    pub fn swap_databases(&mut self, a: usize, b: usize, now_ms: i64) {
        for index in 0..SHARDS {
            self.shard(index).swap(a, b, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans() {
        assert_eq!(Plan::of(vec![]), Plan::None);
        assert_eq!(Plan::of(vec![3, 3]), Plan::One(3));
        assert_eq!(Plan::of(vec![5, 3, 5]), Plan::Many(vec![3, 5]));
        assert_eq!(Plan::of((0..SHARDS).collect()), Plan::All);
        assert_eq!(Plan::One(1).union(Plan::Many(vec![0, 1])), Plan::Many(vec![0, 1]));
        assert_eq!(Plan::None.union(Plan::One(1)), Plan::One(1));
    }

    #[test]
    fn sets() {
        let few: ShardSet = [3, 200].into_iter().collect();
        let all: ShardSet = (0..SHARDS).collect();
        assert!(few.has(3) && few.has(200) && !few.has(8) && !few.has(72));
        assert_eq!((Plan::of_set(few), Plan::of_set(all)), (Plan::Many(vec![3, 200]), Plan::All));
        assert_eq!((Plan::All.set(), Plan::None.set()), (all, ShardSet::default()));
        assert_eq!((few.union(all), few.without(Plan::One(3).set())), (all, Plan::One(200).set()));
        assert!(few.without(all).is_empty() && !few.is_empty());
    }

    #[test]
    fn several_shards_are_taken_whoever_holds_them() {
        let keyspace = Keyspace::new(1);
        // Each counts in its shards' statistics, which the guards protect.
        let count = |seed: usize| {
            for turn in 0..2_000 {
                let shards = (0..10).map(|i| (seed + turn * 7 + i * 5) % 40).collect();
                let mut held = keyspace.hold(&Plan::of(shards));
                for index in 0..SHARDS {
                    if held.set().has(index) {
                        held.shard(index).stats.hits += 1;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for seed in 0..8 {
                scope.spawn(move || count(seed));
            }
        });
        let mut hits = 0;
        keyspace.each_shard(|shard| hits += shard.stats.hits);
        assert_eq!(hits, 8 * 2_000 * 8);
    }

    #[test]
    fn warming_up_waits_for_nobody_and_lets_go() {
        let keyspace = Keyspace::new(2);
        let hash = |shard: u64| shard << SHARD_SHIFT;
        let held = keyspace.lock_shard(3);
        // One shard that is held, one twice, and more than are looked for at once.
        let hashes: Vec<u64> = [3, 7, 7].into_iter().chain(20..40).map(hash).collect();
        keyspace.warm_up(1, &hashes);
        drop(held);
        assert_eq!(keyspace.lock_all().len(), SHARDS);
    }

    #[test]
    fn top_bits_choose_the_shard() {
        assert_eq!(Keyspace::shard_of_hash(0), 0);
        assert_eq!(Keyspace::shard_of_hash(u64::MAX), SHARDS - 1);
        assert_eq!(Keyspace::shard_of_hash(1 << SHARD_SHIFT), 1);
    }
}
