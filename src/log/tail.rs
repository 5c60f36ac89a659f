//! What waits to be written to the append-only file.
//!
//! It is kept apart from the stream for replicas, because it is another text: it selects databases
//! by its own account, has none of what is said to replicas only, has the writes that a replica's
//! own clients make, and goes on when a replica gets another stream. Offsets count from the
//! server's start, whatever files the bytes go to.

use crate::base::clock;
use crate::log::{Argv, push_length};

/// Bytes that are not taken yet, and how to go on behind them.
#[derive(Default)]
pub struct Tail {
    bytes: Vec<u8>,
    /// Offset behind the last byte.
    end: u64,
    selected: Option<usize>,
    /// Where another file begins.
    cut: Option<u64>,
    timestamps: bool,
    /// Unix seconds of the last annotation.
    noted: i64,
}

impl Tail {
    /// Offset behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether to note the time.
    pub fn set_timestamps(&mut self, wanted: bool) {
        self.timestamps = wanted;
    }

    /// A file begins: it selects its database itself.
    pub fn begin(&mut self) {
        self.selected = None;
    }

    /// What comes from here on belongs to another file.
    pub fn cut(&mut self) {
        self.cut = Some(self.end);
        self.begin();
    }

    /// It belongs to the same file after all, or the other file is there.
    pub fn forget_cut(&mut self) {
        self.cut = None;
    }

    /// Adds the effect of one command, in MULTI and EXEC when it is more than one command.
    pub fn append(&mut self, commands: &[(usize, Argv)]) {
        let before = self.bytes.len();
        if self.timestamps {
            let now = clock::unix_ms() / 1000;
            if now > self.noted {
                self.noted = now;
                self.bytes.extend_from_slice(annotation(now).as_bytes());
            }
        }
        let several = commands.len() > 1;
        for (i, (db, argv)) in commands.iter().enumerate() {
            if several && i == 0 {
                encode(&mut self.bytes, &[b"MULTI"]);
            }
            if self.selected != Some(*db) {
                self.selected = Some(*db);
                encode(&mut self.bytes, &[b"SELECT", db.to_string().as_bytes()]);
            }
            encode(&mut self.bytes, argv);
        }
        if several {
            encode(&mut self.bytes, &[b"EXEC"]);
        }
        self.end += (self.bytes.len() - before) as u64;
    }

    /// Moves what waits to the end of `out`, but not beyond a cut; the offset behind it, and
    /// whether the cut is there.
    pub fn take(&mut self, out: &mut Vec<u8>) -> (u64, bool) {
        let start = self.end - self.bytes.len() as u64;
        let Some(cut) = self.cut else {
            move_to(&mut self.bytes, out);
            return (self.end, false);
        };
        let mut later = self.bytes.split_off((cut - start) as usize);
        std::mem::swap(&mut later, &mut self.bytes);
        move_to(&mut later, out);
        (cut, true)
    }
}

/// The line that notes a time, in Unix seconds.
pub fn annotation(now: i64) -> String {
    format!("#TS:{now}\r\n")
}

/// Writes a command as it stands in the file.
pub fn encode(out: &mut Vec<u8>, argv: Argv) {
    begin_command(out, argv.len());
    argv.iter().for_each(|arg| push_arg(out, arg));
}

/// Writes what stands before a command's arguments.
pub fn begin_command(out: &mut Vec<u8>, args: usize) {
    push_length(out, b'*', args);
}

/// Writes one argument.
pub fn push_arg(out: &mut Vec<u8>, arg: &[u8]) {
    push_length(out, b'$', arg.len());
    out.extend_from_slice(arg);
    out.extend_from_slice(b"\r\n");
}

fn move_to(from: &mut Vec<u8>, to: &mut Vec<u8>) {
    if to.is_empty() {
        // The usual case: the buffers change places and nothing is copied.
        std::mem::swap(from, to);
    } else {
        to.append(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).replace("\r\n", " ")
    }

    #[test]
    fn a_cut_divides_files() {
        let mut tail = Tail::default();
        let mut out = Vec::new();
        tail.append(&[(0, &[b"A"])]);
        tail.cut();
        tail.append(&[(0, &[b"B"]), (3, &[b"C"])]);
        assert_eq!(tail.take(&mut out), (34, true));
        assert_eq!(text(&out), "*2 $6 SELECT $1 0 *1 $1 A ");
        out.clear();
        assert_eq!(tail.take(&mut out), (34, true));
        assert!(out.is_empty());
        tail.forget_cut();
        assert_eq!(tail.take(&mut out), (tail.end(), false));
        let after = "*1 $5 MULTI *2 $6 SELECT $1 0 *1 $1 B *2 $6 SELECT $1 3 *1 $1 C *1 $4 EXEC ";
        assert_eq!(text(&out), after);
        assert_eq!(tail.len(), 0);
    }

    #[test]
    fn the_time_is_noted_once_a_second() {
        let mut tail = Tail::default();
        tail.set_timestamps(true);
        let mut out = Vec::new();
        for _ in 0..100 {
            tail.append(&[(0, &[b"A"])]);
        }
        tail.take(&mut out);
        let notes = text(&out).matches("#TS:").count();
        assert!(out.starts_with(b"#TS:") && (1..=2).contains(&notes), "{notes}");
    }
}
