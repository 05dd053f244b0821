//! [`Rising`]: what is kept for a short while under numbers that only rise.

use std::collections::VecDeque;

/// A map from numbers, each higher than all before it. What was added first is mostly removed first:
/// that costs no search, and adding no memory of its own. For what is in flight, which is bounded.
pub(super) struct Rising<V>(VecDeque<(u64, V)>);

impl<V> Default for Rising<V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<V> Rising<V> {
    /// Adds an entry. The number is higher than all before.
    pub(super) fn push(&mut self, number: u64, value: V) {
        self.0.push_back((number, value));
    }

    /// Whether the number is there.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.find(number).is_some()
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, number: u64) -> Option<V> {
        let (_, value) = self.0.remove(self.find(number)?)?;
        Some(value)
    }

    /// Where the entry is.
    fn find(&self, number: u64) -> Option<usize> {
        let (first, _) = self.0.front()?;
        match number.cmp(first) {
            core::cmp::Ordering::Less => None,
            core::cmp::Ordering::Equal => Some(0),
            core::cmp::Ordering::Greater => self
                .0
                .binary_search_by_key(&number, |(other, _)| *other)
                .ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_go_in_any_order() {
        let mut map = Rising::default();
        for number in [2, 3, 5, 8, 13] {
            map.push(number, number * 10);
        }
        for (number, value) in [
            (5, Some(50)),
            (5, None),
            (1, None),
            (2, Some(20)),
            (14, None),
        ] {
            assert_eq!(map.contains(number), value.is_some());
            assert_eq!(map.remove(number), value);
        }
        map.push(21, 210);
        let left = (0..=30).filter(|number| map.contains(*number));
        assert_eq!(left.collect::<Vec<u64>>(), [3, 8, 13, 21]);
        for number in [21, 8, 3, 13] {
            assert_eq!(map.remove(number), Some(number * 10));
        }
        assert_eq!(map.remove(13), None);
    }
}
