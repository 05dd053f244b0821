//! What people keep: recovery codes, recovery bundles, transcripts.

use std::sync::LazyLock;

use qpq_crypto::identity::{DeviceId, DeviceKey, IdentityKey, IdentitySecret};
use qpq_crypto::recovery::{
    RecoveredContact, RecoveredDevice, RecoveryBundle, RecoveryCode, open_bundle, seal_bundle,
};
use qpq_crypto::secret::Secret32;
use qpq_crypto::transcript::{self, Exporter, Record};
use sha2::{Digest as _, Sha256};

use crate::choices::Choices;

/// A code as it is typed, a bundle and a transcript, with changes. Input: a byte for which, then
/// choices.
///
/// A code that reads is written as one that reads the same; a bundle and a transcript hold exactly if
/// nothing was changed, and then say what was put in.
pub fn backups(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.byte() % 5 {
        0 => code(&mut choices),
        1 => bundle(&mut choices),
        2 => exported(&mut choices),
        4 => signed(&mut choices),
        _ => {
            // As it comes, without anything genuine in it.
            let bytes = choices.edited(input);
            assert!(open_bundle(&CODE, &bytes).is_err());
            assert!(transcript::verify(&bytes).is_err() || bytes == *TRANSCRIPT);
        }
    }
}

static CODE: LazyLock<RecoveryCode> = LazyLock::new(|| {
    let [code, ..] = RecoveryCode::generate_set(&[7; 32]);
    code
});

/// Made once: it is slow on purpose.
static TRANSCRIPT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let identity = IdentitySecret::from_seed([8; 32]);
    let started = Exporter::start(&identity.public(), b"password", &[9; 32], 1_795_219_200_000);
    let (mut export, mut file) = started.expect("a transcript");
    for number in 0..3 {
        let record = Record {
            sent_at_ms: number,
            sender: identity.public(),
            channel_id: vec![1; 16],
            content: b"what was said".to_vec(),
        };
        file.extend(export.record(&record).expect("a record"));
    }
    file.extend(export.finish(&identity));
    file
});

fn code(choices: &mut Choices<'_>) {
    let text = choices.edited(CODE.to_text().expose().as_bytes());
    if let Ok(read) = RecoveryCode::from_text(&String::from_utf8_lossy(&text)) {
        let again = RecoveryCode::from_text(read.to_text().expose()).expect("its own text");
        assert!(again.token().ct_eq(&read.token()));
        assert_eq!(again.token_hash(), read.token_hash());
    }
}

fn bundle(choices: &mut Choices<'_>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let bundle = RecoveryBundle {
        identity_seed: Secret32::new(choices.array()),
        created_at_ms: choices.u64(),
        username: text(choices.bytes()),
        devices: (0..choices.byte() % 6)
            .map(|number| RecoveredDevice {
                device_id: match number {
                    0 => DeviceId::DEFAULT,
                    _ => DeviceId::new(choices.array()),
                },
                device_key: DeviceKey(choices.array()),
                created_at_ms: choices.u64(),
            })
            .collect(),
        contacts: (0..choices.byte() % 6)
            .map(|_| RecoveredContact {
                identity_key: IdentityKey(choices.array()),
                username: text(choices.bytes()),
                verified: choices.flag(),
            })
            .collect(),
    };
    let sealed = seal_bundle(&CODE, &bundle, &choices.array()).expect("a small bundle");
    let changed = choices.edited(&sealed);
    match open_bundle(&CODE, &changed) {
        Ok(opened) => {
            assert_eq!(changed, sealed, "changed, and opened");
            assert!(opened.identity_seed.ct_eq(&bundle.identity_seed));
            assert_eq!(
                (
                    opened.created_at_ms,
                    opened.username,
                    opened.devices,
                    opened.contacts
                ),
                (
                    bundle.created_at_ms,
                    bundle.username,
                    bundle.devices,
                    bundle.contacts
                )
            );
        }
        Err(_) => assert_ne!(changed, sealed),
    }
    let [_, other, ..] = RecoveryCode::generate_set(&[7; 32]);
    assert!(
        open_bundle(&other, &sealed).is_err(),
        "opened by another code"
    );
}

/// A transcript that an exporter signed over records of his own making: it verifies, and is read with
/// the password as far as that goes. The password is tried seldom, since it takes 64 MiB.
fn signed(choices: &mut Choices<'_>) {
    let identity = IdentitySecret::from_seed([8; 32]);
    let mut file = TRANSCRIPT[..HEADER].to_vec();
    file[5..21].copy_from_slice(&choices.array::<16>());
    let mut link = Sha256::new_with_prefix("qpq transcript v1")
        .chain_update(&file)
        .finalize();
    let records = u64::from(choices.byte() % 4);
    for index in 0..records {
        let sealed = choices.bytes();
        let length = u32::try_from(sealed.len()).expect("few bytes");
        file.extend([&[1][..], &length.to_be_bytes(), sealed].concat());
        link = Sha256::new_with_prefix(link)
            .chain_update(index.to_be_bytes())
            .chain_update(sealed)
            .finalize();
    }
    let head = [
        b"qpq transcript head v1".as_slice(),
        &records.to_be_bytes(),
        &link,
    ];
    let signature = identity.sign(&head.concat());
    file.extend([&[0][..], &records.to_be_bytes(), &signature].concat());
    let summary = transcript::verify(&file).expect("signed by its exporter");
    assert_eq!(summary.records, records);
    if choices.byte() == 1 {
        let opened = transcript::open(&file, choices.bytes());
        assert_eq!(opened.is_ok(), records == 0, "nobody knows the key");
    }
}

/// Bytes of a transcript before its records.
const HEADER: usize = 61;

fn exported(choices: &mut Choices<'_>) {
    let changed = choices.edited(&TRANSCRIPT);
    match transcript::verify(&changed) {
        Ok(summary) => {
            assert_eq!(changed, *TRANSCRIPT, "changed, and accepted");
            assert_eq!(summary.records, 3);
        }
        Err(_) => assert_ne!(changed, *TRANSCRIPT),
    }
}
