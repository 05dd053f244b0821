//! What a core has taken out of the buckets of accounts, and gives out in small (`allowance`).

use super::txn::Lru;
use crate::ids::IdentityKey;

/// What a core has taken and not yet given out, by account, in bytes.
pub(super) struct Allowances(Lru<IdentityKey, u64>);

impl Allowances {
    /// Remembers at most so many accounts.
    pub(super) fn new(accounts: usize) -> Self {
        Self(Lru::new(accounts, usize::MAX))
    }

    /// What is left of an account's.
    pub(super) fn left(&mut self, account: &IdentityKey) -> u64 {
        self.0.get(account).map_or(0, |left| *left)
    }

    /// So much is left of it.
    pub(super) fn set(&mut self, account: IdentityKey, left: u64) {
        match self.0.get(&account) {
            Some(known) => *known = left,
            None => self.0.insert(account, left, 1),
        }
    }

    /// Gives back what a request of this account had paid and did not use.
    pub(super) fn give_back(&mut self, account: IdentityKey, bytes: u64) {
        if bytes > 0 {
            let left = self.left(&account).saturating_add(bytes);
            self.set(account, left);
        }
    }
}
