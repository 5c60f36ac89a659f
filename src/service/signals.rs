//! SIGTERM and SIGINT of the program.

use std::io;
use std::sync::Arc;
use std::thread;

use crate::base::sys::{SIGINT, SIGTERM, Signals};
use crate::engine::Engine;

/// Keeps the signals from ending the process. Before any thread is started.
pub fn block() -> io::Result<Signals> {
    Signals::block(&[SIGINT, SIGTERM])
}

/// Ends the server when a signal comes.
pub fn watch(signals: Signals, engine: &Arc<Engine>) {
    let engine = Arc::clone(engine);
    let watcher = move || {
        loop {
            let signal = signals.wait();
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            let message = format!("Received {name} scheduling shutdown...");
            engine.server.logger.warning(&message);
            engine.server.end();
        }
    };
    let _ = thread::Builder::new().name("signals".to_owned()).spawn(watcher);
}
