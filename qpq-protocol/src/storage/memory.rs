//! [`Memory`]: the reference engine, a sorted map that other engines are tested against and that
//! simulations crash, fill and break.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::map_key::MapKey;
use super::{Command, Commit, Engine, Failure, Reply, Scan};

/// Room for the key of a message in a default queue.
type Key = MapKey<6>;

/// An engine in memory. What it answers and holds after any commands is what every engine must.
///
/// [`Engine::run`] is [`Memory::stage`] followed by [`Memory::flush`]. A simulation calls the two
/// itself and lets [`Memory::crash`] come between them: then the batch is gone, as after a power cut
/// before the flush, and its replies must not be delivered. A crash after the flush whose replies
/// are never delivered is the other half of the story.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    rows: BTreeMap<Key, Bytes>,
    /// What each change since the last flush replaced, oldest first.
    undo: Vec<(Key, Option<Bytes>)>,
    faults: VecDeque<Fault>,
}

/// How the next batch fails; see [`Memory::fail_next`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// There is no room: nothing is changed, every reply is [`Failure::Full`].
    Full,
    /// Storage can't be used: nothing is changed, every reply is [`Failure::Unavailable`].
    Unavailable,
    /// The batch is carried out, and every reply is [`Failure::Unknown`].
    UnknownMade,
    /// Nothing is changed, and every reply is [`Failure::Unknown`].
    UnknownLost,
}

impl Memory {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries a batch out without making it durable: [`Memory::flush`] does that, and until then
    /// the replies must be held back.
    pub fn stage(&mut self, batch: Vec<Command>) -> Vec<Reply> {
        self.carry_out(batch, true)
    }

    fn carry_out(&mut self, batch: Vec<Command>, is_staged: bool) -> Vec<Reply> {
        let fault = self.faults.pop_front();
        let mut one = |command| self.one(command, is_staged);
        let failure = match fault {
            None => return batch.into_iter().map(one).collect(),
            Some(Fault::Full) => Failure::Full,
            Some(Fault::Unavailable) => Failure::Unavailable,
            Some(Fault::UnknownMade | Fault::UnknownLost) => Failure::Unknown,
        };
        let replies = batch.iter().map(|_| Reply::Failed(failure)).collect();
        if fault == Some(Fault::UnknownMade) {
            for command in batch {
                one(command);
            }
        }
        replies
    }

    /// Makes everything staged durable.
    pub fn flush(&mut self) {
        self.undo.clear();
    }

    /// Loses power: everything staged since the last flush is gone, and so are injected faults.
    pub fn crash(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        self.faults.clear();
    }

    /// Makes the next batch fail; called n times, the next n batches, in this order.
    pub fn fail_next(&mut self, fault: Fault) {
        self.faults.push_back(fault);
    }

    /// All rows in key order, staged ones too.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = (&Bytes, &Bytes)> {
        self.rows.iter().map(|(key, value)| (&key.whole, value))
    }

    /// The value of this key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.find(Bytes::copy_from_slice(key))
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn find(&self, key: Bytes) -> Option<&Bytes> {
        self.rows.get(&Key::from(key))
    }

    fn one(&mut self, command: Command, is_staged: bool) -> Reply {
        match command {
            Command::Get(keys) => {
                let values = keys.into_iter().map(|key| self.find(key).cloned());
                Reply::Values(values.collect())
            }
            Command::Scan(scan) => {
                let Range { start, end } = scan.range();
                let rows = self.rows.range(Key::from(start)..Key::from(end));
                scan.answer(rows.map(|(key, value)| (&key.whole, value)))
            }
            Command::Commit(commit) => self.commit(commit, is_staged),
        }
    }

    fn commit(&mut self, commit: Commit, is_staged: bool) -> Reply {
        if !commit.is_well_formed() {
            return Reply::Failed(Failure::Unavailable);
        }
        let mut checks = commit.checks.into_iter();
        if !checks.all(|(key, expect)| expect.holds(self.find(key))) {
            return Reply::Conflict;
        }
        for (key, value) in commit.puts {
            self.change(key.into(), Some(value), is_staged);
        }
        for key in commit.deletes {
            self.change(key.into(), None, is_staged);
        }
        Reply::Committed
    }

    fn change(&mut self, key: Key, value: Option<Bytes>, is_staged: bool) {
        let undone = is_staged.then(|| key.clone());
        let before = match value {
            Some(value) => self.rows.insert(key, value),
            None => self.rows.remove(&key),
        };
        if let Some(key) = undone {
            self.undo.push((key, before));
        }
    }
}

impl Engine for Memory {
    fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
        let replies = self.carry_out(batch, false);
        self.flush();
        replies
    }
}

/// One answer to a [`Scan`], filled row by row; engines share it so that all cut at the same place.
#[derive(Debug)]
pub struct Page {
    rows: Vec<(Bytes, Bytes)>,
    items: usize,
    bytes: usize,
    used: usize,
    more: bool,
}

impl Page {
    /// An empty page with the bounds of `scan`.
    #[must_use]
    pub fn new(scan: &Scan) -> Self {
        Self {
            rows: Vec::new(),
            items: scan.items,
            bytes: scan.bytes,
            used: 0,
            more: false,
        }
    }

    /// Whether a next row with this many bytes of key and value has room. Once it has not, the page
    /// says that there is more and takes nothing further.
    pub fn has_room(&mut self, bytes: usize) -> bool {
        let fits = self.rows.is_empty() || self.used.saturating_add(bytes) <= self.bytes;
        self.more |= self.rows.len() >= self.items || !fits;
        !self.more
    }

    /// Takes the next row in the order asked for; `false` if it had no room.
    pub fn take(&mut self, key: Bytes, value: Bytes) -> bool {
        let bytes = key.len().saturating_add(value.len());
        let room = self.has_room(bytes);
        if room {
            self.used = self.used.saturating_add(bytes);
            self.rows.push((key, value));
        }
        room
    }

    /// The reply with the rows taken.
    #[must_use]
    pub fn into_reply(self) -> Reply {
        Reply::Rows {
            rows: self.rows,
            more: self.more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_COMMIT_OPS, MAX_KEY, MAX_VALUE};
    use super::*;
    use crate::storage::{Direction, Expect};

    fn put(key: &'static str, value: &'static str) -> Command {
        Command::Commit(Commit {
            puts: vec![(key.into(), value.into())],
            ..Commit::default()
        })
    }

    fn filled() -> Memory {
        let mut memory = Memory::new();
        let batch = ["a", "b", "c", "d"].map(|key| put(key, "12345")).to_vec();
        assert_eq!(memory.run(batch), vec![Reply::Committed; 4]);
        memory
    }

    fn scan(memory: &mut Memory, range: [&'static str; 2], scan: Scan) -> (Vec<Bytes>, bool) {
        let scan = Scan {
            start: range[0].into(),
            end: range[1].into(),
            ..scan
        };
        match memory.run(vec![Command::Scan(scan)]).pop() {
            Some(Reply::Rows { rows, more }) => {
                (rows.into_iter().map(|(key, _)| key).collect(), more)
            }
            other => panic!("{other:?}"),
        }
    }

    const ALL: Scan = Scan {
        start: Bytes::new(),
        end: Bytes::new(),
        direction: Direction::Forward,
        items: usize::MAX,
        bytes: usize::MAX,
    };

    #[test]
    fn a_commit_sees_the_ones_before_it_and_a_conflict_changes_nothing() {
        let mut memory = filled();
        let swap = |from: &'static str, to: &'static str| {
            Command::Commit(Commit {
                checks: vec![
                    ("a".into(), Expect::Equals(from.into())),
                    ("e".into(), Expect::Absent),
                ],
                puts: vec![("a".into(), to.into())],
                deletes: vec!["b".into(), "never there".into()],
            })
        };
        let batch = vec![
            swap("12345", "x"),
            swap("12345", "y"),
            swap("x", "z"),
            Command::Get(vec!["b".into(), "a".into()]),
        ];
        assert_eq!(
            memory.run(batch),
            vec![
                Reply::Committed,
                Reply::Conflict,
                Reply::Committed,
                Reply::Values(vec![None, Some("z".into())])
            ]
        );
    }

    #[test]
    fn a_scan_has_both_directions_and_both_bounds() {
        let mut memory = filled();
        let back = Scan {
            direction: Direction::Backward,
            ..ALL
        };
        let two = Scan { items: 2, ..ALL };
        let bytes = |bytes| Scan { bytes, ..ALL };
        let range = ["b", "d"];
        assert_eq!(
            scan(&mut memory, range, ALL),
            (vec!["b".into(), "c".into()], false)
        );
        assert_eq!(
            scan(&mut memory, range, back),
            (vec!["c".into(), "b".into()], false)
        );
        assert_eq!(
            scan(&mut memory, range, two.clone()),
            (vec!["b".into(), "c".into()], false)
        );
        assert_eq!(
            scan(&mut memory, ["a", "d"], two),
            (vec!["a".into(), "b".into()], true)
        );
        assert_eq!(scan(&mut memory, range, bytes(0)), (vec!["b".into()], true));
        assert_eq!(
            scan(&mut memory, range, bytes(11)),
            (vec!["b".into()], true)
        );
        assert_eq!(
            scan(&mut memory, range, bytes(12)),
            (vec!["b".into(), "c".into()], false)
        );
        assert_eq!(
            scan(&mut memory, range, Scan { items: 0, ..ALL }),
            (vec![], true)
        );
        assert_eq!(scan(&mut memory, ["d", "b"], ALL), (vec![], false));
        assert_eq!(scan(&mut memory, ["b", "b"], ALL), (vec![], false));
    }

    #[test]
    fn a_crash_takes_back_what_was_not_flushed() {
        let mut memory = filled();
        let before = memory.clone();
        let delete = Command::Commit(Commit {
            deletes: vec!["b".into(), "c".into()],
            ..Commit::default()
        });
        let replies = memory.stage(vec![put("b", "new"), put("e", "new"), delete]);
        assert_eq!(replies, vec![Reply::Committed; 3]);
        assert_eq!(memory.len(), 3);
        memory.crash();
        assert!(memory.rows().eq(before.rows()));

        memory.stage(vec![put("e", "new")]);
        memory.flush();
        memory.crash();
        assert_eq!(memory.get(b"e"), Some(&"new".into()));
    }

    #[test]
    fn faults_come_in_order_and_say_truly_whether_the_batch_was_made() {
        let mut memory = Memory::new();
        for fault in [
            Fault::Full,
            Fault::Unavailable,
            Fault::UnknownLost,
            Fault::UnknownMade,
        ] {
            memory.fail_next(fault);
        }
        for failure in [Failure::Full, Failure::Unavailable, Failure::Unknown] {
            assert_eq!(
                memory.run(vec![put("a", "1"), put("b", "1")]),
                vec![Reply::Failed(failure); 2]
            );
            assert!(memory.is_empty());
        }
        assert_eq!(
            memory.run(vec![put("a", "1")]),
            vec![Reply::Failed(Failure::Unknown)]
        );
        assert_eq!(memory.len(), 1);
        assert_eq!(memory.run(vec![put("b", "1")]), vec![Reply::Committed]);
    }

    #[test]
    fn a_malformed_commit_is_refused_alone() {
        let mut memory = Memory::new();
        let row = |key: usize, value: usize| (vec![1; key].into(), vec![2; value].into());
        let commit = |puts| {
            Command::Commit(Commit {
                puts,
                ..Commit::default()
            })
        };
        let batch = vec![
            commit(vec![row(MAX_KEY, MAX_VALUE)]),
            commit(vec![row(MAX_KEY + 1, 0)]),
            commit(vec![row(1, MAX_VALUE + 1)]),
            commit(vec![row(1, 0), row(1, 1)]),
            commit((1..=129).map(|key| row(key, MAX_VALUE)).collect()),
            Command::Commit(Commit {
                deletes: vec![Bytes::new(); MAX_COMMIT_OPS + 1],
                ..Commit::default()
            }),
            Command::Get(vec![vec![1; MAX_KEY + 1].into()]),
        ];
        let mut expected = vec![Reply::Failed(Failure::Unavailable); 5];
        expected.insert(0, Reply::Committed);
        expected.push(Reply::Values(vec![None]));
        assert_eq!(memory.run(batch), expected);
    }
}
