//! What processes want done is done.

use core::time::Duration;

use super::World;
use super::schedule::Due;
use crate::io::Wake;
use crate::sim::host::{Todo, Told, Who};
use crate::sim::ms;
use crate::sim::network::Network;

impl<N: Network> World<N> {
    /// Does what all processes want done now.
    pub(super) fn drain(&mut self) {
        while let Some(who) = self.hosts.stirred.pop_first() {
            while let Some(todo) = self.hosts.poll(self.now, who) {
                for seen in self.hosts.take_seen(who) {
                    self.see(who, seen);
                }
                self.do_it(who, todo);
                if self.failed() {
                    return;
                }
            }
            for seen in self.hosts.take_seen(who) {
                self.see(who, seen);
            }
            let (most, held) = (self.limits.footprint(), self.hosts.footprint(who));
            self.checker.holds(self.now, who, held, most);
            self.is_held(who, held);
            self.net.feed(self.now, who, &mut self.hosts);
            let stopping = self
                .processes
                .get(&who)
                .is_some_and(|process| process.stopping);
            if stopping && self.hosts.is_shut_down(who) {
                self.log.entry(self.now, who, format_args!("has shut down"));
                self.end(who);
                let back_after = ms(self.rng.below(5_000));
                self.after(back_after, Due::Start(who));
            }
        }
    }

    fn do_it(&mut self, who: Who, todo: Todo<Told, N::Parcel>) {
        match todo {
            Todo::Store(ticket, lane, command) => {
                let process = self.processes.entry(who).or_default();
                if process.lanes.push(lane, ticket, command) {
                    self.begin_batch(who, lane);
                }
            }
            Todo::Compute(ticket, job) => {
                let process = self.processes.entry(who).or_default();
                let start = process.start;
                process.jobs.insert(ticket, job);
                let delay = ms(self.rng.below(200));
                self.after(delay, Due::Computed(who, start, ticket));
            }
            Todo::Wake(wake) => self.wake(who, &wake),
            Todo::Carry(parcel) => self.net.carry(self.now, who, parcel),
            Todo::Event(Told::Server(event)) => {
                self.log
                    .entry(self.now, who, format_args!("tells {event:?}"));
                if let Who::Server(server) = who {
                    self.checker.server_told(self.now, server, &event);
                }
            }
            Todo::Event(Told::Client(event)) => {
                if let Who::Client(client) = who {
                    self.app_told(client, *event);
                }
            }
        }
    }

    /// A wake reaches each other server core, or not, or twice.
    fn wake(&mut self, from: Who, wake: &Wake) {
        for server in 0..self.config.servers {
            if Who::Server(server) == from {
                continue;
            }
            let luck = match self.wake_loss {
                0 => u64::MAX,
                loss => self.rng.below(loss),
            };
            let copies = match luck {
                0 => 0,
                1 => 2,
                _ => 1,
            };
            for _ in 0..copies {
                let delay = Duration::from_micros(self.rng.below(20_000));
                self.after(delay, Due::Wake(server, wake.clone()));
            }
        }
    }
}
