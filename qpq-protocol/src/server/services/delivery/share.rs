//! Shares of a queue: one sender fills at most a part of it (protocol.md §5.6).
//!
//! A head that counted every sender would grow with their number. So senders are counted by share: one
//! of a few, from a keyed hash of queue and sender. Who shares with whom nobody can choose, and differs
//! from queue to queue; a row tells little of who sent what. Those who share fill the part together, so
//! no sender ever has more than it.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::payload::as_u64;
use crate::ids::IdentityKey;
use crate::limits::Limits;
use crate::storage::records::{QueueHead, QueueShare};

/// How many shares there are: a head holds at most this many.
const SHARES: u32 = 64;

/// The part of a queue that a sender counts for. From 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Share(u32);

impl Share {
    /// The share of `sender` in the queue whose head has the key `queue`. `secret` is the server's.
    pub(super) fn of(secret: &[u8; 32], queue: &Bytes, sender: &IdentityKey) -> Self {
        let hash: [u8; 32] = Sha256::new_with_prefix(secret)
            .chain_update(queue)
            .chain_update(sender.as_bytes())
            .finalize()
            .into();
        let [first, ..] = hash;
        Self(1 + u32::from(first) % SHARES)
    }

    /// As an entry has it.
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// Whether a payload of `length` bytes fits what the share may fill.
    pub(super) fn has_room(self, head: &QueueHead, length: usize, limits: &Limits) -> bool {
        let mut shares = head.shares.iter();
        let (messages, bytes) = shares
            .find(|share| share.share == self.0)
            .map_or((0, 0), |share| (share.messages, share.bytes));
        let part = |whole: usize| as_u64(whole / limits.queue_sender_share.max(1)).max(1);
        messages < part(limits.queue_messages)
            && bytes.saturating_add(as_u64(length)) <= part(limits.queue_bytes)
    }
}

/// Counts a message of `length` bytes for the share of this number.
pub(super) fn add(head: &mut QueueHead, number: u32, length: usize) {
    if number == 0 {
        return;
    }
    let known = head.shares.iter_mut().find(|share| share.share == number);
    match known {
        Some(share) => {
            share.messages = share.messages.saturating_add(1);
            share.bytes = share.bytes.saturating_add(as_u64(length));
        }
        None => head.shares.push(QueueShare {
            share: number,
            messages: 1,
            bytes: as_u64(length),
        }),
    }
}

/// A message of `length` bytes that was counted for the share of this number goes.
pub(super) fn remove(head: &mut QueueHead, number: u32, length: usize) {
    let mut shares = head.shares.iter_mut();
    if let Some(share) = shares.find(|share| share.share == number) {
        share.messages = share.messages.saturating_sub(1);
        share.bytes = share.bytes.saturating_sub(as_u64(length));
        head.shares.retain(|share| share.messages > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn limits() -> Limits {
        let mut limits = Limits::default();
        (limits.queue_messages, limits.queue_bytes) = (8, 800);
        limits
    }

    fn share(queue: &'static [u8], sender: u8) -> Share {
        let queue = Bytes::from_static(queue);
        Share::of(&SECRET, &queue, &IdentityKey([sender; 32]))
    }

    #[test]
    fn a_share_is_full_by_messages_or_by_bytes() {
        let (limits, one) = (limits(), share(b"queue", 1));
        let mut head = QueueHead::default();
        assert!(one.has_room(&head, 200, &limits) && !one.has_room(&head, 201, &limits));
        add(&mut head, one.number(), 10);
        assert!(one.has_room(&head, 190, &limits) && !one.has_room(&head, 191, &limits));
        add(&mut head, one.number(), 10);
        assert!(!one.has_room(&head, 1, &limits));
        let other = (2..).map(|sender| share(b"queue", sender));
        let other = other.into_iter().find(|other| *other != one);
        assert!(other.is_some_and(|other| other.has_room(&head, 200, &limits)));
        remove(&mut head, one.number(), 10);
        assert!(one.has_room(&head, 190, &limits));
        remove(&mut head, one.number(), 10);
        assert!(head == QueueHead::default(), "what has nothing is left out");
    }

    #[test]
    fn nobody_can_tell_who_shares_and_shares_are_few() {
        let of = |secret: u8, queue: &'static [u8], sender: u8| {
            let queue = Bytes::from_static(queue);
            Share::of(&[secret; 32], &queue, &IdentityKey([sender; 32])).number()
        };
        let all = |secret, queue| (0..=255).map(move |sender| of(secret, queue, sender));
        assert!(all(1, b"a").all(|number| (1..=SHARES).contains(&number)));
        assert!(all(1, b"a").collect::<BTreeSet<u32>>().len() > 50);
        assert!(!all(1, b"a").eq(all(1, b"b")), "another queue");
        assert!(!all(1, b"a").eq(all(2, b"a")), "another server");
    }

    /// Commits, welcomes and tombstones count for nobody.
    #[test]
    fn what_has_no_share_is_not_counted() {
        let mut head = QueueHead::default();
        add(&mut head, 0, 10);
        remove(&mut head, 0, 10);
        assert!(head == QueueHead::default());
    }
}
