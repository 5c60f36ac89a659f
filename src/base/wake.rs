//! Wakes a thread that waits for sockets: a socket pair whose reading end it waits for too.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// A bell that one thread waits for and any thread rings.
#[derive(Debug)]
pub struct Waker {
    bell: UnixStream,
    ear: UnixStream,
}

impl Waker {
    /// A new bell; fails when there are no file descriptors left.
    pub fn new() -> io::Result<Self> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Waker { bell, ear })
    }

    /// Rings. A bell that has not been heard yet need not ring louder, so a full socket is fine.
    pub fn wake(&self) {
        let _ = (&self.bell).write(&[1]);
    }

    /// What to wait for reading on.
    pub fn fd(&self) -> RawFd {
        self.ear.as_raw_fd()
    }

    /// Forgets all rings so far.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.ear).read(&mut bytes), Ok(n) if n > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sys::{Interest, POLL_IN, wait_for};
    use std::time::Duration;

    #[test]
    fn rings_are_heard_once() {
        let waker = Waker::new().unwrap();
        for _ in 0..3 {
            waker.wake();
        }
        let mut list = [Interest::new(waker.fd(), POLL_IN)];
        assert_eq!(wait_for(&mut list, Some(Duration::from_secs(5))), 1);
        waker.clear();
        assert_eq!(wait_for(&mut list, Some(Duration::ZERO)), 0);
    }
}
