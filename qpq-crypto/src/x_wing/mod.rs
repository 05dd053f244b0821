//! X-Wing (draft-connolly-cfrg-xwing-kem), X25519 with ML-KEM-768, as a KEM for HPKE (0x647a,
//! draft-ietf-hpke-pq).
//!
//! The `hpke` crate's own X-Wing makes the ML-KEM key pair anew from its 32-byte seed when a key is read
//! and once more with each decapsulation; here it is made once, which is all that opening a message
//! needs.

mod ml_kem;
#[cfg(test)]
mod tests;

use core::fmt;

use ::ml_kem::array::sizes::{U32, U1120, U1216};
use hpke::kem::SharedSecret;
use hpke::{Deserializable, HpkeError, Kem, Serializable};
use rand_core::CryptoRng;
use sha3::{Digest, Sha3_256};
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use subtle::{Choice, ConstantTimeEq};
use x25519_dalek::{PublicKey as X25519Public, StaticSecret};
use zeroize::Zeroizing;

use ml_kem::CIPHERTEXT_LENGTH;

/// Bytes of a public key: ML-KEM-768 encapsulation key (1184), X25519 key (32).
pub const PUBLIC_KEY_LENGTH: usize = ml_kem::PUBLIC_KEY_LENGTH + 32;

/// Bytes of an encapsulated key: ML-KEM-768 ciphertext (1088), X25519 key (32).
pub const ENC_LENGTH: usize = CIPHERTEXT_LENGTH + 32;

/// The KEM.
pub struct XWing;

/// A public key whose ML-KEM half passed its check.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    ml_kem: ml_kem::PublicKey,
    x25519: X25519Public,
}

/// A secret key: the 32 bytes that it is stored as, and what they expand to. Wiped on drop.
#[derive(Clone)]
pub struct PrivateKey {
    seed: Zeroizing<[u8; 32]>,
    ml_kem: ml_kem::SecretKey,
    x25519: StaticSecret,
    x25519_public: X25519Public,
}

/// An encapsulated key.
#[derive(Clone)]
pub struct EncappedKey(Box<[u8; ENC_LENGTH]>);

impl PrivateKey {
    /// `expandDecapsulationKey` (§5.2).
    fn expand(seed: &[u8; 32]) -> Self {
        let mut expanded = Shake256::default();
        expanded.update(seed);
        let mut expanded = expanded.finalize_xof();
        let mut of_ml_kem = Zeroizing::new([0; 64]);
        expanded.read(of_ml_kem.as_mut());
        let mut of_x25519 = Zeroizing::new([0; 32]);
        expanded.read(of_x25519.as_mut());
        let x25519 = StaticSecret::from(*of_x25519);
        Self {
            seed: Zeroizing::new(*seed),
            ml_kem: ml_kem::SecretKey::from_seed(&of_ml_kem),
            x25519_public: X25519Public::from(&x25519),
            x25519,
        }
    }

    fn public(&self) -> PublicKey {
        PublicKey {
            ml_kem: self.ml_kem.public(),
            x25519: self.x25519_public,
        }
    }
}

/// `Combiner` (§5.3).
fn combine(
    ml_kem: &[u8; 32],
    x25519: &[u8; 32],
    x25519_enc: &X25519Public,
    x25519_public: &X25519Public,
) -> SharedSecret<XWing> {
    let mut hash = Sha3_256::new();
    Digest::update(&mut hash, ml_kem);
    Digest::update(&mut hash, x25519);
    Digest::update(&mut hash, x25519_enc);
    Digest::update(&mut hash, x25519_public);
    Digest::update(&mut hash, br"\.//^\");
    SharedSecret(hash.finalize())
}

impl Kem for XWing {
    type PublicKey = PublicKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = EncappedKey;
    type NSecret = U32;

    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(sk: &PrivateKey) -> PublicKey {
        sk.public()
    }

    /// `SHAKE256.LabeledDerive(ikm, "DeriveKeyPair", "", 32)` (draft-ietf-hpke-pq §4).
    fn derive_keypair(ikm: &[u8]) -> (PrivateKey, PublicKey) {
        let mut derived = Shake256::default();
        derived.update(ikm);
        derived.update(b"HPKE-v1");
        derived.update(b"KEM\x64\x7a");
        derived.update(b"\x00\x0dDeriveKeyPair");
        derived.update(b"\x00\x20");
        let mut seed = Zeroizing::new([0; 32]);
        derived.finalize_xof().read(seed.as_mut());
        let private = PrivateKey::expand(&seed);
        let public = private.public();
        (private, public)
    }

    /// `EncapsulateDerand` (§5.4) with 64 bytes of `csprng`. X-Wing authenticates nobody: with a sender's
    /// key it fails.
    fn encap_with_rng(
        pk_recip: &PublicKey,
        sender_id_keypair: Option<(&PrivateKey, &PublicKey)>,
        csprng: &mut impl CryptoRng,
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        if sender_id_keypair.is_some() {
            return Err(HpkeError::EncapError);
        }
        let mut randomness = Zeroizing::new([[0; 32]; 2]);
        csprng.fill_bytes(randomness.as_flattened_mut());
        let [of_ml_kem, of_x25519] = &*randomness;

        let (ciphertext, shared) = pk_recip.ml_kem.encapsulate(of_ml_kem);
        let ephemeral = StaticSecret::from(*of_x25519);
        let x25519_enc = X25519Public::from(&ephemeral);
        let agreed = ephemeral.diffie_hellman(&pk_recip.x25519);

        let mut enc = Box::new([0; ENC_LENGTH]);
        let (first, second) = enc.split_at_mut(CIPHERTEXT_LENGTH);
        first.copy_from_slice(&ciphertext);
        second.copy_from_slice(x25519_enc.as_bytes());
        let secret = combine(&shared, agreed.as_bytes(), &x25519_enc, &pk_recip.x25519);
        Ok((secret, EncappedKey(enc)))
    }

    /// `Decapsulate` (§5.5). An all-zero X25519 secret is taken, as the draft has it: the ML-KEM half
    /// stands alone then.
    fn decap(
        sk_recip: &PrivateKey,
        pk_sender_id: Option<&PublicKey>,
        encapped_key: &EncappedKey,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        if pk_sender_id.is_some() {
            return Err(HpkeError::DecapError);
        }
        let (ciphertext, x25519_enc) = encapped_key
            .0
            .split_first_chunk::<CIPHERTEXT_LENGTH>()
            .ok_or(HpkeError::DecapError)?;
        let x25519_enc: [u8; 32] = x25519_enc.try_into().map_err(|_| HpkeError::DecapError)?;
        let x25519_enc = X25519Public::from(x25519_enc);
        let shared = sk_recip.ml_kem.decapsulate(ciphertext);
        let agreed = sk_recip.x25519.diffie_hellman(&x25519_enc);
        let own = &sk_recip.x25519_public;
        Ok(combine(&shared, agreed.as_bytes(), &x25519_enc, own))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").finish_non_exhaustive()
    }
}

impl Serializable for PublicKey {
    type OutputSize = U1216;

    fn write_exact(&self, buf: &mut [u8]) {
        let (first, second) = buf.split_at_mut(ml_kem::PUBLIC_KEY_LENGTH);
        first.copy_from_slice(&self.ml_kem.to_bytes());
        second.copy_from_slice(self.x25519.as_bytes());
    }
}

impl Deserializable for PublicKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        let (first, second) = encoded
            .split_last_chunk::<32>()
            .ok_or(HpkeError::ValidationError)?;
        Ok(Self {
            ml_kem: ml_kem::PublicKey::from_bytes(first).ok_or(HpkeError::ValidationError)?,
            x25519: X25519Public::from(*second),
        })
    }
}

impl ConstantTimeEq for PrivateKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.seed.ct_eq(other.seed.as_slice())
    }
}

impl Serializable for PrivateKey {
    type OutputSize = U32;

    fn write_exact(&self, buf: &mut [u8]) {
        buf.copy_from_slice(self.seed.as_slice());
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        let seed = encoded.try_into().map_err(|_| HpkeError::ValidationError)?;
        Ok(Self::expand(seed))
    }
}

impl Serializable for EncappedKey {
    type OutputSize = U1120;

    fn write_exact(&self, buf: &mut [u8]) {
        buf.copy_from_slice(self.0.as_slice());
    }
}

impl Deserializable for EncappedKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        let encoded = Box::<[u8]>::from(encoded).try_into();
        encoded.map(Self).map_err(|_| HpkeError::ValidationError)
    }
}
