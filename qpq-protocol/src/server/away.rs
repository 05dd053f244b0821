//! Devices for which something waits, and who are not here: each is told of once, until it has been back.

use super::txn::Lru;
use crate::ids::{DeviceId, IdentityKey};

/// Those that were told of last.
pub(super) struct Away(Lru<(IdentityKey, DeviceId), ()>);

impl Away {
    /// Remembers this many.
    pub(super) fn new(devices: usize) -> Self {
        Self(Lru::new(devices, usize::MAX))
    }

    /// Something waits for this device: whether that is still to be told.
    pub(super) fn misses(&mut self, identity: IdentityKey, device: DeviceId) -> bool {
        let is_new = self.0.get(&(identity, device)).is_none();
        if is_new {
            self.0.insert((identity, device), (), 1);
        }
        is_new
    }

    /// The device is back.
    pub(super) fn is_back(&mut self, identity: IdentityKey, device: DeviceId) {
        self.0.remove(&(identity, device));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.cost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_of_once_until_it_has_been_back() {
        let mut away = Away::new(16);
        let (one, other) = (IdentityKey([1; 32]), IdentityKey([2; 32]));
        assert!(away.misses(one, DeviceId::DEFAULT) && !away.misses(one, DeviceId::DEFAULT));
        assert!(away.misses(one, DeviceId::new([1; 16])) && away.misses(other, DeviceId::DEFAULT));
        away.is_back(one, DeviceId::DEFAULT);
        assert!(away.misses(one, DeviceId::DEFAULT) && !away.misses(other, DeviceId::DEFAULT));
        assert_eq!(away.len(), 3);
    }
}
