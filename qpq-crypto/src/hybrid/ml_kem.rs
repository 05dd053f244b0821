//! Wycheproof's encapsulation to ML-KEM-768 keys, through the envelope's own sender.
//!
//! Key generation and decapsulation are in [`crate::x_wing`]: no hybrid key holds the 64 bytes that the
//! key pairs of those vectors come from.

use wycheproof::mlkem::TestName;
use x25519_dalek::{PublicKey, StaticSecret};

use super::HybridPublicKey;
use super::suite::Sender;
use super::vectors::Script;
use crate::known_answers::key_schedule::{self, Context};
use crate::known_answers::ml_kem::{bytes, run};

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
