//! Bad input to a server over a real socket: each row gets the status or reset of protocol.md, and
//! other streams and connections go on. The rows that a user of `qpq` can cause are in `cli.rs`.

#[path = "support/account.rs"]
mod account;
#[path = "support/raw.rs"]
mod raw;

use std::net::SocketAddr;

use bytes::Bytes;
use qpq_protocol::io::{Alpn, ConnectError};
use qpq_protocol::limits::Limits;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::{AppCode, Status};
use qpq_server_example::scratch::Scratch;
use qpq_server_example::serve::{Options, Running};

use account::{DOMAIN, User, call, framed, health, respond};
use raw::{Answer, Peer};

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
            new_certificate: false,
            accept_clock: false,
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

fn reset(code: AppCode) -> Answer {
    Answer::Reset(code.code())
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
