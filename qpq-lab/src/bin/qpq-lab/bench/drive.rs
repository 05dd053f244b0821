//! A client process of the benchmark: calls a server, prints what it measured, and ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use qpq_adapter_tokio::Client;
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_server_example::time::unix_now;

use super::accounts::{HealthCalls, Messages, Senders, health};
use super::caller::{Caller, Load, NoStore, Requests};
use super::identity::Identity;
use super::meter::{Length, Meter};
use super::peers::{self, Peer};
use super::process::{Process, pin, until_dropped};
use super::{Failure, Outcome};

/// What the process is told.
#[derive(clap::Args, Clone, Debug)]
pub struct DriveArgs {
    /// Whose server it is
    #[arg(long)]
    pub peer: Peer,
    /// Directory of its certificate
    #[arg(long)]
    pub dir: PathBuf,
    /// Its address
    #[arg(long)]
    pub address: SocketAddr,
    /// The number of its process
    #[arg(long)]
    pub process: u32,
    /// The core to stay on
    #[arg(long)]
    pub core: Option<usize>,
    #[command(flatten)]
    pub load: Load,
    /// What to ask our own server
    #[arg(long, value_enum, default_value_t = Ask::Health)]
    pub ask: Ask,
    /// How long to measure, in milliseconds
    #[arg(long, default_value_t = 1000)]
    pub millis: u64,
    /// Measure the time of so many calls instead
    #[arg(long)]
    pub calls: Option<u64>,
    /// Take the time of each call
    #[arg(long)]
    pub latencies: bool,
    /// Measure nothing: keep the connections, say so, and end with standard input
    #[arg(long)]
    pub hold: bool,
}

/// What is asked of our own server; others echo.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Ask {
    /// Health
    Health,
    /// Enqueue
    Enqueue,
}

impl Ask {
    const fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Enqueue => "enqueue",
        }
    }
}

/// Bytes of a message of the durable row.
pub const PAYLOAD: usize = 1024;
/// Accounts that they go to.
pub const RECIPIENTS: u64 = 1000;

impl DriveArgs {
    /// The client's process.
    pub fn start(&self) -> Outcome<Process> {
        let mut arguments = vec![
            "bench-drive".to_owned(),
            format!("--peer={}", self.peer.name()),
            format!("--dir={}", self.dir.display()),
            format!("--address={}", self.address),
            format!("--process={}", self.process),
            format!("--connections={}", self.load.connections),
            format!("--in-flight={}", self.load.in_flight),
            format!("--ask={}", self.ask.name()),
            format!("--millis={}", self.millis),
        ];
        arguments.extend(self.core.map(|core| format!("--core={core}")));
        arguments.extend(self.calls.map(|calls| format!("--calls={calls}")));
        arguments.extend(self.latencies.then(|| "--latencies".to_owned()));
        arguments.extend(self.hold.then(|| "--hold".to_owned()));
        Process::start(arguments)
    }

    /// The same client's process, once all its connections stand and are kept.
    pub fn hold(&self) -> Outcome<Process> {
        let client = Self {
            hold: true,
            ..self.clone()
        };
        let mut process = client.start()?;
        process.line()?;
        Ok(process)
    }

    fn length(&self) -> Length {
        match self.calls {
            Some(calls) => Length::Calls(calls),
            None => Length::Time(Duration::from_millis(self.millis)),
        }
    }
}

/// Calls, and measures on a thread of its own, which ends the process.
pub fn run(args: &DriveArgs) -> Outcome<()> {
    if let Some(core) = args.core {
        pin(core)?;
    }
    let meter = Arc::new(Meter::new(args.latencies));
    let (watched, asked) = (Arc::clone(&meter), args.clone());
    std::thread::spawn(move || {
        let done = match asked.hold {
            true => hold(&watched),
            false => watched
                .measure(asked.length(), asked.process)
                .map(|measured| println!("{measured}")),
        };
        std::process::exit(match done {
            Ok(()) => 0,
            Err(failure) => {
                eprintln!("{failure}");
                1
            }
        });
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::of("an event loop"))?;
    runtime.block_on(async {
        match (args.peer, args.ask) {
            (Peer::Qpq, Ask::Health) => call(args, HealthCalls(health()), meter).await,
            (Peer::Qpq, Ask::Enqueue) => call(args, senders(args), meter).await,
            (Peer::Quinn, _) => peers::quinn::call(args, meter).await,
            (Peer::Tonic, _) => peers::tonic::call(args, meter).await,
            (Peer::Redis | Peer::Nats, _) => peers::broker::call(args, meter).await,
        }
    })
}

/// Says when all connections stand, and keeps them.
fn hold(meter: &Meter) -> Outcome<()> {
    meter.wait()?;
    println!("held");
    until_dropped();
    Ok(())
}

fn senders(args: &DriveArgs) -> Senders {
    Senders {
        messages: Messages {
            recipients: RECIPIENTS,
            payload: PAYLOAD,
            want_proof: false,
            now: unix_now(),
            next: 0,
        },
        left: args.calls.unwrap_or(u64::MAX),
    }
}

async fn call(args: &DriveArgs, requests: impl Requests, meter: Arc<Meter>) -> Outcome<()> {
    let sha256 = Some(Identity::of(&args.dir).sha256()?);
    let config = QuicConfig::client(Trust::PinOnFirstUse { sha256 });
    let caller = Caller::new(args.address.to_string(), args.load, requests, meter);
    let opened = Client::open(&config, caller, NoStore);
    let (_node, mut events) = opened.map_err(Failure::of("a client"))?;
    match events.next().await {
        Some(never) => match never {},
        None => Err(Failure::new("the client has stopped")),
    }
}
