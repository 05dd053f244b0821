//! Two endpoints, a network between them that delays and loses, and a clock that jumps.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use qpq_protocol::ids::{ConnId, OwnStream, Ticket};
use qpq_protocol::io::Alpn;
use qpq_protocol::quic::{Effect, Endpoint, Limits, QuicConfig, Received, SocketId, Trust};
use qpq_protocol::rng::Rng;
use qpq_protocol::time::UnixTime;

use crate::echo::{Echo, Event};

/// The date of all tests: 2026-11-21.
pub const TODAY: UnixTime = UnixTime::from_millis(1_795_219_200_000);

/// A certificate and its key, in DER.
#[derive(Clone)]
pub struct Identity {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl Identity {
    /// A self-signed certificate for `localhost`.
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("rcgen works");
        Self {
            certificate: made.cert.der().to_vec(),
            key: made.signing_key.serialize_der(),
        }
    }

    pub fn config(&self) -> QuicConfig {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        let config = QuicConfig::server(certificate, key, &[Alpn::Qpq]);
        timeless(config.expect("the key parses"))
    }
}

/// Trusts whomever it meets first.
pub fn first_use() -> QuicConfig {
    timeless(QuicConfig::client(Trust::PinOnFirstUse { sha256: None }))
}

/// The core is not told the date again within any test, so that whatever wakes is something else.
fn timeless(mut config: QuicConfig) -> QuicConfig {
    config.limits.clock = AGES;
    config
}

/// Where the ports of sockets beside a node's own begin.
const APART: u16 = 50_000;

/// The address of one of the sockets of the node that has this address.
pub fn address_of(own: SocketAddr, socket: Option<SocketId>) -> SocketAddr {
    let mut address = own;
    if let Some(SocketId(number)) = socket {
        address.set_port(APART + u16::try_from(number).expect("few sockets"));
    }
    address
}

const AGES: Duration = Duration::from_secs(100 * 366 * 86_400);

pub struct Node {
    pub endpoint: Endpoint<Echo>,
    pub address: SocketAddr,
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
    /// When, where from, to which socket.
    inbox: VecDeque<(Instant, SocketAddr, Option<SocketId>, BytesMut)>,
    /// Datagrams it has sent, and their bytes.
    pub sent: (usize, usize),
    /// Sent datagrams are lost.
    pub mute: bool,
    /// Copies of what it was sent.
    pub seen: Vec<BytesMut>,
}

impl Node {
    pub fn new(address: &str, config: &QuicConfig, epoch: Instant, seed: u8) -> Self {
        let core = Echo::default();
        Self {
            endpoint: Endpoint::new(config, core, epoch, TODAY, [seed; 32]).expect("config"),
            address: address.parse().expect("an address"),
            events: Vec::new(),
            effects: Vec::new(),
            inbox: VecDeque::new(),
            sent: (0, 0),
            mute: false,
            seen: Vec::new(),
        }
    }

    pub fn act<R>(&mut self, now: Instant, act: impl FnOnce(&mut Echo) -> R) -> R {
        self.endpoint.act(now, |core, _| act(core))
    }

    pub fn core(&self) -> &Echo {
        self.endpoint.core()
    }

    /// Takes all its events.
    pub fn take(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    /// Gives the answers it got, by stream.
    pub fn answers(&mut self) -> BTreeMap<OwnStream, Bytes> {
        let answer = |event| match event {
            Event::Answer(_, stream, data) => (stream, data),
            other => panic!("{other:?}"),
        };
        self.take().into_iter().map(answer).collect()
    }

    /// Its socket of this address, if it has one.
    fn socket_of(&self, address: SocketAddr) -> Option<Option<SocketId>> {
        if address == self.address {
            return Some(None);
        }
        let number = address.port().checked_sub(APART)?;
        let socket = Some(SocketId(number.into()));
        (address_of(self.address, socket) == address).then_some(socket)
    }

    /// One datagram arrives.
    pub fn receive(&mut self, now: Instant, remote: SocketAddr, ecn: u8, datagram: &[u8]) {
        self.receive_at(now, None, remote, ecn, datagram);
    }

    /// One datagram arrives at this socket.
    pub fn receive_at(
        &mut self,
        now: Instant,
        socket: Option<SocketId>,
        remote: SocketAddr,
        ecn: u8,
        datagram: &[u8],
    ) {
        let received = Received {
            socket,
            remote,
            local_ip: None,
            ecn,
            contents: datagram,
            stride: datagram.len(),
        };
        self.endpoint.handle_datagrams(now, &received);
    }

    /// Takes what is on its way to it.
    pub fn intercept(&mut self) -> Vec<BytesMut> {
        let all = self.inbox.drain(..);
        all.map(|(.., datagram)| datagram).collect()
    }

    fn take_outputs(&mut self, events: bool) {
        while let Some(effect) = self.endpoint.poll_effect() {
            self.effects.push(effect);
        }
        while events && let Some(event) = self.endpoint.poll_event() {
            self.events.push(event);
        }
    }
}

pub struct Pair {
    pub now: Instant,
    pub epoch: Instant,
    /// The date at the epoch, as the embedder tells it.
    pub today: UnixTime,
    pub client: Node,
    pub server: Node,
    pub latency: Duration,
    /// Datagrams lost, in thousandths.
    pub loss: u64,
    pub rng: Rng,
    /// Datagrams for one transmit.
    pub segments: usize,
    /// Turns without any time between them.
    still: usize,
}

impl Pair {
    pub fn new() -> Self {
        Self::with(&Identity::new().config(), &first_use())
    }

    #[allow(clippy::disallowed_methods)]
    pub fn with(server: &QuicConfig, client: &QuicConfig) -> Self {
        // The only look at a clock: an `Instant` cannot be made otherwise.
        let epoch = Instant::now();
        Self {
            now: epoch,
            epoch,
            today: TODAY,
            client: Node::new("[::1]:40000", client, epoch, 1),
            server: Node::new("[::1]:5001", server, epoch, 2),
            latency: Duration::from_millis(20),
            loss: 0,
            rng: Rng::new([9; 32]),
            segments: 10,
            still: 0,
        }
    }

    /// With limits of its own on either side.
    pub fn limited(change: impl FnOnce(&mut Limits, &mut Limits)) -> Self {
        let (mut server, mut client) = (Identity::new().config(), first_use());
        change(&mut server.limits, &mut client.limits);
        Self::with(&server, &client)
    }

    /// Connects and gives both names of the connection.
    pub fn connect(&mut self) -> (ConnId, ConnId) {
        let ticket = self.dial();
        self.run();
        let ours = self.client.events.iter().find_map(|event| match event {
            Event::Connected(conn, _, of) if *of == Some(ticket) => Some(*conn),
            _ => None,
        });
        let theirs = self
            .server
            .events
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::Connected(conn, ..) => Some(*conn),
                _ => None,
            });
        self.client.events.clear();
        self.server.events.clear();
        (ours.expect("connected"), theirs.expect("connected"))
    }

    pub fn dial(&mut self) -> Ticket {
        let address = self.server.address.to_string();
        self.client
            .act(self.now, |core| core.connect(&address, Alpn::Qpq))
    }

    /// Lets both work and exchange datagrams until nothing happens for two seconds.
    pub fn run(&mut self) {
        self.run_for(Duration::from_secs(2));
    }

    /// The same, until nothing happens for `quiet`. Returns how many times somebody woke.
    pub fn run_for(&mut self, quiet: Duration) -> usize {
        for turns in 0.. {
            assert!(turns < 200_000, "it never comes to rest");
            self.turn();
            match self.wakeup() {
                at if at <= self.now + quiet => self.jump(at),
                _ => return turns,
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Jumps ahead, waking whoever wants to be woken on the way.
    pub fn sleep(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.turn();
            match self.wakeup() {
                at if at <= end => self.jump(at),
                _ => break,
            }
        }
        self.now = end;
        self.turn();
    }

    fn jump(&mut self, at: Instant) {
        self.still = match at > self.now {
            true => 0,
            false => self.still + 1,
        };
        assert!(
            self.still < 20,
            "time stands still: somebody is due and does nothing"
        );
        self.now = self.now.max(at);
    }

    /// When something happens next.
    fn wakeup(&mut self) -> Instant {
        let nodes = [&mut self.client, &mut self.server];
        let next = nodes.map(|node| {
            let due = node.endpoint.poll_timeout();
            node.inbox.front().map_or(due, |&(at, ..)| due.min(at))
        });
        next[0].min(next[1])
    }

    /// Whether nobody waits for anything but the next time of being told the date.
    pub fn is_at_rest(&mut self) -> bool {
        self.wakeup() >= self.epoch + AGES
    }

    /// One turn of both, as the module says an endpoint is driven.
    pub fn turn(&mut self) {
        self.work(true);
    }

    /// A turn in which nobody takes events.
    pub fn exchange(&mut self) {
        self.work(false);
    }

    fn work(&mut self, take: bool) {
        let (now, latency, segments) = (self.now, self.latency, self.segments);
        let date = self.today + (now - self.epoch);
        for client in [true, false] {
            let (node, peer) = match client {
                true => (&mut self.client, &mut self.server),
                false => (&mut self.server, &mut self.client),
            };
            while let Some((at, ..)) = node.inbox.front()
                && *at <= now
            {
                let (_, from, socket, datagram) = node.inbox.pop_front().expect("looked at");
                node.seen.push(datagram.clone());
                node.receive_at(now, socket, from, 0, &datagram);
            }
            if node.endpoint.poll_timeout() <= now {
                node.endpoint.handle_timeout(now, date);
            }
            node.take_outputs(take);
            let own = node.address;
            while let Some(transmit) = node.endpoint.poll_transmit(now, segments) {
                let size = transmit.segment_size.unwrap_or(usize::MAX);
                let from = address_of(own, transmit.socket);
                let to = peer.socket_of(transmit.destination);
                for datagram in transmit.contents.chunks(size) {
                    node.sent.0 += 1;
                    node.sent.1 += datagram.len();
                    let lost = node.mute || self.rng.below(1000) < self.loss;
                    if let (false, Some(to)) = (lost, to) {
                        let arrival = (now + latency, from, to, BytesMut::from(datagram));
                        peer.inbox.push_back(arrival);
                    }
                }
            }
        }
    }
}
