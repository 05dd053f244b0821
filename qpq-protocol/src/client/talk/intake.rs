//! What an envelope holds, taken in: commits in their slots, Welcomes, messages.
//!
//! Each envelope moves its queue's cursor whatever it turns out to be; what cannot be read is told
//! and passed over.

use core::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;
use qpq_crypto::mls::{Author, Group, Policy, ProcessErrorKind, Processed};
use sha2::{Digest as _, Sha256};

use super::channel::{Channel, MAX_GROUP_NAME, Phase, dm_channel, remember};
use super::framing::{Content, framing};
use super::generation::{MAX_GENERATIONS, generation_of, group_id};
use super::known::Seen;
use super::queue::{Queue, mark_of};
use super::slot::Slot;
use crate::client::Client;
use crate::client::error::UnreadableReason;
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::keep::keys::Name;
use crate::client::keep::record::{MergedRecord, ParkedRecord};
use crate::defect::seeded;
use crate::ids::IdentityKey;
use crate::proto;
use crate::proto::app_message::Body;
use crate::proto::delivery_payload::Payload;
use crate::wire;

/// Messages of a future epoch that are kept for a conversation.
const MAX_PARKED: usize = 64;

/// Whether an envelope was taken in.
#[derive(PartialEq, Eq)]
pub(in crate::client) enum Taken {
    Yes,
    /// The queue has to wait.
    Not,
}

/// What joining by a Welcome means for the app.
enum Entrance {
    /// A conversation that this client was not in.
    New,
    /// Back in the group whose thread was lost.
    Back,
    /// A new group in the place of one that nobody could follow.
    Reset,
}

impl Client {
    pub(super) fn take_envelope(&mut self, queue: Queue, envelope: proto::Envelope) -> Taken {
        if envelope.seq <= self.cursor(queue) {
            return Taken::Yes;
        }
        if self.is_blocked(queue) {
            return Taken::Not;
        }
        if envelope.seq > self.cursor(queue).saturating_add(1) {
            self.miss_until(queue, envelope.seq);
        }
        if let Some(id) = queue {
            self.compare_waiting(id);
        }
        if let (Some(id), Some(slot)) = (queue, envelope.slot)
            && self
                .state
                .drafts
                .get(&id)
                .is_some_and(|own| own.slot <= slot)
        {
            // What came before our own commit has been read.
            self.merge_own(id);
        }
        // What was changed so far stays, whatever this envelope turns out to be.
        self.state.keep_mls(&mut self.writer);
        let mark = (!envelope.expired).then(|| mark_of(&envelope));
        self.set_cursor(queue, envelope.seq, mark);
        let seq = envelope.seq;
        let read = match (queue, envelope.slot) {
            _ if envelope.expired => Err(UnreadableReason::Expired),
            (None, _) => Err(UnreadableReason::Unsupported),
            (Some(id), Some(slot)) => self.take_commit(id, slot, &envelope),
            (Some(id), None) => self.take_payload(id, seq, envelope.data),
        };
        if let Err(why) = read {
            self.unreadable(queue, seq, why);
        }
        if let (Some(id), true) = (queue, envelope.expired) {
            self.may_miss_commit(id);
        }
        Taken::Yes
    }

    /// Something of a conversation expired. Who has not seen a slot yet can't tell by the next one whether that
    /// was a commit.
    fn may_miss_commit(&mut self, id: ConversationId) {
        let channel = self.state.conversations.get(&id);
        if channel.is_some_and(|channel| !channel.slot.is_seen()) {
            self.rejoin(id, RejoinReason::Missed);
        }
    }

    pub(super) fn unreadable(&mut self, queue: Queue, seq: u64, why: UnreadableReason) {
        if let Some(conversation) = queue {
            let event = Event::Unreadable {
                conversation,
                seq,
                why,
            };
            self.tell(conversation, event);
        }
    }

    fn take_commit(
        &mut self,
        id: ConversationId,
        slot: u64,
        envelope: &proto::Envelope,
    ) -> Result<(), UnreadableReason> {
        let commit = envelope.data.as_ref();
        let Some(channel) = self.state.conversations.get(&id) else {
            self.look_again_for_group(id);
            return Err(UnreadableReason::NoConversation);
        };
        match channel.phase {
            Phase::Active | Phase::Leaving => {}
            // Whom the commit puts into the group gets a Welcome instead: that one is lost.
            Phase::Joining => {
                self.look_again_for_group(id);
                return Ok(());
            }
            // After the end: not ours to follow, unless another brought this account in again.
            Phase::Over if channel.left_ms == 0 && slot >= channel.slot.next() => {
                self.look_again_for_group(id);
                return Ok(());
            }
            _ => return Ok(()),
        }
        let (next, is_seen) = (channel.slot.next(), channel.slot.is_seen());
        let said = (&Sha256::digest(commit).into(), envelope.sender_key.as_ref());
        let is_proven = self.take_proof(id, slot, said, &envelope.commit_proof);
        if slot < next {
            let is_other = is_proven && self.is_of_other_past(id, slot, envelope);
            if !is_other && is_proven && !self.is_kept(id, slot) && self.is_of_epoch(id, commit) {
                // This device is not where it believed to be: of what has been taken in, this is the next.
                self.rejoin(id, RejoinReason::Missed);
            }
            if !is_other {
                return Ok(());
            }
            self.come_over(id, slot, slot);
        }
        if !is_proven {
            self.rejoin(id, RejoinReason::Missed);
            return Ok(());
        }
        self.slot_taken(id, slot);
        let record = MergedRecord {
            slot,
            commit: envelope.data.clone(),
            sender: envelope.sender_key.to_vec(),
            proof: envelope.commit_proof.to_vec(),
            ..MergedRecord::default()
        };
        self.keep_merged(id, slot, record);
        if self.is_rejoining(id) {
            // Of an epoch that this device does not have: it cannot say who is to blame.
            return Ok(());
        }
        let is_missing = match is_seen {
            true => slot > next,
            // Void commits may have taken the slots in between, but led to no epoch.
            false => self.is_ahead(id, commit),
        };
        if is_missing {
            // And it was not ours.
            self.rejoin(id, RejoinReason::Missed);
            return Ok(());
        }
        let committer = IdentityKey::try_from(envelope.sender_key.as_ref()).ok();
        let Some((device, group)) = self.state.group(id) else {
            self.rejoin(id, RejoinReason::State);
            return Ok(());
        };
        let processed = match &committer {
            Some(committer) => group.process_commit(device, committer, commit),
            None => return self.void(id, slot, None, commit),
        };
        match processed {
            Ok(Processed::Commit {
                sender,
                added,
                removed,
                self_removed,
                epoch,
            }) => {
                let by = sender.identity_key;
                self.moved(id, slot, by, (added, removed), epoch);
                if self_removed {
                    self.tell(id, Event::Removed { conversation: id });
                    self.end(id);
                }
                Ok(())
            }
            Ok(_) => self.void(id, slot, committer, commit),
            Err(error) if error.kind == ProcessErrorKind::Void => {
                self.void(id, slot, committer, commit)
            }
            Err(_) => {
                self.rejoin(id, RejoinReason::Unfit);
                Ok(())
            }
        }
    }

    /// Whether a commit says that it is of a later epoch of the group than the one that is held.
    pub(super) fn is_ahead(&mut self, id: ConversationId, commit: &[u8]) -> bool {
        let ahead = self.epochs_ahead(id, commit);
        ahead.is_some_and(|ahead| ahead > 0)
    }

    /// Whether a commit says that it is of the epoch of the group that is held, or of a later one.
    fn is_of_epoch(&mut self, id: ConversationId, commit: &[u8]) -> bool {
        self.epochs_ahead(id, commit).is_some()
    }

    /// By how many epochs the one that a commit names is later than that of the group that is held; `None` for an
    /// earlier one, and for another group.
    fn epochs_ahead(&mut self, id: ConversationId, commit: &[u8]) -> Option<u64> {
        let (_, group) = self.state.group(id)?;
        let framing = framing(commit).filter(|framing| framing.group_id == group.group_id())?;
        framing.epoch.checked_sub(group.epoch())
    }

    /// A commit that fails a test which all members share: says who did that, and goes on.
    fn void(
        &mut self,
        conversation: ConversationId,
        slot: u64,
        by: Option<IdentityKey>,
        commit: &[u8],
    ) -> Result<(), UnreadableReason> {
        let event = Event::VoidCommit {
            conversation,
            slot,
            by: by.map(|by| self.state.person(by)),
        };
        self.tell(conversation, event);
        if seeded!(self.config, VoidEnds) {
            self.tell(conversation, Event::Removed { conversation });
            self.end(conversation);
        }
        if let Some(by) = by {
            self.compare_trees(conversation, by, commit);
        }
        // It may have changed the list all the same, before this account was told of such changes.
        self.list_members(conversation, 0);
        Ok(())
    }

    fn take_payload(
        &mut self,
        id: ConversationId,
        seq: u64,
        data: Bytes,
    ) -> Result<(), UnreadableReason> {
        let payload = wire::decode_delivery(data);
        match payload.map_err(|_| UnreadableReason::Unsupported)?.payload {
            Some(Payload::Welcome(welcome)) => {
                let read = self.take_welcome(id, &welcome.welcome);
                if read.is_err() {
                    self.look_again_for_group(id);
                }
                read
            }
            Some(Payload::MlsMessage(message)) => self.take_mls(id, seq, &message),
            Some(Payload::ForkReport(sealed)) => self.take_report(id, &sealed),
            Some(Payload::Sealed(_)) | None => Err(UnreadableReason::Unsupported),
        }
    }

    fn take_mls(
        &mut self,
        id: ConversationId,
        seq: u64,
        message: &Bytes,
    ) -> Result<(), UnreadableReason> {
        // A commit counts only in a slot: here it would change the group behind the server's back.
        let content = framing(message).map(|framing| framing.content);
        if !matches!(content, Some(Content::Application | Content::Proposal)) {
            return Err(UnreadableReason::Unsupported);
        }
        match self.phase(id) {
            Some(Phase::Active | Phase::Leaving) => {}
            _ => return Err(UnreadableReason::NoConversation),
        }
        let Some((device, group)) = self.state.group(id) else {
            self.rejoin(id, RejoinReason::State);
            return Err(UnreadableReason::Undecryptable);
        };
        match group.process(device, message) {
            Ok(Processed::Application { sender, plaintext }) => {
                self.remember_message(id, message);
                self.agrees(id, sender.identity_key);
                self.take_app(id, &sender, plaintext.into())
            }
            Ok(Processed::Proposal { sender }) => {
                let who = sender.identity_key;
                let dropped = group.drop_proposals(device);
                self.remember_message(id, message);
                // Kept as what is wanted, in this epoch and in any later one.
                if dropped.is_err() {
                    self.rejoin(id, RejoinReason::State);
                } else if self.state.identity_key() != Some(who) {
                    self.hears_of_leaving(id, who);
                }
                Ok(())
            }
            Ok(Processed::Commit { .. }) => Err(UnreadableReason::Unsupported),
            Err(error) => match error.kind {
                ProcessErrorKind::FutureEpoch if self.has_won(id) => {
                    // All that follows was sent after our commit.
                    self.merge_own(id);
                    self.take_mls(id, seq, message)
                }
                ProcessErrorKind::FutureEpoch => self.park(id, seq, message),
                ProcessErrorKind::PastEpoch => {
                    if content == Some(Content::Proposal) {
                        // Somebody leaves where the group was before: the next commit shows where it is.
                        self.rotation_requested(id);
                    }
                    Err(UnreadableReason::TooOld)
                }
                ProcessErrorKind::Duplicate if !self.was_processed(id, message) => {
                    let members = self.identities(id);
                    self.report(id, &members);
                    Err(UnreadableReason::Copied)
                }
                ProcessErrorKind::Duplicate | ProcessErrorKind::OwnMessage => Ok(()),
                ProcessErrorKind::Void | ProcessErrorKind::PathOrTag => {
                    Err(UnreadableReason::Undecryptable)
                }
                ProcessErrorKind::State => {
                    self.rejoin(id, RejoinReason::State);
                    Ok(())
                }
            },
        }
    }

    fn take_app(
        &mut self,
        id: ConversationId,
        sender: &Author,
        app: Bytes,
    ) -> Result<(), UnreadableReason> {
        let decoded = wire::decode_app(app.clone()).unwrap_or_default();
        match self.know_message(id, sender.identity_key, &decoded.message_id, &app) {
            Seen::New => {}
            Seen::Before => return Ok(()),
            Seen::Otherwise => return Err(UnreadableReason::SaidOtherwise),
        }
        if let Some(Body::GroupName(name)) = decoded.body {
            let known = self.state.conversations.get(&id);
            let fits = (1..=MAX_GROUP_NAME).contains(&name.name.len()) && !id.is_dm();
            if fits && known.is_some_and(|channel| channel.name != name.name) {
                self.rename(id, name.name);
            }
            return Ok(());
        }
        if self.phase(id) == Some(Phase::Leaving) {
            // What is said there is not for this user any more.
            return Ok(());
        }
        if let Some(index) = self.keep_message(id, sender.identity_key, app.clone()) {
            let message = self.message(id, index, sender.identity_key, app);
            self.writer.emit(Event::Message(message));
        }
        Ok(())
    }

    fn park(
        &mut self,
        id: ConversationId,
        seq: u64,
        message: &Bytes,
    ) -> Result<(), UnreadableReason> {
        let parked = self.state.parked.range((id, 0)..=(id, u64::MAX));
        if parked.count() >= MAX_PARKED {
            return Err(UnreadableReason::TooNew);
        }
        let record = ParkedRecord {
            message: message.clone(),
        };
        self.writer.put(&Name::Parked(id, seq), &record);
        self.state.parked.insert((id, seq), record.message);
        Ok(())
    }

    /// The epoch has moved: tries the messages that were ahead of it.
    pub(in crate::client) fn unpark(&mut self, id: ConversationId) {
        let parked = self.state.parked.range((id, 0)..=(id, u64::MAX));
        let parked: Vec<_> = parked
            .map(|((_, seq), message)| (*seq, message.clone()))
            .collect();
        for (seq, message) in parked {
            self.state.keep_mls(&mut self.writer);
            self.state.parked.remove(&(id, seq));
            self.writer.delete(&Name::Parked(id, seq));
            if let Err(why) = self.take_mls(id, seq, &message) {
                self.unreadable(Some(id), seq, why);
            }
        }
    }

    /// Joins by a Welcome, in place of what is held of the group: that goes when the Welcome has been
    /// verified whole, and fits.
    fn take_welcome(&mut self, id: ConversationId, welcome: &[u8]) -> Result<(), UnreadableReason> {
        let before = self.identities(id);
        self.state.keep_mls(&mut self.writer);
        let own = self
            .state
            .identity_key()
            .ok_or(UnreadableReason::BadWelcome)?;
        let device = self
            .state
            .device
            .as_mut()
            .ok_or(UnreadableReason::BadWelcome)?;
        let group = Group::join_in_place(device, welcome, None, Policy::Qpq)
            .map_err(|_| UnreadableReason::BadWelcome)?;
        let members: BTreeSet<_> = group.members().iter().map(|m| m.identity_key).collect();
        let peer = members.iter().find(|key| **key != own).copied();
        let fits = match (id.is_dm(), peer) {
            (true, Some(peer)) => members.len() == 2 && dm_channel(own, peer) == id,
            (true, None) => false,
            (false, _) => true,
        };
        let generation = generation_of(id, group.group_id()).filter(|_| fits);
        let Some(generation) = generation else {
            self.state.forget_mls();
            return Err(UnreadableReason::BadWelcome);
        };
        let epoch = group.epoch();
        let Some(entry) = self.entrance(id, generation, epoch) else {
            let is_elsewhere = self.is_elsewhere(id, generation, &group);
            self.state.forget_mls();
            if is_elsewhere {
                self.rejoin(id, RejoinReason::Unfit);
            }
            return Ok(());
        };
        self.replace_group(id, group, generation);
        self.is_back(id);
        let goes_on = !matches!(entry, Entrance::New);
        let dm_peer = peer.filter(|_| id.is_dm());
        self.joined(id, epoch, dm_peer, &members, generation, goes_on);
        let members: Vec<_> = members.into_iter().collect();
        self.need_names(id, &members);
        match entry {
            Entrance::New => {
                self.announcing.insert(id);
                self.announce(id);
            }
            Entrance::Back => {
                self.came_back(id, &before);
                self.ask_witnesses(id);
            }
            Entrance::Reset => {
                self.tell(id, Event::Reset { conversation: id });
                self.came_back(id, &before);
                self.ask_witnesses(id);
            }
        }
        self.tend_packages();
        Ok(())
    }

    /// Whether this group, which this device was invited into, is not the one that it follows, nor one of before: who
    /// invites it does not see it where it is.
    fn is_elsewhere(&mut self, id: ConversationId, generation: u32, invited: &Group) -> bool {
        let channel = self.state.conversations.get(&id);
        let is_same = channel.is_some_and(|channel| channel.generation == generation);
        let held = self.state.group(id).filter(|_| is_same);
        held.is_some_and(|(_, held)| match invited.epoch().cmp(&held.epoch()) {
            Ordering::Greater => true,
            Ordering::Equal => invited.epoch_authenticator() != held.epoch_authenticator(),
            Ordering::Less => false,
        })
    }

    /// What joining the group in this epoch of this generation means; `None` if it is of no use here.
    fn entrance(&mut self, id: ConversationId, generation: u32, epoch: u64) -> Option<Entrance> {
        let held = self.state.group(id).map(|(_, group)| group.epoch());
        let Some(channel) = self.state.conversations.get(&id) else {
            return (generation <= MAX_GENERATIONS).then_some(Entrance::New);
        };
        let ahead = generation.checked_sub(channel.generation)?;
        if ahead > MAX_GENERATIONS {
            return None;
        }
        match channel.phase {
            Phase::Active | Phase::Leaving if ahead > 0 => Some(Entrance::Reset),
            // From an earlier epoch on it can't follow what it committed itself since: a queue that is read again
            // holds the invitation of the beginning, and none of its own commits.
            Phase::Active if channel.rejoin.is_some() || channel.doubted => held
                .is_none_or(|held| epoch >= held)
                .then_some(Entrance::Back),
            // One that led to where this device is may be read again, whatever the server says of the list.
            Phase::Active | Phase::Leaving => (self.is_ousted(id)
                && held.is_none_or(|held| epoch > held))
            .then_some(Entrance::New),
            _ => Some(Entrance::New),
        }
    }

    /// Takes this group in place of the one that is held.
    fn replace_group(&mut self, id: ConversationId, group: Group, generation: u32) {
        let held = self.state.conversations.get(&id);
        let held = held.filter(|channel| channel.generation != generation);
        let held = held.map(|channel| group_id(id, channel.generation));
        if let (Some(held), Some(device)) = (held, &mut self.state.device)
            && let Ok(Some(old)) = Group::load(device, &held)
        {
            // Rows that do not go are in nobody's way.
            _ = old.delete(device);
        }
        self.forget_leftovers(id);
        self.change_channel(id, |channel| channel.generation = generation);
        self.state.groups.insert(id, group);
    }

    fn joined(
        &mut self,
        id: ConversationId,
        epoch: u64,
        peer: Option<IdentityKey>,
        members: &BTreeSet<IdentityKey>,
        generation: u32,
        goes_on: bool,
    ) {
        // What led to the group that was held leads nowhere any more.
        self.forget_merged(id, 0);
        let name = peer
            .and_then(|peer| self.state.person(peer).name)
            .unwrap_or_default();
        let new = Channel::new(Phase::Active, peer, name.clone());
        let channel = self.state.conversations.entry(id).or_insert(new);
        if !(channel.phase == Phase::Leaving && goes_on) {
            channel.phase = Phase::Active;
            channel.left_ms = 0;
        }
        channel.generation = generation;
        // Each epoch took a slot; void commits took more. The next commit tells.
        let next = match core::mem::take(&mut channel.doubted) {
            // The server may be behind what this device saw.
            true => epoch,
            false => channel.slot.next().max(epoch),
        };
        channel.slot = Slot::at_least(next);
        channel.owes_rotation = false;
        channel.relisted = false;
        if !goes_on {
            channel.witnesses.clear();
        }
        channel.wanted.clear();
        // Whoever invited it has listed all of them: who is thrown off before this device sees a list comes back.
        channel.listed.clear();
        for key in members {
            remember(&mut channel.listed, *key);
        }
        channel.save(id, &mut self.writer);
    }

    /// Tells the app of a conversation that was joined, once the names are there.
    pub(in crate::client) fn announce(&mut self, id: ConversationId) {
        if self.is_nameless(id) || !self.announcing.remove(&id) {
            return;
        }
        if let Some(conversation) = self.conversation(id) {
            self.writer.emit(Event::Joined { conversation });
        }
    }
}
