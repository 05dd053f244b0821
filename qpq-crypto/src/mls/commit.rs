//! Commits of this device: built, left pending until the server has ordered them, then applied or
//! dropped (protocol.md §5.7).

use std::collections::BTreeSet;

use openmls::prelude::{
    self as mls, CommitBuilder, Initial, LeafNodeIndex, Proposal, QueuedProposal, tls_codec,
};
use openmls_traits::OpenMlsProvider as _;

use super::{
    Device, Group, GroupError, KeyPackageError, Member, change::Change, codec,
    group::TREE_INSIDE_UP_TO, key_package, provider::QpqProvider,
};
use crate::identity::IdentityKey;

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
    /// [`GroupError::KeyPackage`] names the first that is not acceptable at `now_ms`;
    /// [`GroupError::PendingCommit`], [`GroupError::Inactive`]; [`GroupError::Refused`] for a
    /// device that is in already.
    pub fn add(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
        key_packages: &[&[u8]],
        now_ms: u64,
    ) -> Result<CommitOut, GroupError> {
        let key_packages = key_packages
            .iter()
            .enumerate()
            .map(|(index, bytes)| {
                self.acceptable(bytes, now_ms)
                    .map_err(|error| GroupError::KeyPackage { index, error })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let adding = key_packages.len();
        self.commit(device, seed, adding, |builder| {
            builder.propose_adds(key_packages)
        })
    }

    /// Removes all devices of these accounts, with every queued proposal. Leaves a pending commit.
    ///
    /// openmls 0.9.2 orders two or more removals in one commit by a hash map: what the commit does
    /// depends on the seed alone, its bytes then do not. The same holds for queued ones.
    ///
    /// # Errors
    /// [`GroupError::NotAMember`], [`GroupError::OwnRemoval`], [`GroupError::PendingCommit`],
    /// [`GroupError::Inactive`].
    pub fn remove(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
        who: &[IdentityKey],
    ) -> Result<CommitOut, GroupError> {
        let members = self.members();
        let own = self.member(self.own_leaf()).ok_or(GroupError::Inactive)?;
        if who.contains(&own.identity_key) {
            return Err(GroupError::OwnRemoval);
        }
        for identity_key in who {
            if !members.iter().any(|m| m.identity_key == *identity_key) {
                return Err(GroupError::NotAMember(*identity_key));
            }
        }
        let leaves = members
            .iter()
            .filter(|member| who.contains(&member.identity_key))
            .map(|member| member.leaf);
        self.remove_leaves(device, seed, leaves)
    }

    /// Removes single devices, for instance revoked ones, with every queued proposal. Leaves a
    /// pending commit.
    ///
    /// # Errors
    /// [`GroupError::OwnRemoval`], [`GroupError::PendingCommit`], [`GroupError::Inactive`];
    /// [`GroupError::Refused`] for a leaf that nobody sits on.
    pub fn remove_leaves(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
        leaves: impl IntoIterator<Item = u32>,
    ) -> Result<CommitOut, GroupError> {
        let queued: BTreeSet<u32> = self.queued_removals();
        let leaves: BTreeSet<u32> = leaves.into_iter().collect();
        if leaves.contains(&self.own_leaf()) {
            return Err(GroupError::OwnRemoval);
        }
        let fresh: Vec<_> = leaves
            .difference(&queued)
            .map(|leaf| LeafNodeIndex::new(*leaf))
            .collect();
        self.commit(device, seed, 0, |builder| builder.propose_removals(fresh))
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
        self.commit(device, seed, 0, |builder| builder)
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

    fn queued_removals(&self) -> BTreeSet<u32> {
        self.mls
            .pending_proposals()
            .filter_map(|queued| match queued.proposal() {
                Proposal::Remove(remove) => Some(remove.removed().u32()),
                _ => None,
            })
            .collect()
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

    fn commit(
        &mut self,
        device: &Device,
        seed: &[u8; 32],
        adding: usize,
        with: impl FnOnce(CommitBuilder<'_, Initial>) -> CommitBuilder<'_, Initial>,
    ) -> Result<CommitOut, GroupError> {
        self.ready()?;
        let most = self.mls.members().count() + self.queued_additions() + adding;
        let tree_inside = most <= TREE_INSIDE_UP_TO;
        self.attempt(device, |group, device| {
            let provider = device.seeded(seed);
            let own_leaf = group.mls.own_leaf_index();
            // Always with a path: every commit heals what leaked before it.
            let builder = group
                .mls
                .commit_builder()
                .consume_proposal_store(true)
                .force_self_update(true);
            let (commit, welcome, group_info) = with(builder)
                .load_psks(provider.storage())
                .map_err(refused)?
                .create_group_info(true)
                .use_ratchet_tree_extension(tree_inside)
                .build(
                    provider.rand(),
                    provider.crypto(),
                    device.signer(),
                    // Another member has to commit our own request to leave.
                    |queued| !removes(queued, own_leaf),
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

fn removes(queued: &QueuedProposal, leaf: LeafNodeIndex) -> bool {
    matches!(queued.proposal(), Proposal::Remove(remove) if remove.removed() == leaf)
}

fn encode(message: &impl tls_codec::Serialize) -> Result<Vec<u8>, GroupError> {
    codec::encode(message).ok_or(GroupError::State)
}

fn refused(error: impl std::fmt::Display) -> GroupError {
    GroupError::Refused(error.to_string())
}
