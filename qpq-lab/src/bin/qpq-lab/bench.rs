//! `qpq-lab bench`: what a server does in a second and what that costs, beside what others do, in one
//! run. Prints tables in Markdown; BENCHMARKS.md explains them. Linux only: it reads `/proc`.
//!
//! Servers and clients are processes of their own, each on one thread (a database has its own), and
//! take turns: a round is one measurement of each. Ratios are made within a round.

mod accounts;
mod against;
mod alone;
mod caller;
mod core;
mod drive;
mod durable;
mod frames;
mod growth;
mod identity;
mod memory;
mod meter;
mod peers;
mod process;
mod row;
mod rpc;
mod serve;
mod table;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use rustix::fs::statfs;

use against::AgainstArgs;
use drive::DriveArgs;
use row::RowArgs;
use serve::ServeArgs;

/// What `f_type` says of a file system in memory.
const TMPFS: u64 = 0x0102_1994;

/// The commands of the benchmark.
#[derive(Subcommand, Debug)]
pub enum Bench {
    /// Measure a server, and others beside it; prints Markdown
    #[command(name = "bench")]
    Measure(BenchArgs),
    /// A server's process of the benchmark
    #[command(name = "bench-serve", hide = true)]
    Serve(ServeArgs),
    /// A client's process of the benchmark
    #[command(name = "bench-drive", hide = true)]
    Drive(DriveArgs),
    /// A row's process of `bench --against`
    #[command(name = "bench-row", hide = true)]
    Row(RowArgs),
}

/// The flags of `qpq-lab bench`.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// What to measure; everything if none is named
    #[arg(value_enum)]
    rows: Vec<Row>,

    /// One short round of each: to see that it works, not how fast
    #[arg(long)]
    quick: bool,

    /// Directory for databases, on the disk to measure; without it, the system's temporary one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    against: AgainstArgs,
}

/// A part of the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Row {
    /// Health calls: rate, latency, processor time; against quinn and tonic
    Rpc,
    /// Durable messages; against the same statements straight into SQLite
    Durable,
    /// The server core alone, on one thread and the memory engine
    Core,
    /// A frame read and written; against copying it
    Frames,
    /// Memory of the server for each idle connection; against quinn
    Memory,
    /// What an operation costs beside more connections, in longer queues and logs
    Growth,
}

/// How much is measured.
#[derive(Clone, Debug)]
struct Scope {
    quick: bool,
    dir: PathBuf,
}

/// Why there is no measurement.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

/// A result, or why there is none.
type Outcome<T> = Result<T, Failure>;

impl Failure {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// For `map_err`: what it was about, and what the system said.
    fn of<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl Scope {
    /// Rounds of every measurement.
    const fn rounds(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }
}

impl Bench {
    /// Runs the command.
    pub fn run(&self) -> ExitCode {
        let done = match self {
            Self::Measure(args) => measure(args),
            Self::Serve(args) => serve::run(args),
            Self::Drive(args) => drive::run(args),
            Self::Row(args) => row::run(args),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{failure}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Measures what was asked for.
fn measure(args: &BenchArgs) -> Outcome<()> {
    if let Some(base) = &args.against.base {
        return against::run(base, &args.against, args.quick);
    }
    let dir = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let about = statfs(&dir).map_err(Failure::of(&dir.to_string_lossy()))?;
    if u64::try_from(about.f_type) == Ok(TMPFS) {
        let why = "is memory, not a disk: name a directory on a disk with --dir";
        return Err(Failure::new(format!("{} {why}", dir.display())));
    }
    let scope = Scope {
        quick: args.quick,
        dir,
    };
    for row in Row::value_variants() {
        if args.rows.is_empty() || args.rows.contains(row) {
            match row {
                Row::Rpc => rpc::run(&scope)?,
                Row::Durable => durable::run(&scope)?,
                Row::Core => core::run(&scope)?,
                Row::Frames => frames::run(&scope)?,
                Row::Memory => memory::run(&scope)?,
                Row::Growth => growth::run(&scope)?,
            }
        }
    }
    Ok(())
}
