//! Reading RDB: a whole file through [`Reader`], a DUMP payload through [`restore`].
//!
//! The input is not trusted. No length in it makes the reader take more memory than the bytes
//! that are really there can justify, and nothing in it makes the reader panic. Bytes are taken
//! from the input exactly as far as the format goes, never further. Knows values but neither
//! keyspaces nor clocks: whether a key has expired is for the caller to see.

use std::fmt;
use std::io::{self, Read};

use crate::base::{crc64, lzf};
use crate::data::{Limits, Str, Value};
use crate::rdb::kinds::{hash, list, set, stream, zset};
use crate::rdb::{Eviction, PLACE, opcodes};

/// Strings up to this are read without looking how much of them is there.
const AT_ONCE: usize = 16 * 1024;
/// How much memory is taken ahead of the bytes that a length promises.
const STEP: usize = 1024 * 1024;
/// The bytes of the smallest key: type, length of the name, name, and the value's first byte.
const SMALLEST_KEY: u64 = 4;
/// Keys that are believed to come where the bytes left are not known.
const MOST_KEYS: u64 = 1 << 20;
/// The bytes that end a DUMP payload: version and checksum.
const FOOTER: usize = 2 + 8;

/// Why a file could not be read, and where.
#[derive(Debug)]
pub struct Error {
    /// How many bytes of the file stand before the field that could not be read.
    pub offset: u64,
    /// What is wrong with that field.
    pub kind: ErrorKind,
}

/// What can be wrong with a file.
#[derive(Debug)]
pub enum ErrorKind {
    /// The input ends before the file does.
    Truncated,
    /// The input itself failed.
    Io(io::Error),
    /// The file is of a version that is not read.
    Version(u32),
    /// A value type or opcode that is not known here.
    Type(u8),
    /// The file's checksum is not that of its bytes.
    Checksum {
        /// The checksum that the file claims.
        stored: u64,
        /// The checksum that its bytes have.
        computed: u64,
    },
    /// The file breaks its own format; the text says how.
    Corrupt(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = format_args!("{PLACE} {}", self.offset);
        match &self.kind {
            ErrorKind::Truncated => write!(f, "{place} -> Unexpected EOF reading RDB file"),
            ErrorKind::Io(error) => write!(f, "{place} -> {error}"),
            ErrorKind::Version(version) => write!(f, "Can't handle RDB format version {version}"),
            ErrorKind::Type(number) => write!(f, "{place} -> Unknown RDB type {number}"),
            ErrorKind::Checksum { stored, computed } => write!(
                f,
                "{place} -> RDB CRC error: the checksum is {stored:016x} but the data gives \
                 {computed:016x}"
            ),
            ErrorKind::Corrupt(what) => write!(f, "{place} -> {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// One thing found in a file.
#[derive(Debug)]
pub enum Item {
    /// A fact about the file: name and value.
    Aux(Vec<u8>, Vec<u8>),
    /// The entries after this belong to this database.
    SelectDb(u64),
    /// How many keys the database has, at most as many as the bytes left may be. A hint.
    ResizeDb(u64),
    /// The source of a function library.
    Function(Vec<u8>),
    /// Data of a module, which was skipped.
    ModuleAux,
    /// The name of a key that has an empty collection, which no key has. Old servers have written
    /// such keys.
    Empty(Vec<u8>),
    /// A key.
    Entry {
        /// Its name.
        key: Vec<u8>,
        /// Its value.
        value: Value,
        /// When it expires, in Unix milliseconds.
        expire_at_ms: Option<i64>,
        /// What the writer's eviction knew of it.
        eviction: Option<Eviction>,
    },
    /// The end; the checksum was right, absent, or not asked for.
    Eof,
}

enum State {
    Header,
    Body { version: u16 },
    End,
}

/// Reads one RDB file, item by item. `R` should be buffered: it is asked for single bytes.
/// After an error the reader is of no more use.
pub struct Reader<R: Read> {
    source: Source<R>,
    state: State,
}

impl<R: Read> Reader<R> {
    /// Reads from `inner`, of unknown size, and verifies the checksum.
    pub fn new(inner: R) -> Self {
        Reader {
            source: Source {
                inner,
                offset: 0,
                limit: None,
                crc: Some(0),
                limits: Limits::default(),
            },
            state: State::Header,
        }
    }

    /// Tells that `inner` has this many bytes: the reader goes no further, and lengths that
    /// exceed what is left are refused at once.
    pub fn limit(mut self, limit: Option<u64>) -> Self {
        self.source.limit = limit;
        self
    }

    /// Whether to verify the checksum (`rdbchecksum` of the configuration).
    pub fn verify(mut self, verify: bool) -> Self {
        self.source.crc = verify.then_some(0);
        self
    }

    /// How large collections may be in their small form; Redis's defaults unless said.
    pub fn small_up_to(mut self, limits: Limits) -> Self {
        self.source.limits = limits;
        self
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> u64 {
        self.source.offset
    }

    /// Returns the next item. After [`Item::Eof`] it returns that again and reads no more.
    pub fn next(&mut self) -> Result<Item, Error> {
        let version = match self.state {
            State::Header => {
                let version = self.source.header()?;
                self.state = State::Body { version };
                version
            }
            State::Body { version } => version,
            State::End => return Ok(Item::Eof),
        };
        let item = self.source.item(version)?;
        if let Item::Eof = item {
            self.state = State::End;
        }
        Ok(item)
    }
}

/// Why a payload was refused by RESTORE.
#[derive(Debug)]
pub enum RestoreError {
    /// The payload is too short, too new, or its checksum is wrong.
    Footer,
    /// The value in it cannot be read.
    Body(Error),
}

/// Returns the value in a DUMP payload.
pub fn restore(payload: &[u8], limits: Limits) -> Result<Value, RestoreError> {
    let (body, checksum) = payload.split_last_chunk().ok_or(RestoreError::Footer)?;
    if crc64::update(0, body).to_le_bytes() != *checksum {
        return Err(RestoreError::Footer);
    }
    restore_unverified(payload, limits)
}

/// Returns the value in a DUMP payload, whatever its checksum.
pub fn restore_unverified(payload: &[u8], limits: Limits) -> Result<Value, RestoreError> {
    let (body, footer) = payload.split_last_chunk::<FOOTER>().ok_or(RestoreError::Footer)?;
    let [low, high, ..] = *footer;
    if u16::from_le_bytes([low, high]) > opcodes::MAX_VERSION {
        return Err(RestoreError::Footer);
    }
    let mut source =
        Source { inner: body, offset: 0, limit: Some(body.len() as u64), crc: None, limits };
    source.lone_value().map_err(RestoreError::Body)
}

/// What a string starts with: a number of bytes, or the number of a special form.
enum Length {
    Plain(u64),
    Encoded(u8),
}

/// A string as it was written.
enum Text {
    Int(i32),
    Bytes(Vec<u8>),
}

/// The input with what must be known about it: position, end, checksum.
pub(super) struct Source<R: Read> {
    inner: R,
    offset: u64,
    /// The offset at which the input ends, where that is known.
    limit: Option<u64>,
    /// The checksum of what was read, or none when it is not wanted.
    crc: Option<u64>,
    /// How large collections may be in their small form.
    pub(super) limits: Limits,
}

/// The parts of a file.
impl<R: Read> Source<R> {
    fn header(&mut self) -> Result<u16, Error> {
        if self.array::<5>()? != *opcodes::MAGIC {
            return Err(corrupt(0, "it does not start with REDIS"));
        }
        let offset = self.offset;
        let digits = self.array::<4>()?;
        let mut version = 0u16;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return Err(corrupt(offset, "the version is not a number"));
            }
            version = version * 10 + u16::from(digit - b'0');
        }
        if !(1..=opcodes::MAX_VERSION).contains(&version) {
            let kind = ErrorKind::Version(u32::from(version));
            return Err(Error { offset, kind });
        }
        Ok(version)
    }

    fn item(&mut self, version: u16) -> Result<Item, Error> {
        let mut expire_at_ms = None;
        let mut eviction = None;
        loop {
            let offset = self.offset;
            match self.byte()? {
                opcodes::AUX => return Ok(Item::Aux(self.string()?, self.string()?)),
                opcodes::SELECT_DB => return Ok(Item::SelectDb(self.len()?)),
                opcodes::RESIZE_DB => {
                    let keys = self.len()?;
                    self.len()?;
                    let most = self.left().map_or(MOST_KEYS, |left| left / SMALLEST_KEY);
                    return Ok(Item::ResizeDb(keys.min(most)));
                }
                opcodes::FUNCTION => return Ok(Item::Function(self.string()?)),
                opcodes::MODULE_AUX => return self.module_aux(),
                opcodes::EOF => return self.end(version),
                opcodes::SLOT_INFO => {
                    for _ in 0..3 {
                        self.len()?;
                    }
                }
                opcodes::EXPIRE_MS => expire_at_ms = Some(i64::from_le_bytes(self.array()?)),
                opcodes::EXPIRE_SECONDS => {
                    let seconds = i32::from_le_bytes(self.array()?);
                    expire_at_ms = Some(i64::from(seconds) * 1000);
                }
                opcodes::IDLE => eviction = Some(Eviction::Idle(self.len()?)),
                opcodes::FREQ => eviction = Some(Eviction::Freq(self.byte()?)),
                // The pre-release form of functions, 0xf6, ends here too: Redis refuses it.
                number => {
                    if !is_value(number) {
                        return Err(Error { offset, kind: ErrorKind::Type(number) });
                    }
                    let key = self.string()?;
                    let value = self.value(number)?;
                    if value.is_void() {
                        return Ok(Item::Empty(key));
                    }
                    return Ok(Item::Entry { key, value, expire_at_ms, eviction });
                }
            }
        }
    }

    fn end(&mut self, version: u16) -> Result<Item, Error> {
        if version < opcodes::FIRST_VERSION_WITH_CHECKSUM {
            return Ok(Item::Eof);
        }
        let offset = self.offset;
        let computed = self.crc;
        let stored = u64::from_le_bytes(self.array()?);
        match computed {
            // Zero is what a writer leaves that was told not to compute one.
            Some(computed) if stored != 0 && stored != computed => {
                let kind = ErrorKind::Checksum { stored, computed };
                Err(Error { offset, kind })
            }
            _ => Ok(Item::Eof),
        }
    }

    /// Module id, then numbered parts up to an end mark; the first part says when to load it.
    fn module_aux(&mut self) -> Result<Item, Error> {
        self.len()?;
        let offset = self.offset;
        if self.len()? != opcodes::MODULE_UINT {
            return Err(corrupt(offset, "a module's data does not say when to load it"));
        }
        self.len()?;
        loop {
            let offset = self.offset;
            match self.len()? {
                opcodes::MODULE_EOF => return Ok(Item::ModuleAux),
                opcodes::MODULE_SINT | opcodes::MODULE_UINT => drop(self.len()?),
                opcodes::MODULE_FLOAT => drop(self.array::<4>()?),
                opcodes::MODULE_DOUBLE => drop(self.array::<8>()?),
                opcodes::MODULE_STRING => drop(self.text()?),
                _ => return Err(corrupt(offset, "unknown part in a module's data")),
            }
        }
    }
}

/// Values. A new type adds its numbers to `is_value` and its arm to `value`.
impl<R: Read> Source<R> {
    /// Reads the body of a value of type `number`.
    fn value(&mut self, number: u8) -> Result<Value, Error> {
        match number {
            opcodes::TYPE_STRING => self.string_value(),
            1 | 10 | 14 | 18 => list::read(self, number).map(Value::List),
            2 | 11 | 20 => set::read(self, number).map(Value::Set),
            3 | 5 | 12 | 17 => zset::read(self, number).map(Value::Zset),
            4 | 9 | 13 | 16 | 22..=25 => hash::read(self, number).map(Value::Hash),
            15 | 19 | 21 => stream::read(self, number).map(Value::Stream),
            _ => Err(self.unknown_type(number)),
        }
    }

    fn string_value(&mut self) -> Result<Value, Error> {
        let text = match self.text()? {
            Text::Int(number) => Str::from_i64(i64::from(number)),
            Text::Bytes(bytes) => Str::from_vec(bytes),
        };
        Ok(Value::String(text))
    }

    /// A type byte, a body, and then the end of the input.
    fn lone_value(&mut self) -> Result<Value, Error> {
        let number = self.byte()?;
        let value = self.value(number)?;
        match self.left() {
            Some(0) if value.is_void() => Err(corrupt(self.offset, "the collection is empty")),
            Some(0) => Ok(value),
            _ => Err(corrupt(self.offset, "bytes follow the value")),
        }
    }
}

/// Whether a type number is that of a value that can be read.
fn is_value(number: u8) -> bool {
    matches!(number, 0..=5 | 9..=25)
}

/// Lengths and strings.
impl<R: Read> Source<R> {
    fn length(&mut self) -> Result<Length, Error> {
        let offset = self.offset;
        let first = self.byte()?;
        let six = first & !opcodes::LEN_FORM;
        match (first & opcodes::LEN_FORM, first) {
            (opcodes::LEN_6, _) => Ok(Length::Plain(u64::from(six))),
            (opcodes::LEN_14, _) => {
                let len = u16::from_be_bytes([six, self.byte()?]);
                Ok(Length::Plain(u64::from(len)))
            }
            (opcodes::LEN_ENCODED, _) => Ok(Length::Encoded(six)),
            (_, opcodes::LEN_32) => {
                let len = u32::from_be_bytes(self.array()?);
                Ok(Length::Plain(u64::from(len)))
            }
            (_, opcodes::LEN_64) => Ok(Length::Plain(u64::from_be_bytes(self.array()?))),
            _ => Err(corrupt(offset, "unknown form of a length")),
        }
    }

    /// Reads a length.
    pub(super) fn len(&mut self) -> Result<u64, Error> {
        let offset = self.offset;
        match self.length()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => Err(corrupt(offset, "an encoded string where a length belongs")),
        }
    }

    fn text(&mut self) -> Result<Text, Error> {
        let offset = self.offset;
        let number = match self.length()? {
            Length::Plain(len) => return self.bytes(len).map(Text::Bytes),
            Length::Encoded(opcodes::STRING_LZF) => return self.lzf(offset).map(Text::Bytes),
            Length::Encoded(opcodes::STRING_INT8) => i32::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(opcodes::STRING_INT16) => i32::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(opcodes::STRING_INT32) => i32::from_le_bytes(self.array()?),
            Length::Encoded(_) => return Err(corrupt(offset, "unknown encoding of a string")),
        };
        Ok(Text::Int(number))
    }

    fn lzf(&mut self, offset: u64) -> Result<Vec<u8>, Error> {
        let packed_len = self.len()?;
        let len = self.len()?;
        let packed = self.bytes(packed_len)?;
        usize::try_from(len)
            .ok()
            .and_then(|len| lzf::decompress(&packed, len))
            .ok_or_else(|| corrupt(offset, "a compressed string does not unpack"))
    }

    /// Reads a string.
    pub(super) fn string(&mut self) -> Result<Vec<u8>, Error> {
        match self.text()? {
            Text::Int(number) => Ok(number.to_string().into_bytes()),
            Text::Bytes(bytes) => Ok(bytes),
        }
    }
}

/// Bytes. Everything read passes through `array` or `bytes`.
impl<R: Read> Source<R> {
    /// Reads a byte.
    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Reads that many bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.claim(N as u64)?;
        let mut array = [0; N];
        if let Err(error) = self.inner.read_exact(&mut array) {
            return Err(self.failed(error));
        }
        self.account(&array);
        Ok(array)
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, Error> {
        self.claim(len)?;
        let start = self.offset;
        let len = usize::try_from(len)
            .map_err(|_| corrupt(start, "a string does not fit this machine's memory"))?;
        if len <= AT_ONCE {
            let mut bytes = vec![0; len];
            return match self.inner.read_exact(&mut bytes) {
                Ok(()) => {
                    self.account(&bytes);
                    Ok(bytes)
                }
                Err(error) => Err(self.failed(error)),
            };
        }
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let done = bytes.len();
            let step = STEP.min(len - done);
            // Memory follows what has arrived, as even a known size may be a false promise.
            if bytes.try_reserve(step).is_err() {
                return Err(self.failed(io::ErrorKind::OutOfMemory.into()));
            }
            let mut piece = self.inner.by_ref().take(step as u64);
            match piece.read_to_end(&mut bytes) {
                Ok(count) if count == step => self.account(&bytes[done..]),
                Ok(_) => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(bytes)
    }

    /// Refuses to go on when the input is known to end within the next `len` bytes.
    fn claim(&self, len: u64) -> Result<(), Error> {
        match self.left() {
            Some(left) if len > left => Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    /// How many bytes are left, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.offset))
    }

    fn account(&mut self, bytes: &[u8]) {
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        self.crc = self.crc.map(|crc| crc64::update(crc, bytes));
    }

    /// The type number of a value is not known.
    pub(super) fn unknown_type(&self, number: u8) -> Error {
        Error { offset: self.offset, kind: ErrorKind::Type(number) }
    }

    /// What was read last breaks the format; the text says how.
    pub(super) fn corrupt(&self, what: &'static str) -> Error {
        corrupt(self.offset, what)
    }

    fn failed(&self, error: io::Error) -> Error {
        let kind = match error.kind() {
            io::ErrorKind::UnexpectedEof => ErrorKind::Truncated,
            _ => ErrorKind::Io(error),
        };
        Error { offset: self.offset, kind }
    }
}

fn corrupt(offset: u64, what: &'static str) -> Error {
    let kind = ErrorKind::Corrupt(what);
    Error { offset, kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::tests::{file, walk};

    fn walk_kind(bytes: &[u8]) -> ErrorKind {
        walk(Reader::new(bytes)).unwrap_err().kind
    }

    #[test]
    fn versions_outside_the_known_are_refused() {
        for version in [0, 13, 80, 9999] {
            let kind = walk_kind(&file(version, b""));
            assert!(matches!(kind, ErrorKind::Version(v) if v == version), "{kind:?}");
        }
        assert!(matches!(walk_kind(b"REDIS00x1\xff"), ErrorKind::Corrupt(_)));
        assert!(matches!(walk_kind(b"VALKEY080\xff"), ErrorKind::Corrupt(_)));
        assert!(matches!(walk_kind(b""), ErrorKind::Truncated));
    }

    #[test]
    fn all_versions_are_read_and_only_old_ones_lack_the_checksum() {
        for version in 1..=12 {
            let bytes = file(version, b"\xfe\x00\x00\x01k\x01v");
            let items = walk(Reader::new(&bytes[..])).unwrap();
            assert_eq!(items.len(), 3);
            let end = 9 + 7 + 1 + if version < 5 { 0 } else { 8 };
            assert_eq!(bytes.len(), end);
        }
    }

    #[test]
    fn unknown_types_are_named_with_their_place() {
        for number in [6, 7, 0x80, 0xf3, 0xf6] {
            let error = walk(Reader::new(&file(10, &[0xfe, 0, number])[..])).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Type(n) if n == number));
            let text =
                format!("Internal error in RDB reading offset 11 -> Unknown RDB type {number}");
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn wrong_checksum_is_an_error_unless_zero_or_not_asked_for() {
        let mut bytes = file(10, b"\xfe\x00\x00\x01k\x01v");
        let key = bytes.len() - 9 - 3;
        bytes[key] = b'K';
        let error = walk(Reader::new(&bytes[..])).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Checksum { .. }));
        assert_eq!(error.offset, bytes.len() as u64 - 8);
        assert!(walk(Reader::new(&bytes[..]).verify(false)).is_ok());
        let footer = bytes.len() - 8;
        bytes[footer..].fill(0);
        assert!(walk(Reader::new(&bytes[..])).is_ok());
    }

    #[test]
    fn nothing_after_the_footer_is_touched() {
        for version in [3, 10] {
            let mut bytes = file(version, b"\x00\x01k\x01v");
            let end = bytes.len() as u64;
            bytes.extend_from_slice(b"$EOF:");
            let mut rest = &bytes[..];
            let mut reader = Reader::new(&mut rest);
            while !matches!(reader.next().unwrap(), Item::Eof) {}
            assert!(matches!(reader.next().unwrap(), Item::Eof));
            assert_eq!(reader.offset(), end);
            assert_eq!(rest, b"$EOF:");
        }
    }

    #[test]
    fn every_form_of_length_is_read() {
        let forms: [&[u8]; 4] =
            [&[1], &[0x40, 1], &[0x80, 0, 0, 0, 1], &[0x81, 0, 0, 0, 0, 0, 0, 0, 1]];
        for form in forms {
            let body = [&[0xfe], form, &[0], form, b"k", form, b"v"].concat();
            let items = walk(Reader::new(&file(11, &body)[..])).unwrap();
            assert_eq!(items[..2], ["select 1", "k=v None None"]);
        }
        for bad in [0x82, 0xbf, 0xc0, 0xc3] {
            let kind = walk_kind(&file(11, &[0xfe, bad, 0, 0, 0]));
            assert!(matches!(kind, ErrorKind::Corrupt(_)), "{bad:x}: {kind:?}");
        }
        let kind = walk_kind(&file(11, &[0x00, 0xc4, 0, 0, 0]));
        assert!(matches!(kind, ErrorKind::Corrupt(_)), "{kind:?}");
    }

    #[test]
    fn no_more_keys_are_announced_than_can_come() {
        let body = b"\xfe\x00\xfb\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x01k\x01v";
        let bytes = file(11, body);
        for (limit, most) in [(Some(bytes.len() as u64), 3), (None, MOST_KEYS)] {
            let mut reader = Reader::new(&bytes[..]).limit(limit);
            assert!(matches!(reader.next().unwrap(), Item::SelectDb(0)));
            assert!(matches!(reader.next().unwrap(), Item::ResizeDb(keys) if keys == most));
        }
    }

    #[test]
    fn huge_claims_are_refused_whether_or_not_the_size_is_known() {
        let claims: [&[u8]; 3] = [
            &[0x80, 0xff, 0xff, 0xff, 0xff],
            &[0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ];
        for claim in claims {
            for limit in [false, true] {
                let bytes = file(11, &[&[0], claim].concat());
                let limit = limit.then_some(bytes.len() as u64);
                let error = walk(Reader::new(&bytes[..]).limit(limit)).unwrap_err();
                assert!(matches!(error.kind, ErrorKind::Truncated));
                assert_eq!(error.offset, 10 + claim.len() as u64);
            }
            // A compressed string that claims to unpack to that much.
            let body = [&[0x00, 0xc3, 2], claim, &[0, b'a']].concat();
            assert!(matches!(walk_kind(&file(11, &body)), ErrorKind::Corrupt(_)));
        }
    }

    #[test]
    fn memory_grows_with_what_arrives() {
        let mut source = Source {
            inner: io::repeat(b'x').take(0),
            offset: 0,
            limit: None,
            crc: None,
            limits: Limits::default(),
        };
        // Neither a missing size nor a false one makes room for what does not come.
        for limit in [None, Some(u64::MAX)] {
            source.limit = limit;
            source.inner = io::repeat(b'x').take(10);
            let error = source.bytes(1 << 50).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Truncated), "{error}");
        }
        let long = 3 * STEP + 1;
        source.inner = io::repeat(b'x').take(long as u64 + 5);
        assert_eq!(source.bytes(long as u64).unwrap(), vec![b'x'; long]);
        assert_eq!(source.inner.limit(), 5);
    }

    #[test]
    fn a_failing_input_is_neither_truncated_nor_corrupt() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let start = file(10, b"\x00\x01k\x30");
        let error = walk(Reader::new(start[..13].chain(Broken))).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Io(_)));
        assert_eq!(error.offset, 13);
    }

    #[test]
    fn module_data_is_skipped_by_its_marks() {
        let id_and_when = b"\xf7\x81\x01\x02\x03\x04\x05\x06\x07\x08\x02\x02";
        let parts: [&[u8]; 7] = [
            b"\x01\x40\x80",
            b"\x02\x05",
            b"\x03\xff\xff\xff\xff",
            b"\x04\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x05\x03abc",
            b"\x05\xc0\x09",
            b"\x00",
        ];
        let body = [id_and_when, &parts.concat()[..], b"\xfe\x05"].concat();
        let items = walk(Reader::new(&file(11, &body)[..])).unwrap();
        assert_eq!(items, ["module", "select 5", "eof"]);
        for bad in [&b"\xf7\x01\x01\x02\x00"[..], b"\xf7\x01\x02\x02\x06\x00"] {
            assert!(matches!(walk_kind(&file(11, bad)), ErrorKind::Corrupt(_)));
        }
    }

    /// A DUMP payload whose footer is right.
    fn payload(body: &[u8], version: u16) -> Vec<u8> {
        let mut bytes = [body, &version.to_le_bytes()].concat();
        let crc = crc64::update(0, &bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    #[test]
    fn restore_checks_the_footer_first_then_the_body() {
        let good = payload(b"\x00\x03bar", 12);
        assert_eq!(restore(&good, Limits::default()).unwrap(), Value::String(Str::text(b"bar")));
        for end in 0..good.len() {
            assert!(matches!(restore(&good[..end], Limits::default()), Err(RestoreError::Footer)));
        }
        for version in [13, 0x0100] {
            let bytes = payload(b"\x00\x03bar", version);
            assert!(matches!(restore(&bytes, Limits::default()), Err(RestoreError::Footer)));
        }
        let mut unsummed = good.clone();
        unsummed[7..].fill(0);
        assert!(matches!(restore(&unsummed, Limits::default()), Err(RestoreError::Footer)));
        for body in [&b""[..], b"\x00", b"\x00\x03ba", b"\x00\x03barx", b"\xfa\x00\x00"] {
            assert!(matches!(
                restore(&payload(body, 10), Limits::default()),
                Err(RestoreError::Body(_))
            ));
        }
    }
}
