//! A whole messaging system that replays from a seed: client apps, server cores on one store, and a
//! world that loses, delays, cuts, fills and crashes around them, in virtual time.
//!
//! [`run`] takes a [`Config`] and a seed and gives a [`Report`]: the same two give the same report,
//! on any machine, any day; over datagrams, on machines that compute alike (see there). After every step the
//! invariants are checked ([`Invariant`] names them); when the faults stop, everything has to settle
//! within [`SETTLE`] of virtual time.
//!
//! What lies between clients and servers is a [`Carrier`]: streams as QUIC makes them, which is
//! quick, or datagrams between real QUIC endpoints. All else is the same world.
//!
//! # What must always hold
//!
//! | what | how it is seen |
//! | --- | --- |
//! | what was acknowledged is durable | at each answer of a server, each Ack of a client and each event of an app, the row is looked for on the disk; at the end every confirmed message is in every member's history |
//! | each seq once and without holes | each commit of a server, and each answer to a Fetch |
//! | one winner for each slot and epoch | each commit of a server, and what apps are told of changes of members |
//! | no key and no nonce twice | clients' disks and requests, see `invariants/secrets` |
//! | a message reaches an app once | what apps are told, and their histories at the end; every account has one device here |
//! | `footprint` is below its bound | after every step; when all clients are gone, servers hold nothing for any |
//! | all settles when the faults stop | within [`SETTLE`] of virtual time everyone is logged in, every intent has ended, members agree |
//!
//! [`Invariant`] names the rest.
//!
//! # What may happen
//!
//! Pieces of streams are late or cut anywhere; connections break, in silence or not; clients are parted from the
//! servers, and change their addresses. Disks are slow, full, unavailable, or don't say whether they wrote.
//! Processes die at any moment, and between a batch's being durable and its answer; what an earlier process of a
//! client had asked to be written may come after the next one has begun. Wall clocks are set; wakes between
//! servers are lost and repeated.
//!
//! # Who means ill
//!
//! [`Config::villains`] says of which kinds a seed chooses ([`Villain`] names them); with none, everyone means well.
//! Their worlds have small limits and the rates of every server, so that what is full is met early. What must hold there
//! besides: nobody is ended by what another puts into a slot; where only villains do harm, another account's Health,
//! Fetch and Enqueue are answered within a second; what a client called sent is delivered, or somebody was told; nothing
//! that can't be undone follows from one wrong clock, nor from one wrong word of a server; once the villains are gone,
//! honest members agree within [`SETTLE_AFTER_HARM`]. Some kinds act out the stories of a few rules, which chance does
//! not come to in a thousand worlds, and have their worlds for themselves ([`Villain::is_apart`]).
//!
//! # Where it is
//!
//! | file | what is in it |
//! | --- | --- |
//! | `world` | processes, virtual time, what happens next |
//! | `host`, `tap` | a core where it runs, and what passes its boundary |
//! | `contract` | what a core may rely on there |
//! | `network`, `chance` | what a network is to the world, and how often something fails |
//! | `streams` | a network of streams, with delay, loss of connections, partitions, changes of address |
//! | `datagrams` | one of datagrams between QUIC endpoints, with feature `quic` |
//! | `disk` | latency, failures, and what a crash leaves |
//! | `actions`, `app` | what people do, and what their apps heard |
//! | `invariants` | what must always hold |
//! | `settle` | what must come to hold |
//! | `villains` | who means ill, what they do, and what it costs the others |
//! | `log` | the readable log and its hash |
//!
//! The log, and so its hash, holds what is exact: actions, events, methods, statuses, and a hash of
//! the wire bytes. It holds no stored values of MLS: openmls writes the wall clock into them.
//! Passwords are stretched with [`OpaqueSuite::TEST`](crate::client::OpaqueSuite::TEST), which a server offers and a client accepts
//! only if its own configuration names it; no default does.

mod actions;
mod app;
mod chance;
mod contract;
#[cfg(feature = "quic")]
mod datagrams;
mod disk;
mod host;
mod invariants;
mod log;
mod network;
mod settle;
mod streams;
mod tap;
mod villains;
mod world;

use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::client::StorageKey;
use crate::time::{Time, UnixTime};

pub use invariants::{Invariant, Violation};
pub use log::Entry;
pub use villains::{Cost, Villain};

/// Virtual time within which everything settles once the faults have stopped.
pub const SETTLE: Duration = Duration::from_secs(600);

/// The same where somebody meant ill: who was thrown off a list twice may come back after an hour.
pub const SETTLE_AFTER_HARM: Duration = Duration::from_secs(2 * 3600);

/// The date at the origin of virtual time: 2026-01-01.
const BEGIN: UnixTime = UnixTime::from_millis(1_767_225_600_000);

/// How large a world is and how long it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Clients, each with an account of its own.
    pub clients: usize,
    /// Server cores on one store.
    pub servers: usize,
    /// Random actions before the faults stop.
    pub steps: usize,
    /// What carries the bytes between clients and servers.
    pub carrier: Carrier,
    /// Which villains a seed chooses from; none: everyone means well.
    pub villains: Vec<Villain>,
    /// How many in a hundred pieces of streams, or datagrams, are lost until the faults stop. In place of what a seed
    /// draws, as are the next two: `None` leaves it to the seed. Worlds where only villains do harm have none of them.
    pub loss: Option<u8>,
    /// How long each takes at least on its way, until the faults stop; a spread that a seed draws comes on top. With more
    /// than ten seconds not everything settles in time.
    pub delay: Option<Duration>,
    /// How many in a hundred batches fail on every disk, at any time until the faults stop.
    pub disk_faults: Option<u8>,
    /// Whether the report holds the log; its hash is there in any case.
    pub log: bool,
    /// What the cores do wrong.
    #[cfg(qpq_defects)]
    pub defect: Option<crate::defect::Defect>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            clients: 3,
            servers: 2,
            steps: 60,
            carrier: Carrier::Streams,
            villains: Vec::new(),
            loss: None,
            delay: None,
            disk_faults: None,
            log: false,
            #[cfg(qpq_defects)]
            defect: None,
        }
    }
}

/// What carries the bytes between clients and servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Carrier {
    /// Streams, simulated as QUIC makes them.
    Streams,
    /// Datagrams between [`quic::Endpoint`](crate::quic::Endpoint)s: handshakes, loss detection,
    /// flow control and migration are the real ones, and only the network is simulated. A datagram
    /// may be late, lost, doubled, damaged, overtaken, too long, or marked by a router; a host's
    /// socket is full at times, one direction falls silent, addresses change.
    ///
    /// TLS draws randomness of its own, so the bytes differ from run to run. The log does not, since
    /// the fate of a datagram depends on its place among all and on its length, which is the same
    /// in every run. Two exceptions: quinn computes its congestion window with floating point, whose
    /// last digit a machine of another kind may round differently; and of its random connection ids
    /// there are 2^24 for each key, so that in very few worlds a restarted server repeats one.
    #[cfg(feature = "quic")]
    Datagrams {
        /// Any instant, for virtual time to be counted from: there is no other way to make one.
        /// Nothing depends on which it is.
        epoch: std::time::Instant,
    },
}

/// What came of one seed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first invariant that did not hold, if any.
    pub violation: Option<Violation>,
    /// The log, an entry for each thing that happened; empty unless it was asked for.
    pub log: Vec<Entry>,
    /// SHA-256 of the log as text, each line with a line feed.
    pub hash: [u8; 32],
    /// How much virtual time went by.
    pub took: Duration,
    /// Messages that apps sent, and that servers confirmed.
    pub messages: usize,
    /// What villains cost the others.
    pub cost: Cost,
}

impl Report {
    /// The log as text, a line for each entry.
    #[must_use]
    pub fn text(&self) -> String {
        let lines: Vec<String> = self.log.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }
}

/// Runs the world that `seed` names. A panic of a core is a [`Violation`] too.
#[must_use]
pub fn run(config: &Config, seed: u64) -> Report {
    let plan = villains::Plan::of(config, seed);
    let people = config.clients + plan.accounts();
    match config.carrier {
        Carrier::Streams => {
            let network = streams::Streams::new(config, people, seed);
            run_over(network, config, plan, seed)
        }
        #[cfg(feature = "quic")]
        Carrier::Datagrams { epoch } => {
            let network = datagrams::Datagrams::new(config, people, seed, epoch);
            run_over(network, config, plan, seed)
        }
    }
}

fn run_over<N: network::Network>(
    network: N,
    config: &Config,
    plan: villains::Plan,
    seed: u64,
) -> Report {
    let mut world = world::World::new(config, seed, plan, network);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(panic) = ran {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        let what = what.or(panic.downcast_ref::<&str>().copied());
        world.checker.fail(
            world.now,
            Invariant::NoPanic,
            what.unwrap_or("a panic").to_owned(),
        );
    }
    world.report(seed)
}

/// A generator for one purpose within a seed.
fn generator(seed: u64, purpose: &[u8]) -> crate::rng::Rng {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new_with_prefix(b"qpq sim v1");
    hash.update(seed.to_be_bytes());
    hash.update(purpose);
    crate::rng::Rng::new(hash.finalize().into())
}

/// The key under which a client seals what it stores.
fn storage_key(client: usize) -> StorageKey {
    StorageKey::new([u8::try_from(client).unwrap_or(u8::MAX); 32])
}

/// A place in something of this length.
fn below(rng: &mut crate::rng::Rng, length: usize) -> usize {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    usize::try_from(rng.below(length)).unwrap_or(0)
}

/// One of these; there has to be one.
fn pick<T: Copy>(rng: &mut crate::rng::Rng, of: &[T]) -> T {
    of[below(rng, of.len())]
}

/// Milliseconds as a span.
const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A span as microseconds.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// The time at which every world begins; not the origin, so that nothing takes zero for granted.
const START: Time = Time::from_micros(1_000_000);
