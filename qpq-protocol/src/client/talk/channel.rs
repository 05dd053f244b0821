//! What is kept of a conversation: phase, slot, wanted changes, counts.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::slot::Slot;
use crate::client::error::IntentError;
use crate::client::event::{ConversationId, RejoinReason};
use crate::client::keep::keys::Name;
use crate::client::keep::record::{ChangeRecord, ConversationRecord};
use crate::client::keep::write::Writer;
use crate::ids::{ChannelId, IdentityKey};

/// Longest name of a group, in bytes.
pub(in crate::client) const MAX_GROUP_NAME: usize = 256;

/// How a conversation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) enum Phase {
    /// The channel is to be made at the server.
    Creating,
    /// A DM whose first commit is to take slot 0.
    Founding,
    /// Another one founds it; the Welcome is to come.
    Joining,
    /// A member.
    Active,
    /// Left, as the user sees it; the members still have it in their tree.
    Leaving,
    /// Left, or removed.
    Over,
}

/// How earlier versions stored a conversation that they could not follow any more. This one comes back into it.
const BROKEN: u32 = 6;

impl Phase {
    const ALL: [Self; 6] = [
        Self::Creating,
        Self::Founding,
        Self::Joining,
        Self::Active,
        Self::Leaving,
        Self::Over,
    ];

    fn number(self) -> u32 {
        (0..)
            .zip(Self::ALL)
            .find(|(_, phase)| *phase == self)
            .map_or(0, |(number, _)| number)
    }

    fn from_number(number: u32) -> Option<Self> {
        (0..)
            .zip(Self::ALL)
            .find(|(own, _)| *own == number)
            .map(|(_, phase)| phase)
    }

    /// Why nothing can be done in it, if that will stay so.
    pub(in crate::client) fn error(self) -> Option<IntentError> {
        match self {
            Self::Leaving | Self::Over => Some(IntentError::NotAMember),
            Self::Creating | Self::Founding | Self::Joining | Self::Active => None,
        }
    }
}

/// A change of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) struct Change {
    pub(in crate::client) identity_key: IdentityKey,
    pub(in crate::client) remove: bool,
    /// Of the server's list alone: the tree has it already (protocol.md §5.10).
    pub(in crate::client) of_list: bool,
}

impl Change {
    pub(in crate::client) fn record(self) -> ChangeRecord {
        ChangeRecord {
            identity_key: self.identity_key.as_bytes().to_vec(),
            remove: self.remove,
            of_list: self.of_list,
        }
    }

    /// Somebody is to come in.
    pub(in crate::client) const fn add(identity_key: IdentityKey) -> Self {
        Self {
            identity_key,
            remove: false,
            of_list: false,
        }
    }

    /// Somebody is to go.
    pub(in crate::client) const fn remove(identity_key: IdentityKey) -> Self {
        Self {
            remove: true,
            ..Self::add(identity_key)
        }
    }

    /// The same, of the list alone.
    pub(in crate::client) const fn of_list(self) -> Self {
        Self {
            of_list: true,
            ..self
        }
    }

    pub(in crate::client) fn load(record: &ChangeRecord) -> Option<Self> {
        Some(Self {
            identity_key: IdentityKey::try_from(record.identity_key.as_slice()).ok()?,
            remove: record.remove,
            of_list: record.of_list,
        })
    }
}

/// A conversation, but for its MLS state.
pub(in crate::client) struct Channel {
    pub(in crate::client) phase: Phase,
    /// The other one of a DM.
    pub(in crate::client) peer: Option<IdentityKey>,
    pub(in crate::client) name: String,
    pub(in crate::client) slot: Slot,
    pub(in crate::client) generation: u32,
    /// Messages in the history.
    pub(in crate::client) messages: u64,
    /// Messages read.
    pub(in crate::client) read: u64,
    /// Changes of members that are still to be committed.
    pub(in crate::client) wanted: Vec<Change>,
    /// Version of the last member list that was compared with the tree.
    pub(in crate::client) members_version: u64,
    /// Why the thread was lost, until this device is back in the group.
    pub(in crate::client) rejoin: Option<RejoinReason>,
    /// Accounts that were seen to go and not to come back, the last ones.
    pub(in crate::client) gone: BTreeSet<IdentityKey>,
    /// Accounts that were seen both in the tree and on the server's list.
    pub(in crate::client) listed: BTreeSet<IdentityKey>,
    /// When this device last let itself into the group; 0: never.
    pub(in crate::client) returned_ms: u64,
    /// Whether the server has it as it is here is to be asked.
    pub(in crate::client) doubted: bool,
    /// A member is to find a fresh GroupInfo, by a commit for that.
    pub(in crate::client) owes_rotation: bool,
    /// This account has put itself back on the list since it came in.
    pub(in crate::client) relisted: bool,
    /// Members of the group that was held before these data were set back: one of them has to agree before anything
    /// is sent. Nobody: what waits is sent.
    pub(in crate::client) witnesses: BTreeSet<IdentityKey>,
    /// When the user left it, and was not asked in again since; 0: not.
    pub(in crate::client) left_ms: u64,
}

/// A date of leaving after which nobody is waited for.
pub(in crate::client) const LONG_AGO: u64 = 1;

/// Accounts of each kind that are remembered of a conversation.
const MAX_REMEMBERED: usize = 1000;

/// Remembers one more account, if there is room.
pub(in crate::client) fn remember(accounts: &mut BTreeSet<IdentityKey>, key: IdentityKey) {
    if accounts.len() < MAX_REMEMBERED {
        accounts.insert(key);
    }
}

impl Channel {
    pub(in crate::client) fn new(phase: Phase, peer: Option<IdentityKey>, name: String) -> Self {
        Self {
            phase,
            peer,
            name,
            slot: Slot::FIRST,
            generation: 0,
            messages: 0,
            read: 0,
            wanted: Vec::new(),
            members_version: 0,
            rejoin: None,
            gone: BTreeSet::new(),
            listed: BTreeSet::new(),
            returned_ms: 0,
            doubted: false,
            owes_rotation: false,
            relisted: false,
            witnesses: BTreeSet::new(),
            left_ms: 0,
        }
    }

    pub(in crate::client) fn save(&self, id: ConversationId, writer: &mut Writer) {
        let record = ConversationRecord {
            phase: self.phase.number(),
            peer: self
                .peer
                .map_or_else(Vec::new, |peer| peer.as_bytes().to_vec()),
            name: self.name.clone(),
            slot: self.slot.next(),
            slot_seen: self.slot.is_seen(),
            generation: self.generation,
            messages: self.messages,
            read: self.read,
            wanted: self.wanted.iter().map(|change| change.record()).collect(),
            members_version: self.members_version,
            rejoin: self.rejoin.map_or(0, RejoinReason::number),
            gone: keys(&self.gone),
            listed: keys(&self.listed),
            returned_ms: self.returned_ms,
            doubted: self.doubted,
            owes_rotation: self.owes_rotation,
            relisted: self.relisted,
            witnesses: keys(&self.witnesses),
            left_ms: self.left_ms,
        };
        writer.put(&Name::Conversation(id), &record);
    }

    pub(in crate::client) fn load(record: ConversationRecord) -> Option<Self> {
        let (phase, rejoin) = match (record.phase, record.rejoin) {
            (BROKEN, _) => (Phase::Active, Some(RejoinReason::State)),
            (phase, 0) => (Phase::from_number(phase)?, None),
            (phase, why) => {
                let why = RejoinReason::from_number(why)?;
                (Phase::from_number(phase)?, Some(why))
            }
        };
        Some(Self {
            phase,
            peer: match record.peer.as_slice() {
                [] => None,
                peer => Some(IdentityKey::try_from(peer).ok()?),
            },
            name: record.name,
            slot: match record.slot_seen {
                true => Slot::seen(record.slot),
                false => Slot::at_least(record.slot),
            },
            generation: record.generation,
            messages: record.messages,
            read: record.read,
            wanted: record
                .wanted
                .iter()
                .map(Change::load)
                .collect::<Option<_>>()?,
            members_version: record.members_version,
            rejoin,
            gone: accounts(&record.gone)?,
            listed: accounts(&record.listed)?,
            returned_ms: record.returned_ms,
            doubted: record.doubted,
            owes_rotation: record.owes_rotation,
            relisted: record.relisted,
            witnesses: accounts(&record.witnesses)?,
            left_ms: record.left_ms,
        })
    }
}

fn keys(accounts: &BTreeSet<IdentityKey>) -> Vec<Vec<u8>> {
    let keys = accounts.iter().map(|key| key.as_bytes().to_vec());
    keys.collect()
}

fn accounts(keys: &[Vec<u8>]) -> Option<BTreeSet<IdentityKey>> {
    let keys = keys.iter().map(Vec::as_slice);
    keys.map(|key| IdentityKey::try_from(key).ok()).collect()
}

/// What a conversation holds for as long as the connection stands.
#[derive(Default)]
pub(in crate::client) struct Work {
    /// Key packages of those who are to be added.
    pub(in crate::client) packages: BTreeMap<IdentityKey, Vec<Bytes>>,
}

/// The channel of the DM of two accounts: the first 16 bytes of SHA-256("qpq dm v1" || lesser key ||
/// greater key), with the version and variant bits of a UUID v8 (protocol.md §5.11).
pub(in crate::client) fn dm_channel(a: IdentityKey, b: IdentityKey) -> ChannelId {
    let (lesser, greater) = if a < b { (a, b) } else { (b, a) };
    let hash: [u8; 32] = Sha256::new()
        .chain_update(b"qpq dm v1")
        .chain_update(lesser.as_bytes())
        .chain_update(greater.as_bytes())
        .finalize()
        .into();
    let [mut id, _] = [*hash.first_chunk::<16>().unwrap_or(&[0; 16]), [0; 16]];
    id[6] = 0x80 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    ChannelId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dm_has_one_channel_whoever_asks() {
        let (a, b) = (IdentityKey([1; 32]), IdentityKey([2; 32]));
        let id = dm_channel(a, b);
        assert_eq!(id, dm_channel(b, a));
        assert_ne!(id, dm_channel(a, a));
        assert!(id.is_dm());
        assert_eq!(id.0[8] >> 6, 0b10);
    }

    #[test]
    fn every_reason_to_rejoin_comes_back_from_its_number() {
        for why in RejoinReason::ALL {
            assert_eq!(RejoinReason::from_number(why.number()), Some(why));
        }
        assert_eq!(RejoinReason::from_number(0), None);
    }

    /// They are stored: a number means the same for ever.
    #[test]
    fn the_numbers_of_the_phases_stay() {
        let numbers = [
            (0, Phase::Creating),
            (1, Phase::Founding),
            (2, Phase::Joining),
            (3, Phase::Active),
            (4, Phase::Leaving),
            (5, Phase::Over),
        ];
        for (number, phase) in numbers {
            assert_eq!(phase.number(), number);
            assert_eq!(Phase::from_number(number), Some(phase));
        }
        assert_eq!(numbers.len(), Phase::ALL.len());
        assert_eq!(Phase::from_number(BROKEN), None);
    }

    #[test]
    fn what_an_earlier_version_could_not_follow_is_come_back_into() {
        let record = ConversationRecord {
            phase: BROKEN,
            ..ConversationRecord::default()
        };
        let channel = Channel::load(record).expect("a conversation");
        assert_eq!(channel.phase, Phase::Active);
        assert_eq!(channel.rejoin, Some(RejoinReason::State));
    }
}
