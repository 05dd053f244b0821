//! Runs qpq's QUIC endpoint and a storage engine on async-io, with any executor or none.
//!
//! [`Server::bind`] and [`Client::open`] take a core and an engine and give a handle: run functions
//! on the core with [`Node::act`], read what it tells with [`Node::next_event`], end it with
//! [`Node::shutdown`]. The endpoint lives on a thread of its own, so that the handle's futures need
//! no particular executor: smol, async-std, `futures_lite::future::block_on`, even tokio will do.
//!
//! All but the socket and the timer is in `qpq-adapter-tokio/shared/`: one source, compiled into both
//! adapters, so that neither pulls in the other's runtime and users need no third crate.

#[path = "../../qpq-adapter-tokio/shared/driver.rs"]
mod driver;
#[path = "../../qpq-adapter-tokio/shared/node.rs"]
mod node;
#[path = "../../qpq-adapter-tokio/shared/workers.rs"]
mod workers;

use std::future::pending;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use async_channel::Receiver;
use async_io::{Async, Timer};
use futures_lite::FutureExt;
use futures_lite::future::yield_now;
use qpq_protocol::io::Core;
use qpq_protocol::quic::Config;
use qpq_protocol::storage::Engine;
use quinn_udp::UdpSockRef;

pub use node::{Node, OpenError, Stopped};

/// A node that others connect to.
pub type Server<C> = Node<C>;
/// A node that connects to others.
pub type Client<C> = Node<C>;

impl<C: Core + Send + 'static> Node<C> {
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
        let system = |error: io::Error| OpenError::System(error.kind());
        let now = <Udp as driver::Socket>::now();
        let (node, driver, socket) = driver::open(now, address, config, core, engine)?;
        let udp = Udp {
            socket: Async::new(socket).map_err(system)?,
            timer: Timer::never(),
        };
        std::thread::Builder::new()
            .name("qpq-driver".into())
            .spawn(move || async_io::block_on(driver.run(udp)))
            .map_err(system)?;
        Ok(node)
    }

    /// Starts a core that connects to others, on any free port.
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

/// A socket and a timer of async-io's.
struct Udp {
    socket: Async<UdpSocket>,
    timer: Timer,
}

impl driver::Socket for Udp {
    fn now() -> Instant {
        Instant::now()
    }

    fn raw(&self) -> UdpSockRef<'_> {
        self.socket.get_ref().into()
    }

    // Readiness is asked of the system anew each time, so there is nothing to note.
    fn read<R>(&self, mut read: impl FnMut(UdpSockRef<'_>) -> io::Result<R>) -> io::Result<R> {
        read(self.raw())
    }

    fn write<R>(&self, mut write: impl FnMut(UdpSockRef<'_>) -> io::Result<R>) -> io::Result<R> {
        write(self.raw())
    }

    async fn wait<T: Send>(
        &mut self,
        until: Option<Instant>,
        writable: bool,
        inbox: &Receiver<T>,
    ) -> Option<T> {
        if until.is_some_and(|until| until <= Self::now()) {
            yield_now().await;
            return None;
        }
        let Self { socket, timer } = self;
        let message = async { inbox.recv().await.ok() };
        let readable = async {
            let _ = socket.readable().await;
            None
        };
        let writable = async {
            match writable {
                true => drop(socket.writable().await),
                false => pending().await,
            }
            None
        };
        let time = async {
            match until {
                Some(until) => {
                    timer.set_at(until);
                    timer.await;
                }
                None => pending().await,
            }
            None
        };
        message.or(readable).or(writable).or(time).await
    }
}
