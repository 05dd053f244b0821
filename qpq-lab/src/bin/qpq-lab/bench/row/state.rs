//! The rows of a memory engine in a file: for each its key and its value, with their lengths before them.

use std::fs;
use std::path::Path;

use bytes::{Buf as _, BufMut as _, Bytes};
use qpq_protocol::storage::{Command, Commit, Engine as _, Memory};

use crate::bench::{Failure, Outcome};

/// Rows put with one Commit.
const AT_ONCE: usize = 1000;

/// Writes all rows.
pub fn write(path: &Path, memory: &Memory) -> Outcome<()> {
    let mut out = Vec::new();
    for (key, value) in memory.rows() {
        for part in [key, value] {
            out.put_u64(part.len() as u64);
            out.put_slice(part);
        }
    }
    fs::write(path, out).map_err(Failure::of(&path.to_string_lossy()))
}

/// An engine that holds what [`write`] wrote.
pub fn read(path: &Path) -> Outcome<Memory> {
    let file = fs::read(path).map_err(Failure::of(&path.to_string_lossy()))?;
    let mut file = file.as_slice();
    let mut rows = Vec::new();
    while !file.is_empty() {
        let row = part(&mut file).and_then(|key| Some((key, part(&mut file)?)));
        let cut = || Failure::new(format!("{} is cut off: make it again", path.display()));
        rows.push(row.ok_or_else(cut)?);
    }
    let mut memory = Memory::new();
    for puts in rows.chunks(AT_ONCE) {
        memory.run(vec![Command::Commit(Commit {
            puts: puts.to_vec(),
            ..Commit::default()
        })]);
    }
    Ok(memory)
}

/// The next part, in an allocation of its own, as an engine would have it.
fn part(file: &mut &[u8]) -> Option<Bytes> {
    let length = usize::try_from(file.try_get_u64().ok()?).ok()?;
    let (part, rest) = file.split_at_checked(length)?;
    *file = rest;
    Some(Bytes::copy_from_slice(part))
}
