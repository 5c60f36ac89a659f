//! The append-only file of one server: who waits for it, and what state it is in.
//!
//! What commands do is gathered by the log (`log::tail`) while their shards are held. It is written
//! by whoever needs it written: a connection that is about to send replies calls [`Aof::wait`], and
//! the first to get the writer's lock writes for all who wait behind it (and syncs for them, with
//! `appendfsync always`). So an idle server wakes no other thread for a write, and a busy one
//! syncs once for many clients.
//!
//! Must not know commands. No shard may be held by who waits or writes, because the disk may take
//! its time. Invariant: the file ends with a whole command whenever the writer's lock is free, as
//! far as the operating system lets it.
//!
//! A write or a sync that fails loses nothing: the bytes stay in memory and are tried again ten
//! times a second. Replies to what is not written yet become errors, new writes are refused, and
//! reads go on, with each of the policies. Redis ends the program with `always`, because its
//! replies are on their way already; ours are not.

mod files;
mod rewrite;

use std::io;
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::lock::{Guard, Lock, rank};
use crate::log::Place;
use crate::log::aof::Increment;
use crate::log::manifest::Manifest;
use crate::state::Server;
use crate::state::config::{Fsync, Settings, os_text};

pub use files::{directory, load_manifest, prepare_upgrade, size_of};
pub use rewrite::{Rewriting, Started};

/// Between two lines about writes that fail.
const COMPLAIN_MS: i64 = 30_000;
/// A sync in the background that takes longer holds writes up.
const SLOW_SYNC_MS: i64 = 2_000;
/// How long somebody waits for another one's write before he looks again.
const LOOK: Duration = Duration::from_secs(1);
/// What a failure without a number of the system's counts as: `EIO`.
const UNKNOWN_ERROR: i32 = 5;

/// Whether there is an append-only file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// There is none.
    Off,
    /// There will be one once its first rewrite is done.
    Waiting,
    /// There is one.
    On,
}

/// The reply's command is executed, but it is not in the file: the system's number of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotWritten(pub i32);

impl NotWritten {
    /// What the client is told.
    pub fn text(self) -> String {
        let why = os_text(&io::Error::from_raw_os_error(self.0));
        format!("MISCONF Errors writing to the AOF file: {why}")
    }
}

/// The file that is written, and which files there are.
struct Writer {
    manifest: Manifest,
    increment: Option<Increment>,
    /// Taken from the log and not written yet.
    pending: Vec<u8>,
    /// The place behind what is written.
    written: Place,
    /// The place behind what is pending.
    taken: Place,
    /// Unix ms of the last line about a failure.
    complained_ms: i64,
    /// Unix ms until which no further delay is counted.
    delayed_until_ms: i64,
    /// The next file could not be made: what came behind the cut went on in the same.
    failed_cut: bool,
}

/// The append-only file of one server.
pub struct Aof {
    mode: AtomicU8,
    writer: Lock<Writer>,
    /// Whether one of those who wait writes for all.
    is_writing: Lock<bool>,
    /// Rung when it has.
    written: Condvar,
    /// Offset of the file up to which replies may leave.
    acknowledged: AtomicU64,
    /// Offset of the file up to which it is on the disk.
    synced: AtomicU64,
    /// The same as an offset of the stream.
    synced_stream: AtomicU64,
    write_error: AtomicI32,
    sync_error: AtomicI32,
    /// Bytes of all files.
    current_size: AtomicU64,
    /// The same right after the last rewrite, or of the base that was loaded.
    base_size: AtomicU64,
    /// Writes that found a sync that took too long.
    delayed: AtomicU64,
    /// Unix ms of the beginning of the sync that runs in the background; 0 for none.
    syncing_since_ms: AtomicI64,
    /// Unix seconds of the last one's beginning.
    last_sync: AtomicI64,
    /// DEBUG AOF-FLUSH-SLEEP: microseconds before each write.
    pub flush_sleep_us: AtomicU64,
    rewriting: Lock<Rewriting>,
    abort_rewrite: AtomicBool,
}

impl Default for Aof {
    fn default() -> Self {
        let writer = Writer {
            manifest: Manifest::default(),
            increment: None,
            pending: Vec::new(),
            written: Place::default(),
            taken: Place::default(),
            complained_ms: 0,
            delayed_until_ms: 0,
            failed_cut: false,
        };
        Aof {
            mode: AtomicU8::new(Mode::Off as u8),
            writer: Lock::new(rank::TASK + 5, writer),
            is_writing: Lock::new(rank::LEAF + 75, false),
            written: Condvar::new(),
            acknowledged: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            synced_stream: AtomicU64::new(0),
            write_error: AtomicI32::new(0),
            sync_error: AtomicI32::new(0),
            current_size: AtomicU64::new(0),
            base_size: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            syncing_since_ms: AtomicI64::new(0),
            last_sync: AtomicI64::new(0),
            flush_sleep_us: AtomicU64::new(0),
            rewriting: Lock::new(rank::ADMIN + 6, Rewriting::default()),
            abort_rewrite: AtomicBool::new(false),
        }
    }
}

/// What INFO tells of the file itself.
#[derive(Clone, Copy, Debug)]
pub struct FileInfo {
    /// Bytes of all files.
    pub current_size: u64,
    /// The same right after the last rewrite.
    pub base_size: u64,
    /// Bytes that wait to be written.
    pub waiting: u64,
    /// Whether a sync runs in the background.
    pub is_syncing: bool,
    /// Writes that found a sync that took too long.
    pub delayed: u64,
}

impl Aof {
    /// Whether there is a file.
    pub fn mode(&self) -> Mode {
        match self.mode.load(Ordering::SeqCst) {
            0 => Mode::Off,
            1 => Mode::Waiting,
            _ => Mode::On,
        }
    }

    fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Why writes are refused, if they are.
    pub fn failure(&self) -> Option<NotWritten> {
        if self.mode() == Mode::Off {
            return None;
        }
        let errors = [&self.write_error, &self.sync_error];
        let numbers = errors.map(|error| error.load(Ordering::Relaxed));
        numbers.into_iter().find(|&number| number != 0).map(NotWritten)
    }

    /// Whether the last write worked.
    pub fn last_write_ok(&self) -> bool {
        self.write_error.load(Ordering::Relaxed) == 0
            && self.sync_error.load(Ordering::Relaxed) == 0
    }

    /// What INFO tells.
    pub fn info(&self, server: &Server) -> FileInfo {
        FileInfo {
            current_size: self.current_size.load(Ordering::Relaxed),
            base_size: self.base_size.load(Ordering::Relaxed),
            waiting: server.log.file_end().1 as u64,
            is_syncing: self.syncing_since_ms.load(Ordering::Relaxed) != 0,
            delayed: self.delayed.load(Ordering::Relaxed),
        }
    }

    /// Whether the disk has everything up to this offset of the file.
    pub fn has_synced(&self, offset: u64) -> bool {
        self.synced.load(Ordering::SeqCst) >= offset
    }

    /// The offset of the stream up to which the disk has it; `None` without a file.
    pub fn synced_stream(&self) -> Option<u64> {
        (self.mode() == Mode::On).then(|| self.synced_stream.load(Ordering::SeqCst))
    }

    /// Bytes as they are after a load: of all files, and of the base.
    pub fn set_sizes(&self, current: u64, base: u64) {
        self.current_size.store(current, Ordering::Relaxed);
        self.base_size.store(base, Ordering::Relaxed);
    }

    /// Returns when replies to everything up to this offset of the file may leave.
    ///
    /// # Errors
    /// The file could not be written; what is up to [`Aof::acknowledged`] is in it.
    pub fn wait(&self, server: &Server, offset: u64) -> Result<(), NotWritten> {
        if offset <= self.acknowledged() || self.mode() == Mode::Off {
            return Ok(());
        }
        // Others that are about to write come first, so that one write is for all of them.
        std::thread::yield_now();
        let mut is_writing = self.is_writing.lock();
        while offset > self.acknowledged() {
            if !*is_writing {
                *is_writing = true;
                drop(is_writing);
                let result = self.write(server, &mut self.writer.lock());
                *self.is_writing.lock() = false;
                self.written.notify_all();
                return result;
            }
            is_writing = is_writing.wait_timeout(&self.written, LOOK);
        }
        // Somebody has written for us.
        Ok(())
    }

    /// Offset of the file up to which replies may leave.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Writes what waits, although nobody may wait for it.
    pub fn flush(&self, server: &Server) -> Result<(), NotWritten> {
        if self.mode() == Mode::Off {
            return Ok(());
        }
        self.write(server, &mut self.writer.lock())
    }

    /// Writes what waits, and forces it to the disk.
    pub fn flush_and_sync(&self, server: &Server) -> io::Result<()> {
        let mut writer = self.writer.lock();
        self.write(server, &mut writer).map_err(|e| io::Error::from_raw_os_error(e.0))?;
        self.sync_now(&mut writer)
    }

    fn sync_now(&self, writer: &mut Writer) -> io::Result<()> {
        if let Some(increment) = &mut writer.increment {
            if increment.is_unsynced() {
                increment.sync()?;
            }
            self.note_synced(writer.written);
        }
        Ok(())
    }

    fn note_synced(&self, place: Place) {
        self.synced.fetch_max(place.file, Ordering::SeqCst);
        self.synced_stream.fetch_max(place.stream, Ordering::SeqCst);
    }

    /// Writes everything that the log has, with the syncs and changes of files that belong to it.
    fn write(&self, server: &Server, writer: &mut Guard<'_, Writer>) -> Result<(), NotWritten> {
        let settings = server.config.get();
        let writer = &mut **writer;
        if writer.increment.is_none() {
            return Ok(());
        }
        let pause = self.flush_sleep_us.load(Ordering::Relaxed);
        if pause > 0 {
            std::thread::sleep(Duration::from_micros(pause));
        }
        let always = settings.appendfsync == Fsync::Always && self.may_sync(server, &settings);
        loop {
            let (place, is_cut) = server.log.take_file(&mut writer.pending);
            writer.taken = place;
            if let Err(e) = self.write_pending(server, &settings, writer, always) {
                return Err(self.note_failure(server, writer, &e));
            }
            if !is_cut {
                break;
            }
            if let Err(e) = self.next_increment(server, writer) {
                server.logger.warning(&format!("Can't open the append-only file: {e}"));
                writer.failed_cut = true;
            }
            server.log.forget_cut();
        }
        if self.write_error.swap(0, Ordering::Relaxed) != 0 {
            server.logger.warning("AOF write error looks solved, Redis can write again.");
        }
        Ok(())
    }

    /// Writes what is pending, and syncs it if it must not be acknowledged before.
    fn write_pending(
        &self,
        server: &Server,
        settings: &Settings,
        writer: &mut Writer,
        sync: bool,
    ) -> io::Result<()> {
        let Some(increment) = &mut writer.increment else { return Ok(()) };
        if !writer.pending.is_empty() {
            let delayed_since = self.syncing_since_ms.load(Ordering::Relaxed);
            self.note_delay(server, &mut writer.delayed_until_ms, delayed_since);
        }
        let (began, before) = (Instant::now(), increment.size());
        let result = increment.commit(&mut writer.pending, sync);
        let grown = increment.size() - before;
        self.current_size.fetch_add(grown, Ordering::Relaxed);
        let millis = began.elapsed().as_millis() as u64;
        let threshold = settings.latency_monitor_threshold;
        server.latency.note(if sync { "aof-fsync-always" } else { "aof-write" }, millis, threshold);
        result?;
        writer.written = writer.taken;
        self.acknowledged.fetch_max(writer.written.file, Ordering::SeqCst);
        if sync {
            self.sync_error.store(0, Ordering::Relaxed);
            self.note_synced(writer.written);
        }
        Ok(())
    }

    /// Counts and reports a write that finds a sync in the background that takes too long. The
    /// write itself waits in the operating system, since no reply may overtake it.
    fn note_delay(&self, server: &Server, until_ms: &mut i64, since_ms: i64) {
        let now_ms = clock::unix_ms();
        if since_ms == 0 || now_ms - since_ms < SLOW_SYNC_MS || now_ms < *until_ms {
            return;
        }
        *until_ms = now_ms + SLOW_SYNC_MS;
        self.delayed.fetch_add(1, Ordering::Relaxed);
        server.logger.notice(
            "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer \
             without waiting for fsync to complete, this may slow down Redis.",
        );
    }

    fn note_failure(&self, server: &Server, writer: &mut Writer, e: &io::Error) -> NotWritten {
        let number = e.raw_os_error().filter(|&n| n != 0).unwrap_or(UNKNOWN_ERROR);
        self.write_error.store(number, Ordering::Relaxed);
        let now_ms = clock::unix_ms();
        if now_ms - writer.complained_ms > COMPLAIN_MS {
            writer.complained_ms = now_ms;
            server.logger.warning(&format!("Error writing to the AOF file: {}", os_text(e)));
        }
        NotWritten(number)
    }

    /// Whether to sync at all: not while a snapshot is written, if that is not wanted.
    fn may_sync(&self, server: &Server, settings: &Settings) -> bool {
        !settings.no_appendfsync_on_rewrite || !server.has_background_job()
    }

    /// What is to be done ten times a second: writes what nobody waits for, tries again what
    /// failed, and syncs once a second with `appendfsync everysec`.
    pub fn tick(&self, server: &Server) {
        if self.mode() == Mode::Off || self.flush(server).is_err() {
            return;
        }
        let settings = server.config.get();
        let now = clock::unix_ms() / 1000;
        let due = settings.appendfsync == Fsync::EverySec
            && now > self.last_sync.load(Ordering::Relaxed)
            && self.may_sync(server, &settings);
        if due {
            self.sync_in_background(server);
        }
    }

    /// Syncs without holding up writes longer than the operating system does.
    fn sync_in_background(&self, server: &Server) {
        let writer = self.writer.lock();
        let Some(increment) = &writer.increment else { return };
        if !increment.is_unsynced() {
            // Nothing is missing on the disk, although the stream may have gone on.
            self.note_synced(writer.written);
            return;
        }
        let ((file, size), place) = (increment.to_sync(), writer.written);
        drop(writer);
        let now_ms = clock::unix_ms();
        self.last_sync.store(now_ms / 1000, Ordering::Relaxed);
        self.syncing_since_ms.store(now_ms, Ordering::Relaxed);
        let result = file.sync_data();
        self.syncing_since_ms.store(0, Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.sync_error.store(0, Ordering::Relaxed);
                if let Some(increment) = &mut self.writer.lock().increment {
                    increment.note_synced(&file, size);
                }
                self.note_synced(place);
                server.replication.wake_waiting();
            }
            Err(e) => {
                let number = e.raw_os_error().filter(|&n| n != 0).unwrap_or(UNKNOWN_ERROR);
                self.sync_error.store(number, Ordering::Relaxed);
                server.logger.warning(&format!("Fail to fsync the AOF file: {}", os_text(&e)));
            }
        }
    }
}
