//! The commands of streams, and what their files have in common: ids and ranges as arguments,
//! entries as replies.

mod groups;
mod info;
mod pending;
mod ranges;
mod reads;
mod writes;

pub use groups::COMMANDS as GROUPS;
pub use info::COMMANDS as INFO;
pub use pending::COMMANDS as PENDING;
pub use ranges::COMMANDS as RANGES;
pub use reads::COMMANDS as READS;
pub use writes::COMMANDS as WRITES;

use crate::data::stream::{Entry, Group, Id, Stream};
use crate::resp::error::Error;
use crate::resp::out::Out;

/// An id; one without a number gets `missing_seq`.
fn id(arg: &[u8], missing_seq: u64) -> Result<Id, Error> {
    Id::parse(arg, missing_seq).ok_or(Error::STREAM_ID)
}

/// An id, or `-` or `+` for the smallest and the largest one.
fn id_or_end(arg: &[u8], missing_seq: u64) -> Result<Id, Error> {
    match arg {
        b"-" => Ok(Id::MIN),
        b"+" => Ok(Id::MAX),
        _ => id(arg, missing_seq),
    }
}

/// Where a range begins; `(` leaves the id itself out.
fn range_start(arg: &[u8]) -> Result<Id, Error> {
    match arg {
        [b'(', rest @ ..] if !rest.is_empty() => {
            id(rest, 0)?.next().ok_or(Error::STREAM_RANGE_START)
        }
        _ => id_or_end(arg, 0),
    }
}

/// Where a range ends; `(` leaves the id itself out.
fn range_end(arg: &[u8]) -> Result<Id, Error> {
    match arg {
        [b'(', rest @ ..] if !rest.is_empty() => {
            id(rest, u64::MAX)?.prev().ok_or(Error::STREAM_RANGE_END)
        }
        _ => id_or_end(arg, u64::MAX),
    }
}

/// The arguments as ids, all of them.
fn ids(args: &[&[u8]]) -> Result<Vec<Id>, Error> {
    args.iter().map(|arg| id(arg, 0)).collect()
}

/// Writes an id.
fn push_id(out: &mut Out, id: Id) {
    out.bulk(id.text(&mut [0; 41]));
}

/// Writes an entry: its id, and its names and values in one array.
fn push_entry(out: &mut Out, entry: Entry) {
    out.array(2);
    push_id(out, entry.id);
    out.array(2 * entry.field_count());
    let mut buf = [0; 20];
    for (name, value) in entry.pairs() {
        out.bulk(name.bytes(&mut buf));
        out.bulk(value.bytes(&mut buf));
    }
}

/// Writes an array of entries.
fn push_entries<'s>(out: &mut Out, entries: impl Iterator<Item = Entry<'s>>) {
    let start = out.defer();
    let mut count = 0;
    for entry in entries {
        push_entry(out, entry);
        count += 1;
    }
    out.finish_array(start, count);
}

/// A limit on a number of elements, where 0 means none.
fn limit(count: u64) -> usize {
    match count {
        0 => usize::MAX,
        count => usize::try_from(count).unwrap_or(usize::MAX),
    }
}

/// The stream of a key, if it is there and has the group.
fn has_group(stream: Option<&Stream>, group: &[u8]) -> bool {
    stream.is_some_and(|stream| stream.group(group).is_some())
}

/// A key or a group that does not exist.
fn no_key_or_group(key: &[u8], group: &[u8], after: &str) -> Error {
    let start = Error::quoting("NOGROUP No such key '", key, "' or consumer group '");
    let group = Error::quoting("", group, &format!("'{after}"));
    Error::owned([start.text(), group.text()].concat())
}

/// A group that an existing key does not have.
fn no_group(group: &[u8], key: &[u8]) -> Error {
    let start = Error::quoting("NOGROUP No such consumer group '", group, "' for key name '");
    let key = Error::quoting("", key, "'");
    Error::owned([start.text(), key.text()].concat())
}

/// Commands for the log.
#[derive(Default)]
struct Log(Vec<Vec<Vec<u8>>>);

impl Log {
    fn push(&mut self, argv: &[&[u8]]) {
        self.0.push(argv.iter().map(|arg| arg.to_vec()).collect());
    }

    /// A consumer that nothing else tells of.
    fn push_consumer(&mut self, key: &[u8], group: &[u8], consumer: &[u8]) {
        self.push(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
    }

    /// How far a group has read.
    fn push_group_id(&mut self, key: &[u8], name: &[u8], last_id: Id, read: Option<i64>) {
        let read = read.unwrap_or(-1).to_string();
        let id = last_id.to_vec();
        self.push(&[b"XGROUP", b"SETID", key, name, &id, b"ENTRIESREAD", read.as_bytes()]);
    }

    /// A pending entry as it is now, and how far its group has read.
    fn push_pending(&mut self, key: &[u8], name: &[u8], group: &Group, id: Id) {
        let Some(pending) = group.pending(id) else { return };
        let time = pending.delivered_ms.to_string();
        let deliveries = (pending.deliveries as i64).to_string();
        let (id, last_id) = (id.to_vec(), group.last_id.to_vec());
        self.push(&[
            b"XCLAIM",
            key,
            name,
            &pending.consumer,
            b"0",
            &id,
            b"TIME",
            time.as_bytes(),
            b"RETRYCOUNT",
            deliveries.as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &last_id,
        ]);
    }
}
