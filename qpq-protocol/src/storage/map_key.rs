//! [`MapKey`]: a key as sorted maps have it.

use bytes::Bytes;

/// A key whose first `8 * WORDS` bytes lie in the map itself: most comparisons need not look where the
/// key lies, which is the dear part of searching a large map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct MapKey<const WORDS: usize> {
    /// The first bytes, big-endian, zeros where there are fewer. Compared first: so they never say
    /// otherwise than the whole.
    start: [u64; WORDS],
    pub(crate) whole: Bytes,
}

impl<const WORDS: usize> From<Bytes> for MapKey<WORDS> {
    fn from(whole: Bytes) -> Self {
        let (words, rest) = whole.as_chunks::<8>();
        let mut start = [0; WORDS];
        for (to, from) in start.iter_mut().zip(words) {
            *to = u64::from_be_bytes(*from);
        }
        if let Some(last) = start.get_mut(words.len()) {
            for (shift, byte) in (0..64).step_by(8).rev().zip(rest) {
                *last |= u64::from(*byte) << shift;
            }
        }
        Self { start, whole }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn keys_sort_by_all_their_bytes() {
        let mut keys: Vec<Bytes> = Vec::new();
        for length in [0, 1, 15, 16, 17, 32] {
            for last in [0, 1, 0x7f, 0x80, 0xff] {
                let mut key = vec![0x80; length];
                key.iter_mut()
                    .last()
                    .into_iter()
                    .for_each(|byte| *byte = last);
                keys.push(key.clone().into());
                key.push(0);
                keys.push(key.into());
            }
        }
        for one in &keys {
            for other in &keys {
                let [first, second] = [one, other].map(|key| MapKey::<2>::from(key.clone()));
                assert_eq!(first.cmp(&second), one.cmp(other), "{one:?} {other:?}");
            }
        }
    }
}
