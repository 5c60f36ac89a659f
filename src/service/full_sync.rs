//! Full resynchronisation: one snapshot for all replicas that wait for one.
//!
//! The snapshot is spooled to a file without a name and each replica is sent that file by its own
//! feeder, so that a slow one holds up neither the snapshot nor the others. With
//! `repl-diskless-sync` replicas that need not know its length get what is there already while the
//! rest is made. The log keeps everything from the snapshot's offset on, so a replica that comes
//! while the snapshot is being made shares it, if it wants the same contents.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::resp::out::{Chunk, Out};
use crate::state::outbox::Limit;
use crate::state::persistence::{self, Contents, Epoch, Until};
use crate::state::replication::{Replica, ReplicaState, Spool, SpoolState, Wants};
use crate::state::{Job, Server};
use crate::store::snapshot::Snapshot;

/// Nothing that is written here is limited: it is a few bytes.
const NO_LIMIT: Limit = Limit { hard: 0, soft: 0, soft_time: Duration::ZERO };

/// How often replicas that have come are looked for.
const TICK: Duration = Duration::from_millis(5);
/// A second of them.
const TICKS_PER_LINE: u32 = 200;

/// Makes snapshots until no replica waits for one. Returns at once when another thread is at it.
pub fn run(engine: &Arc<Engine>) {
    let server = &engine.server;
    while !waiting(server).is_empty() && server.replication.begin_syncing() {
        wait_for_more(server);
        if let Some(first) = waiting(server).first()
            && let Err(e) = sync(server, first.keyless)
        {
            let message = format!("No snapshot for replicas: {e}");
            server.logger.warning(&message);
            refuse_waiting(server);
        }
        server.replication.end_syncing();
    }
}

/// Lets the replicas go that wait for a snapshot; they will ask again.
pub fn refuse_waiting(server: &Server) {
    waiting(server).iter().for_each(|replica| replica.client.kill());
}

fn waiting(server: &Server) -> Vec<Arc<Replica>> {
    let mut replicas = server.replication.replicas();
    replicas.retain(|r| r.state() == ReplicaState::WaitSnapshot && !r.client.outbox.is_gone());
    replicas
}

/// Gives other replicas the time of `repl-diskless-sync-delay` to come too, unless one waits that
/// takes a snapshot of a known length only, for which Redis does not wait either.
fn wait_for_more(server: &Server) {
    let began = Instant::now();
    let mut ticks = 0;
    loop {
        let (settings, waiting) = (server.config.get(), waiting(server));
        let delay = Duration::from_secs(settings.repl_diskless_sync_delay);
        let enough = match settings.repl_diskless_sync_max_replicas {
            0 => u64::MAX,
            count => count,
        };
        let is_over = began.elapsed() >= delay || waiting.len() as u64 >= enough;
        let all_wait = settings.repl_diskless_sync && waiting.iter().all(|it| it.confirms);
        if is_over || !all_wait || waiting.is_empty() || server.has_ended() {
            return;
        }
        if ticks == 0 {
            server.logger.notice("Delay next BGSAVE for diskless SYNC");
        }
        std::thread::sleep(TICK);
        show_life(server, &mut ticks);
    }
}

/// Sends all that wait an empty line a second, so that they do not give up, unless the server
/// stands still; to be called once a tick.
fn show_life(server: &Server, ticks: &mut u32) {
    server.pause.sit_out_standstill();
    *ticks += 1;
    if ticks.is_multiple_of(TICKS_PER_LINE) {
        for replica in waiting(server) {
            server.clients.push(&replica.client, Chunk::Owned(b"\n".to_vec()), NO_LIMIT);
        }
    }
}

fn sync(server: &Server, keyless: bool) -> io::Result<()> {
    let target = match server.config.get().repl_diskless_sync {
        true => "replicas sockets",
        false => "disk",
    };
    server.logger.notice(&format!("Starting BGSAVE for SYNC with target: {target}"));
    server.stats.forks.fetch_add(1, Ordering::Relaxed);
    let spool = Arc::new(Spool::new(spool_file(server)?));
    let mut anchor = 0;
    let (snapshot, epoch) = persistence::begin_snapshot(server, || {
        anchor = server.log.activate_with_reader();
        server.replication.anchor.store(anchor, Ordering::SeqCst);
    });
    let pid = std::process::id();
    server.logger.notice(&format!("Background RDB transfer started by pid {pid}"));
    let result = Round { server, epoch, anchor, keyless, spool }.spool_and_send(snapshot);
    server.log.detach(anchor);
    result
}

/// One snapshot and those who wait for it.
struct Round<'s> {
    server: &'s Server,
    epoch: Epoch,
    /// Keeps the log from the snapshot's offset on until the replicas have readers of their own.
    anchor: u64,
    /// Whether it is one without keys. Who wants another kind waits for the next round.
    keyless: bool,
    spool: Arc<Spool>,
}

impl Round<'_> {
    fn spool_and_send(&self, snapshot: Snapshot) -> io::Result<()> {
        let contents = if self.keyless { Contents::Keyless } else { Contents::Whole };
        let (result, mut told) = std::thread::scope(|scope| {
            // Without it replicas only hear of the snapshot when it is made.
            let attending = Builder::new().spawn_scoped(scope, || self.attend());
            let (server, epoch) = (self.server, &self.epoch);
            let result = persistence::write_snapshot(
                server,
                snapshot,
                epoch,
                &self.spool.file,
                Until::Unwanted,
                contents,
            );
            self.spool.end(if result.is_ok() { SpoolState::Whole } else { SpoolState::Torn });
            let told = attending.map_or_else(|_| Vec::new(), |at| at.join().unwrap_or_default());
            (result, told)
        });
        result?;
        self.tell(&mut told);
        self.feed(&told, |_| true);
        Ok(())
    }

    /// The replicas that wait for this snapshot.
    fn waiting(&self) -> Vec<Arc<Replica>> {
        let mut replicas = waiting(self.server);
        replicas.retain(|replica| replica.keyless == self.keyless);
        replicas
    }

    /// Tells the waiting replicas which id and offset their snapshot will have. The log keeps what
    /// comes behind it for all of them at the same place, and lets them go together.
    fn tell(&self, told: &mut Vec<Arc<Replica>>) {
        for replica in self.waiting() {
            if told.iter().any(|t| t.client.id == replica.client.id) {
                continue;
            }
            if replica.wants == Wants::Psync {
                let mut out = Out::new();
                out.simple(&format!("FULLRESYNC {} {}", self.epoch.id, self.epoch.offset));
                self.server.clients.send(&replica.client, &mut out, NO_LIMIT);
            }
            replica.reader.store(self.anchor, Ordering::SeqCst);
            told.push(replica);
        }
    }

    /// While a snapshot is made, tells replicas that come of it too, for they share it. Returns
    /// those that were told.
    fn attend(&self) -> Vec<Arc<Replica>> {
        let server = self.server;
        let mut told = Vec::new();
        let mut ticks = 0;
        while self.spool.state() == SpoolState::Growing {
            self.tell(&mut told);
            if server.config.get().repl_diskless_sync {
                self.feed(&told, |replica| replica.confirms);
            }
            if told.iter().all(|replica| self.is_gone(replica)) {
                server.replication.abort_sync.store(true, Ordering::SeqCst);
            }
            std::thread::sleep(TICK);
            show_life(server, &mut ticks);
        }
        told
    }

    fn is_gone(&self, replica: &Replica) -> bool {
        let client = &replica.client;
        client.outbox.is_gone() || self.server.replication.find(client.id).is_none()
    }

    /// Begins to send the snapshot to those of the replicas that wait for it and can take it now.
    fn feed(&self, told: &[Arc<Replica>], can_take: impl Fn(&Replica) -> bool) {
        for replica in told {
            if replica.state() == ReplicaState::WaitSnapshot && can_take(replica) {
                self.start_feeder(replica);
            }
        }
    }

    fn start_feeder(&self, replica: &Arc<Replica>) {
        match self.server.log.attach_beside(self.anchor) {
            Some(reader) => {
                replica.reader.store(reader, Ordering::SeqCst);
                replica.set_state(match self.spool.state() {
                    SpoolState::Growing => ReplicaState::StreamSnapshot,
                    _ => ReplicaState::SendSnapshot,
                });
                let (replica, spool) = (Arc::clone(replica), Arc::clone(&self.spool));
                self.server.start_job(Job::SendSnapshot(replica, spool, reader));
            }
            // The stream went further than a replica's limit allows while the snapshot was made, or
            // it is another one now.
            None => replica.client.kill(),
        }
    }
}

/// A file without a name in the data directory.
pub fn spool_file(server: &Server) -> io::Result<File> {
    let settings = server.config.get();
    let name = format!("temp-sync-{}-{}.rdb", std::process::id(), &server.run_id[..8]);
    let open = |directory: &Path| {
        let path = directory.join(&name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    };
    // A server that keeps nothing may run in a directory that it cannot write to.
    open(&settings.dir).or_else(|_: io::Error| open(&std::env::temp_dir()))
}
