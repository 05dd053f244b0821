//! What a simulation sees of a client that no app does.

use super::event::{ConversationId, Event};
use super::keep::seal::Sealer;
use super::keep::{keys, record};
use super::{Client, StorageKey};
use crate::rng::Rng;

/// The stored key of a message in the history, for a simulation that looks whether it is there.
pub(crate) fn history_row(id: ConversationId, index: u64) -> Vec<u8> {
    keys::piece(&keys::history(id, index), 0)
}

/// The stored key of the fence, for a simulation that looks which opening may write.
pub(crate) fn writer_row() -> Vec<u8> {
    keys::piece(keys::META_WRITER, 0)
}

/// Up to where a queue was read by what this storage holds, for a simulation that compares that with
/// what is acknowledged.
pub(crate) fn stored_cursor(
    memory: &crate::storage::Memory,
    storage_key: StorageKey,
    queue: Option<crate::ids::ChannelId>,
) -> u64 {
    let row = keys::piece(&keys::Name::Queue(queue).key(), 0);
    // Nothing is sealed with it.
    let sealer = Sealer::new(storage_key, Rng::new([0; 32]));
    let value = memory
        .get(&row)
        .and_then(|sealed| sealer.open(&row, sealed));
    let record = value.and_then(|value| record::read::<record::QueueRecord>(&value));
    record.map_or(0, |record| record.cursor)
}

impl Client {
    /// The token of this client's session, for a simulation in which it means ill.
    pub(crate) fn token(&self) -> Option<[u8; 32]> {
        self.state.me.as_ref()?.token.as_deref().copied()
    }

    /// What an app would be told next, once it is durable.
    pub(crate) fn untold(&self) -> Vec<Event> {
        self.writer.untold().cloned().collect()
    }

    /// A commit of this member whose path secret is wrong for one other, drawn by `rng`; nothing of it is kept here.
    pub(crate) fn spoil(&mut self, id: ConversationId, rng: &mut Rng) -> Option<Vec<u8>> {
        self.state.keep_mls(&mut self.writer);
        let (device, group) = self.state.group(id)?;
        let own = group.own_leaf();
        let others = group.members().into_iter();
        let others: Vec<u32> = others
            .map(|member| member.leaf)
            .filter(|leaf| *leaf != own)
            .collect();
        let last = u64::try_from(others.len()).unwrap_or_default();
        let place = usize::try_from(rng.below(last)).unwrap_or_default();
        let victim = *others.get(place)?;
        let made = match group.has_pending_commit() {
            true => None,
            false => group.update_spoiled_for(device, &rng.seed(), victim).ok(),
        };
        self.state.forget_mls();
        Some(made?.commit)
    }
}
