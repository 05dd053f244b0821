//! A server and two clients on blocking UDP sockets and threads: no async runtime, no adapter.
//!
//!     cargo run -p qpq-protocol --features quic --example blocking
//!
//! Everything above the socket is pure: [`Endpoint`] is QUIC and a core. What is left to you is one
//! turn of a loop, `Node::turn` below: wait for a datagram or a deadline, take in all there is, do
//! what the core wants, and only then send. The rest of this file is two people talking.

// This is the embedder: clock and sockets are its own.
#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use qpq_protocol::client::{self, Client, Event, Intent, Outcome, StorageKey, intent};
use qpq_protocol::io::{Alpn, Core};
use qpq_protocol::quic::{Effect, Endpoint, QuicConfig, Received, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::server::{self, Server};
use qpq_protocol::storage::{Guarded, memory::Memory};
use qpq_protocol::time::{Time, UnixTime};
use zeroize::Zeroizing;

type Failure = Box<dyn Error + Send + Sync>;
/// What a socket says that has nothing more.
const QUIET: [ErrorKind; 2] = [ErrorKind::WouldBlock, ErrorKind::TimedOut];

/// A core, the socket it speaks through, and the disk it writes to.
struct Node<C: Core> {
    socket: UdpSocket,
    endpoint: Endpoint<C>,
    disk: Guarded<Memory>,
}

impl<C: Core> Node<C> {
    /// `core` makes the core from a seed, the time and the date.
    fn open(
        config: &QuicConfig,
        core: impl FnOnce([u8; 32], Time, UnixTime) -> C,
    ) -> Result<Self, Failure> {
        let date = SystemTime::now().into();
        // Two fresh seeds: one for the core, one for QUIC.
        let core = core(seed()?, Time::ZERO, date);
        Ok(Self {
            socket: UdpSocket::bind("127.0.0.1:0")?,
            endpoint: Endpoint::new(config, core, Instant::now(), date, seed()?)?,
            disk: Guarded::new(Memory::new()),
        })
    }

    /// One turn: wait, take in, carry out, send. Returns what the core has to tell.
    fn turn(&mut self) -> Result<Vec<C::Event>, Failure> {
        self.receive()?;
        let now = Instant::now();
        if self.endpoint.poll_timeout() <= now {
            self.endpoint.handle_timeout(now, SystemTime::now().into());
        }
        while let Some(effect) = self.endpoint.poll_effect() {
            self.carry_out(effect);
        }
        let events = std::iter::from_fn(|| self.endpoint.poll_event()).collect();
        while let Some(transmit) = self.endpoint.poll_transmit(now, 1) {
            // A datagram that was not sent is a lost one, and QUIC deals with those.
            let _ = self.socket.send_to(transmit.contents, transmit.destination);
        }
        Ok(events)
    }

    /// Waits for the first datagram, at most until the next deadline; then takes all that are there.
    fn receive(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 65_536];
        let due = self.endpoint.poll_timeout();
        let wait = due.duration_since(Instant::now());
        // A read timeout of zero would mean none; and this loop looks around ten times a second.
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(100));
        self.socket.set_read_timeout(Some(wait))?;
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, remote)) => {
                    let received = Received {
                        socket: None,
                        remote,
                        local_ip: None,
                        ecn: 0,
                        contents: buffer.get(..length).unwrap_or_default(),
                        stride: length,
                    };
                    self.endpoint.handle_datagrams(Instant::now(), &received);
                    self.socket.set_nonblocking(true)?;
                }
                Err(error) if QUIET.contains(&error.kind()) => break,
                // What some host said of an earlier datagram: nothing of ours is wrong.
                Err(_) => {}
            }
        }
        Ok(self.socket.set_nonblocking(false)?)
    }

    /// Does something for the core, here and now. A real disk would have a thread of its own.
    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Store {
                ticket, command, ..
            } => {
                let replies = self.disk.run(vec![(ticket, command)]);
                self.endpoint.handle_stored(Instant::now(), replies);
            }
            Effect::Task(task) => {
                let done = task.run(|name| name.to_socket_addrs().into_iter().flatten());
                self.endpoint.handle_done(Instant::now(), done);
            }
            // There is no other core on this store.
            Effect::Wake(_) => {}
            // Only after `handle_network_changed` or `handle_resume`, which this program never says.
            Effect::Rebind => self.endpoint.handle_rebound(Instant::now()),
            // Only for connections that are asked for as `apart`, which nothing here does.
            Effect::OpenSocket(socket) => self.endpoint.handle_no_socket(Instant::now(), socket),
            Effect::CloseSocket(_) => {}
        }
    }
}

impl Node<Client> {
    fn client(name: &str, server: SocketAddr) -> Result<Self, Failure> {
        // Whichever certificate the server shows first; keep its hash to recognise it next time.
        let trust = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
        let config = client::ClientConfig {
            server: server.to_string(),
            holder: name.to_owned(),
            device_name: name.to_owned(),
            ..client::ClientConfig::default()
        };
        let storage_key = StorageKey::new(seed()?); // seals everything on this client's disk
        let mut node = Self::open(&trust, |seed, now, date| {
            Client::new(config, storage_key, Seed::new(seed), now, date)
        })?;
        node.ask(intent::Register::new(
            name,
            Zeroizing::new(b"correct horse".to_vec()),
        ))?;
        println!("{name} is registered and logged in");
        Ok(node)
    }

    /// States an intent and turns until it is done.
    fn ask(&mut self, intent: impl Into<Intent>) -> Result<Outcome, Failure> {
        let begin = |core: &mut Client, now| core.begin(now, intent);
        let id = self.endpoint.act(Instant::now(), begin);
        self.until(|event| match event {
            Event::Done { intent, outcome } if intent == id => Some(Ok(outcome)),
            Event::Failed { intent, error } if intent == id => Some(Err(error.into())),
            _ => None,
        })?
    }

    /// Turns until an event is what is waited for.
    fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> Result<T, Failure> {
        loop {
            if let Some(found) = self.turn()?.into_iter().find_map(&mut wanted) {
                return Ok(found);
            }
        }
    }
}

fn main() -> Result<(), Failure> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    let config = QuicConfig::server(certificate, key, &[Alpn::Qpq])?;
    let mut server = Node::open(&config, |seed, now, date| {
        Server::new(server::ServerConfig::default(), seed, now, date)
    })?;
    let address = server.socket.local_addr()?;
    // It ends with the process; `Endpoint::handle_shutdown` would let it finish what runs.
    thread::spawn(move || while server.turn().is_ok() {});

    let mut alice = Node::client("alice", address)?;
    let mut bob = Node::client("bob", address)?;
    let Outcome::Conversation(dm) = alice.ask(intent::Dm("bob".into()))? else {
        return Err("a DM is a conversation".into());
    };
    alice.ask(intent::Send::new(dm.id, "No runtime was harmed."))?;
    let message = bob.until(|event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    })?;
    println!("bob reads: {:?}", message.body);
    Ok(())
}

fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    Ok(seed)
}
