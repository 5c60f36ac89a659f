//! A mutex with a rank: in debug builds a thread that takes a lock of a lower or equal rank than
//! one it holds fails at once, so a wrong lock order shows in the first test that meets it and not
//! in a rare deadlock.
//!
//! The order of the whole server, lowest first, is the list of constants below. Shards are taken
//! many at a time; the keyspace keeps their order (ascending index) itself and passes `rank +
//! index`.
//!
//! A poisoned lock is fatal: its owner died half-way through a change, and half-changed data is not
//! served.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Ranks, in the order in which locks may be taken.
pub mod rank {
    /// Whole tasks that hold shards now and then: a save.
    pub const TASK: u32 = 10;
    /// Shards: this plus the shard's index. They come first, because EXEC holds those of all its
    /// commands while commands about anything else run.
    pub const SHARD: u32 = 1000;
    /// Administrative state: save and replication jobs, the link to the primary.
    pub const ADMIN: u32 = 2000;
    /// The registry of clients.
    pub const CLIENTS: u32 = 3000;
    /// One client's descriptive fields (name, library).
    pub const CLIENT: u32 = 4000;
    /// Who is subscribed to what (and one more: the messages that wait to be delivered).
    pub const PUBSUB: u32 = 4500;
    /// One client's output queue.
    pub const OUTBOX: u32 = 5000;
    /// The list of outboxes that wait for their socket.
    pub const DRAIN: u32 = 5500;
    /// The ordered write log.
    pub const LOG: u32 = 6000;
    /// Small counters and rings that never call out while held.
    pub const LEAF: u32 = 9000;
}

#[cfg(debug_assertions)]
mod held {
    use std::cell::RefCell;

    thread_local! {
        static RANKS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }

    pub fn enter(rank: u32) {
        RANKS.with(|ranks| {
            if let Some(&top) = ranks.borrow().iter().max() {
                assert!(top < rank, "lock of rank {rank} taken while one of rank {top} is held");
            }
        });
        enter_in_any_order(rank);
    }

    pub fn enter_in_any_order(rank: u32) {
        RANKS.with(|ranks| ranks.borrow_mut().push(rank));
    }

    pub fn leave(rank: u32) {
        RANKS.with(|ranks| {
            let mut ranks = ranks.borrow_mut();
            if let Some(at) = ranks.iter().rposition(|&r| r == rank) {
                ranks.remove(at);
            }
        });
    }
}

/// How often a lock that is held is looked at, where nobody is to sleep for it.
const SPINS: u32 = 30;

/// A mutex that knows its place in the lock order.
#[derive(Debug)]
pub struct Lock<T> {
    rank: u32,
    inner: Mutex<T>,
}

/// What holding a [`Lock`] gives.
pub struct Guard<'a, T> {
    // `Option` only so that a wait on a condition variable can take the guard out and put it back.
    inner: Option<MutexGuard<'a, T>>,
    rank: u32,
}

impl<T> Lock<T> {
    /// A lock of the given rank (see [`rank`]).
    pub const fn new(rank: u32, value: T) -> Self {
        Lock { rank, inner: Mutex::new(value) }
    }

    /// What it guarded, once nobody else can have it.
    pub fn into_inner(self) -> T {
        self.inner.into_inner().expect("a thread died while it changed this data")
    }

    /// Waits for the lock. Panics when its last holder panicked, or (debug builds) on a wrong
    /// order.
    pub fn lock(&self) -> Guard<'_, T> {
        #[cfg(debug_assertions)]
        held::enter(self.rank);
        let inner = self.inner.lock().expect("a thread died while it changed this data");
        Guard { inner: Some(inner), rank: self.rank }
    }

    /// Takes the lock if it is free now. The order does not matter, as nobody waits here.
    #[inline]
    pub fn try_now(&self) -> Option<Guard<'_, T>> {
        let inner = self.inner.try_lock().ok()?;
        #[cfg(debug_assertions)]
        held::enter_in_any_order(self.rank);
        Some(Guard { inner: Some(inner), rank: self.rank })
    }

    /// Takes the lock if it becomes free within about a microsecond. The order does not matter,
    /// as nobody waits here for a thread that waits.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        for _ in 0..SPINS {
            let guard = self.try_now();
            if guard.is_some() {
                return guard;
            }
            std::hint::spin_loop();
        }
        None
    }
}

impl<T> Guard<'_, T> {
    /// Waits on `condvar` for at most `timeout`, giving the lock up meanwhile.
    pub fn wait_timeout(mut self, condvar: &Condvar, timeout: Duration) -> Self {
        let inner = self.inner.take().expect("a guard holds its lock");
        let (inner, _) = condvar.wait_timeout(inner, timeout).expect("a waiting thread died");
        self.inner = Some(inner);
        self
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.inner.as_ref().expect("a guard holds its lock")
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("a guard holds its lock")
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        held::leave(self.rank);
        let _ = self.rank;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_checked() {
        let low = Lock::new(1, ());
        let high = Lock::new(2, ());
        {
            let _a = low.lock();
            let _b = high.lock();
        }
        let wrong = std::thread::spawn(move || {
            let _b = high.lock();
            let _a = low.lock();
        });
        assert_eq!(wrong.join().is_err(), cfg!(debug_assertions));
    }
}
