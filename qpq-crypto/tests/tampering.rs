//! Whatever is changed about what this crate signs or seals, it is refused: bytes turned, cut out, put
//! in, moved. And nothing opens under another key.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use qpq_crypto::hybrid::{self, HybridSecret};
use qpq_crypto::identity::{Credential, DeviceId, DeviceSecret, IdentityKey, IdentitySecret};
use qpq_crypto::mls::{Device, Group, Policy, Processed, Suite, inspect_key_package};
use qpq_crypto::opaque::{self, ExportKey, ServerSetup, client, server};
use qpq_crypto::proof::{self, CommitSlot};
use qpq_crypto::recovery::{RecoveryBundle, RecoveryCode, open_bundle, seal_bundle};
use qpq_crypto::safety::SafetyNumber;
use qpq_crypto::sealed::{self, Purpose};
use qpq_crypto::secret::Secret;
use qpq_crypto::transcript::{self, Exporter, Record};
use qpq_crypto::transparency::{
    Checkpoint, CheckpointOrigin, Hash, Leaf, Log, ProofPlan, TreeHead, verify_consistency,
    verify_inclusion,
};

const NOW: u64 = 1_800_000_000_000;
const BOB: IdentityKey = IdentityKey([0xb0; 32]);
const TAKEN: CommitSlot<'_> = CommitSlot {
    channel_id: &[1; 16],
    slot: 7,
    commit_hash: &[8; 32],
    sender: &BOB,
};

/// Whether something is made of these bytes.
type Accepts = dyn Fn(&[u8]) -> bool;

/// What was signed or sealed, and who takes it.
struct Sealed {
    name: &'static str,
    bytes: Vec<u8>,
    accepts: Box<Accepts>,
}

fn sealed(
    name: &'static str,
    bytes: impl AsRef<[u8]>,
    accepts: impl Fn(&[u8]) -> bool + 'static,
) -> Sealed {
    let bytes = bytes.as_ref().to_vec();
    let accepts = Box::new(accepts);
    Sealed {
        name,
        bytes,
        accepts,
    }
}

fn alice() -> IdentitySecret {
    IdentitySecret::from_seed([0xa1; 32])
}

fn device(number: u8) -> (DeviceSecret, Credential) {
    let secret = DeviceSecret::from_seed([number ^ 0x80; 32]);
    let identity = IdentitySecret::from_seed([number; 32]);
    let credential =
        Credential::issue(&identity, DeviceId::new([number; 16]), secret.public(), NOW);
    (secret, credential)
}

fn envelopes() -> [Sealed; 3] {
    let secret = || HybridSecret::derive(&[1; 32], 0);
    let key = secret().public();
    let plain = hybrid::seal(&key, b"ad", b"content", &[2; 32]).unwrap();
    let signed = hybrid::seal_authenticated(&alice(), &key, b"ad", b"content", &[3; 32]).unwrap();
    let (device, credential) = device(4);
    let from = (&device, &credential);
    let message = sealed::seal(Purpose::Message, from, (&BOB, &key), NOW, b"hi", &[5; 32]);
    [
        sealed("envelope", plain, move |it| {
            hybrid::open(&secret(), b"ad", it).is_ok()
        }),
        sealed("authenticated envelope", signed, move |it| {
            hybrid::open_authenticated(&secret(), b"ad", it).is_ok()
        }),
        sealed("sealed message", message.unwrap(), move |it| {
            sealed::open(Purpose::Message, &secret(), &BOB, it).is_ok()
        }),
    ]
}

fn signatures() -> [Sealed; 7] {
    let (key, server) = (alice().public(), alice().public().0);
    let (device, credential) = device(1);
    let register = proof::register(&alice(), "domain", "alice", b"upload", b"sealed", NOW);
    let delivery = proof::delivery(&alice(), NOW, &[1; 16], &BOB, &[2; 16], &[3; 32], 9);
    let number = SafetyNumber::new((&key, "alice"), (&BOB, "bob"));
    [
        sealed("credential", credential.encode(), move |it| {
            Credential::decode(it).is_ok_and(|it| it.verify(&device.public()).is_ok())
        }),
        sealed("registration", register, move |it| {
            proof::verify_register(&key, "domain", "alice", b"upload", b"sealed", NOW, it).is_ok()
        }),
        sealed(
            "hybrid key",
            proof::hybrid_key(&alice(), &[1; 1216], NOW),
            move |it| proof::verify_hybrid_key(&key, &[1; 1216], NOW, it).is_ok(),
        ),
        sealed(
            "revocation",
            proof::revoke(&alice(), "lost", NOW),
            move |it| proof::verify_revoke(&key, "lost", NOW, it).is_ok(),
        ),
        sealed(
            "commit proof",
            proof::commit(&alice(), 11, &TAKEN),
            move |it| proof::verify_commit(&server, &TAKEN, it).is_ok(),
        ),
        sealed("delivery proof", delivery, move |it| {
            proof::verify_delivery(&server, &[1; 16], &BOB, &[2; 16], &[3; 32], 9, it).is_ok()
        }),
        sealed("safety code", number.qr_payload(), move |it| {
            number.check_scanned(it).is_ok()
        }),
    ]
}

fn files() -> [Sealed; 2] {
    let code = || {
        RecoveryCode::generate_set(&[1; 32])
            .into_iter()
            .next()
            .unwrap()
    };
    let bundle = RecoveryBundle {
        identity_seed: Secret::new([2; 32]),
        created_at_ms: NOW,
        username: "alice".to_owned(),
        devices: Vec::new(),
        contacts: Vec::new(),
    };
    let bundle = seal_bundle(&code(), &bundle, &[3; 32]).unwrap();
    let (mut export, mut file) =
        Exporter::start(&alice().public(), b"password", &[4; 32], NOW).unwrap();
    for content in [b"one".to_vec(), b"two".to_vec()] {
        let record = Record {
            sent_at_ms: NOW,
            sender: BOB,
            channel_id: vec![5; 16],
            content,
        };
        file.extend(export.record(&record).unwrap());
    }
    file.extend(export.finish(&alice()));
    [
        sealed("recovery bundle", bundle, move |it| {
            open_bundle(&code(), it).is_ok()
        }),
        sealed("transcript", file, |it| transcript::verify(it).is_ok()),
    ]
}

fn log() -> [Sealed; 4] {
    let (mut log, mut rows, mut roots) = (Log::new(), BTreeMap::new(), Vec::new());
    let leaf = |number: u8| Leaf::bind(&[number; 32], "name", &BOB, NOW).hash();
    for number in 0..11 {
        rows.extend(log.append(leaf(number)).unwrap());
        roots.push(log.root());
    }
    let path = |plan: ProofPlan| {
        let hashes: Vec<_> = plan.nodes().map(|node| rows[&node]).collect();
        plan.finish(&hashes).unwrap().concat()
    };
    let hashes = |bytes: &[u8]| -> Option<Vec<Hash>> {
        let hashes = bytes.chunks(32).map(|hash| hash.try_into().ok());
        hashes.collect()
    };
    let (tree_size, root, six) = (log.size(), log.root(), roots[5]);
    let origin = CheckpointOrigin::of_server("example.org").unwrap();
    let key = alice().public().0;
    let text = Checkpoint { tree_size, root }.sign(&origin, &alice());
    [
        sealed(
            "tree head",
            TreeHead::sign(&alice(), tree_size, root, NOW).encode(),
            move |it| TreeHead::decode(it).is_some_and(|head| head.verify(&key).is_ok()),
        ),
        sealed("checkpoint", text, move |it| {
            str::from_utf8(it).is_ok_and(|text| Checkpoint::open(text, &origin, &key).is_ok())
        }),
        sealed(
            "inclusion",
            path(ProofPlan::inclusion(4, 11).unwrap()),
            move |it| {
                hashes(it).is_some_and(|it| verify_inclusion(&leaf(4), 4, 11, &it, &root).is_ok())
            },
        ),
        sealed(
            "consistency",
            path(ProofPlan::consistency(6, 11).unwrap()),
            move |it| {
                hashes(it).is_some_and(|it| verify_consistency(6, &six, 11, &root, &it).is_ok())
            },
        ),
    ]
}

fn login() -> [Sealed; 3] {
    let (domain, name, password, suite) = ("example.org", "alice", b"pw", opaque::Suite::TEST);
    let setup = || ServerSetup::generate(&[1; 32]);
    let (state, request) = client::registration_start(&[2; 32], password).unwrap();
    let response = server::registration_start(&setup(), name, &request).unwrap();
    let registration = state.finish(&[3; 32], suite, domain, name, password, &response);
    let registration = registration.unwrap();
    let export_key = registration.export_key;
    let identity = opaque::seal_identity(&export_key, &[4; 32], &[5; 32]);

    let start = move || client::login_start(&[6; 32], password).unwrap();
    let upload = registration.upload;
    let answer = move || {
        let (record, request) = (Some(upload.as_slice()), start().1);
        server::login_start(&setup(), &[7; 32], domain, name, record, &request).unwrap()
    };
    let finish = move |response: &[u8]| {
        start()
            .0
            .finish(&[8; 32], suite, domain, name, password, response)
    };
    let response = answer().1;
    let finalization = finish(&response).unwrap().finalization;
    [
        sealed("sealed identity", identity, move |it| {
            opaque::open_identity(&export_key, it).is_ok()
        }),
        sealed("login response", response, move |it| finish(it).is_ok()),
        sealed("finalization", finalization, move |it| {
            answer().0.finish(it).is_ok()
        }),
    ]
}

/// What is sent in a group. Refused messages must leave the receiver as it was: each is tried on the
/// same one, which takes the true message only to take it back.
fn group() -> [Sealed; 5] {
    let suite = Suite::MlKem768X25519;
    let new = |number| {
        let (secret, credential) = device(number);
        Device::new(secret, credential, []).unwrap()
    };
    let (mut first, mut second) = (new(1), new(2));
    let package = second
        .key_package(&[3; 32], suite, NOW, false)
        .unwrap()
        .bytes;
    second.take_batch();
    let mut group = Group::create(&mut first, &[4; 32], suite, b"group").unwrap();
    let added = group.add(&mut first, &[5; 32], &[&package], NOW).unwrap();
    group.confirm_pending(&mut first).unwrap();
    let group_info = group.group_info(&first).unwrap();
    let welcome = added.welcome.unwrap();

    let mut member = new(6);
    let other = member
        .key_package(&[7; 32], suite, NOW, false)
        .unwrap()
        .bytes;
    let more = group.add(&mut first, &[8; 32], &[&other], NOW).unwrap();
    group.confirm_pending(&mut first).unwrap();
    let more_welcome = more.welcome.unwrap();
    Group::join(&mut member, &more_welcome, None, Policy::Qpq).unwrap();
    member.take_batch();
    let message = group.encrypt(&mut first, &[9; 32], b"hello").unwrap();
    let update = group.update(&mut first, &[10; 32]).unwrap().commit;

    let joining = RefCell::new(second);
    let back = RefCell::new(new(1));
    let reading = std::rc::Rc::new(RefCell::new(member));
    let process = move |it: &[u8]| {
        let mut device = reading.borrow_mut();
        let mut group = Group::load(&device, b"group").unwrap().unwrap();
        let taken = group.process(&mut device, it);
        device.rollback();
        taken.is_ok_and(|taken| match taken {
            Processed::Application { plaintext, .. } => plaintext == b"hello",
            Processed::Commit { epoch, .. } => epoch == 3,
            Processed::Proposal { .. } => false,
        })
    };
    [
        sealed("key package", package, |it| {
            inspect_key_package(it, NOW).is_ok()
        }),
        sealed("welcome", welcome, move |it| {
            let joined = Group::join(&mut joining.borrow_mut(), it, None, Policy::Qpq).is_ok();
            joining.borrow_mut().rollback();
            joined
        }),
        sealed("group info", group_info, move |it| {
            let mut device = back.borrow_mut();
            let rejoined = Group::rejoin(&mut device, &[11; 32], it, None, Policy::Qpq).is_ok();
            device.rollback();
            rejoined
        }),
        sealed("message", message, process.clone()),
        sealed("commit", update, process),
    ]
}

fn everything() -> Vec<Sealed> {
    let mut all = Vec::new();
    all.extend(envelopes());
    all.extend(signatures());
    all.extend(files());
    all.extend(log());
    all.extend(login());
    all.extend(group());
    all
}

/// A change of some bytes.
#[derive(Clone, Debug)]
enum Edit {
    Turn(Index, u8),
    Cut(Index, usize),
    Insert(Index, Vec<u8>),
    Swap(Index, Index),
    KeepFirst(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<Index>(), 1..=u8::MAX).prop_map(|(at, mask)| Edit::Turn(at, mask)),
        1 => (any::<Index>(), 1..40usize).prop_map(|(at, count)| Edit::Cut(at, count)),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Edit::Swap(a, b)),
        1 => any::<Index>().prop_map(Edit::KeepFirst),
    ]
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self {
            Self::Turn(at, mask) => bytes[at.index(length)] ^= mask,
            Self::Cut(at, count) => {
                let at = at.index(length);
                bytes.drain(at..(at + count).min(length));
            }
            Self::Insert(at, more) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Swap(a, b) => bytes.swap(a.index(length), b.index(length)),
            Self::KeepFirst(count) => bytes.truncate(count.index(length)),
        }
    }
}

#[test]
fn no_change_is_accepted() {
    let all = everything();
    let accepts_all = || {
        for one in &all {
            assert!((one.accepts)(&one.bytes), "{} as it is", one.name);
        }
    };
    accepts_all();
    let mut runner = TestRunner::new(Config::with_cases(3_000));
    let edits = (any::<Index>(), prop::collection::vec(edit(), 1..4));
    let result = runner.run(&edits, |(which, edits)| {
        let one = which.get(&all);
        let mut bytes = one.bytes.clone();
        edits.iter().for_each(|edit| edit.apply(&mut bytes));
        prop_assume!(bytes != one.bytes);
        prop_assert!(!(one.accepts)(&bytes), "{} is accepted", one.name);
        Ok(())
    });
    result.unwrap();
    // What was refused left no trace.
    accepts_all();
}

#[test]
fn nothing_opens_under_another_key() {
    let right = HybridSecret::derive(&[1; 32], 0).public();
    let plain = hybrid::seal(&right, b"ad", b"content", &[2; 32]).unwrap();
    let signed = hybrid::seal_authenticated(&alice(), &right, b"ad", b"", &[3; 32]).unwrap();
    let (device, credential) = device(4);
    let from = (&device, &credential);
    let message = sealed::seal(Purpose::Message, from, (&BOB, &right), NOW, b"hi", &[5; 32]);
    let message = message.unwrap();
    let identity = opaque::seal_identity(&ExportKey::new([6; 64]), &[7; 32], &[8; 32]);
    let mut runner = TestRunner::new(Config::with_cases(200));
    let keys = (any::<[u8; 32]>(), any::<u64>());
    let result = runner.run(&keys, |(seed, counter)| {
        let other = HybridSecret::derive(&seed, counter);
        prop_assert!(hybrid::open(&other, b"ad", &plain).is_err());
        prop_assert!(hybrid::open_authenticated(&other, b"ad", &signed).is_err());
        prop_assert!(sealed::open(Purpose::Message, &other, &BOB, &message).is_err());
        let mut export_key = [6; 64];
        export_key[..32].copy_from_slice(&seed);
        prop_assert!(opaque::open_identity(&ExportKey::new(export_key), &identity).is_err());
        Ok(())
    });
    result.unwrap();
}
