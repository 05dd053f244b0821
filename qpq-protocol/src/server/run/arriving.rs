//! Requests that are not whole: where there is no room for one more byte, the youngest of them gives way
//! (protocol.md §5.27, "Shares").
//!
//! It is answered Unavailable at once, what it held is free at once, and its rest is read and dropped. So
//! the oldest always get through, and who only begins requests takes nothing from who sends them.

use std::collections::BTreeMap;

use super::stream::{Claim, Reading, State, Stream};
use crate::ids::ConnId;
use crate::rising::Rising;
use crate::server::Server;
use crate::server::charges::{Charge, Lack};
use crate::server::counters::Counters;
use crate::server::fault::Fault;
use crate::server::shares::{Kind, Short};

impl Lack {
    fn fault(self) -> Fault {
        match self {
            Self::Connection => {
                Fault::unavailable("too many requests at once on this connection").retry_after(100)
            }
            Self::Shared(Short::Share) => {
                Fault::unavailable("too many requests at once of this account or address")
                    .retry_after(100)
            }
            Self::Shared(Short::Pool) => Fault::unavailable("the server is busy").retry_after(500),
        }
    }
}

/// All of them, by age.
#[derive(Default)]
pub(in crate::server) struct Arriving {
    /// Small and large ones of accounts, then of strangers.
    pools: [Rising<(ConnId, u64)>; 4],
    last: u64,
}

impl Arriving {
    /// One more has begun; its age.
    pub(in crate::server) fn insert(&mut self, charge: &Charge, conn: ConnId, stream: u64) -> u64 {
        self.last = self.last.saturating_add(1);
        let age = self.last;
        self.pool(charge).insert(age, (conn, stream));
        age
    }

    /// This one is whole, or will never be.
    pub(in crate::server) fn remove(&mut self, claim: &Claim) {
        self.pool(&claim.charge).remove(claim.age);
    }

    /// The youngest of the pool that this one is in; `but`: other than this one.
    fn youngest(&mut self, charge: &Charge, but: Option<u64>) -> Option<(ConnId, u64)> {
        let (_, place) = self.pool(charge).last_but(but)?;
        Some(*place)
    }

    const fn pool(&mut self, charge: &Charge) -> &mut Rising<(ConnId, u64)> {
        let [small, large, stranger_small, stranger_large] = &mut self.pools;
        match (charge.holder().is_stranger(), charge.kind()) {
            (false, Kind::Small) => small,
            (false, _) => large,
            (true, Kind::Small) => stranger_small,
            (true, _) => stranger_large,
        }
    }
}

impl Server {
    /// Lets a request give way to this one that there was no room for: the youngest of its connection
    /// where that or its holder has its share, of all where the pool is full. One that is whole does not
    /// give way to others that are not. Whether another one did.
    pub(in crate::server) fn make_room(&mut self, conn: ConnId, stream: u64, lack: Lack) -> bool {
        let Some(connection) = self.connections.get(&conn) else {
            return false;
        };
        let Some(State::Reading(
            this @ Reading {
                claim: Some(claim), ..
            },
        )) = connection.streams.get(&stream).map(|open| &open.state)
        else {
            return false;
        };
        let but = this.is_whole().then_some(claim.age);
        let place = match lack {
            Lack::Connection => youngest(&connection.streams, but, |_| true),
            Lack::Shared(Short::Share) => {
                let of = |charge: &Charge| (charge.kind(), charge.holder());
                let same = |other: &Charge| of(other) == of(&claim.charge);
                youngest(&connection.streams, but, same)
            }
            Lack::Shared(Short::Pool) => None,
        };
        let victim = match (lack, place) {
            (Lack::Shared(Short::Pool), _) => self.arriving.youngest(&claim.charge, but),
            (_, place) => place.map(|stream| (conn, stream)),
        };
        match victim {
            Some(victim) if victim != (conn, stream) => self.give_way(victim.0, victim.1, lack),
            _ => false,
        }
    }

    /// Gives a request up for want of room; whether there was one.
    pub(in crate::server) fn give_way(&mut self, conn: ConnId, stream: u64, lack: Lack) -> bool {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return false;
        };
        let Some(claim) = connection
            .streams
            .get_mut(&stream)
            .and_then(Stream::give_up)
        else {
            return false;
        };
        let request_id = claim.header.request_id;
        self.unclaim(claim);
        Counters::one(&mut self.counters.turned_away);
        self.send_fault(conn, stream, request_id, &lack.fault());
        true
    }

    /// Gives back what was set aside for a request that will not be whole.
    pub(in crate::server) fn unclaim(&mut self, claim: Claim) {
        self.arriving.remove(&claim);
        self.charges.give_back(claim.charge);
    }
}

/// The youngest of these requests that are not whole, of which the charge is like that.
fn youngest(
    streams: &BTreeMap<u64, Stream>,
    but: Option<u64>,
    is: impl Fn(&Charge) -> bool,
) -> Option<u64> {
    let claims = streams
        .iter()
        .filter_map(|(stream, open)| Some((*stream, open.claim()?)));
    claims
        .filter(|(_, claim)| Some(claim.age) != but && is(&claim.charge))
        .max_by_key(|(_, claim)| claim.age)
        .map(|(stream, _)| stream)
}
