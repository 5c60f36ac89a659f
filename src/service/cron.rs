//! What happens by itself: expiry, time-outs, save points, rates.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock;
use crate::engine::{Engine, evict, expire};
use crate::service::feeder;
use crate::service::thrift::Thrift;
use crate::state::clients::{Kind, flag};
use crate::state::config::Settings;
use crate::state::memory;
use crate::state::replication::{ReplicaState, Wants};
use crate::state::{CRON_HZ, Job, Server, persistence};

/// How often expired keys are looked for: well below the 50 ms within which a key has to be gone.
const EXPIRY_TICK: Duration = Duration::from_millis(10);

/// How often the rest is looked at.
const TICK: Duration = Duration::from_millis(1000 / CRON_HZ);

/// Seconds between a failed background save and the next try.
const SAVE_RETRY_SECONDS: i64 = 5;

/// Removes keys at their deadline until the server ends.
pub fn run_expiry(engine: &Arc<Engine>) {
    let server = &engine.server;
    while !server.wait_for_end(EXPIRY_TICK) {
        let asleep = !server.active_expire.load(Ordering::Relaxed)
            || server.persistence.loading.load(Ordering::Relaxed)
            || server.pause.stops(true);
        match (asleep, server.replication.is_replica()) {
            (true, _) => {}
            (false, true) => expire::sweep_own(engine),
            (false, false) => {
                if expire::sweep(engine) > 0 {
                    // A failure is tried again with everything else.
                    let _ = server.aof.flush(server);
                }
            }
        }
    }
}

/// Everything else, until the server ends.
pub fn run(engine: &Arc<Engine>) {
    let server = &engine.server;
    let (mut tick, mut thrift) = (0u64, Thrift::default());
    while !server.wait_for_end(TICK) {
        if server.cron_paused.load(Ordering::Relaxed) {
            continue;
        }
        server.pause.sit_out_standstill();
        let settings = server.config.get();
        sample_rates(server);
        cut_lost_replicas(server);
        follow_again(server);
        server.keyspace.spares.clear_unused();
        if tick.is_multiple_of(10) {
            close_idle(server, &settings);
            keep_replicas(server, &settings);
            server.targets.close_idle();
            thrift.look(server);
        }
        save_if_due(server, &settings);
        rewrite_if_due(server);
        evict::make_room(engine, &settings);
        memory::evict_clients(server, &settings);
        server.used_memory();
        tick += 1;
    }
}

fn sample_rates(server: &Server) {
    let stats = &server.stats;
    stats.rates.lock().sample(clock::unix_ms(), stats.totals());
}

/// Closes clients that have been silent for longer than `timeout`.
fn close_idle(server: &Server, settings: &Settings) {
    if settings.timeout == 0 {
        return;
    }
    let limit_ms = i64::try_from(settings.timeout).unwrap_or(i64::MAX).saturating_mul(1000);
    let now_ms = clock::unix_ms();
    server.clients.kill_all(|client| {
        client.kind() == Kind::Normal
            && !client.has(flag::BLOCKED | flag::MONITOR | flag::PAUSED)
            && now_ms - client.active_ms.load(Ordering::Relaxed) > limit_ms
    });
}

/// Starts a background save when BGSAVE has put one off, or one of the save points says so.
fn save_if_due(server: &Arc<Server>, settings: &Settings) {
    if server.persistence.loading.load(Ordering::Relaxed) {
        return;
    }
    let dirty = server.persistence.dirty.load(Ordering::Relaxed);
    let state = server.persistence.state.lock().clone();
    let now_ms = clock::unix_ms();
    let waited = state.last_ok || now_ms - state.last_try_ms > SAVE_RETRY_SECONDS * 1000;
    if state.running || !waited || server.aof.is_rewriting() {
        return;
    }
    if state.scheduled {
        persistence::start_background_save(server);
        return;
    }
    let elapsed = u64::try_from(now_ms / 1000 - state.last_save).unwrap_or(0);
    let due = settings.save.iter().find(|p| dirty >= p.changes && elapsed > p.seconds);
    if let Some(point) = due {
        let message = format!("{} changes in {} seconds. Saving...", point.changes, point.seconds);
        server.logger.notice(&message);
        persistence::start_background_save(server);
    }
}

/// Starts a rewrite of the append-only file when one has been put off, or it has grown enough.
fn rewrite_if_due(server: &Server) {
    if !server.persistence.loading.load(Ordering::Relaxed) {
        server.aof.rewrite_if_due(server);
    }
}

/// Cuts the replicas that fell too far behind; their own threads may be stuck in a write.
fn cut_lost_replicas(server: &Server) {
    for replica in server.replication.replicas() {
        let reader = replica.reader.load(Ordering::SeqCst);
        if reader != 0 && !server.log.has_reader(reader) && !replica.client.outbox.is_gone() {
            feeder::let_go(server, &replica);
        }
    }
}

/// Tries again to follow the primary, when no thread could be had for it.
fn follow_again(server: &Server) {
    let replication = &server.replication;
    if replication.unfollowed.swap(false, Ordering::SeqCst) && replication.is_replica() {
        server.start_job(Job::FollowPrimary(replication.generation.load(Ordering::SeqCst)));
    }
}

/// Pings the replicas, lets silent ones go, and gives the backlog up when nobody has been there for
/// long.
fn keep_replicas(server: &Server, settings: &Settings) {
    let replication = &server.replication;
    let now_ms = clock::unix_ms();
    let past = |since: i64, seconds: u64| {
        now_ms - since >= i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)
    };
    for replica in replication.replicas() {
        let silent = past(replica.acked_ms.load(Ordering::Relaxed), settings.repl_timeout);
        let confirms = replica.wants == Wants::Psync && replica.state() == ReplicaState::Online;
        let writing_since = replica.writing_since_ms.load(Ordering::Relaxed);
        let kind = if writing_since != 0 && past(writing_since, settings.repl_timeout) {
            "full sync"
        } else if silent && confirms {
            "streaming sync"
        } else {
            continue;
        };
        let name = format!("{}:{}", replica.ip, replica.port);
        server.logger.warning(&format!("Disconnecting timedout replica ({kind}): {name}"));
        replica.client.kill();
    }
    if replication.is_replica() {
        return;
    }
    let last_ping = replication.last_ping_ms.load(Ordering::Relaxed);
    if replication.has_online() && past(last_ping, settings.repl_ping_replica_period) {
        replication.last_ping_ms.store(now_ms, Ordering::Relaxed);
        server.log.append_control(&[b"PING"]);
    }
    let alone_since = replication.no_replicas_since_ms.load(Ordering::Relaxed);
    let ttl = settings.repl_backlog_ttl;
    if alone_since > 0 && ttl > 0 && server.log.is_streaming() && past(alone_since, ttl) {
        server.log.deactivate();
        server.logger.notice("Replication backlog freed after no replica was connected for long.");
    }
}
