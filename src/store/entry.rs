//! One key of the keyspace: its name, value, deadline and last access.

use crate::base::small::SmallBytes;
use crate::data::Value;
use crate::store::dict::Slot;

/// The deadline of a key that has none.
pub const NO_EXPIRE: i64 = -1;

/// A key and what belongs to it.
#[derive(Clone)]
pub struct Entry {
    key: SmallBytes,
    /// The value.
    pub value: Value,
    /// Unix milliseconds, or [`NO_EXPIRE`]. Private, because the deadline index must agree with it.
    expire_at: i64,
    /// Unix seconds of the last access.
    access: u32,
}

impl Entry {
    /// A key without a deadline, accessed just now.
    pub fn new(key: &[u8], value: Value, now_ms: i64) -> Self {
        let access = seconds(now_ms);
        Entry { key: SmallBytes::new(key), value, expire_at: NO_EXPIRE, access }
    }

    /// Unix milliseconds of the deadline, if there is one.
    pub fn expire_at(&self) -> Option<i64> {
        (self.expire_at != NO_EXPIRE).then_some(self.expire_at)
    }

    /// Sets the deadline alone; only a shard may, which keeps the index of deadlines.
    pub(super) fn set_expire_at(&mut self, at: Option<i64>) {
        self.expire_at = at.unwrap_or(NO_EXPIRE);
    }

    /// Whether the deadline has passed. Redis lets a key live through the millisecond of its
    /// deadline.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expire_at != NO_EXPIRE && now_ms > self.expire_at
    }

    /// Notes an access.
    pub fn touch(&mut self, now_ms: i64) {
        self.access = seconds(now_ms);
    }

    /// Pretends that the last access was that many seconds ago.
    pub fn set_idle_seconds(&mut self, idle: u64, now_ms: i64) {
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        self.access = seconds(now_ms).saturating_sub(idle);
    }

    /// Seconds since the last access.
    pub fn idle_seconds(&self, now_ms: i64) -> u64 {
        u64::from(seconds(now_ms).saturating_sub(self.access))
    }

    /// Bytes that the key takes: the entry, the name and the value.
    pub fn memory(&self) -> usize {
        size_of::<Entry>() + self.key.heap_size() + self.value.heap_size()
    }
}

impl Slot for Entry {
    fn key(&self) -> &[u8] {
        self.key.as_slice()
    }
}

fn seconds(now_ms: i64) -> u32 {
    u32::try_from(now_ms / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Str;

    #[test]
    fn layout_and_deadline() {
        assert_eq!(size_of::<Entry>(), 64);
        let mut entry = Entry::new(b"k", Value::String(Str::from_i64(1)), 5_000);
        assert!(!entry.is_expired(i64::MAX));
        entry.set_expire_at(Some(6_000));
        assert!(!entry.is_expired(6_000) && entry.is_expired(6_001));
        assert_eq!(entry.idle_seconds(9_999), 4);
    }
}
