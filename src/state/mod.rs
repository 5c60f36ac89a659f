//! L4: what one server is. Each part has its own lock and its own file; nothing is global, so that
//! several servers live in one process.
//!
//! Must not know commands, and spawns no thread: work for another thread is a [`Job`], which
//! `service` runs.

pub mod acl;
pub mod aof;
pub mod clients;
pub mod config;
pub mod histogram;
pub mod latency;
pub mod memory;
pub mod migrate;
pub mod oom;
pub mod outbox;
pub mod pause;
pub mod persistence;
pub mod pubsub;
pub mod replication;
pub mod slowlog;
pub mod stats;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, OnceLock};
use std::time::Duration;

use crate::base::clock;
use crate::base::lock::{Lock, rank};
use crate::base::logger::Logger;
use crate::base::lzf;
use crate::base::rng::random_id;
use crate::log::{LagLimit, WriteLog};
use crate::store::Keyspace;
use clients::{Clients, Kind};
use config::{Config, Settings};

pub use config::REDIS_VERSION;
use outbox::Limit;

/// Work that `service` does in a thread of its own.
pub enum Job {
    /// Save the keyspace to the RDB file; it is marked as running already.
    BackgroundSave,
    /// Rewrite the append-only file; it is marked as running already.
    RewriteAof,
    /// Make a snapshot for the replicas that wait for one.
    FullSync,
    /// Send a replica this snapshot and then the stream, by this reader of the log.
    SendSnapshot(Arc<replication::Replica>, Arc<replication::Spool>, u64),
    /// Send a replica the stream, by this reader of the log.
    Feed(Arc<replication::Replica>, u64),
    /// Free what is large.
    Free(Box<dyn Send>),
    /// Connect to the primary and follow it, for this generation.
    FollowPrimary(u64),
    /// Wait for the replica and hand the role over (FAILOVER).
    Failover(FailoverPlan),
}

/// What FAILOVER asked for.
#[derive(Debug, Clone)]
pub struct FailoverPlan {
    /// The replica to promote; the first that catches up when there is none.
    pub target: Option<(String, u16)>,
    /// How long to wait for it; `None` for ever.
    pub timeout: Option<Duration>,
    /// Whether to promote it although it has not caught up in time.
    pub force: bool,
}

/// Why and how the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It does not.
    Running,
    /// SHUTDOWN or a signal is being carried out.
    Preparing,
    /// It ends now.
    Now,
}

/// How often per second the server looks after itself (INFO's `hz`).
pub const CRON_HZ: u64 = 10;

type JobRunner = Box<dyn Fn(Job) + Send + Sync>;

/// Listens on the addresses and the port of new parameters instead of the present ones, or changes
/// nothing and returns `false`.
type Rebinder = Box<dyn Fn(&Settings) -> bool + Send + Sync>;

/// One server: its data and everything known about it.
pub struct Server {
    /// The parameters.
    pub config: Config,
    /// The keys.
    pub keyspace: Arc<Keyspace>,
    /// The ordered write log.
    pub log: WriteLog,
    /// The connections.
    pub clients: Clients,
    /// The users.
    pub acl: acl::Acl,
    /// Counters.
    pub stats: stats::Stats,
    /// Slow commands.
    pub slowlog: slowlog::Slowlog,
    /// Slow events.
    pub latency: latency::Latency,
    /// Where log lines go.
    pub logger: Logger,
    /// Saving and loading.
    pub persistence: persistence::Persistence,
    /// The append-only file.
    pub aof: aof::Aof,
    /// Primary and replicas.
    pub replication: replication::Replication,
    /// Connections to servers that keys move to.
    pub targets: migrate::Targets,
    /// What compresses values that travel alone (DUMP, MIGRATE).
    pub spare_packer: lzf::Spare,
    /// CLIENT PAUSE.
    pub pause: pause::Pause,
    /// Subscriptions and messages.
    pub pubsub: pubsub::Pubsub,
    /// Clients in a blocking command.
    pub blocked: AtomicU64,
    /// Whether keys are expired without being accessed (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expire: AtomicBool,
    /// Whether what happens by itself is put off (DEBUG PAUSE-CRON).
    pub cron_paused: AtomicBool,
    /// Whether connections that are silent give their reply buffers back (DEBUG REPLYBUFFER).
    pub reply_buffers_shrink: AtomicBool,
    /// How readily the operating system ends the process.
    pub oom_score: oom::OomScore,
    /// Whether checksums are left unverified (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
    pub skip_checksums: AtomicBool,
    /// Forty digits, new at each start.
    pub run_id: String,
    /// Unix ms of the start.
    pub started_ms: i64,
    /// The port in use, which differs from the parameter when that is 0.
    pub port: AtomicU64,
    ending: Lock<Ending>,
    /// Whether `ending` is not `Running`, readable under any lock.
    is_ending: AtomicBool,
    /// Unix ms up to which the end waits for replicas; 0 when it does not.
    pub shutdown_deadline_ms: AtomicI64,
    ended: Condvar,
    /// Bytes in use before there were keys or clients.
    pub startup_memory: u64,
    job_runner: OnceLock<JobRunner>,
    rebinder: OnceLock<Rebinder>,
    memory_gauge: fn() -> u64,
}

impl Server {
    /// A server that serves nobody yet. `commands` is the number of commands to count;
    /// `memory_gauge` tells the bytes in use.
    pub fn new(config: Config, commands: usize, memory_gauge: fn() -> u64) -> io::Result<Self> {
        let settings = config.get();
        let databases = settings.databases.max(1);
        let log = WriteLog::new(settings.repl_backlog_size, replica_limit(&settings));
        Ok(Server {
            keyspace: Arc::new(Keyspace::new(databases)),
            log,
            clients: Clients::new()?,
            acl: acl::Acl::new(commands, &settings.requirepass),
            stats: stats::Stats::new(commands),
            slowlog: slowlog::Slowlog::default(),
            latency: latency::Latency::default(),
            logger: Logger::new(settings.loglevel, &settings.logfile),
            persistence: persistence::Persistence::default(),
            aof: aof::Aof::default(),
            replication: replication::Replication::default(),
            targets: migrate::Targets::default(),
            spare_packer: lzf::Spare::new(),
            pause: pause::Pause::default(),
            pubsub: pubsub::Pubsub::default(),
            blocked: AtomicU64::new(0),
            active_expire: AtomicBool::new(true),
            cron_paused: AtomicBool::new(false),
            reply_buffers_shrink: AtomicBool::new(true),
            oom_score: oom::OomScore::default(),
            skip_checksums: AtomicBool::new(false),
            run_id: random_id(),
            started_ms: clock::unix_ms(),
            port: AtomicU64::new(u64::from(settings.port)),
            ending: Lock::new(rank::ADMIN + 4, Ending::Running),
            is_ending: AtomicBool::new(false),
            shutdown_deadline_ms: AtomicI64::new(0),
            ended: Condvar::new(),
            job_runner: OnceLock::new(),
            rebinder: OnceLock::new(),
            startup_memory: memory_gauge(),
            memory_gauge,
            config,
        })
    }

    /// Follows this primary from now on. All shards must be held: no command may run half in one
    /// role and half in another.
    pub fn become_replica(&self, primary: (String, u16)) {
        // The stream that we have, our own or a former primary's, may be one that the new primary
        // continues.
        let own_stream = !self.replication.is_replica() && self.log.is_streaming();
        self.replication.link().resumable |= own_stream;
        self.replication.follow(Some(primary.clone()));
        self.log.set_followed(true);
        self.config.update(|settings| settings.replicaof = Some(primary));
        self.logger.set_role(b'S');
        self.adjust_oom_score(true);
        for client in self.clients.all() {
            if client.kind() != Kind::Master {
                client.unblock(clients::Unblock::RoleChange);
            }
        }
        let generation = self.replication.generation.load(Ordering::SeqCst);
        self.start_job(Job::FollowPrimary(generation));
    }

    /// Follows nobody any more: a stream of our own begins where the followed one ends. All shards
    /// must be held.
    pub fn become_primary(&self) {
        self.replication.follow(None);
        self.log.promote();
        self.log.set_followed(false);
        self.replication.cut_replicas();
        self.config.update(|settings| settings.replicaof = None);
        self.logger.set_role(b'M');
        self.adjust_oom_score(false);
        if self.config.get().appendonly {
            // A synchronization that was not finished has turned it off.
            self.aof.start_soon();
        }
    }

    /// Has the operating system know the score of a role.
    pub fn adjust_oom_score(&self, is_replica: bool) {
        if let Err(e) = self.oom_score.apply(&self.config.get(), is_replica) {
            self.logger.warning(&format!("Unable to write oom_score_adj: {e}"));
        }
    }

    /// Brings the configuration file up to date; with `all` it gets the parameters that have their
    /// default too.
    ///
    /// # Errors
    /// The error as it goes to the client.
    pub fn rewrite_config(&self, all: bool) -> Result<(), String> {
        // Who has a file of users has them in no other.
        let in_config = self.config.get().aclfile.is_empty();
        let users = if in_config { self.acl.all() } else { Vec::new() };
        let users: Vec<Vec<u8>> = users.iter().map(|user| user.describe()).collect();
        self.config
            .rewrite(&users, all)
            .inspect_err(|text| self.logger.warning(&format!("CONFIG REWRITE failed: {text}")))?;
        self.logger.notice("CONFIG REWRITE executed with success.");
        Ok(())
    }

    /// What we confirm to our primary: how far we are, and how far our append-only file is.
    pub fn confirmation(&self) -> Vec<String> {
        let mut words =
            vec!["REPLCONF".to_owned(), "ACK".to_owned(), self.log.offset().to_string()];
        if let Some(synced) = self.aof.synced_stream() {
            words.extend(["FACK".to_owned(), synced.to_string()]);
        }
        words
    }

    /// Whether a snapshot is being written in the background, for whatever purpose.
    pub fn has_background_job(&self) -> bool {
        self.persistence.is_saving() || self.replication.is_syncing() || self.aof.is_rewriting()
    }

    /// Says who runs jobs; `service` does, once.
    pub fn set_job_runner(&self, runner: JobRunner) {
        let _ = self.job_runner.set(runner);
    }

    /// Hands work to a thread of its own.
    pub fn start_job(&self, job: Job) {
        if let Some(runner) = self.job_runner.get() {
            runner(job);
        }
    }

    /// Says who owns the listening sockets; `service` does, once.
    pub fn set_rebinder(&self, rebinder: Rebinder) {
        let _ = self.rebinder.set(rebinder);
    }

    /// Listens where `settings` says from now on (CONFIG SET port, bind); whether that worked.
    pub fn rebind(&self, settings: &Settings) -> bool {
        self.rebinder.get().is_some_and(|rebind| rebind(settings))
    }

    /// Bytes of memory in use.
    pub fn used_memory(&self) -> u64 {
        let used = (self.memory_gauge)();
        self.stats.peak_memory.fetch_max(used, Ordering::Relaxed);
        used
    }

    /// Sets all counters to zero but those of the shards (CONFIG RESETSTAT, which has to hold them
    /// for that).
    pub fn reset_stats(&self) {
        self.stats.reset();
        self.clients.over_limit.store(0, Ordering::Relaxed);
    }

    /// The output limit of a class of clients.
    pub fn output_limit(&self, settings: &Settings, kind: Kind) -> Limit {
        let limit = match kind {
            Kind::Normal | Kind::Master => &settings.output_limits[0],
            Kind::Replica => &settings.output_limits[1],
            Kind::Pubsub => &settings.output_limits[2],
        };
        let soft_time = Duration::from_secs(limit.soft_seconds);
        Limit { hard: limit.hard, soft: limit.soft, soft_time }
    }

    /// Cuts a client that does not read.
    pub fn cut(&self, client: &clients::ClientHandle) {
        self.clients.over_limit.fetch_add(1, Ordering::Relaxed);
        self.note_cut(client);
        client.kill();
    }

    /// A client was cut because it did not read: the log says so, and nobody sees it any more,
    /// though its thread may not be done.
    pub fn note_cut(&self, client: &clients::ClientHandle) {
        let message = format!(
            "Client id={} addr={} closed for overcoming of output buffer limits.",
            client.id, client.addr
        );
        self.logger.warning(&message);
        self.clients.remove(client.id);
    }

    /// Whether the server is about to end.
    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }

    /// Begins to end; `false` when somebody has begun already.
    pub fn begin_ending(&self) -> bool {
        let mut ending = self.ending.lock();
        let first = *ending == Ending::Running;
        if first {
            *ending = Ending::Preparing;
            self.is_ending.store(true, Ordering::SeqCst);
        }
        first
    }

    /// Whether a background save or rewrite may begin: until the end is at hand. While replicas
    /// catch up before it, one may; what becomes of it is looked at afterwards.
    pub fn may_begin_save(&self) -> bool {
        !self.is_ending() || self.shutdown_deadline_ms.load(Ordering::SeqCst) != 0
    }

    /// Does not end after all.
    pub fn cancel_ending(&self) -> bool {
        let mut ending = self.ending.lock();
        let preparing = *ending == Ending::Preparing;
        if preparing {
            *ending = Ending::Running;
            self.is_ending.store(false, Ordering::SeqCst);
        }
        preparing
    }

    /// Ends: whoever waits in [`Server::wait_for_end`] goes on.
    pub fn end(&self) {
        *self.ending.lock() = Ending::Now;
        self.is_ending.store(true, Ordering::SeqCst);
        self.ended.notify_all();
    }

    /// Whether the server has ended.
    pub fn has_ended(&self) -> bool {
        *self.ending.lock() == Ending::Now
    }

    /// Waits for the end, at most for `slice`; whether it has come.
    pub fn wait_for_end(&self, slice: Duration) -> bool {
        let mut ending = self.ending.lock();
        if *ending != Ending::Now {
            ending = ending.wait_timeout(&self.ended, slice);
        }
        *ending == Ending::Now
    }
}

/// How far a replica may fall behind.
pub fn replica_limit(settings: &Settings) -> LagLimit {
    let limit = &settings.output_limits[1];
    // As in Redis, a limit below the backlog's size makes no sense: the backlog is kept anyway.
    let at_least = |bytes: u64| if bytes == 0 { 0 } else { bytes.max(settings.repl_backlog_size) };
    LagLimit {
        hard: at_least(limit.hard),
        soft: at_least(limit.soft),
        soft_time: Duration::from_secs(limit.soft_seconds),
    }
}
