//! What the replay of the golden vectors (`qpq-lab vectors check`) cannot see, since it has bytes only: that
//! the names of fields lie where the vectors say, and that nothing prints secrets.

use std::fmt::Debug;

use bytes::Bytes;
use prost::Message;
use qpq_protocol::proto::*;
use qpq_protocol::validate::Validate;
use serde_json::Value;

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

fn number<T: TryFrom<u64, Error: Debug>>(value: &Value) -> T {
    value.as_u64().unwrap().try_into().unwrap()
}

fn messages_of(section: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(MESSAGES).unwrap();
    vectors[section].as_array().unwrap().clone()
}

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
