//! Virtual time, and what happens next.

use core::time::Duration;

use bytes::Bytes;

use super::World;
use crate::ids::Ticket;
use crate::io::{Lane, Wake};
use crate::sim::host::{Input, Who};
use crate::sim::invariants::Invariant;
use crate::sim::network::Network;
use crate::storage::{Commit, Reply};
use crate::time::Time;

/// How often something may happen at one moment before that counts as standing still.
const STILL: u32 = 50_000;

/// Something to come.
pub(super) enum Due {
    /// A disk takes the next batch of a lane.
    Run(Who, u32, Lane),
    /// And answers it.
    Answer(Who, u32, Lane, Vec<(Ticket, Reply)>),
    /// A client's disk carries out what an earlier process of it had asked.
    Late(usize, Option<Bytes>, Vec<Commit>),
    Computed(Who, u32, Ticket),
    Wake(usize, Wake),
    Start(Who),
}

impl<N: Network> World<N> {
    pub(super) fn after(&mut self, delay: Duration, due: Due) {
        self.last_due += 1;
        self.due.insert((self.now + delay, self.last_due), due);
    }

    /// Clients that are gone stay away, from this one on.
    pub(in crate::sim) fn keep_clients_away(&mut self, first: usize) {
        let comes_back = |due: &Due| matches!(due, Due::Start(Who::Client(one)) if *one >= first);
        self.due.retain(|_, due| !comes_back(due));
    }

    /// A client's directory is another: what an earlier process still writes goes into the one there was.
    pub(in crate::sim) fn forget_late_writes(&mut self, client: usize) {
        let is_late = |due: &Due| matches!(due, Due::Late(one, ..) if *one == client);
        self.due.retain(|_, due| !is_late(due));
    }

    /// Lets time pass.
    pub(in crate::sim) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            if self.failed() {
                return;
            }
            let Some(at) = self.next().filter(|at| *at <= end) else {
                self.now = end;
                self.still = 0;
                return;
            };
            self.still = if at > self.now { 0 } else { self.still + 1 };
            if self.still > STILL {
                let detail = "time stands still: something is due again and again".to_owned();
                return self.checker.fail(self.now, Invariant::Progress, detail);
            }
            self.now = self.now.max(at);
            self.happen();
        }
    }

    fn next(&self) -> Option<Time> {
        let deadlines = self
            .processes
            .keys()
            .filter_map(|who| self.hosts.deadline(*who));
        let due = self.due.first_key_value().map(|((at, _), _)| *at);
        deadlines.chain(due).chain(self.net.next()).min()
    }

    /// One thing that is due now.
    fn happen(&mut self) {
        let now = self.now;
        if self.net.next().is_some_and(|at| at <= now) {
            return self.net.deliver(now, &mut self.hosts);
        }
        if self
            .due
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= now)
        {
            if let Some((_, due)) = self.due.pop_first() {
                self.come(due);
            }
            return;
        }
        let whos = self.processes.keys().copied();
        let mut late = whos.filter(|who| self.hosts.deadline(*who).is_some_and(|at| at <= now));
        if let Some(who) = late.next() {
            self.hosts.input(now, who, Input::Timeout);
        }
    }

    fn come(&mut self, due: Due) {
        let is_now = |world: &Self, who: &Who, start: u32| {
            world
                .processes
                .get(who)
                .is_some_and(|process| process.start == start)
        };
        match due {
            Due::Run(who, start, lane) if is_now(self, &who, start) => self.store(who, start, lane),
            Due::Answer(who, start, lane, answers) if is_now(self, &who, start) => {
                for (ticket, reply) in answers {
                    self.hosts
                        .input(self.now, who, Input::Stored(ticket, reply));
                }
                let process = self.processes.entry(who).or_default();
                if process.lanes.answered(lane) {
                    self.begin_batch(who, lane);
                }
            }
            Due::Computed(who, start, ticket) if is_now(self, &who, start) => {
                let process = self.processes.entry(who).or_default();
                if let Some(job) = process.jobs.remove(&ticket) {
                    self.hosts
                        .input(self.now, who, Input::Computed(ticket, job.run()));
                }
            }
            Due::Wake(server, wake) => {
                self.hosts
                    .input(self.now, Who::Server(server), Input::Wake(wake));
            }
            Due::Late(client, fence, writes) => self.write_late(client, fence, writes),
            Due::Start(who) => self.start(who),
            // Its process is gone: so is what was not carried out, and nobody hears the rest.
            Due::Run(..) | Due::Answer(..) | Due::Computed(..) => {}
        }
    }
}
