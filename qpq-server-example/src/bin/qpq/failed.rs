//! [`Failed`]: why a command of `qpq` did not come to its end, for people and for scripts.

use std::io::ErrorKind;
use std::process::ExitCode;

use qpq_protocol::client::{IntentError, Kept};
use qpq_server_example::client_data::DataError;
use qpq_server_example::session::SessionError;

use crate::journal::JournalError;
use crate::lines::BadLine;

/// Why a command did not come to its end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    Session(SessionError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("there is no data directory: pass --data-dir or set HOME")]
    NoDataDir,
    #[error("there is no password: set QPQ_PASSWORD or run it in a terminal")]
    NoPassword,
    #[error("the two passwords differ: try again")]
    PasswordsDiffer,
    #[error("the password is empty, not UTF-8, or has control characters in it: choose another")]
    BadPassword,
    #[error(
        "there is no conversation {wanted}: `qpq conversations` lists them, `qpq dm` opens one with a person"
    )]
    NoConversation { wanted: String },
    #[error("there is no person {0} among the conversations: if you mean the group, write #{0}")]
    MeantGroup(String),
    #[error(
        "{wanted} could be more than one conversation: write the id of the one you mean ({ids})"
    )]
    Ambiguous { wanted: String, ids: String },
    #[error("no device of this account has an id that begins with {0}: `qpq devices` lists them")]
    NoDevice(String),
    #[error("{0} has fewer digits than name a device: `qpq devices` shows them whole")]
    ShortDevice(String),
    #[error(
        "this account has {devices} devices and may have no more: remove one of these with `qpq login {name} --remove DEVICE`, or with `qpq device remove` on another device"
    )]
    NoRoom { name: String, devices: usize },
    #[error(
        "a group called {name} is kept already: repeat it with --id {id}, or choose another name"
    )]
    GroupIsKept { name: String, id: String },
    #[error("the message of this id is another one, or of another conversation: leave out --id")]
    OtherMessage,
    #[error("standard input cannot be read ({0}): pass the text as an argument")]
    Input(ErrorKind),
    #[error("standard output cannot be written ({0})")]
    Output(ErrorKind),
    /// Done with the next connection.
    #[error(
        "{why}; it is kept and will be done as soon as it can be, by any command that reaches the server (id {id})"
    )]
    Kept {
        kept: Kept,
        /// What repeats the act.
        id: String,
        why: Box<Self>,
    },
    /// It was kept, and is not any more.
    #[error("{0}; it was not done and is not kept")]
    TakenBack(Box<Self>),
    #[error("it did not reach {0}: their queue is full, or they left")]
    Undelivered(String),
    #[error("the group is made, but without {0}: `qpq group invite` adds them later")]
    NotWhole(String),
    #[error("{0}")]
    Lines(Tally),
    #[error("{0}")]
    BadLine(BadLine),
    #[error("interrupted")]
    Interrupted,
    #[error(
        "the two safety numbers differ: someone may sit between you, or one of you has a new account; do not trust this conversation"
    )]
    SafetyNumbersDiffer,
    #[error("this is no safety number of this version: scan or copy it again, whole")]
    NoSafetyNumber,
    #[error("the system gives no event loop ({0})")]
    Runtime(ErrorKind),
    #[error("the core answered something else than was asked: please report it")]
    Unexpected,
    #[error("{0}")]
    Demo(String),
}

/// What became of the lines of standard input, where not all are sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub all: u64,
    pub failed: u64,
    pub kept: u64,
    pub undelivered: u64,
    /// Why, of the first that is not sent.
    pub why: Option<Box<Failed>>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "of {} messages", self.all)?;
        let parts = [
            (self.failed, "were not sent"),
            (
                self.kept,
                "are kept and go out when the server is reached next",
            ),
            (self.undelivered, "did not reach everybody"),
        ];
        let told = parts.iter().filter(|(count, _)| *count > 0);
        for (at, (count, what)) in told.enumerate() {
            let link = if at == 0 { ' ' } else { ',' };
            write!(f, "{link}{}{count} {what}", if at == 0 { "" } else { " " })?;
        }
        match &self.why {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

impl From<SessionError> for Failed {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Kept { kept, why } => Self::Kept {
                kept,
                id: id(kept),
                why: Box::new((*why).into()),
            },
            error => Self::Session(error),
        }
    }
}

impl From<IntentError> for Failed {
    fn from(error: IntentError) -> Self {
        Self::Session(error.into())
    }
}

/// The id that names what is kept.
pub fn id(kept: Kept) -> String {
    match kept {
        Kept::Message { message_id, .. } => message_id.to_string(),
        Kept::Conversation(id)
        | Kept::Change {
            conversation: id, ..
        }
        | Kept::Leaving(id) => id.to_string(),
    }
}

impl Failed {
    /// 1: it will not happen; 3: it is kept and will; 4: it did, but not for everybody.
    pub fn exit_code(&self) -> ExitCode {
        const WILL_NOT_HAPPEN: u8 = 1;
        const KEPT: u8 = 3;
        const NOT_FOR_EVERYBODY: u8 = 4;
        ExitCode::from(match self {
            Self::Kept { .. } => KEPT,
            Self::Undelivered(_) | Self::NotWhole(_) => NOT_FOR_EVERYBODY,
            Self::Lines(tally) if tally.failed > 0 => WILL_NOT_HAPPEN,
            Self::Lines(tally) if tally.kept > 0 => KEPT,
            Self::Lines(_) => NOT_FOR_EVERYBODY,
            _ => WILL_NOT_HAPPEN,
        })
    }

    /// What a script can tell apart: the kinds of failure that call for different things.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Session(error) => session_code(error),
            Self::TakenBack(why) => why.code(),
            Self::Kept { .. } => "kept",
            Self::Undelivered(_) => "undelivered",
            Self::NotWhole(_) => "not_whole",
            Self::Lines(tally) => match (&tally.why, tally.failed, tally.kept) {
                (Some(why), 1.., _) => why.code(),
                (_, _, 1..) => "kept",
                _ => "undelivered",
            },
            Self::Journal(_) => "output_file",
            Self::NoPassword | Self::PasswordsDiffer | Self::BadPassword => "password",
            Self::NoConversation { .. } | Self::MeantGroup(_) | Self::Ambiguous { .. } => {
                "unknown_conversation"
            }
            Self::NoRoom { .. } => "too_many_devices",
            Self::NoDevice(_) | Self::ShortDevice(_) => "unknown_device",
            Self::GroupIsKept { .. } => "kept_already",
            Self::OtherMessage => "other_id",
            Self::Interrupted => "interrupted",
            Self::SafetyNumbersDiffer => "safety_number",
            Self::NoDataDir
            | Self::Input(_)
            | Self::Output(_)
            | Self::BadLine(_)
            | Self::NoSafetyNumber
            | Self::Runtime(_)
            | Self::Unexpected
            | Self::Demo(_) => "failed",
        }
    }
}

fn session_code(error: &SessionError) -> &'static str {
    match error {
        SessionError::Intent(error) => intent_code(error),
        SessionError::Kept { .. } => "kept",
        SessionError::Connect { .. }
        | SessionError::CertificateChanged { .. }
        | SessionError::NoAnswer { .. } => "no_connection",
        SessionError::OtherServer { .. } => "other_server",
        SessionError::Data(DataError::Random) => "failed",
        SessionError::Data(_)
        | SessionError::Trust(_)
        | SessionError::Storage(_)
        | SessionError::Fatal(_) => "data",
        SessionError::Random
        | SessionError::Authority { .. }
        | SessionError::Open(_)
        | SessionError::Stopped => "failed",
    }
}

/// As [`Failed::code`], of an intent.
pub const fn intent_code(error: &IntentError) -> &'static str {
    match error {
        IntentError::NotLoggedIn => "not_logged_in",
        IntentError::WrongPassword | IntentError::PasswordTooLong => "password",
        IntentError::NameTaken => "name_taken",
        IntentError::TooManyDevices { .. } => "too_many_devices",
        IntentError::UnknownDevice => "unknown_device",
        IntentError::UnknownUser { .. } => "unknown_user",
        IntentError::UnknownConversation => "unknown_conversation",
        IntentError::NoDevices { .. } => "no_devices",
        IntentError::OtherDevice { .. } => "other_device",
        IntentError::KeyChanged { .. } => "key_changed",
        IntentError::NotAMember => "not_a_member",
        IntentError::OtherId => "other_id",
        IntentError::TimedOut => "no_connection",
        IntentError::HeldBack | IntentError::Busy => "held_back",
        IntentError::Unconfirmed => "unconfirmed",
        IntentError::OtherServer
        | IntentError::OtherDomain { .. }
        | IntentError::NoDomain { .. } => "other_server",
        IntentError::LimitReached { .. } => "limit",
        IntentError::Refused { .. } => "refused",
        IntentError::Storage(_) | IntentError::Fatal(_) => "data",
        _ => "failed",
    }
}
