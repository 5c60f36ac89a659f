//! The snapshot that a primary sends for a full resynchronization: its two framings, and the ways
//! in which it becomes our data (`repl-diskless-load`).
//!
//! Through a file it is received whole before anything happens to the old data. Straight from the
//! socket it goes into the keyspace when that is empty, or beside it into another one, which takes
//! its place when it is whole; the old data are served until then if they are of the same stream.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::rng::random_id;
use crate::engine::load::StreamPlace;
use crate::engine::{Engine, blocking, load};
use crate::service::full_sync;
use crate::service::primary::{Link, STEP, check_generation, failed};
use crate::state::clients::ClientHandle;
use crate::state::config::DisklessLoad;
use crate::state::replication::LinkState;
use crate::store::keyspace::Keyspace;
use crate::store::{Changes, Db, Expiry, Plan};

/// The mark behind a snapshot whose length is not known beforehand.
const MARK_LEN: usize = 40;
/// Between two signs of life while a snapshot is loaded.
const LIFE_SIGN_PERIOD: Duration = Duration::from_secs(1);

/// How the end of a snapshot is found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Framing {
    /// It has so many bytes.
    Length(u64),
    /// It ends before these bytes.
    Mark(Vec<u8>),
}

impl Framing {
    fn length(&self) -> Option<u64> {
        match self {
            Framing::Length(length) => Some(*length),
            Framing::Mark(_) => None,
        }
    }
}

/// Replaces our data by the primary's, which are the state of the stream `id` at `offset`.
pub fn full_sync(link: &mut Link, id: &str, offset: u64) -> io::Result<()> {
    let (engine, generation) = (Arc::clone(link.engine), link.generation);
    let server = &engine.server;
    server.replication.set_link_state(generation, LinkState::Sync);
    let framing = read_framing(link)?;
    let resync = Resync { engine: &engine, generation, id, offset };
    let way = server.config.get().repl_diskless_load;
    match way {
        DisklessLoad::SwapDb => {
            let mut incoming = Incoming::new(link, &framing);
            resync.replace_data(|| resync.load_aside(&mut incoming))
        }
        DisklessLoad::OnEmptyDb if server.keyspace.is_empty() => {
            let mut incoming = Incoming::new(link, &framing);
            resync.replace_data(|| resync.load_here(&mut incoming).inspect_err(|_| resync.empty()))
        }
        DisklessLoad::Disabled | DisklessLoad::OnEmptyDb => {
            let mut spooled = spool(link, &framing)?;
            resync.replace_data(|| resync.load_here(&mut spooled))
        }
    }
}

fn read_framing(link: &mut Link) -> io::Result<Framing> {
    let header = loop {
        let line = link.read_line()?;
        // An empty line only says that the primary is still at it.
        if !line.is_empty() {
            break line;
        }
    };
    let framing = if let Some(mark) = header.strip_prefix("$EOF:")
        && mark.len() == MARK_LEN
    {
        Framing::Mark(mark.as_bytes().to_vec())
    } else {
        let length = header.strip_prefix('$').and_then(|digits| digits.parse().ok());
        Framing::Length(length.ok_or_else(|| failed("SYNC", &header))?)
    };
    link.ack_at_once = matches!(framing, Framing::Mark(_));
    link.engine.server.replication.link().sync_total = framing.length();
    Ok(framing)
}

/// A full resynchronization.
struct Resync<'s> {
    engine: &'s Arc<Engine>,
    generation: u64,
    /// The stream, and the place in it whose state is sent.
    id: &'s str,
    offset: u64,
}

impl Resync<'_> {
    fn replace_data(&self, load: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let server = &self.engine.server;
        server.persistence.abort_save.store(true, Ordering::SeqCst);
        // The file is the state of another stream; a new one begins behind the snapshot.
        server.aof.stop(server);
        let result = load();
        server.persistence.set_loading(false);
        if result.is_ok() {
            // No file has these data yet.
            server.persistence.dirty.fetch_add(1, Ordering::SeqCst);
            // Where this failed, the next synchronization or a promotion turns it on again.
            if server.config.get().appendonly && !server.aof.start(server, false) {
                server.aof.start_soon();
            }
        }
        result
    }

    /// Loads a snapshot into the keyspace, which is emptied first.
    fn load_here<S: Source>(&self, source: &mut S) -> io::Result<()> {
        let server = &self.engine.server;
        server.logger.notice("MASTER <-> REPLICA sync: Flushing old data");
        let mut held = server.keyspace.hold(&Plan::All);
        check_generation(self.engine, self.generation)?;
        server.persistence.set_loading(true);
        server.replication.link().resumable = false;
        (0..server.keyspace.databases()).for_each(|db| held.flush(db, clock::unix_ms()));
        // Until the data are complete they are a state of no stream that anybody knows. Our own
        // replicas followed another one: they have to synchronize anew.
        server.log.adopt(&random_id(), 0);
        drop(held);
        let place = self.load_into(&server.keyspace, source)?;
        let _held = server.keyspace.hold(&Plan::All);
        self.follow_on(&place)
    }

    /// Loads a snapshot into a keyspace of its own, which takes the place of ours when it is whole.
    fn load_aside<S: Source>(&self, source: &mut S) -> io::Result<()> {
        let server = &self.engine.server;
        if server.log.id_and_offset().0 == self.id {
            // What we have is an older state of the same data, so that it may still be read.
            server.persistence.begin_loading_aside();
        } else {
            server.persistence.set_loading(true);
        }
        let fresh = server.keyspace.empty_twin();
        let place = self.load_into(&fresh, source).inspect_err(|_| {
            server.logger.notice("MASTER <-> REPLICA sync: Discarding temporary DB in background");
        })?;
        let contents = fresh.into_contents();
        server.logger.notice("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
        let now_ms = clock::unix_ms();
        let mut held = server.keyspace.hold(&Plan::All);
        self.follow_on(&place)?;
        held.replace_all(contents, now_ms);
        let mut changes = Changes::default();
        let mut db = Db::new(&mut held, 0, now_ms, Expiry::Ignore, &mut changes);
        (0..server.keyspace.databases()).for_each(|index| db.all_changed(index));
        server.persistence.set_loading(false);
        drop(held);
        blocking::finish_changes(self.engine, &server.config.get(), changes);
        server.logger.notice("MASTER <-> REPLICA sync: Discarding old DB in background");
        Ok(())
    }

    fn load_into<S: Source>(&self, keyspace: &Keyspace, input: &mut S) -> io::Result<StreamPlace> {
        let server = &self.engine.server;
        server.logger.notice("MASTER <-> REPLICA sync: Loading DB in memory");
        let length = input.length();
        load::load_into(self.engine, keyspace, &mut *input, length)
            .map_err(|e| io::Error::other(format!("Failed trying to load the MASTER DB: {e}")))
            .and_then(|place| input.finish().map(|()| place))
    }

    /// Our data are the state of the primary's stream now. All shards must be held.
    fn follow_on(&self, place: &StreamPlace) -> io::Result<()> {
        check_generation(self.engine, self.generation)?;
        self.engine.server.log.adopt(self.id, self.offset);
        self.engine.server.replication.resume_at(place.db);
        Ok(())
    }

    /// Forgets what was loaded of a snapshot that is not whole.
    fn empty(&self) {
        let server = &self.engine.server;
        let mut held = server.keyspace.hold(&Plan::All);
        if check_generation(self.engine, self.generation).is_ok() {
            (0..server.keyspace.databases()).for_each(|db| held.flush(db, clock::unix_ms()));
        }
    }
}

/// Where a snapshot is read from.
trait Source: Read {
    /// Its length, if it is known.
    fn length(&self) -> Option<u64>;

    /// To be called behind its end.
    ///
    /// # Errors
    /// It does not end as it should.
    fn finish(&mut self) -> io::Result<()>;
}

/// A snapshot that has been received.
struct Spooled {
    file: BufReader<File>,
    length: u64,
    life: LifeSign,
}

impl Read for Spooled {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.file.buffer().is_empty() {
            self.life.give();
        }
        self.file.read(into)
    }
}

impl Source for Spooled {
    fn length(&self) -> Option<u64> {
        Some(self.length)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A snapshot that is read from the connection.
struct Incoming<'l, 'e> {
    link: &'l mut Link<'e>,
    framing: &'l Framing,
    received: u64,
    progress: Progress,
    life: LifeSign,
}

impl<'l, 'e> Incoming<'l, 'e> {
    fn new(link: &'l mut Link<'e>, framing: &'l Framing) -> Self {
        log_receipt(link, framing, "parser");
        let life = LifeSign::new(link);
        Incoming { link, framing, received: 0, progress: Progress::default(), life }
    }
}

impl Read for Incoming<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.length().map_or(u64::MAX, |length| length - self.received);
        if self.link.at == self.link.input.len() && left > 0 {
            self.life.give();
            self.progress.note(self.link, self.received);
            self.link.fill()?;
        }
        let ready = &self.link.input[self.link.at..];
        let n = into.len().min(ready.len()).min(usize::try_from(left).unwrap_or(usize::MAX));
        into[..n].copy_from_slice(&ready[..n]);
        self.link.at += n;
        self.received += n as u64;
        Ok(n)
    }
}

impl Source for Incoming<'_, '_> {
    fn length(&self) -> Option<u64> {
        self.framing.length()
    }

    fn finish(&mut self) -> io::Result<()> {
        let Framing::Mark(mark) = self.framing else {
            // The stream begins where the snapshot was said to end.
            return io::copy(self, &mut io::sink()).map(|_| ());
        };
        let mut end = [0; MARK_LEN];
        self.read_exact(&mut end)?;
        if end != mark[..] {
            return Err(io::Error::other("Replication stream EOF marker is broken"));
        }
        Ok(())
    }
}

/// Receives a snapshot whole.
fn spool(link: &mut Link, framing: &Framing) -> io::Result<Spooled> {
    log_receipt(link, framing, "disk");
    let mut file = full_sync::spool_file(&link.engine.server)?;
    let length = match framing {
        Framing::Length(length) => receive(link, *length, &mut file)?,
        Framing::Mark(mark) => receive_marked(link, mark, &mut file)?,
    };
    file.seek(SeekFrom::Start(0))?;
    let file = BufReader::with_capacity(STEP, file);
    Ok(Spooled { file, length, life: LifeSign::new(link) })
}

/// Copies so many bytes.
fn receive(link: &mut Link, length: u64, file: &mut File) -> io::Result<u64> {
    let mut progress = Progress::default();
    let mut left = length;
    while left > 0 {
        if link.at == link.input.len() {
            link.fill()?;
        }
        let take = left.min((link.input.len() - link.at) as u64) as usize;
        file.write_all(&link.input[link.at..link.at + take])?;
        link.at += take;
        left -= take as u64;
        progress.note(link, length - left);
    }
    Ok(length)
}

/// Copies everything up to the mark; its length.
fn receive_marked(link: &mut Link, mark: &[u8], file: &mut File) -> io::Result<u64> {
    let mut progress = Progress::default();
    let mut length = 0;
    loop {
        let data = &link.input[link.at..];
        if let Some(found) = find(data, mark) {
            file.write_all(&data[..found])?;
            link.at += found + mark.len();
            return Ok(length + found as u64);
        }
        // The end of what is here may be the beginning of the mark.
        let sure = data.len().saturating_sub(mark.len() - 1);
        file.write_all(&data[..sure])?;
        link.at += sure;
        length += sure as u64;
        progress.note(link, length);
        link.fill()?;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn log_receipt(link: &Link, framing: &Framing, target: &str) {
    let what = match framing {
        Framing::Length(length) => format!("receiving {length} bytes from master"),
        Framing::Mark(_) => "receiving streamed RDB from master with EOF".to_owned(),
    };
    link.engine.server.logger.notice(&format!("MASTER <-> REPLICA sync: {what} to {target}"));
}

/// Lets the primary know that we are still there, while we load what it has sent.
struct LifeSign {
    handle: Arc<ClientHandle>,
    next: Instant,
}

impl LifeSign {
    fn new(link: &Link) -> Self {
        LifeSign { handle: Arc::clone(&link.handle), next: Instant::now() + LIFE_SIGN_PERIOD }
    }

    /// To be called often.
    fn give(&mut self) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + LIFE_SIGN_PERIOD;
            // A broken link is found by who reads from it.
            let _ = self.handle.stream.write_all(b"\n");
        }
    }
}

/// Tells how far a snapshot's transfer is: INFO always, the log once a second.
struct Progress {
    reported: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Progress { reported: Instant::now() }
    }
}

impl Progress {
    fn note(&mut self, link: &Link, received: u64) {
        let server = &link.engine.server;
        let mut state = server.replication.link();
        state.sync_read = received;
        state.last_io_ms = clock::unix_ms();
        drop(state);
        if self.reported.elapsed() >= Duration::from_secs(1) {
            self.reported = Instant::now();
            let message = format!("MASTER <-> REPLICA sync: {received} bytes received");
            server.logger.notice(&message);
        }
    }
}
