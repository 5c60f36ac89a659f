//! MONITOR: what is shown of an executed command. It reaches the monitors as messages reach
//! subscribers (`state::pubsub`).

use crate::base::{clock, quote};
use crate::engine::Engine;
use crate::engine::dispatch::Unit;
use crate::engine::session::Session;
use crate::engine::spec;
use crate::engine::table::Known;
use crate::state::clients::flag;
use crate::state::pubsub::Notice;

/// Adds a command that was just executed to what its unit has to tell, if anybody watches.
#[inline]
pub fn note(engine: &Engine, session: &Session, unit: &mut Unit, known: &Known, argv: &[&[u8]]) {
    let hidden = known.command.has(spec::flag::SKIP_MONITOR | spec::flag::ADMIN);
    if engine.server.pubsub.is_watched() && !hidden {
        show(session, unit, argv);
    }
}

#[cold]
fn show(session: &Session, unit: &mut Unit, argv: &[&[u8]]) {
    let line = line(session, &session.without_secrets(argv), clock::unix_us());
    unit.tell(Notice::Command(line));
}

fn line(session: &Session, argv: &[&[u8]], now_us: i64) -> Vec<u8> {
    let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
    let addr = &session.handle.addr;
    let (unix, addr) = if session.handle.has(flag::UNIX) {
        ("unix:", addr.trim_end_matches(":0"))
    } else {
        ("", addr.as_str())
    };
    let prefix = format!("+{seconds}.{micros:06} [{} {unix}{addr}]", session.db);
    let mut line = prefix.into_bytes();
    for arg in argv {
        line.push(b' ');
        quote::repr(&mut line, arg);
    }
    line.extend_from_slice(b"\r\n");
    line
}
