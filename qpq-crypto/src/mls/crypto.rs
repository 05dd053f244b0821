//! Hashes, HKDF, AEADs and signatures for openmls, and the randomness of its HPKE seals.
//!
//! openmls seals path secrets in parallel. A generator shared between them would hand out its
//! bytes in whatever order the threads come by, so each seal's randomness is derived from the
//! operation's seed and from all that the seal says. The seed is fresh for every operation, and
//! two seals of one operation that agree in everything are the same seal.

use hkdf::hmac::{Hmac, KeyInit, Mac};
use openmls::prelude::tls_codec::SecretVLBytes;
use openmls_traits::{
    crypto::OpenMlsCrypto,
    types::{
        AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig,
        HpkeKeyPair, KemOutput, SignatureScheme,
    },
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sha2::Sha256;
use zeroize::Zeroizing;

#[cfg(feature = "aws-lc-rs")]
use super::aws_lc::hpke;
#[cfg(not(feature = "aws-lc-rs"))]
use super::hpke;
use super::{Suite, kdf, primitives};
use crate::{ed25519::SigningKey, identity};

/// The primitives of one operation.
pub struct QpqCrypto {
    seed: Option<Zeroizing<[u8; 32]>>,
    #[cfg(any(test, feature = "hostile"))]
    spoiled: Option<Spoil>,
}

/// Seals that hold zeros.
#[cfg(any(test, feature = "hostile"))]
pub(super) enum Spoil {
    /// Those to this HPKE public key.
    For(Vec<u8>),
    All,
}

impl QpqCrypto {
    /// For an operation that draws: everything comes from `seed` (32 bytes), which serves this once.
    pub fn seeded(seed: &[u8; 32]) -> Self {
        QpqCrypto {
            seed: Some(Zeroizing::new(*seed)),
            ..Self::unseeded()
        }
    }

    /// The same, but some of what is sealed is not what it should be.
    #[cfg(any(test, feature = "hostile"))]
    pub(super) fn spoiling(mut self, spoil: Spoil) -> Self {
        self.spoiled = Some(spoil);
        self
    }

    /// For an operation that only verifies and decrypts; one that draws fails.
    pub fn unseeded() -> Self {
        QpqCrypto {
            seed: None,
            #[cfg(any(test, feature = "hostile"))]
            spoiled: None,
        }
    }

    /// HMAC-SHA256 under the seed over `label` and `parts`, each with its length; `None` without
    /// a seed.
    pub(super) fn derive_seed(&self, label: &[u8], parts: &[&[u8]]) -> Option<Zeroizing<[u8; 32]>> {
        let seed = self.seed.as_ref()?;
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(seed.as_slice()).ok()?;
        for part in [label].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Some(Zeroizing::new(mac.finalize().into_bytes().into()))
    }

    fn hpke_rng(&self, label: &[u8], parts: &[&[u8]]) -> Result<ChaCha20Rng, CryptoError> {
        self.derive_seed(label, parts)
            .map(|seed| ChaCha20Rng::from_seed(*seed))
            .ok_or(CryptoError::InsufficientRandomness)
    }
}

impl OpenMlsCrypto for QpqCrypto {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        Suite::from_ciphersuite(ciphersuite)
            .map(|_| ())
            .ok_or(CryptoError::UnsupportedCiphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        Suite::OFFERED.map(Suite::ciphersuite).to_vec()
    }

    fn hkdf_extract(
        &self,
        hash_type: HashType,
        salt: &[u8],
        ikm: &[u8],
    ) -> Result<SecretVLBytes, CryptoError> {
        Ok(kdf::hkdf_extract(hash_type, salt, ikm))
    }

    fn hmac(
        &self,
        hash_type: HashType,
        key: &[u8],
        message: &[u8],
    ) -> Result<SecretVLBytes, CryptoError> {
        kdf::hmac(hash_type, key, message)
    }

    fn hkdf_expand(
        &self,
        hash_type: HashType,
        prk: &[u8],
        info: &[u8],
        okm_len: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        kdf::hkdf_expand(hash_type, prk, info, okm_len)
    }

    fn hash(&self, hash_type: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(kdf::hash(hash_type, data))
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        primitives::aead_encrypt(alg, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct_tag: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        primitives::aead_decrypt(alg, key, ct_tag, nonce, aad)
    }

    fn signature_key_gen(&self, alg: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        if alg != SignatureScheme::ED25519 {
            return Err(CryptoError::UnsupportedSignatureScheme);
        }
        let seed = self
            .derive_seed(b"qpq mls signature key v1", &[])
            .ok_or(CryptoError::InsufficientRandomness)?;
        let public = identity::DeviceSecret::from_seed(*seed).public();
        Ok((seed.to_vec(), public.as_bytes().to_vec()))
    }

    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        pk: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        if alg != SignatureScheme::ED25519 {
            return Err(CryptoError::UnsupportedSignatureScheme);
        }
        let pk = pk.try_into().map_err(|_| CryptoError::InvalidPublicKey)?;
        identity::verify(pk, data, signature).map_err(|_| CryptoError::InvalidSignature)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if alg != SignatureScheme::ED25519 {
            return Err(CryptoError::UnsupportedSignatureScheme);
        }
        let seed = Zeroizing::new(key.try_into().map_err(|_| CryptoError::SigningError)?);
        Ok(SigningKey::from_seed(&seed).sign(data).to_vec())
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        #[cfg(any(test, feature = "hostile"))]
        let zeros = vec![0; ptxt.len()];
        #[cfg(any(test, feature = "hostile"))]
        let ptxt = match &self.spoiled {
            Some(Spoil::All) => &zeros,
            Some(Spoil::For(key)) if key == pk_r => &zeros,
            _ => ptxt,
        };
        let rng = self.hpke_rng(b"qpq mls hpke seal v1", &[pk_r, info, aad, ptxt])?;
        hpke::seal(config, rng, pk_r, info, aad, ptxt)
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        hpke::open(config, input, sk_r, info, aad)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        let rng = self.hpke_rng(b"qpq mls hpke export v1", &[pk_r, info, exporter_context])?;
        hpke::sender_export(config, rng, pk_r, info, exporter_context, exporter_length)
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        enc: &[u8],
        sk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        hpke::receiver_export(config, enc, sk_r, info, exporter_context, exporter_length)
    }

    fn derive_hpke_keypair(
        &self,
        config: HpkeConfig,
        ikm: &[u8],
    ) -> Result<HpkeKeyPair, CryptoError> {
        hpke::derive_key_pair(config, ikm)
    }
}
