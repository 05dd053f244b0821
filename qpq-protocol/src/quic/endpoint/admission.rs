//! How connections come to be and go: attempts of the core, strangers, shutdown.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use quinn_proto::{ConnectionHandle, Incoming};

use super::datagrams::canonical;
use super::{Effect, Endpoint, SocketId, connection};
use crate::ids::{ConnId, Ticket};
use crate::io::{ConnectError, Core, Target};
use crate::quic::connection::{Attempt, Change, Connection};
use crate::quic::task::Task;
use crate::site::site;

/// Bits of a [`ConnId`] that hold the slot, so that it is found without a search.
const SLOT_BITS: u32 = 24;
/// Answers to strangers that wait to be sent; more are dropped, they are free to ask again.
const MAX_RESPONSES: usize = 64;

impl<C: Core> Endpoint<C> {
    /// The core wants a connection.
    pub(super) fn connect(&mut self, ticket: Ticket, target: Target) {
        let Some((host, _)) = host_and_port(&target.address) else {
            let now = self.now.time;
            self.core
                .handle_connect_failed(now, ticket, ConnectError::BadAddress);
            return;
        };
        match target.address.parse::<SocketAddr>() {
            Ok(address) => self.attempt(Attempt {
                ticket,
                target,
                others: VecDeque::from([address]),
            }),
            Err(_) if host.parse::<IpAddr>().is_ok() => {
                let now = self.now.time;
                self.core
                    .handle_connect_failed(now, ticket, ConnectError::BadAddress);
            }
            Err(_) => {
                let address = target.address.clone();
                self.resolving.insert(ticket, target);
                self.effects
                    .push_back(Effect::Task(Task::resolve(ticket, address)));
            }
        }
    }

    /// The addresses of a name; none if it has none. IPv4 goes first: an IPv6 address that leads
    /// nowhere costs a timeout.
    pub(super) fn resolved(&mut self, ticket: Ticket, mut addresses: Vec<SocketAddr>) {
        addresses.sort_by_key(SocketAddr::is_ipv6);
        if let Some(target) = self.resolving.remove(&ticket) {
            self.attempt(Attempt {
                ticket,
                target,
                others: addresses.into(),
            });
        }
    }

    /// Tries the next address of an attempt.
    pub(super) fn attempt(&mut self, mut attempt: Attempt) {
        let now = self.now;
        let client = self.clients.get(attempt.target.alpn.token());
        let full = self.open >= self.limits.connections;
        let failed = match (attempt.others.pop_front().map(canonical), client) {
            (None, _) => ConnectError::BadAddress,
            (_, None) => ConnectError::Refused,
            _ if self.is_shutting_down() || self.network.is_suspended || full => {
                ConnectError::Refused
            }
            (Some(address), Some(client)) => {
                let host = host_and_port(&attempt.target.address).map_or("", |(host, _)| host);
                match self
                    .quic
                    .connect(now.instant, client.clone(), address, host)
                {
                    Ok((handle, quic)) => {
                        let socket = attempt.target.apart.then(|| self.open_socket());
                        self.insert(handle, quic, Some(attempt), socket);
                        return;
                    }
                    Err(quinn_proto::ConnectError::CidsExhausted) => ConnectError::Refused,
                    Err(_) => ConnectError::BadAddress,
                }
            }
        };
        self.core
            .handle_connect_failed(now.time, attempt.ticket, failed);
    }

    /// Somebody connects.
    pub(super) fn accept(&mut self, incoming: Incoming) {
        let full = self.open >= self.limits.connections
            || self.half_open >= self.limits.handshakes
            || self.is_shutting_down();
        let is_proven = incoming.remote_address_validated();
        // Anyone who has not proven an address may have made it up, so that others are refused.
        let theirs = self.half_open_of.get(&site(incoming.remote_address().ip()));
        let crowded = theirs.is_some_and(|count| *count >= self.limits.address_handshakes);
        let full = full || (crowded && is_proven);
        let unproven = (self.half_open >= self.limits.unproven_handshakes || crowded) && !is_proven;
        self.scratch.clear();
        let now = self.now.instant;
        let response = if full {
            Some(self.quic.refuse(incoming, &mut self.scratch))
        } else if unproven && incoming.may_retry() {
            self.quic.retry(incoming, &mut self.scratch).ok()
        } else {
            match self.quic.accept(incoming, now, &mut self.scratch, None) {
                Ok((handle, quic)) => {
                    self.insert(handle, quic, None, None);
                    None
                }
                Err(error) => error.response,
            }
        };
        if let Some(transmit) = response {
            self.respond(transmit);
        }
    }

    pub(super) fn respond(&mut self, transmit: quinn_proto::Transmit) {
        if self.responses.len() < MAX_RESPONSES {
            let bytes = core::mem::take(&mut self.scratch);
            self.responses.push_back((transmit, bytes));
        }
    }

    pub(super) fn insert(
        &mut self,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        attempt: Option<Attempt>,
        socket: Option<SocketId>,
    ) {
        let slot = handle.0;
        self.serial = self.serial.wrapping_add(1);
        let low = u64::try_from(slot).unwrap_or(u64::MAX) & ((1 << SLOT_BITS) - 1);
        let id = ConnId(self.serial << SLOT_BITS | low);
        let until = self.now.instant + self.limits.handshake;
        let conn = Connection::new(id, handle, quic, until, attempt, socket);
        self.open = self.open.saturating_add(1);
        if conn.is_attempt() {
            self.attempts = self.attempts.saturating_add(1);
        } else {
            self.half_open = self.half_open.saturating_add(1);
            let theirs = self.half_open_of.entry(conn.site).or_insert(0);
            *theirs = theirs.saturating_add(1);
        }
        if self.slots.len() <= slot {
            self.slots.resize_with(slot.saturating_add(1), || None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Box::new(conn));
        }
        self.touch(slot);
    }

    pub(super) fn remove(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(slot)
            && let Some(conn) = place.take()
        {
            self.open = self.open.saturating_sub(1);
            self.close_socket(conn.socket);
        }
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Settled(site) => {
                self.half_open = self.half_open.saturating_sub(1);
                if let Some(theirs) = self.half_open_of.get_mut(&site) {
                    *theirs = theirs.saturating_sub(1);
                    if *theirs == 0 {
                        self.half_open_of.remove(&site);
                    }
                }
            }
            Change::Reached(certificate) => {
                self.attempts = self.attempts.saturating_sub(1);
                if let (Some(sha256), Some(verifier)) = (certificate, &self.verifier) {
                    verifier.pin(sha256);
                }
            }
            Change::Failed(attempt, why) => {
                self.attempts = self.attempts.saturating_sub(1);
                if why == ConnectError::Unreachable && !attempt.others.is_empty() {
                    self.attempt(attempt);
                } else {
                    let now = self.now.time;
                    self.core.handle_connect_failed(now, attempt.ticket, why);
                }
            }
        }
    }

    /// Ends attempts to connect to this host; not those that have sent nothing yet: what was said is
    /// about earlier ones.
    pub(super) fn give_up(&mut self, host: IpAddr) {
        for slot in 0..self.slots.len() {
            if let Some(conn) = connection(&mut self.slots, slot)
                && conn.is_attempt()
                && conn.quic.remote_address().ip() == host
                && conn.quic.stats().udp_tx.datagrams > 0
            {
                let why = ConnectError::Unreachable;
                let change = conn.shut(&mut self.core, self.now, 0, why);
                self.changes.extend(change);
                self.touch(slot);
            }
        }
    }
}

/// The slot that a [`ConnId`] names; whether it still holds that connection is to be checked.
pub(super) fn slot_of(id: ConnId) -> usize {
    usize::try_from(id.0 & ((1 << SLOT_BITS) - 1)).unwrap_or(usize::MAX)
}

/// Both halves of `host:port`; the host of `[::1]:5001` is `::1`.
fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|&port| port != 0)?;
    (!host.is_empty()).then_some((host, port))
}
