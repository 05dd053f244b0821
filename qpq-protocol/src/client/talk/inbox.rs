//! The queues: listed, fetched and pushed, in order, each envelope taken in once.
//!
//! Plaintext, ratchet state and cursor become durable in one commit; then the app hears of it, then
//! the server may forget it. What cannot be read is said and passed over: a queue never stops, but
//! for two short waits: for the fate of an own commit, and for the names of new members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::channel::Phase;
use super::intake::Taken;
use super::lists::Listed;
use super::queue::{Queue, next_page, queue_of, wire_queue};
use super::slot::Heard;
use crate::client::Client;
use crate::client::error::{DisconnectReason, UnreadableReason};
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::defect::seeded;
use crate::ids::ChannelId;
use crate::method::rpc;
use crate::proto;
use crate::proto::push_event::Event as Push;
use crate::status::Status;

/// Envelopes asked for at once.
const FETCH: u32 = 64;
/// What is known of the queues beyond what is stored.
#[derive(Default)]
pub(in crate::client) struct Inbox {
    /// The seq that the next message will get, as last heard.
    ends: BTreeMap<Queue, u64>,
    pub(super) slots: Heard,
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
    pub(in crate::client) fn start_sync(&mut self) {
        self.inbox.is_syncing = true;
        self.inbox.is_listed = false;
        self.list_queues(Bytes::new());
        self.ask_for_last_sent();
    }

    /// Asks for the queues after this one.
    pub(in crate::client) fn list_queues(&mut self, after: Bytes) {
        if self.link.is_ready() && !self.link.is_asked(&Then::ListQueues) {
            if after.is_empty() {
                self.forget_crowd();
                self.forget_first_looks();
                self.inbox.floor.clone_from(&self.state.cursors);
                let slots = self.state.conversations.iter();
                let slots = slots.map(|(id, channel)| (*id, channel.slot.next()));
                self.inbox.slots.set_floor(slots.collect());
                self.inbox.named.clear();
            }
            self.inbox.listed.clone_from(&after);
            let request = proto::ListQueuesRequest { after, limit: 0 };
            self.call::<rpc::ListQueues>(&request, Then::ListQueues);
        }
    }

    pub(in crate::client) fn on_queues(&mut self, answer: Answer<rpc::ListQueues>) {
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
            self.inbox.slots.reaches(id, listed.slot);
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
            if self.inbox.slots.is_below_floor(id, listed.slot) {
                self.server_lost_slots(id, listed.slot);
            }
            if listed.slot > 0 && listed.next_seq <= cursor.saturating_add(1) && self.may_look(id) {
                // An invitation that came while the server gathered the list is not in it.
                self.fetch(queue);
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
        let begun = self
            .inbox
            .slots
            .begun()
            .filter(|_| !seeded!(self.config, UnlistedUnheard));
        let is_gone = taken.chain(begun).any(|id| {
            let is_there = self.inbox.named.contains(&Some(id));
            !is_there && self.goes_on(id) && !self.is_doubted(id)
        });
        if is_gone {
            self.server_set_back(self.state.openings.sound);
        }
    }

    /// Whether this account is in a conversation, as far as it knows. Who leaves is, until the others have heard it.
    pub(in crate::client) fn goes_on(&self, id: ConversationId) -> bool {
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

    pub(super) fn has_looked_ahead(&self, id: ConversationId, seq: u64) -> bool {
        let looked = self.inbox.ahead.get(&id);
        looked.is_some_and(|looked| *looked >= seq)
    }

    pub(super) fn note_looked_ahead(&mut self, id: ConversationId, seq: u64) {
        self.inbox.ahead.insert(id, seq);
    }

    /// Whether the queue has to wait for something else.
    pub(super) fn is_blocked(&self, queue: Queue) -> bool {
        queue.is_some_and(|id| {
            let has_draft = self.state.drafts.contains_key(&id);
            has_draft && !self.has_won(id) || self.is_nameless(id)
        })
    }

    /// Whether it is known what waits at the server, fetched or not.
    pub(super) fn is_listed(&self) -> bool {
        self.inbox.is_listed
    }

    /// Whether nothing is known to wait in the queue of a conversation.
    pub(in crate::client) fn is_drained(&self, id: ConversationId) -> bool {
        let queue = Some(id);
        let end = self.inbox.ends.get(&queue).copied().unwrap_or_default();
        self.inbox.is_listed
            && self.cursor(queue).saturating_add(1) >= end
            && !self.inbox.again.contains(&queue)
            && !self.is_fetching(id)
    }

    pub(super) fn is_fetching(&self, id: ConversationId) -> bool {
        self.link
            .any_asked(|then| matches!(then, Then::Fetch(queue, _) if *queue == Some(id)))
    }

    /// Fetches what is behind the cursor. While an answer is awaited, or the queue has to wait, this
    /// is remembered.
    pub(in crate::client) fn fetch(&mut self, queue: Queue) {
        let Some(me) = self.state.me.as_ref().filter(|_| self.link.is_ready()) else {
            return;
        };
        let asked = |then: &Then| matches!(then, Then::Fetch(own, _) if *own == queue);
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
        let slot = queue.and_then(|id| self.inbox.slots.reached(id));
        self.call::<rpc::Fetch>(&request, Then::Fetch(queue, slot));
    }

    pub(in crate::client) fn on_fetched(
        &mut self,
        queue: Queue,
        slot: Option<u64>,
        answer: Answer<rpc::Fetch>,
    ) {
        let fetched = match answer {
            Ok(fetched) => fetched,
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

    /// The server does not count this account among the members: what is in the queue tells why.
    pub(in crate::client) fn look_for_the_end(&mut self, id: ConversationId) {
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

    pub(in crate::client) fn is_back(&mut self, id: ConversationId) {
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

    /// A push: a hint, at best with the message itself.
    pub(in crate::client) fn pushed(&mut self, event: proto::PushEvent) {
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

    pub(in crate::client) fn on_acked(&mut self, queue: Queue, _answer: Answer<rpc::Ack>) {
        // One that failed is made good by the next, at the latest after the next login.
        if self.inbox.ack_again.remove(&queue) {
            self.ack(queue);
        }
    }

    /// Whether everything that waited when the session began was taken in.
    pub(in crate::client) fn is_synced(&self) -> bool {
        self.inbox.is_listed && !self.inbox.is_syncing
    }

    pub(in crate::client) fn check_synced(&mut self) {
        // A conversation that was just joined is called by the name that is being asked for.
        let is_asking = self
            .link
            .any_asked(|then| matches!(then, Then::Fetch(..) | Then::ResolveIdentity(_)));
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

    pub(in crate::client) fn forget_inbox(&mut self) {
        self.inbox = Inbox::default();
        self.timers
            .retain(|timer| !matches!(timer, Timer::Queue(_) | Timer::Look));
    }
}
