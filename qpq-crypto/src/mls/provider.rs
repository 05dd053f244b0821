//! The provider that openmls works with: our crypto, randomness from one seed, a device's rows.

use std::cell::RefCell;

use openmls_traits::{
    OpenMlsProvider,
    random::OpenMlsRand,
    signatures::{Signer, SignerError},
    types::SignatureScheme,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use thiserror::Error;

use super::{crypto::QpqCrypto, rows::Rows};
use crate::identity::DeviceSecret;

/// One MLS operation: what it may draw and where it writes.
pub(super) struct QpqProvider<'a> {
    crypto: QpqCrypto,
    rand: QpqRand,
    rows: &'a Rows,
}

impl<'a> QpqProvider<'a> {
    /// For an operation that draws: everything comes from `seed`, which serves this once.
    pub fn seeded(rows: &'a Rows, seed: &[u8; 32]) -> Self {
        let crypto = QpqCrypto::seeded(seed);
        QpqProvider {
            rand: QpqRand::of(&crypto),
            crypto,
            rows,
        }
    }

    /// The same, but some of what is sealed is not what it should be.
    #[cfg(any(test, feature = "hostile"))]
    pub fn spoiling(mut self, spoil: super::crypto::Spoil) -> Self {
        self.crypto = self.crypto.spoiling(spoil);
        self
    }

    /// For an operation that only verifies, decrypts and stores; one that draws fails.
    pub fn unseeded(rows: &'a Rows) -> Self {
        QpqProvider {
            crypto: QpqCrypto::unseeded(),
            rand: QpqRand(None),
            rows,
        }
    }
}

impl OpenMlsProvider for QpqProvider<'_> {
    type CryptoProvider = QpqCrypto;
    type RandProvider = QpqRand;
    type StorageProvider = Rows;

    fn storage(&self) -> &Rows {
        self.rows
    }

    fn crypto(&self) -> &QpqCrypto {
        &self.crypto
    }

    fn rand(&self) -> &QpqRand {
        &self.rand
    }
}

/// Randomness in the order in which openmls draws it, which is sequential; what it draws in
/// parallel goes through [`QpqCrypto`].
pub struct QpqRand(Option<RefCell<ChaCha20Rng>>);

impl QpqRand {
    /// Draws from the seed of `crypto`; without one, every call fails.
    pub fn of(crypto: &QpqCrypto) -> Self {
        let seed = crypto.derive_seed(b"qpq mls rand v1", &[]);
        QpqRand(seed.map(|seed| RefCell::new(ChaCha20Rng::from_seed(*seed))))
    }
}

/// The operation was given no seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this operation has no seed to draw from")]
pub struct Unseeded;

impl OpenMlsRand for QpqRand {
    type Error = Unseeded;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], Unseeded> {
        let mut bytes = [0; N];
        let rng = self.0.as_ref().ok_or(Unseeded)?;
        rng.borrow_mut().fill_bytes(&mut bytes);
        Ok(bytes)
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, Unseeded> {
        let mut bytes = vec![0; len];
        let rng = self.0.as_ref().ok_or(Unseeded)?;
        rng.borrow_mut().fill_bytes(&mut bytes);
        Ok(bytes)
    }
}

/// Signs leaves and messages with the device's key.
pub struct DeviceSigner(DeviceSecret);

impl DeviceSigner {
    /// Signs with this key.
    pub fn new(secret: &DeviceSecret) -> Self {
        DeviceSigner(secret.clone())
    }
}

impl Signer for DeviceSigner {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
