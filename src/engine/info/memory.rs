//! INFO's section about memory.

use std::sync::atomic::Ordering;

use crate::base::process;
use crate::engine::info::{Facts, Fields};
use crate::state::config::Policy;
use crate::state::memory::{Usage, not_counted, percent};

/// Memory.
pub fn memory(facts: &Facts, fields: &mut Fields) {
    let server = &facts.engine.server;
    let usage = Usage::new(server, facts.keys);
    fields.add_size("used_memory", usage.used);
    fields.add_size("used_memory_rss", usage.resident);
    fields.add_size("used_memory_peak", usage.peak);
    let peak_percent = percent(usage.used, usage.peak);
    fields.add("used_memory_peak_perc", format_args!("{peak_percent:.2}%"));
    fields.add("used_memory_overhead", usage.overhead());
    fields.add("used_memory_startup", usage.startup);
    fields.add("used_memory_dataset", usage.dataset());
    fields.add("used_memory_dataset_perc", format_args!("{:.2}%", usage.dataset_percent()));
    // The C library does not tell what its heap keeps, so, as Redis does with that allocator, all
    // resident pages are taken to be the heap's.
    fields.add("allocator_allocated", usage.used);
    fields.add("allocator_active", usage.resident);
    fields.add("allocator_resident", usage.resident);
    fields.add_size("total_system_memory", process::machine_memory());
    scripts(fields);
    fields.add_size("maxmemory", facts.settings.maxmemory);
    fields.add("maxmemory_policy", Policy::NAMES[facts.settings.maxmemory_policy.index()]);
    fields.add("allocator_frag_ratio", format_args!("{:.2}", usage.fragmentation()));
    fields.add("allocator_frag_bytes", usage.fragmentation_bytes());
    fields.add("allocator_rss_ratio", "1.00");
    fields.add("allocator_rss_bytes", 0);
    fields.add("rss_overhead_ratio", "1.00");
    fields.add("rss_overhead_bytes", 0);
    fields.add("mem_fragmentation_ratio", format_args!("{:.2}", usage.fragmentation()));
    fields.add("mem_fragmentation_bytes", usage.fragmentation_bytes());
    fields.add("mem_not_counted_for_evict", not_counted(server, facts.settings));
    fields.add("mem_replication_backlog", usage.log);
    // Replicas read from the backlog itself, so the two are one.
    fields.add("mem_total_replication_buffers", server.log.memory());
    fields.add("mem_clients_slaves", usage.replicas);
    fields.add("mem_clients_normal", usage.clients);
    fields.add("mem_cluster_links", 0);
    fields.add("mem_aof_buffer", server.log.file_end().1);
    fields.add("mem_allocator", "libc");
    fields.add("active_defrag_running", 0);
    fields.add("lazyfree_pending_objects", server.stats.lazy_pending.load(Ordering::Relaxed));
    fields.add("lazyfreed_objects", server.stats.lazy_freed.load(Ordering::Relaxed));
}

/// There are no scripts, hence these zeros, which monitoring programs read.
fn scripts(fields: &mut Fields) {
    fields.add_zeros(&["used_memory_lua", "used_memory_vm_eval"]);
    fields.add("used_memory_lua_human", "0B");
    fields.add_zeros(&[
        "used_memory_scripts_eval",
        "number_of_cached_scripts",
        "number_of_functions",
        "number_of_libraries",
        "used_memory_vm_functions",
    ]);
    fields.add_size("used_memory_vm_total", 0);
    fields.add("used_memory_functions", 0);
    fields.add_size("used_memory_scripts", 0);
}
