//! Why something came to nothing, and what to do about it.

use core::time::Duration;

use super::event::DeviceInfo;
use crate::io::ConnectError;
use crate::storage::Failure;

/// Why an intent came to nothing, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntentError {
    /// No account or no session is stored.
    #[error("not logged in: register or log in first")]
    NotLoggedIn,
    /// The stored state belongs to another account.
    #[error("this data belongs to {name}: use another data directory for another account")]
    OtherAccount {
        /// The account's name.
        name: String,
    },
    /// The name has a character or length that names may not have.
    #[error("a name has 1 to 32 of the characters a-z, 0-9, dot, underscore and hyphen")]
    BadName,
    /// The server is named by an address, so the name alone does not say which one is meant.
    #[error("say which server you mean: {name}@ and its domain")]
    NoDomain {
        /// The name.
        name: String,
    },
    /// The server calls itself otherwise than the one that is meant. It was shown nothing.
    #[error(
        "this server is {claimed}, not {expected}: check its address, or name it as in name@{claimed}"
    )]
    OtherDomain {
        /// The domain that is meant.
        expected: String,
        /// What the server calls itself.
        claimed: String,
    },
    /// The server has another key than the one where the account was made. It was shown nothing.
    #[error("this is another server than the one of this account: check its address")]
    OtherServer,
    /// The invitation is longer than `limit` bytes.
    #[error("the invitation is longer than {limit} bytes: it cannot be one of this server's")]
    InvitationTooLong {
        /// The longest, in bytes.
        limit: usize,
    },
    /// [`ClientConfig::device_name`](super::ClientConfig::device_name) is too long.
    #[error("the name of a device has at most {limit} bytes: choose a shorter one")]
    DeviceNameTooLong {
        /// The most bytes.
        limit: usize,
    },
    /// Someone has the name.
    #[error("the name is taken: choose another, or log in if it is yours")]
    NameTaken,
    /// OPAQUE does not tell which of the two it is.
    #[error("wrong password or unknown name: check both")]
    WrongPassword,
    /// The password is longer than 65,535 bytes.
    #[error("the password is too long: use at most 65535 bytes")]
    PasswordTooLong,
    /// The server asks for less password stretching than is safe, or something unknown.
    #[error(
        "the server's password protection is weaker than this client accepts: do not use this server"
    )]
    WeakSuite,
    /// Server's answers contradict each other or the protocol.
    #[error("the server's answer makes no sense: check that it is the right server and up to date")]
    BadServer,
    /// The account's identity is not kept at the server, so that a password alone is not enough.
    #[error("this account's key is not stored at the server: use a device that has it")]
    NoSealedIdentity,
    /// The account has as many devices as it may have.
    #[error("this account has {} devices and may have no more: log in in place of one of them", devices.len())]
    TooManyDevices {
        /// Those that it has.
        devices: Vec<DeviceInfo>,
    },
    /// There is no such device.
    #[error("this account has no such device: list its devices for their ids")]
    UnknownDevice,
    /// This device, where another belongs.
    #[error("that is this device: log out, or remove it from another one")]
    OwnDevice,
    /// There is no such user.
    #[error("there is no user {name}: check the spelling")]
    UnknownUser {
        /// The name asked for.
        name: String,
    },
    /// The user has no key package left, not even a last-resort one.
    #[error("{name} has no device that can be added: ask them to log in once")]
    NoDevices {
        /// The user.
        name: String,
    },
    /// The server names another key for a known name.
    #[error("the key of {name} has changed: compare safety numbers before you go on")]
    KeyChanged {
        /// The user.
        name: String,
    },
    /// One's own name where another's belongs.
    #[error("that is you: name someone else")]
    Yourself,
    /// There is no such conversation.
    #[error("there is no such conversation: list the conversations for their names")]
    UnknownConversation,
    /// The conversation does not have this kind.
    #[error("a conversation between two people has no other members: create a group")]
    NotAGroup,
    /// The conversation was left, or this client was removed.
    #[error("you are not in this conversation any more: ask to be invited")]
    NotAMember,
    /// The person is in the conversation already.
    #[error("{name} is in this conversation already")]
    AlreadyMember {
        /// The user.
        name: String,
    },
    /// The person is not in the conversation.
    #[error("{name} is not in this conversation")]
    NoSuchMember {
        /// The user.
        name: String,
    },
    /// Groups have at most 50 members in this version.
    #[error("a group has at most {limit} members")]
    GroupTooLarge {
        /// The most members.
        limit: usize,
    },
    /// The text is empty or longer than a message may be.
    #[error("a message has between 1 and {limit} bytes: split it")]
    BadLength {
        /// The most bytes.
        limit: usize,
    },
    /// The name of a group is empty or longer than it may be.
    #[error("the name of a group has between 1 and {limit} bytes: choose another")]
    BadGroupName {
        /// The most bytes.
        limit: usize,
    },
    /// The conversation stands, but its members did not add this device.
    #[error(
        "this device is not in the conversation with {name}, which began without it: go on with the device that is, or create a group"
    )]
    OtherDevice {
        /// The peer.
        name: String,
    },
    /// The intent waited for its deadline, without a connection.
    #[error("the server did not answer in time: check that it runs, then try again")]
    TimedOut,
    /// The intent waited for its deadline, though the server answers.
    #[error("the server holds this back: it is busy, or was asked too often; try again later")]
    HeldBack,
    /// The message is kept, and waits until a member agrees ([`Event::AgreementAwaited`](super::Event::AgreementAwaited)).
    #[error(
        "this device's data were put back from a copy: nothing is sent there before somebody who was in the conversation then is online, or you take it as it is"
    )]
    Unconfirmed,
    /// The server refused, in its own words.
    #[error("the server refused: {message}")]
    Refused {
        /// The server's words.
        message: String,
    },
    /// A limit of the server, which is over after a while.
    #[error("the server's limit is reached ({message}): try again in {}", in_words(*retry_after))]
    LimitReached {
        /// The server's words, which name the limit.
        message: String,
        /// When it is over.
        retry_after: Duration,
    },
    /// Another intent of the same kind runs, or too many at once.
    #[error("too much at once: wait for the earlier ones to end")]
    Busy,
    /// The app took it back before it was done.
    #[error("it was taken back: nothing of it is kept")]
    TakenBack,
    /// Nothing is kept under this id: it was done, has failed, or was never asked for.
    #[error("nothing is kept under this id")]
    NotKept,
    /// The server may know of it already.
    #[error("it is on its way and can't be taken back")]
    OnItsWay,
    /// Another message or conversation has this id.
    #[error("this id belongs to something else: leave it out, or use a new one")]
    OtherId,
    /// Storage failed.
    #[error("{0}")]
    Storage(Failure),
    /// The core is being closed.
    #[error("the client is being closed: open it again")]
    Closing,
    /// The core has stopped for good.
    #[error("{0}")]
    Fatal(Fatal),
    /// A cryptographic operation failed on this client's own state.
    #[error(
        "this client's state does not allow it: open the client again, and report it if it stays so"
    )]
    State,
}

/// A time as people say it, never shorter than it is.
fn in_words(time: Duration) -> String {
    let seconds = time
        .as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0));
    match seconds {
        0..=1 => "a second".to_owned(),
        2..=120 => format!("{seconds} seconds"),
        121..=7200 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3600)),
    }
}

/// Why there is no connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// It never came to stand.
    #[error("{0}")]
    Connect(ConnectError),
    /// It stood and is gone.
    #[error("the connection was lost")]
    Lost,
    /// The server did not answer in time, so this client closed it.
    #[error("the server stopped answering")]
    TimedOut,
    /// The server sent what the protocol does not allow, so this client closed it.
    #[error("the server broke the protocol: check that it is the right server and up to date")]
    Protocol,
    /// It is not the server that the account was made at, so this client closed it and showed it
    /// nothing.
    #[error("this is another server than the one of this account: check its address")]
    OtherServer,
    /// The app said to be quiet; nothing is sent until it says otherwise.
    #[error("the client is suspended")]
    Suspended,
    /// Storage failed, so this client closed it.
    #[error("the storage failed")]
    Storage,
}

/// Why something in the queue was passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableReason {
    /// It waited so long that the server removed it.
    #[error("it expired before it was fetched")]
    Expired,
    /// It is none of the forms that this version knows.
    #[error("its form is unknown to this version")]
    Unsupported,
    /// It is for a conversation that this client is not in.
    #[error("it is for a conversation that this client is not in")]
    NoConversation,
    /// It does not decrypt, or its signature is wrong.
    #[error("it does not decrypt")]
    Undecryptable,
    /// It was encrypted too many changes of members ago.
    #[error("it was encrypted for an older state of the conversation")]
    TooOld,
    /// It was encrypted for a state that this client never saw, and too many of these wait.
    #[error("it was encrypted for a newer state of the conversation")]
    TooNew,
    /// Its writer has said something else under the same id before: their data were set back, or two
    /// devices run on a copy of them.
    #[error("its writer has said something else under the same id")]
    SaidOtherwise,
    /// A key that serves for one message has served for two: the sender's state exists twice, in a copy of
    /// its data or at somebody else's.
    #[error("its sender's keys are in use twice: a copy of their device is at work")]
    Copied,
    /// A commit that every member rejects; its slot is used up and nothing else changed.
    #[error("a change of members was invalid and had no effect")]
    Void,
    /// An invitation that can't be used.
    #[error("the invitation cannot be used")]
    BadWelcome,
    /// A fork report that does not open, says what nobody can mean, or is of nobody who is or was in the group.
    #[error("what somebody tells of their state of the conversation cannot be used")]
    BadReport,
}

/// Why the core has stopped for good.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// Another process opened the same data.
    #[error("the data was opened by another process ({holder}): close one of the two")]
    WriterReplaced {
        /// What that process calls itself.
        holder: String,
    },
    /// The stored state is of a newer version than this code.
    #[error("the data was written by a newer version ({found}): update this program")]
    NewerData {
        /// The version found.
        found: u64,
    },
    /// The stored state does not open with this storage key.
    #[error("the data does not open with this key: use the key it was created with")]
    WrongKey,
    /// The stored state contradicts itself.
    #[error("the data is damaged: restore a backup or use another data directory")]
    Corrupt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_when_it_ends() {
        let after = |millis| {
            let retry_after = Duration::from_millis(millis);
            let message = "registrations".to_owned();
            let error = IntentError::LimitReached {
                message,
                retry_after,
            };
            error.to_string()
        };
        assert!(after(1).ends_with("(registrations): try again in a second"));
        assert!(after(1001).ends_with("in 2 seconds"));
        assert!(after(121_000).ends_with("in 3 minutes"));
        assert!(after(7_200_001).ends_with("in 3 hours"));
    }
}
