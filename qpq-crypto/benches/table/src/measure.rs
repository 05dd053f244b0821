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

/// How long `operation` takes; dropping its result is not part of it. A profiler finds it by its name.
#[inline(never)]
pub fn timed<T>(operation: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = std::hint::black_box(operation());
    (start.elapsed(), result)
}

/// A median, and half the distance between the quartiles.
#[derive(Clone, Copy)]
pub struct Figure<T> {
    pub median: T,
    pub spread: T,
}

impl Figure<Duration> {
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |part: usize| samples[part * (samples.len() - 1) / 4];
        Figure {
            median: at(2),
            spread: (at(3) - at(1)) / 2,
        }
    }
}

impl Figure<f64> {
    fn of_ratios(mut samples: Vec<f64>) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        let at = |part: usize| samples[part * (samples.len() - 1) / 4];
        Figure {
            median: at(2),
            spread: (at(3) - at(1)) / 2.0,
        }
    }
}

/// What a row says.
pub struct Row {
    /// Of each contender, ours first.
    pub times: Vec<Figure<Duration>>,
    /// Ours over each of the others, round by round: what slows a round down slows all of them.
    pub ratios: Vec<Figure<f64>>,
}

/// Nothing but the operation, for a profiler.
pub fn repeat(stacks: &mut [Box<dyn Stack>], op: Op, number: u32) {
    for stack in stacks {
        (0..number).for_each(|_| _ = stack.time(op));
    }
}

/// The contenders in turns, for at least five rounds.
pub fn rounds(stacks: &mut [Box<dyn Stack>], op: Op, effort: Effort) -> Row {
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
    let mut turn_medians = vec![Vec::new(); stacks.len()];
    let start = Instant::now();
    let mut order: Vec<usize> = (0..stacks.len()).collect();
    while start.elapsed() < effort.row || turn_medians.iter().any(|all| all.len() < 5) {
        for &at in &order {
            let turn: Vec<_> = (0..turns[at]).map(|_| stacks[at].time(op)).collect();
            samples[at].extend_from_slice(&turn);
            turn_medians[at].push(median(turn));
        }
        // Who comes after whom changes, too.
        order.reverse();
    }
    let ratios = turn_medians[1..].iter().map(|others| {
        let pairs = turn_medians[0].iter().zip(others);
        Figure::of_ratios(pairs.map(|(a, b)| a.div_duration_f64(*b)).collect())
    });
    Row {
        ratios: ratios.collect(),
        times: samples.into_iter().map(Figure::of).collect(),
    }
}

/// Time of one `operation` on what was prepared for it. A sample is as many as take a while.
pub fn alone<T>(
    effort: Effort,
    mut prepare: impl FnMut() -> T,
    mut operation: impl FnMut(T),
) -> Figure<Duration> {
    let mut sample = |many: u32| {
        let prepared: Vec<T> = (0..many).map(|_| prepare()).collect();
        let (time, ()) = timed(|| prepared.into_iter().for_each(&mut operation));
        time / many
    };
    sample(1);
    let nanos = sample(1).as_nanos().max(1);
    let many = u32::try_from(200_000 / nanos)
        .unwrap_or(1000)
        .clamp(1, 1000);
    let mut samples = Vec::new();
    let start = Instant::now();
    while start.elapsed() < effort.row / 4 || samples.len() < 5 {
        samples.push(sample(many));
    }
    Figure::of(samples)
}

pub fn median<T: Ord + Copy>(mut samples: Vec<T>) -> T {
    samples.sort_unstable();
    samples[samples.len() / 2]
}
