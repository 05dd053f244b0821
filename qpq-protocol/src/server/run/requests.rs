//! The bytes of a connection's streams: requests in, each charged for as it arrives. What gives way where
//! there is no room is in `arriving.rs`, how answers leave in `sending.rs`.

use std::collections::btree_map::Entry;

use bytes::Bytes;

use super::stream::{Claim, Progress, State, Stream};
use crate::defect::seeded;
use crate::frame::{FrameError, RequestHeader};
use crate::ids::{ConnId, Dir, StreamId};
use crate::io::{Output, StreamInput};
use crate::limits::{ENTRY, Limits};
use crate::method::Method;
use crate::server::charges::{Charge, Lack};
use crate::server::counters::Counters;
use crate::server::fault::Fault;
use crate::server::shares::{Kind, SMALL};
use crate::server::timers::Timer;
use crate::server::{Event, Server};
use crate::server::{checks, table};
use crate::status::{AppCode, Status};

/// Bytes that are taken at once from a stream whose header is not whole, or whose request is not
/// wanted.
const CHUNK: usize = 64 * 1024;

/// How far bytes of a stream were taken.
enum Taken {
    /// All of them.
    All,
    /// Until there was no room for the request.
    Until(Lack),
    /// They are no request.
    Broken(FrameError),
    /// The request with this id is not wanted.
    Refused(u32, Fault),
}

/// Whether a request is wanted, by its header, and what kind it is.
fn kind_if_wanted(
    header: RequestHeader,
    has_session: bool,
    draining: bool,
    limits: &Limits,
) -> Result<Kind, Fault> {
    let method = Method::try_from(header.method_id)
        .map_err(|error| Fault::new(Status::UnknownMethod, error.to_string()))?;
    let length = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
    checks::check_length(has_session, method, length, limits)?;
    if draining && !table::line(method).is_answered_while_draining() {
        return Err(Fault::unavailable("the server is shutting down").retry_after(1000));
    }
    Ok(if length <= SMALL {
        Kind::Small
    } else {
        Kind::Large
    })
}

impl Server {
    /// Something happened on a request stream.
    pub(in crate::server) fn request_input(
        &mut self,
        conn: ConnId,
        stream: u64,
        input: StreamInput,
    ) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if connection.closing || connection.finished.contains(stream) {
            return;
        }
        connection.heard = now;
        match input {
            StreamInput::Data(bytes) => self.request_data(conn, stream, bytes),
            StreamInput::Fin => self.request_fin(conn, stream),
            StreamInput::Reset(_) => self.reset_stream(conn, stream, AppCode::None),
            StreamInput::Stopped(_) => self.reset_stream(conn, stream, AppCode::None),
            StreamInput::Sent(bytes) => self.request_sent(conn, stream, bytes),
        }
    }

    fn request_data(&mut self, conn: ConnId, stream: u64, mut bytes: Bytes) {
        Counters::bytes(&mut self.counters.bytes_received, bytes.len());
        let Some(open) = self.open_stream(conn, stream) else {
            return self.reset_stream(conn, stream, AppCode::Overloaded);
        };
        if open.fin {
            return;
        }
        open.receive(bytes.len());
        loop {
            match self.take_in(conn, stream, &mut bytes) {
                Taken::All => return,
                Taken::Broken(error) => return self.break_stream(conn, stream, error),
                Taken::Refused(request_id, fault) => {
                    self.set_state(conn, stream, State::Dropping);
                    Counters::one(&mut self.counters.turned_away);
                    return self.send_fault(conn, stream, request_id, &fault);
                }
                Taken::Until(lack) => {
                    if !self.make_room(conn, stream, lack) {
                        self.give_way(conn, stream, lack);
                        return;
                    }
                }
            }
        }
    }

    /// Reads a request on, and charges for what is read.
    fn take_in(&mut self, conn: ConnId, stream: u64, bytes: &mut Bytes) -> Taken {
        let draining = self.shutdown.is_asked();
        let limits = &self.config.limits;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return Taken::All;
        };
        let (holder, has_session) = (connection.holder(), connection.session.is_some());
        let room = match has_session {
            true => limits.connection_buffer,
            false => {
                let entries = limits.anonymous_streams.saturating_mul(ENTRY);
                let most = limits.anonymous_payload.saturating_add(entries);
                most.min(limits.connection_buffer)
            }
        };
        let Some(State::Reading(reading)) = connection
            .streams
            .get_mut(&stream)
            .map(|open| &mut open.state)
        else {
            return Taken::All;
        };
        let mut more_to_read = true;
        loop {
            let cost = reading.cost();
            // Right after a header the rest may lie there: both are charged at once.
            if let Some(claim) = &mut reading.claim
                && cost > claim.charge.bytes()
                && (bytes.is_empty() || cost > ENTRY)
            {
                let more = cost.saturating_sub(claim.charge.bytes());
                if let Err(lack) = self.charges.grow(&mut claim.charge, more, room) {
                    return Taken::Until(lack);
                }
            }
            if !more_to_read {
                return Taken::All;
            }
            match reading.read(bytes) {
                Ok(Progress::Header(header)) => {
                    let kind = match kind_if_wanted(header, has_session, draining, limits) {
                        Ok(kind) => kind,
                        Err(fault) => return Taken::Refused(header.request_id, fault),
                    };
                    let charge = self.charges.request(conn, kind, holder);
                    let age = self.arriving.insert(&charge, conn, stream);
                    reading.claim = Some(Claim {
                        header,
                        charge,
                        age,
                    });
                }
                Ok(Progress::Payload) => {}
                Ok(Progress::Waiting) => more_to_read = false,
                Err(error) => return Taken::Broken(error),
            }
        }
    }

    /// The stream, opened if it is new. `None` if there may not be one more.
    fn open_stream(&mut self, conn: ConnId, stream: u64) -> Option<&mut Stream> {
        let now = self.clock.now();
        let limits = &self.config.limits;
        let connection = self.connections.get_mut(&conn)?;
        let full = connection.streams.len() >= connection.most_streams(limits);
        match connection.streams.entry(stream) {
            Entry::Occupied(open) => Some(open.into_mut()),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(new) => {
                let (due, timer) = (now + limits.arrival_time, Timer::Connection(conn));
                self.timers
                    .bring_forward(&mut connection.check_at, due, timer);
                let unsent = self.charges.nothing_unsent(conn);
                Some(new.insert(Stream::new(now, unsent)))
            }
        }
    }

    fn request_fin(&mut self, conn: ConnId, stream: u64) {
        let Some(open) = self.open_stream(conn, stream) else {
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
        match reading.finish() {
            Ok((claim, payload)) => self.request_is_whole(conn, stream, claim, payload),
            Err((claim, error)) => {
                if let Some(claim) = claim {
                    self.unclaim(claim);
                }
                self.break_stream(conn, stream, error);
            }
        }
    }

    fn request_is_whole(&mut self, conn: ConnId, stream: u64, claim: Claim, payload: Bytes) {
        self.arriving.remove(&claim);
        let Claim { header, charge, .. } = claim;
        // Both were looked up when the header came.
        let (Some(connection), Ok(method)) = (
            self.connections.get(&conn),
            Method::try_from(header.method_id),
        ) else {
            return self.charges.give_back(charge);
        };
        let caller = connection.caller(conn);
        self.begin_request(caller, stream, header.request_id, method, payload, charge);
    }

    /// Forgets a stream on which nothing more is to happen.
    pub(in crate::server) fn tidy_stream(&mut self, conn: ConnId, stream: u64) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && connection.streams.get(&stream).is_some_and(Stream::is_over)
        {
            let open = connection.streams.remove(&stream);
            connection.finished.insert(stream);
            if let Some(entry) = open.and_then(|open| open.entry) {
                self.charges.give_back(entry);
            }
        }
    }

    pub(in crate::server) fn set_state(&mut self, conn: ConnId, stream: u64, state: State) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && let Some(open) = connection.streams.get_mut(&stream)
        {
            open.state = state;
        }
    }

    /// The peer's bytes are no request.
    fn break_stream(&mut self, conn: ConnId, stream: u64, error: FrameError) {
        let code = error.app_code();
        Counters::one(&mut self.counters.peer_faults);
        self.outputs
            .push(Output::Event(Event::PeerFault { conn, code }));
        self.reset_stream(conn, stream, code);
    }

    /// Ends a stream in both directions.
    pub(in crate::server) fn reset_stream(&mut self, conn: ConnId, stream: u64, code: AppCode) {
        self.outputs.push(Output::Reset {
            conn,
            stream: StreamId::Peer(Dir::Bi, stream),
            code: code.code(),
        });
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.finished.insert(stream);
        connection.heard = now;
        if let Some(open) = connection.streams.remove(&stream) {
            self.drop_stream(conn, open);
        }
        self.check_when_silent(conn);
        self.shut_down_if_done();
    }

    /// Gives back what a stream holds.
    pub(in crate::server) fn drop_stream(&mut self, conn: ConnId, open: Stream) {
        self.unsend(open.unsent);
        if let Some(entry) = open.entry {
            self.charges.give_back(entry);
        }
        self.drop_room(open.answer);
        match open.state {
            State::Reading(reading) => match reading.claim {
                Some(claim) if seeded!(self.config, LimitLeak) => {
                    self.arriving.remove(&claim);
                    core::mem::forget(claim);
                }
                Some(claim) => self.unclaim(claim),
                None => {}
            },
            State::Running(id) => self.abandon_request(id),
            State::Dropping | State::Answered => {}
        }
        self.run_next_long(conn);
    }

    /// A request has ended: gives back what it holds, except what covers its short answer.
    pub(in crate::server) fn shrink_to_answer(
        &mut self,
        conn: ConnId,
        stream: u64,
        mut charge: Charge,
    ) {
        self.charges.shrink(&mut charge, ENTRY);
        if let Some(connection) = self.connections.get_mut(&conn)
            && let Some(open) = connection.streams.get_mut(&stream)
            && open.entry.is_none()
        {
            open.entry = Some(charge);
            return;
        }
        self.charges.give_back(charge);
    }

    /// A peer opened a stream that only it can send on: clients have no use for one.
    pub(in crate::server) fn refuse_stream(
        &mut self,
        conn: ConnId,
        number: u64,
        input: &StreamInput,
    ) {
        let open = self
            .connections
            .get(&conn)
            .is_some_and(|connection| !connection.closing);
        if open && matches!(input, StreamInput::Data(_) | StreamInput::Fin) {
            let code = AppCode::Frame;
            Counters::one(&mut self.counters.peer_faults);
            self.outputs
                .push(Output::Event(Event::PeerFault { conn, code }));
            self.outputs.push(Output::Reset {
                conn,
                stream: StreamId::Peer(Dir::Uni, number),
                code: code.code(),
            });
        }
    }

    /// A connection is gone.
    pub(in crate::server) fn disconnect(&mut self, conn: ConnId) {
        self.unsubscribe(conn);
        self.strangers.leave(conn);
        let Some(connection) = self.connections.remove(&conn) else {
            return;
        };
        if let Some(at) = connection.check_at {
            self.timers.clear(at, Timer::Connection(conn));
        }
        for (_, open) in connection.streams {
            self.drop_stream(conn, open);
        }
        if let Some(push) = connection.push {
            self.drop_push(push);
        }
        self.shut_down_if_done();
    }

    /// Bytes to take from a stream now.
    pub(in crate::server) fn request_credit(&self, conn: ConnId, stream: StreamId) -> usize {
        let Some(connection) = self.connections.get(&conn) else {
            return 0;
        };
        let limits = &self.config.limits;
        if connection.closing
            || self.charges.unsent(conn) > limits.connection_unsent
            || self.outputs.len() > limits.outputs
        {
            return 0;
        }
        let StreamId::Peer(Dir::Bi, stream) = stream else {
            return CHUNK;
        };
        match connection.streams.get(&stream).map(|open| &open.state) {
            Some(State::Reading(reading)) if reading.claim.is_some() => reading.wanted(),
            _ => CHUNK,
        }
    }
}
