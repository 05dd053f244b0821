//! The connection to the server: made when something needs it, made again when it is lost, and the
//! streams of its requests and pushes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use core::time::Duration;
use prost::Message as _;

use super::Client;
use super::event::{DisconnectReason, Event};
use super::rpc::{Fault, Then};
use super::timers::Timer;
use crate::frame::{self, Decoded, Decoder, FrameError, PushHeader, ResponseHeader};
use crate::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use crate::io::{Alpn, ConnectError, MAX_SLEEP, Output, StreamInput, Target};
use crate::method::Rpc;
use crate::proto;
use crate::status::{AppCode, Status};

/// Requests that run at once; more wait their turn.
const MAX_RUNNING: usize = 32;
/// Streams of pushes that are read at once; the server needs one.
const MAX_PUSH_STREAMS: usize = 8;
/// Bytes taken from a stream at once.
const CREDIT: usize = 256 * 1024;
/// Above so many bytes that wait for storage, nothing is read.
const MAX_FOOTPRINT: usize = 8 * 1024 * 1024;

/// How the session of the connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Session {
    /// None.
    Anonymous,
    /// The server knows who this is, the device is still to be registered.
    Known,
    /// Everything can be asked for.
    Ready,
}

/// A connection that stands.
struct Up {
    conn: ConnId,
    session: Session,
    running: BTreeMap<OwnStream, Request>,
    /// What `running` and `waiting` are for.
    asked: BTreeSet<Then>,
    waiting: VecDeque<(Bytes, Then)>,
    pushes: BTreeMap<StreamId, Decoder<PushHeader>>,
}

struct Request {
    then: Then,
    decoder: Decoder<ResponseHeader>,
    status: Status,
    payload: Option<Bytes>,
}

enum Link {
    Down,
    Connecting(Ticket),
    Up(Up),
}

/// The connection and what outlives it.
pub(super) struct Connection {
    state: Link,
    /// Attempts since a session was last ready.
    attempts: u32,
    next_request: u32,
    next_stream: u64,
}

impl Connection {
    pub(super) const fn new() -> Self {
        Self {
            state: Link::Down,
            attempts: 0,
            next_request: 1,
            next_stream: 0,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, Link::Down)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, Link::Up(_))
    }

    /// The connection, if this one is it.
    fn up(&mut self, conn: ConnId) -> Option<&mut Up> {
        match &mut self.state {
            Link::Up(up) if up.conn == conn => Some(up),
            _ => None,
        }
    }

    pub(super) fn session(&self) -> Session {
        match &self.state {
            Link::Up(up) => up.session,
            _ => Session::Anonymous,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.session() == Session::Ready
    }

    pub(super) fn set_session(&mut self, session: Session) {
        if session == Session::Ready {
            self.attempts = 0;
        }
        if let Link::Up(up) = &mut self.state {
            up.session = session;
        }
    }

    /// Whether a request with this purpose runs or waits.
    pub(super) fn is_asked(&self, then: &Then) -> bool {
        match &self.state {
            Link::Up(up) => up.asked.contains(then),
            _ => false,
        }
    }

    /// Whether any request for which this holds runs or waits.
    pub(super) fn any_asked(&self, of: impl FnMut(&Then) -> bool) -> bool {
        match &self.state {
            Link::Up(up) => up.asked.iter().any(of),
            _ => false,
        }
    }

    pub(super) fn frame<M: Rpc>(&mut self, request: &M::Request) -> Result<Bytes, FrameError> {
        let id = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        frame::encode_request(M::METHOD.id(), id, request)
    }

    fn footprint(&self) -> usize {
        let Link::Up(up) = &self.state else {
            return 0;
        };
        let running = up.running.values().map(|request| {
            request.decoder.buffered() + request.payload.as_ref().map_or(0, Bytes::len)
        });
        let waiting = up.waiting.iter().map(|(frame, _)| frame.len());
        let pushes = up.pushes.values().map(Decoder::buffered);
        running.chain(waiting).chain(pushes).sum()
    }
}

impl Client {
    /// Connects if something needs the server and nothing is under way.
    pub(super) fn connect_if_wanted(&mut self) {
        if !self.link.is_down() || self.timers.is_set(Timer::Reconnect) || !self.wants_server() {
            return;
        }
        let ticket = self.writer.ticket();
        self.link.state = Link::Connecting(ticket);
        self.timers.set(
            Timer::Connecting,
            self.clock.now() + self.config.connect_timeout,
        );
        self.writer.effect(Output::Connect {
            ticket,
            target: Target {
                address: self.config.server.clone(),
                alpn: Alpn::Qpq,
            },
        });
    }

    pub(super) fn connected(&mut self, conn: ConnId, ticket: Option<Ticket>) {
        match (&self.link.state, ticket) {
            (Link::Connecting(own), Some(ticket)) if *own == ticket => {}
            _ => {
                // Nobody asked for it, or no longer.
                let code = AppCode::None.code();
                self.writer.effect(Output::Close { conn, code });
                return;
            }
        }
        self.timers.cancel(Timer::Connecting);
        self.link.state = Link::Up(Up {
            conn,
            session: Session::Anonymous,
            running: BTreeMap::new(),
            asked: BTreeSet::new(),
            waiting: VecDeque::new(),
            pushes: BTreeMap::new(),
        });
        self.writer.emit(Event::Connected);
        self.start_session();
    }

    pub(super) fn connect_failed(&mut self, ticket: Ticket, why: ConnectError) {
        if matches!(&self.link.state, Link::Connecting(own) if *own == ticket) {
            self.down(DisconnectReason::Connect(why));
        }
    }

    pub(super) fn disconnected(&mut self, conn: ConnId) {
        if self.link.up(conn).is_some() {
            self.down(DisconnectReason::Lost);
        }
    }

    /// Closes the connection from this side, and connects again after a pause.
    pub(super) fn disconnect(&mut self, why: DisconnectReason) {
        let code = match why {
            DisconnectReason::Protocol => AppCode::Frame,
            DisconnectReason::TimedOut => AppCode::Timeout,
            _ => AppCode::None,
        };
        let conn = match &self.link.state {
            Link::Up(up) => Some(up.conn),
            _ => None,
        };
        self.down(why);
        if let Some(conn) = conn {
            let code = code.code();
            self.writer.effect(Output::Close { conn, code });
        }
    }

    /// Closes the connection for good.
    pub(super) fn hang_up(&mut self) {
        if let Link::Up(up) = &self.link.state {
            let (conn, code) = (up.conn, AppCode::None.code());
            self.writer.forget_connection(conn);
            self.writer.effect(Output::Close { conn, code });
        }
        self.link.state = Link::Down;
        self.timers.cancel(Timer::Connecting);
        self.timers
            .retain(|timer| !matches!(timer, Timer::Request(_)));
    }

    fn down(&mut self, why: DisconnectReason) {
        if let Link::Up(up) = &self.link.state {
            self.writer.forget_connection(up.conn);
        }
        self.link.state = Link::Down;
        self.timers.cancel(Timer::Connecting);
        self.timers
            .retain(|timer| !matches!(timer, Timer::Request(_)));
        let retry_in = self.backoff(self.link.attempts);
        self.link.attempts = self.link.attempts.saturating_add(1);
        self.timers
            .set(Timer::Reconnect, self.clock.now() + retry_in);
        self.writer.emit(Event::Disconnected { why, retry_in });
        self.connection_lost();
    }

    /// Exponential backoff with full jitter: anything up to the base doubled `attempts` times.
    pub(super) fn backoff(&mut self, attempts: u32) -> Duration {
        let cap = self
            .config
            .backoff_base
            .saturating_mul(1u32.checked_shl(attempts).unwrap_or(u32::MAX))
            .min(self.config.backoff_max);
        let micros = u64::try_from(cap.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.below(micros))
    }

    /// How long to wait before a request that failed with `fault` is repeated.
    pub(super) fn pause(&mut self, fault: &Fault) -> Duration {
        // A server that says "in a year" is asked again in half an hour.
        let asked = fault.retry_after.min(MAX_SLEEP / 2);
        asked.max(self.config.backoff_base) + self.backoff(2)
    }

    /// Sends a whole request frame, or keeps it until there is a stream for it. Without a
    /// connection it is forgotten: who asks, asks again when there is one.
    pub(super) fn request(&mut self, frame: Bytes, then: Then) {
        if let Link::Up(up) = &mut self.link.state {
            up.asked.insert(then.clone());
            up.waiting.push_back((frame, then));
            self.start_requests();
        }
    }

    fn start_requests(&mut self) {
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

    pub(super) fn stream(&mut self, conn: ConnId, stream: StreamId, input: StreamInput) {
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
                    if let Ok(event) = proto::PushEvent::decode(payload) {
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
    pub(super) fn request_timed_out(&mut self, stream: OwnStream) {
        let known = match &self.link.state {
            Link::Up(up) => up.running.contains_key(&stream),
            _ => false,
        };
        if known {
            self.disconnect(DisconnectReason::TimedOut);
        }
    }

    pub(super) fn connecting_timed_out(&mut self) {
        if matches!(self.link.state, Link::Connecting(_)) {
            self.down(DisconnectReason::Connect(ConnectError::Unreachable));
        }
    }

    pub(super) fn stream_credit(&self, conn: ConnId, stream: StreamId) -> usize {
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

    pub(super) fn bytes_held(&self) -> usize {
        self.writer.footprint() + self.link.footprint()
    }

    /// Whether no request runs.
    pub(super) fn is_quiet(&self) -> bool {
        match &self.link.state {
            Link::Up(up) => up.asked.is_empty(),
            _ => true,
        }
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
            status => {
                let detail = proto::ErrorDetail::decode(payload).ok()?;
                Err(Fault::new(status, detail))
            }
        })
    }
}
