//! Every deadline of the core in one ordered set.

use std::collections::BTreeSet;

use super::run::task_id::TaskId;
use crate::ids::ConnId;
use crate::io::Reason;
use crate::time::Time;

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// To try starting again.
    Startup,
    /// To stop waiting for what runs.
    Shutdown,
    /// To look for what does not move on a connection.
    Connection(ConnId),
    /// A request's own.
    Task(TaskId),
    /// To clean up.
    Upkeep,
    /// To look for jobs.
    Jobs,
}

impl Timer {
    /// For anyone who debugs timers.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Startup => "try to start again",
            Self::Shutdown => "close what is left",
            Self::Connection(_) => "look for what does not move on a connection",
            Self::Upkeep => "clean up after requests",
            Self::Jobs => "look for jobs that nobody does",
            Self::Task(_) => "a request's wait, pace or limit is over",
        }
    }
}

/// The set.
#[derive(Default)]
pub(super) struct Timers(BTreeSet<(Time, Timer)>);

impl Timers {
    /// Adds a deadline.
    pub(super) fn set(&mut self, at: Time, timer: Timer) {
        self.0.insert((at, timer));
    }

    /// Removes a deadline.
    pub(super) fn clear(&mut self, at: Time, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// Moves a deadline that may be set to an earlier time; a later one changes nothing.
    pub(super) fn bring_forward(&mut self, set: &mut Option<Time>, at: Time, timer: Timer) {
        if set.is_none_or(|set| at < set) {
            if let Some(later) = set.replace(at) {
                self.clear(later, timer);
            }
            self.set(at, timer);
        }
    }

    /// The first deadline.
    pub(super) fn first(&self) -> Option<(Time, Timer)> {
        self.0.first().copied()
    }

    /// Takes the first deadline that has come.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = self.first()?;
        (at <= now).then(|| {
            self.clear(at, timer);
            timer
        })
    }
}
