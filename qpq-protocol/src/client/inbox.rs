//! Messages coming in: what waits in the queues, in order, each taken in once.
//!
//! Plaintext, ratchet state and cursor become durable in one commit; then the app hears of it, then
//! the server may forget it. What cannot be read is said and passed over: a queue never stops, but
//! for two short waits: for the fate of an own commit, and for the names of new members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use qpq_crypto::mls::{Group, Member, Policy, ProcessErrorKind, Processed};

use super::Client;
use super::conversation::{Channel, Phase, dm_channel, is_dm};
use super::event::{ConversationId, DisconnectReason, Event, UnreadableReason};
use super::keys::Name;
use super::record::{ParkedRecord, QueueRecord};
use super::rpc::{Answer, Then};
use super::state::group_id;
use super::timers::Timer;
use crate::ids::{ChannelId, IdentityKey};
use crate::method::rpc;
use crate::proto;
use crate::proto::app_message::Body;
use crate::proto::delivery_payload::Payload;
use crate::proto::push_event::Event as Push;

/// Envelopes asked for at once.
const FETCH: u32 = 64;
/// Queues that are followed: a server that names more is not believed.
const MAX_QUEUES: usize = 10_000;
/// Messages of a future epoch that are kept for a conversation.
const MAX_PARKED: usize = 64;

type Queue = Option<ChannelId>;

/// What is known of the queues beyond what is stored.
#[derive(Default)]
pub(super) struct Inbox {
    /// The seq that the next message will get, as last heard.
    ends: BTreeMap<Queue, u64>,
    /// The slot that a channel has reached at least.
    slots: BTreeMap<ConversationId, u64>,
    /// Queues to fetch again when the answer that is awaited has come.
    again: BTreeSet<Queue>,
    /// Queues to acknowledge again.
    ack_again: BTreeSet<Queue>,
    /// The queues of this session are still being listed or fetched.
    is_syncing: bool,
    is_listed: bool,
}

/// Whether an envelope was taken in.
#[derive(PartialEq, Eq)]
enum Taken {
    Yes,
    /// The queue has to wait.
    Not,
}

impl Client {
    /// The session stands: asks what waits.
    pub(super) fn start_sync(&mut self) {
        self.inbox.is_syncing = true;
        self.inbox.is_listed = false;
        self.call::<rpc::ListQueues>(&proto::ListQueuesRequest::default(), Then::ListQueues);
    }

    pub(super) fn on_queues(&mut self, answer: Answer<rpc::ListQueues>) {
        let Ok(page) = answer else {
            self.disconnect(DisconnectReason::Lost);
            return;
        };
        let last = page.queues.last().map(|queue| queue.channel_id.clone());
        for queue in page.queues {
            self.take_listed(&queue);
        }
        match last {
            // The default channel comes first and has an empty id: after it is the beginning.
            Some(after) if !after.is_empty() && self.inbox.ends.len() < MAX_QUEUES => {
                let request = proto::ListQueuesRequest { after, limit: 0 };
                self.call::<rpc::ListQueues>(&request, Then::ListQueues);
            }
            _ => self.inbox.is_listed = true,
        }
        self.check_synced();
    }

    fn take_listed(&mut self, listed: &proto::Queue) {
        let Some(queue) = queue_of(&listed.channel_id) else {
            return;
        };
        if !self.follows(queue) {
            return;
        }
        let cursor = self.cursor(queue);
        self.inbox.ends.insert(queue, listed.next_seq);
        if listed.first_seq <= cursor && listed.next_seq > listed.first_seq {
            self.ack(queue);
        }
        if listed.next_seq > cursor.saturating_add(1) {
            self.fetch(queue);
        }
        if let Some(id) = queue {
            self.know_slot(id, listed.slot);
            let known = self.state.conversations.get(&id);
            if known.is_some_and(|channel| channel.members_version < listed.members_version) {
                self.list_members(id, listed.members_version);
            }
        }
    }

    /// Whether there is room for this queue among those that are followed.
    fn follows(&self, queue: Queue) -> bool {
        self.inbox.ends.contains_key(&queue) || self.inbox.ends.len() < MAX_QUEUES
    }

    fn cursor(&self, queue: Queue) -> u64 {
        self.state.cursors.get(&queue).copied().unwrap_or_default()
    }

    fn set_cursor(&mut self, queue: Queue, cursor: u64) {
        self.state.cursors.insert(queue, cursor);
        self.writer
            .put(&Name::Queue(queue), &QueueRecord { cursor });
    }

    /// The channel has reached this slot: if that is news, its queue holds what led there.
    pub(super) fn know_slot(&mut self, id: ConversationId, slot: u64) {
        let known = self.inbox.slots.entry(id).or_default();
        *known = slot.max(*known);
        let behind = match self.state.conversations.get(&id) {
            Some(channel) => channel.slot < slot || channel.phase == Phase::Joining,
            None => false,
        };
        if behind {
            self.fetch(Some(id));
        }
    }

    /// Whether the queue has to wait for something else.
    fn is_blocked(&self, queue: Queue) -> bool {
        queue.is_some_and(|id| self.state.drafts.contains_key(&id) || self.is_nameless(id))
    }

    pub(super) fn is_fetching(&self, id: ConversationId) -> bool {
        self.link
            .any_asked(|then| matches!(then, Then::Fetch { queue, .. } if *queue == Some(id)))
    }

    /// Fetches what is behind the cursor. While an answer is awaited, or the queue has to wait, this
    /// is remembered.
    pub(super) fn fetch(&mut self, queue: Queue) {
        let Some(me) = self.state.me.as_ref().filter(|_| self.link.is_ready()) else {
            return;
        };
        let asked = |then: &Then| matches!(then, Then::Fetch { queue: own, .. } if *own == queue);
        if self.link.any_asked(asked) {
            self.inbox.again.insert(queue);
            return;
        }
        if self.is_blocked(queue) || self.timers.is_set(Timer::Queue(queue)) {
            return;
        }
        let request = proto::FetchRequest {
            recipient_key: Bytes::copy_from_slice(me.identity_key().as_bytes()),
            channel_id: wire_queue(queue),
            limit: FETCH,
            device_id: Bytes::copy_from_slice(me.device_id.as_bytes()),
            after_seq: self.cursor(queue),
        };
        let slot = queue.and_then(|id| self.inbox.slots.get(&id).copied());
        self.call::<rpc::Fetch>(&request, Then::Fetch { queue, slot });
    }

    pub(super) fn on_fetched(
        &mut self,
        queue: Queue,
        slot: Option<u64>,
        answer: Answer<rpc::Fetch>,
    ) {
        let fetched = match answer {
            Ok(fetched) => fetched,
            Err(fault) if fault.is_passing() => {
                let at = self.clock.now() + self.pause(&fault);
                self.timers.set(Timer::Queue(queue), at);
                return;
            }
            // There is no such queue.
            Err(_) => proto::FetchResponse::default(),
        };
        let before = self.cursor(queue);
        if fetched.first_seq > before.saturating_add(1) {
            // What was in between expired, tombstones and all.
            self.set_cursor(queue, fetched.first_seq.saturating_sub(1));
            self.unreadable(queue, before.saturating_add(1), UnreadableReason::Expired);
        }
        let mut came = fetched.payloads.into_iter();
        let all_taken = came.all(|envelope| self.take_envelope(queue, envelope) == Taken::Yes);
        let cursor = self.cursor(queue);
        if cursor > before {
            self.ack(queue);
        }
        let is_drained = all_taken && cursor.saturating_add(1) >= fetched.next_seq;
        if all_taken {
            self.inbox
                .ends
                .insert(queue, fetched.next_seq.max(cursor.saturating_add(1)));
        }
        if let (Some(id), true) = (queue, fetched.overrun && all_taken) {
            self.break_off(id);
        }
        let again = self.inbox.again.remove(&queue);
        let made_progress = cursor > before || again;
        if again || (all_taken && !is_drained && made_progress) {
            self.fetch(queue);
        }
        if let Some(id) = queue {
            if let (Some(slot), true) = (slot, is_drained) {
                self.adopt_slot(id, slot);
            }
            self.drive(id);
        }
        self.check_synced();
    }

    /// Everything that led to this slot has been taken in, so the channel is there: a joiner knows
    /// the epoch, not the slots that void commits used up before.
    fn adopt_slot(&mut self, id: ConversationId, slot: u64) {
        let behind = self
            .state
            .conversations
            .get(&id)
            .is_some_and(|channel| channel.slot < slot);
        if behind && !self.state.drafts.contains_key(&id) {
            self.change_channel(id, |channel| {
                channel.slot = slot;
                channel.slot_seen = true;
            });
        }
    }

    /// A push: a hint, at best with the message itself.
    pub(super) fn pushed(&mut self, event: proto::PushEvent) {
        if !self.link.is_ready() {
            return;
        }
        match event.event {
            Some(Push::NewMessage(news)) => self.pushed_message(news),
            Some(Push::Membership(news)) => {
                if let Ok(id) = ChannelId::try_from(news.channel_id.as_ref()) {
                    self.list_members(id, 0);
                }
            }
            Some(Push::Typing(_) | Push::Presence(_)) | None => {}
        }
    }

    fn pushed_message(&mut self, news: proto::NewMessagePush) {
        let Some(queue) = queue_of(&news.channel_id) else {
            return;
        };
        let cursor = self.cursor(queue);
        if news.seq <= cursor || !self.follows(queue) {
            return;
        }
        let end = self.inbox.ends.entry(queue).or_default();
        *end = (*end).max(news.seq.saturating_add(1));
        match news.envelope {
            Some(envelope) if news.seq == cursor.saturating_add(1) && envelope.seq == news.seq => {
                if self.take_envelope(queue, envelope) == Taken::Yes {
                    self.ack(queue);
                    if let Some(id) = queue {
                        self.drive(id);
                    }
                }
            }
            _ => self.fetch(queue),
        }
        self.check_synced();
    }

    fn ack(&mut self, queue: Queue) {
        let then = Then::Ack(queue);
        if self.link.is_asked(&then) {
            self.inbox.ack_again.insert(queue);
            return;
        }
        let Some(me) = self.state.me.as_ref().filter(|_| self.link.is_ready()) else {
            return;
        };
        let request = proto::AckRequest {
            recipient_key: Bytes::copy_from_slice(me.identity_key().as_bytes()),
            channel_id: wire_queue(queue),
            seq_up_to: self.cursor(queue),
            device_id: Bytes::copy_from_slice(me.device_id.as_bytes()),
        };
        self.call::<rpc::Ack>(&request, then);
    }

    pub(super) fn on_acked(&mut self, queue: Queue, _answer: Answer<rpc::Ack>) {
        // One that failed is made good by the next, at the latest after the next login.
        if self.inbox.ack_again.remove(&queue) {
            self.ack(queue);
        }
    }

    fn check_synced(&mut self) {
        let fetching = self
            .link
            .any_asked(|then| matches!(then, Then::Fetch { .. }));
        if !self.inbox.is_syncing || !self.inbox.is_listed || fetching {
            return;
        }
        let mut ends = self.inbox.ends.iter();
        if ends.all(|(queue, end)| self.cursor(*queue).saturating_add(1) >= *end) {
            self.inbox.is_syncing = false;
            self.writer.emit(Event::Synced);
        }
    }

    pub(super) fn forget_inbox(&mut self) {
        self.inbox = Inbox::default();
        self.timers
            .retain(|timer| !matches!(timer, Timer::Queue(_)));
    }

    fn take_envelope(&mut self, queue: Queue, envelope: proto::Envelope) -> Taken {
        if envelope.seq <= self.cursor(queue) {
            return Taken::Yes;
        }
        if self.is_blocked(queue) {
            return Taken::Not;
        }
        // What was changed so far stays, whatever this envelope turns out to be.
        self.state.keep_mls(&mut self.writer);
        self.set_cursor(queue, envelope.seq);
        let seq = envelope.seq;
        let read = match (queue, envelope.slot) {
            _ if envelope.expired => Err(UnreadableReason::Expired),
            (None, _) => Err(UnreadableReason::Unsupported),
            (Some(id), Some(slot)) => self.take_commit(id, slot, &envelope.data),
            (Some(id), None) => self.take_payload(id, seq, envelope.data),
        };
        if let Err(why) = read {
            self.unreadable(queue, seq, why);
        }
        Taken::Yes
    }

    fn unreadable(&mut self, queue: Queue, seq: u64, why: UnreadableReason) {
        if let Some(conversation) = queue {
            self.writer.emit(Event::Unreadable {
                conversation,
                seq,
                why,
            });
        }
    }

    fn take_commit(
        &mut self,
        id: ConversationId,
        slot: u64,
        commit: &[u8],
    ) -> Result<(), UnreadableReason> {
        let channel = self.state.conversations.get(&id);
        let channel = channel.ok_or(UnreadableReason::NoConversation)?;
        match channel.phase {
            Phase::Active | Phase::Leaving => {}
            // Before the Welcome, or after the end: not ours to follow.
            _ => return Ok(()),
        }
        if slot < channel.slot {
            return Ok(());
        }
        if slot > channel.slot && channel.slot_seen {
            // A commit is missing, and it was not ours.
            self.break_off(id);
            return Ok(());
        }
        let Some((device, group)) = self.state.group(id) else {
            self.break_off(id);
            return Ok(());
        };
        if content_type(commit) != Some(ContentType::Commit) {
            self.slot_taken(id, slot);
            return Err(UnreadableReason::Void);
        }
        match group.process(device, commit) {
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
                    self.end(id);
                    self.writer.emit(Event::Removed { conversation: id });
                }
                Ok(())
            }
            Ok(_) => {
                self.slot_taken(id, slot);
                Err(UnreadableReason::Void)
            }
            Err(error) => match error.kind {
                ProcessErrorKind::Void
                | ProcessErrorKind::PastEpoch
                | ProcessErrorKind::Duplicate => {
                    self.slot_taken(id, slot);
                    Err(UnreadableReason::Void)
                }
                ProcessErrorKind::PathOrTag
                | ProcessErrorKind::FutureEpoch
                | ProcessErrorKind::OwnMessage
                | ProcessErrorKind::State => {
                    self.break_off(id);
                    Ok(())
                }
            },
        }
    }

    fn take_payload(
        &mut self,
        id: ConversationId,
        seq: u64,
        data: Bytes,
    ) -> Result<(), UnreadableReason> {
        let payload = proto::DeliveryPayload::decode(data);
        match payload.map_err(|_| UnreadableReason::Unsupported)?.payload {
            Some(Payload::Welcome(welcome)) => self.take_welcome(id, &welcome.welcome),
            Some(Payload::MlsMessage(message)) => self.take_mls(id, seq, &message),
            Some(Payload::Sealed(_) | Payload::ForkReport(_)) | None => {
                Err(UnreadableReason::Unsupported)
            }
        }
    }

    fn take_mls(
        &mut self,
        id: ConversationId,
        seq: u64,
        message: &Bytes,
    ) -> Result<(), UnreadableReason> {
        // A commit counts only in a slot: here it would change the group behind the server's back.
        if !matches!(
            content_type(message),
            Some(ContentType::Application | ContentType::Proposal)
        ) {
            return Err(UnreadableReason::Unsupported);
        }
        match self.phase(id) {
            Some(Phase::Active | Phase::Leaving) => {}
            _ => return Err(UnreadableReason::NoConversation),
        }
        let Some((device, group)) = self.state.group(id) else {
            self.break_off(id);
            return Ok(());
        };
        match group.process(device, message) {
            Ok(Processed::Application { sender, plaintext }) => {
                self.take_app(id, &sender, plaintext.into());
                Ok(())
            }
            Ok(Processed::Proposal { sender }) => {
                self.want_removal(id, sender.identity_key);
                Ok(())
            }
            Ok(Processed::Commit { .. }) => Err(UnreadableReason::Unsupported),
            Err(error) => match error.kind {
                ProcessErrorKind::FutureEpoch => self.park(id, seq, message),
                ProcessErrorKind::PastEpoch => Err(UnreadableReason::TooOld),
                ProcessErrorKind::Duplicate | ProcessErrorKind::OwnMessage => Ok(()),
                ProcessErrorKind::Void | ProcessErrorKind::PathOrTag => {
                    Err(UnreadableReason::Undecryptable)
                }
                ProcessErrorKind::State => {
                    self.break_off(id);
                    Ok(())
                }
            },
        }
    }

    fn take_app(&mut self, id: ConversationId, sender: &Member, app: Bytes) {
        let decoded = proto::AppMessage::decode(app.clone()).unwrap_or_default();
        if let Some(Body::GroupName(name)) = decoded.body {
            let known = self.state.conversations.get(&id);
            if !is_dm(id) && known.is_some_and(|channel| channel.name != name.name) {
                self.rename(id, name.name);
            }
            return;
        }
        if let Some(index) = self.keep_message(id, sender.identity_key, app.clone()) {
            let message = self.message(id, index, sender.identity_key, app);
            self.writer.emit(Event::Message(message));
        }
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
    pub(super) fn unpark(&mut self, id: ConversationId) {
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

    fn take_welcome(&mut self, id: ConversationId, welcome: &[u8]) -> Result<(), UnreadableReason> {
        match self.phase(id) {
            Some(Phase::Active | Phase::Leaving) => return Ok(()),
            Some(_) => self.forget_group(id),
            None => {}
        }
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
        let group = Group::join(device, welcome, None, Policy::Qpq)
            .map_err(|_| UnreadableReason::BadWelcome)?;
        let members: BTreeSet<_> = group.members().iter().map(|m| m.identity_key).collect();
        let peer = members.iter().find(|key| **key != own).copied();
        let fits = group.group_id() == group_id(id, 0)
            && match (is_dm(id), peer) {
                (true, Some(peer)) => members.len() == 2 && dm_channel(own, peer) == id,
                (true, None) => false,
                (false, _) => true,
            };
        if !fits {
            self.state.forget_mls();
            return Err(UnreadableReason::BadWelcome);
        }
        let epoch = group.epoch();
        self.state.groups.insert(id, group);
        self.joined(id, epoch, peer.filter(|_| is_dm(id)));
        let members: Vec<_> = members.into_iter().collect();
        self.need_names(id, &members);
        self.announce(id);
        self.tend_packages();
        Ok(())
    }

    fn joined(&mut self, id: ConversationId, epoch: u64, peer: Option<IdentityKey>) {
        let name = peer
            .and_then(|peer| self.state.person(peer).name)
            .unwrap_or_default();
        let new = Channel::new(Phase::Active, peer, name.clone());
        let channel = self.state.conversations.entry(id).or_insert(new);
        channel.phase = Phase::Active;
        channel.generation = 0;
        // Each epoch took a slot; void commits took more. The next commit tells.
        channel.slot = epoch;
        channel.slot_seen = false;
        channel.wanted.clear();
        channel.save(id, &mut self.writer);
        self.announcing.insert(id);
    }

    /// Tells the app of a conversation that was joined, once the names are there.
    pub(super) fn announce(&mut self, id: ConversationId) {
        if self.is_nameless(id) || !self.announcing.remove(&id) {
            return;
        }
        if let Some(conversation) = self.conversation(id) {
            self.writer.emit(Event::Joined { conversation });
        }
    }
}

/// What an MLSMessage of a group carries (RFC 9420 section 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ContentType {
    Application,
    Proposal,
    Commit,
}

/// The content type of an encrypted handshake or application message, or of a commit by which
/// somebody lets himself in, which is not encrypted. `None` for anything else.
fn content_type(message: &[u8]) -> Option<ContentType> {
    let (version_and_format, rest) = message.split_first_chunk::<4>()?;
    match version_and_format {
        // Version mls10, wire format PrivateMessage: group id, epoch, content type.
        [0, 1, 0, 2] => {
            let rest = skip_vector(rest)?;
            match rest.get(8)? {
                1 => Some(ContentType::Application),
                2 => Some(ContentType::Proposal),
                3 => Some(ContentType::Commit),
                _ => None,
            }
        }
        // PublicMessage: taken only in a slot, where it is judged as a commit or as nothing.
        [0, 1, 0, 1] => Some(ContentType::Commit),
        _ => None,
    }
}

/// What follows a vector with a variable-size length (RFC 9420 section 2.1.2).
fn skip_vector(bytes: &[u8]) -> Option<&[u8]> {
    let (&first, rest) = bytes.split_first()?;
    let low = usize::from(first & 0x3f);
    match first >> 6 {
        0 => rest.get(low..),
        1 => {
            let (&second, rest) = rest.split_first()?;
            rest.get((low << 8 | usize::from(second))..)
        }
        _ => None,
    }
}

/// The queue of a channel id on the wire.
fn queue_of(channel_id: &[u8]) -> Option<Queue> {
    match channel_id {
        [] => Some(None),
        id => ChannelId::try_from(id).ok().map(Some),
    }
}

fn wire_queue(queue: Queue) -> Bytes {
    queue.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_stands_behind_group_and_epoch() {
        let private = |content: u8| {
            let mut bytes = vec![0, 1, 0, 2, 3, b'g', b'i', b'd'];
            bytes.extend([0; 8]);
            bytes.push(content);
            bytes
        };
        assert_eq!(content_type(&private(1)), Some(ContentType::Application));
        assert_eq!(content_type(&private(2)), Some(ContentType::Proposal));
        assert_eq!(content_type(&private(3)), Some(ContentType::Commit));
        assert_eq!(content_type(&private(4)), None);
        let whole = private(1);
        for length in 0..whole.len() {
            assert_eq!(content_type(&whole[..length]), None, "{length}");
        }
        assert_eq!(content_type(&[0, 1, 0, 3, 0]), None);
    }
}
