//! The storage vocabulary: three commands over an ordered byte-string key space, for any engine.
//!
//! In a core there is no store trait: a command goes out with a ticket and a reply comes back.
//! [`Engine`] is for engines that block; adapters, simulation and binaries run one on a thread,
//! [`Guarded`].

use alloc::vec::Vec;

use bytes::Bytes;

mod answer;
mod guarded;
pub mod keys;
pub(crate) mod map_key;
pub mod memory;
pub mod records;

pub use guarded::Guarded;
pub use memory::Memory;

/// The longest key, in bytes.
pub const MAX_KEY: usize = 512;
/// The longest value, in bytes; a core cuts longer ones into pieces.
pub const MAX_VALUE: usize = 64 * 1024;
/// The most bytes of keys and values in one [`Commit`].
pub const MAX_COMMIT_BYTES: usize = 8 * 1024 * 1024;
/// The most checks, puts and deletes together in one [`Commit`].
pub const MAX_COMMIT_OPS: usize = 8192;

/// What a core asks of storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Read these keys. Answered by [`Reply::Values`], in the same order.
    Get(Vec<Bytes>),
    /// Read a range in key order. Answered by [`Reply::Rows`].
    Scan(Scan),
    /// Check, put and delete, all or nothing. Answered by [`Reply::Committed`] once durable, or
    /// [`Reply::Conflict`].
    Commit(Commit),
}

/// A range read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    /// The first key, included.
    pub start: Bytes,
    /// The end, excluded.
    pub end: Bytes,
    /// From `start` up or from `end` down.
    pub direction: Direction,
    /// The most rows to answer.
    pub items: usize,
    /// The most bytes of keys and values to answer; one row is answered even if it is longer.
    pub bytes: usize,
}

/// Which end of a range comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// A change, all or nothing. No key occurs twice among puts and deletes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Commit {
    /// What must hold for the change to be made.
    pub checks: Vec<(Bytes, Expect)>,
    /// Keys and their new values.
    pub puts: Vec<(Bytes, Bytes)>,
    /// Keys to remove; one that is absent is no error.
    pub deletes: Vec<Bytes>,
}

/// What a check expects of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// It holds exactly this value.
    Equals(Bytes),
    /// It holds nothing.
    Absent,
}

/// What storage answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The values of [`Command::Get`], `None` where a key holds nothing.
    Values(Vec<Option<Bytes>>),
    /// The rows of [`Command::Scan`].
    Rows {
        /// Keys and values in the order asked for.
        rows: Vec<(Bytes, Bytes)>,
        /// Whether the range holds more.
        more: bool,
    },
    /// The change is durable.
    Committed,
    /// A check did not hold; nothing was changed.
    Conflict,
    /// The command was not carried out, or it is not known whether it was.
    Failed(Failure),
}

/// Why a command failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was changed: there is no room.
    #[error("the storage is full: free some space")]
    Full,
    /// Nothing was changed: storage can't be used now.
    #[error("the storage cannot be used now: try again later")]
    Unavailable,
    /// It is not known whether the change was made: read again before relying on it.
    #[error("it is not known whether the change was stored: read again")]
    Unknown,
}

/// A storage engine that blocks, run by one thread that takes everything waiting as one batch.
pub trait Engine: Send {
    /// Runs the commands in order, as one transaction with one flush to disk, and returns one reply
    /// a command, in the same order.
    ///
    /// Each command's checks see the commands before it; a conflict leaves the others untouched. No
    /// reply is returned before the batch is durable. If the transaction fails, every reply is
    /// [`Reply::Failed`].
    fn run(&mut self, batch: Vec<Command>) -> Vec<Reply>;

    /// Work that is better done while nothing waits (checkpoints). Called when the queue is empty.
    fn idle(&mut self) {}
}

impl Commit {
    /// Bytes of keys and values in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let checks = self.checks.iter().map(|(key, expect)| {
            key.len()
                + match expect {
                    Expect::Equals(value) => value.len(),
                    Expect::Absent => 0,
                }
        });
        let puts = self.puts.iter().map(|(key, value)| key.len() + value.len());
        checks.sum::<usize>()
            + puts.sum::<usize>()
            + self.deletes.iter().map(Bytes::len).sum::<usize>()
    }

    /// Checks, puts and deletes in it.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.checks.len() + self.puts.len() + self.deletes.len()
    }

    /// Whether it keeps every bound of this module and changes no key twice.
    ///
    /// An engine answers one that does not with [`Failure::Unavailable`], changes nothing for it and
    /// goes on: it is a fault of the core that made it, and no reason to harm its neighbours.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let checked = self.checks.iter().map(|(key, _)| key);
        let changed = self.puts.iter().map(|(key, _)| key).chain(&self.deletes);
        self.operations() <= MAX_COMMIT_OPS
            && self.bytes() <= MAX_COMMIT_BYTES
            && checked.chain(changed).all(|key| key.len() <= MAX_KEY)
            && self.puts.iter().all(|(_, value)| value.len() <= MAX_VALUE)
            && self.changes_no_key_twice()
    }

    fn changes_no_key_twice(&self) -> bool {
        /// So few are compared each with each, which needs no room.
        const FEW: usize = 8;
        let changed = || self.puts.iter().map(|(key, _)| key).chain(&self.deletes);
        if self.puts.len() + self.deletes.len() <= FEW {
            let rest = |number: usize| changed().skip(number + 1);
            let mut numbered = changed().enumerate();
            return numbered.all(|(number, key)| rest(number).all(|other| other != key));
        }
        let mut sorted: Vec<&Bytes> = changed().collect();
        sorted.sort_unstable();
        sorted.windows(2).all(|pair| pair[0] != pair[1])
    }
}

/// The end of the range of all keys that start with `prefix`, `None` if there is no end (all 0xff).
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix.get(..=keep)?.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(prefix_end(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(prefix_end(&[1, 0xff]).as_deref(), Some(&[2][..]));
        assert_eq!(prefix_end(&[0xff, 0xff]), None);
    }
}
