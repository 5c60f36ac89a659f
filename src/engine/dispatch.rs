//! The one path of every command: look up, refuse, queue or run, publish.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock::{self, Moment};
use crate::engine::Engine;
use crate::engine::args::Args;
use crate::engine::blocking::{self, Entry};
use crate::engine::ctx::{Ctx, Replier};
use crate::engine::delivery;
use crate::engine::divergence;
use crate::engine::effects::Effects;
use crate::engine::gate::{self, Asking, Reach};
use crate::engine::monitor;
use crate::engine::permissions::Request;
use crate::engine::pubsub;
use crate::engine::session::{Errand, ReplyMode, Role, Session, Thread};
use crate::engine::spec::{Command, Locking, flag};
use crate::engine::table::Known;
use crate::engine::transaction;
use crate::log::Place;
use crate::resp::error::{self, Error};
use crate::resp::out::{Mark, Out};
use crate::state::Server;
use crate::state::clients::flag as client;
use crate::state::config::Settings;
use crate::state::memory;
use crate::state::pause::Mode;
use crate::state::pubsub::Notice;
use crate::store::{Changes, Db, EventClasses, Expiry, Hashed, Held, Plan};

/// Executes one command and writes its reply to `out`. `raw` are the bytes that it came in, which a
/// stream from the primary passes on as they are.
///
/// Where an attendant comes to a command that is not for him he says so ([`Thread::OwnIsNeeded`]),
/// and nothing has been done.
pub fn execute(
    engine: &Engine,
    session: &mut Session,
    argv: &[&[u8]],
    out: &mut Out,
    raw: Option<&[u8]>,
) {
    let settings = session.take_settings(&engine.server.config);
    session.look_after_user(&engine.server.acl);
    let mark = out.mark();
    let reply_mode = session.reply_mode;
    if session.reply_mode == ReplyMode::SkipNext {
        session.reply_mode = ReplyMode::Skip;
    }
    if let Some(raw) = raw {
        session.unapplied.extend_from_slice(raw);
    }
    loop {
        let halt = match step(engine, session, &settings, argv, out, mark) {
            Step::Done => break,
            Step::Halted(_) if session.thread == Thread::Attendant => {
                session.thread = Thread::OwnIsNeeded;
                session.reply_mode = reply_mode;
                return session.put_settings(settings);
            }
            Step::Halted(halt) => halt,
        };
        // What is answered already must not wait too.
        let limit = engine.server.output_limit(&settings, session.handle.kind());
        delivery::send(engine, session, out, limit);
        match halt {
            Halt::Errand(errand) => session.rest = Some(errand(&engine.server)),
            Halt::Pause(known) if wait_for_pause(engine, session, known) => {}
            Halt::Pause(_) => {
                session.close = true;
                break;
            }
        }
    }
    if let Some(rest) = session.rest.take() {
        rest.give_up(&engine.server);
    }
    silence(session, out, mark);
    if session.reply_mode == ReplyMode::Skip {
        session.reply_mode = ReplyMode::On;
    }
    session.pushed = false;
    session.put_settings(settings);
}

/// Drops the reply behind `mark` if CLIENT REPLY says so. Messages are no replies.
fn silence(session: &Session, out: &mut Out, mark: Mark) {
    let silent = matches!(session.reply_mode, ReplyMode::Off | ReplyMode::Skip);
    if silent && !session.pushed {
        out.truncate(mark);
    }
}

/// What became of a command.
enum Step<'e> {
    /// It is answered.
    Done,
    /// It is to be tried again, and then may be refused.
    Halted(Halt<'e>),
}

/// What comes before a command is tried again. No shard is held meanwhile.
enum Halt<'e> {
    /// The end of a pause, if there is one.
    Pause(&'e Known),
    /// Something that it has asked for itself.
    Errand(Errand),
}

/// Refuses, queues or runs a command.
fn step<'e>(
    engine: &'e Engine,
    session: &mut Session,
    settings: &Settings,
    argv: &[&[u8]],
    out: &mut Out,
    mark: Mark,
) -> Step<'e> {
    match admit(engine, session, settings, argv) {
        Ok(known) if is_paused(engine, session, known) || is_for_own_thread(session, known) => {
            return Step::Halted(Halt::Pause(known));
        }
        Ok(known) if session.multi.is_some() && !known.command.has(flag::NOT_QUEUED) => {
            transaction::queue(session, argv);
            out.simple("QUEUED");
        }
        Ok(known) => return run(engine, session, settings, known, argv, out, mark),
        Err((known, error)) => refuse(engine, session, settings, known, error, out),
    }
    Step::Done
}

/// Whether an attendant must leave the command to the connection's own thread.
fn is_for_own_thread(session: &Session, known: &Known) -> bool {
    session.thread == Thread::Attendant && !known.command.is_brisk()
}

fn refuse(
    engine: &Engine,
    session: &mut Session,
    settings: &Settings,
    known: Option<&Known>,
    mut error: Error,
    out: &mut Out,
) {
    if let Some(multi) = &mut session.multi {
        multi.aborted = true;
    }
    if let Some(known) = known {
        engine.server.stats.rejected(session.handle.id, known.id);
        if known.command.locking == Locking::Queued {
            error = transaction::abort(&engine.server.keyspace, session, &error);
        }
    }
    engine.server.stats.error(error.code());
    divergence::report(engine, settings, session, known, &error);
    out.error(&error);
    if session.role == Role::Primary {
        pass_on_alone(engine, session);
    }
}

type Refused<'e> = (Option<&'e Known>, Error);

/// Finds the command and checks that it may run now.
fn admit<'e>(
    engine: &'e Engine,
    session: &Session,
    settings: &Settings,
    argv: &[&[u8]],
) -> Result<&'e Known, Refused<'e>> {
    let found = resolve(engine, argv);
    // For CLIENT LIST, which shows a refused command too.
    let shown = found.as_ref().map_or_else(|(known, _)| *known, |known| Some(*known));
    let shown = shown.map_or(0, |known| known.id as u64 + 1);
    session.handle.last_command.store(shown, Ordering::Relaxed);
    let known = found?;
    let asking = Asking {
        engine,
        server: &engine.server,
        settings,
        session,
        known,
        argv,
        reach: reach(engine, session, known),
    };
    match gate::refuse(&asking) {
        Some(error) => Err((Some(known), error)),
        None => Ok(known),
    }
}

/// Finds the command or subcommand and checks the number of arguments.
pub fn resolve<'e>(engine: &'e Engine, argv: &[&[u8]]) -> Result<&'e Known, Refused<'e>> {
    let known = find(engine, argv)?;
    if known.command.handler.is_none() || !known.command.accepts(argv.len()) {
        return Err((Some(known), error::wrong_args(&known.full_name)));
    }
    Ok(known)
}

/// Finds the command or subcommand.
fn find<'e>(engine: &'e Engine, argv: &[&[u8]]) -> Result<&'e Known, Refused<'e>> {
    let name = argv[0];
    let Some(mut known) = engine.table.find(name) else {
        return Err((None, error::unknown_command(name, argv[1..].iter().copied())));
    };
    if !known.subcommands.is_empty() && argv.len() > 1 {
        match engine.table.find_sub(known, argv[1]) {
            Some(sub) => known = sub,
            None => {
                let error = error::unknown_subcommand(argv[1], known.command.name);
                return Err((None, error));
            }
        }
    }
    Ok(known)
}

/// The flags of a command, and of the queued commands that it is about to run.
#[inline]
fn reach(engine: &Engine, session: &Session, known: &Known) -> Reach {
    let reach = Reach::of(known.command);
    let runs_queued = known.command.locking == Locking::Queued;
    if runs_queued { with_queued(engine, session, reach) } else { reach }
}

/// Adds the flags of the queued commands.
#[inline(never)]
fn with_queued(engine: &Engine, session: &Session, reach: Reach) -> Reach {
    let flags_of = |argv: &Vec<Vec<u8>>| {
        let argv: Vec<&[u8]> = argv.iter().take(2).map(Vec::as_slice).collect();
        find(engine, &argv).ok().map(|known| Reach::of(known.command))
    };
    let queued = session.multi.iter().flat_map(|multi| &multi.queue);
    queued.filter_map(flags_of).fold(reach, Reach::and)
}

/// Begins a pause and returns when all commands that went on before it are done. No shard may be
/// held.
pub fn pause(server: &Server, mode: Mode, until_ms: i64) {
    server.pause.begin(mode, until_ms);
    // Who holds a shard now may have looked too early; who comes later looks again (in `run`).
    drop(server.keyspace.lock_all());
}

/// Whether a pause holds the command up.
#[inline]
fn is_paused(engine: &Engine, session: &Session, known: &Known) -> bool {
    match engine.server.pause.mode() {
        Mode::Off => false,
        mode => is_stopped(engine, session, known, mode),
    }
}

/// Whether a pause of this mode does.
#[cold]
fn is_stopped(engine: &Engine, session: &Session, known: &Known, mode: Mode) -> bool {
    if session.role == Role::Replay {
        return false;
    }
    if mode == Mode::Standstill {
        return true;
    }
    !known.command.has(flag::UNPAUSABLE)
        && !session.handle.has(client::REPLICA)
        && engine.server.pause.stops(may_write(engine, session, known))
}

/// Whether the command, or one of those that it is about to run, may have to wait for a pause of
/// writes.
fn may_write(engine: &Engine, session: &Session, known: &Known) -> bool {
    reach(engine, session, known).has(flag::WRITE | flag::MAY_REPLICATE)
}

/// Whether a pause holds up a command of the primary's, which like one of any client has to wait.
pub fn is_held_up(engine: &Engine, session: &Session, argv: &[&[u8]]) -> bool {
    engine.server.pause.mode() != Mode::Off
        && resolve(engine, argv).is_ok_and(|known| is_paused(engine, session, known))
}

/// Waits until nothing holds the command up any more; `false` when the client has gone meanwhile.
fn wait_for_pause(engine: &Engine, session: &Session, known: &Known) -> bool {
    let (server, handle) = (&engine.server, &session.handle);
    let may_write = may_write(engine, session, known);
    handle.set(client::PAUSED, true);
    server.blocked.fetch_add(1, Ordering::Relaxed);
    let mut here = true;
    while here && is_paused(engine, session, known) {
        server.pause.wait(may_write, PAUSE_SLICE);
        here = !server.has_ended() && !handle.has_hung_up();
    }
    server.blocked.fetch_sub(1, Ordering::Relaxed);
    handle.set(client::PAUSED, false);
    here
}

/// How often a client that is paused is looked at: whether it is still there.
const PAUSE_SLICE: Duration = Duration::from_millis(100);

/// Locks, runs, counts, publishes.
fn run<'e>(
    engine: &'e Engine,
    session: &mut Session,
    settings: &Settings,
    known: &'e Known,
    argv: &[&[u8]],
    out: &mut Out,
    mark: Mark,
) -> Step<'e> {
    let (plan, hashed) = plan_for(engine, session, known.command, argv);
    let mut held = blocking::hold(engine, known.command, plan);
    if is_paused(engine, session, known) || was_demoted(engine, session, settings, known) {
        return Step::Halted(Halt::Pause(known));
    }
    if is_stale(engine, session) {
        return Step::Done;
    }
    let mut unit = Unit::default();
    // The clock is read under the lock: two commands on one key see times in their order.
    let began = Moment::now();
    session.waited_nanos = 0;
    // Nothing that is held for the primary's stream may be waited for or locked again.
    let in_exec = session.role == Role::Primary;
    let run = Run { engine, settings, now_ms: began.unix_ms(), in_exec, hashed };
    let failed = call(&run, session, &mut held, known, argv, out, &mut unit);
    let spent = session.spent(began);
    if !session.again && session.errand.is_none() {
        if session.block.is_none() {
            account(engine, session, settings, known, argv, spent, failed);
        }
        monitor::note(engine, session, &mut unit, known, argv);
    }
    publish(engine, session, &mut unit, argv);
    pubsub::enqueue(&engine.server, session, &mut unit);
    let waiter = session.block.take().map(|block| {
        let entry = Entry { known, argv, block, spent };
        blocking::enter(engine, session, &mut held, entry)
    });
    let ready = unit.take_ready();
    let served = (!ready.is_empty()).then(|| blocking::serve(engine, settings, &mut held, ready));
    drop(held);
    unit.finish(engine);
    if std::mem::take(&mut session.again) {
        return Step::Halted(Halt::Pause(known));
    }
    if let Some(outcome) = served {
        blocking::finish(engine, settings, outcome);
    }
    if let Some(errand) = session.errand.take() {
        return Step::Halted(Halt::Errand(errand));
    }
    silence(session, out, mark);
    delivery::note(session, out, mark);
    pubsub::deliver(engine, session, settings, out);
    if let Some(waiter) = waiter {
        let limit = engine.server.output_limit(settings, session.handle.kind());
        delivery::send(engine, session, out, limit);
        blocking::wait(engine, session, settings, argv, &waiter, out);
        silence(session, out, mark);
        delivery::note(session, out, mark);
        pubsub::deliver(engine, session, settings, out);
    }
    Step::Done
}

/// Executes a command of the append-only file: nobody is asked, told or replied to. `out` gets the
/// reply nevertheless.
///
/// # Errors
/// There is no such command.
pub fn replay(
    engine: &Engine,
    session: &mut Session,
    settings: &Settings,
    argv: &[&[u8]],
    out: &mut Out,
) -> Result<(), Error> {
    let known = resolve(engine, argv).map_err(|(_, error)| error)?;
    if session.multi.is_some() && !known.command.has(flag::NOT_QUEUED) {
        transaction::queue(session, argv);
        return Ok(());
    }
    let (plan, hashed) = plan_for(engine, session, known.command, argv);
    let mut held = engine.server.keyspace.hold(&plan);
    let run = Run { engine, settings, now_ms: clock::unix_ms(), in_exec: true, hashed };
    let mut unit = Unit::default();
    call(&run, session, &mut held, known, argv, out, &mut unit);
    drop(held);
    engine.server.persistence.dirty.fetch_add(unit.dirty, Ordering::Relaxed);
    unit.finish(engine);
    Ok(())
}

/// Whether the server has become a read-only replica since the command was let in. Roles change
/// while all shards are held, so a look under one of them is final.
fn was_demoted(engine: &Engine, session: &Session, settings: &Settings, known: &Known) -> bool {
    session.role == Role::Client
        && settings.replica_read_only
        && engine.server.replication.is_replica()
        && reach(engine, session, known).has(flag::WRITE)
}

/// Whether this is the stream of a primary that is followed no longer; its bytes are dropped then.
/// A shard must be held.
fn is_stale(engine: &Engine, session: &mut Session) -> bool {
    let now = engine.server.replication.generation.load(Ordering::SeqCst);
    let stale = session.role == Role::Primary && session.generation != now;
    if stale {
        session.unapplied.clear();
        session.close = true;
    }
    stale
}

/// What stays the same for all commands of a unit.
#[derive(Clone, Copy)]
pub struct Run<'r, 'k> {
    /// The server with its commands.
    pub engine: &'k Engine,
    /// The parameters.
    pub settings: &'r Settings,
    /// Unix ms.
    pub now_ms: i64,
    /// Whether this is inside EXEC.
    pub in_exec: bool,
    /// The command's only key, if it is known already where that is.
    pub hashed: Option<Hashed<'r>>,
}

/// What is done once the shards of a command are let go.
pub type Afterwards = Box<dyn FnOnce(&Arc<Server>)>;

/// Commands that go to the log together.
#[derive(Default)]
pub struct Unit {
    /// Changes, for save points.
    dirty: u64,
    /// (database, arguments).
    commands: Vec<(usize, Vec<Vec<u8>>)>,
    /// The database of the one command that the unit consists of, if it goes to the log as it was
    /// sent: its arguments are not copied, but handed to [`publish`].
    as_sent: Option<usize>,
    /// Apart, because most commands have none of it.
    rest: Option<Box<Rest>>,
}

/// What few commands leave behind.
#[derive(Default)]
struct Rest {
    /// Commands that nobody reads. To free many takes long, which is not to happen while shards are
    /// held.
    unheard: Vec<Vec<Vec<Vec<u8>>>>,
    /// What takes too long to be done while shards are held, in order.
    afterwards: Vec<Afterwards>,
    /// What subscribers are to be told, in order.
    notices: Vec<Notice>,
    /// (database, key) that changed while somebody was waiting for that.
    ready: Vec<(usize, Vec<u8>)>,
}

/// Runs a handler on held shards, writes its reply or error, and adds its effect to the unit.
/// Returns whether it answered an error.
pub fn call<'k>(
    run: &Run<'_, 'k>,
    session: &mut Session,
    held: &mut Held<'k>,
    known: &Known,
    argv: &[&[u8]],
    out: &mut Out,
    unit: &mut Unit,
) -> bool {
    let engine = run.engine;
    let (mut changes, mut effects) = (Changes::default(), Effects::default());
    let db_index = session.db;
    let mark = out.mark();
    let expiry = expiry_of(engine, session, known.command);
    let mut db = Db::new(held, db_index, run.now_ms, expiry, &mut changes);
    db.set_touch(!session.no_touch);
    let wanted = pubsub::wanted(&engine.server, run.settings);
    db.set_wanted(wanted);
    db.set_aging(memory::aging(run.settings));
    db.set_hashed(run.hashed);
    let mut ctx = Ctx {
        engine,
        server: &engine.server,
        settings: run.settings,
        session,
        db,
        reply: Replier::new(out),
        effects: &mut effects,
        now_ms: run.now_ms,
        in_exec: run.in_exec,
        unit,
    };
    ctx.session.redacted.clear();
    let mut args = Args::new(argv, if known.parent.is_some() { 2 } else { 1 });
    let handler = known.command.handler.expect("only commands with a handler are resolved");
    let result = handler(&mut ctx, &mut args);
    if let Err(error) = &result {
        out.truncate(mark);
        if !session.again {
            out.error(error);
            engine.server.stats.error(error.code());
            divergence::report(engine, run.settings, session, Some(known), error);
        }
    }
    unit.note(&mut changes, wanted);
    unit.collect(run, session, &mut changes, effects, db_index, argv);
    result.is_err()
}

/// Runs a queued command of EXEC, on the shards that EXEC holds, and adds its effect to EXEC's.
pub fn call_queued(ctx: &mut Ctx, argv: &[&[u8]]) {
    let engine = ctx.engine;
    let known = match resolve(engine, argv) {
        Ok(known) => known,
        // It was right when it was queued, and commands do not change.
        Err((_, error)) => return ctx.reply.parts().error(&error),
    };
    // A CONFIG SET before it counts for it.
    let changed = ctx.session.changed_settings(&ctx.server.config);
    let settings = changed.as_deref().unwrap_or(ctx.settings);
    // So does an ACL SETUSER.
    ctx.session.look_after_user(&engine.server.acl);
    let request = Request { engine, settings, session: ctx.session, known, argv };
    if let Some(error) = request.refuse_in_exec() {
        engine.server.stats.error(error.code());
        return ctx.reply.parts().error(&error);
    }
    let run = Run { engine, settings, now_ms: ctx.now_ms, in_exec: true, hashed: None };
    let began = Moment::now();
    let out = ctx.reply.parts();
    let failed = call(&run, ctx.session, ctx.db.held(), known, argv, out, ctx.unit);
    account(engine, ctx.session, settings, known, argv, ctx.session.spent(began), failed);
    monitor::note(engine, ctx.session, ctx.unit, known, argv);
}

impl Unit {
    fn collect(
        &mut self,
        run: &Run,
        session: &Session,
        changes: &mut Changes,
        mut effects: Effects,
        db: usize,
        argv: &[&[u8]],
    ) {
        self.dirty += changes.dirty;
        if !changes.own_deadlines.is_empty() {
            let keys = std::mem::take(&mut changes.own_deadlines);
            run.engine.server.replication.note_own_volatile(keys);
        }
        let log = &run.engine.server.log;
        let is_read = match session.role {
            Role::Client => log.is_active(),
            // The stream itself is passed on as it came.
            Role::Primary => log.is_filing(),
            Role::Replay => false,
        };
        if !is_read {
            if let Some(commands) = effects.take() {
                self.rest().unheard.push(commands);
            }
            return;
        }
        self.expired(run.settings, &changes.expired);
        self.expired_fields(&changes.expired_fields);
        match effects.take() {
            Some(commands) => self.commands.extend(commands.into_iter().map(|argv| (db, argv))),
            None if changes.dirty > 0 && self.commands.is_empty() && !run.in_exec => {
                self.as_sent = Some(db);
            }
            None if changes.dirty > 0 => {
                self.commands.push((db, argv.iter().map(|arg| arg.to_vec()).collect()));
            }
            None => {}
        }
    }

    /// Keeps what is to be told of changes, of which these classes were noted.
    #[inline]
    pub(super) fn note(&mut self, changes: &mut Changes, wanted: EventClasses) {
        if !changes.events.is_empty() {
            let events = changes.events.drain(..).map(|event| Notice::Event(event, wanted));
            self.rest().notices.extend(events);
        }
        if !changes.ready.is_empty() {
            self.rest().ready.append(&mut changes.ready);
        }
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// Has something done once the shards are let go.
    pub(super) fn do_afterwards(&mut self, action: Afterwards) {
        self.rest().afterwards.push(action);
    }

    /// Adds something that subscribers are to be told.
    pub(super) fn tell(&mut self, notice: Notice) {
        self.rest().notices.push(notice);
    }

    /// Whether subscribers are to be told anything.
    pub(super) fn has_notices(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| !rest.notices.is_empty())
    }

    /// What subscribers are to be told.
    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.rest().notices)
    }

    /// The keys that changed while somebody was waiting for that.
    #[inline]
    pub(super) fn take_ready(&mut self) -> Vec<(usize, Vec<u8>)> {
        self.rest.as_mut().map(|rest| std::mem::take(&mut rest.ready)).unwrap_or_default()
    }

    /// Does what had to wait until the shards are let go.
    #[inline]
    pub(super) fn finish(self, engine: &Engine) {
        let Some(rest) = self.rest else { return };
        for action in rest.afterwards {
            action(&engine.server);
        }
    }

    /// Adds what another unit has.
    pub(super) fn append(&mut self, mut other: Unit) {
        self.dirty += other.dirty;
        self.commands.append(&mut other.commands);
        let Some(mut other) = other.rest else { return };
        let rest = self.rest();
        rest.unheard.append(&mut other.unheard);
        rest.afterwards.append(&mut other.afterwards);
        rest.notices.append(&mut other.notices);
        rest.ready.append(&mut other.ready);
    }

    /// Adds the removal of fields whose time had come.
    fn expired_fields(&mut self, fields: &[(usize, Vec<u8>, Vec<u8>)]) {
        self.commands.extend(fields.iter().map(removal_of_field));
    }

    /// Adds the removal of keys whose time had come.
    pub fn expired(&mut self, settings: &Settings, expired: &[(usize, Vec<u8>)]) {
        let name: &[u8] = if settings.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        for (db, key) in expired {
            self.commands.push((*db, vec![name.to_vec(), key.clone()]));
        }
    }
}

/// The command by which a field's removal goes to the log.
fn removal_of_field((db, key, field): &(usize, Vec<u8>, Vec<u8>)) -> (usize, Vec<Vec<u8>>) {
    (*db, vec![b"HDEL".to_vec(), key.clone(), field.clone()])
}

/// Appends a unit to the log; `argv` is the command as it was sent. The shards that it changed are
/// still held, so log order is apply order.
#[inline]
pub fn publish(engine: &Engine, session: &mut Session, unit: &mut Unit, argv: &[&[u8]]) {
    let server = &engine.server;
    if unit.dirty > 0 {
        server.persistence.dirty.fetch_add(unit.dirty, Ordering::Relaxed);
    }
    let place = match unit.as_sent.take() {
        Some(db) => Some(server.log.append(&[(db, argv)])),
        None if unit.commands.is_empty() => None,
        None => Some(append(engine, &unit.commands)),
    };
    if let Some(place) = place {
        (session.last_write, session.last_file) = (place.stream, place.file);
    }
    if session.role == Role::Primary {
        pass_on(engine, session);
    }
}

/// Appends a unit of at least one command to the log; the place behind it.
fn append(engine: &Engine, commands: &[(usize, Vec<Vec<u8>>)]) -> Place {
    let argvs: Vec<Vec<&[u8]>> =
        commands.iter().map(|(_, argv)| argv.iter().map(Vec::as_slice).collect()).collect();
    let commands: Vec<(usize, &[&[u8]])> =
        commands.iter().zip(&argvs).map(|((db, _), argv)| (*db, argv.as_slice())).collect();
    engine.server.log.append(&commands)
}

/// Appends the removal of keys whose time had come, each for itself, because nothing ties them
/// together.
pub fn append_expired(engine: &Engine, settings: &Settings, expired: &[(usize, Vec<u8>)]) {
    if !engine.server.log.is_active() {
        return;
    }
    for key in expired {
        let mut unit = Unit::default();
        unit.expired(settings, std::slice::from_ref(key));
        append(engine, &unit.commands);
    }
}

/// Appends the removal of one key.
pub fn append_removal(engine: &Engine, lazily: bool, db: usize, key: &[u8]) {
    if engine.server.log.is_active() {
        let name: &[u8] = if lazily { b"UNLINK" } else { b"DEL" };
        append(engine, &[(db, vec![name.to_vec(), key.to_vec()])]);
    }
}

/// The same for the fields of hashes.
pub fn append_expired_fields(engine: &Engine, fields: &[(usize, Vec<u8>, Vec<u8>)]) {
    if !engine.server.log.is_active() {
        return;
    }
    for field in fields {
        append(engine, &[removal_of_field(field)]);
    }
}

/// Room for bytes that are to be passed on, which is kept for the next command.
const KEPT_UNAPPLIED: usize = 64 * 1024;

/// Passes the primary's bytes on to our own log, unless they belong to a transaction that is still
/// queued.
fn pass_on(engine: &Engine, session: &mut Session) {
    if session.role == Role::Primary && session.multi.is_none() {
        // Before the offset moves: a snapshot in between only makes a replica select twice.
        engine.server.replication.stream_db.store(session.db, Ordering::SeqCst);
        engine.server.log.append_raw(&session.unapplied);
        session.unapplied.clear();
        session.unapplied.shrink_to(KEPT_UNAPPLIED);
    }
}

/// Passes bytes of the primary's on that have executed nothing.
pub fn pass_on_alone(engine: &Engine, session: &mut Session) {
    let _held = engine.server.keyspace.hold(&Plan::One(0));
    if !is_stale(engine, session) {
        pass_on(engine, session);
    }
}

/// The shards that a command needs; and its key, if it has only one.
pub fn plan_for<'a>(
    engine: &Engine,
    session: &Session,
    command: &Command,
    argv: &[&'a [u8]],
) -> (Plan, Option<Hashed<'a>>) {
    let plan = match command.locking {
        Locking::All => Plan::All,
        Locking::OneByOne => Plan::None,
        Locking::Queued => transaction::plan(engine, session),
        Locking::Keys => match command.only_key().and_then(|index| argv.get(index)) {
            Some(key) => {
                let hashed = engine.server.keyspace.hashed(key);
                return (Plan::One(hashed.shard()), Some(hashed));
            }
            None => plan_of_keys(engine, command, argv),
        },
    };
    let plan = match plan {
        // The primary's stream is followed only while a shard is held: see `is_stale`.
        Plan::None if session.role != Role::Client => match command.locking {
            Locking::OneByOne => Plan::All,
            _ => Plan::One(0),
        },
        plan => plan,
    };
    (plan, None)
}

/// The shards of a command's keys.
pub fn plan_of_keys(engine: &Engine, command: &Command, argv: &[&[u8]]) -> Plan {
    let keyspace = &engine.server.keyspace;
    let mut shards = command.key_indexes(argv).map(|i| keyspace.shard_of(argv[i]));
    match (shards.next(), shards.next()) {
        (None, _) => Plan::None,
        (Some(only), None) => Plan::One(only),
        (Some(first), Some(second)) => {
            Plan::of([first, second].into_iter().chain(shards).collect())
        }
    }
}

/// How a command treats expired keys.
fn expiry_of(engine: &Engine, session: &Session, command: &Command) -> Expiry {
    if session.role != Role::Client {
        Expiry::Ignore
    } else if engine.server.replication.is_replica() {
        // A writable replica's own writes must not build on what has expired.
        if command.has(flag::WRITE) { Expiry::DeleteOwn } else { Expiry::Hide }
    } else if engine.server.pause.stops(true) {
        Expiry::Hide
    } else {
        Expiry::Delete
    }
}

/// Counts a command that has been executed, in `nanos`. This is done before its changes can be seen
/// in the log or in the keys: whoever sees them finds it counted.
pub fn account(
    engine: &Engine,
    session: &Session,
    settings: &Settings,
    known: &Known,
    argv: &[&[u8]],
    nanos: u64,
    failed: bool,
) {
    if session.role == Role::Replay {
        // It was counted when it was executed first.
        return;
    }
    // As they are behind the command: one that sets a threshold is judged by it.
    let changed = session.changed_settings(&engine.server.config);
    let settings = changed.as_deref().unwrap_or(settings);
    let server = &engine.server;
    let handle = &session.handle;
    server.stats.executed(handle.id, known.id, nanos, failed, settings.latency_tracking);
    let (micros, command) = (nanos / 1000, known.command);
    let threshold = settings.slowlog_log_slower_than;
    if threshold >= 0 && micros >= threshold as u64 && !command.has(flag::SKIP_SLOWLOG) {
        let shown = session.without_secrets(argv);
        let max_len = settings.slowlog_max_len;
        server.slowlog.add(micros, &shown, &handle.addr, &session.name, max_len);
    }
    let event = if command.has(flag::FAST) { "fast-command" } else { "command" };
    server.latency.note(event, micros / 1000, settings.latency_monitor_threshold);
}
