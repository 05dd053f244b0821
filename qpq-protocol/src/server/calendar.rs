//! The date by which things end (protocol.md §5.30): a clock that jumps ends nothing.
//!
//! Messages, answers, sessions and memberships end by a date, and none of that can be undone. So the
//! server stores the latest date that it has believed. Where its clock says more than a day beyond that,
//! at a start or while it runs, its dates go on from what it believed, until it has run for a day or the
//! operator accepts the clock. A clock that goes back is not followed either.

use core::time::Duration;

use bytes::Bytes;

use crate::time::{Time, UnixTime};

/// How far beyond what was believed a clock may be, and how long it is doubted.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often the date is stored.
const STORED: Duration = Duration::from_secs(3600);

/// What a core believes of the date.
pub(super) struct Calendar {
    /// A date that was believed, and when.
    known: UnixTime,
    known_at: Time,
    /// Since when the clock has been ahead of it.
    doubted_since: Option<Time>,
    /// Whether the operator said that the clock is right.
    accepted: bool,
    stored: UnixTime,
}

impl Calendar {
    /// For a store in which the latest date is `stored`; `None` if it has none so far.
    pub(super) fn new(stored: Option<UnixTime>, now: Time, unix: UnixTime, accepted: bool) -> Self {
        Self {
            known: stored.unwrap_or(unix),
            known_at: now,
            doubted_since: None,
            accepted,
            stored: stored.unwrap_or_default(),
        }
    }

    /// The date at `now`, when the clock says `unix`.
    pub(super) fn date(&mut self, now: Time, unix: UnixTime) -> UnixTime {
        let expected = self.known + now.since(self.known_at);
        let is_ahead = unix > expected + DAY;
        let doubted = match self.doubted_since {
            _ if !is_ahead || self.accepted => None,
            Some(since) if now.since(since) >= DAY => None,
            Some(since) => Some(since),
            None => Some(now),
        };
        self.doubted_since = doubted;
        self.known = match doubted {
            Some(_) => expected,
            None => expected.max(unix),
        };
        self.known_at = now;
        self.known
    }

    /// Whether the clock is doubted now.
    pub(super) const fn doubts(&self) -> bool {
        self.doubted_since.is_some()
    }

    /// Whether this date is to be stored.
    pub(super) fn is_due(&self, date: UnixTime) -> bool {
        date >= self.stored + STORED
    }

    /// This date is on its way into the store.
    pub(super) fn store(&mut self, date: UnixTime) {
        self.stored = self.stored.max(date);
    }
}

/// A stored date: milliseconds since 1970, 8 bytes, big-endian.
pub(super) fn encode(date: UnixTime) -> Bytes {
    Bytes::copy_from_slice(&date.as_millis().to_be_bytes())
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(row: &[u8]) -> Option<UnixTime> {
    let millis = u64::from_be_bytes(row.try_into().ok()?);
    Some(UnixTime::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: UnixTime = UnixTime::from_millis(1_767_225_600_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u64) -> Time {
        Time::ZERO + HOUR * u32::try_from(hours).unwrap()
    }

    fn date(hours: u64) -> UnixTime {
        NOON + HOUR * u32::try_from(hours).unwrap()
    }

    #[test]
    fn a_clock_that_is_right_is_followed() {
        let mut calendar = Calendar::new(Some(NOON), at(0), date(20), false);
        assert_eq!(calendar.date(at(0), date(20)), date(20));
        assert_eq!(calendar.date(at(5), date(25)), date(25));
        assert!(!calendar.doubts());
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_followed_when_a_day_has_run() {
        let year = 365 * 24;
        for starts in [true, false] {
            let mut calendar = Calendar::new(Some(NOON), at(0), date(0), false);
            let from = if starts { 0 } else { 7 };
            if !starts {
                assert_eq!(calendar.date(at(7), date(7)), date(7));
            }
            for hours in from..from + 24 {
                let believed = calendar.date(at(hours), date(year + hours));
                assert_eq!(believed, date(hours));
                assert!(calendar.doubts());
            }
            let hours = from + 24;
            let believed = calendar.date(at(hours), date(year + hours));
            assert_eq!((believed, calendar.doubts()), (date(year + hours), false));
        }
    }

    #[test]
    fn a_clock_that_comes_back_is_believed_at_once() {
        let mut calendar = Calendar::new(Some(NOON), at(0), date(0), false);
        assert_eq!(calendar.date(at(1), date(9000)), date(1));
        assert_eq!(calendar.date(at(2), date(2)), date(2));
        assert!(!calendar.doubts());
        assert_eq!(calendar.date(at(3), date(9000)), date(3), "from the start");
        assert_eq!(calendar.date(at(25), date(9000)), date(25));
        assert!(calendar.doubts());
    }

    #[test]
    fn a_clock_that_goes_back_takes_no_date_back() {
        let mut calendar = Calendar::new(Some(NOON), at(0), date(0), false);
        let behind = UnixTime::from_millis(1000);
        assert_eq!(calendar.date(at(1), behind), date(1));
        assert_eq!(calendar.date(at(2), date(2)), date(2));
    }

    #[test]
    fn the_operator_may_accept_the_clock() {
        let mut calendar = Calendar::new(Some(NOON), at(0), date(9000), true);
        assert_eq!(calendar.date(at(0), date(9000)), date(9000));
    }

    #[test]
    fn the_date_is_stored_hourly_and_read_back() {
        let mut calendar = Calendar::new(None, at(0), NOON, false);
        assert!(calendar.is_due(NOON));
        calendar.store(NOON);
        assert!(!calendar.is_due(date(0)) && calendar.is_due(date(1)));
        assert_eq!(decode(&encode(NOON)), Some(NOON));
        assert_eq!(decode(b"short"), None);
    }
}
