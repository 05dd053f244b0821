//! Registration and login with OPAQUE.
//!
//! The password leaves this file only inside a job that stretches it. A login is one state machine,
//! [`Login`]; a lost connection takes it back to its beginning. Registering is registering and then
//! logging in; a new login is always a device of its own with its own key (protocol.md §5.18).

use bytes::Bytes;
use qpq_crypto::identity::{DeviceSecret, IdentitySecret};
use qpq_crypto::mls::Device;
use qpq_crypto::opaque::{
    self, ClientLogin, ClientRegistration, ExportKey, OpaqueError, Registration,
};
use qpq_crypto::proof;
use zeroize::Zeroizing;

use super::chain::Heard;
use super::domain;
use super::fault::Fault;
use super::rpc::{Answer, Then};
use crate::client::error::IntentError;
use crate::client::intent::Password;
use crate::client::intents::{Progress, Task};
use crate::client::me::identity::Me;
use crate::client::people::contacts::is_name;
use crate::client::{Client, MAX_DEVICE_NAME, OpaqueSuite};
use crate::ids::{DeviceId, IdentityKey, IntentId, Ticket};
use crate::invitation::Invitation;
use crate::io::{Job, JobResult, Output};
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// Longest invitation, in bytes.
const MAX_INVITATION: usize = 64;

/// What was asked for.
pub(in crate::client) struct Attempt {
    intent: IntentId,
    name: String,
    /// What the user said after an `@`.
    given: Option<String>,
    /// The server that is meant; from the connection on as the server spells it.
    domain: String,
    password: Zeroizing<Vec<u8>>,
    register: bool,
    /// What its operator gave, of a registration.
    pub(in crate::client) invitation: Invitation,
    /// The server may have taken the registration: a login finds out.
    submitted: bool,
}

/// How far a registration or login has come.
pub(in crate::client) enum Login {
    Idle,
    /// Waits for the connection and the server's domain.
    Waiting(Attempt),
    RegisterStarted(Attempt, ClientRegistration),
    RegisterStretching(Attempt, Ticket),
    RegisterFinishing(Attempt),
    Started(Attempt, Box<ClientLogin>),
    Stretching(Attempt, Ticket),
    Finishing(Attempt, ExportKey, DeviceId),
    /// The session stands; the device and its key packages are being registered.
    Settling(IntentId),
}

impl Attempt {
    /// `address` is a name, which `@` and a domain may follow.
    pub(in crate::client) fn new(address: &str, password: &Password, register: bool) -> Self {
        let (name, given) = domain::split(address);
        Self {
            intent: IntentId(0),
            name: name.to_owned(),
            given: given.map(str::to_owned),
            domain: String::new(),
            password: Zeroizing::new(password.as_bytes().to_vec()),
            register,
            invitation: Invitation::default(),
            submitted: false,
        }
    }
}

impl Login {
    pub(in crate::client) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Nobody wants it any more.
    pub(in crate::client) fn forget(&mut self) {
        *self = Self::Idle;
    }

    /// Back to the beginning, after the connection was lost.
    pub(in crate::client) fn restarted(self) -> Self {
        match self {
            Self::RegisterStarted(attempt, _)
            | Self::RegisterStretching(attempt, _)
            | Self::Started(attempt, _)
            | Self::Stretching(attempt, _)
            | Self::Finishing(attempt, _, _) => Self::Waiting(attempt),
            Self::RegisterFinishing(mut attempt) => {
                attempt.submitted = true;
                Self::Waiting(attempt)
            }
            Self::Idle | Self::Waiting(_) | Self::Settling(_) => self,
        }
    }

    fn intent(&self) -> Option<IntentId> {
        match self {
            Self::Idle => None,
            Self::Waiting(attempt)
            | Self::RegisterStarted(attempt, _)
            | Self::RegisterStretching(attempt, _)
            | Self::RegisterFinishing(attempt)
            | Self::Started(attempt, _)
            | Self::Stretching(attempt, _)
            | Self::Finishing(attempt, _, _) => Some(attempt.intent),
            Self::Settling(intent) => Some(*intent),
        }
    }

    /// The intent behind it has ended.
    pub(in crate::client) fn give_up(&mut self, intent: IntentId) {
        if self.intent() == Some(intent) {
            *self = Self::Idle;
        }
    }
}

impl Client {
    /// Takes up the intent to register or log in.
    pub(in crate::client) fn begin_login(
        &mut self,
        intent: IntentId,
        mut attempt: Attempt,
    ) -> Progress {
        if !is_name(&attempt.name) {
            return Progress::Failed(IntentError::BadName);
        }
        if attempt.invitation.as_bytes().len() > MAX_INVITATION {
            let limit = MAX_INVITATION;
            return Progress::Failed(IntentError::InvitationTooLong { limit });
        }
        if self.config.device_name.len() > MAX_DEVICE_NAME {
            let limit = MAX_DEVICE_NAME;
            return Progress::Failed(IntentError::DeviceNameTooLong { limit });
        }
        if !self.login.is_idle() {
            return Progress::Failed(IntentError::Busy);
        }
        let given = attempt.given.as_deref();
        let meant = match &self.state.me {
            Some(me) => {
                let is_other = given.is_some_and(|given| !domain::is_same(given, &me.domain));
                if attempt.register || me.name != attempt.name || is_other {
                    let name = me.name.clone();
                    return Progress::Failed(IntentError::OtherAccount { name });
                }
                Some(me.domain.as_str())
            }
            None => given.or_else(|| domain::of_server(&self.config.server)),
        };
        match meant {
            Some(meant) if !meant.is_empty() => attempt.domain = meant.to_owned(),
            _ => {
                let name = attempt.name;
                return Progress::Failed(IntentError::NoDomain { name });
            }
        }
        attempt.intent = intent;
        self.login = Login::Waiting(attempt);
        self.continue_login();
        match self.login.intent() {
            Some(_) => Progress::WaitFor(Task::Authenticating),
            None => Progress::Handed,
        }
    }

    /// Starts the login that waits, if the server has said who it is and is the one that is meant.
    pub(in crate::client) fn continue_login(&mut self) {
        let Some(claimed) = self.server_domain().map(str::to_owned) else {
            return;
        };
        if let Login::Waiting(attempt) = &mut self.login {
            if !domain::is_same(&attempt.domain, &claimed) {
                let (intent, expected) = (attempt.intent, attempt.domain.clone());
                let error = IntentError::OtherDomain { expected, claimed };
                return self.fail(intent, error);
            }
            attempt.domain = claimed;
        }
        match core::mem::replace(&mut self.login, Login::Idle) {
            Login::Waiting(attempt) if attempt.register && !attempt.submitted => {
                self.start_registration(attempt);
            }
            Login::Waiting(attempt) => self.start_login(attempt),
            other => self.login = other,
        }
    }

    fn start_registration(&mut self, attempt: Attempt) {
        match opaque::client::registration_start(&self.rng.seed(), &attempt.password) {
            Ok((state, request)) => {
                let request = proto::OpaqueRegisterStartRequest {
                    username: attempt.name.clone(),
                    request: request.into(),
                };
                self.login = Login::RegisterStarted(attempt, state);
                self.call::<rpc::OpaqueRegisterStart>(&request, Then::RegisterStart);
            }
            Err(error) => self.fail(attempt.intent, opaque_error(error)),
        }
    }

    pub(super) fn on_register_started(&mut self, answer: Answer<rpc::OpaqueRegisterStart>) {
        let (attempt, state) = match self.take_login() {
            Login::RegisterStarted(attempt, state) => (attempt, state),
            // An answer that nobody waits for any more.
            other => {
                self.login = other;
                return;
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return self.login_refused(attempt, &fault),
        };
        let (seed, suite) = (self.rng.seed(), self.config.opaque_suite);
        let (name, password) = (attempt.name.clone(), attempt.password.clone());
        let domain = attempt.domain.clone();
        let job = Job::new(move || {
            state.finish(&seed, suite, &domain, &name, &password, &answer.response)
        });
        let ticket = self.compute(job);
        self.login = Login::RegisterStretching(attempt, ticket);
    }

    fn finish_registration(&mut self, attempt: Attempt, done: Result<Registration, OpaqueError>) {
        let Registration { upload, export_key } = match done {
            Ok(registration) => registration,
            Err(error) => return self.fail(attempt.intent, opaque_error(error)),
        };
        // The server keeps it sealed: logging in is what brings it here.
        let identity = IdentitySecret::from_seed(self.rng.seed());
        let sealed = opaque::seal_identity(&export_key, identity.seed(), &self.rng.seed());
        let time_ms = self.unix_ms();
        let (domain, name) = (&attempt.domain, &attempt.name);
        let signature = proof::register(&identity, domain, name, &upload, &sealed, time_ms);
        let request = proto::OpaqueRegisterFinishRequest {
            username: attempt.name.clone(),
            upload: upload.into(),
            identity_key: identity.public().as_bytes().to_vec().into(),
            signature: signature.to_vec().into(),
            time_ms,
            sealed_identity: sealed.into(),
            invitation: attempt.invitation.clone().into(),
        };
        self.login = Login::RegisterFinishing(attempt);
        self.call::<rpc::OpaqueRegisterFinish>(&request, Then::RegisterFinish);
    }

    pub(super) fn on_registered(&mut self, answer: Answer<rpc::OpaqueRegisterFinish>) {
        let mut attempt = match self.take_login() {
            Login::RegisterFinishing(attempt) => attempt,
            // An answer that nobody waits for any more.
            other => {
                self.login = other;
                return;
            }
        };
        attempt.submitted = true;
        match answer {
            Ok(_) => {
                // It is ours: from here a wrong password is not a name that is taken.
                attempt.register = false;
                self.start_login(attempt);
            }
            Err(fault) if fault.status == Status::Conflict => {
                self.fail(attempt.intent, IntentError::NameTaken);
            }
            Err(fault) => self.login_refused(attempt, &fault),
        }
    }

    fn start_login(&mut self, attempt: Attempt) {
        match opaque::client::login_start(&self.rng.seed(), &attempt.password) {
            Ok((state, request)) => {
                let request = proto::OpaqueLoginStartRequest {
                    username: attempt.name.clone(),
                    request: request.into(),
                    ticket: self.ticket(),
                };
                self.login = Login::Started(attempt, Box::new(state));
                self.call::<rpc::OpaqueLoginStart>(&request, Then::LoginStart);
            }
            Err(error) => self.fail(attempt.intent, opaque_error(error)),
        }
    }

    /// What this device's last login got: guessers have none, so it is not held up by what they do.
    fn ticket(&self) -> Bytes {
        let me = self.state.me.as_ref();
        me.map_or_else(Bytes::new, |me| Bytes::copy_from_slice(&me.ticket))
    }

    pub(super) fn on_login_started(&mut self, answer: Answer<rpc::OpaqueLoginStart>) {
        let (attempt, state) = match self.take_login() {
            Login::Started(attempt, state) => (attempt, state),
            // An answer that nobody waits for any more.
            other => {
                self.login = other;
                return;
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return self.login_refused(attempt, &fault),
        };
        let suite = match self.config.opaque_suite.is_weak() {
            true => OpaqueSuite::parse_allowing_weak(answer.suite.as_bytes()),
            false => OpaqueSuite::parse(answer.suite.as_bytes()),
        };
        let Ok(suite) = suite else {
            return self.fail(attempt.intent, IntentError::WeakSuite);
        };
        let seed = self.rng.seed();
        let (name, password) = (attempt.name.clone(), attempt.password.clone());
        let domain = attempt.domain.clone();
        let job = Job::new(move || {
            state.finish(&seed, suite, &domain, &name, &password, &answer.response)
        });
        let ticket = self.compute(job);
        self.login = Login::Stretching(attempt, ticket);
    }

    fn finish_login(&mut self, mut attempt: Attempt, done: Result<opaque::Login, OpaqueError>) {
        let done = match done {
            Ok(done) => done,
            // The registration was lost with its connection, or the name is another's; only a
            // registration tells which.
            Err(OpaqueError::InvalidLogin) if attempt.register => {
                attempt.submitted = false;
                return self.start_registration(attempt);
            }
            Err(error) => return self.fail(attempt.intent, opaque_error(error)),
        };
        let device_id = match &self.state.me {
            Some(me) => me.device_id,
            None => DeviceId::new(self.rng.bytes()),
        };
        let request = proto::OpaqueLoginFinishRequest {
            username: attempt.name.clone(),
            finalization: done.finalization.into(),
            identity_key: Bytes::new(),
            device_id: device_id.as_bytes().to_vec().into(),
            chain: Some(self.show_opening()),
        };
        self.login = Login::Finishing(attempt, done.export_key, device_id);
        self.call::<rpc::OpaqueLoginFinish>(&request, Then::LoginFinish);
    }

    pub(super) fn on_logged_in(&mut self, answer: Answer<rpc::OpaqueLoginFinish>) {
        let (attempt, export_key, device_id) = match self.take_login() {
            Login::Finishing(attempt, export_key, device_id) => (attempt, export_key, device_id),
            // An answer that nobody waits for any more.
            other => {
                self.login = other;
                return;
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) if fault.status == Status::Unauthorized => {
                return self.fail(attempt.intent, IntentError::WrongPassword);
            }
            Err(fault) => return self.login_refused(attempt, &fault),
        };
        let intent = attempt.intent;
        if let Err(error) = self.adopt(attempt, &answer, &export_key, device_id) {
            return self.fail(intent, error);
        }
        self.opening_confirmed(&Heard {
            last: &answer.last,
            server_time_ms: answer.server_time_ms,
            server_epoch: answer.server_epoch,
        });
        self.login = Login::Settling(intent);
        self.session_known();
    }

    /// Makes the session's account and device those of this client.
    fn adopt(
        &mut self,
        attempt: Attempt,
        answer: &proto::OpaqueLoginFinishResponse,
        export_key: &ExportKey,
        device_id: DeviceId,
    ) -> Result<(), IntentError> {
        let token = <[u8; 32]>::try_from(answer.session_token.as_ref())
            .map_err(|_| IntentError::BadServer)?;
        let identity_key = IdentityKey::try_from(answer.identity_key.as_ref())
            .map_err(|_| IntentError::BadServer)?;
        let ticket = Zeroizing::new(answer.ticket.to_vec());
        match &mut self.state.me {
            Some(me) if me.identity_key() == identity_key => {
                me.token = Some(Zeroizing::new(token));
                me.ticket = ticket;
            }
            Some(me) => {
                let name = me.name.clone();
                return Err(IntentError::KeyChanged { name });
            }
            None => {
                if answer.sealed_identity.is_empty() {
                    return Err(IntentError::NoSealedIdentity);
                }
                let identity = opaque::open_identity(export_key, &answer.sealed_identity)
                    .map_err(|_| IntentError::BadServer)?;
                if identity.public() != identity_key {
                    return Err(IntentError::BadServer);
                }
                let me = Me {
                    name: attempt.name,
                    domain: attempt.domain,
                    identity,
                    device_id,
                    device: DeviceSecret::from_seed(self.rng.seed()),
                    device_created_at_ms: self.unix_ms(),
                    token: Some(Zeroizing::new(token)),
                    ticket,
                    registered: false,
                    hybrid_published: false,
                };
                let device = Device::new(me.device.clone(), me.credential(), [])
                    .map_err(|_| IntentError::State)?;
                self.state.device = Some(device);
                self.state.me = Some(me);
            }
        }
        if let Some(me) = &self.state.me {
            me.save(&mut self.writer);
        }
        Ok(())
    }

    fn login_refused(&mut self, attempt: Attempt, fault: &Fault) {
        let error = match fault.status {
            Status::Unauthorized => IntentError::WrongPassword,
            Status::Conflict => IntentError::NameTaken,
            Status::RateLimited => IntentError::LimitReached {
                message: fault.message.clone(),
                retry_after: fault.retry_after,
            },
            _ => IntentError::Refused {
                message: fault.message.clone(),
            },
        };
        self.fail(attempt.intent, error);
    }

    pub(in crate::client) fn take_login(&mut self) -> Login {
        core::mem::replace(&mut self.login, Login::Idle)
    }

    pub(super) fn compute(&mut self, job: Job) -> Ticket {
        let ticket = self.writer.ticket();
        self.writer.effect(Output::Compute { ticket, job });
        ticket
    }

    pub(in crate::client) fn computed(&mut self, ticket: Ticket, result: JobResult) {
        match self.take_login() {
            Login::RegisterStretching(attempt, own) if own == ticket => match result.get() {
                Some(done) => self.finish_registration(attempt, done),
                None => self.fail(attempt.intent, IntentError::State),
            },
            Login::Stretching(attempt, own) if own == ticket => match result.get() {
                Some(done) => self.finish_login(attempt, done),
                None => self.fail(attempt.intent, IntentError::State),
            },
            other => self.login = other,
        }
    }
}

fn opaque_error(error: OpaqueError) -> IntentError {
    match error {
        OpaqueError::InvalidLogin => IntentError::WrongPassword,
        OpaqueError::PasswordTooLong => IntentError::PasswordTooLong,
        OpaqueError::Malformed | OpaqueError::Reflected | OpaqueError::BadSetup => {
            IntentError::BadServer
        }
    }
}
