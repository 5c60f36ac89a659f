//! Who follows us, and whom we follow.
//!
//! Must not know sockets' contents: the threads of `service` do the talking and write down here how
//! far they are, for INFO, ROLE, WAIT and the gate.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::base::clock;
use crate::base::lock::{Guard, Lock, rank};
use crate::state::clients::{ClientHandle, Stream};

/// How far a replica of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Waits for a snapshot.
    WaitSnapshot,
    /// Its snapshot is sent while it is made.
    StreamSnapshot,
    /// Its snapshot is sent.
    SendSnapshot,
    /// It gets the stream.
    Online,
}

/// A replica of ours.
pub struct Replica {
    /// Its connection.
    pub client: Arc<ClientHandle>,
    /// Address under which it can be reached.
    pub ip: String,
    /// Port under which it can be reached.
    pub port: u16,
    state: AtomicU8,
    /// Offset that it has confirmed.
    pub acked: AtomicU64,
    /// Whether it has confirmed anything yet.
    pub has_confirmed: AtomicBool,
    /// Offset up to which it has confirmed that its append-only file is on its disk.
    pub synced: AtomicU64,
    /// Unix ms of its last confirmation or other sign of life.
    pub acked_ms: AtomicI64,
    /// Its reader of the log, once it has one; 0 before. Replicas for which a snapshot is made
    /// share one.
    pub reader: AtomicU64,
    /// Bytes of memory by way of which it gets its snapshot and the stream.
    pub buffer: AtomicU64,
    /// Unix ms since when a part of its snapshot is being written to its socket; 0 when none is.
    pub writing_since_ms: AtomicI64,
    /// How it wants its snapshot.
    pub wants: Wants,
    /// Its snapshot is to have no keys.
    pub keyless: bool,
    /// It takes a snapshot of unknown length, as real replicas do, and those confirm what they get,
    /// by themselves and when they are asked to.
    pub confirms: bool,
}

/// The file of a snapshot for replicas, which may be sent while it is made.
pub struct Spool {
    /// The file, which has no name.
    pub file: File,
    state: AtomicU8,
}

/// How far a snapshot for replicas is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolState {
    /// More is written to it.
    Growing,
    /// It has all.
    Whole,
    /// It will never have all.
    Torn,
}

impl Spool {
    /// A snapshot that is about to be made.
    pub fn new(file: File) -> Self {
        Spool { file, state: AtomicU8::new(SpoolState::Growing as u8) }
    }

    /// How far it is.
    pub fn state(&self) -> SpoolState {
        match self.state.load(Ordering::SeqCst) {
            0 => SpoolState::Growing,
            1 => SpoolState::Whole,
            _ => SpoolState::Torn,
        }
    }

    /// It has come to its end.
    pub fn end(&self, state: SpoolState) {
        self.state.store(state as u8, Ordering::SeqCst);
    }
}

/// What a replica has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// PSYNC: a line with id and offset, the snapshot, the stream.
    Psync,
    /// SYNC: the snapshot and the stream, and it confirms nothing.
    Sync,
    /// Only the snapshot (`redis-cli --rdb`), asked for by SYNC.
    SnapshotOnly,
}

impl Replica {
    /// A replica that has just asked to follow.
    pub fn new(
        client: Arc<ClientHandle>,
        ip: String,
        port: u16,
        wants: Wants,
        keyless: bool,
        confirms: bool,
        state: ReplicaState,
    ) -> Self {
        let (acked, acked_ms) = (AtomicU64::new(0), AtomicI64::new(clock::unix_ms()));
        Replica {
            client,
            ip,
            port,
            state: AtomicU8::new(state as u8),
            acked,
            has_confirmed: AtomicBool::new(false),
            synced: AtomicU64::new(0),
            acked_ms,
            reader: AtomicU64::new(0),
            buffer: AtomicU64::new(0),
            writing_since_ms: AtomicI64::new(0),
            wants,
            keyless,
            confirms,
        }
    }

    /// How far it is.
    pub fn state(&self) -> ReplicaState {
        match self.state.load(Ordering::Relaxed) {
            0 => ReplicaState::WaitSnapshot,
            1 => ReplicaState::StreamSnapshot,
            2 => ReplicaState::SendSnapshot,
            _ => ReplicaState::Online,
        }
    }

    /// It has come this far.
    pub fn set_state(&self, state: ReplicaState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// It is still there, which an empty line says too.
    pub fn give_life_sign(&self) {
        self.acked_ms.store(clock::unix_ms(), Ordering::Relaxed);
    }

    /// Seconds since its last confirmation.
    pub fn lag_seconds(&self, now_ms: i64) -> i64 {
        (now_ms - self.acked_ms.load(Ordering::Relaxed)).max(0) / 1000
    }
}

/// How far the link to our primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not replicating.
    None,
    /// Not connected yet.
    Connect,
    /// Connecting or shaking hands.
    Handshake,
    /// Receiving or loading a snapshot.
    Sync,
    /// Following the stream.
    Connected,
}

/// What is known of the link to our primary.
pub struct Link {
    /// Host and port of the primary; `None` when we are one.
    pub primary: Option<(String, u16)>,
    /// How far the link is.
    pub state: LinkState,
    /// The connection, so that it can be cut from any thread.
    pub stream: Option<Arc<Stream>>,
    /// Unix ms of the last byte from the primary.
    pub last_io_ms: i64,
    /// Unix ms since when the link is down.
    pub down_since_ms: i64,
    /// Bytes of the snapshot, when its size is known.
    pub sync_total: Option<u64>,
    /// Bytes of the snapshot that have come.
    pub sync_read: u64,
    /// Offset behind what has come of the stream, applied or not; 0 before anything has.
    pub read_offset: u64,
    /// Whether id and offset belong to a stream that a primary may let us continue.
    pub resumable: bool,
}

/// A coordinated failover (FAILOVER).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failover {
    /// None.
    None,
    /// Waiting for the replica to catch up.
    Waiting,
    /// The replica has been told to take over.
    InProgress,
}

/// The replication state of one server.
pub struct Replication {
    link: Lock<Link>,
    /// Counts changes of the primary; the link thread gives up when it is not the one it began
    /// with.
    pub generation: AtomicU64,
    /// The thread that follows the primary could not be started.
    pub unfollowed: AtomicBool,
    /// Whether we follow a primary; a copy of `link.primary.is_some()` that commands can read
    /// cheaply.
    following: AtomicBool,
    /// Whether the link is up; likewise.
    link_up: AtomicBool,
    replicas: Lock<Vec<Arc<Replica>>>,
    /// Keys with a deadline that our own clients have written while we are a writable replica.
    own_volatile: Lock<BTreeSet<(usize, Vec<u8>)>>,
    /// Clients in WAIT, woken by each confirmation.
    waiting: Lock<Vec<Arc<ClientHandle>>>,
    /// FAILOVER's state.
    pub failover: Lock<Failover>,
    /// The database that the primary's stream has selected. It outlives the link: a stream that is
    /// resumed does not say it again.
    pub stream_db: AtomicUsize,
    /// Whether a snapshot for replicas is being made; it serves those that come meanwhile, too.
    syncing: AtomicBool,
    /// Bytes of memory by way of which all replicas get the stream, also those that are being let
    /// go.
    pub buffers: AtomicU64,
    /// The reader that keeps the log for those who come while a snapshot is made; 0 before the
    /// first.
    pub anchor: AtomicU64,
    /// Ends the snapshot that is being made: nobody waits for it any more, or what it shows has
    /// been removed.
    pub abort_sync: AtomicBool,
    /// Unix ms of the last PING in the stream, or of the first replica's coming.
    pub last_ping_ms: AtomicI64,
    /// Unix ms since when there has been no replica; 0 while there is one.
    pub no_replicas_since_ms: AtomicI64,
}

impl Default for Replication {
    fn default() -> Self {
        let link = Link {
            primary: None,
            state: LinkState::None,
            stream: None,
            last_io_ms: 0,
            down_since_ms: 0,
            sync_total: None,
            sync_read: 0,
            read_offset: 0,
            resumable: false,
        };
        Replication {
            link: Lock::new(rank::ADMIN + 1, link),
            generation: AtomicU64::new(0),
            unfollowed: AtomicBool::new(false),
            following: AtomicBool::new(false),
            link_up: AtomicBool::new(false),
            replicas: Lock::new(rank::LEAF + 70, Vec::new()),
            own_volatile: Lock::new(rank::LEAF + 72, BTreeSet::new()),
            waiting: Lock::new(rank::LEAF + 71, Vec::new()),
            failover: Lock::new(rank::ADMIN + 2, Failover::None),
            stream_db: AtomicUsize::new(0),
            syncing: AtomicBool::new(false),
            buffers: AtomicU64::new(0),
            anchor: AtomicU64::new(0),
            abort_sync: AtomicBool::new(false),
            last_ping_ms: AtomicI64::new(0),
            no_replicas_since_ms: AtomicI64::new(0),
        }
    }
}

impl Replication {
    /// Whether we follow a primary.
    pub fn is_replica(&self) -> bool {
        self.following.load(Ordering::Relaxed)
    }

    /// Whether the link to the primary is up.
    pub fn is_link_up(&self) -> bool {
        self.link_up.load(Ordering::Relaxed)
    }

    /// The link, to look at or to write down where it is.
    pub fn link(&self) -> Guard<'_, Link> {
        self.link.lock()
    }

    /// Follows another primary, or none. The running link is cut; its thread finds a new
    /// generation.
    pub fn follow(&self, primary: Option<(String, u16)>) {
        let mut link = self.link.lock();
        self.following.store(primary.is_some(), Ordering::SeqCst);
        self.link_up.store(false, Ordering::SeqCst);
        link.state = if primary.is_some() { LinkState::Connect } else { LinkState::None };
        link.down_since_ms = clock::unix_ms();
        link.primary = primary;
        if let Some(stream) = link.stream.take() {
            stream.shutdown();
        }
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Our data are the state of the primary's stream at the log's offset, where it has selected
    /// this database: it may be asked to go on from there.
    pub fn resume_at(&self, db: usize) {
        self.stream_db.store(db, Ordering::SeqCst);
        self.link.lock().resumable = true;
    }

    /// There is no replica, as of now.
    pub fn note_no_replicas(&self) {
        self.no_replicas_since_ms.store(clock::unix_ms(), Ordering::Relaxed);
    }

    /// The link has come this far. Ignored when `generation` is over.
    pub fn set_link_state(&self, generation: u64, state: LinkState) {
        let mut link = self.link.lock();
        if self.generation.load(Ordering::SeqCst) != generation {
            return;
        }
        if link.state == LinkState::Connected && state != LinkState::Connected {
            link.down_since_ms = clock::unix_ms();
        }
        link.state = state;
        link.last_io_ms = clock::unix_ms();
        // What was not applied when the stream broke off comes again.
        link.read_offset = 0;
        self.link_up.store(state == LinkState::Connected, Ordering::SeqCst);
    }

    /// All replicas, in the order in which they came.
    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.lock().clone()
    }

    /// Adds a replica.
    pub fn add(&self, replica: Arc<Replica>) {
        self.no_replicas_since_ms.store(0, Ordering::Relaxed);
        let mut replicas = self.replicas.lock();
        if replicas.is_empty() {
            self.last_ping_ms.store(clock::unix_ms(), Ordering::Relaxed);
        }
        replicas.push(replica);
    }

    /// Removes the replica with this client's id.
    pub fn remove(&self, client: u64) {
        let mut replicas = self.replicas.lock();
        replicas.retain(|r| r.client.id != client);
        if replicas.is_empty() {
            self.note_no_replicas();
        }
    }

    /// Notes (database, key) that a writable replica's own clients gave a deadline.
    pub fn note_own_volatile(&self, keys: Vec<(usize, Vec<u8>)>) {
        self.own_volatile.lock().extend(keys);
    }

    /// Takes all that have been noted.
    pub fn take_own_volatile(&self) -> BTreeSet<(usize, Vec<u8>)> {
        std::mem::take(&mut *self.own_volatile.lock())
    }

    /// Cuts all replicas, which then ask to go on: so they learn that the stream has another id.
    pub fn cut_replicas(&self) {
        self.replicas().iter().for_each(|replica| replica.client.kill());
    }

    /// Begins to make a snapshot for replicas; `false` when somebody does already.
    pub fn begin_syncing(&self) -> bool {
        let begins = !self.syncing.swap(true, Ordering::SeqCst);
        if begins {
            self.abort_sync.store(false, Ordering::SeqCst);
        }
        begins
    }

    /// Whether a snapshot for replicas is being made.
    pub fn is_syncing(&self) -> bool {
        self.syncing.load(Ordering::SeqCst)
    }

    /// No snapshot is being made any more.
    pub fn end_syncing(&self) {
        self.syncing.store(false, Ordering::SeqCst);
    }

    /// The replica with this client's id.
    pub fn find(&self, client: u64) -> Option<Arc<Replica>> {
        self.replicas.lock().iter().find(|r| r.client.id == client).cloned()
    }

    /// Whether any replica gets the stream.
    pub fn has_online(&self) -> bool {
        self.replicas.lock().iter().any(|r| r.state() == ReplicaState::Online)
    }

    /// Replicas that get the stream and have confirmed `offset`.
    pub fn count_acked(&self, offset: u64) -> usize {
        let reached = |r: &&Arc<Replica>| {
            r.state() == ReplicaState::Online && r.acked.load(Ordering::SeqCst) >= offset
        };
        self.replicas.lock().iter().filter(reached).count()
    }

    /// Replicas that get the stream and have confirmed something within `max_lag_seconds`.
    pub fn count_good(&self, max_lag_seconds: i64) -> usize {
        let now_ms = clock::unix_ms();
        let good = |r: &&Arc<Replica>| {
            r.state() == ReplicaState::Online && r.lag_seconds(now_ms) <= max_lag_seconds
        };
        self.replicas.lock().iter().filter(good).count()
    }

    /// Replicas that get the stream and whose disk has everything up to `offset`.
    pub fn count_synced(&self, offset: u64) -> usize {
        let reached = |r: &&Arc<Replica>| {
            let synced = r.synced.load(Ordering::SeqCst);
            r.state() == ReplicaState::Online && synced > 0 && synced >= offset
        };
        self.replicas.lock().iter().filter(reached).count()
    }

    /// Notes a confirmation and wakes the clients in WAIT.
    pub fn acknowledge(&self, client: u64, offset: u64, synced: Option<u64>) {
        if let Some(replica) = self.find(client) {
            replica.acked.fetch_max(offset, Ordering::SeqCst);
            replica.synced.fetch_max(synced.unwrap_or(0), Ordering::SeqCst);
            replica.has_confirmed.store(true, Ordering::SeqCst);
            replica.give_life_sign();
        }
        self.wake_waiting();
    }

    /// Makes the clients in WAIT look again.
    pub fn wake_waiting(&self) {
        for client in self.waiting.lock().iter() {
            client.wake();
        }
    }

    /// A client begins to wait for confirmations.
    pub fn begin_wait(&self, client: &Arc<ClientHandle>) {
        self.waiting.lock().push(Arc::clone(client));
    }

    /// It waits no longer.
    pub fn end_wait(&self, client: &ClientHandle) {
        self.waiting.lock().retain(|c| c.id != client.id);
    }
}
