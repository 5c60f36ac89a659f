//! A RESP2/RESP3 client of the tests' own, strict about what it accepts.
//!
//! It shares no code with the server. Every wait has an end ([`PATIENCE`]), and what goes wrong
//! panics with the bytes at hand, because the caller is always a test.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long a read waits when the test does not say otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How many bytes of a command travel one at a time in fragment mode; the rest goes whole, so
/// that a large value does not cost a system call per byte.
const FRAGMENTED_PREFIX: usize = 2048;

/// One RESP value. `$-1`, `*-1` and `_` are three different things to a client, so they are
/// three variants here.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    /// `$-1`
    Null,
    /// `*-1`
    NullArray,
    /// `_`, RESP3 only
    Null3,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    /// The digits as sent, so that their format can be checked.
    Double(String),
    Bool(bool),
    BigNumber(String),
    /// The three-letter format and the text.
    Verbatim(String, Vec<u8>),
    /// Attributes, and the value that they precede.
    Attribute(Vec<(Value, Value)>, Box<Value>),
}

impl Value {
    pub fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    pub fn simple(text: &str) -> Value {
        Value::Simple(text.as_bytes().to_vec())
    }

    /// The text of a bulk, simple, error or verbatim value; `(nil)` for the absent one.
    pub fn text(&self) -> String {
        match self {
            Value::Simple(b) | Value::Error(b) | Value::Bulk(b) | Value::Verbatim(_, b) => {
                String::from_utf8_lossy(b).into_owned()
            }
            Value::Null | Value::Null3 => "(nil)".to_owned(),
            other => panic!("a text was expected, got {other}"),
        }
    }

    pub fn int(&self) -> i64 {
        match self {
            Value::Int(n) => *n,
            other => panic!("an integer was expected, got {other}"),
        }
    }

    /// The elements of an array, set or push.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(v) | Value::Set(v) | Value::Push(v) => v,
            other => panic!("an array was expected, got {other}"),
        }
    }
}

/// Prints as redis-cli does on a terminal, except that `*-1` is `(nil array)`, `_` is `(null)`,
/// a verbatim string is `txt:"..."`, and a big number is `(big number) n`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        render(self, "", &mut out);
        f.write_str(&out)
    }
}

fn render(value: &Value, indent: &str, out: &mut String) {
    match value {
        Value::Simple(text) => out.push_str(&String::from_utf8_lossy(text)),
        Value::Error(text) => {
            out.push_str("(error) ");
            out.push_str(&String::from_utf8_lossy(text));
        }
        Value::Int(n) => out.push_str(&format!("(integer) {n}")),
        Value::Bulk(bytes) => out.push_str(&quoted(bytes)),
        Value::Null => out.push_str("(nil)"),
        Value::NullArray => out.push_str("(nil array)"),
        Value::Null3 => out.push_str("(null)"),
        Value::Array(items) => render_list(items, ')', "(empty array)", indent, out),
        Value::Set(items) => render_list(items, '~', "(empty set)", indent, out),
        Value::Push(items) => render_list(items, '>', "(empty push)", indent, out),
        Value::Map(pairs) => render_map(pairs, '#', indent, out),
        Value::Double(digits) => out.push_str(&format!("(double) {digits}")),
        Value::Bool(flag) => out.push_str(if *flag { "(true)" } else { "(false)" }),
        Value::BigNumber(digits) => out.push_str(&format!("(big number) {digits}")),
        Value::Verbatim(format, bytes) => out.push_str(&format!("{format}:{}", quoted(bytes))),
        Value::Attribute(pairs, inner) => {
            render_map(pairs, '|', indent, out);
            out.push_str(&format!("\n{indent}"));
            render(inner, indent, out);
        }
    }
}

/// The first line of a nested list stands behind its parent's index, the others need `indent`.
fn render_list(items: &[Value], mark: char, empty: &str, indent: &str, out: &mut String) {
    if items.is_empty() {
        out.push_str(empty);
    }
    let width = items.len().to_string().len();
    let deeper = format!("{indent}{}", " ".repeat(width + 2));
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(&format!("\n{indent}"));
        }
        out.push_str(&format!("{:width$}{mark} ", i + 1));
        render(item, &deeper, out);
    }
}

fn render_map(pairs: &[(Value, Value)], mark: char, indent: &str, out: &mut String) {
    if pairs.is_empty() {
        out.push_str("(empty hash)");
    }
    let width = pairs.len().to_string().len();
    let deeper = format!("{indent}{}", " ".repeat(width + 2));
    for (i, (key, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push_str(&format!("\n{indent}"));
        }
        out.push_str(&format!("{:width$}{mark} ", i + 1));
        render(key, &deeper, out);
        out.push_str(" => ");
        render(value, &deeper, out);
    }
}

/// `bytes` between double quotes, with redis-cli's escapes.
pub fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'"' => out.push_str("\\\""),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(byte as char),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out.push('"');
    out
}

/// A command as it travels: an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Why a read gave no value.
#[derive(Debug, Clone, PartialEq)]
pub enum RecvError {
    Timeout,
    /// The other end closed or reset the connection.
    Closed,
    /// What came is not RESP.
    Protocol(String),
}

enum Stop {
    Incomplete,
    Bad(String),
}

/// A reader over a buffer that may end in the middle of a value.
struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|w| w == b"\r\n");
        let line = &rest[..end.ok_or(Stop::Incomplete)?];
        if line.contains(&b'\n') || line.contains(&b'\r') {
            return Err(Stop::Bad(format!("stray line end in {}", quoted(line))));
        }
        self.at += line.len() + 2;
        Ok(line)
    }

    fn text(&mut self) -> Result<&'a str, Stop> {
        let line = self.line()?;
        std::str::from_utf8(line).map_err(|_| Stop::Bad(format!("not text: {}", quoted(line))))
    }

    /// A number in its one canonical spelling.
    fn number(&mut self) -> Result<i64, Stop> {
        let text = self.text()?;
        match text.parse::<i64>() {
            Ok(n) if n.to_string() == text => Ok(n),
            _ => Err(Stop::Bad(format!("not an integer: {text:?}"))),
        }
    }

    fn length(&mut self) -> Result<usize, Stop> {
        let n = self.number()?;
        usize::try_from(n).map_err(|_| Stop::Bad(format!("bad length {n}")))
    }

    fn bytes(&mut self, len: usize) -> Result<Vec<u8>, Stop> {
        let rest = &self.bytes[self.at..];
        if rest.len() < len + 2 {
            return Err(Stop::Incomplete);
        }
        if &rest[len..len + 2] != b"\r\n" {
            return Err(Stop::Bad(format!("no line end after {len} bytes")));
        }
        self.at += len + 2;
        Ok(rest[..len].to_vec())
    }

    fn values(&mut self, count: usize) -> Result<Vec<Value>, Stop> {
        (0..count).map(|_| self.value()).collect()
    }

    fn pairs(&mut self) -> Result<Vec<(Value, Value)>, Stop> {
        let count = self.length()?;
        (0..count).map(|_| Ok((self.value()?, self.value()?))).collect()
    }

    fn value(&mut self) -> Result<Value, Stop> {
        let kind = *self.bytes.get(self.at).ok_or(Stop::Incomplete)?;
        self.at += 1;
        Ok(match kind {
            b'+' => Value::Simple(self.line()?.to_vec()),
            b'-' => Value::Error(self.line()?.to_vec()),
            b':' => Value::Int(self.number()?),
            b'$' => match self.number()? {
                -1 => Value::Null,
                n if n >= 0 => Value::Bulk(self.bytes(n as usize)?),
                n => return Err(Stop::Bad(format!("bulk length {n}"))),
            },
            b'*' => match self.number()? {
                -1 => Value::NullArray,
                n if n >= 0 => Value::Array(self.values(n as usize)?),
                n => return Err(Stop::Bad(format!("array length {n}"))),
            },
            other => self.resp3_value(other)?,
        })
    }

    fn resp3_value(&mut self, kind: u8) -> Result<Value, Stop> {
        Ok(match kind {
            b'%' => Value::Map(self.pairs()?),
            b'|' => Value::Attribute(self.pairs()?, Box::new(self.value()?)),
            b'~' => {
                let count = self.length()?;
                Value::Set(self.values(count)?)
            }
            b'>' => {
                let count = self.length()?;
                Value::Push(self.values(count)?)
            }
            b',' => Value::Double(self.text()?.to_owned()),
            b'(' => Value::BigNumber(self.text()?.to_owned()),
            b'#' => match self.text()? {
                "t" => Value::Bool(true),
                "f" => Value::Bool(false),
                other => return Err(Stop::Bad(format!("boolean {other:?}"))),
            },
            b'_' => match self.text()? {
                "" => Value::Null3,
                other => return Err(Stop::Bad(format!("null {other:?}"))),
            },
            b'=' => {
                let len = self.length()?;
                let body = self.bytes(len)?;
                match body.split_at_checked(4) {
                    Some((head, text)) if head[3] == b':' => {
                        let format = String::from_utf8_lossy(&head[..3]).into_owned();
                        Value::Verbatim(format, text.to_vec())
                    }
                    _ => return Err(Stop::Bad(format!("verbatim {}", quoted(&body)))),
                }
            }
            other => return Err(Stop::Bad(format!("type byte {}", quoted(&[other])))),
        })
    }
}

/// One connection to a server.
pub struct Client {
    stream: TcpStream,
    /// Bytes received and not yet consumed.
    buffer: Vec<u8>,
    fragmented: bool,
}

impl Client {
    /// Connects, or panics.
    pub fn connect<A: ToSocketAddrs + fmt::Debug>(addr: A) -> Client {
        let stream = TcpStream::connect(&addr);
        Client::over(stream.unwrap_or_else(|e| panic!("cannot connect to {addr:?}: {e}")))
    }

    /// A client over an open connection.
    pub fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout can be set");
        Client { stream, buffer: Vec::new(), fragmented: false }
    }

    /// From now on commands go out one byte per write (the first [`FRAGMENTED_PREFIX`] bytes).
    pub fn fragment(&mut self, fragmented: bool) {
        self.fragmented = fragmented;
    }

    /// Closes the connection. Just dropping it does so only when no process that another test
    /// starts at that moment has inherited the socket, until its `exec`.
    pub fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The address of this end.
    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().expect("a local address").port()
    }

    /// Sends a command and reads its reply.
    pub fn cmd(&mut self, args: &[&str]) -> Value {
        self.send(args);
        self.recv()
    }

    /// As [`Client::cmd`], for arguments that are not text.
    pub fn cmd_bytes<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send_raw(&encode(args));
        self.recv()
    }

    /// As [`Client::cmd`], giving the bytes of the reply as they came.
    pub fn cmd_raw(&mut self, args: &[&str]) -> Vec<u8> {
        self.send(args);
        self.recv_raw()
    }

    /// Sends a command, asserts that the reply is exactly `reply` in bytes, and that no byte
    /// follows it.
    #[track_caller]
    pub fn expect(&mut self, args: &[&str], reply: &str) {
        let got = self.cmd_raw(args);
        assert_eq!(quoted(&got), quoted(reply.as_bytes()), "reply to {args:?}");
        self.expect_no_more();
    }

    pub fn send(&mut self, args: &[&str]) {
        self.send_raw(&encode(args));
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        if let Err(e) = self.try_send_raw(bytes) {
            panic!("cannot send {} bytes: {e}", bytes.len());
        }
    }

    /// As [`Client::send_raw`], giving the error to a caller that expects one.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let single = match self.fragmented {
            true => bytes.len().min(FRAGMENTED_PREFIX),
            false => 0,
        };
        for byte in &bytes[..single] {
            self.stream.write_all(&[*byte])?;
        }
        self.stream.write_all(&bytes[single..])
    }

    /// Reads one value, or panics after [`PATIENCE`].
    #[track_caller]
    pub fn recv(&mut self) -> Value {
        match self.recv_timeout(PATIENCE) {
            Ok(value) => value,
            Err(e) => panic!("no reply: {e:?}, buffered {}", quoted(&self.buffer)),
        }
    }

    /// Reads one value within `timeout`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Value, RecvError> {
        self.recv_with_bytes(timeout).map(|(value, _)| value)
    }

    /// The bytes of one value, or panics after [`PATIENCE`].
    #[track_caller]
    pub fn recv_raw(&mut self) -> Vec<u8> {
        match self.recv_with_bytes(PATIENCE) {
            Ok((_, bytes)) => bytes,
            Err(e) => panic!("no reply: {e:?}, buffered {}", quoted(&self.buffer)),
        }
    }

    /// One value within `timeout`, and its bytes.
    pub fn recv_with_bytes(&mut self, timeout: Duration) -> Result<(Value, Vec<u8>), RecvError> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut parser = Parser { bytes: &self.buffer, at: 0 };
            match parser.value() {
                Ok(value) => {
                    let used = parser.at;
                    return Ok((value, self.buffer.drain(..used).collect()));
                }
                Err(Stop::Bad(what)) => {
                    let near = quoted(&self.buffer[..self.buffer.len().min(200)]);
                    return Err(RecvError::Protocol(format!("{what} in {near}")));
                }
                Err(Stop::Incomplete) => self.fill(deadline)?,
            }
        }
    }

    /// Reads exactly `count` bytes, or panics after [`PATIENCE`].
    #[track_caller]
    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.buffer.len() < count {
            if let Err(e) = self.fill(deadline) {
                let have = self.buffer.len();
                panic!("{e:?} with {have} of {count} bytes");
            }
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads up to and without the next CRLF, or panics after [`PATIENCE`].
    #[track_caller]
    pub fn read_line(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                line.truncate(end);
                return line;
            }
            if let Err(e) = self.fill(deadline) {
                panic!("{e:?} in the line {}", quoted(&self.buffer));
            }
        }
    }

    /// Asserts that no byte has come, as the course's tester does after a reply: a 1 ms read.
    #[track_caller]
    pub fn expect_no_more(&mut self) {
        self.expect_silence(1);
    }

    /// Asserts that for `ms` milliseconds nothing comes and the connection stays open.
    #[track_caller]
    pub fn expect_silence(&mut self, ms: u64) {
        let deadline = Instant::now() + Duration::from_millis(ms);
        let end = match self.buffer.is_empty() {
            true => self.fill(deadline),
            false => Ok(()),
        };
        match end {
            Err(RecvError::Timeout) => {}
            Err(e) => panic!("silence was expected, got {e:?}"),
            Ok(()) => panic!("silence was expected, got {}", quoted(&self.buffer)),
        }
    }

    /// Asserts that the other end closes the connection without sending anything more.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let end = match self.buffer.is_empty() {
            true => self.fill(Instant::now() + PATIENCE),
            false => Ok(()),
        };
        match end {
            Err(RecvError::Closed) => {}
            Err(e) => panic!("a close was expected, got {e:?}"),
            Ok(()) => panic!("a close was expected, got {}", quoted(&self.buffer)),
        }
    }

    /// Waits for more bytes until `deadline`.
    fn fill(&mut self, deadline: Instant) -> Result<(), RecvError> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            // Zero would mean "for ever" to the socket.
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(wait)).expect("a read timeout can be set");
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(RecvError::Closed),
                Ok(n) => {
                    self.buffer.extend_from_slice(&chunk[..n]);
                    return Ok(());
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return Err(RecvError::Timeout);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(RecvError::Closed),
            }
        }
    }
}
