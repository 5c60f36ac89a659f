//! What may not run now, and why: Redis's refusals, in Redis's order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock;

use crate::engine::Engine;
use crate::engine::evict::{self, Room};
use crate::engine::permissions::Request;
use crate::engine::session::{Role, Session};
use crate::engine::spec::{Command, flag};
use crate::engine::table::Known;
use crate::resp::error::Error;
use crate::state::Server;
use crate::state::clients::flag as client;
use crate::state::config::Settings;

/// A command that asks to be executed.
pub struct Asking<'a> {
    /// The server with its commands.
    pub engine: &'a Engine,
    /// The server.
    pub server: &'a Server,
    /// The parameters.
    pub settings: &'a Settings,
    /// The connection.
    pub session: &'a Session,
    /// The command.
    pub known: &'a Known,
    /// Its arguments.
    pub argv: &'a [&'a [u8]],
    /// Its flags, and those of the commands that EXEC is about to run.
    pub reach: Reach,
}

impl Asking<'_> {
    /// Whether it, or one of the commands that EXEC is about to run, writes.
    fn writes(&self) -> bool {
        self.reach.has(flag::WRITE)
    }
}

/// The flags of several commands that are executed together, or of one.
#[derive(Clone, Copy)]
pub struct Reach {
    some: u32,
    all: u32,
}

impl Reach {
    /// Those of one.
    pub fn of(command: &Command) -> Reach {
        Reach { some: command.flags, all: command.flags }
    }

    /// Those of both.
    pub fn and(self, other: Reach) -> Reach {
        Reach { some: self.some | other.some, all: self.all & other.all }
    }

    /// Whether one of the commands has one of these flags.
    pub fn has(self, flags: u32) -> bool {
        self.some & flags != 0
    }

    /// Whether each of them has this flag.
    fn all_have(self, flag: u32) -> bool {
        self.all & flag != 0
    }
}

/// Why the command may not run now, if so: the first refusal that applies.
pub fn refuse(asking: &Asking) -> Option<Error> {
    if asking.session.role != Role::Client {
        // What the primary has done is done.
        return None;
    }
    unauthenticated(asking)
        .or_else(|| not_in_multi(asking))
        .or_else(|| not_permitted(asking))
        .or_else(|| out_of_memory(asking))
        .or_else(|| disk_error(asking))
        .or_else(|| file_error(asking))
        .or_else(|| too_few_replicas(asking))
        .or_else(|| read_only_replica(asking))
        .or_else(|| subscribed(asking))
        .or_else(|| stale_replica(asking))
        .or_else(|| loading(asking))
        .or_else(|| keyspace_of_a_follower(asking))
}

fn unauthenticated(asking: &Asking) -> Option<Error> {
    let refused =
        asking.session.needs_auth(&asking.server.acl) && !asking.known.command.has(flag::NO_AUTH);
    refused.then_some(Error::NOAUTH)
}

fn not_in_multi(asking: &Asking) -> Option<Error> {
    let command = asking.known.command;
    (asking.session.multi.is_some() && command.has(flag::NO_MULTI)).then_some(Error::NOT_IN_MULTI)
}

/// Also writes the refusal down.
fn not_permitted(asking: &Asking) -> Option<Error> {
    let Asking { engine, settings, session, known, argv, .. } = *asking;
    Request { engine, settings, session, known, argv }.refuse()
}

fn out_of_memory(asking: &Asking) -> Option<Error> {
    if asking.settings.maxmemory == 0 {
        return None;
    }
    let room = evict::make_room(asking.engine, asking.settings);
    (asking.reach.has(flag::DENYOOM) && room == Room::None).then_some(Error::OOM)
}

fn disk_error(asking: &Asking) -> Option<Error> {
    let settings = asking.settings;
    let applies = asking.writes() || asking.known.command.has(flag::HEALTH);
    if !applies || !settings.stop_writes_on_bgsave_error || settings.save.is_empty() {
        return None;
    }
    if asking.server.replication.is_replica() {
        return None;
    }
    asking.server.persistence.save_failed.load(Ordering::Relaxed).then_some(Error::MISCONF)
}

/// The append-only file cannot be written.
fn file_error(asking: &Asking) -> Option<Error> {
    if !asking.writes() && !asking.known.command.has(flag::HEALTH) {
        return None;
    }
    asking.server.aof.failure().map(|failure| Error::from(failure.text()))
}

fn too_few_replicas(asking: &Asking) -> Option<Error> {
    let needed = asking.settings.min_replicas_to_write;
    let max_lag = asking.settings.min_replicas_max_lag;
    if !asking.writes() || needed == 0 || max_lag == 0 || asking.server.replication.is_replica() {
        return None;
    }
    let good = asking.server.replication.count_good(max_lag as i64);
    ((good as u64) < needed as u64).then_some(Error::NOREPLICAS)
}

fn read_only_replica(asking: &Asking) -> Option<Error> {
    let refused = asking.writes()
        && asking.settings.replica_read_only
        && asking.server.replication.is_replica();
    refused.then_some(Error::READONLY)
}

/// A subscriber that speaks RESP2 could not tell other replies from messages.
fn subscribed(asking: &Asking) -> Option<Error> {
    let client = &asking.session.handle;
    let refused = client.has(client::PUBSUB)
        && client.proto.load(Ordering::Relaxed) == 2
        && !asking.known.command.has(flag::SUBSCRIBED);
    refused.then(|| {
        let name = asking.known.full_name.as_bytes();
        Error::quoting("ERR Can't execute '", name, ONLY_SUBSCRIBED)
    })
}

const ONLY_SUBSCRIBED: &str = "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
                               are allowed in this context";

fn stale_replica(asking: &Asking) -> Option<Error> {
    let replication = &asking.server.replication;
    let refused = replication.is_replica()
        && !replication.is_link_up()
        && !asking.settings.replica_serve_stale_data
        && !asking.reach.all_have(flag::STALE);
    refused.then_some(Error::MASTERDOWN)
}

/// How long a command waits for a load that has just begun, as behind one that takes no time: no
/// client is told of a file of a few keys.
const SHORT_LOAD_MS: i64 = 100;

fn loading(asking: &Asking) -> Option<Error> {
    let persistence = &asking.server.persistence;
    if persistence.loading_aside.load(Ordering::Relaxed) {
        let disturbs = asking.reach.has(flag::NO_ASYNC_LOADING);
        return disturbs.then_some(Error::LOADING);
    }
    if asking.reach.all_have(flag::LOADING) {
        return None;
    }
    while persistence.loading.load(Ordering::Relaxed) {
        let since_ms = persistence.loading_since_ms.load(Ordering::Relaxed);
        if clock::unix_ms() - since_ms >= SHORT_LOAD_MS {
            return Some(Error::LOADING);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Who gets a stream from us, of writes or of MONITOR, could not tell it from replies with data.
fn keyspace_of_a_follower(asking: &Asking) -> Option<Error> {
    let refused = asking.session.handle.has(client::REPLICA | client::MONITOR)
        && (asking.writes() || asking.known.command.has(flag::READONLY | flag::MAY_REPLICATE));
    refused.then_some(Error::REPLICA_KEYSPACE)
}
