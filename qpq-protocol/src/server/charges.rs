//! What peers make a core hold, each with one owner (protocol.md §5.27, "Shares").
//!
//! ```text
//!   Charge   bytes of a request, or room for a long answer, out of a pool (shares.rs)
//!   Unsent   bytes of a stream that the transport has not taken
//!   Turn     one of the long answers that a connection may have at once
//! ```
//!
//! Each is a value that only [`Charges`] makes, that cannot be copied, and that alone says how much is counted for it: what
//! is counted of a pool or a connection is what these values add up to. Its owner hands it back. If one is lost, what
//! it holds would be held for ever: a build with debug assertions stops where that happens.

#[cfg(debug_assertions)]
use std::sync::{Arc, Weak};

use core::time::Duration;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::shares::{Holder, Kind, Shares, Short};
use crate::ids::ConnId;
use crate::limits::Limits;
use crate::time::Time;

/// What there is no room in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lack {
    /// What one connection may have.
    Connection,
    /// A pool, or the holder's share of it.
    Shared(Short),
}

/// Bytes of a pool that one request, or one answer, holds.
#[must_use]
pub(super) struct Charge {
    /// The connection of a request, which has bounds of its own.
    conn: Option<ConnId>,
    kind: Kind,
    holder: Holder,
    owed: Owed,
}

/// Bytes of one stream that the transport has not taken.
#[must_use]
pub(super) struct Unsent {
    conn: ConnId,
    owed: Owed,
}

/// One of the long answers that a connection may have at once, running or in line with those of other connections.
#[must_use]
pub(super) struct Turn {
    conn: ConnId,
    owed: Owed,
}

/// All that is held, and the only place where it is counted.
pub(super) struct Charges {
    shares: Shares,
    /// Connections that something is counted for, gone ones too while their requests run.
    connections: BTreeMap<ConnId, Tally>,
    /// Bytes that transports have not taken, of all connections.
    unsent: usize,
    /// To tell whether there still is anything to give back to.
    #[cfg(debug_assertions)]
    alive: Arc<()>,
}

/// What is counted for one connection.
#[derive(Default)]
struct Tally {
    /// Bytes that its requests hold.
    requests: usize,
    /// Bytes that its transport has not taken.
    unsent: usize,
    /// When those have lain there for too long, if there are any.
    due: Time,
    /// Its long answers that run or are in line.
    turns: usize,
}

impl Tally {
    const fn is_empty(&self) -> bool {
        self.requests == 0 && self.unsent == 0 && self.turns == 0
    }
}

impl Charge {
    /// How much it is.
    pub(super) const fn bytes(&self) -> usize {
        self.owed.amount
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

impl Unsent {
    /// How many.
    pub(super) const fn bytes(&self) -> usize {
        self.owed.amount
    }
}

impl Charges {
    /// Nothing is held.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            shares: Shares::new(limits),
            connections: BTreeMap::new(),
            unsent: 0,
            #[cfg(debug_assertions)]
            alive: Arc::default(),
        }
    }

    /// Bytes of all pools that are held.
    pub(super) fn held(&self) -> usize {
        self.shares.held()
    }

    /// Nothing yet, for a request of this kind.
    pub(super) fn request(&self, conn: ConnId, kind: Kind, holder: Holder) -> Charge {
        Charge {
            conn: Some(conn),
            kind,
            holder,
            owed: self.owing(0),
        }
    }

    /// Nothing yet, for an answer or for pushes.
    pub(super) fn answer(&self, holder: Holder) -> Charge {
        Charge {
            conn: None,
            kind: Kind::Answers,
            holder,
            owed: self.owing(0),
        }
    }

    /// Adds bytes to what a request holds, of which its connection may have `room`.
    pub(super) fn grow(
        &mut self,
        charge: &mut Charge,
        more: usize,
        room: usize,
    ) -> Result<(), Lack> {
        let tally = charge.conn.and_then(|conn| self.connections.get(&conn));
        let all = tally.map_or(0, |tally| tally.requests).saturating_add(more);
        if all > room {
            return Err(Lack::Connection);
        }
        let taken = self.shares.take(charge.kind, charge.holder, more);
        taken.map_err(Lack::Shared)?;
        if let Some(conn) = charge.conn {
            self.connections.entry(conn).or_default().requests = all;
        }
        charge.owed.add(more);
        Ok(())
    }

    /// Room for the longest answer of this holder.
    pub(super) fn reserve_answer(&mut self, holder: Holder) -> Result<Charge, Short> {
        let most = self.shares.longest_answer();
        let mut charge = self.answer(holder);
        self.shares.take(charge.kind, holder, most)?;
        charge.owed.add(most);
        Ok(charge)
    }

    /// Adds bytes to what pushes hold, within half of their holder's share.
    pub(super) fn grow_if_idle(&mut self, charge: &mut Charge, more: usize) -> Result<(), Short> {
        self.shares.take_if_idle(charge.kind, charge.holder, more)?;
        charge.owed.add(more);
        Ok(())
    }

    /// Gives back all but this many bytes; whether that was anything.
    pub(super) fn shrink(&mut self, charge: &mut Charge, to: usize) -> bool {
        let given = charge.owed.take_all_but(to);
        if given == 0 {
            return false;
        }
        self.shares.give_back(charge.kind, charge.holder, given);
        if let Some(conn) = charge.conn {
            self.lower(conn, |tally| {
                tally.requests = tally.requests.saturating_sub(given);
            });
        }
        true
    }

    /// Gives everything back.
    pub(super) fn give_back(&mut self, mut charge: Charge) {
        self.shrink(&mut charge, 0);
    }

    /// A stream that nothing was sent on.
    pub(super) fn nothing_unsent(&self, conn: ConnId) -> Unsent {
        let owed = self.owing(0);
        Unsent { conn, owed }
    }

    /// Bytes are sent on a stream. They are due from when there were none on its connection.
    pub(super) fn send(&mut self, unsent: &mut Unsent, bytes: usize, now: Time, limits: &Limits) {
        if bytes == 0 {
            return;
        }
        let tally = self.connections.entry(unsent.conn).or_default();
        if tally.unsent == 0 {
            tally.due = now + limits.unsent_time;
        }
        tally.unsent = tally.unsent.saturating_add(bytes);
        self.unsent = self.unsent.saturating_add(bytes);
        unsent.owed.add(bytes);
    }

    /// The transport took bytes of a stream, or nobody wants them any more; how many that were there.
    pub(super) fn sent(
        &mut self,
        unsent: &mut Unsent,
        bytes: usize,
        now: Time,
        limits: &Limits,
    ) -> usize {
        let left = unsent.bytes().saturating_sub(bytes);
        let taken = unsent.owed.take_all_but(left);
        self.unsent = self.unsent.saturating_sub(taken);
        self.lower(unsent.conn, |tally| {
            tally.unsent = tally.unsent.saturating_sub(taken);
            // Who is fast now has no more time when it stops than anybody else.
            let later = tally.due + time_for(taken, limits.slowest);
            tally.due = later.min(now + limits.unsent_time);
        });
        taken
    }

    /// Nobody wants what was sent on a stream any more.
    pub(super) fn unsend(&mut self, mut unsent: Unsent, now: Time, limits: &Limits) {
        if unsent.bytes() > 0 {
            self.sent(&mut unsent, usize::MAX, now, limits);
        }
    }

    /// Bytes of a connection that its transport has not taken.
    pub(super) fn unsent(&self, conn: ConnId) -> usize {
        self.connections.get(&conn).map_or(0, |tally| tally.unsent)
    }

    /// When those have lain there for too long.
    pub(super) fn unsent_due(&self, conn: ConnId) -> Option<Time> {
        let tally = self.connections.get(&conn)?;
        (tally.unsent > 0).then_some(tally.due)
    }

    /// Bytes that transports have not taken, of all connections.
    pub(super) const fn all_unsent(&self) -> usize {
        self.unsent
    }

    /// A connection has one more long answer that runs or is in line.
    pub(super) fn take_turn(&mut self, conn: ConnId) -> Turn {
        let tally = self.connections.entry(conn).or_default();
        tally.turns = tally.turns.saturating_add(1);
        let owed = self.owing(1);
        Turn { conn, owed }
    }

    /// That one is over, or waits again.
    pub(super) fn give_turn_back(&mut self, mut turn: Turn) {
        let given = turn.owed.take_all_but(0);
        self.lower(turn.conn, |tally| {
            tally.turns = tally.turns.saturating_sub(given);
        });
    }

    /// Long answers of a connection that run or are in line.
    pub(super) fn turns(&self, conn: ConnId) -> usize {
        self.connections.get(&conn).map_or(0, |tally| tally.turns)
    }

    /// Less is counted for a connection. Of one that nothing is counted for nothing is kept.
    fn lower(&mut self, conn: ConnId, by: impl FnOnce(&mut Tally)) {
        if let Entry::Occupied(mut tally) = self.connections.entry(conn) {
            by(tally.get_mut());
            if tally.get().is_empty() {
                tally.remove();
            }
        }
    }

    #[cfg_attr(not(debug_assertions), allow(clippy::unused_self))]
    fn owing(&self, amount: usize) -> Owed {
        Owed {
            amount,
            #[cfg(debug_assertions)]
            to: Arc::downgrade(&self.alive),
        }
    }
}

/// How much is to be given back.
struct Owed {
    amount: usize,
    #[cfg(debug_assertions)]
    to: Weak<()>,
}

impl Owed {
    const fn add(&mut self, more: usize) {
        self.amount = self.amount.saturating_add(more);
    }

    /// What is more than is left.
    const fn take_all_but(&mut self, left: usize) -> usize {
        let given = self.amount.saturating_sub(left);
        self.amount = self.amount.saturating_sub(given);
        given
    }
}

/// Only what is lost while the core goes on is an error, and while nothing else is: a panic drops everything on its way.
#[cfg(debug_assertions)]
impl Drop for Owed {
    fn drop(&mut self) {
        let is_lost = self.amount > 0 && self.to.strong_count() > 0;
        debug_assert!(
            !is_lost || std::thread::panicking(),
            "{} of what a peer holds was dropped and not given back",
            self.amount
        );
    }
}

/// How long this many bytes take at this many a second.
pub(super) fn time_for(bytes: usize, slowest: usize) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let slowest = u64::try_from(slowest).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(bytes.saturating_mul(1_000_000) / slowest)
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::ids::IdentityKey;

    const ROOM: usize = 100_000;

    fn holder(number: u8) -> Holder {
        match number % 2 {
            0 => Holder::Account(IdentityKey([number; 32])),
            _ => Holder::Address(IpAddr::from([10, 0, 0, number])),
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Begin(u8, bool),
        Grow(usize, usize),
        Shrink(usize, usize),
        GiveBack(usize),
        Reserve(u8),
        Open(u8),
        Send(usize, usize),
        Sent(usize, usize),
        Unsend(usize),
        Take(u8),
        GiveTurnBack(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let (conn, place, bytes) = (|| 0..6_u8, || 0..20_usize, || 0..60_000_usize);
        prop_oneof![
            (conn(), any::<bool>()).prop_map(|(conn, small)| Act::Begin(conn, small)),
            (place(), bytes()).prop_map(|(place, bytes)| Act::Grow(place, bytes)),
            (place(), bytes()).prop_map(|(place, bytes)| Act::Shrink(place, bytes)),
            place().prop_map(Act::GiveBack),
            conn().prop_map(Act::Reserve),
            conn().prop_map(Act::Open),
            (place(), bytes()).prop_map(|(place, bytes)| Act::Send(place, bytes)),
            (place(), bytes()).prop_map(|(place, bytes)| Act::Sent(place, bytes)),
            place().prop_map(Act::Unsend),
            conn().prop_map(Act::Take),
            place().prop_map(Act::GiveTurnBack),
        ]
    }

    /// Takes one out, if there is any.
    fn pick<T>(of: &mut Vec<T>, place: usize) -> Option<T> {
        (!of.is_empty()).then(|| of.swap_remove(place % of.len()))
    }

    proptest! {
        /// Whatever is taken and given back in whatever order: what is counted is what those who have it add up to.
        #[test]
        fn what_is_counted_is_what_the_owners_have(acts in vec(act(), 0..200)) {
            let limits = Limits::default();
            let mut charges = Charges::new(&limits);
            let (mut held, mut unsent, mut turns) = (Vec::new(), Vec::new(), Vec::new());
            for (second, act) in (0_u64..).zip(acts) {
                let now = Time::ZERO + Duration::from_secs(second);
                let conn = |number: u8| ConnId(number.into());
                match act {
                    Act::Begin(number, small) => {
                        let kind = if small { Kind::Small } else { Kind::Large };
                        held.push(charges.request(conn(number), kind, holder(number)));
                    }
                    Act::Grow(place, more) => {
                        if let Some(mut charge) = pick(&mut held, place) {
                            let _ = match charge.kind() {
                                Kind::Answers => charges.grow_if_idle(&mut charge, more).map_err(Lack::Shared),
                                _ => charges.grow(&mut charge, more, ROOM),
                            };
                            held.push(charge);
                        }
                    }
                    Act::Shrink(place, to) => {
                        if let Some(mut charge) = pick(&mut held, place) {
                            charges.shrink(&mut charge, to);
                            prop_assert!(charge.bytes() <= to);
                            held.push(charge);
                        }
                    }
                    Act::GiveBack(place) => {
                        if let Some(charge) = pick(&mut held, place) {
                            charges.give_back(charge);
                        }
                    }
                    Act::Reserve(number) => held.extend(charges.reserve_answer(holder(number)).ok()),
                    Act::Open(number) => unsent.push(charges.nothing_unsent(conn(number))),
                    Act::Send(place, bytes) => {
                        if let Some(mut waits) = pick(&mut unsent, place) {
                            charges.send(&mut waits, bytes, now, &limits);
                            unsent.push(waits);
                        }
                    }
                    Act::Sent(place, bytes) => {
                        if let Some(mut waits) = pick(&mut unsent, place) {
                            charges.sent(&mut waits, bytes, now, &limits);
                            unsent.push(waits);
                        }
                    }
                    Act::Unsend(place) => {
                        if let Some(waits) = pick(&mut unsent, place) {
                            charges.unsend(waits, now, &limits);
                        }
                    }
                    Act::Take(number) => turns.push(charges.take_turn(conn(number))),
                    Act::GiveTurnBack(place) => {
                        if let Some(turn) = pick(&mut turns, place) {
                            charges.give_turn_back(turn);
                        }
                    }
                }
                let all: usize = held.iter().map(Charge::bytes).sum();
                prop_assert_eq!(charges.held(), all);
                let all: usize = unsent.iter().map(Unsent::bytes).sum();
                prop_assert_eq!(charges.all_unsent(), all);
                for number in 0..6 {
                    let is_request = |charge: &&Charge| charge.conn == Some(conn(number));
                    let requests: usize = held.iter().filter(is_request).map(Charge::bytes).sum();
                    let counted = charges.connections.get(&conn(number)).map_or(0, |tally| tally.requests);
                    prop_assert_eq!(counted, requests);
                    prop_assert!(requests <= ROOM);
                    let here = unsent.iter().filter(|waits| waits.conn == conn(number));
                    prop_assert_eq!(charges.unsent(conn(number)), here.map(Unsent::bytes).sum::<usize>());
                    prop_assert_eq!(charges.unsent_due(conn(number)).is_some(), charges.unsent(conn(number)) > 0);
                    let here = turns.iter().filter(|turn| turn.conn == conn(number));
                    prop_assert_eq!(charges.turns(conn(number)), here.count());
                }
            }
            held.into_iter().for_each(|charge| charges.give_back(charge));
            unsent.into_iter().for_each(|waits| charges.unsend(waits, Time::ZERO, &limits));
            turns.into_iter().for_each(|turn| charges.give_turn_back(turn));
            prop_assert!(charges.connections.is_empty() && charges.held() == 0);
        }
    }

    /// Nobody has to look for a charge that was forgotten.
    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "1000 of what a peer holds was dropped and not given back")]
    fn a_charge_that_is_lost_is_noticed() {
        let mut charges = Charges::new(&Limits::default());
        let mut charge = charges.request(ConnId(1), Kind::Small, holder(2));
        assert_eq!(charges.grow(&mut charge, 1000, ROOM), Ok(()));
        drop(charge);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "not given back")]
    fn bytes_that_nobody_waits_for_are_noticed() {
        let limits = Limits::default();
        let mut charges = Charges::new(&limits);
        let mut unsent = charges.nothing_unsent(ConnId(1));
        charges.send(&mut unsent, 9, Time::ZERO, &limits);
        drop(unsent);
    }

    #[test]
    fn what_goes_with_the_core_is_not_lost() {
        let mut charges = Charges::new(&Limits::default());
        let turn = charges.take_turn(ConnId(1));
        drop(charges);
        drop(turn);
    }
}
