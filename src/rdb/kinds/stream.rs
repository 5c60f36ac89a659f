//! Bodies of streams, types 15, 19 and 21.
//!
//! ```text
//! nodes, node ..., entries, last id, [first id, largest deleted id, entries ever added,]
//!        groups, group ...
//! node     = string of the id that it is kept under, string that is the listpack
//! group    = name, last id, [entries read,] pending, pending ..., consumers, consumer ...
//! pending  = 16 bytes of id, time (8 bytes), deliveries
//! consumer = name, time seen (8), (time active (8),) pending, 16 bytes of id ...
//! ```
//!
//! An id is two lengths unless its bytes are spoken of: big endian. Times are Unix milliseconds,
//! little endian. What is in `[]` came with type 19, what is in `()` with type 21; type 19 is
//! written, because Redis 7.0 reads no other.

use std::io::{self, Read, Write};

use crate::data::Stream;
use crate::data::listpack::Listpack;
use crate::data::stream::{Consumer, Entries, Group, Id};
use crate::rdb::decode::{Error, Source};
use crate::rdb::encode::{Strings, put_len, put_string};

const LISTPACKS: u8 = 15;
const LISTPACKS_2: u8 = 19;
const LISTPACKS_3: u8 = 21;

/// The number of the form in which [`write`] writes the value.
pub fn number(_value: &Stream) -> u8 {
    LISTPACKS_2
}

/// Writes the body.
pub fn write(out: &mut impl Write, value: &Stream, strings: &mut Strings) -> io::Result<()> {
    let entries = value.entries();
    put_len(out, entries.node_count() as u64)?;
    for (base, node) in entries.nodes() {
        put_string(out, &base.to_bytes(), strings)?;
        put_string(out, node.list().as_bytes(), strings)?;
    }
    let counters = entries.counters();
    put_len(out, entries.len())?;
    for id in [counters.last_id, counters.first_id, counters.max_deleted_id] {
        put_id(out, id)?;
    }
    put_len(out, counters.entries_added)?;
    put_len(out, value.groups().len() as u64)?;
    for (name, group) in value.groups() {
        put_string(out, name, strings)?;
        put_group(out, group, strings)?;
    }
    Ok(())
}

fn put_id(out: &mut impl Write, id: Id) -> io::Result<()> {
    put_len(out, id.ms)?;
    put_len(out, id.seq)
}

fn put_group(out: &mut impl Write, group: &Group, strings: &mut Strings) -> io::Result<()> {
    put_id(out, group.last_id)?;
    put_len(out, group.entries_read.unwrap_or(-1) as u64)?;
    put_len(out, group.pending_len() as u64)?;
    for (id, pending) in group.pending_from(Id::MIN) {
        out.write_all(&id.to_bytes())?;
        out.write_all(&pending.delivered_ms.to_le_bytes())?;
        put_len(out, pending.deliveries)?;
    }
    put_len(out, group.consumers().len() as u64)?;
    for (name, consumer) in group.consumers() {
        put_string(out, name, strings)?;
        out.write_all(&consumer.seen_ms.to_le_bytes())?;
        put_consumer(out, consumer)?;
    }
    Ok(())
}

fn put_consumer(out: &mut impl Write, consumer: &Consumer) -> io::Result<()> {
    put_len(out, consumer.pending_len() as u64)?;
    consumer.pending_from(Id::MIN).try_for_each(|id| out.write_all(&id.to_bytes()))
}

/// Reads the body of a value of type `number`.
pub fn read<R: Read>(source: &mut Source<R>, number: u8) -> Result<Stream, Error> {
    if ![LISTPACKS, LISTPACKS_2, LISTPACKS_3].contains(&number) {
        return Err(source.unknown_type(number));
    }
    let mut stream = Stream::default();
    read_entries(source, number, stream.entries_mut())?;
    for _ in 0..source.len()? {
        let name = source.string()?;
        let group = read_group(source, number, stream.entries())?;
        if !stream.add_group(&name, group) {
            return Err(source.corrupt("two consumer groups of one name"));
        }
    }
    Ok(stream)
}

fn read_entries<R: Read>(
    source: &mut Source<R>,
    number: u8,
    entries: &mut Entries,
) -> Result<(), Error> {
    for _ in 0..source.len()? {
        let Ok(base) = <[u8; 16]>::try_from(source.string()?) else {
            return Err(source.corrupt("the key of a stream's node is no id"));
        };
        let list = Listpack::from_bytes(source.string()?);
        if !list.is_some_and(|list| entries.load_node(Id::from_bytes(base), list)) {
            return Err(source.corrupt("Stream listpack integrity check failed"));
        }
    }
    let length = source.len()?;
    let last_id = read_id(source)?;
    if !entries.finish_loading(length, last_id) {
        return Err(source.corrupt("a stream's length or last id is not that of its nodes"));
    }
    if number != LISTPACKS {
        let (first_id, max_deleted_id) = (read_id(source)?, read_id(source)?);
        entries.load_counters(first_id, max_deleted_id, source.len()?);
    }
    Ok(())
}

fn read_id<R: Read>(source: &mut Source<R>) -> Result<Id, Error> {
    Ok(Id::new(source.len()?, source.len()?))
}

fn read_group<R: Read>(
    source: &mut Source<R>,
    number: u8,
    entries: &Entries,
) -> Result<Group, Error> {
    let last_id = read_id(source)?;
    let entries_read = match number {
        LISTPACKS => entries.count_up_to(last_id),
        _ => Some(source.len()? as i64).filter(|&count| count != -1),
    };
    let mut group = Group::new(last_id, entries_read);
    // Whose they are comes later.
    let mut pending: Vec<(Id, i64, u64)> = Vec::new();
    for _ in 0..source.len()? {
        let id = Id::from_bytes(source.array()?);
        let delivered_ms = i64::from_le_bytes(source.array()?);
        if pending.last().is_some_and(|&(before, ..)| before >= id) {
            return Err(source.corrupt("the pending entries of a group are out of order"));
        }
        pending.push((id, delivered_ms, source.len()?));
    }
    for _ in 0..source.len()? {
        let name = source.string()?;
        read_consumer(source, number, &name, &mut group, &pending)?;
    }
    if group.pending_len() != pending.len() {
        return Err(source.corrupt("a pending entry belongs to no consumer"));
    }
    Ok(group)
}

fn read_consumer<R: Read>(
    source: &mut Source<R>,
    number: u8,
    name: &[u8],
    group: &mut Group,
    pending: &[(Id, i64, u64)],
) -> Result<(), Error> {
    let seen_ms = i64::from_le_bytes(source.array()?);
    let active_ms = match number {
        LISTPACKS_3 => i64::from_le_bytes(source.array()?),
        _ => seen_ms,
    };
    if !group.add_consumer(name, seen_ms) {
        return Err(source.corrupt("Duplicate stream consumer detected"));
    }
    if let Some(consumer) = group.consumer_mut(name) {
        consumer.active_ms = active_ms;
    }
    for _ in 0..source.len()? {
        let id = Id::from_bytes(source.array()?);
        let known = pending.binary_search_by_key(&id, |&(id, ..)| id);
        let Some(&(_, delivered_ms, deliveries)) = known.ok().and_then(|at| pending.get(at)) else {
            return Err(source.corrupt("what is pending for a consumer is not so for its group"));
        };
        if group.consumer(name).is_some_and(|consumer| consumer.is_pending(id)) {
            let text = "Duplicated consumer PEL entry  loading a stream consumer group";
            return Err(source.corrupt(text));
        }
        if group.pending(id).is_some() {
            return Err(source.corrupt("Stream consumer PEL entry already has a consumer assigned"));
        }
        group.assign(id, name, delivered_ms, deliveries);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::crc64;
    use crate::base::rng::Rng;
    use crate::data::stream::{NewId, NodeLimits};
    use crate::data::{Limits, Value};
    use crate::rdb::encode::dump_packed;
    use crate::rdb::tests::{file, walk};
    use crate::rdb::{Reader, restore};

    /// Two nodes, a deleted entry, and two groups with entries pending for three consumers.
    fn sample() -> Stream {
        let mut stream = Stream::default();
        let max = NodeLimits { bytes: 0, entries: 3 };
        for ms in 1..=5 {
            let value = format!("value {ms}");
            let pairs: [&[u8]; 4] = [b"name", value.as_bytes(), b"n", b"-70000"];
            let entries = stream.entries_mut();
            entries.add(NewId::AutoSeq(ms), &pairs[..2 * (1 + ms as usize % 2)], max).unwrap();
        }
        assert!(stream.entries_mut().delete(Id::new(2, 0)));
        for name in [&b"g"[..], b"h"] {
            let mut group = Group::new(Id::new(3, 0), Some(3));
            for (at, consumer) in [&b"a"[..], b"b", b"c"].into_iter().enumerate() {
                group.add_consumer(consumer, 1_000 + at as i64);
                group.consumer_mut(consumer).unwrap().active_ms = 1_000 + at as i64;
                group.assign(Id::new(1 + at as u64, 0), consumer, 2_000, 3);
            }
            assert!(stream.add_group(name, group));
        }
        stream
    }

    fn with_footer(mut body: Vec<u8>) -> Vec<u8> {
        body.extend(10u16.to_le_bytes());
        body.extend(crc64::update(0, &body).to_le_bytes());
        body
    }

    fn read_back(payload: &[u8]) -> Option<Stream> {
        match restore(payload, Limits::default()).ok()? {
            Value::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for stream in [Stream::default(), sample()] {
            assert_eq!(read_back(&dump_packed(&Value::Stream(stream.clone()))), Some(stream));
        }
    }

    #[test]
    fn older_and_newer_forms() {
        // One node with the entries 1-1 and 2-0; the group has read the first, which is pending.
        let node = b"\x01\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x27\
            \x27\0\0\0\x0f\0\x02\x01\0\x01\x01\x01\x81f\x02\0\x01\
            \x02\x01\0\x01\0\x01\x01\x01\x04\x01\x02\x01\x01\x01\xdf\xff\x02\x02\x01\x04\x01\xff";
        let group = b"\x01\x01g\x01\x01";
        let pending = b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x07\0\0\0\0\0\0\0\x02";
        let seen = b"\x01\x01c\x09\0\0\0\0\0\0\0";
        let list = b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01";
        let read = |parts: &[&[u8]]| {
            let stream = read_back(&with_footer(parts.concat())).expect("a sound payload");
            let (_, group) = stream.groups().next().expect("a group");
            let (_, consumer) = group.consumers().next().expect("a consumer");
            let times = (consumer.seen_ms, consumer.active_ms);
            (stream.entries().counters(), group.entries_read, times, group.pending_len())
        };
        let (counters, entries_read, times, pending_len) =
            read(&[&[15], node, b"\x02\x02\0", group, pending, seen, list]);
        assert_eq!((counters.first_id, counters.last_id), (Id::new(1, 1), Id::new(2, 0)));
        assert_eq!((counters.entries_added, counters.max_deleted_id), (2, Id::MIN));
        assert_eq!((entries_read, times, pending_len), (Some(1), (9, 9), 1));
        let twice = [b"\x02", &list[1..], &list[1..]].concat();
        let parts = [b"\x0f\x01k", &node[..], b"\x02\x02\0", group, pending, seen, &twice];
        let refusal = walk(Reader::new(&file(10, &parts.concat())[..])).unwrap_err().to_string();
        let why = "Duplicated consumer PEL entry  loading a stream consumer group";
        assert!(refusal.ends_with(why), "{refusal}");
        let counted = b"\x02\x02\0\x01\x01\0\0\x05";
        let (counters, entries_read, times, pending_len) = read(&[
            &[21],
            node,
            counted,
            group,
            b"\x03",
            pending,
            seen,
            b"\x08\0\0\0\0\0\0\0",
            list,
        ]);
        assert_eq!(counters.entries_added, 5);
        assert_eq!((entries_read, times, pending_len), (Some(3), (9, 8), 1));
    }

    /// Whatever stands in a payload, it is refused or makes a stream that can be stored again.
    #[test]
    fn damage_makes_no_harm() {
        let whole = dump_packed(&Value::Stream(sample()));
        let body = &whole[..whole.len() - 10];
        let mut rng = Rng::seeded(3);
        let mut taken = 0;
        for round in 0..20_000 {
            let mut body = body.to_vec();
            for _ in 0..1 + round % 3 {
                let at = rng.next_u64() as usize % body.len();
                body[at] = match rng.next_u64() % 3 {
                    0 => rng.next_u64() as u8,
                    1 => body[at] ^ (1 << (rng.next_u64() % 8)),
                    _ => body[at].wrapping_add(1),
                };
            }
            if round % 50 == 0 {
                body.truncate(rng.next_u64() as usize % body.len());
            }
            if let Some(stream) = read_back(&with_footer(body)) {
                taken += 1;
                assert_eq!(read_back(&dump_packed(&Value::Stream(stream.clone()))), Some(stream));
            }
        }
        assert!(taken > 100, "{taken}");
    }
}
