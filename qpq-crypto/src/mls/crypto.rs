//! Hashes, HKDF, AEADs and signatures for openmls, and the randomness of its HPKE seals.
//!
//! openmls seals path secrets in parallel. A generator shared between them would hand out its
//! bytes in whatever order the threads come by, so each seal's randomness is derived from the
//! operation's seed and from all that the seal says. The seed is fresh for every operation, and
//! two seals of one operation that agree in everything are the same seal.

use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use hkdf::{
    Hkdf,
    hmac::{Hmac, Mac},
};
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
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::{Suite, hpke};
use crate::identity;

/// The primitives of one operation.
pub(super) struct QpqCrypto {
    seed: Option<Zeroizing<[u8; 32]>>,
}

impl QpqCrypto {
    pub fn seeded(seed: &[u8; 32]) -> Self {
        QpqCrypto {
            seed: Some(Zeroizing::new(*seed)),
        }
    }

    pub fn unseeded() -> Self {
        QpqCrypto { seed: None }
    }

    /// HMAC-SHA256 under the seed over `label` and `parts`, each with its length; `None` without
    /// a seed.
    pub fn derive_seed(&self, label: &[u8], parts: &[&[u8]]) -> Option<Zeroizing<[u8; 32]>> {
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

/// Runs `$body` with the hash type of the crate behind a [`HashType`].
macro_rules! with_hash {
    ($hash:expr, |$H:ident| $body:expr) => {
        match $hash {
            HashType::Sha2_256 => {
                type $H = Sha256;
                $body
            }
            HashType::Sha2_384 => {
                type $H = Sha384;
                $body
            }
            HashType::Sha2_512 => {
                type $H = Sha512;
                $body
            }
        }
    };
}

/// Runs `$body` with the AEAD type behind an [`AeadType`].
macro_rules! with_aead {
    ($aead:expr, |$A:ident| $body:expr) => {
        match $aead {
            AeadType::Aes128Gcm => {
                type $A = Aes128Gcm;
                $body
            }
            AeadType::Aes256Gcm => {
                type $A = Aes256Gcm;
                $body
            }
            AeadType::ChaCha20Poly1305 => {
                type $A = ChaCha20Poly1305;
                $body
            }
        }
    };
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
        with_hash!(hash_type, |H| {
            let (prk, _) = Hkdf::<H>::extract(Some(salt), ikm);
            Ok(prk.as_slice().into())
        })
    }

    fn hmac(
        &self,
        hash_type: HashType,
        key: &[u8],
        message: &[u8],
    ) -> Result<SecretVLBytes, CryptoError> {
        with_hash!(hash_type, |H| {
            let mut mac = <Hmac<H> as KeyInit>::new_from_slice(key)
                .map_err(|_| CryptoError::InvalidLength)?;
            mac.update(message);
            Ok(mac.finalize().into_bytes().as_slice().into())
        })
    }

    fn hkdf_expand(
        &self,
        hash_type: HashType,
        prk: &[u8],
        info: &[u8],
        okm_len: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        with_hash!(hash_type, |H| {
            let hkdf =
                Hkdf::<H>::from_prk(prk).map_err(|_| CryptoError::HkdfOutputLengthInvalid)?;
            let mut okm = vec![0; okm_len];
            hkdf.expand(info, &mut okm)
                .map_err(|_| CryptoError::HkdfOutputLengthInvalid)?;
            Ok(okm.into())
        })
    }

    fn hash(&self, hash_type: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        with_hash!(hash_type, |H| Ok(H::digest(data).to_vec()))
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        with_aead!(alg, |A| {
            A::new_from_slice(key)
                .map_err(|_| CryptoError::InvalidLength)?
                .encrypt(
                    nonce.try_into().map_err(|_| CryptoError::InvalidLength)?,
                    Payload { msg: data, aad },
                )
                .map_err(|_| CryptoError::CryptoLibraryError)
        })
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct_tag: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        with_aead!(alg, |A| {
            A::new_from_slice(key)
                .map_err(|_| CryptoError::InvalidLength)?
                .decrypt(
                    nonce.try_into().map_err(|_| CryptoError::InvalidLength)?,
                    Payload { msg: ct_tag, aad },
                )
                .map_err(|_| CryptoError::AeadDecryptionError)
        })
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
        let seed = key.try_into().map_err(|_| CryptoError::SigningError)?;
        Ok(identity::DeviceSecret::from_seed(seed).sign(data).to_vec())
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
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
