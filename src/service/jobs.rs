//! Runs the jobs that the layers below ask for, each in a thread of its own.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::engine::Engine;
use crate::service::{Threads, aof, failover, feeder, full_sync, primary};
use crate::state::Job;
use crate::state::persistence::{self, Until};

/// Makes this the runner of the server's jobs.
pub fn install(engine: &Arc<Engine>, threads: &Arc<Threads>) {
    // Weak, because the server holds the runner and would otherwise hold itself.
    let weak: Weak<Engine> = Arc::downgrade(engine);
    let threads = Arc::clone(threads);
    let runner = move |job: Job| {
        let Some(engine) = weak.upgrade() else { return };
        // Shared with the thread, so that it is still here when there is none.
        let slot = Arc::new(Mutex::new(Some(job)));
        let (runs, mine) = (Arc::clone(&engine), Arc::clone(&slot));
        let started = threads.spawn("job", move || {
            if let Some(job) = take(&mine) {
                run(&runs, job);
            }
        });
        if let Err(e) = started {
            engine.server.logger.warning(&format!("Cannot start a thread: {e}"));
            if let Some(job) = take(&slot) {
                give_up(&engine, job, e);
            }
        }
    };
    engine.server.set_job_runner(Box::new(runner));
}

fn run(engine: &Arc<Engine>, job: Job) {
    match job {
        Job::BackgroundSave => background_save(engine),
        Job::RewriteAof => aof::rewrite(engine),
        Job::Free(garbage) => drop(garbage),
        Job::FullSync => full_sync::run(engine),
        Job::SendSnapshot(replica, spool, reader) => {
            feeder::send_snapshot(engine, &replica, &spool, reader);
        }
        Job::Feed(replica, reader) => feeder::stream(engine, &replica, reader),
        Job::FollowPrimary(generation) => primary::run(engine, generation),
        Job::Failover(plan) => failover::run(engine, &plan),
    }
}

fn take(slot: &Mutex<Option<Job>>) -> Option<Job> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Leaves nothing waiting for a job that no thread could be had for. The caller may hold shards.
fn give_up(engine: &Arc<Engine>, job: Job, error: io::Error) {
    let server = &engine.server;
    match job {
        Job::BackgroundSave => {
            server.persistence.end_background(&Err(error));
        }
        Job::RewriteAof => server.aof.end_rewrite(server, &Err(error)),
        Job::Free(garbage) => drop(garbage),
        Job::FullSync => full_sync::refuse_waiting(server),
        Job::SendSnapshot(replica, _, reader) | Job::Feed(replica, reader) => {
            server.log.detach(reader);
            replica.client.kill();
        }
        Job::FollowPrimary(_) => server.replication.unfollowed.store(true, Ordering::SeqCst),
        Job::Failover(_) => failover::give_up(engine, "no thread can be started"),
    }
}

fn background_save(engine: &Arc<Engine>) {
    let server = &engine.server;
    let pid = std::process::id();
    server.logger.notice(&format!("Background saving started by pid {pid}"));
    server.stats.forks.fetch_add(1, Ordering::Relaxed);
    let result = persistence::save(server, Until::Aborted);
    match &result {
        Ok(()) => server.logger.notice("Background saving terminated with success"),
        Err(_) => server.logger.warning("Background saving error"),
    }
    if server.persistence.end_background(&result) {
        persistence::start_background_save(server);
    }
}
