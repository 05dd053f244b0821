//! The slot of a conversation: where this device is in it, and where the server says the channel is.

use std::collections::BTreeMap;

use crate::client::event::ConversationId;

/// The slot that the next commit takes, as far as this device has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) struct Slot {
    next: u64,
    is_seen: bool,
}

impl Slot {
    /// Of a channel without a commit.
    pub(in crate::client) const FIRST: Self = Self::seen(0);

    /// This device has seen that the channel is here.
    pub(in crate::client) const fn seen(next: u64) -> Self {
        let is_seen = true;
        Self { next, is_seen }
    }

    /// The channel is here, or further: void commits may have taken slots that this device knows nothing of.
    pub(in crate::client) const fn at_least(next: u64) -> Self {
        let is_seen = false;
        Self { next, is_seen }
    }

    pub(in crate::client) const fn next(self) -> u64 {
        self.next
    }

    /// Whether it was seen; otherwise it is at least that.
    pub(in crate::client) const fn is_seen(self) -> bool {
        self.is_seen
    }

    /// The last one that is taken.
    pub(in crate::client) fn last(self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// The commit of this slot was seen.
    pub(in crate::client) fn take(&mut self, slot: u64) {
        *self = Self::seen(self.next.max(slot.saturating_add(1)));
    }

    /// The channel was here when this slot was free.
    pub(in crate::client) fn confirm(&mut self, free: u64) {
        self.is_seen |= self.next == free;
    }

    /// The channel is no further than this.
    pub(in crate::client) fn lower(&mut self, next: u64) {
        if next < self.next {
            *self = Self::seen(next);
        }
    }
}

/// Where channels are, as the server has said in this session.
#[derive(Default)]
pub(in crate::client) struct Heard {
    /// The slot that a channel has reached at least.
    reached: BTreeMap<ConversationId, u64>,
    /// At which slots this device was when the listing of the queues was asked for.
    floor: BTreeMap<ConversationId, u64>,
}

impl Heard {
    /// The channel has reached this slot.
    pub(super) fn reaches(&mut self, id: ConversationId, slot: u64) {
        let known = self.reached.entry(id).or_default();
        *known = slot.max(*known);
    }

    /// The channel is here, whatever was heard before.
    pub(super) fn is_at(&mut self, id: ConversationId, slot: u64) {
        self.reached.insert(id, slot);
    }

    /// Where the channel is, if the server has named it.
    pub(super) fn reached(&self, id: ConversationId) -> Option<u64> {
        self.reached.get(&id).copied()
    }

    /// A listing is asked for: it is of no earlier day than this.
    pub(super) fn set_floor(&mut self, floor: BTreeMap<ConversationId, u64>) {
        self.floor = floor;
    }

    /// Whether a listing that names this slot is of before what was seen when it was asked for.
    pub(super) fn is_below_floor(&self, id: ConversationId, slot: u64) -> bool {
        self.floor.get(&id).is_some_and(|floor| slot < *floor)
    }

    /// The channels in which there was a commit when the listing was asked for.
    pub(super) fn begun(&self) -> impl Iterator<Item = ConversationId> + '_ {
        let begun = self.floor.iter().filter(|(_, slot)| **slot > 0);
        begun.map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ChannelId;

    #[test]
    fn a_slot_is_seen_by_its_commit_and_moves_back_only_when_it_is_lowered() {
        let mut slot = Slot::at_least(3);
        slot.confirm(2);
        assert_eq!(slot, Slot::at_least(3));
        slot.confirm(3);
        assert_eq!(slot, Slot::seen(3));
        slot.take(1);
        assert_eq!(slot, Slot::seen(3));
        slot.take(4);
        assert_eq!(slot, Slot::seen(5));
        slot.lower(6);
        assert_eq!(slot.last(), Some(4));
        slot = Slot::at_least(5);
        slot.lower(5);
        assert!(!slot.is_seen());
        slot.lower(0);
        assert_eq!((slot, slot.last()), (Slot::FIRST, None));
    }

    #[test]
    fn what_was_heard_rises_until_the_server_signs_otherwise() {
        let id = ChannelId([1; 16]);
        let mut heard = Heard::default();
        assert_eq!(heard.reached(id), None);
        heard.reaches(id, 4);
        heard.reaches(id, 2);
        assert_eq!(heard.reached(id), Some(4));
        heard.is_at(id, 2);
        assert_eq!(heard.reached(id), Some(2));
        heard.set_floor(BTreeMap::from([(id, 2), (ChannelId([2; 16]), 0)]));
        assert!(heard.is_below_floor(id, 1) && !heard.is_below_floor(id, 2));
        assert_eq!(heard.begun().collect::<Vec<_>>(), [id]);
    }
}
