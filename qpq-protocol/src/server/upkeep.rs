//! What a core does by itself, a while after requests have left something to do: messages expire,
//! payloads that nobody needs and answers that nobody will ask for again go.
//!
//! Nothing depends on when it is done: readers see expired messages as gone already. So there is no
//! timer on an idle core, and what several cores do at once only conflicts.

use super::Server;
use super::calendar;
use super::ctx::{Ctx, Notes};
use super::services::{auth, delivery, key_packages};
use super::step::{Next, Then, Todo};
use super::timers::Timer;
use super::txn::Issued;
use crate::ids::Ticket;
use crate::io::{Lane, Output};
use crate::storage::keys;
use crate::storage::{Command, Commit, Reply};

/// What is to be done, in this order. Each is a handler without a request.
const CHORES: [fn(&mut Ctx<'_>) -> Next; 11] = [
    delivery::expire_queues,
    delivery::drop_payloads,
    delivery::drop_answers,
    delivery::drop_slots,
    delivery::drop_formers,
    delivery::drop_given,
    delivery::drop_allowances,
    delivery::drop_channels,
    delivery::drop_queues,
    key_packages::forget_packages,
    auth::forget_sessions,
];

/// How far it is.
#[derive(Default)]
pub(super) struct Upkeep {
    /// Whether its timer runs.
    armed: bool,
    /// How often something was left to do since it last began.
    left: u64,
    /// How many pages of a family of rows it goes over this time.
    pages: u32,
    at_work: Option<AtWork>,
}

/// A chore that waits for storage.
struct AtWork {
    chore: usize,
    attempt: u32,
    notes: Notes,
    ticket: Ticket,
    then: Then,
    issued: Option<Issued>,
}

impl Server {
    /// There will be something to do.
    pub(super) fn arm_upkeep(&mut self) {
        self.upkeep.left = self.upkeep.left.saturating_add(1);
        if !self.upkeep.armed && !self.shutdown.is_asked() {
            self.upkeep.armed = true;
            let due = self.clock.now() + self.config.limits.upkeep;
            self.timers.set(due, Timer::Upkeep);
        }
    }

    /// The time has come.
    pub(super) fn upkeep_due(&mut self) {
        self.upkeep.armed = false;
        if self.upkeep.at_work.is_none() && !self.shutdown.is_asked() {
            self.store_date();
            self.upkeep.pages = delivery::pages(core::mem::take(&mut self.upkeep.left));
            self.begin_chore(0, 0, Notes::default());
        }
    }

    /// Stores the date, if that was last done long enough ago. Whatever becomes of it: another core may have
    /// stored a later one, and the next time comes.
    fn store_date(&mut self) {
        let (now, date) = (self.clock.now(), self.dates().over);
        if !self.calendar.is_due(now) {
            return;
        }
        self.calendar.store(now, date);
        let ticket = self.next_ticket();
        self.outputs.push(Output::Store {
            ticket,
            lane: Lane::Ordered,
            command: Command::Commit(Commit {
                puts: vec![(keys::meta("date").into(), calendar::encode(date))],
                ..Commit::default()
            }),
        });
    }

    /// The reply to a command of a chore; whether this was one.
    pub(super) fn upkeep_stored(&mut self, ticket: Ticket, reply: Reply) -> Result<(), Reply> {
        let at_work = self.upkeep.at_work.take_if(|work| work.ticket == ticket);
        let Some(mut work) = at_work else {
            return Err(reply);
        };
        let held = match &work.issued {
            Some(issued) => self.settle(issued, reply == Reply::Committed),
            None => Vec::new(),
        };
        let AtWork { chore, attempt, .. } = work;
        let then = work.then;
        let next = self.with_ctx(None, attempt, &mut work.notes, |ctx| then(ctx, reply));
        self.go_on(chore, attempt, work.notes, next);
        self.unhold_all(held);
        Ok(())
    }

    fn begin_chore(&mut self, chore: usize, attempt: u32, mut notes: Notes) {
        if let Some(begin) = CHORES.get(chore) {
            notes.pages = self.upkeep.pages;
            let next = self.with_ctx(None, attempt, &mut notes, begin);
            self.go_on(chore, attempt, notes, next);
        }
    }

    /// What a chore does next; then the next chore. One that fails is left for the next time.
    fn go_on(&mut self, chore: usize, attempt: u32, notes: Notes, next: Next) {
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
                self.upkeep.at_work = Some(AtWork {
                    chore,
                    attempt,
                    notes,
                    ticket,
                    then,
                    issued,
                });
            }
            Ok(Todo::Rerun) if attempt < self.config.limits.conflicts => {
                self.begin_chore(chore, attempt + 1, notes);
            }
            Ok(Todo::Done(_) | Todo::Rerun | Todo::Wait { .. }) | Err(_) => {
                self.begin_chore(chore + 1, 0, Notes::default());
            }
        }
    }
}
