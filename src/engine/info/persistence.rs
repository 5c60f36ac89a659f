//! INFO's section about saving and loading.

use std::sync::atomic::Ordering;

use crate::engine::info::{Facts, Fields};
use crate::state::aof::Mode;
use crate::state::memory::percent;
use crate::state::persistence::{Persistence, SaveState};

/// Saving and loading.
pub fn persistence(facts: &Facts, fields: &mut Fields) {
    let persistence = &facts.engine.server.persistence;
    let state = persistence.state.lock().clone();
    let loading = persistence.loading.load(Ordering::Relaxed);
    let aside = persistence.loading_aside.load(Ordering::Relaxed);
    fields.add("loading", u8::from(loading && !aside));
    fields.add("async_loading", u8::from(loading && aside));
    save_in_progress(persistence, &state, facts.engine.server.aof.is_rewriting(), fields);
    fields.add("rdb_changes_since_last_save", persistence.dirty.load(Ordering::Relaxed));
    // A snapshot for replicas counts, as in Redis.
    let running = state.running || facts.engine.server.replication.is_syncing();
    fields.add("rdb_bgsave_in_progress", u8::from(running));
    fields.add("rdb_last_save_time", state.last_save);
    fields.add("rdb_last_bgsave_status", if state.last_ok { "ok" } else { "err" });
    fields.add("rdb_last_bgsave_time_sec", state.last_seconds);
    let running = (facts.now_ms - state.started_ms).max(0) / 1000;
    fields.add("rdb_current_bgsave_time_sec", if state.running { running } else { -1 });
    fields.add("rdb_saves", state.saves);
    fields.add("rdb_last_cow_size", 0);
    fields.add("rdb_last_load_keys_expired", state.load_keys_expired);
    fields.add("rdb_last_load_keys_loaded", state.load_keys_loaded);
    append_only_file(facts, fields);
    if loading {
        load_in_progress(facts, persistence, fields);
    }
}

/// Nothing is forked and no page is copied: a save reads what commands leave it (see
/// `store::snapshot`).
fn save_in_progress(
    persistence: &Persistence,
    state: &SaveState,
    is_rewriting: bool,
    fields: &mut Fields,
) {
    let (mut done, mut total) = (0, 0);
    if state.running || is_rewriting {
        done = persistence.save_done.load(Ordering::Relaxed);
        total = persistence.save_total.load(Ordering::Relaxed);
    }
    fields.add_zeros(&["current_cow_peak", "current_cow_size", "current_cow_size_age"]);
    fields.add("current_fork_perc", format_args!("{:.2}", percent(done, total)));
    fields.add("current_save_keys_processed", done);
    fields.add("current_save_keys_total", total);
}

fn append_only_file(facts: &Facts, fields: &mut Fields) {
    let server = &facts.engine.server;
    let (aof, state) = (&server.aof, server.aof.rewriting());
    let word = |ok: bool| if ok { "ok" } else { "err" };
    fields.add("aof_enabled", u8::from(aof.mode() != Mode::Off));
    fields.add("aof_rewrite_in_progress", u8::from(state.running));
    fields.add("aof_rewrite_scheduled", u8::from(state.scheduled));
    fields.add("aof_last_rewrite_time_sec", state.last_seconds);
    let running = (facts.now_ms - state.started_ms).max(0) / 1000;
    fields.add("aof_current_rewrite_time_sec", if state.running { running } else { -1 });
    fields.add("aof_last_bgrewrite_status", word(state.last_ok));
    fields.add("aof_rewrites", state.begun);
    fields.add("aof_rewrites_consecutive_failures", state.failures);
    fields.add("aof_last_write_status", word(aof.last_write_ok()));
    fields.add("aof_last_cow_size", 0);
    fields.add_zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if aof.mode() != Mode::Off {
        let file = aof.info(server);
        fields.add("aof_current_size", file.current_size);
        fields.add("aof_base_size", file.base_size);
        fields.add("aof_pending_rewrite", 0);
        fields.add("aof_buffer_length", file.waiting);
        fields.add("aof_pending_bio_fsync", u8::from(file.is_syncing));
        fields.add("aof_delayed_fsync", file.delayed);
    }
}

fn load_in_progress(facts: &Facts, persistence: &Persistence, fields: &mut Fields) {
    let start = persistence.loading_start.load(Ordering::Relaxed);
    let total = persistence.loading_total.load(Ordering::Relaxed);
    let done = persistence.loading_done.load(Ordering::Relaxed);
    let elapsed = u64::try_from(facts.now_ms / 1000 - start).unwrap_or(0);
    // As in Redis, one second while there is nothing to judge by.
    let rate = done.checked_div(elapsed).unwrap_or(0);
    let eta = total.saturating_sub(done).checked_div(rate).unwrap_or(1);
    fields.add("loading_start_time", start);
    fields.add("loading_total_bytes", total);
    fields.add("loading_loaded_bytes", done);
    fields.add("loading_loaded_perc", format_args!("{:.2}", percent(done, total)));
    fields.add("loading_eta_seconds", eta);
}
