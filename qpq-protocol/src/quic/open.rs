//! [`Open`]: the open streams of a connection, by their names. [`Names`]: what the core calls them.

use quinn_proto::Side;

use crate::ids::{Dir, OwnStream, StreamId};
use crate::rising::Rising;

/// A map from the names of streams. Both sides number theirs upwards, so none of its parts is searched
/// for long.
pub(super) struct Open<V> {
    peer_bi: Rising<V>,
    peer_uni: Rising<V>,
    own: Rising<V>,
}

impl<V> Default for Open<V> {
    fn default() -> Self {
        Self {
            peer_bi: Rising::default(),
            peer_uni: Rising::default(),
            own: Rising::default(),
        }
    }
}

impl<V> Open<V> {
    pub(super) fn insert(&mut self, name: StreamId, value: V) -> Option<V> {
        let (streams, number) = self.part_mut(name);
        streams.insert(number, value)
    }

    pub(super) fn contains(&self, name: StreamId) -> bool {
        let (streams, number) = self.part(name);
        streams.contains(number)
    }

    pub(super) fn get(&self, name: StreamId) -> Option<&V> {
        let (streams, number) = self.part(name);
        streams.get(number)
    }

    pub(super) fn get_mut(&mut self, name: StreamId) -> Option<&mut V> {
        let (streams, number) = self.part_mut(name);
        streams.get_mut(number)
    }

    pub(super) fn remove(&mut self, name: StreamId) -> Option<V> {
        let (streams, number) = self.part_mut(name);
        streams.remove(number)
    }

    /// All values: the peer's first.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let peer = self.peer_bi.values_mut().chain(self.peer_uni.values_mut());
        peer.chain(self.own.values_mut())
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        for streams in [&mut self.peer_bi, &mut self.peer_uni, &mut self.own] {
            streams.retain(&keep);
        }
    }

    const fn part(&self, name: StreamId) -> (&Rising<V>, u64) {
        match name {
            StreamId::Peer(Dir::Bi, number) => (&self.peer_bi, number),
            StreamId::Peer(Dir::Uni, number) => (&self.peer_uni, number),
            StreamId::Own(OwnStream(number)) => (&self.own, number),
        }
    }

    const fn part_mut(&mut self, name: StreamId) -> (&mut Rising<V>, u64) {
        match name {
            StreamId::Peer(Dir::Bi, number) => (&mut self.peer_bi, number),
            StreamId::Peer(Dir::Uni, number) => (&mut self.peer_uni, number),
            StreamId::Own(OwnStream(number)) => (&mut self.own, number),
        }
    }
}

/// The core's names of streams, by quinn's.
pub(super) struct Names {
    side: Side,
    /// Those that the core opened, by quinn's number.
    bi: Rising<OwnStream>,
    uni: Rising<OwnStream>,
}

impl Names {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            bi: Rising::default(),
            uni: Rising::default(),
        }
    }

    /// The core's name of a stream.
    pub(super) fn of(&self, id: quinn_proto::StreamId) -> Option<StreamId> {
        let (dir, own) = match id.dir() {
            quinn_proto::Dir::Bi => (Dir::Bi, &self.bi),
            quinn_proto::Dir::Uni => (Dir::Uni, &self.uni),
        };
        if id.initiator() == self.side {
            own.get(id.index()).copied().map(StreamId::Own)
        } else {
            Some(StreamId::Peer(dir, id.index()))
        }
    }

    /// Notes what the core calls a stream that it opened.
    pub(super) fn insert(&mut self, id: quinn_proto::StreamId, own: OwnStream) {
        self.part(id.dir()).insert(id.index(), own);
    }

    /// Forgets the name of a stream that is over, whoever opened it.
    pub(super) fn forget(&mut self, id: quinn_proto::StreamId) {
        if id.initiator() == self.side {
            self.part(id.dir()).remove(id.index());
        }
    }

    const fn part(&mut self, dir: quinn_proto::Dir) -> &mut Rising<OwnStream> {
        match dir {
            quinn_proto::Dir::Bi => &mut self.bi,
            quinn_proto::Dir::Uni => &mut self.uni,
        }
    }
}
