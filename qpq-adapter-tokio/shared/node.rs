//! The handle of a running endpoint: act on its core, read its events, stop it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use async_channel::{Receiver, Sender, bounded};
use qpq_protocol::io::Core;
use qpq_protocol::quic::{Config, Endpoint, OpenError, Stopped};
use qpq_protocol::storage::Engine;
use qpq_protocol::time::Time;

/// What the driver does between two turns.
pub(crate) type Message<C> = Box<dyn FnOnce(&mut Endpoint<C>, Instant) + Send>;

/// A running endpoint. Its methods take `&self`: share it, several tasks may use it at once.
///
/// Dropping it asks the core to finish, like [`Node::shutdown`], without waiting for that.
pub struct Node<C: Core + 'static> {
    pub(crate) inbox: Sender<Message<C>>,
    pub(crate) events: Receiver<C::Event>,
    /// Closed when the driver and the storage thread are gone.
    pub(crate) alive: Receiver<Infallible>,
    pub(crate) local_addr: SocketAddr,
}

/// A node that others connect to.
pub type Server<C> = Node<C>;
/// A node that connects to others.
pub type Client<C> = Node<C>;

impl<C: Core + Send + 'static> Node<C> {
    /// Starts a core that connects to others, on any free port.
    ///
    /// # Errors
    /// [`OpenError`] if the configuration or the system doesn't allow it.
    pub fn open(
        config: &Config,
        core: C,
        engine: impl Engine + 'static,
    ) -> Result<Self, OpenError> {
        // Both families where the system joins them, otherwise IPv4.
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let joins = cfg!(not(windows)) && UdpSocket::bind(v6).is_ok();
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self::bind(if joins { v6 } else { v4 }, config, core, engine)
    }
}

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
        let (sender, result) = bounded(1);
        let message: Message<C> = Box::new(move |endpoint, now| {
            // Nobody waits for it any more if this fails.
            let _ = sender.try_send(endpoint.act(now, act));
        });
        self.inbox.send(message).await.map_err(|_| Stopped)?;
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
            // The driver may have more and not know that there is room.
            self.wake();
        }
        event
    }

    /// Lets the driver look around. If its inbox is full, it comes by anyway.
    fn wake(&self) {
        let _ = self.inbox.try_send(Box::new(|_, _| {}));
    }

    /// Refuses new connections, lets the core finish what runs and close its connections, then
    /// stops and closes the engine. Returns when that is done: when the core says so, or after 45
    /// seconds.
    pub async fn shutdown(&self) {
        let shutdown: Message<C> = Box::new(|endpoint, now| endpoint.handle_shutdown(now));
        let _ = self.inbox.send(shutdown).await;
        // Nothing is ever sent: this waits until all senders are gone.
        let _ = self.alive.recv().await;
    }

    /// The same as [`Node::shutdown`], by value.
    pub async fn close(self) {
        self.shutdown().await;
    }
}

impl<C: Core + 'static> Drop for Node<C> {
    fn drop(&mut self) {
        // What tells the driver that nobody is there any more.
        self.events.close();
        self.wake();
    }
}

impl<C: Core + 'static> core::fmt::Debug for Node<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Node").field(&self.local_addr).finish()
    }
}
