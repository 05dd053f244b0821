//! A server and clients in virtual time, whose every input and output is recorded.
//!
//! The simulator has a world of its own, with bad weather; this one stays as it is, so that sessions
//! made again are the same bytes. A round (outputs, disks, jobs, streams) takes a millisecond.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use qpq_protocol::client::{self, Client};
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use qpq_protocol::io::{Core as _, Output, StreamInput};
use qpq_protocol::server::{self, Server};
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::time::{Time, UnixTime};
use serde_json::{Value, json};

use super::input::{Input, Intent};
use super::machine::{Machine, Recorded};
use super::start::{ClientConfig, Start};
use super::storage::Values;
use crate::vectors::VectorError;

type Result<T> = core::result::Result<T, VectorError>;

/// The date at the clock's origin: 2026-01-01.
const BEGIN_MS: u64 = 1_767_225_600_000;
/// How long a round takes.
const ROUND: Duration = Duration::from_millis(1);
/// A story waits no longer than this for what must come.
const PATIENCE: Duration = Duration::from_secs(600);

/// Outputs for the network, and the number of the intent that was stated.
type Done<E> = (Vec<Output<E>>, Option<u64>);

/// A machine and its recording.
pub struct Node<C: Recorded> {
    name: &'static str,
    machine: Machine<C>,
    /// The cores that ran on it, one after the other, and their steps.
    starts: Vec<(Value, Vec<Value>)>,
    /// What the core told, since its last start.
    pub events: Vec<C::Event>,
    /// Storage commands wait while this is set.
    pub hold: bool,
}

impl<C: Recorded> Node<C> {
    fn new(name: &'static str, core: C, values: Values, start: Value) -> Self {
        Self {
            name,
            machine: Machine::new(core, values, Memory::new()),
            starts: vec![(start, Vec::new())],
            events: Vec::new(),
            hold: false,
        }
    }

    /// Tells the core something, records it, and gives what is for the network.
    fn tell(&mut self, now: Time, input: &Input) -> Result<Done<C::Event>> {
        let told = self.machine.tell(now, input)?;
        if let Some((_, steps)) = self.starts.last_mut() {
            steps.push(told.step);
        }
        let mut outputs = Vec::new();
        for output in told.outputs {
            match output {
                Output::Event(event) => self.events.push(event),
                output => outputs.push(output),
            }
        }
        Ok((outputs, told.intent))
    }

    /// Power is lost: another core goes on with what is durable.
    fn restart(&mut self, core: C, values: Values, start: Value) {
        self.machine.restart(core, values);
        self.starts.push((start, Vec::new()));
        self.events.clear();
        self.hold = false;
    }

    fn recording(self, core: &str) -> Value {
        let starts = self.starts.into_iter().map(|(mut start, steps)| {
            start["steps"] = steps.into();
            start
        });
        json!({"core": core, "name": self.name, "starts": starts.collect::<Vec<_>>()})
    }
}

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Side {
    Client,
    Server,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A connection between a client, which opens streams both ways, and the server, which opens
/// streams one way.
struct Link {
    client: usize,
    bi: Vec<OwnStream>,
    uni: Vec<OwnStream>,
}

impl Link {
    /// What the other side calls a stream that `side` names so.
    fn translate(&self, side: Side, stream: StreamId) -> Option<StreamId> {
        match stream {
            StreamId::Own(own) => {
                let (dir, opened) = match side {
                    Side::Client => (Dir::Bi, &self.bi),
                    Side::Server => (Dir::Uni, &self.uni),
                };
                let number = opened.iter().position(|one| *one == own)?;
                Some(StreamId::Peer(dir, number.try_into().ok()?))
            }
            StreamId::Peer(dir, number) => {
                let opened = match dir {
                    Dir::Bi => &self.bi,
                    Dir::Uni => &self.uni,
                };
                let own = opened.get(usize::try_from(number).ok()?)?;
                Some(StreamId::Own(*own))
            }
        }
    }
}

/// See the page of this module.
pub struct World {
    now: Time,
    config: server::Config,
    pub server: Node<Server>,
    pub clients: Vec<Node<Client>>,
    links: BTreeMap<ConnId, Link>,
    /// Bytes on their way, by connection, receiver and the receiver's name of the stream.
    wires: BTreeMap<(ConnId, Side, StreamId), VecDeque<StreamInput>>,
    last_conn: u64,
    starts: u8,
}

impl World {
    /// A server that has just started, and no clients.
    pub fn new() -> Result<Self> {
        let config = server::Config {
            domain: "example.org".to_owned(),
            version: "vectors".to_owned(),
            opaque_suite: client::OpaqueSuite::TEST,
            ..server::Config::default()
        };
        let now = Time::from_micros(1_000_000);
        let start = Start {
            config: config.clone(),
            seed: [1; 32],
            now,
            unix: date(now),
        };
        let mut server = Node::new("server", start.core(), Values::Plain, start.to_json());
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
    pub fn add_client(&mut self, name: &'static str) -> Result<usize> {
        let client = self.clients.len();
        let start = self.client_start(client);
        let node = Node::new(name, start.core(), start.values(), start.to_json());
        self.clients.push(node);
        self.tell_client(client, &Input::Start)?;
        self.settle()?;
        Ok(client)
    }

    /// The power of a client fails: it starts again on what is durable.
    pub fn restart_client(&mut self, client: usize) -> Result<()> {
        for conn in self.links_of(client) {
            self.links.remove(&conn);
            self.wires.retain(|(of, ..), _| *of != conn);
            self.tell_server(&Input::Disconnected(conn))?;
        }
        let start = self.client_start(client);
        let node = self.client(client)?;
        node.restart(start.core(), start.values(), start.to_json());
        self.tell_client(client, &Input::Start)
    }

    /// The power of the server fails: it starts again on what is durable.
    pub fn restart_server(&mut self) -> Result<()> {
        self.starts = self.starts.saturating_add(1);
        let start = Start {
            config: self.config.clone(),
            seed: [self.starts; 32],
            now: self.now,
            unix: date(self.now),
        };
        self.server
            .restart(start.core(), Values::Plain, start.to_json());
        let links = core::mem::take(&mut self.links);
        self.wires.clear();
        self.tell_server(&Input::Start)?;
        for (conn, link) in links {
            self.tell_client(link.client, &Input::Disconnected(conn))?;
        }
        Ok(())
    }

    /// The disk of a client carries out the command that waits, and nobody learns of it.
    pub fn unseen_by_client(&mut self, client: usize) -> Result<()> {
        let ticket = self.client(client)?.machine.first_command();
        self.tell_client(client, &Input::Unseen(ticket.ok_or(VectorError::Story)?))
    }

    /// The disk of the server carries out the command that waits, and nobody learns of it.
    pub fn unseen_by_server(&mut self) -> Result<()> {
        let ticket = self.server.machine.first_command();
        self.tell_server(&Input::Unseen(ticket.ok_or(VectorError::Story)?))
    }

    /// States an intent; its number.
    pub fn say(&mut self, client: usize, intent: Intent) -> Result<u64> {
        let (now, node) = (self.now, self.client(client)?);
        let (outputs, intent) = node.tell(now, &Input::Intent(intent))?;
        self.client_outputs(client, outputs)?;
        intent.ok_or(VectorError::Story)
    }

    /// States an intent and waits for its good end.
    pub fn ask(&mut self, client: usize, intent: Intent) -> Result<client::Outcome> {
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

    fn tell_client(&mut self, client: usize, input: &Input) -> Result<()> {
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

    fn tell_server(&mut self, input: &Input) -> Result<()> {
        let (outputs, _) = self.server.tell(self.now, input)?;
        for output in outputs {
            self.wire(Side::Server, output)?;
        }
        Ok(())
    }

    fn connect(&mut self, client: usize, ticket: Ticket) -> Result<()> {
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

    fn links_of(&self, client: usize) -> Vec<ConnId> {
        let links = self.links.iter().filter(|(_, link)| link.client == client);
        links.map(|(conn, _)| *conn).collect()
    }

    /// A client of a story.
    fn client(&mut self, client: usize) -> Result<&mut Node<Client>> {
        self.clients.get_mut(client).ok_or(VectorError::Story)
    }

    /// From now on a client's storage commands wait.
    pub fn hold_client(&mut self, client: usize) -> Result<()> {
        self.client(client)?.hold = true;
        Ok(())
    }

    fn client_start(&mut self, client: usize) -> Start<ClientConfig> {
        self.starts = self.starts.saturating_add(1);
        let key = u8::try_from(client).unwrap_or(0).saturating_add(0xc0);
        let rest = client::Config {
            holder: format!("start {}", self.starts),
            opaque_suite: client::OpaqueSuite::TEST,
            // The classical suite: a quarter of the bytes.
            mls_suite: client::MlsSuite::X25519,
            package_floor: 1,
            package_target: 1,
            ..client::Config::default()
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

fn date(now: Time) -> UnixTime {
    UnixTime::from_millis(BEGIN_MS.saturating_add(now.as_micros() / 1000))
}
