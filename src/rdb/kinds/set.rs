//! Bodies of type 2 (table), 11 (intset), 20 (listpack).

use std::io::{self, Read, Write};

use crate::data::Set;
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::Options;

/// The number of the form in which [`write`] writes the value.
pub fn number(_value: &Set) -> u8 {
    2
}

/// Writes the body.
pub fn write(_out: &mut impl Write, _value: &Set, _opts: &Options) -> io::Result<()> {
    Ok(())
}

/// Reads the body of a value of type `number`.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<Set, Error> {
    Err(source.unknown_type(number))
}
