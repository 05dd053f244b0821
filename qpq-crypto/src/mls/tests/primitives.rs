//! aws-lc-rs against the crates it stands in for: the same answer to the same question, refusals too.
//! Signatures are beside their key, in `ed25519`.
//! That whole groups put the same bytes on the wire is in `determinism`, which runs with both.

use openmls_traits::types::{
    AeadType, ExporterSecret, HpkeAeadType, HpkeCiphertext, HpkeConfig, HpkeKdfType, HpkeKemType,
};
use proptest::{collection::vec, prelude::*, sample::select};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::mls::{aws_lc, hpke, rust_crypto};

const AEADS: [AeadType; 3] = [
    AeadType::Aes128Gcm,
    AeadType::Aes256Gcm,
    AeadType::ChaCha20Poly1305,
];
/// Suites of RFC 9180 with X25519.
fn hpke_config(aead: HpkeAeadType) -> HpkeConfig {
    HpkeConfig(HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, aead)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

proptest! {
    #[test]
    fn aeads_agree(
        aead in select(&AEADS[..]),
        key in any::<[u8; 32]>(),
        nonce in any::<[u8; 12]>(),
        content in bytes(),
        aad in bytes(),
        flip in any::<prop::sample::Index>(),
    ) {
        let key = &key[..aead.key_size()];
        let sealed = aws_lc::aead_encrypt(aead, key, &content, &nonce, &aad).unwrap();
        prop_assert_eq!(&sealed, &rust_crypto::aead_encrypt(aead, key, &content, &nonce, &aad).unwrap());
        let mut bad = sealed.clone();
        bad[flip.index(sealed.len())] ^= 1;
        let short = &sealed[..flip.index(sealed.len())];
        for sealed in [sealed.as_slice(), &bad, short] {
            prop_assert_eq!(
                aws_lc::aead_decrypt(aead, key, sealed, &nonce, &aad),
                rust_crypto::aead_decrypt(aead, key, sealed, &nonce, &aad)
            );
        }
        for (key, nonce) in [(&key[1..], &nonce[..]), (key, &nonce[1..])] {
            prop_assert_eq!(
                aws_lc::aead_encrypt(aead, key, &content, nonce, &aad),
                rust_crypto::aead_encrypt(aead, key, &content, nonce, &aad)
            );
        }
    }

    #[test]
    fn hpke_over_x25519_agrees(
        aead in select(vec![HpkeAeadType::AesGcm128, HpkeAeadType::ChaCha20Poly1305]),
        ikm in any::<[u8; 32]>(),
        seed in any::<[u8; 32]>(),
        [info, aad, content] in [bytes(), bytes(), bytes()],
        len in 0usize..300,
        garbage in any::<[u8; 32]>(),
    ) {
        let config = || hpke_config(aead);
        let own = aws_lc::hpke::derive_key_pair(config(), &ikm).unwrap();
        let theirs = hpke::derive_key_pair(config(), &ikm).unwrap();
        prop_assert_eq!(&own.public, &theirs.public);
        prop_assert_eq!(&*own.private, &*theirs.private);

        let rng = || ChaCha20Rng::from_seed(seed);
        // The second is no key that anybody made; a good implementation takes it or not alike.
        for public in [own.public.as_slice(), &garbage, &[0; 32], &garbage[1..]] {
            let sealed = aws_lc::hpke::seal(config(), rng(), public, &info, &aad, &content);
            let same = hpke::seal(config(), rng(), public, &info, &aad, &content);
            prop_assert_eq!(sealed.ok(), same.ok());
            let export = aws_lc::hpke::sender_export(config(), rng(), public, &info, &aad, len);
            let same = hpke::sender_export(config(), rng(), public, &info, &aad, len);
            let plain = |(enc, secret): (Vec<u8>, ExporterSecret)| (enc, secret.to_vec());
            prop_assert_eq!(export.ok().map(plain), same.ok().map(plain));
        }
        let sealed = hpke::seal(config(), rng(), &own.public, &info, &aad, &content).unwrap();
        let open = |input: &HpkeCiphertext| {
            let opened = aws_lc::hpke::open(config(), input, &own.private, &info, &aad);
            assert_eq!(opened, hpke::open(config(), input, &own.private, &info, &aad));
            opened
        };
        prop_assert_eq!(open(&sealed).unwrap(), content);
        for enc in [garbage.to_vec(), vec![0; 32], garbage[1..].to_vec()] {
            let input = HpkeCiphertext { kem_output: enc.into(), ..sealed.clone() };
            prop_assert!(open(&input).is_err());
        }
        let enc = sealed.kem_output.as_slice();
        prop_assert_eq!(
            aws_lc::hpke::receiver_export(config(), enc, &own.private, &info, &aad, len).ok().map(|s| s.to_vec()),
            hpke::receiver_export(config(), enc, &own.private, &info, &aad, len).ok().map(|s| s.to_vec())
        );
    }
}
