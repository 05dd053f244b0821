//! What a request changes.

#[cfg(test)]
use bytes::Bytes;

use super::reads::Reads;
use super::seen::{Found, Seen};
use crate::server::fault::Fault;
use crate::storage::keys::Key;
use crate::storage::records::Record;
use crate::storage::{Commit, Expect, MAX_COMMIT_BYTES, MAX_COMMIT_OPS};

/// A change in the making. The checks of the rows that the request has read come by themselves.
#[derive(Default)]
pub(in crate::server) struct Change(Commit);

impl Change {
    /// Room for this many rows to write.
    pub(in crate::server) fn with_capacity(rows: usize) -> Self {
        Self(Commit {
            puts: Vec::with_capacity(rows),
            ..Commit::default()
        })
    }

    /// A row that was read is this from now on.
    pub(in crate::server) fn put<R: Record>(&mut self, seen: &Seen<R>, row: &R) {
        self.write(seen.key().clone(), row);
    }

    /// A row that was read goes.
    pub(in crate::server) fn delete<R: Record>(&mut self, seen: &Seen<R>) {
        self.erase(seen.key().clone());
    }

    /// A row that was found is this from now on, if it still is what it was.
    pub(in crate::server) fn put_found<R: Record>(&mut self, found: &Found<R>, row: &R) {
        self.check_found(found);
        self.write(found.key().clone(), row);
    }

    /// A row that was found goes, if it still is what it was.
    pub(in crate::server) fn delete_found<R: Record>(&mut self, found: &Found<R>) {
        self.check_found(found);
        self.erase(found.key().clone());
    }

    fn check_found<R: Record>(&mut self, found: &Found<R>) {
        let expect = Expect::Equals(found.row().clone());
        self.0.checks.push((found.key().clone().into(), expect));
    }

    /// Writes a row that was not read: anyone who writes it changes another row too, which was.
    pub(in crate::server) fn write<R: Record>(&mut self, key: Key<R>, row: &R) {
        self.0.puts.push((key.into(), row.encode_row()));
    }

    /// Removes a row that was not read: anyone who writes it changes another row too, which was.
    pub(in crate::server) fn erase<R>(&mut self, key: Key<R>) {
        self.0.deletes.push(key.into());
    }

    /// Whether it removes this row.
    pub(in crate::server) fn erases<R>(&self, key: &Key<R>) -> bool {
        self.0.deletes.contains(key)
    }

    /// Whether it changes nothing.
    pub(in crate::server) const fn is_empty(&self) -> bool {
        self.0.puts.is_empty() && self.0.deletes.is_empty()
    }

    /// Rows that it removes.
    pub(in crate::server) const fn erased(&self) -> usize {
        self.0.deletes.len()
    }

    /// The commit, with the checks of all that was read.
    pub(super) fn seal(mut self, reads: &mut Reads) -> Result<Commit, Fault> {
        let mut checks = reads.checks();
        checks.append(&mut self.0.checks);
        self.0.checks = checks;
        if self.0.operations() > MAX_COMMIT_OPS || self.0.bytes() > MAX_COMMIT_BYTES {
            return Err(Fault::quota(
                "this is too much at once: name fewer, or send less",
            ));
        }
        reads.issued(&self.0);
        Ok(self.0)
    }

    /// The rows that it writes, for a test.
    #[cfg(test)]
    pub(in crate::server) fn puts(&self) -> &[(Bytes, Bytes)] {
        &self.0.puts
    }

    /// The keys of rows that it removes, for a test.
    #[cfg(test)]
    pub(in crate::server) fn deletes(&self) -> &[Bytes] {
        &self.0.deletes
    }
}
