//! Conversations that this device is in and knows nothing of (protocol.md §5.1, §5.31): its data are of
//! before it joined them, or the invitation was lost.
//!
//! The queue of such a channel holds no Welcome, and yet the tree has a leaf of this very device: it comes
//! back as into a group whose thread it lost. Nothing of that is stored, and the app hears nothing, before
//! a GroupInfo that verifies has shown the leaf: a channel that a stranger listed this account in costs a
//! request or two.
//!
//! ```text
//!   drained, no Welcome --> GetGroupInfo --own leaf--> as every rejoin (`rejoin`)
//!                      (a DM: is the peer there?)
//!                               --no such leaf--> not ours
//!                               --does not verify--> ask the members, again -- a few times
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use qpq_crypto::mls::Group;

use crate::client::Client;
use crate::client::error::IntentError;
use crate::client::event::{ConversationId, RejoinReason};
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::channel::{Channel, Phase, dm_channel};
use crate::client::talk::slot::Slot;
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// GroupInfos that do not verify before no further one is asked for.
const MAX_MISFITS: u32 = 8;

/// Channels that were looked into and are again with each listing of the queues: what the server said may
/// have been wrong, or for a while.
const AGAIN: usize = 4;

/// Channels that are being looked into, and those that were, the longest ago first.
#[derive(Default)]
pub(in crate::client) struct Regains {
    open: BTreeMap<ConversationId, Search>,
    looked: VecDeque<ConversationId>,
    /// Those whose members were asked often enough. What they do is looked at once each time; they are asked
    /// again only after the next listing of the queues.
    given_up: BTreeSet<ConversationId>,
}

#[derive(Default)]
struct Search {
    next: Step,
    misfits: u32,
}

/// What is to be asked next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Step {
    /// Whether the other one of a DM is still in it.
    Peer,
    #[default]
    GroupInfo,
    /// The members, for a fresh one.
    Rotation,
}

impl Client {
    /// Nothing is left in the queue of a channel that has a group, and this device is in no conversation
    /// there. Looks once whether it should be.
    pub(in crate::client) fn look_for_group(&mut self, id: ConversationId) {
        if !self.may_look(id) {
            return;
        }
        self.regains.looked.push_back(id);
        let search = Search {
            next: match id.is_dm() {
                true => Step::Peer,
                false => Step::GroupInfo,
            },
            misfits: match self.regains.given_up.contains(&id) {
                true => MAX_MISFITS.saturating_sub(1),
                false => 0,
            },
        };
        self.regains.open.insert(id, search);
        self.drive(id);
    }

    /// Whether this device is in no conversation there, and has not looked yet whether it should be.
    pub(in crate::client) fn may_look(&self, id: ConversationId) -> bool {
        self.lacks_group(id) && !self.regains.looked.contains(&id)
    }

    /// Something new says that this device is in there.
    pub(in crate::client) fn look_again_for_group(&mut self, id: ConversationId) {
        if !self.is_looked_for(id) {
            self.forget_look(id);
            self.look_for_group(id);
        }
    }

    /// The queues are listed again, and some of them looked into again.
    pub(in crate::client) fn forget_first_looks(&mut self) {
        self.regains.given_up.clear();
        let first = self.regains.looked.len().min(AGAIN);
        let first: Vec<_> = self.regains.looked.drain(..first).collect();
        // Those that are still open end by themselves.
        let open = first.into_iter().filter(|id| self.is_looked_for(*id));
        self.regains.looked.extend(open.collect::<Vec<_>>());
    }

    fn forget_look(&mut self, id: ConversationId) {
        self.regains.looked.retain(|looked| *looked != id);
    }

    pub(in crate::client) fn is_looked_for(&self, id: ConversationId) -> bool {
        self.regains.open.contains_key(&id)
    }

    fn lacks_group(&self, id: ConversationId) -> bool {
        matches!(self.phase(id), None | Some(Phase::Joining | Phase::Over))
    }

    pub(in crate::client) fn drive_search(&mut self, id: ConversationId) {
        let Some(search) = self.regains.open.get(&id) else {
            return;
        };
        let (peer, get, ask) = (
            Then::ListMembers(id, 0),
            Then::GetGroupInfo(id),
            Then::RotateKeys(id),
        );
        let is_asked = [&peer, &get, &ask]
            .into_iter()
            .any(|then| self.link.is_asked(then));
        if is_asked || self.timers.is_set(Timer::Conversation(id, Pause::Rejoin)) {
            return;
        }
        let channel_id = Bytes::copy_from_slice(id.as_bytes());
        match search.next {
            Step::Peer => {
                let request = proto::ListGroupMembersRequest { channel_id };
                self.call::<rpc::ListGroupMembers>(&request, peer);
            }
            Step::GroupInfo => {
                self.call::<rpc::GetGroupInfo>(&proto::GetGroupInfoRequest { channel_id }, get);
            }
            Step::Rotation => {
                self.call::<rpc::RotateKeys>(&proto::RotateKeysRequest { channel_id }, ask);
            }
        }
    }

    fn search_goes_on(&mut self, id: ConversationId, next: Step) {
        if let Some(search) = self.regains.open.get_mut(&id) {
            search.next = next;
        }
        self.drive(id);
    }

    /// A DM that its other one has left is over, whatever its tree says.
    pub(in crate::client) fn on_peer_looked_for(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::ListGroupMembers>,
    ) {
        let list = match answer {
            Ok(list) => list,
            Err(fault) if fault.is_passing() => {
                return self.try_again(Timer::Conversation(id, Pause::Rejoin), &fault);
            }
            Err(_) => return self.is_not_ours(id),
        };
        let keys = list.member_keys.iter();
        let members: BTreeSet<_> = keys
            .filter_map(|key| IdentityKey::try_from(key.as_ref()).ok())
            .collect();
        match self.dm_peer(id, &members) {
            Some(_) => self.search_goes_on(id, Step::GroupInfo),
            None => self.is_not_ours(id),
        }
    }

    /// The other one of these two, if the DM is theirs and this account is one of them.
    fn dm_peer(&self, id: ConversationId, members: &BTreeSet<IdentityKey>) -> Option<IdentityKey> {
        let own = self.state.identity_key()?;
        let peer = members.iter().find(|key| **key != own).copied()?;
        let fits = members.len() == 2 && members.contains(&own) && dm_channel(own, peer) == id;
        fits.then_some(peer)
    }

    pub(super) fn on_searched_info(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::GetGroupInfo>,
    ) {
        if !self.lacks_group(id) {
            self.regains.open.remove(&id);
            return;
        }
        match answer {
            Err(fault) if fault.is_passing() => {
                self.try_again(Timer::Conversation(id, Pause::Rejoin), &fault);
            }
            Err(fault) if fault.status != Status::NotFound && fault.status != Status::Forbidden => {
                self.search_misfit(id);
            }
            Ok(answer) if answer.slot > 0 => self.take_searched(id, answer.group_info, answer.slot),
            Ok(_) | Err(_) => self.is_not_ours(id),
        }
    }

    fn take_searched(&mut self, id: ConversationId, group_info: Bytes, slot: u64) {
        let Some(device) = &self.state.device else {
            return;
        };
        match Group::has_own_leaf(device, &group_info, None) {
            Ok(true) => {}
            Ok(false) => return self.is_not_ours(id),
            Err(_) => return self.search_misfit(id),
        }
        let seed = self.rng.seed();
        self.state.keep_mls(&mut self.writer);
        let made = self.external_commit(id, &seed, &group_info);
        self.state.forget_mls();
        let Ok((_, members, generation)) = made else {
            return self.search_misfit(id);
        };
        let peer = self.dm_peer(id, &members);
        let held = self.state.conversations.get(&id);
        let is_later = held.is_none_or(|held| generation > held.generation);
        // A DM that ended here goes on only as a new group.
        let is_over = self.phase(id) == Some(Phase::Over);
        if id.is_dm() && (peer.is_none() || is_over && !is_later) {
            return self.is_not_ours(id);
        }
        self.regains.open.remove(&id);
        let name = peer.and_then(|peer| self.state.person(peer).name);
        let new = Channel::new(Phase::Active, peer, name.unwrap_or_default());
        let channel = self.state.conversations.entry(id).or_insert(new);
        channel.phase = Phase::Active;
        channel.rejoin = Some(RejoinReason::Forgotten);
        channel.generation = generation;
        channel.slot = Slot::seen(slot);
        // What was wanted was made, or not, by a commit that this device does not know.
        channel.wanted.clear();
        channel.listed.clear();
        channel.save(id, &mut self.writer);
        self.begin_rejoin(id, group_info, slot);
    }

    /// The GroupInfo does not verify: somebody who is in has to give a fresh one.
    fn search_misfit(&mut self, id: ConversationId) {
        let Some(search) = self.regains.open.get_mut(&id) else {
            return;
        };
        search.misfits = search.misfits.saturating_add(1);
        search.next = Step::Rotation;
        let misfits = search.misfits;
        if misfits >= MAX_MISFITS {
            // Anyone who lists this account can give any number of these: nothing says that it is in there.
            self.regains.given_up.insert(id);
            return self.is_not_ours(id);
        }
        let at = self.clock.now() + self.config.backoff_base + self.backoff(misfits.min(6));
        self.timers.hold(Timer::Conversation(id, Pause::Rejoin), at);
    }

    /// The members were asked: one of them may answer before the next attempt.
    pub(super) fn on_searched_rotation(&mut self, id: ConversationId) {
        if let Some(search) = self.regains.open.get_mut(&id) {
            search.next = Step::GroupInfo;
        }
        self.wait_to_rejoin(id);
    }

    fn is_not_ours(&mut self, id: ConversationId) {
        self.regains.open.remove(&id);
        if self.phase(id) == Some(Phase::Joining) {
            let name = self.state.conversations.get(&id);
            let name = name.map_or_else(String::new, |channel| channel.name.clone());
            self.abandon_channel(id, &IntentError::OtherDevice { name });
        }
    }

    /// The connection is gone: what was under way is begun again over the next.
    pub(super) fn forget_searches(&mut self) {
        self.regains.given_up.clear();
        for id in core::mem::take(&mut self.regains.open).into_keys() {
            self.forget_look(id);
        }
    }
}
