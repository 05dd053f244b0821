//! [`Running`]: a server core on its data directory and socket, from start to drained stop.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use qpq_adapter_tokio::Node;
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::io::{Alpn, Core as _};
use qpq_protocol::limits::Limits;
use qpq_protocol::quic;
use qpq_protocol::server::{self, Config, Event, Server};
use qpq_protocol::storage::Failure;
use qpq_protocol::time::Time;
use tokio::sync::oneshot;

use crate::certificate::{Certificate, CertificateError};
use crate::config::ServerArgs;
use crate::files;
use crate::sqlite::{self, Broken, Sqlite};
use crate::time::unix_now;

/// The database's name in a server's data directory.
pub const DATABASE_FILE: &str = "server.db";
/// The name of the file with the domain that the data were made for.
pub const DOMAIN_FILE: &str = "domain";

/// The longest name of a host.
const MAX_DOMAIN: u64 = 255;

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
        }
    }
}

/// A server at work.
pub struct Running {
    node: Node<Server>,
    certificate: [u8; 32],
    broken: Option<oneshot::Receiver<Broken>>,
}

/// What is wrong with a running server's storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Some commands failed; others may succeed.
    Passing(Failure),
    /// It answers nothing more: stop the server and start it again.
    Final(Broken),
}

/// Why a server did not start.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be made or used.
    #[error("the data directory {} cannot be used ({kind}): choose another or change its permissions", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// Every password and signature in the data is bound to the domain they were made for.
    #[error("the data in {} are those of {known}: start it with --domain {known}, or choose another directory", path.display())]
    OtherDomain {
        /// The directory.
        path: PathBuf,
        /// The domain of its data.
        known: String,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlite::OpenError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
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
        let dir = &options.data_dir;
        files::create_private_dir(dir).map_err(|error| data_dir(dir, &error))?;
        let database = sqlite::Options {
            max_pages: options.max_pages,
            ..sqlite::Options::default()
        };
        // First, since its lock keeps other processes away from the other files too.
        let mut engine = Sqlite::open(&dir.join(DATABASE_FILE), &database)?;
        let (tell, broken) = oneshot::channel();
        engine.on_broken(move |broken| {
            // Nobody waits for it once the server is being stopped.
            let _ = tell.send(broken);
        });
        keep_domain(dir, &options.domain)?;
        let certificate = Certificate::load_or_make(dir, &options.domain)?;
        let sha256 = certificate.sha256();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| StartError::Random)?;
        let config = Config {
            domain: options.domain.clone(),
            limits: options.limits.clone(),
            admins: options.admins.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Config::default()
        };
        let core = Server::new(config, seed, Time::ZERO, unix_now());
        let mut transport = quic::Config::server(
            certificate.certificate,
            certificate.private_key,
            &[Alpn::Qpq],
        )
        .map_err(qpq_adapter_tokio::OpenError::from)?;
        let streams = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        transport.limits.peer_bi = streams(options.limits.streams);
        transport.limits.stranger_bi = streams(options.limits.anonymous_streams);
        let node =
            Node::bind(options.listen, &transport, core, engine).map_err(|error| match error {
                qpq_adapter_tokio::OpenError::Socket {
                    address,
                    kind: ErrorKind::AddrInUse,
                } => StartError::InUse { address },
                other => other.into(),
            })?;
        loop {
            match node.next_event().await {
                Some(Event::Started { .. }) => break,
                Some(Event::Refused(why)) => return Err(why.into()),
                Some(Event::StorageFailed(failure)) => return Err(failure.into()),
                Some(_) => {}
                None => return Err(StartError::Stopped),
            }
        }
        Ok(Self {
            node,
            certificate: sha256,
            broken: Some(broken),
        })
    }

    /// The address it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
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

    /// Waits for the next trouble with storage, which may never come.
    pub async fn trouble(&mut self) -> Trouble {
        loop {
            tokio::select! {
                // The final word first: what fails after it says nothing new.
                biased;
                broken = until_broken(&mut self.broken) => return Trouble::Final(broken),
                event = self.node.next_event() => match event {
                    Some(Event::StorageFailed(failure)) => return Trouble::Passing(failure),
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

fn keep_domain(dir: &Path, domain: &str) -> Result<(), StartError> {
    let path = dir.join(DOMAIN_FILE);
    let failed = |error: std::io::Error| data_dir(&path, &error);
    match files::read(&path, MAX_DOMAIN).map_err(failed)? {
        None => files::write_public(&path, domain.as_bytes()).map_err(failed),
        Some(known) if known == domain.as_bytes() => Ok(()),
        Some(known) => Err(StartError::OtherDomain {
            path: dir.to_owned(),
            known: String::from_utf8_lossy(&known).into_owned(),
        }),
    }
}

fn data_dir(path: &Path, error: &std::io::Error) -> StartError {
    StartError::DataDir {
        path: path.to_owned(),
        kind: error.kind(),
    }
}
