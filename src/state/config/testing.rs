//! A directory for the tests of this folder.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory of its own, removed when dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one; `name` tells the tests of one process apart.
    pub fn new(name: &str) -> TempDir {
        let file = format!("ferrodis-config-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(file);
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        TempDir(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and returns the file's path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the temporary directory is writable");
        path.to_str().expect("the temporary directory has a plain name").to_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Best effort: a leftover directory fails no test.
        let _ = fs::remove_dir_all(&self.0);
    }
}
