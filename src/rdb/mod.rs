//! RDB, the file format in which Redis keeps a snapshot, sends a full resync, and (a value at a
//! time) answers DUMP. Written in version 10, read in versions 1 to 12.
//!
//! ```text
//! file     "REDIS" version(4 digits) item* EOF checksum
//! item     AUX name:string value:string                a fact about the file
//!        | FUNCTION source:string                      a function library
//!        | MODULE_AUX id:length part* 0                data of a module, skipped
//!        | SELECT_DB db:length                         the entries after it are of this database
//!        | RESIZE_DB keys:length expires:length        sizes of this database, as a hint
//!        | SLOT_INFO length length length              the same of a cluster slot, skipped
//!        | [expiry] [eviction] type(1) key:string body one key
//! expiry   EXPIRE_MS ms(8 LE) | EXPIRE_SECONDS s(4 LE) Unix time
//! eviction IDLE seconds:length | FREQ counter(1)
//! checksum CRC-64 of all before it (8 LE), 0 for none; not in versions below 5
//!
//! length   00nnnnnn | 01nnnnnn n(1) | 10000000 n(4 BE) | 10000001 n(8 BE)
//! string   length bytes
//!        | 11000000 number(1) | 11000001 number(2 LE) | 11000010 number(4 LE)   decimal text
//!        | 11000011 packed:length unpacked:length packed-bytes                  LZF
//!
//! DUMP     type(1) body version(2 LE) CRC-64 of all before it (8 LE)
//! ```
//!
//! The numbers behind the names are in [`opcodes`]; bodies are described where they are written,
//! in [`encode`]. This layer knows [`Value`](crate::data::Value) and nothing above it: no
//! keyspace, no clock, no files. What it writes, Redis 7.0 and later read.

pub mod decode;
pub mod encode;
mod kinds;
pub mod opcodes;
mod ziplist;
mod zipmap;

pub use decode::{Item, Reader, RestoreError, restore, restore_unverified};
pub use encode::{Options, Writer, dump, encode_value};

/// What the log says before an offset in a file that cannot be read.
pub const PLACE: &str = "Internal error in RDB reading offset";

/// What eviction knows of a key: one or the other, as the policy needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// Seconds since the key was last used (LRU policies).
    Idle(u64),
    /// The logarithmic access counter (LFU policies).
    Freq(u8),
}

#[cfg(test)]
mod tests {
    use super::decode::{Error, ErrorKind};
    use super::encode::dump_packed;
    use super::*;
    use crate::base::crc64;
    use crate::data::{Limits, Str, Value};
    use std::io::Read;

    /// A file with this body and the right end for its version.
    pub(super) fn file(version: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = format!("REDIS{version:04}").into_bytes();
        bytes.extend_from_slice(body);
        bytes.push(opcodes::EOF);
        if version >= 5 {
            let crc = crc64::update(0, &bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
        }
        bytes
    }

    /// All items as text, the end included.
    pub(super) fn walk<R: Read>(mut reader: Reader<R>) -> Result<Vec<String>, Error> {
        let mut items = Vec::new();
        loop {
            let item = match reader.next()? {
                Item::Aux(name, value) => format!("aux {}={}", show(&name), show(&value)),
                Item::SelectDb(db) => format!("select {db}"),
                Item::ResizeDb(_) => "sizes".to_string(),
                Item::Function(source) => format!("function {}", show(&source)),
                Item::ModuleAux => "module".to_string(),
                Item::Empty(key) => format!("empty {}", show(&key)),
                Item::Entry { key, value, expire_at_ms, eviction } => {
                    let Value::String(text) = value else { panic!("no string") };
                    let text = show(text.bytes(&mut [0; 20]));
                    format!("{}={text} {expire_at_ms:?} {eviction:?}", show(&key))
                }
                Item::Eof => {
                    items.push("eof".to_string());
                    return Ok(items);
                }
            };
            items.push(item);
        }
    }

    fn show(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    fn unhex(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let nibble = |digit: u8| (digit as char).to_digit(16).unwrap() as u8;
        digits.chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect()
    }

    fn xorshift(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    const OPTIONS: [Options; 2] =
        [Options { compress: true, checksum: true }, Options { compress: false, checksum: false }];

    /// Contents around every bound of the format: lengths, numbers, compression.
    fn contents() -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for len in [0, 1, 4, 11, 12, 20, 21, 24, 63, 64, 16383, 16384, 70_000] {
            all.push(vec![b'a'; len]);
            let mut seed = 77 + len as u64;
            all.push((0..len).map(|_| xorshift(&mut seed) as u8).collect());
        }
        for bits in [7, 8, 15, 16, 31, 32, 63] {
            let bound = 1i128 << bits;
            for number in [-bound - 1, -bound, -bound + 1, bound - 1, bound, bound + 1] {
                all.push(number.to_string().into_bytes());
            }
        }
        all.extend(["0", "-0", "007", "+7", " 7"].map(|text| text.as_bytes().to_vec()));
        all
    }

    #[test]
    fn every_string_comes_back_as_key_and_as_value() {
        for opts in OPTIONS {
            let mut writer = Writer::new(Vec::new(), opts);
            writer.header().unwrap();
            let mut expected = Vec::new();
            for content in contents() {
                let value = Value::String(Str::from_bytes(&content));
                writer.entry(&content, &value, None, None).unwrap();
                expected.push(format!("{0}={0} None None", show(&content)));
                assert_eq!(restore(&dump_packed(&value), Limits::default()).unwrap(), value);
            }
            expected.push("eof".to_string());
            let bytes = writer.finish().unwrap();
            for limit in [None, Some(bytes.len() as u64)] {
                let reader = Reader::new(&bytes[..]).limit(limit);
                assert_eq!(walk(reader).unwrap(), expected);
            }
        }
    }

    /// A small file with one of everything that is written.
    fn sample(opts: Options) -> Vec<u8> {
        let text = |text: &[u8]| Value::String(Str::from_bytes(text));
        let mut writer = Writer::new(Vec::new(), opts);
        writer.header().unwrap();
        writer.aux(b"redis-ver", b"7.2.0").unwrap();
        writer.aux(b"redis-bits", b"64").unwrap();
        writer.select_db(0).unwrap();
        writer.resize_db(2, 1).unwrap();
        writer.entry(b"k", &text(b"v"), None, None).unwrap();
        let late = Some(i64::MAX);
        writer.entry(b"late", &text(b"70000"), late, Some(Eviction::Freq(255))).unwrap();
        writer.select_db(100).unwrap();
        let packed = text(&[b'x'; 300]);
        let idle = Some(Eviction::Idle(u64::MAX));
        writer.entry(b"300", &packed, Some(-1), idle).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn expiries_and_eviction_come_back() {
        for opts in OPTIONS {
            let items = walk(Reader::new(&sample(opts)[..])).unwrap();
            let long = format!("300={} Some(-1) Some(Idle({}))", "x".repeat(300), u64::MAX);
            let expected = [
                "aux redis-ver=7.2.0",
                "aux redis-bits=64",
                "select 0",
                "sizes",
                "k=v None None",
                "late=70000 Some(9223372036854775807) Some(Freq(255))",
                "select 100",
                &long,
                "eof",
            ];
            assert_eq!(items, expected);
        }
    }

    #[test]
    fn old_and_new_opcodes_are_read() {
        let body = b"\xf4\x40\x64\x01\x00\xfd\xff\xff\xff\xff\x00\x01k\x01v\x00\x01l\xc1\x00\x01";
        for version in [1, 5, 9, 11, 12] {
            let bytes = file(version, body);
            let items = walk(Reader::new(&bytes[..])).unwrap();
            assert_eq!(items, ["k=v Some(-1000) None", "l=256 None None", "eof"]);
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_truncated() {
        for opts in OPTIONS {
            let bytes = sample(opts);
            for end in 0..bytes.len() {
                for limit in [None, Some(end as u64), Some(bytes.len() as u64)] {
                    let error = walk(Reader::new(&bytes[..end]).limit(limit)).unwrap_err();
                    assert!(matches!(error.kind, ErrorKind::Truncated), "{error}");
                    assert!(error.offset <= end as u64);
                }
                let limited = Reader::new(&bytes[..]).limit(Some(end as u64));
                let error = walk(limited).unwrap_err();
                assert!(matches!(error.kind, ErrorKind::Truncated), "{error}");
            }
        }
    }

    #[test]
    fn changed_bytes_are_noticed_and_never_panic() {
        let whole = sample(OPTIONS[0]);
        let mut seed = 0x9e37_79b9_7f4a_7c15;
        for round in 0..30_000 {
            let mut bytes = whole.clone();
            let at = xorshift(&mut seed) as usize % bytes.len();
            let change = 1 + (xorshift(&mut seed) % 255) as u8;
            bytes[at] ^= change;
            let limit = (round % 2 == 0).then_some(bytes.len() as u64);
            let reader = Reader::new(&bytes[..]).limit(limit);
            // Only a version without a checksum lets a change pass.
            let old = &bytes[5..9] < b"0005";
            assert!(old || walk(reader).is_err(), "byte {at} xor {change:#x}");
            let _ = walk(Reader::new(&bytes[..]).limit(limit).verify(false));
        }
    }

    #[test]
    fn changed_payloads_never_panic() {
        let whole = dump_packed(&Value::String(Str::from_vec(b"abcdefgh".repeat(9))));
        let mut seed = 3;
        for _ in 0..20_000 {
            let mut body = whole[..whole.len() - 8].to_vec();
            let at = xorshift(&mut seed) as usize % body.len();
            body[at] = xorshift(&mut seed) as u8;
            body.extend(crc64::update(0, &body).to_le_bytes());
            let _ = restore(&body, Limits::default());
        }
    }

    #[test]
    fn a_file_of_redis_with_frequencies_loads() {
        let bytes = unhex(
            "524544495330303130fa0972656469732d76657206372e302e3135fa0a72656469732d62697473c0 \
             40fa056374696d65c2bdab036bfa08757365642d6d656dc2d8bc1100fa08616f662d62617365c000 \
             f5404623216c7561206e616d653d6d796c69620a72656469732e72656769737465725f66756e6374 \
             696f6e282766272c2066756e6374696f6e28292072657475726e203120656e6429fe00fb0401fc7b \
             d8c32cbb030000f9060005736d616c6cc080f905000477696465c1ff7ff90500066265796f6e640a \
             32313437343833363438f90500057769646572c200000080fe03fb0300f90500c139300430303132 \
             f905000000f90500c3094046016b6be03900016b6bc30b40780361626361e06902016263ff05e143 \
             18436f4d02",
        );
        let items = walk(Reader::new(&bytes[..])).unwrap();
        let key = "k".repeat(70);
        let value = "abc".repeat(40);
        let expected = [
            "aux redis-ver=7.0.15",
            "aux redis-bits=64",
            "aux ctime=1795402685",
            "aux used-mem=1162456",
            "aux aof-base=0",
            "function #!lua name=mylib\\nredis.register_function(\\'f\\', function() return 1 end)",
            "select 0",
            "sizes",
            "small=-128 Some(4102444800123) Some(Freq(6))",
            "wide=32767 None Some(Freq(5))",
            "beyond=2147483648 None Some(Freq(5))",
            "wider=-2147483648 None Some(Freq(5))",
            "select 3",
            "sizes",
            "12345=0012 None Some(Freq(5))",
            "= None Some(Freq(5))",
            &format!("{key}={value} None Some(Freq(5))"),
            "eof",
        ];
        assert_eq!(items, expected);
    }

    #[test]
    fn a_file_of_redis_with_idle_times_loads() {
        let bytes = unhex(
            "524544495330303130fa0972656469732d76657206372e302e3135fa0a72656469732d62697473c0 \
             40fa056374696d65c2bfab036bfa08757365642d6d656dc230ba1100fa08616f662d62617365c000 \
             f5404623216c7561206e616d653d6d796c69620a72656469732e72656769737465725f66756e6374 \
             696f6e282766272c2066756e6374696f6e28292072657475726e203120656e6429fe00fb0100f802 \
             00016b0176ff3b0c1e1ed8f40d47",
        );
        let items = walk(Reader::new(&bytes[..])).unwrap();
        assert_eq!(items[items.len() - 2..], ["k=v None Some(Idle(2))", "eof"]);
    }
}
