//! Active expiry: removes keys at their deadline, whether anybody asks for them or not.
//!
//! Each shard keeps its deadlines in order and announces the earliest, so that a look costs one
//! atomic read per shard, however many keys have a deadline.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::base::clock;
use crate::engine::Engine;
use crate::engine::blocking;
use crate::engine::dispatch;
use crate::engine::pubsub;
use crate::store::keyspace::{self, SHARDS};
use crate::store::{Changes, Db, Expiry, Plan, View};

/// Keys removed per hold of a shard: some tens of microseconds.
const BATCH: usize = 100;

/// Removes all keys whose deadline has passed; how many.
pub fn sweep(engine: &Engine) -> usize {
    let mut removed = 0;
    let now_ms = clock::unix_ms();
    let is_due = |shard: &usize| engine.server.keyspace.noted_deadline(*shard) < now_ms;
    let mut due: Vec<usize> = (0..SHARDS).filter(is_due).collect();
    // By turns, so that nobody waits for a shard until all of its keys are removed.
    while !due.is_empty() {
        for &shard in &due {
            let began = Instant::now();
            removed += sweep_shard(engine, shard, now_ms);
            let nanos = began.elapsed().as_nanos() as u64;
            engine.server.stats.expire_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
        due.retain(is_due);
        if !due.is_empty() {
            keyspace::breathe();
        }
    }
    removed
}

/// Removes one batch of a shard's due keys and publishes their removal.
fn sweep_shard(engine: &Engine, shard: usize, now_ms: i64) -> usize {
    let keyspace = &engine.server.keyspace;
    let settings = engine.server.config.get();
    let mut held = keyspace.hold(&Plan::One(shard));
    let wanted = pubsub::wanted(&engine.server, &settings);
    let mut changes = Changes::default();
    let mut removed = 0;
    for db in 0..keyspace.databases() {
        let mut view = Db::new(&mut held, db, now_ms, Expiry::Delete, &mut changes);
        view.set_wanted(wanted);
        removed += view.expire_due(shard, BATCH - removed);
        if removed == BATCH {
            break;
        }
    }
    keyspace.renew_deadline(shard, held.shard(shard));
    dispatch::append_expired(engine, &settings, &changes.expired);
    dispatch::append_expired_fields(engine, &changes.expired_fields);
    pubsub::enqueue_events(&engine.server, &mut changes, wanted);
    drop(held);
    blocking::finish_changes(engine, &settings, changes);
    removed
}

/// Removes the expired ones of the keys that a writable replica's own clients have written. Keys of
/// the primary wait for its word, and nothing goes to the log.
pub fn sweep_own(engine: &Engine) {
    let (keyspace, replication) = (&engine.server.keyspace, &engine.server.replication);
    let settings = engine.server.config.get();
    let wanted = pubsub::wanted(&engine.server, &settings);
    let now_ms = clock::unix_ms();
    let mut later = Vec::new();
    for (db, key) in replication.take_own_volatile() {
        let mut held = keyspace.hold(&Plan::One(keyspace.shard_of(&key)));
        let mut changes = Changes::default();
        let mut view = Db::new(&mut held, db, now_ms, Expiry::Delete, &mut changes);
        view.set_wanted(wanted);
        let volatile = |key: View| key.expire_at().or(key.next_deadline()).is_some();
        view.expire_some(&key);
        if view.peek(&key).is_some_and(volatile) {
            later.push((db, key));
        }
        pubsub::enqueue_events(&engine.server, &mut changes, wanted);
        drop(held);
        blocking::finish_changes(engine, &settings, changes);
    }
    if !later.is_empty() {
        replication.note_own_volatile(later);
    }
}
