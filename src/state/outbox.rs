//! What waits to be sent to one client.
//!
//! A reply goes to the socket at once as far as the socket takes it; the rest waits here and the drain thread
//! sends it when the socket is writable again. So a connection thread never blocks in a write: it goes on
//! reading, and a client that pipelines without reading cannot deadlock with us. Pushes from other threads
//! take the same way. Invariant: bytes leave in the order in which they were handed in.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::base::lock::{Lock, rank};
use crate::base::sys;
use crate::resp::out::{Chunk, Out};

/// `client-output-buffer-limit` of a class of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bytes at which the client is cut at once; 0 for none.
    pub hard: u64,
    /// Bytes at which it is cut after `soft_time`; 0 for none.
    pub soft: u64,
    /// How long `soft` may be exceeded.
    pub soft_time: Duration,
}

/// What became of bytes that were handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// They are on their way.
    All,
    /// Some wait; the drain thread has them already.
    Waiting,
    /// Some wait, and the drain thread must be told.
    TellDrain,
    /// The client is over its limit and must be cut.
    OverLimit,
    /// The connection is gone.
    Gone,
}

#[derive(Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are sent already.
    head: usize,
    bytes: u64,
    with_drain: bool,
    close_when_empty: bool,
    gone: bool,
    soft_since: Option<Instant>,
}

/// The output queue of one client.
pub struct Outbox {
    fd: RawFd,
    queue: Lock<Queue>,
}

impl Outbox {
    /// An empty queue for a socket, which the owner keeps open as long as the queue lives.
    pub fn new(fd: RawFd) -> Self {
        Outbox { fd, queue: Lock::new(rank::OUTBOX, Queue::default()) }
    }

    /// Sends the replies and empties `out`.
    pub fn send(&self, out: &mut Out, limit: Limit) -> Sent {
        let mut queue = self.queue.lock();
        if queue.gone {
            out.clear();
            return Sent::Gone;
        }
        if queue.chunks.is_empty() {
            // The usual case: straight from the reply buffer to the socket, nothing allocated.
            match self.send_directly(out) {
                Ok(sent) if sent == out.len() => {
                    out.clear();
                    return Sent::All;
                }
                Ok(sent) => queue.push_rest(out.take_chunks(), sent),
                Err(_) => {
                    out.clear();
                    return queue.fail();
                }
            }
        } else {
            out.take_chunks().into_iter().for_each(|chunk| queue.push(chunk));
        }
        queue.judge(limit)
    }

    /// Sends bytes that are shared with other receivers.
    pub fn push(&self, chunk: Chunk, limit: Limit) -> Sent {
        let mut queue = self.queue.lock();
        if queue.gone {
            return Sent::Gone;
        }
        queue.push(chunk);
        if queue.with_drain {
            return queue.judge(limit);
        }
        match queue.flush(self.fd) {
            Ok(()) => queue.judge(limit),
            Err(_) => queue.fail(),
        }
    }

    /// Sends what the socket takes at once; how many bytes that were.
    fn send_directly(&self, out: &Out) -> io::Result<usize> {
        let mut sent = 0;
        for chunk in out.chunks() {
            let mut rest = chunk;
            while !rest.is_empty() {
                match sys::send_nowait(self.fd, rest) {
                    Ok(n) => {
                        sent += n;
                        rest = &rest[n..];
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(sent)
    }

    /// Sends what the socket takes; `Ok(true)` when nothing is left. Called by the drain thread, which lets go
    /// of the queue when nothing is left.
    pub fn drain(&self) -> io::Result<bool> {
        let mut queue = self.queue.lock();
        if queue.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if let Err(e) = queue.flush(self.fd) {
            queue.fail();
            return Err(e);
        }
        let empty = queue.chunks.is_empty();
        if empty {
            queue.with_drain = false;
            queue.soft_since = None;
        }
        Ok(empty)
    }

    /// Whether the client has exceeded its soft limit for too long.
    pub fn is_over(&self, limit: Limit) -> bool {
        self.queue.lock().judge(limit) == Sent::OverLimit
    }

    /// The connection ends: what is handed in from now on is dropped, and so is what waits.
    pub fn close(&self) {
        self.queue.lock().fail();
    }

    /// The connection ends when everything is sent. `false`: that is the case already.
    pub fn close_when_empty(&self) -> bool {
        let mut queue = self.queue.lock();
        queue.close_when_empty = !queue.chunks.is_empty();
        queue.close_when_empty
    }

    /// Whether the connection was to end when everything is sent.
    pub fn is_closing(&self) -> bool {
        self.queue.lock().close_when_empty
    }

    /// Whether the connection is gone.
    pub fn is_gone(&self) -> bool {
        self.queue.lock().gone
    }

    /// (chunks, bytes) that wait.
    pub fn waiting(&self) -> (usize, u64) {
        let queue = self.queue.lock();
        (queue.chunks.len(), queue.bytes)
    }
}

impl Queue {
    fn push(&mut self, chunk: Chunk) {
        let len = chunk.as_ref().len() as u64;
        if len > 0 {
            self.bytes += len;
            self.chunks.push_back(chunk);
        }
    }

    /// Queues chunks of which the first `sent` bytes are gone already. The queue must be empty.
    fn push_rest(&mut self, chunks: Vec<Chunk>, mut sent: usize) {
        for chunk in chunks {
            let len = chunk.as_ref().len();
            if sent >= len {
                sent -= len;
                continue;
            }
            if self.chunks.is_empty() {
                self.head = sent;
                self.bytes = 0;
            }
            self.push(chunk);
            self.bytes -= sent as u64;
            sent = 0;
        }
    }

    fn flush(&mut self, fd: RawFd) -> io::Result<()> {
        while let Some(chunk) = self.chunks.front() {
            let rest = &chunk.as_ref()[self.head..];
            match sys::send_nowait(fd, rest) {
                Ok(n) => {
                    self.bytes -= n as u64;
                    self.head += n;
                    if n == rest.len() {
                        self.chunks.pop_front();
                        self.head = 0;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn judge(&mut self, limit: Limit) -> Sent {
        if self.bytes == 0 {
            return Sent::All;
        }
        if limit.soft == 0 || self.bytes <= limit.soft {
            self.soft_since = None;
        } else {
            let since = *self.soft_since.get_or_insert_with(Instant::now);
            if since.elapsed() > limit.soft_time {
                return Sent::OverLimit;
            }
        }
        if limit.hard > 0 && self.bytes > limit.hard {
            return Sent::OverLimit;
        }
        if std::mem::replace(&mut self.with_drain, true) { Sent::Waiting } else { Sent::TellDrain }
    }

    fn fail(&mut self) -> Sent {
        self.gone = true;
        self.chunks.clear();
        self.bytes = 0;
        Sent::Gone
    }
}
