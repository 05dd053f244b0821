//! What end-to-end cryptography reads from outside.

use qpq_crypto::hybrid::{self, HybridPublicKey, HybridSecret};
use qpq_crypto::identity::{Credential, DeviceId, DeviceKey, IdentityKey, verify};
use qpq_crypto::opaque::{self, ExportKey, ServerSetup, Suite, client, server};
use qpq_crypto::padding::{pad, unpad};
use qpq_crypto::proof;
use qpq_crypto::recovery::{RecoveryCode, open_bundle};
use qpq_crypto::safety::SafetyNumber;
use qpq_crypto::sealed::{self, Purpose};
use qpq_crypto::transcript;
use qpq_crypto::transparency::{Checkpoint, CheckpointOrigin, Leaf, TreeHead};

/// A seed from which nothing in the corpora was made.
const SEED: [u8; 32] = [0x77; 32];
const KEY: IdentityKey = IdentityKey([0x77; 32]);

/// One encoded value. Input: one byte for its kind, then its bytes.
///
/// What decodes, encoded again, is the same bytes.
pub fn formats(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let again = match kind % 7 {
        0 => Credential::decode(bytes).ok().map(|it| it.encode()),
        1 => Leaf::decode(bytes).ok().map(|it| it.encode().to_vec()),
        2 => TreeHead::decode(bytes).map(|it| it.encode()),
        3 => unpad(bytes).ok().map(pad),
        4 => DeviceId::from_wire(bytes)
            .ok()
            .map(|it| it.as_bytes().to_vec()),
        5 => HybridPublicKey::from_bytes(bytes)
            .ok()
            .map(|it| it.as_bytes().to_vec()),
        _ => ServerSetup::from_bytes(bytes)
            .ok()
            .map(|it| it.to_bytes().expose().to_vec()),
    };
    if let Some(again) = again {
        assert_eq!(again, bytes);
    }
}

/// Something sealed. Input: one byte for its kind, then its bytes.
///
/// It does not open under a key that did not make it.
pub fn sealed(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let secret = || HybridSecret::derive(&SEED, 0);
    let opened = match kind % 5 {
        0 => hybrid::open(&secret(), b"", bytes).is_ok(),
        1 => hybrid::open_authenticated(&secret(), b"", bytes).is_ok(),
        2 => sealed::open(Purpose::Message, &secret(), &KEY, bytes).is_ok(),
        3 => opaque::open_identity(&ExportKey::new([0x77; 64]), bytes).is_ok(),
        _ => {
            let [code, ..] = RecoveryCode::generate_set(&SEED);
            open_bundle(&code, bytes).is_ok()
        }
    };
    assert!(!opened);
}

/// Something signed, or a code that people type or scan. Input: one byte for its kind, then its bytes.
///
/// It is refused under a key that did not sign it; a transcript names its own key, and one that holds
/// holds no longer with another first or last byte.
pub fn signed(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let accepted = match kind % 7 {
        0 => verify(KEY.as_bytes(), b"", bytes).is_ok(),
        1 => proof::verify_delivery(&KEY.0, &[1; 16], &KEY, &[], &[2; 32], 3, bytes).is_ok(),
        2 => Credential::decode(bytes).is_ok_and(|it| it.verify(&DeviceKey([1; 32])).is_ok()),
        3 => TreeHead::decode(bytes).is_some_and(|it| it.verify(&KEY.0).is_ok()),
        4 => match (
            std::str::from_utf8(bytes),
            CheckpointOrigin::of_server("example.org"),
        ) {
            (Ok(text), Ok(origin)) => Checkpoint::open(text, &origin, &KEY.0).is_ok(),
            _ => false,
        },
        5 => {
            if let (Ok(_), [first, .., last]) = (transcript::verify(bytes), bytes) {
                let mut other = bytes.to_vec();
                other[0] = !first;
                assert!(transcript::verify(&other).is_err());
                other[0] = *first;
                other[bytes.len() - 1] = !last;
                assert!(transcript::verify(&other).is_err());
            }
            false
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(bytes)
                && let Ok(code) = RecoveryCode::from_text(text)
            {
                let again = RecoveryCode::from_text(code.to_text().expose());
                assert!(again.is_ok_and(|again| again.token().ct_eq(&code.token())));
            }
            let number = SafetyNumber::new((&KEY, "alice"), (&KEY, "bob"));
            number.check_scanned(bytes).is_ok()
        }
    };
    assert!(!accepted);
}

/// One message of a registration or login. Input: one byte for which, then its bytes.
///
/// No login ends well without the password and its record.
pub fn login(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let setup = ServerSetup::generate(&SEED);
    let (domain, name, password) = ("example.org", "alice", b"password");
    match kind % 6 {
        0 => drop(opaque::check_upload(bytes)),
        1 => drop(server::registration_start(&setup, name, bytes)),
        2 => {
            if let Ok((state, _)) = client::registration_start(&SEED, password) {
                drop(state.finish(&SEED, Suite::TEST, domain, name, password, bytes));
            }
        }
        3 => drop(server::login_start(
            &setup, &SEED, domain, name, None, bytes,
        )),
        4 => {
            if let Ok((state, _)) = client::login_start(&SEED, password) {
                let login = state.finish(&SEED, Suite::TEST, domain, name, password, bytes);
                assert!(login.is_err());
            }
        }
        _ => {
            let request = client::login_start(&SEED, password).map(|(_, request)| request);
            let login = request.and_then(|request| {
                server::login_start(&setup, &SEED, domain, name, None, &request)
            });
            if let Ok((state, _)) = login {
                assert!(state.finish(bytes).is_err());
            }
        }
    }
}
