//! Seeds of the simulated world: all invariants hold, and equal seeds give equal runs. What they once found
//! are scenes of their own, in `client_scenes.rs`.

use std::time::Duration;

use qpq_protocol::sim::{Config, Entry, Report, Villain, run};

fn must_hold(config: &Config, seed: u64) -> Report {
    let report = run(config, seed);
    if let Some(violation) = &report.violation {
        let config = Config {
            log: true,
            ..config.clone()
        };
        let log = run(&config, seed).text();
        panic!("{log}\nseed {seed}: {violation:?}");
    }
    report
}

/// Seeds hold, and what they say was sent is not nothing.
fn must_all_hold(seeds: core::ops::Range<u64>) {
    let config = Config::default();
    let count = usize::try_from(seeds.end - seeds.start).expect("few seeds");
    let sent: usize = seeds.map(|seed| must_hold(&config, seed).messages).sum();
    assert!(sent > 3 * count, "{sent} messages in {count} seeds");
}

// Three hundred, in parts that run beside each other.

#[test]
fn seeds_hold_1() {
    must_all_hold(0..75);
}

#[test]
fn seeds_hold_2() {
    must_all_hold(75..150);
}

#[test]
fn seeds_hold_3() {
    must_all_hold(150..225);
}

#[test]
fn seeds_hold_4() {
    must_all_hold(225..300);
}

/// A few worlds of each kind of villain; CI runs thousands. In most of them somebody does harm, and people talk
/// all the same.
fn must_all_hold_with(villain: Villain) {
    let config = Config {
        villains: vec![villain],
        ..Config::default()
    };
    let reports: Vec<Report> = (0..6).map(|seed| must_hold(&config, seed)).collect();
    let sent: usize = reports.iter().map(|report| report.messages).sum();
    assert!(sent > 6, "{sent} messages with {villain:?}");
}

#[test]
fn worlds_with_members_who_mean_ill_hold() {
    for villain in [Villain::Member, Villain::Lists, Villain::Traitor] {
        must_all_hold_with(villain);
    }
}

#[test]
fn worlds_with_strangers_hold() {
    for villain in [Villain::Strangers, Villain::Greedy, Villain::Silent] {
        must_all_hold_with(villain);
    }
}

#[test]
fn worlds_with_servers_that_lie_or_were_put_back_hold() {
    for villain in [Villain::Liar, Villain::ServerCopy] {
        must_all_hold_with(villain);
    }
}

#[test]
fn worlds_with_devices_that_were_put_back_and_wrong_clocks_hold() {
    for villain in [Villain::ClientCopy, Villain::Clocks] {
        must_all_hold_with(villain);
    }
}

#[test]
fn worlds_with_servers_whose_single_words_are_false_hold() {
    for villain in [Villain::Refusals, Villain::Late] {
        must_all_hold_with(villain);
    }
}

#[test]
fn a_larger_world_holds() {
    let config = Config {
        clients: 6,
        servers: 3,
        steps: 120,
        ..Config::default()
    };
    for seed in 0..5 {
        must_hold(&config, seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let config = Config {
        log: true,
        ..Config::default()
    };
    let (first, second) = (run(&config, 7), run(&config, 7));
    for (line, (first, second)) in first.log.iter().zip(&second.log).enumerate() {
        assert_eq!(first, second, "line {line}");
    }
    assert_eq!(first, second);
    // Whether the log is kept does not change what happens; another seed does.
    assert_eq!(first.hash, run(&Config::default(), 7).hash);
    assert_ne!(first.hash, run(&Config::default(), 8).hash);
}

/// What a configuration says of the weather takes the place of what the seed draws, and all else holds.
#[test]
fn weather_that_is_said_takes_the_place_of_what_is_drawn() {
    let of = |change: fn(&mut Config)| {
        let mut config = Config {
            log: true,
            ..Config::default()
        };
        change(&mut config);
        (0..3).map(move |seed| {
            let report = run(&config, seed);
            assert_eq!(report.violation, None, "seed {seed}");
            report
        })
    };
    let fails = |entry: &&Entry| entry.what.starts_with("storage fails");
    let failures = |change| -> usize {
        let reports = of(change);
        reports
            .map(|report| report.log.iter().filter(fails).count())
            .sum()
    };
    assert_eq!(failures(|config| config.disk_faults = Some(0)), 0);
    let usual = failures(|_| ());
    assert!(usual > 0);
    assert!(failures(|config| config.disk_faults = Some(30)) > 2 * usual);

    // With a second each way nobody has an answer within two.
    let slow = |config: &mut Config| config.delay = Some(Duration::from_secs(1));
    for report in of(slow) {
        let answer =
            |entry: &&Entry| entry.who.starts_with('s') && entry.what.starts_with("answers");
        let first = report.log.iter().find(answer).expect("an answer");
        assert!(first.at.as_micros() >= 3_000_000, "{first}");
    }
    let hashes = |change| of(change).map(|report| report.hash).collect::<Vec<_>>();
    let usual = hashes(|_| ());
    assert_eq!(hashes(|config| config.loss = None), usual);
    assert_ne!(hashes(|config| config.loss = Some(50)), usual);
}
