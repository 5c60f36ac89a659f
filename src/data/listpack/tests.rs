//! Listpacks against vectors, and their bytes against those of Redis.

use super::*;
use crate::base::rng::Rng;

fn pack<'a>(values: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>) -> Listpack {
    let mut list = Listpack::new();
    list.extend(values);
    list
}

fn texts(list: &Listpack) -> Vec<Vec<u8>> {
    list.iter().map(|item| item.to_vec()).collect()
}

/// A value of any encoding; the edges are likely.
fn random_value(rng: &mut Rng) -> Vec<u8> {
    let random = rng.next_u64();
    match random % 4 {
        0 => (rng.next_u64() as i64 >> (random >> 8 & 63)).to_string().into_bytes(),
        1 => vec![random as u8; (random >> 8) as usize % 5],
        2 => vec![b'x'; 60 + (random >> 8) as usize % 80],
        _ if random >> 8 & 63 == 0 => vec![b'y'; 4090 + (random >> 16) as usize % 10],
        _ => format!("v{}", random >> 8 & 0xff).into_bytes(),
    }
}

fn check(list: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(texts(list), model);
    assert_eq!(list.len(), model.len());
    assert_eq!(list.is_empty(), model.is_empty());
    let back: Vec<_> = list.iter().rev().map(|item| item.to_vec()).collect();
    assert!(back.iter().eq(model.iter().rev()));
    let same = Listpack::from_bytes(list.as_bytes().to_vec());
    assert_eq!(same.as_ref(), Some(list));
}

#[test]
fn the_bytes_are_those_of_redis() {
    let long = [b'x'; 64];
    let values: [&[u8]; 22] = [
        b"a",
        b"",
        b"0",
        b"127",
        b"128",
        b"-1",
        b"4095",
        b"4096",
        b"-4096",
        b"-4097",
        b"32767",
        b"32768",
        b"-8388608",
        b"8388608",
        b"-2147483648",
        b"2147483648",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"9223372036854775808",
        b"-0",
        b"007",
        &long,
    ];
    let list = pack(values);
    let hex: String = list.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "bd0000001600816102800100017f01c08002dfff02cfff02f1001003d00002f1ffef03f1ff7f03f2",
        "00800004f200008004f30000800005f30000008005f4000000800000000009f4ffffffffffffff7f",
        "09f4000000000000008009933932323333373230333638353437373538303814822d300383303037",
        "04e04078787878787878787878787878787878787878787878787878787878787878787878787878",
        "78787878787878787878787878787878787878787878787878787842ff",
    );
    assert_eq!(hex, expected);
}

#[test]
fn an_empty_one_is_seven_bytes() {
    let list = Listpack::new();
    assert_eq!(list.as_bytes(), [7, 0, 0, 0, 0, 0, 0xff]);
    assert_eq!((list.first(), list.last(), list.seek(0), list.seek(-1)), (None, None, None, None));
    assert_eq!(size_of::<Option<Listpack>>(), 16);
}

#[test]
fn backlens_of_every_width_lead_back() {
    for len in [1, 126, 127, 128, 16_378, 16_379, 16_382, 16_383, 16_384, 2_097_150, 2_097_152] {
        let value = vec![b'z'; len];
        let mut list = pack([b"before".as_slice(), &value]);
        list.push(b"behind");
        let middle = list.prev(list.last().unwrap()).unwrap();
        assert!(list.at(middle).is(&value), "{len}");
        assert_eq!(list.prev(middle), list.first());
        assert!(Listpack::from_bytes(list.as_bytes().to_vec()).is_some(), "{len}");
    }
}

#[test]
fn random_changes_match_a_vector() {
    let mut rng = Rng::seeded(7);
    let (mut list, mut model) = (Listpack::new(), Vec::<Vec<u8>>::new());
    for _ in 0..3000 {
        let value = random_value(&mut rng);
        let roll = rng.next_u64();
        let index = (roll >> 32) as usize % (model.len() + 1);
        let at = list.seek(index as i64);
        assert_eq!(at.is_some(), index < model.len());
        match (roll % 12, at) {
            (0 | 1, _) => {
                list.push(&value);
                model.push(value);
            }
            (2, _) => {
                list.push_front(&value);
                model.insert(0, value);
            }
            (3, Some(at)) => {
                let new = list.insert_before(at, &value);
                assert!(list.at(new).is(&value));
                model.insert(index, value);
            }
            (4, Some(at)) => {
                let new = list.insert_after(at, &value);
                assert!(list.at(new).is(&value));
                model.insert(index + 1, value);
            }
            (5, Some(at)) => {
                list.replace(at, &value);
                model[index] = value;
            }
            (6, Some(at)) => {
                let next = list.remove(at);
                model.remove(index);
                assert_eq!(next.map(|at| list.at(at).to_vec()).as_ref(), model.get(index));
            }
            (7, _) => {
                let count = (roll >> 16) as usize % 6;
                list.remove_range(index, count);
                model.drain(index..model.len().min(index + count));
            }
            (8, _) => {
                let tail = list.split_off(index);
                let model_tail = model.split_off(index);
                check(&tail, &model_tail);
                if roll & 0x10000 == 0 {
                    list.append(&tail);
                    model.extend(model_tail);
                }
            }
            (9, _) => {
                list.extend([value.as_slice(), b"12", b""]);
                model.extend([value, b"12".to_vec(), Vec::new()]);
            }
            (10, _) => {
                let back = index as i64 - model.len() as i64;
                let at = (back < 0).then(|| list.seek(back)).flatten();
                assert_eq!(at.map(|at| list.at(at).to_vec()).as_ref(), model.get(index));
            }
            (_, Some(at)) => {
                let skip = (roll >> 16) as usize % 3;
                let found = list.find(&value, at, skip).map(|at| list.at(at).to_vec());
                let hit = model[index..].iter().step_by(skip + 1).find(|text| **text == value);
                assert_eq!(found.as_ref(), hit);
            }
            _ => {}
        }
        assert_eq!(
            list.byte_len(),
            7 + model.iter().map(|v| Listpack::entry_size(v)).sum::<usize>()
        );
        if roll.is_multiple_of(16) {
            check(&list, &model);
        }
    }
    check(&list, &model);
}

#[test]
fn more_entries_than_the_header_counts() {
    let mut builder = Builder::new();
    (0..65_534).for_each(|number| builder.push_int(number));
    let mut list = builder.finish();
    assert_eq!((list.counted(), list.len()), (Some(65_534), 65_534));
    list.push_int(65_534);
    list.push(b"last");
    assert_eq!((list.counted(), list.len()), (None, 65_536));
    assert_eq!(list.seek(-2).map(|at| list.at(at)), Some(Item::Int(65_534)));
    assert_eq!(list.seek(65_535), list.last());
    assert_eq!((list.seek(65_536), list.seek(-65_537)), (None, None));
    assert_eq!(Listpack::from_bytes(list.as_bytes().to_vec()).map(|list| list.len()), Some(65_536));
    list.remove_range(1, 65_000);
    assert_eq!(list.len(), 536);
}

#[test]
fn a_number_kept_as_bytes_is_the_same_text() {
    let foreign = Listpack::from_bytes(vec![10, 0, 0, 0, 1, 0, 0x81, b'7', 2, 0xff]).unwrap();
    assert_eq!(foreign, pack([b"7".as_slice()]));
    assert_ne!(foreign, pack([b"8".as_slice()]));
    assert_eq!(foreign.find(b"7", foreign.first().unwrap(), 0), foreign.first());
    assert_eq!(foreign.at(foreign.first().unwrap()).int(), Some(7));
}

#[test]
fn a_text_inside_of_another_is_no_entry() {
    let values: [&[u8]; 7] = [b"xabcd", b"\x84abcd\x05", b"abcde", b"z", b"abcd", b"abcd", b"abcd"];
    let list = pack(values);
    let found = |from: i64, skip| list.find(b"abcd", list.seek(from).unwrap(), skip);
    assert_eq!((found(0, 0), found(0, 1), found(1, 1)), (list.seek(4), list.seek(4), list.seek(5)));
    assert_eq!((found(0, 2), found(5, 2), found(-1, 0)), (list.seek(6), list.seek(5), list.last()));
    assert_eq!(list.find(b"xabc", list.first().unwrap(), 0), None);
    let number = i64::from_le_bytes(*b"1234567x");
    let mut list = Listpack::new();
    list.push_int(number);
    assert_eq!(list.find(b"1234567x", list.first().unwrap(), 0), None);
    list.push(b"\xf41234567x");
    assert_eq!(list.find(b"\xf41234567x", list.first().unwrap(), 0), list.last());
}

#[test]
fn damaged_blocks_are_refused_or_whole() {
    let mut rng = Rng::seeded(11);
    let values: Vec<Vec<u8>> = (0..40).map(|_| random_value(&mut rng)).collect();
    let good = pack(values.iter().map(Vec::as_slice)).as_bytes().to_vec();
    for len in 0..good.len() {
        assert!(Listpack::from_bytes(good[..len].to_vec()).is_none());
        let mut short = good[..len].to_vec();
        if let Some(total) = short.first_chunk_mut() {
            *total = (len as u32).to_le_bytes();
        }
        assert!(Listpack::from_bytes(short).is_none());
    }
    for _ in 0..4000 {
        let mut bad = good.clone();
        for _ in 0..=rng.next_u64() % 3 {
            let at = rng.next_u64() as usize % bad.len();
            bad[at] = rng.next_u64() as u8;
        }
        if let Some(mut list) = Listpack::from_bytes(bad) {
            let forth = texts(&list);
            let mut back: Vec<_> = list.iter().rev().map(|item| item.to_vec()).collect();
            back.reverse();
            assert_eq!(forth, back);
            list.remove_range(1, 2);
            list.push_front(b"x");
        }
    }
    for tag in 0xf5..=0xff {
        assert!(Listpack::from_bytes(vec![9, 0, 0, 0, 1, 0, tag, 1, 0xff]).is_none());
    }
    assert!(Listpack::from_bytes(vec![6, 0, 0, 0, 0, 0]).is_none());
    let huge = [13, 0, 0, 0, 1, 0, 0xf0, 0xff, 0xff, 0xff, 0xff, 5, 0xff];
    assert!(Listpack::from_bytes(huge.to_vec()).is_none());
}
