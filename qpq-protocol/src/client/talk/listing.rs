//! The listing of the queues: which there are, how far they go, and what is missing from it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::queue::{Queue, next_page, queue_of};
use crate::client::Client;
use crate::client::error::DisconnectReason;
use crate::client::event::{ConversationId, Event};
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::Timer;
use crate::defect::seeded;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// What is known of the queues that there are.
#[derive(Default)]
pub(in crate::client) struct Listing {
    /// All of them were named since the session began.
    pub(super) is_whole: bool,
    /// After this one was asked for last.
    after: Bytes,
    /// How far the queues were taken in when their listing was asked for.
    floor: BTreeMap<Queue, u64>,
    /// Those that the listing named.
    named: BTreeSet<Queue>,
    /// Channels that this client is in no conversation of, and whose queues it follows.
    strange: BTreeSet<ConversationId>,
    /// There are more of them, and whether that was told.
    is_crowded: bool,
    is_crowd_told: bool,
}

impl Client {
    /// Asks for the queues after this one.
    pub(in crate::client) fn list_queues(&mut self, after: Bytes) {
        if self.link.is_ready() && !self.link.is_asked(&Then::ListQueues) {
            if after.is_empty() {
                self.forget_crowd();
                self.forget_first_looks();
                self.inbox.listing.floor.clone_from(&self.state.cursors);
                let slots = self.state.conversations.iter();
                let slots = slots.map(|(id, channel)| (*id, channel.slot.next()));
                self.inbox.slots.set_floor(slots.collect());
                self.inbox.listing.named.clear();
            }
            self.inbox.listing.after.clone_from(&after);
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
        let next = next_page(&self.inbox.listing.after, &page.queues);
        for queue in page.queues {
            self.take_listed(&queue);
        }
        if !self.link.is_ready() {
            return;
        }
        match next.clone() {
            // One's own need no listing, so strangers cannot push them out of it.
            Some(after) if !self.inbox.listing.is_crowded => self.list_queues(after),
            _ => {
                if let (true, Some(last)) = (self.inbox.listing.is_crowded, next) {
                    self.fetch_unlisted(&last);
                } else {
                    self.look_for_unlisted();
                }
                if !core::mem::replace(&mut self.inbox.listing.is_whole, true) {
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
        let floor = self.inbox.listing.floor.get(&queue);
        if floor.is_some_and(|taken| *taken > 0 && listed.next_seq <= *taken) {
            self.queue_fell(queue);
        }
        self.inbox.listing.named.insert(queue);
        let cursor = self.cursor(queue);
        self.inbox.ends.insert(queue, listed.next_seq);
        if let Some(id) = queue {
            self.inbox.slots.reaches(id, listed.slot);
        }
        if listed.first_seq <= cursor && listed.next_seq > cursor {
            // An acknowledgement was lost; or the server was set back, and something else is there now.
            self.inbox.looked_at.insert(queue);
            self.fetch(queue);
        } else {
            // It begins behind the cursor, or ends before it: nothing else lies there.
            self.inbox.looked_at.remove(&queue);
            if listed.next_seq > cursor.saturating_add(1) {
                self.fetch(queue);
            }
        }
        if let Some(id) = queue {
            self.know_slot(id, listed.slot);
            // Commits that came since it was asked for are not in the listing.
            if self.inbox.slots.is_below_floor(id, listed.slot) {
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
    pub(super) fn follows(&mut self, queue: Queue) -> bool {
        let Some(id) = queue.filter(|id| !self.state.conversations.contains_key(id)) else {
            return true;
        };
        if self.inbox.listing.strange.contains(&id) {
            return true;
        }
        if self.inbox.listing.strange.len() >= self.config.strange_queues
            && !self.inbox.listing.is_crowded
        {
            let conversations = &self.state.conversations;
            let is_strange = |id: &ConversationId| !conversations.contains_key(id);
            self.inbox.listing.strange.retain(is_strange);
        }
        if self.inbox.listing.strange.len() < self.config.strange_queues {
            return self.inbox.listing.strange.insert(id);
        }
        self.inbox.listing.is_crowded = true;
        if !core::mem::replace(&mut self.inbox.listing.is_crowd_told, true) {
            let followed = self.inbox.listing.strange.len();
            self.writer.emit(Event::NotFollowed { followed });
        }
        false
    }

    /// Queues of strangers that hold nothing make room for others.
    fn forget_crowd(&mut self) {
        let cursors = &self.state.cursors;
        let holds = |id: &ConversationId| cursors.contains_key(&Some(*id));
        self.inbox.listing.strange.retain(holds);
        self.inbox.listing.is_crowded = false;
    }

    /// A queue does not go while its account is a member, nor for long after: if one is not listed any more, the
    /// server was set back to before it was made.
    fn look_for_unlisted(&mut self) {
        let taken = self
            .inbox
            .listing
            .floor
            .iter()
            .filter(|(_, taken)| **taken > 0);
        let taken = taken.filter_map(|(queue, _)| *queue);
        // What was committed there lies in the queue, read or not.
        let is_gone = taken.chain(self.inbox.slots.begun()).any(|id| {
            let is_there = self.inbox.listing.named.contains(&Some(id));
            !is_there && self.goes_on(id) && !self.is_doubted(id)
        });
        if is_gone {
            self.server_set_back(self.state.openings.sound);
        }
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
    pub(super) fn queue_fell(&mut self, queue: Queue) {
        let goes_on = match queue {
            Some(id) => self.goes_on(id),
            None => true,
        };
        if goes_on {
            return self.server_set_back(self.state.openings.sound);
        }
        self.inbox.listing.floor.remove(&queue);
        self.forget_cursor(queue);
    }
}
