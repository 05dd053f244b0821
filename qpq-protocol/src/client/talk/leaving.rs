//! Leaving: said to the others, carried out by one of them, and off the list.

use bytes::Bytes;

use super::channel::{LONG_AGO, Phase};
use crate::client::Client;
use crate::client::event::ConversationId;
use crate::client::keep::record::OutgoingRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::method::rpc;
use crate::proto;

/// How long those who stay have for taking out of a group who leaves it.
const PATIENCE_MS: u64 = 86_400_000;

impl Client {
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

    pub(super) fn drive_leaving(&mut self, id: ConversationId) {
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
}
