//! The key transparency log: a server's public, append-only record of which name has which key.
//!
//! An RFC 9162 Merkle tree over [`Leaf`]s (protocol.md §5.25). The server keeps one row per complete
//! subtree: [`Log::append`] answers which rows to put (two on average, at most one a level), a
//! [`ProofPlan`] says which to get for a proof, and nothing here reads or writes by itself. The head
//! is signed as a [`TreeHead`], and again as a C2SP [`Checkpoint`], so that existing witnesses can
//! cosign it. A client keeps the last head it saw in a [`LogVerifier`], which finds a fork or a
//! rollback, and checks its own and its contacts' leaves with [`verify_inclusion`]. One that reads every
//! leaf appends them to a [`Log`] of its own, which keeps at most 62 hashes, compares the root with the
//! head's, and looks for bindings of its own name ([`Leaf::is_bind_of`]) that it did not make.
//!
//! What the log gives away: a reader learns when keys were bound and revoked, and, since the
//! tag of a binding is the SHA-256 of the name (there is no well-kept RFC 9381 ECVRF crate), can find
//! by guessing whether and when a name was registered. Which key a name has shows only to who got the
//! leaf's nonce from ResolveUser, and to nobody else once the account and with it the nonce is deleted.

mod checkpoint;
mod head;
mod leaf;
mod log;
mod proof;
mod verifier;

use sha2::{Digest, Sha256};

pub use checkpoint::{Checkpoint, CheckpointError, CheckpointOrigin};
pub use head::TreeHead;
pub use leaf::{Leaf, LeafError, LeafKind, name_tag};
pub use log::{Log, LogError, NodeId};
pub use proof::{ProofError, ProofPlan, verify_consistency, verify_inclusion};
pub use verifier::{LogAlarm, LogVerifier};

/// A SHA-256 hash: of a leaf, a node or the whole tree.
pub type Hash = [u8; 32];

/// The root of the tree without leaves: SHA-256 of nothing (RFC 9162 §2.1.1).
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// `SHA-256(0x00 || leaf)` (RFC 9162 §2.1.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(leaf)
        .finalize()
        .into()
}

/// `SHA-256(0x01 || left || right)` (RFC 9162 §2.1.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}
