//! The server core under hostile peers.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use qpq_protocol::frame::{Header as _, RequestHeader, encode_request};
use qpq_protocol::ids::{Dir, OwnStream, StreamId};
use qpq_protocol::io::{Core as _, MAX_SLEEP, StreamInput, Topic, Wake};
use qpq_protocol::method::{Method, Rpc, rpc};
use qpq_protocol::proto;
use qpq_protocol::server::Config;
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::storage::{Failure, Reply};

use crate::choices::Choices;
use crate::requests::{commit, create_group, in_channel, message, message_id};
use crate::server_embedder::{Act, Embedder, nothing_is_stranded, tight};
use crate::support::World;
use crate::support::account::User;

/// Peers, strangers and users, who send requests, parts of them, floods and nonsense, and an embedder
/// who answers wrong, late and in any order. Input: acts, each a byte for its kind and its choices.
///
/// Nothing panics, no ticket is used twice, no deadline is beyond the longest sleep, the core never
/// holds more than its limits add up to, and nothing waits for a deadline that does nothing.
pub fn server_peers(input: &[u8]) {
    under(tight(), input);
}

/// The same under other limits.
pub fn under(config: Config, input: &[u8]) {
    let most = config.limits.footprint();
    let mut choices = Choices::new(input);
    let mut embedder = Embedder::on(config, TOWN.store.clone());
    for _ in 0..MOST_ACTS {
        if choices.is_empty() {
            break;
        }
        match choices.byte() % 32 {
            SETTLE => settle(&mut embedder),
            kind => embedder.act(act(kind, &mut choices)),
        }
        // The trace is for those who compare two runs.
        embedder.trace.clear();
        let timeout = embedder.server.poll_timeout();
        assert!(timeout.is_none_or(|(at, _)| at <= embedder.now + MAX_SLEEP));
    }
    embedder.drain();
    assert!(embedder.server.footprint() <= most);
    embedder.trace.clear();
    nothing_is_stranded(&mut embedder);
}

const MOST_ACTS: usize = 400;

/// Bytes that an input may need: what the limits add up to, and what the embedder holds itself.
#[must_use]
pub fn budget() -> usize {
    LazyLock::force(&TOWN);
    tight().limits.footprint() + 128 * 1024
}

/// Limits under which requests of any length are taken: what [`flood`] makes use of.
#[must_use]
pub fn loose() -> Config {
    let mut config = tight();
    let limits = &mut config.limits;
    let most = 64 * 1024 * 1024;
    limits.anonymous_payload = most;
    limits.connection_buffer = most;
    limits.total_buffer = most;
    config
}

/// An input: on three connections four requests each that begin with 60 KiB and never end.
#[must_use]
pub fn flood() -> Vec<u8> {
    let mut input = vec![SETTLE];
    for conn in 0..3 {
        input.extend([CONNECT, conn]);
        for stream in 0..4 {
            input.extend([FLOOD, conn, stream, 0, 0xf0, 0]);
        }
    }
    input
}

/// Carries out all that the core wants, and lets it answer at its own pace.
fn settle(embedder: &mut Embedder) {
    embedder.drain();
    loop {
        let soon = embedder.now + Duration::from_millis(10);
        if !embedder.stored.is_empty() {
            embedder.store();
        } else if let Some((at, _)) = embedder.server.poll_timeout()
            && at <= soon
        {
            embedder.now = embedder.now.max(at);
            embedder.act(Act::Timeout);
        } else {
            break;
        }
        embedder.drain();
    }
}

const CONNECT: u8 = 0;
const STORED: u8 = 3;
const DRAIN: u8 = 6;
const SETTLE: u8 = 8;
const FLOOD: u8 = 12;
const RESUME: u8 = 23;
const TEMPLATE: u8 = 24;

fn act(kind: u8, choices: &mut Choices<'_>) -> Act {
    match kind {
        CONNECT | 1 => Act::Connect(choices.byte() % 4),
        2 => Act::Disconnect(choices.byte() % 4),
        STORED..DRAIN => Act::Stored,
        DRAIN | 7 => Act::Drain,
        9 => Act::Timeout,
        10 => Act::Sleep(choices.u32()),
        11 => Act::Back(choices.u32()),
        FLOOD => {
            let (conn, stream) = (choices.byte() % 4, choices.byte() % 6);
            let method = any_method(choices);
            let length = usize::from(choices.u16());
            let mut request = frame(method, length, &[]);
            request.resize(RequestHeader::LEN + length.saturating_sub(1), 0);
            Act::Data(conn, stream, request.into())
        }
        13 => Act::Clock(choices.u64()),
        14 => Act::Reply(choices.byte().into(), reply(choices)),
        15 => Act::Wake(wake(choices)),
        16 => Act::ConnectFailed(choices.byte().into()),
        17 => Act::Computed(choices.byte().into()),
        18 => Act::Stream(choices.byte() % 4, stream(choices), stream_input(choices)),
        19 => Act::Fin(choices.byte() % 4, choices.byte() % 6),
        20 if choices.once_in(16) => Act::Shutdown,
        20..23 => Act::Data(choices.byte() % 4, choices.byte() % 6, bytes(choices)),
        RESUME => {
            let (conn, stream) = (choices.byte() % 4, choices.byte() % 6);
            let user = choices.below(TOWN.resume.len());
            Act::Request(conn, stream, TOWN.resume[user].clone())
        }
        TEMPLATE..31 => {
            let (conn, stream) = (choices.byte() % 4, choices.byte() % 6);
            let (method, payload) = &TOWN.requests[choices.below(TOWN.requests.len())];
            let payload = choices.edited(payload);
            let request = frame(*method, payload.len(), &payload);
            Act::Request(conn, stream, request.into())
        }
        _ => {
            let (conn, stream) = (choices.byte() % 4, choices.byte() % 6);
            let (method, payload) = (any_method(choices), choices.bytes());
            let request = frame(method, payload.len(), payload);
            Act::Request(conn, stream, request.into())
        }
    }
}

/// A server with users, so that not all is refused for want of a session.
struct Town {
    store: Memory,
    /// Requests that resume a session of each user.
    resume: Vec<Bytes>,
    /// Good requests of the first user: method and payload.
    requests: Vec<(u16, Vec<u8>)>,
}

static TOWN: LazyLock<Town> = LazyLock::new(|| {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (bob, _) = world.user("bob");
    let channel = create_group(&mut world, conn, 1, &[&bob]);
    let resume = [&alice, &bob].map(|user| {
        let session = user.log_in(&mut world, conn).expect("a session");
        let auth = proto::Auth {
            access_token: session.token,
            device_id: Bytes::new(),
        };
        let request = proto::ResumeSessionRequest {
            auth: Some(auth),
            ..proto::ResumeSessionRequest::default()
        };
        encode_request(Method::ResumeSession.id(), 1, &request).expect("a frame")
    });
    for number in 0..3 {
        let sent = message(&alice, 100 + number, b"for alice");
        world.call::<rpc::Enqueue>(conn, &sent).expect("sent");
    }
    Town {
        store: world.memory,
        resume: resume.to_vec(),
        requests: requests(&alice, &bob, &channel),
    }
});

fn requests(alice: &User, bob: &User, channel: &Bytes) -> Vec<(u16, Vec<u8>)> {
    fn of<M: Rpc>(request: &M::Request) -> (u16, Vec<u8>) {
        (M::METHOD.id(), request.encode_to_vec())
    }
    let fetch = proto::FetchRequest {
        recipient_key: alice.key(),
        ..Default::default()
    };
    let in_group = proto::FetchRequest {
        channel_id: channel.clone(),
        ..fetch.clone()
    };
    vec![
        of::<rpc::Enqueue>(&message(bob, 1, b"hello")),
        of::<rpc::Enqueue>(&in_channel(channel, 0, message(bob, 2, b"hello"))),
        of::<rpc::BatchEnqueue>(&proto::BatchEnqueueRequest {
            recipient_keys: vec![alice.key(), bob.key()],
            payload: Bytes::from_static(b"hello"),
            message_id: message_id(3),
            want_proof: true,
            ..Default::default()
        }),
        of::<rpc::Fetch>(&fetch),
        of::<rpc::Fetch>(&in_group),
        of::<rpc::FetchWait>(&proto::FetchWaitRequest {
            recipient_key: alice.key(),
            timeout_ms: 5000,
            ..Default::default()
        }),
        of::<rpc::Ack>(&proto::AckRequest {
            recipient_key: alice.key(),
            seq_up_to: 2,
            ..Default::default()
        }),
        of::<rpc::ListQueues>(&proto::ListQueuesRequest::default()),
        of::<rpc::SubmitCommit>(&commit(channel, 0, b"commit")),
        of::<rpc::CreateChannel>(&proto::CreateChannelRequest {
            peer_key: bob.key(),
            ..Default::default()
        }),
        of::<rpc::FetchKeyPackages>(&proto::FetchKeyPackagesRequest {
            identity_key: bob.key(),
        }),
        of::<rpc::CountKeyPackages>(&proto::CountKeyPackagesRequest {
            identity_key: alice.key(),
            device_id: Bytes::new(),
        }),
        of::<rpc::ListGroupMembers>(&proto::ListGroupMembersRequest {
            channel_id: channel.clone(),
        }),
        of::<rpc::GetGroupInfo>(&proto::GetGroupInfoRequest {
            channel_id: channel.clone(),
        }),
        of::<rpc::ResolveUser>(&proto::ResolveUserRequest {
            username: "bob".to_owned(),
        }),
        of::<rpc::ListDevices>(&proto::ListDevicesRequest {
            identity_key: bob.key(),
        }),
    ]
}

/// A method of the table, as a rule.
fn any_method(choices: &mut Choices<'_>) -> u16 {
    let which = usize::from(choices.byte());
    let known = Method::ALL.get(which).map(|method| method.id());
    known.unwrap_or_else(|| choices.u16())
}

fn frame(method_id: u16, length: usize, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    RequestHeader {
        method_id,
        request_id: 1,
        payload_len: u32::try_from(length).unwrap_or(u32::MAX),
    }
    .write(&mut frame);
    frame.extend_from_slice(payload);
    frame
}

fn bytes(choices: &mut Choices<'_>) -> Bytes {
    Bytes::copy_from_slice(choices.bytes())
}

fn stream(choices: &mut Choices<'_>) -> StreamId {
    let number = choices.byte().into();
    match choices.byte() % 4 {
        0 => StreamId::Peer(Dir::Uni, number),
        1 => StreamId::Own(OwnStream(number)),
        2 => StreamId::Peer(Dir::Bi, choices.u64()),
        _ => StreamId::Peer(Dir::Bi, number % 6),
    }
}

/// What may happen on a stream; a client's target uses it too.
pub(super) fn stream_input(choices: &mut Choices<'_>) -> StreamInput {
    match choices.byte() % 5 {
        0 => StreamInput::Data(bytes(choices)),
        1 => StreamInput::Fin,
        2 => StreamInput::Reset(choices.u64()),
        3 => StreamInput::Stopped(choices.u64()),
        _ => StreamInput::Sent(usize::try_from(choices.u32()).unwrap_or(usize::MAX)),
    }
}

/// A reply that may fit no command; a client's target uses it too.
pub(super) fn reply(choices: &mut Choices<'_>) -> Reply {
    let few = choices.byte() % 4;
    match choices.byte() % 7 {
        0 => Reply::Committed,
        1 => Reply::Conflict,
        2 => Reply::Failed(Failure::Full),
        3 => Reply::Failed(Failure::Unavailable),
        4 => Reply::Failed(Failure::Unknown),
        5 => {
            let value = |_| choices.flag().then(|| bytes(choices));
            Reply::Values((0..few).map(value).collect())
        }
        _ => {
            let rows = (0..few).map(|_| (bytes(choices), bytes(choices))).collect();
            let more = choices.flag();
            Reply::Rows { rows, more }
        }
    }
}

fn wake(choices: &mut Choices<'_>) -> Wake {
    let topic = match choices.byte() % 3 {
        0 => Topic::Queue(bytes(choices)),
        1 => Topic::Session(bytes(choices)),
        _ => Topic::Live(choices.array()),
    };
    let body = bytes(choices);
    Wake { topic, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::roomy;

    /// What the changes start from is served, so that they reach further than a refusal.
    #[test]
    fn the_requests_are_good() {
        for (method, payload) in &TOWN.requests {
            let mut embedder = Embedder::on(roomy(), TOWN.store.clone());
            settle(&mut embedder);
            embedder.act(Act::Connect(0));
            embedder.act(Act::Request(0, 0, TOWN.resume[0].clone()));
            settle(&mut embedder);
            embedder.trace.clear();
            let request = frame(*method, payload.len(), payload);
            embedder.act(Act::Request(0, 1, request.into()));
            settle(&mut embedder);
            embedder.act(Act::Sleep(6_000_000));
            embedder.act(Act::Timeout);
            settle(&mut embedder);
            let answer = embedder.trace.iter().find(|output| output.contains("Send"));
            let ok = answer.is_some_and(|answer| answer.contains(r#"data: b"\0\0\0\0\x01"#));
            assert!(ok, "{method}: {:?}", embedder.trace);
        }
    }
}
