//! The server core: connections, frames, sessions and storage replies go in; answers, pushes and
//! storage commands come out. It implements [`Core`].
//!
//! ```text
//! bytes of a stream     run/           a whole request, charged for as it arrives (connection.rs, charges.rs,
//!                                      deadlines.rs), run step by step until its answer has left
//!   method, payload     dispatch.rs    rates, session; one line a method in table.rs (checks.rs: lengths, caller)
//!     handler           services/      one file a category, made of steps (step.rs)
//!       rows            txn/           read, checked and changed; remembered between requests
//!       question        policy.rs      what an operator allows (policy_check.rs)
//!   effects             push.rs        pushes, waits, other cores
//! background            jobs.rs        what is longer than one commit
//!   later               upkeep.rs      what expires, and what nobody needs any more, goes
//! ```
//!
//! One core serves the connections of one thread. Cores share nothing but the store and the wakes
//! they send each other.

mod allowance;
mod allowances;
mod away;
mod calendar;
mod caller;
mod charges;
mod checks;
mod config;
mod connection;
mod counters;
mod ctx;
mod deadlines;
mod dispatch;
mod effects;
mod event;
mod fault;
mod jobs;
mod line;
mod login_slot;
mod notes;
mod outputs;
mod policy;
mod policy_check;
mod push;
mod rate;
mod run;
mod server_keys;
mod services;
mod shares;
mod shutdown;
mod startup;
mod step;
mod strangers;
mod table;
mod timers;
mod txn;
mod upkeep;

use std::collections::BTreeMap;

use allowances::Allowances;
use away::Away;
use calendar::{Calendar, Dates};
use charges::Charges;
use connection::Connection;
use counters::Counters;
use outputs::Outputs;
use push::Subscriptions;
use rate::Rates;
use run::arriving::Arriving;
use run::background::Background;
use run::long_answers::LongAnswers;
use run::task::Tasks;
use shutdown::Shutdown;
use startup::Phase;
use strangers::Strangers;
use timers::{Timer, Timers};
use txn::Rows;
use upkeep::Upkeep;

use crate::ids::{ConnId, Dir, StreamId, Ticket};
use crate::io::{ConnectError, Core, JobResult, Output, PeerInfo, Reason, StreamInput, Wake};
use crate::limits::{AWAY_ENTRY, CONNECTION, ENTRY};
use crate::rng::Rng;
use crate::status::AppCode;
use crate::storage::{Failure, Reply};
use crate::time::{Clock, Time, UnixTime};

pub use config::ServerConfig;
pub use counters::Snapshot;
pub use event::{AskId, Event};
pub use policy::{Invitation, Policy, Question, Refusal, Verdict};
pub use startup::StartError;

/// The server core. See [`Core`] for how to drive it.
pub struct Server {
    /// Goes first when the core goes: who holds something then owes it to nobody.
    charges: Charges,
    config: ServerConfig,
    clock: Clock,
    calendar: Calendar,
    started: Time,
    rng: Rng,
    phase: Phase,
    shutdown: Shutdown,
    connections: BTreeMap<ConnId, Connection>,
    subscriptions: Subscriptions,
    tasks: Tasks,
    timers: Timers,
    upkeep: Upkeep,
    background: Background,
    /// Whether there may be a job that was not looked for.
    jobs_wait: bool,
    jobs_due: Option<Time>,
    policy: Option<Box<dyn Policy>>,
    away: Away,
    counters: Counters,
    /// When each limit that was hit was last told.
    limits_hit: BTreeMap<&'static str, Time>,
    rows: Rows,
    rates: Rates,
    allowances: Allowances,
    outputs: Outputs,
    arriving: Arriving,
    long_answers: LongAnswers,
    strangers: Strangers,
    last_ticket: u64,
    last_stream: u64,
}

impl Server {
    /// A core that begins by reading its storage. `seed` is fresh from the operating system at every
    /// start.
    #[must_use]
    pub fn new(config: ServerConfig, seed: [u8; 32], now: Time, unix: UnixTime) -> Self {
        let limits = &config.limits;
        let mut server = Self {
            charges: Charges::new(limits),
            clock: Clock::new(now, unix),
            calendar: Calendar::new(None, now, unix, config.accept_clock),
            started: now,
            rng: Rng::new(seed),
            phase: Phase::Starting(None),
            shutdown: Shutdown::default(),
            connections: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            tasks: Tasks::default(),
            timers: Timers::default(),
            upkeep: Upkeep::default(),
            background: Background::default(),
            jobs_wait: false,
            jobs_due: None,
            policy: None,
            away: Away::new(limits.away_devices),
            counters: Counters::default(),
            limits_hit: BTreeMap::new(),
            rows: Rows::new(limits.cached_rows, limits.cached_bytes),
            rates: Rates::new(limits.rate_counters, &seed),
            allowances: Allowances::new(limits.stored_accounts),
            outputs: Outputs::default(),
            arriving: Arriving::default(),
            long_answers: LongAnswers::default(),
            strangers: Strangers::default(),
            last_ticket: 0,
            last_stream: 0,
            config,
        };
        server.start_up();
        server
    }

    /// The date by which things end, and the one from which they last.
    fn dates(&mut self) -> Dates {
        let (now, says) = (self.clock.now(), self.clock.unix());
        if let Some(event) = self.calendar.observe(now, says) {
            self.outputs.push(Output::Event(event));
        }
        self.calendar.dates(now, says)
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.saturating_add(1);
        Ticket(self.last_ticket)
    }

    /// Closes a connection: nothing more is taken from it or sent on it.
    fn close_connection(&mut self, conn: ConnId, code: AppCode) {
        if let Some(connection) = self.connections.get_mut(&conn)
            && !core::mem::replace(&mut connection.closing, true)
        {
            self.outputs.push(Output::Close {
                conn,
                code: code.code(),
            });
            self.unsubscribe(conn);
            self.strangers.leave(conn);
        }
    }

    fn storage_failed(&mut self, failure: Failure) {
        self.outputs
            .push(Output::Event(Event::StorageFailed(failure)));
    }
}

#[cfg(feature = "sim")]
impl Server {
    /// Bytes that are set aside for requests and answers of peers, for a simulation that looks
    /// whether they are given back.
    pub(crate) fn held_for_peers(&self) -> usize {
        self.charges
            .held()
            .saturating_add(self.charges.all_unsent())
    }
}

impl Core for Server {
    type Event = Event;

    fn handle_connected(&mut self, now: Time, conn: ConnId, peer: PeerInfo, _: Option<Ticket>) {
        self.clock.advance(now);
        if self.connections.contains_key(&conn) {
            return;
        }
        let full = self.connections.len() >= self.config.limits.connections;
        let refused = match (self.shutdown.is_asked(), full) {
            (true, _) => Some(AppCode::Shutdown),
            (_, true) => Some(AppCode::Overloaded),
            _ => None,
        };
        match refused {
            None => {
                let connection = Connection::new(peer, self.clock.now());
                self.connections.insert(conn, connection);
                Counters::one(&mut self.counters.connections);
                self.enter_as_stranger(conn);
            }
            Some(code) => self.outputs.push(Output::Close {
                conn,
                code: code.code(),
            }),
        }
    }

    /// The server opens no connections.
    fn handle_connect_failed(&mut self, now: Time, _: Ticket, _: ConnectError) {
        self.clock.advance(now);
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput) {
        self.clock.advance(now);
        match stream {
            StreamId::Peer(Dir::Bi, stream) => self.request_input(conn, stream, input),
            StreamId::Peer(Dir::Uni, number) => self.refuse_stream(conn, number, &input),
            StreamId::Own(stream) => self.push_input(conn, stream, &input),
        }
    }

    fn handle_disconnected(&mut self, now: Time, conn: ConnId) {
        self.clock.advance(now);
        self.disconnect(conn);
    }

    fn handle_stored(&mut self, now: Time, ticket: Ticket, reply: Reply) {
        self.clock.advance(now);
        if !self.startup_stored(ticket, &reply)
            && let Err(reply) = self.background_stored(ticket, reply)
        {
            self.task_stored(ticket, reply);
        }
        self.shut_down_if_done();
    }

    /// The server asks for no computations.
    fn handle_computed(&mut self, now: Time, _: Ticket, _: JobResult) {
        self.clock.advance(now);
    }

    fn handle_wake(&mut self, now: Time, wake: Wake) {
        self.clock.advance(now);
        self.wake(wake);
    }

    fn handle_clock(&mut self, now: Time, unix: UnixTime) {
        self.clock.advance(now);
        self.clock.set_unix(unix);
        self.dates();
    }

    fn handle_timeout(&mut self, now: Time) {
        let now = self.clock.advance(now);
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Startup => self.start_up(),
                Timer::Shutdown => self.shut_down(),
                Timer::Connection(conn) => self.check_connection(conn),
                Timer::Task(id) => self.task_due(id),
                Timer::Upkeep => self.upkeep_due(),
                Timer::Jobs => self.jobs_due(),
            }
        }
        self.shut_down_if_done();
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.clock.advance(now);
        self.ask_shutdown();
        self.shut_down_if_done();
    }

    fn credit(&self, conn: ConnId, stream: StreamId) -> usize {
        self.request_credit(conn, stream)
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop()
    }

    fn poll_timeout(&self) -> Option<(Time, Reason)> {
        if !self.outputs.is_empty() {
            return Some((self.clock.now(), "output is queued"));
        }
        let (at, timer) = self.timers.first()?;
        Some((at, timer.reason()))
    }

    fn is_shut_down(&self) -> bool {
        self.shutdown.is_complete() && self.connections.is_empty()
    }

    fn footprint(&self) -> usize {
        self.connections
            .len()
            .saturating_mul(CONNECTION)
            .saturating_add(self.charges.held())
            .saturating_add(self.rows.bytes())
            .saturating_add(self.config.limits.rate_tables())
            .saturating_add(self.away.len().saturating_mul(AWAY_ENTRY))
            .saturating_add(self.outputs.len().saturating_mul(ENTRY))
    }
}
