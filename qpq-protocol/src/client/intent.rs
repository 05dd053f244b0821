//! What an app can ask for, and when that is done.
//!
//! An intent waits as a [`Task`] and is looked at after each step: it is done, failed, or asks for
//! what it still lacks. So it does not matter what a lost connection or a restart took from it.

use core::mem;
use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::error::IntentError;
use super::event::{ConversationId, Event, IntentId, Kept, Missing, Outcome};
use super::load::Phase;
use super::login::Attempt;
use super::timers::Timer;
use super::{Client, Closing};
use crate::ids::{DeviceId, IdentityKey, MessageId};
use crate::io::Output;
use crate::time::Time;

/// Intents that wait at once, messages to send not counted.
const MAX_OPEN: usize = 256;
/// Messages to send that wait at once.
const MAX_SENDING: usize = 4096;
/// Longest text of a message, in bytes.
pub(super) const MAX_TEXT: usize = 64 * 1024;

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
        /// `None`: a new one.
        id: Option<ConversationId>,
        name: String,
        members: BTreeSet<String>,
        /// Who can't be in it.
        missing: Vec<Missing>,
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
        /// Of a group that is being made: who can't be in it.
        new: Option<Vec<Missing>>,
    },
    Leave(ConversationId),
    Members(ConversationId),
    Conversations,
    Send {
        conversation: ConversationId,
        text: String,
        /// `None`: a new one.
        message_id: Option<MessageId>,
    },
    Outbox,
    TakeBack(Kept),
    Devices,
    RemoveDevice(DeviceId),
    SafetyNumber(String),
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
    /// Those of which [`Event::Kept`] was told.
    pub(super) kept: BTreeSet<IntentId>,
    /// Logins, and the device that may give way to theirs.
    pub(super) replacing: BTreeMap<IntentId, DeviceId>,
    /// Messages in the outbox, by their place there.
    pub(super) sending: BTreeMap<(ConversationId, u64), (IntentId, MessageId)>,
}

impl Client {
    /// Registers `name` and logs in: makes the account's identity and this device. `name` has 1 to
    /// 32 of the characters a-z, 0-9, dot, underscore, hyphen; the server's domain may follow, as in
    /// `alice@example.org`. Without it the host name of [`Config::server`](super::Config::server) is
    /// meant: a server that calls itself otherwise is shown nothing. Ends in [`Outcome::LoggedIn`].
    pub fn register(&mut self, now: Time, name: &str, password: Zeroizing<Vec<u8>>) -> IntentId {
        self.authenticate(now, name, password, true)
    }

    /// Logs in to an account, as a new device or as the one in the stored state. `name` is as in
    /// [`register`](Self::register). Ends in [`Outcome::LoggedIn`].
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
        let attempt = Attempt::new(name, password, register);
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
    /// it. Ends in [`Outcome::Conversation`] when all are in, in [`Outcome::Partly`] if somebody can't be.
    pub fn create_group(&mut self, now: Time, name: &str, members: &[&str]) -> IntentId {
        let members = members.iter().map(|name| (*name).to_owned()).collect();
        self.make_group(now, None, name.to_owned(), members)
    }

    pub(super) fn make_group(
        &mut self,
        now: Time,
        id: Option<ConversationId>,
        name: String,
        members: BTreeSet<String>,
    ) -> IntentId {
        let task = Task::CreateGroup {
            id,
            name,
            members,
            missing: Vec::new(),
        };
        self.intent(now, task)
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

    /// Sends a text of up to 64 KiB. It is stored at once and sent when there is a connection,
    /// after a restart too. Ends in [`Outcome::Sent`] when the server has it; never times out.
    pub fn send(&mut self, now: Time, conversation: ConversationId, text: &str) -> IntentId {
        let task = Task::Send {
            conversation,
            text: text.to_owned(),
            message_id: None,
        };
        self.intent(now, task)
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

    pub(super) fn intent(&mut self, now: Time, task: Task) -> IntentId {
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

    /// A change of members can't be made: whoever asked for it is told. A new group is made without them.
    pub(super) fn change_failed(
        &mut self,
        conversation: ConversationId,
        identity_key: IdentityKey,
        error: &IntentError,
    ) -> bool {
        let name = self.state.person(identity_key).name.unwrap_or_default();
        let mut is_heard = false;
        for task in self.intents.open.values_mut() {
            if let Task::Changing {
                conversation: id,
                who,
                new: Some(missing),
            } = task
                && *id == conversation
                && who.remove(&identity_key)
            {
                let (name, error) = (name.clone(), error.clone());
                missing.push(Missing { name, error });
                is_heard = true;
            }
        }
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
        is_heard |= !failed.is_empty();
        for intent in failed {
            self.fail(intent, error.clone());
        }
        is_heard
    }

    /// A group will not be made at all: whether anybody waited for it.
    pub(super) fn group_failed(
        &mut self,
        conversation: ConversationId,
        error: &IntentError,
    ) -> bool {
        let open = self.intents.open.iter();
        let failed = open.filter(|(_, task)| match task {
            Task::Changing {
                conversation: id,
                new,
                ..
            } => *id == conversation && new.is_some(),
            _ => false,
        });
        let failed: Vec<IntentId> = failed.map(|(intent, _)| *intent).collect();
        let is_heard = !failed.is_empty();
        for intent in failed {
            self.fail(intent, error.clone());
        }
        is_heard
    }

    /// A name can't be resolved: whoever asked for it is told. A new group is made with the others, if there
    /// are any.
    pub(super) fn name_failed(&mut self, name: &str, error: &IntentError) {
        for task in self.intents.open.values_mut() {
            if let Task::CreateGroup {
                members, missing, ..
            } = task
                && members.len() > 1
                && members.remove(name)
            {
                let (name, error) = (name.to_owned(), error.clone());
                missing.push(Missing { name, error });
            }
        }
        let failed: Vec<IntentId> = self
            .intents
            .open
            .iter()
            .filter(|(_, task)| task.is_about(name))
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
        self.intents.kept.remove(&intent);
        self.intents.replacing.remove(&intent);
        self.timers.cancel(Timer::Intent(intent));
        self.intents.alive.remove(&intent)
    }

    /// Nothing will be done any more.
    pub(super) fn fail_all_intents(&mut self, error: &IntentError) {
        self.login = super::login::Login::Idle;
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
        self.login = super::login::Login::Idle;
        for intent in mem::take(&mut self.intents.open).into_keys() {
            self.fail(intent, error.clone());
        }
    }

    /// What needs the server can't be done there; messages to send wait on.
    pub(super) fn fail_at_server(&mut self, error: &IntentError) {
        let open = self.intents.open.iter();
        let waiting = open.filter(|(_, task)| task.needs_server());
        for intent in waiting.map(|(intent, _)| *intent).collect::<Vec<_>>() {
            self.fail(intent, error.clone());
        }
    }

    /// Whether something waits that a connection is needed for.
    pub(super) fn wants_server(&self) -> bool {
        let has_token = self.state.me.as_ref().is_some_and(|me| me.token.is_some());
        !self.config.offline
            && matches!(self.phase, Phase::Running)
            && (has_token
                || !self.login.is_idle()
                || self.intents.open.values().any(Task::needs_server))
    }
}

impl Task {
    pub(super) fn needs_server(&self) -> bool {
        match self {
            Self::Authenticate(_)
            | Self::Authenticating
            | Self::Logout
            | Self::ServerInfo
            | Self::Dm(_)
            | Self::CreateGroup { .. }
            | Self::Change { .. }
            | Self::Changing { .. }
            | Self::Leave(_)
            | Self::Devices
            | Self::RemoveDevice(_)
            | Self::SafetyNumber(_) => true,
            Self::WhoAmI
            | Self::Members(_)
            | Self::Conversations
            | Self::Send { .. }
            | Self::Outbox
            | Self::TakeBack(_)
            | Self::History { .. }
            | Self::Unread { .. }
            | Self::MarkRead { .. }
            | Self::Reading => false,
        }
    }
}

impl Task {
    /// Whether this waits to hear who has the name.
    fn is_about(&self, name: &str) -> bool {
        match self {
            Self::Dm(own) | Self::Change { name: own, .. } | Self::SafetyNumber(own) => own == name,
            Self::CreateGroup { members, .. } => members.contains(name),
            Self::Authenticate(_)
            | Self::Authenticating
            | Self::Logout
            | Self::ServerInfo
            | Self::Changing { .. }
            | Self::Leave(_)
            | Self::Devices
            | Self::RemoveDevice(_)
            | Self::WhoAmI
            | Self::Members(_)
            | Self::Conversations
            | Self::Send { .. }
            | Self::Outbox
            | Self::TakeBack(_)
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

    /// Whether the intent has not ended, wherever it waits.
    pub(super) fn is_alive(&self, intent: IntentId) -> bool {
        self.alive.contains(&intent)
    }

    /// Whether the intent waits.
    pub(super) fn is_open(&self, intent: IntentId) -> bool {
        self.open.contains_key(&intent)
    }
}
