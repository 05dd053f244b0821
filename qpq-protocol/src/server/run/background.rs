//! What a core does without being asked: the chores of [`upkeep`](crate::server::upkeep) and the [`jobs`](crate::server::jobs). Each is a
//! handler without a request; at most one of either kind is at work.

use crate::ids::Ticket;
use crate::io::Output;
use crate::server::Server;
use crate::server::counters::Counters;
use crate::server::ctx::Ctx;
use crate::server::effects::Effects;
use crate::server::notes::{FoundJob, Notes};
use crate::server::step::{Next, Then, Todo};
use crate::server::txn::Issued;
use crate::storage::{Command, Reply};

/// A handler without a request.
pub(in crate::server) type Handler = fn(&mut Ctx<'_>) -> Next;

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum Work {
    /// The chore of this number.
    Chore(usize),
    /// A job.
    Job,
}

/// All that wait for storage.
#[derive(Default)]
pub(in crate::server) struct Background(Vec<AtWork>);

struct AtWork {
    work: Work,
    handler: Handler,
    attempt: u32,
    notes: Notes,
    ticket: Ticket,
    then: Then,
    issued: Option<Issued>,
}

impl Background {
    /// Whether a job is at work.
    pub(in crate::server) fn has_job(&self) -> bool {
        self.0.iter().any(|at_work| at_work.work == Work::Job)
    }

    /// Whether a chore is at work.
    pub(in crate::server) fn has_chore(&self) -> bool {
        self.0.iter().any(|at_work| at_work.work != Work::Job)
    }
}

impl Server {
    /// Begins, or begins again.
    pub(in crate::server) fn begin_work(
        &mut self,
        work: Work,
        handler: Handler,
        attempt: u32,
        mut notes: Notes,
    ) {
        let next = self.with_ctx(None, attempt, &mut notes, handler);
        self.follow_work(work, handler, attempt, notes, next);
    }

    /// The reply to a command of the background; gives it back if it is none.
    pub(in crate::server) fn background_stored(
        &mut self,
        ticket: Ticket,
        reply: Reply,
    ) -> Result<(), Reply> {
        let mut all = self.background.0.iter();
        let Some(place) = all.position(|at_work| at_work.ticket == ticket) else {
            return Err(reply);
        };
        let AtWork {
            work,
            handler,
            attempt,
            mut notes,
            then,
            issued,
            ..
        } = self.background.0.swap_remove(place);
        let held = match &issued {
            Some(issued) => {
                let is_made = reply == Reply::Committed;
                self.commit_answered(issued, is_made, &notes.reads)
            }
            None => Vec::new(),
        };
        let next = self.with_ctx(None, attempt, &mut notes, |ctx| then(ctx, reply));
        self.follow_work(work, handler, attempt, notes, next);
        self.unhold_all(held);
        Ok(())
    }

    /// Does what is next, until it has to wait or has ended.
    fn follow_work(
        &mut self,
        work: Work,
        handler: Handler,
        attempt: u32,
        mut notes: Notes,
        next: Next,
    ) {
        match next.map(|step| step.todo) {
            Ok(Todo::Store {
                lane,
                command,
                then,
            }) => {
                let issued = match &command {
                    Command::Commit(change) => Some(self.rows.issue(change)),
                    Command::Get(_) | Command::Scan(_) => None,
                };
                let ticket = self.next_ticket();
                self.outputs.push(Output::Store {
                    ticket,
                    lane,
                    command,
                });
                self.background.0.push(AtWork {
                    work,
                    handler,
                    attempt,
                    notes,
                    ticket,
                    then,
                    issued,
                });
            }
            Ok(Todo::Rerun) if attempt < self.config.limits.conflicts => {
                for key in notes.reads.drain() {
                    self.rows.forget(&key);
                }
                self.begin_work(work, handler, attempt + 1, notes);
            }
            Ok(Todo::Done(outcome)) => self.work_ended(work, &notes, Some(outcome.effects)),
            Ok(Todo::Rerun | Todo::Wait { .. } | Todo::Ask { .. }) | Err(_) => {
                self.work_ended(work, &notes, None)
            }
        }
    }

    /// One has ended: what follows from it, or `None` if it is left for the next time.
    fn work_ended(&mut self, work: Work, notes: &Notes, effects: Option<Effects>) {
        let is_done = effects.is_some();
        if let Some(effects) = effects {
            self.spread(None, effects);
        }
        match work {
            Work::Chore(number) => self.begin_chore(number + 1),
            Work::Job => {
                match (is_done, notes.job) {
                    (false, _) => Counters::one(&mut self.counters.jobs_failed),
                    (true, FoundJob::Done) => Counters::one(&mut self.counters.jobs_done),
                    (true, _) => {}
                }
                self.job_ended(notes.job, is_done);
            }
        }
    }
}
