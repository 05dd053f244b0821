//! One row of `qpq-lab bench --against`, in a process of its own: two builds can take turns, and valgrind
//! can count what one of them does. Everything happens in virtual time, so that two runs do the same.

mod client;
mod server;
mod state;
mod world;

use std::path::PathBuf;
use std::time::Duration;

pub use client::GROUPS;

use super::process::{cpu_time, own_id};
use super::{Failure, Outcome};

/// The name that stands for making what the rows of a client read.
pub const PREPARE: &str = "prepare";

/// What the process is told.
#[derive(clap::Args, Clone, Debug)]
pub struct RowArgs {
    /// Which row; without it, the names of all
    pub name: Option<String>,
    /// Repetitions; of `prepare`, messages
    #[arg(long, default_value_t = 1)]
    pub count: usize,
    /// The client's stored state: `prepare` writes it, its rows read it
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Do what comes before the measurement, and nothing of what is measured
    #[arg(long)]
    pub dry: bool,
}

/// A thing to measure.
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// Repetitions when time is taken.
    pub timed: usize,
    /// Repetitions when instructions are counted; 0 where they are not.
    pub counted: usize,
    /// Whether it reads a client's stored state.
    pub on_state: bool,
    run: fn(&RowArgs) -> Outcome<Figures>,
}

/// Figures of a row by their names.
pub type Figures = Vec<(&'static str, f64)>;

/// Processor time of one repetition, in microseconds.
pub const MICROS: &str = "micros";
/// Memory that one repetition holds, in bytes.
pub const HELD: &str = "held";

/// All rows, in the order of the table.
pub const ROWS: [Row; 7] = [
    Row {
        name: "health",
        about: "Health, 256 B each way",
        timed: 200_000,
        counted: 5000,
        on_state: false,
        run: server::health,
    },
    Row {
        name: "enqueue",
        about: "Enqueue, 256 B",
        timed: 50_000,
        counted: 4000,
        on_state: false,
        run: server::enqueue,
    },
    Row {
        name: "fetch",
        about: "Fetch of 10, 256 B each",
        timed: 50_000,
        counted: 4000,
        on_state: false,
        run: server::fetch,
    },
    Row {
        name: "ack",
        about: "Ack of 1",
        timed: 20_000,
        counted: 4000,
        on_state: false,
        run: server::ack,
    },
    Row {
        name: "login",
        about: "Logout and login, both cores, Argon2id at the cost of tests",
        timed: 200,
        counted: 20,
        on_state: false,
        run: client::login,
    },
    Row {
        name: "open",
        about: "Opening a client",
        timed: 1,
        counted: 1,
        on_state: true,
        run: client::open,
    },
    Row {
        name: "client-memory",
        about: "Memory of an open client",
        timed: 4,
        counted: 0,
        on_state: true,
        run: client::memory,
    },
];

/// Runs a row and prints its figures, one a line; or the names of all.
pub fn run(args: &RowArgs) -> Outcome<()> {
    let Some(name) = &args.name else {
        println!("{PREPARE}");
        ROWS.iter().for_each(|row| println!("{}", row.name));
        return Ok(());
    };
    if args.count == 0 {
        return Err(Failure::new("--count is at least 1"));
    }
    if name == PREPARE {
        return client::prepare(args);
    }
    let row = ROWS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| Failure::new(format!("there is no row {name}")))?;
    for (name, value) in (row.run)(args)? {
        println!("{name} {value}");
    }
    Ok(())
}

/// The processor time that `work` takes, in microseconds.
fn timed(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let before = cpu_time(own_id())?;
    work()?;
    let taken: Duration = cpu_time(own_id())?.saturating_sub(before);
    Ok(taken.as_secs_f64() * 1e6)
}
