//! Connections of a [`Net`]: byte queues between a client and the server, with credit for what the receiver has room
//! for.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use qpq_protocol::io::{Alpn, ConnectError, Core as _, Output, PeerInfo, StreamInput};

use super::{Input, Net};

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Side {
    Client,
    Server,
}

/// A connection between a client and the server.
pub(super) struct Link {
    pub(super) client: usize,
    /// Streams that either side opened, by what the other calls them.
    pub(super) bi: Vec<OwnStream>,
    pub(super) uni: Vec<OwnStream>,
    /// The methods of the requests, in the order of `bi`.
    pub(super) methods: Vec<u16>,
    /// Answers that are not whole yet, while the server lies.
    pub(super) held: BTreeMap<OwnStream, Vec<u8>>,
}

impl Net {
    pub(super) fn connect(&mut self, client: usize, ticket: Ticket) {
        let Some(server) = &mut self.server else {
            let why = ConnectError::Unreachable;
            self.clients[client].tell(self.now, Input::ConnectFailed(ticket, why));
            return;
        };
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let port = 10_000 + u16::try_from(client).unwrap_or(0);
        let peer = |port| PeerInfo {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            alpn: Alpn::Qpq,
            certificate: None,
        };
        self.links.insert(
            conn,
            Link {
                client,
                bi: Vec::new(),
                uni: Vec::new(),
                methods: Vec::new(),
                held: BTreeMap::new(),
            },
        );
        server.tell(self.now, Input::Connected(conn, peer(port), None));
        let node = &mut self.clients[client];
        node.tell(self.now, Input::Connected(conn, peer(5001), Some(ticket)));
    }

    /// Puts what one side sends on its way to the other.
    pub(super) fn wire<E>(&mut self, from: Side, output: Output<E>) {
        match output {
            Output::Open { conn, stream, dir } => {
                if let Some(link) = self.links.get_mut(&conn) {
                    match dir {
                        Dir::Bi => link.bi.push(stream),
                        Dir::Uni => link.uni.push(stream),
                    }
                }
            }
            Output::Send {
                conn,
                stream,
                data,
                fin,
            } => {
                self.note_method(conn, from, &data);
                let Some(data) = self.lied(conn, from, stream, data, fin) else {
                    return;
                };
                if !data.is_empty() {
                    self.queue(conn, from, stream, StreamInput::Data(data));
                }
                if fin {
                    self.queue(conn, from, stream, StreamInput::Fin);
                }
            }
            Output::Reset { conn, stream, code } => {
                self.queue(conn, from, stream, StreamInput::Reset(code));
            }
            Output::Close { conn, .. } => self.cut(conn),
            _ => {}
        }
    }

    /// A client sends each request in one piece.
    fn note_method(&mut self, conn: ConnId, from: Side, frame: &Bytes) {
        if let (Side::Client, Some(link), Some(id)) =
            (from, self.links.get_mut(&conn), frame.first_chunk::<2>())
        {
            let method = u16::from_be_bytes(*id);
            link.methods.push(method);
            self.asked.push(method);
            // Method, request id and length come before it.
            let request = Bytes::copy_from_slice(frame.get(10..).unwrap_or_default());
            if let Some(record) = &mut self.record {
                record.push((method, request.clone()));
            }
            self.requests.insert(method, request);
        }
    }

    fn queue(&mut self, conn: ConnId, from: Side, stream: StreamId, input: StreamInput) {
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        let place = |opened: &[OwnStream], own| {
            let place = opened.iter().position(|stream| *stream == own);
            place.and_then(|place| u64::try_from(place).ok())
        };
        let (to, theirs) = match (from, stream) {
            (Side::Client, StreamId::Own(own)) => (
                Side::Server,
                place(&link.bi, own).map(|n| StreamId::Peer(Dir::Bi, n)),
            ),
            (Side::Server, StreamId::Own(own)) => (
                Side::Client,
                place(&link.uni, own).map(|n| StreamId::Peer(Dir::Uni, n)),
            ),
            (_, StreamId::Peer(dir, number)) => {
                let opened = if dir == Dir::Bi { &link.bi } else { &link.uni };
                let number = usize::try_from(number).ok();
                let own = number.and_then(|number| opened.get(number));
                let to = if from == Side::Client {
                    Side::Server
                } else {
                    Side::Client
                };
                (to, own.map(|own| StreamId::Own(*own)))
            }
        };
        if self.deaf && matches!(theirs, Some(StreamId::Peer(Dir::Uni, _))) {
            return;
        }
        if let Some(stream) = theirs {
            self.wires
                .entry((conn, to, stream))
                .or_default()
                .push_back(input);
        }
    }

    /// Hands over bytes for which the receiver has room; whether there were any.
    pub(super) fn deliver(&mut self) -> bool {
        let mut delivered = false;
        for key in self.wires.keys().copied().collect::<Vec<_>>() {
            let (conn, to, stream) = key;
            let Some(client) = self.links.get(&conn).map(|link| link.client) else {
                continue;
            };
            if self.is_late(conn, to, stream) {
                continue;
            }
            let credit = match (to, &self.server) {
                (Side::Server, Some(server)) => server.core.credit(conn, stream),
                (Side::Server, None) => 0,
                (Side::Client, _) => self.clients[client].core.credit(conn, stream),
            };
            let Some(queue) = self.wires.get_mut(&key) else {
                continue;
            };
            let Some(input) = queue.pop_front() else {
                self.wires.remove(&key);
                continue;
            };
            let input = match input {
                StreamInput::Data(mut data) => {
                    let taken = data.len().min(credit).min(self.piece);
                    let rest = data.split_off(taken);
                    if !rest.is_empty() {
                        queue.push_front(StreamInput::Data(rest));
                    }
                    if taken == 0 {
                        continue;
                    }
                    StreamInput::Data(data)
                }
                other => other,
            };
            delivered = true;
            self.hand_over(conn, to, stream, client, input);
        }
        delivered
    }

    fn hand_over(
        &mut self,
        conn: ConnId,
        to: Side,
        stream: StreamId,
        client: usize,
        input: StreamInput,
    ) {
        let taken = match &input {
            StreamInput::Data(data) => data.len(),
            _ => 0,
        };
        self.bytes += taken;
        let sender = self.other_name(conn, to, stream);
        let sent = StreamInput::Sent(taken);
        let client = &mut self.clients[client];
        let Some(server) = &mut self.server else {
            return;
        };
        match to {
            Side::Server => {
                server.tell(self.now, Input::Stream(conn, stream, input));
                if let (Some(name), true) = (sender, taken > 0) {
                    client.tell(self.now, Input::Stream(conn, name, sent));
                }
            }
            Side::Client => {
                client.tell(self.now, Input::Stream(conn, stream, input));
                if let (Some(name), true) = (sender, taken > 0) {
                    server.tell(self.now, Input::Stream(conn, name, sent));
                }
            }
        }
    }

    /// What the sender calls a stream.
    fn other_name(&self, conn: ConnId, to: Side, stream: StreamId) -> Option<StreamId> {
        let link = self.links.get(&conn)?;
        match stream {
            StreamId::Own(own) => {
                let (opened, dir) = match to {
                    Side::Client => (&link.bi, Dir::Bi),
                    Side::Server => (&link.uni, Dir::Uni),
                };
                let place = opened.iter().position(|stream| *stream == own)?;
                Some(StreamId::Peer(dir, u64::try_from(place).ok()?))
            }
            StreamId::Peer(dir, number) => {
                let opened = if dir == Dir::Bi { &link.bi } else { &link.uni };
                Some(StreamId::Own(*opened.get(usize::try_from(number).ok()?)?))
            }
        }
    }
}
