//! L3: the ordered write log. Every change of the keyspace, as commands, in the order in which it
//! was made; its offset, its identity (replication ids) and those who read it.
//!
//! Must not know clients or what a command means. Invariants: bytes are appended while the shards
//! they belong to are held, so log order is apply order; bytes are kept for the backlog and for the
//! slowest reader, but never more than a reader's limit allows. What is appended goes to two
//! places, each with its own offsets: the stream that replicas read, and the tail of the
//! append-only file ([`tail`]).

pub mod aof;
mod buffer;
pub mod manifest;
pub mod tail;

use std::collections::BTreeMap;
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::base::lock::{Guard, Lock, rank};
use crate::base::num;
use crate::base::rng::random_id;
use buffer::Buffer;
use tail::Tail;

/// The replication id that stands for "none".
pub const NO_ID: &str = "0000000000000000000000000000000000000000";

/// How far a reader may fall behind: `client-output-buffer-limit replica`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagLimit {
    /// Bytes at which a reader is dropped at once; 0 for none.
    pub hard: u64,
    /// Bytes at which it is dropped after `soft_time`; 0 for none.
    pub soft: u64,
    /// How long `soft` may be exceeded.
    pub soft_time: Duration,
}

/// Who this log is: what PSYNC compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id of the stream that is being written.
    pub id: String,
    /// The id that this server followed before it was promoted, or [`NO_ID`].
    pub previous: String,
    /// First offset that no longer belongs to `previous`; -1 when there is none.
    pub previous_until: i64,
}

/// What INFO tells of the backlog.
#[derive(Clone, Copy, Debug)]
pub struct BacklogInfo {
    /// Whether a backlog is kept.
    pub active: bool,
    /// Its configured size in bytes.
    pub size: u64,
    /// Offset of the first byte that a replica may ask for.
    pub first_byte: u64,
    /// Bytes held.
    pub length: u64,
}

struct Reader {
    position: u64,
    soft_since: Option<Instant>,
}

struct Inner {
    identity: Identity,
    /// Bytes from the beginning of time; only those of the tail are in `buffer`.
    buffer: Buffer,
    backlog_size: u64,
    limit: LagLimit,
    /// Database that the stream has selected; `None` before the first SELECT.
    selected: Option<usize>,
    readers: BTreeMap<u64, Reader>,
    next_reader: u64,
    waiting: usize,
    /// The stream is our primary's: only its own bytes are appended.
    followed: bool,
    /// What goes to the append-only file.
    tail: Tail,
    /// Offset of the stream where the tail is cut.
    cut_at: u64,
}

/// The log of one server.
pub struct WriteLog {
    inner: Lock<Inner>,
    appended: Condvar,
    /// Whether there is a stream for replicas.
    streaming: AtomicBool,
    /// Whether there is an append-only file.
    filing: AtomicBool,
}

/// How far the log is behind an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Offset of the stream.
    pub stream: u64,
    /// Offset of the append-only file.
    pub file: u64,
}

/// What a reader got.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes are in the buffer.
    Bytes,
    /// Nothing came within the time.
    Timeout,
    /// The reader fell too far behind, or the log began anew.
    Lost,
}

/// One command of the log, as arguments.
pub type Argv<'a> = &'a [&'a [u8]];

impl WriteLog {
    /// An empty log with a fresh id, which records nothing until it is activated.
    pub fn new(backlog_size: u64, limit: LagLimit) -> Self {
        let identity = Identity { id: random_id(), previous: NO_ID.to_owned(), previous_until: -1 };
        let inner = Inner {
            identity,
            buffer: Buffer::starting_at(0, buffer::block_size(backlog_size)),
            backlog_size,
            limit,
            selected: None,
            readers: BTreeMap::new(),
            next_reader: 1,
            waiting: 0,
            followed: false,
            tail: Tail::default(),
            cut_at: 0,
        };
        WriteLog {
            inner: Lock::new(rank::LOG, inner),
            appended: Condvar::new(),
            streaming: AtomicBool::new(false),
            filing: AtomicBool::new(false),
        }
    }

    /// Whether anybody will read what is appended. Stable while a shard is held.
    pub fn is_active(&self) -> bool {
        self.is_streaming() || self.is_filing()
    }

    /// Whether there is a stream for replicas. Stable while a shard is held.
    pub fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    /// Whether there is an append-only file. Stable while a shard is held.
    pub fn is_filing(&self) -> bool {
        self.filing.load(Ordering::Relaxed)
    }

    /// Drops the backlog and the stream, with a new id: nobody can continue from here. Returns
    /// `false` when a reader is attached.
    pub fn deactivate(&self) -> bool {
        let mut inner = self.inner.lock();
        if !inner.readers.is_empty() {
            return false;
        }
        inner.identity =
            Identity { id: random_id(), previous: NO_ID.to_owned(), previous_until: -1 };
        let end = inner.buffer.end();
        inner.buffer.restart_at(end);
        self.streaming.store(false, Ordering::Relaxed);
        true
    }

    /// Changes the size of the backlog.
    pub fn set_backlog_size(&self, bytes: u64) {
        let mut inner = self.inner.lock();
        inner.backlog_size = bytes;
        inner.buffer.set_block_size(buffer::block_size(bytes));
        inner.trim();
    }

    /// Changes how far readers may fall behind.
    pub fn set_limit(&self, limit: LagLimit) {
        let mut inner = self.inner.lock();
        inner.limit = limit;
        inner.trim();
    }

    /// Bytes written so far (`master_repl_offset`).
    pub fn offset(&self) -> u64 {
        self.inner.lock().buffer.end()
    }

    /// Who this log is.
    pub fn identity(&self) -> Identity {
        self.inner.lock().identity.clone()
    }

    /// The id and the offset, of one moment.
    pub fn id_and_offset(&self) -> (String, u64) {
        let inner = self.inner.lock();
        (inner.identity.id.clone(), inner.buffer.end())
    }

    /// The backlog, for INFO.
    pub fn backlog(&self) -> BacklogInfo {
        let inner = self.inner.lock();
        let (active, size) = (self.is_streaming(), inner.backlog_size);
        let length = if active { inner.buffer.end() - inner.buffer.start() } else { 0 };
        let first_byte = if active { inner.buffer.start() + 1 } else { 0 };
        BacklogInfo { active, size, first_byte, length }
    }

    /// Bytes of memory that the stream holds.
    pub fn memory(&self) -> usize {
        self.inner.lock().buffer.memory()
    }

    /// Bytes of memory that the log takes beyond what a backlog of that size needs.
    pub fn memory_beyond(&self, backlog_size: u64) -> u64 {
        (self.memory() as u64).saturating_sub(buffer::memory_for(backlog_size))
    }

    /// Appends the effect of one command as a unit, in MULTI and EXEC when it is more than one
    /// command. Each comes with its database. A stream that is our primary's does not get it.
    /// Returns the place behind it.
    pub fn append(&self, commands: &[(usize, Argv)]) -> Place {
        let mut inner = self.inner.lock();
        if self.is_filing() {
            inner.tail.append(commands);
        }
        let file = inner.tail.end();
        if inner.followed || !self.is_streaming() {
            return Place { stream: inner.buffer.end(), file };
        }
        let several = commands.len() > 1;
        for (i, (db, argv)) in commands.iter().enumerate() {
            if several && i == 0 {
                inner.push(&[b"MULTI"]);
            }
            // Inside, where it belongs to the first command, as in Redis.
            inner.select(*db);
            inner.push(argv);
        }
        if several {
            inner.push(&[b"EXEC"]);
        }
        Place { stream: self.finish(inner), file }
    }

    /// Appends a command that belongs to no database (PING, REPLCONF GETACK). Returns the offset
    /// behind it.
    pub fn append_control(&self, argv: Argv) -> u64 {
        let mut inner = self.inner.lock();
        if inner.followed {
            return inner.buffer.end();
        }
        inner.push(argv);
        self.finish(inner)
    }

    /// Appends bytes of the primary's stream as they came.
    pub fn append_raw(&self, bytes: &[u8]) -> u64 {
        let mut inner = self.inner.lock();
        inner.buffer.push(bytes);
        self.finish(inner)
    }

    fn finish(&self, mut inner: Guard<'_, Inner>) -> u64 {
        inner.trim();
        if inner.waiting > 0 {
            self.appended.notify_all();
        }
        inner.buffer.end()
    }

    /// The database that the stream has selected.
    pub fn selected(&self) -> Option<usize> {
        self.inner.lock().selected
    }

    /// Whether a reader is still attached, which it is not when it fell too far behind.
    pub fn has_reader(&self, reader: u64) -> bool {
        self.inner.lock().readers.contains_key(&reader)
    }

    /// Attaches a reader at the place of another one, unless that has been lost.
    pub fn attach_beside(&self, reader: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        let position = inner.readers.get(&reader)?.position;
        Some(inner.attach(position))
    }

    /// Attaches a reader at the end and begins to record. To be called while all shards are held.
    pub fn activate_with_reader(&self) -> u64 {
        let mut inner = self.inner.lock();
        self.streaming.store(true, Ordering::Relaxed);
        inner.selected = None;
        let end = inner.buffer.end();
        inner.attach(end)
    }

    /// Whether the stream is a primary's, so that nobody else may append to it. To be called while
    /// all shards are held.
    pub fn set_followed(&self, followed: bool) {
        self.inner.lock().followed = followed;
    }

    /// Lets go of a reader.
    pub fn detach(&self, reader: u64) {
        let mut inner = self.inner.lock();
        inner.readers.remove(&reader);
        inner.trim();
    }

    /// Reads the next bytes for a reader, as many as `buffer` has room for; waits up to `timeout`
    /// for some.
    pub fn read(&self, reader: u64, buffer: &mut Vec<u8>, timeout: Duration) -> Read {
        buffer.clear();
        let deadline = Instant::now() + timeout;
        let mut woken = false;
        let mut inner = self.inner.lock();
        loop {
            let Some(position) = inner.readers.get(&reader).map(|r| r.position) else {
                return Read::Lost;
            };
            inner.buffer.read(position, buffer.capacity(), buffer);
            if !buffer.is_empty() {
                let position = position + buffer.len() as u64;
                if let Some(reader) = inner.readers.get_mut(&reader) {
                    reader.position = position;
                }
                inner.forget();
                return Read::Bytes;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Read::Timeout;
            }
            if woken {
                // By `wake_readers`: the caller has something else to look at.
                return Read::Timeout;
            }
            inner.waiting += 1;
            inner = inner.wait_timeout(&self.appended, left);
            inner.waiting -= 1;
            woken = true;
        }
    }

    /// Wakes all readers, so that they look at what else has changed.
    pub fn wake_readers(&self) {
        // The lock makes sure that no reader is between its look and its wait.
        let _inner = self.inner.lock();
        self.appended.notify_all();
    }

    /// Attaches a reader for a replica that has this id's stream up to before `next`, if our
    /// backlog goes on from there.
    pub fn resume(&self, id: &str, next: u64) -> Option<u64> {
        let mut inner = self.inner.lock();
        let continues = self.is_streaming() && inner.can_continue(id, next);
        continues.then(|| inner.attach(next - 1))
    }

    /// Becomes the primary's stream at this offset after a full resynchronisation: all readers are
    /// lost.
    pub fn adopt(&self, id: &str, offset: u64) {
        let mut inner = self.inner.lock();
        inner.identity =
            Identity { id: id.to_owned(), previous: NO_ID.to_owned(), previous_until: -1 };
        inner.buffer.restart_at(offset);
        inner.readers.clear();
        inner.selected = None;
        self.streaming.store(true, Ordering::Relaxed);
        self.appended.notify_all();
    }

    /// The primary continued the stream under a new id (it was promoted): ours becomes the previous
    /// one. Whether it is another.
    pub fn rename(&self, id: &str) -> bool {
        let mut inner = self.inner.lock();
        let is_another = inner.identity.id != id;
        if is_another {
            inner.succeed(id.to_owned());
        }
        is_another
    }

    /// Starts a stream of our own where the followed one ends: promotion. Returns the new id.
    pub fn promote(&self) -> String {
        let mut inner = self.inner.lock();
        let id = random_id();
        inner.succeed(id.clone());
        inner.selected = None;
        id
    }

    /// Takes a new id and forgets the previous one (DEBUG CHANGE-REPL-ID).
    pub fn change_id(&self) {
        let mut inner = self.inner.lock();
        inner.identity =
            Identity { id: random_id(), previous: NO_ID.to_owned(), previous_until: -1 };
    }

    /// Begins a stream of our own where the one of a file ends, which our replicas may have
    /// followed before a restart.
    pub fn succeed_after_restart(&self, id: &str, offset: u64) {
        self.adopt(id, offset);
        self.promote();
    }
}

/// The append-only file's part.
impl WriteLog {
    /// Begins to keep what goes to the file. To be called while all shards are held, like the
    /// others that change where bytes go.
    pub fn begin_file(&self) {
        self.inner.lock().tail.begin();
        self.filing.store(true, Ordering::Relaxed);
    }

    /// Keeps nothing more for the file.
    pub fn end_file(&self) {
        self.filing.store(false, Ordering::Relaxed);
    }

    /// What comes from here on belongs to another file.
    pub fn cut_file(&self) {
        let mut inner = self.inner.lock();
        inner.cut_at = inner.buffer.end();
        inner.tail.cut();
    }

    /// The other file is there, or will not be.
    pub fn forget_cut(&self) {
        self.inner.lock().tail.forget_cut();
    }

    /// Whether to note the time in the file.
    pub fn set_timestamps(&self, wanted: bool) {
        self.inner.lock().tail.set_timestamps(wanted);
    }

    /// Moves what waits for the file to the end of `out`. Returns the place behind it, and whether
    /// another file begins there.
    pub fn take_file(&self, out: &mut Vec<u8>) -> (Place, bool) {
        let mut inner = self.inner.lock();
        let (file, is_cut) = inner.tail.take(out);
        let stream = if is_cut { inner.cut_at } else { inner.buffer.end() };
        (Place { stream, file }, is_cut)
    }

    /// Offset behind everything that goes to the file, and bytes of it that wait.
    pub fn file_end(&self) -> (u64, usize) {
        let inner = self.inner.lock();
        (inner.tail.end(), inner.tail.len())
    }
}

impl Inner {
    fn can_continue(&self, id: &str, next: u64) -> bool {
        let identity = &self.identity;
        let followed = id == identity.previous
            && i64::try_from(next).is_ok_and(|next| next <= identity.previous_until);
        let kept = next > self.buffer.start() && next <= self.buffer.end() + 1;
        (id == identity.id || followed) && kept
    }

    fn attach(&mut self, position: u64) -> u64 {
        let id = self.next_reader;
        self.next_reader += 1;
        self.readers.insert(id, Reader { position, soft_since: None });
        id
    }

    fn select(&mut self, db: usize) {
        if self.selected != Some(db) {
            self.selected = Some(db);
            self.push(&[b"SELECT", db.to_string().as_bytes()]);
        }
    }

    fn push(&mut self, argv: Argv) {
        let mut header = Vec::with_capacity(16);
        push_length(&mut header, b'*', argv.len());
        for arg in argv {
            push_length(&mut header, b'$', arg.len());
            self.buffer.push(&header);
            self.buffer.push(arg);
            header.clear();
            header.extend_from_slice(b"\r\n");
        }
        self.buffer.push(&header);
    }

    fn succeed(&mut self, id: String) {
        self.identity.previous = std::mem::replace(&mut self.identity.id, id);
        self.identity.previous_until = i64::try_from(self.buffer.end()).unwrap_or(i64::MAX) + 1;
    }

    /// Drops readers beyond their limit and bytes that nobody needs.
    fn trim(&mut self) {
        let end = self.buffer.end();
        let limit = self.limit;
        self.readers.retain(|_, reader| {
            let lag = end - reader.position;
            if limit.soft == 0 || lag <= limit.soft {
                reader.soft_since = None;
            }
            if limit.hard > 0 && lag > limit.hard {
                return false;
            }
            if limit.soft > 0 && lag > limit.soft {
                let since = *reader.soft_since.get_or_insert_with(Instant::now);
                return since.elapsed() <= limit.soft_time;
            }
            true
        });
        self.forget();
    }

    /// Forgets what neither a reader nor the backlog needs.
    fn forget(&mut self) {
        let end = self.buffer.end();
        let wanted = self.readers.values().map(|r| r.position).min().unwrap_or(end);
        self.buffer.forget_before(wanted.min(end.saturating_sub(self.backlog_size)));
    }
}

fn push_length(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    num::push_u64(out, length as u64);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: LagLimit = LagLimit { hard: 0, soft: 0, soft_time: Duration::ZERO };

    fn read_all(log: &WriteLog, reader: u64) -> Vec<u8> {
        let (mut all, mut bytes) = (Vec::new(), Vec::with_capacity(7));
        while log.read(reader, &mut bytes, Duration::ZERO) == Read::Bytes {
            all.extend_from_slice(&bytes);
        }
        all
    }

    #[test]
    fn select_only_when_it_changes_and_multi_around_units() {
        let log = WriteLog::new(1 << 20, FAR);
        let reader = log.activate_with_reader();
        log.append(&[(0, &[b"DEL", b"a"])]);
        log.append(&[(0, &[b"DEL", b"b"])]);
        log.append(&[(3, &[b"DEL", b"c"]), (3, &[b"SET", b"c", b""])]);
        let text = String::from_utf8(read_all(&log, reader)).unwrap();
        let words: Vec<&str> = text.split("\r\n").filter(|w| !w.starts_with(['*', '$'])).collect();
        assert_eq!(words.join(" "), "SELECT 0 DEL a DEL b MULTI SELECT 3 DEL c SET c  EXEC ");
        assert!(text.starts_with("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"));
        assert_eq!(log.offset(), text.len() as u64);
    }

    #[test]
    fn continuing_needs_the_id_and_the_bytes() {
        let log = WriteLog::new(64 * 1024, FAR);
        let reader = log.activate_with_reader();
        log.detach(reader);
        let id = log.identity().id;
        for _ in 0..100 {
            log.append_raw(&[b'x'; 10_000]);
        }
        let end = log.offset();
        assert!(log.resume(&id, end + 1).is_some() && log.resume(&id, end - 1000).is_some());
        assert!(log.resume(&id, 1).is_none() && log.resume(&id, end + 2).is_none());
        assert!(log.resume(NO_ID, end).is_none());
        log.promote();
        assert!(log.resume(&id, end + 1).is_some());
        log.append_raw(b"y");
        assert!(log.resume(&id, end + 2).is_none(), "beyond the promotion");
        assert!(log.backlog().length >= 64 * 1024 && log.memory() < 256 * 1024);
    }

    #[test]
    fn a_slow_reader_is_lost_at_its_limit() {
        let limit = LagLimit { hard: 100_000, ..FAR };
        let log = WriteLog::new(1000, limit);
        let reader = log.activate_with_reader();
        log.append_raw(&[0; 90_000]);
        let mut bytes = Vec::with_capacity(10);
        assert_eq!(log.read(reader, &mut bytes, Duration::ZERO), Read::Bytes);
        log.append_raw(&[0; 20_000]);
        assert_eq!(log.read(reader, &mut bytes, Duration::ZERO), Read::Lost);
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        let log = WriteLog::new(1000, FAR);
        let reader = log.activate_with_reader();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut bytes = Vec::with_capacity(10);
                (log.read(reader, &mut bytes, Duration::from_secs(20)), bytes)
            });
            std::thread::sleep(Duration::from_millis(20));
            log.append_raw(b"hello");
            assert_eq!(waiting.join().unwrap(), (Read::Bytes, b"hello".to_vec()));
        });
    }
}
