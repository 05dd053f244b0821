//! The QUIC glue: a server's endpoint under hostile datagrams and a hostile peer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use qpq_protocol::frame::{Header as _, RequestHeader, ResponseHeader, encode_request};
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId};
use qpq_protocol::io::{Alpn, Core};
use qpq_protocol::limits;
use qpq_protocol::method::Method;
use qpq_protocol::proto::HealthRequest;
use qpq_protocol::quic::{Effect, Endpoint, Limits, QuicConfig, Received, Trust};
use qpq_protocol::server::Server;
use qpq_protocol::status::Status;
use qpq_protocol::storage::Engine as _;
use qpq_protocol::storage::memory::Memory;

use super::MOST_ACTS;
use crate::choices::Choices;
use crate::echo::{Echo, Event};
use crate::support::{BEGIN, roomy};

/// An endpoint with a server core, an honest client on it, and one who dials, floods, abandons, goes
/// silent and sends datagrams of its own, or copies of others' with changes, in anyone's name. Input:
/// acts, each a byte for its kind and its choices.
///
/// Nothing panics, and the honest client, connected all along, gets its answers.
pub fn quic_glue(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut net = Net::new(tight());
    for _ in 0..MOST_ACTS {
        if choices.is_empty() {
            break;
        }
        net.act(&mut choices);
        net.turn();
    }
    net.hostile.mute = true;
    net.run(Duration::from_secs(2));
    net.ask();
    net.run(Duration::from_secs(8));
    assert_eq!(net.asked, net.answered, "the honest client was left alone");
}

/// What an execution begins with.
pub fn begin() {
    drop(Net::new(tight()));
}

/// What all peers together may make a server hold: its core and its endpoint.
type ServerLimits = (limits::Limits, Limits);

/// For few connections with small windows; nobody is refused for asking often.
fn tight() -> ServerLimits {
    let mut core = roomy().limits;
    core.connections = 8;
    core.total_buffer = 512 * 1024;
    core.small_buffer = 128 * 1024;
    core.anonymous_buffer = 512 * 1024;
    core.anonymous_small_buffer = 128 * 1024;
    core.answer = 64 * 1024;
    core.total_unsent = 128 * 1024;
    core.cached_bytes = 64 * 1024;
    core.rate_counters = 64;
    core.away_devices = 16;
    // The honest client has no session, and is silent while time passes.
    core.login_time = Duration::from_secs(3600);
    let glue = Limits {
        connections: 6,
        handshakes: 3,
        unproven_handshakes: 2,
        stream_window: 16 * 1024,
        connection_window: 64 * 1024,
        send_window: 32 * 1024,
        unsent: 64 * 1024,
        stores: 64,
        events: 64,
        ..Limits::server()
    };
    (core, glue)
}

/// An input: five connections, and on each some sixty requests of 64 KiB that never end.
#[must_use]
pub fn flood() -> Vec<u8> {
    let dial = [4, 5, 0, 200];
    let requests = |conn| [12, conn, 0, 0, 0xff, 0xff, 0, 1, 63, 0];
    let pass = [5, 0xff, 0xff];
    let mut input = dial.repeat(5);
    input.extend((0..5).flat_map(requests));
    input.extend(pass);
    input
}

/// What quinn and rustls hold for a connection beside the bytes that the windows allow: handshake,
/// streams, acknowledgements. An estimate on the safe side.
const QUINN_CONNECTION: usize = 64 * 1024;
/// The buffer of a handshake that is not yet accepted (`quic::config`).
const INCOMING: usize = 64 * 1024;
/// Datagrams on their way: three clients' and servers' windows at most.
const DATAGRAMS: usize = 512 * 1024;

/// Bytes that an input may need: what the limits of core and glue allow the server, what the same
/// limits of the glue allow the two clients, and the datagrams on their way.
#[must_use]
pub fn budget() -> usize {
    LazyLock::force(&IDENTITY);
    let (core, glue) = tight();
    let window = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
    let connection =
        window(glue.connection_window) + window(glue.send_window) + glue.unsent + QUINN_CONNECTION;
    let endpoint = glue.connections * connection + (glue.handshakes + 1) * INCOMING;
    core.footprint() + 3 * endpoint + DATAGRAMS
}

/// A certificate for `localhost` and its key, in DER.
static IDENTITY: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("a certificate");
    (made.cert.der().to_vec(), made.signing_key.serialize_der())
});

/// Bytes to flood with; slices of it cost nothing.
static FILLER: [u8; 64 * 1024] = [0x51; 64 * 1024];

const LATENCY: Duration = Duration::from_millis(10);
/// Datagrams that are remembered to be sent again.
const SEEN: usize = 32;

struct Node<C: Core> {
    endpoint: Endpoint<C>,
    address: SocketAddr,
    /// What it sends is lost.
    mute: bool,
}

#[derive(Clone)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: BytesMut,
}

struct Net {
    now: Instant,
    server: Node<Server>,
    honest: Node<Echo>,
    hostile: Node<Echo>,
    memory: Memory,
    wire: VecDeque<(Instant, Datagram)>,
    seen: VecDeque<Datagram>,
    asked: usize,
    answered: usize,
    /// Streams that the hostile client opened.
    streams: Vec<(ConnId, OwnStream)>,
}

impl Net {
    fn new((core, glue): ServerLimits) -> Self {
        // The only look at a clock: an `Instant` cannot be made otherwise.
        let epoch = Instant::now();
        let (certificate, key) = IDENTITY.clone();
        let mut config = QuicConfig::server(certificate, key, &[Alpn::Qpq]).expect("a good key");
        config.limits = glue.clone();
        let mut server = roomy();
        server.limits = core;
        let server = Server::new(server, [1; 32], qpq_protocol::time::Time::ZERO, BEGIN);
        let mut client = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
        client.limits = Limits {
            lossy_events: true,
            keep_alive: Some(Duration::from_secs(5)),
            // What it floods with lies in one place however often it is sent.
            unsent: usize::MAX,
            ..glue
        };
        let mut net = Self {
            now: epoch,
            server: node(server, &config, epoch, 1),
            honest: node(Echo::default(), &client, epoch, 2),
            hostile: node(Echo::default(), &client, epoch, 3),
            memory: Memory::new(),
            wire: VecDeque::new(),
            seen: VecDeque::new(),
            asked: 0,
            answered: 0,
            streams: Vec::new(),
        };
        dial(&mut net.honest, net.now, net.server.address);
        net.run(Duration::from_secs(1));
        assert_eq!(net.honest.endpoint.core().conns.len(), 1);
        net
    }

    /// The honest client asks whether the server is well.
    fn ask(&mut self) {
        let request = encode_request(Method::Health.id(), 1, &HealthRequest {}).expect("a frame");
        self.honest.endpoint.act(self.now, |core, _| {
            let conn = core.conns.keys().next().copied();
            core.call(
                conn.expect("the honest client's connection stands"),
                request,
            );
        });
        self.asked += 1;
    }

    fn act(&mut self, choices: &mut Choices<'_>) {
        let (now, kind) = (self.now, choices.byte() % 16);
        let conns = self.hostile.endpoint.core().conns.keys().copied();
        let conns: Vec<_> = conns.collect();
        match kind {
            0 => {
                let (from, to) = self.route(choices);
                let bytes = BytesMut::from(choices.bytes());
                self.wire.push_back((now, Datagram { from, to, bytes }));
            }
            1..4 => self.send_again(choices),
            4 => dial(&mut self.hostile, now, self.server.address),
            5 => self.run(Duration::from_millis(choices.u16().into())),
            6 => self.hostile.mute = choices.flag(),
            7 => {
                let port = 3000 + u16::from(choices.byte() % 4);
                self.hostile.address.set_port(port);
            }
            8 => {
                let credit = choices.flag().then_some(0);
                self.hostile
                    .endpoint
                    .act(now, |core, _| core.credit = credit);
            }
            9 => self.ask(),
            10 if !self.streams.is_empty() => {
                let (conn, stream) = self.streams[choices.below(256) % self.streams.len()];
                let code = choices.u16().into();
                self.hostile.endpoint.act(now, |core, _| {
                    core.reset(conn, StreamId::Own(stream), code);
                });
            }
            _ if conns.is_empty() => {}
            11 => {
                let (conn, code) = (conns[choices.below(conns.len())], choices.u16().into());
                self.hostile
                    .endpoint
                    .act(now, |core, _| core.close(conn, code));
            }
            _ => self.flood(conns[choices.below(conns.len())], choices),
        }
    }

    /// Opens streams and sends on them: a request, or what only begins like one.
    fn flood(&mut self, conn: ConnId, choices: &mut Choices<'_>) {
        let method = Method::ALL[choices.below(Method::ALL.len())];
        let payload = Bytes::copy_from_slice(choices.bytes());
        let filler = usize::from(choices.u16());
        let mut frame = BytesMut::new();
        RequestHeader {
            method_id: method.id(),
            request_id: 7,
            payload_len: u32::try_from(payload.len() + filler).unwrap_or(u32::MAX),
        }
        .write(&mut frame);
        frame.extend_from_slice(&payload);
        let frame = if choices.flag() {
            payload
        } else {
            frame.freeze()
        };
        let dir = if choices.once_in(8) {
            Dir::Uni
        } else {
            Dir::Bi
        };
        let (times, fin) = (choices.byte() % 64, choices.flag());
        let streams = &mut self.streams;
        self.hostile.endpoint.act(self.now, |core, _| {
            for _ in 0..=times {
                let stream = core.start(conn, dir, frame.clone(), false);
                let filler = Bytes::from_static(&FILLER[..filler]);
                core.send(conn, StreamId::Own(stream), filler, fin);
                streams.push((conn, stream));
            }
        });
    }

    /// A datagram that was seen is sent once more, with changes, perhaps in another name.
    fn send_again(&mut self, choices: &mut Choices<'_>) {
        let which = choices.below(SEEN);
        let Some(seen) = self.seen.get(which).cloned() else {
            return;
        };
        let (mut from, mut to) = (seen.from, seen.to);
        if choices.once_in(4) {
            (from, to) = self.route(choices);
        }
        let bytes = BytesMut::from(&choices.edited(&seen.bytes)[..]);
        self.wire
            .push_back((self.now, Datagram { from, to, bytes }));
    }

    /// Whence and where a forged datagram goes.
    fn route(&self, choices: &mut Choices<'_>) -> (SocketAddr, SocketAddr) {
        let stranger = SocketAddr::from(([10, 0, 0, 9], choices.u16()));
        match choices.byte() % 4 {
            0 => (self.honest.address, self.server.address),
            1 => (self.server.address, self.honest.address),
            2 => (self.hostile.address, self.server.address),
            _ => (stranger, self.server.address),
        }
    }

    /// Lets time pass, from one deadline or arrival to the next.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for turns in 0.. {
            assert!(turns < 100_000, "it never comes to rest");
            self.turn();
            let arrival = self.wire.iter().map(|&(at, _)| at).min();
            let deadlines = [
                arrival,
                Some(self.server.endpoint.poll_timeout()),
                Some(self.honest.endpoint.poll_timeout()),
                Some(self.hostile.endpoint.poll_timeout()),
            ];
            match deadlines.into_iter().flatten().min() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
        }
        self.now = end;
        self.turn();
    }

    /// One turn of everyone.
    fn turn(&mut self) {
        let now = self.now;
        for (at, datagram) in core::mem::take(&mut self.wire) {
            if at > now {
                self.wire.push_back((at, datagram));
            } else {
                self.deliver(datagram);
            }
        }
        let Self { server, wire, .. } = self;
        due(&mut server.endpoint, now);
        while let Some(effect) = server.endpoint.poll_effect() {
            if let Effect::Store {
                ticket, command, ..
            } = effect
            {
                let replies = self.memory.run(vec![command]);
                let replies = replies.into_iter().map(|reply| (ticket, reply));
                server.endpoint.handle_stored(now, replies);
            }
        }
        while server.endpoint.poll_event().is_some() {}
        transmit(server, now, wire);

        for client in [&mut self.honest, &mut self.hostile] {
            due(&mut client.endpoint, now);
            while client.endpoint.poll_effect().is_some() {}
            transmit(client, now, wire);
        }
        while self.hostile.endpoint.poll_event().is_some() {}
        while let Some(event) = self.honest.endpoint.poll_event() {
            match event {
                Event::Connected(..) => {}
                Event::Answer(_, _, bytes) => {
                    let header = ResponseHeader::read(&bytes).expect("a response");
                    assert_eq!(header.status, Status::Ok);
                    self.answered += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn deliver(&mut self, datagram: Datagram) {
        let Datagram { from, to, bytes } = datagram.clone();
        if self.seen.len() == SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(datagram);
        let received = Received {
            socket: None,
            remote: from,
            local_ip: None,
            ecn: 0,
            contents: &bytes,
            stride: bytes.len(),
        };
        let now = self.now;
        if to == self.server.address {
            self.server.endpoint.handle_datagrams(now, &received);
        } else if to == self.honest.address {
            self.honest.endpoint.handle_datagrams(now, &received);
        } else if to == self.hostile.address {
            self.hostile.endpoint.handle_datagrams(now, &received);
        }
    }
}

fn node<C: Core>(core: C, config: &QuicConfig, epoch: Instant, number: u8) -> Node<C> {
    Node {
        endpoint: Endpoint::new(config, core, epoch, BEGIN, [number; 32]).expect("a good config"),
        address: SocketAddr::from(([10, 0, 0, number], 1000 * u16::from(number))),
        mute: false,
    }
}

fn dial(client: &mut Node<Echo>, now: Instant, server: SocketAddr) {
    client.endpoint.act(now, |core, _| {
        core.connect(&server.to_string(), Alpn::Qpq);
    });
}

fn due<C: Core>(endpoint: &mut Endpoint<C>, now: Instant) {
    if endpoint.poll_timeout() <= now {
        endpoint.handle_timeout(now, BEGIN);
    }
}

fn transmit<C: Core>(node: &mut Node<C>, now: Instant, wire: &mut VecDeque<(Instant, Datagram)>) {
    while let Some(transmit) = node.endpoint.poll_transmit(now, 10) {
        let size = transmit.segment_size.unwrap_or(usize::MAX);
        for bytes in transmit.contents.chunks(size).filter(|_| !node.mute) {
            let datagram = Datagram {
                from: node.address,
                to: transmit.destination,
                bytes: BytesMut::from(bytes),
            };
            wire.push_back((now + LATENCY, datagram));
        }
    }
}
