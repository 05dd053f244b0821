//! All of it together: the server lets in who was invited, the bots answer, the engine is what an engine has to be.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use outside::engine::Journal;
use outside::{bot_smol, bot_tokio, invited};
use qpq_adapter_tokio::{Client, Events, Server};
use qpq_protocol::client::{self, Body, ClientConfig, Event, IntentError, StorageKey, intent};
use qpq_protocol::io::Alpn;
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::server::{self, ServerConfig};
use qpq_protocol::storage::Memory;
use qpq_protocol::time::Time;
use qpq_store::conformance::{self, Subject};
use tempfile::TempDir;

/// A file of its own for each story of the suite.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }
}

impl Subject for Files {
    type Engine = Journal;

    fn open(&mut self) -> Journal {
        Journal::open(&self.path()).expect("opens")
    }
}

#[test]
fn the_engine_passes_the_suite() {
    conformance::check(64, Files::new);
}

#[test]
fn the_engine_loses_the_batch_that_was_cut_off_and_no_other() {
    use qpq_protocol::storage::{Command, Commit, Engine as _, Reply};
    let mut files = Files::new();
    let put = |key: &'static str| {
        let puts = vec![(key.into(), "value".into())];
        vec![Command::Commit(Commit { puts, ..Commit::default() })]
    };
    let mut engine = files.open();
    engine.run(put("one"));
    let length = std::fs::metadata(files.path()).expect("is there").len();
    engine.run(put("two"));
    let file = std::fs::OpenOptions::new().write(true).open(files.path()).expect("opens");
    for lost in 1..length {
        let whole = std::fs::read(files.path()).expect("reads");
        file.set_len(2 * length - lost).expect("is cut");
        let get = vec![Command::Get(vec!["one".into(), "two".into()])];
        let there = files.open().run(get);
        assert_eq!(there, [Reply::Values(vec![Some("value".into()), None])]);
        std::fs::write(files.path(), whole).expect("writes");
    }
}

type Node = Client<client::Client>;

fn person(server: &str, number: u8) -> (Node, Events<client::Client>) {
    let config = ClientConfig { server: server.to_owned(), ..ClientConfig::default() };
    let (key, seed) = (StorageKey::new([number; 32]), Seed::new([number; 32]));
    let core = client::Client::new(config, key, seed, Time::ZERO, SystemTime::now().into());
    let trust = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
    Client::open(&trust, core, Memory::new()).expect("opens")
}

fn account(name: &str, invitation: &str) -> intent::Register {
    let account = intent::Register::new(format!("{name}@localhost"), b"staple battery".to_vec());
    intent::Register { invitation: invitation.to_owned().into(), ..account }
}

/// Says something to a bot, and waits for its answer.
async fn answer_of(node: &Node, events: &mut Events<client::Client>, bot: &str, text: &str) -> Body {
    let dm = loop {
        match node.ask(intent::Dm(bot.to_owned())).await {
            Ok(dm) => break dm,
            // The bot is still on its way.
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    };
    node.ask(intent::Send::new(dm.id, text)).await.expect("sends");
    loop {
        match events.next().await.expect("runs") {
            Event::Message(message) if !message.own => return message.body,
            _ => {}
        }
    }
}

/// Waits for the talk, while the bot runs.
async fn while_runs<E: std::fmt::Debug>(bot: impl Future<Output = E>, talk: impl Future<Output = ()>) {
    tokio::select! {
        ended = bot => panic!("{ended:?}"),
        done = tokio::time::timeout(Duration::from_secs(120), talk) => done.expect("the bot answers"),
    }
}

#[tokio::test]
async fn the_bot_on_tokio_answers_through_an_engine_of_ones_own() {
    let files = Files::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("rcgen");
    let (certificate, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    let config = QuicConfig::server(certificate, key, &[Alpn::Qpq]).expect("a certificate");
    let core = server::Server::new(ServerConfig::default(), [1; 32], Time::ZERO, SystemTime::now().into());
    let journal = Journal::open(&files.path()).expect("opens");
    let local = "127.0.0.1:0".parse().expect("an address");
    let (server, _told) = Server::bind(local, &config, core, journal).expect("binds");
    let address = server.local_addr().to_string();

    let (alice, mut told) = person(&address, 1);
    let talk = async {
        alice.ask(account("alice", "")).await.expect("registers");
        let answer = answer_of(&alice, &mut told, "bot", "hello").await;
        assert_eq!(answer, Body::Text("you said: hello".to_owned()));
    };
    while_runs(bot_tokio::run(&address, "bot@localhost", "staple battery"), talk).await;
}

#[tokio::test]
async fn who_was_invited_talks_to_the_bot_on_smol() {
    let local = "127.0.0.1:0".parse().expect("an address");
    let (server, _told) = invited::start(local, Memory::new()).expect("starts");
    let address = server.local_addr().to_string();

    let (alice, mut told) = person(&address, 1);
    let refused = alice.ask(account("alice", "")).await;
    let refused = refused.expect_err("anybody was let in");
    assert!(matches!(refused, IntentError::Refused { .. }), "{refused:?}");
    alice.ask(account("alice", "open sesame")).await.expect("registers");
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let run = bot_smol::run(&address, account("counter", "open sesame"));
        end.send(run.map_err(|error| error.to_string()))
    });
    let talk = async {
        for count in 1..=2 {
            let answer = answer_of(&alice, &mut told, "counter", "hello").await;
            assert_eq!(answer, Body::Text(format!("message {count} of yours")));
        }
    };
    while_runs(ended, talk).await;
}
