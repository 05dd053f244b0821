//! Coming back into a group whose thread was lost, by external commit (protocol.md §5.31).
//!
//! The group that is held stays until the server has given the external commit its slot, so that a
//! GroupInfo of before is known as such. Until then nothing is sent and commits of others are counted,
//! not judged: they are of epochs that this device does not have.
//!
//! ```text
//!   a commit fits the others only --> ask the members for a fresh GroupInfo (RotateKeys), wait
//!   commits missing, set back ------------------------------> GetGroupInfo, external commit
//!             it does not fit: ask, wait, again -- for 60 s --> a new group of those on the list
//! ```

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use qpq_crypto::mls::{CommitOut, Group, JoinError, Policy};
use sha2::{Digest as _, Sha256};

use crate::client::error::IntentError;
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::keep::keys::Name;
use crate::client::keep::record::{DraftRecord, RejoinRecord};
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::channel::{LONG_AGO, Phase, remember};
use crate::client::talk::generation::{MAX_GENERATIONS, generation_of, group_id};
use crate::client::talk::slot::Slot;
use crate::client::{Client, encoded};
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;
use crate::time::Time;

/// Random waiting before an attempt, for each device in the tree.
const WAIT_PER_DEVICE: Duration = Duration::from_secs(1);
/// Without a way in for so long, a new group is begun.
const RESET_AFTER: Duration = Duration::from_secs(60);
/// Requests for a fresh GroupInfo are answered at most so often.
const ANSWER_EVERY: Duration = Duration::from_secs(10);

/// What is under way for groups that this device lost, and for other members' that lost theirs.
#[derive(Default)]
pub(in crate::client) struct Rejoins {
    attempts: BTreeMap<ConversationId, Attempt>,
    /// When a fresh GroupInfo that members had asked for came last.
    rotated: BTreeMap<ConversationId, Time>,
}

/// How this device comes back into a group.
struct Attempt {
    began: Time,
    /// The members are to be asked before the next attempt.
    asks: bool,
    misfits: u32,
    /// The server did not list this account, and was asked to do so again.
    listed_again: bool,
    /// GroupInfos of the group, no older than what is held, whose tree this account is not in.
    without: u32,
    /// Whom the app was told of that it would meet again.
    returned: BTreeSet<IdentityKey>,
    /// Who is to be in a new group, once there is no other way.
    reset: Option<BTreeSet<IdentityKey>>,
}

/// Why a GroupInfo does not lead into the group.
pub(in crate::client) enum Misfit {
    /// It verifies, and this account is not in its tree.
    Without,
    /// It does not verify, or does not fit what is known of the group.
    Other,
}

impl Attempt {
    fn new(began: Time, asks: bool) -> Self {
        Self {
            began,
            asks,
            misfits: 0,
            listed_again: false,
            without: 0,
            returned: BTreeSet::new(),
            reset: None,
        }
    }
}

impl Client {
    /// Follows the group no more, and comes back into it. Other groups are not held up.
    pub(in crate::client) fn rejoin(&mut self, id: ConversationId, why: RejoinReason) {
        match self.phase(id) {
            // Who leaves says so in the epoch that the others are in.
            Some(Phase::Active | Phase::Leaving) if !self.is_rejoining(id) => {}
            _ => return,
        }
        if self.state.drafts.remove(&id).is_some() {
            self.writer.delete(&Name::Draft(id));
            if let Some((device, group)) = self.state.group(id) {
                // Without a pending commit there is nothing to drop.
                _ = group.clear_pending(device);
            }
        }
        self.change_channel(id, |channel| channel.rejoin = Some(why));
        let event = Event::Rejoining {
            conversation: id,
            why,
        };
        self.tell(id, event);
        self.drive(id);
    }

    /// Whether this device lost the thread of the group and is not back in it.
    pub(in crate::client) fn is_rejoining(&self, id: ConversationId) -> bool {
        let channel = self.state.conversations.get(&id);
        channel.is_some_and(|channel| channel.rejoin.is_some())
    }

    /// Does what comes next on the way back, unless it is under way or has to wait.
    pub(in crate::client) fn drive_rejoin(&mut self, id: ConversationId) {
        if self.state.drafts.contains_key(&id) {
            return self.submit(id);
        }
        let waits = [Pause::Rejoin, Pause::Listing]
            .iter()
            .any(|pause| self.timers.is_set(Timer::Conversation(id, *pause)));
        let Some(why) = self
            .state
            .conversations
            .get(&id)
            .and_then(|channel| channel.rejoin)
            .filter(|_| !waits && !self.is_behind(id))
        else {
            return;
        };
        // Others may have lost it by the same commit.
        let new = Attempt::new(self.clock.now(), why == RejoinReason::Unfit);
        let attempt = self.rejoins.attempts.entry(id).or_insert(new);
        if attempt.reset.is_some() {
            return self.drive_reset(id);
        }
        let channel_id = Bytes::copy_from_slice(id.as_bytes());
        let (asks, ask, get) = (attempt.asks, Then::RotateKeys(id), Then::GetGroupInfo(id));
        if self.link.is_asked(&ask) || self.link.is_asked(&get) {
            return;
        }
        match asks {
            true => self.call::<rpc::RotateKeys>(&proto::RotateKeysRequest { channel_id }, ask),
            false => {
                self.call::<rpc::GetGroupInfo>(&proto::GetGroupInfoRequest { channel_id }, get);
            }
        }
    }

    /// The members were asked, or can't be: the one who is in may answer before the next attempt.
    pub(in crate::client) fn on_rotation_asked(
        &mut self,
        id: ConversationId,
        _: Answer<rpc::RotateKeys>,
    ) {
        if self.is_looked_for(id) {
            return self.on_searched_rotation(id);
        }
        if let Some(attempt) = self.rejoins.attempts.get_mut(&id) {
            attempt.asks = false;
        }
        self.wait_to_rejoin(id);
    }

    /// Many may come back at once: each at a moment of its own.
    pub(super) fn wait_to_rejoin(&mut self, id: ConversationId) {
        let devices = match self.state.group(id) {
            Some((_, group)) => group.members().len(),
            None => 1,
        };
        let most =
            WAIT_PER_DEVICE.saturating_mul(u32::try_from(devices.max(1)).unwrap_or(u32::MAX));
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        let wait = Duration::from_micros(self.rng.below(micros));
        let at = self.clock.now() + wait;
        self.timers.hold(Timer::Conversation(id, Pause::Rejoin), at);
    }

    pub(in crate::client) fn on_group_info(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::GetGroupInfo>,
    ) {
        if self.is_looked_for(id) {
            return self.on_searched_info(id, answer);
        }
        if !self.is_rejoining(id) {
            return;
        }
        match answer {
            Err(fault) if fault.status == Status::Forbidden && self.has_left(id) => self.end(id),
            Err(fault) if fault.status == Status::Forbidden => self.shut_out(id),
            Err(fault) if fault.is_passing() => {
                self.try_again(Timer::Conversation(id, Pause::Rejoin), &fault);
            }
            Err(_) => self.misfit(id),
            Ok(answer) if answer.slot == 0 && self.is_unbegun(id) => self.lost_nothing(id),
            Ok(answer) => self.draft_rejoin(id, answer.group_info, answer.slot),
        }
    }

    /// Whether this device is alone in a group that has had no commit.
    fn is_unbegun(&mut self, id: ConversationId) -> bool {
        let group = self.state.group(id);
        group.is_some_and(|(_, group)| group.epoch() == 0)
    }

    /// There was no commit that this device could have missed.
    fn lost_nothing(&mut self, id: ConversationId) {
        self.change_channel(id, |channel| channel.slot = Slot::FIRST);
        self.is_at_slot(id, 0);
        let before = self.identities(id);
        self.came_back(id, &before);
    }

    /// It may be that this account is out.
    fn shut_out(&mut self, id: ConversationId) {
        if self.phase(id) == Some(Phase::Leaving) {
            return self.end(id);
        }
        if self.is_out(id, 1) {
            return self.ended_meanwhile(id);
        }
        self.look_for_the_end(id);
        self.wait_to_rejoin(id);
    }

    /// Comes back by a GroupInfo that is here already.
    pub(super) fn begin_rejoin(&mut self, id: ConversationId, group_info: Bytes, slot: u64) {
        let attempt = Attempt::new(self.clock.now(), false);
        self.rejoins.attempts.insert(id, attempt);
        self.draft_rejoin(id, group_info, slot);
    }

    /// Makes the external commit, and stores what it is made of. What this device holds of the group
    /// stays as it is.
    fn draft_rejoin(&mut self, id: ConversationId, group_info: Bytes, slot: u64) {
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
        // Whoever leaves says nothing else to them.
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

    /// Whoever leaves comes back to say so, and meets nobody again.
    pub(in crate::client) fn leaves_the_returned(&mut self, id: ConversationId) {
        let attempt = self.rejoins.attempts.get(&id);
        if attempt.is_some_and(|attempt| !attempt.returned.is_empty()) {
            self.timers.cancel(Timer::Conversation(id, Pause::Rejoin));
        }
    }

    /// This account was not on the list, asked to be put there again, and is not in the tree: so many
    /// GroupInfos have said that.
    pub(in crate::client) fn is_out(&self, id: ConversationId, without: u32) -> bool {
        let attempt = self.rejoins.attempts.get(&id);
        attempt.is_some_and(|attempt| attempt.listed_again && attempt.without >= without)
    }

    /// While this device could not follow the group, its account was taken out of it, or left.
    pub(in crate::client) fn ended_meanwhile(&mut self, id: ConversationId) {
        self.rejoins.attempts.remove(&id);
        self.is_back(id);
        self.tell(id, Event::Removed { conversation: id });
        self.end(id);
    }

    /// The server was asked to list this account again.
    pub(in crate::client) fn note_listed_again(&mut self, id: ConversationId) {
        if let Some(attempt) = self.rejoins.attempts.get_mut(&id) {
            attempt.listed_again = true;
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

    /// The GroupInfo does not lead into the group: somebody who is in has to give a fresh one.
    fn misfit(&mut self, id: ConversationId) {
        if self.has_left(id) && self.phase(id) != Some(Phase::Leaving) {
            // The others know it, or nobody can be told.
            return self.end(id);
        }
        let now = self.clock.now();
        let Some(attempt) = self.rejoins.attempts.get_mut(&id) else {
            return self.wait_to_rejoin(id);
        };
        attempt.asks = true;
        attempt.misfits = attempt.misfits.saturating_add(1);
        let (misfits, waited) = (attempt.misfits, now.since(attempt.began));
        if waited >= RESET_AFTER {
            return match self.phase(id) {
                Some(Phase::Leaving) => self.leave_unheard(id),
                _ => self.want_reset(id),
            };
        }
        let at = now + self.config.backoff_base + self.backoff(misfits.min(6));
        self.timers.hold(Timer::Conversation(id, Pause::Rejoin), at);
    }

    /// There is no way back in to say that this account leaves: off the list, without a word.
    fn leave_unheard(&mut self, id: ConversationId) {
        self.rejoins.attempts.remove(&id);
        self.fail_messages(id, &IntentError::NotAMember);
        self.change_channel(id, |channel| {
            channel.rejoin = None;
            channel.left_ms = LONG_AGO;
        });
        self.drive(id);
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

    /// A member asks for a fresh GroupInfo: the first leaf commits at once, the others after a random
    /// pause, if nobody has by then.
    pub(in crate::client) fn rotation_requested(&mut self, id: ConversationId) {
        if self.phase(id) != Some(Phase::Active) || self.is_rejoining(id) {
            return;
        }
        if !self.is_rotation_wanted(id) {
            self.change_channel(id, |channel| channel.owes_rotation = true);
        }
        if let Some(last) = self.rejoins.rotated.get(&id).copied() {
            let courtesy = Timer::Conversation(id, Pause::Courtesy);
            self.timers.hold(courtesy, last + ANSWER_EVERY);
        }
        self.give_way(id, None);
        self.drive(id);
    }

    /// Whether a commit is wanted for the GroupInfo that comes with it.
    pub(in crate::client) fn is_rotation_wanted(&self, id: ConversationId) -> bool {
        let channel = self.state.conversations.get(&id);
        channel.is_some_and(|channel| channel.owes_rotation)
    }

    /// A valid commit came, and with it a GroupInfo.
    pub(in crate::client) fn rotated(&mut self, id: ConversationId) {
        let now = self.clock.now();
        if self.is_rotation_wanted(id) {
            self.change_channel(id, |channel| channel.owes_rotation = false);
            self.rejoins.rotated.insert(id, now);
        }
    }

    /// There is no way in: asks who is to be in a new group.
    fn want_reset(&mut self, id: ConversationId) {
        let then = Then::ListMembers(id, 0);
        if !self.link.is_asked(&then) {
            let request = proto::ListGroupMembersRequest {
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
            };
            self.call::<rpc::ListGroupMembers>(&request, then);
        }
    }

    /// Whether a new group waits for the list of who is to be in it.
    pub(in crate::client) fn is_reset_due(&self, id: ConversationId) -> bool {
        let attempt = self.rejoins.attempts.get(&id);
        let now = self.clock.now();
        attempt.is_some_and(|attempt| {
            attempt.reset.is_none() && now.since(attempt.began) >= RESET_AFTER
        })
    }

    /// These are to be in a new group, besides this account.
    pub(in crate::client) fn begin_reset(
        &mut self,
        id: ConversationId,
        others: BTreeSet<IdentityKey>,
    ) {
        if let Some(attempt) = self.rejoins.attempts.get_mut(&id) {
            attempt.reset = Some(others);
        }
        self.timers.cancel(Timer::Conversation(id, Pause::Rejoin));
        self.drive(id);
    }

    /// Who is to be in the new group that is being begun.
    pub(in crate::client) fn resetting(
        &self,
        id: ConversationId,
    ) -> Option<&BTreeSet<IdentityKey>> {
        self.rejoins.attempts.get(&id)?.reset.as_ref()
    }

    /// One who can't be in the new group.
    pub(in crate::client) fn reset_without(&mut self, id: ConversationId, key: IdentityKey) {
        if let Some(attempt) = self.rejoins.attempts.get_mut(&id)
            && let Some(others) = &mut attempt.reset
        {
            others.remove(&key);
        }
        let person = self.state.person(key);
        self.writer.emit(Event::NotAdded {
            conversation: id,
            person,
        });
        self.drive(id);
    }

    /// The new group was not to be: the way back is tried again from its beginning.
    pub(super) fn reset_failed(&mut self, id: ConversationId) {
        self.rejoins.attempts.remove(&id);
        self.wait_to_rejoin(id);
    }

    /// The connection is gone, and with it what was under way over it.
    pub(in crate::client) fn forget_rejoins(&mut self) {
        self.rejoins = Rejoins::default();
        self.forget_searches();
    }
}
