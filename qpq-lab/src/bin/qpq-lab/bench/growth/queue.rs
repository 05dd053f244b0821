//! Enqueue, Fetch and Ack on a queue that is ever longer, in SQLite.

use std::time::Instant;

use qpq_protocol::storage::{Command, Engine as _};
use qpq_server_example::scratch::Scratch;
use qpq_server_example::time::unix_now;
use qpq_store::sqlite::{Options, Sqlite};

use crate::bench::accounts::{self, Messages, ack, fetch};
use crate::bench::alone::Alone;
use crate::bench::table;
use crate::bench::{Failure, Outcome, Scope};

const SIZES: [u64; 5] = [1, 1000, 10_000, 100_000, 1_000_000];
/// Requests at once while the queue is filled; and messages a commit.
const BATCH: u64 = 64;
/// Operations that are timed.
const TIMED: u64 = 640;
/// Messages that one Fetch answers.
const FETCHED: u32 = 10;

/// Measures and prints.
pub fn run(scope: &Scope) -> Outcome<()> {
    let scratch = Scratch::try_new_in(&scope.dir, "bench");
    let scratch = scratch.map_err(Failure::of("a directory"))?;
    let path = scratch.path().join("queue.db");
    let mut engine = Sqlite::open(&path, &Options::default()).map_err(Failure::of("database"))?;
    let now = unix_now();
    let accounts = accounts::accounts(2, now);
    engine.run(accounts.into_iter().map(Command::Commit).collect());
    let mut limits = accounts::limits();
    // The queue's own bounds are what this is about.
    (limits.queue_messages, limits.queue_bytes) = (usize::MAX, usize::MAX);
    limits.queue_sender_share = 1;
    let mut alone = Alone::start(engine, limits, now)?;
    let (reader, sender) = (alone.connect(Some(0))?, alone.connect(Some(1))?);
    let mut messages = Messages {
        recipients: 1,
        payload: 64,
        want_proof: false,
        now,
        next: 0,
    };
    let mut acked = 0;
    let mut rows = Vec::new();
    for size in SIZES {
        if scope.quick && size > 1000 {
            break;
        }
        let left = size.saturating_sub(messages.next - acked);
        timed(&mut alone, left, |alone, _| {
            alone.request(sender, messages.enqueue());
            Ok(())
        })?;
        let enqueue = timed(&mut alone, TIMED, |alone, _| {
            alone.request(sender, messages.enqueue());
            Ok(())
        })?;
        let first = acked;
        let fetch = timed(&mut alone, TIMED, |alone, _| {
            alone.request(reader, fetch(0, first, FETCHED));
            Ok(())
        })?;
        let ack = timed(&mut alone, TIMED, |alone, number| {
            // Each waits for the one before: at once, each would read what those before it remove.
            alone.drain()?;
            alone.request(reader, ack(0, first + number + 1));
            Ok(())
        })?;
        acked += TIMED;
        let mut row = vec![size.to_string()];
        row.extend([enqueue, fetch, ack].map(table::number));
        rows.push(row);
    }
    let title = format!(
        "Growth: core and SQLite, one thread, {BATCH} requests at once (Ack: 1), messages of 64 B, µs a request"
    );
    let fetch = format!("Fetch of {FETCHED}");
    table::print(
        &title,
        &["messages in the queue", "Enqueue", &fetch, "Ack of 1"],
        &rows,
    );
    Ok(())
}

/// Microseconds that each of `count` requests takes, in batches.
fn timed(
    alone: &mut Alone<Sqlite>,
    count: u64,
    mut ask: impl FnMut(&mut Alone<Sqlite>, u64) -> Outcome<()>,
) -> Outcome<f64> {
    let start = Instant::now();
    for number in 0..count {
        ask(alone, number)?;
        if number % BATCH == BATCH - 1 || number == count - 1 {
            alone.drain()?;
        }
    }
    alone.take_counts();
    Ok(start.elapsed().as_secs_f64() * 1e6 / count as f64)
}
