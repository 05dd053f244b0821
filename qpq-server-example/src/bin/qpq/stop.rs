//! [`Stop`]: SIGINT and SIGTERM, so that the database is closed in order.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::Failed;

/// Whether the process was asked to stop.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on the two signals don't end the process but [`Stop::asked`].
    pub fn new() -> Result<Self, Failed> {
        let on = |kind| signal(kind).map_err(|error| Failed::Runtime(error.kind()));
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    /// Returns when it was asked to.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
