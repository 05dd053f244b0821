//! The MLS working group's test vectors (mlswg/mls-implementations) for the suites 0x0001 and
//! 0x0003: primitives with their labels, and clients that join and follow a group.

use openmls::prelude::{
    MlsMessageBodyIn, MlsMessageIn, OpenMlsCrypto as _, SignatureScheme,
    tls_codec::DeserializeBytes as _,
};
use openmls_traits::types::{HpkeCiphertext, HpkePrivateKey};
use serde_json::Value;

use super::super::{crypto::QpqCrypto, storage::Kind};
use super::*;
use crate::vectors::{array, hex, json, number, text};

const SUITES: [Suite; 2] = [Suite::X25519, Suite::X25519ChaCha20];

/// The cases of a file for our suites.
fn cases(file: &str) -> Vec<(Suite, Value)> {
    let all = json("mls-wg", file);
    let ours = all.as_array().unwrap().iter().filter_map(|case| {
        let suite = Suite::from_id(number(case, "cipher_suite").try_into().unwrap())?;
        SUITES.contains(&suite).then(|| (suite, case.clone()))
    });
    ours.collect()
}

fn report(file: &str, run: &[Suite], each: usize) {
    for suite in SUITES {
        let count = run.iter().filter(|ran| **ran == suite).count();
        println!("mls-wg/{file}: {count} cases of suite {:#06x}", suite.id());
        assert_eq!(count, each);
    }
}

/// A variable-length vector (RFC 9420 §2.1.2).
fn vector(bytes: &[u8]) -> Vec<u8> {
    let len = bytes.len() as u32;
    let mut out = match len {
        0..0x40 => vec![len as u8],
        0x40..0x4000 => (len as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (len | 0x8000_0000).to_be_bytes().to_vec(),
    };
    out.extend_from_slice(bytes);
    out
}

/// `"MLS 1.0 " || label`, then the content, each as a vector.
fn labelled(label: &str, content: &[u8]) -> Vec<u8> {
    let label = format!("MLS 1.0 {label}");
    [vector(label.as_bytes()), vector(content)].concat()
}

fn expand(suite: Suite, case: &Value, context: &[u8], len: u16) -> Vec<u8> {
    let label = labelled(text(case, "label"), context);
    QpqCrypto::unseeded()
        .hkdf_expand(
            suite.ciphersuite().hash_algorithm(),
            &hex(case, "secret"),
            &[&len.to_be_bytes(), label.as_slice()].concat(),
            len.into(),
        )
        .unwrap()
        .as_slice()
        .to_vec()
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn crypto_basics() {
    let file = "crypto-basics.json";
    let cases = cases(file);
    let crypto = QpqCrypto::seeded(&[5; 32]);
    let mut run = Vec::new();
    for (suite, case) in cases {
        let hash = suite.ciphersuite().hash_algorithm();

        let c = &case["ref_hash"];
        let input = [
            vector(text(c, "label").as_bytes()),
            vector(&hex(c, "value")),
        ];
        assert_eq!(crypto.hash(hash, &input.concat()).unwrap(), hex(c, "out"));

        let c = &case["expand_with_label"];
        let len = number(c, "length").try_into().unwrap();
        assert_eq!(expand(suite, c, &hex(c, "context"), len), hex(c, "out"));

        let c = &case["derive_secret"];
        assert_eq!(expand(suite, c, b"", hash.size() as u16), hex(c, "out"));

        let c = &case["derive_tree_secret"];
        let generation = number(c, "generation") as u32;
        let len = number(c, "length").try_into().unwrap();
        assert_eq!(
            expand(suite, c, &generation.to_be_bytes(), len),
            hex(c, "out")
        );

        let c = &case["sign_with_label"];
        let content = labelled(text(c, "label"), &hex(c, "content"));
        let scheme = SignatureScheme::ED25519;
        let (public, private) = (hex(c, "pub"), hex(c, "priv"));
        crypto
            .verify_signature(scheme, &content, &public, &hex(c, "signature"))
            .unwrap();
        let own = crypto.sign(scheme, &content, &private).unwrap();
        assert_eq!(own, hex(c, "signature"), "Ed25519 is deterministic");

        let c = &case["encrypt_with_label"];
        let info = labelled(text(c, "label"), &hex(c, "context"));
        let config = || suite.ciphersuite().hpke_config();
        let theirs = HpkeCiphertext {
            kem_output: hex(c, "kem_output").into(),
            ciphertext: hex(c, "ciphertext").into(),
        };
        let ours = crypto
            .hpke_seal(config(), &hex(c, "pub"), &info, b"", &hex(c, "plaintext"))
            .unwrap();
        for sealed in [theirs, ours] {
            let opened = crypto.hpke_open(config(), &sealed, &hex(c, "priv"), &info, b"");
            assert_eq!(opened.unwrap(), hex(c, "plaintext"));
        }
        run.push(suite);
    }
    report(file, &run, 1);
}

/// A device that holds the keys of a case.
fn passive_client(case: &Value) -> Phone {
    let mut phone = Phone::new(1);
    for psk in array(case, "external_psks") {
        phone
            .device
            .add_external_psk(&hex(psk, "psk_id"), &hex(psk, "psk"))
            .unwrap();
    }
    let message = MlsMessageIn::tls_deserialize_exact_bytes(&hex(case, "key_package")).unwrap();
    let MlsMessageBodyIn::KeyPackage(key_package) = message.extract() else {
        panic!("no key package");
    };
    // Its lifetime ended in 2024.
    let key_package = key_package.into_unchecked();
    let reference = key_package.hash_ref(&QpqCrypto::unseeded()).unwrap();
    let key = |name| HpkePrivateKey::from(hex(case, name));
    phone
        .device
        .rows()
        .write(
            Kind::KeyPackage,
            &reference,
            &(key_package, key("init_priv"), key("encryption_priv")),
        )
        .unwrap();
    phone.save();
    phone.restart();
    phone
}

/// Joins as the case says and follows its commits, with a restart after every step; the number
/// of commits.
fn follow(case: &Value) -> usize {
    let mut phone = passive_client(case);
    let tree = case["ratchet_tree"]
        .as_str()
        .map(|_| hex(case, "ratchet_tree"));
    let group = Group::join(
        &mut phone.device,
        &hex(case, "welcome"),
        tree.as_deref(),
        Policy::Interop,
    )
    .unwrap();
    assert_eq!(
        group.epoch_authenticator(),
        hex(case, "initial_epoch_authenticator")
    );
    let id = group.group_id().to_vec();
    let epochs = array(case, "epochs");
    for epoch in epochs {
        let proposals = array(epoch, "proposals")
            .iter()
            .map(|proposal| crate::vectors::decode_hex(proposal.as_str().unwrap()));
        for message in proposals.chain([hex(epoch, "commit")]) {
            phone.save();
            phone.restart();
            let mut group = Group::load(&phone.device, &id).unwrap().unwrap();
            group.process(&mut phone.device, &message).unwrap();
        }
        let group = Group::load(&phone.device, &id).unwrap().unwrap();
        assert_eq!(
            group.epoch_authenticator(),
            hex(epoch, "epoch_authenticator")
        );
    }
    epochs.len()
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn passive_client_welcome() {
    let file = "passive-client-welcome.json";
    let cases = cases(file);
    let mut run = Vec::new();
    for (suite, case) in cases {
        follow(&case);
        run.push(suite);
    }
    report(file, &run, 8);
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn passive_client_handling_commit() {
    let file = "passive-client-handling-commit.json";
    let cases = cases(file);
    let (mut run, mut commits) = (Vec::new(), 0);
    for (suite, case) in cases {
        commits += follow(&case);
        run.push(suite);
    }
    report(file, &run, 13);
    println!("mls-wg/{file}: {commits} commits");
    assert_eq!(commits, 52);
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn hpke_key_pairs_and_ciphertexts() {
    use openmls_traits::types::{HpkeAeadType, HpkeConfig, HpkeKdfType, HpkeKemType};
    let crypto = QpqCrypto::unseeded();
    let config = |case: &Value| {
        let kem = match number(case, "kem_id") {
            0x0020 => HpkeKemType::DhKem25519,
            0x647a => HpkeKemType::XWingKemDraft6,
            _ => return None,
        };
        let aead = match number(case, "aead_id") {
            1 => HpkeAeadType::AesGcm128,
            3 => HpkeAeadType::ChaCha20Poly1305,
            _ => return None,
        };
        (number(case, "mode") == 0).then_some(HpkeConfig(kem, HpkeKdfType::HkdfSha256, aead))
    };
    for (set, file, expected) in [
        ("hpke-rfc9180", "subset-x25519-hkdfsha256.json", (2, 2)),
        // X-Wing comes there with an AEAD that none of our suites pairs it with.
        ("hpke-pq", "hpke-pq-2026-03.json", (2, 0)),
    ] {
        let all = json(set, file);
        let mut run = (0, 0);
        for case in all.as_array().unwrap() {
            let Some(suite) = config(case) else { continue };
            let is_xwing = suite.0 == HpkeKemType::XWingKemDraft6;
            if is_xwing != (set == "hpke-pq") {
                continue;
            }
            let pair = crypto
                .derive_hpke_keypair(suite, &hex(case, "ikmR"))
                .unwrap();
            assert_eq!(pair.public, hex(case, "pkRm"));
            let mut private = hex(case, "skRm");
            if !is_xwing {
                // The file has X25519 keys before the clamping of RFC 7748 §5.
                private[0] &= 248;
                private[31] = private[31] & 127 | 64;
            }
            assert_eq!(*pair.private, private);
            run.0 += 1;
            if is_xwing {
                continue;
            }
            let first = &array(case, "encryptions")[0];
            let sealed = HpkeCiphertext {
                kem_output: hex(case, "enc").into(),
                ciphertext: hex(first, "ct").into(),
            };
            let (private, info) = (hex(case, "skRm"), hex(case, "info"));
            let opened = crypto
                .hpke_open(
                    config(case).unwrap(),
                    &sealed,
                    &private,
                    &info,
                    &hex(first, "aad"),
                )
                .unwrap();
            assert_eq!(opened, hex(first, "pt"));
            for export in array(case, "exports") {
                let exported = crypto
                    .hpke_setup_receiver_and_export(
                        config(case).unwrap(),
                        &hex(case, "enc"),
                        &private,
                        &info,
                        &hex(export, "exporter_context"),
                        number(export, "L").try_into().unwrap(),
                    )
                    .unwrap();
                assert_eq!(*exported, hex(export, "exported_value"));
            }
            run.1 += 1;
        }
        println!("{set}: {} key pairs, {} key schedules", run.0, run.1);
        assert_eq!(run, expected);
    }
}
