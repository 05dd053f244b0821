//! A client whose user means ill, for tests and simulations: what a member can put into a slot that no
//! honest one does.

use bytes::Bytes;

use super::Client;
use super::channel::Phase;
use super::commits::Kind;
use super::event::ConversationId;
use super::keys::Name;
use super::rpc::{Answer, Then};
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::time::Time;

/// What goes into the slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Misdeed {
    /// These bytes as the commit.
    Bytes(Vec<u8>),
    /// A commit that names this epoch.
    Epoch(u64),
    /// A commit that is void, with members to be taken off the server's list.
    ThrowOff(Vec<IdentityKey>),
    /// A commit that is void, with strangers to be put on the list.
    ListStrangers(Vec<IdentityKey>),
    /// A commit that all can merge but one; with a GroupInfo that leads nowhere, if so wished.
    Spoiled {
        /// Who can't.
        victim: IdentityKey,
        /// Whether the GroupInfo is rubbish.
        rubbish: bool,
    },
    /// A commit that nobody but its sender can merge, with a GroupInfo that leads nowhere.
    SpoiledForAll,
}

/// Where the epoch stands in a private message of a group of ours: behind version, format and an id of
/// 20 bytes with its length.
const EPOCH: usize = 4 + 1 + 20;

impl Client {
    /// Puts this into the next slot; whether it could be made.
    pub fn misbehave(&mut self, now: Time, id: ConversationId, misdeed: &Misdeed) -> bool {
        self.clock.advance(now);
        let done = self.submit_misdeed(id, misdeed).is_some();
        self.step_done();
        done
    }

    fn submit_misdeed(&mut self, id: ConversationId, misdeed: &Misdeed) -> Option<()> {
        let is_ready = self.link.is_ready() && !self.state.drafts.contains_key(&id);
        if !is_ready || self.phase(id) != Some(Phase::Active) {
            return None;
        }
        let seed = self.rng.seed();
        self.state.keep_mls(&mut self.writer);
        let (device, group) = self.state.group(id)?;
        let leaf_of = |key: &IdentityKey| {
            let mut members = group.members().into_iter();
            let member = members.find(|member| member.identity_key == *key);
            member.map(|member| member.leaf)
        };
        let out = match misdeed {
            Misdeed::Spoiled { victim, .. } => {
                let leaf = leaf_of(victim)?;
                group.update_spoiled_for(device, &seed, leaf)
            }
            Misdeed::SpoiledForAll => group.update_spoiled_for_all(device, &seed),
            _ => group.update(device, &seed),
        };
        let mut out = out.ok()?;
        match misdeed {
            Misdeed::Bytes(bytes) => out.commit.clone_from(bytes),
            Misdeed::Epoch(epoch) => {
                let place = out.commit.get_mut(EPOCH..EPOCH + 8)?;
                place.copy_from_slice(&epoch.to_be_bytes());
            }
            Misdeed::ThrowOff(_) | Misdeed::ListStrangers(_) => *out.commit.last_mut()? ^= 1,
            Misdeed::Spoiled { rubbish, .. } => {
                if *rubbish {
                    out.group_info = b"rubbish".to_vec();
                }
            }
            Misdeed::SpoiledForAll => out.group_info = b"rubbish".to_vec(),
        }
        let is_merged = matches!(misdeed, Misdeed::Spoiled { .. } | Misdeed::SpoiledForAll);
        let record = self.draft_record(id, &[], &[], out, Kind::Change);
        if is_merged {
            self.writer.put(&Name::Draft(id), &record);
            self.state.drafts.insert(id, record);
            self.submit(id);
            return Some(());
        }
        self.state.forget_mls();
        let mut request: proto::SubmitCommitRequest =
            prost::Message::decode(record.request.clone()).ok()?;
        let keys = |keys: &[IdentityKey]| -> Vec<Bytes> {
            let keys = keys.iter();
            keys.map(|key| Bytes::copy_from_slice(key.as_bytes()))
                .collect()
        };
        match misdeed {
            Misdeed::ThrowOff(who) => request.remove_members = keys(who),
            Misdeed::ListStrangers(who) => request.add_members = keys(who),
            _ => {}
        }
        request.group_info = Bytes::new();
        self.call::<rpc::SubmitCommit>(&request, Then::Misdeed(id, record.slot));
        Some(())
    }

    pub(super) fn on_misdeed(
        &mut self,
        id: ConversationId,
        slot: u64,
        answer: Answer<rpc::SubmitCommit>,
    ) {
        match answer {
            Ok(_) => self.slot_taken(id, slot),
            Err(fault) => _ = self.know_slot(id, fault.slot),
        }
    }
}
