//! A client whose user means ill, for tests and simulations: what a member can put into a slot that no
//! honest one does.

use bytes::Bytes;
use qpq_crypto::hybrid::{HybridPublicKey, seal_authenticated};

use super::event::ConversationId;
use super::keep::keys::Name;
use super::keep::record;
use super::link::rpc::{Answer, Then};
use super::talk::channel::Phase;
use super::talk::commits::Kind;
use super::talk::history::app_message;
use super::{Client, encoded};
use crate::ids::{IdentityKey, MessageId};
use crate::method::rpc;
use crate::proto;
use crate::proto::app_message::Body;
use crate::proto::delivery_payload::Payload;
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
    /// A commit that is void for all but its sender, with a GroupInfo that leads into his tree.
    OwnTree,
}

/// What two messages share that may not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Twice {
    /// The message id.
    Name,
    /// The generation of the sender's keys.
    Key,
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
            Misdeed::OwnTree => *out.commit.last_mut()? ^= 1,
        }
        let is_merged = matches!(
            misdeed,
            Misdeed::Spoiled { .. } | Misdeed::SpoiledForAll | Misdeed::OwnTree
        );
        let record = self.draft_record(id, &[], &[], out, Kind::Change);
        if is_merged {
            self.writer.put(&Name::Draft(id), &record);
            self.state.drafts.insert(id, record);
            self.submit(id);
            return Some(());
        }
        self.state.forget_mls();
        let mut request: proto::SubmitCommitRequest = record::read(&record.request)?;
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

    /// Says two things under one name, or with one key, as a copy of this device would; whether it could
    /// be done.
    pub fn say_twice(
        &mut self,
        now: Time,
        id: ConversationId,
        texts: [&str; 2],
        way: Twice,
    ) -> bool {
        self.clock.advance(now);
        let done = self.enqueue_twice(id, texts, way).is_some();
        self.step_done();
        done
    }

    fn enqueue_twice(&mut self, id: ConversationId, texts: [&str; 2], way: Twice) -> Option<()> {
        if !self.link.is_ready() || self.phase(id) != Some(Phase::Active) {
            return None;
        }
        let mut message_id = MessageId(self.rng.child().uuid_v7(self.clock.unix()));
        let recipients = self.identities(id);
        let slot = self.state.conversations.get(&id)?.slot.next();
        for text in texts {
            let chat = proto::Chat {
                text: text.to_owned(),
            };
            let app = app_message(message_id, self.clock.unix(), Body::Chat(chat));
            let (app, seed) = (encoded(&app), self.rng.seed());
            self.state.keep_mls(&mut self.writer);
            let (device, group) = self.state.group(id)?;
            let message = group.encrypt(device, &seed, &app).ok()?;
            if way == Twice::Key {
                self.state.forget_mls();
                message_id = MessageId(self.rng.child().uuid_v7(self.clock.unix()));
            }
            let payload = proto::DeliveryPayload {
                payload: Some(Payload::MlsMessage(message.into())),
            };
            let bytes = |key: &IdentityKey| Bytes::copy_from_slice(key.as_bytes());
            let request = proto::BatchEnqueueRequest {
                recipient_keys: recipients.iter().map(bytes).collect(),
                payload: encoded(&payload),
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
                message_id: Bytes::copy_from_slice(&self.rng.child().uuid_v7(self.clock.unix())),
                channel_slot: Some(slot),
                ..Default::default()
            };
            let number = self.rng.below(u64::MAX);
            self.call::<rpc::BatchEnqueue>(&request, Then::Said(number));
        }
        Some(())
    }

    /// Seals this to the hybrid key of somebody, as this account, with this context: as a fork report, if
    /// the context is that of one.
    pub fn seal_as_report(&mut self, key: &[u8], context: &[u8], content: &[u8]) -> Option<Bytes> {
        let key = HybridPublicKey::from_bytes(key).ok()?;
        let (seed, me) = (self.rng.seed(), self.state.me.as_ref()?);
        let sealed = seal_authenticated(&me.identity, &key, context, content, &seed).ok()?;
        Some(sealed.into())
    }

    /// Hands in a payload for one member; whether it could be done.
    pub fn hand_in(
        &mut self,
        now: Time,
        id: ConversationId,
        to: IdentityKey,
        payload: Payload,
    ) -> bool {
        self.clock.advance(now);
        let slot = self
            .state
            .conversations
            .get(&id)
            .map(|channel| channel.slot.next());
        if let Some(slot) = slot.filter(|_| self.link.is_ready()) {
            let payload = proto::DeliveryPayload {
                payload: Some(payload),
            };
            let request = proto::BatchEnqueueRequest {
                recipient_keys: vec![Bytes::copy_from_slice(to.as_bytes())],
                payload: encoded(&payload),
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
                message_id: Bytes::copy_from_slice(&self.rng.child().uuid_v7(self.clock.unix())),
                channel_slot: Some(slot),
                ..Default::default()
            };
            let number = self.rng.below(u64::MAX);
            self.call::<rpc::BatchEnqueue>(&request, Then::Said(number));
        }
        self.step_done();
        slot.is_some()
    }

    /// Bytes that are held of fork reports.
    #[must_use]
    pub fn report_bytes(&self) -> usize {
        let held = self.state.forks.values().map(prost::Message::encoded_len);
        held.sum()
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

    /// What it says is not for its own history.
    pub(super) fn on_said(&mut self, _number: u64, _answer: Answer<rpc::BatchEnqueue>) {}
}
