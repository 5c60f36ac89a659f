//! MULTI's queue, and EXEC as one unit: all shards of all queued commands are held from its first
//! command to its last, and its effects go to the log together.

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::engine::ctx::{Ctx, Reply};
use crate::engine::dispatch;
use crate::engine::session::{Multi, Session};
use crate::engine::spec::Locking;
use crate::resp::error::Error;
use crate::store::Plan;

/// Queues a command.
pub fn queue(session: &mut Session, argv: &[&[u8]]) {
    if let Some(multi) = &mut session.multi {
        multi.bytes += argv.iter().map(|arg| arg.len()).sum::<usize>();
        multi.queue.push(argv.iter().map(|arg| arg.to_vec()).collect());
        session.handle.multi.store(multi.queue.len() as u64 + 1, Ordering::Relaxed);
        session.handle.multi_bytes.store(multi.bytes as u64, Ordering::Relaxed);
    }
}

/// The shards of all queued commands.
pub fn plan(engine: &Engine, session: &Session) -> Plan {
    let mut plan = Plan::None;
    for argv in session.multi.iter().flat_map(|multi| &multi.queue) {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        if let Ok(known) = dispatch::resolve(engine, &argv) {
            plan = plan.union(match known.command.locking {
                Locking::OneByOne => Plan::All,
                _ => dispatch::plan_for(engine, session, known.command, &argv),
            });
        }
    }
    plan
}

/// Enters MULTI; `false` when the session is in it.
pub fn begin(session: &mut Session) -> bool {
    if session.multi.is_some() {
        return false;
    }
    session.multi = Some(Multi::default());
    session.handle.multi.store(1, Ordering::Relaxed);
    true
}

/// Leaves MULTI; whether the session was in it.
pub fn forget(session: &mut Session) -> bool {
    let was_inside = session.multi.take().is_some();
    show_none(session);
    was_inside
}

/// To others the session is no longer in MULTI.
fn show_none(session: &Session) {
    session.handle.multi.store(0, Ordering::Relaxed);
    session.handle.multi_bytes.store(0, Ordering::Relaxed);
}

/// What a refused EXEC answers; the transaction is over.
pub fn abort(session: &mut Session, why: &Error) -> Error {
    forget(session);
    let text = why.text();
    let text = text.strip_prefix(b"ERR ").unwrap_or(text);
    Error::owned([b"EXECABORT Transaction discarded because of: ", text].concat())
}

/// Runs the queued commands and answers the array of their replies. Their shards are held already.
pub fn execute(ctx: &mut Ctx) -> Reply {
    let Some(multi) = ctx.session.multi.take() else { return Err(Error::EXEC_WITHOUT_MULTI) };
    if multi.aborted {
        show_none(ctx.session);
        return Err(Error::EXECABORT);
    }
    ctx.reply.parts().array(multi.queue.len());
    for argv in &multi.queue {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        dispatch::call_queued(ctx, &argv);
    }
    show_none(ctx.session);
    ctx.reply.done()
}
