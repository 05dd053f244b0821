//! quinn: every stream is echoed, by a task of its own.

use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::rustls;
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig};

use super::{ECHO, LOOPBACK};
use crate::bench::drive::DriveArgs;
use crate::bench::identity::Identity;
use crate::bench::meter::Meter;
use crate::bench::{Failure, Outcome};

/// Says its address and echoes.
pub async fn serve(identity: &Identity) -> Outcome<()> {
    let [certificate, key] = identity.der()?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(key).map_err(Failure::of("a key"))?;
    let mut config = ServerConfig::with_single_cert(vec![certificate.into()], key)
        .map_err(Failure::of("a certificate"))?;
    config.transport_config(patient());
    let server = Endpoint::server(config, LOOPBACK).map_err(Failure::of("quinn's server"))?;
    let address = server.local_addr().map_err(Failure::of("quinn's server"))?;
    println!("{address}");
    while let Some(incoming) = server.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    // The client says what it misses.
                    let Ok(data) = receive.read_to_end(1 << 20).await else {
                        return;
                    };
                    if send.write_chunk(Bytes::from(data)).await.is_ok() {
                        let _ = send.finish();
                    }
                });
            }
            Ok::<(), quinn::ConnectionError>(())
        });
    }
    Err(Failure::new("quinn's server has stopped"))
}

/// Calls until the process ends.
pub async fn call(args: &DriveArgs, meter: Arc<Meter>) -> Outcome<()> {
    let [certificate, _] = Identity::of(&args.dir).der()?;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(certificate.into())
        .map_err(Failure::of("a certificate"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::of("TLS"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = QuicClientConfig::try_from(tls).map_err(Failure::of("TLS"))?;
    let mut client = Endpoint::client(LOOPBACK).map_err(Failure::of("quinn's client"))?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(patient());
    client.set_default_client_config(config);
    let data = Bytes::from(vec![7; ECHO]);
    let mut connections = Vec::new();
    for _ in 0..args.load.connections {
        let connecting = client.connect(args.address, "localhost");
        let connecting = connecting.map_err(Failure::of("quinn's client"))?;
        let connection = connecting.await.map_err(Failure::of("quinn's client"))?;
        let echoed = echo(&connection, data.clone()).await;
        echoed.map_err(Failure::of("quinn's client"))?;
        connections.push(connection);
    }
    meter.begin();
    for connection in &connections {
        for _ in 0..args.load.in_flight {
            let (connection, data) = (connection.clone(), data.clone());
            let meter = Arc::clone(&meter);
            tokio::spawn(async move {
                loop {
                    let started = meter.start();
                    if let Err(why) = echo(&connection, data.clone()).await {
                        return meter.fail(why);
                    }
                    meter.answered(started);
                }
            });
        }
    }
    client.wait_idle().await;
    Err(Failure::new("quinn's client has stopped"))
}

/// quinn's own settings, but that idle connections stay.
fn patient() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config.max_idle_timeout(None);
    Arc::new(config)
}

async fn echo(connection: &Connection, data: Bytes) -> Result<(), String> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|e| e.to_string())?;
    send.write_chunk(data).await.map_err(|e| e.to_string())?;
    send.finish().map_err(|e| e.to_string())?;
    let answer = receive.read_to_end(1 << 20).await;
    match answer.map_err(|e| e.to_string())?.len() {
        ECHO => Ok(()),
        other => Err(format!("quinn echoed {other} bytes")),
    }
}
