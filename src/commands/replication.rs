//! Replication: REPLICAOF, ROLE, WAIT, FAILOVER, and what replicas send: PSYNC, SYNC, REPLCONF.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::{num, quote};
use crate::engine::ctx::Woken;
use crate::engine::session::{Role, Takeover};
use crate::engine::spec::Group;
use crate::engine::spec::flag::{
    ADMIN, ALLOW_BUSY, FAST, LOADING, NO_ASYNC_LOADING, NO_MULTI, NOSCRIPT, STALE, SYSTEM,
    UNPAUSABLE,
};
use crate::engine::{Args, Command, Ctx, Reply};
use crate::resp::error::{self, Error};
use crate::state::aof::Mode;
use crate::state::clients::{Unblock, flag};
use crate::state::replication::{Failover, LinkState, Replica, ReplicaState, Wants};
use crate::state::{FailoverPlan, Job};

/// The commands of this file.
pub const COMMANDS: &[Command] = &[
    Command::new("replicaof", replicaof)
        .since("5.0.0")
        .arity(3)
        .flags(ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING)
        .locks_all()
        .syntax("<args: host port | NO ONE>")
        .complexity("O(1)")
        .summary("Follows a primary, or becomes one."),
    Command::new("slaveof", replicaof)
        .since("1.0.0")
        .arity(3)
        .flags(ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING)
        .locks_all()
        .syntax("<args: host port | NO ONE>")
        .complexity("O(1)")
        .summary("Follows a primary, or becomes one.")
        .deprecated("5.0.0", "`REPLICAOF`"),
    Command::new("role", role)
        .since("2.8.12")
        .arity(1)
        .flags(NOSCRIPT | LOADING | STALE | FAST)
        .categories(&["admin", "dangerous"])
        .complexity("O(1)")
        .summary("Tells the role of this server and who is at the other end."),
    Command::new("wait", wait)
        .group(Group::Generic)
        .since("3.0.0")
        .arity(3)
        .categories(&["connection"])
        .syntax("numreplicas timeout")
        .complexity("O(1)")
        .summary("Waits until replicas have confirmed the writes of this connection.")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    Command::new("waitaof", waitaof)
        .group(Group::Generic)
        .since("7.2.0")
        .flags(NOSCRIPT)
        .arity(4)
        .categories(&["connection"])
        .syntax("numlocal numreplicas timeout")
        .complexity("O(1)")
        .summary("Waits until this connection's writes are in append-only files on disks.")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"]),
    Command::new("failover", failover)
        .since("6.2.0")
        .arity(-1)
        .flags(ADMIN | NOSCRIPT | STALE)
        .locks_all()
        .syntax("[target: TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]")
        .complexity("O(1)")
        .summary("Hands the role of primary to a replica that has caught up."),
    Command::new("psync", psync)
        .since("2.8.0")
        .arity(-3)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI | UNPAUSABLE)
        .locks_all()
        .syntax("replicationid offset")
        .summary("What a replica sends to get the stream."),
    Command::new("sync", sync)
        .since("1.0.0")
        .arity(1)
        .flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI | UNPAUSABLE)
        .summary("What a replica of old sends to get the stream."),
    Command::new("replconf", replconf)
        .since("3.0.0")
        .arity(-1)
        .flags(ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY | UNPAUSABLE | SYSTEM)
        .complexity("O(1)")
        .summary("What replicas tell of themselves and confirm."),
];

/// REPLICAOF host port | NO ONE
fn replicaof(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let (host, port) = (args.bytes()?, args.bytes()?);
    let server = ctx.server;
    if *server.replication.failover.lock() != Failover::None {
        return Err(Error::new("ERR REPLICAOF not allowed while failing over."));
    }
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        if server.replication.is_replica() {
            promote(ctx);
        }
        return ctx.reply.ok();
    }
    if ctx.session.handle.has(flag::REPLICA) {
        return Err(Error::new("ERR Command is not valid when client is a replica."));
    }
    let port = num::parse_i64(port).filter(|port| (0..=65535).contains(port));
    let port = port.ok_or(Error::INVALID_MASTER_PORT)? as u16;
    let host = String::from_utf8_lossy(host).into_owned();
    if server.replication.link().primary == Some((host.clone(), port)) {
        server.logger.notice(
            "REPLICAOF would result into synchronization with the master we are already connected \
             with. No operation performed.",
        );
        return ctx.reply.simple("OK Already connected to specified master");
    }
    server.become_replica((host, port));
    ctx.reply.ok()
}

/// Ends being a replica.
fn promote(ctx: &mut Ctx) {
    ctx.server.become_primary();
    let client = format!("id={} addr={}", ctx.session.handle.id, ctx.session.handle.addr);
    ctx.server.logger.notice(&format!("MASTER MODE enabled (user request from '{client}')"));
}

/// ROLE
fn role(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    let server = ctx.server;
    let offset = i64::try_from(server.log.offset()).unwrap_or(i64::MAX);
    let link = server.replication.link();
    let out = ctx.reply.parts();
    if let Some((host, port)) = &link.primary {
        let state = match link.state {
            LinkState::None => "none",
            LinkState::Connect => "connect",
            LinkState::Handshake => "handshake",
            LinkState::Sync => "sync",
            LinkState::Connected => "connected",
        };
        let known = matches!(link.state, LinkState::Connected) || link.resumable;
        out.array(5);
        out.bulk(b"slave");
        out.bulk(host.as_bytes());
        out.int(i64::from(*port));
        out.bulk(state.as_bytes());
        out.int(if known { offset } else { -1 });
        return ctx.reply.done();
    }
    drop(link);
    let mut replicas = server.replication.replicas();
    replicas.retain(|replica| replica.state() == ReplicaState::Online);
    out.array(3);
    out.bulk(b"master");
    out.int(offset);
    out.array(replicas.len());
    for replica in replicas {
        out.array(3);
        out.bulk(replica.ip.as_bytes());
        out.bulk(replica.port.to_string().as_bytes());
        out.bulk(replica.acked.load(Ordering::SeqCst).to_string().as_bytes());
    }
    ctx.reply.done()
}

/// WAIT numreplicas timeout
fn wait(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let server = ctx.server;
    if server.replication.is_replica() {
        return Err(Error::WAIT_ON_REPLICA);
    }
    let wanted = args.int()?;
    let timeout = args.timeout_ms()?;
    let offset = ctx.session.last_write;
    let reached = || server.replication.count_acked(offset);
    let enough = || {
        let replication = &server.replication;
        replication.is_replica() || i64::try_from(reached()).unwrap_or(i64::MAX) >= wanted
    };
    if !enough() && !ctx.in_exec {
        wait_for_confirmations(ctx, timeout, enough)?;
    }
    ctx.reply.count(reached())
}

/// WAITAOF numlocal numreplicas timeout
fn waitaof(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let server = ctx.server;
    let local = args.int()?;
    if !(0..=1).contains(&local) {
        return Err(Error::LOCAL_OUT_OF_RANGE);
    }
    let wanted = args.int()?;
    if wanted < 0 {
        return Err(Error::NOT_POSITIVE);
    }
    let timeout = args.timeout_ms()?;
    if server.replication.is_replica() {
        return Err(Error::WAITAOF_ON_REPLICA);
    }
    let is_off = || local > 0 && !server.config.get().appendonly;
    if is_off() {
        return Err(Error::WAITAOF_WITHOUT_AOF);
    }
    let (offset, file) = (ctx.session.last_write, ctx.session.last_file);
    let synced = || server.aof.mode() == Mode::On && server.aof.has_synced(file);
    let reached = || server.replication.count_synced(offset);
    let enough = || {
        let enough_replicas = i64::try_from(reached()).unwrap_or(i64::MAX) >= wanted;
        server.replication.is_replica()
            || is_off()
            || (i64::from(synced()) >= local && enough_replicas)
    };
    if !enough() && !ctx.in_exec {
        wait_for_confirmations(ctx, timeout, enough)?;
        if is_off() {
            return Err(Error::WAITAOF_WITHOUT_AOF);
        }
    }
    let out = ctx.reply.parts();
    out.array(2);
    out.int(i64::from(synced()));
    out.int(i64::try_from(reached()).unwrap_or(i64::MAX));
    ctx.reply.done()
}

/// Asks the replicas how far they are, and waits until that is enough or the time is over.
fn wait_for_confirmations(
    ctx: &mut Ctx,
    timeout_ms: u64,
    enough: impl FnMut() -> bool,
) -> Result<(), Error> {
    let server = ctx.server;
    let deadline = match timeout_ms {
        0 => None,
        ms => Some(Instant::now().checked_add(Duration::from_millis(ms)))
            .map(|at| at.ok_or(Error::TIMEOUT_RANGE))
            .transpose()?,
    };
    let handle = Arc::clone(&ctx.session.handle);
    // The bell first, so that no confirmation goes unheard between the question and the wait.
    let _ = handle.waker();
    server.replication.begin_wait(&handle);
    if server.replication.has_online() {
        server.log.append_control(&[b"REPLCONF", b"GETACK", b"*"]);
    }
    let woken = ctx.wait(deadline, enough);
    server.replication.end_wait(&handle);
    match woken {
        Woken::Unblocked(Unblock::Error) => Err(Error::UNBLOCKED),
        Woken::Unblocked(Unblock::RoleChange) => Err(void_on_replica(ctx)),
        _ if server.replication.is_replica() => Err(void_on_replica(ctx)),
        _ => Ok(()),
    }
}

/// Ends a wait that the change to a replica has made void; the client is to look for the primary
/// anew.
fn void_on_replica(ctx: &mut Ctx) -> Error {
    ctx.session.close = true;
    Error::UNBLOCKED_BY_ROLE
}

/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]
fn failover(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let server = ctx.server;
    let plan = match parse_failover(args)? {
        Some(plan) => plan,
        None => return abort_failover(ctx),
    };
    let mut state = server.replication.failover.lock();
    if *state != Failover::None {
        return Err(Error::new("ERR FAILOVER already in progress."));
    }
    if server.replication.is_replica() {
        return Err(Error::new("ERR FAILOVER is not valid when server is a replica."));
    }
    let replicas = server.replication.replicas();
    if replicas.is_empty() {
        return Err(Error::new("ERR FAILOVER requires connected replicas."));
    }
    if let Some((host, port)) = &plan.target {
        let target = replicas.iter().find(|r| r.ip == *host && r.port == *port);
        let Some(target) = target else {
            return Err(Error::new("ERR FAILOVER target HOST and PORT is not a replica."));
        };
        if target.state() != ReplicaState::Online {
            return Err(Error::new("ERR FAILOVER target replica is not online."));
        }
    }
    *state = Failover::Waiting;
    drop(state);
    server.logger.notice("FAILOVER requested.");
    // All shards are held, so no write is half-way through.
    server.pause.hold_writes();
    server.start_job(Job::Failover(plan));
    ctx.reply.ok()
}

/// The options; `None` for ABORT.
fn parse_failover(args: &mut Args) -> Result<Option<FailoverPlan>, Error> {
    let mut plan = FailoverPlan { target: None, timeout: None, force: false };
    if args.left() == 1 && args.word("abort") {
        return Ok(None);
    }
    while !args.is_empty() {
        if plan.timeout.is_none() && args.left() > 1 && args.word("timeout") {
            let ms = args.int()?;
            if ms <= 0 {
                return Err(Error::new("ERR FAILOVER timeout must be greater than 0"));
            }
            plan.timeout = Some(Duration::from_millis(ms as u64));
        } else if plan.target.is_none() && args.left() > 2 && args.word("to") {
            let host = String::from_utf8_lossy(args.bytes()?).into_owned();
            let port = args.int()?;
            plan.target = Some((host, u16::try_from(port).map_err(|_| Error::NOT_INTEGER)?));
        } else if !plan.force && plan.target.is_some() && args.word("force") {
            plan.force = true;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    if plan.force && plan.timeout.is_none() {
        return Err(Error::new(
            "ERR FAILOVER with force option requires both a timeout and target \
                               HOST and IP.",
        ));
    }
    Ok(Some(plan))
}

fn abort_failover(ctx: &mut Ctx) -> Reply {
    let server = ctx.server;
    let mut state = server.replication.failover.lock();
    match std::mem::replace(&mut *state, Failover::None) {
        Failover::None => Err(Error::new("ERR No failover in progress.")),
        Failover::Waiting => {
            drop(state);
            server.pause.let_writes_go();
            ctx.reply.ok()
        }
        Failover::InProgress => {
            drop(state);
            promote(ctx);
            server.pause.let_writes_go();
            ctx.reply.ok()
        }
    }
}

/// PSYNC replicationid offset
fn psync(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if ctx.session.handle.has(flag::REPLICA) {
        return ctx.reply.none();
    }
    let (id, offset) = (args.bytes()?, args.bytes()?);
    if let Some(word) = args.peek() {
        if !word.eq_ignore_ascii_case(b"failover") {
            return Err(Error::SYNTAX);
        }
        take_role_over(ctx, id)?;
    }
    check_link(ctx)?;
    let Some(offset) = num::parse_i64(offset) else {
        let (ip, port) = (replica_ip(ctx), ctx.session.replica.port);
        let message =
            format!("Replica {ip}:{port} asks for synchronization but with a wrong offset");
        ctx.server.logger.warning(&message);
        return Err(Error::NOT_INTEGER);
    };
    let stats = &ctx.server.stats;
    let id_text = String::from_utf8_lossy(id).into_owned();
    let resumed = u64::try_from(offset)
        .ok()
        .filter(|next| *next > 0)
        .and_then(|next| ctx.server.log.resume(&id_text, next));
    if let Some(reader) = resumed {
        stats.sync_partial_ok.fetch_add(1, Ordering::Relaxed);
        ctx.session.takeover = Some(Takeover::Stream(reader));
        let acked = u64::try_from(offset).unwrap_or(0) - 1;
        become_replica(ctx, Wants::Psync, ReplicaState::Online, acked);
        let name = ctx.session.handle.addr.to_string();
        let message = format!("Partial resynchronization request from {name} accepted.");
        ctx.server.logger.notice(&message);
        return if ctx.session.replica.psync2 {
            let id = ctx.server.log.identity().id;
            ctx.reply.simple(&format!("CONTINUE {id}"))
        } else {
            ctx.reply.simple("CONTINUE")
        };
    }
    if id != b"?" {
        stats.sync_partial_err.fetch_add(1, Ordering::Relaxed);
        let message =
            format!("Partial resynchronization not accepted: id {id_text} offset {offset}");
        ctx.server.logger.notice(&message);
    }
    full_sync(ctx, Wants::Psync)
}

/// PSYNC ... FAILOVER: the primary hands its role to us.
fn take_role_over(ctx: &mut Ctx, id: &[u8]) -> Result<(), Error> {
    if !ctx.server.replication.is_replica() {
        return Err(Error::new("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    if id != ctx.server.log.identity().id.as_bytes() {
        return Err(Error::new("ERR PSYNC FAILOVER replid must match my replid."));
    }
    promote(ctx);
    Ok(())
}

/// SYNC
fn sync(ctx: &mut Ctx, _args: &mut Args) -> Reply {
    if ctx.session.handle.has(flag::REPLICA) {
        return ctx.reply.none();
    }
    check_link(ctx)?;
    let wants = if ctx.session.replica.rdb_only { Wants::SnapshotOnly } else { Wants::Sync };
    full_sync(ctx, wants)
}

/// A replica without its primary has nothing to give.
fn check_link(ctx: &Ctx) -> Result<(), Error> {
    let replication = &ctx.server.replication;
    if replication.is_replica() && !replication.is_link_up() {
        return Err(Error::SYNC_NO_LINK);
    }
    Ok(())
}

fn full_sync(ctx: &mut Ctx, wants: Wants) -> Reply {
    ctx.server.stats.sync_full.fetch_add(1, Ordering::Relaxed);
    ctx.session.takeover = Some(Takeover::Snapshot);
    become_replica(ctx, wants, ReplicaState::WaitSnapshot, 0);
    // Id, offset and snapshot come from the thread that makes the snapshot.
    ctx.reply.none()
}

/// Where a replica can be reached, as far as is known.
fn replica_ip(ctx: &Ctx) -> String {
    let peer = ctx.session.handle.addr.rsplit_once(':').map_or("", |(ip, _)| ip);
    ctx.session.replica.ip.clone().unwrap_or_else(|| peer.trim_matches(['[', ']']).into())
}

fn become_replica(ctx: &mut Ctx, wants: Wants, state: ReplicaState, acked: u64) {
    let handle = &ctx.session.handle;
    handle.set(flag::REPLICA, true);
    let ip = replica_ip(ctx);
    let port = ctx.session.replica.port;
    ctx.server.logger.notice(&format!("Replica {ip}:{port} asks for synchronization"));
    // Who takes a snapshot of unknown length is a real replica, and those confirm.
    let confirms = ctx.session.replica.eof;
    let keyless = ctx.session.replica.keyless;
    let replica = Replica::new(Arc::clone(handle), ip, port, wants, keyless, confirms, state);
    replica.acked.store(acked, Ordering::SeqCst);
    ctx.server.replication.add(Arc::new(replica));
}

/// REPLCONF option value [option value ...]
fn replconf(ctx: &mut Ctx, args: &mut Args) -> Reply {
    if !args.left().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    while !args.is_empty() {
        let option = args.bytes()?.to_ascii_lowercase();
        match option.as_slice() {
            b"listening-port" => {
                let port = args.int()?;
                ctx.session.replica.port = u16::try_from(port).map_err(|_| Error::NOT_INTEGER)?;
            }
            b"ip-address" => {
                let ip = args.bytes()?;
                if ip.len() > IP_MAX {
                    return Err(Error::from(format!(
                        "ERR REPLCONF ip-address provided by replica instance is too long: {} \
                         bytes",
                        ip.len()
                    )));
                }
                ctx.session.replica.ip = Some(String::from_utf8_lossy(ip).into_owned());
            }
            b"capa" => {
                let capability = args.bytes()?;
                ctx.session.replica.psync2 |= capability.eq_ignore_ascii_case(b"psync2");
                ctx.session.replica.eof |= capability.eq_ignore_ascii_case(b"eof");
            }
            b"ack" => return acknowledged(ctx, args),
            b"getack" => return confirm(ctx),
            b"rdb-filter-only" => {
                filter_snapshot(args.bytes()?)?;
                ctx.session.replica.keyless = true;
            }
            b"rdb-only" => ctx.session.replica.rdb_only = args.int()? == 1,
            _ => {
                return Err(error::Error::quoting(
                    "ERR Unrecognized REPLCONF option: ",
                    &option,
                    "",
                ));
            }
        }
    }
    ctx.reply.ok()
}

/// Looks at the kinds of things that a replica wants to have in its snapshot, and nothing else.
/// There are no functions here, so that any such snapshot has no keys and is empty.
fn filter_snapshot(kinds: &[u8]) -> Result<(), Error> {
    let kinds = quote::split_args(kinds);
    let kinds = kinds.ok_or(Error::new("ERR Missing rdb-filter-only values"))?;
    match kinds.iter().find(|kind| !kind.eq_ignore_ascii_case(b"functions")) {
        Some(kind) => Err(Error::quoting("ERR Unsupported rdb-filter-only option: ", kind, "")),
        None => Ok(()),
    }
}

/// Longest address that a replica may announce.
const IP_MAX: usize = 46;

/// REPLCONF ACK offset [FACK offset]
fn acknowledged(ctx: &mut Ctx, args: &mut Args) -> Reply {
    let handle = &ctx.session.handle;
    if handle.has(flag::REPLICA)
        && let Some(offset) = num::parse_u64(args.bytes()?)
    {
        let synced = if args.word("FACK") { num::parse_u64(args.bytes()?) } else { None };
        ctx.server.replication.acknowledge(handle.id, offset, synced);
    }
    ctx.reply.none()
}

/// REPLCONF GETACK *, which only our primary may ask.
fn confirm(ctx: &mut Ctx) -> Reply {
    if ctx.session.role != Role::Primary {
        return ctx.reply.none();
    }
    // The question itself is not in the log yet: it is passed on after it has been answered.
    let confirmation = ctx.server.confirmation();
    let out = ctx.reply.parts();
    out.array(confirmation.len());
    confirmation.iter().for_each(|word| out.bulk(word.as_bytes()));
    ctx.session.reply_to_primary = true;
    ctx.reply.done()
}
