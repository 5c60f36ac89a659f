//! Errors in answer to commands that have been executed elsewhere before: our data are not what
//! they were there. Nobody reads such a reply, so the log is told.

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::engine::session::{Role, Session};
use crate::engine::table::Known;
use crate::resp::error::Error;
use crate::state::clients::flag;
use crate::state::config::{PropagationError, Settings};

/// How much of an error is shown.
const SHOWN_MAX: usize = 4096;

/// A command, if it was found, has been answered with an error. Clients are simply told.
///
/// `propagation-error-behavior` may have the server die of it rather than go on with wrong data.
pub fn report(
    engine: &Engine,
    settings: &Settings,
    session: &Session,
    known: Option<&Known>,
    error: &Error,
) {
    let behavior = settings.propagation_error_behavior;
    let (from, to, dies) = match session.role {
        // A replica gets no replies, so one that sends more than confirmations is no good one.
        Role::Client if session.handle.has(flag::REPLICA) => ("master", "replica", false),
        Role::Client => return,
        // A writable replica's data are its own.
        Role::Primary => (
            "replica",
            "master",
            behavior != PropagationError::Ignore && settings.replica_read_only,
        ),
        Role::Replay => ("AOF-loading-client", "server", behavior == PropagationError::Panic),
    };
    let server = &engine.server;
    let command = known.map_or("<unknown>", |known| &known.full_name);
    let text = error.text();
    let text = String::from_utf8_lossy(&text[..text.len().min(SHOWN_MAX)]);
    server.logger.warning(&format!(
        "== CRITICAL == This {from} is sending an error to its {to}: '{text}' after processing the \
         command '{command}'"
    ));
    server.stats.unexpected_errors.fetch_add(1, Ordering::Relaxed);
    if dies {
        server.logger.warning(&format!(
            "This {from} panicked sending an error to its {to} after processing the command \
             '{command}'"
        ));
        std::process::abort();
    }
}
