//! [`Key`]: a key as the map of the memory engine has it.

use bytes::Bytes;

/// A key whose first bytes lie in the map itself: most comparisons need not look where the key lies,
/// which is the dear part of searching a large map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    /// The first 16 bytes, big-endian, zeros where there are fewer. Compared first: so it never
    /// says otherwise than the whole.
    first: u128,
    pub(super) whole: Bytes,
}

impl From<Bytes> for Key {
    fn from(whole: Bytes) -> Self {
        let first = match whole.first_chunk() {
            Some(first) => *first,
            None => {
                let mut first = [0; 16];
                first
                    .iter_mut()
                    .zip(&whole)
                    .for_each(|(to, from)| *to = *from);
                first
            }
        };
        Self {
            first: u128::from_be_bytes(first),
            whole,
        }
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
                let [first, second] = [one, other].map(|key| Key::from(key.clone()));
                assert_eq!(first.cmp(&second), one.cmp(other), "{one:?} {other:?}");
            }
        }
    }
}
