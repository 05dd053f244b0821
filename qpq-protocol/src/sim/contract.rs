//! What a core may rely on, checked where its network speaks to it: what [`crate::io::Core`] and the
//! page of `quic` say of connections, streams and credit.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{ConnId, StreamId, Ticket};
use crate::io::StreamInput;

/// Watches one core's connections. Each method says what was broken.
#[derive(Default)]
pub(super) struct Contract {
    /// Connections that the core asked for, and has heard nothing of.
    asked: BTreeSet<Ticket>,
    /// Names of connections, that stand or stood.
    used: BTreeSet<ConnId>,
    up: BTreeMap<ConnId, BTreeMap<StreamId, Stream>>,
}

#[derive(Default)]
struct Stream {
    /// The peer's half is over.
    ended: bool,
    /// Bytes that the core gave and the transport has not taken.
    unsent: usize,
}

/// What was broken, if anything.
type Broken = Option<&'static str>;

impl Contract {
    /// The core asked for a connection.
    pub(super) fn connect(&mut self, ticket: Ticket) {
        self.asked.insert(ticket);
    }

    pub(super) fn connect_failed(&mut self, ticket: Ticket) -> Broken {
        let asked = self.asked.remove(&ticket);
        (!asked).then_some("a connection failed that was not asked for, or was answered already")
    }

    pub(super) fn connected(&mut self, conn: ConnId, ticket: Option<Ticket>) -> Broken {
        self.up.insert(conn, BTreeMap::new());
        if !self.used.insert(conn) {
            return Some("a connection got the name of an earlier one");
        }
        let asked = ticket.is_none_or(|ticket| self.asked.remove(&ticket));
        (!asked).then_some("a connection stands that was not asked for, or was answered already")
    }

    pub(super) fn disconnected(&mut self, conn: ConnId) -> Broken {
        let stood = self.up.remove(&conn).is_some();
        (!stood).then_some("a connection ended that did not stand")
    }

    /// The core opened a stream of its own.
    pub(super) fn opened(&mut self, conn: ConnId, stream: StreamId) {
        if let Some(streams) = self.up.get_mut(&conn) {
            streams.entry(stream).or_default();
        }
    }

    /// The core gave bytes.
    pub(super) fn gave(&mut self, conn: ConnId, stream: StreamId, bytes: usize) {
        let streams = self.up.get_mut(&conn);
        if let Some(stream) = streams.and_then(|streams| streams.get_mut(&stream)) {
            stream.unsent = stream.unsent.saturating_add(bytes);
        }
    }

    /// Something happened on a stream for which the core had this much credit.
    pub(super) fn stream(
        &mut self,
        conn: ConnId,
        name: StreamId,
        input: &StreamInput,
        credit: usize,
    ) -> Broken {
        let Some(streams) = self.up.get_mut(&conn) else {
            return Some("a stream belonged to no connection that stands");
        };
        let stream = match name {
            StreamId::Peer(..) => streams.entry(name).or_default(),
            StreamId::Own(_) => match streams.get_mut(&name) {
                Some(stream) => stream,
                None => return Some("a stream was answered that the core did not open"),
            },
        };
        match input {
            StreamInput::Data(_) | StreamInput::Fin | StreamInput::Reset(_) if stream.ended => {
                Some("a stream went on after its end")
            }
            StreamInput::Data(data) if data.len() > credit => {
                Some("a core was given more than it had credit for")
            }
            StreamInput::Fin | StreamInput::Reset(_) => {
                stream.ended = true;
                None
            }
            StreamInput::Sent(bytes) if *bytes > stream.unsent => {
                Some("more bytes were sent than the core gave")
            }
            StreamInput::Sent(bytes) => {
                stream.unsent -= bytes;
                None
            }
            StreamInput::Data(_) | StreamInput::Stopped(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{Dir, OwnStream};

    const CONN: ConnId = ConnId(1);
    const OWN: StreamId = StreamId::Own(OwnStream(1));
    const PEER: StreamId = StreamId::Peer(Dir::Bi, 0);

    fn data(length: usize) -> StreamInput {
        StreamInput::Data(Bytes::from(vec![0; length]))
    }

    fn standing() -> Contract {
        let mut contract = Contract::default();
        assert_eq!(contract.connected(CONN, None), None);
        contract.opened(CONN, OWN);
        contract
    }

    #[test]
    fn a_connection_begins_once_and_ends_once() {
        let mut contract = standing();
        assert_eq!(contract.disconnected(CONN), None);
        assert!(contract.disconnected(CONN).is_some());
        assert!(contract.stream(CONN, PEER, &data(1), 1).is_some());
        assert!(contract.connected(CONN, None).is_some());
    }

    #[test]
    fn a_connect_is_answered_once() {
        let mut contract = Contract::default();
        for ticket in [Ticket(1), Ticket(2)] {
            contract.connect(ticket);
        }
        assert_eq!(contract.connected(CONN, Some(Ticket(1))), None);
        assert_eq!(contract.connect_failed(Ticket(2)), None);
        assert!(contract.connect_failed(Ticket(1)).is_some());
        assert!(contract.connected(ConnId(2), Some(Ticket(2))).is_some());
    }

    #[test]
    fn a_stream_ends_once_and_keeps_to_its_credit() {
        let mut contract = standing();
        assert_eq!(contract.stream(CONN, PEER, &data(2), 2), None);
        assert!(contract.stream(CONN, PEER, &data(3), 2).is_some());
        assert_eq!(contract.stream(CONN, PEER, &StreamInput::Fin, 0), None);
        for late in [data(0), StreamInput::Fin, StreamInput::Reset(0)] {
            assert!(contract.stream(CONN, PEER, &late, 9).is_some(), "{late:?}");
        }
        assert_eq!(
            contract.stream(CONN, PEER, &StreamInput::Stopped(0), 0),
            None
        );
    }

    #[test]
    fn no_more_is_sent_than_was_given_nor_on_streams_that_nobody_opened() {
        let mut contract = standing();
        contract.gave(CONN, OWN, 5);
        assert_eq!(contract.stream(CONN, OWN, &StreamInput::Sent(5), 0), None);
        assert!(
            contract
                .stream(CONN, OWN, &StreamInput::Sent(1), 0)
                .is_some()
        );
        let other = StreamId::Own(OwnStream(2));
        assert!(contract.stream(CONN, other, &StreamInput::Fin, 0).is_some());
    }
}
