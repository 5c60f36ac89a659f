//! What a handler works with: its keys, its reply, its connection and the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::data::Text;
use crate::data::listpack::Item;
use crate::engine::Engine;
use crate::engine::blocking::{self, Block};
use crate::engine::delivery;
use crate::engine::dispatch::{self, Unit};
use crate::engine::effects::Effects;
use crate::engine::pubsub;
use crate::engine::session::{Errand, Role, Session};
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::state::Server;
use crate::state::clients::{Unblock, flag};
use crate::state::config::Settings;
use crate::state::memory;
use crate::store::keyspace::{self, SHARDS};
use crate::store::shard::{Shard, ShardStats};
use crate::store::{Changes, Db, Plan};

/// The proof that a reply was written; only a [`Replier`] makes one.
#[must_use]
#[derive(Debug)]
pub struct Sent(());

/// What a handler returns: a forgotten reply does not compile, and an error replaces what was
/// written.
pub type Reply = Result<Sent, Error>;

/// Writes the reply of one command.
pub struct Replier<'c> {
    out: &'c mut Out,
}

impl Replier<'_> {
    /// A writer at the end of `out`.
    pub fn new(out: &mut Out) -> Replier<'_> {
        Replier { out }
    }

    /// `OK`.
    pub fn ok(&mut self) -> Reply {
        self.out.ok();
        self.done()
    }

    /// A status.
    pub fn simple(&mut self, text: &str) -> Reply {
        self.out.simple(text);
        self.done()
    }

    /// An integer.
    pub fn int(&mut self, value: i64) -> Reply {
        self.out.int(value);
        self.done()
    }

    /// A count.
    pub fn count(&mut self, value: usize) -> Reply {
        self.int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// 1 or 0.
    pub fn flag(&mut self, value: bool) -> Reply {
        self.int(i64::from(value))
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) -> Reply {
        self.out.bulk(bytes);
        self.done()
    }

    /// A string value, shared when it is long.
    pub fn value(&mut self, value: Text) -> Reply {
        push_value(self.out, value);
        self.done()
    }

    /// The absent value.
    pub fn null(&mut self) -> Reply {
        self.out.null();
        self.done()
    }

    /// The absent array.
    pub fn null_array(&mut self) -> Reply {
        self.out.null_array();
        self.done()
    }

    /// Text for people, which RESP3 marks as such.
    pub fn verbatim(&mut self, text: &[u8]) -> Reply {
        self.out.verbatim("txt", text);
        self.done()
    }

    /// The lines of a HELP subcommand.
    pub fn lines(&mut self, lines: &[&str]) -> Reply {
        self.out.array(lines.len());
        for line in lines {
            self.out.simple(line);
        }
        self.done()
    }

    /// The plain writer, for replies of several parts. Finish with [`Replier::done`].
    pub fn parts(&mut self) -> &mut Out {
        self.out
    }

    /// All parts are written.
    pub fn done(&self) -> Reply {
        Ok(Sent(()))
    }

    /// This command has no reply (REPLCONF ACK), or it comes later and from elsewhere (PSYNC).
    pub fn none(&self) -> Reply {
        Ok(Sent(()))
    }
}

/// Writes a string value, shared when it is long.
pub fn push_value(out: &mut Out, value: Text) {
    match value {
        Text::Int(number) => out.bulk_int(number),
        Text::Bytes(bytes) => out.bulk(bytes),
        Text::Shared(bytes) => out.bulk_shared(Arc::clone(bytes)),
    }
}

/// Writes an element of a compact block.
pub fn push_item(out: &mut Out, item: Item) {
    match item {
        Item::Int(number) => out.bulk_int(number),
        Item::Bytes(bytes) => out.bulk(bytes),
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// What was waited for is the case.
    Done,
    /// The time is over.
    Timeout,
    /// CLIENT UNBLOCK, or the like.
    Unblocked(Unblock),
    /// The client has gone.
    HungUp,
}

/// What a handler works with.
pub struct Ctx<'c, 'k> {
    /// The server with its commands.
    pub engine: &'k Engine,
    /// The server.
    pub server: &'k Arc<Server>,
    /// The parameters, of one moment.
    pub settings: &'c Settings,
    /// The connection.
    pub session: &'c mut Session,
    /// The selected database, as far as its shards are held.
    pub db: Db<'c, 'k>,
    /// The reply.
    pub reply: Replier<'c>,
    /// What goes to the log.
    pub effects: &'c mut Effects,
    /// Unix ms, the same for the whole command.
    pub now_ms: i64,
    /// Whether this runs inside EXEC, where nothing may wait.
    pub in_exec: bool,
    /// What this command has done, and those that it has run.
    pub(super) unit: &'c mut Unit,
}

impl<'k> Ctx<'_, 'k> {
    /// Whether the connection comes from this machine.
    pub fn is_local(&self) -> bool {
        let addr = &self.session.handle.addr;
        self.session.handle.has(flag::UNIX) || addr.starts_with("127.") || addr.starts_with("[::1]")
    }

    /// The longest string that this client may make; what the primary has made is right.
    pub fn longest_string(&self) -> usize {
        match self.session.role {
            Role::Client => self.settings.proto_max_bulk_len,
            Role::Primary | Role::Replay => isize::MAX as usize,
        }
    }

    /// Visits one shard through a view of the selected database. It is held only meanwhile, except
    /// inside EXEC, which holds all. For commands that are defined with `locks_one_by_one`.
    pub fn with_shard<R>(&mut self, shard: usize, visit: impl FnOnce(&mut Db<'_, 'k>) -> R) -> R {
        if self.in_exec {
            return visit(&mut self.db);
        }
        let mut held = self.engine.server.keyspace.hold(&Plan::One(shard));
        let mut changes = Changes::default();
        let (index, expiry) = (self.db.index(), self.db.expiry());
        let mut db = Db::new(&mut held, index, self.now_ms, expiry, &mut changes);
        let wanted = pubsub::wanted(self.server, self.settings);
        db.set_wanted(wanted);
        db.set_aging(memory::aging(self.settings));
        let result = visit(&mut db);
        // Before the shard is let go, so that nobody's write to such a key comes first.
        dispatch::append_expired(self.engine, self.settings, &changes.expired);
        dispatch::append_expired_fields(self.engine, &changes.expired_fields);
        let mut unit = Unit::default();
        unit.note(&mut changes, wanted);
        pubsub::enqueue(self.server, self.session, &mut unit);
        self.unit.append(unit);
        result
    }

    /// To be called before the same shard is visited again, so that who waits for it comes first.
    pub fn breathe(&self) {
        if !self.in_exec {
            keyspace::breathe();
        }
    }

    /// Has something done once the shards are let go, before the reply is sent.
    pub fn afterwards(&mut self, action: impl FnOnce(&Arc<Server>) + 'static) {
        self.unit.do_afterwards(Box::new(action));
    }

    /// Whether a key that gets this deadline (Unix ms) is to be removed at once. A replica never
    /// decides that: it waits for its primary's word.
    pub fn is_past(&self, deadline: i64) -> bool {
        deadline <= self.now_ms
            && self.session.role == Role::Client
            && !self.server.replication.is_replica()
    }

    /// Visits all shards, each held only meanwhile; inside EXEC all of them are held. For commands
    /// that are defined with `locks_one_by_one`.
    pub fn each_shard(&mut self, mut visit: impl FnMut(&mut Shard)) {
        if self.in_exec {
            (0..SHARDS).for_each(|index| visit(self.db.held().shard(index)));
        } else {
            self.server.keyspace.each_shard(visit);
        }
    }

    /// CONFIG RESETSTAT: sets all counters to zero. The command must be defined with
    /// `locks_one_by_one`.
    pub fn reset_stats(&mut self) {
        self.server.reset_stats();
        self.each_shard(|shard| shard.stats = ShardStats::default());
    }

    /// Hides an argument (counted from the command's name, which is 0) from MONITOR and the slow
    /// log.
    pub fn redact(&mut self, index: usize) {
        self.session.redacted.push(index);
    }

    /// Has the client wait and the command executed again, or answers nothing where nothing may
    /// wait. To be returned by the handler.
    pub fn block(&mut self, block: Block) -> Reply {
        if self.in_exec {
            self.reply.parts().null_array();
        } else {
            self.session.block = Some(block);
        }
        self.reply.done()
    }

    /// Has an errand done while no shard is held, and then the command executed again, which is
    /// asked anew whether it may run and finds what is left in `session.rest`. To be returned by
    /// the handler. Not inside EXEC, which holds all shards to its end.
    pub fn send_out(&mut self, errand: Errand) -> Reply {
        debug_assert!(!self.in_exec, "a transaction cannot let its shards go");
        self.session.errand = Some(errand);
        self.reply.none()
    }

    /// Sends the replies so far and waits until `done`, the time is over, or the client goes. No
    /// shard may be held.
    pub fn wait(&mut self, deadline: Option<Instant>, done: impl FnMut() -> bool) -> Woken {
        let handle = Arc::clone(&self.session.handle);
        let limit = self.server.output_limit(self.settings, handle.kind());
        delivery::send(self.engine, self.session, self.reply.out, limit);
        let began = Instant::now();
        handle.begin_wait();
        self.server.blocked.fetch_add(1, Ordering::Relaxed);
        let woken = blocking::wait_until(self.server, &handle, deadline, done);
        self.server.blocked.fetch_sub(1, Ordering::Relaxed);
        self.session.waited_nanos += began.elapsed().as_nanos() as u64;
        // Who goes on behind a client that has gone would execute commands for nobody.
        self.session.close |= woken == Woken::HungUp;
        // What CLIENT UNBLOCK was told it did has to be what happens.
        handle.end_wait().map_or(woken, Woken::Unblocked)
    }
}
