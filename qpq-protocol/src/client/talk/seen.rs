//! Encrypted messages that were processed, the last ones of each conversation: so that a copy of a
//! sender's state does not go unnoticed (protocol.md §5.31).
//!
//! A generation of a sender's keys is met again either by the same bytes, which is a repeat, or by
//! others, which only a copy of the sender's state can have made.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::client::Client;
use crate::client::event::ConversationId;
use crate::client::keep::keys::Name;
use crate::client::keep::record::SeenRecord;

/// Messages remembered of a conversation; of each sender only the last 32 generations can be met again.
const KEPT: u64 = 1024;

/// The messages remembered of a conversation.
#[derive(Default)]
pub(in crate::client) struct Seen {
    /// By place: the oldest is overwritten.
    places: BTreeMap<u64, SeenRecord>,
    /// Their SHA-256.
    messages: BTreeSet<Vec<u8>>,
    /// Messages ever remembered.
    count: u64,
}

impl Seen {
    /// Takes in a stored row.
    pub(in crate::client) fn load(&mut self, record: SeenRecord) {
        self.count = self.count.max(record.number.saturating_add(1));
        self.insert(record);
    }

    fn insert(&mut self, record: SeenRecord) {
        self.messages.insert(record.message.clone());
        let place = record.number % KEPT;
        if let Some(old) = self.places.insert(place, record) {
            self.messages.remove(&old.message);
        }
    }
}

impl Client {
    /// Whether these bytes, an MLSMessage, were processed before.
    pub(super) fn was_processed(&self, id: ConversationId, message: &[u8]) -> bool {
        let seen = self.state.seen.get(&id);
        seen.is_some_and(|seen| seen.messages.contains(Sha256::digest(message).as_slice()))
    }

    /// Remembers an MLSMessage that was processed.
    pub(super) fn remember_message(&mut self, id: ConversationId, message: &[u8]) {
        let seen = self.state.seen.entry(id).or_default();
        let record = SeenRecord {
            number: seen.count,
            message: Sha256::digest(message).to_vec(),
        };
        self.writer
            .put(&Name::Seen(id, record.number % KEPT), &record);
        seen.count = seen.count.saturating_add(1);
        seen.insert(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In whatever order their rows are loaded.
    #[test]
    fn the_last_ones_are_remembered() {
        let record = |number: u64| SeenRecord {
            number,
            message: number.to_be_bytes().to_vec(),
        };
        let mut seen = Seen::default();
        (0..KEPT + 5).for_each(|number| seen.load(record(number)));
        let mut again = Seen::default();
        for record in seen.places.into_values() {
            again.load(record);
        }
        assert_eq!(again.count, KEPT + 5);
        assert_eq!(again.messages.len(), usize::try_from(KEPT).unwrap());
        for number in 0..KEPT + 5 {
            let is_kept = again.messages.contains(number.to_be_bytes().as_slice());
            assert_eq!(is_kept, number >= 5, "{number}");
        }
    }
}
