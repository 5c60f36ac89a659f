//! Feeds one replica: its snapshot, then the stream, from the replica's own place in the log.
//!
//! Each replica has a thread of its own that blocks in writing, so a slow or dead one never stalls
//! a writer: it only falls behind in the log, and is let go when it exceeds its limit.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock;
use crate::base::rng::random_id;
use crate::engine::session::Takeover;
use crate::engine::{Engine, Session, client_line};
use crate::log::Read;
use crate::state::clients::ClientHandle;
use crate::state::replication::{Replica, ReplicaState, Spool, SpoolState, Wants};
use crate::state::{Job, Server};

/// Bytes written at a time.
const STEP: usize = 64 * 1024;
/// How often a snapshot that is being made is looked at for more, and a replica for its first
/// confirmation.
const TICK: Duration = Duration::from_millis(5);

/// The memory by way of which a replica gets its snapshot and then the stream. It is one from the
/// beginning to the end and counted all the time: what `maxmemory` allows must not depend on how
/// far a replica is.
struct Buffer<'a> {
    bytes: Vec<u8>,
    server: &'a Server,
    replica: &'a Replica,
}

impl<'a> Buffer<'a> {
    fn new(server: &'a Server, replica: &'a Replica) -> Self {
        replica.buffer.store(STEP as u64, Ordering::Relaxed);
        server.replication.buffers.fetch_add(STEP as u64, Ordering::Relaxed);
        Buffer { bytes: Vec::with_capacity(STEP), server, replica }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        self.bytes = Vec::new();
        self.server.replication.buffers.fetch_sub(STEP as u64, Ordering::Relaxed);
        self.replica.buffer.store(0, Ordering::Relaxed);
    }
}

/// A connection has become a replica, and what it was answered is sent: the rest comes from
/// elsewhere.
pub fn take_over(engine: &Engine, session: &mut Session) {
    let server = &engine.server;
    match session.takeover.take() {
        Some(Takeover::Stream(reader)) => match server.replication.find(session.handle.id) {
            Some(replica) => server.start_job(Job::Feed(replica, reader)),
            None => server.log.detach(reader),
        },
        Some(Takeover::Snapshot) => server.start_job(Job::FullSync),
        None => {}
    }
}

/// Sends the snapshot and then the stream.
pub fn send_snapshot(engine: &Arc<Engine>, replica: &Replica, spool: &Spool, reader: u64) {
    let server = &engine.server;
    let mut buffer = Buffer::new(server, replica);
    let sent =
        prepare(engine, replica).and_then(|()| send_file(engine, replica, spool, &mut buffer));
    if let Err(e) = sent {
        let is_late = matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        server.logger.warning(&match is_late {
            true => format!("Disconnecting timedout replica (full sync): {}", name(replica)),
            false => format!("Sending the snapshot to {} failed: {e}", name(replica)),
        });
        server.log.detach(reader);
        return replica.client.kill();
    }
    if replica.wants == Wants::SnapshotOnly {
        server.log.detach(reader);
        return replica.client.kill();
    }
    let message = format!("Synchronization with replica {} succeeded", name(replica));
    server.logger.notice(&message);
    send_stream(engine, replica, reader, buffer);
}

/// Sends the stream until the connection or the server ends, or the replica has fallen too far
/// behind.
pub fn stream(engine: &Arc<Engine>, replica: &Replica, reader: u64) {
    send_stream(engine, replica, reader, Buffer::new(&engine.server, replica));
}

fn send_stream(engine: &Arc<Engine>, replica: &Replica, reader: u64, mut buffer: Buffer) {
    let server = &engine.server;
    let bytes = &mut buffer.bytes;
    let handle = &replica.client;
    replica.reader.store(reader, Ordering::SeqCst);
    if prepare(engine, replica).is_err() {
        server.log.detach(reader);
        return handle.kill();
    }
    replica.set_state(ReplicaState::Online);
    server.replication.wake_waiting();
    loop {
        if server.has_ended() || handle.outbox.is_gone() {
            break;
        }
        server.pause.sit_out_standstill();
        match server.log.read(reader, bytes, Duration::from_secs(1)) {
            Read::Timeout => {}
            Read::Bytes => {
                if handle.stream.write_all(bytes).is_err() {
                    break;
                }
                handle.bytes_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                server.stats.repl_out.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            // Whoever ends a connection takes its place in the log away.
            Read::Lost if handle.outbox.is_gone() => break,
            Read::Lost => {
                let_go(server, replica);
                break;
            }
        }
    }
    server.log.detach(reader);
    handle.kill();
}

/// Says why a replica is cut that has sent a command with a reply: on its connection the reply
/// would stand in the middle of the stream, or of the snapshot.
pub fn refuse_reply(engine: &Engine, handle: &ClientHandle) {
    let table = &engine.table;
    let command = handle.last_command.load(Ordering::Relaxed).checked_sub(1);
    let command = command.map_or("<unknown>", |id| table.get(id as usize).full_name.as_str());
    let mut line = String::new();
    client_line::push(&mut line, table, handle, clock::unix_ms());
    let message = format!(
        "Replica generated a reply to command '{command}', disconnecting it: {}",
        line.trim_end()
    );
    engine.server.logger.warning(&message);
}

/// The connection of a client has ended, which may have been a replica.
pub fn part(server: &Server, client: u64) {
    let replication = &server.replication;
    let Some(replica) = replication.find(client) else { return };
    let syncs = |replica: &Replica| replica.state() != ReplicaState::Online;
    let others = |other: &Arc<Replica>| other.client.id != client && syncs(other);
    // What comes behind its place in the log need not be kept until its threads see that it has
    // gone. Who comes meanwhile for a snapshot is let go and asks again.
    if replica.state() != ReplicaState::WaitSnapshot {
        server.log.detach(replica.reader.load(Ordering::SeqCst));
    }
    if syncs(&replica) && !replication.replicas().iter().any(others) {
        server.log.detach(replication.anchor.load(Ordering::SeqCst));
    }
    replication.remove(client);
    let message = format!("Connection with replica {} lost.", name(&replica));
    server.logger.notice(&message);
    replication.wake_waiting();
}

/// Cuts a replica that fell too far behind the stream, also while its feeder is stuck in a write.
pub fn let_go(server: &Server, replica: &Replica) {
    let message = format!("Replica {} closed: it fell too far behind the stream.", name(replica));
    server.logger.warning(&message);
    server.clients.over_limit.fetch_add(1, Ordering::Relaxed);
    replica.client.kill();
}

fn prepare(engine: &Engine, replica: &Replica) -> io::Result<()> {
    let settings = engine.server.config.get();
    let stream = &replica.client.stream;
    stream.set_nodelay(!settings.repl_disable_tcp_nodelay)?;
    stream.set_write_timeout(Duration::from_secs(settings.repl_timeout.max(1)))
}

/// Sends the snapshot, as far as it is there while it is made: then only a mark says where it ends.
fn send_file(
    engine: &Engine,
    replica: &Replica,
    spool: &Spool,
    buffer: &mut Buffer,
) -> io::Result<()> {
    let stream = &replica.client.stream;
    if spool.state() == SpoolState::Whole {
        let length = spool.file.metadata()?.len();
        stream.write_all(format!("${length}\r\n").as_bytes())?;
        return copy(engine, replica, spool, buffer, None);
    }
    let mark = random_id();
    stream.write_all(format!("$EOF:{mark}\r\n").as_bytes())?;
    copy(engine, replica, spool, buffer, Some(&mark))?;
    if replica.wants == Wants::SnapshotOnly {
        return Ok(());
    }
    // What follows the mark at once could not be told from what is before it.
    let timeout = engine.server.config.get().repl_timeout.max(1);
    while !replica.has_confirmed.load(Ordering::SeqCst) {
        if engine.server.has_ended() || replica.client.outbox.is_gone() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if replica.lag_seconds(clock::unix_ms()) > i64::try_from(timeout).unwrap_or(i64::MAX) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// Copies the file to the replica, and the mark behind it. Who takes nothing for too long is let go
/// by `cron`, which follows a change of `repl-timeout`.
fn copy(
    engine: &Engine,
    replica: &Replica,
    spool: &Spool,
    buffer: &mut Buffer,
    mark: Option<&str>,
) -> io::Result<()> {
    let buffer = &mut buffer.bytes;
    buffer.resize(STEP, 0);
    let mut at = 0;
    loop {
        let state = spool.state();
        let n = spool.file.read_at(buffer, at)?;
        at += n as u64;
        let ends = state == SpoolState::Whole && at >= spool.file.metadata()?.len();
        if ends {
            // Who has the last bytes may ask at once whether we count it.
            replica.give_life_sign();
            replica.set_state(ReplicaState::Online);
        }
        replica.writing_since_ms.store(clock::unix_ms(), Ordering::Relaxed);
        replica.client.stream.write_all(&buffer[..n])?;
        replica.writing_since_ms.store(0, Ordering::Relaxed);
        engine.server.stats.repl_out.fetch_add(n as u64, Ordering::Relaxed);
        if ends {
            return replica.client.stream.write_all(mark.unwrap_or_default().as_bytes());
        }
        match (n, state) {
            (0, SpoolState::Growing) => std::thread::sleep(TICK),
            (0, _) => return Err(io::Error::other("the snapshot was ended")),
            _ => {}
        }
    }
}

fn name(replica: &Replica) -> String {
    format!("{}:{}", replica.ip, replica.port)
}
