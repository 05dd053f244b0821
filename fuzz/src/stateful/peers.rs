//! The server core under hostile peers.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::frame::{Header as _, RequestHeader};
use qpq_protocol::ids::{Dir, OwnStream, StreamId};
use qpq_protocol::io::{Core as _, MAX_SLEEP, StreamInput, Topic, Wake};
use qpq_protocol::method::Method;
use qpq_protocol::server::ServerConfig;
use qpq_protocol::storage::{Failure, Reply};

use super::MOST_ACTS;
use super::town::TOWN;
use crate::choices::Choices;
use crate::server_embedder::{Act, Embedder, nothing_is_stranded, tight};

/// Peers, strangers and users, who send requests, parts of them, floods and nonsense, and an embedder
/// who answers wrong, late and in any order. Input: acts, each a byte for its kind and its choices.
///
/// Nothing panics, no ticket is used twice, no deadline is beyond the longest sleep, the core never
/// holds more than its limits add up to, and nothing waits for a deadline that does nothing.
pub fn server_peers(input: &[u8]) {
    under(tight(), input);
}

/// The same under other limits.
pub fn under(config: ServerConfig, input: &[u8]) {
    let most = config.limits.footprint();
    let mut choices = Choices::new(input);
    let mut embedder = world(config);
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
        embedder.answers.clear();
        let timeout = embedder.server.poll_timeout();
        assert!(timeout.is_none_or(|(at, _)| at <= embedder.now + MAX_SLEEP));
    }
    embedder.drain();
    assert!(embedder.server.footprint() <= most);
    embedder.trace.clear();
    nothing_is_stranded(&mut embedder);
}

fn world(config: ServerConfig) -> Embedder {
    Embedder::on(config, TOWN.store.clone())
}

/// What an execution begins with.
pub fn begin() {
    drop(world(tight()));
}

/// Bytes that an input may need: what the limits add up to, and what the embedder holds itself.
#[must_use]
pub fn budget() -> usize {
    LazyLock::force(&TOWN);
    tight().limits.footprint() + 128 * 1024
}

/// Limits under which requests of any length are taken: what [`flood`] makes use of.
#[must_use]
pub fn loose() -> ServerConfig {
    let mut config = tight();
    let limits = &mut config.limits;
    let most = 64 * 1024 * 1024;
    limits.anonymous_payload = most;
    limits.connection_buffer = most;
    limits.anonymous_buffer = most;
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
            let genuine = &TOWN.requests[choices.below(TOWN.requests.len())];
            let payload = choices.edited(&genuine.payload);
            let request = frame(genuine.method.id(), payload.len(), &payload);
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
    use std::collections::BTreeSet;

    use qpq_protocol::frame::ResponseHeader;
    use qpq_protocol::proto::ErrorDetail;
    use qpq_protocol::status::Status;
    use qpq_protocol::wire::decode_error;

    use super::super::town::Genuine;
    use super::*;
    use crate::support::roomy;

    /// The first answer to a request on a stream, by one who has resumed that user's session.
    fn answer(of: Option<usize>, requests: &[(Method, &[u8])]) -> (Status, ErrorDetail) {
        let mut embedder = Embedder::on(roomy(), TOWN.store.clone());
        settle(&mut embedder);
        embedder.act(Act::Connect(0));
        if let Some(user) = of {
            embedder.act(Act::Request(0, 0, TOWN.resume[user].clone()));
            settle(&mut embedder);
        }
        for (stream, (method, payload)) in (1..).zip(requests) {
            embedder.answers.clear();
            let request = frame(method.id(), payload.len(), payload);
            embedder.act(Act::Request(0, stream, request.into()));
            settle(&mut embedder);
            embedder.act(Act::Sleep(6_000_000));
            embedder.act(Act::Timeout);
            settle(&mut embedder);
        }
        let answer = embedder.answers.concat();
        let header = ResponseHeader::read(&answer).expect("an answer");
        let detail = decode_error(Bytes::copy_from_slice(&answer[ResponseHeader::LEN..]));
        (header.status, detail)
    }

    /// What the changes start from is served, so that they reach further than a refusal.
    #[test]
    fn the_requests_are_good() {
        let start = |genuine: &&Genuine| genuine.method == Method::OpaqueLoginStart;
        let start = TOWN.requests.iter().find(start).expect("a login");
        for genuine in &TOWN.requests {
            let mut requests = vec![(genuine.method, &genuine.payload[..])];
            if genuine.method == Method::OpaqueLoginFinish {
                requests.insert(0, (start.method, &start.payload));
            }
            let (status, detail) = answer(genuine.of, &requests);
            assert_eq!(status, Status::Ok, "{}: {detail:?}", genuine.method.name());
        }
    }

    /// A method that gets a handler gets a genuine request here too.
    #[test]
    fn there_is_a_genuine_request_of_every_method_that_is_answered() {
        let genuine: BTreeSet<_> = TOWN.requests.iter().map(|one| one.method).collect();
        let mut missing = Vec::new();
        for method in Method::ALL {
            let (_, detail) = answer(Some(0), &[(*method, b"")]);
            if !detail.message.contains("not in this version") && !genuine.contains(method) {
                missing.push(method.name());
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }
}
