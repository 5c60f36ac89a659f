//! Saving the keyspace to the RDB file and what is known of it.
//!
//! Nothing is forked: a [`Snapshot`] gives the state of one moment while writers go on, and this
//! thread encodes and writes it. The file is written under a temporary name, synced and then
//! renamed, so that at any moment the old or the new one is there, whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::lock::{Lock, rank};
use crate::rdb::{self, Eviction};
use crate::state::Server;
use crate::state::config::{By, Settings};
use crate::state::memory;
use crate::store::View;
use crate::store::snapshot::Snapshot;

/// How the last background save ended, and the one that runs.
#[derive(Debug, Clone)]
pub struct SaveState {
    /// Whether one runs.
    pub running: bool,
    /// Unix ms of its beginning.
    pub started_ms: i64,
    /// Whether another one is to follow it (BGSAVE SCHEDULE).
    pub scheduled: bool,
    /// Unix seconds of the last successful save.
    pub last_save: i64,
    /// Whether the last background save worked.
    pub last_ok: bool,
    /// Unix ms of the last attempt.
    pub last_try_ms: i64,
    /// Seconds that the last one took; -1 before the first.
    pub last_seconds: i64,
    /// Why the last one failed.
    pub last_error: String,
    /// Successful saves since the start.
    pub saves: u64,
    /// Keys that the last load found expired and dropped.
    pub load_keys_expired: u64,
    /// Keys that the last load brought.
    pub load_keys_loaded: u64,
}

/// What is known of saving and loading.
pub struct Persistence {
    /// The background save.
    pub state: Lock<SaveState>,
    /// Changes since the last successful save.
    pub dirty: AtomicU64,
    /// Whether a file is being loaded: commands wait or are refused.
    pub loading: AtomicBool,
    /// Whether that goes on beside the data, which are served meanwhile.
    pub loading_aside: AtomicBool,
    /// Unix ms of the load's beginning.
    pub loading_since_ms: AtomicI64,
    /// Unix seconds of the load's beginning.
    pub loading_start: AtomicI64,
    /// Bytes of the file that is loaded.
    pub loading_total: AtomicU64,
    /// Bytes loaded so far.
    pub loading_done: AtomicU64,
    /// Keys written by the save that runs.
    pub save_done: AtomicU64,
    /// Keys that it has to write.
    pub save_total: AtomicU64,
    /// Whether the last background save failed, readable by every write without a lock.
    pub save_failed: AtomicBool,
    /// Ends the save that runs (FLUSHALL, SHUTDOWN).
    pub abort_save: AtomicBool,
    /// Held from a save's beginning to its end: they share a temporary file.
    saving: Lock<()>,
}

impl Default for Persistence {
    fn default() -> Self {
        let state = SaveState {
            running: false,
            started_ms: 0,
            scheduled: false,
            last_save: clock::unix_ms() / 1000,
            last_ok: true,
            last_try_ms: 0,
            last_seconds: -1,
            last_error: String::new(),
            saves: 0,
            load_keys_expired: 0,
            load_keys_loaded: 0,
        };
        Persistence {
            state: Lock::new(rank::ADMIN + 3, state),
            dirty: AtomicU64::new(0),
            loading: AtomicBool::new(false),
            loading_aside: AtomicBool::new(false),
            loading_since_ms: AtomicI64::new(0),
            loading_start: AtomicI64::new(0),
            loading_total: AtomicU64::new(0),
            loading_done: AtomicU64::new(0),
            save_done: AtomicU64::new(0),
            save_total: AtomicU64::new(0),
            save_failed: AtomicBool::new(false),
            abort_save: AtomicBool::new(false),
            saving: Lock::new(rank::TASK, ()),
        }
    }
}

impl Persistence {
    /// Says whether the data set is being loaded.
    pub fn set_loading(&self, loading: bool) {
        if loading {
            self.loading_since_ms.store(clock::unix_ms(), Ordering::SeqCst);
        }
        self.loading.store(loading, Ordering::SeqCst);
        self.loading_aside.store(false, Ordering::SeqCst);
    }

    /// A load begins beside the data, which are served on. It ends like any other.
    pub fn begin_loading_aside(&self) {
        self.loading_aside.store(true, Ordering::SeqCst);
        self.loading.store(true, Ordering::SeqCst);
    }

    /// A load of so many bytes begins.
    pub fn begin_progress(&self, total: u64) {
        self.loading_start.store(clock::unix_ms() / 1000, Ordering::Relaxed);
        self.loading_total.store(total, Ordering::Relaxed);
        self.loading_done.store(0, Ordering::Relaxed);
    }

    /// Marks a background save as running; `false` when one runs already.
    pub fn begin_background(&self) -> bool {
        let mut state = self.state.lock();
        if state.running {
            return false;
        }
        state.running = true;
        state.scheduled = false;
        state.started_ms = clock::unix_ms();
        state.last_try_ms = state.started_ms;
        self.abort_save.store(false, Ordering::SeqCst);
        true
    }

    /// Ends what [`Persistence::begin_background`] began; whether another one is scheduled.
    pub fn end_background(&self, result: &io::Result<()>) -> bool {
        let mut state = self.state.lock();
        state.running = false;
        state.last_seconds = (clock::unix_ms() - state.started_ms) / 1000;
        match result {
            Ok(()) => {}
            // A save that we ended ourselves is no failure of the disk.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                state.last_ok = false;
                self.save_failed.store(true, Ordering::Relaxed);
                state.last_error = e.to_string();
            }
        }
        state.scheduled
    }

    /// Whether a background save runs.
    pub fn is_saving(&self) -> bool {
        self.state.lock().running
    }
}

/// What ends the writing of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Nothing but its end.
    Done,
    /// `abort_save`: a background save.
    Aborted,
    /// The end of the server, or of all who wait for it: a snapshot for replicas.
    Unwanted,
    /// The append-only file's rewrite is not wanted any more.
    Rewritten,
}

/// What a snapshot is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// To be all that there is.
    Whole,
    /// The append-only file's base, which increments follow.
    Base,
    /// What there is besides keys, for those who want nothing else.
    Keyless,
}

/// The place in the replication stream that a snapshot belongs to.
#[derive(Debug, Clone)]
pub struct Epoch {
    /// Replication id.
    pub id: String,
    /// Offset of the stream.
    pub offset: u64,
    /// Database that the stream has selected there.
    stream_db: usize,
    /// Changes counted so far.
    dirty: u64,
}

/// Begins a snapshot and notes the place in the log that it belongs to. `at_epoch` runs while all
/// shards are held.
pub fn begin_snapshot(server: &Server, at_epoch: impl FnOnce()) -> (Snapshot, Epoch) {
    Snapshot::begin(&server.keyspace, || {
        at_epoch();
        let (id, offset) = server.log.id_and_offset();
        let stream_db = if server.replication.is_replica() {
            server.replication.stream_db.load(Ordering::SeqCst)
        } else {
            // A stream of our own that has selected nothing will say what it selects.
            server.log.selected().unwrap_or(0)
        };
        Epoch { id, offset, stream_db, dirty: server.persistence.dirty.load(Ordering::SeqCst) }
    })
}

/// The path of the RDB file.
pub fn rdb_path(server: &Server) -> PathBuf {
    let settings = server.config.get();
    Path::new(&settings.dir).join(&settings.dbfilename)
}

fn temporary_path(server: &Server) -> PathBuf {
    let name = format!("temp-{}-{}.rdb", std::process::id(), &server.run_id[..8]);
    server.config.get().dir.join(name)
}

/// Removes what a save that cannot finish any more has written.
pub fn remove_temporary(server: &Server) {
    let _ = fs::remove_file(temporary_path(server));
}

/// Saves the keyspace to the RDB file (SAVE, BGSAVE, SHUTDOWN, save points).
pub fn save(server: &Server, until: Until) -> io::Result<()> {
    let _alone = server.persistence.saving.lock();
    let target = rdb_path(server);
    let directory = target.parent().map(Path::to_path_buf).unwrap_or_default();
    let temporary = temporary_path(server);
    let result = save_as(server, &temporary, &target, &directory, until);
    if let Err(e) = &result {
        let _ = fs::remove_file(&temporary);
        server.logger.warning(&format!("Error saving the DB on disk: {}: {e}", target.display()));
    }
    result
}

fn save_as(
    server: &Server,
    temporary: &Path,
    target: &Path,
    directory: &Path,
    until: Until,
) -> io::Result<()> {
    let file = File::create(temporary)?;
    let (snapshot, epoch) = begin_snapshot(server, || ());
    let file = write_snapshot(server, snapshot, &epoch, file, until, Contents::Whole)?;
    file.sync_all()?;
    fs::rename(temporary, target)?;
    // The rename itself has to reach the disk too.
    File::open(directory)?.sync_all()?;
    let unsaved = |dirty: u64| Some(dirty.saturating_sub(epoch.dirty));
    let _ = server.persistence.dirty.fetch_update(Ordering::SeqCst, Ordering::SeqCst, unsaved);
    let mut state = server.persistence.state.lock();
    state.last_save = clock::unix_ms() / 1000;
    state.saves += 1;
    state.last_ok = true;
    server.persistence.save_failed.store(false, Ordering::Relaxed);
    drop(state);
    server.logger.notice("DB saved on disk");
    Ok(())
}

/// Writes a snapshot as an RDB file.
pub fn write_snapshot<W: Write>(
    server: &Server,
    mut snapshot: Snapshot,
    epoch: &Epoch,
    out: W,
    until: Until,
    contents: Contents,
) -> io::Result<W> {
    let settings = server.config.get();
    let options =
        rdb::Options { compress: settings.rdbcompression, checksum: settings.rdbchecksum };
    let mut writer = rdb::Writer::new(out, options);
    writer.header()?;
    write_aux(server, epoch, &mut writer, contents)?;
    let mut progress = Progress::new(server, &snapshot, until);
    if contents != Contents::Keyless {
        write_entries(server, &mut snapshot, &mut writer, &mut progress)?;
    }
    // Also one without keys may be unwanted: what it was to save was removed before it began.
    progress.go_on(server)?;
    drop(snapshot);
    writer.finish()
}

fn write_entries<W: Write>(
    server: &Server,
    snapshot: &mut Snapshot,
    writer: &mut rdb::Writer<W>,
    progress: &mut Progress,
) -> io::Result<()> {
    let settings = server.config.get();
    let counts = snapshot.counts().to_vec();
    let (mut selected, mut announced) = (None, vec![false; counts.len()]);
    while let Some(batch) = snapshot.next_batch() {
        if selected != Some(batch.db) {
            writer.select_db(batch.db)?;
            let db = batch.db as usize;
            if !std::mem::replace(&mut announced[db], true) {
                writer.resize_db(counts[db].0, counts[db].1)?;
            }
            selected = Some(batch.db);
        }
        for entry in batch.keys() {
            let eviction = accesses(&entry, &settings);
            writer.entry(entry.key(), &entry.value(), entry.expire_at(), eviction)?;
            progress.key(server)?;
        }
        progress.report(server, snapshot);
    }
    Ok(())
}

/// What is written of a key's accesses: what the policy will want to know again.
fn accesses(entry: &View, settings: &Settings) -> Option<Eviction> {
    let now_ms = clock::unix_ms;
    match settings.maxmemory_policy.by? {
        By::Access => Some(Eviction::Idle(entry.idle_seconds(now_ms()))),
        By::Frequency => Some(Eviction::Freq(entry.frequency(now_ms(), memory::aging(settings)))),
        By::Chance | By::Deadline => None,
    }
}

fn write_aux<W: Write>(
    server: &Server,
    epoch: &Epoch,
    writer: &mut rdb::Writer<W>,
    contents: Contents,
) -> io::Result<()> {
    writer.aux(b"redis-ver", crate::state::REDIS_VERSION.as_bytes())?;
    writer.aux(b"redis-bits", b"64")?;
    writer.aux(b"ctime", (clock::unix_ms() / 1000).to_string().as_bytes())?;
    writer.aux(b"used-mem", server.used_memory().to_string().as_bytes())?;
    if server.log.is_streaming() {
        writer.aux(b"repl-stream-db", epoch.stream_db.to_string().as_bytes())?;
        writer.aux(b"repl-id", epoch.id.as_bytes())?;
        writer.aux(b"repl-offset", epoch.offset.to_string().as_bytes())?;
    }
    let is_base: &[u8] = if contents == Contents::Base { b"1" } else { b"0" };
    writer.aux(b"aof-base", is_base)
}

/// Commands a second from which on a snapshot makes room for them.
const BUSY: u64 = 1000;

/// Tells how far a save is, and ends it when it is to end.
pub struct Progress {
    until: Until,
    delay: Duration,
    total: u64,
    done: u64,
    reported: Instant,
    /// When it was last looked how busy the server is.
    looked: Instant,
}

impl Progress {
    /// The beginning of a save.
    pub fn new(server: &Server, snapshot: &Snapshot, until: Until) -> Self {
        let delay = Duration::from_micros(server.config.get().rdb_key_save_delay);
        let total = snapshot.counts().iter().map(|(keys, _)| keys).sum();
        server.persistence.save_total.store(total, Ordering::Relaxed);
        server.persistence.save_done.store(0, Ordering::Relaxed);
        let now = Instant::now();
        Progress { until, delay, total, done: 0, reported: now, looked: now }
    }

    /// Whether the save may go on.
    ///
    /// # Errors
    /// It is to end.
    fn go_on(&self, server: &Server) -> io::Result<()> {
        let ended = match self.until {
            Until::Done => false,
            Until::Aborted => server.persistence.abort_save.load(Ordering::Relaxed),
            Until::Unwanted => {
                server.replication.abort_sync.load(Ordering::Relaxed) || server.is_ending()
            }
            Until::Rewritten => server.aof.is_aborted() || server.has_ended(),
        };
        if ended {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the save was ended"));
        }
        Ok(())
    }

    /// One more key is written.
    ///
    /// # Errors
    /// The save is to end.
    pub fn key(&mut self, server: &Server) -> io::Result<()> {
        self.done += 1;
        if self.delay.is_zero() {
            return self.go_on(server);
        }
        let until = Instant::now() + self.delay;
        loop {
            self.go_on(server)?;
            // In slices, so that a save made slow on purpose can still be ended, or made fast.
            let left = until.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(Duration::from_millis(10)));
            self.delay = Duration::from_micros(server.config.get().rdb_key_save_delay);
            if left.is_zero() || self.delay.is_zero() {
                return Ok(());
            }
        }
    }

    /// A batch of keys is written. The snapshot is told whether anybody is kept waiting by it.
    pub fn report(&mut self, server: &Server, snapshot: &mut Snapshot) {
        server.persistence.save_done.store(self.done, Ordering::Relaxed);
        if self.looked.elapsed() >= Duration::from_millis(10) {
            self.looked = Instant::now();
            let [commands, ..] = server.stats.rates.lock().per_second();
            snapshot.set_pausing(commands >= BUSY);
        }
        if self.reported.elapsed() >= Duration::from_secs(1) {
            self.reported = Instant::now();
            let message = format!("Saving: {} of {} keys written", self.done, self.total);
            server.logger.notice(&message);
        }
    }
}

/// Starts a background save unless one runs, or a rewrite of the append-only file, or the server is
/// about to end; whether it was started.
pub fn start_background_save(server: &Arc<Server>) -> bool {
    let free = server.may_begin_save() && !server.aof.is_rewriting();
    let started = free && server.persistence.begin_background();
    if started {
        server.start_job(crate::state::Job::BackgroundSave);
    }
    started
}
