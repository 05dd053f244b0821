//! Coming back by external commit (RFC 9420 §12.4.3.2): a resync of a member that lost the
//! thread, or a further device of one.

use openmls::{
    group::{MlsGroup, ProposalStore, PublicGroup},
    messages::group_info::VerifiableGroupInfo,
    prelude::{
        ExternalCommitBuilder, LeafNodeParameters, MlsMessageBodyIn, MlsMessageIn, tls_codec,
    },
};
use openmls_traits::OpenMlsProvider as _;

use super::{
    CommitOut, Device, Group, JoinError, Member, Policy, Suite, codec,
    config::join_config,
    group::{delete_rows, read_tree},
    member, suite,
};

impl Group {
    /// Rejoins by a GroupInfo (an `MLSMessage`) of the group's current epoch, in place of what
    /// this device held of the group; if its leaf is still in the tree, the new one replaces it.
    ///
    /// The commit is applied here at once. If another one takes the slot, the group returned is
    /// worthless: [`Device::rollback`], or begin again with the new GroupInfo. The same seed on the same
    /// GroupInfo gives the same commit, so that it can be sent first and applied when it has the slot.
    /// The other members take it only from an account that is in the tree (protocol.md §5.12).
    ///
    /// Who serves the GroupInfo may serve an old one, from which members who went since read on. One
    /// older than the group held here is refused, so rejoin in its place rather than delete it first;
    /// compare [`Group::members`] with what is known of the group before sending.
    ///
    /// # Errors
    /// [`JoinError`] says what is wrong or missing; nothing changed then.
    pub fn rejoin(
        device: &mut Device,
        seed: &[u8; 32],
        group_info: &[u8],
        tree: Option<&[u8]>,
        policy: Policy,
    ) -> Result<(Self, CommitOut), JoinError> {
        let mark = device.rows().mark();
        let rejoined = rejoin(device, seed, group_info, tree, policy);
        if rejoined.is_err() {
            device.rows().back_to(mark);
        }
        rejoined
    }

    /// Whether this very device, not only its account, has a leaf in the tree that a GroupInfo (an
    /// `MLSMessage`) is of: then it was in the group, whatever it knows of that.
    ///
    /// # Errors
    /// [`JoinError`] says what is wrong or missing.
    pub fn has_own_leaf(
        device: &Device,
        group_info: &[u8],
        tree: Option<&[u8]>,
    ) -> Result<bool, JoinError> {
        let own = device.credential();
        let members = members_of(device, group_info, tree)?;
        Ok(members.iter().any(|member| {
            member.identity_key == own.identity_key && member.device_id == own.device_id
        }))
    }
}

fn rejoin(
    device: &Device,
    seed: &[u8; 32],
    group_info: &[u8],
    tree: Option<&[u8]>,
    policy: Policy,
) -> Result<(Group, CommitOut), JoinError> {
    let bytes = group_info;
    let group_info = read_group_info(bytes)?;
    let old = MlsGroup::load(device.rows(), group_info.group_id())?;
    if let Some(old) = &old {
        let (epoch, held) = (group_info.epoch().as_u64(), old.epoch().as_u64());
        if epoch < held {
            return Err(JoinError::PastEpoch { epoch, held });
        }
    }
    if policy == Policy::Qpq && !is_in_tree(device, bytes, tree)? {
        return Err(JoinError::Stranger);
    }
    let suite = Suite::from_ciphersuite(group_info.ciphersuite())
        .filter(|suite| suite.is_offered() || policy == Policy::Interop)
        .ok_or(JoinError::Suite(group_info.ciphersuite().into()))?;
    if policy == Policy::Qpq && !suite::has_profile(group_info.group_context()) {
        return Err(JoinError::Profile);
    }
    let tree_inside = group_info.extensions().ratchet_tree().is_some();
    if !tree_inside && tree.is_none() {
        return Err(JoinError::MissingTree);
    }
    if let Some(mut old) = old {
        delete_rows(&mut old, device.rows())?;
    }

    let provider = device.seeded(seed);
    let mut builder = ExternalCommitBuilder::new()
        .with_config(join_config())
        .skip_lifetime_validation();
    if let Some(tree) = tree {
        builder = builder.with_ratchet_tree(read_tree(tree)?);
    }
    let (mls, bundle) = builder
        .build_group(&provider, group_info, device.credential_with_key())
        .map_err(invalid)?
        .leaf_node_parameters(
            LeafNodeParameters::builder()
                .with_capabilities(suite::capabilities(suite))
                .build(),
        )
        .load_psks(provider.storage())
        .map_err(invalid)?
        .create_group_info(true)
        .use_ratchet_tree_extension(tree_inside)
        .build(provider.rand(), provider.crypto(), device.signer(), |_| {
            true
        })
        .map_err(invalid)?
        .finalize(&provider)
        .map_err(invalid)?;
    for leaf in mls.members() {
        policy
            .check(leaf.index.u32(), &leaf.signature_key, &leaf.credential)
            .map_err(|error| JoinError::Leaf {
                leaf: leaf.index.u32(),
                error,
            })?;
    }

    let (commit, _, group_info) = bundle.into_messages();
    let out = CommitOut {
        commit: encode(&commit)?,
        welcome: None,
        group_info: encode(&group_info.ok_or(JoinError::State)?)?,
        ratchet_tree: None,
    };
    Ok((Group::of(mls), out))
}

/// Whether this device's account has a leaf in the tree that a GroupInfo is of.
fn is_in_tree(device: &Device, bytes: &[u8], tree: Option<&[u8]>) -> Result<bool, JoinError> {
    let own = device.credential().identity_key;
    let members = members_of(device, bytes, tree)?;
    Ok(members.iter().any(|member| member.identity_key == own))
}

/// Who is in the tree that a GroupInfo is of.
fn members_of(
    device: &Device,
    bytes: &[u8],
    tree: Option<&[u8]>,
) -> Result<Vec<Member>, JoinError> {
    let group_info = read_group_info(bytes)?;
    let tree = match (tree, group_info.extensions().ratchet_tree()) {
        (Some(tree), _) => read_tree(tree)?,
        (None, Some(inside)) => inside.ratchet_tree().clone(),
        (None, None) => return Err(JoinError::MissingTree),
    };
    let provider = device.unseeded();
    let mark = device.rows().mark();
    let public = PublicGroup::from_external(
        provider.crypto(),
        provider.storage(),
        tree,
        group_info,
        ProposalStore::new(),
    );
    // It was only to be looked at.
    device.rows().back_to(mark);
    let (public, _) = public.map_err(invalid)?;
    let members = public.members().filter_map(|leaf| member::known(&leaf));
    Ok(members.collect())
}

fn read_group_info(bytes: &[u8]) -> Result<VerifiableGroupInfo, JoinError> {
    match codec::decode(bytes).map(MlsMessageIn::extract) {
        Some(MlsMessageBodyIn::GroupInfo(group_info)) => Ok(group_info),
        _ => Err(JoinError::Malformed),
    }
}

fn encode(message: &impl tls_codec::Serialize) -> Result<Vec<u8>, JoinError> {
    codec::encode(message).ok_or(JoinError::State)
}

fn invalid(error: impl std::fmt::Display) -> JoinError {
    JoinError::Invalid(error.to_string())
}
