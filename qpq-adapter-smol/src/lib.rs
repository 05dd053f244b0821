//! Runs qpq's QUIC endpoint and a storage engine on async-io, with any executor or none.
//!
//! [`Server::bind`] and [`Client::open`] take a core and an engine and give a handle and [`Events`]: ask the core for
//! something and wait for its end with [`Node::ask`], run functions on it with [`Node::act`], read what it tells with
//! [`Events::next`], end it with [`Node::shutdown`]. The endpoint lives on a thread of its own, so that the handle's futures need
//! no particular executor: smol, async-std, `futures_lite::future::block_on`, even tokio will do.
//!
//! Take it where tokio does not run; where it does, `qpq-adapter-tokio` has the same handle and saves
//! the thread. To run everything in a loop of your own, see the manual of `qpq-protocol`.
//!
//! All but the socket and the timer is in `qpq-runtime`.

use std::future::pending;
use std::io;
use std::net::UdpSocket;
use std::time::Instant;

use async_io::{Async, Timer};
use futures_lite::FutureExt;
use futures_lite::future::yield_now;
use qpq_runtime::{Runtime, SocketRef, borrow};

pub use qpq_runtime::{Events, LocalBus, Node, OpenError, Stopped, Traffic, WakeBus};

/// A node that others connect to.
pub type Server<C> = qpq_runtime::Server<Smol, C>;
/// A node that connects to others.
pub type Client<C> = qpq_runtime::Client<Smol, C>;

/// A socket and a timer of async-io's.
pub struct Smol {
    socket: Async<UdpSocket>,
    timer: Timer,
}

impl Runtime for Smol {
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

    fn socket(&self) -> SocketRef<'_> {
        borrow(&self.socket)
    }

    // Readiness is asked of the system anew each time, so there is nothing to note.
    fn read<T>(&self, mut read: impl FnMut(SocketRef<'_>) -> io::Result<T>) -> io::Result<T> {
        read(self.socket())
    }

    fn write<T>(&self, mut write: impl FnMut(SocketRef<'_>) -> io::Result<T>) -> io::Result<T> {
        write(self.socket())
    }

    async fn wait<T: Send>(
        &mut self,
        until: Instant,
        writable: bool,
        message: impl Future<Output = Option<T>> + Send,
    ) -> Option<T> {
        if until <= Self::now() {
            yield_now().await;
            return None;
        }
        let Self { socket, timer } = self;
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
