//! Seeds of the simulated world whose bytes travel in datagrams between real QUIC endpoints: all
//! invariants hold, and equal seeds give equal runs although handshakes draw randomness of their own.

use std::time::{Duration, Instant};

use qpq_protocol::sim::{Carrier, Config, Report, run};

#[allow(clippy::disallowed_methods)]
fn config() -> Config {
    // The only look at a clock: an `Instant` cannot be made otherwise.
    let epoch = Instant::now();
    Config {
        carrier: Carrier::Datagrams { epoch },
        ..Config::default()
    }
}

fn must_hold(config: &Config, seed: u64) -> Report {
    let report = run(config, seed);
    if let Some(violation) = &report.violation {
        let log = report.text();
        panic!("{log}\nseed {seed}: {violation:?}");
    }
    report
}

/// What the log says at its end: datagrams, their bytes, how many arrived, were lost, too long,
/// doubled, damaged and marked.
fn carried(report: &Report) -> [u64; 8] {
    let entries = report.log.iter().rev();
    let mut lines = entries.filter_map(|entry| entry.what.strip_prefix("the network carried "));
    let line = lines.next().expect("a line about it");
    let numbers = line.split(|c: char| !c.is_ascii_digit());
    let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().expect("eight numbers")
}

/// Seeds hold, and it was not for want of messages and faults.
fn must_all_hold(seeds: core::ops::Range<u64>) {
    let config = Config {
        log: true,
        ..config()
    };
    let count = usize::try_from(seeds.end - seeds.start).expect("few seeds");
    let mut messages = 0;
    let mut sums = [0; 8];
    let mut told = String::new();
    for seed in seeds {
        let report = must_hold(&config, seed);
        messages += report.messages;
        for (sum, one) in sums.iter_mut().zip(carried(&report)) {
            *sum += one;
        }
        told.push_str(&report.text());
    }
    assert!(messages > 3 * count, "{messages} messages in {count} seeds");
    assert!(sums.iter().all(|sum| *sum > 0), "{sums:?}");
    let [sent, _, arrived, lost, too_long, twice, ..] = sums;
    // Some were cut off, or came where nobody was any more.
    assert!(arrived < sent + twice - lost - too_long, "{sums:?}");
    for what in ["Connected", "Connect(Unreachable)", "why: Lost"] {
        assert!(told.contains(what), "nobody was told {what}");
    }
}

// Twenty, in parts that run beside each other.

#[test]
fn seeds_hold_1() {
    must_all_hold(0..10);
}

#[test]
fn seeds_hold_2() {
    must_all_hold(10..20);
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let mut config = config();
    config.log = true;
    for seed in [7, 8] {
        let first = run(&config, seed);
        // Nothing depends on what time is counted from.
        if let Carrier::Datagrams { epoch } = &mut config.carrier {
            *epoch += Duration::from_nanos(1_234_567_891);
        }
        let second = run(&config, seed);
        for (line, (first, second)) in first.log.iter().zip(&second.log).enumerate() {
            assert_eq!(first, second, "line {line} of seed {seed}");
        }
        assert_eq!(first, second);
    }
}

#[test]
fn a_connection_that_drains_for_minutes_is_not_held() {
    // After this weather a probe timeout is most of a minute.
    must_hold(&config(), 106);
}
