//! Runs qpq's QUIC endpoint and a storage engine on tokio.
//!
//! [`Server::bind`] and [`Client::open`] take a core and an engine and give a handle and [`Events`]: ask the core for
//! something and wait for its end with [`Node::ask`], run functions on it with [`Node::act`], read what it tells with
//! [`Events::next`], end it with [`Node::shutdown`]. The endpoint lives in one task of the runtime around the call, the engine on a
//! thread of its own, and nothing here knows what the bytes mean.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use qpq_adapter_tokio::{Client, Server};
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
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
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
//! Take it where tokio runs already. Without tokio, `qpq-adapter-smol` has the same handle and needs no
//! executor; to run everything in a loop of your own, see the manual of `qpq-protocol`.
//!
//! All but the socket and the timer is in `qpq-runtime`.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::time::Instant;

use qpq_runtime::{Runtime, SocketRef, borrow};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep_until};

pub use qpq_runtime::{Events, LocalBus, Node, OpenError, Stopped, Traffic, WakeBus};

/// A node that others connect to.
pub type Server<C> = qpq_runtime::Server<Tokio, C>;
/// A node that connects to others.
pub type Client<C> = qpq_runtime::Client<Tokio, C>;

/// A socket and a timer of tokio's.
pub struct Tokio {
    socket: UdpSocket,
    /// Kept from turn to turn: moving a timer is cheaper than a new one.
    sleep: Pin<Box<Sleep>>,
}

impl Runtime for Tokio {
    fn new(socket: std::net::UdpSocket) -> Result<Self, OpenError> {
        Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            sleep: Box::pin(sleep_until(tokio::time::Instant::now())),
        })
    }

    fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        tokio::spawn(driver);
        Ok(())
    }

    fn now() -> Instant {
        // Tokio's clock can be paused and moved by tests.
        tokio::time::Instant::now().into_std()
    }

    fn socket(&self) -> SocketRef<'_> {
        borrow(&self.socket)
    }

    fn read<T>(&self, mut read: impl FnMut(SocketRef<'_>) -> io::Result<T>) -> io::Result<T> {
        let done = self
            .socket
            .try_io(Interest::READABLE, || read(self.socket()));
        if matches!(&done, Err(error) if error.kind() == ErrorKind::WouldBlock) {
            // What made the socket fail was looked at by now: wait for the next failure.
            let _ = self.socket.try_io(Interest::ERROR, || {
                Err::<(), _>(ErrorKind::WouldBlock.into())
            });
        }
        done
    }

    fn write<T>(&self, mut write: impl FnMut(SocketRef<'_>) -> io::Result<T>) -> io::Result<T> {
        self.socket
            .try_io(Interest::WRITABLE, || write(self.socket()))
    }

    async fn wait<T: Send>(
        &mut self,
        until: Instant,
        writable: bool,
        message: impl Future<Output = Option<T>> + Send,
    ) -> Option<T> {
        if until <= Self::now() {
            tokio::task::yield_now().await;
            return None;
        }
        let until = tokio::time::Instant::from_std(until);
        if self.sleep.deadline() != until {
            self.sleep.as_mut().reset(until);
        }
        tokio::select! {
            biased;
            message = message => message,
            _ = self.socket.ready(Interest::READABLE | Interest::ERROR) => None,
            _ = self.socket.writable(), if writable => None,
            () = &mut self.sleep => None,
        }
    }
}
