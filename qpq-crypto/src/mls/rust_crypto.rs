//! AEADs from the RustCrypto crates.

use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use openmls_traits::types::{AeadType, CryptoError};

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
