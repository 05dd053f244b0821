//! Answers on their way out: into frames, onto streams, until the transport has taken them.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Server;
use super::step::Fault;
use super::stream::State;
use crate::frame::{Header as _, MAX_PAYLOAD, ResponseHeader, encode_response};
use crate::ids::{ConnId, Dir, StreamId};
use crate::io::Output;
use crate::status::Status;

impl Server {
    /// Sends the answer Ok; the frame's header is filled in here.
    pub(super) fn send_ok(
        &mut self,
        conn: ConnId,
        stream: u64,
        request_id: u32,
        mut frame: BytesMut,
    ) {
        let length = frame.len().saturating_sub(ResponseHeader::LEN);
        let (Ok(payload_len), true) = (u32::try_from(length), length <= MAX_PAYLOAD) else {
            let fault = Fault::internal("the answer is longer than a frame: ask for less");
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
        self.send(conn, stream, frame.freeze());
    }

    /// Sends a refusal.
    pub(super) fn send_fault(&mut self, conn: ConnId, stream: u64, request_id: u32, fault: &Fault) {
        // An error detail is far shorter than a frame.
        if let Ok(frame) = encode_response(fault.status, request_id, &fault.detail) {
            self.send(conn, stream, frame);
        }
    }

    /// Sends an answer and ends our half.
    fn send(&mut self, conn: ConnId, stream: u64, frame: Bytes) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let Some(open) = connection.streams.get_mut(&stream) else {
            return;
        };
        if connection.closing {
            return;
        }
        open.unsent = open.unsent.saturating_add(frame.len());
        connection.unsent = connection.unsent.saturating_add(frame.len());
        self.unsent = self.unsent.saturating_add(frame.len());
        if !matches!(open.state, State::Dropping) || open.fin {
            open.state = State::Answered;
        }
        self.outputs.push(Output::Send {
            conn,
            stream: StreamId::Peer(Dir::Bi, stream),
            data: frame,
            fin: true,
        });
    }

    /// The transport took bytes of an answer.
    pub(super) fn request_sent(&mut self, conn: ConnId, stream: u64, bytes: usize) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let Some(open) = connection.streams.get_mut(&stream) else {
            return;
        };
        let bytes = bytes.min(open.unsent);
        open.unsent = open.unsent.saturating_sub(bytes);
        connection.unsent = connection.unsent.saturating_sub(bytes);
        self.unsent = self.unsent.saturating_sub(bytes);
        if open.is_over() {
            self.tidy_stream(conn, stream);
        }
        self.admit_long(conn);
        self.shut_down_if_done();
    }
}
