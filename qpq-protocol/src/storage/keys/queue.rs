//! Keys of queues, of what lies in them and of answers given.

use bytes::Bytes;

use super::{Family, Fields, Key, KeyBuilder, PayloadId, QueueId, Range};
use crate::ids::{DeviceId, IdentityKey, MessageId};
use crate::storage::records::{Allowance, Dedupe, Entry, QueueHead};

/// The head of a queue. It is also the topic of the queue's wakes.
///
/// Recipient `aa…aa`, device `dd…dd`, default channel: `q` `aa…aa` `01` `dd…dd` `00`, 51 bytes.
#[must_use]
pub fn queue(queue: &QueueId) -> Key<QueueHead> {
    KeyBuilder::new(Family::Queue).queue(queue).key()
}

/// The heads of one device's queues, in order of channel id, the default channel first.
#[must_use]
pub fn queues(recipient: &IdentityKey, device: &DeviceId) -> Range<QueueHead> {
    let key = KeyBuilder::new(Family::Queue).fixed(recipient.as_bytes());
    Range::of(key.device(device).done())
}

/// The heads of all queues.
#[must_use]
pub fn all_queues() -> Range<QueueHead> {
    Range::of(KeyBuilder::new(Family::Queue).done())
}

/// The queue of a key made by [`queue`].
#[must_use]
pub fn parse_queue(key: &[u8]) -> Option<QueueId> {
    let mut fields = Fields::of(key, Family::Queue)?;
    let queue = fields.queue()?;
    fields.end(queue)
}

/// The message with this `seq` in a queue.
///
/// Recipient `aa…aa`, default device, channel `cc…cc`, seq 1:
/// `e` `aa…aa` `00` `01` `cc…cc` `0000000000000001`, 59 bytes.
#[must_use]
pub fn entry(queue: &QueueId, seq: u64) -> Key<Entry> {
    KeyBuilder::new(Family::Entry)
        .queue(queue)
        .number(seq)
        .key()
}

/// The messages of a queue with `first <= seq < end`, in order of seq.
#[must_use]
pub fn entries(queue: &QueueId, first: u64, end: u64) -> Range<Entry> {
    Range::between(entry(queue, first).into(), entry(queue, end).into())
}

/// All messages of all queues of one device.
#[must_use]
pub fn device_entries(recipient: &IdentityKey, device: &DeviceId) -> Range<Entry> {
    let key = KeyBuilder::new(Family::Entry).fixed(recipient.as_bytes());
    Range::of(key.device(device).done())
}

/// The queue and the seq of a key made by [`entry`].
#[must_use]
pub fn parse_entry(key: &[u8]) -> Option<(QueueId, u64)> {
    let mut fields = Fields::of(key, Family::Entry)?;
    let queue = fields.queue()?;
    let seq = u64::from_be_bytes(fields.array()?);
    fields.end((queue, seq))
}

/// A piece of a payload that several queues share.
///
/// Payload `99…99`, piece 1: `p` `99…99` `0001`, 19 bytes.
#[must_use]
pub fn payload(payload: &PayloadId, piece: u16) -> Key<Bytes> {
    let key = KeyBuilder::new(Family::Payload).fixed(&payload.0);
    key.fixed(&piece.to_be_bytes()).key()
}

/// All pieces of a payload, in order.
#[must_use]
pub fn payload_pieces(payload: &PayloadId) -> Range<Bytes> {
    Range::of(KeyBuilder::new(Family::Payload).fixed(&payload.0).done())
}

/// Says that a queue still needs a shared payload. All claims on a payload are made in the commit
/// that stores it, so that a payload without claims stays without.
///
/// Payload `99…99`, recipient `aa…aa`, default device, default channel:
/// `P` `99…99` `aa…aa` `00` `00`, 51 bytes.
#[must_use]
pub fn payload_claim(payload: &PayloadId, queue: &QueueId) -> Key<()> {
    let key = KeyBuilder::new(Family::PayloadClaim).fixed(&payload.0);
    key.queue(queue).key()
}

/// All claims on a payload.
#[must_use]
pub fn payload_claims(payload: &PayloadId) -> Range<()> {
    Range::of(
        KeyBuilder::new(Family::PayloadClaim)
            .fixed(&payload.0)
            .done(),
    )
}

/// Says that a shared payload lost a claim and is to be looked at: if none is left, it goes.
///
/// Payload `99…99`: `g` `99…99`, 17 bytes.
#[must_use]
pub fn payload_check(payload: &PayloadId) -> Key<Bytes> {
    KeyBuilder::new(Family::PayloadCheck)
        .fixed(&payload.0)
        .key()
}

/// All payloads to look at.
#[must_use]
pub fn payload_checks() -> Range<Bytes> {
    Range::of(KeyBuilder::new(Family::PayloadCheck).done())
}

/// The payload of a key made by [`payload_check`].
#[must_use]
pub fn parse_payload_check(key: &[u8]) -> Option<PayloadId> {
    let mut fields = Fields::of(key, Family::PayloadCheck)?;
    let payload = PayloadId(fields.array()?);
    fields.end(payload)
}

/// How much an account may still have stored for others (protocol.md §5.27).
///
/// Identity `aa…aa`: `w` `aa…aa`, 33 bytes.
#[must_use]
pub fn allowance(identity: &IdentityKey) -> Key<Allowance> {
    KeyBuilder::new(Family::Allowance)
        .fixed(identity.as_bytes())
        .key()
}

/// The allowances of all accounts that have used some.
#[must_use]
pub fn allowances() -> Range<Allowance> {
    Range::of(KeyBuilder::new(Family::Allowance).done())
}

/// The answer to the request with this message id (protocol.md §5.3). The id comes first: it starts
/// with its date, so new rows lie next to each other.
///
/// Message `77…77`, caller `aa…aa`, method 200: `i` `77…77` `aa…aa` `00c8`, 51 bytes.
#[must_use]
pub fn dedupe(message: &MessageId, caller: &IdentityKey, method: u16) -> Key<Dedupe> {
    let key = KeyBuilder::new(Family::Dedupe).fixed(message.as_bytes());
    key.fixed(caller.as_bytes())
        .fixed(&method.to_be_bytes())
        .key()
}

/// All answers, in order of the date in their message ids.
#[must_use]
pub fn dedupes() -> Range<Dedupe> {
    Range::of(KeyBuilder::new(Family::Dedupe).done())
}

/// Says that a queue has a message that expires at `at_ms`, in milliseconds since 1970. A queue has
/// at most one such row; its head says which.
///
/// At 1 ms, recipient `aa…aa`, default device, default channel:
/// `x` `0000000000000001` `aa…aa` `00` `00`, 43 bytes.
#[must_use]
pub fn expiry(at_ms: u64, queue: &QueueId) -> Key<()> {
    let key = KeyBuilder::new(Family::Expiry).number(at_ms);
    key.queue(queue).key()
}

/// What is to be expired at `now_ms` or before, oldest first.
#[must_use]
pub fn expired(now_ms: u64) -> Range<()> {
    let end = KeyBuilder::new(Family::Expiry).number(now_ms.saturating_add(1));
    Range::between(KeyBuilder::new(Family::Expiry).done(), end.done())
}

/// The date and the queue of a key made by [`expiry`].
#[must_use]
pub fn parse_expiry(key: &[u8]) -> Option<(u64, QueueId)> {
    let mut fields = Fields::of(key, Family::Expiry)?;
    let at_ms = u64::from_be_bytes(fields.array()?);
    let queue = fields.queue()?;
    fields.end((at_ms, queue))
}
