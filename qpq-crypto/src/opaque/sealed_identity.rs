//! The identity seed, sealed so that only the password opens it (protocol.md §5.15).
//!
//! `version (1) || nonce (24) || XChaCha20-Poly1305 of the seed (32 + 16)`, the key being
//! HKDF-SHA512(OPAQUE export key, `"qpq identity v1"`), the version byte the associated data. The
//! export key depends on name and domain, so a sealed identity opens under no other account.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use rand_core::Rng;
use sha2::Sha512;
use zeroize::Zeroizing;

use super::ExportKey;
use crate::identity::IdentitySecret;
use crate::random;

/// The version of the format.
const VERSION: u8 = 1;

/// Bytes of a sealed identity.
pub const SEALED_IDENTITY_LENGTH: usize = 1 + 24 + 32 + 16;

/// The sealed identity does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedIdentityError {
    /// Update this client: a newer version sealed it.
    #[error("sealed identity has an unknown version; a newer version may open it")]
    UnknownVersion,
    /// Use recovery or another device: it was sealed under another password or changed.
    #[error("sealed identity was changed or belongs to another registration")]
    Refused,
}

fn cipher(export_key: &ExportKey) -> XChaCha20Poly1305 {
    let mut key = Zeroizing::new([0u8; 32]);
    Hkdf::<Sha512>::new(None, export_key.expose())
        .expand(b"qpq identity v1", key.as_mut())
        .expect("32 bytes are within HKDF's bound");
    XChaCha20Poly1305::new((&*key).into())
}

/// Seals the 32-byte seed of an account under the export key of its registration: 73 bytes for the
/// server to keep.
pub fn seal_identity(export_key: &ExportKey, identity_seed: &[u8; 32], seed: &[u8; 32]) -> Vec<u8> {
    let mut nonce = [0u8; 24];
    random::from_seed(seed).fill_bytes(&mut nonce);
    let payload = Payload {
        msg: identity_seed,
        aad: &[VERSION],
    };
    let ciphertext = cipher(export_key)
        .encrypt(&XNonce::from(nonce), payload)
        .expect("32 bytes are within the cipher's bound");
    [&[VERSION], nonce.as_slice(), &ciphertext].concat()
}

/// Opens what [`seal_identity`] sealed, with the export key of a login.
///
/// # Errors
/// [`SealedIdentityError`].
pub fn open_identity(
    export_key: &ExportKey,
    sealed: &[u8],
) -> Result<IdentitySecret, SealedIdentityError> {
    let (version, rest) = sealed.split_first().ok_or(SealedIdentityError::Refused)?;
    if *version != VERSION {
        return Err(SealedIdentityError::UnknownVersion);
    }
    let (nonce, ciphertext) = rest
        .split_first_chunk::<24>()
        .ok_or(SealedIdentityError::Refused)?;
    let payload = Payload {
        msg: ciphertext,
        aad: &[VERSION],
    };
    let plaintext = cipher(export_key)
        .decrypt(&XNonce::from(*nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| SealedIdentityError::Refused)?;
    let identity_seed =
        <[u8; 32]>::try_from(plaintext.as_slice()).map_err(|_| SealedIdentityError::Refused)?;
    Ok(IdentitySecret::from_seed(identity_seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_same_key_and_bytes_open() {
        let key = ExportKey::new([1; 64]);
        let sealed = seal_identity(&key, &[2; 32], &[3; 32]);
        assert_eq!(sealed.len(), SEALED_IDENTITY_LENGTH);
        assert_eq!(sealed, seal_identity(&key, &[2; 32], &[3; 32]));
        assert_ne!(sealed, seal_identity(&key, &[2; 32], &[4; 32]));
        let opened = open_identity(&key, &sealed).map(|identity| *identity.seed());
        assert_eq!(opened, Ok([2; 32]));
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open_identity(&key, &bad).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open_identity(&key, &sealed[..length]).is_err());
        }
        for byte in 0..64 {
            let mut other = [1; 64];
            other[byte] ^= 1;
            assert!(open_identity(&ExportKey::new(other), &sealed).is_err());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open_identity(&ExportKey::new([1; 64]), &bytes).is_err());
        }
    }
}
