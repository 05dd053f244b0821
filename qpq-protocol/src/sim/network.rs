//! The network as streams: each keeps its order, all else may happen to it. Loss is delay, as QUIC
//! makes it; connections break, in silence or not; nothing is duplicated.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::host::{Host, Hosts, Input, Network, Todo, Who};
use super::tap::Tap;
use super::{Config, below, generator, ms, pick};
use crate::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use crate::io::{Alpn, ConnectError, Core, Output, PeerInfo, StreamInput};
use crate::rng::Rng;
use crate::time::{Time, UnixTime};

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

/// A connection.
struct Link {
    client: usize,
    server: usize,
    /// Who still believes in it: client, server.
    up: [bool; 2],
    /// Nothing passes any more, whatever the two believe.
    dead: bool,
    /// Streams that the client and the server opened; the other calls them by their place.
    bi: Vec<OwnStream>,
    uni: Vec<OwnStream>,
}

impl Link {
    fn who(&self, side: Side) -> Who {
        match side {
            Side::Client => Who::Client(self.client),
            Side::Server => Who::Server(self.server),
        }
    }

    fn is_up(&self, side: Side) -> bool {
        self.up[side as usize]
    }

    /// What `side` calls the stream that its peer calls `stream`.
    fn name(&self, side: Side, stream: StreamId) -> Option<StreamId> {
        match (side, stream) {
            (Side::Server, StreamId::Own(own)) => place(&self.bi, own, Dir::Bi),
            (Side::Client, StreamId::Own(own)) => place(&self.uni, own, Dir::Uni),
            (_, StreamId::Peer(dir, number)) => {
                let opened = if dir == Dir::Bi { &self.bi } else { &self.uni };
                let own = opened.get(usize::try_from(number).ok()?)?;
                Some(StreamId::Own(*own))
            }
        }
    }
}

fn place(opened: &[OwnStream], own: OwnStream, dir: Dir) -> Option<StreamId> {
    // A core numbers its streams upwards.
    let place = opened.binary_search(&own).ok()?;
    Some(StreamId::Peer(dir, u64::try_from(place).ok()?))
}

/// One direction of a stream, by connection, receiver and the receiver's name of it.
type WireId = (ConnId, Side, StreamId);

#[derive(Default)]
struct Wire {
    flying: VecDeque<StreamInput>,
    /// Arrived, and waiting for the receiver to have room.
    ready: VecDeque<StreamInput>,
    /// When the last that was sent arrives.
    last: Time,
}

/// Something on its way.
enum Due {
    /// The first of what flies on a wire.
    Arrive(WireId),
    /// One side finds out that the connection is gone.
    Lost(ConnId, Side),
    /// A client's first datagram.
    Reach {
        client: usize,
        start: u32,
        ticket: Ticket,
    },
    /// The server's answer to it.
    Stand {
        conn: ConnId,
        start: u32,
        ticket: Ticket,
    },
    Fail {
        client: usize,
        start: u32,
        ticket: Ticket,
    },
}

/// What a bare core sends.
pub(super) enum Parcel {
    Connect(Ticket),
    Open(ConnId, OwnStream, Dir),
    Send(ConnId, StreamId, StreamInput),
    Reset(ConnId, StreamId, u64),
    Close(ConnId),
}

/// A core without QUIC.
pub(super) struct Bare<C> {
    tap: Tap<C>,
    /// The end of a stream whose last bytes have just been sent.
    fin: Option<(ConnId, StreamId)>,
}

impl<C: Core> Host<C> for Bare<C> {
    type Parcel = Parcel;

    fn input(&mut self, now: Time, input: Input) {
        match input {
            Input::Stored(ticket, reply) => self.tap.handle_stored(now, ticket, reply),
            Input::Computed(ticket, result) => self.tap.handle_computed(now, ticket, result),
            Input::Wake(wake) => self.tap.handle_wake(now, wake),
            Input::Clock(unix) => self.tap.handle_clock(now, unix),
            Input::Timeout => self.tap.handle_timeout(now),
            Input::Shutdown => self.tap.handle_shutdown(now),
        }
    }

    fn act<R>(&mut self, now: Time, act: impl FnOnce(&mut C, Time) -> R) -> R {
        act(self.tap.core(), now)
    }

    fn poll(&mut self, _now: Time) -> Option<Todo<C::Event, Parcel>> {
        if let Some((conn, stream)) = self.fin.take() {
            return Some(Todo::Carry(Parcel::Send(conn, stream, StreamInput::Fin)));
        }
        let output = self.tap.poll_output()?;
        Some(match output {
            Output::Store {
                ticket,
                lane,
                command,
            } => Todo::Store(ticket, lane, command),
            Output::Compute { ticket, job } => Todo::Compute(ticket, job),
            Output::Wake(wake) => Todo::Wake(wake),
            Output::Event(event) => Todo::Event(event),
            Output::Connect { ticket, .. } => Todo::Carry(Parcel::Connect(ticket)),
            Output::Open { conn, stream, dir } => Todo::Carry(Parcel::Open(conn, stream, dir)),
            Output::Send {
                conn,
                stream,
                data,
                fin,
            } => {
                self.fin = fin.then_some((conn, stream));
                Todo::Carry(Parcel::Send(conn, stream, StreamInput::Data(data)))
            }
            Output::Reset { conn, stream, code } => Todo::Carry(Parcel::Reset(conn, stream, code)),
            Output::Close { conn, .. } => Todo::Carry(Parcel::Close(conn)),
        })
    }

    fn deadline(&self) -> Option<Time> {
        self.tap.poll_timeout().map(|(at, _)| at)
    }

    fn is_shut_down(&self) -> bool {
        self.tap.is_shut_down()
    }

    fn tap(&self) -> &Tap<C> {
        &self.tap
    }
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
    /// How often each client has started, so that answers to an earlier one are dropped.
    starts: Vec<u32>,
    /// Until when nothing passes to and from each client.
    parted: Vec<Time>,
    ports: Vec<u16>,
    /// Delays are mostly below this, in microseconds.
    delay: u64,
    /// One in so many pieces is lost and comes a second later.
    loss: u64,
}

impl Streams {
    pub(super) fn new(config: &Config, seed: u64) -> Self {
        let mut rng = generator(seed, b"network");
        let delay = pick(&mut rng, &[200, 20_000, 100_000]);
        let loss = pick(&mut rng, &[0, 100, 10]);
        Self {
            rng,
            links: BTreeMap::new(),
            wires: BTreeMap::new(),
            starved: BTreeSet::new(),
            due: BTreeMap::new(),
            last_due: 0,
            last_conn: 0,
            servers: config.servers,
            starts: vec![0; config.clients],
            parted: vec![Time::ZERO; config.clients],
            ports: vec![10_000; config.clients],
            delay,
            loss,
        }
    }

    fn after(&mut self, at: Time, due: Due) {
        self.last_due += 1;
        self.due.insert((at, self.last_due), due);
    }

    fn delay(&mut self) -> core::time::Duration {
        let micros = 50 + self.rng.below(self.delay);
        let lost = self.loss > 0 && self.rng.below(self.loss) == 0;
        core::time::Duration::from_micros(micros) + if lost { ms(1000) } else { ms(0) }
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

    fn send(&mut self, now: Time, conn: ConnId, from: Side, stream: StreamId, input: StreamInput) {
        let to = from.other();
        let name = match self.links.get(&conn) {
            Some(link) if link.is_up(from) && !link.dead => link.name(to, stream),
            _ => return,
        };
        let Some(name) = name else { return };
        let id = (conn, to, name);
        let mut pieces = vec![input];
        if let Some(StreamInput::Data(data)) = pieces.first_mut() {
            if data.is_empty() {
                return;
            }
            // Any split gives the same: now and then it is a strange one.
            if self.rng.below(4) == 0 {
                let at = below(&mut self.rng, data.len());
                let rest = data.split_off(at);
                pieces.push(StreamInput::Data(rest));
            }
        }
        for piece in pieces {
            if matches!(&piece, StreamInput::Data(data) if data.is_empty()) {
                continue;
            }
            let at = now + self.delay();
            let wire = self.wires.entry(id).or_default();
            wire.last = wire.last.max(at);
            wire.flying.push_back(piece);
            let at = wire.last;
            self.after(at, Due::Arrive(id));
        }
    }

    fn reset(&mut self, now: Time, conn: ConnId, from: Side, stream: StreamId, code: u64) {
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        let Some(name) = link.name(from.other(), stream) else {
            return;
        };
        // What the peer sends is not read any more.
        self.wires.remove(&(conn, from, stream));
        let writes = !matches!(stream, StreamId::Peer(Dir::Uni, _));
        let reads = from == Side::Client || matches!(stream, StreamId::Peer(..));
        if writes {
            // A reset overtakes data, or it does not.
            if self.rng.below(2) == 0 {
                self.wires.remove(&(conn, from.other(), name));
            }
            self.send(now, conn, from, stream, StreamInput::Reset(code));
        }
        if reads {
            self.send(now, conn, from, stream, StreamInput::Stopped(code));
        }
    }

    /// Once what `side` has sent is there, the other side hears that the connection is gone.
    fn tell_lost(&mut self, now: Time, conn: ConnId, side: Side, after: core::time::Duration) {
        let mut at = now + after;
        for ((of, to, _), wire) in &self.wires {
            if *of == conn && *to == side.other() {
                at = at.max(wire.last);
            }
        }
        self.after(at, Due::Lost(conn, side.other()));
    }

    /// `side` knows no more of the connection.
    fn down(&mut self, conn: ConnId, side: Side) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.up[side as usize] = false;
            if link.up == [false, false] {
                self.links.remove(&conn);
            }
        }
        self.wires
            .retain(|(of, to, _), _| *of != conn || *to != side);
    }

    fn reach(
        &mut self,
        now: Time,
        client: usize,
        start: u32,
        ticket: Ticket,
        hosts: &mut Hosts<Self>,
    ) {
        if self.starts.get(client) != Some(&start) {
            return;
        }
        let server = below(&mut self.rng, self.servers);
        let parted = self.parted.get(client).is_some_and(|until| *until > now);
        let peer = self.peer(client);
        let Some(host) = hosts.server(server).filter(|_| !parted) else {
            // Nobody is there, or nothing comes back.
            let after = if parted { ms(10_000) } else { self.delay() };
            return self.after(
                now + after,
                Due::Fail {
                    client,
                    start,
                    ticket,
                },
            );
        };
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        Core::handle_connected(&mut host.tap, now, conn, peer, None);
        let link = Link {
            client,
            server,
            up: [true, true],
            dead: false,
            bi: Vec::new(),
            uni: Vec::new(),
        };
        self.links.insert(conn, link);
        let at = now + self.delay();
        self.after(
            at,
            Due::Stand {
                conn,
                start,
                ticket,
            },
        );
    }

    fn arrive(&mut self, now: Time, id: WireId, hosts: &mut Hosts<Self>) {
        let Some(link) = self.links.get(&id.0) else {
            return;
        };
        let heals = self.parted.get(link.client).copied().unwrap_or(Time::ZERO);
        if heals > now {
            let at = heals + self.delay();
            return self.after(at, Due::Arrive(id));
        }
        if let Some(wire) = self.wires.get_mut(&id)
            && let Some(piece) = wire.flying.pop_front()
        {
            wire.ready.push_back(piece);
            self.hand_over(now, id, hosts);
        }
    }

    /// Hands over what has arrived, as far as the receiver has room.
    fn hand_over(&mut self, now: Time, id: WireId, hosts: &mut Hosts<Self>) {
        let (conn, to, stream) = id;
        self.starved.remove(&id);
        let Some(link) = self.links.get(&conn).filter(|link| link.is_up(to)) else {
            return;
        };
        let (receiver, sender) = (link.who(to), link.who(to.other()));
        let sent_as = link
            .name(to.other(), stream)
            .filter(|_| link.is_up(to.other()));
        loop {
            let Some(wire) = self.wires.get_mut(&id) else {
                return;
            };
            let Some(mut piece) = wire.ready.pop_front() else {
                return;
            };
            if let StreamInput::Data(data) = &mut piece {
                let room = hosts.credit(receiver, conn, stream).min(data.len());
                if room < data.len() {
                    wire.ready
                        .push_front(StreamInput::Data(data.split_off(room)));
                }
                if room == 0 {
                    self.starved.insert(id);
                    return;
                }
            }
            let taken = match &piece {
                StreamInput::Data(data) => data.len(),
                _ => 0,
            };
            let Some(port) = hosts.port(receiver) else {
                return;
            };
            port.handle_stream(now, conn, stream, piece);
            if let (Some(name), true) = (sent_as, taken > 0)
                && let Some(port) = hosts.port(sender)
            {
                port.handle_stream(now, conn, name, StreamInput::Sent(taken));
            }
        }
    }
}

/// The part of a core that a network speaks to.
trait Port {
    fn handle_connected(&mut self, now: Time, conn: ConnId, peer: PeerInfo, ticket: Option<Ticket>);
    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError);
    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput);
    fn handle_disconnected(&mut self, now: Time, conn: ConnId);
}

impl<C: Core> Port for Tap<C> {
    fn handle_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        peer: PeerInfo,
        ticket: Option<Ticket>,
    ) {
        Core::handle_connected(self, now, conn, peer, ticket);
    }

    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError) {
        Core::handle_connect_failed(self, now, ticket, why);
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput) {
        Core::handle_stream(self, now, conn, stream, input);
    }

    fn handle_disconnected(&mut self, now: Time, conn: ConnId) {
        Core::handle_disconnected(self, now, conn);
    }
}

impl Hosts<Streams> {
    /// The room that a core has; to ask for it does not stir it.
    fn credit(&self, who: Who, conn: ConnId, stream: StreamId) -> usize {
        match who {
            Who::Client(client) => {
                let host = self.clients.get(client).and_then(Option::as_ref);
                host.map_or(0, |host| host.tap.credit(conn, stream))
            }
            Who::Server(server) => {
                let host = self.servers.get(server).and_then(Option::as_ref);
                host.map_or(0, |host| host.tap.credit(conn, stream))
            }
        }
    }

    fn port(&mut self, who: Who) -> Option<&mut dyn Port> {
        match who {
            Who::Client(client) => self
                .client(client)
                .map(|host| &mut host.tap as &mut dyn Port),
            Who::Server(server) => self
                .server(server)
                .map(|host| &mut host.tap as &mut dyn Port),
        }
    }
}

impl Network for Streams {
    type Parcel = Parcel;
    type Host<C: Core> = Bare<C>;

    fn host<C: Core>(&mut self, who: Who, tap: Tap<C>, _now: Time, _unix: UnixTime) -> Bare<C> {
        if let Who::Client(client) = who
            && let Some(start) = self.starts.get_mut(client)
        {
            *start += 1;
        }
        Bare { tap, fin: None }
    }

    fn gone(&mut self, now: Time, who: Who) {
        let side = match who {
            Who::Client(_) => Side::Client,
            Who::Server(_) => Side::Server,
        };
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
                let start = self.starts.get(client).copied().unwrap_or_default();
                let at = now + self.delay();
                self.after(
                    at,
                    Due::Reach {
                        client,
                        start,
                        ticket,
                    },
                );
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
            Due::Lost(conn, side) => {
                let link = self.links.get(&conn).filter(|link| link.is_up(side));
                let Some(who) = link.map(|link| link.who(side)) else {
                    return;
                };
                self.down(conn, side);
                if let Some(port) = hosts.port(who) {
                    port.handle_disconnected(now, conn);
                }
            }
            Due::Reach {
                client,
                start,
                ticket,
            } => self.reach(now, client, start, ticket, hosts),
            Due::Stand {
                conn,
                start,
                ticket,
            } => {
                let Some(link) = self.links.get(&conn) else {
                    return;
                };
                let client = link.client;
                if self.starts.get(client) != Some(&start) {
                    return;
                }
                if link.dead || !link.is_up(Side::Server) {
                    self.down(conn, Side::Client);
                    let at = now + ms(5000);
                    return self.after(
                        at,
                        Due::Fail {
                            client,
                            start,
                            ticket,
                        },
                    );
                }
                let peer = PeerInfo {
                    address: SocketAddr::from(([10, 1, 0, 1], 5001)),
                    alpn: Alpn::Qpq,
                    certificate: None,
                };
                if let Some(port) = hosts.port(Who::Client(client)) {
                    port.handle_connected(now, conn, peer, Some(ticket));
                }
            }
            Due::Fail {
                client,
                start,
                ticket,
            } => {
                if self.starts.get(client) == Some(&start)
                    && let Some(port) = hosts.port(Who::Client(client))
                {
                    port.handle_connect_failed(now, ticket, ConnectError::Unreachable);
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
        self.delay = 5_000;
        self.loss = 0;
        self.parted.fill(Time::ZERO);
    }
}
