//! Who holds how much of what is there for all (protocol.md §5.27, "Shares").
//!
//! Each account, and each address without a session, holds at most a sixteenth of a pool and a quarter of
//! what is free in it, but always one whole request or answer. Strangers have pools of their own, and so
//! have small requests: whoever fills one of them is in nobody's way who needs another.

use core::net::IpAddr;
use std::collections::BTreeMap;

use crate::frame::MAX_PAYLOAD;
use crate::ids::IdentityKey;
use crate::limits::{ENTRY, Limits};

/// The longest payload of a small request, in bytes.
pub(super) const SMALL: usize = 4 * 1024;
/// A holder has at most one in so many of a pool's bytes,
const OF_ALL: usize = 16;
/// and one in so many of those that are free.
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

/// Bytes of a pool that one request, or one answer, holds. Whoever has it gives it back.
#[derive(Debug)]
#[must_use]
pub(super) struct Hold {
    kind: Kind,
    holder: Holder,
    bytes: usize,
}

/// All pools.
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

impl Hold {
    /// How much it is.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What of.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whose it is.
    pub(super) const fn holder(&self) -> Holder {
        self.holder
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

    /// Room for the longest answer of this holder.
    pub(super) fn reserve_answer(&mut self, holder: Holder) -> Result<Hold, Short> {
        let mut hold = Self::nothing(Kind::Answers, holder);
        self.grow(&mut hold, self.answer)?;
        Ok(hold)
    }

    /// Bytes of all pools that are held.
    pub(super) fn held(&self) -> usize {
        let requests = self.requests.iter().flatten();
        requests.fold(self.answers.held, |sum, pool| pool.held.saturating_add(sum))
    }

    /// Nothing yet, of this kind and for this holder.
    pub(super) const fn nothing(kind: Kind, holder: Holder) -> Hold {
        Hold {
            kind,
            holder,
            bytes: 0,
        }
    }

    /// Adds bytes to what is held.
    pub(super) fn grow(&mut self, hold: &mut Hold, more: usize) -> Result<(), Short> {
        let pool = self.pool(hold.kind, hold.holder);
        let share = pool.share().max(pool.least);
        pool.take(hold, more, share)
    }

    /// Adds bytes within half of the holder's share, for what can be done without.
    pub(super) fn grow_if_idle(&mut self, hold: &mut Hold, more: usize) -> Result<(), Short> {
        let pool = self.pool(hold.kind, hold.holder);
        let share = pool.share() / 2;
        pool.take(hold, more, share)
    }

    /// Gives back all but so many bytes; whether that was anything.
    pub(super) fn shrink(&mut self, hold: &mut Hold, to: usize) -> bool {
        let given = hold.bytes.saturating_sub(to);
        if given > 0 {
            hold.bytes = to;
            self.pool(hold.kind, hold.holder).give(hold.holder, given);
        }
        given > 0
    }

    /// Gives everything back.
    pub(super) fn give_back(&mut self, mut hold: Hold) {
        self.shrink(&mut hold, 0);
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

    fn take(&mut self, hold: &mut Hold, more: usize, share: usize) -> Result<(), Short> {
        let held = self.holders.entry(hold.holder).or_insert(0);
        let refused = if held.saturating_add(more) > share {
            Some(Short::Share)
        } else if self.held.saturating_add(more) > self.size {
            Some(Short::Pool)
        } else {
            None
        };
        if let Some(short) = refused {
            if *held == 0 {
                self.holders.remove(&hold.holder);
            }
            return Err(short);
        }
        *held = held.saturating_add(more);
        self.held = self.held.saturating_add(more);
        hold.bytes = hold.bytes.saturating_add(more);
        Ok(())
    }

    fn give(&mut self, holder: Holder, bytes: usize) {
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

    /// Takes pieces of so many bytes until there is no room.
    fn fill(shares: &mut Shares, kind: Kind, holder: Holder, piece: usize) -> (Hold, Short) {
        let mut hold = Shares::nothing(kind, holder);
        loop {
            if let Err(short) = shares.grow(&mut hold, piece) {
                return (hold, short);
            }
        }
    }

    #[test]
    fn one_holder_has_a_sixteenth() {
        let mut shares = Shares::new(&Limits::default());
        let (hold, short) = fill(&mut shares, Kind::Large, account(1), 64 * KIB);
        assert_eq!((hold.bytes(), short), (16 * MIB, Short::Share));
        assert_eq!(shares.held(), 16 * MIB);
        shares.give_back(hold);
        assert_eq!(shares.held(), 0);
        let mut pools = shares.requests.iter().flatten();
        assert!(pools.all(|pool| pool.holders.is_empty()));
    }

    #[test]
    fn many_holders_have_a_quarter_of_what_is_free_and_one_request_at_least() {
        let mut shares = Shares::new(&Limits::default());
        let holds: Vec<_> = (0..40)
            .map(|number| fill(&mut shares, Kind::Large, account(number), 64 * KIB))
            .collect();
        let (first, last): (Vec<_>, Vec<_>) =
            holds.iter().partition(|(_, short)| *short == Short::Share);
        assert!(first.iter().all(|(hold, _)| hold.bytes() >= 4 * MIB));
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
            let mut hold = Shares::nothing(kind, holder);
            assert_eq!(shares.grow(&mut hold, KIB), Ok(()));
        }
    }

    #[test]
    fn what_can_be_done_without_leaves_half_of_a_share() {
        let mut shares = Shares::new(&Limits::default());
        let mut pushes = Shares::nothing(Kind::Answers, account(1));
        while shares.grow_if_idle(&mut pushes, MIB).is_ok() {}
        assert_eq!(pushes.bytes(), 16 * MIB);
        for _ in 0..3 {
            assert!(shares.reserve_answer(account(1)).is_ok());
        }
    }
}
