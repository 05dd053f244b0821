//! Where a stored value is cut, so that a small change writes few pieces.
//!
//! Large values are rewritten whole, but differ in a few places. Cut at fixed distances, a number in
//! the middle that takes one byte more (openmls dates message secrets, in a varint) would move all
//! that follows into other pieces. So a new version is cut where the old one was, and a piece that
//! grew or shrank keeps the difference.

/// Longest piece, in bytes.
pub const PIECE: usize = 4096;

/// Length of a new piece: leaves it room to grow by what moves within it.
const FRESH: usize = PIECE - 64;

/// How far the middle of a value is looked for from where it was, in bytes.
const REACH: usize = 32;

/// Bytes that tell the middle of a value from its surroundings.
const NEEDLE: usize = 64;

use super::overwrite::Undo;

/// Lengths of the pieces of `new`, which follows on `old` cut into pieces of `cuts`.
pub(super) fn cut(old: &[u8], cuts: &[usize], new: &[u8]) -> Vec<usize> {
    if cuts.len() <= 1 && new.len() <= PIECE {
        return vec![new.len()];
    }
    fit(follow(old, cuts, new).unwrap_or_default(), new.len())
}

/// The same for a value of several pieces that was written over, and which of its pieces changed. `None` if
/// the old has to be looked at as a whole, since its middle may have moved.
pub(super) fn cut_over(old: &Undo, cuts: &[usize], new: &[u8]) -> Option<(Vec<usize>, Vec<usize>)> {
    let middle = old.len() / 2;
    if cuts.len() <= 1 || old.touches(middle..middle.checked_add(NEEDLE)?) {
        return None;
    }
    let lengths = fit(cuts.to_vec(), new.len());
    let mut changed = Vec::new();
    let mut start = 0;
    for (index, length) in lengths.iter().enumerate() {
        let end = start + length;
        if cuts.get(index) != Some(length) || old.differs(new, start..end) {
            changed.push(index);
        }
        start = end;
    }
    Some((lengths, changed))
}

/// The slices of a value that pieces of these lengths hold.
pub(super) fn slices<'a>(
    mut value: &'a [u8],
    cuts: &'a [usize],
) -> impl Iterator<Item = &'a [u8]> + 'a {
    cuts.iter().map(move |length| {
        let (piece, rest) = value.split_at_checked(*length).unwrap_or((value, &[]));
        value = rest;
        piece
    })
}

/// The old lengths, but for the piece that took up what moved the middle of the value.
fn follow(old: &[u8], cuts: &[usize], new: &[u8]) -> Option<Vec<usize>> {
    let middle = old.len() / 2;
    let needle = old.get(middle..middle.checked_add(NEEDLE)?)?;
    let is_at = |at: usize| new.get(at..).is_some_and(|rest| rest.starts_with(needle));
    let shift = (0..=REACH).find_map(|far| {
        let later = (middle + far, Shift::Later(far));
        let earlier = (middle.saturating_sub(far), Shift::Earlier(far));
        [later, earlier].into_iter().find(|(at, _)| is_at(*at))
    });
    let (_, shift) = shift?;
    let mut lengths = cuts.to_vec();
    if matches!(shift, Shift::Later(0)) {
        return Some(lengths);
    }
    // Back from the middle to the last piece that differs: that is where it happened.
    let mut ends: Vec<usize> = Vec::with_capacity(cuts.len());
    for length in cuts {
        ends.push(ends.last().copied().unwrap_or_default() + length);
    }
    let upper = ends.partition_point(|end| *end <= middle);
    let moved = (0..upper).rev().find(|&piece| {
        let end = ends.get(piece).copied().unwrap_or_default();
        let start = end - cuts.get(piece).copied().unwrap_or_default();
        let there = || new.get(shift.of(start)?..shift.of(end)?);
        old.get(start..end) != there()
    })?;
    let length = lengths.get_mut(moved)?;
    *length = shift
        .of(*length)
        .filter(|length| (1..=PIECE).contains(length))?;
    Some(lengths)
}

/// Makes lengths add up to `total`, by what comes last.
fn fit(mut lengths: Vec<usize>, total: usize) -> Vec<usize> {
    let mut left = total;
    lengths.retain_mut(|length| {
        *length = left.min(*length);
        left -= *length;
        *length > 0
    });
    if let Some(last) = lengths.last_mut() {
        let more = left.min(PIECE.saturating_sub(*last));
        *last += more;
        left -= more;
    }
    if lengths.is_empty() && left <= PIECE {
        return vec![left];
    }
    while left > 0 {
        let length = left.min(FRESH);
        lengths.push(length);
        left -= length;
    }
    lengths
}

/// How far the middle of a value has moved.
#[derive(Clone, Copy)]
enum Shift {
    Later(usize),
    Earlier(usize),
}

impl Shift {
    fn of(self, at: usize) -> Option<usize> {
        match self {
            Shift::Later(far) => at.checked_add(far),
            Shift::Earlier(far) => at.checked_sub(far),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes without a pattern that repeats nearby.
    fn noise(len: usize) -> Vec<u8> {
        (0..len as u64)
            .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
            .collect()
    }

    fn changed(old: &[u8], new: &[u8]) -> usize {
        let old_cuts = cut(&[], &[], old);
        let new_cuts = cut(old, &old_cuts, new);
        let before: Vec<&[u8]> = slices(old, &old_cuts).collect();
        let after = slices(new, &new_cuts).enumerate();
        after
            .filter(|(at, piece)| before.get(*at) != Some(piece))
            .count()
    }

    #[test]
    fn a_byte_more_or_less_moves_one_piece() {
        let old = noise(300 * PIECE);
        let mut longer = old.clone();
        longer.insert(20_000, 7);
        assert_eq!(changed(&old, &longer), 1);
        assert_eq!(changed(&longer, &old), 1);
        // What one place has more another has less: the length does not show it.
        let mut both = longer.clone();
        both.remove(299 * PIECE);
        assert_eq!(changed(&old, &both), 3, "one, and all behind the other");
    }

    #[test]
    fn a_value_of_one_piece_is_not_cut() {
        assert_eq!(cut(&[], &[], &[]), [0]);
        assert_eq!(cut(&[], &[], &noise(PIECE)), [PIECE]);
        assert_eq!(cut(&[], &[], &noise(PIECE + 1)), [FRESH, 65]);
    }

    proptest! {
        #[test]
        fn pieces_are_the_value_whatever_came_before(
            old in 0usize..40_000,
            keep in 0usize..40_000,
            insert in proptest::collection::vec(any::<u8>(), 0..80),
            rest in 0usize..20_000,
        ) {
            let old = noise(old);
            let keep = &old[..keep.min(old.len())];
            let tail = &old[keep.len().max(rest.min(old.len()))..];
            let new = [keep, &insert, tail].concat();
            let cuts = cut(&old, &cut(&[], &[], &old), &new);
            let pieces: Vec<&[u8]> = slices(&new, &cuts).collect();
            prop_assert_eq!(pieces.concat(), new);
            prop_assert!(cuts.iter().all(|length| *length <= PIECE));
            prop_assert!(cuts.len() == 1 || cuts.iter().all(|length| *length > 0));
        }
    }
}
