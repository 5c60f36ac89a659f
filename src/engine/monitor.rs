//! MONITOR: shows each command to the connections that asked for it, before it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{clock, quote};
use crate::engine::Engine;
use crate::engine::session::{Role, Session};
use crate::engine::spec;
use crate::engine::table::Known;
use crate::resp::out::Chunk;
use crate::state::clients::flag;

/// Shows a command to all monitors.
pub fn show(engine: &Engine, session: &Session, known: &Known, argv: &[&[u8]]) {
    let server = &engine.server;
    if server.monitors.load(Ordering::Relaxed) == 0 || session.role == Role::Primary {
        return;
    }
    if known.command.has(spec::flag::SKIP_MONITOR | spec::flag::ADMIN) {
        return;
    }
    let line = Arc::new(line_of(session, argv, clock::unix_us()));
    let settings = server.config.get();
    for client in server.clients.all().into_iter().filter(|c| c.has(flag::MONITOR)) {
        let limit = server.output_limit(&settings, client.kind());
        server.clients.push(&client, Chunk::Shared(Arc::clone(&line)), limit);
    }
}

fn line_of(session: &Session, argv: &[&[u8]], now_us: i64) -> Vec<u8> {
    let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
    let addr = if session.handle.has(flag::UNIX) {
        format!("unix:{}", session.handle.addr.trim_end_matches(":0"))
    } else {
        session.handle.addr.clone()
    };
    let mut line = format!("+{seconds}.{micros:06} [{} {addr}]", session.db).into_bytes();
    for arg in argv {
        line.push(b' ');
        quote::repr(&mut line, arg);
    }
    line.extend_from_slice(b"\r\n");
    line
}
