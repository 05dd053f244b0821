//! A client's data directory: made whole, or mended by the next start, or refused with what to do.
//!
//! The database and the key to it belong together. The key is written last, to a database that holds
//! nothing yet, so a start that was cut off has left nothing worth keeping and is gone through again.
//! Everything else that is missing or empty was lost later, and is never taken for a new client.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use qpq_store::files::{self, Found};
use qpq_store::lock::Lock;
use qpq_store::sqlite::{self, Sqlite};

/// The database's name in a client's data directory.
pub const DATABASE_FILE: &str = "client.db";
/// The name of the file with the 32 bytes that seal the database's contents.
pub const STORAGE_KEY_FILE: &str = "storage.key";

/// Bytes of pages kept in memory: a client's data are small.
const CACHE: u32 = 4 * 1024 * 1024;

/// A client's data, held by this process alone.
pub struct ClientData {
    /// What everything is stored in.
    pub engine: Sqlite,
    /// What seals it.
    pub storage_key: [u8; 32],
}

/// Why a client's data cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DataError {
    /// The data directory, or a file in it, cannot be used.
    #[error("{} cannot be read or written ({kind}): choose another data directory or change permissions", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// The key is there, but not the database that it was made for.
    #[error("{} is {found}, and this client's messages and keys were in it: restore it from a backup, or begin anew with another --data-dir", path.display())]
    Database {
        /// Where it should be.
        path: PathBuf,
        /// Missing or empty.
        found: Found,
    },
    /// The database holds data, but the key to them is gone.
    #[error("{} is {found}, and without it this data cannot be read: restore it from a backup, or begin anew with another --data-dir", path.display())]
    StorageKey {
        /// Where it should be.
        path: PathBuf,
        /// Missing, empty, or something else than a key.
        found: Found,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: check /dev/urandom")]
    Random,
    /// The database.
    #[error(transparent)]
    Engine(#[from] sqlite::SqliteError),
}

impl ClientData {
    /// Opens the data in `dir`, or makes them.
    ///
    /// # Errors
    ///
    /// See [`DataError`].
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| DataError::File {
                path: path.clone(),
                kind: error.kind(),
            }
        };
        files::create_private_dir(dir).map_err(at(dir))?;
        let (database, key) = (dir.join(DATABASE_FILE), dir.join(STORAGE_KEY_FILE));
        // First: nobody else may be making what is looked for here.
        let lock = Lock::take(&database).map_err(sqlite::SqliteError::from)?;
        let found = Found::at(&database).map_err(at(&database))?;
        let found_key = Found::at(&key).map_err(at(&key))?;
        if found != Found::There && found_key != Found::Missing {
            return Err(DataError::Database {
                path: database,
                found,
            });
        }
        let options = sqlite::Options {
            cache_bytes: CACHE,
            ..sqlite::Options::default()
        };
        let engine = Sqlite::open_locked(lock, &database, &options)?;
        let storage_key = match found_key {
            Found::There => match files::read(&key, 32) {
                Ok(Some(bytes)) => bytes.as_slice().try_into().ok(),
                Err(error) if error.kind() != ErrorKind::FileTooLarge => {
                    return Err(at(&key)(error));
                }
                Ok(None) | Err(_) => None,
            },
            Found::Missing if engine.holds_nothing()? => {
                let mut bytes = [0; 32];
                getrandom::fill(&mut bytes).map_err(|_| DataError::Random)?;
                files::write_private(&key, &bytes).map_err(at(&key))?;
                Some(bytes)
            }
            Found::Missing | Found::Empty | Found::Damaged => None,
        };
        match storage_key {
            Some(storage_key) => Ok(Self {
                engine,
                storage_key,
            }),
            None => Err(DataError::StorageKey {
                path: key,
                found: match found_key {
                    Found::There => Found::Damaged,
                    other => other,
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use qpq_protocol::storage::{Command, Commit, Engine as _, Reply};

    use super::*;
    use crate::scratch::Scratch;

    fn refused(dir: &Path) -> String {
        ClientData::open(dir).err().unwrap().to_string()
    }

    #[test]
    fn a_start_that_was_cut_off_anywhere_is_mended() {
        let dir = Scratch::try_new("data-cut").unwrap();
        let file = |name: &str| dir.path().join(name);
        // Only the lock; a database that could not be written; one that was, without its key; a key
        // that was not whole.
        std::fs::write(file("client.db.lock"), b"1\n").unwrap();
        drop(ClientData::open(dir.path()).unwrap());
        std::fs::remove_file(file(STORAGE_KEY_FILE)).unwrap();
        std::fs::write(file("storage.key.new"), b"half a k").unwrap();
        drop(ClientData::open(dir.path()).unwrap());
        std::fs::remove_file(file(STORAGE_KEY_FILE)).unwrap();
        std::fs::write(file(DATABASE_FILE), b"").unwrap();
        let data = ClientData::open(dir.path()).unwrap();
        let key = data.storage_key;
        drop(data);
        assert_eq!(ClientData::open(dir.path()).unwrap().storage_key, key);
    }

    #[test]
    fn what_was_lost_later_is_never_taken_for_new() {
        let dir = Scratch::try_new("data-lost").unwrap();
        let file = |name: &str| dir.path().join(name);
        let mut data = ClientData::open(dir.path()).unwrap();
        let commit = Commit {
            puts: vec![(b"key".to_vec().into(), b"value".to_vec().into())],
            ..Commit::default()
        };
        let stored = data.engine.run(vec![Command::Commit(commit)]);
        assert_eq!(stored, [Reply::Committed]);
        drop(data);
        let whole = std::fs::read(file(DATABASE_FILE)).unwrap();
        let key = std::fs::read(file(STORAGE_KEY_FILE)).unwrap();
        for (name, contents) in [(DATABASE_FILE, &whole), (STORAGE_KEY_FILE, &key)] {
            std::fs::write(file(name), b"").unwrap();
            assert!(refused(dir.path()).contains(&format!("{name} is empty")));
            std::fs::remove_file(file(name)).unwrap();
            assert!(refused(dir.path()).contains(&format!("{name} is missing")));
            assert!(!file(name).exists(), "{name} was made anew");
            std::fs::write(file(name), contents).unwrap();
            ClientData::open(dir.path()).unwrap();
        }
        std::fs::write(file(STORAGE_KEY_FILE), [0; 33]).unwrap();
        assert!(refused(dir.path()).contains("storage.key is damaged"));
    }
}
