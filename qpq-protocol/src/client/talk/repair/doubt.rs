//! Conversations of which it is not known whether the server has them as they are here: after it was set
//! back it may lack their last commits, or them altogether (protocol.md §5.32).
//!
//! Each is asked for before anything else happens in it. A channel that is not there is made again, for all
//! who are in the tree; commits that are missing are given back; where another commit has the slot of one
//! that was merged here, this device comes over to what the server has now. The mark is durable: it goes
//! only when the server is as far as this device.
//!
//! ```text
//!   GetGroupInfo --not found--> CreateChannel for all in the tree --+
//!        |                                                          v
//!        +--slot--> as far as here: done; behind: given back (`resubmit`) --nobody can--> a new group
//!        +--forbidden--> another member has to give back what made this one a member; in ten minutes, or it is out
//! ```

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::client::Client;
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::keep::keys::Name;
use crate::client::keep::record::OutgoingRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::channel::{Channel, Phase};
use crate::method::rpc;
use crate::proto;
use crate::status::Status;
use crate::time::Time;

/// Nobody gives the server back what it lacks for so long: a new group is begun.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// Nobody gives the server back what made this account a member for so long: it is none.
const SHUT_OUT_AFTER: Duration = Duration::from_secs(600);
/// Longest pause between two questions, as a power of two of the shortest.
const MOST_PATIENCE: u32 = 8;

/// How it goes with what is doubted.
#[derive(Default)]
pub(in crate::client) struct Doubts(BTreeMap<ConversationId, Doubt>);

struct Doubt {
    /// Since when nothing went on.
    since: Time,
    /// The server's slot then.
    slot: Option<u64>,
    asked: u32,
}

impl Client {
    /// The server was set back: what it has of each conversation is not known any more.
    pub(super) fn doubt_all(&mut self) {
        // That this account has left may be lost too.
        let goes_on = |channel: &Channel| match channel.phase {
            Phase::Over => channel.left_ms > 0,
            _ => true,
        };
        let all = self.state.conversations.iter();
        let all = all.filter(|(_, channel)| goes_on(channel));
        for id in all.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.change_channel(id, |channel| {
                channel.doubted = true;
                // Its versions begin again, too.
                channel.members_version = 0;
            });
        }
    }

    /// Whether it is not known how the server has this conversation.
    pub(in crate::client) fn is_doubted(&self, id: ConversationId) -> bool {
        let channel = self.state.conversations.get(&id);
        channel.is_some_and(|channel| channel.doubted)
    }

    /// Asks the server how it has a conversation that is doubted; whether this is under way.
    pub(in crate::client) fn drive_doubt(&mut self, id: ConversationId) -> bool {
        // One that is to be made at the server has nothing there to be asked for.
        if !self.is_doubted(id) || self.phase(id) == Some(Phase::Creating) {
            return false;
        }
        let (ask, make) = (
            Then::Doubt(id),
            |then: &Then| matches!(then, Then::CreateAnew(made, _) if *made == id),
        );
        let waits = self.timers.is_set(Timer::Conversation(id, Pause::Doubt));
        if !waits && !self.link.is_asked(&ask) && !self.link.any_asked(make) {
            let channel_id = Bytes::copy_from_slice(id.as_bytes());
            self.call::<rpc::GetGroupInfo>(&proto::GetGroupInfoRequest { channel_id }, ask);
        }
        true
    }

    pub(in crate::client) fn on_doubt(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::GetGroupInfo>,
    ) {
        if !self.is_doubted(id) {
            return;
        }
        let seeks = matches!(self.phase(id), Some(Phase::Joining | Phase::Over));
        match answer {
            // Others may bring it on to where this account is out.
            Ok(answer) if seeks && self.is_before_the_end(id, answer.slot) => self.no_entrance(id),
            Ok(answer) if seeks => self.enter(id, answer.group_info, answer.slot),
            Ok(answer) => self.compare_slot(id, answer.slot),
            Err(fault) if fault.is_passing() => {
                self.try_again(Timer::Conversation(id, Pause::Doubt), &fault);
            }
            Err(_) if seeks => self.no_entrance(id),
            Err(fault) if fault.status == Status::NotFound => self.create_anew(id, false),
            Err(_) if self.phase(id) == Some(Phase::Leaving) && self.has_doubted_long(id) => {
                // It has left.
                self.clear_doubt(id);
            }
            Err(_) if self.has_doubted_for(id, SHUT_OUT_AFTER) => {
                // If it is given back after all, this account is in the tree, and comes in again (`regain`).
                self.clear_doubt(id);
                self.tell(id, Event::Removed { conversation: id });
                self.end(id);
            }
            // What made this account a member is lost, and another one gives it back; or it was thrown off the list.
            Err(_) => {
                self.list_in_doubt(id);
                self.ask_later(id, None);
            }
        }
    }

    /// Whether the server is not even where this account was last seen to go.
    fn is_before_the_end(&self, id: ConversationId, slot: u64) -> bool {
        let channel = self.state.conversations.get(&id);
        let is_before = channel
            .is_some_and(|channel| channel.phase == Phase::Over && slot < channel.slot.next());
        is_before && !(self.has_left(id) && self.has_doubted_long(id))
    }

    /// The channel is gone: makes it again, for all who are in the tree.
    fn create_anew(&mut self, id: ConversationId, alone: bool) {
        let bytes = |key: &crate::ids::IdentityKey| Bytes::copy_from_slice(key.as_bytes());
        let others = self.identities(id);
        let Some(own) = self.state.identity_key() else {
            return;
        };
        let peer = self.state.conversations.get(&id);
        let peer = peer.and_then(|channel| channel.peer);
        let peer = peer.or_else(|| others.iter().find(|key| **key != own).copied());
        let request = match peer.filter(|_| id.is_dm()) {
            Some(peer) => proto::CreateChannelRequest {
                peer_key: bytes(&peer),
                ..Default::default()
            },
            None if id.is_dm() => return self.clear_doubt(id),
            None => proto::CreateChannelRequest {
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
                member_keys: match alone {
                    true => vec![bytes(&own)],
                    false => others.iter().chain([&own]).map(bytes).collect(),
                },
                ..Default::default()
            },
        };
        self.call::<rpc::CreateChannel>(&request, Then::CreateAnew(id, alone));
    }

    pub(in crate::client) fn on_created_anew(
        &mut self,
        id: ConversationId,
        alone: bool,
        answer: Answer<rpc::CreateChannel>,
    ) {
        if !self.is_doubted(id) {
            return;
        }
        match answer {
            Ok(answer) => self.compare_slot(id, answer.slot),
            // One of them has no account any more: the commits name the others.
            Err(fault) if fault.status == Status::NotFound && !alone => self.create_anew(id, true),
            // Another member was quicker, or may do what this one may not.
            Err(_) => self.ask_later(id, None),
        }
    }

    /// The server's channel is at this slot.
    fn compare_slot(&mut self, id: ConversationId, slot: u64) {
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        if channel.rejoin.is_some() {
            // What comes next is not of this device's past.
            self.lower_slot(id, slot);
            self.clear_doubt(id);
            return;
        }
        let is_behind = slot < channel.slot.next();
        // The last commit that both have is to be the same: what follows fits nothing else.
        let common = slot.min(channel.slot.next()).checked_sub(1);
        let common = common.filter(|common| self.is_kept(id, *common));
        if !is_behind {
            self.know_slot(id, slot);
        }
        match common {
            None if !is_behind => return self.clear_doubt(id),
            _ if is_behind => self.give_way(id, None),
            _ => {}
        }
        self.resubmitting.insert(id, common.unwrap_or(slot));
        self.drive(id);
    }

    /// The server is as far as this device.
    pub(super) fn clear_doubt(&mut self, id: ConversationId) {
        self.doubts.0.remove(&id);
        self.resubmitting.remove(&id);
        if self.is_doubted(id) {
            self.change_channel(id, |channel| channel.doubted = false);
        }
        // Nothing has to wait for the server any more.
        for pause in [Pause::Server, Pause::Doubt] {
            self.timers.cancel(Timer::Conversation(id, pause));
        }
        if self.lacks_commits(id) {
            // And with them their invitations: anyone who was to come in by one needs a GroupInfo.
            self.rotation_requested(id);
        }
        self.drive(id);
    }

    /// Whether there were more commits than the server has slots for: each epoch took one.
    fn lacks_commits(&mut self, id: ConversationId) -> bool {
        let slot = self
            .state
            .conversations
            .get(&id)
            .map(|channel| channel.slot.next());
        let group = self.state.group(id);
        slot.zip(group)
            .is_some_and(|(slot, (_, group))| group.epoch() > slot)
    }

    /// Asks again after a pause. The server's slot, if it lacks a commit that this device does not have.
    pub(super) fn ask_later(&mut self, id: ConversationId, slot: Option<u64>) {
        let now = self.clock.now();
        let doubt = self.doubts.0.entry(id).or_insert(Doubt {
            since: now,
            slot,
            asked: 0,
        });
        if slot.is_some() && doubt.slot.is_some() && doubt.slot != slot {
            // It goes on.
            doubt.since = now;
        }
        doubt.slot = slot.or(doubt.slot);
        doubt.asked = doubt.asked.saturating_add(1);
        let (asked, waited) = (doubt.asked, now.since(doubt.since));
        if let Some(slot) = slot.filter(|_| waited >= GIVE_UP_AFTER) {
            return self.come_over(id, slot, slot);
        }
        let at = now + self.config.backoff_base + self.backoff(asked.min(MOST_PATIENCE));
        self.timers.hold(Timer::Conversation(id, Pause::Doubt), at);
    }

    /// Whether it has been asked in vain for long.
    pub(super) fn has_doubted_long(&self, id: ConversationId) -> bool {
        self.has_doubted_for(id, GIVE_UP_AFTER)
    }

    fn has_doubted_for(&self, id: ConversationId, least: Duration) -> bool {
        let doubt = self.doubts.0.get(&id);
        doubt.is_some_and(|doubt| self.clock.now().since(doubt.since) >= least)
    }

    /// What was merged here from this slot on is no part of what the server has up to the second: this device
    /// comes over to what the others have there, or begins it anew.
    pub(in crate::client) fn come_over(&mut self, id: ConversationId, from: u64, slot: u64) {
        self.drop_merged(id, from);
        if !matches!(self.phase(id), Some(Phase::Active | Phase::Leaving)) {
            return self.clear_doubt(id);
        }
        self.lower_slot(id, slot);
        // What was encrypted is of the group that is given up; it may have been sent.
        let encrypted = self.state.outgoing.range((id, 0)..=(id, u64::MAX));
        let encrypted = encrypted.filter(|(_, record)| !record.request.is_empty());
        for (key, record) in encrypted.map(|(k, r)| (*k, r.clone())).collect::<Vec<_>>() {
            let record = OutgoingRecord {
                request: Bytes::new(),
                again: true,
                ..record
            };
            self.writer.put(&Name::Outgoing(id, key.1), &record);
            self.state.outgoing.insert(key, record);
        }
        self.rejoin(id, RejoinReason::Missed);
        self.clear_doubt(id);
    }

    /// The connection is gone: what is doubted is asked for over the next.
    pub(in crate::client) fn forget_doubts(&mut self) {
        self.resubmitting.clear();
        self.doubts = Doubts::default();
    }
}
