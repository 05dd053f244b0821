//! The network as streams: each keeps its order, all else may happen to it. Loss is delay, as QUIC
//! makes it; connections break, in silence or not, and one that breaks before it stands has failed for
//! its client; nothing is duplicated.

mod bare;
mod link;
mod wire;

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use self::bare::{Bare, Parcel};
use self::link::{Link, Side};
use self::wire::{Wire, WireId};
use super::chance::Chance;
use super::host::{Hosts, Who};
use super::network::Network;
use super::tap::Tap;
use super::{Config, generator, micros, ms, pick};
use crate::ids::{ConnId, Dir, Ticket};
use crate::io::{Alpn, ConnectError, Core, PeerInfo};
use crate::rng::Rng;
use crate::time::{Time, UnixTime};

/// How long a piece takes at least where nobody says otherwise, in microseconds.
const LATENCY: u64 = 50;

/// Something on its way.
enum Due {
    /// The first of what flies on a wire.
    Arrive(WireId),
    /// One side finds out that the connection is gone.
    Lost(ConnId, Side),
    /// A client's first datagram.
    Reach(Dial),
    /// The server's answer to it.
    Stand(ConnId, Dial),
    Fail(Dial),
}

/// A client's wish for a connection.
#[derive(Clone, Copy)]
struct Dial {
    client: usize,
    /// Which of its processes: one that has ended wants nothing more.
    process: u32,
    ticket: Ticket,
}

/// See the page of this module.
pub(super) struct Streams {
    rng: Rng,
    links: BTreeMap<ConnId, Link>,
    wires: BTreeMap<WireId, Wire>,
    /// Wires whose receiver has no room.
    starved: BTreeSet<WireId>,
    due: BTreeMap<(Time, u64), Due>,
    last_due: u64,
    last_conn: u64,
    servers: usize,
    /// How many processes of each client have ended.
    ended: Vec<u32>,
    /// Until when nothing passes to and from each client.
    parted: Vec<Time>,
    ports: Vec<u16>,
    /// How long a piece takes at least, and how much longer it may take, in microseconds.
    latency: u64,
    spread: u64,
    /// How often a piece is lost, and comes a second later.
    loss: Chance,
}

impl Streams {
    pub(super) fn new(config: &Config, people: usize, seed: u64) -> Self {
        let mut rng = generator(seed, b"network");
        let spread = pick(&mut rng, &[200, 20_000, 100_000]);
        let loss = Chance::one_in(pick(&mut rng, &[0, 100, 10]));
        Self {
            rng,
            links: BTreeMap::new(),
            wires: BTreeMap::new(),
            starved: BTreeSet::new(),
            due: BTreeMap::new(),
            last_due: 0,
            last_conn: 0,
            servers: config.servers,
            ended: vec![0; people],
            parted: vec![Time::ZERO; people],
            ports: vec![10_000; people],
            latency: config.delay.map_or(LATENCY, micros),
            spread,
            loss: config.loss.map_or(loss, Chance::percent),
        }
    }

    fn after(&mut self, at: Time, due: Due) {
        self.last_due += 1;
        self.due.insert((at, self.last_due), due);
    }

    fn delay(&mut self) -> core::time::Duration {
        let micros = self.latency + self.rng.below(self.spread);
        let lost = self.loss.strikes(&mut self.rng);
        core::time::Duration::from_micros(micros) + if lost { ms(1000) } else { ms(0) }
    }

    /// Until when nothing passes to and from a client.
    fn heals(&self, client: usize) -> Time {
        self.parted.get(client).copied().unwrap_or(Time::ZERO)
    }

    fn peer(&self, client: usize) -> PeerInfo {
        let port = self.ports.get(client).copied().unwrap_or_default();
        let third = u8::try_from(client).unwrap_or(u8::MAX);
        PeerInfo {
            address: SocketAddr::from(([10, 0, third, 1], port)),
            alpn: Alpn::Qpq,
            certificate: None,
        }
    }
}

impl Network for Streams {
    type Parcel = Parcel;
    type Host<C: Core> = Bare<C>;

    fn host<C: Core>(&mut self, _who: Who, tap: Tap<C>, _now: Time, _unix: UnixTime) -> Bare<C> {
        Bare { tap, fin: None }
    }

    fn gone(&mut self, now: Time, who: Who) {
        let side = match who {
            Who::Client(_) => Side::Client,
            Who::Server(_) => Side::Server,
        };
        if let Who::Client(client) = who
            && let Some(ended) = self.ended.get_mut(client)
        {
            *ended += 1;
        }
        let links = self.links.iter().filter(|(_, link)| link.who(side) == who);
        for conn in links.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            // A process that is there again says that it knows nothing of it; one that stays away
            // says nothing.
            let after = pick(&mut self.rng, &[5, 500, 30_000]);
            let after = ms(self.rng.below(after));
            self.tell_lost(now, conn, side, after);
            self.down(conn, side);
        }
    }

    fn carry(&mut self, now: Time, from: Who, parcel: Parcel) {
        let side = match from {
            Who::Client(_) => Side::Client,
            Who::Server(_) => Side::Server,
        };
        match parcel {
            Parcel::Connect(ticket) => {
                let Who::Client(client) = from else { return };
                let dial = Dial {
                    client,
                    process: self.ended.get(client).copied().unwrap_or_default(),
                    ticket,
                };
                let at = now + self.delay();
                self.after(at, Due::Reach(dial));
            }
            Parcel::Open(conn, stream, dir) => {
                if let Some(link) = self.links.get_mut(&conn) {
                    match dir {
                        Dir::Bi => link.bi.push(stream),
                        Dir::Uni => link.uni.push(stream),
                    }
                }
            }
            Parcel::Send(conn, stream, input) => self.send(now, conn, side, stream, input),
            Parcel::Reset(conn, stream, code) => self.reset(now, conn, side, stream, code),
            Parcel::Close(conn) => {
                if let Some(link) = self.links.get(&conn)
                    && link.is_up(side)
                {
                    let after = self.delay();
                    self.tell_lost(now, conn, side, after);
                    self.after(now, Due::Lost(conn, side));
                }
            }
        }
    }

    fn next(&self) -> Option<Time> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    fn deliver(&mut self, now: Time, hosts: &mut Hosts<Self>) {
        let Some((_, due)) = self.due.pop_first() else {
            return;
        };
        match due {
            Due::Arrive(id) => self.arrive(now, id, hosts),
            Due::Lost(conn, side) => self.lost(now, conn, side, hosts),
            Due::Reach(dial) => self.reach(now, dial, hosts),
            Due::Stand(conn, dial) => self.stand(now, conn, dial, hosts),
            Due::Fail(dial) => {
                if self.still_wants(dial)
                    && let Some(port) = hosts.port(Who::Client(dial.client))
                {
                    port.handle_connect_failed(now, dial.ticket, ConnectError::Unreachable);
                }
            }
        }
    }

    fn feed(&mut self, now: Time, who: Who, hosts: &mut Hosts<Self>) {
        let links = &self.links;
        let waiting = self
            .starved
            .iter()
            .filter(|(conn, to, _)| links.get(conn).is_none_or(|link| link.who(*to) == who));
        for id in waiting.copied().collect::<Vec<_>>() {
            self.hand_over(now, id, hosts);
        }
    }

    fn cut(&mut self, now: Time, client: usize) {
        let links = self.links.iter().filter(|(_, link)| link.client == client);
        for conn in links.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            // Each side finds out by itself; what is under way never arrives.
            if let Some(link) = self.links.get_mut(&conn) {
                link.dead = true;
            }
            self.wires.retain(|(of, _, _), _| *of != conn);
            for side in [Side::Client, Side::Server] {
                let after = pick(&mut self.rng, &[1, 1000, 40_000]);
                let at = now + ms(self.rng.below(after));
                self.after(at, Due::Lost(conn, side));
            }
        }
    }

    fn part(&mut self, client: usize, until: Time) {
        if let Some(parted) = self.parted.get_mut(client) {
            *parted = until;
        }
    }

    fn move_address(&mut self, client: usize) {
        if let Some(port) = self.ports.get_mut(client) {
            *port = port.wrapping_add(1).max(1024);
        }
    }

    fn calm(&mut self) {
        self.latency = LATENCY;
        self.spread = 5_000;
        self.loss = Chance::NEVER;
        self.parted.fill(Time::ZERO);
    }
}
