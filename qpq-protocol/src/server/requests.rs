//! The bytes of a connection's streams: requests in, within budgets. How answers leave is in
//! `answers.rs`.

use std::collections::btree_map::Entry;

use bytes::Bytes;

use super::dispatch;
use super::step::Fault;
use super::stream::{State, Stream};
use super::timers::Timer;
use super::{Event, Server};
use crate::defect::seeded;
use crate::frame::{FrameError, RequestHeader};
use crate::ids::{ConnId, Dir, OwnStream, StreamId};
use crate::io::{Output, StreamInput};
use crate::limits::{ENTRY, Limits};
use crate::method::Method;
use crate::status::{AppCode, Status};

/// Bytes that are taken at once from a stream whose header is not whole, or whose request is not
/// wanted.
const CHUNK: usize = 64 * 1024;

/// What a connection may still reserve for requests.
struct Budget<'a> {
    limits: &'a Limits,
    has_session: bool,
    /// Reserved by the connection.
    connection: &'a mut usize,
    /// Reserved by all connections.
    total: &'a mut usize,
}

impl Budget<'_> {
    /// Makes room for a request whose header is whole, and says how much, or why it is not read.
    fn reserve(&mut self, header: RequestHeader, draining: bool) -> Result<usize, Fault> {
        let limits = self.limits;
        let method = Method::try_from(header.method_id)
            .map_err(|error| Fault::new(Status::UnknownMethod, error.to_string()))?;
        let length = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        dispatch::admit(self.has_session, method, length, limits)?;
        if draining && !dispatch::answers_while_draining(method) {
            return Err(Fault::unavailable("the server is shutting down").retry_after(1000));
        }
        let room = if self.has_session {
            limits.connection_buffer
        } else {
            // Half of the streams: the other half only wait for their answers to be acknowledged.
            let entries = (limits.streams / 2).saturating_mul(ENTRY);
            let most = limits.anonymous_payload.saturating_add(entries);
            most.min(limits.connection_buffer)
        };
        let needed = length.saturating_add(ENTRY);
        if self.connection.saturating_add(needed) > room {
            let fault = Fault::unavailable("too many requests at once on this connection");
            return Err(fault.retry_after(100));
        }
        if self.total.saturating_add(needed) > limits.total_buffer {
            return Err(Fault::unavailable("the server is busy").retry_after(500));
        }
        *self.connection = self.connection.saturating_add(needed);
        *self.total = self.total.saturating_add(needed);
        Ok(needed)
    }
}

impl Server {
    /// Something happened on a request stream.
    pub(super) fn request_input(&mut self, conn: ConnId, stream: u64, input: StreamInput) {
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        if connection.closing || connection.finished.contains(stream) {
            return;
        }
        match input {
            StreamInput::Data(bytes) => self.request_data(conn, stream, bytes),
            StreamInput::Fin => self.request_fin(conn, stream),
            StreamInput::Reset(_) => self.reset_stream(conn, stream, AppCode::None),
            StreamInput::Stopped(_) => self.reset_stream(conn, stream, AppCode::None),
            StreamInput::Sent(bytes) => self.request_sent(conn, stream, bytes),
        }
    }

    fn request_data(&mut self, conn: ConnId, stream: u64, mut bytes: Bytes) {
        let draining = self.shutdown.is_asked();
        let Some((open, mut budget)) = self.open_stream(conn, stream) else {
            return self.reset_stream(conn, stream, AppCode::Overloaded);
        };
        if open.fin {
            return;
        }
        while let State::Reading(reading) = &mut open.state {
            let header = match reading.read(&mut bytes) {
                Ok(None) => return,
                Ok(Some(header)) => header,
                Err(error) => return self.break_stream(conn, stream, error),
            };
            match budget.reserve(header, draining) {
                Ok(reserved) => reading.reserved = reserved,
                Err(fault) => {
                    open.state = State::Dropping;
                    return self.send_fault(conn, stream, header.request_id, &fault);
                }
            }
        }
    }

    /// The stream, opened if it is new, and what its connection may reserve. `None` if there may not
    /// be one more.
    fn open_stream(&mut self, conn: ConnId, stream: u64) -> Option<(&mut Stream, Budget<'_>)> {
        let now = self.clock.now();
        let limits = &self.config.limits;
        let connection = self.connections.get_mut(&conn)?;
        let full = connection.streams.len() >= limits.streams;
        let open = match connection.streams.entry(stream) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(_) if full => return None,
            Entry::Vacant(new) => {
                if connection.check_at.is_none() {
                    let at = now + limits.request_time;
                    connection.check_at = Some(at);
                    self.timers.set(at, Timer::Connection(conn));
                }
                new.insert(Stream::new(now))
            }
        };
        let budget = Budget {
            limits,
            has_session: connection.session.is_some(),
            connection: &mut connection.reserved,
            total: &mut self.reserved,
        };
        Some((open, budget))
    }

    fn request_fin(&mut self, conn: ConnId, stream: u64) {
        let Some((open, _)) = self.open_stream(conn, stream) else {
            return self.reset_stream(conn, stream, AppCode::Overloaded);
        };
        if core::mem::replace(&mut open.fin, true) {
            return;
        }
        if !matches!(open.state, State::Reading(_)) {
            return self.tidy_stream(conn, stream);
        }
        let State::Reading(reading) = core::mem::replace(&mut open.state, State::Dropping) else {
            return;
        };
        let reserved = reading.reserved;
        match reading.finish() {
            Ok((header, payload)) => self.run(conn, stream, header, payload, reserved),
            Err(error) => {
                self.unreserve(conn, reserved);
                self.break_stream(conn, stream, error);
            }
        }
    }

    fn run(
        &mut self,
        conn: ConnId,
        stream: u64,
        header: RequestHeader,
        payload: Bytes,
        reserved: usize,
    ) {
        // Both were looked up when the header came.
        let (Some(connection), Ok(method)) = (
            self.connections.get(&conn),
            Method::try_from(header.method_id),
        ) else {
            return;
        };
        let caller = connection.caller(conn);
        self.start(caller, stream, header.request_id, method, payload, reserved);
    }

    /// Forgets a stream on which nothing more is to happen.
    pub(super) fn tidy_stream(&mut self, conn: ConnId, stream: u64) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && connection.streams.get(&stream).is_some_and(Stream::is_over)
        {
            let reserved = connection
                .streams
                .remove(&stream)
                .map_or(0, |open| open.reserved);
            connection.finished.insert(stream);
            self.unreserve(conn, reserved);
        }
    }

    pub(super) fn set_state(&mut self, conn: ConnId, stream: u64, state: State) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && let Some(open) = connection.streams.get_mut(&stream)
        {
            open.state = state;
        }
    }

    /// The peer's bytes are no request.
    fn break_stream(&mut self, conn: ConnId, stream: u64, error: FrameError) {
        let code = error.app_code();
        self.outputs
            .push(Output::Event(Event::PeerFault { conn, code }));
        self.reset_stream(conn, stream, code);
    }

    /// Ends a stream in both directions.
    fn reset_stream(&mut self, conn: ConnId, stream: u64, code: AppCode) {
        self.outputs.push(Output::Reset {
            conn,
            stream: StreamId::Peer(Dir::Bi, stream),
            code: code.code(),
        });
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.finished.insert(stream);
        if let Some(open) = connection.streams.remove(&stream) {
            self.drop_stream(conn, open);
        }
        self.shut_down_if_done();
    }

    /// Gives back what a stream holds.
    fn drop_stream(&mut self, conn: ConnId, open: Stream) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.unsent = connection.unsent.saturating_sub(open.unsent);
        }
        self.unsent = self.unsent.saturating_sub(open.unsent);
        self.unreserve(conn, open.reserved);
        match open.state {
            State::Reading(_) if seeded!(self.config, LimitLeak) => {}
            State::Reading(reading) => self.unreserve(conn, reading.reserved),
            State::Running(id) => self.abandon(id),
            State::Dropping | State::Answered => {}
        }
        self.admit_long(conn);
    }

    /// Gives back bytes set aside for a request that has ended, except what covers its answer.
    pub(super) fn release_request(&mut self, conn: ConnId, stream: u64, reserved: usize) {
        let mut kept = 0;
        if let Some(connection) = self.connections.get_mut(&conn) {
            if let Some(open) = connection.streams.get_mut(&stream)
                && open.reserved == 0
            {
                kept = reserved.min(ENTRY);
                open.reserved = kept;
            }
            let given = reserved.saturating_sub(kept);
            connection.reserved = connection.reserved.saturating_sub(given);
        }
        self.reserved = self.reserved.saturating_sub(reserved.saturating_sub(kept));
    }

    /// Gives back bytes set aside for a request.
    pub(super) fn unreserve(&mut self, conn: ConnId, bytes: usize) {
        self.reserved = self.reserved.saturating_sub(bytes);
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.reserved = connection.reserved.saturating_sub(bytes);
        }
    }

    /// A connection's timer: requests that do not arrive are given up, a login that was not finished
    /// is forgotten.
    pub(super) fn check_connection(&mut self, conn: ConnId) {
        let now = self.clock.now();
        let time = self.config.limits.request_time;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.check_at = None;
        let slow = |open: &Stream| !open.fin && open.arrived + time <= now;
        let late: Vec<u64> = connection
            .streams
            .iter()
            .filter(|(_, open)| slow(open))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in late {
            self.reset_stream(conn, stream, AppCode::Timeout);
        }
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if connection
            .login
            .as_ref()
            .is_some_and(|slot| slot.expires <= now)
        {
            connection.login = None;
        }
        let arriving = connection.streams.values().filter(|open| !open.fin);
        let deadlines = arriving.map(|open| open.arrived + time);
        let login = connection.login.as_ref().map(|slot| slot.expires);
        if let Some(at) = deadlines.chain(login).min() {
            connection.check_at = Some(at);
            self.timers.set(at, Timer::Connection(conn));
        }
    }

    /// A peer opened a stream that only it can send on: clients have no use for one.
    pub(super) fn refuse_stream(&mut self, conn: ConnId, number: u64, input: &StreamInput) {
        let open = self
            .connections
            .get(&conn)
            .is_some_and(|connection| !connection.closing);
        if open && matches!(input, StreamInput::Data(_) | StreamInput::Fin) {
            let code = AppCode::Frame;
            self.outputs
                .push(Output::Event(Event::PeerFault { conn, code }));
            self.outputs.push(Output::Reset {
                conn,
                stream: StreamId::Peer(Dir::Uni, number),
                code: code.code(),
            });
        }
    }

    /// Something happened on the stream of a connection's pushes.
    pub(super) fn push_input(&mut self, conn: ConnId, stream: OwnStream, input: &StreamInput) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let Some(push) = connection
            .push
            .as_mut()
            .filter(|push| push.stream == stream)
        else {
            return;
        };
        let bytes = match input {
            StreamInput::Sent(bytes) => push.unsent.min(*bytes),
            StreamInput::Stopped(_) | StreamInput::Reset(_) => push.unsent,
            StreamInput::Data(_) | StreamInput::Fin => return,
        };
        push.unsent = push.unsent.saturating_sub(bytes);
        if !matches!(input, StreamInput::Sent(_)) {
            connection.push = None;
        }
        connection.unsent = connection.unsent.saturating_sub(bytes);
        self.unsent = self.unsent.saturating_sub(bytes);
        self.admit_long(conn);
        self.shut_down_if_done();
    }

    /// A connection is gone.
    pub(super) fn disconnect(&mut self, conn: ConnId) {
        self.unsubscribe(conn);
        let Some(mut connection) = self.connections.remove(&conn) else {
            return;
        };
        if let Some(at) = connection.check_at {
            self.timers.clear(at, Timer::Connection(conn));
        }
        if let Some(push) = connection.push {
            self.unsent = self.unsent.saturating_sub(push.unsent);
        }
        for (_, open) in core::mem::take(&mut connection.streams) {
            self.drop_stream(conn, open);
        }
        self.shut_down_if_done();
    }

    /// Bytes to take from a stream now.
    pub(super) fn request_credit(&self, conn: ConnId, stream: StreamId) -> usize {
        let Some(connection) = self.connections.get(&conn) else {
            return 0;
        };
        let limits = &self.config.limits;
        if connection.closing
            || connection.unsent > limits.connection_unsent
            || self.outputs.len() > limits.outputs
        {
            return 0;
        }
        let StreamId::Peer(Dir::Bi, stream) = stream else {
            return CHUNK;
        };
        match connection.streams.get(&stream).map(|open| &open.state) {
            Some(State::Reading(reading)) if reading.reserved > 0 => reading.wanted(),
            _ => CHUNK,
        }
    }
}
