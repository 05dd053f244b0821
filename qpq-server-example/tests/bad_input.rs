//! Bad input to a server over a real socket: each row gets the status or reset of protocol.md, and
//! other streams and connections go on. The rows that a user of `qpq` can cause are in `cli.rs`.

#[path = "support/raw.rs"]
mod raw;

use std::net::SocketAddr;

use bytes::Bytes;
use prost::Message;
use qpq_crypto::identity::IdentitySecret;
use qpq_crypto::opaque::{self, Suite};
use qpq_crypto::proof;
use qpq_protocol::frame::encode_request;
use qpq_protocol::io::{Alpn, ConnectError};
use qpq_protocol::limits::Limits;
use qpq_protocol::method::Rpc;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::{AppCode, Status};
use qpq_server_example::scratch::Scratch;
use qpq_server_example::serve::{Options, Running};
use qpq_server_example::time::unix_now;

use raw::{Answer, Peer};

const DOMAIN: &str = "bad.input";

struct World {
    server: Running,
    _dir: Scratch,
}

impl World {
    async fn start() -> Self {
        let dir = Scratch::try_new("bad-input").unwrap();
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: dir.path().to_owned(),
            domain: DOMAIN.to_owned(),
            admins: Vec::new(),
            limits: Limits::default(),
            max_pages: None,
        };
        let server = Running::start(&options).await.unwrap();
        Self { server, _dir: dir }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    async fn peer(&self) -> Peer {
        Peer::connect(self.address(), Alpn::Qpq).await.unwrap()
    }

    /// This connection and another are served as if nothing was.
    async fn goes_on(self, peer: Peer) {
        for peer in [peer, self.peer().await] {
            let health = call::<rpc::Health>(&peer, &proto::HealthRequest {}).await;
            assert_eq!(health.unwrap().status, "ok");
        }
        self.server.stop().await;
    }
}

/// Calls a method; the refusal's status.
async fn call<M: Rpc>(peer: &Peer, request: &M::Request) -> Result<M::Response, Status> {
    let request = encode_request(M::METHOD.id(), 7, request).unwrap();
    respond(peer.send(request, true).await).map(|payload| M::Response::decode(payload).unwrap())
}

/// Takes a response frame apart.
fn respond(answer: Answer) -> Result<Bytes, Status> {
    let Answer::Bytes(bytes) = answer else {
        panic!("{answer:?} instead of a response")
    };
    assert_eq!(bytes[1..5], 7_u32.to_be_bytes());
    let length = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
    assert_eq!(bytes.len(), 9 + usize::try_from(length).unwrap());
    match Status::from_wire(bytes[0]) {
        Status::Ok => Ok(Bytes::copy_from_slice(&bytes[9..])),
        status => {
            let detail = proto::ErrorDetail::decode(&bytes[9..]).unwrap();
            assert!(!detail.message.is_empty(), "{status:?} says nothing");
            Err(status)
        }
    }
}

fn health() -> Bytes {
    encode_request(802, 7, &proto::HealthRequest {}).unwrap()
}

/// A header and whatever is to follow it.
fn framed(method: u16, length: u32, payload: &[u8]) -> Vec<u8> {
    let header = [
        &method.to_be_bytes()[..],
        &7_u32.to_be_bytes(),
        &length.to_be_bytes(),
    ];
    [header.concat(), payload.to_vec()].concat()
}

fn reset(code: AppCode) -> Answer {
    Answer::Reset(code.code())
}

struct User {
    name: &'static str,
    secret: IdentitySecret,
}

impl User {
    fn new(name: &'static str, seed: u8) -> Self {
        let secret = IdentitySecret::from_seed([seed; 32]);
        Self { name, secret }
    }

    fn key(&self) -> Bytes {
        Bytes::copy_from_slice(self.secret.public().as_bytes())
    }

    /// Registers with an identity key, signed by its own secret.
    async fn register(&self, peer: &Peer, identity_key: Bytes) -> Result<(), Status> {
        let (state, request) = opaque::client::registration_start(&[1; 32], b"password").unwrap();
        let start = proto::OpaqueRegisterStartRequest {
            username: self.name.to_owned(),
            request: request.into(),
        };
        let answer = call::<rpc::OpaqueRegisterStart>(peer, &start).await?;
        let suite = Suite::DEFAULT;
        let done = state
            .finish(
                &[2; 32],
                suite,
                DOMAIN,
                self.name,
                b"password",
                &answer.response,
            )
            .unwrap();
        let time_ms = unix_now().as_millis();
        let signature =
            proof::register(&self.secret, DOMAIN, self.name, &done.upload, b"", time_ms);
        let finish = proto::OpaqueRegisterFinishRequest {
            username: self.name.to_owned(),
            upload: done.upload.into(),
            identity_key,
            signature: Bytes::copy_from_slice(&signature),
            time_ms,
            sealed_identity: Bytes::new(),
            ..proto::OpaqueRegisterFinishRequest::default()
        };
        call::<rpc::OpaqueRegisterFinish>(peer, &finish)
            .await
            .map(drop)
    }

    async fn log_in(&self, peer: &Peer) -> Result<(), Status> {
        let (state, request) = opaque::client::login_start(&[3; 32], b"password").unwrap();
        let start = proto::OpaqueLoginStartRequest {
            username: self.name.to_owned(),
            request: request.into(),
            ..proto::OpaqueLoginStartRequest::default()
        };
        let answer = call::<rpc::OpaqueLoginStart>(peer, &start).await?;
        let done = state
            .finish(
                &[4; 32],
                Suite::DEFAULT,
                DOMAIN,
                self.name,
                b"password",
                &answer.response,
            )
            .unwrap();
        let finish = proto::OpaqueLoginFinishRequest {
            username: self.name.to_owned(),
            finalization: done.finalization.into(),
            ..proto::OpaqueLoginFinishRequest::default()
        };
        call::<rpc::OpaqueLoginFinish>(peer, &finish)
            .await
            .map(drop)
    }
}

mod bad_input {
    use super::*;

    #[tokio::test]
    async fn a_wrong_alpn() {
        let world = World::start().await;
        let peer = world.peer().await;
        let refused = Peer::connect(world.address(), Alpn::Federation).await;
        assert_eq!(refused.err(), Some(ConnectError::WrongProtocol));
        world.goes_on(peer).await;
    }

    #[tokio::test]
    async fn garbage_on_a_stream() {
        let world = World::start().await;
        let peer = world.peer().await;
        let garbage = framed(200, 64, b"garbage");
        assert_eq!(peer.send(garbage, true).await, reset(AppCode::Frame));
        world.goes_on(peer).await;
    }

    #[tokio::test]
    async fn fin_inside_a_header_or_a_payload() {
        let world = World::start().await;
        let peer = world.peer().await;
        for length in [0, 1, 9] {
            let cut = health().slice(..length);
            assert_eq!(peer.send(cut, true).await, reset(AppCode::Frame));
        }
        let short = framed(802, 4, b"abc");
        assert_eq!(peer.send(short, true).await, reset(AppCode::Frame));
        world.goes_on(peer).await;
    }

    #[tokio::test]
    async fn two_requests_on_one_stream() {
        let world = World::start().await;
        let peer = world.peer().await;
        let two = [health(), health()].concat();
        assert_eq!(peer.send(two, true).await, reset(AppCode::Frame));
        world.goes_on(peer).await;
    }

    #[tokio::test]
    async fn a_length_over_4_mib() {
        let world = World::start().await;
        let peer = world.peer().await;
        for length in [4 * 1024 * 1024 + 1, u32::MAX] {
            // No FIN: the header alone is refused.
            let header = framed(200, length, b"");
            assert_eq!(peer.send(header, false).await, reset(AppCode::TooLarge));
        }
        world.goes_on(peer).await;
    }

    #[tokio::test]
    async fn an_unknown_method_and_a_body_that_is_not_protobuf() {
        let world = World::start().await;
        let peer = world.peer().await;
        let unknown = peer.send(framed(4242, 0, b""), true).await;
        assert_eq!(respond(unknown), Err(Status::UnknownMethod));
        let body = peer.send(framed(100, 4, &[0xff; 4]), true).await;
        assert_eq!(respond(body), Err(Status::BadRequest));
        world.goes_on(peer).await;
    }

    #[tokio::test]
    async fn a_request_without_a_session() {
        let world = World::start().await;
        let peer = world.peer().await;
        let fetch = proto::FetchRequest {
            recipient_key: User::new("alice", 1).key(),
            ..proto::FetchRequest::default()
        };
        let refused = call::<rpc::Fetch>(&peer, &fetch).await;
        assert_eq!(refused.err(), Some(Status::Unauthorized));
        world.goes_on(peer).await;
    }

    #[tokio::test]
    async fn wrong_field_lengths_and_somebody_elses_queue() {
        let world = World::start().await;
        let peer = world.peer().await;
        let (alice, bob) = (User::new("alice", 1), User::new("bob", 2));
        for user in [&bob, &alice] {
            user.register(&peer, user.key()).await.unwrap();
        }
        alice.log_in(&peer).await.unwrap();
        let fetch = |key: Bytes| proto::FetchRequest {
            recipient_key: key,
            ..proto::FetchRequest::default()
        };
        assert!(call::<rpc::Fetch>(&peer, &fetch(alice.key())).await.is_ok());
        for length in [0, 31] {
            let short = fetch(alice.key().slice(..length));
            let refused = call::<rpc::Fetch>(&peer, &short).await;
            assert_eq!(refused.err(), Some(Status::BadRequest), "{length}");
        }
        let refused = call::<rpc::Fetch>(&peer, &fetch(bob.key())).await;
        assert_eq!(refused.err(), Some(Status::Forbidden));
        world.goes_on(peer).await;
    }

    #[tokio::test]
    async fn somebody_elses_identity_key_at_registration() {
        let world = World::start().await;
        let peer = world.peer().await;
        let (alice, mallory) = (User::new("alice", 1), User::new("mallory", 3));
        alice.register(&peer, alice.key()).await.unwrap();
        // Her key, but not her signature.
        let refused = mallory.register(&peer, alice.key()).await;
        assert_eq!(refused, Err(Status::Forbidden));
        // Her key and signature under another name.
        let second = User::new("alice2", 1);
        let refused = second.register(&peer, second.key()).await;
        assert_eq!(refused, Err(Status::Conflict));
        world.goes_on(peer).await;
    }
}
