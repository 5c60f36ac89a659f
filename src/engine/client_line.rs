//! A client as CLIENT LIST shows it, in one line.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::engine::table::Table;
use crate::state::clients::{ClientHandle, flag};

/// Writes the line of a client, with Redis's fields in their order. What does not exist here is
/// shown as it is in a Redis that does not use it: there is no tracking. A reply buffer is given
/// back whole, so its size is its peak, and what of it is not sent is in the output queue.
pub fn push(text: &mut String, table: &Table, client: &ClientHandle, now_ms: i64) {
    let seconds = |since_ms: i64| (now_ms - since_ms).max(0) / 1000;
    let load = |fact: &std::sync::atomic::AtomicU64| fact.load(Ordering::Relaxed);
    let meta = client.meta.lock().clone();
    let [channels, patterns, shards] =
        client.subscriptions.each_ref().map(|count| count.load(Ordering::Relaxed));
    let (chunks, output) = client.outbox.waiting();
    let (query, multi_bytes) = (load(&client.query_bytes), load(&client.multi_bytes));
    let reply = load(&client.reply_capacity);
    let query_free = load(&client.query_capacity).saturating_sub(query);
    let command = load(&client.last_command).checked_sub(1).map(|id| table.get(id as usize));
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
         multi={} qbuf={query} qbuf-free={query_free} argv-mem={} multi-mem={multi_bytes} \
         rbs={reply} rbp={reply} obl=0 oll={chunks} omem={output} tot-mem={} events={} cmd={} \
         user={} redir=-1 resp={} lib-name={} lib-ver={}",
        client.id,
        client.addr,
        client.laddr,
        client.stream.fd(),
        meta.name,
        seconds(client.created_ms),
        seconds(client.active_ms.load(Ordering::Relaxed)),
        flags(client),
        load(&client.db),
        channels,
        patterns,
        shards,
        load(&client.multi).cast_signed() - 1,
        query,
        client.memory(),
        if output == 0 { "r" } else { "rw" },
        command.map_or("NULL", |known| known.full_name.as_str()),
        meta.user.map_or_else(
            || "(superuser)".to_owned(),
            |user| { String::from_utf8_lossy(&user.name).into_owned() }
        ),
        load(&client.proto),
        meta.lib_name,
        meta.lib_ver,
    );
}

/// The letters of CLIENT LIST's `flags`.
fn flags(client: &ClientHandle) -> String {
    let is_monitor = client.has(flag::MONITOR);
    let letters = [
        (is_monitor, 'O'),
        (client.has(flag::REPLICA) && !is_monitor, 'S'),
        (client.has(flag::MASTER), 'M'),
        (client.has(flag::PUBSUB), 'P'),
        (client.multi.load(Ordering::Relaxed) > 0, 'x'),
        (client.has(flag::BLOCKED | flag::PAUSED), 'b'),
        (client.has(flag::CLOSING), 'c'),
        (client.has(flag::KILLED), 'A'),
        (client.has(flag::UNIX), 'U'),
        (client.has(flag::NO_EVICT), 'e'),
        (client.has(flag::NO_TOUCH), 'T'),
    ];
    let set: String = letters.into_iter().filter(|(is, _)| *is).map(|(_, letter)| letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}
