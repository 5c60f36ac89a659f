//! Temporary directories that vanish with the value that names them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A directory of this test's own, removed with its contents on drop.
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes an empty directory under [`std::env::temp_dir`].
    ///
    /// Its name is `<label>-<process id>-<counter>`, which no living test process shares.
    pub fn new(label: &str) -> TempDir {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{label}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A leftover of a killed run that had the same process id would not be empty.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temp dir can be made");
        TempDir { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path as text, for use in arguments.
    pub fn text(&self) -> &str {
        self.path.to_str().expect("temp dirs have UTF-8 names")
    }

    /// The names of the entries, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).expect("the temp dir can be listed");
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
