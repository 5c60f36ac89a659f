//! The commands that took longest to execute lately (SLOWLOG).

use std::collections::VecDeque;

use crate::base::clock;
use crate::base::lock::{Lock, rank};

/// Arguments kept of one command; the last one tells how many more there were.
const ARGS_MAX: usize = 32;
/// Bytes kept of one argument.
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Ascending number.
    pub id: u64,
    /// Unix seconds of its end.
    pub time: i64,
    /// Duration in microseconds.
    pub micros: u64,
    /// Arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// Address of the client.
    pub addr: String,
    /// Name of the client.
    pub name: String,
}

#[derive(Default)]
struct Inner {
    next_id: u64,
    entries: VecDeque<Entry>,
}

/// The log of one server, newest first.
pub struct Slowlog(Lock<Inner>);

impl Default for Slowlog {
    fn default() -> Self {
        Slowlog(Lock::new(rank::LEAF + 40, Inner::default()))
    }
}

impl Slowlog {
    /// Adds a command and drops the oldest ones beyond `max_len`.
    pub fn add(&self, micros: u64, args: &[&[u8]], addr: &str, name: &str, max_len: usize) {
        let mut entry = Entry {
            id: 0,
            time: clock::unix_ms() / 1000,
            micros,
            args: shorten(args),
            addr: addr.to_owned(),
            name: name.to_owned(),
        };
        let mut inner = self.0.lock();
        entry.id = inner.next_id;
        inner.next_id += 1;
        inner.entries.push_front(entry);
        inner.entries.truncate(max_len);
    }

    /// The newest `count` entries.
    pub fn newest(&self, count: usize) -> Vec<Entry> {
        self.0.lock().entries.iter().take(count).cloned().collect()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.lock().entries.len()
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        self.0.lock().entries.clear();
    }
}

fn shorten(args: &[&[u8]]) -> Vec<Vec<u8>> {
    let keep = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let mut short: Vec<Vec<u8>> = args[..keep].iter().map(|arg| shorten_arg(arg)).collect();
    if keep < args.len() {
        short.push(format!("... ({} more arguments)", args.len() - keep).into_bytes());
    }
    short
}

fn shorten_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut short = arg[..ARG_BYTES_MAX].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortens_and_forgets() {
        let log = Slowlog::default();
        let long = [b'x'; 200];
        let many: Vec<&[u8]> = std::iter::repeat_n(&long[..], 40).collect();
        for _ in 0..5 {
            log.add(7, &many, "a", "n", 3);
        }
        let entries = log.newest(10);
        assert_eq!((log.len(), entries[0].id, entries[2].id), (3, 4, 2));
        assert_eq!(entries[0].args.len(), 32);
        assert_eq!(entries[0].args[31], b"... (9 more arguments)");
        assert!(entries[0].args[0].ends_with(b"... (72 more bytes)"));
    }
}
