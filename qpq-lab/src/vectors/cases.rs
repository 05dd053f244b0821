//! Subjects whose file is a list of cases, each of which says by itself what goes in.
//!
//! One function a subject reads the inputs of a case and gives the whole case again with what came
//! out. Making a file and checking one are the same then, and a checker needs no other table.

use qpq_server_example::hex::hex;
use serde_json::{Value, json};

use super::json::{Fields as _, difference};
use super::{Files, VectorError, WIRE_VERSION};

type Result<T> = core::result::Result<T, VectorError>;

/// A case with its outputs, from its inputs.
pub(super) type Replay = fn(&Value) -> Result<Value>;

/// The only file of a subject, from the inputs of its cases.
pub(super) fn make(subject: &str, inputs: &[Value], replay: Replay) -> Result<Files> {
    let cases: Vec<Value> = inputs.iter().map(replay).collect::<Result<_>>()?;
    let file = json!({"subject": subject, "wire_version": WIRE_VERSION, "cases": cases});
    Ok(vec![(subject.to_owned(), file)])
}

/// Replays a file; how many cases it has.
pub(super) fn check(file: &Value, replay: Replay) -> Result<usize> {
    let cases = file.list("cases")?;
    for (number, case) in cases.iter().enumerate() {
        let replayed = replay(case).and_then(|here| difference(case, &here).map_or(Ok(()), Err));
        replayed.map_err(|error| match case.text("name") {
            Ok(name) => error.inside(&format!("cases[{number}] ({name})")),
            Err(_) => error.inside(&format!("cases[{number}]")),
        })?;
    }
    Ok(cases.len())
}

/// The inputs of a case, and nothing else of it.
pub(super) fn inputs(case: &Value, names: &[&str]) -> Result<Value> {
    let mut kept = json!({});
    for name in names {
        kept[*name] = case.field(name)?.clone();
    }
    Ok(kept)
}

/// A seed of one operation.
pub(super) fn seed(number: u8) -> String {
    hex(&[number; 32])
}

/// The seed of the account of whom most cases tell.
pub(super) const ALICE: u8 = 0xa1;
/// The seed of the server's signing key.
pub(super) const SERVER: u8 = 0x5e;
/// The identity key of somebody else.
pub(super) const BOB: u8 = 0xb0;
/// The date of most cases, in milliseconds since 1970.
pub(super) const TIME_MS: u64 = 1_800_000_000_000;

/// These bytes in hexadecimal with the lowest bit of one of them changed.
pub(super) fn flipped(digits: &str, at: usize) -> Value {
    let mut bytes = super::json::unhex(digits).unwrap_or_default();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    super::json::digits(bytes)
}

/// A text without its last characters, which are ASCII.
pub(super) fn cut(text: &str, by: usize) -> &str {
    text.get(..text.len().saturating_sub(by))
        .unwrap_or_default()
}
