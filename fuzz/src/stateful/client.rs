//! The client core under a hostile server.

use std::sync::LazyLock;

use bytes::Bytes;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use qpq_protocol::client::{Intent, intent};
use qpq_protocol::frame::encode_push;
use qpq_protocol::ids::{ChannelId, Dir, OwnStream, StreamId};
use qpq_protocol::io::{Core as _, MAX_SLEEP};
use qpq_protocol::proto;
use qpq_protocol::storage::{Command, Commit, Engine as _};

use super::MOST_ACTS;
use super::peers::{reply, stream_input};
use crate::choices::Choices;
use crate::client_embedder::{Act, Embedder, SWOLLEN, Start};
use crate::net::password;
use crate::story::STORY;

/// A client, new, opening or at work, whose server answers right, wrong, altered, twice and never,
/// pushes genuine and altered envelopes and floods, whose disk fails, and whose user wants things.
/// What lies on its disk may be another's, under its own seal. Input: a byte for how far the client is,
/// then acts, each a byte for its kind and its choices.
///
/// Nothing panics, nothing is seen before it is durable, each intent ends once and all end with a
/// shutdown, no deadline is beyond the longest sleep, and what is held is bounded.
pub fn hostile_server(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut embedder = Embedder::new(match choices.byte() % 4 {
        0 => Start::Blank,
        1 => Start::Opening,
        _ => Start::Ready,
    });
    for _ in 0..MOST_ACTS {
        if choices.is_empty() {
            break;
        }
        match choices.byte() % 64 {
            SPOIL => spoil(&mut embedder, &mut choices),
            kind => step(&mut embedder, act(kind, &mut choices)),
        }
        let timeout = embedder.core.poll_timeout();
        assert!(timeout.is_none_or(|(at, _)| at <= embedder.now + MAX_SLEEP));
        assert!(embedder.core.footprint() <= FOOTPRINT);
    }
    step(&mut embedder, Act::Shutdown);
    for _ in 0..200 {
        if embedder.core.is_shut_down() {
            break;
        }
        step(&mut embedder, Act::Stored(None));
        step(&mut embedder, Act::Timeout);
    }
    assert!(embedder.core.is_shut_down());
    assert_eq!(embedder.asked, embedder.ended.len() as u64);
}

/// What an execution begins with, where that is most.
pub fn begin() {
    drop(Embedder::new(Start::Ready));
}

fn step(embedder: &mut Embedder, act: Act) {
    embedder.act(act);
    // They are for those who compare two runs.
    embedder.outputs.clear();
}

/// What a client holds of its peer's bytes and of its own output, from `client/link/streams.rs`: credit ends
/// at 8 MiB (`MAX_FOOTPRINT`), but the first response is read to its end, a frame of 4 MiB. Its own
/// output is small here.
const FOOTPRINT: usize = 13 * 1024 * 1024;

/// A buffer of a frame grows to twice its length: while it is copied, the half that it had is there as well.
const GROWING: usize = 2 * 1024 * 1024;

/// Bytes that an input may need: what a client holds, and its state and disk, small as its story is.
#[must_use]
pub fn budget() -> usize {
    LazyLock::force(&STORY);
    LazyLock::force(&SWOLLEN);
    FOOTPRINT + GROWING + 2 * 1024 * 1024
}

/// An input: frames of 4 MiB that do not end, on all push streams and as answers.
#[must_use]
pub fn flood() -> Vec<u8> {
    let ready = 2;
    let round = (0..16).flat_map(|stream| [53, stream]);
    [ready]
        .into_iter()
        .chain(round.cycle().take(2 * 16 * 12))
        .collect()
}

/// An input: answers of 4 MiB that are full of empty items, to all that is asked.
#[must_use]
pub fn swollen() -> Vec<u8> {
    let ready = 2;
    let answers = (0..16).flat_map(|number| [SWELL, number, number]);
    [ready].into_iter().chain(answers).collect()
}

const SPOIL: u8 = 1;
const SWELL: u8 = 2;

/// What the client's rows are sealed under.
const STORAGE_KEY: [u8; 32] = [7; 32];

/// Somebody who has the key has written another value into a row: a nonce, then the value sealed, with the
/// row's key as associated data (`tests/vectors/sessions`).
fn spoil(embedder: &mut Embedder, choices: &mut Choices<'_>) {
    let rows = embedder.disk.len();
    if rows == 0 {
        return;
    }
    let row = embedder.disk.rows().nth(usize::from(choices.u16()) % rows);
    let (key, sealed) = row.expect("a row");
    let cipher = XChaCha20Poly1305::new(&STORAGE_KEY.into());
    let (nonce, ciphertext) = sealed.split_first_chunk::<24>().expect("a sealed value");
    let nonce = XNonce::from(*nonce);
    let seal = |msg| Payload { msg, aad: key };
    let value = cipher.decrypt(&nonce, seal(ciphertext));
    let changed = choices.edited(&value.expect("the client's own"));
    let sealed = cipher.encrypt(&nonce, seal(&changed));
    let sealed = [&nonce[..], &sealed.expect("a short value")].concat();
    let commit = Commit {
        puts: vec![(key.clone(), sealed.into())],
        ..Commit::default()
    };
    embedder.disk.run(vec![Command::Commit(commit)]);
}

fn act(kind: u8, choices: &mut Choices<'_>) -> Act {
    match kind {
        0 | SPOIL => Act::Connected,
        SWELL => Act::Swollen(choices.byte(), choices.byte()),
        3..16 => Act::Answer(choices.byte(), choices.byte() % 3, choices.u64()),
        16..22 => Act::Altered(choices.byte(), choices.u64(), choices.u16(), choices.byte()),
        22..27 => Act::Envelope(choices.byte() % 40, choices.byte() % 3),
        27..33 => Act::PushBytes(choices.byte() % 4, altered_push(choices)),
        33..44 => Act::Stored(None),
        44 => Act::Stored(Some(choices.byte())),
        45..50 => Act::Say(say(choices)),
        50 => Act::Computed,
        51 => Act::Timeout,
        52 => Act::Sleep(choices.u32()),
        53 => Act::Flood(choices.byte() % 16),
        54 => Act::Disconnected,
        55 => match choices.byte() % 4 {
            0 => Act::Stranger(choices.byte()),
            1 => Act::ConnectFailed(choices.byte()),
            2 => Act::Fin(choices.byte()),
            _ => Act::Reset(choices.byte()),
        },
        56 => Act::Garbage(choices.byte(), bytes(choices)),
        57 => Act::Membership(choices.flag(), i32::from(choices.byte() % 6)),
        58 => Act::PushBytes(choices.byte() % 4, bytes(choices)),
        59 => Act::PushEnd(choices.byte() % 4),
        60 => Act::Stream(stream(choices), stream_input(choices)),
        61 => Act::Reply(choices.u64(), reply(choices)),
        62 => match choices.byte() % 4 {
            0 => Act::Clock(choices.u64()),
            1 => Act::Back(choices.u32()),
            2 => Act::Wake,
            _ => Act::Shutdown,
        },
        _ => Act::Drain,
    }
}

fn bytes(choices: &mut Choices<'_>) -> Bytes {
    Bytes::copy_from_slice(choices.bytes())
}

/// A genuine envelope whose data was changed, at a place of the server's choice.
fn altered_push(choices: &mut Choices<'_>) -> Bytes {
    let all = &STORY.envelopes;
    let (channel_id, mut envelope) = all[choices.below(all.len())].clone();
    envelope.data = choices.edited(&envelope.data).into();
    if choices.flag() {
        envelope.seq = choices.u16().into();
        envelope.slot = choices.flag().then(|| choices.byte().into());
    }
    let news = proto::NewMessagePush {
        channel_id,
        seq: envelope.seq,
        envelope: Some(envelope),
    };
    let event: proto::PushEvent = news.into();
    encode_push(1000, &event).expect("a frame")
}

fn stream(choices: &mut Choices<'_>) -> StreamId {
    let number = u64::from(choices.byte());
    match choices.byte() % 3 {
        0 => StreamId::Peer(Dir::Uni, number % 4),
        1 => StreamId::Peer(Dir::Bi, number % 4),
        _ => StreamId::Own(OwnStream(number % 40)),
    }
}

fn say(choices: &mut Choices<'_>) -> Intent {
    let id = match choices.byte() % 3 {
        0 => STORY.dm,
        1 => STORY.group,
        _ => ChannelId([9; 16]),
    };
    match choices.byte() % 12 {
        0 => intent::Register::new("zoe", password("secret")).into(),
        1 => intent::Dm("dave".into()).into(),
        2 => intent::CreateGroup::new("friends", &["bob", "dave"]).into(),
        3 => intent::Invite::new(id, "carol").into(),
        4 => intent::Leave(id).into(),
        5 => intent::History {
            conversation: id,
            before: None,
            limit: 100,
        }
        .into(),
        6 => intent::MarkRead {
            conversation: id,
            up_to: choices.byte().into(),
        }
        .into(),
        7 => intent::Conversations.into(),
        8 => intent::ServerInfo.into(),
        9 if choices.once_in(4) => intent::Logout.into(),
        _ => intent::Send::new(id, String::from_utf8_lossy(choices.bytes()).into_owned()).into(),
    }
}
