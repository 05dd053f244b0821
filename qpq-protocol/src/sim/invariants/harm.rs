//! What must hold whatever villains do: nobody is ended, others are served, nothing is lost without a word, and no
//! single clock decides what can't be undone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Accepted, Checker, Invariant};
use crate::client::{
    ConversationId, DisconnectReason, Event, IntentError, IntentId, Person, RejoinReason, Standing,
    UnreadableReason,
};
use crate::ids::{ChannelId, IdentityKey, MessageId};
use crate::sim::app::{App, Wish};
use crate::sim::villains::kinds::Villain;
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
    /// To a reader, that he is out of the conversation that these are of.
    outs: BTreeSet<(usize, MessageId)>,
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

    /// Whether a reader was told after this was sent that he is out.
    pub(in crate::sim) fn is_out(&self, reader: usize, message: MessageId) -> bool {
        self.outs.contains(&(reader, message))
    }

    /// Whether a reader was told that something of this conversation may be missing.
    pub(in crate::sim) fn to(&self, reader: usize, id: ConversationId) -> bool {
        self.clients.contains(&reader) || self.conversations.contains(&(reader, id))
    }
}

/// Whom a client has seen, by conversation.
pub(in crate::sim) type Views = BTreeMap<ConversationId, BTreeSet<IdentityKey>>;

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
            Event::Joined { conversation } => {
                self.comes_in(client, conversation.id);
                self.has_seen(client, conversation.id, &conversation.members);
            }
            Event::Membership {
                conversation,
                added,
                ..
            } => self.has_seen(client, *conversation, added),
            Event::Rejoined {
                conversation,
                added,
                removed,
                ..
            } => {
                self.returned.insert((client, *conversation));
                let parted = removed
                    .iter()
                    .map(|person| (*conversation, person.identity_key));
                self.parted.extend(parted);
                self.has_seen(client, *conversation, added);
            }
            Event::NotAdded {
                conversation,
                person,
            } => {
                self.not_added.insert((*conversation, person.identity_key));
            }
            Event::Removed { conversation } => {
                let asked = self.is_removal_asked(*conversation, client)
                    || self.is_kept_out(*conversation, app);
                self.views.remove(&(*conversation, client));
                let fits = asked
                    || app.left.contains(conversation)
                    || self.was_never_in(client, app, *conversation);
                self.need(now, fits, Invariant::NobodyEnds, || {
                    format!("nobody asked to take c{client} out of {conversation}")
                });
                let sent = self.promised.iter();
                let sent = sent.filter(|(_, accepted)| accepted.channel == *conversation);
                let outs = sent.map(|(message, _)| (client, *message));
                self.said.outs.extend(outs);
            }
            _ => {}
        }
        let is_undone = match event {
            // An invitation that can't be opened, since the key of a package is gone that the server had said no to; or
            // what was said in the epoch of one that is read too late.
            Event::Unreadable { why, .. } => matches!(
                (self.plan.kinds.as_slice(), why),
                ([Villain::Refusals], UnreadableReason::BadWelcome)
                    | ([Villain::Late], UnreadableReason::Undecryptable)
            ),
            Event::Failed { intent, error } => self.is_given_up(client, app, *intent, error),
            _ => false,
        };
        self.need(now, !is_undone, Invariant::OneWord, || {
            format!("c{client}: {event:?}")
        });
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

    /// Whether somebody asked to take this client out. By a liar's word anyone may be called by anyone's name.
    fn is_removal_asked(&self, id: ConversationId, client: usize) -> bool {
        let mut asked = self.removals.range((id, 0)..=(id, usize::MAX));
        asked.any(|(_, who)| *who == client || self.plan.has(Villain::Liar))
    }

    /// Whether what somebody wanted of a group has failed since he was thrown off its list, where nobody else asked for
    /// that: who is in its tree comes back, and does it then.
    fn is_given_up(&self, client: usize, app: &App, intent: IntentId, error: &IntentError) -> bool {
        let only_lists = [Villain::Lists, Villain::Refusals];
        let (Some(Wish::Invite(id, _) | Wish::Remove(id, _)), true) = (
            app.open.get(&intent),
            self.plan.kinds.iter().all(|kind| only_lists.contains(kind)),
        ) else {
            return false;
        };
        *error == IntentError::NotAMember
            && app.conversations.get(id) == Some(&Standing::Active)
            && !app.left.contains(id)
            && !self.is_removal_asked(*id, client)
            && self.views.contains_key(&(*id, client))
    }

    /// Whether a group began anew without this account, since a liar had no key package of it; who began it was told.
    fn is_kept_out(&self, id: ConversationId, app: &App) -> bool {
        let own = app.account.map(|own| (id, own));
        let is_missed = own.is_some_and(|own| self.not_added.contains(&own));
        is_missed && self.anew.contains(&id) && self.plan.has(Villain::Liar)
    }

    /// Whom a client has seen, by conversation.
    pub(in crate::sim) fn views_of(&self, client: usize) -> Views {
        let own = self.views.iter().filter(|((_, who), _)| *who == client);
        own.map(|((id, _), view)| (*id, view.clone())).collect()
    }

    /// A client's disk is put back to a copy: it has seen no more than that.
    pub(in crate::sim) fn see_again(&mut self, client: usize, views: Views) {
        self.views.retain(|(_, who), _| *who != client);
        let own = views.into_iter().map(|(id, view)| ((id, client), view));
        self.views.extend(own);
    }

    /// An honest client comes into a conversation in which these are.
    fn comes_in(&mut self, client: usize, id: ConversationId) {
        let others = self.views.range((id, 0)..=(id, usize::MAX));
        let others = others.map(|((_, other), _)| *other);
        let others = others.filter(|other| !self.leavers.contains(&(id, *other)));
        self.met.insert((id, client), others.collect());
    }

    /// An honest client was told of these.
    fn has_seen(&mut self, client: usize, id: ConversationId, people: &[Person]) {
        let view = self.views.entry((id, client)).or_default();
        view.extend(people.iter().map(|person| person.identity_key));
    }

    /// Whether this client was invited into a part of the group that did not last: a traitor's trees are signed, and
    /// some come back by them; a server that was set back has forgotten who was invited. Then somebody honest who is
    /// in the group (or, where there is a traitor, was when he came) was never told of him; or the server
    /// has nobody honest as a member who could give the invitation back; or somebody else let himself in before it was
    /// given back, and who would have done that came over to him, and was told (SECURITY.md).
    fn was_never_in(&self, client: usize, app: &App, id: ConversationId) -> bool {
        let (is_copy, is_traitor) = (
            self.plan.has(Villain::ServerCopy),
            self.plan.has(Villain::Traitor),
        );
        let met = self.met.get(&(id, client));
        let has_met = |other| is_traitor && met.is_some_and(|met| met.contains(other));
        let is_in = |other: &usize| !self.leavers.contains(&(id, *other));
        let views = self.views.range((id, 0)..=(id, usize::MAX));
        let views = views.map(|((_, other), view)| (other, view));
        let views: Vec<_> = views.filter(|(other, _)| **other != client).collect();
        let mut listed = views
            .iter()
            .filter(|(other, _)| self.listed.contains(*other));
        let is_alone = !listed.any(|(other, _)| is_in(other));
        let is_new = |view: &BTreeSet<_>| app.account.is_some_and(|own| !view.contains(&own));
        let mut known = views
            .iter()
            .filter(|(other, _)| is_in(other) || has_met(other));
        let has_parted = app
            .account
            .is_some_and(|own| self.parted.contains(&(id, own)));
        is_copy && (is_alone || has_parted)
            || (is_copy || is_traitor) && known.any(|(_, view)| is_new(view))
    }

    /// What only breaks where somebody means ill is let pass where he does.
    pub(super) fn is_villains_work(&self, event: &Event) -> bool {
        match event {
            Event::Unreadable { .. } | Event::Compared { .. } => self.plan.is_any(),
            Event::KeyChanged { .. }
            | Event::Disconnected {
                why: DisconnectReason::Protocol,
                ..
            } => self.plan.has(Villain::Liar),
            _ => false,
        }
    }
}
