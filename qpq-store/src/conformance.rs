//! The suite that any engine has to pass: whatever commands come, in whatever batches, an engine answers what the
//! reference engine does, and holds the same rows, also after it was opened again.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use qpq_protocol::storage::{Command, Engine, Memory, Reply};
//! use qpq_store::conformance::{self, Subject};
//!
//! /// An engine of one's own: here the reference engine, on rows that outlive it.
//! struct Own(Arc<Mutex<Memory>>);
//!
//! impl Engine for Own {
//!     fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
//!         self.0.lock().unwrap().run(batch)
//!     }
//! }
//!
//! /// Where its rows are.
//! #[derive(Default)]
//! struct Rows(Arc<Mutex<Memory>>);
//!
//! impl Subject for Rows {
//!     type Engine = Own;
//!
//!     fn open(&mut self) -> Own {
//!         Own(Arc::clone(&self.0))
//!     }
//! }
//!
//! conformance::check(64, Rows::default);
//! ```

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use qpq_protocol::storage::{Command, Commit, Direction, Engine, Expect, Memory, Scan};

/// Where an engine's rows are.
pub trait Subject {
    /// The engine.
    type Engine: Engine;

    /// Opens the engine on what it has stored here: nothing, the first time. The one opened before has been dropped.
    fn open(&mut self) -> Self::Engine;
}

/// Runs this many random stories, each on an empty store of its own.
///
/// # Panics
/// If the engine does something else than the reference engine, with the shortest story that shows it.
pub fn check<S: Subject>(stories: u32, empty: impl Fn() -> S) {
    let config = ProptestConfig {
        cases: stories,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let batches = prop::collection::vec(prop::collection::vec(command(), 0..8), 1..8);
    let run = TestRunner::new(config).run(&(batches, 0usize..8), |(batches, reopen_at)| {
        answers_as_the_reference(&mut empty(), batches, reopen_at)
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

fn answers_as_the_reference<S: Subject>(
    subject: &mut S,
    batches: Vec<Vec<Command>>,
    reopen_at: usize,
) -> Result<(), TestCaseError> {
    let mut reference = Memory::new();
    let mut engine = subject.open();
    for (at, batch) in batches.into_iter().enumerate() {
        if at == reopen_at {
            drop(engine);
            engine = subject.open();
        }
        prop_assert_eq!(engine.run(batch.clone()), reference.run(batch));
        engine.idle();
    }
    drop(engine);
    let contents = reference.run(vec![everything()]);
    prop_assert_eq!(subject.open().run(vec![everything()]), contents);
    Ok(())
}

/// A command that reads all rows.
#[must_use]
pub fn everything() -> Command {
    Command::Scan(Scan {
        start: Bytes::new(),
        end: Bytes::from(vec![0xff; 513]),
        direction: Direction::Forward,
        items: usize::MAX,
        bytes: usize::MAX,
    })
}

/// Few keys, so that commands meet; prefixes of each other, empty and all-ones ones among them.
fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff)], 0..4),
        1 => Just(vec![1; 512]),
        1 => Just(vec![1; 513]),
    ]
    .prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => (any::<bool>(), 0usize..3).prop_map(|(byte, length)| vec![u8::from(byte); length]),
        2 => (0usize..20_000).prop_map(|length| vec![7; length]),
        1 => Just(vec![8; 64 * 1024]),
        1 => Just(vec![9; 64 * 1024 + 1]),
    ]
    .prop_map(Bytes::from)
}

fn command() -> impl Strategy<Value = Command> {
    let expect = prop_oneof![Just(Expect::Absent), value().prop_map(Expect::Equals)];
    let commit = (
        prop::collection::vec((key(), expect), 0..2),
        prop::collection::vec((key(), value()), 0..4),
        prop::collection::vec(key(), 0..3),
    )
        .prop_map(|(checks, puts, deletes)| {
            Command::Commit(Commit {
                checks,
                puts,
                deletes,
            })
        });
    let bound = prop_oneof![0usize..5, Just(usize::MAX)];
    let bytes = prop_oneof![0usize..100, Just(usize::MAX)];
    let scan = (key(), key(), any::<bool>(), bound, bytes).prop_map(
        |(start, end, forward, items, bytes)| {
            Command::Scan(Scan {
                start,
                end,
                direction: if forward {
                    Direction::Forward
                } else {
                    Direction::Backward
                },
                items,
                bytes,
            })
        },
    );
    prop_oneof![
        4 => commit,
        1 => scan,
        1 => prop::collection::vec(key(), 0..4).prop_map(Command::Get),
    ]
}
