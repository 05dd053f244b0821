//! The fate of an own commit: submitted, accepted or lost, and merged in its turn.

use std::collections::BTreeSet;

use bytes::Bytes;
use qpq_crypto::mls::{GroupError, Member};

use super::channel::{Change, Phase, remember};
use crate::client::Client;
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::keep::keys::Name;
use crate::client::keep::record::{self, DraftRecord, MergedRecord};
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::defect::seeded;
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

impl Client {
    pub(in crate::client) fn submit(&mut self, id: ConversationId) {
        let then = Then::SubmitCommit(id);
        let Some(draft) = self.state.drafts.get(&id).filter(|_| self.link.is_ready()) else {
            return;
        };
        let waits = self.timers.is_set(Timer::Conversation(id, Pause::Server));
        if self.link.is_asked(&then) || waits || self.has_won(id) {
            return;
        }
        let (request, hash) = (draft.request.clone(), draft.commit_hash.clone());
        if !self.may_commit(id, &hash) {
            return;
        }
        self.call_kept::<rpc::SubmitCommit>(&request, then);
    }

    pub(in crate::client) fn on_submitted(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::SubmitCommit>,
    ) {
        let Some(draft) = self.state.drafts.get(&id).cloned() else {
            return;
        };
        match answer {
            Ok(answer) => {
                if !self.take_own_proof(id, &draft, &answer.commit_proof) {
                    // Whatever the server did, it has not signed for it: it is asked again.
                    let at = self.clock.now() + self.config.backoff_base + self.backoff(8);
                    self.timers.hold(Timer::Conversation(id, Pause::Server), at);
                    return;
                }
                self.keep_own_commit(id, &draft, &answer.commit_proof);
                self.accepted(id, &draft);
            }
            Err(fault) if fault.status == Status::Conflict => {
                let is_ours = fault.commit_hash.as_ref() == draft.commit_hash;
                if is_ours || seeded!(self.config, MergeLost) {
                    self.accepted(id, &draft);
                } else {
                    self.wait_for_server(id, draft.slot, fault.slot);
                    self.lost(id, &draft, fault.slot);
                }
            }
            Err(fault) if fault.status == Status::RateLimited && self.is_too_late(id, &draft) => {
                let slot = self.reached_slot(id);
                self.lost(id, &draft, slot);
            }
            Err(fault) if fault.is_passing() => {
                self.try_again(Timer::Conversation(id, Pause::Server), &fault);
            }
            Err(fault) => {
                if draft.rejoin.is_some() {
                    return self.rejoin_refused(id, fault.status);
                }
                if draft.reset > 0 {
                    return self.reset_lost(id, &draft);
                }
                let changes = draft.changes.iter().filter_map(Change::load);
                let all: Vec<_> = changes.map(|change| change.identity_key).collect();
                // Whom the server names; the others are asked for again without them.
                let named = all.iter().filter(|key| fault.members.contains(key));
                let named: Vec<_> = named.copied().collect();
                let is_forbidden = fault.status == Status::Forbidden;
                let is_shut_out = is_forbidden && fault.members.is_empty();
                let error = Self::refusal(fault);
                self.drop_draft(id);
                // The slot was free then: if it is taken with nothing of it in the queue, it was by this very commit; or,
                // where this account is shut out, by one that it was not given.
                self.change_channel(id, |channel| channel.slot.confirm(draft.slot));
                if is_shut_out && self.phase(id) == Some(Phase::Leaving) {
                    // The others took it off the list: it has left.
                    return self.end(id);
                }
                if is_shut_out || all.is_empty() {
                    // Nobody's wish is refused with it, so that it would be made again at once.
                    let at = self.clock.now() + self.config.backoff_base + self.backoff(8);
                    self.timers.hold(Timer::Conversation(id, Pause::Server), at);
                }
                let gives_up = seeded!(self.config, RefusalGivesUp);
                if is_shut_out && self.phase(id) == Some(Phase::Active) && !gives_up {
                    // Out, or thrown off the list: who is back there still wants what he wanted.
                    return self.look_for_the_end(id);
                }
                if is_forbidden {
                    self.note_unlisted(id, &draft, &named);
                }
                let given_up = if named.is_empty() { all } else { named };
                self.cannot_change(id, &given_up, &error);
                self.fetch(Some(id));
            }
        }
    }

    /// A new group is to begin in a slot that is taken: it need not wait for its turn to hear that.
    fn is_too_late(&self, id: ConversationId, draft: &DraftRecord) -> bool {
        let begins = draft.reset > 0 || self.phase(id) == Some(Phase::Founding);
        begins && self.reached_slot(id) > draft.slot
    }

    fn keep_own_commit(&mut self, id: ConversationId, draft: &DraftRecord, proof: &Bytes) {
        let request: Option<proto::SubmitCommitRequest> = record::read(&draft.request);
        if let (Some(request), Some(own)) = (request, self.state.identity_key()) {
            let record = MergedRecord {
                slot: draft.slot,
                commit: request.commit,
                sender: own.as_bytes().to_vec(),
                proof: proof.to_vec(),
                ..MergedRecord::default()
            };
            self.keep_merged(id, draft.slot, record);
        }
    }

    /// The server gave our commit its slot.
    fn accepted(&mut self, id: ConversationId, draft: &DraftRecord) {
        if draft.rejoin.is_some() {
            return self.rejoined(id, draft);
        }
        if draft.reset > 0 {
            return self.reset_accepted(id, draft);
        }
        self.won.insert(id, draft.commit_hash.clone());
        // Who has merged it can't read the proposals of before it any more. The first has nothing before it.
        if self.phase(id) == Some(Phase::Founding) || self.is_drained(id) {
            self.merge_own(id);
        } else {
            self.fetch(Some(id));
        }
    }

    /// Whether the draft has its slot, and waits for what came before it.
    pub(super) fn has_won(&self, id: ConversationId) -> bool {
        let draft = self.state.drafts.get(&id);
        draft.is_some_and(|draft| self.won.get(&id) == Some(&draft.commit_hash))
    }

    /// Everything of before our commit has been taken in: merges it, if it has its slot.
    pub(super) fn merge_own(&mut self, id: ConversationId) {
        let draft = self.state.drafts.get(&id).filter(|_| self.has_won(id));
        let Some(draft) = draft.cloned() else {
            return;
        };
        self.won.remove(&id);
        let merged = match self.state.group(id) {
            Some((device, group)) => group.confirm_pending(device),
            None => Err(GroupError::State),
        };
        let Ok(committed) = merged else {
            return self.rejoin(id, RejoinReason::State);
        };
        self.state.drafts.remove(&id);
        self.writer.delete(&Name::Draft(id));
        let members = self.identities(id);
        let is_made = |change: &Change| {
            change.of_list || members.contains(&change.identity_key) != change.remove
        };
        let drafted = draft.changes.iter().filter_map(Change::load);
        let done: Vec<Change> = drafted.filter(is_made).collect();
        self.unwant(id, |change| done.contains(change));
        self.change_channel(id, |channel| {
            if channel.phase == Phase::Founding {
                channel.phase = Phase::Active;
            }
        });
        self.work.remove(&id);
        if let Some(own) = self.state.identity_key() {
            let change = (committed.added, committed.removed);
            self.moved(id, draft.slot, own, change, committed.epoch);
        }
        if done.iter().any(|change| !change.remove) {
            self.tell_name(id);
        }
        self.fetch(Some(id));
        self.drive(id);
    }

    /// Another commit has the slot: ours is dropped and that one fetched.
    fn lost(&mut self, id: ConversationId, draft: &DraftRecord, slot: u64) {
        if draft.rejoin.is_some() {
            return self.lost_rejoin(id, slot);
        }
        if draft.reset > 0 {
            self.reset_lost(id, draft);
            if slot < draft.slot {
                // The new group goes where the channel is, whatever was believed of it before.
                self.lower_slot(id, slot);
                self.is_at_slot(id, slot);
            }
            self.know_slot(id, slot);
            return;
        }
        self.drop_draft(id);
        if self.phase(id) == Some(Phase::Founding) {
            self.forget_group(id);
            self.change_channel(id, |channel| {
                channel.phase = Phase::Joining;
                channel.wanted.clear();
            });
        } else {
            self.note_denied(id, draft.slot);
        }
        if !self.know_slot(id, slot) {
            self.fetch(Some(id));
        }
    }

    fn drop_draft(&mut self, id: ConversationId) {
        self.state.drafts.remove(&id);
        self.writer.delete(&Name::Draft(id));
        let cleared = match self.state.group(id) {
            Some((device, group)) => group.clear_pending(device).is_ok(),
            None => false,
        };
        if !cleared {
            self.rejoin(id, RejoinReason::State);
        }
    }

    /// A commit was merged: slot, names, intents and parked messages follow.
    pub(in crate::client) fn moved(
        &mut self,
        id: ConversationId,
        slot: u64,
        by: IdentityKey,
        (added, removed): (Vec<Member>, Vec<Member>),
        epoch: u64,
    ) {
        self.slot_taken(id, slot);
        self.rotated(id);
        // The app is told of accounts: who has another device in the tree neither came nor went.
        let others: BTreeSet<IdentityKey> = match self.state.group(id) {
            Some((_, group)) if group.is_active() => {
                let members = group.members().into_iter();
                let stayed = members.filter(|member| !added.contains(member));
                stayed.map(|member| member.identity_key).collect()
            }
            _ => BTreeSet::new(),
        };
        let identities = |members: &[Member]| -> BTreeSet<IdentityKey> {
            let keys = members.iter().map(|member| member.identity_key);
            keys.filter(|key| !others.contains(key)).collect()
        };
        let (came, went) = (identities(&added), identities(&removed));
        let added: Vec<_> = came.difference(&went).copied().collect();
        let removed: Vec<_> = went.difference(&came).copied().collect();
        self.change_channel(id, |channel| {
            for key in &removed {
                remember(&mut channel.gone, *key);
                channel.listed.remove(key);
            }
            channel.gone.retain(|key| !added.contains(key));
            for key in &added {
                // By the same commit.
                remember(&mut channel.listed, *key);
            }
        });
        self.keep_moves(id, slot, &added, &removed);
        self.need_names(id, &added);
        if !added.is_empty() {
            self.note_addition(id);
        }
        if !removed.is_empty() {
            self.note_removal(id);
        }
        self.agrees(id, by);
        let event = Event::Membership {
            conversation: id,
            by: self.state.person(by),
            added: added
                .into_iter()
                .map(|key| self.state.person(key))
                .collect(),
            removed: removed
                .into_iter()
                .map(|key| self.state.person(key))
                .collect(),
            epoch,
        };
        self.tell(id, event);
        let stays = self
            .state
            .group(id)
            .is_some_and(|(_, group)| group.is_active());
        if stays && self.phase(id) == Some(Phase::Leaving) {
            self.propose_leaving(id);
        }
        self.unpark(id);
        self.ask_witnesses(id);
    }
}
