//! The world: processes, their disks, virtual time.

mod disks;
mod outputs;
mod processes;
mod schedule;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use self::processes::limits;
pub(super) use self::processes::{PowerCut, Process};
use self::schedule::Due;
use super::app::{App, Wish};
use super::chance::Chance;
use super::disk::Disk;
use super::host::{Host as _, Hosts, Who};
use super::invariants::Checker;
use super::log::{Log, VIOLATED, WORLD};
use super::network::Network;
use super::villains::{self, Copies, Cost, Plan, Waiting};
use super::{BEGIN, Config, Report, START, generator, ms};
use crate::client::Intent;
use crate::limits::Limits;
use crate::rng::Rng;
use crate::storage::Memory;
use crate::time::{Time, UnixTime};

/// See the page of this module.
pub(super) struct World<N: Network> {
    pub(super) config: Config,
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) net: N,
    pub(super) hosts: Hosts<N>,
    pub(super) processes: BTreeMap<Who, Process>,
    pub(super) apps: Vec<App>,
    /// The servers' one store, then one disk a client.
    store: Disk,
    disks: Vec<Disk>,
    pub(super) checker: Checker,
    pub(super) log: Log,
    due: BTreeMap<(Time, u64), Due>,
    last_due: u64,
    /// Things that happened at this very moment.
    still: u32,
    /// One in so many wakes is lost, and one is repeated; 0: none.
    wake_loss: u64,
    /// How often disks fail, where it was said.
    disk_faults: Option<Chance>,
    limits: Limits,
    seeds: Rng,
    pub(super) messages: usize,
    /// Who means ill, what they draw their acts from, and what they have in hand.
    pub(super) plan: Plan,
    pub(super) ill: Rng,
    pub(super) copies: Copies,
    /// What is done once in a world was done.
    pub(super) has_struck: bool,
    pub(super) waiting: Waiting,
    pub(super) cost: Cost,
}

impl<N: Network> World<N> {
    pub(super) fn new(config: &Config, seed: u64, plan: Plan, net: N) -> Self {
        let clients = config.clients + plan.accounts();
        let app = |client| App {
            name: format!("user{client}"),
            ..App::default()
        };
        let who = (0..clients).map(Who::Client);
        let who = who.chain((0..config.servers).map(Who::Server));
        Self {
            now: START,
            rng: generator(seed, b"world"),
            net,
            hosts: Hosts {
                clients: (0..clients).map(|_| None).collect(),
                servers: (0..config.servers).map(|_| None).collect(),
                stirred: BTreeSet::new(),
            },
            processes: who.map(|who| (who, Process::default())).collect(),
            apps: (0..clients).map(app).collect(),
            store: Disk::default(),
            disks: (0..clients).map(|_| Disk::default()).collect(),
            checker: Checker::new(plan.clone(), config.clients),
            log: Log::new(config.log),
            due: BTreeMap::new(),
            last_due: 0,
            still: 0,
            wake_loss: 10,
            disk_faults: config.disk_faults.map(Chance::percent),
            limits: match plan.is_any() {
                true => villains::limits(),
                false => limits(),
            },
            seeds: generator(seed, b"cores"),
            messages: 0,
            plan,
            ill: generator(seed, b"villains"),
            copies: Copies::default(),
            has_struck: false,
            waiting: Waiting::default(),
            cost: Cost::default(),
            config: config.clone(),
        }
    }

    /// Everything, from the first start to the last check.
    pub(super) fn run(&mut self) {
        for who in self.processes.keys().copied().collect::<Vec<_>>() {
            self.start(who);
        }
        if self.plan.is_calm() {
            self.calm();
        }
        self.pass(ms(100));
        for _ in 0..self.config.steps {
            if self.failed() {
                return;
            }
            self.step();
        }
        self.settle();
    }

    /// From now on neither the network nor what is between the servers nor a disk fails by chance.
    pub(super) fn calm(&mut self) {
        self.net.calm();
        self.wake_loss = 0;
        self.disk_faults = None;
    }

    pub(super) fn report(&mut self, seed: u64) -> Report {
        if let Some(tally) = self.net.tally() {
            self.log
                .entry(self.now, WORLD, format_args!("the network carried {tally}"));
        }
        let violation = self.checker.violation.clone();
        if let Some(violation) = &violation {
            let name = violation.invariant.name();
            let detail = &violation.detail;
            self.log
                .entry(violation.at, VIOLATED, format_args!("{name}: {detail}"));
        }
        let (hash, log) = self.log.end();
        Report {
            seed,
            violation,
            log,
            hash,
            took: self.now - START,
            messages: self.messages,
            cost: self.cost(),
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.checker.violation.is_some()
    }

    pub(super) fn unix(&self, who: Who) -> UnixTime {
        let skew = self.processes.get(&who).map_or(0, |process| process.skew);
        UnixTime::from_millis(self.date().as_millis().saturating_add_signed(skew))
    }

    /// What a right clock says.
    pub(super) fn date(&self) -> UnixTime {
        UnixTime::from_millis(BEGIN.as_millis() + self.now.as_micros() / 1000)
    }

    /// What the servers' disk holds.
    pub(super) fn stored(&self) -> &Memory {
        &self.store.memory
    }

    pub(super) fn disk(&mut self, who: Who) -> &mut Disk {
        match who {
            Who::Server(_) => &mut self.store,
            Who::Client(client) => &mut self.disks[client],
        }
    }

    /// An app states an intent, if its core runs.
    pub(super) fn begin(&mut self, client: usize, wish: Wish, intent: Intent) {
        let now = self.now;
        if let Some(host) = self.hosts.client(client) {
            let intent = host.act(now, |mask, now| mask.client().begin(now, intent));
            self.apps[client].open.insert(intent, wish);
        }
    }
}
