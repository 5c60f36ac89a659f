//! Commands that wait for a key: BLPOP and its like.
//!
//! A handler that finds nothing asks for a [`Block`]; its client is then entered in the lists of
//! its keys (`store::waiting`) while their shards are still held, so no change goes unseen, and its
//! thread waits. Whoever changes such a key serves the clients that wait for it, in the order in
//! which they came, before it lets the shards go: it executes their commands again on their behalf
//! ([`serve`]). So the changer's own next command cannot come first, what was served follows in the
//! log right behind what served it, and inside EXEC nothing is served before its end.
//!
//! A command that needs more shards than its own (BLMOVE's destination) has them noted in the list:
//! who writes takes them along ([`hold`]), since a lock cannot be taken out of order afterwards.
//!
//! Invariants: a client is served at most once, and only while its thread waits for that and its
//! socket is open (`ClientHandle::claim`), so no element goes to a client that has gone; its thread
//! ends the wait only while it holds the shards of all its keys.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::clock::{self, Moment};
use crate::base::lock::{Lock, rank};
use crate::base::sys::{Interest, POLL_ERR_HUP, POLL_IN, POLL_RDHUP, wait_for};
use crate::engine::Engine;
use crate::engine::ctx::Woken;
use crate::engine::dispatch::{self, Run, Unit};
use crate::engine::permissions::Request;
use crate::engine::pubsub;
use crate::engine::session::Session;
use crate::engine::spec::{Command, Locking, flag};
use crate::engine::table::Known;
use crate::resp::error::Error;
use crate::resp::out::{Chunk, Out};
use crate::state::Server;
use crate::state::clients::{ClientHandle, Unblock};
use crate::state::config::Settings;
use crate::store::{Changes, Db, Expiry, Held, Plan, ShardSet};

/// What a command waits for.
#[derive(Debug)]
pub struct Block {
    keys: Vec<Vec<u8>>,
    kind: &'static str,
    timeout: Option<Duration>,
    again: Option<Vec<Vec<u8>>>,
    even_if_gone: bool,
}

impl Block {
    /// Waits until one of the keys holds a value of this type (`Kind::NAME`), at most `timeout`,
    /// and then has the command executed again. The reply after the time-out is the absent array.
    pub fn on(keys: &[&[u8]], kind: &'static str, timeout: Option<Duration>) -> Self {
        Block {
            keys: keys.iter().map(|key| key.to_vec()).collect(),
            kind,
            timeout,
            again: None,
            even_if_gone: false,
        }
    }

    /// Has another command line executed instead: `$` of XREAD becomes the id that it is now. Its
    /// keys must be the same.
    pub fn again_as(mut self, argv: Vec<Vec<u8>>) -> Self {
        self.again = Some(argv);
        self
    }

    /// Has it executed, too, when a key goes away or becomes another type.
    pub fn even_if_gone(mut self) -> Self {
        self.even_if_gone = true;
        self
    }
}

/// A command that begins to wait.
pub struct Entry<'a> {
    /// The command.
    pub known: &'a Known,
    /// As it was sent.
    pub argv: &'a [&'a [u8]],
    /// What it waits for.
    pub block: Block,
    /// Nanoseconds for which it was executed so far.
    pub spent: u64,
}

/// What a blocked client was served with.
struct Served {
    chunks: Vec<Chunk>,
    last_write: u64,
    last_file: u64,
}

/// A blocked client.
pub struct Waiter {
    handle: Arc<ClientHandle>,
    db: usize,
    block: Block,
    argv: Vec<Vec<u8>>,
    command: usize,
    spent: u64,
    proto: u8,
    /// The shards of the command's keys.
    shards: ShardSet,
    /// On whose behalf the command is executed again; taken out meanwhile.
    stand_in: Mutex<Option<Session>>,
    served: Mutex<Option<Served>>,
    deadline: Option<Instant>,
}

/// All blocked clients by their number.
pub struct Blocked(Lock<HashMap<u64, Arc<Waiter>>>);

impl Blocked {
    /// How many keys clients wait for: all, and those whose absence is waited for, too.
    pub fn count_keys(&self) -> (usize, usize) {
        let waiters = self.0.lock();
        let (mut all, mut even_if_gone) = (HashSet::new(), HashSet::new());
        for waiter in waiters.values() {
            for key in &waiter.block.keys {
                all.insert((waiter.db, key));
                if waiter.block.even_if_gone {
                    even_if_gone.insert((waiter.db, key));
                }
            }
        }
        (all.len(), even_if_gone.len())
    }
}

impl Default for Blocked {
    fn default() -> Self {
        Blocked(Lock::new(rank::LEAF, HashMap::new()))
    }
}

/// Locks the shards of a command: its own, and if it may change keys that clients wait for, those
/// that serving them takes.
pub fn hold<'k>(engine: &'k Engine, command: &Command, mut plan: Plan) -> Held<'k> {
    let serves = command.has(flag::WRITE) || command.locking == Locking::Queued;
    loop {
        let held = engine.server.keyspace.hold(&plan);
        if !serves || !held.somebody_waits() {
            return held;
        }
        let wanted = held.shards_of_waiting();
        if wanted.without(held.set()).is_empty() {
            return held;
        }
        drop(held);
        plan = plan.union(Plan::of_set(wanted));
    }
}

/// Enters a client in the lists of its keys, whose shards are held.
pub fn enter(engine: &Engine, session: &Session, held: &mut Held, entry: Entry) -> Arc<Waiter> {
    let Entry { known, argv, mut block, spent } = entry;
    let handle = Arc::clone(&session.handle);
    let shards = dispatch::plan_of_keys(engine, known.command, argv).set();
    let again = block.again.take();
    let deadline = block.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let waiter = Arc::new(Waiter {
        db: session.db,
        argv: again.unwrap_or_else(|| argv.iter().map(|arg| arg.to_vec()).collect()),
        command: known.id,
        spent,
        proto: handle.proto.load(Ordering::Relaxed) as u8,
        shards,
        stand_in: Mutex::new(Some(session.stand_in())),
        served: Mutex::new(None),
        deadline,
        block,
        handle,
    });
    let id = waiter.handle.id;
    for key in &waiter.block.keys {
        let shard = held.keyspace().shard_of(key);
        held.shard(shard).waiting.block(waiter.db, key, id, shards);
    }
    engine.blocked.0.lock().insert(id, Arc::clone(&waiter));
    // The bell first: who serves the client must find it.
    let _ = waiter.handle.waker();
    engine.server.blocked.fetch_add(1, Ordering::Relaxed);
    waiter.handle.begin_wait();
    waiter
}

/// Waits for a blocked client to be served, and writes what it gets. Whoever serves it counts its
/// command; nobody serves one whose wait ends otherwise. No shard may be held.
pub fn wait(
    engine: &Engine,
    session: &mut Session,
    settings: &Settings,
    argv: &[&[u8]],
    waiter: &Waiter,
    out: &mut Out,
) {
    let server = &engine.server;
    let is_served = || lock(&waiter.served).is_some();
    let woken = wait_until(server, &waiter.handle, waiter.deadline, is_served);
    let told = leave(engine, waiter);
    if let Some(served) = lock(&waiter.served).take() {
        session.last_write = session.last_write.max(served.last_write);
        session.last_file = session.last_file.max(served.last_file);
        served.chunks.iter().for_each(|chunk| out.raw(chunk.as_ref()));
        return;
    }
    let error = match told {
        // A client that has gone, even by half, is owed nothing.
        _ if woken == Woken::HungUp => {
            session.close = true;
            None
        }
        None | Some(Unblock::Timeout) => {
            out.null_array();
            None
        }
        Some(Unblock::Error) => Some(Error::UNBLOCKED),
        Some(Unblock::RoleChange) => {
            // It is to look for the primary anew.
            session.close = true;
            Some(Error::UNBLOCKED_BY_ROLE)
        }
    };
    if let Some(error) = &error {
        server.stats.error(error.code());
        out.error(error);
    }
    let known = engine.table.get(waiter.command);
    dispatch::account(engine, session, settings, known, argv, waiter.spent, error.is_some());
    server.blocked.fetch_sub(1, Ordering::Relaxed);
}

/// Takes a client off the lists; how it was told to end its wait, if it was. Nobody serves it from
/// here on.
fn leave(engine: &Engine, waiter: &Waiter) -> Option<Unblock> {
    let mut held = engine.server.keyspace.hold(&Plan::of_set(waiter.shards));
    let id = waiter.handle.id;
    for key in &waiter.block.keys {
        let shard = held.keyspace().shard_of(key);
        held.shard(shard).waiting.unblock(waiter.db, key, id);
    }
    engine.blocked.0.lock().remove(&id);
    waiter.handle.end_wait()
}

/// Waits until `done`, the time is over, or the client goes. `ClientHandle::begin_wait` came first.
pub fn wait_until(
    server: &Server,
    handle: &ClientHandle,
    deadline: Option<Instant>,
    mut done: impl FnMut() -> bool,
) -> Woken {
    let Ok(waker) = handle.waker() else { return Woken::HungUp };
    loop {
        waker.clear();
        if done() {
            return Woken::Done;
        }
        if let Some(how) = handle.is_unblocked() {
            return Woken::Unblocked(how);
        }
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Woken::Timeout;
        }
        let gone = POLL_RDHUP | POLL_ERR_HUP;
        let mut list =
            [Interest::new(handle.stream.fd(), POLL_RDHUP), Interest::new(waker.fd(), POLL_IN)];
        wait_for(&mut list, left);
        if list[0].happened & gone != 0 || server.has_ended() {
            return Woken::HungUp;
        }
    }
}

/// What is to be done about clients that were served, once the shards are let go.
#[derive(Default)]
pub struct Outcome {
    served: Vec<Arc<Waiter>>,
    /// (database, key) whose waiters need shards that are not held.
    later: Vec<(usize, Vec<u8>)>,
    unit: Unit,
}

/// Serves the clients that wait for these keys, as far as their shards are held.
pub fn serve<'k>(
    engine: &'k Engine,
    settings: &Settings,
    held: &mut Held<'k>,
    ready: Vec<(usize, Vec<u8>)>,
) -> Outcome {
    // What one of them executes is not the last to need the shards.
    held.keep();
    let mut outcome = Outcome::default();
    let mut ready = VecDeque::from(ready);
    while let Some((db, key)) = ready.pop_front() {
        let shard = held.keyspace().shard_of(&key);
        if !held.set().has(shard) {
            // It changed while a command visited one shard after another.
            outcome.later.push((db, key));
            continue;
        }
        for id in held.shard(shard).waiting.blocked_on(db, &key) {
            let Some(waiter) = engine.blocked.0.lock().get(&id).cloned() else { continue };
            if !waiter.shards.without(held.set()).is_empty() {
                outcome.later.push((db, key));
                break;
            }
            let kind = kind_of(held, db, &key);
            let is_of_use = kind == Some(waiter.block.kind) || waiter.block.even_if_gone;
            if !is_of_use || !waiter.handle.claim() {
                continue;
            }
            let Some(mut unit) = execute(engine, settings, held, &waiter) else {
                waiter.handle.unclaim();
                continue;
            };
            waiter.handle.settle();
            // Not when its thread gets to know: whoever asks next sees that nobody waits.
            engine.server.blocked.fetch_sub(1, Ordering::Relaxed);
            held.shard(shard).waiting.unblock(db, &key, id);
            ready.append(&mut unit.take_ready().into());
            outcome.unit.append(unit);
            outcome.served.push(waiter);
        }
    }
    outcome
}

/// The type of what a key holds. One whose time has come holds nothing, but is removed by whoever
/// uses it next.
fn kind_of(held: &mut Held, db: usize, key: &[u8]) -> Option<&'static str> {
    let mut changes = Changes::default();
    let mut db = Db::new(held, db, clock::unix_ms(), Expiry::Hide, &mut changes);
    db.peek(key).map(|entry| entry.type_name())
}

/// Executes a blocked client's command again. `None`: it would still wait. What the log gets is
/// appended; the rest of what it did is returned.
fn execute<'k>(
    engine: &'k Engine,
    settings: &Settings,
    held: &mut Held<'k>,
    waiter: &Waiter,
) -> Option<Unit> {
    let mut session = lock(&waiter.stand_in).take()?;
    let mut out = Out::new();
    out.set_proto(waiter.proto);
    let argv: Vec<&[u8]> = waiter.argv.iter().map(Vec::as_slice).collect();
    let known = engine.table.get(waiter.command);
    session.look_after_user(&engine.server.acl);
    let request = Request { engine, settings, session: &session, known, argv: &argv };
    let mut unit = Unit::default();
    match request.refuse() {
        Some(error) => {
            engine.server.stats.rejected(waiter.handle.id, known.id);
            engine.server.stats.error(error.code());
            out.error(&error);
        }
        None => {
            let began = Moment::now();
            let now_ms = began.unix_ms();
            let run = Run { engine, settings, now_ms, in_exec: false, hashed: None };
            let failed =
                dispatch::call(&run, &mut session, held, known, &argv, &mut out, &mut unit);
            if session.block.is_none() {
                let spent = waiter.spent + session.spent(began);
                dispatch::account(engine, &session, settings, known, &argv, spent, failed);
            }
        }
    }
    let still_waits = session.block.take().is_some();
    dispatch::publish(engine, &mut session, &mut unit, &argv);
    let (last_write, last_file) = (session.last_write, session.last_file);
    pubsub::enqueue(&engine.server, &session, &mut unit);
    *lock(&waiter.stand_in) = Some(session);
    if still_waits {
        return None;
    }
    *lock(&waiter.served) = Some(Served { chunks: out.take_chunks(), last_write, last_file });
    Some(unit)
}

/// Tells those who were served, and serves those who need other shards. No shard may be held.
pub fn finish(engine: &Engine, settings: &Settings, outcome: Outcome) {
    let mut next = Some(outcome);
    while let Some(outcome) = next.take() {
        outcome.served.iter().for_each(|waiter| waiter.handle.wake());
        outcome.unit.finish(engine);
        pubsub::deliver_queued(&engine.server, settings);
        if !outcome.later.is_empty() {
            let mut held = engine.server.keyspace.hold(&Plan::All);
            next = Some(serve(engine, settings, &mut held, outcome.later));
        }
    }
}

/// What follows from changes that no command has made: their events, which were queued, are
/// delivered, and clients that wait for such keys are served. No shard may be held.
pub fn finish_changes(engine: &Engine, settings: &Settings, mut changes: Changes) {
    pubsub::deliver_queued(&engine.server, settings);
    if !changes.ready.is_empty() {
        let mut held = engine.server.keyspace.hold(&Plan::All);
        let ready = std::mem::take(&mut changes.ready);
        let outcome = serve(engine, settings, &mut held, ready);
        drop(held);
        finish(engine, settings, outcome);
    }
}

/// A waiter's own fields, which nobody holds for long or panics with.
fn lock<T>(field: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    field.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
