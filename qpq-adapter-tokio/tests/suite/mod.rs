//! What a pair of nodes does over real UDP on loopback, for any two adapters.

#[macro_use]
pub mod asks;
#[path = "../../../qpq-protocol/tests/quic/echo.rs"]
pub mod echo;

use std::net::SocketAddr;
use std::time::Duration;

use qpq_protocol::io::Alpn;
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::storage::{Command, Commit, Engine, Reply};

/// Answers everything, and panics at a scan.
pub struct NoStore;

impl Engine for NoStore {
    fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
        let reply = |command: &Command| match command {
            Command::Get(keys) => Reply::Values(keys.iter().cloned().map(Some).collect()),
            Command::Scan(_) => panic!("a broken engine"),
            Command::Commit(_) => Reply::Committed,
        };
        batch.iter().map(reply).collect()
    }
}

pub fn get(key: u64) -> Command {
    Command::Get(vec![key.to_be_bytes().to_vec().into()])
}

pub fn commit() -> Command {
    Command::Commit(Commit::default())
}

pub struct Identity {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl Identity {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("rcgen");
        Self {
            certificate: made.cert.der().to_vec(),
            key: made.signing_key.serialize_der(),
        }
    }

    pub fn config(&self, alpns: &[Alpn]) -> QuicConfig {
        QuicConfig::server(self.certificate.clone(), self.key.clone(), alpns)
            .expect("the key parses")
    }
}

pub fn server_config() -> QuicConfig {
    Identity::new().config(&[Alpn::Qpq])
}

pub fn pin(sha256: Option<[u8; 32]>) -> QuicConfig {
    QuicConfig::client(Trust::PinOnFirstUse { sha256 })
}

/// Gives up sooner than a user would like.
pub fn hasty(mut config: QuicConfig) -> QuicConfig {
    config.limits.handshake = Duration::from_millis(500);
    config
}

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// All tests, with the server of one adapter and the client of another.
macro_rules! suite {
    ($server:ident, $client:ident) => {
        use std::collections::BTreeMap;
        use std::net::{SocketAddr, UdpSocket};

        use bytes::Bytes;
        use qpq_protocol::ids::{ConnId, Dir, StreamId};
        use qpq_protocol::io::{Alpn, ConnectError, PeerInfo};
        use qpq_protocol::quic::{QuicConfig, Trust};
        use qpq_protocol::storage::{Command, Direction, Failure, Reply, Scan};

        use crate::suite::echo::{Echo, Event};
        use crate::suite::{Identity, NoStore, commit, get, hasty, loopback, pin, server_config};

        type Server = $server::Server<Echo>;
        type Client = $client::Client<Echo>;

        /// A node and all that it tells.
        struct Heard<N> {
            node: N,
            events: tokio::sync::Mutex<$client::Events<Echo>>,
        }

        impl<N> std::ops::Deref for Heard<N> {
            type Target = N;

            fn deref(&self) -> &N {
                &self.node
            }
        }

        impl<N: std::ops::Deref<Target = $client::Node<Echo>>> Heard<N> {
            async fn next_event(&self) -> Option<Event> {
                self.events.lock().await.next().await
            }

            async fn close(self) {
                self.node.shutdown().await;
            }
        }

        fn serve(config: &QuicConfig) -> Heard<Server> {
            let bound = Server::bind(loopback(), config, Echo::default(), NoStore);
            let (node, events) = bound.expect("binds");
            let events = events.into();
            Heard { node, events }
        }

        fn open(config: &QuicConfig) -> Heard<Client> {
            let opened = Client::open(config, Echo::default(), NoStore);
            let (node, events) = opened.expect("opens");
            let events = events.into();
            Heard { node, events }
        }

        async fn dial(
            client: &Heard<Client>,
            to: String,
        ) -> Result<(ConnId, PeerInfo), ConnectError> {
            let act = client.act(move |core, _| core.connect(&to, Alpn::Qpq));
            act.await.expect("runs");
            match client.next_event().await.expect("runs") {
                Event::Connected(conn, peer, _) => Ok((conn, peer)),
                Event::ConnectFailed(_, why) => Err(why),
                other => panic!("{other:?}"),
            }
        }

        async fn connect(client: &Heard<Client>, to: SocketAddr) -> ConnId {
            dial(client, to.to_string()).await.expect("connects").0
        }

        async fn call(client: &Heard<Client>, conn: ConnId, data: impl Into<Bytes>) -> Bytes {
            let data = data.into();
            let act = client.act(move |core, _| core.call(conn, data));
            let stream = act.await.expect("runs");
            match client.next_event().await.expect("runs") {
                Event::Answer(of, to, answer) if (of, to) == (conn, stream) => answer,
                other => panic!("{other:?}"),
            }
        }

        #[tokio::test]
        async fn a_call_is_answered() {
            let server = serve(&server_config());
            let client = open(&pin(None));
            let conn = connect(&client, server.local_addr()).await;
            assert_eq!(call(&client, conn, "hello").await, "hello");
            client.close().await;
            server.close().await;
        }

        #[tokio::test]
        async fn a_connection_apart_has_a_port_of_its_own_that_goes_with_it() {
            let server = serve(&server_config());
            let client = open(&pin(None));
            let address = server.local_addr().to_string();
            let first = connect(&client, server.local_addr()).await;
            let act = client.act(move |core, _| core.connect_apart(&address, Alpn::Qpq));
            act.await.expect("runs");
            let apart = match client.next_event().await.expect("runs") {
                Event::Connected(conn, ..) => conn,
                other => panic!("{other:?}"),
            };
            let mut ports = Vec::new();
            for _ in 0..2 {
                match server.next_event().await.expect("runs") {
                    Event::Connected(_, peer, _) => ports.push(peer.address.port()),
                    other => panic!("{other:?}"),
                }
            }
            assert_ne!(ports[0], ports[1]);
            let big = Bytes::from(vec![7; 1 << 20]);
            for conn in [first, apart, first] {
                assert!(call(&client, conn, big.clone()).await == big);
            }
            let act = client.act(move |core, _| core.close(apart, 0));
            act.await.expect("runs");
            // Once it is drained.
            let port = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, ports[1]));
            while UdpSocket::bind(port).is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            assert_eq!(client.next_event().await, Some(Event::Disconnected(apart)));
            assert_eq!(call(&client, first, "hello").await, "hello");
        }

        #[tokio::test]
        async fn another_protocol_is_refused() {
            let server = serve(&Identity::new().config(&[Alpn::Federation]));
            let client = open(&pin(None));
            let refused = dial(&client, server.local_addr().to_string()).await;
            assert_eq!(refused.err(), Some(ConnectError::WrongProtocol));
        }

        #[tokio::test]
        async fn a_changed_certificate_is_refused() {
            let (first, second) = (serve(&server_config()), serve(&server_config()));
            let client = open(&pin(None));
            let (_, peer) = dial(&client, first.local_addr().to_string())
                .await
                .expect("connects");
            let later = open(&pin(peer.certificate));
            assert!(dial(&later, first.local_addr().to_string()).await.is_ok());
            for client in [&client, &later] {
                let refused = dial(client, second.local_addr().to_string()).await;
                assert_eq!(refused.err(), Some(ConnectError::CertificateChanged));
            }
        }

        #[tokio::test]
        async fn an_authority_vouches_for_itself_and_for_nobody_else() {
            let identity = Identity::new();
            let trust = QuicConfig::client(Trust::Authority(identity.certificate.clone()));
            let (own, other) = (
                serve(&identity.config(&[Alpn::Qpq])),
                serve(&server_config()),
            );
            let client = open(&trust);
            assert!(dial(&client, own.local_addr().to_string()).await.is_ok());
            let refused = dial(&client, other.local_addr().to_string()).await;
            assert_eq!(refused.err(), Some(ConnectError::CertificateUntrusted));
        }

        #[tokio::test]
        async fn names_are_resolved() {
            let server = serve(&server_config());
            let client = open(&hasty(pin(None)));
            let port = server.local_addr().port();
            assert!(dial(&client, format!("localhost:{port}")).await.is_ok());
            for wrong in ["localhost", "nowhere.invalid:5001", ":5001", "localhost:0"] {
                let refused = dial(&client, wrong.into()).await;
                assert_eq!(refused.err(), Some(ConnectError::BadAddress), "{wrong}");
            }
        }

        #[tokio::test]
        async fn nobody_there_is_noticed() {
            let client = open(&hasty(pin(None)));
            let silent = UdpSocket::bind(loopback()).expect("binds");
            let address = silent.local_addr().expect("bound").to_string();
            let refused = dial(&client, address).await;
            assert_eq!(refused.err(), Some(ConnectError::Unreachable));
        }

        /// Only what the network says can end this attempt.
        #[cfg(target_os = "linux")]
        #[tokio::test]
        async fn a_port_nobody_listens_on_is_noticed_without_waiting() {
            let mut config = pin(None);
            config.limits.handshake = std::time::Duration::from_secs(100_000);
            let client = open(&config);
            let gone = UdpSocket::bind(loopback()).expect("binds").local_addr();
            let refused = dial(&client, gone.expect("bound").to_string()).await;
            assert_eq!(refused.err(), Some(ConnectError::Unreachable));
        }

        /// What the network says of an attempt that failed must not wake a node for ever.
        #[tokio::test]
        async fn a_node_at_rest_does_not_turn() {
            let server = serve(&server_config());
            let client = open(&hasty(pin(None)));
            connect(&client, server.local_addr()).await;
            let gone = UdpSocket::bind(loopback()).expect("binds").local_addr();
            for _ in 0..2 {
                let refused = dial(&client, gone.as_ref().expect("bound").to_string()).await;
                assert_eq!(refused.err(), Some(ConnectError::Unreachable));
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let before = client.act(|core, _| core.asked.get()).await.expect("runs");
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            let after = client.act(|core, _| core.asked.get()).await.expect("runs");
            assert!(after - before < 200, "{} times", after - before);
        }

        #[tokio::test]
        async fn garbage_disturbs_nobody() {
            let server = serve(&server_config());
            let client = open(&pin(None));
            let conn = connect(&client, server.local_addr()).await;
            let stranger = UdpSocket::bind(loopback()).expect("binds");
            for length in [1, 20, 21, 100, 1199, 1200, 1452] {
                for first in [0x00, 0x40, 0x80, 0xc0, 0xc3, 0xf0, 0xff] {
                    let mut datagram = vec![0x5a; length];
                    datagram[0] = first;
                    if length > 5 {
                        datagram[1..5].copy_from_slice(&[0, 0, 0, 1]);
                    }
                    stranger
                        .send_to(&datagram, server.local_addr())
                        .expect("sends");
                }
            }
            assert_eq!(call(&client, conn, "hello").await, "hello");
        }

        #[tokio::test]
        async fn a_thousand_calls_at_once_get_their_own_answers() {
            let server = serve(&server_config());
            let client = open(&pin(None));
            let conn = connect(&client, server.local_addr()).await;
            let text = |i: u64| Bytes::from(format!("{i};").repeat(100));
            let act = client.act(move |core, _| {
                let start = |i| (core.call(conn, text(i)), text(i));
                (0..1000).map(start).collect::<BTreeMap<_, _>>()
            });
            let mut calls = act.await.expect("runs");
            while !calls.is_empty() {
                match client.next_event().await.expect("runs") {
                    Event::Answer(_, stream, answer) => {
                        assert_eq!(calls.remove(&stream), Some(answer));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }

        #[tokio::test]
        async fn four_mebibytes_go_both_ways() {
            let server = serve(&server_config());
            let client = open(&pin(None));
            let conn = connect(&client, server.local_addr()).await;
            let big: Bytes = (0..4_u32 << 20)
                .map(|i| (i.wrapping_mul(i) >> 7) as u8)
                .collect();
            assert!(call(&client, conn, big.clone()).await == big);
        }

        #[tokio::test]
        async fn a_peer_that_stops_is_noticed_and_can_come_back() {
            let config = server_config();
            let server = serve(&config);
            let address = server.local_addr();
            let client = open(&pin(None));
            let conn = connect(&client, address).await;
            server.close().await;
            assert_eq!(client.next_event().await, Some(Event::Disconnected(conn)));
            let _again = Server::bind(address, &config, Echo::default(), NoStore).expect("binds");
            let conn = connect(&client, address).await;
            assert_eq!(call(&client, conn, "hello").await, "hello");
        }

        #[tokio::test]
        async fn a_shutdown_delivers_what_was_answered() {
            let server = serve(&server_config());
            let client = open(&pin(None));
            let conn = connect(&client, server.local_addr()).await;
            server
                .act(|core, _| core.silent = true)
                .await
                .expect("runs");
            let act = client.act(move |core, _| core.call(conn, "hello"));
            let stream = act.await.expect("runs");
            let theirs = loop {
                if let Event::Push(conn, _) = server.next_event().await.expect("runs") {
                    break conn;
                }
            };
            let name = StreamId::Peer(Dir::Bi, 0);
            let big = Bytes::from(vec![7; 1 << 20]);
            let answer = big.clone();
            server
                .act(move |core, _| core.send(theirs, name, answer, true))
                .await
                .expect("runs");
            let stopped = server.shutdown();
            let ended = async {
                let answer = client.next_event().await;
                assert!(answer == Some(Event::Answer(conn, stream, big)));
                let gone = client.next_event().await;
                assert_eq!(gone, Some(Event::Disconnected(conn)));
            };
            tokio::join!(stopped, ended);
            let after = server.act(|_, _| ()).await;
            assert_eq!(after, Err($server::Stopped));
            // What it told before it stopped can still be read.
            while server.next_event().await.is_some() {}
        }

        #[tokio::test]
        async fn storage_and_jobs_answer_in_order() {
            let client = open(&pin(None));
            let act = client.act(|core, _| {
                (0..100)
                    .map(|i| core.store(if i % 2 == 0 { get(i) } else { commit() }))
                    .collect::<Vec<_>>()
            });
            for (i, ticket) in act.await.expect("runs").into_iter().enumerate() {
                let key = (i as u64).to_be_bytes().to_vec();
                let reply = match i % 2 {
                    0 => Reply::Values(vec![Some(key.into())]),
                    _ => Reply::Committed,
                };
                let event = client.next_event().await;
                assert_eq!(event, Some(Event::Stored(ticket, reply)));
            }
            let act = client.act(|core, _| core.compute(|| 6 * 7));
            let ticket = act.await.expect("runs");
            let event = client.next_event().await;
            assert_eq!(event, Some(Event::Computed(ticket, Some(42))));
        }

        #[tokio::test]
        async fn an_engine_or_a_job_that_panics_is_reported() {
            let client = open(&pin(None));
            let scan = Command::Scan(Scan {
                start: Bytes::new(),
                end: Bytes::new(),
                direction: Direction::Forward,
                items: 1,
                bytes: 1,
            });
            let act = client.act(|core, _| core.store(scan));
            let ticket = act.await.expect("runs");
            let unknown = Reply::Failed(Failure::Unknown);
            let event = client.next_event().await;
            assert_eq!(event, Some(Event::Stored(ticket, unknown.clone())));
            let act = client.act(|core, _| core.store(commit()));
            let ticket = act.await.expect("runs");
            let event = client.next_event().await;
            assert_eq!(event, Some(Event::Stored(ticket, unknown)));
            let act = client.act(|core, _| core.compute(|| panic!("a broken job")));
            let ticket = act.await.expect("runs");
            let event = client.next_event().await;
            assert_eq!(event, Some(Event::Computed(ticket, None)));
        }

        #[tokio::test]
        async fn events_nobody_takes_hold_the_peer_back_and_none_is_lost() {
            let server = serve(&server_config());
            let mut config = pin(None);
            config.limits.events = 16;
            let client = open(&config);
            let conn = connect(&client, server.local_addr()).await;
            let act = client.act(move |core, _| {
                for i in 0..1000_u32 {
                    core.call(conn, i.to_be_bytes().to_vec());
                }
            });
            act.await.expect("runs");
            for _ in 0..1000 {
                let event = client.next_event().await;
                assert!(matches!(event, Some(Event::Answer(..))), "{event:?}");
            }
        }

        #[tokio::test]
        async fn a_stream_that_is_dropped_holds_nobody_up() {
            let server = serve(&server_config());
            let client = open(&pin(None));
            let conn = connect(&client, server.local_addr()).await;
            let Heard { node, events } = client;
            let mut other = node.events().await.expect("runs");
            let act = node.act(move |core, _| {
                for i in 0..1000_u32 {
                    core.call(conn, i.to_be_bytes().to_vec());
                }
            });
            act.await.expect("runs");
            // As many as both have room for.
            for _ in 0..256 {
                assert!(matches!(other.next().await, Some(Event::Answer(..))));
            }
            let more = tokio::time::timeout(std::time::Duration::from_millis(200), other.next());
            assert!(more.await.is_err());
            drop(events);
            for _ in 256..1000 {
                assert!(matches!(other.next().await, Some(Event::Answer(..))));
            }
        }

        #[tokio::test]
        async fn a_node_goes_on_while_anybody_has_it() {
            let server = serve(&server_config());
            let client = open(&pin(None));
            let other = client.node.clone();
            let mut events = other.events().await.expect("runs");
            drop(client);
            let sum = other.act(|_, _| 40 + 2).await;
            assert_eq!(sum, Ok(42));
            let to = server.local_addr().to_string();
            let act = other.act(move |core, _| core.connect(&to, Alpn::Qpq));
            act.await.expect("runs");
            assert!(matches!(events.next().await, Some(Event::Connected(..))));
            drop(other);
            // The last one is gone: it shuts down.
            while events.next().await.is_some() {}
        }

        #[tokio::test]
        async fn a_connection_goes_on_over_another_socket() {
            let server = serve(&server_config());
            let client = open(&pin(None));
            let conn = connect(&client, server.local_addr()).await;
            let before = client.local_addr();
            client.network_changed().await.expect("runs");
            assert_eq!(call(&client, conn, "hello").await, "hello");
            assert_ne!(client.local_addr(), before);
            // The old one is gone: whoever wants its port may have it.
            UdpSocket::bind(before).expect("is free");
        }

        #[tokio::test]
        async fn who_is_suspended_sends_nothing() {
            let server = serve(&server_config());
            let mut config = pin(None);
            config.limits.keep_alive = Some(std::time::Duration::from_millis(20));
            let client = open(&config);
            let conn = connect(&client, server.local_addr()).await;
            client.suspend().await.expect("runs");
            let before = client.traffic().await.expect("runs");
            let gone = client.next_event().await;
            assert_eq!(gone, Some(Event::Disconnected(conn)));
            // The server hears of it at once.
            while !matches!(server.next_event().await, Some(Event::Disconnected(_))) {}
            client.reconnect_now().await.expect("runs");
            client.network_changed().await.expect("runs");
            let refused = dial(&client, server.local_addr().to_string()).await;
            assert_eq!(refused.err(), Some(ConnectError::Refused));
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let after = client.traffic().await.expect("runs");
            assert_eq!(after.sent, before.sent);
            client.resume().await.expect("runs");
            let conn = connect(&client, server.local_addr()).await;
            assert_eq!(call(&client, conn, "hello").await, "hello");
            assert!(client.traffic().await.expect("runs").sent > after.sent);
        }

        #[tokio::test]
        async fn a_taken_address_is_a_clear_error() {
            let server = serve(&server_config());
            let address = server.local_addr();
            let again = Server::bind(address, &server_config(), Echo::default(), NoStore);
            let kind = std::io::ErrorKind::AddrInUse;
            assert_eq!(
                again.err(),
                Some($server::OpenError::Socket { address, kind })
            );
        }
    };
}
