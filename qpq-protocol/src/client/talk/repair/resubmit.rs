//! Commits that a server lost when it was set back, submitted again as they were (protocol.md §5.32).
//!
//! The group has moved on while the channel's slot fell: nobody could commit or send any more. Any
//! member may give the server the commits back, by its own signed word on whose they were; their
//! epochs are merged everywhere, so nothing changes but the slot. The first leaf of the tree begins,
//! the others after a random pause.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::client::Client;
use crate::client::event::ConversationId;
use crate::client::keep::keys::Name;
use crate::client::keep::record::MergedRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::channel::{Change, Phase};
use crate::client::talk::framing::framing;
use crate::client::talk::slot::Slot;
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// Commits kept of a conversation, the last ones.
const KEPT: u64 = 16;

impl Client {
    /// Keeps a commit that was merged or had no effect, in the slot that the server signed for.
    pub(in crate::client) fn keep_merged(
        &mut self,
        id: ConversationId,
        slot: u64,
        record: MergedRecord,
    ) {
        let place = slot % KEPT;
        self.writer.put(&Name::Merged(id, place), &record);
        self.state.merged.insert((id, place), record);
    }

    /// Forgets what is kept from this slot on: it is no part of the group any more. What this account brought
    /// about there is wanted again.
    pub(super) fn drop_merged(&mut self, id: ConversationId, from: u64) {
        let own = self.state.identity_key();
        for record in self.forget_merged(id, from) {
            if own.is_some_and(|own| own.as_bytes() == record.sender.as_slice()) && !id.is_dm() {
                self.want_anew(id, &record);
            }
        }
    }

    /// Forgets what is kept from this slot on; what that was, in the order of the slots.
    pub(in crate::client) fn forget_merged(
        &mut self,
        id: ConversationId,
        from: u64,
    ) -> Vec<MergedRecord> {
        let kept = self.state.merged.range((id, 0)..(id, KEPT));
        let gone = kept.filter(|(_, record)| record.slot >= from);
        let mut gone: Vec<_> = gone.map(|(key, r)| (*key, r.clone())).collect();
        gone.sort_by_key(|(_, record)| record.slot);
        for ((id, place), _) in &gone {
            self.state.merged.remove(&(*id, *place));
            self.writer.delete(&Name::Merged(*id, *place));
        }
        gone.into_iter().map(|(_, record)| record).collect()
    }

    fn want_anew(&mut self, id: ConversationId, record: &MergedRecord) {
        let changes = |keys: &[Vec<u8>], change: fn(IdentityKey) -> Change| {
            let keys = keys.iter().filter_map(|key| key.as_slice().try_into().ok());
            keys.map(change).collect::<Vec<_>>()
        };
        let added = changes(&record.added, Change::add);
        let removed = changes(&record.removed, Change::remove);
        self.change_channel(id, |channel| {
            for change in added.into_iter().chain(removed) {
                let is_other = |known: &Change| known.identity_key != change.identity_key;
                channel.wanted.retain(is_other);
                channel.wanted.push(change);
            }
        });
    }

    /// Whether the commit of this slot is kept.
    pub(in crate::client) fn is_kept(&self, id: ConversationId, slot: u64) -> bool {
        let kept = self.state.merged.get(&(id, slot % KEPT));
        kept.is_some_and(|kept| kept.slot == slot)
    }

    /// Notes whom a commit that is kept put on the list and took off it.
    pub(in crate::client) fn keep_moves(
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
    pub(in crate::client) fn server_lost_slots(&mut self, id: ConversationId, slot: u64) {
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        let is_in = matches!(channel.phase, Phase::Active | Phase::Leaving);
        if is_in && !channel.slot.is_seen() && slot < channel.slot.next() {
            // Only told of, by the same server.
            self.change_channel(id, |channel| channel.slot = Slot::at_least(slot));
            return self.is_at_slot(id, slot);
        }
        let is_ours = is_in && channel.slot.is_seen() && slot < channel.slot.next();
        if is_ours && !self.is_rejoining(id) && self.resubmitting.insert(id, slot).is_none() {
            self.give_way(id, None);
            self.drive(id);
        }
    }

    /// Gives the server the next commit back, if there is one; whether this is under way.
    pub(in crate::client) fn drive_resubmission(&mut self, id: ConversationId) -> bool {
        let Some(slot) = self.resubmitting.get(&id).copied() else {
            return false;
        };
        let then = Then::Resubmit(id, slot);
        let gives_way = self.timers.is_set(Timer::Conversation(id, Pause::Courtesy));
        if gives_way || self.link.is_asked(&then) {
            return true;
        }
        let own = self.state.conversations.get(&id);
        let own = own.map_or(0, |channel| channel.slot.next());
        let kept = self.state.merged.get(&(id, slot % KEPT));
        let Some(kept) = kept.filter(|kept| kept.slot == slot && slot < own) else {
            // It is where it was, or further back than what is kept: others may have more, or it was never where
            // this device was told that it is.
            self.resubmitting.remove(&id);
            if slot < own && !self.is_doubted(id) {
                self.change_channel(id, |channel| channel.doubted = true);
            }
            if self.is_doubted(id) {
                self.ask_later(id, Some(slot));
            }
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

    /// Whether a commit is not the one that was merged here in its slot: the server was set back, and others
    /// went on from there.
    pub(in crate::client) fn is_of_other_past(
        &self,
        id: ConversationId,
        slot: u64,
        envelope: &proto::Envelope,
    ) -> bool {
        let kept = self.state.merged.get(&(id, slot % KEPT));
        let is_other = match kept.filter(|kept| kept.slot == slot) {
            Some(kept) => kept.commit != envelope.data,
            // Of before this device came in, if it were not for the epoch.
            None => self.is_doubted(id) && self.is_followed_by_its_epoch(id, slot, &envelope.data),
        };
        let hash = Sha256::digest(&envelope.data).into();
        let said = (&hash, envelope.sender_key.as_ref());
        is_other && !self.is_rejoining(id) && self.is_proven(id, slot, said, &envelope.commit_proof)
    }

    /// Whether a commit of the same epoch as this one of an earlier slot was taken in later on: an epoch has one
    /// commit that counts, the first.
    fn is_followed_by_its_epoch(&self, id: ConversationId, slot: u64, commit: &[u8]) -> bool {
        let Some(early) = framing(commit) else {
            return false;
        };
        let mut kept = self.state.merged.range((id, 0)..(id, KEPT));
        kept.any(|(_, late)| {
            let framing = framing(&late.commit).filter(|_| late.slot > slot);
            framing.is_some_and(|late| late.group_id == early.group_id && late.epoch == early.epoch)
        })
    }

    fn fresh_group_info(&mut self, id: ConversationId) -> Bytes {
        match self.state.group(id) {
            Some((device, group)) => group.group_info(device).unwrap_or_default().into(),
            None => Bytes::new(),
        }
    }

    pub(in crate::client) fn on_resubmitted(
        &mut self,
        id: ConversationId,
        slot: u64,
        answer: Answer<rpc::SubmitCommit>,
    ) {
        let next = match answer {
            Ok(answer) => answer.next_slot,
            Err(fault) if fault.status == Status::Conflict => {
                let kept = self.state.merged.get(&(id, slot % KEPT));
                let kept = kept.filter(|kept| kept.slot == slot);
                let hash = kept.map(|kept| Sha256::digest(&kept.commit));
                let is_same = hash.is_some_and(|hash| *hash == *fault.commit_hash);
                let is_named = !fault.commit_hash.is_empty();
                if fault.slot > slot && is_named && !is_same {
                    // Others went on without it.
                    return self.come_over(id, slot, fault.slot);
                }
                // Another member was quicker.
                fault.slot
            }
            Err(fault) if fault.is_passing() => {
                return self.try_again(Timer::Conversation(id, Pause::Courtesy), &fault);
            }
            Err(_) => {
                self.resubmitting.remove(&id);
                if self.is_doubted(id) {
                    self.ask_later(id, Some(slot));
                }
                return;
            }
        };
        let own = self.state.conversations.get(&id);
        let own = own.map_or(0, |channel| channel.slot.next());
        if next > slot && next < own {
            self.resubmitting.insert(id, next);
        } else {
            self.resubmitting.remove(&id);
            self.know_slot(id, next);
            if next >= own {
                // The server is where it was.
                return self.clear_doubt(id);
            }
            if self.is_doubted(id) {
                // It says nothing that leads on.
                return self.ask_later(id, Some(slot));
            }
        }
        self.drive(id);
    }
}
