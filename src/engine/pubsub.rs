//! Messages around the execution of a command: what it publishes, and that a subscriber gets the
//! replies to its own commands before the messages that they cause.
//!
//! Invariant: while shards are held, messages are only queued; they are delivered when the shards
//! are let go.

use std::sync::atomic::Ordering;

use crate::engine::ctx::Ctx;
use crate::engine::session::Session;
use crate::resp::out::Out;
use crate::state::Server;
use crate::state::clients::{Kind, flag};
use crate::state::config::Settings;
use crate::state::pubsub::{Message, Outlet};

/// Publishes a message, behind the reply to the present command; how many receive it.
pub fn publish(ctx: &mut Ctx, message: Message) -> usize {
    let server = ctx.server;
    if ctx.in_exec {
        let count = server.pubsub.receivers(message.topic, &message.channel);
        if count > 0 {
            ctx.unit.messages.push(message);
        }
        return count;
    }
    hold(server, ctx.session);
    through_outlet(server, ctx.settings, |outlet| server.pubsub.publish(outlet, &message))
}

/// Queues messages. Shards may be held.
pub fn enqueue(server: &Server, session: &Session, messages: Vec<Message>) {
    if !messages.is_empty() {
        hold(server, session);
        server.pubsub.enqueue(messages);
    }
}

/// Delivers what was queued, by this command or another, and lets a subscriber have its reply and
/// the messages behind it. No shard may be held.
pub fn deliver(server: &Server, session: &Session, settings: &Settings, out: &mut Out) {
    deliver_queued(server, settings);
    let client = &session.handle;
    if !client.has(flag::HELD) {
        return;
    }
    through_outlet(server, settings, |outlet| {
        server.pubsub.release(outlet, client, || {
            server.stats.net_out.fetch_add(out.len() as u64, Ordering::Relaxed);
            let limit = server.output_limit(settings, client.kind());
            server.clients.send(client, out, limit);
        });
    });
}

/// Delivers what was queued. No shard may be held.
pub fn deliver_queued(server: &Server, settings: &Settings) {
    if server.pubsub.has_queued() {
        through_outlet(server, settings, |outlet| server.pubsub.deliver_queued(outlet));
    }
}

/// A subscriber's messages wait for its reply.
fn hold(server: &Server, session: &Session) {
    if session.handle.has(flag::PUBSUB) {
        server.pubsub.hold(&session.handle);
    }
}

/// Does something that delivers, counts the bytes, and says who was cut.
fn through_outlet<R>(
    server: &Server,
    settings: &Settings,
    work: impl FnOnce(&mut Outlet) -> R,
) -> R {
    let limit = server.output_limit(settings, Kind::Pubsub);
    let mut outlet = Outlet::new(&server.clients, limit);
    let result = work(&mut outlet);
    server.stats.net_out.fetch_add(outlet.bytes, Ordering::Relaxed);
    outlet.cut.iter().for_each(|client| server.warn_of_limit(client));
    result
}
