//! The server's member list beside the tree (protocol.md §5.10): the list says who gets mail, the tree
//! who can read it.
//!
//! Anyone who commits changes the list, whether the commit is valid or not, so the list never takes anyone
//! out of the tree. It is put right instead, by a commit made for that: who is in the tree and was seen
//! on the list comes back on it, who is on it alone comes off. A list is judged when everything that
//! was in the queue with it has been taken in.

use core::time::Duration;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::channel::{Change, Phase, remember};
use crate::client::Client;
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::keep::record::DraftRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::defect::seeded;
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// A server that refuses to take this account back is asked once more, so long after.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// A list that waits for the queue.
pub(super) struct Listed {
    members: BTreeSet<IdentityKey>,
    version: u64,
}

impl Client {
    /// Asks for the server's member list, to compare it with the tree.
    pub(super) fn list_members(&mut self, id: ConversationId, version: u64) {
        let is_in = matches!(self.phase(id), Some(Phase::Active | Phase::Leaving));
        if !self.link.is_ready() || !is_in {
            return;
        }
        if !self
            .link
            .any_asked(|then| matches!(then, Then::ListMembers(asked, _) if *asked == id))
        {
            let request = proto::ListGroupMembersRequest {
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
            };
            self.call::<rpc::ListGroupMembers>(&request, Then::ListMembers(id, version));
        }
    }

    pub(in crate::client) fn on_members(
        &mut self,
        id: ConversationId,
        version: u64,
        answer: Answer<rpc::ListGroupMembers>,
    ) {
        if self.is_looked_for(id) {
            return self.on_peer_looked_for(id, answer);
        }
        let list = match answer {
            Ok(list) => list,
            // No channel goes while somebody is in it: the server was set back to before it was made.
            Err(fault)
                if fault.status == Status::NotFound
                    && matches!(self.phase(id), Some(Phase::Active | Phase::Leaving))
                    && !self.is_doubted(id) =>
            {
                return self.server_set_back(self.state.openings.sound);
            }
            // Asked again at the next push or login.
            Err(fault) if fault.status != Status::Forbidden => return,
            Err(_) => return self.look_for_the_end(id),
        };
        let mut members: BTreeSet<_> = list
            .member_keys
            .iter()
            .filter_map(|key| IdentityKey::try_from(key.as_ref()).ok())
            .collect();
        let own = self.state.identity_key();
        if !own.is_some_and(|own| members.contains(&own)) {
            return self.look_for_the_end(id);
        }
        self.is_back(id);
        if self.is_rejoining(id) {
            if !self.is_reset_due(id) {
                return self.drive(id);
            }
            let tree = self.identities(id);
            // The list takes nobody out of the tree, not even of the one that is lost. Who was seen to go stays out,
            // whatever list a server has that was set back.
            if let Some(channel) = self.state.conversations.get(&id).filter(|_| !id.is_dm()) {
                let leaves = |key: &IdentityKey| channel.wanted.contains(&Change::remove(*key));
                let stays: Vec<_> = tree.into_iter().filter(|key| !leaves(key)).collect();
                members.extend(stays);
                members.retain(|key| !channel.gone.contains(key));
            }
            members.retain(|key| Some(*key) != own);
            return self.begin_reset(id, members);
        }
        // In a DM nobody is removed; who left is gone.
        if id.is_dm() {
            let version = version.max(list.members_version);
            self.change_channel(id, |channel| channel.members_version = version);
            return;
        }
        let version = version.max(list.members_version);
        if self.phase(id) == Some(Phase::Leaving) {
            return self.leave_anew(id, version);
        }
        self.inbox.judge(id, Listed { members, version });
        self.fetch(Some(id));
    }

    /// Everything that came with this list has been taken in: says what is wrong with it.
    pub(super) fn judge_list(&mut self, id: ConversationId, list: &Listed) {
        if self.phase(id) != Some(Phase::Active) || self.is_rejoining(id) {
            return;
        }
        let tree = self.identities(id);
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        let leaves = |key: &IdentityKey| channel.wanted.contains(&Change::remove(*key));
        let thrown_off = tree.difference(&list.members);
        let back: Vec<Change> = thrown_off
            .filter(|key| channel.listed.contains(key) && !leaves(key))
            .map(|key| Change::add(*key).of_list())
            .collect();
        let comes = |key: &IdentityKey| channel.wanted.contains(&Change::add(*key));
        let alone = list.members.difference(&tree);
        let off: Vec<Change> = alone
            .filter(|key| !comes(key))
            .map(|key| Change::remove(*key).of_list())
            .collect();
        let seen: Vec<_> = tree.intersection(&list.members).copied().collect();
        for key in &list.members {
            self.inbox.unlisted.remove(&(id, *key));
        }
        let version = list.version;
        let mut changes: Vec<_> = back.into_iter().chain(off).collect();
        if seeded!(self.config, ListBelieved) {
            let out = tree.difference(&list.members);
            changes = out.map(|key| Change::remove(*key)).collect();
        }
        self.change_channel(id, |channel| {
            channel.members_version = version;
            for key in seen {
                remember(&mut channel.listed, key);
            }
            // What an older list made one want may be done by now.
            channel.wanted.retain(|change| !change.of_list);
            channel.wanted.extend(&changes);
        });
        if !changes.is_empty() {
            self.give_way(id, None);
        }
        self.drive(id);
    }

    /// The server will not have these accounts on its list: it says that they have left by themselves. Those whom the
    /// draft was to put back are told of, once until they are on it again.
    pub(super) fn note_unlisted(
        &mut self,
        id: ConversationId,
        draft: &DraftRecord,
        left: &[IdentityKey],
    ) {
        let changes: Vec<_> = draft.changes.iter().filter_map(Change::load).collect();
        let is_put_back = |key: &&IdentityKey| changes.contains(&Change::add(**key).of_list());
        for key in left.iter().filter(is_put_back) {
            let is_silent = seeded!(self.config, UnlistedUntold);
            if self.inbox.unlisted.insert((id, *key)) && !is_silent {
                let person = self.state.person(*key);
                let conversation = id;
                self.tell(
                    id,
                    Event::Unlisted {
                        conversation,
                        person,
                    },
                );
            }
        }
    }

    /// Who is on the list now may not have been there when this account said that it leaves.
    fn leave_anew(&mut self, id: ConversationId, version: u64) {
        let channel = self.state.conversations.get(&id);
        if channel.is_some_and(|channel| channel.members_version < version) {
            self.change_channel(id, |channel| channel.members_version = version);
            self.propose_leaving(id);
            self.drive(id);
        }
    }

    /// A member says that all their devices leave. That ends a DM, which either can open again; from a
    /// group they are removed.
    pub(super) fn hears_of_leaving(&mut self, id: ConversationId, who: IdentityKey) {
        if !id.is_dm() {
            return self.want_removal(id, who);
        }
        let person = self.state.person(who);
        self.end(id);
        self.writer.emit(Event::Left {
            conversation: id,
            person,
        });
    }

    /// Wants the removal of one who left.
    pub(super) fn want_removal(&mut self, id: ConversationId, identity_key: IdentityKey) {
        self.give_way(id, Some(identity_key));
        self.want(id, Change::remove(identity_key));
    }

    /// All see what is to be done: the first leaf commits at once, the others after a random pause, if
    /// it is still to be done. `leaving` does not count.
    pub(in crate::client) fn give_way(&mut self, id: ConversationId, leaving: Option<IdentityKey>) {
        let waits = match self.state.group(id) {
            Some((_, group)) => {
                let own = group.own_leaf();
                let mut stays = group.members().into_iter();
                stays.any(|member| member.leaf < own && Some(member.identity_key) != leaving)
            }
            None => return,
        };
        if waits {
            let base = self.config.backoff_base;
            let at = self.clock.now() + base + self.backoff(3);
            self.timers
                .hold(Timer::Conversation(id, Pause::Courtesy), at);
        }
    }

    /// This account is not on the list, and nothing in the queue took it out of the tree: asks for its
    /// place back.
    pub(super) fn list_self(&mut self, id: ConversationId) {
        if self.is_out(id, 1) {
            return self.ended_meanwhile(id);
        }
        if !self.timers.is_set(Timer::Conversation(id, Pause::Listing)) {
            self.ask_for_place(id, Then::ListSelf(id));
            self.note_listed_again(id);
        }
    }

    /// Asks to be listed where it may be that another's commit threw this account off, or that the server has lost
    /// what put it there: nothing follows from a refusal.
    pub(in crate::client) fn list_in_doubt(&mut self, id: ConversationId) {
        self.ask_for_place(id, Then::ListInDoubt(id));
    }

    fn ask_for_place(&mut self, id: ConversationId, then: Then) {
        if let (Some(own), false) = (self.state.identity_key(), self.link.is_asked(&then)) {
            let request = proto::AddMemberRequest {
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
                member_key: Bytes::copy_from_slice(own.as_bytes()),
            };
            self.call::<rpc::AddMember>(&request, then);
        }
    }

    pub(in crate::client) fn on_listed_in_doubt(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::AddMember>,
    ) {
        if answer.is_ok() && self.is_doubted(id) {
            // The server says now how it has the conversation.
            self.timers.cancel(Timer::Conversation(id, Pause::Doubt));
            self.drive(id);
        }
    }

    pub(in crate::client) fn on_listed_self(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::AddMember>,
    ) {
        if !matches!(self.phase(id), Some(Phase::Active | Phase::Leaving)) {
            return;
        }
        match answer {
            Ok(_) => {
                self.is_back(id);
                self.list_members(id, 0);
                let again = self.change_channel(id, |channel| {
                    core::mem::replace(&mut channel.relisted, true)
                });
                if again == Some(true) {
                    // Who takes it off again may be in another tree, in which it is not.
                    self.rejoin(id, RejoinReason::Unfit);
                }
                if self.is_rejoining(id) {
                    // Before the others see it: the tree tells whether this account has a place to go back to.
                    self.timers.cancel(Timer::Conversation(id, Pause::Rejoin));
                }
                self.drive(id);
            }
            Err(fault) if fault.is_passing() => {
                self.try_again(Timer::Conversation(id, Pause::Listing), &fault);
            }
            // One word is not enough to go by.
            Err(_)
                if self.phase(id) == Some(Phase::Active)
                    && !self.is_refused_again(id)
                    && !seeded!(self.config, RefusalCounts) =>
            {
                let at = self.clock.now() + REFUSED_AGAIN;
                self.timers
                    .hold(Timer::Conversation(id, Pause::Listing), at);
            }
            // It is not another's commit that took it off.
            Err(_) => {
                self.is_back(id);
                self.tell(id, Event::Removed { conversation: id });
                self.end(id);
            }
        }
    }
}
