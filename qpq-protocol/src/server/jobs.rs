//! Work that is longer than one commit (protocol.md §5.34): stored with the change that makes it necessary, done in the
//! background by whichever core claims it, in pages that may run twice.
//!
//! ```text
//!   a handler's commit --start_job--> row of the job --claim--> pages --> row gone, what follows is told
//!                                       ^------ after 60 s: the core that had it is gone
//! ```
//!
//! The request is answered once the job is stored: whatever others check (sessions, the devices of an account) the same
//! commit has taken away. Who starts a job of the same kind and subject again takes the claims off it, so that it is done
//! once more from its beginning. A core that takes a job over from another one, which it takes to be gone, leaves that
//! one's claim beside its own: the job is over when either is through, or two cores whose clocks are far apart would take it
//! from each other for ever.

use core::time::Duration;

use bytes::Bytes;

use super::Server;
use super::ctx::Ctx;
use super::effects::Effects;
use super::notes::{FoundJob, Notes};
use super::run::background::Work;
use super::services::devices;
use super::step::{Next, Step};
use super::timers::Timer;
use super::txn::{Change, Page, commit, load_fresh, scan_ordered};
use crate::storage::keys::{self, Key};
use crate::storage::records::Job;
use crate::time::UnixTime;

/// How long a claim holds. A page takes far less.
const CLAIM: Duration = Duration::from_secs(60);
/// Bytes of a claim.
const CLAIM_BYTES: usize = 16;
/// Claims that a job has at once: that of the core that does it, and of those that it was taken over from last.
const CLAIMS: usize = 8;
/// When a job that failed is looked at again.
const RETRY: Duration = Duration::from_secs(1);
/// Jobs that are looked at for one that nobody does.
const PAGE: usize = 100;

/// Claims a job that nobody does, and does it.
pub(super) fn next(ctx: &mut Ctx<'_>) -> Next {
    ctx.notes.reads.begin_anew();
    ctx.notes.job = FoundJob::Nothing;
    scan_ordered(keys::jobs(), Page::from(PAGE), |ctx, found, _| {
        let mut first_free: Option<UnixTime> = None;
        for row in &found {
            // What is of a later version, or damaged, stands in nobody's way.
            let (Ok(mut job), Some(work)) = (row.value(), keys::parse_job(row.key())) else {
                continue;
            };
            let until = UnixTime::from_millis(job.claimed_until_ms);
            // A date far ahead was written by a clock that was wrong.
            if until > ctx.unix && until <= ctx.unix + CLAIM * 2 {
                first_free = Some(first_free.map_or(until, |first| first.min(until)));
                continue;
            }
            job.claimed_until_ms = (ctx.unix + CLAIM).as_millis();
            job.claim = claim_over(&ctx.seed(), &job.claim);
            let mut change = Change::default();
            change.put_found(row, &job);
            let key = row.key().clone();
            return commit(ctx, change, move |ctx| perform(ctx, key, job, work));
        }
        if let Some(until) = first_free {
            ctx.notes.job = FoundJob::Claimed(until);
        }
        Ok(Step::none())
    })
}

/// A new claim, before those that were there.
fn claim_over(seed: &[u8; 32], former: &[u8]) -> Bytes {
    let bytes = seed.iter().take(CLAIM_BYTES).chain(former);
    bytes.take(CLAIMS * CLAIM_BYTES).copied().collect()
}

/// Whether a job that has these claims is the one that was claimed so, and was not started again since.
fn is_same(claims: &[u8], claimed: &[u8]) -> bool {
    let ours = claimed.get(..CLAIM_BYTES);
    let mut claims = claims.chunks(CLAIM_BYTES);
    claims.any(|claim| Some(claim) == ours)
}

/// Does a job that was claimed.
fn perform(ctx: &mut Ctx<'_>, key: Key<Job>, job: Job, work: keys::Work) -> Next {
    match work {
        keys::Work::DevicesChanged(identity) => {
            devices::tell(ctx, identity, move |ctx, effects| {
                end(ctx, key, job, effects)
            })
        }
        keys::Work::DeviceRevoked(identity, device) => {
            devices::purge(ctx, identity, device, job.default_queues, move |ctx| {
                end(ctx, key, job, Effects::default())
            })
        }
    }
}

/// Removes a job that is done, unless it was started again meanwhile.
fn end(ctx: &mut Ctx<'_>, key: Key<Job>, job: Job, effects: Effects) -> Next {
    ctx.notes.reads.begin_anew();
    // What is remembered may be from before another core took it over: it would all be done once more.
    load_fresh(ctx, key, move |ctx, seen| {
        ctx.notes.job = FoundJob::Done;
        if seen
            .as_ref()
            .is_none_or(|now| !is_same(&now.claim, &job.claim))
        {
            return Ok(Step::none_with(effects));
        }
        let mut change = Change::default();
        change.delete(&seen);
        commit(ctx, change, move |_| Ok(Step::none_with(effects)))
    })
}

impl Server {
    /// There may be a job to do.
    pub(super) fn begin_job(&mut self) {
        self.jobs_wait = true;
        self.go_on_with_jobs();
    }

    /// Looks for a job, unless one is at work: then once that is done.
    fn go_on_with_jobs(&mut self) {
        if self.jobs_wait && !self.background.has_job() && !self.shutdown.is_asked() {
            self.jobs_wait = false;
            self.begin_work(Work::Job, next, 0, Notes::default());
        }
    }

    /// A job has ended, or there was none.
    pub(super) fn job_ended(&mut self, found: FoundJob, is_done: bool) {
        let wait = match found {
            _ if !is_done => Some(RETRY),
            FoundJob::Claimed(until) => {
                let left = until
                    .as_millis()
                    .saturating_sub(self.clock.unix().as_millis());
                Some(Duration::from_millis(left) + RETRY)
            }
            FoundJob::Done => {
                self.jobs_wait = true;
                None
            }
            FoundJob::Nothing => None,
        };
        if let Some(wait) = wait {
            let at = self.clock.now() + wait;
            self.timers
                .bring_forward(&mut self.jobs_due, at, Timer::Jobs);
        }
        self.go_on_with_jobs();
    }

    /// The time has come to look for jobs again.
    pub(super) fn jobs_due(&mut self) {
        self.jobs_due = None;
        self.begin_job();
    }
}
