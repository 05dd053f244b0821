//! Who sits on a leaf, and how strictly that is checked.

use openmls::prelude as mls;

use super::BadLeaf;
use crate::identity::{Credential, DeviceId, DeviceKey, IdentityKey};

/// One device in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Leaf index in the ratchet tree. Free again after a removal.
    pub leaf: u32,
    /// The account.
    pub identity_key: IdentityKey,
    /// Which of its devices.
    pub device_id: DeviceId,
    /// The leaf's signature key.
    pub device_key: DeviceKey,
}

/// Who wrote a message: a member, or one who was when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Author {
    /// Leaf index in the ratchet tree now or, if it is out since, when the message was written.
    pub leaf: u32,
    /// The account.
    pub identity_key: IdentityKey,
    /// Which of its devices.
    pub device_id: DeviceId,
}

impl From<Member> for Author {
    fn from(member: Member) -> Self {
        Self {
            leaf: member.leaf,
            identity_key: member.identity_key,
            device_id: member.device_id,
        }
    }
}

/// Which groups are joined and which leaves are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Groups that state our profile, offered suites, leaves with a certified credential
    /// (protocol.md §5.12).
    #[default]
    Qpq,
    /// Any group of a suite that the provider knows, with any credential; a leaf whose credential
    /// is not ours stands for an account of its own, named by its signature key. For groups of
    /// other software and for public test vectors. It takes what openmls takes: leaves whose capabilities
    /// list GREASE (RFC 9420 §13.5), but with openmls 0.9.2 no leaf or key package that has a GREASE
    /// *extension*, since that is not found again among its own capabilities (openmls's issue 2156).
    Interop,
}

impl Policy {
    /// The owner of a leaf that comes in, verified.
    pub(super) fn check(
        self,
        leaf: u32,
        signature_key: &[u8],
        credential: &mls::Credential,
    ) -> Result<Member, BadLeaf> {
        let device_key = DeviceKey::try_from(signature_key).map_err(|_| BadLeaf::SignatureKey)?;
        match (decode(credential), self) {
            (Some(ours), _) if ours.verify(&device_key).is_ok() => {
                Ok(member(leaf, &ours, device_key))
            }
            (_, Policy::Interop) => Ok(foreign(leaf, device_key)),
            (Some(_), Policy::Qpq) => Err(BadLeaf::Certificate),
            (None, Policy::Qpq) => Err(BadLeaf::Credential),
        }
    }
}

/// The owner of a leaf that was checked when it came in.
pub(super) fn known(leaf: &mls::Member) -> Option<Member> {
    let device_key = DeviceKey::try_from(leaf.signature_key.as_slice()).ok()?;
    let index = leaf.index.u32();
    Some(match decode(&leaf.credential) {
        Some(ours) => member(index, &ours, device_key),
        None => foreign(index, device_key),
    })
}

/// The author of a message whose leaf is gone; it was checked when it came in. `None` where the
/// credential is not ours: those are told apart by their leaf's key.
pub(super) fn departed(leaf: u32, credential: &mls::Credential) -> Option<Author> {
    let ours = decode(credential)?;
    Some(Author {
        leaf,
        identity_key: ours.identity_key,
        device_id: ours.device_id,
    })
}

fn decode(credential: &mls::Credential) -> Option<Credential> {
    if credential.credential_type() != mls::CredentialType::Basic {
        return None;
    }
    Credential::decode(credential.serialized_content()).ok()
}

fn member(leaf: u32, credential: &Credential, device_key: DeviceKey) -> Member {
    Member {
        leaf,
        identity_key: credential.identity_key,
        device_id: credential.device_id,
        device_key,
    }
}

fn foreign(leaf: u32, device_key: DeviceKey) -> Member {
    Member {
        leaf,
        identity_key: IdentityKey(device_key.0),
        device_id: DeviceId::DEFAULT,
        device_key,
    }
}
