//! A server and clients in virtual time: byte queues for connections, memory engines for disks.
//!
//! Everything a core wants is done at once and in one order, so a run depends on its seeds alone.
//! Time stands still until nothing is left to do; then it jumps to the next deadline.
#![allow(dead_code)]

mod late;
mod node;
pub mod people;
mod wires;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::client::{self, Client, Intent, IntentError, IntentId, Outcome};
use qpq_protocol::ids::{ConnId, StreamId};
use qpq_protocol::io::{Core as _, Output, StreamInput};
use qpq_protocol::limits::RateClass;
use qpq_protocol::proto;
use qpq_protocol::server::{self, Server};
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::time::{Time, UnixTime};

// Each test uses its own part of this.
#[allow(unused_imports)]
pub use late::{Late, Lie};
#[allow(unused_imports)]
pub use node::{Birth, Crash, Input, Node};
use wires::{Link, Side};

/// The date at the clock's origin: 2026-01-01.
pub const BEGIN_MS: u64 = 1_767_225_600_000;

/// What is durable of a world, and how its clients are configured.
pub struct Snapshot {
    client_config: client::ClientConfig,
    now: Time,
    server: Memory,
    clients: Vec<Memory>,
    starts: u8,
}

/// The whole world.
pub struct Net {
    pub now: Time,
    pub server: Option<Node<Server>>,
    pub clients: Vec<Node<Client>>,
    /// Longest piece in which bytes are delivered.
    pub piece: usize,
    /// Pushes are lost on their way, as when servers lose the word of something new.
    pub deaf: bool,
    /// Bytes delivered, over all.
    pub bytes: usize,
    /// So far ahead a client's clock is at its start.
    pub clock_off: BTreeMap<usize, Duration>,
    /// Follows what each process calls itself.
    pub holder: String,
    /// The server's answers become these.
    pub lie: Option<Lie>,
    /// What comes with a status that is a lie.
    pub detail: proto::ErrorDetail,
    /// Requests of these methods by a client stay on their way, or the answers to them.
    pub late: BTreeSet<(usize, Late)>,
    /// Ids of the methods that clients asked for, in their order.
    pub asked: Vec<u16>,
    /// The last request of each method, as its message.
    pub requests: BTreeMap<u16, Bytes>,
    /// All requests since this was set to something, as methods and messages.
    pub record: Option<Vec<(u16, Bytes)>>,
    /// Machines that lost power, and were started again.
    pub crashes: usize,
    pub server_config: server::ServerConfig,
    pub client_config: client::ClientConfig,
    pub server_disk: Memory,
    links: BTreeMap<ConnId, Link>,
    /// Bytes on their way, by connection, receiver and the receiver's name of the stream.
    wires: BTreeMap<(ConnId, Side, StreamId), VecDeque<StreamInput>>,
    last_conn: u64,
    starts: u8,
    /// What the client that was started last was started with.
    pub last_birth: Option<Birth>,
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Net {
    /// A world with a server that has just started, and no clients.
    pub fn new() -> Self {
        let suite = client::OpaqueSuite::TEST;
        let mut server_config = server::ServerConfig {
            opaque_suite: suite,
            ..server::ServerConfig::default()
        };
        // Nobody here is to be slowed down.
        let limits = &mut server_config.limits;
        for class in RateClass::ALL {
            limits.rate_mut(*class).count = u32::MAX;
        }
        limits.rate_counters = 64;
        let client_config = client::ClientConfig {
            opaque_suite: suite,
            // The classical suite: a quarter of the bytes, a tenth of the time.
            mls_suite: client::MlsSuite::X25519,
            package_floor: 2,
            package_target: 3,
            ..client::ClientConfig::default()
        };
        let mut net = Self {
            crashes: 0,
            now: Time::from_micros(1_000_000),
            server: None,
            clients: Vec::new(),
            piece: usize::MAX,
            deaf: false,
            bytes: 0,
            clock_off: BTreeMap::new(),
            holder: String::new(),
            lie: None,
            detail: proto::ErrorDetail::default(),
            late: BTreeSet::new(),
            asked: Vec::new(),
            requests: BTreeMap::new(),
            record: None,
            server_config,
            client_config,
            server_disk: Memory::new(),
            links: BTreeMap::new(),
            wires: BTreeMap::new(),
            last_conn: 0,
            starts: 0,
            last_birth: None,
        };
        net.start_server();
        net
    }

    /// What is durable now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            client_config: self.client_config.clone(),
            now: self.now,
            server: self.server.as_ref().expect("a server").disk.clone(),
            clients: self.clients.iter().map(|node| node.disk.clone()).collect(),
            starts: self.starts,
        }
    }

    /// A world in which everything starts again on what was durable then.
    pub fn resume(snapshot: &Snapshot) -> Self {
        let mut net = Self::new();
        net.stop_server();
        net.client_config = snapshot.client_config.clone();
        net.now = snapshot.now;
        net.starts = snapshot.starts;
        net.server_disk = snapshot.server.clone();
        net.start_server();
        for disk in &snapshot.clients {
            let core = net.new_client(net.clients.len());
            net.clients.push(Node::new(core, disk.clone()));
        }
        net
    }

    pub fn unix(&self) -> UnixTime {
        UnixTime::from_millis(BEGIN_MS + self.now.as_micros() / 1000)
    }

    /// A seed that was never used.
    fn seed(&mut self) -> [u8; 32] {
        self.starts += 1;
        [self.starts; 32]
    }

    /// Starts the server on what it has stored.
    pub fn start_server(&mut self) {
        let seed = self.seed();
        let core = Server::new(self.server_config.clone(), seed, self.now, self.unix());
        let disk = core::mem::take(&mut self.server_disk);
        self.server = Some(Node::new(core, disk));
        self.pump();
    }

    /// Kills the server; its connections break.
    pub fn stop_server(&mut self) {
        if let Some(mut node) = self.server.take() {
            node.disk.crash();
            self.server_disk = node.disk;
        }
        for conn in self.links.keys().copied().collect::<Vec<_>>() {
            self.cut(conn);
        }
    }

    /// A client on an empty disk; its number.
    pub fn add_client(&mut self) -> usize {
        let client = self.add_silent_client();
        self.pump();
        client
    }

    /// The same, before anything was done for it.
    pub fn add_silent_client(&mut self) -> usize {
        let core = self.new_client(self.clients.len());
        self.clients.push(Node::new(core, Memory::new()));
        self.clients.len() - 1
    }

    fn new_client(&mut self, client: usize) -> Client {
        let seed = self.seed();
        let config = client::ClientConfig {
            holder: format!("start {}{}", self.starts, self.holder),
            ..self.client_config.clone()
        };
        let birth = Birth {
            config,
            seed,
            now: self.now,
            unix: self.unix() + self.clock_off.get(&client).copied().unwrap_or_default(),
        };
        let client = birth.client();
        self.last_birth = Some(birth);
        client
    }

    /// Another client on the disk of this one: what a second process would be.
    pub fn add_second(&mut self, client: usize) -> usize {
        let disk = self.clients[client].disk.clone();
        let core = self.new_client(self.clients.len());
        self.clients.push(Node::new(core, disk));
        self.clients.len() - 1
    }

    /// Kills a client and starts it again on what was durable. Events so far are kept.
    pub fn restart(&mut self, client: usize) {
        let conns = self.links.iter().filter(|(_, link)| link.client == client);
        for conn in conns.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.cut_silently(conn);
        }
        let core = self.new_client(client);
        let node = &mut self.clients[client];
        node.disk.crash();
        node.core = core;
        node.commands.clear();
        node.jobs.clear();
        node.hold = false;
        node.crash = None;
        node.has_crashed = false;
        node.first_event = node.events.len();
    }

    /// Breaks the connections of a client.
    pub fn cut_client(&mut self, client: usize) {
        let conns = self.links.iter().filter(|(_, link)| link.client == client);
        for conn in conns.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.cut(conn);
        }
    }

    fn cut(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get(&conn) {
            let client = link.client;
            self.clients[client].tell(self.now, Input::Disconnected(conn));
        }
        self.cut_silently(conn);
    }

    /// Breaks a connection whose client is gone.
    fn cut_silently(&mut self, conn: ConnId) {
        if self.links.remove(&conn).is_some() {
            self.wires.retain(|(of, _, _), _| *of != conn);
            if let Some(server) = &mut self.server {
                server.tell(self.now, Input::Disconnected(conn));
            }
        }
    }

    /// Does everything that can be done without time passing.
    pub fn pump(&mut self) {
        let mut turns = 0;
        while self.turn() {
            turns += 1;
            let last = self.asked.len().saturating_sub(20);
            assert!(turns < 100_000, "without end: {:?}", &self.asked[last..]);
        }
    }

    /// One round; whether anything was done.
    pub fn turn(&mut self) -> bool {
        let mut busy = false;
        for client in 0..self.clients.len() {
            if self.clients[client].away {
                continue;
            }
            while let Some(output) = self.clients[client].core.poll_output() {
                busy = true;
                self.client_output(client, output);
            }
            busy |= self.clients[client].work(self.now);
            if self.clients[client].has_crashed {
                self.crashes += 1;
                self.restart(client);
            }
        }
        while let Some(output) = self
            .server
            .as_mut()
            .and_then(|node| node.core.poll_output())
        {
            busy = true;
            self.server_output(output);
        }
        if let Some(server) = &mut self.server {
            busy |= server.work(self.now);
            if server.has_crashed {
                self.crashes += 1;
                self.stop_server();
                self.start_server();
            }
        }
        busy | self.deliver()
    }

    fn client_output(&mut self, client: usize, output: Output<client::Event>) {
        match output {
            Output::Connect { ticket, .. } => self.connect(client, ticket),
            Output::Store {
                ticket, command, ..
            } => self.clients[client].commands.push_back((ticket, command)),
            Output::Compute { ticket, job } => self.clients[client].take_job(ticket, job),
            Output::Event(event) => self.clients[client].events.push(event),
            other => self.wire(Side::Client, other),
        }
    }

    fn server_output(&mut self, output: Output<server::Event>) {
        let Some(server) = &mut self.server else {
            return;
        };
        match output {
            Output::Store {
                ticket, command, ..
            } => server.commands.push_back((ticket, command)),
            Output::Event(event) => server.events.push(event),
            other => self.wire(Side::Server, other),
        }
    }

    /// The next deadline of anyone.
    fn next_deadline(&self) -> Option<Time> {
        let clients = self.clients.iter().filter(|node| !node.away);
        let clients = clients.filter_map(|node| node.core.poll_timeout());
        let server = self
            .server
            .iter()
            .filter_map(|node| node.core.poll_timeout());
        clients.chain(server).map(|(at, _)| at).min()
    }

    /// Jumps to the next deadline; whether there was one before `end`.
    pub fn tick(&mut self, end: Time) -> bool {
        self.pump();
        let jumped = self.jump(end);
        self.pump();
        jumped
    }

    /// The same, without doing what is to be done before and after.
    pub fn jump(&mut self, end: Time) -> bool {
        let Some(at) = self.next_deadline().filter(|at| *at <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(at);
        for node in self.clients.iter_mut().filter(|node| !node.away) {
            node.tell(self.now, Input::Timeout);
        }
        if let Some(server) = &mut self.server {
            server.tell(self.now, Input::Timeout);
        }
        true
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.tick(end) {}
    }

    /// Lets time pass until `done`, ten minutes at most; whether it came to that.
    pub fn until(&mut self, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_secs(600);
        self.pump();
        while !done(self) {
            if !self.tick(end) {
                return done(self);
            }
        }
        true
    }

    /// Does something to the core of a client.
    pub fn act<R>(&mut self, client: usize, act: impl FnOnce(&mut Client, Time) -> R) -> R {
        act(&mut self.clients[client].core, self.now)
    }

    /// States an intent.
    pub fn begin(&mut self, client: usize, intent: impl Into<Intent>) -> IntentId {
        let intent = intent.into();
        let node = &mut self.clients[client];
        node.note(self.now, || Input::Said(intent.clone()));
        node.core.begin(self.now, intent)
    }

    /// How an intent ended, if it has.
    pub fn result(&self, client: usize, intent: IntentId) -> Option<Result<Outcome, IntentError>> {
        let node = &self.clients[client];
        let events = node.events.iter().skip(node.first_event);
        events.rev().find_map(|event| match event {
            client::Event::Done {
                intent: own,
                outcome,
            } if *own == intent => Some(Ok(outcome.clone())),
            client::Event::Failed { intent: own, error } if *own == intent => {
                Some(Err(error.clone()))
            }
            _ => None,
        })
    }

    /// States an intent and waits for its end; [`IntentError::TimedOut`] if a machine lost power.
    pub fn ask(
        &mut self,
        client: usize,
        intent: impl Into<Intent>,
    ) -> Result<Outcome, IntentError> {
        let crashes = self.crashes;
        let intent = self.begin(client, intent);
        self.until(|net| net.result(client, intent).is_some() || net.crashes > crashes);
        self.result(client, intent)
            .unwrap_or(Err(IntentError::TimedOut))
    }

    /// The texts that a client was shown in a conversation, with their writers' names.
    pub fn texts(&self, client: usize) -> Vec<(String, String)> {
        let events = self.clients[client].events.iter();
        events
            .filter_map(|event| match event {
                client::Event::Message(message) => Some((
                    message.sender.name.clone().unwrap_or_default(),
                    match &message.body {
                        client::Body::Text(text) => text.clone(),
                        _ => "?".to_owned(),
                    },
                )),
                _ => None,
            })
            .collect()
    }
}

/// Bytes for a password.
pub fn password(text: &str) -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new(text.as_bytes().to_vec())
}
