//! [`World`]: a server core and client cores in virtual time, on memory engines, with nothing between
//! them that loses or delays: what is measured is the cores.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use qpq_protocol::client::{self, Client, Intent, IntentError, OpaqueSuite, StorageKey};
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId};
use qpq_protocol::io::{Alpn, Core, Output, PeerInfo, StreamInput};
use qpq_protocol::rng::Seed;
use qpq_protocol::server::{self, Server};
use qpq_protocol::storage::{Engine as _, Memory};
use qpq_protocol::time::{Time, UnixTime};

use crate::bench::accounts;
use crate::bench::{Failure, Outcome};

/// The date at the clock's origin: 2026-01-01.
const BEGIN: UnixTime = UnixTime::from_millis(1_767_225_600_000);
/// How long a round takes: outputs, disks, jobs, streams.
const ROUND: Duration = Duration::from_millis(1);
/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(3600);
const DOMAIN: &str = "example.org";

/// See the page of this module.
pub struct World {
    now: Time,
    server: Node<Server>,
    clients: Vec<Node<Client>>,
    /// How the intents of each client ended, until that is asked for.
    ends: Vec<BTreeMap<u64, Result<client::Outcome, IntentError>>>,
    /// Messages of others that each client was told of.
    heard: Vec<usize>,
    links: BTreeMap<ConnId, Link>,
    /// Bytes on their way, by connection, receiver and the receiver's name of the stream.
    wires: BTreeMap<(ConnId, Side, StreamId), VecDeque<StreamInput>>,
    last_conn: u64,
}

/// A core and its disk.
struct Node<C> {
    core: C,
    disk: Memory,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client,
    Server,
}

/// A connection, and what each side calls its streams.
struct Link {
    client: usize,
    /// What the other side calls the streams that a side opened.
    theirs: BTreeMap<(Side, OwnStream), (Dir, u64)>,
    /// What a side calls the streams that it opened, by the other's name.
    own: BTreeMap<(Side, Dir, u64), OwnStream>,
    opened: BTreeMap<(Side, Dir), u64>,
}

impl<C: Core> Node<C> {
    /// Carries out storage commands and jobs until there are none; what else the core wants.
    fn outputs(&mut self, now: Time) -> Vec<Output<C::Event>> {
        let mut others = Vec::new();
        loop {
            let (mut tickets, mut batch, mut results) = (Vec::new(), Vec::new(), Vec::new());
            while let Some(output) = self.core.poll_output() {
                match output {
                    Output::Store {
                        ticket, command, ..
                    } => {
                        tickets.push(ticket);
                        batch.push(command);
                    }
                    Output::Compute { ticket, job } => results.push((ticket, job.run())),
                    other => others.push(other),
                }
            }
            if batch.is_empty() && results.is_empty() {
                return others;
            }
            for (ticket, reply) in tickets.into_iter().zip(self.disk.run(batch)) {
                self.core.handle_stored(now, ticket, reply);
            }
            for (ticket, result) in results {
                self.core.handle_computed(now, ticket, result);
            }
        }
    }

    fn is_due(&self, now: Time) -> bool {
        self.core.poll_timeout().is_some_and(|(at, _)| at <= now)
    }
}

impl Link {
    fn open(&mut self, side: Side, dir: Dir, stream: OwnStream) {
        let next = self.opened.entry((side, dir)).or_default();
        self.theirs.insert((side, stream), (dir, *next));
        self.own.insert((side, dir, *next), stream);
        *next += 1;
    }

    /// What the other side calls a stream that `side` names so.
    fn translate(&self, side: Side, stream: StreamId) -> Option<StreamId> {
        match stream {
            StreamId::Own(own) => {
                let (dir, number) = self.theirs.get(&(side, own))?;
                Some(StreamId::Peer(*dir, *number))
            }
            StreamId::Peer(dir, number) => {
                let own = self.own.get(&(side.other(), dir, number))?;
                Some(StreamId::Own(*own))
            }
        }
    }
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// How a client of these worlds behaves.
pub fn config() -> client::ClientConfig {
    client::ClientConfig {
        server: format!("{DOMAIN}:5001"),
        holder: "bench".to_owned(),
        device_name: "bench".to_owned(),
        opaque_suite: OpaqueSuite::TEST,
        ..client::ClientConfig::default()
    }
}

/// The core of client number so and so, at its first start or a later one.
pub fn core(number: usize, start: u8, config: client::ClientConfig, now: Time) -> Client {
    let key = u8::try_from(number).unwrap_or(u8::MAX);
    let seed = Seed::new([start.wrapping_mul(16).wrapping_add(key); 32]);
    let date = BEGIN.as_millis() + now.as_micros() / 1000;
    Client::new(
        config,
        StorageKey::new([key; 32]),
        seed,
        now,
        UnixTime::from_millis(date),
    )
}

impl World {
    /// A server that has just started, and so many clients on empty disks.
    pub fn new(clients: usize) -> Outcome<Self> {
        let config = server::ServerConfig {
            domain: DOMAIN.to_owned(),
            opaque_suite: OpaqueSuite::TEST,
            limits: accounts::limits(),
            ..server::ServerConfig::default()
        };
        let now = Time::from_micros(1_000_000);
        let server = Node {
            core: Server::new(config, [0xff; 32], now, BEGIN),
            disk: Memory::new(),
        };
        let client = |number| Node {
            core: core(number, 1, self::config(), now),
            disk: Memory::new(),
        };
        let mut world = Self {
            now,
            server,
            clients: (0..clients).map(client).collect(),
            ends: vec![BTreeMap::new(); clients],
            heard: vec![0; clients],
            links: BTreeMap::new(),
            wires: BTreeMap::new(),
            last_conn: 0,
        };
        world.pass(Duration::from_secs(1))?;
        Ok(world)
    }

    /// States an intent and waits for its good end.
    pub fn ask(&mut self, client: usize, intent: impl Into<Intent>) -> Outcome<client::Outcome> {
        let mut ends = self.ask_all(client, vec![intent.into()])?;
        ends.pop()
            .ok_or_else(|| Failure::new("an intent had no end"))
    }

    /// States intents at once and waits for their good ends.
    pub fn ask_all(
        &mut self,
        client: usize,
        intents: Vec<Intent>,
    ) -> Outcome<Vec<client::Outcome>> {
        let now = self.now;
        let Some(node) = self.clients.get_mut(client) else {
            return Err(Failure::new("there is no such client"));
        };
        let begin = |intent| node.core.begin(now, intent).0;
        let asked: Vec<u64> = intents.into_iter().map(begin).collect();
        self.until(|world| {
            let ends = world.ends.get(client);
            ends.is_some_and(|ends| asked.iter().all(|intent| ends.contains_key(intent)))
        })?;
        let ends = self
            .ends
            .get_mut(client)
            .map(std::mem::take)
            .unwrap_or_default();
        let ends = ends.into_values();
        ends.map(|end| end.map_err(Failure::of("an intent")))
            .collect()
    }

    /// Messages of others that a client was told of so far.
    pub fn heard(&self, client: usize) -> usize {
        self.heard.get(client).copied().unwrap_or_default()
    }

    /// The disk of a client, whose core ends.
    pub fn into_disk(mut self, client: usize) -> Memory {
        self.clients.swap_remove(client).disk
    }

    /// Lets time pass until `done`.
    pub fn until(&mut self, done: impl Fn(&Self) -> bool) -> Outcome<()> {
        let end = self.now + PATIENCE;
        while !done(self) {
            if !self.round()? {
                let next = self.deadlines().min().filter(|at| *at <= end);
                let next = next.ok_or_else(|| Failure::new("what was waited for does not come"))?;
                self.now = self.now.max(next);
            }
        }
        Ok(())
    }

    /// Lets this much time pass.
    pub fn pass(&mut self, time: Duration) -> Outcome<()> {
        let end = self.now + time;
        loop {
            while self.round()? {}
            match self.deadlines().min().filter(|at| *at <= end) {
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn deadlines(&self) -> impl Iterator<Item = Time> {
        let clients = self
            .clients
            .iter()
            .filter_map(|node| node.core.poll_timeout());
        clients
            .chain(self.server.core.poll_timeout())
            .map(|(at, _)| at)
    }

    /// One round; whether anything was done.
    fn round(&mut self) -> Outcome<bool> {
        let now = self.now;
        let mut busy = false;
        for client in 0..self.clients.len() {
            let Some(node) = self.clients.get_mut(client) else {
                continue;
            };
            if node.is_due(now) {
                node.core.handle_timeout(now);
                busy = true;
            }
            for output in node.outputs(now) {
                busy = true;
                self.client_output(client, output)?;
            }
        }
        if self.server.is_due(now) {
            self.server.core.handle_timeout(now);
            busy = true;
        }
        for output in self.server.outputs(now) {
            busy = true;
            match output {
                Output::Event(server::Event::Refused(why)) => {
                    return Err(Failure::new(why.to_string()));
                }
                output => self.wire(Side::Server, output),
            }
        }
        busy |= self.deliver();
        if busy {
            self.now = self.now + ROUND;
        }
        Ok(busy)
    }

    fn client_output(&mut self, client: usize, output: Output<client::Event>) -> Outcome<()> {
        use client::Event;
        let (ends, heard) = (self.ends.get_mut(client), self.heard.get_mut(client));
        match output {
            Output::Connect { ticket, .. } => {
                self.last_conn += 1;
                let conn = ConnId(self.last_conn);
                let link = Link {
                    client,
                    theirs: BTreeMap::new(),
                    own: BTreeMap::new(),
                    opened: BTreeMap::new(),
                };
                self.links.insert(conn, link);
                let peer = |last| PeerInfo {
                    address: ([10, 0, 0, last], 4000).into(),
                    alpn: Alpn::Qpq,
                    certificate: None,
                };
                let (here, there) = (peer(1 + client as u8), peer(0));
                self.server
                    .core
                    .handle_connected(self.now, conn, here, None);
                if let Some(node) = self.clients.get_mut(client) {
                    node.core
                        .handle_connected(self.now, conn, there, Some(ticket));
                }
            }
            Output::Event(event) => match event {
                Event::Done { intent, outcome } => {
                    ends.map(|ends| ends.insert(intent.0, Ok(outcome)));
                }
                Event::Failed { intent, error } => {
                    ends.map(|ends| ends.insert(intent.0, Err(error)));
                }
                Event::Message(message) if !message.own => {
                    heard.into_iter().for_each(|heard| *heard += 1);
                }
                Event::Fatal(why) => return Err(Failure::new(why.to_string())),
                _ => {}
            },
            output => self.wire(Side::Client, output),
        }
        Ok(())
    }

    /// Puts what one side sends on its way to the other.
    fn wire<E>(&mut self, from: Side, output: Output<E>) {
        match output {
            Output::Open { conn, stream, dir } => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.open(from, dir, stream);
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
                    if let Some(node) = self.clients.get_mut(link.client) {
                        node.core.handle_disconnected(self.now, conn);
                    }
                    self.server.core.handle_disconnected(self.now, conn);
                }
            }
            _ => {}
        }
    }

    fn queue(&mut self, conn: ConnId, from: Side, stream: StreamId, input: StreamInput) {
        let link = self.links.get(&conn);
        if let Some(theirs) = link.and_then(|link| link.translate(from, stream)) {
            let queue = self.wires.entry((conn, from.other(), theirs)).or_default();
            queue.push_back(input);
        }
    }

    /// Hands over bytes for which the receiver has room; whether there were any.
    fn deliver(&mut self) -> bool {
        let now = self.now;
        let mut delivered = false;
        for ((conn, to, stream), mut inputs) in std::mem::take(&mut self.wires) {
            let Some(link) = self.links.get(&conn) else {
                continue;
            };
            let Some(client) = self.clients.get_mut(link.client) else {
                continue;
            };
            let server = &mut self.server.core;
            while let Some(input) = inputs.pop_front() {
                let credit = match to {
                    Side::Server => server.credit(conn, stream),
                    Side::Client => client.core.credit(conn, stream),
                };
                let mut taken = 0;
                let input = match input {
                    StreamInput::Data(mut data) => {
                        let rest = data.split_off(data.len().min(credit));
                        taken = data.len();
                        if !rest.is_empty() {
                            inputs.push_front(StreamInput::Data(rest));
                        }
                        if taken == 0 {
                            break;
                        }
                        StreamInput::Data(data)
                    }
                    other => other,
                };
                delivered = true;
                match to {
                    Side::Server => server.handle_stream(now, conn, stream, input),
                    Side::Client => client.core.handle_stream(now, conn, stream, input),
                }
                if let (Some(theirs), true) = (link.translate(to, stream), taken > 0) {
                    let sent = StreamInput::Sent(taken);
                    match to {
                        Side::Server => client.core.handle_stream(now, conn, theirs, sent),
                        Side::Client => server.handle_stream(now, conn, theirs, sent),
                    }
                }
            }
            if !inputs.is_empty() {
                self.wires.insert((conn, to, stream), inputs);
            }
        }
        delivered
    }
}
