//! Replies that may be longer than any memory: SRANDMEMBER, HRANDFIELD and ZRANDMEMBER repeat
//! elements as often as they are asked to.
//!
//! Such a reply leaves piece by piece while no shard is held, and its connection's thread waits
//! until the client has taken what there is. Where that cannot be, because messages might come in
//! between or the shards stay held (EXEC), the client is cut before the reply takes too much.
//!
//! Invariant: while a reply leaves in pieces nothing else may be put into its client's outbox.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::sys::{Interest, POLL_OUT, wait_for};
use crate::data::Kind;
use crate::engine::Engine;
use crate::engine::apart::{AGAIN, WORK_MIN};
use crate::engine::ctx::{Ctx, Reply};
use crate::engine::delivery;
use crate::engine::session::{ReplyMode, Role, Session};
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::state::clients::flag;
use crate::state::outbox::{Limit, Sent};

/// Bytes that are sent together.
const PIECE: usize = 256 * 1024;

/// Elements that are repeated while shards are held, at most: some seconds of work.
const MOST_HELD: u64 = 1 << 24;

/// Bytes that a reply which cannot leave in pieces takes at most, where nothing else limits it.
const MOST_BYTES: u64 = 1 << 30;

/// How often a client that does not read is looked at: whether it is still there.
const LOOK: Duration = Duration::from_secs(1);

/// How long the drain thread is given.
const BREATH: Duration = Duration::from_millis(1);

/// A reply on its way.
pub struct Pieces<'p> {
    out: &'p mut Out,
    engine: &'p Engine,
    session: &'p mut Session,
    limit: Limit,
    /// Whether what is written may be sent before the rest is.
    may_leave: bool,
    /// Nothing that is written would be of use.
    is_over: bool,
}

impl Pieces<'_> {
    /// The plain writer.
    pub fn out(&mut self) -> &mut Out {
        self.out
    }

    /// Whether the rest is wanted; to be asked behind each element.
    pub fn go_on(&mut self) -> bool {
        if self.out.len() >= PIECE && !self.is_over {
            self.is_over = !self.make_room();
        }
        !self.is_over
    }

    fn make_room(&mut self) -> bool {
        let written = self.out.len() as u64;
        // Who gets more than that is cut, as soon as it is handed over.
        if self.limit.hard > 0 {
            return written <= self.limit.hard;
        }
        if self.may_leave {
            return self.send();
        }
        if written > MOST_BYTES {
            self.engine.server.cut(&self.session.handle);
        }
        written <= MOST_BYTES
    }

    /// Sends what is written and waits until the client has taken it; whether it is still there.
    fn send(&mut self) -> bool {
        let (server, began) = (&self.engine.server, Instant::now());
        server.stats.replied(self.session.handle.id, self.out.len());
        let sent = delivery::send(self.engine, self.session, self.out, self.limit);
        let handle = &self.session.handle;
        let is_here = || !handle.outbox.is_gone() && !server.has_ended();
        let is_well = !matches!(sent, Sent::OverLimit | Sent::Gone);
        while is_well && is_here() && handle.outbox.waiting().1 > 0 {
            // It is the drain thread that sends then.
            wait_for(&mut [Interest::new(handle.stream.fd(), POLL_OUT)], Some(LOOK));
            thread::sleep(BREATH);
        }
        // Who reads is not idle.
        handle.active_ms.store(clock::unix_ms(), Ordering::Relaxed);
        self.session.waited_nanos += began.elapsed().as_nanos() as u64;
        let goes_on = is_well && is_here();
        self.session.close |= !goes_on;
        goes_on
    }
}

impl Ctx<'_, '_> {
    /// Writes a reply of `times` elements, some again and again, about a key's value; `none` is
    /// written where there is no value.
    ///
    /// # Errors
    /// The value is of another type; or shards would be held for too long; or the command is
    /// executed again, once what it has found to be over is published.
    pub fn reply_in_pieces<T: Kind + Clone>(
        &mut self,
        key: &[u8],
        times: u64,
        none: impl FnOnce(&mut Out),
        write: impl FnOnce(&T, &mut Pieces),
    ) -> Reply {
        let Some(value) = self.db.get::<T>(key)?.cloned() else {
            none(self.reply.parts());
            return self.reply.done();
        };
        if self.db.has_to_publish() && !self.in_exec && self.session.role == Role::Client {
            self.session.again = true;
            return Err(AGAIN);
        }
        // Few elements may be long ones, and there is a clone already.
        let work = usize::try_from(times).unwrap_or(usize::MAX).max(WORK_MIN);
        let is_free = self.let_go(work)?;
        if !is_free && times > MOST_HELD {
            return Err(Error::OUT_OF_RANGE);
        }
        let handle = &self.session.handle;
        let gets_other = flag::PUBSUB | flag::MONITOR | flag::REPLICA;
        let pieces = &mut Pieces {
            engine: self.engine,
            limit: self.server.output_limit(self.settings, handle.kind()),
            may_leave: is_free && !handle.has(gets_other),
            is_over: matches!(self.session.reply_mode, ReplyMode::Off | ReplyMode::Skip),
            session: self.session,
            out: self.reply.parts(),
        };
        write(&value, pieces);
        self.reply.done()
    }
}
