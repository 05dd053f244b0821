//! The key schedule of HPKE (RFC 9180 §5.1, base mode, HKDF-SHA256, ChaCha20-Poly1305) written out a
//! second time: vectors of a KEM alone are held against functions of ours that show no shared secret.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use hkdf::Hkdf;
use sha2::Sha256;

/// DHKEM(X25519, HKDF-SHA256).
pub const X25519: u16 = 0x0020;
/// X-Wing.
pub const XWING: u16 = 0x647a;

/// What sender and receiver of one message agree on.
pub struct Context {
    cipher: ChaCha20Poly1305,
    nonce: [u8; 12],
}

impl Context {
    /// `KeyScheduleR` or `KeyScheduleS` for the shared secret of a KEM.
    pub fn new(kem: u16, shared_secret: &[u8], info: &[u8]) -> Self {
        let [kem, kdf, aead] = [kem, 1, 3].map(u16::to_be_bytes);
        let suite = [b"HPKE", kem.as_slice(), &kdf, &aead].concat();
        let psk_id_hash = labelled_extract(&suite, &[], b"psk_id_hash", &[]);
        let info_hash = labelled_extract(&suite, &[], b"info_hash", info);
        let context = [&[0], psk_id_hash.as_slice(), &info_hash].concat();
        let secret = labelled_extract(&suite, shared_secret, b"secret", &[]);
        let key: [u8; 32] = labelled_expand(&suite, &secret, b"key", &context);
        Self {
            cipher: ChaCha20Poly1305::new(&key.into()),
            nonce: labelled_expand(&suite, &secret, b"base_nonce", &context),
        }
    }

    pub fn seal(&self, aad: &[u8], msg: &[u8]) -> Vec<u8> {
        let payload = Payload { msg, aad };
        self.cipher.encrypt(&self.nonce.into(), payload).unwrap()
    }

    pub fn open(&self, aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg, aad };
        self.cipher.decrypt(&self.nonce.into(), payload).ok()
    }
}

/// The shared secret of DHKEM(X25519, HKDF-SHA256) from the Diffie-Hellman result (RFC 9180 §4.1).
pub fn x25519_shared_secret(dh: &[u8; 32], enc: &[u8; 32], public_key: &[u8; 32]) -> [u8; 32] {
    let suite = [b"KEM", X25519.to_be_bytes().as_slice()].concat();
    let prk = labelled_extract(&suite, &[], b"eae_prk", dh);
    let context = [enc.as_slice(), public_key].concat();
    labelled_expand(&suite, &prk, b"shared_secret", &context)
}

fn labelled_extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> [u8; 32] {
    let ikm = [b"HPKE-v1", suite, label, ikm].concat();
    Hkdf::<Sha256>::extract(Some(salt), &ikm).0.into()
}

fn labelled_expand<const N: usize>(
    suite: &[u8],
    prk: &[u8; 32],
    label: &[u8],
    info: &[u8],
) -> [u8; N] {
    let length = u16::try_from(N).unwrap().to_be_bytes();
    let info = [length.as_slice(), b"HPKE-v1", suite, label, info].concat();
    let mut key = [0; N];
    Hkdf::<Sha256>::from_prk(prk)
        .unwrap()
        .expand(&info, &mut key)
        .unwrap();
    key
}
