//! Sealing of what leaves for storage: no engine needs to be trusted.
//!
//! A sealed value is `nonce (24 bytes) || XChaCha20-Poly1305(value)` under the 32-byte storage key,
//! with the stored key as associated data, so that no value can be moved to another row.
//!
//! Nonces are hedged: the first 24 bytes of HMAC-SHA256(key of its own, 24 random bytes || stored key
//! || value). None repeats after a restart from an old backup, and a seed that is given twice, by a
//! copied machine or a poor generator, repeats one only where the same value lies in the same row.

use bytes::Bytes;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hkdf::hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::rng::Rng;

/// Bytes of the nonce before a sealed value.
const NONCE: usize = 24;
/// Bytes that sealing adds.
#[cfg(test)]
const OVERHEAD: usize = NONCE + 16;

/// The key that all that a client stores is sealed under: 32 bytes that stay the same as long as the
/// data. Nothing shows them, and they are wiped when they are dropped.
pub struct StorageKey(Zeroizing<[u8; 32]>);

impl StorageKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A generator that this key names, for a client that does it wrong.
    #[cfg(qpq_defects)]
    pub(in crate::client) fn rng(&self) -> Rng {
        Rng::new(*self.0)
    }
}

/// Seals and opens values under the storage key.
pub(in crate::client) struct Sealer {
    key: StorageKey,
    /// For the nonces, of which it says nothing about the other.
    nonce_key: Zeroizing<[u8; 32]>,
    nonces: Rng,
    /// Nonces are what was drawn and nothing else.
    #[cfg(qpq_defects)]
    pub(in crate::client) is_unhedged: bool,
}

impl Sealer {
    /// `nonces` is a generator of its own.
    pub(in crate::client) fn new(key: StorageKey, nonces: Rng) -> Self {
        Self {
            nonce_key: Zeroizing::new(hmac(&key.0, &[b"qpq store nonce v1"])),
            key,
            nonces,
            #[cfg(qpq_defects)]
            is_unhedged: false,
        }
    }

    /// The sealed form of `value` for the row `row`. Encryption of less than 256 GiB cannot fail;
    /// if it did, the row would be empty and not open again.
    pub(in crate::client) fn seal(&mut self, row: &[u8], value: &[u8]) -> Bytes {
        let nonce = self.nonce(row, value);
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

    fn nonce(&mut self, row: &[u8], value: &[u8]) -> [u8; NONCE] {
        let drawn = self.nonces.bytes::<NONCE>();
        #[cfg(qpq_defects)]
        if self.is_unhedged {
            return drawn;
        }
        let hedged = hmac(&self.nonce_key, &[&drawn, row, value]);
        *hedged.first_chunk().unwrap_or(&drawn)
    }

    /// The value of the row `row`, `None` if it was not sealed for it under this key.
    pub(in crate::client) fn open(&self, row: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
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
        XChaCha20Poly1305::new(&Key::from(*self.key.0))
    }
}

/// HMAC-SHA256 of these parts, one after the other.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC itself fills up a key that is shorter than a block.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&(*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_only_in_its_row_and_under_its_key() {
        let mut sealer = Sealer::new(StorageKey::new([1; 32]), Rng::new([2; 32]));
        let sealed = sealer.seal(b"row", b"value");
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(
            sealer.open(b"row", &sealed).as_deref(),
            Some(&b"value".to_vec())
        );
        assert!(sealer.open(b"other", &sealed).is_none());
        let other = Sealer::new(StorageKey::new([3; 32]), Rng::new([2; 32]));
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
        let mut sealer = Sealer::new(StorageKey::new([1; 32]), Rng::new([2; 32]));
        let nonces: std::collections::BTreeSet<Vec<u8>> = (0..1000)
            .map(|_| sealer.seal(b"row", b"same")[..NONCE].to_vec())
            .collect();
        assert_eq!(nonces.len(), 1000);
    }

    #[test]
    fn a_seed_that_is_given_twice_repeats_no_nonce_for_another_value() {
        let sealer = || Sealer::new(StorageKey::new([1; 32]), Rng::new([2; 32]));
        let nonce = |row: &[u8], value: &[u8]| sealer().seal(row, value)[..NONCE].to_vec();
        assert_eq!(nonce(b"row", b"value"), nonce(b"row", b"value"));
        assert_ne!(nonce(b"row", b"value"), nonce(b"row", b"other"));
        assert_ne!(nonce(b"row", b"value"), nonce(b"other", b"value"));
    }

    #[test]
    fn the_nonce_is_the_beginning_of_an_hmac() {
        // RFC 4231, test case 2, with the key filled up to 32 bytes.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let expected = [
            0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95,
            0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9,
            0x64, 0xec, 0x38, 0x43,
        ];
        assert_eq!(
            hmac(&key, &[b"what do ya want ", b"for nothing?"]),
            expected
        );
    }
}
