//! The handles of a running endpoint: act on its core, read its events, stop it.

use core::marker::PhantomData;
use core::ops::Deref;
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use async_channel::{Receiver, Sender, bounded};
use qpq_protocol::io::Core;
use qpq_protocol::quic::{Config, Endpoint, OpenError, Stopped};
use qpq_protocol::storage::Engine;
use qpq_protocol::time::Time;

use crate::driver;
use crate::runtime::Runtime;

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

/// A node that others connect to, on the runtime `R`.
pub struct Server<R, C: Core + 'static> {
    node: Node<C>,
    runtime: PhantomData<fn() -> R>,
}

/// A node that connects to others, on the runtime `R`. Nobody connects to it:
///
/// ```compile_fail,E0599
/// # use qpq_protocol::io::Core;
/// # use qpq_runtime::{Client, Runtime};
/// fn begin<R: Runtime, C: Core + Send + 'static>() {
///     let _ = Client::<R, C>::bind;
/// }
/// ```
pub struct Client<R, C: Core + 'static> {
    node: Node<C>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime, C: Core + Send + 'static> Server<R, C> {
    /// Listens on an address (port 0: any that is free) and starts the core.
    ///
    /// # Errors
    /// [`OpenError`] if the address, the configuration or the system doesn't allow it.
    pub fn bind(
        address: SocketAddr,
        config: &Config,
        core: C,
        engine: impl Engine + 'static,
    ) -> Result<Self, OpenError> {
        Self::start(address, config, core, engine)
    }
}

impl<R: Runtime, C: Core + Send + 'static> Client<R, C> {
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
        Self::open_from(if joins { v6 } else { v4 }, config, core, engine)
    }

    /// The same on this address of the machine's.
    ///
    /// # Errors
    /// [`OpenError`] if the address, the configuration or the system doesn't allow it.
    pub fn open_from(
        address: SocketAddr,
        config: &Config,
        core: C,
        engine: impl Engine + 'static,
    ) -> Result<Self, OpenError> {
        Self::start(address, config, core, engine)
    }
}

/// What both kinds of nodes are: a [`Node`].
macro_rules! nodes {
    ($($kind:ident),*) => {$(
        impl<R: Runtime, C: Core + Send + 'static> $kind<R, C> {
            fn start(
                address: SocketAddr,
                config: &Config,
                core: C,
                engine: impl Engine + 'static,
            ) -> Result<Self, OpenError> {
                Ok(Self {
                    node: driver::start::<R, C>(address, config, core, engine)?,
                    runtime: PhantomData,
                })
            }
        }

        impl<R, C: Core + 'static> $kind<R, C> {
            /// The same as [`Node::shutdown`], by value.
            pub async fn close(self) {
                self.node.shutdown().await;
            }
        }

        impl<R, C: Core + 'static> Deref for $kind<R, C> {
            type Target = Node<C>;

            fn deref(&self) -> &Node<C> {
                &self.node
            }
        }

        impl<R, C: Core + 'static> core::fmt::Debug for $kind<R, C> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let mut tuple = f.debug_tuple(stringify!($kind));
                tuple.field(&self.node.local_addr).finish()
            }
        }
    )*};
}

nodes!(Server, Client);

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
