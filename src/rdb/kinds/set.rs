//! Bodies of sets.
//!
//! ```text
//! 2  table     members:length member:string*
//! 11 intset    block:string      Redis's intset
//! 20 listpack  block:string      Redis's listpack, one entry per member
//! ```
//!
//! Redis 7.0 does not know the last one, so that it is only read.

use std::io::{self, Read, Write};

use crate::base::table::Table;
use crate::data::Set;
use crate::data::intset::Intset;
use crate::data::listpack::Listpack;
use crate::data::set::Form;
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::{Strings, put_len, put_string};

const TABLE: u8 = 2;
const INTSET: u8 = 11;
const LISTPACK: u8 = 20;

/// The number of the form in which [`write`] writes the value.
pub fn number(value: &Set) -> u8 {
    if matches!(value.form(), Form::Ints(_)) { INTSET } else { TABLE }
}

/// Writes the body.
pub fn write(out: &mut impl Write, value: &Set, strings: &mut Strings) -> io::Result<()> {
    if let Form::Ints(ints) = value.form() {
        return put_string(out, ints.as_bytes(), strings);
    }
    put_len(out, value.len() as u64)?;
    value.iter().try_for_each(|member| put_string(out, member.bytes(&mut [0; 20]), strings))
}

/// Reads the body of a value of type `number`. The set may be empty.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<Set, Error> {
    match number {
        TABLE => read_members(source),
        INTSET => {
            let ints = Intset::from_bytes(source.string()?);
            // There never was an empty one in a file.
            let ints = ints.filter(|ints| !ints.is_empty());
            let ints = ints.ok_or_else(|| source.corrupt("Intset integrity check failed"))?;
            Ok(Set::from_intset(ints, &source.limits))
        }
        LISTPACK => {
            let block = Listpack::from_bytes(source.string()?);
            block
                .and_then(|block| Set::from_listpack(block, &source.limits))
                .ok_or_else(|| source.corrupt("Set listpack integrity check failed"))
        }
        _ => Err(source.unknown_type(number)),
    }
}

fn read_members<R: Read>(source: &mut Source<R>) -> Result<Set, Error> {
    let len = source.len()?;
    let few = usize::try_from(len).is_ok_and(|len| len <= source.limits.set_max_intset_entries);
    let mut set = if few { Set::of_ints() } else { Set::from(Table::new()) };
    for _ in 0..len {
        let member = source.string()?;
        if !set.insert(&member, &source.limits) {
            return Err(source.corrupt("a set has the same member twice"));
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::crc64;
    use crate::data::{Limits, Value};
    use crate::rdb::{Options, encode_value, restore};

    fn set(members: &[&str]) -> Set {
        let mut set = Set::of_ints();
        for member in members {
            assert!(set.insert(member.as_bytes(), &Limits::default()));
        }
        set
    }

    fn encoded(set: Set) -> Vec<u8> {
        let mut out = Vec::new();
        let opts = Options { compress: false, checksum: false };
        encode_value(&mut out, &Value::Set(set), &opts);
        out
    }

    fn payload(body: &[u8]) -> Vec<u8> {
        let mut payload = [body, &[10, 0]].concat();
        let crc = crc64::update(0, &payload);
        payload.extend(crc.to_le_bytes());
        payload
    }

    fn read_back(body: &[u8]) -> Option<Set> {
        match restore(&payload(body), Limits::default()) {
            Ok(Value::Set(set)) => Some(set),
            _ => None,
        }
    }

    #[test]
    fn bodies_are_redis_s() {
        assert_eq!(encoded(set(&["1", "-2"])), b"\x0b\x0c\x02\0\0\0\x02\0\0\0\xfe\xff\x01\0");
        assert_eq!(encoded(set(&["a", "300"])), b"\x02\x02\x01a\xc1\x2c\x01");
    }

    #[test]
    fn every_form_comes_back() {
        let many: Vec<String> = (0..600).map(|n| format!("{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for members in [&["7"][..], &["7", "x", ""], &many, &many[..512]] {
            let original = set(members);
            let back = read_back(&encoded(original.clone())).unwrap();
            assert_eq!((&back, back.encoding()), (&original, original.encoding()));
        }
        let mut block = Listpack::new();
        block.push(b"a");
        block.push_int(5);
        let body = [&[LISTPACK, block.byte_len() as u8], block.as_bytes()].concat();
        assert_eq!(read_back(&body), Some(set(&["5", "a"])));
    }

    #[test]
    fn damaged_bodies_are_refused() {
        for body in [
            &b"\x02\0"[..],
            b"\x02\x02\x01a\x01a",
            b"\x02\x03\x01a\x01b",
            b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x01\0",
            b"\x0b\x08\x02\0\0\0\0\0\0\0",
            b"\x14\x07\x07\0\0\0\0\0\xff",
            b"\x14\x0b\x0b\0\0\0\x02\0\x05\x01\x05\x01\xff",
            b"\x14\x01\xff",
        ] {
            assert_eq!(read_back(body), None, "{}", body.escape_ascii());
        }
    }
}
