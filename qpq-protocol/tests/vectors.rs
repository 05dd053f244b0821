//! The golden vectors of frames and messages (tests/vectors/README.md), read by this crate.

use std::collections::BTreeSet;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use prost::Message;
use qpq_protocol::frame::{
    Decoded, Decoder, FrameError, Header, MAX_PAYLOAD, PushHeader, RequestHeader, ResponseHeader,
};
use qpq_protocol::method::{Method, Rpc, Visitor};
use qpq_protocol::proto::*;
use qpq_protocol::validate::Validate;
use qpq_protocol::wire::{self, DecodeError};
use serde_json::Value;

const FRAMES: &str = include_str!("../../tests/vectors/frames/frames.json");
const MESSAGES: &str = include_str!("../../tests/vectors/messages/messages.json");

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The bytes of a case: hexadecimal, then the filler.
fn content(bytes: Option<&Value>, filler: Option<&Value>) -> Bytes {
    let mut content = bytes.map(hex).unwrap_or_default();
    if let Some(filler) = filler {
        let count: usize = filler["count"].as_u64().unwrap().try_into().unwrap();
        content.resize(content.len() + count, hex(&filler["byte"])[0]);
    }
    content.into()
}

// -- frames ------------------------------------------------------------------------------------

/// The frames of a stream that comes in pieces of `size` bytes.
fn decode<H: Header>(stream: &Bytes, size: usize) -> (Vec<(H, Bytes)>, Result<(), FrameError>) {
    let mut decoder = Decoder::<H>::new();
    let mut frames = Vec::new();
    let mut header = None;
    let mut rest = stream.clone();
    while !rest.is_empty() {
        let mut piece = rest.split_to(size.min(rest.len()));
        loop {
            match decoder.decode(&mut piece) {
                Ok(None) => break,
                Ok(Some(Decoded::Header(whole))) => header = Some(whole),
                Ok(Some(Decoded::Payload(payload))) => frames.push((header.unwrap(), payload)),
                Ok(Some(Decoded::Skipped)) => panic!("nothing was skipped"),
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    let end = decoder.finish();
    (frames, end)
}

fn check_stream<H: Header>(case: &Value, header: impl Fn(&Value, u32) -> H) {
    let name = &case["name"];
    let stream = content(case.get("bytes"), case.get("filler"));
    let expected: Vec<(H, Bytes)> = case["frames"]
        .as_array()
        .unwrap()
        .iter()
        .map(|frame| {
            let payload = content(frame.get("payload"), frame.get("payload_filler"));
            (header(frame, payload.len() as u32), payload)
        })
        .collect();

    let small: &[usize] = if stream.len() < 1000 {
        &[1, 2, 3, 7]
    } else {
        &[1201, 65_536]
    };
    for size in small.iter().copied().chain([usize::MAX]) {
        let (found, end) = decode::<H>(&stream, size);
        assert_eq!(found, expected, "{name}");
        let (word, code) = match end {
            Ok(()) => ("ok", 0),
            Err(error) => (
                match error {
                    FrameError::FinInsideFrame => "fin_inside_frame",
                    FrameError::TrailingBytes => "trailing_bytes",
                    FrameError::TooLarge { .. } => "too_large",
                },
                error.app_code().code(),
            ),
        };
        assert_eq!(
            (word, code),
            (text(&case["end"]), case["app_code"].as_u64().unwrap()),
            "{name}"
        );
    }

    if case["end"] == "ok" && !text(name).contains("reads as") {
        let mut written = BytesMut::new();
        for (header, payload) in &expected {
            header.write(&mut written);
            written.extend_from_slice(payload);
        }
        assert_eq!(written, stream, "{name}");
    }
}

fn number<T: TryFrom<u64, Error: Debug>>(value: &Value) -> T {
    value.as_u64().unwrap().try_into().unwrap()
}

#[test]
fn frames() {
    let vectors: Value = serde_json::from_str(FRAMES).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        match text(&case["stream"]) {
            "request" => check_stream(case, |frame, payload_len| RequestHeader {
                method_id: number(&frame["method_id"]),
                request_id: number(&frame["request_id"]),
                payload_len,
            }),
            "response" => check_stream(case, |frame, payload_len| {
                let status: u8 = number(&frame["status"]);
                ResponseHeader {
                    status: qpq_protocol::status::Status::from_code(status).unwrap(),
                    request_id: number(&frame["request_id"]),
                    payload_len,
                }
            }),
            "push" => check_stream(case, |frame, payload_len| PushHeader {
                event_type: number(&frame["event_type"]),
                payload_len,
            }),
            other => panic!("streams of {other}"),
        }
    }
    let ends: BTreeSet<_> = cases.iter().map(|case| text(&case["end"])).collect();
    assert_eq!(ends.len(), 4, "every end has a case");
    assert_eq!(MAX_PAYLOAD, 4_194_304);
}

// -- messages ----------------------------------------------------------------------------------

/// What comes of a payload: the message encoded again and its name as `Debug` prints it, or the
/// error.
type Read = Result<(Vec<u8>, String), DecodeError>;

fn again<T: Message + Debug>(message: T) -> (Vec<u8>, String) {
    let debug = format!("{message:?}");
    let name = debug
        .split([' ', '{'])
        .next()
        .unwrap_or_default()
        .to_owned();
    (message.encode_to_vec(), name)
}

struct Reader {
    payload: Bytes,
    request: bool,
}

impl Visitor for Reader {
    type Output = Read;
    fn visit<M: Rpc>(self) -> Read {
        if self.request {
            wire::decode_request::<M>(self.payload).map(again)
        } else {
            wire::decode_response::<M>(self.payload).map(again)
        }
    }
}

fn read(case: &Value) -> Read {
    let payload = Bytes::from(hex(&case["payload"]));
    let message = text(&case["message"]);
    if let Some(id) = case.get("method") {
        let request = message.ends_with("Request");
        return Method::try_from(number::<u16>(id))
            .unwrap()
            .visit(Reader { payload, request });
    }
    match message {
        "PushEvent" => wire::decode_push(payload).map(again),
        "DeliveryPayload" => wire::decode_delivery(payload).map(again),
        "AppMessage" => wire::decode_app(payload).map(again),
        "ErrorDetail" => Ok(again(wire::decode_error(payload))),
        "ForkReport" => Ok(again(ForkReport::decode(payload).unwrap())),
        "MembershipPush" => Ok(again(MembershipPush::decode(payload).unwrap())),
        other => panic!("no reader for {other}"),
    }
}

fn messages_of(section: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(MESSAGES).unwrap();
    vectors[section].as_array().unwrap().clone()
}

#[test]
fn messages_come_back_byte_for_byte() {
    let mut seen = BTreeSet::new();
    for case in messages_of("messages") {
        let (encoded, name) =
            read(&case).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        assert_eq!(encoded, hex(&case["payload"]), "{}", case["name"]);
        assert_eq!(name, text(&case["message"]));
        if let Some(method) = case.get("method") {
            seen.insert((number::<u16>(method), name.ends_with("Request")));
        }
    }
    for method in Method::ALL {
        assert!(
            seen.contains(&(method.id(), true)),
            "a request of {method:?}"
        );
        assert!(
            seen.contains(&(method.id(), false)),
            "a response of {method:?}"
        );
    }
}

#[test]
fn every_cut_of_a_request_is_read_or_refused() {
    for case in messages_of("messages") {
        let whole = hex(&case["payload"]);
        let mut case = case;
        for cut in 0..whole.len().min(400) {
            let hex: String = whole[..cut]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            case["payload"] = hex.into();
            if case.get("method").is_some() {
                let _ = read(&case);
            }
        }
    }
}

#[test]
fn readings_are_those_of_the_fields() {
    for case in messages_of("readings") {
        let (encoded, _) = read(&case).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        assert_eq!(encoded, hex(&case["canonical"]), "{}", case["name"]);
    }
}

#[test]
fn refusals_name_what_is_wrong() {
    for case in messages_of("refusals") {
        let error = read(&case).expect_err(text(&case["name"]));
        match text(&case["error"]) {
            "malformed" => assert_eq!(error, DecodeError::Malformed, "{}", case["name"]),
            field => {
                let DecodeError::Field(error) = error else {
                    panic!("{}: {error}", case["name"])
                };
                assert_eq!(error.field, field, "{}", case["name"]);
                assert!(error.to_string().contains(field));
            }
        }
    }
}

/// The other tests see bytes only; this one ties names to bytes.
#[test]
fn fields_lie_where_the_vectors_say() {
    let find = |name: &str| {
        messages_of("messages")
            .into_iter()
            .find(|case| case["name"] == name)
            .unwrap()
    };
    let case = find("EnqueueRequest: all fields");
    let bytes = |field: &str| Bytes::from(hex(&case["fields"][field]));
    let request = EnqueueRequest {
        recipient_key: bytes("recipient_key"),
        payload: bytes("payload"),
        channel_id: bytes("channel_id"),
        ttl_secs: number(&case["fields"]["ttl_secs"]),
        message_id: bytes("message_id"),
        access_key: bytes("access_key"),
        channel_slot: Some(text(&case["fields"]["channel_slot"]).parse().unwrap()),
        channel_key: bytes("channel_key"),
        want_proof: true,
    };
    assert_eq!(request.validate(), Ok(()));
    assert_eq!(request.encode_to_vec(), hex(&case["payload"]));

    let case = find("SubmitCommitRequest: a welcome that repeats the one before");
    let request = SubmitCommitRequest {
        channel_id: vec![0x77; 16].into(),
        slot: 1,
        commit: vec![0x88].into(),
        welcomes: vec![
            CommitWelcome {
                recipient_key: vec![0xaa; 32].into(),
                device_id: vec![0xbb; 16].into(),
                payload: vec![0xcc].into(),
            },
            CommitWelcome {
                recipient_key: vec![0xdd; 32].into(),
                ..Default::default()
            },
        ],
        message_id: vec![0x99; 16].into(),
        ..Default::default()
    };
    assert_eq!(request.encode_to_vec(), hex(&case["payload"]));
}

#[test]
fn secrets_do_not_show() {
    for case in messages_of("messages") {
        let debug = match text(&case["message"]) {
            "EnqueueRequest" => format!(
                "{:?}",
                EnqueueRequest::decode(&hex(&case["payload"])[..]).unwrap()
            ),
            "RelayEnqueueRequest" => {
                format!(
                    "{:?}",
                    RelayEnqueueRequest::decode(&hex(&case["payload"])[..]).unwrap()
                )
            }
            "ResumeSessionRequest" => {
                format!(
                    "{:?}",
                    ResumeSessionRequest::decode(&hex(&case["payload"])[..]).unwrap()
                )
            }
            "OpaqueLoginFinishResponse" => {
                format!(
                    "{:?}",
                    OpaqueLoginFinishResponse::decode(&hex(&case["payload"])[..]).unwrap()
                )
            }
            "AppMessage" => format!(
                "{:?}",
                AppMessage::decode(&hex(&case["payload"])[..]).unwrap()
            ),
            _ => continue,
        };
        for secret in [
            "access_key",
            "channel_key",
            "access_token",
            "session_token",
            "text",
            "emoji",
        ] {
            assert!(!debug.contains(secret), "{}: {debug}", case["name"]);
        }
    }
}
