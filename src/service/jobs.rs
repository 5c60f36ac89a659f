//! Runs the jobs that the layers below ask for, each in a thread of its own.

use std::sync::{Arc, Weak};

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
        let logger_engine = Arc::clone(&engine);
        if let Err(e) = threads.spawn("job", move || run(&engine, job)) {
            logger_engine.server.logger.warning(&format!("Cannot start a thread: {e}"));
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
        Job::SendSnapshot(replica, file, reader) => {
            feeder::send_snapshot(engine, &replica, &file, reader);
        }
        Job::Feed(replica, reader) => feeder::stream(engine, &replica, reader),
        Job::FollowPrimary(generation) => primary::run(engine, generation),
        Job::Failover(plan) => failover::run(engine, &plan),
    }
}

fn background_save(engine: &Arc<Engine>) {
    let server = &engine.server;
    server.logger.notice("Background saving started");
    let result = persistence::save(server, Until::Aborted);
    match &result {
        Ok(()) => server.logger.notice("Background saving terminated with success"),
        Err(_) => server.logger.warning("Background saving error"),
    }
    if server.persistence.end_background(&result) {
        persistence::start_background_save(server);
    }
}
