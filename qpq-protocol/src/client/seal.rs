//! Sealing of what leaves for storage: no engine needs to be trusted.
//!
//! A sealed value is `nonce (24 bytes) || XChaCha20-Poly1305(value)` under the 32-byte storage key,
//! with the stored key as associated data, so that no value can be moved to another row. Nonces are
//! drawn at random, 192 bits each: none repeats, also not after a restart from an old backup.

use bytes::Bytes;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::rng::Rng;

/// Bytes of the nonce before a sealed value.
const NONCE: usize = 24;
/// Bytes that sealing adds.
#[cfg(test)]
const OVERHEAD: usize = NONCE + 16;

/// Seals and opens values under the storage key.
pub(super) struct Sealer {
    key: Zeroizing<[u8; 32]>,
    nonces: Rng,
}

impl Sealer {
    /// `nonces` is a generator of its own.
    pub(super) fn new(key: [u8; 32], nonces: Rng) -> Self {
        Self {
            key: Zeroizing::new(key),
            nonces,
        }
    }

    /// The sealed form of `value` for the row `row`. Encryption of less than 256 GiB cannot fail;
    /// if it did, the row would be empty and not open again.
    pub(super) fn seal(&mut self, row: &[u8], value: &[u8]) -> Bytes {
        let nonce = self.nonces.bytes::<NONCE>();
        let payload = Payload {
            msg: value,
            aad: row,
        };
        let Ok(sealed) = self.cipher().encrypt(&XNonce::from(nonce), payload) else {
            return Bytes::new();
        };
        let mut out = Vec::with_capacity(NONCE + sealed.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out.into()
    }

    /// The value of the row `row`, `None` if it was not sealed for it under this key.
    pub(super) fn open(&self, row: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload {
            msg: ciphertext,
            aad: row,
        };
        self.cipher()
            .decrypt(&XNonce::from(*nonce), payload)
            .ok()
            .map(Zeroizing::new)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_in_its_row_and_under_its_key() {
        let mut sealer = Sealer::new([1; 32], Rng::new([2; 32]));
        let sealed = sealer.seal(b"row", b"value");
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(
            sealer.open(b"row", &sealed).as_deref(),
            Some(&b"value".to_vec())
        );
        assert!(sealer.open(b"other", &sealed).is_none());
        let other = Sealer::new([3; 32], Rng::new([2; 32]));
        assert!(other.open(b"row", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut bad = sealed.to_vec();
            bad[at] ^= 1;
            assert!(sealer.open(b"row", &bad).is_none(), "byte {at}");
        }
        assert!(sealer.open(b"row", &sealed[..NONCE]).is_none());
    }

    #[test]
    fn no_nonce_repeats() {
        let mut sealer = Sealer::new([1; 32], Rng::new([2; 32]));
        let nonces: std::collections::BTreeSet<Vec<u8>> = (0..1000)
            .map(|_| sealer.seal(b"row", b"same")[..NONCE].to_vec())
            .collect();
        assert_eq!(nonces.len(), 1000);
    }
}
