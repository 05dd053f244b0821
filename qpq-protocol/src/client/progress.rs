//! What an intent still lacks: looked at after each step until it is done or has failed.

use std::collections::BTreeSet;

use super::channel::{Change, Phase as Standing};
use super::contacts::LookUp;
use super::error::IntentError;
use super::event::{ConversationId, IntentId, Kept, Missing, Outcome};
use super::intent::{Progress, Task};
use super::rpc::Then;
use super::{Client, MAX_MEMBERS};
use crate::ids::{ChannelId, IdentityKey};
use crate::method::rpc;
use crate::proto;

/// Longest name of a group, in bytes.
pub(super) const MAX_GROUP_NAME: usize = 256;

impl Client {
    pub(super) fn advance(&mut self, intent: IntentId, task: Task) -> Progress {
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
            Task::Dm(name) => self.advance_dm(intent, name),
            Task::CreateGroup {
                id,
                name,
                members,
                missing,
            } => self.advance_group(intent, id, name, members, missing),
            Task::Change {
                conversation,
                name,
                remove,
            } => self.advance_change(intent, conversation, name, remove),
            Task::Changing {
                conversation,
                who,
                new,
            } => self.advance_changing(conversation, who, new),
            Task::Leave(conversation) => self.advance_leave(intent, conversation),
            Task::Members(id) => match self.conversation(id) {
                Some(conversation) => Progress::Done(Outcome::Members(conversation.members)),
                None => Progress::Failed(IntentError::UnknownConversation),
            },
            Task::Conversations => {
                let ids: Vec<_> = self.state.conversations.keys().copied().collect();
                let all = ids.into_iter().filter_map(|id| self.conversation(id));
                Progress::Done(Outcome::Conversations(all.collect()))
            }
            Task::Send {
                conversation,
                text,
                message_id,
            } => self.take_message(intent, conversation, message_id, &text),
            Task::Outbox => self.read_outbox(),
            Task::TakeBack(kept) => self.advance_taking_back(kept),
            Task::Devices => self.advance_devices(intent),
            Task::RemoveDevice(device) => self.advance_removing_device(intent, device),
            Task::SafetyNumber(name) => self.advance_safety_number(name),
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
    pub(super) fn session_missing(&self) -> Option<IntentError> {
        let has_token = self.state.me.as_ref().is_some_and(|me| me.token.is_some());
        (!has_token && self.login.is_idle()).then_some(IntentError::NotLoggedIn)
    }

    fn advance_dm(&mut self, intent: IntentId, name: String) -> Progress {
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
        let id = super::channel::dm_channel(own, peer);
        match self
            .state
            .conversations
            .get(&id)
            .map(|channel| channel.phase)
        {
            None => {
                self.start_dm(id, peer);
                self.keep(intent, Kept::Conversation(id));
                Progress::Wait(Task::Dm(name))
            }
            Some(Standing::Active) => self.conversation_outcome(id),
            Some(Standing::Over) => {
                self.reopen_dm(id, peer);
                Progress::Wait(Task::Dm(name))
            }
            Some(phase) => match phase.error() {
                Some(error) => Progress::Failed(error),
                None => {
                    self.keep(intent, Kept::Conversation(id));
                    Progress::Wait(Task::Dm(name))
                }
            },
        }
    }

    fn advance_group(
        &mut self,
        intent: IntentId,
        id: Option<ConversationId>,
        name: String,
        members: BTreeSet<String>,
        missing: Vec<Missing>,
    ) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        if let Some((id, channel)) = id.and_then(|id| self.state.conversations.get_key_value(&id)) {
            let id = *id;
            if channel.name != name {
                return Progress::Failed(IntentError::OtherId);
            }
            let who = channel.wanted.iter().map(|change| change.identity_key);
            let who = who.collect();
            self.keep(intent, Kept::Conversation(id));
            return self.advance_changing(id, who, Some(missing));
        }
        if name.is_empty() || name.len() > MAX_GROUP_NAME {
            return Progress::Failed(IntentError::BadGroupName {
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
            return Progress::Wait(Task::CreateGroup {
                id,
                name,
                members,
                missing,
            });
        }
        let id = id.unwrap_or_else(|| ChannelId(self.rng.child().uuid_v7(self.clock.unix())));
        self.start_group(id, name, &who);
        self.keep(intent, Kept::Conversation(id));
        Progress::Wait(Task::Changing {
            conversation: id,
            who,
            new: Some(missing),
        })
    }

    fn advance_change(
        &mut self,
        intent: IntentId,
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
        let change = match remove {
            true => Change::remove(identity_key),
            false => Change::add(identity_key),
        };
        self.want(conversation, change);
        let kept = Kept::Change {
            conversation,
            identity_key,
        };
        self.keep(intent, kept);
        Progress::Wait(Task::Changing {
            conversation,
            who: BTreeSet::from([identity_key]),
            new: None,
        })
    }

    fn advance_changing(
        &mut self,
        conversation: ConversationId,
        who: BTreeSet<IdentityKey>,
        new: Option<Vec<Missing>>,
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
            .any(|change| !change.of_list && who.contains(&change.identity_key));
        if is_wanted || channel.phase != Standing::Active {
            return Progress::Wait(Task::Changing {
                conversation,
                who,
                new,
            });
        }
        let Some(conversation) = self.conversation(conversation) else {
            return Progress::Failed(IntentError::UnknownConversation);
        };
        Progress::Done(match new {
            None => Outcome::Changed(conversation),
            Some(missing) if missing.is_empty() => Outcome::Conversation(conversation),
            Some(missing) => Outcome::Partly {
                conversation,
                missing,
            },
        })
    }

    fn advance_leave(&mut self, intent: IntentId, conversation: ConversationId) -> Progress {
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
            Some(Standing::Leaving) if self.is_leaving_told(conversation) => {
                Progress::Done(Outcome::Left(conversation))
            }
            Some(Standing::Leaving) => {
                self.keep(intent, Kept::Leaving(conversation));
                Progress::Wait(Task::Leave(conversation))
            }
            Some(_) => {
                self.start_leaving(conversation);
                self.keep(intent, Kept::Leaving(conversation));
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
}
