//! What is kept of a key's accesses: one word, which a policy of eviction reads its way.
//!
//! Must not know the key.

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

/// Unix seconds of the last access; under an LFU policy the counter in the lowest byte and above it
/// 16 bits of the Unix minute in which it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u32);

impl Access {
    /// The first access of a key.
    pub fn new(now_ms: i64, aging: Aging) -> Access {
        match aging {
            Aging::Lru => Access(seconds(now_ms)),
            Aging::Lfu { .. } => Access::of_frequency(FREQUENCY_AT_FIRST, now_ms),
        }
    }

    /// So many accesses.
    pub fn of_frequency(frequency: u8, now_ms: i64) -> Access {
        Access(u32::from(minutes(now_ms)) << 8 | u32::from(frequency))
    }

    /// A last access so many seconds ago.
    pub fn of_idle_seconds(idle: u64, now_ms: i64) -> Access {
        let idle = u32::try_from(idle).unwrap_or(u32::MAX);
        Access(seconds(now_ms).saturating_sub(idle))
    }

    /// With one more access. `random` decides whether a counter rises.
    pub fn touched(self, now_ms: i64, aging: Aging, random: impl FnOnce() -> u64) -> Access {
        match aging {
            Aging::Lru => Access(seconds(now_ms)),
            Aging::Lfu { log_factor, .. } => {
                let counter = self.frequency(now_ms, aging);
                let above = u64::from(counter.saturating_sub(FREQUENCY_AT_FIRST));
                // With a probability of one in `odds`.
                let odds = above.saturating_mul(log_factor).saturating_add(1);
                let rises = random() <= u64::MAX / odds;
                Access::of_frequency(counter.saturating_add(u8::from(rises)), now_ms)
            }
        }
    }

    /// The counter of accesses under an LFU policy, as it is after the time that has passed.
    pub fn frequency(self, now_ms: i64, aging: Aging) -> u8 {
        let counter = self.0 as u8;
        let Aging::Lfu { decay_minutes, .. } = aging else { return counter };
        if decay_minutes == 0 {
            return counter;
        }
        // The minutes wrap around after 45 days, as in Redis.
        let passed = minutes(now_ms).wrapping_sub((self.0 >> 8) as u16);
        let fallen = u64::from(passed) / decay_minutes;
        counter.saturating_sub(u8::try_from(fallen).unwrap_or(u8::MAX))
    }

    /// Seconds since the last access.
    pub fn idle_seconds(self, now_ms: i64) -> u64 {
        u64::from(seconds(now_ms).saturating_sub(self.0))
    }

    /// As bytes.
    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    /// What [`Access::to_bytes`] gave.
    pub(super) fn restored(bytes: [u8; 4]) -> Access {
        Access(u32::from_le_bytes(bytes))
    }
}

fn minutes(now_ms: i64) -> u16 {
    (now_ms / 60_000) as u16
}

fn seconds(now_ms: i64) -> u32 {
    u32::try_from(now_ms / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_times() {
        assert_eq!(Access::new(5_000, Aging::Lru).idle_seconds(9_999), 4);
        let old = Access::of_idle_seconds(7, 9_000);
        assert_eq!((old.idle_seconds(9_000), Access::restored(old.to_bytes())), (7, old));
        assert_eq!(old.touched(9_000, Aging::Lru, || 0).idle_seconds(9_000), 0);
    }

    #[test]
    fn counters_rise_ever_more_slowly_and_fall_with_time() {
        let aging = Aging::Lfu { log_factor: 10, decay_minutes: 1 };
        let access = Access::new(0, aging);
        assert_eq!(access.frequency(0, aging), 5);
        let access = access.touched(0, aging, || u64::MAX);
        assert_eq!(access.frequency(0, aging), 6);
        // One in eleven now.
        let access = access.touched(0, aging, || u64::MAX / 10);
        assert_eq!(access.frequency(0, aging), 6);
        let access = access.touched(0, aging, || u64::MAX / 12);
        assert_eq!((access.frequency(0, aging), access.frequency(180_000, aging)), (7, 4));
        assert_eq!(access.frequency(60_000 * 1000, aging), 0);
        let never = Aging::Lfu { log_factor: 10, decay_minutes: 0 };
        assert_eq!(access.frequency(60_000 * 1000, never), 7);
    }
}
