//! A new MLS group in a channel whose group nobody can follow any more (protocol.md §5.8): of all who
//! are on the server's list, as the next generation.

use core::time::Duration;
use std::collections::BTreeSet;

use bytes::Bytes;
use qpq_crypto::mls::Group;

use crate::client::Client;
use crate::client::event::{ConversationId, Event};
use crate::client::keep::keys::Name;
use crate::client::keep::record::DraftRecord;
use crate::client::link::rpc::Then;
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::channel::Change;
use crate::client::talk::commits::Kind;
use crate::client::talk::generation::group_id;
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;

/// Without a way in for so long, a new group is begun.
pub(super) const RESET_AFTER: Duration = Duration::from_secs(60);

impl Client {
    /// There is no way in: asks who is to be in a new group.
    pub(super) fn want_reset(&mut self, id: ConversationId) {
        let then = Then::ListMembers(id, 0);
        if !self.link.is_asked(&then) {
            let request = proto::ListGroupMembersRequest {
                channel_id: Bytes::copy_from_slice(id.as_bytes()),
            };
            self.call::<rpc::ListGroupMembers>(&request, then);
        }
    }

    /// Whether a new group waits for the list of who is to be in it.
    pub(in crate::client) fn is_reset_due(&self, id: ConversationId) -> bool {
        let attempt = self.rejoins.attempts.get(&id);
        let now = self.clock.now();
        attempt.is_some_and(|attempt| {
            attempt.reset.is_none() && now.since(attempt.began) >= RESET_AFTER
        })
    }

    /// These are to be in a new group, besides this account.
    pub(in crate::client) fn begin_reset(
        &mut self,
        id: ConversationId,
        others: BTreeSet<IdentityKey>,
    ) {
        if let Some(attempt) = self.rejoins.attempts.get_mut(&id) {
            attempt.reset = Some(others);
        }
        self.timers.cancel(Timer::Conversation(id, Pause::Rejoin));
        self.drive(id);
    }

    /// Who is to be in the new group that is being begun.
    pub(in crate::client) fn resetting(
        &self,
        id: ConversationId,
    ) -> Option<&BTreeSet<IdentityKey>> {
        self.rejoins.attempts.get(&id)?.reset.as_ref()
    }

    /// One who can't be in the new group.
    pub(in crate::client) fn reset_without(&mut self, id: ConversationId, key: IdentityKey) {
        if let Some(attempt) = self.rejoins.attempts.get_mut(&id)
            && let Some(others) = &mut attempt.reset
        {
            others.remove(&key);
        }
        let person = self.state.person(key);
        self.writer.emit(Event::NotAdded {
            conversation: id,
            person,
        });
        self.drive(id);
    }

    /// The new group was not to be: the way back is tried again from its beginning.
    pub(super) fn reset_failed(&mut self, id: ConversationId) {
        self.rejoins.attempts.remove(&id);
        self.wait_to_rejoin(id);
    }

    /// Makes the new group once the key packages of all who are to be in it are here.
    pub(super) fn drive_reset(&mut self, id: ConversationId) {
        let Some(others) = self.resetting(id).cloned() else {
            return;
        };
        let additions: Vec<Change> = others.iter().copied().map(Change::add).collect();
        if self.has_packages(id, &additions) {
            self.draft_reset(id, &additions);
        }
    }

    fn draft_reset(&mut self, id: ConversationId, additions: &[Change]) {
        let Some(generation) = self.next_generation(id) else {
            return;
        };
        let gid = group_id(id, generation);
        let (create, commit) = (self.rng.seed(), self.rng.seed());
        let (suite, now_ms) = (self.config.mls_suite, self.unix_ms());
        let packages = self.packages_of(id, additions);
        self.state.keep_mls(&mut self.writer);
        let Some(device) = &mut self.state.device else {
            return;
        };
        let made = match Group::create(device, &create, suite, &gid) {
            Ok(mut group) => {
                let packages: Vec<&[u8]> = packages.iter().map(AsRef::as_ref).collect();
                let out = match packages.is_empty() {
                    true => group.update(device, &commit),
                    false => group.add(device, &commit, &packages, now_ms),
                };
                out.map_err(|_| {
                    let refused = group.not_addable(device, &commit, &packages, now_ms);
                    refused.unwrap_or_default()
                })
            }
            Err(_) => Err(Vec::new()),
        };
        let out = match made {
            Ok(out) => out,
            Err(refused) => {
                self.state.forget_mls();
                return match refused.is_empty() {
                    true => self.reset_failed(id),
                    false => self.drop_packages(id, &packages, &refused),
                };
            }
        };
        let record = self.draft_record(id, additions, &packages, out, Kind::Reset(generation));
        self.writer.put(&Name::Draft(id), &record);
        self.state.drafts.insert(id, record);
        self.submit(id);
    }

    fn next_generation(&self, id: ConversationId) -> Option<u32> {
        let channel = self.state.conversations.get(&id)?;
        channel.generation.checked_add(1)
    }

    /// The server gave the new group's first commit its slot.
    pub(in crate::client) fn reset_accepted(&mut self, id: ConversationId, draft: &DraftRecord) {
        self.drop_rejoin_draft(id);
        let before = self.identities(id);
        let held = self.state.conversations.get(&id);
        let held = held.map(|channel| group_id(id, channel.generation));
        self.state.keep_mls(&mut self.writer);
        let Some(device) = &mut self.state.device else {
            return;
        };
        let loaded = Group::load(device, &group_id(id, draft.reset));
        let Ok(Some(mut group)) = loaded else {
            return self.reset_failed(id);
        };
        if group.confirm_pending(device).is_err() {
            return self.reset_failed(id);
        }
        if let Some(held) = held
            && let Ok(Some(old)) = Group::load(device, &held)
        {
            // Rows that do not go are in nobody's way.
            _ = old.delete(device);
        }
        self.state.groups.insert(id, group);
        self.slot_taken(id, draft.slot);
        self.change_channel(id, |channel| channel.generation = draft.reset);
        self.work.remove(&id);
        self.tell(id, Event::Reset { conversation: id });
        self.came_back(id, &before);
        self.fetch(Some(id));
        self.ask_witnesses(id);
    }

    /// Another commit has the slot, or the server refuses: the new group was none.
    pub(in crate::client) fn reset_lost(&mut self, id: ConversationId, draft: &DraftRecord) {
        self.drop_rejoin_draft(id);
        if let Some(device) = &mut self.state.device
            && let Ok(Some(group)) = Group::load(device, &group_id(id, draft.reset))
        {
            _ = group.delete(device);
        }
        self.work.remove(&id);
        self.reset_failed(id);
    }

    /// The key packages of all who are to be added.
    pub(in crate::client) fn packages_of(
        &self,
        id: ConversationId,
        additions: &[Change],
    ) -> Vec<Bytes> {
        let Some(work) = self.work.get(&id) else {
            return Vec::new();
        };
        additions
            .iter()
            .filter_map(|change| work.packages.get(&change.identity_key))
            .flatten()
            .cloned()
            .collect()
    }

    /// Goes on without the key packages at these positions; anyone who has no other is told of.
    pub(in crate::client) fn drop_packages(
        &mut self,
        id: ConversationId,
        all: &[Bytes],
        refused: &[usize],
    ) {
        let bad: BTreeSet<&Bytes> = refused.iter().filter_map(|at| all.get(*at)).collect();
        let mut without: Vec<IdentityKey> = Vec::new();
        let mut touched: Vec<IdentityKey> = Vec::new();
        if let Some(work) = self.work.get_mut(&id) {
            for (key, packages) in &mut work.packages {
                let before = packages.len();
                packages.retain(|package| !bad.contains(package));
                match packages.is_empty() {
                    true => without.push(*key),
                    false if packages.len() < before => touched.push(*key),
                    false => {}
                }
            }
        }
        for key in touched {
            let person = self.state.person(key);
            self.writer.emit(Event::NotAdded {
                conversation: id,
                person,
            });
        }
        for key in without {
            if let Some(work) = self.work.get_mut(&id) {
                work.packages.remove(&key);
            }
            self.cannot_add(id, key);
        }
        self.drive(id);
    }
}
