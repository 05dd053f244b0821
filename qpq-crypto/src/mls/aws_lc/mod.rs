//! Hashes, HKDF, AEADs, signatures and X25519 from aws-lc-rs: the same bytes, faster.
//!
//! Signatures are still *verified* by ed25519-dalek: its strict verification refuses keys and points
//! of small order, aws-lc does not, and members of one group must not differ about a signature.
//! ML-KEM stays with the `ml-kem` crate, since aws-lc-rs encapsulates with randomness of its own only.

pub mod hpke;

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    digest, hmac,
    signature::Ed25519KeyPair,
};
use openmls::prelude::tls_codec::SecretVLBytes;
use openmls_traits::types::{AeadType, CryptoError, HashType};
use zeroize::Zeroizing;

pub fn hash(hash_type: HashType, data: &[u8]) -> Vec<u8> {
    let algorithm = match hash_type {
        HashType::Sha2_256 => &digest::SHA256,
        HashType::Sha2_384 => &digest::SHA384,
        HashType::Sha2_512 => &digest::SHA512,
    };
    digest::digest(algorithm, data).as_ref().to_vec()
}

fn hmac_key(hash_type: HashType, key: &[u8]) -> hmac::Key {
    let algorithm = match hash_type {
        HashType::Sha2_256 => hmac::HMAC_SHA256,
        HashType::Sha2_384 => hmac::HMAC_SHA384,
        HashType::Sha2_512 => hmac::HMAC_SHA512,
    };
    hmac::Key::new(algorithm, key)
}

pub fn hmac(hash_type: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
    Ok(hkdf_extract(hash_type, key, message))
}

/// HMAC of `ikm` under `salt` (RFC 5869 §2.2).
pub fn hkdf_extract(hash_type: HashType, salt: &[u8], ikm: &[u8]) -> SecretVLBytes {
    hmac::sign(&hmac_key(hash_type, salt), ikm).as_ref().into()
}

/// RFC 5869 §2.3, written out: aws-lc-rs panics at a key that is longer than a hash.
pub fn hkdf_expand(
    hash_type: HashType,
    prk: &[u8],
    info: &[u8],
    okm_len: usize,
) -> Result<SecretVLBytes, CryptoError> {
    let hash_len = hash_type.size();
    if prk.len() < hash_len || okm_len > 255 * hash_len {
        return Err(CryptoError::HkdfOutputLengthInvalid);
    }
    let key = hmac_key(hash_type, prk);
    let mut okm = Zeroizing::new(Vec::with_capacity(okm_len.next_multiple_of(hash_len)));
    let mut counter = 0u8;
    while okm.len() < okm_len {
        let mut context = hmac::Context::with_key(&key);
        if let Some(previous) = okm.len().checked_sub(hash_len) {
            context.update(okm.get(previous..).unwrap_or_default());
        }
        counter = counter.wrapping_add(1);
        context.update(info);
        context.update(&[counter]);
        okm.extend_from_slice(context.sign().as_ref());
    }
    okm.truncate(okm_len);
    Ok(okm.as_slice().into())
}

fn aead_key(alg: AeadType, key: &[u8]) -> Result<LessSafeKey, CryptoError> {
    let algorithm = match alg {
        AeadType::Aes128Gcm => &aead::AES_128_GCM,
        AeadType::Aes256Gcm => &aead::AES_256_GCM,
        AeadType::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
    };
    UnboundKey::new(algorithm, key)
        .map(LessSafeKey::new)
        .map_err(|_| CryptoError::InvalidLength)
}

pub fn aead_encrypt(
    alg: AeadType,
    key: &[u8],
    data: &[u8],
    nonce: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let key = aead_key(alg, key)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError::InvalidLength)?;
    let mut sealed = Vec::with_capacity(data.len() + alg.tag_size());
    sealed.extend_from_slice(data);
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)
        .map_err(|_| CryptoError::CryptoLibraryError)?;
    Ok(sealed)
}

pub fn aead_decrypt(
    alg: AeadType,
    key: &[u8],
    ct_tag: &[u8],
    nonce: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let key = aead_key(alg, key)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError::InvalidLength)?;
    let (ciphertext, tag) = ct_tag
        .len()
        .checked_sub(alg.tag_size())
        .and_then(|at| ct_tag.split_at_checked(at))
        .ok_or(CryptoError::AeadDecryptionError)?;
    let mut opened = vec![0; ciphertext.len()];
    key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, &mut opened)
        .map_err(|_| CryptoError::AeadDecryptionError)?;
    Ok(opened)
}

/// An Ed25519 key ready to sign: with its public key worked out, which costs as much as a signature.
pub struct SigningKey(Option<Ed25519KeyPair>);

impl SigningKey {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        SigningKey(Ed25519KeyPair::from_seed_unchecked(seed).ok())
    }

    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.0.as_ref()?.try_sign(message).ok()?;
        Some(signature.as_ref().to_vec())
    }
}
