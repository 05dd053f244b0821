//! What is durable, in memory: loaded whole at opening, changed at once, written behind.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use qpq_crypto::identity::{Credential, DeviceSecret, IdentitySecret};
use qpq_crypto::mls;
use zeroize::{Zeroize as _, Zeroizing};

use super::channel::Channel;
use super::clocks::Clocks;
use super::event::{Account, ConversationId, Person};
use super::inbox::Mark;
use super::keys::Name;
use super::known::Known;
use super::openings::Openings;
use super::proofs::Proofs;
use super::record::{
    AccountRecord, DraftRecord, ForksRecord, MergedRecord, OutgoingRecord, PackageRecord,
    SentRecord, ServerRecord,
};
use super::seen::Seen;
use super::write::Writer;
use crate::ids::{ChannelId, DeviceId, IdentityKey};

/// The account and this device.
pub(super) struct Me {
    pub(super) name: String,
    pub(super) domain: String,
    pub(super) identity: IdentitySecret,
    pub(super) device_id: DeviceId,
    pub(super) device: DeviceSecret,
    pub(super) device_created_at_ms: u64,
    pub(super) token: Option<Zeroizing<[u8; 32]>>,
    /// Shown at the next login, which so counts apart from those of guessers; empty: none.
    pub(super) ticket: Zeroizing<Vec<u8>>,
    /// Whether the server has confirmed the device.
    pub(super) registered: bool,
    /// Whether it has the account's hybrid key.
    pub(super) hybrid_published: bool,
}

impl Me {
    pub(super) fn identity_key(&self) -> IdentityKey {
        self.identity.public()
    }

    pub(super) fn credential(&self) -> Credential {
        Credential::issue(
            &self.identity,
            self.device_id,
            self.device.public(),
            self.device_created_at_ms,
        )
    }

    pub(super) fn account(&self) -> Account {
        Account {
            name: self.name.clone(),
            domain: self.domain.clone(),
            identity_key: self.identity_key(),
            device_id: self.device_id,
            logged_in: self.token.is_some(),
        }
    }

    pub(super) fn save(&self, writer: &mut Writer) {
        let mut record = AccountRecord {
            name: self.name.clone(),
            domain: self.domain.clone(),
            identity_seed: self.identity.seed().to_vec(),
            device_id: self.device_id.as_bytes().to_vec(),
            device_seed: self.device.seed().to_vec(),
            device_created_at_ms: self.device_created_at_ms,
            session_token: self
                .token
                .as_ref()
                .map_or_else(Vec::new, |token| token.to_vec()),
            registered: self.registered,
            ticket: self.ticket.to_vec(),
            hybrid_published: self.hybrid_published,
        };
        writer.put(&Name::Account, &record);
        record.identity_seed.zeroize();
        record.device_seed.zeroize();
        record.session_token.zeroize();
        record.ticket.zeroize();
    }

    pub(super) fn load(mut record: AccountRecord) -> Option<Self> {
        let identity_seed = Zeroizing::new(core::mem::take(&mut record.identity_seed));
        let device_seed = Zeroizing::new(core::mem::take(&mut record.device_seed));
        let token = Zeroizing::new(core::mem::take(&mut record.session_token));
        Some(Self {
            name: record.name,
            domain: record.domain,
            identity: IdentitySecret::from_seed(identity_seed.as_slice().try_into().ok()?),
            device_id: DeviceId::from_wire(&record.device_id).ok()?,
            device: DeviceSecret::from_seed(device_seed.as_slice().try_into().ok()?),
            device_created_at_ms: record.device_created_at_ms,
            token: match token.len() {
                0 => None,
                _ => Some(Zeroizing::new(token.as_slice().try_into().ok()?)),
            },
            ticket: Zeroizing::new(record.ticket),
            registered: record.registered,
            hybrid_published: record.hybrid_published,
        })
    }
}

/// What is durable. Rows and memory change together, in one step.
#[derive(Default)]
pub(super) struct State {
    pub(super) me: Option<Me>,
    pub(super) server: Option<ServerRecord>,
    pub(super) openings: Openings,
    pub(super) clocks: Clocks,
    /// The device's MLS state; there with the account.
    pub(super) device: Option<mls::Device>,
    /// Groups that were used since the state was loaded.
    pub(super) groups: BTreeMap<ConversationId, mls::Group>,
    pub(super) contacts: BTreeMap<IdentityKey, String>,
    pub(super) names: BTreeMap<String, IdentityKey>,
    /// Loaded contacts whose name is still to be asked for.
    pub(super) nameless: Vec<IdentityKey>,
    pub(super) conversations: BTreeMap<ConversationId, Channel>,
    pub(super) drafts: BTreeMap<ConversationId, DraftRecord>,
    pub(super) proofs: BTreeMap<ConversationId, Proofs>,
    /// Fork reports: to send, sent and taken in.
    pub(super) forks: BTreeMap<ConversationId, ForksRecord>,
    /// When the newest hybrid key that was seen of an account was made.
    pub(super) hybrid_dates: BTreeMap<IdentityKey, u64>,
    /// The last commits of each conversation, by place.
    pub(super) merged: BTreeMap<(ConversationId, u64), MergedRecord>,
    /// Encrypted messages that were processed.
    pub(super) seen: BTreeMap<ConversationId, Seen>,
    pub(super) outgoing: BTreeMap<(ConversationId, u64), OutgoingRecord>,
    pub(super) parked: BTreeMap<(ConversationId, u64), Bytes>,
    /// The last seq taken in, by queue.
    pub(super) cursors: BTreeMap<Option<ChannelId>, u64>,
    /// What was taken in last of a queue, as it is known again.
    pub(super) marks: BTreeMap<Option<ChannelId>, Mark>,
    /// Queues that are read from where they begin, and the last seq that was taken in before of each.
    pub(super) forgotten: BTreeMap<Option<ChannelId>, u64>,
    pub(super) packages: BTreeMap<Vec<u8>, PackageRecord>,
    /// Messages that were taken in before.
    pub(super) known: BTreeMap<ConversationId, Known>,
    /// Own messages that the server has, by their index in the history; the last ones.
    pub(super) sent: BTreeMap<(ConversationId, u64), SentRecord>,
    /// Messages that a conversation had when somebody last came in.
    pub(super) additions: BTreeMap<ConversationId, u64>,
}

impl State {
    pub(super) fn identity_key(&self) -> Option<IdentityKey> {
        self.me.as_ref().map(Me::identity_key)
    }

    /// The person with this key, by the name that is known.
    pub(super) fn person(&self, identity_key: IdentityKey) -> Person {
        let own = self
            .me
            .as_ref()
            .filter(|me| me.identity_key() == identity_key);
        let name = own
            .map(|me| &me.name)
            .or_else(|| self.contacts.get(&identity_key));
        Person {
            identity_key,
            name: name.cloned(),
        }
    }

    /// The MLS group of a conversation with the device it needs, loaded if it was not.
    pub(super) fn group(
        &mut self,
        conversation: ConversationId,
    ) -> Option<(&mut mls::Device, &mut mls::Group)> {
        let generation = self.conversations.get(&conversation)?.generation;
        let device = self.device.as_mut()?;
        let group = match self.groups.entry(conversation) {
            Entry::Occupied(loaded) => loaded.into_mut(),
            Entry::Vacant(vacant) => {
                let id = group_id(conversation, generation);
                vacant.insert(mls::Group::load(device, &id).ok()??)
            }
        };
        Some((device, group))
    }

    /// Moves what the device's MLS state has changed into this step.
    pub(super) fn keep_mls(&mut self, writer: &mut Writer) {
        let Some(device) = &mut self.device else {
            return;
        };
        let batch = device.take_batch();
        for (key, value) in batch.puts {
            writer.put_bytes(Name::Mls(key).key(), value);
        }
        for key in batch.deletes {
            writer.delete(&Name::Mls(key));
        }
    }

    /// Forgets what the device's MLS state has changed in this step.
    pub(super) fn forget_mls(&mut self) {
        if let Some(device) = &mut self.device {
            device.rollback();
        }
        self.groups.clear();
    }
}

/// The generation that an MLS group of the channel is; `None` for a group that is none of its.
pub(super) fn generation_of(channel: ChannelId, group_id: &[u8]) -> Option<u32> {
    let generation = group_id.strip_prefix(&channel.0)?;
    Some(u32::from_be_bytes(generation.try_into().ok()?))
}

/// The id of the MLS group of a channel: `channel_id || generation` (protocol.md §5.8).
pub(super) fn group_id(channel: ChannelId, generation: u32) -> Vec<u8> {
    [&channel.0[..], &generation.to_be_bytes()].concat()
}
