//! L7: all threads. Accepting and serving connections, feeding replicas, following a primary,
//! saving, expiring, and the beginning and end of a server.

mod aof;
mod attendants;
mod connection;
mod cron;
mod drain;
mod failover;
mod feeder;
mod full_sync;
mod input;
mod jobs;
mod listener;
mod pidfile;
mod primary;
pub mod signals;
mod snapshot;
mod thrift;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::base::process;
use crate::commands;
use crate::engine::evict::Evictor;
use crate::engine::{Engine, blocking::Blocked, load, permissions, table::Table};
use crate::state::config::{Config, Startup};
use crate::state::{self, Server};

use attendants::Attendants;
use listener::Listeners;
use pidfile::PidFile;

/// Stack of a connection's thread. Only the pages that are used become resident, and no handler
/// recurses.
const STACK: usize = 512 * 1024;

/// How long the end of a server waits for its threads.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads that come and go: connections and jobs.
#[derive(Default)]
pub struct Threads(AtomicUsize);

/// A running server.
pub struct Running {
    engine: Arc<Engine>,
    listeners: Arc<Listeners>,
    attendants: Arc<Attendants>,
    threads: Vec<JoinHandle<()>>,
    passing: Arc<Threads>,
    pid_file: Option<PidFile>,
}

/// For programs that do not count their memory: the resident set.
pub fn no_gauge() -> u64 {
    process::resident_memory()
}

/// Starts a server: binds and accepts; [`Running::load`] comes next. `any_port` lets the operating
/// system choose the port.
pub fn start(mut startup: Startup, any_port: bool, gauge: fn() -> u64) -> io::Result<Running> {
    let declared = std::mem::take(&mut startup.declared);
    let mut table = Table::new(commands::ALL);
    table.rename(&declared.renames).map_err(io::Error::other)?;
    let config = Config::new(startup);
    let server = Arc::new(Server::new(config, table.all().len(), gauge)?);
    let engine = Arc::new(Engine {
        server,
        table,
        blocked: Blocked::default(),
        evictor: Evictor::default(),
    });
    greet(&engine.server);
    permissions::load_at_start(&engine, &declared.users)?;
    let listeners = Listeners::bind(&engine.server, any_port)
        .inspect_err(|e| engine.server.logger.warning(&e.to_string()))?;
    let listeners = Arc::new(listeners);
    say_where(&engine.server);
    let passing = Arc::new(Threads::default());
    jobs::install(&engine, &passing);
    let pid_file = write_pid_file(&engine.server);
    let mut running = Running {
        engine,
        listeners,
        attendants: Arc::new(Attendants::new()?),
        threads: Vec::new(),
        passing: Arc::clone(&passing),
        pid_file,
    };
    running.spawn("drain", drain::run)?;
    running.spawn("aof", aof::run)?;
    running.spawn("cron", cron::run)?;
    running.spawn("expire", cron::run_expiry)?;
    let server = &running.engine.server;
    server.persistence.set_loading(true);
    server.logger.notice("Server initialized");
    listener::install(&running.engine, &running.listeners);
    for index in 0..running.attendants.count() {
        let attendants = Arc::clone(&running.attendants);
        running.spawn("attendant", move |engine| attendants::run(engine, &attendants, index))?;
    }
    let attendants = Arc::clone(&running.attendants);
    running.spawn("watch", move |engine| attendants::watch(engine, &attendants))?;
    let (listeners, attendants) = (Arc::clone(&running.listeners), Arc::clone(&running.attendants));
    running.spawn("accept", move |engine| {
        listener::run(engine, &listeners, &passing, &attendants);
    })?;
    Ok(running)
}

/// The file that `pidfile` asks for. A server without it is better than none.
fn write_pid_file(server: &Server) -> Option<PidFile> {
    let settings = server.config.get();
    if settings.pidfile.is_empty() {
        return None;
    }
    PidFile::write(settings.dir.join(&settings.pidfile))
        .inspect_err(|e| server.logger.warning(&format!("Failed to write PID file: {e}")))
        .ok()
}

fn greet(server: &Server) {
    server.logger.notice("Ferrodis is starting");
    let version = crate::state::REDIS_VERSION;
    let pid = std::process::id();
    server.logger.notice(&format!("Redis version={version}, bits=64, pid={pid}, just started"));
    if server.config.file().is_some() {
        server.logger.notice("Configuration loaded");
    }
}

/// Whoever waits for this line to know that the server is up may connect.
fn say_where(server: &Server) {
    let (settings, pid) = (server.config.get(), std::process::id());
    let mode = if settings.replicaof.is_some() { "replica" } else { "standalone" };
    server.logger.notice(&format!("Running mode={mode}, port={}, PID: {pid}.", settings.port));
}

impl Running {
    fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce(&Arc<Engine>) + Send + 'static,
    ) -> io::Result<()> {
        let engine = Arc::clone(&self.engine);
        let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        self.threads.push(builder.spawn(move || body(&engine))?);
        Ok(())
    }

    /// Loads the data files, while clients are told to wait, and begins to follow a primary.
    ///
    /// # Errors
    /// A damaged file, or one that cannot be read; the reason is in the log too.
    pub fn load(&self) -> io::Result<()> {
        let server = &self.engine.server;
        if server.config.get().appendonly {
            aof::open(&self.engine)?;
        } else {
            // A rewrite is possible without the file being on.
            server.aof.set_manifest(state::aof::load_manifest(server)?);
            load::load_at_start(&self.engine).inspect_err(|e| {
                if !server.has_ended() {
                    if e.kind() == io::ErrorKind::Other {
                        // What was read, not the reading itself.
                        let why = "Terminating server after rdb file reading failure.";
                        server.logger.warning(why);
                    }
                    let message = format!("Fatal error loading the DB: {e}. Exiting.");
                    server.logger.warning(&message);
                }
            })?;
        }
        if !server.config.get().aof_disable_auto_gc {
            server.aof.remove_history(server);
        }
        server.adjust_oom_score(false);
        if let Some(primary) = server.config.get().replicaof.clone() {
            // Before anybody may write: what was loaded is a state of the primary's stream.
            let guards = server.keyspace.lock_all();
            server.become_replica(primary);
            drop(guards);
        }
        server.persistence.set_loading(false);
        self.listeners.announce(server);
        Ok(())
    }

    /// The server and its commands.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The TCP port in use.
    pub fn port(&self) -> u16 {
        self.engine.server.port.load(Ordering::Relaxed) as u16
    }

    /// Ends the program after [`Server::end`]: the operating system closes the connections.
    pub fn finish(mut self) -> i32 {
        self.engine.server.logger.warning("Redis is now ready to exit, bye bye...");
        self.listeners.remove_socket_file();
        drop(self.pid_file.take());
        // Threads that serve connections need not be waited for, the process ends.
        std::mem::forget(self);
        0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let server = &self.engine.server;
        server.begin_ending();
        server.end();
        server.persistence.abort_save.store(true, Ordering::SeqCst);
        server.replication.follow(None);
        server.log.wake_readers();
        server.clients.drain_bell().wake();
        self.listeners.stop();
        self.attendants.wake();
        server.clients.kill_all(|_| true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // Whatever nobody has waited for.
        let _ = server.aof.flush(server);
        let deadline = Instant::now() + JOIN_TIMEOUT;
        while self.passing.0.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            server.clients.kill_all(|_| true);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Threads {
    /// Runs `body` in a thread of its own that the end of the server waits for.
    pub fn spawn(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let threads = Arc::clone(self);
        threads.0.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(Arc::clone(&threads));
        let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        builder
            .spawn(move || {
                let _counted = counted;
                body();
            })
            .map(|_| ())
    }
}

/// Counts a thread down when it ends, or when it could not be started.
struct Counted(Arc<Threads>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}
