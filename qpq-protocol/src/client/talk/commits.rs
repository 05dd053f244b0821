//! Commits and their slots: publish, then apply (protocol.md §5.7-5.8).
//!
//! A change of members is wanted, durably. When nothing else is under way it becomes a commit,
//! stored as a draft with its exact bytes, and goes to the server, again and again until there is an
//! answer: accepted, or another one's commit has the slot. Then the draft is dropped, the other
//! commit is taken in, and what is still wanted is committed anew. While there is a draft the
//! queue waits: nothing may be merged before the fate of the own commit is known. One that has its slot is
//! merged when what lay in the queue before it has been read.

use bytes::Bytes;
use qpq_crypto::mls::{CommitOut, GroupError, inspect_key_package};
use sha2::{Digest as _, Sha256};

use super::channel::{Change, Phase};
use crate::client::Client;
use crate::client::encoded;
use crate::client::error::IntentError;
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::keep::keys::Name;
use crate::client::keep::record::DraftRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::ids::{DeviceId, IdentityKey};
use crate::method::rpc;
use crate::proto;
use crate::proto::delivery_payload::Payload;
use crate::status::Status;

/// What a commit of this device is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Kind {
    /// Members come, one of an account's devices goes, or only the keys are new.
    Change,
    /// The last device of an account goes.
    LastDevice,
    /// The first of a DM that is opened again.
    Reopen,
    /// The first of a new group of this generation, in the place of the one that is held.
    Reset(u32),
}

impl Client {
    /// Wants a change of members. Kept until it is made or cannot be.
    pub(in crate::client) fn want(&mut self, id: ConversationId, change: Change) {
        self.change_channel(id, |channel| {
            if !channel.wanted.contains(&change) {
                channel.wanted.push(change);
            }
        });
        self.drive(id);
    }

    pub(super) fn unwant(&mut self, id: ConversationId, gone: impl Fn(&Change) -> bool) {
        self.change_channel(id, |channel| channel.wanted.retain(|change| !gone(change)));
    }

    /// Sends the draft, or makes one of what is wanted.
    pub(super) fn drive_commit(&mut self, id: ConversationId) {
        if self.state.drafts.contains_key(&id) {
            return self.submit(id);
        }
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        let is_idle = channel.wanted.is_empty() && !self.is_rotation_wanted(id);
        let gives_way = self.timers.is_set(Timer::Conversation(id, Pause::Courtesy));
        if is_idle || gives_way || self.is_behind(id) || self.is_denied(id) {
            return;
        }
        let members = self.identities(id);
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        let is_made = |change: &Change| {
            !change.of_list && members.contains(&change.identity_key) != change.remove
        };
        let open: Vec<Change> = channel
            .wanted
            .iter()
            .filter(|c| !is_made(c))
            .copied()
            .collect();
        if open.len() < channel.wanted.len() {
            self.unwant(id, is_made);
        }
        let (of_list, of_tree): (Vec<Change>, Vec<Change>) =
            open.into_iter().partition(|change| change.of_list);
        // A commit removes one device: the next ones follow when it is merged.
        if let Some(removal) = of_tree.iter().find(|change| change.remove) {
            self.draft(id, &[*removal], &[]);
        } else if !of_tree.is_empty() && self.has_packages(id, &of_tree) {
            let packages = self.packages_of(id, &of_tree);
            self.draft(id, &of_tree, &packages);
        } else if of_tree.is_empty() && (!of_list.is_empty() || self.is_rotation_wanted(id)) {
            self.draft(id, &of_list, &[]);
        }
    }

    /// Whether the key packages of all who are to be added are here; asks for those that are not.
    pub(in crate::client) fn has_packages(
        &mut self,
        id: ConversationId,
        additions: &[Change],
    ) -> bool {
        let work = self.work.entry(id).or_default();
        let missing: Vec<_> = additions
            .iter()
            .map(|change| change.identity_key)
            .filter(|key| !work.packages.contains_key(key))
            .collect();
        for key in &missing {
            let then = Then::FetchPackages(id, *key);
            if !self.link.is_asked(&then) {
                let request = proto::FetchKeyPackagesRequest {
                    identity_key: Bytes::copy_from_slice(key.as_bytes()),
                };
                self.call::<rpc::FetchKeyPackages>(&request, then);
            }
        }
        missing.is_empty()
    }

    pub(in crate::client) fn on_packages(
        &mut self,
        id: ConversationId,
        key: IdentityKey,
        answer: Answer<rpc::FetchKeyPackages>,
    ) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) if fault.status == Status::NotFound => {
                return self.cannot_add(id, key);
            }
            Err(fault) => return self.cannot_change(id, &[key], &Self::refusal(fault)),
        };
        let (suite, now_ms) = (self.config.mls_suite, self.unix_ms());
        let suite = self
            .state
            .group(id)
            .map_or(suite, |(_, group)| group.suite());
        let usable = |package: &proto::DeviceKeyPackage| {
            inspect_key_package(&package.package, now_ms).is_ok_and(|info| {
                info.suite == suite
                    && info.credential.identity_key == key
                    && info.credential.device_id.as_bytes() == package.device_id.as_ref()
            })
        };
        let packages: Vec<Bytes> = answer
            .packages
            .into_iter()
            .filter(usable)
            .map(|package| package.package)
            .collect();
        if packages.is_empty() {
            return self.cannot_add(id, key);
        }
        self.work
            .entry(id)
            .or_default()
            .packages
            .insert(key, packages);
        self.drive(id);
    }

    pub(in crate::client) fn cannot_add(&mut self, id: ConversationId, key: IdentityKey) {
        let name = self.state.person(key).name.unwrap_or_default();
        self.cannot_change(id, &[key], &IntentError::NoDevices { name });
    }

    /// Gives up what was wanted of these accounts; the others go on. A DM without its peer is none.
    pub(super) fn cannot_change(
        &mut self,
        id: ConversationId,
        keys: &[IdentityKey],
        error: &IntentError,
    ) {
        if self.phase(id) == Some(Phase::Founding) {
            return self.abandon_channel(id, error);
        }
        if self.resetting(id).is_some() {
            return keys.iter().for_each(|key| self.reset_without(id, *key));
        }
        let channel = self.state.conversations.get(&id);
        let wanted = channel.map_or_else(Vec::new, |channel| channel.wanted.clone());
        // All of them, before anything is committed again.
        self.unwant(id, |change| keys.contains(&change.identity_key));
        for key in keys {
            if self.change_failed(id, *key, error) {
                continue;
            }
            let conversation = id;
            let person = self.state.person(*key);
            if wanted.contains(&Change::add(*key)) {
                self.writer.emit(Event::NotAdded {
                    conversation,
                    person,
                });
            } else if wanted.contains(&Change::remove(*key)) {
                let error = error.clone();
                self.writer.emit(Event::NotRemoved {
                    conversation,
                    person,
                    error,
                });
            }
        }
        self.drive(id);
    }

    /// Makes the commit, stores it with what it is for, and sends it.
    fn draft(&mut self, id: ConversationId, changes: &[Change], packages: &[Bytes]) {
        let (seed, now_ms) = (self.rng.seed(), self.unix_ms());
        let Some((device, group)) = self.state.group(id) else {
            return self.rejoin(id, RejoinReason::State);
        };
        // What others propose is wanted, or not, by itself.
        if group.drop_proposals(device).is_err() {
            return self.rejoin(id, RejoinReason::State);
        }
        let removal = changes
            .iter()
            .find(|change| change.remove && !change.of_list);
        let made = match removal {
            Some(change) => group.remove(device, &seed, &change.identity_key),
            None if packages.is_empty() => group.update(device, &seed),
            None => {
                let packages: Vec<&[u8]> = packages.iter().map(AsRef::as_ref).collect();
                group.add(device, &seed, &packages, now_ms)
            }
        };
        let devices_of = |change: &Change| {
            let members = group.members().into_iter();
            let own = members.filter(|member| member.identity_key == change.identity_key);
            own.count()
        };
        let is_last = removal.is_some_and(|change| devices_of(change) == 1);
        let out = match made {
            Ok(out) => out,
            Err(error) => return self.not_made(id, changes, packages, &error),
        };
        let is_reopened = self.phase(id) == Some(Phase::Founding)
            && self
                .state
                .conversations
                .get(&id)
                .is_some_and(|channel| channel.slot.next() > 0);
        let kind = match is_last {
            true => Kind::LastDevice,
            false if is_reopened => Kind::Reopen,
            false => Kind::Change,
        };
        let record = self.draft_record(id, changes, packages, out, kind);
        self.writer.put(&Name::Draft(id), &record);
        self.state.drafts.insert(id, record);
        self.submit(id);
    }

    fn not_made(
        &mut self,
        id: ConversationId,
        changes: &[Change],
        packages: &[Bytes],
        error: &GroupError,
    ) {
        if matches!(error, GroupError::Inactive | GroupError::State) {
            return self.rejoin(id, RejoinReason::State);
        }
        // One bad key package spoils the whole commit: the others go on without it.
        let (seed, now_ms) = (self.rng.seed(), self.unix_ms());
        if let Some((device, group)) = self.state.group(id).filter(|_| !packages.is_empty()) {
            let all: Vec<&[u8]> = packages.iter().map(AsRef::as_ref).collect();
            let refused = group.not_addable(device, &seed, &all, now_ms);
            if let Some(refused) = refused.ok().filter(|refused| !refused.is_empty()) {
                return self.drop_packages(id, packages, &refused);
            }
        }
        self.work.remove(&id);
        let all: Vec<_> = changes.iter().map(|change| change.identity_key).collect();
        self.cannot_change(id, &all, &IntentError::State);
    }

    pub(in crate::client) fn draft_record(
        &mut self,
        id: ConversationId,
        changes: &[Change],
        packages: &[Bytes],
        out: CommitOut,
        kind: Kind,
    ) -> DraftRecord {
        let slot = self
            .state
            .conversations
            .get(&id)
            .map_or(0, |channel| channel.slot.next());
        let commit = Bytes::from(out.commit);
        // Who has other devices in the tree stays on the list, so that they get the commits too.
        let listed = |remove: bool| -> Vec<Bytes> {
            let is_last = kind == Kind::LastDevice;
            let moves = |change: &Change| !remove || is_last || change.of_list;
            let changes = changes
                .iter()
                .filter(|change| change.remove == remove && !id.is_dm() && moves(change));
            changes
                .map(|change| Bytes::copy_from_slice(change.identity_key.as_bytes()))
                .collect()
        };
        let mut request = proto::SubmitCommitRequest {
            channel_id: Bytes::copy_from_slice(id.as_bytes()),
            slot,
            commit: commit.clone(),
            welcomes: Vec::new(),
            group_info: out.group_info.into(),
            message_id: Bytes::copy_from_slice(&self.rng.child().uuid_v7(self.clock.unix())),
            add_members: listed(false),
            remove_members: listed(true),
            reset: matches!(kind, Kind::Reset(_) | Kind::Reopen),
            ..Default::default()
        };
        if let Some(welcome) = out.welcome {
            let welcome = proto::GroupWelcome {
                welcome: welcome.into(),
                ..Default::default()
            };
            let payload = encoded(&proto::DeliveryPayload {
                payload: Some(Payload::Welcome(welcome)),
            });
            let now_ms = self.unix_ms();
            for (recipient, device_id) in recipients(packages, now_ms) {
                request.welcomes.push(proto::CommitWelcome {
                    recipient_key: Bytes::copy_from_slice(recipient.as_bytes()),
                    device_id: Bytes::copy_from_slice(device_id.as_bytes()),
                    payload: match request.welcomes.is_empty() {
                        true => payload.clone(),
                        // Repeats the one before.
                        false => Bytes::new(),
                    },
                });
            }
        }
        DraftRecord {
            request: encoded(&request),
            slot,
            commit_hash: Sha256::digest(&commit).to_vec(),
            changes: changes.iter().map(|change| change.record()).collect(),
            rejoin: None,
            reset: match kind {
                Kind::Reset(generation) => generation,
                Kind::Change | Kind::LastDevice | Kind::Reopen => 0,
            },
        }
    }
}

/// The devices that these key packages stand for.
fn recipients(packages: &[Bytes], now_ms: u64) -> Vec<(IdentityKey, DeviceId)> {
    packages
        .iter()
        .filter_map(|package| inspect_key_package(package, now_ms).ok())
        .map(|info| (info.credential.identity_key, info.credential.device_id))
        .collect()
}
