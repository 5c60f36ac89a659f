//! The digest of the data set and of single values, equal to that of Redis's DEBUG DIGEST: the same
//! keys with the same values in the same databases give the same 20 bytes, whatever their encodings
//! and order.
//!
//! A key counts with its type, its value, and whether it has a deadline (not which); a database
//! with its number. All is built from two steps: [`Digest::xor`] does not care for the order in
//! which things are added, [`Digest::mix`] does.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::double::push_17_digits;
use crate::base::sha1::sha1;
use crate::data::hash::Field;
use crate::data::{Stream, Value};
use crate::store::keyspace::SHARDS;
use crate::store::{Held, View};

/// Number of the string type in Redis's object header.
const TYPE_STRING: u32 = 0;
/// Number of the list type.
const TYPE_LIST: u32 = 1;

/// Number of the set type there.
const TYPE_SET: u32 = 2;

/// Number of the sorted set type.
const TYPE_ZSET: u32 = 3;

/// Number of the hash type.
const TYPE_HASH: u32 = 4;

/// That of streams.
const TYPE_STREAM: u32 = 6;

/// Twenty bytes that tell data sets apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Digest {
    /// Adds data, in any order.
    fn xor(&mut self, data: &[u8]) {
        for (byte, other) in self.0.iter_mut().zip(sha1(data)) {
            *byte ^= other;
        }
    }

    /// Adds data behind what was added before.
    fn mix(&mut self, data: &[u8]) {
        self.xor(data);
        self.0 = sha1(&self.0);
    }

    /// Adds a value and whether its key has a deadline.
    fn mix_value(&mut self, entry: &View) {
        match &*entry.value() {
            Value::String(text) => {
                self.mix(&TYPE_STRING.to_be_bytes());
                self.mix(text.bytes(&mut [0; 20]));
            }
            Value::List(list) => {
                self.mix(&TYPE_LIST.to_be_bytes());
                list.iter().for_each(|item| self.mix(item.bytes(&mut [0; 20])));
            }
            Value::Hash(hash) => {
                self.mix(&TYPE_HASH.to_be_bytes());
                hash.fields().for_each(|field| self.xor(&digest_of_field(field).0));
            }
            Value::Set(set) => {
                self.mix(&TYPE_SET.to_be_bytes());
                set.iter().for_each(|member| self.xor(member.bytes(&mut [0; 20])));
            }
            Value::Zset(zset) => {
                self.mix(&TYPE_ZSET.to_be_bytes());
                zset.each(0..zset.len(), |member, score| {
                    self.xor(&digest_of_member(member, score).0);
                });
            }
            Value::Stream(stream) => self.mix_stream(stream),
        }
        if entry.expire_at().is_some() {
            self.xor(b"!!expire!!");
        }
    }
}

impl Digest {
    /// Redis counts the entries alone, neither groups nor counters.
    fn mix_stream(&mut self, stream: &Stream) {
        self.mix(&TYPE_STREAM.to_be_bytes());
        for entry in stream.entries().iter() {
            self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
            for (name, value) in entry.pairs() {
                self.mix(name.bytes(&mut [0; 20]));
                self.mix(value.bytes(&mut [0; 20]));
            }
        }
    }
}

fn digest_of_field(field: Field) -> Digest {
    let mut digest = Digest::default();
    digest.mix(field.name.bytes(&mut [0; 20]));
    digest.mix(field.value.bytes(&mut [0; 20]));
    if field.deadline.is_some() {
        digest.xor(b"!!hexpire!!");
    }
    digest
}

/// A member and its score, which counts with seventeen digits.
fn digest_of_member(member: &[u8], score: f64) -> Digest {
    let mut digest = Digest::default();
    digest.mix(member);
    let mut text = Vec::new();
    push_17_digits(&mut text, score);
    digest.mix(&text);
    digest
}

/// The digest of one key's value (DEBUG DIGEST-VALUE).
pub fn of_value(entry: &View) -> Digest {
    let mut digest = Digest::default();
    digest.mix_value(entry);
    digest
}

/// The digest of everything. All shards must be held.
pub fn of_held(held: &mut Held) -> Digest {
    let mut databases = Databases::default();
    for shard in 0..SHARDS {
        for (db, part) in held.shard(shard).parts.iter().enumerate() {
            databases.add(db as u32, part.dict.iter());
        }
    }
    databases.digest()
}

/// The keys of each database so far; one without keys does not count.
#[derive(Default)]
struct Databases(BTreeMap<u32, Digest>);

impl Databases {
    fn add<'a>(&mut self, db: u32, entries: impl Iterator<Item = View<'a>>) {
        for entry in entries {
            let mut key = Digest::default();
            key.mix(entry.key());
            key.mix_value(&entry);
            self.0.entry(db).or_default().xor(&key.0);
        }
    }

    fn digest(&self) -> Digest {
        let mut all = Digest::default();
        for (db, keys) in &self.0 {
            all.mix(&db.to_be_bytes());
            for (byte, other) in all.0.iter_mut().zip(keys.0) {
                *byte ^= other;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Changes, Db, Expiry, Keyspace, Plan};

    #[test]
    fn values_have_redis_digests() {
        // What DEBUG DIGEST-VALUE of Redis 7.0 answers.
        let (keyspace, mut changes) = (Keyspace::new(1), Changes::default());
        let mut held = keyspace.hold(&Plan::All);
        let mut db = Db::new(&mut held, 0, 0, Expiry::Ignore, &mut changes);
        db.set_text(b"k", b"v", None);
        let digest = of_value(&db.peek(b"k").unwrap());
        assert_eq!(digest.to_string(), "d79ee9fe5d5ad902d7f6620efc3b07b75ddd742f");
        assert_eq!(Digest::default().to_string(), "0".repeat(40));
    }
}
