//! What end-to-end cryptography reads from outside.

use std::sync::LazyLock;

use qpq_crypto::hybrid::{self, HybridPublicKey, HybridSecret};
use qpq_crypto::identity::{
    Credential, DeviceId, DeviceKey, DeviceSecret, IdentityKey, IdentitySecret, verify,
};
use qpq_crypto::opaque::{self, ExportKey, ServerSetup, Suite, client, server};
use qpq_crypto::padding::{pad, unpad};
use qpq_crypto::proof::{self, CommitSlot};
use qpq_crypto::recovery::{RecoveryCode, open_bundle};
use qpq_crypto::safety::SafetyNumber;
use qpq_crypto::sealed::{self, Purpose};
use qpq_crypto::transcript;
use qpq_crypto::transparency::{Checkpoint, CheckpointOrigin, Leaf, TreeHead};

use crate::choices::Choices;

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
    let again = match kind % 8 {
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
        7 => Suite::parse(bytes).ok().map(|it| {
            assert!(!it.is_weak());
            it.as_bytes().to_vec()
        }),
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
/// It does not open under a key that did not make it; a sealed sender's message that opens is refused
/// unless all that its sender signed is there.
pub fn sealed(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let secret = || HybridSecret::derive(&SEED, 0);
    let opened = match kind % 6 {
        0 => hybrid::open(&secret(), b"", bytes).is_ok(),
        1 => hybrid::open_authenticated(&secret(), b"", bytes).is_ok(),
        2 => sealed::open(Purpose::Message, &secret(), &KEY, bytes).is_ok(),
        3 => opaque::open_identity(&ExportKey::new([0x77; 64]), bytes).is_ok(),
        5 => inside(bytes),
        _ => {
            let [code, ..] = RecoveryCode::generate_set(&SEED);
            open_bundle(&code, bytes).is_ok()
        }
    };
    assert!(!opened);
}

/// What a device wrote to [`KEY`], as it lies inside the envelope.
static INNER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let (sender, secret) = (
        IdentitySecret::from_seed([1; 32]),
        HybridSecret::derive(&SEED, 0),
    );
    let device = DeviceSecret::from_seed([2; 32]);
    let credential = Credential::issue(&sender, DeviceId::new([3; 16]), device.public(), 5);
    let sealed = sealed::seal(
        Purpose::Message,
        (&device, &credential),
        (&KEY, &secret.public()),
        7,
        b"content",
        &SEED,
    );
    let sealed = sealed.expect("a sealed message");
    let padded = hybrid::open(&secret, &associated_data(), &sealed).expect("its envelope");
    unpad(&padded).expect("padded").to_vec()
});

/// What ties a sealed message to purpose and recipient (`tests/vectors/sealed_sender`).
fn associated_data() -> Vec<u8> {
    [b"qpq sealed to v1".as_slice(), &[1], KEY.as_bytes()].concat()
}

/// Whether changes of a sealed sender's message are taken: sealed by somebody who may write what he
/// likes, and only has no other's key to sign with.
fn inside(bytes: &[u8]) -> bool {
    let mut choices = Choices::new(bytes);
    let secret = HybridSecret::derive(&SEED, 0);
    let changed = choices.edited(&INNER);
    let padded = if choices.once_in(8) {
        changed.clone()
    } else {
        pad(&changed)
    };
    let seal = |padded| hybrid::seal(&secret.public(), &associated_data(), padded, &SEED);
    let envelope = seal(&padded).expect("a good key");
    let opened = sealed::open(Purpose::Message, &secret, &KEY, &envelope).is_ok();
    opened && changed != *INNER
}

/// Something signed, or a code that people type or scan. Input: one byte for its kind, then its bytes.
///
/// It is refused under a key that did not sign it; a transcript names its own key, and one that holds
/// holds no longer with another first or last byte.
pub fn signed(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let accepted = match kind % 9 {
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
        7 => {
            let slot = CommitSlot {
                channel_id: &[1; 16],
                slot: 3,
                commit_hash: &[2; 32],
                sender: &KEY,
            };
            proof::verify_commit(&KEY.0, &slot, bytes).is_ok()
        }
        8 => ["compromised", "superseded", "user_revoked"]
            .into_iter()
            .any(|reason| proof::verify_revoke(&KEY, reason, 3, bytes).is_ok()),
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
