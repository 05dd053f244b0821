//! The example of an engine of one's own answers and holds what the reference engine does, also after
//! it was opened again.

#![allow(missing_docs, dead_code, clippy::disallowed_methods)]

#[path = "../examples/custom_store.rs"]
mod example;

use bytes::Bytes;
use example::Snapshots;
use proptest::prelude::*;
use qpq_protocol::storage::{Command, Commit, Direction, Engine as _, Expect, Memory, Scan};

fn key() -> impl Strategy<Value = Bytes> {
    (0..4_u8).prop_map(|byte| vec![byte].into())
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(0..2_u8, 0..3).prop_map(Bytes::from)
}

fn command() -> impl Strategy<Value = Command> {
    let expect = prop_oneof![Just(Expect::Absent), value().prop_map(Expect::Equals)];
    let commit = (
        prop::collection::vec((key(), expect), 0..2),
        // A key may stand twice: then every engine refuses.
        prop::collection::vec((key(), value()), 0..3),
        prop::collection::vec(key(), 0..2),
    );
    let scan = (key(), key(), any::<bool>(), 0..4_usize, 0..8_usize);
    prop_oneof![
        prop::collection::vec(key(), 0..4).prop_map(Command::Get),
        scan.prop_map(|(start, end, forward, items, bytes)| {
            let direction = match forward {
                true => Direction::Forward,
                false => Direction::Backward,
            };
            Command::Scan(Scan {
                start,
                end,
                direction,
                items,
                bytes,
            })
        }),
        commit.prop_map(|(checks, puts, deletes)| {
            Command::Commit(Commit {
                checks,
                puts,
                deletes,
            })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_example_answers_as_the_reference_does(
        batches in prop::collection::vec(prop::collection::vec(command(), 1..6), 1..4),
    ) {
        let directory = folder();
        let mut memory = Memory::new();
        for batch in batches {
            let mut store = Snapshots::open(directory.clone()).expect("opens");
            prop_assert_eq!(store.run(batch.clone()), memory.run(batch));
        }
        std::fs::remove_dir_all(directory).expect("it was made");
    }
}

/// A folder that nobody else uses.
fn folder() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("qpq-custom-store-{}-{number}", std::process::id()))
}
