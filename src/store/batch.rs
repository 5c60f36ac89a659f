//! Many keys on their way into a keyspace: packed by the thread that decodes them, stored by
//! another one, so that neither has to allocate or free for the other.
//!
//! Must not know where they come from.

use crate::base::table::SHORT_MAX;
use crate::data::{Flat, Value};
use crate::store::access::Aging;
use crate::store::db::{Changes, Db, Expiry};
use crate::store::entry::Source;
use crate::store::keyspace::{Hashed, Keyspace, Plan};

/// Keys and bytes of a batch that is worth handing over.
const FULL: (usize, usize) = (256, 64 * 1024);

/// What belongs to a key.
pub struct Facts {
    /// Its database.
    pub db: usize,
    /// Its deadline in Unix milliseconds.
    pub expire_at: Option<i64>,
    /// Its idle time in seconds, if known.
    pub idle_seconds: Option<u64>,
    /// Its frequency, if known.
    pub frequency: Option<u8>,
    /// Where the giver had it from.
    pub origin: u64,
}

/// A key that was there already.
pub struct Twice {
    /// Its name.
    pub key: Vec<u8>,
    /// Its database.
    pub db: usize,
    /// Where the second came from.
    pub origin: u64,
}

struct Packed {
    hash: u64,
    key_len: usize,
    content: Content,
    facts: Facts,
}

enum Content {
    /// The code of a flat value, and how many bytes it has behind the key's.
    Flat(u8, usize),
    Whole(Value),
}

/// Keys to be stored, in order.
#[derive(Default)]
pub struct Batch {
    keys: Vec<Packed>,
    /// Of each key its name, and its value if that is short and flat.
    bytes: Vec<u8>,
}

impl Batch {
    /// Adds a key.
    pub fn push(&mut self, keyspace: &Keyspace, key: &[u8], value: Value, facts: Facts) {
        self.bytes.extend_from_slice(key);
        let flat = Flat::of(&value, &mut [0; 8])
            .filter(|f| key.len() + f.bytes().len() < SHORT_MAX)
            .map(|flat| {
                self.bytes.extend_from_slice(flat.bytes());
                Content::Flat(flat.code(), flat.bytes().len())
            });
        let content = flat.unwrap_or(Content::Whole(value));
        self.keys.push(Packed { hash: keyspace.hash(key), key_len: key.len(), content, facts });
    }

    /// Whether there is enough to be worth storing.
    pub fn is_full(&self) -> bool {
        self.keys.len() >= FULL.0 || self.bytes.len() >= FULL.1
    }

    /// Stores all keys as of the time `now_ms` (Unix ms), and empties the batch.
    ///
    /// # Errors
    /// The first key that was there already, unless that is expected; nothing is stored behind it.
    pub fn store(
        &mut self,
        keyspace: &Keyspace,
        now_ms: i64,
        aging: Aging,
        replaces: bool,
    ) -> Result<(), Twice> {
        // Nobody else has much to do with a keyspace that is being loaded.
        let mut held = keyspace.hold(&Plan::All);
        // Where keys belong is far apart in memory: to look there once for all of them lets the
        // processor fetch many places at the same time.
        let place = |packed: &Packed| {
            let shard = held.shard(Keyspace::shard_of_hash(packed.hash));
            shard.parts[packed.facts.db].dict.warm_up(packed.hash)
        };
        std::hint::black_box(self.keys.iter().map(place).sum::<usize>());
        let mut rest = &self.bytes[..];
        for Packed { hash, key_len, content, facts } in self.keys.drain(..) {
            let (key, behind) = rest.split_at(key_len);
            let (source, behind) = match content {
                Content::Flat(code, len) => {
                    let (bytes, behind) = behind.split_at(len);
                    (Source::Flat(Flat::restored(code, bytes)), behind)
                }
                Content::Whole(value) => (Source::Whole(value), behind),
            };
            rest = behind;
            let hashed = Hashed { key, hash };
            let mut changes = Changes::default();
            let mut db = Db::new(&mut held, facts.db, now_ms, Expiry::Ignore, &mut changes);
            db.set_aging(aging);
            db.set_hashed(Some(hashed));
            if db.insert(key, source, facts.expire_at) && !replaces {
                return Err(Twice { key: key.to_vec(), db: facts.db, origin: facts.origin });
            }
            db.set_accesses(key, facts.idle_seconds, facts.frequency);
        }
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::list::End;
    use crate::data::quicklist::Fill;
    use crate::data::{Kind, List, Str};

    fn values() -> Vec<Value> {
        let text = |len| Str::text(&vec![b'x'; len]).into_value();
        let list = |len: usize| {
            let mut list = List::new();
            (0..len).for_each(|_| list.push(End::Left, b"element", Fill::new(-2)));
            list.into_value()
        };
        let int = Str::from_i64(-7).into_value();
        vec![int, text(0), text(200), text(251), text(252), text(9_000), list(1), list(900)]
    }

    fn facts(origin: u64, expire_at: Option<i64>) -> Facts {
        Facts { db: 1, expire_at, idle_seconds: Some(50), frequency: None, origin }
    }

    fn store(batch: &mut Batch, keyspace: &Keyspace, replaces: bool) -> Result<(), Twice> {
        batch.store(keyspace, 100_000, Aging::Lru, replaces)
    }

    #[test]
    fn keys_arrive_as_they_were() {
        let keyspace = Keyspace::new(2);
        keyspace.reserve(1, 3_000);
        let mut batch = Batch::default();
        for round in 0..3u64 {
            for (value, place) in values().into_iter().zip(0u64..) {
                let key = format!("{round} {place}").into_bytes();
                let at = (place % 2 == 0).then_some(place as i64);
                batch.push(&keyspace, &key, value, facts(0, at));
            }
            assert!(store(&mut batch, &keyspace, false).is_ok());
        }
        let mut held = keyspace.hold(&Plan::All);
        let mut changes = Changes::default();
        let mut db = Db::new(&mut held, 1, 100_000, Expiry::Ignore, &mut changes);
        for (value, place) in values().into_iter().zip(0i64..) {
            let key = format!("2 {place}").into_bytes();
            let view = db.inspect(&key).expect("a key that was stored");
            assert_eq!(*view.value(), value);
            assert_eq!(view.expire_at(), (place % 2 == 0).then_some(place));
            assert_eq!(view.idle_seconds(100_000), 50);
        }
        assert!(changes.expired.is_empty());
    }

    #[test]
    fn a_key_that_is_there_is_named_or_replaced() {
        let keyspace = Keyspace::new(2);
        let mut batch = Batch::default();
        for origin in 1..=4 {
            let key = [b"a", b"b", b"a", b"c"][origin as usize - 1];
            batch.push(
                &keyspace,
                key,
                Str::from_i64(origin as i64).into_value(),
                facts(origin, None),
            );
        }
        let twice = store(&mut batch, &keyspace, false).expect_err("a key was there");
        assert_eq!((&twice.key[..], twice.db, twice.origin), (&b"a"[..], 1, 3));
        let mut batch = Batch::default();
        batch.push(&keyspace, b"a", Str::from_i64(9).into_value(), facts(1, None));
        assert!(store(&mut batch, &keyspace, true).is_ok());
        let mut held = keyspace.hold(&Plan::All);
        let mut changes = Changes::default();
        let mut db = Db::new(&mut held, 1, 100_000, Expiry::Ignore, &mut changes);
        assert_eq!(*db.inspect(b"a").unwrap().value(), Str::from_i64(9).into_value());
        assert!(db.inspect(b"c").is_none());
    }

    #[test]
    fn it_is_full_by_keys_or_by_bytes() {
        let keyspace = Keyspace::new(2);
        for (len, most) in [(1, FULL.0), (200, FULL.0), (20_000, 4)] {
            let mut batch = Batch::default();
            let key = vec![b'k'; len];
            let mut pushed = 0;
            while !batch.is_full() {
                batch.push(&keyspace, &key, Str::from_i64(1).into_value(), facts(0, None));
                pushed += 1;
            }
            assert_eq!(pushed, most);
        }
    }
}
