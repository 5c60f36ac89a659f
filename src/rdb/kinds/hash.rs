//! Bodies of type 4 (table), 9 (zipmap), 13 (ziplist), 16 (listpack), 22 to 25 (with deadlines).

use std::io::{self, Read, Write};

use crate::data::Hash;
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::Options;

/// The number of the form in which [`write`] writes the value.
pub fn number(_value: &Hash) -> u8 {
    4
}

/// Writes the body.
pub fn write(_out: &mut impl Write, _value: &Hash, _opts: &Options) -> io::Result<()> {
    Ok(())
}

/// Reads the body of a value of type `number`.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<Hash, Error> {
    Err(source.unknown_type(number))
}
