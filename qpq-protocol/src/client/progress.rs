//! What an intent still lacks: looked at after each step until it is done or has failed.

use std::collections::BTreeSet;

use super::error::IntentError;
use super::event::{ConversationId, Kept};
use super::intent::{self, Intent};
use super::intents::{Progress, Task};
use super::link::login::Attempt;
use super::link::rpc::Then;
use super::me::identity::Me;
use super::outcome::{Missing, Outcome};
use super::people::contacts::LookUp;
use super::talk::channel::{Change, MAX_GROUP_NAME, Phase, dm_channel};
use super::{Client, MAX_MEMBERS};
use crate::ids::{ChannelId, IdentityKey, IntentId};
use crate::method::rpc;
use crate::proto;

impl Client {
    pub(super) fn advance(&mut self, intent: IntentId, task: &Task) -> Progress {
        match task {
            Task::Asked(asked) => self.advance_asked(intent, asked),
            Task::Authenticating | Task::Reading => Progress::Wait,
            Task::Gathering {
                id,
                name,
                members,
                missing,
            } => self.advance_group(intent, *id, name, members, missing),
            Task::Changing {
                conversation,
                who,
                new,
            } => self.advance_changing(*conversation, who, new.as_deref()),
        }
    }

    fn advance_asked(&mut self, intent: IntentId, asked: &Intent) -> Progress {
        match asked {
            Intent::Register(asked) => {
                let mut attempt = Attempt::new(&asked.name, &asked.password, true);
                attempt.invitation.clone_from(&asked.invitation);
                self.begin_login(intent, attempt)
            }
            Intent::Login(asked) => {
                if let Some(device) = asked.in_place_of {
                    self.intents.replacing.insert(intent, device);
                }
                let attempt = Attempt::new(&asked.name, &asked.password, false);
                self.begin_login(intent, attempt)
            }
            Intent::WhoAmI(_) => {
                let account = self.state.me.as_ref().map(Me::account);
                Progress::Done(Outcome::Account(account))
            }
            Intent::ServerInfo(_) => self.ask_server(intent),
            Intent::Logout(_) => self.advance_logout(intent),
            Intent::Dm(asked) => self.advance_dm(intent, &asked.0),
            Intent::CreateGroup(asked) => self.begin_group(intent, asked),
            Intent::Invite(asked) => {
                self.advance_change(intent, asked.conversation, &asked.user, false)
            }
            Intent::Remove(asked) => {
                self.advance_change(intent, asked.conversation, &asked.user, true)
            }
            Intent::Leave(asked) => self.advance_leave(intent, asked.0),
            Intent::Members(asked) => match self.conversation(asked.0) {
                Some(conversation) => Progress::Done(Outcome::Members(conversation.members)),
                None => Progress::Failed(IntentError::UnknownConversation),
            },
            Intent::Conversations(_) => {
                let ids: Vec<_> = self.state.conversations.keys().copied().collect();
                let all = ids.into_iter().filter_map(|id| self.conversation(id));
                Progress::Done(Outcome::Conversations(all.collect()))
            }
            Intent::Send(asked) => self.take_message(intent, asked),
            Intent::Outbox(_) => self.read_outbox(),
            Intent::TakeBack(asked) => self.advance_taking_back(asked.0),
            Intent::Devices(_) => self.advance_devices(intent),
            Intent::RemoveDevice(asked) => self.advance_removing_device(intent, asked.0),
            Intent::SafetyNumber(asked) => self.advance_safety_number(&asked.0),
            Intent::History(asked) => self.read_history(intent, *asked),
            Intent::Unread(asked) => self.read_unread(intent, *asked),
            Intent::MarkRead(asked) => self.take_read_mark(*asked),
        }
    }

    /// Why no request of the account can ever be made as things are.
    pub(super) fn session_missing(&self) -> Option<IntentError> {
        let has_token = self.state.me.as_ref().is_some_and(|me| me.token.is_some());
        (!has_token && self.login.is_idle()).then_some(IntentError::NotLoggedIn)
    }

    fn advance_logout(&mut self, intent: IntentId) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        if self.link.is_ready() && !self.link.is_asked(&Then::Logout(intent)) {
            let request = proto::LogoutRequest {};
            self.call::<rpc::Logout>(&request, Then::Logout(intent));
        }
        Progress::Wait
    }

    fn advance_dm(&mut self, intent: IntentId, name: &str) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        let peer = match self.look_up(name) {
            LookUp::Known(key) => key,
            LookUp::Asked => return Progress::Wait,
            LookUp::Failed(error) => return Progress::Failed(error),
        };
        let Some(own) = self.state.identity_key() else {
            return Progress::Wait;
        };
        if peer == own {
            return Progress::Failed(IntentError::Yourself);
        }
        let id = dm_channel(own, peer);
        match self
            .state
            .conversations
            .get(&id)
            .map(|channel| channel.phase)
        {
            None => {
                self.start_dm(id, peer);
                self.keep(intent, Kept::Conversation(id));
                Progress::Wait
            }
            Some(Phase::Active) => self.conversation_outcome(id),
            Some(Phase::Over) => {
                self.reopen_dm(id, peer);
                Progress::Wait
            }
            Some(phase) => match phase.error() {
                Some(error) => Progress::Failed(error),
                None => {
                    self.keep(intent, Kept::Conversation(id));
                    Progress::Wait
                }
            },
        }
    }

    fn begin_group(&mut self, intent: IntentId, asked: &intent::CreateGroup) -> Progress {
        let task = Task::Gathering {
            id: asked.id,
            name: asked.name.clone(),
            members: asked.members.iter().cloned().collect(),
            missing: Vec::new(),
        };
        match self.advance(intent, &task) {
            Progress::Wait => Progress::WaitFor(task),
            other => other,
        }
    }

    fn advance_group(
        &mut self,
        intent: IntentId,
        id: Option<ConversationId>,
        name: &str,
        members: &BTreeSet<String>,
        missing: &[Missing],
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
            return self.begin_changing(id, who, Some(missing.to_vec()));
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
        for member in members {
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
            return Progress::Wait;
        }
        let id = id.unwrap_or_else(|| ChannelId(self.rng.child().uuid_v7(self.clock.unix())));
        self.start_group(id, name.to_owned(), &who);
        self.keep(intent, Kept::Conversation(id));
        Progress::WaitFor(Task::Changing {
            conversation: id,
            who,
            new: Some(missing.to_vec()),
        })
    }

    fn advance_change(
        &mut self,
        intent: IntentId,
        conversation: ConversationId,
        name: &str,
        remove: bool,
    ) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        let Some(channel) = self.state.conversations.get(&conversation) else {
            return Progress::Failed(IntentError::UnknownConversation);
        };
        if conversation.is_dm() {
            return Progress::Failed(IntentError::NotAGroup);
        }
        let phase = channel.phase;
        if phase != Phase::Active {
            return phase.error().map_or(Progress::Wait, Progress::Failed);
        }
        let identity_key = match self.look_up(name) {
            LookUp::Known(key) => key,
            LookUp::Asked => return Progress::Wait,
            LookUp::Failed(error) => return Progress::Failed(error),
        };
        if Some(identity_key) == self.state.identity_key() {
            return Progress::Failed(IntentError::Yourself);
        }
        let members = self.identities(conversation);
        let name = || name.to_owned();
        match (members.contains(&identity_key), remove) {
            (true, false) => return Progress::Failed(IntentError::AlreadyMember { name: name() }),
            (false, true) => return Progress::Failed(IntentError::NoSuchMember { name: name() }),
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
        Progress::WaitFor(Task::Changing {
            conversation,
            who: BTreeSet::from([identity_key]),
            new: None,
        })
    }

    /// Takes a group up that is being made already.
    fn begin_changing(
        &mut self,
        conversation: ConversationId,
        who: BTreeSet<IdentityKey>,
        new: Option<Vec<Missing>>,
    ) -> Progress {
        match self.advance_changing(conversation, &who, new.as_deref()) {
            Progress::Wait => Progress::WaitFor(Task::Changing {
                conversation,
                who,
                new,
            }),
            other => other,
        }
    }

    fn advance_changing(
        &mut self,
        conversation: ConversationId,
        who: &BTreeSet<IdentityKey>,
        new: Option<&[Missing]>,
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
        if is_wanted || channel.phase != Phase::Active {
            return Progress::Wait;
        }
        let Some(conversation) = self.conversation(conversation) else {
            return Progress::Failed(IntentError::UnknownConversation);
        };
        Progress::Done(match new {
            None => Outcome::Changed(conversation),
            Some([]) => Outcome::Conversation(conversation),
            Some(missing) => Outcome::Partly {
                conversation,
                missing: missing.to_vec(),
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
            Some(Phase::Over) => Progress::Done(Outcome::Left(conversation)),
            Some(Phase::Leaving) if self.is_leaving_told(conversation) => {
                Progress::Done(Outcome::Left(conversation))
            }
            Some(Phase::Leaving) => {
                self.keep(intent, Kept::Leaving(conversation));
                Progress::Wait
            }
            Some(_) => {
                self.start_leaving(conversation);
                self.keep(intent, Kept::Leaving(conversation));
                Progress::Wait
            }
        }
    }

    fn ask_server(&mut self, intent: IntentId) -> Progress {
        if let Some(info) = self.contacts.server_info.remove(&intent) {
            return Progress::Done(Outcome::Server(info));
        }
        self.ask_server_info(intent);
        Progress::Wait
    }

    pub(super) fn conversation_outcome(&mut self, id: ConversationId) -> Progress {
        match self.conversation(id) {
            Some(conversation) => Progress::Done(Outcome::Conversation(conversation)),
            None => Progress::Failed(IntentError::UnknownConversation),
        }
    }
}
