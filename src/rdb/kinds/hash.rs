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
//! Deadlines are Unix ms, 0 for none; `later` is 1 more than the time from the earliest deadline to
//! this one. Types 24 and 25 are written only for a hash that has a deadline, as no Redis before 7.4
//! reads them.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use crate::data::hash::Field;
use crate::data::listpack::{Builder, Listpack};
use crate::data::{Hash, Limits};
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::{Options, put_len, put_string};
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
pub fn write(out: &mut impl Write, value: &Hash, opts: &Options) -> io::Result<()> {
    let earliest = value.next_deadline();
    if let Some(earliest) = earliest {
        out.write_all(&earliest.to_le_bytes())?;
    }
    match (value.as_pairs(), value.as_triples(), earliest) {
        (Some(pairs), ..) => put_string(out, pairs.as_bytes(), opts),
        (None, Some(triples), Some(_)) => put_string(out, triples.as_bytes(), opts),
        (None, Some(_), None) => put_string(out, pairs_of(value).as_bytes(), opts),
        (None, None, earliest) => write_table(out, value, earliest, opts),
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
    opts: &Options,
) -> io::Result<()> {
    put_len(out, value.len() as u64)?;
    for field in value.fields() {
        if let Some(earliest) = earliest {
            let later = field.deadline.map_or(0, |at| at.abs_diff(earliest) + 1);
            put_len(out, later)?;
        }
        write_field(out, field, opts)?;
    }
    Ok(())
}

fn write_field(out: &mut impl Write, field: Field, opts: &Options) -> io::Result<()> {
    put_string(out, field.name.bytes(&mut [0; 20]), opts)?;
    put_string(out, field.value.bytes(&mut [0; 20]), opts)
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
        ZIPMAP => read_block(source, |block| zipmap::to_listpack(&block), Hash::from_pairs),
        ZIPLIST => read_block(source, |block| ziplist::to_listpack(&block), Hash::from_pairs),
        LISTPACK => read_block(source, Listpack::from_bytes, Hash::from_pairs),
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
    read_block(source, Listpack::from_bytes, Hash::from_triples)
}

/// Reads a string that is a block, unpacks it and makes a hash of it.
fn read_block<R: Read>(
    source: &mut Source<R>,
    unpack: fn(Vec<u8>) -> Option<Listpack>,
    make: fn(Listpack, &Limits) -> Option<Hash>,
) -> Result<Hash, Error> {
    let list = unpack(source.string()?);
    let hash = list.and_then(|list| match list.is_empty() {
        true => Some(Hash::default()),
        false => make(list, &source.limits),
    });
    hash.ok_or_else(|| source.corrupt("the block of a hash is damaged"))
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
