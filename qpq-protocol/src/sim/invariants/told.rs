//! What embedders and apps are told.

use std::collections::BTreeSet;

use super::{Checker, Invariant};
use crate::client::{self, Comparison, DisconnectReason, UnreadableReason};
use crate::ids::IdentityKey;
use crate::server;
use crate::sim::app::App;
use crate::sim::villains::kinds::Villain;
use crate::storage::Memory;
use crate::time::Time;

impl Checker {
    /// A server told its embedder something.
    pub(in crate::sim) fn server_told(&mut self, now: Time, server: usize, event: &server::Event) {
        match event {
            // Villains break the protocol; that they are told apart from others is not checked here.
            server::Event::PeerFault { .. } if self.plan.is_any() => {}
            server::Event::PeerFault { .. } | server::Event::Refused(_) => {
                self.fail(
                    now,
                    Invariant::NothingBreaks,
                    format!("s{server}: {event:?}"),
                );
            }
            _ => {}
        }
    }

    /// An app was told something; `memory` is its client's disk.
    pub(in crate::sim) fn app_told(
        &mut self,
        now: Time,
        client: usize,
        app: &mut App,
        event: &client::Event,
        memory: &Memory,
    ) {
        use client::Event;
        if self.plan.is_any() {
            self.told_in_harm(now, client, app, event);
        }
        if self.is_villains_work(event) {
            return;
        }
        match event {
            Event::Message(message) => {
                let (id, index) = (message.conversation, message.index);
                let stored = memory.get(&client::history_row(id, index)).is_some();
                self.need(now, stored, Invariant::AcknowledgedIsDurable, || {
                    format!("c{client} was told of message {index} of {id} before it was stored")
                });
                let first = app.told.insert((id, index), message.message_id).is_none();
                let once = app.told_ids.insert((id, message.message_id));
                self.need(now, first && once, Invariant::OnceInApp, || {
                    format!("c{client} was told twice of message {index} of {id}")
                });
            }
            Event::Membership {
                conversation,
                by,
                added,
                removed,
                epoch,
            } => {
                let names = |people: &[client::Person]| -> BTreeSet<IdentityKey> {
                    people.iter().map(|person| person.identity_key).collect()
                };
                let change = format!(
                    "{:?} {:?} {:?}",
                    by.identity_key,
                    names(added),
                    names(removed)
                );
                // A DM that a liar has somebody begin again counts its epochs anew.
                let begins_again = conversation.is_dm() && self.plan.has(Villain::Liar)
                    || self.anew.contains(conversation);
                // A server that was set back gives slots out again, and a traitor gives out signed trees of his own:
                // for a while there are two pasts. That they become one is looked at when all has settled.
                let forks = [Villain::ServerCopy, Villain::Traitor];
                let forks = forks.iter().any(|kind| self.plan.has(*kind));
                if begins_again || forks || self.returned.contains(&(client, *conversation)) {
                    return;
                }
                let known = self.epochs.entry((*conversation, *epoch));
                let fits = *known.or_insert_with(|| change.clone()) == change;
                self.need(now, fits, Invariant::OneWinner, || {
                    format!("epoch {epoch} of {conversation} came about in two ways")
                });
            }
            Event::Opened { account } => {
                let key = account.as_ref().map(|account| account.identity_key);
                let fits = app.account.is_none() || key == app.account;
                self.need(now, fits, Invariant::AcknowledgedIsDurable, || {
                    format!("c{client} lost its account")
                });
            }
            Event::Fatal(_)
            | Event::KeyChanged { .. }
            | Event::Compared {
                result: Comparison::OtherTree | Comparison::OtherCommit,
                ..
            } => {
                self.fail(
                    now,
                    Invariant::NothingBreaks,
                    format!("c{client}: {event:?}"),
                );
            }
            Event::Unreadable { why, .. } => {
                let fits = matches!(
                    why,
                    UnreadableReason::NoConversation | UnreadableReason::TooOld
                );
                self.need(now, fits, Invariant::NothingBreaks, || {
                    format!("c{client}: {event:?}")
                });
            }
            Event::Disconnected {
                why: DisconnectReason::Protocol,
                ..
            } => self.fail(
                now,
                Invariant::NothingBreaks,
                format!("c{client}: {event:?}"),
            ),
            _ => {}
        }
    }
}
