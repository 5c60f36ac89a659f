//! MIGRATE: keys move to another server, by RESTORE there and a removal here.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::{clock, lzf, num};
use crate::data::Value;
use crate::engine::session::Rest;
use crate::engine::spec::access::{ACCESS, DELETE, INCOMPLETE, RW};
use crate::engine::spec::flag::{DANGEROUS, KEYSPACE, MOVABLEKEYS, NO_MULTI};
use crate::engine::{Args, Command, Ctx, Group, KeySpec, Reply};
use crate::rdb;
use crate::resp::error::Error;
use crate::resp::out::Out;
use crate::state::Server;
use crate::state::migrate::Target;
use crate::store::EventClasses;
use crate::store::waiting::Touched;

const BEHIND_KEYS: KeySpec = KeySpec::all_behind("KEYS", -2, RW | ACCESS | DELETE | INCOMPLETE)
    .past(6, &[("COPY", 0), ("REPLACE", 0), ("AUTH", 1), ("AUTH2", 2)]);

/// The commands of this file.
///
/// Other than in Redis it cannot be part of a transaction, which would keep others from all its
/// keys for as long as the other server takes.
pub const COMMANDS: &[Command] = &[Command::new("migrate", migrate)
    .group(Group::Generic)
    .since("2.6.0")
    .write()
    .flags(KEYSPACE | DANGEROUS | MOVABLEKEYS | NO_MULTI)
    .arity(-6)
    .keys(&[KeySpec::at(3, RW | ACCESS | DELETE).unless(&BEHIND_KEYS), BEHIND_KEYS])
    .syntax(
        "host port <key-selector: key | \"\"=empty-string> destination-db timeout [COPY@3.0.0] \
         [REPLACE@3.0.0] [authentication: AUTH password=auth@4.0.7 | <auth2@6.0.0: AUTH2 username \
         password>] [KEYS key=keys@3.0.6 [key ...]]",
    )
    .complexity("O(N) where N is the length of the values")
    .history(&[
        ("3.0.0", "The options `COPY`, `REPLACE`."),
        ("3.0.6", "The option `KEYS`."),
        ("4.0.7", "The option `AUTH`."),
        ("6.0.0", "The option `AUTH2`."),
    ])
    .summary("Moves keys to another server.")
    .tips(&["nondeterministic_output"])];

const KEY_NOT_EMPTY: Error = Error::new(
    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
);
const CHANGED: Error =
    Error::new("ERR Keys have changed while they were transferred, and were not removed here");

/// The time-out in place of one that is no time.
const DEFAULT_TIMEOUT_MS: u64 = 1000;

/// Where keys go, and how.
struct Order {
    host: Vec<u8>,
    port: Vec<u8>,
    db: i64,
    timeout: Duration,
    copy: bool,
    replace: bool,
    /// The user's name, if there is one, and the password.
    auth: Vec<Vec<u8>>,
    compress: bool,
}

/// A key on its way.
struct Parcel {
    key: Vec<u8>,
    value: Value,
    /// Unix ms, if it has one.
    deadline: Option<i64>,
    /// Set when it changes here meanwhile.
    touched: Touched,
    /// Whether the other server has it.
    arrived: bool,
}

/// Keys that are sent, or were.
struct Shipment {
    order: Order,
    /// The database that they are from.
    db: usize,
    parcels: Vec<Parcel>,
    /// Why not all went well.
    error: Option<Error>,
}

/// MIGRATE host port <key | ""> destination-db timeout [COPY] [REPLACE] [AUTH password |
/// AUTH2 username password] [KEYS key [key ...]]
fn migrate(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if ctx.in_exec {
        return Err(Error::NOT_IN_MULTI);
    }
    // Also the second time, to have the secrets hidden.
    let (order, keys) = parse(ctx, args)?;
    if let Some(rest) = ctx.session.rest.take() {
        return rest.go_on(ctx);
    }
    let db = ctx.db.index();
    let mut parcels = Vec::new();
    for key in keys {
        let Some(entry) = ctx.db.read(key) else { continue };
        // A clone is cheap: the value is encoded when the shard is free again.
        let (value, deadline) = (entry.value().into_owned(), entry.expire_at());
        let touched = Touched::default();
        ctx.db.watch(key, &touched);
        parcels.push(Parcel { key: key.to_vec(), value, deadline, touched, arrived: false });
    }
    if parcels.is_empty() {
        return ctx.reply.simple("NOKEY");
    }
    let mut shipment = Box::new(Shipment { order, db, parcels, error: None });
    ctx.send_out(Box::new(move |server| {
        shipment.error = shipment.send(server);
        shipment
    }))
}

fn parse<'a>(ctx: &mut Ctx, args: &mut Args<'a>) -> Result<(Order, &'a [&'a [u8]]), Error> {
    let (host, port, first) = (args.bytes()?, args.bytes()?, args.take(1)?);
    let (db, timeout) = (args.bytes()?, args.bytes()?);
    let mut order = Order {
        host: host.to_vec(),
        port: port.to_vec(),
        db: 0,
        timeout: Duration::ZERO,
        copy: false,
        replace: false,
        auth: Vec::new(),
        compress: ctx.settings.rdbcompression,
    };
    let mut keys = first;
    while !args.is_empty() {
        if args.word("copy") {
            order.copy = true;
        } else if args.word("replace") {
            order.replace = true;
        } else if args.word("auth") {
            order.auth = secrets(ctx, args, 1)?;
        } else if args.word("auth2") {
            order.auth = secrets(ctx, args, 2)?;
        } else if args.word("keys") {
            if !first[0].is_empty() {
                return Err(KEY_NOT_EMPTY);
            }
            keys = args.take_rest();
        } else {
            return Err(Error::SYNTAX);
        }
    }
    let timeout_ms = num::parse_i64(timeout).ok_or(Error::NOT_INTEGER)?;
    order.db = num::parse_i64(db).ok_or(Error::NOT_INTEGER)?;
    let timeout_ms = u64::try_from(timeout_ms).ok().filter(|&ms| ms > 0);
    order.timeout = Duration::from_millis(timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS));
    Ok((order, keys))
}

/// Takes arguments that nobody else is shown.
fn secrets(ctx: &mut Ctx, args: &mut Args, count: usize) -> Result<Vec<Vec<u8>>, Error> {
    let first = args.argv().len() - args.left();
    let secrets = args.take(count)?;
    (first..first + count).for_each(|index| ctx.redact(index));
    Ok(secrets.iter().map(|secret| secret.to_vec()).collect())
}

const NOT_CONNECTED: Error = Error::new("IOERR error or timeout connecting to the client");
const NOT_WRITTEN: Error = Error::new("IOERR error or timeout writing to target instance");
const NOT_READ: Error = Error::new("IOERR error or timeout reading from target instance");

/// A connection that is of no use any more.
struct Broken {
    /// Whether it was only too slow.
    timed_out: bool,
    report: Error,
}

impl Broken {
    fn new(error: &io::Error, report: Error) -> Self {
        Broken { timed_out: error.kind() == ErrorKind::TimedOut, report }
    }
}

/// What is reported of a server that cannot be reached. Redis learns of one that refuses or does
/// not answer only when it writes.
fn unreachable_report(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::TimedOut => NOT_WRITTEN,
        _ => NOT_CONNECTED,
    }
}

impl Shipment {
    /// Sends the keys, and notes which have arrived; the error to report, if there is one.
    fn send(&mut self, server: &Server) -> Option<Error> {
        let mut may_retry = true;
        loop {
            let (order, targets) = (&self.order, &server.targets);
            let mut target = match targets.take(&order.host, &order.port, order.timeout) {
                Ok(target) => target,
                Err(e) => return Some(unreachable_report(&e)),
            };
            match self.send_over(server, &mut target) {
                Ok(refusal) => {
                    target.db = refusal.is_none().then_some(self.order.db);
                    targets.keep(target);
                    return refusal;
                }
                // One that was kept may have been closed meanwhile.
                Err(broken) if may_retry && !broken.timed_out && self.is_unanswered() => {
                    may_retry = false;
                }
                Err(broken) => return Some(broken.report),
            }
        }
    }

    /// Whether nothing is known to have arrived.
    fn is_unanswered(&self) -> bool {
        self.parcels.iter().all(|parcel| !parcel.arrived)
    }

    /// Sends the keys over this connection. What the other server refuses is returned, the first
    /// of it.
    fn send_over(&mut self, server: &Server, target: &mut Target) -> Result<Option<Error>, Broken> {
        let unwritten = |e: io::Error| Broken::new(&e, NOT_WRITTEN);
        let unread = |e: io::Error| Broken::new(&e, NOT_READ);
        let (order, timeout) = (&self.order, self.order.timeout);
        let db = order.db.to_string();
        let mut request = Vec::new();
        let mut preambles = 0;
        if !order.auth.is_empty() {
            let words = order.auth.iter().map(Vec::as_slice);
            push(&mut request, std::iter::once(&b"AUTH"[..]).chain(words));
            preambles += 1;
        }
        if target.db != Some(order.db) {
            push(&mut request, [b"SELECT", db.as_bytes()].into_iter());
            preambles += 1;
        }
        let packer = order.compress.then_some(&server.spare_packer);
        for parcel in &self.parcels {
            parcel.push_to(&mut request, order, packer);
            target.send(server, &request, timeout).map_err(unwritten)?;
            request.clear();
        }
        let mut refusal = None;
        for _ in 0..preambles {
            let line = target.read_line(server, timeout).map_err(unread)?;
            note_refusal(&mut refusal, &line);
        }
        let is_refused = refusal.is_some();
        for parcel in &mut self.parcels {
            let line = match (target.read_line(server, timeout), &refusal) {
                (Ok(line), _) => line,
                (Err(e), None) => return Err(unread(e)),
                // What the other server has said explains more, and forbids another try.
                (Err(_), Some(refusal)) => {
                    return Err(Broken { timed_out: true, report: refusal.clone() });
                }
            };
            parcel.arrived = !note_refusal(&mut refusal, &line) && !is_refused;
        }
        Ok(refusal)
    }
}

impl Parcel {
    /// Writes the request that makes the key there.
    fn push_to(&self, request: &mut Vec<u8>, order: &Order, packer: Option<&lzf::Spare>) {
        let payload = rdb::dump(&self.value, packer);
        let left = |at: i64| (at - clock::unix_ms()).max(1);
        let ttl = self.deadline.map_or(0, left).to_string();
        let words: [&[u8]; 5] = [b"RESTORE", &self.key, ttl.as_bytes(), &payload, b"REPLACE"];
        push(request, words.into_iter().take(if order.replace { 5 } else { 4 }));
    }
}

/// Writes a request.
fn push<'a>(request: &mut Vec<u8>, words: impl Iterator<Item = &'a [u8]> + Clone) {
    let mut out = Out::new();
    out.array(words.clone().count());
    words.for_each(|word| out.bulk(word));
    out.chunks().for_each(|chunk| request.extend_from_slice(chunk));
}

/// Whether an answer is an error, of which the first is reported.
fn note_refusal(first: &mut Option<Error>, line: &[u8]) -> bool {
    let Some(text) = line.strip_prefix(b"-") else { return false };
    first.get_or_insert_with(|| {
        Error::quoting("ERR Target instance replied with error: ", text, "")
    });
    true
}

impl Rest for Shipment {
    /// Removes what has arrived. A key that was changed meanwhile, which cannot happen in Redis,
    /// stays: the other server has it as it was, and here it is as it is now, so that nothing is
    /// lost, and the client is told.
    fn go_on(mut self: Box<Self>, ctx: &mut Ctx) -> Reply {
        let mut effect: Vec<&[u8]> = vec![b"DEL"];
        let mut removed = HashSet::new();
        let mut changed = false;
        for parcel in &self.parcels {
            let key = parcel.key.as_slice();
            ctx.db.unwatch(key, &parcel.touched);
            if !parcel.arrived || self.order.copy {
                continue;
            }
            if parcel.touched.load(Ordering::Relaxed) {
                // It may have been named twice, or its time has come here as there.
                let is_over = parcel.deadline.is_some_and(|at| at < ctx.now_ms);
                let is_expected = removed.contains(key) || is_over && !ctx.db.exists(key);
                changed |= !is_expected;
            } else if ctx.db.remove(key) {
                ctx.db.event(EventClasses::GENERIC, "del", key);
                ctx.db.mark_dirty(1);
                effect.push(key);
                removed.insert(key);
            }
        }
        if !removed.is_empty() {
            ctx.effects.replace(&effect);
        }
        let error = self.error.take();
        // The values are freed when the shards are.
        ctx.afterwards(move |_| drop(self));
        match error {
            Some(error) => Err(error),
            None if changed => Err(CHANGED),
            None => ctx.reply.ok(),
        }
    }

    fn give_up(self: Box<Self>, server: &Server) {
        for Parcel { key, touched, .. } in &self.parcels {
            let mut shard = server.keyspace.lock_shard(server.keyspace.shard_of(key));
            shard.waiting.unwatch(self.db, key, touched);
        }
    }
}
