//! One MLS group as one device sees it: making, loading and joining it, reading from it, sending.

use openmls::{
    group::{GroupId, MlsGroup, NewGroupError, StagedWelcome, WelcomeError},
    prelude::{LeafNodeIndex, MlsMessageBodyIn, MlsMessageIn, RatchetTreeIn, Welcome},
};
use openmls_traits::OpenMlsProvider as _;

use super::{
    Device, GroupError, JoinError, Member, Policy, Suite, codec,
    config::{create_config, join_config},
    crypto::QpqCrypto,
    member,
    rows::{Mark, Rows},
    storage::StoreError,
    suite,
    value::Value,
};
use crate::{padding, secret::SecretVec};

/// Up to this many members the ratchet tree travels inside Welcome and GroupInfo; above, beside
/// them, since each joiner's secrets would be bound to megabytes.
pub const TREE_INSIDE_UP_TO: usize = 50;

/// A loaded group.
///
/// Getters: [`members`](Group::members), [`epoch`](Group::epoch),
/// [`epoch_authenticator`](Group::epoch_authenticator), [`export`](Group::export) and the like.
/// Commits: [`add`](Group::add), [`remove`](Group::remove), [`update`](Group::update),
/// [`commit_pending_proposals`](Group::commit_pending_proposals) leave one pending, which
/// [`confirm_pending`](Group::confirm_pending) applies and
/// [`clear_pending`](Group::clear_pending) drops. [`process`](Group::process) takes what others
/// send. After each, [`Device::take_batch`] holds what to store.
///
/// A commit removes at most one device: openmls orders several by a hash map, and the bytes of the
/// commit would not follow from its seed. Of queued proposals about leaves (in our groups, that
/// devices [`leave`](Group::leave)) it therefore takes one, that of the device it removes or else of
/// the lowest leaf; the others are void with the epoch. [`leaving`](Group::leaving) names them
/// beforehand, so that they can be removed one after the other.
///
/// An operation that fails leaves the group and the device's rows as they were.
pub struct Group {
    pub(super) mls: MlsGroup,
    pub(super) policy: Policy,
}

impl Group {
    /// Makes a group with this device as its only member, at epoch 0. `group_id` is any bytes that no
    /// other group of this device has.
    ///
    /// # Errors
    /// [`GroupError::Exists`]; [`GroupError::State`] if rows cannot be read or written.
    pub fn create(
        device: &mut Device,
        seed: &[u8; 32],
        suite: Suite,
        group_id: &[u8],
    ) -> Result<Self, GroupError> {
        let mark = device.rows().mark();
        let made = suite::group_extensions(suite)
            .map_err(|error| GroupError::Refused(error.to_string()))
            .and_then(|extensions| {
                MlsGroup::new_with_group_id(
                    &device.seeded(seed),
                    device.signer(),
                    &create_config(suite, extensions),
                    GroupId::from_slice(group_id),
                    device.credential_with_key(),
                )
                .map_err(|error| match error {
                    NewGroupError::GroupAlreadyExists => GroupError::Exists,
                    NewGroupError::StorageError(_) => GroupError::State,
                    other => GroupError::Refused(other.to_string()),
                })
            });
        if made.is_err() {
            device.rows().back_to(mark);
        }
        made.map(Group::of)
    }

    /// Loads a group from the device's rows; `None` if it holds no such group.
    ///
    /// # Errors
    /// [`GroupError::State`] if the rows do not read.
    pub fn load(device: &Device, group_id: &[u8]) -> Result<Option<Self>, GroupError> {
        let mls = MlsGroup::load(device.rows(), &GroupId::from_slice(group_id))?;
        // openmls takes the place of this device in the tree from a row, and for granted.
        match mls {
            Some(mls) if mls.is_active() && mls.own_leaf_node().is_none() => Err(GroupError::State),
            mls => Ok(mls.map(Group::of)),
        }
    }

    /// Joins the group that a Welcome (an `MLSMessage`) leads into. The key package it used is
    /// gone then, unless it was a last-resort one.
    ///
    /// `tree` is the TLS-encoded ratchet tree for a Welcome without one inside; it is checked
    /// against the tree hash that the Welcome signs. Compare [`Group::members`] with the server's
    /// list before trusting the group, and [`Device::rollback`] if they differ.
    ///
    /// # Errors
    /// [`JoinError`] says what is wrong or missing; nothing is used up then.
    pub fn join(
        device: &mut Device,
        welcome: &[u8],
        tree: Option<&[u8]>,
        policy: Policy,
    ) -> Result<Self, JoinError> {
        let mark = device.rows().mark();
        let joined = stage(device, welcome, tree, policy, Held::Stays).and_then(|staged| {
            let mls = staged.into_group(&device.unseeded()).map_err(join_error)?;
            Ok(Group::of(mls))
        });
        if joined.is_err() {
            device.rows().back_to(mark);
        }
        joined
    }

    /// The same, in place of what this device holds of the group, if it holds any: that goes only when
    /// the Welcome has been verified whole. To keep it all the same, after a look at the members,
    /// [`Device::rollback`].
    ///
    /// # Errors
    /// [`JoinError`] says what is wrong or missing; nothing changed then.
    pub fn join_in_place(
        device: &mut Device,
        welcome: &[u8],
        tree: Option<&[u8]>,
        policy: Policy,
    ) -> Result<Self, JoinError> {
        let mark = device.rows().mark();
        let joined = stage(device, welcome, tree, policy, Held::Goes).and_then(|staged| {
            let id = staged.group_context().group_id();
            if let Some(mut held) = MlsGroup::load(device.rows(), id)? {
                delete_rows(&mut held, device.rows())?;
            }
            let mls = staged.into_group(&device.unseeded()).map_err(join_error)?;
            Ok(Group::of(mls))
        });
        if joined.is_err() {
            device.rows().back_to(mark);
        }
        joined
    }

    /// What a group says about itself decides how it is run from then on, also after a restart.
    pub(super) fn of(mls: MlsGroup) -> Self {
        let policy = if suite::has_profile(mls.public_group().group_context()) {
            Policy::Qpq
        } else {
            Policy::Interop
        };
        Group { mls, policy }
    }

    /// Deletes the group's rows.
    ///
    /// # Errors
    /// [`GroupError::State`] if a row's key cannot be encoded.
    pub fn delete(mut self, device: &mut Device) -> Result<(), GroupError> {
        Ok(delete_rows(&mut self.mls, device.rows())?)
    }

    /// The group's id.
    pub fn group_id(&self) -> &[u8] {
        self.mls.group_id().as_slice()
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        // A group of an unknown suite is neither made nor joined nor loaded.
        Suite::from_ciphersuite(self.mls.ciphersuite()).unwrap_or_default()
    }

    /// Its epoch: the number of commits applied since its making.
    pub fn epoch(&self) -> u64 {
        self.mls.epoch().as_u64()
    }

    /// A secret that all members of the epoch share and nothing else is derived from (RFC 9420
    /// §8.7): equal values mean that there was no fork. 32 bytes, 48 for suite 0x004E.
    pub fn epoch_authenticator(&self) -> Vec<u8> {
        self.mls.epoch_authenticator().as_slice().to_vec()
    }

    /// Whether this device is still in the group.
    pub fn is_active(&self) -> bool {
        self.mls.is_active()
    }

    /// This device's leaf index.
    pub fn own_leaf(&self) -> u32 {
        self.mls.own_leaf_index().u32()
    }

    /// All devices in the group, by leaf index.
    pub fn members(&self) -> Vec<Member> {
        self.mls
            .members()
            .filter_map(|m| member::known(&m))
            .collect()
    }

    /// The device on a leaf.
    pub fn member(&self, leaf: u32) -> Option<Member> {
        member::known(&self.mls.member_at(LeafNodeIndex::new(leaf))?)
    }

    /// How it is run: [`Policy::Qpq`] if it states our profile, however it was joined.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The TLS-encoded ratchet tree, for joiners of a large group.
    ///
    /// # Errors
    /// [`GroupError::State`] if it cannot be encoded.
    pub fn ratchet_tree(&self) -> Result<Vec<u8>, GroupError> {
        codec::encode(&self.mls.export_ratchet_tree()).ok_or(GroupError::State)
    }

    /// A GroupInfo (an `MLSMessage`) of this epoch, to rejoin by. The commits carry one too.
    ///
    /// # Errors
    /// [`GroupError::Refused`] if openmls cannot make one.
    pub fn group_info(&self, device: &Device) -> Result<Vec<u8>, GroupError> {
        let group_info = self
            .mls
            .export_group_info(
                device.unseeded().crypto(),
                device.signer(),
                self.mls.members().count() <= TREE_INSIDE_UP_TO,
            )
            .map_err(|error| GroupError::Refused(error.to_string()))?;
        codec::encode(&group_info).ok_or(GroupError::State)
    }

    /// `len` bytes of the epoch's exporter (RFC 9420 §8.5) under `label` and `context`: the same for
    /// all members of the epoch.
    ///
    /// # Errors
    /// [`GroupError::Length`] for more than 255 hashes' worth, [`GroupError::Inactive`].
    pub fn export(&self, label: &str, context: &[u8], len: usize) -> Result<SecretVec, GroupError> {
        if !self.is_active() {
            return Err(GroupError::Inactive);
        }
        // Without a device's rows: the exporter only hashes.
        self.mls
            .export_secret(&QpqCrypto::unseeded(), label, context, len)
            .map(SecretVec::new)
            .map_err(|_| GroupError::Length)
    }

    /// Encrypts an application message to the epoch's members: an `MLSMessage` whose content is
    /// padded by [`crate::padding`] (in a group that states our profile): about 130 bytes and the group's
    /// id longer than its padded content.
    ///
    /// Store the batch before sending: a message key is used up by it.
    ///
    /// # Errors
    /// [`GroupError::Inactive`]; [`GroupError::PendingProposals`] until they are committed.
    pub fn encrypt(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, GroupError> {
        if !self.is_active() {
            return Err(GroupError::Inactive);
        }
        if self.mls.has_pending_proposals() {
            return Err(GroupError::PendingProposals);
        }
        let padded = match self.policy {
            Policy::Qpq => padding::pad(plaintext),
            Policy::Interop => plaintext.to_vec(),
        };
        let padded = Value::from(padded);
        self.attempt(device, |group, device| {
            let message = group
                .mls
                .create_message(&device.seeded(seed), device.signer(), &padded)
                .map_err(|error| GroupError::Refused(error.to_string()))?;
            codec::encode(&message).ok_or(GroupError::State)
        })
    }

    /// Runs an operation; if it fails, takes back what it wrote and loads the group again, since
    /// openmls may have moved on in memory.
    pub(super) fn attempt<T, E: From<StoreError>>(
        &mut self,
        device: &Device,
        operation: impl FnOnce(&mut Self, &Device) -> Result<T, E>,
    ) -> Result<T, E> {
        let mark = device.rows().mark();
        let result = operation(self, device);
        if result.is_err() {
            self.restore(device, mark)?;
        }
        result
    }

    fn restore(&mut self, device: &Device, mark: Mark) -> Result<(), StoreError> {
        device.rows().back_to(mark);
        self.mls = MlsGroup::load(device.rows(), self.mls.group_id())?.ok_or(StoreError::Decode)?;
        Ok(())
    }
}

impl From<StoreError> for GroupError {
    fn from(_: StoreError) -> Self {
        GroupError::State
    }
}

impl From<StoreError> for JoinError {
    fn from(_: StoreError) -> Self {
        JoinError::State
    }
}

/// Deletes all rows of a group. openmls leaves the node keys of the epoch that a removed member
/// last had.
pub(super) fn delete_rows(mls: &mut MlsGroup, rows: &Rows) -> Result<(), StoreError> {
    mls.delete(rows)?;
    rows.delete_node_keys(mls.group_id())
}

/// What becomes of a group of the same id that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Stays,
    Goes,
}

fn stage(
    device: &Device,
    welcome: &[u8],
    tree: Option<&[u8]>,
    policy: Policy,
    held: Held,
) -> Result<StagedWelcome, JoinError> {
    let welcome = read_welcome(welcome)?;
    let suite = Suite::from_ciphersuite(welcome.ciphersuite())
        .filter(|suite| suite.is_offered() || policy == Policy::Interop)
        .ok_or(JoinError::Suite(welcome.ciphersuite().into()))?;

    let provider = device.unseeded();
    let mut builder = StagedWelcome::build_from_welcome(&provider, &join_config(), welcome)
        .map_err(join_error)?
        // Leaves stay in the tree for longer than the key packages they came from are valid.
        .skip_lifetime_validation();
    if let Some(tree) = tree {
        builder = builder.with_ratchet_tree(read_tree(tree)?);
    }
    if held == Held::Goes {
        builder = builder.replace_old_group();
    }
    let staged = builder.build().map_err(join_error)?;

    let context = staged.group_context();
    if Suite::from_ciphersuite(context.ciphersuite()) != Some(suite) {
        return Err(JoinError::Suite(context.ciphersuite().into()));
    }
    if policy == Policy::Qpq && !suite::has_profile(context) {
        return Err(JoinError::Profile);
    }
    for leaf in staged.members() {
        policy
            .check(leaf.index.u32(), &leaf.signature_key, &leaf.credential)
            .map_err(|error| JoinError::Leaf {
                leaf: leaf.index.u32(),
                error,
            })?;
    }
    Ok(staged)
}

fn read_welcome(bytes: &[u8]) -> Result<Welcome, JoinError> {
    match codec::decode(bytes).map(MlsMessageIn::extract) {
        Some(MlsMessageBodyIn::Welcome(welcome)) => Ok(welcome),
        _ => Err(JoinError::Malformed),
    }
}

pub(super) fn read_tree(bytes: &[u8]) -> Result<RatchetTreeIn, JoinError> {
    codec::decode(bytes).ok_or(JoinError::Malformed)
}

fn join_error(error: WelcomeError<StoreError>) -> JoinError {
    match error {
        WelcomeError::NoMatchingKeyPackage | WelcomeError::JoinerSecretNotFound => {
            JoinError::NotForUs
        }
        WelcomeError::UnsupportedCiphersuite(suite) => JoinError::Suite(suite.into()),
        WelcomeError::MissingRatchetTree => JoinError::MissingTree,
        WelcomeError::GroupAlreadyExists => JoinError::Exists,
        WelcomeError::Psk(openmls::schedule::errors::PskError::KeyNotFound) => {
            JoinError::MissingPsk
        }
        WelcomeError::StorageError(_) => JoinError::State,
        other => JoinError::Invalid(other.to_string()),
    }
}
