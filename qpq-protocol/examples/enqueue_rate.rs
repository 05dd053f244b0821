//! How many messages a second one server core takes, alone on one thread: frames in, storage
//! commands to the memory engine, answers out. No socket, no encryption, no disk.
//!
//!     cargo run --release -p qpq-protocol --example enqueue_rate [messages] [in flight, at most 64] [proof]

#![allow(
    clippy::disallowed_methods,
    reason = "this program measures; the core it measures does not read the clock"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use qpq_protocol::frame::{Header as _, ResponseHeader, encode_request};
use qpq_protocol::ids::{ConnId, Dir, IdentityKey, StreamId};
use qpq_protocol::io::{Alpn, Core as _, Output, PeerInfo, StreamInput};
use qpq_protocol::method::{Method, Rpc as _, rpc};
use qpq_protocol::proto;
use qpq_protocol::server::{Config, Server};
use qpq_protocol::status::Status;
use qpq_protocol::storage::{Command, Commit, Engine as _, Memory, keys, records};
use qpq_protocol::time::{Time, UnixTime};
use sha2::{Digest as _, Sha256};

const UNIX: UnixTime = UnixTime::from_millis(1_767_225_600_000);
const RECIPIENTS: u64 = 100;
const PAYLOAD: usize = 256;
const CONN: ConnId = ConnId(1);

/// A server core on its engine, and how long each of them has worked.
struct Bench {
    server: Server,
    memory: Memory,
    now: Time,
    next_stream: u64,
    answered: u64,
    storage: Duration,
}

impl Bench {
    fn new() -> Self {
        let mut config = Config::default();
        let limits = &mut config.limits;
        limits.queue_messages = usize::MAX;
        limits.queue_bytes = usize::MAX;
        for rate in [
            &mut limits.address_requests,
            &mut limits.account_requests,
            &mut limits.enqueues,
            &mut limits.enqueue_recipients,
        ] {
            rate.count = u32::MAX;
        }
        let mut memory = Memory::new();
        memory.run(vec![Command::Commit(accounts())]);
        let now = Time::from_micros(1);
        let mut bench = Self {
            server: Server::new(config, [7; 32], now, UNIX),
            memory,
            now,
            next_stream: 0,
            answered: 0,
            storage: Duration::ZERO,
        };
        bench.drain();
        let peer = PeerInfo {
            address: ([10, 0, 0, 1], 4000).into(),
            alpn: Alpn::Qpq,
            certificate: None,
        };
        bench.server.handle_connected(bench.now, CONN, peer, None);
        bench.log_in();
        bench
    }

    fn log_in(&mut self) {
        let request = proto::ResumeSessionRequest {
            auth: Some(proto::Auth {
                access_token: Bytes::from_static(&[5; 32]),
                device_id: Bytes::new(),
            }),
        };
        let id = rpc::ResumeSession::METHOD.id();
        self.request(encode_request(id, 1, &request).unwrap_or_default());
        while self.answered == 0 {
            self.drain();
            if let Some((at, _)) = self.server.poll_timeout() {
                self.now = self.now.max(at);
                self.server.handle_timeout(self.now);
            }
        }
        self.answered = 0;
        self.storage = Duration::ZERO;
    }

    /// A whole request on a stream of its own.
    fn request(&mut self, frame: Bytes) {
        let stream = StreamId::Peer(Dir::Bi, self.next_stream);
        self.next_stream += 1;
        for input in [StreamInput::Data(frame), StreamInput::Fin] {
            self.server.handle_stream(self.now, CONN, stream, input);
        }
    }

    /// Carries out everything that waits, one batch of storage commands at a time.
    fn drain(&mut self) {
        loop {
            let (mut tickets, mut batch) = (Vec::new(), Vec::new());
            while let Some(output) = self.server.poll_output() {
                match output {
                    Output::Store {
                        ticket, command, ..
                    } => {
                        tickets.push(ticket);
                        batch.push(command);
                    }
                    Output::Send {
                        conn, stream, data, ..
                    } => self.sent(conn, stream, &data),
                    _ => {}
                }
            }
            if batch.is_empty() {
                return;
            }
            let start = Instant::now();
            let replies = self.memory.run(batch);
            self.storage += start.elapsed();
            for (ticket, reply) in tickets.into_iter().zip(replies) {
                self.server.handle_stored(self.now, ticket, reply);
            }
        }
    }

    fn sent(&mut self, conn: ConnId, stream: StreamId, data: &Bytes) {
        if matches!(stream, StreamId::Peer(..)) {
            let status = ResponseHeader::read(data).map(|header| header.status);
            assert_eq!(status, Some(Status::Ok));
            self.answered += 1;
        }
        let sent = StreamInput::Sent(data.len());
        self.server.handle_stream(self.now, conn, stream, sent);
    }
}

/// The accounts, as if they had registered, and the sender's session.
fn accounts() -> Commit {
    let mut change = Commit::default();
    for number in 0..=RECIPIENTS {
        let devices = records::DeviceSet {
            devices: vec![records::RegisteredDevice {
                device_key: Bytes::copy_from_slice(identity(number).as_bytes()),
                ..records::RegisteredDevice::default()
            }],
        };
        let account = records::Account {
            username: format!("user{number}"),
            ..records::Account::default()
        };
        let identity = identity(number);
        let rows = [
            (keys::device_set(&identity), devices.encode_to_vec()),
            (keys::account(&identity), account.encode_to_vec()),
        ];
        change
            .puts
            .extend(rows.map(|(key, row)| (key, Bytes::from(row))));
    }
    let session = records::Session {
        identity_key: Bytes::copy_from_slice(identity(0).as_bytes()),
        device_id: Bytes::new(),
        login_at_ms: UNIX.as_millis(),
        expires_at_ms: UNIX.as_millis() + 30 * 24 * 3_600_000,
    };
    let token_hash = Sha256::digest([5; 32]).into();
    let row = session.encode_to_vec().into();
    change.puts.push((keys::session(&token_hash), row));
    change
}

fn identity(number: u64) -> IdentityKey {
    IdentityKey(Sha256::digest(number.to_be_bytes()).into())
}

/// The frame of message number so and so.
fn message(number: u64, want_proof: bool) -> Bytes {
    let mut message_id = UNIX.as_millis().to_be_bytes()[2..].to_vec();
    message_id.extend_from_slice(&[0x70, 0x80]);
    message_id.extend_from_slice(&number.to_be_bytes());
    let request = proto::EnqueueRequest {
        recipient_key: Bytes::copy_from_slice(identity(1 + number % RECIPIENTS).as_bytes()),
        payload: vec![9; PAYLOAD].into(),
        message_id: message_id.into(),
        want_proof,
        ..proto::EnqueueRequest::default()
    };
    encode_request(Method::Enqueue.id(), 1, &request).unwrap_or_default()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        arguments
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (messages, in_flight) = (number(300_000), number(64));
    let want_proof = std::env::args().any(|argument| argument == "proof");
    let mut bench = Bench::new();
    let frames: Vec<Bytes> = (0..messages)
        .map(|number| message(number, want_proof))
        .collect();
    let start = Instant::now();
    for batch in frames.chunks(usize::try_from(in_flight).unwrap_or(64)) {
        for frame in batch {
            bench.request(frame.clone());
        }
        bench.drain();
    }
    let time = start.elapsed();
    assert_eq!(bench.answered, messages);
    let rate = |time: Duration| messages as f64 / time.as_secs_f64();
    println!(
        "{messages} messages of {PAYLOAD} bytes, {in_flight} in flight, to {RECIPIENTS} recipients: {:.0}/s; \
         the core alone {:.0}/s, the memory engine {:.0}/s",
        rate(time),
        rate(time - bench.storage),
        rate(bench.storage),
    );
}
