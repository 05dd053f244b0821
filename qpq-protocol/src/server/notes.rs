//! What the machinery notes about a request while its handler runs.

use std::collections::BTreeSet;

use super::effects::SessionChange;
use super::txn::Reads;
use crate::limits::RateClass;
#[cfg(qpq_defects)]
use crate::proto;
use crate::rng::Rng;
use crate::storage::keys::QueueId;
use crate::time::UnixTime;

/// What looking for a job has come to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum FoundJob {
    /// There is nothing to do.
    #[default]
    Nothing,
    /// A job, which is done: there may be another one.
    Done,
    /// Only jobs that others do, until this date at the earliest.
    Claimed(UnixTime),
}

/// What the machinery notes about a request while its handler runs.
#[derive(Default)]
pub(super) struct Notes {
    /// Its own generator, once it has drawn.
    pub(super) rng: Option<Box<Rng>>,
    /// Commits not yet durable whose values it has read in this step.
    pub(super) rests_on: Vec<u64>,
    /// Queues it has begun to watch in this step.
    pub(super) watches: Vec<QueueId>,
    /// What it has read and rests on.
    pub(super) reads: Reads,
    /// What it was counted for after it had read.
    pub(super) counted: BTreeSet<RateClass>,
    /// Bytes that it has paid for and not yet used ([`super::allowance`]).
    pub(super) paid: u64,
    /// Of what a core does by itself: how many pages of a family of rows it goes over.
    pub(super) pages: u32,
    /// Whether the policy allows it.
    pub(super) is_allowed: bool,
    /// Whether it starts a job.
    pub(super) starts_job: bool,
    /// Of the background: what became of looking for a job.
    pub(super) job: FoundJob,
    /// Whether it leaves something to clean up later.
    pub(super) untidy: bool,
    /// What it found of its caller's session in this step.
    pub(super) session: SessionChange,
    /// News of what is not stored yet.
    #[cfg(qpq_defects)]
    pub(super) early: Vec<(QueueId, proto::NewMessagePush)>,
}

impl Notes {
    /// All that was paid has been used, or may have been.
    pub(super) const fn all_used(&mut self) {
        self.paid = 0;
    }
}
