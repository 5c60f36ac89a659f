//! The append-only file on disk: the increment that is being written, and reading files back
//! command by command.
//!
//! ```text
//! file       (annotation | command)*
//! annotation "#" text LF                      "#TS:1700000000\r\n": the time of what follows
//! command    "*" count CRLF argument{count}
//! argument   "$" length CRLF bytes CRLF
//! ```
//!
//! Must not know what a command means, nor who waits for it to be written. A write that fails
//! leaves the file as it was before, so the file always ends with a whole command.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::base::num;

/// The longest line that is read in one go, as in Redis.
const LINE_MAX: usize = 1023;
/// How much memory is taken ahead of the bytes that a length promises.
const STEP: usize = 64 * 1024;

/// The increment that is being written.
#[derive(Debug)]
pub struct Increment {
    file: Arc<File>,
    size: u64,
    synced: u64,
}

impl Increment {
    /// Opens a file to append to it, or makes it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Increment { file: Arc::new(file), size, synced: size })
    }

    /// Makes a file, or empties the one of that name.
    pub fn create(path: &Path) -> io::Result<Self> {
        let increment = Increment::open(path)?;
        increment.file.set_len(0)?;
        Ok(Increment { size: 0, synced: 0, ..increment })
    }

    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it has bytes that no [`Increment::sync`] has followed.
    pub fn is_unsynced(&self) -> bool {
        self.synced != self.size
    }

    /// The file, to be synced by another thread, and what that will have synced.
    pub fn to_sync(&self) -> (Arc<File>, u64) {
        (Arc::clone(&self.file), self.size)
    }

    /// Another thread has synced the first `size` bytes of this file.
    pub fn note_synced(&mut self, file: &Arc<File>, size: u64) {
        if Arc::ptr_eq(&self.file, file) {
            self.synced = self.synced.max(size);
        }
    }

    /// Writes bytes at the end, and forces them to the disk where that is wanted. On an error those
    /// that were written are cut off again; where not even that works, they are removed from
    /// `bytes`, which then are what is still to be written.
    pub fn commit(&mut self, bytes: &mut Vec<u8>, sync: bool) -> io::Result<()> {
        let mut done = 0;
        let mut result = self.write(bytes, &mut done);
        if result.is_ok() && sync && (done > 0 || self.is_unsynced()) {
            result = self.file.sync_data();
        }
        if result.is_err() && done > 0 && self.file.set_len(self.size).is_ok() {
            done = 0;
        }
        self.size += done as u64;
        if done == bytes.len() {
            // Kept to be used again, unless it is large.
            bytes.clear();
            bytes.shrink_to(STEP);
        } else {
            bytes.drain(..done);
        }
        if result.is_ok() && sync {
            self.synced = self.size;
        }
        result
    }

    fn write(&self, bytes: &[u8], done: &mut usize) -> io::Result<()> {
        while *done < bytes.len() {
            match (&*self.file).write(&bytes[*done..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => *done += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Forces everything to the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.size;
        Ok(())
    }
}

/// What a reader found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A command is in [`Reader::args`].
    Command,
    /// The end of the file, behind a whole command.
    End,
    /// The end of the file, within a command.
    Torn,
    /// Something that is no command.
    Nonsense,
}

/// Reads a file command by command.
pub struct Reader<R: BufRead> {
    input: R,
    /// Arguments of the last command; kept to be used again.
    args: Vec<Vec<u8>>,
    count: usize,
    offset: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Reads from `input`, which stands at this offset of its file.
    pub fn new(input: R, offset: u64) -> Self {
        Reader { input, args: Vec::new(), count: 0, offset, line: Vec::new() }
    }

    /// Bytes of the file that are read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The arguments of the command that was found last.
    pub fn args(&self) -> &[Vec<u8>] {
        &self.args[..self.count]
    }

    /// Goes on to the next command.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self) -> io::Result<Found> {
        self.count = 0;
        loop {
            if !self.read_line()? {
                return Ok(Found::End);
            }
            match self.line.first() {
                // What is written behind half an annotation would become part of it.
                Some(b'#') if !self.line.ends_with(b"\n") => {
                    let is_long = self.line.len() == LINE_MAX;
                    return Ok(if is_long { Found::Nonsense } else { Found::Torn });
                }
                Some(b'#') => {}
                Some(b'*') if self.line.len() == 1 => return Ok(Found::Torn),
                Some(b'*') => return self.read_command(),
                _ => return Ok(Found::Nonsense),
            }
        }
    }

    fn read_command(&mut self) -> io::Result<Found> {
        let Some(count @ 1..) = number(&self.line[1..]) else { return Ok(Found::Nonsense) };
        while (self.count as u64) < count {
            if !self.read_line()? {
                return Ok(Found::Torn);
            }
            if self.line[0] != b'$' {
                return Ok(Found::Nonsense);
            }
            let length = match number(&self.line[1..]) {
                Some(length) => length,
                // The number itself is cut off.
                None if !self.line.ends_with(b"\n") => return Ok(Found::Torn),
                None => return Ok(Found::Nonsense),
            };
            if !self.read_argument(length)? {
                return Ok(Found::Torn);
            }
            if self.args[self.count].split_off(length as usize) != b"\r\n" {
                return Ok(Found::Nonsense);
            }
            self.count += 1;
        }
        Ok(Found::Command)
    }

    /// Reads an argument with the two bytes behind it; whether they are all there.
    fn read_argument(&mut self, length: u64) -> io::Result<bool> {
        if self.args.len() == self.count {
            self.args.push(Vec::new());
        }
        let arg = &mut self.args[self.count];
        arg.clear();
        let wanted = length.saturating_add(2);
        // Grows with what is there, whatever the length says.
        let read = (&mut self.input).take(wanted).read_to_end(arg)? as u64;
        self.offset += read;
        if read < wanted {
            return Ok(false);
        }
        if arg.capacity() > STEP && arg.len() < STEP / 4 {
            arg.shrink_to(STEP);
        }
        Ok(true)
    }

    /// Reads a line, or the first part of a long one; whether there is one.
    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut limited = (&mut self.input).take(LINE_MAX as u64);
        let read = limited.read_until(b'\n', &mut self.line)?;
        self.offset += read as u64;
        Ok(read > 0)
    }
}

/// The number that a line begins with; nothing may follow but the line's end.
fn number(line: &[u8]) -> Option<u64> {
    num::parse_u64(line.trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn read(bytes: &[u8]) -> (Vec<String>, Found, u64) {
        let mut reader = Reader::new(bytes, 0);
        let (mut all, mut whole) = (Vec::new(), 0);
        loop {
            match reader.next().unwrap() {
                Found::Command => {
                    whole = reader.offset();
                    let args = reader.args().iter();
                    let words: Vec<_> = args.map(|arg| String::from_utf8_lossy(arg)).collect();
                    all.push(words.join(" "));
                }
                end => return (all, end, whole),
            }
        }
    }

    #[test]
    fn commands_and_annotations() {
        let bytes = b"#TS:1\r\n*2\r\n$4\r\nPING\r\n$0\r\n\r\n#x\n*1\r\n$3\r\na\r\n\r\n";
        assert_eq!(
            read(bytes),
            (vec!["PING ".to_owned(), "a\r\n".to_owned()], Found::End, bytes.len() as u64)
        );
        assert_eq!(read(b""), (vec![], Found::End, 0));
    }

    #[test]
    fn nonsense_is_told_from_an_early_end() {
        for bytes in [
            &b"SET a b\r\n"[..],
            b"*0\r\n",
            b"*x\r\n",
            b"*-1\r\n",
            b"*1\r\n+3\r\nabc\r\n",
            b"*1\r\n$1\r\nabc",
        ] {
            assert_eq!(read(bytes).1, Found::Nonsense, "{}", bytes.escape_ascii());
        }
        for bytes in
            [&b"*"[..], b"*1\r\n", b"*1\r\n$", b"*1\r\n$3\r\nab", b"*1\r\n$99999999999\r\nx"]
        {
            assert_eq!(read(bytes).1, Found::Torn, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn every_cut_keeps_the_commands_before_it() {
        let command = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n0123456789ab\r\n";
        let bytes = command.repeat(3);
        for cut in 0..=bytes.len() {
            let (commands, end, whole) = read(&bytes[..cut]);
            assert_eq!(commands.len(), cut / command.len(), "cut at {cut}");
            assert_eq!(whole as usize, cut / command.len() * command.len());
            let is_whole = cut % command.len() == 0;
            assert_eq!(end, if is_whole { Found::End } else { Found::Torn }, "cut at {cut}");
        }
    }

    #[test]
    fn hostile_bytes() {
        let mut rng = Rng::seeded(5);
        let alphabet = b"*$#0123456789\r\n\r\n\r\nabc-";
        for _ in 0..20_000 {
            let length = rng.next_u64() % 60;
            let byte = |_| alphabet[(rng.next_u64() % alphabet.len() as u64) as usize];
            let bytes: Vec<u8> = (0..length).map(byte).collect();
            assert!(read(&bytes).2 <= length);
        }
    }

    #[test]
    fn a_failed_write_leaves_the_file_as_it_was() {
        let path = std::env::temp_dir().join(format!("ferrodis-aof-{}", std::process::id()));
        let mut increment = Increment::create(&path).unwrap();
        let mut bytes = b"12345".to_vec();
        increment.commit(&mut bytes, false).unwrap();
        assert!(bytes.is_empty() && increment.size() == 5 && increment.is_unsynced());
        increment.sync().unwrap();
        assert!(!increment.is_unsynced());
        // A descriptor that cannot be written to.
        increment.file = Arc::new(File::open(&path).unwrap());
        let mut bytes = b"678".to_vec();
        assert!(increment.commit(&mut bytes, true).is_err());
        assert_eq!((&bytes[..], increment.size()), (&b"678"[..], 5));
        drop(increment);
        assert_eq!(Increment::open(&path).unwrap().size(), 5);
        std::fs::remove_file(&path).unwrap();
    }
}
