//! What intents give when they are done.

use core::time::Duration;

use qpq_crypto::safety::SafetyNumber;

use super::error::IntentError;
use super::event::{Account, Conversation, ConversationId, DeviceInfo, Message, Person, Waiting};
use crate::ids::{DeviceId, MessageId};

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
    /// The group stands, but not with everybody who was to be in it.
    Partly {
        /// The group.
        conversation: Conversation,
        /// Who is not in it.
        missing: Vec<Missing>,
    },
    /// All conversations.
    Conversations(Vec<Conversation>),
    /// The change of members is made.
    Changed(Conversation),
    /// Left.
    Left(ConversationId),
    /// The server has the message on durable storage.
    Sent(Sent),
    /// Members of a conversation.
    Members(Vec<Person>),
    /// Messages in the order of [`Message::index`].
    Messages(Vec<Message>),
    /// The position is stored.
    Read,
    /// What the server says of itself.
    Server(ServerInfo),
    /// Messages that wait to be sent.
    Outbox(Vec<Waiting>),
    /// It will not be done.
    TakenBack,
    /// The devices of this account.
    Devices(Vec<DeviceInfo>),
    /// The device is none of this account's any more.
    DeviceRemoved(DeviceId),
    /// What to compare with a person.
    SafetyNumber {
        /// The person, by the key that the number is made of.
        person: Person,
        /// The number.
        number: SafetyNumber,
    },
}

/// A message that the server has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The conversation.
    pub conversation: ConversationId,
    /// The message's id.
    pub message_id: MessageId,
    /// Position in the history.
    pub index: u64,
    /// Members who do not get it because their queues are full or gone.
    pub undelivered: Vec<Person>,
}

/// A group that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewGroup {
    /// The group.
    pub conversation: Conversation,
    /// Who was to be in it and is not.
    pub missing: Vec<Missing>,
}

/// Somebody who was to be in a new group and is not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// The name that was asked for.
    pub name: String,
    /// Why, and what to do about it.
    pub error: IntentError,
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
