//! The manifest of the append-only file: which files it consists of, in which order.
//!
//! One line per file, the base first, then what is no longer needed, then the increments in order:
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.1.incr.aof seq 1 type h
//! file appendonly.aof.2.incr.aof seq 2 type i
//! ```
//!
//! Text in, text out: knows neither directories nor contents. Other pairs of words behind the three
//! are passed over, because later versions of Redis write some.

use std::fmt;

use crate::base::{num, quote};

/// The longest line that is read, its end included.
const LINE_MAX: usize = 1024;

/// What a file that is loaded is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole state of the keyspace.
    Base,
    /// The commands behind it.
    Incr,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the directory of the append-only file.
    pub name: String,
    /// Its number among those of its kind.
    pub seq: i64,
}

/// All files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The state to begin with.
    pub base: Option<Entry>,
    /// What to remove.
    pub history: Vec<Entry>,
    /// The commands behind the base, in order. The last one is being written.
    pub incrs: Vec<Entry>,
    base_seq: i64,
    incr_seq: i64,
}

/// Why a manifest cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The number of the line, from 1, and the line, where one is to blame.
    pub line: Option<(usize, String)>,
    /// What is wrong, in Redis's words.
    pub what: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for ManifestError {}

/// The name of the manifest of the file with this name.
pub fn file_name(prefix: &str) -> String {
    format!("{prefix}.manifest")
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Anything that Redis refuses, with its words for it.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        if text.is_empty() {
            return Err(ManifestError { line: None, what: "Found an empty AOF manifest" });
        }
        let mut manifest = Manifest::default();
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if line.starts_with(b"#") {
                continue;
            }
            manifest.take_line(line).map_err(|what| {
                let shown = String::from_utf8_lossy(line.trim_ascii()).into_owned();
                ManifestError { line: Some((index + 1, shown)), what }
            })?;
        }
        Ok(manifest)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        const FORMAT: &str = "Invalid AOF manifest file format";
        if line.len() > LINE_MAX || !line.ends_with(b"\n") {
            return Err("The AOF manifest file contains too long line");
        }
        let words = quote::split_args(line.trim_ascii()).ok_or(FORMAT)?;
        if words.len() < 6 || !words.len().is_multiple_of(2) {
            return Err(FORMAT);
        }
        let (mut name, mut seq, mut kind) = (None, 0, None);
        for pair in words.chunks_exact(2) {
            let (word, value) = (&pair[0], &pair[1]);
            if word.eq_ignore_ascii_case(b"file") {
                if value.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(String::from_utf8(value.clone()).map_err(|_| FORMAT)?);
            } else if word.eq_ignore_ascii_case(b"seq") {
                seq = num::parse_i64(value).ok_or(FORMAT)?;
            } else if word.eq_ignore_ascii_case(b"type") {
                kind = value.first().copied();
            }
        }
        match (name, kind) {
            (Some(name), Some(kind)) if seq != 0 => self.add(Entry { name, seq }, kind),
            _ => Err(FORMAT),
        }
    }

    fn add(&mut self, entry: Entry, kind: u8) -> Result<(), &'static str> {
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.base_seq = entry.seq;
                self.base = Some(entry);
            }
            b'i' if entry.seq <= self.incr_seq => {
                return Err("Found a non-monotonic sequence number");
            }
            b'i' => {
                self.incr_seq = entry.seq;
                self.incrs.push(entry);
            }
            b'h' => self.history.push(entry),
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The text of the manifest.
    pub fn format(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let base = self.base.iter().map(|entry| (entry, 'b'));
        let history = self.history.iter().map(|entry| (entry, 'h'));
        let incrs = self.incrs.iter().map(|entry| (entry, 'i'));
        for (entry, kind) in base.chain(history).chain(incrs) {
            text.extend_from_slice(b"file ");
            let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
            if entry.name.bytes().all(plain) {
                text.extend_from_slice(entry.name.as_bytes());
            } else {
                quote::repr(&mut text, entry.name.as_bytes());
            }
            text.extend_from_slice(format!(" seq {} type {kind}\n", entry.seq).as_bytes());
        }
        text
    }

    /// Whether it names no file to load.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incrs.is_empty()
    }

    /// The files to load, in order.
    pub fn to_load(&self) -> impl Iterator<Item = (Kind, &Entry)> {
        let base = self.base.iter().map(|entry| (Kind::Base, entry));
        base.chain(self.incrs.iter().map(|entry| (Kind::Incr, entry)))
    }

    /// Takes a base of that name as it is: an append-only file from before there were manifests.
    pub fn adopt_base(&mut self, name: &str) {
        self.base_seq = 1;
        self.base = Some(Entry { name: name.to_owned(), seq: 1 });
    }

    /// Puts a new base in the place of the present one, and returns its name.
    pub fn new_base(&mut self, prefix: &str, is_rdb: bool) -> String {
        self.base_seq = self.base_seq.saturating_add(1);
        let suffix = if is_rdb { "rdb" } else { "aof" };
        let name = format!("{prefix}.{}.base.{suffix}", self.base_seq);
        let entry = Entry { name: name.clone(), seq: self.base_seq };
        if let Some(old) = self.base.replace(entry) {
            self.history.insert(0, old);
        }
        name
    }

    /// Adds an increment, and returns its name.
    pub fn new_incr(&mut self, prefix: &str) -> String {
        self.incr_seq = self.incr_seq.saturating_add(1);
        let name = format!("{prefix}.{}.incr.aof", self.incr_seq);
        self.incrs.push(Entry { name: name.clone(), seq: self.incr_seq });
        name
    }

    /// The increments are in the new base now, but for the last `kept`.
    pub fn retire_incrs(&mut self, kept: usize) {
        let retired = self.incrs.len().saturating_sub(kept);
        self.history.splice(0..0, self.incrs.drain(..retired));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (&'static str, usize) {
        let error = Manifest::parse(text.as_bytes()).unwrap_err();
        (error.what, error.line.map_or(0, |(number, _)| number))
    }

    #[test]
    fn there_and_back() {
        let text = "file \"a b.2.base.rdb\" seq 2 type b\nfile a.1.base.rdb seq 1 type h\n\
                    file a.1.incr.aof seq 1 type i\nfile a.7.incr.aof seq 7 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(manifest.format()).unwrap(), text);
        let names: Vec<_> = manifest.to_load().map(|(_, entry)| entry.name.as_str()).collect();
        assert_eq!(names, ["a b.2.base.rdb", "a.1.incr.aof", "a.7.incr.aof"]);
    }

    #[test]
    fn what_later_versions_add_is_passed_over() {
        let text = b"# comment\nFILE x SEQ 3 type incr startoffset 7\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.format(), b"file x seq 3 type i\n");
    }

    #[test]
    fn refusals() {
        const FORMAT: &str = "Invalid AOF manifest file format";
        assert_eq!(refused(""), ("Found an empty AOF manifest", 0));
        assert_eq!(refused("\n"), (FORMAT, 1));
        assert_eq!(refused("file a seq 1\n"), (FORMAT, 1));
        assert_eq!(refused("file a seq 1 type b more\n"), (FORMAT, 1));
        assert_eq!(refused("file a seq 0 type b\n"), (FORMAT, 1));
        assert_eq!(refused("file a seq x type b\n"), (FORMAT, 1));
        assert_eq!(refused("file 'a seq 1 type b\n"), (FORMAT, 1));
        assert_eq!(refused("file a/b seq 1 type b\n").0, "File can't be a path, just a filename");
        assert_eq!(refused("file a seq 1 type z\n").0, "Unknown AOF file type");
        let twice = "file a seq 1 type b\nfile b seq 2 type b\n";
        assert_eq!(refused(twice), ("Found duplicate base file information", 2));
        let back = "file a seq 2 type i\nfile b seq 2 type i\n";
        assert_eq!(refused(back), ("Found a non-monotonic sequence number", 2));
        let long = format!("file {} seq 1 type b\n", "a".repeat(LINE_MAX));
        assert_eq!(refused(&long).0, "The AOF manifest file contains too long line");
        assert_eq!(
            refused("file a seq 1 type b").0,
            "The AOF manifest file contains too long line"
        );
    }

    #[test]
    fn a_rewrite() {
        let mut manifest = Manifest::default();
        assert!(manifest.is_empty());
        assert_eq!(manifest.new_base("f", true), "f.1.base.rdb");
        for number in 1..=3 {
            assert_eq!(manifest.new_incr("f"), format!("f.{number}.incr.aof"));
        }
        assert_eq!(manifest.new_base("f", false), "f.2.base.aof");
        manifest.retire_incrs(1);
        let text = "file f.2.base.aof seq 2 type b\nfile f.1.incr.aof seq 1 type h\n\
                    file f.2.incr.aof seq 2 type h\nfile f.1.base.rdb seq 1 type h\n\
                    file f.3.incr.aof seq 3 type i\n";
        assert_eq!(String::from_utf8(manifest.format()).unwrap(), text);
    }
}
