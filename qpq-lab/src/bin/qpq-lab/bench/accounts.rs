//! Accounts as if they had registered, their sessions, and what they ask.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use qpq_protocol::frame::encode_request;
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::limits::Limits;
use qpq_protocol::method::{Method, Rpc as _, rpc};
use qpq_protocol::proto;
use qpq_protocol::storage::{Commit, keys, records};
use qpq_protocol::time::UnixTime;
use sha2::{Digest as _, Sha256};

use super::caller::Requests;

/// Bytes of a Health request and of its answer, each a Protobuf message.
pub const HEALTH: usize = 256;
/// Rows that make an account with a session.
const ROWS: usize = 3;
/// Accounts in one Commit.
const AT_ONCE: u64 = 1000;

/// Limits of a server under load: only the rates, and what one account may do in a day, are raised, and are
/// still counted.
pub fn limits() -> Limits {
    let mut limits = Limits::default();
    for rate in [
        &mut limits.address_requests,
        &mut limits.account_requests,
        &mut limits.enqueues,
        &mut limits.enqueue_recipients,
        &mut limits.commits,
    ] {
        rate.count = u32::MAX;
    }
    limits.stored_a_day = 1 << 50;
    (limits.memberships_a_day, limits.memberships_open) = (usize::MAX, usize::MAX);
    // Callers of Health have no session, and idle ones say nothing.
    limits.anonymous_connections = usize::MAX;
    limits.account_connections = usize::MAX;
    limits.anonymous_streams = limits.streams;
    limits.anonymous_small_buffer = 1 << 30;
    limits.login_time = Duration::from_secs(3600);
    limits
}

/// The version that makes the answer to Health as long as it is to be.
pub fn long_version() -> String {
    "v".repeat(HEALTH - 12)
}

/// A Health request of its length: an unknown field, which servers skip, fills it.
pub fn health() -> Bytes {
    let mut payload = vec![0; HEALTH];
    // Field 15, bytes; its length in two bytes of seven bits.
    let length = HEALTH - 3;
    payload[..3].copy_from_slice(&[
        15 << 3 | 2,
        (length & 0x7f) as u8 | 0x80,
        (length >> 7) as u8,
    ]);
    let mut frame = rpc::Health::METHOD.id().to_be_bytes().to_vec();
    frame.extend_from_slice(&1u32.to_be_bytes());
    frame.extend_from_slice(&(HEALTH as u32).to_be_bytes());
    frame.extend_from_slice(&payload);
    frame.into()
}

/// The identity key of an account.
pub fn identity(number: u64) -> IdentityKey {
    IdentityKey(Sha256::digest(number.to_be_bytes()).into())
}

fn token(number: u64) -> [u8; 32] {
    Sha256::digest([b"token".as_slice(), &number.to_be_bytes()].concat()).into()
}

/// The rows of accounts 0 up to `count` with a session each, as if they had registered at `now`.
pub fn accounts(count: u64, now: UnixTime) -> Vec<Commit> {
    let numbers: Vec<u64> = (0..count).collect();
    let commit = |numbers: &[u64]| {
        let mut change = Commit::default();
        change.puts.reserve(numbers.len() * ROWS);
        for number in numbers {
            change.puts.extend(rows(*number, now));
        }
        change
    };
    numbers.chunks(AT_ONCE as usize).map(commit).collect()
}

fn rows(number: u64, now: UnixTime) -> [(Bytes, Bytes); ROWS] {
    let identity = identity(number);
    let identity_key = Bytes::copy_from_slice(identity.as_bytes());
    let devices = records::DeviceSet {
        devices: vec![records::RegisteredDevice {
            device_key: identity_key.clone(),
            ..records::RegisteredDevice::default()
        }],
    };
    let account = records::Account {
        username: format!("user{number}"),
        ..records::Account::default()
    };
    let session = records::Session {
        identity_key,
        device_id: Bytes::new(),
        login_at_ms: now.as_millis(),
        expires_at_ms: now.as_millis() + 30 * 24 * 3_600_000,
    };
    let token_hash = Sha256::digest(token(number)).into();
    [
        (
            keys::device_set(&identity).into(),
            devices.encode_to_vec().into(),
        ),
        (
            keys::account(&identity).into(),
            account.encode_to_vec().into(),
        ),
        (
            keys::session(&token_hash).into(),
            session.encode_to_vec().into(),
        ),
    ]
}

/// The request that binds a connection to an account's session.
pub fn resume(number: u64) -> Bytes {
    let request = proto::ResumeSessionRequest {
        auth: Some(proto::Auth {
            access_token: Bytes::copy_from_slice(&token(number)),
            device_id: Bytes::new(),
        }),
        ..proto::ResumeSessionRequest::default()
    };
    frame(rpc::ResumeSession::METHOD, &request)
}

/// Message number so and so, to one account after the other.
#[derive(Clone, Debug)]
pub struct Messages {
    /// Accounts that receive; the others send.
    pub recipients: u64,
    /// Bytes of a message.
    pub payload: usize,
    /// Whether the server is to sign that it took it.
    pub want_proof: bool,
    /// When they were written.
    pub now: UnixTime,
    /// The number of the next one.
    pub next: u64,
}

impl Messages {
    /// The next request.
    pub fn enqueue(&mut self) -> Bytes {
        let number = self.next;
        self.next += 1;
        let mut message_id = [0x80; 16];
        message_id[..6].copy_from_slice(&self.now.as_millis().to_be_bytes()[2..]);
        message_id[6] = 0x70;
        message_id[8..].copy_from_slice(&(number | 1 << 63).to_be_bytes());
        let mut payload = vec![9; self.payload];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        let request = proto::EnqueueRequest {
            recipient_key: Bytes::copy_from_slice(identity(number % self.recipients).as_bytes()),
            payload: payload.into(),
            message_id: Bytes::copy_from_slice(&message_id),
            want_proof: self.want_proof,
            ..proto::EnqueueRequest::default()
        };
        frame(Method::Enqueue, &request)
    }
}

/// The request for the first messages of an account's queue after `seq`.
pub fn fetch(account: u64, seq: u64, limit: u32) -> Bytes {
    let request = proto::FetchRequest {
        recipient_key: Bytes::copy_from_slice(identity(account).as_bytes()),
        after_seq: seq,
        limit,
        ..proto::FetchRequest::default()
    };
    frame(Method::Fetch, &request)
}

/// The request that removes an account's messages up to `seq`.
pub fn ack(account: u64, seq: u64) -> Bytes {
    let request = proto::AckRequest {
        recipient_key: Bytes::copy_from_slice(identity(account).as_bytes()),
        seq_up_to: seq,
        ..proto::AckRequest::default()
    };
    frame(Method::Ack, &request)
}

fn frame(method: Method, request: &impl prost::Message) -> Bytes {
    // None of them is near the longest payload.
    encode_request(method.id(), 1, request).unwrap_or_default()
}

/// Health and nothing else, without a session.
pub struct HealthCalls(pub Bytes);

impl Requests for HealthCalls {
    fn first(&mut self, _: usize) -> Option<Bytes> {
        None
    }

    fn next(&mut self, _: usize) -> Option<Bytes> {
        Some(self.0.clone())
    }
}

/// Messages, each connection with the session of a sender of its own.
pub struct Senders {
    /// What they send.
    pub messages: Messages,
    /// How many they send together.
    pub left: u64,
}

impl Requests for Senders {
    fn first(&mut self, connection: usize) -> Option<Bytes> {
        Some(resume(self.messages.recipients + connection as u64))
    }

    fn next(&mut self, _: usize) -> Option<Bytes> {
        self.left = self.left.checked_sub(1)?;
        Some(self.messages.enqueue())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qpq_protocol::frame::{Header as _, RequestHeader};
    use qpq_protocol::wire::decode_request;

    #[test]
    fn health_is_a_request_of_its_length() {
        let frame = health();
        assert_eq!(frame.len(), RequestHeader::LEN + HEALTH);
        let payload = frame.slice(RequestHeader::LEN..);
        assert!(decode_request::<rpc::Health>(payload).is_ok());
    }

    #[test]
    fn no_message_is_sent_twice() {
        let mut messages = Messages {
            recipients: 3,
            payload: 1024,
            want_proof: true,
            now: UnixTime::from_millis(1_767_225_600_000),
            next: 0,
        };
        let payload = |frame: Bytes| frame.slice(RequestHeader::LEN..);
        let (a, b) = (payload(messages.enqueue()), payload(messages.enqueue()));
        let [a, b] = [a, b].map(|bytes| decode_request::<rpc::Enqueue>(bytes).expect("sound"));
        assert_ne!(a.message_id, b.message_id);
        assert_ne!(a.recipient_key, b.recipient_key);
        assert_ne!(a.payload, b.payload);
    }
}
