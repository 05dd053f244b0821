//! The same seeds give the same bytes in two processes, for every operation that draws or writes.
//!
//! A process has its own hash maps, threads and addresses; whatever of them reached the bytes would
//! show here. The test starts itself twice and compares what the operations made, line by line.

use std::collections::BTreeMap;
use std::process::Command;

use qpq_crypto::hybrid::{self, HybridSecret};
use qpq_crypto::identity::{Credential, DeviceId, DeviceSecret, IdentityKey, IdentitySecret};
use qpq_crypto::mls::{CommitOut, Device, Group, Policy, Suite};
use qpq_crypto::opaque::{self, ServerSetup, client, server};
use qpq_crypto::recovery::{RecoveryBundle, RecoveryCode, seal_bundle};
use qpq_crypto::safety::SafetyNumber;
use qpq_crypto::sealed::{self, AccessKey, Purpose};
use qpq_crypto::secret::Secret;
use qpq_crypto::transcript::{Exporter, Record};
use qpq_crypto::transparency::{Checkpoint, CheckpointOrigin, Leaf, Log, ProofPlan, TreeHead};
use qpq_crypto::{padding, proof};
use sha2::{Digest, Sha256};

const NOW: u64 = 1_800_000_000_000;
const BOB: IdentityKey = IdentityKey([0xb0; 32]);

fn alice() -> IdentitySecret {
    IdentitySecret::from_seed([0xa1; 32])
}

/// Writes down what an operation made.
fn put(operation: &str, bytes: impl AsRef<[u8]>) {
    let hash = Sha256::digest(bytes.as_ref());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("made {operation} {hash}");
}

#[test]
#[ignore = "the other test runs it, in processes of its own"]
fn every_operation() {
    accounts();
    envelopes();
    login();
    log();
    recovery_and_transcript();
    for suite in Suite::OFFERED {
        groups(suite);
    }
}

#[test]
fn two_processes_make_the_same_bytes() {
    let run = || {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "every_operation", "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let made = text.lines().filter_map(|line| line.split_once("made "));
        made.map(|(_, made)| made.to_owned()).collect::<Vec<_>>()
    };
    let (one, other) = (run(), run());
    assert_eq!(one, other);
    println!("two processes: {} operations, the same bytes", one.len());
    assert_eq!(one.len(), 558);
}

fn accounts() {
    let device = DeviceSecret::from_seed([1; 32]);
    let credential = Credential::issue(&alice(), DeviceId::new([2; 16]), device.public(), NOW);
    put("credential", credential.encode());
    put("signature", device.sign(b"message"));
    let hybrid_key = HybridSecret::derive(alice().seed(), 0).public();
    put("hybrid key", hybrid_key.as_bytes());
    let signature = proof::register(&alice(), "example.org", "alice", &[1; 192], &[2; 73], NOW);
    put("registration proof", signature);
    let signature = proof::hybrid_key(&alice(), hybrid_key.as_bytes(), NOW);
    put("hybrid key proof", signature);
    put("revocation", proof::revoke(&alice(), "compromised", NOW));
    let taken = proof::CommitSlot {
        channel_id: &[3; 16],
        slot: 7,
        commit_hash: &[8; 32],
        sender: &BOB,
    };
    put("commit proof", proof::commit(&alice(), 11, &taken));
    let delivery = proof::delivery(&alice(), NOW, &[4; 16], &BOB, &[3; 16], &[5; 32], 9);
    put("delivery proof", delivery);
    let number = SafetyNumber::new((&alice().public(), "alice"), (&BOB, "bob"));
    put("safety number", number.to_string());
    put("safety code", number.qr_payload());
    put("fingerprint", alice().public().fingerprint().to_string());
    put("padding", padding::pad(b"hello"));
}

fn envelopes() {
    let key = HybridSecret::derive(&[1; 32], 3).public();
    put(
        "envelope",
        hybrid::seal(&key, b"ad", b"content", &[2; 32]).unwrap(),
    );
    let signed = hybrid::seal_authenticated(&alice(), &key, b"ad", b"content", &[3; 32]);
    put("authenticated envelope", signed.unwrap());
    let device = DeviceSecret::from_seed([4; 32]);
    let credential = Credential::issue(&alice(), DeviceId::new([5; 16]), device.public(), NOW);
    for purpose in [Purpose::Message, Purpose::ForkReport] {
        let from = (&device, &credential);
        let sealed = sealed::seal(purpose, from, (&BOB, &key), NOW, b"content", &[6; 32]);
        put("sealed message", sealed.unwrap());
    }
    put("access key", AccessKey::derive(&[1; 32], 3).expose());
}

fn login() {
    let (domain, name, password, suite) = ("example.org", "alice", b"secret", opaque::Suite::TEST);
    let setup = ServerSetup::generate(&[1; 32]);
    put("server setup", setup.to_bytes().expose());
    let (state, request) = client::registration_start(&[2; 32], password).unwrap();
    let response = server::registration_start(&setup, name, &request).unwrap();
    put("registration request", &request);
    put("registration response", &response);
    let registration = state.finish(&[3; 32], suite, domain, name, password, &response);
    let registration = registration.unwrap();
    put("upload", &registration.upload);
    put("export key", registration.export_key.expose());
    let sealed = opaque::seal_identity(&registration.export_key, &[4; 32], &[5; 32]);
    put("sealed identity", sealed);

    let (state, request) = client::login_start(&[6; 32], password).unwrap();
    put("login request", &request);
    let record = Some(registration.upload.as_slice());
    let start = |record| server::login_start(&setup, &[7; 32], domain, name, record, &request);
    let (_, fake) = start(None).unwrap();
    put("fake login response", fake);
    let (server, response) = start(record).unwrap();
    put("login response", &response);
    let login = state.finish(&[8; 32], suite, domain, name, password, &response);
    let login = login.unwrap();
    put("finalization", &login.finalization);
    let session_key = server.finish(&login.finalization).unwrap();
    put("session key", session_key.expose());
}

fn log() {
    let (mut log, mut rows) = (Log::new(), BTreeMap::new());
    for number in 0..11u8 {
        let leaf = Leaf::bind(&[number; 32], "name", &IdentityKey([number; 32]), NOW);
        let rows_put = log.append(leaf.hash()).unwrap();
        for (node, hash) in &rows_put {
            put("log row", [node.key().as_slice(), hash].concat());
        }
        rows.extend(rows_put);
    }
    put(
        "revocation leaf",
        Leaf::revoke(&BOB, "superseded", NOW).encode(),
    );
    for plan in [ProofPlan::inclusion(4, 11), ProofPlan::consistency(6, 11)] {
        let plan = plan.unwrap();
        let hashes: Vec<_> = plan.nodes().map(|node| rows[&node]).collect();
        put("log proof", plan.finish(&hashes).unwrap().concat());
    }
    let (tree_size, root) = (log.size(), log.root());
    let head = TreeHead::sign(&alice(), tree_size, root, NOW);
    put("tree head", head.encode());
    let origin = CheckpointOrigin::of_server("example.org").unwrap();
    let checkpoint = Checkpoint { tree_size, root };
    put("checkpoint", checkpoint.sign(&origin, &alice()));
}

fn recovery_and_transcript() {
    let codes = RecoveryCode::generate_set(&[1; 32]);
    for code in &codes {
        put("recovery code", code.to_text().expose());
        put("recovery token", code.token().expose());
    }
    let bundle = RecoveryBundle {
        identity_seed: Secret::new([2; 32]),
        created_at_ms: NOW,
        username: "alice".to_owned(),
        devices: Vec::new(),
        contacts: Vec::new(),
    };
    put(
        "recovery bundle",
        seal_bundle(&codes[0], &bundle, &[3; 32]).unwrap(),
    );

    let (mut export, header) =
        Exporter::start(&alice().public(), b"password", &[4; 32], NOW).unwrap();
    put("transcript header", header);
    let record = Record {
        sent_at_ms: NOW,
        sender: BOB,
        channel_id: vec![5; 16],
        content: b"hello".to_vec(),
    };
    put("transcript record", export.record(&record).unwrap());
    put("transcript end", export.finish(&alice()));
}

/// How many devices a group has: enough for the tree to travel beside the Welcome, and for openmls to
/// seal path secrets on several threads.
const DEVICES: u8 = 60;

fn device(number: u8) -> Device {
    let identity = IdentitySecret::from_seed([number; 32]);
    let secret = DeviceSecret::from_seed([number ^ 0x80; 32]);
    let id = DeviceId::new([number; 16]);
    let credential = Credential::issue(&identity, id, secret.public(), NOW);
    Device::new(secret, credential, []).unwrap()
}

fn put_commit(operation: &str, out: &CommitOut) {
    put(operation, &out.commit);
    put("group info", &out.group_info);
    put("welcome", out.welcome.as_deref().unwrap_or_default());
    put(
        "ratchet tree",
        out.ratchet_tree.as_deref().unwrap_or_default(),
    );
}

/// The life of a group: what its founder, who is followed by a second member, makes of it.
fn groups(suite: Suite) {
    let mut devices: Vec<_> = (0..DEVICES).map(device).collect();
    let packages = devices[1..].iter_mut().enumerate().map(|(index, device)| {
        let seed = [u8::try_from(index).unwrap(); 32];
        let package = device.key_package(&seed, suite, NOW, false).unwrap();
        put("key package", &package.bytes);
        put("key package reference", &package.reference);
        package.bytes
    });
    let packages: Vec<_> = packages.collect();
    let packages: Vec<&[u8]> = packages.iter().map(Vec::as_slice).collect();
    let last_resort = devices[0].key_package(&[9; 32], suite, NOW, true).unwrap();
    put("last resort", last_resort.bytes);

    let [first, second, third, ..] = devices.as_mut_slice() else {
        unreachable!()
    };
    let mut seeds = (100u8..).map(|number| [number; 32]);
    let mut seed = || seeds.next().unwrap();
    let mut group = Group::create(first, &seed(), suite, b"group").unwrap();
    let added = group.add(first, &seed(), &packages, NOW).unwrap();
    put_commit("add many", &added);
    group.confirm_pending(first).unwrap();
    let (welcome, tree) = (added.welcome.unwrap(), added.ratchet_tree);
    let mut joined = [&mut *second, third]
        .map(|it| Group::join(it, &welcome, tree.as_deref(), Policy::Qpq).unwrap());
    put("epoch authenticator", joined[0].epoch_authenticator());
    put(
        "ratchet tree of a member",
        joined[0].ratchet_tree().unwrap(),
    );

    // Everybody else's path is blank: the new path is sealed to each of them.
    let updated = joined[0].update(second, &seed()).unwrap();
    put_commit("update", &updated);
    joined[0].confirm_pending(second).unwrap();
    group.process(first, &updated.commit).unwrap();
    joined[1].process(third, &updated.commit).unwrap();

    // Two leave; one of them and then others, one by one, are removed.
    for (group_of, device) in joined.iter_mut().zip([&mut *second, third]) {
        let proposal = group_of.leave(device, &seed()).unwrap();
        put("leave", &proposal);
        group.process(first, &proposal).unwrap();
    }
    let leaving = group.leaving();
    let committed = group.commit_pending_proposals(first, &seed()).unwrap();
    put_commit("commit of proposals", &committed.unwrap());
    group.confirm_pending(first).unwrap();
    let others = [leaving[1].leaf, 20, 30, 40];
    for leaf in others {
        put_commit("remove", &group.remove_leaf(first, &seed(), leaf).unwrap());
        group.confirm_pending(first).unwrap();
    }

    let mut fourth = device(50);
    let group_info = group.group_info(first).unwrap();
    put("group info of a member", &group_info);
    let tree = group.ratchet_tree().unwrap();
    let rejoined = Group::rejoin(&mut fourth, &seed(), &group_info, Some(&tree), Policy::Qpq);
    let (mut rejoined, out) = rejoined.unwrap();
    put_commit("external rejoin", &out);
    group.process(first, &out.commit).unwrap();
    for (group, device) in [(&mut group, first), (&mut rejoined, &mut fourth)] {
        let exported = group.export("label", b"context", 48).unwrap();
        put("export", exported.expose());
        put("message", group.encrypt(device, &seed(), b"hello").unwrap());
        put("epoch authenticator", group.epoch_authenticator());
    }
}
