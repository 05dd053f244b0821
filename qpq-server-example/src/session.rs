//! [`Session`]: a client core on its data directory and a connection, for programs that ask one
//! thing after the other.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use qpq_adapter_tokio::{Node, Stopped};
use qpq_protocol::client::{
    Account, Client, Config, DisconnectReason, Event, Fatal, IntentError, IntentId, Outcome,
    StorageKey,
};
use qpq_protocol::io::ConnectError;
use qpq_protocol::quic::{self, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::storage::Failure;
use qpq_protocol::time::Time;

use crate::files;
use crate::sqlite::{self, Sqlite};
use crate::time::unix_now;
use crate::trust::{KnownServers, TrustError};
use crate::watch::{Watch, Watched};

/// The database's name in a client's data directory.
pub const DATABASE_FILE: &str = "client.db";
/// The name of the file with the 32 bytes that seal the database's contents.
pub const STORAGE_KEY_FILE: &str = "storage.key";

/// Longer files are not certificates.
const MAX_CERTIFICATE: u64 = 64 * 1024;
/// Bytes of pages kept in memory: a client's data are small.
const CACHE: u32 = 4 * 1024 * 1024;

/// Where a client keeps its data and whom it talks to.
#[derive(Clone, Debug)]
pub struct Options {
    /// `host:port` of the server.
    pub server: String,
    /// Directory of all its data; made if it is not there.
    pub data_dir: PathBuf,
    /// File with the certificate, in DER, of the server or its authority. `None`: the certificate
    /// seen first is pinned.
    pub ca_cert: Option<PathBuf>,
    /// Whether to go on trying when no connection comes to stand, instead of giving up at the first
    /// time.
    pub patient: bool,
}

/// A client at work. Ask it with [`Session::ask`], read what happens with [`Session::next`].
pub struct Session {
    node: Node<Watched<Client>>,
    watch: Watch,
    server: String,
    /// `None` where an authority was given.
    known: Option<KnownServers>,
    patient: bool,
    account: Option<Account>,
    /// Events that came while something else was waited for.
    later: VecDeque<Event>,
}

/// Why a client cannot do what it was asked to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionError {
    /// The data directory, or a file in it, cannot be used.
    #[error("{} cannot be read or written ({kind}): choose another data directory or change permissions", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// The database is there, but not the key to its contents.
    #[error("{} is missing or damaged: without it this data cannot be read; restore it, or use another data directory", path.display())]
    StorageKey {
        /// Where it should be.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: check /dev/urandom")]
    Random,
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlite::OpenError),
    /// The pinned certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The socket, or the certificate of an authority.
    #[error(transparent)]
    Open(#[from] qpq_adapter_tokio::OpenError),
    /// No connection.
    #[error("{why} ({server})")]
    Connect {
        /// Whom it wanted to talk to.
        server: String,
        /// Why not.
        why: ConnectError,
    },
    /// The intent failed.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] Failure),
    /// The core has stopped for good.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The client was closed.
    #[error("the client has stopped: start it again")]
    Stopped,
}

impl From<Stopped> for SessionError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl Session {
    /// Opens the data and waits until they are loaded. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]. Another process on the same data is an error that names it.
    pub async fn open(options: &Options) -> Result<Self, SessionError> {
        let dir = &options.data_dir;
        files::create_private_dir(dir).map_err(at(dir))?;
        let database = dir.join(DATABASE_FILE);
        let engine_options = sqlite::Options {
            cache_bytes: CACHE,
            ..sqlite::Options::default()
        };
        let is_new = !database.exists();
        // First, since its lock keeps other processes away from the other files too.
        let engine = Sqlite::open(&database, &engine_options)?;
        let storage_key = StorageKey::new(storage_key(dir, is_new)?);
        let (trust, known) = match &options.ca_cert {
            Some(path) => {
                let missing = || at(path)(ErrorKind::NotFound.into());
                let der = files::read(path, MAX_CERTIFICATE)
                    .map_err(at(path))?
                    .ok_or_else(missing)?;
                (Trust::Authority(der), None)
            }
            None => {
                let known = KnownServers::load(dir)?;
                let sha256 = known.pin(&options.server);
                (Trust::PinOnFirstUse { sha256 }, Some(known))
            }
        };
        let config = Config {
            server: options.server.clone(),
            holder: format!("process {}", std::process::id()),
            ..Config::default()
        };
        let client = Client::new(
            config,
            storage_key,
            Seed::new(random()?),
            Time::ZERO,
            unix_now(),
        );
        let watch = Watch::default();
        let core = Watched::new(client, watch.clone());
        let mut session = Self {
            node: Node::open(&quic::Config::client(trust), core, engine)?,
            watch,
            server: options.server.clone(),
            known,
            patient: options.patient,
            account: None,
            later: VecDeque::new(),
        };
        loop {
            let event = session.event().await?;
            if let Event::Opened { .. } = event {
                return Ok(session);
            }
            session.later.push_back(event);
        }
    }

    /// States an intent and waits for its end. Other events are kept for [`Session::next`].
    ///
    /// # Errors
    ///
    /// The intent's, or what keeps it from ever ending.
    pub async fn ask(
        &mut self,
        intent: impl FnOnce(&mut Client, Time) -> IntentId + Send + 'static,
    ) -> Result<Outcome, SessionError> {
        let asked = self.begin(intent).await?;
        loop {
            match self.event().await? {
                Event::Done { intent, outcome } if intent == asked => return Ok(outcome),
                Event::Failed { intent, error } if intent == asked => return Err(error.into()),
                other => self.later.push_back(other),
            }
        }
    }

    /// States an intent without waiting; its end comes by [`Session::next`].
    ///
    /// # Errors
    ///
    /// [`SessionError::Stopped`].
    pub async fn begin(
        &self,
        intent: impl FnOnce(&mut Client, Time) -> IntentId + Send + 'static,
    ) -> Result<IntentId, SessionError> {
        let act = move |core: &mut Watched<Client>, now| intent(&mut core.core, now);
        Ok(self.node.act(act).await?)
    }

    /// The next thing that happened. May be dropped before it is ready without losing anything.
    ///
    /// # Errors
    ///
    /// What keeps the client from going on: no connection (unless patient), a storage that fails, a
    /// second process on the same data.
    pub async fn next(&mut self) -> Result<Event, SessionError> {
        match self.later.pop_front() {
            Some(event) => Ok(event),
            None => self.event().await,
        }
    }

    /// Waits until everything that waited at the server is here and stored.
    ///
    /// # Errors
    ///
    /// As [`Session::next`], and [`IntentError::NotLoggedIn`] without a session.
    pub async fn sync(&mut self) -> Result<(), SessionError> {
        if let Some(at) = self.later.iter().position(|event| *event == Event::Synced) {
            self.later.remove(at);
            return Ok(());
        }
        if !self.account.as_ref().is_some_and(|me| me.logged_in) {
            return Err(IntentError::NotLoggedIn.into());
        }
        loop {
            match self.event().await? {
                Event::Synced => return Ok(()),
                Event::LoggedOut => return Err(IntentError::NotLoggedIn.into()),
                other => self.later.push_back(other),
            }
        }
    }

    /// Who this client is, `None` before the first registration or login.
    #[must_use]
    pub const fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// What passed over its connections.
    #[must_use]
    pub const fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Finishes what runs, closes the connection and the database.
    pub async fn close(self) {
        self.node.close().await;
    }

    async fn event(&mut self) -> Result<Event, SessionError> {
        let event = self.node.next_event().await.ok_or(SessionError::Stopped)?;
        match &event {
            Event::Opened { account } => self.account.clone_from(account),
            Event::LoggedIn { account } => self.account = Some(account.clone()),
            Event::Done {
                outcome: Outcome::LoggedIn(account),
                ..
            } => self.account = Some(account.clone()),
            Event::Connected => self.pin()?,
            Event::Disconnected {
                why: DisconnectReason::Connect(why),
                ..
            } if !self.patient || !may_pass(why) => {
                return Err(SessionError::Connect {
                    server: self.server.clone(),
                    why: why.clone(),
                });
            }
            Event::StorageTrouble(failure) => return Err((*failure).into()),
            Event::Fatal(fatal) => return Err(fatal.clone().into()),
            _ => {}
        }
        Ok(event)
    }

    fn pin(&mut self) -> Result<(), SessionError> {
        if let (Some(known), Some(sha256)) = (&mut self.known, self.watch.certificate()) {
            known.keep(&self.server, sha256)?;
        }
        Ok(())
    }
}

/// Whether another attempt may go better without anyone doing something.
const fn may_pass(why: &ConnectError) -> bool {
    matches!(why, ConnectError::Unreachable | ConnectError::Refused)
}

/// The key in `dir`. A new one is made only for a database that was not there: one that was made
/// under a lost key must not be written on under another.
fn storage_key(dir: &Path, is_new: bool) -> Result<[u8; 32], SessionError> {
    let path = dir.join(STORAGE_KEY_FILE);
    match files::read(&path, 32) {
        Ok(Some(key)) => key
            .as_slice()
            .try_into()
            .map_err(|_| SessionError::StorageKey { path }),
        Ok(None) if is_new => {
            let key = random()?;
            files::write_private(&path, &key).map_err(at(&path))?;
            Ok(key)
        }
        Ok(None) => Err(SessionError::StorageKey { path }),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            Err(SessionError::StorageKey { path })
        }
        Err(error) => Err(at(&path)(error)),
    }
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> SessionError {
    let path = path.to_owned();
    move |error| SessionError::File {
        path: path.clone(),
        kind: error.kind(),
    }
}

fn random() -> Result<[u8; 32], SessionError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| SessionError::Random)?;
    Ok(seed)
}
