//! How often a second each stateful target runs through its committed corpus, and what passes before
//! its first act: `cargo run --profile fuzz -p qpq-fuzz --example pace [SECONDS [TARGET...]]`.
//!
//! Counted is the processor's time of the thread (Linux's `schedstat`), so that a busy machine gives
//! the same figures as an idle one. libFuzzer's counters at each branch come on top.

use std::path::Path;
use std::time::Duration;

// A campaign builds this too, with libFuzzer's counters: what collects them is linked.
use bolero as _;
use qpq_fuzz::stateful::{TARGETS, Target};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok());
    let least = Duration::from_secs(seconds.unwrap_or(10));
    let names: Vec<String> = arguments.collect();
    println!("| target | inputs | a second | slowest input | before the first act |");
    println!("| --- | --- | --- | --- | --- |");
    for target in &TARGETS {
        if names.is_empty() || names.iter().any(|name| name == target.name) {
            measure(target, least);
        }
    }
}

fn measure(target: &Target, least: Duration) {
    let inputs = corpus(target.name);
    // What is prepared once for all executions.
    (target.begin)();
    let begin = mean(200, target.begin);
    let (mut spent, mut executions, mut slowest) = (Duration::ZERO, 0_u32, Duration::ZERO);
    while spent < least {
        for input in &inputs {
            let taken = mean(1, || (target.run)(input));
            slowest = slowest.max(taken);
            spent += taken;
            executions += 1;
        }
    }
    println!(
        "| `{}` | {} | {:.0} | {:.1} ms | {:.2} ms |",
        target.name,
        inputs.len(),
        f64::from(executions) / spent.as_secs_f64(),
        slowest.as_secs_f64() * 1000.0,
        begin.as_secs_f64() * 1000.0,
    );
}

/// How long something takes on average of so many times.
fn mean(times: u32, run: impl Fn()) -> Duration {
    let before = on_processor();
    for _ in 0..times {
        run();
    }
    (on_processor() - before) / times
}

/// How long this thread has been on a processor.
fn on_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/__fuzz__");
    let files = std::fs::read_dir(folder.join(target).join("corpus")).expect("a corpus");
    files
        .map(|file| std::fs::read(file.expect("a file").path()).expect("an input"))
        .collect()
}
