//! The handle of a running endpoint: act on its core, read its events, stop it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use async_channel::{Receiver, Sender};
use qpq_protocol::io::Core;
use qpq_protocol::quic::{ConfigError, Endpoint};
use qpq_protocol::time::Time;

/// What the driver does between two turns.
pub(crate) type Message<C> = Box<dyn FnOnce(&mut Endpoint<C>, Instant) + Send>;
/// Where others leave it messages.
pub(crate) type Inbox<C> = Sender<Message<C>>;

/// A running endpoint. Its methods take `&self`: share it, several tasks may use it at once.
///
/// Dropping it asks the core to finish, like [`Node::shutdown`], without waiting for that.
pub struct Node<C: Core + 'static> {
    pub(crate) inbox: Inbox<C>,
    pub(crate) events: Receiver<C::Event>,
    /// Closed when the driver and the storage thread are gone.
    pub(crate) alive: Receiver<Infallible>,
    pub(crate) local_addr: SocketAddr,
}

/// Why no endpoint was started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is taken, not of this machine, or not allowed.
    #[error("cannot listen on {address} ({kind}): choose another address or stop who uses it")]
    Socket {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// Certificate, key, authority or limits cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gives no thread, no randomness, or no timer.
    #[error("the system refuses a thread or randomness ({0}): free some resources")]
    System(io::ErrorKind),
    /// There is no runtime around the call.
    #[error("no runtime runs here: call this from within one")]
    NoRuntime,
}

/// The node has stopped: it does nothing more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the node was shut down: open another one")]
pub struct Stopped;

impl<C: Core + 'static> Node<C> {
    /// The address its socket is bound to.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Runs a function on the core, between two turns of its driver, with the time to pass on.
    /// What follows from it is carried out right after. If the future is dropped, the function may
    /// or may not run.
    ///
    /// # Errors
    /// [`Stopped`] if the node was shut down.
    pub async fn act<R, F>(&self, act: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&mut C, Time) -> R + Send + 'static,
    {
        let (sender, result) = async_channel::bounded(1);
        let message = move |endpoint: &mut Endpoint<C>, now| {
            // Nobody waits for it any more if this fails.
            let _ = sender.try_send(endpoint.act(now, act));
        };
        self.inbox
            .send(Box::new(message))
            .await
            .map_err(|_| Stopped)?;
        result.recv().await.map_err(|_| Stopped)
    }

    /// The next event of the core; `None` when the node has stopped. Each event goes to one caller.
    /// If the future is dropped, no event is lost.
    ///
    /// A client that takes no events stops reading from its server after about a thousand of them;
    /// a server drops what nobody takes.
    pub async fn next_event(&self) -> Option<C::Event> {
        let was_full = self.events.is_full();
        let event = self.events.recv().await.ok();
        if was_full {
            // The driver may have more and not know that there is room. If its inbox is full, it
            // comes by anyway.
            let _ = self.inbox.try_send(Box::new(|_, _| {}));
        }
        event
    }

    /// Refuses new connections, lets the core finish what runs and close its connections, then
    /// stops and closes the engine. Returns when that is done: when the core says so, or after 45
    /// seconds.
    pub async fn shutdown(&self) {
        let _ = self.inbox.send(shutdown()).await;
        // Nothing is ever sent: this waits until all senders are gone.
        let _ = self.alive.recv().await;
    }

    /// The same as [`Node::shutdown`], by value.
    pub async fn close(self) {
        self.shutdown().await;
    }
}

fn shutdown<C: Core>() -> Message<C> {
    Box::new(|endpoint, now| endpoint.handle_shutdown(now))
}

impl<C: Core + 'static> Drop for Node<C> {
    fn drop(&mut self) {
        if self.inbox.try_send(shutdown()).is_err() {
            self.inbox.close();
        }
    }
}

impl<C: Core + 'static> core::fmt::Debug for Node<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Node")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}
