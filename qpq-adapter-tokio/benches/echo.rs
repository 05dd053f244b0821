//! Calls a second: this adapter with a core that echoes, against bare quinn, in turns.
//!
//! `cargo bench -p qpq-adapter-tokio --bench echo [-- IN_FLIGHT [CALLS [CONNECTIONS]]]`. Client and server share
//! one thread, as in `research/performance.md`; what counts is the ratio.

#![allow(missing_docs, dead_code)]

#[path = "../../qpq-protocol/tests/quic/echo.rs"]
mod echo;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use echo::{Echo, Event};
use qpq_adapter_tokio::{Client, Server};
use qpq_protocol::io::Alpn;
use qpq_protocol::quic::{Config, Trust};
use qpq_protocol::storage::{Command, Engine, Reply};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::rustls;

const LENGTH: usize = 256;
const ROUNDS: usize = 5;

struct NoStore;

impl Engine for NoStore {
    fn run(&mut self, _: Vec<Command>) -> Vec<Reply> {
        Vec::new()
    }
}

struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Load {
    in_flight: u64,
    calls: u64,
    connections: u64,
}

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let in_flight = numbers.next().unwrap_or(64);
    let calls = numbers.next().unwrap_or(200_000);
    let connections = numbers.next().unwrap_or(1);
    let load = Load {
        in_flight,
        calls,
        connections,
    };
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("rcgen");
    let identity = Identity {
        certificate: made.cert.der().to_vec(),
        key: made.signing_key.serialize_der(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "{calls} calls of {LENGTH} B, {in_flight} in flight on each of {connections} connections, one thread"
    );
    println!("{:>24} {:>24}", "qpq", "quinn");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(runtime.block_on(qpq(&identity, load)));
        theirs.push(runtime.block_on(quinn(&identity, load)));
        if let (Some(a), Some(b)) = (ours.last(), theirs.last()) {
            println!("{a} {b}");
        }
    }
    ours.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    theirs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let (ours, theirs) = (ours[ROUNDS / 2], theirs[ROUNDS / 2]);
    println!(
        "median: {:.2} of quinn's calls a second",
        ours.rate / theirs.rate
    );
}

#[derive(Clone, Copy)]
struct Measured {
    rate: f64,
    /// Processor time for a million calls, both sides.
    cpu: f64,
}

impl core::fmt::Display for Measured {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:>10.0}/s {:>6.2} s/million", self.rate, self.cpu)
    }
}

/// Processor time this process has used.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn measured(start: (Instant, Duration), calls: u64) -> Measured {
    let (wall, cpu) = (start.0.elapsed(), cpu() - start.1);
    Measured {
        rate: calls as f64 / wall.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / calls as f64,
    }
}

async fn qpq(identity: &Identity, load: Load) -> Measured {
    let (certificate, key) = (identity.certificate.clone(), identity.key.clone());
    let config = Config::server(certificate, key, &[Alpn::Qpq]).expect("key");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let server = Server::bind(listen, &config, Echo::default(), NoStore).expect("binds");
    let config = Config::client(Trust::PinOnFirstUse { sha256: None });
    let client = Client::open(&config, Echo::default(), NoStore).expect("opens");
    let address = server.local_addr().to_string();
    let mut conns = Vec::new();
    for _ in 0..load.connections {
        let address = address.clone();
        let act = client.act(move |core, _| core.connect(&address, Alpn::Qpq));
        act.await.expect("runs");
        let Some(Event::Connected(conn, ..)) = client.next_event().await else {
            panic!("not connected");
        };
        conns.push(conn);
    }
    let start = (Instant::now(), cpu());
    let begin = client.act(move |core, _| {
        core.again = load.calls - load.in_flight * load.connections;
        core.last = load.calls;
        for conn in conns {
            for _ in 0..load.in_flight {
                core.call(conn, vec![7; LENGTH]);
            }
        }
    });
    begin.await.expect("runs");
    assert!(matches!(client.next_event().await, Some(Event::Answer(..))));
    let measured = measured(start, load.calls);
    client.close().await;
    server.close().await;
    measured
}

async fn quinn(identity: &Identity, load: Load) -> Measured {
    let certificate = rustls::pki_types::CertificateDer::from(identity.certificate.clone());
    let key = rustls::pki_types::PrivateKeyDer::try_from(identity.key.clone()).expect("key");
    let config = quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key);
    let listen = "127.0.0.1:0".parse().expect("an address");
    let server = quinn::Endpoint::server(config.expect("config"), listen).expect("binds");
    let address = server.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            tokio::spawn(async move {
                let Ok(conn) = incoming.await else { return };
                while let Ok((mut send, mut recv)) = conn.accept_bi().await {
                    tokio::spawn(async move {
                        let data = recv.read_to_end(1 << 20).await.expect("reads");
                        send.write_chunk(Bytes::from(data)).await.expect("writes");
                        send.finish().expect("ends");
                    });
                }
            });
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = QuicClientConfig::try_from(tls).expect("config");
    let mut client =
        quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("opens");
    client.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    let mut loops = Vec::new();
    let mut conns = Vec::new();
    for _ in 0..load.connections {
        let connecting = client.connect(address, "localhost").expect("config");
        conns.push(connecting.await.expect("connects"));
    }
    let start = (Instant::now(), cpu());
    for conn in &conns {
        for _ in 0..load.in_flight {
            let conn = conn.clone();
            loops.push(tokio::spawn(async move {
                let data = Bytes::from(vec![7; LENGTH]);
                for _ in 0..load.calls / load.in_flight / load.connections {
                    let (mut send, mut recv) = conn.open_bi().await.expect("opens");
                    send.write_chunk(data.clone()).await.expect("writes");
                    send.finish().expect("ends");
                    let answer = recv.read_to_end(1 << 20).await.expect("reads");
                    assert_eq!(answer.len(), LENGTH);
                }
            }));
        }
    }
    for each in loops {
        each.await.expect("runs");
    }
    let measured = measured(start, load.calls);
    conns.iter().for_each(|conn| conn.close(0_u32.into(), b""));
    client.wait_idle().await;
    measured
}
