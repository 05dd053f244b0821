//! What disks carry out.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{Checker, Invariant};
use crate::ids::ChannelId;
use crate::storage::keys;
use crate::storage::records::{Dedupe, Entry, QueueHead, Slot};
use crate::storage::{Commit, Memory};
use crate::time::Time;

impl Checker {
    /// The servers' store has carried this out.
    pub(in crate::sim) fn server_stored(&mut self, now: Time, commit: &Commit, memory: &Memory) {
        use Invariant::{AcknowledgedIsDurable, OneMeaning, OneWinner, SeqsWithoutHoles};
        for (key, value) in &commit.puts {
            if let Some((queue, seq)) = keys::parse_entry(key) {
                let next = self.queues.entry(queue).or_insert(1);
                let next_was = *next;
                if seq == next_was {
                    *next += 1;
                }
                let is_tombstone = Entry::decode(value.clone()).is_ok_and(|e| e.body.is_none());
                let fits = seq == next_was || (seq < next_was && is_tombstone);
                self.need(now, fits, SeqsWithoutHoles, || {
                    format!("{queue:?} was at {next_was} and got {seq}")
                });
            }
            if let Some((channel, slot)) = parse_slot(key) {
                let hash = Slot::decode(value.clone()).unwrap_or_default().commit_hash;
                let is_next = slot == 0 || self.slots.contains_key(&(channel, slot - 1));
                let known = self
                    .slots
                    .entry((channel, slot))
                    .or_insert_with(|| hash.to_vec());
                let fits = is_next && *known == hash;
                self.need(now, fits, OneWinner, || {
                    format!("slot {slot} of {channel} was taken twice, or out of order")
                });
            }
            if key.first() == Some(&(keys::Family::Dedupe as u8)) {
                let seqs = Dedupe::decode(value.clone()).unwrap_or_default().seqs;
                let known = self.places.entry(key.clone()).or_default();
                // Many recipients take more than one commit.
                let fits = seqs.starts_with(known);
                *known = seqs;
                self.need(now, fits, OneMeaning, || {
                    "one message was put into queues twice".to_owned()
                });
            }
        }
        for (key, value) in &commit.puts {
            if let Some(queue) = keys::parse_queue(key) {
                let head = QueueHead::decode(value.clone()).unwrap_or_default();
                let next = self.queues.get(&queue).copied().unwrap_or(1);
                let fits = head.next_seq == next && head.first_seq <= next;
                self.need(now, fits, SeqsWithoutHoles, || {
                    format!(
                        "{queue:?} gives {next} next, its head says {}",
                        head.next_seq
                    )
                });
            }
        }
        for key in &commit.deletes {
            if let Some((queue, seq)) = keys::parse_entry(key)
                && memory.get(&keys::queue(&queue)).is_some()
            {
                let acked = self.acked.get(&(queue.recipient, queue.channel));
                let fits = acked.is_some_and(|acked| seq <= *acked);
                self.need(now, fits, AcknowledgedIsDurable, || {
                    format!("seq {seq} of {queue:?} is gone, and nobody acknowledged it")
                });
            }
        }
    }

    /// A client's disk has carried this out.
    pub(in crate::sim) fn client_stored(&mut self, now: Time, client: usize, commit: &Commit) {
        for (key, value) in &commit.puts {
            if key.starts_with(b"meta/") {
                continue;
            }
            let Some(nonce) = value.get(..24) else {
                continue;
            };
            let mut sealed = Sha256::new_with_prefix(key);
            sealed.update(value);
            let sealed: [u8; 32] = sealed.finalize().into();
            let first = self
                .nonces
                .entry((client, nonce.to_vec()))
                .or_insert(sealed);
            let fits = *first == sealed;
            self.need(now, fits, Invariant::NonceOnce, || {
                format!("c{client} sealed two rows with one nonce")
            });
        }
    }
}

/// The channel and slot of a key made by [`keys::slot`].
fn parse_slot(key: &[u8]) -> Option<(ChannelId, u64)> {
    let rest = key.strip_prefix(b"s")?;
    let (channel, slot) = rest.split_first_chunk::<16>()?;
    Some((
        ChannelId(*channel),
        u64::from_be_bytes(slot.try_into().ok()?),
    ))
}
