//! The handles of a running endpoint: ask its core for something, act on it, stop it.

use core::marker::PhantomData;
use core::ops::Deref;
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_channel::{Receiver, Sender, bounded};
use qpq_protocol::ask::{Ask, TakesIntents};
use qpq_protocol::io::Core;
use qpq_protocol::quic::{Endpoint, OpenError, QuicConfig, Stopped, Traffic};
use qpq_protocol::storage::Engine;
use qpq_protocol::time::Time;

use crate::driver;
use crate::events::{Audience, Events};
use crate::runtime::Runtime;
use crate::wake::WakeBus;

/// What the driver does between two turns.
pub(crate) type Message<C> =
    Box<dyn FnOnce(&mut Endpoint<C>, &mut Audience<<C as Core>::Event>, Instant) + Send>;

/// Lets the driver look around. If its inbox is full, it comes by anyway.
pub(crate) fn wake<C: Core>(inbox: &Sender<Message<C>>) {
    let _ = inbox.try_send(Box::new(|_, _, _| {}));
}

/// A running endpoint. Clone it, share it: many may use it at once.
///
/// Dropping the last clone asks the core to finish, like [`Node::shutdown`], without waiting for that.
pub struct Node<C: Core + 'static> {
    shared: Arc<Shared<C>>,
}

/// What all clones of a node have.
struct Shared<C: Core + 'static> {
    inbox: Sender<Message<C>>,
    /// What tells the driver that somebody has the node.
    holder: Sender<Infallible>,
    /// Closed when the driver and the storage thread are gone.
    alive: Receiver<Infallible>,
    /// Where the driver writes it.
    local_addr: Arc<Mutex<SocketAddr>>,
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
    /// Listens on an address (port 0: any that is free) and starts the core. Gives its handle and all that it tells.
    ///
    /// # Errors
    /// [`OpenError`] if the address, the configuration or the system doesn't allow it.
    pub fn bind(
        address: SocketAddr,
        config: &QuicConfig,
        core: C,
        engine: impl Engine + 'static,
    ) -> Result<(Self, Events<C>), OpenError> {
        Self::start(address, config, core, engine, Box::new(()))
    }

    /// The same for one of several cores on one store: what they have to tell each other goes over this bus.
    ///
    /// # Errors
    /// [`OpenError`] if the address, the configuration or the system doesn't allow it.
    pub fn bind_beside(
        address: SocketAddr,
        config: &QuicConfig,
        core: C,
        engine: impl Engine + 'static,
        bus: impl WakeBus,
    ) -> Result<(Self, Events<C>), OpenError> {
        Self::start(address, config, core, engine, Box::new(bus))
    }
}

impl<R: Runtime, C: Core + Send + 'static> Client<R, C> {
    /// Starts a core that connects to others, on any free port. Gives its handle and all that it tells.
    ///
    /// # Errors
    /// [`OpenError`] if the configuration or the system doesn't allow it.
    pub fn open(
        config: &QuicConfig,
        core: C,
        engine: impl Engine + 'static,
    ) -> Result<(Self, Events<C>), OpenError> {
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
        config: &QuicConfig,
        core: C,
        engine: impl Engine + 'static,
    ) -> Result<(Self, Events<C>), OpenError> {
        Self::start(address, config, core, engine, Box::new(()))
    }
}

/// What a device has to tell of its network and of itself.
impl<R, C: Core + 'static> Client<R, C> {
    /// The network is another one, or there is one again: connects now if it was waiting to, and
    /// otherwise goes on over another socket. Say it whenever the system does.
    ///
    /// # Errors
    /// [`Stopped`] if the node was shut down.
    pub async fn network_changed(&self) -> Result<(), Stopped> {
        self.node.tell(Endpoint::handle_network_changed).await
    }

    /// Does not wait for the next attempt to connect, where one is waited for.
    ///
    /// # Errors
    /// [`Stopped`] if the node was shut down.
    pub async fn reconnect_now(&self) -> Result<(), Stopped> {
        self.node.tell(Endpoint::handle_reconnect).await
    }

    /// Closes the connections. When this returns, nothing more is sent before [`Client::resume`]; what
    /// is asked for meanwhile waits, or ends by its time. Say it before the system stops the program, or
    /// to save a battery.
    ///
    /// # Errors
    /// [`Stopped`] if the node was shut down.
    pub async fn suspend(&self) -> Result<(), Stopped> {
        let (listener, quiet) = bounded(1);
        let message: Message<C> = Box::new(|endpoint, audience, now| {
            endpoint.handle_suspend(now);
            audience.await_quiet(listener);
        });
        self.node.send(message).await?;
        // Nothing is ever sent: this waits until the driver drops the other side.
        let _ = quiet.recv().await;
        Ok(())
    }

    /// Ends a [`Client::suspend`]: connects again if there is anything to do.
    ///
    /// # Errors
    /// [`Stopped`] if the node was shut down.
    pub async fn resume(&self) -> Result<(), Stopped> {
        self.node.tell(Endpoint::handle_resume).await
    }
}

/// What both kinds of nodes are: a [`Node`].
macro_rules! nodes {
    ($($kind:ident),*) => {$(
        impl<R: Runtime, C: Core + Send + 'static> $kind<R, C> {
            fn start(
                address: SocketAddr,
                config: &QuicConfig,
                core: C,
                engine: impl Engine + 'static,
                bus: Box<dyn WakeBus>,
            ) -> Result<(Self, Events<C>), OpenError> {
                let (node, events) = driver::start::<R, C>(address, config, core, engine, bus)?;
                let runtime = PhantomData;
                Ok((Self { node, runtime }, events))
            }
        }

        impl<R, C: Core + 'static> $kind<R, C> {
            /// The same as [`Node::shutdown`], by value.
            pub async fn close(self) {
                self.node.shutdown().await;
            }
        }

        impl<R, C: Core + 'static> Clone for $kind<R, C> {
            fn clone(&self) -> Self {
                Self {
                    node: self.node.clone(),
                    runtime: PhantomData,
                }
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
                tuple.field(&self.node.local_addr()).finish()
            }
        }
    )*};
}

nodes!(Server, Client);

impl<C: Core + 'static> Node<C> {
    pub(crate) fn new(
        inbox: Sender<Message<C>>,
        holder: Sender<Infallible>,
        alive: Receiver<Infallible>,
        local_addr: Arc<Mutex<SocketAddr>>,
    ) -> Self {
        let shared = Arc::new(Shared {
            inbox,
            holder,
            alive,
            local_addr,
        });
        Self { shared }
    }

    /// The address its socket is bound to. A client gets another socket when its network changes.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        let local_addr = self.shared.local_addr.lock();
        *local_addr.unwrap_or_else(PoisonError::into_inner)
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
        let message: Message<C> = Box::new(move |endpoint, _, now| {
            // Nobody waits for it any more if this fails.
            let _ = sender.try_send(endpoint.act(now, act));
        });
        self.send(message).await?;
        result.recv().await.map_err(|_| Stopped)
    }

    /// What passed over its socket so far.
    ///
    /// # Errors
    /// [`Stopped`] if the node was shut down.
    pub async fn traffic(&self) -> Result<Traffic, Stopped> {
        let (sender, traffic) = bounded(1);
        let message: Message<C> = Box::new(move |endpoint, _, _| {
            let _ = sender.try_send(endpoint.traffic());
        });
        self.send(message).await?;
        traffic.recv().await.map_err(|_| Stopped)
    }

    /// Tells the endpoint something that has no answer.
    async fn tell(&self, input: fn(&mut Endpoint<C>, Instant)) -> Result<(), Stopped> {
        let message: Message<C> = Box::new(move |endpoint, _, now| input(endpoint, now));
        self.send(message).await
    }

    /// Asks the core for something and waits for its end. If the future is dropped, what was asked for may be done
    /// all the same.
    ///
    /// # Errors
    /// Why it came to nothing; also that the node was shut down.
    pub async fn ask<A>(&self, asked: A) -> Result<A::End, A::Error>
    where
        C: TakesIntents,
        A: Ask<Intent = C::Intent, Event = C::Event, Error: From<Stopped>>,
    {
        let (sender, end) = bounded(1);
        let intent = asked.into_intent();
        let message: Message<C> = Box::new(move |endpoint, audience, now| {
            let intent = endpoint.act(now, |core, now| core.begin(now, intent));
            audience.await_end(intent, C::end_of, sender);
        });
        self.send(message).await?;
        A::end(end.recv().await.map_err(|_| Stopped)?)
    }

    /// One more stream of events, beside the one that came with the node: of all that is told from now on.
    ///
    /// # Errors
    /// [`Stopped`] if the node was shut down.
    pub async fn events(&self) -> Result<Events<C>, Stopped> {
        let (sender, events) = bounded(1);
        let message: Message<C> = Box::new(move |_, audience, _| {
            let _ = sender.try_send(audience.join());
        });
        self.send(message).await?;
        Ok(Events {
            events: events.recv().await.map_err(|_| Stopped)?,
            inbox: self.shared.inbox.clone(),
        })
    }

    async fn send(&self, message: Message<C>) -> Result<(), Stopped> {
        let sent = self.shared.inbox.send(message).await;
        sent.map_err(|_| Stopped)
    }

    /// Refuses new connections, lets the core finish what runs and close its connections, then
    /// stops and closes the engine. Returns when that is done: when the core says so, or after 45
    /// seconds.
    pub async fn shutdown(&self) {
        let shutdown: Message<C> = Box::new(|endpoint, _, now| endpoint.handle_shutdown(now));
        let _ = self.send(shutdown).await;
        // Nothing is ever sent: this waits until all senders are gone.
        let _ = self.shared.alive.recv().await;
    }
}

impl<C: Core + 'static> Clone for Node<C> {
    fn clone(&self) -> Self {
        let shared = self.shared.clone();
        Self { shared }
    }
}

impl<C: Core + 'static> Drop for Shared<C> {
    fn drop(&mut self) {
        self.holder.close();
        wake(&self.inbox);
    }
}

impl<C: Core + 'static> core::fmt::Debug for Node<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Node").field(&self.local_addr()).finish()
    }
}
