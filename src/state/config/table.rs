//! The table of parameters: everything that CONFIG, configuration files and the command line know.
//!
//! Names, aliases, ranges and rights are those of Redis 7.2. A range that Redis takes from its C
//! types (such as 2147483647) is kept, because clients see it in the error text.

use super::kinds::{Param, choice, flag, int, memory, never, octal, optional, special, text};
use super::settings::{
    DisklessLoad, Fsync, LOG_LEVEL_NAMES, LOG_LEVELS, OomScoreAdj, Permission, Policy,
    PropagationError, Sanitize,
};
use super::special as of;
use super::values::{store, store_base_name, store_nonempty_base_name};

/// Largest value of Redis's `int`.
const INT: i64 = i32::MAX as i64;
/// Largest value of Redis's `long`, as a size.
const LONG: u64 = i64::MAX as u64;
/// Smallest value of the sizes that bound a request, so that no setting locks every client out.
const MIN_REQUEST: u64 = 1024 * 1024;

/// What `hz` is held between.
const HZ: (i64, i64) = (1, 500);

const SUPERVISORS: &[&str] = &["upstart", "systemd", "auto", "no"];

/// Every parameter. Those that are accepted and change nothing are named, with the reason, in
/// [`NO_EFFECT`](super::NO_EFFECT).
pub const PARAMS: &[Param] = &[
    // Network.
    int("port", (0, 65535), |s| s.port.into(), |s, v| s.port = v as u16),
    special("bind", of::bind, of::set_bind, of::bind_lines).multi(),
    optional(
        "bind-source-addr",
        |s| s.bind_source_addr.as_bytes(),
        |s, v| store(&mut s.bind_source_addr, v),
    ),
    optional("unixsocket", |s| s.unixsocket.as_bytes(), |s, v| store(&mut s.unixsocket, v))
        .immutable(),
    octal("unixsocketperm", 0o777, |s| s.unixsocketperm, |s, v| s.unixsocketperm = v).immutable(),
    flag("protected-mode", |s| s.protected_mode, |s, v| s.protected_mode = v),
    int("tcp-backlog", (0, INT), |s| s.tcp_backlog.into(), |s, v| s.tcp_backlog = v as u32)
        .immutable(),
    int("tcp-keepalive", (0, INT), |s| s.tcp_keepalive.into(), |s, v| s.tcp_keepalive = v as u32),
    int("timeout", (0, INT), |s| s.timeout as i64, |s, v| s.timeout = v as u64),
    int(
        "maxclients",
        (1, u32::MAX as i64),
        |s| s.maxclients as i64,
        |s, v| s.maxclients = v as usize,
    ),
    special(
        "client-output-buffer-limit",
        of::output_limits,
        of::set_output_limits,
        of::output_limits_lines,
    )
    .multi(),
    memory(
        "client-query-buffer-limit",
        (MIN_REQUEST, LONG),
        |s| s.client_query_buffer_limit as u64,
        |s, v| s.client_query_buffer_limit = v as usize,
    ),
    memory(
        "proto-max-bulk-len",
        (MIN_REQUEST, LONG),
        |s| s.proto_max_bulk_len as u64,
        |s, v| s.proto_max_bulk_len = v as usize,
    ),
    // General.
    int("databases", (1, INT), |s| s.databases as i64, |s, v| s.databases = v as usize).immutable(),
    never("daemonize", "daemonize is not supported: the server stays in the foreground")
        .immutable(),
    choice("supervised", SUPERVISORS, |_| SUPERVISORS.len() - 1, |_, _| ())
        .only("no", "supervised is not supported: only 'no' is accepted")
        .immutable(),
    optional("pidfile", |s| s.pidfile.as_bytes(), |s, v| store(&mut s.pidfile, v)).immutable(),
    choice("loglevel", LOG_LEVEL_NAMES, |s| s.loglevel as usize, |s, v| s.loglevel = LOG_LEVELS[v]),
    text("logfile", |s| s.logfile.as_bytes(), |s, v| store(&mut s.logfile, v)).immutable(),
    never("syslog-enabled", "the system log is not supported").immutable(),
    flag("always-show-logo", |s| s.always_show_logo, |s, v| s.always_show_logo = v).immutable(),
    flag("disable-thp", |s| s.disable_thp, |s, v| s.disable_thp = v).immutable(),
    // Of the second and the third name, which mean the same, the second is shown.
    choice(
        "oom-score-adj",
        &["no", "yes", "relative", "absolute"],
        |s| match s.oom_score_adj {
            OomScoreAdj::No => 0,
            OomScoreAdj::Relative => 1,
            OomScoreAdj::Absolute => 3,
        },
        |s, v| {
            s.oom_score_adj = match v {
                0 => OomScoreAdj::No,
                3 => OomScoreAdj::Absolute,
                _ => OomScoreAdj::Relative,
            }
        },
    ),
    special("oom-score-adj-values", of::oom_values, of::set_oom_values, of::oom_values_lines)
        .multi(),
    flag("set-proc-title", |s| s.set_proc_title, |s, v| s.set_proc_title = v).immutable(),
    text(
        "proc-title-template",
        |s| s.proc_title_template.as_bytes(),
        |s, v| of::store_title_template(&mut s.proc_title_template, v),
    ),
    int("io-threads", (1, 128), |s| s.io_threads, |s, v| s.io_threads = v).immutable(),
    // Redis takes any rate and then uses the nearest one that makes sense.
    int("hz", (0, INT), |s| s.hz as i64, |s, v| s.hz = v.clamp(HZ.0, HZ.1) as u64),
    flag("dynamic-hz", |s| s.dynamic_hz, |s, v| s.dynamic_hz = v),
    int(
        "shutdown-timeout",
        (0, INT),
        |s| s.shutdown_timeout as i64,
        |s, v| s.shutdown_timeout = v as u64,
    ),
    special(
        "shutdown-on-sigint",
        |s| of::shutdown_on(s.shutdown_on_sigint),
        |s, args, _| {
            s.shutdown_on_sigint = of::read_shutdown_on(args)?;
            Ok(())
        },
        |s| of::shutdown_on_lines(s.shutdown_on_sigint),
    )
    .multi(),
    special(
        "shutdown-on-sigterm",
        |s| of::shutdown_on(s.shutdown_on_sigterm),
        |s, args, _| {
            s.shutdown_on_sigterm = of::read_shutdown_on(args)?;
            Ok(())
        },
        |s| of::shutdown_on_lines(s.shutdown_on_sigterm),
    )
    .multi(),
    int(
        "busy-reply-threshold",
        (0, i64::MAX),
        |s| s.busy_reply_threshold as i64,
        |s, v| s.busy_reply_threshold = v as u64,
    )
    .alias("lua-time-limit"),
    never("cluster-enabled", "cluster mode is not supported").immutable(),
    // Security.
    optional(
        "requirepass",
        |s| &s.requirepass,
        |s, v| {
            s.requirepass = v;
            Ok(())
        },
    )
    .sensitive(),
    choice(
        "enable-debug-command",
        Permission::NAMES,
        |s| s.enable_debug_command as usize,
        |s, v| s.enable_debug_command = Permission::ALL[v],
    )
    .immutable(),
    choice(
        "enable-protected-configs",
        Permission::NAMES,
        |s| s.enable_protected_configs as usize,
        |s, v| s.enable_protected_configs = Permission::ALL[v],
    )
    .immutable(),
    choice(
        "enable-module-command",
        Permission::NAMES,
        |s| s.enable_module_command as usize,
        |s, v| s.enable_module_command = Permission::ALL[v],
    )
    .immutable(),
    text("aclfile", |s| s.aclfile.as_bytes(), |s, v| store(&mut s.aclfile, v)).immutable(),
    int(
        "acllog-max-len",
        (0, i64::MAX),
        |s| s.acllog_max_len as i64,
        |s, v| s.acllog_max_len = v as usize,
    ),
    choice(
        "acl-pubsub-default",
        &["allchannels", "resetchannels"],
        |s| usize::from(!s.acl_pubsub_default),
        |s, v| s.acl_pubsub_default = v == 0,
    ),
    // Snapshots.
    special("dir", of::dir, of::set_dir, of::dir_lines).protected().deny_loading(),
    text(
        "dbfilename",
        |s| s.dbfilename.as_bytes(),
        |s, v| store_base_name(&mut s.dbfilename, v, "dbfilename", "filename"),
    )
    .protected(),
    special("save", of::save, of::set_save, of::save_lines).multi(),
    flag("rdbcompression", |s| s.rdbcompression, |s, v| s.rdbcompression = v),
    flag("rdbchecksum", |s| s.rdbchecksum, |s, v| s.rdbchecksum = v).immutable(),
    flag(
        "rdb-save-incremental-fsync",
        |s| s.rdb_save_incremental_fsync,
        |s, v| s.rdb_save_incremental_fsync = v,
    ),
    int(
        "rdb-key-save-delay",
        (0, INT),
        |s| s.rdb_key_save_delay as i64,
        |s, v| s.rdb_key_save_delay = v as u64,
    )
    .hidden(),
    int(
        "key-load-delay",
        (0, INT),
        |s| s.key_load_delay as i64,
        |s, v| s.key_load_delay = v as u64,
    )
    .hidden(),
    memory(
        "loading-process-events-interval-bytes",
        (1024, i64::MAX as u64),
        |s| s.loading_process_events_interval_bytes,
        |s, v| s.loading_process_events_interval_bytes = v,
    )
    .hidden(),
    flag("rdb-del-sync-files", |s| s.rdb_del_sync_files, |s, v| s.rdb_del_sync_files = v),
    flag(
        "stop-writes-on-bgsave-error",
        |s| s.stop_writes_on_bgsave_error,
        |s, v| s.stop_writes_on_bgsave_error = v,
    ),
    choice(
        "sanitize-dump-payload",
        Sanitize::NAMES,
        |s| s.sanitize_dump_payload as usize,
        |s, v| s.sanitize_dump_payload = Sanitize::ALL[v],
    ),
    // Replication.
    special("replicaof", of::replicaof, of::set_replicaof, of::replicaof_lines)
        .alias("slaveof")
        .immutable()
        .multi(),
    optional(
        "masterauth",
        |s| &s.masterauth,
        |s, v| {
            s.masterauth = v;
            Ok(())
        },
    )
    .sensitive(),
    optional(
        "masteruser",
        |s| &s.masteruser,
        |s, v| {
            s.masteruser = v;
            Ok(())
        },
    )
    .sensitive(),
    flag(
        "replica-serve-stale-data",
        |s| s.replica_serve_stale_data,
        |s, v| s.replica_serve_stale_data = v,
    )
    .alias("slave-serve-stale-data"),
    flag("replica-read-only", |s| s.replica_read_only, |s, v| s.replica_read_only = v)
        .alias("slave-read-only"),
    int(
        "replica-priority",
        (0, INT),
        |s| s.replica_priority as i64,
        |s, v| s.replica_priority = v as u64,
    )
    .alias("slave-priority"),
    flag("replica-announced", |s| s.replica_announced, |s, v| s.replica_announced = v),
    optional(
        "replica-announce-ip",
        |s| s.replica_announce_ip.as_bytes(),
        |s, v| store(&mut s.replica_announce_ip, v),
    )
    .alias("slave-announce-ip"),
    int(
        "replica-announce-port",
        (0, 65535),
        |s| s.replica_announce_port.into(),
        |s, v| s.replica_announce_port = v as u16,
    )
    .alias("slave-announce-port"),
    flag(
        "replica-ignore-maxmemory",
        |s| s.replica_ignore_maxmemory,
        |s, v| s.replica_ignore_maxmemory = v,
    )
    .alias("slave-ignore-maxmemory"),
    flag(
        "replica-ignore-disk-write-errors",
        |s| s.replica_ignore_disk_write_errors,
        |s, v| s.replica_ignore_disk_write_errors = v,
    ),
    flag("replica-lazy-flush", |s| s.replica_lazy_flush, |s, v| s.replica_lazy_flush = v)
        .alias("slave-lazy-flush"),
    memory("repl-backlog-size", (1, LONG), |s| s.repl_backlog_size, |s, v| s.repl_backlog_size = v),
    int(
        "repl-backlog-ttl",
        (0, i64::MAX),
        |s| s.repl_backlog_ttl as i64,
        |s, v| s.repl_backlog_ttl = v as u64,
    ),
    int("repl-timeout", (1, INT), |s| s.repl_timeout as i64, |s, v| s.repl_timeout = v as u64),
    int(
        "repl-ping-replica-period",
        (1, INT),
        |s| s.repl_ping_replica_period as i64,
        |s, v| s.repl_ping_replica_period = v as u64,
    )
    .alias("repl-ping-slave-period"),
    flag("repl-diskless-sync", |s| s.repl_diskless_sync, |s, v| s.repl_diskless_sync = v),
    int(
        "repl-diskless-sync-delay",
        (0, INT),
        |s| s.repl_diskless_sync_delay as i64,
        |s, v| s.repl_diskless_sync_delay = v as u64,
    ),
    int(
        "repl-diskless-sync-max-replicas",
        (0, INT),
        |s| s.repl_diskless_sync_max_replicas as i64,
        |s, v| s.repl_diskless_sync_max_replicas = v as u64,
    ),
    choice(
        "repl-diskless-load",
        DisklessLoad::NAMES,
        |s| s.repl_diskless_load as usize,
        |s, v| s.repl_diskless_load = DisklessLoad::ALL[v],
    )
    .deny_loading(),
    flag(
        "repl-disable-tcp-nodelay",
        |s| s.repl_disable_tcp_nodelay,
        |s, v| s.repl_disable_tcp_nodelay = v,
    ),
    int(
        "min-replicas-to-write",
        (0, INT),
        |s| s.min_replicas_to_write as i64,
        |s, v| s.min_replicas_to_write = v as usize,
    )
    .alias("min-slaves-to-write"),
    int(
        "min-replicas-max-lag",
        (0, INT),
        |s| s.min_replicas_max_lag as i64,
        |s, v| s.min_replicas_max_lag = v as u64,
    )
    .alias("min-slaves-max-lag"),
    choice(
        "propagation-error-behavior",
        PropagationError::NAMES,
        |s| s.propagation_error_behavior as usize,
        |s, v| s.propagation_error_behavior = PropagationError::ALL[v],
    ),
    // Memory.
    memory("maxmemory", (0, u64::MAX), |s| s.maxmemory, |s, v| s.maxmemory = v),
    special("maxmemory-clients", of::client_memory, of::set_client_memory, of::client_memory_lines),
    choice(
        "maxmemory-policy",
        Policy::NAMES,
        |s| s.maxmemory_policy.index(),
        |s, v| s.maxmemory_policy = Policy::ALL[v],
    ),
    int(
        "maxmemory-samples",
        (1, 64),
        |s| s.maxmemory_samples as i64,
        |s, v| s.maxmemory_samples = v as u64,
    ),
    int(
        "maxmemory-eviction-tenacity",
        (0, 100),
        |s| s.maxmemory_eviction_tenacity as i64,
        |s, v| s.maxmemory_eviction_tenacity = v as u64,
    ),
    int(
        "active-expire-effort",
        (1, 10),
        |s| s.active_expire_effort as i64,
        |s, v| s.active_expire_effort = v as u64,
    ),
    flag("activerehashing", |s| s.activerehashing, |s, v| s.activerehashing = v),
    never(
        "activedefrag",
        "Active defragmentation cannot be enabled: it requires a Redis server compiled with a \
         modified Jemalloc like the one shipped by default with the Redis source distribution",
    ),
    flag(
        "lazyfree-lazy-eviction",
        |s| s.lazyfree_lazy_eviction,
        |s, v| s.lazyfree_lazy_eviction = v,
    ),
    flag("lazyfree-lazy-expire", |s| s.lazyfree_lazy_expire, |s, v| s.lazyfree_lazy_expire = v),
    flag(
        "lazyfree-lazy-server-del",
        |s| s.lazyfree_lazy_server_del,
        |s, v| s.lazyfree_lazy_server_del = v,
    ),
    flag(
        "lazyfree-lazy-user-del",
        |s| s.lazyfree_lazy_user_del,
        |s, v| s.lazyfree_lazy_user_del = v,
    ),
    flag(
        "lazyfree-lazy-user-flush",
        |s| s.lazyfree_lazy_user_flush,
        |s, v| s.lazyfree_lazy_user_flush = v,
    ),
    int(
        "lfu-log-factor",
        (0, INT),
        |s| s.lfu_log_factor as i64,
        |s, v| s.lfu_log_factor = v as u64,
    ),
    int(
        "lfu-decay-time",
        (0, INT),
        |s| s.lfu_decay_time as i64,
        |s, v| s.lfu_decay_time = v as u64,
    ),
    // Observation.
    int(
        "slowlog-log-slower-than",
        (-1, i64::MAX),
        |s| s.slowlog_log_slower_than,
        |s, v| s.slowlog_log_slower_than = v,
    ),
    int(
        "slowlog-max-len",
        (0, i64::MAX),
        |s| s.slowlog_max_len as i64,
        |s, v| s.slowlog_max_len = v as usize,
    ),
    int(
        "latency-monitor-threshold",
        (0, i64::MAX),
        |s| s.latency_monitor_threshold as i64,
        |s, v| s.latency_monitor_threshold = v as u64,
    ),
    flag("latency-tracking", |s| s.latency_tracking, |s, v| s.latency_tracking = v),
    special(
        "latency-tracking-info-percentiles",
        of::percentiles,
        of::set_percentiles,
        of::percentiles_lines,
    )
    .multi(),
    special("notify-keyspace-events", of::notify, of::set_notify, of::notify_lines),
    // Append only file.
    flag("appendonly", |s| s.appendonly, |s, v| s.appendonly = v).deny_loading(),
    text(
        "appendfilename",
        |s| s.appendfilename.as_bytes(),
        |s, v| store_nonempty_base_name(&mut s.appendfilename, v, "appendfilename", "filename"),
    )
    .immutable(),
    text(
        "appenddirname",
        |s| s.appenddirname.as_bytes(),
        |s, v| store_nonempty_base_name(&mut s.appenddirname, v, "appenddirname", "dirname"),
    )
    .immutable(),
    choice(
        "appendfsync",
        Fsync::NAMES,
        |s| s.appendfsync as usize,
        |s, v| s.appendfsync = Fsync::ALL[v],
    ),
    flag(
        "no-appendfsync-on-rewrite",
        |s| s.no_appendfsync_on_rewrite,
        |s, v| s.no_appendfsync_on_rewrite = v,
    ),
    int(
        "auto-aof-rewrite-percentage",
        (0, INT),
        |s| s.auto_aof_rewrite_percentage as i64,
        |s, v| s.auto_aof_rewrite_percentage = v as u64,
    ),
    memory(
        "auto-aof-rewrite-min-size",
        (0, LONG),
        |s| s.auto_aof_rewrite_min_size,
        |s, v| s.auto_aof_rewrite_min_size = v,
    ),
    flag("aof-load-truncated", |s| s.aof_load_truncated, |s, v| s.aof_load_truncated = v),
    flag("aof-use-rdb-preamble", |s| s.aof_use_rdb_preamble, |s, v| s.aof_use_rdb_preamble = v),
    flag("aof-timestamp-enabled", |s| s.aof_timestamp_enabled, |s, v| s.aof_timestamp_enabled = v),
    flag("aof-disable-auto-gc", |s| s.aof_disable_auto_gc, |s, v| s.aof_disable_auto_gc = v)
        .hidden(),
    // Encodings.
    int(
        "list-max-listpack-size",
        (i32::MIN as i64, INT),
        |s| s.limits.list_max_listpack_size,
        |s, v| s.limits.list_max_listpack_size = v,
    )
    .alias("list-max-ziplist-size"),
    int(
        "list-compress-depth",
        (0, INT),
        |s| s.list_compress_depth as i64,
        |s, v| s.list_compress_depth = v as u64,
    ),
    int(
        "hash-max-listpack-entries",
        (0, i64::MAX),
        |s| s.limits.hash_max_listpack_entries as i64,
        |s, v| s.limits.hash_max_listpack_entries = v as usize,
    )
    .alias("hash-max-ziplist-entries"),
    memory(
        "hash-max-listpack-value",
        (0, LONG),
        |s| s.limits.hash_max_listpack_value as u64,
        |s, v| s.limits.hash_max_listpack_value = v as usize,
    )
    .alias("hash-max-ziplist-value"),
    int(
        "set-max-intset-entries",
        (0, i64::MAX),
        |s| s.limits.set_max_intset_entries as i64,
        |s, v| s.limits.set_max_intset_entries = v as usize,
    ),
    int(
        "set-max-listpack-entries",
        (0, i64::MAX),
        |s| s.limits.set_max_listpack_entries as i64,
        |s, v| s.limits.set_max_listpack_entries = v as usize,
    ),
    int(
        "set-max-listpack-value",
        (0, i64::MAX),
        |s| s.limits.set_max_listpack_value as i64,
        |s, v| s.limits.set_max_listpack_value = v as usize,
    ),
    int(
        "zset-max-listpack-entries",
        (0, i64::MAX),
        |s| s.limits.zset_max_listpack_entries as i64,
        |s, v| s.limits.zset_max_listpack_entries = v as usize,
    )
    .alias("zset-max-ziplist-entries"),
    memory(
        "zset-max-listpack-value",
        (0, LONG),
        |s| s.limits.zset_max_listpack_value as u64,
        |s, v| s.limits.zset_max_listpack_value = v as usize,
    )
    .alias("zset-max-ziplist-value"),
    memory(
        "hll-sparse-max-bytes",
        (0, LONG),
        |s| s.hll_sparse_max_bytes as u64,
        |s, v| s.hll_sparse_max_bytes = v as usize,
    ),
    memory(
        "stream-node-max-bytes",
        (0, LONG),
        |s| s.limits.stream_node_max_bytes as u64,
        |s, v| s.limits.stream_node_max_bytes = v as usize,
    ),
    int(
        "stream-node-max-entries",
        (0, i64::MAX),
        |s| s.limits.stream_node_max_entries as i64,
        |s, v| s.limits.stream_node_max_entries = v as usize,
    ),
];

/// The parameter of this name or alias, and the name under which it was found.
pub fn find(name: &[u8]) -> Option<(&'static Param, &'static str)> {
    names().find_map(|(shown, param)| {
        name.eq_ignore_ascii_case(shown.as_bytes()).then_some((param, shown))
    })
}

/// Every name and every alias with its parameter, in the order of the table.
pub fn names() -> impl Iterator<Item = (&'static str, &'static Param)> {
    PARAMS.iter().flat_map(|param| {
        std::iter::once(param.name).chain(param.alias).map(move |name| (name, param))
    })
}

/// Whether the value of the parameter `name` must not show in logs, the slow log or MONITOR.
pub fn is_sensitive(name: &[u8]) -> bool {
    find(name).is_some_and(|(param, _)| param.is_sensitive)
}
