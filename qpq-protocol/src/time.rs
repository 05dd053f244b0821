//! The two clocks of a core: [`Time`] for timers, [`UnixTime`] for dates.

use core::ops::{Add, Sub};
use core::time::Duration;
use std::time::SystemTime;

/// A point on the embedder's monotonic clock, in microseconds since an origin of its choice.
///
/// Only differences mean anything. It is a plain integer so that vectors are literal and so that
/// it works where `Instant` does not (WebAssembly, simulation).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Self = Self(0);
    /// Later than every timer.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The next multiple of `step` at or after this point; the point itself if `step` is zero.
    #[must_use]
    pub fn round_up(self, step: Duration) -> Self {
        let step = micros(step);
        match step {
            0 => self,
            _ => Self(self.0.div_ceil(step).saturating_mul(step)),
        }
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(micros(rhs)))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;

    fn sub(self, rhs: Time) -> Duration {
        self.since(rhs)
    }
}

/// A date: milliseconds since 1970-01-01T00:00:00Z. It dates and expires, and never drives a timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The date `millis` milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

/// What the system's clock says; a clock before 1970 says 1970.
impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        Self::default() + since.unwrap_or_default()
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// Both clocks of one core: clamps a [`Time`] that goes back, and tells the date at any [`Time`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Time,
    set_at: Time,
    unix: UnixTime,
}

impl Clock {
    /// At `now` the date is `unix`.
    #[must_use]
    pub const fn new(now: Time, unix: UnixTime) -> Self {
        Self {
            now,
            set_at: now,
            unix,
        }
    }

    /// Moves to `now`; a `now` before the last one counts as the last one.
    pub fn advance(&mut self, now: Time) -> Time {
        self.now = self.now.max(now);
        self.now
    }

    /// The embedder says what the date is now.
    pub fn set_unix(&mut self, unix: UnixTime) {
        self.set_at = self.now;
        self.unix = unix;
    }

    /// The last time this clock was moved to.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The date now.
    #[must_use]
    pub fn unix(&self) -> UnixTime {
        self.unix + self.now.since(self.set_at)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_never_goes_back() {
        let mut clock = Clock::new(Time::from_micros(5_000), UnixTime::from_millis(100));
        assert_eq!(
            clock.advance(Time::from_micros(9_000)),
            Time::from_micros(9_000)
        );
        assert_eq!(
            clock.advance(Time::from_micros(1_000)),
            Time::from_micros(9_000)
        );
        assert_eq!(clock.unix(), UnixTime::from_millis(104));
        clock.set_unix(UnixTime::from_millis(50));
        assert_eq!(clock.unix(), UnixTime::from_millis(50));
    }

    #[test]
    fn rounding_up_reaches_the_next_multiple() {
        let step = Duration::from_millis(5);
        assert_eq!(
            Time::from_micros(5_000).round_up(step),
            Time::from_micros(5_000)
        );
        assert_eq!(
            Time::from_micros(5_001).round_up(step),
            Time::from_micros(10_000)
        );
        assert_eq!(
            Time::from_micros(7).round_up(Duration::ZERO),
            Time::from_micros(7)
        );
    }
}
