//! Answers on their way out: into frames, onto streams, until the transport has taken them.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::stream::State;
use crate::frame::{Header as _, ResponseHeader, encode_response};
use crate::ids::{ConnId, Dir, StreamId};
use crate::io::Output;
use crate::limits::ENTRY;
use crate::server::Server;
use crate::server::charges::{Charge, Unsent};
use crate::server::counters::Counters;
use crate::server::fault::Fault;
use crate::server::timers::Timer;
use crate::status::Status;

impl Server {
    /// Sends the answer Ok; the frame's header is filled in here. `room` covers it if it is long.
    pub(in crate::server) fn send_ok(
        &mut self,
        conn: ConnId,
        stream: u64,
        request_id: u32,
        mut frame: BytesMut,
        room: Option<Charge>,
    ) {
        let length = frame.len().saturating_sub(ResponseHeader::LEN);
        let most = match room {
            Some(_) => self.config.limits.answer,
            None => ENTRY,
        };
        let (Ok(payload_len), true) = (u32::try_from(length), length <= most) else {
            self.drop_room(room);
            let fault = Fault::internal("the answer is longer than it may be: ask for less");
            return self.send_fault(conn, stream, request_id, &fault);
        };
        let header = ResponseHeader {
            status: Status::Ok,
            request_id,
            payload_len,
        };
        if let Some(mut blank) = frame.get_mut(..ResponseHeader::LEN)
            && blank.remaining_mut() == ResponseHeader::LEN
        {
            header.write(&mut blank);
        }
        self.send(conn, stream, frame.freeze(), room);
    }

    /// Sends a refusal.
    pub(in crate::server) fn send_fault(
        &mut self,
        conn: ConnId,
        stream: u64,
        request_id: u32,
        fault: &Fault,
    ) {
        // An error detail is far shorter than a frame.
        if let Ok(frame) = encode_response(fault.status, request_id, &fault.detail) {
            self.send(conn, stream, frame, None);
        }
    }

    /// Sends an answer and ends our half. A short one is covered by what its request keeps.
    fn send(&mut self, conn: ConnId, stream: u64, frame: Bytes, room: Option<Charge>) {
        let (now, limits) = (self.clock.now(), &self.config.limits);
        let connection = self.connections.get_mut(&conn);
        let open = connection
            .filter(|connection| !connection.closing)
            .and_then(|connection| {
                let open = connection.streams.get_mut(&stream)?;
                Some((open, &mut connection.check_at))
            });
        let Some((open, check_at)) = open else {
            return self.drop_room(room);
        };
        let length = frame.len();
        open.answer = room.and_then(|mut room| {
            let covers = if length > ENTRY { length } else { 0 };
            self.long_answers
                .shrink(&mut self.charges, &mut room, covers);
            (covers > 0).then_some(room)
        });
        self.charges.send(&mut open.unsent, length, now, limits);
        if !matches!(open.state, State::Dropping) || open.fin {
            open.state = State::Answered;
        }
        if let Some(due) = self.charges.unsent_due(conn) {
            self.timers
                .bring_forward(check_at, due, Timer::Connection(conn));
        }
        self.outputs.push(Output::Send {
            conn,
            stream: StreamId::Peer(Dir::Bi, stream),
            data: frame,
            fin: true,
        });
    }

    /// The transport took bytes of an answer.
    pub(in crate::server) fn request_sent(&mut self, conn: ConnId, stream: u64, bytes: usize) {
        let (now, limits) = (self.clock.now(), &self.config.limits);
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let Some(open) = connection.streams.get_mut(&stream) else {
            return;
        };
        let taken = self.charges.sent(&mut open.unsent, bytes, now, limits);
        Counters::bytes(&mut self.counters.bytes_sent, taken);
        if let Some(room) = &mut open.answer {
            let left = open.unsent.bytes();
            self.long_answers.shrink(&mut self.charges, room, left);
        }
        if open.is_over() {
            self.tidy_stream(conn, stream);
        }
        self.run_next_long(conn);
        self.shut_down_if_done();
    }

    /// Nobody wants what was sent on a stream any more.
    pub(in crate::server) fn unsend(&mut self, unsent: Unsent) {
        let (now, limits) = (self.clock.now(), &self.config.limits);
        self.charges.unsend(unsent, now, limits);
    }

    /// Gives back room for a long answer that is not needed.
    pub(in crate::server) fn drop_room(&mut self, room: Option<Charge>) {
        if let Some(room) = room {
            self.give_back_answer(room);
        }
    }

    /// Gives back what covers a long answer.
    pub(in crate::server) fn give_back_answer(&mut self, mut room: Charge) {
        self.long_answers.shrink(&mut self.charges, &mut room, 0);
    }
}
