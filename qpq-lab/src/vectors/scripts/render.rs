//! A recorded step in words: what a core was told and what it did, a line each.

use bytes::Bytes;
use qpq_protocol::frame::{Header as _, PushHeader, RequestHeader, ResponseHeader};
use qpq_protocol::method::Method;
use qpq_protocol::status::Status;
use qpq_protocol::storage::keys::Family;
use qpq_protocol::wire;
use serde_json::Value;

use crate::vectors::json::{Fields as _, unhex};

/// Hexadecimal longer than this is cut.
const LONG: usize = 16;

/// The lines of a step; none where the core was told something and did nothing.
pub(super) fn step(step: &Value, is_server: bool) -> Vec<String> {
    let out = step.list("out").unwrap_or_default();
    let told = step.get("in").unwrap_or(&Value::Null);
    let is_worth_telling = !matches!(
        word(told, "kind"),
        "start" | "fin" | "sent" | "stored" | "computed" | "timeout"
    );
    if out.is_empty() && !is_worth_telling {
        return Vec::new();
    }
    let at: u64 = step.number("at").unwrap_or_default();
    let mut lines = vec![format!("{} ms: {}", at / 1000, input(told, is_server))];
    lines.extend(
        out.iter()
            .map(|out| format!("  {}", output(out, is_server))),
    );
    lines
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn bytes(value: &Value, name: &str) -> Bytes {
    unhex(word(value, name)).unwrap_or_default().into()
}

fn input(told: &Value, is_server: bool) -> String {
    let place = || {
        format!(
            "connection {}, {}",
            number(told, "conn"),
            word(told, "stream")
        )
    };
    match word(told, "kind") {
        "start" => "it starts".to_owned(),
        "connected" => {
            format!(
                "connection {} with {}",
                number(told, "conn"),
                word(told, "address")
            )
        }
        "connect_failed" => format!("no connection: {}", word(told, "why")),
        "disconnected" => format!("connection {} is gone", number(told, "conn")),
        "data" => {
            let what = frame(
                &bytes(told, "bytes"),
                word(told, "stream"),
                is_server,
                false,
            );
            format!("{}: {what} comes", place())
        }
        "fin" => format!("{}: the end comes", place()),
        "reset" => format!("{}: reset with {}", place(), number(told, "code")),
        "sent" => format!("{}: {} B were taken", place(), number(told, "count")),
        "stored" => format!(
            "storage: {}",
            reply(told.get("reply").unwrap_or(&Value::Null))
        ),
        "unseen" => "storage has it, and nobody is told".to_owned(),
        "failed" => format!("storage failed: {}", word(told, "why")),
        "computed" => "the job is done".to_owned(),
        "timeout" => "the time has come".to_owned(),
        "shutdown" => "it is to stop".to_owned(),
        kind => format!("intent {}: {kind}", number(told, "intent")),
    }
}

fn reply(reply: &Value) -> String {
    if let Some(word) = reply.as_str() {
        return word.to_owned();
    }
    if let Some(values) = reply.get("values").and_then(Value::as_array) {
        let there = values.iter().filter(|value| !value.is_null()).count();
        return format!("{there} of {} values", values.len());
    }
    let count = |name: &str| {
        reply
            .get(name)
            .and_then(Value::as_array)
            .map_or(0, Vec::len)
    };
    format!("{} rows", count("rows") + count("mls"))
}

fn output(out: &Value, is_server: bool) -> String {
    let place = || {
        format!(
            "connection {}, {}",
            number(out, "conn"),
            word(out, "stream")
        )
    };
    match word(out, "kind") {
        "connect" => format!("connect to {}", word(out, "address")),
        "open" => format!(
            "open {} on connection {}",
            word(out, "stream"),
            number(out, "conn")
        ),
        "send" => {
            let what = frame(&bytes(out, "bytes"), word(out, "stream"), is_server, true);
            format!("send {what} on {}", place())
        }
        "reset" => format!("reset {} with {}", place(), number(out, "code")),
        "admit" => format!("admit connection {}", number(out, "conn")),
        "close" => format!(
            "close connection {} with {}",
            number(out, "conn"),
            number(out, "code")
        ),
        "store" => command(out.get("command").unwrap_or(&Value::Null), is_server),
        "compute" => "a job".to_owned(),
        "wake" => format!("wake {}", word(out, "topic")),
        "event" => event(out),
        other => other.to_owned(),
    }
}

/// What bytes are, if they begin a frame.
fn frame(data: &[u8], stream: &str, is_server: bool, is_sent: bool) -> String {
    let is_push = stream.starts_with(if is_server { "own" } else { "peer uni" });
    let size = data.len();
    let described = if is_push {
        PushHeader::read(data).map(|header| format!("push {}", header.event_type))
    } else if is_server == is_sent {
        ResponseHeader::read(data).map(|header| {
            let payload = data.get(ResponseHeader::LEN..).unwrap_or_default();
            let detail = wire::decode_error(Bytes::copy_from_slice(payload));
            match header.status {
                Status::Ok => "Ok".to_owned(),
                status => format!("{} ({})", status.name(), detail.message),
            }
        })
    } else {
        RequestHeader::read(data).map(|header| match Method::try_from(header.method_id) {
            Ok(method) => format!("{method:?}"),
            Err(_) => format!("method {}", header.method_id),
        })
    };
    match described {
        Some(what) => format!("{what} ({size} B)"),
        None => format!("{size} B"),
    }
}

fn command(command: &Value, is_server: bool) -> String {
    let names = |list: &Value| {
        let keys = list.as_array().into_iter().flatten();
        let keys = keys.map(|item| match item.as_array() {
            Some(row) => key(row.first().unwrap_or(&Value::Null), is_server),
            None => key(item, is_server),
        });
        keys.collect::<Vec<_>>().join(", ")
    };
    if let Some(keys) = command.get("get") {
        return format!("store: get {}", names(keys));
    }
    if let Some(scan) = command.get("scan") {
        let start = key(scan.get("start").unwrap_or(&Value::Null), is_server);
        return format!("store: scan {} from {start}", word(scan, "direction"));
    }
    let commit = command.get("commit").unwrap_or(&Value::Null);
    let mut parts = Vec::new();
    for (name, verb) in [("checks", "check"), ("puts", "put"), ("deletes", "delete")] {
        let names = names(commit.get(name).unwrap_or(&Value::Null));
        if !names.is_empty() {
            parts.push(format!("{verb} {names}"));
        }
    }
    for (name, verb) in [("mls_puts", "put"), ("mls_deletes", "delete")] {
        if let Some(rows) = commit.get(name).and_then(Value::as_array) {
            parts.push(format!("{verb} {} of MLS", rows.len()));
        }
    }
    format!("store: {}", parts.join("; "))
}

/// A key by the name of its family and its last two bytes.
fn key(digits: &Value, is_server: bool) -> String {
    let digits = digits.as_str().unwrap_or_default();
    let bytes = unhex(digits).unwrap_or_default();
    let end = digits
        .get(digits.len().saturating_sub(4)..)
        .unwrap_or_default();
    let is_text = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_graphic());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !is_server {
        // Without the piece; below `h/` and `s/x/` names are not text.
        let bytes = bytes
            .get(..bytes.len().saturating_sub(2))
            .unwrap_or_default();
        let prefix = if bytes.starts_with(b"h/") { 2 } else { 4 };
        return match is_text(bytes) {
            true => text(bytes),
            false => format!("{}..", text(bytes.get(..prefix).unwrap_or_default())),
        };
    }
    let (family, rest) = bytes
        .split_first()
        .map_or((0, &bytes[..]), |(first, rest)| (*first, rest));
    let found = FAMILIES.iter().find(|of| **of as u8 == family);
    let family = found.map_or_else(|| "?".to_owned(), |family| format!("{family:?}"));
    match rest {
        [] => family,
        rest if is_text(rest) => format!("{family} {}", text(rest)),
        _ => format!("{family} ..{end}"),
    }
}

const FAMILIES: [Family; 24] = [
    Family::Meta,
    Family::Account,
    Family::Name,
    Family::DeviceSet,
    Family::Device,
    Family::Session,
    Family::DeviceSession,
    Family::Queue,
    Family::Entry,
    Family::Payload,
    Family::PayloadClaim,
    Family::PayloadCheck,
    Family::Dedupe,
    Family::Expiry,
    Family::Channel,
    Family::Metadata,
    Family::GroupInfo,
    Family::Member,
    Family::Membership,
    Family::Slot,
    Family::PackagePool,
    Family::Package,
    Family::PackageSeen,
    Family::HybridKey,
];

fn event(out: &Value) -> String {
    let mut rest = out.clone();
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("kind");
        fields.remove("event");
    }
    shorten(&mut rest);
    match rest.as_object().is_some_and(serde_json::Map::is_empty) {
        true => format!("event {}", word(out, "event")),
        false => format!("event {} {rest}", word(out, "event")),
    }
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > LONG && unhex(text).is_some() => {
            text.truncate(8);
            text.push_str("..");
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}
