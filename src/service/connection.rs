//! One connection's thread: read, parse, execute, reply.
//!
//! The thread blocks only in reading. Replies of all commands that one read brought leave in one
//! write, which never blocks (see `state::outbox`).

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::sys::{Interest, POLL_IN, wait_for};
use crate::engine::session::{Large, Takeover, Thread};
use crate::engine::{Engine, Session, delivery, dispatch, transaction};
use crate::resp::out::Out;
use crate::resp::request::{self, Limits, Request, Status};
use crate::service::attendants::{Attendants, Pressure};
use crate::service::feeder;
use crate::service::input::{BUFFER_MAX, Input};
use crate::state::clients::{ClientHandle, flag};
use crate::state::config::ClientMemory;
use crate::state::memory;
use crate::state::outbox::Sent;
use crate::store::WARMED_UP;

/// Replies are sent when this much has gathered, even if more commands wait.
const SEND_AT: usize = 256 * 1024;
/// After this much silence a connection gives its buffers back.
const SILENCE: Duration = Duration::from_secs(2);
/// A client that is alone and waits no longer than this between a reply and its next request gets a
/// thread that does not fall asleep meanwhile, because to wake it takes about as long.
const WATCHFUL: Duration = Duration::from_micros(50);
/// What a client that is not authenticated may leave unread before it is cut.
const UNAUTHENTICATED_OUTPUT_MAX: u64 = 64 * 1024;
/// Commands with at most this many arguments need no allocation for the argument list.
const FEW_ARGS: usize = 8;

/// Serves a connection until it ends.
pub fn serve(engine: &Arc<Engine>, attendants: &Attendants, session: Session) {
    let mut connection = Connection {
        engine: Arc::clone(engine),
        handle: Arc::clone(&session.handle),
        session,
        input: Input::default(),
        request: Request::new(),
        out: Out::new(),
        want: 1,
        has_ended: false,
        pressure: Pressure::new(&engine.server.stats, clock::unix_ms()),
        reads: 0,
        gap: Duration::MAX,
    };
    let _ = connection.handle.stream.set_read_timeout(Some(SILENCE));
    while !connection.has_ended && connection.answer() {
        if connection.is_in_crowd() {
            connection = attendants.attend(connection);
        } else {
            connection.wait();
        }
    }
    connection.end();
}

/// All of a connection that one thread works with at a time.
pub(super) struct Connection {
    engine: Arc<Engine>,
    session: Session,
    handle: Arc<ClientHandle>,
    input: Input,
    request: Request,
    out: Out,
    /// How many bytes the next command lacks at least.
    want: usize,
    /// Nothing more is to be executed.
    has_ended: bool,
    /// How crowded it is.
    pub(super) pressure: Pressure,
    /// Reads of all connections when it began to wait last.
    reads: u64,
    /// How long it waited last, while all others were silent.
    gap: Duration,
}

impl Connection {
    /// Executes what is whole and sends the replies; whether the connection goes on.
    fn answer(&mut self) -> bool {
        self.execute_buffered() && self.finish()
    }

    /// Sends the replies; whether the connection goes on.
    fn finish(&mut self) -> bool {
        if !self.send() || self.session.close {
            return false;
        }
        if self.session.takeover.is_some() {
            feeder::take_over(&self.engine, &mut self.session);
        }
        self.evict_clients();
        true
    }

    /// Waits for more and reads it once.
    fn wait(&mut self) {
        let reads = self.engine.server.stats.reads();
        let is_alone = std::mem::replace(&mut self.reads, reads) + 1 == reads;
        let began = is_alone.then(Instant::now);
        if let Some(began) = began
            && self.gap < WATCHFUL
        {
            self.look_out(began);
        }
        let result = self.read();
        self.gap = began.map_or(Duration::MAX, |began| began.elapsed());
        self.received(result);
    }

    /// Looks again and again whether there is something to read, for a while.
    fn look_out(&self, began: Instant) {
        let mut list = [Interest::new(self.fd(), POLL_IN)];
        while wait_for(&mut list, Some(Duration::ZERO)) == 0 && began.elapsed() < WATCHFUL {
            thread::yield_now();
        }
    }

    /// Notes what a read has brought.
    fn received(&mut self, result: io::Result<usize>) {
        self.has_ended = match result {
            Ok(0) | Err(_) => true,
            Ok(n) => {
                self.handle.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                self.engine.server.stats.received(self.handle.id, n);
                self.note_input();
                self.evict_clients();
                !self.is_within_limit() || self.handle.has(flag::KILLED)
            }
        };
    }

    /// The socket.
    pub(super) fn fd(&self) -> RawFd {
        self.handle.stream.fd()
    }

    /// Whether others are so busy that an attendant should do the rest.
    fn is_in_crowd(&mut self) -> bool {
        let now_ms = self.handle.active_ms.load(Ordering::Relaxed);
        self.pressure.is_high(&self.engine.server.stats, now_ms)
    }

    /// An attendant is to do the rest.
    pub(super) fn leave_home(&mut self) -> io::Result<()> {
        self.handle.stream.set_nonblocking(true)?;
        self.session.thread = Thread::Attendant;
        Ok(())
    }

    /// Its own thread has it again.
    pub(super) fn come_home(&mut self) {
        self.session.thread = Thread::Own;
        let _ = self.handle.stream.set_nonblocking(false);
        let now_ms = self.handle.active_ms.load(Ordering::Relaxed);
        self.pressure.begin(&self.engine.server.stats, now_ms);
    }

    /// Reads once and executes what is whole, unless it is for the connection's own thread; whether
    /// nothing is. A connection that needs a buffer takes the spare one, and leaves the one it
    /// needs no more.
    pub(super) fn receive(&mut self, spare: &mut Vec<u8>) -> bool {
        self.input.borrow(spare);
        self.read_and_execute();
        if self.input.has_large() && !self.has_ended {
            // Most of it is likely to be there.
            self.read_and_execute();
        }
        self.input.give_back(spare);
        !self.has_ended && self.session.thread == Thread::Attendant
    }

    fn read_and_execute(&mut self) {
        match self.input.fill(&self.handle.stream, self.want) {
            Err(e) if is_nothing(&e) => {}
            result => {
                self.received(result);
                self.has_ended = self.has_ended || !self.execute_buffered();
            }
        }
    }

    /// Sends the replies to what [`Connection::receive`] has executed; whether it goes on.
    pub(super) fn reply(&mut self) -> bool {
        self.has_ended = !self.finish();
        !self.has_ended
    }

    /// Waits for more of a command and reads it.
    fn read(&mut self) -> io::Result<usize> {
        loop {
            match self.input.fill(&self.handle.stream, self.want) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if is_nothing(&e) => {
                    self.input.shrink();
                    if self.engine.server.reply_buffers_shrink.load(Ordering::Relaxed) {
                        self.out.release();
                    }
                    self.note_input();
                    // Without a buffer to read into, and for as long as it takes.
                    let mut list = [Interest::new(self.handle.stream.fd(), POLL_IN)];
                    wait_for(&mut list, None);
                }
                result => return result,
            }
        }
    }

    /// Ends the largest clients, which may be this one, when all take too much.
    fn evict_clients(&mut self) {
        let server = &self.engine.server;
        let settings = self.session.settings(&server.config);
        if settings.maxmemory_clients != ClientMemory::Bytes(0) {
            memory::evict_clients(server, settings);
        }
    }

    /// Writes down for others how much waits, and what the buffers take.
    fn note_input(&self) {
        // As in Redis a large argument stands alone.
        let before = self.request.large().map_or(0, |(from, _)| from);
        let waiting = self.input.len() - before;
        let capacity = self.input.capacity() + self.large_size();
        self.handle.query_bytes.store(waiting as u64, Ordering::Relaxed);
        self.handle.query_capacity.store(capacity as u64, Ordering::Relaxed);
        self.handle.reply_capacity.store(self.out.capacity() as u64, Ordering::Relaxed);
    }

    /// Bytes of a large argument that is whole, while the others of its command are not.
    fn large_size(&self) -> usize {
        self.session.large.as_ref().map_or(0, |large| large.bytes.len())
    }

    /// Whether what waits to be executed, MULTI's queue included, is within the limit.
    fn is_within_limit(&self) -> bool {
        let queued = self.session.multi.as_ref().map_or(0, |multi| multi.bytes);
        let waiting = (self.input.len() + self.large_size()).saturating_add(queued);
        // The smallest limit that can be set is larger.
        if waiting <= BUFFER_MAX {
            return true;
        }
        let server = &self.engine.server;
        let within = waiting <= server.config.get().client_query_buffer_limit;
        if !within {
            server.stats.query_buffer_cuts.fetch_add(1, Ordering::Relaxed);
            let message = format!(
                "Closing client that reached max query buffer length: id={} addr={}",
                self.handle.id, self.handle.addr
            );
            server.logger.warning(&message);
        }
        within
    }

    /// Executes all commands that are whole; whether the connection goes on.
    fn execute_buffered(&mut self) -> bool {
        self.handle.active_ms.store(clock::unix_ms(), Ordering::Relaxed);
        self.want = 1;
        // How many commands are at hand. The first one may be the only one.
        let mut at_hand = 1;
        loop {
            if let Some(bytes) = self.input.take_large() {
                let index = self.request.skip_large();
                self.session.large = Some(Large { index, bytes });
            } else if self.input.has_large() {
                return true;
            }
            let limits = self.limits();
            let data = self.input.bytes();
            if data.is_empty() {
                self.input.reset();
                self.note_input();
                return true;
            }
            if at_hand == 0 {
                at_hand = self.warm_up(data);
            }
            at_hand -= 1;
            let used = match self.request.parse(data, &limits) {
                Ok(Status::Complete { used }) => used,
                Ok(Status::Incomplete { want }) => {
                    self.want = want;
                    if let Some((from, len)) = self.request.large()
                        && self.session.large.is_none()
                    {
                        let spares = &self.engine.server.keyspace.spares;
                        self.input.begin_large(from, len, spares);
                    }
                    return true;
                }
                Err(e) => {
                    self.engine.server.stats.error(e.error().code());
                    self.out.error(e.error());
                    self.send();
                    return false;
                }
            };
            let large = self.session.large.clone();
            let count = self.request.len();
            if count > 0 {
                let mut few: [&[u8]; FEW_ARGS] = [&[]; FEW_ARGS];
                let mut many = Vec::new();
                let argv: &mut [&[u8]] = if count <= FEW_ARGS {
                    for (i, arg) in few[..count].iter_mut().enumerate() {
                        *arg = self.request.arg(data, i);
                    }
                    &mut few[..count]
                } else {
                    self.request.collect(data, &mut many);
                    &mut many
                };
                if let Some(large) = &large {
                    argv[large.index] = &large.bytes;
                }
                if is_http(argv[0]) {
                    warn_of_http(&self.engine, &self.handle);
                    return false;
                }
                dispatch::execute(&self.engine, &mut self.session, argv, &mut self.out, None);
                if self.session.thread == Thread::OwnIsNeeded {
                    self.request.again();
                    return true;
                }
            } else if self.handle.has(flag::REPLICA) {
                let replica = self.engine.server.replication.find(self.handle.id);
                replica.iter().for_each(|replica| replica.give_life_sign());
            }
            self.session.large = None;
            self.input.skip(used);
            self.request.reset();
            if self.session.close || self.session.takeover.is_some() {
                return true;
            }
            if self.handle.has(flag::KILLED) {
                return false;
            }
            if self.out.len() >= SEND_AT && !self.send() {
                return false;
            }
        }
    }

    /// Has the keys of the commands at hand that come next; how many commands these are, at least
    /// one.
    fn warm_up(&self, mut data: &[u8]) -> usize {
        let keyspace = &self.engine.server.keyspace;
        let (mut hashes, mut count) = ([0; WARMED_UP], 0);
        while count < WARMED_UP
            && let Some((key, used)) = request::glance(data)
        {
            hashes[count] = keyspace.hash(key);
            count += 1;
            data = &data[used..];
        }
        if count > 1 {
            keyspace.warm_up(self.session.db, &hashes[..count]);
        }
        count.max(1)
    }

    fn limits(&self) -> Limits {
        let config = &self.engine.server.config;
        let max_bulk = self.session.max_bulk(config);
        let authenticated = !self.session.needs_auth(&self.engine.server.acl);
        Limits { max_bulk, authenticated }
    }

    /// Sends the replies so far; whether the connection is still there.
    fn send(&mut self) -> bool {
        delivery::settle(&self.engine, &mut self.session, &mut self.out);
        if self.out.is_empty() {
            return !self.handle.outbox.is_gone();
        }
        if self.handle.has(flag::REPLICA) && self.session.takeover.is_none() {
            feeder::refuse_reply(&self.engine, &self.handle);
            return false;
        }
        let server = &self.engine.server;
        server.stats.replied(self.handle.id, self.out.len());
        let may_pile_up = self.session.authenticated;
        let settings = self.session.settings(&server.config);
        let limit = server.output_limit(settings, self.handle.kind());
        let must_be_modest = !may_pile_up && !server.acl.is_open();
        match server.clients.send(&self.handle, &mut self.out, limit) {
            Sent::All => true,
            Sent::Waiting | Sent::TellDrain => {
                let (_, waiting) = self.handle.outbox.waiting();
                let within = !must_be_modest || waiting <= UNAUTHENTICATED_OUTPUT_MAX;
                if !within {
                    server.cut(&self.handle);
                }
                within
            }
            Sent::OverLimit => {
                server.note_cut(&self.handle);
                false
            }
            Sent::Gone => false,
        }
    }

    /// Closes the socket and leaves the registry; the drain thread does, when replies wait to be
    /// sent.
    fn end(&mut self) {
        let server = &self.engine.server;
        if let Some(Takeover::Stream(reader)) = self.session.takeover.take() {
            server.log.detach(reader);
        }
        transaction::unwatch(&server.keyspace, &mut self.session);
        server.pubsub.unwatch(&self.handle);
        server.pubsub.leave(&self.handle);
        feeder::part(server, self.handle.id);
        self.handle.set(flag::CLOSING, true);
        if !self.handle.outbox.close_when_empty() {
            server.clients.remove(self.handle.id);
            self.handle.kill();
        }
    }
}

/// Whether a read has only brought nothing.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A browser that was tricked into talking to us sends one of these first.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

fn warn_of_http(engine: &Engine, handle: &ClientHandle) {
    let message = format!(
        "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: \
         commands to \
         Redis. This is likely due to an attacker attempting to use Cross Protocol Scripting to \
         compromise \
         your Redis instance. Connection from {} aborted.",
        handle.addr
    );
    engine.server.logger.warning(&message);
}
