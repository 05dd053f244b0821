//! The external commit that leads back into a group (protocol.md §5.31): made of a GroupInfo, submitted, and taken in
//! place of what is held once it has its slot.

use std::collections::BTreeSet;

use bytes::Bytes;
use qpq_crypto::mls::{CommitOut, Group, JoinError, Policy};
use sha2::{Digest as _, Sha256};

use super::reset::RESET_AFTER;
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::keep::keys::Name;
use crate::client::keep::record::{DraftRecord, RejoinRecord};
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::channel::{Phase, remember};
use crate::client::talk::generation::{MAX_GENERATIONS, generation_of, group_id};
use crate::client::talk::slot::Slot;
use crate::client::{Client, encoded};
use crate::ids::IdentityKey;
use crate::proto;
use crate::status::Status;

/// Why a GroupInfo does not lead into the group.
pub(in crate::client) enum Misfit {
    /// It verifies, and this account is not in its tree.
    Without,
    /// It does not verify, or does not fit what is known of the group.
    Other,
}

impl Client {
    /// Makes the external commit, and stores what it is made of. What this device holds of the group
    /// stays as it is.
    pub(super) fn draft_rejoin(&mut self, id: ConversationId, group_info: Bytes, slot: u64) {
        let seed = self.rng.seed();
        self.state.keep_mls(&mut self.writer);
        let made = self.external_commit(id, &seed, &group_info);
        self.state.forget_mls();
        let (out, members, _) = match made {
            Ok(made) => made,
            Err(Misfit::Without) => {
                if let Some(attempt) = self.rejoins.attempts.get_mut(&id) {
                    attempt.without = attempt.without.saturating_add(1);
                }
                // A member may give a better one: that is asked for once.
                match self.is_out(id, 2) {
                    true => return self.ended_meanwhile(id),
                    false => return self.misfit(id),
                }
            }
            Err(Misfit::Other) => return self.misfit(id),
        };
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        let returned: BTreeSet<_> = members.intersection(&channel.gone).copied().collect();
        // Anyone who leaves says nothing else to them.
        if !returned.is_empty() && channel.phase != Phase::Leaving {
            self.refuse_to_return(id, returned);
            // The members, or the user, may have changed that by then. There is a way in: only from then on it may
            // be missed.
            let at = self.clock.now() + RESET_AFTER;
            if let Some(attempt) = self.rejoins.attempts.get_mut(&id) {
                attempt.began = at;
            }
            return self.timers.hold(Timer::Conversation(id, Pause::Rejoin), at);
        }
        let request = proto::SubmitCommitRequest {
            channel_id: Bytes::copy_from_slice(id.as_bytes()),
            slot,
            commit: out.commit.clone().into(),
            group_info: out.group_info.into(),
            message_id: Bytes::copy_from_slice(&self.rng.child().uuid_v7(self.clock.unix())),
            ..Default::default()
        };
        let record = DraftRecord {
            request: encoded(&request),
            slot,
            commit_hash: Sha256::digest(&out.commit).to_vec(),
            rejoin: Some(RejoinRecord {
                seed: seed.to_vec(),
                group_info,
            }),
            ..DraftRecord::default()
        };
        self.writer.put(&Name::Draft(id), &record);
        self.state.drafts.insert(id, record);
        self.submit(id);
    }

    /// Tells the app, once, that coming back means to meet these again.
    fn refuse_to_return(&mut self, id: ConversationId, returned: BTreeSet<IdentityKey>) {
        let attempt = self.rejoins.attempts.get_mut(&id);
        let told =
            attempt.map(|attempt| core::mem::replace(&mut attempt.returned, returned.clone()));
        if told.as_ref() != Some(&returned) {
            let returned = returned.into_iter().map(|key| self.state.person(key));
            let returned = returned.collect();
            self.writer.emit(Event::RejoinRefused {
                conversation: id,
                returned,
            });
        }
    }

    /// Anyone who leaves comes back to say so, and meets nobody again.
    pub(in crate::client) fn leaves_the_returned(&mut self, id: ConversationId) {
        let attempt = self.rejoins.attempts.get(&id);
        if attempt.is_some_and(|attempt| !attempt.returned.is_empty()) {
            self.timers.cancel(Timer::Conversation(id, Pause::Rejoin));
        }
    }

    /// The external commit, who is in the tree with it and which generation that is, applied in memory
    /// alone.
    pub(in crate::client) fn external_commit(
        &mut self,
        id: ConversationId,
        seed: &[u8; 32],
        group_info: &[u8],
    ) -> Result<(CommitOut, BTreeSet<IdentityKey>, u32), Misfit> {
        let known = self.state.conversations.get(&id);
        let generation = known.map_or(0, |channel| channel.generation);
        let device = self.state.device.as_mut().ok_or(Misfit::Other)?;
        let rejoined = Group::rejoin(device, seed, group_info, None, Policy::Qpq);
        let (group, out) = rejoined.map_err(|error| match error {
            JoinError::Stranger => Misfit::Without,
            _ => Misfit::Other,
        })?;
        let of = generation_of(id, group.group_id()).ok_or(Misfit::Other)?;
        let members = group.members().into_iter();
        let members = members.map(|member| member.identity_key).collect();
        match of.checked_sub(generation) {
            Some(ahead) if ahead <= MAX_GENERATIONS => Ok((out, members, of)),
            _ => Err(Misfit::Other),
        }
    }

    /// Another commit has the slot that the external one was for.
    pub(in crate::client) fn lost_rejoin(&mut self, id: ConversationId, slot: u64) {
        self.drop_rejoin_draft(id);
        self.wait_to_rejoin(id);
        if !self.know_slot(id, slot) {
            self.fetch(Some(id));
        }
    }

    pub(super) fn drop_rejoin_draft(&mut self, id: ConversationId) {
        self.state.drafts.remove(&id);
        self.writer.delete(&Name::Draft(id));
    }

    /// The server refused the external commit for what it is.
    pub(in crate::client) fn rejoin_refused(&mut self, id: ConversationId, status: Status) {
        self.drop_rejoin_draft(id);
        if status == Status::Forbidden && self.has_left(id) {
            return self.end(id);
        }
        if status == Status::Forbidden {
            return self.shut_out(id);
        }
        self.misfit(id);
        self.fetch(Some(id));
    }

    /// The external commit has its slot: takes the group that it leads into in place of the one held.
    pub(in crate::client) fn rejoined(&mut self, id: ConversationId, draft: &DraftRecord) {
        self.drop_rejoin_draft(id);
        let Some(made) = &draft.rejoin else {
            return;
        };
        let before = self.identities(id);
        let held = self.state.conversations.get(&id);
        let held = held.map(|channel| group_id(id, channel.generation));
        self.state.keep_mls(&mut self.writer);
        let (Some(device), Ok(seed)) = (
            &mut self.state.device,
            <[u8; 32]>::try_from(made.seed.as_slice()),
        ) else {
            return self.misfit(id);
        };
        let again = Group::rejoin(device, &seed, &made.group_info, None, Policy::Qpq);
        let Ok((group, out)) = again else {
            return self.misfit(id);
        };
        let generation = generation_of(id, group.group_id());
        let (Some(generation), true) = (
            generation,
            Sha256::digest(&out.commit).as_slice() == draft.commit_hash,
        ) else {
            self.state.forget_mls();
            return self.misfit(id);
        };
        if let Some(held) = held.filter(|held| held != group.group_id())
            && let Ok(Some(old)) = Group::load(device, &held)
        {
            // Rows that do not go are in nobody's way.
            _ = old.delete(device);
        }
        self.state.groups.insert(id, group);
        self.slot_taken(id, draft.slot);
        self.is_at_slot(id, draft.slot.saturating_add(1));
        self.change_channel(id, |channel| {
            channel.generation = generation;
            // Whatever was believed before.
            channel.slot = Slot::seen(draft.slot.saturating_add(1));
        });
        self.note_return(id);
        self.came_back(id, &before);
        self.fetch(Some(id));
        self.report(id, &before);
    }

    /// This device follows the group again.
    pub(in crate::client) fn came_back(
        &mut self,
        id: ConversationId,
        before: &BTreeSet<IdentityKey>,
    ) {
        self.rejoins.attempts.remove(&id);
        self.timers.cancel(Timer::Conversation(id, Pause::Rejoin));
        let members = self.identities(id);
        let added: Vec<_> = members.difference(before).copied().collect();
        let removed: Vec<_> = before.difference(&members).copied().collect();
        let why = self.change_channel(id, |channel| {
            let why = channel.rejoin.take();
            for key in &removed {
                remember(&mut channel.gone, *key);
            }
            channel.gone.retain(|key| !members.contains(key));
            why
        });
        if !removed.is_empty() {
            self.note_removal(id);
            // What a device of an earlier day sends again the server may have all the same.
            if why.flatten() != Some(RejoinReason::SetBack) {
                self.say_not_for_all(id);
            }
        }
        let epoch = self.state.group(id).map_or(0, |(_, group)| group.epoch());
        self.need_names(id, &added);
        let people = |keys: Vec<IdentityKey>, client: &Self| {
            let people = keys.into_iter().map(|key| client.state.person(key));
            people.collect()
        };
        let is_leaving = self.phase(id) == Some(Phase::Leaving);
        if why.flatten() == Some(RejoinReason::Forgotten) && !is_leaving {
            self.announcing.insert(id);
        }
        if self.announcing.contains(&id) {
            // The app has not heard of it before.
            self.announce(id);
        } else {
            let event = Event::Rejoined {
                conversation: id,
                added: people(added, self),
                removed: people(removed, self),
                epoch,
            };
            self.tell(id, event);
        }
        if why.flatten() == Some(RejoinReason::SetBack) {
            self.await_agreement(id, before);
        }
        self.unpark(id);
        if is_leaving {
            self.propose_leaving(id);
        }
        match !is_leaving && self.has_left(id) {
            true => self.start_leaving(id),
            false => self.drive(id),
        }
    }
}
