//! Hashes, HKDF, AEADs and signatures from the RustCrypto and dalek crates.

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
use openmls_traits::types::{AeadType, CryptoError, HashType};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::identity::DeviceSecret;

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

pub fn hash(hash_type: HashType, data: &[u8]) -> Vec<u8> {
    with_hash!(hash_type, |H| H::digest(data).to_vec())
}

pub fn hmac(hash_type: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
    with_hash!(hash_type, |H| {
        let mut mac =
            <Hmac<H> as KeyInit>::new_from_slice(key).map_err(|_| CryptoError::InvalidLength)?;
        mac.update(message);
        Ok(mac.finalize().into_bytes().as_slice().into())
    })
}

pub fn hkdf_extract(hash_type: HashType, salt: &[u8], ikm: &[u8]) -> SecretVLBytes {
    with_hash!(hash_type, |H| {
        let (prk, _) = Hkdf::<H>::extract(Some(salt), ikm);
        prk.as_slice().into()
    })
}

pub fn hkdf_expand(
    hash_type: HashType,
    prk: &[u8],
    info: &[u8],
    okm_len: usize,
) -> Result<SecretVLBytes, CryptoError> {
    with_hash!(hash_type, |H| {
        let hkdf = Hkdf::<H>::from_prk(prk).map_err(|_| CryptoError::HkdfOutputLengthInvalid)?;
        let mut okm = vec![0; okm_len];
        hkdf.expand(info, &mut okm)
            .map_err(|_| CryptoError::HkdfOutputLengthInvalid)?;
        Ok(okm.into())
    })
}

pub fn aead_encrypt(
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

pub fn aead_decrypt(
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

/// An Ed25519 key ready to sign.
pub struct SigningKey(DeviceSecret);

impl SigningKey {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        SigningKey(DeviceSecret::from_seed(*seed))
    }

    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.sign(message).to_vec())
    }
}
