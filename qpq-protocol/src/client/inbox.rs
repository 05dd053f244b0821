//! The queues: listed, fetched and pushed, in order, each envelope taken in once.
//!
//! Plaintext, ratchet state and cursor become durable in one commit; then the app hears of it, then
//! the server may forget it. What cannot be read is said and passed over: a queue never stops, but
//! for two short waits: for the fate of an own commit, and for the names of new members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Client;
use super::channel::Phase;
use super::error::{DisconnectReason, UnreadableReason};
use super::event::{ConversationId, Event, RejoinReason};
use super::intake::Taken;
use super::keys::Name;
use super::lists::Listed;
use super::record::QueueRecord;
use super::rpc::{Answer, Then};
use super::timers::{Pause, Timer};
use crate::defect::seeded;
use crate::ids::ChannelId;
use crate::method::rpc;
use crate::proto;
use crate::proto::push_event::Event as Push;
use crate::status::Status;

/// Envelopes asked for at once.
const FETCH: u32 = 64;
pub(super) type Queue = Option<ChannelId>;
/// By which an envelope is known again.
pub(super) type Mark = [u8; 8];

/// What is known of the queues beyond what is stored.
#[derive(Default)]
pub(super) struct Inbox {
    /// The seq that the next message will get, as last heard.
    ends: BTreeMap<Queue, u64>,
    /// The slot that a channel has reached at least.
    slots: BTreeMap<ConversationId, u64>,
    /// Queues to fetch again when the answer that is awaited has come.
    again: BTreeSet<Queue>,
    /// Channels that the server says this account is not in.
    ousted: BTreeMap<ConversationId, Ousted>,
    /// Those that it has once refused to take this account back into.
    refused: BTreeSet<ConversationId>,
    /// Up to which message it was looked whether those that wait for their epoch say that a commit is missing.
    ahead: BTreeMap<ConversationId, u64>,
    /// Member lists to be judged once the queue is drained.
    lists: BTreeMap<ConversationId, Listed>,
    /// Queues to acknowledge again.
    ack_again: BTreeSet<Queue>,
    /// The queues of this session are still being listed or fetched.
    is_syncing: bool,
    is_listed: bool,
    /// After this one was asked for last.
    listed: Bytes,
    /// How far the queues were taken in when their listing was asked for.
    floor: BTreeMap<Queue, u64>,
    /// And which slots the conversations were at then.
    slot_floor: BTreeMap<ConversationId, u64>,
    /// Those that the listing named.
    named: BTreeSet<Queue>,
    /// Queues that begin before what was taken in of them: what lies at the cursor is to be looked at.
    looked_at: BTreeSet<Queue>,
    /// Channels that this client is in no conversation of, and whose queues it follows.
    strange: BTreeSet<ConversationId>,
    /// There are more of them, and whether that was told.
    is_crowded: bool,
    is_crowd_told: bool,
}

/// How sure it is that this account is out of a channel. The commit that says so may be in the queue;
/// or the refusal is from before an invitation; or there is no commit for this account.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ousted {
    /// The queue is to be drained.
    Said,
    /// It was drained, and the server is asked again.
    Asked,
    /// The server has said it again: when the queue is drained once more, it is so.
    Confirmed,
}

impl Inbox {
    /// Keeps a member list until the queue is drained.
    pub(super) fn judge(&mut self, id: ConversationId, list: Listed) {
        self.lists.insert(id, list);
    }
}

impl Client {
    /// The session stands: asks what waits.
    pub(super) fn start_sync(&mut self) {
        self.inbox.is_syncing = true;
        self.inbox.is_listed = false;
        self.list_queues(Bytes::new());
        self.ask_for_last_sent();
    }

    /// Asks for the queues after this one.
    pub(super) fn list_queues(&mut self, after: Bytes) {
        if self.link.is_ready() && !self.link.is_asked(&Then::ListQueues) {
            if after.is_empty() {
                self.forget_crowd();
                self.forget_first_looks();
                self.inbox.floor.clone_from(&self.state.cursors);
                let slots = self.state.conversations.iter();
                self.inbox.slot_floor = slots.map(|(id, channel)| (*id, channel.slot)).collect();
                self.inbox.named.clear();
            }
            self.inbox.listed.clone_from(&after);
            let request = proto::ListQueuesRequest { after, limit: 0 };
            self.call::<rpc::ListQueues>(&request, Then::ListQueues);
        }
    }

    pub(super) fn on_queues(&mut self, answer: Answer<rpc::ListQueues>) {
        let page = match answer {
            Ok(page) => page,
            Err(fault) => {
                if fault.status == Status::Forbidden {
                    // It does not know the device any more.
                    self.forget_registration();
                }
                return self.disconnect(DisconnectReason::Lost);
            }
        };
        let next = next_page(&self.inbox.listed, &page.queues);
        for queue in page.queues {
            self.take_listed(&queue);
        }
        if !self.link.is_ready() {
            return;
        }
        match next.clone() {
            // One's own need no listing, so strangers cannot push them out of it.
            Some(after) if !self.inbox.is_crowded => self.list_queues(after),
            _ => {
                if let (true, Some(last)) = (self.inbox.is_crowded, next) {
                    self.fetch_unlisted(&last);
                } else {
                    self.look_for_unlisted();
                }
                if !core::mem::replace(&mut self.inbox.is_listed, true) {
                    self.miss_beginnings();
                    self.leave_all_anew();
                    // What waited for this: see `is_behind`.
                    let all: Vec<_> = self.state.conversations.keys().copied().collect();
                    all.into_iter().for_each(|id| self.drive(id));
                }
                let at = self.clock.now() + self.config.look_interval;
                self.timers.set(Timer::Look, at);
            }
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
        let floor = self.inbox.floor.get(&queue);
        if floor.is_some_and(|taken| *taken > 0 && listed.next_seq <= *taken) {
            self.queue_fell(queue);
        }
        self.inbox.named.insert(queue);
        let cursor = self.cursor(queue);
        self.inbox.ends.insert(queue, listed.next_seq);
        if let Some(id) = queue {
            let known = self.inbox.slots.entry(id).or_default();
            *known = listed.slot.max(*known);
        }
        if listed.first_seq <= cursor && listed.next_seq > cursor {
            // An acknowledgement was lost; or the server was set back, and something else is there now.
            self.inbox.looked_at.insert(queue);
            self.fetch(queue);
        } else if listed.next_seq > cursor.saturating_add(1) {
            self.fetch(queue);
        }
        if let Some(id) = queue {
            self.know_slot(id, listed.slot);
            // Commits that came since it was asked for are not in the listing.
            let floor = self.inbox.slot_floor.get(&id);
            if floor.is_some_and(|floor| listed.slot < *floor) {
                self.server_lost_slots(id, listed.slot);
            }
            if listed.slot > 0 && listed.next_seq <= cursor.saturating_add(1) && self.may_look(id) {
                // An invitation that came while the server gathered the list is not in it.
                match seeded!(self.config, LooksFirst) {
                    true => self.look_for_group(id),
                    false => self.fetch(queue),
                }
            }
            let known = self.state.conversations.get(&id);
            if known.is_some_and(|channel| channel.members_version < listed.members_version) {
                self.list_members(id, listed.members_version);
            }
        }
    }

    /// Whether this queue is followed. One's own conversations always are; of those that others began,
    /// and that this client has not joined yet, so many as there is room for. The first that there is no
    /// room for is told.
    fn follows(&mut self, queue: Queue) -> bool {
        let Some(id) = queue.filter(|id| !self.state.conversations.contains_key(id)) else {
            return true;
        };
        if self.inbox.strange.contains(&id) {
            return true;
        }
        if self.inbox.strange.len() >= self.config.strange_queues && !self.inbox.is_crowded {
            let conversations = &self.state.conversations;
            let is_strange = |id: &ConversationId| !conversations.contains_key(id);
            self.inbox.strange.retain(is_strange);
        }
        if self.inbox.strange.len() < self.config.strange_queues {
            return self.inbox.strange.insert(id);
        }
        self.inbox.is_crowded = true;
        if !core::mem::replace(&mut self.inbox.is_crowd_told, true) {
            let followed = self.inbox.strange.len();
            self.writer.emit(Event::NotFollowed { followed });
        }
        false
    }

    /// Queues of strangers that hold nothing make room for others.
    fn forget_crowd(&mut self) {
        let cursors = &self.state.cursors;
        let holds = |id: &ConversationId| cursors.contains_key(&Some(*id));
        self.inbox.strange.retain(holds);
        self.inbox.is_crowded = false;
    }

    /// A queue does not go while its account is a member, nor for long after: if one is not listed any more, the
    /// server was set back to before it was made.
    fn look_for_unlisted(&mut self) {
        let taken = self.inbox.floor.iter().filter(|(_, taken)| **taken > 0);
        let taken = taken.filter_map(|(queue, _)| *queue);
        // What was committed there lies in the queue, read or not.
        let begun = self.inbox.slot_floor.iter().filter(|(_, slot)| **slot > 0);
        let begun = begun.filter(|_| !seeded!(self.config, UnlistedUnheard));
        let mut all = taken.chain(begun.map(|(id, _)| *id));
        let is_gone = all.any(|id| {
            let is_there = self.inbox.named.contains(&Some(id));
            !is_there && self.goes_on(id) && !self.is_doubted(id)
        });
        if is_gone {
            self.server_set_back(self.state.openings.sound);
        }
    }

    /// Whether this account is in a conversation, as far as it knows. Who leaves is, until the others have heard it.
    pub(super) fn goes_on(&self, id: ConversationId) -> bool {
        matches!(self.phase(id), Some(Phase::Active | Phase::Leaving)) && !self.is_ousted(id)
    }

    /// Fetches what may lie in one's own queues behind the last one that was listed.
    fn fetch_unlisted(&mut self, last: &Bytes) {
        let own = self.state.conversations.keys().copied();
        let unlisted = own.filter(|id| id.as_bytes().as_slice() > last.as_ref());
        for id in unlisted.collect::<Vec<_>>() {
            self.fetch(Some(id));
        }
    }

    /// The queue ends before what was taken in of it: it began anew. That of a conversation which goes on
    /// does so only in a server that was set back (protocol.md §5.32); others are dropped in time.
    fn queue_fell(&mut self, queue: Queue) {
        let goes_on = match queue {
            Some(id) => self.goes_on(id),
            None => true,
        };
        if goes_on {
            return self.server_set_back(self.state.openings.sound);
        }
        self.inbox.floor.remove(&queue);
        self.forget_cursor(queue);
    }

    /// The queue is read from where it begins, whatever was read of it before.
    pub(super) fn forget_cursor(&mut self, queue: Queue) {
        let Some(cursor) = self.state.cursors.remove(&queue) else {
            return;
        };
        self.state.forgotten.insert(queue, cursor);
        self.state.marks.remove(&queue);
        let record = QueueRecord {
            cursor,
            forgotten: true,
            mark: Vec::new(),
        };
        self.writer.put(&Name::Queue(queue), &record);
    }

    pub(super) fn cursor(&self, queue: Queue) -> u64 {
        self.state.cursors.get(&queue).copied().unwrap_or_default()
    }

    /// The queue was taken in up to here; what came last is known again by `mark`.
    pub(super) fn set_cursor(&mut self, queue: Queue, cursor: u64, mark: Option<Mark>) {
        self.state.cursors.insert(queue, cursor);
        match mark {
            Some(mark) => self.state.marks.insert(queue, mark),
            None => self.state.marks.remove(&queue),
        };
        self.state.forgotten.remove(&queue);
        let record = QueueRecord {
            cursor,
            forgotten: false,
            mark: mark.map(Vec::from).unwrap_or_default(),
        };
        self.writer.put(&Name::Queue(queue), &record);
    }

    /// The slot that a channel has reached, as far as this session has heard.
    pub(super) fn reached_slot(&self, id: ConversationId) -> u64 {
        self.inbox.slots.get(&id).copied().unwrap_or_default()
    }

    pub(super) fn has_looked_ahead(&self, id: ConversationId, seq: u64) -> bool {
        let looked = self.inbox.ahead.get(&id);
        looked.is_some_and(|looked| *looked >= seq)
    }

    pub(super) fn note_looked_ahead(&mut self, id: ConversationId, seq: u64) {
        self.inbox.ahead.insert(id, seq);
    }

    /// The server has signed that the channel is here now, whatever it has said before.
    pub(super) fn is_at_slot(&mut self, id: ConversationId, slot: u64) {
        if seeded!(self.config, WordsBelieved) {
            return;
        }
        self.inbox.slots.insert(id, slot);
    }

    /// The channel has reached this slot: if that is news, its queue holds what led there.
    /// Whether that was so, and it is being fetched.
    pub(super) fn know_slot(&mut self, id: ConversationId, slot: u64) -> bool {
        let known = self.inbox.slots.entry(id).or_default();
        *known = slot.max(*known);
        let behind = match self.state.conversations.get(&id) {
            Some(channel) => channel.slot < slot || channel.phase == Phase::Joining,
            None => false,
        };
        if behind {
            self.fetch(Some(id));
        }
        behind
    }

    /// Whether the queue has to wait for something else.
    pub(super) fn is_blocked(&self, queue: Queue) -> bool {
        queue.is_some_and(|id| {
            let has_draft = self.state.drafts.contains_key(&id);
            has_draft && !self.has_won(id) || self.is_nameless(id)
        })
    }

    /// Whether the server has named this channel since the session began.
    pub(super) fn is_channel_listed(&self, id: ConversationId) -> bool {
        self.inbox.slots.contains_key(&id)
    }

    /// Whether it is known what waits at the server, fetched or not.
    pub(super) fn is_listed(&self) -> bool {
        self.inbox.is_listed
    }

    /// Whether nothing is known to wait in the queue of a conversation.
    pub(super) fn is_drained(&self, id: ConversationId) -> bool {
        let queue = Some(id);
        let end = self.inbox.ends.get(&queue).copied().unwrap_or_default();
        self.inbox.is_listed
            && self.cursor(queue).saturating_add(1) >= end
            && !self.inbox.again.contains(&queue)
            && !self.is_fetching(id)
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
            after_seq: match self.inbox.looked_at.contains(&queue) {
                true => self.cursor(queue).saturating_sub(1),
                false => self.cursor(queue),
            },
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
        if let Some(taken) = self.state.forgotten.get(&queue).copied() {
            // What is not there any more was taken in before; what never was, is missing.
            let gone = fetched.first_seq.saturating_sub(1);
            self.set_cursor(queue, gone.min(taken), None);
        }
        let before = self.cursor(queue);
        if self.inbox.looked_at.contains(&queue) && self.inbox.again.remove(&queue) {
            // This was asked for before it was known that the queue is to be looked at.
            return self.fetch(queue);
        }
        let was_looked_at = self.inbox.looked_at.remove(&queue);
        if was_looked_at && !self.is_marked(queue, &fetched.payloads) {
            return self.queue_fell(queue);
        }
        if fetched.first_seq > before.saturating_add(1) {
            // What was in between expired, tombstones and all.
            self.miss_until(queue, fetched.first_seq);
        }
        let mut came = fetched.payloads.into_iter();
        let all_taken = came.all(|envelope| self.take_envelope(queue, envelope) == Taken::Yes);
        let cursor = self.cursor(queue);
        if cursor > before || was_looked_at {
            self.ack(queue);
        }
        let is_drained = all_taken && cursor.saturating_add(1) >= fetched.next_seq;
        if all_taken {
            self.inbox
                .ends
                .insert(queue, fetched.next_seq.max(cursor.saturating_add(1)));
        }
        if let (Some(id), true) = (queue, fetched.overrun && all_taken) {
            self.rejoin(id, RejoinReason::Missed);
        }
        let again = self.inbox.again.remove(&queue);
        let made_progress = cursor > before || again;
        if again || (all_taken && !is_drained && made_progress) {
            self.fetch(queue);
        }
        if let Some(id) = queue {
            if is_drained && !again {
                self.merge_own(id);
                self.check_the_end(id);
                if let Some(list) = self.inbox.lists.remove(&id) {
                    self.judge_list(id, &list);
                }
            }
            if let (Some(slot), true) = (slot, is_drained) {
                self.adopt_slot(id, slot);
                self.miss_welcome(id, slot);
                if slot > 0 {
                    self.look_for_group(id);
                }
            }
            self.drive(id);
        }
        self.check_synced();
    }

    /// What was in the queue before this is not there any more, or was left out: the server's numbers have no holes.
    pub(super) fn miss_until(&mut self, queue: Queue, seq: u64) {
        let first = self.cursor(queue).saturating_add(1);
        self.set_cursor(queue, seq.saturating_sub(1), None);
        self.unreadable(queue, first, UnreadableReason::Expired);
        if let Some(id) = queue {
            self.rejoin(id, RejoinReason::Missed);
        }
    }

    /// Whether what lies at the cursor, if it came, is what was taken in there.
    fn is_marked(&self, queue: Queue, came: &[proto::Envelope]) -> bool {
        let cursor = self.cursor(queue);
        let there = came.iter().find(|envelope| envelope.seq == cursor);
        match (there, self.state.marks.get(&queue)) {
            (Some(there), Some(mark)) => there.expired || mark_of(there) == *mark,
            _ => true,
        }
    }

    /// The server does not count this account among the members: what is in the queue tells why.
    pub(super) fn look_for_the_end(&mut self, id: ConversationId) {
        if self.is_doubted(id) {
            // What made it a member may be lost, and be given back.
            return;
        }
        let next = match self.inbox.ousted.get(&id) {
            None | Some(Ousted::Said) => Ousted::Said,
            Some(Ousted::Asked | Ousted::Confirmed) => Ousted::Confirmed,
        };
        self.inbox.ousted.insert(id, next);
        self.fetch(Some(id));
    }

    /// Whether the server has said so, and nothing since has brought this account back.
    pub(super) fn is_ousted(&self, id: ConversationId) -> bool {
        self.inbox.ousted.contains_key(&id)
    }

    pub(super) fn is_back(&mut self, id: ConversationId) {
        self.inbox.ousted.remove(&id);
        self.inbox.refused.remove(&id);
        self.timers.cancel(Timer::Conversation(id, Pause::Listing));
    }

    /// The server refuses to take this account back: whether it has done so before.
    pub(super) fn is_refused_again(&mut self, id: ConversationId) -> bool {
        !self.inbox.refused.insert(id)
    }

    /// The queue holds nothing that ends the membership. If it has ended all the same, an own leaving
    /// of before an invitation was carried out after it, and the others' commit was not for us.
    fn check_the_end(&mut self, id: ConversationId) {
        match self.inbox.ousted.get(&id) {
            Some(Ousted::Said) => {
                self.inbox.ousted.insert(id, Ousted::Asked);
                self.list_members(id, 0);
            }
            Some(Ousted::Confirmed) => {
                if matches!(self.phase(id), Some(Phase::Active | Phase::Leaving)) {
                    self.list_self(id);
                } else {
                    self.inbox.ousted.remove(&id);
                }
            }
            Some(Ousted::Asked) | None => {}
        }
    }

    /// Everything in the queue that led to this slot has been taken in. A joiner knows the epoch, not the
    /// slots that void commits used up before, so the channel is there. Who has seen a slot has seen all
    /// that followed, or was off the list when they came.
    fn adopt_slot(&mut self, id: ConversationId, slot: u64) {
        let channel = self.state.conversations.get(&id);
        let Some(channel) = channel.filter(|channel| channel.slot < slot) else {
            return;
        };
        if self.state.drafts.contains_key(&id) {
            return;
        }
        let is_in = matches!(channel.phase, Phase::Active | Phase::Leaving);
        let follows = is_in && channel.rejoin.is_none();
        if channel.slot_seen && follows {
            self.rejoin(id, RejoinReason::Missed);
        } else {
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
                    match news.change() {
                        proto::MembershipChange::RotateRequested
                        | proto::MembershipChange::GroupInfoRequested => {
                            self.rotation_requested(id);
                        }
                        _ => self.list_members(id, 0),
                    }
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
            Some(envelope)
                if news.seq == cursor.saturating_add(1)
                    && envelope.seq == news.seq
                    && !self.inbox.looked_at.contains(&queue) =>
            {
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
        #[cfg(qpq_defects)]
        if seeded!(self.config, AckBeforeStored) {
            use crate::io::Output::{Open, Send};
            self.writer
                .release(|effect| matches!(effect, Open { .. } | Send { .. }));
        }
    }

    pub(super) fn on_acked(&mut self, queue: Queue, _answer: Answer<rpc::Ack>) {
        // One that failed is made good by the next, at the latest after the next login.
        if self.inbox.ack_again.remove(&queue) {
            self.ack(queue);
        }
    }

    /// Whether everything that waited when the session began was taken in.
    pub(super) fn is_synced(&self) -> bool {
        self.inbox.is_listed && !self.inbox.is_syncing
    }

    pub(super) fn check_synced(&mut self) {
        // A conversation that was just joined is called by the name that is being asked for.
        let is_asking = self
            .link
            .any_asked(|then| matches!(then, Then::Fetch { .. } | Then::ResolveIdentity(_)));
        if !self.inbox.is_syncing || !self.inbox.is_listed || is_asking {
            return;
        }
        let mut ends = self.inbox.ends.iter();
        if ends.all(|(queue, end)| self.cursor(*queue).saturating_add(1) >= *end) {
            self.inbox.is_syncing = false;
            // Stored with the next opening.
            self.state.openings.sound = self.state.openings.current();
            self.writer.emit(Event::Synced);
            self.prune_packages();
        }
    }

    pub(super) fn forget_inbox(&mut self) {
        self.inbox = Inbox::default();
        self.timers
            .retain(|timer| !matches!(timer, Timer::Queue(_) | Timer::Look));
    }
}

/// By which this envelope is known again.
pub(super) fn mark_of(envelope: &proto::Envelope) -> Mark {
    let hash: [u8; 32] = Sha256::digest(&envelope.data).into();
    *hash.first_chunk().unwrap_or(&[0; 8])
}

/// Where the page after this one begins, `None` if there is none. A listing only goes up: a server
/// that says a page again, or names what is no queue, has come to its end.
fn next_page(after: &Bytes, page: &[proto::Queue]) -> Option<Bytes> {
    let mut last = after;
    for queue in page {
        // The default channel comes first and has an empty id: after it is the beginning.
        let rises = queue.channel_id > *last || (last.is_empty() && queue.channel_id.is_empty());
        queue_of(&queue.channel_id).filter(|_| rises)?;
        last = &queue.channel_id;
    }
    Some(last.clone()).filter(|last| last > after)
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
