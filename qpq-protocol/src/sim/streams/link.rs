//! Connections: who is at their ends, what the streams are called there, and how they begin and end.

use core::net::SocketAddr;

use super::{Dial, Due, Streams};
use crate::ids::{ConnId, Dir, OwnStream, StreamId};
use crate::io::{Alpn, Core, PeerInfo};
use crate::sim::host::{Hosts, Who};
use crate::sim::{below, ms};
use crate::time::Time;

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A connection.
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) server: usize,
    /// Who still believes in it: client, server.
    pub(super) up: [bool; 2],
    /// The client has been told of it: what happens before becomes the failure of its connect.
    pub(super) stands: bool,
    /// Nothing passes any more, whatever the two believe.
    pub(super) dead: bool,
    /// Streams that the client and the server opened; the other calls them by their place.
    pub(super) bi: Vec<OwnStream>,
    pub(super) uni: Vec<OwnStream>,
}

impl Link {
    pub(super) fn who(&self, side: Side) -> Who {
        match side {
            Side::Client => Who::Client(self.client),
            Side::Server => Who::Server(self.server),
        }
    }

    pub(super) fn is_up(&self, side: Side) -> bool {
        self.up[side as usize]
    }

    /// What `side` calls the stream that its peer calls `stream`.
    pub(super) fn name(&self, side: Side, stream: StreamId) -> Option<StreamId> {
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

impl Streams {
    /// Once what `side` has sent is there, the other side hears that the connection is gone.
    pub(super) fn tell_lost(
        &mut self,
        now: Time,
        conn: ConnId,
        side: Side,
        after: core::time::Duration,
    ) {
        let mut at = now + after;
        for ((of, to, _), wire) in &self.wires {
            if *of == conn && *to == side.other() {
                at = at.max(wire.last);
            }
        }
        self.after(at, Due::Lost(conn, side.other()));
    }

    /// `side` finds out that the connection is gone.
    pub(super) fn lost(&mut self, now: Time, conn: ConnId, side: Side, hosts: &mut Hosts<Self>) {
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.is_up(side)) else {
            return;
        };
        if side == Side::Client && !link.stands {
            link.dead = true;
            return;
        }
        let who = link.who(side);
        self.down(conn, side);
        if let Some(port) = hosts.port(who) {
            port.handle_disconnected(now, conn);
        }
    }

    /// The process that dialled still runs.
    pub(super) fn still_wants(&self, dial: Dial) -> bool {
        self.ended.get(dial.client) == Some(&dial.process)
    }

    /// A client's first datagram is at a server, if nothing keeps it.
    pub(super) fn reach(&mut self, now: Time, dial: Dial, hosts: &mut Hosts<Self>) {
        if !self.still_wants(dial) {
            return;
        }
        let client = dial.client;
        let server = below(&mut self.rng, self.servers);
        let parted = self.heals(client) > now;
        let peer = self.peer(client);
        let Some(host) = hosts.server(server).filter(|_| !parted) else {
            // Nobody is there, or nothing comes back.
            let after = if parted { ms(10_000) } else { self.delay() };
            return self.after(now + after, Due::Fail(dial));
        };
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        Core::handle_connected(&mut host.tap, now, conn, peer, None);
        let link = Link {
            client,
            server,
            up: [true, true],
            stands: false,
            dead: false,
            bi: Vec::new(),
            uni: Vec::new(),
        };
        self.links.insert(conn, link);
        let at = now + self.delay();
        self.after(at, Due::Stand(conn, dial));
    }

    /// The server's answer is back at the client: the connection stands, or has failed meanwhile.
    pub(super) fn stand(&mut self, now: Time, conn: ConnId, dial: Dial, hosts: &mut Hosts<Self>) {
        let heals = self.heals(dial.client);
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if !link.is_up(Side::Client) {
            return;
        }
        if link.dead || !link.is_up(Side::Server) {
            self.down(conn, Side::Client);
            return self.after(now + ms(5000), Due::Fail(dial));
        }
        if heals > now {
            let at = heals + self.delay();
            return self.after(at, Due::Stand(conn, dial));
        }
        link.stands = true;
        let peer = PeerInfo {
            address: SocketAddr::from(([10, 1, 0, 1], 5001)),
            alpn: Alpn::Qpq,
            certificate: None,
        };
        if let Some(port) = hosts.port(Who::Client(dial.client)) {
            port.handle_connected(now, conn, peer, Some(dial.ticket));
        }
    }

    /// `side` knows no more of the connection.
    pub(super) fn down(&mut self, conn: ConnId, side: Side) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.up[side as usize] = false;
            if link.up == [false, false] {
                self.links.remove(&conn);
            }
        }
        self.wires
            .retain(|(of, to, _), _| *of != conn || *to != side);
    }
}
