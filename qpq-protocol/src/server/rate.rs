//! How often something may happen (protocol.md §5.27): sliding windows in a bounded table.
//!
//! A window is kept as two counts, of the current and of the last whole window; the last one
//! counts for the part of it that is still inside. That never allows more than twice the rate in
//! any one window, and needs 24 bytes a subject.

use core::net::IpAddr;
use core::time::Duration;

use sha2::{Digest as _, Sha256};

use super::generations::Generations;
use crate::ids::IdentityKey;
use crate::limits::Rate;
use crate::time::Time;

/// Whose events are counted, and which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Subject {
    /// All requests of an address ([`network`]).
    Address(IpAddr),
    /// All requests of an account.
    Account(IdentityKey),
    /// Enqueues of an account.
    Enqueues(IdentityKey),
    /// Recipients that an account reaches.
    Recipients(IdentityKey),
    /// Something else: a SHA-256 of what ([`Subject::of`]).
    Other([u8; 32]),
}

impl Subject {
    /// Events of the kind `what` (a name that is used for nothing else) of these parts together.
    pub(super) fn of(what: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in core::iter::once(what.as_bytes()).chain(parts.iter().copied()) {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self::Other(hash.finalize().into())
    }
}

/// The address that stands for everybody who could have sent from this one.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

/// The table of one core.
pub(super) struct Rates(Generations<Subject, Window>);

#[derive(Clone, Copy)]
struct Window {
    /// Which window `current` counts.
    index: u64,
    current: u32,
    last: u32,
}

impl Rates {
    /// Remembers at most so many subjects.
    pub(super) fn new(subjects: usize) -> Self {
        Self(Generations::new(subjects, usize::MAX))
    }

    /// Counts `count` events, unless that is more than `rate` allows: then nothing is counted, and
    /// the error says after how many milliseconds to ask again.
    pub(super) fn count(
        &mut self,
        now: Time,
        subject: Subject,
        rate: Rate,
        count: u32,
    ) -> Result<(), u32> {
        let length = u64::try_from(rate.window.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let index = now.as_micros() / length;
        let left = length - now.as_micros() % length;
        if let Some(window) = self.0.get(&subject) {
            return window.count(index, left, length, rate.count, count);
        }
        let mut window = Window {
            index,
            current: 0,
            last: 0,
        };
        window.count(index, left, length, rate.count, count)?;
        self.0.insert(subject, window, 1);
        Ok(())
    }
}

impl Window {
    /// Counts in the window `index`, of which `left` microseconds of `length` are still to come.
    fn count(
        &mut self,
        index: u64,
        left: u64,
        length: u64,
        most: u32,
        count: u32,
    ) -> Result<(), u32> {
        if self.index != index {
            let last = match self.index.checked_add(1) {
                Some(next) if next == index => self.current,
                _ => 0,
            };
            *self = Self {
                index,
                current: 0,
                last,
            };
        }
        // What is left of the last window, rounded down: it was spread evenly as far as we know.
        let weight = u128::from(self.last) * u128::from(left) / u128::from(length);
        let used = u64::from(self.current) + u64::try_from(weight).unwrap_or(u64::MAX);
        if used.saturating_add(u64::from(count)) > u64::from(most) {
            return Err(retry_after(left));
        }
        self.current = self.current.saturating_add(count);
        Ok(())
    }
}

fn retry_after(micros: u64) -> u32 {
    let millis = Duration::from_micros(micros).as_millis();
    u32::try_from(millis).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_secs(10, 1);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn a_rate_holds_and_recovers() {
        let mut rates = Rates::new(100);
        let subject = Subject::of("test", &[b"a"]);
        for _ in 0..10 {
            assert_eq!(rates.count(at(0), subject, RATE, 1), Ok(()));
        }
        let wait = rates.count(at(0), subject, RATE, 1).unwrap_err();
        assert!(wait >= 1000);
        assert_eq!(
            rates.count(at(0), Subject::of("test", &[b"b"]), RATE, 1),
            Ok(()),
            "others are not touched"
        );
        assert!(rates.count(at(1000), subject, RATE, 1).is_err(), "sliding");
        for _ in 0..5 {
            assert_eq!(rates.count(at(1500), subject, RATE, 1), Ok(()));
        }
        assert!(rates.count(at(1500), subject, RATE, 1).is_err());
        assert_eq!(rates.count(at(9000), subject, RATE, 10), Ok(()));
    }

    #[test]
    fn an_ipv6_network_is_one_subject() {
        let address = |text: &str| network(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }

    #[test]
    fn parts_cannot_be_shifted() {
        assert_ne!(
            Subject::of("x", &[b"ab", b"c"]),
            Subject::of("x", &[b"a", b"bc"])
        );
    }
}
