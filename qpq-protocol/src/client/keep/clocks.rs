//! What time it is where something cannot be undone (protocol.md §5.30).
//!
//! The clock of a device may be wrong, and so may the server's. A date counts as past when both clocks
//! were beyond it at two openings a day apart; an opening at which they differ counts for nothing, and
//! while they differ nothing is done at all.

use core::time::Duration;

use super::record::ClocksRecord;
use crate::time::Time;

/// Between the two openings that make a date past.
const APART: u64 = 86_400_000;
/// Clocks that are further apart differ.
const TOLERANCE: u64 = 5 * 60_000;

/// What both clocks have shown.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in crate::client) struct Clocks {
    /// Both clocks were beyond this date at an opening, and a day beyond it at a later one.
    past_ms: u64,
    /// What both were beyond at an opening that waits for its second.
    seen_ms: u64,
    /// The server's time as it was heard on this connection, and when.
    heard: Option<(Time, u64)>,
}

impl Clocks {
    /// The server told its time; whether anything durable changed. A server that tells none says 0.
    pub(in crate::client) fn hear(&mut self, now: Time, own_ms: u64, server_ms: u64) -> bool {
        self.heard = (server_ms > 0).then_some((now, server_ms));
        if !self.agree(now, own_ms) {
            return false;
        }
        let both = own_ms.min(server_ms);
        let before = (self.past_ms, self.seen_ms);
        if both >= self.seen_ms.saturating_add(APART) {
            // The first opening of all has none before it.
            self.past_ms = self.past_ms.max(self.seen_ms);
            self.seen_ms = both;
        } else if both < self.seen_ms {
            // Both were ahead and came back: that was no opening to count.
            self.seen_ms = both;
            self.past_ms = self.past_ms.min(both);
        }
        before != (self.past_ms, self.seen_ms)
    }

    /// The connection is gone, and with it what the server told.
    pub(in crate::client) fn forget(&mut self) {
        self.heard = None;
    }

    /// Whether what waits for this date may be done though it cannot be undone.
    pub(in crate::client) fn is_past(&self, now: Time, own_ms: u64, date_ms: u64) -> bool {
        self.agree(now, own_ms) && date_ms <= self.past_ms
    }

    /// The date of something that is made now: not before what is known to be past, so that nothing is
    /// old because a clock was behind when it was made.
    pub(in crate::client) fn date(&self, own_ms: u64) -> u64 {
        own_ms.max(self.seen_ms)
    }

    /// The server's time, if it has told it on this connection.
    pub(in crate::client) fn server_ms(&self, now: Time) -> Option<u64> {
        let (at, server_ms) = self.heard?;
        let since = now.as_micros().saturating_sub(at.as_micros());
        let since = u64::try_from(Duration::from_micros(since).as_millis()).unwrap_or(u64::MAX);
        Some(server_ms.saturating_add(since))
    }

    /// Whether the two clocks show the same, as far as that can be known.
    fn agree(&self, now: Time, own_ms: u64) -> bool {
        let server_ms = self.server_ms(now);
        server_ms.is_some_and(|server_ms| server_ms.abs_diff(own_ms) <= TOLERANCE)
    }

    pub(in crate::client) const fn record(&self) -> ClocksRecord {
        ClocksRecord {
            past_ms: self.past_ms,
            seen_ms: self.seen_ms,
        }
    }

    pub(in crate::client) const fn load(record: &ClocksRecord) -> Self {
        Self {
            past_ms: record.past_ms,
            seen_ms: record.seen_ms,
            heard: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const NOW: Time = Time::ZERO;
    const TODAY: u64 = 20_000 * DAY;

    #[test]
    fn a_date_is_past_when_both_clocks_said_so_twice() {
        let mut clocks = Clocks::default();
        assert!(clocks.hear(NOW, TODAY, TODAY));
        assert!(!clocks.is_past(NOW, TODAY, TODAY - DAY), "seen once");
        assert!(!clocks.hear(NOW, TODAY + DAY - 1, TODAY + DAY - 1));
        assert!(!clocks.is_past(NOW, TODAY + DAY - 1, TODAY - DAY));
        assert!(clocks.hear(NOW, TODAY + DAY, TODAY + DAY));
        assert!(clocks.is_past(NOW, TODAY + DAY, TODAY));
        assert!(!clocks.is_past(NOW, TODAY + DAY, TODAY + 1));
        assert_eq!(Clocks::load(&clocks.record()).past_ms, TODAY);
    }

    #[test]
    fn one_wrong_clock_makes_nothing_past() {
        const YEAR: u64 = 365 * DAY;
        for (own, server) in [(YEAR, 0), (0, YEAR), (YEAR, 2 * YEAR)] {
            let mut clocks = Clocks::default();
            for day in 0..10 {
                let now = TODAY + day * DAY;
                clocks.hear(NOW, now + own, now + server);
                assert!(!clocks.is_past(NOW, now + own, TODAY - DAY));
            }
        }
        // Both ahead, and back the next time.
        let mut clocks = Clocks::default();
        clocks.hear(NOW, TODAY, TODAY);
        clocks.hear(NOW, TODAY + YEAR, TODAY + YEAR);
        clocks.hear(NOW, TODAY + DAY, TODAY + DAY);
        clocks.hear(NOW, TODAY + 2 * DAY, TODAY + 2 * DAY);
        assert!(!clocks.is_past(NOW, TODAY + 2 * DAY, TODAY + 3 * DAY));
    }

    #[test]
    fn a_clock_that_is_put_on_while_connected_stops_everything() {
        let mut clocks = Clocks::default();
        clocks.hear(NOW, TODAY, TODAY);
        clocks.hear(NOW, TODAY + DAY, TODAY + DAY);
        let later = NOW + Duration::from_secs(3600);
        assert!(clocks.is_past(later, TODAY + DAY + 3_600_000, TODAY));
        assert!(!clocks.is_past(later, TODAY + 2 * DAY, TODAY));
        clocks.forget();
        assert!(!clocks.is_past(NOW, TODAY + DAY, TODAY));
        assert_eq!(clocks.date(TODAY), TODAY + DAY);
    }
}
