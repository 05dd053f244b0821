//! [`Session`]: a client core on its data directory and a connection, for programs that ask one
//! thing after the other.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qpq_adapter_tokio::{self as tokio_node, Stopped, Traffic};
use qpq_protocol::ask::Ask;
use qpq_protocol::client::{
    Account, Client, ClientConfig, DisconnectReason, Event, Fatal, Intent, IntentError, IntentId,
    Kept, MAX_DEVICE_NAME, Outcome, StorageKey, intent,
};
use qpq_protocol::io::ConnectError;
use qpq_protocol::quic::{self, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::storage::Failure;
use qpq_protocol::time::Time;
use tokio::time::{Instant, timeout_at};

use crate::client_data::{ClientData, DataError};
use crate::time::unix_now;
use crate::trust::{KnownServers, TrustError};
use qpq_store::files;

/// Longer files are not certificates.
const MAX_CERTIFICATE: u64 = 64 * 1024;
/// How long an answer is waited for, at most: longer than the core itself waits for what can fail.
const ANSWER: Duration = Duration::from_secs(75);

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
    /// What it needs of the server.
    pub patience: Patience,
}

/// How long a client waits for its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// It asks only for what is stored here, and never connects.
    Offline,
    /// It gives up at the first attempt that fails, and when an answer takes too long.
    Once,
    /// It goes on trying.
    Forever,
}

/// Something to ask a client for.
pub trait ForClients: Ask<Intent = Intent, Event = Event, Error = IntentError> {}

impl<A: Ask<Intent = Intent, Event = Event, Error = IntentError>> ForClients for A {}

/// A client at work. Ask it with [`Session::ask`], read what happens with [`Session::next`].
pub struct Session {
    node: tokio_node::Client<Client>,
    events: tokio_node::Events<Client>,
    /// SHA-256 of the certificate that the server showed last.
    certificate: Option<[u8; 32]>,
    server: String,
    /// `None` where an authority was given.
    known: Option<KnownServers>,
    patience: Patience,
    account: Option<Account>,
    /// What is kept of intents that have not ended.
    kept: BTreeMap<IntentId, Kept>,
    /// Events that came while something else was waited for.
    later: VecDeque<Event>,
}

/// Why a client cannot do what it was asked to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The certificate of an authority.
    #[error("{} cannot be read ({kind}): pass the file with the certificate of the server's authority", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: check /dev/urandom")]
    Random,
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
    /// The server shows another certificate than the one that is pinned.
    #[error("the certificate of {server} has changed: if you expected that, remove its line from {}, otherwise do not connect", path.display())]
    CertificateChanged {
        /// Whom it wanted to talk to.
        server: String,
        /// The file with the pinned certificates.
        path: PathBuf,
    },
    /// It is a server, but not that of the account.
    #[error(
        "{server} is another server than the one of this account, and was shown nothing: check --server"
    )]
    OtherServer {
        /// Whom it talked to.
        server: String,
    },
    /// There is a connection, or one is being tried, and no answer.
    #[error("{server} does not answer in time: check that it runs, then try again")]
    NoAnswer {
        /// Whom it wanted to talk to.
        server: String,
    },
    /// Not done, but stored here, and done with the next connection.
    #[error("{why}")]
    Kept {
        /// What is kept.
        kept: Kept,
        /// Why it is not done yet.
        why: Box<Self>,
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

impl SessionError {
    /// Whether it leaves what is kept as it is: another attempt may do it.
    const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::CertificateChanged { .. }
                | Self::OtherServer { .. }
                | Self::NoAnswer { .. }
                | Self::Intent(
                    IntentError::TimedOut
                        | IntentError::HeldBack
                        | IntentError::Unconfirmed
                        | IntentError::OtherServer
                )
        )
    }
}

/// Whether an intent can be done without a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    Session,
    /// It makes one, or goes without.
    Nothing,
}

impl Session {
    /// Opens the data and waits until they are loaded. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]. Another process on the same data is an error that names it.
    pub async fn open(options: &Options) -> Result<Self, SessionError> {
        let dir = &options.data_dir;
        let ClientData {
            engine,
            storage_key,
        } = ClientData::open(dir)?;
        let (trust, known) = match &options.ca_cert {
            Some(path) => (Trust::Authority(authority(path)?), None),
            None => {
                let known = KnownServers::load(dir)?;
                let sha256 = known.pin(&options.server);
                (Trust::PinOnFirstUse { sha256 }, Some(known))
            }
        };
        let config = ClientConfig {
            server: options.server.clone(),
            holder: format!("process {}", std::process::id()),
            device_name: host_name(),
            offline: options.patience == Patience::Offline,
            ..ClientConfig::default()
        };
        let client = Client::new(
            config,
            StorageKey::new(storage_key),
            Seed::new(random()?),
            Time::ZERO,
            unix_now(),
        );
        let (node, events) =
            tokio_node::Client::open(&quic::QuicConfig::client(trust), client, engine)?;
        let mut session = Self {
            node,
            events,
            certificate: None,
            server: options.server.clone(),
            known,
            patience: options.patience,
            account: None,
            kept: BTreeMap::new(),
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

    /// Asks for something and waits for its end. Other events are kept for [`Session::next`].
    ///
    /// # Errors
    ///
    /// The intent's, or what keeps it from ending: then [`SessionError::Kept`] if it will be done
    /// all the same.
    pub async fn ask<A: ForClients>(&mut self, asked: A) -> Result<A::End, SessionError> {
        self.end_of(asked, Needs::Session).await
    }

    /// As [`Session::ask`], for what makes a session or needs none: that there is none, or
    /// that an older one ends, is not its end.
    ///
    /// # Errors
    ///
    /// As [`Session::ask`].
    pub async fn ask_without_session<A: ForClients>(
        &mut self,
        asked: A,
    ) -> Result<A::End, SessionError> {
        self.end_of(asked, Needs::Nothing).await
    }

    async fn end_of<A: ForClients>(
        &mut self,
        asked: A,
        needs: Needs,
    ) -> Result<A::End, SessionError> {
        let asked = self.begin(asked.into_intent()).await?;
        Ok(A::end(self.told_end(asked, needs).await?)?)
    }

    /// The event that tells the good end of an intent.
    async fn told_end(&mut self, asked: IntentId, needs: Needs) -> Result<Event, SessionError> {
        let deadline = Instant::now() + ANSWER;
        let why = loop {
            let event = match self.patience {
                Patience::Once => match timeout_at(deadline, self.event()).await {
                    Ok(event) => event,
                    Err(_) => break self.no_answer(),
                },
                Patience::Offline | Patience::Forever => self.event().await,
            };
            match event {
                Ok(event) => match self.judge(event, asked)? {
                    Some(end) => return Ok(end),
                    None if needs == Needs::Session && self.has_lost_session() => {
                        break IntentError::NotLoggedIn.into();
                    }
                    None => {}
                },
                Err(why) if why.is_passing() => break why,
                Err(why) => return Err(why),
            }
        };
        // It may have been done meanwhile, or be on its way to the disk.
        let settled = self.begin(intent::WhoAmI).await?;
        loop {
            match self.event().await {
                Ok(Event::Done { intent, .. }) if intent == settled => break,
                Ok(event) => {
                    if let Some(end) = self.judge(event, asked)? {
                        return Ok(end);
                    }
                }
                Err(why) if why.is_passing() => {}
                Err(why) => return Err(why),
            }
        }
        Err(match self.kept.remove(&asked) {
            Some(kept) => SessionError::Kept {
                kept,
                why: Box::new(why),
            },
            None => why,
        })
    }

    /// The event, if it tells the good end of this intent.
    fn judge(&mut self, event: Event, asked: IntentId) -> Result<Option<Event>, SessionError> {
        match event {
            Event::Done { intent, .. } if intent == asked => Ok(Some(event)),
            Event::Failed { intent, error } if intent == asked => Err(self.failure(intent, error)),
            Event::Kept { .. } => Ok(None),
            other => {
                self.later.push_back(other);
                Ok(None)
            }
        }
    }

    /// What the failure of an intent means, with what is kept of it.
    pub fn failure(&mut self, intent: IntentId, error: IntentError) -> SessionError {
        let why = SessionError::from(error);
        match self.kept.remove(&intent).filter(|_| why.is_passing()) {
            Some(kept) => SessionError::Kept {
                kept,
                why: Box::new(why),
            },
            None => why,
        }
    }

    /// What is kept of an intent that has not ended, once all that was on its way to the disk is
    /// there.
    ///
    /// # Errors
    ///
    /// As [`Session::next`], but for missing connections.
    pub async fn kept(&mut self) -> Result<BTreeMap<IntentId, Kept>, SessionError> {
        let settled = self.begin(intent::WhoAmI).await?;
        loop {
            match self.event().await {
                Ok(Event::Done { intent, .. }) if intent == settled => break,
                Ok(event) => self.later.push_back(event),
                Err(why) if why.is_passing() => {}
                Err(why) => return Err(why),
            }
        }
        Ok(self.kept.clone())
    }

    /// States an intent without waiting; its end comes by [`Session::next`].
    ///
    /// # Errors
    ///
    /// [`SessionError::Stopped`].
    pub async fn begin(&self, intent: impl Into<Intent>) -> Result<IntentId, SessionError> {
        let intent = intent.into();
        let act = move |core: &mut Client, now| core.begin(now, intent);
        Ok(self.node.act(act).await?)
    }

    /// Tells the core something that has no end of its own.
    ///
    /// # Errors
    ///
    /// [`SessionError::Stopped`].
    pub async fn state(
        &self,
        act: impl FnOnce(&mut Client, Time) + Send + 'static,
    ) -> Result<(), SessionError> {
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

    /// The next thing that happened, if it has come already.
    pub fn next_if_there(&mut self) -> Option<Event> {
        self.later.pop_front()
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
        if self.is_logged_out() {
            return Err(IntentError::NotLoggedIn.into());
        }
        let deadline = Instant::now() + ANSWER;
        loop {
            match timeout_at(deadline, self.event()).await {
                Ok(Ok(Event::Synced)) => return Ok(()),
                Ok(Ok(Event::LoggedOut)) => return Err(IntentError::NotLoggedIn.into()),
                Ok(Ok(other)) => self.later.push_back(other),
                Ok(Err(why)) => return Err(why),
                Err(_) if self.patience == Patience::Forever => {}
                Err(_) => return Err(self.no_answer()),
            }
        }
    }

    /// Who this client is, `None` before the first registration or login.
    #[must_use]
    pub const fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Whether there is no session to ask anything of the server in.
    #[must_use]
    pub fn is_logged_out(&self) -> bool {
        !self.account.as_ref().is_some_and(|me| me.logged_in)
    }

    /// SHA-256 of the certificate that the server showed last, `None` before the first connection.
    #[must_use]
    pub const fn certificate(&self) -> Option<[u8; 32]> {
        self.certificate
    }

    /// What passed over its socket.
    ///
    /// # Errors
    ///
    /// [`SessionError::Stopped`].
    pub async fn traffic(&self) -> Result<Traffic, SessionError> {
        Ok(self.node.traffic().await?)
    }

    /// Finishes what runs, closes the connection and the database. What happened meanwhile, and was not
    /// heard before.
    pub async fn close(mut self) -> Vec<Event> {
        self.node.shutdown().await;
        let mut last = Vec::from(self.later);
        while let Some(event) = self.events.next().await {
            last.push(event);
        }
        last
    }

    async fn event(&mut self) -> Result<Event, SessionError> {
        let event = self.events.next().await.ok_or(SessionError::Stopped)?;
        match &event {
            Event::Opened { account } => self.account.clone_from(account),
            Event::LoggedIn { account } => self.account = Some(account.clone()),
            Event::Done { intent, outcome } => {
                self.kept.remove(intent);
                if let Outcome::LoggedIn(account) = outcome {
                    self.account = Some(account.clone());
                }
            }
            Event::LoggedOut => {
                if let Some(account) = &mut self.account {
                    account.logged_in = false;
                }
            }
            Event::Kept { intent, kept } => {
                self.kept.insert(*intent, *kept);
            }
            Event::Connected { certificate } => {
                self.certificate = *certificate;
                self.pin()?;
            }
            Event::Disconnected {
                why: DisconnectReason::Connect(why),
                ..
            } if self.patience != Patience::Forever || !may_pass(why) => {
                return Err(self.no_connection(why));
            }
            Event::Disconnected {
                why: DisconnectReason::OtherServer,
                ..
            } => {
                let server = self.server.clone();
                return Err(SessionError::OtherServer { server });
            }
            Event::StorageTrouble(failure) => return Err((*failure).into()),
            Event::Fatal(fatal) => return Err(fatal.clone().into()),
            _ => {}
        }
        Ok(event)
    }

    /// Whether what needs the server can't be done any more; what is stored can always be asked for.
    fn has_lost_session(&self) -> bool {
        self.patience != Patience::Offline && self.is_logged_out()
    }

    fn no_connection(&self, why: &ConnectError) -> SessionError {
        let server = self.server.clone();
        match (why, &self.known) {
            (ConnectError::CertificateChanged, Some(known)) => SessionError::CertificateChanged {
                server,
                path: known.path().to_owned(),
            },
            (why, _) => SessionError::Connect {
                server,
                why: why.clone(),
            },
        }
    }

    fn no_answer(&self) -> SessionError {
        SessionError::NoAnswer {
            server: self.server.clone(),
        }
    }

    fn pin(&mut self) -> Result<(), SessionError> {
        if let (Some(known), Some(sha256)) = (&mut self.known, self.certificate) {
            known.keep(&self.server, sha256)?;
        }
        Ok(())
    }
}

/// Whether another attempt may go better without anyone doing something.
const fn may_pass(why: &ConnectError) -> bool {
    matches!(why, ConnectError::Unreachable | ConnectError::Refused)
}

/// What this machine calls itself, for the list of an account's devices.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let end = name.floor_char_boundary(MAX_DEVICE_NAME);
    name.get(..end).unwrap_or_default().to_owned()
}

fn authority(path: &Path) -> Result<Vec<u8>, SessionError> {
    let unreadable = |kind| SessionError::Authority {
        path: path.to_owned(),
        kind,
    };
    files::read(path, MAX_CERTIFICATE)
        .map_err(|error| unreadable(error.kind()))?
        .ok_or_else(|| unreadable(ErrorKind::NotFound))
}

fn random() -> Result<[u8; 32], SessionError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| SessionError::Random)?;
    Ok(seed)
}
