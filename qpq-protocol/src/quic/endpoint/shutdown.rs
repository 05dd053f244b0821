//! How an endpoint ends: the core finishes first, then its connections close, within a bound.

use std::time::Instant;

use super::{Endpoint, connection};
use crate::io::{ConnectError, Core};
use crate::quic::connection::Connection;

/// Why connections end at a shutdown (protocol.md §2).
const SHUTDOWN: u64 = 4;

/// How far a shutdown is. Each is cut short at its `end`.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// None was asked for.
    Running,
    /// The core finishes what runs.
    Finishing { end: Instant },
    /// The core has finished; the connections that it left are closing.
    Closing { end: Instant },
    /// All was closed at once. Anyone who is still connected shall not wait for us.
    CutShort,
}

impl<C: Core> Endpoint<C> {
    /// Refuses new connections, drops unfinished handshakes and lets the core finish; see
    /// [`Endpoint::is_shut_down`]. What is not done after [`Limits::shutdown`](crate::quic::Limits)
    /// is cut short.
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.advance(now);
        if self.is_shutting_down() {
            return;
        }
        // The core shall know of all connections that it has to close.
        self.settle();
        let end = self.now.instant + self.limits.shutdown;
        self.phase = Phase::Finishing { end };
        self.close_where(Connection::is_handshaking, true);
        self.core.handle_shutdown(self.now.time);
        self.stirred = true;
    }

    /// Whether a shutdown was asked for.
    #[must_use]
    pub const fn is_shutting_down(&self) -> bool {
        !matches!(self.phase, Phase::Running)
    }

    /// Whether a shutdown that was asked for is complete: the core has finished, all connections
    /// are closed, and the peers have been told. Quinn would go on to repeat that for a while; who
    /// does not hear it finds out by itself. Ask after [`Endpoint::poll_transmit`].
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Finishing { .. } => false,
            Phase::Closing { .. } => {
                self.sending.is_empty()
                    && self.outbox.is_empty()
                    && self.slots.iter().flatten().all(|conn| conn.is_over())
            }
            Phase::CutShort => true,
        }
    }

    /// When a shutdown is cut short.
    pub(super) const fn end(&self) -> Option<Instant> {
        match self.phase {
            Phase::Finishing { end } | Phase::Closing { end } => Some(end),
            Phase::Running | Phase::CutShort => None,
        }
    }

    /// Closes all connections at once, whatever the core has in mind.
    pub(super) fn cut_short(&mut self) {
        self.settle();
        self.phase = Phase::CutShort;
        self.close_where(|_| true, false);
    }

    /// Ends whatever connections the core left, once it has finished.
    pub(super) fn close_what_is_left(&mut self) {
        if let Phase::Finishing { end } = self.phase
            && self.core.is_shut_down()
        {
            self.phase = Phase::Closing { end };
            self.close_where(|_| true, true);
        }
    }

    /// Closes connections; `gently`: once what was sent on them has arrived.
    pub(super) fn close_where(&mut self, which: impl Fn(&Connection) -> bool, gently: bool) {
        for slot in 0..self.slots.len() {
            let Some(conn) = connection(&mut self.slots, slot).filter(|conn| which(conn)) else {
                continue;
            };
            let change = match gently {
                true => conn.linger(&mut self.core, self.now, SHUTDOWN, &self.limits),
                false => conn.shut(&mut self.core, self.now, SHUTDOWN, ConnectError::Refused),
            };
            self.changes.extend(change);
            self.touch(slot);
        }
    }
}
