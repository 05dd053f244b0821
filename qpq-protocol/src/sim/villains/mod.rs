//! Who means ill: the kinds of villains, and which of them a seed puts into its world.
//!
//! A villain is no part of a core. What means ill among clients is a [`Mask`]: a client like any other, in whose
//! name the world sends what its core never would. What means ill among servers is a [`Liar`]. The others are
//! acts of the world itself: disks that are set back, clocks that jump.
//!
//! | file | what it does |
//! | --- | --- |
//! | `kinds` | names them, and says which of them a world has |
//! | `mask`, `liar` | stand between a core and what carries its bytes |
//! | `aims` | false words of a server at the one place where each matters |
//! | `words` | when servers say what |
//! | `member` | what a member can put into a slot |
//! | `stranger` | what throw-away accounts can ask for |
//! | `greedy` | what a peer can take without giving anything |
//! | `copies` | disks set back to an earlier state |
//! | `limits` | small limits, so that what is full is met early |
//! | `cost` | what the others had of it |

mod aims;
mod copies;
mod cost;
mod greedy;
pub(super) mod kinds;
pub(super) mod liar;
mod limits;
pub(super) mod mask;
mod member;
mod stranger;
mod words;

use super::log::WORLD;
use super::network::Network;
use super::world::World;
use super::{below, pick};
use crate::rng::Rng;

pub(super) use copies::Copies;
pub use cost::Cost;
pub(super) use cost::Waiting;
pub(super) use kinds::Plan;
pub use kinds::Villain;
pub(super) use liar::Liar;
pub(super) use limits::{STRANGE_QUEUES, limits};
pub(super) use mask::Mask;

impl<N: Network> World<N> {
    /// Whether the account of this client means ill.
    pub(super) fn means_ill(&self, client: usize) -> bool {
        client >= self.config.clients
    }

    /// All clients, whatever they mean.
    pub(super) fn people(&self) -> usize {
        self.apps.len()
    }

    /// One of the accounts that mean ill.
    fn some_villain(&mut self) -> Option<usize> {
        let accounts = self.plan.accounts();
        (accounts > 0).then(|| self.config.clients + below(&mut self.ill, accounts))
    }

    /// One of the villains does something.
    pub(super) fn do_harm(&mut self) {
        if self.plan.kinds.is_empty() {
            return;
        }
        let kind = pick(&mut self.ill, &self.plan.kinds);
        self.log
            .entry(self.now, WORLD, format_args!("{} does harm", kind.name()));
        match kind {
            Villain::Member => self.put_rubbish(false),
            Villain::Lists => self.put_rubbish(true),
            Villain::Traitor => self.betray(),
            Villain::Strangers => self.ask_without_end(),
            Villain::Greedy => self.take_without_end(),
            Villain::Silent => self.say_nothing(),
            Villain::Liar => self.lie(),
            Villain::ClientCopy => self.set_client_back(),
            Villain::ServerCopy => self.set_servers_back(),
            Villain::Clocks => self.jump(),
            Villain::Refusals => self.refuse(),
            Villain::Late => self.list_late(),
        }
    }

    /// The villains are gone, and stay away.
    pub(super) fn end_harm(&mut self) {
        if !self.plan.is_any() {
            return;
        }
        self.log
            .entry(self.now, WORLD, format_args!("the villains are gone"));
        for client in self.config.clients..self.people() {
            self.count_answers(client);
            self.end(super::host::Who::Client(client));
        }
        self.keep_clients_away(self.config.clients);
        self.tell_truth();
    }
}

/// A hostile generator's bytes: none, few or many.
fn rubbish(rng: &mut Rng, most: usize) -> Vec<u8> {
    let length = below(rng, most);
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        bytes.extend(rng.bytes::<64>());
    }
    bytes.truncate(length);
    bytes
}
