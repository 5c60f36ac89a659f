//! The base of the append-only file: the keyspace as an RDB file, or as the commands that make it.
//!
//! Must not know who asks for it, or what becomes of the file. As commands, a collection is a few
//! of them with at most [`ITEMS`] items each, so that loading one never needs much memory at once.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::base::{clock, double};
use crate::data::stream::{Group, Id};
use crate::data::{Hash, List, Set, Stream, Value, Zset};
use crate::log::tail::{annotation, begin_command, encode, push_arg};
use crate::state::Server;
use crate::state::persistence::{self, Contents, Progress, Until};
use crate::store::View;
use crate::store::snapshot::Snapshot;

/// Items of a collection in one command, as in Redis.
const ITEMS: usize = 64;

/// Writes the keyspace, as it is now, to a file. `at_epoch` runs while all shards are held, and
/// `behind` right after that.
pub fn write_base(
    server: &Server,
    path: &Path,
    at_epoch: impl FnOnce(),
    behind: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let settings = server.config.get();
    let file = File::create(path)?;
    let (snapshot, epoch) = persistence::begin_snapshot(server, at_epoch);
    behind()?;
    let until = Until::Rewritten;
    let file = if settings.aof_use_rdb_preamble {
        persistence::write_snapshot(server, snapshot, &epoch, file, until, Contents::Base)?
    } else {
        write_commands(server, snapshot, file, until)?
    };
    file.sync_all()
}

fn write_commands<W: Write>(
    server: &Server,
    mut snapshot: Snapshot,
    out: W,
    until: Until,
) -> io::Result<W> {
    let mut out = Commands::new(BufWriter::with_capacity(1 << 16, out));
    if server.config.get().aof_timestamp_enabled {
        out.line(annotation(clock::unix_ms() / 1000).as_bytes())?;
    }
    let mut progress = Progress::new(server, &snapshot, until);
    let mut selected = None;
    while let Some(batch) = snapshot.next_batch() {
        if selected != Some(batch.db) {
            selected = Some(batch.db);
            out.command(&[b"SELECT", batch.db.to_string().as_bytes()])?;
        }
        for key in batch.keys() {
            write_entry(&mut out, &key)?;
            progress.key(server)?;
        }
        progress.report(server, &mut snapshot);
    }
    drop(snapshot);
    out.out.into_inner().map_err(io::IntoInnerError::into_error)
}

/// Writes commands, with a buffer for one.
struct Commands<W: Write> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> Commands<W> {
    fn new(out: W) -> Self {
        Commands { out, buffer: Vec::new() }
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.out.write_all(line)
    }

    fn command(&mut self, argv: &[&[u8]]) -> io::Result<()> {
        encode(&mut self.buffer, argv);
        self.flush()
    }

    /// Writes what is in the buffer.
    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.write_all(&self.buffer);
        self.buffer.clear();
        self.buffer.shrink_to(1 << 16);
        result
    }

    /// Begins to write a collection, as commands with this name and key and a part of its items.
    fn items<'a>(
        &'a mut self,
        name: &'a [u8],
        key: &'a [u8],
        items: usize,
        width: usize,
    ) -> Items<'a, W> {
        Items { commands: self, name, key, left: items, in_command: 0, width, result: Ok(()) }
    }
}

/// The items of a collection, `width` arguments each.
struct Items<'a, W: Write> {
    commands: &'a mut Commands<W>,
    name: &'a [u8],
    key: &'a [u8],
    left: usize,
    /// How many more belong to the command that was begun.
    in_command: usize,
    width: usize,
    result: io::Result<()>,
}

impl<W: Write> Items<'_, W> {
    fn add(&mut self, parts: &[&[u8]]) {
        if self.result.is_err() {
            return;
        }
        let buffer = &mut self.commands.buffer;
        if self.in_command == 0 {
            self.in_command = self.left.min(ITEMS);
            self.left -= self.in_command;
            encode_head(buffer, self.name, self.key, self.in_command * self.width);
        }
        parts.iter().for_each(|part| push_arg(buffer, part));
        self.in_command -= 1;
        if self.in_command == 0 {
            self.result = self.commands.flush();
        }
    }

    fn finish(self) -> io::Result<()> {
        self.result
    }
}

fn encode_head(out: &mut Vec<u8>, name: &[u8], key: &[u8], more: usize) {
    begin_command(out, 2 + more);
    push_arg(out, name);
    push_arg(out, key);
}

/// Writes the commands that make a key.
fn write_entry<W: Write>(out: &mut Commands<W>, entry: &View) -> io::Result<()> {
    let key = entry.key();
    match &*entry.value() {
        Value::String(text) => out.command(&[b"SET", key, text.bytes(&mut [0; 20])]),
        Value::List(list) => write_list(out, key, list),
        Value::Hash(hash) => write_hash(out, key, hash),
        Value::Set(set) => write_set(out, key, set),
        Value::Zset(zset) => write_zset(out, key, zset),
        Value::Stream(stream) => write_stream(out, key, stream),
    }?;
    match entry.expire_at() {
        Some(at) => out.command(&[b"PEXPIREAT", key, at.to_string().as_bytes()]),
        None => Ok(()),
    }
}

fn write_list<W: Write>(out: &mut Commands<W>, key: &[u8], list: &List) -> io::Result<()> {
    let mut items = out.items(b"RPUSH", key, list.len(), 1);
    list.iter().for_each(|item| items.add(&[item.bytes(&mut [0; 20])]));
    items.finish()
}

fn write_set<W: Write>(out: &mut Commands<W>, key: &[u8], set: &Set) -> io::Result<()> {
    let mut items = out.items(b"SADD", key, set.len(), 1);
    set.iter().for_each(|item| items.add(&[item.bytes(&mut [0; 20])]));
    items.finish()
}

fn write_zset<W: Write>(out: &mut Commands<W>, key: &[u8], zset: &Zset) -> io::Result<()> {
    let mut items = out.items(b"ZADD", key, zset.len(), 2);
    let mut text = Vec::new();
    zset.each(0..zset.len(), |member, score| {
        text.clear();
        double::push_17_digits(&mut text, score);
        items.add(&[&text, member]);
    });
    items.finish()
}

fn write_hash<W: Write>(out: &mut Commands<W>, key: &[u8], hash: &Hash) -> io::Result<()> {
    let mut items = out.items(b"HMSET", key, hash.len(), 2);
    for field in hash.fields() {
        items.add(&[field.name.bytes(&mut [0; 20]), field.value.bytes(&mut [0; 20])]);
    }
    items.finish()?;
    for field in hash.fields() {
        if let Some(at) = field.deadline {
            let (name, at) = (&mut [0; 20], at.to_string());
            let name = field.name.bytes(name);
            out.command(&[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", name])?;
        }
    }
    Ok(())
}

/// The entries, then what XADD does not tell: the last id, the counters and the groups. An empty
/// stream is made by an entry that is trimmed at once.
fn write_stream<W: Write>(out: &mut Commands<W>, key: &[u8], stream: &Stream) -> io::Result<()> {
    let entries = stream.entries();
    for entry in entries.iter() {
        let mut argv = vec![b"XADD".to_vec(), key.to_vec(), entry.id.to_vec()];
        argv.extend(entry.pairs().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]));
        out.command(&argv.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    }
    if entries.len() == 0 {
        out.command(&[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"])?;
    }
    // A damaged RDB file may have brought counters that XSETID would refuse.
    let counters = entries.counters();
    let added = counters.entries_added.max(entries.len()).min(i64::MAX as u64).to_string();
    let deleted = counters.max_deleted_id.min(counters.last_id).to_vec();
    let last = counters.last_id.to_vec();
    let added = added.as_bytes();
    out.command(&[b"XSETID", key, &last, b"ENTRIESADDED", added, b"MAXDELETEDID", &deleted])?;
    stream.groups().try_for_each(|(name, group)| write_group(out, key, name, group))
}

/// A group, its consumers, and which entries wait for whose acknowledgement.
fn write_group<W: Write>(
    out: &mut Commands<W>,
    key: &[u8],
    name: &[u8],
    group: &Group,
) -> io::Result<()> {
    let (id, read) = (group.last_id.to_vec(), group.entries_read.unwrap_or(-1).max(-1).to_string());
    out.command(&[b"XGROUP", b"CREATE", key, name, &id, b"ENTRIESREAD", read.as_bytes()])?;
    for (consumer, its) in group.consumers() {
        if its.pending_len() == 0 {
            out.command(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer])?;
        }
    }
    for (id, pending) in group.pending_from(Id::MIN) {
        let deliveries = pending.deliveries.min(i64::MAX as u64).to_string();
        out.command(&[
            b"XCLAIM",
            key,
            name,
            &pending.consumer,
            b"0",
            &id.to_vec(),
            b"TIME",
            pending.delivered_ms.to_string().as_bytes(),
            b"RETRYCOUNT",
            deliveries.as_bytes(),
            b"JUSTID",
            b"FORCE",
        ])?;
    }
    Ok(())
}
