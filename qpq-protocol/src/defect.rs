//! Defects that a build can seed into the cores, to show that the simulated world notices them.
//!
//! They are compiled in only with `--cfg qpq_defects`, which this crate's build script passes if the
//! environment has `QPQ_DEFECTS=1`; then `defect` in [`server::Config`](crate::server::Config),
//! [`client::Config`](crate::client::Config) and the simulation's configuration says which one is on. In
//! every other build this module is empty.
//!
//! `tests/defects.rs` has the table: each defect, the seed that shows it, and the invariant that catches it.
//!
//! ```sh
//! QPQ_DEFECTS=1 cargo test -p qpq-protocol --features sim --test defects
//! # Finds the first seed of each again.
//! QPQ_DEFECTS=1 cargo test -p qpq-protocol --features sim --test defects -- --ignored --nocapture hunt
//! ```

/// Something that a core does wrong.
#[cfg(qpq_defects)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// The server answers before what it changed is durable.
    AckBeforeDurable,
    /// The server leaves the checks out of its commits, so that other cores' changes are overwritten.
    ChecksOff,
    /// The server does not look a message id up, so that a message sent again is a second one.
    DedupeOff,
    /// The server remembers rows of a commit that was not carried out.
    OverlayKept,
    /// The server gives a single-use key package out again.
    PackageTwice,
    /// The server pushes a message before it has stored it.
    PushBeforeCommit,
    /// The server forgets the head of a queue that was drained, so that its seqs begin again.
    SeqReused,
    /// The server takes a commit for any slot.
    SlotCheckOff,
    /// The client acknowledges what it has not yet stored.
    AckBeforeStored,
    /// The client lets what follows from a step go with the commit that is on its way, not its own.
    BatchBeforeMerge,
    /// The client takes for stored what its storage failed to store.
    FailureIgnored,
    /// The client merges its own commit though another one has the slot.
    MergeLost,
    /// The client draws the same nonces again after each start.
    NonceReused,
    /// The client tells its app what it has not yet stored.
    ToldBeforeStored,
}

#[cfg(qpq_defects)]
impl Defect {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::AckBeforeDurable,
        Self::ChecksOff,
        Self::DedupeOff,
        Self::OverlayKept,
        Self::PackageTwice,
        Self::PushBeforeCommit,
        Self::SeqReused,
        Self::SlotCheckOff,
        Self::AckBeforeStored,
        Self::BatchBeforeMerge,
        Self::FailureIgnored,
        Self::MergeLost,
        Self::NonceReused,
        Self::ToldBeforeStored,
    ];
}

/// Whether a defect is on, by the `defect` of a configuration.
#[cfg(qpq_defects)]
macro_rules! seeded {
    ($config:expr, $defect:ident) => {
        $config.defect == Some($crate::defect::Defect::$defect)
    };
}

/// Whether a defect is on: never in this build.
#[cfg(not(qpq_defects))]
macro_rules! seeded {
    ($config:expr, $defect:ident) => {
        false
    };
}

pub(crate) use seeded;
