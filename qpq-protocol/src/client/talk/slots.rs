//! What follows from where a channel is: it is fetched, missed, or given back.

use super::channel::Phase;
use super::slot::Slot;
use crate::client::Client;
use crate::client::event::{ConversationId, RejoinReason};
use crate::client::link::timers::{Pause, Timer};
use crate::defect::seeded;

impl Client {
    /// The slot that a channel has reached, as far as this session has heard.
    pub(super) fn reached_slot(&self, id: ConversationId) -> u64 {
        self.inbox.slots.reached(id).unwrap_or_default()
    }

    /// The server has signed that the channel is here now, whatever it has said before.
    pub(in crate::client) fn is_at_slot(&mut self, id: ConversationId, slot: u64) {
        if seeded!(self.config, WordsBelieved) {
            return;
        }
        self.inbox.slots.is_at(id, slot);
    }

    /// The channel has reached this slot: if that is news, its queue holds what led there.
    /// Whether that was so, and it is being fetched.
    pub(in crate::client) fn know_slot(&mut self, id: ConversationId, slot: u64) -> bool {
        self.inbox.slots.reaches(id, slot);
        let behind = match self.state.conversations.get(&id) {
            Some(channel) => channel.slot.next() < slot || channel.phase == Phase::Joining,
            None => false,
        };
        if behind {
            self.fetch(Some(id));
        }
        behind
    }

    /// Whether the server has named this channel since the session began.
    pub(super) fn is_channel_listed(&self, id: ConversationId) -> bool {
        self.inbox.slots.reached(id).is_some()
    }

    /// Everything in the queue that led to this slot has been taken in. A joiner knows the epoch, not the
    /// slots that void commits used up before, so the channel is there. Who has seen a slot has seen all
    /// that followed, or was off the list when they came.
    pub(super) fn adopt_slot(&mut self, id: ConversationId, slot: u64) {
        let channel = self.state.conversations.get(&id);
        let Some(channel) = channel.filter(|channel| channel.slot.next() < slot) else {
            return;
        };
        if self.state.drafts.contains_key(&id) {
            return;
        }
        let is_in = matches!(channel.phase, Phase::Active | Phase::Leaving);
        let follows = is_in && channel.rejoin.is_none();
        if channel.slot.is_seen() && follows {
            self.rejoin(id, RejoinReason::Missed);
        } else {
            self.change_channel(id, |channel| channel.slot = Slot::seen(slot));
        }
    }

    /// The commit of this slot was seen, merged or not.
    pub(in crate::client) fn slot_taken(&mut self, id: ConversationId, slot: u64) {
        self.change_channel(id, |channel| channel.slot.take(slot));
        self.note_seen(id, slot);
    }

    /// The server refuses a slot and names one that is no later: it was set back to before what it
    /// has signed. Only others can bring it on; asking at once again would go on for ever.
    pub(super) fn wait_for_server(&mut self, id: ConversationId, own: u64, servers: u64) {
        if servers < own {
            self.server_lost_slots(id, servers);
        }
        if servers <= own {
            let at = self.clock.now() + self.config.backoff_base + self.backoff(8);
            self.timers.hold(Timer::Conversation(id, Pause::Server), at);
        }
    }

    /// The server has the channel no further than this.
    pub(in crate::client) fn lower_slot(&mut self, id: ConversationId, slot: u64) {
        self.change_channel(id, |channel| channel.slot.lower(slot));
    }

    /// The slot of the last commit that this device has merged, or passed over, of a group that it follows.
    pub(in crate::client) fn last_slot(&self, id: ConversationId) -> Option<u64> {
        let channel = self.state.conversations.get(&id)?;
        let follows = channel.phase == Phase::Active && channel.rejoin.is_none();
        channel.slot.last().filter(|_| follows)
    }
}
