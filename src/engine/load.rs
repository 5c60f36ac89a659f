//! Loading an RDB file into the keyspace: at start-up, from a primary, and for DEBUG RELOAD.
//!
//! Must not know who loads or why: whether clients are told to wait, and what was there before, is
//! the caller's affair.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::base::{clock, pipeline, quote};
use crate::engine::{Engine, dispatch};
use crate::rdb::{Eviction, Item, PLACE, Reader};
use crate::state::memory;
use crate::state::persistence;
use crate::store::Aging;
use crate::store::batch::{Batch, Facts, Twice};
use crate::store::keyspace::Keyspace;

/// What a file says of the replication stream that it is a state of.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StreamPlace {
    /// Replication id.
    pub id: Option<String>,
    /// Offset.
    pub offset: Option<u64>,
    /// Database that the stream has selected there.
    pub db: usize,
    /// (database, key) that the file has and that were dropped because their time had come: the
    /// stream of a primary that goes on from here has to say so.
    pub expired: Vec<(usize, Vec<u8>)>,
}

/// What happens to a key of the file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The file is damaged: no save writes a key twice.
    Refuse,
    /// The file's value takes its place.
    Replace,
}

/// Loads the server's RDB file at its start, if there is one, and what it says of the primary's
/// stream.
///
/// # Errors
/// As [`load_file`].
pub fn load_at_start(engine: &Engine) -> io::Result<()> {
    let Some(place) = load_file(engine, Existing::Refuse)? else { return Ok(()) };
    let server = &engine.server;
    if let (Some(id), Some(offset)) = (&place.id, place.offset) {
        if server.config.get().replicaof.is_some() {
            server.log.adopt(id, offset);
            server.replication.resume_at(place.db);
        } else {
            // The replicas of this server before its restart may go on from the file's state.
            server.log.succeed_after_restart(id, offset);
            server.replication.note_no_replicas();
            dispatch::append_expired(engine, &server.config.get(), &place.expired);
        }
    }
    Ok(())
}

/// Loads the server's RDB file; `None` when there is none.
///
/// # Errors
/// A damaged file, with its offset; the file is left as it is.
pub fn load_file(engine: &Engine, existing: Existing) -> io::Result<Option<StreamPlace>> {
    let path = persistence::rdb_path(&engine.server);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(io::Error::new(e.kind(), format!("Can't open {}: {e}", path.display())));
        }
    };
    let size = file.metadata()?.len();
    let began = Instant::now();
    let file = BufReader::with_capacity(1 << 16, file);
    let place = load_over(engine, file, Some(size), existing).map_err(|e| {
        io::Error::other(format!("Bad file format reading {}: {e}", path.display()))
    })?;
    let seconds = began.elapsed().as_secs_f64();
    engine.server.logger.notice(&format!("DB loaded from disk: {seconds:.3} seconds"));
    Ok(Some(place))
}

/// Loads an RDB file from a reader, whose size may be known, into a keyspace, which may be one that
/// nobody sees yet. Else clients are told to wait meanwhile by the caller.
pub fn load_into<R: Read>(
    engine: &Engine,
    keyspace: &Keyspace,
    input: R,
    size: Option<u64>,
) -> Result<StreamPlace, String> {
    engine.server.persistence.begin_progress(size.unwrap_or(0));
    let mut loader = Loader::new(engine, Existing::Refuse);
    loader.keyspace = keyspace;
    loader.load(input, size)
}

/// Loads the RDB file that is the base of the append-only file, or its beginning. It is not the
/// first thing to be loaded: `before` bytes were. Keys whose time has come are kept, because
/// commands that follow may mean them.
pub fn load_base<R: Read>(
    engine: &Engine,
    input: R,
    before: u64,
    size: u64,
) -> Result<StreamPlace, String> {
    let mut loader = Loader::new(engine, Existing::Refuse);
    loader.keep_expired = true;
    loader.before = before;
    loader.load(input, Some(size))
}

/// Likewise, into the server's keyspace, which may have some of the file's keys.
fn load_over<R: Read>(
    engine: &Engine,
    input: R,
    size: Option<u64>,
    existing: Existing,
) -> Result<StreamPlace, String> {
    engine.server.persistence.begin_progress(size.unwrap_or(0));
    Loader::new(engine, existing).load(input, size)
}

struct Loader<'e> {
    engine: &'e Engine,
    keyspace: &'e Keyspace,
    db: usize,
    now_ms: i64,
    /// A replica keeps expired keys until its primary says so.
    keep_expired: bool,
    existing: Existing,
    /// Bytes of other files that were loaded before this one.
    before: u64,
    aging: Aging,
    /// Keys that are not stored yet.
    batch: Batch,
    place: StreamPlace,
    items: u64,
    keys: u64,
    expired: u64,
    /// Keys with an empty collection, which were passed over.
    empty: u64,
}

/// So many of the keys that are passed over are named in the log.
const EMPTY_KEYS_NAMED: u64 = 10;

impl<'e> Loader<'e> {
    fn new(engine: &'e Engine, existing: Existing) -> Self {
        let settings = engine.server.config.get();
        let keep_expired = engine.server.replication.is_replica() || settings.replicaof.is_some();
        Loader {
            engine,
            keyspace: &engine.server.keyspace,
            db: 0,
            now_ms: clock::unix_ms(),
            keep_expired,
            existing,
            before: 0,
            aging: memory::aging(&settings),
            batch: Batch::default(),
            place: StreamPlace::default(),
            items: 0,
            keys: 0,
            expired: 0,
            empty: 0,
        }
    }

    /// Reads and decodes on this thread, and stores on another.
    fn load<R: Read>(self, input: R, size: Option<u64>) -> Result<StreamPlace, String> {
        let (keyspace, aging, now_ms) = (self.keyspace, self.aging, self.now_ms);
        let replaces = self.existing == Existing::Replace;
        let (spent, empties) = mpsc::channel();
        let second = |mut batch: Batch| {
            batch.store(keyspace, now_ms, aging, replaces).map_err(|twice| refusal(&twice))?;
            // Nobody is left to fill it at the end.
            let _ = spent.send(batch);
            Ok(())
        };
        let loaded = pipeline::run(|give| self.read(input, size, &empties, give), second);
        loaded.map_err(|e| e.to_string())
    }

    /// Reads the file and gives away its keys, in batches that come back when they are stored.
    fn read<R: Read>(
        mut self,
        input: R,
        size: Option<u64>,
        empties: &mpsc::Receiver<Batch>,
        give: &mut dyn FnMut(Batch) -> io::Result<()>,
    ) -> io::Result<StreamPlace> {
        let server = &self.engine.server;
        let settings = server.config.get();
        let delay = Duration::from_micros(settings.key_load_delay);
        let mut reader = Reader::new(input)
            .limit(size)
            .verify(settings.rdbchecksum && !server.skip_checksums.load(Ordering::Relaxed))
            .small_up_to(settings.limits);
        let mut reported = Instant::now();
        loop {
            let item = reader.next().map_err(io::Error::other)?;
            if server.has_ended() {
                return Err(io::Error::other("the server ends"));
            }
            if self.items.is_multiple_of(1024) {
                let done = self.before + reader.offset();
                server.persistence.loading_done.store(done, Ordering::Relaxed);
                if reported.elapsed() >= Duration::from_secs(1) {
                    reported = Instant::now();
                    let message =
                        format!("Loading: {} of {} bytes", reader.offset(), size.unwrap_or(0));
                    server.logger.notice(&message);
                }
            }
            if let Item::Eof = item {
                break;
            }
            self.take(item, reader.offset()).map_err(|e| before(&e, reader.offset()))?;
            if self.batch.is_full() {
                let next = empties.try_recv().unwrap_or_default();
                give(std::mem::replace(&mut self.batch, next))?;
            }
            if !delay.is_zero() {
                std::thread::sleep(delay);
            }
        }
        give(self.batch)?;
        let mut state = server.persistence.state.lock();
        state.load_keys_loaded = self.keys;
        state.load_keys_expired = self.expired;
        drop(state);
        let message = format!(
            "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
            self.keys, self.expired, self.empty
        );
        server.logger.notice(&message);
        Ok(self.place)
    }

    /// Takes what was found before byte `offset`.
    fn take(&mut self, item: Item, offset: u64) -> Result<(), String> {
        self.items += 1;
        match item {
            Item::Aux(name, value) => self.aux(&name, &value),
            Item::SelectDb(db) => {
                let databases = self.keyspace.databases();
                self.db = usize::try_from(db).unwrap_or(usize::MAX);
                if self.db >= databases {
                    let message = format!(
                        "the file was saved by a server with more than {databases} databases"
                    );
                    return Err(message);
                }
            }
            Item::Entry { key, value, expire_at_ms, eviction } => {
                if !self.keep_expired && expire_at_ms.is_some_and(|at| at < self.now_ms) {
                    self.expired += 1;
                    if self.place.id.is_some() {
                        self.place.expired.push((self.db, key));
                    }
                    return Ok(());
                }
                self.keys += 1;
                let (idle_seconds, frequency) = match eviction {
                    Some(Eviction::Idle(seconds)) => (Some(seconds), None),
                    Some(Eviction::Freq(frequency)) => (None, Some(frequency)),
                    None => (None, None),
                };
                let (db, expire_at, origin) = (self.db, expire_at_ms, offset);
                let facts = Facts { db, expire_at, idle_seconds, frequency, origin };
                self.batch.push(self.keyspace, &key, value, facts);
            }
            Item::Empty(key) => {
                self.empty += 1;
                if self.empty <= EMPTY_KEYS_NAMED {
                    let name = String::from_utf8_lossy(&key);
                    let message = format!("rdbLoadObject skipping empty key: {name}");
                    self.engine.server.logger.warning(&message);
                }
            }
            Item::Function(source) => {
                let message = format!(
                    "Functions are not supported: a library of {} bytes in the file is passed over",
                    source.len()
                );
                self.engine.server.logger.warning(&message);
            }
            Item::ResizeDb(keys) => {
                self.keyspace.reserve(self.db, usize::try_from(keys).unwrap_or(usize::MAX));
            }
            Item::ModuleAux | Item::Eof => {}
        }
        Ok(())
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        match name {
            b"repl-id" if value.len() == 40 => self.place.id = Some(text.into_owned()),
            b"repl-stream-db" => self.place.db = text.parse().unwrap_or(0),
            b"repl-offset" => self.place.offset = text.parse().ok(),
            _ => {}
        }
    }
}

/// What is wrong with a file, and where that was seen.
fn before(what: &str, offset: u64) -> io::Error {
    io::Error::other(format!("{PLACE} {offset} -> {what}"))
}

fn refusal(twice: &Twice) -> io::Error {
    let mut shown = Vec::new();
    quote::repr(&mut shown, &twice.key);
    let shown = String::from_utf8_lossy(&shown);
    before(&format!("RDB has duplicated key {shown} in DB {}", twice.db), twice.origin)
}
