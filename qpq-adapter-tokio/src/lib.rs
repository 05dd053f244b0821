//! Runs qpq's QUIC endpoint and a storage engine on tokio.
//!
//! [`Server::bind`] and [`Client::open`] take a core and an engine and give a handle: run functions
//! on the core with [`Node::act`], read what it tells with [`Node::next_event`], end it with
//! [`Node::shutdown`]. The endpoint lives in one tokio task, the engine on a thread of its own, and
//! nothing here knows what the bytes mean.
//!
//! All but the socket and the timer is in `shared/` beside this folder: one source, compiled into both
//! adapters, so that neither pulls in the other's runtime and users need no third crate.

#[path = "../shared/driver.rs"]
mod driver;
#[path = "../shared/node.rs"]
mod node;
#[path = "../shared/workers.rs"]
mod workers;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Instant;

use async_channel::Receiver;
use qpq_protocol::io::Core;
use qpq_protocol::quic::Config;
use qpq_protocol::storage::Engine;
use quinn_udp::UdpSockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep_until};

pub use node::{Node, OpenError, Stopped};

/// A node that others connect to.
pub type Server<C> = Node<C>;
/// A node that connects to others.
pub type Client<C> = Node<C>;

impl<C: Core + Send + 'static> Node<C> {
    /// Listens on an address (port 0: any that is free) and starts the core. Call it within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`OpenError`] if the address, the configuration or the system doesn't allow it.
    pub fn bind(
        address: SocketAddr,
        config: &Config,
        core: C,
        engine: impl Engine + 'static,
    ) -> Result<Self, OpenError> {
        let runtime = Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        let now = <Udp as driver::Socket>::now();
        let (node, driver, socket) = driver::open(now, address, config, core, engine)?;
        let socket = UdpSocket::from_std(socket).map_err(|e| OpenError::System(e.kind()))?;
        let sleep = Box::pin(sleep_until(tokio::time::Instant::from_std(now)));
        runtime.spawn(driver.run(Udp { socket, sleep }));
        Ok(node)
    }

    /// Starts a core that connects to others, on any free port. Call it within a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] if the configuration or the system doesn't allow it.
    pub fn open(
        config: &Config,
        core: C,
        engine: impl Engine + 'static,
    ) -> Result<Self, OpenError> {
        Self::bind(driver::anywhere(), config, core, engine)
    }
}

/// A socket and a timer of tokio's.
struct Udp {
    socket: UdpSocket,
    /// Kept from turn to turn: moving a timer is cheaper than a new one.
    sleep: Pin<Box<Sleep>>,
}

impl driver::Socket for Udp {
    fn now() -> Instant {
        // Tokio's clock can be paused and moved by tests.
        tokio::time::Instant::now().into_std()
    }

    fn raw(&self) -> UdpSockRef<'_> {
        (&self.socket).into()
    }

    fn read<R>(&self, mut read: impl FnMut(UdpSockRef<'_>) -> io::Result<R>) -> io::Result<R> {
        let done = self.socket.try_io(Interest::READABLE, || read(self.raw()));
        if is_empty(&done) {
            // What made the socket fail was looked at by now: wait for the next failure.
            let _ = self.socket.try_io(Interest::ERROR, || {
                Err::<(), _>(ErrorKind::WouldBlock.into())
            });
        }
        done
    }

    fn write<R>(&self, mut write: impl FnMut(UdpSockRef<'_>) -> io::Result<R>) -> io::Result<R> {
        self.socket.try_io(Interest::WRITABLE, || write(self.raw()))
    }

    async fn wait<T: Send>(
        &mut self,
        until: Option<Instant>,
        writable: bool,
        inbox: &Receiver<T>,
    ) -> Option<T> {
        if until.is_some_and(|until| until <= Self::now()) {
            tokio::task::yield_now().await;
            return None;
        }
        let until = until.map(tokio::time::Instant::from_std);
        if let Some(until) = until
            && self.sleep.deadline() != until
        {
            self.sleep.as_mut().reset(until);
        }
        tokio::select! {
            biased;
            message = inbox.recv() => message.ok(),
            _ = self.socket.ready(Interest::READABLE | Interest::ERROR) => None,
            _ = self.socket.writable(), if writable => None,
            () = &mut self.sleep, if until.is_some() => None,
        }
    }
}

fn is_empty<R>(done: &io::Result<R>) -> bool {
    matches!(done, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
