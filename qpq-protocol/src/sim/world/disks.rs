//! What processes asked of their disks is carried out, and answered; or the power is cut.

use core::time::Duration;

use bytes::Bytes;

use super::World;
use super::schedule::Due;
use crate::client;
use crate::io::Lane;
use crate::sim::disk::Ran;
use crate::sim::host::Who;
use crate::sim::invariants::Invariant;
use crate::sim::network::Network;
use crate::sim::{ms, pick};
use crate::storage::memory::Fault;
use crate::storage::{Command, Commit, Engine as _, Reply};

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
        let cut = self.is_power_cut(who, lane);
        if cut == Some(false) {
            return self.lose_power(who);
        }
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
        } = disk.run(now, batch, self.disk_faults, &mut self.rng);
        if let Some(fault) = fault {
            self.log.entry(
                now,
                who,
                format_args!("storage fails: {fault:?} of {count}"),
            );
            if fault == Fault::UnknownMade {
                // What waited for these rows happened, and will not be told.
                self.leave_untold(who);
            }
        }
        self.carried_out(who, &made);
        if cut == Some(true) {
            return self.lose_power(who);
        }
        let delay = self.latency(who);
        self.after(delay, Due::Answer(who, start, lane, answers));
    }

    /// What a disk has carried out is checked.
    fn carried_out(&mut self, who: Who, made: &[(Command, Reply)]) {
        let now = self.now;
        let memory = match who {
            Who::Server(_) => &self.store.memory,
            Who::Client(client) => &self.disks[client].memory,
        };
        for (command, reply) in made {
            let Command::Commit(commit) = command else {
                continue;
            };
            match reply {
                Reply::Committed => match who {
                    Who::Client(client) => self.checker.client_stored(now, client, commit),
                    Who::Server(_) => self.checker.server_stored(now, commit, memory),
                },
                Reply::Conflict => self.log.entry(now, who, format_args!("conflict")),
                _ => {
                    let detail = format!("{who} made a commit that no engine takes");
                    self.checker.fail(now, Invariant::NothingBreaks, detail);
                }
            }
        }
    }

    /// Whether a process dies at this batch, and if so whether the batch is durable by then.
    fn is_power_cut(&mut self, who: Who, lane: Lane) -> Option<bool> {
        let cut = &mut self.processes.get_mut(&who)?.power_cut;
        match cut {
            Some(cut) if lane == Lane::Ordered && cut.batches > 0 => {
                cut.batches -= 1;
                None
            }
            Some(_) if lane == Lane::Ordered => cut.take().map(|cut| cut.is_durable),
            _ => None,
        }
    }

    fn lose_power(&mut self, who: Who) {
        let back_after = ms(self.rng.below(1_000));
        self.crash(who, back_after);
    }

    /// What a client had asked of its disk when it died may be carried out later all the same: so it
    /// is if the old process was only believed dead. It must not be once the next one has begun.
    pub(super) fn leave_late_writes(&mut self, who: Who) {
        let Who::Client(client) = who else { return };
        let mut writes = match self.processes.get_mut(&who) {
            Some(process) => process.lanes.writes(),
            None => return,
        };
        // Two openings at one moment are another matter: one of them has to give way.
        let is_opening = |(key, _): &(Bytes, Bytes)| key.starts_with(b"meta/");
        writes.retain(|commit| !commit.puts.iter().any(is_opening));
        if !writes.is_empty() && self.rng.below(2) == 0 {
            let delay = ms(pick(&mut self.rng, &[50, 2_000, 30_000]));
            let fence = self.fence(client);
            self.after(delay, Due::Late(client, fence, writes));
        }
    }

    /// The writes of a client's earlier process arrive.
    pub(super) fn write_late(&mut self, client: usize, fence: Option<Bytes>, writes: Vec<Commit>) {
        let now = self.now;
        let who = Who::Client(client);
        self.log.entry(now, who, format_args!("writes late"));
        let writes: Vec<_> = writes.into_iter().map(Command::Commit).collect();
        let is_replaced = fence != self.fence(client);
        let replies = self.disks[client].memory.run(writes.clone());
        if is_replaced && replies.contains(&Reply::Committed) {
            let detail = format!("c{client} wrote after its next opening had begun");
            self.checker.fail(now, Invariant::OneWriter, detail);
        }
        let made: Vec<_> = writes.into_iter().zip(replies).collect();
        self.carried_out(who, &made);
    }

    /// Which opening of its data a client's disk names.
    fn fence(&self, client: usize) -> Option<Bytes> {
        let memory = &self.disks[client].memory;
        memory.get(&client::writer_row()).cloned()
    }
}
