//! A core with its disk and its processor, and what it is told: as its embedder in a [`Net`](super::Net) keeps it.

use std::collections::{BTreeMap, VecDeque};

use qpq_protocol::client::{self, Client, Intent, StorageKey};
use qpq_protocol::ids::{ConnId, StreamId, Ticket};
use qpq_protocol::io::{ConnectError, Core, Job, PeerInfo, StreamInput};
use qpq_protocol::rng::Seed;
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::storage::{Command, Engine as _, Reply};
use qpq_protocol::time::{Time, UnixTime};

/// When a machine loses power: at its storage command number `at`, just before or just after that
/// became durable; no reply is seen.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    pub at: usize,
    pub after: bool,
}

/// Something that a core is told. What a job gave is not in it: the job is run again.
#[derive(Clone, Debug)]
pub enum Input {
    Connected(ConnId, PeerInfo, Option<Ticket>),
    ConnectFailed(Ticket, ConnectError),
    Stream(ConnId, StreamId, StreamInput),
    Disconnected(ConnId),
    Stored(Ticket, Reply),
    Computed(Ticket),
    Timeout,
    /// The user wants something.
    Said(Intent),
}

/// What a client was started with.
#[derive(Clone)]
pub struct Birth {
    pub config: client::ClientConfig,
    pub seed: [u8; 32],
    pub now: Time,
    pub unix: UnixTime,
}

impl Birth {
    pub fn client(&self) -> Client {
        let (key, seed) = (StorageKey::new([7; 32]), Seed::new(self.seed));
        Client::new(self.config.clone(), key, seed, self.now, self.unix)
    }
}

/// A core and its disk.
pub struct Node<C: Core> {
    pub core: C,
    pub disk: Memory,
    /// What it told its embedder.
    pub events: Vec<C::Event>,
    /// Storage commands wait here while `hold` is set.
    pub commands: VecDeque<(Ticket, Command)>,
    pub hold: bool,
    /// Its process is gone for now: nothing is asked of the core.
    pub away: bool,
    /// Storage commands that were run, over all.
    pub commands_run: usize,
    /// The machine loses power at this many commands.
    pub(super) crash: Option<Crash>,
    pub(super) has_crashed: bool,
    /// Events before this were told by cores of earlier starts.
    pub(super) first_event: usize,
    pub(super) jobs: BTreeMap<Ticket, Job>,
    /// What the core was told since this was set to something.
    pub trace: Option<Vec<(Time, Input)>>,
}

impl<C: Core> Node<C> {
    /// From now on counts storage commands, and loses power at one.
    pub fn lose_power(&mut self, crash: Crash) {
        self.commands_run = 0;
        self.crash = Some(crash);
    }

    pub(super) fn new(core: C, disk: Memory) -> Self {
        Self {
            core,
            disk,
            events: Vec::new(),
            commands: VecDeque::new(),
            hold: false,
            away: false,
            commands_run: 0,
            crash: None,
            has_crashed: false,
            first_event: 0,
            jobs: BTreeMap::new(),
            trace: None,
        }
    }

    /// Keeps what the core is told, if that is wanted.
    pub(super) fn note(&mut self, now: Time, input: impl FnOnce() -> Input) {
        if let Some(trace) = &mut self.trace {
            trace.push((now, input()));
        }
    }

    /// Tells the core something.
    pub fn tell(&mut self, now: Time, input: Input) {
        self.note(now, || input.clone());
        let core = &mut self.core;
        match input {
            Input::Connected(conn, peer, ticket) => core.handle_connected(now, conn, peer, ticket),
            Input::ConnectFailed(ticket, why) => core.handle_connect_failed(now, ticket, why),
            Input::Stream(conn, stream, input) => core.handle_stream(now, conn, stream, input),
            Input::Disconnected(conn) => core.handle_disconnected(now, conn),
            Input::Stored(ticket, reply) => core.handle_stored(now, ticket, reply),
            Input::Computed(ticket) => {
                if let Some(job) = self.jobs.remove(&ticket) {
                    core.handle_computed(now, ticket, job.run());
                }
            }
            Input::Timeout => core.handle_timeout(now),
            // Only a client listens: `Net::begin`.
            Input::Said(_) => {}
        }
    }

    /// The core wants something computed.
    pub fn take_job(&mut self, ticket: Ticket, job: Job) {
        self.jobs.insert(ticket, job);
    }

    /// Runs what waits for disk and processor; whether there was anything.
    pub(super) fn work(&mut self, now: Time) -> bool {
        let mut worked = false;
        if !self.hold && !self.commands.is_empty() {
            worked = true;
            let (tickets, mut batch): (Vec<_>, Vec<_>) = self.commands.drain(..).unzip();
            if let Some(crash) = self.crash
                && self.commands_run + batch.len() >= crash.at
            {
                let last = crash.at - self.commands_run;
                batch.truncate(if crash.after { last } else { last - 1 });
                self.disk.run(batch);
                self.has_crashed = true;
                return true;
            }
            self.commands_run += batch.len();
            let replies = self.disk.run(batch);
            for (ticket, reply) in tickets.into_iter().zip(replies) {
                self.tell(now, Input::Stored(ticket, reply));
            }
        }
        if let Some(ticket) = self.jobs.keys().next().copied() {
            worked = true;
            self.tell(now, Input::Computed(ticket));
        }
        worked
    }
}
