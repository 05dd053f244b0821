//! [`Running`]: a server core on its data directory and socket, from start to drained stop.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

use qpq_adapter_tokio as tokio_node;
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::io::{Alpn, Core as _};
use qpq_protocol::limits::Limits;
use qpq_protocol::quic;
use qpq_protocol::server::{self, Event, Server, ServerConfig};
use qpq_protocol::storage::Failure;
use qpq_protocol::time::{Time, UnixTime};
use tokio::sync::oneshot;

use crate::config::ServerArgs;
use crate::server_data::{DataError, ServerData};
use crate::time::unix_now;
use qpq_store::sqlite::{self, Broken};

/// How a server runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// UDP address; port 0 for any that is free.
    pub listen: SocketAddr,
    /// Directory of all its data; made if it is not there.
    pub data_dir: PathBuf,
    /// The server's name.
    pub domain: String,
    /// Identity keys of administrators.
    pub admins: Vec<IdentityKey>,
    /// Every number that bounds it.
    pub limits: Limits,
    /// The most pages of 4,096 bytes of its database.
    pub max_pages: Option<u32>,
    /// Whether to make a new certificate if the old one is lost.
    pub new_certificate: bool,
    /// Whether the clock is right, however far it has gone since the server last ran.
    pub accept_clock: bool,
}

impl From<ServerArgs> for Options {
    fn from(args: ServerArgs) -> Self {
        Self {
            limits: args.limits(),
            max_pages: args.max_pages(),
            listen: args.listen,
            data_dir: args.data_dir,
            domain: args.domain,
            admins: args.admins,
            new_certificate: args.new_certificate,
            accept_clock: args.accept_clock,
        }
    }
}

/// A server at work.
pub struct Running {
    node: tokio_node::Server<Server>,
    events: tokio_node::Events<Server>,
    certificate: [u8; 32],
    broken: Option<oneshot::Receiver<Broken>>,
    /// What was wrong with the clock at the start.
    doubt: Option<Trouble>,
}

/// What is wrong with a running server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Some commands of the storage failed; others may succeed.
    Passing(Failure),
    /// The storage answers nothing more: stop the server and start it again.
    Final(Broken),
    /// The clock went further than a day since it was last looked at: nothing expires by it for a day.
    Clock {
        /// What the clock says.
        says: UnixTime,
        /// The date that the server goes on from.
        believed: UnixTime,
    },
}

/// Why a server did not start.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The port is taken.
    #[error("port {} of {} is in use: stop the program that has it or choose another port with --listen", address.port(), address.ip())]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The socket, for another reason.
    #[error(transparent)]
    Open(#[from] qpq_adapter_tokio::OpenError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: check /dev/urandom")]
    Random,
    /// The core cannot serve what the database holds.
    #[error(transparent)]
    Refused(#[from] server::StartError),
    /// The first rows cannot be read or written.
    #[error(transparent)]
    Storage(#[from] Failure),
    /// The core ended before it had begun.
    #[error("the server stopped while it started: start it again")]
    Stopped,
}

impl Running {
    /// Starts a server and waits until it serves. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(options: &Options) -> Result<Self, StartError> {
        let database = sqlite::Options {
            max_pages: options.max_pages,
            ..sqlite::Options::default()
        };
        let (dir, domain) = (&options.data_dir, &options.domain);
        let ServerData {
            mut engine,
            certificate,
        } = ServerData::open(dir, domain, &database, options.new_certificate)?;
        let (tell, broken) = oneshot::channel();
        engine.on_broken(move |broken| {
            // Nobody waits for it once the server is being stopped.
            let _ = tell.send(broken);
        });
        let sha256 = certificate.sha256();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| StartError::Random)?;
        let config = ServerConfig {
            domain: options.domain.clone(),
            limits: options.limits.clone(),
            admins: options.admins.clone(),
            accept_clock: options.accept_clock,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ServerConfig::default()
        };
        let core = Server::new(config, seed, Time::ZERO, unix_now());
        let mut transport = quic::QuicConfig::server(
            certificate.certificate,
            certificate.private_key,
            &[Alpn::Qpq],
        )
        .map_err(qpq_adapter_tokio::OpenError::from)?;
        let streams = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        transport.limits.peer_bi = streams(options.limits.streams);
        transport.limits.stranger_bi = streams(options.limits.anonymous_streams);
        let bound = tokio_node::Server::bind(options.listen, &transport, core, engine);
        let (node, mut events) = bound.map_err(|error| match error {
            qpq_adapter_tokio::OpenError::Socket {
                address,
                kind: ErrorKind::AddrInUse,
            } => StartError::InUse { address },
            other => other.into(),
        })?;
        let mut doubt = None;
        loop {
            match events.next().await {
                Some(Event::Started { .. }) => break,
                Some(Event::ClockDoubted { says, believed }) => {
                    doubt = Some(Trouble::Clock { says, believed });
                }
                Some(Event::Refused(why)) => return Err(why.into()),
                Some(Event::StorageFailed(failure)) => return Err(failure.into()),
                Some(_) => {}
                None => return Err(StartError::Stopped),
            }
        }
        Ok(Self {
            node,
            events,
            certificate: sha256,
            broken: Some(broken),
            doubt,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.node.local_addr()
    }

    /// SHA-256 of its certificate.
    #[must_use]
    pub const fn certificate(&self) -> [u8; 32] {
        self.certificate
    }

    /// Bytes of peers' data and queued output that its core holds
    /// ([`Core::footprint`](qpq_protocol::io::Core::footprint)); none once it has stopped.
    pub async fn footprint(&self) -> usize {
        let held = self.node.act(|core, _| core.footprint());
        held.await.unwrap_or(0)
    }

    /// Waits for the next trouble, which may never come.
    pub async fn trouble(&mut self) -> Trouble {
        if let Some(doubt) = self.doubt.take() {
            return doubt;
        }
        loop {
            tokio::select! {
                // The final word first: what fails after it says nothing new.
                biased;
                broken = until_broken(&mut self.broken) => return Trouble::Final(broken),
                event = self.events.next() => match event {
                    Some(Event::StorageFailed(failure)) => return Trouble::Passing(failure),
                    Some(Event::ClockDoubted { says, believed }) => {
                        return Trouble::Clock { says, believed };
                    }
                    Some(_) => {}
                    None => std::future::pending().await,
                },
            }
        }
    }

    /// Takes no more connections, finishes what runs, closes the database (protocol.md §5.28).
    pub async fn stop(self) {
        self.node.close().await;
    }
}

async fn until_broken(tell: &mut Option<oneshot::Receiver<Broken>>) -> Broken {
    if let Some(receiver) = tell {
        let broken = receiver.await;
        *tell = None;
        if let Ok(broken) = broken {
            return broken;
        }
    }
    // The engine has said it before, or is gone without having failed.
    std::future::pending().await
}
