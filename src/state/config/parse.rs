//! Configuration text, line by line, into settings; `include` and what is refused.
//!
//! Knows the syntax of lines, not where the text came from. A line is a name and its arguments,
//! quoted as in redis.conf; blank lines and those that start with `#` say nothing.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStringExt;

use crate::base::quote;

use super::effects::IGNORED_DIRECTIVES;
use super::files::{read_all, trim};
use super::kinds::{Bytes, Param, Source};
use super::settings::Settings;
use super::special::os_text;
use super::{REDIS_VERSION, table};

/// How deep `include` may nest. Redis has no bound and falls over a file that includes itself.
const MAX_DEPTH: usize = 16;

/// How many `include` lines one start may follow, so that a few files that include each other
/// several times cannot keep it busy for ever.
const MAX_INCLUDES: usize = 1024;

const BAD_DIRECTIVE: &str = "Bad directive or wrong number of arguments";
const UNBALANCED: &str = "Unbalanced quotes in configuration line";

/// Directives of Redis that are refused, and why.
const REFUSED: &[(&[u8], &str)] = &[
    (b"loadmodule", "loadmodule is not supported: there are no modules"),
    (b"rename-command", "rename-command is not supported"),
    (b"user", "user is not supported: set requirepass instead"),
    (b"sentinel", "sentinel directive while not in sentinel mode"),
];

/// Why a line cannot be used.
enum Failure {
    /// Something is wrong with the line itself.
    Line(String),
    /// The whole message is there already, from an included file.
    Whole(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::Line(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Failure::Line(message.to_owned())
    }
}

/// Reads `text` into `settings`, which are half changed if there is an error.
///
/// # Errors
/// The whole message to print, without the newline at its end.
pub fn load(settings: &mut Settings, text: &[u8]) -> Result<(), String> {
    Loader { settings, depth: 0, includes: 0 }.text(text)
}

/// Checks that the log file can be written, because later there is nobody to tell.
///
/// # Errors
/// The whole message to print.
pub fn check_log_file(settings: &Settings) -> Result<(), String> {
    if settings.logfile.is_empty() {
        return Ok(());
    }
    let path = settings.dir.join(&settings.logfile);
    match OpenOptions::new().append(true).create(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{}\nCan't open the log file: {}", headline(), os_text(&error))),
    }
}

fn headline() -> String {
    format!("\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***")
}

struct Loader<'a> {
    settings: &'a mut Settings,
    depth: usize,
    includes: usize,
}

impl Loader<'_> {
    fn text(&mut self, text: &[u8]) -> Result<(), String> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            self.line(line).map_err(|failure| match failure {
                Failure::Whole(message) => message,
                Failure::Line(message) => format!(
                    "{}\nReading the configuration file, at line {}\n>>> '{}'\n{message}",
                    headline(),
                    index + 1,
                    String::from_utf8_lossy(line),
                ),
            })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        let words = quote::split_args(line).ok_or(UNBALANCED)?;
        let Some((name, args)) = words.split_first() else {
            return Ok(());
        };
        if let Some((param, _)) = table::find(name) {
            return self.parameter(param, args);
        }
        let is_name = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is_name(b"include") {
            let [path] = args else {
                return Err(BAD_DIRECTIVE.into());
            };
            return self.include(path);
        }
        if let Some((_, why)) = REFUSED.iter().find(|(known, _)| is_name(known)) {
            return Err((*why).into());
        }
        let is_ignored = IGNORED_DIRECTIVES.iter().any(|(known, _)| is_name(known.as_bytes()));
        if is_ignored && !args.is_empty() {
            return Ok(());
        }
        Err(BAD_DIRECTIVE.into())
    }

    fn parameter(&mut self, param: &Param, args: &[Bytes]) -> Result<(), Failure> {
        if let ([one], true) = (args, param.is_multi)
            && !one.is_empty()
        {
            // `save "3600 1 300 100"` is what `save 3600 1 300 100` is.
            let args = quote::split_args(one).ok_or(UNBALANCED)?;
            return Ok(param.set(self.settings, &args, Source::Startup)?);
        }
        if !param.is_multi && args.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        Ok(param.set(self.settings, args, Source::Startup)?)
    }

    /// Redis opens the path in its working directory, which an earlier `dir` line has changed; here
    /// that is the value of `dir`.
    fn include(&mut self, path: &[u8]) -> Result<(), Failure> {
        self.includes += 1;
        if self.depth == MAX_DEPTH || self.includes > MAX_INCLUDES {
            return Err("too many include directives, or they include each other".into());
        }
        let path = self.settings.dir.join(OsString::from_vec(path.to_vec()));
        let text = read_all(&path).map_err(Failure::Whole)?;
        self.depth += 1;
        self.text(&text).map_err(Failure::Whole)?;
        self.depth -= 1;
        Ok(())
    }
}
