//! What processes asked of their disks is carried out, and answered.

use core::time::Duration;

use super::World;
use super::schedule::Due;
use crate::io::Lane;
use crate::sim::disk::Ran;
use crate::sim::host::Who;
use crate::sim::invariants::Invariant;
use crate::sim::network::Network;
use crate::storage::{Command, Reply};

impl<N: Network> World<N> {
    pub(super) fn begin_batch(&mut self, who: Who, lane: Lane) {
        let start = self.processes.get(&who).map_or(0, |process| process.start);
        let delay = self.latency(who);
        self.after(delay, Due::Run(who, start, lane));
    }

    fn latency(&mut self, who: Who) -> Duration {
        let now = self.now;
        let disk = match who {
            Who::Server(_) => &self.store,
            Who::Client(client) => &self.disks[client],
        };
        Duration::from_micros(disk.latency(now, &mut self.rng))
    }

    /// A disk carries out a batch.
    pub(super) fn store(&mut self, who: Who, start: u32, lane: Lane) {
        let now = self.now;
        let process = self.processes.entry(who).or_default();
        let batch = process.lanes.take(lane, &mut self.rng);
        let disk = match who {
            Who::Server(_) => &mut self.store,
            Who::Client(client) => &mut self.disks[client],
        };
        let count = batch.len();
        let Ran {
            made,
            answers,
            fault,
        } = disk.run(now, batch, &mut self.rng);
        if let Some(fault) = fault {
            self.log.line(
                now,
                format_args!("{who} storage fails: {fault:?} of {count}"),
            );
        }
        for (command, reply) in &made {
            let Command::Commit(commit) = command else {
                continue;
            };
            match reply {
                Reply::Committed => match who {
                    Who::Client(client) => self.checker.client_stored(now, client, commit),
                    Who::Server(_) => self.checker.server_stored(now, commit, &disk.memory),
                },
                Reply::Conflict => self.log.line(now, format_args!("{who} conflict")),
                _ => {
                    let detail = format!("{who} made a commit that no engine takes");
                    self.checker.fail(now, Invariant::NothingBreaks, detail);
                }
            }
        }
        let delay = self.latency(who);
        self.after(delay, Due::Answer(who, start, lane, answers));
    }
}
