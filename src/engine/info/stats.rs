//! INFO's sections that count: commands, errors, keys.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::info::{Facts, Fields};
use crate::state::acl::Reason;
use crate::state::pubsub::Topic;
use crate::state::stats::Stats;

/// Counters of the server.
pub fn stats(facts: &Facts, fields: &mut Fields) {
    let server = &facts.engine.server;
    let stats = &server.stats;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    traffic(stats, fields);
    fields.add("rejected_connections", load(&stats.refused));
    fields.add("sync_full", load(&stats.sync_full));
    fields.add("sync_partial_ok", load(&stats.sync_partial_ok));
    fields.add("sync_partial_err", load(&stats.sync_partial_err));
    fields.add("expired_keys", facts.keys.stats.expired);
    fields.add("expired_subkeys", facts.keys.stats.expired_fields);
    // Keys are removed at their deadline and found by it, so none that is overdue is estimated.
    fields.add("expired_stale_perc", "0.00");
    fields.add("expired_time_cap_reached_count", 0);
    fields.add("expire_cycle_cpu_milliseconds", load(&stats.expire_nanos) / 1_000_000);
    fields.add("evicted_keys", load(&stats.evicted));
    fields.add("evicted_clients", load(&stats.evicted_clients));
    let (total, current) = stats.excess_ms();
    fields.add("total_eviction_exceeded_time", total);
    fields.add("current_eviction_exceeded_time", current);
    fields.add("keyspace_hits", facts.keys.stats.hits);
    fields.add("keyspace_misses", facts.keys.stats.misses);
    fields.add("pubsub_channels", server.pubsub.count(Topic::Channel));
    fields.add("pubsub_patterns", server.pubsub.count(Topic::Pattern));
    fields.add("pubsubshard_channels", server.pubsub.count(Topic::Shard));
    fields.add("latest_fork_usec", 0);
    fields.add("total_forks", load(&stats.forks));
    fields.add("migrate_cached_sockets", server.targets.count());
    fields.add_zeros(ABSENT);
    fields.add("unexpected_error_replies", load(&stats.unexpected_errors));
    fields.add("total_error_replies", load(&stats.total_errors));
    fields.add("dump_payload_sanitizations", 0);
    let (reads, writes) = (stats.reads(), stats.writes());
    fields.add("total_reads_processed", reads);
    fields.add("total_writes_processed", writes);
    fields.add_zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    let query_cuts = load(&stats.query_buffer_cuts);
    let output_cuts = load(&server.clients.over_limit);
    fields.add("client_query_buffer_limit_disconnections", query_cuts);
    fields.add("client_output_buffer_limit_disconnections", output_cuts);
    fields.add_zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    let denied = |reason| server.acl.log.count(reason);
    fields.add("acl_access_denied_auth", denied(Reason::Auth));
    fields.add("acl_access_denied_cmd", denied(Reason::Command));
    fields.add("acl_access_denied_key", denied(Reason::Key));
    fields.add("acl_access_denied_channel", denied(Reason::Channel));
}

/// Counters of what is not here (scripts, tracking, defragmentation), in their place.
const ABSENT: &[&str] = &[
    "slave_expires_tracked_keys",
    "active_defrag_hits",
    "active_defrag_misses",
    "active_defrag_key_hits",
    "active_defrag_key_misses",
    "total_active_defrag_time",
    "current_active_defrag_time",
    "tracking_total_keys",
    "tracking_total_items",
    "tracking_total_prefixes",
];

fn traffic(stats: &Stats, fields: &mut Fields) {
    let [commands, net_in, net_out, repl_in, repl_out] = stats.totals();
    let rates = stats.rates.lock().per_second();
    let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    fields.add("total_connections_received", stats.connections.load(Ordering::Relaxed));
    fields.add("total_commands_processed", commands);
    fields.add("instantaneous_ops_per_sec", rates[0]);
    fields.add("total_net_input_bytes", net_in);
    fields.add("total_net_output_bytes", net_out);
    fields.add("total_net_repl_input_bytes", repl_in);
    fields.add("total_net_repl_output_bytes", repl_out);
    fields.add("instantaneous_input_kbps", kilobytes(rates[1]));
    fields.add("instantaneous_output_kbps", kilobytes(rates[2]));
    fields.add("instantaneous_input_repl_kbps", kilobytes(rates[3]));
    fields.add("instantaneous_output_repl_kbps", kilobytes(rates[4]));
}

/// Calls of each command.
pub fn commands(facts: &Facts, fields: &mut Fields) {
    for known in facts.engine.table.all() {
        let stats = facts.engine.server.stats.command(known.id);
        if stats.calls == 0 && stats.rejected == 0 && stats.failed == 0 {
            continue;
        }
        let micros = stats.nanos / 1000;
        let mean = if stats.calls == 0 { 0.0 } else { micros as f64 / stats.calls as f64 };
        let value = format_args!(
            "calls={},usec={micros},usec_per_call={mean:.2},rejected_calls={},failed_calls={}",
            stats.calls, stats.rejected, stats.failed
        );
        fields.add(format_args!("cmdstat_{}", known.full_name), value);
    }
}

/// Errors by their codes.
pub fn errors(facts: &Facts, fields: &mut Fields) {
    for (code, count) in facts.engine.server.stats.errors() {
        fields.add(format_args!("errorstat_{code}"), format_args!("count={count}"));
    }
}

/// Durations of each command, by `latency-tracking-info-percentiles`.
pub fn latencies(facts: &Facts, fields: &mut Fields) {
    let percentiles = &facts.settings.latency_tracking_info_percentiles;
    if !facts.settings.latency_tracking {
        return;
    }
    for known in facts.engine.table.all() {
        let histogram = facts.engine.server.stats.command(known.id).histogram;
        if histogram.count() == 0 {
            continue;
        }
        let micros = |percent: f64| histogram.percentile(percent) as f64 / 1000.0;
        let values: Vec<String> =
            percentiles.iter().map(|&p| format!("p{p}={:.3}", micros(p))).collect();
        let name = format_args!("latency_percentiles_usec_{}", known.full_name);
        fields.add(name, values.join(","));
    }
}

/// Keys of each database.
pub fn keyspace(facts: &Facts, fields: &mut Fields) {
    for (number, db) in facts.keys.in_use() {
        let mean_ttl = db.mean_ttl_ms(facts.now_ms);
        // Redis 7.2 knows no deadlines inside of values.
        let inner = match db.inner_volatile {
            0 => String::new(),
            keys => format!(",subexpiry={keys}"),
        };
        let (keys, volatile) = (db.keys, db.volatile);
        let value = format_args!("keys={keys},expires={volatile},avg_ttl={mean_ttl}{inner}");
        fields.add(format_args!("db{number}"), value);
    }
}
