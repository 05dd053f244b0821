//! Our own formats against `tests/vectors/crypto/crypto.json` (tests/vectors/README.md): from the same
//! seeds come the same bytes, today, tomorrow and in another process.
//!
//! With `QPQ_WRITE_VECTORS=1` the file is written instead, for a new version of a format. The vectors
//! of a release are never changed.

use std::path::Path;

use qpq_crypto::hybrid::{self, HybridSecret};
use qpq_crypto::identity::{Credential, DeviceId, DeviceSecret, IdentityKey, IdentitySecret};
use qpq_crypto::opaque::{self, ServerSetup, Suite, client, server};
use qpq_crypto::padding::{pad, padded_length};
use qpq_crypto::proof;
use qpq_crypto::recovery::{
    RecoveredContact, RecoveredDevice, RecoveryBundle, RecoveryCode, open_bundle, seal_bundle,
};
use qpq_crypto::safety::SafetyNumber;
use qpq_crypto::sealed::{self, AccessKey, Purpose};
use qpq_crypto::secret::Secret;
use qpq_crypto::transcript::{self, Exporter, Record};
use qpq_crypto::transparency::{Checkpoint, CheckpointOrigin, Leaf, Log, ProofPlan, TreeHead};
use serde_json::{Value, json};

const ALICE_SEED: [u8; 32] = [0xa1; 32];
const SERVER_SEED: [u8; 32] = [0x5e; 32];
const BOB: IdentityKey = IdentityKey([0xb0; 32]);
const TIME_MS: u64 = 1_800_000_000_000;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    let digits = bytes.as_ref().iter();
    digits.map(|byte| format!("{byte:02x}")).collect()
}

/// A 32-byte seed for one operation.
fn seed(number: u8) -> [u8; 32] {
    [number; 32]
}

fn alice() -> IdentitySecret {
    IdentitySecret::from_seed(ALICE_SEED)
}

fn signing_server() -> IdentitySecret {
    IdentitySecret::from_seed(SERVER_SEED)
}

fn identity() -> Value {
    let device = DeviceSecret::from_seed(seed(0xd1));
    let id = DeviceId::new([0xd0; 16]);
    let credential = Credential::issue(&alice(), id, device.public(), TIME_MS);
    let default_key = alice().default_device().public();
    let default = Credential::issue(&alice(), DeviceId::DEFAULT, default_key, TIME_MS);
    json!({
        "identity_seed": hex(ALICE_SEED),
        "identity_key": hex(alice().public()),
        "identity_fingerprint": alice().public().fingerprint().to_string(),
        "device_seed": hex(seed(0xd1)),
        "device_key": hex(device.public()),
        "device_id": hex(id.as_bytes()),
        "created_at_ms": TIME_MS.to_string(),
        "credential": hex(credential.encode()),
        "default_device_credential": hex(default.encode()),
    })
}

fn proofs() -> Value {
    let (key, server) = (alice().public(), signing_server());
    let (upload, sealed, commit) = ([1; 192], [2; 73], b"commit");
    let hybrid_key = *HybridSecret::derive(&ALICE_SEED, 0).public().as_bytes();
    let register = (
        proof::register_input("example.org", "alice", &upload, &sealed, TIME_MS),
        proof::register(&alice(), "example.org", "alice", &upload, &sealed, TIME_MS),
    );
    let hybrid = (
        proof::hybrid_key_input(&key, &hybrid_key, TIME_MS),
        proof::hybrid_key(&alice(), &hybrid_key, TIME_MS),
    );
    let revoke = (
        proof::revoke_input(&key, "compromised", TIME_MS),
        proof::revoke(&alice(), "compromised", TIME_MS),
    );
    let commit_signature = proof::commit(&server, &[3; 16], 7, commit);
    let delivery = |channel: &[u8]| {
        let bytes = proof::delivery(&server, TIME_MS, &[4; 16], &BOB, channel, &[5; 32], 9);
        hex(bytes)
    };
    json!({
        "server_seed": hex(SERVER_SEED),
        "server_key": hex(server.public()),
        "time_ms": TIME_MS.to_string(),
        "register": {
            "domain": "example.org", "username": "alice",
            "upload": hex(upload), "sealed_identity": hex(sealed),
            "signed": hex(register.0), "signature": hex(register.1),
        },
        "hybrid_key": {
            "hybrid_public_key": hex(hybrid_key),
            "signed": hex(hybrid.0), "signature": hex(hybrid.1),
        },
        "revoke": {
            "reason": "compromised", "signed": hex(revoke.0), "signature": hex(revoke.1),
        },
        "commit": {
            "channel_id": hex([3; 16]), "slot": "7", "commit": hex(commit),
            "commit_proof": hex(commit_signature),
        },
        "delivery": {
            "message_id": hex([4; 16]), "recipient_key": hex(BOB), "channel_id": hex([3; 16]),
            "payload_hash": hex([5; 32]), "seq": "9",
            "delivery_proof": delivery(&[3; 16]), "delivery_proof_default_channel": delivery(&[]),
        },
    })
}

fn safety() -> Value {
    let number = SafetyNumber::new((&alice().public(), "alice"), (&BOB, "bob"));
    json!({
        "one": {"identity_key": hex(alice().public()), "username": "alice"},
        "other": {"identity_key": hex(BOB), "username": "bob"},
        "text": number.to_string(),
        "qr_payload": hex(number.qr_payload()),
    })
}

fn padding() -> Value {
    let lengths = [
        0, 1, 255, 256, 4095, 4096, 5000, 65_536, 1_000_000, 3_145_728,
    ];
    let lengths = lengths.map(|length| json!([length, padded_length(length)]));
    json!({ "lengths": lengths, "content": hex(b"hi"), "padded": hex(pad(b"hi")) })
}

fn envelopes() -> Value {
    let secret = HybridSecret::derive(&ALICE_SEED, 3);
    let key = secret.public();
    let plain = hybrid::seal(&key, b"ad", b"content", &seed(1)).unwrap();
    let signed =
        hybrid::seal_authenticated(&signing_server(), &key, b"ad", b"content", &seed(2)).unwrap();
    assert_eq!(hybrid::open(&secret, b"ad", &plain).unwrap(), b"content");
    let opened = hybrid::open_authenticated(&secret, b"ad", &signed).unwrap();
    assert_eq!(opened, (signing_server().public(), b"content".to_vec()));

    let device = DeviceSecret::from_seed(seed(0xd1));
    let credential = Credential::issue(&alice(), DeviceId::new([0xd0; 16]), device.public(), 1);
    let from = (&device, &credential);
    let message = sealed::seal(
        Purpose::Message,
        from,
        (&BOB, &key),
        TIME_MS,
        b"content",
        &seed(3),
    );
    let message = message.unwrap();
    let opened = sealed::open(Purpose::Message, &secret, &BOB, &message).unwrap();
    assert_eq!(opened.content, b"content");
    json!({
        "identity_seed": hex(ALICE_SEED), "counter": "3",
        "hybrid_public_key": hex(key.as_bytes()),
        "associated_data": hex(b"ad"), "content": hex(b"content"),
        "anonymous": {"seed": hex(seed(1)), "envelope": hex(plain)},
        "authenticated": {
            "seed": hex(seed(2)), "sender_seed": hex(SERVER_SEED), "envelope": hex(signed),
        },
        "sealed_sender": {
            "seed": hex(seed(3)), "recipient_key": hex(BOB), "device_seed": hex(seed(0xd1)),
            "credential": hex(credential.encode()), "sent_at_ms": TIME_MS.to_string(),
            "sealed": hex(message),
        },
        "access_key": hex(AccessKey::derive(&ALICE_SEED, 3).expose()),
        "access_key_hash": hex(AccessKey::derive(&ALICE_SEED, 3).hash()),
    })
}

fn login(suite: Suite) -> Value {
    let (domain, name, password) = ("example.org", "alice", b"correct horse battery staple");
    let setup = ServerSetup::generate(&seed(1));
    let (state, request) = client::registration_start(&seed(2), password).unwrap();
    let response = server::registration_start(&setup, name, &request).unwrap();
    let registration = state
        .finish(&seed(3), suite, domain, name, password, &response)
        .unwrap();
    let export_key = Secret::new(*registration.export_key.expose());
    let sealed = opaque::seal_identity(&export_key, &ALICE_SEED, &seed(4));
    let opened = opaque::open_identity(&export_key, &sealed).unwrap();
    assert_eq!(opened.seed(), &ALICE_SEED);

    let (client_state, ke1) = client::login_start(&seed(5), password).unwrap();
    let record = Some(registration.upload.as_slice());
    let (server_state, ke2) =
        server::login_start(&setup, &seed(6), domain, name, record, &ke1).unwrap();
    let login = client_state
        .finish(&seed(7), suite, domain, name, password, &ke2)
        .unwrap();
    let session_key = server_state.finish(&login.finalization).unwrap();
    assert!(session_key.ct_eq(&login.session_key));
    json!({
        "suite": std::str::from_utf8(suite.as_bytes()).unwrap(),
        "domain": domain, "username": name, "password": hex(password),
        "server_setup": hex(setup.to_bytes().expose()),
        "registration_request": {"seed": hex(seed(2)), "bytes": hex(request)},
        "registration_response": hex(response),
        "upload": {"seed": hex(seed(3)), "bytes": hex(&registration.upload)},
        "export_key": hex(login.export_key.expose()),
        "login_request": {"seed": hex(seed(5)), "bytes": hex(ke1)},
        "login_response": {"seed": hex(seed(6)), "bytes": hex(ke2)},
        "finalization": {"seed": hex(seed(7)), "bytes": hex(login.finalization)},
        "session_key": hex(session_key.expose()),
        "identity_seed": hex(ALICE_SEED),
        "sealed_identity": {"seed": hex(seed(4)), "bytes": hex(sealed)},
    })
}

fn transparency() -> Value {
    let server = signing_server();
    let mut log = Log::new();
    let mut rows = std::collections::BTreeMap::new();
    let mut leaves = Vec::new();
    let mut roots = Vec::new();
    for number in 0..6u8 {
        let leaf = if number == 4 {
            Leaf::revoke(&BOB, "superseded", TIME_MS)
        } else {
            let name = format!("user{number}");
            Leaf::bind(&seed(number), &name, &IdentityKey([number; 32]), TIME_MS)
        };
        rows.extend(log.append(leaf.hash()).unwrap());
        leaves.push(hex(leaf.encode()));
        roots.push(hex(log.root()));
    }
    let proof = |plan: ProofPlan| {
        let hashes: Vec<_> = plan.nodes().map(|node| rows[&node]).collect();
        let path = plan.finish(&hashes).unwrap();
        path.iter().map(hex).collect::<Vec<_>>()
    };
    let head = TreeHead::sign(&server, log.size(), log.root(), TIME_MS);
    let origin = CheckpointOrigin::of_server("example.org").unwrap();
    let checkpoint = Checkpoint {
        tree_size: log.size(),
        root: log.root(),
    };
    json!({
        "server_seed": hex(SERVER_SEED),
        "leaves": leaves, "roots": roots,
        "inclusion": {"index": 4, "size": 6, "path": proof(ProofPlan::inclusion(4, 6).unwrap())},
        "consistency": {"from": 3, "to": 6, "path": proof(ProofPlan::consistency(3, 6).unwrap())},
        "tree_head": hex(head.encode()),
        "checkpoint": checkpoint.sign(&origin, &server),
        "checkpoint_key": origin.verifier_key(server.public().as_bytes()),
    })
}

fn recovery() -> Value {
    let codes = RecoveryCode::generate_set(&seed(1));
    let bundle = RecoveryBundle {
        identity_seed: Secret::new(ALICE_SEED),
        created_at_ms: TIME_MS,
        username: "alice".to_owned(),
        devices: vec![RecoveredDevice {
            device_id: DeviceId::new([0xd0; 16]),
            device_key: DeviceSecret::from_seed(seed(0xd1)).public(),
            created_at_ms: TIME_MS,
        }],
        contacts: vec![RecoveredContact {
            identity_key: BOB,
            username: "bob".to_owned(),
            verified: true,
        }],
    };
    let sealed = seal_bundle(&codes[0], &bundle, &seed(2)).unwrap();
    let opened = open_bundle(&codes[0], &sealed).unwrap();
    assert_eq!(opened.contacts, bundle.contacts);
    json!({
        "seed": hex(seed(1)),
        "codes": codes.iter().map(|code| code.to_text().expose().to_owned()).collect::<Vec<_>>(),
        "tokens": codes.iter().map(|code| hex(code.token().expose())).collect::<Vec<_>>(),
        "token_hashes": codes.iter().map(|code| hex(code.token_hash())).collect::<Vec<_>>(),
        "bundle": {"code": 0, "seed": hex(seed(2)), "sealed": hex(sealed)},
    })
}

fn transcript() -> Value {
    let (mut export, header) =
        Exporter::start(&alice().public(), b"password", &seed(1), TIME_MS).unwrap();
    let records: Vec<_> = (0..3u8)
        .map(|number| Record {
            sent_at_ms: TIME_MS + u64::from(number),
            sender: BOB,
            channel_id: vec![3; 16],
            content: format!("message {number}").into_bytes(),
        })
        .collect();
    let mut bytes = header;
    for record in &records {
        bytes.extend(export.record(record).unwrap());
    }
    bytes.extend(export.finish(&alice()));
    let (summary, opened) = transcript::open(&bytes, b"password").unwrap();
    assert_eq!((summary.records, opened), (3, records));
    json!({
        "identity_seed": hex(ALICE_SEED), "password": "password", "seed": hex(seed(1)),
        "exported_at_ms": TIME_MS.to_string(),
        "contents": ["message 0", "message 1", "message 2"],
        "transcript": hex(bytes),
    })
}

#[test]
#[allow(clippy::disallowed_methods)]
fn our_formats_are_as_they_were() {
    let subjects = json!({
        "subject": "crypto",
        "version": 1,
        "identity": identity(),
        "proofs": proofs(),
        "safety": safety(),
        "padding": padding(),
        "envelopes": envelopes(),
        "opaque": [login(Suite::DEFAULT), login(Suite::TEST)],
        "transparency": transparency(),
        "recovery": recovery(),
        "transcript": transcript(),
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/crypto/crypto.json");
    if std::env::var_os("QPQ_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&subjects).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    for (subject, expected) in golden.as_object().unwrap() {
        assert_eq!(&subjects[subject], expected, "{subject}");
    }
    assert_eq!(subjects, golden);
}
