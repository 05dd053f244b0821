//! `transcripts`: exported conversations, whole and tampered with.

use qpq_crypto::identity::{IdentityKey, IdentitySecret};
use qpq_crypto::transcript::{self, Exporter, Record};
use serde_json::{Value, json};

use super::VectorError;
use super::cases::{ALICE, BOB, TIME_MS, cut, flipped, inputs as keep, seed};
use super::json::{Fields as _, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

pub(super) fn inputs() -> Result<Vec<Value>> {
    let record = |number: u64, channel: String, text: &str| {
        json!({
            "sent_at_ms": (TIME_MS + number).to_string(), "sender_key": seed(BOB),
            "channel_id": channel, "content": digits(text),
        })
    };
    let export = |name: &str, records: Value| {
        json!({
            "name": name, "kind": "export", "identity_seed": seed(ALICE), "password": "password",
            "seed": seed(1), "exported_at_ms": TIME_MS.to_string(), "records": records,
        })
    };
    let records = json!([
        record(0, "03".repeat(16), "message 0"),
        record(1, String::new(), "on the default channel"),
        record(2, "03".repeat(16), ""),
    ]);
    let whole = export("three records", records);
    let transcript = replay(&whole)?;
    let transcript = transcript.text("transcript")?;
    let open = |name: &str, password: &str, transcript: Value| json!({"name": name, "kind": "open", "password": password, "transcript": transcript});
    let last = transcript.len() / 2 - 1;
    Ok(vec![
        whole,
        export("no records", json!([])),
        open("whole", "password", transcript.into()),
        open(
            "another password: verifies, and does not open",
            "passw0rd",
            transcript.into(),
        ),
        open("a changed header", "password", flipped(transcript, 8)),
        open("a changed record", "password", flipped(transcript, 80)),
        open("a changed signature", "password", flipped(transcript, last)),
        open("cut off", "password", cut(transcript, 2).into()),
        open("nothing", "password", "".into()),
    ])
}

pub(super) fn replay(case: &Value) -> Result<Value> {
    match case.text("kind")? {
        "export" => export(case),
        "open" => {
            let mut out = keep(case, &["name", "kind", "password", "transcript"])?;
            let (bytes, password) = (case.bytes("transcript")?, case.text("password")?);
            let summary = transcript::verify(&bytes).ok();
            out["verified"] = summary.map_or(Value::Null, |summary| {
                json!({
                    "exporter": digits(summary.exporter),
                    "exported_at_ms": summary.exported_at_ms.to_string(),
                    "records": summary.records,
                })
            });
            let opened = transcript::open(&bytes, password.as_bytes()).ok();
            out["records"] = match opened {
                Some((_, records)) => records.iter().map(show).collect(),
                None => Value::Null,
            };
            Ok(out)
        }
        _ => Err(wrong("kind", "export or open")),
    }
}

fn export(case: &Value) -> Result<Value> {
    let names = [
        "name",
        "kind",
        "identity_seed",
        "password",
        "seed",
        "exported_at_ms",
        "records",
    ];
    let mut out = keep(case, &names)?;
    let broken = |_| VectorError::Broken("a transcript");
    let exporter = IdentitySecret::from_seed(case.array("identity_seed")?);
    let (mut export, mut bytes) = Exporter::start(
        &exporter.public(),
        case.text("password")?.as_bytes(),
        &case.array("seed")?,
        case.number("exported_at_ms")?,
    )
    .map_err(broken)?;
    for record in case.list("records")? {
        let record = Record {
            sent_at_ms: record.number("sent_at_ms")?,
            sender: IdentityKey(record.array("sender_key")?),
            channel_id: record.bytes("channel_id")?,
            content: record.bytes("content")?,
        };
        bytes.extend(export.record(&record).map_err(broken)?);
    }
    bytes.extend(export.finish(&exporter));
    out["transcript"] = digits(bytes);
    Ok(out)
}

fn show(record: &Record) -> Value {
    json!({
        "sent_at_ms": record.sent_at_ms.to_string(),
        "sender_key": digits(record.sender),
        "channel_id": digits(&record.channel_id),
        "content": digits(&record.content),
    })
}
