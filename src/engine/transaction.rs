//! MULTI's queue, and EXEC as one unit: all shards of all queued commands are held from its first
//! command to its last, and its effects go to the log together.

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::engine::ctx::{Ctx, Reply};
use crate::engine::dispatch;
use crate::engine::session::{Multi, Session};
use crate::engine::spec::Locking;
use crate::resp::error::Error;
use crate::store::{Keyspace, Plan};

/// Queues a command.
pub fn queue(session: &mut Session, argv: &[&[u8]]) {
    if let Some(multi) = &mut session.multi {
        multi.bytes += argv.iter().map(|arg| arg.len()).sum::<usize>();
        multi.queue.push(argv.iter().map(|arg| arg.to_vec()).collect());
        session.handle.multi.store(multi.queue.len() as u64 + 1, Ordering::Relaxed);
        session.handle.multi_bytes.store(multi.bytes as u64, Ordering::Relaxed);
    }
}

/// The shards of all queued commands and of the keys that they depend on.
pub fn plan(engine: &Engine, session: &Session) -> Plan {
    let keyspace = &engine.server.keyspace;
    let watched = session.watch.keys.iter().map(|(_, key, _)| keyspace.shard_of(key));
    let mut plan = Plan::of(watched.collect());
    for argv in session.multi.iter().flat_map(|multi| &multi.queue) {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        if let Ok(known) = dispatch::resolve(engine, &argv) {
            plan = plan.union(match known.command.locking {
                Locking::OneByOne => Plan::All,
                _ => dispatch::plan_for(engine, session, known.command, &argv).0,
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

/// What a watched key takes besides its name, here and in its shard.
const WATCH_BYTES: usize = 128;

/// Has EXEC depend on a key, whose shard is held.
pub fn watch(ctx: &mut Ctx, key: &[u8]) {
    let db = ctx.db.index();
    if ctx.session.watch.keys.iter().any(|(at, known, _)| (*at, known.as_slice()) == (db, key)) {
        return;
    }
    // Looked at first, because that may remove a key whose time has come, which is a change.
    let is_there = ctx.db.exists(key);
    ctx.db.watch(key, &ctx.session.watch.touched);
    ctx.session.watch.keys.push((db, key.to_vec(), is_there));
    let bytes = (key.len() + WATCH_BYTES) as u64;
    ctx.session.handle.watch_bytes.fetch_add(bytes, Ordering::Relaxed);
}

/// Ends WATCH. No shard may be held.
pub fn unwatch(keyspace: &Keyspace, session: &mut Session) {
    let watch = std::mem::take(&mut session.watch);
    session.handle.watch_bytes.store(0, Ordering::Relaxed);
    for (db, key, _) in &watch.keys {
        let mut shard = keyspace.lock_shard(keyspace.shard_of(key));
        shard.waiting.unwatch(*db, key, &watch.touched);
    }
}

/// Ends WATCH while the shards of its keys are held; whether one of them has changed.
fn take_watch(ctx: &mut Ctx) -> bool {
    let watch = std::mem::take(&mut ctx.session.watch);
    ctx.session.handle.watch_bytes.store(0, Ordering::Relaxed);
    let db = ctx.db.index();
    let mut changed = false;
    for (index, key, was_there) in &watch.keys {
        ctx.db.select(*index);
        // Its time may have come without anybody having looked.
        changed |= *was_there && !ctx.db.exists(key);
        ctx.db.unwatch(key, &watch.touched);
    }
    ctx.db.select(db);
    changed || watch.touched.load(Ordering::Relaxed)
}

/// Leaves MULTI and ends WATCH; whether the session was in MULTI. No shard may be held.
pub fn forget(keyspace: &Keyspace, session: &mut Session) -> bool {
    unwatch(keyspace, session);
    let was_inside = session.multi.take().is_some();
    show_none(session);
    was_inside
}

/// To others the session is no longer in MULTI.
fn show_none(session: &Session) {
    session.handle.multi.store(0, Ordering::Relaxed);
    session.handle.multi_bytes.store(0, Ordering::Relaxed);
}

/// What a refused EXEC answers; the transaction is over. No shard may be held.
pub fn abort(keyspace: &Keyspace, session: &mut Session, why: &Error) -> Error {
    forget(keyspace, session);
    let text = why.text();
    let text = text.strip_prefix(b"ERR ").unwrap_or(text);
    Error::owned([b"EXECABORT Transaction discarded because of: ", text].concat())
}

/// Runs the queued commands and answers the array of their replies, or the absent array when a
/// watched key has changed. The shards of both are held already.
pub fn execute(ctx: &mut Ctx) -> Reply {
    let Some(multi) = ctx.session.multi.take() else { return Err(Error::EXEC_WITHOUT_MULTI) };
    let changed = take_watch(ctx);
    let reply = match multi.aborted {
        true => Err(Error::EXECABORT),
        false if changed => ctx.reply.null_array(),
        false => run(ctx, &multi),
    };
    show_none(ctx.session);
    reply
}

fn run(ctx: &mut Ctx, multi: &Multi) -> Reply {
    ctx.reply.parts().array(multi.queue.len());
    for argv in &multi.queue {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        dispatch::call_queued(ctx, &argv);
    }
    ctx.reply.done()
}
