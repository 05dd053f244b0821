//! The queues: listed, fetched and pushed, in order, each envelope taken in once.
//!
//! Plaintext, ratchet state and cursor become durable in one commit; then the app hears of it, then
//! the server may forget it. What cannot be read is said and passed over: a queue never stops, but
//! for two short waits: for the fate of an own commit, and for the names of new members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::channel::Phase;
use super::intake::Taken;
use super::listing::Listing;
use super::lists::Listed;
use super::ousted::Ousted;
use super::queue::{Queue, queue_of, wire_queue};
use super::slot::Heard;
use crate::client::Client;
use crate::client::error::{DisconnectReason, UnreadableReason};
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::Timer;
#[cfg(qpq_defects)]
use crate::defect::seeded;
use crate::ids::{ChannelId, IdentityKey};
use crate::method::rpc;
use crate::proto;
use crate::proto::push_event::Event as Push;

/// Envelopes asked for at once.
const FETCH: u32 = 64;

/// What is known of the queues beyond what is stored.
#[derive(Default)]
pub(in crate::client) struct Inbox {
    /// The seq that the next message will get, as last heard.
    pub(super) ends: BTreeMap<Queue, u64>,
    pub(super) slots: Heard,
    /// Queues to fetch again when the answer that is awaited has come.
    again: BTreeSet<Queue>,
    /// Channels that the server says this account is not in.
    pub(super) ousted: BTreeMap<ConversationId, Ousted>,
    /// Those that it has once refused to take this account back into.
    pub(super) refused: BTreeSet<ConversationId>,
    /// Members whom it will not have back on its list, as the app was told.
    pub(super) unlisted: BTreeSet<(ConversationId, IdentityKey)>,
    /// Up to which message it was looked whether those that wait for their epoch say that a commit is missing.
    ahead: BTreeMap<ConversationId, u64>,
    /// Member lists to be judged once the queue is drained.
    lists: BTreeMap<ConversationId, Listed>,
    /// Queues to acknowledge again.
    ack_again: BTreeSet<Queue>,
    /// The queues of this session are still being listed or fetched.
    is_syncing: bool,
    /// Queues of which it is to be looked at whether the server still has at the cursor what was taken in there:
    /// all of them when a session begins, until the listing or the first answer says so.
    pub(super) looked_at: BTreeSet<Queue>,
    /// Those of which what is asked for begins at the cursor, to be looked at.
    looking: BTreeSet<Queue>,
    pub(super) listing: Listing,
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
        self.inbox.listing.is_whole = false;
        self.inbox.looked_at = self.state.cursors.keys().copied().collect();
        self.list_queues(Bytes::new());
        self.ask_for_last_sent();
    }

    /// Whether this account is in a conversation, as far as it knows. Who leaves is, until the others have heard it.
    pub(in crate::client) fn goes_on(&self, id: ConversationId) -> bool {
        matches!(self.phase(id), Some(Phase::Active | Phase::Leaving)) && !self.is_ousted(id)
    }

    pub(super) fn has_looked_ahead(&self, id: ConversationId, seq: u64) -> bool {
        let looked = self.inbox.ahead.get(&id);
        looked.is_some_and(|looked| *looked >= seq)
    }

    pub(super) fn note_looked_ahead(&mut self, id: ConversationId, seq: u64) {
        let looked = self.inbox.ahead.entry(id).or_default();
        *looked = seq.max(*looked);
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
        self.inbox.listing.is_whole
    }

    /// Whether nothing is known to wait in the queue of a conversation.
    pub(in crate::client) fn is_drained(&self, id: ConversationId) -> bool {
        let queue = Some(id);
        let end = self.inbox.ends.get(&queue).copied().unwrap_or_default();
        self.inbox.listing.is_whole
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
        let looks = self.inbox.looked_at.contains(&queue);
        match looks {
            true => self.inbox.looking.insert(queue),
            false => self.inbox.looking.remove(&queue),
        };
        let request = proto::FetchRequest {
            recipient_key: Bytes::copy_from_slice(me.identity_key().as_bytes()),
            channel_id: wire_queue(queue),
            limit: FETCH,
            device_id: Bytes::copy_from_slice(me.device_id.as_bytes()),
            after_seq: match looks {
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
        // Refused: there is no such queue.
        let fetched = answer.unwrap_or_default();
        if !Self::is_in_order(&fetched) {
            return self.disconnect(DisconnectReason::Protocol);
        }
        if let Some(taken) = self.state.forgotten.get(&queue).copied() {
            // What is not there any more was taken in before; what never was, is missing.
            let gone = fetched.first_seq.saturating_sub(1);
            self.set_cursor(queue, gone.min(taken), None);
        }
        let before = self.cursor(queue);
        let was_looked_at = self.inbox.looking.remove(&queue);
        if self.inbox.looked_at.contains(&queue) && !was_looked_at {
            // This was asked for before it was known that the queue is to be looked at.
            self.inbox.again.remove(&queue);
            return self.fetch(queue);
        }
        self.inbox.looked_at.remove(&queue);
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

    /// Whether the numbers rise. One that does not would be passed over as known; a hole is seen by itself.
    fn is_in_order(fetched: &proto::FetchResponse) -> bool {
        let seqs = fetched.payloads.iter().map(|envelope| envelope.seq);
        seqs.clone().zip(seqs.skip(1)).all(|(seq, next)| seq < next)
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
        self.inbox.listing.is_whole && !self.inbox.is_syncing
    }

    pub(in crate::client) fn check_synced(&mut self) {
        // A conversation that was just joined is called by the name that is being asked for.
        let is_asking = self
            .link
            .any_asked(|then| matches!(then, Then::Fetch(..) | Then::ResolveIdentity(_)));
        if !self.inbox.is_syncing || !self.inbox.listing.is_whole || is_asking {
            return;
        }
        let mut ends = self.inbox.ends.iter();
        if ends.all(|(queue, end)| self.cursor(*queue).saturating_add(1) >= *end) {
            self.inbox.is_syncing = false;
            self.note_sound();
            self.writer.emit(Event::Synced);
            self.prune_packages();
        }
    }

    pub(in crate::client) fn forget_inbox(&mut self) {
        self.inbox = Inbox::default();
        self.timers
            .retain(|timer| !matches!(timer, Timer::Queue(_) | Timer::Look | Timer::LastSent));
    }
}
