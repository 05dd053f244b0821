//! A storage engine of your own: an append-only file with the rows in memory.
//!
//!     cargo run -p qpq-protocol --example custom_store
//!
//! An engine answers three commands over sorted keys (`qpq_protocol::storage`). Every rule of the
//! protocol is decided in the cores, so this page is all it takes. What it must get right: checks see
//! the commands before them, a Commit is all or nothing, and no reply leaves before a flush.

// This is the embedder: files are its own.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use bytes::Bytes;
use qpq_protocol::storage::{Command, Commit, Direction, Engine, Expect, Failure, Reply, Scan};

/// Rows in memory, and a file of changes: for each, the lengths of key and value, then both. A batch is
/// one write behind a length of its own; one that a crash cut off is not there.
struct Journal {
    rows: BTreeMap<Bytes, Bytes>,
    /// `None` once a flush has failed: nobody knows what is on disk then, so nothing is promised.
    file: Option<File>,
}

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let mut file = options.read(true).append(true).create(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (mut rows, mut left) = (BTreeMap::new(), Bytes::from(bytes));
        let length = left.len();
        while let Some(mut batch) = take(&mut left) {
            while let (Some(key), Some(value)) = (take(&mut batch), take(&mut batch)) {
                apply(&mut rows, key, value);
            }
        }
        file.set_len((length - left.len()) as u64)?;
        let file = Some(file);
        Ok(Self { rows, file })
    }

    fn commit(&mut self, commit: Commit, batch: &mut Vec<u8>) -> Reply {
        let holds = |(key, expect): &(Bytes, Expect)| match expect {
            Expect::Equals(value) => self.rows.get(key) == Some(value),
            Expect::Absent => !self.rows.contains_key(key),
        };
        if !commit.checks.iter().all(holds) {
            return Reply::Conflict;
        }
        // A value is written with a byte before it; nothing at all deletes the key.
        let puts = commit.puts.into_iter();
        let puts = puts.map(|(key, value)| (key, [&[1][..], &value].concat().into()));
        let deletes = commit.deletes.into_iter().map(|key| (key, Bytes::new()));
        for (key, value) in puts.chain(deletes) {
            put(batch, &key);
            put(batch, &value);
            apply(&mut self.rows, key, value);
        }
        Reply::Committed
    }

    fn scan(&self, scan: Scan) -> Reply {
        let mut left: VecDeque<_> = self.rows.range(scan.start..scan.end).collect();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some((key, value)) = match scan.direction {
            Direction::Forward => left.pop_front(),
            Direction::Backward => left.pop_back(),
        } {
            bytes += key.len() + value.len();
            if rows.len() == scan.items || (bytes > scan.bytes && !rows.is_empty()) {
                return Reply::Rows { rows, more: true };
            }
            rows.push((key.clone(), value.clone()));
        }
        Reply::Rows { rows, more: false }
    }

    fn write(&self, batch: &[u8]) -> Option<()> {
        let (mut file, mut record) = (self.file.as_ref()?, Vec::new());
        put(&mut record, batch);
        file.write_all(&record).ok()?;
        file.sync_data().ok()
    }
}

impl Engine for Journal {
    fn run(&mut self, commands: Vec<Command>) -> Vec<Reply> {
        let (count, mut batch) = (commands.len(), Vec::new());
        let answer = |command| match command {
            Command::Get(keys) => {
                Reply::Values(keys.iter().map(|key| self.rows.get(key).cloned()).collect())
            }
            Command::Scan(scan) => self.scan(scan),
            Command::Commit(commit) => self.commit(commit, &mut batch),
        };
        let replies = commands.into_iter().map(answer).collect();
        if self.file.is_some() && (batch.is_empty() || self.write(&batch).is_some()) {
            return replies;
        }
        self.file = None;
        vec![Reply::Failed(Failure::Unknown); count]
    }
}

fn apply(rows: &mut BTreeMap<Bytes, Bytes>, key: Bytes, value: Bytes) {
    match value.is_empty() {
        true => rows.remove(&key),
        false => rows.insert(key, value.slice(1..)),
    };
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
    bytes.extend_from_slice(part);
}

fn take(bytes: &mut Bytes) -> Option<Bytes> {
    let length = u64::from_be_bytes(*bytes.first_chunk()?);
    let end = usize::try_from(length).ok()?.checked_add(8)?;
    (end <= bytes.len()).then(|| bytes.split_to(end).slice(8..))
}

fn main() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("qpq-journal-{}", std::process::id()));
    let key = Bytes::from_static(b"greeting");
    let change = Commit {
        checks: vec![(key.clone(), Expect::Absent)],
        puts: vec![(key.clone(), Bytes::from_static(b"hello"))],
        ..Commit::default()
    };
    let replies = Journal::open(&path)?.run(vec![
        Command::Commit(change.clone()),
        Command::Commit(change),
    ]);
    println!("the same commit twice: {replies:?}");
    println!(
        "after opening again: {:?}",
        Journal::open(&path)?.run(vec![Command::Get(vec![key])])
    );
    std::fs::remove_file(&path)
}
