//! `padding`: how long padded content is, and what is taken off again.

use qpq_crypto::padding::{pad, padded_length, unpad};
use serde_json::{Value, json};

use super::VectorError;
use super::cases::inputs as keep;
use super::json::{Fields as _, digits, wrong};

/// Content lengths, at the steps and between them.
const LENGTHS: [u64; 14] = [
    0, 1, 254, 255, 256, 4094, 4095, 4096, 5000, 65_535, 65_536, 1_000_000, 3_145_727, 3_145_728,
];

pub(super) fn inputs() -> Result<Vec<Value>, VectorError> {
    let lengths = LENGTHS
        .iter()
        .map(|length| json!({"kind": "length", "content_length": length}));
    let contents = ["", "6869", "686980", "686900"];
    let contents = contents
        .iter()
        .map(|content| json!({"kind": "pad", "content": content}));
    let padded = [
        "",
        "00",
        "80",
        "8000",
        "6869",
        "68698000",
        "686980ff",
        &"00".repeat(256),
        // The shortest padding of two bytes, and one that is longer than need be.
        &format!("686980{}", "00".repeat(253)),
        &format!("686980{}", "00".repeat(509)),
    ];
    let padded = padded
        .iter()
        .map(|padded| json!({"kind": "unpad", "padded": padded}));
    Ok(lengths.chain(contents).chain(padded).collect())
}

pub(super) fn replay(case: &Value) -> Result<Value, VectorError> {
    match case.text("kind")? {
        "length" => {
            let mut out = keep(case, &["kind", "content_length"])?;
            out["padded_length"] = padded_length(case.number("content_length")?).into();
            Ok(out)
        }
        "pad" => {
            let mut out = keep(case, &["kind", "content"])?;
            let content = case.bytes("content")?;
            let padded = pad(&content);
            if unpad(&padded) != Ok(&content) {
                return Err(VectorError::Broken("padding"));
            }
            out["padded"] = digits(padded);
            Ok(out)
        }
        "unpad" => {
            let mut out = keep(case, &["kind", "padded"])?;
            let padded = case.bytes("padded")?;
            out["content"] = unpad(&padded).map_or(Value::Null, digits);
            Ok(out)
        }
        _ => Err(wrong("kind", "length, pad or unpad")),
    }
}
