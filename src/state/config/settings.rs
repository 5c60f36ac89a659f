//! The values of all parameters, typed as the server needs them.
//!
//! Plain data: no parsing, no names, no locks. The table next door connects each field with its
//! name, its range and its text. Units: sizes are bytes, times are seconds unless the field says
//! otherwise.

use std::path::PathBuf;

use crate::base::logger::Level;
use crate::data::Limits;
use crate::store::EventClasses;

/// One `save` point: snapshot when this many changes have gathered over this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Age of the oldest unsaved change, in seconds; at least 1.
    pub seconds: u64,
    /// Changes since the last snapshot.
    pub changes: u64,
}

/// Which keys eviction may remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Any.
    All,
    /// Those with a deadline.
    Volatile,
}

/// Which of them it removes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The one not used for longest.
    Access,
    /// The one used most seldom.
    Frequency,
    /// Any.
    Chance,
    /// The one with the earliest deadline.
    Deadline,
}

/// `oom-score-adj`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomScoreAdj {
    /// The score is left alone.
    No,
    /// The value is added to the score of the start.
    Relative,
    /// The value is the score.
    Absolute,
}

/// `maxmemory-clients`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMemory {
    /// So many; 0 for no limit.
    Bytes(u64),
    /// So many percent of `maxmemory`.
    Percent(u8),
}

impl ClientMemory {
    /// The limit in bytes, if there is one.
    pub fn limit(self, maxmemory: u64) -> Option<u64> {
        let bytes = match self {
            ClientMemory::Bytes(bytes) => bytes,
            ClientMemory::Percent(percent) => maxmemory / 100 * u64::from(percent),
        };
        (bytes > 0).then_some(bytes)
    }
}

/// `maxmemory-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which keys may go.
    pub among: Among,
    /// Which goes first; `None`: none ever goes.
    pub by: Option<By>,
}

impl Policy {
    /// Nothing is removed.
    pub const NO_EVICTION: Policy = Policy { among: Among::All, by: None };

    /// All policies, in Redis's order.
    pub const ALL: [Policy; 8] = [
        Policy { among: Among::Volatile, by: Some(By::Access) },
        Policy { among: Among::Volatile, by: Some(By::Frequency) },
        Policy { among: Among::Volatile, by: Some(By::Chance) },
        Policy { among: Among::Volatile, by: Some(By::Deadline) },
        Policy { among: Among::All, by: Some(By::Access) },
        Policy { among: Among::All, by: Some(By::Frequency) },
        Policy { among: Among::All, by: Some(By::Chance) },
        Policy::NO_EVICTION,
    ];

    /// Their names.
    pub const NAMES: &[&str] = &[
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "noeviction",
    ];

    /// Its place in [`Policy::ALL`].
    pub fn index(self) -> usize {
        Policy::ALL.iter().position(|policy| *policy == self).unwrap_or(Policy::ALL.len() - 1)
    }
}

/// Bounds of what may wait in a client's output queue; 0 means no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which the client is disconnected at once.
    pub hard: u64,
    /// Bytes at which it is disconnected after `soft_seconds` above them.
    pub soft: u64,
    /// Seconds that the soft limit may be exceeded.
    pub soft_seconds: u64,
}

/// Index of ordinary clients in [`Settings::output_limits`].
pub const NORMAL: usize = 0;
/// Index of replicas in [`Settings::output_limits`].
pub const REPLICA: usize = 1;
/// Index of subscribed clients in [`Settings::output_limits`].
pub const PUBSUB: usize = 2;

/// How a signal shuts the server down: the options of SHUTDOWN. None set is the default behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOn {
    /// Save even without save points.
    pub save: bool,
    /// Do not save even with save points.
    pub nosave: bool,
    /// Do not wait for replicas that lag behind.
    pub now: bool,
    /// Exit even if saving fails.
    pub force: bool,
}

/// When the append only file is synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Once a second, in the background.
    EverySec,
    /// Before each reply.
    Always,
    /// When the operating system likes to.
    No,
}

impl Fsync {
    /// All values, in the order of [`Fsync::NAMES`].
    pub const ALL: [Fsync; 3] = [Fsync::EverySec, Fsync::Always, Fsync::No];
    /// Their names.
    pub const NAMES: &[&str] = &["everysec", "always", "no"];
}

/// What happens to the old data set while a primary's snapshot arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisklessLoad {
    /// The snapshot is complete before it is loaded.
    Disabled,
    /// Load from the socket if there is no data to lose.
    OnEmptyDb,
    /// Load from the socket beside the old data set, then swap.
    SwapDb,
}

impl DisklessLoad {
    /// All values, in the order of [`DisklessLoad::NAMES`].
    pub const ALL: [DisklessLoad; 3] =
        [DisklessLoad::Disabled, DisklessLoad::OnEmptyDb, DisklessLoad::SwapDb];
    /// Their names.
    pub const NAMES: &[&str] = &["disabled", "on-empty-db", "swapdb"];
}

/// Whose serialized values are checked in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanitize {
    /// Nobody's.
    No,
    /// Everybody's.
    Yes,
    /// Those of clients, but not a snapshot's or the primary's.
    Clients,
}

impl Sanitize {
    /// All values, in the order of [`Sanitize::NAMES`].
    pub const ALL: [Sanitize; 3] = [Sanitize::No, Sanitize::Yes, Sanitize::Clients];
    /// Their names.
    pub const NAMES: &[&str] = &["no", "yes", "clients"];
}

/// Who may use something that is dangerous in the wrong hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Nobody.
    No,
    /// Everybody.
    Yes,
    /// Connections from this machine.
    Local,
}

impl Permission {
    /// All values, in the order of [`Permission::NAMES`].
    pub const ALL: [Permission; 3] = [Permission::No, Permission::Yes, Permission::Local];
    /// Their names.
    pub const NAMES: &[&str] = &["no", "yes", "local"];

    /// Whether a connection may, which is from this machine or not.
    pub fn allows(self, local: bool) -> bool {
        match self {
            Permission::No => false,
            Permission::Yes => true,
            Permission::Local => local,
        }
    }
}

/// What to do when a command from the primary (or the append only file) fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropagationError {
    /// Carry on.
    Ignore,
    /// Stop the server.
    Panic,
    /// Stop the server if the command is a primary's.
    PanicOnReplicas,
}

impl PropagationError {
    /// All values, in the order of [`PropagationError::NAMES`].
    pub const ALL: [PropagationError; 3] =
        [PropagationError::Ignore, PropagationError::Panic, PropagationError::PanicOnReplicas];
    /// Their names.
    pub const NAMES: &[&str] = &["ignore", "panic", "panic-on-replicas"];
}

/// Names of the values of `loglevel`, in the order of [`LOG_LEVELS`].
pub const LOG_LEVEL_NAMES: &[&str] = &["debug", "verbose", "notice", "warning", "nothing"];
/// Values of `loglevel`.
pub const LOG_LEVELS: [Level; 5] =
    [Level::Debug, Level::Verbose, Level::Notice, Level::Warning, Level::Nothing];

/// One value per parameter; the field is called as the parameter, with `_` for `-`.
///
/// An empty string means "not set" wherever the parameter is optional. The parameters whose only
/// accepted value is the present behaviour (`daemonize`, `cluster-enabled`, ...) have no field.
#[allow(missing_docs, reason = "each field is the redis.conf parameter of the same name")]
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    // Network.
    pub port: u16,
    /// Addresses to listen on; `-` before one allows it to be missing, `*` is every address.
    pub bind: Vec<String>,
    pub bind_source_addr: String,
    pub unixsocket: String,
    pub unixsocketperm: u32,
    pub protected_mode: bool,
    pub tcp_backlog: u32,
    pub tcp_keepalive: u32,
    pub timeout: u64,
    pub maxclients: usize,
    /// Limits by class: [`NORMAL`], [`REPLICA`], [`PUBSUB`].
    pub output_limits: [OutputLimit; 3],
    pub client_query_buffer_limit: usize,
    pub proto_max_bulk_len: usize,
    // General.
    pub databases: usize,
    pub pidfile: String,
    pub loglevel: Level,
    /// Empty is standard output; a relative path is relative to `dir`.
    pub logfile: String,
    pub always_show_logo: bool,
    pub disable_thp: bool,
    pub oom_score_adj: OomScoreAdj,
    /// For a primary, a replica and a child process.
    pub oom_score_adj_values: [i32; 3],
    pub set_proc_title: bool,
    pub proc_title_template: String,
    pub io_threads: i64,
    pub hz: u64,
    pub dynamic_hz: bool,
    /// Seconds that SHUTDOWN waits for replicas.
    pub shutdown_timeout: u64,
    pub shutdown_on_sigint: ShutdownOn,
    pub shutdown_on_sigterm: ShutdownOn,
    /// Milliseconds after which a script's callers hear BUSY.
    pub busy_reply_threshold: u64,
    // Security.
    pub requirepass: Vec<u8>,
    pub enable_debug_command: Permission,
    pub enable_protected_configs: Permission,
    pub enable_module_command: Permission,
    /// Relative to `dir`.
    pub aclfile: String,
    pub acllog_max_len: usize,
    /// Whether a new user may use all channels.
    pub acl_pubsub_default: bool,
    // Snapshots.
    /// Absolute; relative paths of other parameters start here.
    pub dir: PathBuf,
    pub dbfilename: String,
    pub save: Vec<SavePoint>,
    pub rdbcompression: bool,
    pub rdbchecksum: bool,
    /// Microseconds to sleep after each key that is saved, for tests.
    pub rdb_key_save_delay: u64,
    /// Microseconds to sleep after each key that is loaded, for tests.
    pub key_load_delay: u64,
    pub loading_process_events_interval_bytes: u64,
    pub rdb_save_incremental_fsync: bool,
    pub rdb_del_sync_files: bool,
    pub stop_writes_on_bgsave_error: bool,
    pub sanitize_dump_payload: Sanitize,
    // Replication.
    /// Host and port of the primary, if this server is a replica.
    pub replicaof: Option<(String, u16)>,
    pub masterauth: Vec<u8>,
    pub masteruser: Vec<u8>,
    pub replica_serve_stale_data: bool,
    pub replica_read_only: bool,
    pub replica_priority: u64,
    pub replica_announced: bool,
    pub replica_announce_ip: String,
    /// 0 means the port that is listened on.
    pub replica_announce_port: u16,
    pub replica_ignore_maxmemory: bool,
    pub replica_ignore_disk_write_errors: bool,
    pub replica_lazy_flush: bool,
    pub repl_backlog_size: u64,
    pub repl_backlog_ttl: u64,
    pub repl_timeout: u64,
    pub repl_ping_replica_period: u64,
    pub repl_diskless_sync: bool,
    pub repl_diskless_sync_delay: u64,
    pub repl_diskless_sync_max_replicas: u64,
    pub repl_diskless_load: DisklessLoad,
    pub repl_disable_tcp_nodelay: bool,
    pub min_replicas_to_write: usize,
    pub min_replicas_max_lag: u64,
    pub propagation_error_behavior: PropagationError,
    // Memory.
    /// 0 is no limit.
    pub maxmemory: u64,
    pub maxmemory_clients: ClientMemory,
    pub maxmemory_policy: Policy,
    /// Keys looked at for each that is removed.
    pub maxmemory_samples: u64,
    /// 0 to 100: how long a command may remove keys before it goes on.
    pub maxmemory_eviction_tenacity: u64,
    pub active_expire_effort: u64,
    pub activerehashing: bool,
    pub lazyfree_lazy_eviction: bool,
    pub lazyfree_lazy_expire: bool,
    pub lazyfree_lazy_server_del: bool,
    pub lazyfree_lazy_user_del: bool,
    pub lazyfree_lazy_user_flush: bool,
    pub lfu_log_factor: u64,
    pub lfu_decay_time: u64,
    // Observation.
    /// Microseconds; negative logs nothing, 0 logs everything.
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: usize,
    /// Milliseconds; 0 switches the monitor off.
    pub latency_monitor_threshold: u64,
    pub latency_tracking: bool,
    pub latency_tracking_info_percentiles: Vec<f64>,
    pub notify_keyspace_events: EventClasses,
    // Append only file.
    pub appendonly: bool,
    pub appendfilename: String,
    pub appenddirname: String,
    pub appendfsync: Fsync,
    pub no_appendfsync_on_rewrite: bool,
    pub auto_aof_rewrite_percentage: u64,
    pub auto_aof_rewrite_min_size: u64,
    pub aof_load_truncated: bool,
    pub aof_use_rdb_preamble: bool,
    pub aof_timestamp_enabled: bool,
    pub aof_disable_auto_gc: bool,
    // Encodings.
    pub limits: Limits,
    pub list_compress_depth: u64,
    pub hll_sparse_max_bytes: usize,
}

const MB: u64 = 1024 * 1024;

/// Redis's limits for output queues.
const OUTPUT_LIMITS: [OutputLimit; 3] = [
    OutputLimit { hard: 0, soft: 0, soft_seconds: 0 },
    OutputLimit { hard: 256 * MB, soft: 64 * MB, soft_seconds: 60 },
    OutputLimit { hard: 32 * MB, soft: 8 * MB, soft_seconds: 60 },
];

/// The defaults that a constant can hold; the rest is empty here.
const CONSTANT_DEFAULTS: Settings = Settings {
    port: 6379,
    bind: Vec::new(),
    bind_source_addr: String::new(),
    unixsocket: String::new(),
    unixsocketperm: 0,
    protected_mode: true,
    tcp_backlog: 511,
    tcp_keepalive: 300,
    timeout: 0,
    maxclients: 10_000,
    output_limits: OUTPUT_LIMITS,
    client_query_buffer_limit: 1024 * MB as usize,
    proto_max_bulk_len: 512 * MB as usize,
    databases: 16,
    pidfile: String::new(),
    loglevel: Level::Notice,
    logfile: String::new(),
    always_show_logo: false,
    disable_thp: true,
    oom_score_adj: OomScoreAdj::No,
    oom_score_adj_values: [0, 200, 800],
    set_proc_title: true,
    proc_title_template: String::new(),
    io_threads: 1,
    hz: 10,
    dynamic_hz: true,
    shutdown_timeout: 10,
    shutdown_on_sigint: ShutdownOn { save: false, nosave: false, now: false, force: false },
    shutdown_on_sigterm: ShutdownOn { save: false, nosave: false, now: false, force: false },
    busy_reply_threshold: 5000,
    requirepass: Vec::new(),
    enable_debug_command: Permission::No,
    enable_protected_configs: Permission::No,
    enable_module_command: Permission::No,
    aclfile: String::new(),
    acllog_max_len: 128,
    acl_pubsub_default: false,
    dir: PathBuf::new(),
    dbfilename: String::new(),
    save: Vec::new(),
    rdbcompression: true,
    rdbchecksum: true,
    rdb_key_save_delay: 0,
    key_load_delay: 0,
    loading_process_events_interval_bytes: 2 * 1024 * 1024,
    rdb_save_incremental_fsync: true,
    rdb_del_sync_files: false,
    stop_writes_on_bgsave_error: true,
    sanitize_dump_payload: Sanitize::No,
    replicaof: None,
    masterauth: Vec::new(),
    masteruser: Vec::new(),
    replica_serve_stale_data: true,
    replica_read_only: true,
    replica_priority: 100,
    replica_announced: true,
    replica_announce_ip: String::new(),
    replica_announce_port: 0,
    replica_ignore_maxmemory: true,
    replica_ignore_disk_write_errors: false,
    replica_lazy_flush: false,
    repl_backlog_size: MB,
    repl_backlog_ttl: 3600,
    repl_timeout: 60,
    repl_ping_replica_period: 10,
    repl_diskless_sync: true,
    // Redis waits for five seconds. Here who comes while a snapshot is made may still share it.
    repl_diskless_sync_delay: 0,
    repl_diskless_sync_max_replicas: 0,
    repl_diskless_load: DisklessLoad::Disabled,
    repl_disable_tcp_nodelay: false,
    min_replicas_to_write: 0,
    min_replicas_max_lag: 10,
    propagation_error_behavior: PropagationError::Ignore,
    maxmemory: 0,
    maxmemory_clients: ClientMemory::Bytes(0),
    maxmemory_policy: Policy::NO_EVICTION,
    maxmemory_samples: 5,
    maxmemory_eviction_tenacity: 10,
    active_expire_effort: 1,
    activerehashing: true,
    lazyfree_lazy_eviction: false,
    lazyfree_lazy_expire: false,
    lazyfree_lazy_server_del: false,
    lazyfree_lazy_user_del: false,
    lazyfree_lazy_user_flush: false,
    lfu_log_factor: 10,
    lfu_decay_time: 1,
    slowlog_log_slower_than: 10_000,
    slowlog_max_len: 128,
    latency_monitor_threshold: 0,
    latency_tracking: true,
    latency_tracking_info_percentiles: Vec::new(),
    notify_keyspace_events: EventClasses::NONE,
    appendonly: false,
    appendfilename: String::new(),
    appenddirname: String::new(),
    appendfsync: Fsync::EverySec,
    no_appendfsync_on_rewrite: false,
    auto_aof_rewrite_percentage: 100,
    auto_aof_rewrite_min_size: 64 * MB,
    aof_load_truncated: true,
    aof_use_rdb_preamble: true,
    aof_timestamp_enabled: false,
    aof_disable_auto_gc: false,
    limits: Limits::REDIS,
    list_compress_depth: 0,
    hll_sparse_max_bytes: 3000,
};

impl Default for Settings {
    /// Redis's defaults, but for two: there are no save points, because a server that is started
    /// without a configuration should not write files unasked; and `dir` is the current directory's
    /// path.
    fn default() -> Self {
        Settings {
            bind: vec!["*".to_owned(), "-::*".to_owned()],
            dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            dbfilename: "dump.rdb".to_owned(),
            latency_tracking_info_percentiles: vec![50.0, 99.0, 99.9],
            proc_title_template: "{title} {listen-addr} {server-mode}".to_owned(),
            appendfilename: "appendonly.aof".to_owned(),
            appenddirname: "appendonlydir".to_owned(),
            ..CONSTANT_DEFAULTS
        }
    }
}
