use std::collections::BTreeMap;
use std::time::SystemTime;

use futures_lite::future::block_on;
use qpq_adapter_smol::Client;
use qpq_protocol::client::{self, ClientConfig, Event, StorageKey, intent};
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::storage::Memory;
use qpq_protocol::time::Time;

/// Makes the account, and tells whoever writes how often they did. Blocks its thread; there is no executor.
pub fn run(server: &str, account: intent::Register) -> Result<(), Box<dyn std::error::Error>> {
    let (mut key, mut seed) = ([0; 32], [0; 32]);
    getrandom::fill(&mut key)?; // seals the storage: keep it for as long as that
    getrandom::fill(&mut seed)?; // fresh at every start
    let config = ClientConfig { server: server.to_owned(), ..ClientConfig::default() };
    let (key, seed, now) = (StorageKey::new(key), Seed::new(seed), SystemTime::now().into());
    let core = client::Client::new(config, key, seed, Time::ZERO, now);
    let trust = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
    let (node, mut events) = Client::open(&trust, core, Memory::new())?;
    block_on(node.ask(account))?;
    let mut counts = BTreeMap::new();
    while let Some(event) = block_on(events.next()) {
        if let Event::Message(message) = event
            && !message.own
        {
            let count = counts.entry(message.sender.identity_key).or_insert(0);
            *count += 1;
            let answer = intent::Send::new(message.conversation, format!("message {count} of yours"));
            block_on(node.act(|core, now| core.begin(now, answer)))?;
        }
    }
    Ok(())
}
