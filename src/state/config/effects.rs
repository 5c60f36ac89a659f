//! What is accepted for the sake of existing configuration files and clients, and changes nothing
//! here.
//!
//! An honest list: each name has the reason why there is nothing to change, and `--help` prints
//! it.

/// Parameters that can be set and read back without any effect, with the reason.
pub const NO_EFFECT: &[(&str, &str)] = &[
    ("active-expire-effort", "keys expire by an index ordered by deadline, not by sampling"),
    (
        "activerehashing",
        "the key table grows one bucket at a time, so there is nothing to catch up",
    ),
    ("always-show-logo", "there is no logo"),
    ("busy-reply-threshold", "there are no scripts yet"),
    ("disable-thp", "the standard library cannot change a process's page sizes"),
    ("dynamic-hz", "timed work waits for its deadline, not for a tick"),
    ("enable-module-command", "there are no modules"),
    ("hz", "timed work waits for its deadline, not for a tick"),
    ("io-threads", "each connection has a thread of its own"),
    ("list-compress-depth", "the blocks of lists are never compressed"),
    (
        "loading-process-events-interval-bytes",
        "clients have threads of their own while a file is loaded",
    ),
    ("proc-title-template", "the standard library cannot change a process's title"),
    ("rdb-del-sync-files", "a full resync leaves no files behind"),
    ("rdb-save-incremental-fsync", "a snapshot is synced once, before it takes its name"),
    ("replica-lazy-flush", "large values are always freed outside the locks"),
    ("sanitize-dump-payload", "every payload is checked in full"),
    ("set-proc-title", "the standard library cannot change a process's title"),
];

/// Directives that configuration files of Redis contain and that are passed over, with the reason.
/// They are no parameters: CONFIG does not know them.
pub const IGNORED_DIRECTIVES: &[(&str, &str)] = &[
    ("crash-log-enabled", "a panic is always reported"),
    ("crash-memcheck-enabled", "a panic does not test the memory"),
    ("jemalloc-bg-thread", "the allocator is the system's"),
    ("list-max-ziplist-entries", "Redis passes over it as well"),
    ("list-max-ziplist-value", "Redis passes over it as well"),
    ("locale-collate", "texts are compared by their bytes"),
    ("lua-replicate-commands", "Redis passes over it as well"),
    ("syslog-facility", "the system log is not supported"),
    ("syslog-ident", "the system log is not supported"),
    ("use-exit-on-panic", "a panic always ends the process"),
];

#[cfg(test)]
mod tests {
    use super::super::table::{PARAMS, find, names};
    use super::*;

    #[test]
    fn every_parameter_without_effect_exists_once_and_has_a_reason() {
        for (at, (name, reason)) in NO_EFFECT.iter().enumerate() {
            assert!(PARAMS.iter().any(|param| param.name == *name), "{name}");
            assert!(NO_EFFECT[at + 1..].iter().all(|(other, _)| other != name), "{name}");
            assert!(!reason.is_empty());
        }
    }

    #[test]
    fn ignored_directives_are_no_parameters() {
        for (name, reason) in IGNORED_DIRECTIVES {
            assert!(find(name.as_bytes()).is_none() && !reason.is_empty(), "{name}");
        }
    }

    #[test]
    fn names_and_aliases_are_unique_and_in_lower_case() {
        let mut all: Vec<&str> = names().map(|(name, _)| name).collect();
        assert!(all.iter().all(|name| *name == name.to_ascii_lowercase()));
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
