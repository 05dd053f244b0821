//! What the device's network does, and a client that is to be quiet.

use core::time::Duration;

use super::timers::Timer;
use crate::client::Client;
use crate::client::error::DisconnectReason;
use crate::time::Time;

/// However often the network changes, a connection that stands is looked at no more often than this.
const LOOK_APART: Duration = Duration::from_secs(1);

/// When the network was last attended to.
#[derive(Default)]
pub(in crate::client) struct Presence {
    /// Nothing is to be sent.
    pub(in crate::client) is_suspended: bool,
    /// When the last attempt to connect began.
    pub(in crate::client) attempted: Option<Time>,
    /// When the connection was last to be looked at for a change of the network.
    looked: Option<Time>,
}

impl Client {
    /// The network is another one. What waits to connect does so now; a connection that stands is asked for
    /// news, which also finds out whether it survived.
    pub(in crate::client) fn network_changed(&mut self) {
        if self.soonest().is_none() {
            self.link.attempts = 0;
        }
        self.hurry();
        if self.link.is_ready() {
            let now = self.clock.now();
            let looked = self.link.presence.looked;
            let at = looked.map_or(now, |last| now.max(last + LOOK_APART));
            if self.timers.hasten(Timer::Look, at) {
                self.link.presence.looked = Some(at);
            }
        }
    }

    /// Ends the pause before the next attempt to connect, but for what keeps attempts apart.
    pub(in crate::client) fn hurry(&mut self) {
        match self.soonest() {
            Some(at) => _ = self.timers.hasten(Timer::Reconnect, at),
            None => self.timers.cancel(Timer::Reconnect),
        }
    }

    /// Closes the connection, or gives up the one that is being made, and makes no other.
    pub(in crate::client) fn suspend(&mut self) {
        if core::mem::replace(&mut self.link.presence.is_suspended, true) {
            return;
        }
        if !self.link.is_down() {
            self.disconnect(DisconnectReason::Suspended);
        }
        self.timers.cancel(Timer::Reconnect);
    }

    /// Connects again if anything needs that.
    pub(in crate::client) fn resume(&mut self) {
        if core::mem::take(&mut self.link.presence.is_suspended) {
            self.link.attempts = 0;
            // Who is suspended and resumed all the time connects no more often than anybody.
            if let Some(at) = self.soonest() {
                self.timers.set(Timer::Reconnect, at);
            }
        }
    }

    /// Before when no attempt to connect is made, if that is to come.
    fn soonest(&self) -> Option<Time> {
        let at = self.link.presence.attempted? + self.config.backoff_base;
        (at > self.clock.now()).then_some(at)
    }
}
