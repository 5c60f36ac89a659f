//! Log lines in Redis's format: `pid:role day month year hour:minute:second.ms level message`.
//!
//! One logger per server; it knows the threshold, the role letter and the file, and nothing of who
//! logs.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

use super::clock;
use super::lock::{Lock, rank};

/// Importance of a line, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For developers.
    Debug,
    /// Rarely useful details.
    Verbose,
    /// What an operator wants to see.
    Notice,
    /// Something is wrong.
    Warning,
    /// Shows nothing at all when used as the threshold.
    Nothing,
}

/// Writes the lines of one server.
#[derive(Debug)]
pub struct Logger {
    threshold: AtomicU8,
    role: AtomicU8,
    /// Path of the log file; empty means standard output. Reopened for each line, so that a file
    /// moved away by log rotation is made anew, as Redis does it.
    path: Lock<String>,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Logger {
    /// A logger to `path`, or to standard output when it is empty.
    pub fn new(threshold: Level, path: &str) -> Self {
        Logger {
            threshold: AtomicU8::new(threshold as u8),
            role: AtomicU8::new(b'M'),
            path: Lock::new(rank::LEAF + 900, path.to_owned()),
        }
    }

    /// Lines below this level are not written.
    pub fn set_threshold(&self, level: Level) {
        self.threshold.store(level as u8, Ordering::Relaxed);
    }

    /// `M` for a primary, `S` for a replica.
    pub fn set_role(&self, letter: u8) {
        self.role.store(letter, Ordering::Relaxed);
    }

    /// Writes one line; failures to write are not reported, for there is nowhere to.
    pub fn log(&self, level: Level, message: &str) {
        if (level as u8) < self.threshold.load(Ordering::Relaxed) {
            return;
        }
        let line = self.line(level, message, clock::unix_ms());
        let path = self.path.lock();
        if path.is_empty() {
            let _ = std::io::stdout().write_all(line.as_bytes());
        } else if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(&*path) {
            let _ = file.write_all(line.as_bytes());
        }
    }

    /// A line that an operator wants to see.
    pub fn notice(&self, message: &str) {
        self.log(Level::Notice, message);
    }

    /// A line about something wrong.
    pub fn warning(&self, message: &str) {
        self.log(Level::Warning, message);
    }

    fn line(&self, level: Level, message: &str, now_ms: i64) -> String {
        let (year, month, day, hour, minute, second) = clock::civil_utc(now_ms / 1000);
        let mark = match level {
            Level::Debug => '.',
            Level::Verbose => '-',
            Level::Notice => '*',
            Level::Warning | Level::Nothing => '#',
        };
        let role = char::from(self.role.load(Ordering::Relaxed));
        let month = MONTHS[month as usize - 1];
        let ms = now_ms.rem_euclid(1000);
        let pid = std::process::id();
        format!(
            "{pid}:{role} {day:02} {month} {year} {hour:02}:{minute:02}:{second:02}.{ms:03} \
             {mark} {message}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_of_a_line() {
        let logger = Logger::new(Level::Notice, "");
        let line = logger.line(Level::Warning, "hello", 951_782_400_005);
        let rest = line.split_once(':').unwrap().1;
        assert_eq!(rest, "M 29 Feb 2000 00:00:00.005 # hello\n");
    }

    #[test]
    fn threshold_and_file() {
        let path = std::env::temp_dir().join(format!("ferrodis-log-{}", std::process::id()));
        let logger = Logger::new(Level::Notice, path.to_str().unwrap());
        logger.log(Level::Verbose, "hidden");
        logger.notice("shown");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.ends_with("* shown\n") && !text.contains("hidden"), "{text}");
    }
}
