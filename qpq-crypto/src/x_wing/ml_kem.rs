//! ML-KEM-768 (FIPS 203), the half of [X-Wing](super) that withstands quantum computers: key pairs from
//! a seed, encapsulation with randomness handed in, and the check of every key that comes from outside.

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{MlKem768, Seed};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of an encapsulation key.
pub const PUBLIC_KEY_LENGTH: usize = 1184;

/// Bytes of a ciphertext.
pub const CIPHERTEXT_LENGTH: usize = 1088;

/// An encapsulation key that passed its check.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(ml_kem::EncapsulationKey<MlKem768>);

impl PublicKey {
    /// Reads and checks a key (FIPS 203 §7.2): 1184 bytes, every coefficient reduced modulo 3329.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = ml_kem::EncapsulationKey::new(bytes.try_into().ok()?);
        key.ok().map(Self)
    }

    /// The 1184 bytes of the key.
    pub fn to_bytes(&self) -> [u8; PUBLIC_KEY_LENGTH] {
        self.0.to_bytes().into()
    }

    /// `ML-KEM.Encaps_internal` (FIPS 203 §6.2) with the randomness `m`: ciphertext and shared secret.
    pub fn encapsulate(&self, m: &[u8; 32]) -> ([u8; CIPHERTEXT_LENGTH], Zeroizing<[u8; 32]>) {
        let (ciphertext, mut shared) = self.0.encapsulate_deterministic(m.into());
        let secret = Zeroizing::new(shared.into());
        shared.zeroize();
        (ciphertext.into(), secret)
    }
}

/// A decapsulation key. Wiped on drop; in a box, since it is kilobytes, of which a move would leave a copy.
#[derive(Clone)]
pub struct SecretKey(Box<ml_kem::DecapsulationKey<MlKem768>>);

impl SecretKey {
    /// `ML-KEM.KeyGen_internal` (FIPS 203 §6.1) of `d || z`.
    pub fn from_seed(seed: &[u8; 64]) -> Self {
        let mut seed = Seed::from(*seed);
        let key = Box::new(ml_kem::DecapsulationKey::from_seed(seed));
        seed.zeroize();
        Self(key)
    }

    /// The key to encapsulate to.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.encapsulation_key().clone())
    }

    /// `ML-KEM.Decaps` (FIPS 203 §7.3): of a ciphertext that is not for this key, a secret that nobody
    /// else knows.
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LENGTH]) -> Zeroizing<[u8; 32]> {
        let mut shared = self.0.decapsulate(ciphertext.into());
        let secret = Zeroizing::new(shared.into());
        shared.zeroize();
        secret
    }
}
