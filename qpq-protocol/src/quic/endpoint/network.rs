//! What the device's network does: a changed path, an endpoint that is to be quiet.

use core::time::Duration;
use std::time::Instant;

use super::{Effect, Endpoint, connection};
use crate::io::{ConnectError, Core};
use crate::quic::connection::Connection;

/// However often the network changes, connections are moved no more often than this.
const APART: Duration = Duration::from_secs(1);

/// What an endpoint knows of its network.
#[derive(Default)]
pub(super) struct Network {
    /// Nothing is sent, and nothing that comes is looked at.
    pub(super) is_suspended: bool,
    /// When connections were last moved to another path.
    moved: Option<Instant>,
    /// When they are next, for a change that came too soon after the last one.
    due: Option<Instant>,
}

impl<C: Core> Endpoint<C> {
    /// The network is another one, or there is one again. The core connects now if it was waiting to,
    /// attempts start anew, and connections go on over the new path. More changes within a second are
    /// taken as one, at its end. A socket that others connect to stays as it is; connections
    /// [`apart`](crate::io::Target::apart) end.
    pub fn handle_network_changed(&mut self, now: Instant) {
        self.advance(now);
        if self.network.is_suspended {
            // Everything begins anew when that is over.
            return;
        }
        let next = self.network.moved.map(|moved| moved + APART);
        match next.filter(|next| self.now.instant < *next) {
            None => self.change_path(),
            next => self.network.due = next,
        }
    }

    /// When a change of the network is attended to.
    pub(super) const fn next_move(&self) -> Option<Instant> {
        self.network.due
    }

    /// Attends to a change of the network, if that is due.
    pub(super) fn change_path_if_due(&mut self) {
        if self.network.due.is_some_and(|at| at <= self.now.instant) {
            self.change_path();
        }
    }

    fn change_path(&mut self) {
        self.network.moved = Some(self.now.instant);
        self.network.due = None;
        if !self.is_server {
            self.effects.push_back(Effect::Rebind);
        }
        // Their sockets are of the network before; others would come for them, which nobody asked for.
        self.close_apart(|_| true, ConnectError::Unreachable);
        for slot in 0..self.slots.len() {
            if let Some(conn) = connection(&mut self.slots, slot)
                && conn.is_attempt()
            {
                let change = conn.start_anew(&mut self.core, self.now);
                self.changes.extend(change);
                self.touch(slot);
            }
        }
        self.settle();
        self.core.handle_network_changed(self.now.time);
        self.stirred = true;
    }

    /// The answer to [`Effect::Rebind`]: what is transmitted from now on leaves by the new socket, or by
    /// the old one if there was no other to be had. Connections that the core asked for tell their peers.
    pub fn handle_rebound(&mut self, now: Instant) {
        self.advance(now);
        for slot in 0..self.slots.len() {
            if let Some(conn) = connection(&mut self.slots, slot).filter(|conn| conn.can_move()) {
                conn.quic.local_address_changed();
                self.touch(slot);
            }
        }
        self.stirred = true;
    }

    /// Someone does not want to wait for the core's next attempt to connect.
    pub fn handle_reconnect(&mut self, now: Instant) {
        self.advance(now);
        self.core.handle_reconnect(self.now.time);
        self.stirred = true;
    }

    /// Closes all connections at once, each with one last datagram; after that nothing is sent, and what
    /// comes is dropped, until [`Endpoint::handle_resume`]. What was not acknowledged the core does again
    /// then.
    pub fn handle_suspend(&mut self, now: Instant) {
        self.advance(now);
        if self.network.is_suspended {
            return;
        }
        self.settle();
        self.network.is_suspended = true;
        self.network.due = None;
        self.responses.clear();
        self.core.handle_suspend(self.now.time);
        self.close_where(|_| true, false);
        self.stirred = true;
    }

    /// Whether [`Endpoint::handle_suspend`] was said and the last datagram has left. Ask after
    /// [`Endpoint::poll_transmit`].
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.network.is_suspended && self.sending.is_empty() && self.outbox.is_empty()
    }

    /// Ends a [`Endpoint::handle_suspend`]: the core connects again if it needs to, over a new socket.
    pub fn handle_resume(&mut self, now: Instant) {
        self.advance(now);
        if core::mem::take(&mut self.network.is_suspended) {
            if !self.is_server {
                self.effects.push_back(Effect::Rebind);
            }
            self.core.handle_resume(self.now.time);
            self.stirred = true;
        }
    }
}

impl Connection {
    /// Whether it may go on over another path.
    fn can_move(&self) -> bool {
        self.quic.side().is_client()
            && self.socket.is_none()
            && !self.is_handshaking()
            && !self.is_over()
    }
}
