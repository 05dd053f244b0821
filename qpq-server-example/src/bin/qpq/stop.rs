//! [`Stop`]: SIGINT and SIGTERM, so that the database is closed in order.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failed::Failed;

/// Whether the process was asked to stop.
pub struct Stop(Option<[Signal; 2]>);

impl Stop {
    /// From now on the two signals don't end the process but [`Stop::asked`].
    pub fn new() -> Result<Self, Failed> {
        let on = |kind| signal(kind).map_err(|error| Failed::Runtime(error.kind()));
        Ok(Self(Some([
            on(SignalKind::interrupt())?,
            on(SignalKind::terminate())?,
        ])))
    }

    /// The two signals go on to end the process.
    pub const fn never() -> Self {
        Self(None)
    }

    /// Returns when it was asked to.
    pub async fn asked(&mut self) {
        match &mut self.0 {
            None => std::future::pending().await,
            Some([interrupt, terminate]) => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
        }
    }

    /// Whether it was asked to, up to now. Says so once.
    pub async fn was_asked(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.asked() => true,
            () = std::future::ready(()) => false,
        }
    }
}
