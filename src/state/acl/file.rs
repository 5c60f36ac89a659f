//! The file of users (`aclfile`): lines `user <name> <rule> ...`, nothing else but blank lines.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::clock;
use crate::state::config::os_text;

use super::selector::has_spaces;
use super::user::{Basis, User, merge_selectors};
use super::{Refused, RuleError};

/// Bytes that the file may have; a device must not fill the memory.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads the users of a file, with 0 for their ids. `shown` is its name in errors.
///
/// # Errors
/// All that is wrong with it.
pub fn load(path: &Path, shown: &str, basis: &Basis) -> Result<Vec<User>, Vec<u8>> {
    let text = read(path).map_err(|e| {
        let why = os_text(&e);
        format!("Error loading ACLs, opening file '{shown}': {why}").into_bytes()
    })?;
    parse(&text, shown, basis)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::other("more than 64 MiB"));
    }
    Ok(text)
}

fn parse(text: &[u8], shown: &str, basis: &Basis) -> Result<Vec<User>, Vec<u8>> {
    let mut file = Lines { shown, users: Vec::new(), names: HashSet::new(), errors: Vec::new() };
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if !line.is_empty() {
            file.line(at + 1, line, basis);
        }
    }
    if file.errors.is_empty() {
        return Ok(file.users);
    }
    file.errors.extend_from_slice(
        b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
    );
    Err(file.errors)
}

/// A file that is being read.
struct Lines<'s> {
    shown: &'s str,
    users: Vec<User>,
    names: HashSet<Vec<u8>>,
    errors: Vec<u8>,
}

impl Lines<'_> {
    fn line(&mut self, number: usize, line: &[u8], basis: &Basis) {
        let place = format!("{}:{number}", self.shown).into_bytes();
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let [b"user", name, rules @ ..] = words.as_slice() else {
            let text = b" should start with user keyword followed by the username. ";
            return self.complain(&[&place, text]);
        };
        if has_spaces(name) {
            let (before, after) = (b": username '", b"' contains invalid characters. ");
            return self.complain(&[b"'", &place, before, name, after]);
        }
        if !self.names.insert(name.to_vec()) {
            let after = format!("' found on line {number}. ");
            return self.complain(&[b"WARNING: Duplicate user '", name, after.as_bytes()]);
        }
        let Ok(rules) = merge_selectors(rules) else {
            return self.complain(&[&place, b": Unmatched parenthesis in selector definition."]);
        };
        let mut user = User::new(0, name, basis);
        let mut is_told = false;
        for rule in &rules {
            match user.apply_all(&[trim(rule).to_vec()], basis) {
                Ok(()) | Err(Refused::Unmatched(_)) => {}
                Err(Refused::Rule(rule, why @ RuleError::Unknown)) => {
                    let text = why.text().as_bytes();
                    let before = b": Error in applying operation '";
                    self.complain(&[&place, before, &rule, b"': ", text, b". "]);
                }
                // Only the first: it may be the cause of the others.
                Err(Refused::Rule(_, why)) if !is_told => {
                    is_told = true;
                    self.complain(&[&place, b": ", why.text().as_bytes(), b". "]);
                }
                Err(Refused::Rule(..)) => {}
            }
        }
        self.users.push(user);
    }

    fn complain(&mut self, parts: &[&[u8]]) {
        self.errors.extend_from_slice(&parts.concat());
    }
}

fn trim(rule: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n');
    let start = rule.iter().position(|byte| !is_blank(byte)).unwrap_or(rule.len());
    let end = rule.iter().rposition(|byte| !is_blank(byte)).map_or(start, |at| at + 1);
    &rule[start..end]
}

/// Writes users into a file. A crash leaves either the old file or the new one.
///
/// # Errors
/// The text for the log.
pub fn save(path: &Path, users: &[Arc<User>]) -> Result<(), String> {
    let failed =
        |what: &'static str| move |e: io::Error| format!("{what} for ACL SAVE: {}", os_text(&e));
    let text: Vec<u8> =
        users.iter().flat_map(|user| [user.describe(), b"\n".to_vec()].concat()).collect();
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".tmp-{}-{}", std::process::id(), clock::unix_ms()));
    let temporary = PathBuf::from(temporary);
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o644).open(&temporary);
    let mut file = opened.map_err(failed("Opening temp ACL file"))?;
    let result = file
        .write_all(&text)
        .map_err(failed("Writing ACL file"))
        .and_then(|()| file.sync_all().map_err(failed("Syncing ACL file")))
        .and_then(|()| fs::rename(&temporary, path).map_err(failed("Renaming ACL file")));
    if result.is_err() {
        // The first error is the one worth telling.
        let _ = fs::remove_file(&temporary);
        return result;
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(failed("Syncing ACL directory"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Sample;
    use super::*;

    const BASIS: Basis = Basis { catalog: &Sample, all_channels: false };

    fn describe(text: &str) -> Vec<String> {
        let users = parse(text.as_bytes(), "f", &BASIS).unwrap();
        users.iter().map(|user| String::from_utf8(user.describe()).unwrap()).collect()
    }

    fn errors(text: &str) -> String {
        let errors = String::from_utf8(parse(text.as_bytes(), "f", &BASIS).unwrap_err()).unwrap();
        let end = "WARNING: ACL errors detected, no change to the previously active ACL rules was \
                   performed";
        errors.strip_suffix(end).unwrap().to_owned()
    }

    #[test]
    fn users_one_per_line() {
        assert_eq!(
            describe("user a on  nopass (+get ~x)\r\n\n   \n\tuser default +@all ( +hget\t )"),
            [
                "user a on nopass sanitize-payload resetchannels -@all (~x resetchannels -@all \
                 +get)",
                "user default off sanitize-payload resetchannels +@all (resetchannels -@all +hget)"
            ]
        );
        assert!(describe("").is_empty());
    }

    #[test]
    fn everything_wrong_is_told() {
        for (text, told) in [
            ("# no", "f:1 should start with user keyword followed by the username. "),
            ("user", "f:1 should start with user keyword followed by the username. "),
            ("user a\tb", "'f:1: username 'a\tb' contains invalid characters. "),
            ("user a (+get ~x y)", "f:1: Syntax error. "),
            ("USER a", "f:1 should start with user keyword followed by the username. "),
            ("user a\nuser b\nuser a", "WARNING: Duplicate user 'a' found on line 3. "),
            ("\nuser a (+get", "f:2: Unmatched parenthesis in selector definition."),
            (
                "user a +x bad +y worse\nuser b ~* ~a",
                "f:1: Error in applying operation '+x': Unknown command or category name in ACL. \
                 f:1: Syntax error. f:1: Error in applying operation '+y': Unknown command or \
                 category name in ACL. f:2: Adding a pattern after the * pattern (or the 'allkeys' \
                 flag) is not valid and does not have any effect. Try 'resetkeys' to start with an \
                 empty list of patterns. ",
            ),
        ] {
            assert_eq!(errors(text), told, "{text}");
        }
    }
}
