//! Inclusion and consistency proofs: which rows make one, and whether one holds (RFC 9162 §2.1.3 and
//! §2.1.4).

use super::log::{bag, subtrees};
use super::{Hash, NodeId, node_hash};

/// Why a proof could not be made or does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Ask for sizes and indices inside the log: 0 < from <= to <= its size, index < size.
    #[error("no such leaf or size in the log")]
    OutOfRange,
    /// Read the rows that [`ProofPlan::nodes`] names, all of them, in that order.
    #[error("the hashes are not those of the named rows")]
    WrongCount,
    /// Alarm: the log does not contain what it claims, or has changed its past.
    #[error("the proof does not lead to the root")]
    Invalid,
}

/// Which rows make a proof. Each of its hashes is a subtree's; one at the right edge that is not
/// complete is put together from several rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofPlan {
    parts: Vec<Vec<NodeId>>,
}

impl ProofPlan {
    /// Plans the proof that the leaf `index` is in the tree of the first `size` leaves.
    ///
    /// # Errors
    /// [`ProofError::OutOfRange`].
    pub fn inclusion(index: u64, size: u64) -> Result<Self, ProofError> {
        if index >= size {
            return Err(ProofError::OutOfRange);
        }
        let mut parts = Vec::new();
        let (mut start, mut end) = (0, size);
        while let Some(split) = split(start, end) {
            if index < split {
                parts.push(subtrees(split, end));
                end = split;
            } else {
                parts.push(subtrees(start, split));
                start = split;
            }
        }
        parts.reverse();
        Ok(Self { parts })
    }

    /// Plans the proof that the tree of the first `from` leaves is a beginning of that of the first
    /// `to`.
    ///
    /// # Errors
    /// [`ProofError::OutOfRange`], also for `from` = 0: everything begins with nothing.
    pub fn consistency(from: u64, to: u64) -> Result<Self, ProofError> {
        if from == 0 || from > to {
            return Err(ProofError::OutOfRange);
        }
        let mut parts = Vec::new();
        let (mut start, mut end) = (0, to);
        while from != end {
            // While from < end there is something to split.
            let Some(split) = split(start, end) else {
                break;
            };
            if from <= split {
                parts.push(subtrees(split, end));
                end = split;
            } else {
                parts.push(subtrees(start, split));
                start = split;
            }
        }
        // The old tree itself, which the verifier knows, is left out.
        if start != 0 {
            parts.push(subtrees(start, end));
        }
        parts.reverse();
        Ok(Self { parts })
    }

    /// The rows to read, in order: at most two a level.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.parts.iter().flatten().copied()
    }

    /// The proof, from the hashes of [`nodes`](Self::nodes) in the same order.
    ///
    /// # Errors
    /// [`ProofError::WrongCount`].
    pub fn finish(&self, hashes: &[Hash]) -> Result<Vec<Hash>, ProofError> {
        let mut rest = hashes;
        let mut path = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let (peaks, after) = rest
                .split_at_checked(part.len())
                .ok_or(ProofError::WrongCount)?;
            path.push(bag(peaks).ok_or(ProofError::WrongCount)?);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(ProofError::WrongCount);
        }
        Ok(path)
    }
}

/// Where RFC 9162 splits the leaves from `start` to `end` in two, or none where there is one leaf: after
/// the largest power of two below their number.
fn split(start: u64, end: u64) -> Option<u64> {
    let last = end.checked_sub(start)?.checked_sub(1)?;
    Some(start + (1 << last.checked_ilog2()?))
}

/// Checks that the leaf with this hash is the `index`-th, from 0, of the tree of `size` leaves with
/// this root (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`ProofError::OutOfRange`] where `index` is not below `size`, else [`ProofError::Invalid`].
pub fn verify_inclusion(
    leaf_hash: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let (mut fn_, mut sn) = (index, size - 1);
    let mut hash = *leaf_hash;
    for sibling in path {
        if sn == 0 {
            return Err(ProofError::Invalid);
        }
        if fn_ & 1 == 1 || fn_ == sn {
            hash = node_hash(sibling, &hash);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    if sn != 0 || hash != *root {
        return Err(ProofError::Invalid);
    }
    Ok(())
}

/// Checks that the tree of `from` leaves with root `from_root` is a beginning of the tree of `to`
/// leaves with root `to_root` (RFC 9162 §2.1.4.2). For equal sizes the path is empty and the roots
/// are equal.
///
/// # Errors
/// [`ProofError::OutOfRange`] unless 0 < `from` <= `to`, else [`ProofError::Invalid`].
pub fn verify_consistency(
    from: u64,
    from_root: &Hash,
    to: u64,
    to_root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    if from == 0 || from > to {
        return Err(ProofError::OutOfRange);
    }
    if from == to {
        return (path.is_empty() && from_root == to_root)
            .then_some(())
            .ok_or(ProofError::Invalid);
    }
    // A complete old tree is a node of the new one and not repeated in the path.
    let (first, rest) = if from.is_power_of_two() {
        (from_root, path)
    } else {
        path.split_first().ok_or(ProofError::Invalid)?
    };
    let (mut fn_, mut sn) = (from - 1, to - 1);
    while fn_ & 1 == 1 {
        fn_ >>= 1;
        sn >>= 1;
    }
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        if sn == 0 {
            return Err(ProofError::Invalid);
        }
        if fn_ & 1 == 1 || fn_ == sn {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    if sn != 0 || old != *from_root || new != *to_root {
        return Err(ProofError::Invalid);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transparency::{Log, leaf_hash};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A log of `size` leaves: its rows and its root at every size.
    struct Stored {
        rows: BTreeMap<NodeId, Hash>,
        roots: Vec<Hash>,
    }

    fn leaf(number: u64) -> Hash {
        leaf_hash(&number.to_be_bytes())
    }

    fn stored(size: u64) -> Stored {
        let mut log = Log::new();
        let mut rows = BTreeMap::new();
        let mut roots = vec![log.root()];
        for number in 0..size {
            rows.extend(log.append(leaf(number)).unwrap());
            roots.push(log.root());
        }
        Stored { rows, roots }
    }

    impl Stored {
        fn root(&self, size: u64) -> &Hash {
            &self.roots[usize::try_from(size).unwrap()]
        }

        fn finish(&self, plan: &ProofPlan) -> Vec<Hash> {
            let hashes: Vec<_> = plan.nodes().map(|node| self.rows[&node]).collect();
            plan.finish(&hashes).unwrap()
        }
    }

    #[test]
    fn every_leaf_is_proved_in_every_tree() {
        let log = stored(70);
        for size in 1..=70 {
            for index in 0..size {
                let path = log.finish(&ProofPlan::inclusion(index, size).unwrap());
                let verify = |hash, index, size, path: &[Hash]| {
                    verify_inclusion(&hash, index, size, path, log.root(size))
                };
                assert_eq!(verify(leaf(index), index, size, &path), Ok(()));
                assert!(verify(leaf(index + 1), index, size, &path).is_err());
                assert!(verify(leaf(index), index + 1, size, &path).is_err());
                assert!(
                    verify(leaf(index), index, size, &[&path[..], &[[0; 32]]].concat()).is_err()
                );
                if let Some((_, shorter)) = path.split_last() {
                    assert!(verify(leaf(index), index, size, shorter).is_err());
                }
            }
        }
    }

    #[test]
    fn every_tree_is_proved_a_beginning_of_every_later_one() {
        let log = stored(70);
        for to in 1..=70 {
            for from in 1..=to {
                let path = log.finish(&ProofPlan::consistency(from, to).unwrap());
                let verify = |from, to, path: &[Hash]| {
                    verify_consistency(from, log.root(from), to, log.root(to), path)
                };
                assert_eq!(verify(from, to, &path), Ok(()), "{from} {to}");
                assert!(verify(from, to, &[&path[..], &[[0; 32]]].concat()).is_err());
                for position in 0..path.len() {
                    let mut bad = path.clone();
                    bad[position][7] ^= 1;
                    assert!(verify(from, to, &bad).is_err());
                }
                // Another past.
                let mut other = *log.root(from);
                other[0] ^= 1;
                assert!(verify_consistency(from, &other, to, log.root(to), &path).is_err());
            }
        }
    }

    #[test]
    fn what_is_outside_the_log_is_refused() {
        let out = Err(ProofError::OutOfRange);
        assert_eq!(ProofPlan::inclusion(5, 5), out);
        assert_eq!(ProofPlan::inclusion(0, 0), out);
        assert_eq!(ProofPlan::consistency(0, 5), out);
        assert_eq!(ProofPlan::consistency(6, 5), out);
        let plan = ProofPlan::inclusion(2, 5).unwrap();
        assert_eq!(plan.finish(&[[0; 32]; 2]), Err(ProofError::WrongCount));
        assert_eq!(plan.finish(&[[0; 32]; 4]), Err(ProofError::WrongCount));
        assert!(plan.finish(&[[0; 32]; 3]).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_proofs_never_panic(
            a in any::<u64>(),
            b in any::<u64>(),
            path in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
        ) {
            let root = [1; 32];
            prop_assert!(verify_inclusion(&[2; 32], a, b, &path, &root).is_err());
            prop_assert!(verify_consistency(a, &root, b, &[3; 32], &path).is_err());
            for plan in [ProofPlan::inclusion(a, b), ProofPlan::consistency(a, b)] {
                prop_assert!(plan.map_or(0, |plan| plan.nodes().count()) <= 128);
            }
        }
    }
}
