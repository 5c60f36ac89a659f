//! MEMORY.

use crate::base::sys;
use crate::engine::spec::access::RO;
use crate::engine::spec::flag::{LOADING, STALE};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::state::memory::{Usage, percent};
use crate::store::totals::{DbTotals, Totals};

const COMPLEX: &[&str] =
    &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

/// The commands of this file.
pub const COMMANDS: &[Command] = &[Command::container("memory")
    .group(Group::Server)
    .since("4.0.0")
    .summary("A container for commands about memory.")
    .subcommands(&[
        Command::new("usage", usage)
            .group(Group::Server)
            .since("4.0.0")
            .arity(-3)
            .readonly()
            .keys(&[KeySpec::at(2, RO)])
            .syntax("key [SAMPLES count]")
            .complexity("O(N) where N is the number of samples.")
            .summary("Tells the bytes that a key and its value take."),
        Command::new("stats", stats)
            .group(Group::Server)
            .since("4.0.0")
            .arity(2)
            .locks_one_by_one()
            .complexity("O(1)")
            .summary("Tells what memory is used for.")
            .tips(COMPLEX),
        Command::new("doctor", doctor)
            .group(Group::Server)
            .since("4.0.0")
            .arity(2)
            .locks_one_by_one()
            .complexity("O(1)")
            .summary("Reports what is odd about the use of memory.")
            .tips(COMPLEX),
        Command::new("malloc-stats", malloc_stats)
            .group(Group::Server)
            .since("4.0.0")
            .arity(2)
            .complexity("Depends on how much memory is allocated, could be slow")
            .summary("Returns the allocator's own statistics.")
            .tips(COMPLEX),
        Command::new("purge", purge)
            .group(Group::Server)
            .since("4.0.0")
            .arity(2)
            .complexity("Depends on how much memory is allocated, could be slow")
            .summary("Gives free memory back to the operating system.")
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        Command::new("help", help)
            .group(Group::Server)
            .since("4.0.0")
            .arity(2)
            .flags(LOADING | STALE)
            .complexity("O(1)")
            .summary("Lists the subcommands."),
    ])];

/// MEMORY USAGE key [SAMPLES count]
fn usage(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let key = args.key();
    while !args.is_empty() {
        // Strings have nothing to take samples of; the number is only checked.
        if !args.word("SAMPLES") || args.int()? < 0 {
            return Err(Error::SYNTAX);
        }
    }
    match ctx.db.peek(key) {
        Some(entry) => ctx.reply.count(entry.memory()),
        None => ctx.reply.null(),
    }
}

fn usage_now(ctx: &mut Ctx) -> (Usage, Totals) {
    let mut keys = Totals::default();
    ctx.each_shard(|shard| keys.add(shard));
    (Usage::new(ctx.server, &keys), keys)
}

/// MEMORY STATS
fn stats(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let (usage, keys) = usage_now(ctx);
    let aof_buffer = ctx.server.log.file_end().1 as u64;
    let out = ctx.reply.parts();
    let fields = out.defer();
    let mut pairs = Pairs { out, count: 0 };
    pairs.int("peak.allocated", usage.peak);
    pairs.int("total.allocated", usage.used);
    pairs.int("startup.allocated", usage.startup);
    pairs.int("replication.backlog", usage.log);
    pairs.int("clients.slaves", usage.replicas);
    pairs.int("clients.normal", usage.clients);
    pairs.int("cluster.links", 0);
    pairs.int("aof.buffer", aof_buffer);
    for absent in ["lua.caches", "functions.caches"] {
        pairs.int(absent, 0);
    }
    for (number, db) in keys.in_use() {
        pairs.database(number, db);
    }
    let beyond_startup = usage.used.saturating_sub(usage.startup);
    pairs.int("overhead.total", usage.overhead());
    pairs.int("keys.count", keys.keys());
    pairs.int("keys.bytes-per-key", beyond_startup.checked_div(keys.keys()).unwrap_or(0));
    pairs.int("dataset.bytes", usage.dataset());
    pairs.double("dataset.percentage", usage.dataset_percent());
    pairs.double("peak.percentage", percent(usage.used, usage.peak));
    // The C library does not tell these apart; see INFO's section about memory.
    pairs.int("allocator.allocated", usage.used);
    pairs.int("allocator.active", usage.resident);
    pairs.int("allocator.resident", usage.resident);
    pairs.double("allocator-fragmentation.ratio", usage.fragmentation());
    pairs.signed("allocator-fragmentation.bytes", usage.fragmentation_bytes());
    pairs.double("allocator-rss.ratio", 1.0);
    pairs.int("allocator-rss.bytes", 0);
    pairs.double("rss-overhead.ratio", 1.0);
    pairs.int("rss-overhead.bytes", 0);
    pairs.double("fragmentation", usage.fragmentation());
    pairs.signed("fragmentation.bytes", usage.fragmentation_bytes());
    let count = pairs.count;
    out.finish_map(fields, count);
    ctx.reply.done()
}

/// Writes and counts the pairs of a map.
struct Pairs<'o> {
    out: &'o mut Out,
    count: usize,
}

impl Pairs<'_> {
    fn name(&mut self, name: &str) {
        self.out.bulk(name.as_bytes());
        self.count += 1;
    }

    fn int(&mut self, name: &str, value: u64) {
        self.signed(name, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn signed(&mut self, name: &str, value: i64) {
        self.name(name);
        self.out.int(value);
    }

    fn double(&mut self, name: &str, value: f64) {
        self.name(name);
        self.out.double(value);
    }

    fn database(&mut self, number: usize, db: &DbTotals) {
        self.name(&format!("db.{number}"));
        self.out.map(3);
        let mut inner = Pairs { out: self.out, count: 0 };
        inner.int("overhead.hashtable.main", db.tables);
        inner.int("overhead.hashtable.expires", db.deadline_indexes);
        inner.int("overhead.hashtable.slot-to-keys", 0);
    }
}

/// Below this, in bytes, what the process itself takes decides all ratios.
const SMALL: u64 = 5 * 1024 * 1024;

/// MEMORY DOCTOR
fn doctor(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let (usage, _) = usage_now(ctx);
    ctx.reply.verbatim(diagnosis(&usage).as_bytes())
}

/// What is odd, in our own words: Redis greets its reader by name here, and nobody should take this
/// for its text, so the letters of that name do not occur.
fn diagnosis(usage: &Usage) -> String {
    if usage.used < SMALL {
        return "There is too little data in memory for a diagnosis.\n".to_owned();
    }
    let mut found = Vec::new();
    if usage.peak > usage.used + usage.used / 2 {
        found.push(format!(
            "The peak was {} bytes and {} are in use now: the pages in between may stay resident \
             until MEMORY PURGE.",
            usage.peak, usage.used
        ));
    }
    if usage.fragmentation() > 1.4 && usage.fragmentation_bytes() > SMALL as i64 {
        found.push(format!(
            "{} bytes are resident, {:.2} times of what is in use: the heap is fragmented, or \
             MEMORY PURGE would give some back.",
            usage.resident,
            usage.fragmentation()
        ));
    }
    if usage.clients > usage.used / 4 {
        found.push(format!(
            "Connections take {} bytes: a client may not be reading its replies (see omem in \
             CLIENT LIST).",
            usage.clients
        ));
    }
    if usage.log > usage.used / 4 {
        let log = usage.log;
        found.push(format!(
            "The replication backlog takes {log} bytes: it is large for the data, or a replica \
             lags behind."
        ));
    }
    if found.is_empty() {
        return "Nothing odd was found about the use of memory.\n".to_owned();
    }
    found.iter().map(|line| format!("* {line}\n")).collect()
}

/// MEMORY MALLOC-STATS
fn malloc_stats(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.bulk(b"Stats not supported for the current allocator")
}

/// MEMORY PURGE
fn purge(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.server.keyspace.spares.clear();
    sys::release_free_memory();
    ctx.reply.ok()
}

/// MEMORY HELP
fn help(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    ctx.reply.lines(&[
        "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Report what is odd about the use of memory.",
        "MALLOC-STATS",
        "    Return the allocator's own statistics, where it has any.",
        "PURGE",
        "    Give free memory back to the operating system.",
        "STATS",
        "    Return what memory is used for.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return the bytes that <key> and its value take. <count> elements of a nested",
        "    value are looked at (0 for all).",
        "HELP",
        "    Show these lines.",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_finds_what_is_odd_and_never_greets() {
        let fine = Usage {
            used: 100 << 20,
            peak: 110 << 20,
            startup: 1 << 20,
            resident: 120 << 20,
            log: 1 << 20,
            replicas: 0,
            clients: 1 << 20,
            tables: 1 << 20,
        };
        let all = Usage {
            peak: 200 << 20,
            resident: 200 << 20,
            log: 50 << 20,
            clients: 50 << 20,
            ..fine
        };
        let small = Usage { used: 1000, ..fine };
        for (usage, lines) in [(fine, 1), (all, 4), (small, 1)] {
            let text = diagnosis(&usage);
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(!text.to_lowercase().contains("sam"), "{text}");
        }
    }
}
