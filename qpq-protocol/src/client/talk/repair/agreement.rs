//! What a device whose data were set back waits for before it says anything in a group (protocol.md §5.31).
//!
//! It has come back by a GroupInfo that the server chose. That may be of an earlier day than what it has lost,
//! with people in the tree who have gone since: it can't tell, but a member of the tree that it held before can.
//! Anyone who says or commits anything that fits the group it came back into, or sends a report that agrees, holds
//! that group. If nobody does, the user may take the group as it is.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::client::error::IntentError;
use crate::client::event::{ConversationId, Event};
use crate::client::link::timers::{Pause, Timer};
use crate::ids::IdentityKey;
use crate::time::Time;

impl Client {
    /// Takes a group as it is now: comes back although that means to talk to people whom this device saw go
    /// ([`Event::RejoinRefused`]), and sends what waits for a member's agreement ([`Event::AgreementAwaited`]).
    pub fn accept_group(&mut self, now: Time, id: ConversationId) {
        self.clock.advance(now);
        let channel = self.state.conversations.get(&id);
        if channel.is_some_and(|channel| !channel.gone.is_empty() || !channel.witnesses.is_empty())
        {
            self.change_channel(id, |channel| {
                channel.gone.clear();
                channel.witnesses.clear();
            });
            self.timers.cancel(Timer::Conversation(id, Pause::Rejoin));
            self.drive(id);
        }
        self.step_done();
    }

    /// This device, of data that were set back, is in the group again: one of these, if any is there, has to agree.
    pub(super) fn await_agreement(&mut self, id: ConversationId, before: &BTreeSet<IdentityKey>) {
        let own = self.state.identity_key();
        let members = self.identities(id);
        let witnesses = before.intersection(&members).copied();
        let witnesses: BTreeSet<_> = witnesses.filter(|key| Some(*key) != own).collect();
        if witnesses.is_empty() {
            return;
        }
        let of = witnesses.iter().map(|key| self.state.person(*key));
        let event = Event::AgreementAwaited {
            conversation: id,
            of: of.collect(),
        };
        self.change_channel(id, |channel| channel.witnesses = witnesses);
        self.tell(id, event);
        // That can take days: nobody has to wait for it.
        let sending = &mut self.intents.sending;
        let waiting = sending.extract_if((id, 0)..=(id, u64::MAX), |_, _| true);
        for (intent, _) in waiting.map(|(_, of)| of).collect::<Vec<_>>() {
            self.fail(intent, IntentError::Unconfirmed);
        }
    }

    /// Whether nothing may be said before a member has agreed, or the user.
    pub(in crate::client) fn awaits_agreement(&self, id: ConversationId) -> bool {
        let channel = self.state.conversations.get(&id);
        channel.is_some_and(|channel| !channel.witnesses.is_empty())
    }

    /// The group has moved: each member that was asked before has to be asked about where it is now.
    pub(in crate::client) fn ask_witnesses(&mut self, id: ConversationId) {
        let channel = self.state.conversations.get(&id);
        let witnesses = channel.map(|channel| channel.witnesses.clone());
        if let Some(witnesses) = witnesses.filter(|witnesses| !witnesses.is_empty()) {
            self.report(id, &witnesses);
        }
    }

    /// This member holds the group that this device is in.
    pub(in crate::client) fn agrees(&mut self, id: ConversationId, by: IdentityKey) {
        let channel = self.state.conversations.get(&id);
        let is_awaited = channel.is_some_and(|channel| channel.witnesses.contains(&by));
        if is_awaited && !self.is_rejoining(id) {
            self.change_channel(id, |channel| channel.witnesses.clear());
            self.drive(id);
        }
    }
}
