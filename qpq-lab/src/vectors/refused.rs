//! `refused`: proofs, Welcomes and commits that nobody may take, each with the verdict on it.

use qpq_crypto::identity::{Credential, DeviceId, DeviceSecret, IdentityKey, IdentitySecret};
use qpq_crypto::mls::{Device, Group, JoinError, Policy, ProcessErrorKind, Suite};
use qpq_crypto::proof::{self, CommitSlot};
use qpq_server_example::hex::hex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::VectorError;
use super::cases::{ALICE, BOB, SERVER, TIME_MS, cut, flipped, inputs as keep, seed};
use super::json::{Fields as _, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

const BROKEN: VectorError = VectorError::Broken("what is to be refused");

pub(super) fn inputs() -> Result<Vec<Value>> {
    let mut cases = deliveries()?;
    cases.extend(commit_proofs()?);
    for suite in [Suite::MlKem768X25519, Suite::X25519] {
        cases.extend(Scene::play(suite)?.cases());
    }
    Ok(cases)
}

pub(super) fn replay(case: &Value) -> Result<Value> {
    match case.text("kind")? {
        "commit_proof" => commit_proof(case),
        "delivery_proof" => delivery_proof(case),
        "welcome" => welcome(case),
        "commit" => commit(case),
        _ => Err(wrong("kind", "a known kind")),
    }
}

/// `case` with other values of some fields.
fn with(case: &Value, name: &str, changes: Value) -> Value {
    let mut changed = case.clone();
    changed["name"] = name.into();
    for (field, value) in changes.as_object().into_iter().flatten() {
        changed[field] = value.clone();
    }
    changed
}

/// The 32 bytes of `seed`'s account, and the key of the server.
fn keys() -> (Value, Value) {
    let key = |number| digits(IdentitySecret::from_seed([number; 32]).public());
    (key(SERVER), key(ALICE))
}

fn commit_proofs() -> Result<Vec<Value>> {
    let (server, stranger) = keys();
    let genuine = json!({
        "name": "", "kind": "commit_proof", "signer_key": server, "channel_id": "03".repeat(16),
        "slot": "7", "commit": digits("commit"), "sender_key": seed(BOB),
    });
    let slot = CommitSlot {
        channel_id: &[3; 16],
        slot: 7,
        commit_hash: &Sha256::digest("commit").into(),
        sender: &IdentityKey([BOB; 32]),
    };
    let signer = IdentitySecret::from_seed([SERVER; 32]);
    let made = hex(&proof::commit(&signer, 11, &slot));
    let genuine = with(&genuine, "", json!({"proof": made}));
    let by_alice = proof::commit(&IdentitySecret::from_seed([ALICE; 32]), 11, &slot);
    // As version 1 signed it, with neither epoch nor sender.
    let old = [
        b"qpq commit v1".as_slice(),
        &[3; 16],
        &7_u64.to_be_bytes(),
        slot.commit_hash,
    ];
    let old = [&11_u64.to_be_bytes()[..], &signer.sign(&old.concat())].concat();
    let delivery = proof::delivery(
        &signer,
        11,
        &[4; 16],
        &IdentityKey([BOB; 32]),
        &[3; 16],
        slot.commit_hash,
        7,
    );
    let last = made.len() / 2 - 1;
    Ok(vec![
        with(&genuine, "for another slot", json!({"slot": "8"})),
        with(
            &genuine,
            "for another channel",
            json!({"channel_id": "02".repeat(16)}),
        ),
        with(
            &genuine,
            "for another commit",
            json!({"commit": digits("Commit")}),
        ),
        with(
            &genuine,
            "by another member",
            json!({"sender_key": seed(ALICE)}),
        ),
        with(
            &genuine,
            "by another server",
            json!({"signer_key": stranger}),
        ),
        with(
            &genuine,
            "signed by somebody else",
            json!({"proof": digits(by_alice)}),
        ),
        with(
            &genuine,
            "of another epoch of the server",
            json!({"proof": flipped(&made, 7)}),
        ),
        with(
            &genuine,
            "a changed last byte",
            json!({"proof": flipped(&made, last)}),
        ),
        with(
            &genuine,
            "with s of the signature raised by the order of the group",
            json!({"proof": raised(&made)}),
        ),
        with(&genuine, "of version 1", json!({"proof": digits(old)})),
        with(
            &genuine,
            "a delivery proof",
            json!({"proof": digits(delivery)}),
        ),
        with(
            &genuine,
            "without the epoch",
            json!({"proof": made.get(16..).unwrap_or_default()}),
        ),
        with(&genuine, "cut off", json!({"proof": cut(&made, 2)})),
        with(&genuine, "nothing", json!({"proof": ""})),
    ])
}

fn deliveries() -> Result<Vec<Value>> {
    let (server, stranger) = keys();
    let signer = IdentitySecret::from_seed([SERVER; 32]);
    let made = proof::delivery(
        &signer,
        TIME_MS,
        &[4; 16],
        &IdentityKey([BOB; 32]),
        &[3; 16],
        &[5; 32],
        9,
    );
    let made = hex(&made);
    let genuine = json!({
        "name": "", "kind": "delivery_proof", "signer_key": server, "message_id": "04".repeat(16),
        "recipient_key": seed(BOB), "channel_id": "03".repeat(16), "payload_hash": seed(5),
        "seq": "9", "proof": made,
    });
    let last = made.len() / 2 - 1;
    Ok(vec![
        with(
            &genuine,
            "of another message",
            json!({"message_id": "05".repeat(16)}),
        ),
        with(
            &genuine,
            "to somebody else",
            json!({"recipient_key": seed(ALICE)}),
        ),
        with(
            &genuine,
            "on the default channel",
            json!({"channel_id": ""}),
        ),
        with(
            &genuine,
            "of another payload",
            json!({"payload_hash": seed(6)}),
        ),
        with(
            &genuine,
            "at another place in the queue",
            json!({"seq": "10"}),
        ),
        with(
            &genuine,
            "at another time",
            json!({"proof": flipped(&made, 7)}),
        ),
        with(
            &genuine,
            "by another server",
            json!({"signer_key": stranger}),
        ),
        with(
            &genuine,
            "a changed last byte",
            json!({"proof": flipped(&made, last)}),
        ),
        with(&genuine, "cut off", json!({"proof": cut(&made, 2)})),
    ])
}

/// A proof whose signature has s + L for s: the same modulo the order L of the group, so that a lax
/// check takes it for a second proof.
fn raised(proof: &str) -> Value {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = super::json::unhex(proof).unwrap_or_default();
    let at = bytes.len().saturating_sub(32);
    let mut carry = 0;
    for (byte, order) in bytes.iter_mut().skip(at).zip(ORDER) {
        let [low, high] = (u16::from(*byte) + u16::from(order) + carry).to_le_bytes();
        (*byte, carry) = (low, high.into());
    }
    digits(bytes)
}

fn verdict(accepted: bool) -> Value {
    if accepted { "accepted" } else { "refused" }.into()
}

fn commit_proof(case: &Value) -> Result<Value> {
    let names = [
        "name",
        "kind",
        "signer_key",
        "channel_id",
        "slot",
        "commit",
        "sender_key",
        "proof",
    ];
    let mut out = keep(case, &names)?;
    let slot = CommitSlot {
        channel_id: &case.array("channel_id")?,
        slot: case.number("slot")?,
        commit_hash: &Sha256::digest(case.bytes("commit")?).into(),
        sender: &IdentityKey(case.array("sender_key")?),
    };
    let verified = proof::verify_commit(&case.array("signer_key")?, &slot, &case.bytes("proof")?);
    out["verdict"] = verdict(verified.is_ok());
    Ok(out)
}

fn delivery_proof(case: &Value) -> Result<Value> {
    let names = [
        "name",
        "kind",
        "signer_key",
        "message_id",
        "recipient_key",
        "channel_id",
        "payload_hash",
        "seq",
        "proof",
    ];
    let mut out = keep(case, &names)?;
    let verified = proof::verify_delivery(
        &case.array("signer_key")?,
        &case.array("message_id")?,
        &IdentityKey(case.array("recipient_key")?),
        &case.bytes("channel_id")?,
        &case.array("payload_hash")?,
        case.number("seq")?,
        &case.bytes("proof")?,
    );
    out["verdict"] = verdict(verified.is_ok());
    Ok(out)
}

/// A device of its own account, whose seeds are this number.
fn device(number: u8) -> Result<Device> {
    of_seeds([number; 32], [number; 32], [number; 16], TIME_MS)
}

fn of_seeds(
    identity: [u8; 32],
    device: [u8; 32],
    id: [u8; 16],
    created_at_ms: u64,
) -> Result<Device> {
    let identity = IdentitySecret::from_seed(identity);
    let secret = DeviceSecret::from_seed(device);
    let credential =
        Credential::issue(&identity, DeviceId::new(id), secret.public(), created_at_ms);
    Device::new(secret, credential, []).map_err(|_| BROKEN)
}

/// The device that a case is given to, and the reference of its key package.
fn reader(case: &Value) -> Result<(Device, Value)> {
    let suite = Suite::from_id(case.number("suite")?).ok_or_else(|| wrong("suite", "known"))?;
    let mut device = of_seeds(
        case.array("identity_seed")?,
        case.array("device_seed")?,
        case.array("device_id")?,
        case.number("created_at_ms")?,
    )?;
    let seed = case.array("key_package_seed")?;
    let time_ms = case.number("created_at_ms")?;
    let package = device.key_package(&seed, suite, time_ms, false);
    let reference = package.map_err(|_| BROKEN)?.reference;
    Ok((device, digits(reference)))
}

/// Alice's group with Bob, and what she says in it.
struct Scene {
    suite: Suite,
    welcome: String,
    /// The Welcome of one who is not Bob.
    other_welcome: String,
    /// Commits one after the other.
    first: String,
    second: String,
    /// Of another group of hers, in the same epoch.
    elsewhere: String,
    /// By Bob.
    own: String,
}

impl Scene {
    fn play(suite: Suite) -> Result<Self> {
        let (mut alice, mut bob, mut carol) = (device(ALICE)?, device(BOB)?, device(0xc0)?);
        let package = |of: &mut Device, seed: u8| {
            let package = of.key_package(&[seed; 32], suite, TIME_MS, false);
            package.map(|package| package.bytes).map_err(|_| BROKEN)
        };
        let packages = [package(&mut bob, 1)?, package(&mut carol, 2)?];
        let mut begin = |id: &[u8], package: &[u8], seed: u8| {
            let group = Group::create(&mut alice, &[seed; 32], suite, id);
            let mut group = group.map_err(|_| BROKEN)?;
            let made = group.add(&mut alice, &[seed + 1; 32], &[package], TIME_MS);
            let welcome = made.map_err(|_| BROKEN)?.welcome.ok_or(BROKEN)?;
            group.confirm_pending(&mut alice).map_err(|_| BROKEN)?;
            Ok((group, welcome))
        };
        let (mut group, welcome) = begin(b"a group", &packages[0], 10)?;
        let (mut other, other_welcome) = begin(b"another", &packages[1], 20)?;
        let update = |group: &mut Group, device: &mut Device, seed: u8| {
            let made = group.update(device, &[seed; 32]).map_err(|_| BROKEN)?;
            group.confirm_pending(device).map_err(|_| BROKEN)?;
            Ok(hex(&made.commit))
        };
        let first = update(&mut group, &mut alice, 30)?;
        let second = update(&mut group, &mut alice, 31)?;
        let elsewhere = update(&mut other, &mut alice, 32)?;
        let joined = Group::join(&mut bob, &welcome, None, Policy::Qpq);
        let own = update(&mut joined.map_err(|_| BROKEN)?, &mut bob, 33)?;
        Ok(Self {
            suite,
            welcome: hex(&welcome),
            other_welcome: hex(&other_welcome),
            first,
            second,
            elsewhere,
            own,
        })
    }

    fn cases(&self) -> Vec<Value> {
        let name = |what: &str| format!("{what}, suite {:#06x}", self.suite.id());
        let about = json!({
            "suite": self.suite.id(), "identity_seed": seed(BOB), "device_seed": seed(BOB),
            "device_id": digits([BOB; 16]), "created_at_ms": TIME_MS.to_string(),
            "key_package_seed": seed(1),
        });
        let welcome = |what: &str, welcome: Value| {
            with(
                &about,
                &name(what),
                json!({"kind": "welcome", "welcome": welcome}),
            )
        };
        let commit = |what: &str, before: &[&str], commit: Value| {
            let rest = json!({
                "kind": "commit", "welcome": self.welcome, "before": before, "commit": commit,
            });
            with(&about, &name(what), rest)
        };
        let end = |of: &str| of.len() / 2 - 1;
        let (first, second) = (self.first.as_str(), self.second.as_str());
        vec![
            welcome(
                "a Welcome for somebody else",
                self.other_welcome.as_str().into(),
            ),
            welcome(
                "a Welcome with a changed reference",
                flipped(&self.welcome, 20),
            ),
            welcome("a Welcome of another suite", flipped(&self.welcome, 4)),
            welcome(
                "a Welcome with a changed encapsulated key",
                flipped(&self.welcome, 60),
            ),
            welcome(
                "a Welcome with a changed last byte",
                flipped(&self.welcome, end(&self.welcome)),
            ),
            welcome("a Welcome that is cut off", cut(&self.welcome, 2).into()),
            welcome(
                "a Welcome with a byte after it",
                format!("{}00", self.welcome).into(),
            ),
            welcome("a commit for a Welcome", first.into()),
            commit(
                "a commit with a changed last byte",
                &[],
                flipped(first, end(first)),
            ),
            commit("a commit that is cut off", &[], cut(first, 2).into()),
            commit("a commit of the epoch after", &[], second.into()),
            commit("a commit a second time", &[first], first.into()),
            commit(
                "a commit of the epoch before",
                &[first, second],
                first.into(),
            ),
            commit(
                "a commit of another group",
                &[],
                self.elsewhere.as_str().into(),
            ),
            commit(
                "a commit by the device itself",
                &[],
                self.own.as_str().into(),
            ),
            commit("a Welcome for a commit", &[], self.welcome.as_str().into()),
            commit("nothing for a commit", &[], "".into()),
        ]
    }
}

const MEMBER: [&str; 8] = [
    "name",
    "kind",
    "suite",
    "identity_seed",
    "device_seed",
    "device_id",
    "created_at_ms",
    "key_package_seed",
];

fn welcome(case: &Value) -> Result<Value> {
    let mut out = keep(case, &MEMBER)?;
    let bytes = case.bytes("welcome")?;
    out["welcome"] = digits(&bytes);
    let (mut device, reference) = reader(case)?;
    out["reference"] = reference;
    device.take_batch();
    let joined = Group::join(&mut device, &bytes, None, Policy::Qpq);
    out["verdict"] = match joined.err() {
        None => "accepted",
        Some(JoinError::Malformed) => "malformed",
        Some(JoinError::NotForUs) => "not_for_us",
        Some(_) => "invalid",
    }
    .into();
    // What is refused uses nothing up: the genuine one would still open.
    match device.take_batch().is_empty() || out["verdict"] == "accepted" {
        true => Ok(out),
        false => Err(BROKEN),
    }
}

fn commit(case: &Value) -> Result<Value> {
    let mut out = keep(case, &MEMBER)?;
    for name in ["welcome", "before", "commit"] {
        out[name] = case.field(name)?.clone();
    }
    let (mut device, reference) = reader(case)?;
    out["reference"] = reference;
    let joined = Group::join(&mut device, &case.bytes("welcome")?, None, Policy::Qpq);
    let mut group = joined.map_err(|_| BROKEN)?;
    for message in case.list("before")? {
        let message = message.as_str().and_then(super::json::unhex);
        let message = message.ok_or_else(|| wrong("before", "hexadecimal"))?;
        let processed = group.process(&mut device, &message);
        processed.map_err(|_| BROKEN)?;
    }
    let (epoch, authenticator) = (group.epoch(), group.epoch_authenticator());
    out["epoch"] = epoch.into();
    let processed = group.process(&mut device, &case.bytes("commit")?);
    out["verdict"] = match processed.map_err(|error| error.kind) {
        Ok(_) => "accepted",
        Err(ProcessErrorKind::Void) => "void",
        Err(ProcessErrorKind::PathOrTag) => "path_or_tag",
        Err(ProcessErrorKind::FutureEpoch) => "future_epoch",
        Err(ProcessErrorKind::PastEpoch) => "past_epoch",
        Err(ProcessErrorKind::OwnMessage) => "own_message",
        Err(ProcessErrorKind::Duplicate) => "duplicate",
        Err(ProcessErrorKind::State) => "state",
    }
    .into();
    match (group.epoch(), group.epoch_authenticator()) == (epoch, authenticator) {
        true => Ok(out),
        false => Err(BROKEN),
    }
}
