//! Eviction: with `maxmemory` reached, keys go until there is room again, as the policy says.
//!
//! As in Redis the best of a few random keys is removed, and the best ones of earlier draws are
//! remembered in a small pool, which comes close to removing the best of all. The shortest time to
//! live needs no luck: each shard knows its earliest deadline.
//!
//! Must not know single commands. Invariant: one shard is held at a time, and what is removed is
//! freed after it is let go.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::lock::{Lock, rank};
use crate::base::rng::Rng;
use crate::engine::Engine;
use crate::engine::blocking;
use crate::engine::dispatch;
use crate::engine::pubsub;
use crate::state::Server;
use crate::state::config::{Among, By, Policy, Settings};
use crate::state::memory;
use crate::store::keyspace::SHARDS;
use crate::store::shard::Shard;
use crate::store::{Changes, Db, EventClasses, Expiry, Plan, View};

/// How many good candidates are remembered, as in Redis.
const POOL_SIZE: usize = 16;

/// Whether there is room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Memory in use is below the limit.
    Enough,
    /// Some was freed and more will be, but this command has paid its share.
    Soon,
    /// Nothing can be removed.
    None,
}

/// A key that may be removed.
struct Candidate {
    /// The higher the sooner.
    score: u64,
    db: usize,
    key: Vec<u8>,
}

/// What eviction remembers between two calls.
pub struct Evictor(Lock<State>);

struct State {
    /// Worst first.
    pool: Vec<Candidate>,
    rng: Rng,
}

impl Default for Evictor {
    fn default() -> Self {
        // Below the shards: it is held while they are looked at.
        let state = State { pool: Vec::new(), rng: Rng::from_os() };
        Evictor(Lock::new(rank::TASK + 5, state))
    }
}

/// Removes keys until memory in use is below `maxmemory`, or the time is over that one command may
/// spend on it. No shard may be held.
pub fn make_room(engine: &Engine, settings: &Settings) -> Room {
    let server = &engine.server;
    let is_full = |server| settings.maxmemory != 0 && excess(server, settings) > 0;
    let has_room = !is_full(server) || {
        server.keyspace.spares.clear();
        !is_full(server)
    };
    if has_room {
        server.stats.note_excess(false);
        return Room::Enough;
    }
    if server.replication.is_replica() && settings.replica_ignore_maxmemory {
        return Room::Enough;
    }
    server.stats.note_excess(true);
    let Policy { by: Some(by), among } = settings.maxmemory_policy else { return Room::None };
    if server.pause.stops(true) || server.persistence.loading.load(Ordering::Relaxed) {
        return Room::Enough;
    }
    let began = Instant::now();
    let limit = time_limit(settings.maxmemory_eviction_tenacity);
    let mut state = engine.evictor.0.lock();
    while excess(server, settings) > 0 {
        let Some((db, key)) = choose(engine, settings, &mut state, by, among) else {
            return if excess(server, settings) > 0 { Room::None } else { Room::Enough };
        };
        remove(engine, settings, db, &key, among);
        if limit.is_some_and(|limit| began.elapsed() > limit) {
            return Room::Soon;
        }
    }
    server.stats.note_excess(false);
    Room::Enough
}

/// Bytes in use beyond `maxmemory`.
fn excess(server: &Server, settings: &Settings) -> u64 {
    let over = server.used_memory().saturating_sub(settings.maxmemory);
    if over == 0 {
        return 0;
    }
    over.saturating_sub(memory::not_counted(server, settings))
}

/// What one command may spend, by `maxmemory-eviction-tenacity`: half a millisecond by default, up
/// to minutes, and for ever.
fn time_limit(tenacity: u64) -> Option<Duration> {
    match tenacity {
        0..=10 => Some(Duration::from_micros(50 * tenacity)),
        11..=99 => {
            let micros = 500.0 * 1.15f64.powi(tenacity as i32 - 10);
            Some(Duration::from_micros(micros as u64))
        }
        _ => None,
    }
}

/// The key to remove next.
fn choose(
    engine: &Engine,
    settings: &Settings,
    state: &mut State,
    by: By,
    among: Among,
) -> Option<(usize, Vec<u8>)> {
    if by == By::Chance {
        let found = sample(engine, settings, &mut state.rng, by, among).into_iter().next()?;
        return Some((found.db, found.key));
    }
    for _ in 0..settings.maxmemory_samples {
        for candidate in sample(engine, settings, &mut state.rng, by, among) {
            state.keep(candidate);
        }
    }
    let best = state.pool.pop()?;
    Some((best.db, best.key))
}

impl State {
    /// Remembers a candidate if it is better than the worst.
    fn keep(&mut self, candidate: Candidate) {
        if self.pool.iter().any(|known| known.db == candidate.db && known.key == candidate.key) {
            return;
        }
        let place = self.pool.partition_point(|known| known.score < candidate.score);
        self.pool.insert(place, candidate);
        if self.pool.len() > POOL_SIZE {
            self.pool.remove(0);
        }
    }
}

/// One key of each database, all from one shard: the first one that has any, from a random one on.
fn sample(
    engine: &Engine,
    settings: &Settings,
    rng: &mut Rng,
    by: By,
    among: Among,
) -> Vec<Candidate> {
    let start = rng.next_u64() as usize % SHARDS;
    for index in (start..SHARDS).chain(0..start) {
        let shard = engine.server.keyspace.lock_shard(index);
        let found = sample_shard(&shard, settings, rng, by, among);
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn sample_shard(
    shard: &Shard,
    settings: &Settings,
    rng: &mut Rng,
    by: By,
    among: Among,
) -> Vec<Candidate> {
    let now_ms = clock::unix_ms();
    let mut found = Vec::new();
    // So that random choices do not always fall on the same database.
    let first = rng.next_u64() as usize % shard.parts.count();
    for db in (first..shard.parts.count()).chain(0..first) {
        let part = &shard.parts[db];
        let random = &mut || rng.next_u64();
        let entry = match (by, among) {
            (By::Deadline, _) => part.first_volatile(),
            (_, Among::Volatile) => part.random_volatile(random),
            (_, Among::All) => part.dict.random(random),
        };
        let Some(entry) = entry else { continue };
        let score = score(&entry, settings, by, now_ms);
        found.push(Candidate { score, db, key: entry.key().to_vec() });
    }
    found
}

fn score(entry: &View, settings: &Settings, by: By, now_ms: i64) -> u64 {
    match by {
        By::Access => entry.idle_seconds(now_ms),
        By::Frequency => u64::from(u8::MAX - entry.frequency(now_ms, memory::aging(settings))),
        By::Deadline => u64::MAX - entry.expire_at().unwrap_or(i64::MAX).max(0) as u64,
        By::Chance => 0,
    }
}

/// Removes a key if it still may be.
fn remove(engine: &Engine, settings: &Settings, db: usize, key: &[u8], among: Among) {
    let keyspace = &engine.server.keyspace;
    let mut held = keyspace.hold(&Plan::One(keyspace.shard_of(key)));
    let mut changes = Changes::default();
    let mut view = Db::new(&mut held, db, clock::unix_ms(), Expiry::Ignore, &mut changes);
    let wanted = pubsub::wanted(&engine.server, settings);
    view.set_wanted(wanted);
    let may_go =
        view.peek(key).is_some_and(|entry| among == Among::All || entry.expire_at().is_some());
    if may_go && view.remove(key) {
        view.event(EventClasses::EVICTED, "evicted", key);
        engine.server.stats.evicted.fetch_add(1, Ordering::Relaxed);
        dispatch::append_removal(engine, settings.lazyfree_lazy_eviction, db, key);
    }
    pubsub::enqueue_events(&engine.server, &mut changes, wanted);
    drop(held);
    blocking::finish_changes(engine, settings, changes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_keeps_the_best_once_each() {
        let mut state = State { pool: Vec::new(), rng: Rng::seeded(1) };
        for n in 0..100u64 {
            let score = n * 37 % 100;
            for _ in 0..2 {
                state.keep(Candidate { score, db: 0, key: score.to_string().into_bytes() });
            }
        }
        let scores: Vec<u64> = state.pool.iter().map(|candidate| candidate.score).collect();
        assert_eq!(scores, (84..100).collect::<Vec<_>>());
    }

    #[test]
    fn tenacity_is_time() {
        assert_eq!(time_limit(0), Some(Duration::ZERO));
        assert_eq!(time_limit(10), Some(Duration::from_micros(500)));
        assert!(time_limit(99).unwrap() > Duration::from_secs(60));
        assert_eq!(time_limit(100), None);
    }
}
