//! Hashes, HMAC and HKDF (RFC 5869) from the RustCrypto crates, with every feature: what MLS hashes is
//! short, and a call into aws-lc then takes longer than the whole of HKDF here (0.54 against 0.29 µs).

use hkdf::{
    Hkdf,
    hmac::{Hmac, KeyInit, Mac},
};
use openmls::prelude::tls_codec::SecretVLBytes;
use openmls_traits::types::{CryptoError, HashType};
use sha2::{Digest, Sha256, Sha384, Sha512};

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
