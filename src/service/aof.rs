//! The append-only file's thread and its rewrites.
//!
//! The thread does what nobody waits for: it writes what has been left, tries again what failed,
//! and syncs once a second. Who waits for a reply writes by itself (`state::aof`).

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Engine, replay, rewrite};

/// How often the thread looks: as often as Redis's cron.
const TICK: Duration = Duration::from_millis(100);

/// Looks after the file until the server ends.
pub fn run(engine: &Arc<Engine>) {
    let server = &engine.server;
    while !server.wait_for_end(TICK) {
        server.aof.tick(server);
    }
}

/// Loads the file at the server's start and goes on writing it.
///
/// # Errors
/// The reason is in the log.
pub fn open(engine: &Arc<Engine>) -> io::Result<()> {
    let server = &engine.server;
    replay::load_at_start(engine)?;
    let base = |path: &std::path::Path| rewrite::write_base(server, path, || (), || Ok(()));
    server.aof.open(server, base)
}

/// Rewrites the file: a snapshot becomes its base.
pub fn rewrite(engine: &Arc<Engine>) {
    let (server, aof) = (&engine.server, &engine.server.aof);
    server.logger.notice("Background append only file rewriting started");
    server.stats.forks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let result = write(engine).and_then(|()| {
        server.logger.notice("Background AOF rewrite terminated with success");
        aof.install_base(server)
    });
    match &result {
        Ok(()) => server.logger.notice("Background AOF rewrite finished successfully"),
        Err(e) if e.kind() == ErrorKind::Interrupted => {
            server.logger.notice("Background AOF rewrite was ended");
        }
        Err(e) => {
            let message = format!("Background AOF rewrite terminated with error: {e}");
            server.logger.warning(&message);
        }
    }
    aof.end_rewrite(server, &result);
}

fn write(engine: &Engine) -> io::Result<()> {
    let (server, aof) = (&engine.server, &engine.server.aof);
    let path = aof.base_path(server);
    // Most of the work of closing the present increment is done before anybody has to wait for it.
    aof.flush_and_sync(server)?;
    rewrite::write_base(server, &path, || aof.at_epoch(server), || aof.pass_cut(server))?;
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    server.logger.notice(&format!("Successfully created the temporary AOF base file {name}"));
    Ok(())
}
