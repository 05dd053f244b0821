//! The net holds: each seeded defect is caught, from a recorded seed, by the invariant that it breaks;
//! without the defect the same seed holds. `qpq_protocol::defect` says how to run this.

#![cfg(qpq_defects)]

use qpq_protocol::defect::Defect;
use qpq_protocol::sim::{Config, Invariant, Villain, Violation, run};

/// The table: a test for each defect, with the seed that shows it, who means ill there, and the invariant that
/// catches it.
macro_rules! caught {
    ($($test:ident $defect:ident $seed:literal $($villain:ident)? => $invariant:ident;)*) => {
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
    ack_before_durable AckBeforeDurable 0 => AcknowledgedIsDurable;
    memory_believed MemoryBelieved 21 Member => Settles;
    checks_off ChecksOff 8 => SeqsWithoutHoles;
    dedupe_off DedupeOff 6 => OneMeaning;
    limit_leak LimitLeak 20 => Footprint;
    overlay_kept OverlayKept 2 => AcknowledgedIsDurable;
    package_twice PackageTwice 2 => PackageOnce;
    push_before_commit PushBeforeCommit 0 => PushedIsDurable;
    seq_reused SeqReused 0 => SeqsWithoutHoles;
    slot_check_off SlotCheckOff 13 => OneWinner;
    ack_before_stored AckBeforeStored 0 => AcknowledgedIsDurable;
    batch_before_merge BatchBeforeMerge 3 => AcknowledgedIsDurable;
    clock_alone ClockAlone 7 Clocks => OneClock;
    epoch_overlooked EpochOverlooked 13941 Traitor => Settles;
    failure_ignored FailureIgnored 3 => AcknowledgedIsDurable;
    fence_off FenceOff 7 => OneWriter;
    founds_for_nobody FoundsForNobody 1131 Liar => Settles;
    generation_reused GenerationReused 1 => NothingBreaks;
    list_believed ListBelieved 7 Lists => NobodyEnds;
    looks_first LooksFirst 2 Late => OneWord;
    merge_lost MergeLost 106 => OneWinner;
    nonce_reused NonceReused 0 => NonceOnce;
    refusal_counts RefusalCounts 0 Refusals => NobodyEnds;
    refusal_gives_up RefusalGivesUp 26 Refusals => OneWord;
    refused_dropped RefusedDropped 0 Refusals => OneWord;
    set_back_unheard SetBackUnheard 19 ClientCopy => SaidOrThere;
    server_set_back_unheard ServerSetBackUnheard 3 ServerCopy => Settles;
    told_before_stored ToldBeforeStored 1 => AcknowledgedIsDurable;
    unlisted_untold UnlistedUntold 100060 Lists => Settles;
    void_ends VoidEnds 0 Member => NobodyEnds;
    words_believed WordsBelieved 143 Liar => Settles;
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
