//! The connection to the server: made when something needs it, and made again when it is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use core::time::Duration;

use super::fault::Fault;
use super::network::Presence;
use super::rpc::Then;
use super::timers::Timer;
use crate::client::Client;
use crate::client::error::DisconnectReason;
use crate::client::event::Event;
use crate::frame::{self, Decoder, FrameError, PushHeader, ResponseHeader};
use crate::ids::{ConnId, OwnStream, StreamId, Ticket};
use crate::io::{Alpn, ConnectError, MAX_SLEEP, Output, PeerInfo, Target};
use crate::method::Rpc;
use crate::status::{AppCode, Status};

/// How the session of the connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) enum Session {
    /// None.
    Anonymous,
    /// The server knows who this is, the device is still to be registered.
    Known,
    /// Everything can be asked for.
    Ready,
}

/// A connection that stands.
pub(in crate::client) struct Up {
    pub(in crate::client) conn: ConnId,
    pub(in crate::client) session: Session,
    pub(super) running: BTreeMap<OwnStream, Request>,
    /// What `running` and `waiting` are for.
    pub(in crate::client) asked: BTreeSet<Then>,
    pub(in crate::client) waiting: VecDeque<(Bytes, Then)>,
    pub(super) pushes: BTreeMap<StreamId, Decoder<PushHeader>>,
}

pub(in crate::client) struct Request {
    pub(in crate::client) then: Then,
    pub(super) decoder: Decoder<ResponseHeader>,
    pub(in crate::client) status: Status,
    pub(in crate::client) payload: Option<Bytes>,
}

pub(super) enum Link {
    Down,
    Connecting(Ticket),
    Up(Up),
}

/// The connection and what outlives it.
pub(in crate::client) struct Connection {
    pub(super) state: Link,
    /// Attempts since a session was last ready.
    pub(in crate::client) attempts: u32,
    pub(super) next_request: u32,
    pub(super) next_stream: u64,
    pub(in crate::client) presence: Presence,
}

impl Connection {
    pub(in crate::client) fn new() -> Self {
        Self {
            state: Link::Down,
            attempts: 0,
            next_request: 1,
            next_stream: 0,
            presence: Presence::default(),
        }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, Link::Down)
    }

    pub(in crate::client) fn is_up(&self) -> bool {
        matches!(self.state, Link::Up(_))
    }

    /// The connection, if this one is it.
    pub(in crate::client) fn up(&mut self, conn: ConnId) -> Option<&mut Up> {
        match &mut self.state {
            Link::Up(up) if up.conn == conn => Some(up),
            _ => None,
        }
    }

    pub(in crate::client) fn session(&self) -> Session {
        match &self.state {
            Link::Up(up) => up.session,
            _ => Session::Anonymous,
        }
    }

    pub(in crate::client) fn is_ready(&self) -> bool {
        self.session() == Session::Ready
    }

    pub(in crate::client) fn set_session(&mut self, session: Session) {
        if session == Session::Ready {
            self.attempts = 0;
        }
        if let Link::Up(up) = &mut self.state {
            up.session = session;
        }
    }

    /// Whether a request with this purpose runs or waits.
    pub(in crate::client) fn is_asked(&self, then: &Then) -> bool {
        match &self.state {
            Link::Up(up) => up.asked.contains(then),
            _ => false,
        }
    }

    /// Whether any request for which this holds runs or waits.
    pub(in crate::client) fn any_asked(&self, of: impl FnMut(&Then) -> bool) -> bool {
        match &self.state {
            Link::Up(up) => up.asked.iter().any(of),
            _ => false,
        }
    }

    pub(in crate::client) fn frame<M: Rpc>(
        &mut self,
        request: &M::Request,
    ) -> Result<Bytes, FrameError> {
        let id = self.request_id();
        frame::encode_request(M::METHOD.id(), id, request)
    }

    /// The frame of a request that is encoded already.
    pub(super) fn frame_kept<M: Rpc>(&mut self, request: &[u8]) -> Result<Bytes, FrameError> {
        let id = self.request_id();
        frame::wrap_request(M::METHOD.id(), id, request)
    }

    fn request_id(&mut self) -> u32 {
        let id = self.next_request;
        self.next_request = self.next_request.wrapping_add(1);
        id
    }

    pub(in crate::client) fn footprint(&self) -> usize {
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
    pub(in crate::client) fn connect_if_wanted(&mut self) {
        if !self.link.is_down() || self.timers.is_set(Timer::Reconnect) || !self.wants_server() {
            return;
        }
        let ticket = self.writer.ticket();
        self.link.state = Link::Connecting(ticket);
        self.link.presence.attempted = Some(self.clock.now());
        self.timers.set(
            Timer::Connecting,
            self.clock.now() + self.config.connect_timeout,
        );
        self.writer.effect(Output::Connect {
            ticket,
            target: Target::new(self.config.server.clone(), Alpn::Qpq),
        });
    }

    pub(in crate::client) fn connected(
        &mut self,
        conn: ConnId,
        peer: &PeerInfo,
        ticket: Option<Ticket>,
    ) {
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
        self.writer.emit(Event::Connected {
            certificate: peer.certificate,
        });
        self.start_session();
    }

    pub(in crate::client) fn connect_failed(&mut self, ticket: Ticket, why: ConnectError) {
        if matches!(&self.link.state, Link::Connecting(own) if *own == ticket) {
            self.down(DisconnectReason::Connect(why));
        }
    }

    pub(in crate::client) fn disconnected(&mut self, conn: ConnId) {
        if self.link.up(conn).is_some() {
            self.down(DisconnectReason::Lost);
        }
    }

    /// Closes the connection from this side, and connects again after a pause.
    pub(in crate::client) fn disconnect(&mut self, why: DisconnectReason) {
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
    pub(in crate::client) fn hang_up(&mut self) {
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
        let retry_in = match why {
            DisconnectReason::Suspended => Duration::MAX,
            _ => self.retry_later(),
        };
        self.writer.emit(Event::Disconnected { why, retry_in });
        self.connection_lost();
    }

    /// Sets when the next attempt is made; after how long that is.
    fn retry_later(&mut self) -> Duration {
        let retry_in = self.backoff(self.link.attempts);
        self.link.attempts = self.link.attempts.saturating_add(1);
        self.timers
            .set(Timer::Reconnect, self.clock.now() + retry_in);
        retry_in
    }

    /// Exponential backoff with full jitter: anything up to the base doubled `attempts` times.
    pub(in crate::client) fn backoff(&mut self, attempts: u32) -> Duration {
        let cap = self
            .config
            .backoff_base
            .saturating_mul(1u32.checked_shl(attempts).unwrap_or(u32::MAX))
            .min(self.config.backoff_max);
        let micros = u64::try_from(cap.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.below(micros))
    }

    /// How long to wait before a request that failed with `fault` is repeated.
    pub(in crate::client) fn pause(&mut self, fault: &Fault) -> Duration {
        // A server that says "in a year" is asked again in half an hour.
        let asked = fault.retry_after.min(MAX_SLEEP / 2);
        asked.max(self.config.backoff_base) + self.backoff(2)
    }

    pub(in crate::client) fn connecting_timed_out(&mut self) {
        if matches!(self.link.state, Link::Connecting(_)) {
            self.down(DisconnectReason::Connect(ConnectError::Unreachable));
        }
    }

    pub(in crate::client) fn bytes_held(&self) -> usize {
        self.writer.footprint() + self.link.footprint()
    }

    /// Whether no request runs.
    pub(in crate::client) fn is_quiet(&self) -> bool {
        match &self.link.state {
            Link::Up(up) => up.asked.is_empty(),
            _ => true,
        }
    }
}
