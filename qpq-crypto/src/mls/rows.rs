//! The device's rows: what openmls writes, held in memory with a journal, drained as one batch.
//!
//! openmls calls synchronous setters one by one and has no transaction. Here every write goes to
//! memory and notes in the journal what it replaced, so that an operation can be taken back whole
//! or handed to the storage whole. A value leaves in pieces of at most [`PIECE`] bytes, of which a
//! batch holds only those that changed: the ratchet tree and the message secrets are rewritten whole
//! at each commit and message, but differ in a few places.

use std::{cell::RefCell, collections::BTreeMap};

use serde::Serialize;

use super::{
    StateError, encoder,
    overwrite::{Overwrite, Undo},
    pieces::{PIECE, cut, cut_over, slices},
    value::Value,
};

/// Layout of the rows. Raised when openmls or our codec changes what a row means.
const VERSION: u8 = 1;

/// Key of the row that holds [`VERSION`]; all others begin with a byte of `storage::Kind`, from 1.
const VERSION_KEY: &[u8] = &[0];

/// Changes of one device's rows, to be stored in one commit together with what caused them.
///
/// Keys are relative: the caller puts its own prefix before each. Values hold secrets and belong
/// into encrypted storage only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Rows to write, each value at most [`PIECE`] bytes.
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Rows to delete.
    pub deletes: Vec<Vec<u8>>,
}

/// Says how much it is, not what.
impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("puts", &self.puts.len())
            .field("deletes", &self.deletes.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}

impl Batch {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Bytes of all keys and values that would be written.
    pub fn bytes(&self) -> usize {
        self.puts.iter().map(|(k, v)| k.len() + v.len()).sum()
    }
}

/// Rows by whole key, and the journal of what was overwritten since the last batch.
#[derive(Default)]
pub(super) struct Rows(RefCell<Inner>);

#[derive(Default)]
struct Inner {
    values: BTreeMap<Vec<u8>, Value>,
    /// Lengths of the pieces that the storage holds, for values in more than one.
    cuts: BTreeMap<Vec<u8>, Vec<usize>>,
    journal: Vec<(Vec<u8>, Before)>,
    /// Whether the storage holds the version row already.
    versioned: bool,
}

/// What a write replaced.
enum Before {
    Nothing,
    Whole(Value),
    /// What of a large value differed.
    Parts(Undo),
}

impl Before {
    /// The value that was replaced by `after`.
    fn of(self, mut after: Value) -> Value {
        match self {
            Before::Nothing => Value::default(),
            Before::Whole(value) => value,
            Before::Parts(undo) => {
                undo.apply(&mut after);
                after
            }
        }
    }
}

impl From<Option<Value>> for Before {
    fn from(old: Option<Value>) -> Self {
        old.map_or(Before::Nothing, Before::Whole)
    }
}

/// A point in the journal to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark(usize);

impl Rows {
    /// Puts stored rows together again; none at all is a new device.
    pub fn load(rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, StateError> {
        let mut pieces: BTreeMap<(Vec<u8>, u32), Value> = BTreeMap::new();
        for (mut key, value) in rows {
            let at = key.len().checked_sub(4).ok_or(StateError::Corrupt)?;
            let index: [u8; 4] = key
                .split_off(at)
                .try_into()
                .map_err(|_| StateError::Corrupt)?;
            pieces.insert((key, u32::from_be_bytes(index)), value.into());
        }

        let mut values: BTreeMap<Vec<u8>, Value> = BTreeMap::new();
        let mut cuts: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for ((key, index), piece) in pieces {
            let lengths = cuts.entry(key.clone()).or_default();
            let is_next = usize::try_from(index) == Ok(lengths.len());
            let is_empty = piece.is_empty() || lengths.last() == Some(&0);
            if !is_next || piece.len() > PIECE || (is_empty && index > 0) {
                return Err(StateError::Corrupt);
            }
            lengths.push(piece.len());
            values.entry(key).or_default().extend(&piece);
        }
        cuts.retain(|_, lengths| lengths.len() > 1);

        let versioned = match values.remove(VERSION_KEY).as_deref() {
            Some([VERSION]) => true,
            Some([found]) => return Err(StateError::Version { found: *found }),
            Some(_) => return Err(StateError::Corrupt),
            None if values.is_empty() => false,
            None => return Err(StateError::Corrupt),
        };
        Ok(Rows(RefCell::new(Inner {
            values,
            cuts,
            journal: Vec::new(),
            versioned,
        })))
    }

    /// Reads a value in place, without a copy of it.
    pub fn with<T>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> T) -> T {
        read(self.0.borrow().values.get(key).map(|value| &**value))
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.0.borrow().values.contains_key(key)
    }

    pub fn put(&self, key: Vec<u8>, value: Value) {
        let mut inner = self.0.borrow_mut();
        let old = inner.values.insert(key.clone(), value);
        inner.journal.push((key, old.into()));
    }

    /// Encodes a value. A large one is written over what it replaces.
    pub fn put_encoded(&self, key: Vec<u8>, value: &impl Serialize) -> postcard::Result<()> {
        let mut inner = self.0.borrow_mut();
        let held = inner.values.get_mut(&key);
        let len = held.as_ref().map_or(0, |held| held.len());
        let before = match held {
            Some(held) if len > PIECE => {
                Before::Parts(encoder::encode(value, Overwrite::of(held))?.finish())
            }
            _ => {
                let room = Value::with_capacity(len.saturating_add(256));
                let value = encoder::encode(value, room)?;
                inner.values.insert(key.clone(), value).into()
            }
        };
        inner.journal.push((key, before));
        Ok(())
    }

    pub fn delete(&self, key: &[u8]) {
        let mut inner = self.0.borrow_mut();
        if let Some(old) = inner.values.remove(key) {
            inner.journal.push((key.to_vec(), Before::Whole(old)));
        }
    }

    /// Keys that begin with `prefix`, in order.
    pub fn keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        self.0
            .borrow()
            .values
            .range(prefix.to_vec()..)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .cloned()
            .collect()
    }

    pub fn mark(&self) -> Mark {
        Mark(self.0.borrow().journal.len())
    }

    /// Takes back everything written after `mark`.
    pub fn back_to(&self, mark: Mark) {
        let mut inner = self.0.borrow_mut();
        while inner.journal.len() > mark.0 {
            match inner.journal.pop() {
                Some((key, Before::Whole(old))) => _ = inner.values.insert(key, old),
                Some((key, Before::Nothing)) => _ = inner.values.remove(&key),
                Some((key, Before::Parts(undo))) => {
                    if let Some(value) = inner.values.get_mut(&key) {
                        undo.apply(value);
                    }
                }
                None => break,
            }
        }
    }

    /// Takes back everything since the last batch.
    pub fn rollback(&self) {
        self.back_to(Mark(0));
    }

    /// Everything that changed since the last batch, as pieces.
    pub fn take_batch(&self) -> Batch {
        let mut inner = self.0.borrow_mut();
        let journal = std::mem::take(&mut inner.journal);
        let mut batch = Batch::default();
        if !journal.is_empty() && !std::mem::replace(&mut inner.versioned, true) {
            batch.puts.push((piece_key(VERSION_KEY, 0), vec![VERSION]));
        }
        let Inner { values, cuts, .. } = &mut *inner;
        for (key, before) in at_last_batch(journal, values) {
            let new = values.get(&key);
            let held = match &before {
                Before::Nothing => Vec::new(),
                Before::Whole(old) => cuts.remove(&key).unwrap_or_else(|| vec![old.len()]),
                Before::Parts(undo) => cuts.remove(&key).unwrap_or_else(|| vec![undo.len()]),
            };
            let (lengths, changed) = compare(before, &held, new);
            let mut changed = changed.into_iter().peekable();
            let new = new.map_or(&[][..], |value| value);
            for (index, piece) in slices(new, &lengths).enumerate() {
                if changed.next_if_eq(&index).is_some() {
                    batch.puts.push((piece_key(&key, index), piece.to_vec()));
                }
            }
            for index in lengths.len()..held.len() {
                batch.deletes.push(piece_key(&key, index));
            }
            if lengths.len() > 1 {
                cuts.insert(key, lengths);
            }
        }
        batch
    }
}

/// What each value was at the last batch, in the order in which they were first written since.
fn at_last_batch(
    journal: Vec<(Vec<u8>, Before)>,
    values: &BTreeMap<Vec<u8>, Value>,
) -> Vec<(Vec<u8>, Before)> {
    let mut firsts: BTreeMap<Vec<u8>, (usize, Before)> = BTreeMap::new();
    for (index, (key, before)) in journal.into_iter().enumerate().rev() {
        let before = match (before, firsts.remove(&key)) {
            // Parts of what was itself replaced since.
            (before @ Before::Parts(_), Some((_, next))) => {
                let now = values.get(&key).cloned().unwrap_or_default();
                Before::Whole(before.of(next.of(now)))
            }
            (before, _) => before,
        };
        firsts.insert(key, (index, before));
    }
    let mut firsts: Vec<_> = firsts.into_iter().collect();
    firsts.sort_unstable_by_key(|(_, (index, _))| *index);
    let values = firsts.into_iter();
    values.map(|(key, (_, before))| (key, before)).collect()
}

/// Lengths of the pieces of `new`, and which of them changed.
fn compare(before: Before, held: &[usize], new: Option<&Value>) -> (Vec<usize>, Vec<usize>) {
    let Some(new) = new else {
        return (Vec::new(), Vec::new());
    };
    if let Before::Parts(undo) = &before
        && let Some(known) = cut_over(undo, held, new)
    {
        return known;
    }
    let old = match before {
        Before::Parts(_) => before.of(new.clone()),
        whole => whole.of(Value::default()),
    };
    let lengths = cut(&old, held, new);
    let mut before = slices(&old, held);
    let after = slices(new, &lengths).enumerate();
    let changed =
        after.filter_map(|(index, piece)| (before.next() != Some(piece)).then_some(index));
    let changed = changed.collect();
    (lengths, changed)
}

fn piece_key(key: &[u8], index: usize) -> Vec<u8> {
    // 4,096 bytes times 2^32 is more than any memory holds.
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    [key, &index.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::Index};

    fn get(rows: &Rows, key: &[u8]) -> Option<Vec<u8>> {
        rows.with(key, |value| value.map(<[u8]>::to_vec))
    }

    fn apply(disk: &mut BTreeMap<Vec<u8>, Vec<u8>>, batch: Batch) {
        for key in batch.deletes {
            assert!(disk.remove(&key).is_some(), "deleted a row never stored");
        }
        disk.extend(batch.puts);
    }

    #[test]
    fn pieces_come_back_as_values() {
        let mut disk = BTreeMap::new();
        let rows = Rows::load([]).unwrap();
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 10 * PIECE + 7] {
            rows.put(b"\x01value".to_vec(), vec![len as u8; len].into());
            apply(&mut disk, rows.take_batch());
            let again = Rows::load(disk.clone()).unwrap();
            assert_eq!(get(&again, b"\x01value").unwrap(), vec![len as u8; len]);
        }
        rows.put(b"\x01value".to_vec(), vec![1; 5].into());
        apply(&mut disk, rows.take_batch());
        assert_eq!(disk.len(), 2, "shorter values leave no old pieces behind");
        rows.delete(b"\x01value");
        apply(&mut disk, rows.take_batch());
        assert_eq!(disk.len(), 1, "only the version is left");
    }

    #[test]
    fn only_changed_pieces_leave() {
        let rows = Rows::load([]).unwrap();
        let mut value = vec![0u8; 100 * PIECE];
        rows.put(vec![1], value.clone().into());
        assert_eq!(rows.take_batch().puts.len(), 103, "and the version");
        value[5 * PIECE] = 1;
        rows.put(vec![1], value.clone().into());
        rows.put(vec![1], value.into());
        let batch = rows.take_batch();
        assert_eq!(batch.puts.len(), 1);
        assert_eq!(batch.puts[0].0, [1, 0, 0, 0, 5]);
        assert!(rows.take_batch().is_empty());
    }

    #[test]
    fn taken_back_leaves_no_trace() {
        let rows = Rows::load([]).unwrap();
        rows.put(vec![1], vec![1].into());
        rows.take_batch();
        rows.put(vec![1], vec![2].into());
        let mark = rows.mark();
        rows.put(vec![1], vec![3].into());
        rows.put(vec![2], vec![3].into());
        rows.delete(&[1]);
        rows.back_to(mark);
        assert_eq!(get(&rows, &[1]).unwrap(), [2]);
        assert!(get(&rows, &[2]).is_none());
        rows.rollback();
        assert_eq!(get(&rows, &[1]).unwrap(), [1]);
        assert!(rows.take_batch().is_empty());
    }

    #[test]
    fn a_replaced_secret_is_gone_with_its_batch() {
        let rows = Rows::load([]).unwrap();
        let mut value = vec![1u8; 10 * PIECE];
        value[5 * PIECE..5 * PIECE + 32].fill(77);
        rows.put_encoded(vec![1], &value).unwrap();
        rows.take_batch();
        value[5 * PIECE..5 * PIECE + 32].fill(78);
        rows.put_encoded(vec![1], &value).unwrap();
        let held = get(&rows, &[1]).unwrap();
        assert!(!held.contains(&77), "written over at once");
        let batch = rows.take_batch();
        assert_eq!(batch.puts.len(), 1);
        assert!(!batch.puts[0].1.contains(&77));
        assert!(
            rows.0.borrow().journal.is_empty(),
            "which could take it back"
        );
    }

    /// What happens to a large value.
    #[derive(Clone, Debug)]
    enum Step {
        Replace(Vec<(Index, u8)>),
        Insert(Index, Vec<u8>),
        Remove(Index, usize),
        Delete,
        Mark,
        Back,
        Batch,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        use proptest::collection::vec;
        let few = || vec(any::<u8>(), 0..40);
        let step = prop_oneof![
            4 => vec((any::<Index>(), any::<u8>()), 0..4).prop_map(Step::Replace),
            2 => (any::<Index>(), few()).prop_map(|(at, bytes)| Step::Insert(at, bytes)),
            1 => (any::<Index>(), vec(any::<u8>(), 0..6000))
                .prop_map(|(at, bytes)| Step::Insert(at, bytes)),
            2 => (any::<Index>(), 0usize..40).prop_map(|(at, len)| Step::Remove(at, len)),
            1 => (any::<Index>(), 0usize..9000).prop_map(|(at, len)| Step::Remove(at, len)),
            1 => Just(Step::Delete),
            1 => Just(Step::Mark),
            1 => Just(Step::Back),
            6 => Just(Step::Batch),
        ];
        vec(step, 0..30)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_written_over_leaves_as_what_is_replaced_whole(steps in steps()) {
            let [over, whole] = [(); 2].map(|()| Rows::load([]).unwrap());
            let mut value: Vec<u8> = (0..40_000u32)
                .map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()[0])
                .collect();
            let mut mark = None;
            for step in steps {
                match &step {
                    Step::Replace(edits) => {
                        for (at, byte) in edits {
                            if !value.is_empty() {
                                let at = at.index(value.len());
                                value[at] = *byte;
                            }
                        }
                    }
                    Step::Insert(at, bytes) => {
                        let at = at.index(value.len() + 1);
                        value.splice(at..at, bytes.iter().copied());
                    }
                    Step::Remove(at, len) => {
                        let at = at.index(value.len() + 1);
                        value.drain(at..(at + len).min(value.len()));
                    }
                    Step::Delete => [&over, &whole].into_iter().for_each(|rows| rows.delete(&[1])),
                    Step::Mark => mark = Some((over.mark(), whole.mark())),
                    Step::Back => {
                        if let Some((in_over, in_whole)) = mark.take() {
                            over.back_to(in_over);
                            whole.back_to(in_whole);
                        }
                    }
                    Step::Batch => {
                        mark = None;
                        prop_assert!(over.take_batch() == whole.take_batch());
                    }
                }
                if matches!(step, Step::Replace(_) | Step::Insert(..) | Step::Remove(..)) {
                    over.put_encoded(vec![1], &value).unwrap();
                    whole.put(vec![1], postcard::to_allocvec(&value).unwrap().into());
                }
                prop_assert_eq!(get(&over, &[1]), get(&whole, &[1]));
            }
            prop_assert!(over.take_batch() == whole.take_batch());
        }
    }

    #[test]
    fn a_batch_does_not_print_what_it_holds() {
        let batch = Batch {
            puts: vec![(vec![1], vec![77; 9])],
            deletes: vec![],
        };
        assert_eq!(
            format!("{batch:?}"),
            "Batch { puts: 1, deletes: 0, bytes: 10 }"
        );
    }

    #[test]
    fn broken_rows_are_refused() {
        let version = (vec![0, 0, 0, 0, 0], vec![VERSION]);
        for rows in [
            vec![(vec![1], vec![1])],
            vec![(vec![1, 0, 0, 0, 0], vec![1])],
            vec![version.clone(), (vec![1, 0, 0, 0, 1], vec![1])],
            vec![
                version.clone(),
                (vec![1, 0, 0, 0, 0], vec![1]),
                (vec![1, 0, 0, 0, 1], vec![]),
            ],
            vec![
                version.clone(),
                (vec![1, 0, 0, 0, 0], vec![]),
                (vec![1, 0, 0, 0, 1], vec![1]),
            ],
            vec![version, (vec![1, 0, 0, 0, 0], vec![0; PIECE + 1])],
        ] {
            assert_eq!(Rows::load(rows).err(), Some(StateError::Corrupt));
        }
        assert_eq!(
            Rows::load([(vec![0; 5], vec![9])]).err(),
            Some(StateError::Version { found: 9 })
        );
    }
}
