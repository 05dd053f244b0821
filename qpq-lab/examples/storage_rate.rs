//! How many durable 1 KiB messages a second the SQLite engine takes: `cargo run --release --example
//! storage_rate [directory]`. About ten seconds; the directory should be on the disk that counts.
//!
//! A message here is one Commit: either just its payload, or what an Enqueue makes of it (a check
//! and a put of the queue's head, the payload, an entry under a message id). Queues are picked at
//! random, keys ascend within a queue.

use std::time::{Duration, Instant};

use bytes::Bytes;
use qpq_protocol::rng::Rng;
use qpq_protocol::storage::{Command, Commit, Engine as _, Expect, Reply};
use qpq_server_example::scratch::Scratch;
use qpq_store::sqlite::{Options, Sqlite};

const QUEUES: u64 = 1000;
const TIME: Duration = Duration::from_millis(1600);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = Scratch::try_new("rate")?;
    let dir = match std::env::args().nth(1) {
        Some(dir) => dir.into(),
        None => scratch.path().to_owned(),
    };
    for enqueue in [false, true] {
        for batch in [1, 64, 512] {
            let path = dir.join(format!("rate-{enqueue}-{batch}.db"));
            let mut engine = Sqlite::open(&path, &Options::default())?;
            let mut load = Load::new(enqueue);
            let mut waits = Vec::new();
            let started = Instant::now();
            while started.elapsed() < TIME {
                let commands: Vec<Command> = (0..batch).map(|_| load.next()).collect();
                let asked = Instant::now();
                let replies = engine.run(commands);
                waits.push(asked.elapsed());
                assert!(replies.iter().all(|reply| *reply == Reply::Committed));
            }
            let rate = f64::from(batch) * waits.len() as f64 / started.elapsed().as_secs_f64();
            waits.sort_unstable();
            let at = |part: usize| waits[(waits.len() - 1) * part / 100].as_secs_f64() * 1e3;
            println!(
                "{} {batch:3} a commit: {rate:7.0}/s, a commit {:5.2} ms, p99 {:5.2} ms, worst {:5.2} ms",
                if enqueue { "enqueue" } else { "payload" },
                at(50),
                at(99),
                at(100),
            );
            drop(engine);
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

struct Load {
    rng: Rng,
    heads: Vec<u64>,
    enqueue: bool,
}

impl Load {
    fn new(enqueue: bool) -> Self {
        Self {
            rng: Rng::new([7; 32]),
            heads: vec![0; QUEUES as usize],
            enqueue,
        }
    }

    fn next(&mut self) -> Command {
        let queue = self.rng.below(QUEUES);
        let head = &mut self.heads[queue as usize];
        let before = *head;
        *head += 1;
        // As long as the real thing: key 32, channel 16, device 16.
        let mut name = [0x5a; 65];
        name[1..9].copy_from_slice(&(queue.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
        let key = |kind: u8, rest: &[u8]| {
            name[0] = kind;
            Bytes::from([&name, rest].concat())
        };
        let mut key = key;
        let mut commit = Commit {
            puts: vec![(key(1, &head.to_be_bytes()), Bytes::from(vec![7; 1024]))],
            ..Commit::default()
        };
        if self.enqueue {
            let value = |head: u64| Bytes::from([&head.to_be_bytes()[..], &[1; 32]].concat());
            let expect = match before {
                0 => Expect::Absent,
                _ => Expect::Equals(value(before)),
            };
            commit.checks.push((key(2, &[]), expect));
            commit.puts.push((key(2, &[]), value(*head)));
            let id: [u8; 16] = self.rng.bytes();
            commit.puts.push((key(3, &id), value(0)));
        }
        Command::Commit(commit)
    }
}
