//! The reply writer: RESP2 or RESP3 into memory, for one connection.
//!
//! Must not know sockets or who reads. Large strings are kept by reference between the bytes that
//! were written around them, so a 100 MB value is not copied to be sent.
//!
//! Invariants: `shared` is ordered by `at`; `shared_len` is the sum of its lengths; the reply is
//! `buf` with each shared string inserted before the byte at its `at`.

use super::error::Error;
use crate::base::double::{push_human, push_shortest};
use crate::base::num::{i64_len, push_i64, push_u64};
use std::sync::Arc;

/// From this length on a shared string is kept by reference; below it a copy is cheaper.
const SHARE_MIN: usize = 16 * 1024;

/// What `clear` keeps of the buffer, in bytes.
const KEPT_CAPACITY: usize = 64 * 1024;

/// A string kept by reference, and the place in the buffer where it belongs.
#[derive(Debug)]
struct Insert {
    at: usize,
    bytes: Arc<Vec<u8>>,
}

/// A piece of a reply on its way to an output queue.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// Bytes written for this reply.
    Owned(Vec<u8>),
    /// A string that others may hold too.
    Shared(Arc<Vec<u8>>),
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match self {
            Chunk::Owned(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
        }
    }
}

/// A place in the reply to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    len: usize,
    shared: usize,
    batch: u32,
}

/// An aggregate whose length is not known yet. Nothing is written for it until it is finished, so
/// dropping one leaves its elements as replies of their own.
#[derive(Debug)]
#[must_use = "finish it, or its elements stand alone"]
pub struct Deferred(Mark);

/// Replies that wait to be sent.
#[derive(Debug)]
pub struct Out {
    buf: Vec<u8>,
    shared: Vec<Insert>,
    shared_len: usize,
    proto: u8,
    /// How often the replies so far were taken away; a mark of an earlier batch is before all of
    /// this one.
    batch: u32,
}

impl Default for Out {
    fn default() -> Self {
        Self::new()
    }
}

impl Out {
    /// An empty writer that speaks RESP2. Nothing is allocated.
    pub fn new() -> Self {
        Self { buf: Vec::new(), shared: Vec::new(), shared_len: 0, proto: 2, batch: 0 }
    }

    /// Speaks RESP3 from 3 on, RESP2 below.
    pub fn set_proto(&mut self, version: u8) {
        self.proto = if version >= 3 { 3 } else { 2 };
    }

    /// The protocol version in use, 2 or 3.
    pub fn proto(&self) -> u8 {
        self.proto
    }
}

/// Single values.
impl Out {
    /// A status line.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// An error. Line ends at its end are dropped and others become spaces, as in Redis.
    pub fn error(&mut self, error: &Error) {
        let mut text = error.text();
        while let [head @ .., b'\r' | b'\n'] = text {
            text = head;
        }
        self.line(b'-', text);
    }

    /// An integer.
    pub fn int(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.header(b':', value),
            Err(_) => {
                self.buf.push(b':');
                push_i64(&mut self.buf, value);
                self.end_line();
            }
        }
    }

    /// A string, copied.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len() as u64);
        self.raw(bytes);
        self.end_line();
    }

    /// A string, kept by reference when it is large.
    pub fn bulk_shared(&mut self, bytes: Arc<Vec<u8>>) {
        if bytes.len() < SHARE_MIN {
            return self.bulk(&bytes);
        }
        self.header(b'$', bytes.len() as u64);
        self.shared_len += bytes.len();
        self.shared.push(Insert { at: self.buf.len(), bytes });
        self.end_line();
    }

    /// A string of decimal digits.
    pub fn bulk_int(&mut self, value: i64) {
        self.header(b'$', i64_len(value) as u64);
        push_i64(&mut self.buf, value);
        self.end_line();
    }

    /// The absent value.
    pub fn null(&mut self) {
        self.raw(if self.proto == 3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// The absent array.
    pub fn null_array(&mut self) {
        self.raw(if self.proto == 3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// A floating point number; a string in RESP2.
    pub fn double(&mut self, value: f64) {
        if self.proto == 3 {
            self.buf.push(b',');
            push_shortest(&mut self.buf, value);
            self.end_line();
        } else {
            let mut text = Vec::new();
            push_shortest(&mut text, value);
            self.bulk(&text);
        }
    }

    /// A floating point number with up to 17 decimals; a string in RESP2.
    pub fn human(&mut self, value: f64) {
        let mut text = Vec::new();
        push_human(&mut text, value);
        if self.proto == 3 {
            self.line(b',', &text);
        } else {
            self.bulk(&text);
        }
    }

    /// A truth value; 1 or 0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        self.raw(match (self.proto == 3, value) {
            (true, true) => b"#t\r\n",
            (true, false) => b"#f\r\n",
            (false, true) => b":1\r\n",
            (false, false) => b":0\r\n",
        });
    }

    /// An integer of any size as decimal digits; a string in RESP2.
    pub fn big_number(&mut self, digits: &[u8]) {
        if self.proto == 3 {
            self.line(b'(', digits);
        } else {
            self.bulk(digits);
        }
    }

    /// Text for people, with a format name of three letters (padded or cut); a string in RESP2.
    pub fn verbatim(&mut self, ext: &str, text: &[u8]) {
        if self.proto != 3 {
            return self.bulk(text);
        }
        let mut format = *b"   :";
        for (slot, letter) in format[..3].iter_mut().zip(ext.bytes()) {
            *slot = letter;
        }
        self.header(b'=', (text.len() + format.len()) as u64);
        self.raw(&format);
        self.raw(text);
        self.end_line();
    }

    /// Bytes that are framed already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }
}

/// Aggregates: the header first and then that many elements, or deferred.
impl Out {
    /// An array of `n` elements follows.
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n as u64);
    }

    /// A map of `n` pairs follows; an array of keys and values in RESP2.
    pub fn map(&mut self, n: usize) {
        let (tag, n) = self.map_header(n);
        self.header(tag, n);
    }

    /// A set of `n` elements follows; an array in RESP2.
    pub fn set(&mut self, n: usize) {
        self.header(self.or_array(b'~'), n as u64);
    }

    /// A push message of `n` elements follows; an array in RESP2.
    pub fn push(&mut self, n: usize) {
        self.header(self.or_array(b'>'), n as u64);
    }

    /// Begins an aggregate whose length is only known after its elements have been written.
    pub fn defer(&mut self) -> Deferred {
        Deferred(self.mark())
    }

    /// Makes what was written since `defer` an array of `n` elements.
    ///
    /// # Panics
    /// This and the next ones: if the reply was truncated to before the place of `defer`.
    pub fn finish_array(&mut self, start: Deferred, n: usize) {
        self.insert_header(start, b'*', n as u64);
    }

    /// Makes what was written since `defer` a set of `n` elements.
    pub fn finish_set(&mut self, start: Deferred, n: usize) {
        self.insert_header(start, self.or_array(b'~'), n as u64);
    }

    /// Makes what was written since `defer` a map of `n` pairs.
    pub fn finish_map(&mut self, start: Deferred, n: usize) {
        let (tag, n) = self.map_header(n);
        self.insert_header(start, tag, n);
    }

    fn map_header(&self, n: usize) -> (u8, u64) {
        let pairs = n as u64;
        if self.proto == 3 { (b'%', pairs) } else { (b'*', pairs.saturating_mul(2)) }
    }

    fn or_array(&self, tag: u8) -> u8 {
        if self.proto == 3 { tag } else { b'*' }
    }

    /// Writes the header behind the elements and rotates it in front of them: one move of the
    /// elements' bytes, and none of a gap for small replies.
    fn insert_header(&mut self, start: Deferred, tag: u8, n: u64) {
        let Deferred(start) = start;
        let end = self.buf.len();
        self.header(tag, n);
        let width = self.buf.len() - end;
        self.buf[start.len..].rotate_right(width);
        for insert in &mut self.shared[start.shared..] {
            insert.at += width;
        }
    }
}

/// The reply as a whole.
impl Out {
    /// The present end of the reply.
    pub fn mark(&self) -> Mark {
        Mark { len: self.buf.len(), shared: self.shared.len(), batch: self.batch }
    }

    /// Drops everything written since `mark`, as far as it has not been taken away.
    pub fn truncate(&mut self, mark: Mark) {
        let (len, shared) = if mark.batch == self.batch { (mark.len, mark.shared) } else { (0, 0) };
        self.buf.truncate(len);
        for insert in self.shared.drain(shared.min(self.shared.len())..) {
            self.shared_len -= insert.bytes.len();
        }
    }

    /// Puts an error in the place of what was written between two marks, as far as it has not been
    /// taken away. Marks behind it are of no more use. A reply that was not wanted stays away.
    pub fn replace(&mut self, from: Mark, to: Mark, error: &Error) {
        let here =
            |mark: Mark| if mark.batch == self.batch { (mark.len, mark.shared) } else { (0, 0) };
        let ((start, first), (end, last)) = (here(from), here(to));
        if start == end && first == last {
            return;
        }
        let behind = self.buf.split_off(end);
        self.buf.truncate(start);
        self.error(error);
        let moved = self.buf.len();
        self.buf.extend_from_slice(&behind);
        for insert in self.shared.drain(first..last) {
            self.shared_len -= insert.bytes.len();
        }
        for insert in &mut self.shared[first..] {
            insert.at = insert.at - end + moved;
        }
    }

    /// Gives back what is kept for replies to come, when none are waiting.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.buf = Vec::new();
        }
    }

    /// Bytes that the buffer takes.
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// Bytes to send, shared ones included.
    pub fn len(&self) -> usize {
        self.buf.len() + self.shared_len
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops everything and keeps at most 64 KB for the next replies.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.buf.shrink_to(KEPT_CAPACITY);
        // A list of shared strings is rare enough not to keep room for one.
        self.shared = Vec::new();
        self.shared_len = 0;
        self.batch = self.batch.wrapping_add(1);
    }

    /// The reply's bytes in order, without empty pieces.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.shared.iter().map(|insert| insert.at));
        let tail = self.shared.last().map_or(0, |insert| insert.at);
        self.shared
            .iter()
            .zip(starts)
            .flat_map(|(insert, start)| [&self.buf[start..insert.at], &insert.bytes[..]])
            .chain(std::iter::once(&self.buf[tail..]))
            .filter(|piece| !piece.is_empty())
    }

    /// Takes the reply's bytes in order, without empty pieces, and leaves the writer empty. Shared
    /// strings are not copied, other bytes at most once.
    pub fn take_chunks(&mut self) -> Vec<Chunk> {
        let mut owned = std::mem::take(&mut self.buf);
        let mut chunks = Vec::with_capacity(2 * self.shared.len() + 1);
        // From the back, so that no byte is moved by more than one cut.
        for insert in std::mem::take(&mut self.shared).into_iter().rev() {
            let behind = owned.split_off(insert.at);
            chunks.push(Chunk::Owned(behind));
            chunks.push(Chunk::Shared(insert.bytes));
        }
        chunks.push(Chunk::Owned(owned));
        chunks.retain(|chunk| !chunk.as_ref().is_empty());
        chunks.reverse();
        self.shared_len = 0;
        self.batch = self.batch.wrapping_add(1);
        chunks
    }

    fn header(&mut self, tag: u8, n: u64) {
        // Most counts, lengths and integers have one digit.
        if n < 10 {
            self.raw(&[tag, b'0' + n as u8, b'\r', b'\n']);
        } else {
            self.buf.push(tag);
            push_u64(&mut self.buf, n);
            self.end_line();
        }
    }

    fn line(&mut self, tag: u8, text: &[u8]) {
        self.buf.push(tag);
        let start = self.buf.len();
        self.raw(text);
        for byte in &mut self.buf[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.end_line();
    }

    fn end_line(&mut self) {
        self.raw(b"\r\n");
    }
}

/// A push message of these strings on its own; an array in RESP2.
pub fn encode_push(proto: u8, parts: &[&[u8]]) -> Vec<u8> {
    // The longest header of a string has 20 digits.
    let room = parts.iter().map(|part| part.len() + 25).sum::<usize>();
    let mut out = Out { buf: Vec::with_capacity(room + 25), ..Out::new() };
    out.set_proto(proto);
    out.push(parts.len());
    parts.iter().for_each(|part| out.bulk(part));
    out.buf
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(out: &Out) -> Vec<u8> {
        let joined = out.chunks().collect::<Vec<_>>().concat();
        assert_eq!(joined.len(), out.len());
        joined
    }

    /// Checks that `write` gives `resp2` and `resp3`.
    fn check(write: impl Fn(&mut Out), resp2: &str, resp3: &str) {
        for (proto, expected) in [(2, resp2), (3, resp3)] {
            let mut out = Out::new();
            out.set_proto(proto);
            write(&mut out);
            assert_eq!(String::from_utf8_lossy(&bytes(&out)), expected, "RESP{proto}");
        }
    }

    fn same(write: impl Fn(&mut Out), expected: &str) {
        check(write, expected, expected);
    }

    #[test]
    fn lines() {
        same(|out| out.ok(), "+OK\r\n");
        same(|out| out.simple("PONG"), "+PONG\r\n");
        same(|out| out.simple("a\r\nb"), "+a  b\r\n");
        same(|out| out.error(&Error::SYNTAX), "-ERR syntax error\r\n");
        same(|out| out.error(&Error::new("ERR a\r\nb\n\r\n")), "-ERR a  b\r\n");
        same(|out| out.error(&Error::new("\r\n")), "-\r\n");
    }

    #[test]
    fn integers() {
        for value in [0, 1, 9, 10, 12345, -1, -10, i64::MIN, i64::MAX] {
            let text = value.to_string();
            same(|out| out.int(value), &format!(":{text}\r\n"));
            same(|out| out.bulk_int(value), &format!("${}\r\n{text}\r\n", text.len()));
        }
    }

    #[test]
    fn strings() {
        same(|out| out.bulk(b""), "$0\r\n\r\n");
        same(|out| out.bulk(b"a\r\nb"), "$4\r\na\r\nb\r\n");
        let long = "x".repeat(1234);
        same(|out| out.bulk(long.as_bytes()), &format!("$1234\r\n{long}\r\n"));
        same(|out| out.raw(b"+raw\r\n"), "+raw\r\n");
        check(|out| out.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
        check(|out| out.verbatim("m", b""), "$0\r\n\r\n", "=4\r\nm  :\r\n");
        check(|out| out.verbatim("markdown", b"x"), "$1\r\nx\r\n", "=5\r\nmar:x\r\n");
        check(|out| out.big_number(b"-123"), "$4\r\n-123\r\n", "(-123\r\n");
    }

    #[test]
    fn nulls_and_booleans() {
        check(|out| out.null(), "$-1\r\n", "_\r\n");
        check(|out| out.boolean(true), ":1\r\n", "#t\r\n");
        check(|out| out.boolean(false), ":0\r\n", "#f\r\n");
    }

    #[test]
    fn aggregates() {
        same(|out| out.array(0), "*0\r\n");
        same(|out| out.array(100), "*100\r\n");
        check(|out| out.map(7), "*14\r\n", "%7\r\n");
        check(|out| out.set(2), "*2\r\n", "~2\r\n");
        check(|out| out.push(3), "*3\r\n", ">3\r\n");
    }

    #[test]
    fn doubles() {
        let cases = [(-1.5, "-1.5"), (1e100, "1e+100"), (f64::NEG_INFINITY, "-inf")];
        for (value, text) in cases {
            let resp2 = format!("${}\r\n{text}\r\n", text.len());
            check(|out| out.double(value), &resp2, &format!(",{text}\r\n"));
        }
    }

    #[test]
    fn decimals() {
        check(|out| out.human(0.25), "$4\r\n0.25\r\n", ",0.25\r\n");
    }

    #[test]
    fn deferred_lengths() {
        let nested = |out: &mut Out| {
            out.ok();
            let outer = out.defer();
            let inner = out.defer();
            for i in 0..12 {
                out.int(i % 10);
            }
            out.finish_array(inner, 12);
            let map = out.defer();
            out.bulk(b"k");
            out.bulk(b"v");
            out.finish_map(map, 1);
            let empty = out.defer();
            out.finish_array(empty, 0);
            out.finish_array(outer, 3);
            out.int(7);
        };
        let numbers: String = (0..12).map(|i| format!(":{}\r\n", i % 10)).collect();
        let pair = "$1\r\nk\r\n$1\r\nv\r\n";
        check(
            nested,
            &format!("+OK\r\n*3\r\n*12\r\n{numbers}*2\r\n{pair}*0\r\n:7\r\n"),
            &format!("+OK\r\n*3\r\n*12\r\n{numbers}%1\r\n{pair}*0\r\n:7\r\n"),
        );
    }

    fn large(byte: u8, len: usize) -> Arc<Vec<u8>> {
        Arc::new(vec![byte; len])
    }

    /// A reply with shared strings before, in and after a deferred array, and its expected bytes.
    fn with_shared() -> (Out, Vec<u8>) {
        let mut out = Out::new();
        out.bulk_shared(large(b'a', SHARE_MIN));
        let array = out.defer();
        out.bulk_shared(large(b'b', SHARE_MIN + 1));
        out.bulk_shared(large(b'c', SHARE_MIN - 1));
        out.bulk_shared(large(b'd', 5 * SHARE_MIN));
        out.finish_array(array, 3);
        let mut plain = Out::new();
        plain.bulk(&large(b'a', SHARE_MIN));
        plain.array(3);
        plain.bulk(&large(b'b', SHARE_MIN + 1));
        plain.bulk(&large(b'c', SHARE_MIN - 1));
        plain.bulk(&large(b'd', 5 * SHARE_MIN));
        let expected = bytes(&plain);
        (out, expected)
    }

    #[test]
    fn large_strings_are_shared_not_copied() {
        let value = large(b'v', SHARE_MIN);
        let mut out = Out::new();
        out.bulk_shared(Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 2);
        assert_eq!(bytes(&out), [b"$16384\r\n", &value[..], b"\r\n"].concat());
        out.clear();
        assert_eq!((Arc::strong_count(&value), out.len()), (1, 0));

        let small = large(b'v', SHARE_MIN - 1);
        out.bulk_shared(Arc::clone(&small));
        assert_eq!(Arc::strong_count(&small), 1);
    }

    #[test]
    fn shared_strings_keep_their_places() {
        let (mut out, expected) = with_shared();
        assert_eq!(bytes(&out), expected);
        let chunks = out.take_chunks();
        assert!(out.is_empty());
        assert_eq!(out.chunks().count(), 0);
        assert_eq!(chunks.iter().map(Chunk::as_ref).collect::<Vec<_>>().concat(), expected);
        let shared = chunks.iter().filter(|chunk| matches!(chunk, Chunk::Shared(_))).count();
        assert_eq!((shared, chunks.len()), (3, 7));
        assert!(Out::new().take_chunks().is_empty());
    }

    #[test]
    fn truncation_forgets_shared_strings_too() {
        let (mut out, expected) = with_shared();
        let mark = out.mark();
        let value = large(b'e', SHARE_MIN);
        let array = out.defer();
        out.bulk_shared(Arc::clone(&value));
        out.finish_array(array, 1);
        out.truncate(mark);
        assert_eq!(bytes(&out), expected);
        assert_eq!(Arc::strong_count(&value), 1);
        out.truncate(Mark { len: 0, shared: 0, batch: 0 });
        assert!(out.is_empty());
        out.truncate(mark);
        assert!(out.is_empty());
    }

    /// A command that waits has what was answered before it sent, and its own reply may be dropped
    /// later.
    #[test]
    fn a_mark_outlives_what_was_before_it() {
        let mut out = Out::new();
        for take in [false, true] {
            out.simple("a long reply that was sent");
            let mark = out.mark();
            if take {
                drop(out.take_chunks())
            } else {
                out.clear()
            }
            out.int(1);
            out.truncate(mark);
            assert!(out.is_empty());
        }
    }

    #[test]
    fn clear_keeps_a_modest_buffer() {
        let mut out = Out::new();
        out.bulk(&[0; 1000]);
        out.clear();
        assert!(out.buf.capacity() >= 1000);
        out.bulk(&vec![0; 10 * KEPT_CAPACITY]);
        out.clear();
        assert!(out.buf.capacity() <= KEPT_CAPACITY);
        assert!(out.is_empty());
    }
}
