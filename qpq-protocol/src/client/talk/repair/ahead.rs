//! Messages and commits of a later epoch, and nothing in the queue that leads there.
//!
//! A server puts a commit into the queues before it takes a message of the epoch that begins with it. If a message
//! waits for its epoch when everything before it was read, the commit was withheld, or the message is made up; a
//! commit of a later epoch is one of another tree (`trees`), or made up. And where the server says that another commit
//! has the slot of an own one, and none comes, that was taken before this device came; or the own one has it. The
//! GroupInfo that the server has tells which: this device comes back by it, or goes on.

use bytes::Bytes;

use crate::client::Client;
use crate::client::event::{ConversationId, RejoinReason};
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::channel::Phase;
use crate::defect::seeded;
use crate::method::rpc;
use crate::proto;

impl Client {
    /// What was taken in last is a commit of a later epoch: when all is read it is to be looked where the others are.
    pub(super) fn look_for_epoch(&mut self, id: ConversationId) {
        let seq = self.cursor(Some(id));
        if !seeded!(self.config, EpochOverlooked) {
            self.rejoins.later.insert(id, seq);
        }
    }

    /// The server says that another commit has this slot.
    pub(in crate::client) fn note_denied(&mut self, id: ConversationId, slot: u64) {
        self.rejoins.denied.insert(id, slot);
    }

    /// The commit of this slot was seen.
    pub(in crate::client) fn note_seen(&mut self, id: ConversationId, slot: u64) {
        let denied = self.rejoins.denied.get(&id);
        if denied.is_some_and(|denied| *denied <= slot) {
            self.rejoins.denied.remove(&id);
        }
    }

    /// Whether it is not known yet what came of an own commit: nothing is committed before that.
    pub(in crate::client) fn is_denied(&self, id: ConversationId) -> bool {
        self.rejoins.denied.contains_key(&id)
    }

    /// Looks where the others are, once for each message that waits for its epoch in vain, and each commit.
    pub(in crate::client) fn look_ahead(&mut self, id: ConversationId) {
        let waiting = self.state.parked.range((id, 0)..=(id, u64::MAX));
        let waiting = waiting.map(|((_, seq), _)| *seq).next_back();
        let last = waiting.max(self.rejoins.later.get(&id).copied());
        let last = last.filter(|last| !self.has_looked_ahead(id, *last));
        if last.is_none() && !self.is_denied(id) {
            return;
        }
        let last = last.unwrap_or_default();
        let is_asked = |then: &Then| matches!(then, Then::Ahead(asked, _) if *asked == id);
        let waits = self.timers.is_set(Timer::Conversation(id, Pause::Ahead))
            || self.link.any_asked(is_asked);
        if waits || !self.may_be_behind(id) {
            return;
        }
        let channel_id = Bytes::copy_from_slice(id.as_bytes());
        let request = proto::GetGroupInfoRequest { channel_id };
        self.call::<rpc::GetGroupInfo>(&request, Then::Ahead(id, last));
    }

    /// Whether this device follows the group, and has read all that is known to wait.
    fn may_be_behind(&self, id: ConversationId) -> bool {
        let follows = matches!(self.phase(id), Some(Phase::Active | Phase::Leaving))
            && !self.is_rejoining(id)
            && !self.is_doubted(id);
        follows && self.is_drained(id) && !self.state.drafts.contains_key(&id)
    }

    pub(in crate::client) fn on_ahead(
        &mut self,
        id: ConversationId,
        last: u64,
        answer: Answer<rpc::GetGroupInfo>,
    ) {
        self.note_looked_ahead(id, last);
        self.rejoins.denied.remove(&id);
        let Some(answer) = answer.ok().filter(|_| self.may_be_behind(id)) else {
            // What waited for this goes on.
            return self.drive(id);
        };
        let seed = self.rng.seed();
        self.state.keep_mls(&mut self.writer);
        let made = self.external_commit(id, &seed, &answer.group_info);
        self.state.forget_mls();
        match made.is_ok_and(|(out, ..)| self.is_ahead(id, &out.commit)) {
            true => self.rejoin(id, RejoinReason::Missed),
            false => self.drive(id),
        }
    }
}
