//! Runs qpq's QUIC endpoint and a storage engine on async-io, with any executor or none.
//!
//! [`Server::bind`] and [`Client::open`] take a core and an engine and give a handle and [`Events`]: ask the core for
//! something and wait for its end with [`Node::ask`], run functions on it with [`Node::act`], read what it tells with
//! [`Events::next`], end it with [`Node::shutdown`]. The endpoint lives on a thread of its own, so that the handle's futures need
//! no particular executor: smol, async-std, `futures_lite::future::block_on`, even tokio will do.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use qpq_adapter_smol::{Client, Server};
//! use qpq_protocol::client::{self, Body, ClientConfig, Event, StorageKey, intent};
//! use qpq_protocol::io::Alpn;
//! use qpq_protocol::{quic::{QuicConfig, Trust}, rng::Seed};
//! use qpq_protocol::server::{self, ServerConfig};
//! use qpq_protocol::storage::Memory;
//! use qpq_protocol::time::Time;
//!
//! /// A person's client. Keys and seeds are 32 bytes fresh from the system; the first one is kept, it seals the storage.
//! fn person(server: String, number: u8) -> client::Client {
//!     let (key, seed) = (StorageKey::new([number; 32]), Seed::new([number; 32]));
//!     let config = ClientConfig { server, ..ClientConfig::default() };
//!     client::Client::new(config, key, seed, Time::ZERO, SystemTime::now().into())
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     futures_lite::future::block_on(talk())
//! }
//!
//! async fn talk() -> Result<(), Box<dyn std::error::Error>> {
//!     # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//!     # let (certificate, private_key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
//!     let config = QuicConfig::server(certificate, private_key, &[Alpn::Qpq])?;
//!     let core = server::Server::new(ServerConfig::default(), [7; 32], Time::ZERO, SystemTime::now().into());
//!     let (server, _) = Server::bind("127.0.0.1:0".parse()?, &config, core, Memory::new())?;
//!     let address = server.local_addr().to_string();
//!
//!     let trust = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
//!     let (alice, mut alice_hears) = Client::open(&trust, person(address.clone(), 1), Memory::new())?;
//!     let (bob, mut bob_hears) = Client::open(&trust, person(address, 2), Memory::new())?;
//!     alice.ask(intent::Register::new("alice@localhost", b"correct horse".to_vec())).await?;
//!     bob.ask(intent::Register::new("bob@localhost", b"staple battery".to_vec())).await?;
//!
//!     // Alice says something; bob says it back.
//!     let dm = alice.ask(intent::Dm("bob".to_owned())).await?;
//!     alice.ask(intent::Send::new(dm.id, "hello")).await?;
//!     let said = loop {
//!         if let Some(Event::Message(message)) = bob_hears.next().await { break message }
//!     };
//!     let Body::Text(text) = said.body else { return Err("no text".into()) };
//!     bob.ask(intent::Send::new(said.conversation, text)).await?;
//!     let echoed = loop {
//!         if let Some(Event::Message(message)) = alice_hears.next().await && !message.own { break message.body }
//!     };
//!     assert_eq!(echoed, Body::Text("hello".to_owned()));
//!     Ok(())
//! }
//! ```
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
