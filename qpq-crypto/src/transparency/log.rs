//! The growing edge of the log: what appending writes.

use super::{Hash, empty_root, node_hash};

/// The most leaves a log may have; at a million a second that is for longer than there were people.
const MAX_SIZE: u64 = 1 << 62;

/// A complete subtree: `level` 0 is a leaf, and this is the `index`-th subtree of 2^level leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// How many levels above the leaves.
    pub level: u8,
    /// Which of its level, from the left, from 0.
    pub index: u64,
}

impl NodeId {
    /// Bytes of a row key.
    pub const KEY_LENGTH: usize = 9;

    /// The row's key below the log's prefix: level, then index big-endian, so that a level's nodes lie
    /// side by side. The row's value is the 32-byte hash.
    pub fn key(&self) -> [u8; Self::KEY_LENGTH] {
        let mut key = [self.level; Self::KEY_LENGTH];
        for (to, from) in key.iter_mut().skip(1).zip(self.index.to_be_bytes()) {
            *to = from;
        }
        key
    }
}

/// Why a stored log could not be taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Read the rows that [`Log::peaks`] names, all of them, in that order.
    #[error("a log of this size has {expected} peaks, not {count}")]
    WrongCount {
        /// How many hashes were expected.
        expected: usize,
        /// How many came.
        count: usize,
    },
    /// Restore the storage: a log is never this large.
    #[error("stored log size is impossible")]
    ImpossibleSize,
}

/// The log's size and its peaks, the roots of the complete subtrees of which it consists, largest
/// first: all that appending and the root need. At most 62 hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    size: u64,
    peaks: Vec<Hash>,
}

impl Log {
    /// The log without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which rows to read to take up a log of `size` leaves: one for each bit that is set.
    pub fn peaks(size: u64) -> Vec<NodeId> {
        subtrees(0, size)
    }

    /// Takes up a log of `size` leaves with the hashes of the rows that [`peaks`](Self::peaks) named.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn load(size: u64, peaks: Vec<Hash>) -> Result<Self, LogError> {
        if size > MAX_SIZE {
            return Err(LogError::ImpossibleSize);
        }
        let expected = Self::peaks(size).len();
        if expected != peaks.len() {
            return Err(LogError::WrongCount {
                expected,
                count: peaks.len(),
            });
        }
        Ok(Self { size, peaks })
    }

    /// How many leaves there are: the index of the next one.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle tree hash of the log (RFC 9162 §2.1.1).
    pub fn root(&self) -> Hash {
        bag(&self.peaks).unwrap_or_else(empty_root)
    }

    /// Appends a leaf and answers which rows to put: the leaf's own and one for every subtree that it
    /// completes; two on average, at most 63. Put them in the same commit as the new size.
    ///
    /// # Errors
    /// [`LogError::ImpossibleSize`] at 2^62 leaves.
    pub fn append(&mut self, leaf_hash: Hash) -> Result<Vec<(NodeId, Hash)>, LogError> {
        if self.size >= MAX_SIZE {
            return Err(LogError::ImpossibleSize);
        }
        let mut node = NodeId {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf_hash;
        let mut puts = vec![(node, hash)];
        // A node with an odd index completes its parent; its left sibling is the last peak.
        while node.index & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            node = NodeId {
                level: node.level + 1,
                index: node.index >> 1,
            };
            puts.push((node, hash));
        }
        self.peaks.push(hash);
        self.size += 1;
        Ok(puts)
    }
}

/// The root over neighbouring complete subtrees, largest first; none of none.
pub(super) fn bag(peaks: &[Hash]) -> Option<Hash> {
    let (last, rest) = peaks.split_last()?;
    Some(
        rest.iter()
            .rev()
            .fold(*last, |right, left| node_hash(left, &right)),
    )
}

/// The complete subtrees of which the leaves from `start` up to `end` (exclusive) consist, from the
/// left. `start` is a multiple of the largest power of two that is not above their number.
pub(super) fn subtrees(start: u64, end: u64) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    let mut at = start;
    while let Some(level) = end.saturating_sub(at).checked_ilog2() {
        nodes.push(NodeId {
            // At most 63.
            level: level as u8,
            index: at >> level,
        });
        at += 1 << level;
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transparency::leaf_hash;
    use std::collections::BTreeMap;

    /// RFC 9162 §2.1.1, word for word.
    fn reference(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&reference(&leaves[..k]), &reference(&leaves[k..]))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_definition_and_rows_are_few() {
        let mut log = Log::new();
        let mut rows = BTreeMap::new();
        let mut leaves = Vec::new();
        let mut written = 0;
        for number in 0u32..300 {
            assert_eq!(log.root(), reference(&leaves));
            // A log read back from its rows is the same log.
            let peaks = Log::peaks(log.size()).into_iter().map(|id| rows[&id.key()]);
            assert_eq!(Log::load(log.size(), peaks.collect()), Ok(log.clone()));
            let hash = leaf_hash(&number.to_be_bytes());
            leaves.push(hash);
            let puts = log.append(hash).unwrap();
            assert!(puts.len() <= 1 + log.size().ilog2() as usize);
            written += puts.len();
            for (node, hash) in puts {
                let (from, count) = (node.index << node.level, 1 << node.level);
                let range = usize::try_from(from).unwrap()..usize::try_from(from + count).unwrap();
                assert_eq!(hash, reference(&leaves[range]));
                assert_eq!(rows.insert(node.key(), hash), None);
            }
        }
        assert!(written < 600);
    }

    #[test]
    fn a_wrong_number_of_peaks_is_refused() {
        assert_eq!(
            Log::load(6, vec![[0; 32]]),
            Err(LogError::WrongCount {
                expected: 2,
                count: 1
            })
        );
        assert_eq!(
            Log::load(u64::MAX, vec![[0; 32]; 64]),
            Err(LogError::ImpossibleSize)
        );
        let mut full = Log::load(MAX_SIZE, vec![[0; 32]]).unwrap();
        assert_eq!(full.append([1; 32]), Err(LogError::ImpossibleSize));
    }
}
