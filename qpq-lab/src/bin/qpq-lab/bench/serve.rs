//! A server process of the benchmark: says its address, serves until its standard input is closed.

use std::path::PathBuf;

use qpq_adapter_tokio as tokio_node;
use qpq_protocol::io::Alpn;
use qpq_protocol::quic;
use qpq_protocol::server::{Event, Server, ServerConfig};
use qpq_protocol::time::Time;
use qpq_server_example::time::unix_now;
use qpq_store::sqlite::{Options, Sqlite};

use super::identity::Identity;
use super::peers::{self, Peer};
use super::process::{pin, until_dropped};
use super::{Failure, Outcome, accounts};

/// The database of our own server, in its directory.
pub const DATABASE: &str = "server.db";

/// What the process is told.
#[derive(clap::Args, Clone, Debug)]
pub struct ServeArgs {
    /// Whose server
    #[arg(long)]
    pub peer: Peer,
    /// Directory of its certificate and database
    #[arg(long)]
    pub dir: PathBuf,
    /// The core it is to stay on
    #[arg(long)]
    pub core: Option<usize>,
}

/// Serves.
pub fn run(args: &ServeArgs) -> Outcome<()> {
    if let Some(core) = args.core {
        pin(core)?;
    }
    std::thread::spawn(|| {
        until_dropped();
        std::process::exit(0);
    });
    let identity = Identity::of(&args.dir);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::of("an event loop"))?;
    runtime.block_on(async {
        match args.peer {
            Peer::Qpq => serve(args, &identity).await,
            Peer::Quinn => peers::quinn::serve(&identity).await,
            Peer::Tonic => peers::tonic::serve(&identity).await,
            Peer::Redis | Peer::Nats => Err(Failure::new("this server is a program of its own")),
        }
    })
}

/// What `qpq-server` runs, with raised rates and a long version.
async fn serve(args: &ServeArgs, identity: &Identity) -> Outcome<()> {
    let path = args.dir.join(DATABASE);
    let mut engine = Sqlite::open(&path, &Options::default()).map_err(Failure::of("database"))?;
    engine.on_broken(|broken| {
        eprintln!("{broken}");
        std::process::exit(1);
    });
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Failure::of("randomness"))?;
    let config = ServerConfig {
        limits: accounts::limits(),
        version: accounts::long_version(),
        ..ServerConfig::default()
    };
    let core = Server::new(config, seed, Time::ZERO, unix_now());
    let [certificate, key] = identity.der()?;
    let config = quic::QuicConfig::server(certificate, key, &[Alpn::Qpq])
        .map_err(Failure::of("a certificate"))?;
    let (node, mut events) = tokio_node::Server::bind(peers::LOOPBACK, &config, core, engine)
        .map_err(Failure::of("server"))?;
    while let Some(event) = events.next().await {
        match event {
            Event::Started { .. } => println!("{}", node.local_addr()),
            other => eprintln!("the server says: {other:?}"),
        }
    }
    Err(Failure::new("the server has stopped"))
}
