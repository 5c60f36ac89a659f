//! Rewriting the append-only file, and turning it on and off.
//!
//! A rewrite takes a snapshot as a save does. At the moment that the snapshot shows, the log notes
//! a cut: what came before goes to the present increment, what comes after to the next. When the
//! new base is whole, the manifest names it and that next increment, and what they replace is
//! history. So at any moment the manifest on the disk names a whole state and all that followed.
//!
//! Turning the file on is a rewrite too: from its snapshot on commands gather in a temporary
//! increment, which gets its name together with the base ([`Mode::Waiting`]).

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::files::{directory, make_directory, persist, size_of, temporary_increment};
use super::{Aof, Mode, Writer};
use crate::base::clock;
use crate::log::aof::Increment;
use crate::state::config::{Settings, os_text};
use crate::state::{Job, Server};

/// How long turning the file off waits for a rewrite to notice that it is not wanted any more.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);
/// Failures in a row from which on rewrites are held off.
const FAILURES_MAX: u64 = 3;
/// The longest time to hold them off.
const HOLD_OFF_MAX_MINUTES: i64 = 60;

/// The rewrite that runs, the last one, and the next.
#[derive(Debug, Clone)]
pub struct Rewriting {
    /// Whether one runs.
    pub running: bool,
    /// Whether one is to follow as soon as nothing else is in the way.
    pub scheduled: bool,
    /// Unix ms of its beginning.
    pub started_ms: i64,
    /// Seconds that the last one took; -1 before the first.
    pub last_seconds: i64,
    /// Whether the last one worked.
    pub last_ok: bool,
    /// How many were begun.
    pub begun: u64,
    /// How many have failed since one worked.
    pub failures: u64,
    hold_off_minutes: i64,
    held_off_until: i64,
}

impl Default for Rewriting {
    fn default() -> Self {
        Rewriting {
            running: false,
            scheduled: false,
            started_ms: 0,
            last_seconds: -1,
            last_ok: true,
            begun: 0,
            failures: 0,
            hold_off_minutes: 0,
            held_off_until: 0,
        }
    }
}

impl Rewriting {
    /// Whether rewrites by themselves are held off, after too many failures. `Some(minutes)` is for
    /// the log: from now on they are.
    fn is_held_off(&mut self, now: i64) -> (bool, Option<i64>) {
        if self.failures < FAILURES_MAX {
            (self.hold_off_minutes, self.held_off_until) = (0, 0);
            return (false, None);
        }
        if self.held_off_until != 0 {
            let still = now < self.held_off_until;
            if !still {
                self.held_off_until = 0;
            }
            return (still, None);
        }
        self.hold_off_minutes = (self.hold_off_minutes * 2).clamp(1, HOLD_OFF_MAX_MINUTES);
        self.held_off_until = now + self.hold_off_minutes * 60;
        (true, Some(self.hold_off_minutes))
    }
}

/// What became of a wish for a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs.
    Now,
    /// It will.
    Later,
    /// One runs already.
    Already,
    /// It cannot; the reason is in the log.
    Failed,
}

/// The name of the base while it is written.
fn temporary_base(server: &Server) -> String {
    format!("temp-rewriteaof-bg-{}-{}.aof", std::process::id(), &server.run_id[..8])
}

/// Where the base is written.
fn temporary_base_path(server: &Server) -> PathBuf {
    server.config.get().dir.join(temporary_base(server))
}

/// Beginning and ending.
impl Aof {
    /// The rewrite that runs, the last one, and the next.
    pub fn rewriting(&self) -> Rewriting {
        self.rewriting.lock().clone()
    }

    /// Whether a rewrite runs.
    pub fn is_rewriting(&self) -> bool {
        self.rewriting.lock().running
    }

    /// Whether the rewrite that runs is not wanted any more.
    pub fn is_aborted(&self) -> bool {
        self.abort_rewrite.load(Ordering::SeqCst)
    }

    /// BGREWRITEAOF: at once, or later where another snapshot is being written or a transaction is
    /// being executed.
    pub fn ask_for_rewrite(&self, server: &Server, in_exec: bool) -> Started {
        let mut rewriting = self.rewriting.lock();
        if rewriting.running {
            return Started::Already;
        }
        drop(rewriting);
        if in_exec || server.has_background_job() {
            rewriting = self.rewriting.lock();
            rewriting.scheduled = true;
            rewriting.failures = 0;
            return Started::Later;
        }
        self.start_rewrite(server)
    }

    /// Starts a rewrite in a thread of its own.
    fn start_rewrite(&self, server: &Server) -> Started {
        let settings = server.config.get();
        if !server.may_begin_save() || make_directory(server, &settings).is_err() {
            self.rewriting.lock().last_ok = false;
            return Started::Failed;
        }
        let mut rewriting = self.rewriting.lock();
        if rewriting.running {
            return Started::Already;
        }
        rewriting.running = true;
        rewriting.scheduled = false;
        rewriting.started_ms = clock::unix_ms();
        rewriting.begun += 1;
        self.abort_rewrite.store(false, Ordering::SeqCst);
        drop(rewriting);
        if self.mode() == Mode::Waiting
            && let Err(e) = self.open_temporary(server, &settings)
        {
            self.end_rewrite(server, &Err(e));
            return Started::Failed;
        }
        server.start_job(Job::RewriteAof);
        Started::Now
    }

    /// Makes the file in which commands gather while the first base is written.
    fn open_temporary(&self, server: &Server, settings: &Settings) -> io::Result<()> {
        let name = temporary_increment(settings);
        let increment = Increment::create(&directory(settings).join(&name)).inspect_err(|e| {
            let message = format!("Can't open the append-only file {name}: {}", os_text(e));
            server.logger.warning(&message);
        })?;
        server.logger.notice(&format!("Creating AOF incr file {name} on background rewrite"));
        self.writer.lock().increment = Some(increment);
        Ok(())
    }

    /// Starts a rewrite that has been put off, or that the growth of the file asks for.
    pub fn rewrite_if_due(&self, server: &Server) {
        let rewriting = self.rewriting();
        if rewriting.running || server.has_background_job() {
            return;
        }
        let settings = server.config.get();
        let growth = (self.mode() == Mode::On).then(|| self.growth(&settings)).flatten();
        if !rewriting.scheduled && growth.is_none() {
            return;
        }
        let now = clock::unix_ms() / 1000;
        let (held_off, minutes) = self.rewriting.lock().is_held_off(now);
        if let Some(minutes) = minutes {
            server.logger.warning(&format!(
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry \
                 in {minutes} minutes"
            ));
        }
        if held_off {
            return;
        }
        if let Some(growth) = growth
            && !rewriting.scheduled
        {
            let message = format!("Starting automatic rewriting of AOF on {growth}% growth");
            server.logger.notice(&message);
        }
        self.start_rewrite(server);
    }

    /// By how many per cent the file has grown, where that asks for a rewrite.
    fn growth(&self, settings: &Settings) -> Option<u64> {
        let current = self.current_size.load(Ordering::Relaxed);
        let wanted = settings.auto_aof_rewrite_percentage;
        if wanted == 0 || current <= settings.auto_aof_rewrite_min_size {
            return None;
        }
        let base = u128::from(self.base_size.load(Ordering::Relaxed).max(1));
        let growth = (u128::from(current) * 100 / base).saturating_sub(100);
        (growth >= u128::from(wanted)).then(|| u64::try_from(growth).unwrap_or(u64::MAX))
    }

    /// The moment that a rewrite's snapshot shows; all shards are held.
    pub fn at_epoch(&self, server: &Server) {
        match self.mode() {
            _ if self.is_aborted() => {}
            Mode::Off => {}
            Mode::On => server.log.cut_file(),
            Mode::Waiting => {
                server.log.set_timestamps(server.config.get().aof_timestamp_enabled);
                server.log.begin_file();
            }
        }
    }

    /// Makes sure that what comes behind the snapshot goes to another file.
    ///
    /// # Errors
    /// It does not; the present one goes on.
    pub fn pass_cut(&self, server: &Server) -> io::Result<()> {
        let mut writer = self.writer.lock();
        writer.failed_cut = false;
        let result = self.write(server, &mut writer);
        // Where nothing could be written the cut is still ahead.
        server.log.forget_cut();
        match result {
            Err(e) => Err(io::Error::from_raw_os_error(e.0)),
            Ok(()) if writer.failed_cut => Err(io::Error::other("there is no new increment")),
            Ok(()) => Ok(()),
        }
    }

    /// Where the rewrite writes its base.
    pub fn base_path(&self, server: &Server) -> PathBuf {
        temporary_base_path(server)
    }

    /// Gives the base that was written its name and its place in the manifest.
    pub fn install_base(&self, server: &Server) -> io::Result<()> {
        let settings = server.config.get();
        let mut writer = self.writer.lock();
        if self.is_aborted() {
            return Err(ErrorKind::Interrupted.into());
        }
        let result = self.rename_and_persist(server, &settings, &mut writer);
        drop(writer);
        if result.is_ok() && !settings.aof_disable_auto_gc {
            self.remove_history(server);
        }
        result
    }

    fn rename_and_persist(
        &self,
        server: &Server,
        settings: &Settings,
        writer: &mut Writer,
    ) -> io::Result<()> {
        let (prefix, directory) = (&settings.appendfilename, directory(settings));
        let mut manifest = writer.manifest.clone();
        let base = manifest.new_base(prefix, settings.aof_use_rdb_preamble);
        let base_path = directory.join(&base);
        rename(server, &temporary_base_path(server), &base_path, "base")?;
        let waiting = self.mode() == Mode::Waiting;
        let mut incr_path = None;
        if waiting {
            let path = directory.join(manifest.new_incr(prefix));
            let temporary = directory.join(temporary_increment(settings));
            rename(server, &temporary, &path, "incr").inspect_err(|_| remove(&base_path))?;
            incr_path = Some(path);
        }
        manifest.retire_incrs(usize::from(writer.increment.is_some()));
        persist(server, settings, &manifest).inspect_err(|_| {
            remove(&base_path);
            incr_path.iter().for_each(|path| remove(path));
        })?;
        writer.manifest = manifest;
        if let Some(increment) = &writer.increment {
            let size = size_of(settings, &base).unwrap_or(0) + increment.size();
            self.set_sizes(size, size);
        }
        if waiting {
            self.set_mode(Mode::On);
        }
        Ok(())
    }

    /// The rewrite has ended.
    pub fn end_rewrite(&self, server: &Server, result: &io::Result<()>) {
        if let Err(e) = result {
            remove(&temporary_base_path(server));
            self.let_go_of_temporary(server);
            // That it was ended on purpose is no failure.
            if e.kind() != ErrorKind::Interrupted {
                let mut rewriting = self.rewriting.lock();
                rewriting.last_ok = false;
                rewriting.failures += 1;
            }
        } else {
            let mut rewriting = self.rewriting.lock();
            rewriting.last_ok = true;
            rewriting.failures = 0;
        }
        let again = self.mode() == Mode::Waiting;
        let mut rewriting = self.rewriting.lock();
        rewriting.running = false;
        rewriting.scheduled |= again;
        rewriting.last_seconds = (clock::unix_ms() - rewriting.started_ms) / 1000;
    }

    /// A first rewrite that has failed: what gathered behind its snapshot belongs to no base.
    fn let_go_of_temporary(&self, server: &Server) {
        let mut writer = self.writer.lock();
        if self.mode() != Mode::Waiting {
            return;
        }
        self.close(server, &mut writer, Mode::Waiting);
        drop(writer);
        remove_temporary_increment(server);
    }

    /// Takes nothing more for a file and forgets what is not written.
    fn close(&self, server: &Server, writer: &mut Writer, mode: Mode) {
        let held = server.keyspace.lock_all();
        server.log.end_file();
        self.set_mode(mode);
        drop(held);
        let (place, _) = server.log.take_file(&mut writer.pending);
        writer.pending = Vec::new();
        writer.increment = None;
        (writer.taken, writer.written) = (place, place);
        // Nobody is to wait for what will never be written.
        self.acknowledged.fetch_max(server.log.file_end().0, Ordering::SeqCst);
    }
}

/// Turning on and off.
impl Aof {
    /// Turns the file on: from the snapshot of a first rewrite on commands are kept. Whether that
    /// is under way.
    pub fn start(&self, server: &Server, in_exec: bool) -> bool {
        if self.mode() != Mode::Off {
            return true;
        }
        self.forget_failures(server);
        if self.is_rewriting() {
            server.logger.warning(
                "AOF was enabled but there is already an AOF rewriting in background. Stopping \
                 background AOF and starting a rewrite now.",
            );
            self.abort(server);
        }
        self.set_mode(Mode::Waiting);
        if in_exec || server.has_background_job() {
            let why = match in_exec {
                true => "during a transaction",
                false => "but there is already another background operation",
            };
            server.logger.warning(&format!(
                "AOF was enabled {why}. An AOF background was scheduled to start when possible."
            ));
            self.schedule();
            return true;
        }
        let started = self.start_rewrite(server) != Started::Failed;
        if !started {
            self.set_mode(Mode::Off);
            self.rewriting.lock().scheduled = false;
            server.logger.warning(
                "Redis needs to enable the AOF but can't trigger a background AOF rewrite \
                 operation. Check the above logs for more info about the error.",
            );
        }
        started
    }

    /// Turns the file on again as soon as possible; shards may be held.
    pub fn start_soon(&self) {
        if self.mode() == Mode::Off {
            self.set_mode(Mode::Waiting);
            self.schedule();
        }
    }

    fn schedule(&self) {
        self.rewriting.lock().scheduled = true;
    }

    /// Turns the file off. What has been done so far is written and synced.
    pub fn stop(&self, server: &Server) {
        let before = self.mode();
        if before == Mode::Off {
            return;
        }
        self.abort_rewrite.store(true, Ordering::SeqCst);
        let mut writer = self.writer.lock();
        let held = server.keyspace.lock_all();
        server.log.end_file();
        drop(held);
        server.log.forget_cut();
        // A failure is in the log already, and there will be no file to try again with.
        let _ = self.write(server, &mut writer);
        if let Err(e) = self.sync_now(&mut writer) {
            server.logger.warning(&format!("Fail to fsync the AOF file: {}", os_text(&e)));
        }
        self.close(server, &mut writer, Mode::Off);
        drop(writer);
        self.rewriting.lock().scheduled = false;
        if self.is_rewriting() {
            self.abort(server);
        }
        if before == Mode::Waiting {
            remove_temporary_increment(server);
        }
        // Whoever waits for the disk waits in vain.
        server.replication.wake_waiting();
    }

    /// Ends the rewrite that runs, and waits until it has.
    pub fn abort(&self, server: &Server) {
        if !self.is_rewriting() {
            return;
        }
        let pid = std::process::id();
        server.logger.notice(&format!("Killing running AOF rewrite child: {pid}"));
        self.abort_rewrite.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + ABORT_PATIENCE;
        while self.is_rewriting() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn remove(path: &Path) {
    // It may never have been made.
    let _ = fs::remove_file(path);
}

fn remove_temporary_increment(server: &Server) {
    let settings = server.config.get();
    let name = temporary_increment(&settings);
    let message = format!("Removing the temp incr aof file {name} in the background");
    server.logger.notice(&message);
    remove(&directory(&settings).join(name));
}

fn rename(server: &Server, from: &Path, to: &Path, kind: &str) -> io::Result<()> {
    let shown = |path: &Path| {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (old, new) = (shown(from), shown(to));
    match fs::rename(from, to) {
        Ok(()) => {
            server.logger.notice(&format!(
                "Successfully renamed the temporary AOF {kind} file {old} into {new}"
            ));
            Ok(())
        }
        Err(e) => {
            server.logger.warning(&format!(
                "Error trying to rename the temporary AOF {kind} file {old} into {new}: {}",
                os_text(&e)
            ));
            Err(e)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_hold_rewrites_off_for_longer_and_longer() {
        let mut rewriting = Rewriting { failures: 2, ..Rewriting::default() };
        assert_eq!(rewriting.is_held_off(0), (false, None));
        rewriting.failures = 3;
        let mut now = 1000;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(rewriting.is_held_off(now), (true, Some(minutes)));
            assert_eq!(rewriting.is_held_off(now + minutes * 60 - 1), (true, None));
            now += minutes * 60;
            assert_eq!(rewriting.is_held_off(now), (false, None));
        }
        rewriting.failures = 0;
        assert_eq!(rewriting.is_held_off(now), (false, None));
        rewriting.failures = 3;
        assert_eq!(rewriting.is_held_off(now), (true, Some(1)));
    }
}
