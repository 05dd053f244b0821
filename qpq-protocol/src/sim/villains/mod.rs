//! Who means ill: the kinds of villains, and which of them a seed puts into its world.
//!
//! A villain is no part of a core. What means ill among clients is a [`Mask`]: a client like any other, in whose
//! name the world sends what its core never would. What means ill among servers is a [`Liar`]. The others are
//! acts of the world itself: disks that are set back, clocks that jump.
//!
//! | file | what it does |
//! | --- | --- |
//! | `mask`, `liar` | stand between a core and what carries its bytes |
//! | `member` | what a member can put into a slot |
//! | `stranger` | what throw-away accounts can ask for |
//! | `greedy` | what a peer can take without giving anything |
//! | `copies` | disks set back to an earlier state |
//! | `limits` | small limits, so that what is full is met early |
//! | `cost` | what the others had of it |

mod copies;
mod cost;
mod greedy;
mod liar;
mod limits;
mod mask;
mod member;
mod stranger;

use super::log::WORLD;
use super::network::Network;
use super::world::World;
use super::{Config, below, generator, pick};
use crate::rng::Rng;

pub(super) use copies::Copies;
pub use cost::Cost;
pub(super) use cost::Waiting;
pub(super) use liar::Liar;
pub(super) use limits::{STRANGE_QUEUES, limits};
pub(super) use mask::Mask;

/// The table of villains: what each does, what the command line calls it, how many accounts it has, and
/// whether the weather is left out beside it, so that what others wait for is the villain's work.
macro_rules! villains {
    ($($(#[$doc:meta])* $villain:ident $name:literal $accounts:literal $is_calm:literal,)*) => {
        /// Somebody or something that means ill.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[non_exhaustive]
        pub enum Villain {
            $($(#[$doc])* $villain,)*
        }

        impl Villain {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$villain),*];

            /// Its name in `qpq-lab sim --villain`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$villain => $name,)*
                }
            }

            const fn accounts(self) -> usize {
                match self {
                    $(Self::$villain => $accounts,)*
                }
            }

            const fn is_calm(self) -> bool {
                match self {
                    $(Self::$villain => $is_calm,)*
                }
            }
        }
    };
}

villains! {
    /// A member that puts into slots what is no commit, or not one of this epoch, and burns them.
    Member "member" 1 false,
    /// A member whose void commits throw others off the list, and put strangers onto it.
    Lists "lists" 1 false,
    /// A member whose commits are right for all but one, for whom the path secret is wrong.
    Traitor "traitor" 1 false,
    /// Accounts that begin channels with everyone, take their key packages and ask without end.
    Strangers "strangers" 2 true,
    /// A peer that announces what it never sends, and asks for what it never reads.
    Greedy "greedy" 1 true,
    /// A peer that opens connections and streams, and says nothing on them.
    Silent "silent" 1 true,
    /// A server whose answers are not what it stored.
    Liar "liar" 0 false,
    /// A client's disk that is set back to an earlier state.
    ClientCopy "client_copy" 0 false,
    /// The servers' disk that is set back to an earlier state.
    ServerCopy "server_copy" 0 false,
    /// Clocks that jump by up to a year, and come back.
    Clocks "clocks" 0 false,
}

/// Who means ill in one world.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Plan {
    pub(super) kinds: Vec<Villain>,
}

impl Plan {
    /// One of the kinds that the configuration names; now and then a second one beside it.
    pub(super) fn of(config: &Config, seed: u64) -> Self {
        let mut rng = generator(seed, b"plan");
        let mut kinds = Vec::new();
        if !config.villains.is_empty() {
            kinds.push(pick(&mut rng, &config.villains));
            let second = pick(&mut rng, &config.villains);
            if rng.below(4) == 0 && !kinds.contains(&second) {
                kinds.push(second);
            }
        }
        Self { kinds }
    }

    pub(super) fn has(&self, villain: Villain) -> bool {
        self.kinds.contains(&villain)
    }

    pub(super) fn is_any(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// Accounts that mean ill; they come after the honest ones.
    pub(super) fn accounts(&self) -> usize {
        let accounts = self.kinds.iter().map(|kind| kind.accounts());
        accounts.max().unwrap_or_default()
    }

    /// Whether only villains do harm here.
    pub(super) fn is_calm(&self) -> bool {
        self.is_any() && self.kinds.iter().all(|kind| kind.is_calm())
    }
}

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
