//! What can go wrong around an endpoint that runs, said alike by all adapters.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use super::ConfigError;
use crate::client::IntentError;

/// Why no endpoint was started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is taken, not of this machine, or not allowed.
    #[error("cannot listen on {address} ({kind}): choose another address or stop who uses it")]
    Socket {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        kind: ErrorKind,
    },
    /// Certificate, key, authority or limits cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gives no thread, no randomness, no timer, or no such socket.
    #[error("the system refuses a thread, randomness or a socket ({0}): free some resources")]
    System(ErrorKind),
    /// There is no runtime around the call.
    #[error("no runtime runs here: call this from within one")]
    NoRuntime,
}

impl OpenError {
    /// There is no socket of this address, for a reason that the system gave.
    #[must_use]
    pub fn socket(address: SocketAddr, why: &Error) -> Self {
        let kind = why.kind();
        Self::Socket { address, kind }
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::System(error.kind())
    }
}

/// The node has stopped: it does nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the node was shut down: open another one")]
pub struct Stopped;

impl From<Stopped> for IntentError {
    fn from(_: Stopped) -> Self {
        Self::Closing
    }
}
