//! L2: the keyspace. Keys, their values and deadlines, in shards that are locked one by one.
//!
//! Must not know clients, replies or the log. Invariants: a value changes only through [`Db`],
//! which sees to the snapshot, the deadline index and the counters; no I/O happens while a shard's
//! guard is held.

pub mod access;
pub mod batch;
pub mod db;
mod deadlines;
pub mod dict;
pub mod entry;
pub mod events;
pub mod keyspace;
pub mod shard;
pub mod snapshot;
pub mod spares;
pub mod totals;
pub mod waiting;

pub use access::Aging;
pub use db::{Changes, Db, Expiry, Note, WrongType};
pub use entry::View;
pub use events::{Event, EventClasses};
pub use keyspace::{Hashed, Held, Keyspace, Plan, ShardSet, WARMED_UP};
