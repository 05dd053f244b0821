//! A queue's head: which seqs it keeps, what they weigh, when the first of them expires.
//!
//! ```text
//!        acked or expired      kept: messages and tombstones      to come
//!   1 ────────────────────── first_seq ──────────────────────── next_seq ──▶
//! ```
//!
//! A seq is given once and never again; between the two marks there is a row for each. All rows of
//! a queue change in Commits that check and replace its head.

use bytes::Bytes;

use super::payload::{as_u64, length};
use super::share::{self, Share};
use crate::limits::Limits;
use crate::server::txn::{Change, Seen};
use crate::storage::keys::{self, Key, QueueId};
use crate::storage::records::{Entry, QueueHead};

/// A queue on its way through one change.
pub(super) struct Queue {
    id: QueueId,
    seen: Seen<QueueHead>,
    head: QueueHead,
    /// The date of the stored expiry row, 0 if there is none.
    stored_expiry_ms: u64,
}

impl Queue {
    /// The queue as its head has it; without one it is new.
    pub(super) fn new(id: QueueId, mut seen: Seen<QueueHead>) -> Self {
        let head = seen.take().unwrap_or_else(empty);
        let stored_expiry_ms = head.expires_at_ms;
        Self {
            id,
            seen,
            head,
            stored_expiry_ms,
        }
    }

    /// Which queue this is in storage.
    pub(super) fn id(&self) -> &QueueId {
        &self.id
    }

    /// The head as the change has left it so far.
    pub(super) fn head(&self) -> &QueueHead {
        &self.head
    }

    /// Whether a payload of `length` bytes may go in (protocol.md §5.6).
    pub(super) fn has_room(&self, length: usize, limits: &Limits) -> bool {
        let kept = self.head.next_seq.saturating_sub(self.head.first_seq);
        let bytes = self.head.bytes.saturating_add(as_u64(length));
        !self.head.overrun
            && kept < as_u64(limits.queue_messages)
            && bytes <= as_u64(limits.queue_bytes)
    }

    /// Whether a payload of `length` bytes may go in for this share.
    pub(super) fn has_room_for(&self, share: Share, length: usize, limits: &Limits) -> bool {
        self.has_room(length, limits) && share.has_room(&self.head, length, limits)
    }

    /// The key of the head.
    pub(super) fn key(&self) -> &Bytes {
        self.seen.key()
    }

    /// Takes nothing more until it is drained: the device misses something and has to rejoin.
    pub(super) fn close(&mut self) {
        self.head.overrun = true;
    }

    /// Puts a message with a payload of `length` bytes at the end; its seq.
    pub(super) fn append(&mut self, change: &mut Change, entry: &Entry, length: usize) -> u64 {
        let seq = self.head.next_seq;
        change.write(keys::entry(&self.id, seq), entry);
        self.head.next_seq = seq.saturating_add(1);
        self.head.bytes = self.head.bytes.saturating_add(as_u64(length));
        share::add(&mut self.head, entry.share, length);
        self.expires(entry.expires_at_ms);
        seq
    }

    /// The first message now expires at this date or before.
    pub(super) fn expires(&mut self, at_ms: u64) {
        if self.head.expires_at_ms == 0 || at_ms < self.head.expires_at_ms {
            self.head.expires_at_ms = at_ms;
        }
    }

    /// The next look for expired messages is due at this date; 0: there is none to look for.
    pub(super) fn set_expiry(&mut self, at_ms: u64) {
        self.head.expires_at_ms = at_ms;
    }

    /// Makes a tombstone of a message that stays where it is.
    pub(super) fn bury(&mut self, change: &mut Change, key: Key<Entry>, entry: &Entry) {
        self.lighten(entry);
        self.head.rewrites = self.head.rewrites.saturating_add(1);
        let tombstone = Entry {
            body: None,
            share: 0,
            ..entry.clone()
        };
        change.write(key, &tombstone);
    }

    /// Takes the payload of a message off the weight.
    fn lighten(&mut self, entry: &Entry) {
        let length = length(entry.body.as_ref());
        self.head.bytes = self.head.bytes.saturating_sub(as_u64(length));
        share::remove(&mut self.head, entry.share, length);
    }

    /// Removes the message of `first_seq`. When the last one goes a closed queue opens again.
    pub(super) fn remove_first(&mut self, change: &mut Change, entry: &Entry) {
        change.erase(keys::entry(&self.id, self.head.first_seq));
        self.head.first_seq = self
            .head
            .first_seq
            .saturating_add(1)
            .min(self.head.next_seq);
        self.lighten(entry);
        if self.head.first_seq == self.head.next_seq {
            self.head.bytes = 0;
            self.head.shares.clear();
            self.head.overrun = false;
            self.head.expires_at_ms = 0;
        }
    }

    /// Adds to the change that the queue goes, head and expiry row; its messages are gone already.
    pub(super) fn remove(self, change: &mut Change) {
        let before = self.stored_expiry_ms;
        if before != 0 {
            change.erase(keys::expiry(before, &self.id));
        }
        change.delete(&self.seen);
    }

    /// Adds to the change what it does to the head and the expiry row.
    pub(super) fn write(self, change: &mut Change) {
        let (before, after) = (self.stored_expiry_ms, self.head.expires_at_ms);
        if before != after {
            if before != 0 {
                change.erase(keys::expiry(before, &self.id));
            }
            if after != 0 {
                change.write(keys::expiry(after, &self.id), &());
            }
        }
        change.put(&self.seen, &self.head);
    }
}

/// The head of a queue that nothing was ever in.
pub(super) fn empty() -> QueueHead {
    QueueHead {
        first_seq: 1,
        next_seq: 1,
        ..QueueHead::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, IdentityKey};
    use crate::storage::records::Record as _;

    fn id() -> QueueId {
        QueueId {
            recipient: IdentityKey([1; 32]),
            device: DeviceId::DEFAULT,
            channel: None,
        }
    }

    fn queue(head: Option<QueueHead>) -> Queue {
        Queue::new(id(), Seen::of(keys::queue(&id()), head))
    }

    fn entry(expires_at_ms: u64) -> Entry {
        Entry {
            expires_at_ms,
            ..Entry::default()
        }
    }

    /// The head that a change writes.
    fn written(change: &Change) -> Option<QueueHead> {
        let key = keys::queue(&id());
        let mut puts = change.puts().iter();
        let (_, row) = puts.find(|(put, _)| put == &*key)?;
        QueueHead::decode_row(row.clone())
    }

    #[test]
    fn seqs_start_at_one_and_have_no_holes() {
        let mut row = None;
        for expected in 1..=5 {
            let mut change = Change::default();
            let mut queue = queue(row.clone());
            assert_eq!(queue.append(&mut change, &entry(9), 10), expected);
            queue.write(&mut change);
            row = written(&change);
        }
    }

    #[test]
    fn seqs_go_on_when_the_queue_is_empty() {
        let mut change = Change::default();
        let mut first = queue(None);
        first.append(&mut change, &entry(9), 10);
        first.remove_first(&mut change, &entry(9));
        first.write(&mut change);
        let mut second = queue(written(&change));
        assert_eq!(second.head().first_seq, 2);
        assert_eq!(second.head().bytes, 0);
        assert_eq!(second.append(&mut change, &entry(9), 10), 2);
    }

    #[test]
    fn one_expiry_row_follows_the_first_message_to_expire() {
        let mut change = Change::default();
        let mut one = queue(None);
        one.append(&mut change, &entry(50), 1);
        one.append(&mut change, &entry(70), 1);
        one.write(&mut change);
        let expires = |change: &Change, at_ms| {
            let row = (keys::expiry(at_ms, &id()).into(), Bytes::new());
            change.puts().contains(&row)
        };
        assert!(expires(&change, 50));
        let row = written(&change);

        let mut change = Change::default();
        let mut later = queue(row.clone());
        later.append(&mut change, &entry(60), 1);
        later.write(&mut change);
        assert_eq!(change.puts().len(), 2, "entry and head, no expiry row");

        let mut change = Change::default();
        let mut sooner = queue(row);
        sooner.append(&mut change, &entry(40), 1);
        sooner.write(&mut change);
        assert_eq!(change.deletes(), [Bytes::from(keys::expiry(50, &id()))]);
        assert!(expires(&change, 40));
    }

    #[test]
    fn a_queue_is_full_by_messages_or_by_bytes() {
        let limits = Limits::default();
        let mut change = Change::default();
        let mut by_count = queue(None);
        for _ in 0..limits.queue_messages {
            assert!(by_count.has_room(1, &limits));
            by_count.append(&mut change, &entry(9), 1);
        }
        assert!(!by_count.has_room(1, &limits));
        by_count.remove_first(&mut change, &entry(9));
        assert!(by_count.has_room(1, &limits));

        let mut by_bytes = queue(None);
        by_bytes.append(&mut change, &entry(9), limits.queue_bytes - 5);
        assert!(by_bytes.has_room(5, &limits));
        assert!(!by_bytes.has_room(6, &limits));
    }

    #[test]
    fn a_closed_queue_opens_when_it_is_drained() {
        let limits = Limits::default();
        let mut change = Change::default();
        let mut queue = queue(None);
        queue.append(&mut change, &entry(9), 1);
        queue.append(&mut change, &entry(9), 1);
        queue.close();
        assert!(!queue.has_room(1, &limits));
        queue.remove_first(&mut change, &entry(9));
        assert!(!queue.has_room(1, &limits));
        queue.remove_first(&mut change, &entry(9));
        assert!(queue.has_room(1, &limits));
        assert!(!queue.head().overrun);
    }
}
