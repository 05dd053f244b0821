//! What one server core does in a second on one thread, with the memory engine and without network.

use std::time::{Duration, Instant};

use bytes::Bytes;
use qpq_protocol::storage::{Command, Engine as _, Memory};
use qpq_server_example::time::unix_now;

use super::accounts::{self, Messages, health};
use super::alone::Alone;
use super::process::{cpu_time, own_id};
use super::table::{self, Series};
use super::{Outcome, Scope};

/// Requests in flight: eight on each connection.
const IN_FLIGHT: usize = 64;
const SENDERS: usize = 8;
const RECIPIENTS: u64 = 1000;
/// Bytes of a message.
const PAYLOAD: usize = 256;

/// What is asked.
const KINDS: [(&str, Kind, usize); 3] = [
    ("Health, 256 B each way", Kind::Health, 400_000),
    ("Enqueue, 256 B", Kind::Enqueue { proof: false }, 100_000),
    (
        "Enqueue, 256 B, with a delivery proof",
        Kind::Enqueue { proof: true },
        40_000,
    ),
];
const GOALS: [&str; 3] = ["1,000,000", "150,000", "40,000"];

#[derive(Clone, Copy)]
enum Kind {
    Health,
    Enqueue { proof: bool },
}

/// Requests a second.
struct Rates {
    /// Of the core with its engine.
    together: f64,
    /// Of the core, without the time of the engine.
    core: f64,
    /// Processor time of both, in microseconds a request.
    cpu: f64,
}

/// Measures and prints.
pub fn run(scope: &Scope) -> Outcome<()> {
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..scope.rounds() {
        for ((_, kind, count), rounds) in KINDS.into_iter().zip(&mut rounds) {
            let count = if scope.quick { count / 20 } else { count };
            rounds.push(measure(kind, count)?);
        }
    }
    let mut rows = Vec::new();
    for (((name, ..), goal), rounds) in KINDS.into_iter().zip(GOALS).zip(&rounds) {
        let series = |figure: fn(&Rates) -> f64| Series::new(rounds.iter().map(figure)).to_string();
        rows.push(vec![
            name.to_owned(),
            series(|rates| rates.together),
            series(|rates| rates.core),
            series(|rates| rates.cpu),
            goal.to_owned(),
        ]);
    }
    let title = format!(
        "The server core alone, one thread, {IN_FLIGHT} in flight on {SENDERS} connections, \
         {RECIPIENTS} recipients: requests a second"
    );
    let head = [
        "",
        "with the memory engine",
        "the core's share",
        "µs of processor time a request, both",
        "goal",
    ];
    table::print(&title, &head, &rows);
    Ok(())
}

fn measure(kind: Kind, count: usize) -> Outcome<Rates> {
    let mut alone = start()?;
    let frames = frames(kind, count);
    alone.take_counts();
    let cpu = cpu_time(own_id())?;
    let start = Instant::now();
    for batch in frames.chunks(IN_FLIGHT) {
        for (number, frame) in batch.iter().enumerate() {
            alone.request(number % SENDERS, frame.clone());
        }
        alone.drain()?;
    }
    let time = start.elapsed();
    let cpu = cpu_time(own_id())?.saturating_sub(cpu);
    let (answered, storage) = alone.take_counts();
    let rate = |time: Duration| answered as f64 / time.as_secs_f64();
    Ok(Rates {
        together: rate(time),
        core: rate(time.saturating_sub(storage)),
        cpu: cpu.as_secs_f64() * 1e6 / answered as f64,
    })
}

/// A core on the memory engine, with senders that are logged in.
fn start() -> Outcome<Alone<Memory>> {
    let now = unix_now();
    let mut memory = Memory::new();
    let accounts = accounts::accounts(RECIPIENTS + SENDERS as u64, now);
    memory.run(accounts.into_iter().map(Command::Commit).collect());
    let mut alone = Alone::start(memory, accounts::limits(), now)?;
    for sender in 0..SENDERS {
        alone.connect(Some(RECIPIENTS + sender as u64))?;
    }
    Ok(alone)
}

fn frames(kind: Kind, count: usize) -> Vec<Bytes> {
    let mut messages = Messages {
        recipients: RECIPIENTS,
        payload: PAYLOAD,
        want_proof: matches!(kind, Kind::Enqueue { proof: true }),
        now: unix_now(),
        next: 0,
    };
    // What is asked again and again is one frame, so that making it costs nothing.
    let same = health();
    let next = || match kind {
        Kind::Health => same.clone(),
        Kind::Enqueue { .. } => messages.enqueue(),
    };
    std::iter::repeat_with(next).take(count).collect()
}
