//! One socket's worth of QUIC and the core above it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{ClientConfig, ConnectionHandle, DatagramEvent, EcnCodepoint, Incoming};

use super::config::{Built, Config, ConfigError, Limits};
use super::connection::{Attempt, Change, ConnOutput, Connection, Now};
use super::timers::Timers;
use super::tls::{Verifier, Wall};
use crate::ids::{ConnId, Ticket};
use crate::io::{ConnectError, Core, Job, JobResult, Lane, MAX_SLEEP, Output, Target, Wake};
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
    limits: Limits,
    epoch: Instant,
    now: Now,
    /// By quinn's handle.
    slots: Vec<Option<Box<Connection>>>,
    open: usize,
    half_open: usize,
    /// Counts connections; the upper bits of each [`ConnId`].
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

/// Bits of a [`ConnId`] that hold the slot, so that it is found without a search.
const SLOT_BITS: u32 = 24;
/// Answers to strangers that wait to be sent; more are dropped, they are free to ask again.
const MAX_RESPONSES: usize = 64;
/// Starved connections read again after an input, in turn.
const FEED: usize = 32;
/// When the next ones are, if there are more and no input comes. Where all had their turn, there is
/// nothing to wait for: credit changes by inputs only.
const FEED_AFTER: core::time::Duration = core::time::Duration::from_millis(50);
/// Why connections end at a shutdown (protocol.md §2).
const SHUTDOWN: u64 = 4;

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
            limits: config.limits.clone(),
            epoch,
            now: Now {
                instant: epoch,
                time: Time::ZERO,
            },
            slots: Vec::new(),
            open: 0,
            half_open: 0,
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
        let feed = (self.starved.len() > FEED).then(|| self.fed + FEED_AFTER);
        [core, feed, self.timers.next()].into_iter().flatten().min()
    }

    /// Moves to `now`, never back.
    fn advance(&mut self, now: Instant) {
        let instant = now.max(self.now.instant);
        let micros = instant.saturating_duration_since(self.epoch).as_micros();
        self.now = Now {
            instant,
            time: Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)),
        };
    }

    /// Does all the work that inputs left: quinn's events to the core, the core's outputs to quinn,
    /// until neither has any. Each round is bounded by what was read, and so is their number.
    fn settle(&mut self) {
        loop {
            while let Some(slot) = self.dirty.pop_front() {
                self.pump(slot);
            }
            let mut worked = core::mem::take(&mut self.stirred);
            while let Some(change) = self.changes.pop_front() {
                self.apply(change);
                worked = true;
            }
            while let Some(output) = self.core.poll_output() {
                self.dispatch(output);
                worked = true;
            }
            if worked {
                self.stirred |= self.feed();
            }
            if self.shutting_down && !self.closed && self.core.is_shut_down() {
                // Ends whatever connections the core left.
                self.closed = true;
                self.close_where(|_| true, true);
            }
            if self.dirty.is_empty() && self.changes.is_empty() && !self.stirred {
                return;
            }
        }
    }

    fn pump(&mut self, slot: usize) {
        let paused = self.is_paused();
        let Some(conn) = connection(&mut self.slots, slot).filter(|conn| conn.dirty) else {
            return;
        };
        conn.dirty = false;
        conn.pump(&mut self.core, self.now, paused, &mut self.changes);
        self.stirred = true;
        self.route(slot);
    }

    /// Takes a connection's events to quinn's endpoint and back, re-arms its timer, and forgets it
    /// once it is drained: quinn then gives its handle to the next one.
    fn route(&mut self, slot: usize) {
        let Some(conn) = connection(&mut self.slots, slot) else {
            return;
        };
        let mut drained = false;
        let mut touched = false;
        while let Some(event) = conn.quic.poll_endpoint_events() {
            drained = event.is_drained();
            if let Some(event) = self.quic.handle_event(conn.handle, event) {
                conn.quic.handle_event(event);
                touched = true;
            }
            if drained {
                break;
            }
        }
        if drained {
            let why = ConnectError::Unreachable;
            let change = conn.over(&mut self.core, self.now.time, why);
            self.stirred = true;
            self.changes.extend(change);
            self.timers.arm(slot, &mut conn.armed, None);
            self.remove(slot);
            return;
        }
        let deadline = conn.deadline();
        self.timers.arm(slot, &mut conn.armed, deadline);
        if conn.has_unread() && !conn.starved {
            conn.starved = true;
            self.starved.push_back(slot);
        }
        if touched {
            self.touch(slot);
        }
    }

    /// Something happened to the connection: it will be pumped and polled for transmits.
    fn touch(&mut self, slot: usize) {
        if let Some(conn) = connection(&mut self.slots, slot) {
            if !conn.dirty {
                conn.dirty = true;
                self.dirty.push_back(slot);
            }
            if !conn.sending {
                conn.sending = true;
                self.sending.push_back(slot);
            }
        }
    }

    /// Whether the embedder has fallen behind: then nothing is read, and flow control holds the
    /// peers back.
    fn is_paused(&self) -> bool {
        self.stores >= self.limits.stores
            || (!self.limits.lossy_events && self.events.len() >= self.limits.events)
    }

    /// Something changed: perhaps there is room for streams that were left unread. Whether there
    /// was.
    fn feed(&mut self) -> bool {
        if self.starved.is_empty() {
            return false;
        }
        let paused = self.is_paused();
        let mut read = false;
        self.fed = self.now.instant;
        for _ in 0..self.starved.len().min(FEED) {
            let Some(slot) = self.starved.pop_front() else {
                break;
            };
            let Some(conn) = connection(&mut self.slots, slot).filter(|conn| conn.starved) else {
                continue;
            };
            conn.starved = false;
            read |= conn.read_again(&mut self.core, self.now, paused);
            // What was read gives the peer credit, which is to be sent.
            if !conn.sending {
                conn.sending = true;
                self.sending.push_back(slot);
            }
            self.route(slot);
        }
        read
    }

    fn dispatch(&mut self, output: Output<C::Event>) {
        let output = match ConnOutput::split(output) {
            Ok((id, output)) => {
                let slot = slot_of(id);
                if let Some(conn) = connection(&mut self.slots, slot).filter(|conn| conn.id == id) {
                    // Writing moves no timer before it is transmitted; closing does.
                    let closes = conn.handle_output(
                        &mut self.core,
                        self.now,
                        output,
                        &self.limits,
                        &mut self.changes,
                    );
                    if !conn.sending {
                        conn.sending = true;
                        self.sending.push_back(slot);
                    }
                    if closes {
                        self.route(slot);
                    }
                }
                return;
            }
            Err(output) => output,
        };
        match output {
            Output::Connect { ticket, target } => self.connect(ticket, target),
            Output::Store {
                ticket,
                lane,
                command,
            } => {
                self.stores = self.stores.saturating_add(1);
                self.effects.push_back(Effect::Store {
                    ticket,
                    lane,
                    command,
                });
            }
            Output::Compute { ticket, job } => {
                self.effects.push_back(Effect::Compute { ticket, job });
            }
            Output::Wake(wake) => self.effects.push_back(Effect::Wake(wake)),
            Output::Event(event) => {
                if !self.limits.lossy_events || self.events.len() < self.limits.events {
                    self.events.push_back(event);
                }
            }
            // Named a connection: taken above.
            Output::Open { .. }
            | Output::Send { .. }
            | Output::Reset { .. }
            | Output::Close { .. } => {}
        }
    }

    /// The core wants a connection.
    fn connect(&mut self, ticket: Ticket, target: Target) {
        let Some((host, _)) = host_and_port(&target.address) else {
            let now = self.now.time;
            self.core
                .handle_connect_failed(now, ticket, ConnectError::BadAddress);
            return;
        };
        match target.address.parse::<SocketAddr>() {
            Ok(address) => self.attempt(Attempt {
                ticket,
                target,
                others: VecDeque::from([address]),
            }),
            Err(_) if host.parse::<IpAddr>().is_ok() => {
                let now = self.now.time;
                self.core
                    .handle_connect_failed(now, ticket, ConnectError::BadAddress);
            }
            Err(_) => {
                let address = target.address.clone();
                self.resolving.insert(ticket, target);
                self.effects.push_back(Effect::Resolve { ticket, address });
            }
        }
    }

    /// Tries the next address of an attempt.
    fn attempt(&mut self, mut attempt: Attempt) {
        let now = self.now;
        let client = self.clients.get(attempt.target.alpn.token());
        let full = self.open >= self.limits.connections;
        let failed = match (attempt.others.pop_front(), client) {
            (None, _) => ConnectError::BadAddress,
            (_, None) => ConnectError::Refused,
            _ if self.shutting_down || full => ConnectError::Refused,
            (Some(address), Some(client)) => {
                let host = host_and_port(&attempt.target.address).map_or("", |(host, _)| host);
                match self
                    .quic
                    .connect(now.instant, client.clone(), address, host)
                {
                    Ok((handle, quic)) => {
                        self.insert(handle, quic, Some(attempt));
                        return;
                    }
                    Err(quinn_proto::ConnectError::CidsExhausted) => ConnectError::Refused,
                    Err(_) => ConnectError::BadAddress,
                }
            }
        };
        self.core
            .handle_connect_failed(now.time, attempt.ticket, failed);
    }

    /// Somebody connects.
    fn accept(&mut self, incoming: Incoming) {
        let full = self.open >= self.limits.connections
            || self.half_open >= self.limits.handshakes
            || self.shutting_down;
        let unproven = self.half_open >= self.limits.unproven_handshakes
            && !incoming.remote_address_validated();
        self.scratch.clear();
        let now = self.now.instant;
        let response = if full {
            Some(self.quic.refuse(incoming, &mut self.scratch))
        } else if unproven && incoming.may_retry() {
            self.quic.retry(incoming, &mut self.scratch).ok()
        } else {
            match self.quic.accept(incoming, now, &mut self.scratch, None) {
                Ok((handle, quic)) => {
                    self.insert(handle, quic, None);
                    None
                }
                Err(error) => error.response,
            }
        };
        if let Some(transmit) = response {
            self.respond(&transmit);
        }
    }

    fn respond(&mut self, transmit: &quinn_proto::Transmit) {
        if self.responses.len() < MAX_RESPONSES {
            let bytes = core::mem::take(&mut self.scratch);
            self.responses.push_back((Transmit::from(transmit), bytes));
        }
    }

    fn insert(
        &mut self,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        attempt: Option<Attempt>,
    ) {
        let slot = handle.0;
        self.serial = self.serial.wrapping_add(1);
        let low = u64::try_from(slot).unwrap_or(u64::MAX) & ((1 << SLOT_BITS) - 1);
        let id = ConnId(self.serial << SLOT_BITS | low);
        let until = self.now.instant + self.limits.handshake;
        let conn = Connection::new(id, handle, quic, until, attempt);
        self.open = self.open.saturating_add(1);
        if conn.is_half_open() {
            self.half_open = self.half_open.saturating_add(1);
        }
        if self.slots.len() <= slot {
            self.slots.resize_with(slot.saturating_add(1), || None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Box::new(conn));
        }
        self.touch(slot);
    }

    fn remove(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(slot)
            && place.take().is_some()
        {
            self.open = self.open.saturating_sub(1);
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Settled => self.half_open = self.half_open.saturating_sub(1),
            Change::Pinned(sha256) => {
                if let Some(verifier) = &self.verifier {
                    verifier.pin(sha256);
                }
            }
            Change::Failed(attempt, ConnectError::Unreachable) if !attempt.others.is_empty() => {
                self.attempt(attempt);
            }
            Change::Failed(attempt, why) => {
                let now = self.now.time;
                self.core.handle_connect_failed(now, attempt.ticket, why);
            }
        }
    }

    /// Closes connections for a shutdown; `gently`: once what was sent on them has arrived.
    fn close_where(&mut self, which: impl Fn(&Connection) -> bool, gently: bool) {
        for slot in 0..self.slots.len() {
            let Some(conn) = connection(&mut self.slots, slot).filter(|conn| which(conn)) else {
                continue;
            };
            let change = match gently {
                true => conn.linger(&mut self.core, self.now, SHUTDOWN, &self.limits),
                false => conn.shut(&mut self.core, self.now, SHUTDOWN, ConnectError::Refused),
            };
            self.changes.extend(change);
            self.touch(slot);
        }
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

/// The slot that a [`ConnId`] names; whether it still holds that connection is to be checked.
fn slot_of(id: ConnId) -> usize {
    usize::try_from(id.0 & ((1 << SLOT_BITS) - 1)).unwrap_or(usize::MAX)
}

/// Both halves of `host:port`; the host of `[::1]:5001` is `::1`.
fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|&port| port != 0)?;
    (!host.is_empty()).then_some((host, port))
}
