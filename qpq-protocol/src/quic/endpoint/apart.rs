//! Connections with a socket of their own ([`Target::apart`](crate::io::Target::apart)).
//!
//! Who sees the network is not to tell that two connections are one device's. So they share no port and no token
//! (none are kept, and no TLS session is resumed), what comes to one's socket is for that one alone, and to what belongs
//! to no connection nothing is answered there: or anyone who knows the ids of one connection could ask each socket for it.

use std::time::Instant;

use super::{Effect, Endpoint, connection};
use crate::io::{ConnectError, Core};

/// Names a socket beside the endpoint's own. Never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u64);

impl<C: Core> Endpoint<C> {
    /// A socket for one connection.
    pub(super) fn open_socket(&mut self) -> SocketId {
        self.last_socket = self.last_socket.saturating_add(1);
        let socket = SocketId(self.last_socket);
        self.effects.push_back(Effect::OpenSocket(socket));
        socket
    }

    /// The connection is no more.
    pub(super) fn close_socket(&mut self, socket: Option<SocketId>) {
        self.effects.extend(socket.map(Effect::CloseSocket));
    }

    /// There is no socket to be had for [`Effect::OpenSocket`], or the one that there was is of no use any more: its
    /// connection ends.
    pub fn handle_no_socket(&mut self, now: Instant, socket: SocketId) {
        self.advance(now);
        self.close_apart(|its| its == socket, ConnectError::Refused);
    }

    /// Ends connections whose sockets are like that.
    pub(super) fn close_apart(&mut self, is: impl Fn(SocketId) -> bool, why: ConnectError) {
        for slot in 0..self.slots.len() {
            if let Some(conn) = connection(&mut self.slots, slot)
                && conn.socket.is_some_and(&is)
            {
                let change = conn.shut(&mut self.core, self.now, 0, why.clone());
                self.changes.extend(change);
                self.touch(slot);
            }
        }
        self.stirred = true;
    }
}
