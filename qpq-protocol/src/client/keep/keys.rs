//! Where each thing stands in the client's key space.
//!
//! | key | value |
//! | --- | --- |
//! | `meta/schema` | version of this layout |
//! | `meta/writer` | which opening of the data may write |
//! | `s/account` | `AccountRecord` |
//! | `s/server` | `ServerRecord` |
//! | `s/openings` | `OpeningsRecord` |
//! | `s/clocks` | `ClocksRecord` |
//! | `s/a/` channel (16) | `MovesRecord`: when somebody last came in, and went |
//! | `s/b/` identity key (32) | `HybridRecord`: the newest hybrid key seen of an account |
//! | `s/c/` channel (16) | `ConversationRecord` |
//! | `s/d/` channel (16) | `DraftRecord`: a commit that waits for the server's answer |
//! | `s/e/` channel (16) | `ProofsRecord` |
//! | `s/f/` channel (16) | `ForksRecord`: fork reports to send, sent and taken in |
//! | `s/g/` channel (16) place (8) | `MergedRecord`: one of the last commits |
//! | `s/h/` channel (16) place (8) | `SeenRecord`: an encrypted message that was processed |
//! | `s/k/` reference | `PackageRecord` |
//! | `s/m/` key | a row of the device's MLS state |
//! | `s/n/` channel (16) number (8) | `KnownRecord`: messages that were taken in before |
//! | `s/o/` channel (16) order (8) | `OutgoingRecord` |
//! | `s/p/` channel (16) seq (8) | a message of a future epoch |
//! | `s/q/` channel (0 or 16) | `QueueRecord` |
//! | `s/u/` identity key (32) | `ContactRecord` |
//! | `s/w/` channel (16) index (8) | `SentRecord`: an own message that the server has |
//! | `h/` channel (16) index (8) | `HistoryRecord` |
//!
//! Everything below `s/` is loaded at opening; `h/` is read in pages. Each key is followed by the
//! number of the value's piece, two bytes; values are sealed (`seal`). Example: the first
//! piece of message 5 of the channel `00..0f` is `h/` `00..0f` `0000000000000005` `0000`.

use crate::ids::{ChannelId, IdentityKey};

/// The version of this layout.
pub const SCHEMA: u64 = 1;

/// Key of the schema's version.
pub const META_SCHEMA: &[u8] = b"meta/schema";
/// Key of the writer's fence.
pub const META_WRITER: &[u8] = b"meta/writer";
/// Prefix of all that is loaded at opening.
pub const STATE: &[u8] = b"s/";
/// Key of the account.
pub const ACCOUNT: &[u8] = b"s/account";
/// Key of what is known of the server.
pub const SERVER: &[u8] = b"s/server";

/// Key of the openings of this data.
pub const OPENINGS: &[u8] = b"s/openings";
/// Key of what the clocks have shown.
pub const CLOCKS: &[u8] = b"s/clocks";

const MOVES: &[u8] = b"s/a/";
const HYBRID: &[u8] = b"s/b/";
const CONVERSATION: &[u8] = b"s/c/";
const DRAFT: &[u8] = b"s/d/";
const PROOFS: &[u8] = b"s/e/";
const FORKS: &[u8] = b"s/f/";
const MERGED: &[u8] = b"s/g/";
const SEEN: &[u8] = b"s/h/";
const PACKAGE: &[u8] = b"s/k/";
const MLS: &[u8] = b"s/m/";
const KNOWN: &[u8] = b"s/n/";
const OUTGOING: &[u8] = b"s/o/";
const PARKED: &[u8] = b"s/p/";
const QUEUE: &[u8] = b"s/q/";
const CONTACT: &[u8] = b"s/u/";
const SENT: &[u8] = b"s/w/";
const HISTORY: &[u8] = b"h/";

/// Bytes of the piece number at the end of each stored key.
pub const PIECE_LENGTH: usize = 2;

/// What a key below `s/` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// The account and this device.
    Account,
    /// What is known of the server.
    Server,
    /// The openings of this data.
    Openings,
    /// What the clocks have shown.
    Clocks,
    /// When somebody last came into a conversation, and went.
    Moves(ChannelId),
    /// The newest hybrid key seen of an account.
    Hybrid(IdentityKey),
    /// A conversation.
    Conversation(ChannelId),
    /// A commit that waits for the server's answer.
    Draft(ChannelId),
    /// What the server signed about its commits.
    Proofs(ChannelId),
    /// Fork reports of a conversation: to send, sent and taken in.
    Forks(ChannelId),
    /// A key package, by its reference.
    Package(Vec<u8>),
    /// A row of the device's MLS state, by its own key.
    Mls(Vec<u8>),
    /// Messages that were taken in before, by the number of the row.
    Known(ChannelId, u64),
    /// One of the last commits, by its place among them.
    Merged(ChannelId, u64),
    /// An encrypted message that was processed, by its place among the last ones.
    Seen(ChannelId, u64),
    /// A message to send, by its order.
    Outgoing(ChannelId, u64),
    /// A message of a future epoch, by its place in the queue.
    Parked(ChannelId, u64),
    /// How far a queue was read; the default one has no channel.
    Queue(Option<ChannelId>),
    /// A person.
    Contact(IdentityKey),
    /// An own message that the server has, by its index in the history.
    Sent(ChannelId, u64),
}

impl Name {
    /// The key of this name.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Account => ACCOUNT.to_vec(),
            Self::Server => SERVER.to_vec(),
            Self::Openings => OPENINGS.to_vec(),
            Self::Clocks => CLOCKS.to_vec(),
            Self::Moves(channel) => join(MOVES, &[channel.as_bytes()]),
            Self::Hybrid(key) => join(HYBRID, &[key.as_bytes()]),
            Self::Conversation(channel) => join(CONVERSATION, &[channel.as_bytes()]),
            Self::Draft(channel) => join(DRAFT, &[channel.as_bytes()]),
            Self::Proofs(channel) => join(PROOFS, &[channel.as_bytes()]),
            Self::Forks(channel) => join(FORKS, &[channel.as_bytes()]),
            Self::Package(reference) => join(PACKAGE, &[reference]),
            Self::Mls(key) => join(MLS, &[key]),
            Self::Known(channel, number) => {
                join(KNOWN, &[channel.as_bytes(), &number.to_be_bytes()])
            }
            Self::Merged(channel, place) => {
                join(MERGED, &[channel.as_bytes(), &place.to_be_bytes()])
            }
            Self::Seen(channel, place) => join(SEEN, &[channel.as_bytes(), &place.to_be_bytes()]),
            Self::Outgoing(channel, order) => {
                join(OUTGOING, &[channel.as_bytes(), &order.to_be_bytes()])
            }
            Self::Parked(channel, seq) => join(PARKED, &[channel.as_bytes(), &seq.to_be_bytes()]),
            Self::Queue(channel) => join(QUEUE, &[channel.as_ref().map_or(&[], |c| &c.0[..])]),
            Self::Contact(key) => join(CONTACT, &[key.as_bytes()]),
            Self::Sent(channel, index) => join(SENT, &[channel.as_bytes(), &index.to_be_bytes()]),
        }
    }

    /// What this key names, `None` if it is none of ours.
    #[must_use]
    pub fn parse(key: &[u8]) -> Option<Self> {
        match key {
            ACCOUNT => return Some(Self::Account),
            SERVER => return Some(Self::Server),
            OPENINGS => return Some(Self::Openings),
            CLOCKS => return Some(Self::Clocks),
            _ => {}
        }
        let (prefix, rest) = key.split_first_chunk::<4>()?;
        let channel = || ChannelId::try_from(rest).ok();
        Some(match &prefix[..] {
            MOVES => Self::Moves(channel()?),
            HYBRID => Self::Hybrid(IdentityKey::try_from(rest).ok()?),
            CONVERSATION => Self::Conversation(channel()?),
            DRAFT => Self::Draft(channel()?),
            PROOFS => Self::Proofs(channel()?),
            FORKS => Self::Forks(channel()?),
            PACKAGE => Self::Package(rest.to_vec()),
            MLS => Self::Mls(rest.to_vec()),
            KNOWN => numbered(rest).map(|(channel, number)| Self::Known(channel, number))?,
            MERGED => numbered(rest).map(|(channel, place)| Self::Merged(channel, place))?,
            SEEN => numbered(rest).map(|(channel, place)| Self::Seen(channel, place))?,
            OUTGOING => numbered(rest).map(|(channel, order)| Self::Outgoing(channel, order))?,
            PARKED => numbered(rest).map(|(channel, seq)| Self::Parked(channel, seq))?,
            QUEUE if rest.is_empty() => Self::Queue(None),
            QUEUE => Self::Queue(Some(channel()?)),
            CONTACT => Self::Contact(IdentityKey::try_from(rest).ok()?),
            SENT => numbered(rest).map(|(channel, index)| Self::Sent(channel, index))?,
            _ => return None,
        })
    }
}

/// The key of a message in the history.
#[must_use]
pub fn history(channel: ChannelId, index: u64) -> Vec<u8> {
    join(HISTORY, &[channel.as_bytes(), &index.to_be_bytes()])
}

/// Channel and index of a history key.
#[must_use]
pub fn parse_history(key: &[u8]) -> Option<(ChannelId, u64)> {
    numbered(key.strip_prefix(HISTORY)?)
}

/// The stored key of the piece `piece` of the value of `key`.
#[must_use]
pub fn piece(key: &[u8], piece: u16) -> Vec<u8> {
    join(key, &[&piece.to_be_bytes()])
}

/// Key and piece number of a stored key.
#[must_use]
pub fn split_piece(stored: &[u8]) -> Option<(&[u8], u16)> {
    let (key, piece) = stored.split_last_chunk::<PIECE_LENGTH>()?;
    Some((key, u16::from_be_bytes(*piece)))
}

fn numbered(rest: &[u8]) -> Option<(ChannelId, u64)> {
    let (channel, number) = rest.split_first_chunk::<16>()?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    Some((ChannelId(*channel), number))
}

fn join(prefix: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_name_comes_back_from_its_key() {
        let channel = ChannelId([7; 16]);
        for name in [
            Name::Account,
            Name::Server,
            Name::Openings,
            Name::Clocks,
            Name::Moves(channel),
            Name::Sent(channel, 7),
            Name::Known(channel, 1),
            Name::Conversation(channel),
            Name::Draft(channel),
            Name::Proofs(channel),
            Name::Hybrid(IdentityKey([8; 32])),
            Name::Forks(channel),
            Name::Package(vec![1, 2]),
            Name::Mls(vec![0xff; 40]),
            Name::Merged(channel, 15),
            Name::Seen(channel, 1023),
            Name::Outgoing(channel, 300),
            Name::Parked(channel, u64::MAX),
            Name::Queue(None),
            Name::Queue(Some(channel)),
            Name::Contact(IdentityKey([9; 32])),
        ] {
            assert!(name.key().starts_with(STATE));
            assert_eq!(Name::parse(&name.key()), Some(name));
        }
        assert_eq!(Name::parse(b"s/x/1"), None);
    }

    #[test]
    fn the_example_of_the_page_holds() {
        let channel = ChannelId(core::array::from_fn(|i| u8::try_from(i).unwrap_or(0)));
        let mut expected = b"h/".to_vec();
        expected.extend(0..16);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 0]);
        assert_eq!(piece(&history(channel, 5), 0), expected);
        assert_eq!(
            split_piece(&expected).map(|(key, _)| parse_history(key)),
            Some(Some((channel, 5)))
        );
    }

    proptest! {
        #[test]
        fn history_keeps_its_order(a: u64, b: u64) {
            let channel = ChannelId([1; 16]);
            prop_assert_eq!(a.cmp(&b), history(channel, a).cmp(&history(channel, b)));
        }

        #[test]
        fn no_key_is_a_panic(key: Vec<u8>) {
            if let Some(name) = Name::parse(&key) {
                prop_assert_eq!(name.key(), key);
            }
        }
    }
}
