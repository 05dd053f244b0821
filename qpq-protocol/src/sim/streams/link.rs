//! Connections: who is at their ends, what the streams are called there, and how they begin and end.

use super::{Due, Streams};
use crate::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use crate::io::Core;
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

    pub(super) fn reach(
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
}
