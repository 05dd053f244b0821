//! One socket's worth of QUIC and the core above it.

mod admission;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{ClientConfig, DatagramEvent, EcnCodepoint};

use super::config::{Built, Config, ConfigError, Limits};
use super::connection::{Attempt, Change, Connection, Now};
use super::timers::Timers;
use super::tls::{Verifier, Wall};
use crate::ids::Ticket;
use crate::io::{Core, Job, JobResult, Lane, MAX_SLEEP, Target, Wake};
use crate::storage::{Command, Reply};
use crate::time::{Time, UnixTime};

/// One or more datagrams of the same size (the last may be shorter) for one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// The two ECN bits of the IP header (RFC 3168); 0 for none.
    pub ecn: u8,
    /// Bytes in the buffer.
    pub size: usize,
    /// Bytes of one datagram if there are several.
    pub segment_size: Option<usize>,
    /// The local address to send from, where the system can choose.
    pub src_ip: Option<IpAddr>,
}

/// Something the embedder has to do for the core.
#[derive(Debug)]
pub enum Effect {
    /// Find the addresses of `host:port`; answered by [`Endpoint::handle_resolved`].
    Resolve {
        /// Names the request.
        ticket: Ticket,
        /// As the user wrote it.
        address: String,
    },
    /// Run a storage command; answered by [`Endpoint::handle_stored`].
    Store {
        /// Names the request.
        ticket: Ticket,
        /// Which commands it must keep its order with.
        lane: Lane,
        /// What to do.
        command: Command,
    },
    /// Run the job on another thread; answered by [`Endpoint::handle_computed`].
    Compute {
        /// Names the request.
        ticket: Ticket,
        /// What to compute.
        job: Job,
    },
    /// Tell the other cores on the same store.
    Wake(Wake),
}

/// A core, its connections and what they wait for. See the [module](super) for how to drive it.
///
/// * Inputs: `handle_*` and [`Endpoint::act`]. They note what happened; `now` never goes back.
/// * Outputs: `poll_*`. The first one after an input does the work that follows from it.
pub struct Endpoint<C: Core> {
    core: C,
    quic: quinn_proto::Endpoint,
    clients: BTreeMap<&'static [u8], ClientConfig>,
    verifier: Option<Arc<Verifier>>,
    wall: Arc<Wall>,
    /// What the embedder said the date was, and when.
    date: (UnixTime, Instant),
    limits: Limits,
    epoch: Instant,
    now: Now,
    /// By quinn's handle.
    slots: Vec<Option<Box<Connection>>>,
    open: usize,
    half_open: usize,
    attempts: usize,
    /// Counts connections; the upper bits of each [`ConnId`](crate::ids::ConnId).
    serial: u64,
    /// Slots of connections to pump, to poll for transmits, to read again.
    dirty: VecDeque<usize>,
    sending: VecDeque<usize>,
    starved: VecDeque<usize>,
    /// When starved connections were last read.
    fed: Instant,
    timers: Timers,
    /// Whether the core may have output, or starved streams may have room.
    stirred: bool,
    /// Datagrams that belong to no connection.
    responses: VecDeque<(Transmit, Vec<u8>)>,
    scratch: Vec<u8>,
    changes: VecDeque<Change>,
    resolving: BTreeMap<Ticket, Target>,
    effects: VecDeque<Effect>,
    stores: usize,
    events: VecDeque<C::Event>,
    shutting_down: bool,
    /// Whether a shutdown has closed the connections that the core left.
    closed: bool,
}

impl<C: Core> Endpoint<C> {
    /// An endpoint around `core`. `epoch` is the origin of the core's [`Time`], `unix` the date, and
    /// `seed` 32 fresh random bytes.
    ///
    /// # Errors
    /// When certificate, key, authority or limits cannot be used.
    pub fn new(
        config: &Config,
        core: C,
        epoch: Instant,
        unix: UnixTime,
        seed: [u8; 32],
    ) -> Result<Self, ConfigError> {
        let wall = Arc::new(Wall::default());
        wall.set(unix);
        let built = Built::new(config, &wall, &seed)?;
        Ok(Self {
            core,
            quic: quinn_proto::Endpoint::new(
                built.endpoint,
                built.server,
                config.discover_mtu,
                None,
            ),
            clients: built.clients,
            verifier: built.verifier,
            wall,
            date: (unix, epoch),
            limits: config.limits.clone(),
            epoch,
            now: Now {
                instant: epoch,
                time: Time::ZERO,
            },
            slots: Vec::new(),
            open: 0,
            half_open: 0,
            attempts: 0,
            serial: 0,
            dirty: VecDeque::new(),
            sending: VecDeque::new(),
            starved: VecDeque::new(),
            fed: epoch,
            timers: Timers::default(),
            stirred: true,
            responses: VecDeque::new(),
            scratch: Vec::new(),
            changes: VecDeque::new(),
            resolving: BTreeMap::new(),
            effects: VecDeque::new(),
            stores: 0,
            events: VecDeque::new(),
            shutting_down: false,
            closed: false,
        })
    }

    /// The core, to look at.
    #[must_use]
    pub const fn core(&self) -> &C {
        &self.core
    }

    /// Connections that are not yet drained.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.open
    }

    /// Whether a shutdown that was asked for is complete: the core has finished, all connections
    /// are closed, and the peers have been told. Quinn would go on to repeat that for a while; who
    /// does not hear it finds out by itself.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.closed
            && self.sending.is_empty()
            && self.slots.iter().flatten().all(|conn| conn.is_over())
    }

    /// Whether a shutdown was asked for.
    #[must_use]
    pub const fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    /// Bytes from the socket: one datagram, where it comes from, the local address it came to if
    /// known, and the two ECN bits of its IP header.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local_ip: Option<IpAddr>,
        ecn: u8,
        datagram: BytesMut,
    ) {
        self.advance(now);
        self.scratch.clear();
        let ecn = EcnCodepoint::from_bits(ecn);
        let now = self.now.instant;
        match self
            .quic
            .handle(now, remote, local_ip, ecn, datagram, &mut self.scratch)
        {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(conn) = connection(&mut self.slots, handle.0) {
                    conn.quic.handle_event(event);
                    self.touch(handle.0);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.accept(incoming),
            Some(DatagramEvent::Response(transmit)) => self.respond(&transmit),
            None => {}
        }
    }

    /// A host said that nobody listens where datagrams were sent (ICMP). It ends attempts to connect
    /// there, and nothing else: such a message proves nothing about a connection that stands.
    pub fn handle_unreachable(&mut self, now: Instant, host: IpAddr) {
        self.advance(now);
        self.give_up(host);
        self.stirred = true;
    }

    /// Whether an attempt to connect is under way.
    #[must_use]
    pub const fn is_connecting(&self) -> bool {
        self.attempts > 0
    }

    /// A deadline of [`Endpoint::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        while let Some(slot) = self.timers.pop_due(self.now.instant) {
            if let Some(conn) = connection(&mut self.slots, slot) {
                conn.armed = None;
                let change = conn.handle_timeout(&mut self.core, self.now);
                self.changes.extend(change);
                self.touch(slot);
            }
        }
        let due = self.core.poll_timeout();
        if due.is_some_and(|(at, _)| at <= self.now.time) {
            self.core.handle_timeout(self.now.time);
        }
        self.stirred = true;
    }

    /// The answer to [`Effect::Resolve`]: the addresses to try, in order; none if the name has none.
    pub fn handle_resolved(&mut self, now: Instant, ticket: Ticket, addresses: Vec<SocketAddr>) {
        self.advance(now);
        if let Some(target) = self.resolving.remove(&ticket) {
            self.attempt(Attempt {
                ticket,
                target,
                others: addresses.into(),
            });
        }
        self.stirred = true;
    }

    /// The answer to [`Effect::Store`].
    pub fn handle_stored(&mut self, now: Instant, ticket: Ticket, reply: Reply) {
        self.advance(now);
        self.stores = self.stores.saturating_sub(1);
        self.core.handle_stored(self.now.time, ticket, reply);
        self.stirred = true;
    }

    /// The answer to [`Effect::Compute`].
    pub fn handle_computed(&mut self, now: Instant, ticket: Ticket, result: JobResult) {
        self.advance(now);
        self.core.handle_computed(self.now.time, ticket, result);
        self.stirred = true;
    }

    /// Another core on the same store said that something changed.
    pub fn handle_wake(&mut self, now: Instant, wake: Wake) {
        self.advance(now);
        self.core.handle_wake(self.now.time, wake);
        self.stirred = true;
    }

    /// The date. Certificates are checked by it too.
    pub fn handle_clock(&mut self, now: Instant, unix: UnixTime) {
        self.advance(now);
        self.date = (unix, self.now.instant);
        self.wall.set(unix);
        self.core.handle_clock(self.now.time, unix);
        self.stirred = true;
    }

    /// Refuses new connections, drops unfinished handshakes and lets the core finish; see
    /// [`Endpoint::is_shut_down`].
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.advance(now);
        // The core shall know of all connections that it has to close.
        self.settle();
        self.shutting_down = true;
        self.close_where(Connection::is_handshaking, true);
        self.core.handle_shutdown(self.now.time);
        self.stirred = true;
    }

    /// Closes all connections at once, whatever the core has in mind: for a shutdown that takes too
    /// long.
    pub fn handle_abort(&mut self, now: Instant) {
        self.advance(now);
        self.settle();
        self.shutting_down = true;
        self.closed = true;
        self.close_where(|_| true, false);
        self.stirred = true;
    }

    /// Runs the application's function on the core, with the core's time.
    pub fn act<R>(&mut self, now: Instant, act: impl FnOnce(&mut C, Time) -> R) -> R {
        self.advance(now);
        self.stirred = true;
        act(&mut self.core, self.now.time)
    }

    /// The next thing the embedder has to do for the core.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.settle();
        self.effects.pop_front()
    }

    /// The next thing the core tells. Events not taken are kept, within [`Limits::events`].
    pub fn poll_event(&mut self) -> Option<C::Event> {
        self.settle();
        let event = self.events.pop_front();
        self.stirred |= event.is_some() && !self.starved.is_empty();
        event
    }

    /// Fills `buf` with the next datagrams, at most `max_segments` of them (1 if the socket has no
    /// segmentation offload). Connections take turns. Once it has returned `None`, there is nothing
    /// to send before the next input or deadline.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        self.advance(now);
        self.settle();
        buf.clear();
        if let Some((transmit, mut bytes)) = self.responses.pop_front() {
            buf.append(&mut bytes);
            return Some(transmit);
        }
        let max_segments = max_segments.clamp(1, self.limits.segments.max(1));
        while let Some(slot) = self.sending.pop_front() {
            if let Some(conn) = connection(&mut self.slots, slot).filter(|conn| conn.sending) {
                let transmit = conn.quic.poll_transmit(self.now.instant, max_segments, buf);
                conn.sending = transmit.is_some();
                if conn.sending {
                    self.sending.push_back(slot);
                }
                self.route(slot);
                if let Some(transmit) = transmit {
                    return Some(Transmit::from(&transmit));
                }
            }
            if self.sending.is_empty() {
                // Transmitting may have left work that leads to more of it.
                self.settle();
            }
        }
        None
    }

    /// When to call [`Endpoint::handle_timeout`]. Already due while effects wait to be taken.
    /// Transmits don't count: take them until there are none, or come back when the socket has
    /// room.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.settle();
        if !self.effects.is_empty() {
            return Some(self.now.instant);
        }
        let core = self.core.poll_timeout().map(|(at, _)| {
            let wait = at.since(self.now.time).min(MAX_SLEEP);
            self.now.instant + wait
        });
        [core, self.next_feed(), self.timers.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Moves to `now`, never back.
    fn advance(&mut self, now: Instant) {
        let instant = now.max(self.now.instant);
        let (unix, at) = self.date;
        self.wall.set(unix + instant.saturating_duration_since(at));
        let micros = instant.saturating_duration_since(self.epoch).as_micros();
        self.now = Now {
            instant,
            time: Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)),
        };
    }
}

impl From<&quinn_proto::Transmit> for Transmit {
    fn from(transmit: &quinn_proto::Transmit) -> Self {
        Self {
            destination: transmit.destination,
            ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
            size: transmit.size,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        }
    }
}

fn connection(slots: &mut [Option<Box<Connection>>], slot: usize) -> Option<&mut Connection> {
    slots.get_mut(slot)?.as_deref_mut()
}
