//! What a member can put into a slot: rubbish, what was there before, other epochs, lists that throw others out.

use bytes::Bytes;
use prost::Message as _;

use super::rubbish;
use crate::ids::{ChannelId, IdentityKey};
use crate::method::rpc;
use crate::proto;
use crate::sim::host::Host as _;
use crate::sim::network::Network;
use crate::sim::world::World;
use crate::sim::{below, pick};
use crate::storage::keys;
use crate::storage::records::{Channel, Entry, entry};

/// The most that is put into slots at once.
const BURST: u64 = 12;

impl<N: Network> World<N> {
    /// A member submits commits that are none, one or many; `lists` says who is on the list besides.
    pub(super) fn put_rubbish(&mut self, lists: bool) {
        let Some(villain) = self.some_villain() else {
            return;
        };
        let Some(own) = self.apps.get(villain).and_then(|app| app.account) else {
            return;
        };
        let channels = self.channels_of(&own);
        if channels.is_empty() {
            return;
        }
        let channel = pick(&mut self.ill, &channels);
        let Some(mut slot) = self.slot_of(&channel) else {
            return;
        };
        let many = if self.ill.below(4) == 0 { BURST } else { 1 };
        for _ in 0..=self.ill.below(many) {
            let request = self.void_commit(&channel, slot, &own, lists);
            self.errand::<rpc::SubmitCommit>(villain, &request);
            slot += 1;
        }
    }

    /// A member submits a commit that all can follow but one.
    pub(super) fn betray(&mut self) {
        let Some(villain) = self.some_villain() else {
            return;
        };
        let Some(own) = self.apps.get(villain).and_then(|app| app.account) else {
            return;
        };
        let channels = self.channels_of(&own);
        if channels.is_empty() {
            return;
        }
        let channel = pick(&mut self.ill, &channels);
        let (now, mut rng) = (self.now, self.ill.child());
        let Some(host) = self.hosts.client(villain) else {
            return;
        };
        let spoil = |mask: &mut super::Mask, _| mask.client().spoil(channel, &mut rng);
        let (Some(commit), Some(slot)) = (host.act(now, spoil), self.slot_of(&channel)) else {
            return;
        };
        let request = proto::SubmitCommitRequest {
            channel_id: Bytes::copy_from_slice(channel.as_bytes()),
            slot,
            commit: commit.into(),
            message_id: Bytes::copy_from_slice(&self.ill.uuid_v7(self.date())),
            ..Default::default()
        };
        self.errand::<rpc::SubmitCommit>(villain, &request);
    }

    fn void_commit(
        &mut self,
        channel: &ChannelId,
        slot: u64,
        own: &IdentityKey,
        lists: bool,
    ) -> proto::SubmitCommitRequest {
        let commit = self.void_bytes(channel);
        let others = self.members_of(channel);
        let others = others.into_iter().filter(|key| key != own);
        let mut remove_members = Vec::new();
        if lists {
            for key in others {
                if self.ill.below(2) == 0 {
                    remove_members.push(Bytes::copy_from_slice(key.as_bytes()));
                }
            }
        }
        let mut add_members = Vec::new();
        if lists && self.ill.below(3) == 0 {
            let accounts = self.apps.iter().filter_map(|app| app.account);
            let accounts: Vec<IdentityKey> = accounts.collect();
            let key = pick(&mut self.ill, &accounts);
            add_members.push(Bytes::copy_from_slice(key.as_bytes()));
        }
        let group_info = match self.ill.below(3) {
            0 => rubbish(&mut self.ill, 600),
            _ => Vec::new(),
        };
        proto::SubmitCommitRequest {
            channel_id: Bytes::copy_from_slice(channel.as_bytes()),
            slot,
            commit: commit.into(),
            group_info: group_info.into(),
            message_id: Bytes::copy_from_slice(&self.ill.uuid_v7(self.date())),
            add_members,
            remove_members,
            ..Default::default()
        }
    }

    /// What stands for a commit.
    fn void_bytes(&mut self, channel: &ChannelId) -> Vec<u8> {
        match self.ill.below(6) {
            0 => rubbish(&mut self.ill, 200),
            1 => self.made_up(channel, 1),
            2 => self.made_up(channel, 2),
            3 => self.made_up(channel, 3),
            // What somebody has sent before: a commit of an epoch gone by, or a message, one's own to
            // somebody.
            4 => self.sent_before(channel).unwrap_or_default(),
            _ => {
                let mut bytes = self.sent_before(channel).unwrap_or_default();
                if !bytes.is_empty() {
                    let place = below(&mut self.ill, bytes.len());
                    bytes[place] ^= 1 << self.ill.below(8);
                }
                bytes
            }
        }
    }

    /// An MLSMessage of the channel's group that says it is of any epoch, of any content type, and holds rubbish.
    fn made_up(&mut self, channel: &ChannelId, content_type: u8) -> Vec<u8> {
        let near = self.ill.below(8);
        let epoch = pick(&mut self.ill, &[near, near, 1 << 40, u64::MAX - near]);
        let mut group = channel.as_bytes().to_vec();
        group.extend_from_slice(&0_u32.to_be_bytes());
        let wire_format = pick(&mut self.ill, &[1, 2, 2, 2]);
        let mut bytes = vec![0, 1, 0, wire_format];
        bytes.push(u8::try_from(group.len()).unwrap_or_default());
        bytes.extend_from_slice(&group);
        bytes.extend_from_slice(&epoch.to_be_bytes());
        bytes.push(content_type);
        // No authenticated data; sender data; ciphertext.
        bytes.push(0);
        for length in [28, 48] {
            bytes.push(length);
            bytes.extend((0..length).map(|_| u8::try_from(self.ill.below(256)).unwrap_or(0)));
        }
        bytes
    }

    /// The MLS bytes of something that waits in a queue of this channel.
    fn sent_before(&mut self, channel: &ChannelId) -> Option<Vec<u8>> {
        let rows = self.stored().rows();
        let waiting: Vec<Bytes> = rows
            .filter(|(key, _)| {
                let queue = keys::parse_entry(key).map(|(queue, _)| queue);
                queue.is_some_and(|queue| queue.channel == Some(*channel))
            })
            .filter_map(|(_, value)| {
                let stored = Entry::decode(value.clone()).ok()?;
                let Some(entry::Body::Inline(body)) = stored.body else {
                    return None;
                };
                if stored.commit.is_some() {
                    return Some(body);
                }
                let payload = proto::DeliveryPayload::decode(body).ok()?.payload?;
                match payload {
                    proto::delivery_payload::Payload::MlsMessage(message) => Some(message),
                    _ => None,
                }
            })
            .collect();
        let place = below(&mut self.ill, waiting.len());
        waiting.get(place).map(|bytes| bytes.to_vec())
    }

    /// The channels on whose lists an account is.
    pub(super) fn channels_of(&self, account: &IdentityKey) -> Vec<ChannelId> {
        let rows = self.stored().rows();
        let all = rows.filter_map(|(key, _)| keys::parse_membership(key));
        all.filter(|(of, _)| of == account)
            .map(|(_, channel)| channel)
            .collect()
    }

    pub(in crate::sim) fn members_of(&self, channel: &ChannelId) -> Vec<IdentityKey> {
        let rows = self.stored().rows();
        let all = rows.filter_map(|(key, _)| keys::parse_member(key));
        all.filter(|(of, _)| of == channel)
            .map(|(_, member)| member)
            .collect()
    }

    fn slot_of(&self, channel: &ChannelId) -> Option<u64> {
        let row = self.stored().get(&keys::channel(channel))?;
        Some(Channel::decode(row.clone()).ok()?.slot)
    }
}
