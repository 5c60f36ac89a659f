//! CLIENT PAUSE: commands wait until a time, or until they are let go. The server itself holds
//! writes back in the same way, but apart from what clients ask for: neither ends the other's
//! pause. DEBUG SLEEP holds up everything, also what no pause does.

use std::sync::Condvar;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::base::clock;
use crate::base::lock::{Lock, rank};

/// Which commands wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// None.
    Off,
    /// Those that may write.
    Write,
    /// All.
    All,
    /// All, also of those whom no pause holds up, and what the server does by itself.
    Standstill,
}

impl Mode {
    fn stops(self, may_write: bool) -> bool {
        match self {
            Mode::Off => false,
            Mode::Write => may_write,
            Mode::All | Mode::Standstill => true,
        }
    }
}

struct Inner {
    mode: Mode,
    /// Unix ms.
    until: i64,
    /// How many tasks of the server's hold writes back.
    holders: usize,
    /// How many make the server stand still.
    sleepers: usize,
}

impl Inner {
    /// The mode at this time.
    fn mode(&self, now_ms: i64) -> Mode {
        let asked = if self.until <= now_ms { Mode::Off } else { self.mode };
        asked.max(self.own())
    }

    /// What the server itself holds up.
    fn own(&self) -> Mode {
        match (self.sleepers, self.holders) {
            (0, 0) => Mode::Off,
            (0, _) => Mode::Write,
            _ => Mode::Standstill,
        }
    }
}

/// How often the end of a standstill is looked for, beside being told of it.
const LOOK: Duration = Duration::from_millis(20);

/// The pause of one server.
pub struct Pause {
    inner: Lock<Inner>,
    ended: Condvar,
    /// The mode again, readable without the lock by every command.
    glance: AtomicU8,
}

impl Default for Pause {
    fn default() -> Self {
        let inner = Inner { mode: Mode::Off, until: 0, holders: 0, sleepers: 0 };
        let glance = AtomicU8::new(0);
        Pause { inner: Lock::new(rank::LEAF + 60, inner), ended: Condvar::new(), glance }
    }
}

impl Pause {
    /// Begins or extends a pause: the stricter mode and the later end win.
    pub fn begin(&self, mode: Mode, until: i64) {
        let mut inner = self.inner.lock();
        if inner.until <= clock::unix_ms() {
            inner.mode = Mode::Off;
        }
        inner.mode = inner.mode.max(mode);
        inner.until = inner.until.max(until);
        self.renew(&inner);
        // A waiting command may have to wait longer, or no longer.
        self.ended.notify_all();
    }

    /// Ends the pause.
    pub fn end(&self) {
        let mut inner = self.inner.lock();
        inner.mode = Mode::Off;
        inner.until = 0;
        self.renew(&inner);
        self.ended.notify_all();
    }

    /// Holds writes back until the same caller's [`Pause::let_writes_go`].
    pub fn hold_writes(&self) {
        let mut inner = self.inner.lock();
        inner.holders += 1;
        self.renew(&inner);
    }

    /// Ends what [`Pause::hold_writes`] began.
    pub fn let_writes_go(&self) {
        let mut inner = self.inner.lock();
        inner.holders = inner.holders.saturating_sub(1);
        self.renew(&inner);
        self.ended.notify_all();
    }

    /// Makes the server stand still until the same caller's [`Pause::end_standstill`].
    pub fn begin_standstill(&self) {
        let mut inner = self.inner.lock();
        inner.sleepers += 1;
        self.renew(&inner);
    }

    /// Ends what [`Pause::begin_standstill`] began.
    pub fn end_standstill(&self) {
        let mut inner = self.inner.lock();
        inner.sleepers = inner.sleepers.saturating_sub(1);
        self.renew(&inner);
        self.ended.notify_all();
    }

    /// Returns when the server does not stand still any more; whether it did. For what it does by
    /// itself. A shutdown ends a standstill, so that this is no obstacle to it.
    pub fn sit_out_standstill(&self) -> bool {
        let mut stood_still = false;
        while self.mode() == Mode::Standstill {
            self.wait(true, LOOK);
            stood_still = true;
        }
        stood_still
    }

    fn renew(&self, inner: &Inner) {
        self.glance.store(inner.mode.max(inner.own()) as u8, Ordering::SeqCst);
    }

    /// What waits now.
    #[inline]
    pub fn mode(&self) -> Mode {
        if self.glance.load(Ordering::Relaxed) == 0 { Mode::Off } else { self.look() }
    }

    #[cold]
    fn look(&self) -> Mode {
        let inner = self.inner.lock();
        let mode = inner.mode(clock::unix_ms());
        if mode == Mode::Off {
            // The next commands need not look at the clock again.
            self.glance.store(0, Ordering::SeqCst);
        }
        mode
    }

    /// Whether a command has to wait.
    pub fn stops(&self, may_write: bool) -> bool {
        self.mode().stops(may_write)
    }

    /// Waits for the end of the pause, at most for `slice`.
    pub fn wait(&self, may_write: bool, slice: Duration) {
        let inner = self.inner.lock();
        let now_ms = clock::unix_ms();
        if !inner.mode(now_ms).stops(may_write) {
            return;
        }
        let left = u64::try_from(inner.until - now_ms).unwrap_or(0);
        // A hold has no end of its own; its end wakes us.
        let slice = if left == 0 { slice } else { slice.min(Duration::from_millis(left)) };
        drop(inner.wait_timeout(&self.ended, slice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_mode_wins() {
        let pause = Pause::default();
        let now = clock::unix_ms();
        pause.begin(Mode::All, now + 10_000);
        pause.begin(Mode::Write, now + 20_000);
        assert!(pause.stops(false));
        pause.end();
        assert!(!pause.stops(true));
        pause.begin(Mode::All, now - 1);
        assert!(!pause.stops(true));
        pause.begin(Mode::Write, now + 10_000);
        assert!(pause.stops(true) && !pause.stops(false));
    }

    #[test]
    fn a_standstill_is_stricter_than_any_pause() {
        let pause = Pause::default();
        assert!(!pause.sit_out_standstill());
        pause.begin_standstill();
        pause.begin(Mode::Write, clock::unix_ms() + 10_000);
        assert!(pause.mode() == Mode::Standstill && pause.stops(false));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pause.sit_out_standstill());
            std::thread::sleep(Duration::from_millis(20));
            pause.end_standstill();
            assert!(waiting.join().unwrap());
        });
        assert!(pause.mode() == Mode::Write);
    }

    #[test]
    fn the_servers_own_hold_is_apart() {
        let pause = Pause::default();
        pause.hold_writes();
        pause.end();
        assert!(pause.stops(true) && !pause.stops(false));
        pause.begin(Mode::All, clock::unix_ms() + 10_000);
        pause.let_writes_go();
        assert!(pause.stops(false));
        pause.end();
        assert!(!pause.stops(true));
    }
}
