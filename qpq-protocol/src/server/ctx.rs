//! What a handler may know and use beside its request.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::allowances::Allowances;
use super::config::Config;
use super::effects::SessionChange;
use super::fault::Fault;
use super::jobs;
use super::login_slot::LoginSlot;
use super::policy::Policy;
use super::rate::Rates;
use super::server_keys::ServerKeys;
use super::txn::{Reads, Rows};
use crate::defect::seeded;
use crate::limits::{Rate, RateClass};
#[cfg(qpq_defects)]
use crate::proto;
use crate::rng::Rng;
use crate::storage::keys::{Key, QueueId};
use crate::storage::records::Record;
use crate::time::{Time, UnixTime};

/// What a handler may know and use beside its request.
pub(super) struct Ctx<'a> {
    /// Now, for deadlines.
    pub(super) now: Time,
    /// What the clock says now, for what is shown, signed and compared with what others sign.
    pub(super) unix: UnixTime,
    /// The date by which things end ([`super::calendar`]): never that of one wrong clock.
    pub(super) date: UnixTime,
    /// The date from which what begins now lasts.
    pub(super) lasting: UnixTime,
    /// When the core was made.
    pub(super) started: Time,
    /// The configuration, limits included.
    pub(super) config: &'a Config,
    /// The server's keys.
    pub(super) keys: &'a ServerKeys,
    /// Whether the server shuts down.
    pub(super) draining: bool,
    /// The state between the two requests of a login, one a connection.
    pub(super) login: &'a mut Option<LoginSlot>,
    /// How often this request ran before: from 1 on a check has failed, so look closer.
    pub(super) attempt: u32,
    pub(super) rng: &'a mut Rng,
    pub(super) rows: &'a mut Rows,
    pub(super) rates: &'a mut Rates,
    pub(super) allowances: &'a mut Allowances,
    /// The operator's own rules.
    pub(super) policy: Option<&'a dyn Policy>,
    pub(super) notes: &'a mut Notes,
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
    pub(super) job: jobs::Found,
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

impl Ctx<'_> {
    /// Fresh randomness for one operation. A request draws from a generator of its own, so that one
    /// more draw shifts nothing in others.
    pub(super) fn seed(&mut self) -> [u8; 32] {
        let core = &mut *self.rng;
        self.notes
            .rng
            .get_or_insert_with(|| Box::new(core.child()))
            .seed()
    }

    /// Counts `count` events of a class for the subject that `parts` name together, or refuses them
    /// with RateLimited. A request that runs again after a conflict is not counted again.
    pub(super) fn limit(
        &mut self,
        class: RateClass,
        parts: &[&[u8]],
        count: u32,
    ) -> Result<(), Fault> {
        if self.attempt > 0 {
            return Ok(());
        }
        self.count(class, parts, count)
    }

    /// Takes back one event that [`Ctx::limit`] has counted `at` this time.
    pub(super) fn take_back(&mut self, class: RateClass, parts: &[&[u8]], at: Time) {
        let rate = self.rate(class);
        self.rates.take_back(self.now, class, rate, parts, at);
    }

    /// The rate of a class, or this core's part of it.
    fn rate(&self, class: RateClass) -> Rate {
        let rate = self.config.limits.rate(class);
        match class.is_divided() {
            true => Rate {
                count: rate.count.div_ceil(self.config.cores.max(1)),
                ..rate
            },
            false => rate,
        }
    }

    /// [`Self::limit`] for what a request comes to only after it has read: it may have run before,
    /// without coming so far.
    pub(super) fn limit_once(
        &mut self,
        class: RateClass,
        parts: &[&[u8]],
        count: u32,
    ) -> Result<(), Fault> {
        if self.notes.counted.contains(&class) {
            return Ok(());
        }
        self.count(class, parts, count)?;
        self.notes.counted.insert(class);
        Ok(())
    }

    fn count(&mut self, class: RateClass, parts: &[&[u8]], count: u32) -> Result<(), Fault> {
        let rate = self.rate(class);
        self.rates
            .count(self.now, class, rate, parts, count)
            .map_err(|wait| Fault::rate_limited(class.name(), wait).for_now())
    }

    /// Takes a row for granted that was not read: the commit checks it, and no answer rests on it alone.
    pub(super) fn assume<R: Record>(&mut self, key: &Key<R>, row: Option<Bytes>) {
        self.notes.reads.assume(key, row);
    }

    /// Whether anything that the request rests on was only remembered.
    pub(super) fn is_unsure(&self) -> bool {
        !seeded!(self.config, MemoryBelieved) && !self.notes.reads.unsure().is_empty()
    }

    /// Says that there will be something to clean up.
    pub(super) fn leave_untidy(&mut self) {
        self.notes.untidy = true;
    }

    /// From here on the request hears of news in this queue: a [`wait`](super::txn::wait) ends at once if there were
    /// any since. Call it before reading the queue, so that nothing falls between.
    pub(super) fn watch(&mut self, queue: QueueId) {
        self.notes.watches.push(queue);
    }
}
