//! How the core stops (protocol.md §5.28): no new connections, Health says "draining", what runs is
//! finished, then everything is closed with SHUTDOWN.

use super::Server;
use super::timers::Timer;
use crate::ids::ConnId;
use crate::status::AppCode;

/// How far a shutdown is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Shutdown {
    /// Nobody asked.
    #[default]
    No,
    /// What runs is being finished.
    Draining,
    /// All connections were told to close.
    Closed,
}

impl Shutdown {
    /// Whether the core is to stop.
    pub(super) fn is_asked(self) -> bool {
        self != Self::No
    }

    /// Whether nothing runs any more.
    pub(super) fn is_complete(self) -> bool {
        self == Self::Closed
    }
}

impl Server {
    /// The embedder wants to stop.
    pub(super) fn ask_shutdown(&mut self) {
        if self.shutdown == Shutdown::No {
            self.shutdown = Shutdown::Draining;
            let until = self.clock.now() + self.config.limits.shutdown_time;
            self.timers.set(until, Timer::Shutdown);
            self.wake_all();
        }
    }

    /// Closes everything if a shutdown was asked for and nothing runs or waits to be sent.
    pub(super) fn shut_down_if_done(&mut self) {
        if self.shutdown == Shutdown::Draining
            && self.tasks.is_empty()
            && self.charges.all_unsent() == 0
        {
            self.shut_down();
        }
    }

    /// Closes everything.
    pub(super) fn shut_down(&mut self) {
        if self.shutdown == Shutdown::Draining {
            self.shutdown = Shutdown::Closed;
            let connections: Vec<ConnId> = self.connections.keys().copied().collect();
            for conn in connections {
                self.close_connection(conn, AppCode::Shutdown);
            }
        }
    }
}
