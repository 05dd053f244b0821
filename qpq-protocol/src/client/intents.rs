//! The intents that have not ended, and what each waits for.
//!
//! An intent waits as a [`Task`] and is looked at after each step: it is done, failed, or asks for
//! what it still lacks. So it does not matter what a lost connection or a restart took from it.

use core::mem;
use std::collections::{BTreeMap, BTreeSet};

use super::error::IntentError;
use super::event::{ConversationId, Event};
use super::intent::{self, Intent};
use super::keep::load::Phase;
use super::link::timers::Timer;
use super::outcome::{Missing, Outcome};
use super::{Client, Closing};
use crate::ids::{DeviceId, IdentityKey, IntentId, MessageId};
use crate::io::Output;
use crate::time::Time;

/// Intents that wait at once, messages to send not counted.
const MAX_OPEN: usize = 256;
/// Messages to send that wait at once.
const MAX_SENDING: usize = 4096;
/// Longest text of a message, in bytes.
pub(super) const MAX_TEXT: usize = 64 * 1024;

/// What an intent waits for.
pub(super) enum Task {
    /// What it asks for, begun anew each time that it is looked at.
    Asked(Intent),
    /// A registration or login that runs.
    Authenticating,
    /// The keys of those who are to be in a new group.
    Gathering {
        /// `None`: a new one.
        id: Option<ConversationId>,
        name: String,
        members: BTreeSet<String>,
        /// Who can't be in it.
        missing: Vec<Missing>,
    },
    /// Changes of members that are to be committed.
    Changing {
        conversation: ConversationId,
        who: BTreeSet<IdentityKey>,
        /// Of a group that is being made: who can't be in it.
        new: Option<Vec<Missing>>,
    },
    /// Rows that are being read.
    Reading,
}

/// Where an intent stands.
pub(super) enum Progress {
    /// For the same.
    Wait,
    /// For something else.
    WaitFor(Task),
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
    /// States an intent. It ends in exactly one [`Event::Done`] or [`Event::Failed`] that names it; which outcome it
    /// ends in is said on the page of its kind in [`intent`].
    pub fn begin(&mut self, now: Time, intent: impl Into<Intent>) -> IntentId {
        self.begin_task(now, Task::Asked(intent.into()))
    }

    fn begin_task(&mut self, now: Time, task: Task) -> IntentId {
        let now = self.clock.advance(now);
        self.intents.last = self.intents.last.saturating_add(1);
        let intent = IntentId(self.intents.last);
        let is_full = match task {
            Task::Asked(Intent::Send(_)) => self.intents.sending.len() >= MAX_SENDING,
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
            match self.advance(intent, &task) {
                Progress::Wait => {
                    self.intents.open.insert(intent, task);
                }
                Progress::WaitFor(task) => {
                    self.intents.open.insert(intent, task);
                }
                Progress::Done(outcome) => self.done(intent, outcome),
                Progress::Failed(error) => self.fail(intent, error),
                Progress::Handed => self.timers.cancel(Timer::Intent(intent)),
            }
        }
    }

    /// A change of members can't be made: anyone who asked for it is told. A new group is made without them.
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
                Task::Asked(Intent::Dm(intent::Dm(name))) => {
                    self.state.names.get(name) == Some(&identity_key)
                }
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

    /// A name can't be resolved: anyone who asked for it is told. A new group is made with the others, if there
    /// are any.
    pub(super) fn name_failed(&mut self, name: &str, error: &IntentError) {
        for task in self.intents.open.values_mut() {
            if let Task::Gathering {
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
        self.login.forget();
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
        self.login.forget();
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
            && !self.link.presence.is_suspended
            && matches!(self.phase, Phase::Running)
            && (has_token
                || !self.login.is_idle()
                || self.intents.open.values().any(Task::needs_server))
    }
}

impl Task {
    fn needs_server(&self) -> bool {
        match self {
            Self::Asked(intent) => intent.needs_server(),
            Self::Authenticating | Self::Gathering { .. } | Self::Changing { .. } => true,
            Self::Reading => false,
        }
    }

    /// Whether this waits to hear who has the name.
    fn is_about(&self, name: &str) -> bool {
        match self {
            Self::Asked(
                Intent::Dm(intent::Dm(user))
                | Intent::Invite(intent::Invite { user, .. })
                | Intent::Remove(intent::Remove { user, .. })
                | Intent::SafetyNumber(intent::SafetyNumber(user)),
            ) => user == name,
            Self::Gathering { members, .. } => members.contains(name),
            Self::Asked(_) | Self::Authenticating | Self::Changing { .. } | Self::Reading => false,
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
