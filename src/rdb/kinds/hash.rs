//! Bodies of type 4 (table), 9 (zipmap), 13 (ziplist), 16 (listpack), 22 to 25 (with deadlines).
//!
//! ```text
//! 4    count | name value ...
//! 9    zipmap as a string
//! 13   ziplist as a string: name value ...
//! 16   listpack as a string: name value ...
//! 22   count | deadline:length name value ...             release candidates of Redis 7.4
//! 23   listpack as a string: name value deadline ...      likewise
//! 24   earliest(8 LE) | count | later:length name value ...
//! 25   earliest(8 LE) | listpack as a string, as in 23
//! ```
//!
//! Deadlines are Unix ms, 0 for none; `later` is 1 more than the time from the earliest deadline
//! to this one. Types 24 and 25 are written only for a hash that has a deadline, as no Redis before
//! 7.4 reads them.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use crate::data::hash::Field;
use crate::data::listpack::{Builder, Listpack};
use crate::data::{Hash, Limits};
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::{Strings, put_len, put_string};
use crate::rdb::{ziplist, zipmap};

const TABLE: u8 = 4;
const ZIPMAP: u8 = 9;
const ZIPLIST: u8 = 13;
const LISTPACK: u8 = 16;
const EARLY_TIMED_TABLE: u8 = 22;
const EARLY_TIMED_LISTPACK: u8 = 23;
const TIMED_TABLE: u8 = 24;
const TIMED_LISTPACK: u8 = 25;

/// The latest deadline that Redis can hold.
const LATEST_MS: u64 = (1 << 48) - 1;

/// The number of the form in which [`write`] writes the value.
pub fn number(value: &Hash) -> u8 {
    match (value.is_packed(), value.next_deadline().is_some()) {
        (true, true) => TIMED_LISTPACK,
        (true, false) => LISTPACK,
        (false, true) => TIMED_TABLE,
        (false, false) => TABLE,
    }
}

/// Writes the body.
pub fn write(out: &mut impl Write, value: &Hash, strings: &mut Strings) -> io::Result<()> {
    let earliest = value.next_deadline();
    if let Some(earliest) = earliest {
        out.write_all(&earliest.to_le_bytes())?;
    }
    match (value.as_pairs(), value.as_triples(), earliest) {
        (Some(pairs), ..) => put_string(out, pairs.as_bytes(), strings),
        (None, Some(triples), Some(_)) => put_string(out, triples.as_bytes(), strings),
        (None, Some(_), None) => put_string(out, pairs_of(value).as_bytes(), strings),
        (None, None, earliest) => write_table(out, value, earliest, strings),
    }
}

/// The fields as pairs, for a hash that has none of the deadlines it has room for.
fn pairs_of(value: &Hash) -> Listpack {
    let mut pairs = Builder::new();
    for field in value.fields() {
        pairs.push_item(field.name);
        pairs.push_item(field.value);
    }
    pairs.finish()
}

fn write_table(
    out: &mut impl Write,
    value: &Hash,
    earliest: Option<i64>,
    strings: &mut Strings,
) -> io::Result<()> {
    put_len(out, value.len() as u64)?;
    for field in value.fields() {
        if let Some(earliest) = earliest {
            let later = field.deadline.map_or(0, |at| at.abs_diff(earliest) + 1);
            put_len(out, later)?;
        }
        write_field(out, field, strings)?;
    }
    Ok(())
}

fn write_field(out: &mut impl Write, field: Field, strings: &mut Strings) -> io::Result<()> {
    put_string(out, field.name.bytes(&mut [0; 20]), strings)?;
    put_string(out, field.value.bytes(&mut [0; 20]), strings)
}

/// Reads the body of a value of type `number`. The hash may be empty.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<Hash, Error> {
    match number {
        TABLE => read_table(source, Deadlines::None),
        EARLY_TIMED_TABLE => read_table(source, Deadlines::Absolute),
        TIMED_TABLE => {
            let earliest = u64::from_le_bytes(source.array()?);
            read_table(source, Deadlines::After(earliest))
        }
        ZIPMAP => read_block(source, &IN_ZIPMAP, Hash::from_pairs),
        ZIPLIST => read_block(source, &IN_ZIPLIST, Hash::from_pairs),
        LISTPACK => read_block(source, &IN_LISTPACK, Hash::from_pairs),
        EARLY_TIMED_LISTPACK => read_triples(source),
        TIMED_LISTPACK => {
            // The earliest deadline is in the block, too.
            source.array::<8>()?;
            read_triples(source)
        }
        _ => Err(source.unknown_type(number)),
    }
}

fn read_triples<R: Read>(source: &mut Source<R>) -> Result<Hash, Error> {
    read_block(source, &IN_LISTPACK, Hash::from_triples)
}

/// A form of block.
struct Packing {
    unpack: fn(Vec<u8>) -> Option<Listpack>,
    /// What a block is told that breaks the form, or has a field twice.
    damaged: &'static str,
}

const IN_ZIPMAP: Packing = Packing {
    unpack: |block| zipmap::to_listpack(&block),
    damaged: "Zipmap integrity check failed",
};
const IN_ZIPLIST: Packing = Packing {
    unpack: |block| ziplist::to_listpack(&block),
    damaged: "Hash ziplist integrity check failed",
};
const IN_LISTPACK: Packing =
    Packing { unpack: Listpack::from_bytes, damaged: "Hash listpack integrity check failed" };

/// Reads a string that is a block, unpacks it and makes a hash of it.
fn read_block<R: Read>(
    source: &mut Source<R>,
    packing: &Packing,
    make: fn(Listpack, &Limits) -> Option<Hash>,
) -> Result<Hash, Error> {
    let list = (packing.unpack)(source.string()?);
    let hash = list.and_then(|list| match list.is_empty() {
        true => Some(Hash::default()),
        false => make(list, &source.limits),
    });
    hash.ok_or_else(|| source.corrupt(packing.damaged))
}

/// How a table says when its fields are due.
#[derive(Clone, Copy)]
enum Deadlines {
    None,
    Absolute,
    /// Counted from the earliest.
    After(u64),
}

impl Deadlines {
    fn read<R: Read>(self, source: &mut Source<R>) -> Result<Option<i64>, Error> {
        let at = match self {
            Deadlines::None => return Ok(None),
            Deadlines::Absolute => source.len()?,
            Deadlines::After(earliest) => match source.len()? {
                0 => 0,
                later => earliest.saturating_add(later - 1).max(1),
            },
        };
        match at {
            0 => Ok(None),
            1..=LATEST_MS => Ok(i64::try_from(at).ok()),
            _ => Err(source.corrupt("a field's deadline is out of range")),
        }
    }
}

fn read_table<R: Read>(source: &mut Source<R>, deadlines: Deadlines) -> Result<Hash, Error> {
    let limits = source.limits;
    let (mut hash, mut names) = (Hash::default(), HashSet::new());
    let count = source.len()?;
    if count > limits.hash_max_listpack_entries as u64 {
        hash.make_large();
    }
    for _ in 0..count {
        let deadline = deadlines.read(source)?;
        let (name, value) = (source.string()?, source.string()?);
        // Looking through a small hash for each name would take a while with a generous limit.
        let new = !hash.is_packed() || names.insert(name.clone());
        if !hash.append(&name, &value, &limits) || !new {
            return Err(source.corrupt("a hash has a field twice"));
        }
        if deadline.is_some() {
            hash.set_deadline(&name, deadline);
        }
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::crc64;
    use crate::base::rng::Rng;
    use crate::data::Value;
    use crate::data::hash::Deadline;
    use crate::rdb::encode::dump_packed;
    use crate::rdb::restore;

    /// Of name, value, and deadline if there is one.
    fn hash(fields: &[(&str, &str, i64)], limits: &Limits) -> Hash {
        let mut hash = Hash::default();
        for (name, value, deadline) in fields {
            hash.set(name.as_bytes(), value.as_bytes(), Deadline::Clear, limits);
            if *deadline > 0 {
                hash.set_deadline(name.as_bytes(), Some(*deadline));
            }
        }
        hash
    }

    fn small(entries: usize) -> Limits {
        Limits { hash_max_listpack_entries: entries, ..Limits::default() }
    }

    fn read(body: &[u8], limits: Limits) -> Option<Hash> {
        let mut payload = [body, &10u16.to_le_bytes()].concat();
        payload.extend(crc64::update(0, &payload).to_le_bytes());
        match restore(&payload, limits) {
            Ok(Value::Hash(hash)) => Some(hash),
            _ => None,
        }
    }

    #[test]
    fn every_form_comes_back() {
        let fields = [("a", "1", 0), ("b", "", 0), ("300", "-70000", 0), ("d", "xyz", 0)];
        let timed = [("a", "1", 900), ("b", "", 0), ("300", "-70000", 1 << 40), ("d", "xyz", 900)];
        let cases = [
            (fields, small(10), LISTPACK, "listpack"),
            (fields, small(2), TABLE, "hashtable"),
            (timed, small(10), TIMED_LISTPACK, "listpackex"),
            (timed, small(2), TIMED_TABLE, "hashtable"),
        ];
        for (fields, limits, number, encoding) in cases {
            let hash = hash(&fields, &limits);
            let payload = dump_packed(&Value::Hash(hash.clone()));
            assert_eq!((payload[0], hash.encoding()), (number, encoding));
            let back = read(&payload[..payload.len() - 10], limits).unwrap();
            assert_eq!((back.encoding(), &back), (encoding, &hash));
            // And in a server with other settings.
            assert_eq!(read(&payload[..payload.len() - 10], small(2)).unwrap(), hash);
            assert_eq!(read(&payload[..payload.len() - 10], small(10)).unwrap(), hash);
        }
        let mut emptied = hash(&[("a", "1", 900)], &small(10));
        emptied.set_deadline(b"a", None);
        assert_eq!((emptied.encoding(), number(&emptied)), ("listpackex", LISTPACK));
        let payload = dump_packed(&Value::Hash(emptied.clone()));
        assert_eq!(read(&payload[..payload.len() - 10], small(10)).unwrap(), emptied);
    }

    #[test]
    fn payloads_are_those_of_redis() {
        let limits = Limits::default();
        let fields = hash(&[("a", "1", 0), ("b", "-300", 0), ("c", "hello world", 0)], &limits);
        let payload = b"\x10\"\"\x00\x00\x00\x06\x00\x81a\x02\x01\x01\x81b\x02\xde\xd4\x02\x81c\
            \x02\x8bhello world\x0c\xff\n\x00u\x82\xffJ\x15\x06s0";
        assert_eq!(dump_packed(&Value::Hash(fields.clone())), payload);
        assert_eq!(restore(payload, limits).unwrap(), Value::Hash(fields));
        let payload = b"\x04\x02\x01b\xc3\t@A\x01xx\xe04\x00\x01xx\x01a\xc0\x01\n\x00FK\xdb\x9b\
            \xe9Y\xc0)";
        let table = hash(&[("a", "1", 0), ("b", &"x".repeat(65), 0)], &limits);
        assert_eq!(restore(payload, limits).unwrap(), Value::Hash(table));
    }

    #[test]
    fn old_forms_are_read() {
        let limits = Limits::default();
        let expected = hash(&[("a", "12", 0)], &limits);
        let zipmap = b"\x09\x08\x01\x01a\x02\x0012\xff";
        assert_eq!(read(zipmap, limits).as_ref(), Some(&expected));
        let ziplist = b"\x0d\x11\x11\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xfe\x0c\xff";
        assert_eq!(read(ziplist, limits).as_ref(), Some(&expected));
        let timed = hash(&[("a", "12", 900)], &limits);
        assert_eq!(read(b"\x16\x01\x43\x84\x01a\xc0\x0c", limits).as_ref(), Some(&timed));
        let triples = b"\x17\x0f\x10\0\0\0\x03\0\x81a\x02\x0c\x01\xc3\x84\x02\xff";
        assert_eq!(read(triples, limits), None, "a block that is shorter than it says");
        let triples = b"\x17\x0f\x0f\0\0\0\x03\0\x81a\x02\x0c\x01\xc3\x84\x02\xff";
        assert_eq!(read(triples, limits).as_ref(), Some(&timed));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let bad: [&[u8]; 8] = [
            b"\x04\x00",
            b"\x04\x02\x01a\x011\x01a\x012",
            b"\x04\x02\x01a\x011",
            b"\x10\x07\x07\0\0\0\0\0\xff",
            // Deadlines out of range, absolute and from the earliest on.
            b"\x16\x01\x81\0\x01\0\0\0\0\0\0\x01a\x011",
            b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x01a\x011",
            b"\x18\x84\x03\0\0\0\0\0\0\x02\x01\x01a\x011\x00\x01a\x012",
            b"\x04\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a\x011",
        ];
        for bad in bad {
            for limits in [small(0), small(10)] {
                assert!(read(bad, limits).is_none(), "{}", bad.escape_ascii());
            }
        }
    }

    #[test]
    fn changed_bodies_never_panic() {
        let mut rng = Rng::seeded(11);
        let fields = [("a", "1", 900), ("b", "", 0), ("300", "-70000", 1000), ("d", "xyz", 0)];
        for limits in [small(10), small(2)] {
            let whole = dump_packed(&Value::Hash(hash(&fields, &limits)));
            for _ in 0..3_000 {
                let mut body = whole[..whole.len() - 10].to_vec();
                for _ in 0..=rng.next_u64() % 2 {
                    let at = rng.next_u64() as usize % body.len();
                    body[at] = rng.next_u64() as u8;
                }
                if let Some(mut hash) = read(&body, limits) {
                    hash.fields().for_each(drop);
                    while hash.pop_due(i64::MAX).is_some() {}
                    hash.make_large();
                }
            }
        }
    }
}
