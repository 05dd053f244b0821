//! What one entry of the log says.

use sha2::{Digest, Sha256};

use super::{Hash, leaf_hash};
use crate::identity::{IdentityKey, SigningInput};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeafKind {
    /// A name was bound to an identity key. Wire value 1.
    Bind,
    /// An identity key was revoked. Wire value 2.
    Revoke,
}

/// The bytes are no leaf of this version: skip the entry, or alarm where one's own was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The entry is not 73 bytes long.
    #[error("a leaf has 73 bytes")]
    WrongLength,
    /// The entry is of a kind that a newer version may know.
    #[error("leaf is of an unknown kind; a newer version may know it")]
    UnknownKind,
}

/// One entry: `kind (u8) || tag (32) || commitment (32) || time_ms (u64 big-endian)`, 73 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    /// What happened.
    pub kind: LeafKind,
    /// Of whom, findable by who knows the name (bind) or key (revoke).
    pub tag: [u8; 32],
    /// What exactly, open to who knows the rest.
    pub commitment: [u8; 32],
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

/// The tag of a name: its SHA-256.
pub fn name_tag(username: &str) -> [u8; 32] {
    Sha256::digest(username).into()
}

impl Leaf {
    /// Bytes of an encoded leaf.
    pub const LENGTH: usize = 1 + 32 + 32 + 8;

    /// `username` has `identity_key` from `time_ms` on. `nonce` is fresh and random, kept by the
    /// server, and told with the leaf to who resolves the name.
    pub fn bind(
        nonce: &[u8; 32],
        username: &str,
        identity_key: &IdentityKey,
        time_ms: u64,
    ) -> Self {
        let input = SigningInput::new("qpq bind v1")
            .fixed(nonce)
            .var(username.as_bytes())
            .fixed(identity_key.as_bytes())
            .finish();
        Self {
            kind: LeafKind::Bind,
            tag: name_tag(username),
            commitment: Sha256::digest(input).into(),
            time_ms,
        }
    }

    /// `identity_key` is revoked for `reason` at `time_ms`.
    pub fn revoke(identity_key: &IdentityKey, reason: &str, time_ms: u64) -> Self {
        Self {
            kind: LeafKind::Revoke,
            tag: Sha256::digest(identity_key.as_bytes()).into(),
            commitment: Sha256::digest(reason).into(),
            time_ms,
        }
    }

    /// Whether this leaf binds `username` to `identity_key` under `nonce`.
    pub fn binds(&self, nonce: &[u8; 32], username: &str, identity_key: &IdentityKey) -> bool {
        *self == Self::bind(nonce, username, identity_key, self.time_ms)
    }

    /// Whether this leaf binds the name to any key: what a client looks for among new leaves, to alarm
    /// where it made no such binding.
    pub fn is_bind_of(&self, username: &str) -> bool {
        self.kind == LeafKind::Bind && self.tag == name_tag(username)
    }

    /// Whether this leaf revokes `identity_key` for `reason`.
    pub fn revokes(&self, identity_key: &IdentityKey, reason: &str) -> bool {
        *self == Self::revoke(identity_key, reason, self.time_ms)
    }

    /// The 73 bytes.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let parts: [&[u8]; 4] = [
            &[match self.kind {
                LeafKind::Bind => 1,
                LeafKind::Revoke => 2,
            }],
            &self.tag,
            &self.commitment,
            &self.time_ms.to_be_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`LeafError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        let (kind, rest) = bytes.split_first().ok_or(LeafError::WrongLength)?;
        let (tag, rest) = rest.split_first_chunk().ok_or(LeafError::WrongLength)?;
        let (commitment, time) = rest.split_first_chunk().ok_or(LeafError::WrongLength)?;
        let time = time.try_into().map_err(|_| LeafError::WrongLength)?;
        Ok(Self {
            kind: match kind {
                1 => LeafKind::Bind,
                2 => LeafKind::Revoke,
                _ => return Err(LeafError::UnknownKind),
            },
            tag: *tag,
            commitment: *commitment,
            time_ms: u64::from_be_bytes(time),
        })
    }

    /// The hash that goes into the tree.
    pub fn hash(&self) -> Hash {
        leaf_hash(&self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_binding_opens_only_with_all_its_parts() {
        let key = IdentityKey([1; 32]);
        let leaf = Leaf::bind(&[2; 32], "alice", &key, 5);
        assert!(leaf.binds(&[2; 32], "alice", &key));
        assert!(!leaf.binds(&[3; 32], "alice", &key));
        assert!(!leaf.binds(&[2; 32], "bob", &key));
        assert!(!leaf.binds(&[2; 32], "alice", &IdentityKey([9; 32])));
        assert!(!leaf.revokes(&key, "alice"));
        assert!(leaf.is_bind_of("alice") && !leaf.is_bind_of("bob"));

        let leaf = Leaf::revoke(&key, "superseded", 5);
        assert!(leaf.revokes(&key, "superseded"));
        assert!(!leaf.revokes(&key, "compromised"));
        assert!(!leaf.revokes(&IdentityKey([9; 32]), "superseded"));
        assert!(!leaf.is_bind_of("alice"));
    }

    proptest! {
        #[test]
        fn leaves_survive_the_wire_and_other_bytes_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            kind in 0u8..4,
        ) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            match Leaf::decode(&bytes) {
                Ok(leaf) => prop_assert_eq!(leaf.encode().to_vec(), bytes),
                Err(LeafError::WrongLength) => prop_assert_ne!(bytes.len(), Leaf::LENGTH),
                Err(LeafError::UnknownKind) => prop_assert!(kind == 0 || kind == 3),
            }
        }

        #[test]
        fn a_full_leaf_decodes(bytes in any::<[u8; 32]>(), time_ms in any::<u64>()) {
            let leaf = Leaf { kind: LeafKind::Revoke, tag: bytes, commitment: bytes, time_ms };
            prop_assert_eq!(Leaf::decode(&leaf.encode()), Ok(leaf));
        }
    }
}
