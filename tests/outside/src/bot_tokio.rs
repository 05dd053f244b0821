use std::time::SystemTime;

use qpq_adapter_tokio::Client;
use qpq_protocol::client::{self, Body, ClientConfig, Event, IntentError, StorageKey, intent};
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::storage::Memory;
use qpq_protocol::time::Time;

/// Makes the account, or logs in to it, and says back whatever it is told.
pub async fn run(server: &str, name: &str, password: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (mut key, mut seed) = ([0; 32], [0; 32]);
    getrandom::fill(&mut key)?; // seals the storage: keep it for as long as that
    getrandom::fill(&mut seed)?; // fresh at every start
    let config = ClientConfig { server: server.to_owned(), ..ClientConfig::default() };
    let (key, seed, now) = (StorageKey::new(key), Seed::new(seed), SystemTime::now().into());
    let core = client::Client::new(config, key, seed, Time::ZERO, now);
    // Whichever certificate the server shows first: `Event::Connected` says which, to pin it next time.
    let trust = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
    let (node, mut events) = Client::open(&trust, core, Memory::new())?;
    match node.ask(intent::Register::new(name, password.as_bytes().to_vec())).await {
        Err(IntentError::NameTaken) => node.ask(intent::Login::new(name, password.as_bytes().to_vec())).await?,
        entered => entered?,
    };
    while let Some(event) = events.next().await {
        if let Event::Message(message) = event
            && let (false, Body::Text(text)) = (message.own, message.body)
        {
            let answer = intent::Send::new(message.conversation, format!("you said: {text}"));
            // Kept until it is sent; its end comes as an event, too.
            node.act(|core, now| core.begin(now, answer)).await?;
        }
    }
    Ok(())
}
