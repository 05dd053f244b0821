//! The names of things: connections, streams, tickets, intents, channels, messages. None is ever reused.

pub use qpq_crypto::identity::{DeviceId, DeviceKey, IdentityKey, WrongLength};

/// A connection, numbered by the embedder; never reused for the life of a core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// Which way bytes may flow on a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Dir {
    /// Both ways: an RPC.
    Bi,
    /// From the opener only: pushes.
    Uni,
}

/// A stream the core opened, numbered by the core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OwnStream(pub u64);

/// A stream of one connection. Who opened it is in the type, so that a stream that can only be
/// read is never written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StreamId {
    /// Opened by the peer, numbered by the embedder within the connection and direction.
    Peer(Dir, u64),
    /// Opened by this core, numbered by it.
    Own(OwnStream),
}

/// Names one thing the core asked for: a connection, a storage command, a job. An answer with an
/// unknown ticket is ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// Names an intent from where it is stated to its one end. Never reused within the life of a core, and unknown to
/// the next one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IntentId(pub u64);

/// A 16-byte id, printed as hexadecimal.
macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = WrongLength;

            fn try_from(bytes: &[u8]) -> Result<Self, WrongLength> {
                let id = bytes.try_into().map_err(|_| WrongLength {
                    expected: 16,
                    length: bytes.len(),
                })?;
                Ok(Self(id))
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

id16! {
    /// A channel: a DM's is derived from both identity keys, a group's is a UUID v7 (protocol.md §5.11).
    ChannelId
}

impl ChannelId {
    /// Whether it is that of a DM: a UUID v8 (protocol.md §5.11). This needs no knowledge of the other member.
    #[must_use]
    pub const fn is_dm(&self) -> bool {
        let [_, _, _, _, _, _, version, ..] = self.0;
        version >> 4 == 8
    }
}

id16! {
    /// A message id, UUID v7: makes a request idempotent (protocol.md §5.3).
    MessageId
}
