//! What the core keeps of one connection: its session, its login, its streams and what they hold.

use std::collections::{BTreeMap, BTreeSet};

use super::caller::{Caller, Session};
use super::login_slot::LoginSlot;
use super::push::PushStream;
use super::rate::network;
use super::run::stream::Stream;
use super::shares::Holder;
use crate::ids::ConnId;
use crate::io::PeerInfo;
use crate::limits::Limits;
use crate::site::site;
use crate::time::Time;

/// A connection of a peer.
pub(super) struct Connection {
    pub(super) peer: PeerInfo,
    /// Who uses it, since login or resume.
    pub(super) session: Option<Session>,
    /// The state between the two requests of a login.
    pub(super) login: Option<LoginSlot>,
    /// Request streams that something is still to happen on.
    pub(super) streams: BTreeMap<u64, Stream>,
    /// Request streams that nothing more is to happen on.
    pub(super) finished: Finished,
    /// The stream that pushes go out on.
    pub(super) push: Option<PushStream>,
    /// When the peer last did something.
    pub(super) heard: Time,
    /// When its timer fires, if it runs.
    pub(super) check_at: Option<Time>,
    /// Whether it was told to close.
    pub(super) closing: bool,
}

impl Connection {
    /// A connection that just came to stand.
    pub(super) fn new(peer: PeerInfo, now: Time) -> Self {
        Self {
            peer,
            session: None,
            login: None,
            streams: BTreeMap::new(),
            finished: Finished::default(),
            push: None,
            heard: now,
            check_at: None,
            closing: false,
        }
    }

    /// Who asks on it now.
    pub(super) fn caller(&self, conn: ConnId) -> Caller {
        Caller {
            conn,
            address: network(self.peer.address.ip()),
            session: self.session,
        }
    }

    /// Whose share counts what it holds from now on.
    pub(super) fn holder(&self) -> Holder {
        match self.session {
            Some(session) => Holder::Account(session.identity_key),
            None => Holder::Address(site(self.peer.address.ip())),
        }
    }

    /// Request streams it may have open.
    pub(super) const fn most_streams(&self, limits: &Limits) -> usize {
        match self.session {
            Some(_) => limits.streams,
            None => limits.anonymous_streams,
        }
    }

    /// When something of it is to be given up, unless it moves before: a request that does not arrive, a login that is
    /// not finished, a stranger's silence. What is not taken is due by itself.
    pub(super) fn due(&self, limits: &Limits) -> Option<Time> {
        let arriving = self.streams.values().filter_map(|open| open.due(limits));
        let login = self.login.as_ref().map(|slot| slot.expires);
        arriving.chain(login).chain(self.silent_at(limits)).min()
    }

    /// When a stranger on whose connection nothing happens has been silent for too long.
    pub(super) fn silent_at(&self, limits: &Limits) -> Option<Time> {
        let idle = self.session.is_none() && self.login.is_none() && self.streams.is_empty();
        idle.then(|| self.heard + limits.login_time)
    }
}

/// Which streams are over. The embedder numbers the streams of a connection from 0 without gaps, in
/// any order by so much as there are streams at once: one number and a small set are enough.
#[derive(Default)]
pub(super) struct Finished {
    /// All below are over.
    floor: u64,
    above: BTreeSet<u64>,
}

impl Finished {
    /// The most numbers kept above the floor; with more, the floor rises over a gap.
    const SPREAD: usize = 256;

    /// Whether this stream is over.
    pub(super) fn contains(&self, stream: u64) -> bool {
        stream < self.floor || self.above.contains(&stream)
    }

    /// This stream is over.
    pub(super) fn insert(&mut self, stream: u64) {
        if stream == self.floor {
            self.floor = self.floor.saturating_add(1);
        } else if stream > self.floor {
            self.above.insert(stream);
            if self.above.len() > Self::SPREAD
                && let Some(lowest) = self.above.pop_first()
            {
                self.floor = lowest.saturating_add(1);
            }
        }
        while self.above.remove(&self.floor) {
            self.floor = self.floor.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_streams_stay_finished_in_little_room() {
        let mut finished = Finished::default();
        for stream in [0, 2, 1, 5, 3] {
            assert!(!finished.contains(stream));
            finished.insert(stream);
            assert!(finished.contains(stream));
        }
        assert!(!finished.contains(4));
        finished.insert(4);
        assert_eq!(finished.floor, 6);
        assert!(finished.above.is_empty());
        for stream in (100..100_000).step_by(4) {
            finished.insert(stream);
            assert!(finished.contains(stream));
            assert!(finished.above.len() <= Finished::SPREAD);
        }
        finished.insert(u64::MAX);
        assert!(finished.contains(u64::MAX));
    }
}
