//! The transparency log: appending, its root, and proofs, as it gets longer.

use std::hint::black_box;
use std::time::Instant;

use qpq_crypto::transparency::{Hash, Log, NodeId, ProofPlan, leaf_hash};

use crate::bench::table;
use crate::bench::{Failure, Outcome, Scope};

const SIZES: [u64; 5] = [1000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Operations that are timed.
const TIMED: u64 = 1000;

/// The rows that a log has stored, by level.
#[derive(Default)]
struct Rows(Vec<Vec<Hash>>);

impl Rows {
    fn put(&mut self, node: NodeId, hash: Hash) {
        let level = usize::from(node.level);
        if self.0.len() <= level {
            self.0.resize_with(level + 1, Vec::new);
        }
        // Nodes of a level are completed from the left.
        if let Some(level) = self.0.get_mut(level) {
            level.push(hash);
        }
    }

    fn get(&self, node: NodeId) -> Option<Hash> {
        let index = usize::try_from(node.index).ok()?;
        self.0.get(usize::from(node.level))?.get(index).copied()
    }
}

/// Measures and prints.
pub fn run(scope: &Scope) -> Outcome<()> {
    let (mut log, mut stored) = (Log::new(), Rows::default());
    let mut rows = Vec::new();
    for size in SIZES {
        if scope.quick && size > 10_000 {
            break;
        }
        let left = size.saturating_sub(log.size() + TIMED);
        append(&mut log, &mut stored, left)?;
        let (append, ()) = micros(|| append(&mut log, &mut stored, TIMED))?;
        let (root, ()) = micros(|| {
            (0..TIMED).for_each(|_| _ = black_box(black_box(&log).root()));
            Ok(())
        })?;
        let (inclusion, longest) = micros(|| {
            let mut longest = 0;
            for number in 0..TIMED {
                let index = number * 7919 % size;
                let plan = ProofPlan::inclusion(index, size).map_err(Failure::of("a proof"))?;
                let hashes: Option<Vec<Hash>> = plan.nodes().map(|node| stored.get(node)).collect();
                let hashes = hashes.ok_or_else(|| Failure::new("a row of the log is missing"))?;
                let path = plan.finish(&hashes).map_err(Failure::of("a proof"))?;
                longest = longest.max(black_box(path).len());
            }
            Ok(longest)
        })?;
        let mut row = vec![size.to_string()];
        row.extend([append, root, inclusion].map(table::number));
        row.push(longest.to_string());
        rows.push(row);
    }
    let head = [
        "leaves",
        "append",
        "root",
        "inclusion proof",
        "hashes in it",
    ];
    table::print(
        "Growth: the transparency log, µs an operation",
        &head,
        &rows,
    );
    Ok(())
}

fn append(log: &mut Log, stored: &mut Rows, count: u64) -> Outcome<()> {
    for _ in 0..count {
        let leaf = leaf_hash(&log.size().to_be_bytes());
        let puts = log.append(leaf).map_err(Failure::of("the log"))?;
        puts.into_iter()
            .for_each(|(node, hash)| stored.put(node, hash));
    }
    Ok(())
}

/// Microseconds that each of [`TIMED`] operations takes, and what came of them.
fn micros<T>(run: impl FnOnce() -> Outcome<T>) -> Outcome<(f64, T)> {
    let start = Instant::now();
    let made = run()?;
    Ok((start.elapsed().as_secs_f64() * 1e6 / TIMED as f64, made))
}
