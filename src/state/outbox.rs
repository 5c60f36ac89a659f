//! What waits to be sent to one client.
//!
//! A reply goes to the socket at once as far as the socket takes it; the rest waits here and the
//! drain thread sends it when the socket is writable again. So a connection thread never blocks in
//! a write: it goes on reading, and a client that pipelines without reading cannot deadlock with
//! us. Pushes from other threads take the same way, except that only the first of a burst goes to
//! the socket at once.
//!
//! Invariants: bytes leave in the order in which they were handed in; while any wait, only the
//! drain thread sends.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::base::lock::{Lock, rank};
use crate::base::sys::{self, PIECES_MAX};
use crate::resp::out::{Chunk, Out};

/// Small pieces are put together up to this size, so that bookkeeping does not outweigh what it is
/// for.
const PIECE_MAX: usize = 16 * 1024;

/// Shared bytes up to here are copied, because a place of their own in the queue takes as much.
const SHARE_MIN: usize = 64;

/// What is pushed closer than this behind the last is left to the drain thread, which sends at once
/// all that has come meanwhile.
const BURST: Duration = Duration::from_micros(100);

/// What the drain thread sends to one client before the others have their turn.
const TURN: usize = 1024 * 1024;

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

/// What [`Outbox::drain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Bytes that the socket took.
    pub sent: usize,
    /// Nothing is left.
    pub empty: bool,
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
    /// When bytes were last pushed.
    pushed: Option<Instant>,
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
        // As in Redis replies count before the socket has taken any of them.
        if limit.hard > 0 && queue.bytes + out.len() as u64 > limit.hard {
            out.clear();
            return Sent::OverLimit;
        }
        if queue.bytes == 0 {
            // The usual case: straight from the reply buffer to the socket, nothing allocated.
            match self.send_pieces(out.chunks()) {
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
        let now = Instant::now();
        let before = queue.pushed.replace(now);
        let in_burst = before.is_some_and(|before| now - before < BURST);
        if in_burst || queue.bytes > 0 {
            queue.push(chunk);
            return queue.judge(limit);
        }
        match self.send_pieces(std::iter::once(chunk.as_ref())) {
            Ok(sent) if sent == chunk.as_ref().len() => Sent::All,
            Ok(sent) => {
                queue.push_rest(vec![chunk], sent);
                queue.judge(limit)
            }
            Err(_) => queue.fail(),
        }
    }

    /// Sends what the socket takes at once; how many bytes that were.
    fn send_pieces<'p>(&self, pieces: impl Iterator<Item = &'p [u8]>) -> io::Result<usize> {
        let mut pieces = pieces.filter(|piece| !piece.is_empty());
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let (mut count, mut sent) = (0, 0);
        loop {
            for piece in pieces.by_ref().take(PIECES_MAX - count) {
                slices[count] = IoSlice::new(piece);
                count += 1;
            }
            if count == 0 {
                return Ok(sent);
            }
            match sys::send_nowait(self.fd, &slices[..count]) {
                Ok(n) => {
                    sent += n;
                    let mut rest = &mut slices[..count];
                    IoSlice::advance_slices(&mut rest, n);
                    let left = rest.len();
                    slices.copy_within(count - left..count, 0);
                    count = left;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends what the socket takes, or a turn's share of it. Called by the drain thread, which lets
    /// go of the queue when nothing is left. Others may hand in more meanwhile.
    pub fn drain(&self) -> io::Result<Drained> {
        let mut queue = self.queue.lock();
        if queue.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut chunks = std::mem::take(&mut queue.chunks);
        let mut head = std::mem::take(&mut queue.head);
        drop(queue);
        let result = flush(self.fd, &mut chunks, &mut head);
        let mut queue = self.queue.lock();
        if queue.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let sent = match result {
            Ok(sent) => sent,
            Err(e) => {
                queue.fail();
                return Err(e);
            }
        };
        queue.bytes -= sent as u64;
        if !chunks.is_empty() {
            chunks.append(&mut queue.chunks);
            queue.chunks = chunks;
            queue.head = head;
        }
        let empty = queue.bytes == 0;
        if empty {
            queue.with_drain = false;
            queue.soft_since = None;
        }
        Ok(Drained { sent, empty })
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
        queue.close_when_empty = queue.bytes > 0;
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
    fn push(&mut self, mut chunk: Chunk) {
        let len = chunk.as_ref().len();
        if len == 0 {
            return;
        }
        self.bytes += len as u64;
        let is_copied = matches!(chunk, Chunk::Owned(_)) || len <= SHARE_MIN;
        if is_copied
            && let Some(Chunk::Owned(last)) = self.chunks.back_mut()
            && last.len() + len <= PIECE_MAX
        {
            return last.extend_from_slice(chunk.as_ref());
        }
        match &mut chunk {
            // It may wait for long: without the room that was meant for more replies.
            Chunk::Owned(bytes) => bytes.shrink_to_fit(),
            Chunk::Shared(bytes) if is_copied => chunk = Chunk::Owned(bytes.to_vec()),
            Chunk::Shared(_) => {}
        }
        self.chunks.push_back(chunk);
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
        self.chunks = VecDeque::new();
        self.bytes = 0;
        Sent::Gone
    }
}

/// Sends what the socket takes of chunks of which the first `head` bytes are gone already, and
/// little more than a turn's share; how many bytes that were. What is sent is taken off.
fn flush(fd: RawFd, chunks: &mut VecDeque<Chunk>, head: &mut usize) -> io::Result<usize> {
    let mut sent = 0;
    while !chunks.is_empty() && sent < TURN {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut skip = *head;
        for (slice, chunk) in slices.iter_mut().zip(&*chunks) {
            *slice = IoSlice::new(&chunk.as_ref()[skip..]);
            skip = 0;
        }
        match sys::send_nowait(fd, &slices[..chunks.len().min(PIECES_MAX)]) {
            Ok(n) => {
                sent += n;
                *head += n;
                while let Some(len) = chunks.front().map(|chunk| chunk.as_ref().len())
                    && *head >= len
                {
                    chunks.pop_front();
                    *head -= len;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    const FREE: Limit = Limit { hard: 0, soft: 0, soft_time: Duration::ZERO };

    fn reply(text: &[u8]) -> Out {
        let mut out = Out::new();
        out.raw(text);
        out
    }

    /// An outbox whose socket takes no more, and the other end of the socket.
    fn full() -> (UnixStream, UnixStream, Outbox) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::new(ours.as_raw_fd());
        assert_eq!(outbox.send(&mut reply(&vec![0; 1 << 20]), FREE), Sent::TellDrain);
        (ours, theirs, outbox)
    }

    fn read_all(outbox: &Outbox, theirs: &mut UnixStream) -> Vec<u8> {
        let mut got = Vec::new();
        theirs.set_nonblocking(true).unwrap();
        loop {
            let drained = outbox.drain().unwrap();
            let _ = theirs.read_to_end(&mut got);
            if drained.empty {
                return got;
            }
        }
    }

    #[test]
    fn bytes_keep_their_order_however_they_come() {
        let (_ours, mut theirs, outbox) = full();
        let mut expected = vec![0; 1 << 20];
        for n in 0..200_u8 {
            let text = vec![n; usize::from(n) * 200];
            expected.extend_from_slice(&text);
            let sent = match n % 3 {
                0 => outbox.push(Chunk::Shared(Arc::new(text)), FREE),
                1 => outbox.push(Chunk::Owned(text), FREE),
                _ => outbox.send(&mut reply(&text), FREE),
            };
            assert_eq!(sent, Sent::Waiting);
        }
        assert!(read_all(&outbox, &mut theirs) == expected);
        assert_eq!(outbox.waiting(), (0, 0));
        assert_eq!(outbox.send(&mut reply(b"x"), FREE), Sent::All);
    }

    #[test]
    fn replies_of_many_pieces_arrive_whole() {
        for (len, count) in [(16_384, 1), (16_384, 3), (20_000, 4), (50_000, 5), (100_000, 60)] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let outbox = Outbox::new(ours.as_raw_fd());
            let (mut out, mut expected) = (Out::new(), Vec::new());
            for n in 0..count {
                let value = Arc::new(vec![n as u8; len]);
                expected.extend_from_slice(format!("${len}\r\n").as_bytes());
                expected.extend_from_slice(&value);
                expected.extend_from_slice(b"\r\n");
                out.bulk_shared(value);
            }
            let sent = outbox.send(&mut out, FREE);
            assert!(matches!(sent, Sent::All | Sent::TellDrain), "{sent:?}");
            assert!(read_all(&outbox, &mut theirs) == expected, "{count} of {len} bytes");
            assert_eq!((out.len(), outbox.waiting()), (0, (0, 0)));
        }
    }

    #[test]
    fn small_pieces_are_put_together() {
        let (_ours, _theirs, outbox) = full();
        let (before, _) = outbox.waiting();
        for _ in 0..10_000 {
            outbox.send(&mut reply(b"+PONG\r\n"), FREE);
        }
        let (chunks, _) = outbox.waiting();
        assert!(chunks - before <= 70_000 / PIECE_MAX + 1, "{chunks}");
    }

    #[test]
    fn limits() {
        let (_ours, _theirs, outbox) = full();
        let (_, waiting) = outbox.waiting();
        let hard = |hard| outbox.is_over(Limit { hard, ..FREE });
        assert!(hard(waiting - 1) && !hard(waiting));
        let soft = |seconds| {
            outbox.is_over(Limit { hard: 0, soft: 1, soft_time: Duration::from_secs(seconds) })
        };
        assert!(!soft(3600));
        std::thread::sleep(Duration::from_millis(2));
        assert!(soft(0) && !soft(3600));
        outbox.close();
        assert_eq!(outbox.send(&mut reply(b"x"), FREE), Sent::Gone);
        assert_eq!(outbox.waiting(), (0, 0));
    }
}
