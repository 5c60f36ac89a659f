//! Configuration text, line by line, into settings; `include` and what is refused.
//!
//! Knows the syntax of lines, not where the text came from. A line is a name and its arguments,
//! quoted as in redis.conf; blank lines and those that start with `#` say nothing.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStringExt;

use crate::base::quote;
use crate::state::acl::{Basis, Declaration, Nameless, RuleError, User, merge_selectors};

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

/// Reads `text` into `settings`, which are half changed if there is an error. Returns the users
/// that it declares.
///
/// # Errors
/// The whole message to print, without the newline at its end.
pub fn load(settings: &mut Settings, text: &[u8]) -> Result<Declared, String> {
    let declared = Declared::default();
    let mut loader = Loader { settings, declared, line: 0, depth: 0, includes: 0 };
    loader.text(text)?;
    Ok(loader.declared)
}

/// What a configuration says of things that only the engine knows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Users.
    pub users: Vec<Declaration>,
    /// Names of commands, in the order in which they change.
    pub renames: Vec<Rename>,
}

/// A line that gives a command another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// Its name so far.
    pub from: Bytes,
    /// Its name from now on; empty when it is to have none.
    pub to: Bytes,
    /// Where this is said: what stands before a complaint about it.
    pub place: String,
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
    declared: Declared,
    /// The number of the line that is read.
    line: usize,
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
            self.line = index + 1;
            self.line(line).map_err(|failure| match failure {
                Failure::Whole(message) => message,
                Failure::Line(message) => self.place(line) + &message,
            })?;
        }
        Ok(())
    }

    /// What stands before a complaint about the line that is read.
    fn place(&self, line: &[u8]) -> String {
        let (number, line) = (self.line, String::from_utf8_lossy(line));
        let headline = headline();
        format!("{headline}\nReading the configuration file, at line {number}\n>>> '{line}'\n")
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
        if is_name(b"rename-command")
            && let [from, to] = args
        {
            let (from, to, place) = (from.clone(), to.clone(), self.place(line));
            self.declared.renames.push(Rename { from, to, place });
            return Ok(());
        }
        if is_name(b"user") && !args.is_empty() {
            return self.user(args);
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

    /// Notes the declaration of a user, if its rules can be right. The commands are not known here:
    /// whether they exist comes out when the user is made.
    fn user(&mut self, args: &[Bytes]) -> Result<(), Failure> {
        let wrong = |word: &[u8], why: &str| {
            let word = String::from_utf8_lossy(word);
            Failure::Line(format!("Error in user declaration '{word}': {why}"))
        };
        let Some((name, rules)) = args.split_first() else { return Err(BAD_DIRECTIVE.into()) };
        if self.declared.users.iter().any(|known| known[0] == *name) {
            let why = "Duplicate user found. A user can only be defined once in config files";
            return Err(wrong(name, why));
        }
        let rules: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
        let merged = merge_selectors(&rules)
            .map_err(|at| wrong(rules[at], "Unmatched parenthesis in acl selector"))?;
        let all_channels = self.settings.acl_pubsub_default;
        let basis = Basis { catalog: &Nameless(0), all_channels };
        let mut user = User::new(0, name, &basis);
        for rule in &merged {
            match user.apply(rule, &basis) {
                Ok(()) | Err(RuleError::Unknown) => {}
                Err(why) => return Err(wrong(rule, why.text())),
            }
        }
        self.declared.users.push(std::iter::once(name.clone()).chain(merged).collect());
        Ok(())
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
