//! How often something may happen (protocol.md §5.27): sliding windows in tables of fixed size.
//!
//! Subjects are often what a caller may choose: names, targets, addresses of a large network. So none
//! has an entry of its own that could push out another's. A table has four rows of counters; a keyed
//! hash gives each subject one counter in each row, and the least of the four is what it has used at
//! most (a count-min sketch). Nothing is ever full and nothing that is still open is forgotten; who
//! shares all four counters with others is only treated more strictly, and nobody can choose with whom.
//! Each class of rates has a table of its own; a subject has the same counters in all of them.
//!
//! A window is kept as two counts, of the current and of the last whole window; the last one counts
//! for the part of it that is still inside. That never allows more than twice the rate in any one
//! window.

use core::net::IpAddr;
use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::limits::{RATE_ROWS as ROWS, Rate, RateClass};
use crate::time::Time;

/// The address that stands for everybody who could have sent from this one: an IPv6 site has a /56.
pub(super) fn network(address: IpAddr) -> IpAddr {
    const SITE: u128 = !(u128::MAX >> 56);
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) if v6.is_loopback() => IpAddr::V6(v6),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & SITE).into()),
    }
}

/// An address as a part of a subject.
pub(super) const fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The tables of one core. One is made when its class is first counted.
pub(super) struct Rates {
    key: [u8; 32],
    counters: usize,
    tables: BTreeMap<RateClass, Table>,
    /// The subject that was counted last, and its places: a request counts for one in several classes.
    last: (Vec<u8>, Places),
    /// Where a subject is put together.
    subject: Vec<u8>,
}

/// Four rows of counters for one class.
struct Table {
    /// Which window `current` counts.
    window: u64,
    current: Vec<u32>,
    last: Vec<u32>,
}

/// A subject's counter in each row.
type Places = [usize; ROWS];

/// Where in its window a moment lies, in microseconds.
#[derive(Clone, Copy)]
struct Moment {
    window: u64,
    length: u64,
    /// Until the window ends.
    left: u64,
}

impl Rates {
    /// Tables of this size, whose hash has a key made from this seed.
    pub(super) fn new(counters: usize, seed: &[u8; 32]) -> Self {
        let key = Sha256::new_with_prefix("qpq rates v1").chain_update(seed);
        let mut rates = Self {
            key: key.finalize().into(),
            counters: counters.max(1),
            tables: BTreeMap::new(),
            last: (Vec::new(), [0; ROWS]),
            subject: Vec::new(),
        };
        rates.last.1 = rates.hash(&[]);
        rates
    }

    /// Counts `count` events of the subject that `parts` name together, unless that is more than
    /// `rate` allows: then nothing is counted, and the error says after how many milliseconds it may
    /// be allowed.
    pub(super) fn count(
        &mut self,
        now: Time,
        class: RateClass,
        rate: Rate,
        parts: &[&[u8]],
        count: u32,
    ) -> Result<(), u32> {
        let places = self.places(parts);
        let moment = Moment::of(now, rate);
        let table = self.table(class, moment.window);
        let wait = |place: &usize| table.wait(*place, moment, rate.count, count);
        match places.iter().map(wait).min() {
            Some(0) | None => {
                let add = |counted: u32| counted.saturating_add(count);
                change(&mut table.current, places, add);
                Ok(())
            }
            Some(wait) => Err(millis(wait)),
        }
    }

    /// Takes back one event that [`Rates::count`] has counted `at` this time.
    pub(super) fn take_back(
        &mut self,
        now: Time,
        class: RateClass,
        rate: Rate,
        parts: &[&[u8]],
        at: Time,
    ) {
        let places = self.places(parts);
        let table = self.table(class, Moment::of(now, rate).window);
        let row = match table.window.checked_sub(Moment::of(at, rate).window) {
            Some(0) => &mut table.current,
            Some(1) => &mut table.last,
            _ => return,
        };
        change(row, places, |counted| counted.saturating_sub(1));
    }

    /// The same in the tables of all classes.
    fn places(&mut self, parts: &[&[u8]]) -> Places {
        self.subject.clear();
        for part in parts {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            self.subject.extend_from_slice(&length.to_be_bytes());
            self.subject.extend_from_slice(part);
        }
        if self.subject != self.last.0 {
            core::mem::swap(&mut self.subject, &mut self.last.0);
            self.last.1 = self.hash(&self.last.0);
        }
        self.last.1
    }

    fn hash(&self, subject: &[u8]) -> Places {
        let hash = Sha256::new_with_prefix(self.key).chain_update(subject);
        let hash: [u8; 32] = hash.finalize().into();
        let (hashes, _) = hash.as_chunks::<8>();
        let mut places = [0; ROWS];
        for ((row, place), hash) in places.iter_mut().enumerate().zip(hashes) {
            let counters = u64::try_from(self.counters).unwrap_or(u64::MAX).max(1);
            let within = usize::try_from(u64::from_be_bytes(*hash) % counters).unwrap_or(0);
            *place = row.saturating_mul(self.counters).saturating_add(within);
        }
        places
    }

    /// The table of a class, in this window.
    fn table(&mut self, class: RateClass, window: u64) -> &mut Table {
        let size = self.counters.saturating_mul(ROWS);
        let table = self.tables.entry(class).or_insert_with(|| Table {
            window,
            current: vec![0; size],
            last: vec![0; size],
        });
        table.turn(window);
        table
    }
}

impl Table {
    /// Goes on to a later window.
    fn turn(&mut self, window: u64) {
        if self.window == window {
            return;
        }
        core::mem::swap(&mut self.current, &mut self.last);
        self.current.fill(0);
        if self.window.checked_add(1) != Some(window) {
            self.last.fill(0);
        }
        self.window = window;
    }

    /// How many microseconds until a counter has room for `count` more, of `most` in a window.
    fn wait(&self, place: usize, moment: Moment, most: u32, count: u32) -> u64 {
        let at = |row: &[u32]| row.get(place).copied().map_or(0, u64::from);
        let (current, last) = (at(&self.current), at(&self.last));
        let Some(room) = u64::from(most).checked_sub(count.into()) else {
            // Never. The client is told to come back when a window has passed.
            return moment.length;
        };
        let Moment { length, left, .. } = moment;
        match room.checked_sub(current) {
            // In this window, once so little of the last one counts.
            Some(room) => left.saturating_sub(share(room, length, last)),
            // In the next one, where this one is the last.
            None => left.saturating_add(length.saturating_sub(share(room, length, current))),
        }
    }
}

/// Changes a subject's counter in each row.
fn change(counters: &mut [u32], places: Places, change: impl Fn(u32) -> u32) {
    for place in places {
        if let Some(counter) = counters.get_mut(place) {
            *counter = change(*counter);
        }
    }
}

impl Moment {
    fn of(now: Time, rate: Rate) -> Self {
        let length = u64::try_from(rate.window.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        Self {
            window: now.as_micros() / length,
            length,
            left: length - now.as_micros() % length,
        }
    }
}

/// How much of a window of `length` may be left for `count` events spread over it to count as fewer
/// than `room` and one.
fn share(room: u64, length: u64, count: u64) -> u64 {
    if count <= room {
        return length;
    }
    let most = u128::from(room)
        .saturating_add(1)
        .saturating_mul(length.into())
        .saturating_sub(1)
        / u128::from(count);
    u64::try_from(most).unwrap_or(u64::MAX).min(length)
}

fn millis(micros: u64) -> u32 {
    u32::try_from(micros.div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::limits::{Limits, RATE_COUNTER};

    const RATE: Rate = Rate::per_secs(10, 1);
    const CLASS: RateClass = RateClass::LoginsName;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    fn rates() -> Rates {
        Rates::new(1000, &[7; 32])
    }

    #[test]
    fn a_rate_holds_and_recovers() {
        let mut rates = rates();
        let mut count = |at, name: &[u8], count| rates.count(at, CLASS, RATE, &[name], count);
        for _ in 0..10 {
            assert_eq!(count(at(0), b"a", 1), Ok(()));
        }
        assert!(count(at(0), b"a", 1).is_err());
        assert_eq!(count(at(0), b"b", 1), Ok(()), "others are not touched");
        assert!(count(at(1000), b"a", 1).is_err(), "sliding");
        for _ in 0..5 {
            assert_eq!(count(at(1500), b"a", 1), Ok(()));
        }
        assert!(count(at(1500), b"a", 1).is_err());
        assert_eq!(count(at(9000), b"a", 10), Ok(()));
        assert_eq!(count(at(9000), b"c", 11), Err(1000), "never");
    }

    #[test]
    fn the_wait_that_is_told_is_long_enough_and_no_longer() {
        for (used, later, wants) in [(10, 0, 1), (10, 300, 4), (7, 1200, 9), (3, 1999, 10)] {
            let mut rates = rates();
            rates.count(at(0), CLASS, RATE, &[b"a"], used).unwrap();
            let mut now = at(later);
            let Err(wait) = rates.count(now, CLASS, RATE, &[b"a"], wants) else {
                continue;
            };
            now = now + Duration::from_millis(wait.into());
            let early = Time::from_micros(now.as_micros() - 2000);
            assert!(rates.count(early, CLASS, RATE, &[b"a"], wants).is_err());
            assert_eq!(rates.count(now, CLASS, RATE, &[b"a"], wants), Ok(()));
        }
    }

    proptest! {
        /// Whatever is asked when: no window has more than twice the rate, and what is refused is allowed once
        /// the wait that was told is over.
        #[test]
        fn no_window_has_more_than_twice_the_rate(asked in vec((0..400_u64, 1..5_u32), 1..200)) {
            let mut rates = rates();
            let mut now = 0;
            let mut allowed: Vec<(u64, u32)> = Vec::new();
            for (later, count) in asked {
                now += later;
                if let Err(wait) = rates.count(at(now), CLASS, RATE, &[b"a"], count) {
                    now += u64::from(wait);
                    prop_assert_eq!(rates.count(at(now), CLASS, RATE, &[b"a"], count), Ok(()));
                }
                allowed.push((now, count));
                let inside = allowed.iter().filter(|(when, _)| when + 1000 > now);
                let sum: u32 = inside.map(|(_, count)| count).sum();
                prop_assert!(sum <= 2 * RATE.count, "{}", sum);
            }
        }
    }

    #[test]
    fn what_is_taken_back_was_not_counted() {
        let mut rates = rates();
        for _ in 0..100 {
            assert_eq!(rates.count(at(999), CLASS, RATE, &[b"a"], 1), Ok(()));
            rates.take_back(at(999), CLASS, RATE, &[b"a"], at(999));
        }
        assert_eq!(rates.count(at(999), CLASS, RATE, &[b"a"], 10), Ok(()));
        assert!(rates.count(at(1000), CLASS, RATE, &[b"a"], 1).is_err());
        rates.take_back(at(1000), CLASS, RATE, &[b"a"], at(999));
        assert_eq!(rates.count(at(1000), CLASS, RATE, &[b"a"], 1), Ok(()));
        rates.take_back(at(5000), CLASS, RATE, &[b"a"], at(999));
    }

    /// The old table forgot what was used longest ago, so that strangers could open what was closed.
    #[test]
    fn strangers_make_it_forget_nothing_and_shut_nobody_out() {
        let mut rates = Rates::new(32_768, &[1; 32]);
        let hour = Rate::per_secs(5, 3600);
        let names = Rate::per_secs(100, 3600);
        let registered = |rates: &mut Rates| {
            rates.count(at(0), RateClass::Registrations, hour, &[b"10.0.0.1"], 1)
        };
        while registered(&mut rates).is_ok() {}
        while rates.count(at(0), CLASS, names, &[b"closed"], 1).is_ok() {}
        for stranger in 0..60_000_u32 {
            let name = stranger.to_be_bytes();
            assert_eq!(
                rates.count(at(stranger.into()), CLASS, names, &[&name], 1),
                Ok(())
            );
        }
        assert!(registered(&mut rates).is_err());
        assert!(
            rates
                .count(at(60_000), CLASS, names, &[b"closed"], 1)
                .is_err()
        );
        assert_eq!(
            rates.count(at(60_000), CLASS, names, &[b"alice"], 50),
            Ok(())
        );
        let counters = rates.tables.values().map(|table| table.current.len());
        let bytes = counters.sum::<usize>() * RATE_COUNTER;
        assert!(bytes <= Limits::default().rate_tables());
    }

    #[test]
    fn a_table_of_one_counter_is_only_stricter() {
        let mut rates = Rates::new(1, &[1; 32]);
        for name in 0..10_u8 {
            assert_eq!(rates.count(at(0), CLASS, RATE, &[&[name]], 1), Ok(()));
        }
        assert!(rates.count(at(0), CLASS, RATE, &[b"x"], 1).is_err());
        assert!(rates.count(at(2000), CLASS, RATE, &[b"x"], 1).is_ok());
    }

    #[test]
    fn an_ipv6_site_is_one_subject() {
        let address = |text: &str| network(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8:0:ff::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:100::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert!(address("::1").is_loopback());
        assert!(address("::ffff:127.0.0.1").is_loopback());
    }

    #[test]
    fn parts_cannot_be_shifted() {
        let mut rates = rates();
        let mut places = |parts: &[&[u8]]| rates.places(parts);
        assert_ne!(places(&[b"ab", b"c"]), places(&[b"a", b"bc"]));
    }

    #[test]
    fn whoever_was_counted_before_a_subject_has_the_same_places() {
        let mut rates = rates();
        let first = rates.places(&[b"a"]);
        assert_eq!(rates.places(&[b"a"]), first);
        let other = rates.places(&[b"b"]);
        assert_ne!(other, first);
        assert_eq!(rates.places(&[b"a"]), first);
        assert_eq!(self::rates().places(&[b"b"]), other);
        assert_ne!(rates.places(&[]), first);
    }
}
