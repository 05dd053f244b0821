//! One direction of a stream: in order, cut anywhere, as fast as its receiver has room.

use std::collections::VecDeque;

use super::link::Side;
use super::{Due, Streams};
use crate::ids::{ConnId, Dir, StreamId};
use crate::io::StreamInput;
use crate::sim::below;
use crate::sim::host::Hosts;
use crate::time::Time;

/// One direction of a stream, by connection, receiver and the receiver's name of it.
pub(super) type WireId = (ConnId, Side, StreamId);

#[derive(Default)]
pub(super) struct Wire {
    flying: VecDeque<StreamInput>,
    /// Arrived, and waiting for the receiver to have room.
    ready: VecDeque<StreamInput>,
    /// When the last that was sent arrives.
    pub(super) last: Time,
    /// The end was handed over: QUIC tells of no reset after it.
    ended: bool,
}

impl Streams {
    pub(super) fn send(
        &mut self,
        now: Time,
        conn: ConnId,
        from: Side,
        stream: StreamId,
        input: StreamInput,
    ) {
        let to = from.other();
        let name = match self.links.get(&conn) {
            Some(link) if link.is_up(from) && !link.dead => link.name(to, stream),
            _ => return,
        };
        let Some(name) = name else { return };
        let id = (conn, to, name);
        let mut pieces = vec![input];
        if let Some(StreamInput::Data(data)) = pieces.first_mut() {
            if data.is_empty() {
                return;
            }
            // Any split gives the same: now and then it is a strange one.
            if self.rng.below(4) == 0 {
                let at = below(&mut self.rng, data.len());
                let rest = data.split_off(at);
                pieces.push(StreamInput::Data(rest));
            }
        }
        for piece in pieces {
            if matches!(&piece, StreamInput::Data(data) if data.is_empty()) {
                continue;
            }
            let at = now + self.delay();
            let wire = self.wires.entry(id).or_default();
            wire.last = wire.last.max(at);
            wire.flying.push_back(piece);
            let at = wire.last;
            self.after(at, Due::Arrive(id));
        }
    }

    pub(super) fn reset(
        &mut self,
        now: Time,
        conn: ConnId,
        from: Side,
        stream: StreamId,
        code: u64,
    ) {
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        let Some(name) = link.name(from.other(), stream) else {
            return;
        };
        // What the peer sends is not read any more.
        self.wires.remove(&(conn, from, stream));
        let writes = !matches!(stream, StreamId::Peer(Dir::Uni, _));
        let reads = from == Side::Client || matches!(stream, StreamId::Peer(..));
        if writes {
            // A reset overtakes data, or it does not.
            if self.rng.below(2) == 0
                && let Some(wire) = self.wires.get_mut(&(conn, from.other(), name))
            {
                *wire = Wire {
                    ended: wire.ended,
                    ..Wire::default()
                };
            }
            self.send(now, conn, from, stream, StreamInput::Reset(code));
        }
        if reads {
            self.send(now, conn, from, stream, StreamInput::Stopped(code));
        }
    }

    pub(super) fn arrive(&mut self, now: Time, id: WireId, hosts: &mut Hosts<Self>) {
        let Some(link) = self.links.get(&id.0) else {
            return;
        };
        let heals = self.heals(link.client);
        if heals > now {
            let at = heals + self.delay();
            return self.after(at, Due::Arrive(id));
        }
        if let Some(wire) = self.wires.get_mut(&id)
            && let Some(piece) = wire.flying.pop_front()
        {
            wire.ready.push_back(piece);
            self.hand_over(now, id, hosts);
        }
    }

    /// Hands over what has arrived, as far as the receiver has room.
    pub(super) fn hand_over(&mut self, now: Time, id: WireId, hosts: &mut Hosts<Self>) {
        let (conn, to, stream) = id;
        self.starved.remove(&id);
        let Some(link) = self.links.get(&conn).filter(|link| link.is_up(to)) else {
            return;
        };
        let (receiver, sender) = (link.who(to), link.who(to.other()));
        let sent_as = link
            .name(to.other(), stream)
            .filter(|_| link.is_up(to.other()));
        loop {
            let Some(wire) = self.wires.get_mut(&id) else {
                return;
            };
            let Some(mut piece) = wire.ready.pop_front() else {
                return;
            };
            if let StreamInput::Data(data) = &mut piece {
                let room = hosts.credit(receiver, conn, stream).min(data.len());
                if room < data.len() {
                    wire.ready
                        .push_front(StreamInput::Data(data.split_off(room)));
                }
                if room == 0 {
                    self.starved.insert(id);
                    return;
                }
            }
            if wire.ended && matches!(piece, StreamInput::Reset(_)) {
                continue;
            }
            wire.ended |= matches!(piece, StreamInput::Fin);
            let taken = match &piece {
                StreamInput::Data(data) => data.len(),
                _ => 0,
            };
            let Some(port) = hosts.port(receiver) else {
                return;
            };
            port.handle_stream(now, conn, stream, piece);
            if let (Some(name), true) = (sent_as, taken > 0)
                && let Some(port) = hosts.port(sender)
            {
                port.handle_stream(now, conn, name, StreamInput::Sent(taken));
            }
        }
    }
}
