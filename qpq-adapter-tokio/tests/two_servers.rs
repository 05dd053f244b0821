//! Two servers of one process on one store, over real UDP: what one takes in, the other tells at once.

#![allow(missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use qpq_adapter_tokio::{Client, Events, LocalBus, Server, WakeBus};
use qpq_protocol::client::{self, Body, Event, StorageKey, intent};
use qpq_protocol::io::Alpn;
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::server;
use qpq_protocol::storage::{Command, Engine, Memory, Reply};
use qpq_protocol::time::Time;
use tokio::time::timeout;

/// Much shorter than what a wait without a wake would take: 30 seconds.
const SOON: Duration = Duration::from_secs(25);

/// One store for both.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Memory>>);

impl Engine for Shared {
    fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
        self.0.lock().expect("no panic").run(batch)
    }
}

async fn serve(number: u8, store: &Shared, bus: impl WakeBus) -> Server<server::Server> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("rcgen");
    let key = made.signing_key.serialize_der();
    let config = QuicConfig::server(made.cert.der().to_vec(), key, &[Alpn::Qpq]).expect("a key");
    let own = server::ServerConfig::default();
    let unix = SystemTime::now().into();
    let core = server::Server::new(own, [number; 32], Time::ZERO, unix);
    let address = "127.0.0.1:0".parse().expect("an address");
    let bound = Server::bind_beside(address, &config, core, store.clone(), bus);
    let (server, mut events) = bound.expect("binds");
    while !matches!(events.next().await, Some(server::Event::Started { .. })) {}
    server
}

type Opened = (Client<client::Client>, Events<client::Client>);

async fn enter(name: &str, number: u8, server: &Server<server::Server>) -> Opened {
    let config = client::ClientConfig {
        server: server.local_addr().to_string(),
        ..client::ClientConfig::default()
    };
    let (key, seed) = (StorageKey::new([number; 32]), Seed::new([number; 32]));
    let unix = SystemTime::now().into();
    let core = client::Client::new(config, key, seed, Time::ZERO, unix);
    let trust = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
    let (node, events) = Client::open(&trust, core, Memory::new()).expect("opens");
    let password = b"correct horse".to_vec();
    let registered = node.ask(intent::Register::new(format!("{name}@localhost"), password));
    registered.await.expect("registers");
    (node, events)
}

#[tokio::test]
async fn what_one_server_takes_in_the_other_tells_at_once() {
    let (store, bus) = (Shared::default(), LocalBus::new());
    let one = serve(1, &store, bus.member()).await;
    let two = serve(2, &store, bus.member()).await;
    let (alice, _) = enter("alice", 3, &one).await;
    let (_bob, mut told) = enter("bob", 4, &two).await;
    let heard = async {
        loop {
            if let Event::Message(message) = told.next().await.expect("runs") {
                return message.body;
            }
        }
    };
    let said = async {
        let dm = alice
            .ask(intent::Dm("bob".to_owned()))
            .await
            .expect("opens");
        let sent = alice.ask(intent::Send::new(dm.id, "hello")).await;
        sent.expect("sends");
    };
    let (heard, ()) = timeout(SOON, async { tokio::join!(heard, said) })
        .await
        .expect("soon");
    assert_eq!(heard, Body::Text("hello".to_owned()));
}
