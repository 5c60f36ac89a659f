//! SIGTERM and SIGINT of the program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::base::sys::{SIGINT, SIGTERM, SIGXFSZ, Signals};
use crate::engine::{Engine, shutdown};
use crate::state::persistence;

/// A signal's sender expects the end within a second, so replicas get no more than this to catch
/// up.
const PATIENCE_MAX: Duration = Duration::from_millis(700);

/// Keeps the signals from ending the process. Before any thread is started.
pub fn block() -> io::Result<Signals> {
    // A file that must not grow is like a full disk: an error of the write.
    Signals::block(&[SIGXFSZ])?;
    Signals::block(&[SIGINT, SIGTERM])
}

/// Ends the server when a signal comes.
pub fn watch(signals: Signals, engine: &Arc<Engine>) {
    let engine = Arc::clone(engine);
    let watcher = move || {
        loop {
            let signal = signals.wait();
            if signal == SIGINT && engine.server.is_ending() {
                insist(&engine);
            }
            react(&engine, signal);
        }
    };
    let _ = thread::Builder::new().name("signals".to_owned()).spawn(watcher);
}

/// Begins a shutdown, in a thread of its own so that a second signal is heard.
fn react(engine: &Arc<Engine>, signal: i32) {
    let server = &engine.server;
    let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
    server.logger.warning(&format!("Received {name} scheduling shutdown..."));
    if server.persistence.loading.load(Ordering::Relaxed) {
        // There is nothing to save yet.
        server.begin_ending();
        server.end();
        return;
    }
    let settings = server.config.get();
    let options =
        if signal == SIGINT { settings.shutdown_on_sigint } else { settings.shutdown_on_sigterm };
    let patience = Duration::from_secs(settings.shutdown_timeout).min(PATIENCE_MAX);
    let engine = Arc::clone(engine);
    let body = move || {
        // A failure is in the log already, and the server goes on.
        let _ = shutdown::shutdown(&engine, options, patience);
    };
    if thread::Builder::new().name("shutdown".to_owned()).spawn(body).is_err() {
        server.end();
    }
}

/// The second SIGINT: ends the process without any more care.
fn insist(engine: &Engine) -> ! {
    engine.server.logger.warning("You insist... exiting now.");
    persistence::remove_temporary(&engine.server);
    std::process::exit(1);
}
