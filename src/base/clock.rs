//! Wall-clock time as Redis counts it: Unix milliseconds in an `i64`.
//!
//! A command reads the clock once and passes the value on, so that one command never sees two
//! times.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; a clock set before 1970 reads as zero.
pub fn unix_ms() -> i64 {
    Moment::now().unix_ms()
}

/// Microseconds since the Unix epoch; a clock set before 1970 reads as zero.
pub fn unix_us() -> i64 {
    Moment::now().unix_us()
}

/// One reading of the clock, for what needs both the time and how long something takes. Reading it
/// costs as much as a small command's work.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Nanoseconds since the Unix epoch, which suffices until the year 2554.
    unix_nanos: u64,
}

impl Moment {
    /// Reads the clock.
    #[inline]
    pub fn now() -> Moment {
        let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::from(passed.subsec_nanos());
        Moment { unix_nanos: passed.as_secs().wrapping_mul(1_000_000_000).wrapping_add(nanos) }
    }

    /// Milliseconds since the Unix epoch.
    pub fn unix_ms(self) -> i64 {
        (self.unix_nanos / 1_000_000) as i64
    }

    /// Nanoseconds that have passed since; none where the clock has been set back.
    pub fn nanos_since(self) -> u64 {
        Moment::now().unix_nanos.saturating_sub(self.unix_nanos)
    }

    fn unix_us(self) -> i64 {
        (self.unix_nanos / 1000) as i64
    }
}

/// Splits Unix seconds into (year, month 1-12, day 1-31, hour, minute, second), in UTC.
///
/// The day arithmetic is the usual civil-from-days computation on a year that starts in March.
pub fn civil_utc(unix_seconds: i64) -> (i64, u32, u32, u32, u32, u32) {
    let days = unix_seconds.div_euclid(86_400);
    let second_of_day = unix_seconds.rem_euclid(86_400) as u32;
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates() {
        assert_eq!(civil_utc(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(civil_utc(951_782_399), (2000, 2, 28, 23, 59, 59));
        assert_eq!(civil_utc(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(civil_utc(4_102_444_799), (2099, 12, 31, 23, 59, 59));
    }
}
