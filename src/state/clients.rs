//! The registry of connections: what CLIENT LIST shows and CLIENT KILL ends.
//!
//! Must not know commands. A connection's own thread keeps the fast-changing facts up to date in
//! atomics; other threads only read them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::base::lock::{Lock, rank};
use crate::base::sys::{Interest, POLL_ERR_HUP, POLL_RDHUP, wait_for};
use crate::base::wake::Waker;
use crate::base::{clock, sys};
use crate::resp::out::{Chunk, Out};
use crate::state::acl::User;
use crate::state::outbox::{Limit, Outbox, Sent};

/// A connected socket of either kind.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix domain.
    Unix(UnixStream),
}

impl Stream {
    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        match self {
            Stream::Tcp(s) => s.as_raw_fd(),
            Stream::Unix(s) => s.as_raw_fd(),
        }
    }

    /// Reads what is there, waiting for the first byte.
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => (&*s).read(buf),
            Stream::Unix(s) => (&*s).read(buf),
        }
    }

    /// Whether a read waits for the first byte, as long as the read time-out allows.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_nonblocking(nonblocking),
            Stream::Unix(s) => s.set_nonblocking(nonblocking),
        }
    }

    /// Writes everything, waiting as long as the write time-out allows.
    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => (&*s).write_all(bytes),
            Stream::Unix(s) => (&*s).write_all(bytes),
        }
    }

    /// How long a read or a write may wait.
    pub fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => {
                s.set_read_timeout(Some(timeout))?;
                s.set_write_timeout(Some(timeout))
            }
            Stream::Unix(s) => {
                s.set_read_timeout(Some(timeout))?;
                s.set_write_timeout(Some(timeout))
            }
        }
    }

    /// How long a read may wait; `None` for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_read_timeout(timeout),
            Stream::Unix(s) => s.set_read_timeout(timeout),
        }
    }

    /// How long a write may wait.
    pub fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_write_timeout(Some(timeout)),
            Stream::Unix(s) => s.set_write_timeout(Some(timeout)),
        }
    }

    /// Whether small writes leave at once; a Unix socket never holds them back.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_nodelay(nodelay),
            Stream::Unix(_) => Ok(()),
        }
    }

    /// Ends both directions, which wakes a thread that reads.
    pub fn shutdown(&self) {
        let _ = match self {
            Stream::Tcp(s) => s.shutdown(Shutdown::Both),
            Stream::Unix(s) => s.shutdown(Shutdown::Both),
        };
    }

    /// (peer, own) address in the form of CLIENT LIST.
    pub fn addresses(&self, unix_path: &str) -> (String, String) {
        match self {
            Stream::Tcp(s) => (show(s.peer_addr()), show(s.local_addr())),
            Stream::Unix(_) => (format!("{unix_path}:0"), format!("{unix_path}:0")),
        }
    }
}

/// An IPv4 address that came in over an IPv6 socket shows as IPv4; IPv6 ones are in brackets only
/// where a port follows.
fn show(addr: io::Result<std::net::SocketAddr>) -> String {
    match addr {
        Ok(addr) if addr.ip().to_canonical().is_ipv4() => {
            format!("{}:{}", addr.ip().to_canonical(), addr.port())
        }
        Ok(addr) => format!("[{}]:{}", addr.ip(), addr.port()),
        Err(_) => "?:0".to_owned(),
    }
}

/// What a client is, for limits and CLIENT KILL TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary client.
    Normal,
    /// A replica that follows us.
    Replica,
    /// Subscribed to channels.
    Pubsub,
    /// Our link to the primary.
    Master,
}

/// Facts that change rarely and are written by commands.
#[derive(Debug, Default, Clone)]
pub struct Meta {
    /// CLIENT SETNAME.
    pub name: String,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: String,
    /// CLIENT SETINFO LIB-VER.
    pub lib_ver: String,
    /// The user that the connection is, whose rights may be old; nobody has all rights.
    pub user: Option<Arc<User>>,
}

impl Meta {
    /// Whether a text fits into a field of CLIENT LIST: printable ASCII without blanks.
    pub fn is_valid(text: &[u8]) -> bool {
        text.iter().all(u8::is_ascii_graphic)
    }
}

/// Flags of a client, one bit each; see CLIENT LIST's `flags`.
pub mod flag {
    /// Waits in a blocking command.
    pub const BLOCKED: u64 = 1;
    /// Feeds MONITOR.
    pub const MONITOR: u64 = 1 << 1;
    /// A replica of ours.
    pub const REPLICA: u64 = 1 << 2;
    /// Our primary.
    pub const MASTER: u64 = 1 << 3;
    /// Waits for the end of CLIENT PAUSE.
    pub const PAUSED: u64 = 1 << 4;
    /// Over a Unix socket.
    pub const UNIX: u64 = 1 << 5;
    /// CLIENT NO-EVICT on.
    pub const NO_EVICT: u64 = 1 << 6;
    /// CLIENT NO-TOUCH on.
    pub const NO_TOUCH: u64 = 1 << 7;
    /// Will be closed when its replies are sent.
    pub const CLOSING: u64 = 1 << 8;
    /// Subscribed to something.
    pub const PUBSUB: u64 = 1 << 9;
    /// Ended by somebody else; nothing of it is executed any more.
    pub const KILLED: u64 = 1 << 10;
    /// Messages for it are kept until its command is answered.
    pub const HELD: u64 = 1 << 20;
}

/// What a connection with nothing in its buffers takes, as far as it is known: the structures and
/// the touched part of its thread's stack.
const BARE_BYTES: u64 = 8 * 1024;

/// What a subscription takes besides its name, as a rule of thumb.
const SUBSCRIPTION_BYTES: u64 = 128;

/// How CLIENT UNBLOCK ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblock {
    /// As if the time were over.
    Timeout,
    /// With an error.
    Error,
    /// With the error for a role that has changed.
    RoleChange,
}

/// Whether a client waits in a blocking command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    No,
    Yes,
    /// It still does, but was told to end that.
    Told(Unblock),
    /// It still does, but somebody is about to serve it, if it turns out that he can.
    Claimed,
    /// It was served, and gets to know that soon.
    Served,
}

/// One connection, as other threads see it.
pub struct ClientHandle {
    /// Unique and ascending.
    pub id: u64,
    /// The socket.
    pub stream: Arc<Stream>,
    /// Peer address.
    pub addr: String,
    /// Own address.
    pub laddr: String,
    /// Unix ms of the connection's beginning.
    pub created_ms: i64,
    /// What waits to be sent.
    pub outbox: Outbox,
    /// Rarely changing facts.
    pub meta: Lock<Meta>,
    /// Bits of [`flag`].
    pub flags: AtomicU64,
    /// Unix ms of the last command.
    pub active_ms: AtomicI64,
    /// Selected database.
    pub db: AtomicU64,
    /// Protocol version.
    pub proto: AtomicU64,
    /// Number of the last command in the command table plus one; 0 for none.
    pub last_command: AtomicU64,
    /// Bytes of requests that are read but not executed.
    pub query_bytes: AtomicU64,
    /// Capacity of the request buffer.
    pub query_capacity: AtomicU64,
    /// Capacity of the reply buffer.
    pub reply_capacity: AtomicU64,
    /// Commands queued by MULTI, plus one; 0 outside of MULTI.
    pub multi: AtomicU64,
    /// Bytes of their arguments.
    pub multi_bytes: AtomicU64,
    /// Bytes that WATCH takes.
    pub watch_bytes: AtomicU64,
    /// Channels, patterns and shard channels that it is subscribed to.
    pub subscriptions: [AtomicUsize; 3],
    /// Total bytes read.
    pub bytes_in: AtomicU64,
    /// Total bytes handed to the socket or the queue.
    pub bytes_out: AtomicU64,
    waiting: Lock<Waiting>,
    waker: OnceLock<Waker>,
}

impl ClientHandle {
    fn new(id: u64, stream: Stream, unix_path: &str, flags: u64) -> Self {
        let (addr, laddr) = stream.addresses(unix_path);
        let unix = if matches!(stream, Stream::Unix(_)) { flag::UNIX } else { 0 };
        let now_ms = clock::unix_ms();
        ClientHandle {
            id,
            outbox: Outbox::new(stream.fd()),
            stream: Arc::new(stream),
            addr,
            laddr,
            created_ms: now_ms,
            meta: Lock::new(rank::CLIENT, Meta::default()),
            flags: AtomicU64::new(flags | unix),
            active_ms: AtomicI64::new(now_ms),
            db: AtomicU64::new(0),
            proto: AtomicU64::new(2),
            last_command: AtomicU64::new(0),
            query_bytes: AtomicU64::new(0),
            query_capacity: AtomicU64::new(0),
            reply_capacity: AtomicU64::new(0),
            multi: AtomicU64::new(0),
            multi_bytes: AtomicU64::new(0),
            watch_bytes: AtomicU64::new(0),
            subscriptions: Default::default(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            waiting: Lock::new(rank::LEAF + 10, Waiting::No),
            waker: OnceLock::new(),
        }
    }

    /// One that nobody is connected to and no list shows: on its behalf commands of a file are
    /// executed.
    pub fn of_nobody() -> io::Result<Self> {
        let (stream, _) = UnixStream::pair()?;
        Ok(ClientHandle::new(u64::MAX, Stream::Unix(stream), "", 0))
    }

    /// Whether a flag is set.
    pub fn has(&self, bit: u64) -> bool {
        self.flags.load(Ordering::Relaxed) & bit != 0
    }

    /// Sets or clears a flag.
    pub fn set(&self, bit: u64, on: bool) {
        if on {
            self.flags.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Bytes of memory that the client takes.
    pub fn memory(&self) -> u64 {
        let load = |fact: &AtomicU64| fact.load(Ordering::Relaxed);
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed) as u64;
        let subscriptions: u64 = self.subscriptions.iter().map(count).sum();
        let (_, waiting) = self.outbox.waiting();
        BARE_BYTES
            + load(&self.query_capacity)
            + load(&self.reply_capacity)
            + load(&self.multi_bytes)
            + load(&self.watch_bytes)
            + subscriptions * SUBSCRIPTION_BYTES
            + waiting
    }

    /// What the client is.
    pub fn kind(&self) -> Kind {
        if self.has(flag::MASTER) {
            Kind::Master
        } else if self.has(flag::REPLICA) {
            Kind::Replica
        } else if self.has(flag::PUBSUB) {
            Kind::Pubsub
        } else {
            Kind::Normal
        }
    }

    /// Ends the connection from any thread: its own thread finds the stream ended.
    pub fn kill(&self) {
        self.set(flag::KILLED, true);
        self.outbox.close();
        self.stream.shutdown();
        self.wake();
    }

    /// The bell that a blocked command waits for; made when it is first needed.
    pub fn waker(&self) -> io::Result<&Waker> {
        if let Some(waker) = self.waker.get() {
            return Ok(waker);
        }
        let waker = Waker::new()?;
        Ok(self.waker.get_or_init(|| waker))
    }

    /// A blocking command begins to wait.
    pub fn begin_wait(&self) {
        *self.waiting.lock() = Waiting::Yes;
        self.set(flag::BLOCKED, true);
    }

    /// It waits no longer; how it was told to end, if it was.
    pub fn end_wait(&self) -> Option<Unblock> {
        self.set(flag::BLOCKED, false);
        match std::mem::replace(&mut *self.waiting.lock(), Waiting::No) {
            Waiting::Told(how) => Some(how),
            _ => None,
        }
    }

    /// Takes a waiting client to serve it; `false` if it does not wait any more, or has gone.
    pub fn claim(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let takes = *waiting == Waiting::Yes && !self.has_hung_up();
        if takes {
            *waiting = Waiting::Claimed;
        }
        takes
    }

    /// A claimed client is served.
    pub fn settle(&self) {
        *self.waiting.lock() = Waiting::Served;
        self.set(flag::BLOCKED, false);
    }

    /// Lets a claimed client wait on.
    pub fn unclaim(&self) {
        *self.waiting.lock() = Waiting::Yes;
    }

    /// How a wait was told to end, if it was.
    pub fn is_unblocked(&self) -> Option<Unblock> {
        match *self.waiting.lock() {
            Waiting::Told(how) => Some(how),
            _ => None,
        }
    }

    /// Ends the wait of a blocking command from any thread. `false`: there is none, or it ends
    /// already.
    pub fn unblock(&self, how: Unblock) -> bool {
        loop {
            let mut waiting = self.waiting.lock();
            match *waiting {
                Waiting::Yes => *waiting = Waiting::Told(how),
                // What will become of it is known in a moment, and needs nothing that we hold.
                Waiting::Claimed => {
                    drop(waiting);
                    std::thread::yield_now();
                    continue;
                }
                Waiting::No | Waiting::Told(_) | Waiting::Served => return false,
            }
            drop(waiting);
            self.wake();
            return true;
        }
    }

    /// Whether the peer has closed its side, or somebody has ended the connection.
    pub fn has_hung_up(&self) -> bool {
        let mut list = [Interest::new(self.stream.fd(), POLL_RDHUP)];
        wait_for(&mut list, Some(Duration::ZERO));
        self.has(flag::KILLED) || list[0].happened & (POLL_RDHUP | POLL_ERR_HUP) != 0
    }

    /// Makes a blocked command look again.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }
}

/// Files that the server needs besides its connections.
const RESERVED_FILES: usize = 32;

/// Makes room for the sockets of that many clients; how many there is room for, if that is less.
///
/// # Errors
/// The limit of open files and the number of clients that fit into it.
pub fn reserve_sockets(clients: usize) -> Result<(), (usize, usize)> {
    let wanted = clients.saturating_add(RESERVED_FILES);
    let limit = sys::raise_open_files(wanted as u64) as usize;
    if limit >= wanted { Ok(()) } else { Err((limit, limit.saturating_sub(RESERVED_FILES).max(1))) }
}

/// Output limits by class, and how pending output reaches the drain thread.
pub struct Clients {
    list: Lock<BTreeMap<u64, Arc<ClientHandle>>>,
    next_id: AtomicU64,
    /// Clients whose output waits for their socket, until the drain thread takes them.
    to_drain: Lock<Vec<Arc<ClientHandle>>>,
    drain_bell: Waker,
    /// Connections that were cut for exceeding their limit.
    pub over_limit: AtomicU64,
}

impl Clients {
    /// An empty registry; fails without file descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Clients {
            list: Lock::new(rank::CLIENTS, BTreeMap::new()),
            next_id: AtomicU64::new(1),
            to_drain: Lock::new(rank::DRAIN, Vec::new()),
            drain_bell: Waker::new()?,
            over_limit: AtomicU64::new(0),
        })
    }

    /// Registers a connection.
    pub fn add(&self, stream: Stream, unix_path: &str, flags: u64) -> Arc<ClientHandle> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let handle = Arc::new(ClientHandle::new(id, stream, unix_path, flags));
        self.list.lock().insert(handle.id, Arc::clone(&handle));
        handle
    }

    /// Takes a connection off the list.
    pub fn remove(&self, id: u64) {
        self.list.lock().remove(&id);
    }

    /// All connections, by id.
    pub fn all(&self) -> Vec<Arc<ClientHandle>> {
        self.list.lock().values().cloned().collect()
    }

    /// One connection.
    pub fn get(&self, id: u64) -> Option<Arc<ClientHandle>> {
        self.list.lock().get(&id).cloned()
    }

    /// Number of connections.
    pub fn count(&self) -> usize {
        self.list.lock().len()
    }

    /// Sends the replies in `out` to a client, and empties `out`.
    pub fn send(&self, client: &Arc<ClientHandle>, out: &mut Out, limit: Limit) -> Sent {
        client.bytes_out.fetch_add(out.len() as u64, Ordering::Relaxed);
        let sent = client.outbox.send(out, limit);
        self.follow_up(client, sent)
    }

    /// Sends bytes to a client from any thread.
    pub fn push(&self, client: &Arc<ClientHandle>, chunk: Chunk, limit: Limit) -> Sent {
        client.bytes_out.fetch_add(chunk.as_ref().len() as u64, Ordering::Relaxed);
        let sent = client.outbox.push(chunk, limit);
        self.follow_up(client, sent)
    }

    fn follow_up(&self, client: &Arc<ClientHandle>, sent: Sent) -> Sent {
        match sent {
            Sent::TellDrain => {
                let mut list = self.to_drain.lock();
                list.push(Arc::clone(client));
                // For those that are on the list already the bell was rung.
                let is_first = list.len() == 1;
                drop(list);
                if is_first {
                    self.drain_bell.wake();
                }
            }
            Sent::OverLimit => {
                self.over_limit.fetch_add(1, Ordering::Relaxed);
                client.kill();
            }
            _ => {}
        }
        sent
    }

    /// For the drain thread: the clients that were handed over since the last call, and its bell.
    pub fn take_to_drain(&self) -> Vec<Arc<ClientHandle>> {
        self.drain_bell.clear();
        std::mem::take(&mut *self.to_drain.lock())
    }

    /// What the drain thread waits for besides sockets.
    pub fn drain_bell(&self) -> &Waker {
        &self.drain_bell
    }

    /// Ends all connections that `which` names, and takes them off the list at once; which those
    /// were.
    pub fn kill_all(&self, which: impl Fn(&ClientHandle) -> bool) -> Vec<Arc<ClientHandle>> {
        let chosen: Vec<_> = self.all().into_iter().filter(|c| which(c)).collect();
        for client in &chosen {
            self.remove(client.id);
            client.kill();
        }
        chosen
    }
}
