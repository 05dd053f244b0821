//! What the app of a client knows: what it asked for, what it was promised, what it was told.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::client::{
    Body, Conversation, ConversationId, Event, IntentError, IntentId, Message, Outcome, Standing,
};
use crate::ids::{IdentityKey, MessageId};
use crate::time::Time;

/// What an app asked for, as its user means it: people by their numbers, and texts that are not written yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Register,
    Login,
    Logout,
    Dm(usize),
    Group(Vec<usize>),
    Invite(ConversationId, usize),
    Remove(ConversationId, usize),
    Leave(ConversationId),
    Send(ConversationId),
    MarkRead(ConversationId, u64),
    Conversations,
    History(ConversationId),
    ServerInfo,
}

/// The app of one client. It outlives crashes of its core, as a user does.
#[derive(Clone, Default)]
pub(super) struct App {
    pub(super) name: String,
    /// The account, once the core has said that it has one.
    pub(super) account: Option<IdentityKey>,
    pub(super) logged_in: bool,
    /// The server has the name: a registration went through, whether this app was told or not.
    pub(super) registered: bool,
    /// Intents of the core that runs now, not ended.
    pub(super) open: BTreeMap<IntentId, Wish>,
    /// Groups and DMs that the app has heard of, and where it stands in them as far as it knows.
    pub(super) conversations: BTreeMap<ConversationId, Standing>,
    /// Conversations that the user has ever asked to leave.
    pub(super) left: BTreeSet<ConversationId>,
    /// Conversations to which the client comes back only if the user agrees to meet people again.
    pub(super) refused: BTreeSet<ConversationId>,
    /// Conversations in which nothing is sent before a member or the user agrees, and since when.
    pub(super) awaited: BTreeMap<ConversationId, Time>,
    /// Members of whom the server says that they left, and who did not tell the group.
    pub(super) unlisted: BTreeSet<(ConversationId, IdentityKey)>,
    /// Messages that the app was told, by their place.
    pub(super) told: BTreeMap<(ConversationId, u64), MessageId>,
    pub(super) told_ids: BTreeSet<(ConversationId, MessageId)>,
    /// Messages that the app was told the server has.
    pub(super) sent: BTreeSet<(ConversationId, MessageId)>,
    /// The same, whatever its disk has forgotten since.
    pub(super) called_sent: BTreeSet<MessageId>,
    /// Those of them that are lost here, by a copy that was put back unnoticed: none of its openings was
    /// followed by another one.
    pub(super) forgotten: BTreeSet<MessageId>,
    /// Messages that are kept, by the intents that were for them.
    pub(super) kept: BTreeMap<IntentId, MessageId>,
    /// Messages of which the user was told that they will not be sent.
    pub(super) called_unsent: BTreeSet<MessageId>,
    /// The openings that this data have shown to a server.
    pub(super) shown: BTreeSet<Bytes>,
    /// Up to where the app was promised that it is marked as read.
    pub(super) read: BTreeMap<ConversationId, u64>,
    /// How often the user asked to be logged out, and was not yet told that it is so.
    pub(super) logouts: usize,
    /// Texts that this user has sent.
    pub(super) texts: BTreeSet<String>,
    /// The last answer to [`Wish::Conversations`], if one came since it was asked.
    pub(super) listed: Option<Vec<Conversation>>,
    /// The last answers to [`Wish::History`].
    pub(super) histories: BTreeMap<ConversationId, Vec<Message>>,
}

impl App {
    /// The core was stopped or died: its intents are unknown to the next one.
    pub(super) fn core_is_gone(&mut self) {
        self.open.clear();
        self.kept.clear();
        self.listed = None;
    }

    /// Its data is put back to a copy: it knows what it knew then, and the user what was done since. `held` is
    /// the opening that the servers have of it: one that is in the copy too tells nothing (protocol.md §5.31).
    /// Returns what it was told, or told to be sent, and does not have any more.
    pub(super) fn set_back(
        &mut self,
        copy: Self,
        held: &Bytes,
    ) -> BTreeSet<(ConversationId, MessageId)> {
        let was = core::mem::replace(self, copy);
        self.open.clear();
        self.listed = None;
        self.registered |= was.registered;
        self.texts = was.texts;
        self.forgotten.extend(was.forgotten);
        if self.shown.contains(held) {
            let since = was.called_sent.difference(&self.called_sent);
            self.forgotten.extend(since);
        }
        self.called_sent = was.called_sent;
        self.called_unsent = was.called_unsent;
        self.kept.clear();
        self.left.extend(was.left);
        let told = was.told_ids.difference(&self.told_ids);
        let sent = was.sent.difference(&self.sent);
        told.chain(sent).copied().collect()
    }

    /// An intent ended well.
    pub(super) fn done(&mut self, intent: IntentId, outcome: Outcome) -> Option<Wish> {
        let wish = self.open.remove(&intent)?;
        match outcome {
            Outcome::LoggedIn(account) => {
                self.account = Some(account.identity_key);
                self.logged_in = true;
                self.registered = true;
            }
            Outcome::LoggedOut => self.logged_in = false,
            Outcome::Conversation(conversation) | Outcome::Changed(conversation) => {
                self.learn(&conversation);
            }
            Outcome::Conversations(all) => {
                for conversation in &all {
                    self.learn(conversation);
                }
                self.listed = Some(all);
            }
            Outcome::Messages(messages) => {
                if let Wish::History(id) = wish {
                    self.histories.insert(id, messages);
                }
            }
            Outcome::Sent(sent) => {
                self.sent.insert((sent.conversation, sent.message_id));
                self.called_sent.insert(sent.message_id);
            }
            Outcome::Read => {
                if let Wish::MarkRead(id, up_to) = wish {
                    // What has not come yet can't be read.
                    let last = self.told.range((id, 0)..=(id, u64::MAX)).next_back();
                    let known = last.map_or(0, |((_, index), _)| index + 1);
                    let read = self.read.entry(id).or_default();
                    *read = up_to.min(known).max(*read);
                }
            }
            _ => {}
        }
        Some(wish)
    }

    /// An intent came to nothing.
    pub(super) fn failed(&mut self, intent: IntentId, error: &IntentError) -> Option<Wish> {
        match error {
            IntentError::NotLoggedIn => self.logged_in = false,
            // Nobody else wants it.
            IntentError::NameTaken => self.registered = true,
            // A conversation that was listed, and came to nothing since.
            IntentError::UnknownConversation => self.listed = None,
            _ => {}
        }
        self.called_unsent.extend(self.kept.remove(&intent));
        self.open.remove(&intent)
    }

    pub(super) fn learn(&mut self, conversation: &Conversation) {
        self.conversations
            .insert(conversation.id, conversation.standing);
    }

    /// Conversations that the app takes for usable.
    pub(super) fn usable(&self) -> Vec<ConversationId> {
        let all = self.conversations.iter();
        all.filter(|(_, standing)| matches!(standing, Standing::Active | Standing::Forming))
            .map(|(id, _)| *id)
            .collect()
    }

    /// How this user gets in.
    pub(super) fn entrance(&self) -> Wish {
        match self.registered {
            true => Wish::Login,
            false => Wish::Register,
        }
    }

    /// Whether the history that was read last holds this message.
    pub(super) fn holds(&self, id: &ConversationId, message: &MessageId) -> bool {
        let history = self.histories.get(id);
        history.is_some_and(|all| all.iter().any(|one| one.message_id == *message))
    }

    /// Whether a registration, login or logout runs.
    pub(super) fn is_authenticating(&self) -> bool {
        self.open
            .values()
            .any(|wish| matches!(wish, Wish::Register | Wish::Login | Wish::Logout))
    }
}

/// A text without what only makes it long.
pub(super) fn without_padding(text: &str) -> &str {
    text.split(" x").next().unwrap_or_default()
}

/// An event in a few words, for the log.
pub(super) fn brief(event: &Event) -> String {
    match event {
        Event::Message(message) => {
            let (index, conversation) = (message.index, message.conversation);
            let text = match &message.body {
                Body::Text(text) => without_padding(text),
                Body::TakenBack | Body::Unsupported => "?",
            };
            format!("message {index} of {conversation}: {text}")
        }
        Event::Done { intent, outcome } => {
            let outcome = format!("{outcome:?}");
            let kind = outcome.split(['(', ' ', '{']).next().unwrap_or_default();
            format!("intent {} is done: {kind}", intent.0)
        }
        Event::Failed { intent, error } => format!("intent {} failed: {error:?}", intent.0),
        other => {
            let mut text = format!("{other:?}");
            text.truncate(text.floor_char_boundary(100));
            text
        }
    }
}
