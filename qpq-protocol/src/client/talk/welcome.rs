//! Welcomes: joining a group, in place of what is held of it.

use core::cmp::Ordering;
use std::collections::BTreeSet;

use qpq_crypto::mls::{Group, Policy};

use super::channel::{Channel, Phase, dm_channel, remember};
use super::generation::{MAX_GENERATIONS, generation_of, group_id};
use super::slot::Slot;
use crate::client::Client;
use crate::client::error::UnreadableReason;
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::ids::IdentityKey;

/// What joining by a Welcome means for the app.
enum Entrance {
    /// A conversation that this client was not in.
    New,
    /// Back in the group whose thread was lost.
    Back,
    /// A new group in the place of one that nobody could follow.
    Reset,
}

impl Client {
    /// Joins by a Welcome, in place of what is held of the group: that goes when the Welcome has been
    /// verified whole, and fits.
    pub(super) fn take_welcome(
        &mut self,
        id: ConversationId,
        welcome: &[u8],
    ) -> Result<(), UnreadableReason> {
        let before = self.identities(id);
        self.state.keep_mls(&mut self.writer);
        let own = self
            .state
            .identity_key()
            .ok_or(UnreadableReason::BadWelcome)?;
        let device = self
            .state
            .device
            .as_mut()
            .ok_or(UnreadableReason::BadWelcome)?;
        let group = Group::join_in_place(device, welcome, None, Policy::Qpq)
            .map_err(|_| UnreadableReason::BadWelcome)?;
        let members: BTreeSet<_> = group.members().iter().map(|m| m.identity_key).collect();
        let peer = members.iter().find(|key| **key != own).copied();
        let fits = match (id.is_dm(), peer) {
            (true, Some(peer)) => members.len() == 2 && dm_channel(own, peer) == id,
            (true, None) => false,
            (false, _) => true,
        };
        let generation = generation_of(id, group.group_id()).filter(|_| fits);
        let Some(generation) = generation else {
            self.state.forget_mls();
            return Err(UnreadableReason::BadWelcome);
        };
        let epoch = group.epoch();
        let Some(entry) = self.entrance(id, generation, epoch) else {
            let is_elsewhere = self.is_elsewhere(id, generation, &group);
            self.state.forget_mls();
            if is_elsewhere {
                self.rejoin(id, RejoinReason::Unfit);
            }
            return Ok(());
        };
        self.replace_group(id, group, generation);
        self.is_back(id);
        let goes_on = !matches!(entry, Entrance::New);
        let dm_peer = peer.filter(|_| id.is_dm());
        self.joined(id, epoch, dm_peer, &members, generation, goes_on);
        let members: Vec<_> = members.into_iter().collect();
        self.need_names(id, &members);
        match entry {
            Entrance::New => {
                self.announcing.insert(id);
                self.announce(id);
            }
            Entrance::Back => {
                self.came_back(id, &before);
                self.ask_witnesses(id);
            }
            Entrance::Reset => {
                self.tell(id, Event::Reset { conversation: id });
                self.came_back(id, &before);
                self.ask_witnesses(id);
            }
        }
        self.tend_packages();
        Ok(())
    }

    /// Whether this group, which this device was invited into, is not the one that it follows, nor one of before: who
    /// invites it does not see it where it is.
    fn is_elsewhere(&mut self, id: ConversationId, generation: u32, invited: &Group) -> bool {
        let channel = self.state.conversations.get(&id);
        let is_same = channel.is_some_and(|channel| channel.generation == generation);
        let held = self.state.group(id).filter(|_| is_same);
        held.is_some_and(|(_, held)| match invited.epoch().cmp(&held.epoch()) {
            Ordering::Greater => true,
            Ordering::Equal => invited.epoch_authenticator() != held.epoch_authenticator(),
            Ordering::Less => false,
        })
    }

    /// What joining the group in this epoch of this generation means; `None` if it is of no use here.
    fn entrance(&mut self, id: ConversationId, generation: u32, epoch: u64) -> Option<Entrance> {
        let held = self.state.group(id).map(|(_, group)| group.epoch());
        let Some(channel) = self.state.conversations.get(&id) else {
            return (generation <= MAX_GENERATIONS).then_some(Entrance::New);
        };
        let ahead = generation.checked_sub(channel.generation)?;
        if ahead > MAX_GENERATIONS {
            return None;
        }
        match channel.phase {
            Phase::Active | Phase::Leaving if ahead > 0 => Some(Entrance::Reset),
            // From an earlier epoch on it can't follow what it committed itself since: a queue that is read again
            // holds the invitation of the beginning, and none of its own commits.
            Phase::Active if channel.rejoin.is_some() || channel.doubted => held
                .is_none_or(|held| epoch >= held)
                .then_some(Entrance::Back),
            // One that led to where this device is may be read again, whatever the server says of the list.
            Phase::Active | Phase::Leaving => (self.is_ousted(id)
                && held.is_none_or(|held| epoch > held))
            .then_some(Entrance::New),
            _ => Some(Entrance::New),
        }
    }

    /// Takes this group in place of the one that is held.
    fn replace_group(&mut self, id: ConversationId, group: Group, generation: u32) {
        let held = self.state.conversations.get(&id);
        let held = held.filter(|channel| channel.generation != generation);
        let held = held.map(|channel| group_id(id, channel.generation));
        if let (Some(held), Some(device)) = (held, &mut self.state.device)
            && let Ok(Some(old)) = Group::load(device, &held)
        {
            // Rows that do not go are in nobody's way.
            _ = old.delete(device);
        }
        self.forget_leftovers(id);
        self.change_channel(id, |channel| channel.generation = generation);
        self.state.groups.insert(id, group);
    }

    fn joined(
        &mut self,
        id: ConversationId,
        epoch: u64,
        peer: Option<IdentityKey>,
        members: &BTreeSet<IdentityKey>,
        generation: u32,
        goes_on: bool,
    ) {
        // What led to the group that was held leads nowhere any more.
        self.forget_merged(id, 0);
        let name = peer
            .and_then(|peer| self.state.person(peer).name)
            .unwrap_or_default();
        let new = Channel::new(Phase::Active, peer, name.clone());
        let channel = self.state.conversations.entry(id).or_insert(new);
        if !(channel.phase == Phase::Leaving && goes_on) {
            channel.phase = Phase::Active;
            channel.left_ms = 0;
        }
        channel.generation = generation;
        // Each epoch took a slot; void commits took more. The next commit tells.
        let next = match core::mem::take(&mut channel.doubted) {
            // The server may be behind what this device saw.
            true => epoch,
            false => channel.slot.next().max(epoch),
        };
        channel.slot = Slot::at_least(next);
        channel.owes_rotation = false;
        channel.relisted = false;
        if !goes_on {
            channel.witnesses.clear();
        }
        channel.wanted.clear();
        // The member who invited it has listed all of them: who is thrown off before this device sees a list comes back.
        channel.listed.clear();
        for key in members {
            remember(&mut channel.listed, *key);
        }
        channel.save(id, &mut self.writer);
    }

    /// Tells the app of a conversation that was joined, once the names are there.
    pub(in crate::client) fn announce(&mut self, id: ConversationId) {
        if self.is_nameless(id) || !self.announcing.remove(&id) {
            return;
        }
        if let Some(conversation) = self.conversation(id) {
            self.writer.emit(Event::Joined { conversation });
        }
    }
}
