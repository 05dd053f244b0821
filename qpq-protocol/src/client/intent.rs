//! What an app can ask for, and when that is done.
//!
//! An intent waits as a [`Task`] and is looked at after each step: it is done, failed, or asks for
//! what it still lacks. So it does not matter what a lost connection or a restart took from it.

use core::mem;
use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::account::Attempt;
use super::contacts::LookUp;
use super::conversation::{Change, Phase as Standing};
use super::event::{ConversationId, Event, IntentError, IntentId, Outcome};
use super::load::Phase;
use super::rpc::Then;
use super::timers::Timer;
use super::{Client, Closing, MAX_MEMBERS};
use crate::ids::{ChannelId, IdentityKey, MessageId};
use crate::io::Output;
use crate::method::rpc;
use crate::proto;
use crate::time::Time;

/// Intents that wait at once, messages to send not counted.
const MAX_OPEN: usize = 256;
/// Messages to send that wait at once.
const MAX_SENDING: usize = 4096;
/// Longest text of a message, in bytes.
pub(super) const MAX_TEXT: usize = 64 * 1024;
/// Longest name of a group, in bytes.
const MAX_GROUP_NAME: usize = 256;

/// An intent and what it waits for.
pub(super) enum Task {
    /// A registration or login that has not begun.
    Authenticate(Attempt),
    /// A registration or login that runs.
    Authenticating,
    Logout,
    WhoAmI,
    ServerInfo,
    Dm(String),
    CreateGroup {
        name: String,
        members: BTreeSet<String>,
    },
    Change {
        conversation: ConversationId,
        name: String,
        remove: bool,
    },
    /// Changes of members that are to be committed.
    Changing {
        conversation: ConversationId,
        who: BTreeSet<IdentityKey>,
        is_new: bool,
    },
    Leave(ConversationId),
    Members(ConversationId),
    Conversations,
    Send {
        conversation: ConversationId,
        text: String,
    },
    History {
        conversation: ConversationId,
        before: Option<u64>,
        limit: u64,
    },
    Unread {
        conversation: ConversationId,
        limit: u64,
    },
    MarkRead {
        conversation: ConversationId,
        up_to: u64,
    },
    /// Rows that are being read.
    Reading,
}

/// Where an intent stands.
pub(super) enum Progress {
    Wait(Task),
    Done(Outcome),
    Failed(IntentError),
    /// Kept elsewhere until it ends.
    Handed,
}

/// All intents that have not ended.
#[derive(Default)]
pub(super) struct Intents {
    last: u64,
    /// Those that have not ended, wherever they wait.
    alive: BTreeSet<IntentId>,
    open: BTreeMap<IntentId, Task>,
    /// Messages in the outbox, by their place there.
    pub(super) sending: BTreeMap<(ConversationId, u64), (IntentId, MessageId)>,
}

impl Client {
    /// Registers `name` and logs in: makes the account's identity and this device. `name` has 1 to
    /// 32 of the characters a-z, 0-9, dot, underscore, hyphen. Ends in [`Outcome::LoggedIn`].
    pub fn register(&mut self, now: Time, name: &str, password: Zeroizing<Vec<u8>>) -> IntentId {
        self.authenticate(now, name, password, true)
    }

    /// Logs in to an account, as a new device or as the one in the stored state. Ends in
    /// [`Outcome::LoggedIn`].
    pub fn login(&mut self, now: Time, name: &str, password: Zeroizing<Vec<u8>>) -> IntentId {
        self.authenticate(now, name, password, false)
    }

    fn authenticate(
        &mut self,
        now: Time,
        name: &str,
        password: Zeroizing<Vec<u8>>,
        register: bool,
    ) -> IntentId {
        let attempt = Attempt::new(name.to_owned(), password, register);
        self.intent(now, Task::Authenticate(attempt))
    }

    /// Ends the session at the server; device and history stay. Ends in [`Outcome::LoggedOut`].
    pub fn logout(&mut self, now: Time) -> IntentId {
        self.intent(now, Task::Logout)
    }

    /// Who this client is. Ends in [`Outcome::Account`], without the server.
    pub fn whoami(&mut self, now: Time) -> IntentId {
        self.intent(now, Task::WhoAmI)
    }

    /// Asks the server what it is. Ends in [`Outcome::Server`]; needs no account.
    pub fn server_info(&mut self, now: Time) -> IntentId {
        self.intent(now, Task::ServerInfo)
    }

    /// Opens the conversation with `user`, or finds it. Ends in [`Outcome::Conversation`].
    pub fn dm(&mut self, now: Time, user: &str) -> IntentId {
        self.intent(now, Task::Dm(user.to_owned()))
    }

    /// Makes a group of this account and `members`. `name` has at most 256 bytes; only members see
    /// it. Ends in [`Outcome::Conversation`] when all are in.
    pub fn create_group(&mut self, now: Time, name: &str, members: &[&str]) -> IntentId {
        let members = members.iter().map(|name| (*name).to_owned()).collect();
        let name = name.to_owned();
        self.intent(now, Task::CreateGroup { name, members })
    }

    /// Adds `user` to a group. Ends in [`Outcome::Changed`].
    pub fn invite(&mut self, now: Time, conversation: ConversationId, user: &str) -> IntentId {
        self.change(now, conversation, user, false)
    }

    /// Removes `user` from a group. Ends in [`Outcome::Changed`].
    pub fn remove(&mut self, now: Time, conversation: ConversationId, user: &str) -> IntentId {
        self.change(now, conversation, user, true)
    }

    fn change(
        &mut self,
        now: Time,
        conversation: ConversationId,
        user: &str,
        remove: bool,
    ) -> IntentId {
        let name = user.to_owned();
        let task = Task::Change {
            conversation,
            name,
            remove,
        };
        self.intent(now, task)
    }

    /// Leaves a conversation; its history stays here. Ends in [`Outcome::Left`].
    pub fn leave(&mut self, now: Time, conversation: ConversationId) -> IntentId {
        self.intent(now, Task::Leave(conversation))
    }

    /// Who is in a conversation. Ends in [`Outcome::Members`], without the server.
    pub fn members(&mut self, now: Time, conversation: ConversationId) -> IntentId {
        self.intent(now, Task::Members(conversation))
    }

    /// All conversations. Ends in [`Outcome::Conversations`], without the server.
    pub fn conversations(&mut self, now: Time) -> IntentId {
        self.intent(now, Task::Conversations)
    }

    /// Sends a text of 1 byte to 64 KiB. It is stored at once and sent when there is a connection,
    /// after a restart too. Ends in [`Outcome::Sent`] when the server has it; never times out.
    pub fn send(&mut self, now: Time, conversation: ConversationId, text: &str) -> IntentId {
        let text = text.to_owned();
        self.intent(now, Task::Send { conversation, text })
    }

    /// At most `limit` messages before the one at index `before`, or the last ones. Ends in
    /// [`Outcome::Messages`], without the server.
    pub fn history(
        &mut self,
        now: Time,
        conversation: ConversationId,
        before: Option<u64>,
        limit: u64,
    ) -> IntentId {
        let task = Task::History {
            conversation,
            before,
            limit,
        };
        self.intent(now, task)
    }

    /// At most `limit` of the first messages that [`mark_read`](Self::mark_read) has not covered,
    /// own ones too. Ends in [`Outcome::Messages`], without the server.
    pub fn unread(&mut self, now: Time, conversation: ConversationId, limit: u64) -> IntentId {
        let task = Task::Unread {
            conversation,
            limit,
        };
        self.intent(now, task)
    }

    /// Everything before index `up_to` was read. Ends in [`Outcome::Read`], without the server.
    pub fn mark_read(&mut self, now: Time, conversation: ConversationId, up_to: u64) -> IntentId {
        let task = Task::MarkRead {
            conversation,
            up_to,
        };
        self.intent(now, task)
    }

    fn intent(&mut self, now: Time, task: Task) -> IntentId {
        let now = self.clock.advance(now);
        self.intents.last = self.intents.last.saturating_add(1);
        let intent = IntentId(self.intents.last);
        let is_full = match task {
            Task::Send { .. } => self.intents.sending.len() >= MAX_SENDING,
            _ => false,
        };
        let refused = match &self.phase {
            Phase::Stopped(fatal) => Some(IntentError::Fatal(fatal.clone())),
            _ if self.closing != Closing::Open => Some(IntentError::Closing),
            _ if is_full || self.intents.open.len() >= MAX_OPEN => Some(IntentError::Busy),
            _ => None,
        };
        self.intents.alive.insert(intent);
        match refused {
            Some(error) => self.fail(intent, error),
            None => {
                if task.needs_server() {
                    let at = now + self.config.intent_timeout;
                    self.timers.set(Timer::Intent(intent), at);
                }
                self.intents.open.insert(intent, task);
            }
        }
        self.step_done();
        intent
    }

    /// Looks at every intent that waits.
    pub(super) fn advance_intents(&mut self) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let waiting: Vec<IntentId> = self.intents.open.keys().copied().collect();
        for intent in waiting {
            let Some(task) = self.intents.open.remove(&intent) else {
                continue;
            };
            match self.advance(intent, task) {
                Progress::Wait(task) => {
                    self.intents.open.insert(intent, task);
                }
                Progress::Done(outcome) => self.done(intent, outcome),
                Progress::Failed(error) => self.fail(intent, error),
                Progress::Handed => self.timers.cancel(Timer::Intent(intent)),
            }
        }
    }

    fn advance(&mut self, intent: IntentId, task: Task) -> Progress {
        match task {
            Task::Authenticate(attempt) => self.begin_login(intent, attempt),
            Task::Authenticating | Task::Reading => Progress::Wait(task),
            Task::WhoAmI => {
                let account = self.state.me.as_ref().map(super::state::Me::account);
                Progress::Done(Outcome::Account(account))
            }
            Task::ServerInfo => self.ask_server(intent),
            Task::Logout => match self.session_missing() {
                Some(error) => Progress::Failed(error),
                None if !self.link.is_ready() => Progress::Wait(task),
                None => {
                    if !self.link.is_asked(&Then::Logout(intent)) {
                        let request = proto::LogoutRequest {};
                        self.call::<rpc::Logout>(&request, Then::Logout(intent));
                    }
                    Progress::Wait(task)
                }
            },
            Task::Dm(name) => self.advance_dm(name),
            Task::CreateGroup { name, members } => self.advance_group(name, members),
            Task::Change {
                conversation,
                name,
                remove,
            } => self.advance_change(conversation, name, remove),
            Task::Changing {
                conversation,
                who,
                is_new,
            } => self.advance_changing(conversation, who, is_new),
            Task::Leave(conversation) => self.advance_leave(conversation),
            Task::Members(id) => match self.conversation(id) {
                Some(conversation) => Progress::Done(Outcome::Members(conversation.members)),
                None => Progress::Failed(IntentError::UnknownConversation),
            },
            Task::Conversations => {
                let ids: Vec<_> = self.state.conversations.keys().copied().collect();
                let all = ids.into_iter().filter_map(|id| self.conversation(id));
                Progress::Done(Outcome::Conversations(all.collect()))
            }
            Task::Send { conversation, text } => self.take_message(intent, conversation, &text),
            Task::History {
                conversation,
                before,
                limit,
            } => self.read_history(intent, conversation, before, limit),
            Task::Unread {
                conversation,
                limit,
            } => self.read_unread(intent, conversation, limit),
            Task::MarkRead {
                conversation,
                up_to,
            } => self.take_read_mark(conversation, up_to),
        }
    }

    /// Why no request of the account can ever be made as things are.
    fn session_missing(&self) -> Option<IntentError> {
        let has_token = self.state.me.as_ref().is_some_and(|me| me.token.is_some());
        (!has_token && self.login.is_idle()).then_some(IntentError::NotLoggedIn)
    }

    fn advance_dm(&mut self, name: String) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        let peer = match self.look_up(&name) {
            LookUp::Known(key) => key,
            LookUp::Asked => return Progress::Wait(Task::Dm(name)),
            LookUp::Failed(error) => return Progress::Failed(error),
        };
        let Some(own) = self.state.identity_key() else {
            return Progress::Wait(Task::Dm(name));
        };
        if peer == own {
            return Progress::Failed(IntentError::Yourself);
        }
        let id = super::conversation::dm_channel(own, peer);
        match self
            .state
            .conversations
            .get(&id)
            .map(|channel| channel.phase)
        {
            None => {
                self.start_dm(id, peer);
                Progress::Wait(Task::Dm(name))
            }
            Some(Standing::Active) => self.conversation_outcome(id),
            Some(phase) => match phase.error() {
                Some(error) => Progress::Failed(error),
                None => Progress::Wait(Task::Dm(name)),
            },
        }
    }

    fn advance_group(&mut self, name: String, members: BTreeSet<String>) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        if name.is_empty() || name.len() > MAX_GROUP_NAME {
            return Progress::Failed(IntentError::BadLength {
                limit: MAX_GROUP_NAME,
            });
        }
        if members.len() >= MAX_MEMBERS {
            return Progress::Failed(IntentError::GroupTooLarge { limit: MAX_MEMBERS });
        }
        let mut who = BTreeSet::new();
        let mut asked = false;
        for member in &members {
            match self.look_up(member) {
                LookUp::Known(key) if Some(key) == self.state.identity_key() => {
                    return Progress::Failed(IntentError::Yourself);
                }
                LookUp::Known(key) => {
                    who.insert(key);
                }
                LookUp::Asked => asked = true,
                LookUp::Failed(error) => return Progress::Failed(error),
            }
        }
        if asked || self.state.me.is_none() {
            return Progress::Wait(Task::CreateGroup { name, members });
        }
        let id = ChannelId(self.rng.child().uuid_v7(self.clock.unix()));
        self.start_group(id, name, &who);
        Progress::Wait(Task::Changing {
            conversation: id,
            who,
            is_new: true,
        })
    }

    fn advance_change(
        &mut self,
        conversation: ConversationId,
        name: String,
        remove: bool,
    ) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        let Some(channel) = self.state.conversations.get(&conversation) else {
            return Progress::Failed(IntentError::UnknownConversation);
        };
        if channel.peer.is_some() {
            return Progress::Failed(IntentError::NotAGroup);
        }
        let phase = channel.phase;
        let wait = |name| {
            Progress::Wait(Task::Change {
                conversation,
                name,
                remove,
            })
        };
        if phase != Standing::Active {
            return phase.error().map_or_else(|| wait(name), Progress::Failed);
        }
        let identity_key = match self.look_up(&name) {
            LookUp::Known(key) => key,
            LookUp::Asked => return wait(name),
            LookUp::Failed(error) => return Progress::Failed(error),
        };
        if Some(identity_key) == self.state.identity_key() {
            return Progress::Failed(IntentError::Yourself);
        }
        let members = self.identities(conversation);
        match (members.contains(&identity_key), remove) {
            (true, false) => return Progress::Failed(IntentError::AlreadyMember { name }),
            (false, true) => return Progress::Failed(IntentError::NoSuchMember { name }),
            (false, false) if members.len() >= MAX_MEMBERS => {
                return Progress::Failed(IntentError::GroupTooLarge { limit: MAX_MEMBERS });
            }
            _ => {}
        }
        self.want(
            conversation,
            Change {
                identity_key,
                remove,
            },
        );
        Progress::Wait(Task::Changing {
            conversation,
            who: BTreeSet::from([identity_key]),
            is_new: false,
        })
    }

    fn advance_changing(
        &mut self,
        conversation: ConversationId,
        who: BTreeSet<IdentityKey>,
        is_new: bool,
    ) -> Progress {
        let Some(channel) = self.state.conversations.get(&conversation) else {
            return Progress::Failed(IntentError::UnknownConversation);
        };
        if let Some(error) = channel.phase.error() {
            return Progress::Failed(error);
        }
        let is_wanted = channel
            .wanted
            .iter()
            .any(|change| who.contains(&change.identity_key));
        if is_wanted || channel.phase != Standing::Active {
            return Progress::Wait(Task::Changing {
                conversation,
                who,
                is_new,
            });
        }
        match self.conversation(conversation) {
            Some(conversation) if is_new => Progress::Done(Outcome::Conversation(conversation)),
            Some(conversation) => Progress::Done(Outcome::Changed(conversation)),
            None => Progress::Failed(IntentError::UnknownConversation),
        }
    }

    fn advance_leave(&mut self, conversation: ConversationId) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        match self
            .state
            .conversations
            .get(&conversation)
            .map(|channel| channel.phase)
        {
            None => Progress::Failed(IntentError::UnknownConversation),
            Some(Standing::Over) => Progress::Done(Outcome::Left(conversation)),
            Some(Standing::Leaving) => Progress::Wait(Task::Leave(conversation)),
            Some(_) => {
                self.start_leaving(conversation);
                Progress::Wait(Task::Leave(conversation))
            }
        }
    }

    fn ask_server(&mut self, intent: IntentId) -> Progress {
        if let Some(info) = self.contacts.server_info.remove(&intent) {
            return Progress::Done(Outcome::Server(info));
        }
        self.ask_server_info(intent);
        Progress::Wait(Task::ServerInfo)
    }

    pub(super) fn conversation_outcome(&mut self, id: ConversationId) -> Progress {
        match self.conversation(id) {
            Some(conversation) => Progress::Done(Outcome::Conversation(conversation)),
            None => Progress::Failed(IntentError::UnknownConversation),
        }
    }

    /// A change of members can't be made: whoever asked for it is told.
    pub(super) fn change_failed(
        &mut self,
        conversation: ConversationId,
        identity_key: IdentityKey,
        error: &IntentError,
    ) {
        let failed: Vec<IntentId> = self
            .intents
            .open
            .iter()
            .filter(|(_, task)| match task {
                Task::Changing {
                    conversation: id,
                    who,
                    ..
                } => *id == conversation && who.contains(&identity_key),
                Task::Dm(name) => self.state.names.get(name) == Some(&identity_key),
                _ => false,
            })
            .map(|(intent, _)| *intent)
            .collect();
        for intent in failed {
            self.fail(intent, error.clone());
        }
    }

    /// A name can't be resolved: whoever asked for it is told.
    pub(super) fn name_failed(&mut self, name: &str, error: &IntentError) {
        let failed: Vec<IntentId> = self
            .intents
            .open
            .iter()
            .filter(|(_, task)| match task {
                Task::Dm(own) | Task::Change { name: own, .. } => own == name,
                Task::CreateGroup { members, .. } => members.contains(name),
                _ => false,
            })
            .map(|(intent, _)| *intent)
            .collect();
        for intent in failed {
            self.fail(intent, error.clone());
        }
    }

    /// The intent has come to its end, unless it had ended before.
    pub(super) fn done(&mut self, intent: IntentId, outcome: Outcome) {
        if self.forget_intent(intent) {
            self.writer.emit(Event::Done { intent, outcome });
        }
    }

    /// The intent has come to nothing, unless it had ended before.
    pub(super) fn fail(&mut self, intent: IntentId, error: IntentError) {
        self.login.give_up(intent);
        if self.forget_intent(intent) {
            self.writer.emit(Event::Failed { intent, error });
        }
    }

    fn forget_intent(&mut self, intent: IntentId) -> bool {
        self.intents.open.remove(&intent);
        self.timers.cancel(Timer::Intent(intent));
        self.intents.alive.remove(&intent)
    }

    /// Nothing will be done any more.
    pub(super) fn fail_all_intents(&mut self, error: &IntentError) {
        self.login = super::account::Login::Idle;
        self.intents.open.clear();
        self.intents.sending.clear();
        for intent in self.intents.alive.clone() {
            self.fail(intent, error.clone());
        }
    }

    /// Ends of intents that were never told, because they were held when everything stopped.
    pub(super) fn revive_intents(&mut self, held: &[Output<Event>]) {
        for effect in held {
            if let Output::Event(Event::Done { intent, .. } | Event::Failed { intent, .. }) = effect
            {
                self.intents.revive(*intent);
            }
        }
    }

    /// Storage failed: what was asked for is over, but for messages, which are looked for in the
    /// outbox when the state is loaded again.
    pub(super) fn fail_open_intents(&mut self, error: &IntentError) {
        self.login = super::account::Login::Idle;
        for intent in mem::take(&mut self.intents.open).into_keys() {
            self.fail(intent, error.clone());
        }
    }

    /// Whether something waits that a connection is needed for.
    pub(super) fn wants_server(&self) -> bool {
        let has_token = self.state.me.as_ref().is_some_and(|me| me.token.is_some());
        matches!(self.phase, Phase::Running)
            && (has_token
                || !self.login.is_idle()
                || self.intents.open.values().any(Task::needs_server))
    }
}

impl Task {
    fn needs_server(&self) -> bool {
        match self {
            Self::Authenticate(_)
            | Self::Authenticating
            | Self::Logout
            | Self::ServerInfo
            | Self::Dm(_)
            | Self::CreateGroup { .. }
            | Self::Change { .. }
            | Self::Changing { .. }
            | Self::Leave(_) => true,
            Self::WhoAmI
            | Self::Members(_)
            | Self::Conversations
            | Self::Send { .. }
            | Self::History { .. }
            | Self::Unread { .. }
            | Self::MarkRead { .. }
            | Self::Reading => false,
        }
    }
}

impl Intents {
    /// The end of this intent was never told.
    pub(super) fn revive(&mut self, intent: IntentId) {
        self.alive.insert(intent);
    }

    /// Whether the intent waits.
    pub(super) fn is_open(&self, intent: IntentId) -> bool {
        self.open.contains_key(&intent)
    }
}
