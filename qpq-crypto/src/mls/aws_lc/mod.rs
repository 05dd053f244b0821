//! AEADs and X25519 from aws-lc-rs: the same bytes, two to nine times faster.
//!
//! Hashes and HKDF are in [`super::kdf`]. ML-KEM stays with the `ml-kem` crate, since aws-lc-rs encapsulates with randomness of its own only.

pub mod hpke;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use openmls_traits::types::{AeadType, CryptoError};

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
