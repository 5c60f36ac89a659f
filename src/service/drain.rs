//! Sends what did not fit into clients' sockets at once, when they become writable again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock;
use crate::base::sys::{Interest, POLL_IN, POLL_OUT, wait_for};
use crate::engine::Engine;
use crate::state::clients::ClientHandle;

/// Waits for the sockets of all clients with waiting output, until the server ends.
pub fn run(engine: &Arc<Engine>) {
    let clients = &engine.server.clients;
    let mut waiting: Vec<Arc<ClientHandle>> = Vec::new();
    while !engine.server.has_ended() {
        let mut list: Vec<Interest> =
            waiting.iter().map(|c| Interest::new(c.stream.fd(), POLL_OUT)).collect();
        list.push(Interest::new(clients.drain_bell().fd(), POLL_IN));
        wait_for(&mut list, Some(Duration::from_secs(1)));
        let mut ready = list.iter().map(|interest| interest.happened != 0);
        waiting.retain(|client| !ready.next().unwrap_or(false) || !drain(engine, client));
        let settings = engine.server.config.get();
        for client in &waiting {
            let limit = engine.server.output_limit(&settings, client.kind());
            if client.outbox.is_over(limit) {
                clients.over_limit.fetch_add(1, Ordering::Relaxed);
                engine.server.note_cut(client);
                end(engine, client);
            }
        }
        waiting.extend(clients.take_to_drain().into_iter().filter(|c| !drain(engine, c)));
    }
}

/// Sends what the socket takes; whether the client needs no more attention.
fn drain(engine: &Engine, client: &ClientHandle) -> bool {
    match client.outbox.drain() {
        Ok(drained) => {
            if drained.sent > 0 {
                // Who reads is not idle.
                client.active_ms.store(clock::unix_ms(), Ordering::Relaxed);
            }
            if drained.empty && client.outbox.is_closing() {
                end(engine, client);
            }
            drained.empty
        }
        Err(_) => {
            end(engine, client);
            true
        }
    }
}

/// Ends a connection, whose thread may be gone already.
fn end(engine: &Engine, client: &ClientHandle) {
    engine.server.clients.remove(client.id);
    client.kill();
}
