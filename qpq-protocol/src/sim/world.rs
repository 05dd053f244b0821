//! The world: processes, their disks, virtual time, and what happens next.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::app::App;
use super::disk::{Disk, Lanes, Ran};
use super::host::{Host as _, Hosts, Input, Network, Todo, Told, Who};
use super::invariants::{Checker, Invariant};
use super::log::{Log, mark};
use super::tap::{Seen, Tap};
use super::{BEGIN, Config, Report, START, generator, ms};
use crate::client::{self, Client, IntentId, MlsSuite, OpaqueSuite, Outcome};
use crate::ids::{IdentityKey, Ticket};
use crate::io::{Job, Lane, Wake};
use crate::limits::Limits;
use crate::rng::Rng;
use crate::server::{self, Server};
use crate::status::Status;
use crate::storage::{Command, Reply};
use crate::time::{Time, UnixTime};

/// How often something may happen at one moment before that counts as standing still.
const STILL: u32 = 50_000;

/// A process, running or not.
#[derive(Default)]
pub(super) struct Process {
    /// Counts its starts: what was meant for an earlier one is dropped.
    start: u32,
    lanes: Lanes,
    jobs: BTreeMap<Ticket, Job>,
    /// Its wall clock is so many milliseconds off.
    pub(super) skew: i64,
    /// It was asked to shut down, and starts again when it has.
    pub(super) stopping: bool,
}

/// Something to come.
enum Due {
    /// A disk takes the next batch of a lane.
    Run(Who, u32, Lane),
    /// And answers it.
    Answer(Who, u32, Lane, Vec<(Ticket, Reply)>),
    Computed(Who, u32, Ticket),
    Wake(usize, Wake),
    Start(Who),
}

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
    pub(super) wake_loss: u64,
    limits: Limits,
    seeds: Rng,
    pub(super) messages: usize,
}

impl<N: Network> World<N> {
    pub(super) fn new(config: &Config, seed: u64, net: N) -> Self {
        let clients = config.clients;
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
            checker: Checker::default(),
            log: Log::new(config.log),
            due: BTreeMap::new(),
            last_due: 0,
            still: 0,
            wake_loss: 10,
            limits: limits(),
            seeds: generator(seed, b"cores"),
            messages: 0,
            config: config.clone(),
        }
    }

    /// Everything, from the first start to the last check.
    pub(super) fn run(&mut self) {
        for who in self.processes.keys().copied().collect::<Vec<_>>() {
            self.start(who);
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

    pub(super) fn report(&mut self, seed: u64) -> Report {
        let violation = self.checker.violation.clone();
        if let Some(violation) = &violation {
            let name = violation.invariant.name();
            let detail = &violation.detail;
            self.log
                .line(violation.at, format_args!("VIOLATED {name}: {detail}"));
        }
        let (hash, log) = self.log.end();
        Report {
            seed,
            violation,
            log,
            hash,
            took: self.now - START,
            messages: self.messages,
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.checker.violation.is_some()
    }

    pub(super) fn unix(&self, who: Who) -> UnixTime {
        let skew = self.processes.get(&who).map_or(0, |process| process.skew);
        let at = BEGIN.as_millis() + self.now.as_micros() / 1000;
        UnixTime::from_millis(at.saturating_add_signed(skew))
    }

    pub(super) fn disk(&mut self, who: Who) -> &mut Disk {
        match who {
            Who::Server(_) => &mut self.store,
            Who::Client(client) => &mut self.disks[client],
        }
    }

    fn after(&mut self, delay: Duration, due: Due) {
        self.last_due += 1;
        self.due.insert((self.now + delay, self.last_due), due);
    }

    /// Starts a process on what its disk holds, unless it runs.
    pub(super) fn start(&mut self, who: Who) {
        if self.hosts.runs(who) {
            return;
        }
        let (now, unix, seed) = (self.now, self.unix(who), self.seeds.seed());
        let process = self.processes.entry(who).or_default();
        process.start += 1;
        self.log.line(now, format_args!("{who} starts"));
        match who {
            Who::Client(client) => {
                let config = client_config(who, process.start);
                #[cfg(qpq_defects)]
                let config = client::Config {
                    defect: self.config.defect,
                    ..config
                };
                let key = [u8::try_from(client).unwrap_or(u8::MAX); 32];
                let core = Tap::new(Client::new(config, key, seed, now, unix));
                let host = self.net.host(who, core, now, unix);
                self.hosts.clients[client] = Some(host);
            }
            Who::Server(server) => {
                let config = server_config(self.limits.clone());
                #[cfg(qpq_defects)]
                let config = server::Config {
                    defect: self.config.defect,
                    ..config
                };
                let core = Tap::new(Server::new(config, seed, now, unix));
                let host = self.net.host(who, core, now, unix);
                self.hosts.servers[server] = Some(host);
            }
        }
        self.hosts.stirred.insert(who);
    }

    /// A process is gone from one moment to the next, and starts again later.
    pub(super) fn crash(&mut self, who: Who, back_after: Duration) {
        if self.hosts.runs(who) {
            self.log.line(self.now, format_args!("{who} is gone"));
            self.end(who);
        }
        self.after(back_after, Due::Start(who));
    }

    fn end(&mut self, who: Who) {
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

    /// An app states an intent, if its core runs.
    pub(super) fn act(
        &mut self,
        client: usize,
        wish: super::app::Wish,
        act: impl FnOnce(&mut Client, Time) -> IntentId,
    ) {
        let now = self.now;
        if let Some(host) = self.hosts.client(client) {
            let intent = host.act(now, act);
            self.apps[client].open.insert(intent, wish);
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
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
            Due::Start(who) => self.start(who),
            // Its process is gone: so is what was not carried out, and nobody hears the rest.
            Due::Run(..) | Due::Answer(..) | Due::Computed(..) => {}
        }
    }

    fn begin_batch(&mut self, who: Who, lane: Lane) {
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
    fn store(&mut self, who: Who, start: u32, lane: Lane) {
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

    /// Does what all processes want done now.
    fn drain(&mut self) {
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
            let most = self.limits.footprint();
            self.checker
                .holds(self.now, who, self.hosts.footprint(who), most);
            self.net.feed(self.now, who, &mut self.hosts);
            let stopping = self
                .processes
                .get(&who)
                .is_some_and(|process| process.stopping);
            if stopping && self.hosts.is_shut_down(who) {
                self.log.line(self.now, format_args!("{who} has shut down"));
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
                    .line(self.now, format_args!("{who} tells {event:?}"));
                if let Who::Server(server) = who {
                    self.checker.server_told(self.now, server, &event);
                }
            }
            Todo::Event(Told::Client(event)) => {
                if let Who::Client(client) = who {
                    self.app_told(client, event);
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

    fn see(&mut self, who: Who, seen: Seen) {
        let now = self.now;
        match seen {
            Seen::Asked { method, request } => {
                let (name, length, mark) = (method.name(), request.len(), mark(&request));
                self.log
                    .line(now, format_args!("{who} asks {name} {length} {mark:08x}"));
                self.checker.asked(method, &request);
            }
            Seen::Answered {
                method,
                request,
                status,
                response,
            } => {
                let (name, length, mark) = (method.name(), response.len(), mark(&response));
                self.log.line(
                    now,
                    format_args!("{who} answers {name} {} {length} {mark:08x}", status.name()),
                );
                if status == Status::Ok {
                    let accounts: Vec<IdentityKey> =
                        self.apps.iter().filter_map(|app| app.account).collect();
                    let what = (method, &request, &response);
                    let memory = &self.store.memory;
                    self.checker.answered(now, what, memory, &accounts);
                }
            }
            Seen::Pushed(event) => {
                self.log.line(now, format_args!("{who} pushes"));
                self.checker.pushed(now, &event);
            }
            Seen::Nonsense => {
                let detail = format!("{who} sent what is no frame");
                self.checker.fail(now, Invariant::NothingBreaks, detail);
            }
        }
    }

    fn app_told(&mut self, client: usize, event: client::Event) {
        let now = self.now;
        self.log.line(
            now,
            format_args!("c{client} is told {}", super::app::brief(&event)),
        );
        let app = &mut self.apps[client];
        let memory = &self.disks[client].memory;
        self.checker.app_told(now, client, app, &event, memory);
        match event {
            client::Event::Done { intent, outcome } => {
                if matches!(outcome, Outcome::Sent { .. }) {
                    self.messages += 1;
                }
                app.done(intent, outcome);
            }
            client::Event::Failed { intent, error } => {
                app.failed(intent, &error);
            }
            client::Event::Joined { conversation } => app.learn(&conversation),
            client::Event::Opened { account } => {
                app.logged_in = account.as_ref().is_some_and(|account| account.logged_in);
                app.registered |= account.is_some();
                app.account = account.map(|account| account.identity_key).or(app.account);
            }
            client::Event::LoggedOut => app.logged_in = false,
            client::Event::LoggedIn { account } => {
                app.logged_in = true;
                app.registered = true;
                app.account = Some(account.identity_key);
            }
            _ => {}
        }
    }
}

/// Small, so that bounds are reached, and without rates: nobody here is to be slowed down.
fn limits() -> Limits {
    let mut limits = Limits {
        connections: 64,
        total_buffer: 8 * 1024 * 1024,
        total_unsent: 8 * 1024 * 1024,
        cached_rows: 200,
        cached_bytes: 1024 * 1024,
        ..Limits::default()
    };
    for rate in [
        &mut limits.address_requests,
        &mut limits.account_requests,
        &mut limits.enqueues,
        &mut limits.enqueue_recipients,
        &mut limits.logins_address,
        &mut limits.logins_name,
        &mut limits.registrations,
        &mut limits.key_package_fetches,
        &mut limits.resolves,
        &mut limits.new_channels,
    ] {
        rate.count = u32::MAX;
    }
    limits
}

fn server_config(limits: Limits) -> server::Config {
    server::Config {
        opaque_suite: OpaqueSuite::TEST,
        limits,
        ..server::Config::default()
    }
}

fn client_config(who: Who, start: u32) -> client::Config {
    client::Config {
        holder: format!("{who} {start}"),
        opaque_suite: OpaqueSuite::TEST,
        // The classical suite: a quarter of the bytes, a tenth of the time.
        mls_suite: MlsSuite::X25519,
        package_floor: 1,
        package_target: 2,
        backoff_base: ms(100),
        backoff_max: ms(10_000),
        ..client::Config::default()
    }
}
