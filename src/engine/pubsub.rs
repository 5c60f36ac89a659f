//! Messages around the execution of a command: what it publishes, the keyspace events of what it
//! changes, what monitors are shown of it, and that a subscriber or monitor gets the reply to its
//! command before the messages that this causes.
//!
//! Invariant: while shards are held, messages are only queued; they are delivered when the shards
//! are let go.

use std::sync::atomic::Ordering;

use crate::engine::ctx::Ctx;
use crate::engine::dispatch::Unit;
use crate::engine::session::Session;
use crate::engine::{Engine, delivery};
use crate::resp::out::Out;
use crate::state::Server;
use crate::state::clients::{Kind, flag};
use crate::state::config::Settings;
use crate::state::pubsub::{Limits, Message, Notice, Outlet};
use crate::store::{Changes, EventClasses};

/// Publishes a message, behind the reply to the present command; how many receive it.
pub fn publish(ctx: &mut Ctx, message: Message) -> usize {
    let server = ctx.server;
    if ctx.in_exec {
        let count = server.pubsub.receivers(message.topic, &message.channel);
        if count > 0 {
            ctx.unit.tell(Notice::Message(message));
        }
        return count;
    }
    hold(server, ctx.session);
    through_outlet(server, ctx.settings, |outlet| server.pubsub.publish(outlet, &message))
}

/// The classes of keyspace events to be noted: none while nobody could hear of them.
pub fn wanted(server: &Server, settings: &Settings) -> EventClasses {
    let classes = settings.notify_keyspace_events;
    let told = classes.has(EventClasses::KEYSPACE) || classes.has(EventClasses::KEYEVENT);
    if told && server.pubsub.is_heard() { classes } else { EventClasses::NONE }
}

/// Queues what a command has to tell. Shards may be held.
#[inline]
pub fn enqueue(server: &Server, session: &Session, unit: &mut Unit) {
    if unit.has_notices() {
        hold(server, session);
        server.pubsub.enqueue(unit.take_notices());
    }
}

/// Queues the events of changes, of which these classes were noted. Shards may be held.
pub fn enqueue_events(server: &Server, changes: &mut Changes, wanted: EventClasses) {
    if !changes.events.is_empty() {
        let events = changes.events.drain(..).map(|event| Notice::Event(event, wanted));
        server.pubsub.enqueue(events);
    }
}

/// Delivers what was queued, by this command or another, and lets a subscriber have its reply and
/// the messages behind it. No shard may be held.
#[inline]
pub fn deliver(engine: &Engine, session: &mut Session, settings: &Settings, out: &mut Out) {
    deliver_queued(&engine.server, settings);
    if session.handle.has(flag::HELD) {
        release(engine, session, settings, out);
    }
}

/// Lets a subscriber have its reply and the messages behind it.
fn release(engine: &Engine, session: &mut Session, settings: &Settings, out: &mut Out) {
    let server = &engine.server;
    delivery::settle(engine, session, out);
    let client = &session.handle;
    through_outlet(server, settings, |outlet| {
        server.pubsub.release(outlet, client, || {
            server.stats.replied(client.id, out.len());
            let limit = server.output_limit(settings, client.kind());
            server.clients.send(client, out, limit);
        });
    });
}

/// Delivers what was queued. No shard may be held.
#[inline]
pub fn deliver_queued(server: &Server, settings: &Settings) {
    if server.pubsub.has_queued() {
        through_outlet(server, settings, |outlet| server.pubsub.deliver_queued(outlet));
    }
}

/// The messages of a subscriber or monitor wait for its reply.
#[inline(never)]
fn hold(server: &Server, session: &Session) {
    if session.handle.has(flag::PUBSUB | flag::MONITOR) {
        server.pubsub.hold(&session.handle);
    }
}

/// Does something that delivers, counts the bytes, and says who was cut.
#[inline(never)]
fn through_outlet<R>(
    server: &Server,
    settings: &Settings,
    work: impl FnOnce(&mut Outlet) -> R,
) -> R {
    let limits = Limits {
        subscriber: server.output_limit(settings, Kind::Pubsub),
        monitor: server.output_limit(settings, Kind::Normal),
    };
    let mut outlet = Outlet::new(&server.clients, limits);
    let result = work(&mut outlet);
    server.stats.published.fetch_add(outlet.bytes, Ordering::Relaxed);
    outlet.cut.iter().for_each(|client| server.note_cut(client));
    result
}
