//! Two nodes over real UDP on loopback, with a core that echoes.

#![allow(missing_docs, dead_code)]

#[path = "../../qpq-protocol/tests/quic/echo.rs"]
mod echo;

use std::net::SocketAddr;

use bytes::Bytes;
use echo::{Echo, Event};
use qpq_adapter_tokio::{Client, Server};
use qpq_protocol::ids::ConnId;
use qpq_protocol::io::{Alpn, ConnectError};
use qpq_protocol::quic::{Config, Trust};
use qpq_protocol::storage::{Command, Engine, Reply};

struct NoStore;

impl Engine for NoStore {
    fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
        batch.iter().map(|_| Reply::Committed).collect()
    }
}

fn identity() -> Config {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("rcgen");
    let certificate = made.cert.der().to_vec();
    Config::server(certificate, made.signing_key.serialize_der(), &[Alpn::Qpq]).expect("key")
}

fn first_use() -> Config {
    Config::client(Trust::PinOnFirstUse { sha256: None })
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

fn server(config: &Config) -> Server<Echo> {
    Server::bind(loopback(), config, Echo::default(), NoStore).expect("binds")
}

fn client(config: &Config) -> Client<Echo> {
    Client::open(config, Echo::default(), NoStore).expect("opens")
}

async fn connect(client: &Client<Echo>, server: SocketAddr) -> Result<ConnId, ConnectError> {
    let address = server.to_string();
    let act = client.act(move |core, _| core.connect(&address, Alpn::Qpq));
    act.await.expect("runs");
    loop {
        match client.next_event().await.expect("runs") {
            Event::Connected(conn, ..) => return Ok(conn),
            Event::ConnectFailed(_, why) => return Err(why),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_call_is_answered() {
    let server = server(&identity());
    let client = client(&first_use());
    let conn = connect(&client, server.local_addr())
        .await
        .expect("connects");
    let stream = client
        .act(move |core, _| core.call(conn, &b"hello"[..]))
        .await
        .expect("runs");
    let event = client.next_event().await;
    assert_eq!(
        event,
        Some(Event::Answer(conn, stream, Bytes::from("hello")))
    );
    client.close().await;
    server.close().await;
}
