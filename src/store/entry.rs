//! One key of the keyspace: its name, value, deadline and last access.

use crate::base::small::SmallBytes;
use crate::data::Value;
use crate::store::dict::Slot;

/// The deadline of a key that has none.
pub const NO_EXPIRE: i64 = -1;

/// The frequency that a new key begins with, so that it is not the first to go.
const FREQUENCY_AT_FIRST: u8 = 5;

/// What is kept about accesses, for eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aging {
    /// When the last one was.
    Lru,
    /// How many there were, as a logarithmic counter that falls with time.
    Lfu {
        /// How much more seldom a high counter rises: `lfu-log-factor`.
        log_factor: u64,
        /// Minutes after which the counter falls by one; 0 for never: `lfu-decay-time`.
        decay_minutes: u64,
    },
}

/// A key and what belongs to it.
#[derive(Clone)]
pub struct Entry {
    key: SmallBytes,
    /// The value.
    pub value: Value,
    /// Unix milliseconds, or [`NO_EXPIRE`]. Private, because the deadline index must agree with it.
    expire_at: i64,
    /// Unix seconds of the last access; under an LFU policy the counter in the lowest byte and
    /// above it 16 bits of the Unix minute in which it was last changed.
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

    /// Notes an access. `random` decides whether a counter rises.
    pub fn touch(&mut self, now_ms: i64, aging: Aging, random: impl FnOnce() -> u64) {
        self.access = match aging {
            Aging::Lru => seconds(now_ms),
            Aging::Lfu { log_factor, .. } => {
                let counter = self.frequency(now_ms, aging);
                let above = u64::from(counter.saturating_sub(FREQUENCY_AT_FIRST));
                // With a probability of one in `odds`.
                let odds = above.saturating_mul(log_factor).saturating_add(1);
                let rises = random() <= u64::MAX / odds;
                lfu(now_ms, counter.saturating_add(u8::from(rises)))
            }
        };
    }

    /// Begins to count the accesses of a new key.
    pub fn begin(&mut self, now_ms: i64, aging: Aging) {
        if aging != Aging::Lru {
            self.set_frequency(FREQUENCY_AT_FIRST, now_ms);
        }
    }

    /// The counter of accesses under an LFU policy, as it is after the time that has passed.
    pub fn frequency(&self, now_ms: i64, aging: Aging) -> u8 {
        let counter = self.access as u8;
        let Aging::Lfu { decay_minutes, .. } = aging else { return counter };
        if decay_minutes == 0 {
            return counter;
        }
        // The minutes wrap around after 45 days, as in Redis.
        let passed = minutes(now_ms).wrapping_sub((self.access >> 8) as u16);
        let fallen = u64::from(passed) / decay_minutes;
        counter.saturating_sub(u8::try_from(fallen).unwrap_or(u8::MAX))
    }

    /// Sets the counter of accesses.
    pub fn set_frequency(&mut self, frequency: u8, now_ms: i64) {
        self.access = lfu(now_ms, frequency);
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

fn minutes(now_ms: i64) -> u16 {
    (now_ms / 60_000) as u16
}

fn lfu(now_ms: i64, counter: u8) -> u32 {
    u32::from(minutes(now_ms)) << 8 | u32::from(counter)
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

    #[test]
    fn counters_rise_ever_more_slowly_and_fall_with_time() {
        let aging = Aging::Lfu { log_factor: 10, decay_minutes: 1 };
        let mut entry = Entry::new(b"k", Value::String(Str::from_i64(1)), 0);
        entry.begin(0, aging);
        assert_eq!(entry.frequency(0, aging), 5);
        entry.touch(0, aging, || u64::MAX);
        assert_eq!(entry.frequency(0, aging), 6);
        // One in eleven now.
        entry.touch(0, aging, || u64::MAX / 10);
        assert_eq!(entry.frequency(0, aging), 6);
        entry.touch(0, aging, || u64::MAX / 12);
        assert_eq!((entry.frequency(0, aging), entry.frequency(180_000, aging)), (7, 4));
        assert_eq!(entry.frequency(60_000 * 1000, aging), 0);
        let never = Aging::Lfu { log_factor: 10, decay_minutes: 0 };
        assert_eq!(entry.frequency(60_000 * 1000, never), 7);
    }
}
