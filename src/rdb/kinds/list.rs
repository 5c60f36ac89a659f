//! Bodies of type 1 (linked list), 10 (ziplist), 14 and 18 (quicklists).
//!
//! ```text
//! 1    count | string ...
//! 10   ziplist as a string
//! 14   nodes | ziplist as a string ...
//! 18   nodes | 1 and a string, or 2 and a listpack as a string ...
//! ```

use std::io::{self, Read, Write};

use crate::data::List;
use crate::data::list::End;
use crate::data::listpack::Listpack;
use crate::data::quicklist::{Block, BlockRef, Fill};
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::{Strings, put_len, put_string};
use crate::rdb::ziplist;

/// A node that is one element.
const PLAIN: u64 = 1;
/// A node that is a listpack.
const PACKED: u64 = 2;

/// The number of the form in which [`write`] writes the value.
pub fn number(_value: &List) -> u8 {
    18
}

/// Writes the body.
pub fn write(out: &mut impl Write, value: &List, strings: &mut Strings) -> io::Result<()> {
    put_len(out, value.blocks().count() as u64)?;
    for block in value.blocks() {
        let (container, bytes) = match block {
            BlockRef::Packed(list) => (PACKED, list.as_bytes()),
            BlockRef::Plain(value) => (PLAIN, value),
        };
        put_len(out, container)?;
        put_string(out, bytes, strings)?;
    }
    Ok(())
}

/// Reads the body of a value of type `number`. The list may be empty.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<List, Error> {
    let fill = Fill::new(source.limits.list_max_listpack_size);
    match number {
        1 => read_elements(source, fill),
        10 => Ok(List::from_blocks(vec![ziplist(source)?], fill)),
        14 => read_blocks(source, fill, ziplist),
        _ => read_blocks(source, fill, block),
    }
}

fn read_elements<R: Read>(source: &mut Source<R>, fill: Fill) -> Result<List, Error> {
    let mut list = List::new();
    for _ in 0..source.len()? {
        list.push(End::Right, &source.string()?, fill);
    }
    Ok(list)
}

fn read_blocks<R: Read>(
    source: &mut Source<R>,
    fill: Fill,
    mut read: impl FnMut(&mut Source<R>) -> Result<Block, Error>,
) -> Result<List, Error> {
    let mut blocks = Vec::new();
    for _ in 0..source.len()? {
        blocks.push(read(source)?);
    }
    Ok(List::from_blocks(blocks, fill))
}

fn ziplist<R: Read>(source: &mut Source<R>) -> Result<Block, Error> {
    let list = ziplist::to_listpack(&source.string()?);
    list.map(Block::Packed).ok_or_else(|| source.corrupt("Ziplist integrity check failed"))
}

fn block<R: Read>(source: &mut Source<R>) -> Result<Block, Error> {
    match source.len()? {
        PLAIN => match source.string()? {
            element if element.is_empty() => Err(source.corrupt("a list's node is empty")),
            element => Ok(Block::Plain(element.into_boxed_slice())),
        },
        PACKED => {
            let list = Listpack::from_bytes(source.string()?);
            list.map(Block::Packed).ok_or_else(|| source.corrupt("Listpack integrity check failed"))
        }
        _ => Err(source.corrupt("a list's node is of no known kind")),
    }
}

#[cfg(test)]
mod tests {
    use crate::base::crc64;
    use crate::base::rng::Rng;
    use crate::data::list::End;
    use crate::data::quicklist::Fill;
    use crate::data::{Limits, List, Value};
    use crate::rdb::encode::dump_packed;
    use crate::rdb::restore;

    fn list(values: &[&[u8]]) -> Value {
        let mut list = List::new();
        list.extend(End::Right, values, Fill::new(-2));
        Value::List(list)
    }

    fn read(body: &[u8]) -> Option<Value> {
        let mut payload = [body, &10u16.to_le_bytes()].concat();
        payload.extend(crc64::update(0, &payload).to_le_bytes());
        restore(&payload, Limits::default()).ok()
    }

    #[test]
    fn old_forms_are_read() {
        let expected = list(&[b"a", b"12"]);
        let ziplist = b"\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\xfd\xff";
        assert_eq!(read(b"\x01\x02\x01a\xc0\x0c").as_ref(), Some(&expected));
        assert_eq!(read(&[b"\x0a\x10", &ziplist[..]].concat()).as_ref(), Some(&expected));
        let empty = b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff";
        let nodes = [b"\x0e\x02\x10", &ziplist[..], empty].concat();
        assert_eq!(read(&nodes).as_ref(), Some(&expected));
    }

    #[test]
    fn bodies_are_those_of_redis() {
        let dumped = dump_packed(&list(&[b"a", b"12"]));
        let expected = b"\x12\x01\x02\x0c\x0c\0\0\0\x02\0\x81a\x02\x0c\x01\xff\x0a\0";
        assert_eq!(dumped[..dumped.len() - 8], expected[..]);
    }

    #[test]
    fn long_lists_come_back() {
        let values: Vec<Vec<u8>> = (0..5000).map(|n| format!("value {n}").into_bytes()).collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let value = list(&values);
        let again = restore(&dump_packed(&value), Limits::default()).unwrap();
        assert_eq!((again.encoding(), &again), ("quicklist", &value));
        let plain = read(b"\x12\x02\x01\x03abc\x02\x0a\x0a\0\0\0\x01\0\x81b\x02\xff");
        assert_eq!(plain, Some(list(&[b"abc", b"b"])));
    }

    #[test]
    fn damage_is_seen_or_does_no_harm() {
        let mut rng = Rng::seeded(9);
        let ziplist = b"\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xfd\xff";
        let nodes = [&b"\x0e\x02\x10"[..], ziplist, b"\x10", ziplist].concat();
        let packed = dump_packed(&list(&[b"a", b"1234567", &[b'x'; 70], b"", b"-1"]));
        let plain = b"\x12\x02\x01\x03abc\x02\x0a\x0a\0\0\0\x01\0\x81b\x02\xff";
        for good in [&nodes[..], &packed[..packed.len() - 10], plain, b"\x01\x02\x01a\xc0\x0c"] {
            assert!(read(good).is_some());
            for _ in 0..2000 {
                let mut bad = good.to_vec();
                let at = 1 + rng.next_u64() as usize % (bad.len() - 1);
                bad[at] = rng.next_u64() as u8;
                if let Some(Value::List(mut list)) = read(&bad) {
                    assert_eq!(list.iter().rev().count(), list.len());
                    list.insert(list.len() - 1, false, b"new", Fill::new(-2));
                    list.pop(End::Right, 2, Fill::new(1), |_| ());
                }
            }
        }
    }

    #[test]
    fn damaged_and_empty_lists_are_refused() {
        for body in [
            &b"\x12\x01\x03\x01a"[..],
            b"\x12\x01\x02\x0a\x0a\0\0\0\x01\0\x81b\x03\xff",
            b"\x12\x02\x01\x01a",
            b"\x12\x00",
            b"\x01\x00",
            b"\x0a\x01x",
            b"\x0e\x01\x01x",
            b"\x12\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(read(body), None, "{body:?}");
        }
    }
}
