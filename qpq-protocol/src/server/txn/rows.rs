//! Rows remembered between requests: as every Commit issued so far leaves them, durable or not.
//!
//! Commits are pipelined: a request builds on the value that the Commit before it will have
//! written, and its check expects that value. What was remembered of a Commit that is refused is
//! forgotten, so those behind it fail by their checks, read again and are issued in their first
//! order. An answer that rests on a value not yet durable is held until that value is
//! ([`Rows::settle`]).
//!
//! Forgetting is always safe: a row that is not remembered is read in the ordered lane, behind all
//! Commits.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::lru::Lru;
use super::reads::Reads;
use crate::rising::Rising;
use crate::storage::Commit;
use crate::storage::map_key::MapKey;

/// A few rows of each kind of many accounts: their first bytes differ.
type Key = MapKey<2>;

/// What a key holds: `None` for nothing.
pub(in crate::server) type Row = Option<Bytes>;

/// The memory of one core.
pub(in crate::server) struct Rows {
    known: Lru<Key, Known>,
    /// Keys being read that no Commit has touched since; how many reads are under way.
    expected: BTreeMap<Bytes, u32>,
    /// Commits issued and not yet answered.
    pending: Rising<()>,
    issued: u64,
}

struct Known {
    row: Row,
    /// The last Commit that wrote it, 0 for none.
    written_by: u64,
}

/// What must be remembered of a Commit until it is answered.
pub(in crate::server) struct Issued {
    /// Its number.
    pub(in crate::server) number: u64,
    /// The remembered rows that it changes.
    changed: Vec<Key>,
}

impl Rows {
    /// Remembers at most `items` rows of `bytes` bytes.
    pub(in crate::server) fn new(items: usize, bytes: usize) -> Self {
        Self {
            known: Lru::new(items, bytes),
            expected: BTreeMap::new(),
            pending: Rising::default(),
            issued: 0,
        }
    }

    /// Whether the row is remembered.
    pub(in crate::server) fn knows(&self, key: &Bytes) -> bool {
        self.known.contains(&key.clone().into())
    }

    /// The row, if remembered. If it is not durable yet, the number of the Commit that makes it so
    /// is added to `rests_on`.
    pub(in crate::server) fn get(&mut self, key: &Bytes, rests_on: &mut Vec<u64>) -> Option<Row> {
        let known = self.known.get(&key.clone().into())?;
        if self.pending.contains(known.written_by) && !rests_on.contains(&known.written_by) {
            rests_on.push(known.written_by);
        }
        Some(known.row.clone())
    }

    /// These rows are about to be read in the ordered lane.
    pub(in crate::server) fn expect(&mut self, keys: &[Bytes]) {
        for key in keys {
            *self.expected.entry(key.clone()).or_default() += 1;
        }
    }

    /// A row that was read in the ordered lane. It is remembered unless a Commit has touched it
    /// since the read was issued.
    pub(in crate::server) fn fill(&mut self, key: &Bytes, row: &Row) {
        if self.unexpect(key) && !self.knows(key) {
            let known = Known {
                row: row.clone(),
                written_by: 0,
            };
            self.known
                .insert(key.clone().into(), known, cost(key, row.as_ref()));
        }
    }

    /// A row that was to be read was not; whether it was still expected.
    pub(in crate::server) fn unexpect(&mut self, key: &Bytes) -> bool {
        let Some(count) = self.expected.get_mut(key) else {
            return false;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.expected.remove(key);
        }
        true
    }

    /// A Commit is about to be issued: rows that are remembered become what it makes of them.
    pub(in crate::server) fn issue(&mut self, change: &Commit) -> Issued {
        self.issued = self.issued.saturating_add(1);
        let number = self.issued;
        self.pending.insert(number, ());
        let mut changed = Vec::new();
        let puts = change.puts.iter().map(|(key, value)| (key, Some(value)));
        let deletes = change.deletes.iter().map(|key| (key, None));
        for (key, row) in puts.chain(deletes) {
            if !self.expected.is_empty() {
                self.expected.remove(key);
            }
            let known = || Known {
                row: row.cloned(),
                written_by: number,
            };
            let key_in_map = Key::from(key.clone());
            if self.known.replace(&key_in_map, cost(key, row), known) {
                changed.push(key_in_map);
            }
        }
        Issued { number, changed }
    }

    /// A Commit was answered; if it was not carried out, or if that is not known, what it changed is forgotten, and
    /// what it rested on.
    pub(in crate::server) fn settle(&mut self, issued: &Issued, committed: bool, reads: &Reads) {
        self.pending.remove(issued.number);
        if !committed {
            for key in &issued.changed {
                self.known.remove(key);
            }
            for key in reads.keys() {
                self.forget(key);
            }
        }
    }

    /// Forgets a row, so that it is read again: what is remembered may be what another core has
    /// changed since.
    pub(in crate::server) fn forget(&mut self, key: &Bytes) {
        self.known.remove(&key.clone().into());
    }

    /// Whether this Commit is still to be answered.
    pub(in crate::server) fn is_pending(&self, number: u64) -> bool {
        self.pending.contains(number)
    }

    /// Bytes remembered.
    pub(in crate::server) fn bytes(&self) -> usize {
        self.known.cost()
    }
}

fn cost(key: &Bytes, row: Option<&Bytes>) -> usize {
    /// Entry and tree node.
    const OVERHEAD: usize = 128;
    key.len() + row.map_or(0, Bytes::len) + OVERHEAD
}
