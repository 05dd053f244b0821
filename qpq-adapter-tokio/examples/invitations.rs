//! A server that only who was invited can register at, and a client that tries it without an invitation and with one.
//!
//! ```sh
//! cargo run -p qpq-adapter-tokio --example invitations
//! ```

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::time::SystemTime;

use qpq_adapter_tokio::{Client, Server};
use qpq_protocol::client::{self, StorageKey, intent};
use qpq_protocol::io::Alpn;
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::server::{self, Policy, Question, Refusal, Verdict};
use qpq_protocol::storage::Memory;
use qpq_protocol::time::Time;

/// The invitations that were given out. Each is for anybody who knows it; one that holds once would be taken from a
/// list when `Event::Registered` is told.
struct ByInvitation(BTreeSet<Vec<u8>>);

impl Policy for ByInvitation {
    fn decide(&self, question: &Question) -> Verdict {
        match question {
            Question::Registration { invitation, .. }
                if !self.0.contains(invitation.as_bytes()) =>
            {
                Verdict::Refuse(Refusal::forbidden("this server is for who was invited"))
            }
            _ => Verdict::Allow,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (
        identity.cert.der().to_vec(),
        identity.signing_key.serialize_der(),
    );
    // A real server takes its seed fresh from the operating system at every start, and an engine that lasts.
    let policy = ByInvitation([b"open sesame".to_vec()].into());
    let core = server::Server::new(
        server::ServerConfig::default(),
        [1; 32],
        Time::ZERO,
        SystemTime::now().into(),
    );
    let (server, _told) = Server::bind(
        "127.0.0.1:0".parse()?,
        &QuicConfig::server(certificate, key, &[Alpn::Qpq])?,
        core.with_policy(policy),
        Memory::new(),
    )?;

    let (node, _told) = Client::open(
        &QuicConfig::client(Trust::PinOnFirstUse { sha256: None }),
        client_of(server.local_addr()),
        Memory::new(),
    )?;
    let alice = intent::Register::new("alice@localhost", b"correct horse".to_vec());
    let refused = node.ask(alice.clone()).await;
    println!(
        "without an invitation: {}",
        refused.err().ok_or("anybody was let in")?
    );
    let invited = intent::Register {
        invitation: "open sesame".to_owned().into(),
        ..alice
    };
    let account = node.ask(invited).await?;
    println!("with one: registered {}", account.name);
    node.shutdown().await;
    server.shutdown().await;
    Ok(())
}

fn client_of(server: SocketAddr) -> client::Client {
    let config = client::ClientConfig {
        server: server.to_string(),
        ..client::ClientConfig::default()
    };
    client::Client::new(
        config,
        StorageKey::new([2; 32]),
        Seed::new([2; 32]),
        Time::ZERO,
        SystemTime::now().into(),
    )
}
