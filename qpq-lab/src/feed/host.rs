//! [`Host`]: where a core runs that is fed: on a memory engine, in virtual time, with one connection.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, StreamId, Ticket};
use qpq_protocol::io::{Alpn, ConnectError, Core, Output, PeerInfo, StreamInput};
use qpq_protocol::storage::{Engine as _, Memory};
use qpq_protocol::time::Time;

/// When a core starts; not the origin, so that nothing takes zero for granted.
pub const START: Time = Time::from_micros(1_000_000);

/// So long a core has for what it owes the peer, in virtual time: longer than any deadline of either core.
const PATIENCE: Duration = Duration::from_secs(120);

/// The only connection.
const CONN: ConnId = ConnId(1);

/// A core whose events can be shown.
pub trait Fed: Core<Event: core::fmt::Debug> {}

impl<C: Core<Event: core::fmt::Debug>> Fed for C {}

/// See the page of this module.
pub struct Host<C: Core> {
    core: C,
    disk: Memory,
    now: Time,
    is_connected: bool,
    /// Streams that the core has ended, and those that it reset, with the code.
    ended: BTreeSet<StreamId>,
    resets: BTreeMap<StreamId, u64>,
    /// Bytes that it sent on each stream.
    pub sent: BTreeMap<StreamId, Vec<u8>>,
    /// The code that it closed the connection with.
    pub closed: Option<u64>,
    pub events: Vec<C::Event>,
}

impl<C: Core> Host<C> {
    /// A core on an empty engine, as far as it comes by itself.
    pub fn new(core: C) -> Self {
        let mut host = Self {
            core,
            disk: Memory::new(),
            now: START,
            is_connected: false,
            ended: BTreeSet::new(),
            resets: BTreeMap::new(),
            sent: BTreeMap::new(),
            closed: None,
            events: Vec::new(),
        };
        host.settle();
        host
    }

    /// The connection is established: the one that the core asked for with this ticket, or the peer's.
    pub fn connect(&mut self, ticket: Option<Ticket>) {
        let peer = PeerInfo {
            address: SocketAddr::from(([10, 0, 0, 1], 5001)),
            alpn: Alpn::Qpq,
            certificate: None,
        };
        self.is_connected = true;
        self.core.handle_connected(self.now, CONN, peer, ticket);
        self.settle();
    }

    /// The embedder wants something.
    pub fn act(&mut self, act: impl FnOnce(&mut C, Time)) {
        act(&mut self.core, self.now);
        self.settle();
    }

    /// What was told so far has nothing to do with what the core is fed with.
    pub fn forget_events(&mut self) {
        self.events.clear();
    }

    /// Gives the core the bytes of a stream and then its end, piece by piece as it has room. Returns how many it took.
    pub fn feed(&mut self, stream: StreamId, bytes: &Bytes) -> usize {
        let mut rest = bytes.clone();
        while !rest.is_empty() && !self.is_over(stream) {
            let room = self.core.credit(CONN, stream).min(rest.len());
            if room > 0 {
                let piece = StreamInput::Data(rest.split_to(room));
                self.core.handle_stream(self.now, CONN, stream, piece);
                self.settle();
                continue;
            }
            self.run(|host| host.core.credit(CONN, stream) > 0 || host.is_over(stream));
            if self.core.credit(CONN, stream) == 0 {
                break;
            }
        }
        if rest.is_empty() && !self.is_over(stream) {
            self.core
                .handle_stream(self.now, CONN, stream, StreamInput::Fin);
            self.settle();
        }
        bytes.len().saturating_sub(rest.len())
    }

    /// Lets time pass until that holds, as long as something is due within [`PATIENCE`].
    pub fn run(&mut self, until: impl Fn(&Self) -> bool) {
        let end = self.now + PATIENCE;
        while !until(self) {
            let Some((at, _)) = self.core.poll_timeout().filter(|(at, _)| *at <= end) else {
                return;
            };
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.settle();
        }
    }

    /// The streams of the requests that the core has sent whole.
    pub fn requests(&self) -> impl Iterator<Item = StreamId> {
        let is_own = |stream: &StreamId| matches!(stream, StreamId::Own(_));
        self.ended.iter().copied().filter(is_own)
    }

    /// Whether the core sends no more on a stream.
    pub fn has_ended(&self, stream: StreamId) -> bool {
        self.ended.contains(&stream) || self.is_over(stream)
    }

    /// Whether a stream is of no more use to either.
    pub fn is_over(&self, stream: StreamId) -> bool {
        self.resets.contains_key(&stream) || self.closed.is_some()
    }

    /// The code that the core reset a stream with.
    pub fn reset_of(&self, stream: StreamId) -> Option<u64> {
        self.resets.get(&stream).copied()
    }

    /// Does what the core wants, until it wants nothing more at this moment.
    fn settle(&mut self) {
        while let Some(output) = self.core.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output<C::Event>) {
        let now = self.now;
        match output {
            Output::Store {
                ticket, command, ..
            } => {
                if let Some(reply) = self.disk.run(vec![command]).pop() {
                    self.core.handle_stored(now, ticket, reply);
                }
            }
            Output::Compute { ticket, job } => self.core.handle_computed(now, ticket, job.run()),
            // There is one connection: once it is gone nobody answers.
            Output::Connect { ticket, .. } if self.is_connected => {
                let why = ConnectError::Unreachable;
                self.core.handle_connect_failed(now, ticket, why);
            }
            Output::Connect { ticket, .. } => self.connect(Some(ticket)),
            Output::Send {
                stream, data, fin, ..
            } => {
                self.sent
                    .entry(stream)
                    .or_default()
                    .extend_from_slice(&data);
                if fin {
                    self.ended.insert(stream);
                }
                let taken = StreamInput::Sent(data.len());
                self.core.handle_stream(now, CONN, stream, taken);
            }
            Output::Reset { stream, code, .. } => {
                self.resets.entry(stream).or_insert(code);
            }
            Output::Close { code, .. } => {
                self.closed = Some(code);
                self.core.handle_disconnected(now, CONN);
            }
            Output::Event(event) => self.events.push(event),
            // There are no windows and no other cores here, and a stream is known by its first bytes.
            _ => {}
        }
    }
}
