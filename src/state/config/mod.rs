//! The configuration of one server: a table of parameters, and the values now in force.
//!
//! CONFIG GET, SET and REWRITE, configuration files and the command line all derive from one table
//! ([`PARAMS`]). Knows nothing of commands, sockets or files of data: what a change entails is done
//! by the caller's hook.
//!
//! Invariants: the values in force are always those of one point in time ([`Config::get`] hands out
//! a snapshot), and CONFIG SET changes all of its parameters or none.

mod argv;
mod effects;
mod files;
mod kinds;
mod parse;
mod rewrite;
mod settings;
mod special;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod values;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::base::glob;

pub use argv::{Startup, Stop, parse_args};
pub use effects::{IGNORED_DIRECTIVES, NO_EFFECT};
pub use kinds::{Bytes, Param, Source};
pub use parse::Rename;
pub use settings::{
    Among, By, ClientMemory, DisklessLoad, Fsync, OomScoreAdj, Policy, PropagationError, Settings,
    ShutdownOn,
};
pub use special::os_text;
pub use table::is_sensitive;

/// The version of Redis whose behaviour this server has.
pub const REDIS_VERSION: &str = "7.2.4";

/// What CONFIG SET must know of who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The connection comes from this machine (loopback or Unix socket).
    pub is_local: bool,
    /// The data set is being loaded.
    pub is_loading: bool,
}

/// Why CONFIG SET changed nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The parameter cannot be set while the data set is loading: the usual LOADING error.
    Loading,
    /// The error as it goes to the client, with its code, without the leading `-`. Names that the
    /// client sent are in it as they came.
    Error(Bytes),
}

/// Why the effects of a change could not be had: the parameter that is to blame and Redis's text.
pub type ApplyError = (&'static str, String);

/// The configuration of a running server, shared by its threads.
#[derive(Debug)]
pub struct Config {
    current: RwLock<Arc<Settings>>,
    version: AtomicU64,
    file: Option<PathBuf>,
    /// Held by who changes values or rewrites the file, so that changes do not overtake each other
    /// while their effects are applied.
    changing: Mutex<()>,
}

impl Config {
    /// The configuration that the command line gave.
    pub fn new(startup: Startup) -> Config {
        Config {
            current: RwLock::new(Arc::new(startup.settings)),
            version: AtomicU64::new(0),
            file: startup.config_file,
            changing: Mutex::new(()),
        }
    }

    /// The values in force.
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Grows with every change. A thread that keeps a snapshot reads this before [`Config::get`]
    /// and takes a new one when it differs.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The absolute path of the configuration file, if the server has one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// CONFIG GET: names and values of all parameters that match one of the patterns, each name
    /// once. A name without wild cards is shown in the letters it was asked in; a parameter and its
    /// alias are two names.
    pub fn get_params(&self, patterns: &[&[u8]]) -> Vec<(String, Bytes)> {
        let settings = self.get();
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                if let Some((param, name)) = table::find(pattern)
                    && seen.insert(name)
                {
                    found.push((String::from_utf8_lossy(pattern).into(), param.get(&settings)));
                }
                continue;
            }
            for (name, param) in table::names() {
                if !param.is_hidden
                    && !seen.contains(name)
                    && glob::matches(pattern, name.as_bytes(), true)
                {
                    seen.insert(name);
                    found.push((name.to_owned(), param.get(&settings)));
                }
            }
        }
        found
    }

    /// CONFIG SET: changes all of the parameters or none, and returns the (primary) names of those
    /// that have another value than before.
    ///
    /// `apply` is called before the new values are in force, if there is any change. It makes them
    /// true (listens on another port, ...) or refuses; then nothing changes, and it must have
    /// undone what it did. It must not change the configuration itself.
    ///
    /// # Errors
    /// Redis's texts for whatever is wrong with the first bad parameter.
    pub fn set_params(
        &self,
        pairs: &[(&[u8], &[u8])],
        origin: Origin,
        apply: impl FnOnce(&Settings, &Settings, &[&'static str]) -> Result<(), ApplyError>,
    ) -> Result<Vec<&'static str>, Refusal> {
        let _changing = self.start_change();
        let old = self.get();
        let targets = targets(pairs, &old, origin)?;
        let mut new = Settings::clone(&old);
        for (param, name, value) in &targets {
            param
                .set(&mut new, &arguments(param, value), Source::Command)
                .map_err(|text| failed(name.as_bytes(), &text))?;
        }
        let mut changed = Vec::new();
        for (param, ..) in &targets {
            if param.get(&old) != param.get(&new) && !changed.contains(&param.name) {
                changed.push(param.name);
            }
        }
        if changed.is_empty() {
            return Ok(changed);
        }
        apply(&old, &new, &changed).map_err(|(blamed, text)| {
            let target = targets.iter().find(|(param, ..)| param.name == blamed);
            failed(target.map_or(blamed, |(_, name, _)| name).as_bytes(), &text)
        })?;
        self.put(new);
        Ok(changed)
    }

    /// Changes values from within the server, such as REPLICAOF does, without any checks or
    /// effects.
    pub fn update(&self, change: impl FnOnce(&mut Settings)) {
        let _changing = self.start_change();
        let mut settings = Settings::clone(&self.get());
        change(&mut settings);
        self.put(settings);
    }

    /// CONFIG REWRITE: brings the configuration file up to date. `users` are the lines of the users
    /// that belong in it. `all`: with parameters that have their default too.
    ///
    /// # Errors
    /// The error as it goes to the client.
    pub fn rewrite(&self, users: &[Bytes], all: bool) -> Result<(), String> {
        let Some(file) = &self.file else {
            return Err("ERR The server is running without a config file".to_owned());
        };
        let _changing = self.start_change();
        rewrite::rewrite_file(file, &self.get(), users, all)
            .map_err(|error| format!("ERR Rewriting config file: {}", special::os_text(&error)))
    }

    fn start_change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, settings: Settings) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        // After the values: who sees the new version must not get the old values.
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// A parameter to set: its entry, the name by which it was found, the value's text.
type Target<'a> = (&'static Param, &'static str, &'a [u8]);

/// Finds the parameters and checks that they may be set now. The first bad one decides.
fn targets<'a>(
    pairs: &[(&[u8], &'a [u8])],
    settings: &Settings,
    origin: Origin,
) -> Result<Vec<Target<'a>>, Refusal> {
    let mut targets: Vec<Target> = Vec::new();
    for &(given, value) in pairs {
        let Some((param, name)) = table::find(given) else {
            let text = b"ERR Unknown option or number of arguments for CONFIG SET - '";
            return Err(Refusal::Error([text, until_nul(given), b"'"].concat()));
        };
        if param.is_immutable {
            return Err(failed(given, "can't set immutable config"));
        }
        if param.is_protected && !settings.enable_protected_configs.allows(origin.is_local) {
            return Err(failed(given, "can't set protected config"));
        }
        if param.denies_loading && origin.is_loading {
            return Err(Refusal::Loading);
        }
        // An alias beside its parameter is no duplicate, as in Redis: the later one wins.
        if targets.iter().any(|(_, other, _)| *other == name) {
            return Err(failed(given, "duplicate parameter"));
        }
        targets.push((param, name, value));
    }
    Ok(targets)
}

/// The arguments in a value. Unlike in a file there are no quotes: each single space separates.
fn arguments(param: &Param, value: &[u8]) -> Vec<Bytes> {
    if !param.is_multi {
        return vec![value.to_vec()];
    }
    if value.is_empty() {
        return Vec::new();
    }
    value.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect()
}

fn failed(name: &[u8], why: &str) -> Refusal {
    let text = b"ERR CONFIG SET failed (possibly related to argument '";
    Refusal::Error([text, until_nul(name), b"') - ", why.as_bytes()].concat())
}

/// Redis prints names as C strings, which end at a NUL.
fn until_nul(name: &[u8]) -> &[u8] {
    name.split(|&byte| byte == 0).next().unwrap_or_default()
}
