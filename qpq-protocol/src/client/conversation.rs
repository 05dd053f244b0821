//! Conversations: made, joined, left; who is in them.
//!
//! ```text
//!   dm, create_group           Welcome from another member
//!         |                              |
//!      Creating --slot taken--> Joining -+--> Active --leave--> Leaving --> Over
//!         |                        ^     |      |                            ^
//!         +--> Founding --lost-----+     |      +--removed-------------------+
//!                 |  (a DM's slot 0)     |      +--missed a commit--> Broken
//!                 +---won----------------+
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use qpq_crypto::mls;

use super::Client;
use super::channel::{Change, Channel, Phase, is_dm};
use super::error::IntentError;
use super::event::{Conversation, ConversationId, Event, Kind, Person, Standing};
use super::keys::Name;
use super::record::OutgoingRecord;
use super::rpc::{Answer, Then};
use super::state::group_id;
use super::timers::Timer;
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

impl Client {
    /// Changes a conversation and stores it.
    pub(super) fn change_channel<T>(
        &mut self,
        id: ConversationId,
        change: impl FnOnce(&mut Channel) -> T,
    ) -> Option<T> {
        let channel = self.state.conversations.get_mut(&id)?;
        let result = change(channel);
        channel.save(id, &mut self.writer);
        Some(result)
    }

    pub(super) fn phase(&self, id: ConversationId) -> Option<Phase> {
        self.state
            .conversations
            .get(&id)
            .map(|channel| channel.phase)
    }

    fn set_phase(&mut self, id: ConversationId, phase: Phase) {
        self.change_channel(id, |channel| channel.phase = phase);
    }

    pub(super) fn start_dm(&mut self, id: ConversationId, peer: IdentityKey) {
        let name = self.state.person(peer).name.unwrap_or_default();
        let mut channel = Channel::new(Phase::Creating, Some(peer), name);
        channel.wanted.push(Change {
            identity_key: peer,
            remove: false,
        });
        self.add_channel(id, channel);
    }

    pub(super) fn start_group(
        &mut self,
        id: ConversationId,
        name: String,
        who: &BTreeSet<IdentityKey>,
    ) {
        let mut channel = Channel::new(Phase::Creating, None, name);
        channel.wanted = who
            .iter()
            .map(|&identity_key| Change {
                identity_key,
                remove: false,
            })
            .collect();
        self.add_channel(id, channel);
    }

    fn add_channel(&mut self, id: ConversationId, channel: Channel) {
        channel.save(id, &mut self.writer);
        self.state.conversations.insert(id, channel);
        self.drive(id);
    }

    /// Does what the conversation needs next, unless it is under way or has to wait.
    pub(super) fn drive(&mut self, id: ConversationId) {
        if !self.link.is_ready() || self.timers.is_set(Timer::Conversation(id)) {
            return;
        }
        match self.phase(id) {
            Some(Phase::Creating) => self.create_channel(id),
            Some(Phase::Founding) => self.drive_commit(id),
            Some(Phase::Active) => {
                self.drive_commit(id);
                self.drive_outbox(id);
            }
            Some(Phase::Leaving) => self.drive_leaving(id),
            Some(Phase::Joining | Phase::Over | Phase::Broken) | None => {}
        }
    }

    fn create_channel(&mut self, id: ConversationId) {
        let then = Then::CreateChannel(id);
        let (Some(channel), Some(own)) =
            (self.state.conversations.get(&id), self.state.identity_key())
        else {
            return;
        };
        if self.link.is_asked(&then) {
            return;
        }
        let bytes = |key: IdentityKey| Bytes::copy_from_slice(key.as_bytes());
        let request = match channel.peer {
            Some(peer) => proto::CreateChannelRequest {
                peer_key: bytes(peer),
                ..Default::default()
            },
            None => proto::CreateChannelRequest {
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
                member_keys: vec![bytes(own)],
                ..Default::default()
            },
        };
        self.call::<rpc::CreateChannel>(&request, then);
    }

    pub(super) fn on_channel(&mut self, id: ConversationId, answer: Answer<rpc::CreateChannel>) {
        if self.phase(id) != Some(Phase::Creating) {
            return;
        }
        let answer = match answer {
            Ok(answer) if answer.channel_id.as_ref() == id.as_bytes() => answer,
            Ok(_) => return self.abandon_channel(id, &IntentError::BadServer),
            Err(fault) if fault.is_passing() => {
                let at = self.clock.now() + self.pause(&fault);
                self.timers.set(Timer::Conversation(id), at);
                return;
            }
            Err(fault) => {
                let error = IntentError::Refused {
                    message: fault.message,
                };
                return self.abandon_channel(id, &error);
            }
        };
        match (is_dm(id), answer.slot) {
            (false, 0) => self.found(id, Phase::Active),
            (true, 0) if answer.was_new => self.found(id, Phase::Founding),
            (true, 0) => {
                // The peer is at it. Ask again soon: the server says `was_new` when it gave up.
                let at = self.clock.now() + self.config.backoff_base.saturating_mul(8);
                self.timers.set(Timer::Conversation(id), at);
            }
            (true, slot) => {
                self.set_phase(id, Phase::Joining);
                self.know_slot(id, slot);
            }
            (false, _) => self.break_off(id),
        }
    }

    /// Makes the MLS group, with this device alone in it.
    fn found(&mut self, id: ConversationId, phase: Phase) {
        let (seed, suite) = (self.rng.seed(), self.config.mls_suite);
        let Some(device) = &mut self.state.device else {
            return;
        };
        match mls::Group::create(device, &seed, suite, &group_id(id, 0)) {
            Ok(group) => {
                self.state.groups.insert(id, group);
                self.set_phase(id, phase);
                self.drive(id);
            }
            Err(_) => self.abandon_channel(id, &IntentError::State),
        }
    }

    /// The conversation never came to be: forgets it, and tells those who wait for it.
    pub(super) fn abandon_channel(&mut self, id: ConversationId, error: &IntentError) {
        // While the conversation is there: it says which generation of the group there is.
        self.forget_group(id);
        let Some(channel) = self.state.conversations.remove(&id) else {
            return;
        };
        self.writer.delete(&Name::Conversation(id));
        self.fail_messages(id, error);
        let wanted = channel.wanted.iter().map(|change| change.identity_key);
        for key in wanted.chain(channel.peer).collect::<BTreeSet<_>>() {
            self.change_failed(id, key, error);
        }
    }

    /// Everything that led to this slot has been taken in. The Welcomes of a commit come before its
    /// slot is taken, so one for this device would be here.
    pub(super) fn miss_welcome(&mut self, id: ConversationId, slot: u64) {
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        if slot > 0 && channel.phase == Phase::Joining {
            let name = channel.name.clone();
            self.abandon_channel(id, &IntentError::OtherDevice { name });
        }
    }

    /// Deletes the MLS group and what belongs to it.
    pub(super) fn forget_group(&mut self, id: ConversationId) {
        self.state.keep_mls(&mut self.writer);
        if self.state.group(id).is_some()
            && let (Some(group), Some(device)) =
                (self.state.groups.remove(&id), &mut self.state.device)
            && group.delete(device).is_err()
        {
            self.state.forget_mls();
        }
        if self.state.drafts.remove(&id).is_some() {
            self.writer.delete(&Name::Draft(id));
        }
        let parked = self.state.parked.range((id, 0)..=(id, u64::MAX));
        let parked: Vec<_> = parked.map(|(key, _)| *key).collect();
        for (id, seq) in parked {
            self.state.parked.remove(&(id, seq));
            self.writer.delete(&Name::Parked(id, seq));
        }
        self.work.remove(&id);
    }

    /// This client is out.
    pub(super) fn end(&mut self, id: ConversationId) {
        self.forget_group(id);
        self.change_channel(id, |channel| {
            channel.phase = Phase::Over;
            channel.wanted.clear();
        });
        self.fail_messages(id, &IntentError::NotAMember);
    }

    /// This client can't follow the group any more.
    pub(super) fn break_off(&mut self, id: ConversationId) {
        self.forget_group(id);
        self.change_channel(id, |channel| {
            channel.phase = Phase::Broken;
            channel.wanted.clear();
        });
        self.fail_messages(id, &IntentError::Broken);
        self.writer.emit(Event::Broken { conversation: id });
    }

    pub(super) fn start_leaving(&mut self, id: ConversationId) {
        match self.phase(id) {
            Some(Phase::Active) => {}
            Some(Phase::Broken) => {
                self.set_phase(id, Phase::Leaving);
                return self.drive(id);
            }
            _ => return self.end(id),
        }
        self.change_channel(id, |channel| {
            channel.phase = Phase::Leaving;
            channel.wanted.clear();
        });
        if !is_dm(id) && self.identities(id).len() > 1 {
            // The proposal for the others to commit; the server's list comes after it.
            let record = OutgoingRecord {
                message_id: self.rng.child().uuid_v7(self.clock.unix()).to_vec(),
                ..OutgoingRecord::default()
            };
            self.queue_message(id, record);
        }
        self.drive(id);
    }

    fn drive_leaving(&mut self, id: ConversationId) {
        self.drive_commit(id);
        if self.state.drafts.contains_key(&id) {
            return;
        }
        if self.has_messages(id) {
            return self.drive_outbox(id);
        }
        let then = Then::RemoveSelf(id);
        if let (Some(own), false) = (self.state.identity_key(), self.link.is_asked(&then)) {
            let request = proto::RemoveMemberRequest {
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
                member_key: Bytes::copy_from_slice(own.as_bytes()),
            };
            self.call::<rpc::RemoveMember>(&request, then);
        }
    }

    pub(super) fn on_removed_self(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::RemoveMember>,
    ) {
        // Meanwhile the others' commit may have come, and even an invitation after it.
        if self.phase(id) != Some(Phase::Leaving) {
            return;
        }
        match answer {
            Err(fault) if fault.is_passing() => {
                let at = self.clock.now() + self.pause(&fault);
                self.timers.set(Timer::Conversation(id), at);
            }
            // Refused: the server does not count this account as a member any more.
            Ok(_) | Err(_) => self.end(id),
        }
    }

    /// Compares the server's member list with the tree.
    pub(super) fn list_members(&mut self, id: ConversationId, version: u64) {
        if !self.link.is_ready() || self.phase(id) != Some(Phase::Active) {
            return;
        }
        if !self
            .link
            .any_asked(|then| matches!(then, Then::ListMembers(asked, _) if *asked == id))
        {
            let request = proto::ListGroupMembersRequest {
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
            };
            self.call::<rpc::ListGroupMembers>(&request, Then::ListMembers(id, version));
        }
    }

    pub(super) fn on_members(
        &mut self,
        id: ConversationId,
        version: u64,
        answer: Answer<rpc::ListGroupMembers>,
    ) {
        let list = match answer {
            Ok(list) => list,
            // Asked again at the next push or login.
            Err(fault) if fault.status != Status::Forbidden => return,
            Err(_) => return self.look_for_the_end(id),
        };
        let listed: BTreeSet<_> = list
            .member_keys
            .iter()
            .filter_map(|key| IdentityKey::try_from(key.as_ref()).ok())
            .collect();
        let Some(own) = self.state.identity_key().filter(|own| listed.contains(own)) else {
            return self.look_for_the_end(id);
        };
        self.is_back(id);
        let version = version.max(list.members_version);
        self.change_channel(id, |channel| channel.members_version = version);
        // In a DM nobody is removed; who left is gone.
        if is_dm(id) {
            return;
        }
        for identity_key in self.identities(id) {
            if identity_key != own && !listed.contains(&identity_key) {
                self.want_removal(id, identity_key);
            }
        }
    }

    /// Wants the removal of one who left. Everyone sees it: the first leaf commits at once, the
    /// others after a random pause, if it is still to be done.
    pub(super) fn want_removal(&mut self, id: ConversationId, identity_key: IdentityKey) {
        let pause = match self.state.group(id) {
            Some((_, group)) => {
                let own = group.own_leaf();
                let mut stays = group.members().into_iter();
                stays.any(|member| member.leaf < own && member.identity_key != identity_key)
            }
            None => return,
        };
        if pause {
            let base = self.config.backoff_base;
            let at = self.clock.now() + base + self.backoff(3);
            self.timers.set(Timer::Conversation(id), at);
        }
        self.want(
            id,
            Change {
                identity_key,
                remove: true,
            },
        );
    }

    /// The accounts in the tree.
    pub(super) fn identities(&mut self, id: ConversationId) -> BTreeSet<IdentityKey> {
        match self.state.group(id) {
            Some((_, group)) => group.members().iter().map(|m| m.identity_key).collect(),
            None => BTreeSet::new(),
        }
    }

    pub(super) fn rename(&mut self, id: ConversationId, name: String) {
        self.change_channel(id, |channel| channel.name.clone_from(&name));
        self.writer.emit(Event::Renamed {
            conversation: id,
            name,
        });
    }

    /// The conversation as an app sees it.
    pub(super) fn conversation(&mut self, id: ConversationId) -> Option<Conversation> {
        let epoch = self.state.group(id).map_or(0, |(_, group)| group.epoch());
        let mut members: Vec<Person> = self
            .identities(id)
            .into_iter()
            .map(|key| self.state.person(key))
            .collect();
        members.sort_by(|a, b| {
            a.name
                .cmp(&b.name)
                .then(a.identity_key.cmp(&b.identity_key))
        });
        let channel = self.state.conversations.get(&id)?;
        Some(Conversation {
            id,
            kind: if is_dm(id) { Kind::Dm } else { Kind::Group },
            name: channel.name.clone(),
            standing: match channel.phase {
                Phase::Creating | Phase::Founding | Phase::Joining => Standing::Forming,
                Phase::Active => Standing::Active,
                Phase::Leaving | Phase::Over => Standing::Over,
                Phase::Broken => Standing::Broken,
            },
            epoch,
            members,
            messages: channel.messages,
            unread: channel.messages.saturating_sub(channel.read),
        })
    }

    pub(super) fn forget_work(&mut self) {
        self.work.clear();
        self.timers
            .retain(|timer| !matches!(timer, Timer::Conversation(_)));
    }

    /// The error for a refusal by the server.
    pub(super) fn refusal(fault: super::rpc::Fault) -> IntentError {
        match fault.status {
            Status::Forbidden => IntentError::NotAMember,
            _ => IntentError::Refused {
                message: fault.message,
            },
        }
    }
}
