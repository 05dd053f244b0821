//! Real cores that are asked over real UDP on loopback, for any two adapters.

use std::net::SocketAddr;
use std::time::SystemTime;

use qpq_protocol::client::{self, Client, OpaqueSuite, StorageKey};
use qpq_protocol::rng::Seed;
use qpq_protocol::server::{self, Server};
use qpq_protocol::time::Time;

pub fn server() -> Server {
    let config = server::ServerConfig {
        opaque_suite: OpaqueSuite::TEST,
        ..server::ServerConfig::default()
    };
    Server::new(config, [1; 32], Time::ZERO, SystemTime::now().into())
}

/// A client whose seeds come of this number.
pub fn client(number: u8, server: SocketAddr) -> Client {
    let config = client::ClientConfig {
        server: server.to_string(),
        opaque_suite: OpaqueSuite::TEST,
        mls_suite: client::MlsSuite::X25519,
        ..client::ClientConfig::default()
    };
    let (key, seed) = (StorageKey::new([number; 32]), Seed::new([number; 32]));
    Client::new(config, key, seed, Time::ZERO, SystemTime::now().into())
}

/// All tests, with the server of one adapter and the clients of another.
macro_rules! asks {
    ($server:ident, $client:ident) => {
        mod asks {
            use qpq_protocol::client::{self, Body, Event, IntentError, intent};
            use qpq_protocol::server;
            use qpq_protocol::storage::memory::Memory;

            use crate::suite::asks::{client, server};
            use crate::suite::{loopback, pin, server_config};

            type Server = $server::Server<server::Server>;
            type Client = $client::Client<client::Client>;
            type Events = $client::Events<client::Client>;

            fn serve() -> (Server, $server::Events<server::Server>) {
                let engine = Memory::new();
                Server::bind(loopback(), &server_config(), server(), engine).expect("binds")
            }

            fn open(number: u8, server: &Server) -> (Client, Events) {
                let core = client(number, server.local_addr());
                Client::open(&pin(None), core, Memory::new()).expect("opens")
            }

            async fn register(node: &Client, name: &str) {
                let asked = intent::Register::new(name, b"correct horse".to_vec());
                let account = node.ask(asked).await.expect("registers");
                assert_eq!(account.name, name);
            }

            async fn next_text(events: &mut Events) -> String {
                loop {
                    if let Event::Message(message) = events.next().await.expect("runs")
                        && let Body::Text(text) = message.body
                    {
                        return text;
                    }
                }
            }

            #[tokio::test]
            async fn who_asks_gets_the_end_and_each_stream_all_that_is_told() {
                let (server, _) = serve();
                let (alice, _) = open(1, &server);
                let (bob, mut first) = open(2, &server);
                register(&alice, "alice").await;
                register(&bob, "bob").await;
                let mut second = bob.events().await.expect("runs");

                let dm = alice
                    .ask(intent::Dm("bob".to_owned()))
                    .await
                    .expect("opens");
                let other = alice.clone();
                let (one, two) = tokio::join!(
                    alice.ask(intent::Send::new(dm.id, "one")),
                    other.ask(intent::Send::new(dm.id, "two")),
                );
                assert_eq!(one.expect("sends").index, 0);
                assert_eq!(two.expect("sends").index, 1);
                for events in [&mut first, &mut second] {
                    assert_eq!(next_text(events).await, "one");
                    assert_eq!(next_text(events).await, "two");
                }

                let members = bob.ask(intent::Members(dm.id)).await.expect("is in it");
                assert_eq!(members.len(), 2);
                let nobody = alice.ask(intent::Dm("zoe".to_owned())).await;
                let name = "zoe".to_owned();
                assert_eq!(nobody.err(), Some(IntentError::UnknownUser { name }));
            }

            #[tokio::test]
            async fn asking_goes_on_where_nobody_takes_events_and_ends_with_the_node() {
                let (server, _) = serve();
                let (node, events) = open(1, &server);
                drop(events);
                for _ in 0..2000 {
                    let account = node.ask(intent::WhoAmI).await;
                    assert_eq!(account, Ok(None));
                }
                let other = node.clone();
                node.close().await;
                let ended = other.ask(intent::WhoAmI).await;
                assert_eq!(ended, Err(IntentError::Closing));
            }

            #[tokio::test]
            async fn what_is_asked_for_ends_also_if_the_node_is_shut_down_meanwhile() {
                let (server, _) = serve();
                let (node, _) = open(1, &server);
                server.close().await;
                let (ended, ()) = tokio::join!(node.ask(intent::ServerInfo), node.shutdown());
                assert_eq!(ended.err(), Some(IntentError::Closing));
            }
        }
    };
}
