//! `recovery`: codes, how people type them, and bundles.

use qpq_crypto::identity::{DeviceId, DeviceKey, IdentityKey};
use qpq_crypto::recovery::{
    RecoveredContact, RecoveredDevice, RecoveryBundle, RecoveryCode, open_bundle, seal_bundle,
};
use qpq_crypto::secret::Secret;
use serde_json::{Value, json};

use super::VectorError;
use super::cases::{ALICE, BOB, TIME_MS, cut, flipped, inputs as keep, seed};
use super::json::{Fields as _, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

pub(super) fn inputs() -> Result<Vec<Value>> {
    let set = json!({"name": "a set of codes", "kind": "codes", "seed": seed(1)});
    let codes = replay(&set)?;
    let code = codes
        .list("codes")?
        .first()
        .and_then(Value::as_str)
        .unwrap_or_default();
    let typed = |name: &str, text: String| json!({"name": name, "kind": "typed", "text": text});
    let wrong_last = match code.ends_with('0') {
        true => "1",
        false => "0",
    };
    let time = TIME_MS.to_string();
    let bundle = json!({
        "name": "a bundle", "kind": "bundle", "code": code, "seed": seed(2),
        "identity_seed": seed(ALICE), "created_at_ms": time, "username": "alice",
        "devices": [{"device_id": "d0".repeat(16), "device_key": seed(0xd1), "created_at_ms": time}],
        "contacts": [{"identity_key": seed(BOB), "username": "bob", "verified": true}],
    });
    let mut empty = bundle.clone();
    empty["name"] = "a bundle with nothing in it".into();
    (empty["devices"], empty["contacts"]) = (json!([]), json!([]));
    let sealed = replay(&bundle)?;
    let sealed = sealed.text("sealed")?;
    let open = |name: &str, code: &str, sealed: Value| json!({"name": name, "kind": "open", "code": code, "sealed": sealed});
    let other = codes
        .list("codes")?
        .get(1)
        .and_then(Value::as_str)
        .unwrap_or_default();
    Ok(vec![
        set,
        typed("as printed", code.to_owned()),
        typed(
            "in small letters, with spaces",
            code.to_lowercase().replace('-', " "),
        ),
        typed("without hyphens", code.replace('-', "")),
        typed(
            "O for 0, I and L for 1",
            code.replace('0', "O").replace('1', "I"),
        ),
        typed("a wrong last symbol", cut(code, 1).to_owned() + wrong_last),
        typed("too short", cut(code, 1).to_owned()),
        typed(
            "a letter that codes do not have",
            cut(code, 1).to_owned() + "U",
        ),
        typed("nothing", String::new()),
        bundle,
        empty,
        open("whole", code, sealed.into()),
        open("under another code", other, sealed.into()),
        open("another version", code, flipped(sealed, 0)),
        open(
            "a changed last byte",
            code,
            flipped(sealed, sealed.len() / 2 - 1),
        ),
        open("nothing", code, "".into()),
    ])
}

pub(super) fn replay(case: &Value) -> Result<Value> {
    match case.text("kind")? {
        "codes" => {
            let mut out = keep(case, &["name", "kind", "seed"])?;
            let codes = RecoveryCode::generate_set(&case.array("seed")?);
            let codes = || codes.iter();
            out["codes"] = codes()
                .map(|code| code.to_text().expose().to_owned())
                .collect();
            out["tokens"] = codes().map(|code| digits(code.token().expose())).collect();
            out["token_hashes"] = codes().map(|code| digits(code.token_hash())).collect();
            Ok(out)
        }
        "typed" => {
            let mut out = keep(case, &["name", "kind", "text"])?;
            let code = RecoveryCode::from_text(case.text("text")?);
            out["token_hash"] = code.map_or(Value::Null, |code| digits(code.token_hash()));
            Ok(out)
        }
        "bundle" => seal(case),
        "open" => {
            let mut out = keep(case, &["name", "kind", "code", "sealed"])?;
            let opened = open_bundle(&code(case)?, &case.bytes("sealed")?);
            out["bundle"] = opened.map_or(Value::Null, |bundle| show(&bundle));
            Ok(out)
        }
        _ => Err(wrong("kind", "codes, typed, bundle or open")),
    }
}

fn code(case: &Value) -> Result<RecoveryCode> {
    RecoveryCode::from_text(case.text("code")?).map_err(|_| wrong("code", "a code"))
}

fn seal(case: &Value) -> Result<Value> {
    let names = [
        "name",
        "kind",
        "code",
        "seed",
        "identity_seed",
        "created_at_ms",
        "username",
        "devices",
        "contacts",
    ];
    let mut out = keep(case, &names)?;
    let devices = case.list("devices")?.iter().map(|device| {
        let id = DeviceId::from_wire(&device.bytes("device_id")?);
        Ok(RecoveredDevice {
            device_id: id.map_err(|_| wrong("device_id", "16 bytes or none"))?,
            device_key: DeviceKey(device.array("device_key")?),
            created_at_ms: device.number("created_at_ms")?,
        })
    });
    let contacts = case.list("contacts")?.iter().map(|contact| {
        Ok(RecoveredContact {
            identity_key: IdentityKey(contact.array("identity_key")?),
            username: contact.text("username")?.to_owned(),
            verified: contact.field("verified")?.as_bool() == Some(true),
        })
    });
    let bundle = RecoveryBundle {
        identity_seed: Secret::new(case.array("identity_seed")?),
        created_at_ms: case.number("created_at_ms")?,
        username: case.text("username")?.to_owned(),
        devices: devices.collect::<Result<_>>()?,
        contacts: contacts.collect::<Result<_>>()?,
    };
    let sealed = seal_bundle(&code(case)?, &bundle, &case.array("seed")?);
    out["sealed"] = digits(sealed.map_err(|_| VectorError::Broken("a bundle"))?);
    Ok(out)
}

fn show(bundle: &RecoveryBundle) -> Value {
    let devices = bundle.devices.iter().map(|device| {
        json!({
            "device_id": digits(device.device_id.as_bytes()),
            "device_key": digits(device.device_key),
            "created_at_ms": device.created_at_ms.to_string(),
        })
    });
    let contacts = bundle.contacts.iter().map(|contact| {
        json!({
            "identity_key": digits(contact.identity_key),
            "username": contact.username,
            "verified": contact.verified,
        })
    });
    json!({
        "identity_seed": digits(bundle.identity_seed.expose()),
        "created_at_ms": bundle.created_at_ms.to_string(),
        "username": bundle.username,
        "devices": devices.collect::<Vec<_>>(),
        "contacts": contacts.collect::<Vec<_>>(),
    })
}
