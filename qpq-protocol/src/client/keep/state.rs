//! What is durable, in memory: loaded whole at opening, changed at once, written behind.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use qpq_crypto::mls;

use super::clocks::Clocks;
use super::keys::Name;
use super::openings::Openings;
use super::record::{
    DraftRecord, ForksRecord, MergedRecord, MovesRecord, OutgoingRecord, PackageRecord, SentRecord,
    ServerRecord,
};
use super::write::Writer;
use crate::client::event::{ConversationId, Person};
use crate::client::me::identity::Me;
use crate::client::people::proofs::Proofs;
use crate::client::talk::channel::Channel;
use crate::client::talk::generation::group_id;
use crate::client::talk::known::Known;
use crate::client::talk::queue::Mark;
use crate::client::talk::seen::Seen;
use crate::ids::{ChannelId, IdentityKey};

/// What is durable. Rows and memory change together, in one step.
#[derive(Default)]
pub(in crate::client) struct State {
    pub(in crate::client) me: Option<Me>,
    pub(in crate::client) server: Option<ServerRecord>,
    pub(in crate::client) openings: Openings,
    pub(in crate::client) clocks: Clocks,
    /// The device's MLS state; there with the account.
    pub(in crate::client) device: Option<mls::Device>,
    /// Groups that were used since the state was loaded.
    pub(in crate::client) groups: BTreeMap<ConversationId, mls::Group>,
    pub(in crate::client) contacts: BTreeMap<IdentityKey, String>,
    pub(in crate::client) names: BTreeMap<String, IdentityKey>,
    /// Loaded contacts whose name is still to be asked for.
    pub(in crate::client) nameless: Vec<IdentityKey>,
    pub(in crate::client) conversations: BTreeMap<ConversationId, Channel>,
    pub(in crate::client) drafts: BTreeMap<ConversationId, DraftRecord>,
    pub(in crate::client) proofs: BTreeMap<ConversationId, Proofs>,
    /// Fork reports: to send, sent and taken in.
    pub(in crate::client) forks: BTreeMap<ConversationId, ForksRecord>,
    /// When the newest hybrid key that was seen of an account was made.
    pub(in crate::client) hybrid_dates: BTreeMap<IdentityKey, u64>,
    /// The last commits of each conversation, by place.
    pub(in crate::client) merged: BTreeMap<(ConversationId, u64), MergedRecord>,
    /// Encrypted messages that were processed.
    pub(in crate::client) seen: BTreeMap<ConversationId, Seen>,
    pub(in crate::client) outgoing: BTreeMap<(ConversationId, u64), OutgoingRecord>,
    pub(in crate::client) parked: BTreeMap<(ConversationId, u64), Bytes>,
    /// The last seq taken in, by queue.
    pub(in crate::client) cursors: BTreeMap<Option<ChannelId>, u64>,
    /// What was taken in last of a queue, as it is known again.
    pub(in crate::client) marks: BTreeMap<Option<ChannelId>, Mark>,
    /// Queues that are read from where they begin, and the last seq that was taken in before of each.
    pub(in crate::client) forgotten: BTreeMap<Option<ChannelId>, u64>,
    pub(in crate::client) packages: BTreeMap<Vec<u8>, PackageRecord>,
    /// Messages that were taken in before.
    pub(in crate::client) known: BTreeMap<ConversationId, Known>,
    /// Own messages that the server has, by their index in the history; the last ones.
    pub(in crate::client) sent: BTreeMap<(ConversationId, u64), SentRecord>,
    /// When somebody last came into a conversation, and went.
    pub(in crate::client) moves: BTreeMap<ConversationId, MovesRecord>,
}

impl State {
    pub(in crate::client) fn identity_key(&self) -> Option<IdentityKey> {
        self.me.as_ref().map(Me::identity_key)
    }

    /// The person with this key, by the name that is known.
    pub(in crate::client) fn person(&self, identity_key: IdentityKey) -> Person {
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
    pub(in crate::client) fn group(
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
    pub(in crate::client) fn keep_mls(&mut self, writer: &mut Writer) {
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
    pub(in crate::client) fn forget_mls(&mut self) {
        if let Some(device) = &mut self.device {
            device.rollback();
        }
        self.groups.clear();
    }
}
