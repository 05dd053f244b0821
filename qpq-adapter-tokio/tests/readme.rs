//! The client that the README shows: it is what runs here, it has the length that is said, and it answers.

#![allow(missing_docs)]

#[rustfmt::skip]
#[path = "readme/bot.rs"]
mod bot;

use std::path::Path;
use std::time::{Duration, SystemTime};

use qpq_adapter_tokio::{Client, Server};
use qpq_protocol::client::{self, Body, Event, StorageKey, intent};
use qpq_protocol::io::Alpn;
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::server;
use qpq_protocol::storage::Memory;
use qpq_protocol::time::Time;

const BOT: &str = include_str!("readme/bot.rs");
/// As the README says.
const LINES: usize = 40;

#[test]
fn the_first_block_of_the_readme_is_the_client_that_is_run() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).expect("a README");
    let (before, block) = readme.split_once("```rust").expect("a block");
    let (_, block) = block.split_once('\n').expect("its beginning");
    let (block, _) = block.split_once("```").expect("its end");
    assert!(block == BOT, "README.md and tests/readme/bot.rs differ");
    assert!(before.contains(&format!("in {LINES} lines")));
    assert!(BOT.lines().count() <= LINES);
}

#[tokio::test]
async fn it_logs_in_and_answers() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("rcgen");
    let key = made.signing_key.serialize_der();
    let config = QuicConfig::server(made.cert.der().to_vec(), key, &[Alpn::Qpq]).expect("a key");
    let unix = SystemTime::now().into();
    let core = server::Server::new(server::ServerConfig::default(), [1; 32], Time::ZERO, unix);
    let address = "127.0.0.1:0".parse().expect("an address");
    let bound = Server::bind(address, &config, core, Memory::new());
    let (server, _events) = bound.expect("binds");
    let address = server.local_addr().to_string();

    let own = client::ClientConfig {
        server: address.clone(),
        ..client::ClientConfig::default()
    };
    let (key, seed) = (StorageKey::new([2; 32]), Seed::new([2; 32]));
    let core = client::Client::new(own, key, seed, Time::ZERO, unix);
    let trust = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
    let (alice, mut told) = Client::open(&trust, core, Memory::new()).expect("opens");
    let ask = async {
        let password = b"correct horse".to_vec();
        let registered = alice.ask(intent::Register::new("alice@localhost", password));
        registered.await.expect("registers");
        let dm = loop {
            match alice.ask(intent::Dm("bot".to_owned())).await {
                Ok(dm) => break dm,
                // The bot is still on its way.
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        let sent = alice.ask(intent::Send::new(dm.id, "hello")).await;
        sent.expect("sends");
        loop {
            match told.next().await.expect("runs") {
                Event::Message(message) if !message.own => return message.body,
                _ => {}
            }
        }
    };
    let answer = tokio::select! {
        ended = bot::run(&address, "bot@localhost", "staple battery") => panic!("{ended:?}"),
        answer = tokio::time::timeout(Duration::from_secs(60), ask) => answer.expect("an answer"),
    };
    assert_eq!(answer, Body::Text("you said: hello".to_owned()));
}
