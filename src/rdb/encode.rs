//! Writing RDB: a whole file through [`Writer`], one value through [`encode_value`], a DUMP
//! payload through [`dump`]. Knows values but neither keyspaces nor clocks: the caller decides
//! what is written, in which order, and when a key has expired.

use std::io::{self, Write};

use crate::base::{crc64, lzf, num};
use crate::data::{Str, Value};
use crate::rdb::kinds::{hash, list, set, stream, zset};
use crate::rdb::{Eviction, opcodes};

/// Texts longer than this are never the decimal text of a 32-bit number.
const LONGEST_INT32: usize = 11;
/// Strings up to this length are not worth an attempt to compress them, as in Redis.
const NO_LZF_UP_TO: usize = 20;
/// How much is gathered before it is summed and written in one go. Longer strings pass through
/// without being copied.
const GATHER: usize = 16 * 1024;

/// What the writer may choose: `rdbcompression` and `rdbchecksum` of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Compress strings of more than 20 bytes when that makes them shorter.
    pub compress: bool,
    /// End the file with its checksum; otherwise with zeros, which readers take for "none".
    pub checksum: bool,
}

/// Writes one RDB file, in the order in which its methods are called. It gathers small writes
/// itself, so `W` needs no buffer. A writer that is dropped before [`Writer::finish`] leaves a
/// file without its end.
pub struct Writer<W: Write> {
    out: Summed<W>,
    strings: Strings,
}

impl<W: Write> Writer<W> {
    /// Writes to `inner`; nothing is written yet.
    pub fn new(inner: W, opts: Options) -> Self {
        let out =
            Summed { inner, gathered: Vec::with_capacity(GATHER), crc: opts.checksum.then_some(0) };
        Writer { out, strings: Strings::new(opts.compress) }
    }

    /// Writes the magic and the version. Call it first.
    pub fn header(&mut self) -> io::Result<()> {
        self.out.write_all(opcodes::MAGIC)?;
        write!(self.out, "{:04}", opcodes::VERSION)
    }

    /// Writes a fact about the file, such as `redis-ver`.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        self.out.write_all(&[opcodes::AUX])?;
        put_string(&mut self.out, name, &mut self.strings)?;
        put_string(&mut self.out, value, &mut self.strings)
    }

    /// The entries after this belong to database `db`.
    pub fn select_db(&mut self, db: u32) -> io::Result<()> {
        self.out.write_all(&[opcodes::SELECT_DB])?;
        put_len(&mut self.out, u64::from(db))
    }

    /// Tells how many keys the database has, and how many of them expire.
    pub fn resize_db(&mut self, keys: u64, expires: u64) -> io::Result<()> {
        self.out.write_all(&[opcodes::RESIZE_DB])?;
        put_len(&mut self.out, keys)?;
        put_len(&mut self.out, expires)
    }

    /// Writes one key with its value, its expiry (Unix milliseconds), and what eviction knows.
    pub fn entry(
        &mut self,
        key: &[u8],
        value: &Value,
        expire_at_ms: Option<i64>,
        eviction: Option<Eviction>,
    ) -> io::Result<()> {
        if let Some(at) = expire_at_ms {
            self.out.write_all(&[opcodes::EXPIRE_MS])?;
            self.out.write_all(&at.to_le_bytes())?;
        }
        match eviction {
            Some(Eviction::Idle(seconds)) => {
                self.out.write_all(&[opcodes::IDLE])?;
                put_len(&mut self.out, seconds)?;
            }
            Some(Eviction::Freq(frequency)) => {
                self.out.write_all(&[opcodes::FREQ, frequency])?;
            }
            None => {}
        }
        self.out.write_all(&[type_of(value)])?;
        put_string(&mut self.out, key, &mut self.strings)?;
        put_body(&mut self.out, value, &mut self.strings)
    }

    /// Writes the end and the checksum, flushes, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[opcodes::EOF])?;
        self.out.pass_on()?;
        let crc = self.out.crc.unwrap_or(0);
        self.out.write_all(&crc.to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out.inner)
    }
}

/// Gathers small writes, so that the checksum and the system see big pieces only.
struct Summed<W: Write> {
    inner: W,
    gathered: Vec<u8>,
    /// The checksum of what was passed on, or none when it is not wanted.
    crc: Option<u64>,
}

impl<W: Write> Summed<W> {
    fn pass_on(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let result = self.pass(&gathered);
        self.gathered = gathered;
        self.gathered.clear();
        result
    }

    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes)?;
        self.crc = self.crc.map(|crc| crc64::update(crc, bytes));
        Ok(())
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gathered.len() + bytes.len() > GATHER {
            self.pass_on()?;
        }
        if bytes.len() > GATHER {
            self.pass(bytes)?;
        } else {
            self.gathered.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.inner.flush()
    }
}

/// How strings are written.
pub(super) struct Strings {
    /// What compresses them, if anything does.
    packer: Option<lzf::Packer>,
}

impl Strings {
    fn new(compress: bool) -> Self {
        Strings { packer: compress.then(lzf::Packer::default) }
    }
}

/// Appends `value` to `out`: its type byte, then its body.
pub fn encode_value(out: &mut Vec<u8>, value: &Value, opts: &Options) {
    put_value(out, value, &mut Strings::new(opts.compress));
}

fn put_value(out: &mut Vec<u8>, value: &Value, strings: &mut Strings) {
    out.push(type_of(value));
    put_body(out, value, strings).expect("a Vec takes every write");
}

/// Returns the payload of DUMP: type, body, version (2 bytes), checksum (8 bytes), the last two
/// little endian. Strings are compressed by `spare`, if it is given.
pub fn dump(value: &Value, spare: Option<&lzf::Spare>) -> Vec<u8> {
    let mut strings = Strings { packer: spare.map(lzf::Spare::take) };
    let mut out = Vec::new();
    put_value(&mut out, value, &mut strings);
    if let (Some(spare), Some(packer)) = (spare, strings.packer) {
        spare.put(packer);
    }
    out.extend_from_slice(&opcodes::VERSION.to_le_bytes());
    let crc = crc64::update(0, &out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// [`dump`], compressed.
#[cfg(test)]
pub fn dump_packed(value: &Value) -> Vec<u8> {
    dump(value, Some(&lzf::Spare::new()))
}

/// The number of the form in which [`put_body`] writes `value`. A new type adds its arm here
/// and there.
fn type_of(value: &Value) -> u8 {
    match value {
        Value::String(_) => opcodes::TYPE_STRING,
        Value::List(list) => list::number(list),
        Value::Hash(hash) => hash::number(hash),
        Value::Set(set) => set::number(set),
        Value::Zset(zset) => zset::number(zset),
        Value::Stream(stream) => stream::number(stream),
    }
}

fn put_body(out: &mut impl Write, value: &Value, strings: &mut Strings) -> io::Result<()> {
    match value {
        Value::String(text) => put_str(out, text, strings),
        Value::List(list) => list::write(out, list, strings),
        Value::Hash(hash) => hash::write(out, hash, strings),
        Value::Set(set) => set::write(out, set, strings),
        Value::Zset(zset) => zset::write(out, zset, strings),
        Value::Stream(stream) => stream::write(out, stream, strings),
    }
}

fn put_str(out: &mut impl Write, text: &Str, strings: &mut Strings) -> io::Result<()> {
    match text.as_int().map(i32::try_from) {
        Some(Ok(number)) => put_int(out, number),
        Some(Err(_)) | None => put_string(out, text.bytes(&mut [0; 20]), strings),
    }
}

/// Writes a string in its shortest form: as a number, compressed, or as it is.
pub(super) fn put_string(
    out: &mut impl Write,
    bytes: &[u8],
    strings: &mut Strings,
) -> io::Result<()> {
    if bytes.len() <= LONGEST_INT32
        && let Some(number) = num::parse_i64(bytes)
        && let Ok(number) = i32::try_from(number)
    {
        return put_int(out, number);
    }
    if bytes.len() > NO_LZF_UP_TO
        && let Some(packer) = &mut strings.packer
        && let Some(packed) = packer.compress(bytes)
    {
        out.write_all(&[opcodes::LEN_ENCODED | opcodes::STRING_LZF])?;
        put_len(out, packed.len() as u64)?;
        put_len(out, bytes.len() as u64)?;
        return out.write_all(packed);
    }
    put_len(out, bytes.len() as u64)?;
    out.write_all(bytes)
}

fn put_int(out: &mut impl Write, number: i32) -> io::Result<()> {
    if let Ok(number) = i8::try_from(number) {
        out.write_all(&[opcodes::LEN_ENCODED | opcodes::STRING_INT8])?;
        out.write_all(&number.to_le_bytes())
    } else if let Ok(number) = i16::try_from(number) {
        out.write_all(&[opcodes::LEN_ENCODED | opcodes::STRING_INT16])?;
        out.write_all(&number.to_le_bytes())
    } else {
        out.write_all(&[opcodes::LEN_ENCODED | opcodes::STRING_INT32])?;
        out.write_all(&number.to_le_bytes())
    }
}

/// Writes a length in its shortest form.
pub(super) fn put_len(out: &mut impl Write, len: u64) -> io::Result<()> {
    if let Ok(len) = u32::try_from(len) {
        let [_, _, high, low] = len.to_be_bytes();
        return match len {
            0..0x40 => out.write_all(&[opcodes::LEN_6 | low]),
            0x40..0x4000 => out.write_all(&[opcodes::LEN_14 | high, low]),
            _ => {
                out.write_all(&[opcodes::LEN_32])?;
                out.write_all(&len.to_be_bytes())
            }
        };
    }
    out.write_all(&[opcodes::LEN_64])?;
    out.write_all(&len.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Options = Options { compress: false, checksum: false };

    fn encoded(text: Str) -> Vec<u8> {
        let mut out = Vec::new();
        encode_value(&mut out, &Value::String(text), &PLAIN);
        out
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        let cases: [(u64, &[u8]); 9] = [
            (0, &[0]),
            (63, &[63]),
            (64, &[0x40, 64]),
            (16383, &[0x7f, 0xff]),
            (16384, &[0x80, 0, 0, 0x40, 0]),
            (0xffff_fffe, &[0x80, 0xff, 0xff, 0xff, 0xfe]),
            (0xffff_ffff, &[0x80, 0xff, 0xff, 0xff, 0xff]),
            (0x1_0000_0000, &[0x81, 0, 0, 0, 1, 0, 0, 0, 0]),
            (u64::MAX, &[0x81, 255, 255, 255, 255, 255, 255, 255, 255]),
        ];
        for (len, expected) in cases {
            let mut out = Vec::new();
            put_len(&mut out, len).unwrap();
            assert_eq!(out, expected, "{len}");
        }
    }

    #[test]
    fn numbers_up_to_32_bits_are_numbers_however_they_are_held() {
        let cases: [(i64, &[u8]); 9] = [
            (0, &[0, 0xc0, 0]),
            (-128, &[0, 0xc0, 0x80]),
            (128, &[0, 0xc1, 0x80, 0]),
            (-32768, &[0, 0xc1, 0, 0x80]),
            (32768, &[0, 0xc2, 0, 0x80, 0, 0]),
            (2_147_483_647, &[0, 0xc2, 0xff, 0xff, 0xff, 0x7f]),
            (-2_147_483_648, &[0, 0xc2, 0, 0, 0, 0x80]),
            (2_147_483_648, b"\0\x0a2147483648"),
            (i64::MIN, b"\0\x14-9223372036854775808"),
        ];
        for (number, expected) in cases {
            assert_eq!(encoded(Str::from_i64(number)), expected);
            let text = number.to_string();
            assert_eq!(encoded(Str::text(text.as_bytes())), expected);
        }
        for text in ["", "-", "-0", "+1", "01", " 1", "1 ", "1.0"] {
            let expected = [&[0, text.len() as u8], text.as_bytes()].concat();
            assert_eq!(encoded(Str::from_bytes(text.as_bytes())), expected);
        }
    }

    #[test]
    fn payloads_are_those_of_redis() {
        // What DUMP of Redis 7.0 answers for the same values.
        let cases: [(&[u8], &[u8]); 8] = [
            (b"", b"\x00\x00\n\x00]\x9b\\@\x0f\x7f\xa2\xda"),
            (b"bar", b"\x00\x03bar\n\x00\xe6\xbeI`\xeef\xfd\x17"),
            (b"12", b"\x00\xc0\x0c\n\x00<*\xf8Q\\\x04\xbc\xd5"),
            (b"-129", b"\x00\xc1\x7f\xff\n\x00\x17`\x82(T\x80\x84\x80"),
            (b"70000", b"\x00\xc2p\x11\x01\x00\n\x00\x01\xa4\x08\xfe\x950\x95\xa5"),
            (b"2147483648", b"\x00\n2147483648\n\x00\xe7\xb1)\xa3L\x1dv\xee"),
            (b"\x00\xff\r\n", b"\x00\x04\x00\xff\r\n\n\x00\x8d\x10\xd1\x9eB\x16\xece"),
            (
                b" !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcde",
                b"\x00@F !\"#$%&'()*+,-./0123456789:;<=>?@\
                  ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcde\n\x00g\x82\xe8\x07\x12Q\xcf\xbf",
            ),
        ];
        for (content, expected) in cases {
            let ours = dump_packed(&Value::String(Str::from_bytes(content)));
            assert_eq!(ours, expected);
        }
    }

    #[test]
    fn long_strings_pass_through_and_are_summed() {
        let long = Value::String(Str::from_vec((0..40_000u32).map(|i| (i / 7) as u8).collect()));
        let mut whole = Vec::new();
        for checksum in [false, true] {
            let opts = Options { compress: false, checksum };
            let mut writer = Writer::new(Vec::new(), opts);
            writer.header().unwrap();
            writer.entry(b"a", &long, None, None).unwrap();
            writer.entry(b"b", &long, None, None).unwrap();
            whole = writer.finish().unwrap();
            assert_eq!(whole.len(), 9 + 2 * (1 + 2 + 5 + 40_000) + 9);
            let (bytes, footer) = whole.split_last_chunk().unwrap();
            let crc = if checksum { crc64::update(0, bytes) } else { 0 };
            assert_eq!(u64::from_le_bytes(*footer), crc);
        }
        assert_eq!(&whole[..9], b"REDIS0010");
    }

    #[test]
    fn a_full_disk_is_reported() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = Writer::new(Full, PLAIN);
        writer.header().unwrap();
        let error = writer.finish().map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
