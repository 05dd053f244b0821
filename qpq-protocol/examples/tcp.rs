//! Carries both cores over TCP: whatever gives ordered bytes can take the place of QUIC.
//!
//!     cargo run -p qpq-protocol --example tcp
//!
//! A connection is a TCP connection, and its streams share it. Each record on it says of one stream what happened:
//!
//! ```text
//!   kind (1)   whose (1)   way (1)   number (8)   length (4)   bytes
//! ```
//!
//! There is no TLS here: it is for a link that is private already, or below TLS of your own. And where QUIC holds back
//! what a core has no room for stream by stream, this keeps it, and ends a connection that leaves too much.

// This is the embedder: sockets, clocks and threads are its own.
#![allow(clippy::disallowed_methods, missing_docs)]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use qpq_protocol::client::{self, Body, Client, ClientConfig, Outcome, StorageKey, intent};
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use qpq_protocol::io::{Alpn, ConnectError, Core, MAX_SLEEP, Output, PeerInfo, StreamInput};
use qpq_protocol::rng::Seed;
use qpq_protocol::server::{Server, ServerConfig};
use qpq_protocol::storage::{Engine as _, Memory};
use qpq_protocol::time::Time;

/// What one connection may leave with a core that has no room for it.
const MOST: usize = 8 << 20;
const HEADER: usize = 15;

/// What the threads that read tell the one that turns the core.
enum News {
    Accepted(TcpStream),
    Bytes(ConnId, Vec<u8>),
    Gone(ConnId),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Fin,
    Reset,
}

/// A core, its disk and its connections.
struct Node<C: Core> {
    core: C,
    disk: Memory,
    links: BTreeMap<ConnId, Link>,
    last: u64,
    began: Instant,
    news: (Sender<News>, Receiver<News>),
}

/// A connection.
struct Link {
    socket: TcpStream,
    /// Bytes of records that are not whole.
    read: Vec<u8>,
    /// By the names that the core gave them, and as the peer knows them.
    own: BTreeMap<OwnStream, (Dir, u64)>,
    names: BTreeMap<(Dir, u64), OwnStream>,
    /// How many the core has opened.
    opened: BTreeMap<Dir, u64>,
    /// What the core had no room for, in order.
    kept: VecDeque<(StreamId, StreamInput)>,
    kept_bytes: usize,
}

impl<C: Core> Node<C> {
    fn new(core: C) -> Self {
        Self {
            core,
            disk: Memory::new(),
            links: BTreeMap::new(),
            last: 0,
            began: Instant::now(),
            news: channel(),
        }
    }

    fn now(&self) -> Time {
        let micros = self.began.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Turns the core until the app has what it waits for.
    fn run<T>(&mut self, mut app: impl FnMut(&mut C, Time, C::Event) -> Option<T>) -> T {
        loop {
            while let Some(output) = self.core.poll_output() {
                if let Output::Event(event) = output {
                    let now = self.now();
                    if let Some(done) = app(&mut self.core, now, event) {
                        return done;
                    }
                } else {
                    self.carry_out(output);
                }
            }
            let now = self.now();
            let due = self
                .core
                .poll_timeout()
                .map_or(MAX_SLEEP, |(at, _)| at.since(now));
            match self.news.1.recv_timeout(due) {
                Ok(News::Accepted(socket)) => self.link(socket, None),
                Ok(News::Bytes(conn, bytes)) => self.take_in(conn, &bytes),
                Ok(News::Gone(conn)) => self.end(conn),
                Err(RecvTimeoutError::Timeout) => self.core.handle_timeout(self.now()),
                Err(RecvTimeoutError::Disconnected) => unreachable!("this node has a sender, too"),
            }
            let conns: Vec<_> = self.links.keys().copied().collect();
            conns.into_iter().for_each(|conn| self.feed(conn));
        }
    }

    fn carry_out(&mut self, output: Output<C::Event>) {
        let now = self.now();
        match output {
            Output::Connect { ticket, target } => match TcpStream::connect(&target.address) {
                Ok(socket) => self.link(socket, Some(ticket)),
                Err(_) => self
                    .core
                    .handle_connect_failed(now, ticket, ConnectError::Unreachable),
            },
            Output::Open { conn, stream, dir } => {
                if let Some(link) = self.links.get_mut(&conn) {
                    let next = link.opened.entry(dir).or_default();
                    let number = *next;
                    *next += 1;
                    link.own.insert(stream, (dir, number));
                    link.names.insert((dir, number), stream);
                }
            }
            Output::Send {
                conn,
                stream,
                data,
                fin,
            } => {
                if !data.is_empty() {
                    self.record(conn, stream, Kind::Data, &data);
                }
                if fin {
                    self.record(conn, stream, Kind::Fin, &[]);
                }
                if !data.is_empty() && self.links.contains_key(&conn) {
                    self.core
                        .handle_stream(now, conn, stream, StreamInput::Sent(data.len()));
                }
            }
            Output::Reset { conn, stream, code } => {
                self.record(conn, stream, Kind::Reset, &code.to_be_bytes());
            }
            Output::Close { conn, .. } => self.end(conn),
            Output::Store {
                ticket, command, ..
            } => {
                for reply in self.disk.run(vec![command]) {
                    self.core.handle_stored(now, ticket, reply);
                }
            }
            Output::Compute { ticket, job } => self.core.handle_computed(now, ticket, job.run()),
            // One core on this store, and a link without limits of its own.
            _ => {}
        }
    }

    /// Writes what happens to a stream. Blocks while the other side reads nothing, but that has a thread for it.
    fn record(&mut self, conn: ConnId, stream: StreamId, kind: Kind, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        let (whose, (dir, number)) = match stream {
            StreamId::Own(own) => match link.own.get(&own) {
                Some(name) => (0, *name),
                None => return,
            },
            StreamId::Peer(dir, number) => (1, (dir, number)),
        };
        let mut record = vec![kind as u8, whose, u8::from(dir == Dir::Uni)];
        record.extend_from_slice(&number.to_be_bytes());
        record.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        record.extend_from_slice(bytes);
        // One that cannot be written ends with the thread that reads it.
        let _ = link.socket.write_all(&record);
    }

    /// A connection stands: a thread reads what comes on it.
    fn link(&mut self, socket: TcpStream, ticket: Option<Ticket>) {
        let now = self.now();
        let (Ok(address), Ok(mut reader)) = (socket.peer_addr(), socket.try_clone()) else {
            return;
        };
        self.last += 1;
        let (conn, news) = (ConnId(self.last), self.news.0.clone());
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let _ = news.send(News::Bytes(conn, buffer[..length].to_vec()));
            }
            news.send(News::Gone(conn))
        });
        let link = Link {
            socket,
            read: Vec::new(),
            own: BTreeMap::new(),
            names: BTreeMap::new(),
            opened: BTreeMap::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
        };
        self.links.insert(conn, link);
        let peer = PeerInfo {
            address,
            alpn: Alpn::Qpq,
            certificate: None,
        };
        self.core.handle_connected(now, conn, peer, ticket);
    }

    fn end(&mut self, conn: ConnId) {
        if let Some(link) = self.links.remove(&conn) {
            let _ = link.socket.shutdown(Shutdown::Both);
            self.core.handle_disconnected(self.now(), conn);
        }
    }

    /// Takes the records apart.
    fn take_in(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        link.read.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(header) = link.read.get(from..from + HEADER) {
            let number = u64::from_be_bytes(header[3..11].try_into().expect("8 bytes"));
            let length = u32::from_be_bytes(header[11..].try_into().expect("4 bytes")) as usize;
            let Some(body) = link.read.get(from + HEADER..from + HEADER + length) else {
                break;
            };
            let dir = if header[2] == 0 { Dir::Bi } else { Dir::Uni };
            let stream = match (header[1], link.names.get(&(dir, number))) {
                (0, _) => Some(StreamId::Peer(dir, number)),
                (_, own) => own.copied().map(StreamId::Own),
            };
            let code = body.try_into().map_or(0, u64::from_be_bytes);
            let inputs = match header[0] {
                kind if kind == Kind::Data as u8 => {
                    vec![StreamInput::Data(Bytes::copy_from_slice(body))]
                }
                kind if kind == Kind::Fin as u8 => vec![StreamInput::Fin],
                _ => vec![StreamInput::Reset(code), StreamInput::Stopped(code)],
            };
            from += HEADER + length;
            link.kept_bytes += length;
            link.kept.extend(
                stream
                    .into_iter()
                    .flat_map(|stream| inputs.iter().map(move |i| (stream, i.clone()))),
            );
        }
        link.read.drain(..from);
        self.feed(conn);
        let left = self
            .links
            .get(&conn)
            .map_or(0, |link| link.kept_bytes + link.read.len());
        if left > MOST {
            self.end(conn);
        }
    }

    /// Gives the core what it has room for.
    fn feed(&mut self, conn: ConnId) {
        let now = self.now();
        while let Some(link) = self.links.get_mut(&conn)
            && let Some((stream, input)) = link.kept.pop_front()
        {
            let (stream, input) = match input {
                StreamInput::Data(mut data) if !data.is_empty() => {
                    let room = self.core.credit(conn, stream).min(data.len());
                    let taken = data.split_to(room);
                    link.kept_bytes -= room;
                    if !data.is_empty() {
                        link.kept.push_front((stream, StreamInput::Data(data)));
                    }
                    if taken.is_empty() {
                        return;
                    }
                    (stream, StreamInput::Data(taken))
                }
                input => (stream, input),
            };
            self.core.handle_stream(now, conn, stream, input);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let mut server = Node::new(Server::new(
        ServerConfig::default(),
        seed()?,
        Time::ZERO,
        SystemTime::now().into(),
    ));
    let news = server.news.0.clone();
    thread::spawn(move || {
        let accepted = listener.incoming().map_while(Result::ok);
        accepted
            .map(News::Accepted)
            .try_for_each(|one| news.send(one))
    });
    thread::spawn(move || server.run(|_, _, _| None::<()>));

    let mut bob = person(&address)?;
    ask(
        &mut bob,
        intent::Register::new("bob@localhost", b"staple battery".to_vec()),
    )?;
    let bob = thread::spawn(move || {
        bob.run(|_, _, event| match event {
            client::Event::Message(message) => Some(message.body),
            _ => None,
        })
    });
    let mut alice = person(&address)?;
    ask(
        &mut alice,
        intent::Register::new("alice@localhost", b"correct horse".to_vec()),
    )?;
    let Outcome::Conversation(dm) = ask(&mut alice, intent::Dm("bob".to_owned()))? else {
        return Err("no conversation".into());
    };
    ask(&mut alice, intent::Send::new(dm.id, "hello"))?;
    match bob.join() {
        Ok(Body::Text(text)) => println!("bob got over TCP: {text}"),
        _ => return Err("bob got something else".into()),
    }
    Ok(())
}

fn person(server: &str) -> Result<Node<Client>, Box<dyn Error>> {
    let config = ClientConfig {
        server: server.to_owned(),
        ..ClientConfig::default()
    };
    let (key, fresh) = (StorageKey::new(seed()?), Seed::new(seed()?));
    Ok(Node::new(Client::new(
        config,
        key,
        fresh,
        Time::ZERO,
        SystemTime::now().into(),
    )))
}

/// Asks the core for something, and turns it until that has ended.
fn ask(
    node: &mut Node<Client>,
    asked: impl Into<client::Intent>,
) -> Result<Outcome, client::IntentError> {
    let now = node.now();
    let id = node.core.begin(now, asked);
    node.run(|_, _, event| match event {
        client::Event::Done { intent, outcome } if intent == id => Some(Ok(outcome)),
        client::Event::Failed { intent, error } if intent == id => Some(Err(error)),
        _ => None,
    })
}

fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::from)?;
    Ok(seed)
}
