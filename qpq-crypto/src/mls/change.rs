//! What a commit changes, and the tests that every member puts it to beyond those of RFC 9420.

use std::collections::BTreeSet;

use openmls::prelude::{self as mls, LeafNode, LeafNodeIndex, Proposal, Sender, StagedCommit};

use super::{BadLeaf, Group, KeyPackageError, Member, Policy, key_package::check_lifetime, suite};
use crate::identity::IdentityKey;

/// Whom a commit lets in and out.
pub(super) struct Change {
    /// Signature keys of new leaves: where they will sit shows only afterwards.
    added: BTreeSet<Vec<u8>>,
    /// Leaf indices in the epoch before.
    removed: Vec<u32>,
}

impl Change {
    pub fn of(staged: &StagedCommit) -> Self {
        let added = staged
            .add_proposals()
            .map(|add| key_of(add.add_proposal().key_package().leaf_node()))
            .collect();
        let removed = staged
            .queued_proposals()
            .filter_map(|queued| match (queued.proposal(), queued.sender()) {
                (Proposal::Remove(remove), _) => Some(remove.removed().u32()),
                (Proposal::SelfRemove, Sender::Member(leaf)) => Some(leaf.u32()),
                _ => None,
            })
            .collect();
        Change { added, removed }
    }

    /// The change of an external commit, whose sender is new as well.
    pub fn of_external(staged: &StagedCommit) -> Self {
        let mut change = Change::of(staged);
        change
            .added
            .extend(staged.update_path_leaf_node().map(key_of));
        change
    }

    /// Who goes, asked before the merge.
    pub fn removed_from(&self, group: &Group) -> Vec<Member> {
        self.removed
            .iter()
            .filter_map(|leaf| group.member(*leaf))
            .collect()
    }

    /// Who came, asked after the merge.
    pub fn added_to(&self, group: &Group) -> Vec<Member> {
        if self.added.is_empty() {
            // Listing the members copies every leaf.
            return Vec::new();
        }
        group
            .members()
            .into_iter()
            .filter(|member| self.added.contains(member.device_key.as_ref()))
            .collect()
    }
}

/// Why a commit or proposal is void though openmls takes it.
pub(super) enum Unacceptable {
    /// A leaf names its owner wrongly.
    Leaf(BadLeaf),
    /// An added key package depends on the members' clocks.
    KeyPackage(KeyPackageError),
    /// The group would no longer state our profile.
    Profile,
    /// A kind of message that our groups do not use.
    Kind,
    /// A proposal that is not about its sender alone.
    NotOneself,
}

impl std::fmt::Display for Unacceptable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unacceptable::Leaf(error) => error.fmt(f),
            Unacceptable::KeyPackage(error) => error.fmt(f),
            Unacceptable::Profile => f.write_str("the group would no longer state our profile"),
            Unacceptable::Kind => f.write_str("our groups do not use this kind of message"),
            Unacceptable::NotOneself => f.write_str("in our groups one proposes only to leave"),
        }
    }
}

impl From<BadLeaf> for Unacceptable {
    fn from(error: BadLeaf) -> Self {
        Unacceptable::Leaf(error)
    }
}

/// Checks a commit of a member or of one who lets himself in again, and says whose it is. Every test
/// is on what all members see alike, so that they come to the same answer.
pub(super) fn check_commit(
    group: &Group,
    sender: &Sender,
    staged: &StagedCommit,
) -> Result<Option<IdentityKey>, Unacceptable> {
    if group.policy == Policy::Qpq && !suite::has_profile(staged.group_context()) {
        return Err(Unacceptable::Profile);
    }
    for queued in staged.queued_proposals() {
        check_proposal(group, queued.sender(), queued.proposal())?;
    }
    let owner = |leaf: &LeafNodeIndex| group.member(leaf.u32()).map(|member| member.identity_key);
    match (sender, staged.update_path_leaf_node()) {
        (Sender::Member(leaf), Some(new)) => {
            check_same(group, *leaf, new)?;
            Ok(owner(leaf))
        }
        (Sender::Member(leaf), None) => Ok(owner(leaf)),
        (Sender::NewMemberCommit, Some(new)) => check_rejoin(group, staged, new).map(Some),
        _ => Err(Unacceptable::Kind),
    }
}

/// Checks a proposal that comes alone. Anyone who commits next commits it too, so that in our groups it
/// can only be one's own leaving (protocol.md §5.10): everything else is in a commit of who wants it.
pub(super) fn check_standalone(
    group: &Group,
    sender: &Sender,
    proposal: &Proposal,
) -> Result<(), Unacceptable> {
    check_proposal(group, sender, proposal)?;
    let leaves = match (proposal, sender) {
        (Proposal::Remove(remove), Sender::Member(leaf)) => remove.removed() == *leaf,
        (Proposal::SelfRemove, Sender::Member(_)) => true,
        _ => false,
    };
    if leaves || group.policy == Policy::Interop {
        Ok(())
    } else {
        Err(Unacceptable::NotOneself)
    }
}

/// Checks a proposal, alone or in a commit.
fn check_proposal(group: &Group, sender: &Sender, proposal: &Proposal) -> Result<(), Unacceptable> {
    match (proposal, sender) {
        (Proposal::Add(add), _) => {
            check_leaf(group.policy, 0, add.key_package().leaf_node())?;
            match group.policy {
                Policy::Qpq => check_lifetime(add.key_package()).map_err(Unacceptable::KeyPackage),
                Policy::Interop => Ok(()),
            }
        }
        (Proposal::Update(update), Sender::Member(leaf)) => {
            check_same(group, *leaf, update.leaf_node())
        }
        // Who holds a pre-shared key differs between members; the others change what a group is.
        (
            Proposal::PreSharedKey(_)
            | Proposal::ReInit(_)
            | Proposal::GroupContextExtensions(_)
            | Proposal::Custom(_),
            _,
        ) if group.policy == Policy::Qpq => Err(Unacceptable::Kind),
        _ => Ok(()),
    }
}

/// A leaf's new content must belong to the same device of the same account.
fn check_same(group: &Group, leaf: LeafNodeIndex, new: &LeafNode) -> Result<(), Unacceptable> {
    let after = check_leaf(group.policy, leaf.u32(), new)?;
    let before = group.member(leaf.u32());
    let same = before.is_some_and(|before| {
        (before.identity_key, before.device_id) == (after.identity_key, after.device_id)
    });
    if same || group.policy == Policy::Interop {
        Ok(())
    } else {
        Err(BadLeaf::Changed.into())
    }
}

/// An external commit is only for accounts in the tree: it adds a device of theirs, or puts one
/// back in place of its old leaf (protocol.md §5.12).
fn check_rejoin(
    group: &Group,
    staged: &StagedCommit,
    new: &LeafNode,
) -> Result<IdentityKey, Unacceptable> {
    let joining = check_leaf(group.policy, 0, new)?;
    if group.policy == Policy::Interop {
        return Ok(joining.identity_key);
    }
    let is_member = group
        .members()
        .iter()
        .any(|member| member.identity_key == joining.identity_key);
    if !is_member {
        return Err(BadLeaf::Stranger.into());
    }
    let own_leaves_only = Change::of(staged)
        .removed_from(group)
        .iter()
        .all(|old| (old.identity_key, old.device_id) == (joining.identity_key, joining.device_id));
    if own_leaves_only {
        Ok(joining.identity_key)
    } else {
        Err(BadLeaf::Changed.into())
    }
}

fn check_leaf(policy: Policy, index: u32, leaf: &LeafNode) -> Result<Member, BadLeaf> {
    policy.check(index, leaf.signature_key().as_slice(), leaf.credential())
}

fn key_of(leaf: &mls::LeafNode) -> Vec<u8> {
    leaf.signature_key().as_slice().to_vec()
}
