//! What a request has read and rests on.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::rows::{Row, Rows};
use super::seen::Keys;
use crate::storage::{Commit, Expect};

/// Rows that a request has noted, and how sure it is of them.
#[derive(Default)]
pub(in crate::server) struct Reads {
    noted: Vec<Noted>,
    /// Keys that were read from storage, or forgotten, since the request began, in runs of it that came to nothing.
    looked_at: BTreeSet<Bytes>,
}

struct Noted {
    key: Bytes,
    /// As it was read, or as the request has written it since.
    row: Row,
    /// Whether it came from storage, or storage has checked it, since the request began.
    is_sure: bool,
    basis: Basis,
}

/// Why a request rests on a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// It has read it.
    Read,
    /// It takes it for granted, until a commit of its own writes it.
    Assumed,
    /// That commit is on its way.
    Written,
}

impl Reads {
    /// Rests on a row as it was remembered.
    pub(super) fn remembered(&mut self, key: Bytes, row: Row) {
        self.note(key, row, false);
    }

    /// Rests on a row that it has not read, until it has written it.
    pub(in crate::server) fn assume(&mut self, key: &Bytes, row: Row) {
        self.noted.push(Noted {
            key: key.clone(),
            row,
            is_sure: false,
            basis: Basis::Assumed,
        });
    }

    /// Rests on a row as storage has it.
    pub(super) fn stored(&mut self, key: Bytes, row: Row) {
        self.note(key, row, true);
    }

    fn note(&mut self, key: Bytes, row: Row, is_sure: bool) {
        self.noted.push(Noted {
            key,
            row,
            is_sure,
            basis: Basis::Read,
        });
    }

    /// The keys of all rows.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.noted.iter().map(|noted| &noted.key)
    }

    /// How much is noted, for [`Self::back_to`] and [`Self::since`].
    pub(super) const fn len(&self) -> usize {
        self.noted.len()
    }

    /// Takes back what was noted since.
    pub(super) fn back_to(&mut self, len: usize) {
        self.noted.truncate(len);
    }

    /// The rows noted since.
    pub(super) fn since(&self, len: usize) -> impl Iterator<Item = &Row> {
        self.noted.iter().skip(len).map(|noted| &noted.row)
    }

    /// Storage says what a row is: whether that is what the request rests on, if it does.
    pub(super) fn confirm(&mut self, key: &Bytes, row: &Row) -> bool {
        let mut noted = self.noted.iter_mut().filter(|noted| noted.key == *key);
        noted.all(|noted| {
            noted.is_sure = noted.row == *row;
            noted.is_sure
        })
    }

    /// What the request has read so far is done with: a transaction of its own begins.
    pub(in crate::server) fn begin_anew(&mut self) {
        self.noted.clear();
    }

    /// What follows does not rest on these rows.
    pub(in crate::server) fn let_go(&mut self, keys: &impl Keys) {
        let mut over = BTreeSet::new();
        keys.each(&mut |key| {
            over.insert(key.clone());
        });
        self.noted.retain(|noted| !over.contains(&noted.key));
    }

    /// The checks that all rows are what they were, of a key that was read twice the later one.
    pub(super) fn checks(&mut self) -> Vec<(Bytes, Expect)> {
        // Later ones first, so that they are the ones that stay.
        self.noted.reverse();
        self.noted.sort_by(|one, other| one.key.cmp(&other.key));
        self.noted.dedup_by(|later, first| later.key == first.key);
        let checks = self.noted.iter().map(|noted| {
            let expect = noted.row.clone().map_or(Expect::Absent, Expect::Equals);
            (noted.key.clone(), expect)
        });
        checks.collect()
    }

    /// A commit with these [`checks`](Self::checks) was issued: what it writes is what the request rests on.
    pub(super) fn issued(&mut self, change: &Commit) {
        let puts = change.puts.iter().map(|(key, row)| (key, Some(row)));
        let deletes = change.deletes.iter().map(|key| (key, None));
        for (key, row) in puts.chain(deletes) {
            let place = self.noted.binary_search_by(|noted| noted.key.cmp(key));
            if let Ok(place) = place
                && let Some(noted) = self.noted.get_mut(place)
            {
                match noted.basis {
                    Basis::Read => noted.row = row.cloned(),
                    Basis::Assumed | Basis::Written => noted.basis = Basis::Written,
                }
            }
        }
    }

    /// That commit was carried out.
    pub(super) fn committed(&mut self) {
        self.noted.retain(|noted| noted.basis != Basis::Written);
        for noted in &mut self.noted {
            noted.is_sure = true;
        }
    }

    /// Whether no row was only remembered. Those that were are forgotten, and the request is to run again from its
    /// beginning: what is remembered of them then is from after that. Those that storage was asked for need not be asked
    /// for again.
    pub(in crate::server) fn are_sure(&mut self, rows: &mut Rows) -> bool {
        let unsure = self.unsure();
        if unsure.is_empty() {
            return true;
        }
        for key in &unsure {
            rows.forget(key);
        }
        let sure = self.noted.drain(..).filter(|noted| noted.is_sure);
        self.looked_at.extend(sure.map(|noted| noted.key));
        self.looked_at.extend(unsure);
        false
    }

    /// Keys of rows that were only remembered.
    fn unsure(&self) -> Vec<Bytes> {
        if self.noted.iter().all(|noted| noted.is_sure) {
            return Vec::new();
        }
        let sure = self.noted.iter().filter(|noted| noted.is_sure);
        let sure: BTreeSet<&Bytes> = sure.map(|noted| &noted.key).collect();
        let unsure = self
            .keys()
            .filter(|key| !sure.contains(key) && !self.looked_at.contains(*key));
        unsure.cloned().collect()
    }

    /// The request is to run again from its beginning: something that it read has changed. The keys of all rows.
    pub(in crate::server) fn drain(&mut self) -> impl Iterator<Item = Bytes> {
        self.noted.drain(..).map(|noted| noted.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::keys;

    const A: Bytes = Bytes::from_static(b"a");
    const B: Bytes = Bytes::from_static(b"b");
    const C: Bytes = Bytes::from_static(b"c");

    fn row(value: &'static [u8]) -> Row {
        Some(Bytes::from_static(value))
    }

    #[test]
    fn a_commit_checks_each_row_once_as_it_was_read_last() {
        let mut reads = Reads::default();
        reads.stored(B, None);
        reads.remembered(A, row(b"1"));
        reads.remembered(A, row(b"2"));
        let two = Expect::Equals(Bytes::from_static(b"2"));
        assert_eq!(reads.checks(), [(A, two), (B, Expect::Absent)]);
    }

    #[test]
    fn what_was_written_is_what_the_next_commit_checks() {
        let mut reads = Reads::default();
        reads.remembered(A, row(b"1"));
        reads.remembered(B, row(b"1"));
        let _ = reads.checks();
        reads.issued(&Commit {
            puts: vec![(A, Bytes::from_static(b"2")), (C, Bytes::new())],
            deletes: vec![B],
            ..Commit::default()
        });
        let two = Expect::Equals(Bytes::from_static(b"2"));
        assert_eq!(reads.checks(), [(A, two), (B, Expect::Absent)]);
    }

    #[test]
    fn only_what_was_remembered_and_never_looked_at_is_unsure() {
        let mut reads = Reads::default();
        reads.remembered(A, None);
        reads.stored(B, None);
        reads.remembered(B, None);
        reads.remembered(C, row(b"1"));
        assert_eq!(reads.unsure(), [A, C]);
        assert!(reads.confirm(&A, &None) && reads.confirm(&A, &None));
        assert!(!reads.confirm(&C, &None), "storage has something else");
        assert_eq!(reads.unsure(), [C]);
        let mut rows = Rows::new(9, 999);
        assert!(!reads.are_sure(&mut rows));
        reads.remembered(C, None);
        reads.remembered(B, None);
        assert!(reads.are_sure(&mut rows), "forgotten since it began");
    }

    #[test]
    fn what_a_commit_has_checked_is_sure() {
        let mut reads = Reads::default();
        reads.remembered(A, None);
        let _ = reads.checks();
        reads.committed();
        assert!(reads.unsure().is_empty());
        reads.remembered(A, row(b"1"));
        assert!(reads.unsure().is_empty(), "it was, since the request began");
        reads.remembered(B, None);
        assert_eq!(reads.unsure(), [B]);
    }

    #[test]
    fn what_was_assumed_is_checked_until_it_is_written() {
        let commit_of = |key| Commit {
            puts: vec![(key, Bytes::from_static(b"1"))],
            ..Commit::default()
        };
        let mut reads = Reads::default();
        reads.assume(&A, None);
        assert_eq!(reads.unsure(), [A]);
        assert_eq!(reads.checks(), [(A, Expect::Absent)]);
        reads.issued(&commit_of(B));
        reads.committed();
        assert_eq!(reads.checks(), [(A, Expect::Absent)], "by the next one too");
        reads.issued(&commit_of(A));
        assert!(reads.keys().eq([&A]), "forgotten, if that is not made");
        reads.committed();
        assert!(reads.checks().is_empty());
    }

    #[test]
    fn what_is_let_go_is_checked_no_more() {
        let mut reads = Reads::default();
        let (one, other) = (keys::meta("one"), keys::meta("other"));
        reads.remembered(one.clone().into(), None);
        reads.remembered(other.clone().into(), None);
        reads.let_go(&one);
        assert_eq!(reads.checks(), [(other.clone().into(), Expect::Absent)]);
        assert!(reads.drain().eq([Bytes::from(other)]));
        assert!(reads.checks().is_empty());
    }
}
