//! What the core keeps of one connection: its session, its login, its streams and their budgets.

use std::collections::{BTreeMap, BTreeSet};

use super::push::PushStream;
use super::rate::network;
use super::services::auth::LoginSlot;
use super::step::{Caller, Session};
use super::stream::Stream;
use super::tasks::TaskId;
use crate::ids::ConnId;
use crate::io::PeerInfo;
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
    /// Bytes set aside for requests.
    pub(super) reserved: usize,
    /// Bytes of answers and pushes that the transport has not taken.
    pub(super) unsent: usize,
    /// Requests with long answers that run.
    pub(super) long_running: usize,
    /// Requests with long answers that wait for their turn.
    pub(super) long_waiting: BTreeSet<TaskId>,
    /// The stream that pushes go out on.
    pub(super) push: Option<PushStream>,
    /// When its timer fires, if it runs.
    pub(super) check_at: Option<Time>,
    /// Whether it was told to close.
    pub(super) closing: bool,
}

impl Connection {
    /// A connection that just came to stand.
    pub(super) fn new(peer: PeerInfo) -> Self {
        Self {
            peer,
            session: None,
            login: None,
            streams: BTreeMap::new(),
            finished: Finished::default(),
            reserved: 0,
            unsent: 0,
            long_running: 0,
            long_waiting: BTreeSet::new(),
            push: None,
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
