//! How often a network or a disk fails.

use crate::rng::Rng;

/// How often something befalls what is on its way: so many times of so many; never, of none.
#[derive(Clone, Copy)]
pub(super) struct Chance {
    times: u64,
    of: u64,
}

impl Chance {
    pub(super) const NEVER: Self = Self::one_in(0);

    /// Once in so many; 0 for never.
    pub(super) const fn one_in(of: u64) -> Self {
        Self { times: 1, of }
    }

    /// So many times in a hundred.
    pub(super) fn percent(times: u8) -> Self {
        let times = times.into();
        Self { times, of: 100 }
    }

    /// Whether it happens this time.
    pub(super) fn strikes(self, rng: &mut Rng) -> bool {
        self.of > 0 && rng.below(self.of) < self.times
    }
}
