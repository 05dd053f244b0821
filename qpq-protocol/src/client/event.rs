//! What the client core tells its app.

use core::time::Duration;

use qpq_crypto::proof::COMMIT_PROOF_LENGTH;

use super::error::{DisconnectReason, Fatal, IntentError, UnreadableReason};
use super::outcome::Outcome;
use crate::ids::{ChannelId, DeviceId, IdentityKey, IntentId, MessageId};
use crate::proto::app_message;
use crate::storage::Failure;
use crate::time::UnixTime;

/// A conversation: the channel it runs in (protocol.md §5.11).
pub type ConversationId = ChannelId;

/// What the client core tells its app. Nothing in an event is known before it is durable.
///
/// Exhaustive on purpose: an app that shows events has to say what it does with each new one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The stored state is loaded; with it the account, if there is one.
    Opened {
        /// Who this client is, `None` before the first registration or login.
        account: Option<Account>,
    },
    /// A connection to the server stands.
    Connected {
        /// SHA-256 of the certificate that the server presented, in DER; `None` where the transport has
        /// none. Who trusts on first use keeps it for the next start.
        certificate: Option<[u8; 32]>,
    },
    /// There is no connection; the core tries again by itself.
    Disconnected {
        /// Why.
        why: DisconnectReason,
        /// After how long the next attempt starts; [`Duration::MAX`] where there is none until the client is
        /// resumed.
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
    /// Strangers began more conversations than this client looks into at once
    /// ([`ClientConfig::strange_queues`](super::ClientConfig::strange_queues)). They wait at the server; one's own are
    /// not held up.
    NotFollowed {
        /// So many are looked into.
        followed: usize,
    },
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
    /// The other one left a DM: it is over, with its history, until one of the two opens it again.
    Left {
        /// The conversation.
        conversation: ConversationId,
        /// Who left.
        person: Person,
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
    /// A member had a commit put into a slot that no member can take: the slot is used up, nothing else
    /// changed (protocol.md §5.8).
    VoidCommit {
        /// The conversation.
        conversation: ConversationId,
        /// The slot.
        slot: u64,
        /// Who did it, by the server's signed word; `None` if the server names nobody.
        by: Option<Person>,
    },
    /// This device can't follow the group any more and comes back into it by itself. Messages wait until
    /// then.
    Rejoining {
        /// The conversation.
        conversation: ConversationId,
        /// How the thread was lost.
        why: RejoinReason,
    },
    /// This device is back in the group.
    Rejoined {
        /// The conversation.
        conversation: ConversationId,
        /// Members whom this device did not see come in: compare safety numbers before trusting that they
        /// belong there.
        added: Vec<Person>,
        /// Members of before who are out.
        removed: Vec<Person>,
        /// MLS epoch now.
        epoch: u64,
    },
    /// This device is back in a group after its data were set back, by what the server gave it. Nothing is sent there
    /// before one of these members shows that it holds the same group, or
    /// [`Client::accept_group`](super::Client::accept_group).
    AgreementAwaited {
        /// The conversation.
        conversation: ConversationId,
        /// Who was in it before, and is still.
        of: Vec<Person>,
    },
    /// Coming back would mean to talk to people whom this device saw go. Nothing is sent until
    /// [`Client::accept_group`](super::Client::accept_group).
    RejoinRefused {
        /// The conversation.
        conversation: ConversationId,
        /// They.
        returned: Vec<Person>,
    },
    /// A person, or one of their devices, could not be added; the others were.
    NotAdded {
        /// The conversation.
        conversation: ConversationId,
        /// Who.
        person: Person,
    },
    /// A conversation that was kept will not come to be, and nothing waits for it any more.
    NotMade {
        /// The conversation that there is not.
        conversation: ConversationId,
        /// What it was to be called.
        name: String,
        /// Why not.
        error: IntentError,
    },
    /// A message that was kept will not be sent, and nothing waits for it any more. It stays in the history.
    NotSent {
        /// The message.
        message: Waiting,
        /// Why not.
        error: IntentError,
    },
    /// A removal that was kept will not be made, and nothing waits for it any more.
    NotRemoved {
        /// The conversation.
        conversation: ConversationId,
        /// Who stays.
        person: Person,
        /// Why.
        error: IntentError,
    },
    /// A member gets nothing that is sent any more: the server says that they have left by themselves, and will not
    /// have them back on its list without a new invitation. The group was not told by them, as who leaves does, and the
    /// server alone takes nobody out of it: remove them, and invite them again if they did not leave.
    Unlisted {
        /// The conversation.
        conversation: ConversationId,
        /// The member.
        person: Person,
    },
    /// Nobody could follow the group any more, so a member began a new one in its place, with the same
    /// history.
    Reset {
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
    /// The server names another signing key than when this account was made here: it is another
    /// server. The core shows it nothing and closes the connection.
    ServerKeyChanged {
        /// The 32-byte Ed25519 key known so far.
        known: [u8; 32],
        /// The key that the server names now.
        claimed: [u8; 32],
    },
    /// The server gave a commit a slot without its valid signature (protocol.md §5.13). The commit
    /// counts if MLS finds it valid, but there is no evidence should the server give another member
    /// another one: compare safety numbers.
    Unproven {
        /// The conversation.
        conversation: ConversationId,
        /// The slot.
        slot: u64,
    },
    /// The server has signed for two commits in one slot, so members may be in different groups that
    /// look the same (protocol.md §5.13). The proofs convince everyone who knows the server's key.
    Forked {
        /// The conversation.
        conversation: ConversationId,
        /// The slot.
        slot: u64,
        /// The one that was seen first, and the other; a member may have shown that one ([`Event::Compared`]).
        proofs: [CommitProof; 2],
    },
    /// A member has told what it holds of the group, and that was compared with what this device holds, after a
    /// rejoin or where something was odd (protocol.md §5.13). Nothing follows from it by itself: a member may lie.
    Compared {
        /// The conversation.
        conversation: ConversationId,
        /// The member.
        with: Person,
        /// The slot of the last commit that the member has merged.
        slot: u64,
        /// What came of it.
        result: Comparison,
    },
    /// This device's data are of an earlier day than what the server saw of it: they were put back from a
    /// copy, or a copy is in use elsewhere. What came in between is not here. The core replaces its key
    /// packages and comes back into each group before it sends anything there; that it does once a day. Use one
    /// of the two alone.
    SetBack,
    /// The server's data are of an earlier day. The core sends again what it still can of what this account
    /// had sent since; the messages in `unsent` it does not, or not to all whom they were for: somebody came in
    /// since, somebody is not in the group any more, or there are too many.
    ServerSetBack {
        /// Own messages that the server may have lost for good.
        unsent: Vec<Unsent>,
    },
    /// What was asked for is durable, and will be done without being asked for again, whatever
    /// becomes of the intent and of this process. See [`TakeBack`](super::intent::TakeBack).
    Kept {
        /// Which intent.
        intent: IntentId,
        /// What is kept.
        kept: Kept,
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

/// What a member holds of a group beside what this device holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// The same group: nobody has split the two.
    Agrees,
    /// Another group that looks the same: compare safety numbers. Or the member is not honest.
    OtherTree,
    /// The server has signed for another commit in the slot; [`Event::Forked`] comes before this, with the proofs.
    OtherCommit,
    /// This device is too far from that slot to tell.
    NotComparable,
}

/// An act that is kept until it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// A message that is to be sent.
    Message {
        /// The conversation.
        conversation: ConversationId,
        /// The message.
        message_id: MessageId,
    },
    /// A conversation that is to be made.
    Conversation(ConversationId),
    /// A change of members that is to be made.
    Change {
        /// The conversation.
        conversation: ConversationId,
        /// Who is to be added or removed.
        identity_key: IdentityKey,
    },
    /// A conversation that is to be left.
    Leaving(ConversationId),
}

/// A message that waits to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The conversation.
    pub conversation: ConversationId,
    /// The message.
    pub message_id: MessageId,
    /// What it says.
    pub body: Body,
    /// Whether the server may have it already, so that it can't be taken back.
    pub on_its_way: bool,
}

/// A device of this account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// Its id; empty for the account's first.
    pub device_id: DeviceId,
    /// What it was called when it was registered.
    pub name: String,
    /// When it was made, by its own clock.
    pub created_at: UnixTime,
    /// When the server last saw it.
    pub last_seen: UnixTime,
    /// Whether it is this one.
    pub own: bool,
}

/// The server's word that a commit has a slot; see
/// [`verify_commit`](qpq_crypto::proof::verify_commit).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitProof {
    /// SHA-256 of the commit.
    pub commit_hash: [u8; 32],
    /// The member that submitted it.
    pub sender: IdentityKey,
    /// When the server's database was made or put back last: only within one epoch do two commits for
    /// one slot contradict each other.
    pub server_epoch: u64,
    /// `server_epoch` and the server's Ed25519 signature over it, the channel, the slot, the hash and the
    /// sender.
    pub proof: [u8; COMMIT_PROOF_LENGTH],
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
    /// Messages stored that [`MarkRead`](super::intent::MarkRead) has not covered.
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
    /// This device comes back into the group by itself; messages wait until then.
    Rejoining,
    /// Left, or removed from it: only the history is there.
    Over,
}

/// How a device lost the thread of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RejoinReason {
    /// A commit that others may have taken does not fit here.
    Unfit,
    /// Commits are missing: they expired, or the queue was full.
    Missed,
    /// The stored state of the group cannot be used.
    State,
    /// This device was set back to an earlier state (protocol.md §5.31).
    SetBack,
    /// This device was in the group and knows nothing of that: its data are of before it joined.
    Forgotten,
}

impl RejoinReason {
    pub(super) const ALL: [Self; 5] = [
        Self::Unfit,
        Self::Missed,
        Self::State,
        Self::SetBack,
        Self::Forgotten,
    ];

    /// How it is stored, from 1.
    pub(super) fn number(self) -> u32 {
        (1..)
            .zip(Self::ALL)
            .find(|(_, why)| *why == self)
            .map_or(0, |(number, _)| number)
    }

    pub(super) fn from_number(number: u32) -> Option<Self> {
        (1..)
            .zip(Self::ALL)
            .find(|(own, _)| *own == number)
            .map(|(_, why)| why)
    }
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

/// An own message that is not sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsent {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its position in the history.
    pub index: u64,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Body {
    /// Text.
    Text(String),
    /// Its writer has taken it back before it was sent.
    TakenBack,
    /// Something this version cannot show.
    Unsupported,
}

impl Body {
    pub(super) fn of(body: Option<app_message::Body>) -> Self {
        match body {
            Some(app_message::Body::Chat(chat)) => Self::Text(chat.text),
            _ => Self::Unsupported,
        }
    }
}
