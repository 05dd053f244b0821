//! Who holds how much of what is there for all (protocol.md §5.27, "Shares").
//!
//! Each account, and each address without a session, holds at most a sixteenth of a pool and a quarter of
//! what is free in it, but always one whole request or answer. Strangers have pools of their own, and so
//! have small requests: anyone who fills one of them is in nobody's way who needs another.

use core::net::IpAddr;
use std::collections::BTreeMap;

use crate::frame::MAX_PAYLOAD;
use crate::ids::IdentityKey;
use crate::limits::{ENTRY, Limits};

/// The longest payload of a small request, in bytes.
pub(super) const SMALL: usize = 4 * 1024;
/// A holder has at most one in this many of a pool's bytes,
const OF_ALL: usize = 16;
/// and one in this many of those that are free.
const OF_FREE: usize = 4;

/// Who holds something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Holder {
    /// An account, on connections with a session.
    Account(IdentityKey),
    /// An address, on connections without one.
    Address(IpAddr),
}

/// What a pool is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Requests of at most [`SMALL`] bytes.
    Small,
    /// Other requests.
    Large,
    /// Long answers that run or wait to be taken, and pushes that carry data.
    Answers,
}

/// What there is no room in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Short {
    /// The holder's share.
    Share,
    /// The pool.
    Pool,
}

/// All pools. Only [`Charges`](super::charges::Charges) takes from them, since it knows who has to give back.
pub(super) struct Shares {
    /// Of requests: small and large ones of accounts, then of strangers.
    requests: [[Pool; 2]; 2],
    /// Of answers: of accounts, since no long one is for a stranger.
    answers: Pool,
    /// Bytes of the longest frame of an answer.
    answer: usize,
}

struct Pool {
    size: usize,
    /// What a holder may have in any case.
    least: usize,
    held: usize,
    holders: BTreeMap<Holder, usize>,
}

impl Holder {
    /// Whether it is a stranger.
    pub(super) const fn is_stranger(&self) -> bool {
        matches!(self, Self::Address(_))
    }
}

impl Shares {
    /// Empty pools.
    pub(super) fn new(limits: &Limits) -> Self {
        let pool = |size: usize, one: usize| Pool {
            size,
            least: one.min(size),
            held: 0,
            holders: BTreeMap::new(),
        };
        let small = SMALL.saturating_add(ENTRY);
        let large = MAX_PAYLOAD.saturating_add(ENTRY);
        let unknown = limits.anonymous_payload.saturating_add(ENTRY);
        let answer = limits.answer_frame();
        Self {
            requests: [
                [
                    pool(limits.small_buffer, small),
                    pool(limits.total_buffer, large),
                ],
                [
                    pool(limits.anonymous_small_buffer, small),
                    pool(limits.anonymous_buffer, unknown),
                ],
            ],
            answers: pool(limits.total_unsent.max(answer), answer),
            answer,
        }
    }

    /// Bytes of the longest frame of an answer.
    pub(super) const fn longest_answer(&self) -> usize {
        self.answer
    }

    /// Bytes of all pools that are held.
    pub(super) fn held(&self) -> usize {
        let requests = self.requests.iter().flatten();
        requests.fold(self.answers.held, |sum, pool| pool.held.saturating_add(sum))
    }

    /// Takes bytes for this holder.
    pub(super) fn take(&mut self, kind: Kind, holder: Holder, bytes: usize) -> Result<(), Short> {
        let pool = self.pool(kind, holder);
        let share = pool.share().max(pool.least);
        pool.take(holder, bytes, share)
    }

    /// Takes bytes within half of the holder's share, for what can be done without.
    pub(super) fn take_if_idle(
        &mut self,
        kind: Kind,
        holder: Holder,
        bytes: usize,
    ) -> Result<(), Short> {
        let pool = self.pool(kind, holder);
        let share = pool.share() / 2;
        pool.take(holder, bytes, share)
    }

    /// Gives bytes back that were taken.
    pub(super) fn give_back(&mut self, kind: Kind, holder: Holder, bytes: usize) {
        self.pool(kind, holder).give_back(holder, bytes);
    }

    const fn pool(&mut self, kind: Kind, holder: Holder) -> &mut Pool {
        let [accounts, strangers] = &mut self.requests;
        let [small, large] = match holder {
            Holder::Account(_) => accounts,
            Holder::Address(_) => strangers,
        };
        match kind {
            Kind::Small => small,
            Kind::Large => large,
            Kind::Answers => &mut self.answers,
        }
    }
}

impl Pool {
    const fn free(&self) -> usize {
        self.size.saturating_sub(self.held)
    }

    /// What a holder may have now, if it is more than the least.
    fn share(&self) -> usize {
        (self.size / OF_ALL).min(self.free() / OF_FREE)
    }

    fn take(&mut self, holder: Holder, bytes: usize, share: usize) -> Result<(), Short> {
        let held = self.holders.entry(holder).or_insert(0);
        let refused = if held.saturating_add(bytes) > share {
            Some(Short::Share)
        } else if self.held.saturating_add(bytes) > self.size {
            Some(Short::Pool)
        } else {
            None
        };
        if let Some(short) = refused {
            if *held == 0 {
                self.holders.remove(&holder);
            }
            return Err(short);
        }
        *held = held.saturating_add(bytes);
        self.held = self.held.saturating_add(bytes);
        Ok(())
    }

    fn give_back(&mut self, holder: Holder, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
        if let Some(held) = self.holders.get_mut(&holder) {
            *held = held.saturating_sub(bytes);
            if *held == 0 {
                self.holders.remove(&holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;

    fn account(number: u8) -> Holder {
        Holder::Account(IdentityKey([number; 32]))
    }

    /// Takes pieces of this many bytes until there is no room; how much that was.
    fn fill(shares: &mut Shares, kind: Kind, holder: Holder, piece: usize) -> (usize, Short) {
        let mut taken = 0;
        loop {
            match shares.take(kind, holder, piece) {
                Ok(()) => taken += piece,
                Err(short) => return (taken, short),
            }
        }
    }

    #[test]
    fn one_holder_has_a_sixteenth() {
        let mut shares = Shares::new(&Limits::default());
        let (taken, short) = fill(&mut shares, Kind::Large, account(1), 64 * KIB);
        assert_eq!((taken, short), (16 * MIB, Short::Share));
        assert_eq!(shares.held(), 16 * MIB);
        shares.give_back(Kind::Large, account(1), taken);
        assert_eq!(shares.held(), 0);
        let mut pools = shares.requests.iter().flatten();
        assert!(pools.all(|pool| pool.holders.is_empty()));
    }

    #[test]
    fn many_holders_have_a_quarter_of_what_is_free_and_one_request_at_least() {
        let mut shares = Shares::new(&Limits::default());
        let all: Vec<_> = (0..40)
            .map(|number| fill(&mut shares, Kind::Large, account(number), 64 * KIB))
            .collect();
        let (first, last): (Vec<_>, Vec<_>) =
            all.iter().partition(|(_, short)| *short == Short::Share);
        assert!(first.iter().all(|(taken, _)| *taken >= 4 * MIB));
        assert!(first.len() >= 16, "{}", first.len());
        // The pool is full, and not over.
        let held = |pool: &Pool| (pool.held, pool.size);
        let (held, size) = held(shares.pool(Kind::Large, account(0)));
        assert!(held <= size && held > size - 64 * KIB);
        assert!(!last.is_empty());
        // Others do not notice.
        let stranger = Holder::Address(IpAddr::from([10, 0, 0, 1]));
        for (kind, holder) in [
            (Kind::Small, account(99)),
            (Kind::Answers, account(99)),
            (Kind::Large, stranger),
            (Kind::Small, stranger),
        ] {
            assert_eq!(shares.take(kind, holder, KIB), Ok(()));
        }
    }

    #[test]
    fn what_can_be_done_without_leaves_half_of_a_share() {
        let mut shares = Shares::new(&Limits::default());
        let mut pushes = 0;
        while shares.take_if_idle(Kind::Answers, account(1), MIB).is_ok() {
            pushes += MIB;
        }
        assert_eq!(pushes, 16 * MIB);
        for _ in 0..3 {
            let answer = shares.longest_answer();
            assert!(shares.take(Kind::Answers, account(1), answer).is_ok());
        }
    }
}
