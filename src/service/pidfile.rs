//! The file with the process id, for those who start and stop the server.
//!
//! Knows one path and nothing of the server. Dropping it removes the file.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A file with the id of this process, for as long as this lives.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, over one that a crash may have left.
    pub fn write(path: PathBuf) -> io::Result<Self> {
        fs::write(&path, format!("{}\n", std::process::id()))?;
        Ok(PidFile(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
