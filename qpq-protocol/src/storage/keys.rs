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
//! Values are the messages of `proto/qpq/store/v1/`, except pieces, which are bare bytes. A [`Key`] says which.

mod account;
mod channel;
mod job;
mod package;
mod queue;

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use bytes::Bytes;

use super::prefix_end;
use crate::ids::{ChannelId, DeviceId, IdentityKey};

pub use account::*;
pub use channel::*;
pub use job::*;
pub use package::*;
pub use queue::*;

/// The table of families.
macro_rules! families {
    ($($(#[$doc:meta])* $family:ident = $letter:literal,)*) => {
        /// The first byte of a key: what kind of row it is. Letters are never reused.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Family {
            $($(#[$doc])* $family = $letter,)*
        }

        impl Family {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$family),*];
        }
    };
}

families! {
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
    /// How much an account may still have stored for others, see [`allowance`].
    Allowance = b'w',
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
    /// The memberships that others gave an account, see [`given`].
    Given = b'y',
    /// A former member of a channel, see [`former`].
    Former = b'F',
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
    /// Work to be done in the background, see [`devices_changed`] and [`device_revoked`].
    Job = b'j',
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

/// The key of a row that is an `R`, or of no row yet.
pub struct Key<R> {
    bytes: Bytes,
    row: PhantomData<fn() -> R>,
}

impl<R> Key<R> {
    /// A key as storage has it, of a row that was found in a range of such rows.
    pub(crate) const fn of_range(_: &Range<R>, bytes: Bytes) -> Self {
        Self {
            bytes,
            row: PhantomData,
        }
    }
}

impl<R> Clone for Key<R> {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            row: PhantomData,
        }
    }
}

impl<R> PartialEq for Key<R> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<R> Eq for Key<R> {}

impl<R> PartialOrd for Key<R> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for Key<R> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl<R> fmt::Debug for Key<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

impl<R> Deref for Key<R> {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl<R> From<Key<R>> for Bytes {
    fn from(key: Key<R>) -> Self {
        key.bytes
    }
}

/// The keys from `start` up to and without `end`, of rows that are `R`s.
pub struct Range<R> {
    /// The first key.
    pub start: Bytes,
    /// The key after the last.
    pub end: Bytes,
    row: PhantomData<fn() -> R>,
}

impl<R> Clone for Range<R> {
    fn clone(&self) -> Self {
        Self::between(self.start.clone(), self.end.clone())
    }
}

impl<R> Range<R> {
    const fn between(start: Bytes, end: Bytes) -> Self {
        Self {
            start,
            end,
            row: PhantomData,
        }
    }

    /// All keys that start with `prefix`.
    fn of(prefix: Bytes) -> Self {
        let end = prefix_end(&prefix).unwrap_or_else(|| vec![0xff; super::MAX_KEY]);
        Self::between(prefix, end.into())
    }

    /// The part of this range after `key`.
    #[must_use]
    pub fn after(self, key: &[u8]) -> Self {
        let mut start = Vec::with_capacity(key.len() + 1);
        start.extend_from_slice(key);
        start.push(0);
        Self::between(self.start.max(start.into()), self.end)
    }
}

/// A key in the making.
struct KeyBuilder {
    short: Short,
    /// All bytes of a key that is longer than [`LONGEST`].
    long: Vec<u8>,
}

/// What a finished key owns: bytes and their number in one allocation, and none for a copy, of which
/// each key gets several.
struct Short {
    bytes: [u8; LONGEST],
    len: u8,
}

/// Room for every key whose length is fixed. Only names can make one longer.
const LONGEST: usize = 87;

impl KeyBuilder {
    fn new(family: Family) -> Self {
        let short = Short {
            bytes: [0; LONGEST],
            len: 0,
        };
        let long = Vec::new();
        Self { short, long }.fixed(&[family as u8])
    }

    // Inlined all through: a call would move the whole key for each field.
    #[inline(always)]
    fn fixed(mut self, bytes: &[u8]) -> Self {
        let start = usize::from(self.short.len);
        let end = start.saturating_add(bytes.len());
        match (self.short.bytes.get_mut(start..end), u8::try_from(end)) {
            (Some(room), Ok(len)) if self.long.is_empty() => {
                room.copy_from_slice(bytes);
                self.short.len = len;
            }
            _ => {
                if self.long.is_empty() {
                    self.long.extend_from_slice(self.short.as_ref());
                }
                self.long.extend_from_slice(bytes);
            }
        }
        self
    }

    #[inline(always)]
    fn optional(self, id: Option<&[u8]>) -> Self {
        match id {
            None | Some([]) => self.fixed(&[0]),
            Some(id) => self.fixed(&[1]).fixed(id),
        }
    }

    #[inline(always)]
    fn device(self, device: &DeviceId) -> Self {
        self.optional(Some(device.as_bytes()))
    }

    #[inline(always)]
    fn channel(self, channel: Option<&ChannelId>) -> Self {
        self.optional(channel.map(|channel| channel.as_bytes().as_slice()))
    }

    #[inline(always)]
    fn queue(self, queue: &QueueId) -> Self {
        self.fixed(queue.recipient.as_bytes())
            .device(&queue.device)
            .channel(queue.channel.as_ref())
    }

    #[inline(always)]
    fn number(self, number: u64) -> Self {
        self.fixed(&number.to_be_bytes())
    }

    fn key<R>(self) -> Key<R> {
        Key {
            bytes: self.done(),
            row: PhantomData,
        }
    }

    fn done(self) -> Bytes {
        if self.long.is_empty() {
            Bytes::from_owner(self.short)
        } else {
            self.long.into()
        }
    }
}

impl AsRef<[u8]> for Short {
    fn as_ref(&self) -> &[u8] {
        let len = usize::from(self.len);
        self.bytes.get(..len).unwrap_or_default()
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
pub fn meta(name: &str) -> Key<Bytes> {
    KeyBuilder::new(Family::Meta).fixed(name.as_bytes()).key()
}

#[cfg(test)]
mod tests;
