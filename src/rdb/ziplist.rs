//! Ziplists, the compact blocks of RDB versions before 10, which are only read.
//!
//! ```text
//! bytes u32 LE | offset of the last entry u32 LE | entries u16 LE (65535: count them)
//! entry ... | 0xFF
//!
//! entry = length of the entry before it: one byte up to 253, or FE and u32 LE; then
//!   00llllll                bytes, up to 63
//!   01llllll l8             bytes, up to 16383
//!   10------ l32 BE         bytes
//!   C0 | D0 | E0 | F0 | FE  integer of 16, 32, 64, 24, 8 bits, little endian
//!   F1 to FD                integer 0 to 12
//! ```

use crate::data::listpack::{Builder, Item, Listpack};

const HEADER: usize = 10;
const END: u8 = 0xff;
/// The first byte of an entry behind a long one.
const LONG_BEFORE: u8 = 0xfe;

/// The same values as a listpack, or `None` if the block is not valid to its last byte.
pub fn to_listpack(block: &[u8]) -> Option<Listpack> {
    let (header, _) = block.split_first_chunk::<HEADER>()?;
    let [a, b, c, d, e, f, g, h, count @ ..] = *header;
    let (total, tail) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    if usize::try_from(total) != Ok(block.len()) || block.last() != Some(&END) {
        return None;
    }
    let entries = block.get(..block.len().checked_sub(1)?)?;
    let mut values = Builder::with_capacity(block.len());
    let (mut at, mut before, mut found, mut last) = (HEADER, 0, 0usize, HEADER);
    while at < entries.len() {
        let (stated, size) = length_before(&entries[at..])?;
        let (item, len) = value(entries.get(at + size..)?)?;
        if stated != before {
            return None;
        }
        values.push(item.bytes(&mut [0; 20]));
        last = at;
        before = size + len;
        at += before;
        found += 1;
    }
    let count = u16::from_le_bytes(count);
    let counted = count == u16::MAX || usize::from(count) == found;
    let whole = at == entries.len() && usize::try_from(tail) == Ok(last);
    (counted && whole).then(|| values.finish())
}

/// The length of the entry before this one, and how many bytes say so.
fn length_before(entry: &[u8]) -> Option<(usize, usize)> {
    match *entry.first()? {
        LONG_BEFORE => {
            let len = u32::from_le_bytes(*entry.get(1..)?.first_chunk()?);
            Some((usize::try_from(len).ok()?, 5))
        }
        END => None,
        len => Some((usize::from(len), 1)),
    }
}

/// The value, and how many bytes it and its head take.
fn value(entry: &[u8]) -> Option<(Item<'_>, usize)> {
    let (head, rest) = entry.split_first()?;
    let bytes = |head: usize, len: usize| {
        let end = head.checked_add(len)?;
        Some((Item::Bytes(entry.get(head..end)?), end))
    };
    match head {
        0..0x40 => bytes(1, usize::from(*head)),
        0x40..0x80 => bytes(2, usize::from(u16::from_be_bytes([head & 0x3f, *rest.first()?]))),
        0x80..0xc0 => bytes(5, usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).ok()?),
        0xc0 => int(rest, 2),
        0xd0 => int(rest, 4),
        0xe0 => int(rest, 8),
        0xf0 => int(rest, 3),
        0xfe => int(rest, 1),
        0xf1..=0xfd => Some((Item::Int(i64::from(head - 0xf1)), 1)),
        _ => None,
    }
}

fn int(bytes: &[u8], len: usize) -> Option<(Item<'_>, usize)> {
    let mut le = [0; 8];
    le[8 - len..].copy_from_slice(bytes.get(..len)?);
    Some((Item::Int(i64::from_le_bytes(le) >> (64 - 8 * len)), 1 + len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// A ziplist of these heads with their payloads.
    fn block(values: &[&[u8]]) -> Vec<u8> {
        let mut block = vec![0; HEADER];
        let (mut before, mut last) = (0, HEADER);
        for value in values {
            last = block.len();
            match u8::try_from(before) {
                Ok(len @ 0..0xfe) => block.push(len),
                _ => {
                    block.push(LONG_BEFORE);
                    block.extend((before as u32).to_le_bytes());
                }
            }
            block.extend(*value);
            before = block.len() - last;
        }
        block.push(END);
        let total = block.len() as u32;
        block[..4].copy_from_slice(&total.to_le_bytes());
        block[4..8].copy_from_slice(&(last as u32).to_le_bytes());
        block[8..HEADER].copy_from_slice(&(values.len() as u16).to_le_bytes());
        block
    }

    fn all_kinds() -> Vec<u8> {
        let long = [&[0x41, 0x2c], [b'x'; 300].as_slice()].concat();
        block(&[
            b"\x03abc",
            &long,
            b"\x80\0\0\0\x02yz",
            b"\xc0\xfe\xff",
            b"\xd0\0\0\0\x80",
            b"\xe0\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\xf0\0\0\x80",
            b"\xfe\x80",
            b"\xf1",
            b"\xfd",
            b"\x0212",
        ])
    }

    #[test]
    fn every_kind_of_entry_is_read() {
        let list = to_listpack(&all_kinds()).unwrap();
        let texts: Vec<_> = list.iter().map(|item| item.to_vec()).collect();
        let expected: [&[u8]; 11] = [
            b"abc",
            &[b'x'; 300],
            b"yz",
            b"-2",
            b"-2147483648",
            b"9223372036854775807",
            b"-8388608",
            b"-128",
            b"0",
            b"12",
            b"12",
        ];
        assert_eq!(texts, expected);
        assert_eq!(to_listpack(&block(&[])).map(|list| list.len()), Some(0));
        let mut uncounted = all_kinds();
        uncounted[8..HEADER].fill(0xff);
        assert_eq!(to_listpack(&uncounted), Some(list));
    }

    #[test]
    fn damage_is_seen_or_does_no_harm() {
        let good = all_kinds();
        for len in 0..good.len() {
            assert!(to_listpack(&good[..len]).is_none());
            let mut short = good[..len].to_vec();
            if let Some(total) = short.first_chunk_mut() {
                *total = (len as u32).to_le_bytes();
            }
            assert!(to_listpack(&short).is_none());
        }
        for at in [0, 4, 8, HEADER, HEADER + 5] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(to_listpack(&bad).is_none(), "{at}");
        }
        let mut rng = Rng::seeded(5);
        for _ in 0..4000 {
            let mut bad = good.clone();
            let at = rng.next_u64() as usize % bad.len();
            bad[at] = rng.next_u64() as u8;
            drop(to_listpack(&bad));
        }
    }
}
