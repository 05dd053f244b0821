//! [`Rising`]: what is kept for a short while under numbers that mostly rise.

use core::cmp::Ordering;
use std::collections::VecDeque;

/// Entries that an empty one keeps room for. What was busy once and is idle now shall not hold more.
const KEPT: usize = 16;

/// A map from numbers. Each is higher than all before it, as a rule, and what was added first is mostly
/// removed first: neither costs a search then, nor memory of its own. For what is in flight, which is
/// bounded.
pub(crate) struct Rising<V>(VecDeque<(u64, V)>);

impl<V> Default for Rising<V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<V> Rising<V> {
    /// Adds an entry; gives back the one of this number that was there.
    pub(crate) fn insert(&mut self, number: u64, value: V) -> Option<V> {
        match self.0.back() {
            Some((last, _)) if number <= *last => match self.find(number) {
                Ok(place) => {
                    let old = self.0.get_mut(place);
                    old.map(|(_, old)| core::mem::replace(old, value))
                }
                Err(place) => {
                    self.0.insert(place, (number, value));
                    None
                }
            },
            _ => {
                self.0.push_back((number, value));
                None
            }
        }
    }

    /// Whether the number is there.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.find(number).is_ok()
    }

    /// Removes an entry.
    pub(crate) fn remove(&mut self, number: u64) -> Option<V> {
        let (_, value) = self.0.remove(self.find(number).ok()?)?;
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = VecDeque::new();
        }
        Some(value)
    }

    /// The entry with the highest number, other than this one's.
    pub(crate) fn last_but(&self, number: Option<u64>) -> Option<(u64, &V)> {
        let mut entries = self.0.iter().rev();
        let other = entries.find(|(other, _)| Some(*other) != number)?;
        Some((other.0, &other.1))
    }

    /// Where the entry is, or would be.
    fn find(&self, number: u64) -> Result<usize, usize> {
        let (Some((first, _)), Some(most)) = (self.0.front(), self.0.len().checked_sub(1)) else {
            return Err(0);
        };
        // Where it is if none is missing before it, and where the last one is.
        let guess = usize::try_from(number.saturating_sub(*first)).map_or(most, |at| at.min(most));
        match self.0.get(guess) {
            Some((there, _)) if there.cmp(&number) == Ordering::Equal => Ok(guess),
            _ => self.0.binary_search_by_key(&number, |(other, _)| *other),
        }
    }
}

/// What only the glue to QUIC asks.
#[cfg(feature = "quic")]
impl<V> Rising<V> {
    pub(crate) fn get(&self, number: u64) -> Option<&V> {
        let (_, value) = self.0.get(self.find(number).ok()?)?;
        Some(value)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut V> {
        let place = self.find(number).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// All values, by number.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.0.retain(|(_, value)| keep(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_go_in_any_order() {
        let mut map = Rising::default();
        for number in [2, 3, 5, 8, 13] {
            assert_eq!(map.insert(number, number * 10), None);
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
        assert_eq!(map.insert(21, 211), None);
        assert_eq!(map.insert(21, 210), Some(211));
        let left = (0..=30).filter(|number| map.contains(*number));
        assert_eq!(left.collect::<Vec<u64>>(), [3, 8, 13, 21]);
        for number in [21, 8, 3, 13] {
            assert_eq!(map.remove(number), Some(number * 10));
        }
        assert_eq!(map.remove(13), None);
    }

    #[test]
    fn an_empty_one_keeps_little_room() {
        let mut map = Rising::default();
        for number in 0..1_000 {
            map.insert(number, number);
        }
        for number in 0..1_000 {
            map.remove(number);
        }
        assert!(map.0.capacity() <= KEPT);
    }

    #[test]
    fn it_is_a_map_for_any_numbers() {
        let mut rng = 7_u64;
        let (mut map, mut model) = (Rising::default(), std::collections::BTreeMap::new());
        for turn in 0..5_000_u64 {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = rng >> 58;
            match (rng >> 32) % 3 {
                0 => assert_eq!(map.remove(number), model.remove(&number)),
                1 => assert_eq!(map.contains(number), model.contains_key(&number)),
                _ => assert_eq!(map.insert(number, turn), model.insert(number, turn)),
            }
            assert!(
                map.0.iter().eq(model
                    .iter()
                    .map(|(a, b)| (*a, *b))
                    .collect::<Vec<_>>()
                    .iter())
            );
        }
    }
}
