//! Bodies of type 3 and 5 (tables), 12 (ziplist), 17 (listpack).
//!
//! ```text
//! 3    count | member score ...   the score as a length and so many letters; as a length 253 is
//!                                 NaN, 254 infinity, 255 its negative
//! 5    count | member score ...   the score as 8 bytes, little endian
//! 12   ziplist as a string: member score ...
//! 17   listpack as a string: member score ...
//! ```

use std::io::{self, Read, Write};

use crate::base::num::parse_f64;
use crate::data::Zset;
use crate::data::listpack::Listpack;
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::{Strings, put_len, put_string};
use crate::rdb::ziplist;

const TEXT_TABLE: u8 = 3;
const TABLE: u8 = 5;
const ZIPLIST: u8 = 12;
const LISTPACK: u8 = 17;

/// What stands in the place of the length of a score's text, from there on.
const NAN: u8 = 253;
const INFINITE: u8 = 254;
const NEGATIVE_INFINITE: u8 = 255;

/// The number of the form in which [`write`] writes the value.
pub fn number(value: &Zset) -> u8 {
    if value.as_listpack().is_some() { LISTPACK } else { TABLE }
}

/// Writes the body. A table begins with its last member, as in Redis.
pub fn write(out: &mut impl Write, value: &Zset, strings: &mut Strings) -> io::Result<()> {
    if let Some(block) = value.as_listpack() {
        return put_string(out, block.as_bytes(), strings);
    }
    put_len(out, value.len() as u64)?;
    let mut result = Ok(());
    value.each_back(0..value.len(), |member, score| {
        if result.is_ok() {
            result = put_string(out, member, strings)
                .and_then(|()| out.write_all(&score.to_bits().to_le_bytes()));
        }
    });
    result
}

/// Reads the body of a value of type `number`. The sorted set may be empty.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<Zset, Error> {
    match number {
        TEXT_TABLE => read_table(source, text_score),
        TABLE => {
            read_table(source, |source| Ok(f64::from_bits(u64::from_le_bytes(source.array()?))))
        }
        ZIPLIST => {
            let damaged = "Zset ziplist integrity check failed";
            read_block(source, |block| ziplist::to_listpack(&block), damaged)
        }
        LISTPACK => {
            read_block(source, Listpack::from_bytes, "Zset listpack integrity check failed")
        }
        _ => Err(source.unknown_type(number)),
    }
}

fn read_table<R: Read>(
    source: &mut Source<R>,
    read_score: impl Fn(&mut Source<R>) -> Result<f64, Error>,
) -> Result<Zset, Error> {
    let count = source.len()?;
    let limits = source.limits;
    let mut zset = Zset::default();
    zset.expect(usize::try_from(count).unwrap_or(usize::MAX), &limits);
    for _ in 0..count {
        let member = source.string()?;
        let score = read_score(source)?;
        if score.is_nan() {
            return Err(source.corrupt("a score that is not a number"));
        }
        if zset.set(&member, score, &limits).is_some() {
            return Err(source.corrupt("a member of a sorted set is there twice"));
        }
    }
    Ok(zset)
}

fn text_score<R: Read>(source: &mut Source<R>) -> Result<f64, Error> {
    match source.byte()? {
        NAN => Ok(f64::NAN),
        INFINITE => Ok(f64::INFINITY),
        NEGATIVE_INFINITE => Ok(f64::NEG_INFINITY),
        len => {
            let mut text = Vec::with_capacity(usize::from(len));
            for _ in 0..len {
                text.push(source.byte()?);
            }
            parse_f64(&text).ok_or_else(|| source.corrupt("a score that is not a number"))
        }
    }
}

fn read_block<R: Read>(
    source: &mut Source<R>,
    parse: impl Fn(Vec<u8>) -> Option<Listpack>,
    damaged: &'static str,
) -> Result<Zset, Error> {
    let block = parse(source.string()?).and_then(Zset::from_listpack);
    let mut zset = block.ok_or_else(|| source.corrupt(damaged))?;
    zset.expect(zset.len(), &source.limits);
    Ok(zset)
}

#[cfg(test)]
mod tests {
    use crate::base::crc64;
    use crate::data::{Limits, Value, Zset};
    use crate::rdb::encode::dump_packed;
    use crate::rdb::restore;

    fn limits(entries: usize) -> Limits {
        Limits { zset_max_listpack_entries: entries, ..Limits::default() }
    }

    fn zset(entries: usize, pairs: &[(&str, f64)]) -> Value {
        Value::Zset(Zset::from_pairs(pairs.to_vec(), &limits(entries)))
    }

    const PAIRS: &[(&str, f64)] = &[("a", 1.5), ("b", 2.0), ("5", f64::NEG_INFINITY)];

    fn read(body: &[u8]) -> Option<Value> {
        let mut payload = [body, &10u16.to_le_bytes()].concat();
        payload.extend(crc64::update(0, &payload).to_le_bytes());
        restore(&payload, Limits::default()).ok()
    }

    #[test]
    fn bodies_are_those_of_redis() {
        // What DUMP of Redis 7.0 answers.
        let small = b"\x11\x1c\x1c\0\0\0\x06\0\x05\x01\x84-inf\x05\x81a\x02\x831.5\x04\x81b\x02\
            \x02\x01\xff";
        let large =
            b"\x05\x03\x01b\0\0\0\0\0\0\0@\x01a\0\0\0\0\0\0\xf8?\xc0\x05\0\0\0\0\0\0\xf0\xff";
        for (entries, body) in [(128, &small[..]), (0, &large[..])] {
            let value = zset(entries, PAIRS);
            let dumped = dump_packed(&value);
            assert_eq!(dumped[..dumped.len() - 10], *body);
            assert_eq!(read(body), Some(value));
        }
    }

    #[test]
    fn old_forms_are_read() {
        let expected = Some(zset(128, PAIRS));
        assert_eq!(read(b"\x03\x03\x015\xff\x01a\x031.5\x01b\x012"), expected);
        let ziplist =
            b"\x20\0\0\0\x1d\0\0\0\x06\0\0\xf6\x02\x04-inf\x06\x01a\x03\x031.5\x05\x01b\x03\
            \xf3\xff";
        assert_eq!(read(&[b"\x0c\x20", &ziplist[..]].concat()), expected);
        // In no order, with an infinite score.
        assert_eq!(read(b"\x03\x02\x01b\xfe\x01a\x01-"), None);
        assert_eq!(
            read(b"\x03\x02\x01b\xfe\x01a\x02-1"),
            Some(zset(9, &[("b", f64::INFINITY), ("a", -1.0)]))
        );
    }

    #[test]
    fn the_form_follows_the_limits() {
        for count in [128, 129] {
            let names: Vec<String> = (0..count).map(|n| format!("m{n}")).collect();
            let pairs = names.iter().map(|name| (name.as_str(), 1.0)).collect();
            let value = Value::Zset(Zset::from_pairs(pairs, &limits(0)));
            let again = restore(&dump_packed(&value), Limits::default()).unwrap();
            let form = if count == 128 { "listpack" } else { "skiplist" };
            assert_eq!((again.encoding(), again == value), (form, true));
            let small = Value::Zset(Zset::from_pairs(
                names.iter().map(|name| (name.as_str(), 1.0)).collect(),
                &limits(1000),
            ));
            let again = restore(&dump_packed(&small), Limits::default()).unwrap();
            assert_eq!((again.encoding(), again == value), (form, true));
        }
    }

    #[test]
    fn damaged_and_empty_ones_are_refused() {
        for body in [
            &b"\x05\0"[..],
            b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x7f",
            b"\x05\x02\x01a\0\0\0\0\0\0\0@\x01a\0\0\0\0\0\0\0@",
            b"\x05\x02\x01a\0\0\0\0\0\0\0@",
            b"\x05\x81\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x03\x01\x01a\xfd",
            b"\x03\x01\x01a\x01x",
            b"\x03\x01\x01a\0",
            b"\x0c\x01x",
            b"\x11\x07\x07\0\0\0\0\0\xff",
            b"\x11\x0a\x0a\0\0\0\x01\0\x81a\x02\xff",
            b"\x11\x0d\x0d\0\0\0\x02\0\x81a\x02\x81x\x02\xff",
            b"\x11\x11\x11\0\0\0\x04\0\x81a\x02\x02\x01\x81a\x02\x03\x01\xff",
            b"\x11\x11\x11\0\0\0\x04\0\x81b\x02\x02\x01\x81a\x02\x01\x01\xff",
        ] {
            assert_eq!(read(body), None, "{}", body.escape_ascii());
        }
    }
}
