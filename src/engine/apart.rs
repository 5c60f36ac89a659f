//! Commands that take long do their work while they hold no shard, so that one client's SMEMBERS of
//! millions stops nobody else.
//!
//! A value's clone shares its memory with the key ([`crate::data`]), and later changes of the key
//! copy what they concern. So a command takes what it is about along, lets its shards go, and the
//! reply is still of that one moment. Where the result is to be stored, the shards are taken back
//! behind the work; if a source has become another one meanwhile, the command is executed again.
//!
//! Invariant: shards are let go only where nothing has to happen before: no change is to be
//! published, nobody is to be served, and they are not held on behalf of others.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::data::{Kind, Value};
use crate::engine::ctx::{Ctx, Replier, Reply};
use crate::engine::session::{Role, Thread};
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::store::{Note, View};

/// Work that is worth the clone and the copying that writers may have to do because of it: about a
/// hundred microseconds. One is an element, or [`BYTES_PER_STEP`] bytes.
pub(super) const WORK_MIN: usize = 1000;

/// Bytes that take about as long as an element.
const BYTES_PER_STEP: usize = 64;

/// Work that an attendant, which other connections wait for, leaves to the connection's own thread.
const LONG_WORK: usize = 10 * WORK_MIN;

/// How often a command is executed whose sources change while it works. Then it keeps its shards.
const TRIES: u32 = 3;

/// Never seen: the command is executed again instead.
pub(super) const AGAIN: Error = Error::new("ERR What the command worked on has changed");

/// The work that so many bytes are.
pub fn work_of_bytes(bytes: usize) -> usize {
    bytes / BYTES_PER_STEP
}

impl Ctx<'_, '_> {
    /// Lets the shards go if so much work is worth it and that may be; whether it did. No key may
    /// be asked for afterwards, and nothing may have been changed before.
    ///
    /// # Errors
    /// So much work is for the connection's own thread, which executes the command again.
    pub fn let_go(&mut self, work: usize) -> Result<bool, Error> {
        let may = work >= WORK_MIN
            && !self.in_exec
            && self.session.role == Role::Client
            && !self.db.has_to_publish();
        if may && work >= LONG_WORK && self.session.thread == Thread::Attendant {
            self.session.again = true;
            return Err(AGAIN);
        }
        Ok(may && self.db.held().let_go())
    }

    /// Writes a reply about a part of a key's value, without its shard if the part is large.
    pub fn reply_about<T: Kind + Clone>(
        &mut self,
        key: &[u8],
        part: impl FnOnce(&T) -> Range<usize>,
        write: impl FnOnce(Option<(&T, Range<usize>)>, &mut Replier) -> Reply,
    ) -> Reply {
        let value = self.db.get::<T>(key)?;
        let part = value.map_or(0..0, part);
        if part.len() < WORK_MIN {
            return write(value.map(|value| (value, part)), &mut self.reply);
        }
        let value = value.cloned();
        self.let_go(part.len())?;
        write(value.as_ref().map(|value| (value, part)), &mut self.reply)
    }

    /// Works a result out of what these keys hold, without the shards if it is that much work.
    /// `work` has its own clones of the values and asks for no key. Nothing may be changed before.
    ///
    /// # Errors
    /// The command is executed again, perhaps by another thread, or refused then.
    pub fn work_out<R>(
        &mut self,
        keys: &[&[u8]],
        amount: usize,
        work: impl FnOnce(&mut Self) -> R,
    ) -> Result<R, Error> {
        if amount < WORK_MIN || self.session.tries >= TRIES {
            self.session.tries = 0;
            return Ok(work(self));
        }
        let value = |entry: View| entry.value().into_owned();
        let before: Vec<Option<Value>> =
            keys.iter().map(|key| self.db.peek(key).map(value)).collect();
        let (terms, shards) = (self.terms(), self.db.held().set());
        if !self.let_go(amount)? {
            return Ok(work(self));
        }
        let result = work(self);
        self.db.held().take_back(shards);
        let may_go_on = terms == self.terms();
        let is_same = |(key, before): (&&[u8], &Option<Value>)| match (self.db.peek(key), before) {
            (Some(now), Some(before)) => now.value().is_unchanged_since(before),
            (now, before) => now.is_none() && before.is_none(),
        };
        if may_go_on && keys.iter().zip(&before).all(is_same) {
            self.session.tries = 0;
            return Ok(result);
        }
        // What was worked out is freed while no shard is held.
        self.db.held().let_go();
        self.session.again = true;
        self.session.tries += 1;
        Err(AGAIN)
    }

    /// Changes a key's value as [`Db::edit`] does, without its shard if it is so much work, which
    /// is then done on a clone. `change` may write to the reply, and `announce` says what has been
    /// done.
    ///
    /// [`Db::edit`]: crate::store::Db::edit
    ///
    /// # Errors
    /// As [`Ctx::work_out`]; or the value is of another type.
    pub fn edit_apart<T: Kind + Clone + Send + 'static, R>(
        &mut self,
        key: &[u8],
        amount: impl FnOnce(&T) -> usize,
        change: impl FnOnce(&mut T, &mut Out) -> R,
        announce: impl FnOnce(&R, &mut Note),
    ) -> Result<Option<R>, Error> {
        let (in_exec, out) = (self.in_exec, self.reply.parts());
        let tried = self.db.edit(key, |value: &mut T, note| {
            let amount = amount(value);
            if amount >= WORK_MIN && !in_exec {
                return Err((value.clone(), amount, change, announce));
            }
            let result = change(value, out);
            announce(&result, note);
            Ok(result)
        })?;
        let (mut value, amount, change, announce) = match tried {
            None => return Ok(None),
            Some(Ok(result)) => return Ok(Some(result)),
            Some(Err(apart)) => apart,
        };
        let result = self.work_out(&[key], amount, |ctx| change(&mut value, ctx.reply.parts()))?;
        let old = self.db.edit(key, |place: &mut T, note| {
            announce(&result, note);
            std::mem::replace(place, value)
        })?;
        self.db.held().discard(old);
        Ok(Some(result))
    }

    /// What decides whether a command may write, beside its own looks.
    fn terms(&self) -> (bool, bool, u64) {
        let (pause, replication) = (&self.server.pause, &self.server.replication);
        let generation = replication.generation.load(Ordering::SeqCst);
        (pause.stops(true), replication.is_replica(), generation)
    }
}
