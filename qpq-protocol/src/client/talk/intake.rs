//! What an envelope holds, taken in: commits in their slots, Welcomes, messages.
//!
//! Each envelope moves its queue's cursor whatever it turns out to be; what cannot be read is told
//! and passed over.

use bytes::Bytes;
use qpq_crypto::mls::{Author, ProcessErrorKind, Processed};
use sha2::{Digest as _, Sha256};

use super::channel::{MAX_GROUP_NAME, Phase};
use super::framing::{Content, framing};
use super::known::Seen;
use super::queue::{Queue, mark_of};
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
        if !self.take_proof(id, slot, said, &envelope.commit_proof) {
            // Whatever slot it is said to be of: it may be the next one's.
            self.rejoin(id, RejoinReason::Missed);
            return Ok(());
        }
        if slot < next {
            let is_other = self.is_of_other_past(id, slot, envelope);
            if !is_other && !self.is_kept(id, slot) && self.is_of_epoch(id, commit) {
                // This device is not where it believed to be: of what has been taken in, this is the next.
                self.rejoin(id, RejoinReason::Missed);
            }
            if !is_other {
                return Ok(());
            }
            self.come_over(id, slot, slot);
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
                self.remember_processed(id, message);
                self.agrees(id, sender.identity_key);
                self.take_app(id, &sender, plaintext.into())
            }
            Ok(Processed::Proposal { sender }) => {
                let who = sender.identity_key;
                let dropped = group.drop_proposals(device);
                self.remember_processed(id, message);
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

    fn remember_processed(&mut self, id: ConversationId, message: &[u8]) {
        let seen = self.state.seen.entry(id).or_default();
        seen.remember(id, message, &mut self.writer);
    }

    fn was_processed(&self, id: ConversationId, message: &[u8]) -> bool {
        let seen = self.state.seen.get(&id);
        seen.is_some_and(|seen| seen.holds(message))
    }

    fn take_app(
        &mut self,
        id: ConversationId,
        sender: &Author,
        app: Bytes,
    ) -> Result<(), UnreadableReason> {
        let decoded = wire::decode_app(app.clone()).unwrap_or_default();
        let known = self.state.known.entry(id).or_default();
        let said = (decoded.message_id.as_ref(), app.as_ref());
        match known.take(id, sender.identity_key, said, &mut self.writer) {
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
}
