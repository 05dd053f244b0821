//! Conversations: made, joined, left; who is in them.
//!
//! ```text
//!   dm, create_group           Welcome from another member
//!         |                              |
//!      Creating --slot taken--> Joining -+--> Active --leave--> Leaving --> Over
//!         |                        ^     |      |                            ^
//!         +--> Founding --lost-----+     |      +--removed-------------------+
//!                 |  (a DM's slot 0)     |
//!                 +---won----------------+
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use qpq_crypto::mls;

use super::channel::{Change, Channel, LONG_AGO, Phase};
use super::slot::Slot;
use crate::client::Client;
use crate::client::error::{IntentError, UnreadableReason};
use crate::client::event::{Conversation, ConversationId, Event, Kind, Person, Standing};
use crate::client::keep::keys::Name;
use crate::client::keep::record::OutgoingRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::generation::group_id;
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// How long those who stay have for taking out of a group who leaves it.
const PATIENCE_MS: u64 = 86_400_000;

impl Client {
    /// Changes a conversation and stores it.
    pub(in crate::client) fn change_channel<T>(
        &mut self,
        id: ConversationId,
        change: impl FnOnce(&mut Channel) -> T,
    ) -> Option<T> {
        let channel = self.state.conversations.get_mut(&id)?;
        let result = change(channel);
        channel.save(id, &mut self.writer);
        Some(result)
    }

    pub(in crate::client) fn phase(&self, id: ConversationId) -> Option<Phase> {
        self.state
            .conversations
            .get(&id)
            .map(|channel| channel.phase)
    }

    fn set_phase(&mut self, id: ConversationId, phase: Phase) {
        self.change_channel(id, |channel| channel.phase = phase);
    }

    pub(in crate::client) fn start_dm(&mut self, id: ConversationId, peer: IdentityKey) {
        let name = self.state.person(peer).name.unwrap_or_default();
        let mut channel = Channel::new(Phase::Creating, Some(peer), name);
        channel.wanted.push(Change::add(peer));
        self.add_channel(id, channel);
    }

    /// Opens a DM again that one of the two has left; its history stays.
    pub(in crate::client) fn reopen_dm(&mut self, id: ConversationId, peer: IdentityKey) {
        self.change_channel(id, |channel| {
            channel.phase = Phase::Creating;
            channel.wanted = vec![Change::add(peer)];
            channel.left_ms = 0;
        });
        self.drive(id);
    }

    pub(in crate::client) fn start_group(
        &mut self,
        id: ConversationId,
        name: String,
        who: &BTreeSet<IdentityKey>,
    ) {
        let mut channel = Channel::new(Phase::Creating, None, name);
        channel.wanted = who.iter().copied().map(Change::add).collect();
        self.add_channel(id, channel);
    }

    fn add_channel(&mut self, id: ConversationId, channel: Channel) {
        channel.save(id, &mut self.writer);
        self.state.conversations.insert(id, channel);
        self.drive(id);
    }

    /// Does what the conversation needs next, unless it is under way or has to wait.
    pub(in crate::client) fn drive(&mut self, id: ConversationId) {
        if !self.link.is_ready() || self.drive_resubmission(id) {
            return;
        }
        if self.timers.is_set(Timer::Conversation(id, Pause::Server)) || self.drive_doubt(id) {
            return;
        }
        match self.phase(id) {
            Some(Phase::Creating) => self.create_channel(id),
            Some(Phase::Founding) => self.drive_commit(id),
            Some(Phase::Active | Phase::Leaving) if self.is_rejoining(id) => self.drive_rejoin(id),
            Some(Phase::Active) => {
                self.drive_commit(id);
                self.drive_outbox(id);
                self.drive_reports(id);
                self.look_ahead(id);
            }
            Some(Phase::Leaving) => {
                self.drive_leaving(id);
                self.look_ahead(id);
            }
            Some(Phase::Over) => {
                // What was on its way when it ended, on a connection that is gone.
                self.fail_unsent(id);
                self.drive_search(id);
            }
            Some(Phase::Joining) | None => self.drive_search(id),
        }
    }

    /// Begins anew with a conversation that has no commit yet, as far as this device knows.
    pub(in crate::client) fn create_again(&mut self, id: ConversationId) {
        self.forget_group(id);
        self.set_phase(id, Phase::Creating);
        self.drive(id);
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

    pub(in crate::client) fn on_channel(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::CreateChannel>,
    ) {
        if self.phase(id) != Some(Phase::Creating) {
            return;
        }
        let answer = match answer {
            Ok(answer) if answer.channel_id.as_ref() == id.as_bytes() => answer,
            Ok(_) => return self.abandon_channel(id, &IntentError::BadServer),
            Err(fault) if fault.is_passing() => {
                self.try_again(Timer::Conversation(id, Pause::Server), &fault);
                return;
            }
            Err(fault) => {
                let error = IntentError::Refused {
                    message: fault.message,
                };
                return self.abandon_channel(id, &error);
            }
        };
        match (id.is_dm(), answer.slot) {
            (false, 0) => self.found(id, Phase::Active),
            (true, 0) if answer.was_new => {
                // It may have been said to be further.
                self.change_channel(id, |channel| channel.slot = Slot::FIRST);
                self.found(id, Phase::Founding);
            }
            // Opened again: the first commit of a new group, in the next slot.
            (true, slot) if answer.was_new => {
                self.change_channel(id, |channel| {
                    channel.slot = Slot::seen(slot);
                    channel.generation = channel.generation.saturating_add(1);
                });
                self.found(id, Phase::Founding);
            }
            (true, 0) => {
                // The peer is at it. Ask again soon: the server says `was_new` when it gave up.
                let at = self.clock.now() + self.config.backoff_base.saturating_mul(8);
                self.timers.hold(Timer::Conversation(id, Pause::Server), at);
            }
            // A group that is there already was made by this device, which does not know that any more.
            (_, slot) => {
                self.set_phase(id, Phase::Joining);
                self.know_slot(id, slot);
            }
        }
    }

    /// Makes the MLS group, with this device alone in it.
    fn found(&mut self, id: ConversationId, phase: Phase) {
        let (seed, suite) = (self.rng.seed(), self.config.mls_suite);
        let channel = self.state.conversations.get(&id);
        let generation = channel.map_or(0, |channel| channel.generation);
        let Some(device) = &mut self.state.device else {
            return;
        };
        match mls::Group::create(device, &seed, suite, &group_id(id, generation)) {
            Ok(group) => {
                self.state.groups.insert(id, group);
                self.set_phase(id, phase);
                self.drive(id);
            }
            Err(_) => self.abandon_channel(id, &IntentError::State),
        }
    }

    /// The conversation never came to be: forgets it, and tells those who wait for it.
    pub(in crate::client) fn abandon_channel(&mut self, id: ConversationId, error: &IntentError) {
        // While the conversation is there: it says which generation of the group there is.
        self.forget_group(id);
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        let wanted = channel.wanted.iter().map(|change| change.identity_key);
        let waited: BTreeSet<_> = wanted.chain(channel.peer).collect();
        let name = channel.name.clone();
        let is_taken_back = *error == IntentError::TakenBack;
        let stays = channel.messages > 0 && !is_taken_back;
        self.fail_messages(id, error);
        if stays {
            // What was said in it stays.
            self.end(id);
        } else {
            self.state.conversations.remove(&id);
            self.writer.delete(&Name::Conversation(id));
        }
        let mut is_heard = is_taken_back | self.group_failed(id, error);
        for key in waited {
            is_heard |= self.change_failed(id, key, error);
        }
        if !is_heard {
            self.writer.emit(Event::NotMade {
                conversation: id,
                name,
                error: error.clone(),
            });
        }
    }

    /// Everything that led to this slot has been taken in. The Welcomes of a commit come before its
    /// slot is taken, so one for this device would be here.
    pub(super) fn miss_welcome(&mut self, id: ConversationId, slot: u64) {
        match self.phase(id) {
            // See `doubt`.
            Some(Phase::Joining) if self.is_doubted(id) => {}
            Some(Phase::Joining) if slot == 0 => self.begin_again(id),
            Some(Phase::Joining) => self.look_again_for_group(id),
            _ => {}
        }
    }

    /// The queues are listed: where somebody else is said to have begun, there is a channel.
    pub(super) fn miss_beginnings(&mut self) {
        let all = self.state.conversations.iter();
        let joining = all.filter(|(id, channel)| {
            channel.phase == Phase::Joining && !self.is_channel_listed(**id)
        });
        let joining: Vec<_> = joining.map(|(id, _)| *id).collect();
        joining.into_iter().for_each(|id| self.begin_again(id));
    }

    /// Nobody has begun this conversation, whatever the server has said.
    pub(in crate::client) fn begin_again(&mut self, id: ConversationId) {
        self.change_channel(id, |channel| {
            channel.phase = Phase::Creating;
            if let Some(peer) = channel.peer {
                channel.wanted = vec![Change::add(peer)];
            }
        });
        let at = self.clock.now() + self.config.backoff_base.saturating_mul(8);
        self.timers.hold(Timer::Conversation(id, Pause::Server), at);
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
        self.forget_leftovers(id);
        self.forget_reports(id);
    }

    /// Deletes what waits for the MLS group there was.
    pub(super) fn forget_leftovers(&mut self, id: ConversationId) {
        if self.state.drafts.remove(&id).is_some() {
            self.writer.delete(&Name::Draft(id));
        }
        let parked = self.state.parked.range((id, 0)..=(id, u64::MAX));
        let parked: Vec<_> = parked.map(|(key, _)| *key).collect();
        for (id, seq) in parked {
            self.state.parked.remove(&(id, seq));
            self.writer.delete(&Name::Parked(id, seq));
            // It waited for this group, and no other can read it.
            self.unreadable(Some(id), seq, UnreadableReason::Undecryptable);
        }
        self.work.remove(&id);
    }

    /// This client is out.
    pub(in crate::client) fn end(&mut self, id: ConversationId) {
        self.forget_group(id);
        self.change_channel(id, |channel| {
            channel.phase = Phase::Over;
            channel.rejoin = None;
            channel.doubted = false;
            channel.wanted.clear();
            channel.listed.clear();
            channel.witnesses.clear();
        });
        self.fail_unsent(id);
    }

    pub(in crate::client) fn start_leaving(&mut self, id: ConversationId) {
        let now_ms = self.state.clocks.date(self.unix_ms()).max(LONG_AGO);
        self.change_channel(id, |channel| channel.left_ms = now_ms);
        match self.phase(id) {
            Some(Phase::Active) => {}
            _ => return self.end(id),
        }
        self.change_channel(id, |channel| {
            channel.phase = Phase::Leaving;
            channel.wanted.clear();
        });
        self.leaves_the_returned(id);
        self.propose_leaving(id);
        self.drive(id);
    }

    /// The proposal for the others to commit, or to know; the server's list comes after it. Who commits
    /// before it has read the proposal can't read it any more, so it is made anew in each epoch that still
    /// has this member, for each list, and in each session.
    pub(in crate::client) fn propose_leaving(&mut self, id: ConversationId) {
        if !self.will_propose(id) && self.identities(id).len() > 1 {
            let record = OutgoingRecord {
                message_id: self.rng.child().uuid_v7(self.clock.unix()).to_vec(),
                ..OutgoingRecord::default()
            };
            self.queue_message(id, record);
        }
    }

    /// A session begins: nobody knows who has heard what was said in the one before.
    pub(super) fn leave_all_anew(&mut self) {
        let all = self.state.conversations.iter();
        let leaving = all.filter(|(id, channel)| channel.phase == Phase::Leaving && !id.is_dm());
        let leaving: Vec<_> = leaving.map(|(id, _)| *id).collect();
        leaving.into_iter().for_each(|id| self.propose_leaving(id));
    }

    fn drive_leaving(&mut self, id: ConversationId) {
        self.drive_commit(id);
        if self.state.drafts.contains_key(&id) {
            return;
        }
        if self.has_messages(id) {
            return self.drive_outbox(id);
        }
        if self.is_behind(id) || !self.is_to_go_unremoved(id) {
            return;
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

    /// Whether this account takes itself off the server's list. In a group the others do that, by the commit
    /// that takes it out of the tree: off the list, one hears of no commit that crosses the proposal, and who
    /// has lost the thread meanwhile would never hear of it.
    fn is_to_go_unremoved(&mut self, id: ConversationId) -> bool {
        if id.is_dm() {
            return !self.timers.is_set(Timer::Conversation(id, Pause::Courtesy));
        }
        let alone = self.identities(id).len() < 2;
        let channel = self.state.conversations.get(&id);
        let left_ms = channel.map_or(LONG_AGO, |channel| channel.left_ms);
        let until_ms = left_ms.saturating_add(PATIENCE_MS);
        let (now, now_ms) = (self.clock.now(), self.unix_ms());
        alone || left_ms == LONG_AGO || self.state.clocks.is_past(now, now_ms, until_ms)
    }

    /// Whether the others can know that this account leaves a group.
    pub(in crate::client) fn is_leaving_told(&mut self, id: ConversationId) -> bool {
        let waits = id.is_dm() || self.is_leaving_unsaid(id) || self.is_rejoining(id);
        !waits && self.identities(id).len() > 1
    }

    /// Tells the app of something in a conversation, unless its user has left it.
    pub(in crate::client) fn tell(&mut self, id: ConversationId, event: Event) {
        if self.phase(id) != Some(Phase::Leaving) {
            self.writer.emit(event);
        }
    }

    pub(in crate::client) fn on_removed_self(
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
                self.try_again(Timer::Conversation(id, Pause::Server), &fault);
            }
            // Refused: the server does not count this account as a member any more.
            Ok(_) | Err(_) => self.end(id),
        }
    }

    /// The accounts in the tree.
    pub(in crate::client) fn identities(&mut self, id: ConversationId) -> BTreeSet<IdentityKey> {
        match self.state.group(id) {
            Some((_, group)) => group.members().iter().map(|m| m.identity_key).collect(),
            None => BTreeSet::new(),
        }
    }

    pub(in crate::client) fn rename(&mut self, id: ConversationId, name: String) {
        self.change_channel(id, |channel| channel.name.clone_from(&name));
        let event = Event::Renamed {
            conversation: id,
            name,
        };
        self.tell(id, event);
    }

    /// The conversation as an app sees it.
    pub(in crate::client) fn conversation(&mut self, id: ConversationId) -> Option<Conversation> {
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
            kind: if id.is_dm() { Kind::Dm } else { Kind::Group },
            name: channel.name.clone(),
            standing: match channel.phase {
                Phase::Creating | Phase::Founding | Phase::Joining => Standing::Forming,
                Phase::Active if channel.rejoin.is_some() => Standing::Rejoining,
                Phase::Active => Standing::Active,
                Phase::Leaving | Phase::Over => Standing::Over,
            },
            epoch,
            members,
            messages: channel.messages,
            unread: channel.messages.saturating_sub(channel.read),
        })
    }

    pub(in crate::client) fn forget_work(&mut self) {
        self.work.clear();
        self.timers
            .retain(|timer| !matches!(timer, Timer::Conversation(..)));
    }

    /// The error for a refusal by the server.
    pub(in crate::client) fn refusal(fault: crate::client::link::fault::Fault) -> IntentError {
        match fault.status {
            // Not because of anybody who is named.
            Status::Forbidden if fault.members.is_empty() => IntentError::NotAMember,
            _ => IntentError::Refused {
                message: fault.message,
            },
        }
    }
}
