//! What a core does by itself, a while after requests have left something to do: messages expire,
//! payloads that nobody needs and answers that nobody will ask for again go.
//!
//! Nothing depends on when it is done: readers see expired messages as gone already. So there is no
//! timer on an idle core, and what several cores do at once only conflicts.

use super::Server;
use super::calendar;
use super::notes::Notes;
use super::run::background::{Handler, Work};
use super::services::{auth, delivery, key_packages};
use super::timers::Timer;
use crate::io::{Lane, Output};
use crate::storage::keys;
use crate::storage::{Command, Commit};

/// What is to be done, in this order. Each is a handler without a request.
const CHORES: [Handler; 11] = [
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
        if !self.background.has_chore() && !self.shutdown.is_asked() {
            self.store_date();
            self.upkeep.pages = delivery::pages(core::mem::take(&mut self.upkeep.left));
            self.begin_chore(0);
        }
        // Another core may have gone in the middle of one.
        self.begin_job();
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

    /// Begins a chore, if there is one of this number. One that fails is left for the next time.
    pub(super) fn begin_chore(&mut self, number: usize) {
        let notes = Notes {
            pages: self.upkeep.pages,
            ..Notes::default()
        };
        if let Some(chore) = CHORES.get(number) {
            self.begin_work(Work::Chore(number), *chore, 0, notes);
        }
    }
}
