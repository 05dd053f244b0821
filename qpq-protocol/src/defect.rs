//! Defects that a build can seed into the cores, to show that the simulated world notices them.
//!
//! They are compiled in only with `--cfg qpq_defects`, which this crate's build script passes if the
//! environment has `QPQ_DEFECTS=1`; then `defect` in [`server::ServerConfig`](crate::server::ServerConfig),
//! [`client::ClientConfig`](crate::client::ClientConfig) and the simulation's configuration says which one is on. In
//! every other build this module is empty.
//!
//! `tests/defects.rs` has the table: each defect, the seed that shows it, and the invariant that catches it.
//! After adding a defect, or changing the world, hunt for seeds with the command line:
//!
//! ```sh
//! QPQ_DEFECTS=1 cargo test -p qpq-protocol --features sim --test defects
//! QPQ_DEFECTS=1 cargo run --release -p qpq-lab -- sim --defect seq_reused --seeds 1000
//! ```

/// The table of defects: what is wrong, and what the command line calls it.
#[cfg(qpq_defects)]
macro_rules! defects {
    ($($(#[$doc:meta])* $defect:ident $name:literal,)*) => {
        /// Something that a core does wrong.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Defect {
            $($(#[$doc])* $defect,)*
        }

        impl Defect {
            /// All of them: the server's, then the client's.
            pub const ALL: &'static [Self] = &[$(Self::$defect),*];

            /// Its name in `qpq-lab sim --defect`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$defect => $name,)*
                }
            }
        }
    };
}

#[cfg(qpq_defects)]
defects! {
    /// The server answers before what it changed is durable.
    AckBeforeDurable "ack_before_durable",
    /// The server believes the rows that it remembers, whatever other cores have done since.
    MemoryBelieved "memory_believed",
    /// The server leaves the checks out of its commits, so that other cores' changes are overwritten.
    ChecksOff "checks_off",
    /// The server does not look a message id up, so that a message sent again is a second one.
    DedupeOff "dedupe_off",
    /// The server does not give back what it had set aside for a request that never came whole.
    LimitLeak "limit_leak",
    /// The server remembers rows of a commit that was not carried out.
    OverlayKept "overlay_kept",
    /// The server gives a single-use key package out again.
    PackageTwice "package_twice",
    /// The server pushes a message before it has stored it.
    PushBeforeCommit "push_before_commit",
    /// The server forgets the head of a queue that was drained, so that its seqs begin again.
    SeqReused "seq_reused",
    /// The server takes a commit for any slot.
    SlotCheckOff "slot_check_off",
    /// The client acknowledges what it has not yet stored.
    AckBeforeStored "ack_before_stored",
    /// The client lets what follows from a step go with the commit that is on its way, not its own.
    BatchBeforeMerge "batch_before_merge",
    /// The client deletes private keys by its own clock alone.
    ClockAlone "clock_alone",
    /// The client passes over a commit of a later epoch, and does not look where the others are.
    EpochOverlooked "epoch_overlooked",
    /// The client takes for stored what its storage failed to store.
    FailureIgnored "failure_ignored",
    /// The client writes without asking whether another opening of its data has begun.
    FenceOff "fence_off",
    /// The client makes a DM again that nobody has founded, and does not invite its other one.
    FoundsForNobody "founds_for_nobody",
    /// The client does not store that a message has used up its key, so that the next start uses it again.
    GenerationReused "generation_reused",
    /// The client takes out of its tree who is not on the server's list.
    ListBelieved "list_believed",
    /// The client looks whether it is in a group that is listed before it has read what its queue holds.
    LooksFirst "looks_first",
    /// The client merges its own commit though another one has the slot.
    MergeLost "merge_lost",
    /// The client draws the same nonces again after each start.
    NonceReused "nonce_reused",
    /// The client takes one refusal of its place on a list for the end of the conversation.
    RefusalCounts "refusal_counts",
    /// The client gives up what it wanted when a commit is refused since another threw it off the list.
    RefusalGivesUp "refusal_gives_up",
    /// The client deletes the private key of a package that is refused, though it may have been taken before.
    RefusedDropped "refused_dropped",
    /// The client does not notice that its own data were put back from a copy.
    SetBackUnheard "set_back_unheard",
    /// The client does not notice that the server was put back from a copy.
    ServerSetBackUnheard "server_set_back_unheard",
    /// The client tells its app what it has not yet stored.
    ToldBeforeStored "told_before_stored",
    /// The client does not tell of a member who has left by the server's word alone.
    UnlistedUntold "unlisted_untold",
    /// The client goes out of a group for a commit that has no effect.
    VoidEnds "void_ends",
    /// The client believes what the server once said about a slot over what it has signed since.
    WordsBelieved "words_believed",
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
