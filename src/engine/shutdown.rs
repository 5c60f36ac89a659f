//! The orderly end of a server: SHUTDOWN and the signals.
//!
//! Must not know who asks. From the beginning writes are held back, so that nothing is acknowledged
//! which the final save has not got; replicas may catch up; the keyspace is saved where that is
//! wanted. Whatever goes wrong before the end lets the server go on as if nothing had been asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::engine::Engine;
use crate::resp::error::Error;
use crate::state::Server;
use crate::state::aof::Mode;
use crate::state::config::{ShutdownOn, os_text};
use crate::state::persistence::{self, Until};
use crate::state::replication::{Replica, ReplicaState};

/// How often a wait looks again.
const LOOK: Duration = Duration::from_millis(2);

/// How long a background save has to notice that it is no longer wanted.
const ABORT_PATIENCE: Duration = Duration::from_millis(200);

/// Saves in a row, at most: a write that was under way when writes were held back makes a second
/// one necessary.
const SAVES_MAX: usize = 3;

/// Ends the server, after waiting at most `patience` for replicas. While somebody else's shutdown
/// is under way, waits for its outcome instead.
///
/// # Errors
/// The end was called off, or the final save failed; the server goes on.
pub fn shutdown(engine: &Engine, options: ShutdownOn, patience: Duration) -> Result<(), Error> {
    let server = &engine.server;
    if !server.begin_ending() {
        return wait_for_the_other(server);
    }
    server.logger.notice("User requested shutdown...");
    server.pause.hold_writes();
    let ready = prepare(server, options, patience);
    if ready && server.is_ending() {
        server.end();
        return Ok(());
    }
    server.cancel_ending();
    server.pause.let_writes_go();
    Err(Error::SHUTDOWN_FAILED)
}

/// Calls a shutdown off; whether there was one.
pub fn abort(server: &Server) -> bool {
    let aborted = server.cancel_ending();
    if aborted {
        server.logger.notice("Shutdown manually aborted.");
    }
    aborted
}

fn wait_for_the_other(server: &Server) -> Result<(), Error> {
    loop {
        if server.wait_for_end(LOOK) {
            return Ok(());
        }
        if !server.is_ending() {
            return Err(Error::SHUTDOWN_FAILED);
        }
    }
}

/// Does what comes before the end; whether it may come.
fn prepare(server: &Arc<Server>, options: ShutdownOn, patience: Duration) -> bool {
    // Nothing goes on by itself meanwhile, not even this.
    while server.cron_paused.load(Ordering::Relaxed) && server.is_ending() {
        thread::sleep(LOOK);
    }
    let offset = server.log.offset();
    if !options.now && !patience.is_zero() && !wait_for_replicas(server, offset, patience) {
        return false;
    }
    report_replicas(server, offset);
    stop_background_save(server);
    let done = finish_append_only_file(server, options.force) && save_finally(server, options);
    if !done {
        let message = "Errors trying to shut down the server. Check the logs for more information.";
        server.logger.warning(message);
    }
    done
}

/// Saves the keyspace where that is wanted; whether the server may end.
fn save_finally(server: &Server, options: ShutdownOn) -> bool {
    let settings = server.config.get();
    // Half a data set must not replace a whole file.
    let loading = server.persistence.loading.load(Ordering::Relaxed);
    let wanted = options.save || (!settings.save.is_empty() && !options.nosave);
    if !wanted || loading {
        return true;
    }
    server.logger.notice("Saving the final RDB snapshot before exiting.");
    if save(server) {
        return true;
    }
    let consequence = if options.force { "Exit anyway." } else { "can't exit." };
    server.logger.warning(&format!("Error trying to save the DB, {consequence}"));
    options.force
}

/// Ends a rewrite, and forces the append-only file to the disk; whether the server may end.
fn finish_append_only_file(server: &Server, force: bool) -> bool {
    let aof = &server.aof;
    if aof.is_rewriting() {
        if aof.mode() == Mode::Waiting && !force {
            // What is there is not in any file yet.
            server.logger.warning("Writing initial AOF, can't exit.");
            return false;
        }
        server.logger.warning("There is a child rewriting the AOF. Killing it!");
        aof.abort(server);
    }
    if aof.mode() != Mode::Off {
        server.logger.notice("Calling fsync() on the AOF file.");
        if let Err(e) = aof.flush_and_sync(server) {
            let why = os_text(&e);
            server.logger.warning(&format!("Fail to fsync the AOF file: {why}."));
        }
    }
    true
}

/// Saves until nothing is unsaved; whether that worked.
fn save(server: &Server) -> bool {
    for _ in 0..SAVES_MAX {
        if persistence::save(server, Until::Done).is_err() {
            return false;
        }
        if server.persistence.dirty.load(Ordering::SeqCst) == 0 {
            break;
        }
    }
    true
}

/// Waits until no replica lags behind any more, or for as long as is allowed; `false` when the end
/// is called off meanwhile.
fn wait_for_replicas(server: &Server, offset: u64, patience: Duration) -> bool {
    if !server.replication.replicas().iter().any(|replica| lags(replica, offset)) {
        return true;
    }
    server.logger.notice("Waiting for replicas before shutting down.");
    if !server.replication.is_replica() {
        // They confirm by themselves only once a second.
        server.log.append_control(&[b"REPLCONF", b"GETACK", b"*"]);
    }
    let until_ms = clock::unix_ms().saturating_add(patience.as_millis() as i64);
    server.shutdown_deadline_ms.store(until_ms, Ordering::Relaxed);
    let goes_on = wait_while_lagging(server, offset, Instant::now() + patience);
    server.shutdown_deadline_ms.store(0, Ordering::Relaxed);
    goes_on
}

fn wait_while_lagging(server: &Server, offset: u64, deadline: Instant) -> bool {
    while Instant::now() < deadline {
        if !server.is_ending() {
            return false;
        }
        if !server.replication.replicas().iter().any(|replica| lags(replica, offset)) {
            return true;
        }
        thread::sleep(LOOK);
    }
    true
}

/// Whether to wait for a replica: it follows, it confirms what it gets, and it has not confirmed
/// everything.
fn lags(replica: &Replica, offset: u64) -> bool {
    let acked = replica.acked.load(Ordering::SeqCst);
    let confirms = replica.confirms || acked > 0;
    replica.state() == ReplicaState::Online && confirms && acked < offset
}

fn report_replicas(server: &Server, offset: u64) {
    let replicas = server.replication.replicas();
    if replicas.is_empty() {
        return;
    }
    let now_ms = clock::unix_ms();
    let mut lagging = 0;
    for replica in &replicas {
        let behind = offset.saturating_sub(replica.acked.load(Ordering::SeqCst));
        if behind > 0 {
            lagging += 1;
            server.logger.notice(&format!(
                "Lagging replica {}:{} reported offset {behind} behind master, lag={}.",
                replica.ip,
                replica.port,
                replica.lag_seconds(now_ms)
            ));
        }
    }
    let message = format!(
        "{} of {} replicas are in sync when shutting down.",
        replicas.len() - lagging,
        replicas.len()
    );
    server.logger.notice(&message);
}

/// Ends a background save, so that it neither delays nor overwrites the final one.
fn stop_background_save(server: &Server) {
    if !server.persistence.is_saving() {
        return;
    }
    server.logger.warning("There is a child saving an .rdb. Killing it!");
    server.persistence.abort_save.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + ABORT_PATIENCE;
    while server.persistence.is_saving() && Instant::now() < deadline {
        thread::sleep(LOOK);
    }
    persistence::remove_temporary(server);
}
