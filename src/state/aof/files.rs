//! The directory of the append-only file: its names, its manifest, a new increment, what is to be
//! removed.
//!
//! The manifest is written under a temporary name, synced and renamed, and the directory is synced
//! behind that, so that after a crash it names files that are there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::{Aof, Mode, Writer};
use crate::log::aof::Increment;
use crate::log::manifest::{self, Manifest};
use crate::state::Server;
use crate::state::config::{Settings, os_text};

/// The directory of the append-only file.
pub fn directory(settings: &Settings) -> PathBuf {
    settings.dir.join(&settings.appenddirname)
}

/// Bytes of a file in it.
pub fn size_of(settings: &Settings, name: &str) -> io::Result<u64> {
    fs::metadata(directory(settings).join(name)).map(|metadata| metadata.len())
}

/// Reads the manifest. Without one there is nothing.
///
/// # Errors
/// One that cannot be read; the reason is in the log.
pub fn load_manifest(server: &Server) -> io::Result<Manifest> {
    let settings = server.config.get();
    let path = directory(&settings).join(manifest::file_name(&settings.appendfilename));
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Manifest::default()),
        Err(e) => {
            server.logger.warning(&format!(
                "Fatal error: can't open the AOF manifest file {} for reading: {}",
                path.display(),
                os_text(&e)
            ));
            return Err(e);
        }
    };
    Manifest::parse(&text).map_err(|e| {
        server.logger.warning("*** FATAL AOF MANIFEST FILE ERROR ***");
        if let Some((number, line)) = &e.line {
            server.logger.warning(&format!("Reading the manifest file, at line {number}"));
            server.logger.warning(&format!(">>> '{line}'"));
        }
        server.logger.warning(e.what);
        io::Error::other(e)
    })
}

/// Takes over a file from before there were manifests: it becomes the base. Nothing happens where
/// there is none, or where the manifest has files already.
pub fn prepare_upgrade(server: &Server, manifest: &mut Manifest) -> io::Result<()> {
    let settings = server.config.get();
    let name = &settings.appendfilename;
    let (old, directory) = (settings.dir.join(name), directory(&settings));
    // An upgrade that was interrupted between the manifest and the file's new place goes on.
    let interrupted = manifest.incrs.is_empty()
        && manifest.base.as_ref().is_some_and(|base| base.name == *name)
        && !directory.join(name).exists();
    if !old.is_file() || !(manifest.is_empty() || interrupted) {
        return Ok(());
    }
    make_directory(server, &settings)?;
    if manifest.is_empty() {
        manifest.adopt_base(name);
    }
    persist(server, &settings, manifest)?;
    let shown = &settings.appenddirname;
    fs::rename(&old, directory.join(name)).inspect_err(|e| {
        server.logger.warning(&format!(
            "Error trying to move the old AOF file {name} into dir {shown}: {}",
            os_text(e)
        ));
    })?;
    server.logger.notice(&format!(
        "Successfully migrated an old-style AOF file ({name}) into the AOF directory ({shown})."
    ));
    Ok(())
}

/// Makes the directory unless it is there.
pub(super) fn make_directory(server: &Server, settings: &Settings) -> io::Result<()> {
    let directory = directory(settings);
    let result = match fs::create_dir(&directory) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        result => result,
    };
    result.inspect_err(|e| {
        let name = &settings.appenddirname;
        let message = format!("Can't open or create append-only dir {name}: {}", os_text(e));
        server.logger.warning(&message);
    })
}

/// Puts a manifest in the place of the one on the disk.
pub(super) fn persist(server: &Server, settings: &Settings, manifest: &Manifest) -> io::Result<()> {
    let name = manifest::file_name(&settings.appendfilename);
    let directory = directory(settings);
    let temporary = directory.join(format!("temp-{name}"));
    write_synced(&temporary, &manifest.format())
        .and_then(|()| fs::rename(&temporary, directory.join(&name)))
        .and_then(|()| File::open(&directory)?.sync_all())
        .inspect_err(|e| {
            let message = format!("Error writing the AOF manifest file {name}: {}", os_text(e));
            server.logger.warning(&message);
            let _ = fs::remove_file(&temporary);
        })
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The name under which the first increment gathers what comes before the first base is whole.
pub(super) fn temporary_increment(settings: &Settings) -> String {
    format!("temp-{}.incr.aof", settings.appendfilename)
}

impl Aof {
    /// Knows the files that a load has found.
    pub fn set_manifest(&self, manifest: Manifest) {
        self.writer.lock().manifest = manifest;
    }

    /// Begins to write: to the last increment, or to the first one behind the base that `make_base`
    /// writes to a path, where there are no files yet.
    ///
    /// # Errors
    /// The reason is in the log.
    pub fn open(
        &self,
        server: &Server,
        make_base: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let settings = server.config.get();
        make_directory(server, &settings)?;
        let directory = directory(&settings);
        let mut writer = self.writer.lock();
        let mut manifest = writer.manifest.clone();
        let is_new = manifest.incrs.is_empty();
        if manifest.is_empty() {
            let name = manifest.new_base(&settings.appendfilename, settings.aof_use_rdb_preamble);
            make_base(&directory.join(&name))?;
            server.logger.notice(&format!("Creating AOF base file {name} on server start"));
        }
        let name = match manifest.incrs.last() {
            Some(last) => last.name.clone(),
            None => manifest.new_incr(&settings.appendfilename),
        };
        let increment = Increment::open(&directory.join(&name)).inspect_err(|e| {
            let message = format!("Can't open the append-only file {name}: {}", os_text(e));
            server.logger.warning(&message);
        })?;
        if is_new {
            persist(server, &settings, &manifest)?;
        }
        let verb = if is_new { "Creating" } else { "Opening" };
        server.logger.notice(&format!("{verb} AOF incr file {name} on server start"));
        (writer.manifest, writer.increment) = (manifest, Some(increment));
        let held = server.keyspace.lock_all();
        server.log.set_timestamps(settings.aof_timestamp_enabled);
        server.log.begin_file();
        self.set_mode(Mode::On);
        drop(held);
        Ok(())
    }

    /// Closes the present increment, whole and synced, and opens the next. On an error everything
    /// stays as it is.
    pub(super) fn next_increment(&self, server: &Server, writer: &mut Writer) -> io::Result<()> {
        let settings = server.config.get();
        // Only the last file may have a torn end, so this one has to be on the disk before another
        // one follows.
        self.sync_now(writer)?;
        let mut manifest = writer.manifest.clone();
        let name = manifest.new_incr(&settings.appendfilename);
        let path = directory(&settings).join(&name);
        let increment = Increment::create(&path)?;
        if let Err(e) = persist(server, &settings, &manifest) {
            let _ = fs::remove_file(&path);
            return Err(e);
        }
        server.logger.notice(&format!("Creating AOF incr file {name} on background rewrite"));
        (writer.manifest, writer.increment) = (manifest, Some(increment));
        Ok(())
    }

    /// Removes the files that are not needed any more.
    pub fn remove_history(&self, server: &Server) {
        let settings = server.config.get();
        let mut writer = self.writer.lock();
        if writer.manifest.history.is_empty() {
            return;
        }
        let directory = directory(&settings);
        for entry in std::mem::take(&mut writer.manifest.history) {
            let name = &entry.name;
            let message = format!("Removing the history file {name} in the background");
            server.logger.notice(&message);
            let _ = fs::remove_file(directory.join(name));
        }
        // A manifest that still names them does no harm.
        let _ = persist(server, &settings, &writer.manifest);
    }

    /// Forgets what failed, because another file begins.
    pub(super) fn forget_failures(&self, server: &Server) {
        if self.sync_error.swap(0, Ordering::Relaxed) != 0 {
            server.logger.warning("AOF reopen, just ignore the AOF fsync error in bio job");
        }
        if self.write_error.swap(0, Ordering::Relaxed) != 0 {
            server.logger.warning("AOF reopen, just ignore the last error.");
        }
    }
}
