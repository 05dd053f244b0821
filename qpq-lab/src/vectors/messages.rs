//! `messages`: payloads that are read, written again, and refused.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use qpq_protocol::method::{Method, Rpc, Visitor};
use qpq_protocol::proto::MembershipPush;
use qpq_protocol::wire::{self, DecodeError};
use serde_json::{Value, json};

use super::VectorError;
use super::json::{Fields as _, difference, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

/// A payload is also read cut off after this many bytes, and all fewer.
const CUTS: usize = 400;

pub(super) fn check(file: &Value) -> Result<usize> {
    let mut count = 0;
    for section in ["messages", "readings", "refusals"] {
        for case in file.list(section)? {
            let checked = match section {
                "messages" => message(case),
                "readings" => reading(case),
                _ => refusal(case),
            };
            checked.map_err(|error| error.inside(case.text("name").unwrap_or(section)))?;
            count += 1;
        }
    }
    every_method_is_there(file.list("messages")?)?;
    Ok(count)
}

/// What comes of a payload: its message's name and the same written again, or the error.
type Read = core::result::Result<(String, Vec<u8>), DecodeError>;

fn message(case: &Value) -> Result<()> {
    let payload = case.bytes("payload")?;
    let file = json!({"message": case.text("message")?, "payload": digits(&payload)});
    let (name, again) = read(case, &payload)?.map_err(|_| wrong("payload", "one that decodes"))?;
    let here = json!({"message": name, "payload": digits(again)});
    difference(&file, &here).map_or(Ok(()), Err)?;
    // Whatever a cut payload is, reading it comes to an end.
    if case.get_field("method").is_some() {
        for cut in 0..payload.len().min(CUTS) {
            let _ = read(case, payload.get(..cut).unwrap_or_default())?;
        }
    }
    Ok(())
}

fn reading(case: &Value) -> Result<()> {
    let read = read(case, &case.bytes("payload")?)?;
    let (_, again) = read.map_err(|_| wrong("payload", "one that decodes"))?;
    let file = json!({"canonical": case.field("canonical")?});
    difference(&file, &json!({"canonical": digits(again)})).map_or(Ok(()), Err)
}

fn refusal(case: &Value) -> Result<()> {
    let error = match read(case, &case.bytes("payload")?)? {
        Ok(_) => "nothing".to_owned(),
        Err(DecodeError::Malformed) => "malformed".to_owned(),
        Err(DecodeError::Field(error)) => error.field.to_owned(),
        Err(DecodeError::TooManyFields { .. }) => "too_many_fields".to_owned(),
    };
    let file = json!({"error": case.field("error")?});
    difference(&file, &json!({"error": error})).map_or(Ok(()), Err)
}

fn every_method_is_there(messages: &[Value]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for case in messages.iter().filter(|case| case.get("method").is_some()) {
        let method: u16 = case.number("method")?;
        seen.insert((method, case.text("message")?.ends_with("Request")));
    }
    let mut all = Method::ALL.iter().map(|method| method.id());
    match all.all(|id| seen.contains(&(id, true)) && seen.contains(&(id, false))) {
        true => Ok(()),
        false => Err(wrong(
            "messages",
            "a request and a response of every method",
        )),
    }
}

fn again<T: Message + core::fmt::Debug>(message: T) -> (String, Vec<u8>) {
    let debug = format!("{message:?}");
    let name = debug.split([' ', '{']).next().unwrap_or_default();
    (name.to_owned(), message.encode_to_vec())
}

struct Reader {
    payload: Bytes,
    request: bool,
}

impl Visitor for Reader {
    type Output = Read;

    fn visit<M: Rpc>(self) -> Read {
        match self.request {
            true => wire::decode_request::<M>(self.payload).map(again),
            false => wire::decode_response::<M>(self.payload).map(again),
        }
    }
}

fn read(case: &Value, payload: &[u8]) -> Result<Read> {
    let payload = Bytes::copy_from_slice(payload);
    let message = case.text("message")?;
    if case.get_field("method").is_some() {
        let method = Method::try_from(case.number::<u16>("method")?);
        let method = method.map_err(|_| wrong("method", "a known method"))?;
        let request = message.ends_with("Request");
        return Ok(method.visit(Reader { payload, request }));
    }
    let malformed = |_| DecodeError::Malformed;
    Ok(match message {
        "PushEvent" => wire::decode_push(payload).map(again),
        "DeliveryPayload" => wire::decode_delivery(payload).map(again),
        "AppMessage" => wire::decode_app(payload).map(again),
        "ErrorDetail" => Ok(again(wire::decode_error(payload))),
        "ForkReport" => wire::decode_fork_report(payload).map(again),
        "MembershipPush" => MembershipPush::decode(payload)
            .map(again)
            .map_err(malformed),
        _ => return Err(wrong("message", "a known message")),
    })
}
