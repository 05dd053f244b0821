//! A bounded map that forgets what was not used for longest, in two generations.
//!
//! New and used entries live in the young generation. When that has grown to half of the bound,
//! the old one is dropped and the young one becomes old. No clock, no list, no hash order.

use std::collections::BTreeMap;

/// A map of at most `items` entries whose costs add up to at most `cost`.
pub(in crate::server) struct Lru<K, V> {
    young: BTreeMap<K, (V, usize)>,
    old: BTreeMap<K, (V, usize)>,
    young_cost: usize,
    old_cost: usize,
    items: usize,
    cost: usize,
}

impl<K: Ord + Clone, V> Lru<K, V> {
    /// An empty map with these bounds.
    pub(in crate::server) fn new(items: usize, cost: usize) -> Self {
        Self {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
            young_cost: 0,
            old_cost: 0,
            items: items / 2,
            cost: cost / 2,
        }
    }

    /// Whether the key is there; does not count as use.
    pub(in crate::server) fn contains(&self, key: &K) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    /// The value of a key; counts as use.
    pub(in crate::server) fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.old.is_empty()
            && !self.young.contains_key(key)
            && let Some((value, cost)) = self.old.remove(key)
        {
            self.old_cost = self.old_cost.saturating_sub(cost);
            self.insert(key.clone(), value, cost);
        }
        self.young.get_mut(key).map(|(value, _)| value)
    }

    /// Adds or replaces an entry. One that alone costs more than the map may is not kept.
    pub(in crate::server) fn insert(&mut self, key: K, value: V, cost: usize) {
        if cost > self.cost {
            self.remove(&key);
            return;
        }
        if self.young.len() >= self.items || self.young_cost + cost > self.cost {
            self.old = core::mem::take(&mut self.young);
            self.old_cost = core::mem::take(&mut self.young_cost);
        }
        if !self.old.is_empty()
            && let Some((_, cost)) = self.old.remove(&key)
        {
            self.old_cost = self.old_cost.saturating_sub(cost);
        }
        self.young_cost += cost;
        if let Some((_, cost)) = self.young.insert(key, (value, cost)) {
            self.young_cost = self.young_cost.saturating_sub(cost);
        }
    }

    /// Replaces the value of a key that is there by what `make` makes; whether it was there. Counts
    /// as use.
    pub(in crate::server) fn replace(
        &mut self,
        key: &K,
        cost: usize,
        make: impl FnOnce() -> V,
    ) -> bool {
        if let Some(entry) = self.young.get_mut(key) {
            let new_cost = self.young_cost.saturating_sub(entry.1).saturating_add(cost);
            if new_cost <= self.cost {
                *entry = (make(), cost);
                self.young_cost = new_cost;
                return true;
            }
        } else if self.old.is_empty() || !self.old.contains_key(key) {
            return false;
        }
        self.insert(key.clone(), make(), cost);
        true
    }

    /// Forgets an entry.
    pub(in crate::server) fn remove(&mut self, key: &K) {
        if let Some((_, cost)) = self.young.remove(key) {
            self.young_cost = self.young_cost.saturating_sub(cost);
        }
        if let Some((_, cost)) = self.old.remove(key) {
            self.old_cost = self.old_cost.saturating_sub(cost);
        }
    }

    /// What the entries cost together.
    pub(in crate::server) fn cost(&self) -> usize {
        self.young_cost + self.old_cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let mut map = Lru::new(8, 1000);
        for key in 0..100u32 {
            map.insert(key, key, 10);
            assert_eq!(
                map.get(&0),
                Some(&mut 0),
                "used each time, so never dropped"
            );
            assert!(map.young.len() + map.old.len() <= 8);
        }
        assert!(!map.contains(&50));
        assert!(map.contains(&99));
    }

    #[test]
    fn costs_are_bounded_and_counted() {
        let mut map = Lru::new(1000, 100);
        for key in 0..100u32 {
            map.insert(key, (), 7);
            assert!(map.cost() <= 100);
        }
        assert!(map.replace(&99, 20, || ()) && !map.replace(&1000, 20, || ()));
        assert!(map.contains(&99) && map.cost() <= 100);
        map.insert(1000, (), 60);
        assert!(!map.contains(&1000), "too large to be kept");
        for key in 0..100 {
            map.remove(&key);
        }
        assert_eq!(map.cost(), 0);
    }
}
