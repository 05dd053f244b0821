//! What can go wrong, one enum per boundary: stored rows, key packages, joining, using a group,
//! processing a message.

use thiserror::Error;

use super::Member;
use crate::identity::IdentityKey;

/// Stored rows that this version cannot use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// Rows are missing, cut or foreign: restore the device from a backup, or register it anew.
    #[error("the stored MLS state is damaged")]
    Corrupt,
    /// Another version wrote the rows: run that version, or migrate.
    #[error("the stored MLS state has version {found}, which this build does not read")]
    Version {
        /// The version byte found.
        found: u8,
    },
}

/// A leaf that names its owner wrongly (protocol.md §5.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadLeaf {
    /// The signature key is not a 32-byte Ed25519 key.
    #[error("the leaf's signature key is not an Ed25519 key")]
    SignatureKey,
    /// The credential is not a Basic credential of our layout.
    #[error("the leaf's credential is not one of ours")]
    Credential,
    /// The identity key named has not certified the signature key.
    #[error("the leaf's certificate does not verify")]
    Certificate,
    /// An update, or a rejoining member, shows another account or device than the leaf had.
    #[error("the leaf changed hands")]
    Changed,
    /// Someone who is not in the group let themselves in.
    #[error("the joining account has no device in the group")]
    Stranger,
}

/// Why a key package is refused: ask its owner for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyPackageError {
    /// The bytes are not one key package of RFC 9420 §10.
    #[error("not a key package")]
    Malformed,
    /// A suite that is not offered, or not that of the group.
    #[error("the key package is for suite {0:#06x}")]
    Suite(u16),
    /// A signature, key or extension in it is wrong.
    #[error("the key package does not verify")]
    Invalid,
    /// The leaf does not list the suite, the credential type or our extensions.
    #[error("the key package's owner does not support our profile")]
    Capabilities,
    /// It names its owner wrongly.
    #[error("key package: {0}")]
    Leaf(BadLeaf),
    /// The device is in the group already, or twice in the list: leave the package out, or remove the
    /// device first.
    #[error("the key package's device is in already")]
    AlreadyIn,
    /// It is not valid yet, or no longer.
    #[error("the key package is not valid at this time")]
    Expired,
    /// It claims to be valid for longer than is allowed, or does not say how long in the way that
    /// our profile asks for.
    #[error("the key package's validity is too long or missing")]
    Lifetime,
}

/// Why a Welcome or a GroupInfo does not lead into a group. The device's rows are as before.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JoinError {
    /// The bytes are not a Welcome, GroupInfo or ratchet tree: pass it over.
    #[error("not a message to join by")]
    Malformed,
    /// None of this device's key packages is named in it: pass it over.
    #[error("the Welcome is for none of this device's key packages")]
    NotForUs,
    /// A group of this id is there: delete it first if it is to be replaced.
    #[error("there is a group with this id already")]
    Exists,
    /// The suite is not offered, or unknown.
    #[error("the group uses suite {0:#06x}")]
    Suite(u16),
    /// The group does not state our profile: its members would derive other keys.
    #[error("the group does not state our profile")]
    Profile,
    /// The tree is not in the message and was not handed in: fetch it and try again.
    #[error("the ratchet tree is missing")]
    MissingTree,
    /// The GroupInfo is of an epoch before the one this device holds: ask for a newer one. Members who
    /// went since could read what is sent on from it.
    #[error("the GroupInfo is of epoch {epoch}, this device has {held}")]
    PastEpoch {
        /// The epoch of the GroupInfo.
        epoch: u64,
        /// The epoch of the group that this device holds.
        held: u64,
    },
    /// This account has no device in the tree of the GroupInfo, so the members would refuse its commit:
    /// ask to be added.
    #[error("this account has no device in the group")]
    Stranger,
    /// A pre-shared key named in the Welcome is not known: add it and try again.
    #[error("a pre-shared key is missing")]
    MissingPsk,
    /// A member names its owner wrongly.
    #[error("leaf {leaf}: {error}")]
    Leaf {
        /// Leaf index of that member.
        leaf: u32,
        /// What is wrong with it.
        error: BadLeaf,
    },
    /// A signature, hash, tag or ciphertext does not verify; the text is openmls's, for a log.
    #[error("the message to join by does not verify: {0}")]
    Invalid(String),
    /// Stored rows could not be read or written: load the device again.
    #[error("the stored state could not be used")]
    State,
}

/// Why an operation on a group was not done. The group and the device's rows are as before.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroupError {
    /// A group of this id is there: load it, or delete it first.
    #[error("there is a group with this id already")]
    Exists,
    /// This device was removed from the group: delete it, or rejoin.
    #[error("this device is no longer in the group")]
    Inactive,
    /// A commit waits for the server's answer: confirm or clear it first.
    #[error("a commit is pending")]
    PendingCommit,
    /// There is no commit to confirm.
    #[error("no commit is pending")]
    NoPendingCommit,
    /// Proposals wait to be committed: commit them before sending (RFC 9420 §12.4).
    #[error("proposals are pending")]
    PendingProposals,
    /// A key package cannot be added.
    #[error("key package {index}: {error}")]
    KeyPackage {
        /// Position in the list handed in.
        index: usize,
        /// What is wrong with it.
        error: KeyPackageError,
    },
    /// This account has no device in the group.
    #[error("{0:?} is not a member")]
    NotAMember(IdentityKey),
    /// Nobody sits on this leaf: look at the members again.
    #[error("nobody sits on leaf {0}")]
    EmptyLeaf(u32),
    /// A member cannot commit its own removal: use `leave`.
    #[error("a device cannot remove its own account")]
    OwnRemoval,
    /// More bytes than the exporter can give, or a name too long to encode.
    #[error("the length asked for is out of range")]
    Length,
    /// The rules of RFC 9420 forbid it; the text is openmls's, for a log.
    #[error("the operation is not allowed: {0}")]
    Refused(String),
    /// Stored rows could not be read or written: drop the group and load the device again.
    #[error("the stored state could not be used")]
    State,
}

/// A message that was not processed. The group and the device's rows are as before.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind}: {reason}")]
pub struct ProcessError {
    /// What to do about it.
    pub kind: ProcessErrorKind,
    /// Who sent it, where that could be read.
    pub sender: Option<Box<Member>>,
    /// The epoch it names, where that could be read.
    pub epoch: Option<u64>,
    /// The exact reason, for a log; not to be matched on.
    pub reason: String,
}

/// What a message that was not processed means for this device (protocol.md §5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ProcessErrorKind {
    /// It fails a test that all members share (parse, group, signature, credentials, proposals,
    /// tree and parent hashes): all others drop it too. Pass it over; a commit of this kind is void.
    #[error("void message")]
    Void,
    /// A commit that others may well have taken: its path secret for us, its confirmation tag, a
    /// proposal or a pre-shared key that we lack. Ask the sender for a new one, or rejoin.
    #[error("commit not applicable here")]
    PathOrTag,
    /// Of an epoch to come: park it and try again after the next commit.
    #[error("message of a future epoch")]
    FutureEpoch,
    /// Of an epoch whose keys are gone: pass it over.
    #[error("message of a past epoch")]
    PastEpoch,
    /// Sent by this device: if a commit is pending, it is that one or a clone's; confirm it when
    /// the server says so.
    #[error("own message")]
    OwnMessage,
    /// Decrypted before: pass it over.
    #[error("message seen before")]
    Duplicate,
    /// This device is no longer in the group, or its rows are unusable: drop the group and load
    /// the device again, then rejoin.
    #[error("unusable state")]
    State,
}
