//! A server that calls a push service when something waits for a device that is not connected: Bob's, to whom Alice
//! writes while he is away. The service is a few lines here; a real one knows the phone that belongs to the device.
//!
//! ```sh
//! cargo run -p qpq-adapter-tokio --example push_service
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::time::SystemTime;

use qpq_adapter_tokio::{Client, Events, Server};
use qpq_protocol::client::{self, StorageKey, intent};
use qpq_protocol::io::Alpn;
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::rng::Seed;
use qpq_protocol::server;
use qpq_protocol::storage::Memory;
use qpq_protocol::time::Time;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Tells the service of each device that something waits for: never what, and never from whom.
async fn call_service(
    mut told: Events<server::Server>,
    service: SocketAddr,
) -> std::io::Result<()> {
    while let Some(event) = told.next().await {
        if let server::Event::Waiting {
            identity_key,
            device_id,
        } = event
        {
            let body = format!("{} {}", hex(&identity_key.0), hex(device_id.as_bytes()));
            let request = format!(
                "POST /wake HTTP/1.1\r\nhost: push\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let mut stream = TcpStream::connect(service).await?;
            stream.write_all(request.as_bytes()).await?;
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = TcpListener::bind("127.0.0.1:0").await?;
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (
        identity.cert.der().to_vec(),
        identity.signing_key.serialize_der(),
    );
    let core = server::Server::new(
        server::ServerConfig::default(),
        [1; 32],
        Time::ZERO,
        SystemTime::now().into(),
    );
    let (server, told) = Server::bind(
        "127.0.0.1:0".parse()?,
        &QuicConfig::server(certificate, key, &[Alpn::Qpq])?,
        core,
        Memory::new(),
    )?;
    let calls = tokio::spawn(call_service(told, service.local_addr()?));

    let (bob, _) = open(2, server.local_addr())?;
    let password = || b"correct horse".to_vec();
    bob.ask(intent::Register::new("bob@localhost", password()))
        .await?;
    bob.shutdown().await;
    println!("bob goes away");

    let (alice, _) = open(3, server.local_addr())?;
    alice
        .ask(intent::Register::new("alice@localhost", password()))
        .await?;
    let dm = alice.ask(intent::Dm("bob".to_owned())).await?;
    alice
        .ask(intent::Send::new(dm.id, "are you there?"))
        .await?;
    let (mut call, _) = service.accept().await?;
    let mut request = String::new();
    call.read_to_string(&mut request).await?;
    let device = request.lines().last().ok_or("an empty call")?;
    println!("the push service was called for {device}");

    alice.shutdown().await;
    server.shutdown().await;
    calls.await??;
    Ok(())
}

type Opened = (Client<client::Client>, Events<client::Client>);

fn open(number: u8, server: SocketAddr) -> Result<Opened, Box<dyn Error>> {
    let config = client::ClientConfig {
        server: server.to_string(),
        ..client::ClientConfig::default()
    };
    let core = client::Client::new(
        config,
        StorageKey::new([number; 32]),
        Seed::new([number; 32]),
        Time::ZERO,
        SystemTime::now().into(),
    );
    let trust = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
    Ok(Client::open(&trust, core, Memory::new())?)
}
