//! The incremental request parser: arrays of bulk strings, and the inline form typed by hand.
//!
//! Must not know what the arguments mean. It copies nothing out of an array: arguments are ranges
//! of the caller's read buffer. Only inline arguments are stored, since unquoting changes them.
//!
//! Invariants: positions count from the command's first byte, and `pos <= scan <= buf.len()`; what
//! lies before `scan` is never searched again, so a command costs O(its length) however it is cut;
//! at most one of `spans` and `inline` is filled.

use super::error::Error;
use crate::base::num::parse_i64;
use crate::base::quote::split_args;
use std::fmt;

/// The longest inline request, in bytes. Redis stops at 64 KB; a line pasted by hand or sent by a
/// script may be longer, and a megabyte is still harmless.
const INLINE_MAX: usize = 1024 * 1024;

/// The longest `*count` or `$length` line, in bytes, as in Redis.
const HEADER_MAX: usize = 64 * 1024;

/// The most arguments a request may announce, as in Redis.
const ARGS_MAX: i64 = i32::MAX as i64;

/// How many arguments, and how long a bulk string, a client may send before it has authenticated.
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_MAX: i64 = 16 * 1024;

/// Arguments to reserve room for on an announcement alone; more are paid for as they arrive.
const FIRST_RESERVE: usize = 64;

/// Argument slots kept from one command to the next (4 KB).
const KEPT_SPANS: usize = 256;

/// What the connection allows at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest bulk string in bytes (`proto-max-bulk-len`); `u64::MAX` for a primary's link.
    pub max_bulk: u64,
    /// False while the client still owes a password: then only short commands are read.
    pub authenticated: bool,
}

/// What [`Request::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The command is not whole yet; at least `want` (>= 1) bytes more are needed.
    Incomplete { want: usize },
    /// The command is whole and took the first `used` bytes of the buffer.
    Complete { used: usize },
}

/// A request that cannot be read on. The connection answers with the error and closes, since the
/// start of the next command cannot be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(Error);

impl ProtocolError {
    const INVALID_COUNT: Self = Self::new("ERR Protocol error: invalid multibulk length");
    const INVALID_BULK: Self = Self::new("ERR Protocol error: invalid bulk length");
    const LONG_COUNT: Self = Self::new("ERR Protocol error: too big mbulk count string");
    const LONG_BULK: Self = Self::new("ERR Protocol error: too big bulk count string");
    const LONG_INLINE: Self = Self::new("ERR Protocol error: too big inline request");
    const UNBALANCED: Self = Self::new("ERR Protocol error: unbalanced quotes in request");
    const UNAUTHENTICATED_COUNT: Self =
        Self::new("ERR Protocol error: unauthenticated multibulk length");
    const UNAUTHENTICATED_BULK: Self = Self::new("ERR Protocol error: unauthenticated bulk length");

    const fn new(text: &'static str) -> Self {
        Self(Error::new(text))
    }

    /// Redis shows the byte as it came; the reply writer turns a line end into a space.
    fn expected_dollar(got: u8) -> Self {
        let mut text = b"ERR Protocol error: expected '$', got '".to_vec();
        text.extend_from_slice(&[got, b'\'']);
        Self(Error::owned(text))
    }

    /// The error to reply with.
    pub fn error(&self) -> &Error {
        &self.0
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an argument lies, counted from the command's first byte.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: usize,
}

/// An argument is large from here on.
const LARGE: usize = 32 * 1024;

/// What the parser waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The end of the first line, which holds an array's count or a whole inline request.
    FirstLine,
    /// The end of a `$length` line.
    BulkLength,
    /// This many bytes and the two that end them.
    Bulk(usize),
    /// Nothing: the next call begins a new command.
    Done,
}

/// One command while it arrives, and its arguments once it is whole.
#[derive(Debug)]
pub struct Request {
    step: Step,
    /// Start of the line or bulk string being read.
    pos: usize,
    /// The line's end has been looked for up to here.
    scan: usize,
    /// Bulk strings still to come.
    missing: usize,
    spans: Vec<Span>,
    inline: Vec<Vec<u8>>,
}

/// The number at the beginning of `bytes` and the length of its line, in the usual case: a few
/// digits without a leading zero, so that any client may send an argument this long, and the whole
/// line is here. Whatever is not plain is left to those who know the errors.
#[inline]
fn plain_number(bytes: &[u8]) -> Option<(usize, usize)> {
    const R: u8 = b'\r';
    let number =
        |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    match *bytes {
        [a @ b'0'..=b'9', R, _, ..] => Some((number(&[a]), 3)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', R, _, ..] => Some((number(&[a, b]), 4)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', R, _, ..] => {
            Some((number(&[a, b, c]), 5))
        }
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', d @ b'0'..=b'9', R, _, ..] => {
            Some((number(&[a, b, c, d]), 6))
        }
        _ => None,
    }
}

/// The second argument of the command at the beginning of `buf`, which is a key more often than
/// not, and the bytes that the command takes: if it is whole, has one, and is written as all
/// clients write a command that is not long. Nothing is decided by this; see [`Request::parse`].
pub fn glance(buf: &[u8]) -> Option<(&[u8], usize)> {
    let (count, line) = plain_number(buf.strip_prefix(b"*")?)?;
    let (mut at, mut second) = (1 + line, None);
    for index in 0..count {
        let (len, line) = plain_number(buf.get(at..)?.strip_prefix(b"$")?)?;
        let start = at + 1 + line;
        at = start + len + 2;
        let arg = buf.get(start..at)?;
        if index == 1 {
            second = Some(&arg[..len]);
        }
    }
    Some((second?, at))
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}

impl Request {
    /// A parser that waits for a command's first byte.
    pub fn new() -> Self {
        Self {
            step: Step::FirstLine,
            pos: 0,
            scan: 0,
            missing: 0,
            spans: Vec::new(),
            inline: Vec::new(),
        }
    }

    /// Reads on. `buf` starts at the command's first byte on every call and only grows between
    /// them. After `Complete` the arguments are valid until the next `parse` or `reset`; the caller
    /// drops the `used` bytes when it is done with them. After `Complete` or an error the next call
    /// begins a new command.
    ///
    /// # Panics
    /// If `buf` became shorter while a command was incomplete.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Status, ProtocolError> {
        if self.step == Step::Done {
            self.reset();
        }
        let status = match buf.first() {
            None => Ok(Status::Incomplete { want: 1 }),
            Some(b'*') => self.parse_array(buf, limits),
            Some(_) => self.parse_inline(buf),
        };
        if !matches!(status, Ok(Status::Incomplete { .. })) {
            self.step = Step::Done;
        }
        status
    }

    /// Where the argument begins that is not whole yet, and its length, if it is a large one. What
    /// stands before it is read.
    pub fn large(&self) -> Option<(usize, usize)> {
        match self.step {
            Step::Bulk(len) if len >= LARGE => Some((self.pos, len)),
            _ => None,
        }
    }

    /// The argument that is not whole yet has come apart from the buffer, which goes on with what
    /// follows it; its index. It is the caller who has it: `arg` gives an empty one.
    pub fn skip_large(&mut self) -> usize {
        self.spans.push(Span { start: self.pos, len: 0 });
        self.missing -= 1;
        self.step = Step::BulkLength;
        self.spans.len() - 1
    }

    /// What is whole is to be parsed once more.
    pub fn again(&mut self) {
        self.step = Step::BulkLength;
    }

    /// Forgets the command, and gives back the memory of an unusually long one. `parse` does this
    /// by itself before a new command; calling it early frees that memory while a client is idle.
    #[inline]
    pub fn reset(&mut self) {
        self.step = Step::FirstLine;
        self.pos = 0;
        self.scan = 0;
        self.missing = 0;
        self.spans.clear();
        if self.spans.capacity() > KEPT_SPANS {
            self.spans.shrink_to(KEPT_SPANS);
        }
        if !self.inline.is_empty() {
            self.inline = Vec::new();
        }
    }

    /// The number of arguments, the command's name among them. Zero for an empty line, `*0` and a
    /// negative count, which are skipped without a reply.
    pub fn len(&self) -> usize {
        self.spans.len().max(self.inline.len())
    }

    /// Whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Argument `i` of a complete command; `buf` is the buffer that `parse` saw last.
    ///
    /// # Panics
    /// If `i >= len()`.
    pub fn arg<'a>(&'a self, buf: &'a [u8], i: usize) -> &'a [u8] {
        if self.inline.is_empty() {
            let Span { start, len } = self.spans[i];
            &buf[start..start + len]
        } else {
            &self.inline[i]
        }
    }

    /// Replaces the contents of `out` with all arguments; `buf` as for `arg`.
    pub fn collect<'a>(&'a self, buf: &'a [u8], out: &mut Vec<&'a [u8]>) {
        out.clear();
        out.extend((0..self.len()).map(|i| self.arg(buf, i)));
    }

    fn parse_inline(&mut self, buf: &[u8]) -> Result<Status, ProtocolError> {
        let Some(end) = self.find(buf, b'\n', INLINE_MAX, ProtocolError::LONG_INLINE)? else {
            return Ok(Status::Incomplete { want: 1 });
        };
        let line = &buf[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.contains(&0) {
            // No text has one, and what stands behind it would be lost.
            return Err(ProtocolError::UNBALANCED);
        }
        self.inline = split_args(line).ok_or(ProtocolError::UNBALANCED)?;
        Ok(Status::Complete { used: end + 1 })
    }

    fn parse_array(&mut self, buf: &[u8], limits: &Limits) -> Result<Status, ProtocolError> {
        if self.step == Step::FirstLine {
            let Some(count) = self.read_count(buf, limits)? else {
                return Ok(Status::Incomplete { want: 1 });
            };
            self.missing = count;
            self.spans.reserve(count.min(FIRST_RESERVE));
            self.step = Step::BulkLength;
        }
        while self.missing > 0 {
            let len = match self.step {
                Step::Bulk(len) => len,
                _ => match self.read_bulk_length(buf, limits)? {
                    Some(len) => len,
                    None => return Ok(Status::Incomplete { want: 1 }),
                },
            };
            // `read_bulk_length` made sure that the sum fits. The two bytes that end a bulk string
            // are skipped unseen, as Redis does.
            let end = self.pos + len + 2;
            if buf.len() < end {
                self.step = Step::Bulk(len);
                return Ok(Status::Incomplete { want: end - buf.len() });
            }
            self.spans.push(Span { start: self.pos, len });
            self.missing -= 1;
            self.step = Step::BulkLength;
            self.move_to(end);
        }
        Ok(Status::Complete { used: self.pos })
    }

    /// The number of bulk strings that follow, or `None` until the line is whole.
    fn read_count(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        if let Some((count, line)) = plain_number(&buf[1..])
            && (count as i64) <= UNAUTHENTICATED_ARGS_MAX
        {
            self.move_to(1 + line);
            return Ok(Some(count));
        }
        let Some(end) = self.header_end(buf, ProtocolError::LONG_COUNT)? else {
            return Ok(None);
        };
        let count = parse_i64(&buf[1..end])
            .filter(|&count| count <= ARGS_MAX)
            .ok_or(ProtocolError::INVALID_COUNT)?;
        if count > UNAUTHENTICATED_ARGS_MAX && !limits.authenticated {
            return Err(ProtocolError::UNAUTHENTICATED_COUNT);
        }
        self.move_to(end + 2);
        Ok(Some(usize::try_from(count).unwrap_or(0)))
    }

    /// The length of the bulk string that follows, or `None` until the line is whole.
    fn read_bulk_length(
        &mut self,
        buf: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        if buf.get(self.pos) == Some(&b'$')
            && let Some((len, line)) = plain_number(&buf[self.pos + 1..])
            && len as u64 <= limits.max_bulk
        {
            self.move_to(self.pos + 1 + line);
            return Ok(Some(len));
        }
        let Some(end) = self.header_end(buf, ProtocolError::LONG_BULK)? else {
            return Ok(None);
        };
        // A line that only consists of its end shows that end as the unexpected byte.
        if buf[self.pos] != b'$' {
            return Err(ProtocolError::expected_dollar(buf[self.pos]));
        }
        let announced = parse_i64(&buf[self.pos + 1..end]).ok_or(ProtocolError::INVALID_BULK)?;
        let len = usize::try_from(announced).map_err(|_| ProtocolError::INVALID_BULK)?;
        let fits = (end + 4).checked_add(len).is_some();
        if !fits || announced.unsigned_abs() > limits.max_bulk {
            return Err(ProtocolError::INVALID_BULK);
        }
        if announced > UNAUTHENTICATED_BULK_MAX && !limits.authenticated {
            return Err(ProtocolError::UNAUTHENTICATED_BULK);
        }
        self.move_to(end + 2);
        Ok(Some(len))
    }

    /// Where the CR of the header line at `pos` stands, once the byte after it has come too. That
    /// byte should be an LF but is not looked at, as in Redis.
    fn header_end(
        &mut self,
        buf: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let end = self.find(buf, b'\r', HEADER_MAX, too_long)?;
        Ok(end.filter(|&end| end + 1 < buf.len()))
    }

    /// Looks for `byte` in the line at `pos`, which may have `max` bytes before it. The answer does
    /// not depend on how much follows the line, so the cut of the input cannot change it.
    fn find(
        &mut self,
        buf: &[u8],
        byte: u8,
        max: usize,
        too_long: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let last = buf.len().min(self.pos + max + 1);
        match buf[self.scan..last].iter().position(|&b| b == byte) {
            Some(offset) => {
                self.scan += offset;
                Ok(Some(self.scan))
            }
            None if last - self.pos > max => Err(too_long),
            None => {
                self.scan = last;
                Ok(None)
            }
        }
    }

    fn move_to(&mut self, pos: usize) {
        self.pos = pos;
        self.scan = pos;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Limits = Limits { max_bulk: 512 * 1024 * 1024, authenticated: true };
    const LOCKED: Limits = Limits { max_bulk: 512 * 1024 * 1024, authenticated: false };

    /// What a connection would see: each command's arguments, the error that ended it if any, and
    /// how many bytes were left over.
    #[derive(Debug, PartialEq, Eq, Default)]
    struct Seen {
        commands: Vec<Vec<Vec<u8>>>,
        error: Option<String>,
        rest: usize,
    }

    /// Feeds the fragments one after the other, as a connection does.
    fn feed<'a>(fragments: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Seen {
        let mut seen = Seen::default();
        let mut request = Request::new();
        let mut buf = Vec::new();
        let mut needed = 1;
        for fragment in fragments {
            buf.extend_from_slice(fragment);
            loop {
                match request.parse(&buf, limits) {
                    Ok(Status::Incomplete { want }) => {
                        assert!(want >= 1);
                        needed = buf.len() + want;
                        break;
                    }
                    Ok(Status::Complete { used }) => {
                        assert!(buf.len() >= needed, "complete with less than it wanted");
                        let mut args = Vec::new();
                        request.collect(&buf, &mut args);
                        assert_eq!(args.len(), request.len());
                        seen.commands.push(args.iter().map(|arg| arg.to_vec()).collect());
                        buf.drain(..used);
                        needed = 1;
                    }
                    Err(error) => {
                        seen.error = Some(error.to_string());
                        return seen;
                    }
                }
            }
        }
        seen.rest = buf.len();
        seen
    }

    fn whole(input: &[u8], limits: &Limits) -> Seen {
        feed([input], limits)
    }

    /// The error that `input` ends with, without the part that all of them share.
    fn error_of(input: &[u8], limits: &Limits) -> String {
        let error = whole(input, limits).error.unwrap_or_default();
        error.strip_prefix("ERR Protocol error: ").unwrap_or("none").to_string()
    }

    const FRAMES: &[&[u8]] = &[
        b"*1\r\n$4\r\nPING\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\n\x00b\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
        b"PING\r\n*1\r\n$4\r\nPING\r\nECHO \"a\\x41\\n\" 'b c'\n\r\n*0\r\n*-1\r\n\n  \r\nGET k\r\n",
        b"*-7\r\n*1\r\n$12\r\nhello\r\nworld\r\n*2\r\n$1\r\na\r\n$1\r\n",
        b"*1\rX$4\rXPINGxxPING\r\r\n",
        b"*2\r\n$4\r\nPING\r\n+oops\r\n",
        b"*1\r\n$1\r\na\r\n*x\r\n",
        b"SET \"open\r\n",
    ];

    #[test]
    fn a_nul_in_an_inline_command_is_an_error() {
        let limits = Limits { max_bulk: 1024, authenticated: true };
        let result = Request::new().parse(b"SET a b\0c\r\n", &limits);
        assert_eq!(result, Err(ProtocolError::UNBALANCED));
    }

    #[test]
    fn every_split_gives_the_same() {
        for frame in FRAMES {
            let expected = whole(frame, &OPEN);
            for cut in 0..=frame.len() {
                assert_eq!(feed([&frame[..cut], &frame[cut..]], &OPEN), expected, "cut {cut}");
            }
            assert_eq!(feed(frame.chunks(1), &OPEN), expected);
        }
    }

    #[test]
    fn arrays_and_inline_requests_mix() {
        let seen = whole(FRAMES[2], &OPEN);
        let expected: [&[&[u8]]; 9] = [
            &[b"PING"],
            &[b"PING"],
            &[b"ECHO", b"aA\n", b"b c"],
            &[],
            &[],
            &[],
            &[],
            &[],
            &[b"GET", b"k"],
        ];
        assert_eq!(seen.commands, expected);
        assert_eq!((seen.error, seen.rest), (None, 0));
    }

    #[test]
    fn arguments_may_hold_any_bytes() {
        let seen = whole(FRAMES[1], &OPEN);
        let expected: [&[&[u8]]; 2] = [&[b"SET", b"k", b"a\r\n\x00b"], &[b"GET", b""]];
        assert_eq!(seen.commands, expected);
    }

    #[test]
    fn bytes_after_a_cr_or_a_bulk_are_not_checked() {
        let seen = whole(FRAMES[4], &OPEN);
        assert_eq!(seen.commands, [[b"PING"], [b"PING"]]);
        assert_eq!(seen.error, None);
    }

    #[test]
    fn malformed_counts_and_lengths() {
        let count = "invalid multibulk length";
        for head in ["abc", "", "-0", "+1", "01", " 1", "1 ", "2147483648", "1\n$4"] {
            assert_eq!(error_of(format!("*{head}\r\n").as_bytes(), &OPEN), count, "{head}");
        }
        let length = "invalid bulk length";
        let huge = "9223372036854775807";
        for head in ["-1", "abc", "", "+1", "01", "536870913", huge, "99999999999999999999"] {
            assert_eq!(error_of(format!("*1\r\n${head}\r\n").as_bytes(), &OPEN), length, "{head}");
        }
        assert_eq!(error_of(b"*1\r\n$536870912\r\n", &OPEN), "none");
    }

    #[test]
    fn a_primary_may_send_anything_that_can_be_addressed() {
        let limits = Limits { max_bulk: u64::MAX, authenticated: true };
        assert_eq!(error_of(b"*1\r\n$1099511627776\r\n", &limits), "none");
        assert_eq!(whole(b"*1\r\n$9223372036854775807\r\nab", &limits).rest, 28);
    }

    #[test]
    fn unexpected_types_are_shown() {
        for got in [b'x', b'*', b'\'', b'\\', b'"', b'\t', 0, b'\n'] {
            let text = format!("expected '$', got '{}'", char::from(got));
            assert_eq!(error_of(&[b"*1\r\n", &[got][..], b"4\r\n"].concat(), &OPEN), text);
        }
        assert_eq!(error_of(b"*1\r\n\r\n", &OPEN), "expected '$', got '\r'");
        let error = Request::new().parse(b"*1\r\n\xff\r\n", &OPEN).unwrap_err();
        assert_eq!(error.error().text(), b"ERR Protocol error: expected '$', got '\xff'");
    }

    #[test]
    fn unbalanced_quotes() {
        for line in ["SET \"a\r\n", "ECHO 'b'x\r\n", "\"a\"b\n", "'\n"] {
            let text = "unbalanced quotes in request";
            assert_eq!(error_of(line.as_bytes(), &OPEN), text, "{line:?}");
        }
    }

    /// A line may have exactly its limit before its end, whether or not the end has come.
    #[test]
    fn lines_have_limits() {
        let cases: [(&[u8], &str, usize, &str); 3] = [
            (b"*", "\r\n", HEADER_MAX, "too big mbulk count string"),
            (b"*1\r\n$", "\r\n", HEADER_MAX, "too big bulk count string"),
            (b"", "\n", INLINE_MAX, "too big inline request"),
        ];
        for (start, end, max, text) in cases {
            let used = usize::from(!start.is_empty());
            let fitting = [start, &b"1".repeat(max - used)].concat();
            let longer = [&fitting[..], b"1"].concat();
            assert_eq!(error_of(&fitting, &OPEN), "none");
            assert_eq!(error_of(&longer, &OPEN), text);
            assert_eq!(error_of(&[&longer, end.as_bytes()].concat(), &OPEN), text);
            assert_ne!(error_of(&[&fitting, end.as_bytes()].concat(), &OPEN), text);
        }
    }

    #[test]
    fn strangers_send_little() {
        assert_eq!(error_of(b"*10\r\n", &LOCKED), "none");
        assert_eq!(error_of(b"*11\r\n", &LOCKED), "unauthenticated multibulk length");
        assert_eq!(error_of(b"*1\r\n$16384\r\n", &LOCKED), "none");
        assert_eq!(error_of(b"*1\r\n$16385\r\n", &LOCKED), "unauthenticated bulk length");
        assert_eq!(error_of(b"*1\r\n$536870913\r\n", &LOCKED), "invalid bulk length");
        assert_eq!(error_of(b"*11\r\n", &OPEN), "none");
    }

    #[test]
    fn asks_for_the_rest_of_a_bulk() {
        let mut request = Request::new();
        let status = request.parse(b"*2\r\n$100\r\nabc", &OPEN);
        assert_eq!(status, Ok(Status::Incomplete { want: 99 }));
        assert_eq!(Request::new().parse(b"", &OPEN), Ok(Status::Incomplete { want: 1 }));
    }

    #[test]
    fn announcements_cost_nothing_and_memory_is_given_back() {
        let mut request = Request::new();
        let status = request.parse(b"*2147483647\r\n$536870912\r\n", &OPEN);
        assert_eq!(status, Ok(Status::Incomplete { want: 536_870_914 }));
        assert!(request.spans.capacity() <= FIRST_RESERVE);

        let many = [&b"*5000\r\n"[..], &b"$1\r\na\r\n".repeat(5000)].concat();
        let mut request = Request::new();
        assert_eq!(request.parse(&many, &OPEN), Ok(Status::Complete { used: many.len() }));
        assert_eq!((request.len(), request.arg(&many, 4999)), (5000, &b"a"[..]));
        request.reset();
        assert!(request.is_empty());
        assert!(request.spans.capacity() <= KEPT_SPANS);
    }

    /// Would take minutes if each call searched the line from its start.
    #[test]
    fn long_input_byte_by_byte_is_linear() {
        let mut request = Request::new();
        let line = [&b"a".repeat(500_000)[..], b"\n"].concat();
        let calls = (1..=line.len()).map(|end| request.parse(&line[..end], &OPEN));
        assert_eq!(calls.last(), Some(Ok(Status::Complete { used: line.len() })));
        let array = [&b"*20000\r\n"[..], &b"$1\r\na\r\n".repeat(20_000)].concat();
        let calls = (1..=array.len()).map(|end| request.parse(&array[..end], &OPEN));
        assert_eq!(calls.last(), Some(Ok(Status::Complete { used: array.len() })));
    }

    /// A small generator (xorshift), so that a failure can be repeated.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % n as u64).expect("below a usize")
        }
    }

    /// One to three frames with up to four places overwritten, removed or doubled.
    fn mutated(dice: &mut Dice) -> Vec<u8> {
        const NASTY: &[u8] = b"\r\n*$-+0123456789 \"'\\x\x00\xffa";
        let mut input = Vec::new();
        for _ in 0..=dice.below(3) {
            input.extend_from_slice(FRAMES[dice.below(FRAMES.len())]);
        }
        for _ in 0..dice.below(5) {
            let at = dice.below(input.len());
            let byte = NASTY[dice.below(NASTY.len())];
            match dice.below(3) {
                0 => input[at] = byte,
                1 => input.insert(at, byte),
                _ => {
                    input.remove(at);
                }
            }
        }
        input
    }

    #[test]
    fn mutations_in_fragments_give_the_same_as_whole() {
        let mut dice = Dice(0x5eed_cafe_f00d_0001);
        let limits = [OPEN, LOCKED, Limits { max_bulk: 12, authenticated: true }];
        for case in 0..50_000 {
            let input = mutated(&mut dice);
            let limits = &limits[case % limits.len()];
            let mut fragments = Vec::new();
            let mut rest = &input[..];
            while !rest.is_empty() {
                let size = 1 + dice.below(rest.len().min(1 + case % 40));
                let (fragment, behind) = rest.split_at(size);
                fragments.push(fragment);
                rest = behind;
            }
            assert_eq!(feed(fragments, limits), whole(&input, limits), "case {case}: {input:?}");
        }
    }

    #[test]
    fn a_glance_sees_what_the_parser_does() {
        let mut dice = Dice(0x5eed_cafe_f00d_0002);
        let mut seen = 0;
        for case in 0..50_000 {
            let input = mutated(&mut dice);
            let Some((key, used)) = glance(&input) else { continue };
            let mut request = Request::new();
            let status = request.parse(&input, &OPEN);
            assert_eq!(status, Ok(Status::Complete { used }), "case {case}: {input:?}");
            assert_eq!(request.arg(&input, 1), key, "case {case}: {input:?}");
            seen += 1;
        }
        assert!(seen > 1_000, "{seen}");
        let plain = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n";
        assert_eq!(glance(plain), Some((&b"k"[..], plain.len())));
        assert!((0..plain.len()).all(|end| glance(&plain[..end]).is_none()));
        assert_eq!(glance(b"*1\r\n$4\r\nPING\r\n"), None);
    }
}
