//! Writes the next version of a large value over the one that is held, and keeps what that had where they
//! differ: enough to take the write back, and to find the pieces that changed.
//!
//! A message rewrites megabytes of a large group's state and changes some hundred bytes of it. What stays
//! the same is only compared here, while it is warm from being encoded: no second buffer is filled, and
//! nothing but what was replaced has to be wiped. A value that outgrew its room takes up to twice its
//! length.

use std::ops::Range;

use postcard::ser_flavors::Flavor;

use super::{encoder::Room, value::Value};

/// Bytes that are encoded before they are compared: few enough for the fastest cache.
const BLOCK: usize = 4096;

/// Bytes that are replaced together when one of them differs.
const GRAIN: usize = 64;

/// What a version had where the next differs.
pub(super) struct Undo {
    /// Length of that version.
    len: usize,
    /// In order, and none touching the next.
    places: Vec<Place>,
    /// What was in all of these places, one after the other. Wiped when dropped.
    bytes: Value,
}

struct Place {
    /// Where in the version.
    at: Range<usize>,
    /// Where in [`Undo::bytes`] its bytes begin.
    from: usize,
}

impl Undo {
    /// Of a version in which nothing was replaced yet.
    fn of(value: &Value) -> Self {
        Undo {
            len: value.len(),
            places: Vec::new(),
            bytes: Value::default(),
        }
    }

    /// Length of the version that was written over.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether anything in this range may have been replaced.
    pub fn touches(&self, range: Range<usize>) -> bool {
        self.places_in(range).next().is_some()
    }

    /// Whether the version had other bytes than `new` in this range, which is within both.
    pub fn differs(&self, new: &[u8], range: Range<usize>) -> bool {
        self.places_in(range.clone()).any(|place| {
            let part = place.at.start.max(range.start)..place.at.end.min(range.end);
            let from = place.from + (part.start - place.at.start);
            self.bytes.get(from..from + part.len()) != new.get(part)
        })
    }

    /// Turns the version that was written into the one before.
    pub fn apply(&self, value: &mut Value) {
        value.truncate(self.len);
        for place in &self.places {
            let end = place.from + place.at.len();
            let before = self.bytes.get(place.from..end).unwrap_or_default();
            // What the version that was written is too short for comes last.
            let within = value.len().saturating_sub(place.at.start);
            let (within, beyond) = before.split_at(within.min(before.len()));
            if let Some(held) = value.get_mut(place.at.start..place.at.start + within.len()) {
                held.copy_from_slice(within);
            }
            value.extend(beyond);
        }
    }

    fn places_in(&self, range: Range<usize>) -> impl Iterator<Item = &Place> {
        let first = self
            .places
            .partition_point(|place| place.at.end <= range.start);
        let rest = self.places.get(first..).unwrap_or_default();
        rest.iter()
            .take_while(move |place| place.at.start < range.end)
    }

    /// Keeps what is about to be replaced.
    fn note(&mut self, at: usize, held: &[u8]) {
        let end = at + held.len();
        match self.places.last_mut() {
            Some(last) if last.at.end == at => last.at.end = end,
            _ => self.places.push(Place {
                at: at..end,
                from: self.bytes.len(),
            }),
        }
        self.bytes.extend(held);
    }
}

/// A value that is being written over. Dropped before it is [finished](Overwrite::finish), it is what it
/// was.
pub(super) struct Overwrite<'a> {
    value: &'a mut Value,
    /// Up to where it is the new version.
    at: usize,
    /// What comes next, in its first `used` bytes.
    block: Value,
    used: usize,
    undo: Undo,
}

impl<'a> Overwrite<'a> {
    pub fn of(value: &'a mut Value) -> Self {
        Overwrite {
            at: 0,
            block: vec![0; BLOCK].into(),
            used: 0,
            undo: Undo::of(value),
            value,
        }
    }

    /// The value ends here.
    pub fn finish(mut self) -> Undo {
        self.flush();
        if let Some(rest) = self.value.get(self.at..).filter(|rest| !rest.is_empty()) {
            self.undo.note(self.at, rest);
        }
        self.value.truncate(self.at);
        std::mem::replace(&mut self.undo, Undo::of(self.value))
    }

    /// Where the next `len` bytes go.
    #[inline]
    fn next(&mut self, len: usize) -> &mut [u8] {
        if len > self.block.len() - self.used {
            self.make_room(len);
        }
        let start = self.used;
        self.used += len;
        self.block.get_mut(start..self.used).unwrap_or_default()
    }

    #[cold]
    fn make_room(&mut self, len: usize) {
        self.flush();
        if len > self.block.len() {
            self.block = vec![0; len].into();
        }
    }

    /// Compares what was encoded with what is held, and replaces that where it differs.
    fn flush(&mut self) {
        let new = self.block.get(..self.used).unwrap_or_default();
        let within = self.value.len().saturating_sub(self.at).min(new.len());
        let (over, beyond) = new.split_at(within);
        match self.value.get_mut(self.at..self.at + within) {
            Some(held) if held != over => {
                let grains = held.chunks_mut(GRAIN).zip(over.chunks(GRAIN));
                for (at, (held, new)) in (self.at..).step_by(GRAIN).zip(grains) {
                    if held != new {
                        self.undo.note(at, held);
                        held.copy_from_slice(new);
                    }
                }
            }
            _ => (),
        }
        self.value.extend(beyond);
        self.at += self.used;
        self.used = 0;
    }
}

impl Drop for Overwrite<'_> {
    fn drop(&mut self) {
        self.undo.apply(self.value);
    }
}

/// What postcard writes into.
impl Flavor for Overwrite<'_> {
    type Output = Undo;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if let Some(next) = self.next(1).first_mut() {
            *next = byte;
        }
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.next(bytes.len()).copy_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Undo> {
        Ok(self.finish())
    }
}

impl Room for Overwrite<'_> {
    #[inline]
    fn extend_exactly(&mut self, len: usize, bytes: impl Iterator<Item = u8>) {
        let room = self.next(len).iter_mut();
        room.zip(bytes).for_each(|(room, byte)| *room = byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(bytes: &[u8]) -> Value {
        Value::from(bytes.to_vec())
    }

    fn write(held: &mut Value, parts: &[&[u8]]) -> Undo {
        let mut over = Overwrite::of(held);
        for part in parts {
            over.try_extend(part).unwrap();
        }
        over.finish()
    }

    fn has(place: &[u8], secret: &[u8]) -> bool {
        place.windows(secret.len()).any(|bytes| bytes == secret)
    }

    #[test]
    fn nothing_of_a_replaced_secret_is_left_where_it_was() {
        let mut old = vec![1; 20 * BLOCK];
        // In the middle, at a block's edge, and behind the end of the next version.
        for at in [70, BLOCK - 16, 10 * BLOCK + 1, 20 * BLOCK - 32] {
            old[at..at + 32].fill(77);
        }
        let mut new = vec![1; 20 * BLOCK - 40];
        new[70..102].fill(78);
        let mut held = value(&old);
        let undo = write(&mut held, &[&new]);
        assert!(!held.contains(&77));
        assert_eq!(&*held, new);
        assert_eq!(
            undo.bytes.iter().filter(|byte| **byte == 77).count(),
            4 * 32
        );
        // The rest was not touched, so that there is nothing to wipe.
        assert!(undo.bytes.len() <= 8 * GRAIN);
        // What is cut off is wiped before it is out of reach.
        let mut cut = value(&old);
        cut.wipe(20 * BLOCK - 40);
        assert!(has(&cut, &[77; 32]));
        assert!(cut[20 * BLOCK - 40..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let old: Vec<u8> = (0..3 * BLOCK).map(|n| n.to_le_bytes()[0]).collect();
        let mut held = value(&old);
        let mut over = Overwrite::of(&mut held);
        over.try_extend(&vec![7; 2 * BLOCK]).unwrap();
        over.try_push(1).unwrap();
        assert!(over.value.starts_with(&[7; 2 * BLOCK]));
        drop(over);
        assert_eq!(&*held, old);
    }

    proptest! {
        #[test]
        fn any_version_over_any_other_and_back(
            old in proptest::collection::vec(0u8..3, 0..3 * BLOCK),
            new in proptest::collection::vec(0u8..3, 0..3 * BLOCK),
            same in any::<bool>(),
            edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..9),
            step in 1usize..2 * BLOCK,
        ) {
            let mut new = if same { old.clone() } else { new };
            for (at, byte) in edits {
                if !new.is_empty() {
                    let at = at.index(new.len());
                    new[at] = byte;
                }
            }
            let mut held = value(&old);
            let parts: Vec<&[u8]> = new.chunks(step).collect();
            let undo = write(&mut held, &parts);
            prop_assert_eq!(&*held, new.as_slice());
            prop_assert_eq!(undo.len(), old.len());
            for start in (0..old.len().min(new.len())).step_by(100) {
                let range = start..(start + 150).min(old.len().min(new.len()));
                let differ = old[range.clone()] != new[range.clone()];
                prop_assert_eq!(undo.differs(&new, range.clone()), differ);
                prop_assert!(undo.touches(range) || !differ);
            }
            undo.apply(&mut held);
            prop_assert_eq!(&*held, old.as_slice());
        }
    }
}
