//! Answers on their way out: into frames, onto streams, until the transport has taken them.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Server;
use super::shares::Hold;
use super::step::Fault;
use super::stream::State;
use crate::frame::{Header as _, ResponseHeader, encode_response};
use crate::ids::{ConnId, Dir, StreamId};
use crate::io::Output;
use crate::limits::ENTRY;
use crate::status::Status;

impl Server {
    /// Sends the answer Ok; the frame's header is filled in here. `hold` covers it if it is long.
    pub(super) fn send_ok(
        &mut self,
        conn: ConnId,
        stream: u64,
        request_id: u32,
        mut frame: BytesMut,
        hold: Option<Hold>,
    ) {
        let length = frame.len().saturating_sub(ResponseHeader::LEN);
        let most = match hold {
            Some(_) => self.config.limits.answer,
            None => ENTRY,
        };
        let (Ok(payload_len), true) = (u32::try_from(length), length <= most) else {
            if let Some(hold) = hold {
                self.give_back_answer(hold);
            }
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
        self.send(conn, stream, frame.freeze(), hold);
    }

    /// Sends a refusal.
    pub(super) fn send_fault(&mut self, conn: ConnId, stream: u64, request_id: u32, fault: &Fault) {
        // An error detail is far shorter than a frame.
        if let Ok(frame) = encode_response(fault.status, request_id, &fault.detail) {
            self.send(conn, stream, frame, None);
        }
    }

    /// Sends an answer and ends our half. A short one is covered by what its request keeps.
    fn send(&mut self, conn: ConnId, stream: u64, frame: Bytes, hold: Option<Hold>) {
        let sends = self.connections.get(&conn).is_some_and(|connection| {
            !connection.closing && connection.streams.contains_key(&stream)
        });
        let hold = hold.and_then(|mut hold| {
            let covered = frame.len() <= ENTRY || !sends;
            let freed = self
                .shares
                .shrink(&mut hold, if covered { 0 } else { frame.len() });
            if freed {
                self.turns.freed(hold.holder());
            }
            (!covered).then_some(hold)
        });
        if !sends {
            return;
        }
        let (now, limits) = (self.clock.now(), &self.config.limits);
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let Some(open) = connection.streams.get_mut(&stream) else {
            return;
        };
        open.answer = hold;
        open.unsent = open.unsent.saturating_add(frame.len());
        if !matches!(open.state, State::Dropping) || open.fin {
            open.state = State::Answered;
        }
        connection.unsent.add(frame.len(), now, limits);
        self.unsent = self.unsent.saturating_add(frame.len());
        self.outputs.push(Output::Send {
            conn,
            stream: StreamId::Peer(Dir::Bi, stream),
            data: frame,
            fin: true,
        });
        self.watch_unsent(conn);
    }

    /// The transport took bytes of an answer.
    pub(super) fn request_sent(&mut self, conn: ConnId, stream: u64, bytes: usize) {
        let Some(open) = self
            .connections
            .get_mut(&conn)
            .and_then(|connection| connection.streams.get_mut(&stream))
        else {
            return;
        };
        let bytes = bytes.min(open.unsent);
        open.unsent = open.unsent.saturating_sub(bytes);
        let (left, over, answer) = (open.unsent, open.is_over(), open.answer.take());
        self.unsend(conn, bytes);
        if let Some(mut hold) = answer {
            if self.shares.shrink(&mut hold, left) {
                self.turns.freed(hold.holder());
            }
            if left > 0 {
                self.keep_answer(conn, stream, hold);
            }
        }
        if over {
            self.tidy_stream(conn, stream);
        }
        self.admit_long(conn);
        self.shut_down_if_done();
    }

    fn keep_answer(&mut self, conn: ConnId, stream: u64, hold: Hold) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && let Some(open) = connection.streams.get_mut(&stream)
        {
            open.answer = Some(hold);
        }
    }

    /// Bytes of a connection wait no more: they were taken, or nobody wants them.
    pub(super) fn unsend(&mut self, conn: ConnId, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.unsent = self.unsent.saturating_sub(bytes);
        let (now, limits) = (self.clock.now(), &self.config.limits);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.unsent.take(bytes, now, limits);
        }
    }

    /// Gives back what covers a long answer.
    pub(super) fn give_back_answer(&mut self, hold: Hold) {
        let holder = hold.holder();
        self.shares.give_back(hold);
        self.turns.freed(holder);
    }
}
