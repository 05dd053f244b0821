//! Commits that a server lost when it was set back, submitted again as they were (protocol.md §5.32).
//!
//! The group has moved on while the channel's slot fell: nobody could commit or send any more. Any
//! member may give the server the commits back, by its own signed word on whose they were; their
//! epochs are merged everywhere, so nothing changes but the slot. The first leaf of the tree begins,
//! the others after a random pause.

use bytes::Bytes;

use super::Client;
use super::channel::Phase;
use super::event::ConversationId;
use super::keys::Name;
use super::record::MergedRecord;
use super::rpc::{Answer, Then};
use super::timers::{Pause, Timer};
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// Commits kept of a conversation, the last ones.
const KEPT: u64 = 16;

impl Client {
    /// Keeps a commit that was merged or had no effect, in the slot that the server signed for.
    pub(super) fn keep_merged(&mut self, id: ConversationId, slot: u64, record: MergedRecord) {
        let place = slot % KEPT;
        self.writer.put(&Name::Merged(id, place), &record);
        self.state.merged.insert((id, place), record);
    }

    /// Notes whom a commit that is kept put on the list and took off it.
    pub(super) fn keep_moves(
        &mut self,
        id: ConversationId,
        slot: u64,
        added: &[IdentityKey],
        removed: &[IdentityKey],
    ) {
        let place = slot % KEPT;
        let Some(record) = self.state.merged.get_mut(&(id, place)) else {
            return;
        };
        if record.slot == slot && !(added.is_empty() && removed.is_empty()) {
            let keys = |keys: &[IdentityKey]| {
                let keys = keys.iter();
                keys.map(|key| key.as_bytes().to_vec()).collect()
            };
            record.added = keys(added);
            record.removed = keys(removed);
            self.writer.put(&Name::Merged(id, place), record);
        }
    }

    /// The server names an earlier slot than what it has signed.
    pub(super) fn server_lost_slots(&mut self, id: ConversationId, slot: u64) {
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        let is_ours = channel.phase == Phase::Active && channel.slot_seen && slot < channel.slot;
        if is_ours && !self.is_rejoining(id) && self.resubmitting.insert(id, slot).is_none() {
            self.give_way(id, None);
            self.drive(id);
        }
    }

    /// Gives the server the next commit back, if there is one; whether this is under way.
    pub(super) fn drive_resubmission(&mut self, id: ConversationId) -> bool {
        let Some(slot) = self.resubmitting.get(&id).copied() else {
            return false;
        };
        let then = Then::Resubmit(id, slot);
        let gives_way = self.timers.is_set(Timer::Conversation(id, Pause::Courtesy));
        if gives_way || self.link.is_asked(&then) {
            return true;
        }
        let own = self.state.conversations.get(&id);
        let own = own.map_or(0, |channel| channel.slot);
        let kept = self.state.merged.get(&(id, slot % KEPT));
        let Some(kept) = kept.filter(|kept| kept.slot == slot && slot < own) else {
            // It is where it was, or further back than what is kept: others may have more.
            self.resubmitting.remove(&id);
            return false;
        };
        let kept = kept.clone();
        // Only the last one leads into the epoch there is now.
        let group_info = match slot.saturating_add(1) == own {
            true => self.fresh_group_info(id),
            false => Bytes::new(),
        };
        let request = proto::SubmitCommitRequest {
            channel_id: Bytes::copy_from_slice(id.as_bytes()),
            slot,
            commit: kept.commit,
            group_info,
            message_id: Bytes::copy_from_slice(&self.rng.child().uuid_v7(self.clock.unix())),
            add_members: kept.added.into_iter().map(Bytes::from).collect(),
            remove_members: kept.removed.into_iter().map(Bytes::from).collect(),
            original: Some(proto::OriginalCommit {
                sender_key: kept.sender.into(),
                commit_proof: kept.proof.into(),
            }),
            ..Default::default()
        };
        self.call::<rpc::SubmitCommit>(&request, then);
        true
    }

    fn fresh_group_info(&mut self, id: ConversationId) -> Bytes {
        match self.state.group(id) {
            Some((device, group)) => group.group_info(device).unwrap_or_default().into(),
            None => Bytes::new(),
        }
    }

    pub(super) fn on_resubmitted(
        &mut self,
        id: ConversationId,
        slot: u64,
        answer: Answer<rpc::SubmitCommit>,
    ) {
        let next = match answer {
            Ok(answer) => answer.next_slot,
            // Another member was quicker, or somebody began anew.
            Err(fault) if fault.status == Status::Conflict => fault.slot,
            Err(fault) if fault.is_passing() => {
                let at = self.clock.now() + self.pause(&fault);
                return self
                    .timers
                    .hold(Timer::Conversation(id, Pause::Courtesy), at);
            }
            Err(_) => {
                self.resubmitting.remove(&id);
                return;
            }
        };
        let own = self.state.conversations.get(&id);
        let own = own.map_or(0, |channel| channel.slot);
        if next > slot && next < own {
            self.resubmitting.insert(id, next);
        } else {
            self.resubmitting.remove(&id);
            if next >= own {
                // The server is where it was: nothing has to wait for it any more.
                self.timers.cancel(Timer::Conversation(id, Pause::Server));
            }
            self.know_slot(id, next);
        }
        self.drive(id);
    }
}
