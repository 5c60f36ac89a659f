//! MONITOR: shows each command that was executed to the connections that asked for it.
//!
//! Invariant: while shards are held, lines are only gathered; they are sent when the shards are let
//! go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::{clock, quote};
use crate::engine::Engine;
use crate::engine::session::Session;
use crate::engine::spec;
use crate::engine::table::Known;
use crate::resp::out::{Chunk, Out};
use crate::state::Server;
use crate::state::clients::{ClientHandle, flag};
use crate::state::config::Settings;

/// Makes a client a monitor; `false` when it is one already.
pub fn enter(server: &Server, client: &ClientHandle) -> bool {
    let new = client.flags.fetch_or(flag::MONITOR, Ordering::SeqCst) & flag::MONITOR == 0;
    server.monitors.fetch_add(u64::from(new), Ordering::SeqCst);
    new
}

/// Makes a client an ordinary one again, if it is a monitor (RESET, or its end).
pub fn leave(server: &Server, client: &ClientHandle) {
    let was = client.flags.fetch_and(!flag::MONITOR, Ordering::SeqCst) & flag::MONITOR != 0;
    server.monitors.fetch_sub(u64::from(was), Ordering::SeqCst);
}

/// Writes down a command that was just executed, if anybody watches.
pub fn note(engine: &Engine, session: &mut Session, known: &Known, argv: &[&[u8]]) {
    let hidden = known.command.has(spec::flag::SKIP_MONITOR | spec::flag::ADMIN);
    if hidden || engine.server.monitors.load(Ordering::Relaxed) == 0 {
        return;
    }
    let mut lines = std::mem::take(&mut session.monitor_lines);
    push_line(&mut lines, session, &session.without_secrets(argv), clock::unix_us());
    session.monitor_lines = lines;
}

/// Sends what was written down to all monitors. A monitor's own commands follow their replies in
/// `out`. No shard may be held.
pub fn send(engine: &Engine, session: &mut Session, settings: &Settings, out: &mut Out) {
    if session.monitor_lines.is_empty() {
        return;
    }
    let server = &engine.server;
    let lines = Arc::new(std::mem::take(&mut session.monitor_lines));
    for client in server.clients.all_with(flag::MONITOR) {
        if client.id == session.handle.id {
            out.raw(&lines);
        } else {
            let limit = server.output_limit(settings, client.kind());
            server.clients.push(&client, Chunk::Shared(Arc::clone(&lines)), limit);
        }
    }
}

fn push_line(lines: &mut Vec<u8>, session: &Session, argv: &[&[u8]], now_us: i64) {
    let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
    let addr = &session.handle.addr;
    let (unix, addr) = if session.handle.has(flag::UNIX) {
        ("unix:", addr.trim_end_matches(":0"))
    } else {
        ("", addr.as_str())
    };
    let prefix = format!("+{seconds}.{micros:06} [{} {unix}{addr}]", session.db);
    lines.extend_from_slice(prefix.as_bytes());
    for arg in argv {
        lines.push(b' ');
        quote::repr(lines, arg);
    }
    lines.extend_from_slice(b"\r\n");
}
