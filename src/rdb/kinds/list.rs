//! Bodies of type 1 (linked list), 10 (ziplist), 14 and 18 (quicklists).

use std::io::{self, Read, Write};

use crate::data::List;
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::Options;

/// The number of the form in which [`write`] writes the value.
pub fn number(_value: &List) -> u8 {
    18
}

/// Writes the body.
pub fn write(_out: &mut impl Write, _value: &List, _opts: &Options) -> io::Result<()> {
    Ok(())
}

/// Reads the body of a value of type `number`.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<List, Error> {
    Err(source.unknown_type(number))
}
