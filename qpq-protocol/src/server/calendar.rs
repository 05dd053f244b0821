//! The dates by which things end (protocol.md §5.30): a clock that jumps ends nothing.
//!
//! Messages, answers, sessions and memberships end by a date, and none of that can be undone. So the
//! server stores hourly which date it believes, and counts on from there by the time that it runs. A clock
//! that is more than a day away from that, ahead or behind, at a start or while it runs, is doubted until
//! it comes back, has run for a day, or the operator accepts it. Meanwhile things end by the date that is
//! counted; but what begins lasts from the later of both dates, or it would be over too soon once the clock
//! that is ahead turns out to be the right one.

use core::time::Duration;

use bytes::Bytes;

use super::Event;
use crate::time::{Time, UnixTime};

/// How far from what is believed a clock may be, and how long it is doubted.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often the date is stored.
const STORED: Duration = Duration::from_secs(3600);

/// What a core believes of the date.
pub(super) struct Calendar {
    /// A date that was believed, and when.
    known: UnixTime,
    known_at: Time,
    /// Since when the clock has been away from it.
    doubted_since: Option<Time>,
    /// When the date was last stored, or read.
    stored_at: Option<Time>,
}

/// The dates of a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Dates {
    /// What ends at this date, or before it, is over.
    pub(super) over: UnixTime,
    /// What begins now lasts from this date.
    pub(super) lasting: UnixTime,
}

impl Calendar {
    /// For a store in which the date is `stored`; `None` if it has none so far. The operator may have
    /// said that the clock is right.
    pub(super) fn new(stored: Option<UnixTime>, now: Time, unix: UnixTime, accepted: bool) -> Self {
        let stored = stored.filter(|_| !accepted);
        Self {
            known: stored.unwrap_or(unix),
            known_at: now,
            doubted_since: None,
            stored_at: stored.map(|_| now),
        }
    }

    /// The clock says `unix`; what the operator has to know of it.
    pub(super) fn observe(&mut self, now: Time, unix: UnixTime) -> Option<Event> {
        let believed = self.counted(now);
        let is_away = believed + DAY < unix || unix + DAY < believed;
        match self.doubted_since {
            None if is_away => {
                self.doubted_since = Some(now);
                let says = unix;
                Some(Event::ClockDoubted { says, believed })
            }
            Some(since) if !is_away || now.since(since) >= DAY => {
                (self.known, self.known_at) = (unix, now);
                self.doubted_since = None;
                Some(Event::ClockBelieved { says: unix })
            }
            _ => None,
        }
    }

    /// The dates when the clock says `unix`, which was observed.
    pub(super) fn dates(&self, now: Time, unix: UnixTime) -> Dates {
        let over = match self.doubted_since {
            None => unix,
            Some(_) => self.counted(now),
        };
        Dates {
            over,
            lasting: over.max(unix),
        }
    }

    /// Whether the date is to be stored.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.stored_at.is_none_or(|at| now.since(at) >= STORED)
    }

    /// This date is on its way into the store, and is counted on from.
    pub(super) const fn store(&mut self, now: Time, date: UnixTime) {
        (self.known, self.known_at) = (date, now);
        self.stored_at = Some(now);
    }

    fn counted(&self, now: Time) -> UnixTime {
        self.known + now.since(self.known_at)
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
    const YEAR: u64 = 365 * 24;

    fn at(hours: u64) -> Time {
        Time::ZERO + HOUR * u32::try_from(hours).unwrap()
    }

    fn date(hours: u64) -> UnixTime {
        NOON + HOUR * u32::try_from(hours).unwrap()
    }

    /// What is over and what lasts at this hour, when the clock says another.
    fn dates(calendar: &mut Calendar, hour: u64, says: u64) -> [UnixTime; 2] {
        calendar.observe(at(hour), date(says));
        let dates = calendar.dates(at(hour), date(says));
        [dates.over, dates.lasting]
    }

    #[test]
    fn a_clock_that_is_right_is_followed() {
        let mut calendar = Calendar::new(Some(NOON), at(0), date(20), false);
        for (hour, says) in [(0, 20), (5, 25), (6, 24), (400, 420)] {
            assert_eq!(dates(&mut calendar, hour, says), [date(says); 2]);
        }
        assert_eq!(calendar.doubted_since, None);
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_followed_when_a_day_has_run() {
        for from in [0, 7] {
            let mut calendar = Calendar::new(Some(NOON), at(0), NOON, false);
            if from > 0 {
                assert_eq!(dates(&mut calendar, from, from), [date(from); 2]);
            }
            let doubted = Event::ClockDoubted {
                says: date(YEAR + from),
                believed: date(from),
            };
            let event = calendar.observe(at(from), date(YEAR + from));
            assert_eq!(event, Some(doubted));
            for hour in from..from + 24 {
                let (counted, says) = (date(hour), date(YEAR + hour));
                assert_eq!(dates(&mut calendar, hour, YEAR + hour), [counted, says]);
                calendar.store(at(hour), counted);
            }
            let says = date(YEAR + from + 24);
            let believed = Event::ClockBelieved { says };
            assert_eq!(calendar.observe(at(from + 24), says), Some(believed));
            assert_eq!(dates(&mut calendar, from + 24, YEAR + from + 24), [says; 2]);
        }
    }

    #[test]
    fn a_clock_that_comes_back_is_believed_at_once() {
        let mut calendar = Calendar::new(Some(NOON), at(0), NOON, false);
        assert_eq!(dates(&mut calendar, 1, YEAR), [date(1), date(YEAR)]);
        assert_eq!(dates(&mut calendar, 2, 2), [date(2); 2]);
        assert_eq!(dates(&mut calendar, 3, YEAR), [date(3), date(YEAR)]);
        assert_eq!(dates(&mut calendar, 25, YEAR), [date(25), date(YEAR)]);
    }

    #[test]
    fn a_clock_that_falls_back_is_followed_when_a_day_has_run() {
        let mut calendar = Calendar::new(Some(date(YEAR)), at(0), date(YEAR), false);
        for hour in 1..=24 {
            assert_eq!(dates(&mut calendar, hour, hour), [date(YEAR + hour); 2]);
        }
        assert_eq!(dates(&mut calendar, 25, 25), [date(25); 2]);
    }

    #[test]
    fn the_operator_may_accept_the_clock() {
        let mut calendar = Calendar::new(Some(NOON), at(0), date(YEAR), true);
        assert_eq!(dates(&mut calendar, 0, YEAR), [date(YEAR); 2]);
        assert!(calendar.is_due(at(0)));
    }

    #[test]
    fn the_date_is_stored_hourly_and_read_back() {
        let mut calendar = Calendar::new(None, at(0), NOON, false);
        assert!(calendar.is_due(at(0)));
        calendar.store(at(0), NOON);
        assert!(!calendar.is_due(at(0)) && calendar.is_due(at(1)));
        assert_eq!(decode(&encode(NOON)), Some(NOON));
        assert_eq!(decode(b"short"), None);
    }
}
