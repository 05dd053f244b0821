//! What an app can ask for, as data: each kind is a struct, and [`Intent`] is any of them.
//!
//! [`Client::begin`] takes them, and names what it was given by an [`IntentId`]; each comes to one end, which its page
//! names, and which its [`Ask`] makes of the event that tells it. Where a page says that something is done "here", the
//! server is not asked.

use qpq_crypto::safety;
use zeroize::Zeroizing;

use super::Client;
use super::error::IntentError;
use super::event::{
    Account, Conversation, ConversationId, DeviceInfo, Event, Kept, Message, Person, Waiting,
};
use super::outcome::{self, NewGroup, Outcome, Sent};
use crate::ask::{Ask, TakesIntents};
use crate::ids::{DeviceId, IntentId, MessageId};
pub use crate::invitation::Invitation;
use crate::time::Time;

/// A password. It is wiped from memory when it is dropped, and not shown by `Debug`.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// The bytes of it, for anyone who has another form of it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Password {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<Zeroizing<Vec<u8>>> for Password {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl core::fmt::Debug for Password {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Password")
    }
}

/// Registers an account and logs in: makes the account's identity and this device. Ends in [`Outcome::LoggedIn`].
#[derive(Clone, Debug)]
pub struct Register {
    /// 1 to 32 of the characters a-z, 0-9, dot, underscore, hyphen; the server's domain may follow, as in
    /// `alice@example.org`. Without it the host name of [`ClientConfig::server`](super::ClientConfig::server) is meant: a server
    /// that calls itself otherwise is shown nothing.
    pub name: String,
    /// At most 65,535 bytes.
    pub password: Password,
    /// What the server's operator gave to be let in.
    pub invitation: Invitation,
}

impl Register {
    /// With this name and password, and no invitation.
    pub fn new(name: impl Into<String>, password: impl Into<Password>) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            invitation: Invitation::default(),
        }
    }
}

/// Logs in to an account, as a new device or as the one in the stored state. Ends in [`Outcome::LoggedIn`].
#[derive(Clone, Debug)]
pub struct Login {
    /// As in [`Register::name`].
    pub name: String,
    /// The account's.
    pub password: Password,
    /// If the account has as many devices as it may have, this one is revoked to make room.
    /// [`IntentError::TooManyDevices`] tells which there are.
    pub in_place_of: Option<DeviceId>,
}

impl Login {
    /// With this name and password, in place of no other device.
    pub fn new(name: impl Into<String>, password: impl Into<Password>) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            in_place_of: None,
        }
    }
}

/// Ends the session at the server; device and history stay. Ends in [`Outcome::LoggedOut`].
#[derive(Clone, Copy, Debug)]
pub struct Logout;

/// Says who this client is, here. Ends in [`Outcome::Account`].
#[derive(Clone, Copy, Debug)]
pub struct WhoAmI;

/// Asks the server what it is. Ends in [`Outcome::Server`]; needs no account.
#[derive(Clone, Copy, Debug)]
pub struct ServerInfo;

/// Opens the conversation with this user, or finds it. Ends in [`Outcome::Conversation`].
#[derive(Clone, Debug)]
pub struct Dm(pub String);

/// Makes a group of this account and others. Ends in [`Outcome::Conversation`] when all are in, in [`Outcome::Partly`]
/// if somebody can't be.
#[derive(Clone, Debug)]
pub struct CreateGroup {
    /// An id that [`Event::Kept`] has named, or a UUID v7 of the app's own: a group that is kept
    /// under this id is waited for. `None`: a new one.
    pub id: Option<ConversationId>,
    /// 1 to 256 bytes; only members see it.
    pub name: String,
    /// Names of the others.
    pub members: Vec<String>,
}

impl CreateGroup {
    /// A new group of this name.
    pub fn new(name: impl Into<String>, members: &[&str]) -> Self {
        Self {
            id: None,
            name: name.into(),
            members: members.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// Adds a user to a group. Ends in [`Outcome::Changed`].
#[derive(Clone, Debug)]
pub struct Invite {
    /// The group.
    pub conversation: ConversationId,
    /// Who is to come in.
    pub user: String,
}

impl Invite {
    /// This user into this group.
    pub fn new(conversation: ConversationId, user: impl Into<String>) -> Self {
        let user = user.into();
        Self { conversation, user }
    }
}

/// Removes a user from a group. Ends in [`Outcome::Changed`].
#[derive(Clone, Debug)]
pub struct Remove {
    /// The group.
    pub conversation: ConversationId,
    /// Who is to go.
    pub user: String,
}

impl Remove {
    /// This user out of this group.
    pub fn new(conversation: ConversationId, user: impl Into<String>) -> Self {
        let user = user.into();
        Self { conversation, user }
    }
}

/// Leaves a conversation; its history stays here. Ends in [`Outcome::Left`].
#[derive(Clone, Copy, Debug)]
pub struct Leave(pub ConversationId);

/// Says who is in a conversation, here. Ends in [`Outcome::Members`].
#[derive(Clone, Copy, Debug)]
pub struct Members(pub ConversationId);

/// Lists all conversations, here. Ends in [`Outcome::Conversations`].
#[derive(Clone, Copy, Debug)]
pub struct Conversations;

/// Sends a text. It is stored at once and sent when there is a connection, after a restart too. Ends in
/// [`Outcome::Sent`] when the server has it; never times out.
#[derive(Clone, Debug)]
pub struct Send {
    /// Where to.
    pub conversation: ConversationId,
    /// Up to 64 KiB.
    pub text: String,
    /// An id of the app's own: while a message with this id waits to be sent, this waits for that one. Ids must never
    /// be used for two different messages. `None`: a new one.
    pub message_id: Option<MessageId>,
}

impl Send {
    /// This text, under a new id.
    pub fn new(conversation: ConversationId, text: impl Into<String>) -> Self {
        Self {
            conversation,
            text: text.into(),
            message_id: None,
        }
    }
}

/// Lists the messages that wait to be sent, oldest first in each conversation, here. Ends in [`Outcome::Outbox`].
#[derive(Clone, Copy, Debug)]
pub struct Outbox;

/// Takes back what is kept, here: it will not be done. Ends in [`Outcome::TakenBack`]; in [`IntentError::OnItsWay`]
/// if the server may know of it already. The intent that is taken back fails with [`IntentError::TakenBack`].
#[derive(Clone, Copy, Debug)]
pub struct TakeBack(pub Kept);

/// Lists the devices of this account. Ends in [`Outcome::Devices`].
#[derive(Clone, Copy, Debug)]
pub struct Devices;

/// Revokes another device of this account: it is logged out, and gets nothing more. Ends in
/// [`Outcome::DeviceRemoved`].
#[derive(Clone, Copy, Debug)]
pub struct RemoveDevice(pub DeviceId);

/// Makes the number to compare with this user, to be sure that nobody sits between. Ends in
/// [`Outcome::SafetyNumber`]; needs the server only for a name that was never asked for.
#[derive(Clone, Debug)]
pub struct SafetyNumber(pub String);

/// Reads messages of a conversation, here. Ends in [`Outcome::Messages`].
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// The conversation.
    pub conversation: ConversationId,
    /// The index before which they stand. `None`: the last ones.
    pub before: Option<u64>,
    /// At most this many.
    pub limit: u64,
}

/// Reads the first messages that [`MarkRead`] has not covered, own ones too, here. Ends in [`Outcome::Messages`].
#[derive(Clone, Copy, Debug)]
pub struct Unread {
    /// The conversation.
    pub conversation: ConversationId,
    /// At most this many.
    pub limit: u64,
}

/// Notes that everything before an index was read, here. Ends in [`Outcome::Read`].
#[derive(Clone, Copy, Debug)]
pub struct MarkRead {
    /// The conversation.
    pub conversation: ConversationId,
    /// The first index that was not read.
    pub up_to: u64,
}

/// Whether an intent has to wait for the server, and so has a deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Server,
}

/// The one table of what there is to ask for: kinds, where they are done, and what they give.
macro_rules! intents {
    ($($kind:ident at $place:ident gives $end:ty { $($outcome:pat => $value:expr),+ })*) => {
        /// Something that an app asks for.
        ///
        /// Exhaustive on purpose: anyone who has another form of intents, for a file or another language, has to
        /// say what each new one is there.
        #[derive(Clone, Debug)]
        pub enum Intent {
            $(#[doc = concat!("See [`", stringify!($kind), "`] for what it does and what it ends in.")]
            $kind($kind),)*
        }

        $(impl From<$kind> for Intent {
            fn from(intent: $kind) -> Self {
                Self::$kind(intent)
            }
        }

        impl Ask for $kind {
            type Intent = Intent;
            type Event = Event;
            type End = $end;
            type Error = IntentError;

            fn into_intent(self) -> Intent {
                self.into()
            }

            fn end(event: Event) -> Result<$end, IntentError> {
                match Intent::end(event)? {
                    $($outcome => Ok($value),)+
                    // The core gives no kind of intents another kind's outcome.
                    _ => Err(IntentError::State),
                }
            }
        })*

        impl Intent {
            /// Whether the server is asked.
            pub(super) const fn needs_server(&self) -> bool {
                let place = match self {
                    $(Self::$kind(_) => Place::$place,)*
                };
                matches!(place, Place::Server)
            }
        }
    };
}

intents! {
    Register at Server gives Account { Outcome::LoggedIn(account) => account }
    Login at Server gives Account { Outcome::LoggedIn(account) => account }
    Logout at Server gives () { Outcome::LoggedOut => () }
    WhoAmI at Here gives Option<Account> { Outcome::Account(account) => account }
    ServerInfo at Server gives outcome::ServerInfo { Outcome::Server(info) => info }
    Dm at Server gives Conversation { Outcome::Conversation(conversation) => conversation }
    CreateGroup at Server gives NewGroup {
        Outcome::Conversation(conversation) => NewGroup { conversation, missing: Vec::new() },
        Outcome::Partly { conversation, missing } => NewGroup { conversation, missing }
    }
    Invite at Server gives Conversation { Outcome::Changed(conversation) => conversation }
    Remove at Server gives Conversation { Outcome::Changed(conversation) => conversation }
    Leave at Server gives () { Outcome::Left(_) => () }
    Members at Here gives Vec<Person> { Outcome::Members(members) => members }
    Conversations at Here gives Vec<Conversation> { Outcome::Conversations(all) => all }
    // It waits in the outbox, for as long as it takes.
    Send at Here gives Sent { Outcome::Sent(sent) => sent }
    Outbox at Here gives Vec<Waiting> { Outcome::Outbox(waiting) => waiting }
    TakeBack at Here gives () { Outcome::TakenBack => () }
    Devices at Server gives Vec<DeviceInfo> { Outcome::Devices(devices) => devices }
    RemoveDevice at Server gives () { Outcome::DeviceRemoved(_) => () }
    SafetyNumber at Server gives (Person, safety::SafetyNumber) {
        Outcome::SafetyNumber { person, number } => (person, number)
    }
    History at Here gives Vec<Message> { Outcome::Messages(messages) => messages }
    Unread at Here gives Vec<Message> { Outcome::Messages(messages) => messages }
    MarkRead at Here gives () { Outcome::Read => () }
}

impl Ask for Intent {
    type Intent = Self;
    type Event = Event;
    type End = Outcome;
    type Error = IntentError;

    fn into_intent(self) -> Self {
        self
    }

    fn end(event: Event) -> Result<Outcome, IntentError> {
        match event {
            Event::Done { outcome, .. } => Ok(outcome),
            Event::Failed { error, .. } => Err(error),
            // Nothing that tells an end.
            _ => Err(IntentError::State),
        }
    }
}

impl TakesIntents for Client {
    type Intent = Intent;

    fn begin(&mut self, now: Time, intent: Intent) -> IntentId {
        Self::begin(self, now, intent)
    }

    fn end_of(event: &Event) -> Option<IntentId> {
        match event {
            Event::Done { intent, .. } | Event::Failed { intent, .. } => Some(*intent),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let password = || Zeroizing::new(b"correct horse".to_vec());
        let register = Intent::from(Register {
            invitation: "correct staple".to_owned().into(),
            ..Register::new("alice", password())
        });
        let login = Intent::from(Login::new("alice", password()));
        let shown = format!("{register:?} {login:?}");
        assert!(shown.contains("alice"), "{shown}");
        // Neither as text nor as a list of numbers.
        assert!(
            !shown.contains("correct") && !shown.contains("99"),
            "{shown}"
        );
    }
}
