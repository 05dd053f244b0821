//! `safety`: safety numbers of two people.

use qpq_crypto::identity::IdentityKey;
use qpq_crypto::safety::SafetyNumber;
use serde_json::{Value, json};

use super::VectorError;
use super::cases::{BOB, inputs as keep, seed};
use super::json::{Fields as _, digits};

pub(super) fn inputs() -> Result<Vec<Value>, VectorError> {
    let alice = json!({"identity_key": seed(0xa0), "username": "alice"});
    let bob = json!({"identity_key": seed(BOB), "username": "bob"});
    let renamed = json!({"identity_key": seed(BOB), "username": "robert"});
    Ok(vec![
        json!({"name": "alice and bob", "one": alice, "other": bob}),
        json!({"name": "bob and alice: the same", "one": bob, "other": alice}),
        json!({"name": "another name of the same key: another number", "one": alice, "other": renamed}),
    ])
}

pub(super) fn replay(case: &Value) -> Result<Value, VectorError> {
    let mut out = keep(case, &["name", "one", "other"])?;
    let (one, other) = (case.field("one")?, case.field("other")?);
    let keys = (
        IdentityKey(one.array("identity_key")?),
        IdentityKey(other.array("identity_key")?),
    );
    let number = SafetyNumber::new(
        (&keys.0, one.text("username")?),
        (&keys.1, other.text("username")?),
    );
    let scanned = number.check_scanned(&number.qr_payload());
    scanned.map_err(|_| VectorError::Broken("a QR payload"))?;
    out["text"] = number.to_string().into();
    out["qr_payload"] = digits(number.qr_payload());
    Ok(out)
}
