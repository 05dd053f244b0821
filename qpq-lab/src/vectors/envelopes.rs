//! `envelopes`: hybrid keys, and envelopes that are sealed, opened and refused.

use qpq_crypto::hybrid::{self, HybridSecret};
use qpq_crypto::identity::IdentitySecret;
use qpq_crypto::sealed::AccessKey;
use serde_json::{Value, json};

use super::VectorError;
use super::cases::{ALICE, SERVER, flipped, inputs as keep, seed};
use super::json::{Fields as _, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

pub(super) fn inputs() -> Result<Vec<Value>> {
    let key = |counter: u8| {
        json!({
            "name": format!("key {counter}"), "kind": "key", "identity_seed": seed(ALICE),
            "counter": counter.to_string(),
        })
    };
    let seal = |name: &str, sender: String, number: u8| {
        json!({
            "name": name, "kind": "seal", "identity_seed": seed(ALICE), "counter": "3",
            "sender_seed": sender, "associated_data": digits("ad"), "content": digits("content"),
            "seed": seed(number),
        })
    };
    let anonymous = seal("anonymous", String::new(), 1);
    let authenticated = seal("authenticated", seed(SERVER), 2);
    let mut cases = vec![key(0), key(3), anonymous.clone(), authenticated.clone()];
    for (of, sealed) in [("anonymous", anonymous), ("authenticated", authenticated)] {
        let sealed = replay(&sealed)?;
        let envelope = sealed.text("envelope")?;
        let open = |name: &str, authenticated: bool, data: Value, envelope: Value| {
            json!({
                "name": format!("{of}: {name}"), "kind": "open", "identity_seed": seed(ALICE),
                "counter": "3", "authenticated": authenticated, "associated_data": data,
                "envelope": envelope,
            })
        };
        let is_signed = of == "authenticated";
        let whole = Value::from(envelope);
        let cut = envelope.get(..200).unwrap_or_default();
        cases.extend([
            open("whole", is_signed, digits("ad"), whole.clone()),
            open(
                "read as the other kind",
                !is_signed,
                digits("ad"),
                whole.clone(),
            ),
            open("other associated data", is_signed, digits("da"), whole),
            open(
                "another version",
                is_signed,
                digits("ad"),
                flipped(envelope, 0),
            ),
            open(
                "a changed key encapsulation",
                is_signed,
                digits("ad"),
                flipped(envelope, 5),
            ),
            open(
                "a changed last byte",
                is_signed,
                digits("ad"),
                flipped(envelope, envelope.len() / 2 - 1),
            ),
            open("cut off", is_signed, digits("ad"), cut.into()),
            open("nothing", is_signed, digits("ad"), "".into()),
        ]);
    }
    Ok(cases)
}

pub(super) fn replay(case: &Value) -> Result<Value> {
    let secret = HybridSecret::derive(&case.array("identity_seed")?, case.number("counter")?);
    match case.text("kind")? {
        "key" => {
            let mut out = keep(case, &["name", "kind", "identity_seed", "counter"])?;
            let access = AccessKey::derive(&case.array("identity_seed")?, case.number("counter")?);
            out["hybrid_public_key"] = digits(secret.public().as_bytes());
            out["access_key"] = digits(access.expose());
            out["access_key_hash"] = digits(access.hash());
            Ok(out)
        }
        "seal" => {
            let names = [
                "name",
                "kind",
                "identity_seed",
                "counter",
                "sender_seed",
                "associated_data",
                "content",
                "seed",
            ];
            let mut out = keep(case, &names)?;
            let (data, content) = (case.bytes("associated_data")?, case.bytes("content")?);
            let (key, seed) = (secret.public(), case.array("seed")?);
            let sealed = match case.text("sender_seed")? {
                "" => hybrid::seal(&key, &data, &content, &seed),
                _ => {
                    let sender = IdentitySecret::from_seed(case.array("sender_seed")?);
                    hybrid::seal_authenticated(&sender, &key, &data, &content, &seed)
                }
            };
            out["envelope"] = digits(sealed.map_err(|_| VectorError::Broken("an envelope"))?);
            Ok(out)
        }
        "open" => open(case, &secret),
        _ => Err(wrong("kind", "key, seal or open")),
    }
}

fn open(case: &Value, secret: &HybridSecret) -> Result<Value> {
    let names = [
        "name",
        "kind",
        "identity_seed",
        "counter",
        "authenticated",
        "associated_data",
        "envelope",
    ];
    let mut out = keep(case, &names)?;
    let (data, envelope) = (case.bytes("associated_data")?, case.bytes("envelope")?);
    let (content, sender) = match case.field("authenticated")?.as_bool() {
        Some(true) => match hybrid::open_authenticated(secret, &data, &envelope) {
            Ok((sender, content)) => (Some(content), Some(sender)),
            Err(_) => (None, None),
        },
        _ => (hybrid::open(secret, &data, &envelope).ok(), None),
    };
    out["content"] = content.map_or(Value::Null, digits);
    out["sender_key"] = sender.map_or(Value::Null, digits);
    Ok(out)
}
