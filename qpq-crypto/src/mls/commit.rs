//! Commits of this device: built, left pending until the server has ordered them, then applied or
//! dropped (protocol.md §5.7).

use std::collections::BTreeSet;

use openmls::prelude::{self as mls, LeafNodeIndex, Proposal, QueuedProposal, Sender, tls_codec};
use openmls_traits::OpenMlsProvider as _;

use super::{
    BadLeaf, Device, Group, GroupError, KeyPackageError, Member, change::Change, codec,
    group::TREE_INSIDE_UP_TO, key_package, provider::QpqProvider,
};
use crate::identity::{DeviceKey, IdentityKey};

/// A commit to publish. Store it with the batch and the intent behind it before sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOut {
    /// The commit, an `MLSMessage`.
    pub commit: Vec<u8>,
    /// For those it adds, an `MLSMessage`.
    pub welcome: Option<Vec<u8>>,
    /// GroupInfo of the epoch after it (an `MLSMessage`), to rejoin by.
    pub group_info: Vec<u8>,
    /// The TLS-encoded ratchet tree of the epoch after it, if it is too large to be inside
    /// `welcome` and `group_info`: more than [`TREE_INSIDE_UP_TO`] members.
    pub ratchet_tree: Option<Vec<u8>>,
}

/// What a commit of this device changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The epoch it led to.
    pub epoch: u64,
    /// Devices that are in since.
    pub added: Vec<Member>,
    /// Devices that are out since.
    pub removed: Vec<Member>,
}

impl Group {
    /// Adds devices by their key packages (bare, as [`Device::key_package`] gives them), with
    /// every queued proposal. Leaves a pending commit.
    ///
    /// # Errors
    /// [`GroupError::KeyPackage`] names the first that is not acceptable at `now_ms` (milliseconds since
    /// 1970) or whose device is in already; [`GroupError::PendingCommit`], [`GroupError::Inactive`].
    pub fn add(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
        key_packages: &[&[u8]],
        now_ms: u64,
    ) -> Result<CommitOut, GroupError> {
        let members = self.members().into_iter();
        let mut devices: BTreeSet<_> = members.map(|member| member.device_key).collect();
        let key_packages = key_packages
            .iter()
            .enumerate()
            .map(|(index, bytes)| {
                self.acceptable(bytes, now_ms)
                    .and_then(|key_package| {
                        let key = key_package.leaf_node().signature_key().as_slice();
                        let device = DeviceKey::try_from(key)
                            .map_err(|_| KeyPackageError::Leaf(BadLeaf::SignatureKey))?;
                        let is_new = devices.insert(device);
                        is_new
                            .then_some(key_package)
                            .ok_or(KeyPackageError::AlreadyIn)
                    })
                    .map_err(|error| GroupError::KeyPackage { index, error })
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.commit(device, seed, None, key_packages)
    }

    /// Which of these key packages [`add`](Group::add) does not take, by their positions. An inspection
    /// does not see all that adding looks at, so each is added by the same code and taken back; if
    /// they do not go together, those are named that do not go with the ones before them.
    ///
    /// # Errors
    /// [`GroupError::PendingCommit`], [`GroupError::Inactive`], [`GroupError::State`].
    pub fn not_addable(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
        key_packages: &[&[u8]],
        now_ms: u64,
    ) -> Result<Vec<usize>, GroupError> {
        let mut fits = |packages: &[&[u8]]| match self.add(device, seed, packages, now_ms) {
            Ok(_) => self.clear_pending(device).map(|()| true),
            Err(GroupError::KeyPackage { .. } | GroupError::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        };
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (index, package) in key_packages.iter().enumerate() {
            match fits(&[package])? {
                true => good.push((index, *package)),
                false => bad.push(index),
            }
        }
        let all: Vec<&[u8]> = good.iter().map(|(_, package)| *package).collect();
        if all.is_empty() || fits(&all)? {
            return Ok(bad);
        }
        let mut together: Vec<&[u8]> = Vec::new();
        for (index, package) in good {
            together.push(package);
            if !fits(&together)? {
                together.pop();
                bad.push(index);
            }
        }
        bad.sort_unstable();
        Ok(bad)
    }

    /// Removes a device of this account, the one with the lowest leaf index, with queued proposals.
    /// Leaves a pending commit.
    ///
    /// One device a commit (see [`Group`]): where the account has several, remove it again once the
    /// commit is confirmed, until it is not among the [`members`](Group::members).
    ///
    /// # Errors
    /// [`GroupError::NotAMember`], [`GroupError::OwnRemoval`], [`GroupError::PendingCommit`],
    /// [`GroupError::Inactive`].
    pub fn remove(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
        who: &IdentityKey,
    ) -> Result<CommitOut, GroupError> {
        let own = self.member(self.own_leaf()).ok_or(GroupError::Inactive)?;
        if own.identity_key == *who {
            return Err(GroupError::OwnRemoval);
        }
        let members = self.members();
        let first = members.iter().find(|member| member.identity_key == *who);
        let leaf = first.ok_or(GroupError::NotAMember(*who))?.leaf;
        self.remove_leaf(device, seed, leaf)
    }

    /// Removes the device on this leaf, for instance a revoked one, with queued proposals. Leaves a
    /// pending commit.
    ///
    /// # Errors
    /// [`GroupError::OwnRemoval`] for the leaf of this device, [`GroupError::EmptyLeaf`],
    /// [`GroupError::PendingCommit`], [`GroupError::Inactive`].
    pub fn remove_leaf(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
        leaf: u32,
    ) -> Result<CommitOut, GroupError> {
        if leaf == self.own_leaf() {
            return Err(GroupError::OwnRemoval);
        }
        self.member(leaf).ok_or(GroupError::EmptyLeaf(leaf))?;
        self.commit(device, seed, Some(leaf), Vec::new())
    }

    /// Replaces this device's leaf key and the secrets on its path, with every queued proposal.
    /// Leaves a pending commit.
    ///
    /// # Errors
    /// [`GroupError::PendingCommit`], [`GroupError::Inactive`].
    pub fn update(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
    ) -> Result<CommitOut, GroupError> {
        self.commit(device, seed, None, Vec::new())
    }

    /// Commits the queued proposals, if any. Leaves a pending commit.
    ///
    /// # Errors
    /// [`GroupError::PendingCommit`], [`GroupError::Inactive`].
    pub fn commit_pending_proposals(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
    ) -> Result<Option<CommitOut>, GroupError> {
        if !self.mls.has_pending_proposals() {
            return Ok(None);
        }
        self.update(device, seed).map(Some)
    }

    /// Proposes this device's own removal, for another member to commit (protocol.md §5.10): an
    /// `MLSMessage` to enqueue to the members. Until it is committed this device can still read,
    /// but not send.
    ///
    /// # Errors
    /// [`GroupError::PendingCommit`], [`GroupError::Inactive`].
    pub fn leave(&mut self, device: &mut Device, seed: &[u8; 32]) -> Result<Vec<u8>, GroupError> {
        self.ready()?;
        self.attempt(device, |group, device| {
            let proposal = group
                .mls
                .leave_group(&device.seeded(seed), device.signer())
                .map_err(refused)?;
            encode(&proposal)
        })
    }

    /// Whether proposals are queued, its own to leave included.
    pub fn has_pending_proposals(&self) -> bool {
        self.mls.has_pending_proposals()
    }

    /// The other devices whose queued proposals ask that they be removed, by leaf index. The next
    /// commit takes one of them (see [`Group`]); remember the others before it is confirmed.
    pub fn leaving(&self) -> Vec<Member> {
        let leaves = self.queued_removals().into_iter();
        let others = leaves.filter(|leaf| *leaf != self.own_leaf());
        others.filter_map(|leaf| self.member(leaf)).collect()
    }

    /// Whether a commit waits for the server's answer.
    pub fn has_pending_commit(&self) -> bool {
        self.mls.pending_commit().is_some()
    }

    /// Applies the pending commit: the server gave it the slot.
    ///
    /// # Errors
    /// [`GroupError::NoPendingCommit`].
    pub fn confirm_pending(&mut self, device: &mut Device) -> Result<Committed, GroupError> {
        let staged = self
            .mls
            .pending_commit()
            .ok_or(GroupError::NoPendingCommit)?;
        let change = Change::of(staged);
        let removed = change.removed_from(self);
        self.attempt(device, |group, device| {
            group
                .mls
                .merge_pending_commit(&device.unseeded())
                .map_err(refused)
        })?;
        Ok(Committed {
            epoch: self.epoch(),
            added: change.added_to(self),
            removed,
        })
    }

    /// Drops the pending commit: another one took the slot. Queued proposals stay.
    ///
    /// # Errors
    /// [`GroupError::NoPendingCommit`].
    pub fn clear_pending(&mut self, device: &mut Device) -> Result<(), GroupError> {
        if !self.has_pending_commit() {
            return Err(GroupError::NoPendingCommit);
        }
        self.attempt(device, |group, device| {
            Ok(group.mls.clear_pending_commit(device.rows())?)
        })
    }

    fn acceptable(&self, bytes: &[u8], now_ms: u64) -> Result<mls::KeyPackage, KeyPackageError> {
        let key_package = key_package::verify(bytes)?;
        if key_package.ciphersuite() != self.mls.ciphersuite() {
            return Err(KeyPackageError::Suite(key_package.ciphersuite().into()));
        }
        key_package::check(&key_package, self.policy, now_ms)?;
        Ok(key_package)
    }

    fn ready(&self) -> Result<(), GroupError> {
        if !self.is_active() {
            return Err(GroupError::Inactive);
        }
        if self.has_pending_commit() {
            return Err(GroupError::PendingCommit);
        }
        Ok(())
    }

    /// How many devices the queued proposals add.
    fn queued_additions(&self) -> usize {
        self.mls
            .pending_proposals()
            .filter(|queued| matches!(queued.proposal(), Proposal::Add(_)))
            .count()
    }

    /// The leaves that queued proposals would empty.
    fn queued_removals(&self) -> BTreeSet<u32> {
        let queued = self.mls.pending_proposals();
        let removals = queued.filter(|queued| !matches!(queued.proposal(), Proposal::Update(_)));
        removals.filter_map(leaf_of).collect()
    }

    /// Which leaf the next commit is about, of those that queued proposals are about.
    fn next_leaf(&self) -> Option<u32> {
        let updated = self.mls.pending_proposals().filter_map(leaf_of);
        let mut leaves = self.queued_removals().into_iter().chain(updated);
        leaves.find(|leaf| *leaf != self.own_leaf())
    }

    fn commit(
        &mut self,
        device: &Device,
        seed: &[u8; 32],
        removing: Option<u32>,
        adding: Vec<mls::KeyPackage>,
    ) -> Result<CommitOut, GroupError> {
        self.commit_by(device, |device| device.seeded(seed), removing, adding)
    }

    pub(super) fn commit_by(
        &mut self,
        device: &Device,
        provider: impl for<'d> FnOnce(&'d Device) -> QpqProvider<'d>,
        removing: Option<u32>,
        adding: Vec<mls::KeyPackage>,
    ) -> Result<CommitOut, GroupError> {
        self.ready()?;
        let most = self.mls.members().count() + self.queued_additions() + adding.len();
        let tree_inside = most <= TREE_INSIDE_UP_TO;
        self.attempt(device, |group, device| {
            let provider = provider(device);
            // openmls 0.9.2 puts proposals about leaves in the order of a hash map, so there may be
            // one. Never that of our own request to leave, which another member has to commit.
            let leaf = removing.or_else(|| group.next_leaf());
            let queued = group.queued_removals();
            let fresh = removing.filter(|leaf| !queued.contains(leaf));
            // Always with a path: every commit heals what leaked before it.
            let (commit, welcome, group_info) = group
                .mls
                .commit_builder()
                .consume_proposal_store(true)
                .force_self_update(true)
                .propose_adds(adding)
                .propose_removals(fresh.map(LeafNodeIndex::new))
                .load_psks(provider.storage())
                .map_err(refused)?
                .create_group_info(true)
                .use_ratchet_tree_extension(tree_inside)
                .build(
                    provider.rand(),
                    provider.crypto(),
                    device.signer(),
                    |queued| leaf_of(queued).is_none_or(|about| Some(about) == leaf),
                )
                .map_err(refused)?
                .stage_commit(&provider)
                .map_err(refused)?
                .into_messages();
            let ratchet_tree = match welcome {
                Some(_) if !tree_inside => Some(group.tree_after_pending(&provider)?),
                _ => None,
            };
            Ok(CommitOut {
                commit: encode(&commit)?,
                welcome: welcome.as_ref().map(encode).transpose()?,
                group_info: encode(&group_info.ok_or(GroupError::State)?)?,
                ratchet_tree,
            })
        })
    }

    fn tree_after_pending(&self, provider: &QpqProvider<'_>) -> Result<Vec<u8>, GroupError> {
        let staged = self.mls.pending_commit().ok_or(GroupError::State)?;
        let tree = staged
            .export_ratchet_tree(provider.crypto(), self.mls.export_ratchet_tree())
            .map_err(refused)?
            .ok_or(GroupError::State)?;
        encode(&tree)
    }
}

/// The leaf that a proposal changes or empties.
fn leaf_of(queued: &QueuedProposal) -> Option<u32> {
    match (queued.proposal(), queued.sender()) {
        (Proposal::Remove(remove), _) => Some(remove.removed().u32()),
        (Proposal::Update(_) | Proposal::SelfRemove, Sender::Member(leaf)) => Some(leaf.u32()),
        _ => None,
    }
}

fn encode(message: &impl tls_codec::Serialize) -> Result<Vec<u8>, GroupError> {
    codec::encode(message).ok_or(GroupError::State)
}

fn refused(error: impl std::fmt::Display) -> GroupError {
    GroupError::Refused(error.to_string())
}
