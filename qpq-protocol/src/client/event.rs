//! What the client core tells its app: events, outcomes of intents and their errors.

use core::time::Duration;

use crate::ids::{ChannelId, DeviceId, IdentityKey, MessageId};
use crate::io::ConnectError;
use crate::storage::Failure;
use crate::time::UnixTime;

/// A conversation: the channel it runs in (protocol.md §5.11).
pub type ConversationId = ChannelId;

/// Names an intent from its call to its one [`Event::Done`] or [`Event::Failed`]. Never reused
/// within the life of a core, and unknown to the next one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IntentId(pub u64);

/// What the client core tells its app. Nothing in an event is known before it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The stored state is loaded; with it the account, if there is one.
    Opened {
        /// Who this client is, `None` before the first registration or login.
        account: Option<Account>,
    },
    /// A connection to the server stands.
    Connected,
    /// There is no connection; the core tries again by itself.
    Disconnected {
        /// Why.
        why: DisconnectReason,
        /// After how long the next attempt starts.
        retry_in: Duration,
    },
    /// The session stands and the device is registered: requests are possible.
    LoggedIn {
        /// Who this client is.
        account: Account,
    },
    /// The server ended the session: log in again with the password.
    LoggedOut,
    /// Everything that waited at the server when the session was made or resumed is taken in.
    Synced,
    /// A message, stored. Events of one conversation come in the order of [`Message::index`].
    Message(Message),
    /// This client is a member of a conversation that it was not in before.
    Joined {
        /// The conversation.
        conversation: Conversation,
    },
    /// The members of a conversation changed; the change is merged.
    Membership {
        /// The conversation.
        conversation: ConversationId,
        /// Who changed it.
        by: Person,
        /// Who was added.
        added: Vec<Person>,
        /// Who was removed or left.
        removed: Vec<Person>,
        /// MLS epoch after the change.
        epoch: u64,
    },
    /// The conversation is named so from now on.
    Renamed {
        /// The conversation.
        conversation: ConversationId,
        /// The name its members see.
        name: String,
    },
    /// This client is no member any more; the history stays.
    Removed {
        /// The conversation.
        conversation: ConversationId,
    },
    /// Something in the queue could not be read; it is recorded and passed over.
    Unreadable {
        /// The conversation.
        conversation: ConversationId,
        /// Its position in the queue.
        seq: u64,
        /// Why.
        why: UnreadableReason,
    },
    /// The conversation can't go on: its state and the other members' no longer fit together. Ask
    /// to be invited again.
    Broken {
        /// The conversation.
        conversation: ConversationId,
    },
    /// The server says that a known name has another key. The core keeps the old one and refuses the
    /// new: compare safety numbers with that person.
    KeyChanged {
        /// The name.
        name: String,
        /// The key known so far.
        known: IdentityKey,
        /// The key that the server names now.
        claimed: IdentityKey,
    },
    /// Storage failed; the core loads its state again and goes on from there.
    StorageTrouble(Failure),
    /// The core has stopped for good.
    Fatal(Fatal),
    /// The intent has come to its end.
    Done {
        /// Which one.
        intent: IntentId,
        /// What it gave.
        outcome: Outcome,
    },
    /// The intent has come to nothing.
    Failed {
        /// Which one.
        intent: IntentId,
        /// Why, and what to do about it.
        error: IntentError,
    },
}

/// Who this client is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The user name.
    pub name: String,
    /// The server's domain.
    pub domain: String,
    /// The account's key.
    pub identity_key: IdentityKey,
    /// This device.
    pub device_id: DeviceId,
    /// Whether a session is stored, so that the password is not needed.
    pub logged_in: bool,
}

/// A user as this client knows them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// The account's key.
    pub identity_key: IdentityKey,
    /// The name, `None` until the server has told it.
    pub name: Option<String>,
}

/// A conversation as this client knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Between two people, or a group.
    pub kind: Kind,
    /// The peer's name, or the group's; empty until known.
    pub name: String,
    /// Whether messages can be sent.
    pub standing: Standing,
    /// MLS epoch, 0 where there is no MLS group.
    pub epoch: u64,
    /// Everyone in it, this client too.
    pub members: Vec<Person>,
    /// Messages stored.
    pub messages: u64,
    /// Messages stored that [`Client::mark_read`](super::Client::mark_read) has not covered.
    pub unread: u64,
}

/// What kind of conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Between two people.
    Dm,
    /// A group.
    Group,
}

/// Whether a conversation can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Being set up; messages wait.
    Forming,
    /// Usable.
    Active,
    /// Left, or removed from it: only the history is there.
    Over,
    /// See [`Event::Broken`].
    Broken,
}

/// A message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The conversation.
    pub conversation: ConversationId,
    /// Position in this client's history of the conversation, from 0, without holes.
    pub index: u64,
    /// Who wrote it.
    pub sender: Person,
    /// Whether this account wrote it.
    pub own: bool,
    /// The writer's name for it.
    pub message_id: MessageId,
    /// The writer's clock.
    pub sent_at: UnixTime,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Body {
    /// Text.
    Text(String),
    /// Something this version cannot show.
    Unsupported,
}

/// What an intent gave.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Registered or logged in, device registered, key packages published.
    LoggedIn(Account),
    /// Logged out.
    LoggedOut,
    /// Who this client is, `None` before the first registration or login.
    Account(Option<Account>),
    /// The conversation stands.
    Conversation(Conversation),
    /// All conversations.
    Conversations(Vec<Conversation>),
    /// The change of members is made.
    Changed(Conversation),
    /// Left.
    Left(ConversationId),
    /// The server has the message on durable storage.
    Sent {
        /// The message's id.
        message_id: MessageId,
        /// Position in the history.
        index: u64,
        /// Members who do not get it because their queues are full or gone.
        undelivered: Vec<Person>,
    },
    /// Members of a conversation.
    Members(Vec<Person>),
    /// Messages in the order of [`Message::index`].
    Messages(Vec<Message>),
    /// The position is stored.
    Read,
    /// What the server says of itself.
    Server(ServerInfo),
}

/// What the server says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerInfo {
    /// Its domain.
    pub domain: String,
    /// 32-byte Ed25519 key of all its signatures.
    pub signing_key: [u8; 32],
    /// MLS cipher suites it takes.
    pub ciphersuites: Vec<u64>,
    /// Longest payload of a frame, in bytes.
    pub max_payload: u32,
    /// Wire version of the connection.
    pub wire_version: u32,
    /// Names of its optional parts.
    pub features: Vec<String>,
    /// Version of its software.
    pub version: String,
    /// How long it has run.
    pub uptime: Duration,
}

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
    #[error("this account has too many devices: remove one first")]
    TooManyDevices,
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
    /// The conversation cannot go on.
    #[error("this conversation is broken: ask a member to remove and invite you")]
    Broken,
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
    /// The intent waited for its deadline.
    #[error("the server did not answer in time: check that it runs, then try again")]
    TimedOut,
    /// The server refused, in its own words.
    #[error("the server refused: {message}")]
    Refused {
        /// The server's words.
        message: String,
    },
    /// Another intent of the same kind runs, or too many at once.
    #[error("too much at once: wait for the earlier ones to end")]
    Busy,
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
    /// A commit that every member rejects; its slot is used up and nothing else changed.
    #[error("a change of members was invalid and had no effect")]
    Void,
    /// An invitation that can't be used.
    #[error("the invitation cannot be used")]
    BadWelcome,
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
