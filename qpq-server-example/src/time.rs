//! The system's date, for cores that know none, and dates as people read them.
//!
//! A test of what a wrong clock does sets `QPQ_TEST_CLOCK_OFFSET` to the seconds by which the clock of
//! one process is to be off, with a sign before them.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use qpq_protocol::time::UnixTime;

/// The environment variable by which a test puts a clock wrong.
const OFFSET: &str = "QPQ_TEST_CLOCK_OFFSET";

/// The date now; 1970 if the system's clock is before that.
#[must_use]
pub fn unix_now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    UnixTime::from_millis(millis.saturating_add_signed(offset_ms()))
}

fn offset_ms() -> i64 {
    let seconds = std::env::var(OFFSET).ok();
    let seconds = seconds.and_then(|seconds| seconds.parse::<i64>().ok());
    seconds.map_or(0, |seconds| seconds.saturating_mul(1000))
}

/// A date here, to the second, with the offset of this place's time from UTC.
#[must_use]
pub fn date(unix: UnixTime) -> String {
    date_in(unix, &TimeZone::system())
}

fn date_in(unix: UnixTime, zone: &TimeZone) -> String {
    let millis = i64::try_from(unix.as_millis()).ok();
    let shown = millis
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .map(|date| {
            date.to_zoned_datetime(zone.clone())
                .strftime("%Y-%m-%d %H:%M:%S %:z")
                .to_string()
        });
    // Writers say what they like.
    shown.unwrap_or_else(|| "(no date)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_place_and_say_so() {
        let at =
            |seconds: u64, zone: &TimeZone| date_in(UnixTime::from_millis(seconds * 1000), zone);
        assert_eq!(at(0, &TimeZone::UTC), "1970-01-01 00:00:00 +00:00");
        assert_eq!(
            at(951_782_400, &TimeZone::UTC),
            "2000-02-29 00:00:00 +00:00"
        );
        let india = TimeZone::fixed(jiff::tz::Offset::from_seconds(19_800).unwrap());
        assert_eq!(at(1_795_257_845, &india), "2026-11-21 16:14:05 +05:30");
        // The largest there is.
        assert_eq!(
            date_in(UnixTime::from_millis(u64::MAX), &TimeZone::UTC),
            "(no date)"
        );
    }
}
