//! The server's long-term secrets.

use bytes::Bytes;
use prost::Message as _;
use qpq_crypto::identity::IdentitySecret;
use qpq_crypto::opaque::ServerSetup;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::ids::IdentityKey;
use crate::storage::records::ServerSecrets;

/// The server's long-term secrets.
pub(super) struct ServerKeys {
    /// Signs whatever the server signs.
    pub(super) signing: IdentitySecret,
    /// The public half.
    pub(super) public: IdentityKey,
    /// Says which senders share a part of a queue.
    pub(super) shares: Zeroizing<[u8; 32]>,
    /// OPAQUE.
    pub(super) opaque: ServerSetup,
    /// Drawn when the database was made or put back: part of what commits' proofs say, so that those
    /// of before a restore contradict nothing (protocol.md §5.13, §5.32).
    pub(super) epoch: u64,
}

impl ServerKeys {
    /// What the stored row and epoch say, if they can be read.
    pub(super) fn read(row: Bytes, epoch: &[u8]) -> Option<Self> {
        let epoch = u64::from_be_bytes(epoch.try_into().ok()?);
        let secrets = ServerSecrets::decode(row).ok()?;
        let mut seed: [u8; 32] = secrets.signing_seed.as_ref().try_into().ok()?;
        let signing = IdentitySecret::from_seed(seed);
        let shares = Sha256::new_with_prefix("qpq queue shares v1").chain_update(seed);
        seed.zeroize();
        let opaque = ServerSetup::from_bytes(&secrets.opaque_setup).ok()?;
        let public = signing.public();
        Some(Self {
            signing,
            public,
            shares: Zeroizing::new(shares.finalize().into()),
            opaque,
            epoch,
        })
    }
}
