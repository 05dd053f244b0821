//! A queue of this account: by what it is named, how far it was taken in, and how that is known again.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::client::Client;
use crate::client::keep::keys::Name;
use crate::client::keep::record::QueueRecord;
use crate::ids::ChannelId;
use crate::proto;

/// A channel's; `None` is the account's own.
pub(in crate::client) type Queue = Option<ChannelId>;
/// By which an envelope is known again.
pub(in crate::client) type Mark = [u8; 8];

impl Client {
    pub(in crate::client) fn cursor(&self, queue: Queue) -> u64 {
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

    /// The queue is read from where it begins, whatever was read of it before.
    pub(in crate::client) fn forget_cursor(&mut self, queue: Queue) {
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

    /// Whether what lies at the cursor, if it came, is what was taken in there.
    pub(super) fn is_marked(&self, queue: Queue, came: &[proto::Envelope]) -> bool {
        let cursor = self.cursor(queue);
        let there = came.iter().find(|envelope| envelope.seq == cursor);
        match (there, self.state.marks.get(&queue)) {
            (Some(there), Some(mark)) => there.expired || mark_of(there) == *mark,
            _ => true,
        }
    }
}

/// By which this envelope is known again.
pub(super) fn mark_of(envelope: &proto::Envelope) -> Mark {
    let hash: [u8; 32] = Sha256::digest(&envelope.data).into();
    *hash.first_chunk().unwrap_or(&[0; 8])
}

/// Where the page after this one begins, `None` if there is none. A listing only goes up: a server
/// that says a page again, or names what is no queue, has come to its end.
pub(super) fn next_page(after: &Bytes, page: &[proto::Queue]) -> Option<Bytes> {
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
pub(super) fn queue_of(channel_id: &[u8]) -> Option<Queue> {
    match channel_id {
        [] => Some(None),
        id => ChannelId::try_from(id).ok().map(Some),
    }
}

pub(super) fn wire_queue(queue: Queue) -> Bytes {
    queue.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(id.as_bytes()))
}
