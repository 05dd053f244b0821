//! The kinds of villains, and which of them a seed puts into its world.

use crate::sim::{Config, generator, pick};

/// The table of villains: what each does, what the command line calls it, how many accounts it has, and
/// whether the weather is left out beside it, so that what others wait for is the villain's work; and whether it has its
/// worlds for itself.
macro_rules! villains {
    ($($(#[$doc:meta])* $villain:ident $name:literal $accounts:literal $is_calm:literal $is_apart:literal,)*) => {
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

            /// Whether it is in no world that draws from several kinds: each of its kind acts out the stories of a few
            /// rules, and what must hold beside it is more than others leave intact.
            #[must_use]
            pub const fn is_apart(self) -> bool {
                match self {
                    $(Self::$villain => $is_apart,)*
                }
            }
        }
    };
}

villains! {
    /// A member that puts into slots what is no commit, or not one of this epoch, and burns them.
    Member "member" 1 false false,
    /// A member whose void commits throw others off the list, and put strangers onto it.
    Lists "lists" 1 false false,
    /// A member whose commits are right for all but one, for whom the path secret is wrong.
    Traitor "traitor" 1 false false,
    /// Accounts that begin channels with everyone, take their key packages and ask without end.
    Strangers "strangers" 2 true false,
    /// A peer that announces what it never sends, and asks for what it never reads.
    Greedy "greedy" 1 true false,
    /// A peer that opens connections and streams, and says nothing on them.
    Silent "silent" 1 true false,
    /// A server whose answers are not what it stored.
    Liar "liar" 0 false false,
    /// A client's disk that is set back to an earlier state.
    ClientCopy "client_copy" 0 false false,
    /// The servers' disk that is set back to an earlier state.
    ServerCopy "server_copy" 0 false false,
    /// Clocks that jump by up to a year, and come back.
    Clocks "clocks" 0 false false,
    /// Servers that say no to what they did, and a member that throws others off lists.
    Refusals "refusals" 1 false true,
    /// Servers whose listings are of a moment before.
    Late "late" 0 false true,
}

/// Who means ill in one world.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::sim) struct Plan {
    pub(in crate::sim) kinds: Vec<Villain>,
}

impl Plan {
    /// One of the kinds that the configuration names; now and then a second one beside it.
    pub(in crate::sim) fn of(config: &Config, seed: u64) -> Self {
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

    pub(in crate::sim) fn has(&self, villain: Villain) -> bool {
        self.kinds.contains(&villain)
    }

    pub(in crate::sim) fn is_any(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// Accounts that mean ill; they come after the honest ones.
    pub(in crate::sim) fn accounts(&self) -> usize {
        let accounts = self.kinds.iter().map(|kind| kind.accounts());
        accounts.max().unwrap_or_default()
    }

    /// Whether only villains do harm here.
    pub(in crate::sim) fn is_calm(&self) -> bool {
        self.is_any() && self.kinds.iter().all(|kind| kind.is_calm())
    }
}
