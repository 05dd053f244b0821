//! A server and clients in virtual time, whose every input and output is recorded.
//!
//! The simulator has a world of its own, with bad weather; this one stays as it is, so that sessions
//! made again are the same bytes. A round (outputs, disks, jobs, streams) takes a millisecond.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use qpq_protocol::client::{self, Client, Intent};
use qpq_protocol::ids::{ConnId, Dir, StreamId, Ticket};
use qpq_protocol::io::{ConnectError, Core as _, Output, StreamInput};
use qpq_protocol::server::{self, Server};
use qpq_protocol::time::{Time, UnixTime};
use serde_json::Value;

use super::input::Input;
use super::link::{Link, Side};
use super::machine::Recorded;
use super::node::Node;
use super::start::{ClientConfig, Start};
use super::storage::Values;
use crate::vectors::VectorError;

type Result<T> = core::result::Result<T, VectorError>;

/// The date at the clock's origin: 2026-01-01.
const BEGIN_MS: u64 = 1_767_225_600_000;
/// The domain of the server, and its host name.
const DOMAIN: &str = "example.org";
/// How long a round takes.
const ROUND: Duration = Duration::from_millis(1);
/// A story waits no longer than this for what must come.
const PATIENCE: Duration = Duration::from_secs(600);

/// See the page of this module.
pub struct World {
    pub(super) now: Time,
    pub(super) config: server::ServerConfig,
    pub server: Node<Server>,
    pub clients: Vec<Node<Client>>,
    pub(super) links: BTreeMap<ConnId, Link>,
    /// Bytes on their way, by connection, receiver and the receiver's name of the stream.
    pub(super) wires: BTreeMap<(ConnId, Side, StreamId), VecDeque<StreamInput>>,
    pub(super) last_conn: u64,
    pub(super) starts: u8,
    /// Nobody answers at the server's address.
    pub(super) is_down: bool,
}

impl World {
    /// A server that has just started, and no clients.
    pub fn new() -> Result<Self> {
        let config = server::ServerConfig {
            domain: DOMAIN.to_owned(),
            version: "vectors".to_owned(),
            opaque_suite: client::OpaqueSuite::TEST,
            ..server::ServerConfig::default()
        };
        let now = Time::from_micros(1_000_000);
        let start = Start {
            config: config.clone(),
            seed: [1; 32],
            now,
            unix: date(now),
        };
        let mut server = Node::new(
            "server".to_owned(),
            start.core(),
            Values::Plain,
            start.to_json(),
        );
        server.tell(now, &Input::Start)?;
        let mut world = Self {
            now,
            config,
            server,
            clients: Vec::new(),
            links: BTreeMap::new(),
            wires: BTreeMap::new(),
            last_conn: 0,
            starts: 1,
            is_down: false,
        };
        world.settle()?;
        Ok(world)
    }

    /// What was recorded of the server and the first clients.
    pub fn recording(self, clients: usize) -> Vec<Value> {
        let clients = self.clients.into_iter().take(clients);
        let clients = clients.map(|client| client.recording("client"));
        let mut all = vec![self.server.recording("server")];
        all.extend(clients);
        all
    }

    /// A client on an empty disk; its number.
    pub fn add_client(&mut self, name: &str) -> Result<usize> {
        let client = self.clients.len();
        let start = self.client_start(client);
        let node = Node::new(
            name.to_owned(),
            start.core(),
            start.values(),
            start.to_json(),
        );
        self.clients.push(node);
        self.tell_client(client, &Input::Start)?;
        self.settle()?;
        Ok(client)
    }

    /// States an intent; its number.
    pub fn say(&mut self, client: usize, intent: impl Into<Intent>) -> Result<u64> {
        let (now, node) = (self.now, self.client(client)?);
        let (outputs, intent) = node.tell(now, &Input::Intent(intent.into()))?;
        self.client_outputs(client, outputs)?;
        intent.ok_or(VectorError::Story)
    }

    /// A connection from a peer that is none of the clients.
    pub fn add_peer(&mut self) -> Result<ConnId> {
        self.last_conn = self.last_conn.saturating_add(1);
        let conn = ConnId(self.last_conn);
        let address = SocketAddr::from(([10, 0, 2, 2], 40_000));
        self.tell_server(&Input::Connected(conn, address, None))?;
        Ok(conn)
    }

    /// States an intent and waits for its good end.
    pub fn ask(&mut self, client: usize, intent: impl Into<Intent>) -> Result<client::Outcome> {
        let intent = self.say(client, intent)?;
        self.until(|world| world.outcome(client, intent).is_some())?;
        self.outcome(client, intent).ok_or(VectorError::Story)
    }

    /// What an intent gave.
    pub fn outcome(&self, client: usize, number: u64) -> Option<client::Outcome> {
        let mut events = self.clients.get(client)?.events.iter();
        events.find_map(|event| match event {
            client::Event::Done { intent, outcome } if intent.0 == number => Some(outcome.clone()),
            _ => None,
        })
    }

    /// The texts that a client was told of since its last start.
    pub fn texts(&self, client: usize) -> Vec<&str> {
        let events = self.clients.get(client).map(|node| node.events.iter());
        let texts = events
            .into_iter()
            .flatten()
            .filter_map(|event| match event {
                client::Event::Message(message) if !message.own => match &message.body {
                    client::Body::Text(text) => Some(text.as_str()),
                    _ => None,
                },
                _ => None,
            });
        texts.collect()
    }

    /// The embedders ask all cores to stop.
    pub fn shut_down(&mut self) -> Result<()> {
        for client in 0..self.clients.len() {
            self.tell_client(client, &Input::Shutdown)?;
        }
        self.settle()?;
        self.tell_server(&Input::Shutdown)?;
        self.settle()
    }

    /// Lets time pass until `done`.
    pub fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<()> {
        let end = self.now + PATIENCE;
        while !done(self) {
            if !self.round()? {
                let next = self.deadlines().min().filter(|at| *at <= end);
                self.now = self.now.max(next.ok_or(VectorError::Story)?);
            }
        }
        Ok(())
    }

    /// Does everything that needs no deadline.
    pub fn settle(&mut self) -> Result<()> {
        while self.round()? {}
        Ok(())
    }

    /// Lets this much time pass.
    pub fn pass(&mut self, time: Duration) -> Result<()> {
        let end = self.now + time;
        self.settle()?;
        while let Some(next) = self.deadlines().min().filter(|at| *at <= end) {
            self.now = self.now.max(next);
            self.settle()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn deadlines(&self) -> impl Iterator<Item = Time> {
        let clients = self.clients.iter();
        let clients = clients.filter_map(|node| node.machine.core.poll_timeout());
        let server = self.server.machine.core.poll_timeout();
        clients.chain(server).map(|(at, _)| at)
    }

    /// One round; whether anything was done.
    fn round(&mut self) -> Result<bool> {
        let mut busy = false;
        for client in 0..self.clients.len() {
            let now = self.now;
            while let Some(input) = next_input(self.client(client)?, now) {
                self.tell_client(client, &input)?;
                busy = true;
            }
        }
        while let Some(input) = next_input(&self.server, self.now) {
            self.tell_server(&input)?;
            busy = true;
        }
        busy |= self.deliver()?;
        if busy {
            self.now = self.now + ROUND;
        }
        Ok(busy)
    }

    /// Hands over bytes for which the receiver has room; whether there were any.
    fn deliver(&mut self) -> Result<bool> {
        let mut delivered = false;
        for key in self.wires.keys().copied().collect::<Vec<_>>() {
            let (conn, to, stream) = key;
            let Some(client) = self.links.get(&conn).map(|link| link.client) else {
                continue;
            };
            let credit = match to {
                Side::Server => self.server.machine.core.credit(conn, stream),
                Side::Client => self.client(client)?.machine.core.credit(conn, stream),
            };
            let Some(mut input) = self.wires.get_mut(&key).and_then(VecDeque::pop_front) else {
                self.wires.remove(&key);
                continue;
            };
            let mut taken = 0;
            if let StreamInput::Data(data) = &mut input {
                taken = data.len().min(credit);
                let rest = data.split_off(taken);
                let queue = self.wires.entry(key).or_default();
                if !rest.is_empty() {
                    queue.push_front(StreamInput::Data(rest));
                }
                if taken == 0 {
                    continue;
                }
            }
            delivered = true;
            self.tell(to, client, &Input::Stream(conn, stream, input))?;
            let name = self
                .links
                .get(&conn)
                .and_then(|link| link.translate(to, stream));
            if let (Some(name), true) = (name, taken > 0) {
                let sent = Input::Stream(conn, name, StreamInput::Sent(taken));
                self.tell(to.other(), client, &sent)?;
            }
        }
        Ok(delivered)
    }

    fn tell(&mut self, side: Side, client: usize, input: &Input) -> Result<()> {
        match side {
            Side::Server => self.tell_server(input),
            Side::Client => self.tell_client(client, input),
        }
    }

    pub fn tell_client(&mut self, client: usize, input: &Input) -> Result<()> {
        let (now, node) = (self.now, self.client(client)?);
        let (outputs, _) = node.tell(now, input)?;
        self.client_outputs(client, outputs)
    }

    fn client_outputs(&mut self, client: usize, outputs: Vec<Output<client::Event>>) -> Result<()> {
        for output in outputs {
            match output {
                Output::Connect { ticket, .. } => self.connect(client, ticket)?,
                output => self.wire(Side::Client, output)?,
            }
        }
        Ok(())
    }

    pub fn tell_server(&mut self, input: &Input) -> Result<()> {
        let (outputs, _) = self.server.tell(self.now, input)?;
        for output in outputs {
            self.wire(Side::Server, output)?;
        }
        Ok(())
    }

    fn connect(&mut self, client: usize, ticket: Ticket) -> Result<()> {
        if self.is_down {
            let why = ConnectError::Unreachable;
            return self.tell_client(client, &Input::ConnectFailed(ticket, why));
        }
        self.last_conn = self.last_conn.saturating_add(1);
        let conn = ConnId(self.last_conn);
        let link = Link {
            client,
            bi: Vec::new(),
            uni: Vec::new(),
        };
        self.links.insert(conn, link);
        let last = u8::try_from(client).unwrap_or(0);
        let theirs = SocketAddr::from(([10, 0, 0, last], 40_000));
        self.tell_server(&Input::Connected(conn, theirs, None))?;
        let servers = SocketAddr::from(([10, 0, 1, 1], 5001));
        self.tell_client(client, &Input::Connected(conn, servers, Some(ticket)))
    }

    /// Puts what one side sends on its way to the other.
    fn wire<E>(&mut self, from: Side, output: Output<E>) -> Result<()> {
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
            Output::Close { conn, .. } => {
                self.wires.retain(|(of, ..), _| *of != conn);
                if let Some(link) = self.links.remove(&conn) {
                    self.tell_client(link.client, &Input::Disconnected(conn))?;
                    self.tell_server(&Input::Disconnected(conn))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn queue(&mut self, conn: ConnId, from: Side, stream: StreamId, input: StreamInput) {
        let theirs = self
            .links
            .get(&conn)
            .and_then(|link| link.translate(from, stream));
        if let Some(theirs) = theirs {
            let queue = self.wires.entry((conn, from.other(), theirs)).or_default();
            queue.push_back(input);
        }
    }

    /// A client of a story.
    pub fn client(&mut self, client: usize) -> Result<&mut Node<Client>> {
        self.clients.get_mut(client).ok_or(VectorError::Story)
    }

    pub(super) fn client_start(&mut self, client: usize) -> Start<ClientConfig> {
        self.starts = self.starts.saturating_add(1);
        let key = u8::try_from(client).unwrap_or(0).saturating_add(0xc0);
        let rest = client::ClientConfig {
            server: format!("{DOMAIN}:5001"),
            holder: format!("start {}", self.starts),
            device_name: format!("device {client}"),
            opaque_suite: client::OpaqueSuite::TEST,
            // The classical suite: a quarter of the bytes.
            mls_suite: client::MlsSuite::X25519,
            package_floor: 1,
            package_target: 1,
            ..client::ClientConfig::default()
        };
        Start {
            config: ClientConfig {
                storage_key: [key; 32],
                rest,
            },
            seed: [self.starts; 32],
            now: self.now,
            unix: date(self.now),
        }
    }
}

/// What a machine is told before anything comes over the network.
fn next_input<C: Recorded>(node: &Node<C>, now: Time) -> Option<Input> {
    let machine = &node.machine;
    let command = machine.first_command().filter(|_| !node.hold);
    let due = || {
        let (at, _) = machine.core.poll_timeout()?;
        (at <= now).then_some(Input::Timeout)
    };
    command
        .map(Input::Stored)
        .or_else(|| machine.first_job().map(Input::Computed))
        .or_else(due)
}

pub(super) fn date(now: Time) -> UnixTime {
    UnixTime::from_millis(BEGIN_MS.saturating_add(now.as_micros() / 1000))
}
