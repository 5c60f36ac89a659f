//! Zipmaps, the compact blocks in which Redis kept hashes before version 2.6, which are only read.
//!
//! ```text
//! fields(1; 254 or more: count them) | field ... | 0xFF
//! field  = length name length free(1) value unused-bytes*free
//! length = one byte up to 253, or 254 and u32 LE
//! ```

use crate::data::listpack::{Builder, Listpack};

const END: u8 = 0xff;
/// What a length of five bytes begins with.
const LONG: u8 = 0xfe;

/// The names and values as a listpack, or `None` if the block is empty or damaged.
pub fn to_listpack(block: &[u8]) -> Option<Listpack> {
    let (&count, mut rest) = block.split_first()?;
    let mut list = Builder::with_capacity(block.len());
    let mut fields = 0;
    while *rest.first()? != END {
        let len = take_length(&mut rest)?;
        list.push(rest.split_off(..len)?);
        let len = take_length(&mut rest)?;
        let free = usize::from(*rest.split_off_first()?);
        list.push(rest.split_off(..len)?);
        rest.split_off(..free)?;
        fields += 1;
    }
    let counted = count >= LONG || usize::from(count) == fields;
    (fields > 0 && rest.len() == 1 && counted).then(|| list.finish())
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    match *rest.split_off_first()? {
        LONG => {
            let len = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
            // Redis writes a short length in one byte only.
            usize::try_from(len).ok().filter(|&len| len >= usize::from(LONG))
        }
        END => None,
        len => Some(usize::from(len)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(block: &[u8]) -> Option<Vec<Vec<u8>>> {
        to_listpack(block).map(|list| list.iter().map(|item| item.to_vec()).collect())
    }

    #[test]
    fn fields_are_read() {
        let expected: [&[u8]; 4] = [b"foo", b"bar", b"hello", b"12"];
        let block = b"\x02\x03foo\x03\x00bar\x05hello\x02\x0312???\xff";
        assert_eq!(read(block).unwrap(), expected);
        let mut uncounted = block.to_vec();
        uncounted[0] = 254;
        assert_eq!(read(&uncounted).unwrap(), expected);
        let long = [b"\x01\x01a\xfe\x2c\x01\0\0\x00", [b'x'; 300].as_slice(), b"\xff"].concat();
        assert_eq!(read(&long).unwrap(), [b"a".to_vec(), vec![b'x'; 300]]);
    }

    #[test]
    fn damage_is_seen() {
        let block = b"\x02\x03foo\x03\x00bar\x05hello\x02\x0312???\xff";
        for len in 0..block.len() {
            assert!(read(&block[..len]).is_none());
        }
        let bad: [&[u8]; 6] = [
            b"\x00\xff",
            b"\x01\x01a\x01\x00b\xff\xff",
            b"\x02\x01a\x01\x00b\xff",
            b"\x01\x01a\xfe\x01\0\0\0\x00b\xff",
            b"\x01\x01a\xfe\xff\xff\xff\xff\x00b\xff",
            b"\x01\x01a\xff",
        ];
        for bad in bad {
            assert!(read(bad).is_none(), "{}", bad.escape_ascii());
        }
    }
}
