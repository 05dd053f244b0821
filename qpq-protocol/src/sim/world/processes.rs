//! Processes start, end, and die.

use core::time::Duration;
use std::collections::BTreeMap;

use super::World;
use super::schedule::Due;
use crate::client::{self, Client, MlsSuite, OpaqueSuite};
use crate::ids::Ticket;
use crate::io::Job;
use crate::limits::{Limits, RateClass};
use crate::rng::Seed;
use crate::server::{self, Server};
use crate::sim::disk::Lanes;
use crate::sim::host::{Host as _, Who};
use crate::sim::network::Network;
use crate::sim::tap::Tap;
use crate::sim::villains::{self, Liar, Mask};
use crate::sim::{ms, storage_key};

/// When a process dies while its disk works.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sim) struct PowerCut {
    /// So many batches go well first.
    pub(in crate::sim) batches: usize,
    /// Whether the one after them is durable by then.
    pub(in crate::sim) is_durable: bool,
}

/// A process, running or not.
#[derive(Default)]
pub(in crate::sim) struct Process {
    /// Counts its starts: what was meant for an earlier one is dropped.
    pub(super) start: u32,
    pub(super) lanes: Lanes,
    pub(super) jobs: BTreeMap<Ticket, Job>,
    /// Its wall clock is so many milliseconds off.
    pub(in crate::sim) skew: i64,
    /// It is going to die while its disk works.
    pub(in crate::sim) power_cut: Option<PowerCut>,
    /// It was asked to shut down, and starts again when it has.
    pub(in crate::sim) stopping: bool,
}

impl<N: Network> World<N> {
    /// Starts a process on what its disk holds, unless it runs.
    pub(in crate::sim) fn start(&mut self, who: Who) {
        if self.hosts.runs(who) {
            return;
        }
        let (now, unix, seed) = (self.now, self.unix(who), self.seeds.seed());
        let process = self.processes.entry(who).or_default();
        process.start += 1;
        self.log.entry(now, who, format_args!("starts"));
        match who {
            Who::Client(client) => {
                let mut config = client_config(who, process.start);
                if self.plan.is_any() {
                    config.strange_queues = villains::STRANGE_QUEUES;
                }
                #[cfg(qpq_defects)]
                let config = client::ClientConfig {
                    defect: self.config.defect,
                    ..config
                };
                let key = storage_key(client);
                let made = Client::new(config, key, Seed::new(seed), now, unix);
                let core = Tap::new(Mask::new(made));
                let host = self.net.host(who, core, now, unix);
                self.hosts.clients[client] = Some(host);
            }
            Who::Server(server) => {
                let config = server_config(self.limits.clone());
                #[cfg(qpq_defects)]
                let config = server::ServerConfig {
                    defect: self.config.defect,
                    ..config
                };
                let core = Tap::new(Liar::new(Server::new(config, seed, now, unix)));
                let host = self.net.host(who, core, now, unix);
                self.hosts.servers[server] = Some(host);
            }
        }
        self.hosts.stirred.insert(who);
    }

    /// A process is gone from one moment to the next, and starts again later.
    pub(in crate::sim) fn crash(&mut self, who: Who, back_after: Duration) {
        if self.hosts.runs(who) {
            self.log.entry(self.now, who, format_args!("is gone"));
            self.leave_late_writes(who);
            self.leave_untold(who);
            self.end(who);
        }
        self.after(back_after, Due::Start(who));
    }

    /// What a client would have told its app, had it not died.
    pub(super) fn leave_untold(&mut self, who: Who) {
        let now = self.now;
        if let Who::Client(client) = who
            && self.plan.is_any()
            && let Some(host) = self.hosts.client(client)
        {
            for event in host.act(now, |mask, _| mask.client().untold()) {
                self.checker.said.hear(client, &event);
            }
        }
    }

    pub(in crate::sim) fn end(&mut self, who: Who) {
        match who {
            Who::Client(client) => {
                self.hosts.clients[client] = None;
                self.apps[client].core_is_gone();
            }
            Who::Server(server) => self.hosts.servers[server] = None,
        }
        let process = self.processes.entry(who).or_default();
        *process = Process {
            start: process.start + 1,
            skew: process.skew,
            ..Process::default()
        };
        self.net.gone(self.now, who);
    }
}

/// Small, so that bounds are reached, and without rates: nobody here is to be slowed down.
pub(super) fn limits() -> Limits {
    let mut limits = Limits {
        connections: 64,
        total_buffer: 8 * 1024 * 1024,
        small_buffer: 1024 * 1024,
        anonymous_buffer: 1024 * 1024,
        anonymous_small_buffer: 1024 * 1024,
        total_unsent: 8 * 1024 * 1024,
        cached_rows: 200,
        cached_bytes: 1024 * 1024,
        // Those who are honest start more groups with each other than people do.
        memberships_a_day: usize::MAX,
        memberships_open: usize::MAX,
        ..Limits::default()
    };
    for class in RateClass::ALL {
        limits.rate_mut(*class).count = u32::MAX;
    }
    limits
}

/// The domain of the servers, and their host name.
const DOMAIN: &str = "servers.sim";

fn server_config(limits: Limits) -> server::ServerConfig {
    server::ServerConfig {
        domain: DOMAIN.to_owned(),
        opaque_suite: OpaqueSuite::TEST,
        limits,
        ..server::ServerConfig::default()
    }
}

fn client_config(who: Who, start: u32) -> client::ClientConfig {
    client::ClientConfig {
        server: format!("{DOMAIN}:5001"),
        holder: format!("{who} {start}"),
        opaque_suite: OpaqueSuite::TEST,
        // The classical suite: a quarter of the bytes, a tenth of the time.
        mls_suite: MlsSuite::X25519,
        package_floor: 1,
        package_target: 2,
        backoff_base: ms(100),
        backoff_max: ms(10_000),
        ..client::ClientConfig::default()
    }
}
