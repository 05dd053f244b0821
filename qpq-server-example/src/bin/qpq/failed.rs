//! [`Failed`]: why a command of `qpq` came to nothing, for people and for scripts.

use std::io::ErrorKind;

use qpq_protocol::client::IntentError;
use qpq_server_example::session::SessionError;

use crate::journal::JournalError;

/// Why a command came to nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failed {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("there is no data directory: pass --data-dir or set HOME")]
    NoDataDir,
    #[error("there is no password: set QPQ_PASSWORD or run it in a terminal")]
    NoPassword,
    #[error("the two passwords differ: try again")]
    PasswordsDiffer,
    #[error("the password is empty or not UTF-8: choose another")]
    BadPassword,
    #[error("there is no conversation {0}: `qpq conversations` lists them, `qpq dm` opens one")]
    NoConversation(String),
    #[error("more than one conversation is called {0}: use its id")]
    Ambiguous(String),
    #[error("standard input cannot be read ({0}): pass the text as an argument")]
    Input(ErrorKind),
    #[error("standard output cannot be written ({0})")]
    Output(ErrorKind),
    #[error("{failed} of {all} messages were not sent: {first}")]
    NotSent {
        failed: u64,
        all: u64,
        first: SessionError,
    },
    #[error("interrupted: what was not confirmed is kept and goes out with the next command")]
    Interrupted,
    #[error("the system gives no event loop ({0})")]
    Runtime(ErrorKind),
    #[error("the core answered something else than was asked: please report it")]
    Unexpected,
    #[error("{0}")]
    Demo(String),
    #[error("{failed} of {all} files of vectors do not hold")]
    Vectors { failed: usize, all: usize },
    #[error("an invariant does not hold with seed {0}: please report it")]
    Simulation(u64),
}

impl From<IntentError> for Failed {
    fn from(error: IntentError) -> Self {
        Self::Session(error.into())
    }
}

impl Failed {
    /// What a script can tell apart: the kinds of failure that call for different things.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Session(error) => session_code(error),
            Self::NotSent { first, .. } => session_code(first),
            Self::Journal(_) => "output_file",
            Self::NoPassword | Self::PasswordsDiffer | Self::BadPassword => "password",
            Self::NoConversation(_) | Self::Ambiguous(_) => "unknown_conversation",
            Self::Interrupted => "interrupted",
            Self::NoDataDir
            | Self::Input(_)
            | Self::Output(_)
            | Self::Runtime(_)
            | Self::Unexpected
            | Self::Demo(_)
            | Self::Vectors { .. }
            | Self::Simulation(_) => "failed",
        }
    }
}

const fn session_code(error: &SessionError) -> &'static str {
    match error {
        SessionError::Intent(error) => intent_code(error),
        SessionError::Connect { .. } => "no_connection",
        SessionError::File { .. }
        | SessionError::StorageKey { .. }
        | SessionError::Database(_)
        | SessionError::Trust(_)
        | SessionError::Storage(_)
        | SessionError::Fatal(_) => "data",
        SessionError::Random | SessionError::Open(_) | SessionError::Stopped => "failed",
    }
}

const fn intent_code(error: &IntentError) -> &'static str {
    match error {
        IntentError::NotLoggedIn => "not_logged_in",
        IntentError::WrongPassword | IntentError::PasswordTooLong => "password",
        IntentError::NameTaken => "name_taken",
        IntentError::UnknownUser { .. } => "unknown_user",
        IntentError::UnknownConversation => "unknown_conversation",
        IntentError::NoDevices { .. } => "no_devices",
        IntentError::OtherDevice { .. } => "other_device",
        IntentError::KeyChanged { .. } => "key_changed",
        IntentError::NotAMember => "not_a_member",
        IntentError::Broken => "broken",
        IntentError::TimedOut => "no_connection",
        IntentError::HeldBack | IntentError::Busy => "held_back",
        IntentError::Refused { .. } => "refused",
        IntentError::Storage(_) | IntentError::Fatal(_) => "data",
        _ => "failed",
    }
}
