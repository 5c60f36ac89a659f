//! Bodies of type 15, 19 and 21.

use std::io::{self, Read, Write};

use crate::data::Stream;
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::Options;

/// The number of the form in which [`write`] writes the value.
pub fn number(_value: &Stream) -> u8 {
    19
}

/// Writes the body.
pub fn write(_out: &mut impl Write, _value: &Stream, _opts: &Options) -> io::Result<()> {
    Ok(())
}

/// Reads the body of a value of type `number`.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<Stream, Error> {
    Err(source.unknown_type(number))
}
