//! Replies leave when what they acknowledge is in the append-only file, and not before.
//!
//! The session notes for each command that went to the file where its reply stands
//! ([`Session::unwritten`]). Before a batch of replies is sent the file is written up to the last
//! of them, by this thread or by another one that waits too. Where that fails the replies to what
//! is not in the file become errors; the others stay as they are.

use crate::engine::session::Role;
use crate::engine::{Engine, Session};
use crate::resp::error::Error;
use crate::resp::out::{Mark, Out};
use crate::state::outbox::{Limit, Sent};

/// The reply to a command that went to the append-only file.
#[derive(Clone, Copy, Debug)]
pub struct Unwritten {
    /// Where it begins.
    pub from: Mark,
    /// Where it ends.
    pub to: Mark,
    /// Offset of the file behind the command.
    pub offset: u64,
}

/// Notes the reply that begins at `from`, if its command has gone to the file.
#[inline]
pub fn note(session: &mut Session, out: &Out, from: Mark) {
    if session.last_file != session.noted_file && session.role == Role::Client {
        note_unwritten(session, out, from);
    }
}

#[inline(never)]
fn note_unwritten(session: &mut Session, out: &Out, from: Mark) {
    session.noted_file = session.last_file;
    let (to, offset) = (out.mark(), session.last_file);
    session.unwritten.push(Unwritten { from, to, offset });
}

/// Makes sure that the replies so far may leave. No shard may be held.
pub fn settle(engine: &Engine, session: &mut Session, out: &mut Out) {
    let Some(last) = session.unwritten.last() else { return };
    let aof = &engine.server.aof;
    if let Err(failure) = aof.wait(&engine.server, last.offset) {
        let (written, error) = (aof.acknowledged(), Error::from(failure.text()));
        // From the back, so that the places in front stay where they are.
        for reply in session.unwritten.iter().rev().filter(|reply| reply.offset > written) {
            out.replace(reply.from, reply.to, &error);
            engine.server.stats.error(error.code());
        }
    }
    session.unwritten.clear();
}

/// Sends the replies so far. No shard may be held.
pub fn send(engine: &Engine, session: &mut Session, out: &mut Out, limit: Limit) -> Sent {
    settle(engine, session, out);
    engine.server.clients.send(&session.handle, out, limit)
}
