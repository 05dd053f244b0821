//! Raw bytes of a peer's stream, fed to a core that was never used: what it answers, resets, closes and tells.
//!
//! Every stream meets a new core on an empty memory engine, in virtual time, over one connection. So what comes of it
//! depends on nothing but its bytes, the core and the seed. To the server the peer is a stranger with a request; to the
//! client it is the server, once as the answer to the client's first request and once as a push stream.

mod files;
mod host;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use qpq_protocol::client::{self, Client, StorageKey};
use qpq_protocol::frame::{Decoded, Decoder, Header, RequestHeader, ResponseHeader};
use qpq_protocol::ids::{Dir, StreamId};
use qpq_protocol::rng::Seed;
use qpq_protocol::server::{self, Server};
use qpq_protocol::status::Status;
use qpq_protocol::time::UnixTime;
use qpq_protocol::wire;
use sha2::{Digest as _, Sha256};

use host::{Host, START};

pub use files::{FilesError, LONGEST, Streams};

/// The date at the start of virtual time: 2026-01-01.
const BEGIN: UnixTime = UnixTime::from_millis(1_767_225_600_000);

/// The stream that the peer opens.
const FIRST: u64 = 0;

/// Which core takes the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The server: as a request.
    Server,
    /// The client: as an answer and as pushes.
    Client,
}

/// What the bytes are to the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A stream with a request.
    Request,
    /// What comes back on the stream of a request of its own.
    Answer,
    /// A stream that the server opened.
    Push,
}

/// What a core did with the bytes of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Did {
    /// What they were to it.
    pub role: Role,
    /// How many of them it took.
    pub taken: usize,
    /// The frames that it sent, the request that a client was answered among them.
    pub sent: Vec<Frame>,
    /// The application error code that it reset the stream with.
    pub reset: Option<u64>,
    /// The application error code that it closed the connection with.
    pub closed: Option<u64>,
    /// What it told its embedder from then on, in the words of the library.
    pub events: Vec<String>,
}

/// A frame that a core sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// A client asks.
    Request {
        /// Which method.
        method_id: u16,
        /// The number that an answer has to repeat.
        request_id: u32,
    },
    /// A server answers.
    Response {
        /// How.
        status: Status,
        /// The number of the request.
        request_id: u32,
        /// Length of the payload in bytes.
        payload: usize,
        /// What it says to people, unless the status is [`Status::Ok`].
        detail: Option<String>,
    },
}

/// A core panicked: that is a bug, whatever the bytes are.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the core panicked: {0}")]
pub struct Panicked(pub String);

/// Feeds a core with the bytes of one stream.
///
/// # Errors
///
/// [`Panicked`] if the core did.
pub fn feed(side: Side, bytes: &Bytes, seed: u64) -> Result<Vec<Did>, Panicked> {
    caught(|| match side {
        Side::Server => vec![to_server(bytes, seed)],
        Side::Client => vec![
            to_client(Role::Answer, bytes, seed),
            to_client(Role::Push, bytes, seed),
        ],
    })
}

fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        let what = what.or(panic.downcast_ref::<&str>().copied());
        Panicked(what.unwrap_or("without a word").to_owned())
    })
}

fn to_server(bytes: &Bytes, seed: u64) -> Did {
    let core = Server::new(server::ServerConfig::default(), seed_of(seed), START, BEGIN);
    let mut host = Host::new(core);
    host.connect(None);
    let stream = StreamId::Peer(Dir::Bi, FIRST);
    host.forget_events();
    let taken = host.feed(stream, bytes);
    host.run(|host| host.has_ended(stream));
    did(Role::Request, stream, taken, host, responses)
}

fn to_client(role: Role, bytes: &Bytes, seed: u64) -> Did {
    let core = Client::new(
        client::ClientConfig::default(),
        StorageKey::new(seed_of(seed)),
        Seed::new(seed_of(seed)),
        START,
        BEGIN,
    );
    let mut host = Host::new(core);
    // Whatever it is that a client first asks a server, it is asked for this.
    host.act(|client, now| {
        client.begin(now, client::intent::ServerInfo);
    });
    host.run(|host| host.requests().next().is_some());
    let asked = host.requests().next();
    let stream = match role {
        Role::Answer => asked,
        Role::Request | Role::Push => Some(StreamId::Peer(Dir::Uni, FIRST)),
    };
    // Without a connection nothing can be fed: then it has taken nothing, and says why in its events.
    let Some(stream) = stream.filter(|_| asked.is_some()) else {
        return did(role, StreamId::Peer(Dir::Uni, FIRST), 0, host, requests);
    };
    host.forget_events();
    let taken = host.feed(stream, bytes);
    if role == Role::Answer {
        // Once it asks for something else the answer was taken.
        host.run(|host| host.is_over(stream) || host.requests().count() > 1);
    }
    did(role, stream, taken, host, requests)
}

fn did<C: host::Fed>(
    role: Role,
    stream: StreamId,
    taken: usize,
    host: Host<C>,
    frames: fn(Bytes) -> Vec<Frame>,
) -> Did {
    Did {
        role,
        taken,
        reset: host.reset_of(stream),
        closed: host.closed,
        events: host
            .events
            .iter()
            .map(|event| format!("{event:?}"))
            .collect(),
        sent: host
            .sent
            .into_values()
            .flat_map(|sent| frames(sent.into()))
            .collect(),
    }
}

/// The requests on a stream of the client.
fn requests(stream: Bytes) -> Vec<Frame> {
    let frame = |(header, _): (RequestHeader, Bytes)| Frame::Request {
        method_id: header.method_id,
        request_id: header.request_id,
    };
    frames(stream).into_iter().map(frame).collect()
}

/// The responses on a stream of the server.
fn responses(stream: Bytes) -> Vec<Frame> {
    let frame = |(header, payload): (ResponseHeader, Bytes)| Frame::Response {
        status: header.status,
        request_id: header.request_id,
        payload: payload.len(),
        detail: (header.status != Status::Ok).then(|| wire::decode_error(payload).message),
    };
    frames(stream).into_iter().map(frame).collect()
}

/// The whole frames of a stream. What is behind them is not shown: cores send no such thing.
fn frames<H: Header>(mut stream: Bytes) -> Vec<(H, Bytes)> {
    let mut decoder = Decoder::<H>::new();
    let (mut found, mut header) = (Vec::new(), None);
    while let Ok(Some(decoded)) = decoder.decode(&mut stream) {
        match (decoded, header) {
            (Decoded::Header(next), _) => header = Some(next),
            (Decoded::Payload(payload), Some(header)) => found.push((header, payload)),
            (Decoded::Payload(_) | Decoded::Skipped, _) => {}
        }
    }
    found
}

fn seed_of(seed: u64) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"qpq-lab feed");
    hash.chain_update(seed.to_be_bytes()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_and_ends_nothing_else() {
        let [one, two, three] = [
            caught(|| 7),
            caught(|| panic!("no {}", 8)),
            caught(|| panic!("no 9")),
        ];
        assert_eq!(one, Ok(7));
        assert_eq!(two, Err(Panicked("no 8".to_owned())));
        assert_eq!(three, Err(Panicked("no 9".to_owned())));
    }
}
