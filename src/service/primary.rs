//! The link to our primary: connect, shake hands one step at a time, take a snapshot or go on where
//! the stream broke off, apply the stream, confirm every second.
//!
//! One thread per primary ("generation"): REPLICAOF cuts the link and starts another one.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::rng::random_id;
use crate::base::sys::{Interest, POLL_IN, connect_from, wait_for};
use crate::engine::session::Role;
use crate::engine::{Engine, Session, dispatch};
use crate::resp::out::Out;
use crate::resp::request::{Limits, Request, Status};
use crate::service::snapshot;
use crate::state::clients::{ClientHandle, Stream, flag};
use crate::state::replication::{Failover, LinkState};
use crate::store::Plan;

/// Between two tries to connect.
const RETRY: Duration = Duration::from_secs(1);
/// Between two confirmations.
const ACK_PERIOD: Duration = Duration::from_secs(1);
/// Between two tries to write what was applied.
const WRITE_RETRY: Duration = Duration::from_millis(100);
/// How often a pause is looked at for its end.
const PAUSE_SLICE: Duration = Duration::from_millis(100);
/// How often a silent primary's time is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes read at a time.
pub(super) const STEP: usize = 64 * 1024;

/// Follows the primary until another generation begins or the server ends.
pub fn run(engine: &Arc<Engine>, generation: u64) {
    let server = &engine.server;
    let current = || {
        !server.has_ended() && server.replication.generation.load(Ordering::SeqCst) == generation
    };
    while current() {
        server.pause.sit_out_standstill();
        if let Err(e) = follow(engine, generation)
            && current()
        {
            let message = explain(server.replication.link().state, &e);
            server.logger.warning(&message);
        }
        let was_up = server.replication.is_link_up();
        server.replication.set_link_state(generation, LinkState::Connect);
        // A link that worked is likely to work again at once; the backlog does not wait.
        let again = Instant::now() + if was_up { Duration::ZERO } else { RETRY };
        while current() && Instant::now() < again {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What the log says of the end of a link that had come this far.
fn explain(state: LinkState, error: &io::Error) -> String {
    if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        return format!("Replication link: {error}");
    }
    let text = match state {
        LinkState::Sync => {
            "Timeout receiving bulk data from MASTER... If the problem persists try \
             to set the 'repl-timeout' parameter in redis.conf to a larger value."
        }
        LinkState::Connected => "MASTER timeout: no data nor PING received...",
        _ => "Timeout connecting to the MASTER...",
    };
    text.to_owned()
}

/// One connection to the primary, from its beginning to its end.
fn follow(engine: &Arc<Engine>, generation: u64) -> io::Result<()> {
    let server = &engine.server;
    let Some((host, port)) = server.replication.link().primary.clone() else { return Ok(()) };
    server.logger.notice(&format!("Connecting to MASTER {host}:{port}"));
    server.replication.set_link_state(generation, LinkState::Handshake);
    let settings = server.config.get();
    let timeout = Duration::from_secs(settings.repl_timeout.max(1));
    let tcp = connect(&host, port, &settings.bind_source_addr, timeout)?;
    tcp.set_nodelay(true)?;
    let stream = Stream::Tcp(tcp);
    stream.set_timeouts(timeout)?;
    let handle = server.clients.add(stream, "", flag::MASTER);
    let mut link = Link {
        engine,
        generation,
        handle: Arc::clone(&handle),
        input: Vec::new(),
        at: 0,
        ack_at_once: false,
    };
    let result = if link.register() { link.follow() } else { Ok(()) };
    server.clients.remove(handle.id);
    handle.kill();
    result
}

/// Connects to the first address of the host that answers, from this local address if that can be.
fn connect(host: &str, port: u16, source: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("no address for {host}"));
    for address in (host, port).to_socket_addrs()? {
        let from = |local| connect_from(local, address, timeout).ok();
        let bound = source.parse().ok().and_then(from);
        match bound.map_or_else(|| TcpStream::connect_timeout(&address, timeout), Ok) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(io::Error::new(last.kind(), format!("Error condition on socket for SYNC: {last}")))
}

/// What the primary answered to PSYNC.
enum Answer {
    Full {
        id: String,
        offset: u64,
    },
    Continue {
        id: Option<String>,
    },
    /// It does not know PSYNC.
    Unknown,
}

/// A connection to the primary.
pub(super) struct Link<'e> {
    pub(super) engine: &'e Arc<Engine>,
    pub(super) generation: u64,
    pub(super) handle: Arc<ClientHandle>,
    /// Bytes from the primary: `input[at..]` is not used yet.
    pub(super) input: Vec<u8>,
    pub(super) at: usize,
    /// A primary that sent its snapshot without a length waits for a confirmation before it goes
    /// on.
    pub(super) ack_at_once: bool,
}

impl Link<'_> {
    /// Makes the connection known, so that REPLICAOF can cut it; `false` when it is out of date
    /// already.
    fn register(&self) -> bool {
        let replication = &self.engine.server.replication;
        let mut link = replication.link();
        let current = replication.generation.load(Ordering::SeqCst) == self.generation;
        if current {
            link.stream = Some(Arc::clone(&self.handle.stream));
        }
        current
    }

    fn follow(&mut self) -> io::Result<()> {
        let server = &self.engine.server;
        server.logger.notice("MASTER <-> REPLICA sync started");
        self.shake_hands()?;
        match self.ask_to_sync()? {
            Answer::Full { id, offset } => {
                server.logger.notice(&format!("Full resync from master: {id}:{offset}"));
                snapshot::full_sync(self, &id, offset)?;
            }
            Answer::Unknown => {
                // An old primary has no id; ours is good enough to tell our own replicas.
                self.send(&[b"SYNC"])?;
                let id = random_id();
                snapshot::full_sync(self, &id, 0)?;
            }
            Answer::Continue { id } => {
                if id.is_some_and(|id| server.log.rename(&id)) {
                    server.replication.cut_replicas();
                }
                server.logger.notice("Successful partial resynchronization with master.");
            }
        }
        self.end_failover();
        server.replication.set_link_state(self.generation, LinkState::Connected);
        server.logger.notice("MASTER <-> REPLICA sync: Finished with success");
        self.apply_stream()
    }

    /// PING, AUTH, REPLCONF: each waits for its answer before the next is sent.
    fn shake_hands(&mut self) -> io::Result<()> {
        let server = &self.engine.server;
        let settings = server.config.get();
        let answer = self.ask(&[b"PING"])?;
        let locked = ["-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
        if !answer.starts_with('+') && !locked.iter().any(|l| answer.starts_with(l)) {
            return Err(failed("PING", &answer));
        }
        server.logger.notice("Master replied to PING, replication can continue...");
        if !settings.masterauth.is_empty() {
            let answer = if settings.masteruser.is_empty() {
                self.ask(&[b"AUTH", &settings.masterauth])?
            } else {
                self.ask(&[b"AUTH", &settings.masteruser, &settings.masterauth])?
            };
            if answer.starts_with('-') {
                return Err(io::Error::other(format!("Unable to AUTH to MASTER: {answer}")));
            }
        }
        let port = match settings.replica_announce_port {
            0 => server.port.load(Ordering::Relaxed),
            announced => u64::from(announced),
        };
        self.tell(&[b"REPLCONF", b"listening-port", port.to_string().as_bytes()])?;
        if !settings.replica_announce_ip.is_empty() {
            self.tell(&[b"REPLCONF", b"ip-address", settings.replica_announce_ip.as_bytes()])?;
        }
        self.tell(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"])
    }

    /// PSYNC, with the place that we know of or without one.
    fn ask_to_sync(&mut self) -> io::Result<Answer> {
        let server = &self.engine.server;
        let (id, offset) = server.log.id_and_offset();
        let resumable = server.replication.link().resumable;
        let taking_over = *server.replication.failover.lock() == Failover::InProgress;
        let answer = if resumable {
            let next = (offset + 1).to_string();
            server
                .logger
                .notice(&format!("Trying a partial resynchronization (request {id}:{next})."));
            let mut argv: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), next.as_bytes()];
            if taking_over {
                argv.push(b"FAILOVER");
            }
            self.ask(&argv)?
        } else {
            self.ask(&[b"PSYNC", b"?", b"-1"])?
        };
        let words: Vec<&str> = answer.split_whitespace().collect();
        match words.as_slice() {
            ["+FULLRESYNC", id, offset] if id.len() == 40 => {
                let offset = offset.parse().map_err(|_| failed("PSYNC", &answer))?;
                Ok(Answer::Full { id: (*id).to_owned(), offset })
            }
            ["+CONTINUE"] => Ok(Answer::Continue { id: None }),
            ["+CONTINUE", id] if id.len() == 40 => {
                Ok(Answer::Continue { id: Some((*id).to_owned()) })
            }
            [first, ..] if *first == "-ERR" && !taking_over => Ok(Answer::Unknown),
            _ => {
                if taking_over {
                    self.take_role_back();
                }
                Err(failed("PSYNC", &answer))
            }
        }
    }

    /// The replica that was to become primary will not: we are it again.
    fn take_role_back(&self) {
        let server = &self.engine.server;
        let _held = server.keyspace.hold(&Plan::All);
        let mut state = server.replication.failover.lock();
        if self.check_generation().is_ok() && *state == Failover::InProgress {
            *state = Failover::None;
            drop(state);
            server.become_primary();
            server.pause.let_writes_go();
            server.logger.warning("Failover target rejected psync request, failover aborted");
        }
    }

    /// The replica that was to become primary is it: writes that wait are told so.
    fn end_failover(&self) {
        let server = &self.engine.server;
        let mut state = server.replication.failover.lock();
        if std::mem::replace(&mut *state, Failover::None) == Failover::InProgress {
            drop(state);
            server.pause.let_writes_go();
        }
    }

    fn check_generation(&self) -> io::Result<()> {
        check_generation(self.engine, self.generation)
    }

    /// Applies what the primary sends until the link breaks.
    fn apply_stream(&mut self) -> io::Result<()> {
        let server = &self.engine.server;
        let mut session = Session::new(Arc::clone(&self.handle), Role::Primary);
        let db = server.replication.stream_db.load(Ordering::SeqCst);
        session.select(db.min(server.keyspace.databases() - 1));
        session.generation = self.generation;
        let mut request = Request::new();
        let mut out = Out::new();
        let mut last_io = Instant::now();
        let mut next_ack = Instant::now() + ACK_PERIOD;
        if self.ack_at_once {
            self.acknowledge()?;
        }
        loop {
            let is_paused = self.apply_input(&mut session, &mut request, &mut out)?;
            self.forget_used();
            if self.write_file()? || server.pause.sit_out_standstill() || is_paused {
                last_io = Instant::now();
            }
            let now = Instant::now();
            if now >= next_ack {
                self.acknowledge()?;
                next_ack = now + ACK_PERIOD;
            }
            if is_paused {
                // More is not taken in: the primary keeps it.
                self.check_generation()?;
                server.pause.wait(true, PAUSE_SLICE);
                continue;
            }
            if !self.has_input(next_ack.saturating_duration_since(now)) {
                self.check_silence(last_io)?;
                continue;
            }
            self.take_in()?;
            last_io = now;
            let ahead = session.unapplied.len() + self.input.len() - self.at;
            let mut link = server.replication.link();
            link.last_io_ms = clock::unix_ms();
            link.read_offset = server.log.offset() + ahead as u64;
        }
    }

    /// Writes what was applied to the append-only file. While that cannot be done nothing more is
    /// applied, unless it does not matter: it would pile up here, and a crash would lose it.
    /// Returns whether there was a wait.
    fn write_file(&self) -> io::Result<bool> {
        let server = &self.engine.server;
        let mut waited = Duration::ZERO;
        while let Err(e) = server.aof.flush(server)
            && !server.config.get().replica_ignore_disk_write_errors
        {
            if waited.is_zero() {
                let message =
                    format!("The primary's stream waits until it can be written: {}", e.text());
                server.logger.warning(&message);
            }
            self.check_generation()?;
            if server.has_ended() {
                return Err(io::Error::other("the server ends"));
            }
            std::thread::sleep(WRITE_RETRY);
            waited += WRITE_RETRY;
            if waited.as_millis().is_multiple_of(ACK_PERIOD.as_millis()) {
                self.acknowledge()?;
            }
        }
        Ok(!waited.is_zero())
    }

    /// Executes the commands that are whole, up to one that a pause holds up; whether there is one.
    fn apply_input(
        &mut self,
        session: &mut Session,
        request: &mut Request,
        out: &mut Out,
    ) -> io::Result<bool> {
        let limits = Limits { max_bulk: u64::MAX, authenticated: true };
        loop {
            let data = &self.input[self.at..];
            if data.is_empty() {
                return Ok(false);
            }
            let used = match request.parse(data, &limits) {
                Ok(Status::Complete { used }) => used,
                Ok(Status::Incomplete { .. }) => return Ok(false),
                Err(e) => return Err(io::Error::other(format!("the primary sent nonsense: {e}"))),
            };
            if request.is_empty() {
                session.unapplied.extend_from_slice(&data[..used]);
                dispatch::pass_on_alone(self.engine, session);
            } else {
                let mut argv = Vec::with_capacity(request.len());
                request.collect(data, &mut argv);
                if dispatch::is_held_up(self.engine, session, &argv) {
                    request.reset();
                    return Ok(true);
                }
                dispatch::execute(self.engine, session, &argv, out, Some(&data[..used]));
            }
            if session.close {
                return Err(io::Error::other("another primary is followed now"));
            }
            if std::mem::take(&mut session.reply_to_primary) {
                for chunk in out.chunks() {
                    self.handle.stream.write_all(chunk)?;
                }
            }
            out.clear();
            self.at += used;
            request.reset();
        }
    }

    fn acknowledge(&self) -> io::Result<()> {
        let confirmation = self.engine.server.confirmation();
        let argv: Vec<&[u8]> = confirmation.iter().map(|word| word.as_bytes()).collect();
        self.send(&argv)
    }

    /// Sends a command and returns the line that answers it.
    fn ask(&mut self, argv: &[&[u8]]) -> io::Result<String> {
        self.send(argv)?;
        loop {
            let line = self.read_line()?;
            if !line.is_empty() {
                return Ok(line);
            }
        }
    }

    /// Sends a command that an older primary may refuse.
    fn tell(&mut self, argv: &[&[u8]]) -> io::Result<()> {
        let answer = self.ask(argv)?;
        if answer.starts_with('-') {
            let what = String::from_utf8_lossy(argv[1]).into_owned();
            let message =
                format!("(Non critical) Master does not understand REPLCONF {what}: {answer}");
            self.engine.server.logger.notice(&message);
        }
        Ok(())
    }

    fn send(&self, argv: &[&[u8]]) -> io::Result<()> {
        let mut out = Out::new();
        out.array(argv.len());
        argv.iter().for_each(|arg| out.bulk(arg));
        out.chunks().try_for_each(|chunk| self.handle.stream.write_all(chunk))
    }

    /// A line without its end.
    pub(super) fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.input[self.at..].iter().position(|&c| c == b'\n') {
                let line = &self.input[self.at..self.at + end];
                let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
                let line = line.into_owned();
                self.at += end + 1;
                return Ok(line);
            }
            if self.input.len() - self.at > STEP {
                return Err(io::Error::other("the primary sent a line without an end"));
            }
            self.fill()?;
        }
    }

    /// Drops what was used, and the room that a large command took.
    fn forget_used(&mut self) {
        self.input.drain(..self.at);
        self.at = 0;
        if self.input.len() < STEP {
            self.input.shrink_to(2 * STEP);
        }
    }

    /// Reads more behind what is there.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        let mut since = Instant::now();
        loop {
            if self.engine.server.pause.sit_out_standstill() {
                since = Instant::now();
            }
            if self.has_input(LOOK) {
                return self.take_in();
            }
            self.check_silence(since)?;
        }
    }

    /// Whether something comes within this time.
    fn has_input(&self, within: Duration) -> bool {
        let mut list = [Interest::new(self.handle.stream.fd(), POLL_IN)];
        wait_for(&mut list, Some(within)) > 0
    }

    /// Gives a primary up that has been silent since then for `repl-timeout`, as that is now.
    fn check_silence(&self, since: Instant) -> io::Result<()> {
        let seconds = self.engine.server.config.get().repl_timeout.max(1);
        match since.elapsed() > Duration::from_secs(seconds) {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }

    /// Reads what has come.
    fn take_in(&mut self) -> io::Result<()> {
        self.forget_used();
        let end = self.input.len();
        self.input.resize(end + STEP, 0);
        let result = self.handle.stream.read(&mut self.input[end..]);
        let n = *result.as_ref().unwrap_or(&0);
        self.input.truncate(end + n);
        match result {
            Ok(0) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Connection with master lost."))
            }
            Ok(n) => {
                let stats = &self.engine.server.stats;
                stats.repl_in.fetch_add(n as u64, Ordering::Relaxed);
                self.handle.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }
}

/// Fails when another primary is followed meanwhile, or none. Final while all shards are held.
pub(super) fn check_generation(engine: &Engine, generation: u64) -> io::Result<()> {
    if engine.server.replication.generation.load(Ordering::SeqCst) == generation {
        Ok(())
    } else {
        Err(io::Error::other("the primary was changed during the synchronization"))
    }
}

pub(super) fn failed(step: &str, answer: &str) -> io::Error {
    io::Error::other(format!("{step} was answered with '{answer}'"))
}
