//! CLIENT PAUSE: commands wait until a time, or until they are let go.

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
}

struct Inner {
    mode: Mode,
    /// Unix ms.
    until: i64,
    waiting: usize,
}

/// The pause of one server.
pub struct Pause {
    inner: Lock<Inner>,
    ended: Condvar,
    /// The mode again, readable without the lock by every command.
    glance: AtomicU8,
}

impl Default for Pause {
    fn default() -> Self {
        let inner = Inner { mode: Mode::Off, until: 0, waiting: 0 };
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
        self.glance.store(inner.mode as u8, Ordering::SeqCst);
        // A waiting command may have to wait longer, or no longer.
        self.ended.notify_all();
    }

    /// Ends the pause.
    pub fn end(&self) {
        let mut inner = self.inner.lock();
        inner.mode = Mode::Off;
        inner.until = 0;
        self.glance.store(0, Ordering::SeqCst);
        self.ended.notify_all();
    }

    /// What waits now.
    pub fn mode(&self) -> Mode {
        if self.glance.load(Ordering::Relaxed) == 0 {
            return Mode::Off;
        }
        let inner = self.inner.lock();
        if inner.until <= clock::unix_ms() {
            // The next commands need not look at the clock again.
            self.glance.store(0, Ordering::SeqCst);
            return Mode::Off;
        }
        inner.mode
    }

    /// Whether a command has to wait.
    pub fn stops(&self, may_write: bool) -> bool {
        match self.mode() {
            Mode::Off => false,
            Mode::Write => may_write,
            Mode::All => true,
        }
    }

    /// Waits for the end of the pause, at most for `slice`.
    pub fn wait(&self, may_write: bool, slice: Duration) {
        let mut inner = self.inner.lock();
        let left = inner.until - clock::unix_ms();
        let stops = inner.mode == Mode::All || (inner.mode == Mode::Write && may_write);
        if !stops || left <= 0 {
            return;
        }
        inner.waiting += 1;
        let slice = slice.min(Duration::from_millis(left as u64));
        inner = inner.wait_timeout(&self.ended, slice);
        inner.waiting -= 1;
    }

    /// Number of commands that wait.
    pub fn waiting(&self) -> usize {
        self.inner.lock().waiting
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
}
