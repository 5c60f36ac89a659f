//! The base of the append-only file: the keyspace as an RDB file, or as the commands that make it.
//!
//! Must not know who asks for it, or what becomes of the file. As commands, a collection is a few
//! of them with at most [`ITEMS`] items each, so that loading one never needs much memory at once.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::base::clock;
use crate::data::Value;
use crate::log::tail::{annotation, encode};
use crate::state::Server;
use crate::state::persistence::{self, Contents, Epoch, Progress, Until};
use crate::store::dict::Slot;
use crate::store::entry::Entry;
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
        write_commands(server, snapshot, &epoch, file, until)?
    };
    file.sync_all()
}

fn write_commands<W: Write>(
    server: &Server,
    mut snapshot: Snapshot,
    _epoch: &Epoch,
    out: W,
    until: Until,
) -> io::Result<W> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    if server.config.get().aof_timestamp_enabled {
        out.write_all(annotation(clock::unix_ms() / 1000).as_bytes())?;
    }
    let mut progress = Progress::new(server, &snapshot, until);
    let mut selected = None;
    let mut commands = Vec::new();
    while let Some(batch) = snapshot.next_batch() {
        if selected != Some(batch.db) {
            selected = Some(batch.db);
            encode(&mut commands, &[b"SELECT", batch.db.to_string().as_bytes()]);
        }
        for entry in &batch.entries {
            push_entry(&mut commands, entry);
            out.write_all(&commands)?;
            commands.clear();
            progress.key(server)?;
        }
        progress.report(server);
    }
    drop(snapshot);
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

/// The commands that make a key.
fn push_entry(out: &mut Vec<u8>, entry: &Entry) {
    push_value(out, entry.key(), &entry.value);
    if let Some(at) = entry.expire_at() {
        encode(out, &[b"PEXPIREAT", entry.key(), at.to_string().as_bytes()]);
    }
}

/// The commands that make a value.
fn push_value(out: &mut Vec<u8>, key: &[u8], value: &Value) {
    match value {
        Value::String(text) => encode(out, &[b"SET", key, text.bytes(&mut [0; 20])]),
        // These types have no elements yet, and so no key holds one.
        Value::List(_) | Value::Hash(_) | Value::Set(_) | Value::Zset(_) | Value::Stream(_) => {}
    }
}
