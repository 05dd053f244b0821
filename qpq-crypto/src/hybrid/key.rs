//! Hybrid keys: derived from the identity seed, so that every device of an account has them.

use core::fmt;

use hkdf::Hkdf;
use hpke::{Deserializable, Kem, Serializable};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::HybridError;
use crate::hex;
use crate::x_wing::{self, XWing};

/// Bytes of a hybrid public key: ML-KEM-768 encapsulation key (1184), X25519 key (32).
pub const PUBLIC_KEY_LENGTH: usize = x_wing::PUBLIC_KEY_LENGTH;

/// A hybrid public key that passed ML-KEM's encapsulation key check (FIPS 203 §7.2).
///
/// It says nothing about whose it is: [`proof::verify_hybrid_key`](crate::proof::verify_hybrid_key)
/// does.
#[derive(Clone, PartialEq, Eq)]
pub struct HybridPublicKey {
    bytes: Box<[u8; PUBLIC_KEY_LENGTH]>,
    pub(super) key: x_wing::PublicKey,
}

impl HybridPublicKey {
    /// Reads and checks a key.
    ///
    /// # Errors
    /// [`HybridError::BadKey`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HybridError> {
        let key = x_wing::PublicKey::from_bytes(bytes).map_err(|_| HybridError::BadKey)?;
        let bytes = Box::new(bytes.try_into().map_err(|_| HybridError::BadKey)?);
        Ok(Self { bytes, key })
    }

    /// The 1216 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LENGTH] {
        &self.bytes
    }
}

impl TryFrom<&[u8]> for HybridPublicKey {
    type Error = HybridError;

    fn try_from(bytes: &[u8]) -> Result<Self, HybridError> {
        Self::from_bytes(bytes)
    }
}

impl fmt::Debug for HybridPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HybridPublicKey(")?;
        hex::write(f, &self.bytes[..4])?;
        f.write_str(")")
    }
}

/// The secret half, an X-Wing decapsulation key. Wiped on drop, not printable.
pub struct HybridSecret(pub(super) x_wing::PrivateKey);

impl HybridSecret {
    /// The `counter`-th hybrid key of the account with this identity seed (protocol.md §5.21).
    ///
    /// `DeriveKeyPair` (labelled, draft-ietf-hpke-pq) of HKDF-SHA256(identity seed,
    /// `"qpq hybrid key v1" || counter`). A device that finds a signed key with a counter it has not
    /// reached derives up to it.
    pub fn derive(identity_seed: &[u8; 32], counter: u64) -> Self {
        let mut ikm = Zeroizing::new([0u8; 32]);
        Hkdf::<Sha256>::new(None, identity_seed)
            .expand_multi_info(
                &[b"qpq hybrid key v1", &counter.to_be_bytes()],
                ikm.as_mut(),
            )
            .expect("32 bytes are within HKDF's bound");
        Self::from_key_material(ikm.as_ref())
    }

    /// `DeriveKeyPair` itself.
    pub(super) fn from_key_material(ikm: &[u8]) -> Self {
        Self(XWing::derive_keypair(ikm).0)
    }

    /// The public key.
    pub fn public(&self) -> HybridPublicKey {
        let key = XWing::sk_to_pk(&self.0);
        let mut bytes = Box::new([0; PUBLIC_KEY_LENGTH]);
        bytes.copy_from_slice(&key.to_bytes());
        HybridPublicKey { bytes, key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_seed_and_counter() {
        let public = |seed: u8, counter| HybridSecret::derive(&[seed; 32], counter).public();
        assert_eq!(public(1, 0), public(1, 0));
        assert_ne!(public(1, 0), public(1, 1));
        assert_ne!(public(1, 0), public(2, 0));
        let read = HybridPublicKey::from_bytes(public(1, 0).as_bytes());
        assert_eq!(read, Ok(public(1, 0)));
    }

    #[test]
    fn malformed_keys_are_refused() {
        let bytes = *HybridSecret::derive(&[1; 32], 0).public().as_bytes();
        assert!(HybridPublicKey::from_bytes(&bytes[1..]).is_err());
        assert!(HybridPublicKey::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
        // A coefficient of 4095 is not reduced modulo q = 3329.
        let mut unreduced = bytes;
        unreduced[..3].copy_from_slice(&[0xff; 3]);
        assert_eq!(
            HybridPublicKey::from_bytes(&unreduced),
            Err(HybridError::BadKey)
        );
    }
}
