//! A cursor over the arguments of a command.
//!
//! A handler parses its whole syntax with it before it changes anything.

use std::time::Duration;

use crate::base::{clock, num};
use crate::resp::error::Error;

/// The arguments, and how many of them have been taken.
pub struct Args<'a> {
    argv: &'a [&'a [u8]],
    next: usize,
}

impl<'a> Args<'a> {
    /// A cursor behind the first `skip` arguments (the command's name, and the subcommand's).
    pub fn new(argv: &'a [&'a [u8]], skip: usize) -> Self {
        Args { argv, next: skip }
    }

    /// All arguments, the command's name first.
    pub fn argv(&self) -> &'a [&'a [u8]] {
        self.argv
    }

    /// The arguments not taken yet.
    pub fn rest(&self) -> &'a [&'a [u8]] {
        &self.argv[self.next.min(self.argv.len())..]
    }

    /// Takes all that are left.
    pub fn take_rest(&mut self) -> &'a [&'a [u8]] {
        let rest = self.rest();
        self.next = self.argv.len();
        rest
    }

    /// Takes the next `count`; too few are a syntax error.
    pub fn take(&mut self, count: usize) -> Result<&'a [&'a [u8]], Error> {
        let taken = self.rest().get(..count).ok_or(Error::SYNTAX)?;
        self.next += count;
        Ok(taken)
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.rest().len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// Takes the next argument; a missing one is a syntax error.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let arg = self.argv.get(self.next).copied().ok_or(Error::SYNTAX)?;
        self.next += 1;
        Ok(arg)
    }

    /// Takes a key: an argument that the arity has made sure of.
    pub fn key(&mut self) -> &'a [u8] {
        let arg = self.argv[self.next];
        self.next += 1;
        arg
    }

    /// Takes an integer.
    pub fn int(&mut self) -> Result<i64, Error> {
        self.int_or(Error::NOT_INTEGER)
    }

    /// Takes an integer, with an error text of the caller's.
    pub fn int_or(&mut self, error: Error) -> Result<i64, Error> {
        num::parse_i64(self.bytes()?).ok_or(error)
    }

    /// Takes the time-out of a blocking command, in seconds with a fraction; `None` for ever.
    pub fn timeout(&mut self) -> Result<Option<Duration>, Error> {
        let seconds = num::parse_f64(self.bytes()?).ok_or(Error::TIMEOUT_NOT_FLOAT)?;
        let ms = (seconds * 1000.0).ceil();
        if ms >= (i64::MAX - clock::unix_ms()) as f64 {
            return Err(Error::TIMEOUT_RANGE);
        }
        if ms < 0.0 {
            return Err(Error::TIMEOUT_NEGATIVE);
        }
        Ok((ms > 0.0).then(|| Duration::from_millis(ms as u64)))
    }

    /// Takes a time-out in milliseconds, which must end before time does.
    pub fn timeout_ms(&mut self) -> Result<u64, Error> {
        let ms = self.int_or(Error::TIMEOUT_NOT_INTEGER)?;
        if ms > i64::MAX - clock::unix_ms() {
            return Err(Error::TIMEOUT_RANGE);
        }
        u64::try_from(ms).map_err(|_| Error::TIMEOUT_NEGATIVE)
    }

    /// The next argument, without taking it.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.argv.get(self.next).copied()
    }

    /// Takes the next argument if it is this word in any case.
    pub fn word(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        self.next += usize::from(is);
        is
    }

    /// A syntax error unless all arguments are taken.
    pub fn end(&self) -> Result<(), Error> {
        if self.is_empty() { Ok(()) } else { Err(Error::SYNTAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_in_order() {
        let argv: [&[u8]; 4] = [b"cmd", b"key", b"eX", b"12"];
        let mut args = Args::new(&argv, 1);
        assert_eq!(args.key(), b"key");
        assert!(!args.word("PX") && args.word("EX"));
        assert_eq!((args.int().unwrap(), args.left()), (12, 0));
        assert!(args.end().is_ok() && args.bytes().is_err());
    }
}
