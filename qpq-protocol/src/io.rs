//! What goes into a core and what comes out: the shape that server and client share.
//!
//! A core is driven by the program that owns the sockets, the clock and the disk: its embedder. Every input takes `now`
//! first and never fails: a bad peer becomes an output. After any number of inputs, drain
//! [`Core::poll_output`] until it returns `None`, then sleep until [`Core::poll_timeout`].

use core::net::SocketAddr;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

pub use crate::ids::Dir;
use crate::ids::{ConnId, OwnStream, StreamId, Ticket};
use crate::storage::{Command, Reply};
use crate::time::{Time, UnixTime};

/// A protocol state machine: [`crate::server::Server`] and [`crate::client::Client`].
///
/// Contracts, each held by a property test (architecture.md): inputs may come in any order and
/// batching; no input panics or fails; at the deadline of `poll_timeout`, `handle_timeout` emits
/// something or moves the deadline; any split of a stream gives the same outputs; the same seed and
/// inputs give the same outputs; nothing is visible before it is durable; an idle connection costs
/// nothing.
pub trait Core {
    /// What the core tells its embedder.
    type Event: Clone + Send + 'static;

    /// A connection is established; the transport has checked ALPN and peer. `ticket` is that of the
    /// [`Output::Connect`] it answers, `None` where the peer connected.
    fn handle_connected(&mut self, now: Time, conn: ConnId, peer: PeerInfo, ticket: Option<Ticket>);
    /// The connection asked for by [`Output::Connect`] could not be established.
    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError);
    /// Something happened on a stream.
    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput);
    /// The connection and its streams are gone, whichever side closed it.
    fn handle_disconnected(&mut self, now: Time, conn: ConnId);
    /// The answer to [`Output::Store`].
    fn handle_stored(&mut self, now: Time, ticket: Ticket, reply: Reply);
    /// The answer to [`Output::Compute`].
    fn handle_computed(&mut self, now: Time, ticket: Ticket, result: JobResult);
    /// Another core said that something changed.
    fn handle_wake(&mut self, now: Time, wake: Wake);
    /// The wall clock, told at start and whenever the embedder likes (each minute is plenty).
    fn handle_clock(&mut self, now: Time, unix: UnixTime);
    /// The deadline of [`Core::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Time);
    /// The embedder wants to stop: the core finishes what runs and then closes its connections.
    fn handle_shutdown(&mut self, now: Time);

    // Where a core that connects to others runs, the network comes and goes. To one that does not, none
    // of these means anything, and it does nothing.

    /// The network is another one, or there is one again: what waits to connect does so now. However
    /// often it is said, attempts keep a distance.
    fn handle_network_changed(&mut self, _now: Time) {}
    /// Someone does not want to wait for the next attempt to connect: it is made now, at the same
    /// distance.
    fn handle_reconnect(&mut self, _now: Time) {}
    /// The embedder is about to be stopped by its system, or wants quiet: the core closes its
    /// connections and makes no other until `handle_resume`.
    fn handle_suspend(&mut self, _now: Time) {}
    /// A `handle_suspend` is over.
    fn handle_resume(&mut self, _now: Time) {}

    /// Bytes that the core takes from this stream now. Asked before the transport is read; 0 means
    /// leave them there, the peer's flow control holds it back.
    fn credit(&self, conn: ConnId, stream: StreamId) -> usize;
    /// The next thing to do, `None` when there is nothing until the next input or deadline.
    fn poll_output(&mut self) -> Option<Output<Self::Event>>;
    /// When to call [`Core::handle_timeout`], and what for. Already due while output is queued.
    fn poll_timeout(&self) -> Option<(Time, Reason)>;
    /// Whether a shutdown that was asked for is complete.
    fn is_shut_down(&self) -> bool;
    /// Bytes of peers' data and queued output held now; bounded by the limits.
    fn footprint(&self) -> usize;
}

/// Why a deadline was set: for debugging timers.
pub type Reason = &'static str;

/// What the transport knows of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    /// Where its datagrams come from. Rate limits count by it.
    pub address: SocketAddr,
    /// The application protocol both sides agreed on: `qpq` or `qpq-fed`.
    pub alpn: Alpn,
    /// SHA-256 of the certificate the peer presented, where it presented one.
    pub certificate: Option<[u8; 32]>,
}

/// The application protocol of a connection (protocol.md §1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alpn {
    /// `qpq`: a client and a server.
    Qpq,
    /// `qpq-fed`: two servers.
    Federation,
}

impl Alpn {
    /// The token on the wire.
    #[must_use]
    pub const fn token(self) -> &'static [u8] {
        match self {
            Self::Qpq => b"qpq",
            Self::Federation => b"qpq-fed",
        }
    }
}

/// Why a connection could not be established.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answered in time, or the host said that nobody listens there.
    #[error("the server does not answer: check its address and that it runs")]
    Unreachable,
    /// The server's certificate is not the one that was pinned.
    #[error(
        "the server's certificate has changed: if you expected that, remove the pinned one, otherwise do not connect"
    )]
    CertificateChanged,
    /// The server's certificate is not signed by the authority that was given.
    #[error("the server's certificate is not trusted: pass the certificate of its authority")]
    CertificateUntrusted,
    /// The server speaks no protocol of ours.
    #[error("the server does not speak qpq: check the address")]
    WrongProtocol,
    /// The name does not resolve or is not an address.
    #[error("the server's address cannot be used: check how it is written")]
    BadAddress,
    /// The transport had no room for another connection, or was being closed.
    #[error("no connection can be opened now: try again later")]
    Refused,
}

/// What happened on a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamInput {
    /// Bytes, in order, at most what [`Core::credit`] allowed. None: the stream was opened, and its first
    /// byte is still to come.
    Data(Bytes),
    /// The peer will send no more.
    Fin,
    /// The peer abandoned its half, with its application error code.
    Reset(u64),
    /// The peer wants no more of our half, with its application error code.
    Stopped(u64),
    /// The transport took this many of our bytes from its own queue: there is room again.
    Sent(usize),
}

/// What a core wants done. In order within a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output<E> {
    /// Open a connection; answered by `handle_connected` or `handle_connect_failed` with the ticket.
    Connect {
        /// Names the request.
        ticket: Ticket,
        /// Where to.
        target: Target,
    },
    /// Open a stream that later outputs name. Queued by the glue until the peer allows it.
    Open {
        /// The connection.
        conn: ConnId,
        /// The name the core gave it.
        stream: OwnStream,
        /// Both ways or one.
        dir: Dir,
    },
    /// Send bytes, then the end of the stream if `fin`.
    Send {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
        /// The bytes; may be empty with `fin`.
        data: Bytes,
        /// Whether our half ends here.
        fin: bool,
    },
    /// Abandon the stream: reset our half, stop theirs.
    Reset {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
        /// Application error code.
        code: u64,
    },
    /// The peer has shown who it is: its connection gets the windows and streams of one with a
    /// session (protocol.md §1). A transport without such limits ignores it.
    Admit {
        /// The connection.
        conn: ConnId,
    },
    /// Close the connection. `handle_disconnected` follows.
    Close {
        /// The connection.
        conn: ConnId,
        /// Application error code.
        code: u64,
    },
    /// Run a storage command; answered by `handle_stored`.
    Store {
        /// Names the request.
        ticket: Ticket,
        /// Which commands it must keep its order with.
        lane: Lane,
        /// What to do.
        command: Command,
    },
    /// Run [`Job::run`] on another thread; answered by `handle_computed`.
    Compute {
        /// Names the request.
        ticket: Ticket,
        /// What to compute.
        job: Job,
    },
    /// Tell the other cores on the same store.
    Wake(Wake),
    /// Something the embedder may want to know.
    Event(E),
}

/// Where to connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// `host:port`, as the user wrote it; the adapter resolves it.
    pub address: String,
    /// Which protocol to speak.
    pub alpn: Alpn,
    /// Whether nobody who sees the network, the server included, is to know by the transport that it is this device's
    /// like other connections: it gets a socket of its own, which is closed with it. For sealed senders. A transport
    /// that has no ports ignores it.
    pub apart: bool,
}

impl Target {
    /// A connection like any other.
    #[must_use]
    pub const fn new(address: String, alpn: Alpn) -> Self {
        Self {
            address,
            alpn,
            apart: false,
        }
    }
}

/// Commands of one lane are run in order; lanes are independent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// All commits, and reads that must see those before them.
    Ordered,
    /// Reads that need not.
    Reads,
}

/// A long pure computation (only Argon2id is one). Carries its own seed; runs anywhere.
pub struct Job(Box<dyn FnOnce() -> Box<dyn core::any::Any + Send> + Send>);

/// What a [`Job`] gave, if anything; only the core that made the job can read it.
pub struct JobResult(Option<Box<dyn core::any::Any + Send>>);

impl Job {
    /// A job of this function.
    pub fn new<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(Box::new(move || Box::new(run())))
    }

    /// Computes; blocks for as long as that takes (Argon2id at 64 MiB: about a tenth of a second). A
    /// job that panics gives nothing, and its core goes on without.
    #[must_use]
    pub fn run(self) -> JobResult {
        JobResult(catch_unwind(AssertUnwindSafe(self.0)).ok())
    }
}

impl JobResult {
    /// The value, if there is one of this type.
    #[must_use]
    pub fn get<T: 'static>(self) -> Option<T> {
        self.0?.downcast().ok().map(|value| *value)
    }
}

impl core::fmt::Debug for Job {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Job")
    }
}

impl core::fmt::Debug for JobResult {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("JobResult")
    }
}

/// News for the other cores on the same store. May be lost or repeated: durable news is found on
/// connect and at a wait's deadline too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wake {
    /// What changed, or for whom.
    pub topic: Topic,
    /// At most 1 KiB.
    pub body: Bytes,
}

/// What a [`Wake`] is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Topic {
    /// The queue with this storage key has something new.
    Queue(Bytes),
    /// Sessions ended, close them: of this account (its 32-byte key), of one of its devices (the
    /// key and a zero for the default one, 48 bytes for others), or one (the key and the 32-byte
    /// SHA-256 of its token).
    Session(Bytes),
    /// The body is a push frame for this account's connections.
    Live([u8; 32]),
}

/// The longest [`Wake::body`], in bytes.
pub const MAX_WAKE_BODY: usize = 1024;

/// How far ahead of `now` a deadline may be asked for; keeps adapters' timers sane.
pub const MAX_SLEEP: Duration = Duration::from_secs(3600);
