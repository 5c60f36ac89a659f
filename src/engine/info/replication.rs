//! INFO's section about primary and replicas.

use std::sync::atomic::Ordering;

use crate::engine::info::{Facts, Fields};
use crate::state::memory::percent;
use crate::state::replication::{Failover, Link, LinkState, Replica, ReplicaState};

/// Primary and replicas.
pub fn replication(facts: &Facts, fields: &mut Fields) {
    let server = &facts.engine.server;
    let replication = &server.replication;
    let identity = server.log.identity();
    let offset = server.log.offset();
    let is_replica = replication.is_replica();
    fields.add("role", if is_replica { "slave" } else { "master" });
    if is_replica {
        link(facts, &replication.link(), offset, fields);
    }
    replicas(facts, fields);
    let failover = match *replication.failover.lock() {
        Failover::None => "no-failover",
        Failover::Waiting => "waiting-for-sync",
        Failover::InProgress => "failover-in-progress",
    };
    fields.add("master_failover_state", failover);
    fields.add("master_replid", identity.id);
    fields.add("master_replid2", identity.previous);
    fields.add("master_repl_offset", offset);
    fields.add("second_repl_offset", identity.previous_until);
    let backlog = server.log.backlog();
    fields.add("repl_backlog_active", u8::from(backlog.active));
    fields.add("repl_backlog_size", backlog.size);
    fields.add("repl_backlog_first_byte_offset", backlog.first_byte);
    fields.add("repl_backlog_histlen", backlog.length);
}

/// The link to our primary.
fn link(facts: &Facts, link: &Link, offset: u64, fields: &mut Fields) {
    let settings = facts.settings;
    let seconds_since = |ms: i64| (facts.now_ms - ms).max(0) / 1000;
    let connected = link.state == LinkState::Connected;
    let (host, port) = link.primary.clone().unwrap_or_default();
    let last_io = if connected { seconds_since(link.last_io_ms) } else { -1 };
    fields.add("master_host", host);
    fields.add("master_port", port);
    fields.add("master_link_status", if connected { "up" } else { "down" });
    fields.add("master_last_io_seconds_ago", last_io);
    fields.add("master_sync_in_progress", u8::from(link.state == LinkState::Sync));
    fields.add("slave_read_repl_offset", offset.max(link.read_offset));
    fields.add("slave_repl_offset", offset);
    if link.state == LinkState::Sync {
        let total = link.sync_total.unwrap_or(0);
        let percent = percent(link.sync_read, total);
        fields.add("master_sync_total_bytes", total);
        fields.add("master_sync_read_bytes", link.sync_read);
        fields.add("master_sync_left_bytes", total.saturating_sub(link.sync_read));
        fields.add("master_sync_perc", format_args!("{percent:.2}"));
        fields.add("master_sync_last_io_seconds_ago", seconds_since(link.last_io_ms));
    }
    if !connected {
        let known = link.down_since_ms != 0;
        let down = if known { seconds_since(link.down_since_ms) } else { -1 };
        fields.add("master_link_down_since_seconds", down);
    }
    fields.add("slave_priority", settings.replica_priority);
    fields.add("slave_read_only", u8::from(settings.replica_read_only));
    fields.add("replica_announced", u8::from(settings.replica_announced));
}

/// Our replicas.
fn replicas(facts: &Facts, fields: &mut Fields) {
    let (replication, settings) = (&facts.engine.server.replication, facts.settings);
    let replicas = replication.replicas();
    fields.add("connected_slaves", replicas.len());
    if settings.min_replicas_to_write > 0 && settings.min_replicas_max_lag > 0 {
        let max_lag = i64::try_from(settings.min_replicas_max_lag).unwrap_or(i64::MAX);
        fields.add("min_slaves_good_slaves", replication.count_good(max_lag));
    }
    for (number, replica) in replicas.iter().enumerate() {
        fields.add(format_args!("slave{number}"), about(replica, facts.now_ms));
    }
}

fn about(replica: &Replica, now_ms: i64) -> String {
    let (state, lag) = match replica.state() {
        ReplicaState::WaitSnapshot | ReplicaState::StreamSnapshot => ("wait_bgsave", 0),
        ReplicaState::SendSnapshot => ("send_bulk", 0),
        ReplicaState::Online => ("online", replica.lag_seconds(now_ms)),
    };
    let (ip, port) = (&replica.ip, replica.port);
    let offset = replica.acked.load(Ordering::Relaxed);
    format!("ip={ip},port={port},state={state},offset={offset},lag={lag}")
}
