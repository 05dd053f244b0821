//! The net holds: each seeded defect is caught, from a recorded seed, by the invariant that it breaks;
//! without the defect the same seed holds. `qpq_protocol::defect` says how to run this.

#![cfg(qpq_defects)]

use qpq_protocol::defect::Defect;
use qpq_protocol::sim::{Config, Invariant, Villain, Violation, run};

/// The table: a test for each defect, with the seed that shows it, who means ill there, and the invariant that
/// catches it.
macro_rules! caught {
    ($($test:ident $defect:ident $seed:literal $($villain:ident)? $invariant:ident;)*) => {
        const CAUGHT: &[Defect] = &[$(Defect::$defect),*];

        $(
            #[test]
            fn $test() {
                let villains = [$(Villain::$villain)?];
                must_be_caught(Defect::$defect, $seed, &villains, Invariant::$invariant);
            }
        )*
    };
}

caught! {
    ack_before_durable AckBeforeDurable 0 AcknowledgedIsDurable;
    checks_off ChecksOff 3 SeqsWithoutHoles;
    dedupe_off DedupeOff 6 OneMeaning;
    limit_leak LimitLeak 22 Footprint;
    overlay_kept OverlayKept 1 AcknowledgedIsDurable;
    package_twice PackageTwice 0 PackageOnce;
    push_before_commit PushBeforeCommit 0 PushedIsDurable;
    seq_reused SeqReused 0 SeqsWithoutHoles;
    slot_check_off SlotCheckOff 102 OneWinner;
    ack_before_stored AckBeforeStored 0 AcknowledgedIsDurable;
    batch_before_merge BatchBeforeMerge 1 AcknowledgedIsDurable;
    failure_ignored FailureIgnored 2 AcknowledgedIsDurable;
    fence_off FenceOff 5 OneWriter;
    generation_reused GenerationReused 0 NothingBreaks;
    merge_lost MergeLost 102 OneWinner;
    nonce_reused NonceReused 0 NonceOnce;
    told_before_stored ToldBeforeStored 0 AcknowledgedIsDurable;
}

fn violation(defect: Option<Defect>, seed: u64, villains: &[Villain]) -> Option<Violation> {
    let config = Config {
        defect,
        villains: villains.to_vec(),
        ..Config::default()
    };
    run(&config, seed).violation
}

fn must_be_caught(defect: Defect, seed: u64, villains: &[Villain], invariant: Invariant) {
    let violation_with = violation(Some(defect), seed, villains);
    let caught_by = violation_with.as_ref().map(|violation| violation.invariant);
    assert_eq!(caught_by, Some(invariant), "{defect:?}: {violation_with:?}");
    assert_eq!(violation(None, seed, villains), None, "without a defect");
}

#[test]
fn every_defect_has_a_seed() {
    assert_eq!(CAUGHT, Defect::ALL);
}
