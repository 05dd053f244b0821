//! Rows of the server core: requests of clients that are logged in, on the memory engine.

use bytes::Bytes;
use qpq_protocol::storage::{Command, Engine as _, Memory};
use qpq_protocol::time::UnixTime;

use super::{Figures, MICROS, RowArgs, timed};
use crate::bench::Outcome;
use crate::bench::accounts::{self, Messages};
use crate::bench::alone::{Alone, Stored};

/// Connections, each with a session of its own, and requests in flight on all of them.
const SENDERS: usize = 8;
const IN_FLIGHT: usize = 64;
/// Accounts that messages go to, where many are meant.
const RECIPIENTS: u64 = 1000;
/// Bytes of a message.
const PAYLOAD: usize = 256;
/// Messages that one Fetch answers.
const FETCHED: u32 = 10;
/// The date at which all happens: 2026-01-01.
const DATE: UnixTime = UnixTime::from_millis(1_767_225_600_000);

/// Health.
pub fn health(args: &RowArgs) -> Outcome<Figures> {
    let mut alone = start(RECIPIENTS)?;
    let frame = accounts::health();
    let frames = (0..args.count).map(|number| (number % SENDERS, frame.clone()));
    measure(&mut alone, args, IN_FLIGHT, frames.collect())
}

/// Enqueue, to one account after the other.
pub fn enqueue(args: &RowArgs) -> Outcome<Figures> {
    let mut alone = start(RECIPIENTS)?;
    let mut messages = messages(RECIPIENTS);
    let frames = (0..args.count).map(|number| (number % SENDERS, messages.enqueue()));
    let frames = frames.collect();
    measure(&mut alone, args, IN_FLIGHT, frames)
}

/// Fetch by accounts with as many messages as an answer holds.
pub fn fetch(args: &RowArgs) -> Outcome<Figures> {
    let (mut alone, readers) = readers(SENDERS * FETCHED as usize)?;
    let frames = (0..args.count).map(|number| {
        let reader = number % SENDERS;
        (readers + reader, accounts::fetch(reader as u64, 0, FETCHED))
    });
    measure(&mut alone, args, IN_FLIGHT, frames.collect())
}

/// Ack of one message at a time, one in flight for each queue.
pub fn ack(args: &RowArgs) -> Outcome<Figures> {
    let (mut alone, readers) = readers(args.count.next_multiple_of(SENDERS))?;
    let frames = (0..args.count).map(|number| {
        let (reader, seq) = (number % SENDERS, number / SENDERS + 1);
        (readers + reader, accounts::ack(reader as u64, seq as u64))
    });
    measure(&mut alone, args, SENDERS, frames.collect())
}

/// Asks all of it, so many at once.
fn measure(
    alone: &mut Alone<Memory>,
    args: &RowArgs,
    at_once: usize,
    frames: Vec<(usize, Bytes)>,
) -> Outcome<Figures> {
    alone.take_stored();
    if args.dry {
        return Ok(Vec::new());
    }
    let micros = timed(|| ask(alone, at_once, &frames))?;
    let each = |sum: u64| sum as f64 / frames.len() as f64;
    let Stored {
        commands,
        checks,
        puts,
        deletes,
        bytes,
    } = alone.take_stored();
    Ok(vec![
        (MICROS, each(1) * micros),
        ("commands", each(commands)),
        ("checks", each(checks)),
        ("puts", each(puts)),
        ("deletes", each(deletes)),
        ("bytes", each(bytes)),
    ])
}

fn ask(alone: &mut Alone<Memory>, at_once: usize, frames: &[(usize, Bytes)]) -> Outcome<()> {
    for batch in frames.chunks(at_once) {
        for (connection, frame) in batch {
            alone.request(*connection, frame.clone());
        }
        alone.drain()?;
    }
    alone.take_counts();
    Ok(())
}

/// A core with senders that are logged in, behind these accounts, on the connections from 0.
fn start(recipients: u64) -> Outcome<Alone<Memory>> {
    let mut memory = Memory::new();
    let accounts = accounts::accounts(recipients + SENDERS as u64, DATE);
    memory.run(accounts.into_iter().map(Command::Commit).collect());
    let mut limits = accounts::limits();
    // How long a queue may grow is not the question.
    (limits.queue_messages, limits.queue_bytes) = (usize::MAX, usize::MAX);
    limits.queue_sender_share = 1;
    let mut alone = Alone::in_virtual_time(memory, limits, DATE)?;
    for sender in 0..SENDERS {
        alone.connect(Some(recipients + sender as u64))?;
    }
    Ok(alone)
}

/// A core with as many readers as senders, who have so many messages together; the first reader's connection.
fn readers(stored: usize) -> Outcome<(Alone<Memory>, usize)> {
    let mut alone = start(SENDERS as u64)?;
    for reader in 0..SENDERS {
        alone.connect(Some(reader as u64))?;
    }
    let mut messages = messages(SENDERS as u64);
    let frames = (0..stored).map(|number| (number % SENDERS, messages.enqueue()));
    let frames: Vec<_> = frames.collect();
    ask(&mut alone, IN_FLIGHT, &frames)?;
    Ok((alone, SENDERS))
}

fn messages(recipients: u64) -> Messages {
    Messages {
        recipients,
        payload: PAYLOAD,
        want_proof: false,
        now: DATE,
        next: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(count: usize, dry: bool) -> RowArgs {
        RowArgs {
            name: None,
            count,
            state: None,
            dry,
        }
    }

    #[test]
    fn two_runs_give_storage_the_same_commands() {
        for row in [health, enqueue, fetch, ack] {
            let run = || {
                let figures = row(&args(100, false)).expect("figures");
                let stored = figures.into_iter().filter(|(name, _)| *name != MICROS);
                stored.collect::<Vec<_>>()
            };
            assert_eq!(run(), run());
            assert_eq!(row(&args(100, true)), Ok(Vec::new()));
        }
    }

    #[test]
    fn each_row_asks_for_what_it_is_named_after() {
        let figure = |figures: &Figures, of: &str| {
            let mut figures = figures.iter();
            figures.find_map(|(name, value)| (*name == of).then_some(*value))
        };
        let acked = ack(&args(80, false)).expect("figures");
        assert!(figure(&acked, "deletes") >= Some(1.0), "{acked:?}");
        let sent = enqueue(&args(80, false)).expect("figures");
        assert!(figure(&sent, "puts") >= Some(3.0), "{sent:?}");
        let read = fetch(&args(80, false)).expect("figures");
        assert_eq!(figure(&read, "puts"), Some(0.0));
        assert!(figure(&read, "commands") > Some(0.0), "{read:?}");
    }
}
