//! The device's rows: what openmls writes, held in memory with a journal, drained as one batch.
//!
//! openmls calls synchronous setters one by one and has no transaction. Here every write goes to
//! memory and notes in the journal what it replaced, so that an operation can be taken back whole
//! or handed to the storage whole. A value leaves in pieces of at most [`PIECE`] bytes, of which a
//! batch holds only those that changed: the ratchet tree and the message secrets are rewritten whole
//! at each commit and message, but differ in a few places.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    StateError,
    pieces::{PIECE, cut, slices},
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
    journal: Vec<(Vec<u8>, Option<Value>)>,
    /// Whether the storage holds the version row already.
    versioned: bool,
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

    /// Length of a value, to size the buffer of its next version.
    pub fn len_of(&self, key: &[u8]) -> usize {
        self.0.borrow().values.get(key).map_or(0, |v| v.len())
    }

    pub fn put(&self, key: Vec<u8>, value: Value) {
        let mut inner = self.0.borrow_mut();
        let old = inner.values.insert(key.clone(), value);
        inner.journal.push((key, old));
    }

    pub fn delete(&self, key: &[u8]) {
        let mut inner = self.0.borrow_mut();
        if let Some(old) = inner.values.remove(key) {
            inner.journal.push((key.to_vec(), Some(old)));
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
                Some((key, Some(old))) => inner.values.insert(key, old),
                Some((key, None)) => inner.values.remove(&key),
                None => break,
            };
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
        let mut seen = BTreeSet::new();
        let mut batch = Batch::default();
        if !journal.is_empty() && !std::mem::replace(&mut inner.versioned, true) {
            batch.puts.push((piece_key(VERSION_KEY, 0), vec![VERSION]));
        }
        let Inner { values, cuts, .. } = &mut *inner;
        // The first note on a key is its value at the last batch.
        for (key, old) in &journal {
            if !seen.insert(key) {
                continue;
            }
            let held = match old {
                Some(old) => cuts.remove(key).unwrap_or_else(|| vec![old.len()]),
                None => Vec::new(),
            };
            let old = old.as_ref().map_or(&[][..], |value| value);
            let lengths = match values.get(key) {
                Some(value) => cut(old, &held, value),
                None => Vec::new(),
            };
            let mut before = slices(old, &held);
            let new = values.get(key).map_or(&[][..], |value| value);
            for (index, piece) in slices(new, &lengths).enumerate() {
                if before.next() != Some(piece) {
                    batch.puts.push((piece_key(key, index), piece.to_vec()));
                }
            }
            for index in lengths.len()..held.len() {
                batch.deletes.push(piece_key(key, index));
            }
            if lengths.len() > 1 {
                cuts.insert(key.clone(), lengths);
            }
        }
        batch
    }
}

fn piece_key(key: &[u8], index: usize) -> Vec<u8> {
    // 4,096 bytes times 2^32 is more than any memory holds.
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    [key, &index.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

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
