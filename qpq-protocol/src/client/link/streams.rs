//! The streams of a connection: requests and their responses, pushes.

use bytes::Bytes;

use super::connection::{Link, Request};
use super::fault::Fault;
use super::rpc::Then;
use super::timers::Timer;
use crate::client::Client;
use crate::client::error::DisconnectReason;
use crate::frame::{Decoded, Decoder, FrameError};
use crate::ids::{ConnId, Dir, OwnStream, StreamId};
use crate::io::{Output, StreamInput};
use crate::status::{AppCode, Status};
use crate::wire;

/// Requests that run at once; more wait their turn.
const MAX_RUNNING: usize = 32;
/// Streams of pushes that are read at once; the server needs one.
const MAX_PUSH_STREAMS: usize = 8;
/// Bytes taken from a stream at once.
const CREDIT: usize = 256 * 1024;
/// Above this many bytes that wait for storage, nothing is read.
const MAX_FOOTPRINT: usize = 8 * 1024 * 1024;

impl Client {
    /// Sends a whole request frame, or keeps it until there is a stream for it. Without a
    /// connection it is forgotten: who asks, asks again when there is one.
    pub(in crate::client) fn request(&mut self, frame: Bytes, then: Then) {
        if let Link::Up(up) = &mut self.link.state {
            up.asked.insert(then.clone());
            up.waiting.push_back((frame, then));
            self.start_requests();
        }
    }

    pub(super) fn start_requests(&mut self) {
        let deadline = self.clock.now() + self.config.request_timeout;
        let Link::Up(up) = &mut self.link.state else {
            return;
        };
        while up.running.len() < MAX_RUNNING {
            let Some((data, then)) = up.waiting.pop_front() else {
                return;
            };
            let stream = OwnStream(self.link.next_stream);
            self.link.next_stream = self.link.next_stream.saturating_add(1);
            let conn = up.conn;
            let request = Request {
                then,
                decoder: Decoder::new(),
                status: Status::Internal,
                payload: None,
            };
            up.running.insert(stream, request);
            self.timers.set(Timer::Request(stream), deadline);
            self.writer.effect(Output::Open {
                conn,
                stream,
                dir: Dir::Bi,
            });
            self.writer.effect(Output::Send {
                conn,
                stream: StreamId::Own(stream),
                data,
                fin: true,
            });
        }
    }

    pub(in crate::client) fn stream(&mut self, conn: ConnId, stream: StreamId, input: StreamInput) {
        if self.link.up(conn).is_none() {
            return;
        }
        match stream {
            StreamId::Own(own) => self.response(own, input),
            StreamId::Peer(Dir::Uni, _) => self.push(stream, input),
            StreamId::Peer(Dir::Bi, _) => {
                let code = AppCode::Frame.code();
                self.writer.effect(Output::Reset { conn, stream, code });
            }
        }
    }

    fn response(&mut self, stream: OwnStream, input: StreamInput) {
        let Link::Up(up) = &mut self.link.state else {
            return;
        };
        let Some(request) = up.running.get_mut(&stream) else {
            return;
        };
        let answer = match input {
            StreamInput::Data(mut data) => {
                if request.take(&mut data).is_err() {
                    self.disconnect(DisconnectReason::Protocol);
                }
                return;
            }
            StreamInput::Fin => {
                if request.decoder.finish().is_err() {
                    self.disconnect(DisconnectReason::Protocol);
                    return;
                }
                request.answer()
            }
            StreamInput::Reset(_) => Some(Err(Fault::reset())),
            // The request was read, or will not be: the answer tells.
            StreamInput::Stopped(_) | StreamInput::Sent(_) => return,
        };
        let Some(request) = up.running.remove(&stream) else {
            return;
        };
        up.asked.remove(&request.then);
        self.timers.cancel(Timer::Request(stream));
        match answer {
            Some(answer) => self.answered(request.then, answer),
            None => self.disconnect(DisconnectReason::Protocol),
        }
        self.start_requests();
    }

    fn push(&mut self, stream: StreamId, input: StreamInput) {
        let Link::Up(up) = &mut self.link.state else {
            return;
        };
        let mut data = match input {
            StreamInput::Data(data) => data,
            StreamInput::Fin | StreamInput::Reset(_) => {
                up.pushes.remove(&stream);
                return;
            }
            StreamInput::Stopped(_) | StreamInput::Sent(_) => return,
        };
        if up.pushes.len() >= MAX_PUSH_STREAMS && !up.pushes.contains_key(&stream) {
            let (conn, code) = (up.conn, AppCode::Overloaded.code());
            self.writer.effect(Output::Reset { conn, stream, code });
            return;
        }
        loop {
            let Link::Up(up) = &mut self.link.state else {
                return;
            };
            match up.pushes.entry(stream).or_default().decode(&mut data) {
                Ok(None) => return,
                Ok(Some(Decoded::Payload(payload))) => {
                    // One that does not decode is a hint lost; the next fetch finds what it was for.
                    if let Ok(event) = wire::decode_push(payload) {
                        self.pushed(event);
                    }
                    // Each frame is a step of its own, however the bytes were split.
                    self.step_done();
                }
                Ok(Some(_)) => {}
                Err(_) => {
                    self.disconnect(DisconnectReason::Protocol);
                    return;
                }
            }
        }
    }

    /// The server did not answer: the connection is as good as lost.
    pub(in crate::client) fn request_timed_out(&mut self, stream: OwnStream) {
        let known = match &self.link.state {
            Link::Up(up) => up.running.contains_key(&stream),
            _ => false,
        };
        if known {
            self.disconnect(DisconnectReason::TimedOut);
        }
    }

    pub(in crate::client) fn stream_credit(&self, conn: ConnId, stream: StreamId) -> usize {
        let Link::Up(up) = &self.link.state else {
            return 0;
        };
        if up.conn != conn || self.writer.footprint() >= MAX_FOOTPRINT {
            return 0;
        }
        // When the responses held are too much together, the first one is still read to its end.
        let is_full = self.link.footprint() >= MAX_FOOTPRINT;
        let reads = match stream {
            StreamId::Own(own) if is_full => up.running.keys().next() == Some(&own),
            StreamId::Own(own) => up.running.contains_key(&own),
            StreamId::Peer(dir, _) => dir == Dir::Uni && !is_full,
        };
        if reads { CREDIT } else { 0 }
    }
}

impl Request {
    fn take(&mut self, data: &mut Bytes) -> Result<(), FrameError> {
        loop {
            match self.decoder.decode(data)? {
                None => return Ok(()),
                Some(Decoded::Header(header)) => self.status = header.status,
                Some(Decoded::Payload(payload)) => self.payload = Some(payload),
                Some(Decoded::Skipped) => {}
            }
        }
    }

    fn answer(&mut self) -> Option<Result<Bytes, Fault>> {
        let payload = self.payload.take()?;
        Some(match self.status {
            Status::Ok => Ok(payload),
            status => Err(Fault::new(status, wire::decode_error(payload))),
        })
    }
}
