//! Project Wycheproof against the primitives: our strict Ed25519 verification, and the X25519,
//! ChaCha20-Poly1305, HKDF and ML-KEM-768 that envelope, login and groups are linked with.

mod vectors;

use serde_json::Value;
use vectors::{array, hex, json, number, text};

/// Runs `check` on every test of the file with its group; `check` says what the implementation did,
/// or `None` where the test does not apply. Answers how many agreed with the verdict and how many did
/// not apply.
fn run(
    set: &str,
    file: &str,
    check: impl Fn(&Value, &Value) -> Option<bool>,
) -> Option<(usize, usize)> {
    let document = json(set, file)?;
    let (mut agreed, mut skipped) = (0, 0);
    for group in array(&document, "testGroups") {
        for test in array(group, "tests") {
            let verdict = text(test, "result");
            match check(group, test) {
                Some(accepted) => {
                    assert!(
                        verdict == "acceptable" || accepted == (verdict == "valid"),
                        "{file} {}: {verdict}, but accepted = {accepted}",
                        test["tcId"]
                    );
                    agreed += 1;
                }
                None => skipped += 1,
            }
        }
    }
    println!("{file}: {agreed} agree, {skipped} not applicable");
    let total = usize::try_from(number(&document, "numberOfTests")).unwrap();
    assert_eq!(agreed + skipped, total);
    Some((agreed, skipped))
}

#[test]
fn ed25519() {
    let counts = run("wycheproof", "ed25519_test.json", |group, test| {
        let key = hex(&group["publicKey"], "pk").try_into().unwrap();
        let verified = qpq_crypto::identity::verify(&key, &hex(test, "msg"), &hex(test, "sig"));
        Some(verified.is_ok())
    });
    assert!(counts.is_none() || counts == Some((151, 0)));
}

#[test]
fn x25519() {
    let counts = run("wycheproof", "x25519_test.json", |_, test| {
        let array = |key| <[u8; 32]>::try_from(hex(test, key)).unwrap();
        let secret = x25519_dalek::StaticSecret::from(array("private"));
        let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(array("public")));
        let flags = vectors::array(test, "flags");
        let low_order = flags.iter().any(|flag| flag == "ZeroSharedSecret");
        assert_eq!(shared.was_contributory(), !low_order, "{}", test["tcId"]);
        // "Acceptable" leaves only refusing open: whoever computes must come to this.
        assert_eq!(shared.as_bytes(), &array("shared"), "{}", test["tcId"]);
        Some(true)
    });
    assert!(counts.is_none() || counts == Some((518, 0)));
}

#[test]
fn chacha20_poly1305() {
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};
    let counts = run(
        "wycheproof",
        "chacha20_poly1305_test.json",
        |group, test| {
            // The type takes only the nonces of RFC 8439.
            let nonce = <[u8; 12]>::try_from(hex(test, "iv")).ok()?;
            assert_eq!(number(group, "tagSize"), 128);
            let key = <[u8; 32]>::try_from(hex(test, "key")).unwrap();
            let cipher = chacha20poly1305::ChaCha20Poly1305::new(&key.into());
            let sealed = [hex(test, "ct"), hex(test, "tag")].concat();
            let (msg, aad) = (hex(test, "msg"), hex(test, "aad"));
            let payload = Payload {
                msg: &sealed,
                aad: &aad,
            };
            let opened = cipher.decrypt(&nonce.into(), payload);
            if text(test, "result") == "valid" {
                assert_eq!(opened.as_ref(), Ok(&msg));
                let payload = Payload {
                    msg: &msg,
                    aad: &aad,
                };
                assert_eq!(cipher.encrypt(&nonce.into(), payload), Ok(sealed));
            }
            Some(opened.is_ok())
        },
    );
    assert!(counts.is_none() || counts == Some((316, 9)));
}

#[test]
fn hkdf_sha256() {
    let counts = run("wycheproof", "hkdf_sha256_test.json", |_, test| {
        let salt = hex(test, "salt");
        let hkdf = hkdf::Hkdf::<sha2::Sha256>::new(Some(&salt), &hex(test, "ikm"));
        let mut okm = vec![0; usize::try_from(number(test, "size")).unwrap()];
        let expanded = hkdf.expand(&hex(test, "info"), &mut okm);
        Some(expanded.is_ok() && okm == hex(test, "okm"))
    });
    assert!(counts.is_none() || counts == Some((86, 0)));
}

/// ML-KEM-768, as X-Wing uses it.
mod ml_kem_768 {
    use super::*;
    use ml_kem::kem::{Decapsulate, KeyExport};
    use ml_kem::{B32, DecapsulationKey, EncapsulationKey, MlKem768, Seed};

    fn decapsulation_key(test: &Value) -> Option<DecapsulationKey<MlKem768>> {
        let seed = Seed::try_from(hex(test, "seed").as_slice()).ok()?;
        Some(DecapsulationKey::from_seed(seed))
    }

    #[test]
    fn key_generation() {
        let file = "mlkem_768_keygen_seed_test.json";
        let counts = run("mlkem-wycheproof", file, |_, test| {
            let key = decapsulation_key(test)?;
            Some(key.encapsulation_key().to_bytes().as_slice() == hex(test, "ek"))
        });
        assert!(counts.is_none() || counts == Some((100, 0)));
    }

    #[test]
    fn encapsulation() {
        let file = "mlkem_768_encaps_test.json";
        let counts = run("mlkem-wycheproof", file, |_, test| {
            let ek = hex(test, "ek");
            let Some(key) = ek
                .as_slice()
                .try_into()
                .ok()
                .and_then(|bytes| EncapsulationKey::<MlKem768>::new(bytes).ok())
            else {
                return Some(false);
            };
            let m = B32::try_from(hex(test, "m").as_slice()).unwrap();
            let (c, k) = key.encapsulate_deterministic(&m);
            Some(c.as_slice() == hex(test, "c") && k.as_slice() == hex(test, "K"))
        });
        assert!(counts.is_none() || counts == Some((265, 0)));
    }

    #[test]
    fn decapsulation() {
        let counts = run("mlkem-wycheproof", "mlkem_768_test.json", |_, test| {
            let Some(key) = decapsulation_key(test) else {
                return Some(false);
            };
            let ciphertext = hex(test, "c");
            let Ok(ciphertext) = ciphertext.as_slice().try_into() else {
                return Some(false);
            };
            let k = key.decapsulate(ciphertext);
            let ek = key.encapsulation_key().to_bytes();
            Some(k.as_slice() == hex(test, "K") && ek.as_slice() == hex(test, "ek"))
        });
        assert!(counts.is_none() || counts == Some((193, 0)));
    }

    /// Expanded keys are not ours (X-Wing keeps seeds), but their checks share the code.
    #[test]
    #[allow(deprecated)]
    fn expanded_decapsulation() {
        let file = "mlkem_768_semi_expanded_decaps_test.json";
        let counts = run("mlkem-wycheproof", file, |_, test| {
            let (dk, ciphertext) = (hex(test, "dk"), hex(test, "c"));
            let key = dk
                .as_slice()
                .try_into()
                .ok()
                .and_then(|bytes| DecapsulationKey::<MlKem768>::from_expanded(bytes).ok());
            let (Some(key), Ok(ciphertext)) = (key, ciphertext.as_slice().try_into()) else {
                return Some(false);
            };
            let k = key.decapsulate(ciphertext);
            Some(test.get("K").is_none() || k.as_slice() == hex(test, "K"))
        });
        assert!(counts.is_none() || counts == Some((9, 0)));
    }
}
