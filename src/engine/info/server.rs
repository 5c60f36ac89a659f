//! INFO's sections about the process, its connections and its processor time.

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::base::clock;
use crate::base::crc64;
use crate::base::process;
use crate::base::sys;
use crate::engine::info::{Facts, Fields, micros};
use crate::state::CRON_HZ;
use crate::state::REDIS_VERSION;

const SECONDS_PER_DAY: i64 = 86_400;

/// Bits of Redis's clock for idle times, which counts seconds.
const LRU_CLOCK_MASK: i64 = (1 << 24) - 1;

/// The process.
///
/// `gcc_version` and `atomicvar_api` are left out: they are about a C compiler. The git fields are
/// what Redis shows when it was not built from a repository.
pub fn server(facts: &Facts, fields: &mut Fields) {
    let (server, settings) = (&facts.engine.server, facts.settings);
    let uptime = (facts.now_ms - server.started_ms).max(0) / 1000;
    let executable = std::env::current_exe().unwrap_or_default();
    let now_us = clock::unix_us();
    fields.add("redis_version", REDIS_VERSION);
    fields.add("ferrodis_version", env!("CARGO_PKG_VERSION"));
    fields.add("redis_git_sha1", "00000000");
    fields.add("redis_git_dirty", 0);
    fields.add("redis_build_id", build_id());
    fields.add("redis_mode", "standalone");
    fields.add("os", process::operating_system());
    fields.add("arch_bits", usize::BITS);
    fields.add("monotonic_clock", "POSIX clock_gettime");
    fields.add("multiplexing_api", "poll");
    fields.add("process_id", std::process::id());
    fields.add("process_supervised", "no");
    fields.add("run_id", &server.run_id);
    fields.add("tcp_port", server.port.load(Ordering::Relaxed));
    fields.add("server_time_usec", now_us);
    fields.add("uptime_in_seconds", uptime);
    fields.add("uptime_in_days", uptime / SECONDS_PER_DAY);
    fields.add("hz", CRON_HZ);
    fields.add("configured_hz", settings.hz);
    fields.add("lru_clock", (facts.now_ms / 1000) & LRU_CLOCK_MASK);
    fields.add("executable", executable.display());
    fields.add("config_file", server.config.file().unwrap_or(Path::new("")).display());
    fields.add("io_threads_active", 0);
    let until_ms = server.shutdown_deadline_ms.load(Ordering::Relaxed);
    if until_ms > 0 {
        fields.add("shutdown_in_milliseconds", (until_ms - facts.now_ms).max(0));
    }
    listeners(facts, fields);
}

/// Sixteen digits that differ between versions.
fn build_id() -> String {
    let text = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    format!("{:016x}", crc64::update(0, text.as_bytes()))
}

fn listeners(facts: &Facts, fields: &mut Fields) {
    let (settings, port) = (facts.settings, facts.engine.server.port.load(Ordering::Relaxed));
    let mut number = 0;
    if port != 0 {
        let binds: String = settings.bind.iter().map(|addr| format!(",bind={addr}")).collect();
        fields.add("listener0", format_args!("name=tcp{binds},port={port}"));
        number += 1;
    }
    if !settings.unixsocket.is_empty() {
        let value = format_args!("name=unix,bind={}", settings.unixsocket);
        fields.add(format_args!("listener{number}"), value);
    }
}

/// The connections.
///
/// The "recent" maxima are those of this moment: there is no other record of them.
pub fn clients(facts: &Facts, fields: &mut Fields) {
    let server = &facts.engine.server;
    let all = server.clients.all();
    let replicas = server.replication.replicas().len();
    let input = all.iter().map(|c| c.query_capacity.load(Ordering::Relaxed)).max();
    let output = all.iter().map(|c| c.outbox.waiting().1).max();
    fields.add("connected_clients", all.len().saturating_sub(replicas));
    fields.add("cluster_connections", 0);
    fields.add("maxclients", facts.settings.maxclients);
    fields.add("client_recent_max_input_buffer", input.unwrap_or(0));
    fields.add("client_recent_max_output_buffer", output.unwrap_or(0));
    fields.add("blocked_clients", server.blocked.load(Ordering::Relaxed));
    // A blocked client waits in its own thread and not in a table, and for no key.
    fields.add("tracking_clients", 0);
    fields.add("pubsub_clients", server.pubsub.clients());
    // Every blocked client watches its own clock.
    fields.add("clients_in_timeout_table", 0);
    let (all, even_if_gone) = facts.engine.blocked.count_keys();
    fields.add("total_blocking_keys", all);
    fields.add("total_blocking_keys_on_nokey", even_if_gone);
}

/// Processor time.
///
/// That of the main thread is left out: no single thread executes the commands.
pub fn cpu(_: &Facts, fields: &mut Fields) {
    let (user, system) = sys::cpu_times(false);
    let (user_children, system_children) = sys::cpu_times(true);
    fields.add("used_cpu_sys", micros(system));
    fields.add("used_cpu_user", micros(user));
    fields.add("used_cpu_sys_children", micros(system_children));
    fields.add("used_cpu_user_children", micros(user_children));
}
