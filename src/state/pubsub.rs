//! Who is subscribed to what, and how a message reaches all of them; likewise who monitors all
//! commands.
//!
//! Must not know commands. Invariants:
//!
//! - A message is encoded once for each protocol, and its receivers share the bytes.
//! - Messages are delivered while the registry is locked. So all subscribers see all messages in
//!   one order, and none comes behind the reply to an unsubscription.
//! - No message is delivered while a shard is held. What a command has to tell about its changes
//!   waits in a queue, in the order of the changes, for the moment after.
//! - Commands take the same way, so that monitors see those about one key in their order.
//! - While a client is held ([`flag::HELD`]) its messages are kept for it, so that they come behind
//!   the reply of the command that it executes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::glob;
use crate::base::lock::{Lock, rank};
use crate::resp::out::{Chunk, encode_push};
use crate::state::clients::{ClientHandle, Clients, flag};
use crate::state::outbox::{Limit, Sent};
use crate::store::{Event, EventClasses};

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// A channel by its name.
    Channel,
    /// All channels whose names match.
    Pattern,
    /// A channel of a shard of a cluster, by its name. Here they are one more set of channels.
    Shard,
}

impl Topic {
    /// All kinds of topics.
    pub const ALL: [Topic; TOPICS] = [Topic::Channel, Topic::Pattern, Topic::Shard];
}

/// How many kinds of topics there are.
pub const TOPICS: usize = 3;

/// Shared by the registry and the subscribers' own lists.
type Name = Arc<[u8]>;

/// A message that waits to be delivered.
#[derive(Debug)]
pub struct Message {
    /// [`Topic::Channel`] or [`Topic::Shard`].
    pub topic: Topic,
    /// Where it was published.
    pub channel: Vec<u8>,
    /// What it says.
    pub text: Vec<u8>,
}

/// Something to be told to subscribers.
#[derive(Debug)]
pub enum Notice {
    /// A message.
    Message(Message),
    /// A keyspace event, and the classes that were asked for at its time.
    Event(Event, EventClasses),
    /// A command that was executed, as monitors are shown it.
    Command(Vec<u8>),
}

/// Visits the messages that an event amounts to.
fn each_message(event: Event, classes: EventClasses, mut visit: impl FnMut(Message)) {
    let (db, name) = (event.db, event.name.as_bytes());
    if classes.has(EventClasses::KEYSPACE) {
        let mut channel = format!("__keyspace@{db}__:").into_bytes();
        channel.extend_from_slice(&event.key);
        visit(Message { topic: Topic::Channel, channel, text: name.to_vec() });
    }
    if classes.has(EventClasses::KEYEVENT) {
        let channel = format!("__keyevent@{db}__:{}", event.name).into_bytes();
        visit(Message { topic: Topic::Channel, channel, text: event.key });
    }
}

/// How much may wait for a client that does not read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a subscriber.
    pub subscriber: Limit,
    /// For a monitor.
    pub monitor: Limit,
}

/// The way from here to the clients, and what happened on it.
pub struct Outlet<'a> {
    clients: &'a Clients,
    limits: Limits,
    /// Bytes that were handed over.
    pub bytes: u64,
    /// Clients that were cut because they do not read.
    pub cut: Vec<Arc<ClientHandle>>,
}

impl<'a> Outlet<'a> {
    /// A way with output limits.
    pub fn new(clients: &'a Clients, limits: Limits) -> Self {
        Outlet { clients, limits, bytes: 0, cut: Vec::new() }
    }

    fn push(&mut self, client: &Arc<ClientHandle>, chunk: Chunk) {
        self.bytes += chunk.as_ref().len() as u64;
        let Limits { subscriber, monitor } = self.limits;
        let limit = if client.has(flag::PUBSUB) { subscriber } else { monitor };
        if self.clients.push(client, chunk, limit) == Sent::OverLimit {
            self.cut.push(Arc::clone(client));
        }
    }
}

/// One client's subscriptions.
type Subscriber = [BTreeSet<Name>; TOPICS];

#[derive(Default)]
struct Registry {
    topics: [BTreeMap<Name, Vec<Arc<ClientHandle>>>; TOPICS],
    subscribers: HashMap<u64, Subscriber>,
    monitors: Vec<Arc<ClientHandle>>,
    /// What came for clients while they were held.
    kept: HashMap<u64, Vec<Chunk>>,
}

/// The subscriptions of one server.
pub struct Pubsub {
    registry: Lock<Registry>,
    queue: Lock<Vec<Notice>>,
    /// Channels and patterns with subscribers; readable without the registry.
    heard: AtomicUsize,
    /// Monitors, likewise.
    monitors: AtomicUsize,
    /// How many are in `queue`.
    queued: AtomicUsize,
}

impl Default for Pubsub {
    fn default() -> Self {
        Pubsub {
            registry: Lock::new(rank::PUBSUB, Registry::default()),
            queue: Lock::new(rank::PUBSUB + 1, Vec::new()),
            heard: AtomicUsize::new(0),
            monitors: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
        }
    }
}

/// Subscriptions.
impl Pubsub {
    /// Subscribes a client; how many subscriptions of that sort it has now. Until
    /// [`Pubsub::release`] its messages are kept.
    pub fn subscribe(&self, client: &Arc<ClientHandle>, topic: Topic, name: &[u8]) -> usize {
        let mut registry = self.registry.lock();
        client.set(flag::PUBSUB | flag::HELD, true);
        registry.add(client, topic, name);
        self.note_heard(&registry);
        registry.show(client, topic)
    }

    /// Ends a subscription, if it is there; how many of that sort are left.
    pub fn unsubscribe(&self, client: &Arc<ClientHandle>, topic: Topic, name: &[u8]) -> usize {
        let mut registry = self.registry.lock();
        registry.remove(client, topic, name);
        self.note_heard(&registry);
        registry.show(client, topic)
    }

    /// Ends all subscriptions of a client, for whatever reason and from any thread.
    pub fn leave(&self, client: &Arc<ClientHandle>) {
        if !client.has(flag::PUBSUB | flag::HELD) {
            return;
        }
        let mut registry = self.registry.lock();
        registry.kept.remove(&client.id);
        let names = registry.subscribers.get(&client.id).cloned().unwrap_or_default();
        for (topic, names) in Topic::ALL.into_iter().zip(names) {
            names.iter().for_each(|name| registry.remove(client, topic, name));
        }
        registry.show(client, Topic::Channel);
        client.set(flag::HELD, false);
        self.note_heard(&registry);
    }

    /// The names that a client is subscribed to.
    pub fn names_of(&self, client: &ClientHandle, topic: Topic) -> Vec<Name> {
        let registry = self.registry.lock();
        let subscriber = registry.subscribers.get(&client.id);
        subscriber.map_or_else(Vec::new, |s| s[topic as usize].iter().cloned().collect())
    }

    /// How many subscriptions of that sort a client has: those to channels and patterns count
    /// together.
    pub fn subscriptions(&self, client: &ClientHandle, topic: Topic) -> usize {
        self.registry.lock().show(client, topic)
    }

    /// The names that anybody is subscribed to.
    pub fn names(&self, topic: Topic) -> Vec<Name> {
        self.registry.lock().topics[topic as usize].keys().cloned().collect()
    }

    /// How many names somebody is subscribed to.
    pub fn count(&self, topic: Topic) -> usize {
        self.registry.lock().topics[topic as usize].len()
    }

    /// How many clients are subscribed to a name.
    pub fn subscribers(&self, topic: Topic, name: &[u8]) -> usize {
        self.registry.lock().topics[topic as usize].get(name).map_or(0, Vec::len)
    }

    /// How many clients are subscribed to anything.
    pub fn clients(&self) -> usize {
        self.registry.lock().subscribers.len()
    }

    /// Whether anybody is subscribed to a channel or a pattern.
    pub fn is_heard(&self) -> bool {
        self.heard.load(Ordering::SeqCst) > 0
    }

    /// Makes a client a monitor, which is shown all commands; `false` when it is one already. Until
    /// [`Pubsub::release`] they are kept for it.
    pub fn watch(&self, client: &Arc<ClientHandle>) -> bool {
        let mut registry = self.registry.lock();
        if client.has(flag::MONITOR) {
            return false;
        }
        client.set(flag::MONITOR | flag::HELD, true);
        registry.monitors.push(Arc::clone(client));
        self.monitors.store(registry.monitors.len(), Ordering::SeqCst);
        true
    }

    /// Makes a client an ordinary one again, if it is a monitor.
    pub fn unwatch(&self, client: &ClientHandle) {
        if client.has(flag::MONITOR) {
            let mut registry = self.registry.lock();
            registry.monitors.retain(|monitor| monitor.id != client.id);
            self.monitors.store(registry.monitors.len(), Ordering::SeqCst);
            client.set(flag::MONITOR, false);
        }
    }

    /// Whether there are monitors.
    pub fn is_watched(&self) -> bool {
        self.monitors.load(Ordering::Relaxed) > 0
    }

    fn note_heard(&self, registry: &Registry) {
        let [channels, patterns, _] = &registry.topics;
        self.heard.store(channels.len() + patterns.len(), Ordering::SeqCst);
    }
}

/// Messages.
impl Pubsub {
    /// Delivers a message; how many receive it. No shard may be held.
    pub fn publish(&self, outlet: &mut Outlet, message: &Message) -> usize {
        self.registry.lock().deliver(outlet, message)
    }

    /// How many would receive a message.
    pub fn receivers(&self, topic: Topic, channel: &[u8]) -> usize {
        let registry = self.registry.lock();
        let mut count = 0;
        registry.each_list(topic, channel, |_, clients| count += clients.len());
        count
    }

    /// Puts notices behind those that wait already. Shards may be held, and order notices as they
    /// order changes.
    pub fn enqueue(&self, notices: impl IntoIterator<Item = Notice>) {
        let mut queue = self.queue.lock();
        queue.extend(notices);
        self.queued.store(queue.len(), Ordering::SeqCst);
    }

    /// Whether anything waits to be delivered.
    pub fn has_queued(&self) -> bool {
        self.queued.load(Ordering::SeqCst) > 0
    }

    /// Delivers what waits, whoever has put it there. No shard may be held.
    pub fn deliver_queued(&self, outlet: &mut Outlet) {
        let mut registry = self.registry.lock();
        // What comes in meanwhile is left to those who wait for the registry behind us.
        let mut queue = self.queue.lock();
        let notices = std::mem::take(&mut *queue);
        self.queued.store(0, Ordering::SeqCst);
        drop(queue);
        for notice in notices {
            match notice {
                Notice::Message(message) => {
                    registry.deliver(outlet, &message);
                }
                Notice::Event(event, classes) => each_message(event, classes, |message| {
                    registry.deliver(outlet, &message);
                }),
                Notice::Command(line) => registry.show_command(outlet, line),
            }
        }
    }

    /// Keeps the messages for a client from now on until [`Pubsub::release`]. By its own thread.
    pub fn hold(&self, client: &ClientHandle) {
        client.set(flag::HELD, true);
    }

    /// Sends a client first what `send_replies` sends and then the messages kept for it.
    pub fn release(
        &self,
        outlet: &mut Outlet,
        client: &Arc<ClientHandle>,
        send_replies: impl FnOnce(),
    ) {
        let mut registry = self.registry.lock();
        send_replies();
        client.set(flag::HELD, false);
        for chunk in registry.kept.remove(&client.id).unwrap_or_default() {
            outlet.push(client, chunk);
        }
    }

    /// Does something while no message is delivered.
    pub fn quietly<R>(&self, work: impl FnOnce() -> R) -> R {
        let _registry = self.registry.lock();
        work()
    }
}

impl Registry {
    fn add(&mut self, client: &Arc<ClientHandle>, topic: Topic, name: &[u8]) {
        let topics = &mut self.topics[topic as usize];
        let name = match topics.get_key_value(name) {
            Some((known, _)) => Arc::clone(known),
            None => Name::from(name),
        };
        let subscriber = self.subscribers.entry(client.id).or_default();
        if subscriber[topic as usize].insert(Arc::clone(&name)) {
            topics.entry(name).or_default().push(Arc::clone(client));
        }
    }

    fn remove(&mut self, client: &Arc<ClientHandle>, topic: Topic, name: &[u8]) {
        let Some(subscriber) = self.subscribers.get_mut(&client.id) else { return };
        if !subscriber[topic as usize].remove(name) {
            return;
        }
        if subscriber.iter().all(BTreeSet::is_empty) {
            self.subscribers.remove(&client.id);
        }
        let topics = &mut self.topics[topic as usize];
        if let Some(clients) = topics.get_mut(name) {
            if let Some(at) = clients.iter().position(|c| Arc::ptr_eq(c, client)) {
                clients.swap_remove(at);
            }
            if clients.is_empty() {
                topics.remove(name);
            }
        }
    }

    /// Shows on the client what it is subscribed to; how many subscriptions count together with
    /// those of `topic`.
    fn show(&self, client: &ClientHandle, topic: Topic) -> usize {
        let counts = match self.subscribers.get(&client.id) {
            Some(subscriber) => subscriber.each_ref().map(BTreeSet::len),
            None => [0; TOPICS],
        };
        for (shown, count) in client.subscriptions.iter().zip(counts) {
            shown.store(count, Ordering::Relaxed);
        }
        client.set(flag::PUBSUB, counts.iter().any(|&count| count > 0));
        let [channels, patterns, shards] = counts;
        if topic == Topic::Shard { shards } else { channels + patterns }
    }

    /// Visits the lists of those who receive what is published to a channel, each with the pattern
    /// that made them so.
    fn each_list<'r>(
        &'r self,
        topic: Topic,
        channel: &[u8],
        mut visit: impl FnMut(Option<&'r [u8]>, &'r [Arc<ClientHandle>]),
    ) {
        if let Some(clients) = self.topics[topic as usize].get(channel) {
            visit(None, clients);
        }
        if topic == Topic::Channel {
            for (pattern, clients) in &self.topics[Topic::Pattern as usize] {
                if glob::matches(pattern, channel, false) {
                    visit(Some(pattern), clients);
                }
            }
        }
    }

    fn deliver(&mut self, outlet: &mut Outlet, message: &Message) -> usize {
        let (channel, text) = (&message.channel[..], &message.text[..]);
        let mut kept = Vec::new();
        let mut count = 0;
        self.each_list(message.topic, channel, |pattern, clients| {
            let mut encoded = match (pattern, message.topic) {
                (Some(pattern), _) => Encoded::new(&[b"pmessage", pattern, channel, text]),
                (None, Topic::Shard) => Encoded::new(&[b"smessage", channel, text]),
                (None, _) => Encoded::new(&[b"message", channel, text]),
            };
            for client in clients {
                let chunk = encoded.for_client(client);
                if client.has(flag::HELD) {
                    kept.push((client.id, chunk));
                } else {
                    outlet.push(client, chunk);
                }
            }
            count += clients.len();
        });
        for (id, chunk) in kept {
            self.kept.entry(id).or_default().push(chunk);
        }
        count
    }

    /// Shows a command to all monitors.
    fn show_command(&mut self, outlet: &mut Outlet, line: Vec<u8>) {
        let line = Arc::new(line);
        for client in &self.monitors {
            let chunk = Chunk::Shared(Arc::clone(&line));
            if client.has(flag::HELD) {
                self.kept.entry(client.id).or_default().push(chunk);
            } else {
                outlet.push(client, chunk);
            }
        }
    }
}

/// A message in the protocols that its receivers speak.
struct Encoded<'m> {
    parts: Vec<&'m [u8]>,
    resp2: Option<Arc<Vec<u8>>>,
    resp3: Option<Arc<Vec<u8>>>,
}

impl<'m> Encoded<'m> {
    fn new(parts: &[&'m [u8]]) -> Self {
        Encoded { parts: parts.to_vec(), resp2: None, resp3: None }
    }

    fn for_client(&mut self, client: &ClientHandle) -> Chunk {
        let (slot, proto) = match client.proto.load(Ordering::SeqCst) {
            3 => (&mut self.resp3, 3),
            _ => (&mut self.resp2, 2),
        };
        let bytes = slot.get_or_insert_with(|| Arc::new(encode_push(proto, &self.parts)));
        Chunk::Shared(Arc::clone(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::clients::Stream;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    struct Fixture {
        clients: Clients,
        pubsub: Pubsub,
    }

    impl Fixture {
        fn new() -> Self {
            Fixture { clients: Clients::new().unwrap(), pubsub: Pubsub::default() }
        }

        fn client(&self) -> (Arc<ClientHandle>, UnixStream) {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_nonblocking(true).unwrap();
            (self.clients.add(Stream::Unix(ours), "", 0), theirs)
        }

        fn outlet(&self) -> Outlet<'_> {
            let limit = Limit { hard: 1 << 20, soft: 0, soft_time: Duration::ZERO };
            Outlet::new(&self.clients, Limits { subscriber: limit, monitor: limit })
        }

        fn release(&self, client: &Arc<ClientHandle>) {
            self.pubsub.release(&mut self.outlet(), client, || ());
        }

        fn publish(&self, topic: Topic, channel: &str, text: &str) -> usize {
            let message =
                Message { topic, channel: channel.into(), text: text.as_bytes().to_vec() };
            self.pubsub.publish(&mut self.outlet(), &message)
        }
    }

    /// All that a client was sent, what waits for the drain thread included.
    fn received(client: &ClientHandle, socket: &mut UnixStream) -> String {
        client.outbox.drain().unwrap();
        let mut bytes = Vec::new();
        let _ = socket.read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn messages_go_to_channels_and_patterns() {
        let f = Fixture::new();
        let (a, mut a_socket) = f.client();
        let (b, mut b_socket) = f.client();
        b.proto.store(3, Ordering::SeqCst);
        assert_eq!(f.pubsub.subscribe(&a, Topic::Channel, b"x"), 1);
        assert_eq!(f.pubsub.subscribe(&a, Topic::Pattern, b"x*"), 2);
        assert_eq!(f.pubsub.subscribe(&a, Topic::Pattern, b"x*"), 2);
        assert_eq!(f.pubsub.subscribe(&a, Topic::Shard, b"x"), 1);
        f.pubsub.subscribe(&b, Topic::Channel, b"x");
        [&a, &b].into_iter().for_each(|client| f.release(client));
        assert_eq!(f.pubsub.receivers(Topic::Channel, b"x"), 3);
        assert_eq!(f.publish(Topic::Channel, "x", "m"), 3);
        assert_eq!(f.publish(Topic::Channel, "xy", "m"), 1);
        assert_eq!(f.publish(Topic::Shard, "x", "m"), 1);
        assert_eq!(f.publish(Topic::Shard, "xy", "m"), 0);
        let expected = "*3 $7 message $1 x $1 m *4 $8 pmessage $2 x* $1 x $1 m \
                        *4 $8 pmessage $2 x* $2 xy $1 m *3 $8 smessage $1 x $1 m ";
        assert_eq!(received(&a, &mut a_socket), expected);
        assert_eq!(received(&b, &mut b_socket), ">3 $7 message $1 x $1 m ");
        assert_eq!(f.pubsub.unsubscribe(&a, Topic::Channel, b"x"), 1);
        assert_eq!(f.pubsub.unsubscribe(&a, Topic::Channel, b"nosuch"), 1);
        assert_eq!(f.publish(Topic::Channel, "x", "m"), 2);
    }

    #[test]
    fn nothing_is_left_of_those_who_leave() {
        let f = Fixture::new();
        let (a, _a_socket) = f.client();
        let (b, _b_socket) = f.client();
        for (topic, name) in [(Topic::Channel, "c"), (Topic::Pattern, "p"), (Topic::Shard, "s")] {
            f.pubsub.subscribe(&a, topic, name.as_bytes());
        }
        f.pubsub.subscribe(&b, Topic::Channel, b"c");
        assert_eq!((f.pubsub.clients(), f.pubsub.count(Topic::Channel)), (2, 1));
        assert!(a.has(flag::PUBSUB));
        f.pubsub.leave(&a);
        f.pubsub.leave(&a);
        assert!(!a.has(flag::PUBSUB | flag::HELD));
        assert_eq!(f.pubsub.subscribers(Topic::Channel, b"c"), 1);
        assert_eq!((f.pubsub.count(Topic::Pattern), f.pubsub.count(Topic::Shard)), (0, 0));
        assert!(f.pubsub.is_heard());
        f.pubsub.unsubscribe(&b, Topic::Channel, b"c");
        assert_eq!((f.pubsub.clients(), f.pubsub.is_heard()), (0, false));
    }

    #[test]
    fn a_held_client_gets_its_messages_later_and_in_order() {
        let f = Fixture::new();
        let (a, mut socket) = f.client();
        f.pubsub.subscribe(&a, Topic::Channel, b"x");
        assert_eq!(f.publish(Topic::Channel, "x", "1"), 1);
        let queued = ["2", "3"].map(|text| Message {
            topic: Topic::Channel,
            channel: b"x".to_vec(),
            text: text.into(),
        });
        let queued = queued.map(Notice::Message);
        f.pubsub.enqueue(queued);
        assert!(f.pubsub.has_queued());
        f.pubsub.deliver_queued(&mut f.outlet());
        assert!(!f.pubsub.has_queued());
        // Even what came before it unsubscribed.
        f.pubsub.unsubscribe(&a, Topic::Channel, b"x");
        assert_eq!(received(&a, &mut socket), "");
        let reply = Chunk::Owned(b"+OK\r\n".to_vec());
        let mut outlet = f.outlet();
        let limit = outlet.limits.subscriber;
        f.pubsub.release(&mut outlet, &a, || {
            f.clients.push(&a, reply, limit);
        });
        let texts = |n: u8| format!("*3 $7 message $1 x $1 {n} ");
        assert_eq!(received(&a, &mut socket), format!("+OK {}{}{}", texts(1), texts(2), texts(3)));
        assert_eq!(f.pubsub.clients(), 0);
    }

    #[test]
    fn monitors_are_shown_commands_in_their_order_among_messages() {
        let f = Fixture::new();
        let (a, mut socket) = f.client();
        assert!(f.pubsub.watch(&a) && !f.pubsub.watch(&a) && f.pubsub.is_watched());
        f.pubsub.subscribe(&a, Topic::Channel, b"x");
        let message =
            Message { topic: Topic::Channel, channel: b"x".to_vec(), text: b"2".to_vec() };
        let line = |text: &str| Notice::Command(text.into());
        f.pubsub.enqueue([line("+1\r\n"), Notice::Message(message), line("+3\r\n")]);
        f.pubsub.deliver_queued(&mut f.outlet());
        assert_eq!(received(&a, &mut socket), "");
        f.release(&a);
        f.pubsub.enqueue([line("+4\r\n")]);
        f.pubsub.deliver_queued(&mut f.outlet());
        assert_eq!(received(&a, &mut socket), "+1 *3 $7 message $1 x $1 2 +3 +4 ");
        f.pubsub.unwatch(&a);
        f.pubsub.leave(&a);
        assert!(!a.has(flag::MONITOR | flag::PUBSUB) && !f.pubsub.is_watched());
        f.pubsub.enqueue([line("+5\r\n")]);
        f.pubsub.deliver_queued(&mut f.outlet());
        assert_eq!(received(&a, &mut socket), "");
    }

    #[test]
    fn receivers_share_the_bytes_and_who_does_not_read_is_cut() {
        let f = Fixture::new();
        let subscribers: Vec<_> = (0..10).map(|_| f.client()).collect();
        for (client, _) in &subscribers {
            f.pubsub.subscribe(client, Topic::Channel, b"x");
            f.release(client);
        }
        let text = vec![b'.'; 900_000];
        let message = Message { topic: Topic::Channel, channel: b"x".to_vec(), text };
        let mut outlet = f.outlet();
        assert_eq!(f.pubsub.publish(&mut outlet, &message), 10);
        assert!(outlet.cut.is_empty() && outlet.bytes > 9_000_000);
        assert_eq!(f.pubsub.publish(&mut outlet, &message), 10);
        assert_eq!(outlet.cut.len(), 10);
        assert!(subscribers.iter().all(|(client, _)| client.has(flag::KILLED)));
    }
}
