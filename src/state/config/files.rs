//! Finding and reading configuration files: wild cards, size bounds, absolute paths.
//!
//! Knows nothing of what the files say.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use crate::base::glob;

use super::special::os_text;

/// Bytes that one configuration file or standard input may have. Nobody writes such a file; a
/// device or an endless pipe must not fill the memory.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Paths that one pattern may match.
const MAX_MATCHES: usize = 1024;

/// The text of the file `path`, or of all files that it matches if it has wild cards. A pattern may
/// match nothing, so that an empty directory can be included; a plain path must exist. Each text
/// ends in a newline.
///
/// # Errors
/// The line that the server exits with.
pub fn read_all(path: &Path) -> Result<Vec<u8>, String> {
    let has_wild_card = |part: &[u8]| part.iter().any(|byte| b"*?[".contains(byte));
    let paths = if has_wild_card(path.as_os_str().as_bytes()) {
        expand(path, has_wild_card)
    } else {
        vec![path.to_owned()]
    };
    let mut text = Vec::new();
    for path in paths {
        File::open(&path).and_then(|mut file| read_text(&mut file, &mut text)).map_err(
            |error| {
                let shown = path.display();
                format!("Fatal error, can't open config file '{shown}': {}", os_text(&error))
            },
        )?;
    }
    Ok(text)
}

/// Appends everything that `input` has to `text`, and a newline if the last line lacks one.
///
/// # Errors
/// What reading fails with, or that the input is too long.
pub fn read_text(input: &mut dyn Read, text: &mut Vec<u8>) -> io::Result<()> {
    let read = input.take(MAX_BYTES + 1).read_to_end(text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("more than {MAX_BYTES} bytes")));
    }
    if text.last().is_some_and(|&byte| byte != b'\n') {
        text.push(b'\n');
    }
    Ok(())
}

/// The existing paths that an absolute pattern matches, sorted.
fn expand(pattern: &Path, has_wild_card: impl Fn(&[u8]) -> bool) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let part = component.as_os_str();
        let is_pattern =
            matches!(component, Component::Normal(_)) && has_wild_card(part.as_bytes());
        found = if is_pattern {
            found.iter().flat_map(|dir| matches_in(dir, part)).take(MAX_MATCHES).collect()
        } else {
            found.into_iter().map(|path| path.join(part)).collect()
        };
    }
    found.retain(|path| path.exists());
    found.sort_unstable();
    found
}

/// The entries of a directory that match; hidden ones only if the pattern names the dot.
fn matches_in(dir: &Path, pattern: &OsStr) -> Vec<PathBuf> {
    let pattern = pattern.as_bytes();
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.as_bytes();
            let hidden = name.starts_with(b".") && !pattern.starts_with(b".");
            !hidden && glob::matches(pattern, name, false)
        })
        .map(|entry| entry.path())
        .collect()
}

/// `name` as an absolute path below `dir`, cleaned of surrounding white space and leading `../`, as
/// Redis shows the path of its configuration file.
pub fn absolute(dir: &Path, name: &[u8]) -> PathBuf {
    let mut name = trim(name);
    let mut dir = dir.to_owned();
    if name.starts_with(b"/") {
        dir = PathBuf::new();
    }
    while let Some(rest) = name.strip_prefix(b"../") {
        dir.pop();
        name = rest;
    }
    dir.join(OsString::from_vec(name.to_vec()))
}

/// A line or a name without the white space around it.
pub fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::super::testing::TempDir;
    use super::*;

    #[test]
    fn leading_dots_climb_from_the_directory() {
        let dir = Path::new("/a/b");
        for (name, path) in [
            ("c.conf", "/a/b/c.conf"),
            (" c.conf\n", "/a/b/c.conf"),
            ("./c.conf", "/a/b/./c.conf"),
            ("../c.conf", "/a/c.conf"),
            ("../../../c.conf", "/c.conf"),
            ("/etc/c.conf", "/etc/c.conf"),
        ] {
            assert_eq!(absolute(dir, name.as_bytes()).as_os_str(), path, "{name:?}");
        }
    }

    #[test]
    fn patterns_match_sorted_visible_files_and_may_match_none() {
        let dir = TempDir::new("glob");
        for (name, text) in [("b.conf", "b\n"), ("a.conf", "a"), (".c.conf", "c\n"), ("d", "d\n")] {
            dir.write(name, text);
        }
        assert_eq!(read_all(&dir.path().join("*.conf")).unwrap(), b"a\nb\n");
        assert_eq!(read_all(&dir.path().join("*.none")).unwrap(), b"");
        let above = dir.path().parent().unwrap().join("*").join("nothing-is-called-so.conf");
        assert_eq!(read_all(&above).unwrap(), b"");
    }

    #[test]
    fn a_missing_file_and_a_directory_are_errors() {
        let dir = TempDir::new("missing");
        let missing = dir.path().join("x.conf");
        assert_eq!(
            read_all(&missing).unwrap_err(),
            format!(
                "Fatal error, can't open config file '{}': No such file or directory",
                missing.display()
            )
        );
        assert!(read_all(dir.path()).unwrap_err().ends_with(": Is a directory"));
    }

    #[test]
    fn endless_input_is_refused() {
        assert!(read_text(&mut io::repeat(b'#'), &mut Vec::new()).is_err());
    }
}
