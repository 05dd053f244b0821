//! What follows from inputs: quinn's events go to the core, the core's outputs to quinn.

use core::time::Duration;
use std::time::Instant;

use super::admission::slot_of;
use super::{Effect, Endpoint, connection};
use crate::io::{ConnectError, Core, Output};
use crate::quic::connection::ConnOutput;
use crate::quic::task::Task;

/// Starved connections read again after an input, in turn.
const FEED: usize = 32;
/// When the next ones are, if there are more and no input comes. Where all had their turn, there is
/// nothing to wait for: credit changes by inputs only.
const FEED_AFTER: Duration = Duration::from_millis(50);

impl<C: Core> Endpoint<C> {
    /// Does all the work that inputs left: quinn's events to the core, the core's outputs to quinn,
    /// until neither has any. Each round is bounded by what was read, and so is their number.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some(slot) = self.dirty.pop_front() {
                self.pump(slot);
            }
            let mut worked = core::mem::take(&mut self.stirred);
            while let Some(change) = self.changes.pop_front() {
                self.apply(change);
                worked = true;
            }
            while let Some(output) = self.core.poll_output() {
                self.dispatch(output);
                worked = true;
            }
            if worked {
                self.stirred |= self.feed();
            }
            self.close_what_is_left();
            if self.dirty.is_empty() && self.changes.is_empty() && !self.stirred {
                return;
            }
        }
    }

    pub(super) fn pump(&mut self, slot: usize) {
        let paused = self.is_paused();
        let Some(conn) = connection(&mut self.slots, slot).filter(|conn| conn.dirty) else {
            return;
        };
        conn.dirty = false;
        conn.pump(
            &mut self.core,
            self.now,
            paused,
            &self.limits,
            &mut self.changes,
        );
        self.stirred = true;
        self.route(slot);
    }

    /// Takes a connection's events to quinn's endpoint and back, re-arms its timer, and forgets it
    /// once it is drained: quinn then gives its handle to the next one.
    pub(super) fn route(&mut self, slot: usize) {
        let Some(conn) = connection(&mut self.slots, slot) else {
            return;
        };
        let mut drained = false;
        let mut touched = false;
        while let Some(event) = conn.quic.poll_endpoint_events() {
            drained = event.is_drained();
            if let Some(event) = self.quic.handle_event(conn.handle, event) {
                conn.quic.handle_event(event);
                touched = true;
            }
            if drained {
                break;
            }
        }
        if drained {
            let why = ConnectError::Unreachable;
            let change = conn.over(&mut self.core, self.now.time, why);
            self.stirred = true;
            self.changes.extend(change);
            self.timers.arm(slot, &mut conn.armed, None);
            self.remove(slot);
            return;
        }
        let deadline = conn.deadline();
        self.timers.arm(slot, &mut conn.armed, deadline);
        if conn.has_unread() && !conn.starved {
            conn.starved = true;
            self.starved.push_back(slot);
        }
        if touched {
            self.touch(slot);
        }
    }

    /// Something happened to the connection: it will be pumped and polled for transmits.
    pub(super) fn touch(&mut self, slot: usize) {
        if let Some(conn) = connection(&mut self.slots, slot) {
            if !conn.dirty {
                conn.dirty = true;
                self.dirty.push_back(slot);
            }
            if !conn.sending {
                conn.sending = true;
                self.sending.push_back(slot);
            }
        }
    }

    /// Whether the embedder has fallen behind: then nothing is read, and flow control holds the
    /// peers back.
    pub(super) fn is_paused(&self) -> bool {
        self.stores >= self.limits.stores
            || (!self.limits.lossy_events && self.events.len() >= self.limits.events)
    }

    /// Something changed: perhaps there is room for streams that were left unread. Whether there
    /// was.
    pub(super) fn feed(&mut self) -> bool {
        if self.starved.is_empty() {
            return false;
        }
        let paused = self.is_paused();
        let mut read = false;
        self.fed = self.now.instant;
        for _ in 0..self.starved.len().min(FEED) {
            let Some(slot) = self.starved.pop_front() else {
                break;
            };
            let Some(conn) = connection(&mut self.slots, slot).filter(|conn| conn.starved) else {
                continue;
            };
            conn.starved = false;
            read |= conn.read_again(&mut self.core, self.now, paused);
            // What was read gives the peer credit, which is to be sent.
            if !conn.sending {
                conn.sending = true;
                self.sending.push_back(slot);
            }
            self.route(slot);
        }
        read
    }

    /// When to look again, if not all starved connections had their turn.
    pub(super) fn next_feed(&self) -> Option<Instant> {
        (self.starved.len() > FEED).then(|| self.fed + FEED_AFTER)
    }

    pub(super) fn dispatch(&mut self, output: Output<C::Event>) {
        let output = match ConnOutput::split(output) {
            Ok((id, output)) => {
                let slot = slot_of(id);
                if let Some(conn) = connection(&mut self.slots, slot).filter(|conn| conn.id == id) {
                    // Writing moves no timer before it is transmitted; closing does.
                    let closes = conn.handle_output(
                        &mut self.core,
                        self.now,
                        output,
                        &self.limits,
                        &mut self.changes,
                    );
                    if !conn.sending {
                        conn.sending = true;
                        self.sending.push_back(slot);
                    }
                    if closes {
                        self.route(slot);
                    }
                }
                return;
            }
            Err(output) => output,
        };
        match output {
            Output::Connect { ticket, target } => self.connect(ticket, target),
            Output::Store {
                ticket,
                lane,
                command,
            } => {
                self.stores = self.stores.saturating_add(1);
                self.effects.push_back(Effect::Store {
                    ticket,
                    lane,
                    command,
                });
            }
            Output::Compute { ticket, job } => {
                self.effects
                    .push_back(Effect::Task(Task::compute(ticket, job)));
            }
            Output::Wake(wake) => self.effects.push_back(Effect::Wake(wake)),
            Output::Event(event) => {
                if !self.limits.lossy_events || self.events.len() < self.limits.events {
                    self.events.push_back(event);
                }
            }
            // Named a connection: taken above.
            Output::Open { .. }
            | Output::Send { .. }
            | Output::Reset { .. }
            | Output::Admit { .. }
            | Output::Close { .. } => {}
        }
    }
}
