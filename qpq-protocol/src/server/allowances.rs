//! What a core has taken out of the buckets of accounts, and gives out in small (`allowance`).

use super::txn::Lru;
use crate::ids::IdentityKey;

/// What a core has taken and not yet given out, by account, in bytes.
pub(super) struct Allowances(Lru<IdentityKey, u64>);

impl Allowances {
    /// Remembers at most this many accounts.
    pub(super) fn new(accounts: usize) -> Self {
        Self(Lru::new(accounts, usize::MAX))
    }

    /// What is left of an account's.
    pub(super) fn left(&mut self, account: &IdentityKey) -> u64 {
        self.0.get(account).map_or(0, |left| *left)
    }

    /// Gives out so much of an account's, if that much is left; whether it was.
    pub(super) fn spend(&mut self, account: &IdentityKey, bytes: u64) -> bool {
        let Some(left) = self.0.get(account) else {
            return bytes == 0;
        };
        let rest = left.checked_sub(bytes);
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }

    /// So much more is left of an account's: it was taken out of its bucket, or a request had paid it and did not
    /// use it.
    pub(super) fn add(&mut self, account: IdentityKey, bytes: u64) {
        if bytes == 0 {
            return;
        }
        match self.0.get(&account) {
            Some(left) => *left = left.saturating_add(bytes),
            None => self.0.insert(account, bytes, 1),
        }
    }
}
