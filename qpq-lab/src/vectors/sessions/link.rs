//! A connection between a client and the server, and what each side calls its streams.

use qpq_protocol::ids::{Dir, OwnStream, StreamId};

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    /// The other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A connection between a client, which opens streams both ways, and the server, which opens
/// streams one way.
pub struct Link {
    /// Which client.
    pub client: usize,
    /// Streams that the client opened.
    pub bi: Vec<OwnStream>,
    /// Streams that the server opened.
    pub uni: Vec<OwnStream>,
}

impl Link {
    /// What the other side calls a stream that `side` names so.
    pub fn translate(&self, side: Side, stream: StreamId) -> Option<StreamId> {
        match stream {
            StreamId::Own(own) => {
                let (dir, opened) = match side {
                    Side::Client => (Dir::Bi, &self.bi),
                    Side::Server => (Dir::Uni, &self.uni),
                };
                let number = opened.iter().position(|one| *one == own)?;
                Some(StreamId::Peer(dir, number.try_into().ok()?))
            }
            StreamId::Peer(dir, number) => {
                let opened = match dir {
                    Dir::Bi => &self.bi,
                    Dir::Uni => &self.uni,
                };
                let own = opened.get(usize::try_from(number).ok()?)?;
                Some(StreamId::Own(*own))
            }
        }
    }
}
