//! The network as datagrams between [`quic::Endpoint`](crate::quic::Endpoint)s: each may be late,
//! lost, doubled, damaged or overtaken, and anyone who moves has another address.
//!
//! Handshakes are real, so what is in a datagram differs from run to run: TLS and connection ids
//! draw randomness of their own. What happens does not differ, as long as
//!
//! * the fate of a datagram is decided by its place among all and by its length, never by what is in
//!   it, and no damage is done where random bytes would decide what it leads to (`weather`);
//! * lengths are the same in every run: the certificate has an Ed25519 key, since ECDSA's signatures
//!   vary in length, and there are no tickets for TLS sessions;
//! * quinn-proto draws all else from our seed, and knows no time but virtual time.
//!
//! [`Carrier::Datagrams`](super::Carrier::Datagrams) says what remains.

mod host;
mod weather;

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use self::host::{Parcel, Quic, Socket};
use self::weather::{Fate, Weather};
use super::host::{Hosts, Who};
use super::network::Network;
use super::tap::Tap;
use super::{Config, below, generator, ms, pick};
use crate::io::{Alpn, Core};
use crate::quic::{self, Endpoint, Trust};
use crate::rng::Rng;
use crate::time::{Time, UnixTime};

/// The certificate of all servers: for `server.sim`, self-signed, of [`KEY`].
const CERTIFICATE: &[u8] = include_bytes!("server.der");
/// Its Ed25519 key, as PKCS #8 begins one (RFC 8410 §7), and then its 32 bytes.
const KEY: (&[u8], &[u8; 32]) = (
    b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20",
    b"qpq sim: a key that is no secret",
);

/// Something on its way.
enum Due {
    Arrive(Datagram),
    /// Word for anyone who is at this address: nobody listens on that host (ICMP).
    Unreachable(SocketAddr, IpAddr),
}

struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    ecn: u8,
    bytes: Vec<u8>,
}

/// How one client's way to the servers is.
struct Way {
    /// Where the client is.
    address: SocketAddr,
    /// Until when nothing passes.
    parted: Time,
    /// Until when the servers hear nothing of the client, and it nothing of them.
    silent: [Time; 2],
}

/// See the page of this module.
pub(super) struct Datagrams {
    epoch: Instant,
    rng: Rng,
    weather: Weather,
    client: quic::QuicConfig,
    server: quic::QuicConfig,
    socket: Socket,
    ways: Vec<Way>,
    servers: Vec<SocketAddr>,
    due: BTreeMap<(Time, u64), Due>,
    last_due: u64,
    /// Datagrams that hosts sent, and their bytes; and how many came to somebody.
    sent: (u64, u64),
    arrived: u64,
}

impl Datagrams {
    pub(super) fn new(config: &Config, people: usize, seed: u64, epoch: Instant) -> Self {
        let mut rng = generator(seed, b"datagrams");
        let way = |client| Way {
            address: SocketAddr::from((net(10, client), 10_000)),
            parted: Time::ZERO,
            silent: [Time::ZERO; 2],
        };
        let server = |server| SocketAddr::from((net(11, server), 5001));
        let (client, server_config) = endpoints(&mut rng);
        Self {
            epoch,
            weather: Weather::new(config, &mut rng),
            client,
            server: server_config,
            socket: Socket {
                segments: pick(&mut rng, &[1, 10]),
                trouble: pick(&mut rng, &[0, 50]),
            },
            ways: (0..people).map(way).collect(),
            servers: (0..config.servers).map(server).collect(),
            due: BTreeMap::new(),
            last_due: 0,
            sent: (0, 0),
            arrived: 0,
            rng,
        }
    }

    fn after(&mut self, at: Time, due: Due) {
        self.last_due += 1;
        self.due.insert((at, self.last_due), due);
    }

    /// Who is at this address now.
    fn at(&self, address: SocketAddr) -> Option<Who> {
        let client = self.ways.iter().position(|way| way.address == address);
        let server = || self.servers.iter().position(|one| *one == address);
        client
            .map(Who::Client)
            .or_else(|| server().map(Who::Server))
    }

    /// Whether nothing passes from one to the other.
    fn is_cut(&self, now: Time, from: SocketAddr, to: SocketAddr) -> bool {
        let (client, direction) = match (client_of(from), client_of(to)) {
            (Some(client), _) => (client, 0),
            (None, Some(client)) => (client, 1),
            (None, None) => return false,
        };
        let way = self.ways.get(client);
        way.is_some_and(|way| way.parted > now || way.silent[direction] > now)
    }

    fn move_port(&mut self, client: usize) {
        if let Some(way) = self.ways.get_mut(client) {
            let port = way.address.port().wrapping_add(1).max(1024);
            way.address.set_port(port);
        }
    }

    /// It goes on in another network, so to speak.
    fn move_host(&mut self, client: usize) {
        if let Some(way) = self.ways.get_mut(client)
            && let IpAddr::V4(v4) = way.address.ip()
        {
            let [a, b, c, d] = v4.octets();
            let host = [a, b, c, d.wrapping_add(1).max(1)];
            way.address.set_ip(IpAddr::from(host));
        }
    }

    fn arrive(&mut self, now: Time, datagram: &Datagram, hosts: &mut Hosts<Self>) {
        let Datagram { from, to, .. } = *datagram;
        let there = self.at(to).filter(|_| !self.is_cut(now, from, to));
        let heard = match there {
            Some(Who::Client(client)) => hosts
                .client(client)
                .map(|host| host.receive(now, from, datagram.ecn, &datagram.bytes)),
            Some(Who::Server(server)) => hosts
                .server(server)
                .map(|host| host.receive(now, from, datagram.ecn, &datagram.bytes)),
            None => return,
        };
        self.arrived += u64::from(heard.is_some());
        // Hosts say so if nobody listens; firewalls don't let everything through.
        if heard.is_none() && self.rng.below(2) == 0 {
            let at = now + self.weather.delay();
            self.after(at, Due::Unreachable(from, to.ip()));
        }
    }
}

/// The first host of the net of the one who has this place.
fn net(first: u8, place: usize) -> [u8; 4] {
    let [high, low] = u16::try_from(place).unwrap_or(u16::MAX).to_be_bytes();
    [first, high, low, 1]
}

/// The client that has, or had, this address: each moves within its own net.
fn client_of(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(v4) => match v4.octets() {
            [10, high, low, _] => Some(u16::from_be_bytes([high, low]).into()),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

/// An ended connection drains for three probe timeouts (RFC 9000 §10.2): a minute each, where the weather has made
/// round trips of many seconds.
const DRAIN: Duration = ms(180_000);

/// What the endpoints of a world are: with windows, silences and sizes that strain the glue.
fn endpoints(rng: &mut Rng) -> (quic::QuicConfig, quic::QuicConfig) {
    let mut client = quic::QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
    let (prefix, key) = KEY;
    let key = [prefix, key].concat();
    let mut server = quic::QuicConfig::server(CERTIFICATE.to_vec(), key, &[Alpn::Qpq])
        .expect("the key above can be read");
    let idle = ms(pick(rng, &[10_000, 60_000, 300_000]));
    let window = pick(rng, &[16 * 1024, 256 * 1024]);
    let send_window = pick(rng, &[16 * 1024, 1024 * 1024]);
    for limits in [&mut client.limits, &mut server.limits] {
        limits.idle = idle;
        limits.stream_window = window;
        limits.send_window = send_window;
    }
    let may_fragment = rng.below(2) == 0;
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    (
        client.on_socket(any, may_fragment),
        server.on_socket(any, may_fragment),
    )
}

impl Network for Datagrams {
    type Parcel = Parcel;
    type Host<C: Core> = Quic<C>;

    fn host<C: Core>(&mut self, who: Who, core: Tap<C>, now: Time, unix: UnixTime) -> Quic<C> {
        let config = match who {
            Who::Client(client) => {
                // A new process has a new port.
                self.move_port(client);
                &self.client
            }
            Who::Server(_) => &self.server,
        };
        // The endpoint takes the date to be that at its epoch.
        let begin = unix.as_millis().saturating_sub(now.as_micros() / 1000);
        let begin = UnixTime::from_millis(begin);
        let endpoint = Endpoint::new(config, core, self.epoch, begin, self.rng.seed());
        let endpoint = endpoint.expect("the configuration above is a good one");
        Quic::new(
            endpoint,
            (self.epoch, now, unix),
            self.rng.child(),
            self.socket,
            self.servers.clone(),
        )
    }

    fn gone(&mut self, _now: Time, _who: Who) {
        // Anyone who sends to it finds out by itself.
    }

    fn carry(&mut self, now: Time, from: Who, parcel: Parcel) {
        let from = match from {
            Who::Client(client) => self.ways.get(client).map(|way| way.address),
            Who::Server(server) => self.servers.get(server).copied(),
        };
        let Some(from) = from else { return };
        let Parcel { to, ecn, bytes } = parcel;
        self.sent.0 += 1;
        self.sent.1 += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        for fate in self.weather.fates(bytes.len()) {
            let Fate {
                after,
                damage,
                marked,
            } = fate;
            let mut bytes = bytes.clone();
            if let Some(damage) = damage {
                damage.befall(&mut bytes);
            }
            // Congestion is told on those only that can be marked (RFC 3168 §5).
            let ecn = if marked && ecn != 0 { 0b11 } else { ecn };
            let datagram = Datagram {
                from,
                to,
                ecn,
                bytes,
            };
            self.after(now + after, Due::Arrive(datagram));
        }
    }

    fn next(&self) -> Option<Time> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    fn deliver(&mut self, now: Time, hosts: &mut Hosts<Self>) {
        // All that can be read, as a socket gives it.
        while self.next().is_some_and(|at| at <= now) {
            match self.due.pop_first() {
                Some((_, Due::Arrive(datagram))) => self.arrive(now, &datagram, hosts),
                Some((_, Due::Unreachable(to, host))) => {
                    if let Some(Who::Client(client)) = self.at(to)
                        && let Some(to) = hosts.client(client)
                    {
                        to.unreachable(now, host);
                    }
                }
                None => return,
            }
        }
    }

    fn feed(&mut self, _now: Time, _who: Who, _hosts: &mut Hosts<Self>) {
        // The endpoint asks for room again by itself.
    }

    fn cut(&mut self, now: Time, client: usize) {
        // One of the two falls silent, for longer than the other waits or not.
        let idle = u64::try_from(self.client.limits.idle.as_millis()).unwrap_or(u64::MAX);
        let most = pick(&mut self.rng, &[1_000, 2 * idle]);
        let until = now + ms(self.rng.below(most));
        let direction = below(&mut self.rng, 2);
        if let Some(way) = self.ways.get_mut(client) {
            way.silent[direction] = until;
        }
    }

    fn part(&mut self, client: usize, until: Time) {
        if let Some(way) = self.ways.get_mut(client) {
            way.parted = until;
        }
    }

    fn move_address(&mut self, client: usize) {
        match self.rng.below(2) {
            0 => self.move_port(client),
            _ => self.move_host(client),
        }
    }

    fn calm(&mut self) {
        self.weather.calm();
        for way in &mut self.ways {
            way.parted = Time::ZERO;
            way.silent = [Time::ZERO; 2];
        }
    }

    fn silence(&self) -> Duration {
        self.server.limits.idle + DRAIN
    }

    fn tally(&self) -> Option<String> {
        let (sent, bytes) = self.sent;
        let (arrived, weather) = (self.arrived, self.weather.tally);
        Some(format!(
            "{sent} datagrams of {bytes} bytes, {arrived} arrived, {weather}"
        ))
    }
}
