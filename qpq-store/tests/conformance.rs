//! The suite holds: an engine that does one thing wrong is caught.

use std::sync::{Arc, Mutex};

use qpq_protocol::storage::{Command, Engine, Memory, Reply};
use qpq_store::conformance::{self, Subject};

/// Forgets everything when it is closed.
struct Forgetful;

impl Subject for Forgetful {
    type Engine = Memory;

    fn open(&mut self) -> Memory {
        Memory::new()
    }
}

#[test]
#[should_panic(expected = "minimal failing input")]
fn rows_that_do_not_outlive_their_engine_are_noticed() {
    conformance::check(64, || Forgetful);
}

/// Commits whatever its checks say, on rows that outlive it.
struct Unchecked(Arc<Mutex<Memory>>);

impl Engine for Unchecked {
    fn run(&mut self, mut batch: Vec<Command>) -> Vec<Reply> {
        for command in &mut batch {
            if let Command::Commit(commit) = command {
                commit.checks.clear();
            }
        }
        self.0.lock().unwrap().run(batch)
    }
}

#[derive(Default)]
struct Rows(Arc<Mutex<Memory>>);

impl Subject for Rows {
    type Engine = Unchecked;

    fn open(&mut self) -> Unchecked {
        Unchecked(Arc::clone(&self.0))
    }
}

/// It says that it has committed what was to be refused, for a conflict or a key that is too long.
#[test]
#[should_panic(expected = "Committed")]
fn checks_that_are_not_made_are_noticed() {
    conformance::check(64, Rows::default);
}
