//! A server and clients in virtual time: byte queues for connections, memory engines for disks.
//!
//! Everything a core wants is done at once and in one order, so a run depends on its seeds alone.
//! Time stands still until nothing is left to do; then it jumps to the next deadline.
#![allow(dead_code)]

pub mod people;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::client::{
    self, Client, ConversationId, IntentError, IntentId, Outcome, StorageKey,
};
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use qpq_protocol::io::{Alpn, ConnectError, Core, Job, Output, PeerInfo, StreamInput};
use qpq_protocol::limits::RateClass;
use qpq_protocol::rng::Seed;
use qpq_protocol::server::{self, Server};
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::storage::{Command, Engine as _, Reply};
use qpq_protocol::time::{Time, UnixTime};

/// The date at the clock's origin: 2026-01-01.
pub const BEGIN_MS: u64 = 1_767_225_600_000;

/// What a server says instead of its answer to a method: given the method's id and the payload of an
/// answer that went well, or of one that did not.
pub type Lie = fn(u16, Result<Bytes, u8>) -> Result<Bytes, u8>;

/// What is late of a call, by its method.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Late {
    Request(u16),
    Answer(u16),
}

/// When a machine loses power: at its storage command number `at`, just before or just after that
/// became durable; no reply is seen.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    pub at: usize,
    pub after: bool,
}

/// What is durable of a world.
pub struct Snapshot {
    now: Time,
    server: Memory,
    clients: Vec<Memory>,
    starts: u8,
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
    Said(Say),
}

/// An intent, as data.
#[derive(Clone, Debug)]
pub enum Say {
    Register(&'static str),
    Dm(&'static str),
    Group(&'static [&'static str]),
    Send(ConversationId, String),
    Invite(ConversationId, &'static str),
    Leave(ConversationId),
    History(ConversationId),
    MarkRead(ConversationId, u64),
    Conversations,
    ServerInfo,
    Logout,
}

impl Say {
    pub fn to(&self, core: &mut Client, now: Time) -> IntentId {
        match self {
            Self::Register(name) => core.register(now, name, password("secret")),
            Self::Dm(name) => core.dm(now, name),
            Self::Group(members) => core.create_group(now, "friends", members),
            Self::Send(id, text) => core.send(now, *id, text),
            Self::Invite(id, name) => core.invite(now, *id, name),
            Self::Leave(id) => core.leave(now, *id),
            Self::History(id) => core.history(now, *id, None, 100),
            Self::MarkRead(id, up_to) => core.mark_read(now, *id, *up_to),
            Self::Conversations => core.conversations(now),
            Self::ServerInfo => core.server_info(now),
            Self::Logout => core.logout(now),
        }
    }
}

/// What a client was started with.
#[derive(Clone)]
pub struct Birth {
    pub config: client::Config,
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
    crash: Option<Crash>,
    has_crashed: bool,
    /// Events before this were told by cores of earlier starts.
    first_event: usize,
    jobs: BTreeMap<Ticket, Job>,
    /// What the core was told since this was set to something.
    pub trace: Option<Vec<(Time, Input)>>,
}

impl<C: Core> Node<C> {
    /// From now on counts storage commands, and loses power at one.
    pub fn lose_power(&mut self, crash: Crash) {
        self.commands_run = 0;
        self.crash = Some(crash);
    }

    fn new(core: C, disk: Memory) -> Self {
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

    /// Tells the core something.
    pub fn tell(&mut self, now: Time, input: Input) {
        if let Some(trace) = &mut self.trace {
            trace.push((now, input.clone()));
        }
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
            // Only a client listens: `Net::say`.
            Input::Said(_) => {}
        }
    }

    /// The core wants something computed.
    pub fn take_job(&mut self, ticket: Ticket, job: Job) {
        self.jobs.insert(ticket, job);
    }

    /// Runs what waits for disk and processor; whether there was anything.
    fn work(&mut self, now: Time) -> bool {
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

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Side {
    Client,
    Server,
}

/// A connection between a client and the server.
struct Link {
    client: usize,
    /// Streams that either side opened, by what the other calls them.
    bi: Vec<OwnStream>,
    uni: Vec<OwnStream>,
    /// The methods of the requests, in the order of `bi`.
    methods: Vec<u16>,
    /// Answers that are not whole yet, while the server lies.
    held: BTreeMap<OwnStream, Vec<u8>>,
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
    pub server_config: server::Config,
    pub client_config: client::Config,
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
        let mut server_config = server::Config {
            opaque_suite: suite,
            ..server::Config::default()
        };
        // Nobody here is to be slowed down.
        let limits = &mut server_config.limits;
        for class in RateClass::ALL {
            limits.rate_mut(*class).count = u32::MAX;
        }
        limits.rate_counters = 64;
        let client_config = client::Config {
            opaque_suite: suite,
            // The classical suite: a quarter of the bytes, a tenth of the time.
            mls_suite: client::MlsSuite::X25519,
            package_floor: 2,
            package_target: 3,
            ..client::Config::default()
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
        let config = client::Config {
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

    fn connect(&mut self, client: usize, ticket: Ticket) {
        let Some(server) = &mut self.server else {
            let why = ConnectError::Unreachable;
            self.clients[client].tell(self.now, Input::ConnectFailed(ticket, why));
            return;
        };
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let port = 10_000 + u16::try_from(client).unwrap_or(0);
        let peer = |port| PeerInfo {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            alpn: Alpn::Qpq,
            certificate: None,
        };
        self.links.insert(
            conn,
            Link {
                client,
                bi: Vec::new(),
                uni: Vec::new(),
                methods: Vec::new(),
                held: BTreeMap::new(),
            },
        );
        server.tell(self.now, Input::Connected(conn, peer(port), None));
        let node = &mut self.clients[client];
        node.tell(self.now, Input::Connected(conn, peer(5001), Some(ticket)));
    }

    /// Puts what one side sends on its way to the other.
    fn wire<E>(&mut self, from: Side, output: Output<E>) {
        match output {
            Output::Open { conn, stream, dir } => {
                if let Some(link) = self.links.get_mut(&conn) {
                    match dir {
                        Dir::Bi => link.bi.push(stream),
                        Dir::Uni => link.uni.push(stream),
                    }
                }
            }
            Output::Send {
                conn,
                stream,
                data,
                fin,
            } => {
                self.note_method(conn, from, &data);
                let Some(data) = self.lied(conn, from, stream, data, fin) else {
                    return;
                };
                if !data.is_empty() {
                    self.queue(conn, from, stream, StreamInput::Data(data));
                }
                if fin {
                    self.queue(conn, from, stream, StreamInput::Fin);
                }
            }
            Output::Reset { conn, stream, code } => {
                self.queue(conn, from, stream, StreamInput::Reset(code));
            }
            Output::Close { conn, .. } => self.cut(conn),
            _ => {}
        }
    }

    /// A client sends each request in one piece.
    fn note_method(&mut self, conn: ConnId, from: Side, frame: &Bytes) {
        if let (Side::Client, Some(link), Some(id)) =
            (from, self.links.get_mut(&conn), frame.first_chunk::<2>())
        {
            let method = u16::from_be_bytes(*id);
            link.methods.push(method);
            self.asked.push(method);
            // Method, request id and length come before it.
            let request = Bytes::copy_from_slice(frame.get(10..).unwrap_or_default());
            if let Some(record) = &mut self.record {
                record.push((method, request.clone()));
            }
            self.requests.insert(method, request);
        }
    }

    /// What the server says in place of this, `None` while it is not known yet.
    fn lied(
        &mut self,
        conn: ConnId,
        from: Side,
        stream: StreamId,
        data: Bytes,
        fin: bool,
    ) -> Option<Bytes> {
        let (Some(lie), Side::Server, StreamId::Peer(Dir::Bi, place)) = (self.lie, from, stream)
        else {
            return Some(data);
        };
        let link = self.links.get_mut(&conn)?;
        let place = usize::try_from(place).ok()?;
        let held = link.held.entry(*link.bi.get(place)?).or_default();
        held.extend_from_slice(&data);
        if !fin {
            return None;
        }
        // Status, request id, length, payload.
        let (header, payload) = held.split_at_checked(9)?;
        let payload = Bytes::copy_from_slice(payload);
        let said = match header[0] {
            0 => Ok(payload),
            status => Err(status),
        };
        let (status, payload) = match lie(*link.methods.get(place)?, said) {
            Ok(payload) => (0, payload),
            Err(status) => (status, Bytes::new()),
        };
        let length = u32::try_from(payload.len()).ok()?.to_be_bytes();
        let answer = [&[status], &header[1..5], &length, &payload[..]].concat();
        // What of its own answer is not delivered is off its hands all the same.
        let dropped = held.len().saturating_sub(answer.len());
        if let (Some(server), 1..) = (&mut self.server, dropped) {
            let sent = StreamInput::Sent(dropped);
            server.tell(self.now, Input::Stream(conn, stream, sent));
        }
        Some(answer.into())
    }

    fn queue(&mut self, conn: ConnId, from: Side, stream: StreamId, input: StreamInput) {
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        let place = |opened: &[OwnStream], own| {
            let place = opened.iter().position(|stream| *stream == own);
            place.and_then(|place| u64::try_from(place).ok())
        };
        let (to, theirs) = match (from, stream) {
            (Side::Client, StreamId::Own(own)) => (
                Side::Server,
                place(&link.bi, own).map(|n| StreamId::Peer(Dir::Bi, n)),
            ),
            (Side::Server, StreamId::Own(own)) => (
                Side::Client,
                place(&link.uni, own).map(|n| StreamId::Peer(Dir::Uni, n)),
            ),
            (_, StreamId::Peer(dir, number)) => {
                let opened = if dir == Dir::Bi { &link.bi } else { &link.uni };
                let number = usize::try_from(number).ok();
                let own = number.and_then(|number| opened.get(number));
                let to = if from == Side::Client {
                    Side::Server
                } else {
                    Side::Client
                };
                (to, own.map(|own| StreamId::Own(*own)))
            }
        };
        if self.deaf && matches!(theirs, Some(StreamId::Peer(Dir::Uni, _))) {
            return;
        }
        if let Some(stream) = theirs {
            self.wires
                .entry((conn, to, stream))
                .or_default()
                .push_back(input);
        }
    }

    /// Hands over bytes for which the receiver has room; whether there were any.
    fn deliver(&mut self) -> bool {
        let mut delivered = false;
        for key in self.wires.keys().copied().collect::<Vec<_>>() {
            let (conn, to, stream) = key;
            let Some(client) = self.links.get(&conn).map(|link| link.client) else {
                continue;
            };
            if self.is_late(conn, to, stream) {
                continue;
            }
            let credit = match (to, &self.server) {
                (Side::Server, Some(server)) => server.core.credit(conn, stream),
                (Side::Server, None) => 0,
                (Side::Client, _) => self.clients[client].core.credit(conn, stream),
            };
            let Some(queue) = self.wires.get_mut(&key) else {
                continue;
            };
            let Some(input) = queue.pop_front() else {
                self.wires.remove(&key);
                continue;
            };
            let input = match input {
                StreamInput::Data(mut data) => {
                    let taken = data.len().min(credit).min(self.piece);
                    let rest = data.split_off(taken);
                    if !rest.is_empty() {
                        queue.push_front(StreamInput::Data(rest));
                    }
                    if taken == 0 {
                        continue;
                    }
                    StreamInput::Data(data)
                }
                other => other,
            };
            delivered = true;
            self.hand_over(conn, to, stream, client, input);
        }
        delivered
    }

    /// Whether this belongs to a call that is [`late`](Self::late).
    fn is_late(&self, conn: ConnId, to: Side, stream: StreamId) -> bool {
        let Some(link) = self.links.get(&conn) else {
            return false;
        };
        let place = match (to, stream) {
            (Side::Client, StreamId::Own(own)) => link.bi.iter().position(|stream| *stream == own),
            (Side::Server, StreamId::Peer(Dir::Bi, number)) => usize::try_from(number).ok(),
            _ => None,
        };
        let Some(method) = place.and_then(|place| link.methods.get(place)) else {
            return false;
        };
        let late = match to {
            Side::Server => Late::Request(*method),
            Side::Client => Late::Answer(*method),
        };
        self.late.contains(&(link.client, late))
    }

    fn hand_over(
        &mut self,
        conn: ConnId,
        to: Side,
        stream: StreamId,
        client: usize,
        input: StreamInput,
    ) {
        let taken = match &input {
            StreamInput::Data(data) => data.len(),
            _ => 0,
        };
        self.bytes += taken;
        let sender = self.other_name(conn, to, stream);
        let sent = StreamInput::Sent(taken);
        let client = &mut self.clients[client];
        let Some(server) = &mut self.server else {
            return;
        };
        match to {
            Side::Server => {
                server.tell(self.now, Input::Stream(conn, stream, input));
                if let (Some(name), true) = (sender, taken > 0) {
                    client.tell(self.now, Input::Stream(conn, name, sent));
                }
            }
            Side::Client => {
                client.tell(self.now, Input::Stream(conn, stream, input));
                if let (Some(name), true) = (sender, taken > 0) {
                    server.tell(self.now, Input::Stream(conn, name, sent));
                }
            }
        }
    }

    /// What the sender calls a stream.
    fn other_name(&self, conn: ConnId, to: Side, stream: StreamId) -> Option<StreamId> {
        let link = self.links.get(&conn)?;
        match stream {
            StreamId::Own(own) => {
                let (opened, dir) = match to {
                    Side::Client => (&link.bi, Dir::Bi),
                    Side::Server => (&link.uni, Dir::Uni),
                };
                let place = opened.iter().position(|stream| *stream == own)?;
                Some(StreamId::Peer(dir, u64::try_from(place).ok()?))
            }
            StreamId::Peer(dir, number) => {
                let opened = if dir == Dir::Bi { &link.bi } else { &link.uni };
                Some(StreamId::Own(*opened.get(usize::try_from(number).ok()?)?))
            }
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

    /// States an intent.
    pub fn act<R>(&mut self, client: usize, act: impl FnOnce(&mut Client, Time) -> R) -> R {
        act(&mut self.clients[client].core, self.now)
    }

    /// States an intent in a way that is traced.
    pub fn say(&mut self, client: usize, say: &Say) -> IntentId {
        let node = &mut self.clients[client];
        node.tell(self.now, Input::Said(say.clone()));
        say.to(&mut node.core, self.now)
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
        act: impl FnOnce(&mut Client, Time) -> IntentId,
    ) -> Result<Outcome, IntentError> {
        let crashes = self.crashes;
        let intent = self.act(client, act);
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
