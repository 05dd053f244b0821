//! Puts a backup of a server's database in the place of the one that is there.
//!
//! The backup becomes whole beside the database before the two are exchanged. It gets a new
//! `server_epoch` (protocol.md §5.32), by which clients learn that the server has forgotten something:
//! a copy that is only put back by hand would have them wait for what it has lost.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use qpq_protocol::storage::{Command, Commit, Engine as _, Reply, keys};

use crate::server_data::DATABASE_FILE;
use qpq_store::files::{self, Found};
use qpq_store::lock::{Lock, LockError};
use qpq_store::sqlite::{self, Sqlite};

/// The name, in `meta`, of the row with the server's epoch: u64, big-endian.
const EPOCH: &str = "epoch";
/// What is added to the name of the database that is replaced.
const REPLACED: &str = ".replaced";
/// What is added to the name of the database that is being made.
const MADE: &str = ".restoring";
/// Files that SQLite keeps beside a database.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// Why a backup was not put back. The database is then as it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RestoreError {
    /// The server runs, or the directory cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The backup is not there, or empty.
    #[error("the backup {} is {found}: name another file", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// Missing or empty.
        found: Found,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be read or written ({kind}): check permissions and free space", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// The backup cannot be opened as a database of ours.
    #[error("the backup cannot be used: {0}")]
    Backup(#[from] sqlite::SqliteError),
    /// The backup is one of a server that never began.
    #[error("the backup {} holds nothing: name another file", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
    },
    /// It could not be written.
    #[error("the backup could not be prepared: check free space and try again")]
    NotWritten,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: check /dev/urandom")]
    Random,
}

/// Puts `backup` in the place of the database in `dir`. Returns where the former one is kept, if
/// there was one.
///
/// # Errors
///
/// See [`RestoreError`].
pub fn restore(backup: &Path, dir: &Path) -> Result<Option<PathBuf>, RestoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| RestoreError::File {
            path: path.clone(),
            kind: error.kind(),
        }
    };
    files::create_private_dir(dir).map_err(at(dir))?;
    let database = dir.join(DATABASE_FILE);
    let _lock = Lock::take(&database)?;
    match Found::at(backup).map_err(at(backup))? {
        Found::There => {}
        found => {
            let path = backup.to_owned();
            return Err(RestoreError::NoBackup { path, found });
        }
    }
    let made = with(&database, MADE);
    remove(&made).map_err(at(&made))?;
    files::create_private(&made).map_err(at(&made))?;
    std::fs::copy(backup, &made).map_err(at(&made))?;
    // A copy of a database that was in use has its newest commits beside it.
    let (log, copied) = (with(backup, COMPANIONS[0]), with(&made, COMPANIONS[0]));
    if log.exists() {
        std::fs::copy(&log, &copied).map_err(at(&copied))?;
    }
    let prepared = prepare(&made, backup);
    if prepared.is_err() {
        // What is left of it is in nobody's way.
        let _ = remove(&made);
    }
    prepared?;
    let former = with(&database, REPLACED);
    let had_one = database.exists();
    if had_one {
        remove(&former).map_err(at(&former))?;
        // The log first: without it the database is older, but with a foreign one it is nothing.
        for companion in COMPANIONS {
            rename(&with(&database, companion), &with(&former, companion))
                .map_err(at(&database))?;
        }
        rename(&database, &former).map_err(at(&database))?;
    }
    rename(&made, &database).map_err(at(&made))?;
    files::sync_dir(dir).map_err(at(dir))?;
    Ok(had_one.then_some(former))
}

/// Gives a copy of the backup a new epoch, and moves all of it into the one file.
fn prepare(made: &Path, backup: &Path) -> Result<(), RestoreError> {
    let mut engine = Sqlite::open(made, &sqlite::Options::default())?;
    engine.check()?;
    if engine.holds_nothing()? {
        let path = backup.to_owned();
        return Err(RestoreError::Nothing { path });
    }
    let mut epoch = [0; 8];
    getrandom::fill(&mut epoch).map_err(|_| RestoreError::Random)?;
    let commit = Commit {
        puts: vec![(keys::meta(EPOCH).into(), epoch.to_vec().into())],
        ..Commit::default()
    };
    match engine.run(vec![Command::Commit(commit)]).as_slice() {
        [Reply::Committed] => {}
        _ => return Err(RestoreError::NotWritten),
    }
    // Closing moves the log into the file and removes it.
    drop(engine);
    match with(made, COMPANIONS[0]).exists() {
        true => Err(RestoreError::NotWritten),
        false => Ok(()),
    }
}

fn with(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// Removes a database and what lies beside it.
fn remove(database: &Path) -> std::io::Result<()> {
    let beside = COMPANIONS.iter().map(|companion| with(database, companion));
    for path in beside.chain([with(database, ".lock"), database.to_owned()]) {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::scratch::Scratch;

    fn write(path: &Path, key: Bytes, value: &[u8]) {
        let mut engine = Sqlite::open(path, &sqlite::Options::default()).unwrap();
        let commit = Commit {
            puts: vec![(key, Bytes::copy_from_slice(value))],
            ..Commit::default()
        };
        let stored = engine.run(vec![Command::Commit(commit)]);
        assert_eq!(stored, [Reply::Committed]);
    }

    fn read(path: &Path, key: Bytes) -> Option<Bytes> {
        let mut engine = Sqlite::open(path, &sqlite::Options::default()).unwrap();
        match engine.run(vec![Command::Get(vec![key])]).as_slice() {
            [Reply::Values(values)] => values[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_backup_takes_the_place_and_draws_an_epoch() {
        let dir = Scratch::try_new("restore").unwrap();
        let (row, epoch) = (Bytes::from_static(b"row"), Bytes::from(keys::meta(EPOCH)));
        let (backup, data) = (dir.path().join("backup.db"), dir.path().join("data"));
        write(&backup, row.clone(), b"old");
        write(&backup, epoch.clone(), &7u64.to_be_bytes());
        let database = data.join(DATABASE_FILE);
        // On nothing, and on what is there.
        assert_eq!(restore(&backup, &data), Ok(None));
        let drawn = read(&database, epoch.clone()).unwrap();
        assert_eq!(drawn.len(), 8);
        assert_ne!(drawn[..], 7u64.to_be_bytes());
        write(&database, row.clone(), b"new");
        let former = restore(&backup, &data).unwrap().unwrap();
        assert_eq!(read(&database, row.clone()).unwrap(), &b"old"[..]);
        assert_eq!(read(&former, row.clone()).unwrap(), &b"new"[..]);
        assert_ne!(read(&database, epoch.clone()).unwrap(), drawn);
        // The backup is as it was.
        assert_eq!(read(&backup, epoch).unwrap()[..], 7u64.to_be_bytes());
    }

    #[test]
    fn what_is_no_backup_changes_nothing() {
        let dir = Scratch::try_new("restore-bad").unwrap();
        let data = dir.path().join("data");
        files::create_private_dir(&data).unwrap();
        let database = data.join(DATABASE_FILE);
        let row = Bytes::from_static(b"row");
        write(&database, row.clone(), b"here");
        let bad = dir.path().join("bad");
        let refused = || restore(&bad, &data).unwrap_err().to_string();
        assert!(refused().contains("missing"));
        std::fs::write(&bad, b"").unwrap();
        assert!(refused().contains("empty"));
        std::fs::write(&bad, [7; 10_000]).unwrap();
        assert!(refused().contains("damaged"));
        std::fs::remove_file(&bad).unwrap();
        drop(Sqlite::open(&bad, &sqlite::Options::default()).unwrap());
        assert!(refused().contains("holds nothing"));
        let lock = Lock::take(&database).unwrap();
        assert!(refused().contains("in use"));
        drop(lock);
        assert_eq!(read(&database, row).unwrap(), &b"here"[..]);
        assert!(!with(&database, MADE).exists());
    }
}
