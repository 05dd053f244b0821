//! [`Journal`]: the file of `qpq recv --output`, each message in it once, as one JSON object a line.
//!
//! The file itself is the record of what is in it: it is read at opening, and nothing else says
//! where to go on. So it does not matter when a process dies, or the machine.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use qpq_store::files;
use serde_json::Value;

/// How each line begins, since the keys of a JSON object are written in alphabetical order.
const START: &[u8] = b"{\"conversation\":\"";
/// Longer lines are not ours: a payload has at most 3 MiB, and a byte of it at most six in JSON.
const MAX_LINE: u64 = 32 * 1024 * 1024;

/// A file of messages, held by this process alone.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes that are on the disk for sure.
    length: u64,
    last: BTreeMap<String, Entry>,
}

/// What names a message in a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its position in the history.
    pub index: u64,
    /// Its writer's name for it.
    pub message_id: String,
}

/// Why a file cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{} cannot be read or written ({kind}): choose another file", path.display())]
    Unusable { path: PathBuf, kind: ErrorKind },
    #[error("{} is not a regular file: pass one, or leave out --output to print", path.display())]
    NotAFile { path: PathBuf },
    #[error("another process writes to {}: stop it, or choose another file", path.display())]
    Held { path: PathBuf },
    #[error("{} was not written by `qpq recv --output` alone (line {line}): choose another file", path.display())]
    Foreign { path: PathBuf, line: u64 },
    #[error("{} holds messages that this client does not have: choose another file", path.display())]
    OtherClient { path: PathBuf },
}

impl Journal {
    /// Opens the file, or makes one that only its owner may read. Cuts off what was not written to
    /// its end, and makes durable what was.
    ///
    /// # Errors
    ///
    /// See [`JournalError`]; the file is then as it was.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let unusable = |error: io::Error| JournalError::Unusable {
            path: path.to_owned(),
            kind: error.kind(),
        };
        if path.exists() && !path.is_file() {
            // Opening could wait for the program at its other end.
            let path = path.to_owned();
            return Err(JournalError::NotAFile { path });
        }
        let file = files::open_private(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.to_owned();
                return Err(JournalError::Held { path });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let mut journal = Self {
            path: path.to_owned(),
            file,
            length: 0,
            last: BTreeMap::new(),
        };
        journal.read()?;
        journal.cut().map_err(unusable)?;
        // A new file's name has to last as long as what it holds.
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        files::sync_dir(dir.unwrap_or(Path::new("."))).map_err(unusable)?;
        Ok(journal)
    }

    /// The last message of a conversation that is in the file.
    pub fn last(&self, conversation: &str) -> Option<&Entry> {
        self.last.get(conversation)
    }

    /// Appends messages, as `qpq --json` prints them, and makes them durable, all with one write.
    ///
    /// # Errors
    ///
    /// [`JournalError::Unusable`]; nothing of them is in the file then, as far as it can be helped.
    pub fn append(&mut self, messages: &[Value]) -> Result<(), JournalError> {
        let text: String = messages.iter().map(|line| format!("{line}\n")).collect();
        if text.is_empty() {
            return Ok(());
        }
        let written = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // The next run must not take lines for durable that may not be.
            let _ = self.cut();
            return Err(self.unusable(error));
        }
        self.length = self.length.saturating_add(length(text.as_bytes()));
        for (conversation, entry) in messages.iter().filter_map(entry) {
            self.last.insert(conversation, entry);
        }
        Ok(())
    }

    /// The error for a file whose messages are not those of this client.
    pub fn other_client(&self) -> JournalError {
        JournalError::OtherClient {
            path: self.path.clone(),
        }
    }

    /// Learns from the complete lines what is there, and how far they go.
    fn read(&mut self) -> Result<(), JournalError> {
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
                .map_err(|error| self.unusable(error))?;
            if read == 0 || is_torn(&line) {
                break;
            }
            let parsed: Option<Value> = serde_json::from_slice(&line).ok();
            let entry = parsed.as_ref().and_then(entry);
            let is_next = |(conversation, entry): &(String, Entry)| {
                let before = self.last.get(conversation);
                before.is_none_or(|before| before.index < entry.index)
            };
            let Some((conversation, entry)) = entry.filter(is_next) else {
                let path = self.path.clone();
                return Err(JournalError::Foreign { path, line: number });
            };
            self.last.insert(conversation, entry);
            self.length = self.length.saturating_add(length(&line));
        }
        Ok(())
    }

    /// Leaves in the file what is known to be whole.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.sync_all()
    }

    fn unusable(&self, error: io::Error) -> JournalError {
        JournalError::Unusable {
            path: self.path.clone(),
            kind: error.kind(),
        }
    }
}

fn length(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// Which message a line holds.
fn entry(line: &Value) -> Option<(String, Entry)> {
    if line.get("type")? != "message" {
        return None;
    }
    let text = |key: &str| line.get(key)?.as_str().map(str::to_owned);
    let entry = Entry {
        index: line.get("index")?.as_u64()?,
        message_id: text("message_id")?,
    };
    Some((text("conversation")?, entry))
}

/// Whether a write of ours began here and did not become whole: its end is missing, or blocks in it
/// that a power loss kept from the disk and that read as zeros, which JSON never holds.
fn is_torn(line: &[u8]) -> bool {
    let zero = line.iter().position(|&byte| byte == 0);
    let is_whole = line.ends_with(b"\n") && zero.is_none();
    let text = line.get(..zero.unwrap_or(line.len())).unwrap_or_default();
    !is_whole && (text.starts_with(START) || START.starts_with(text))
}

#[cfg(test)]
mod tests {
    use qpq_server_example::scratch::Scratch;
    use serde_json::json;

    use super::*;

    fn message(conversation: &str, index: u64) -> Value {
        json!({
            "type": "message",
            "conversation": conversation,
            "index": index,
            "message_id": format!("id-{index}"),
            "text": "two\nlines\u{0}",
        })
    }

    fn lines(messages: &[Value]) -> String {
        messages.iter().map(|line| format!("{line}\n")).collect()
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_was_appended_is_known_after_opening_again() {
        let dir = Scratch::try_new("journal").unwrap();
        let path = dir.path().join("file");
        let all = [message("a", 0), message("b", 3), message("a", 2)];
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&all[..1]).unwrap();
        journal.append(&[]).unwrap();
        let held = Journal::open(&path).err();
        assert_eq!(held, Some(JournalError::Held { path: path.clone() }));
        drop(journal);
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&all[1..]).unwrap();
        drop(journal);
        assert_eq!(read(&path), lines(&all));
        let journal = Journal::open(&path).unwrap();
        let index = |id| journal.last(id).map(|entry| entry.index);
        assert_eq!(
            (index("a"), index("b"), index("c")),
            (Some(2), Some(3), None)
        );
        assert_eq!(journal.last("a").unwrap().message_id, "id-2");
    }

    #[test]
    fn a_write_cut_anywhere_is_taken_back_to_the_last_whole_line() {
        let dir = Scratch::try_new("journal-torn").unwrap();
        let path = dir.path().join("file");
        let all = [message("a", 0), message("a", 1), message("a", 2)];
        let whole = lines(&all);
        let first = lines(&all[..1]);
        for end in first.len()..whole.len() {
            // Cut there, and the same with zeros up to the end, as a power loss leaves it.
            let cut = whole.as_bytes()[..end].to_vec();
            let mut holes = cut.clone();
            holes.resize(whole.len(), 0);
            let mut refilled = holes.clone();
            refilled.extend(lines(&[message("a", 3)]).as_bytes());
            for left in [cut, holes, refilled] {
                std::fs::write(&path, left).unwrap();
                let mut journal = Journal::open(&path).unwrap();
                let next = journal.last("a").unwrap().index + 1;
                assert_eq!(next, if end < lines(&all[..2]).len() { 1 } else { 2 });
                let rest = &all[usize::try_from(next).unwrap()..];
                journal.append(rest).unwrap();
                assert_eq!(read(&path), whole);
            }
        }
    }

    #[test]
    fn a_foreign_file_is_refused_and_left_as_it_is() {
        let dir = Scratch::try_new("journal-foreign").unwrap();
        let path = dir.path().join("file");
        let ours = lines(&[message("a", 1)]);
        let twice = format!("{ours}{ours}");
        let followed = format!("{ours}my notes");
        let event = format!("{ours}{}\n", json!({ "type": "joined" }));
        let edited = format!("{{\"conversation\":\"a\"}}\n{ours}");
        let foreign: [(&[u8], u64); 8] = [
            (b"my notes\n", 1),
            (b"my notes", 1),
            (b"\x7fELF\0\0", 1),
            (b"\n", 1),
            (followed.as_bytes(), 2),
            (twice.as_bytes(), 2),
            (event.as_bytes(), 2),
            (edited.as_bytes(), 1),
        ];
        for (text, line) in foreign {
            std::fs::write(&path, text).unwrap();
            let refused = Journal::open(&path).err().unwrap();
            let path = path.clone();
            assert_eq!(std::fs::read(&path).unwrap(), text);
            assert_eq!(refused, JournalError::Foreign { path, line });
            assert!(!refused.to_string().contains('\n'));
        }
        let path = dir.path().to_owned();
        let refused = Journal::open(&path).err().unwrap();
        assert_eq!(refused, JournalError::NotAFile { path });
        let missing = Journal::open(&dir.path().join("no").join("file")).err();
        assert!(matches!(missing, Some(JournalError::Unusable { .. })));
    }
}
