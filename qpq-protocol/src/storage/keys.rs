//! Where the server keeps what: every key of its key space, typed and in an order that ranges use.
//!
//! A key is one letter for its family, then fields of fixed or self-delimiting length, so that the
//! bytes of keys sort as their fields do and no key is a prefix of one that belongs elsewhere:
//!
//! | field | bytes |
//! | --- | --- |
//! | identity key, hash | 32 |
//! | message id, payload id | 16 |
//! | device, channel | `00` for the default one, or `01` and 16 bytes: the default one sorts first |
//! | number | 8, big-endian |
//! | piece, method | 2, big-endian |
//! | name | what is left, ASCII |
//!
//! Values are the messages of `proto/qpq/store/v1/`, except pieces, which are bare bytes.

use bytes::Bytes;

use super::prefix_end;
use crate::ids::{ChannelId, DeviceId, IdentityKey, MessageId};

/// The first byte of a key: what kind of row it is. Letters are never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Family {
    /// A single value of the server itself, see [`meta`].
    Meta = b'm',
    /// An account, see [`account`].
    Account = b'a',
    /// A user name, see [`name`].
    Name = b'n',
    /// The registered devices of an account in one small row, see [`device_set`].
    DeviceSet = b'D',
    /// A device, registered or revoked, see [`device`].
    Device = b'd',
    /// A session by the hash of its token, see [`session`].
    Session = b't',
    /// The sessions of a device, see [`device_session`].
    DeviceSession = b'T',
    /// The head of a queue, see [`queue`].
    Queue = b'q',
    /// A message in a queue, see [`entry`].
    Entry = b'e',
    /// A piece of a payload that several queues share, see [`payload`].
    Payload = b'p',
    /// A queue's claim on a shared payload, see [`payload_claim`].
    PayloadClaim = b'P',
    /// A shared payload that lost a claim, see [`payload_check`].
    PayloadCheck = b'g',
    /// The answer to a request that must not run twice, see [`dedupe`].
    Dedupe = b'i',
    /// When a queue has something to expire, see [`expiry`].
    Expiry = b'x',
    /// The state of a channel, see [`channel`].
    Channel = b'c',
    /// The sealed metadata of a channel, see [`metadata`].
    Metadata = b'C',
    /// A piece of the newest GroupInfo of a channel, see [`group_info`].
    GroupInfo = b'G',
    /// A member of a channel, see [`member`].
    Member = b'M',
    /// The channels of an account, see [`membership`].
    Membership = b'A',
    /// A taken slot of a channel, see [`slot`].
    Slot = b's',
    /// The key packages of a device, listed in one row, see [`package_pool`].
    PackagePool = b'k',
    /// A key package, see [`package`].
    Package = b'K',
    /// A key package that was uploaded once, see [`package_seen`].
    PackageSeen = b'U',
    /// The hybrid key of an account, see [`hybrid_key`].
    HybridKey = b'h',
}

/// A queue: whose, for which of the account's devices, in which channel (protocol.md §5.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueueId {
    /// The account that receives.
    pub recipient: IdentityKey,
    /// Its device.
    pub device: DeviceId,
    /// The channel, `None` for the default one.
    pub channel: Option<ChannelId>,
}

/// Names a payload that several queues share: 16 bytes, drawn at random when it is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PayloadId(pub [u8; 16]);

/// The keys from `start` up to and without `end`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// The first key.
    pub start: Bytes,
    /// The key after the last.
    pub end: Bytes,
}

impl Range {
    /// All keys that start with `prefix`.
    #[must_use]
    pub fn of(prefix: Bytes) -> Self {
        let end = prefix_end(&prefix).unwrap_or_else(|| vec![0xff; super::MAX_KEY]);
        Self {
            start: prefix,
            end: end.into(),
        }
    }

    /// The part of this range after `key`.
    #[must_use]
    pub fn after(self, key: &[u8]) -> Self {
        let mut start = Vec::with_capacity(key.len() + 1);
        start.extend_from_slice(key);
        start.push(0);
        Self {
            start: self.start.max(start.into()),
            end: self.end,
        }
    }
}

struct Key(Vec<u8>);

impl Key {
    fn new(family: Family) -> Self {
        // Longest of those in use all the time: an entry of a channel.
        let mut key = Vec::with_capacity(1 + 32 + 17 + 17 + 8);
        key.push(family as u8);
        Self(key)
    }

    fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn optional(mut self, id: Option<&[u8]>) -> Self {
        match id {
            None | Some([]) => self.0.push(0),
            Some(id) => {
                self.0.push(1);
                self.0.extend_from_slice(id);
            }
        }
        self
    }

    fn device(self, device: &DeviceId) -> Self {
        self.optional(Some(device.as_bytes()))
    }

    fn channel(self, channel: Option<&ChannelId>) -> Self {
        self.optional(channel.map(|channel| channel.as_bytes().as_slice()))
    }

    fn queue(self, queue: &QueueId) -> Self {
        self.fixed(queue.recipient.as_bytes())
            .device(&queue.device)
            .channel(queue.channel.as_ref())
    }

    fn number(self, number: u64) -> Self {
        self.fixed(&number.to_be_bytes())
    }

    /// Just so many bytes: a vector with room to spare would cost `Bytes` a second allocation.
    fn done(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

/// Reads the fields of a key from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn of(key: &'a [u8], family: Family) -> Option<Self> {
        let (&first, rest) = key.split_first()?;
        (first == family as u8).then_some(Self(rest))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn optional(&mut self) -> Option<Option<[u8; 16]>> {
        match self.array::<1>()? {
            [0] => Some(None),
            [1] => self.array().map(Some),
            _ => None,
        }
    }

    fn device(&mut self) -> Option<DeviceId> {
        let id = self.optional()?;
        Some(id.map_or(DeviceId::DEFAULT, DeviceId::new))
    }

    fn queue(&mut self) -> Option<QueueId> {
        Some(QueueId {
            recipient: IdentityKey(self.array()?),
            device: self.device()?,
            channel: self.optional()?.map(ChannelId),
        })
    }

    fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// A value of the server itself.
///
/// `meta("schema")` is `m` `schema`.
#[must_use]
pub fn meta(name: &str) -> Bytes {
    Key::new(Family::Meta).fixed(name.as_bytes()).done()
}

/// An account by its identity key.
///
/// Identity `aa…aa`: `a` `aa…aa`, 33 bytes.
#[must_use]
pub fn account(identity: &IdentityKey) -> Bytes {
    Key::new(Family::Account).fixed(identity.as_bytes()).done()
}

/// Who has a user name; names are never given out twice.
///
/// `name("alice")` is `n` `alice`.
#[must_use]
pub fn name(name: &str) -> Bytes {
    Key::new(Family::Name).fixed(name.as_bytes()).done()
}

/// The registered devices of an account: small, and checked by everyone who writes to its queues.
///
/// Identity `aa…aa`: `D` `aa…aa`, 33 bytes.
#[must_use]
pub fn device_set(identity: &IdentityKey) -> Bytes {
    Key::new(Family::DeviceSet)
        .fixed(identity.as_bytes())
        .done()
}

/// A device; the row stays after a revocation, so that its id is never used again.
///
/// Identity `aa…aa`, device `dd…dd`: `d` `aa…aa` `01` `dd…dd`, 50 bytes.
#[must_use]
pub fn device(identity: &IdentityKey, device: &DeviceId) -> Bytes {
    let key = Key::new(Family::Device).fixed(identity.as_bytes());
    key.device(device).done()
}

/// All devices of an account, in order of their ids.
#[must_use]
pub fn devices(identity: &IdentityKey) -> Range {
    Range::of(Key::new(Family::Device).fixed(identity.as_bytes()).done())
}

/// A session by the SHA-256 of its token.
///
/// Hash `ff…ff`: `t` `ff…ff`, 33 bytes.
#[must_use]
pub fn session(token_hash: &[u8; 32]) -> Bytes {
    Key::new(Family::Session).fixed(token_hash).done()
}

/// All sessions, in the order of the hashes.
#[must_use]
pub fn sessions() -> Range {
    Range::of(Key::new(Family::Session).done())
}

/// Marks a session as one of a device.
///
/// Identity `aa…aa`, default device, hash `ff…ff`: `T` `aa…aa` `00` `ff…ff`, 66 bytes.
#[must_use]
pub fn device_session(identity: &IdentityKey, device: &DeviceId, token_hash: &[u8; 32]) -> Bytes {
    let key = Key::new(Family::DeviceSession).fixed(identity.as_bytes());
    key.device(device).fixed(token_hash).done()
}

/// The sessions of one device, or of all devices of an account.
#[must_use]
pub fn device_sessions(identity: &IdentityKey, device: Option<&DeviceId>) -> Range {
    let key = Key::new(Family::DeviceSession).fixed(identity.as_bytes());
    let key = match device {
        Some(device) => key.device(device),
        None => key,
    };
    Range::of(key.done())
}

/// The token's hash in a key made by [`device_session`].
#[must_use]
pub fn parse_device_session(key: &[u8]) -> Option<[u8; 32]> {
    let mut fields = Fields::of(key, Family::DeviceSession)?;
    let _identity: [u8; 32] = fields.array()?;
    fields.device()?;
    let hash = fields.array()?;
    fields.end(hash)
}

/// The head of a queue. It is also the topic of the queue's wakes.
///
/// Recipient `aa…aa`, device `dd…dd`, default channel: `q` `aa…aa` `01` `dd…dd` `00`, 51 bytes.
#[must_use]
pub fn queue(queue: &QueueId) -> Bytes {
    Key::new(Family::Queue).queue(queue).done()
}

/// The heads of one device's queues, in order of channel id, the default channel first.
#[must_use]
pub fn queues(recipient: &IdentityKey, device: &DeviceId) -> Range {
    let key = Key::new(Family::Queue).fixed(recipient.as_bytes());
    Range::of(key.device(device).done())
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
pub fn entry(queue: &QueueId, seq: u64) -> Bytes {
    Key::new(Family::Entry).queue(queue).number(seq).done()
}

/// The messages of a queue with `first <= seq < end`, in order of seq.
#[must_use]
pub fn entries(queue: &QueueId, first: u64, end: u64) -> Range {
    Range {
        start: entry(queue, first),
        end: entry(queue, end),
    }
}

/// All messages of all queues of one device.
#[must_use]
pub fn device_entries(recipient: &IdentityKey, device: &DeviceId) -> Range {
    let key = Key::new(Family::Entry).fixed(recipient.as_bytes());
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
pub fn payload(payload: &PayloadId, piece: u16) -> Bytes {
    let key = Key::new(Family::Payload).fixed(&payload.0);
    key.fixed(&piece.to_be_bytes()).done()
}

/// All pieces of a payload, in order.
#[must_use]
pub fn payload_pieces(payload: &PayloadId) -> Range {
    Range::of(Key::new(Family::Payload).fixed(&payload.0).done())
}

/// Says that a queue still needs a shared payload. All claims on a payload are made in the commit
/// that stores it, so that a payload without claims stays without.
///
/// Payload `99…99`, recipient `aa…aa`, default device, default channel:
/// `P` `99…99` `aa…aa` `00` `00`, 51 bytes.
#[must_use]
pub fn payload_claim(payload: &PayloadId, queue: &QueueId) -> Bytes {
    let key = Key::new(Family::PayloadClaim).fixed(&payload.0);
    key.queue(queue).done()
}

/// All claims on a payload.
#[must_use]
pub fn payload_claims(payload: &PayloadId) -> Range {
    Range::of(Key::new(Family::PayloadClaim).fixed(&payload.0).done())
}

/// Says that a shared payload lost a claim and is to be looked at: if none is left, it goes.
///
/// Payload `99…99`: `g` `99…99`, 17 bytes.
#[must_use]
pub fn payload_check(payload: &PayloadId) -> Bytes {
    Key::new(Family::PayloadCheck).fixed(&payload.0).done()
}

/// All payloads to look at.
#[must_use]
pub fn payload_checks() -> Range {
    Range::of(Key::new(Family::PayloadCheck).done())
}

/// The payload of a key made by [`payload_check`].
#[must_use]
pub fn parse_payload_check(key: &[u8]) -> Option<PayloadId> {
    let mut fields = Fields::of(key, Family::PayloadCheck)?;
    let payload = PayloadId(fields.array()?);
    fields.end(payload)
}

/// The answer to the request with this message id (protocol.md §5.3). The id comes first: it starts
/// with its date, so new rows lie next to each other.
///
/// Message `77…77`, caller `aa…aa`, method 200: `i` `77…77` `aa…aa` `00c8`, 51 bytes.
#[must_use]
pub fn dedupe(message: &MessageId, caller: &IdentityKey, method: u16) -> Bytes {
    let key = Key::new(Family::Dedupe).fixed(message.as_bytes());
    key.fixed(caller.as_bytes())
        .fixed(&method.to_be_bytes())
        .done()
}

/// All answers, in order of the date in their message ids.
#[must_use]
pub fn dedupes() -> Range {
    Range::of(Key::new(Family::Dedupe).done())
}

/// Says that a queue has a message that expires at `at_ms`, in milliseconds since 1970. A queue has
/// at most one such row; its head says which.
///
/// At 1 ms, recipient `aa…aa`, default device, default channel:
/// `x` `0000000000000001` `aa…aa` `00` `00`, 43 bytes.
#[must_use]
pub fn expiry(at_ms: u64, queue: &QueueId) -> Bytes {
    let key = Key::new(Family::Expiry).number(at_ms);
    key.queue(queue).done()
}

/// What is to be expired at `now_ms` or before, oldest first.
#[must_use]
pub fn expired(now_ms: u64) -> Range {
    let end = Key::new(Family::Expiry).number(now_ms.saturating_add(1));
    Range {
        start: Key::new(Family::Expiry).done(),
        end: end.done(),
    }
}

/// The date and the queue of a key made by [`expiry`].
#[must_use]
pub fn parse_expiry(key: &[u8]) -> Option<(u64, QueueId)> {
    let mut fields = Fields::of(key, Family::Expiry)?;
    let at_ms = u64::from_be_bytes(fields.array()?);
    let queue = fields.queue()?;
    fields.end((at_ms, queue))
}

/// The state of a channel: every change of its slot or members changes this row.
///
/// Channel `cc…cc`: `c` `cc…cc`, 17 bytes.
#[must_use]
pub fn channel(channel: &ChannelId) -> Bytes {
    Key::new(Family::Channel).fixed(channel.as_bytes()).done()
}

/// The sealed metadata of a channel.
///
/// Channel `cc…cc`: `C` `cc…cc`, 17 bytes.
#[must_use]
pub fn metadata(channel: &ChannelId) -> Bytes {
    Key::new(Family::Metadata).fixed(channel.as_bytes()).done()
}

/// A piece of the newest GroupInfo of a channel.
///
/// Channel `cc…cc`, piece 0: `G` `cc…cc` `0000`, 19 bytes.
#[must_use]
pub fn group_info(channel: &ChannelId, piece: u16) -> Bytes {
    let key = Key::new(Family::GroupInfo).fixed(channel.as_bytes());
    key.fixed(&piece.to_be_bytes()).done()
}

/// A member of a channel.
///
/// Channel `cc…cc`, identity `aa…aa`: `M` `cc…cc` `aa…aa`, 49 bytes.
#[must_use]
pub fn member(channel: &ChannelId, identity: &IdentityKey) -> Bytes {
    let key = Key::new(Family::Member).fixed(channel.as_bytes());
    key.fixed(identity.as_bytes()).done()
}

/// All members of a channel, in order of identity key.
#[must_use]
pub fn members(channel: &ChannelId) -> Range {
    Range::of(Key::new(Family::Member).fixed(channel.as_bytes()).done())
}

/// The channel and the identity of a key made by [`member`].
#[must_use]
pub fn parse_member(key: &[u8]) -> Option<(ChannelId, IdentityKey)> {
    let mut fields = Fields::of(key, Family::Member)?;
    let channel = ChannelId(fields.array()?);
    let identity = IdentityKey(fields.array()?);
    fields.end((channel, identity))
}

/// The other direction of [`member`]: a channel that an account is a member of.
///
/// Identity `aa…aa`, channel `cc…cc`: `A` `aa…aa` `cc…cc`, 49 bytes.
#[must_use]
pub fn membership(identity: &IdentityKey, channel: &ChannelId) -> Bytes {
    let key = Key::new(Family::Membership).fixed(identity.as_bytes());
    key.fixed(channel.as_bytes()).done()
}

/// All channels of an account, in order of channel id.
#[must_use]
pub fn memberships(identity: &IdentityKey) -> Range {
    Range::of(
        Key::new(Family::Membership)
            .fixed(identity.as_bytes())
            .done(),
    )
}

/// The identity and the channel of a key made by [`membership`].
#[must_use]
pub fn parse_membership(key: &[u8]) -> Option<(IdentityKey, ChannelId)> {
    let mut fields = Fields::of(key, Family::Membership)?;
    let identity = IdentityKey(fields.array()?);
    let channel = ChannelId(fields.array()?);
    fields.end((identity, channel))
}

/// Which commit took a slot of a channel.
///
/// Channel `cc…cc`, slot 2: `s` `cc…cc` `0000000000000002`, 25 bytes.
#[must_use]
pub fn slot(channel: &ChannelId, slot: u64) -> Bytes {
    let key = Key::new(Family::Slot).fixed(channel.as_bytes());
    key.number(slot).done()
}

/// Which key packages a device has: every change of its packages changes this row.
///
/// Identity `aa…aa`, default device: `k` `aa…aa` `00`, 34 bytes.
#[must_use]
pub fn package_pool(identity: &IdentityKey, device: &DeviceId) -> Bytes {
    let key = Key::new(Family::PackagePool).fixed(identity.as_bytes());
    key.device(device).done()
}

/// A key package by its fingerprint, the SHA-256 of the package.
///
/// Identity `aa…aa`, default device, fingerprint `ff…ff`: `K` `aa…aa` `00` `ff…ff`, 66 bytes.
#[must_use]
pub fn package(identity: &IdentityKey, device: &DeviceId, fingerprint: &[u8; 32]) -> Bytes {
    let key = Key::new(Family::Package).fixed(identity.as_bytes());
    key.device(device).fixed(fingerprint).done()
}

/// All key packages of a device.
#[must_use]
pub fn packages(identity: &IdentityKey, device: &DeviceId) -> Range {
    let key = Key::new(Family::Package).fixed(identity.as_bytes());
    Range::of(key.device(device).done())
}

/// Says that a key package was uploaded once: a retry must not put back what was already taken.
///
/// Identity `aa…aa`, default device, fingerprint `ff…ff`: `U` `aa…aa` `00` `ff…ff`, 66 bytes.
#[must_use]
pub fn package_seen(identity: &IdentityKey, device: &DeviceId, fingerprint: &[u8; 32]) -> Bytes {
    let key = Key::new(Family::PackageSeen).fixed(identity.as_bytes());
    key.device(device).fixed(fingerprint).done()
}

/// All key packages that were uploaded once.
#[must_use]
pub fn packages_seen() -> Range {
    Range::of(Key::new(Family::PackageSeen).done())
}

/// The hybrid key of an account.
///
/// Identity `aa…aa`: `h` `aa…aa`, 33 bytes.
#[must_use]
pub fn hybrid_key(identity: &IdentityKey) -> Bytes {
    Key::new(Family::HybridKey)
        .fixed(identity.as_bytes())
        .done()
}

#[cfg(test)]
mod tests;
