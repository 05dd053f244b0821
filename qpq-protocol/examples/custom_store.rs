//! A storage engine of your own, complete: rows in memory, and a file that holds them all.
//!
//!     cargo run -p qpq-protocol --example custom_store
//!
//! An engine answers three commands. It must get right that checks see the commands before them, a Commit
//! is all or nothing, and no reply leaves before its batch is on disk. Adapters take it as it is.

// This is the embedder: files are its own.
#![allow(clippy::disallowed_methods, missing_docs)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;

use bytes::Bytes;
use prost::Message as _;
use qpq_protocol::storage::{Command, Commit, Engine, Expect, Failure, Reply};

/// Each batch writes a new file, keys and values in turn, and puts it in the old one's place: after a
/// crash one of them is there, whole. Made for kilobytes; a larger store would append.
pub struct Snapshots {
    rows: BTreeMap<Bytes, Bytes>,
    directory: PathBuf,
}

impl Snapshots {
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut left = match fs::read(directory.join("rows")) {
            Err(error) if error.kind() == ErrorKind::NotFound => Bytes::new(),
            read => read?.into(),
        };
        let mut part = || Bytes::decode_length_delimited(&mut left).ok();
        let rows = std::iter::from_fn(|| Some((part()?, part()?))).collect();
        Ok(Self { rows, directory })
    }

    fn answer(&mut self, command: Command) -> Reply {
        match command {
            Command::Get(keys) => {
                Reply::Values(keys.iter().map(|key| self.rows.get(key).cloned()).collect())
            }
            Command::Scan(scan) => scan.answer(self.rows.range(scan.range())),
            Command::Commit(commit) if !commit.is_well_formed() => {
                Reply::Failed(Failure::Unavailable)
            }
            Command::Commit(commit) if !commit.holds(|key| self.rows.get(key)) => Reply::Conflict,
            Command::Commit(commit) => {
                self.rows.extend(commit.puts);
                commit
                    .deletes
                    .iter()
                    .for_each(|key| drop(self.rows.remove(key)));
                Reply::Committed
            }
        }
    }

    fn save(&self) -> io::Result<()> {
        let (next, place) = (self.directory.join("next"), self.directory.join("rows"));
        let mut file = File::create(&next)?;
        for part in self.rows.iter().flat_map(|(key, value)| [key, value]) {
            file.write_all(&part.encode_length_delimited_to_vec())?;
        }
        file.sync_all()?;
        fs::rename(next, place)?;
        // The rows are on disk; now the file's name.
        File::open(&self.directory)?.sync_all()
    }
}

impl Engine for Snapshots {
    fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
        let replies: Vec<_> = batch
            .into_iter()
            .map(|command| self.answer(command))
            .collect();
        if replies.contains(&Reply::Committed) {
            // If it fails, nobody knows what is on disk. An engine that panicked is not asked again.
            self.save().expect("the rows can be written");
        }
        replies
    }
}

fn main() -> io::Result<()> {
    let directory = std::env::temp_dir().join(format!("qpq-store-{}", std::process::id()));
    let key = Bytes::from_static(b"greeting");
    let mut greet = Commit::default();
    greet.checks.push((key.clone(), Expect::Absent));
    greet.puts.push((key.clone(), "hello".into()));
    let twice = vec![Command::Commit(greet.clone()), Command::Commit(greet)];
    let replies = Snapshots::open(directory.clone())?.run(twice);
    println!("the same commit twice: {replies:?}");
    let replies = Snapshots::open(directory.clone())?.run(vec![Command::Get(vec![key])]);
    println!("after opening again: {replies:?}");
    fs::remove_dir_all(directory)
}
