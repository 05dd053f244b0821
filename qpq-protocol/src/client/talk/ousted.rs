//! Whether this account is out of a channel: the server says so, and what is in the queue tells why.

use super::channel::Phase;
use crate::client::Client;
use crate::client::event::ConversationId;
use crate::client::link::timers::{Pause, Timer};

/// How sure it is that this account is out of a channel. The commit that says so may be in the queue;
/// or the refusal is from before an invitation; or there is no commit for this account.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ousted {
    /// The queue is to be drained.
    Said,
    /// It was drained, and the server is asked again.
    Asked,
    /// The server has said it again: when the queue is drained once more, it is so.
    Confirmed,
}

impl Client {
    /// The server does not count this account among the members: what is in the queue tells why.
    pub(in crate::client) fn look_for_the_end(&mut self, id: ConversationId) {
        if self.is_doubted(id) {
            // What made it a member may be lost, and be given back.
            return;
        }
        let next = match self.inbox.ousted.get(&id) {
            None | Some(Ousted::Said) => Ousted::Said,
            Some(Ousted::Asked | Ousted::Confirmed) => Ousted::Confirmed,
        };
        self.inbox.ousted.insert(id, next);
        self.fetch(Some(id));
    }

    /// Whether the server has said so, and nothing since has brought this account back.
    pub(super) fn is_ousted(&self, id: ConversationId) -> bool {
        self.inbox.ousted.contains_key(&id)
    }

    pub(in crate::client) fn is_back(&mut self, id: ConversationId) {
        self.inbox.ousted.remove(&id);
        self.inbox.refused.remove(&id);
        self.timers.cancel(Timer::Conversation(id, Pause::Listing));
    }

    /// The server refuses to take this account back: whether it has done so before.
    pub(super) fn is_refused_again(&mut self, id: ConversationId) -> bool {
        !self.inbox.refused.insert(id)
    }

    /// The queue holds nothing that ends the membership. If it has ended all the same, an own leaving
    /// of before an invitation was carried out after it, and the others' commit was not for us.
    pub(super) fn check_the_end(&mut self, id: ConversationId) {
        match self.inbox.ousted.get(&id) {
            Some(Ousted::Said) => {
                self.inbox.ousted.insert(id, Ousted::Asked);
                self.list_members(id, 0);
            }
            Some(Ousted::Confirmed) => {
                if matches!(self.phase(id), Some(Phase::Active | Phase::Leaving)) {
                    self.list_self(id);
                } else {
                    self.inbox.ousted.remove(&id);
                }
            }
            Some(Ousted::Asked) | None => {}
        }
    }
}
