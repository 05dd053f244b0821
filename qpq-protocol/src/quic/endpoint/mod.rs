//! One socket's worth of QUIC, a socket more for each connection apart, and the core above them.

mod admission;
mod apart;
mod datagrams;
mod network;
mod shutdown;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::ClientConfig;

use self::datagrams::Outbox;
use self::network::Network;
use self::shutdown::Phase;
use super::config::{Built, ConfigError, Limits, QuicConfig};
use super::connection::{Change, Connection, Now};
use super::task::{Done, Found, Task};
use super::timers::Timers;
use super::tls::{Verifier, Wall};
use crate::ids::Ticket;
use crate::io::{Core, Lane, MAX_SLEEP, Target, Wake};
use crate::storage::{Command, Reply};
use crate::time::{Time, UnixTime};

pub use self::apart::SocketId;
pub use self::datagrams::{Received, Traffic, Transmit};

/// Something the embedder has to do for the core.
#[derive(Debug)]
pub enum Effect {
    /// Run a storage command; answered by [`Endpoint::handle_stored`].
    Store {
        /// Names the request.
        ticket: Ticket,
        /// Which commands it must keep its order with.
        lane: Lane,
        /// What to do.
        command: Command,
    },
    /// Run it on another thread; answered by [`Endpoint::handle_done`].
    Task(Task),
    /// Tell the other cores on the same store.
    Wake(Wake),
    /// Bind a socket of the same kind to any free port, use it instead of the one before, and say so by
    /// [`Endpoint::handle_rebound`]; before the next transmit. If there is none to be had, keep that one
    /// and say so all the same.
    Rebind,
    /// Bind one more socket of the same kind to any free port, for the datagrams that name it; before the next
    /// transmit. If there is none to be had, say so by [`Endpoint::handle_no_socket`].
    OpenSocket(SocketId),
    /// Close that socket.
    CloseSocket(SocketId),
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
    /// When the core is told the date again.
    next_clock: Instant,
    limits: Limits,
    epoch: Instant,
    now: Now,
    /// By quinn's handle.
    slots: Vec<Option<Box<Connection>>>,
    open: usize,
    half_open: usize,
    /// The same by address ([`crate::site`]).
    half_open_of: BTreeMap<IpAddr, usize>,
    attempts: usize,
    /// Counts connections; the upper bits of each [`ConnId`](crate::ids::ConnId).
    serial: u64,
    /// Counts sockets beside the endpoint's own.
    last_socket: u64,
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
    responses: VecDeque<(quinn_proto::Transmit, Vec<u8>)>,
    scratch: Vec<u8>,
    outbox: Outbox,
    /// Bytes received since something was sent last.
    unanswered: usize,
    traffic: Traffic,
    dual_stack: bool,
    is_server: bool,
    network: Network,
    changes: VecDeque<Change>,
    resolving: BTreeMap<Ticket, Target>,
    effects: VecDeque<Effect>,
    stores: usize,
    events: VecDeque<C::Event>,
    phase: Phase,
}

impl<C: Core> Endpoint<C> {
    /// An endpoint around `core`. `epoch` is the origin of the core's [`Time`], `unix` the date, and
    /// `seed` 32 fresh random bytes.
    ///
    /// # Errors
    /// When certificate, key, authority or limits cannot be used.
    pub fn new(
        config: &QuicConfig,
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
            next_clock: epoch,
            limits: config.limits.clone(),
            epoch,
            now: Now {
                instant: epoch,
                time: Time::ZERO,
            },
            slots: Vec::new(),
            open: 0,
            half_open: 0,
            half_open_of: BTreeMap::new(),
            attempts: 0,
            serial: 0,
            last_socket: 0,
            dirty: VecDeque::new(),
            sending: VecDeque::new(),
            starved: VecDeque::new(),
            fed: epoch,
            timers: Timers::default(),
            stirred: true,
            responses: VecDeque::new(),
            scratch: Vec::new(),
            outbox: Outbox::default(),
            unanswered: 0,
            traffic: Traffic::NONE,
            dual_stack: config.dual_stack,
            is_server: config.is_server(),
            network: Network::default(),
            changes: VecDeque::new(),
            resolving: BTreeMap::new(),
            effects: VecDeque::new(),
            stores: 0,
            events: VecDeque::new(),
            phase: Phase::Running,
        })
    }

    /// The core, to look at.
    #[must_use]
    pub const fn core(&self) -> &C {
        &self.core
    }

    /// What passed over its sockets since it was made.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Connections that are not yet drained.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.open
    }

    /// A host said that nobody listens where datagrams were sent (ICMP). It ends attempts to connect
    /// there, and nothing else: such a message proves nothing about a connection that stands. Take
    /// those that wait before what [`Endpoint::poll_transmit`] gives is sent, so that none is taken
    /// to be about a later attempt.
    pub fn handle_unreachable(&mut self, now: Instant, host: IpAddr) {
        self.advance(now);
        self.give_up(host.to_canonical());
        self.stirred = true;
    }

    /// Whether an attempt to connect is under way.
    #[must_use]
    pub fn is_connecting(&mut self) -> bool {
        self.settle();
        self.attempts > 0
    }

    /// The deadline of [`Endpoint::poll_timeout`] has come. `unix` is the date: the core is told it
    /// every [`Limits::clock`], and certificates are checked by it.
    pub fn handle_timeout(&mut self, now: Instant, unix: UnixTime) {
        self.advance(now);
        self.date = (unix, self.now.instant);
        self.wall.set(unix);
        if self.next_clock <= self.now.instant {
            self.next_clock = self.now.instant + self.limits.clock;
            self.core.handle_clock(self.now.time, unix);
        }
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
        self.change_path_if_due();
        if self.end().is_some_and(|end| end <= self.now.instant) {
            self.cut_short();
        }
        self.stirred = true;
    }

    /// Answers to [`Effect::Store`].
    pub fn handle_stored(
        &mut self,
        now: Instant,
        replies: impl IntoIterator<Item = (Ticket, Reply)>,
    ) {
        self.advance(now);
        for (ticket, reply) in replies {
            self.stores = self.stores.saturating_sub(1);
            self.core.handle_stored(self.now.time, ticket, reply);
        }
        self.stirred = true;
    }

    /// The answer to [`Effect::Task`].
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        self.advance(now);
        match done.0 {
            Found::Computed(ticket, result) => {
                self.core.handle_computed(self.now.time, ticket, result);
            }
            Found::Resolved(ticket, addresses) => self.resolved(ticket, addresses),
        }
        self.stirred = true;
    }

    /// Another core on the same store said that something changed.
    pub fn handle_wake(&mut self, now: Instant, wake: Wake) {
        self.advance(now);
        self.core.handle_wake(self.now.time, wake);
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

    /// When to call [`Endpoint::handle_timeout`]. Already due while effects wait to be taken.
    /// Transmits don't count: take them until there are none, or come back when the socket has
    /// room.
    pub fn poll_timeout(&mut self) -> Instant {
        self.settle();
        if !self.effects.is_empty() {
            return self.now.instant;
        }
        let core = self.core.poll_timeout().map(|(at, _)| {
            let wait = at.since(self.now.time).min(MAX_SLEEP);
            self.now.instant + wait
        });
        let own = [self.next_feed(), self.next_move(), self.end()];
        [core, self.timers.next()]
            .into_iter()
            .chain(own)
            .flatten()
            .fold(self.next_clock, Instant::min)
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

fn connection(slots: &mut [Option<Box<Connection>>], slot: usize) -> Option<&mut Connection> {
    slots.get_mut(slot)?.as_deref_mut()
}
