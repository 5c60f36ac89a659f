//! Loading the append-only file: its base, then the increments, command by command.
//!
//! Must not know who loads or why: whether clients are told to wait, and what was there before, is
//! the caller's affair. A file that ends within a command, or within a transaction, was being
//! written when the server died: the last file is cut there, if that is allowed. Anything else that
//! is wrong is an error, since nobody can know what is missing.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::engine::session::Role;
use crate::engine::{Engine, Session, dispatch, load};
use crate::log::aof::{Found, Reader};
use crate::log::manifest::{Entry, Kind, Manifest};
use crate::resp::out::Out;
use crate::state::aof;
use crate::state::clients::ClientHandle;
use crate::state::config::{Settings, os_text};

/// How many commands are loaded between two looks at the clock.
const LOOK: u64 = 1024;
/// Bytes read at a time.
const STEP: usize = 1 << 16;
/// What an RDB file begins with.
const RDB_MAGIC: &[u8; 5] = b"REDIS";

/// How the loading of one file ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Whole,
    Cut,
}

/// Loads all files that the manifest names, and takes over a file from before there were manifests.
/// The manifest is kept for the writer. Whether there is anything.
///
/// # Errors
/// Anything that is wrong with the files; the reason is in the log.
pub fn load_files(engine: &Engine, mut manifest: Manifest) -> io::Result<bool> {
    let server = &engine.server;
    aof::prepare_upgrade(server, &mut manifest)?;
    let settings = server.config.get();
    let files: Vec<(Kind, Entry)> =
        manifest.to_load().map(|(kind, entry)| (kind, entry.clone())).collect();
    server.aof.set_manifest(manifest);
    if files.is_empty() {
        return Ok(false);
    }
    let mut sizes = Vec::new();
    for (_, entry) in &files {
        sizes.push(aof::size_of(&settings, &entry.name).inspect_err(|e| {
            let (name, why) = (&entry.name, os_text(e));
            let message = format!("Unable to obtain the AOF file {name} length. stat: {why}");
            server.logger.warning(&message);
        })?);
    }
    let total = sizes.iter().sum();
    let mut loader = Loader { engine, settings, before: 0, total, reported: Instant::now() };
    server.persistence.begin_progress(total);
    for (index, ((kind, entry), size)) in files.iter().zip(&sizes).enumerate() {
        let is_last = index + 1 == files.len();
        loader.load(*kind, &entry.name, *size, is_last)?;
        loader.before += size;
    }
    let base = files.iter().zip(&sizes).find(|((kind, _), _)| *kind == Kind::Base);
    server.aof.set_sizes(total, base.map_or(0, |(_, size)| *size));
    Ok(true)
}

struct Loader<'e> {
    engine: &'e Engine,
    settings: Arc<Settings>,
    /// Bytes of the files that are loaded.
    before: u64,
    /// Bytes of all files.
    total: u64,
    reported: Instant,
}

impl Loader<'_> {
    fn load(&mut self, kind: Kind, name: &str, size: u64, is_last: bool) -> io::Result<()> {
        let logger = &self.engine.server.logger;
        if size == 0 {
            return Ok(());
        }
        let began = Instant::now();
        let path = aof::directory(&self.settings).join(name);
        let ended = self.load_file(name, &path, size)?;
        if ended == Ended::Cut && !is_last {
            return Err(self.refuse("Fatal error: the truncated file is not the last file"));
        }
        let seconds = began.elapsed().as_secs_f64();
        let kind = if kind == Kind::Base { "base" } else { "incr" };
        logger.notice(&format!("DB loaded from {kind} file {name}: {seconds:.3} seconds"));
        Ok(())
    }

    fn load_file(&mut self, name: &str, path: &Path, size: u64) -> io::Result<Ended> {
        let file = File::open(path).map_err(|e| {
            let why = os_text(&e);
            self.refuse(&format!(
                "Fatal error: can't open the append log file {name} for reading: {why}"
            ))
        })?;
        let mut input = BufReader::with_capacity(STEP, file);
        let read = self.read_preamble(&mut input, name, size).and_then(|start| {
            let mut reader = Reader::new(input, start);
            self.read_commands(&mut reader, name)
        });
        let (found, whole) = read.map_err(|e| {
            if e.kind() == ErrorKind::Other {
                // It was explained where it was found.
                return e;
            }
            let why = os_text(&e);
            self.refuse(&format!("Unrecoverable error reading the append only file {name}: {why}"))
        })?;
        match found {
            Found::Torn => self.cut(name, path, whole).map(|()| Ended::Cut),
            Found::Nonsense => {
                let server = &self.engine.server;
                let at = format!("The AOF file {name} is damaged behind offset {whole}");
                server.logger.warning(&at);
                Err(self.refuse(&format!(
                    "Bad file format reading the append only file {name}: make a backup of your \
                     AOF file, then use ./redis-check-aof --fix <filename.manifest>"
                )))
            }
            Found::Command | Found::End => Ok(Ended::Whole),
        }
    }

    /// Loads the RDB file that a base is, or that an old file begins with; where it ends.
    fn read_preamble(&self, input: &mut BufReader<File>, name: &str, size: u64) -> io::Result<u64> {
        let mut magic = Vec::new();
        input.by_ref().take(RDB_MAGIC.len() as u64).read_to_end(&mut magic)?;
        input.seek(SeekFrom::Start(0))?;
        if magic != RDB_MAGIC {
            return Ok(0);
        }
        let logger = &self.engine.server.logger;
        let is_old = name == self.settings.appendfilename;
        logger.notice(match is_old {
            true => "Reading RDB preamble from AOF file...",
            false => "Reading RDB base file on AOF loading...",
        });
        load::load_base(self.engine, &mut *input, self.before, size).map_err(|why| {
            logger.warning(&why);
            let what = if is_old { "preamble of the AOF" } else { "base" };
            self.refuse(&format!("Error reading the RDB {what} file {name}, AOF loading aborted"))
        })?;
        if is_old {
            logger.notice("Reading the remaining AOF tail...");
        }
        input.stream_position()
    }

    /// Executes all commands; what is behind the last one, and the offset up to which everything
    /// has been executed.
    fn read_commands(
        &mut self,
        reader: &mut Reader<BufReader<File>>,
        name: &str,
    ) -> io::Result<(Found, u64)> {
        let handle = Arc::new(ClientHandle::of_nobody()?);
        let mut session = Session::new(handle, Role::Replay);
        let mut out = Out::new();
        let (mut count, mut whole) = (0u64, reader.offset());
        let delay = Duration::from_micros(self.settings.key_load_delay);
        loop {
            let found = reader.next()?;
            let end = match found {
                Found::Command => None,
                Found::End if session.multi.is_some() => {
                    let message =
                        format!("Revert incomplete MULTI/EXEC transaction in AOF file {name}");
                    self.engine.server.logger.warning(&message);
                    Some(Found::Torn)
                }
                end => Some(end),
            };
            if let Some(end) = end {
                return Ok((end, whole));
            }
            self.execute(&mut session, reader.args(), name, &mut out)?;
            if session.multi.is_none() {
                whole = reader.offset();
            }
            count += 1;
            if count.is_multiple_of(LOOK) {
                self.note_progress(reader.offset())?;
            }
            if !delay.is_zero() {
                std::thread::sleep(delay);
            }
        }
    }

    fn execute(
        &self,
        session: &mut Session,
        args: &[Vec<u8>],
        name: &str,
        out: &mut Out,
    ) -> io::Result<()> {
        let argv: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        if dispatch::replay(self.engine, session, &self.settings, &argv, out).is_err() {
            let command = String::from_utf8_lossy(argv[0]);
            return Err(self.refuse(&format!(
                "Unknown command '{command}' reading the append only file {name}"
            )));
        }
        out.clear();
        Ok(())
    }

    fn note_progress(&mut self, offset: u64) -> io::Result<()> {
        let server = &self.engine.server;
        if server.has_ended() {
            return Err(io::Error::other("the server ends"));
        }
        let done = self.before + offset;
        server.persistence.loading_done.store(done, Ordering::Relaxed);
        if self.reported.elapsed() >= Duration::from_secs(1) {
            self.reported = Instant::now();
            let message = format!("Loading: {done} of {} bytes", self.total);
            server.logger.notice(&message);
        }
        Ok(())
    }

    /// Cuts a file behind its last whole command.
    fn cut(&self, name: &str, path: &Path, whole: u64) -> io::Result<()> {
        let logger = &self.engine.server.logger;
        if self.settings.aof_load_truncated {
            logger
                .warning(&format!("!!! Warning: short read while loading the AOF file {name}!!!"));
            logger.warning(&format!("!!! Truncating the AOF {name} at offset {whole} !!!"));
            let result =
                OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(whole));
            match result {
                Ok(()) => {
                    logger.warning(&format!(
                        "AOF {name} loaded anyway because aof-load-truncated is enabled"
                    ));
                    return Ok(());
                }
                Err(e) => {
                    let why = os_text(&e);
                    logger.warning(&format!("Error truncating the AOF file {name}: {why}"));
                }
            }
        }
        Err(self.refuse(&format!(
            "Unexpected end of file reading the append only file {name}. You can: 1) Make a backup \
             of your AOF file, then use ./redis-check-aof --fix <filename.manifest>. 2) \
             Alternatively you can set the 'aof-load-truncated' configuration option to yes and \
             restart the server."
        )))
    }

    /// Says in the log why nothing is loaded.
    fn refuse(&self, why: &str) -> io::Error {
        self.engine.server.logger.warning(why);
        io::Error::other(why.to_owned())
    }
}

/// Loads the append-only file at the server's start, and what there is to know of it.
///
/// # Errors
/// As [`load_files`].
pub fn load_at_start(engine: &Engine) -> io::Result<()> {
    let server = &engine.server;
    let began = clock::unix_us();
    if load_files(engine, aof::load_manifest(server)?)? {
        let seconds = (clock::unix_us() - began) as f64 / 1e6;
        let message = format!("DB loaded from append only file: {seconds:.3} seconds");
        server.logger.notice(&message);
    }
    Ok(())
}
