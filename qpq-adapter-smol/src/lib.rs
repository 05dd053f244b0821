//! Runs qpq's QUIC endpoint and a storage engine on async-io, with any executor or none.
//!
//! [`Server::bind`] and [`Client::open`] take a core and an engine and give a handle: run functions
//! on the core with [`Node::act`], read what it tells with [`Node::next_event`], end it with
//! [`Node::shutdown`]. The endpoint lives on a thread of its own, so that the handle's futures need
//! no particular executor: smol, async-std, `futures_lite::future::block_on`, even tokio will do.
//!
//! Take it where tokio does not run; where it does, `qpq-adapter-tokio` has the same handle and saves
//! the thread. To run everything in a loop of your own, see the manual of `qpq-protocol`.
//!
//! All but the socket and the timer is in `qpq-adapter-tokio/shared/`: one source, compiled into both
//! adapters, so that neither pulls in the other's runtime and users need no third crate.

#[path = "../../qpq-adapter-tokio/shared/driver.rs"]
mod driver;
#[path = "../../qpq-adapter-tokio/shared/node.rs"]
mod node;

use std::future::pending;
use std::io;
use std::net::UdpSocket;
use std::time::Instant;

use async_channel::Receiver;
use async_io::{Async, Timer};
use futures_lite::FutureExt;
use futures_lite::future::yield_now;
use quinn_udp::UdpSockRef;

pub use node::{Client, Node, Server};
pub use qpq_protocol::quic::{OpenError, Stopped};

/// A socket and a timer of async-io's.
struct Udp {
    socket: Async<UdpSocket>,
    timer: Timer,
}

impl Udp {
    fn new(socket: UdpSocket) -> Result<Self, OpenError> {
        let socket = Async::new(socket)?;
        let timer = Timer::never();
        Ok(Self { socket, timer })
    }

    fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let thread = std::thread::Builder::new().name("qpq-driver".into());
        thread.spawn(|| async_io::block_on(driver)).map(drop)
    }

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
        until: Instant,
        writable: bool,
        inbox: &Receiver<T>,
    ) -> Option<T> {
        if until <= Self::now() {
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
            timer.set_at(until);
            timer.await;
            None
        };
        message.or(readable).or(writable).or(time).await
    }
}
