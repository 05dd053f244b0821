//! Coming into a group that was not joined yet, or left, when the server was set back: it may have forgotten the
//! Welcome, or the leaving (protocol.md §5.32). Where no set-back is known, see `regain`.
//!
//! The account is in the tree, since the others have merged the commit that put it there. So its device may
//! let itself in by an external commit, as one does who lost the thread. Who is not in the tree can't, and
//! after a while does not ask any more.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::client::Client;
use crate::client::error::IntentError;
use crate::client::event::{ConversationId, RejoinReason};
use crate::client::talk::channel::{Phase, dm_channel};
use crate::client::talk::slot::Slot;
use crate::defect::seeded;
use crate::ids::IdentityKey;

impl Client {
    /// Comes in by an external commit, if this account is in the tree.
    pub(in crate::client) fn enter(&mut self, id: ConversationId, group_info: Bytes, slot: u64) {
        let seed = self.rng.seed();
        self.state.keep_mls(&mut self.writer);
        let made = self.external_commit(id, &seed, &group_info);
        self.state.forget_mls();
        let Ok((_, members, _)) = made else {
            return self.no_entrance(id);
        };
        let Some(peer) = self.fitting_peer(id, &members) else {
            return self.no_entrance(id);
        };
        let name = peer.and_then(|peer| self.state.person(peer).name);
        if !self.has_left(id) {
            self.announcing.insert(id);
        }
        self.change_channel(id, |channel| {
            channel.phase = Phase::Active;
            channel.rejoin = Some(RejoinReason::Missed);
            channel.gone.clear();
            channel.listed.clear();
            channel.slot = Slot::seen(slot);
            channel.doubted = false;
            channel.peer = peer.or(channel.peer);
            if let Some(name) = name {
                channel.name = name;
            }
        });
        self.is_back(id);
        self.clear_doubt(id);
    }

    /// Whether the user has left the conversation, and comes back only to say so again: what the others were
    /// told is lost.
    pub(super) fn has_left(&self, id: ConversationId) -> bool {
        let channel = self.state.conversations.get(&id);
        channel.is_some_and(|channel| channel.left_ms > 0)
    }

    /// The other one of a DM; `None` if these members are not those of a DM.
    fn fitting_peer(
        &self,
        id: ConversationId,
        members: &BTreeSet<IdentityKey>,
    ) -> Option<Option<IdentityKey>> {
        if !id.is_dm() {
            return Some(None);
        }
        let own = self.state.identity_key()?;
        let peer = members.iter().find(|key| **key != own).copied()?;
        (members.len() == 2 && dm_channel(own, peer) == id).then_some(Some(peer))
    }

    /// There is no way in, at least not yet: what leads there may still be given back to the server.
    pub(super) fn no_entrance(&mut self, id: ConversationId) {
        if !self.has_doubted_long(id) {
            return self.ask_later(id, None);
        }
        self.clear_doubt(id);
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        match (channel.phase, channel.peer) {
            // Nobody has founded it.
            (Phase::Joining, Some(_)) => {
                self.begin_again(id);
                if seeded!(self.config, FoundsForNobody) {
                    self.change_channel(id, |channel| channel.wanted.clear());
                }
            }
            (Phase::Joining, None) => {
                let name = channel.name.clone();
                self.abandon_channel(id, &IntentError::OtherDevice { name });
            }
            _ => {}
        }
    }
}
