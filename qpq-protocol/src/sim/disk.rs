//! Disks: commands wait, are carried out in batches, and are answered later; in bad times a batch
//! fails. What was not carried out when its process dies is gone; what was is durable, answered or
//! not.

use std::collections::VecDeque;

use super::chance::Chance;
use super::{below, pick};
use crate::ids::Ticket;
use crate::io::Lane;
use crate::rng::Rng;
use crate::storage::memory::Fault;
use crate::storage::{Command, Commit, Engine as _, Failure, Memory, Reply};
use crate::time::Time;

/// What a core asked of storage, lane by lane.
#[derive(Default)]
pub(super) struct Lanes {
    ordered: Waiting,
    reads: Waiting,
}

#[derive(Default)]
struct Waiting {
    commands: VecDeque<(Ticket, Command)>,
    /// A batch of this lane is under way.
    busy: bool,
}

impl Lanes {
    fn lane(&mut self, lane: Lane) -> &mut Waiting {
        match lane {
            Lane::Ordered => &mut self.ordered,
            Lane::Reads => &mut self.reads,
        }
    }

    /// A command waits; whether its lane has to be started.
    pub(super) fn push(&mut self, lane: Lane, ticket: Ticket, command: Command) -> bool {
        let waiting = self.lane(lane);
        waiting.commands.push_back((ticket, command));
        !core::mem::replace(&mut waiting.busy, true)
    }

    /// The next batch, some or all of what waits.
    pub(super) fn take(&mut self, lane: Lane, rng: &mut Rng) -> Vec<(Ticket, Command)> {
        let commands = &mut self.lane(lane).commands;
        let all = commands.len();
        let count = match rng.below(4) {
            0 => 1 + below(rng, all),
            _ => all,
        };
        commands.drain(..count.min(all)).collect()
    }

    /// All writes that wait or are under way.
    pub(super) fn writes(&mut self) -> Vec<Commit> {
        let waiting = self.ordered.commands.drain(..);
        let commits = waiting.filter_map(|(_, command)| match command {
            Command::Commit(commit) => Some(commit),
            _ => None,
        });
        commits.collect()
    }

    /// A batch was answered; whether another one has to be started.
    pub(super) fn answered(&mut self, lane: Lane) -> bool {
        let waiting = self.lane(lane);
        waiting.busy = !waiting.commands.is_empty();
        waiting.busy
    }
}

/// What came of a batch.
pub(super) struct Ran {
    /// What was carried out, and how that ended.
    pub(super) made: Vec<(Command, Reply)>,
    /// What is answered.
    pub(super) answers: Vec<(Ticket, Reply)>,
    pub(super) fault: Option<Fault>,
}

/// A disk, and how it does.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) memory: Memory,
    /// Batches may fail until then.
    pub(super) bad_until: Time,
    /// Everything takes long until then.
    pub(super) slow_until: Time,
}

impl Disk {
    /// Carries a batch out, or not. `faults`: how often it fails at any time, rather than half the time in bad times.
    pub(super) fn run(
        &mut self,
        now: Time,
        batch: Vec<(Ticket, Command)>,
        faults: Option<Chance>,
        rng: &mut Rng,
    ) -> Ran {
        let fails = match faults {
            Some(chance) => chance.strikes(rng),
            None => now < self.bad_until && rng.below(2) == 0,
        };
        let fault = fails.then(|| {
            pick(
                rng,
                &[
                    Fault::Full,
                    Fault::Unavailable,
                    Fault::UnknownMade,
                    Fault::UnknownLost,
                ],
            )
        });
        let failure = match fault {
            None => None,
            Some(Fault::Full) => Some(Failure::Full),
            Some(Fault::Unavailable) => Some(Failure::Unavailable),
            Some(Fault::UnknownMade | Fault::UnknownLost) => Some(Failure::Unknown),
        };
        let (tickets, commands): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let made: Vec<(Command, Reply)> = match fault {
            None | Some(Fault::UnknownMade) => {
                let replies = self.memory.run(commands.clone());
                commands.into_iter().zip(replies).collect()
            }
            Some(_) => Vec::new(),
        };
        let answers = tickets.into_iter().enumerate().map(|(place, ticket)| {
            let reply = match failure {
                Some(failure) => Reply::Failed(failure),
                None => made
                    .get(place)
                    .map_or(Reply::Conflict, |(_, reply)| reply.clone()),
            };
            (ticket, reply)
        });
        let answers = answers.collect();
        Ran {
            made,
            answers,
            fault,
        }
    }

    /// How long a batch takes until it is durable, or from then until it is answered, in
    /// microseconds.
    pub(super) fn latency(&self, now: Time, rng: &mut Rng) -> u64 {
        match now < self.slow_until {
            true => rng.below(3_000_000),
            false => 20 + rng.below(1_000),
        }
    }
}
