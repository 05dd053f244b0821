//! What must hold whatever villains do: nobody is ended, others are served, nothing is lost without a word, and no
//! single clock decides what can't be undone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Accepted, Checker, Invariant};
use crate::client::{ConversationId, DisconnectReason, Event, RejoinReason, UnreadableReason};
use crate::ids::{ChannelId, IdentityKey, MessageId};
use crate::sim::app::App;
use crate::sim::villains::Villain;
use crate::storage::keys::QueueId;
use crate::time::Time;

/// What was said of losses.
#[derive(Default)]
pub(in crate::sim) struct Said {
    /// To a client, of a conversation.
    conversations: BTreeSet<(usize, ConversationId)>,
    /// To a client, of all that came to it.
    clients: BTreeSet<usize>,
    /// To a sender, of messages that may be lost for good, by their place in its history.
    pub(in crate::sim) unsent: BTreeSet<(usize, ConversationId, u64)>,
    /// What a client lost with its disk and was told nothing of since: what was said before does not speak for it.
    owed: BTreeSet<(usize, ConversationId, MessageId)>,
}

impl Said {
    /// A client is told something, or would have been: an event that waits for its rows dies with the process, and
    /// what happened is not told again.
    pub(in crate::sim) fn hear(&mut self, client: usize, event: &Event) {
        match event {
            Event::Unreadable { conversation, .. }
            | Event::Rejoining {
                conversation,
                why: RejoinReason::Missed,
            } => {
                self.conversations.insert((client, *conversation));
                self.owed
                    .retain(|(reader, id, _)| (reader, id) != (&client, conversation));
            }
            Event::SetBack => {
                self.clients.insert(client);
                self.owed.retain(|(reader, ..)| *reader != client);
            }
            Event::ServerSetBack { unsent } => {
                let unsent = unsent.iter();
                let unsent = unsent.map(|one| (client, one.conversation, one.index));
                self.unsent.extend(unsent);
            }
            _ => {}
        }
    }

    /// A client's disk is put back to a copy without these.
    pub(in crate::sim) fn owe(
        &mut self,
        client: usize,
        lost: impl Iterator<Item = (ConversationId, MessageId)>,
    ) {
        self.owed
            .extend(lost.map(|(id, message)| (client, id, message)));
    }

    /// Whether a reader lost this with its disk, and was told nothing of since.
    pub(in crate::sim) fn owes(
        &self,
        reader: usize,
        id: ConversationId,
        message: MessageId,
    ) -> bool {
        self.owed.contains(&(reader, id, message))
    }

    /// Whether a reader was told that something of this conversation may be missing.
    pub(in crate::sim) fn to(&self, reader: usize, id: ConversationId) -> bool {
        self.clients.contains(&reader) || self.conversations.contains(&(reader, id))
    }
}

/// What everyone has a right to rely on by what the servers' disk holds.
#[derive(Clone)]
pub(in crate::sim) struct Known {
    queues: BTreeMap<QueueId, u64>,
    acked: BTreeMap<(IdentityKey, Option<ChannelId>), u64>,
    envelopes: BTreeMap<(Vec<u8>, Vec<u8>, u64), [u8; 32]>,
    slots: BTreeMap<(ChannelId, u64), Vec<u8>>,
    accepted: BTreeMap<MessageId, Accepted>,
    places: BTreeMap<Bytes, Vec<u64>>,
    packages: BTreeSet<[u8; 32]>,
}

impl Checker {
    /// The servers' disk is copied.
    pub(in crate::sim) fn known(&self) -> Known {
        Known {
            queues: self.queues.clone(),
            acked: self.acked.clone(),
            envelopes: self.envelopes.clone(),
            slots: self.slots.clone(),
            accepted: self.accepted.clone(),
            places: self.places.clone(),
            packages: self.packages.clone(),
        }
    }

    /// The servers' disk is set back to its copy: what was promised since can't be relied on any more, but for the
    /// messages that a client called sent.
    pub(in crate::sim) fn servers_are_set_back(&mut self, known: Known) {
        self.queues = known.queues;
        self.acked = known.acked;
        self.envelopes = known.envelopes;
        self.slots = known.slots;
        self.accepted = known.accepted;
        self.places = known.places;
        self.packages = known.packages;
        self.epochs.clear();
    }

    /// The app of an honest client was told something in a world with villains.
    pub(super) fn told_in_harm(&mut self, now: Time, client: usize, app: &App, event: &Event) {
        self.said.hear(client, event);
        match event {
            Event::Rejoined { conversation, .. } => {
                self.returned.insert((client, *conversation));
                self.forked.insert(*conversation);
            }
            Event::VoidCommit { conversation, .. } => {
                self.forked.insert(*conversation);
            }
            Event::Broken { conversation } => {
                self.fail(
                    now,
                    Invariant::NobodyEnds,
                    format!("c{client} can't go on in {conversation}"),
                );
            }
            Event::Removed { conversation } => {
                let asked = self.removals.contains(&(*conversation, client));
                // A traitor's trees are signed, and some come back by them: who was invited into one that did not last
                // hears that he is out. So does he of whom a server that was set back knows nothing, where nobody is
                // left to tell it: no member did that (SECURITY.md).
                let forked = self.plan.has(Villain::Traitor) && self.forked.contains(conversation);
                let forgotten = self.plan.has(Villain::ServerCopy);
                let fits = asked || forked || forgotten || app.left.contains(conversation);
                self.need(now, fits, Invariant::NobodyEnds, || {
                    format!("nobody asked to take c{client} out of {conversation}")
                });
            }
            _ => {}
        }
        if self.plan.kinds == [Villain::Clocks] {
            let undone = match event {
                Event::LoggedOut => app.logouts == 0,
                Event::Unreadable { why, .. } => matches!(
                    why,
                    UnreadableReason::Expired | UnreadableReason::BadWelcome
                ),
                _ => false,
            };
            self.need(now, !undone, Invariant::OneClock, || {
                format!("c{client}: {event:?}")
            });
        }
    }

    /// What only breaks where somebody means ill is let pass where he does.
    pub(super) fn is_villains_work(&self, event: &Event) -> bool {
        match event {
            Event::Broken { .. } => self.plan.is_any(),
            Event::Unreadable { .. } => self.plan.is_any(),
            Event::KeyChanged { .. }
            | Event::Disconnected {
                why: DisconnectReason::Protocol,
                ..
            } => self.plan.has(Villain::Liar),
            _ => false,
        }
    }
}
