use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::{Buf, BufMut, Bytes};
use qpq_protocol::storage::{Command, Engine, Failure, Reply};

/// Rows in memory, and a file that each batch is appended to: its length, then its changes, a row to write or (with
/// no value) one to remove. A batch that a power cut left unfinished is shorter than it says, and counts for nothing.
pub struct Journal {
    rows: BTreeMap<Bytes, Bytes>,
    file: File,
}

impl Journal {
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (mut rows, mut read, mut whole) = (BTreeMap::new(), Vec::new(), 0);
        file.read_to_end(&mut read)?;
        let mut rest = Bytes::from(read);
        while let Some(mut batch) = part(&mut rest) {
            whole += 4 + batch.len() as u64;
            while let Some(key) = part(&mut batch) {
                match part(&mut batch) {
                    Some(row) if row.has_remaining() => rows.insert(key, row.slice(1..)),
                    _ => rows.remove(&key),
                };
            }
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { rows, file })
    }
}

/// Reads a length and so many bytes, if all of them are there.
fn part(from: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(from.try_get_u32().ok()?).ok()?;
    (length <= from.len()).then(|| from.split_to(length))
}

/// Writes what `part` reads.
fn add(to: &mut Vec<u8>, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    to.put_u32(u32::try_from(length).expect("a batch has less than 4 GiB"));
    parts.iter().for_each(|part| to.put_slice(part));
}

impl Engine for Journal {
    fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
        let (mut replies, mut changes, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for command in batch {
            replies.push(match command {
                Command::Get(keys) => Reply::Values(keys.iter().map(|key| self.rows.get(key).cloned()).collect()),
                Command::Scan(scan) => scan.answer(self.rows.range(scan.range())),
                Command::Commit(commit) if !commit.is_well_formed() => Reply::Failed(Failure::Unavailable),
                Command::Commit(commit) if !commit.holds(|key| self.rows.get(key)) => Reply::Conflict,
                Command::Commit(commit) => {
                    for (key, row) in commit.puts {
                        add(&mut changes, &[&key]);
                        add(&mut changes, &[&[1], &row]);
                        self.rows.insert(key, row);
                    }
                    for key in commit.deletes {
                        add(&mut changes, &[&key]);
                        add(&mut changes, &[]);
                        self.rows.remove(&key);
                    }
                    Reply::Committed
                }
            });
        }
        if !changes.is_empty() {
            // Nobody hears of it before it is on the disk. If it fails nobody knows what is: such an engine is done.
            add(&mut whole, &[&changes]);
            let written = self.file.write_all(&whole).and_then(|()| self.file.sync_data());
            written.expect("the disk takes it");
        }
        replies
    }
}
