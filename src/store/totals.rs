//! What all shards add up to, gathered from one after the other: the numbers behind INFO and MEMORY
//! STATS.

use crate::store::shard::{Shard, ShardStats};

/// One database.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct DbTotals {
    /// Keys.
    pub keys: u64,
    /// Keys with a deadline.
    pub volatile: u64,
    /// Keys with deadlines inside of their values.
    pub inner_volatile: u64,
    /// Sum of the deadlines, in Unix ms.
    deadlines: i128,
    /// Bytes of the tables, without the entries in them.
    pub tables: u64,
    /// Bytes of the indexes of deadlines.
    pub deadline_indexes: u64,
}

impl DbTotals {
    /// Mean time to live of the keys with a deadline, in ms.
    pub fn mean_ttl_ms(&self, now_ms: i64) -> i64 {
        match i128::from(self.volatile) {
            0 => 0,
            n => {
                i64::try_from(self.deadlines / n).unwrap_or(i64::MAX).saturating_sub(now_ms).max(0)
            }
        }
    }
}

/// All databases, and the counters of the shards.
#[derive(Debug, Default)]
pub struct Totals {
    /// By number.
    pub databases: Vec<DbTotals>,
    /// Hits, misses, expired keys.
    pub stats: ShardStats,
}

impl Totals {
    /// Adds a shard: constant time for each database.
    pub fn add(&mut self, shard: &Shard) {
        self.stats.hits += shard.stats.hits;
        self.stats.misses += shard.stats.misses;
        self.stats.expired += shard.stats.expired;
        self.stats.expired_fields += shard.stats.expired_fields;
        self.databases.resize(shard.parts.count(), DbTotals::default());
        for (total, part) in self.databases.iter_mut().zip(shard.parts.iter()) {
            let (table, index) = part.overhead();
            total.keys += part.dict.len() as u64;
            total.volatile += part.volatile() as u64;
            total.inner_volatile += part.inner_volatile() as u64;
            total.deadlines += part.deadline_sum();
            total.tables += table as u64;
            total.deadline_indexes += index as u64;
        }
    }

    /// (number, totals) of the databases that are not empty.
    pub fn in_use(&self) -> impl Iterator<Item = (usize, &DbTotals)> {
        self.databases.iter().enumerate().filter(|(_, db)| db.keys > 0)
    }

    /// Keys of all databases.
    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|db| db.keys).sum()
    }

    /// Bytes of all tables and indexes.
    pub fn overhead(&self) -> u64 {
        self.databases.iter().map(|db| db.tables + db.deadline_indexes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Str, Value};
    use crate::store::{Changes, Db, Expiry, Keyspace, Plan};

    fn totals(keyspace: &Keyspace) -> Totals {
        let mut totals = Totals::default();
        keyspace.each_shard(|shard| totals.add(shard));
        totals
    }

    #[test]
    fn deadlines_are_averaged_over_shards() {
        let keyspace = Keyspace::new(2);
        let mut changes = Changes::default();
        let mut held = keyspace.hold(&Plan::All);
        let mut db = Db::new(&mut held, 1, 1000, Expiry::Delete, &mut changes);
        let value = || Value::String(Str::from_i64(1));
        for i in 0..100 {
            db.set(format!("k{i}").as_bytes(), value(), Some(2000 + i));
        }
        db.set(b"plain", value(), None);
        drop(held);
        let all = totals(&keyspace);
        assert_eq!((all.keys(), all.databases[1].volatile), (101, 100));
        assert_eq!(all.databases[1].mean_ttl_ms(1000), 1049);
        assert_eq!((all.databases[0].mean_ttl_ms(1000), all.in_use().count()), (0, 1));
        assert!(all.overhead() > 0);
        let mut held = keyspace.hold(&Plan::All);
        let mut db = Db::new(&mut held, 1, 1000, Expiry::Delete, &mut changes);
        for i in 0..99 {
            let key = format!("k{i}");
            match i % 4 {
                0 => assert!(db.remove(key.as_bytes())),
                1 => assert!(db.set_expire(key.as_bytes(), None)),
                2 => db.set(key.as_bytes(), value(), None),
                _ => assert!(db.set_expire(key.as_bytes(), Some(5000))),
            }
        }
        drop(held);
        // 24 keys with the new deadline and the last one with its old.
        assert_eq!(totals(&keyspace).databases[1].volatile, 25);
        assert_eq!(totals(&keyspace).databases[1].mean_ttl_ms(0), (24 * 5000 + 2099) / 25);
    }
}
