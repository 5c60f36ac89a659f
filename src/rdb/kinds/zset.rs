//! Bodies of type 3 and 5 (tables), 12 (ziplist), 17 (listpack).

use std::io::{self, Read, Write};

use crate::data::Zset;
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::Options;

/// The number of the form in which [`write`] writes the value.
pub fn number(_value: &Zset) -> u8 {
    5
}

/// Writes the body.
pub fn write(_out: &mut impl Write, _value: &Zset, _opts: &Options) -> io::Result<()> {
    Ok(())
}

/// Reads the body of a value of type `number`.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<Zset, Error> {
    Err(source.unknown_type(number))
}
