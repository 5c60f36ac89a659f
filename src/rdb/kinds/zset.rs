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
use crate::rdb::encode::{Options, put_len, put_string};
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
pub fn write(out: &mut impl Write, value: &Zset, opts: &Options) -> io::Result<()> {
    if let Some(block) = value.as_listpack() {
        return put_string(out, block.as_bytes(), opts);
    }
    put_len(out, value.len() as u64)?;
    let mut result = Ok(());
    value.each_back(0..value.len(), |member, score| {
        if result.is_ok() {
            result = put_string(out, member, opts)
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
        ZIPLIST => read_block(source, |block| ziplist::to_listpack(&block)),
        LISTPACK => read_block(source, Listpack::from_bytes),
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
) -> Result<Zset, Error> {
    let block = parse(source.string()?).and_then(Zset::from_listpack);
    let mut zset = block.ok_or_else(|| source.corrupt("a sorted set's block is broken"))?;
    zset.expect(zset.len(), &source.limits);
    Ok(zset)
}
