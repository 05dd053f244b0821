//! What a handler may know and use beside its request.

use bytes::Bytes;

use super::allowances::Allowances;
use super::config::ServerConfig;
use super::fault::Fault;
use super::login_slot::LoginSlot;
use super::notes::Notes;
use super::policy::Policy;
use super::rate::Rates;
use super::server_keys::ServerKeys;
use super::txn::{Change, Rows};
use crate::defect::seeded;
use crate::limits::{Rate, RateClass};
use crate::rng::Rng;
use crate::storage::keys::{Key, QueueId};
use crate::storage::records::{Job, Record};
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
    pub(super) config: &'a ServerConfig,
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

    /// Whether nothing that the request rests on was only remembered. If something was, it is forgotten, and the
    /// request is to run again.
    pub(super) fn is_sure(&mut self) -> bool {
        seeded!(self.config, MemoryBelieved) || self.notes.reads.are_sure(self.rows)
    }

    /// Adds a job to the change that makes it necessary (protocol.md §5.34). It is begun as soon as that is stored.
    pub(super) fn start_job(&mut self, change: &mut Change, key: Key<Job>, job: &Job) {
        change.write(key, job);
        self.notes.starts_job = true;
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
