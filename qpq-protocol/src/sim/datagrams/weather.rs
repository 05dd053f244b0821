//! What becomes of a datagram on its way: decided by its place among all and its length.

use core::time::Duration;

use crate::rng::Rng;
use crate::sim::chance::Chance;
use crate::sim::{Config, below, micros, ms, pick};

/// How a world's network is.
pub(super) struct Weather {
    rng: Rng,
    /// How long a datagram takes at least, and how much longer it may take: one that takes less
    /// overtakes. In microseconds.
    latency: u64,
    jitter: u64,
    /// How often one is lost,
    loss: Chance,
    /// arrives again, soon or seconds later,
    twice: Chance,
    /// arrives with other bits or without its end,
    damage: Chance,
    /// is marked by a router that has too much to do (RFC 3168).
    marks: Chance,
    /// Longer ones don't arrive, in bytes.
    longest: usize,
    pub(super) tally: Tally,
}

/// What happened to datagrams.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) lost: u64,
    pub(super) too_long: u64,
    pub(super) twice: u64,
    pub(super) damaged: u64,
    pub(super) marked: u64,
}

/// One arrival of a datagram.
pub(super) struct Fate {
    pub(super) after: Duration,
    pub(super) damage: Option<Damage>,
    pub(super) marked: bool,
}

/// What is done to the bytes of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Damage {
    /// A bit of this byte is another one.
    Flip(usize, u8),
    /// Only this many bytes are left.
    Cut(usize),
}

impl core::fmt::Display for Tally {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            lost,
            too_long,
            twice,
            damaged,
            marked,
        } = self;
        write!(
            f,
            "{lost} lost, {too_long} too long, {twice} twice, {damaged} damaged, {marked} marked"
        )
    }
}

impl Weather {
    /// What `config` does not say is drawn.
    pub(super) fn new(config: &Config, rng: &mut Rng) -> Self {
        let latency = pick(rng, &[100, 5_000, 50_000]);
        let jitter = pick(rng, &[0, 1_000, 20_000, 100_000]);
        let loss = Chance::one_in(pick(rng, &[0, 100, 20, 5]));
        Self {
            latency: config.delay.map_or(latency, micros),
            jitter,
            loss: config.loss.map_or(loss, Chance::percent),
            twice: Chance::one_in(pick(rng, &[0, 30])),
            damage: Chance::one_in(pick(rng, &[0, 50])),
            marks: Chance::one_in(pick(rng, &[0, 20])),
            // QUIC needs 1200, and finds out what else there is (RFC 9000 §14).
            longest: pick(rng, &[1200, 1350, 1500]),
            rng: rng.child(),
            tally: Tally::default(),
        }
    }

    /// From now on nothing goes wrong.
    pub(super) fn calm(&mut self) {
        self.latency = self.latency.min(5_000);
        self.jitter = 0;
        (self.loss, self.twice) = (Chance::NEVER, Chance::NEVER);
        (self.damage, self.marks) = (Chance::NEVER, Chance::NEVER);
    }

    /// How long a datagram takes.
    pub(super) fn delay(&mut self) -> Duration {
        Duration::from_micros(self.latency + self.rng.below(self.jitter))
    }

    /// Every arrival of a datagram of this length; none if it is lost.
    pub(super) fn fates(&mut self, length: usize) -> Vec<Fate> {
        if length > self.longest {
            self.tally.too_long += 1;
            return Vec::new();
        }
        if self.loss.strikes(&mut self.rng) {
            self.tally.lost += 1;
            return Vec::new();
        }
        let mut fates = vec![self.fate(length)];
        if self.twice.strikes(&mut self.rng) {
            self.tally.twice += 1;
            let mut again = self.fate(length);
            again.after += ms(pick(&mut self.rng, &[0, 0, 500, 20_000]));
            fates.push(again);
        }
        fates
    }

    fn fate(&mut self, length: usize) -> Fate {
        let damage = self
            .damage
            .strikes(&mut self.rng)
            .then(|| self.damage(length));
        let marked = self.marks.strikes(&mut self.rng);
        self.tally.damaged += u64::from(damage.is_some());
        self.tally.marked += u64::from(marked);
        Fate {
            after: self.delay(),
            damage,
            marked,
        }
    }

    /// A damage that has the same consequences whatever the datagram holds. Between the version and
    /// the second half there are lengths and connection ids, which the rest is read by: what a
    /// change of those leads to depends on random bytes.
    fn damage(&mut self, length: usize) -> Damage {
        let bit = u8::try_from(self.rng.below(8)).unwrap_or(0);
        match self.rng.below(4) {
            0 => Damage::Cut(below(&mut self.rng, length)),
            1 => Damage::Flip(1 + below(&mut self.rng, 4), 1 << bit),
            _ => Damage::Flip(
                length / 2 + below(&mut self.rng, length.div_ceil(2)),
                1 << bit,
            ),
        }
    }
}

impl Damage {
    pub(super) fn befall(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip(at, bits) => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Self::Cut(length) => bytes.truncate(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stormy() -> Weather {
        Weather {
            latency: 10,
            jitter: 100,
            loss: Chance::one_in(5),
            twice: Chance::one_in(5),
            damage: Chance::one_in(5),
            marks: Chance::one_in(5),
            longest: 1200,
            rng: Rng::new([1; 32]),
            tally: Tally::default(),
        }
    }

    #[test]
    fn damage_is_felt_and_spares_what_lengths_are_read_from() {
        let mut weather = stormy();
        for length in [21, 40, 1200] {
            for _ in 0..200 {
                let whole = vec![0x40; length];
                let mut bytes = whole.clone();
                let damage = weather.damage(length);
                damage.befall(&mut bytes);
                assert_ne!(bytes, whole, "{damage:?} of {length}");
                let kept = bytes.len().min(length / 2);
                assert_eq!(bytes[..kept.min(1)], whole[..kept.min(1)]);
                if kept > 5 {
                    assert_eq!(bytes[5..kept], whole[5..kept], "{damage:?} of {length}");
                }
            }
        }
    }

    #[test]
    fn everything_happens_until_it_is_calm() {
        let mut weather = stormy();
        assert!(weather.fates(1201).is_empty(), "too long");
        let arrivals: Vec<usize> = (0..500).map(|_| weather.fates(1200).len()).collect();
        for count in [0, 1, 2] {
            assert!(arrivals.contains(&count), "{count} arrivals");
        }
        let tally = weather.tally;
        assert!(
            [
                tally.lost,
                tally.too_long,
                tally.twice,
                tally.damaged,
                tally.marked
            ]
            .iter()
            .all(|count| *count > 0)
        );
        weather.calm();
        for _ in 0..500 {
            let fates = weather.fates(1200);
            let [fate] = fates.as_slice() else {
                panic!("{} arrivals", fates.len());
            };
            assert_eq!(
                (fate.after, fate.damage, fate.marked),
                (Duration::from_micros(10), None, false)
            );
        }
    }
}
