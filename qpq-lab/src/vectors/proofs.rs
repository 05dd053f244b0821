//! `proofs`: what accounts and servers sign.

use qpq_crypto::identity::{IdentityKey, IdentitySecret};
use qpq_crypto::proof::{self, CommitSlot};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::VectorError;
use super::cases::{ALICE, BOB, SERVER, TIME_MS, inputs as keep, seed};
use super::json::{Fields as _, digits, wrong};

pub(super) fn inputs() -> Result<Vec<Value>, VectorError> {
    let time = TIME_MS.to_string();
    let account = |kind: &str, rest: Value| merged(kind, ALICE, &time, rest);
    let server = |kind: &str, rest: Value| merged(kind, SERVER, &time, rest);
    let register = |name: &str, sealed: String| {
        let rest = json!({
            "name": name, "domain": "example.org", "username": "alice",
            "upload": "01".repeat(192), "sealed_identity": sealed,
        });
        account("register", rest)
    };
    let delivery = |name: &str, channel: String| {
        let rest = json!({
            "name": name, "message_id": "04".repeat(16), "recipient_key": seed(BOB),
            "channel_id": channel, "payload_hash": seed(5), "seq": "9",
        });
        server("delivery", rest)
    };
    let commit = json!({
        "name": "commit", "server_epoch": "11", "channel_id": "03".repeat(16), "slot": "7",
        "commit": digits("commit"), "sender_key": seed(BOB),
    });
    Ok(vec![
        register("register", "02".repeat(73)),
        register("register without a sealed identity", String::new()),
        account(
            "hybrid_key",
            json!({"name": "hybrid key", "hybrid_public_key": "07".repeat(1216)}),
        ),
        account("revoke", json!({"name": "revoke", "reason": "compromised"})),
        server("commit", commit),
        delivery("delivery", "03".repeat(16)),
        delivery("delivery on the default channel", String::new()),
    ])
}

fn merged(kind: &str, signer: u8, time_ms: &str, rest: Value) -> Value {
    let mut case = rest;
    case["kind"] = kind.into();
    case["signer_seed"] = seed(signer).into();
    case["time_ms"] = time_ms.into();
    case
}

pub(super) fn replay(case: &Value) -> Result<Value, VectorError> {
    let kind = case.text("kind")?;
    let own: &[&str] = match kind {
        "register" => &["domain", "username", "upload", "sealed_identity"],
        "hybrid_key" => &["hybrid_public_key"],
        "revoke" => &["reason"],
        "commit" => &["server_epoch", "channel_id", "slot", "commit", "sender_key"],
        "delivery" => &[
            "message_id",
            "recipient_key",
            "channel_id",
            "payload_hash",
            "seq",
        ],
        _ => return Err(wrong("kind", "a known proof")),
    };
    let mut out = keep(case, &["name", "kind", "signer_seed", "time_ms"])?;
    for name in own {
        out[*name] = case.field(name)?.clone();
    }
    let signer = IdentitySecret::from_seed(case.array("signer_seed")?);
    let key = signer.public();
    let time_ms = case.number("time_ms")?;
    let (signed, proof, verified) = match kind {
        "register" => {
            let (domain, name) = (case.text("domain")?, case.text("username")?);
            let (upload, sealed) = (case.bytes("upload")?, case.bytes("sealed_identity")?);
            let proof = proof::register(&signer, domain, name, &upload, &sealed, time_ms).to_vec();
            (
                proof::register_input(domain, name, &upload, &sealed, time_ms),
                proof.clone(),
                proof::verify_register(&key, domain, name, &upload, &sealed, time_ms, &proof),
            )
        }
        "hybrid_key" => {
            let hybrid = case.bytes("hybrid_public_key")?;
            let proof = proof::hybrid_key(&signer, &hybrid, time_ms).to_vec();
            (
                proof::hybrid_key_input(&key, &hybrid, time_ms),
                proof.clone(),
                proof::verify_hybrid_key(&key, &hybrid, time_ms, &proof),
            )
        }
        "revoke" => {
            let reason = case.text("reason")?;
            let proof = proof::revoke(&signer, reason, time_ms).to_vec();
            (
                proof::revoke_input(&key, reason, time_ms),
                proof.clone(),
                proof::verify_revoke(&key, reason, time_ms, &proof),
            )
        }
        "commit" => {
            let (channel, slot) = (case.array("channel_id")?, case.number("slot")?);
            let epoch = case.number("server_epoch")?;
            let taken = CommitSlot {
                channel_id: &channel,
                slot,
                commit_hash: &Sha256::digest(case.bytes("commit")?).into(),
                sender: &IdentityKey(case.array("sender_key")?),
            };
            let proof = proof::commit(&signer, epoch, &taken).to_vec();
            let verified = proof::verify_commit(key.as_bytes(), &taken, &proof);
            (
                proof::commit_input(epoch, &taken),
                proof,
                verified.map(|_| ()),
            )
        }
        _ => {
            let (id, recipient) = (case.array("message_id")?, case.array("recipient_key")?);
            let (recipient, channel) = (IdentityKey(recipient), case.bytes("channel_id")?);
            let (hash, seq) = (case.array("payload_hash")?, case.number("seq")?);
            let proof =
                proof::delivery(&signer, time_ms, &id, &recipient, &channel, &hash, seq).to_vec();
            let server = key.as_bytes();
            let verified =
                proof::verify_delivery(server, &id, &recipient, &channel, &hash, seq, &proof);
            (
                proof::delivery_input(time_ms, &id, &recipient, &channel, &hash, seq),
                proof,
                verified.map(|_| ()),
            )
        }
    };
    verified.map_err(|_| VectorError::Broken("a proof"))?;
    out["signer_key"] = digits(key);
    out["signed"] = digits(signed);
    out["proof"] = digits(proof);
    Ok(out)
}
