//! How a figure comes about: the contenders take turns, and the median of all turns counts.

use std::time::{Duration, Instant};

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    /// For each row, preparations between the samples included.
    pub row: Duration,
    /// Largest number of members added.
    pub largest: usize,
}

/// What is measured of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Op {
    KeyPackage,
    /// Adds all members in one commit, and applies it.
    Add,
    Join,
    /// A commit with a path; left pending.
    Update,
    /// Another member's update, merged.
    Process,
    Encrypt,
    Decrypt,
}

impl Op {
    pub const ALL: [Op; 7] = [
        Op::KeyPackage,
        Op::Add,
        Op::Join,
        Op::Update,
        Op::Process,
        Op::Encrypt,
        Op::Decrypt,
    ];

    pub fn label(self, added: usize) -> String {
        match self {
            Op::KeyPackage => "key package".to_owned(),
            Op::Add => format!("add {added} and apply"),
            Op::Join => format!("join {}", added + 1),
            Op::Update => format!("update commit, {}", added + 1),
            Op::Process => format!("process commit, {}", added + 1),
            Op::Encrypt => format!("encrypt, {}", added + 1),
            Op::Decrypt => format!("decrypt, {}", added + 1),
        }
    }
}

/// Bytes of an application message of 200 bytes, medians of 100.
#[derive(Clone, Copy, Default)]
pub struct Bytes {
    pub wire: usize,
    pub written_by_sender: usize,
    pub written_by_receiver: usize,
}

/// One way to run a group, with a founder and a second member.
pub trait Stack {
    /// Does the operation once, from the same state each time, and says how long it took: the
    /// operation itself, its decoding and encoding, and handing out what has to be stored.
    fn time(&mut self, op: Op) -> Duration;

    fn bytes(&mut self) -> Bytes;
}

/// How long `operation` takes; dropping its result is not part of it.
pub fn timed<T>(operation: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = std::hint::black_box(operation());
    (start.elapsed(), result)
}

/// Median time of each contender, after at least three rounds.
pub fn rounds(stacks: &mut [Box<dyn Stack>], op: Op, effort: Effort) -> Vec<Duration> {
    // The first round only warms up. A turn is several operations, so that what the others left in
    // the caches does not count.
    let turns: Vec<u32> = stacks
        .iter_mut()
        .map(|stack| {
            let first = stack.time(op).as_micros().max(1);
            u32::try_from(2_000 / first).unwrap_or(20).clamp(1, 20)
        })
        .collect();
    let mut samples = vec![Vec::new(); stacks.len()];
    let start = Instant::now();
    while start.elapsed() < effort.row || samples.iter().any(|all| all.len() < 3) {
        for ((stack, samples), turn) in stacks.iter_mut().zip(&mut samples).zip(&turns) {
            samples.extend((0..*turn).map(|_| stack.time(op)));
        }
    }
    samples.into_iter().map(median).collect()
}

/// Median time of one `operation`, of which a sample is so many.
pub fn alone(effort: Effort, many: u32, mut operation: impl FnMut()) -> Duration {
    let mut samples = Vec::new();
    let start = Instant::now();
    while start.elapsed() < effort.row / 4 || samples.len() < 3 {
        let (time, ()) = timed(|| (0..many).for_each(|_| operation()));
        samples.push(time / many);
    }
    median(samples)
}

pub fn median<T: Ord + Copy>(mut samples: Vec<T>) -> T {
    samples.sort_unstable();
    samples[samples.len() / 2]
}
