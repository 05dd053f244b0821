//! `identity`: keys from seeds, fingerprints, credentials.

use qpq_crypto::identity::{Credential, DeviceId, DeviceSecret, IdentitySecret};
use serde_json::{Value, json};

use super::VectorError;
use super::cases::{ALICE, TIME_MS, inputs as keep, seed};
use super::json::{Fields as _, digits, wrong};

pub(super) fn inputs() -> Result<Vec<Value>, VectorError> {
    let time = TIME_MS.to_string();
    Ok(vec![
        json!({
            "name": "a device with a certificate", "identity_seed": seed(ALICE),
            "device_id": "d0".repeat(16), "device_seed": seed(0xd1), "created_at_ms": time,
        }),
        json!({
            "name": "the default device", "identity_seed": seed(ALICE),
            "device_id": "", "device_seed": "", "created_at_ms": time,
        }),
    ])
}

pub(super) fn replay(case: &Value) -> Result<Value, VectorError> {
    let names = [
        "name",
        "identity_seed",
        "device_id",
        "device_seed",
        "created_at_ms",
    ];
    let mut out = keep(case, &names)?;
    let identity = IdentitySecret::from_seed(case.array("identity_seed")?);
    let id = DeviceId::from_wire(&case.bytes("device_id")?);
    let id = id.map_err(|_| wrong("device_id", "16 bytes or none"))?;
    let device = match id.is_default() {
        true => identity.default_device(),
        false => DeviceSecret::from_seed(case.array("device_seed")?),
    };
    let credential = Credential::issue(
        &identity,
        id,
        device.public(),
        case.number("created_at_ms")?,
    );
    let encoded = credential.encode();
    let read = Credential::decode(&encoded).map_err(|_| VectorError::Broken("a credential"))?;
    let verified = read.verify(&device.public());
    verified.map_err(|_| VectorError::Broken("a credential"))?;
    out["identity_key"] = digits(identity.public());
    out["identity_fingerprint"] = identity.public().fingerprint().to_string().into();
    out["device_key"] = digits(device.public());
    out["credential"] = digits(encoded);
    Ok(out)
}
